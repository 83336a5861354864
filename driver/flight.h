/*
 * A run under way. What it answers is kept until somebody looks on, and is then printed as it comes:
 * from its beginning where it is run in the foreground, later where it was in the background.
 *
 *     flight_begin(&flight, s, &choice, input, NULL, &store, err)
 *     flight_watch(&flight)                     waits for its end
 *     flight_tell(&flight, err)                 says how it ended
 *     flight_release(&flight)
 */
#ifndef FLIGHT_H
#define FLIGHT_H

#include "progress.h"
#include "run.h"

struct flight {
	struct session *s;
	const char *model;      /* borrowed */
	struct mer_run *run;    /* NULL once it has ended */
	enum mer_format format; /* of what it prints */
	bool whole;             /* it is an object, or nothing is printed */
	bool as_it_is;          /* tensors are bytes too */
	bool raw, tidy;         /* tidy: for a terminal */
	bool no_record;         /* of the choice */
	struct mer_buf *metas;  /* the same */
	bool watched, print;    /* somebody waits; for what it prints */
	bool dropped;           /* what still comes is not wanted */
	bool started, done;
	int64_t keep_max; /* bytes on the disk that are kept with nobody watching; 0: any */
	bool too_much;    /* it was cancelled for having more */
	int64_t ended_ms; /* mer_clock_ms() */
	struct progress progress;
	struct caret caret;
	struct answer answer;
	struct spool output;
	struct run_log log;
	struct mer_error unprinted; /* why not all of it could be printed */
	struct run_kept *result;    /* how it ended; NULL: not yet, or no memory for it */
};

/**
 * Submits a run.
 * @param out     zeroed but for as_it_is and keep_max; release it also after a failure
 * @param choice  its texts are borrowed until this returns, but those of model and tensor_out until
 *                the release; so is input, until the run's end
 * @param meta    of the input, or NULL
 * @param store   where its output is kept; borrowed until the release
 */
MER_MUST enum mer_status flight_begin(struct flight *out, struct session *s,
                                      const struct run_choice *choice, struct mer_str input,
                                      const char *meta, struct store *store, struct mer_error *err);

/** Waits for its end, and prints its output as it comes unless it is kept whole. A signal cancels it. */
void flight_watch(struct flight *flight);

/** It has ended, and was watched: prints what is to be said of it on stdout, and gives its failure. */
MER_MUST enum mer_status flight_tell(struct flight *flight, struct mer_error *err);

/** The run must have ended, or its scheduler. */
void flight_release(struct flight *flight);

/** Asks it to end, or with kill kills it; what it still says is dropped. */
void flight_cancel(struct flight *flight, bool kill);

#endif
