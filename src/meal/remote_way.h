/*
 * The ways to a server of kind ssh: channels of sessions that workers share (ssh_module.h), or the system's `ssh` as a
 * worker of this machine, so that nothing of it outlives mer. Carriers by either are alike: their bytes go to and
 * come from FAR_COMMAND.
 */
#ifndef MEAL_REMOTE_WAY_H
#define MEAL_REMOTE_WAY_H

#include "ssh_module.h"

struct remote_way {
	const struct mer_remote *remote; /* borrowed */
	struct uv_loop_s *loop;
	const struct meal_ssh *ssh; /* NULL: the system's ssh */
	struct ssh_pool *pool;
	char *guard;  /* the supervisor program of this machine, which ssh runs under; owned */
	char *socket; /* by which others share the connection of ssh; owned; NULL: it has none */
	int64_t connect_s, alive_s; /* ConnectTimeout, ServerAliveInterval */
	int64_t silence_s;          /* of a server that is there no longer */
};

/* remote, loop and the times; it is the system's ssh until remote_way_choose(). */
void remote_way_init(struct remote_way *way, const struct mer_remote *remote);
void remote_way_release(struct remote_way *way);

/**
 * Chooses one.
 *
 * @param links  NULL: there is only the system's ssh
 * @param why    written where it is that one although libssh2 was asked for
 * @return MER_EUNREACHABLE  libssh2 cannot be had, and nothing else may be taken
 */
MER_MUST enum mer_status remote_way_choose(struct remote_way *way, struct mer_links *links,
                                           char why[MER_REASON_SIZE], struct mer_error *err);

/* Whether it has turned out that libssh2 cannot carry that server; why says so. */
bool remote_way_is_refused(const struct remote_way *way, char why[MER_REASON_SIZE]);

/* Takes the system's ssh then. MER_EUNREACHABLE: only libssh2 may be taken. */
MER_MUST enum mer_status remote_way_change(struct remote_way *way, const char *why,
                                           struct mer_error *err);

/* Starts the carrier of a worker; login: it only logs in. */
MER_MUST enum mer_status remote_way_start(struct remote_way *way, bool login,
                                          const struct meal_carrier_events *events, void *ctx,
                                          struct meal_carrier **out, struct mer_error *err);

/* Starts one over the connection of another. */
MER_MUST enum mer_status remote_way_beside(const struct remote_way *way, struct meal_carrier *other,
                                           const struct meal_carrier_events *events, void *ctx,
                                           struct meal_carrier **out, struct mer_error *err);

/* Starts one over a connection of its own, or another session: it need not end at the same host. */
MER_MUST enum mer_status remote_way_apart(const struct remote_way *way,
                                          const struct meal_carrier_events *events, void *ctx,
                                          struct meal_carrier **out, struct mer_error *err);

#endif
