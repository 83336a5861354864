/*
 * Who we are there: what ssh would offer, in its order, made ready before anything is sent, and then offered.
 * Keys of an agent and of files, with the passphrase of the server's reference, then its password.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_AUTH_H
#define MEAL_SSH_AUTH_H

#include "ssh_login.h"

struct ssh_auth;

/**
 * Finds out what can be offered: asks the agent, looks at files of keys. Sends nothing to the server.
 *
 * @param choice  SSH_OPENSSH and a reason where ssh would offer what libssh2 cannot
 * @param out     gives it; free with ssh_auth_free(), which wipes what is secret
 */
MER_MUST enum mer_status ssh_auth_plan(const struct ssh_login *login, struct ssh_auth **out,
                                       enum ssh_choice *choice, char reason[200],
                                       struct mer_error *err);

/** Authenticates a session whose host key is trusted. On success how says by what. */
MER_MUST enum mer_status ssh_auth_run(struct ssh_auth *auth, LIBSSH2_SESSION *session,
                                      char how[100], struct mer_error *err);

void ssh_auth_free(struct ssh_auth *auth);

#endif
