/* The keys of documents, from the tables of options; document.h. */
#include "document.h"

#include <assert.h>

static const char *const states[] = { "candidate", "active", "retired", NULL };

/* clang-format off */
const struct cmd_arg document_model_args[MODEL_KEYS] = {
	[MODEL_FEEDBACK] = CMD_FLAG("feedback", "whether the prompt asks what an answer is worth"),
	[MODEL_THRESHOLD] = CMD_OPTION("feedback-threshold", ARG_I64, "R",
		"ratings below it are bad ones; default: 3 where feedback is on, else 0", .most = 5),
	[MODEL_TRAIN_AFTER] = CMD_OPTION("train-after", ARG_I64, "N",
		"offer training after so many bad ones, 0: never; default: 10 where feedback is on, else 0"),
};

const struct cmd_arg document_weights_args[WEIGHTS_KEYS] = {
	[WEIGHTS_PATH] = CMD_OPTION("path", ARG_TEXT, "PATH", "a file or a folder; {models} at the "
		"front is the folder of the example models", .required = true),
	[WEIGHTS_STATE] = CMD_OPTION("state", ARG_CHOICE, NULL,
		"active: runs use it; default: as it is, a candidate when it is new", .choices = states),
	[WEIGHTS_SHA256] = CMD_OPTION("sha256", ARG_TEXT, "SHA256",
		"what its bytes must have; default: what they have"),
	[WEIGHTS_BYTES] = CMD_OPTION("bytes", ARG_I64, "N", "how many bytes it must have"),
	[WEIGHTS_PARENT] = CMD_OPTION("parent", ARG_NAME, "V", "the version that training began with"),
	[WEIGHTS_METRICS] = CMD_OPTION("metrics", ARG_TEXT, "JSON", "what its training measured"),
};
/* clang-format on */

static enum document_shape shape_of(const struct cmd_arg *arg)
{
	if (arg == &spec_args[SPEC_ARGV] || arg == &spec_args[SPEC_TRAIN])
		return SHAPE_WORDS;
	if (arg == &spec_args[SPEC_TEST_INPUT] || arg == &spec_args[SPEC_TEST_OUTPUT])
		return SHAPE_BYTES;
	if (arg == &spec_args[SPEC_WORKDIR] || arg == &spec_args[SPEC_WEIGHTS_DIR] ||
	    arg == &document_weights_args[WEIGHTS_PATH])
		return SHAPE_PATH;
	if (arg == &document_weights_args[WEIGHTS_METRICS])
		return SHAPE_JSON;
	if (arg->repeat)
		return arg->type == ARG_PAIR ? SHAPE_MAP : SHAPE_LIST;
	return SHAPE_SCALAR;
}

static size_t add_keys(const struct cmd_arg args[], size_t first, size_t end,
                       struct cmd_value *values, struct document_key *out)
{
	size_t n = 0;
	for (size_t i = first; i < end; i++) {
		const char *name = args == spec_args ? spec_key((enum spec_arg)i) : args[i].name;
		if (name == NULL)
			continue;
		out[n++] = (struct document_key){
			.name = name,
			.arg = &args[i],
			.shape = shape_of(&args[i]),
			.required = args[i].required,
			.to = values != NULL ? &values[i] : NULL,
		};
	}
	return n;
}

size_t document_server_keys(struct cmd_value *values, struct document_key out[DOCUMENT_KEYS_MAX])
{
	return add_keys(server_args, SERVER_KIND, SERVER_ARGS, values, out);
}

size_t document_model_keys(struct cmd_value *values, struct cmd_value *more,
                           struct document_key out[DOCUMENT_KEYS_MAX])
{
	size_t n = add_keys(spec_args, SPEC_SUMMARY, SPEC_SERVER, values, out);
	return n + add_keys(document_model_args, 0, MODEL_KEYS, more, out + n);
}

size_t document_deployment_keys(struct cmd_value *values,
                                struct document_key out[DOCUMENT_KEYS_MAX])
{
	static_assert(SPEC_ARGS - SPEC_SERVER <= DOCUMENT_KEYS_MAX, "there is room for all keys");
	return add_keys(spec_args, SPEC_SERVER, SPEC_ARGS, values, out);
}

size_t document_weights_keys(struct cmd_value *values, struct document_key out[DOCUMENT_KEYS_MAX])
{
	return add_keys(document_weights_args, 0, WEIGHTS_KEYS, values, out);
}
