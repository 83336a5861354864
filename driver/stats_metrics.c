/*
 * Metrics of runs; stats_metrics.h. Names, units and types are those of
 * https://prometheus.io/docs/practices/naming/ and .../instrumenting/exposition_formats/.
 */
#include "stats_metrics.h"

#include <inttypes.h>
#include <mer/file.h>
#include <mer/publish.h>
#include <string.h>

static void add_head(struct mer_buf *out, const char *name, const char *type, const char *help)
{
	mer_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: a backslash, a quote and a newline are escaped, and all of it is UTF-8. */
static void add_label(struct mer_buf *out, const char *name, const char *value)
{
	struct mer_buf text;
	mer_buf_init(&text, SIZE_MAX);
	mer_buf_add_utf8(&text, value, strlen(value));
	mer_buf_printf(out, "%s=\"", name);
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '\\' || text.ptr[i] == '"')
			mer_buf_byte(out, '\\');
		if (text.ptr[i] == '\n')
			mer_buf_text(out, "\\n");
		else
			mer_buf_byte(out, text.ptr[i]);
	}
	mer_buf_byte(out, '"');
	if (text.status != MER_OK)
		out->status = text.status;
	mer_buf_release(&text);
}

static void add_seconds(struct mer_buf *out, int64_t ms)
{
	mer_buf_printf(out, "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
}

/* Of each model and status from the one to the other. */
static void add_counts(const struct stats *stats, const char *name, enum stats_status from,
                       enum stats_status to, struct mer_buf *out)
{
	for (size_t i = 0; i < stats->n_models; i++) {
		const struct stats_model *model = &stats->models[i];
		for (enum stats_status status = from; status <= to; status++) {
			mer_buf_printf(out, "%s{", name);
			add_label(out, "model", model->name);
			mer_buf_printf(out, ",status=\"%s\"} %" PRId64 "\n", stats_status_names[status],
			               model->by_status[status]);
		}
	}
}

static void add_series(struct mer_buf *out, const char *name, const char *suffix, const char *model)
{
	mer_buf_printf(out, "%s_%s{", name, suffix);
	add_label(out, "model", model);
}

static void add_histogram(const struct stats_model *model, const char *name,
                          const struct stats_time *time, struct mer_buf *out)
{
	int64_t so_far = 0;
	for (size_t i = 0; i < STATS_BOUNDS; i++) {
		so_far += time->within[i];
		add_series(out, name, "bucket", model->name);
		mer_buf_text(out, ",le=\"");
		add_seconds(out, stats_bounds_ms[i]);
		mer_buf_printf(out, "\"} %" PRId64 "\n", so_far);
	}
	add_series(out, name, "bucket", model->name);
	mer_buf_printf(out, ",le=\"+Inf\"} %" PRId64 "\n", time->n);
	add_series(out, name, "sum", model->name);
	mer_buf_text(out, "} ");
	add_seconds(out, time->sum);
	mer_buf_byte(out, '\n');
	add_series(out, name, "count", model->name);
	mer_buf_printf(out, "} %" PRId64 "\n", time->n);
}

static void add_times(const struct stats *stats, struct mer_buf *out)
{
	static const struct {
		const char *name, *help;
	} times[STATS_TIMES] = {
		{ "mer_run_queue_seconds", "How long runs that ended ok waited for a worker." },
		{ "mer_run_start_seconds", "How long runs that ended ok waited for their worker's start." },
		{ "mer_run_infer_seconds", "How long runs that ended ok waited for their answer." },
	};
	for (size_t at = 0; at < STATS_TIMES; at++) {
		add_head(out, times[at].name, "histogram", times[at].help);
		for (size_t i = 0; i < stats->n_models; i++)
			add_histogram(&stats->models[i], times[at].name, &stats->models[i].times[at], out);
	}
}

static void add_last(const struct stats *stats, struct mer_buf *out)
{
	static const char name[] = "mer_run_last_end_timestamp_seconds";
	add_head(out, name, "gauge", "When a run ended last, in seconds since 1970.");
	for (size_t i = 0; i < stats->n_models; i++) {
		int64_t ms;
		if (mer_parse_time(stats->models[i].last_at, &ms, NULL) != MER_OK)
			continue;
		mer_buf_printf(out, "%s{", name);
		add_label(out, "model", stats->models[i].name);
		mer_buf_text(out, "} ");
		add_seconds(out, ms);
		mer_buf_byte(out, '\n');
	}
}

void stats_metrics(const struct stats *stats, struct mer_buf *out)
{
	add_head(out, "mer_build_info", "gauge", "Always 1; which mer has written this.");
	mer_buf_text(out, "mer_build_info{version=\"" MER_VERSION "\"} 1\n");
	add_head(out, "mer_runs_total", "counter",
	         "Runs that have ended, by how; also those that the log has forgotten.");
	add_counts(stats, "mer_runs_total", STATS_OK, STATS_REJECTED, out);
	add_head(out, "mer_runs_open", "gauge", "Runs that have not ended.");
	add_counts(stats, "mer_runs_open", STATS_QUEUED, STATS_RUNNING, out);
	add_times(stats, out);
	add_last(stats, out);
}

enum mer_status stats_metrics_file(const struct stats *stats, const char *path,
                                   struct mer_error *err)
{
	struct mer_publish file;
	struct mer_buf text;
	mer_buf_init(&text, SIZE_MAX);
	stats_metrics(stats, &text);
	enum mer_status st = mer_buf_check(&text, err);
	if (st != MER_OK) {
		mer_buf_release(&text);
		return st;
	}
	st = mer_publish_open(path, true, 0644, &file, err);
	if (st == MER_OK)
		st = mer_write_all(file.fd, path, text.ptr, text.len, err);
	if (st == MER_OK)
		st = mer_publish_put(&file, true, err);
	mer_publish_release(&file);
	mer_buf_release(&text);
	return st;
}
