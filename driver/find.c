/* Looking up models and servers by name. */
#include "find.h"

#include <mer/text.h>
#include <stdio.h>
#include <string.h>

struct found {
	bool yes;
	struct mer_uid *uid;
	char *kind;
};

static enum mer_status on_model(void *ctx, const void *row, struct mer_error *err)
{
	struct found *found = ctx;
	const struct mer_model_row *model = row;
	(void)err;
	found->yes = true;
	(void)snprintf(found->uid->text, sizeof found->uid->text, "%s", model->uid);
	return MER_OK;
}

static enum mer_status on_server(void *ctx, const void *row, struct mer_error *err)
{
	struct found *found = ctx;
	const struct mer_server_row *server = row;
	(void)err;
	found->yes = true;
	(void)snprintf(found->uid->text, sizeof found->uid->text, "%s", server->uid);
	if (found->kind != NULL)
		(void)snprintf(found->kind, 16, "%s", server->kind);
	return MER_OK;
}

static enum mer_status on_other_model(void *ctx, const void *row, struct mer_error *err)
{
	const struct mer_model_row *model = row;
	(void)err;
	mer_guess_offer(ctx, model->name);
	return MER_OK;
}

static enum mer_status on_other_server(void *ctx, const void *row, struct mer_error *err)
{
	const struct mer_server_row *server = row;
	(void)err;
	mer_guess_offer(ctx, server->name);
	return MER_OK;
}

static enum mer_status fail_missing(struct mer_dal *dal, const char *noun, const char *name,
                                    enum mer_query all, mer_row_fn *on_other, struct mer_error *err)
{
	struct mer_guess guess = { .typed = name };
	(void)mer_fail(err, MER_ENOTFOUND, "there is no %s '%s'", noun, name);
	struct mer_error other;
	if (mer_dal_query(dal, all, NULL, 0, on_other, &guess, &other) != MER_OK ||
	    !mer_guess_hint(&guess, err))
		mer_hint(err, "'%s list' shows those that there are", noun);
	return MER_ENOTFOUND;
}

enum mer_status find_model(struct mer_dal *dal, const char *name, struct mer_uid *uid,
                           struct mer_error *err)
{
	struct found found = { .uid = uid };
	enum mer_status st =
		mer_dal_query(dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text(name)), on_model, &found, err);
	if (st != MER_OK || found.yes)
		return st;
	return fail_missing(dal, "model", name, MER_Q_MODELS, on_other_model, err);
}

static enum mer_status on_run(void *ctx, const void *row, struct mer_error *err)
{
	(void)row;
	(void)err;
	*(bool *)ctx = true;
	return MER_OK;
}

enum mer_status find_logged_model(struct mer_dal *dal, const char *name, struct mer_error *err)
{
	struct mer_uid uid;
	bool ran = false;
	enum mer_status st = find_model(dal, name, &uid, err);
	if (st != MER_ENOTFOUND)
		return st;
	struct mer_error other;
	st = mer_dal_query(
		dal, MER_Q_RUNS,
		MER_ARGS(mer_text(name), mer_text(""), mer_text(""), mer_i64(1), mer_text("")), on_run,
		&ran, &other);
	if (st != MER_OK)
		*err = other;
	return st != MER_OK ? st : ran ? MER_OK : MER_ENOTFOUND;
}

enum mer_status find_server(struct mer_dal *dal, const char *name, struct mer_uid *uid, char *kind,
                            struct mer_error *err)
{
	struct found found = { .uid = uid, .kind = kind };
	enum mer_status st =
		mer_dal_query(dal, MER_Q_SERVER_BY_NAME, MER_ARGS(mer_text(name)), on_server, &found, err);
	if (st != MER_OK || found.yes)
		return st;
	return fail_missing(dal, "server", name, MER_Q_SERVERS, on_other_server, err);
}

/* --- deployments -------------------------------------------------------------------------- */

struct wanted {
	const char *which; /* name or uid; NULL: any */
	size_t matches;
	struct found_deployment *out;
	char names[200]; /* of all, as "a, b, c" */
};

static void add_name(struct wanted *wanted, const char *name)
{
	size_t at = strlen(wanted->names), room = sizeof wanted->names - at;
	int n = snprintf(wanted->names + at, room, "%s%s", at == 0 ? "" : ", ", name);
	if (n > 0 && (size_t)n >= room)
		memcpy(wanted->names + sizeof wanted->names - 4, "...", 4);
}

static enum mer_status on_deployment(void *ctx, const void *data, struct mer_error *err)
{
	struct wanted *wanted = ctx;
	struct found_deployment *out = wanted->out;
	const struct mer_deployment_row *row = data;
	(void)err;
	out->siblings++;
	add_name(wanted, row->name);
	if (wanted->which != NULL && strcmp(row->uid, wanted->which) != 0 &&
	    strcmp(row->name, wanted->which) != 0)
		return MER_OK;
	wanted->matches++;
	(void)snprintf(out->uid.text, sizeof out->uid.text, "%s", row->uid);
	(void)snprintf(out->model, sizeof out->model, "%s", row->model);
	(void)snprintf(out->name, sizeof out->name, "%s", row->name);
	return MER_OK;
}

/* Of a model that is there. */
static enum mer_status find_among(struct mer_dal *dal, const char *model, const char *which,
                                  struct found_deployment *out, struct mer_error *err)
{
	struct wanted wanted = { .which = which, .out = out };
	*out = (struct found_deployment){ 0 };
	enum mer_status st = mer_dal_query(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(model)),
	                                   on_deployment, &wanted, err);
	if (st != MER_OK || wanted.matches == 1)
		return st;
	if (which != NULL)
		st = mer_fail(err, MER_ENOTFOUND, "model '%s' has no deployment '%s'", model, which);
	else if (out->siblings == 0)
		st = mer_fail(err, MER_ENOTFOUND, "model '%s' has no deployment", model);
	else
		st = mer_fail(err, MER_ECONFLICT, "model '%s' has %zu deployments, not one", model,
		              out->siblings);
	if (out->siblings > 0)
		mer_hint(err, "say which: %s", wanted.names);
	return st;
}

struct by_uid {
	const char *uid;
	char model[129];
};

static enum mer_status on_any(void *ctx, const void *data, struct mer_error *err)
{
	struct by_uid *by_uid = ctx;
	const struct mer_deployment_row *row = data;
	(void)err;
	if (strcmp(row->uid, by_uid->uid) == 0)
		(void)snprintf(by_uid->model, sizeof by_uid->model, "%s", row->model);
	return MER_OK;
}

enum mer_status find_deployment(struct mer_dal *dal, const char *model, const char *which,
                                struct found_deployment *out, struct mer_error *err)
{
	struct by_uid by_uid = { .uid = model };
	struct mer_uid uid;
	enum mer_status st = MER_OK;
	if (which == NULL)
		st = mer_dal_query(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text("")), on_any, &by_uid, err);
	if (st != MER_OK)
		return st;
	if (by_uid.model[0] != '\0')
		return find_among(dal, by_uid.model, model, out, err);
	st = find_model(dal, model, &uid, err);
	return st == MER_OK ? find_among(dal, model, which, out, err) : st;
}

enum mer_status find_end(struct mer_dal *dal, enum mer_status st, struct mer_error *err)
{
	if (st == MER_OK)
		return mer_dal_end(dal, true, err);
	(void)!mer_dal_end(dal, false, NULL);
	return st;
}
