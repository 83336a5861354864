/* Figures of runs as Prometheus reads them (its text format), for node_exporter's textfile collector. */
#ifndef STATS_METRICS_H
#define STATS_METRICS_H

#include "stats.h"

#include <mer/buf.h>

/** Adds all metrics; failures show in out. */
void stats_metrics(const struct stats *stats, struct mer_buf *out);

/** Puts them into a file, in one step, which everybody may read (0644). */
MER_MUST enum mer_status stats_metrics_file(const struct stats *stats, const char *path,
                                            struct mer_error *err);

#endif
