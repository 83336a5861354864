/* The way through a jump host; ssh_relay.h. */
#define LOG_AREA "meal"
#include "ssh_relay.h"

#include <errno.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define UP_BYTES ((size_t)64 << 10)
#define DOWN_MAX \
	(2 * SSH_READ_BYTES) /* what is read at a time may wait, and then no more is read */

struct ssh_relay {
	struct ssh_pool *pool;
	struct ssh_host *jump;
	struct ssh_channel *channel; /* NULL: it has ended */
	ssh_relay_fn *ready;         /* NULL: told, or nobody waits */
	void *ctx;
	char *to_host;
	int fd; /* our end of the socket; -1: closed */
	uv_poll_t poll;
	bool watched, closing;
	bool sending; /* up is with the channel */
	struct mer_buf down;
	char up[UP_BYTES];
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void relay_free(struct ssh_relay *r)
{
	struct ssh_pool *pool = r->pool;
	mer_buf_release(&r->down);
	free(r->to_host);
	free(r);
	ssh_pool_part_gone(pool);
}

static void on_poll_closed(uv_handle_t *handle)
{
	relay_free(handle->data);
}

void ssh_relay_free(struct ssh_relay *r)
{
	if (r->closing)
		return;
	r->closing = true;
	if (r->channel != NULL)
		ssh_channel_close(r->channel);
	r->channel = NULL;
	if (r->watched)
		uv_close((uv_handle_t *)&r->poll, on_poll_closed);
	if (r->fd >= 0)
		(void)close(r->fd);
	if (!r->watched)
		relay_free(r);
}

void ssh_relay_leave(struct ssh_relay *r)
{
	r->ready = NULL;
}

static void watch(struct ssh_relay *r)
{
	int events = (r->sending ? 0 : UV_READABLE) | (r->down.len > 0 ? UV_WRITABLE : 0);
	if (events == 0)
		(void)uv_poll_stop(&r->poll);
	else
		(void)uv_poll_start(&r->poll, events, on_poll);
}

/* Its socket is gone, on either side. */
static void send_down(struct ssh_relay *r)
{
	size_t at = 0;
	while (at < r->down.len) {
		ssize_t n = send(r->fd, r->down.ptr + at, r->down.len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			at += (size_t)n;
		} else if (errno == EAGAIN) {
			break;
		} else if (errno != EINTR) {
			at = r->down.len; /* who reads it has left; that shows itself in the reading */
		}
	}
	mer_buf_drop(&r->down, at);
	ssh_channel_pause(r->channel, r->down.len > 0);
	watch(r);
}

static void read_up(struct ssh_relay *r)
{
	ssize_t n = recv(r->fd, r->up, sizeof r->up, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ssh_relay_free(r);
		return;
	}
	r->sending = true;
	meal_queue_add(&r->channel->queue, (struct mer_str){ r->up, (size_t)n }, r);
	ssh_channel_push(r->channel);
	watch(r);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct ssh_relay *r = poll->data;
	if ((events & UV_WRITABLE) != 0)
		send_down(r);
	if (status < 0 || (events & UV_READABLE) != 0)
		read_up(r);
}

/* --- the channel ------------------------------------------------------------------------------------ */

static void tell(struct ssh_relay *r, int fd, const char *problem)
{
	ssh_relay_fn *ready = r->ready;
	r->ready = NULL;
	if (ready != NULL)
		ready(r->ctx, fd, problem, r->jump->refused);
}

static void on_open(void *ctx)
{
	struct ssh_relay *r = ctx;
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		tell(r, -1, strerror(errno));
		ssh_relay_free(r);
		return;
	}
	r->fd = pair[0];
	if (uv_poll_init(r->pool->loop, &r->poll, r->fd) != 0) {
		(void)close(pair[1]);
		tell(r, -1, "it cannot be watched");
		ssh_relay_free(r);
		return;
	}
	r->poll.data = r;
	r->watched = true;
	watch(r);
	tell(r, pair[1], NULL);
}

static void on_data(void *ctx, enum meal_stream stream, const char *bytes, size_t n)
{
	struct ssh_relay *r = ctx;
	if (stream != MEAL_STDOUT || r->fd < 0)
		return;
	mer_buf_add(&r->down, bytes, n);
	if (mer_buf_check(&r->down, NULL) != MER_OK)
		ssh_relay_free(r);
	else
		send_down(r);
}

static void on_eof(void *ctx)
{
	ssh_relay_free(ctx); /* no server says goodbye by halves */
}

static void on_drained(void *ctx)
{
	struct ssh_relay *r = ctx;
	r->sending = false;
	watch(r);
}

static void on_ended(void *ctx, const char *problem, int exit_code)
{
	struct ssh_relay *r = ctx;
	(void)exit_code;
	r->channel = NULL;
	tell(r, -1, problem != NULL ? problem : "it was closed");
	ssh_relay_free(r);
}

static const struct ssh_channel_events events = {
	.open = on_open,
	.data = on_data,
	.eof = on_eof,
	.drained = on_drained,
	.ended = on_ended,
};

/* --- where it leads --------------------------------------------------------------------------------- */

/* The parts of a hop: [user@]host[:port], or as ssh://; what ssh -G has accepted. */
static void split_hop(char *hop, char **user, char **host, int64_t *port)
{
	static const char scheme[] = "ssh://";
	if (strncmp(hop, scheme, strlen(scheme)) == 0)
		hop += strlen(scheme);
	char *at = strrchr(hop, '@');
	*user = at != NULL ? hop : NULL;
	*host = at != NULL ? at + 1 : hop;
	if (at != NULL)
		*at = '\0';
	char *end = **host == '[' ? strchr(*host, ']') : NULL;
	char *colon = strrchr(end != NULL ? end : *host, ':');
	if (colon != NULL && (end != NULL || strchr(*host, ':') == colon)) {
		*colon = '\0';
		if (mer_parse_i64(colon + 1, port, NULL) != MER_OK)
			*port = 0; /* as if none were said */
	}
	if (end != NULL) {
		*end = '\0';
		*host += 1;
	}
}

/* As ssh has it, its own configuration counts for it, and none of the options of the server behind it. */
struct ssh_host *ssh_relay_through(const struct ssh_host *host, const struct ssh_config *config)
{
	MER_AUTO(mer_text_done) char *hops = strdup(config->proxy_jump);
	if (hops == NULL)
		return NULL;
	char *comma = strrchr(hops, ','), *hop = comma != NULL ? comma + 1 : hops, *user, *name;
	if (comma != NULL)
		*comma = '\0';
	MER_AUTO(mer_text_done)
	char *before = comma != NULL ? mer_text_new("ProxyJump=%s", hops) : NULL;
	const char *const options[] = { before, NULL };
	int64_t port = 0;
	split_hop(hop, &user, &name, &port);
	const struct mer_remote jump = {
		.server = name,
		.host = name,
		.user = user != NULL ? user : "",
		.port = port,
		.config = host->remote->config,
		.options = options,
		.script = "",
		.env = host->remote->env,
		.transport = MER_TRANSPORT_AUTO,
	};
	return ssh_pool_host(host->pool, &jump);
}

bool ssh_relay_is_there(const struct ssh_relay *r)
{
	return r->channel != NULL && r->channel->session != NULL;
}

struct ssh_relay *ssh_relay_new(struct ssh_host *jump, const struct ssh_config *config,
                                ssh_relay_fn *ready, void *ctx, struct mer_error *err)
{
	struct ssh_relay *r = calloc(1, sizeof *r);
	if (r == NULL || (r->to_host = strdup(config->hostname)) == NULL) {
		free(r);
		(void)mer_fail(err, MER_ENOMEM, "out of memory");
		return NULL;
	}
	const struct ssh_channel_want want = { .to_host = r->to_host, .to_port = (int)config->port };
	r->pool = jump->pool;
	r->jump = jump;
	r->ready = ready;
	r->ctx = ctx;
	r->fd = -1;
	mer_buf_init(&r->down, DOWN_MAX);
	r->channel = ssh_channel_new(jump, &want, &events, r);
	if (r->channel == NULL) {
		free(r->to_host);
		free(r);
		(void)mer_fail(err, MER_ENOMEM, "out of memory");
		return NULL;
	}
	r->pool->parts++;
	return r;
}
