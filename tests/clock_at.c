/*
 * A library to be preloaded: the wall clock jumps by CLOCK_JUMP seconds as soon as there is a file
 * CLOCK_FILE. The clocks that nobody sets go on.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t jump(void)
{
	const char *file = getenv("CLOCK_FILE"), *seconds = getenv("CLOCK_JUMP");
	return file != NULL && seconds != NULL && access(file, F_OK) == 0 ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	long result = syscall(SYS_clock_gettime, clock, now);
	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += jump();
	return (int)result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	long result = syscall(SYS_gettimeofday, now, zone);
	if (result == 0)
		now->tv_sec += jump();
	return (int)result;
}

time_t time(time_t *out)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (out != NULL)
		*out = now.tv_sec;
	return now.tv_sec;
}
