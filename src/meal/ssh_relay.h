/* The way through a jump host: a channel there, and a socket here from which a login can be made as from any
 * other. Part of the private module `ssh`. */
#ifndef MEAL_SSH_RELAY_H
#define MEAL_SSH_RELAY_H

#include "ssh_pool.h"

struct ssh_relay;

/** The far end is connected, and fd is given; or it cannot be, and the relay is gone. openssh: since only
 * the system's ssh can reach the jump host, as problem says. */
typedef void ssh_relay_fn(void *ctx, int fd, const char *problem, bool openssh);

/** The host that a configuration's ProxyJump goes through last. NULL: out of memory. */
struct ssh_host *ssh_relay_through(const struct ssh_host *host, const struct ssh_config *config);

/** Begins to connect from a jump host to where a configuration leads. It has no deadline of its own. NULL:
 * says why. */
struct ssh_relay *ssh_relay_new(struct ssh_host *jump, const struct ssh_config *config,
                                ssh_relay_fn *ready, void *ctx, struct mer_error *err);

/** Whether the jump host is reached. */
bool ssh_relay_is_there(const struct ssh_relay *relay);

/** From now on it ends by itself, with the socket that was given. */
void ssh_relay_leave(struct ssh_relay *relay);

void ssh_relay_free(struct ssh_relay *relay);

#endif
