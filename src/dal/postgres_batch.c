/*
 * Batches: rows of one query that follow one another in a transaction go to the server in one
 * statement, each argument as an array. The first of them is sent as any other, so that who records
 * one run pays nothing for it.
 */
#include "postgres.h"

#include <string.h>

enum { ROWS_MAX = 1024, BYTES_MAX = 4 << 20 };

void pg_batch_init(struct pg_batch *batch)
{
	for (size_t i = 0; i < DAL_ARGS_MAX; i++)
		mer_buf_init(&batch->columns[i], PG_MESSAGE_MAX);
}

void pg_batch_release(struct pg_batch *batch)
{
	for (size_t i = 0; i < DAL_ARGS_MAX; i++)
		mer_buf_release(&batch->columns[i]);
}

void pg_batch_clear(struct pg_batch *batch)
{
	for (size_t i = 0; i < DAL_ARGS_MAX; i++)
		mer_buf_clear(&batch->columns[i]);
	batch->rows = batch->bytes = 0;
}

bool pg_batch_takes(const struct postgres *pg, const struct dal_call *call)
{
	if (pg_batch_text[call->query] == NULL)
		return false;
	if (pg->batch.rows > 0)
		return pg->batch.query == call->query;
	if (pg->n_sent == 0)
		return false;
	const struct pg_sent *last = &pg->sent[pg->n_sent - 1];
	return last->kind == PG_SENT_QUERY && last->query % MER_Q_COUNT == call->query;
}

/* An element of an array literal. Source: section 8.15.6 of Postgres' manual. */
static void add_element(struct mer_buf *column, const struct mer_value *arg)
{
	if (arg->type == MER_VALUE_NULL) {
		mer_buf_text(column, "NULL");
		return;
	}
	if (arg->type == MER_VALUE_I64) {
		mer_buf_printf(column, "%lld", (long long)arg->number);
		return;
	}
	MER_ASSERT(arg->type == MER_VALUE_TEXT);
	mer_buf_byte(column, '"');
	const char *at = arg->text.ptr, *end = at + arg->text.len;
	while (at < end) {
		const char *special = at;
		while (special < end && *special != '"' && *special != '\\')
			special++;
		mer_buf_add_utf8(column, at, (size_t)(special - at));
		if (special < end) {
			mer_buf_byte(column, '\\');
			mer_buf_byte(column, *special++);
		}
		at = special;
	}
	mer_buf_byte(column, '"');
}

enum mer_status pg_batch_add(struct postgres *pg, const struct dal_call *call,
                             struct mer_error *err)
{
	struct pg_batch *batch = &pg->batch;
	enum mer_status st = pg_check_args(call, err);
	if (st == MER_OK && (batch->rows == ROWS_MAX || batch->bytes > BYTES_MAX))
		st = pg_batch_send(pg, err);
	if (st != MER_OK)
		return st;
	batch->query = call->query;
	batch->shape = call->shape;
	for (size_t i = 0; i < call->shape->n_args; i++) {
		struct mer_buf *column = &batch->columns[i];
		const size_t before = column->len;
		mer_buf_byte(column, batch->rows == 0 ? '{' : ',');
		add_element(column, &call->args[i]);
		st = st == MER_OK ? mer_buf_check(column, err) : st;
		batch->bytes += column->len - before;
	}
	batch->rows++;
	return st;
}

enum mer_status pg_batch_send(struct postgres *pg, struct mer_error *err)
{
	struct pg_batch *batch = &pg->batch;
	if (batch->rows == 0)
		return MER_OK;
	struct pg_args args = { 0 };
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < batch->shape->n_args; i++) {
		mer_buf_byte(&batch->columns[i], '}');
		st = st == MER_OK ? mer_buf_check(&batch->columns[i], err) : st;
		args.values[i] = batch->columns[i].ptr;
	}
	if (st == MER_OK)
		st = pg_send_query(pg, batch->query + MER_Q_COUNT, batch->shape, &args, err);
	pg_batch_clear(batch);
	return st;
}
