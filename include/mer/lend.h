/*
 * Files on other hosts (docs/ssh.md): what a worker there is lent is copied into a cache, by its content; what a
 * training made there is brought back; what is there is summed up.
 *
 * All of it is on the loop's thread. Each ends by one call of its done, never from inside a call of these
 * functions, and is gone then. Of a worker's spec only its remote and its guard count; the remote is borrowed
 * until done, all else is copied.
 */
#ifndef MER_LEND_H
#define MER_LEND_H

#include <mer/meal.h>
#include <mer/sum.h>

struct mer_lending;

/** err NULL: it is done. */
typedef void mer_lending_done_fn(void *ctx, const struct mer_error *err);

/**
 * Sees to it that all of it is there.
 * @param lacks  what a worker that was lent it has said of it (struct mer_outcome)
 * @return MER_ENOMEM and what keeps it from starting; then done does not come
 */
MER_API MER_MUST enum mer_status mer_lend(struct uv_loop_s *loop,
                                          const struct mer_worker_spec *spec,
                                          const struct mer_lent lent[], size_t n_lent,
                                          const char *lacks, mer_lending_done_fn *done, void *ctx,
                                          struct mer_lending **out, struct mer_error *err);

/** Brings what the worker of that id made there to a path here that does not exist; nothing where it made
 * nothing. Then it is there no more. Meanwhile .NAME.part and .NAME.tree are beside the path, which nobody
 * else may use. */
MER_API MER_MUST enum mer_status mer_fetch(struct uv_loop_s *loop,
                                           const struct mer_worker_spec *spec, const char *id,
                                           const char *path, mer_lending_done_fn *done, void *ctx,
                                           struct mer_lending **out, struct mer_error *err);

/** Removes what a mer that was killed amid that has left beside the path. */
MER_API MER_MUST enum mer_status mer_fetch_clear(const char *path, struct mer_error *err);

/** Size and SHA-256 of what is at a path there; MER_ENOTFOUND: nothing. sum is filled before done. */
MER_API MER_MUST enum mer_status mer_far_sum(struct uv_loop_s *loop,
                                             const struct mer_worker_spec *spec, const char *path,
                                             struct mer_sum *sum, mer_lending_done_fn *done,
                                             void *ctx, struct mer_lending **out,
                                             struct mer_error *err);

/** Ends it soon: done comes with MER_ECANCELED, unless it is too late for that. */
MER_API void mer_lending_cancel(struct mer_lending *lending);

#endif
