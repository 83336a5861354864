/* weights: the versions of a model's parameters. */
#include "commands.h"
#include "find.h"
#include "weights.h"

#include <mer/clean.h>
#include <string.h>

/* --- weights add -------------------------------------------------------------------------- */

enum { MODEL, PATH, VERSION };
static const struct cmd_arg add_args[] = {
	[MODEL] = CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows", .is = VALUE_MODEL,
	                   .required = true),
	[PATH] = CMD_WORD("PATH", ARG_TEXT,
	                  "a file or a folder; {models} at the front is the folder of "
	                  "the example models, SERVER:/PATH one on a server of kind ssh",
	                  .is = VALUE_FILE, .required = true),
	[VERSION] = CMD_OPTION("version", ARG_NAME, "V", "what to call it; default: the next number"),
};

static enum mer_status insert(struct mer_dal *dal, const char *model, struct weights_new *new,
                              char number[24], struct mer_error *err)
{
	MER_AUTO(weights_list_done) struct weights_list list = { 0 };
	struct mer_uid model_uid, uid;
	enum mer_status st = weights_begin(dal, model, &model_uid, &list, err);
	if (st != MER_OK)
		return st;
	if (new->version == NULL) {
		(void)snprintf(number, 24, "%lld", (long long)weights_next(&list));
		new->version = number;
	}
	return find_end(dal, weights_insert(dal, model, &model_uid, new, &uid, err), err);
}

static enum mer_status add(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	const char *model = argv[MODEL].text;
	struct weights_new new = {
		.version = argv[VERSION].text, .metrics = "{}", .parent_uid = "", .made_by = ""
	};
	char number[24];
	struct mer_uid uid;
	MER_AUTO(mer_text_done) char *path = NULL;
	enum mer_status st = find_model(s->dal, model, &uid, err);
	if (st == MER_OK)
		st = weights_path(argv[PATH].text, &path, err);
	if (st == MER_OK)
		st = weights_sum(s, path, &new.sum, err);
	new.path = path;
	if (st == MER_OK)
		st = insert(s->dal, model, &new, number, err);
	return st == MER_OK ? weights_show(s, model, new.version, err) : st;
}

const struct cmd cmd_weights_add = {
	.name = "weights add",
	.summary = "a version of a model's weights, by its path; prints it",
	.notes =
		"SHA-256 and size are recorded; a worker does not start with weights that have changed\n"
		"since. It is a candidate until 'weights use'. Of a folder the SHA-256 is that of the\n"
		"sorted lines 'sha256  relative/path' of its files.\n",
	CMD_EXAMPLES("weights add iris weights/spring.json",
	             "weights add iris weights/spring.json --version spring"),
	CMD_ARGS(add_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.formats = CMD_FORMATS_ALL,
	CMD_OBJECT(weights_columns, WEIGHTS_COLUMNS - 1),
	.run = add,
};

/* --- weights list ------------------------------------------------------------------------- */

enum { CHECK = 1 };
static const struct cmd_arg list_args[] = {
	[MODEL] = CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows", .is = VALUE_MODEL,
	                   .required = true),
	[CHECK] = CMD_FLAG("check", "read all bytes: exit 4 where some are not those that were added"),
};

/* Names those that are not as they were, as far as there is room. */
static enum mer_status tell(const struct weights_list *list, const char *model,
                            struct mer_error *err)
{
	char names[256] = "";
	size_t at = 0;
	for (size_t i = 0; i < list->n && at < sizeof names; i++) {
		const struct weights *one = &list->rows[i];
		if (strcmp(one->check, "ok") != 0)
			at += (size_t)snprintf(names + at, sizeof names - at, "%s'%s' %s", at > 0 ? ", " : "",
			                       one->version, one->check);
	}
	if (at == 0)
		return MER_OK;
	return mer_fail(err, MER_ECONFLICT, "weights of model '%s' are not what was added: %s", model,
	                names);
}

static enum mer_status list(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	const char *model = argv[MODEL].text;
	bool check = argv[CHECK].given;
	MER_AUTO(weights_list_done) struct weights_list all = { 0 };
	struct mer_uid uid;
	enum mer_status st = find_model(s->dal, model, &uid, err);
	if (st == MER_OK)
		st = weights_read_all(s->dal, model, &all, err);
	if (st == MER_OK && check)
		st = weights_check(s, &all, err);
	if (st == MER_OK)
		st = weights_print(s, &all, check, err);
	if (st != MER_OK || !check)
		return st;
	s->out.told = true;
	return tell(&all, model, err);
}

const struct cmd cmd_weights_list = {
	.name = "weights list",
	.summary = "the versions of a model's weights, newest first",
	CMD_EXAMPLES("weights list iris", "weights list --check iris"),
	CMD_ARGS(list_args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(weights_columns, WEIGHTS_COLUMNS),
	.run = list,
};

/* --- weights use, weights remove ---------------------------------------------------------- */

enum { WHICH = 1 };
static const struct cmd_arg one_args[] = {
	[MODEL] = CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows", .is = VALUE_MODEL,
	                   .required = true),
	[WHICH] = CMD_WORD("V", ARG_TEXT, "a version that 'weights list' shows", .is = VALUE_WEIGHTS,
	                   .required = true),
};

/* Changes one version in a transaction. */
static enum mer_status change(struct session *s, const struct cmd_value *argv,
                              enum mer_status (*how)(struct mer_dal *dal, const char *model,
                                                     const struct mer_uid *model_uid,
                                                     const struct weights *weights,
                                                     struct mer_error *err),
                              struct mer_error *err)
{
	const char *model = argv[MODEL].text;
	MER_AUTO(weights_list_done) struct weights_list all = { 0 };
	struct mer_uid uid;
	const struct weights *found;
	enum mer_status st = weights_begin(s->dal, model, &uid, &all, err);
	if (st != MER_OK)
		return st;
	st = weights_find(&all, model, argv[WHICH].text, &found, err);
	if (st == MER_OK)
		st = how(s->dal, model, &uid, found, err);
	return find_end(s->dal, st, err);
}

static enum mer_status activate(struct mer_dal *dal, const char *model,
                                const struct mer_uid *model_uid, const struct weights *weights,
                                struct mer_error *err)
{
	(void)model;
	return weights_activate(dal, model_uid, weights->uid.text, err);
}

static enum mer_status use(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	enum mer_status st = change(s, argv, activate, err);
	if (st == MER_OK)
		session_note(s, "model '%s' uses weights '%s'", argv[MODEL].text, argv[WHICH].text);
	return st;
}

const struct cmd cmd_weights_use = {
	.name = "weights use",
	.summary = "make a version the active one",
	.notes = "Warm workers of the one before answer no further run.\n",
	CMD_EXAMPLES("weights use iris 1", "weights use iris spring"),
	CMD_ARGS(one_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = use,
};

static enum mer_status forget(struct mer_dal *dal, const char *model,
                              const struct mer_uid *model_uid, const struct weights *weights,
                              struct mer_error *err)
{
	(void)model_uid;
	if (strcmp(weights->state, "active") == 0) {
		(void)mer_fail(err, MER_ECONFLICT, "weights '%s' of model '%s' are the active ones",
		               weights->version, model);
		mer_hint(err, "'weights use' makes room with another version");
		return MER_ECONFLICT;
	}
	return mer_dal_exec(dal, MER_Q_WEIGHTS_DELETE, MER_ARGS(mer_text(weights->uid.text)), NULL,
	                    err);
}

static enum mer_status remove_weights(struct session *s, const struct cmd_value *argv,
                                      struct mer_error *err)
{
	enum mer_status st = change(s, argv, forget, err);
	if (st == MER_OK)
		session_note(s, "weights '%s' of model '%s' are forgotten; what is at their path stays",
		             argv[WHICH].text, argv[MODEL].text);
	return st;
}

const struct cmd cmd_weights_remove = {
	.name = "weights remove",
	.summary = "forget a version that is not active; its files stay",
	CMD_EXAMPLES("weights remove iris spring"),
	CMD_ARGS(one_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = remove_weights,
};
