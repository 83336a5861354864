/* stats: what ran, how it ended and how long it took. */
#include "bars.h"
#include "commands.h"
#include "find.h"
#include "session.h"
#include "stats.h"
#include "stats_metrics.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

/* --- for programs ------------------------------------------------------------------------- */

#define STATS_MS (OUT_NUMBER | OUT_NULL | OUT_HIDDEN)
#define TIME_COLUMNS(name) \
	{ name "_p50_ms", STATS_MS }, { name "_p95_ms", STATS_MS }, { name "_p99_ms", STATS_MS }, \
	{ \
		name "_max_ms", STATS_MS \
	}

/* clang-format off */
static const struct out_column columns[] = {
	{ "model", OUT_SHORTEN | OUT_NULL },
	{ "runs", OUT_NUMBER },
	{ "queued", OUT_NUMBER | OUT_HIDDEN },
	{ "running", OUT_NUMBER | OUT_HIDDEN },
	{ "ok", OUT_NUMBER },
	{ "failed", OUT_NUMBER },
	{ "timeout", OUT_NUMBER },
	{ "cancelled", OUT_NUMBER },
	{ "lost", OUT_NUMBER },
	{ "rejected", OUT_NUMBER },
	{ "first_at", OUT_TIME | OUT_NULL | OUT_HIDDEN },
	{ "last_at", OUT_TIME | OUT_NULL | OUT_HIDDEN },
	{ "per_second", OUT_DECIMAL | OUT_NULL },
	TIME_COLUMNS("queue"),
	TIME_COLUMNS("start"),
	TIME_COLUMNS("infer"),
};
/* clang-format on */
enum { N_COLUMNS = sizeof columns / sizeof *columns, NUMBER_SIZE = 32 };

/* Runs that ended ok, a second, from when the first was queued to when the last ended; "": there is no
 * such time. With at most six digits of fraction. */
static void rate_text(const struct stats_model *model, char out[NUMBER_SIZE])
{
	int64_t first, last;
	out[0] = '\0';
	if (mer_parse_time(model->first_at, &first, NULL) != MER_OK ||
	    mer_parse_time(model->last_at, &last, NULL) != MER_OK || last <= first)
		return;
	double rate = (double)model->by_status[STATS_OK] / ((double)(last - first) / 1000);
	(void)snprintf(out, NUMBER_SIZE, "%.6f", rate);
	size_t len = strlen(out);
	while (out[len - 1] == '0')
		len--;
	out[out[len - 1] == '.' ? len - 1 : len] = '\0';
}

static enum mer_status print_model(struct session *s, const struct stats_model *model,
                                   struct mer_error *err)
{
	const struct mer_cell none = { .type = MER_CELL_NULL };
	const char *name = model->name;
	char rate[NUMBER_SIZE];
	struct mer_cell cells[N_COLUMNS];
	size_t n = 0;
	rate_text(model, rate);
	if (name == NULL && s->out.format == MER_FORMAT_TABLE)
		name = "(all)";
	cells[n++] = mer_cell_text(name);
	cells[n++] = mer_cell_i64(model->runs);
	for (size_t i = 0; i < STATS_STATUSES; i++)
		cells[n++] = mer_cell_i64(model->by_status[i]);
	cells[n++] = mer_cell_word(model->first_at);
	cells[n++] = mer_cell_word(model->last_at);
	cells[n++] = mer_cell_json(rate);
	for (size_t i = 0; i < STATS_TIMES; i++) {
		const struct stats_time *time = &model->times[i];
		for (size_t rank = 0; rank < STATS_RANKS; rank++)
			cells[n++] = time->n > 0 ? mer_cell_i64(time->ranked[rank]) : none;
		cells[n++] = time->n > 0 ? mer_cell_i64(time->most) : none;
	}
	MER_ASSERT(n == N_COLUMNS);
	return out_row(s, cells, err);
}

/* Each model's, then that of all unless one was asked for. */
typedef enum mer_status print_fn(struct session *s, const struct stats_model *model,
                                 struct mer_error *err);
static enum mer_status print_each(struct session *s, const struct stats *stats, bool all,
                                  print_fn *print, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < stats->n_models && st == MER_OK; i++)
		st = print(s, &stats->models[i], err);
	if (all && st == MER_OK)
		st = print(s, &stats->all, err);
	return st == MER_OK ? out_end(s, err) : st;
}

/* --- for people --------------------------------------------------------------------------- */

static const struct out_column time_columns[] = {
	{ "model", OUT_SHORTEN }, { "time", 0 },        { "least", OUT_RIGHT }, { "p50", OUT_RIGHT },
	{ "p95", OUT_RIGHT },     { "p99", OUT_RIGHT }, { "most", OUT_RIGHT },  { "least to most", 0 },
};
enum { N_TIME_COLUMNS = sizeof time_columns / sizeof *time_columns, MS_SIZE = 24 };

static enum mer_status print_time(struct session *s, const char *model, const char *what,
                                  const struct stats_time *time, struct mer_error *err)
{
	const int64_t ms[] = { time->least, time->ranked[0], time->ranked[1], time->ranked[2],
		                   time->most };
	char texts[sizeof ms / sizeof *ms][MS_SIZE];
	struct mer_cell cells[N_TIME_COLUMNS] = { mer_cell_text(model), mer_cell_text(what) };
	size_t n = 2, from = 0, to = STATS_BUCKETS;
	for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
		mer_ms_text(ms[i], texts[i]);
		cells[n++] = mer_cell_text(texts[i]);
	}
	while (from < to && time->buckets[from] == 0)
		from++;
	while (to > from && time->buckets[to - 1] == 0)
		to--;
	struct mer_buf bars;
	mer_buf_init(&bars, 4096);
	bars_add(&bars, time->buckets + from, to - from, bars_utf8());
	enum mer_status st = mer_buf_check(&bars, err);
	cells[n] = (struct mer_cell){ .type = MER_CELL_TEXT, .text = { bars.ptr, bars.len } };
	if (st == MER_OK)
		st = out_row(s, cells, err);
	mer_buf_release(&bars);
	return st;
}

static enum mer_status print_times(struct session *s, const struct stats_model *model,
                                   struct mer_error *err)
{
	static const char *const names[STATS_TIMES] = { "queue", "start", "run" };
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < STATS_TIMES && st == MER_OK; i++) {
		if (model->times[i].n > 0)
			st = print_time(s, model->name != NULL ? model->name : "(all)", names[i],
			                &model->times[i], err);
	}
	return st;
}

static enum mer_status print_over_time(struct session *s, const struct stats_model *model, size_t n,
                                       struct mer_error *err)
{
	struct mer_buf bars;
	mer_buf_init(&bars, 4096);
	bars_add(&bars, model->over_time, n, bars_utf8());
	enum mer_status st = mer_buf_check(&bars, err);
	const struct mer_cell cells[] = {
		mer_cell_text(model->name != NULL ? model->name : "(all)"),
		{ .type = MER_CELL_TEXT, .text = { bars.ptr, bars.len } },
	};
	if (st == MER_OK)
		st = out_row(s, cells, err);
	mer_buf_release(&bars);
	return st;
}

/* How many were asked for over time, in columns that say in their heading what they are. */
static enum mer_status print_sparklines(struct session *s, const struct stats *stats, bool all,
                                        struct mer_error *err)
{
	char width[MS_SIZE], from[MER_TIME_SIZE], heading[128];
	const struct out_column spark_columns[] = { { "model", OUT_SHORTEN }, { heading, 0 } };
	mer_ms_text(stats->column_ms, width);
	mer_time_text(stats->from_ms, from);
	(void)snprintf(heading, sizeof heading, "runs from %.19sZ, each %s", from, width);
	out_begin(s, spark_columns, 2);
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < stats->n_models && st == MER_OK; i++)
		st = print_over_time(s, &stats->models[i], stats->n_columns, err);
	if (all && st == MER_OK)
		st = print_over_time(s, &stats->all, stats->n_columns, err);
	return st == MER_OK ? out_end(s, err) : st;
}

static enum mer_status print_pictures(struct session *s, const struct stats *stats, bool all,
                                      struct mer_error *err)
{
	enum mer_status st = MER_OK;
	if (stats->all.runs == 0)
		return st;
	if (stats->all.by_status[STATS_OK] > 0) {
		out_text(s, "\n");
		out_begin(s, time_columns, N_TIME_COLUMNS);
		st = print_each(s, stats, all, print_times, err);
	}
	if (st != MER_OK)
		return st;
	out_text(s, "\n");
	return print_sparklines(s, stats, all, err);
}

/* --- stats -------------------------------------------------------------------------------- */

enum { MODEL, SINCE, PROMETHEUS, OUTPUT };
static const struct cmd_arg stats_args[] = {
	[MODEL] = CMD_WORD("MODEL", ARG_NAME, "only this one", .value = "model", .is = VALUE_MODEL),
	[SINCE] = CMD_OPTION("since", ARG_TIME, "T", "only from this time on: 2026-01-31T12:00:00Z"),
	[PROMETHEUS] = CMD_FLAG("prometheus", "as metrics, in Prometheus' text format"),
	[OUTPUT] = CMD_OPTION("output", ARG_TEXT, "FILE",
	                      "with --prometheus: into FILE, which is replaced in one step",
	                      .is = VALUE_FILE, .letter = 'o'),
};

/* By a connection of its own, which sees the same rows all the time and takes as long as it does. */
static enum mer_status read_log(struct session *s, const char *model, int64_t since_ms,
                                unsigned want, struct stats *out, struct mer_error *err)
{
	struct mer_dal *dal;
	const char *url;
	enum mer_status st = settings_database(&s->settings, &url, err);
	if (st == MER_OK)
		st = session_open_dal(url, MER_DAL_READ, &dal, err);
	if (st != MER_OK)
		return st;
	st = stats_read(dal, model, since_ms, want, out, err);
	mer_dal_close(dal);
	return st;
}

static enum mer_status print_metrics(struct session *s, const struct stats *stats,
                                     struct mer_error *err)
{
	stats_metrics(stats, &s->out.sink.buf);
	sink_added(&s->out.sink);
	return mer_buf_check(&s->out.sink.buf, err);
}

static enum mer_status stats(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	MER_AUTO(stats_release) struct stats stats = { 0 };
	const char *model = argv[MODEL].given ? argv[MODEL].text : "";
	unsigned want = s->out.format == MER_FORMAT_TABLE ? STATS_OVER_TIME : 0;
	if (argv[PROMETHEUS].given)
		want = argv[SINCE].given ? 0 : STATS_FORGOTTEN;
	enum mer_status st =
		read_log(s, model, argv[SINCE].given ? argv[SINCE].number : -1, want, &stats, err);
	if (st == MER_OK && argv[OUTPUT].given && !argv[PROMETHEUS].given)
		st = mer_fail(err, MER_EINPUT, "--output goes with --prometheus");
	if (st == MER_OK && argv[MODEL].given && stats.n_models == 0)
		st = find_logged_model(s->dal, model, err); /* it has none since then */
	if (st != MER_OK)
		return st;
	if (argv[OUTPUT].given)
		return stats_metrics_file(&stats, argv[OUTPUT].text, err);
	if (argv[PROMETHEUS].given)
		return print_metrics(s, &stats, err);
	out_begin(s, columns, N_COLUMNS);
	st = print_each(s, &stats, !argv[MODEL].given, print_model, err);
	const bool whole = s->out.pick.columns == NULL && s->out.pick.sort == NULL;
	if (st == MER_OK && s->out.format == MER_FORMAT_TABLE && whole)
		st = print_pictures(s, &stats, !argv[MODEL].given && stats.n_models > 1, err);
	return st;
}

const struct cmd cmd_stats = {
	.name = "stats",
	.summary = "how many runs ended how, and how long they took",
	.notes =
		"A row a model that has runs, and without MODEL one of all, whose model is null or empty.\n"
		"Trainings do not count. Times are of the runs that ended ok, in ms: how long they waited for\n"
		"a worker (queue), for its start, and for the answer (infer); p95 is the least time that 95 %\n"
		"of them did not exceed. per_second is how many ended ok a second, between the first of all\n"
		"that was queued and the last that ended. On a terminal the bars show how many took how\n"
		"long, each up to twice as long as the one before, and how many there were over time.\n"
		"With --prometheus all of it is metrics instead, for a textfile collector; the file has mode\n"
		"0644 and is never seen half written. They count what 'log prune' has forgotten too, so that\n"
		"they never fall; with --since, and without --prometheus, it is the runs that are in the log.\n",
	CMD_EXAMPLES("stats", "stats --prometheus -o mer.prom",
	             "stats iris --since 2026-01-31T12:00:00Z --json"),
	CMD_ARGS(stats_args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(columns, N_COLUMNS),
	.run = stats,
};
