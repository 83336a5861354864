/* Tensors that a user gives on the command line: .npy files and JSON. */
#include "tensors.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/npy.h>
#include <string.h>

void tensors_release(struct tensors *tensors)
{
	free(tensors->request);
	mer_buf_release(&tensors->bytes);
}

/* A word's parts: the name, a datatype or "", and the value. */
struct word {
	char *name; /* owned */
	const char *datatype, *value;
};

static enum mer_status split(const char *text, struct word *out, struct mer_error *err)
{
	const char *equals = strchr(text, '=');
	if (equals == NULL || equals == text) {
		(void)mer_fail(err, MER_EINPUT, "--tensor: not NAME=VALUE: '%s'", text);
		mer_hint(err, "NAME=@FILE.npy, or JSON: NAME=[[1,2],[3,4]]");
		return MER_EINPUT;
	}
	*out = (struct word){ strndup(text, (size_t)(equals - text)), "", equals + 1 };
	if (out->name == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	char *colon = strrchr(out->name, ':');
	enum mer_datatype datatype =
		colon != NULL ? mer_datatype_by_name(colon + 1) : MER_DATATYPE_NONE;
	if (datatype != MER_DATATYPE_NONE && colon != out->name) {
		*colon = '\0';
		out->datatype = mer_datatype_name(datatype);
	}
	return MER_OK;
}

static json_t *shape_of(const struct mer_npy *npy)
{
	json_t *shape = json_array();
	for (size_t i = 0; i < npy->dims; i++)
		(void)json_array_append_new(shape, json_integer((json_int_t)npy->shape[i]));
	return shape;
}

/* Adds the values of a file. */
static enum mer_status add_file(const struct word *word, size_t limit, struct mer_buf *bytes,
                                json_t **out, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *file = NULL;
	struct mer_npy npy;
	size_t len = 0, begin = bytes->len;
	const char *path = word->value + 1;
	enum mer_status st = mer_read_file(path, limit, &file, &len, err);
	if (st != MER_OK)
		return st;
	const struct mer_str all = { file, len };
	st = mer_npy_read(all, &npy, err);
	if (st == MER_OK)
		st = mer_npy_values(&npy, all, bytes, err);
	if (st != MER_OK)
		return mer_wrap(err, st, "'%s'", path);
	const char *datatype = mer_datatype_name(npy.datatype);
	if (word->datatype[0] != '\0' && strcmp(word->datatype, datatype) != 0)
		return mer_fail(err, MER_EINPUT, "'%s' is %s, not %s", path, datatype, word->datatype);
	*out = json_pack("{s:s,s:s,s:o,s:{s:I}}", "name", word->name, "datatype", datatype, "shape",
	                 shape_of(&npy), "parameters", "binary_data_size",
	                 (json_int_t)(bytes->len - begin));
	return MER_OK;
}

static enum mer_status add_json(const struct word *word, json_t **out, struct mer_error *err)
{
	json_t *data = NULL;
	enum mer_status st = mer_json_parse("it", word->value, strlen(word->value), &data, err);
	if (st != MER_OK) {
		mer_hint(err, "a file is NAME=@FILE.npy; text has quotes: NAME='[\"text\"]'");
		return st;
	}
	*out = json_pack("{s:s,s:o}", "name", word->name, "data", data);
	if (*out != NULL && word->datatype[0] != '\0')
		(void)json_object_set_new(*out, "datatype", json_string(word->datatype));
	return MER_OK;
}

static enum mer_status add(const char *text, size_t limit, struct mer_buf *bytes, json_t *inputs,
                           struct mer_error *err)
{
	struct word word = { 0 };
	json_t *input = NULL;
	enum mer_status st = split(text, &word, err);
	if (st != MER_OK)
		return st;
	st = word.value[0] == '@' ? add_file(&word, limit, bytes, &input, err)
	                          : add_json(&word, &input, err);
	if (st != MER_OK)
		(void)mer_wrap(err, st, "--tensor %s", word.name);
	else if (json_array_append_new(inputs, input) != 0)
		st = mer_fail(err, MER_EINPUT, "--tensor %s: its name is not UTF-8", word.name);
	free(word.name);
	return st == MER_EIO || st == MER_ELIMIT ? MER_EINPUT : st;
}

enum mer_status tensors_read(const struct cmd_value *words, size_t limit, struct tensors *out,
                             struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *request = json_object();
	json_t *inputs = json_array();
	*out = (struct tensors){ .request = NULL };
	mer_buf_init(&out->bytes, limit);
	if (json_object_set_new(request, "inputs", inputs) != 0)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < words->count && st == MER_OK; i++)
		st = add(words->words[i], limit, &out->bytes, inputs, err);
	return st == MER_OK ? mer_json_text(request, &out->request, err) : st;
}
