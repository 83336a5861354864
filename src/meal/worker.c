/* The front of meal: which kind of worker a spec is for, and what callers may do with one. It asserts,
 * traces each call once and passes it on. */
#define LOG_AREA "meal"
#include "http_worker.h"
#include "internal.h"

#include <mer/log.h>

enum mer_status mer_worker_start(struct uv_loop_s *loop, const struct mer_worker_spec *spec,
                                 const struct mer_worker_events *events, void *ctx,
                                 struct mer_worker **out, struct mer_error *err)
{
	if (spec->http != NULL)
		return http_worker_start(loop, spec, events, ctx, out, err);
	return meal_start(loop, spec, events, ctx, out, err);
}

enum mer_status mer_worker_check(const struct mer_worker_spec *spec, const struct mer_input *input,
                                 struct mer_error *err)
{
	if (spec->http != NULL)
		return http_worker_check(spec, input, err);
	return meal_worker_check(spec, input, err);
}

static long long pid_of(const struct mer_worker *w)
{
	return w->ops->pid(w);
}

void mer_worker_go(struct mer_worker *w)
{
	MER_DEBUG("go worker=%p", (void *)w);
	w->ops->go(w);
}

size_t mer_worker_room(const struct mer_worker *w)
{
	return w->ops->room(w);
}

enum mer_status mer_worker_run(struct mer_worker *w, const struct mer_input *input, void *run,
                               struct mer_error *err)
{
	MER_ASSERT(run != NULL);
	MER_DEBUG("run worker=%p pid=%lld request_uid=%s input=%zu", (void *)w, pid_of(w),
	          input->uid != NULL ? input->uid : "-", input->len);
	return w->ops->run(w, input, run, err);
}

bool mer_worker_cancel(struct mer_worker *w, const void *run, int64_t grace_ms)
{
	MER_ASSERT(grace_ms >= 0);
	return w->ops->cancel(w, run, grace_ms);
}

void mer_worker_pause(struct mer_worker *w, bool pause)
{
	MER_DEBUG("pause worker=%p pause=%d", (void *)w, (int)pause);
	w->ops->pause(w, pause);
}

void mer_worker_end(struct mer_worker *w, enum mer_end how, int64_t grace_ms)
{
	MER_ASSERT(grace_ms >= 0);
	w->ops->end(w, how, grace_ms);
}

const char *mer_worker_announced(const struct mer_worker *w)
{
	return w->ops->announced(w);
}

int64_t mer_worker_pid(const struct mer_worker *w)
{
	return w->ops->pid(w);
}
