/* A session: its socket, its buffers and its turns; ssh_session.h. */
#define LOG_AREA "meal"
#include "ssh_session.h"

#include "ssh_pool.h"

#include <errno.h>
#include <mer/log.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define OUT_SOFT ((size_t)512 << 10) /* payload that waits to be sent */
#define OUT_HARD ((size_t)4 << 20)   /* then nothing is read, since what is read is answered */
#define OUT_MAX ((size_t)64 << 20)
#define KEPT_MAX SSH_READ_BYTES     /* what a server may say while nothing is asked of it */
#define HELD_MAX ((size_t)32 << 20) /* by libssh2, beside what workers have said */
#define READS_A_TURN 4              /* before the loop's other handles have their turn */

static void on_poll(uv_poll_t *poll, int status, int events);

/* --- bytes ------------------------------------------------------------------------------------ */

static ssize_t give_bytes(libssh2_socket_t fd, void *buffer, size_t length, int flags,
                          void **abstract)
{
	struct ssh_session *s = *abstract;
	(void)fd, (void)flags;
	if (s->dead)
		return -ECONNRESET;
	if (s->in.len == 0)
		return -EAGAIN;
	size_t n = s->in.len < length ? s->in.len : length;
	memcpy(buffer, s->in.ptr, n);
	s->in.ptr += n;
	s->in.len -= n;
	return (ssize_t)n;
}

static ssize_t take_bytes(libssh2_socket_t fd, const void *buffer, size_t length, int flags,
                          void **abstract)
{
	struct ssh_session *s = *abstract;
	(void)fd, (void)flags;
	if (s->dead)
		return -EPIPE;
	mer_buf_add(&s->out, buffer, length);
	return mer_buf_check(&s->out, NULL) == MER_OK ? (ssize_t)length : -ENOMEM;
}

static size_t waiting(const struct ssh_session *s)
{
	return s->out.len - s->out_at;
}

bool ssh_session_has_room(const struct ssh_session *s)
{
	return !s->dead && waiting(s) < OUT_SOFT;
}

static void watch(struct ssh_session *s)
{
	bool deaf = waiting(s) > OUT_HARD || s->in.len >= KEPT_MAX;
	int events = (deaf ? 0 : UV_READABLE) | (waiting(s) > 0 ? UV_WRITABLE : 0);
	if (s->dead || events == s->events)
		return;
	s->events = events;
	if (events == 0)
		(void)uv_poll_stop(&s->poll);
	else
		(void)uv_poll_start(&s->poll, events, on_poll);
}

void ssh_session_flush(struct ssh_session *s)
{
	while (waiting(s) > 0 && !s->dead) {
		ssize_t n = send(s->fd, s->out.ptr + s->out_at, waiting(s), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0)
			s->out_at += (size_t)n;
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR)
			ssh_session_lose(s, strerror(errno));
	}
	if (waiting(s) == 0) {
		mer_buf_clear(&s->out);
		s->out_at = 0;
	} else if (s->out_at > OUT_SOFT) {
		mer_buf_drop(&s->out, s->out_at);
		s->out_at = 0;
	}
	watch(s);
}

/* --- turns ------------------------------------------------------------------------------------ */

void ssh_session_lose(struct ssh_session *s, const char *why)
{
	if (s->dead)
		return;
	MER_DEBUG("session lost server=%s why=%s", s->host->remote->server, why);
	s->dead = true;
	(void)snprintf(s->why, sizeof s->why, "%s", why);
	ssh_session_kick(s);
}

void ssh_session_fail(struct ssh_session *s, int error)
{
	char *text = NULL;
	char why[160];
	(void)libssh2_session_last_error(s->ssh, &text, NULL, 0);
	(void)snprintf(why, sizeof why, "libssh2 error %d: %s", error, text != NULL ? text : "");
	ssh_session_lose(s, why);
}

static void on_closed(uv_handle_t *handle)
{
	struct ssh_session *s = handle->data;
	if (--s->handles > 0)
		return;
	struct ssh_pool *pool = s->pool;
	mer_buf_release(&s->kept);
	mer_buf_release(&s->out);
	free(s);
	ssh_pool_part_gone(pool);
}

/* What is left of a session that is dead: its channels are told, and may ask for another one. */
static void bury(struct ssh_session *s)
{
	struct ssh_host *host = s->host;
	struct ssh_channel *channel;
	if (s->freed)
		return;
	s->freed = true;
	TAILQ_REMOVE(&host->sessions, s, link);
	/* Its channels of libssh2 go with it; nothing blocks, as nothing can be read or written. */
	ssh_heap_free(s->ssh);
	s->ssh = NULL;
	uv_close((uv_handle_t *)&s->poll, on_closed);
	uv_close((uv_handle_t *)&s->turn, on_closed);
	(void)close(s->fd);
	while ((channel = TAILQ_FIRST(&s->channels)) != NULL) {
		ssh_session_drop(s, channel);
		ssh_channel_lost(channel, s->why);
	}
	ssh_host_assign(host);
}

/* Libssh2 keeps what nobody asks for, whatever of it a server sends. What workers have said may wait for who
 * reads it, as small pieces of which each is dearer than what it holds. */
static bool holds_too_much(const struct ssh_session *s)
{
	const struct ssh_channel *channel;
	unsigned long said;
	size_t most = HELD_MAX;
	if (s->heap->held <= most)
		return false;
	TAILQ_FOREACH(channel, &s->channels, link)
	if (channel->ssh != NULL) {
		(void)libssh2_channel_window_read_ex(channel->ssh, &said, NULL);
		most += 2 * said;
	}
	return s->heap->held > most;
}

/* Libssh2 takes all that was read when it is asked for anything. */
static void turn(struct ssh_session *s)
{
	struct ssh_channel *channel, *next;
	size_t before;
	do {
		before = s->in.len;
		for (channel = TAILQ_FIRST(&s->channels); channel != NULL && !s->dead; channel = next) {
			next = TAILQ_NEXT(channel, link);
			ssh_channel_turn(channel);
		}
	} while (s->in.len > 0 && s->in.len < before && !s->dead);
	if (!s->dead && holds_too_much(s))
		ssh_session_lose(s, "it sends what nobody has asked for");
	ssh_session_flush(s);
}

void ssh_session_ping(struct ssh_session *s)
{
	enum { AT_MOST_EACH_S = 2 };
	size_t before = s->out.len;
	if (s->n_channels > 1)
		return;
	libssh2_keepalive_config(s->ssh, 1, AT_MOST_EACH_S);
	if (libssh2_keepalive_send(s->ssh, NULL) == 0 && s->out.len > before)
		s->pinged_us = mer_clock_us();
}

/* By its own count, since all of mer may be stopped for a while. */
void ssh_session_tick(struct ssh_session *s)
{
	bool listens = (s->events & UV_READABLE) != 0;
	if (s->dead || s->n_channels == 0 || s->alive_s == 0 || !listens) {
		s->quiet_s = 0;
		return;
	}
	if (++s->quiet_s > s->alive_s * (s->alive_count + 1)) {
		ssh_session_lose(s, "nothing is heard of the server");
	} else if (s->quiet_s % s->alive_s == 0) {
		libssh2_keepalive_config(s->ssh, 1, 1);
		(void)libssh2_keepalive_send(s->ssh, NULL);
		ssh_session_flush(s);
	}
}

static void take_answer(struct ssh_session *s)
{
	struct ssh_channel *channel;
	int64_t took = mer_clock_us() - s->pinged_us;
	if (s->pinged_us == 0)
		return;
	s->pinged_us = 0;
	if (s->rtt_us == 0 || took < s->rtt_us)
		s->rtt_us = took > 0 ? took : 1;
	MER_DEBUG("answer server=%s us=%lld", s->host->remote->server, (long long)took);
	TAILQ_FOREACH(channel, &s->channels, link)
	ssh_channel_delay(channel, s->rtt_us);
}

/* What was not taken is kept, as the pool's buffer is everybody's. */
static void keep(struct ssh_session *s)
{
	if (s->in.len == 0) {
		mer_buf_clear(&s->kept);
		s->in_kept = false;
	} else if (!s->in_kept) {
		mer_buf_clear(&s->kept);
		mer_buf_add(&s->kept, s->in.ptr, s->in.len);
		if (mer_buf_check(&s->kept, NULL) != MER_OK)
			ssh_session_lose(s, "out of memory");
		s->in = (struct mer_str){ s->kept.ptr, s->kept.len };
		s->in_kept = true;
	}
	watch(s);
}

bool ssh_session_lives(struct ssh_session *s)
{
	char byte;
	if (!s->dead && recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		ssh_session_lose(s, "the server closed it");
	return !s->dead;
}

static void on_turn(uv_idle_t *handle)
{
	struct ssh_session *s = handle->data;
	(void)uv_idle_stop(handle);
	if (!s->dead) {
		turn(s);
		keep(s);
	}
	if (s->dead)
		bury(s);
}

void ssh_session_kick(struct ssh_session *s)
{
	if (!s->freed)
		(void)uv_idle_start(&s->turn, on_turn);
}

/* Reads once. Returns whether there may be more. */
static bool read_socket(struct ssh_session *s)
{
	char *to = s->pool->in;
	size_t n_kept = s->in.len, room = SSH_READ_BYTES - n_kept;
	if (n_kept > 0)
		memcpy(to, s->in.ptr, n_kept);
	ssize_t n = recv(s->fd, to + n_kept, room, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		ssh_session_lose(s, n == 0 ? "the server closed it" : strerror(errno));
		return false;
	}
	s->in = (struct mer_str){ to, n_kept + (size_t)n };
	s->in_kept = false;
	s->quiet_s = 0;
	take_answer(s);
	turn(s);
	keep(s);
	return !s->dead && (size_t)n == room && s->in.len == 0;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct ssh_session *s = poll->data;
	if (status < 0 || (events & UV_READABLE) != 0)
		for (int i = 0; i < READS_A_TURN && read_socket(s); i++)
			;
	if ((events & UV_WRITABLE) != 0 && !s->dead) {
		ssh_session_flush(s);
		turn(s);
		keep(s);
	}
	if (s->dead)
		bury(s);
}

/* --- life -------------------------------------------------------------------------------------- */

/* One without channels does not keep the loop. */
static void set_busy(struct ssh_session *s)
{
	if (s->n_channels > 0) {
		uv_ref((uv_handle_t *)&s->poll);
	} else {
		uv_unref((uv_handle_t *)&s->poll);
		s->idle_since_ms = mer_clock_ms();
	}
}

void ssh_session_take(struct ssh_session *s, struct ssh_channel *channel)
{
	channel->session = s;
	channel->state = SSH_CHANNEL_OPENS;
	channel->since_us = 0;
	TAILQ_INSERT_TAIL(&s->channels, channel, link);
	s->n_channels++;
	set_busy(s);
	ssh_session_kick(s);
}

void ssh_session_drop(struct ssh_session *s, struct ssh_channel *channel)
{
	if (s->opening == channel)
		s->opening = NULL;
	TAILQ_REMOVE(&s->channels, channel, link);
	channel->session = NULL;
	s->n_channels--;
	set_busy(s);
}

bool ssh_session_is_stuck(const struct ssh_session *s)
{
	return s->opening != NULL && s->opening->left && s->opening->want.to_host != NULL;
}

void ssh_session_unload(struct ssh_session *s)
{
	struct ssh_channel *channel, *next;
	for (channel = TAILQ_FIRST(&s->channels); channel != NULL; channel = next) {
		next = TAILQ_NEXT(channel, link);
		if (channel->state != SSH_CHANNEL_OPENS || channel == s->opening || channel->left)
			continue;
		ssh_session_drop(s, channel);
		channel->state = SSH_CHANNEL_WAITS;
		TAILQ_INSERT_TAIL(&s->host->waiting, channel, link);
	}
	ssh_host_assign_soon(s->host);
}

void ssh_session_leave(struct ssh_session *s)
{
	if (s->dead)
		return;
	(void)libssh2_session_disconnect(s->ssh, "");
	ssh_session_flush(s);
	ssh_session_lose(s, "it was left");
}

enum mer_status ssh_session_new(struct ssh_host *host, struct ssh_login *login,
                                struct ssh_session **out, struct mer_error *err)
{
	struct ssh_session *s = calloc(1, sizeof *s);
	int failed = s != NULL ? uv_poll_init(host->pool->loop, &s->poll, login->fd) : 0;
	if (s == NULL || failed != 0) {
		ssh_heap_free(login->session);
		(void)close(login->fd);
		login->session = NULL;
		login->fd = -1;
		free(s);
		return mer_fail(err, MER_ENOMEM, "cannot watch a connection: %s",
		                s == NULL ? "out of memory" : uv_strerror(failed));
	}
	(void)uv_idle_init(host->pool->loop, &s->turn);
	s->host = host;
	s->pool = host->pool;
	s->ssh = login->session;
	s->heap = login->heap;
	s->fd = login->fd;
	s->times = login->times;
	s->alive_s = login->config->alive_s;
	s->alive_count = login->config->alive_count;
	memcpy(s->how, login->how, sizeof s->how);
	s->poll.data = s->turn.data = s;
	s->handles = 2;
	s->born_us = mer_clock_us();
	mer_buf_init(&s->kept, SSH_READ_BYTES);
	mer_buf_init(&s->out, OUT_MAX);
	TAILQ_INIT(&s->channels);
	TAILQ_INSERT_TAIL(&host->sessions, s, link);
	host->pool->parts++;
	*libssh2_session_abstract(s->ssh) = s;
	(void)libssh2_session_callback_set(s->ssh, LIBSSH2_CALLBACK_RECV,
	                                   (void *)(uintptr_t)give_bytes);
	(void)libssh2_session_callback_set(s->ssh, LIBSSH2_CALLBACK_SEND,
	                                   (void *)(uintptr_t)take_bytes);
	libssh2_session_set_blocking(s->ssh, 0);
	set_busy(s);
	watch(s);
	login->session = NULL;
	login->fd = -1;
	*out = s;
	return MER_OK;
}
