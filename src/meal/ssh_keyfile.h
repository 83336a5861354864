/*
 * Files of keys, as far as one need look before one of them is used: what kind of key it is, whether a passphrase
 * guards it, its public half.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_KEYFILE_H
#define MEAL_SSH_KEYFILE_H

#include <mer/buf.h>
#include <stdbool.h>

struct ssh_keyfile {
	const char *path;    /* borrowed */
	char type[64];       /* "ssh-ed25519"; "": nobody can tell without its passphrase */
	unsigned char *blob; /* the public half; NULL: not known */
	size_t len;
	bool is_private;      /* the private half is there */
	bool is_guarded;      /* by a passphrase */
	bool is_open;         /* others may read it, so ssh does not use it */
	bool has_certificate; /* beside it, which ssh would offer first */
};

/**
 * Looks at one.
 *
 * @return MER_ENOTFOUND  it is not there, cannot be read, or is no key; MER_ENOMEM
 */
MER_MUST enum mer_status ssh_keyfile_read(struct ssh_keyfile *key, const char *path,
                                          struct mer_error *err);
void ssh_keyfile_release(struct ssh_keyfile *key);

/** Reads what a file holds. Pure: it is told nothing of its place. */
MER_MUST enum mer_status ssh_keyfile_parse(struct ssh_keyfile *key, struct mer_str text,
                                           struct mer_error *err);

#endif
