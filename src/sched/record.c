/*
 * What the database thread does: it resolves routes to deployments and writes the rows of runs, many
 * in one transaction. A row is in the database before its model sees input; closing it is never on
 * the path of an answer. One record job is under way at a time, so groups grow while one is written.
 */
#define LOG_AREA "sched"
#include "internal.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/log.h>
#include <stdlib.h>
#include <string.h>

/* --- in the thread ------------------------------------------------------------------------ */

enum mer_status record_dal(struct mer_sched *sched, struct mer_error *err)
{
	if (sched->dal != NULL)
		return MER_OK;
	return mer_dal_open_hasty(sched->database, 0, &sched->haste, &sched->dal, err);
}

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
	char *key = mer_text_new("%s %s %s %s %s", row->uid, row->updated_at, row->weights_uid,
	                         row->server_uid, row->test_at);
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
		mer_fail(err, MER_ENOTFOUND, "there is no model '%s'", route->model);
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

/* Reads what the route leads to. *fresh stays NULL where nothing has changed. */
static enum mer_status resolve(struct mer_sched *sched, struct route *route, struct places **fresh,
                               struct mer_error *err)
{
	MER_AUTO(resolving_done) struct resolving resolving = { .route = route };
	enum mer_status st = mer_dal_query(sched->dal, MER_Q_RESOLVE,
	                                   MER_ARGS(mer_text(route->model), mer_text(route->weights)),
	                                   on_deployment, &resolving, err);
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

/* Whose runs these are. A user's name is asked of the environment, since a name service may be slow
 * and costs a library; the numeric id stands in. */
static void identify(struct mer_sched *sched)
{
	const char *user = getenv("USER");
	if (user == NULL || user[0] == '\0')
		user = getenv("LOGNAME");
	if (user != NULL && user[0] != '\0')
		(void)snprintf(sched->who, sizeof sched->who, "%s", user);
	else
		(void)snprintf(sched->who, sizeof sched->who, "uid:%ld", (long)geteuid());
	if (gethostname(sched->host, sizeof sched->host) != 0)
		sched->host[0] = '\0';
	sched->host[sizeof sched->host - 1] = '\0';
	sched->pid = getpid();
}

static enum mer_status own(struct mer_sched *sched, struct mer_error *err)
{
	if (sched->registered)
		return MER_OK;
	if (sched->who[0] == '\0') /* the first time; what failed to be written is tried again */
		identify(sched);
	enum mer_status st = mer_owners_sweep(sched->dal, true, NULL, err);
	if (st == MER_OK)
		st = mer_owner_register(sched->dal, sched->owner.text, sched->host, sched->pid, "mer", err);
	return st;
}

/* Rows of one group share most of their times. */
static const char *stamp_text(struct stamp *stamp, int64_t ms)
{
	if (stamp->text[0] == '\0' || stamp->ms != ms)
		mer_time_text(ms, stamp->text);
	stamp->ms = ms;
	return stamp->text;
}

static enum mer_status insert_run(struct mer_sched *sched, struct mer_run *run,
                                  struct mer_error *err)
{
	char sha256[MER_SHA256_SIZE];
	struct mer_sha256 hash;
	mer_sha256_init(&hash);
	if (run->input_meta != NULL)
		mer_sha256_add(&hash, run->input_meta, strlen(run->input_meta));
	mer_sha256_add(&hash, run->input, run->input_len);
	mer_sha256_end(&hash, sha256);
	struct mer_run_open row = {
		.request_uid = run->uid.text,
		.model = run->route->model,
		.deployment = run->route->seen_uid,
		.server = run->route->seen_server,
		.weights = run->route->seen_weights,
		.door = sched->door,
		.who = sched->who,
		.host = sched->host,
		.pid = sched->pid,
		.status = run->stream ? "queued" : "running",
		.queued_at = stamp_text(&sched->queued, mer_time_now_ms()),
		.bytes_in = run->bytes_in,
		.sha256_in = sha256,
		.owner = sched->owner.text,
		.kind = run->route->training != NULL ? "train" : NULL,
		.replays = run->replays,
	};
	struct mer_value args[MER_RUN_OPEN_ARGS];
	mer_run_open_args(&row, args);
	enum mer_status st =
		mer_dal_exec(sched->dal, MER_Q_RUN_INSERT, args, MER_RUN_OPEN_ARGS, NULL, err);
	run->place = mer_dal_last_place(sched->dal);
	(void)snprintf(run->row_uid, sizeof run->row_uid, "%s", row.deployment);
	return st;
}

/* A row tells where its run was at the end. */
static enum mer_status move_run(struct mer_sched *sched, const struct mer_run *run,
                                struct mer_error *err)
{
	const struct deployment *deployment = run->deployment;
	if (deployment == NULL || strcmp(deployment->uid, run->row_uid) == 0)
		return MER_OK;
	return mer_dal_exec(
		sched->dal, MER_Q_RUN_MOVE,
		MER_ARGS(mer_text(run->uid.text), mer_text(deployment->uid), mer_text(deployment->server)),
		NULL, err);
}

static enum mer_status close_run(struct mer_sched *sched, struct mer_run *run,
                                 struct mer_error *err)
{
	struct mer_run_close row;
	run_close_row(run, &row);
	row.started_at = run->started_at != 0 ? stamp_text(&sched->started, run->started_at) : "";
	row.stopped_at = stamp_text(&sched->stopped, run->stopped_at);
	row.place = run->place;
	struct mer_value args[MER_RUN_CLOSE_AT_ARGS];
	mer_run_close_args(&row, args);
	int64_t changed = 0;
	enum mer_status st = move_run(sched, run, err);
	if (st == MER_OK && run->place != 0)
		st = mer_dal_exec(sched->dal, MER_Q_RUN_CLOSE_AT, args, MER_RUN_CLOSE_AT_ARGS, &changed,
		                  err);
	if (st != MER_OK || changed > 0)
		return st;
	return mer_dal_exec(sched->dal, MER_Q_RUN_CLOSE, args, MER_RUN_CLOSE_ARGS, NULL, err);
}

/* Whoever ends well takes its owner row along, so that only the dead are looked for; who leaves a row
 * open does not, so that the next start closes it as lost. */
static enum mer_status disown(struct mer_sched *sched, struct mer_error *err)
{
	if (!sched->registered || sched->owes)
		return MER_OK;
	return mer_dal_exec(sched->dal, MER_Q_OWNER_DELETE, MER_ARGS(mer_text(sched->owner.text)), NULL,
	                    err);
}

/* An owner row that is left is taken away by the next start. */
static void close_dal(struct mer_sched *sched)
{
	if (sched->registered && !sched->owes && mer_dal_begin(sched->dal, NULL) == MER_OK) {
		if (disown(sched, NULL) != MER_OK || mer_dal_end(sched->dal, true, NULL) != MER_OK)
			MER_DEBUG("the owner row stays: the next start takes it away");
	}
	mer_dal_close(sched->dal);
	sched->dal = NULL;
}

/* --- a group ------------------------------------------------------------------------------ */

struct record_job {
	struct mer_job job;
	struct mer_sched *sched;
	struct run_list inserts, closes;   /* the job's while it is under way */
	struct run_list closed, unwritten; /* what became of closes */
	struct resolved_list resolved;
	struct resolved *unread;       /* whose weights are to be read before the group is written */
	struct mer_error insert_error; /* of all inserts; MER_OK: see each run's unwritable */
	struct mer_error close_error;  /* of what is unwritten */
	bool last;                     /* nothing follows: we leave */
};

static struct resolved *resolved_of(struct record_job *job, const struct route *route)
{
	struct resolved *one;
	SLIST_FOREACH(one, &job->resolved, link)
	if (one->route == route)
		return one;
	return NULL;
}

/* MER_EBUSY, only inside a transaction: first the weights of job->unread are to be read. */
static enum mer_status look_at_weights(struct record_job *job, struct resolved *one, bool inside)
{
	bool unread = false;
	enum mer_status st = weights_look(one->route, &unread, &one->error);
	if (unread && inside) {
		job->unread = one;
		return MER_EBUSY;
	}
	if (unread)
		st = weights_read(one->route, &one->error);
	one->error.status = st;
	one->wrong = st != MER_OK;
	return MER_OK;
}

static void read_weights(struct record_job *job)
{
	struct resolved *one = job->unread;
	one->error.status = weights_read(one->route, &one->error);
	one->wrong = one->error.status != MER_OK;
	job->unread = NULL;
}

static enum mer_status resolve_group(struct record_job *job, struct run_list *inserts, bool inside,
                                     struct mer_error *err)
{
	struct mer_run *run;
	TAILQ_FOREACH(run, inserts, link)
	{
		struct resolved *one = resolved_of(job, run->route);
		if (one == NULL) {
			one = calloc(1, sizeof *one);
			if (one == NULL)
				return mer_fail(err, MER_ENOMEM, "out of memory");
			one->route = run->route;
			SLIST_INSERT_HEAD(&job->resolved, one, link);
			enum mer_status st = resolve(job->sched, one->route, &one->fresh, &one->error);
			if (st == MER_EDATABASE || st == MER_ECANCELED) { /* nothing is known of it */
				*err = one->error;
				SLIST_REMOVE_HEAD(&job->resolved, link);
				free(one);
				return st;
			}
			one->error.status = st;
			if (st == MER_OK && look_at_weights(job, one, inside) != MER_OK)
				return mer_fail(err, MER_EBUSY, "weights are not read yet");
		}
		run->rejected = one->wrong;
		run->refused = one->error.status != MER_OK && !one->wrong;
	}
	return MER_OK;
}

/* Behind the rows, since on Postgres those that follow one another go in one statement. */
static enum mer_status write_beside(struct record_job *job, struct run_list *closes,
                                    struct mer_error *err)
{
	struct mer_run *run;
	enum mer_status st = MER_OK;
	TAILQ_FOREACH(run, closes, link)
	{
		if (run->origin != NULL)
			st = origin_write(job->sched, run->origin, err);
		if (st == MER_OK && run->kept != NULL)
			st = keep_write(job->sched->dal, run, err);
		if (st != MER_OK)
			break;
	}
	return st;
}

static enum mer_status write_closes(struct record_job *job, struct run_list *closes,
                                    struct mer_error *err)
{
	struct mer_run *run;
	enum mer_status st = MER_OK;
	TAILQ_FOREACH(run, closes, link)
	{
		st = close_run(job->sched, run, err);
		if (st != MER_OK)
			break;
	}
	return st == MER_OK ? write_beside(job, closes, err) : st;
}

/* What new rows refer to is there from now on, or is not. */
static void take_beside(struct run_list *closes, bool committed)
{
	struct mer_run *run;
	TAILQ_FOREACH(run, closes, link)
	if (run->origin != NULL)
		origin_written(run->origin, committed);
}

static enum mer_status write_inserts(struct record_job *job, struct run_list *inserts,
                                     struct mer_error *err)
{
	struct mer_run *run;
	enum mer_status st = resolve_group(job, inserts, true, err);
	if (st != MER_OK)
		return st;
	st = own(job->sched, err);
	if (st != MER_OK)
		return st;
	TAILQ_FOREACH(run, inserts, link)
	{
		if (run->no_record || run->refused)
			continue;
		st = insert_run(job->sched, run, err);
		if (st != MER_OK)
			return st;
	}
	return MER_OK;
}

static bool any_recorded(const struct run_list *inserts)
{
	const struct mer_run *run;
	TAILQ_FOREACH(run, inserts, link)
	if (!run->no_record)
		return true;
	return false;
}

/* What one transaction writes. */
struct rows {
	struct run_list *closes, *inserts;
	bool leaves; /* nothing of ours stays open behind it: the owner's row goes too */
};

static enum mer_status on_there(void *ctx, const void *row, struct mer_error *err)
{
	(void)row, (void)err;
	*(bool *)ctx = true;
	return MER_OK;
}

static enum mer_status look_for(struct mer_dal *dal, const struct mer_run *run, bool *there,
                                struct mer_error *err)
{
	return mer_dal_query(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(run->uid.text)), on_there, there,
	                     err);
}

/* Rows that somebody has taken away or restored an older state of cannot be closed. How many were
 * costs nothing to know; which, only where some were not. */
static void find_gone(struct mer_dal *dal, const struct run_list *closes)
{
	struct mer_run *run;
	int64_t missing = -mer_dal_tally(dal, MER_Q_RUN_CLOSE) - mer_dal_tally(dal, MER_Q_RUN_CLOSE_AT);
	TAILQ_FOREACH(run, closes, link)
	missing++;
	TAILQ_FOREACH(run, closes, link)
	{
		bool there = false;
		if (missing <= 0 || look_for(dal, run, &there, NULL) != MER_OK)
			return;
		run->gone = !there;
		missing -= run->gone;
	}
}

static enum mer_status transact(struct record_job *job, const struct rows *rows,
                                struct mer_error *err)
{
	struct mer_dal *dal = job->sched->dal;
	const bool opens = any_recorded(rows->inserts);
	enum mer_status st = mer_dal_begin(dal, err);
	if (st != MER_OK)
		return st;
	st = write_closes(job, rows->closes, err);
	if (st == MER_OK && opens)
		st = write_inserts(job, rows->inserts, err);
	if (st == MER_OK && rows->leaves)
		st = disown(job->sched, err);
	if (st != MER_OK)
		mer_dal_rollback(dal);
	else
		st = mer_dal_end(dal, true, err);
	take_beside(rows->closes, st == MER_OK);
	if (st != MER_OK)
		return st;
	if (opens || rows->leaves)
		job->sched->registered = !rows->leaves;
	find_gone(dal, rows->closes);
	return MER_OK;
}

/* Weights are read between two tries, since others wait for a transaction. */
static enum mer_status transact_read(struct record_job *job, const struct rows *rows,
                                     struct mer_error *err)
{
	enum mer_status st = transact(job, rows, err);
	while (job->unread != NULL) {
		read_weights(job);
		st = transact(job, rows, err);
	}
	return st;
}

/* Whether a group whose end nobody has told is in the database: its first row is, or none. */
static enum mer_status look_for_group(struct record_job *job, const struct run_list *inserts,
                                      bool *there, struct mer_error *err)
{
	const struct mer_run *run;
	TAILQ_FOREACH(run, inserts, link)
	if (!run->no_record && !run->refused)
		return look_for(job->sched->dal, run, there, err);
	return MER_OK; /* what is closed twice is closed */
}

/* A server that restarts costs no row: the group is written again, unless it was the answer alone
 * that got lost. */
static enum mer_status transact_surely(struct record_job *job, const struct rows *rows,
                                       struct mer_error *err)
{
	enum mer_status st = transact_read(job, rows, err);
	for (int i = 0; i < AGAIN_MAX && st != MER_OK && mer_dal_repeatable(job->sched->dal); i++) {
		bool there = false;
		st = look_for_group(job, rows->inserts, &there, err);
		if (there)
			job->sched->registered = true;
		else if (st == MER_OK)
			st = transact_read(job, rows, err);
	}
	return st;
}

/* Whether the database takes no row at all now, as opposed to not this one; or nobody waits for it. */
static bool is_away(enum mer_status st)
{
	return st == MER_EDATABASE || st == MER_ENOMEM || st == MER_ECANCELED;
}

/* Closes each row in a transaction of its own: what one of them says must not cost the others. */
static void close_alone(struct record_job *job)
{
	struct run_list one = TAILQ_HEAD_INITIALIZER(one), none = TAILQ_HEAD_INITIALIZER(none);
	struct mer_run *run;
	bool away = false;
	while ((run = TAILQ_FIRST(&job->closes)) != NULL) {
		struct mer_error err;
		TAILQ_REMOVE(&job->closes, run, link);
		TAILQ_INIT(&one);
		TAILQ_INSERT_TAIL(&one, run, link);
		const struct rows rows = { .closes = &one, .inserts = &none };
		enum mer_status st = away ? MER_EDATABASE : transact_surely(job, &rows, &err);
		TAILQ_REMOVE(&one, run, link);
		if (st == MER_OK) {
			TAILQ_INSERT_TAIL(&job->closed, run, link);
			continue;
		}
		run->unwritable = !is_away(st);
		if (!away && job->close_error.status == MER_OK) {
			job->close_error = err;
			job->close_error.status = st;
		}
		away = is_away(st);
		TAILQ_INSERT_TAIL(&job->unwritten, run, link);
	}
}

/* New runs get the error of their own row. */
static void insert_alone(struct record_job *job)
{
	struct run_list none = TAILQ_HEAD_INITIALIZER(none), todo = TAILQ_HEAD_INITIALIZER(todo);
	struct mer_run *run;
	TAILQ_CONCAT(&todo, &job->inserts, link);
	while ((run = TAILQ_FIRST(&todo)) != NULL) {
		struct run_list one = TAILQ_HEAD_INITIALIZER(one);
		struct mer_error err;
		TAILQ_REMOVE(&todo, run, link);
		TAILQ_INSERT_TAIL(&one, run, link);
		const struct rows rows = { .closes = &none, .inserts = &one };
		enum mer_status st = run->no_record ? resolve_group(job, &one, false, &err)
		                                    : transact_surely(job, &rows, &err);
		TAILQ_REMOVE(&one, run, link);
		TAILQ_INSERT_TAIL(&job->inserts, run, link);
		if (st == MER_OK)
			continue;
		run->unwritable = true;
		job->insert_error = err;
		job->insert_error.status = st;
		if (is_away(st))
			break;
	}
	while ((run = TAILQ_FIRST(&todo)) != NULL) {
		TAILQ_REMOVE(&todo, run, link);
		run->unwritable = true;
		TAILQ_INSERT_TAIL(&job->inserts, run, link);
	}
}

static void inserts_failed(struct record_job *job, enum mer_status st, const struct mer_error *err)
{
	struct mer_run *run;
	TAILQ_FOREACH(run, &job->inserts, link)
	run->unwritable = true;
	job->insert_error = *err;
	job->insert_error.status = st;
}

static void write_group(struct record_job *job)
{
	struct mer_error err = { .status = MER_OK };
	bool inserts = any_recorded(&job->inserts), closes = !TAILQ_EMPTY(&job->closes);
	enum mer_status st = record_dal(job->sched, &err);
	bool open = st == MER_OK;
	const struct rows all = { &job->closes, &job->inserts, job->last && !job->sched->owes };
	if (open && (inserts || closes))
		st = transact_surely(job, &all, &err);
	if (st == MER_OK && !inserts)
		st = resolve_group(job, &job->inserts, false, &err);
	if (st == MER_OK) {
		TAILQ_CONCAT(&job->closed, &job->closes, link);
		return;
	}
	/* What could not be begun does not keep what has ended from being written, nor the reverse. */
	bool lost =
		open && (st == MER_ECANCELED || (is_away(st) && mer_dal_repeatable(job->sched->dal)));
	if (open && closes && !lost && (inserts || !is_away(st))) {
		close_alone(job);
	} else {
		TAILQ_CONCAT(&job->unwritten, &job->closes, link);
		job->close_error = err;
		job->close_error.status = st;
	}
	if (open && inserts && !is_away(st))
		insert_alone(job);
	else
		inserts_failed(job, st, &err);
}

/* The last group takes the connection along. */
static void record_in_thread(struct mer_job *base)
{
	struct record_job *job = (struct record_job *)base;
	const struct mer_run *run;
	write_group(job);
	TAILQ_FOREACH(run, &job->unwritten, link)
	job->sched->owes |= run->unwritable || job->last;
	if (job->last)
		close_dal(job->sched);
}

static void take_resolved(struct record_job *job)
{
	struct resolved *one;
	SLIST_FOREACH(one, &job->resolved, link)
	{
		if (one->fresh != NULL)
			pool_changed(one->route, one->fresh);
		one->fresh = NULL;
	}
}

static void free_resolved(struct record_job *job)
{
	struct resolved *one;
	while ((one = SLIST_FIRST(&job->resolved)) != NULL) {
		SLIST_REMOVE_HEAD(&job->resolved, link);
		free(one);
	}
}

/* Nobody waited for its row: it was cancelled, or has met another's haste and waits on. */
static void take_hasty(struct mer_run *run)
{
	struct mer_sched *sched = run->sched;
	if (run->ending != ENDING_NO || sched->on_closed != NULL) {
		run_cancelled(run);
		return;
	}
	run->unwritable = false;
	TAILQ_INSERT_TAIL(&sched->pending, run, link);
	sched->n_pending++;
}

/* The rows are there: the runs may be sent. */
static void take_inserted(struct record_job *job)
{
	struct mer_run *run;
	while ((run = TAILQ_FIRST(&job->inserts)) != NULL) {
		TAILQ_REMOVE(&job->inserts, run, link);
		if (run->unwritable && job->insert_error.status == MER_ECANCELED) {
			take_hasty(run);
			continue;
		}
		if (run->unwritable) {
			run_fail(run, job->insert_error.status, NULL, &job->insert_error);
			continue;
		}
		if (run->refused) {
			const struct resolved *one = resolved_of(job, run->route);
			run_fail(run, one->error.status, NULL, &one->error);
			continue;
		}
		if (run->rejected) {
			const struct resolved *one = resolved_of(job, run->route);
			bool stopped = one->error.status == MER_ECANCELED;
			run->recorded = !run->no_record;
			keep_begin(run, run->route->current);
			run_fail(run, one->error.status, stopped ? NULL : "rejected", &one->error);
			continue;
		}
		run->recorded = !run->no_record;
		keep_begin(run, run->route->current);
		if (job->sched->on_closed != NULL && run->ending == ENDING_NO)
			run->ending = ENDING_CANCEL;
		run_make_ready(run, false);
		if (run->timeout_ms == 0)
			run->timeout_ms = run->route->current->timeout_ms;
		if (!run->stream)
			sched_run_timed(run);
	}
}

static const struct mer_error row_is_gone = {
	.status = MER_EDATABASE,
	.message = "its row is no longer in the database",
};

/* The row stays open, for the next start to close as lost, or there is none. */
static void give_up(struct mer_sched *sched, struct mer_run *run, const struct mer_error *why)
{
	if (sched->record_error.status == MER_OK) {
		sched->record_error = *why;
		(void)mer_wrap(&sched->record_error, why->status, "run %s is not recorded", run->uid.text);
	}
	run_free(run);
}

/* What the database did not take for its own reasons is written again later, unless we leave. */
static void take_closed(struct record_job *job)
{
	struct mer_sched *sched = job->sched;
	struct mer_run *run;
	while ((run = TAILQ_FIRST(&job->closed)) != NULL) {
		TAILQ_REMOVE(&job->closed, run, link);
		if (run->gone)
			give_up(sched, run, &row_is_gone);
		else
			run_free(run);
	}
	bool was_stuck = sched->stuck;
	sched->stuck = false;
	while ((run = TAILQ_LAST(&job->unwritten, run_list)) != NULL) {
		TAILQ_REMOVE(&job->unwritten, run, link);
		if (run->unwritable || job->last || sched->leaving) {
			give_up(sched, run, &job->close_error);
			continue;
		}
		const bool stuck = job->close_error.status != MER_ECANCELED;
		if (stuck && !sched->stuck && !was_stuck)
			MER_LOG(MER_LOG_WARN, "run %s is not recorded yet: %s", run->uid.text,
			        job->close_error.message);
		sched->stuck |= stuck;
		TAILQ_INSERT_HEAD(&sched->closing, run, link);
		sched->n_closing++;
	}
	if (was_stuck && !sched->stuck)
		MER_LOG(MER_LOG_WARN, "what was not recorded is now");
}

static void record_done(struct mer_job *base)
{
	struct record_job *job = (struct record_job *)base;
	struct mer_sched *sched = job->sched;
	struct route *route;
	sched->recording = false;
	sched->jobs--;
	if (!sched->hurried)
		mer_haste_over(&sched->haste);
	if (job->last)
		sched->leaving = sched->closed_dal = true;
	take_resolved(job);
	take_inserted(job);
	take_closed(job);
	free_resolved(job);
	free(job);
	TAILQ_FOREACH(route, &sched->routes, link)
	pool_dispatch(route);
	record_flush(sched, false);
	sched_maybe_closed(sched);
}

static bool due(const struct mer_sched *sched)
{
	if (sched->stuck && sched->n_pending == 0)
		return false;
	if (sched->n_pending >= GROUP_ROWS || sched->n_closing >= GROUP_ROWS ||
	    sched->kept_bytes >= KEPT_FLUSH)
		return true;
	return sched->n_pending > 0 && sched->n_ready < READY_LOW;
}

static bool at_rest(const struct mer_sched *sched)
{
	return sched->n_open == 0 && sched->n_ready == 0 && sched->n_pending == 0;
}

static void on_close_delay(uv_timer_t *timer)
{
	record_flush(timer->data, true);
}

/* --- staying alive ------------------------------------------------------------------------ */

static void keep_in_thread(struct mer_job *job)
{
	struct mer_sched *sched =
		(struct mer_sched *)((char *)job - offsetof(struct mer_sched, keep_job));
	if (sched->dal != NULL && mer_dal_keep(sched->dal, NULL) != MER_OK)
		MER_DEBUG("the database is away");
}

static void keep_done(struct mer_job *job)
{
	struct mer_sched *sched =
		(struct mer_sched *)((char *)job - offsetof(struct mer_sched, keep_job));
	sched->keeping = false;
	sched->jobs--;
	sched_maybe_closed(sched);
}

/* While a model works nothing else would notice that the connection is lost, and with it the lock
 * that tells that we are alive. */
static void on_keep(uv_timer_t *timer)
{
	struct mer_sched *sched = timer->data;
	if (sched->n_open == 0 || sched->recording || sched->keeping || sched->leaving)
		return;
	sched->keep_job = (struct mer_job){ .run = keep_in_thread, .done = keep_done };
	sched->keeping = true;
	sched->jobs++;
	mer_work_push(sched->work, &sched->keep_job);
}

void record_keep(struct mer_sched *sched)
{
	const char *dialect = mer_dal_dialect_of(sched->database);
	uv_unref((uv_handle_t *)&sched->keep);
	if (dialect != NULL && strcmp(dialect, "postgres") == 0)
		uv_timer_start(&sched->keep, on_keep, KEEP_MS, KEEP_MS);
}

void record_flush(struct mer_sched *sched, bool now)
{
	if (sched->recording || (sched->n_pending == 0 && sched->n_closing == 0))
		return;
	if (!now && !due(sched)) {
		if (sched->stuck && sched->on_closed == NULL)
			uv_timer_start(&sched->close_delay, on_close_delay, STUCK_MS, 0);
		else if (at_rest(sched))
			sched_kick(sched); /* the caller may be about to close: then this goes along */
		else if (!uv_is_active((uv_handle_t *)&sched->close_delay))
			uv_timer_start(&sched->close_delay, on_close_delay, CLOSE_DELAY_MS, 0);
		return;
	}
	struct record_job *job = calloc(1, sizeof *job);
	if (job == NULL) {
		/* Nothing is lost: the next end or submission tries again. */
		uv_timer_start(&sched->close_delay, on_close_delay, CLOSE_DELAY_MS, 0);
		return;
	}
	uv_timer_stop(&sched->close_delay);
	job->job = (struct mer_job){ .run = record_in_thread, .done = record_done };
	job->sched = sched;
	TAILQ_INIT(&job->inserts);
	TAILQ_INIT(&job->closes);
	TAILQ_INIT(&job->closed);
	TAILQ_INIT(&job->unwritten);
	SLIST_INIT(&job->resolved);
	TAILQ_CONCAT(&job->closes, &sched->closing, link);
	sched->n_closing = 0;
	for (int n = 0; n < GROUP_MAX && sched->n_pending > 0; n++) {
		struct mer_run *run = TAILQ_FIRST(&sched->pending);
		TAILQ_REMOVE(&sched->pending, run, link);
		TAILQ_INSERT_TAIL(&job->inserts, run, link);
		sched->n_pending--;
	}
	job->last = sched->on_closed != NULL && sched->jobs == 0 && at_rest(sched) &&
	            TAILQ_EMPTY(&job->inserts);
	sched->recording = true;
	sched->jobs++;
	if (job->last)
		mer_work_push_last(sched->work, &job->job);
	else
		mer_work_push(sched->work, &job->job);
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
	enum mer_status st = record_dal(job->route->sched, &job->error);
	if (st == MER_OK)
		st = resolve(job->route->sched, job->route, &job->fresh, &job->error);
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
		pool_ping(route);
	} else if (job->error.status == MER_OK) {
		pool_prepare(route);
	}
	free(job);
	sched_maybe_closed(sched);
}

void record_resolve(struct route *route)
{
	struct resolve_job *job = calloc(1, sizeof *job);
	if (job == NULL)
		return; /* the record job resolves as well */
	job->job = (struct mer_job){ .run = resolve_in_thread, .done = resolve_done };
	job->route = route;
	route->sched->jobs++;
	mer_work_push(route->sched->work, &job->job);
}

/* --- the end ------------------------------------------------------------------------------ */

static struct mer_sched *sched_of(struct mer_job *job)
{
	return (struct mer_sched *)((char *)job - offsetof(struct mer_sched, close_job));
}

static void close_in_thread(struct mer_job *job)
{
	close_dal(sched_of(job));
}

static void close_done(struct mer_job *job)
{
	struct mer_sched *sched = sched_of(job);
	sched->jobs--;
	sched->closed_dal = true;
	sched_maybe_closed(sched);
}

void record_close_dal(struct mer_sched *sched)
{
	sched->close_job = (struct mer_job){ .run = close_in_thread, .done = close_done };
	sched->jobs++;
	mer_work_push_last(sched->work, &sched->close_job);
}
