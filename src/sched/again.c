/* What becomes of a run whose worker did not answer: it goes to another deployment of its model, or is
 * sent again as its deployment allows; it never is once something of an answer has come. */
#define LOG_AREA "sched"
#include "internal.h"

#include <assert.h>
#include <mer/log.h>

static void mark(struct mer_run *run, const struct deployment *deployment)
{
	const struct route *route = run->route;
	for (size_t i = 0; i < route->n_places; i++) {
		if (route->places[i] == deployment)
			run->tried |= UINT64_C(1) << i;
	}
}

static bool was_everywhere(const struct mer_run *run)
{
	static_assert(PLACES_MAX <= 64, "a bit for each place");
	size_t n = run->route->n_places;
	uint64_t all = n == PLACES_MAX ? UINT64_MAX : (UINT64_C(1) << n) - 1;
	return (run->tried & all) == all;
}

static bool is_wanted(const struct mer_run *run)
{
	return run->ending == ENDING_NO && run->sched->on_closed == NULL;
}

/* It waits in its old place. */
static void wait_again(struct mer_run *run)
{
	run->sent_ns = run->done_ns = 0;
	run_make_ready(run, true);
}

bool again_elsewhere(struct mer_run *run, const struct deployment *deployment)
{
	mark(run, deployment);
	if (!is_wanted(run))
		return false;
	if (was_everywhere(run)) {
		if (run->retried >= deployment->retries)
			return false;
		run->retried++;
		run->tried = 0;
	}
	wait_again(run);
	return true;
}

bool again_lent(struct mer_run *run, struct deployment *deployment, const char *lacks)
{
	if (run->lent || !is_wanted(run) || !loan_begin(run->route, deployment, lacks))
		return false;
	run->lent = true;
	run->attempts--;
	wait_again(run);
	return true;
}

/* A busy server is left alone by all that would go there for as long as it asks; without a word a while. */
bool again_later(struct mer_run *run, struct deployment *deployment, int64_t busy_ms)
{
	enum { UNTOLD_MS = 1000, MOST_MS = 60000 };
	int64_t now = (int64_t)uv_now(run->sched->loop), wait = busy_ms > 0 ? busy_ms : UNTOLD_MS;
	mark(run, deployment);
	if (wait <= MOST_MS && now + wait > deployment->health.busy_until)
		deployment->health.busy_until = now + wait;
	if (!is_wanted(run))
		return false;
	if (!was_everywhere(run)) {
		wait_again(run);
		return true;
	}
	bool in_time = wait <= MOST_MS && (run->deadline == 0 || now + wait < run->deadline);
	if (!in_time || run->retried >= deployment->retries)
		return false;
	run->retried++;
	run->tried = 0;
	wait_again(run);
	return true;
}

bool again_anew(struct mer_run *run, const struct deployment *deployment)
{
	bool in_session = run->route->session[0] != '\0'; /* the next worker knows nothing of it */
	if (run->answered || in_session || !is_wanted(run) || run->retried >= deployment->retries)
		return false;
	mark(run, deployment);
	if (was_everywhere(run))
		run->tried = 0;
	run->retried++;
	wait_again(run);
	return true;
}

void again_learn(const struct route *route, struct deployment *deployment, int64_t took,
                 int64_t slowest, const char *why)
{
	struct choose_health *health = &deployment->health;
	choose_failed(health, (int64_t)uv_now(route->sched->loop), took, slowest);
	if (health->failures == 1 && route->n_places > 1)
		MER_LOG(MER_LOG_WARN, "model '%s': others come before deployment '%s' for a while: %s",
		        route->model, deployment->name, why);
	if (health->failures == CHOOSE_FREE && slowest > 0)
		MER_LOG(MER_LOG_WARN,
		        "model '%s': its worker died %d times without an answer; starts are slowed down",
		        route->model, health->failures);
}
