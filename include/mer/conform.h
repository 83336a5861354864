/*
 * Tests a worker of any making against the frame protocol (docs/wire.md): starts it as mer would,
 * several times, has conversations with it that go right and some that go wrong, and tells which
 * rules it does not keep. Blocks; whatever it started is gone when it returns.
 */
#ifndef MER_CONFORM_H
#define MER_CONFORM_H

#include <mer/meal.h>
#include <stdatomic.h>

/* A rule that is not kept, by its name, and what was seen of it, a line. Each rule at most once. */
typedef void mer_conform_fn(void *ctx, const char *rule, const char *seen);

/** The names of all rules with what each asks for, ended by one without a name. */
struct mer_conform_rule {
	const char *name, *asks;
};
MER_API extern const struct mer_conform_rule mer_conform_rules[];

/**
 * @param spec        its protocol, limits and tokens do not matter
 * @param start_ms    how long it may take to get ready
 * @param patience_ms how long an answer may take
 * @param stop        another thread may set it, which ends the test soon; NULL allowed
 * @param on_broken   called from the calling thread
 * @return MER_OK          it was tested, whatever was found
 *         MER_EUNREACHABLE it cannot be started, or left before it was ready
 *         MER_ECANCELED    stop was set
 *         MER_ENOMEM
 */
MER_API MER_MUST enum mer_status mer_conform(const struct mer_worker_spec *spec, int64_t start_ms,
                                             int64_t patience_ms, const atomic_bool *stop,
                                             mer_conform_fn *on_broken, void *ctx,
                                             struct mer_error *err);

#endif
