/*
 * Waiting for the server in a way that somebody in a hurry can end (struct mer_haste). What libpq
 * offers only with waiting, connecting and cancelling, is done by a thread that may be left behind:
 * libpq's own connecting moves on to the next address of a host in time, which nobody else can.
 */
#include "postgres.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

enum {
	LOOK_MS = 20,    /* between two looks whether somebody has come to be in a hurry */
	CANCEL_MS = 500, /* for the server to say that it has ended a statement */
};

/* --- a thread aside ----------------------------------------------------------------------- */

static void aside_free(struct pg_aside *aside)
{
	(void)pthread_cond_destroy(&aside->over);
	(void)pthread_mutex_destroy(&aside->mutex);
	aside->free(aside);
}

static void *aside_main(void *arg)
{
	struct pg_aside *aside = arg;
	aside->run(aside);
	pthread_mutex_lock(&aside->mutex);
	aside->done = true;
	const bool left = aside->left;
	(void)pthread_cond_signal(&aside->over);
	pthread_mutex_unlock(&aside->mutex);
	if (left)
		aside_free(aside);
	return NULL;
}

/* Signals are for the thread that waits. */
static int aside_start(struct pg_aside *aside)
{
	pthread_t thread;
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int failed = pthread_create(&thread, NULL, aside_main, aside);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return failed != 0 ? failed : pthread_detach(thread);
}

static void wait_a_look(struct pg_aside *aside)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	(void)pthread_cond_timedwait(&aside->over, &aside->mutex, &until);
}

static void aside_init(struct pg_aside *aside)
{
	pthread_condattr_t monotonic;
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_mutex_init(&aside->mutex, NULL);
	(void)pthread_cond_init(&aside->over, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	aside->done = aside->left = false;
}

/* Whether it is done: else it frees itself. Lets go of the mutex. */
static bool leave_unless_done(struct pg_aside *aside)
{
	const bool done = aside->done;
	aside->left = !done;
	pthread_mutex_unlock(&aside->mutex);
	return done;
}

bool pg_aside_run(const struct postgres *pg, struct pg_aside *aside, int64_t began_ms)
{
	aside_init(aside);
	if (pg->base.haste == NULL || aside_start(aside) != 0) {
		aside->run(aside);
		return true;
	}
	pthread_mutex_lock(&aside->mutex);
	while (!aside->done && dal_patience_ms(&pg->base, began_ms) > 0)
		wait_a_look(aside);
	return leave_unless_done(aside);
}

void pg_aside_free(struct pg_aside *aside)
{
	aside_free(aside);
}

/* --- cancelling --------------------------------------------------------------------------- */

struct cancelling {
	struct pg_aside aside;
	PGcancel *cancel; /* owned */
};

static void run_cancel(struct pg_aside *aside)
{
	char why[256];
	(void)PQcancel(((struct cancelling *)aside)->cancel, why, sizeof why);
}

static void free_cancel(struct pg_aside *aside)
{
	struct cancelling *cancelling = (struct cancelling *)aside;
	PQfreeCancel(cancelling->cancel);
	free(cancelling);
}

/* Asks the server to end what it does. NULL: it could not be asked. */
static struct pg_aside *ask_to_cancel(struct postgres *pg)
{
	struct cancelling *cancelling = calloc(1, sizeof *cancelling);
	pg->canceled = 1;
	if (cancelling == NULL)
		return NULL;
	cancelling->aside = (struct pg_aside){ .run = run_cancel, .free = free_cancel };
	cancelling->cancel = PQgetCancel(pg->conn);
	aside_init(&cancelling->aside);
	if (cancelling->cancel != NULL && aside_start(&cancelling->aside) == 0)
		return &cancelling->aside;
	aside_free(&cancelling->aside);
	return NULL;
}

/* Whether the server has taken the question by then: one that takes it later ends what is asked of it next. */
static bool was_asked(struct pg_aside *aside, int64_t until_ms)
{
	pthread_mutex_lock(&aside->mutex);
	while (!aside->done && mer_clock_ms() < until_ms)
		wait_a_look(aside);
	const bool done = leave_unless_done(aside);
	if (done)
		aside_free(aside);
	return done;
}

/* --- results ------------------------------------------------------------------------------ */

/* Waits until a result can be taken without waiting, or the connection is given up. */
static void await(struct postgres *pg)
{
	const bool never = pg->base.haste == NULL;
	const int64_t began = never ? 0 : mer_clock_ms();
	int64_t asked = 0;
	struct pg_aside *cancel = NULL;
	while (PQisBusy(pg->conn) != 0 && !pg->given_up) {
		const int unsent = PQflush(pg->conn);
		struct pollfd end = { .fd = PQsocket(pg->conn), .events = POLLIN };
		if (unsent > 0)
			end.events |= POLLOUT;
		if (unsent < 0 || end.fd < 0)
			break; /* whoever takes the result will hear of it */
		if (asked == 0 && dal_patience_ms(&pg->base, began) == 0) {
			asked = mer_clock_ms();
			cancel = ask_to_cancel(pg);
		}
		pg->given_up = asked != 0 && mer_clock_ms() - asked >= CANCEL_MS;
		if (poll(&end, 1, never ? -1 : LOOK_MS) > 0 && PQconsumeInput(pg->conn) == 0)
			break;
	}
	if (cancel != NULL && !was_asked(cancel, asked + CANCEL_MS))
		pg->given_up = true;
}

PGresult *pg_result(struct postgres *pg)
{
	if (pg->conn == NULL)
		return NULL;
	await(pg);
	return pg->given_up ? NULL : PQgetResult(pg->conn);
}

/* --- naps --------------------------------------------------------------------------------- */

bool pg_nap(const struct postgres *pg, int64_t began_ms, int64_t nap_ms)
{
	const int64_t until = mer_clock_ms() + nap_ms;
	for (int64_t left = nap_ms; left > 0; left = until - mer_clock_ms()) {
		if (pg->canceled || dal_patience_ms(&pg->base, began_ms) == 0)
			return false;
		const int64_t some = left < LOOK_MS ? left : LOOK_MS;
		const struct timespec nap = { .tv_nsec = some * 1000000 };
		(void)nanosleep(&nap, NULL);
	}
	return true;
}
