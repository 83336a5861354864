/*
 * Scripts: messages of the simple query protocol, which the server splits by its own parser, and the
 * transaction that is one such message from its BEGIN to its COMMIT.
 *
 * A script's session ends with it: what it has set goes before the next statement. A cursor that
 * lives as long as the transaction tells whether a script that could do so has ended that.
 */
#include "postgres.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* What stands around a script. Behind it there must be no quote and no end of a comment: what the
 * script leaves open is to be found open. */
#define BEGIN "BEGIN;"
#define BEGIN_COMMITTED "BEGIN ISOLATION LEVEL READ COMMITTED;"
#define GUARD "DECLARE mer_script CURSOR FOR VALUES (1);"
#define RESET "RESET ALL;"
#define RESET_MORE "RESET SESSION AUTHORIZATION;RESET ROLE;DISCARD TEMP;"
#define NO_CURSOR "34000" /* invalid_cursor_name */
/* What a statement that runs without a transaction, as CREATE INDEX CONCURRENTLY does, leaves if it
 * fails half way. */
#define COUNT_HALF_DONE \
	"SELECT count(*) FROM pg_catalog.pg_index WHERE NOT (indisvalid AND indisready AND indislive)"

/* --- a message ---------------------------------------------------------------------------- */

static void add_script(struct pg_message *message, const char *sql, size_t len)
{
	message->script_at = message->sql.len;
	message->script_len = len;
	mer_buf_add(&message->sql, sql, len);
}

/* What each session starts with, and RESET comes back to, need not be said with each script. */
static void add_begin(struct postgres *pg)
{
	mer_buf_text(&pg->message.sql, pg->reads_committed ? BEGIN : BEGIN_COMMITTED);
}

/* Whether one of the words, up to NULL, stands anywhere in it, be it within another. */
static bool mentions(const char *sql, const char *const words[])
{
	for (; *words != NULL; words++) {
		if (strcasestr(sql, *words) != NULL)
			return true;
	}
	return false;
}

/* Adds a script of a transaction and what ends what it has begun in its session. Each statement costs
 * the server some microseconds a script, so those that few scripts need are sent where a word hints at
 * it. Nothing but a statement of the script itself can end the transaction: what functions do cannot.
 * RESET is such a word since its own is the sign that an unguarded script is over. */
static void add_within(struct pg_message *message, const char *sql, size_t len)
{
	static const char *const ends[] = { "commit",  "end",   "rollback", "abort",
		                                "prepare", "reset", NULL };
	static const char *const stays[] = { "set", "temp", "auth", NULL };
	message->guarded = mentions(sql, ends);
	if (message->guarded)
		mer_buf_text(&message->sql, GUARD);
	add_script(message, sql, len);
	mer_buf_text(&message->sql, message->guarded ? PG_BEHIND_GUARDED RESET : PG_BEHIND);
	if (mentions(sql, stays))
		mer_buf_text(&message->sql, RESET_MORE);
}

static void clear(struct pg_message *message)
{
	mer_buf_clear(&message->sql);
	message->script_at = message->script_len = 0;
	message->guarded = false;
}

void pg_add_text(const struct postgres *pg, enum mer_query query, struct mer_buf *buf)
{
	static const char mark[] = "{ledger}";
	const char *text = query < MER_Q_COUNT ? pg_text[query] : pg_batch_text[query - MER_Q_COUNT];
	for (const char *at; (at = strstr(text, mark)) != NULL; text = at + strlen(mark)) {
		mer_buf_add(buf, text, (size_t)(at - text));
		if (pg->schema != NULL)
			mer_buf_printf(buf, "%s.", pg->schema);
		mer_buf_text(buf, "migrations");
	}
	mer_buf_text(buf, text);
}

/* The byte of a character, which Postgres counts from 1. */
static size_t byte_of(const char *text, size_t len, int64_t character)
{
	size_t at = 0;
	while (at < len && character > 1) {
		at++;
		while (at < len && ((unsigned char)text[at] & 0xc0) == 0x80)
			at++;
		character--;
	}
	return at;
}

/* The statement of the script that failed, when so many of the message were done. Each of ours ends
 * with a semicolon and has no other. */
static int64_t statement_of(const struct pg_message *message, int64_t done)
{
	for (size_t i = 0; i < message->script_at; i++)
		done -= message->sql.ptr[i] == ';';
	return done < 0 ? 0 : done + 1;
}

/* Whether it was a statement before the script that failed, which is ours. A mistake in the script's
 * syntax is found before any statement is done. */
static bool is_before(const struct pg_message *message, const PGresult *result, int64_t done)
{
	const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
	return statement_of(message, done) == 0 &&
	       (position == NULL || byte_of(message->sql.ptr, message->sql.len,
	                                    strtoll(position, NULL, 10)) < message->script_at);
}

/* The place of an error in the script. What is found behind its end began within it. */
static void find_place(const struct pg_message *message, const PGresult *result, int64_t done,
                       struct mer_script_place *place)
{
	const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
	if (position == NULL) {
		place->statement = statement_of(message, done);
		return;
	}
	size_t at = byte_of(message->sql.ptr, message->sql.len, strtoll(position, NULL, 10));
	if (at < message->script_at)
		return;
	at -= message->script_at;
	if (at > message->script_len)
		at = message->script_len;
	const char *sql = message->sql.ptr + message->script_at;
	place->line = place->column = 1;
	for (const char *c = sql; c < sql + at; c++) {
		place->column = *c == '\n' ? 1 : place->column + 1;
		place->line += *c == '\n';
	}
}

/* Whether it is the ledger that has such a row, rather than a table of the script. */
static bool is_ledger(const struct postgres *pg, const PGresult *result)
{
	const char *table = PQresultErrorField(result, PG_DIAG_TABLE_NAME);
	const char *schema = PQresultErrorField(result, PG_DIAG_SCHEMA_NAME);
	if (table == NULL || schema == NULL || strcmp(table, "migrations") != 0)
		return false;
	/* One that is quoted is not compared: the ledger is the likelier. */
	return pg->schema == NULL || *pg->schema == '"' || strcmp(schema, pg->schema) == 0;
}

/* Whether the script has made its own transaction read-only: the server says of the session that it
 * is not. */
static bool made_read_only(const struct postgres *pg, const char *code)
{
	return code != NULL && strcmp(code, "25006") == 0 && !pg->base.read_only &&
	       PQparameterStatus(pg->conn, "in_hot_standby") != NULL;
}

/* Whether the failure looks like one from before a statement did anything: a mistake in it, a state in
 * which it cannot run. Functions that it calls may fail so at any time. */
static bool refused_at_once(const PGresult *result)
{
	static const char *const before[] = { "42", "0A", "25", "3" };
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	for (size_t i = 0; code != NULL && i < DAL_COUNT(before); i++) {
		if (strncmp(code, before[i], strlen(before[i])) == 0)
			return true;
	}
	return false;
}

/* How far the server is with a message: what it has done last says whether the script is over. */
struct progress {
	int64_t done; /* statements */
	enum { WITHIN, CLOSED, BEHIND } part;
};

/* Behind a script come CLOSE, where it is guarded, and RESET, and before its row nothing but what resets
 * or prepares. */
static void note_done(struct progress *progress, bool guarded, const char *tag)
{
	const bool resets = strcmp(tag, "RESET") == 0;
	progress->done++;
	if (strcmp(tag, "CLOSE CURSOR") == 0)
		progress->part = CLOSED;
	else if (resets && (progress->part == CLOSED || !guarded))
		progress->part = BEHIND;
	else if (!resets && strcmp(tag, "DISCARD TEMP") != 0 && strcmp(tag, "PREPARE") != 0)
		progress->part = WITHIN;
}

static enum mer_status fail_message(struct postgres *pg, const PGresult *result,
                                    const struct progress *progress, struct mer_script_place *place,
                                    struct mer_error *err)
{
	const int64_t done = progress->done;
	if (pg_is_leaving(result) || PQstatus(pg->conn) == CONNECTION_BAD)
		return pg_fail_lost(pg, PQresultErrorMessage(result), err);
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *said = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	if (code != NULL && strcmp(code, NO_CURSOR) == 0 && said != NULL &&
	    strstr(said, "mer_script") != NULL)
		return mer_fail(err, MER_EINPUT, "the script ended its transaction");
	if (is_before(&pg->message, result, done) ||
	    (code != NULL && strcmp(code, "23505") == 0 && is_ledger(pg, result)) ||
	    (code != NULL && strcmp(code, "42501") == 0 && progress->part == BEHIND))
		return pg_fail(pg, result, NULL, err);
	if (made_read_only(pg, code)) {
		place->statement = statement_of(&pg->message, done);
		return mer_fail(err, MER_EINPUT, "%s (SQLSTATE %s)", said, code);
	}
	enum mer_status st = pg_fail_script(pg, result, err);
	place->untouched = st == MER_EINPUT && refused_at_once(result);
	if (st == MER_EINPUT)
		find_place(&pg->message, result, done, place);
	return st;
}

/* A script's COPY would wait for bytes of ours, or bring some. */
static void end_copy(struct postgres *pg, ExecStatusType status)
{
	char *bytes;
	if (status != PGRES_COPY_OUT) {
		(void)PQputCopyEnd(pg->conn, "a script brings no data of COPY FROM STDIN");
		return;
	}
	while (PQgetCopyData(pg->conn, &bytes, 0) > 0)
		PQfreemem(bytes);
}

/* Reads the results of the message; *value becomes the number in the last row that came. */
static enum mer_status read_results(struct postgres *pg, struct mer_script_place *place,
                                    int64_t *value, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	PGresult *result;
	struct progress progress = { 0 };
	while (pg->conn != NULL && (result = PQgetResult(pg->conn)) != NULL) {
		ExecStatusType status = PQresultStatus(result);
		if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
			note_done(&progress, pg->message.guarded, PQcmdStatus(result));
		if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH)
			end_copy(pg, status);
		else if (status == PGRES_TUPLES_OK && PQntuples(result) == 1 && PQnfields(result) == 1)
			*value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
		else if (status == PGRES_FATAL_ERROR && st == MER_OK)
			st = fail_message(pg, result, &progress, place, err);
		PQclear(result);
	}
	return st;
}

/* Sends the message, for which the pipeline must be empty. */
static enum mer_status run_message(struct postgres *pg, struct mer_script_place *place,
                                   int64_t *value, struct mer_error *err)
{
	int64_t unused;
	enum mer_status st = mer_buf_check(&pg->message.sql, err);
	if (st != MER_OK)
		return st;
	/* A script may have thrown away what was prepared, so that is done anew, by other names. */
	pg->generation++;
	memset(pg->prepared, PG_NOT_PREPARED, sizeof pg->prepared);
	if (PQexitPipelineMode(pg->conn) == 0 || PQsendQuery(pg->conn, pg->message.sql.ptr) == 0)
		return pg_fail_send(pg, err);
	st = read_results(pg, place, value != NULL ? value : &unused, err);
	if (pg->conn != NULL && PQenterPipelineMode(pg->conn) == 0)
		return pg_fail_send(pg, err);
	return st;
}

/* --- a script ----------------------------------------------------------------------------- */

static enum mer_status check_nul(const char *sql, size_t len, struct mer_script_place *place,
                                 struct mer_error *err)
{
	const char *nul = memchr(sql, '\0', len);
	if (nul == NULL)
		return MER_OK;
	*place = (struct mer_script_place){ .line = 1, .column = 1 };
	for (; sql < nul; sql++) {
		place->column = *sql == '\n' ? 1 : place->column + 1;
		place->line += *sql == '\n';
	}
	return mer_fail(err, MER_EINPUT, "a NUL byte in the script");
}

/* One statement without a transaction, and then what ends its session: two messages, since one would
 * be a transaction. */
static enum mer_status script_alone(struct postgres *pg, const char *sql, size_t len,
                                    struct mer_script_place *place, struct mer_error *err)
{
	pg->canceled = 0;
	enum mer_status st = pg_ready(pg, err);
	if (st != MER_OK)
		return st;
	clear(&pg->message);
	add_script(&pg->message, sql, len);
	st = run_message(pg, place, NULL, err);
	if (pg->conn == NULL) {
		place->untouched = false;
		return st;
	}
	clear(&pg->message);
	mer_buf_text(&pg->message.sql, RESET RESET_MORE);
	if (place->untouched && place->line == 0) /* not a mistake in its text */
		mer_buf_text(&pg->message.sql, COUNT_HALF_DONE);
	struct mer_script_place nowhere = { 0 };
	int64_t half_done = 0;
	enum mer_status reset = run_message(pg, &nowhere, &half_done, st == MER_OK ? err : NULL);
	place->untouched = place->untouched && reset == MER_OK && half_done == 0;
	return st == MER_OK ? reset : st;
}

static enum mer_status script_within(struct postgres *pg, const char *sql, size_t len,
                                     struct mer_script_place *place, struct mer_error *err)
{
	enum mer_status st = pg_may_go_on(pg, err);
	if (st == MER_OK)
		st = pg_batch_send(pg, err);
	if (st == MER_OK && pg->n_sent > 0)
		st = pg_settle(pg, NULL, NULL, err);
	if (st != MER_OK)
		return st;
	clear(&pg->message);
	if (pg->tx == PG_TX_WANTED)
		add_begin(pg);
	add_within(&pg->message, sql, len);
	pg->tx = PG_TX_OPEN;
	st = run_message(pg, place, NULL, err);
	pg->failed = st != MER_OK;
	return st;
}

enum mer_status pg_script(struct mer_dal *dal, const char *sql, size_t len,
                          struct mer_script_place *place, struct mer_error *err)
{
	struct postgres *pg = as_postgres(dal);
	static const char *const runs[] = { "select", "call", "do", NULL };
	static const char *const forgets[] = { "deallocate", "discard", NULL };
	enum mer_status st = check_nul(sql, len, place, err);
	pg->unsure = pg->unsure || mentions(sql, runs);
	if (st != MER_OK)
		return st;
	if (pg->tx == PG_TX_NONE)
		return script_alone(pg, sql, len, place, err);
	if (pg->tx != PG_TX_TOGETHER)
		return script_within(pg, sql, len, place, err);
	add_within(&pg->message, sql, len);
	if (mentions(sql, forgets))
		pg->ledger_prepared = false;
	return mer_buf_check(&pg->message.sql, err);
}

/* --- all in one message ------------------------------------------------------------------- */

enum mer_status pg_together_begin(struct postgres *pg, struct mer_error *err)
{
	clear(&pg->message);
	add_begin(pg);
	pg->tx = PG_TX_TOGETHER;
	return mer_buf_check(&pg->message.sql, err);
}

/* In dollars, or in hexadecimal digits, so that nothing in it can end what a script has left open. */
static void add_quoted(struct mer_buf *buf, struct mer_str text)
{
	size_t plain = 0;
	while (plain < text.len &&
	       (isalnum((unsigned char)text.ptr[plain]) || memchr("_-.@", text.ptr[plain], 4) != NULL))
		plain++;
	if (plain == text.len) {
		mer_buf_text(buf, "$mer$");
		mer_buf_add(buf, text.ptr, text.len);
		mer_buf_text(buf, "$mer$");
		return;
	}
	mer_buf_text(buf, "convert_from($mer$\\x");
	for (size_t i = 0; i < text.len; i++)
		mer_buf_printf(buf, "%02x", (unsigned char)text.ptr[i]);
	mer_buf_text(buf, "$mer$, $mer$UTF8$mer$)");
}

static void add_value(struct mer_buf *buf, const struct mer_value *value)
{
	switch (value->type) {
	case MER_VALUE_NULL: mer_buf_text(buf, "NULL"); return;
	case MER_VALUE_I64: mer_buf_printf(buf, "(%lld)", (long long)value->number); return;
	case MER_VALUE_TEXT: add_quoted(buf, value->text); return;
	case MER_VALUE_BLOB: MER_ASSERT(value->type != MER_VALUE_BLOB); /* no ledger has one */
	}
}

/* The row of a script, by a statement that is prepared with the first one: to parse and plan it each
 * time would cost a third of what a small script does. */
static void add_row(struct postgres *pg, const struct dal_call *call)
{
	struct mer_buf *sql = &pg->message.sql;
	if (!pg->ledger_prepared) {
		/* By a name of its own, since nobody knows whether the last one is still there. */
		mer_buf_printf(sql, "PREPARE mer_ledger_%u AS ", ++pg->ledger_generation);
		pg_add_text(pg, call->query, sql);
		mer_buf_text(sql, " RETURNING duration_ms;");
	}
	mer_buf_printf(sql, "EXECUTE mer_ledger_%u", pg->ledger_generation);
	for (size_t i = 0; i < call->shape->n_args; i++) {
		mer_buf_byte(sql, i == 0 ? '(' : ',');
		add_value(sql, &call->args[i]);
	}
	mer_buf_text(sql, ");");
}

enum mer_status pg_together_run(struct postgres *pg, const struct dal_call *call,
                                struct mer_error *err)
{
	MER_ASSERT(call->on_row == NULL && !call->counts);
	struct mer_buf *sql = &pg->message.sql;
	if (call->query == MER_Q_LEDGER_INSERT) {
		add_row(pg, call);
	} else {
		MER_ASSERT(call->shape->n_args == 0);
		pg_add_text(pg, call->query, sql);
		mer_buf_byte(sql, ';');
	}
	return mer_buf_check(sql, err);
}

enum mer_status pg_together_end(struct postgres *pg, bool commit, struct mer_error *err)
{
	if (!commit)
		return MER_OK; /* the server has not heard of it */
	if (pg->canceled)
		return pg_fail_canceled(pg, err);
	mer_buf_text(&pg->message.sql, "COMMIT");
	int64_t ms = -1;
	enum mer_status st = run_message(pg, &pg->base.place, &ms, err);
	pg->ledger_prepared = st == MER_OK;
	if (st == MER_OK) {
		pg->base.script_ms = ms;
		return MER_OK;
	}
	pg_roll_back(pg);
	return st;
}
