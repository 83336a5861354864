/*
 * What libssh2 asks of us while somebody logs in: bytes and memory. It tells little of what came, waits for a banner
 * for as long as lines come, and keeps what it frees as it was: so what comes is counted and its beginning
 * kept, and memory is wiped when it is given back.
 *
 * Memory is counted as long as the session lives, since libssh2 keeps each packet that it has no use for.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_TAP_H
#define MEAL_SSH_TAP_H

#include "ssh_wait.h"

#include <libssh2.h>
#include <mer/buf.h>
#include <stdbool.h>

/* What a session holds. First in whatever its abstract pointer leads to. */
struct ssh_heap {
	size_t held; /* bytes */
};

struct ssh_tap {
	struct ssh_heap heap;
	struct ssh_until until;
	int fd;
	struct mer_buf hello;          /* what came first */
	size_t received;               /* bytes */
	bool closed;                   /* the other side has hung up */
	bool flooded;                  /* more came than any login takes */
	char bye[160];                 /* what it said when it hung up, plain */
	void *ctx;                     /* of who is called back */
	LIBSSH2_RECV_FUNC((*receive)); /* libssh2's own */
};

/** A session that does not block, and belongs to the tap until ssh_tap_off(). Its memory is wiped when it
 * is given back in this thread. NULL: out of memory */
LIBSSH2_SESSION *ssh_tap_on(struct ssh_tap *tap);

/** The session stands alone, and what it holds is not counted, until its abstract pointer leads to another heap. */
void ssh_tap_off(struct ssh_tap *tap, LIBSSH2_SESSION *session);

/** Frees the tap's own; the session is another's. */
void ssh_tap_release(struct ssh_tap *tap);

/** Waits for what a call of libssh2 that gave LIBSSH2_ERROR_EAGAIN waits for. */
MER_MUST enum mer_status ssh_tap_wait(const struct ssh_tap *tap, LIBSSH2_SESSION *session);

#endif
