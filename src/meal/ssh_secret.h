/* Secrets while they are needed: in pages of their own that are in no core dump, wiped when they go. What no program
 * has a hand in is left: registers, and what the linker puts away of them where it binds late. */
#ifndef MEAL_SSH_SECRET_H
#define MEAL_SSH_SECRET_H

#include <mer/error.h>

struct ssh_secret {
	char *text; /* ended by NUL; NULL: none */
	size_t len, size;
};

/** What a reference gives; as mer_ref_resolve(). */
MER_MUST enum mer_status ssh_secret_resolve(struct ssh_secret *secret, const char *ref,
                                            struct mer_error *err);

/** A file of at most 64 KiB. @return MER_EIO names it */
MER_MUST enum mer_status ssh_secret_read(struct ssh_secret *secret, const char *path,
                                         struct mer_error *err);

/** Wipes it; fine on one that holds nothing. */
void ssh_secret_release(struct ssh_secret *secret);

#endif
