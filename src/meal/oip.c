/* Requests of the Open Inference Protocol in JSON, against the contract of who takes them. */
#include "oip_values.h"

#include <mer/clean.h>
#include <mer/oip.h>
#include <string.h>

enum { SHAPE_SIZE = 512 };

/* --- contracts ------------------------------------------------------------------------------ */

bool mer_oip_wants_tensors(const json_t *contract)
{
	const json_t *first = json_array_get(contract, 0);
	const char *bytes = mer_datatype_name(MER_BYTES);
	return json_array_size(contract) > 1 ||
	       (first != NULL && strcmp(mer_json_get_text(first, "datatype", ""), bytes) != 0);
}

static void add_shape(const json_t *shape, struct mer_buf *out)
{
	mer_buf_byte(out, '[');
	for (size_t i = 0; i < json_array_size(shape); i++)
		mer_buf_printf(out, "%s%" JSON_INTEGER_FORMAT, i > 0 ? "," : "",
		               json_integer_value(json_array_get(shape, i)));
	mer_buf_byte(out, ']');
}

void mer_oip_describe(const json_t *contract, struct mer_buf *out)
{
	for (size_t i = 0; i < json_array_size(contract); i++) {
		const json_t *one = json_array_get(contract, i);
		mer_buf_printf(out, "%s%s %s ", i > 0 ? ", " : "", mer_json_get_text(one, "name", ""),
		               mer_json_get_text(one, "datatype", ""));
		add_shape(json_object_get(one, "shape"), out);
	}
}

static const json_t *find_named(const json_t *list, const char *name)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);
		if (strcmp(mer_json_get_text(one, "name", ""), name) == 0)
			return one;
	}
	return NULL;
}

/* A shape as text; cut where it is very long. */
static const char *shape_text(const json_t *shape, char out[SHAPE_SIZE])
{
	struct mer_buf buf;
	mer_buf_init(&buf, SHAPE_SIZE - 1);
	add_shape(shape, &buf);
	(void)snprintf(out, SHAPE_SIZE, "%s", buf.status == MER_OK ? buf.ptr : "[...]");
	mer_buf_release(&buf);
	return out;
}

static bool shape_fits(const json_t *shape, const json_t *contract)
{
	if (json_array_size(shape) != json_array_size(contract))
		return false;
	for (size_t i = 0; i < json_array_size(shape); i++) {
		const json_t *want = json_array_get(contract, i);
		bool any = !json_is_integer(want) || json_integer_value(want) < 0;
		if (!any && !json_equal(json_array_get(shape, i), want))
			return false;
	}
	return true;
}

/* The input as it stands in the contract. */
static enum mer_status check_contract(const json_t *contract, const json_t *input,
                                      struct mer_error *err)
{
	const char *name = mer_json_get_text(input, "name", "");
	const char *datatype = mer_json_get_text(input, "datatype", "");
	const json_t *want = find_named(contract, name), *shape = json_object_get(input, "shape");
	const char *wanted = mer_json_get_text(want, "datatype", "");
	char got_shape[SHAPE_SIZE], want_shape[SHAPE_SIZE];
	if (want == NULL ||
	    (strcmp(datatype, wanted) == 0 && shape_fits(shape, json_object_get(want, "shape"))))
		return MER_OK;
	return mer_fail(err, MER_EINPUT, "input '%s' is %s %s, the model takes %s %s", name, datatype,
	                shape_text(shape, got_shape), wanted,
	                shape_text(json_object_get(want, "shape"), want_shape));
}

static enum mer_status fail_names(const json_t *contract, const char *what, const char *name,
                                  struct mer_error *err)
{
	struct mer_buf takes;
	mer_buf_init(&takes, 4096);
	mer_oip_describe(contract, &takes);
	(void)mer_fail(err, MER_EINPUT, "%s '%s'; the model takes %s", what, name,
	               takes.len > 0 && takes.status == MER_OK ? takes.ptr : "other inputs");
	mer_buf_release(&takes);
	return MER_EINPUT;
}

/* Each input once, and none that the other side has not. */
static enum mer_status check_names(const json_t *contract, const json_t *inputs,
                                   struct mer_error *err)
{
	for (size_t i = 0; i < json_array_size(inputs); i++) {
		const json_t *input = json_array_get(inputs, i);
		const char *name = mer_json_get_text(input, "name", "");
		if (name[0] == '\0')
			return mer_fail(err, MER_EINPUT, "input %zu has no name", i + 1);
		if (find_named(inputs, name) != input)
			return mer_fail(err, MER_EINPUT, "input '%s' is there twice", name);
		if (contract != NULL && find_named(contract, name) == NULL)
			return fail_names(contract, "no such input:", name, err);
	}
	for (size_t i = 0; i < json_array_size(contract); i++) {
		const char *name = mer_json_get_text(json_array_get(contract, i), "name", "");
		if (find_named(inputs, name) == NULL)
			return fail_names(contract, "there is no input", name, err);
	}
	return MER_OK;
}

/* --- an input ------------------------------------------------------------------------------- */

int mer_oip_shape(const json_t *description, uint64_t shape[MER_OIP_DIMS])
{
	const json_t *list = json_object_get(description, "shape");
	size_t dims = json_array_size(list);
	if (!json_is_array(list) || dims > MER_OIP_DIMS)
		return -1;
	for (size_t i = 0; i < dims; i++) {
		const json_t *extent = json_array_get(list, i);
		if (!json_is_integer(extent) || json_integer_value(extent) < 0)
			return -1;
		shape[i] = (uint64_t)json_integer_value(extent);
	}
	return (int)dims;
}

/* The tensor's own parameters but for those that say where its bytes are. */
static json_t *parameters_of(const json_t *input, uint64_t bytes)
{
	json_t *parameters = json_object(), *value;
	const char *key;
	json_t *given = json_object_get(input, "parameters");
	json_object_foreach(given, key, value)
		if (strcmp(key, "content_type") != 0)
			(void)json_object_set(parameters, key, value);
	if (json_object_set_new(parameters, "binary_data_size", json_integer((json_int_t)bytes)) != 0) {
		json_decref(parameters);
		return NULL;
	}
	return parameters;
}

/* A description with all that a frame wants but the size of the values. */
static enum mer_status describe(const json_t *contract, const json_t *input, struct mer_str data,
                                json_t **out, struct mer_error *err)
{
	const char *name = mer_json_get_text(input, "name", "");
	const json_t *datatype = json_object_get(input, "datatype");
	json_t *shape = json_incref(json_object_get(input, "shape"));
	if (datatype == NULL)
		datatype = json_object_get(find_named(contract, name), "datatype");
	if (shape == NULL && data.ptr != NULL)
		shape = oip_values_nesting(data);
	const char *text = json_is_string(datatype) ? json_string_value(datatype) : "";
	if (mer_datatype_by_name(text) == MER_DATATYPE_NONE) {
		json_decref(shape);
		if (datatype != NULL)
			return mer_fail(err, MER_EINPUT, "input '%s': no such datatype: '%s'", name, text);
		(void)mer_fail(err, MER_EINPUT, "input '%s' has no datatype, and the model does not say",
		               name);
		mer_hint(err, "--tensor %.100s:FP32=... says it", name);
		return MER_EINPUT;
	}
	*out = json_object();
	(void)json_object_set_new(*out, "name", json_string(name));
	(void)json_object_set_new(*out, "datatype", json_string(text));
	bool failed = json_object_set_new(*out, "shape", shape != NULL ? shape : json_null()) != 0;
	if (!failed && json_object_size(*out) == 3)
		return MER_OK;
	json_decref(*out);
	*out = NULL;
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status take_binary(const json_t *size, const char *name, struct mer_str *binary,
                                   uint64_t *bytes, struct mer_error *err)
{
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return mer_fail(err, MER_EINPUT, "input '%s' has neither data nor a binary_data_size",
		                name);
	*bytes = (uint64_t)json_integer_value(size);
	if (*bytes > binary->len)
		return mer_fail(err, MER_EINPUT, "input '%s' ends behind the binary data", name);
	binary->ptr += *bytes;
	binary->len -= (size_t)*bytes;
	return MER_OK;
}

static bool is_base64(const json_t *input)
{
	const json_t *parameters = json_object_get(input, "parameters");
	return strcmp(mer_json_get_text(parameters, "content_type", ""), "base64") == 0;
}

static enum mer_status add_json(const json_t *input, struct mer_str data, const json_t *made,
                                struct mer_buf *room, uint64_t *bytes, struct mer_error *err)
{
	uint64_t shape[MER_OIP_DIMS];
	const char *name = mer_json_get_text(made, "name", "");
	int dims = mer_oip_shape(made, shape);
	size_t begin = room->len;
	if (dims < 0)
		return mer_fail(err, MER_EINPUT, "input '%s': its shape is no array of up to %d lengths",
		                name, MER_OIP_DIMS);
	const struct oip_values values = {
		.name = name,
		.datatype = mer_datatype_by_name(mer_json_get_text(made, "datatype", "")),
		.base64 = is_base64(input),
		.shape = shape,
		.dims = (size_t)dims,
		.out = room,
	};
	enum mer_status st = oip_values_read(&values, data, err);
	*bytes = room->len - begin;
	return st;
}

/* Where the values of inputs are. */
struct source {
	struct mer_str binary; /* that is left */
	bool copies;           /* what is binary goes to the room too, since other values do */
	const struct mer_oip_text *text; /* NULL: they are in the request itself */
	size_t next;                     /* of the text's */
};

/* The text of an input's values, which kept holds where it had to be made. None: nothing, and fine. */
static enum mer_status find_data(struct source *source, const json_t *input, struct mer_str *out,
                                 char **kept, struct mer_error *err)
{
	const json_t *data = json_object_get(input, "data");
	*out = (struct mer_str){ NULL, 0 };
	if (data == NULL)
		return MER_OK;
	if (source->text != NULL && json_is_integer(data)) {
		size_t at = source->next++;
		if (at >= source->text->count || json_integer_value(data) != (json_int_t)at)
			return mer_fail(err, MER_EINPUT, "an input has a name for its data that is not plain");
		*out = source->text->data[at];
		return MER_OK;
	}
	enum mer_status st = mer_json_text(data, kept, err);
	if (st == MER_OK)
		*out = (struct mer_str){ *kept, strlen(*kept) };
	return st;
}

/* Adds one input to the request that is made; binary data is only gone through. */
static enum mer_status add_input(const json_t *contract, const json_t *input,
                                 struct mer_oip_request *out, struct source *source,
                                 struct mer_error *err)
{
	const json_t *parameters = json_object_get(input, "parameters");
	const json_t *size = json_object_get(parameters, "binary_data_size");
	const char *from = source->binary.ptr;
	MER_AUTO(mer_text_done) char *kept = NULL;
	struct mer_str data;
	json_t *made = NULL;
	uint64_t bytes = 0;
	enum mer_status st = find_data(source, input, &data, &kept, err);
	if (st == MER_OK)
		st = describe(contract, input, data, &made, err);
	if (st != MER_OK)
		return st;
	(void)json_array_append_new(json_object_get(out->meta, "inputs"), made);
	const char *name = mer_json_get_text(made, "name", "");
	if (data.ptr == NULL) {
		st = take_binary(size, name, &source->binary, &bytes, err);
		mer_buf_add(&out->room, from, st == MER_OK && source->copies ? (size_t)bytes : 0);
	} else if (size != NULL) {
		st = mer_fail(err, MER_EINPUT, "input '%s' has both data and a binary_data_size", name);
	} else {
		st = add_json(input, data, made, &out->room, &bytes, err);
	}
	if (st == MER_OK && json_object_set_new(made, "parameters", parameters_of(input, bytes)) != 0)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	return st == MER_OK ? mer_buf_check(&out->room, err) : st;
}

/* --- a request ------------------------------------------------------------------------------ */

/* What came as binary data has to be what its description says, as a frame's body has. */
static enum mer_status check_body(const struct mer_oip_request *request, struct mer_error *err)
{
	struct mer_content content;
	struct mer_content_walk walk = { .at = 0 };
	struct mer_str rest = request->body, piece;
	enum mer_status st = mer_content_read(request->meta, "inputs", rest.len, &content, err);
	for (size_t taken; st == MER_OK && rest.len > 0; rest.ptr += taken, rest.len -= taken)
		st = mer_content_step(&content, &walk, rest.ptr, rest.len, &taken, &piece, err);
	mer_content_release(&content);
	if (st == MER_ECORRUPT) /* it is the user's here */
		return mer_wrap(err, MER_EINPUT, "the binary data");
	return st;
}

static enum mer_status make(const json_t *contract, const json_t *request, struct source source,
                            struct mer_oip_request *out, struct mer_error *err)
{
	const json_t *inputs = json_object_get(request, "inputs");
	json_t *parameters = json_object_get(request, "parameters");
	const struct mer_str binary = source.binary;
	enum mer_status st = check_names(contract, inputs, err);
	for (size_t i = 0; i < json_array_size(inputs); i++)
		source.copies |= json_object_get(json_array_get(inputs, i), "data") != NULL;
	for (size_t i = 0; i < json_array_size(inputs) && st == MER_OK; i++)
		st = add_input(contract, json_array_get(inputs, i), out, &source, err);
	if (st == MER_OK && source.binary.len > 0)
		st = mer_fail(err, MER_EINPUT, "%zu bytes of binary data belong to no input",
		              source.binary.len);
	if (st != MER_OK)
		return st;
	out->body = source.copies ? (struct mer_str){ out->room.ptr, out->room.len } : binary;
	st = check_body(out, err);
	const json_t *made = json_object_get(out->meta, "inputs");
	for (size_t i = 0; i < json_array_size(made) && st == MER_OK; i++)
		st = check_contract(contract, json_array_get(made, i), err);
	if (st == MER_OK && parameters != NULL &&
	    json_object_set(out->meta, "parameters", parameters) != 0)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	return st;
}

static enum mer_status make_request(const json_t *contract, const json_t *request,
                                    const struct source *source, size_t limit,
                                    struct mer_oip_request *out, struct mer_error *err)
{
	const json_t *parameters = json_object_get(request, "parameters");
	if (!json_is_array(json_object_get(request, "inputs")))
		return mer_fail(err, MER_EINPUT, "the request has no array of inputs");
	if (parameters != NULL && !json_is_object(parameters))
		return mer_fail(err, MER_EINPUT, "the request's parameters are no object");
	struct mer_oip_request made = { .meta = json_object() };
	mer_buf_init(&made.room, limit);
	enum mer_status st = json_object_set_new(made.meta, "inputs", json_array()) != 0
	                         ? mer_fail(err, MER_ENOMEM, "out of memory")
	                         : make(contract, request, *source, &made, err);
	if (st == MER_OK)
		*out = made;
	else
		mer_oip_request_release(&made);
	return st == MER_ELIMIT ? mer_wrap(err, MER_EINPUT, "the inputs are") : st;
}

enum mer_status mer_oip_request(const json_t *contract, const json_t *request,
                                struct mer_str binary, size_t limit, struct mer_oip_request *out,
                                struct mer_error *err)
{
	const struct source source = { .binary = binary };
	return make_request(contract, request, &source, limit, out, err);
}

enum mer_status mer_oip_request_of(const json_t *contract, const json_t *request,
                                   const struct mer_oip_text *text, size_t limit,
                                   struct mer_oip_request *out, struct mer_error *err)
{
	const struct source source = { .binary = { "", 0 }, .text = text };
	return make_request(contract, request, &source, limit, out, err);
}

/* A text that is no JSON: all of it is read to tell where. */
static enum mer_status fail_parse(const json_t *contract, struct mer_str text,
                                  struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *request = NULL;
	struct mer_buf takes;
	if (mer_json_parse("the input", text.ptr, text.len, &request, err) == MER_ENOMEM)
		return MER_ENOMEM;
	mer_buf_init(&takes, 200);
	mer_oip_describe(contract, &takes);
	if (err != NULL)
		(void)mer_fail(err, MER_EINPUT, "%s; the model takes tensors: %s", err->message,
		               takes.status == MER_OK && takes.len > 0 ? takes.ptr : "several");
	mer_hint(err, "--tensor NAME=@FILE.npy gives one; as JSON the input is a request of the Open "
	              "Inference Protocol v2");
	mer_buf_release(&takes);
	return MER_EINPUT;
}

enum mer_status mer_oip_parse(const json_t *contract, struct mer_str text, size_t limit,
                              struct mer_oip_request *out, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *request = NULL;
	struct mer_oip_text read;
	enum mer_status st = mer_oip_text_read(text, "inputs", &read, err);
	if (st != MER_OK)
		return st;
	const struct mer_buf *outline = &read.outline;
	bool good = false;
	st = mer_json_parse("the input", outline->len > 0 ? outline->ptr : "", outline->len, &request,
	                    err);
	if (st == MER_OK) {
		st = mer_oip_request_of(contract, request, &read, limit, out, err);
		good = st != MER_ECORRUPT;
	}
	mer_oip_text_release(&read);
	return good || st == MER_ENOMEM ? st : fail_parse(contract, text, err);
}

void mer_oip_request_release(struct mer_oip_request *request)
{
	json_decref(request->meta);
	request->meta = NULL;
	mer_buf_release(&request->room);
}
