/* JSON over jansson, and the writing of JSON strings and base64. */
#include "base.h"

#include <mer/clean.h>
#include <mer/json.h>
#include <mer/text.h>
#include <string.h>

static void buf_done(struct mer_buf *buf)
{
	mer_buf_release(buf);
}

enum mer_status mer_json_parse(const char *what, const char *text, size_t len, json_t **out,
                               struct mer_error *err)
{
	json_error_t cause;
	size_t flags = JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
	json_t *json = json_loadb(text, len, flags, &cause);
	/* Where its own allocations fail, jansson mostly leaves the text empty. */
	if (json == NULL && cause.text[0] == '\0')
		return mer_fail(err, MER_ENOMEM, "out of memory for %s", what);
	if (json == NULL)
		return mer_fail(err, MER_EINPUT, "%s is not JSON: line %d, column %d: %s", what,
		                cause.line < 1 ? 1 : cause.line, cause.column < 1 ? 1 : cause.column,
		                cause.text);
	*out = json;
	return MER_OK;
}

static int add_piece(const char *bytes, size_t n, void *buf)
{
	mer_buf_add(buf, bytes, n);
	return ((struct mer_buf *)buf)->status == MER_OK ? 0 : -1;
}

enum mer_status mer_json_text(const json_t *json, char **out, struct mer_error *err)
{
	MER_AUTO(buf_done) struct mer_buf buf;
	mer_buf_init(&buf, SIZE_MAX);
	if (json_dump_callback(json, add_piece, &buf, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
		return mer_fail(err, MER_ENOMEM, "cannot write JSON: out of memory");
	return mer_buf_take(&buf, out, NULL, err);
}

/* Whether it is a string that is whole as a C string. */
static bool is_text(const json_t *json)
{
	return json_is_string(json) && strlen(json_string_value(json)) == json_string_length(json);
}

static char *copy_string(const json_t *string)
{
	size_t len = json_string_length(string);
	char *copy = malloc(len + 1);
	if (copy != NULL)
		memcpy(copy, json_string_value(string), len + 1);
	return copy;
}

enum mer_status mer_json_to_words(const char *what, const json_t *json, char ***words,
                                  size_t *count, struct mer_error *err)
{
	if (!json_is_array(json))
		return mer_fail(err, MER_EINPUT, "%s is not an array of strings", what);
	size_t n = json_array_size(json);
	MER_AUTO(mer_words_done) char **list = calloc(n + 1, sizeof *list);
	if (list == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for %s", what);
	for (size_t i = 0; i < n; i++) {
		const json_t *word = json_array_get(json, i);
		if (!json_is_string(word))
			return mer_fail(err, MER_EINPUT, "%s is not an array of strings: element %zu is none",
			                what, i + 1);
		if (!is_text(word))
			return mer_fail(err, MER_EINPUT, "%s has a NUL character in element %zu", what, i + 1);
		list[i] = copy_string(word);
		if (list[i] == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory for %s", what);
	}
	if (count != NULL)
		*count = n;
	*words = list;
	list = NULL;
	return MER_OK;
}

enum mer_status mer_json_from_words(const char *const words[], json_t **out, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *list = json_array();
	for (size_t i = 0; words[i] != NULL; i++) {
		size_t len = strlen(words[i]);
		if (mer_utf8_span(words[i], len) != len)
			return mer_fail(err, MER_EINPUT, "not UTF-8: '%s'", words[i]);
		if (json_array_append_new(list, json_stringn_nocheck(words[i], len)) != 0)
			return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	if (list == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	*out = list;
	list = NULL;
	return MER_OK;
}

const char *mer_json_get_text(const json_t *object, const char *key, const char *fallback)
{
	const json_t *member = json_object_get(object, key);
	return is_text(member) ? json_string_value(member) : fallback;
}

int64_t mer_json_get_i64(const json_t *object, const char *key, int64_t fallback)
{
	const json_t *member = json_object_get(object, key);
	return json_is_integer(member) ? json_integer_value(member) : fallback;
}

bool mer_json_get_bool(const json_t *object, const char *key, bool fallback)
{
	const json_t *member = json_object_get(object, key);
	return json_is_boolean(member) ? json_is_true(member) : fallback;
}

/* Bytes at the start that stand for themselves in a JSON string: ASCII from ' ' on, but no '"' and
 * no '\\'. Eight at a time; the tests on a whole word are those of "Determine if a word has a byte
 * less than n" in Sean Eron Anderson's "Bit Twiddling Hacks", which err only behind a byte that is
 * found. */
static size_t plain_span(const char *bytes, size_t len)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
	size_t at = 0;
	for (uint64_t word; at + sizeof word <= len; at += sizeof word) {
		memcpy(&word, bytes + at, sizeof word);
		uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
		uint64_t below = (word - ones * ' ') | (quote - ones) | (backslash - ones) | word;
		if ((below & highs) != 0)
			break;
	}
	while (at < len && (unsigned char)bytes[at] >= ' ' && (unsigned char)bytes[at] < 0x80 &&
	       bytes[at] != '"' && bytes[at] != '\\')
		at++;
	return at;
}

static void escape_ascii(struct mer_buf *buf, char byte)
{
	static const char letters[' '] = {
		['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r',
	};
	unsigned code = (unsigned char)byte;
	char text[6] = "\\u00";
	text[4] = (char)('0' + (code >> 4));
	text[5] = "0123456789abcdef"[code & 15];
	bool is_short = code >= ' ' || letters[code] != '\0';
	if (is_short)
		text[1] = code >= ' ' ? byte : letters[code];
	base_add(buf, text, is_short ? 2 : sizeof text);
}

void mer_json_escape(struct mer_buf *buf, const char *bytes, size_t len)
{
	if (len == 0)
		return;
	size_t done = 0, at = 0; /* bytes[done..at) stand for themselves and are still to be added */
	while ((at += plain_span(bytes + at, len - at)) < len) {
		uint32_t code;
		size_t n = base_utf8_read(bytes + at, len - at, &code);
		const bool control = code >= 0x80 && code < 0xA0; /* which terminals obey as well */
		if (code >= 0x80 && code < BASE_UTF8_BAD && !control) {
			at += n;
			continue;
		}
		base_add(buf, bytes + done, at - done);
		if (code < 0x80)
			escape_ascii(buf, bytes[at]);
		else if (control)
			mer_buf_printf(buf, "\\u%04x", code);
		else
			base_add(buf, "\xEF\xBF\xBD", 3); /* U+FFFD */
		at += n;
		done = at;
	}
	base_add(buf, bytes + done, at - done);
}

void mer_json_quote(struct mer_buf *buf, const char *bytes, size_t len)
{
	base_byte(buf, '"');
	mer_json_escape(buf, bytes, len);
	base_byte(buf, '"');
}

void mer_base64_add(struct mer_buf *buf, const void *bytes, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *at = bytes;
	if (n == 0)
		return;
	size_t groups = (n - 1) / 3 + 1;
	char *to = mer_buf_room(buf, groups > SIZE_MAX / 4 ? SIZE_MAX : 4 * groups);
	if (to == NULL)
		return;
	for (; n >= 3; n -= 3, at += 3, to += 4) {
		unsigned bits = (unsigned)at[0] << 16 | (unsigned)at[1] << 8 | at[2];
		to[0] = digits[bits >> 18];
		to[1] = digits[bits >> 12 & 63];
		to[2] = digits[bits >> 6 & 63];
		to[3] = digits[bits & 63];
	}
	if (n > 0) {
		unsigned bits = (unsigned)at[0] << 16 | (n == 2 ? (unsigned)at[1] << 8 : 0);
		to[0] = digits[bits >> 18];
		to[1] = digits[bits >> 12 & 63];
		to[2] = n == 2 ? digits[bits >> 6 & 63] : '=';
		to[3] = '=';
	}
	mer_buf_grow(buf, 4 * groups);
}
