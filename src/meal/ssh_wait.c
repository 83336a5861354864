/* Waiting; ssh_wait.h. */
#include "ssh_wait.h"

#include <limits.h>
#include <mer/text.h>
#include <poll.h>

int ssh_left_ms(struct ssh_until until)
{
	int64_t left_ms = until.deadline_ms - mer_clock_ms();
	return left_ms <= 0 ? 0 : left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

enum mer_status ssh_wait(int fd, short events, struct ssh_until until)
{
	for (;;) {
		int left_ms = ssh_left_ms(until);
		struct pollfd fds[2] = { { .fd = until.cancel_fd, .events = POLLIN },
			                     { .fd = fd, .events = events } };
		int ready = poll(fds, 2, left_ms);
		if (ready > 0 && fds[0].revents != 0)
			return MER_ECANCELED;
		if (ready > 0 && fds[1].revents != 0)
			return MER_OK;
		if (left_ms == 0)
			return MER_ETIMEOUT;
	}
}
