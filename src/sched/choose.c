/* Which of a model's deployments a run goes to. */
#include "choose.h"

/* The first wait, doubled times over. */
static int64_t doubled(int64_t first, int times, int64_t most)
{
	int64_t wait = first;
	while (times-- > 0 && wait < most)
		wait *= 2;
	return wait < most ? wait : most;
}

void choose_failed(struct choose_health *health, int64_t now, int64_t took, int64_t slowest)
{
	int64_t shun = doubled(CHOOSE_SHUN_MS, health->failures, CHOOSE_SHUN_MOST_MS);
	int64_t least = took < INT64_MAX / 16 - now ? 10 * took : INT64_MAX / 2;
	if (health->failures < INT32_MAX)
		health->failures++;
	health->shunned_until = now + (shun > least ? shun : least);
	if (slowest > 0 && health->failures >= CHOOSE_FREE)
		health->start_after =
			now + doubled(CHOOSE_SLOW_FIRST_MS, health->failures - CHOOSE_FREE, slowest);
}

void choose_answered(struct choose_health *health)
{
	*health = (struct choose_health){ .busy_until = health->busy_until };
}

/* 0: well, 1: it failed of late, 2: it cannot be started yet. */
static int degree(const struct choose_place *place, int64_t now)
{
	if (place->health.start_after > now || place->health.busy_until > now)
		return 2;
	return place->health.shunned_until > now;
}

/* Whether a comes before b whatever is free. */
static bool is_before(const struct choose_place *a, const struct choose_place *b, int64_t now)
{
	int of_a = degree(a, now), of_b = degree(b, now);
	return of_a != of_b ? of_a < of_b : a->priority < b->priority;
}

/* 0: it takes the run now, 1: soon, 2: not yet. */
static int wait_of(const struct choose_place *place, int64_t now)
{
	if (place->health.busy_until > now)
		return 2;
	if (place->ready)
		return 0;
	return place->coming && place->health.start_after <= now ? 1 : 2;
}

enum choice choose(const struct choose_place places[], size_t n, int64_t now, size_t *which)
{
	const struct choose_place *best = NULL;
	for (size_t i = 0; i < n; i++) {
		const struct choose_place *place = &places[i];
		if (place->tried || (best != NULL && is_before(best, place, now)))
			continue;
		bool better = best == NULL || is_before(place, best, now);
		int wait = wait_of(place, now), least = better ? 0 : wait_of(best, now);
		if (better || wait < least || (wait == least && place->load < best->load))
			best = place;
	}
	if (best == NULL)
		return CHOICE_NONE;
	*which = (size_t)(best - places);
	return wait_of(best, now) < 2 ? CHOICE_PLACE : CHOICE_WAIT;
}
