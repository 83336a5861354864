/* Writing stdout without waiting for its reader. */
#include "sink.h"

#include "statusline.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MUCH = 65536, LAZY_MS = 5 };

void sink_init(struct sink *sink, int fd)
{
	*sink = (struct sink){ .fd = fd, .twin = -1, .terminal = isatty(fd) == 1 };
	mer_buf_init(&sink->buf, PTRDIFF_MAX);
}

/* --- writing ------------------------------------------------------------------------------ */

/* As write(2), but -1 with EAGAIN where it would wait. */
static ssize_t write_some(const struct sink *sink, const char *bytes, size_t n)
{
	struct pollfd ready = { .fd = sink->fd, .events = POLLOUT };
	switch (sink->way) {
	case SINK_TWIN: return write(sink->twin, bytes, n);
	case SINK_SEND: return send(sink->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	case SINK_PIECE:
		if (poll(&ready, 1, 0) == 0) {
			errno = EAGAIN;
			return -1;
		}
		return write(sink->fd, bytes, n < PIPE_BUF ? n : PIPE_BUF);
	case SINK_PLAIN: break;
	}
	return write(sink->fd, bytes, n);
}

/* Writes until all is written or it would wait; gives how much. Sets gone or error. */
static size_t write_most(struct sink *sink, const char *bytes, size_t n)
{
	size_t at = 0;
	if (sink->terminal)
		statusline_erase();
	while (at < n) {
		ssize_t done = write_some(sink, bytes + at, n - at);
		if (done >= 0) {
			at += (size_t)done;
		} else if (errno == EAGAIN && sink->way == SINK_PLAIN) {
			/* Somebody else made it so; a file never does. */
			struct pollfd ready = { .fd = sink->fd, .events = POLLOUT };
			(void)poll(&ready, 1, -1);
		} else if (errno == EAGAIN) {
			break;
		} else if (errno != EINTR) {
			sink->gone = errno == EPIPE || errno == ECONNRESET;
			sink->error = sink->gone ? 0 : errno;
			break;
		}
	}
	return at;
}

static bool is_dead(const struct sink *sink)
{
	return sink->gone || sink->error != 0;
}

static void wait_for_reader(struct sink *sink, bool wait)
{
	if (sink->waiting == wait)
		return;
	sink->waiting = wait;
	if (wait) {
		watch_start(&sink->watch);
		return;
	}
	watch_stop(&sink->watch);
	if (sink->on_drain != NULL)
		sink->on_drain(sink->ctx);
}

void sink_flush(struct sink *sink)
{
	if (sink->loop != NULL) {
		(void)uv_prepare_stop(&sink->soon);
		(void)uv_timer_stop(&sink->late);
	}
	if (sink->buf.status != MER_OK)
		sink->error = ENOMEM;
	if (!is_dead(sink) && sink->buf.len > 0)
		mer_buf_drop(&sink->buf, write_most(sink, sink->buf.ptr, sink->buf.len));
	if (is_dead(sink))
		mer_buf_clear(&sink->buf);
	wait_for_reader(sink, sink->buf.len > 0);
}

void sink_drop(struct sink *sink)
{
	mer_buf_clear(&sink->buf);
	sink_flush(sink);
}

static void on_writable(void *ctx)
{
	sink_flush(ctx);
}

static void on_soon(uv_prepare_t *handle)
{
	sink_flush(handle->data);
}

static void on_late(uv_timer_t *handle)
{
	sink_flush(handle->data);
}

void sink_added(struct sink *sink)
{
	if (sink->waiting && !is_dead(sink))
		return;
	if (sink->buf.len >= MUCH || is_dead(sink))
		sink_flush(sink);
	else if (sink->loop != NULL && sink->lazy && !uv_is_active((uv_handle_t *)&sink->late))
		(void)uv_timer_start(&sink->late, on_late, LAZY_MS, 0);
	else if (sink->loop != NULL && !sink->lazy)
		(void)uv_prepare_start(&sink->soon, on_soon);
}

void sink_add(struct sink *sink, const void *bytes, size_t n)
{
	const char *from = bytes;
	if (n >= MUCH && !sink->waiting) { /* no need to copy what goes at once */
		sink_flush(sink);
		if (!sink->waiting && !is_dead(sink)) {
			size_t done = write_most(sink, from, n);
			from += done;
			n -= done;
		}
	}
	if (is_dead(sink))
		n = 0;
	mer_buf_add(&sink->buf, from, n);
	sink_added(sink);
}

/* --- life --------------------------------------------------------------------------------- */

/* A second descriptor for the same pipe or terminal, whose flags are its own; -1: none. */
static int open_twin(int fd)
{
	char path[32];
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

static enum sink_way choose_way(struct sink *sink)
{
	struct stat info;
	if (fstat(sink->fd, &info) < 0)
		return SINK_PLAIN;
	if (S_ISSOCK(info.st_mode))
		return SINK_SEND;
	if (!S_ISFIFO(info.st_mode) && isatty(sink->fd) == 0)
		return SINK_PLAIN;
	sink->twin = open_twin(sink->fd);
	return sink->twin >= 0 ? SINK_TWIN : SINK_PIECE;
}

enum mer_status sink_attach(struct sink *sink, uv_loop_t *loop, struct mer_error *err)
{
	enum sink_way way = choose_way(sink);
	int fd = way == SINK_TWIN ? sink->twin : sink->fd;
	if (way == SINK_PLAIN) {
		sink->watch = (struct watch){ .always = true, .closed = true };
	} else {
		enum mer_status st =
			watch_open(&sink->watch, loop, fd, WATCH_WRITE, on_writable, sink, err);
		if (st != MER_OK)
			return st;
	}
	(void)uv_prepare_init(loop, &sink->soon);
	(void)uv_timer_init(loop, &sink->late);
	sink->soon.data = sink->late.data = sink;
	sink->open_handles = 2;
	sink->way = way;
	sink->loop = loop;
	return MER_OK;
}

static void on_closed(uv_handle_t *handle)
{
	struct sink *sink = handle->data;
	sink->open_handles--;
}

void sink_close(struct sink *sink)
{
	if (sink->loop == NULL)
		return;
	uv_close((uv_handle_t *)&sink->soon, on_closed);
	uv_close((uv_handle_t *)&sink->late, on_closed);
	watch_close(&sink->watch);
}

void sink_release(struct sink *sink)
{
	mer_buf_release(&sink->buf);
	if (sink->twin >= 0)
		(void)close(sink->twin);
	sink->twin = -1;
}
