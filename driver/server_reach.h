/* Whether a server of kind ssh lets us in and has a shell. */
#ifndef SERVER_REACH_H
#define SERVER_REACH_H

#include "session.h"

#include <mer/remote.h>

/** A server of kind ssh as its row has it: gives it, for mer_remote_free(). */
MER_MUST enum mer_status reach_read(struct session *s, const char *server, struct mer_remote **out,
                                    struct mer_error *err);

/** Starts the far supervisor there, which looks for /bin/sh and is done.
 * @return MER_EUNREACHABLE says which server, and why; MER_ECANCELED */
MER_MUST enum mer_status reach_ssh(struct session *s, const char *server, struct mer_error *err);

#endif
