/* Templates that are filled in, and pointers that find the answer. */
#include "check_main.h"
#include "http_template.h"

#include <mer/clean.h>
#include <string.h>

#define BYTES(text) \
	{ \
		text, sizeof text - 1 \
	}
#define STR(text) ((struct mer_str)BYTES(text))

/* --- templates ------------------------------------------------------------------------------ */

/* want: the body; or what is wrong behind '!', of the template already where input.ptr is NULL. */
static const struct {
	const char *text;
	struct mer_str input;
	const char *want;
} fills[] = {
	{ "{\"prompt\":{input}}", BYTES("hi"), "{\"prompt\":\"hi\"}" },
	{ "{input}", BYTES("a\"b\\c\n\t\x01"), "\"a\\\"b\\\\c\\n\\t\\u0001\"" },
	{ "{input}", BYTES(""), "\"\"" },
	{ "{input}", BYTES("a\0b"), "\"a\\u0000b\"" },
	{ "{input}", BYTES("\xC3\xA4\xF0\x9F\x98\x80"), "\"\xC3\xA4\xF0\x9F\x98\x80\"" },
	{ "[{input},{input}]", BYTES("x"), "[\"x\",\"x\"]" },
	{ "{\"model\": {model}, \"n\": 2}", BYTES("x"), "{\"model\": \"m\\\"1\", \"n\": 2}" },
	{ "{\"in\": {json}}", BYTES("[1, {\"a\": 2.50}]"), "{\"in\": [1, {\"a\": 2.50}]}" },
	{ "{\"{inputs}\": [{\"input\": 1}], \"x\": {input}}", BYTES("1"),
	  "{\"{inputs}\": [{\"input\": 1}], \"x\": \"1\"}" },

	/* what the input says is no part of the template */
	{ "[{input},1]", BYTES("{input}"), "[\"{input}\",1]" },
	{ "[{json},1]", BYTES("\"{model}\""), "[\"{model}\",1]" },
	{ "{json}", BYTES("1,2"),
	  "!the input is not JSON: line 1, column 2: end of file expected near ','" },
	{ "{json}", BYTES(""),
	  "!the input is not JSON: line 1, column 1: unexpected token near end of file" },
	{ "{input}", BYTES("ab\xFF"), "!byte 3 of the input is not UTF-8, so JSON cannot hold it" },
	{ "{input}", BYTES("\xC3"), "!byte 1 of the input is not UTF-8, so JSON cannot hold it" },

	{ "{\"prompt\":\"{input}\"}", { NULL, 0 }, "!line 1, column 14: " },
	{ "\"in {input}\"", { NULL, 0 }, "!not JSON: line 1, column " },
	{ "{{input}:1}", { NULL, 0 }, "!with 0 for each placeholder, is not JSON: line 1, column " },
	{ "{input", { NULL, 0 }, "!not JSON: line 1, column " },
	{ "", { NULL, 0 }, "!not JSON: line 1, column " },
	{ "{\"a\":1,\n\"a\":{input}}", { NULL, 0 }, "!line 2, column 3: duplicate object key" },
};

START_TEST(fills_templates)
{
	struct mer_buf out;
	struct mer_error err;
	const char *want = fills[_i].want;
	mer_buf_init(&out, SIZE_MAX);
	enum mer_status st = http_template_check(fills[_i].text, &err);
	ck_assert_msg((st == MER_OK) == (fills[_i].input.ptr != NULL), "row %d: %d", _i, (int)st);
	if (st == MER_OK)
		st = http_template_fill(fills[_i].text, fills[_i].input, "m\"1", &out, &err);
	if (want[0] == '!') {
		ck_assert_msg(st == MER_EINPUT && strstr(err.message, want + 1) != NULL, "row %d: %d '%s'",
		              _i, (int)st, st == MER_OK ? "" : err.message);
	} else {
		ck_assert_msg(st == MER_OK && out.len == strlen(want) && strcmp(out.ptr, want) == 0,
		              "row %d: %d '%s'", _i, (int)st, st == MER_OK ? out.ptr : err.message);
	}
	mer_buf_release(&out);
}
END_TEST

/* --- pointers ------------------------------------------------------------------------------- */

/* The example of RFC 6901, section 5, and more. */
#define RFC \
	"{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4,\"i\\\\j\":5," \
	"\"k\\\"l\":6,\" \":7,\"m~n\":8,\"~1\":[[9]],\"0\":null,\"t\":\"a\\u0000\\n\\u00e4\"}"

/* want: what is printed of it; NULL: it leads nowhere; '!': no pointer. */
static const struct {
	const char *pointer, *want;
} pointers[] = {
	{ "/foo", "[\"bar\",\"baz\"]" },
	{ "/foo/0", "bar" },
	{ "/foo/1", "baz" },
	{ "/", "0" },
	{ "/a~1b", "1" },
	{ "/c%d", "2" },
	{ "/e^f", "3" },
	{ "/g|h", "4" },
	{ "/i\\j", "5" },
	{ "/k\"l", "6" },
	{ "/ ", "7" },
	{ "/m~0n", "8" },
	{ "/~01/0", "[9]" },
	{ "/~01/0/0", "9" },
	{ "/0", "null" },
	{ "/foo/2", NULL },
	{ "/foo/-", NULL },
	{ "/foo/-1", NULL },
	{ "/foo/00", NULL },
	{ "/foo/01", NULL },
	{ "/foo/1e0", NULL },
	{ "/foo/", NULL },
	{ "/foo/0/0", NULL },
	{ "/foo/18446744073709551616", NULL },
	{ "/fo", NULL },
	{ "/fooo", NULL },
	{ "//", NULL },
	{ "/m~1n", NULL },
	{ "foo", "!no JSON pointer: 'foo' does not begin with a slash" },
	{ "/m~n", "!no JSON pointer: in '/m~n' stands a ~ without 0 or 1" },
	{ "/m~", "!no JSON pointer: in '/m~' stands a ~ without 0 or 1" },
	{ "/~/0", "!no JSON pointer: in '/~/0' stands a ~ without 0 or 1" },
};

START_TEST(follows_pointers)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	struct mer_buf out;
	struct mer_error err = { .message = "" };
	const char *want = pointers[_i].want;
	mer_buf_init(&out, SIZE_MAX);
	ck_assert(http_json_parse("it", STR(RFC), &json, NULL) == MER_OK);
	enum mer_status st = http_pointer_check(pointers[_i].pointer, &err);
	ck_assert_msg((st == MER_OK) == (want == NULL || want[0] != '!'), "row %d", _i);
	if (st != MER_OK) {
		ck_assert_int_eq(st, MER_EINPUT);
		ck_assert_str_eq(err.message, want + 1);
		return;
	}
	json_t *found = http_pointer_get(json, pointers[_i].pointer);
	ck_assert_msg((found != NULL) == (want != NULL), "row %d", _i);
	if (found != NULL) {
		http_json_output(found, &out);
		ck_assert_str_eq(out.ptr, want);
	}
	mer_buf_release(&out);
}
END_TEST

START_TEST(gives_a_string_as_its_bytes)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	struct mer_buf out;
	mer_buf_init(&out, SIZE_MAX);
	ck_assert(http_json_parse("it", STR(RFC), &json, NULL) == MER_OK);
	http_json_output(http_pointer_get(json, "/t"), &out);
	ck_assert(out.len == 5 && memcmp(out.ptr, "a\0\n\xC3\xA4", 5) == 0);
	mer_buf_clear(&out);
	http_json_output(http_pointer_get(json, ""), &out);
	ck_assert_int_eq(out.ptr[0], '{');
	mer_buf_release(&out);
}
END_TEST

/* --- what a hostile server sends ------------------------------------------------------------ */

START_TEST(bounds_documents)
{
	enum { MANY = 1000000 };
	MER_AUTO(mer_json_done) json_t *json = NULL;
	MER_AUTO(mer_text_done) char *text = malloc(3 * MANY);
	struct mer_error err;
	ck_assert_ptr_nonnull(text);

	text[0] = '['; /* [0,0,...,0]: a bracket and a comma less than there are values */
	for (size_t i = 0; i < MANY; i++)
		memcpy(text + 1 + 2 * i, i + 1 < MANY ? "0," : "0]", 2);
	ck_assert(http_json_parse("it", (struct mer_str){ text, 1 + 2 * MANY }, &json, &err) ==
	          MER_ELIMIT);
	ck_assert_str_eq(err.message, "it has more than 1000000 values");

	memset(text, ',', 3 * MANY); /* in a string they are text, behind an escaped quote too */
	memcpy(text, "[\"\\\"\\\\\\\"", 8);
	memcpy(text + 3 * MANY - 2, "\"]", 2);
	ck_assert(http_json_parse("it", (struct mer_str){ text, 3 * MANY }, &json, &err) == MER_OK);
	json_decref(json);
	json = NULL;

	memset(text, '[', MANY - 1); /* as deep as that no stack is */
	ck_assert(http_json_parse("it", (struct mer_str){ text, MANY - 1 }, &json, &err) == MER_EMODEL);
	ck_assert(strstr(err.message, "it is not JSON: line 1, column 2049: ") == err.message);
	ck_assert(http_json_parse("it", STR("<html>"), &json, &err) == MER_EMODEL);
	ck_assert_int_eq(err.status, MER_EMODEL);
	ck_assert(http_json_parse("it", (struct mer_str){ NULL, 0 }, &json, NULL) == MER_EMODEL);
}
END_TEST

Suite *suite(void)
{
	Suite *all = suite_create("http_template");
	TCase *tc = tcase_create("templates");
	tcase_add_loop_test(tc, fills_templates, 0, N_ROWS(fills));
	tcase_add_loop_test(tc, follows_pointers, 0, N_ROWS(pointers));
	tcase_add_test(tc, gives_a_string_as_its_bytes);
	tcase_add_test(tc, bounds_documents);
	suite_add_tcase(all, tc);
	return all;
}
