/* The progress of run --lines on a terminal: how many are done, how many of them failed, how many a second,
 * and how long it will take where the input's size is known. */
#ifndef LINES_PROGRESS_H
#define LINES_PROGRESS_H

#include "session.h"

struct lines_progress {
	bool open, closed;
	uv_timer_t timer;
	int64_t begun_ms;
	int64_t total;        /* bytes of input; 0: not known */
	int64_t bytes;        /* of those, of lines that are dealt with */
	int64_t skipped;      /* bytes of lines that an earlier run had answered */
	int64_t done, failed; /* lines */
	bool mid_line;        /* on this terminal the last line is an answer's: nothing is drawn */
};

/** Begins, where there may be a line of news. @param fd  the input */
void lines_progress_open(struct lines_progress *progress, struct session *s, int fd);

/** Ends; the line is gone. Runs the loop. */
void lines_progress_close(struct lines_progress *progress, struct session *s);

#endif
