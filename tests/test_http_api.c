/* Heads of HTTP responses, what statuses mean, and requests and answers of the Open Inference Protocol. */
#include "../src/meal/http_status.h"
#include "check_main.h"

#include <stdlib.h>
#include <string.h>

/* --- statuses ------------------------------------------------------------------------------- */

static const struct {
	const char *head, *body;
	enum mer_status want;
	const char *says;
} statuses[] = {
	{ "HTTP/1.1 400 Bad\n\n", "{\"error\":\"no x\"}", MER_EINPUT, "server 's' answers 400: no x" },
	{ "HTTP/2 422 \n\n", "{\"detail\":[{\"msg\":\"not this\"}]}", MER_EINPUT,
	  "server 's' answers 422: not this" },
	{ "HTTP/1.1 401 No\n\n", "{\"error\":{\"message\":\"key\",\"code\":1}}", MER_EUNREACHABLE,
	  "server 's' answers 401: key" },
	{ "HTTP/1.1 404 No\nContent-Type: text/html; charset=x\n\n", "<html>", MER_EUNREACHABLE,
	  "server 's' answers 404" },
	{ "HTTP/1.1 504 Late\n\n", "", MER_ETIMEOUT, "server 's' answers 504" },
	{ "HTTP/1.1 503 Busy\nRetry-After: 2\n\n", " \n words \r\nmore", MER_EBUSY,
	  "server 's' answers 503: words" },
	{ "HTTP/1.1 500 Oh\n\n", "{\"error\":", MER_EMODEL, "server 's' answers 500: {\"error\":" },
	{ "HTTP/1.1 418 Teapot\n\n", "\x1b[31m", MER_EMODEL, "server 's' answers 418: ?[31m" },
	{ "HTTP/1.1 302 Found\nLocation:  https://h/x\t\n\n", "", MER_EUNREACHABLE,
	  "server 's' answers 302: it is at 'https://h/x', and redirects are not followed" },
	{ "HTTP/1.1 100 Continue\nRetry-After: 9\n\nHTTP/1.1 429 Many\n\n", "", MER_EBUSY,
	  "server 's' answers 429" },
	{ "HTTP/1.1 abc\n\n", "", MER_EUNREACHABLE, NULL }, /* no status, so no head is ever whole */
};

static void read_head(const char *text, struct http_head *head)
{
	http_head_init(head);
	for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1)
		ck_assert_int_eq(MER_OK, http_head_line(head, text, (size_t)(end - text), NULL));
}

START_TEST(judges)
{
	struct http_head head;
	struct mer_error err;
	read_head(statuses[_i].head, &head);
	ck_assert_int_eq(statuses[_i].says != NULL, head.whole);
	const struct mer_str body = { statuses[_i].body, strlen(statuses[_i].body) };
	enum mer_status got = http_judge("s", &head, body, &err);
	ck_assert_msg(got == statuses[_i].want, "row %d: %s", _i, err.message);
	if (statuses[_i].says != NULL)
		ck_assert_str_eq(statuses[_i].says, err.message);
}
END_TEST

START_TEST(reads_heads)
{
	struct http_head head;
	read_head("HTTP/1.1 103 Hints\nContent-Length: 7\n\nHTTP/1.1 200 OK\ncontent-LENGTH: 12\n"
	          "Content-Type: Application/JSON ; charset=utf-8\nInference-Header-Content-Length:5\n"
	          "Retry-After: 100000000000\nContent-Encoding: gzip\nno colon\n\nContent-Length: 1\n",
	          &head);
	ck_assert(head.whole && head.response.status == 200);
	ck_assert_int_eq(12, head.response.content_length);
	ck_assert_int_eq(5, head.response.json_length);
	ck_assert_str_eq("application/json", head.response.content_type);
	ck_assert_str_eq("gzip", head.encoding);
	ck_assert_int_eq(1000000000, head.retry_after_ms);
}
END_TEST

/* What says where an answer ends has to say it once, and in a way that all read alike. */
static const struct {
	const char *head;
	const char *says; /* NULL: fine */
	const char *encoding;
} lengths[] = {
	{ "Content-Length: 4\nContent-Length:4\n", NULL, "" },
	{ "Content-Length: 4\nContent-Length: 9\n", "its answer has another Content-Length: '9'", "" },
	{ "Content-Length: 4, 4\n", "its answer has no sensible Content-Length: '4, 4'", "" },
	{ "Content-Length: +4\n", "its answer has no sensible Content-Length: '+4'", "" },
	{ "Content-Length: -1\n", "its answer has no sensible Content-Length: '-1'", "" },
	{ "Content-Length:\n", "its answer has no sensible Content-Length: ''", "" },
	{ "Content-Length: 9223372036854775808\n",
	  "its answer has no sensible Content-Length: '9223372036854775808'", "" },
	{ "Transfer-Encoding: chunked\nContent-Encoding: identity\n", NULL, "" },
	{ "Transfer-Encoding: gzip, chunked\n", NULL, "gzip, chunked" },
	{ "Transfer-Encoding: gzip\nTransfer-Encoding: Chunked\n", NULL, "gzip" },
};

START_TEST(knows_where_an_answer_ends)
{
	struct http_head head;
	struct mer_error err = { .status = MER_OK };
	const char *text = lengths[_i].head, *end;
	http_head_init(&head);
	ck_assert_int_eq(MER_OK, http_head_line(&head, "HTTP/1.1 200 OK", 15, &err));
	enum mer_status st = MER_OK;
	for (; st == MER_OK && (end = strchr(text, '\n')) != NULL; text = end + 1)
		st = http_head_line(&head, text, (size_t)(end - text), &err);
	ck_assert_msg(st == (lengths[_i].says == NULL ? MER_OK : MER_EMODEL), "row %d", _i);
	if (lengths[_i].says != NULL)
		ck_assert_str_eq(lengths[_i].says, err.message);
	ck_assert_str_eq(lengths[_i].encoding, head.encoding);
}
END_TEST

START_TEST(bounds_heads)
{
	struct http_head head;
	struct mer_error err = { .status = MER_OK };
	char line[1024];
	memset(line, 'x', sizeof line);
	http_head_init(&head);
	size_t n = 0;
	while (http_head_line(&head, line, sizeof line, &err) == MER_OK)
		n++;
	ck_assert_int_eq(MER_ELIMIT, err.status);
	ck_assert_uint_eq(HTTP_HEAD_MAX / (sizeof line + 2), n);
}
END_TEST

/* --- answers -------------------------------------------------------------------------------- */

#define X(datatype, shape) "{\"name\":\"x\",\"datatype\":\"" datatype "\",\"shape\":" shape
#define META(size) \
	"m{\"outputs\":[" X("FP32", "[1]") ",\"parameters\":{\"binary_data_size\":" size "}}]}"
#define BINARY "{\"outputs\":[" X("FP32", "[1]") ",\"parameters\":{\"binary_data_size\":4}}]}"
#define OF_BYTES(shape, size) \
	"{\"outputs\":[" X("BYTES", shape) ",\"parameters\":{\"binary_data_size\":" size "}}]}"

static const struct {
	bool plain;                /* the input is bytes, for a model of one input of BYTES */
	const char *json, *binary; /* NULL: none */
	const char *want;          /* m META, o OUTPUT, d and a message */
} answers[] = {
	{ false, "{\"outputs\":[" X("FP32", "[1]") ",\"data\":[1]}]}", NULL,
	  META("4") "o\x00\x00\x80?d" },
	{ false, BINARY, "abcd", META("4") "oabcdd" },
	{ false, BINARY, "abcde", META("4") "oabcddits answer goes on behind its tensors" },
	{ false, BINARY, "ab", META("4") "oabdits answer ends amid its tensors" },
	{ true, OF_BYTES("[1]", "6"), "\2\0\0\0hi", "ohid" },
	{ true, "{\"outputs\":[" X("BYTES", "[1]") ",\"data\":[\"hi\"]}]}", NULL, "ohid" },
	{ true,
	  "{\"outputs\":[" X("FP32", "[1]") ",\"data\":[1]},"
	                                    "{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[1]"
	                                    ",\"data\":[1]}]}",
	  NULL, "dits answer: the model answers with 2 tensors, of which none is the output" },
	{ false, "{\"error\":\"odd\"}", NULL, "dits answer has no outputs: odd" },
};

static void collect(struct mer_buf *seen, const struct meal_event *event)
{
	static bool told;
	if (seen->len == 0)
		told = false;
	if (event->kind == MEAL_OUTPUT && !told)
		mer_buf_byte(seen, 'o');
	told = event->kind == MEAL_OUTPUT || (told && event->kind == MEAL_NOTHING);
	if (event->kind == MEAL_META || event->kind == MEAL_DONE)
		mer_buf_byte(seen, event->kind == MEAL_META ? 'm' : 'd');
	mer_buf_add(seen, event->bytes.ptr, event->bytes.len);
}

static void read_answer(struct http_api *api, int row, size_t most, struct mer_buf *seen)
{
	const char *json = answers[row].json, *binary = answers[row].binary;
	size_t json_len = strlen(json), binary_len = binary == NULL ? 0 : strlen(binary);
	if (binary != NULL && binary[0] == '\2')
		binary_len = 6;
	const struct http_response head = { .status = 200,
		                                .content_length = -1,
		                                .json_length = binary != NULL ? (int64_t)json_len : -1 };
	char *all = malloc(json_len + binary_len + 1);
	ck_assert_ptr_nonnull(all);
	memcpy(all, json, json_len);
	if (binary_len > 0)
		memcpy(all + json_len, binary, binary_len);
	ck_assert_int_eq(MER_OK, http_oip.take(api, &head, NULL));
	struct meal_event event = { .kind = MEAL_NOTHING };
	for (size_t at = 0, len = json_len + binary_len; at < len && event.kind != MEAL_DONE;) {
		event = (struct meal_event){ .kind = MEAL_NOTHING };
		at += http_oip.feed(api, all + at, len - at < most ? len - at : most, &event);
		collect(seen, &event);
	}
	while (event.kind != MEAL_DONE) {
		event = (struct meal_event){ .kind = MEAL_NOTHING };
		http_oip.end(api, &event);
		collect(seen, &event);
	}
	free(all);
}

START_TEST(reads_answers)
{
	static char name[] = "m";
	static char *none[] = { NULL };
	static const char of_bytes[] =
		"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"shape\":[1]}]}";
	static const char request_text[] = "{\"inputs\":[" X("FP32", "[1]") ",\"data\":[1]}]}";
	const struct mer_http http = { .url = name, .model = name, .params = none, .headers = none };
	const char *text = answers[_i].plain ? "hi" : request_text;
	const struct mer_input input = { .bytes = text, .len = strlen(text) };
	struct http_api *api = calloc(1, http_oip.size);
	struct http_request request = { .method = "GET" };
	ck_assert_ptr_nonnull(api);
	*api = (struct http_api){ .ops = &http_oip, .http = &http };
	mer_buf_init(&request.path, 4096);
	ck_assert_int_eq(MER_OK, http_oip.init(api, NULL));
	while (!api->greeted) {
		const struct http_response ok = { .status = 200 };
		const char *says = answers[_i].plain ? of_bytes : "{}";
		ck_assert_int_eq(MER_OK, http_oip.hello(api, true, &request, NULL));
		ck_assert_int_eq(
			MER_OK, http_oip.heard(api, true, &ok, (struct mer_str){ says, strlen(says) }, NULL));
	}
	for (size_t most = 1; most < 400; most += most < 8 ? 1 : 97) {
		struct mer_buf seen;
		mer_buf_init(&seen, SIZE_MAX);
		ck_assert_int_eq(MER_OK, http_oip.build(api, &input, &request, NULL));
		read_answer(api, _i, most, &seen);
		http_oip.over(api);
		size_t len = strlen(answers[_i].want);
		if (_i == 0)
			len = sizeof META("4") - 1 + 1 + 4 + 1; /* there are NULs in it */
		ck_assert_msg(seen.len == len && memcmp(seen.ptr, answers[_i].want, len) == 0,
		              "row %d by %zu: '%.*s'", _i, most, (int)seen.len, seen.ptr);
		mer_buf_release(&seen);
	}
	http_oip.release(api);
	mer_buf_release(&request.path);
	free(api);
}
END_TEST

Suite *suite(void)
{
	Suite *all = suite_create("http_api");
	TCase *tc = tcase_create("responses");
	tcase_add_loop_test(tc, judges, 0, N_ROWS(statuses));
	tcase_add_test(tc, reads_heads);
	tcase_add_loop_test(tc, knows_where_an_answer_ends, 0, N_ROWS(lengths));
	tcase_add_test(tc, bounds_heads);
	tcase_add_loop_test(tc, reads_answers, 0, N_ROWS(answers));
	suite_add_tcase(all, tc);
	return all;
}
