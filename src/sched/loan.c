/* Copying what a deployment's workers on another host are lent, when one of them has said that it is not there.
 * Runs wait for that as they do for a worker. */
#define LOG_AREA "sched"
#include "pool.h"

#include <mer/lend.h>
#include <mer/log.h>
#include <stdlib.h>

struct loan {
	struct route *route;
	struct deployment *deployment;
	struct mer_lending *lending;
};

/* Its server could be reached, but cannot have it. */
static enum mer_status status_of(const struct mer_error *err)
{
	return err->status == MER_EIO ? MER_EUNREACHABLE : err->status;
}

static void fail_runs(struct route *route, const struct deployment *deployment,
                      const struct mer_error *err)
{
	struct run_list waited = TAILQ_HEAD_INITIALIZER(waited);
	struct mer_run *run, *next;
	for (run = TAILQ_FIRST(&route->ready); run != NULL; run = next) {
		next = TAILQ_NEXT(run, link);
		if (!run->lent)
			continue;
		run_leave_ready(run);
		TAILQ_INSERT_TAIL(&waited, run, link);
	}
	while ((run = TAILQ_FIRST(&waited)) != NULL) {
		TAILQ_REMOVE(&waited, run, link);
		run->lent = false;
		if (err->status == MER_EUNREACHABLE && again_elsewhere(run, deployment))
			continue;
		bool wrong = err->status == MER_ECONFLICT || err->status == MER_ENOTFOUND;
		run_fail(run, err->status, wrong ? "rejected" : NULL, err);
	}
}

static void on_lent(void *ctx, const struct mer_error *error)
{
	struct loan *loan = ctx;
	struct route *route = loan->route;
	struct mer_sched *sched = route->sched;
	struct deployment *deployment = loan->deployment;
	struct mer_error err;
	deployment->loan = NULL;
	free(loan);
	sched->slots--;
	if (error != NULL) {
		err = *error;
		err.status = mer_wrap(&err, status_of(error), "model '%s'", route->model);
		if (err.status == MER_EUNREACHABLE)
			again_learn(route, deployment, 0, 0, err.message);
		fail_runs(route, deployment, &err);
		if (route->ping != NULL && route->ping->lent)
			ping_end(route, &err);
	}
	deployment_unref(deployment);
	dispatch_route(route);
	record_flush(sched, false);
	sched_maybe_closed(sched);
}

bool loan_begin(struct route *route, struct deployment *deployment, const char *lacks)
{
	struct mer_error err;
	if (lacks[0] == '\0')
		return false;
	if (deployment->loan != NULL)
		return true;
	struct loan *loan = deployment->n_lent > 0 ? calloc(1, sizeof *loan) : NULL;
	if (loan == NULL)
		return false;
	loan->route = route;
	loan->deployment = deployment_ref(deployment);
	enum mer_status st = mer_lend(route->sched->loop, &deployment->spec, deployment->lent,
	                              deployment->n_lent, lacks, on_lent, loan, &loan->lending, &err);
	if (st != MER_OK) {
		MER_DEBUG("cannot copy what is lent: %s", err.message);
		deployment_unref(deployment);
		free(loan);
		return false;
	}
	deployment->loan = loan;
	route->sched->slots++;
	return true;
}

void loan_unwanted(struct route *route)
{
	if (route->n_ready > 0 || route->ping != NULL)
		return;
	for (size_t i = 0; i < route->n_places; i++)
		if (route->places[i]->loan != NULL)
			mer_lending_cancel(route->places[i]->loan->lending);
}
