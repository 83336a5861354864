/* Which channel gets which session; ssh_pool.h. */
#define LOG_AREA "meal"
#include "ssh_pool.h"

#include "ssh_connect.h"

#include <mer/clean.h>
#include <mer/log.h>
#include <mer/remote.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS 10      /* that a session takes unless it says otherwise: sshd's MaxSessions */
#define LOGINS 4         /* to one place at a time; sshd drops some of more than 10 (MaxStartups) */
#define TICK_MS 1000     /* between two looks for what took too long */
#define IDLE_MS 60000    /* then a session without channels is closed */
#define CONNECT_MS 10000 /* until the configuration says otherwise */
#define CLOSE_MS 30000   /* a server has so long to answer that a channel is closed */
#define BACKOFF_MS 250   /* before the second attempt after a failure, */
#define BACKOFF_MAX_MS 4000 /* doubled each time up to this */

/* --- hosts -------------------------------------------------------------------------------------- */

static void host_free(struct ssh_host *host)
{
	mer_remote_free(host->remote);
	free(host->place);
	free(host);
}

const struct ssh_host *ssh_pool_find(const struct ssh_pool *pool, const struct mer_remote *remote)
{
	const struct ssh_host *host;
	TAILQ_FOREACH(host, &pool->hosts, link)
	if (mer_remote_same(host->remote, remote))
		break;
	return host;
}

static void on_assign(void *ctx)
{
	ssh_host_assign(ctx);
}

struct ssh_host *ssh_pool_host(struct ssh_pool *pool, const struct mer_remote *remote)
{
	const struct ssh_host *known = ssh_pool_find(pool, remote);
	if (known != NULL)
		return (struct ssh_host *)(uintptr_t)known;
	struct ssh_host *host = calloc(1, sizeof *host);
	if (host == NULL)
		return NULL;
	host->pool = pool;
	host->due.fn = on_assign;
	host->due.ctx = host;
	host->connect_ms = CONNECT_MS;
	TAILQ_INIT(&host->waiting);
	TAILQ_INIT(&host->sessions);
	TAILQ_INIT(&host->connects);
	host->place = mer_text_new("%s:%lld", remote->host, (long long)remote->port);
	if (host->place == NULL || mer_remote_copy(remote, &host->remote, NULL) != MER_OK) {
		host_free(host);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&pool->hosts, host, link);
	return host;
}

/* --- who gets what ------------------------------------------------------------------------------ */

static size_t channels_max(const struct ssh_host *host)
{
	return host->max > 0 ? host->max : CHANNELS;
}

/* Half of a session's channels are for orders to the workers on the other half. */
static size_t workers_max(const struct ssh_host *host)
{
	size_t all = channels_max(host);
	return all > 1 ? all / 2 : 1;
}

/* Where one whose worker has said all is only to be closed by the server, which is a matter of moments, no session
 * has to be made for the next. */
static bool has_room(const struct ssh_session *s)
{
	const struct ssh_channel *channel;
	size_t busy = 0;
	TAILQ_FOREACH(channel, &s->channels, link)
	busy += !channel->heard_eof;
	return busy < workers_max(s->host) && s->n_channels < channels_max(s->host);
}

static bool wants_only_login(const struct ssh_channel *channel)
{
	return channel->want.command == NULL && channel->want.to_host == NULL;
}

static struct ssh_session *find_session(struct ssh_host *host, const struct ssh_channel *channel)
{
	struct ssh_session *s;
	TAILQ_FOREACH(s, &host->sessions, link)
	if (!ssh_session_is_stuck(s) &&
	    (wants_only_login(channel) ? s->born_us >= channel->asked_us : has_room(s)) &&
	    ssh_session_lives(s))
		return s;
	return NULL;
}

/* Those that log in to a place, whatever it is called. */
static size_t logins_at(const struct ssh_pool *pool, const char *place)
{
	const struct ssh_host *host;
	size_t n = 0;
	TAILQ_FOREACH(host, &pool->hosts, link)
	if (strcmp(host->place, place) == 0)
		n += host->logging_in;
	return n;
}

static void connect_more(struct ssh_host *host)
{
	const struct ssh_channel *channel;
	size_t waiting = 0;
	TAILQ_FOREACH(channel, &host->waiting, link)
	waiting++;
	while (host->n_connects * workers_max(host) < waiting &&
	       logins_at(host->pool, host->place) < LOGINS && mer_clock_ms() >= host->not_before_ms) {
		size_t before = host->n_connects;
		ssh_connect_begin(host);
		if (host->n_connects == before) /* it failed, and all that wait were told */
			return;
	}
}

static void fail_waiting(struct ssh_host *host, const char *why)
{
	struct ssh_channel *channel;
	while ((channel = TAILQ_FIRST(&host->waiting)) != NULL)
		ssh_channel_fail(channel, why);
}

void ssh_host_assign(struct ssh_host *host)
{
	struct ssh_channel *channel, *next;
	struct ssh_session *s;
	for (channel = TAILQ_FIRST(&host->waiting); channel != NULL; channel = next) {
		next = TAILQ_NEXT(channel, link);
		s = find_session(host, channel);
		if (s == NULL)
			continue;
		if (wants_only_login(channel)) {
			ssh_channel_met(channel, s);
			next = TAILQ_FIRST(&host->waiting);
			continue;
		}
		TAILQ_REMOVE(&host->waiting, channel, link);
		ssh_session_take(s, channel);
	}
	if (host->refused)
		fail_waiting(host, host->reason);
	else if (!host->pool->closing)
		connect_more(host);
}

void ssh_host_assign_soon(struct ssh_host *host)
{
	ssh_pool_defer(host->pool, &host->due);
}

void ssh_host_refused(struct ssh_host *host, struct ssh_channel *channel)
{
	struct ssh_session *s = channel->session;
	size_t others = s->n_channels - 1;
	char why[400];
	MER_DEBUG("channel refused server=%s open=%zu", host->remote->server, others);
	ssh_session_drop(s, channel);
	TAILQ_INSERT_HEAD(&host->waiting, channel, link);
	if (others > 0)
		host->max = others;
	(void)snprintf(why, sizeof why,
	               "server '%s' refuses to run anything for us, or to connect further",
	               host->remote->server);
	if (channel->left)
		ssh_channel_close(channel);
	else if ((others == 0 && !s->has_opened) || channel->want.only != NULL)
		ssh_channel_fail(channel, why);
	if (others == 0) /* it takes no second one, be it that the first is closed */
		ssh_session_leave(s);
	ssh_host_assign(host);
}

/* --- connects ------------------------------------------------------------------------------------ */

static void assign_at_place(struct ssh_host *one)
{
	struct ssh_host *host;
	TAILQ_FOREACH(host, &one->pool->hosts, link)
	if (strcmp(host->place, one->place) == 0)
		ssh_host_assign(host);
}

void ssh_host_connected(struct ssh_host *host, struct ssh_login *login)
{
	struct ssh_session *s;
	struct mer_error err;
	if (ssh_session_new(host, login, &s, &err) != MER_OK) {
		ssh_host_not_connected(host, err.message);
		return;
	}
	MER_DEBUG("session server=%s how=%s connect_us=%lld kex_us=%lld auth_us=%lld",
	          host->remote->server, s->how, (long long)s->times.connect_us,
	          (long long)s->times.kex_us, (long long)s->times.auth_us);
	host->failures = 0;
	host->not_before_ms = 0;
	assign_at_place(host);
}

void ssh_host_not_connected(struct ssh_host *host, const char *why)
{
	int64_t wait = BACKOFF_MS;
	for (int i = 1; i < host->failures && wait < BACKOFF_MAX_MS; i++)
		wait *= 2;
	if (host->failures++ > 0)
		host->not_before_ms = mer_clock_ms() + wait;
	fail_waiting(host, why);
	assign_at_place(host);
}

void ssh_host_openssh(struct ssh_host *host, const char *reason)
{
	host->refused = true;
	(void)snprintf(host->reason, sizeof host->reason, "%s", reason);
	MER_DEBUG("openssh server=%s why=%s", host->remote->server, reason);
	fail_waiting(host, reason);
	assign_at_place(host);
}

/* --- time ---------------------------------------------------------------------------------------- */

static void look_at(struct ssh_session *s, int64_t now_us)
{
	const struct ssh_channel *channel;
	const struct ssh_host *host = s->host;
	TAILQ_FOREACH(channel, &s->channels, link)
	{
		int64_t took_ms = channel->since_us != 0 ? (now_us - channel->since_us) / 1000 : 0;
		/* A far host may take its time, and what else is on that session is not to blame for it. */
		bool is_far = channel->want.to_host != NULL && (!channel->left || s->n_channels > 1);
		bool opens = channel->state == SSH_CHANNEL_OPENS && !is_far;
		bool closes = channel->state == SSH_CHANNEL_CLOSES;
		if ((opens && took_ms > host->connect_ms) || (closes && took_ms > CLOSE_MS)) {
			ssh_session_lose(s, "the server does not answer");
			return;
		}
	}
	if (s->n_channels == 0 && now_us / 1000 - s->idle_since_ms > IDLE_MS)
		ssh_session_leave(s);
}

static void on_tick(uv_timer_t *tick)
{
	struct ssh_pool *pool = tick->data;
	struct ssh_host *host;
	struct ssh_session *s;
	int64_t now_us = mer_clock_us();
	TAILQ_FOREACH(host, &pool->hosts, link)
	{
		TAILQ_FOREACH(s, &host->sessions, link)
		{
			look_at(s, now_us);
			ssh_session_tick(s);
		}
		ssh_connect_tick(host, now_us / 1000);
		if (!TAILQ_EMPTY(&host->waiting))
			ssh_host_assign(host);
	}
}

static void on_due(uv_idle_t *handle)
{
	struct ssh_pool *pool = handle->data;
	struct ssh_due *due;
	while ((due = TAILQ_FIRST(&pool->dues)) != NULL) {
		TAILQ_REMOVE(&pool->dues, due, link);
		due->is_due = false;
		due->fn(due->ctx);
	}
	(void)uv_idle_stop(handle);
}

void ssh_pool_defer(struct ssh_pool *pool, struct ssh_due *due)
{
	if (due->is_due)
		return;
	due->is_due = true;
	TAILQ_INSERT_TAIL(&pool->dues, due, link);
	(void)uv_idle_start(&pool->due, on_due);
}

/* --- life ------------------------------------------------------------------------------------------ */

static void pool_free(struct ssh_pool *pool)
{
	struct ssh_host *host;
	while ((host = TAILQ_FIRST(&pool->hosts)) != NULL) {
		TAILQ_REMOVE(&pool->hosts, host, link);
		host_free(host);
	}
	free(pool->in);
	free(pool->data);
	free(pool);
}

static void on_handle_closed(uv_handle_t *handle)
{
	ssh_pool_part_gone(handle->data);
}

void ssh_pool_part_gone(struct ssh_pool *pool)
{
	enum { HANDLES = 2 };
	if (--pool->parts > HANDLES || !pool->closing)
		return;
	if (pool->parts == HANDLES) {
		uv_close((uv_handle_t *)&pool->due, on_handle_closed);
		uv_close((uv_handle_t *)&pool->tick, on_handle_closed);
	} else if (pool->parts == 0) {
		pool->closed(pool->ctx);
		pool_free(pool);
	}
}

enum mer_status ssh_pool_open(struct uv_loop_s *loop, struct ssh_pool **out, struct mer_error *err)
{
	enum { HANDLES = 2 };
	struct ssh_pool *pool = calloc(1, sizeof *pool);
	if (pool == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	TAILQ_INIT(&pool->hosts);
	TAILQ_INIT(&pool->dues);
	pool->loop = loop;
	pool->in = malloc(SSH_READ_BYTES);
	pool->data = malloc(SSH_READ_BYTES);
	if (pool->in == NULL || pool->data == NULL) {
		free(pool->in);
		free(pool->data);
		free(pool);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	(void)uv_idle_init(loop, &pool->due);
	(void)uv_timer_init(loop, &pool->tick);
	pool->due.data = pool->tick.data = pool;
	pool->parts = HANDLES;
	(void)uv_timer_start(&pool->tick, on_tick, TICK_MS, TICK_MS);
	uv_unref((uv_handle_t *)&pool->tick);
	*out = pool;
	return MER_OK;
}

void ssh_pool_close(struct ssh_pool *pool, void (*closed)(void *ctx), void *ctx)
{
	struct ssh_host *host;
	struct ssh_session *s;
	pool->closing = true;
	pool->closed = closed;
	pool->ctx = ctx;
	TAILQ_FOREACH(host, &pool->hosts, link)
	{
		TAILQ_FOREACH(s, &host->sessions, link)
		ssh_session_leave(s);
		ssh_connect_cancel(host);
	}
	pool->parts++;
	ssh_pool_part_gone(pool);
}
