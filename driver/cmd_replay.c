/* replay: gives a model an input that was recorded, and says what has changed. */
#include "commands.h"
#include "run.h"

#include <mer/compare.h>
#include <mer/hash.h>
#include <mer/oip.h>
#include <string.h>

enum { UID, WEIGHTS, SERVER, DIFF, TOLERANCE };
/* clang-format off */
static const struct cmd_arg replay_args[] = {
	[UID] = CMD_WORD("UID", ARG_TEXT, "request_uid of a run that kept its input",
		.is = VALUE_RUN, .required = true),
	[WEIGHTS] = CMD_OPTION("weights", ARG_TEXT, "V", "with this version instead of the active one",
		.is = VALUE_WEIGHTS),
	[SERVER] = CMD_OPTION("server", ARG_TEXT, "S", "run it there", .is = VALUE_SERVER),
	[DIFF] = CMD_FLAG("diff", "print what differs from the recorded output; 1 where something does"),
	[TOLERANCE] = CMD_OPTION("tolerance", ARG_TEXT, "X",
		"with --diff: numbers a, then b, are the same where |b - a| <= X * max(1, |a|)"),
};
/* clang-format on */

/* What is recorded of the run. Owned. */
struct recorded {
	bool found, kept;
	char *model, *status, *sha256_out;
	int64_t bytes_in, bytes_out;
	bool ended, trained;
	char *input, *output; /* NULL: too large */
	char *meta;           /* of the input, or NULL */
	char *metas;          /* of the output, or NULL */
	size_t input_len, output_len;
};

static void recorded_done(struct recorded *was)
{
	free(was->model);
	free(was->status);
	free(was->sha256_out);
	free(was->input);
	free(was->output);
	free(was->meta);
	free(was->metas);
}

static enum mer_status on_run(void *ctx, const void *data, struct mer_error *err)
{
	struct recorded *was = ctx;
	const struct mer_run_row *row = data;
	was->found = true;
	was->ended = row->stopped_at[0] != '\0';
	was->trained = strcmp(row->kind, "train") == 0;
	was->bytes_in = row->bytes_in;
	was->bytes_out = row->bytes_out;
	was->model = strdup(row->model);
	was->status = strdup(row->status);
	was->sha256_out = strdup(row->sha256_out);
	if (was->model == NULL || was->status == NULL || was->sha256_out == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return MER_OK;
}

static enum mer_status copy_bytes(const struct mer_value *value, char **out, size_t *len,
                                  struct mer_error *err)
{
	if (value->type == MER_VALUE_NULL)
		return MER_OK;
	*len = value->text.len;
	*out = malloc(*len + 1);
	if (*out == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for %zu bytes", *len);
	if (*len > 0)
		memcpy(*out, value->text.ptr, *len);
	(*out)[*len] = '\0';
	return MER_OK;
}

static enum mer_status on_io(void *ctx, const void *data, struct mer_error *err)
{
	struct recorded *was = ctx;
	const struct mer_value *values = data;
	was->kept = true;
	size_t len;
	enum mer_status st = copy_bytes(&values[0], &was->input, &was->input_len, err);
	if (st == MER_OK)
		st = copy_bytes(&values[1], &was->output, &was->output_len, err);
	if (st == MER_OK)
		st = copy_bytes(&values[2], &was->meta, &len, err);
	return st == MER_OK ? copy_bytes(&values[3], &was->metas, &len, err) : st;
}

static enum mer_status no_input(const char *uid, const struct recorded *was, struct mer_error *err)
{
	if (!was->found)
		return mer_fail(err, MER_ENOTFOUND, "there is no run '%s'", uid);
	if (was->trained)
		return mer_fail(err, MER_ENOTFOUND, "run '%s' is a training, which has no input", uid);
	if (was->kept) {
		(void)mer_fail(err, MER_ENOTFOUND,
		               "the input of run '%s', %lld bytes, was larger than what was kept", uid,
		               (long long)was->bytes_in);
		mer_hint(err, "MER_KEEP_IO_MAX says how much is kept of further runs");
	} else if (!was->ended) {
		(void)mer_fail(err, MER_ENOTFOUND, "the input of run '%s' is not kept yet: it is %s", uid,
		               was->status);
	} else {
		(void)mer_fail(err, MER_ENOTFOUND, "the input of run '%s' was not kept", uid);
		mer_hint(err, "'model set %s keep-io=on' keeps those of further runs", was->model);
	}
	return MER_ENOTFOUND;
}

static enum mer_status read_recorded(struct mer_dal *dal, const char *uid, struct recorded *was,
                                     struct mer_error *err)
{
	enum mer_status st =
		mer_dal_query(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(uid)), on_run, was, err);
	if (st == MER_OK && was->found)
		st = mer_dal_query(dal, MER_Q_IO, MER_ARGS(mer_text(uid)), on_io, was, err);
	return st == MER_OK && was->input == NULL ? no_input(uid, was, err) : st;
}

/* --- --diff ------------------------------------------------------------------------------- */

/* A replay beside what it replays. */
struct beside {
	const char *uid;
	const struct recorded *was;
	const struct run_kept *now;
	double tolerance;
	struct spool *output;
	struct mer_buf *metas; /* of output; as of struct run_choice */
	bool changed;
	struct mer_buf shown; /* what differs, as text */
};

static enum mer_status read_output(struct spool *output, char **out, struct mer_error *err)
{
	size_t len = (size_t)output->bytes, got = 0;
	enum mer_status st = spool_check(output, err);
	if (st != MER_OK)
		return st;
	*out = malloc(len + 1);
	if (*out == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for %zu bytes", len);
	return spool_read(output, 0, *out, len, &got, err);
}

static const char *status_now(const struct beside *beside)
{
	return beside->now->result.status != NULL ? beside->now->result.status : "ok";
}

/* Of an output that was not kept its length and sha256 are known. */
static enum mer_status compare_digest(struct beside *beside, struct mer_str now,
                                      struct mer_error *err)
{
	char sha256[MER_SHA256_SIZE];
	const struct recorded *was = beside->was;
	mer_sha256(now.ptr, now.len, sha256);
	if (strcmp(sha256, was->sha256_out) == 0)
		return MER_OK;
	if (beside->tolerance >= 0)
		return mer_fail(err, MER_ENOTFOUND,
		                "the output of run '%s', %lld bytes, was larger than what was kept: its "
		                "numbers cannot be compared",
		                beside->uid, (long long)was->bytes_out);
	beside->changed = true;
	mer_buf_printf(&beside->shown, "-sha256 %s, %lld bytes\n+sha256 %s, %zu bytes\n",
	               was->sha256_out, (long long)was->bytes_out, sha256, now.len);
	return MER_OK;
}

/* MER_ECORRUPT: they are no tensors, or not all that was told of them is known. */
static enum mer_status compare_tensors(struct beside *beside, struct mer_str before,
                                       struct mer_str now, struct mer_error *err)
{
	struct mer_buf *metas = beside->metas;
	if (metas->len == 0 || beside->was->metas == NULL)
		return MER_ECORRUPT;
	metas->ptr[0] = '[';
	mer_buf_byte(metas, ']');
	enum mer_status st = mer_buf_check(metas, err);
	if (st == MER_OK)
		st = mer_oip_compare(&(struct mer_oip_answer){ beside->was->metas, before },
		                     &(struct mer_oip_answer){ metas->ptr, now }, beside->tolerance,
		                     &beside->shown, err);
	beside->changed |= beside->shown.len > 0;
	return st;
}

static enum mer_status compare(struct beside *beside, struct mer_error *err)
{
	const struct recorded *was = beside->was;
	MER_AUTO(mer_text_done) char *bytes = NULL;
	enum mer_status st = read_output(beside->output, &bytes, err);
	if (st != MER_OK)
		return st;
	const struct mer_str before = { was->output, was->output_len };
	const struct mer_str now = { bytes, (size_t)beside->output->bytes };
	if (strcmp(was->status, status_now(beside)) != 0) {
		beside->changed = true;
		mer_buf_printf(&beside->shown, "-status %s\n+status %s\n", was->status, status_now(beside));
	}
	if (was->output == NULL)
		return compare_digest(beside, now, err);
	st = compare_tensors(beside, before, now, err);
	if (st != MER_ECORRUPT)
		return st;
	if (mer_compare_same(before, now, beside->tolerance))
		return MER_OK;
	beside->changed = true;
	mer_compare_show(before, now, beside->tolerance, &beside->shown);
	return mer_buf_check(&beside->shown, err);
}

/* Of --diff. */
enum { DIFF_COLUMNS = 8 };
static const struct out_column diff_columns[DIFF_COLUMNS] = {
	{ "request_uid", OUT_UID }, { "replays", OUT_UID },     { "model", 0 },
	{ "server", OUT_NULL },     { "weights", OUT_NULL },    { "status", OUT_NULL },
	{ "changed", OUT_BOOL },    { "difference", OUT_NULL },
};

static enum mer_status tell_json(struct session *s, const struct beside *beside,
                                 struct mer_error *err)
{
	const struct mer_run_result *result = &beside->now->result;
	const struct mer_cell cells[DIFF_COLUMNS] = {
		mer_cell_text(result->request_uid.text),
		mer_cell_text(beside->uid),
		mer_cell_text(result->model),
		mer_cell_word(result->server),
		mer_cell_word(result->weights),
		mer_cell_text(status_now(beside)),
		mer_cell_bool(beside->changed),
		mer_cell_word(beside->shown.ptr),
	};
	return out_object(s, diff_columns, cells, DIFF_COLUMNS, err);
}

static enum mer_status tell(struct session *s, const struct beside *beside, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	const struct mer_buf *shown = &beside->shown;
	if (run_as_json(s)) {
		st = tell_json(s, beside, err);
		s->out.told = true;
	} else if (shown->len > 0 && out_is_terminal()) {
		struct caret caret = { 0 };
		caret_add(&caret, shown->ptr, shown->len, &s->out.sink.buf);
		caret_end(&caret, &s->out.sink.buf);
		sink_added(&s->out.sink);
	} else if (shown->len > 0) {
		sink_add(&s->out.sink, shown->ptr, shown->len);
	}
	if (st == MER_OK && beside->changed)
		return mer_fail(err, MER_EMODEL, "the output of model '%s' has changed since run '%s'",
		                beside->was->model, beside->uid);
	return st;
}

static enum mer_status diff(struct session *s, struct run_choice *choice,
                            const struct recorded *was, double tolerance, struct mer_error *err)
{
	enum { IN_MEMORY = 1 << 20 };
	struct store store;
	struct spool output;
	struct run_kept *now = NULL;
	struct mer_buf metas;
	mer_buf_init(&metas, PTRDIFF_MAX);
	store_init(&store, IN_MEMORY);
	spool_init(&output, &store);
	const struct mer_str input = { was->input, was->input_len };
	choice->metas = &metas;
	enum mer_status st = run_one_kept(s, choice, input, was->meta, &output, &now, err);
	if (st == MER_OK)
		st = run_status(&now->result, err);
	if (st == MER_OK) {
		struct beside beside = { .uid = choice->replays,
			                     .was = was,
			                     .now = now,
			                     .tolerance = tolerance,
			                     .output = &output,
			                     .metas = &metas };
		mer_buf_init(&beside.shown, PTRDIFF_MAX);
		st = compare(&beside, err);
		if (st == MER_OK)
			st = tell(s, &beside, err);
		mer_buf_release(&beside.shown);
	}
	spool_clear(&output);
	store_release(&store);
	mer_buf_release(&metas);
	free(now);
	return st;
}

static enum mer_status replay(struct session *s, const struct cmd_value *argv,
                              struct mer_error *err)
{
	MER_AUTO(recorded_done) struct recorded was = { 0 };
	double tolerance = MER_COMPARE_EXACT;
	enum mer_status st = MER_OK;
	if (argv[TOLERANCE].given && !argv[DIFF].given)
		return mer_fail(err, MER_EINPUT, "--tolerance goes with --diff");
	if (argv[TOLERANCE].given)
		st = mer_compare_parse("--tolerance", argv[TOLERANCE].text, &tolerance, err);
	if (st == MER_OK)
		st = read_recorded(s->dal, argv[UID].text, &was, err);
	if (st != MER_OK)
		return st;
	struct run_choice choice = {
		.model = was.model,
		.server = argv[SERVER].text,
		.weights = argv[WEIGHTS].text,
		.replays = argv[UID].text,
	};
	if (argv[DIFF].given)
		return diff(s, &choice, &was, tolerance, err);
	const struct mer_str input = { was.input, was.input_len };
	return run_one(s, &choice, input, was.meta, err);
}

/* Of a run, and of --diff. */
static const struct out_column replay_columns[] = {
	{ "request_uid", OUT_UID | OUT_NULL },
	{ "replays", OUT_UID | OUT_NULL },
	{ "model", OUT_NULL },
	{ "deployment", OUT_UID | OUT_NULL },
	{ "server", OUT_NULL },
	{ "weights", OUT_NULL },
	{ "status", OUT_NULL },
	{ "changed", OUT_BOOL | OUT_NULL },
	{ "difference", OUT_NULL },
	{ "exit_code", OUT_NUMBER | OUT_NULL },
	{ "signal", OUT_NULL },
	{ "error", OUT_NULL },
	{ "stderr_tail", OUT_NULL },
	{ "attempts", OUT_NUMBER | OUT_NULL },
	{ "queue_ms", OUT_NUMBER | OUT_NULL },
	{ "start_ms", OUT_NUMBER | OUT_NULL },
	{ "infer_ms", OUT_NUMBER | OUT_NULL },
	{ "bytes_in", OUT_NUMBER | OUT_NULL },
	{ "bytes_out", OUT_NUMBER | OUT_NULL },
	{ "output", OUT_NULL },
	{ "output_base64", OUT_NULL },
};

const struct cmd cmd_replay = {
	.name = "replay",
	.summary = "run a recorded input again",
	.notes =
		"The model answers as it is today, in a new run whose row names the one it repeats. Inputs\n"
		"are kept with 'model set NAME keep-io=on'. How many blanks stand before a number does not\n"
		"count with --tolerance.\n",
	CMD_EXAMPLES("replay 01a1fef6-849a-7865-90cb-e3129d94fc6e --weights 1",
	             "replay 01a1fef6-849a-7865-90cb-e3129d94fc6e --diff --tolerance 1e-6"),
	CMD_ARGS(replay_args),
	CMD_OBJECT(replay_columns, sizeof replay_columns / sizeof *replay_columns),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_JSON,
	.run = replay,
};
