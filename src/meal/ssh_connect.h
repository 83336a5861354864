/* Making sessions: in a thread of its own each, behind jump hosts where the configuration has some. Part of
 * the private module `ssh`. */
#ifndef MEAL_SSH_CONNECT_H
#define MEAL_SSH_CONNECT_H

#include "ssh_pool.h"

/** Begins one; ends with one of ssh_host_connected(), ssh_host_not_connected(), ssh_host_openssh(). */
void ssh_connect_begin(struct ssh_host *host);

/** Gives up all of a host, silently. */
void ssh_connect_cancel(struct ssh_host *host);

/** Ends those that wait for another host for longer than they may. */
void ssh_connect_tick(struct ssh_host *host, int64_t now_ms);

#endif
