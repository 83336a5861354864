/* A program that is run for what it prints. */
#ifndef MER_CHILD_H
#define MER_CHILD_H

#include <mer/buf.h>
#include <stdint.h>

/* It has no input, none of our descriptors and a process group of its own. All is borrowed. */
struct mer_child {
	const char *program;                  /* looked for in PATH where it has no slash */
	const char *const *argv, *const *env; /* each ended by NULL */
	int cancel_fd;                        /* readable: it is given up; -1: nobody gives it up */
	int64_t deadline_ms;                  /* of mer_clock_ms() */
	struct mer_buf *out,
		*log; /* its stdout and stderr, a byte less than their limits; log NULL: its
	                            * stderr is ours */
};

/**
 * Runs it to its end. Where it has not ended by itself, all of its group is killed. What keeps a stream open
 * counts as if it still ran.
 *
 * @param status  gives its end, as of waitpid()
 * @param error   gives the errno of MER_EIO
 * @return MER_EIO        it cannot be started
 *         MER_ELIMIT     it says more than out or log takes
 *         MER_ETIMEOUT, MER_ECANCELED, MER_ENOMEM
 */
MER_API MER_MUST enum mer_status mer_child_run(const struct mer_child *child, int *status,
                                               int *error);

#endif
