/*
 * A session with a server: what libssh2 reads and writes goes through buffers of ours, so that it never sees
 * a socket that is full. Part of the private module `ssh`.
 *
 * libssh2 1.10 cannot go on with anything else once a packet was sent in part, and loses its way when
 * that happens amid an exchange of keys; with a buffer that takes whole packets it never does. Payload is
 * given to libssh2 only while little waits there.
 */
#ifndef MEAL_SSH_SESSION_H
#define MEAL_SSH_SESSION_H

#include "ssh_channel.h"
#include "ssh_heap.h"
#include "ssh_login.h"

#include <mer/buf.h>
#include <uv.h>

struct ssh_pool;

struct ssh_session {
	struct ssh_heap *heap;         /* of ssh, which owns it; first, as ssh_heap.h has it */
	TAILQ_ENTRY(ssh_session) link; /* in its host */
	struct ssh_host *host;
	struct ssh_pool *pool;
	LIBSSH2_SESSION *ssh;
	int fd;
	uv_poll_t poll;
	uv_idle_t turn;
	int handles; /* open ones of these two */
	int events;  /* that poll waits for */

	struct mer_str in; /* read from the socket, not yet taken by libssh2: in the pool's buffer */
	bool in_kept;      /* or, what was left of it at the end of a turn, in kept */
	struct mer_buf kept;
	struct mer_buf out; /* to be sent, */
	size_t out_at;      /* from here on */

	struct ssh_channels channels;
	size_t n_channels;
	struct ssh_channel *opening; /* libssh2 opens one at a time */
	bool has_opened;             /* the server took a channel of it, ever */
	bool has_closed;             /* one was closed, and none asked for since */
	int64_t rtt_us;              /* how long the server takes to answer; 0: not known */
	int64_t pinged_us;           /* it was asked; 0: it is not */
	int64_t born_us, idle_since_ms;
	int64_t alive_s, alive_count; /* ServerAliveInterval and ServerAliveCountMax */
	int64_t quiet_s; /* nothing has come for so long, as far as it was to be expected */
	struct ssh_times times;
	char how[160];
	bool dead, freed;
	char why[200]; /* it died */
};
TAILQ_HEAD(ssh_sessions, ssh_session);

/** Takes what a login has made, on failure too. */
MER_MUST enum mer_status ssh_session_new(struct ssh_host *host, struct ssh_login *login,
                                         struct ssh_session **out, struct mer_error *err);

/** Gives it a channel that waits. */
void ssh_session_take(struct ssh_session *session, struct ssh_channel *channel);

/** Measures how long the server takes to answer, where nothing else is going on. */
void ssh_session_ping(struct ssh_session *session);

/** A second has gone by. Asks a server of which nothing was heard; one that does not answer is lost. */
void ssh_session_tick(struct ssh_session *session);

/** Whether the server has not hung up: one that has is lost. */
bool ssh_session_lives(struct ssh_session *session);

/** Gives those of its channels that it has not begun to open to another session. */
void ssh_session_unload(struct ssh_session *session);

/** Forgets a channel. */
void ssh_session_drop(struct ssh_session *session, struct ssh_channel *channel);

/** Whether it opens nothing, since a connection further from there, which nobody waits for any more, is not answered.
 * Libssh2 opens one at a time. */
bool ssh_session_is_stuck(const struct ssh_session *session);

/** Has a turn soon. */
void ssh_session_kick(struct ssh_session *session);

/** Sends what waits in the buffer, as far as the socket takes it. */
void ssh_session_flush(struct ssh_session *session);

/** Whether payload may be added to what waits to be sent. */
bool ssh_session_has_room(const struct ssh_session *session);

/** It is of no more use; its channels are told in its next turn. */
void ssh_session_lose(struct ssh_session *session, const char *why);

/** The same for an error of libssh2. */
void ssh_session_fail(struct ssh_session *session, int error);

/** Says goodbye. */
void ssh_session_leave(struct ssh_session *session);

#endif
