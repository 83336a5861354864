/* What a worker's limits become: options of its supervisor, or why they cannot be held here. */
#ifndef MEAL_CONFINE_H
#define MEAL_CONFINE_H

#include "guard.h"

#include <mer/limits.h>

#define CONFINE_WORDS 32 /* at most, and a NULL */

/* Zeroed: nothing is limited. */
struct confine {
	struct mer_limits limits;
	char **words; /* options of the supervisor, ended by NULL; NULL: none; owned */
	size_t n;
	bool incomplete; /* there was no memory for one */
	char *cgroup;    /* its path, NULL: none; owned */
};

/**
 * confine_release() follows it either way. Without limits it does nothing.
 * @return MER_EUNREACHABLE a limit cannot be held here; MER_ENOMEM
 */
MER_MUST enum mer_status confine_init(struct confine *confine, const struct mer_limits *limits,
                                      struct mer_error *err);
void confine_release(struct confine *confine);

/* Where a limit ended the worker text says which, "the model was killed: ..."; else it is left alone. */
void confine_explain(const struct confine *confine, const struct mer_guard_report *end, char *text,
                     size_t size);

#endif
