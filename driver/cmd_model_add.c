/* model add and model set: a model and its first deployment, made and changed. */
#include "commands.h"
#include "example.h"
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
	struct cmd_value values[SPEC_ARGS] = { { 0 } }; /* all rows, of which the command has some */
	memcpy(values, argv, SPEC_MODEL_ARGS * sizeof *values);
	mer_uid_new(&spec->model_uid);
	mer_uid_new(&spec->uid);
	int64_t changed; /* asked for, so that a conflict is told here and not at the commit */
	enum mer_status st = mer_dal_exec(
		dal, MER_Q_MODEL_INSERT,
		MER_ARGS(mer_text(spec->model_uid.text), mer_text(name), mer_text(summary)), &changed, err);
	if (st == MER_ECONFLICT) {
		(void)mer_fail(err, st, "there is a model '%s' already", name);
		mer_hint(err, "'model set' changes it, 'model remove' makes room");
	}
	if (st == MER_OK)
		st = spec_apply(spec, dal, values, err);
	if (st == MER_OK)
		st = spec_insert(spec, dal, err);
	if (st == MER_OK && example_is_given(values))
		st = example_change(dal, name, spec->model_uid.text, values, err);
	return st;
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
	CMD_EXAMPLES("model add shout --summary 'upper case' -- tr a-z A-Z",
	             "model add hello --protocol frame --timeout 30s -- python3 hello.py"),
	.args = spec_args,
	.n_args = SPEC_MODEL_ARGS,
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = add,
};

/* --- model set ---------------------------------------------------------------------------- */

enum { MODEL, PAIRS };
static const struct cmd_arg set_args[] = {
	[MODEL] = CMD_WORD("NAME", ARG_TEXT, "a model that 'model list' shows", .is = VALUE_MODEL,
	                   .required = true),
	[PAIRS] = CMD_WORD("KEY=VALUE", ARG_PAIR, "KEY is an option of 'model add' without its --",
	                   .is = VALUE_KEY, .keys = spec_args, .n_keys = SPEC_MODEL_ARGS,
	                   .required = true, .repeat = true),
};

struct existing {
	struct spec *spec;
	size_t n;
};

static enum mer_status on_deployment(void *ctx, const void *row, struct mer_error *err)
{
	struct existing *existing = ctx;
	return existing->n++ == 0 ? spec_read(existing->spec, row, err) : MER_OK;
}

/* Whether anything is given that is not the model's own. */
static bool changes_deployment(const struct cmd_value values[])
{
	for (size_t i = 0; i < SPEC_MODEL_ARGS; i++) {
		if (i != SPEC_SUMMARY && !example_is_arg(i) && values[i].given)
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
	if (st == MER_OK && existing.n != 1) {
		st = mer_fail(err, MER_ECONFLICT, "model '%s' has %zu deployments, not one", model,
		              existing.n);
		mer_hint(err, "'deployment set' changes one of them, 'deployment add' makes one");
	}
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
	if (st == MER_OK && example_is_given(values))
		st = example_change(dal, model, uid.text, values, err);
	if (st == MER_OK && changes_deployment(values))
		st = set_deployment(dal, model, values, err);
	return st;
}

static enum mer_status set(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	MER_AUTO(spec_pairs_release) struct spec_pairs pairs;
	enum mer_status st = spec_pairs_read(SPEC_SUMMARY, SPEC_MODEL_ARGS, "model add",
	                                     argv[PAIRS].words, argv[PAIRS].count, &pairs, err);
	if (st == MER_OK)
		st = mer_dal_begin(s->dal, err);
	if (st != MER_OK)
		return st;
	st = find_end(s->dal, update(s->dal, argv[MODEL].text, pairs.values, err), err);
	if (st == MER_OK)
		session_note(s, "model '%s' is changed", argv[MODEL].text);
	return st;
}

const struct cmd cmd_model_set = {
	.name = "model set",
	.older = (const char *const[]){ "model-modify", "modify", NULL },
	.summary = "change a model, or how it is started",
	.notes =
		"error-line=GLOB replaces all globs, env=NAME=VALUE adds a variable, env=NAME takes\n"
		"it away; an empty token or glob is the default again. Empty test-input= and test-output=\n"
		"take the example away, @/dev/null is one that is empty.\n",
	CMD_EXAMPLES("model set iris timeout=10s max-workers=2", "model set iris keep-io=on"),
	CMD_ARGS(set_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = set,
};
