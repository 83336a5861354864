/* feedback: what people think of answers, for training on. */
#include "commands.h"
#include "feedback.h"
#include "find.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/json.h>
#include <mer/text.h>
#include <string.h>

/* --- feedback set ------------------------------------------------------------------------- */

enum { MODEL, SWITCH, THRESHOLD, AFTER };
static const char *const switches[] = { "off", "on", NULL };
/* clang-format off */
static const struct cmd_arg set_args[] = {
	[MODEL] = CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows",
		.is = VALUE_MODEL, .required = true),
	[SWITCH] = CMD_WORD("on|off", ARG_CHOICE, "whether the prompt asks after each run",
		.choices = switches, .required = true),
	[THRESHOLD] = CMD_OPTION("threshold", ARG_I64, "R",
		"ratings below it are bad ones; default: as it was, at first 3"),
	[AFTER] = CMD_OPTION("train-after", ARG_I64, "N",
		"offer training after so many bad ones of the weights in use, 0: never; at first 10"),
};
/* clang-format on */

static enum mer_status on_model(void *ctx, const void *row, struct mer_error *err)
{
	struct mer_model_row *was = ctx;
	const struct mer_model_row *model = row;
	(void)err;
	was->feedback_threshold = model->feedback_threshold;
	was->train_after = model->train_after;
	return MER_OK;
}

/* threshold, after: NULL: as they were. */
static enum mer_status set_model(struct session *s, const char *model, bool on,
                                 const int64_t *threshold, const int64_t *after,
                                 struct mer_error *err)
{
	struct mer_uid uid;
	struct mer_model_row is = { .feedback_threshold = 0 };
	enum mer_status st = find_model(s->dal, model, &uid, err);
	if (st == MER_OK)
		st = mer_dal_query(s->dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text(model)), on_model, &is,
		                   err);
	if (is.feedback_threshold == 0 && is.train_after == 0) {
		is.feedback_threshold = FEEDBACK_THRESHOLD;
		is.train_after = FEEDBACK_TRAIN_AFTER;
	}
	if (threshold != NULL)
		is.feedback_threshold = *threshold;
	if (after != NULL)
		is.train_after = *after;
	if (st == MER_OK)
		st = mer_dal_exec(s->dal, MER_Q_MODEL_FEEDBACK,
		                  MER_ARGS(mer_text(uid.text), mer_i64(on), mer_i64(is.feedback_threshold),
		                           mer_i64(is.train_after)),
		                  NULL, err);
	if (st == MER_OK)
		session_note(s, "feedback of model '%s' is %s", model, on ? "on" : "off");
	return st;
}

static enum mer_status set(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	const struct cmd_value *threshold = &argv[THRESHOLD], *after = &argv[AFTER];
	if (threshold->given && threshold->number > RATING_MAX)
		return mer_fail(err, MER_EINPUT, "--threshold: %lld is not 0 to 5",
		                (long long)threshold->number);
	return set_model(s, argv[MODEL].text, argv[SWITCH].number != 0,
	                 threshold->given ? &threshold->number : NULL,
	                 after->given ? &after->number : NULL, err);
}

const struct cmd cmd_feedback_set = {
	.name = "feedback set",
	.summary = "whether the prompt asks what a model's answers are worth",
	CMD_EXAMPLES("feedback set iris on", "feedback set iris on --threshold 2 --train-after 50"),
	CMD_ARGS(set_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = set,
};

/* --- feedback add ------------------------------------------------------------------------- */

enum { RUN_UID, RATING, EXPECTED, NOTE };
#define EXPECTED_OPTION \
	CMD_OPTION("expected", ARG_TEXT, "TEXT|@FILE", "what the output should have been; @@x is @x", \
	           .is = VALUE_AT_FILE)
#define NOTE_OPTION CMD_OPTION("note", ARG_TEXT, "T", "why")
static const struct cmd_arg add_args[] = {
	[RUN_UID] =
		CMD_WORD("RUN_UID", ARG_TEXT, "request_uid of a run", .is = VALUE_RUN, .required = true),
	[RATING] = CMD_WORD("RATING", ARG_TEXT, "1, bad, to 5, good", .required = true),
	[EXPECTED] = EXPECTED_OPTION,
	[NOTE] = NOTE_OPTION,
};

static enum mer_status add_rating(struct session *s, const char *uid, const char *rating_text,
                                  const char *text, const char *note, struct mer_error *err)
{
	int64_t rating;
	MER_AUTO(mer_text_done) char *bytes = NULL;
	struct mer_str expected = { text, text != NULL ? strlen(text) : 0 };
	enum mer_status st = feedback_rating(rating_text, &rating, err);
	if (st == MER_OK && text != NULL && text[0] == '@' && text[1] == '@') {
		expected = (struct mer_str){ text + 1, strlen(text + 1) };
	} else if (st == MER_OK && text != NULL && text[0] == '@') {
		st = mer_read_file(text + 1, EXPECTED_BYTES, &bytes, &expected.len, err);
		expected.ptr = bytes;
		if (st == MER_EIO || st == MER_ELIMIT)
			st = mer_wrap(err, MER_EINPUT, "--expected");
	}
	return st == MER_OK ? feedback_add(s->dal, uid, rating, expected, note, err) : st;
}

static enum mer_status add(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	return add_rating(s, argv[RUN_UID].text, argv[RATING].text, argv[EXPECTED].text,
	                  argv[NOTE].text, err);
}

const struct cmd cmd_feedback_add = {
	.name = "feedback add",
	.summary = "what an answer was worth, and what it should have been",
	.notes = "Of several for one run the last counts.\n",
	CMD_EXAMPLES(
		"feedback add 01a1fef6-849a-7865-90cb-e3129d94fc6e 5",
		"feedback add 01a1fef6-849a-7865-90cb-e3129d94fc6e 1 --expected versicolor --note 'seen by hand'"),
	CMD_ARGS(add_args),
	.needs = CMD_NEEDS_DATABASE,
	.run = add,
};

/* --- feedback, the short form of both ----------------------------------------------------- */

enum { WHAT, VALUE };
static const struct cmd_arg short_args[] = {
	[WHAT] = CMD_WORD("MODEL|RUN_UID", ARG_TEXT, "a model, or request_uid of a run",
	                  .is = VALUE_RATED, .required = true),
	[VALUE] = CMD_WORD("on|off|RATING", ARG_TEXT, "of a model on or off, of a run 1 to 5",
	                   .required = true),
	[EXPECTED] = EXPECTED_OPTION,
	[NOTE] = NOTE_OPTION,
};

static enum mer_status either(struct session *s, const struct cmd_value *argv,
                              struct mer_error *err)
{
	const char *value = argv[VALUE].text;
	bool on = strcmp(value, "on") == 0;
	if (mer_uid_valid(argv[WHAT].text))
		return add(s, argv, err);
	if (!on && strcmp(value, "off") != 0) {
		(void)mer_fail(err, MER_EINPUT, "'%s' is not on or off", value);
		mer_hint(err, "a rating is for the request_uid of a run, as 'log' shows it");
		return MER_EINPUT;
	}
	if (argv[EXPECTED].given || argv[NOTE].given)
		return mer_fail(err, MER_EINPUT, "--%s is for a run",
		                argv[EXPECTED].given ? "expected" : "note");
	if (!setting_on(&s->settings, SET_CHANGES))
		return mer_fail(err, MER_ECONFLICT, "not allowed; start with --allow-changes");
	return set_model(s, argv[WHAT].text, on, NULL, NULL, err);
}

const struct cmd cmd_feedback = {
	.name = "feedback",
	.older = (const char *const[]){ "model-continuous-feedback", "continuous-feedback", NULL },
	.summary = "short for 'feedback set' of a model and 'feedback add' of a run",
	CMD_EXAMPLES("feedback 01a1fef6-849a-7865-90cb-e3129d94fc6e 5",
	             "feedback 01a1fef6-849a-7865-90cb-e3129d94fc6e 2 --note 'half of it'"),
	CMD_ARGS(short_args),
	.needs = CMD_NEEDS_DATABASE,
	.run = either,
};

/* --- feedback export ---------------------------------------------------------------------- */

static const struct cmd_arg export_args[] = {
	[MODEL] = CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows", .is = VALUE_MODEL,
	                   .required = true),
};

static void add_text(struct mer_buf *out, const char *name, struct mer_str text)
{
	mer_buf_printf(out, "\"%s\":", name);
	mer_json_quote(out, text.ptr, text.len);
}

/* Bytes as text where they are text, else in base64, as of a run. */
static void add_bytes(struct mer_buf *out, const char *name, const struct mer_value *value)
{
	if (value->type == MER_VALUE_NULL) {
		mer_buf_printf(out, ",\"%s\":null", name);
	} else if (mer_utf8_span(value->text.ptr, value->text.len) == value->text.len) {
		mer_buf_byte(out, ',');
		add_text(out, name, value->text);
	} else {
		mer_buf_printf(out, ",\"%s_base64\":\"", name);
		mer_base64_add(out, value->text.ptr, value->text.len);
		mer_buf_byte(out, '"');
	}
}

static enum mer_status on_feedback(void *ctx, const void *row, struct mer_error *err)
{
	struct session *s = ctx;
	struct sink *sink = &s->out.sink;
	const struct mer_value *values = row;
	struct mer_buf *out = &sink->buf;
	mer_buf_byte(out, '{');
	add_text(out, "request_uid", values[MER_FEEDBACK_REQUEST_UID].text);
	mer_buf_byte(out, ',');
	add_text(out, "weights", values[MER_FEEDBACK_WEIGHTS].text);
	add_bytes(out, "input", &values[MER_FEEDBACK_INPUT]);
	add_bytes(out, "output", &values[MER_FEEDBACK_OUTPUT]);
	mer_buf_printf(out, ",\"rating\":%lld", (long long)values[MER_FEEDBACK_RATING].number);
	add_bytes(out, "expected", &values[MER_FEEDBACK_EXPECTED]);
	mer_buf_byte(out, ',');
	add_text(out, "note", values[MER_FEEDBACK_NOTE].text);
	mer_buf_byte(out, ',');
	add_text(out, "created_at", values[MER_FEEDBACK_CREATED_AT].text);
	mer_buf_text(out, "}\n");
	sink_added(sink);
	return sink_full(sink) || sink->gone || sink->error != 0 ? session_flush(s, err) : MER_OK;
}

static enum mer_status export(struct session *s, const struct cmd_value *argv,
                              struct mer_error *err) {
	struct mer_uid uid; enum mer_status st = find_model(s->dal, argv[MODEL].text, &uid, err);
	if (st != MER_OK) return st;
	return mer_dal_query(s->dal, MER_Q_FEEDBACK_EXPORT, MER_ARGS(mer_text(argv[MODEL].text)),
	                     on_feedback, s, err);
}

const struct cmd cmd_feedback_export = {
	.name = "feedback export",
	.summary = "what was rated, as JSON Lines: input, output, rating, expected",
	.notes =
		"Input and output are there where the model keeps them, else null. What is not UTF-8 is\n"
		"input_base64, output_base64 or expected_base64 instead.\n",
	CMD_EXAMPLES("feedback export iris"),
	CMD_ARGS(export_args),
	.needs = CMD_NEEDS_DATABASE,
	.run = export,
};
