/* A frame worker that answers with what it is given, as fast as it can or after so many microseconds as
 * it is told: for bench.py. It trusts who speaks to it; models/moments/moments_frame.c is how a worker
 * is written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEADER 32
enum { HELLO = 1, READY = 2, INFER = 3, RESULT = 4 };

static char *bytes; /* of the frame that came */
static size_t size;

static void take(int fd, size_t from, size_t to)
{
	if (to > size && (bytes = realloc(bytes, size = 2 * to)) == NULL)
		exit(1);
	while (from < to) {
		ssize_t n = read(fd, bytes + from, to - from);
		if (n <= 0)
			exit(0);
		from += (size_t)n;
	}
}

/* One read where the whole frame is there, as it mostly is. */
static size_t take_frame(int fd)
{
	size_t have = 0;
	uint32_t meta;
	uint64_t body;
	if (size < 4096 && (bytes = realloc(bytes, size = 4096)) == NULL)
		exit(1);
	while (have < HEADER) {
		ssize_t n = read(fd, bytes + have, size - have);
		if (n <= 0)
			exit(0);
		have += (size_t)n;
	}
	memcpy(&meta, bytes + 16, sizeof meta);
	memcpy(&body, bytes + 24, sizeof body);
	size_t len = HEADER + meta + (size_t)body;
	take(fd, have, len);
	return len;
}

static void give(int fd, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, bytes + at, len - at);
		if (n <= 0)
			exit(0);
		at += (size_t)n;
	}
}

int main(int argc, char **argv)
{
	long nap_us = argc > 1 ? atol(argv[1]) : 0;
	const struct timespec nap = { .tv_sec = nap_us / 1000000, .tv_nsec = nap_us % 1000000 * 1000 };
	static const char ready[] = "{\"version\":1}";
	const char *number = getenv("MER_FRAME_FD");
	int fd = number != NULL ? atoi(number) : 3;
	for (;;) {
		size_t len = take_frame(fd);
		if (bytes[5] == INFER) {
			bytes[5] = RESULT; /* with the same meta */
			if (nap_us > 0)
				(void)nanosleep(&nap, NULL);
		} else if (bytes[5] == HELLO) {
			bytes[5] = READY;
			bytes[16] = sizeof ready - 1;
			bytes[17] = 0;
			memcpy(bytes + HEADER, ready, sizeof ready - 1);
			len = HEADER + sizeof ready - 1;
		} else {
			return 0; /* drain */
		}
		give(fd, len);
	}
}
