/* train: runs a model's train command; what it leaves becomes a version of its weights. */
#include "commands.h"
#include "find.h"
#include "run.h"
#include "train_place.h"

#include <errno.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/json.h>
#include <mer/sched.h>
#include <mer/text.h>
#include <string.h>

enum { MODEL, DATASET, OLD, NEW, TIMEOUT, ACTIVATE };
/* clang-format off */
static const struct cmd_arg train_args[] = {
	[MODEL] = CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows",
		.is = VALUE_MODEL, .required = true),
	[DATASET] = CMD_OPTION("dataset", ARG_TEXT, "PATH", "what it learns from; SERVER:/PATH is on a server", .is = VALUE_FILE,
		.required = true),
	[OLD] = CMD_OPTION("weights", ARG_TEXT, "V", "begin with this version; default: the active one",
		.is = VALUE_WEIGHTS),
	[NEW] = CMD_OPTION("new", ARG_NAME, "V", "what to call the new one; default: the next number"),
	[TIMEOUT] = CMD_OPTION("timeout", ARG_MS, NULL,
		"how long it may take; default: mer's own --timeout, else the deployment's", .least = 1),
	[ACTIVATE] = CMD_FLAG("activate", "use the new version at once"),
};
/* clang-format on */

/* --- what a training prints --------------------------------------------------------------- */

enum { METRICS_MAX = 65536 };

/* The last line of stdout that is a JSON object. */
struct metrics {
	struct mer_buf line; /* sticky: a line that is too long is none */
	char *text;          /* NULL: none yet */
};

static void metrics_line(struct metrics *metrics)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	char *text;
	struct mer_buf *line = &metrics->line;
	if (line->status == MER_OK && line->len > 0 && line->ptr[0] == '{' &&
	    mer_json_parse("metrics", line->ptr, line->len, &json, NULL) == MER_OK &&
	    json_is_object(json) && mer_json_text(json, &text, NULL) == MER_OK) {
		free(metrics->text);
		metrics->text = text;
	}
	mer_buf_clear(line);
}

static void metrics_add(struct metrics *metrics, const char *bytes, size_t n)
{
	while (n > 0) {
		const char *end = memchr(bytes, '\n', n);
		size_t len = end != NULL ? (size_t)(end - bytes) : n;
		mer_buf_add(&metrics->line, bytes, len);
		if (end != NULL)
			metrics_line(metrics);
		len += end != NULL;
		bytes += len;
		n -= len;
	}
}

/* --- the run ------------------------------------------------------------------------------ */

struct training {
	struct session *s;
	const char *model;
	struct mer_run *run; /* NULL once it has ended */
	bool live;           /* somebody looks on: what it says is shown */
	bool done, gone;
	struct caret caret;
	struct run_log log;
	struct progress progress;
	struct metrics metrics;
	struct run_kept *result; /* NULL: no memory for it */
};

static void show(struct training *training, const char *bytes, size_t n)
{
	struct mer_buf text;
	if (!training->live) {
		run_log_add(&training->log, training->model, bytes, n);
		return;
	}
	mer_buf_init(&text, PTRDIFF_MAX);
	caret_add(&training->caret, bytes, n, &text);
	if (text.len > 0) {
		progress_yield(&training->s->view, text.ptr[text.len - 1] == '\n');
		(void)!mer_write_all(STDERR_FILENO, "stderr", text.ptr, text.len, NULL);
	}
	mer_buf_release(&text);
}

static void on_started(void *ctx, const struct mer_run *run)
{
	run_log_begin(&((struct training *)ctx)->log, run);
}

/* What a worker answers that trains. */
static void on_meta(void *ctx, const char *meta)
{
	struct training *training = ctx;
	MER_AUTO(mer_json_done) json_t *json = NULL;
	char *text;
	if (mer_json_parse("result", meta, strlen(meta), &json, NULL) != MER_OK)
		return;
	const json_t *metrics = json_object_get(json, "metrics");
	if (json_is_object(metrics) && mer_json_text(metrics, &text, NULL) == MER_OK) {
		free(training->metrics.text);
		training->metrics.text = text;
	}
}

static void on_output(void *ctx, const char *bytes, size_t n)
{
	struct training *training = ctx;
	metrics_add(&training->metrics, bytes, n);
	show(training, bytes, n);
}

static void on_log(void *ctx, const char *bytes, size_t n)
{
	show(ctx, bytes, n);
}

/* Where nobody looks on it goes to the log. */
static void on_progress(void *ctx, const struct mer_progress *progress)
{
	struct training *training = ctx;
	char text[64 + MER_PROGRESS_TEXT + 4];
	progress_told(&training->progress, progress);
	if (training->live)
		return;
	int n = snprintf(text, sizeof text, "progress: %g", progress->done);
	if (progress->total > 0)
		n += snprintf(text + n, sizeof text - (size_t)n, " of %g", progress->total);
	n += snprintf(text + n, sizeof text - (size_t)n, "%s%.*s\n", progress->text.len > 0 ? ": " : "",
	              (int)progress->text.len, progress->text.ptr);
	run_log_add(&training->log, training->model, text, (size_t)n);
}

static void on_done(void *ctx, const struct mer_run_result *result)
{
	struct training *training = ctx;
	run_log_end(&training->log, training->model);
	metrics_line(&training->metrics);
	training->result = run_keep(result, false);
	training->run = NULL;
	training->done = true;
	training->gone |= result->attempts == 0;
	if (training->result != NULL && run_came_to_be(training->result))
		summary_run(training->s, result->error.status == MER_OK);
}

static void on_gone(void *ctx)
{
	((struct training *)ctx)->gone = true;
}

static const struct mer_run_events events = {
	.on_started = on_started,
	.on_meta = on_meta,
	.on_output = on_output,
	.on_log = on_log,
	.on_progress = on_progress,
	.on_done = on_done,
};

static void on_cancel(void *ctx, bool kill)
{
	struct training *training = ctx;
	if (training->run != NULL)
		mer_run_cancel(training->run, kill);
}

/* Runs it to its end, and until nothing of it is left that could write. */
static enum mer_status run(struct training *training, struct mer_run_request *request,
                           struct mer_training *told, struct mer_error *err)
{
	struct mer_sched *sched;
	told->on_gone = on_gone;
	told->ctx = training;
	request->training = told;
	enum mer_status st = session_sched(training->s, false, &sched, err);
	if (st == MER_OK)
		st = mer_sched_submit(sched, request, &events, training, &training->run, err);
	if (st != MER_OK)
		return st;
	progress_begin(&training->progress, training->model);
	session_cancels(training->s, on_cancel, training);
	session_progress(training->s, &training->progress);
	session_run(training->s, &training->done);
	session_progress(training->s, NULL);
	session_cancels(training->s, NULL, NULL);
	session_run(training->s, &training->gone);
	if (training->result == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return run_status(&training->result->result, err);
}

/* --- before ------------------------------------------------------------------------------- */

/* The deployment that can train, the first to try. */
struct trainer {
	struct mer_uid uid; /* "": none */
	char *folder;       /* for new weights; NULL: the default */
	bool own;           /* a deployment is none of a server of kind http, which trains nothing */
};

static void trainer_done(struct trainer *trainer)
{
	free(trainer->folder);
}

static enum mer_status on_deployment(void *ctx, const void *data, struct mer_error *err)
{
	struct trainer *trainer = ctx;
	const struct mer_deployment_row *row = data;
	MER_AUTO(mer_json_done) json_t *params = NULL;
	bool own = strcmp(row->server_kind, "http") != 0;
	bool can = own && (row->train[0] != '\0' || strcmp(row->protocol, "frame") == 0);
	trainer->own |= own;
	if (trainer->uid.text[0] != '\0' || !can)
		return MER_OK;
	enum mer_status st = mer_json_parse("params", row->params, strlen(row->params), &params, err);
	if (st != MER_OK)
		return st;
	const char *folder = mer_json_get_text(params, "weights_dir", NULL);
	(void)snprintf(trainer->uid.text, sizeof trainer->uid.text, "%s", row->uid);
	if (folder != NULL && (trainer->folder = strdup(folder)) == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return MER_OK;
}

static enum mer_status fail_untrainable(const char *model, bool own, struct mer_error *err)
{
	if (own) {
		(void)mer_fail(err, MER_EINPUT, "model '%s' has no train command", model);
		mer_hint(err, "'model set %.100s train=WORDS' gives it one", model);
		return MER_EINPUT;
	}
	(void)mer_fail(err, MER_EINPUT, "model '%s' is behind a URL, where mer trains nothing", model);
	mer_hint(err, "a deployment of it on a server of kind local or ssh may have --train");
	return MER_EINPUT;
}

static enum mer_status find_trainer(struct mer_dal *dal, const char *model, struct trainer *out,
                                    struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *data = NULL;
	enum mer_status st = mer_dal_query(dal, MER_Q_RESOLVE, MER_ARGS(mer_text(model), mer_text("")),
	                                   on_deployment, out, err);
	if (st != MER_OK)
		return st;
	if (out->uid.text[0] == '\0')
		return fail_untrainable(model, out->own, err);
	if (out->folder != NULL)
		return MER_OK;
	st = mer_place(MER_PLACE_DATA, &data, err);
	if (st != MER_OK)
		return st;
	out->folder = mer_text_new("%s/weights/%s", data, model);
	return out->folder != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status find_dataset(const char *path, char **out, struct mer_error *err)
{
	enum mer_status st = weights_path(path, out, err);
	size_t server;
	if (st == MER_OK && mer_weights_there(*out, &server))
		return MER_OK;
	if (st == MER_OK && access(*out, R_OK) != 0)
		st = mer_fail(err, MER_EINPUT, "cannot read '%s': %s", *out, strerror(errno));
	return st == MER_OK ? st : mer_wrap(err, MER_EINPUT, "--dataset");
}

/* --- after -------------------------------------------------------------------------------- */

static enum mer_status insert(struct mer_dal *dal, const char *model, const struct weights_new *new,
                              bool activate, struct mer_error *err)
{
	MER_AUTO(weights_list_done) struct weights_list list = { 0 };
	struct mer_uid model_uid, uid;
	enum mer_status st = weights_begin(dal, model, &model_uid, &list, err);
	if (st != MER_OK)
		return st;
	st = weights_insert(dal, model, &model_uid, new, &uid, err);
	if (st == MER_OK && activate)
		st = weights_activate(dal, &model_uid, uid.text, err);
	return find_end(dal, st, err);
}

/* Hours may be in it: what is trained and cannot be recorded is kept, and how to go on is said. */
static enum mer_status keep(struct training *training, const struct train_place *place,
                            const struct weights *old, struct weights_new *new, bool activate,
                            struct mer_error *err)
{
	if (!train_place_filled(place)) {
		(void)mer_fail(err, MER_EMODEL, "the training of model '%s' left nothing at '%s'",
		               training->model, place->path);
		mer_hint(err, "its command is to write to {new_weights}");
		return MER_EMODEL;
	}
	enum mer_status st = weights_sum(training->s, place->path, &new->sum, err);
	if (st != MER_OK)
		return mer_wrap(err, st == MER_EINPUT ? MER_EMODEL : st, "what the training left");
	new->version = place->version;
	new->path = place->path;
	new->metrics = training->metrics.text != NULL ? training->metrics.text : "{}";
	new->parent_uid = old != NULL ? old->uid.text : "";
	new->made_by = training->result->result.request_uid.text;
	st = insert(training->s->dal, training->model, new, activate, err);
	if (st != MER_OK)
		mer_hint(err, "what was trained stays: 'weights add %.60s %.150s' records it",
		         training->model, place->path);
	return st;
}

/* --- train -------------------------------------------------------------------------------- */

/* All that lives for one call. */
struct call {
	char *dataset;
	struct weights_list list;
	struct trainer trainer;
	struct train_place place;
	struct training training;
};

static void call_done(struct call *call)
{
	free(call->dataset);
	weights_list_done(&call->list);
	trainer_done(&call->trainer);
	train_place_release(&call->place);
	mer_buf_release(&call->training.metrics.line);
	free(call->training.metrics.text);
	free(call->training.result);
}

static enum mer_status prepare(struct session *s, const struct cmd_value *argv, struct call *call,
                               const struct weights **old, struct mer_error *err)
{
	const char *model = argv[MODEL].text;
	struct mer_uid uid;
	enum mer_status st = find_model(s->dal, model, &uid, err);
	if (st == MER_OK)
		st = find_dataset(argv[DATASET].text, &call->dataset, err);
	if (st == MER_OK)
		st = find_trainer(s->dal, model, &call->trainer, err);
	if (st == MER_OK)
		st = weights_read_all(s->dal, model, &call->list, err);
	if (st == MER_OK && argv[OLD].text != NULL)
		st = weights_find(&call->list, model, argv[OLD].text, old, err);
	else if (st == MER_OK)
		*old = weights_of(&call->list, NULL);
	return st == MER_OK ? train_place_take(&call->place, call->trainer.folder, model, &call->list,
	                                       argv[NEW].text, err)
	                    : st;
}

static enum mer_status train(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	const char *model = argv[MODEL].text;
	MER_AUTO(call_done)
	struct call call = { .place = { .lock = -1 },
		                 .training = { .s = s,
		                               .model = model,
		                               .live = isatty(STDERR_FILENO) != 0 &&
		                                       !setting_on(&s->settings, SET_QUIET) } };
	struct training *training = &call.training;
	const struct weights *old = NULL;
	struct weights_new new = { 0 };
	mer_buf_init(&training->metrics.line, METRICS_MAX);
	enum mer_status st = prepare(s, argv, &call, &old, err);
	if (st != MER_OK)
		return st;
	struct mer_training told = { .dataset = call.dataset,
		                         .new_weights = call.place.path,
		                         .new_version = call.place.version };
	struct mer_run_request request = {
		.model = model,
		.deployment = call.trainer.uid.text,
		.weights = argv[OLD].text,
		.input = "",
		.timeout_ms = run_timeout_ms(s, argv[TIMEOUT].number),
	};
	st = run(training, &request, &told, err);
	bool made = st == MER_OK;
	if (made)
		st = keep(training, &call.place, old, &new, argv[ACTIVATE].given, err);
	if (!made || st == MER_EMODEL || st == MER_ECANCELED)
		train_place_clear(&call.place);
	if (st != MER_OK)
		return made ? st : mer_wrap(err, st, "training");
	session_note(s, "weights '%s' of model '%s' are there%s", new.version, model,
	             argv[ACTIVATE].given ? " and in use"
	                                  : "; 'weights use' makes them the active ones");
	return weights_show(s, model, new.version, err);
}

const struct cmd cmd_train = {
	.name = "train",
	.summary = "make a version of a model's weights from a dataset; prints it",
	.notes =
		"Runs the words of the model's --train; what they leave at {new_weights} is a candidate,\n"
		"with the last line of stdout that is a JSON object as its metrics. A training that\n"
		"fails or is interrupted leaves nothing. A model of the frame protocol without --train\n"
		"is asked to train itself.\n",
	CMD_EXAMPLES("train iris --dataset iris.csv",
	             "train iris --dataset iris.csv --new autumn --timeout 5m --activate"),
	CMD_ARGS(train_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.formats = CMD_FORMATS_ALL,
	CMD_OBJECT(weights_columns, WEIGHTS_COLUMNS - 1),
	.run = train,
};
