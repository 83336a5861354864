/* JSON over jansson, JSON strings and base64. */
#include "check_main.h"
#include "test_base_utf8.h"

#include <mer/clean.h>
#include <mer/json.h>
#include <string.h>

static const struct {
	const char *text, *want; /* as it is written again; or what the message has in it */
	enum mer_status status;
} parse_rows[] = {
	{ "{}", "{}", MER_OK },
	{ " [1, 2.5, \"x\", null, true, false, {}] ", "[1,2.5,\"x\",null,true,false,{}]", MER_OK },
	{ "\"text\"", "\"text\"", MER_OK },
	{ "42", "42", MER_OK },
	{ "-9223372036854775808", "-9223372036854775808", MER_OK },
	{ "null", "null", MER_OK },
	{ "{\"z\":1,\"a\":2,\"m\":[]}", "{\"z\":1,\"a\":2,\"m\":[]}", MER_OK },
	{ "\"\\u00fc\\ud83d\\ude00\"", "\"\xC3\xBC\xF0\x9F\x98\x80\"", MER_OK },
	{ "\"a\\u0000b\"", "\"a\\u0000b\"", MER_OK },
	{ "0.1", "0.10000000000000001", MER_OK },
	{ "", "params is not JSON: line 1, column 1: ", MER_EINPUT },
	{ "{\"a\":1,\n \"a\":2}", "params is not JSON: line 2, column 4: ", MER_EINPUT },
	{ "{\n\n  \"a\" 1}", "params is not JSON: line 3, column 7: ", MER_EINPUT },
	{ "{} x", "params is not JSON: line 1, column 4: ", MER_EINPUT },
	{ "[1,]", "line 1", MER_EINPUT },
	{ "{'a':1}", "line 1", MER_EINPUT },
	{ "[1", "line 1", MER_EINPUT },
	{ "nul", "line 1", MER_EINPUT },
	{ "\"\xFF\"", "line 1", MER_EINPUT },
	{ "\"\\ud800\"", "line 1", MER_EINPUT },
	{ "\"a\nb\"", "line 1", MER_EINPUT },
	{ "9223372036854775808", "too big", MER_EINPUT },
	{ "{\"\\u0000\":1}", "line 1", MER_EINPUT },
	{ "NaN", "line 1", MER_EINPUT },
};

START_TEST(parses_json)
{
	const char *text = parse_rows[_i].text, *want = parse_rows[_i].want;
	struct mer_error err = { .message = "" };
	MER_AUTO(mer_json_done) json_t *json = NULL;
	MER_AUTO(mer_text_done) char *again = NULL;
	enum mer_status got = mer_json_parse("params", text, strlen(text), &json, &err);
	ck_assert_msg(got == parse_rows[_i].status, "row %d [%s]: status %d '%s'", _i, text, (int)got,
	              err.message);
	if (got != MER_OK) {
		ck_assert_ptr_null(json);
		ck_assert_msg(strstr(err.message, want) != NULL, "row %d [%s]: '%s'", _i, text,
		              err.message);
		return;
	}
	ck_assert_int_eq(mer_json_text(json, &again, NULL), MER_OK);
	ck_assert_msg(strcmp(again, want) == 0, "row %d [%s]: %s", _i, text, again);
}
END_TEST

START_TEST(parses_only_len_bytes)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	ck_assert_int_eq(mer_json_parse("x", "[1]garbage", 3, &json, NULL), MER_OK);
	MER_AUTO(mer_json_done) json_t *none = NULL;
	ck_assert_int_eq(mer_json_parse("x", "[1]\0", 4, &none, NULL), MER_EINPUT);
}
END_TEST

START_TEST(survives_depth)
{
	char text[10000];
	json_t *json = NULL;
	memset(text, '[', sizeof text);
	ck_assert_int_eq(mer_json_parse("x", text, sizeof text, &json, NULL), MER_EINPUT);
	ck_assert_ptr_null(json);
}
END_TEST

static const struct {
	const char *text, *want; /* each word in <>, or what the message has in it */
	enum mer_status status;
} words_rows[] = {
	{ "[]", "", MER_OK },
	{ "[\"python3\",\"\",\"a b\"]", "<python3><><a b>", MER_OK },
	{ "{}", "argv is not an array of strings", MER_EINPUT },
	{ "\"x\"", "argv is not an array of strings", MER_EINPUT },
	{ "[\"a\",1]", "argv is not an array of strings: element 2", MER_EINPUT },
	{ "[\"a\",null]", "element 2", MER_EINPUT },
	{ "[\"a\\u0000b\"]", "argv has a NUL character in element 1", MER_EINPUT },
};

START_TEST(turns_json_to_words)
{
	struct mer_error err = { .message = "" };
	MER_AUTO(mer_json_done) json_t *json = NULL;
	MER_AUTO(mer_json_done) json_t *back = NULL;
	MER_AUTO(mer_words_done) char **words = NULL;
	const char *text = words_rows[_i].text;
	size_t count = 99;
	ck_assert_int_eq(mer_json_parse("x", text, strlen(text), &json, NULL), MER_OK);
	enum mer_status got = mer_json_to_words("argv", json, &words, &count, &err);
	ck_assert_msg(got == words_rows[_i].status, "row %d %s: status %d", _i, text, (int)got);
	if (got != MER_OK) {
		ck_assert_msg(strstr(err.message, words_rows[_i].want) != NULL && words == NULL &&
		                  count == 99,
		              "row %d %s: '%s'", _i, text, err.message);
		return;
	}
	char shown[100] = "";
	size_t n = 0;
	for (; words[n] != NULL; n++)
		strcat(strcat(strcat(shown, "<"), words[n]), ">");
	ck_assert_msg(strcmp(shown, words_rows[_i].want) == 0 && n == count, "row %d: %s", _i, shown);
	ck_assert_int_eq(mer_json_from_words((const char *const *)words, &back, NULL), MER_OK);
	ck_assert(json_equal(json, back));
}
END_TEST

START_TEST(refuses_words_that_are_no_text)
{
	struct mer_error err;
	json_t *json = NULL;
	const char *const words[] = { "a", "b\xFF", NULL };
	ck_assert_int_eq(mer_json_from_words(words, &json, &err), MER_EINPUT);
	ck_assert_str_eq(err.message, "not UTF-8: 'b?'");
	ck_assert_ptr_null(json);
	ck_assert_int_eq(mer_json_to_words("x", NULL, NULL, NULL, &err), MER_EINPUT);
}
END_TEST

START_TEST(gets_members)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	const char *text =
		"{\"t\":\"x\",\"n\":7,\"b\":true,\"r\":1.5,\"z\":null,\"nul\":\"a\\u0000b\"}";
	ck_assert_int_eq(mer_json_parse("x", text, strlen(text), &json, NULL), MER_OK);
	ck_assert_str_eq(mer_json_get_text(json, "t", "other"), "x");
	ck_assert_str_eq(mer_json_get_text(json, "n", "other"), "other");
	ck_assert_str_eq(mer_json_get_text(json, "z", "other"), "other");
	ck_assert_str_eq(mer_json_get_text(json, "nul", "other"), "other");
	ck_assert_str_eq(mer_json_get_text(NULL, "t", "other"), "other");
	ck_assert_ptr_null(mer_json_get_text(json, "missing", NULL));
	ck_assert_int_eq(mer_json_get_i64(json, "n", -1), 7);
	ck_assert_int_eq(mer_json_get_i64(json, "r", -1), -1);
	ck_assert_int_eq(mer_json_get_i64(json, "t", -1), -1);
	ck_assert(mer_json_get_bool(json, "b", false));
	ck_assert(mer_json_get_bool(json, "n", true));
	ck_assert(!mer_json_get_bool(json, "missing", false));
}
END_TEST

/* Strings. */

static const struct {
	const char *bytes, *want;
} quote_rows[] = {
	{ "", "\"\"" },
	{ "plain text of more than eight bytes", "\"plain text of more than eight bytes\"" },
	{ "say \"x\\y\"", "\"say \\\"x\\\\y\\\"\"" },
	{ "\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\"" },
	{ "\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\"" },
	{ "/ ' < > & \xE2\x80\xA8", "\"/ ' < > & \xE2\x80\xA8\"" },
	{ "Z\xC3\xBCrich \xF0\x9F\x98\x80", "\"Z\xC3\xBCrich \xF0\x9F\x98\x80\"" },
	{ "a\xFFz", "\"a\xEF\xBF\xBDz\"" },
	{ "a\xE2\x82", "\"a\xEF\xBF\xBD\"" },
	{ "a\xE2\x82z", "\"a\xEF\xBF\xBDz\"" },
	{ "\xC0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\"" },
	{ "\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"" },
	{ "\xF4\x90\x80\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"" },
	{ "\xF0\x9F\x98\"", "\"\xEF\xBF\xBD\\\"\"" },
};

START_TEST(quotes_text)
{
	struct mer_buf buf;
	mer_buf_init(&buf, 1000);
	mer_json_quote(&buf, quote_rows[_i].bytes, strlen(quote_rows[_i].bytes));
	ck_assert_msg(strcmp(buf.ptr, quote_rows[_i].want) == 0, "row %d: %s, not %s", _i, buf.ptr,
	              quote_rows[_i].want);
	mer_buf_release(&buf);
}
END_TEST

/* The text that a reader of the quoted one has: with a U+FFFD for each thing that is not UTF-8. */
static size_t mend(const unsigned char *bytes, size_t len, char *out)
{
	size_t to = 0;
	for (size_t at = 0, n; at < len; at += n) {
		bool valid;
		n = reference_step(bytes + at, len - at, &valid);
		memcpy(out + to, valid ? (const char *)bytes + at : "\xEF\xBF\xBD", valid ? n : 3);
		to += valid ? n : 3;
	}
	return to;
}

/* Each byte at each place of a word of eight plain ones, and random bytes. */
static void check_quote(const unsigned char *bytes, size_t len)
{
	struct mer_buf buf;
	char want[200];
	json_error_t cause;
	size_t n = mend(bytes, len, want);
	mer_buf_init(&buf, 1000);
	mer_json_quote(&buf, (const char *)bytes, len);
	json_t *back = json_loadb(buf.ptr, buf.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &cause);
	if (back == NULL || json_string_length(back) != n ||
	    memcmp(json_string_value(back), want, n) != 0)
		ck_abort_msg("%zu bytes from %02x: %s", len, len > 0 ? bytes[0] : 0, buf.ptr);
	json_decref(back);
	mer_buf_release(&buf);
}

START_TEST(quotes_each_byte)
{
	for (size_t place = 0; place < 20; place++) {
		for (unsigned byte = 0; byte < 256; byte++) {
			unsigned char bytes[20];
			memset(bytes, 'x', sizeof bytes);
			bytes[place] = (unsigned char)byte;
			check_quote(bytes, sizeof bytes);
			bytes[0] = ' ';
			check_quote(bytes, place + 1);
		}
	}
}
END_TEST

START_TEST(quotes_random_bytes)
{
	uint64_t state = 123456789u + (uint64_t)_i;
	for (int i = 0; i < 20000; i++) {
		unsigned char bytes[50];
		size_t len = random_below(&state, sizeof bytes);
		for (size_t at = 0; at < len; at++)
			bytes[at] = (unsigned char)(_i % 2 == 0 ? random_below(&state, 256)
			                                        : 0x80 + random_below(&state, 0x78));
		check_quote(bytes, len);
	}
}
END_TEST

START_TEST(escapes_in_pieces)
{
	struct mer_buf buf;
	mer_buf_init(&buf, 100);
	mer_json_escape(&buf, "a\"", 2);
	mer_json_escape(&buf, NULL, 0);
	mer_json_escape(&buf, "\n\0z", 3);
	ck_assert_str_eq(buf.ptr, "a\\\"\\n\\u0000z");
	mer_buf_release(&buf);
	mer_json_quote(&buf, NULL, 0);
	ck_assert_str_eq(buf.ptr, "\"\"");
	mer_buf_release(&buf);
}
END_TEST

/* Base64; RFC 4648, section 10, and bytes of all kinds. */

static const struct {
	const char *bytes;
	size_t n;
	const char *want;
} base64_rows[] = {
	{ "", 0, "" },
	{ "f", 1, "Zg==" },
	{ "fo", 2, "Zm8=" },
	{ "foo", 3, "Zm9v" },
	{ "foob", 4, "Zm9vYg==" },
	{ "fooba", 5, "Zm9vYmE=" },
	{ "foobar", 6, "Zm9vYmFy" },
	{ "\0\0\0", 3, "AAAA" },
	{ "\xFF\xFF\xFF", 3, "////" },
	{ "\xFB\xF0", 2, "+/A=" },
	{ "\x14\xFB\x9C\x03\xD9\x7E", 6, "FPucA9l+" },
};

START_TEST(writes_base64)
{
	struct mer_buf buf;
	mer_buf_init(&buf, 100);
	mer_buf_text(&buf, ">");
	mer_base64_add(&buf, base64_rows[_i].bytes, base64_rows[_i].n);
	ck_assert_msg(strcmp(buf.ptr + 1, base64_rows[_i].want) == 0, "row %d: %s", _i, buf.ptr);
	mer_buf_release(&buf);
}
END_TEST

/* Decoded with the alphabet searched for each digit. */
START_TEST(base64_goes_there_and_back)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint64_t state = 987654321u;
	for (size_t n = 1; n < 200; n++) {
		unsigned char bytes[200], back[204];
		for (size_t i = 0; i < n; i++)
			bytes[i] = (unsigned char)random_below(&state, 256);
		struct mer_buf buf;
		mer_buf_init(&buf, 300);
		mer_base64_add(&buf, bytes, n / 2 / 3 * 3);
		mer_base64_add(&buf, bytes + n / 2 / 3 * 3, n - n / 2 / 3 * 3);
		ck_assert_uint_eq(buf.len, (n + 2) / 3 * 4);
		for (size_t i = 0; i < buf.len; i += 4) {
			unsigned bits = 0;
			for (size_t j = i; j < i + 4; j++) {
				const char *digit = strchr(alphabet, buf.ptr[j]);
				bits = bits << 6 | (buf.ptr[j] == '=' ? 0 : (unsigned)(digit - alphabet));
			}
			back[i / 4 * 3] = (unsigned char)(bits >> 16);
			back[i / 4 * 3 + 1] = (unsigned char)(bits >> 8);
			back[i / 4 * 3 + 2] = (unsigned char)bits;
		}
		ck_assert_msg(memcmp(bytes, back, n) == 0, "%zu bytes: %s", n, buf.ptr);
		mer_buf_release(&buf);
	}
	struct mer_buf small;
	mer_buf_init(&small, 7);
	mer_base64_add(&small, "abcd", 4);
	ck_assert_int_eq(mer_buf_check(&small, NULL), MER_ELIMIT);
	mer_buf_release(&small);
}
END_TEST

Suite *suite(void)
{
	Suite *json = suite_create("json");
	TCase *documents = tcase_create("documents"), *strings = tcase_create("strings");
	TCase *base64 = tcase_create("base64");
	tcase_add_loop_test(documents, parses_json, 0, N_ROWS(parse_rows));
	tcase_add_test(documents, parses_only_len_bytes);
	tcase_add_test(documents, survives_depth);
	tcase_add_loop_test(documents, turns_json_to_words, 0, N_ROWS(words_rows));
	tcase_add_test(documents, refuses_words_that_are_no_text);
	tcase_add_test(documents, gets_members);
	tcase_set_timeout(strings, 60);
	tcase_add_loop_test(strings, quotes_text, 0, N_ROWS(quote_rows));
	tcase_add_test(strings, quotes_each_byte);
	tcase_add_loop_test(strings, quotes_random_bytes, 0, 4);
	tcase_add_test(strings, escapes_in_pieces);
	tcase_add_loop_test(base64, writes_base64, 0, N_ROWS(base64_rows));
	tcase_add_test(base64, base64_goes_there_and_back);
	suite_add_tcase(json, documents);
	suite_add_tcase(json, strings);
	suite_add_tcase(json, base64);
	return json;
}
