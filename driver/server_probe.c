/* Asking servers; server_probe.h. */
#include "server_probe.h"

#include "find.h"
#include "server_reach.h"
#include "settings.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/meal.h>
#include <stdlib.h>
#include <string.h>

enum {
	AT_ONCE = 16,       /* servers; each has processes here while it is asked */
	AT_ONCE_A_HOST = 4, /* sshd drops logins at random where ten are under way (MaxStartups) */
};

/* --- reading ------------------------------------------------------------------------------ */

static enum mer_status add(struct probes *probes, const char *name, const char *kind,
                           struct mer_error *err)
{
	struct probe *grown = realloc(probes->probe, (probes->n + 1) * sizeof *grown);
	if (grown == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	probes->probe = grown;
	struct probe *probe = &grown[probes->n++];
	*probe = (struct probe){ .name = strdup(name), .kind = strdup(kind) };
	if (probe->name == NULL || probe->kind == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return MER_OK;
}

static enum mer_status on_server(void *ctx, const void *data, struct mer_error *err)
{
	const struct mer_server_row *row = data;
	return add(ctx, row->name, row->kind, err);
}

/* A server that cannot be made sense of is one that cannot be reached: it keeps none from being asked. */
static void read_row(struct probe *probe)
{
	struct mer_error err;
	if (strcmp(probe->kind, "ssh") == 0)
		probe->st = reach_read(probe->probes->s, probe->name, &probe->remote, &err);
	else if (strcmp(probe->kind, "http") == 0)
		probe->st = reach_read_http(probe->probes->s, probe->name, &probe->http, &err);
	if (probe->st != MER_OK)
		(void)memccpy(probe->message, err.message, '\0', sizeof probe->message);
}

enum mer_status probes_read(struct session *s, const char *name, struct probes *out,
                            struct mer_error *err)
{
	*out = (struct probes){ .s = s };
	struct mer_uid uid;
	char kind[16];
	enum mer_status st = mer_place(MER_PLACE_GUARD, &out->guard, err);
	if (st == MER_OK && name == NULL)
		st = mer_dal_query(s->dal, MER_Q_SERVERS, NULL, 0, on_server, out, err);
	else if (st == MER_OK)
		st = find_server(s->dal, name, &uid, kind, err);
	if (st == MER_OK && name != NULL)
		st = add(out, name, kind, err);
	for (size_t i = 0; i < out->n && st == MER_OK; i++) {
		out->probe[i].probes = out;
		read_row(&out->probe[i]);
	}
	return st;
}

void probes_release(struct probes *probes)
{
	for (size_t i = 0; i < probes->n; i++) {
		free(probes->probe[i].name);
		free(probes->probe[i].kind);
		mer_remote_free(probes->probe[i].remote);
		mer_http_unref(probes->probe[i].http);
	}
	free(probes->probe);
	free(probes->guard);
}

/* --- asking ------------------------------------------------------------------------------- */

static void ask_more(struct probes *probes);

static void answered(struct probe *probe, enum mer_status st, const char *message)
{
	struct probes *probes = probe->probes;
	probe->st = st;
	if (st != MER_OK && message != probe->message)
		(void)snprintf(probe->message, sizeof probe->message, "%s", message);
	probe->ms = (int64_t)((uv_hrtime() - probe->begun_ns) / 1000000);
	probe->worker = NULL;
	probes->n_over++;
	probes->done = probes->n_over == probes->n;
}

static void on_gone(void *ctx, const struct mer_outcome *outcome)
{
	struct probe *probe = ctx;
	probe->probes->n_open--;
	answered(probe, outcome->status, outcome->message);
	ask_more(probe->probes);
}

static enum mer_status ask_there(struct probe *probe, struct mer_error *err)
{
	static const struct mer_worker_events events = { .on_gone = on_gone };
	static const char *const argv[] = { "/bin/sh", NULL }, *const env[] = { NULL };
	struct probes *probes = probe->probes;
	struct mer_links *links = NULL;
	enum mer_status st = session_links(probes->s, &links, err);
	const struct mer_worker_spec spec = {
		.protocol = MER_PROTOCOL_ONCE,
		.guard = probes->guard,
		.argv = argv,
		.env = env,
		.workdir = "",
		.remote = probe->remote,
		.links = links,
		.reach = &probe->reach,
		.http = probe->http,
		.http_probe = MER_HTTP_PROBES_SERVER,
	};
	uv_loop_t *loop;
	if (st == MER_OK)
		st = session_loop(probes->s, &loop, err);
	if (probe->remote != NULL) {
		probe->remote->probe = probes->start;
		probe->remote->login = !probes->start;
	}
	if (st == MER_OK)
		st = mer_worker_start(loop, &spec, &events, probe, &probe->worker, err);
	if (st != MER_OK)
		return st;
	probes->n_open++;
	mer_worker_go(probe->worker);
	return MER_OK;
}

/* Here whatever starts workers has to be in its place. */
static enum mer_status ask_local(const struct probe *probe, struct mer_error *err)
{
	const char *const argv[] = { probe->probes->guard, NULL };
	const struct mer_worker_spec spec = { .guard = probe->probes->guard,
		                                  .argv = argv,
		                                  .env = probe->probes->s->environment,
		                                  .workdir = "/" };
	enum mer_status st = mer_worker_probe(&spec, err);
	return st == MER_OK ? st : mer_wrap(err, st, "server '%s'", probe->name);
}

static void ask(struct probe *probe)
{
	struct mer_error err;
	enum mer_status st = probe->st;
	probe->asked = true;
	probe->begun_ns = uv_hrtime();
	if (st != MER_OK) { /* its row says what is wrong */
		answered(probe, st, probe->message);
		return;
	}
	bool there = probe->remote != NULL || probe->http != NULL;
	if (there)
		st = ask_there(probe, &err);
	else if (strcmp(probe->kind, "local") == 0)
		st = ask_local(probe, &err);
	else
		st = mer_fail(&err, MER_EUNREACHABLE, "this mer cannot reach servers of kind '%s'",
		              probe->kind);
	if (st != MER_OK || !there)
		answered(probe, st, err.message);
}

/* Logins that are under way at the same host, as far as rows tell. */
static size_t count_like(const struct probe *probe)
{
	const struct probes *probes = probe->probes;
	size_t n = 0;
	for (size_t i = 0; i < probes->n && probe->remote != NULL; i++) {
		const struct probe *other = &probes->probe[i];
		n += other->worker != NULL && other->remote != NULL &&
		     other->remote->port == probe->remote->port &&
		     strcmp(other->remote->host, probe->remote->host) == 0;
	}
	return n;
}

static void ask_more(struct probes *probes)
{
	for (size_t i = 0; i < probes->n && probes->n_open < AT_ONCE; i++) {
		struct probe *probe = &probes->probe[i];
		if (!probe->asked && count_like(probe) < AT_ONCE_A_HOST)
			ask(probe);
	}
}

static void cancel(void *ctx, bool kill)
{
	struct probes *probes = ctx;
	(void)kill;
	for (size_t i = 0; i < probes->n; i++) {
		struct probe *probe = &probes->probe[i];
		if (!probe->asked) {
			probe->asked = true;
			answered(probe, MER_ECANCELED, "interrupted");
		} else if (probe->worker != NULL) {
			mer_worker_end(probe->worker, MER_END_KILL, 0);
		}
	}
}

enum mer_status probes_ask(struct probes *probes, bool start, struct mer_error *err)
{
	probes->start = start;
	ask_more(probes);
	if (!probes->done) {
		session_cancels(probes->s, cancel, probes);
		session_run(probes->s, &probes->done);
		session_cancels(probes->s, NULL, NULL);
	}
	for (size_t i = 0; i < probes->n; i++)
		if (probes->probe[i].st == MER_ECANCELED)
			return mer_fail(err, MER_ECANCELED, "interrupted");
	return MER_OK;
}
