/* What ran and how long, per model and of all: counts, exact percentiles, spreads, and how many over time.
 * Memory is by the number of models and of different times, however many runs there are. */
#ifndef STATS_H
#define STATS_H

#include <mer/dal.h>
#include <mer/text.h>
#include <stdbool.h>

enum {
	STATS_TIMES = 3,
	STATS_RANKS = 3,
	STATS_BUCKETS = 48,
	STATS_BOUNDS = 18,
	STATS_COLUMNS = 60
};
extern const int64_t stats_bounds_ms[STATS_BOUNDS];

/* In the order of stats_status_names. */
enum stats_status {
	STATS_QUEUED,
	STATS_RUNNING,
	STATS_OK,
	STATS_FAILED,
	STATS_TIMEOUT,
	STATS_CANCELLED,
	STATS_LOST,
	STATS_REJECTED,
	STATS_STATUSES
};
extern const char *const stats_status_names[STATS_STATUSES];

/* One of queue, start and infer of the runs that ended ok. Of a percentile p the value is the smallest
 * that at least p percent do not exceed (the nearest rank). */
struct stats_time {
	int64_t n;
	int64_t least, most;            /* ms */
	int64_t ranked[STATS_RANKS];    /* ms: p50 p95 p99 */
	int64_t sum;                    /* ms */
	int64_t within[STATS_BOUNDS];   /* how many were over one bound, and not over the next */
	int64_t buckets[STATS_BUCKETS]; /* of 0 ms, 1, 2 to 3, 4 to 7, and so on */
};

struct stats_model {
	char *name; /* NULL: all of them */
	int64_t runs, by_status[STATS_STATUSES];
	char first_at[MER_TIME_SIZE], last_at[MER_TIME_SIZE]; /* "": none was, none has ended */
	struct stats_time times[STATS_TIMES];
	int64_t over_time[STATS_COLUMNS]; /* how many were queued then */
};

struct stats {
	struct stats_model *models; /* by name */
	size_t n_models;
	struct stats_model all;
	int64_t column_ms, from_ms; /* of over_time: what a column is, and where the first begins */
	size_t n_columns;
};

enum stats_want {
	STATS_OVER_TIME = 1, /* how many over time, which may take one more look */
	STATS_FORGOTTEN =
		2, /* counts, sums and within of each model are those of runs that log prune has
	                      * forgotten too */
};

/**
 * Reads the log.
 * @param dal        opened with MER_DAL_READ
 * @param model      "" for all
 * @param since_ms   -1: from the beginning
 * @param want       enum stats_want
 */
MER_MUST enum mer_status stats_read(struct mer_dal *dal, const char *model, int64_t since_ms,
                                    unsigned want, struct stats *out, struct mer_error *err);
void stats_release(struct stats *stats);

#endif
