/* Templates of requests, and pointers into answers. */
#include "http_template.h"

#include <assert.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

#define VALUES_MAX 1000000 /* of a document; jansson takes some 40 bytes for each */

static void buf_done(struct mer_buf *buf)
{
	mer_buf_release(buf);
}

/* --- templates ------------------------------------------------------------------------------ */

enum slot { INPUT, JSON, MODEL, SLOT_COUNT };
static const char *const slot_words[] = {
	[INPUT] = "{input}",
	[JSON] = "{json}",
	[MODEL] = "{model}",
};
static_assert(sizeof slot_words / sizeof *slot_words == SLOT_COUNT, "a word for each slot");

/* Appends the text before the next slot, and moves behind that. SLOT_COUNT: none is left. */
static enum slot next_slot(const char **text, struct mer_buf *out)
{
	for (const char *brace = *text; (brace = strchr(brace, '{')) != NULL; brace++) {
		for (size_t i = 0; i < SLOT_COUNT; i++) {
			size_t len = strlen(slot_words[i]);
			if (strncmp(brace, slot_words[i], len) != 0)
				continue;
			mer_buf_add(out, *text, (size_t)(brace - *text));
			*text = brace + len;
			return (enum slot)i;
		}
	}
	mer_buf_text(out, *text);
	return SLOT_COUNT;
}

/* Whether it is JSON with that in the place of each slot. */
static enum mer_status try_filled(const char *text, const char *value, struct mer_error *err)
{
	MER_AUTO(buf_done) struct mer_buf tried;
	MER_AUTO(mer_json_done) json_t *json = NULL;
	char what[64];
	(void)snprintf(what, sizeof what, "the template, with %s for each placeholder,", value);
	mer_buf_init(&tried, SIZE_MAX);
	while (next_slot(&text, &tried) != SLOT_COUNT)
		mer_buf_text(&tried, value);
	enum mer_status st = mer_buf_check(&tried, err);
	return st == MER_OK
	           ? mer_json_parse(what, tried.len > 0 ? tried.ptr : "", tried.len, &json, err)
	           : st;
}

/* A text is none within quotes, and a number is none where a name has to be. */
enum mer_status http_template_check(const char *text, struct mer_error *err)
{
	enum mer_status st = try_filled(text, "\"\"", err);
	return st == MER_OK ? try_filled(text, "0", err) : st;
}

enum mer_status http_json_check(struct mer_str input, struct mer_error *err)
{
	size_t good = input.len > 0 ? mer_utf8_span(input.ptr, input.len) : 0;
	if (good == input.len)
		return MER_OK;
	return mer_fail(err, MER_EINPUT, "byte %zu of the input is not UTF-8, so JSON cannot hold it",
	                good + 1);
}

static enum mer_status fill_json(struct mer_str input, struct mer_buf *out, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	enum mer_status st = mer_json_parse("the input", input.ptr, input.len, &json, err);
	if (st == MER_OK)
		mer_buf_add(out, input.ptr, input.len);
	return st;
}

enum mer_status http_template_fill(const char *text, struct mer_str input, const char *model,
                                   struct mer_buf *out, struct mer_error *err)
{
	enum mer_status st = http_json_check(input, err);
	for (enum slot slot; st == MER_OK && (slot = next_slot(&text, out)) != SLOT_COUNT;) {
		if (slot == JSON)
			st = fill_json(input, out, err);
		else if (slot == INPUT)
			mer_json_quote(out, input.ptr, input.len);
		else
			mer_json_quote(out, model, strlen(model));
	}
	return st == MER_OK ? mer_buf_check(out, err) : st;
}

/* --- pointers ------------------------------------------------------------------------------- */

enum mer_status http_pointer_check(const char *pointer, struct mer_error *err)
{
	if (pointer[0] != '\0' && pointer[0] != '/')
		return mer_fail(err, MER_EINPUT, "no JSON pointer: '%s' does not begin with a slash",
		                pointer);
	for (const char *tilde = pointer; (tilde = strchr(tilde, '~')) != NULL; tilde++)
		if (tilde[1] != '0' && tilde[1] != '1')
			return mer_fail(err, MER_EINPUT, "no JSON pointer: in '%s' stands a ~ without 0 or 1",
			                pointer);
	return MER_OK;
}

/* Whether a name of a pointer is that key. */
static bool is_key(struct mer_str name, const char *key)
{
	size_t at = 0;
	for (; at < name.len && *key != '\0'; at++, key++) {
		char byte = name.ptr[at];
		if (byte == '~')
			byte = name.ptr[++at] == '1' ? '/' : '~';
		if (byte != *key)
			return false;
	}
	return at == name.len && *key == '\0';
}

static json_t *member(json_t *object, struct mer_str name)
{
	for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at))
		if (is_key(name, json_object_iter_key(at)))
			return json_object_iter_value(at);
	return NULL;
}

/* Digits without a leading zero; no array has as many elements as more than 9 of them say. */
static json_t *element(json_t *array, struct mer_str name)
{
	size_t index = 0;
	if (name.len == 0 || name.len > 9 || (name.len > 1 && name.ptr[0] == '0'))
		return NULL;
	for (size_t i = 0; i < name.len; i++) {
		if (name.ptr[i] < '0' || name.ptr[i] > '9')
			return NULL;
		index = 10 * index + (size_t)(name.ptr[i] - '0');
	}
	return json_array_get(array, index);
}

json_t *http_pointer_get(json_t *document, const char *pointer)
{
	json_t *at = document;
	while (at != NULL && *pointer == '/') {
		struct mer_str name = { pointer + 1, strcspn(pointer + 1, "/") };
		pointer = name.ptr + name.len;
		at = json_is_object(at) ? member(at, name) : json_is_array(at) ? element(at, name) : NULL;
	}
	return at;
}

/* --- answers -------------------------------------------------------------------------------- */

/* About how many values the text has: commas and opening brackets outside of strings. */
static size_t count_values(struct mer_str text)
{
	size_t count = 1;
	bool quoted = false;
	for (size_t i = 0; i < text.len; i++) {
		char byte = text.ptr[i];
		if (byte == '"')
			quoted = !quoted;
		else if (quoted)
			i += byte == '\\';
		else
			count += byte == ',' || byte == '[' || byte == '{';
	}
	return count;
}

enum mer_status http_json_parse(const char *what, struct mer_str text, json_t **out,
                                struct mer_error *err)
{
	if (count_values(text) > VALUES_MAX)
		return mer_fail(err, MER_ELIMIT, "%s has more than %d values", what, VALUES_MAX);
	enum mer_status st = mer_json_parse(what, text.len > 0 ? text.ptr : "", text.len, out, err);
	if (st != MER_EINPUT)
		return st;
	if (err != NULL)
		err->status = MER_EMODEL;
	return MER_EMODEL;
}

static int add_piece(const char *bytes, size_t n, void *out)
{
	mer_buf_add(out, bytes, n);
	return 0;
}

void http_json_add(const json_t *value, struct mer_buf *out)
{
	if (json_dump_callback(value, add_piece, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0 &&
	    out->status == MER_OK)
		out->status = MER_ENOMEM;
}

void http_json_output(const json_t *value, struct mer_buf *out)
{
	if (json_is_string(value))
		mer_buf_add(out, json_string_value(value), json_string_length(value));
	else
		http_json_add(value, out);
}
