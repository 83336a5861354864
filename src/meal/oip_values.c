/* Values of tensors in JSON; oip_values.h. */
#include "oip_values.h"

#include "number.h"

#include <inttypes.h>
#include <mer/clean.h>
#include <string.h>

enum { PATH_SIZE = 160 };
#define CHUNK ((size_t)64 << 10) /* bytes of text of which there is a tree at a time */

/* --- what a text has ------------------------------------------------------------------------ */

const char *oip_string_end(const char *at, const char *end)
{
	for (at++; at < end && *at != '"'; at++)
		at += *at == '\\' && at + 1 < end;
	return at < end ? at + 1 : end;
}

static bool is_space(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

const char *oip_value_end(const char *at, const char *end)
{
	size_t depth = 0;
	if (at < end && *at == '"')
		return oip_string_end(at, end);
	while (at < end) {
		bool opens = *at == '[' || *at == '{', closes = *at == ']' || *at == '}';
		if (depth == 0 && (closes || *at == ',' || is_space(*at)))
			return at;
		depth += opens;
		depth -= closes;
		at = *at == '"' ? oip_string_end(at, end) : at + 1;
		if (closes && depth == 0)
			return at;
	}
	return end;
}

struct text {
	const char *at, *end;
};

static void skip_space(struct text *text)
{
	while (text->at < text->end && is_space(*text->at))
		text->at++;
}

static bool is_next(struct text *text, char byte)
{
	skip_space(text);
	return text->at < text->end && *text->at == byte;
}

static bool take(struct text *text, char byte)
{
	bool is = is_next(text, byte);
	text->at += is;
	return is;
}

/* How many elements the array has of which a text is what is behind its bracket. */
static uint64_t count_elements(struct text text)
{
	uint64_t n = 1;
	if (is_next(&text, ']'))
		return 0;
	while (text.at < text.end && *text.at != ']' && *text.at != '}') {
		n += *text.at == ',';
		text.at =
			*text.at == ',' || is_space(*text.at) ? text.at + 1 : oip_value_end(text.at, text.end);
	}
	return n;
}

json_t *oip_values_nesting(struct mer_str data)
{
	struct text text = { data.ptr, data.ptr + data.len };
	json_t *shape = json_array();
	while (take(&text, '['))
		(void)json_array_append_new(shape, json_integer((json_int_t)count_elements(text)));
	return shape;
}

/* --- elements ------------------------------------------------------------------------------- */

struct reading {
	struct oip_values values; /* what is read: of flat data its shape is that of all */
	struct text text;
	uint64_t at[MER_OIP_DIMS]; /* where a value is in `data`: [1][0] */
	size_t depth;
	struct mer_buf chunk;
};

static enum mer_status fail_at(const struct reading *reading, enum mer_status status,
                               struct mer_error *err)
{
	char path[PATH_SIZE] = "";
	size_t used = 0;
	for (size_t i = 0; i < reading->depth && used < PATH_SIZE - 24; i++) {
		(void)snprintf(path + used, PATH_SIZE - used, "[%" PRIu64 "]", reading->at[i]);
		used += strlen(path + used);
	}
	return mer_wrap(err, status, "input '%s': data%s", reading->values.name, path);
}

static enum mer_status fail_syntax(const struct reading *reading, struct mer_error *err)
{
	return fail_at(reading, mer_fail(err, MER_ECORRUPT, "this is not JSON"), err);
}

static int base64_digit(char digit)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *found = digit != '\0' ? strchr(digits, digit) : NULL;
	return found != NULL ? (int)(found - digits) : -1;
}

/* RFC 4648, section 4, with its padding. */
static bool add_base64(const char *text, size_t len, struct mer_buf *out)
{
	if (len % 4 != 0)
		return false;
	size_t pad = len == 0 || text[len - 1] != '=' ? 0 : text[len - 2] == '=' ? 2 : 1;
	for (size_t i = 0; i < len; i += 4) {
		size_t bytes = i + 4 == len ? 3 - pad : 3;
		uint32_t bits = 0;
		for (size_t j = 0; j < 4; j++) {
			int digit = j <= bytes ? base64_digit(text[i + j]) : 0;
			if (digit < 0)
				return false;
			bits = bits << 6 | (uint32_t)digit;
		}
		if ((bits & ((UINT32_C(1) << (24 - 8 * bytes)) - 1)) != 0)
			return false;
		mer_buf_add(out, (char[]){ (char)(bits >> 16), (char)(bits >> 8), (char)bits }, bytes);
	}
	return true;
}

static enum mer_status add_bytes(const struct oip_values *values, const json_t *json,
                                 struct mer_error *err)
{
	const char *text = json_string_value(json);
	size_t len = json_string_length(json), begin = values->out->len;
	if (text == NULL)
		return mer_fail(err, MER_EINPUT, "no string, as the elements of BYTES are");
	mer_buf_add(values->out, "\0\0\0\0", MEAL_LENGTH_BYTES);
	if (!values->base64)
		mer_buf_add(values->out, text, len);
	else if (!add_base64(text, len, values->out))
		return mer_fail(err, MER_EINPUT, "no base64");
	if (values->out->status != MER_OK)
		return MER_OK; /* the buffer remembers it */
	len = values->out->len - begin - MEAL_LENGTH_BYTES;
	if (len > UINT32_MAX)
		return mer_fail(err, MER_EINPUT, "longer than 4 GiB");
	for (unsigned i = 0; i < MEAL_LENGTH_BYTES; i++)
		values->out->ptr[begin + i] = (char)(len >> 8 * i);
	return MER_OK;
}

static enum mer_status add_value(const struct reading *reading, const json_t *json,
                                 struct mer_error *err)
{
	const struct oip_values *values = &reading->values;
	enum mer_status st = values->datatype == MER_BYTES
	                         ? add_bytes(values, json, err)
	                         : meal_number_read(values->datatype, json, values->out, err);
	return st == MER_OK ? mer_buf_check(values->out, err) : fail_at(reading, MER_EINPUT, err);
}

/* --- arrays --------------------------------------------------------------------------------- */

/* What stands for an array or an object where a value should be, so that there is no tree of it. */
static const char *no_value(const char *at)
{
	return *at == '[' ? "[]" : *at == '{' ? "{}" : "";
}

/* The elements up to a comma behind CHUNK bytes, or up to the end of their array. Gives them. */
static enum mer_status parse_chunk(struct reading *reading, json_t **out, struct mer_error *err)
{
	struct text *text = &reading->text;
	const char *from = text->at, *instead = "";
	while (text->at < text->end && instead[0] == '\0' && *text->at != ']' && *text->at != '}') {
		bool between = *text->at == ',' || is_space(*text->at);
		if (*text->at == ',' && (size_t)(text->at - from) >= CHUNK)
			break;
		instead = no_value(text->at);
		if (instead[0] == '\0')
			text->at = between ? text->at + 1 : oip_value_end(text->at, text->end);
	}
	mer_buf_clear(&reading->chunk);
	mer_buf_byte(&reading->chunk, '[');
	mer_buf_add(&reading->chunk, from, (size_t)(text->at - from));
	mer_buf_text(&reading->chunk, instead);
	mer_buf_byte(&reading->chunk, ']');
	enum mer_status st = mer_buf_check(&reading->chunk, err);
	if (st == MER_OK)
		st = mer_json_parse("it", reading->chunk.ptr, reading->chunk.len, out, err);
	return st == MER_EINPUT ? fail_syntax(reading, err) : st;
}

static enum mer_status read_elements(struct reading *reading, uint64_t n, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	size_t dim = reading->depth - 1;
	for (uint64_t had = 0; had < n && st == MER_OK;) {
		MER_AUTO(mer_json_done) json_t *chunk = NULL;
		reading->at[dim] = had;
		if (had > 0 && !take(&reading->text, ','))
			return fail_syntax(reading, err);
		st = parse_chunk(reading, &chunk, err);
		size_t size = json_array_size(chunk);
		if (st == MER_OK && (size == 0 || size > n - had))
			return fail_syntax(reading, err);
		for (size_t i = 0; i < size && st == MER_OK; i++) {
			reading->at[dim] = had + i;
			st = add_value(reading, json_array_get(chunk, i), err);
		}
		had += size;
	}
	return st;
}

static enum mer_status fail_length(const struct reading *reading, const uint64_t *n, uint64_t want,
                                   struct mer_error *err)
{
	if (n != NULL)
		(void)mer_fail(err, MER_EINPUT, "%" PRIu64 " elements, not %" PRIu64, *n, want);
	else
		(void)mer_fail(err, MER_EINPUT, "no array of %" PRIu64 " elements", want);
	return fail_at(reading, MER_EINPUT, err);
}

/* As deep as the shape, so no deeper than MER_OIP_DIMS. */
static enum mer_status read_array(struct reading *reading, struct mer_error *err)
{
	const struct oip_values *values = &reading->values;
	const size_t dim = reading->depth;
	const uint64_t want = values->shape[dim];
	enum mer_status st = MER_OK;
	if (!take(&reading->text, '['))
		return fail_length(reading, NULL, want, err);
	uint64_t n = count_elements(reading->text);
	if (n != want)
		return fail_length(reading, &n, want, err);
	reading->depth++;
	if (reading->depth == values->dims)
		st = read_elements(reading, n, err);
	for (uint64_t i = 0; i < n && reading->depth < values->dims && st == MER_OK; i++) {
		reading->at[dim] = i;
		st = i > 0 && !take(&reading->text, ',') ? fail_syntax(reading, err)
		                                         : read_array(reading, err);
	}
	reading->depth--;
	return st == MER_OK && !take(&reading->text, ']') ? fail_syntax(reading, err) : st;
}

static enum mer_status read_single(struct reading *reading, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	struct text *text = &reading->text;
	skip_space(text);
	const char *instead = text->at < text->end ? no_value(text->at) : "";
	struct mer_str value = { text->at, (size_t)(text->end - text->at) };
	if (instead[0] != '\0')
		value = (struct mer_str){ instead, strlen(instead) };
	enum mer_status st = mer_json_parse("it", value.ptr, value.len, &json, err);
	text->at = text->end;
	if (st == MER_EINPUT)
		return fail_syntax(reading, err);
	return st == MER_OK ? add_value(reading, json, err) : st;
}

/* Whether its first element is an array, or it is none at all. */
static bool is_nested(struct text text)
{
	return !take(&text, '[') || is_next(&text, '[');
}

enum mer_status oip_values_read(const struct oip_values *values, struct mer_str data,
                                struct mer_error *err)
{
	struct reading reading = { .values = *values, .text = { data.ptr, data.ptr + data.len } };
	uint64_t elements = 1;
	for (size_t i = 0; i < values->dims; i++)
		if (__builtin_mul_overflow(elements, values->shape[i], &elements))
			return mer_fail(err, MER_EINPUT, "input '%s': its shape is too large", values->name);
	if (!is_nested(reading.text)) {
		reading.values.shape = &elements;
		reading.values.dims = 1;
	}
	mer_buf_init(&reading.chunk, SIZE_MAX);
	enum mer_status st =
		reading.values.dims > 0 ? read_array(&reading, err) : read_single(&reading, err);
	mer_buf_release(&reading.chunk);
	skip_space(&reading.text);
	return st == MER_OK && reading.text.at < reading.text.end ? fail_syntax(&reading, err) : st;
}
