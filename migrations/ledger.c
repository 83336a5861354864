/* Reads the ledger into two blocks of memory, page by page, since a server's client holds what one query
 * gives as a whole: ten thousand rows are nothing special. */
#include "ledger.h"

#include <stdlib.h>
#include <string.h>

/* 1,000,000 rows of about 256 bytes. */
enum { TEXTS_LIMIT = 256 << 20, PAGE_ROWS = 2048 };

void ledger_init(struct ledger *ledger)
{
	*ledger = (struct ledger){ 0 };
	mer_buf_init(&ledger->texts, TEXTS_LIMIT);
}

void ledger_release(struct ledger *ledger)
{
	if (ledger == NULL)
		return;
	free(ledger->rows);
	mer_buf_release(&ledger->texts);
	ledger_init(ledger);
}

/* The texts of a row, in the order in which they are stored one behind the other. */
enum { TEXTS_OF_ROW = 7 };

static void texts_of(struct mer_ledger_row *row, const char **texts[TEXTS_OF_ROW])
{
	texts[0] = &row->name;
	texts[1] = &row->sha256;
	texts[2] = &row->canonical_sha256;
	texts[3] = &row->applied_at;
	texts[4] = &row->applied_by;
	texts[5] = &row->tool_version;
	texts[6] = &row->state;
}

static enum mer_status take_row(void *ctx, const void *from, struct mer_error *err)
{
	struct ledger *ledger = ctx;
	if (ledger->n == ledger->cap) {
		size_t cap = ledger->cap == 0 ? 64 : 2 * ledger->cap;
		struct mer_ledger_row *rows = reallocarray(ledger->rows, cap, sizeof *rows);
		if (rows == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		ledger->rows = rows;
		ledger->cap = cap;
	}
	struct mer_ledger_row *row = &ledger->rows[ledger->n++];
	*row = *(const struct mer_ledger_row *)from;
	const char **texts[TEXTS_OF_ROW];
	texts_of(row, texts);
	for (size_t i = 0; i < TEXTS_OF_ROW; i++)
		mer_buf_add(&ledger->texts, *texts[i], strlen(*texts[i]) + 1);
	return mer_buf_check(&ledger->texts, err);
}

/* The texts have moved while they grew; now they stay. */
static void settle(struct ledger *ledger)
{
	const char *at = ledger->texts.ptr;
	for (size_t i = 0; i < ledger->n; i++) {
		const char **texts[TEXTS_OF_ROW];
		texts_of(&ledger->rows[i], texts);
		for (size_t j = 0; j < TEXTS_OF_ROW; j++) {
			*texts[j] = at;
			at += strlen(at) + 1;
		}
	}
}

/* Rows are added behind those that are there, so that what comes to be meanwhile makes no gap. */
static enum mer_status read_pages(struct mer_dal *dal, struct ledger *ledger, struct mer_error *err)
{
	enum mer_status st;
	size_t before;
	do {
		const int64_t last = ledger->n > 0 ? ledger->rows[ledger->n - 1].num : 0;
		before = ledger->n;
		st = mer_dal_query(dal, MER_Q_LEDGER, MER_ARGS(mer_i64(last), mer_i64(PAGE_ROWS)), take_row,
		                   ledger, err);
	} while (st == MER_OK && ledger->n - before == PAGE_ROWS);
	return st;
}

enum mer_status ledger_read(struct mer_dal *dal, struct ledger *ledger, struct mer_error *err)
{
	int64_t there = 0;
	enum mer_status st =
		mer_dal_query(dal, MER_Q_LEDGER_EXISTS, NULL, 0, mer_take_count, &there, err);
	if (st != MER_OK || there == 0)
		return st;
	ledger->exists = true;
	st = read_pages(dal, ledger, err);
	if (st == MER_OK)
		settle(ledger);
	return st;
}
