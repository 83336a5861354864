/*
 * known_hosts(5): which keys a host may have. Files are read whole each time that somebody logs in;
 * the rest is pure.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_KNOWN_H
#define MEAL_SSH_KNOWN_H

#include "ssh_config.h"

enum ssh_known_mark { SSH_KNOWN_KEY, SSH_KNOWN_REVOKED, SSH_KNOWN_AUTHORITY };

/* A line that names the host. */
struct ssh_known_line {
	const char *file; /* borrowed from who gave it */
	int number;
	enum ssh_known_mark mark;
	bool
		bare; /* names the host without its port, which is not the usual one: good for a yes only */
	char *type;          /* "ssh-ed25519" */
	unsigned char *blob; /* the key, decoded */
	size_t len;
};

/* What is known of a host: lines in the order of files. Owned. */
struct ssh_known {
	char *name; /* as files call it: "host", "[host]:2222", or its alias */
	char *bare; /* "host" beside "[host]:2222"; else NULL */
	struct ssh_known_line *lines;
	size_t n, cap;
};

/** Starts with what a configuration calls the host; MER_ENOMEM. Release it in any case. */
MER_MUST enum mer_status ssh_known_init(struct ssh_known *known, const struct ssh_config *config,
                                        struct mer_error *err);
void ssh_known_release(struct ssh_known *known);

/** Adds the lines of a file's text that name the host. What is no line of known_hosts is passed over, as
 * ssh does. MER_ENOMEM; MER_ELIMIT: more lines than a host may have. */
MER_MUST enum mer_status ssh_known_read(struct ssh_known *known, const char *file,
                                        struct mer_str text, struct mer_error *err);

/** Adds all files of a configuration; what is not there is fine. */
MER_MUST enum mer_status ssh_known_load(struct ssh_known *known, const struct ssh_config *config,
                                        struct mer_error *err);

enum ssh_known_verdict { SSH_KNOWN_YES, SSH_KNOWN_NEW, SSH_KNOWN_CHANGED, SSH_KNOWN_IS_REVOKED };

/**
 * Judges the key that a host has shown.
 *
 * @param line  the line that decided, borrowed. With SSH_KNOWN_NEW: no key of that type is known, but
 *              this one of another type; NULL: none at all
 */
enum ssh_known_verdict ssh_known_check(const struct ssh_known *known, struct mer_str blob,
                                       const struct ssh_known_line **line);

/**
 * The algorithms of host keys in the order of preference: of those allowed that libssh2 has, first those
 * whose type is known, so that a host with several keys shows one that can be compared.
 *
 * @param allowed    HostKeyAlgorithms, by commas
 * @param supported  by libssh2
 * @param out        gives the list, by commas; "": none
 * @param lost       set to whether keys are known, but none of a type in the list
 */
MER_MUST enum mer_status ssh_known_order(const struct ssh_known *known, const char *allowed,
                                         const char *const supported[], size_t n_supported,
                                         char **out, bool *lost, struct mer_error *err);

/** Appends a key to the first of the user's files, in one write; the file is made (0600) where it is not
 * there. MER_EIO says which file. */
MER_MUST enum mer_status ssh_known_add(const struct ssh_known *known,
                                       const struct ssh_config *config, struct mer_str blob,
                                       struct mer_error *err);

/** The name of a key's type, which it begins with; borrowed from it. Of no length: it is no key. */
struct mer_str ssh_key_type(struct mer_str blob);

/** Room for what ssh_fingerprint() writes. */
#define SSH_FINGERPRINT_SIZE 52

/** "SHA256:..." as ssh prints it. */
void ssh_fingerprint(struct mer_str blob, char out[SSH_FINGERPRINT_SIZE]);

#endif
