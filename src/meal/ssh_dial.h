/*
 * A connection to a server: its name looked up, all of its addresses tried one after the other.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_DIAL_H
#define MEAL_SSH_DIAL_H

#include "ssh_config.h"
#include "ssh_wait.h"

/**
 * Connects.
 *
 * @param out  gives a socket that does not block
 * @return MER_EUNREACHABLE says why as ssh does, without the server's name: "connect to host a port 22:
 *         Connection refused"; MER_ECANCELED; MER_ENOMEM
 */
MER_MUST enum mer_status ssh_dial(const struct ssh_config *config, struct ssh_until until, int *out,
                                  struct mer_error *err);

#endif
