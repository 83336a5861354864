/* A TCP server that is further away: delay PORT US listens on a free port of 127.0.0.1, prints it, and carries
 * connections to PORT there; each byte arrives so many microseconds after it was sent, either way. Ends with its stdin.
 *
 * What is under way is held in a ring a direction, so that neither side ever waits for the other within the delay
 * until RING_BYTES are. Sizes of the sockets' buffers are left alone: they grow by themselves to some MiB,
 * and would be cut to net.core.*mem_max if they were set. TCP's own handshake has no delay. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES ((size_t)64 << 20)
#define READ_BYTES ((size_t)256 << 10)
#define NS_A_S INT64_C(1000000000)
#define EARLY_NS INT64_C(300000) /* a timer is so late, at times */
#define FEW_BYTES ((size_t)64 << 10)
enum { MARKS = 1 << 14, LINKS_MAX = 500 };

/* One direction: bytes from start to end are under way, the marks say until where they are due when. Offsets run on for
 * ever. */
struct way {
	int from, to;
	char *ring;
	size_t start, end;
	size_t due_end; /* these may be sent */
	struct mark {
		size_t end;
		int64_t due_ns;
	} marks[MARKS];
	size_t mark_start, mark_end;
	int64_t eof_ns; /* it is due; 0: it has not come */
	bool full;      /* `to` takes no more now */
	bool over;
};

struct link {
	struct way ways[2]; /* there, and back */
};

static struct link *links[LINKS_MAX];
static size_t n_links;
static int64_t delay_ns;

static void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static int64_t clock_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_A_S + now.tv_nsec;
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* The n bytes of a ring from an offset on. */
static int pieces(const struct way *way, size_t at, size_t n, struct iovec out[2])
{
	size_t offset = at % RING_BYTES, first = n < RING_BYTES - offset ? n : RING_BYTES - offset;
	out[0] = (struct iovec){ way->ring + offset, first };
	out[1] = (struct iovec){ way->ring, n - first };
	return first < n ? 2 : 1;
}

static bool has_room(const struct way *way)
{
	return !way->over && way->eof_ns == 0 && way->end - way->start <= RING_BYTES - READ_BYTES &&
	       way->mark_end - way->mark_start < MARKS;
}

static void take(struct way *way, int64_t now_ns)
{
	struct iovec to[2];
	if (way->start == way->end) /* what is in a cache is used again */
		way->start = way->end = way->due_end = way->mark_start = way->mark_end = 0;
	ssize_t n = readv(way->from, to, pieces(way, way->end, READ_BYTES, to));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		way->eof_ns = now_ns + delay_ns;
		return;
	}
	way->end += (size_t)n;
	way->marks[way->mark_end++ % MARKS] = (struct mark){ way->end, now_ns + delay_ns };
}

static void give(struct way *way, int64_t now_ns)
{
	struct iovec from[2];
	while (way->mark_start < way->mark_end && way->marks[way->mark_start % MARKS].due_ns <= now_ns)
		way->due_end = way->marks[way->mark_start++ % MARKS].end;
	while (way->start < way->due_end && !way->full && !way->over) {
		ssize_t n = writev(way->to, from, pieces(way, way->start, way->due_end - way->start, from));
		if (n >= 0)
			way->start += (size_t)n;
		else if (errno == EAGAIN)
			way->full = true;
		else if (errno != EINTR)
			way->over = true;
	}
	if (way->eof_ns != 0 && way->eof_ns <= now_ns && way->start == way->end && !way->over) {
		(void)shutdown(way->to, SHUT_WR);
		way->over = true;
	}
}

/* When to look at a way again by itself. Where a message is under way, and not a stream, it is waited for with the
 * processor. */
static int64_t next_ns(const struct way *way)
{
	if (way->over || way->full)
		return INT64_MAX;
	if (way->mark_start < way->mark_end)
		return way->marks[way->mark_start % MARKS].due_ns -
		       (way->end - way->start < FEW_BYTES ? EARLY_NS : 0);
	return way->eof_ns != 0 ? way->eof_ns : INT64_MAX;
}

/* --- connections ------------------------------------------------------------------------------ */

static void way_init(struct way *way, int from, int to)
{
	way->from = from;
	way->to = to;
	way->ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (way->ring == MAP_FAILED)
		fail("mmap");
}

static void open_link(int listener, const struct sockaddr_in *server)
{
	int one = 1, here = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (here < 0)
		return;
	int there = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (there < 0 || n_links == LINKS_MAX ||
	    connect(there, (const struct sockaddr *)server, sizeof *server) != 0 ||
	    fcntl(there, F_SETFL, O_NONBLOCK) != 0) {
		(void)close(here);
		(void)close(there);
		return;
	}
	(void)setsockopt(here, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	(void)setsockopt(there, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	struct link *link = calloc(1, sizeof *link);
	if (link == NULL)
		fail("calloc");
	way_init(&link->ways[0], here, there);
	way_init(&link->ways[1], there, here);
	links[n_links++] = link;
}

static void close_link(size_t i)
{
	struct link *link = links[i];
	for (int k = 0; k < 2; k++) {
		(void)munmap(link->ways[k].ring, RING_BYTES);
		(void)close(link->ways[k].from);
	}
	free(link);
	links[i] = links[--n_links];
}

/* --- turns ------------------------------------------------------------------------------------ */

/* What an end of a link is watched for: where it is nothing, not even for having hung up. */
static struct pollfd watch(const struct way *in, const struct way *out)
{
	short events = (short)((has_room(in) ? POLLIN : 0) | (out->full && !out->over ? POLLOUT : 0));
	return (struct pollfd){ .fd = events != 0 ? in->from : -1, .events = events };
}

static void turn(struct link *link, const struct pollfd fds[2], int64_t now_ns)
{
	for (int k = 0; k < 2; k++) {
		struct way *in = &link->ways[k], *out = &link->ways[1 - k];
		if ((fds[k].revents & POLLOUT) != 0 || (fds[k].revents & (POLLERR | POLLHUP)) != 0)
			out->full = false;
		if (fds[k].revents != 0 && has_room(in))
			take(in, now_ns);
	}
	for (int k = 0; k < 2; k++)
		give(&link->ways[k], now_ns);
}

static void wait_for(struct pollfd *fds, size_t n, int64_t until_ns)
{
	int64_t left_ns = until_ns == INT64_MAX ? 0 : until_ns - clock_ns();
	const struct timespec left = { .tv_sec = left_ns > 0 ? left_ns / NS_A_S : 0,
		                           .tv_nsec = left_ns > 0 ? left_ns % NS_A_S : 0 };
	if (ppoll(fds, n, until_ns == INT64_MAX ? NULL : &left, NULL) < 0 && errno != EINTR)
		fail("ppoll");
}

static void serve(int listener, const struct sockaddr_in *server)
{
	static struct pollfd fds[2 + 2 * LINKS_MAX];
	for (;;) {
		int64_t until_ns = INT64_MAX;
		fds[0] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = listener, .events = POLLIN };
		for (size_t i = 0; i < n_links; i++) {
			struct way *ways = links[i]->ways;
			for (int k = 0; k < 2; k++) {
				int64_t at_ns = next_ns(&ways[k]);
				until_ns = at_ns < until_ns ? at_ns : until_ns;
				fds[2 + 2 * i + (size_t)k] = watch(&ways[k], &ways[1 - k]);
			}
		}
		wait_for(fds, 2 + 2 * n_links, until_ns);
		if (fds[0].revents != 0)
			return;
		for (size_t i = n_links; i-- > 0;) {
			turn(links[i], &fds[2 + 2 * i], clock_ns());
			if (links[i]->ways[0].over && links[i]->ways[1].over)
				close_link(i);
		}
		if (fds[1].revents != 0)
			open_link(listener, server);
	}
}

int main(int argc, char *argv[])
{
	if (argc != 3)
		return EXIT_FAILURE;
	struct sockaddr_in here = { .sin_family = AF_INET }, server = here;
	socklen_t size = sizeof here;
	here.sin_addr.s_addr = server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server.sin_port = htons((uint16_t)atoi(argv[1]));
	delay_ns = atoll(argv[2]) * 1000;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&here, size) != 0 ||
	    listen(listener, SOMAXCONN) != 0 ||
	    getsockname(listener, (struct sockaddr *)&here, &size) != 0)
		fail("listen");
	(void)prctl(PR_SET_TIMERSLACK, 1);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)printf("%d\n", ntohs(here.sin_port));
	(void)fflush(stdout);
	serve(listener, &server);
	return EXIT_SUCCESS;
}
