/* A carrier over a channel of its own, of a session that workers share; ssh_carrier.h. */
#define LOG_AREA "meal"
#include "ssh_carrier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct carrier {
	struct meal_carrier base;
	struct ssh_pool *pool;
	struct ssh_session *only;    /* its session has to be this one; NULL: any */
	struct ssh_channel *channel; /* NULL: not asked for, or over */
	struct ssh_due due;
	char *command;
	bool started, last, heard_eof;
	bool over; /* how says how; it is to be told */
	bool closing;
	struct meal_exit how;
	int64_t start_us; /* from a session's being there to the command's running */
	struct mer_reach reach;
};

static const struct meal_carrier_ops ops;

static struct carrier *downcast(struct meal_carrier *carrier)
{
	MER_ASSERT(carrier->ops == &ops);
	return (struct carrier *)carrier;
}

static void carrier_free(struct carrier *c)
{
	free(c->command);
	free(c);
}

/* --- what the channel says -------------------------------------------------------------------------- */

static void on_open(void *ctx)
{
	struct carrier *c = ctx;
	c->base.events->prepared(c->base.ctx);
}

static void on_data(void *ctx, enum meal_stream stream, const char *bytes, size_t n)
{
	struct carrier *c = ctx;
	c->base.events->data(c->base.ctx, stream, bytes, n);
}

static void on_eof(void *ctx)
{
	struct carrier *c = ctx;
	if (c->heard_eof || c->closing)
		return;
	c->heard_eof = true;
	c->base.events->eof(c->base.ctx, MEAL_STDERR);
	if (!c->closing)
		c->base.events->eof(c->base.ctx, MEAL_STDOUT);
}

static void on_drained(void *ctx)
{
	(void)ctx;
}

static void tell_end(struct carrier *c)
{
	c->over = false;
	on_eof(c);
	if (!c->closing)
		c->base.events->ended(c->base.ctx, &c->how);
}

static void on_ended(void *ctx, const char *problem, int exit_code)
{
	struct carrier *c = ctx;
	c->channel = NULL;
	if (problem != NULL)
		(void)snprintf(c->how.problem, sizeof c->how.problem, "%s", problem);
	else
		c->how.exit_code = exit_code;
	tell_end(c);
}

static const struct ssh_channel_events channel_events = {
	.open = on_open,
	.data = on_data,
	.eof = on_eof,
	.drained = on_drained,
	.ended = on_ended,
};

static void on_due(void *ctx)
{
	struct carrier *c = ctx;
	if (c->closing) {
		c->base.events->closed(c->base.ctx);
		carrier_free(c);
	} else if (c->over) {
		tell_end(c);
	}
}

/* --- what the front asks ------------------------------------------------------------------------------ */

static enum mer_status start(struct meal_carrier *carrier, struct uv_loop_s *loop,
                             const struct mer_worker_spec *spec, struct mer_error *err)
{
	struct carrier *c = downcast(carrier);
	struct ssh_host *host = c->only != NULL ? c->only->host : ssh_pool_host(c->pool, spec->remote);
	(void)loop;
	bool login = spec->remote->login;
	c->command = strdup(spec->argv[0]);
	const struct ssh_channel_want want = { .command = login ? NULL : c->command, .only = c->only };
	if (host != NULL && c->command != NULL)
		c->channel = ssh_channel_new(host, &want, &channel_events, c);
	if (c->channel == NULL) {
		carrier_free(c);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	c->due.fn = on_due;
	c->due.ctx = c;
	c->started = true;
	return MER_OK;
}

static void go(struct meal_carrier *carrier)
{
	(void)carrier;
}

static void queue(struct meal_carrier *carrier, const struct mer_str pieces[], size_t n, bool last,
                  const void *owner)
{
	const struct carrier *c = downcast(carrier);
	if (c->channel == NULL || c->channel->last)
		return;
	for (size_t i = 0; i < n; i++)
		meal_queue_add(&c->channel->queue, pieces[i], owner);
	c->channel->last = last;
	ssh_channel_push(c->channel);
}

static enum mer_status tell(struct meal_carrier *carrier, struct mer_str bytes)
{
	const struct carrier *c = downcast(carrier);
	if (c->channel == NULL || c->channel->last)
		return MER_OK;
	enum mer_status st = meal_queue_tell(&c->channel->queue, bytes);
	if (st == MER_OK)
		ssh_channel_push(c->channel);
	return st;
}

static void hold(struct meal_carrier *carrier, bool pause)
{
	const struct carrier *c = downcast(carrier);
	if (c->channel != NULL)
		ssh_channel_pause(c->channel, pause);
}

/* There is nobody to be asked; what runs there ends when its channel does. */
static void send_signal(struct meal_carrier *carrier, enum meal_signal signal)
{
	struct carrier *c = downcast(carrier);
	(void)signal;
	if (c->channel == NULL)
		return;
	ssh_channel_close(c->channel);
	c->channel = NULL;
	c->over = true;
	ssh_pool_defer(c->pool, &c->due);
}

static enum mer_status settle(struct meal_carrier *carrier, const void *owner, bool hear)
{
	const struct carrier *c = downcast(carrier);
	(void)hear; /* what has come of stderr was given before what has come of stdout */
	if (c->channel == NULL)
		return MER_OK;
	enum mer_status st = meal_queue_settle(&c->channel->queue, owner);
	if (st != MER_OK)
		send_signal(carrier, MEAL_KILL);
	return st;
}

static int in_flight(struct meal_carrier *carrier)
{
	(void)carrier;
	return -1; /* how much is on its way nobody knows */
}

static void close_carrier(struct meal_carrier *carrier)
{
	struct carrier *c = downcast(carrier);
	if (!c->started) {
		carrier_free(c);
		return;
	}
	if (c->channel != NULL)
		ssh_channel_close(c->channel);
	c->channel = NULL;
	c->closing = true;
	ssh_pool_defer(c->pool, &c->due);
}

static const struct meal_carrier_ops ops = {
	.name = "channel",
	.start = start,
	.go = go,
	.write = queue,
	.tell = tell,
	.pause = hold,
	.signal = send_signal,
	.settle = settle,
	.in_flight = in_flight,
	.close = close_carrier,
};

static struct meal_carrier *carrier_new(struct ssh_pool *pool, struct ssh_session *only)
{
	struct carrier *c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->base.ops = &ops;
	c->pool = pool;
	c->only = only;
	c->how.exit_code = -1;
	return (struct meal_carrier *)c; /* gcc's analyzer would lose sight of &c->base */
}

struct meal_carrier *ssh_carrier_new(struct ssh_pool *pool)
{
	return carrier_new(pool, NULL);
}

struct meal_carrier *ssh_carrier_beside(struct meal_carrier *other)
{
	const struct carrier *c = downcast(other);
	bool there = c->channel != NULL && c->channel->session != NULL && !c->channel->session->dead;
	return there ? carrier_new(c->pool, c->channel->session) : NULL;
}

bool ssh_carrier_whole(const struct meal_carrier *carrier)
{
	const struct carrier *c = (const struct carrier *)carrier;
	return c->channel != NULL && c->heard_eof;
}

bool ssh_carrier_lives(const struct meal_carrier *carrier)
{
	const struct carrier *c = (const struct carrier *)carrier;
	bool waits = c->channel != NULL && c->channel->session == NULL;
	return waits || (c->channel != NULL && ssh_session_lives(c->channel->session));
}

void ssh_carrier_lose(struct meal_carrier *carrier)
{
	const struct carrier *c = downcast(carrier);
	if (c->channel != NULL && c->channel->session != NULL)
		ssh_session_lose(c->channel->session, "nothing is heard of it");
}

void ssh_carrier_reach(const struct meal_carrier *carrier, struct mer_reach *out)
{
	const struct carrier *c = (const struct carrier *)carrier;
	const struct ssh_session *s = c->channel != NULL ? c->channel->session : NULL;
	if (s == NULL)
		return;
	out->connect_us = s->times.connect_us + s->times.kex_us;
	out->auth_us = s->times.auth_us;
	(void)snprintf(out->how, sizeof out->how, "%s", s->how);
}
