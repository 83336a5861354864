/*
 * What libssh2 allocates for a session: counted, since it keeps each packet that it has no use for; wiped when
 * it is given back, in a thread that asks for it; and listed, since libssh2 1.10 forgets what it has, the
 * host's key each time that keys are exchanged anew. What it forgets lives as long as its session.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_HEAP_H
#define MEAL_SSH_HEAP_H

#include <libssh2.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct ssh_heap {
	size_t held; /* bytes */
	LIST_HEAD(ssh_blocks, ssh_block) blocks;
};

/** A session of libssh2 with a heap of its own, owned by it. Its abstract pointer is `place`; what that leads to begins
 * with the pointer to the heap as long as the session lives. NULL: out of memory, as *place is */
LIBSSH2_SESSION *ssh_heap_session(struct ssh_heap **place);

/** Frees it, with its heap. */
void ssh_heap_free(LIBSSH2_SESSION *session);

/** Memory for what libssh2 gives back itself. NULL: out of memory */
void *ssh_heap_take(LIBSSH2_SESSION *session, size_t bytes);

/** Whether what is given back in this thread is wiped, whatever its session. */
void ssh_heap_wipe(bool wipe);

#endif
