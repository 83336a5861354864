/*
 * Where a conversation takes place. Most of a short call's time is the waking of an idle core: with
 * the worker beside its caller on one core a call takes a fifth of that. So while quick calls follow
 * one another, loop and worker share a processor and the database thread keeps off it. A model that
 * computes for longer is left alone: it may want all processors. Source of the figures: bench/.
 */
#include "internal.h"

#include <stdlib.h>

#define QUICK_NS 200000 /* calls shorter than this gain from sharing a processor */
#define SLOW_NS 1000000 /* one call longer than this ends it */
#define QUICK_CALLS 16  /* so many in a row begin it */

struct place {
	struct mer_work *work;
	cpu_set_t cpus; /* where we may run */
	bool usable;    /* there is more than one processor */
	int quick;      /* quick calls in a row */
	pid_t worker;   /* placed now; 0: nobody */
	cpu_set_t worker_cpus;
};

struct place *place_new(struct mer_work *work)
{
	struct place *place = calloc(1, sizeof *place);
	if (place == NULL)
		return NULL;
	place->work = work;
	place->usable =
		sched_getaffinity(0, sizeof place->cpus, &place->cpus) == 0 && CPU_COUNT(&place->cpus) > 1;
	return place;
}

void place_free(struct place *place)
{
	if (place == NULL)
		return;
	place_leave(place);
	free(place);
}

void place_leave(struct place *place)
{
	place->quick = 0;
	if (place->worker == 0)
		return;
	(void)sched_setaffinity(place->worker, sizeof place->worker_cpus, &place->worker_cpus);
	(void)sched_setaffinity(0, sizeof place->cpus, &place->cpus);
	mer_work_avoid_cpu(place->work, -1);
	place->worker = 0;
}

static void place_together(struct place *place, pid_t worker)
{
	int cpu = sched_getcpu();
	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return;
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	if (sched_getaffinity(worker, sizeof place->worker_cpus, &place->worker_cpus) != 0 ||
	    sched_setaffinity(worker, sizeof one, &one) != 0)
		return; /* gone, or not ours to place */
	(void)sched_setaffinity(0, sizeof one, &one);
	mer_work_avoid_cpu(place->work, cpu);
	place->worker = worker;
}

void place_call(struct place *place, int64_t pid, uint64_t call_ns)
{
	if (!place->usable)
		return;
	if (place->worker != 0 && (place->worker != pid || call_ns > SLOW_NS))
		place_leave(place);
	else if (call_ns > QUICK_NS)
		place->quick = 0;
	else if (place->worker == 0 && ++place->quick >= QUICK_CALLS && pid > 0)
		place_together(place, (pid_t)pid);
}
