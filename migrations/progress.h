/* What takes long, on a terminal: one line that says what and for how long, rewritten each second
 * and gone when it is done. Without a terminal nothing is shown. */
#ifndef MIGRATIONS_PROGRESS_H
#define MIGRATIONS_PROGRESS_H

/** Begins, where stderr is a terminal that can clear a line. */
void progress_open(void);

/** Something begins: "applying 02-B.sql (2 of 12)". Shown once it has taken a second. */
void progress_begin(const char *what);

/** It is over; the line is gone. */
void progress_end(void);

/** Clears the line. Safe in a signal handler. */
void progress_clear(void);

#endif
