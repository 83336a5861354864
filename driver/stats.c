/*
 * Figures of runs, out of a look at their rows page by page. Times are counted by value, which is exact up
 * to some seconds; where a percentile falls among those that are counted together, a second look counts
 * these apart. Both look at the same rows, being in one transaction.
 */
#include "stats.h"

#include "stats_count.h"
#include "tally.h"
#include "totals.h"

#include <mer/clean.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 10000, GRACE_MS = 86400000, UID_SIZE = 37 };

static const int percents[STATS_RANKS] = { 50, 95, 99 };

/* What is counted together and holds a percentile, or a part of it. */
struct target {
	int64_t least, width; /* width 0: it is known exactly */
	int64_t before;       /* how many values are less than least */
};

struct targets {
	struct target of[STATS_TIMES][STATS_RANKS];
};

struct reading {
	struct mer_dal *dal;
	const char *model;
	char since[MER_TIME_SIZE];
	char first[UID_SIZE]; /* before all that are looked at */
	char last[UID_SIZE];  /* the last that was */
	size_t n;             /* of the page */
	struct stats *stats;
	struct stats_finder finder;
	struct tally tally;      /* keys: place of the model and of the time */
	bool again;              /* the second look */
	struct targets *targets; /* of it: those of all models, then of each */
	bool over_time;
};

/* --- the first look ----------------------------------------------------------------------- */

static void count_run(struct stats_model *model, const struct mer_run_times_row *row,
                      enum stats_status status)
{
	model->runs++;
	model->by_status[status]++;
	if (model->first_at[0] == '\0' || strcmp(row->queued_at, model->first_at) < 0)
		(void)snprintf(model->first_at, sizeof model->first_at, "%s", row->queued_at);
	if (strcmp(row->stopped_at, model->last_at) > 0)
		(void)snprintf(model->last_at, sizeof model->last_at, "%s", row->stopped_at);
}

static uint64_t key_of(size_t model, size_t time)
{
	return (uint64_t)model * STATS_TIMES + time;
}

static enum mer_status look(struct reading *reading, const struct mer_run_times_row *row,
                            struct mer_error *err)
{
	struct stats *stats = reading->stats;
	enum stats_status status = stats_status_of(row->status);
	size_t place = 0;
	enum mer_status st = stats_find(&reading->finder, row->model, &place, err);
	if (st != MER_OK)
		return st;
	count_run(&stats->models[place], row, status);
	count_run(&stats->all, row, status);
	const int64_t values[STATS_TIMES] = { row->queue_ms, row->start_ms, row->infer_ms };
	for (size_t time = 0; time < STATS_TIMES && st == MER_OK; time++) {
		int64_t width;
		if (status != STATS_OK || values[time] < 0)
			continue;
		stats_count(&stats->models[place].times[time], values[time]);
		stats_count(&stats->all.times[time], values[time]);
		st = tally_add(&reading->tally, key_of(place, time), tally_step(values[time], &width), err);
	}
	return st;
}

/* --- percentiles -------------------------------------------------------------------------- */

/* The first rank whose share is p percent or more, rounded up; without an overflow. */
static int64_t rank_of(int64_t n, int percent)
{
	return n / 100 * percent + (n % 100 * percent + 99) / 100;
}

/* Finds the steps that hold the ranks among values that come in their order. */
static void rank_entry(struct stats_time *time, struct target targets[STATS_RANKS], int64_t *before,
                       const struct tally_entry *entry)
{
	for (size_t i = 0; i < STATS_RANKS; i++) {
		int64_t rank = rank_of(time->n, percents[i]);
		if (*before >= rank || rank > *before + entry->count)
			continue;
		int64_t width;
		(void)tally_step(entry->value, &width);
		time->ranked[i] = entry->value;
		targets[i] = (struct target){ entry->value, width > 1 ? width : 0, *before };
	}
	*before += entry->count;
}

static int by_value(const void *left, const void *right)
{
	const struct tally_entry *a = left, *b = right;
	uint64_t time_a = a->key % STATS_TIMES, time_b = b->key % STATS_TIMES;
	if (time_a != time_b)
		return time_a < time_b ? -1 : 1;
	return (a->value > b->value) - (a->value < b->value);
}

/* Of each model first, then of all. Whether some are not known exactly. */
static bool rank_all(struct reading *reading)
{
	struct stats *stats = reading->stats;
	struct tally *tally = &reading->tally;
	int64_t before = 0;
	bool coarse = false;
	tally_sort(tally);
	for (size_t i = 0; i < tally->n; i++) {
		const struct tally_entry *entry = &tally->entries[i];
		size_t place = (size_t)(entry->key / STATS_TIMES),
			   time = (size_t)(entry->key % STATS_TIMES);
		before = i > 0 && entry->key == entry[-1].key ? before : 0;
		rank_entry(&stats->models[place].times[time], reading->targets[place + 1].of[time], &before,
		           entry);
	}
	if (tally->n > 0)
		qsort(tally->entries, tally->n, sizeof *tally->entries, by_value);
	for (size_t i = 0; i < tally->n; i++) {
		struct tally_entry entry = tally->entries[i];
		size_t time = (size_t)(entry.key % STATS_TIMES);
		before = i > 0 && tally->entries[i - 1].key % STATS_TIMES == time ? before : 0;
		while (i + 1 < tally->n && tally->entries[i + 1].key % STATS_TIMES == time &&
		       tally->entries[i + 1].value == entry.value)
			entry.count += tally->entries[++i].count;
		rank_entry(&stats->all.times[time], reading->targets[0].of[time], &before, &entry);
	}
	for (size_t i = 0; i <= stats->n_models; i++) {
		for (size_t at = 0; at < (size_t)STATS_TIMES * STATS_RANKS; at++)
			coarse |= reading->targets[i].of[at / STATS_RANKS][at % STATS_RANKS].width > 0;
	}
	return coarse;
}

/* --- the second look ---------------------------------------------------------------------- */

/* What is a second, ten, a minute ... so that columns begin where people would have them. */
static const int64_t units_ms[] = { 1000, 10000, 60000, 600000, 3600000, 86400000 };
enum { N_UNITS = sizeof units_ms / sizeof *units_ms };

static void choose_columns(struct stats *stats)
{
	int64_t first, last;
	if (mer_parse_time(stats->all.first_at, &first, NULL) != MER_OK)
		return;
	if (mer_parse_time(stats->all.last_at, &last, NULL) != MER_OK || last < first)
		last = first;
	size_t unit = 0;
	while (unit + 1 < N_UNITS && (last - first) / units_ms[unit] >= (int64_t)10 * STATS_COLUMNS)
		unit++;
	stats->from_ms = first - first % units_ms[unit];
	int64_t n = (last - stats->from_ms) / units_ms[unit] + 1;
	int64_t each = (n + STATS_COLUMNS - 1) / STATS_COLUMNS;
	stats->column_ms = each * units_ms[unit];
	stats->n_columns = (size_t)((n + each - 1) / each);
}

static void count_over_time(struct stats *stats, struct stats_model *model, const char *queued_at)
{
	int64_t at;
	if (stats->n_columns == 0 || mer_parse_time(queued_at, &at, NULL) != MER_OK)
		return;
	int64_t column = at < stats->from_ms ? 0 : (at - stats->from_ms) / stats->column_ms;
	if (column >= (int64_t)stats->n_columns)
		column = (int64_t)stats->n_columns - 1;
	model->over_time[column]++;
	stats->all.over_time[column]++;
}

static bool is_wanted(const struct target targets[STATS_RANKS], int64_t value)
{
	for (size_t i = 0; i < STATS_RANKS; i++) {
		if (value >= targets[i].least && value < targets[i].least + targets[i].width)
			return true;
	}
	return false;
}

/* Keys are as of struct targets: 0 is all. */
static enum mer_status look_again(struct reading *reading, const struct mer_run_times_row *row,
                                  struct mer_error *err)
{
	size_t place = 0;
	enum mer_status st = stats_find(&reading->finder, row->model, &place, err);
	if (st != MER_OK)
		return st;
	if (reading->over_time)
		count_over_time(reading->stats, &reading->stats->models[place], row->queued_at);
	const int64_t values[STATS_TIMES] = { row->queue_ms, row->start_ms, row->infer_ms };
	for (size_t time = 0; time < STATS_TIMES && stats_status_of(row->status) == STATS_OK; time++) {
		if (st == MER_OK && is_wanted(reading->targets[0].of[time], values[time]))
			st = tally_add(&reading->tally, key_of(0, time), values[time], err);
		if (st == MER_OK && is_wanted(reading->targets[place + 1].of[time], values[time]))
			st = tally_add(&reading->tally, key_of(place + 1, time), values[time], err);
	}
	return st;
}

/* The exact values: what is counted apart now continues what is before it. */
static void rank_exactly(struct stats_time *time, const struct target targets[STATS_RANKS],
                         const struct tally_entry *entries, size_t n)
{
	for (size_t i = 0; i < STATS_RANKS; i++) {
		int64_t rank = rank_of(time->n, percents[i]), seen = targets[i].before;
		for (size_t at = 0; at < n && targets[i].width > 0; at++) {
			if (entries[at].value < targets[i].least)
				continue;
			seen += entries[at].count;
			if (seen < rank)
				continue;
			time->ranked[i] = entries[at].value;
			break;
		}
	}
}

static void rank_all_exactly(struct reading *reading)
{
	const struct tally *tally = &reading->tally;
	size_t from = 0;
	tally_sort(&reading->tally);
	for (size_t i = 0; i < tally->n; i++) {
		const uint64_t key = tally->entries[i].key;
		if (i + 1 < tally->n && tally->entries[i + 1].key == key)
			continue;
		size_t place = (size_t)(key / STATS_TIMES), time = (size_t)(key % STATS_TIMES);
		struct stats_model *model =
			place == 0 ? &reading->stats->all : &reading->stats->models[place - 1];
		rank_exactly(&model->times[time], reading->targets[place].of[time], tally->entries + from,
		             i + 1 - from);
		from = i + 1;
	}
}

/* --- reading ------------------------------------------------------------------------------ */

static enum mer_status on_row(void *ctx, const void *data, struct mer_error *err)
{
	struct reading *reading = ctx;
	const struct mer_run_times_row *row = data;
	reading->n++;
	(void)snprintf(reading->last, sizeof reading->last, "%s", row->request_uid);
	return reading->again ? look_again(reading, row, err) : look(reading, row, err);
}

static enum mer_status read_pages(struct reading *reading, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	memcpy(reading->last, reading->first, sizeof reading->last);
	do {
		char key[UID_SIZE];
		memcpy(key, reading->last, sizeof key);
		reading->n = 0;
		st = mer_dal_query(reading->dal, MER_Q_RUN_TIMES,
		                   MER_ARGS(mer_text(reading->model), mer_text("run"), mer_text(key),
		                            mer_text(reading->since), mer_i64(PAGE)),
		                   on_row, reading, err);
	} while (st == MER_OK && reading->n == PAGE);
	return st;
}

static enum mer_status read_all(struct reading *reading, struct mer_error *err)
{
	struct stats *stats = reading->stats;
	enum mer_status st = read_pages(reading, err);
	if (st != MER_OK)
		return st;
	reading->targets = calloc(stats->n_models + 1, sizeof *reading->targets);
	if (reading->targets == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	bool coarse = rank_all(reading);
	if (reading->over_time)
		choose_columns(stats);
	if (!coarse && !reading->over_time)
		return MER_OK;
	tally_release(&reading->tally);
	reading->again = true;
	st = read_pages(reading, err);
	if (st == MER_OK)
		rank_all_exactly(reading);
	return st;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct stats_model *)a)->name, ((const struct stats_model *)b)->name);
}

/* uids begin with the time in units of 65.536 s in 8 digits. A day's grace is for clocks that were set; the
 * exact time is compared besides. */
static void begin_since(struct reading *reading, int64_t since_ms)
{
	if (since_ms < 0)
		return;
	mer_time_text(since_ms, reading->since);
	uint64_t from = since_ms > GRACE_MS ? (uint64_t)(since_ms - GRACE_MS) >> 16 : 0;
	(void)snprintf(reading->first, sizeof reading->first, "%08llx", (unsigned long long)from);
}

enum mer_status stats_read(struct mer_dal *dal, const char *model, int64_t since_ms, unsigned want,
                           struct stats *out, struct mer_error *err)
{
	struct reading reading = { .dal = dal,
		                       .model = model,
		                       .stats = out,
		                       .finder = { .stats = out },
		                       .over_time = (want & STATS_OVER_TIME) != 0 };
	*out = (struct stats){ 0 };
	begin_since(&reading, since_ms);
	enum mer_status st = mer_dal_begin(dal, err);
	if (st == MER_OK)
		st = read_all(&reading, err);
	if (st == MER_OK && (want & STATS_FORGOTTEN) != 0)
		st = totals_read(dal, model, &reading.finder, err);
	mer_dal_rollback(dal);
	if (out->n_models > 0)
		qsort(out->models, out->n_models, sizeof *out->models, by_name);
	tally_release(&reading.tally);
	free(reading.targets);
	free(reading.finder.order);
	return st;
}
