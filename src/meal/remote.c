/* The carrier for workers on other hosts. What carries their bytes is another carrier: a channel of a
 * session that workers share (ssh_module.h), or the system's `ssh` as a worker of this machine, so that
 * nothing of it outlives mer. At its other end is the far supervisor (far.sh), which holds to what mer-guard
 * does here. Streams go through as they are; marks are taken out of stderr (remote_hear.h).
 *
 * A spare has got no worker yet: its supervisor is there and waits. */
#define LOG_AREA "meal"
#include "remote.h"

#include "far.h"
#include "far_room.h"
#include "links.h"
#include "queue.h"
#include "remote_hear.h"
#include "remote_orders.h"
#include "remote_way.h"

#include <mer/file.h>
#include <mer/log.h>
#include <mer/remote.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define SCRIPT_MAX ((size_t)64 << 10)
#define PREAMBLE_MAX ((size_t)4 << 20)
#define SHELL_MS 30000    /* a login shell may take so long beyond that */
#define LOOK_MS 200       /* and ssh is looked at as often meanwhile */
#define LEAVE_MS 2000     /* the second channel may take so long to close */
#define AGAIN_MS 100      /* before ssh is started anew after a server that hung up at once, */
#define AGAIN_MAX_MS 2000 /* doubled each time up to this */
#define TIDY_S 60         /* who tidies up behind a worker does not beat for so long */

struct remote {
	struct meal_carrier base;
	struct remote_spare spare;  /* first of what links knows of it; spare.waits: it has no worker */
	struct meal_carrier *inner; /* the worker's channel; NULL: not begun */
	struct remote_orders orders;
	struct remote_way way;   /* by which both are */
	struct mer_links *links; /* NULL: none */
	uv_timer_t timer;
	int open; /* of timer, inner and the channel of orders */
	bool closing;
	bool probes;  /* it has no run, and its streams are to end */
	bool logs_in; /* that is all */
	bool aside;   /* as of its spec */

	bool prepared;           /* inner is */
	bool told_prepared;      /* and who asked for it knows */
	bool wanted;             /* go came */
	bool headed;             /* the header was sent */
	bool begun;              /* and that it may go; what is written goes to inner */
	bool held;               /* pause came */
	bool last;               /* nothing follows early */
	int64_t go_ms, again_ms; /* go came; to wait before ssh is started anew. 0: not yet */
	int64_t late_ms;         /* until when a supervisor is to speak */
	struct meal_queue early; /* written before that */
	int64_t prepared_us, heard_ms;
	struct mer_reach reach;
	struct mer_reach *reach_out; /* NULL: nobody asks */
	struct mer_remote *remote;   /* a copy */

	struct far_names names;
	struct mer_buf preamble, header;
	struct remote_heard heard;
	bool was_killed; /* by us */
	bool late;       /* no supervisor spoke in time */
	bool told;       /* how it ended, who asked for it knows */
	bool inner_over; /* it has ended */
	bool lingers;    /* it was closed, and its channels are to end by themselves */

	struct far_room room;
	struct mer_str script;
	char *program, *workdir;
};

static const struct meal_carrier_ops remote_ops;

static struct remote *of_spare(struct remote_spare *spare)
{
	return (struct remote *)((char *)spare - offsetof(struct remote, spare));
}

static struct remote *downcast(struct meal_carrier *carrier)
{
	MER_ASSERT(carrier->ops == &remote_ops);
	return (struct remote *)carrier;
}

static void release(struct remote *r)
{
	mer_buf_release(&r->preamble);
	mer_buf_release(&r->header);
	remote_heard_release(&r->heard);
	far_room_release(&r->room);
	meal_queue_drop(&r->early);
	free((void *)(uintptr_t)r->script.ptr);
	free(r->program);
	free(r->workdir);
	remote_orders_release(&r->orders);
	remote_way_release(&r->way);
	mer_remote_free(r->remote);
	free(r);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void on_part_closed(struct remote *r)
{
	if (--r->open > 0)
		return;
	if (r->links != NULL && r->way.ssh != NULL && !r->probes && !r->aside)
		links_free_again(r->links, r->remote);
	if (r->spare.links != NULL)
		links_gone(&r->spare);
	if (r->base.events != NULL)
		r->base.events->closed(r->base.ctx);
	release(r);
}

static void on_timer_closed(uv_handle_t *handle)
{
	on_part_closed(handle->data);
}

static void close_parts(struct remote *r)
{
	r->closing = true;
	if (r->inner != NULL)
		r->inner->ops->close(r->inner);
	remote_orders_close(&r->orders);
	uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

/* A channel that is closed from here is still somebody's on the server until what ran in it is gone: the next
 * one could be refused. So who has ended closes with its server, or does not wait for it any longer. */
static void linger(struct remote *r)
{
	if (r->inner_over && remote_orders_are_over(&r->orders)) {
		r->lingers = false;
		close_parts(r);
	}
}

/* --- orders ----------------------------------------------------------------------------------- */

static void open_orders(struct remote *r)
{
	if (r->heard.whom.pid != 0 && !r->heard.over && !r->closing &&
	    remote_orders_open(&r->orders, r->inner, &r->heard.whom))
		r->open++;
}

static void on_orders_ended(void *ctx)
{
	struct remote *r = ctx;
	if (r->lingers)
		linger(r);
	else if (!r->heard.over && !r->closing && remote_orders_reopen(&r->orders, &r->heard.whom))
		r->open++;
}

static void on_orders_closed(void *ctx)
{
	on_part_closed(ctx);
}

static const struct remote_orders_events order_events = {
	.ended = on_orders_ended,
	.closed = on_orders_closed,
};

/* Its supervisor beats, as long as its worker lives. */
static bool is_silent(const struct remote *r)
{
	int64_t most_s = r->way.silence_s + (r->heard.over ? TIDY_S : 0);
	return r->way.ssh != NULL && !r->held && mer_clock_ms() - r->heard_ms > most_s * 1000;
}

/* What carries it, or should, is of no use. */
static void set_problem(struct remote *r, const struct mer_error *err)
{
	struct meal_exit *how = &r->heard.how;
	(void)snprintf(how->problem, sizeof how->problem, "%.*s", (int)sizeof how->problem - 1,
	               err->message);
}

static void look_at_way(struct remote *r)
{
	struct mer_error err;
	r->late = mer_clock_ms() >= r->late_ms;
	if (mer_remote_circle(r->heard.subject.server, r->inner->pid, &err) != MER_OK)
		set_problem(r, &err);
	else if (!r->late)
		return;
	r->inner->ops->signal(r->inner, MEAL_KILL);
}

static void on_timer(uv_timer_t *timer)
{
	struct remote *r = timer->data;
	if (r->lingers) {
		r->lingers = false;
		close_parts(r);
		return;
	}
	if (r->heard.gone)
		remote_orders_kill(&r->orders);
	if (!r->heard.err_up) {
		look_at_way(r);
	} else if (is_silent(r)) {
		r->way.ssh->lose(r->inner);
	} else if (!r->heard.gone) {
		open_orders(r);
		remote_orders_beat(&r->orders);
	}
}

/* --- what comes from there ---------------------------------------------------------------------- */

static void begin(struct remote *r);

static void on_event(struct remote *r, enum meal_stream stream, const struct remote_event *event)
{
	uint64_t alive_ms = (uint64_t)r->way.alive_s * 1000;
	if (event->mark != NULL)
		MER_DEBUG("mark worker=%p says=%s", r->base.ctx, event->mark);
	switch (event->kind) {
	case REMOTE_NOTHING: break;
	case REMOTE_UP:
		r->reach.start_us = mer_clock_us() - r->prepared_us;
		(void)uv_timer_stop(&r->timer);
		if (r->way.ssh == NULL && r->wanted)
			begin(r);
		break;
	case REMOTE_WATCH:
		if (alive_ms > 0)
			(void)uv_timer_start(&r->timer, on_timer, alive_ms, alive_ms);
		break;
	case REMOTE_GONE:
		remote_orders_leave(&r->orders);
		(void)uv_timer_start(&r->timer, on_timer, LEAVE_MS, alive_ms);
		break;
	case REMOTE_BYTES:
		if (stream == MEAL_STDOUT && r->room.output)
			stream = MEAL_FILE;
		r->base.events->data(r->base.ctx, stream, event->bytes.ptr, event->bytes.len);
		break;
	case REMOTE_NOISE:
		MER_DEBUG("noise worker=%p stream=%d bytes=%zu", r->base.ctx, (int)stream,
		          event->bytes.len);
		break;
	case REMOTE_STRAY: links_drop(&r->spare); break;
	}
}

/* The worker's supervisor is told what it is to be, as soon as somebody hears that. */
static void send_header(struct remote *r)
{
	const struct mer_str header = { r->header.ptr, r->header.len };
	if (r->headed || header.len == 0)
		return;
	r->headed = true;
	r->inner->ops->write(r->inner, &header, 1, false, NULL);
}

static void on_prepared(void *ctx)
{
	struct remote *r = ctx;
	r->prepared = true;
	r->prepared_us = mer_clock_us();
	if (r->way.ssh != NULL) {
		const struct mer_str preamble = { r->preamble.ptr, r->preamble.len };
		r->way.ssh->reach(r->inner, &r->reach);
		if (!r->logs_in) {
			r->inner->ops->write(r->inner, &preamble, 1, false, NULL);
			send_header(r);
		}
		if (r->wanted)
			begin(r);
	}
	if (!r->spare.waits && !r->told_prepared) {
		r->told_prepared = true;
		r->base.events->prepared(r->base.ctx);
	}
}

static void on_data(void *ctx, enum meal_stream stream, const char *bytes, size_t n)
{
	struct remote *r = ctx;
	r->heard_ms = mer_clock_ms();
	if (r->told) /* a server that sends behind the end */
		return;
	struct remote_event event = { .kind = REMOTE_NOTHING };
	for (size_t at = 0; at < n && event.kind != REMOTE_STRAY;) {
		at += remote_hear(&r->heard, stream, bytes + at, n - at, &event);
		on_event(r, stream, &event);
	}
}

static void tell_end(struct remote *r)
{
	(void)uv_timer_stop(&r->timer);
	r->heard.over = true;
	r->told = true;
	if (r->reach_out != NULL)
		*r->reach_out = r->reach;
	if (r->way.ssh != NULL && !r->prepared) {
		r->base.events->eof(r->base.ctx, MEAL_STDERR);
		r->base.events->eof(r->base.ctx, MEAL_STDOUT);
	}
	r->base.events->ended(r->base.ctx, &r->heard.how);
}

/* Of a channel both streams end at once, stdout as the second. Where the supervisor has said all there is
 * nothing to wait for: a channel is closed only once its processes there have been taken apart. */
static void on_eof(void *ctx, enum meal_stream stream)
{
	struct remote *r = ctx;
	if (r->spare.waits || (r->way.ssh != NULL && !r->prepared))
		return; /* its end follows */
	if (stream == MEAL_STDERR) {
		struct mer_str rest = remote_hear_rest(&r->heard);
		if (rest.len > 0)
			r->base.events->data(r->base.ctx, MEAL_STDERR, rest.ptr, rest.len);
	}
	r->base.events->eof(r->base.ctx, stream);
	if (r->way.ssh != NULL && stream == MEAL_STDOUT && r->heard.gone && r->heard.over &&
	    !r->closing && r->way.ssh->whole(r->inner))
		tell_end(r);
}

static void use_openssh(struct remote *r);
static void on_again(uv_timer_t *timer);

/* It is asked again, within ConnectTimeout. */
static bool begins_again(struct remote *r, const struct meal_exit *ssh)
{
	if (r->way.ssh != NULL || r->heard.err_up || r->was_killed ||
	    !remote_was_dropped((struct mer_str){ r->heard.noise.ptr, r->heard.noise.len }, ssh))
		return false;
	r->again_ms = r->again_ms == 0                 ? AGAIN_MS
	              : r->again_ms < AGAIN_MAX_MS / 2 ? 2 * r->again_ms
	                                               : AGAIN_MAX_MS;
	if (mer_clock_ms() + r->again_ms > r->go_ms + r->way.connect_s * 1000)
		return false;
	MER_DEBUG("ssh again server=%s ms=%lld", r->heard.subject.server, (long long)r->again_ms);
	r->inner->ops->close(r->inner);
	r->inner = NULL;
	mer_buf_clear(&r->heard.noise);
	(void)uv_timer_start(&r->timer, on_again, (uint64_t)r->again_ms, 0);
	return true;
}

/* What carried it has ended. */
static void on_ended(void *ctx, const struct meal_exit *inner)
{
	struct remote *r = ctx;
	r->inner_over = true;
	if (r->told) {
		if (r->lingers)
			linger(r);
		return;
	}
	if (r->spare.waits) {
		MER_DEBUG("spare ended server=%s why=%s", r->heard.subject.server, inner->problem);
		links_drop(&r->spare);
		return;
	}
	if (!r->prepared && !r->was_killed && inner->problem[0] != '\0' &&
	    remote_way_is_refused(&r->way, r->reach.why)) {
		use_openssh(r);
		return;
	}
	if (begins_again(r, inner))
		return;
	const struct remote_end end = { .carrier = inner,
		                            .by_ssh = r->way.ssh == NULL,
		                            .was_killed = r->was_killed,
		                            .begun = r->begun,
		                            .probes = r->probes,
		                            .logs_in = r->logs_in,
		                            .late_s = r->late ? r->way.connect_s + SHELL_MS / 1000 : 0 };
	remote_hear_end(&r->heard, &end);
	tell_end(r);
}

static void on_closed(void *ctx)
{
	on_part_closed(ctx);
}

static const struct meal_carrier_events inner_events = {
	.prepared = on_prepared,
	.data = on_data,
	.eof = on_eof,
	.ended = on_ended,
	.closed = on_closed,
};

/* --- start ---------------------------------------------------------------------------------------- */

/* What a supervisor needs, whatever its worker is to be. */
static enum mer_status read_remote(struct remote *r, const struct mer_remote *remote,
                                   struct mer_error *err)
{
	char *script;
	size_t len;
	enum mer_status st = mer_read_file(remote->script, SCRIPT_MAX, &script, &len, err);
	if (st != MER_OK)
		return mer_wrap(err, MER_EUNREACHABLE, "the far supervisor is not installed");
	r->script = (struct mer_str){ script, len };
	st = mer_remote_copy(remote, &r->remote, err);
	if (st != MER_OK)
		return st;
	r->heard.subject.server = r->remote->server;
	r->heard.subject.host = r->remote->host;
	remote_way_init(&r->way, r->remote);
	r->orders = (struct remote_orders){
		.worker = &r->base, .way = &r->way, .events = &order_events, .ctx = r, .script = r->script
	};
	st = far_names_init(&r->names, err);
	if (st == MER_OK)
		st = remote_orders_init(&r->orders, r->names.id, err);
	if (st == MER_OK)
		st = far_supervisor(&r->preamble, r->script, &r->names, r->way.silence_s, err);
	remote_heard_expect(&r->heard, r->names.nonce);
	return st;
}

static enum mer_status take_over(struct remote *r, const struct mer_worker_spec *spec,
                                 struct mer_error *err)
{
	const struct mer_remote *remote = spec->remote;
	enum mer_status st = far_room_init(&r->room, spec, err);
	if (st != MER_OK)
		return st;
	const struct far_header header = { .names = &r->names,
		                               .workdir = spec->workdir,
		                               .argv = (const char *const *)r->room.argv,
		                               .env = spec->env,
		                               .room = r->room.text,
		                               .clean = remote->clean,
		                               .probe = remote->probe };
	r->logs_in = remote->login;
	r->probes = remote->probe || r->logs_in;
	r->aside = spec->aside;
	r->reach_out = spec->reach;
	r->program = strdup(spec->argv[0]);
	r->workdir = strdup(spec->workdir != NULL ? spec->workdir : "");
	r->way.guard = strdup(spec->guard);
	if (r->program == NULL || r->workdir == NULL || r->way.guard == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	r->heard.subject.program = r->program;
	r->heard.subject.workdir = r->workdir;
	return far_header(&r->header, &header, err);
}

/* Sends some of the worker's input. Where that goes into a file, a word of ours tells its end. */
static void send_input(struct remote *r, const struct mer_str pieces[], size_t n, bool last,
                       const void *owner)
{
	bool ends = last && r->room.end[0] != '\0';
	const struct mer_str end = { r->room.end, strlen(r->room.end) };
	if (n > 0 || !ends)
		r->inner->ops->write(r->inner, pieces, n, last && !ends, owner);
	if (ends)
		r->inner->ops->write(r->inner, &end, 1, true, NULL);
}

/* The worker is told to begin; what was written for it follows. Copies stay here as long as it lives. */
static void begin(struct remote *r)
{
	static const struct mer_str go = { FAR_GO, sizeof FAR_GO - 1 };
	const struct meal_queue *early = &r->early;
	if (r->begun || (r->way.ssh != NULL && r->logs_in))
		return;
	send_header(r);
	r->begun = true;
	r->inner->ops->write(r->inner, &go, 1, false, NULL);
	for (size_t i = 0; i < early->n; i++)
		send_input(r, &early->pieces[i], 1, r->last && i + 1 == early->n,
		           early->owned[i] != NULL ? NULL : early->owners[i]);
	if (r->last && early->n == 0)
		send_input(r, NULL, 0, true, NULL);
	if (r->held && !r->probes)
		r->inner->ops->pause(r->inner, true);
}

/* Begins what is to carry it: a channel, or ssh. What ssh has been given nobody can take back, nor tell whether it
 * came over: the word that starts a program is kept until the supervisor has spoken. */
static enum mer_status begin_inner(struct remote *r, struct mer_error *err)
{
	const struct mer_str preamble = { r->preamble.ptr, r->preamble.len };
	r->inner_over = false;
	r->headed = false;
	r->reach.transport = r->way.ssh != NULL ? MER_TRANSPORT_LIBSSH2 : MER_TRANSPORT_OPENSSH;
	enum mer_status st = remote_way_start(&r->way, r->logs_in, &inner_events, r, &r->inner, err);
	if (st != MER_OK)
		return st;
	r->open++;
	if (r->way.ssh == NULL) {
		r->inner->ops->write(r->inner, &preamble, 1, false, NULL);
		send_header(r);
	}
	return MER_OK;
}

/* It has turned out that libssh2 cannot carry that server. Nothing was sent yet. */
static void use_openssh(struct remote *r)
{
	struct mer_error err;
	r->inner->ops->close(r->inner);
	r->inner = NULL;
	enum mer_status st = remote_way_change(&r->way, r->reach.why, &err);
	if (st == MER_OK)
		st = begin_inner(r, &err);
	if (st != MER_OK) {
		set_problem(r, &err);
		tell_end(r);
	} else if (r->wanted) {
		r->inner->ops->go(r->inner);
	}
}

static void wait_for_shell(struct remote *r)
{
	r->late_ms = mer_clock_ms() + r->way.connect_s * 1000 + SHELL_MS;
	(void)uv_timer_start(&r->timer, on_timer, LOOK_MS, LOOK_MS);
}

static void on_again(uv_timer_t *timer)
{
	struct remote *r = timer->data;
	struct mer_error err;
	enum mer_status st = MER_OK;
	if (!r->was_killed) {
		st = begin_inner(r, &err);
		if (st == MER_OK) {
			wait_for_shell(r);
			r->inner->ops->go(r->inner);
			return;
		}
		set_problem(r, &err);
	} else {
		r->heard.how.signal = SIGKILL;
	}
	tell_end(r);
}

/* Takes r on failure. */
static enum mer_status start_new(struct remote *r, struct uv_loop_s *loop, struct mer_links *links,
                                 struct mer_error *err)
{
	r->way.loop = loop;
	enum mer_status st = remote_way_choose(&r->way, links, r->reach.why, err);
	if (st == MER_OK && r->spare.waits && r->way.ssh == NULL)
		st = mer_fail(err, MER_EUNREACHABLE, "ssh does not wait ahead of need");
	if (st == MER_OK)
		st = begin_inner(r, err);
	if (st != MER_OK) {
		release(r);
		return st;
	}
	(void)uv_timer_init(loop, &r->timer);
	r->timer.data = r;
	r->open++;
	return MER_OK;
}

static enum mer_status start(struct meal_carrier *carrier, struct uv_loop_s *loop,
                             const struct mer_worker_spec *spec, struct mer_error *err)
{
	struct remote *r = downcast(carrier);
	bool spare = r->spare.waits;
	enum mer_status st = spare ? MER_OK : read_remote(r, spec->remote, err);
	if (st == MER_OK)
		st = take_over(r, spec, err);
	if (st != MER_OK) {
		carrier->ops->close(carrier);
		return st;
	}
	if (spare) {
		links_take(&r->spare);
		if (r->prepared)
			send_header(r);
	} else {
		st = start_new(r, loop, spec->links, err);
	}
	if (st != MER_OK)
		return st;
	r->links = spec->links;
	if (r->way.ssh != NULL && !r->logs_in && !r->aside)
		links_used(r->links, r->remote, spare && r->heard.err_up);
	return st;
}

/* --- what the front asks ---------------------------------------------------------------------------- */

static void go(struct meal_carrier *carrier)
{
	struct remote *r = downcast(carrier);
	if (r->wanted || r->heard.over)
		return;
	r->wanted = true;
	r->go_ms = r->heard_ms = mer_clock_ms();
	if (!r->heard.err_up)
		wait_for_shell(r);
	if (r->way.ssh != NULL ? r->prepared : r->heard.err_up)
		begin(r);
	r->inner->ops->go(r->inner);
}

/* Whether ssh is to be started anew soon: only one that was told nothing yet is. */
static bool waits_again(const struct remote *r)
{
	return r->again_ms > 0 && r->inner == NULL && !r->begun && !r->heard.over;
}

static void queue(struct meal_carrier *carrier, const struct mer_str pieces[], size_t n, bool last,
                  const void *owner)
{
	struct remote *r = downcast(carrier);
	if (r->inner == NULL && !waits_again(r))
		return;
	if (r->begun) {
		send_input(r, pieces, n, last, owner);
		return;
	}
	for (size_t i = 0; i < n && !r->last; i++)
		meal_queue_add(&r->early, pieces[i], owner);
	r->last |= last;
}

static enum mer_status tell(struct meal_carrier *carrier, struct mer_str bytes)
{
	struct remote *r = downcast(carrier);
	if ((r->inner == NULL && !waits_again(r)) || (!r->begun && r->last))
		return MER_OK;
	return r->begun ? r->inner->ops->tell(r->inner, bytes) : meal_queue_tell(&r->early, bytes);
}

static void hold(struct meal_carrier *carrier, bool pause)
{
	struct remote *r = downcast(carrier);
	r->held = pause;
	r->heard_ms = mer_clock_ms();
	if (r->begun && r->inner != NULL && !r->probes)
		r->inner->ops->pause(r->inner, pause);
}

static void send_signal(struct meal_carrier *carrier, enum meal_signal signal)
{
	struct remote *r = downcast(carrier);
	if (waits_again(r)) {
		r->was_killed = true;
		(void)uv_timer_start(&r->timer, on_again, 0, 0);
	}
	if (r->inner == NULL)
		return;
	if (signal == MEAL_TERM && r->heard.whom.pid != 0) {
		open_orders(r);
		remote_orders_term(&r->orders);
		return;
	}
	r->was_killed = true; /* nothing has started, or nothing of it is to be waited for */
	meal_queue_drop(&r->early);
	r->inner->ops->signal(r->inner, MEAL_KILL);
}

static enum mer_status settle(struct meal_carrier *carrier, const void *owner, bool hear)
{
	struct remote *r = downcast(carrier);
	if (!r->begun)
		return meal_queue_settle(&r->early, owner);
	return r->inner != NULL ? r->inner->ops->settle(r->inner, owner, hear) : MER_OK;
}

static int in_flight(struct meal_carrier *carrier)
{
	(void)carrier;
	return -1; /* how much is on its way nobody knows */
}

static void close_carrier(struct meal_carrier *carrier)
{
	struct remote *r = downcast(carrier);
	if (r->open == 0) { /* it was never started */
		release(r);
	} else if (r->spare.waits) { /* nor was its worker */
		r->base.events = NULL;
		links_drop(&r->spare);
	} else if (r->told && !r->inner_over) {
		r->lingers = true;
		(void)uv_timer_start(&r->timer, on_timer, LEAVE_MS, 0);
	} else {
		close_parts(r);
	}
}

static const struct meal_carrier_ops remote_ops = {
	.name = "remote",
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

static struct remote *remote_new(void)
{
	struct remote *r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->base.ops = &remote_ops;
	remote_heard_init(&r->heard);
	r->reach = (struct mer_reach){ .connect_us = -1, .auth_us = -1, .start_us = -1 };
	mer_buf_init(&r->preamble, PREAMBLE_MAX);
	mer_buf_init(&r->header, PREAMBLE_MAX);
	return r;
}

struct meal_carrier *meal_remote_new(const struct mer_worker_spec *spec)
{
	struct remote_spare *spare =
		spec->links != NULL && !spec->remote->login ? links_spare(spec->links, spec->remote) : NULL;
	struct remote *r = spare != NULL ? of_spare(spare) : remote_new();
	return r != NULL ? &r->base : NULL;
}

/* --- ahead of need ------------------------------------------------------------------------------------ */

enum mer_status remote_spare_new(struct uv_loop_s *loop, const struct mer_remote *remote,
                                 struct mer_links *links, struct remote_spare **out,
                                 struct mer_error *err)
{
	struct remote *r = remote_new();
	if (r == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = read_remote(r, remote, err);
	if (st != MER_OK) {
		release(r);
		return st;
	}
	r->spare.waits = true;
	st = start_new(r, loop, links, err);
	if (st != MER_OK)
		return st;
	r->spare.links = links;
	r->spare.remote = r->remote;
	*out = &r->spare;
	return MER_OK;
}

bool remote_spare_lives(struct remote_spare *spare)
{
	const struct remote *r = of_spare(spare);
	return r->way.ssh->lives(r->inner);
}

void remote_spare_close(struct remote_spare *spare)
{
	close_parts(of_spare(spare));
}
