/*
 * The Postgres backend: one connection, its transaction and its statements. The other files of the
 * module are postgres_*.c; postgres.h says how they work together.
 */
#include "postgres.h"

#include <endian.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>

/* --- sending ------------------------------------------------------------------------------ */

/* Room in the list of what was sent, before sending. */
static enum mer_status note_sent(struct postgres *pg, struct pg_sent sent, struct mer_error *err)
{
	if (pg->n_sent == pg->cap_sent) {
		size_t cap = pg->cap_sent == 0 ? 64 : 2 * pg->cap_sent;
		struct pg_sent *list = reallocarray(pg->sent, cap, sizeof *list);
		if (list == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory for %zu statements", cap);
		pg->sent = list;
		pg->cap_sent = cap;
	}
	pg->sent[pg->n_sent] = sent;
	return MER_OK;
}

enum mer_status pg_send_text(struct postgres *pg, const char *sql, const int64_t *key,
                             struct mer_error *err)
{
	char number[24] = "";
	const char *values[] = { number };
	if (key != NULL)
		(void)snprintf(number, sizeof number, "%lld", (long long)*key);
	enum mer_status st = note_sent(pg, (struct pg_sent){ .kind = PG_SENT_TEXT }, err);
	if (st != MER_OK)
		return st;
	if (PQsendQueryParams(pg->conn, sql, key != NULL, NULL, values, NULL, NULL, 0) == 0)
		return pg_fail_send(pg, err);
	pg->n_sent++;
	return MER_OK;
}

struct statement_name {
	char text[64];
};

/* Whether the best plan depends on the arguments. A statement without a name is planned for them. */
static bool plans_anew(enum mer_query query)
{
	return query == MER_Q_RUNS || query == MER_Q_RUNS_AFTER || query == MER_Q_RUN_TIMES;
}

static struct statement_name name_statement(const struct postgres *pg, enum mer_query query,
                                            const struct dal_query *shape)
{
	struct statement_name name = { "" };
	if (!plans_anew(query))
		(void)snprintf(name.text, sizeof name.text, "%s%s.%u", shape->name,
		               query < MER_Q_COUNT ? "" : "s", pg->generation);
	return name;
}

static enum mer_status send_prepare(struct postgres *pg, enum mer_query query,
                                    const struct dal_query *shape, struct mer_error *err)
{
	if (pg->prepared[query] != PG_NOT_PREPARED && !plans_anew(query))
		return MER_OK;
	struct mer_buf text;
	mer_buf_init(&text, PG_MESSAGE_MAX);
	pg_add_text(pg, query, &text);
	enum mer_status st = mer_buf_check(&text, err);
	if (st == MER_OK)
		st = note_sent(
			pg, (struct pg_sent){ .kind = PG_SENT_PREPARE, .query = query, .shape = shape }, err);
	const struct statement_name name = name_statement(pg, query, shape);
	if (st == MER_OK && PQsendPrepare(pg->conn, name.text, text.ptr, 0, NULL) == 0)
		st = pg_fail_send(pg, err);
	mer_buf_release(&text);
	if (st != MER_OK)
		return st;
	pg->prepared[query] = PG_PREPARING;
	pg->n_sent++;
	return MER_OK;
}

enum mer_status pg_send_query(struct postgres *pg, enum mer_query query,
                              const struct dal_query *shape, const struct pg_args *args,
                              struct mer_error *err)
{
	enum mer_status st = send_prepare(pg, query, shape, err);
	if (st == MER_OK)
		st = note_sent(
			pg, (struct pg_sent){ .kind = PG_SENT_QUERY, .query = query, .shape = shape }, err);
	if (st != MER_OK)
		return st;
	const struct statement_name name = name_statement(pg, query, shape);
	if (PQsendQueryPrepared(pg->conn, name.text, (int)shape->n_args, args->values, args->lengths,
	                        args->formats, shape->values) == 0)
		return pg_fail_send(pg, err);
	pg->n_sent++;
	return MER_OK;
}

enum mer_status pg_check_args(const struct dal_call *call, struct mer_error *err)
{
	for (size_t i = 0; i < call->shape->n_args; i++) {
		const struct mer_value *arg = &call->args[i];
		if (arg->type == MER_VALUE_TEXT && arg->text.len > 0 &&
		    memchr(arg->text.ptr, '\0', arg->text.len) != NULL)
			return mer_fail(err, MER_EINPUT,
			                "the database takes no such value: a NUL in argument %zu of '%s'",
			                i + 1, call->shape->name);
		if (arg->type == MER_VALUE_BLOB && arg->text.len > PG_MESSAGE_MAX)
			return mer_fail(err, MER_ELIMIT, "argument %zu of '%s' has %zu bytes", i + 1,
			                call->shape->name, arg->text.len);
	}
	return MER_OK;
}

/* Copies what is text to scratch, each with a NUL, since a view has none. */
static enum mer_status copy_texts(struct postgres *pg, const struct dal_call *call,
                                  struct mer_error *err)
{
	struct mer_buf *buf = &pg->scratch;
	mer_buf_clear(buf);
	for (size_t i = 0; i < call->shape->n_args; i++) {
		const struct mer_value *arg = &call->args[i];
		if (arg->type == MER_VALUE_I64)
			mer_buf_printf(buf, "%lld", (long long)arg->number);
		if (arg->type == MER_VALUE_TEXT)
			mer_buf_add_utf8(buf, arg->text.ptr, arg->text.len);
		mer_buf_byte(buf, '\0');
	}
	return mer_buf_check(buf, err);
}

static enum mer_status make_args(struct postgres *pg, const struct dal_call *call,
                                 struct pg_args *args, struct mer_error *err)
{
	enum mer_status st = pg_check_args(call, err);
	if (st == MER_OK)
		st = copy_texts(pg, call, err);
	const char *at = pg->scratch.ptr;
	for (size_t i = 0; st == MER_OK && i < call->shape->n_args; i++) {
		const struct mer_value *arg = &call->args[i];
		const bool blob = arg->type == MER_VALUE_BLOB;
		args->values[i] = arg->type == MER_VALUE_NULL ? NULL : at;
		if (blob) /* a pointer of NULL would be SQL's NULL */
			args->values[i] = arg->text.len > 0 ? arg->text.ptr : "";
		args->lengths[i] = blob ? (int)arg->text.len : 0;
		args->formats[i] = blob;
		at += strlen(at) + 1;
	}
	return st;
}

static enum mer_status send_call(struct postgres *pg, const struct dal_call *call,
                                 struct mer_error *err)
{
	struct pg_args args;
	enum mer_status st = make_args(pg, call, &args, err);
	return st == MER_OK ? pg_send_query(pg, call->query, call->shape, &args, err) : st;
}

/* --- results ------------------------------------------------------------------------------ */

/* Whether a column that is sent in binary is of the type that it is taken for. Source: pg_type.dat. */
static bool is_of(enum dal_type type, Oid oid)
{
	enum { BYTEA = 17, INT8 = 20, TEXT = 25, VARCHAR = 1043 };
	switch (type) {
	case DAL_I64: return oid == INT8;
	case DAL_BLOB: return oid == BYTEA;
	case DAL_TEXT: return oid == TEXT || oid == VARCHAR;
	}
	return false;
}

/* What comes must be what queries.c says; somebody may have changed the tables. */
static enum mer_status check_shape(const struct postgres *pg, const struct dal_query *shape,
                                   const PGresult *result, struct mer_error *err)
{
	bool fits = PQnfields(result) == (int)shape->n_fields;
	const char *column = "";
	for (size_t i = 0; fits && i < shape->n_fields; i++) {
		column = shape->fields[i].column;
		fits = strcmp(PQfname(result, (int)i), column) == 0 &&
		       (!shape->values || is_of(shape->fields[i].type, PQftype(result, (int)i)));
	}
	if (fits)
		return MER_OK;
	(void)mer_fail(err, MER_EDATABASE, "the database '%s' has other columns for '%s': '%s'",
	               pg->base.name, shape->name, column);
	mer_hint(err, "its tables are not those of this mer");
	return MER_EDATABASE;
}

static enum mer_status give_row(const struct postgres *pg, const struct dal_call *call,
                                const PGresult *result, int at, struct mer_error *err)
{
	union dal_row row[DAL_FIELDS_MAX];
	for (size_t i = 0; i < call->shape->n_fields; i++) {
		const struct dal_field *field = &call->shape->fields[i];
		union dal_row *to = &row[field->offset / sizeof *row];
		const char *text = PQgetvalue(result, at, (int)i);
		if (PQgetisnull(result, at, (int)i))
			return mer_fail(err, MER_EDATABASE, "the database '%s' has no '%s' in a row of '%s'",
			                pg->base.name, field->column, call->shape->name);
		if (field->type == DAL_I64)
			to->number = strtoll(text, NULL, 10);
		else
			to->text = text;
	}
	return call->on_row(call->ctx, row, err);
}

/* Rows of values are asked for in binary: as the server has them. */
static struct mer_value value_at(const PGresult *result, int at, int column, enum dal_type type)
{
	struct mer_value value = { .type = MER_VALUE_NULL };
	if (PQgetisnull(result, at, column))
		return value;
	value.text.ptr = PQgetvalue(result, at, column);
	value.text.len = (size_t)PQgetlength(result, at, column);
	if (type == DAL_I64) {
		uint64_t number;
		if (value.text.len != sizeof number) /* of a server that is none */
			return value;
		memcpy(&number, value.text.ptr, sizeof number);
		return mer_i64((int64_t)be64toh(number));
	}
	value.type = type == DAL_BLOB ? MER_VALUE_BLOB : MER_VALUE_TEXT;
	return value;
}

static enum mer_status give_values(const struct dal_call *call, const PGresult *result, int at,
                                   struct mer_error *err)
{
	struct mer_value row[DAL_FIELDS_MAX];
	for (size_t i = 0; i < call->shape->n_fields; i++)
		row[i] = value_at(result, at, (int)i, call->shape->fields[i].type);
	return call->on_row(call->ctx, row, err);
}

static enum mer_status give_rows(const struct postgres *pg, const struct dal_call *call,
                                 const PGresult *result, struct mer_error *err)
{
	enum mer_status st = check_shape(pg, call->shape, result, err);
	for (int at = 0; st == MER_OK && at < PQntuples(result); at++)
		st = call->shape->values ? give_values(call, result, at, err)
		                         : give_row(pg, call, result, at, err);
	return st;
}

/* The first column of the first row as a number. */
static int64_t first_value(const PGresult *result)
{
	if (PQntuples(result) == 0 || PQnfields(result) == 0)
		return 0;
	const char *text = PQgetvalue(result, 0, 0);
	return *text == 't' ? 1 : strtoll(text, NULL, 10);
}

/* A settling: what comes of all that was sent. */
struct settling {
	struct dal_call *call; /* the last; NULL: nobody waits for rows or a count */
	int64_t *value;
	enum mer_status st; /* the first failure */
	bool lost;
};

static void take_success(struct postgres *pg, const struct pg_sent *sent, bool last,
                         struct settling *settling, PGresult *result, struct mer_error *err)
{
	if (sent->kind == PG_SENT_PREPARE)
		pg->prepared[sent->query] = PG_PREPARED;
	if (sent->kind == PG_SENT_LOCK)
		pg_now_held(pg, sent->key);
	if (sent->kind == PG_SENT_QUERY && sent->shape->row_size == 0)
		pg->base.tally[sent->query % MER_Q_COUNT] += strtoll(PQcmdTuples(result), NULL, 10);
	if (!last || settling->st != MER_OK)
		return;
	if (settling->value != NULL)
		*settling->value = first_value(result);
	if (settling->call != NULL && settling->call->on_row != NULL)
		settling->st = give_rows(pg, settling->call, result, err);
	else if (settling->call != NULL)
		settling->call->changed = strtoll(PQcmdTuples(result), NULL, 10);
}

static enum mer_status fail_sent(struct postgres *pg, const struct pg_sent *sent,
                                 const PGresult *result, struct mer_error *err)
{
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	/* A lock that must be had divides by whether it was. */
	if (sent->kind == PG_SENT_LOCK && code != NULL && strcmp(code, "22012") == 0)
		return mer_fail(err, MER_ECONFLICT, "another process holds the lock");
	return pg_fail(pg, result, sent->shape, err);
}

/* One result of one statement. */
static void take_result(struct postgres *pg, const struct pg_sent *sent, bool last,
                        struct settling *settling, PGresult *result, struct mer_error *err)
{
	ExecStatusType status = PQresultStatus(result);
	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
		take_success(pg, sent, last, settling, result, err);
		return;
	}
	if (sent->kind == PG_SENT_PREPARE)
		pg->prepared[sent->query] = PG_NOT_PREPARED;
	if (status == PGRES_PIPELINE_ABORTED)
		return;
	if (PQstatus(pg->conn) == CONNECTION_BAD || pg_is_leaving(result)) {
		settling->lost = true;
		settling->st = pg_fail_lost(pg, PQresultErrorMessage(result), err);
	} else if (settling->st == MER_OK) {
		settling->st = fail_sent(pg, sent, result, err);
		pg->failed = pg->tx != PG_TX_NONE;
	}
}

/* Reads what one statement gives, up to the NULL that ends it. */
static void settle_one(struct postgres *pg, size_t at, struct settling *settling,
                       struct mer_error *err)
{
	const struct pg_sent sent = pg->sent[at];
	const bool last = at + 1 == pg->n_sent;
	PGresult *result;
	bool any = false;
	while (!settling->lost && (result = pg_result(pg)) != NULL) {
		any = true;
		take_result(pg, &sent, last, settling, result, err);
		PQclear(result);
	}
	if (!settling->lost && !any) {
		settling->lost = true;
		settling->st = pg_fail_lost(pg, NULL, err);
	}
}

enum mer_status pg_settle(struct postgres *pg, struct dal_call *call, int64_t *value,
                          struct mer_error *err)
{
	struct settling settling = { .call = call, .value = value };
	if (PQpipelineSync(pg->conn) == 0)
		return pg_fail_send(pg, err);
	for (size_t i = 0; i < pg->n_sent && !settling.lost; i++)
		settle_one(pg, i, &settling, err);
	pg->n_sent = 0;
	if (settling.lost)
		return settling.st;
	PGresult *sync = pg_result(pg);
	const bool synced = PQresultStatus(sync) == PGRES_PIPELINE_SYNC;
	PQclear(sync);
	/* What was read is done, whatever became of the connection since: the next call will see. */
	if (!synced && settling.st == MER_OK && call == NULL)
		return pg_fail_lost(pg, NULL, err);
	return settling.st;
}

/* --- queries ------------------------------------------------------------------------------ */

static enum mer_status ask(struct postgres *pg, struct dal_call *call, struct mer_error *err)
{
	enum mer_status st = send_call(pg, call, err);
	return st == MER_OK ? pg_settle(pg, call, NULL, err) : st;
}

/* Outside a transaction. One that only reads is asked again when the connection was lost under it:
 * no row was given before all of them had come. */
static enum mer_status run_alone(struct postgres *pg, struct dal_call *call, struct mer_error *err)
{
	pg->canceled = 0;
	for (bool again = call->on_row != NULL;; again = false) {
		enum mer_status st = pg_ready(pg, err);
		if (st != MER_OK)
			return st;
		st = ask(pg, call, err);
		if (st == MER_OK || !again || pg->conn != NULL)
			return st;
	}
}

enum mer_status pg_may_go_on(struct postgres *pg, struct mer_error *err)
{
	if (pg->conn != NULL && !pg->failed)
		return MER_OK;
	return mer_fail(err, MER_EDATABASE, "the transaction of the database '%s' has failed already",
	                pg->base.name);
}

enum mer_status pg_begin_sent(struct postgres *pg, struct mer_error *err)
{
	enum mer_status st = pg_may_go_on(pg, err);
	if (st != MER_OK || pg->tx != PG_TX_WANTED)
		return st == MER_OK ? pg_batch_send(pg, err) : st;
	const bool reads = (pg->flags & MER_DAL_READ) != 0;
	st = pg_send_text(pg,
	                  reads ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	                        : "BEGIN ISOLATION LEVEL READ COMMITTED",
	                  NULL, err);
	if (st == MER_OK)
		pg->tx = PG_TX_OPEN;
	return st;
}

static enum mer_status run_within(struct postgres *pg, struct dal_call *call, struct mer_error *err)
{
	const bool waits = call->on_row != NULL || call->counts;
	if (!waits && pg_batch_takes(pg, call)) {
		enum mer_status may = pg_may_go_on(pg, err);
		return may == MER_OK ? pg_batch_add(pg, call, err) : may;
	}
	enum mer_status st = pg_begin_sent(pg, err);
	if (st != MER_OK)
		return st;
	return waits ? ask(pg, call, err) : send_call(pg, call, err);
}

enum mer_status pg_run(struct mer_dal *dal, struct dal_call *call, struct mer_error *err)
{
	struct postgres *pg = as_postgres(dal);
	switch (pg->tx) {
	case PG_TX_NONE: return run_alone(pg, call, err);
	case PG_TX_TOGETHER: return pg_together_run(pg, call, err);
	case PG_TX_WANTED:
	case PG_TX_OPEN: break;
	}
	return run_within(pg, call, err);
}

/* --- transactions ------------------------------------------------------------------------- */

enum mer_status pg_begin(struct mer_dal *dal, struct mer_error *err)
{
	struct postgres *pg = as_postgres(dal);
	pg->canceled = 0;
	enum mer_status st = pg_ready(pg, err);
	if (st != MER_OK)
		return st;
	pg->failed = false;
	if (dal->together)
		return pg_together_begin(pg, err);
	pg->tx = PG_TX_WANTED;
	return MER_OK;
}

/* Ends what the server still has open; the reason is reported already. */
void pg_roll_back(struct postgres *pg)
{
	pg_batch_clear(&pg->batch);
	if (pg->conn == NULL)
		return;
	if (pg->n_sent == 0 && PQtransactionStatus(pg->conn) == PQTRANS_IDLE)
		return;
	if (pg_send_text(pg, "ROLLBACK", NULL, NULL) == MER_OK)
		(void)!pg_settle(pg, NULL, NULL, NULL);
	/* After an error in the same batch it was not done. */
	if (pg->conn != NULL && PQtransactionStatus(pg->conn) != PQTRANS_IDLE &&
	    pg_send_text(pg, "ROLLBACK", NULL, NULL) == MER_OK)
		(void)!pg_settle(pg, NULL, NULL, NULL);
}

static enum mer_status commit_sent(struct postgres *pg, struct mer_error *err)
{
	enum mer_status st = pg_may_go_on(pg, err);
	if (st == MER_OK && pg->canceled)
		st = pg_fail_canceled(pg, err);
	if (st == MER_OK)
		st = pg_batch_send(pg, err);
	if (st == MER_OK)
		st = pg_send_text(pg, "COMMIT", NULL, err);
	if (st == MER_OK)
		st = pg_settle(pg, NULL, NULL, err);
	if (st != MER_OK)
		pg_roll_back(pg);
	return st;
}

enum mer_status pg_end(struct mer_dal *dal, bool commit, struct mer_error *err)
{
	struct postgres *pg = as_postgres(dal);
	enum mer_status st = MER_OK;
	if (pg->tx == PG_TX_TOGETHER)
		st = pg_together_end(pg, commit, err);
	else if (pg->tx == PG_TX_OPEN && commit)
		st = commit_sent(pg, err);
	else if (pg->tx == PG_TX_OPEN)
		pg_roll_back(pg);
	pg->tx = PG_TX_NONE;
	pg->failed = false;
	return st;
}
