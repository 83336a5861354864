/*
 * Being interrupted by SIGINT or SIGTERM. Where nothing has been changed yet the process ends at once,
 * in the handler. While a script runs the database is asked to give it up, and the process ends in its
 * usual way when the database has answered, since only then it is known what became of the script; a
 * second signal does not wait for that. Between two scripts signals are held back.
 */
#ifndef MIGRATIONS_STOP_H
#define MIGRATIONS_STOP_H

#include <mer/dal.h>

/* What to say when it ends at once. The texts are copied; data is what completes what is on stdout,
 * or "". */
struct stop_words {
	const char *message, *data;
};

/** Begins; the signals are held back until stop_allow(). One that was ignored stays so. */
void stop_open(void);

/**
 * Lets the signals through, with what they say; words[0] is for SIGINT, words[1] for SIGTERM.
 * @param dal  while a script runs: the first signal is kept, and what this connection does is
 *             cancelled; what the words say is for the second. NULL: none does
 */
void stop_allow(const struct stop_words words[2], struct mer_dal *dal);

/** Holds them back. */
void stop_hold(void);

/** The signal that was kept, or 0; a held one counts. */
int stop_asked(void);

/** "SIGINT" or "SIGTERM". */
const char *stop_name(int number);

#endif
