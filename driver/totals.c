/* Totals of runs that are forgotten; totals.h. What a series is: sql/sqlite/12-Totals.sql. */
#include "totals.h"

#include <inttypes.h>
#include <mer/clean.h>
#include <mer/json.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>

static const char *const time_names[STATS_TIMES] = { "queue", "start", "infer" };

/* --- counting ----------------------------------------------------------------------------- */

void totals_init(struct totals *totals)
{
	*totals = (struct totals){ .rows = 0 };
	totals->finder.stats = &totals->stats;
}

void totals_release(struct totals *totals)
{
	stats_release(&totals->stats);
	free(totals->finder.order);
	totals_init(totals);
}

enum mer_status totals_count(void *ctx, const void *row, struct mer_error *err)
{
	struct totals *totals = ctx;
	const struct mer_run_gone_row *run = row;
	const enum stats_status status = stats_status_of(run->status);
	const int64_t values[STATS_TIMES] = { run->queue_ms, run->start_ms, run->infer_ms };
	size_t place = 0;
	totals->rows++;
	if (strcmp(run->kind, "run") != 0)
		return MER_OK;
	enum mer_status st = stats_find(&totals->finder, run->model, &place, err);
	if (st != MER_OK)
		return st;
	struct stats_model *model = &totals->stats.models[place];
	model->by_status[status]++;
	for (size_t i = 0; i < STATS_TIMES && status == STATS_OK; i++) {
		if (values[i] >= 0)
			stats_count(&model->times[i], values[i]);
	}
	return MER_OK;
}

/* --- writing ------------------------------------------------------------------------------ */

static void add_member(struct mer_buf *out, const char *model, const char *figure, int64_t value)
{
	struct mer_buf series;
	if (value == 0)
		return;
	mer_buf_init(&series, SIZE_MAX);
	mer_buf_printf(&series, "%s/%s", model, figure);
	if (out->len > 1)
		mer_buf_byte(out, ',');
	mer_json_quote(out, series.ptr, series.len);
	mer_buf_printf(out, ":%" PRId64, value);
	if (series.status != MER_OK)
		out->status = series.status;
	mer_buf_release(&series);
}

static void add_time(struct mer_buf *out, const char *model, const char *name,
                     const struct stats_time *time)
{
	char figure[64];
	(void)snprintf(figure, sizeof figure, "%s_count", name);
	add_member(out, model, figure, time->n);
	(void)snprintf(figure, sizeof figure, "%s_sum_ms", name);
	add_member(out, model, figure, time->sum);
	for (size_t i = 0; i < STATS_BOUNDS; i++) {
		(void)snprintf(figure, sizeof figure, "%s_le_%" PRId64, name, stats_bounds_ms[i]);
		add_member(out, model, figure, time->within[i]);
	}
}

enum mer_status totals_write(const struct totals *totals, struct mer_dal *dal,
                             struct mer_error *err)
{
	struct mer_buf object;
	if (totals->stats.n_models == 0)
		return MER_OK;
	mer_buf_init(&object, SIZE_MAX);
	mer_buf_byte(&object, '{');
	for (size_t i = 0; i < totals->stats.n_models; i++) {
		const struct stats_model *model = &totals->stats.models[i];
		for (enum stats_status status = STATS_OK; status < STATS_STATUSES; status++)
			add_member(&object, model->name, stats_status_names[status], model->by_status[status]);
		for (size_t time = 0; time < STATS_TIMES; time++)
			add_time(&object, model->name, time_names[time], &model->times[time]);
	}
	mer_buf_byte(&object, '}');
	enum mer_status st = mer_buf_check(&object, err);
	if (st == MER_OK)
		st = mer_dal_exec(dal, MER_Q_TOTALS_ADD, MER_ARGS(mer_text(object.ptr)), NULL, err);
	mer_buf_release(&object);
	return st;
}

/* --- reading ------------------------------------------------------------------------------ */

/* The place of a bound: where it is none of ours, of the next one above. */
static size_t bound_of(const char *text)
{
	const long long ms = strtoll(text, NULL, 10);
	size_t i = 0;
	while (i < STATS_BOUNDS && ms > stats_bounds_ms[i])
		i++;
	return i;
}

static void take_time(struct stats_time *time, const char *figure, int64_t value)
{
	static const char within[] = "le_";
	if (strcmp(figure, "count") == 0)
		time->n += value;
	else if (strcmp(figure, "sum_ms") == 0)
		time->sum += value;
	else if (strncmp(figure, within, strlen(within)) == 0) {
		const size_t bound = bound_of(figure + strlen(within));
		if (bound < STATS_BOUNDS)
			time->within[bound] += value;
	}
}

static void take_figure(struct stats_model *model, const char *figure, int64_t value)
{
	for (enum stats_status status = STATS_OK; status < STATS_STATUSES; status++) {
		if (strcmp(figure, stats_status_names[status]) == 0) {
			model->by_status[status] += value;
			return;
		}
	}
	for (size_t i = 0; i < STATS_TIMES; i++) {
		const size_t len = strlen(time_names[i]);
		if (strncmp(figure, time_names[i], len) == 0 && figure[len] == '_')
			take_time(&model->times[i], figure + len + 1, value);
	}
}

struct taking {
	const char *model; /* "" for all */
	struct stats_finder *finder;
};

static enum mer_status on_total(void *ctx, const void *row, struct mer_error *err)
{
	struct taking *taking = ctx;
	const struct mer_total_row *total = row;
	const char *slash = strrchr(total->series, '/');
	size_t place = 0;
	if (slash == NULL)
		return MER_OK; /* the schema has none */
	MER_AUTO(mer_text_done)
	char *model = mer_text_new("%.*s", (int)(slash - total->series), total->series);
	if (model == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (*taking->model != '\0' && strcmp(model, taking->model) != 0)
		return MER_OK;
	enum mer_status st = stats_find(taking->finder, model, &place, err);
	if (st == MER_OK)
		take_figure(&taking->finder->stats->models[place], slash + 1, total->value);
	return st;
}

enum mer_status totals_read(struct mer_dal *dal, const char *model, struct stats_finder *finder,
                            struct mer_error *err)
{
	struct taking taking = { model, finder };
	return mer_dal_query(dal, MER_Q_TOTALS, MER_ARGS(mer_text(model)), on_total, &taking, err);
}
