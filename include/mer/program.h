/*
 * What a program of ours does before anything else.
 */
#ifndef MER_PROGRAM_H
#define MER_PROGRAM_H

#include <mer/error.h>

/**
 * Makes sure that this process is what its user thinks it is:
 * - Descriptors 0 to 2 are taken, so that no file that is opened becomes stdout. What was closed stays
 *   unusable: stdin cannot be read, stdout cannot be written. Where that fails the process ends, 70.
 * - Its memory is nobody's: no core file is made of it, and what else its user runs, models above all,
 *   cannot read the secrets that it holds or its environment (prctl(2), PR_SET_DUMPABLE).
 * - It has no rights that its user does not have.
 *
 * @return MER_EINPUT the program is set-user-ID, set-group-ID or has file capabilities
 */
MER_API MER_MUST enum mer_status mer_program_begin(struct mer_error *err);

#endif
