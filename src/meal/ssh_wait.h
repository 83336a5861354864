/* Waiting in a thread that somebody may want back. */
#ifndef MEAL_SSH_WAIT_H
#define MEAL_SSH_WAIT_H

#include <mer/error.h>
#include <stdint.h>

/* Until when, and who may give up. */
struct ssh_until {
	int cancel_fd;       /* readable: at once; -1: nobody */
	int64_t deadline_ms; /* of mer_clock_ms() */
};

/** Waits for events of poll() on fd; -1: for nothing but the end. @return MER_OK, MER_ETIMEOUT, MER_ECANCELED */
MER_MUST enum mer_status ssh_wait(int fd, short events, struct ssh_until until);

/** Milliseconds until the deadline as poll() takes them; 0: it has passed. */
int ssh_left_ms(struct ssh_until until);

#endif
