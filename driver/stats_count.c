/* Counting by model; stats_count.h. */
#include "stats_count.h"

#include <stdlib.h>
#include <string.h>

const char *const stats_status_names[STATS_STATUSES] = {
	[STATS_QUEUED] = "queued", [STATS_RUNNING] = "running",   [STATS_OK] = "ok",
	[STATS_FAILED] = "failed", [STATS_TIMEOUT] = "timeout",   [STATS_CANCELLED] = "cancelled",
	[STATS_LOST] = "lost",     [STATS_REJECTED] = "rejected",
};

const int64_t stats_bounds_ms[STATS_BOUNDS] = {
	1,    2,    5,    10,    25,    50,    100,    250,    500,
	1000, 2500, 5000, 10000, 30000, 60000, 300000, 900000, 3600000,
};

static enum mer_status make_room(struct stats_finder *finder, struct mer_error *err)
{
	struct stats *stats = finder->stats;
	if (stats->n_models < finder->room)
		return MER_OK;
	size_t room = finder->room > 0 ? 2 * finder->room : 16;
	struct stats_model *models = reallocarray(stats->models, room, sizeof *models);
	if (models != NULL)
		stats->models = models;
	size_t *order = reallocarray(finder->order, room, sizeof *order);
	if (order != NULL)
		finder->order = order;
	if (models == NULL || order == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	finder->room = room;
	return MER_OK;
}

enum mer_status stats_find(struct stats_finder *finder, const char *name, size_t *out,
                           struct mer_error *err)
{
	struct stats *stats = finder->stats;
	size_t from = 0, to = stats->n_models;
	if (to > 0 && strcmp(stats->models[finder->found].name, name) == 0) {
		*out = finder->found;
		return MER_OK;
	}
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		int order = strcmp(name, stats->models[finder->order[middle]].name);
		if (order == 0) {
			*out = finder->found = finder->order[middle];
			return MER_OK;
		}
		if (order < 0)
			to = middle;
		else
			from = middle + 1;
	}
	enum mer_status st = make_room(finder, err);
	char *copy = st == MER_OK ? strdup(name) : NULL;
	if (copy == NULL)
		return st != MER_OK ? st : mer_fail(err, MER_ENOMEM, "out of memory");
	memmove(finder->order + from + 1, finder->order + from,
	        (stats->n_models - from) * sizeof *finder->order);
	*out = finder->found = finder->order[from] = stats->n_models;
	stats->models[stats->n_models++] = (struct stats_model){ .name = copy };
	return MER_OK;
}

enum stats_status stats_status_of(const char *name)
{
	enum stats_status status = STATS_OK; /* which is likely */
	if (strcmp(name, stats_status_names[STATS_OK]) == 0)
		return status;
	for (status = 0; status + 1 < STATS_STATUSES; status++) {
		if (strcmp(name, stats_status_names[status]) == 0)
			break;
	}
	return status;
}

void stats_count(struct stats_time *time, int64_t value)
{
	size_t bucket = 0;
	while (bucket + 1 < STATS_BUCKETS && value >> bucket != 0)
		bucket++;
	time->least = time->n == 0 || value < time->least ? value : time->least;
	time->most = value > time->most ? value : time->most;
	time->buckets[bucket]++;
	size_t bound = 0;
	while (bound < STATS_BOUNDS && value > stats_bounds_ms[bound])
		bound++;
	if (bound < STATS_BOUNDS)
		time->within[bound]++;
	time->sum += value;
	time->n++;
}

void stats_release(struct stats *stats)
{
	for (size_t i = 0; i < stats->n_models; i++)
		free(stats->models[i].name);
	free(stats->models);
	*stats = (struct stats){ 0 };
}
