/*
 * What runs that are forgotten had counted: their numbers and times are added to the table of totals in the
 * transaction that takes them out of the log. So the sum of both, by which counters are made, never falls.
 */
#ifndef TOTALS_H
#define TOTALS_H

#include "stats_count.h"

struct totals {
	struct stats stats;
	struct stats_finder finder; /* of stats */
	int64_t rows;               /* trainings included, which do not count */
};

void totals_init(struct totals *totals);
void totals_release(struct totals *totals);

/** A row function for struct mer_run_gone_row; ctx: struct totals. */
enum mer_status totals_count(void *ctx, const void *row, struct mer_error *err);

/** Adds what was counted to those of the database, in the open transaction. */
MER_MUST enum mer_status totals_write(const struct totals *totals, struct mer_dal *dal,
                                      struct mer_error *err);

/** Adds those of the database to counts, sums and within of the models. model: "" for all. */
MER_MUST enum mer_status totals_read(struct mer_dal *dal, const char *model,
                                     struct stats_finder *finder, struct mer_error *err);

#endif
