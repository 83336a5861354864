/*
 * What the private module `ssh` gives to meal: channels of sessions with libssh2, which the workers of a
 * loop share. Both sides see this and no more of each other.
 */
#ifndef MEAL_SSH_MODULE_H
#define MEAL_SSH_MODULE_H

#include "internal.h"

struct ssh_pool;

#define MEAL_MODULE_SSH "ssh"

/* Options of every server of kind ssh, where neither its row nor who runs ssh says otherwise. */
#define MEAL_SSH_DEFAULTS \
	"StrictHostKeyChecking=yes", "ConnectTimeout=10", "ServerAliveInterval=5", \
		"ServerAliveCountMax=3"

struct meal_ssh {
	const char *version; /* as mer/module.h has it */

	/* The sessions of a loop; none is opened yet. MER_ENOMEM. */
	enum mer_status (*open)(struct uv_loop_s *loop, struct ssh_pool **out, struct mer_error *err);
	/* Closes them, once no carrier is left, then calls closed. */
	void (*close)(struct ssh_pool *pool, void (*closed)(void *ctx), void *ctx);

	/* Whether it has turned out that only the system's ssh can carry a server; reason says why. */
	bool (*refuses)(const struct ssh_pool *pool, const struct mer_remote *remote,
	                char reason[MER_REASON_SIZE]);

	/* A carrier over a channel of its own to spec's server, with spec's only word as the command for
	 * the login shell there. It is prepared once the command runs; go is nothing to it. How it ended
	 * has a problem where the channel could not be had or was lost. NULL: out of memory. */
	struct meal_carrier *(*channel)(struct ssh_pool *pool);
	/* The same on the session of one that is prepared, or nowhere. NULL: out of memory. */
	struct meal_carrier *(*beside)(struct meal_carrier *channel);

	/* Whether both of its streams have ended because the server said so, and not because it was lost. */
	bool (*whole)(const struct meal_carrier *channel);
	/* Whether its session is not known to be dead, looked at just now. */
	bool (*lives)(const struct meal_carrier *channel);
	/* Nothing is heard of the server any more: all channels of that session are lost. */
	void (*lose)(struct meal_carrier *channel);

	/* How the session of one that is prepared was made. */
	void (*reach)(const struct meal_carrier *channel, struct mer_reach *out);
};

#endif
