/*
 * A file that is written beside its place and put there whole, so that nobody ever reads half of it.
 *
 * Until then it is ".mer-part-XXXXXXXX" in the same folder, of this user alone and locked (flock) for as
 * long as its writer lives. What a dead writer has left there goes when the next one begins in that
 * folder.
 */
#ifndef MER_PUBLISH_H
#define MER_PUBLISH_H

#include <mer/error.h>
#include <stdbool.h>
#include <sys/types.h>

struct mer_publish {
	char *path; /* where it is to be; owned, as is the other */
	char *part; /* where it is written; NULL: it was put in its place */
	int fd;     /* open for reading and writing; closed by release */
};

/**
 * Begins a file.
 * @param replace  one that is there may be replaced
 * @param mode     of the file, whatever the umask
 * @param out      release it also after a failure
 * @return MER_ECONFLICT there is a file already; MER_EINPUT: its place is no place for a file;
 *         MER_EIO
 */
MER_API MER_MUST enum mer_status mer_publish_open(const char *path, bool replace, mode_t mode,
                                                  struct mer_publish *out, struct mer_error *err);

/** Brings it to the disk and puts it in its place, in one step; so a file of before is there until the
 * new one is. MER_ECONFLICT: there is one by now, and replace is not set. MER_EIO. */
MER_API MER_MUST enum mer_status mer_publish_put(struct mer_publish *file, bool replace,
                                                 struct mer_error *err);

/** Removes what was not put in its place. Zeroed is fine. */
MER_API void mer_publish_release(struct mer_publish *file);

#endif
