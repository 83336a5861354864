/* A server of kind ssh as its row has it. */
#ifndef SERVER_REACH_H
#define SERVER_REACH_H

#include "session.h"

#include <mer/remote.h>

/** Gives it, for mer_remote_free(). */
MER_MUST enum mer_status reach_read(struct session *s, const char *server, struct mer_remote **out,
                                    struct mer_error *err);

#endif
