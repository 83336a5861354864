/* model add and model set: a model and its first deployment, made and changed. */
#include "commands.h"
#include "find.h"
#include "session.h"
#include "spec.h"

#include <mer/clean.h>
#include <string.h>

/* --- model add ---------------------------------------------------------------------------- */

static enum mer_status insert(struct spec *spec, struct mer_dal *dal, const struct cmd_value *argv,
                              struct mer_error *err)
{
	const char *name = argv[SPEC_NAME].text, *summary = argv[SPEC_SUMMARY].text;
	mer_uid_new(&spec->model_uid);
	mer_uid_new(&spec->uid);
	enum mer_status st = mer_dal_exec(
		dal, MER_Q_MODEL_INSERT,
		MER_ARGS(mer_text(spec->model_uid.text), mer_text(name), mer_text(summary)), NULL, err);
	if (st == MER_ECONFLICT) {
		(void)mer_fail(err, st, "there is a model '%s' already", name);
		mer_hint(err, "'model set' changes it, 'model remove' makes room");
	}
	if (st == MER_OK)
		st = spec_apply(spec, dal, argv, err);
	return st == MER_OK ? spec_insert(spec, dal, err) : st;
}

static enum mer_status add(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	MER_AUTO(spec_release) struct spec spec;
	enum mer_status st = spec_init(&spec, err);
	if (st == MER_OK)
		st = mer_dal_begin(s->dal, err);
	if (st != MER_OK)
		return st;
	st = find_end(s->dal, insert(&spec, s->dal, argv, err), err);
	if (st == MER_OK)
		session_note(s, "model '%s' is there", argv[SPEC_NAME].text);
	return st;
}

const struct cmd cmd_model_add = {
	.name = "model add",
	.older = (const char *const[]){ "model-create", "create", NULL },
	.summary = "a model and its first deployment: how to start it",
	.notes = "In ARGV and in the words of --train {weights} {weights_version} {input} {output}\n"
			 "{workdir} and others stand for what they name, within their word; {models} at the\n"
			 "front is the folder of the example models.\n",
	.args = spec_args,
	.n_args = SPEC_ARGS,
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = add,
};

/* --- model set ---------------------------------------------------------------------------- */

enum { MODEL, PAIRS };
static const struct cmd_arg set_args[] = {
	[MODEL] = CMD_WORD("NAME", ARG_TEXT, "a model that 'model list' shows", .required = true),
	[PAIRS] = CMD_WORD("KEY=VALUE", ARG_PAIR, "KEY is an option of 'model add' without its --",
	                   .required = true, .repeat = true),
};

/* The row of a key; NULL: there is none. */
static const struct cmd_arg *find_key(const char *pair, struct mer_error *err)
{
	size_t len = strcspn(pair, "="), distance = 0;
	const char *best = NULL;
	char key[64];
	(void)snprintf(key, sizeof key, "%.*s", (int)(len < sizeof key ? len : sizeof key - 1), pair);
	for (size_t i = 0; i < SPEC_ARGS; i++) {
		if (!spec_args[i].option)
			continue;
		if (strcmp(spec_args[i].name, key) == 0)
			return &spec_args[i];
		cmd_nearer(key, spec_args[i].name, &best, &distance);
	}
	(void)mer_fail(err, MER_EINPUT, "no such key: '%s'", key);
	if (best != NULL)
		mer_hint(err, "did you mean '%s'?", best);
	else
		mer_hint(err, "keys are the options of 'model add', as in timeout=5s");
	return NULL;
}

/* Reads pairs as if they were options; pool has room for all of them and a NULL a row. */
static enum mer_status read_pairs(const struct cmd_value *pairs, struct cmd_value values[],
                                  const char **pool, struct mer_error *err)
{
	for (size_t i = 0; i < pairs->count; i++) {
		if (find_key(pairs->words[i], err) == NULL)
			return MER_EINPUT;
	}
	for (size_t row = 0; row < SPEC_ARGS; row++) {
		const struct cmd_arg *arg = &spec_args[row];
		values[row].words = pool;
		for (size_t i = 0; i < pairs->count; i++) {
			if (find_key(pairs->words[i], NULL) != arg)
				continue;
			const char *text = strchr(pairs->words[i], '=') + 1;
			enum mer_status st = MER_OK;
			if (arg->type == ARG_PAIR) /* a name alone takes it away */
				values[row].text = text;
			else
				st = cmd_value_parse(arg, arg->name, text, &values[row], err);
			if (st != MER_OK)
				return st;
			values[row].given = true;
			*pool++ = text;
		}
		values[row].count = (size_t)(pool - values[row].words);
		*pool++ = NULL;
	}
	return MER_OK;
}

struct existing {
	struct spec *spec;
	size_t n;
};

static enum mer_status on_deployment(void *ctx, const void *row, struct mer_error *err)
{
	struct existing *existing = ctx;
	return existing->n++ == 0 ? spec_read(existing->spec, row, err) : MER_OK;
}

/* Whether anything but the summary is given. */
static bool changes_deployment(const struct cmd_value values[])
{
	for (size_t i = 0; i < SPEC_ARGS; i++) {
		if (i != SPEC_SUMMARY && values[i].given)
			return true;
	}
	return false;
}

static enum mer_status set_deployment(struct mer_dal *dal, const char *model,
                                      const struct cmd_value values[], struct mer_error *err)
{
	MER_AUTO(spec_release) struct spec spec;
	struct existing existing = { .spec = &spec };
	enum mer_status st = spec_init(&spec, err);
	if (st == MER_OK)
		st = mer_dal_query(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(model)), on_deployment,
		                   &existing, err);
	if (st == MER_OK && existing.n != 1)
		st = mer_fail(err, MER_ECONFLICT, "model '%s' has %zu deployments, not one", model,
		              existing.n);
	if (st == MER_OK)
		st = spec_apply(&spec, dal, values, err);
	return st == MER_OK ? spec_update(&spec, dal, err) : st;
}

static enum mer_status update(struct mer_dal *dal, const char *model,
                              const struct cmd_value values[], struct mer_error *err)
{
	struct mer_uid uid;
	enum mer_status st = find_model(dal, model, &uid, err);
	if (st == MER_OK && values[SPEC_SUMMARY].given)
		st = mer_dal_exec(dal, MER_Q_MODEL_UPDATE,
		                  MER_ARGS(mer_text(uid.text), mer_text(values[SPEC_SUMMARY].text)), NULL,
		                  err);
	if (st == MER_OK && changes_deployment(values))
		st = set_deployment(dal, model, values, err);
	return st;
}

static enum mer_status set(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	struct cmd_value values[SPEC_ARGS] = { { 0 } };
	const char **pool = calloc(argv[PAIRS].count + SPEC_ARGS, sizeof *pool);
	if (pool == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = read_pairs(&argv[PAIRS], values, pool, err);
	if (st == MER_OK)
		st = mer_dal_begin(s->dal, err);
	if (st == MER_OK)
		st = find_end(s->dal, update(s->dal, argv[MODEL].text, values, err), err);
	free(pool);
	if (st == MER_OK)
		session_note(s, "model '%s' is changed", argv[MODEL].text);
	return st;
}

const struct cmd cmd_model_set = {
	.name = "model set",
	.older = (const char *const[]){ "model-modify", "modify", NULL },
	.summary = "change a model, or how it is started",
	.notes = "error-line=GLOB replaces all globs, env=NAME=VALUE adds a variable, env=NAME takes\n"
			 "it away; an empty token or glob is the default again.\n",
	CMD_ARGS(set_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = set,
};
