/* Recording what people think of answers, and asking them at the prompt. */
#include "feedback.h"

#include <mer/clean.h>
#include <string.h>

enum mer_status feedback_rating(const char *text, int64_t *out, struct mer_error *err)
{
	if (text[0] < '0' + RATING_MIN || text[0] > '0' + RATING_MAX || text[1] != '\0')
		return mer_fail(err, MER_EINPUT, "RATING: '%s' is not 1 to 5", text);
	*out = text[0] - '0';
	return MER_OK;
}

static enum mer_status on_run(void *ctx, const void *row, struct mer_error *err)
{
	(void)row, (void)err;
	*(bool *)ctx = true;
	return MER_OK;
}

enum mer_status feedback_add(struct mer_dal *dal, const char *request_uid, int64_t rating,
                             struct mer_str expected, const char *note, struct mer_error *err)
{
	struct mer_uid uid;
	bool found = false;
	const struct mer_value none = { .type = MER_VALUE_NULL };
	enum mer_status st =
		mer_dal_query(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(request_uid)), on_run, &found, err);
	if (st == MER_OK && !found)
		return mer_fail(err, MER_ENOTFOUND, "there is no run '%s'", request_uid);
	if (st != MER_OK)
		return st;
	mer_uid_new(&uid);
	return mer_dal_exec(dal, MER_Q_FEEDBACK_INSERT,
	                    MER_ARGS(mer_text(uid.text), mer_text(request_uid), mer_i64(rating),
	                             expected.ptr != NULL ? mer_blob(expected.ptr, expected.len) : none,
	                             mer_text(note)),
	                    NULL, err);
}

/* --- at the prompt ------------------------------------------------------------------------ */

static enum mer_status on_model(void *ctx, const void *row, struct mer_error *err)
{
	struct mer_model_row *wants = ctx;
	const struct mer_model_row *model = row;
	(void)err;
	wants->feedback = model->feedback;
	wants->feedback_threshold = model->feedback_threshold;
	wants->train_after = model->train_after;
	return MER_OK;
}

/* 0: nobody said. */
static int64_t ask_rating(struct session *s, feedback_ask_fn *ask, void *ctx)
{
	for (;;) {
		int64_t rating = 0;
		struct mer_error err;
		MER_AUTO(mer_text_done) char *line = ask(ctx, "rate it, 1 to 5 (Enter skips): ");
		if (line == NULL || line[0] == '\0')
			return 0;
		if (feedback_rating(line, &rating, &err) == MER_OK)
			return rating;
		session_note(s, "%s", err.message);
	}
}

/* Every so many bad ratings of what answered. */
static enum mer_status is_due(struct session *s, const struct mer_model_row *wants, int64_t *bad,
                              bool *due, struct mer_error *err)
{
	*due = false;
	if (wants->train_after == 0 || !setting_on(&s->settings, SET_CHANGES))
		return MER_OK;
	enum mer_status st =
		mer_dal_query(s->dal, MER_Q_FEEDBACK_BAD,
	                  MER_ARGS(mer_text(s->answered.model), mer_text(s->answered.weights),
	                           mer_i64(wants->feedback_threshold)),
	                  mer_take_count, bad, err);
	*due = st == MER_OK && *bad > 0 && *bad % wants->train_after == 0;
	return st;
}

static enum mer_status offer(struct session *s, const struct mer_model_row *wants,
                             feedback_ask_fn *ask, void *ctx, char **dataset, struct mer_error *err)
{
	int64_t bad = 0;
	bool due;
	const char *model = s->answered.model;
	enum mer_status st = is_due(s, wants, &bad, &due, err);
	if (st != MER_OK || !due)
		return st;
	session_note(s, "%lld answers of model '%s' with these weights were rated below %lld",
	             (long long)bad, model, (long long)wants->feedback_threshold);
	session_note(s, "'feedback export %s' gives what was rated, as JSON Lines", model);
	char *path = ask(ctx, "a dataset to train it with (Enter skips): ");
	if (path != NULL && path[0] != '\0')
		*dataset = path;
	else
		free(path);
	return MER_OK;
}

enum mer_status feedback_ask(struct session *s, feedback_ask_fn *ask, void *ctx, char **dataset,
                             struct mer_error *err)
{
	struct mer_dal *dal;
	struct mer_model_row wants = { .feedback = 0 };
	enum mer_status st = session_dal(s, &dal, err);
	if (st == MER_OK)
		st = mer_dal_query(dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text(s->answered.model)),
		                   on_model, &wants, err);
	if (st != MER_OK || wants.feedback == 0)
		return st;
	int64_t rating = ask_rating(s, ask, ctx);
	if (rating == 0)
		return MER_OK;
	bool is_bad = rating < wants.feedback_threshold;
	MER_AUTO(mer_text_done)
	char *expected = is_bad ? ask(ctx, "what should it have been (Enter skips): ") : NULL;
	struct mer_str said = { 0 };
	if (expected != NULL && expected[0] != '\0')
		said = (struct mer_str){ expected, strlen(expected) };
	st = feedback_add(dal, s->answered.uid.text, rating, said, "", err);
	return st == MER_OK && is_bad ? offer(s, &wants, ask, ctx, dataset, err) : st;
}
