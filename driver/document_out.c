/* Writing documents: JSON that YAML reads as the same. */
#include "document.h"

#include <mer/text.h>
#include <string.h>

enum { DIGITS_LEAST = 15, DIGITS_MOST = 17 };

struct writer {
	struct mer_buf *out;
	bool one_line;
	size_t depth;
};

/* JSON allows some characters in its strings that YAML does not, or takes for the end of a line. */
static void write_text(struct mer_buf *out, const char *text, size_t len)
{
	struct mer_buf quoted;
	mer_buf_init(&quoted, SIZE_MAX);
	mer_json_quote(&quoted, text, len);
	size_t done = 0;
	for (size_t i = 0; i < quoted.len; i++) {
		const unsigned char *at = (const unsigned char *)quoted.ptr + i;
		unsigned code = 0;
		size_t n = 0;
		if (at[0] == 0x7F || (at[0] == 0xC2 && at[1] < 0xA0)) {
			code = at[0] == 0x7F ? 0x7F : at[1];
			n = at[0] == 0x7F ? 1 : 2;
		} else if ((at[0] == 0xE2 && at[1] == 0x80 && (at[2] == 0xA8 || at[2] == 0xA9)) ||
		           (at[0] == 0xEF && at[1] == 0xBB && at[2] == 0xBF) ||
		           (at[0] == 0xEF && at[1] == 0xBF && at[2] >= 0xBE)) {
			code = (unsigned)(at[0] & 0x0F) << 12 | (unsigned)(at[1] & 0x3F) << 6 | (at[2] & 0x3Fu);
			n = 3;
		}
		if (n == 0)
			continue;
		mer_buf_add(out, quoted.ptr + done, i - done);
		mer_buf_printf(out, "\\u%04x", code);
		done = i + n;
		i = done - 1;
	}
	mer_buf_add(out, quoted.ptr + done, quoted.len - done);
	if (quoted.status != MER_OK && out->status == MER_OK)
		out->status = quoted.status;
	mer_buf_release(&quoted);
}

/* The shortest that is the same number, and is a real one for whoever reads it. */
static void write_real(struct mer_buf *out, double number)
{
	char text[40];
	for (int digits = DIGITS_LEAST; digits <= DIGITS_MOST; digits++) {
		(void)snprintf(text, sizeof text, "%.*g", digits, number);
		if (!(strtod(text, NULL) < number || strtod(text, NULL) > number))
			break;
	}
	mer_buf_text(out, text);
	if (strpbrk(text, ".e") == NULL)
		mer_buf_text(out, ".0");
}

static void new_line(struct writer *writer)
{
	if (writer->one_line)
		return;
	mer_buf_byte(writer->out, '\n');
	for (size_t i = 0; i < writer->depth; i++)
		mer_buf_text(writer->out, "  ");
}

static void write_json(struct writer *writer, const json_t *json);

static void separate(struct writer *writer, bool first)
{
	if (!first)
		mer_buf_text(writer->out, writer->one_line ? ", " : ",");
	new_line(writer);
}

/* jansson's iterators want what they do not change to be changeable. */
static json_t *loose(const json_t *json)
{
	union {
		const json_t *given;
		json_t *taken;
	} same = { .given = json };
	return same.taken;
}

static void write_object(struct writer *writer, const json_t *json)
{
	json_t *object = loose(json);
	bool first = true;
	mer_buf_byte(writer->out, '{');
	writer->depth++;
	for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
		const char *key = json_object_iter_key(at);
		separate(writer, first);
		first = false;
		write_text(writer->out, key, strlen(key));
		mer_buf_text(writer->out, ": ");
		write_json(writer, json_object_iter_value(at));
	}
	writer->depth--;
	if (!first)
		new_line(writer);
	mer_buf_byte(writer->out, '}');
}

static bool is_flat(const json_t *array)
{
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *value = json_array_get(array, i);
		if (json_is_array(value) || json_is_object(value))
			return false;
	}
	return true;
}

/* A list of words stands on one line. */
static void write_array(struct writer *writer, const json_t *array)
{
	bool one_line = writer->one_line;
	writer->one_line = one_line || is_flat(array);
	mer_buf_byte(writer->out, '[');
	writer->depth++;
	for (size_t i = 0; i < json_array_size(array); i++) {
		separate(writer, i == 0);
		write_json(writer, json_array_get(array, i));
	}
	writer->depth--;
	if (json_array_size(array) > 0)
		new_line(writer);
	mer_buf_byte(writer->out, ']');
	writer->one_line = one_line;
}

static void write_json(struct writer *writer, const json_t *json)
{
	switch (json_typeof(json)) {
	case JSON_OBJECT: write_object(writer, json); break;
	case JSON_ARRAY: write_array(writer, json); break;
	case JSON_STRING:
		write_text(writer->out, json_string_value(json), json_string_length(json));
		break;
	case JSON_INTEGER:
		mer_buf_printf(writer->out, "%lld", (long long)json_integer_value(json));
		break;
	case JSON_REAL: write_real(writer->out, json_real_value(json)); break;
	case JSON_TRUE: mer_buf_text(writer->out, "true"); break;
	case JSON_FALSE: mer_buf_text(writer->out, "false"); break;
	case JSON_NULL: mer_buf_text(writer->out, "null"); break;
	}
}

void document_write(const json_t *json, bool one_line, struct mer_buf *out)
{
	struct writer writer = { .out = out, .one_line = one_line };
	write_json(&writer, json);
	mer_buf_byte(out, '\n');
}

void document_write_value(const json_t *json, struct mer_buf *out)
{
	struct writer writer = { .out = out, .one_line = true };
	write_json(&writer, json);
}
