/* Reaching a server of kind ssh; server_reach.h. */
#include "server_reach.h"

#include "settings.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/meal.h>
#include <mer/ref.h>
#include <mer/remote.h>
#include <string.h>

struct reaching {
	struct session *session;
	const char *guard;
	struct mer_remote *remote;
	struct mer_worker *worker; /* until it is gone */
	bool gone;
	struct mer_outcome outcome;
};

static void on_ready(void *ctx)
{
	(void)ctx;
}

static void on_bytes(void *ctx, void *run, const char *bytes, size_t n)
{
	(void)ctx, (void)run, (void)bytes, (void)n;
}

static void on_meta(void *ctx, void *run, const char *meta)
{
	(void)ctx, (void)run, (void)meta;
}

static void on_done(void *ctx, void *run, const struct mer_outcome *outcome)
{
	(void)ctx, (void)run, (void)outcome;
}

static void on_gone(void *ctx, const struct mer_outcome *outcome)
{
	struct reaching *reaching = ctx;
	reaching->gone = true;
	reaching->outcome = *outcome;
}

static void cancel(void *ctx, bool kill)
{
	struct reaching *reaching = ctx;
	(void)kill;
	if (!reaching->gone)
		mer_worker_end(reaching->worker, MER_END_KILL, 0);
}

static enum mer_status on_server(void *ctx, const void *data, struct mer_error *err)
{
	struct reaching *reaching = ctx;
	const struct mer_server_row *row = data;
	const struct mer_remote_row host = { row->name, row->host, row->user, row->port, row->params };
	const char *password = setting(&reaching->session->settings, SET_PASSWORD)->text;
	const char *hidden = password != NULL ? mer_ref_env_name(password) : NULL;
	return mer_remote_new(&host, reaching->guard, reaching->session->environment, hidden,
	                      &reaching->remote, err);
}

static enum mer_status reach(struct reaching *reaching, uv_loop_t *loop, struct mer_error *err)
{
	static const struct mer_worker_events events = {
		.on_ready = on_ready,
		.on_meta = on_meta,
		.on_output = on_bytes,
		.on_log = on_bytes,
		.on_done = on_done,
		.on_gone = on_gone,
	};
	static const char *const argv[] = { "/bin/sh", NULL }, *const env[] = { NULL };
	const struct mer_worker_spec spec = {
		.protocol = MER_PROTOCOL_ONCE,
		.guard = reaching->guard,
		.argv = argv,
		.env = env,
		.workdir = "",
		.remote = reaching->remote,
	};
	reaching->remote->probe = true;
	enum mer_status st = mer_worker_start(loop, &spec, &events, reaching, &reaching->worker, err);
	if (st != MER_OK)
		return st;
	mer_worker_go(reaching->worker);
	session_cancels(reaching->session, cancel, reaching);
	session_run(reaching->session, &reaching->gone);
	session_cancels(reaching->session, NULL, NULL);
	if (reaching->outcome.status == MER_OK)
		return MER_OK;
	return mer_fail(err, reaching->outcome.status, "%s", reaching->outcome.message);
}

enum mer_status reach_read(struct session *s, const char *server, struct mer_remote **out,
                           struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *guard = NULL;
	struct reaching reaching = { .session = s };
	enum mer_status st = mer_place(MER_PLACE_GUARD, &guard, err);
	reaching.guard = guard;
	if (st == MER_OK)
		st = mer_dal_query(s->dal, MER_Q_SERVER_BY_NAME, MER_ARGS(mer_text(server)), on_server,
		                   &reaching, err);
	if (st == MER_OK)
		*out = reaching.remote;
	return st;
}

enum mer_status reach_ssh(struct session *s, const char *server, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *guard = NULL;
	struct reaching reaching = { .session = s };
	uv_loop_t *loop;
	enum mer_status st = mer_place(MER_PLACE_GUARD, &guard, err);
	reaching.guard = guard;
	if (st == MER_OK)
		st = session_loop(s, &loop, err);
	if (st == MER_OK)
		st = reach_read(s, server, &reaching.remote, err);
	if (st == MER_OK)
		st = reach(&reaching, loop, err);
	mer_remote_free(reaching.remote);
	return st;
}
