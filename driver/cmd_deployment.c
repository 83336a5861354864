/* deployment add, list, show, set and remove: the places where a model runs. */
#include "commands.h"
#include "find.h"
#include "session.h"
#include "spec.h"

#include <mer/clean.h>
#include <stdlib.h>
#include <string.h>

/* --- deployment list ---------------------------------------------------------------------- */

enum { LISTED };
static const struct cmd_arg list_args[] = {
	[LISTED] = CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows; default: of all",
	                    .is = VALUE_MODEL),
};

static enum mer_status on_listed(void *ctx, const void *row, struct mer_error *err)
{
	struct spec_cells cells;
	enum mer_status st = spec_show(row, &cells, err);
	if (st == MER_OK)
		st = out_row(ctx, cells.cells, err);
	spec_cells_release(&cells);
	return st;
}

static enum mer_status list(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	const char *model = argv[LISTED].given ? argv[LISTED].text : "";
	struct mer_uid uid;
	enum mer_status st = argv[LISTED].given ? find_model(s->dal, model, &uid, err) : MER_OK;
	if (st != MER_OK)
		return st;
	out_begin(s, spec_columns, SPEC_COLUMNS);
	st = mer_dal_query(s->dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(model)), on_listed, s, err);
	return st == MER_OK ? out_end(s, err) : st;
}

const struct cmd cmd_deployment_list = {
	.name = "deployment list",
	.summary = "where models run, in the order in which the places are tried",
	CMD_EXAMPLES("deployment list", "deployment list --json iris"),
	CMD_ARGS(list_args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(spec_columns, SPEC_COLUMNS),
	.run = list,
};

/* --- deployment show ---------------------------------------------------------------------- */

enum { MODEL, DEPLOYMENT, PAIRS };
#define MODEL_ROW \
	CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows; or a deployment's uid alone", \
	         .is = VALUE_MODEL, .required = true)
#define DEPLOYMENT_ROW \
	CMD_WORD("DEPLOYMENT", ARG_TEXT, \
	         "its name or uid; may be left out where the model has no other", \
	         .is = VALUE_DEPLOYMENT)

static const struct cmd_arg one_args[] = {
	[MODEL] = MODEL_ROW,
	[DEPLOYMENT] = DEPLOYMENT_ROW,
};

struct shown {
	struct session *s;
	const char *uid;
};

static enum mer_status on_shown(void *ctx, const void *data, struct mer_error *err)
{
	const struct shown *shown = ctx;
	const struct mer_deployment_row *row = data;
	struct spec_cells cells;
	if (strcmp(row->uid, shown->uid) != 0)
		return MER_OK;
	enum mer_status st = spec_show(row, &cells, err);
	if (st == MER_OK)
		st = out_object(shown->s, spec_columns, cells.cells, SPEC_COLUMNS, err);
	spec_cells_release(&cells);
	return st;
}

static enum mer_status show(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	struct found_deployment found;
	struct shown shown = { s, found.uid.text };
	enum mer_status st =
		find_deployment(s->dal, argv[MODEL].text, argv[DEPLOYMENT].text, &found, err);
	return st == MER_OK ? mer_dal_query(s->dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(found.model)),
	                                    on_shown, &shown, err)
	                    : st;
}

const struct cmd cmd_deployment_show = {
	.name = "deployment show",
	.summary = "all that is known of a deployment",
	CMD_EXAMPLES("deployment show iris", "deployment show --json iris local"),
	CMD_ARGS(one_args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_OBJECT(spec_columns, SPEC_COLUMNS),
	.run = show,
};

/* --- deployment add ----------------------------------------------------------------------- */

/* What writing it failed with, in the user's words. */
static enum mer_status explain(enum mer_status st, const char *model, const char *name,
                               struct mer_error *err)
{
	if (st == MER_ECONFLICT)
		return mer_fail(err, st, "model '%s' has a deployment '%s' already", model, name);
	return st;
}

static enum mer_status insert(struct spec *spec, struct mer_dal *dal,
                              const struct cmd_value values[SPEC_ARGS], struct mer_error *err)
{
	const char *model = values[SPEC_MODEL].text;
	enum mer_status st = find_model(dal, model, &spec->model_uid, err);
	mer_uid_new(&spec->uid);
	if (st == MER_OK)
		st = spec_apply(spec, dal, values, err);
	return st == MER_OK ? explain(spec_insert(spec, dal, err), model, spec->name, err) : st;
}

static enum mer_status add(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	struct cmd_value values[SPEC_ARGS] = { { 0 } }; /* all rows, of which the command has some */
	MER_AUTO(spec_release) struct spec spec;
	memcpy(&values[SPEC_SERVER], argv, (SPEC_DEPLOYMENT_ARGS - SPEC_SERVER) * sizeof *values);
	enum mer_status st = spec_init(&spec, err);
	if (st == MER_OK)
		st = mer_dal_begin(s->dal, err);
	if (st != MER_OK)
		return st;
	st = find_end(s->dal, insert(&spec, s->dal, values, err), err);
	if (st == MER_OK)
		session_note(s, "deployment '%s' of model '%s' is there", spec.name,
		             values[SPEC_MODEL].text);
	return st;
}

const struct cmd cmd_deployment_add = {
	.name = "deployment add",
	.summary = "a further place for a model, that is tried where another one fails",
	.notes =
		"Those of the lowest priority are tried first, the others where they cannot be started;\n"
		"those of equal priority share the runs. ARGV is as of 'model add'.\n",
	CMD_EXAMPLES(
		"deployment add digest --name spare --priority 10 -- sha256sum",
		"deployment add iris --protocol frame --weights-dir weights -- '{models}/iris/tensors.py' '{weights}'"),
	.args = &spec_args[SPEC_SERVER],
	.n_args = SPEC_DEPLOYMENT_ARGS - SPEC_SERVER,
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = add,
};

/* --- deployment set ----------------------------------------------------------------------- */

static const struct cmd_arg set_args[] = {
	[MODEL] = MODEL_ROW,
	[DEPLOYMENT] = DEPLOYMENT_ROW,
	[PAIRS] = CMD_WORD("KEY=VALUE", ARG_PAIR,
	                   "KEY is an option of 'deployment add' without its --, or enabled",
	                   .is = VALUE_KEY, .keys = &spec_args[SPEC_SERVER],
	                   .n_keys = SPEC_ARGS - SPEC_SERVER, .repeat = true),
};

struct existing {
	struct spec *spec;
	const char *uid;
};

static enum mer_status on_existing(void *ctx, const void *data, struct mer_error *err)
{
	const struct existing *existing = ctx;
	const struct mer_deployment_row *row = data;
	return strcmp(row->uid, existing->uid) == 0 ? spec_read(existing->spec, row, err) : MER_OK;
}

static enum mer_status update(struct mer_dal *dal, const char *model, const char *which,
                              const struct cmd_value values[SPEC_ARGS],
                              struct found_deployment *found, struct mer_error *err)
{
	MER_AUTO(spec_release) struct spec spec;
	struct existing existing = { &spec, found->uid.text };
	enum mer_status st = spec_init(&spec, err);
	if (st == MER_OK)
		st = find_deployment(dal, model, which, found, err);
	if (st == MER_OK)
		st = mer_dal_query(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(found->model)), on_existing,
		                   &existing, err);
	if (st == MER_OK)
		st = spec_apply(&spec, dal, values, err);
	return st == MER_OK ? explain(spec_update(&spec, dal, err), found->model, spec.name, err) : st;
}

/* The words that are pairs; the second positional one is, where no deployment is named. */
static enum mer_status gather(const struct cmd_value *argv, const char ***words, size_t *n,
                              const char **which, struct mer_error *err)
{
	const char *second = argv[DEPLOYMENT].text;
	bool is_pair = second != NULL && strchr(second, '=') != NULL;
	const char **all = calloc(argv[PAIRS].count + 1, sizeof *all);
	if (all == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	*words = all;
	*n = 0;
	*which = is_pair ? NULL : second;
	if (is_pair)
		all[(*n)++] = second;
	for (size_t i = 0; i < argv[PAIRS].count; i++)
		all[(*n)++] = argv[PAIRS].words[i];
	if (*n > 0)
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "'deployment set' needs KEY=VALUE");
	mer_hint(err, "'help deployment set' tells what it takes");
	return MER_EINPUT;
}

static void words_done(const char ***words)
{
	free(*words);
}

static enum mer_status set(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	MER_AUTO(words_done) const char **words = NULL;
	MER_AUTO(spec_pairs_release) struct spec_pairs pairs = { .pool = NULL };
	struct found_deployment found;
	const char *which = NULL;
	size_t n = 0;
	enum mer_status st = gather(argv, &words, &n, &which, err);
	if (st == MER_OK)
		st = spec_pairs_read(SPEC_SERVER, SPEC_ARGS, "deployment add", words, n, &pairs, err);
	if (st == MER_OK)
		st = mer_dal_begin(s->dal, err);
	if (st != MER_OK)
		return st;
	st = find_end(s->dal, update(s->dal, argv[MODEL].text, which, pairs.values, &found, err), err);
	if (st == MER_OK)
		session_note(s, "deployment '%s' of model '%s' is changed", found.name, found.model);
	return st;
}

const struct cmd cmd_deployment_set = {
	.name = "deployment set",
	.summary = "change a deployment, or let no run use it",
	.notes =
		"enabled=off keeps it and gives it no run, enabled=on takes that back; the other keys\n"
		"are as of 'model set'.\n",
	CMD_EXAMPLES("deployment set iris local max-workers=2 idle=1h",
	             "deployment set digest spare enabled=off"),
	CMD_ARGS(set_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = set,
};

/* --- deployment remove -------------------------------------------------------------------- */

static enum mer_status remove_one(struct mer_dal *dal, const struct cmd_value *argv,
                                  struct found_deployment *found, struct mer_error *err)
{
	enum mer_status st = find_deployment(dal, argv[MODEL].text, argv[DEPLOYMENT].text, found, err);
	if (st != MER_OK)
		return st;
	if (found->siblings == 1) {
		(void)mer_fail(err, MER_ECONFLICT, "deployment '%s' is the only one of model '%s'",
		               found->name, found->model);
		mer_hint(err, "'model remove' forgets the model with it, enabled=off lets no run use it");
		return MER_ECONFLICT;
	}
	return mer_dal_exec(dal, MER_Q_DEPLOYMENT_DELETE, MER_ARGS(mer_text(found->uid.text)), NULL,
	                    err);
}

static enum mer_status remove_deployment(struct session *s, const struct cmd_value *argv,
                                         struct mer_error *err)
{
	struct found_deployment found;
	enum mer_status st = mer_dal_begin(s->dal, err);
	if (st != MER_OK)
		return st;
	st = find_end(s->dal, remove_one(s->dal, argv, &found, err), err);
	if (st == MER_OK)
		session_note(s, "deployment '%s' of model '%s' is removed", found.name, found.model);
	return st;
}

const struct cmd cmd_deployment_remove = {
	.name = "deployment remove",
	.summary = "forget a deployment of a model that has others",
	CMD_EXAMPLES("deployment remove digest spare"),
	CMD_ARGS(one_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = remove_deployment,
};
