/*
 * Blocking work off the loop: one thread of its own that takes jobs in order, so that what belongs
 * to one thread (a database connection) needs no lock. An own thread with a condition variable
 * serves groups of rows three times quicker than libuv's pool.
 */
#ifndef MER_WORK_H
#define MER_WORK_H

#include <mer/error.h>

struct uv_loop_s;
struct mer_work;

/* A job, embedded in the caller's object; from push to done it belongs to the worker. */
struct mer_job {
	void (*run)(struct mer_job *job);  /* in the thread; blocks as long as it likes */
	void (*done)(struct mer_job *job); /* on the loop, after run, in order of the pushes */
	struct mer_job *next;              /* private */
};

/** Starts the thread, with all signals blocked. Its handle does not keep the loop alive by itself,
 * but does while jobs are under way. */
MER_API MER_MUST enum mer_status mer_work_open(struct uv_loop_s *loop, struct mer_work **out,
                                               struct mer_error *err);

/** Adds a job; never fails. Only from the loop's thread. */
MER_API void mer_work_push(struct mer_work *work, struct mer_job *job);

/** The same, and nothing is pushed after it: the thread ends by itself behind this job, so that
 * mer_work_close() need not wake it up. */
MER_API void mer_work_push_last(struct mer_work *work, struct mer_job *job);

/** Lets the thread keep off one processor (or none: -1). */
MER_API void mer_work_avoid_cpu(struct mer_work *work, int cpu);

/** Waits for the jobs under way, ends the thread, then calls on_closed and frees itself. */
MER_API void mer_work_close(struct mer_work *work, void (*on_closed)(void *ctx), void *ctx);

#endif
