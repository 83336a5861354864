/*
 * Waiting on the loop for a descriptor that others share, without changing its flags: O_NONBLOCK
 * belongs to what it refers to, so setting it on a terminal or a pipe would change the shell's.
 */
#ifndef WATCH_H
#define WATCH_H

#include <mer/error.h>
#include <stdbool.h>
#include <uv.h>

typedef void watch_fn(void *ctx);

enum watch_for { WATCH_READ, WATCH_WRITE };

struct watch {
	uv_poll_t poll;
	int fd; /* an epoll instance that holds the watched one, which uv may change as it likes */
	bool open, always, closed;
	watch_fn *fn;
	void *ctx;
};

/**
 * Prepares to wait for fd, which the caller keeps open meanwhile.
 * @param fn  called on the loop while it is ready, between start and stop; never where always is
 *            set: such a descriptor (a file, /dev/null) is always ready
 */
MER_MUST enum mer_status watch_open(struct watch *watch, uv_loop_t *loop, int fd,
                                    enum watch_for what, watch_fn *fn, void *ctx,
                                    struct mer_error *err);
void watch_start(struct watch *watch);
void watch_stop(struct watch *watch);

/** Begins to close; closed is set when its memory may go, which takes a turn of the loop. */
void watch_close(struct watch *watch);

#endif
