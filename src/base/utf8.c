/* UTF-8: what is valid, how wide it is, and text that is safe to show on one line. */
#include "base.h"

#include <mer/text.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

/* Whether at[from..to) continue a sequence. */
static inline bool continues(const unsigned char *at, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		if ((at[i] & 0xC0) != 0x80)
			return false;
	}
	return true;
}

/* The rows of table 3-7 of the Unicode Standard, "Well-Formed UTF-8 Byte Sequences", that bound the
 * second byte or the length: first bytes, bounds of the second one, length. */
static const struct {
	unsigned char first, last, low, high, len;
} forms[] = {
	{ 0xC2, 0xDF, 0x80, 0xBF, 2 }, { 0xE0, 0xE0, 0xA0, 0xBF, 3 }, { 0xE1, 0xEC, 0x80, 0xBF, 3 },
	{ 0xED, 0xED, 0x80, 0x9F, 3 }, { 0xEE, 0xEF, 0x80, 0xBF, 3 }, { 0xF0, 0xF0, 0x90, 0xBF, 4 },
	{ 0xF1, 0xF3, 0x80, 0xBF, 4 }, { 0xF4, 0xF4, 0x80, 0x8F, 4 },
};

/* How many bytes at the start of what is not valid could begin a sequence, at least 1, and whether
 * only the end keeps them from being one. */
static size_t bad_span(const unsigned char *at, size_t len, uint32_t *code)
{
	size_t form = 0, n_forms = sizeof forms / sizeof *forms;
	while (form < n_forms && at[0] > forms[form].last)
		form++;
	*code = BASE_UTF8_BAD;
	if (form == n_forms || at[0] < forms[form].first)
		return 1;
	if (len > 1 && (at[1] < forms[form].low || at[1] > forms[form].high))
		return 1;
	size_t n = 1;
	while (n < len && n < forms[form].len && continues(at, n, n + 1))
		n++;
	if (n == len)
		*code = BASE_UTF8_CUT;
	return n;
}

static inline size_t read_sequence(const char *bytes, size_t len, uint32_t *code)
{
	const unsigned char *at = (const unsigned char *)bytes;
	uint32_t value = at[0];
	if (value < 0x80) {
		*code = value;
		return 1;
	}
	if ((value & 0xE0) == 0xC0 && len >= 2 && continues(at, 1, 2)) {
		*code = (value & 0x1F) << 6 | (at[1] & 0x3Fu);
		if (*code >= 0x80)
			return 2;
	} else if ((value & 0xF0) == 0xE0 && len >= 3 && continues(at, 1, 3)) {
		*code = (value & 0x0F) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu);
		if (*code >= 0x800 && (*code & 0x1FF800) != 0xD800)
			return 3;
	} else if ((value & 0xF8) == 0xF0 && len >= 4 && continues(at, 1, 4)) {
		*code =
			(value & 0x07) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu);
		if (*code >= 0x10000 && *code <= 0x10FFFF)
			return 4;
	}
	return bad_span(at, len, code);
}

size_t base_utf8_read(const char *bytes, size_t len, uint32_t *code)
{
	return read_sequence(bytes, len, code);
}

/* Bytes at the start that are ASCII, eight at a time. */
static size_t ascii_span(const char *bytes, size_t len)
{
	size_t at = 0;
	for (uint64_t word; at + sizeof word <= len; at += sizeof word) {
		memcpy(&word, bytes + at, sizeof word);
		if ((word & UINT64_C(0x8080808080808080)) != 0)
			break;
	}
	while (at < len && (unsigned char)bytes[at] < 0x80)
		at++;
	return at;
}

size_t mer_utf8_span_cut(const char *bytes, size_t len, size_t *cut)
{
	*cut = 0;
	size_t at = 0;
	while (at < len) {
		uint32_t code;
		size_t n = read_sequence(bytes + at, len - at, &code);
		if (code == BASE_UTF8_CUT)
			*cut = n;
		if (code >= BASE_UTF8_BAD)
			break;
		at += n;
		if (code < 0x80)
			at += ascii_span(bytes + at, len - at);
	}
	return at;
}

size_t mer_utf8_span(const char *bytes, size_t len)
{
	size_t cut;
	return mer_utf8_span_cut(bytes, len, &cut);
}

void mer_buf_add_utf8(struct mer_buf *buf, const char *bytes, size_t len)
{
	for (size_t at = 0; at < len; at++) {
		size_t n = mer_utf8_span(bytes + at, len - at);
		const char *nul = memchr(bytes + at, '\0', n);
		n = nul != NULL ? (size_t)(nul - bytes) - at : n;
		mer_buf_add(buf, bytes + at, n);
		at += n;
		if (at < len)
			mer_buf_text(buf, "\xef\xbf\xbd");
	}
}

static bool is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7F && code < 0xA0);
}

size_t mer_text_width(const char *text)
{
	size_t width = 0, len = strlen(text);
	for (size_t at = 0; at < len;) {
		uint32_t code;
		at += base_utf8_read(text + at, len - at, &code);
		if (is_control(code))
			continue;
		/* Terminals show one U+FFFD for what is not UTF-8. What wcwidth() does not know is
		 * unassigned, or the locale is not UTF-8. */
		int columns = code < 0x7F || code >= BASE_UTF8_BAD ? 1 : wcwidth((wchar_t)code);
		width += columns < 0 ? 1 : (size_t)columns;
	}
	return width;
}

void base_one_line(char *text)
{
	size_t len = strlen(text), to = 0;
	for (size_t at = 0; at < len;) {
		uint32_t code;
		size_t n = base_utf8_read(text + at, len - at, &code);
		if (code == BASE_UTF8_CUT)
			break;
		if (code < BASE_UTF8_BAD && !is_control(code)) {
			memmove(text + to, text + at, n);
			to += n;
		} else {
			text[to++] = '?';
		}
		at += n;
	}
	text[to] = '\0';
}
