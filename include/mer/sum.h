/*
 * SHA-256 and size of weights: of a file, or of a folder as a whole.
 *
 * A folder's is the SHA-256 of the sorted lines "sha256  relative/path", each with its newline, of the
 * files in it and below; `find -L . -type f -printf '%P\n' | xargs -d '\n' sha256sum | LC_ALL=C sort |
 * sha256sum` in it gives the same. Links are followed, folders without files do not count.
 *
 * What was read is remembered in $XDG_STATE_HOME/mer/sums, a file a path, with device, inode, size,
 * mtime and ctime of each file, and is read again only where one of these differs. Who cannot write
 * there reads each time.
 */
#ifndef MER_SUM_H
#define MER_SUM_H

#include <mer/hash.h>
#include <stdbool.h>
#include <sys/stat.h>

struct mer_sum {
	char sha256[MER_SHA256_SIZE];
	int64_t bytes; /* of all files */
};

/* What the file system says of all files: changes whenever one of them may have. */
struct mer_stamp {
	char text[MER_SHA256_SIZE];
	int64_t changed_ns; /* when the last of them did; ns since 1970 */
};

/**
 * Looks without reading.
 * @return MER_ENOTFOUND  nothing is there
 *         MER_EIO        it cannot be looked at, or holds what is neither a file nor a folder
 */
MER_API MER_MUST enum mer_status mer_sum_look(const char *path, struct mer_stamp *out,
                                              struct mer_error *err);

/**
 * Tells of each file that a sum of that path is of, in the order of their names.
 * @param on_file  name: relative to the path, "" where the path itself is the file
 * @return what on_file returns that is not MER_OK, and as mer_sum_look()
 */
typedef enum mer_status mer_sum_file_fn(void *ctx, const char *name, const struct stat *info,
                                        struct mer_error *err);
MER_API MER_MUST enum mer_status mer_sum_list(const char *path, bool *is_folder,
                                              mer_sum_file_fn *on_file, void *ctx,
                                              struct mer_error *err);

/** Whether what was read last is remembered and the stamp is still the same. */
MER_API bool mer_sum_known(const char *path, const struct mer_stamp *stamp, struct mer_sum *out);

/**
 * Reads all of it and remembers, whatever was known of it.
 * @param stop   another thread sets it to true to end this; NULL: nobody
 * @param stamp  gives what it looked like, "" where it was changed so lately that another change might
 *               not show; NULL allowed
 * @return MER_ECONFLICT it was written meanwhile; MER_ECANCELED; and as mer_sum_look()
 */
MER_API MER_MUST enum mer_status mer_sum_read(const char *path, const _Atomic bool *stop,
                                              struct mer_sum *out, struct mer_stamp *stamp,
                                              struct mer_error *err);

/** Reads it, or remembers. */
MER_API MER_MUST enum mer_status mer_sum_get(const char *path, const _Atomic bool *stop,
                                             struct mer_sum *out, struct mer_error *err);

#endif
