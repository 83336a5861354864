/*
 * The example that a worker has to answer before it counts as ready, where its model says so. Until
 * then it is starting: its start timeout counts, and no run is sent to it.
 */
#include "internal.h"

#include <mer/compare.h>
#include <stdlib.h>
#include <string.h>

struct test {
	char *input, *want;
	size_t input_len, want_len;
	double tolerance;
};

struct testing {
	struct mer_buf output;
};

/* --- what a deployment has of it ---------------------------------------------------------- */

void test_free(struct test *test)
{
	if (test == NULL)
		return;
	free(test->input);
	free(test->want);
	free(test);
}

static bool copy(const struct mer_value *value, char **out, size_t *len)
{
	*len = value->text.len;
	*out = malloc(*len + 1);
	if (*out != NULL && *len > 0)
		memcpy(*out, value->text.ptr, *len);
	return *out != NULL;
}

static enum mer_status on_test(void *ctx, const void *row, struct mer_error *err)
{
	const struct mer_value *values = row;
	struct test *test = ctx;
	char text[64];
	if (values[0].type == MER_VALUE_NULL || values[1].type == MER_VALUE_NULL)
		return MER_OK; /* it was taken away meanwhile */
	test->tolerance = MER_COMPARE_EXACT;
	(void)snprintf(text, sizeof text, "%.*s", (int)values[2].text.len, values[2].text.ptr);
	if (text[0] != '\0') {
		enum mer_status st = mer_compare_parse("test-tolerance", text, &test->tolerance, err);
		if (st != MER_OK)
			return st;
	}
	if (copy(&values[0], &test->input, &test->input_len) &&
	    copy(&values[1], &test->want, &test->want_len))
		return MER_OK;
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

enum mer_status test_read(struct mer_dal *dal, struct deployment *deployment, struct mer_error *err)
{
	struct test *test = calloc(1, sizeof *test);
	if (test == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = mer_dal_query(dal, MER_Q_MODEL_TEST, MER_ARGS(mer_text(deployment->model)),
	                                   on_test, test, err);
	if (st == MER_OK && test->want != NULL)
		deployment->test = test;
	else
		test_free(test);
	return st;
}

/* --- a worker that is tested -------------------------------------------------------------- */

bool test_begin(struct slot *slot, struct mer_error *err)
{
	const struct test *test = slot->deployment->test;
	err->status = MER_OK;
	if (test == NULL || slot->tested)
		return false;
	slot->testing = calloc(1, sizeof *slot->testing);
	if (slot->testing == NULL) {
		err->status = mer_fail(err, MER_ENOMEM, "out of memory");
		return false;
	}
	mer_buf_init(&slot->testing->output, PTRDIFF_MAX);
	const struct mer_input input = { .bytes = test->input, .len = test->input_len };
	err->status = mer_worker_run(slot->worker, &input, slot->testing, err);
	if (err->status != MER_OK)
		test_end(slot);
	return slot->testing != NULL;
}

void test_output(struct slot *slot, const char *bytes, size_t n)
{
	mer_buf_add(&slot->testing->output, bytes, n);
}

/* The beginning of an output, for a message. */
static void begin_of(struct mer_str output, char out[64])
{
	size_t n = output.len < 63 ? output.len : 63;
	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned char)output.ptr[i] < ' ' || output.ptr[i] == 0x7f ? '?' : output.ptr[i];
	while (n < output.len && n > 0 && ((unsigned char)output.ptr[n] & 0xc0) == 0x80)
		n--; /* no half of a character */
	out[n] = '\0';
}

static void answers_otherwise(const char *model, struct mer_str want, struct mer_str is,
                              struct mer_error *err)
{
	char expected[64], answered[64];
	begin_of(want, expected);
	begin_of(is, answered);
	mer_fail(err, MER_EUNREACHABLE, "model '%s' did not pass its test: it answers '%s', not '%s'",
	         model, answered, expected);
	mer_hint(err, "once test-on-start is off, 'model ping --test %s' shows all that differs",
	         model);
}

bool test_passed(struct slot *slot, const struct mer_outcome *outcome, struct mer_error *err)
{
	const struct test *test = slot->deployment->test;
	const struct mer_buf *output = &slot->testing->output;
	const struct mer_str want = mer_compare_chomp((struct mer_str){ test->want, test->want_len });
	const struct mer_str is = mer_compare_chomp((struct mer_str){ output->ptr, output->len });
	const char *model = slot->deployment->model;
	slot->tested = false;
	if (outcome->status != MER_OK)
		mer_fail(err, MER_EUNREACHABLE, "model '%s' did not pass its test: %s", model,
		         outcome->message);
	else if (output->status != MER_OK)
		mer_fail(err, MER_ENOMEM, "out of memory");
	else if (!mer_compare_same(want, is, test->tolerance))
		answers_otherwise(model, want, is, err);
	else
		slot->tested = true;
	test_end(slot);
	return slot->tested;
}

void test_end(struct slot *slot)
{
	if (slot->testing != NULL)
		mer_buf_release(&slot->testing->output);
	free(slot->testing);
	slot->testing = NULL;
}
