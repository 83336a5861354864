/*
 * Who we are there: what ssh would offer, in its order, made ready before anything is sent, and then offered.
 * Keys of an agent and of files, with the passphrase of the server's reference, then its password.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_AUTH_H
#define MEAL_SSH_AUTH_H

#include "ssh_login.h"
#include "ssh_tap.h"

struct ssh_auth;

/**
 * Finds out what can be offered: asks the agent, looks at files of keys. Sends nothing to the server.
 *
 * @param choice  SSH_OPENSSH and a reason where ssh would offer what libssh2 cannot, unless the server
 *                wants libssh2, or has a password or passphrase, which ssh could not be given
 * @param out     gives it with SSH_LIBSSH2; free with ssh_auth_free()
 */
MER_MUST enum mer_status ssh_auth_plan(const struct ssh_login *login, struct ssh_until until,
                                       struct ssh_auth **out, enum ssh_choice *choice,
                                       char reason[200], struct mer_error *err);

/** Authenticates a session whose host key is trusted. how: by what, for people. @return as ssh_login() */
MER_MUST enum mer_status ssh_auth_run(struct ssh_auth *auth, struct ssh_tap *tap,
                                      LIBSSH2_SESSION *session, char how[100],
                                      struct mer_error *err);

void ssh_auth_free(struct ssh_auth *auth);

#endif
