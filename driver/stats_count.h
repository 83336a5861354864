/* What the log and the totals of what was forgotten have in common: models are found, and counted, one
 * after another. */
#ifndef STATS_COUNT_H
#define STATS_COUNT_H

#include "stats.h"

struct stats_finder {
	struct stats *stats; /* borrowed; whose models are in the order in which they came */
	size_t room;         /* for them */
	size_t *order;       /* of them, by name; owned by who made this */
	size_t found;        /* the last of them */
};

/** The place of a model, which is made where it is new; the one of before is likely. */
MER_MUST enum mer_status stats_find(struct stats_finder *finder, const char *name, size_t *out,
                                    struct mer_error *err);

/** What is none is the last of them. */
enum stats_status stats_status_of(const char *name);

/** Counts one more; value: in ms, not negative. */
void stats_count(struct stats_time *time, int64_t value);

#endif
