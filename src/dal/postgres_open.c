/*
 * Opening and closing a connection, and the table of the module.
 */
#include "postgres.h"

#include <stdlib.h>
#include <string.h>

static void pg_close(struct mer_dal *dal, bool forked)
{
	struct postgres *pg = as_postgres(dal);
	/* In a fork, libpq would say goodbye in the name of the one that goes on. */
	if (!forked) {
		if (pg->conn != NULL && pg->tx == PG_TX_OPEN)
			pg_roll_back(pg);
		/* The server notices late that we have left. */
		if (pg->conn != NULL && pg->n_held > 0 && !pg->base.owner_left &&
		    pg_send_text(pg, "SELECT pg_advisory_unlock_all()", NULL, NULL) == MER_OK)
			(void)!pg_settle(pg, NULL, NULL, NULL);
		pg_disconnect(pg);
		PQfreeCancel(pg->old_cancel);
	}
	mer_buf_release(&pg->message.sql);
	mer_buf_release(&pg->scratch);
	pg_batch_release(&pg->batch);
	free(pg->sent);
	free(pg->held);
	free(pg->schema);
	free(pg->options);
	if (pg->conninfo != NULL)
		explicit_bzero(pg->conninfo, strlen(pg->conninfo));
	free(pg->conninfo);
	free(pg->name);
	free(pg->base.url);
	free(pg);
}

/* Gives the result of one statement of a batch. */
static enum mer_status take_plain(struct postgres *pg, PGresult **out, struct mer_error *err)
{
	PGresult *result = pg_result(pg);
	PQclear(pg_result(pg)); /* the end of the statement */
	if (PQresultStatus(result) == PGRES_TUPLES_OK) {
		*out = result;
		return MER_OK;
	}
	enum mer_status st = MER_EDATABASE; /* said already */
	if (PQresultStatus(result) != PGRES_PIPELINE_ABORTED)
		st = pg_fail(pg, result, NULL, err);
	PQclear(result);
	return st;
}

/* Where the ledger is, or would be made; and what a transaction is by itself. */
static enum mer_status find_ledger(struct postgres *pg, struct mer_error *err)
{
	static const char sql[] =
		"SELECT quote_ident(coalesce((SELECT n.nspname FROM pg_catalog.pg_class AS c "
		"JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
		"WHERE c.oid = to_regclass('migrations')), current_schema())), "
		"current_setting('default_transaction_isolation')";
	PGresult *result = NULL;
	if (PQsendQueryParams(pg->conn, sql, 0, NULL, NULL, NULL, NULL, 0) == 0 ||
	    PQpipelineSync(pg->conn) == 0)
		return pg_fail_send(pg, err);
	enum mer_status st = take_plain(pg, &result, err);
	PQclear(pg_result(pg)); /* the end of the batch */
	if (st != MER_OK)
		return st;
	if (PQgetisnull(result, 0, 0)) {
		st = mer_fail(err, MER_EDATABASE, "the search path of the database '%s' leads to no schema",
		              pg->base.name);
	} else {
		pg->schema = strdup(PQgetvalue(result, 0, 0));
		if (pg->schema == NULL)
			st = mer_fail(err, MER_ENOMEM, "out of memory for a schema");
		pg->reads_committed = strcmp(PQgetvalue(result, 0, 1), "read committed") == 0;
	}
	PQclear(result);
	return st;
}

/* The highest number of a script that has run to its end. */
static int64_t highest(const PGresult *result)
{
	int64_t max = 0;
	for (int i = 0; i < PQntuples(result); i++) {
		int64_t num = strtoll(PQgetvalue(result, i, 0), NULL, 10);
		if (num > max && strcmp(PQgetvalue(result, i, 1), "applied") == 0)
			max = num;
	}
	return max;
}

/* The questions of an opening, sent at once: which scripts have run, and whether there is an owner that
 * may be dead. They are as plain as can be, since a new session first has to learn what each function
 * and operator in them is, which takes longer than to answer. */
static enum mer_status ask_opening(struct postgres *pg, struct mer_error *err)
{
	static const char *const questions[] = { "SELECT num, state FROM migrations WHERE num < 1000",
		                                     "SELECT FROM owners LIMIT 1" };
	PGresult *results[] = { NULL, NULL };
	for (size_t i = 0; i < DAL_COUNT(questions); i++) {
		if (PQsendQueryParams(pg->conn, questions[i], 0, NULL, NULL, NULL, NULL, 0) == 0)
			return pg_fail_send(pg, err);
	}
	if (PQpipelineSync(pg->conn) == 0)
		return pg_fail_send(pg, err);
	enum mer_status st = take_plain(pg, &results[0], err);
	enum mer_status also = take_plain(pg, &results[1], st == MER_OK ? err : NULL);
	PQclear(pg_result(pg)); /* the end of the batch */
	if (st == MER_OK && also == MER_OK) {
		pg->base.knows_schema = true;
		pg->base.schema_num = highest(results[0]);
		pg->base.nobody_there = PQntuples(results[1]) == 0;
	}
	PQclear(results[0]);
	PQclear(results[1]);
	return st == MER_OK ? also : st;
}

static enum mer_status open_schema(struct postgres *pg, struct mer_error *err)
{
	if ((pg->flags & MER_DAL_ANY_SCHEMA) != 0)
		return find_ledger(pg, err);
	pg->no_table = false;
	enum mer_status st = ask_opening(pg, err);
	/* Then the ledger will tell, which may be missing itself. */
	return st != MER_OK && pg->no_table ? MER_OK : st;
}

static enum mer_status pg_open(const char *rest, unsigned flags, struct mer_haste *haste,
                               struct mer_dal **out, struct mer_error *err)
{
	struct postgres *pg = calloc(1, sizeof *pg);
	if (pg == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for a connection");
	pg->base = (struct mer_dal){ .ops = &pg_ops, .haste = haste, .remote = true };
	pg->flags = flags;
	mer_buf_init(&pg->message.sql, PG_MESSAGE_MAX);
	mer_buf_init(&pg->scratch, PG_MESSAGE_MAX);
	pg_batch_init(&pg->batch);
	enum mer_status st = pg_read_url(pg, rest, err);
	if (st == MER_OK)
		st = pg_connect(pg, err);
	if (st == MER_OK)
		st = open_schema(pg, err);
	if (st != MER_OK) {
		pg_close(&pg->base, false);
		return st;
	}
	*out = &pg->base;
	return MER_OK;
}

enum mer_status pg_open_again(const struct postgres *pg, struct mer_dal **out,
                              struct mer_error *err)
{
	return pg_open(pg->conninfo + strlen("postgres:"), pg->flags | MER_DAL_ANY_SCHEMA,
	               pg->base.haste, out, err);
}

const struct dal_ops pg_ops = {
	.open = pg_open,
	.run = pg_run,
	.begin = pg_begin,
	.end = pg_end,
	.script = pg_script,
	.lock = pg_lock,
	.cancel = pg_cancel,
	.close = pg_close,
};

MER_API extern const struct dal_module mer_postgres;
const struct dal_module mer_postgres = { .version = MER_VERSION, .ops = &pg_ops };
