/* How far what is waited for is: kept as its model says it, and shown on a terminal. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include "sink.h"

#include <mer/progress.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct progress {
	const char *model;  /* borrowed */
	int64_t begun_ms;   /* mer_clock_ms() */
	bool told;          /* the model says how far it is; if not: */
	double done, total; /* 0 and 0 */
	char text[MER_PROGRESS_TEXT];
	size_t text_len;
};

void progress_begin(struct progress *progress, const char *model);

/** It has got that far. Cheap, however often. */
void progress_told(struct progress *progress, const struct mer_progress *is);

enum { PROGRESS_FAR = 32 };

/** How far, in short: "42%", of an unknown total "17", where nobody says "". Pure. */
void progress_far(const struct progress *progress, char out[PROGRESS_FAR]);

/** What the model says of it, with control characters made visible. Pure. */
void progress_text(const struct progress *progress, struct mer_buf *out);

/**
 * The line for a terminal: "42% digest: reading (3s)", or with a spinner "- digest (1:05)". Pure.
 * @param turn  of the spinner; counts up
 */
void progress_line(const struct progress *progress, int64_t elapsed_ms, unsigned turn,
                   struct mer_buf *out);

/* --- on the terminal ---------------------------------------------------------------------- */

/* What shows it, as long as a session lives; zeroed at first. One thing at a time. */
struct progress_view {
	uv_timer_t timer;
	bool open; /* the timer is on the loop */
	const struct sink
		*sink; /* what it has not written is in the middle of a line, maybe; borrowed */
	const struct progress *of; /* NULL: nothing is shown; borrowed */
	bool mid_line; /* what was printed last is in the middle of a line, which is not ours */
	unsigned turn;
};

/** Shows it until progress_hide(), once a moment has passed. The sink is on the loop. */
void progress_show(struct progress_view *view, const struct sink *sink,
                   const struct progress *progress);
void progress_hide(struct progress_view *view);

/** Something else is printed on the terminal now, up to the end of a line or not: the line makes room
 * for it, and does not come back before that line has ended. */
void progress_yield(struct progress_view *view, bool line_ended);

/** Begins to close; open tells when that is done. */
void progress_close(struct progress_view *view);

#endif
