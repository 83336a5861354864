/* Where a worker's cgroup may be made: version 2 only, where this user may make one that holds. */
#ifndef MEAL_CGROUP_H
#define MEAL_CGROUP_H

#include <mer/error.h>

enum { CGROUP_CPU = 1, CGROUP_MEMORY = 2, CGROUP_PIDS = 4 };

/**
 * Finds a place whose cgroups have what is wanted, or as much of it as there is, and removes what
 * supervisors that were killed left there. mer itself is moved into a cgroup beside its workers' where
 * it is alone with its own in one that is delegated to it, since only an empty one can be divided.
 *
 * @param wanted  bits of the above
 * @param out     gives the path of a cgroup that does not exist yet; NULL: there is no place
 * @param got     bits that it will have
 * @return MER_ENOMEM
 */
MER_MUST enum mer_status cgroup_choose(unsigned wanted, char **out, unsigned *got,
                                       struct mer_error *err);

/* Kills all in it and removes it, in the place of a supervisor that was killed. */
void cgroup_remove(const char *path);

#endif
