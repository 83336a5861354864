/*
 * What libssh2 asks of us while somebody logs in: bytes. It tells little of what came, and waits for a banner
 * for as long as lines come: so what comes is counted and its beginning kept.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_TAP_H
#define MEAL_SSH_TAP_H

#include "ssh_heap.h"
#include "ssh_wait.h"

#include <libssh2.h>
#include <mer/buf.h>
#include <stdbool.h>

struct ssh_tap {
	struct ssh_heap *heap; /* of the session, which owns it */
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

/** The session stands alone; its abstract pointer is `place`, which gets the heap. */
void ssh_tap_off(struct ssh_tap *tap, LIBSSH2_SESSION *session, struct ssh_heap **place);

/** Frees the tap's own; the session is another's. */
void ssh_tap_release(struct ssh_tap *tap);

/** Waits for what a call of libssh2 that gave LIBSSH2_ERROR_EAGAIN waits for. */
MER_MUST enum mer_status ssh_tap_wait(const struct ssh_tap *tap, LIBSSH2_SESSION *session);

#endif
