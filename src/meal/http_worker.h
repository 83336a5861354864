/* Workers whose runs are requests to a server of kind http. */
#ifndef MEAL_HTTP_WORKER_H
#define MEAL_HTTP_WORKER_H

#include "internal.h"

/* As mer_worker_start(). MER_EUNREACHABLE too where this mer has no module for it. */
MER_MUST enum mer_status http_worker_start(struct uv_loop_s *loop,
                                           const struct mer_worker_spec *spec,
                                           const struct mer_worker_events *events, void *ctx,
                                           struct mer_worker **out, struct mer_error *err);

/* As mer_worker_check(). */
MER_MUST enum mer_status http_worker_check(const struct mer_worker_spec *spec,
                                           const struct mer_input *input, struct mer_error *err);

#endif
