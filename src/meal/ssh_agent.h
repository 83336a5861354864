/*
 * An agent that holds keys (draft-ietf-sshm-ssh-agent). Not by libssh2, whose calls wait for ever for an agent
 * that is silent, or that asks somebody.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_AGENT_H
#define MEAL_SSH_AGENT_H

#include "ssh_wait.h"

#include <mer/buf.h>

/* A key that an agent holds. Owned by the list. */
struct ssh_agent_key {
	unsigned char *blob;
	size_t len;
	char comment[64];
};

struct ssh_agent {
	int fd;
	struct ssh_agent_key *keys;
	size_t n;
};

/**
 * Connects and asks for the keys.
 *
 * @param agent  release it in any case
 * @return MER_ENOTFOUND     nobody is there
 *         MER_EUNREACHABLE  it does not answer, or not as an agent does
 *         MER_ECANCELED, MER_ENOMEM
 */
MER_MUST enum mer_status ssh_agent_open(struct ssh_agent *agent, const char *path,
                                        struct ssh_until until, struct mer_error *err);
void ssh_agent_release(struct ssh_agent *agent);

/**
 * Has it sign.
 *
 * @param flags  2: rsa-sha2-256, 4: rsa-sha2-512; else 0
 * @param out    gives the signature without the name of its algorithm
 * @return as ssh_agent_open(); MER_EUNREACHABLE also when it does not want to
 */
MER_MUST enum mer_status ssh_agent_sign(struct ssh_agent *agent, struct mer_str blob,
                                        struct mer_str data, unsigned flags, struct ssh_until until,
                                        unsigned char **out, size_t *len, struct mer_error *err);

#endif
