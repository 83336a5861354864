/*
 * What mer-migrate knows of a script before it runs, against what a Postgres server makes of it: texts
 * put together at random from statements, comments, quotes and odd bytes.
 *
 *	differ_postgres [ROUNDS [SEED]]
 *
 * A text that the server can parse has as many statements as it says (none, one, several), and one
 * that is let pass neither ends the transaction it runs in nor waits for bytes of COPY. The server is
 * that of MER_TEST_POSTGRES; without it the test is skipped.
 */
#include <inttypes.h>
#include <libpq-fe.h>
#include <look.h>
#include <mer/buf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 2000, TEXT_ROOM = 4096, SKIP = 77 };

static uint64_t state;

/* Source: Marsaglia, "Xorshift RNGs" (2003), 64 bits. */
static uint32_t below(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % n;
}

#define N(array) ((uint32_t)(sizeof(array) / sizeof *(array)))
#define PICK(array) ((array)[below(N(array))])

/* --- texts -------------------------------------------------------------------------------- */

static const char *const gaps[] = {
	" ",
	" ",
	" ",
	"\n",
	"\t",
	"\r\n",
	"\f",
	" /**/ ",
	" -- ; COMMIT\n",
	" --\r",
	"/* ; ' */ ",
	" /* /* ; */ COMMIT; */ ",
	"\n-- it's $$ \"\n",
	" /* $a$ */ ",
};

static const char *const values[] = {
	"1",
	"1.5e3",
	"';'",
	"'it''s; COMMIT'",
	"E'\\'; COMMIT; '",
	"e'\\\\'",
	"'\\'",
	"U&'\\0041;'",
	"B'01'",
	"X'0F'",
	"$$;$$",
	"$a$ $$ ; COMMIT; $b$ $a$",
	"$_1$;$_1$",
	"'a'\n';b'",
	"E'a'\n'\\';'",
	"E'a' --x\n '\\''",
	"CASE WHEN 1 = 1 THEN 2 ELSE 3 END",
	"(SELECT 1)",
	"(1)",
	"- 1",
	"-1",
	"1 - -1",
	"1 /**/ + 2",
	"2 * 3",
	"'$$'",
	"'--'",
	"'/*'",
	"NULL",
	"ARRAY[1, 2][1]",
	"1::text",
	"'x'::text",
	"1 AS end",
	"1 AS \"a;b\"",
	"1 AS begin",
	"1 AS a$b$",
	"1 AS \xC3\xBC",
	"'\xE2\x82\xAC;'",
	"1 AS \"U&\"",
	"U&\"d\\0061t;\" FROM d",
};

static const char *const plain[] = {
	"CREATE TABLE ct(a int)",
	"DO $$ BEGIN PERFORM ';'; END $$",
	"DO 'BEGIN NULL; END'",
	"INSERT INTO d VALUES (1)",
	"CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
	"CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END",
	"CREATE FUNCTION pg_temp.g() RETURNS int BEGIN ATOMIC SELECT 1 AS end; SELECT (SELECT 2) end; END",
	"CREATE PROCEDURE pg_temp.p() BEGIN ATOMIC END",
	"CREATE FUNCTION pg_temp.h() RETURNS int RETURN 1",
	"CREATE FUNCTION pg_temp.i() RETURNS int BEGIN ATOMIC SELECT begin atomic FROM d2; END",
	"CREATE FUNCTION pg_temp.j(begin int, atomic int) RETURNS int AS $$ SELECT 1; COMMIT $$ LANGUAGE sql",
	"CREATE RULE r AS ON INSERT TO d DO ALSO (SELECT 1; SELECT 2;)",
	"CREATE RULE r AS ON INSERT TO d DO NOTHING",
	"PREPARE s1 AS SELECT 1",
	"EXECUTE s1",
	"DEALLOCATE ALL",
	"SET search_path TO public",
	"COPY d TO '/dev/null'",
	"COPY (SELECT 1) TO '/dev/null'",
	"EXPLAIN SELECT 1",
	"WITH q AS (SELECT 1) SELECT * FROM q",
	"TABLE d",
	"VALUES (1), (2)",
	"CREATE SCHEMA s CREATE TABLE t(a int)",
	"LOCK TABLE d",
	"NOTIFY x",
	"LISTEN x",
	"COMMENT ON TABLE d IS 'a;b'",
	"CREATE VIEW v AS SELECT 1 AS commit",
	"ALTER TABLE d ADD c text DEFAULT ';'",
};

static const char *const refused[] = {
	"BEGIN",
	"begin work",
	"START TRANSACTION",
	"COMMIT",
	"Commit AND CHAIN",
	"END",
	"ROLLBACK",
	"ABORT",
	"SAVEPOINT a",
	"RELEASE a",
	"ROLLBACK TO a",
	"PREPARE TRANSACTION 'x'",
	"prepare /* ; */ transaction 'x'",
	"COMMIT PREPARED 'x'",
	"COPY d FROM STDIN",
	"copy public.d(a) from stdin with (format csv)",
	"COPY d TO STDOUT",
	"COPY (SELECT 1) TO STDOUT",
	"COPY d FROM STDOUT",
};

static const char *const odd[] = {
	";",      "'",   "\"", "$$", "$a$",  "\\",   "(",
	")",      "/*",  "*/", "--", "\n",   "E'",   "BEGIN",
	"ATOMIC", "END", "1",  "$",  "e",    ";;",   "COMMIT;",
	"\\'",    "U&'", "$1", "\r", "\xC3", "CASE", "CREATE FUNCTION",
};

struct text {
	char bytes[TEXT_ROOM];
	size_t len, statements;
	int refused, mutated;
};

static void add(struct text *text, const char *piece)
{
	size_t len = strlen(piece);
	if (text->len + len >= TEXT_ROOM)
		return;
	memcpy(text->bytes + text->len, piece, len + 1);
	text->len += len;
}

/* Words of a statement with other white space between them, unless it has quotes to keep. */
static void add_words(struct text *text, const char *words)
{
	int keep = strpbrk(words, "'\"$") != NULL;
	char one[2] = { 0 };
	for (; *words != '\0'; words++) {
		one[0] = *words;
		add(text, *words == ' ' && !keep && below(4) == 0 ? PICK(gaps) : one);
	}
}

static void add_statement(struct text *text)
{
	uint32_t which = below(10);
	if (below(3) == 0)
		add(text, PICK(gaps));
	if (which < 6) {
		add_words(text, "SELECT ");
		add(text, PICK(gaps));
		add(text, PICK(values));
	} else if (which < 9) {
		add_words(text, PICK(plain));
	} else {
		add_words(text, PICK(refused));
		text->refused = 1;
	}
	text->statements++;
	if (below(4) == 0)
		add(text, PICK(gaps));
}

static void mutate(struct text *text)
{
	char tail[TEXT_ROOM];
	size_t at = below((uint32_t)text->len + 1), drop = below(3);
	if (drop > text->len - at)
		drop = text->len - at;
	(void)snprintf(tail, sizeof tail, "%s", text->bytes + at + drop);
	text->bytes[at] = '\0';
	text->len = at;
	if (below(3) > 0)
		add(text, PICK(odd));
	add(text, tail);
	text->mutated = 1;
}

static void make(struct text *text)
{
	*text = (struct text){ 0 };
	for (uint32_t n = below(4); n > 0; n--) {
		add_statement(text);
		add(text, n > 1 || below(2) == 0 ? ";" : "");
		if (below(5) == 0)
			add(text, "\n;");
	}
	if (below(3) == 0)
		add(text, PICK(gaps));
	for (uint32_t n = below(2) * below(4); n > 0; n--)
		mutate(text);
}

/* --- the server --------------------------------------------------------------------------- */

static PGconn *conn;

static void must(const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		(void)fprintf(stderr, "%s: %s", sql, PQerrorMessage(conn));
		exit(1);
	}
	PQclear(result);
}

static int64_t ask(const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	int64_t number = PQntuples(result) == 1 ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : -1;
	PQclear(result);
	return number;
}

/* How many statements the server's parser sees: 0, 1, 2 for several; -1 it cannot parse the text. */
static int server_counts(const char *text)
{
	PGresult *result = PQprepare(conn, "", text, 0, NULL);
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *said = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	int count = 1;
	if (said != NULL &&
	    strcmp(said, "cannot insert multiple commands into a prepared statement") == 0) {
		count = 2;
	} else if (code != NULL &&
	           (strcmp(code, "42601") == 0 || code[0] == '2' || strcmp(code, "42602") == 0 ||
	            strcmp(code, "0A000") == 0 || strcmp(code, "42622") == 0)) {
		count = -1; /* a syntax error, or what its scanner refuses */
	} else if (code == NULL) {
		PGresult *of = PQdescribePrepared(conn, "");
		PQclear(of);
	}
	PQclear(result);
	return count;
}

/* Whether the text has done what one that is let pass must not. */
static const char *run_within(const char *text)
{
	static const char *const wrong[] = { "it waits for bytes", "it ended the transaction",
		                                 "it committed", "it changed the transaction" };
	const char *verdict = NULL;
	must("BEGIN");
	must("INSERT INTO probe VALUES (1)");
	int64_t before = ask("SELECT pg_current_xact_id()::text::bigint");
	if (PQsendQuery(conn, text) == 0)
		return "it cannot be sent";
	for (PGresult *result; (result = PQgetResult(conn)) != NULL; PQclear(result)) {
		ExecStatusType status = PQresultStatus(result);
		if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
			verdict = wrong[0];
			char *bytes;
			if (status == PGRES_COPY_IN)
				(void)PQputCopyEnd(conn, "no");
			else
				while (PQgetCopyData(conn, &bytes, 0) > 0)
					PQfreemem(bytes);
		}
	}
	PGTransactionStatusType now = PQtransactionStatus(conn);
	if (verdict == NULL && now == PQTRANS_IDLE)
		verdict = wrong[1];
	if (verdict == NULL && now == PQTRANS_INTRANS &&
	    ask("SELECT pg_current_xact_id()::text::bigint") != before)
		verdict = wrong[3];
	must("ROLLBACK");
	must("RESET ALL");
	if (verdict == NULL && ask("SELECT count(*) FROM probe") != 0)
		verdict = wrong[2];
	must("TRUNCATE probe");
	return verdict;
}

/* --- the comparison ----------------------------------------------------------------------- */

struct tally {
	size_t texts, unparsed, several, passed;
};

static const char *compare(const struct text *text, struct tally *tally)
{
	struct script_facts facts;
	script_look(SQL_POSTGRES, text->bytes, text->len, &facts);
	tally->texts++;
	if (!text->mutated && facts.statements != text->statements)
		return "it has another number of statements than were put in";
	if (facts.statements == 0) /* the server takes it, as nothing */
		return facts.refused != NULL ? NULL : "it is let pass without a statement";
	if (!text->mutated && (facts.refused != NULL) != (text->refused != 0))
		return facts.refused != NULL ? "it is refused for nothing" : "it is let pass";
	int seen = server_counts(text->bytes);
	tally->unparsed += seen < 0;
	tally->several += seen == 2;
	if (seen == 2 && facts.statements < 2)
		return "the server sees several statements";
	if (seen == 1 && facts.statements > 1)
		return "the server sees one statement at most";
	if (facts.refused != NULL)
		return NULL;
	tally->passed++;
	return run_within(text->bytes);
}

static void on_notice(void *ctx, const PGresult *result)
{
	(void)ctx, (void)result;
}

int main(int argc, char **argv)
{
	const char *url = getenv("MER_TEST_POSTGRES");
	if (url == NULL) {
		(void)puts("no server: MER_TEST_POSTGRES is not set");
		return SKIP;
	}
	long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : ROUNDS;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : UINT64_C(88172645463325252);
	state = seed;
	conn = PQconnectdb(url);
	if (PQstatus(conn) != CONNECTION_OK) {
		(void)fprintf(stderr, "%s", PQerrorMessage(conn));
		return 1;
	}
	(void)PQsetNoticeReceiver(conn, on_notice, NULL);
	must("CREATE TABLE probe(a int); CREATE TABLE d(a int); CREATE TABLE d2(begin int)");
	must("SET statement_timeout = '20s'");
	struct tally tally = { 0 };
	for (long i = 0; i < rounds; i++) {
		struct text text;
		make(&text);
		const char *wrong = compare(&text, &tally);
		if (wrong != NULL) {
			(void)printf("round %ld of seed %" PRIu64 ": %s\n%s\n", i, seed, wrong, text.bytes);
			return 1;
		}
		if (PQstatus(conn) != CONNECTION_OK) {
			(void)printf("round %ld: %s\n%s\n", i, PQerrorMessage(conn), text.bytes);
			return 1;
		}
	}
	(void)printf(
		"%zu texts: %zu the server cannot parse, %zu of several statements, %zu let pass\n",
		tally.texts, tally.unparsed, tally.several, tally.passed);
	PQfinish(conn);
	return tally.passed * 4 > tally.texts && tally.several * 10 > tally.texts ? 0 : 1;
}
