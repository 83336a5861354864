/*
 * A library to be preloaded: kills its process, as kill -9 would, at the nth call that changes
 * something outside of it. KILL_AT=N: before that call; with KILL_HALF set a write has been done half
 * by then, and any other call as a whole. Without KILL_AT the number of calls is appended to the file
 * KILL_COUNT when the process ends.
 */
#undef _FILE_OFFSET_BITS /* it would make pwrite and pwrite64 one name; both are called */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long calls, kill_at;
static int half;

__attribute__((constructor)) static void begin(void)
{
	const char *at = getenv("KILL_AT");
	kill_at = at != NULL ? strtol(at, NULL, 10) : -1;
	half = getenv("KILL_HALF") != NULL;
}

__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("KILL_COUNT");
	FILE *file = kill_at < 0 && path != NULL ? fopen(path, "a") : NULL;
	if (file == NULL)
		return;
	(void)fprintf(file, "%ld\n", calls);
	(void)fclose(file);
}

static void die(void)
{
	(void)kill(getpid(), SIGKILL);
	for (;;)
		(void)pause();
}

/* Whether this is the last call, of which a part is still to be done. */
static int is_last(void)
{
	if (++calls != kill_at)
		return 0;
	if (!half)
		die();
	return 1;
}

/* next: the function that this one stands before. */
#define FIND(name) \
	__typeof__(&name) next; \
	void *found = dlsym(RTLD_NEXT, #name); \
	memcpy(&next, &found, sizeof next)

#define WRITES(name, parameters, call_half, call_whole) \
	ssize_t name parameters \
	{ \
		FIND(name); \
		if (is_last()) { \
			(void)!next call_half; \
			die(); \
		} \
		return next call_whole; \
	}

#define CHANGES(name, parameters, call) \
	int name parameters \
	{ \
		FIND(name); \
		if (is_last()) { \
			(void)!next call; \
			die(); \
		} \
		return next call; \
	}

WRITES(write, (int fd, const void *bytes, size_t n), (fd, bytes, (n + 1) / 2), (fd, bytes, n))
WRITES(pwrite, (int fd, const void *bytes, size_t n, off_t at), (fd, bytes, (n + 1) / 2, at),
       (fd, bytes, n, at))
WRITES(pwrite64, (int fd, const void *bytes, size_t n, off64_t at), (fd, bytes, (n + 1) / 2, at),
       (fd, bytes, n, at))
WRITES(send, (int fd, const void *bytes, size_t n, int flags), (fd, bytes, (n + 1) / 2, flags),
       (fd, bytes, n, flags))
CHANGES(fsync, (int fd), (fd))
CHANGES(fdatasync, (int fd), (fd))
CHANGES(ftruncate, (int fd, off_t len), (fd, len))
CHANGES(ftruncate64, (int fd, off64_t len), (fd, len))
CHANGES(fallocate, (int fd, int mode, off_t at, off_t len), (fd, mode, at, len))
CHANGES(unlink, (const char *path), (path))
CHANGES(fchmod, (int fd, mode_t mode), (fd, mode))
