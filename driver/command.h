/* Running a program of this machine to its end, under the supervisor, so that nothing of it outlives mer. */
#ifndef COMMAND_H
#define COMMAND_H

#include "session.h"

#include <mer/buf.h>

struct command_result {
	int exit_code;           /* -1: a signal ended it */
	struct mer_buf out, log; /* what it printed on stdout and stderr, up to 64 KiB each */
};

/**
 * @param argv, env  ended by NULL
 * @param out        release it whatever happens
 * @return MER_EUNREACHABLE it cannot be started; MER_ECANCELED; MER_OK also where it failed
 */
MER_MUST enum mer_status command_run(struct session *s, const char *const argv[],
                                     const char *const env[], struct command_result *out,
                                     struct mer_error *err);
/** The same for ssh, on its way to a server. @return MER_EUNREACHABLE also where that leads in a circle */
MER_MUST enum mer_status command_run_ssh(struct session *s, const char *server,
                                         const char *const argv[], const char *const env[],
                                         struct command_result *out, struct mer_error *err);
void command_release(struct command_result *result);

#endif
