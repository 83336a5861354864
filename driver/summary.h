/* --summary: one line on stderr at the end, of what was done. */
#ifndef SUMMARY_H
#define SUMMARY_H

#include <stdbool.h>
#include <stdint.h>

struct session;

struct summary {
	bool on;
	int64_t begun_ms; /* mer_clock_ms() */
	int64_t commands, commands_failed;
	int64_t runs, runs_failed; /* those that came to be */
};

/** From here on what ends is counted, and a signal does not end the program before the line is out. */
void summary_begin(struct session *s);

/** Counts a run that has ended. */
void summary_run(struct session *s, bool ok);

/** Prints it: words, or an object where JSON was asked for. */
void summary_print(const struct session *s);

#endif
