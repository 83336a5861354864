/*
 * A backend that wraps a backend and fails its nth call, for tests: at whatever moment a database
 * fails, nothing may leak, nothing half done may stay, and the error must say so.
 */
#include "internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct fault {
	struct mer_dal base;
	struct mer_dal *inner;
	int64_t fail_at, count;
	int64_t *calls; /* borrowed; NULL: nobody asks */
};

static const struct dal_ops fault_ops;

static struct fault *as_fault(struct mer_dal *dal)
{
	MER_ASSERT(dal->ops == &fault_ops);
	return (struct fault *)dal;
}

/* Counts a call and fails where it is the one. */
static enum mer_status step(struct fault *fault, const char *call, struct mer_error *err)
{
	fault->count++;
	if (fault->calls != NULL)
		*fault->calls = fault->count;
	if (fault->count != fault->fail_at)
		return MER_OK;
	return mer_fail(err, MER_EDATABASE, "call %" PRId64 " of the database, '%s', is made to fail",
	                fault->count, call);
}

/* What the front tells a backend, and what a backend tells the front. */
static struct mer_dal *lend(struct fault *fault)
{
	fault->inner->together = fault->base.together;
	fault->inner->impatient = fault->base.impatient;
	memcpy(fault->inner->tally, fault->base.tally, sizeof fault->base.tally);
	fault->inner->place = fault->base.place;
	fault->inner->script_ms = fault->base.script_ms;
	return fault->inner;
}

static enum mer_status give_back(struct fault *fault, enum mer_status st)
{
	const struct mer_dal *inner = fault->inner;
	fault->base.read_only = inner->read_only;
	fault->base.repeatable = inner->repeatable;
	fault->base.session = inner->session;
	fault->base.place = inner->place;
	memcpy(fault->base.tally, inner->tally, sizeof fault->base.tally);
	fault->base.script_ms = inner->script_ms;
	return st;
}

/* A fault is no kind of URL. */
static enum mer_status fault_open(const char *rest, unsigned flags, struct mer_haste *haste,
                                  struct mer_dal **out, struct mer_error *err)
{
	(void)rest, (void)flags, (void)haste, (void)out;
	return mer_fail(err, MER_EINPUT, "no such kind of database: 'fault'");
}

static enum mer_status fault_run(struct mer_dal *dal, struct dal_call *call, struct mer_error *err)
{
	struct fault *fault = as_fault(dal);
	enum mer_status st = step(fault, dal_queries[call->query].name, err);
	if (st != MER_OK)
		return st;
	return give_back(fault, fault->inner->ops->run(lend(fault), call, err));
}

static enum mer_status fault_begin(struct mer_dal *dal, struct mer_error *err)
{
	struct fault *fault = as_fault(dal);
	enum mer_status st = step(fault, "begin", err);
	if (st != MER_OK)
		return st;
	fault->inner->lazy = dal->lazy;
	return give_back(fault, fault->inner->ops->begin(lend(fault), err));
}

/* A commit or a rollback that fails has rolled back. */
static enum mer_status fault_end(struct mer_dal *dal, bool commit, struct mer_error *err)
{
	struct fault *fault = as_fault(dal);
	enum mer_status st = step(fault, "end", err);
	if (st == MER_OK)
		return give_back(fault, fault->inner->ops->end(lend(fault), commit, err));
	(void)fault->inner->ops->end(lend(fault), false, NULL);
	return st;
}

static enum mer_status fault_script(struct mer_dal *dal, const char *sql, size_t len,
                                    struct mer_script_place *place, struct mer_error *err)
{
	struct fault *fault = as_fault(dal);
	enum mer_status st = step(fault, "script", err);
	if (st != MER_OK)
		return st;
	return give_back(fault, fault->inner->ops->script(lend(fault), sql, len, place, err));
}

static enum mer_status fault_lock(struct mer_dal *dal, int64_t key, enum mer_lock_op op, bool *yes,
                                  struct mer_error *err)
{
	struct fault *fault = as_fault(dal);
	enum mer_status st = step(fault, "lock", err);
	if (st != MER_OK)
		return st;
	return give_back(fault, fault->inner->ops->lock(lend(fault), key, op, yes, err));
}

static void fault_cancel(struct mer_dal *dal)
{
	struct fault *fault = as_fault(dal);
	fault->inner->ops->cancel(fault->inner);
}

static void fault_close(struct mer_dal *dal, bool forked)
{
	struct fault *fault = as_fault(dal);
	fault->inner->ops->close(fault->inner, forked);
	free(fault);
}

static const struct dal_ops fault_ops = {
	.open = fault_open,
	.run = fault_run,
	.begin = fault_begin,
	.end = fault_end,
	.script = fault_script,
	.lock = fault_lock,
	.cancel = fault_cancel,
	.close = fault_close,
};

struct mer_dal *dal_fault_wrap(struct mer_dal *inner, int64_t fail_at, int64_t *calls)
{
	struct fault *fault = calloc(1, sizeof *fault);
	if (fault == NULL)
		return NULL;
	fault->base = *inner; /* url stays inner's */
	fault->base.ops = &fault_ops;
	fault->inner = inner;
	fault->fail_at = fail_at;
	fault->calls = calls;
	if (calls != NULL)
		*calls = 0;
	return (struct mer_dal *)fault; /* not &fault->base, which gcc 12's analyzer calls a leak */
}
