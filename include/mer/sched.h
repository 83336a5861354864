/*
 * The scheduler: runs, their workers and their rows. The only layer that knows dal and meal.
 *
 * A run is submitted; then come on_started, on_output... and one on_done. Its row exists in the
 * database before its model sees a byte of input, and is closed after on_done, off the loop, in
 * groups. Workers that stay (token) are kept warm for the deployment's idle time.
 *
 *     mer_sched_open(loop, &options, &sched, err)
 *     mer_sched_submit(sched, &request, &events, ctx, &run, err)     as often as one likes
 *     uv_run(loop, ...)
 *     mer_sched_close(sched, on_closed, ctx)                        drains; then uv_run again
 *
 * Everything belongs to the loop's thread. Callbacks never come from inside these functions.
 */
#ifndef MER_SCHED_H
#define MER_SCHED_H

#include <mer/buf.h>
#include <mer/hash.h>
#include <mer/progress.h>
#include <mer/uid.h>
#include <stdbool.h>
#include <stdint.h>

struct mer_links;
struct uv_loop_s;
struct mer_sched;
struct mer_run;

struct mer_sched_options {
	const char *database; /* URL; copied. Opened by the scheduler's own thread at the first need */
	const char *door;     /* repl or batch: which entrance the runs came through; static */
	const char *models;   /* what {models} stands for; copied */
	const char *guard;    /* the supervisor program; copied */
	const char *python;   /* where the Python SDK is; copied */
	const char *const *environment; /* mer's own, NAME=VALUE ended by NULL; borrowed */
	const char *hidden; /* a name in it that no model gets, beside those that the database names
	                     * (mer/secrets.h); static or borrowed; NULL: none */
	const char
		*traceparent; /* the trace that all of its runs belong to (mer/trace.h); copied; NULL or
	                          * "": none */
	int64_t
		keep_io_max; /* bytes that are kept of an input, and of an output, where a deployment asks
	                      * for it */
	struct mer_links *links; /* for workers on other hosts; borrowed until on_closed; NULL: none */
	/* May put itself and a quick worker on one core while runs come one after another. */
	bool place;
};

MER_API MER_MUST enum mer_status mer_sched_open(struct uv_loop_s *loop,
                                                const struct mer_sched_options *options,
                                                struct mer_sched **out, struct mer_error *err);

/**
 * Cancels what is open, ends all workers, writes all rows, then calls on_closed and frees itself.
 * @param on_closed  err: the first record that could not be written (MER_EDATABASE), or NULL
 */
typedef void mer_sched_closed_fn(void *ctx, const struct mer_error *err);
MER_API void mer_sched_close(struct mer_sched *sched, mer_sched_closed_fn *on_closed, void *ctx);

/** Somebody wants all to end now: until the next submission no wait for the database takes longer than
 * a moment (struct mer_haste). What could not be written then is reported as not recorded, and its row,
 * if any, is closed as lost by the next start. Also after mer_sched_close(), until on_closed. */
MER_API void mer_sched_hurry(struct mer_sched *sched);

/** Whether the stored path of weights, SERVER:/PATH, is one on that server; *server: the length of its name. */
MER_API bool mer_weights_there(const char *stored, size_t *server);

/* What a run is that trains: the deployment's train command is run with an empty input, or where it has
 * none and speaks frames, a worker is told to. */
struct mer_training {
	const char *dataset, *new_weights, *new_version; /* the placeholders of these names */
	/* Nothing of its process is left. Comes after an on_done that has attempts. */
	void (*on_gone)(void *ctx);
	void *ctx;
};

/* What to run. Texts are copied; the input is borrowed until on_done. */
struct mer_run_request {
	const char *model;
	const char *deployment; /* uid or name; NULL or "": any */
	const char *server;     /* name; NULL or "": any */
	const char *session;    /* of a stateful model: its runs go to one worker, in order; NULL or "":
	                         * any worker */
	const char *weights;    /* version; NULL or "": the active one */
	const struct mer_training *training; /* NULL: it answers; copied */
	const char *input;
	size_t input_len;
	const char *input_meta; /* as of struct mer_input (mer/meal.h); NULL: just bytes; borrowed */
	int64_t timeout_ms;     /* queue, start and answer; 0: the deployment's */
	bool tensors;           /* on_meta comes whatever the input is; no plain protocol has that */
	bool no_record;         /* no row is written */
	bool stream;         /* one of many that follow one another: rows are written ahead in groups */
	const char *replays; /* the run that this one repeats: its uid; NULL or "": none */
	size_t jobs;         /* of a stream: how many of its runs may be open at a time; 0: one */
};

/* How a run ended. Borrowed for the callback. */
struct mer_run_result {
	struct mer_error error; /* status MER_OK: it succeeded. MER_EINPUT with rejected; so with
	                         * MER_ECONFLICT (weights that were changed since they were added),
	                         * MER_ENOTFOUND and MER_EUNREACHABLE (that cannot be read); MER_EMODEL,
	                         * MER_ETIMEOUT, MER_ECANCELED, MER_EUNREACHABLE, MER_EBUSY, MER_ELIMIT
	                         * (output), or before a row: MER_ENOTFOUND, MER_EDATABASE */
	const char *status;     /* of its row: ok failed timeout cancelled rejected; NULL: no row */
	const char *model, *deployment, *server, *weights; /* "" where it did not come to that */
	struct mer_uid request_uid;
	int exit_code;      /* -1: none */
	const char *signal; /* a name (SIGSEGV), "" */
	const char
		*stderr_tail; /* the last 4 KiB of what the model said on stderr and beside answers */
	int64_t attempts;
	int64_t queue_ms, start_ms, infer_ms; /* -1: did not come to that */
	int64_t bytes_in, bytes_out;
};

struct mer_run_events {
	/* Whether it may be given to a worker now; not so: asked again at any time, and when
	 * mer_sched_ask_again() wants that. Those submitted behind it wait as well. NULL: it may. */
	bool (*may_start)(void *ctx);
	/* The model gets its input from now on; its row is written. */
	void (*on_started)(void *ctx, const struct mer_run *run);
	/* As of struct mer_worker_events (mer/meal.h); NULL: such an answer's bytes come alone. */
	void (*on_meta)(void *ctx, const char *meta);
	void (*on_output)(void *ctx, const char *bytes, size_t n);
	/* What the model says beside its answer. */
	void (*on_log)(void *ctx, const char *bytes, size_t n);
	/* How far it is, as often as the model says; before on_started: how far its worker is that gets
	 * ready. NULL: nobody asks. */
	void (*on_progress)(void *ctx, const struct mer_progress *progress);
	/* The last call; the run is gone after it. */
	void (*on_done)(void *ctx, const struct mer_run_result *result);
};

/**
 * Submits a run.
 *
 * @param events  borrowed until on_done; all slots set but may_start, on_meta and on_progress
 * @param out     the run, for the functions below, until on_done; NULL allowed
 * @return MER_ENOMEM; everything else comes by on_done
 */
MER_API MER_MUST enum mer_status mer_sched_submit(struct mer_sched *sched,
                                                  const struct mer_run_request *request,
                                                  const struct mer_run_events *events, void *ctx,
                                                  struct mer_run **out, struct mer_error *err);

/** Asks the runs that were not to start once more whether they may. */
MER_API void mer_sched_ask_again(struct mer_sched *sched);

/** Cancels: SIGTERM, after 2 s SIGKILL; with kill at once, and with all haste (mer_sched_hurry()). One
 * that is not sent yet just ends, though its row be waiting for the database. */
MER_API void mer_run_cancel(struct mer_run *run, bool kill);

/** Nobody goes on with a session: its worker, if it is idle, leaves at once instead of after its idle
 * time. None of the session's runs may be open. */
MER_API void mer_sched_end_session(struct mer_sched *sched, const char *model, const char *session);

/** Back-pressure: while paused no on_output comes and the model is held by its full pipe. */
MER_API void mer_run_pause(struct mer_run *run, bool pause);

MER_API const char *mer_run_uid(const struct mer_run *run);

/**
 * Starts a worker (token), or prepares a start (once: the program is there and could be started),
 * and tells when it is ready. No row is written. A worker that is ready already counts, whatever way
 * led to it; where there may be no further one, an idle one of another way leaves for it.
 * @param on_ready  err NULL: ready after ms milliseconds; called once. MER_EBUSY: all workers that
 *                  there may be are in use by others
 */
typedef void mer_ping_fn(void *ctx, const struct mer_error *err, int64_t ms, const char *server);
MER_API MER_MUST enum mer_status mer_sched_ping(struct mer_sched *sched, const char *model,
                                                int64_t timeout_ms, mer_ping_fn *on_ready,
                                                void *ctx, struct mer_error *err);

#endif
