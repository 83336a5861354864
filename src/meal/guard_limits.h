/* Of mer-guard: what its worker may take. Its options are in guard.h. */
#ifndef MER_MEAL_GUARD_LIMITS_H
#define MER_MEAL_GUARD_LIMITS_H

#include "guard.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { GUARD_RLIMITS = 8, GUARD_FILES = 8 };

struct guard_rlimit {
	unsigned resource;
	rlim_t value;
};

/* GUARD_LIMITS before the options are read. Texts are argv's. */
struct guard_limits {
	struct guard_rlimit rlimits[GUARD_RLIMITS]; /* one a resource */
	int n_rlimits;
	int nice; /* 0: as the guard */
	const char *cgroup;
	const char *files[GUARD_FILES]; /* NAME=VALUE in the cgroup; '?' in front: where there is one */
	int n_files;
	bool isolate;

	int cgroup_dir;   /* locked as long as the guard lives; -1: not made */
	int cgroup_procs; /* moves who writes to it into the cgroup */
	bool entered;     /* the worker began there */
};

/* Without any option no core is written. */
#define GUARD_LIMITS \
	{ \
		.rlimits = { { RLIMIT_CORE, 0 } }, .n_rlimits = 1, .cgroup_dir = -1, .cgroup_procs = -1 \
	}

/* Reads one of the options r n g w i. Returns what is wrong with it, or NULL. */
const char *guard_limits_option(struct guard_limits *limits, int option, const char *value);

/* Makes the cgroup. Returns 0 or an errno. */
int guard_limits_make(struct guard_limits *limits);

/* As fork(), into the cgroup where that can be done at once: to move a process takes 10 ms and more on a
 * machine that has not moved any lately. */
pid_t guard_limits_fork(struct guard_limits *limits);

/* Puts the calling process under all limits. Returns 0 or an errno, and at which stage. */
int guard_limits_enter(const struct guard_limits *limits, enum mer_guard_stage *stage);

/* Which limit ended a worker that was killed by SIGKILL. */
enum mer_guard_limit guard_limits_met(const struct guard_limits *limits);

/* Kills what is in the cgroup; and removes it once that is empty. */
void guard_limits_kill(const struct guard_limits *limits);
void guard_limits_leave(struct guard_limits *limits);

/* Goes on as the first process of a pid namespace, of a user namespace of its own where that takes
 * one, with all signals blocked; the calling process never returns, waits for it and ends as it does.
 * Returns 0, or, in the calling process, an errno. */
int guard_isolate(void);

/* Closes all descriptors from first to last. */
void guard_close(unsigned first, unsigned last);

#endif
