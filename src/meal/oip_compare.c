/* Two answers of tensors beside each other: by name within each part, element by element. */
#include "number.h"

#include <inttypes.h>
#include <math.h>
#include <mer/clean.h>
#include <mer/compare.h>
#include <mer/oip.h>
#include <string.h>

enum { SHOWN_BYTES = 60 }; /* of an element of BYTES */

/* One of the two, and the part of it that is compared. */
struct side {
	json_t *parts; /* owned */
	struct mer_str rest;
	const char *body;      /* of the part; within the bytes */
	const json_t *outputs; /* its descriptions; NULL: there is no such part */
	struct mer_content content;
};

static void side_done(struct side *side)
{
	mer_content_release(&side->content);
	json_decref(side->parts);
}

static enum mer_status side_open(struct side *side, const struct mer_oip_answer *answer,
                                 struct mer_error *err)
{
	*side = (struct side){ .rest = answer->bytes };
	if (answer->metas == NULL)
		return mer_fail(err, MER_ECORRUPT, "it is just bytes");
	json_error_t why;
	side->parts = json_loads(answer->metas, 0, &why);
	if (json_is_array(side->parts))
		return MER_OK;
	return mer_fail(err, MER_ECORRUPT, "what its bytes are cannot be read");
}

static enum mer_status side_part(struct side *side, size_t i, struct mer_error *err)
{
	uint64_t body = 0;
	const json_t *meta = json_array_get(side->parts, i), *output;
	size_t at;
	mer_content_release(&side->content);
	side->content = (struct mer_content){ .count = 0 };
	side->outputs = json_object_get(meta, "outputs");
	if (meta == NULL)
		return MER_OK;
	json_array_foreach(side->outputs, at, output) {
		const json_t *parameters = json_object_get(output, "parameters");
		body += (uint64_t)mer_json_get_i64(parameters, "binary_data_size", 0);
	}
	if (body > side->rest.len || !json_is_array(side->outputs))
		return mer_fail(err, MER_ECORRUPT, "its bytes are not of tensors");
	enum mer_status st = mer_content_read(meta, "outputs", body, &side->content, err);
	if (st != MER_OK)
		return st == MER_ENOMEM ? st : mer_fail(err, MER_ECORRUPT, "its tensors do not fit");
	side->body = side->rest.ptr;
	side->rest.ptr += body;
	side->rest.len -= body;
	return MER_OK;
}

/* --- one tensor --------------------------------------------------------------------------- */

/* Two of the same name. */
struct pair {
	size_t part, parts;
	const struct mer_tensor *before, *now;
	const json_t *was, *is; /* their descriptions */
	double tolerance;
	struct mer_buf *out;
};

static void begin_line(const struct pair *pair, const char *name)
{
	if (pair->parts > 1)
		mer_buf_printf(pair->out, "part %zu: ", pair->part + 1);
	mer_buf_text(pair->out, "tensor ");
	mer_json_quote(pair->out, name, strlen(name));
}

static void show_type(struct mer_buf *out, const json_t *description)
{
	const json_t *shape = json_object_get(description, "shape");
	mer_buf_printf(out, "%s [", mer_json_get_text(description, "datatype", ""));
	for (size_t i = 0; i < json_array_size(shape); i++)
		mer_buf_printf(out, "%s%" JSON_INTEGER_FORMAT, i > 0 ? "," : "",
		               json_integer_value(json_array_get(shape, i)));
	mer_buf_byte(out, ']');
}

/* Where in the tensor, outermost first. */
static void show_index(struct mer_buf *out, const json_t *description, uint64_t at)
{
	uint64_t shape[MER_OIP_DIMS], index[MER_OIP_DIMS];
	int dims = mer_oip_shape(description, shape);
	for (int i = dims; i-- > 0; at /= shape[i])
		index[i] = at % shape[i];
	mer_buf_byte(out, '[');
	for (int i = 0; i < dims; i++)
		mer_buf_printf(out, "%s%" PRIu64, i > 0 ? "," : "", index[i]);
	mer_buf_byte(out, ']');
}

static void show_value(struct mer_buf *out, enum mer_datatype datatype, struct mer_str element)
{
	if (datatype == MER_BYTES) {
		mer_json_quote(out, element.ptr, element.len < SHOWN_BYTES ? element.len : SHOWN_BYTES);
		if (element.len > SHOWN_BYTES)
			mer_buf_printf(out, "... (%zu bytes)", element.len);
		return;
	}
	long double value = meal_number_value(datatype, element.ptr);
	if (isfinite(value))
		(void)meal_number_write(datatype, element.ptr, out);
	else /* which JSON has no number for */
		mer_buf_printf(out, "%Lg", value);
}

static bool is_same(const struct pair *pair, struct mer_str before, struct mer_str now)
{
	enum mer_datatype datatype = pair->before->datatype;
	if (before.len == now.len && (before.len == 0 || memcmp(before.ptr, now.ptr, now.len) == 0))
		return true;
	if (datatype == MER_BYTES)
		return mer_compare_same(before, now, pair->tolerance);
	return pair->tolerance >= 0 && datatype != MER_BOOL &&
	       mer_compare_near(meal_number_value(datatype, before.ptr),
	                        meal_number_value(datatype, now.ptr), pair->tolerance);
}

static bool next_element(enum mer_datatype datatype, struct mer_str *rest, struct mer_str *out)
{
	if (datatype == MER_BYTES)
		return meal_element_next(rest, out);
	size_t size = mer_datatype_size(datatype);
	if (rest->len < size)
		return false;
	*out = (struct mer_str){ rest->ptr, size };
	rest->ptr += size;
	rest->len -= size;
	return true;
}

static void compare_values(const struct pair *pair, const char *before, const char *now)
{
	enum mer_datatype datatype = pair->before->datatype;
	struct mer_str a = { before, pair->before->bytes }, b = { now, pair->now->bytes };
	struct mer_str was, is, first_was = { 0 }, first_is = { 0 };
	uint64_t at = 0, first = 0, differ = 0;
	for (; next_element(datatype, &a, &was) && next_element(datatype, &b, &is); at++) {
		if (is_same(pair, was, is))
			continue;
		if (differ++ == 0) {
			first = at;
			first_was = was;
			first_is = is;
		}
	}
	if (differ == 0)
		return;
	begin_line(pair, pair->before->name);
	mer_buf_byte(pair->out, ' ');
	show_index(pair->out, pair->was, first);
	mer_buf_text(pair->out, " was ");
	show_value(pair->out, datatype, first_was);
	mer_buf_text(pair->out, ", is ");
	show_value(pair->out, datatype, first_is);
	mer_buf_printf(pair->out, "; %" PRIu64 " of %" PRIu64 " elements differ\n", differ, at);
}

static void compare_pair(const struct pair *pair, const char *before, const char *now)
{
	if (pair->before->datatype == pair->now->datatype &&
	    json_equal(json_object_get(pair->was, "shape"), json_object_get(pair->is, "shape"))) {
		compare_values(pair, before, now);
		return;
	}
	begin_line(pair, pair->before->name);
	mer_buf_text(pair->out, " was ");
	show_type(pair->out, pair->was);
	mer_buf_text(pair->out, ", is ");
	show_type(pair->out, pair->is);
	mer_buf_byte(pair->out, '\n');
}

/* --- all of them -------------------------------------------------------------------------- */

/* The tensor of a name, and where its bytes are. */
static const struct mer_tensor *find(const struct side *side, const char *name, const char **bytes)
{
	*bytes = side->body;
	for (size_t i = 0; i < side->content.count; i++) {
		if (strcmp(side->content.tensors[i].name, name) == 0)
			return &side->content.tensors[i];
		*bytes += side->content.tensors[i].bytes;
	}
	return NULL;
}

static const json_t *described(const struct side *side, const struct mer_tensor *tensor)
{
	return json_array_get(side->outputs, (size_t)(tensor - side->content.tensors));
}

static void compare_part(struct pair *pair, const struct side *before, const struct side *now)
{
	const char *was = before->body, *is;
	for (size_t i = 0; i < before->content.count; i++) {
		pair->before = &before->content.tensors[i];
		pair->now = find(now, pair->before->name, &is);
		if (pair->now != NULL) {
			pair->was = described(before, pair->before);
			pair->is = described(now, pair->now);
			compare_pair(pair, was, is);
		} else {
			begin_line(pair, pair->before->name);
			mer_buf_text(pair->out, " is missing\n");
		}
		was += pair->before->bytes;
	}
	for (size_t i = 0; i < now->content.count; i++) {
		const struct mer_tensor *tensor = &now->content.tensors[i];
		if (find(before, tensor->name, &was) != NULL)
			continue;
		begin_line(pair, tensor->name);
		mer_buf_text(pair->out, " is new\n");
	}
}

enum mer_status mer_oip_compare(const struct mer_oip_answer *before,
                                const struct mer_oip_answer *now, double tolerance,
                                struct mer_buf *out, struct mer_error *err)
{
	MER_AUTO(side_done) struct side was = { .parts = NULL };
	MER_AUTO(side_done) struct side is = { .parts = NULL };
	enum mer_status st = side_open(&was, before, err);
	if (st == MER_OK)
		st = side_open(&is, now, err);
	size_t n = json_array_size(was.parts), m = json_array_size(is.parts), most = n > m ? n : m;
	struct mer_buf lines;
	mer_buf_init(&lines, PTRDIFF_MAX);
	for (size_t i = 0; i < most && st == MER_OK; i++) {
		struct pair pair = { .part = i, .parts = most, .tolerance = tolerance, .out = &lines };
		st = side_part(&was, i, err);
		if (st == MER_OK)
			st = side_part(&is, i, err);
		if (st == MER_OK)
			compare_part(&pair, &was, &is);
	}
	if (st == MER_OK && (was.rest.len > 0 || is.rest.len > 0))
		st = mer_fail(err, MER_ECORRUPT, "bytes of no tensor are left");
	if (st == MER_OK)
		st = mer_buf_check(&lines, err);
	if (st == MER_OK)
		mer_buf_add(out, lines.ptr, lines.len);
	mer_buf_release(&lines);
	return st;
}
