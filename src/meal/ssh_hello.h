/*
 * What a server says before anything is agreed upon: lines, its banner, and the algorithms that it has
 * (RFC 4253, 4.2 and 7.1). Pure. libssh2 tells none of it when it fails, and only this says whether
 * another program could do better.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_HELLO_H
#define MEAL_SSH_HELLO_H

#include <mer/buf.h>
#include <stdbool.h>

/* Lists of a server's SSH_MSG_KEXINIT, in its order. */
enum ssh_list {
	SSH_LIST_KEX,
	SSH_LIST_HOST_KEYS,
	SSH_LIST_CIPHERS_TO,
	SSH_LIST_CIPHERS_FROM,
	SSH_LIST_MACS_TO,
	SSH_LIST_MACS_FROM,
	SSH_LIST_COUNT
};

/* All borrowed from the bytes. */
struct ssh_hello {
	struct mer_str said;   /* the last line before the banner, without its end */
	struct mer_str banner; /* "SSH-2.0-..."; of no length: it has not come, or not whole */
	bool has_lists;
	struct mer_str lists[SSH_LIST_COUNT];
};

/** Reads what came from a server so far, all of it from the first byte. Whatever it is can be read. */
void ssh_hello_read(struct ssh_hello *hello, struct mer_str bytes);

/**
 * Whether both sides can agree.
 *
 * @param ours  by commas, as enum ssh_list has them
 * @param why   what is not in common, for people; "" where there is nothing
 */
bool ssh_hello_agrees(const struct ssh_hello *hello, const char *const ours[SSH_LIST_COUNT],
                      char why[160]);

#endif
