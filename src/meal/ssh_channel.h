/*
 * A channel of a session: asked for at a host's pool, opened on whichever session has room, then bytes both
 * ways. Part of the private module `ssh`.
 *
 * All belongs to the loop's thread. Events come from turns of the session, never from inside these
 * functions.
 */
#ifndef MEAL_SSH_CHANNEL_H
#define MEAL_SSH_CHANNEL_H

#include "queue.h"

#include <libssh2.h>
#include <sys/queue.h>

struct ssh_host;
struct ssh_session;

struct ssh_channel_events {
	void (*open)(void *ctx); /* the command runs, or the other end is connected */
	void (*data)(void *ctx, enum meal_stream stream, const char *bytes, size_t n);
	void (*eof)(void *ctx);     /* of both streams */
	void (*drained)(void *ctx); /* all that was queued is sent */
	/* The last, and the channel is nobody's any more: closed from there (problem NULL; exit_code as it was said, 0 where it was not), or it
	 * could not be had, or was lost. */
	void (*ended)(void *ctx, const char *problem, int exit_code);
};

enum ssh_channel_state {
	SSH_CHANNEL_WAITS, /* for a session */
	SSH_CHANNEL_OPENS,
	SSH_CHANNEL_STARTS, /* its command was sent */
	SSH_CHANNEL_RUNS,
	SSH_CHANNEL_CLOSES, /* nobody hears of it any more */
};

/* What a channel is to be. The texts are borrowed until it is open or closed. */
struct ssh_channel_want {
	const char *command; /* for the login shell */
	const char *to_host; /* without one: a connection from there to this host. Without both only a
	                      * session that is new: then it has ended */
	int to_port;
	struct ssh_session *only; /* on this session; NULL: on any of the host */
};

struct ssh_channel {
	TAILQ_ENTRY(ssh_channel) link; /* in its session, or in its host while it waits */
	struct ssh_host *host;
	struct ssh_session *session; /* NULL while it waits */
	enum ssh_channel_state state;
	struct ssh_channel_want want;
	const struct ssh_channel_events *events;
	void *ctx;

	LIBSSH2_CHANNEL *ssh; /* NULL: not open */
	struct meal_queue queue;
	bool last;     /* nothing follows the queue */
	bool eof_sent; /* and that was told */
	bool paused;   /* no stdout is given */
	bool heard_eof;
	bool left;     /* nobody hears of it */
	bool drained;  /* what was queued is sent, which is not told yet */
	bool retried;  /* lost, or closed, before it was open */
	size_t window; /* bytes that may be under way to us */
	size_t owed;   /* of these, given and not yet asked for again */
	size_t asking; /* of these, being asked for */
	int64_t asked_us;
	size_t came; /* bytes, since */
	int64_t came_since_us;
	int64_t since_us; /* it opens, or closes */
	bool behind;      /* it was asked for right behind the end of another one */
};
TAILQ_HEAD(ssh_channels, ssh_channel);

/** Asks for one. NULL: out of memory. */
struct ssh_channel *ssh_channel_new(struct ssh_host *host, const struct ssh_channel_want *want,
                                    const struct ssh_channel_events *events, void *ctx);

/** Sends what is queued as far as it can be sent now. */
void ssh_channel_push(struct ssh_channel *channel);

void ssh_channel_pause(struct ssh_channel *channel, bool pause);

/** No event comes any more. What is queued is dropped, and the channel frees itself once the server has
 * heard of it. */
void ssh_channel_close(struct ssh_channel *channel);

/** How long the server takes to answer. */
void ssh_channel_delay(struct ssh_channel *channel, int64_t rtt_us);

/** A turn of its session: does what can be done. */
void ssh_channel_turn(struct ssh_channel *channel);

/** Its session is dead, and libssh2's part gone. Ends it, or has it wait for another session. */
void ssh_channel_lost(struct ssh_channel *channel, const char *why);

/** There is the session that it waited for, and it wants no more. */
void ssh_channel_met(struct ssh_channel *channel, struct ssh_session *session);

/** Ends one that waits. */
void ssh_channel_fail(struct ssh_channel *channel, const char *why);

#endif
