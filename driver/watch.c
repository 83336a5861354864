/* Waiting for shared descriptors by an epoll instance between them and the loop. */
#include "watch.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct watch *watch = poll->data;
	(void)status; /* whoever reads or writes meets the error */
	(void)events;
	watch->fn(watch->ctx);
}

static void on_closed(uv_handle_t *handle)
{
	struct watch *watch = handle->data;
	watch->closed = true;
}

enum mer_status watch_open(struct watch *watch, uv_loop_t *loop, int fd, enum watch_for what,
                           watch_fn *fn, void *ctx, struct mer_error *err)
{
	*watch = (struct watch){ .fd = -1, .fn = fn, .ctx = ctx, .closed = true };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		return mer_fail(err, MER_EIO, "cannot wait for a descriptor: %s", strerror(errno));
	struct epoll_event event = { .events = what == WATCH_READ ? EPOLLIN : EPOLLOUT };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		int cause = errno;
		(void)close(epoll);
		if (cause != EPERM)
			return mer_fail(err, MER_EIO, "cannot wait for a descriptor: %s", strerror(cause));
		watch->always = true;
		return MER_OK;
	}
	int failed = uv_poll_init(loop, &watch->poll, epoll);
	if (failed != 0) {
		(void)close(epoll);
		return mer_fail(err, MER_EIO, "cannot wait for a descriptor: %s", uv_strerror(failed));
	}
	watch->poll.data = watch;
	watch->fd = epoll;
	watch->open = true;
	watch->closed = false;
	return MER_OK;
}

void watch_start(struct watch *watch)
{
	if (watch->open)
		(void)uv_poll_start(&watch->poll, UV_READABLE, on_event);
}

void watch_stop(struct watch *watch)
{
	if (watch->open)
		(void)uv_poll_stop(&watch->poll);
}

void watch_close(struct watch *watch)
{
	if (!watch->open)
		return;
	watch->open = false;
	uv_close((uv_handle_t *)&watch->poll, on_closed);
	(void)close(watch->fd);
	watch->fd = -1;
}
