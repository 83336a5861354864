/* model list, show, ping and remove. */
#include "commands.h"
#include "example.h"
#include "find.h"
#include "session.h"
#include "spec.h"

#include <mer/clean.h>
#include <mer/oip.h>
#include <string.h>

enum { MODEL };
static const struct cmd_arg model_args[] = {
	[MODEL] = CMD_WORD("NAME", ARG_TEXT, "a model that 'model list' shows", .is = VALUE_MODEL,
	                   .required = true),
};

/* --- model list --------------------------------------------------------------------------- */

enum { MODEL_COLUMNS = 5 };
static const struct out_column model_columns[MODEL_COLUMNS] = {
	{ "uid", OUT_UID | OUT_HIDDEN }, { "name", 0 },
	{ "summary", OUT_SHORTEN },      { "feedback", OUT_BOOL },
	{ "deployments", OUT_NUMBER },
};

static enum mer_status on_model(void *ctx, const void *row, struct mer_error *err)
{
	const struct mer_model_row *model = row;
	const struct mer_cell cells[MODEL_COLUMNS] = {
		mer_cell_text(model->uid),        mer_cell_text(model->name),
		mer_cell_text(model->summary),    mer_cell_bool(model->feedback != 0),
		mer_cell_i64(model->deployments),
	};
	return out_row(ctx, cells, err);
}

static enum mer_status list(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	(void)argv;
	out_begin(s, model_columns, MODEL_COLUMNS);
	enum mer_status st = mer_dal_query(s->dal, MER_Q_MODELS, NULL, 0, on_model, s, err);
	return st == MER_OK ? out_end(s, err) : st;
}

const struct cmd cmd_model_list = {
	.name = "model list",
	.older =
		(const char *const[]){ "model-list", "list-models", "model-ls", "ls-models", "ls", NULL },
	.summary = "the models that there are",
	CMD_EXAMPLES("model list", "model list --json"),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(model_columns, MODEL_COLUMNS),
	.run = list,
};

/* --- model show --------------------------------------------------------------------------- */

enum { SHOWN_COLUMNS = 11 };
static const struct out_column shown_columns[SHOWN_COLUMNS] = {
	{ "uid", OUT_UID },
	{ "name", 0 },
	{ "summary", 0 },
	{ "feedback", OUT_BOOL },
	{ "inputs", OUT_ARRAY | OUT_NULL },
	{ "outputs", OUT_ARRAY | OUT_NULL },
	{ "test_input", OUT_NULL },
	{ "test_output", OUT_NULL },
	{ "test_tolerance", OUT_NULL },
	{ "test_on_start", OUT_BOOL },
	{ "deployments", OUT_ARRAY },
};

struct shown {
	struct session *s;
	struct mer_uid uid;
	char *summary;          /* NULL: there is no such model */
	char *inputs, *outputs; /* arrays of tensors in JSON, for people as text; "": not known */
	int64_t feedback, deployments;
	struct mer_buf array; /* its deployments as JSON */
	struct mer_emit emit;
	size_t n;
};

static void shown_done(struct shown *shown)
{
	free(shown->summary);
	free(shown->inputs);
	free(shown->outputs);
	mer_buf_release(&shown->array);
}

/* The tensors in a contract, as JSON or as text for people. */
static enum mer_status show_tensors(const char *contract, const char *key, bool as_text, char **out,
                                    struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	struct mer_buf text;
	enum mer_status st = mer_json_parse(key, contract, strlen(contract), &json, err);
	if (st != MER_OK)
		return st;
	const json_t *list = json_object_get(json, key);
	if (list != NULL && !as_text)
		return mer_json_text(list, out, err);
	mer_buf_init(&text, SIZE_MAX);
	mer_oip_describe(list, &text);
	return mer_buf_take(&text, out, NULL, err);
}

static enum mer_status on_shown_model(void *ctx, const void *row, struct mer_error *err)
{
	struct shown *shown = ctx;
	const struct mer_model_row *model = row;
	(void)snprintf(shown->uid.text, sizeof shown->uid.text, "%s", model->uid);
	shown->feedback = model->feedback;
	shown->deployments = model->deployments;
	shown->summary = strdup(model->summary);
	if (shown->summary == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	bool as_text = out_by_member(shown->s);
	enum mer_status st = show_tensors(model->inputs, "inputs", as_text, &shown->inputs, err);
	return st == MER_OK ? show_tensors(model->outputs, "outputs", as_text, &shown->outputs, err)
	                    : st;
}

/* The members of a deployment, each as one of the model: "deployments.0.server". */
static enum mer_status show_members(struct shown *shown, const struct spec_cells *of,
                                    struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < SPEC_COLUMNS && st == MER_OK; i++) {
		char name[64];
		(void)snprintf(name, sizeof name, "deployments.%zu.%s", shown->n, spec_columns[i].name);
		st = out_member(shown->s, name, of->cells[i], err);
	}
	return st;
}

static enum mer_status on_deployment(void *ctx, const void *row, struct mer_error *err)
{
	struct shown *shown = ctx;
	struct spec_cells cells;
	enum mer_status st = spec_show(row, &cells, err);
	if (st == MER_OK && out_by_member(shown->s))
		st = show_members(shown, &cells, err);
	else if (st == MER_OK)
		mer_emit_row(&shown->emit, cells.cells);
	spec_cells_release(&cells);
	shown->n++;
	return st;
}

static enum mer_status show_deployments(struct shown *shown, const char *name,
                                        struct mer_error *err)
{
	const char *names[SPEC_COLUMNS];
	for (size_t i = 0; i < SPEC_COLUMNS; i++)
		names[i] = spec_columns[i].name;
	mer_emit_begin(&shown->emit, MER_FORMAT_JSON, false, names, SPEC_COLUMNS, &shown->array);
	enum mer_status st = mer_dal_query(shown->s->dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(name)),
	                                   on_deployment, shown, err);
	mer_emit_end(&shown->emit);
	if (shown->array.len > 0)
		shown->array.ptr[--shown->array.len] = '\0'; /* the line's end */
	return st == MER_OK ? mer_buf_check(&shown->array, err) : st;
}

static enum mer_status show_all(struct shown *shown, const char *name,
                                const struct example *example, struct mer_error *err)
{
	struct session *s = shown->s;
	enum mer_status st = MER_OK;
	bool by_member = out_by_member(s);
	struct mer_cell cells[SHOWN_COLUMNS] = {
		mer_cell_text(shown->uid.text),
		mer_cell_text(name),
		mer_cell_text(shown->summary),
		mer_cell_bool(shown->feedback != 0),
		by_member ? mer_cell_text(shown->inputs) : mer_cell_json(shown->inputs),
		by_member ? mer_cell_text(shown->outputs) : mer_cell_json(shown->outputs),
		mer_cell_text(example->input),
		mer_cell_text(example->output),
		mer_cell_word(example->tolerance),
		mer_cell_bool(example->on_start),
		mer_cell_i64(shown->deployments),
	};
	if (!by_member) {
		st = show_deployments(shown, name, err);
		cells[SHOWN_COLUMNS - 1] = mer_cell_json(shown->array.ptr);
		return st == MER_OK ? out_object(s, shown_columns, cells, SHOWN_COLUMNS, err) : st;
	}
	for (size_t i = 0; i < SHOWN_COLUMNS && st == MER_OK; i++)
		st = out_member(s, shown_columns[i].name, cells[i], err);
	if (st == MER_OK)
		st = show_deployments(shown, name, err);
	return st == MER_OK ? out_members_end(s, err) : st;
}

static enum mer_status show(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	const char *name = argv[MODEL].text;
	MER_AUTO(shown_done) struct shown shown = { .s = s };
	MER_AUTO(example_release) struct example example = { 0 };
	mer_buf_init(&shown.array, PTRDIFF_MAX);
	struct mer_uid uid;
	enum mer_status st = find_model(s->dal, name, &uid, err);
	if (st == MER_OK)
		st = mer_dal_query(s->dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text(name)), on_shown_model,
		                   &shown, err);
	if (st == MER_OK)
		st = example_read(s->dal, name, &example, err);
	return st == MER_OK ? show_all(&shown, name, &example, err) : st;
}

const struct cmd cmd_model_show = {
	.name = "model show",
	.older = (const char *const[]){ "model-info", NULL },
	.summary = "all that is known of a model",
	CMD_EXAMPLES("model show iris", "model show --json iris"),
	CMD_ARGS(model_args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_OBJECT(shown_columns, SHOWN_COLUMNS),
	.run = show,
};

/* --- model remove ------------------------------------------------------------------------- */

static enum mer_status remove_model(struct session *s, const struct cmd_value *argv,
                                    struct mer_error *err)
{
	struct mer_uid uid;
	enum mer_status st = find_model(s->dal, argv[MODEL].text, &uid, err);
	if (st == MER_OK)
		st = mer_dal_exec(s->dal, MER_Q_MODEL_DELETE, MER_ARGS(mer_text(uid.text)), NULL, err);
	if (st == MER_OK)
		session_note(s, "model '%s' is removed; its runs stay in the log", argv[MODEL].text);
	return st;
}

const struct cmd cmd_model_remove = {
	.name = "model remove",
	.older = (const char *const[]){ "model-delete", "delete", NULL },
	.summary = "forget a model; its runs stay in the log",
	CMD_EXAMPLES("model remove digest"),
	CMD_ARGS(model_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = remove_model,
};

/* --- model ping --------------------------------------------------------------------------- */

enum { TEST = MODEL + 1 };
static const struct cmd_arg ping_args[] = {
	[MODEL] = CMD_WORD("NAME", ARG_TEXT, "a model that 'model list' shows", .is = VALUE_MODEL,
	                   .required = true),
	[TEST] = CMD_FLAG("test", "and have it answer its example; 1 where it answers otherwise"),
};

/* Lives until the answer comes, which a signal does not wait for. */
struct ping {
	struct mer_sched *sched;
	bool done, left;
	struct mer_error err;
	int64_t ms;
	char server[129];
};

static void on_ready(void *ctx, const struct mer_error *err, int64_t ms, const char *server)
{
	struct ping *ping = ctx;
	if (ping->left) {
		free(ping);
		return;
	}
	if (err != NULL)
		ping->err = *err;
	ping->ms = ms;
	(void)snprintf(ping->server, sizeof ping->server, "%s", server);
	ping->done = true;
}

static void on_cancel(void *ctx, bool kill)
{
	struct ping *ping = ctx;
	(void)kill;
	mer_sched_hurry(ping->sched);
	ping->left = ping->done = true;
}

/* Of --test. */
struct tested {
	bool done;
	enum mer_status st; /* MER_OK or MER_EMODEL */
	int64_t ms;
	struct mer_buf shown;
};

/* The last three where it was tested. */
enum { PING_COLUMNS = 6, UNTESTED_COLUMNS = 3 };
static const struct out_column ping_columns[PING_COLUMNS] = {
	{ "model", 0 }, { "server", 0 },           { "ready_ms", OUT_NUMBER },
	{ "test", 0 },  { "test_ms", OUT_NUMBER }, { "difference", OUT_NULL },
};

static enum mer_status tell_object(struct session *s, const char *model, const struct ping *ping,
                                   const struct tested *tested, struct mer_error *err)
{
	const struct mer_cell cells[] = {
		mer_cell_text(model),     mer_cell_text(ping->server),
		mer_cell_i64(ping->ms),   mer_cell_text(tested->st == MER_OK ? "ok" : "failed"),
		mer_cell_i64(tested->ms), mer_cell_word(tested->shown.ptr),
	};
	s->out.told = true;
	return out_object(s, ping_columns, cells, tested->done ? PING_COLUMNS : UNTESTED_COLUMNS, err);
}

static enum mer_status tell(struct session *s, const char *model, const struct ping *ping,
                            const struct tested *tested, struct mer_error *err)
{
	if (!out_by_member(s))
		return tell_object(s, model, ping, tested, err);
	char text[512];
	(void)snprintf(text, sizeof text, "%s on %s: ready in %lld ms\n", model, ping->server,
	               (long long)ping->ms);
	out_text(s, text);
	if (tested->done && tested->st == MER_OK) {
		(void)snprintf(text, sizeof text, "%s: passed its test in %lld ms\n", model,
		               (long long)tested->ms);
		out_text(s, text);
	}
	if (tested->shown.len > 0)
		out_text(s, tested->shown.ptr);
	return MER_OK;
}

static enum mer_status test(struct session *s, const char *model, const struct ping *ping,
                            struct mer_error *err)
{
	struct tested tested = { .done = true };
	struct mer_dal *dal;
	mer_buf_init(&tested.shown, PTRDIFF_MAX);
	enum mer_status st = session_dal(s, &dal, err);
	if (st == MER_OK)
		st = tested.st = example_run(s, model, &tested.ms, &tested.shown, err);
	if (st == MER_OK || tested.shown.len > 0) {
		struct mer_error other;
		enum mer_status told = tell(s, model, ping, &tested, &other);
		if (st == MER_OK && told != MER_OK) {
			st = told;
			*err = other;
		}
	}
	mer_buf_release(&tested.shown);
	return st;
}

static enum mer_status ping(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	struct mer_sched *sched;
	struct ping *ping = calloc(1, sizeof *ping);
	if (ping == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = session_sched(s, false, &sched, err);
	ping->sched = st == MER_OK ? sched : NULL;
	if (st == MER_OK)
		st = mer_sched_ping(sched, argv[MODEL].text, 0, on_ready, ping, err);
	if (st != MER_OK) {
		free(ping);
		return st;
	}
	session_cancels(s, on_cancel, ping);
	session_run(s, &ping->done);
	session_cancels(s, NULL, NULL);
	if (ping->left)
		return mer_fail(err, MER_ECANCELED, "interrupted");
	st = ping->err.status;
	if (st != MER_OK && err != NULL)
		*err = ping->err;
	if (st == MER_OK && argv[TEST].given)
		st = test(s, argv[MODEL].text, ping, err);
	else if (st == MER_OK)
		st = tell(s, argv[MODEL].text, ping, &(struct tested){ .done = false }, err);
	free(ping);
	return st;
}

const struct cmd cmd_model_ping = {
	.name = "model ping",
	.older = (const char *const[]){ "model-ping", "ping-model", "ping", NULL },
	.summary = "start a model's worker and say how long it took",
	.notes =
		"A worker of this mer that is ready already counts. Where there may be no further one\n"
		"(max-workers), an idle one that was started otherwise, for other weights say, leaves\n"
		"for it; where all are in use the model is busy, exit 8.\n",
	CMD_EXAMPLES("model ping iris", "model ping --json moments"),
	CMD_ARGS(ping_args),
	.formats = CMD_FORMATS_ALL,
	CMD_OBJECT(ping_columns, UNTESTED_COLUMNS),
	.run = ping,
};
