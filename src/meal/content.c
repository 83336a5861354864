/* What a meta says of its body: bytes, text or tensors (docs/wire.md, "Inputs and outputs"). */
#include <assert.h>
#include <inttypes.h>
#include <mer/wire.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	size_t size;
} datatypes[] = {
	[MER_DATATYPE_NONE] = { "", 0 }, [MER_BOOL] = { "BOOL", 1 },     [MER_UINT8] = { "UINT8", 1 },
	[MER_UINT16] = { "UINT16", 2 },  [MER_UINT32] = { "UINT32", 4 }, [MER_UINT64] = { "UINT64", 8 },
	[MER_INT8] = { "INT8", 1 },      [MER_INT16] = { "INT16", 2 },   [MER_INT32] = { "INT32", 4 },
	[MER_INT64] = { "INT64", 8 },    [MER_FP16] = { "FP16", 2 },     [MER_BF16] = { "BF16", 2 },
	[MER_FP32] = { "FP32", 4 },      [MER_FP64] = { "FP64", 8 },     [MER_BYTES] = { "BYTES", 0 },
};
static_assert(sizeof datatypes / sizeof *datatypes == MER_DATATYPE_COUNT, "a row for each");

enum { LENGTH_BYTES = 4 }; /* in front of an element of BYTES */

enum mer_datatype mer_datatype_by_name(const char *name)
{
	for (size_t i = MER_DATATYPE_NONE + 1; i < MER_DATATYPE_COUNT; i++)
		if (strcmp(name, datatypes[i].name) == 0)
			return (enum mer_datatype)i;
	return MER_DATATYPE_NONE;
}

const char *mer_datatype_name(enum mer_datatype datatype)
{
	return datatypes[datatype].name;
}

size_t mer_datatype_size(enum mer_datatype datatype)
{
	return datatypes[datatype].size;
}

static bool read_count(const json_t *json, uint64_t *out)
{
	if (!json_is_integer(json) || json_integer_value(json) < 0)
		return false;
	*out = (uint64_t)json_integer_value(json);
	return true;
}

/* The product of a shape; [] is one element. */
static enum mer_status read_shape(const char *name, const json_t *shape, uint64_t *out,
                                  struct mer_error *err)
{
	uint64_t elements = 1, extent;
	if (!json_is_array(shape))
		return mer_fail(err, MER_EINPUT, "tensor '%s' has no shape", name);
	for (size_t i = 0; i < json_array_size(shape); i++) {
		if (!read_count(json_array_get(shape, i), &extent))
			return mer_fail(err, MER_EINPUT, "tensor '%s': extent %zu of its shape is no length",
			                name, i);
		if (__builtin_mul_overflow(elements, extent, &elements))
			return mer_fail(err, MER_EINPUT, "tensor '%s': its shape is too large", name);
	}
	*out = elements;
	return MER_OK;
}

static enum mer_status check_bytes(const struct mer_tensor *tensor, struct mer_error *err)
{
	size_t size = mer_datatype_size(tensor->datatype);
	uint64_t want;
	bool over = __builtin_mul_overflow(tensor->elements, size > 0 ? size : LENGTH_BYTES, &want);
	if (!over && (size > 0 ? tensor->bytes == want : tensor->bytes >= want))
		return MER_OK;
	return mer_fail(
		err, MER_ECORRUPT,
		"tensor '%s': binary_data_size %" PRIu64 " does not fit %" PRIu64 " elements of %s",
		tensor->name, tensor->bytes, tensor->elements, mer_datatype_name(tensor->datatype));
}

static enum mer_status read_tensor(const json_t *json, struct mer_tensor *out,
                                   struct mer_error *err)
{
	const char *name = mer_json_get_text(json, "name", "");
	const char *datatype = mer_json_get_text(json, "datatype", "");
	const json_t *size = json_object_get(json_object_get(json, "parameters"), "binary_data_size");
	*out = (struct mer_tensor){ .name = name, .datatype = mer_datatype_by_name(datatype) };
	if (name[0] == '\0')
		return mer_fail(err, MER_EINPUT, "a tensor has no name");
	if (out->datatype == MER_DATATYPE_NONE)
		return mer_fail(err, MER_EINPUT, "tensor '%s': no such datatype: '%s'", name, datatype);
	if (!read_count(size, &out->bytes))
		return mer_fail(err, MER_EINPUT, "tensor '%s' has no binary_data_size", name);
	enum mer_status st = read_shape(name, json_object_get(json, "shape"), &out->elements, err);
	return st == MER_OK ? check_bytes(out, err) : st;
}

static enum mer_status read_tensors(const json_t *list, const char *key, uint64_t body,
                                    struct mer_content *out, struct mer_error *err)
{
	uint64_t sum = 0;
	if (!json_is_array(list))
		return mer_fail(err, MER_EINPUT, "'%s' is no array", key);
	size_t n = json_array_size(list);
	out->tensors = calloc(n + 1, sizeof *out->tensors);
	if (out->tensors == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (; out->count < n; out->count++) {
		struct mer_tensor *tensor = &out->tensors[out->count];
		enum mer_status st = read_tensor(json_array_get(list, out->count), tensor, err);
		if (st != MER_OK)
			return st;
		if (tensor->bytes > body - sum)
			return mer_fail(err, MER_ECORRUPT,
			                "tensor '%s' ends behind the body of %" PRIu64 " bytes", tensor->name,
			                body);
		sum += tensor->bytes;
	}
	if (sum < body)
		return mer_fail(err, MER_ECORRUPT,
		                "the tensors have %" PRIu64 " bytes, their body %" PRIu64, sum, body);
	return MER_OK;
}

static enum mer_status read_form(const json_t *content, enum mer_content_form *out,
                                 struct mer_error *err)
{
	const char *form = json_is_string(content) ? json_string_value(content) : "";
	*out = strcmp(form, "bytes") == 0  ? MER_CONTENT_BYTES
	       : strcmp(form, "text") == 0 ? MER_CONTENT_TEXT
	                                   : MER_CONTENT_NONE;
	return *out != MER_CONTENT_NONE
	           ? MER_OK
	           : mer_fail(err, MER_EINPUT, "'content' is neither \"bytes\" nor \"text\"");
}

enum mer_status mer_content_read(const json_t *meta, const char *key, uint64_t body,
                                 struct mer_content *out, struct mer_error *err)
{
	const json_t *content = json_object_get(meta, "content"), *list = json_object_get(meta, key);
	enum mer_status st = MER_OK;
	*out = (struct mer_content){ .form = MER_CONTENT_NONE };
	if (content != NULL && list != NULL)
		return mer_fail(err, MER_EINPUT, "both 'content' and '%s'", key);
	if (content != NULL)
		return read_form(content, &out->form, err);
	if (list == NULL)
		return body == 0
		           ? MER_OK
		           : mer_fail(err, MER_EINPUT,
		                      "a body of %" PRIu64 " bytes that its meta does not describe", body);
	st = read_tensors(list, key, body, out, err);
	if (st == MER_OK)
		out->form = MER_CONTENT_TENSORS;
	return st;
}

void mer_content_release(struct mer_content *content)
{
	free(content->tensors);
	*content = (struct mer_content){ .form = MER_CONTENT_NONE };
}

/* --- going through a body ------------------------------------------------------------------- */

/* The elements of a tensor of BYTES have to end where it does. */
static enum mer_status fail_element(const struct mer_tensor *tensor, struct mer_error *err)
{
	return mer_fail(err, MER_ECORRUPT,
	                "tensor '%s': its %" PRIu64 " elements do not end where its %" PRIu64
	                " bytes do",
	                tensor->name, tensor->elements, tensor->bytes);
}

/* Takes a byte of the length in front of an element. */
static enum mer_status step_length(const struct mer_tensor *tensor, struct mer_content_walk *walk,
                                   char byte, struct mer_error *err)
{
	if (walk->have == 0 && walk->elements == 0)
		return fail_element(tensor, err);
	walk->length[walk->have++] = (unsigned char)byte;
	walk->left--;
	if (walk->have == LENGTH_BYTES) {
		walk->have = 0;
		walk->elements--;
		walk->element = 0;
		for (unsigned i = 0; i < LENGTH_BYTES; i++)
			walk->element |= (uint64_t)walk->length[i] << 8 * i;
	}
	/* What is left has to hold it and the lengths of the others. */
	uint64_t rest = walk->have > 0 ? LENGTH_BYTES - walk->have : walk->element;
	uint64_t others = walk->have > 0 ? walk->elements - 1 : walk->elements;
	if (rest > walk->left || others > (walk->left - rest) / LENGTH_BYTES ||
	    (others == 0 && walk->have == 0 && walk->left != rest))
		return fail_element(tensor, err);
	return MER_OK;
}

enum mer_status mer_content_step(const struct mer_content *content, struct mer_content_walk *walk,
                                 const char *bytes, size_t n, size_t *taken, struct mer_str *piece,
                                 struct mer_error *err)
{
	*piece = (struct mer_str){ NULL, 0 };
	*taken = 0;
	if (n == 0)
		return MER_OK;
	if (content->form != MER_CONTENT_TENSORS) {
		*piece = (struct mer_str){ bytes, n };
		*taken = n;
		return MER_OK;
	}
	while (!walk->inside || walk->left == 0) { /* the next one that has bytes */
		walk->at += walk->inside;
		MER_ASSERT(walk->at < content->count);
		walk->inside = true;
		walk->left = content->tensors[walk->at].bytes;
		walk->elements = content->tensors[walk->at].elements;
	}
	const struct mer_tensor *tensor = &content->tensors[walk->at];
	bool plain = tensor->datatype != MER_BYTES;
	if (!plain && walk->element == 0) {
		*taken = 1;
		return step_length(tensor, walk, *bytes, err);
	}
	uint64_t most = plain ? walk->left : walk->element;
	size_t len = n < most ? n : (size_t)most;
	*piece = (struct mer_str){ bytes, len };
	*taken = len;
	walk->left -= len;
	walk->element -= plain ? 0 : len;
	return MER_OK;
}
