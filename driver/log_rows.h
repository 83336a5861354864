/* Runs as rows, for the commands that list them. */
#ifndef LOG_ROWS_H
#define LOG_ROWS_H

#include "session.h"

#include <mer/text.h>
#include <mer/trace.h>

enum { LOG_COLUMNS = 32, LOG_PAGE = 2000 };

/* Of `log show` there are more behind them. */
extern const struct out_column log_columns[];

/** Writes the LOG_COLUMNS cells of a run, which borrow from the row. */
void log_cells(const struct mer_run_row *row, struct mer_cell cells[LOG_COLUMNS]);

/* Which runs. */
struct log_choice {
	const char *model, *status;       /* NULL: any */
	char since[MER_TIME_SIZE];        /* "": from the first on */
	char until[MER_TIME_SIZE];        /* "": to the last; from then on none */
	char trace[MER_TRACE_DIGITS + 1]; /* only of this trace; "": of any and of none */
	int64_t limit;                    /* how many at most, the newest ones; 0: all */
};

/** Prints the newest runs, newest first. They are read by pages, so that neither memory nor a long
 * look at the database is taken by many. */
MER_MUST enum mer_status log_print(struct session *s, const struct log_choice *choice,
                                   struct mer_error *err);

/** The same, oldest first, but all of them whatever limit and status say. */
MER_MUST enum mer_status log_export(struct session *s, const struct log_choice *choice,
                                    struct mer_error *err);

/**
 * Prints the newest runs, oldest first, and then each that has ended, once it has; of a status that
 * is none of an end each that is seen in it. Until a signal comes or the reader leaves.
 * @return not MER_OK
 */
MER_MUST enum mer_status log_follow(struct session *s, const struct log_choice *choice,
                                    struct mer_error *err);

#endif
