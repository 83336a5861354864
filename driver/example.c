/* The example by which a model is tested. */
#include "example.h"

#include "run.h"
#include "spec.h"

#include <mer/file.h>
#include <mer/meal.h>
#include <mer/text.h>
#include <string.h>

enum { BYTES_MAX = 1 << 20 };

void example_release(struct example *example)
{
	free(example->input);
	free(example->output);
	free(example->tolerance);
	*example = (struct example){ 0 };
}

/* --- in the database ---------------------------------------------------------------------- */

static enum mer_status copy(const struct mer_value *value, char **out, size_t *len,
                            struct mer_error *err)
{
	if (value->type == MER_VALUE_NULL)
		return MER_OK;
	*out = malloc(value->text.len + 1);
	if (*out == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (value->text.len > 0)
		memcpy(*out, value->text.ptr, value->text.len);
	(*out)[value->text.len] = '\0';
	*len = value->text.len;
	return MER_OK;
}

static enum mer_status on_example(void *ctx, const void *data, struct mer_error *err)
{
	struct example *example = ctx;
	const struct mer_value *values = data;
	size_t len;
	enum mer_status st = copy(&values[0], &example->input, &example->input_len, err);
	if (st == MER_OK)
		st = copy(&values[1], &example->output, &example->output_len, err);
	if (st == MER_OK)
		st = copy(&values[2], &example->tolerance, &len, err);
	example->on_start = values[3].number != 0;
	return st;
}

enum mer_status example_read(struct mer_dal *dal, const char *model, struct example *out,
                             struct mer_error *err)
{
	enum mer_status st =
		mer_dal_query(dal, MER_Q_MODEL_TEST, MER_ARGS(mer_text(model)), on_example, out, err);
	out->within = MER_COMPARE_EXACT;
	if (st == MER_OK && out->tolerance != NULL && out->tolerance[0] != '\0')
		st = mer_compare_parse("test-tolerance", out->tolerance, &out->within, err);
	return st;
}

/* --- as users write it -------------------------------------------------------------------- */

bool example_is_arg(size_t arg)
{
	return arg == SPEC_TEST_INPUT || arg == SPEC_TEST_OUTPUT || arg == SPEC_TEST_TOLERANCE ||
	       arg == SPEC_TEST_ON_START;
}

bool example_is_given(const struct cmd_value values[])
{
	return values[SPEC_TEST_INPUT].given || values[SPEC_TEST_OUTPUT].given ||
	       values[SPEC_TEST_TOLERANCE].given || values[SPEC_TEST_ON_START].given;
}

/* Text, @FILE, or @@text for one that begins with an @; "" is none. */
static enum mer_status take_bytes(const char *what, const struct cmd_value *value, char **out,
                                  size_t *len, struct mer_error *err)
{
	const char *text = value->text;
	char *bytes = NULL;
	enum mer_status st = MER_OK;
	if (!value->given)
		return MER_OK;
	if (text[0] == '@' && text[1] != '@') {
		st = mer_read_file(text + 1, BYTES_MAX, &bytes, len, err);
		if (st == MER_EIO || st == MER_ELIMIT)
			return mer_wrap(err, MER_EINPUT, "--%s", what);
	} else if (text[0] != '\0') {
		text += text[0] == '@';
		bytes = strdup(text);
		*len = strlen(text);
		st = bytes != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
	}
	if (st != MER_OK)
		return st;
	free(*out);
	*out = bytes;
	return MER_OK;
}

static enum mer_status take_tolerance(const struct cmd_value *value, struct example *example,
                                      struct mer_error *err)
{
	if (!value->given)
		return MER_OK;
	if (value->text[0] != '\0') {
		enum mer_status st =
			mer_compare_parse("--test-tolerance", value->text, &example->within, err);
		if (st != MER_OK)
			return st;
	}
	free(example->tolerance);
	example->tolerance = strdup(value->text);
	return example->tolerance != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status check_whole(const struct example *example, struct mer_error *err)
{
	if ((example->input == NULL) != (example->output == NULL)) {
		(void)mer_fail(err, MER_EINPUT, "an example has a --test-input and a --test-output");
		mer_hint(err, "@/dev/null is an empty one");
		return MER_EINPUT;
	}
	if (example->input == NULL && (example->on_start || example->tolerance[0] != '\0')) {
		(void)mer_fail(err, MER_EINPUT, "there is no example to be tested by");
		mer_hint(err, "--test-input and --test-output give one");
		return MER_EINPUT;
	}
	return MER_OK;
}

enum mer_status example_take(struct example *example, const struct cmd_value values[],
                             struct mer_error *err)
{
	enum mer_status st = take_bytes("test-input", &values[SPEC_TEST_INPUT], &example->input,
	                                &example->input_len, err);
	if (st == MER_OK)
		st = take_bytes("test-output", &values[SPEC_TEST_OUTPUT], &example->output,
		                &example->output_len, err);
	if (st == MER_OK)
		st = take_tolerance(&values[SPEC_TEST_TOLERANCE], example, err);
	if (values[SPEC_TEST_ON_START].given)
		example->on_start = values[SPEC_TEST_ON_START].number != 0;
	return st == MER_OK ? check_whole(example, err) : st;
}

static enum mer_status on_deployment(void *ctx, const void *row, struct mer_error *err)
{
	const struct mer_deployment_row *deployment = row;
	(void)err;
	*(bool *)ctx |= mer_protocol_by_name(deployment->protocol) != MER_PROTOCOL_ONCE ||
	                strcmp(deployment->server_kind, "http") == 0;
	return MER_OK;
}

/* A process a run is never ready before its run. */
static enum mer_status check_stays(struct mer_dal *dal, const char *model, struct mer_error *err)
{
	bool stays = false;
	enum mer_status st = mer_dal_query(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(model)),
	                                   on_deployment, &stays, err);
	if (st == MER_OK && !stays)
		return mer_fail(err, MER_EINPUT,
		                "--test-on-start is for workers that stay: those of token and frame");
	return st;
}

enum mer_status example_write(struct mer_dal *dal, const char *model_uid,
                              const struct example *example, struct mer_error *err)
{
	const struct mer_value none = { .type = MER_VALUE_NULL };
	return mer_dal_exec(
		dal, MER_Q_MODEL_TEST_SET,
		MER_ARGS(mer_text(model_uid),
	             example->input != NULL ? mer_blob(example->input, example->input_len) : none,
	             example->output != NULL ? mer_blob(example->output, example->output_len) : none,
	             mer_text(example->tolerance), mer_i64(example->on_start)),
		NULL, err);
}

enum mer_status example_change(struct mer_dal *dal, const char *model, const char *model_uid,
                               const struct cmd_value values[], struct mer_error *err)
{
	struct example example = { 0 };
	enum mer_status st = example_read(dal, model, &example, err);
	if (st == MER_OK)
		st = example_take(&example, values, err);
	if (st == MER_OK && example.on_start)
		st = check_stays(dal, model, err);
	if (st == MER_OK)
		st = example_write(dal, model_uid, &example, err);
	example_release(&example);
	return st;
}

/* --- running it --------------------------------------------------------------------------- */

static enum mer_status compare(const char *model, const struct example *example,
                               struct spool *output, struct mer_buf *shown, struct mer_error *err)
{
	size_t got = 0;
	char *bytes = malloc((size_t)output->bytes + 1);
	enum mer_status st = spool_check(output, err);
	if (st == MER_OK && bytes == NULL)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	if (st == MER_OK)
		st = spool_read(output, 0, bytes, (size_t)output->bytes, &got, err);
	const struct mer_str want = { example->output, example->output_len }, is = { bytes, got };
	if (st == MER_OK &&
	    !mer_compare_same(mer_compare_chomp(want), mer_compare_chomp(is), example->within)) {
		mer_compare_show(want, is, example->within, shown);
		st = mer_fail(err, MER_EMODEL, "model '%s' answers its example with another output", model);
	}
	free(bytes);
	return st;
}

enum mer_status example_run(struct session *s, const char *model, int64_t *ms,
                            struct mer_buf *shown, struct mer_error *err)
{
	struct example example = { 0 };
	struct run_kept *result = NULL;
	struct store store;
	struct spool output;
	store_init(&store, BYTES_MAX);
	spool_init(&output, &store);
	enum mer_status st = example_read(s->dal, model, &example, err);
	if (st == MER_OK && example.input == NULL) {
		st = mer_fail(err, MER_ENOTFOUND, "model '%s' has no example", model);
		mer_hint(err, "'model set %s test-input=... test-output=...' gives it one", model);
	}
	const struct run_choice choice = { .model = model, .no_record = true };
	const struct mer_str input = { example.input, example.input_len };
	if (st == MER_OK)
		st = run_one_kept(s, &choice, input, NULL, &output, &result, err);
	if (st == MER_OK)
		st = run_status(&result->result, err);
	if (st == MER_OK) {
		*ms = result->result.infer_ms;
		st = compare(model, &example, &output, shown, err);
	}
	spool_clear(&output);
	store_release(&store);
	free(result);
	example_release(&example);
	return st;
}
