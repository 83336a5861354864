/* A program that mer runs for itself, on another host or here: to its end, with its stdin streamed from a
 * bundle and its stdout kept or streamed to whoever asks. One channel each. */
#ifndef MEAL_ERRAND_H
#define MEAL_ERRAND_H

#include "bundle.h"

#include <mer/meal.h>

struct uv_loop_s;
struct errand;

/* Borrowed until errand_start() returns, but for source and ctx: until done. */
struct errand_spec {
	const struct mer_worker_spec *like; /* where, and by what guard */
	const char *const *argv;
	const char *const *env; /* here: all of it; there: beside what a login has */
	struct bundle *source;  /* NULL: stdin is empty */
	int64_t from, to;       /* bytes of it */
	/* Takes stdout; false ends it. NULL: it is kept as text. */
	bool (*on_bytes)(void *ctx, const char *bytes, size_t n);
	/* Once, never from inside a call; err NULL: exit status 0. Text is borrowed. It is gone. */
	void (*done)(void *ctx, struct errand *errand, const char *text, const struct mer_error *err);
	void *ctx;
};

/** @return as mer_worker_start(): then done does not come */
MER_MUST enum mer_status errand_start(struct uv_loop_s *loop, const struct errand_spec *spec,
                                      struct errand **out, struct mer_error *err);

/** Ends it; done comes with MER_ECANCELED. */
void errand_cancel(struct errand *errand);

#endif
