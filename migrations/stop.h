/*
 * Being interrupted. Outside a commit nothing is lost by ending at once: what a script did is not
 * in the database before its commit. So SIGINT and SIGTERM end the process in their handler,
 * promptly even where the database is busy for minutes, and are held back where something is being
 * finished.
 */
#ifndef MIGRATIONS_STOP_H
#define MIGRATIONS_STOP_H

#include <stddef.h>

/* What to say then. The texts are copied; data is what completes what is on stdout, or "". */
struct stop_words {
	const char *message, *data;
};

/** Begins; the signals are held back until stop_allow(). One that was ignored stays so. */
void stop_open(void);

/** Lets the signals through, with what they say; words[0] is for SIGINT, words[1] for SIGTERM. */
void stop_allow(const struct stop_words words[2]);

/** Holds them back. */
void stop_hold(void);

#endif
