/*
 * A library to be preloaded: kills its process, as kill -9 would, when it deals with a path that has the text
 * KILL_ON in it: before its nth new file, new folder, new name or removal, n being KILL_AT. What it starts is
 * left alone.
 */
#undef _FILE_OFFSET_BITS /* it would make open and open64 one name; both are called */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* next: the function that this one stands before. */
#define FIND(name) \
	__typeof__(&name) next; \
	void *found = dlsym(RTLD_NEXT, #name); \
	memcpy(&next, &found, sizeof next)

static const char *text, *at;

__attribute__((constructor)) static void begin(void)
{
	text = getenv("KILL_ON");
	at = getenv("KILL_AT");
	(void)unsetenv("LD_PRELOAD");
}

static void count(const char *path)
{
	static long calls;
	if (text == NULL || at == NULL || strstr(path, text) == NULL || ++calls != strtol(at, NULL, 10))
		return;
	(void)kill(getpid(), SIGKILL);
	for (;;)
		(void)pause();
}

#define OPENS(name) \
	int name(const char *path, int flags, ...) \
	{ \
		FIND(name); \
		va_list rest; \
		va_start(rest, flags); \
		mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0; \
		va_end(rest); \
		if ((flags & O_CREAT) == 0) \
			return next(path, flags); \
		count(path); \
		return next(path, flags, mode); \
	}

OPENS(open)
OPENS(open64)

int mkdir(const char *path, mode_t mode)
{
	FIND(mkdir);
	count(path);
	return next(path, mode);
}

int rename(const char *from, const char *to)
{
	FIND(rename);
	count(from);
	return next(from, to);
}

int unlink(const char *path)
{
	FIND(unlink);
	count(path);
	return next(path);
}
