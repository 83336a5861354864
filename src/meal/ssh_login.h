/*
 * A session of libssh2 that is logged in: connection, banner, keys, the host's key checked, then
 * authentication. All blocks, so it has a thread of its own, one a connection; names, agents and
 * slow passphrases never hold the loop. Each wait ends with the deadline, and when somebody gives up.
 *
 * Part of the private module `ssh`, whose owner has called libssh2_init().
 */
#ifndef MEAL_SSH_LOGIN_H
#define MEAL_SSH_LOGIN_H

#include "ssh_config.h"
#include "ssh_heap.h"

#include <libssh2.h>

struct ssh_times {
	int64_t connect_us, kex_us, auth_us;
};

struct ssh_login {
	const struct mer_remote *remote; /* borrowed */
	const struct ssh_config *config; /* borrowed */
	int fd;        /* in: -1, or a connected stream through a jump host, taken in any case;
	         * out: the socket of the session, -1 without one */
	int cancel_fd; /* readable: give up at once (an eventfd, which is not read); -1: nobody does */
	int64_t deadline_ms; /* of mer_clock_ms(), for all of it. Until the keys are exchanged
	                           * ConnectTimeout counts too */
	/* out: not blocking, authenticated; gives it, for ssh_heap_free() before fd is closed. NULL without one */
	LIBSSH2_SESSION *session;
	struct ssh_heap *heap;  /* out: what the session holds. Its abstract pointer leads here */
	struct ssh_times times; /* out */
	char how
		[160]; /* out: "libssh2 1.10.0, ssh-ed25519 SHA256:..., publickey ~/.ssh/id", for people */
};

/**
 * Logs in.
 *
 * @param choice  SSH_OPENSSH with MER_OK and without a session: only the system's ssh can do it, as
 *                reason says. It is told before a byte of authentication was sent. Where
 *                the server's `transport` is libssh2, keys that libssh2 cannot use are passed over instead.
 * @return MER_EBUSY         it hung up before its banner, as a server does that has too many logins
 *                           under way (MaxStartups): try again, within ConnectTimeout. To people it is
 *                           MER_EUNREACHABLE
 *         MER_EUNREACHABLE  no connection, or the host's key is not the right one, or nobody lets us in:
 *                           the same words as the system's ssh gets from MER
 *         MER_EINPUT        a reference to a password or passphrase gives nothing
 *         MER_ECANCELED     cancel_fd became readable
 *         MER_ETIMEOUT      never: what takes too long is MER_EUNREACHABLE, as it is with ssh
 *         MER_ENOMEM
 */
MER_MUST enum mer_status ssh_login(struct ssh_login *login, enum ssh_choice *choice,
                                   char reason[200], struct mer_error *err);

#endif
