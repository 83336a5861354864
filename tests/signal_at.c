/*
 * A library to be preloaded: sends its process a SIGINT at a moment that nobody can hit from outside.
 * SIGNAL_AT_UNBLOCK=N: when signals are let through for the nth time; SIGNAL_AT_SEND=TEXT: before the
 * message to a server that has TEXT in it.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

/* next: the function that this one stands before. */
#define FIND(name) \
	__typeof__(&name) next; \
	void *found = dlsym(RTLD_NEXT, #name); \
	memcpy(&next, &found, sizeof next)

int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	static long times;
	FIND(sigprocmask);
	int result = next(how, set, old);
	const char *at = getenv("SIGNAL_AT_UNBLOCK");
	if (how == SIG_UNBLOCK && at != NULL && ++times == strtol(at, NULL, 10))
		(void)raise(SIGINT);
	return result;
}

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
	FIND(send);
	const char *text = getenv("SIGNAL_AT_SEND");
	if (text != NULL && memmem(bytes, n, text, strlen(text)) != NULL)
		(void)raise(SIGINT);
	return next(fd, bytes, n, flags);
}
