/*
 * What a run used of a worker that stays: the processor time of its process, all threads, from the
 * moment in which the run was sent to the one in which its answer had come. That is the run's while the
 * worker had no other; where several are open at a time nobody can tell them apart, and it is not known.
 * Nor is a child of the worker seen, and the largest memory of a process is that of its whole life.
 */
#include "internal.h"

#include <time.h>

/* Microseconds of the worker's process; -1: not known. */
static int64_t used_us(struct slot *slot)
{
	struct timespec used;
	if (!slot->clocked && mer_worker_pid(slot->worker) > 0)
		slot->clocked = clock_getcpuclockid((pid_t)mer_worker_pid(slot->worker), &slot->clock) == 0;
	if (!slot->clocked || clock_gettime(slot->clock, &used) != 0)
		return -1;
	return (int64_t)used.tv_sec * 1000000 + used.tv_nsec / 1000;
}

void use_begin(struct slot *slot, struct mer_run *run)
{
	struct mer_run *open;
	run->used_us = -1;
	if (slot->deployment->spec.protocol == MER_PROTOCOL_ONCE || !run->recorded)
		return;
	if (slot->n_runs == 1) {
		run->used_us = used_us(slot);
		return;
	}
	TAILQ_FOREACH(open, &slot->runs, link)
	open->used_us = -1;
}

void use_end(struct slot *slot, struct mer_run *run, const struct mer_outcome *outcome)
{
	bool lives = outcome->exit_code < 0 && outcome->signal == 0;
	int64_t now = lives && run->used_us >= 0 ? used_us(slot) : -1;
	run->cpu_us = now >= 0 ? now - run->used_us : -1;
}
