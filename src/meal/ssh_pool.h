/*
 * The sessions of a loop, by server as its row says: who asks for a channel gets one on a session that has
 * room, or on a new one. Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_POOL_H
#define MEAL_SSH_POOL_H

#include "ssh_module.h"
#include "ssh_session.h"

#define SSH_READ_BYTES \
	((size_t)256 << 10) /* that are read from a socket, or a channel, at a time */

/* What carriers have to tell outside of a session's turn. */
struct ssh_due {
	TAILQ_ENTRY(ssh_due) link;
	void (*fn)(void *ctx);
	void *ctx;
	bool is_due;
};

struct ssh_host {
	TAILQ_ENTRY(ssh_host) link;
	struct ssh_pool *pool;
	struct mer_remote *remote; /* a copy */
	char *place;               /* where it is */
	struct ssh_channels waiting;
	struct ssh_sessions sessions;
	TAILQ_HEAD(, ssh_connect) connects; /* sessions that are being made; */
	size_t n_connects, logging_in;      /* of these, not known to the server yet */
	size_t max;                         /* channels that a session there takes; 0: not known */
	bool refused;                       /* only the system's ssh can carry it */
	char reason[MER_REASON_SIZE];
	struct ssh_due due; /* to be settled */
	int failures;       /* one after the other */
	int64_t not_before_ms;
	int64_t connect_ms; /* how long its server may take to answer */
};

struct ssh_pool {
	struct uv_loop_s *loop;
	TAILQ_HEAD(, ssh_host) hosts;
	TAILQ_HEAD(, ssh_due) dues;
	uv_idle_t due;
	uv_timer_t tick;
	size_t parts; /* sessions and connects, and handles of the pool that are open */
	bool closing, closed_handles;
	void (*closed)(void *ctx);
	void *ctx;
	char *in, *data; /* SSH_READ_BYTES each: off the socket of the session whose turn it is; of a
	                  * channel of it */
};

MER_MUST enum mer_status ssh_pool_open(struct uv_loop_s *loop, struct ssh_pool **out,
                                       struct mer_error *err);
void ssh_pool_close(struct ssh_pool *pool, void (*closed)(void *ctx), void *ctx);

/** The host of a row, made where it is new. NULL: out of memory. */
struct ssh_host *ssh_pool_host(struct ssh_pool *pool, const struct mer_remote *remote);
/** NULL: none. */
const struct ssh_host *ssh_pool_find(const struct ssh_pool *pool, const struct mer_remote *remote);

/** Gives channels that wait a session, where one has room; to be called when either has changed. */
void ssh_host_assign(struct ssh_host *host);
/** The same, soon. */
void ssh_host_assign_soon(struct ssh_host *host);

/** A session takes no more channels than this: the server has refused one. */
void ssh_host_refused(struct ssh_host *host, struct ssh_channel *channel);

/** A connect has ended: with a session, or not. */
void ssh_host_connected(struct ssh_host *host, struct ssh_login *login);
void ssh_host_not_connected(struct ssh_host *host, const char *why);
void ssh_host_openssh(struct ssh_host *host, const char *reason);

/** Calls back soon, from the loop. Twice is once. */
void ssh_pool_defer(struct ssh_pool *pool, struct ssh_due *due);

/** A part of the pool is gone. */
void ssh_pool_part_gone(struct ssh_pool *pool);

#endif
