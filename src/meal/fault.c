/*
 * A carrier that wraps a carrier and lets its nth step fail, for tests: at whatever moment a worker is
 * lost, its run and its end are reported once, and nothing of it stays. Steps are the calls down and
 * the events up, in the order in which they come.
 */
#include "internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct fault {
	struct meal_carrier base;
	struct meal_carrier *inner;
	int64_t fail_at, count;
	int64_t *steps; /* borrowed; NULL: nobody asks */
	bool broken;
};

static const struct meal_carrier_ops fault_ops;

static struct fault *as_fault(struct meal_carrier *carrier)
{
	MER_ASSERT(carrier->ops == &fault_ops);
	return (struct fault *)carrier;
}

/* Counts a step. Returns whether it is the one that fails. */
static bool fails(struct fault *fault)
{
	fault->count++;
	if (fault->steps != NULL)
		*fault->steps = fault->count;
	return fault->count == fault->fail_at;
}

/* Counts a step that cannot report a failure: there the worker is lost. Returns whether it is. */
static bool is_lost(struct fault *fault)
{
	if (fails(fault)) {
		fault->broken = true;
		fault->inner->ops->signal(fault->inner, MEAL_KILL);
	}
	return fault->broken;
}

static void relay_prepared(void *ctx)
{
	struct fault *fault = ctx;
	if (!is_lost(fault))
		fault->base.events->prepared(fault->base.ctx);
}

static void relay_data(void *ctx, enum meal_stream stream, const char *bytes, size_t n)
{
	struct fault *fault = ctx;
	fault->base.pid = fault->inner->pid;
	if (!is_lost(fault))
		fault->base.events->data(fault->base.ctx, stream, bytes, n);
}

static void relay_eof(void *ctx, enum meal_stream stream)
{
	struct fault *fault = ctx;
	(void)is_lost(fault);
	fault->base.events->eof(fault->base.ctx, stream);
}

static void relay_ended(void *ctx, const struct meal_exit *how)
{
	struct fault *fault = ctx;
	struct meal_exit changed = *how;
	if (is_lost(fault))
		(void)snprintf(changed.problem, sizeof changed.problem, "step %" PRId64 " is made to fail",
		               fault->fail_at);
	fault->base.events->ended(fault->base.ctx, &changed);
}

static void relay_closed(void *ctx)
{
	struct fault *fault = ctx;
	fault->base.events->closed(fault->base.ctx);
	free(fault);
}

static const struct meal_carrier_events relays = {
	.prepared = relay_prepared,
	.data = relay_data,
	.eof = relay_eof,
	.ended = relay_ended,
	.closed = relay_closed,
};

static enum mer_status fault_start(struct meal_carrier *carrier, struct uv_loop_s *loop,
                                   const struct mer_worker_spec *spec, struct mer_error *err)
{
	struct fault *fault = as_fault(carrier);
	enum mer_status st;
	if (fails(fault)) {
		fault->inner->ops->close(fault->inner);
		st = mer_fail(err, MER_EUNREACHABLE, "step %" PRId64 " is made to fail", fault->fail_at);
	} else {
		st = fault->inner->ops->start(fault->inner, loop, spec, err);
	}
	if (st != MER_OK)
		free(fault);
	return st;
}

static void fault_go(struct meal_carrier *carrier)
{
	struct fault *fault = as_fault(carrier);
	if (!is_lost(fault))
		fault->inner->ops->go(fault->inner);
}

static void fault_write(struct meal_carrier *carrier, const struct mer_str pieces[], size_t n,
                        bool last, const void *owner)
{
	struct fault *fault = as_fault(carrier);
	if (!is_lost(fault))
		fault->inner->ops->write(fault->inner, pieces, n, last, owner);
}

static enum mer_status fault_tell(struct meal_carrier *carrier, struct mer_str bytes)
{
	struct fault *fault = as_fault(carrier);
	return fails(fault) ? MER_ENOMEM : fault->inner->ops->tell(fault->inner, bytes);
}

static void fault_pause(struct meal_carrier *carrier, bool pause)
{
	struct fault *fault = as_fault(carrier);
	(void)is_lost(fault);
	fault->inner->ops->pause(fault->inner, pause);
}

static void fault_signal(struct meal_carrier *carrier, enum meal_signal signal)
{
	struct fault *fault = as_fault(carrier);
	(void)is_lost(fault);
	fault->inner->ops->signal(fault->inner, signal);
}

static enum mer_status fault_settle(struct meal_carrier *carrier, const void *owner, bool hear)
{
	struct fault *fault = as_fault(carrier);
	if (!fails(fault))
		return fault->inner->ops->settle(fault->inner, owner, hear);
	fault->inner->ops->signal(fault->inner, MEAL_KILL);
	return MER_ENOMEM;
}

static int fault_in_flight(struct meal_carrier *carrier)
{
	struct fault *fault = as_fault(carrier);
	return fails(fault) ? -1 : fault->inner->ops->in_flight(fault->inner);
}

static void fault_close(struct meal_carrier *carrier)
{
	struct fault *fault = as_fault(carrier);
	bool started = fault->count > 0; /* else closed is never told */
	fault->inner->ops->close(fault->inner);
	if (!started)
		free(fault);
}

static const struct meal_carrier_ops fault_ops = {
	.name = "fault",
	.start = fault_start,
	.go = fault_go,
	.write = fault_write,
	.tell = fault_tell,
	.pause = fault_pause,
	.signal = fault_signal,
	.settle = fault_settle,
	.in_flight = fault_in_flight,
	.close = fault_close,
};

struct meal_carrier *meal_fault_new(struct meal_carrier *inner, int64_t fail_at, int64_t *steps)
{
	struct fault *fault = calloc(1, sizeof *fault);
	if (fault == NULL) {
		inner->ops->close(inner);
		return NULL;
	}
	fault->base.ops = &fault_ops;
	fault->inner = inner;
	fault->fail_at = fail_at;
	fault->steps = steps;
	inner->events = &relays;
	inner->ctx = fault;
	return &fault->base;
}
