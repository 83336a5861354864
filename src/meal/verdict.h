/* How a run ended, or a worker without one: what its process did, in the light of what was asked of it. Pure. */
#ifndef MEAL_VERDICT_H
#define MEAL_VERDICT_H

#include "internal.h"

/* The last line that was not blank of what came, cut, for messages. */
struct last_line {
	char text[200];
	size_t len;
	bool whole; /* its newline has come: the next line replaces it */
};

/* What comes may be any piece of a line: the blanks at its end may be in the middle of the line. */
void last_line_add(struct last_line *line, const char *bytes, size_t n);

void verdict_set(struct mer_outcome *outcome, const struct mer_error *why);

/* What a verdict is about. */
struct verdict_case {
	const struct meal_protocol *protocol;
	const struct meal_call *call; /* the run, an open one; NULL: the worker, which has none */
	const struct last_line *said; /* on stderr */
	bool ready;                   /* the worker was */
	bool asked;                   /* it was to leave */
	bool overdue;                 /* we ended it, since it did not give up a run in time */
	bool
		canceled; /* its caller made it leave, or would not have that run, not waiting for answers */
};

/** Writes status and message, and whether that quotes. */
void verdict_reach(const struct verdict_case *about, const struct meal_exit *how,
                   struct mer_outcome *out);

#endif
