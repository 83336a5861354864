/* The pure parts of mer-migrate: tokens, canonical form, look ahead, names of scripts, the plan,
 * options. */
#include "canonical.h"
#include "check_main.h"
#include "lex.h"
#include "look.h"
#include "options.h"
#include "plan.h"
#include "scan.h"
#include "settle.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A copy that ends where its memory ends, so that a sanitizer sees each byte read too far. */
static char *exact_copy(const char *text, size_t len)
{
	char *copy = malloc(len > 0 ? len : 1);
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, text, len);
	return copy;
}

static void canonical(enum sql_dialect dialect, const char *text, size_t len, struct mer_buf *out)
{
	mer_buf_init(out, len + 1);
	canonical_write(dialect, text, len, out);
	mer_buf_text(out, ""); /* a text even where it is empty */
	ck_assert_int_eq(out->status, MER_OK);
	ck_assert_uint_le(out->len, len);
}

static const char *text_of(const struct mer_buf *buf)
{
	return buf->ptr != NULL ? buf->ptr : "";
}

/* --- the canonical form ------------------------------------------------------------------- */

#define LITE SQL_SQLITE
#define PG SQL_POSTGRES

static const struct {
	enum sql_dialect dialect;
	const char *text, *want;
} canonical_rows[] = {
	{ LITE, "", "" },
	{ LITE, " \t\r\n\f", "" },
	{ LITE, "-- only this", "" },
	{ LITE, "/* only\nthis */", "" },
	{ LITE, "CREATE TABLE t(a int);\n", "CREATE TABLE t(a int);" },
	{ LITE, "CREATE  TABLE\r\n t ( a int ) ;", "CREATE TABLE t(a int);" },
	{ LITE, "CREATE/**/TABLE/* x */t(a int);-- end", "CREATE TABLE t(a int);" },
	{ LITE, "create TABLE t(a int);", "create TABLE t(a int);" }, /* case counts */
	{ LITE, "a; b ;c", "a;b;c" },
	/* quotes keep what is in them */
	{ LITE, "SELECT 'a  b -- c /* d */';", "SELECT'a  b -- c /* d */';" },
	{ LITE, "SELECT 'it''s  -- so' , 1", "SELECT'it''s  -- so',1" },
	{ LITE, "SELECT \"a  b\"\"  c\" , `d  e`, [f  g]", "SELECT\"a  b\"\"  c\",`d  e`,[f  g]" },
	{ LITE, "SELECT 'a\r\n b'", "SELECT'a\n b'" },
	{ LITE, "SELECT 'a\r\r\n\r b\r'", "SELECT'a\n\r b\r'" },
	{ LITE, "SELECT 'open  -- ", "SELECT'open  -- " },
	{ LITE, "SELECT 'a' 'b'", "SELECT'a' 'b'" },
	{ LITE, "SELECT 'a''b'", "SELECT'a''b'" },
	{ LITE, "SELECT 'a'  -- x\n  'b'", "SELECT'a'\n'b'" },
	{ LITE, "SELECT x '00'", "SELECT x '00'" }, /* a name and a string */
	{ LITE, "SELECT x'00'", "SELECT x'00'" },   /* a blob */
	{ LITE, "SELECT [a]AS b", "SELECT[a]AS b" },
	{ LITE, "SELECT [a] AS b", "SELECT[a]AS b" },
	/* signs that would join */
	{ LITE, "a - -1", "a- -1" },
	{ LITE, "a --1", "a" },
	{ LITE, "a / *b", "a/ *b" },
	{ LITE, "a < = b", "a< =b" },
	{ LITE, "a <= b", "a<=b" },
	{ LITE, "a | | b", "a| |b" },
	{ LITE, "1 .5", "1 .5" },
	{ LITE, "1.5", "1.5" },
	{ LITE, "t . a", "t . a" },
	{ LITE, ": x", ": x" },
	{ LITE, ":x = 1", ":x=1" },
	{ LITE, "? 1", "? 1" },
	{ LITE, "$ x", "$ x" },
	{ LITE, "a ( b ) , ( c )", "a(b),(c)" },
	{ LITE, "a = 1 AND b = -2", "a=1 AND b=-2" },
	{ LITE, "a -> '$' ->> b - > c", "a->'$'->>b- >c" },
	{ LITE, "a * -b % +c | ~d", "a*-b%+c|~d" },
	{ PG, "a = -2", "a= -2" }, /* operators of Postgres may be any signs */
	/* comments of SQLite */
	{ LITE, "a /* x */ b */ c", "a b*/c" },
	{ LITE, "a /* /* x */ b */ c", "a b*/c" },
	{ LITE, "a /*/ b */ c", "a c" },
	{ LITE, "a /**/ b", "a b" },
	{ LITE, "a /*", "a/*" }, /* two operators: nothing follows */
	{ LITE, "a /* b", "a" },
	{ LITE, "a -- b\rc\nd", "a d" },
	{ LITE, "a $$ -- x\n$$ b", "a $$ $$ b" },
	/* and of Postgres */
	{ PG, "a /* /* x */ b */ c", "a c" },
	{ PG, "a /* /* x */ b", "a" },
	{ PG, "a -- b\rc\nd", "a c d" },
	{ PG, "a [ 1 ]", "a[1]" },
	{ PG, "AS $$ -- x\n  y $$  LANGUAGE sql", "AS $$ -- x\n  y $$ LANGUAGE sql" },
	{ PG, "AS $$\r\n  y\r\n$$\r\n", "AS $$\n  y\n$$" },
	{ PG, "AS $body$ $$ ; /* $body$ ; b", "AS $body$ $$ ; /* $body$;b" },
	{ PG, "AS $a$ $b$ $a$  c", "AS $a$ $b$ $a$ c" },
	{ PG, "a$b$ -- c", "a$b$" },
	{ PG, "$1 + $2", "$1+$2" },
	{ PG, "E'it\\'s  -- so' , x", "E'it\\'s  -- so',x" },
	{ PG, "'a\\'  , b", "'a\\',b" },
	{ PG, "E 'a\\'  , b", "E 'a\\',b" },
	{ PG, "U& 'x'", "U& 'x'" },
	{ PG, "U&'x'", "U&'x'" },
	{ PG, "'a'::text", "'a'::text" },
	{ PG, "a : :b", "a : :b" },
	{ PG, "'a'\n'b'", "'a'\n'b'" },
	{ PG, "'a' -- x\n 'b'", "'a'\n'b'" },
	{ PG, "'a' \r 'b'", "'a'\n'b'" },
	{ PG, "'a' /* \n */ 'b'", "'a' 'b'" }, /* no string goes on behind a block */
	{ PG, "E'a' -- x\n '\\'  , b', c", "E'a'\n'\\'  , b',c" },
	{ PG, "E'a'  '\\'  , b'", "E'a' '\\',b'" },
	{ PG, "E'a' /* \n */ '\\'  , b'", "E'a' '\\',b'" },
	/* what follows a number at once */
	{ PG, "1$a$ -- $a$  , b", "1$a$ -- $a$,b" },
	{ PG, "$1$a$ -- $a$  , b", "$1$a$ -- $a$,b" },
	{ PG, "1E'\\'  -- ' , b", "1E'\\'  -- ',b" },
	{ PG, "1e5E'\\'  -- ' , b", "1e5E'\\'  -- ',b" },
	{ PG, "a1E'\\'  -- ' , b", "a1E'\\'" },
	/* UTF-8 */
	{ LITE, "SELECT  \xC3\xBC  AS  \xE2\x82\xAC ;", "SELECT \xC3\xBC AS \xE2\x82\xAC;" },
};

START_TEST(canonical_form)
{
	const char *text = canonical_rows[_i].text;
	enum sql_dialect dialect = canonical_rows[_i].dialect;
	struct mer_buf once, twice;
	canonical(dialect, text, strlen(text), &once);
	ck_assert_msg(strcmp(text_of(&once), canonical_rows[_i].want) == 0, "row %d '%s': '%s'", _i,
	              text, text_of(&once));
	canonical(dialect, text_of(&once), once.len, &twice);
	ck_assert_msg(strcmp(text_of(&once), text_of(&twice)) == 0, "row %d '%s': again '%s'", _i, text,
	              text_of(&twice));
	mer_buf_release(&once);
	mer_buf_release(&twice);
}
END_TEST

static const struct {
	const char *one, *two;
	bool same;
} sum_rows[] = {
	{ "CREATE TABLE t(a int);", "-- why\nCREATE TABLE t(\n\ta int -- what\n);\n", true },
	{ "CREATE TABLE t(\n a int\n);\n", "CREATE TABLE t(\r\n a int\r\n);\r\n", true },
	{ "CREATE TABLE t(a int);", "CREATE TABLE t(a text);", false },
	{ "CREATE TABLE t(a int);", "CREATE TABLE t(a int)", false },
	{ "-- drop it\nDROP TABLE x;", "-- drop itDROP TABLE x;", false },
	{ "INSERT INTO t VALUES('a\nb');", "INSERT INTO t VALUES('a\r\nb');", true },
	{ "INSERT INTO t VALUES('a\nb');", "INSERT INTO t VALUES('a\rb');", false },
	{ "INSERT INTO t VALUES('a  b');", "INSERT INTO t VALUES('a b');", false },
	{ "SELECT 1;", "SELECT 1;;", false },
	{ "SELECT a b;", "SELECT ab;", false },
};

START_TEST(canonical_sums)
{
	char one[MER_SHA256_SIZE], two[MER_SHA256_SIZE];
	const char *a = sum_rows[_i].one, *b = sum_rows[_i].two;
	ck_assert_int_eq(canonical_sha256(SQL_SQLITE, a, strlen(a), one, NULL), MER_OK);
	ck_assert_int_eq(canonical_sha256(SQL_SQLITE, b, strlen(b), two, NULL), MER_OK);
	ck_assert_msg((strcmp(one, two) == 0) == sum_rows[_i].same, "row %d: '%s', '%s'", _i, a, b);
}
END_TEST

/* The sum is in ledgers: it must never change. */
START_TEST(canonical_sum_is_frozen)
{
	char sum[MER_SHA256_SIZE];
	const char *text = "CREATE TABLE t ( a int ) ; -- x\n";
	ck_assert_int_eq(canonical_sha256(SQL_SQLITE, text, strlen(text), sum, NULL), MER_OK);
	ck_assert_str_eq(sum, "98b1eed44bcc34d3659804b9f3b9a587de45209f8b74908216c1e93353a2ab5c");
	ck_assert_int_eq(canonical_sha256(SQL_SQLITE, "", 0, sum, NULL), MER_OK);
	ck_assert_str_eq(sum, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
END_TEST

/* --- the look ahead ----------------------------------------------------------------------- */

struct look_row {
	const char *text, *want; /* "line:column word", "" for none; '!' first: for another reason */
	size_t statements;
};

static const struct look_row look_rows[] = {
	{ "", "!1:1 ", 0 },
	{ " ; ;; -- x\n /* y */", "!1:1 ", 0 },
	{ "CREATE TABLE t(a)", "", 1 },
	{ "CREATE TABLE t(a); SELECT 1;", "", 2 },
	{ "BEGIN", "1:1 BEGIN", 1 },
	{ "begin transaction;", "1:1 begin", 1 },
	{ "CREATE TABLE t(a);\nCOMMIT;\n", "2:1 COMMIT", 2 },
	{ "CREATE TABLE t(a);\r\n\t/* x */ Commit;\n", "2:10 Commit", 2 },
	{ "SELECT 1; END", "1:11 END", 2 },
	{ "SELECT 1;ROLLBACK TO x", "1:10 ROLLBACK", 2 },
	{ "SAVEPOINT a;", "1:1 SAVEPOINT", 1 },
	{ "RELEASE a;", "1:1 RELEASE", 1 },
	{ "ATTACH 'x' AS y", "1:1 ATTACH", 1 },
	{ "DETACH y", "1:1 DETACH", 1 },
	{ "VACUUM", "1:1 VACUUM", 1 },
	{ "BEGIN;\nCOMMIT;", "1:1 BEGIN", 2 },
	/* not the first word, or no word */
	{ "SELECT 'COMMIT'; SELECT \"COMMIT\"; SELECT [COMMIT]; SELECT `COMMIT`;", "", 4 },
	{ "SELECT 1 -- ; COMMIT\n;", "", 1 },
	{ "SELECT 1 /* ; COMMIT; */;", "", 1 },
	{ "SELECT ';' ; SELECT 'it''s; COMMIT'", "", 2 },
	{ "COMMITTED", "", 1 },
	{ "\"COMMIT\"", "", 1 },
	{ "'COMMIT'", "", 1 },
	{ "EXPLAIN COMMIT", "1:9 COMMIT", 1 },
	{ "EXPLAIN QUERY PLAN COMMIT", "1:20 COMMIT", 1 },
	{ "INSERT OR ROLLBACK INTO t VALUES(1)", "", 1 },
	{ "SELECT CASE WHEN 1 THEN 2 END;", "", 1 },
	/* triggers */
	{ "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; END;", "", 1 },
	{ "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; END; COMMIT", "1:62 COMMIT", 2 },
	{ "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; END", "", 1 },
	{ "create temp trigger x begin select 1; end; END", "1:44 END", 2 },
	{ "CREATE TEMPORARY TRIGGER x BEGIN SELECT 1; END; END", "1:49 END", 2 },
	{ "CREATE /* c */ TRIGGER -- d\n x BEGIN SELECT 1; /* e */ END /* f */ ; END", "2:42 END", 2 },
	{ "CREATE TRIGGER x BEGIN UPDATE t SET a = CASE WHEN 1 THEN ';' ELSE 2 END; SELECT 1; END;"
	  "SELECT 2;",
	  "", 2 },
	{ "CREATE TRIGGER x BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; END; END;", "1:62 END", 2 },
	{ "CREATE TRIGGER x BEGIN SELECT 1;; END; END", "1:40 END", 2 },
	{ "CREATE TABLE trigger_(a); END", "1:27 END", 2 },
	{ "CREATE TABLE x(\"trigger\"); END", "1:28 END", 2 },
	{ "CREATE \"TRIGGER\"; END", "1:19 END", 2 },
	{ "EXPLAIN CREATE TRIGGER x BEGIN SELECT 1; END; END", "1:47 END", 2 },
	{ "EXPLAIN QUERY PLAN CREATE TRIGGER x BEGIN SELECT 1; END; END", "1:58 END", 2 },
	/* what SQLite skips */
	{ "\xef\xbb\xbf COMMIT", "1:5 COMMIT", 1 },
	{ "SELECT 1; \xef\xbb\xbf\xef\xbb\xbf"
	  "COMMIT",
	  "1:17 COMMIT", 2 },
	{ "SELECT 1; \v COMMIT", "1:13 COMMIT", 2 },
	{ "SELECT 1;\f\r\n\tCOMMIT", "2:2 COMMIT", 2 },
	/* comments */
	{ "/* /* */ COMMIT */", "1:10 COMMIT", 1 },
	{ "SELECT 1; /* never\n ends ; COMMIT", "!1:11 ", 1 },
	{ "SELECT 1; /*", "", 2 },
	/* instructions */
	{ "-- mer: no-transaction\nSELECT 1", "", 1 },
	{ "-- mer: no-transacton\nSELECT 1", "!1:1 ", 1 },
	{ "-- mer:no-transaction\nSELECT 1", "!1:1 ", 1 },
	{ "-- mer: no-transaction please\nSELECT 1", "!1:1 ", 1 },
	{ "\n-- mer: nothing, since this is the second line\nSELECT 1", "", 1 },
	{ "-- meringue\nSELECT 1", "", 1 },
	/* outside a transaction: one statement, which may be what runs in none */
	{ "-- mer: no-transaction\nVACUUM;;\n-- x\n;", "", 1 },
	{ "-- mer: no-transaction\nVACUUM;\n VACUUM;", "!3:2 ", 2 },
	{ "-- mer: no-transaction\n-- VACUUM", "!1:1 ", 0 },
	{ "-- mer: no-transaction\nCOMMIT", "2:1 COMMIT", 1 },
	{ "-- mer: no-transaction\nATTACH 'x' AS y", "2:1 ATTACH", 1 },
	{ "-- mer: no-transaction\nCREATE TRIGGER x BEGIN SELECT 1; SELECT 2; END;", "", 1 },
};

static const struct look_row postgres_look_rows[] = {
	{ "", "!1:1 ", 0 },
	{ " ; ;; -- x\n /* /* y */ */", "!1:1 ", 0 },
	{ "CREATE TABLE t(a int)", "", 1 },
	{ "CREATE TABLE t(a int); SELECT 1;", "", 2 },
	{ "BEGIN", "1:1 BEGIN", 1 },
	{ "begin work;", "1:1 begin", 1 },
	{ "Begin/**/;", "1:1 Begin", 1 },
	{ "START TRANSACTION", "1:1 START", 1 },
	{ "SELECT 1;\nCOMMIT;\n", "2:1 COMMIT", 2 },
	{ "COMMIT AND CHAIN", "1:1 COMMIT", 1 },
	{ "COMMIT PREPARED 'x'", "1:1 COMMIT", 1 },
	{ "SELECT 1;\r\n\t/* x */ End;", "2:10 End", 2 },
	{ "ROLLBACK TO x", "1:1 ROLLBACK", 1 },
	{ "ROLLBACK PREPARED 'x'", "1:1 ROLLBACK", 1 },
	{ "ABORT", "1:1 ABORT", 1 },
	{ "SAVEPOINT a", "1:1 SAVEPOINT", 1 },
	{ "RELEASE SAVEPOINT a", "1:1 RELEASE", 1 },
	{ "SELECT 1; PREPARE TRANSACTION 'x'", "1:11 PREPARE", 2 },
	{ "SELECT 1; PREPARE/**/ -- x\n transaction 'x'", "1:11 PREPARE", 2 },
	{ "PREPARE x AS SELECT 1; EXECUTE x", "", 2 },
	{ "PREPARE \"transaction\" AS SELECT 1", "", 1 },
	/* not the first word, or no word */
	{ "SELECT 'COMMIT;'; SELECT \"COMMIT\"; SELECT $$;COMMIT;$$; SELECT E'\\'; COMMIT;'", "", 4 },
	{ "SELECT 1 AS begin; SELECT t.commit FROM t", "", 2 },
	{ "SELECT 1 -- ; COMMIT\n;", "", 1 },
	{ "SELECT 1 /* ; /* ; */ COMMIT; */;", "", 1 },
	{ "COMMITTED; \"COMMIT\"; 'COMMIT'", "", 3 },
	/* quotes */
	{ "SELECT 'a\\'; COMMIT; --'", "1:14 COMMIT", 2 },
	{ "SELECT E'a\\'; COMMIT; --'", "", 1 },
	{ "SELECT e'a\\\\'; COMMIT; --'", "1:16 COMMIT", 2 },
	{ "SELECT U&'a\\'; COMMIT; --'", "1:16 COMMIT", 2 },
	{ "SELECT E'a'\n'\\'; COMMIT; --'", "", 1 },
	{ "SELECT E'a' '\\'; COMMIT; --'", "1:18 COMMIT", 2 },
	{ "SELECT E'a' -- b\n '\\'; COMMIT; --'", "", 1 },
	{ "SELECT 'it''s; COMMIT'; SELECT \"a\"\"; COMMIT\"", "", 2 },
	{ "SELECT $a$ $b$ ; COMMIT; $a$; SELECT $b$ $$ ; COMMIT; $b$", "", 2 },
	{ "SELECT a$b$; COMMIT; $b$", "1:14 COMMIT", 3 },
	{ "SELECT 1$b$; COMMIT; $b$", "", 1 },
	{ "SELECT $1$b$; COMMIT; $b$", "", 1 },
	{ "SELECT $1; COMMIT", "1:12 COMMIT", 2 },
	{ "SELECT 'a;\n COMMIT;", "", 1 },
	{ "SELECT $x$ ; COMMIT", "", 1 },
	{ "SELECT U&\"d;COMMIT\" UESCAPE '!'", "", 1 },
	{ "SELECT B'0;', X'f;', N';'", "", 1 },
	/* bodies of functions */
	{ "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3",
	  "", 2 },
	{ "create or replace procedure f() begin atomic insert into t values (1); end; COMMIT",
	  "1:77 COMMIT", 2 },
	{ "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 ELSE 2 END; SELECT 1 AS end; END;"
	  "COMMIT",
	  "1:93 COMMIT", 2 },
	{ "CREATE FUNCTION f() BEGIN ATOMIC END; COMMIT", "1:39 COMMIT", 2 },
	{ "CREATE FUNCTION f() BEGIN ATOMIC SELECT begin atomic FROM t; END; COMMIT", "1:67 COMMIT",
	  2 },
	{ "CREATE FUNCTION f() BEGIN ATOMIC SELECT (SELECT 1); END; COMMIT", "1:58 COMMIT", 2 },
	{ "CREATE FUNCTION f(begin int, atomic int) RETURNS int RETURN 1; COMMIT", "1:64 COMMIT", 2 },
	{ "CREATE FUNCTION f() AS $$ BEGIN; COMMIT; END $$ LANGUAGE plpgsql; COMMIT", "1:67 COMMIT",
	  2 },
	{ "CREATE TABLE f(); BEGIN ATOMIC", "1:19 BEGIN", 2 },
	{ "SELECT begin atomic; COMMIT", "1:22 COMMIT", 2 },
	{ "DO $$ BEGIN PERFORM ';'; END $$; COMMIT", "1:34 COMMIT", 2 },
	{ "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO u VALUES (1); SELECT 1;); COMMIT",
	  "1:80 COMMIT", 2 },
	{ "SELECT 1); COMMIT", "1:12 COMMIT", 2 },
	/* COPY */
	{ "COPY t FROM STDIN;", "1:13 STDIN", 1 },
	{ "copy public.t (a, b) from stdin with (format csv);", "1:27 stdin", 1 },
	{ "COPY t(a) FROM /* x */ stdin", "1:24 stdin", 1 },
	{ "COPY t FROM STDOUT", "1:13 STDOUT", 1 },
	{ "COPY t TO STDOUT", "1:11 STDOUT", 1 },
	{ "COPY (SELECT 1) TO STDOUT", "1:20 STDOUT", 1 },
	{ "COPY t FROM '/tmp/x'; COPY t FROM 'stdin'; COPY t FROM PROGRAM 'stdin'", "", 3 },
	{ "COPY (SELECT * FROM stdin) TO '/tmp/x'; COPY stdin FROM '/tmp/x'", "", 2 },
	{ "SELECT * FROM stdin; COPY t(stdin) FROM 'x'", "", 2 },
	/* backslash commands */
	{ "\\restrict abc\nSELECT 1;", "!1:1 ", 1 },
	{ "SELECT 1;\n\\connect x", "!2:1 ", 2 },
	{ "SELECT 1 \\gset", "!1:10 ", 1 },
	{ "SELECT '\\restrict', \"\\d\", $$\\.$$ -- \\d\n/* \\d */", "", 1 },
	/* what Postgres skips, and what it does not */
	{ "\f\r\n\tCOMMIT", "2:2 COMMIT", 1 },
	{ "SELECT 1; /* never\n ends ; COMMIT", "!1:11 ", 1 },
	{ "SELECT 1; /* /* */ COMMIT */", "", 1 },
	{ "-- x\rCOMMIT", "1:6 COMMIT", 1 },
	{ "SELECT 1 -/* ; */- 2; COMMIT", "1:23 COMMIT", 2 },
	{ "SELECT 1 +-- ; \n 2; COMMIT", "2:5 COMMIT", 2 },
	/* instructions */
	{ "-- mer: no-transaction\nCREATE INDEX CONCURRENTLY i ON t(a);", "", 1 },
	{ "-- mer: no-transaction\nCREATE INDEX CONCURRENTLY i ON t(a); SELECT 1", "!2:38 ", 2 },
	{ "-- mer: no-transaction\nBEGIN", "2:1 BEGIN", 1 },
	{ "-- mer: no-transaction\nCREATE FUNCTION f() BEGIN ATOMIC SELECT 1; SELECT 2; END;", "", 1 },
	{ "-- mer: transaction\nSELECT 1", "!1:1 ", 1 },
};

static void check_look(enum sql_dialect dialect, const struct look_row *row)
{
	const char *text = row->text;
	struct script_facts facts;
	script_look(dialect, text, strlen(text), &facts);
	char got[100] = "";
	if (facts.refused != NULL) {
		int64_t line, column;
		sql_place(text, facts.refused_at, &line, &column);
		(void)snprintf(got, sizeof got, "%s%" PRId64 ":%" PRId64 " %.*s",
		               facts.subject.len == 0 ? "!" : "", line, column, (int)facts.subject.len,
		               facts.subject.len > 0 ? facts.subject.ptr : "");
	}
	ck_assert_msg(strcmp(got, row->want) == 0 && facts.statements == row->statements,
	              "'%s': '%s', %zu statements", text, got, facts.statements);
}

START_TEST(look_ahead)
{
	check_look(SQL_SQLITE, &look_rows[_i]);
}
END_TEST

START_TEST(look_ahead_postgres)
{
	check_look(SQL_POSTGRES, &postgres_look_rows[_i]);
}
END_TEST

struct fact_row {
	const char *text;
	bool no_transaction, touches_session;
};

static const struct fact_row fact_rows[] = {
	{ "SELECT 1", false, false },
	{ "-- mer: no-transaction\nSELECT 1", true, false },
	{ "-- mer: no-transaction \t\r\nSELECT 1", true, false },
	{ "-- mer: no-transaction  \nSELECT 1", true, false },
	{ "SELECT 1; -- mer: no-transaction", false, false },
	{ " -- mer: no-transaction\nSELECT 1", false, false },
	{ "PRAGMA foreign_keys = OFF", false, true },
	{ "SELECT 1; pragma recursive_triggers = 1;", false, true },
	{ "SELECT 'PRAGMA x'", false, false },
	{ "CREATE TEMP TABLE t(a)", false, true },
	{ "CREATE TABLE temp.t(a)", false, true },
	{ "CREATE TABLE temperature(a)", false, false },
};

static const struct fact_row postgres_fact_rows[] = {
	{ "SELECT 1; SET search_path TO x; SET LOCAL work_mem TO '1MB'", false, false },
	{ "-- mer: no-transaction\r\nVACUUM", true, false },
	{ "SET ROLE x; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE", false, false },
	{ "CREATE TEMP TABLE t(a int)", false, true },
	{ "SELECT 1 INTO TEMPORARY x", false, true },
	{ "CREATE TABLE pg_temp.t(a int)", false, true },
	{ "CREATE TABLE temperature(a int)", false, false },
	{ "DO $$ BEGIN CREATE TEMP TABLE t(a int); END $$", false, true },
	{ "SELECT pg_advisory_unlock_all()", false, true },
	{ "CREATE FUNCTION f() LANGUAGE sql AS 'SELECT pg_advisory_unlock_all()'", false, true },
	{ "PREPARE x AS SELECT 1", false, true },
	{ "DEALLOCATE ALL", false, true },
	{ "DISCARD ALL", false, true },
	{ "LISTEN x", false, true },
	{ "DECLARE c CURSOR WITH HOLD FOR SELECT 1", false, true },
};

static void check_facts(enum sql_dialect dialect, const struct fact_row *row)
{
	struct script_facts facts;
	script_look(dialect, row->text, strlen(row->text), &facts);
	ck_assert_msg(facts.no_transaction == row->no_transaction &&
	                  facts.touches_session == row->touches_session && facts.refused == NULL,
	              "'%s'", row->text);
}

START_TEST(facts_of_scripts)
{
	check_facts(SQL_SQLITE, &fact_rows[_i]);
}
END_TEST

START_TEST(facts_of_postgres_scripts)
{
	check_facts(SQL_POSTGRES, &postgres_fact_rows[_i]);
}
END_TEST

/* Where statements end is what sqlite3_complete() says, over texts put together at random. */
START_TEST(statements_end_as_sqlite_says)
{
	static const char *const words[] = {
		";",       ";",     ";",     "CREATE",  "TRIGGER", "TEMP",  "TEMPORARY", "END",
		"end",     "x",     "(",     "1",       "EXPLAIN", "QUERY", "SELECT",    "'a;b'",
		"\"c;d\"", "[e;f]", "`g;h`", "-- i;\n", "- -",     "CASE",  "$k",        "/* j; */",
	};
	uint64_t state = UINT64_C(88172645463325252) + (uint64_t)_i;
	size_t complete = 0;
	for (int round = 0; round < 10000; round++) {
		char text[400] = "";
		uint32_t n = 1 + random_below(&state, 14);
		for (uint32_t i = 0; i < n; i++) {
			strcat(text, words[random_below(&state, N_ROWS(words))]);
			strcat(text, " ");
		}
		struct script_facts before, after;
		script_look(SQL_SQLITE, text, strlen(text), &before);
		bool ends = sqlite3_complete(text) != 0;
		strcat(text, "x");
		script_look(SQL_SQLITE, text, strlen(text), &after);
		bool begins = after.statements > before.statements;
		/* Nothing at all is no complete statement, but one begins after it. */
		ck_assert_msg(begins == (ends || before.statements == 0), "'%s': SQLite %d", text, ends);
		complete += ends;
	}
	ck_assert_uint_gt(complete, 500);
}
END_TEST

/* A script that the look ahead lets pass does not change SQLite's transaction, whatever is in
 * it. */
START_TEST(what_passes_stays_in_the_transaction)
{
	static const char *const words[] = {
		";",
		";",
		";",
		";",
		"COMMIT",
		"commit",
		"END",
		"ROLLBACK",
		"SELECT 1",
		"SAVEPOINT s",
		"RELEASE s",
		"CREATE TEMP TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1;",
		"SELECT 1; END",
		"EXPLAIN",
		"'",
		"\"",
		"[",
		"]",
		"`",
		"--",
		"\n",
		"/*",
		"*/",
		"DROP TRIGGER tr",
		"BEGIN",
		"-- x\n",
		"/**/",
		"CASE 1 WHEN 1 THEN 2 END",
		"(",
		")",
		"\xef\xbb\xbf",
		"\f",
		"\v",
		"$a(",
		"x'",
	};
	sqlite3 *db;
	ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "CREATE TABLE t(a)", NULL, NULL, NULL), SQLITE_OK);
	uint64_t state = UINT64_C(362436069362436069) + (uint64_t)_i;
	size_t passed = 0, refused = 0;
	for (int round = 0; round < 5000; round++) {
		char text[600] = "";
		uint32_t n = 1 + random_below(&state, 8);
		for (uint32_t i = 0; i < n; i++) {
			strcat(text, words[random_below(&state, N_ROWS(words))]);
			strcat(text, random_below(&state, 4) == 0 ? "" : " ");
		}
		struct script_facts facts;
		script_look(SQL_SQLITE, text, strlen(text), &facts);
		if (facts.refused != NULL) {
			refused++;
			continue;
		}
		passed++;
		ck_assert_int_eq(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
		(void)sqlite3_exec(db, text, NULL, NULL, NULL);
		ck_assert_msg(sqlite3_get_autocommit(db) == 0, "'%s' ended the transaction", text);
		ck_assert_int_eq(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	}
	ck_assert_uint_gt(passed, 500);
	ck_assert_uint_gt(refused, 500);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

/* --- cut and random texts ----------------------------------------------------------------- */

/* What holds for any bytes. */
static void check_any(enum sql_dialect dialect, const char *bytes, size_t len)
{
	char *text = exact_copy(bytes, len);
	struct sql_lex lex;
	sql_lex_init(&lex, dialect, text, len);
	size_t at = 0;
	for (struct sql_token token; token = sql_lex_next(&lex), token.kind != SQL_END;) {
		ck_assert_uint_eq(token.at, at);
		ck_assert_uint_gt(token.len, 0);
		at += token.len;
		ck_assert_uint_le(at, len);
	}
	ck_assert_uint_eq(at, len);
	struct mer_buf once, twice;
	canonical(dialect, text, len, &once);
	canonical(dialect, text_of(&once), once.len, &twice);
	ck_assert_msg(once.len == twice.len && memcmp(text_of(&once), text_of(&twice), once.len) == 0,
	              "'%.*s': '%s', then '%s'", (int)len, text, text_of(&once), text_of(&twice));
	struct script_facts facts, again;
	script_look(dialect, text, len, &facts);
	ck_assert(facts.refused == NULL || facts.refused_at < len || facts.statements == 0);
	/* Comments aside, which are gone, it is still the same script. */
	script_look(dialect, text_of(&once), once.len, &again);
	ck_assert_uint_eq(facts.statements, again.statements);
	mer_buf_release(&once);
	mer_buf_release(&twice);
	free(text);
}

static void check_cuts(enum sql_dialect dialect, const char *text)
{
	for (size_t len = 0; len <= strlen(text); len++)
		check_any(dialect, text, len);
}

START_TEST(any_cut)
{
	for (int i = 0; i < N_ROWS(canonical_rows); i++)
		check_cuts((enum sql_dialect)_i, canonical_rows[i].text);
	for (int i = 0; i < N_ROWS(look_rows); i++)
		check_cuts((enum sql_dialect)_i, look_rows[i].text);
	for (int i = 0; i < N_ROWS(postgres_look_rows); i++)
		check_cuts((enum sql_dialect)_i, postgres_look_rows[i].text);
}
END_TEST

START_TEST(any_bytes)
{
	static const char alphabet[] = "aEx1 \t\n\r\f\v;'\"`[]$-/*().,:@#?&|<=>!\\_\x80\xc3\xff";
	uint64_t state = 2463534242u + (uint64_t)_i;
	for (int round = 0; round < 5000; round++) {
		char text[40];
		size_t len = random_below(&state, sizeof text);
		for (size_t i = 0; i < len; i++)
			text[i] = round % 4 == 0 ? (char)random_below(&state, 256)
			                         : alphabet[random_below(&state, sizeof alphabet - 1)];
		check_any((enum sql_dialect)(_i % SQL_DIALECT_COUNT), text, len);
	}
}
END_TEST

/* --- names -------------------------------------------------------------------------------- */

static const struct {
	const char *file;
	int64_t num; /* 0: refused */
	const char *name;
} name_rows[] = {
	{ "01-A.sql", 1, "A" },
	{ "007-a.sql", 7, "a" },
	{ "1000-Own_models-2.sql", 1000, "Own_models-2" },
	{ "20260131120000-x.sql", 20260131120000, "x" },
	{ "9223372036854775807-x.sql", INT64_MAX, "x" },
	{ "10--.sql", 10, "-" },
	{ "10-1.sql", 10, "1" },
	{ "1-A.sql", 0, NULL },
	{ "00-A.sql", 0, NULL },
	{ "0000-A.sql", 0, NULL },
	{ "9223372036854775808-x.sql", 0, NULL },
	{ "99999999999999999999999999-x.sql", 0, NULL },
	{ "01-.sql", 0, NULL },
	{ "01.sql", 0, NULL },
	{ "01A.sql", 0, NULL },
	{ "01_A.sql", 0, NULL },
	{ "-01-A.sql", 0, NULL },
	{ "A.sql", 0, NULL },
	{ ".sql", 0, NULL },
	{ ".01-A.sql", 0, NULL },
	{ "01-A B.sql", 0, NULL },
	{ "01-A.up.sql", 0, NULL },
	{ "01-\xC3\xBC.sql", 0, NULL },
	{ " 01-A.sql", 0, NULL },
	{ "01-A", 0, NULL },
	{ "", 0, NULL },
};

START_TEST(script_names)
{
	int64_t num = -7;
	struct mer_str name = { 0 };
	enum mer_status st = scan_name(name_rows[_i].file, &num, &name, NULL);
	bool want = name_rows[_i].num != 0;
	ck_assert_msg((st == MER_OK) == want && num == (want ? name_rows[_i].num : -7),
	              "row %d '%s': %" PRId64, _i, name_rows[_i].file, num);
	if (want)
		ck_assert_msg(strlen(name_rows[_i].name) == name.len &&
		                  memcmp(name_rows[_i].name, name.ptr, name.len) == 0,
		              "row %d: '%.*s'", _i, (int)name.len, name.ptr);
}
END_TEST

/* --- the plan ----------------------------------------------------------------------------- */

enum { STRICT = 1, OWN_ONLY = 2 };

/*
 * The ledger and the files as words "NUM-NAME:TEXT". The text's checksum is the text, its canonical
 * one the first letter of it. Behind a row's text '!' says that it was only started; behind a
 * file's '?' that it may not run, '*' that it cannot be read. The plan as words "NUM=STATE:ACTION",
 * ":" and action left out where there is none; then the exit code.
 */
static const struct {
	const char *ledger, *files;
	unsigned flags;
	int64_t to;
	const char *want;
} plan_rows[] = {
	{ "", "", 0, 0, "code=0" },
	{ "", "1-A:a 2-B:b", 0, 0, "1=pending:apply 2=pending:apply code=0" },
	{ "1-A:a 2-B:b", "1-A:a 2-B:b", 0, 0, "1=applied 2=applied code=0" },
	{ "1-A:a", "1-A:a 2-B:b", 0, 0, "1=applied 2=pending:apply code=0" },
	/* --to */
	{ "1-A:a", "1-A:a 2-B:b 3-C:c", 0, 2, "1=applied 2=pending:apply 3=pending code=0" },
	{ "1-A:a", "1-A:a 2-B:b 3-C:c", 0, 1, "1=applied 2=pending 3=pending code=0" },
	{ "1-A:a 2-B:b", "1-A:x 2-B:b 3-C:c", 0, 1, "1=edited:refuse 2=applied 3=pending code=3" },
	/* edits and names */
	{ "1-A:a", "1-A:b", 0, 0, "1=edited:refuse code=3" },
	{ "1-A:a", "1-A:a2", 0, 0, "1=cosmetic:note code=0" },
	{ "1-A:a", "1-A:a2", STRICT, 0, "1=cosmetic:refuse code=3" },
	{ "1-A:a", "1-B:a", 0, 0, "1=renamed:note code=0" },
	{ "1-A:a", "1-B:a", STRICT, 0, "1=renamed:note code=0" },
	{ "1-A:a", "1-B:a2", 0, 0, "1=cosmetic:note code=0" },
	{ "1-A:a", "1-B:b", 0, 0, "1=edited:refuse code=3" },
	{ "1-A:a", "1-A:b 2-B:b", 0, 0, "1=edited:refuse 2=pending:apply code=3" },
	/* missing */
	{ "1-A:a 2-B:b", "2-B:b", 0, 0, "1=missing:refuse 2=applied code=3" },
	{ "1-A:a 2-B:b", "1-A:a", 0, 0, "1=applied 2=missing:refuse code=3" },
	{ "1-A:a", "", 0, 0, "1=missing:refuse code=3" },
	{ "1-A:a", "2-B:a", 0, 0, "1=missing:refuse 2=pending:apply code=3" },
	{ "1-A:a 1000-X:x", "1-A:a", 0, 0, "1=applied 1000=missing:refuse code=3" },
	{ "1-A:a 1000-X:x", "1-A:a", OWN_ONLY, 0, "1=applied 1000=applied code=0" },
	{ "1-A:a 999-X:x", "1-A:a", OWN_ONLY, 0, "1=applied 999=missing:refuse code=3" },
	{ "1-A:a 1000-X:x", "1000-X:x", OWN_ONLY, 0, "1=missing:refuse 1000=applied code=3" },
	/* late, each range for itself */
	{ "1-A:a 3-C:c", "1-A:a 2-B:b 3-C:c", 0, 0, "1=applied 2=late:refuse 3=applied code=3" },
	{ "1000-X:x", "1-A:a 1000-X:x", 0, 0, "1=pending:apply 1000=applied code=0" },
	{ "1000-X:x", "999-A:a 1000-X:x", 0, 0, "999=pending:apply 1000=applied code=0" },
	{ "1-A:a 1002-X:x", "1-A:a 1001-Y:y 1002-X:x", 0, 0,
	  "1=applied 1001=late:refuse 1002=applied code=3" },
	{ "5-E:e", "1000-X:x 5-E:e", 0, 0, "5=applied 1000=pending:apply code=0" },
	{ "3-C:c", "2-B:b?", 0, 0, "2=late:refuse 3=missing:refuse code=3" },
	{ "3-C:c!", "2-B:b", 0, 0, "2=late:refuse 3=half-done:refuse code=3" },
	/* duplicates */
	{ "", "1-A:a 1-B:b", 0, 0, "1=duplicate:refuse 1=duplicate:refuse code=3" },
	{ "1-A:a", "1-A:a 1-B:b", 0, 0, "1=duplicate:refuse 1=duplicate:refuse code=3" },
	{ "1-A:a", "1-A:a 2-B:b 2-C:c 2-D:d 3-E:e", 0, 0,
	  "1=applied 2=duplicate:refuse 2=duplicate:refuse 2=duplicate:refuse 3=pending:apply code=3" },
	{ "", "1-A:a 1-A:a", 0, 0, "1=duplicate:refuse 1=duplicate:refuse code=3" },
	/* half done */
	{ "1-A:a!", "1-A:a", 0, 0, "1=half-done:refuse code=3" },
	{ "1-A:a!", "", 0, 0, "1=half-done:refuse code=3" },
	{ "1000-A:a!", "", OWN_ONLY, 0, "1000=half-done:refuse code=3" },
	/* may not run */
	{ "", "1-A:a?", 0, 0, "1=refused:refuse code=2" },
	{ "", "1-A:a 2-B:b?", 0, 1, "1=pending:apply 2=pending code=0" },
	{ "", "1-A:a 2-B:b*", 0, 1, "1=pending:apply 2=refused:refuse code=2" },
	{ "1-A:a", "1-A:a*", 0, 0, "1=refused:refuse code=2" },
	{ "1-A:a", "1-A:b?", 0, 0, "1=edited:refuse code=3" },
	{ "1-A:a", "1-A:b 2-B:b?", 0, 0, "1=edited:refuse 2=refused:refuse code=3" },
	{ "2-B:b", "1-A:a 2-B:c 3-C:c?", 0, 0,
	  "1=late:refuse 2=edited:refuse 3=refused:refuse code=3" },
	{ "", "1-A:a? 2-B:b 2-C:c", 0, 0,
	  "1=refused:refuse 2=duplicate:refuse 2=duplicate:refuse code=3" },
	/* far apart */
	{ "1-A:a 9223372036854775807-Z:z", "1-A:a 9223372036854775806-Y:y", 0, 0,
	  "1=applied 9223372036854775806=late:refuse 9223372036854775807=missing:refuse code=3" },
};

enum { MANY = 16, WORD = 64 };

struct sample {
	struct mer_ledger_row rows[MANY];
	struct script scripts[MANY];
	struct mer_error problem;
	size_t n_rows, n_scripts;
	char words[2 * MANY][4][WORD];
	size_t n_words;
};

/* Splits "NUM-NAME:TEXT" and its mark into words that stay. */
static char (*sample_words(struct sample *sample, const char *word, char *mark))[WORD]
{
	char(*words)[WORD] = sample->words[sample->n_words++];
	*mark = '\0';
	ck_assert_int_eq(
		sscanf(word, "%63[0-9]-%63[A-Za-z]:%63[a-z0-9]%c", words[0], words[1], words[2], mark) >= 3,
		1);
	words[3][0] = words[2][0];
	words[3][1] = '\0';
	return words;
}

static void add_row(struct sample *sample, const char *word)
{
	char mark;
	char(*words)[WORD] = sample_words(sample, word, &mark);
	sample->rows[sample->n_rows++] = (struct mer_ledger_row){
		.num = strtoll(words[0], NULL, 10),
		.name = words[1],
		.sha256 = words[2],
		.canonical_sha256 = words[3],
		.applied_at = "2026-01-31T12:00:00.000Z",
		.applied_by = "me@here",
		.tool_version = MER_VERSION,
		.state = mark == '!' ? "started" : "applied",
	};
}

static void add_script(struct sample *sample, const char *word)
{
	char mark;
	char(*words)[WORD] = sample_words(sample, word, &mark);
	struct script *script = &sample->scripts[sample->n_scripts++];
	*script = (struct script){
		.num = strtoll(words[0], NULL, 10),
		.file = words[0],
		.name = words[1],
		.folder = "dir",
		.problem = mark != '\0' ? &sample->problem : NULL,
	};
	if (mark == '*')
		return;
	memcpy(script->sha256, words[2], strlen(words[2]) + 1);
	memcpy(script->canonical_sha256, words[3], strlen(words[3]) + 1);
}

static int script_order(const void *a, const void *b)
{
	const struct script *one = a, *two = b;
	return (one->num > two->num) - (one->num < two->num);
}

static void each_word(struct sample *sample, const char *text,
                      void (*add)(struct sample *sample, const char *word))
{
	char copy[300], *rest = copy;
	ck_assert_uint_lt(strlen(text), sizeof copy);
	memcpy(copy, text, strlen(text) + 1);
	for (char *word; (word = strsep(&rest, " ")) != NULL;) {
		if (*word != '\0')
			add(sample, word);
	}
}

static void make_plan(struct sample *sample, int row, struct plan *plan)
{
	*sample = (struct sample){ 0 };
	(void)mer_fail(&sample->problem, MER_EINPUT, "a problem");
	each_word(sample, plan_rows[row].ledger, add_row);
	each_word(sample, plan_rows[row].files, add_script);
	qsort(sample->scripts, sample->n_scripts, sizeof *sample->scripts, script_order);
	struct plan_input input = {
		.rows = sample->rows,
		.n_rows = sample->n_rows,
		.scripts = sample->scripts,
		.n_scripts = sample->n_scripts,
		.strict = (plan_rows[row].flags & STRICT) != 0,
		.own_only = (plan_rows[row].flags & OWN_ONLY) != 0,
		.to = plan_rows[row].to,
	};
	ck_assert_int_eq(plan_make(&input, plan, NULL), MER_OK);
}

START_TEST(plans)
{
	struct sample sample;
	struct plan plan;
	make_plan(&sample, _i, &plan);
	struct mer_buf got;
	mer_buf_init(&got, 4096);
	size_t applied = 0;
	for (size_t i = 0; i < plan.n; i++) {
		const struct entry *entry = &plan.entries[i];
		const char *action = entry_action_name(entry->action);
		mer_buf_printf(&got, "%" PRId64 "=%s%s%s ", entry->num, entry_state_name(entry->state),
		               *action != '\0' ? ":" : "", action);
		applied += entry->action == ACTION_APPLY;
	}
	mer_buf_printf(&got, "code=%d", (int)plan.code);
	ck_assert_msg(strcmp(got.ptr, plan_rows[_i].want) == 0, "row %d: %s", _i, got.ptr);
	ck_assert_uint_eq(applied, plan.actions[ACTION_APPLY]);
	mer_buf_release(&got);
	plan_release(&plan);
	ck_assert_uint_eq(plan.n, 0);
}
END_TEST

/* Whatever hinders or is worth a note is said, in one line; what is as it should be is not. */
START_TEST(words_of_plans)
{
	struct sample sample;
	struct plan plan;
	make_plan(&sample, _i, &plan);
	struct mer_error words;
	size_t hinders = 0;
	for (size_t i = 0; i < plan.n; i++) {
		const struct entry *entry = &plan.entries[i];
		entry_explain(entry, &words);
		bool said = words.message[0] != '\0',
			 quiet = entry->action == ACTION_NONE || entry->action == ACTION_APPLY;
		if (quiet && entry->script != NULL)
			ck_assert_msg(!said, "row %d: '%s'", _i, words.message);
		else
			ck_assert_msg(said, "row %d, entry %zu", _i, i);
		ck_assert_ptr_null(strchr(words.message, '\n'));
		hinders += entry->action == ACTION_REFUSE;
	}
	const struct entry *only = plan_explain(&plan, &words);
	ck_assert_msg((plan.code != EXIT_DONE) == (words.message[0] != '\0'), "row %d", _i);
	ck_assert_msg((only != NULL) == (hinders == 1), "row %d", _i);
	plan_release(&plan);
}
END_TEST

static void explain_row(const char *ledger, const char *files, unsigned flags,
                        struct mer_error *words)
{
	struct sample sample = { 0 };
	struct plan plan;
	each_word(&sample, ledger, add_row);
	each_word(&sample, files, add_script);
	struct plan_input input = { .rows = sample.rows,
		                        .n_rows = sample.n_rows,
		                        .scripts = sample.scripts,
		                        .n_scripts = sample.n_scripts,
		                        .strict = (flags & STRICT) != 0 };
	ck_assert_int_eq(plan_make(&input, &plan, NULL), MER_OK);
	(void)plan_explain(&plan, words);
	plan_release(&plan);
}

START_TEST(words_name_the_script)
{
	struct mer_error words;
	explain_row("1-A:a", "2-B:a", 0, &words);
	ck_assert_str_eq(words.message, "'01-A.sql' ran at 2026-01-31T12:00:00.000Z and is missing");
	ck_assert_str_eq(words.hint, "its text is in '2' now: a script that ran keeps its number");
	explain_row("1-A:a 7-C:c", "1-A:a 3-B:b 7-C:c", 0, &words);
	ck_assert_str_eq(words.message, "'3' is late: script 7 has run already");
	ck_assert_str_eq(words.hint, "give it a number above 7");
	explain_row("1-A:a 2-B:b", "1-A:x 2-B:x", 0, &words);
	ck_assert_str_eq(words.message, "2 scripts are in the way: 1 (edited), 2 (edited)");
	explain_row("1-A:a", "1-A:a2", STRICT, &words);
	ck_assert_str_eq(words.message, "'1' was edited after it ran, in comments or white space only");
	explain_row("1-A:a", "1-B:x", 0, &words);
	ck_assert_str_eq(words.message, "'1' is not '01-A.sql', which ran at 2026-01-31T12:00:00.000Z");
}
END_TEST

/* 10,000 scripts that are all missing and all new: nothing is quadratic. */
START_TEST(many_that_moved)
{
	enum { N = 10000 };
	struct mer_ledger_row *rows = calloc(N, sizeof *rows);
	struct script *scripts = calloc(N, sizeof *scripts);
	char(*sums)[MER_SHA256_SIZE] = calloc(N, sizeof *sums);
	ck_assert(rows != NULL && scripts != NULL && sums != NULL);
	for (size_t i = 0; i < N; i++) {
		(void)snprintf(sums[i], sizeof sums[i], "%064zu", i * 7919 % N);
		rows[i] = (struct mer_ledger_row){ .num = (int64_t)i + 1,
			                               .name = "a",
			                               .sha256 = sums[i],
			                               .canonical_sha256 = sums[i],
			                               .applied_at = "",
			                               .state = "applied",
			                               .tool_version = MER_VERSION };
		scripts[i] = (struct script){ .num = (int64_t)(N + i) + 1, .file = sums[i], .name = "a" };
		memcpy(scripts[i].sha256, sums[N - 1 - i], MER_SHA256_SIZE);
		if (sums[N - 1 - i][0] == '\0') /* not written yet */
			(void)snprintf(scripts[i].sha256, MER_SHA256_SIZE, "%064zu", (N - 1 - i) * 7919 % N);
	}
	struct plan plan;
	struct plan_input input = { .rows = rows, .n_rows = N, .scripts = scripts, .n_scripts = N };
	ck_assert_int_eq(plan_make(&input, &plan, NULL), MER_OK);
	ck_assert_uint_eq(plan.states[ENTRY_MISSING], N);
	for (size_t i = 0; i < plan.n; i++) {
		if (plan.entries[i].state == ENTRY_MISSING)
			ck_assert_ptr_nonnull(plan.entries[i].other);
	}
	struct mer_error words;
	ck_assert_ptr_null(plan_explain(&plan, &words));
	ck_assert_uint_eq(strlen(words.message), sizeof words.message - 1);
	plan_release(&plan);
	free(rows);
	free(scripts);
	free(sums);
}
END_TEST

/* --- repair and baseline ------------------------------------------------------------------ */

/* Ledger and files as for plans. What was named as words: "+NUM" accept, "-NUM" forget; "=NUM" is a
 * baseline. The changes as words "KIND NUM CANONICAL", or the message with '!' before. */
static const struct {
	const char *ledger, *files, *named, *want;
} settle_rows[] = {
	{ "1-A:a", "1-A:b", "+1", "accept 1 b" },
	{ "1-A:a", "1-A:a2", "+1", "accept 1 a" },
	{ "1-A:a", "1-B:a", "+1", "accept 1 a" },
	{ "1-A:a!", "1-A:a", "+1", "accept 1 a" },
	{ "1-A:a!", "1-A:b", "+1", "accept 1 b" },
	{ "1-A:a! 2-B:b", "1-A:b 2-B:c", "+2 +1", "accept 2 c, accept 1 b" },
	{ "1-A:a", "1-A:b", "+1 +1", "accept 1 b" },
	{ "1-A:a", "", "-1", "forget 1 " },
	{ "1-A:a 2-B:b", "2-B:b", "-1", "forget 1 " },
	{ "1-A:a!", "1-A:a", "-1", "forget 1 " },
	{ "1-A:a!", "", "-1", "forget 1 " },
	{ "1-A:a", "1-A:b", "-1", "forget 1 " },
	{ "1-A:a 1000-X:x", "1-A:b 1000-X:x", "-1", "forget 1 " },
	{ "1-A:a 2-B:b", "1-A:x", "+1 -2", "accept 1 x, forget 2 " },
	/* nothing is invented */
	{ "1-A:a", "1-A:a", "+1", "!'1' is as it ran: there is nothing to accept" },
	{ "1-A:a", "1-A:a", "-1", "!'1' is as it ran: there is nothing to forget" },
	{ "", "1-A:a", "+1", "!'1' has not run: there is nothing to accept" },
	{ "", "1-A:a", "-1", "!'1' has not run: there is nothing to forget" },
	{ "2-B:b", "1-A:a 2-B:b", "-1", "!'1' has not run: there is nothing to forget" },
	{ "", "", "-7", "!there is no script 7" },
	{ "1-A:a", "", "+1", "!'01-A.sql' is missing: there is no edit to accept" },
	{ "1-A:a!", "", "+1", "!'01-A.sql' is missing: there is no file to accept" },
	{ "1-A:a", "1-B:a", "-1", "!'1' ran, and says the same: it is not to be forgotten" },
	{ "1-A:a", "1-A:a2", "-1", "!'1' ran, and says the same: it is not to be forgotten" },
	{ "1-A:a 2-B:b", "1-A:x 2-B:b", "-1", "!'1' cannot be forgotten: script 2 has run after it" },
	{ "1-A:a! 2-B:b", "1-A:a 2-B:b", "-1", "!'1' cannot be forgotten: script 2 has run after it" },
	{ "1-A:a", "1-A:b", "+1 -1", "!script 1 is both accepted and forgotten" },
	{ "1-A:a", "1-A:b 1-B:c", "+1", "!'dir/1' and 'dir/1' have the same number" },
	{ "1-A:a", "1-A:a*", "+1", "!a problem" },
	{ "1-A:a 2-B:b", "1-A:x 2-B:b", "+1 +2", "!'2' is as it ran: there is nothing to accept" },
	/* baselines */
	{ "", "1-A:a 2-B:b 3-C:c", "=2", "record 1 a, record 2 b" },
	{ "", "1-A:a", "=999", "record 1 a" },
	{ "", "1-A:a?", "=1", "record 1 a" }, /* it does not run */
	{ "", "1-A:a 1000-X:x", "=1000", "record 1 a, record 1000 x" },
	{ "1-A:a", "1-A:a 2-B:b", "=2", "!the ledger has 1 script already" },
	{ "1-A:a 2-B:b", "1-A:a", "=2", "!the ledger has 2 scripts already" },
	{ "", "3-C:c", "=2", "!there is no script up to 2" },
	{ "", "", "=2", "!there is no script up to 2" },
	{ "", "1-A:a 1-B:b", "=1", "!'dir/1' and 'dir/1' have the same number" },
	{ "", "1-A:a 2-B:b 2-C:c", "=1", "record 1 a" },
	{ "", "1-A:a*", "=1", "!a problem" },
};

static enum mer_status settle(const struct plan *plan, size_t n_rows, const char *named,
                              struct changes *changes, struct mer_error *words)
{
	int64_t accepts[MANY], forgets[MANY], to = 0;
	struct numbers accept = { .at = accepts }, forget = { .at = forgets };
	char copy[100], *rest = copy;
	(void)snprintf(copy, sizeof copy, "%s", named);
	for (char *word; (word = strsep(&rest, " ")) != NULL;) {
		int64_t num = strtoll(word + 1, NULL, 10);
		if (*word == '+')
			accepts[accept.n++] = num;
		else if (*word == '-')
			forgets[forget.n++] = num;
		else
			to = num;
	}
	return to != 0 ? settle_baseline(plan, n_rows, to, changes, words)
	               : settle_repair(plan, accept, forget, changes, words);
}

START_TEST(settles)
{
	struct sample sample = { 0 };
	struct plan plan;
	(void)mer_fail(&sample.problem, MER_EINPUT, "a problem");
	each_word(&sample, settle_rows[_i].ledger, add_row);
	each_word(&sample, settle_rows[_i].files, add_script);
	struct plan_input input = { .rows = sample.rows,
		                        .n_rows = sample.n_rows,
		                        .scripts = sample.scripts,
		                        .n_scripts = sample.n_scripts };
	ck_assert_int_eq(plan_make(&input, &plan, NULL), MER_OK);
	struct changes changes = { 0 };
	struct mer_error words;
	struct mer_buf got;
	mer_buf_init(&got, 1000);
	mer_buf_text(&got, "");
	enum mer_status st = settle(&plan, sample.n_rows, settle_rows[_i].named, &changes, &words);
	if (st != MER_OK)
		mer_buf_printf(&got, "!%s", words.message);
	for (size_t i = 0; i < changes.n; i++)
		mer_buf_printf(&got, "%s%s %" PRId64 " %s", i == 0 ? "" : ", ",
		               change_name(changes.at[i].kind), changes.at[i].entry->num,
		               changes.at[i].canonical_sha256);
	ck_assert_msg(strcmp(text_of(&got), settle_rows[_i].want) == 0, "row %d: '%s'", _i,
	              text_of(&got));
	ck_assert(st == MER_OK || st == MER_EINPUT || st == MER_ECONFLICT);
	mer_buf_release(&got);
	changes_release(&changes);
	plan_release(&plan);
}
END_TEST

/* --- options ------------------------------------------------------------------------------ */

static const struct {
	const char *line, *want; /* the command and what was set; or the message, with '!' before */
} option_rows[] = {
	{ "up", "up" },
	{ "up --to 5", "up to=5" },
	{ "--to 5 up", "up to=5" },
	{ "up --to=5 --dry-run", "up to=5 dry-run" },
	{ "--json status --check", "status check json" },
	{ "status --quiet --strict", "status strict quiet" },
	{ "--dir a up --dir=b", "up dir=a dir=b" },
	{ "up --database sqlite:x --wait 2s", "up database=sqlite:x wait=2000" },
	{ "up --wait 0", "up wait=0" },
	{ "up --to 5 --to 6", "up to=6" },
	{ "plan --env-file x", "plan env-file=x" },
	{ "-- verify", "verify" },
	{ "--dir=--x verify", "verify dir=--x" },
	{ "--help", "help" },
	{ "up --help", "up help" },
	{ "--version", "version" },
	{ "", "!no command" },
	{ "--json", "!no command" },
	{ "ups", "!unknown command 'ups'" },
	{ "stat", "!unknown command 'stat'" },
	{ "up up", "!'up' takes no argument 'up'" },
	{ "up 5", "!'up' takes no argument '5'" },
	{ "up --bogus", "!unknown option '--bogus'" },
	{ "up -q", "!unknown option '-q'" },
	{ "up --Json", "!unknown option '--Json'" },
	{ "up --jso", "!unknown option '--jso'" },
	{ "up --to", "!option '--to' needs a value" },
	{ "up --to --json", "!option '--to' needs a value" },
	{ "up --to=", "!the value of option '--to' is empty" },
	{ "up --to x", "!option '--to': not a whole number: 'x'" },
	{ "up --to 0", "!option '--to': scripts have numbers from 1" },
	{ "up --to -1", "!option '--to': scripts have numbers from 1" },
	{ "up --to 99999999999999999999", "!option '--to': number too large: '99999999999999999999'" },
	{ "up --wait soon", "!option '--wait': not a duration: 'soon'" },
	{ "up --json=yes", "!option '--json' takes no value" },
	{ "up --check", "!'up' has no option '--check'" },
	{ "status --to 5", "!'status' has no option '--to'" },
	{ "verify --dry-run", "!'verify' has no option '--dry-run'" },
	{ "baseline 5", "baseline to=5" },
	{ "--json baseline 5", "baseline to=5 json" },
	{ "baseline", "!'baseline' needs a N" },
	{ "baseline five", "!'baseline N': not a whole number: 'five'" },
	{ "baseline 0", "!'baseline N': scripts have numbers from 1" },
	{ "baseline 5 6", "!'baseline' takes no argument '6'" },
	{ "baseline --to 5", "!'baseline' has no option '--to'" },
	{ "repair", "repair" },
	{ "repair --forget 5 --accept-edit=7 --forget 6", "repair accept=7 forget=5 forget=6" },
	{ "repair 5", "!'repair' takes no argument '5'" },
	{ "repair --forget", "!option '--forget' needs a value" },
	{ "repair --forget all", "!option '--forget': not a whole number: 'all'" },
	{ "up --forget 5", "!'up' has no option '--forget'" },
	{ "new Name", "new name=Name" },
	{ "new --dir d Name", "new dir=d name=Name" },
	{ "new", "!'new' needs a NAME" },
	{ "new A B", "!'new' takes no argument 'B'" },
};

static void options_text(const struct options *options, struct mer_buf *out)
{
	static const char *const names[] = { "",       "up",       "status", "plan",
		                                 "verify", "baseline", "repair", "new" };
	mer_buf_text(out, names[options->command]);
	if (options->to != 0)
		mer_buf_printf(out, " to=%" PRId64, options->to);
	if (options->dry_run)
		mer_buf_text(out, " dry-run");
	if (options->check)
		mer_buf_text(out, " check");
	if (options->database != NULL)
		mer_buf_printf(out, " database=%s", options->database);
	for (size_t i = 0; i < options->n_dirs; i++)
		mer_buf_printf(out, " dir=%s", options->dirs[i]);
	if (options->name != NULL)
		mer_buf_printf(out, " name=%s", options->name);
	for (size_t i = 0; i < options->n_accepts; i++)
		mer_buf_printf(out, " accept=%" PRId64, options->accepts[i]);
	for (size_t i = 0; i < options->n_forgets; i++)
		mer_buf_printf(out, " forget=%" PRId64, options->forgets[i]);
	if (options->wait_ms != 30000)
		mer_buf_printf(out, " wait=%" PRId64, options->wait_ms);
	if (options->strict)
		mer_buf_text(out, " strict");
	if (options->json)
		mer_buf_text(out, " json");
	if (options->quiet)
		mer_buf_text(out, " quiet");
	if (options->env_file != NULL)
		mer_buf_printf(out, " env-file=%s", options->env_file);
	if (options->version)
		mer_buf_text(out, " version");
	if (options->help)
		mer_buf_text(out, " help");
}

START_TEST(command_lines)
{
	char line[200], *rest = line, program[] = "mer-migrate", *argv[20] = { program };
	int argc = 1;
	(void)snprintf(line, sizeof line, "%s", option_rows[_i].line);
	for (char *word; (word = strsep(&rest, " ")) != NULL;) {
		if (*word != '\0')
			argv[argc++] = word;
	}
	struct options options;
	struct mer_error err;
	struct mer_buf got;
	mer_buf_init(&got, 1000);
	if (options_parse(argc, argv, &options, &err) == MER_OK)
		options_text(&options, &got);
	else
		mer_buf_printf(&got, "!%s", err.message);
	const char *text = text_of(&got);
	text += *text == ' '; /* without a command */
	ck_assert_msg(strcmp(text, option_rows[_i].want) == 0, "row %d '%s': '%s'", _i,
	              option_rows[_i].line, text);
	ck_assert(options.json == (strstr(option_rows[_i].line, "--json") != NULL &&
	                           strstr(option_rows[_i].line, "--json=") == NULL));
	options_release(&options);
	mer_buf_release(&got);
}
END_TEST

/* --- the suite ---------------------------------------------------------------------------- */

Suite *suite(void)
{
	Suite *all = suite_create("migrate_plan");
	TCase *tc = tcase_create("canonical");
	tcase_add_loop_test(tc, canonical_form, 0, N_ROWS(canonical_rows));
	tcase_add_loop_test(tc, canonical_sums, 0, N_ROWS(sum_rows));
	tcase_add_test(tc, canonical_sum_is_frozen);
	suite_add_tcase(all, tc);

	tc = tcase_create("look");
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, look_ahead, 0, N_ROWS(look_rows));
	tcase_add_loop_test(tc, look_ahead_postgres, 0, N_ROWS(postgres_look_rows));
	tcase_add_loop_test(tc, facts_of_scripts, 0, N_ROWS(fact_rows));
	tcase_add_loop_test(tc, facts_of_postgres_scripts, 0, N_ROWS(postgres_fact_rows));
	tcase_add_loop_test(tc, statements_end_as_sqlite_says, 0, 4);
	tcase_add_loop_test(tc, what_passes_stays_in_the_transaction, 0, 4);
	suite_add_tcase(all, tc);

	tc = tcase_create("bytes");
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, any_cut, 0, SQL_DIALECT_COUNT);
	tcase_add_loop_test(tc, any_bytes, 0, 2 * SQL_DIALECT_COUNT);
	suite_add_tcase(all, tc);

	tc = tcase_create("plan");
	tcase_add_loop_test(tc, script_names, 0, N_ROWS(name_rows));
	tcase_add_loop_test(tc, plans, 0, N_ROWS(plan_rows));
	tcase_add_loop_test(tc, words_of_plans, 0, N_ROWS(plan_rows));
	tcase_add_test(tc, words_name_the_script);
	tcase_add_test(tc, many_that_moved);
	tcase_add_loop_test(tc, settles, 0, N_ROWS(settle_rows));
	tcase_add_loop_test(tc, command_lines, 0, N_ROWS(option_rows));
	suite_add_tcase(all, tc);
	return all;
}
