/* Whole files, folders, and where things are. */
#ifndef MER_FILE_H
#define MER_FILE_H

#include <mer/error.h>
#include <sys/types.h>

/**
 * Reads a whole file, or descriptor (a pipe too) to its end.
 *
 * @param limit  bytes; more is MER_ELIMIT
 * @param out    gives the bytes, ended by a NUL that is not counted; the caller frees them
 * @return MER_EIO names the path and the cause; a folder is refused
 */
MER_API MER_MUST enum mer_status mer_read_file(const char *path, size_t limit, char **out,
                                               size_t *len, struct mer_error *err);
MER_API MER_MUST enum mer_status mer_read_fd(int fd, const char *name, size_t limit, char **out,
                                             size_t *len, struct mer_error *err);

/** Writes all n bytes, over short writes and EINTR. On MER_EIO errno is the cause (EPIPE: its
 * reader has left). */
MER_API MER_MUST enum mer_status mer_write_all(int fd, const char *name, const void *bytes,
                                               size_t n, struct mer_error *err);

/** Makes a folder of mode 0700 and the missing ones above it (also 0700), whatever the umask; an
 * existing one is fine. */
MER_API MER_MUST enum mer_status mer_make_folders(const char *path, struct mer_error *err);

/**
 * Opens a file of mer's own, in a folder of its own: where there is none it is made, of mode 0600
 * whatever the umask. A link is not followed, and never waits for anybody.
 *
 * @param flags  O_RDWR, O_TRUNC, O_EXCL, ...; O_CREAT, O_CLOEXEC and the like are added
 * @return a descriptor, or -1 with errno
 */
MER_API int mer_open_own(const char *path, int flags);

/*
 * Places of one user (XDG base directory specification) and of this installation. What is part of
 * the installation is found relative to the running program, so that a moved tree works.
 * Each gives a path that the caller frees.
 */
enum mer_place {
	MER_PLACE_STATE,   /* $XDG_STATE_HOME/mer, default ~/.local/state/mer */
	MER_PLACE_DATA,    /* $XDG_DATA_HOME/mer, default ~/.local/share/mer */
	MER_PLACE_SQL,     /* of the installation: a folder a dialect */
	MER_PLACE_MODELS,  /* the example models */
	MER_PLACE_GUARD,   /* the supervisor program */
	MER_PLACE_MODULES, /* prompt.so and the like */
	MER_PLACE_PYTHON,  /* what a Python worker finds the SDK in, for its PYTHONPATH */
};
MER_API MER_MUST enum mer_status mer_place(enum mer_place place, char **out, struct mer_error *err);

#endif
