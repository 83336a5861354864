/* A server of kind ssh or http as its row has it. */
#ifndef SERVER_REACH_H
#define SERVER_REACH_H

#include "session.h"

#include <mer/http.h>
#include <mer/remote.h>

/** Gives it, for mer_remote_free(). */
MER_MUST enum mer_status reach_read(struct session *s, const char *server, struct mer_remote **out,
                                    struct mer_error *err);

/** Gives it, for mer_http_unref(). */
MER_MUST enum mer_status reach_read_http(struct session *s, const char *server,
                                         struct mer_http **out, struct mer_error *err);

#endif
