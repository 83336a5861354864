/*
 * A library to be preloaded: a socket of TCP takes few bytes at a time, and none every other time, as one whose
 * buffer is full most of the time. SEND_BITS: at most so many.
 */
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
	static _Thread_local int turn;
	int protocol = 0;
	socklen_t len = sizeof protocol;
	const char *text = getenv("SEND_BITS");
	size_t most = text != NULL ? strtoul(text, NULL, 10) : n;
	__typeof__(&send) next;
	void *found = dlsym(RTLD_NEXT, "send");
	memcpy(&next, &found, sizeof next);
	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 && protocol == IPPROTO_TCP) {
		if (++turn % 2 == 0) {
			errno = EAGAIN;
			return -1;
		}
		n = n < most ? n : most;
	}
	return next(fd, bytes, n, flags);
}
