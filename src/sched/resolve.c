/* What a route leads to: the deployments of its model that its caller's words allow, read in the
 * database thread. */
#define LOG_AREA "sched"
#include "internal.h"

#include <mer/clean.h>
#include <mer/log.h>
#include <mer/secrets.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>

/* The rows of a model that a route may use. */
struct resolving {
	struct route *route;
	struct places places;
	bool any_fresh, tests;
	struct mer_error error;       /* why the first of those that cannot be used cannot */
	char *uid, *server, *weights; /* of the first that can */
};

static bool route_allows(const struct route *route, const struct mer_deployment_row *row)
{
	if (route->server[0] != '\0' && strcmp(route->server, row->server) != 0)
		return false;
	return route->deployment[0] == '\0' || strcmp(route->deployment, row->uid) == 0 ||
	       strcmp(route->deployment, row->name) == 0;
}

static bool saw(const struct route *route, const char *key)
{
	for (char **seen = route->seen; seen != NULL && *seen != NULL; seen++) {
		if (strcmp(*seen, key) == 0)
			return true;
	}
	return false;
}

static enum mer_status keep_first(struct resolving *resolving, const struct mer_deployment_row *row,
                                  struct mer_error *err)
{
	resolving->uid = strdup(row->uid);
	resolving->server = strdup(row->server);
	resolving->weights = strdup(row->weights_version);
	if (resolving->uid == NULL || resolving->server == NULL || resolving->weights == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return MER_OK;
}

/* Whether a training can be made there: it is, at the first that can. */
static bool trains(const struct resolving *resolving, const struct mer_deployment_row *row)
{
	return resolving->places.n == 0 &&
	       (row->train[0] != '\0' || mer_protocol_by_name(row->protocol) == MER_PROTOCOL_FRAME);
}

/* One that cannot be used is passed over, and is the error where there is no other. */
static enum mer_status on_deployment(void *ctx, const void *data, struct mer_error *err)
{
	struct resolving *resolving = ctx;
	struct places *places = &resolving->places;
	const struct mer_deployment_row *row = data;
	if (places->n == PLACES_MAX || !route_allows(resolving->route, row) ||
	    (resolving->route->training != NULL && !trains(resolving, row)))
		return MER_OK;
	if (resolving->route->weights[0] != '\0' && row->weights_uid[0] == '\0') {
		(void)mer_fail(err, MER_ENOTFOUND, "model '%s' has no weights '%s'", row->model,
		               resolving->route->weights);
		mer_hint(err, "'weights list %.100s' shows those that there are", row->model);
		return MER_ENOTFOUND;
	}
	MER_AUTO(mer_text_done)
	char *key = mer_text_new("%s %s %s %s %s %s", row->uid, row->updated_at, row->weights_uid,
	                         row->server_uid, row->server_at, row->test_at);
	if (key == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	struct deployment *made = NULL;
	if (!saw(resolving->route, key)) {
		struct mer_error why;
		enum mer_status st = deployment_make(row, key, resolving->route->sched,
		                                     resolving->route->training, &made, &why);
		if (st == MER_ENOMEM)
			return mer_fail(err, st, "out of memory");
		if (st != MER_OK) {
			if (resolving->error.status == MER_OK)
				resolving->error = why;
			return MER_OK;
		}
		resolving->any_fresh = true;
		resolving->tests = row->test_at[0] != '\0';
	}
	places->of[places->n].key = key;
	places->of[places->n++].made = made;
	key = NULL;
	return places->n == 1 ? keep_first(resolving, row, err) : MER_OK;
}

static enum mer_status on_model(void *ctx, const void *row, struct mer_error *err)
{
	(void)row;
	(void)err;
	*(bool *)ctx = true;
	return MER_OK;
}

/* All deployments of a model, and what a route would use of them if it were enabled. */
struct all {
	const struct route *route;
	bool any;
	char name[129];
};

static enum mer_status on_any_deployment(void *ctx, const void *data, struct mer_error *err)
{
	struct all *all = ctx;
	const struct mer_deployment_row *row = data;
	(void)err;
	all->any = true;
	if (row->enabled == 0 && all->name[0] == '\0' && route_allows(all->route, row))
		(void)snprintf(all->name, sizeof all->name, "%s", row->name);
	return MER_OK;
}

static enum mer_status offer_model(void *ctx, const void *row, struct mer_error *err)
{
	const struct mer_model_row *model = row;
	(void)err;
	mer_guess_offer(ctx, model->name);
	return MER_OK;
}

/* No deployment fits: says which part of the caller's words is wrong. */
static enum mer_status nothing_fits(struct mer_dal *dal, const struct route *route,
                                    struct mer_error *err)
{
	bool known = false;
	struct all all = { .route = route };
	enum mer_status st = mer_dal_query(dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text(route->model)),
	                                   on_model, &known, err);
	if (st == MER_OK && known)
		st = mer_dal_query(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(route->model)),
		                   on_any_deployment, &all, err);
	if (st != MER_OK)
		return st;
	if (!known) {
		struct mer_guess guess = { .typed = route->model };
		struct mer_error other;
		mer_fail(err, MER_ENOTFOUND, "there is no model '%s'", route->model);
		if (mer_dal_query(dal, MER_Q_MODELS, NULL, 0, offer_model, &guess, &other) != MER_OK ||
		    !mer_guess_hint(&guess, err))
			mer_hint(err, "'model list' shows those that there are");
	} else if (all.name[0] != '\0') {
		mer_fail(err, MER_ENOTFOUND, "deployment '%s' of model '%s' is not enabled", all.name,
		         route->model);
		mer_hint(err, "'deployment set %s %s enabled=on' lets runs use it", route->model, all.name);
	} else if (!all.any) {
		mer_fail(err, MER_ENOTFOUND, "model '%s' has no deployment", route->model);
	} else if (route->training != NULL) {
		mer_fail(err, MER_EINPUT, "model '%s' has no train command%s%s", route->model,
		         route->server[0] != '\0' ? " on server " : "", route->server);
		mer_hint(err, "'model set %.100s train=WORDS' gives it one", route->model);
		return MER_EINPUT;
	} else if (route->deployment[0] != '\0') {
		mer_fail(err, MER_ENOTFOUND, "model '%s' has no deployment '%s'%s%s", route->model,
		         route->deployment, route->server[0] != '\0' ? " on server " : "", route->server);
	} else {
		mer_fail(err, MER_ENOTFOUND, "model '%s' has no deployment on server '%s'", route->model,
		         route->server);
	}
	return MER_ENOTFOUND;
}

/* Whether the route leads to what it led to. */
static bool is_same(const struct resolving *resolving)
{
	char *const *seen = resolving->route->seen;
	size_t n = 0;
	while (seen != NULL && seen[n] != NULL && n < resolving->places.n &&
	       strcmp(seen[n], resolving->places.of[n].key) == 0)
		n++;
	return seen != NULL && n == resolving->places.n && seen[n] == NULL && !resolving->any_fresh;
}

static void resolving_done(struct resolving *resolving)
{
	for (size_t i = 0; i < resolving->places.n; i++) {
		free(resolving->places.of[i].key);
		deployment_free(resolving->places.of[i].made);
	}
	free(resolving->uid);
	free(resolving->server);
	free(resolving->weights);
}

/* Notes what the route leads to, for the next time, and hands it on. */
static enum mer_status route_saw(struct resolving *resolving, struct places **fresh,
                                 struct mer_error *err)
{
	struct route *route = resolving->route;
	struct places *places = malloc(sizeof *places);
	MER_AUTO(mer_words_done) char **seen = calloc(resolving->places.n + 1, sizeof *seen);
	bool all = places != NULL && seen != NULL;
	for (size_t i = 0; all && i < resolving->places.n; i++)
		all = (seen[i] = strdup(resolving->places.of[i].key)) != NULL;
	if (!all) {
		free(places);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	mer_words_done(&route->seen);
	free(route->seen_uid);
	free(route->seen_server);
	free(route->seen_weights);
	route->seen = seen;
	route->seen_uid = resolving->uid;
	route->seen_server = resolving->server;
	route->seen_weights = resolving->weights;
	*places = resolving->places;
	*fresh = places;
	seen = NULL;
	*resolving = (struct resolving){ .route = route };
	return MER_OK;
}

/* Says once that a deployment cannot be used where others can. */
static void tell_passed_over(struct route *route, const struct mer_error *why)
{
	if (route->passed_over != NULL && strcmp(route->passed_over, why->message) == 0)
		return;
	free(route->passed_over);
	route->passed_over = strdup(why->message);
	MER_LOG(MER_LOG_WARN, "a deployment is passed over: %s", why->message);
}

/* The new ones get the example that their workers have to answer. */
static enum mer_status read_tests(struct mer_dal *dal, const struct resolving *resolving,
                                  struct mer_error *err)
{
	const struct places *places = &resolving->places;
	enum mer_status st = MER_OK;
	bool tests = resolving->tests && resolving->route->training == NULL;
	for (size_t i = 0; i < places->n && tests && st == MER_OK; i++) {
		if (places->of[i].made != NULL)
			st = test_read(dal, places->of[i].made, err);
	}
	return st;
}

/* What no worker inherits; *changed: it is not what it was. */
static enum mer_status read_secrets(struct mer_sched *sched, bool *changed, struct mer_error *err)
{
	MER_AUTO(mer_words_done) char **names = NULL, **old = NULL;
	enum mer_status st = mer_secret_names(sched->dal, sched->hidden, &names, err);
	if (st != MER_OK)
		return st;
	size_t i = 0;
	while (sched->secrets != NULL && sched->secrets[i] != NULL && names[i] != NULL &&
	       strcmp(sched->secrets[i], names[i]) == 0)
		i++;
	*changed = sched->secrets == NULL || sched->secrets[i] != NULL || names[i] != NULL;
	old = sched->secrets;
	sched->secrets = names;
	names = NULL;
	return MER_OK;
}

static enum mer_status read_rows(struct mer_sched *sched, struct resolving *resolving,
                                 struct mer_error *err)
{
	const struct route *route = resolving->route;
	return mer_dal_query(sched->dal, MER_Q_RESOLVE,
	                     MER_ARGS(mer_text(route->model), mer_text(route->weights)), on_deployment,
	                     resolving, err);
}

/* What is made of rows that are new is made with what holds secrets by now. */
static enum mer_status read_places(struct mer_sched *sched, struct resolving *resolving,
                                   struct mer_error *err)
{
	const bool first = sched->secrets == NULL;
	bool changed = false;
	enum mer_status st = first ? read_secrets(sched, &changed, err) : MER_OK;
	if (st == MER_OK)
		st = read_rows(sched, resolving, err);
	if (st != MER_OK || first || !resolving->any_fresh)
		return st;
	st = read_secrets(sched, &changed, err);
	if (st != MER_OK || !changed)
		return st;
	resolving_done(resolving);
	*resolving = (struct resolving){ .route = resolving->route };
	return read_rows(sched, resolving, err);
}

enum mer_status resolve_route(struct mer_sched *sched, struct route *route, struct places **fresh,
                              struct mer_error *err)
{
	MER_AUTO(resolving_done) struct resolving resolving = { .route = route };
	enum mer_status st = read_places(sched, &resolving, err);
	if (st != MER_OK)
		return st;
	if (resolving.places.n == 0 && resolving.error.status != MER_OK) {
		*err = resolving.error;
		return err->status;
	}
	if (resolving.places.n == 0)
		return nothing_fits(sched->dal, route, err);
	if (resolving.error.status != MER_OK)
		tell_passed_over(route, &resolving.error);
	st = read_tests(sched->dal, &resolving, err);
	if (st != MER_OK || is_same(&resolving))
		return st;
	st = weights_seen(route, &resolving.places, err);
	return st == MER_OK ? route_saw(&resolving, fresh, err) : st;
}

/* --- reading ahead ------------------------------------------------------------------------ */

struct resolve_job {
	struct mer_job job;
	struct route *route;
	struct places *fresh;
	struct mer_error error;
};

static void resolve_in_thread(struct mer_job *base)
{
	struct resolve_job *job = (struct resolve_job *)base;
	enum mer_status st = connection_open(job->route->sched, &job->error);
	if (st == MER_OK)
		st = resolve_route(job->route->sched, job->route, &job->fresh, &job->error);
	bool unread = false;
	if (st == MER_OK)
		st = weights_look(job->route, &unread, &job->error);
	if (st == MER_OK && unread)
		st = weights_read(job->route, &job->error);
	job->error.status = st;
}

static void resolve_done(struct mer_job *base)
{
	struct resolve_job *job = (struct resolve_job *)base;
	struct route *route = job->route;
	struct mer_sched *sched = route->sched;
	sched->jobs--;
	if (job->fresh != NULL)
		pool_changed(route, job->fresh);
	if (route->ping != NULL && job->error.status != MER_OK) {
		struct ping *ping = route->ping;
		route->ping = NULL;
		ping->on_ready(ping->ctx, &job->error, 0, "");
		free(ping);
	} else if (route->ping != NULL) {
		ping_begin(route);
	} else if (job->error.status == MER_OK) {
		pool_prepare(route);
	}
	free(job);
	sched_maybe_closed(sched);
}

void resolve_ahead(struct route *route)
{
	struct resolve_job *job = calloc(1, sizeof *job);
	if (job == NULL)
		return; /* the record job resolves as well */
	job->job = (struct mer_job){ .run = resolve_in_thread, .done = resolve_done };
	job->route = route;
	route->sched->jobs++;
	mer_work_push(route->sched->work, &job->job);
}
