/* UTF-8: spans, their cut, and JSON strings agree with jansson and with each other. */
#include "fuzz.h"

#include <mer/json.h>
#include <mer/text.h>
#include <string.h>

/* jansson's own check: it takes whole text and refuses the rest. */
static bool is_valid(const char *bytes, size_t len)
{
	json_t *string = json_stringn(bytes, len);
	json_decref(string);
	return string != NULL;
}

static void check_span(const char *bytes, size_t len)
{
	size_t cut, span = mer_utf8_span_cut(bytes, len, &cut);
	MER_ASSERT(span == mer_utf8_span(bytes, len));
	MER_ASSERT(is_valid(bytes, span));
	MER_ASSERT(span + cut <= len && cut <= 3);
	MER_ASSERT(cut == 0 || span + cut == len);
	for (size_t n = span + 1; n <= span + 4 && n <= len; n++)
		MER_ASSERT(!is_valid(bytes + span, n - span));
}

static void check_quote(const char *bytes, size_t len)
{
	struct mer_buf buf;
	mer_buf_init(&buf, SIZE_MAX);
	mer_json_quote(&buf, bytes, len);
	json_t *back = json_loadb(buf.ptr, buf.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	MER_ASSERT(back != NULL);
	const char *text = json_string_value(back);
	size_t n = json_string_length(back);
	MER_ASSERT(mer_utf8_span(text, n) == n);
	if (is_valid(bytes, len))
		MER_ASSERT(n == len && (n == 0 || memcmp(text, bytes, n) == 0));
	json_decref(back);
	mer_buf_release(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	const char *text = len > 0 ? (const char *)bytes : "";
	struct mer_error err;
	check_span(text, len);
	check_quote(text, len);
	(void)mer_fail(&err, MER_EINPUT, "%.*s", (int)(len < 1000 ? len : 1000), text);
	size_t n = strlen(err.message);
	MER_ASSERT(mer_utf8_span(err.message, n) == n && strpbrk(err.message, "\n\r\t\x1b") == NULL);
	MER_ASSERT(mer_text_width(err.message) <= n);
	return 0;
}
