/* How a worker of this machine is launched: its supervisor's command line, its scratch folder, and
 * what to say when that fails. */
#ifndef MEAL_LAUNCH_H
#define MEAL_LAUNCH_H

#include "confine.h"

#include <mer/meal.h>
#include <sys/types.h>

struct launch {
	char **words;        /* the supervisor's command line, ended by NULL; owned, as what follows */
	const char *program; /* the worker's first word; borrowed from words */
	const char *workdir; /* NULL: the supervisor's; borrowed from words */
	char *scratch;       /* path of the folder that the supervisor makes; NULL: none */
	char *input;         /* path of the file in it that stands for {input}; NULL: none */
	char *output;        /* the same for {output} */
	bool frames;         /* the worker inherits LAUNCH_FRAME_FD */
	struct confine confine;
};

/* The number under which a worker finds its frame connection, by MER_FRAME_FD in its environment. */
#define LAUNCH_FRAME_FD (MER_GUARD_FD + 1)
#define LAUNCH_FDS (LAUNCH_FRAME_FD + 1)

/* launch_release() follows it either way. */
MER_MUST enum mer_status launch_init(struct launch *launch, const struct mer_worker_spec *spec,
                                     struct mer_error *err);
void launch_release(struct launch *launch);

/* Starts the supervisor in a session of its own. fds become its 0, 1, 2, MER_GUARD_FD and, with
 * frames, LAUNCH_FRAME_FD; each is above MER_GUARD_FD, so that none is overwritten before it is used.
 * env is the worker's. */
MER_MUST enum mer_status launch_spawn(const struct launch *launch, const char *const env[],
                                      const int fds[LAUNCH_FDS], pid_t *pid, struct mer_error *err);

/* Why there is no worker, as MER_GUARD_FAILED reports it. */
void launch_explain(const struct launch *launch, const struct mer_guard_report *report, char *text,
                    size_t size);

/* Removes what a supervisor that was killed has left: its cgroup with all that lives there, and the
 * scratch folder. */
void launch_clear(const struct launch *launch);

#endif
