/* Reading runs by pages. Each page is a query of its own: no backend holds more than one in memory, and
 * no read of minutes keeps SQLite's WAL from being shortened or Postgres from cleaning up. */
#include "log_rows.h"

#include <string.h>

struct paging {
	struct session *s;
	struct mer_uid last;
	int64_t got;
};

static enum mer_status on_run(void *ctx, const void *data, struct mer_error *err)
{
	struct paging *paging = ctx;
	const struct mer_run_row *row = data;
	struct mer_cell cells[LOG_COLUMNS];
	(void)snprintf(paging->last.text, sizeof paging->last.text, "%s", row->request_uid);
	paging->got++;
	log_cells(row, cells);
	return out_row(paging->s, cells, err);
}

/* Its traceparents differ in what follows the trace id. */
static enum mer_status page_of_trace(struct paging *paging, const struct log_choice *choice,
                                     int64_t n, struct mer_error *err)
{
	char from[MER_TRACEPARENT_SIZE], to[MER_TRACEPARENT_SIZE];
	(void)snprintf(from, sizeof from, "00-%s-", choice->trace);
	(void)snprintf(to, sizeof to, "00-%s.", choice->trace); /* which follows '-' */
	return mer_dal_query(paging->s->dal, MER_Q_RUNS_TRACE,
	                     MER_ARGS(mer_text(from), mer_text(to), mer_text(choice->model),
	                              mer_text(choice->status), mer_text(choice->since), mer_i64(n),
	                              mer_text(paging->last.text)),
	                     on_run, paging, err);
}

static enum mer_status newest_page(struct paging *paging, const struct log_choice *choice,
                                   int64_t n, struct mer_error *err)
{
	paging->got = 0;
	if (choice->trace[0] != '\0')
		return page_of_trace(paging, choice, n, err);
	return mer_dal_query(paging->s->dal, MER_Q_RUNS,
	                     MER_ARGS(mer_text(choice->model), mer_text(choice->status),
	                              mer_text(choice->since), mer_i64(n), mer_text(paging->last.text)),
	                     on_run, paging, err);
}

enum mer_status log_print(struct session *s, const struct log_choice *choice, struct mer_error *err)
{
	struct paging paging = { .s = s, .got = LOG_PAGE };
	/* The first ones of what is sorted may be anywhere. */
	bool all = pick_sorts(&s->out.pick);
	enum mer_status st = MER_OK;
	out_begin(s, log_columns, LOG_COLUMNS);
	out_most(s, choice->limit);
	for (int64_t left = choice->limit; st == MER_OK && (left > 0 || all) && paging.got > 0;) {
		int64_t n = left > LOG_PAGE || all ? LOG_PAGE : left;
		st = newest_page(&paging, choice, n, err);
		left -= n;
		if (paging.got < n)
			break;
	}
	return st == MER_OK ? out_end(s, err) : st;
}

enum mer_status log_export(struct session *s, const struct log_choice *choice,
                           struct mer_error *err)
{
	struct paging paging = { .s = s, .got = LOG_PAGE };
	enum mer_status st = MER_OK;
	out_begin(s, log_columns, LOG_COLUMNS);
	while (st == MER_OK && paging.got == LOG_PAGE) {
		paging.got = 0;
		st = mer_dal_query(s->dal, MER_Q_RUNS_AFTER,
		                   MER_ARGS(mer_text(choice->model), mer_text(choice->since),
		                            mer_text(choice->until), mer_text(paging.last.text),
		                            mer_i64(LOG_PAGE)),
		                   on_run, &paging, err);
	}
	return st == MER_OK ? out_end(s, err) : st;
}
