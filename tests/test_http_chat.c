/* api=openai: requests that are built, answers that are read, whole and in pieces, and what a session keeps. */
#include "check_main.h"
#include "http_api.h"

#include <mer/clean.h>
#include <mer/json.h>
#include <stdlib.h>
#include <string.h>

#define BYTES(text) \
	{ \
		text, sizeof text - 1 \
	}

/* A worker's API, and what it builds. */
struct chatter {
	struct mer_http http;
	struct http_api *api;
	struct http_request request;
	struct mer_buf seen;
};

static void set_up(struct chatter *c, const char *const params[], bool session)
{
	struct mer_error err;
	static char url[] = "http://x/v1", model[] = "m\"1";
	*c = (struct chatter){ .http = { .url = url, .model = model } };
	c->http.params = (char **)(uintptr_t)params; /* they are only read */
	c->api = calloc(1, http_openai.size);
	ck_assert_ptr_nonnull(c->api);
	c->api->ops = &http_openai;
	c->api->http = &c->http;
	c->api->session = session;
	mer_buf_init(&c->request.path, SIZE_MAX);
	mer_buf_init(&c->seen, SIZE_MAX);
	mer_buf_text(&c->seen, "");
	ck_assert_msg(http_openai.init(c->api, &err) == MER_OK, "%s", err.message);
}

static void tear_down(struct chatter *c)
{
	http_openai.release(c->api);
	free(c->api);
	mer_buf_release(&c->request.path);
	mer_buf_release(&c->seen);
}

static enum mer_status build(struct chatter *c, struct mer_str input, struct mer_error *err)
{
	mer_buf_clear(&c->request.path);
	return http_openai.build(c->api, &(struct mer_input){ .bytes = input.ptr, .len = input.len },
	                         &c->request, err);
}

/* o: a piece of output; l: log; d: done; f: failed. Pieces of the same kind are joined. */
static void note(struct chatter *c, const struct meal_event *event)
{
	static const char letters[] = { [MEAL_OUTPUT] = 'o', [MEAL_LOG] = 'l', [MEAL_DONE] = 'd' };
	ck_assert(event->kind == MEAL_OUTPUT || event->kind == MEAL_LOG || event->kind == MEAL_DONE);
	bool failed = event->kind == MEAL_DONE && event->status != MER_OK;
	mer_buf_byte(&c->seen, failed ? 'f' : letters[event->kind]);
	if (failed && event->status == MER_ELIMIT)
		mer_buf_byte(&c->seen, '!');
	if (event->kind != MEAL_DONE || failed)
		mer_buf_printf(&c->seen, "(%.*s)", (int)event->bytes.len, event->bytes.ptr);
	if (event->kind == MEAL_OUTPUT)
		ck_assert_uint_gt(event->bytes.len, 0);
}

/* As a worker reads a body; most bytes at a time. Returns whether it is done. */
static bool feed(struct chatter *c, const char *bytes, size_t len, size_t most)
{
	struct meal_event event = { .kind = MEAL_NOTHING };
	for (size_t at = 0, end = 0; at < len;) {
		end = len - at < most ? len : at + most;
		do {
			size_t taken = http_openai.feed(c->api, bytes + at, end - at, &event);
			ck_assert(taken <= end - at && (taken > 0 || at == end || event.kind != MEAL_NOTHING));
			at += taken;
			if (event.kind != MEAL_NOTHING)
				note(c, &event);
			if (event.kind == MEAL_DONE)
				return true;
		} while (at < end || event.kind != MEAL_NOTHING);
	}
	return false;
}

static void answer(struct chatter *c, const char *type, struct mer_str body, size_t most)
{
	struct http_response head = { .status = 200, .content_length = -1, .json_length = -1 };
	struct meal_event event = { .kind = MEAL_NOTHING };
	struct mer_error err;
	(void)snprintf(head.content_type, sizeof head.content_type, "%s", type);
	if (http_openai.take(c->api, &head, &err) != MER_OK) {
		mer_buf_printf(&c->seen, "t(%s)", err.message);
		return;
	}
	bool done = feed(c, body.ptr, body.len, most);
	while (!done) {
		http_openai.end(c->api, &event);
		note(c, &event);
		done = event.kind == MEAL_DONE;
	}
}

/* --- requests ------------------------------------------------------------------------------- */

#define M "\"model\":\"m\\\"1\","
#define USAGE "\"stream_options\":{\"include_usage\":true},"
#define HEAD "{" M USAGE "\"stream\":true,\"messages\":["
#define HI "{\"role\":\"user\",\"content\":\"hi\"}"

/* want: the body; or what is wrong behind '!'. */
static const struct {
	const char *params[4];
	struct mer_str input;
	const char *want;
} requests[] = {
	{ { NULL }, BYTES("hi"), HEAD HI "]}" },
	{ { NULL }, BYTES(""), HEAD "{\"role\":\"user\",\"content\":\"\"}]}" },
	{ { NULL },
	  BYTES("a\"\n\0\xC3\xA4"),
	  HEAD "{\"role\":\"user\",\"content\":\"a\\\"\\n\\u0000\xC3\xA4\"}]}" },
	{ { NULL }, BYTES("a\xFF"), "!byte 2 of the input is not UTF-8, so JSON cannot hold it" },
	{ { "system=Be \"kind\"." },
	  BYTES("hi"),
	  HEAD "{\"role\":\"system\",\"content\":\"Be \\\"kind\\\".\"}," HI "]}" },
	{ { "stream=false" }, BYTES("hi"), "{" M "\"stream\":false,\"messages\":[" HI "]}" },
	{ { "options={\"temperature\":0.5,\"stop\":[\"x\"]}" },
	  BYTES("hi"),
	  "{" M USAGE "\"temperature\":0.5,\"stop\":[\"x\"],\"stream\":true,\"messages\":[" HI "]}" },
	{ { "options={\"stream_options\":null,\"n\":null}" },
	  BYTES("hi"),
	  "{" M "\"stream\":true,\"messages\":[" HI "]}" },

	/* what is no text: messages, or a request with some, whose members win */
	{ { "system=s" },
	  BYTES(" [" HI "]\n"),
	  HEAD "{\"role\":\"system\",\"content\":\"s\"}," HI "]}" },
	{ { "system=s" },
	  BYTES("[{\"role\":\"system\",\"content\":\"t\"}," HI "]"),
	  HEAD "{\"role\":\"system\",\"content\":\"t\"}," HI "]}" },
	{ { "system=s" },
	  BYTES("[{\"role\":\"developer\",\"content\":[]}]"),
	  HEAD "{\"role\":\"developer\",\"content\":[]}]}" },
	{ { "options={\"temperature\":0.5,\"seed\":1}" },
	  BYTES(
		  "{\"temperature\":1,\"model\":\"other\",\"seed\":null,\"stream\":false,\"messages\":[" HI
		  "]}"),
	  "{" M "\"temperature\":1,\"stream\":false,\"messages\":[" HI "]}" },

	/* what only looks so */
	{ { NULL }, BYTES("[1]"), HEAD "{\"role\":\"user\",\"content\":\"[1]\"}]}" },
	{ { NULL }, BYTES("[]"), HEAD "{\"role\":\"user\",\"content\":\"[]\"}]}" },
	{ { NULL }, BYTES("{}"), HEAD "{\"role\":\"user\",\"content\":\"{}\"}]}" },
	{ { NULL },
	  BYTES("{\"messages\":[]}"),
	  HEAD "{\"role\":\"user\",\"content\":\"{\\\"messages\\\":[]}\"}]}" },
	{ { NULL },
	  BYTES("[" HI ",{\"role\":1}]"),
	  HEAD
	  "{\"role\":\"user\",\"content\":\"[{\\\"role\\\":\\\"user\\\",\\\"content\\\":\\\"hi\\\"},"
	  "{\\\"role\\\":1}]\"}]}" },
	{ { NULL },
	  BYTES("[" HI),
	  HEAD "{\"role\":\"user\",\"content\":"
	       "\"[{\\\"role\\\":\\\"user\\\",\\\"content\\\":\\\"hi\\\"}\"}]}" },
};

START_TEST(builds_requests)
{
	struct chatter c;
	struct mer_error err = { .message = "" };
	const char *want = requests[_i].want;
	set_up(&c, requests[_i].params, false);
	for (int time = 0; time < 2; time++) { /* again for the same input, where the server was busy */
		enum mer_status st = build(&c, requests[_i].input, &err);
		if (want[0] == '!') {
			ck_assert_int_eq(st, MER_EINPUT);
			ck_assert_str_eq(err.message, want + 1);
			continue;
		}
		ck_assert_msg(st == MER_OK, "%s", err.message);
		ck_assert_uint_eq(c.request.n_pieces, 1);
		ck_assert_str_eq(c.request.piece[0].ptr, want);
		ck_assert_str_eq(c.request.path.ptr, "/chat/completions");
		ck_assert_str_eq(c.request.method, "POST");
		ck_assert_str_eq(c.request.content_type, "application/json");
		ck_assert_str_eq(c.request.accept, strstr(want, "\"stream\":false") != NULL
		                                       ? "application/json"
		                                       : "text/event-stream");
	}
	tear_down(&c);
}
END_TEST

START_TEST(takes_no_tensors)
{
	struct chatter c;
	struct mer_error err;
	const char *const none[] = { NULL };
	struct mer_input input = { .bytes = "", .meta = "{\"content\":\"bytes\"}" };
	set_up(&c, none, false);
	ck_assert_int_eq(http_openai.build(c.api, &input, &c.request, &err), MER_EINPUT);
	ck_assert(strstr(err.message, "tensors") != NULL);
	tear_down(&c);
}
END_TEST

static const struct {
	const char *options, *want; /* NULL: they are right */
} options[] = {
	{ "{\"temperature\":0}", NULL },
	{ "{}", NULL },
	{ "[]", "it is no JSON object" },
	{ "{\"model\":\"x\"}", "mer sets 'model' itself" },
	{ "{\"messages\":[]}", "mer sets 'messages' itself" },
	{ "{\"stream\":true}", "mer sets 'stream' itself" },
	{ "temperature=0", "it is not JSON: line 1, column 11: invalid token near 'temperature'" },
};

START_TEST(checks_options)
{
	struct mer_error err = { .message = "" };
	enum mer_status st = http_openai_check_options(options[_i].options, &err);
	ck_assert_int_eq(st, options[_i].want == NULL ? MER_OK : MER_EINPUT);
	if (options[_i].want != NULL)
		ck_assert_str_eq(err.message, options[_i].want);
}
END_TEST

/* --- answers -------------------------------------------------------------------------------- */

#define DATA(json) "data: " json "\n\n"
#define DELTA(text) DATA("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}")
#define OVER(reason) \
	DATA("{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" reason "\"}]}")
#define TOLD DATA("{\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}")
#define DONE DATA("[DONE]")
#define SSE "text/event-stream"
#define JSON "application/json"
#define SPENT "l(usage: prompt_tokens=7 completion_tokens=2\n)"

static const struct {
	const char *type, *body, *want;
} answers[] = {
	{ SSE, DELTA("Hel") DELTA("lo") OVER("stop") TOLD DONE, "o(Hel)o(lo)" SPENT "d" },
	{ SSE, DELTA("Hel") DELTA("") DELTA("lo") DONE, "o(Hel)o(lo)d" },
	{ SSE, DELTA("x") OVER("stop"), "o(x)d" },
	{ SSE, DONE, "d" },
	{ SSE, DELTA("x") DONE DELTA("y"), "o(x)d" },
	{ SSE, DELTA("x") OVER("length") TOLD DONE,
	  "o(x)l(finish_reason: length\nusage: prompt_tokens=7 completion_tokens=2\n)d" },
	{ SSE, DELTA("\\u00e4\\n\\u001b") OVER("stop"), "o(\xC3\xA4\n\x1b)d" },
	{ SSE,
	  ": hello\r\n\r\nevent: ping\r\ndata: no JSON\r\n\r\ndata\r\n\r\n" DELTA("x") OVER("stop"),
	  "o(x)d" },

	/* other choices, other members */
	{ SSE,
	  DATA("{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}},"
	       "{\"index\":0,\"delta\":{\"content\":\"a\"}}]}") DONE,
	  "o(a)d" },
	{ SSE, DATA("{\"choices\":[{\"delta\":{\"refusal\":\"no\",\"content\":null}}]}") DONE,
	  "o(no)d" },
	{ SSE, DATA("{\"choices\":[{\"index\":0,\"delta\":{\"content\":[1]}}],\"error\":null}") DONE,
	  "d" },
	{ SSE, DATA("{\"choices\":{}}") DATA("[]") DATA("7") DATA("{\"usage\":7}") DONE, "d" },
	{ SSE, DATA("{\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":\"x\"}}") DONE, "d" },

	/* failures */
	{ SSE, DELTA("x"), "o(x)f(the stream ended before the answer was whole)" },
	{ SSE, "", "f(the stream ended before the answer was whole)" },
	{ SSE, DELTA("x") DATA("{\"error\":{\"message\":\"no\\nGPU\\u001b[2J\"}}") DELTA("y"),
	  "o(x)f(no?GPU?[2J)" },
	{ SSE, DATA("{\"error\":\"overloaded\"}"), "f(overloaded)" },
	{ SSE, DATA("{\"error\":{\"message\":\"\",\"type\":\"server_error\"}}"), "f(server_error)" },
	{ SSE, "event: error\n" DATA("{\"error\":{}}"), "f(the server says that it failed, not why)" },
	{ SSE, DELTA("x") OVER("content_filter"),
	  "o(x)l(finish_reason: content_filter\n)f(the server's content filter held the answer back)" },
	{ SSE, DATA("{\"choices\":[{\"delta\":{\"content\":\"\xFF\"}}]}"),
	  "f(an event of the stream is not JSON: line 1, column 33: unable to decode byte 0xff near "
	  "'\"')" },
	{ SSE, DATA("<html>"),
	  "f(an event of the stream is not JSON: line 1, column 1: invalid token near '<')" },

	/* whole */
	{ JSON,
	  "{\"choices\":[{\"message\":{\"content\":\"Hello\"},\"finish_reason\":\"stop\"}],"
	  "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}",
	  "o(Hello)" SPENT "d" },
	{ JSON, "{\"choices\":[{\"message\":{\"content\":null}}]}", "d" },
	{ JSON, "{\"choices\":[]}", "f(the answer has no choices: it is no chat completion)" },
	{ JSON, "[]", "f(the answer has no choices: it is no chat completion)" },
	{ JSON, "{\"error\":{\"message\":\"no\"}}", "f(no)" },
	{ JSON, "", "f(the answer is not JSON: line 1, column 1: unexpected token near end of file)" },
	{ "text/html", "<html>", "t(its answer is 'text/html', which is no chat completion)" },
	{ "", "", "t(its answer is '', which is no chat completion)" },
};

START_TEST(reads_answers)
{
	const char *const none[] = { NULL };
	struct chatter c;
	struct mer_str body = { answers[_i].body, strlen(answers[_i].body) };
	set_up(&c, none, false);
	for (size_t most = 1; most <= body.len + 1; most++) {
		ck_assert(build(&c, (struct mer_str)BYTES("hi"), NULL) == MER_OK);
		mer_buf_clear(&c.seen);
		answer(&c, answers[_i].type, body, most);
		ck_assert_msg(strcmp(c.seen.ptr, answers[_i].want) == 0, "row %d, in pieces of %zu: '%s'",
		              _i, most, c.seen.ptr);
		http_openai.over(c.api);
	}
	tear_down(&c);
}
END_TEST

/* A hostile server: an event, and an answer that is no stream, over their bounds. */
START_TEST(bounds_answers)
{
	enum { LEN = 65 << 20 };
	const char *const none[] = { NULL };
	struct chatter c;
	MER_AUTO(mer_text_done) char *body = malloc(LEN);
	ck_assert_ptr_nonnull(body);
	memset(body, 'x', LEN);
	memcpy(body, "data: ", 6);
	set_up(&c, none, false);
	ck_assert(build(&c, (struct mer_str)BYTES("hi"), NULL) == MER_OK);
	answer(&c, SSE, (struct mer_str){ body, LEN }, 65536);
	ck_assert_str_eq(c.seen.ptr, "f!(an event of the stream is over 4194304 bytes)");
	mer_buf_clear(&c.seen);
	answer(&c, JSON, (struct mer_str){ body, LEN }, 65536);
	ck_assert_str_eq(c.seen.ptr, "f!(its answer is over 67108864 bytes)");
	http_openai.over(c.api);
	tear_down(&c);
}
END_TEST

/* --- sessions ------------------------------------------------------------------------------- */

static void ask(struct chatter *c, const char *input, const char *type, const char *body)
{
	struct mer_error err;
	ck_assert_msg(build(c, (struct mer_str){ input, strlen(input) }, &err) == MER_OK, "%s",
	              err.message);
	answer(c, type, (struct mer_str){ body, strlen(body) }, 7);
	http_openai.over(c->api);
}

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define MODEL(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define SYSTEM "{\"role\":\"system\",\"content\":\"s\"},"

START_TEST(keeps_what_a_session_said)
{
	const char *const params[] = { "system=s", NULL };
	struct chatter c;
	set_up(&c, params, true);
	ask(&c, "one", SSE, DELTA("a") DELTA("b\\n") DONE);
	ask(&c, "lost", SSE, DELTA("never")); /* it broke off */
	ask(&c, "lost", JSON,
	    "{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"error\":\"e\"}"); /* it failed */
	ck_assert(build(&c, (struct mer_str)BYTES("lost"), NULL) == MER_OK);      /* none came */
	http_openai.over(c.api);
	ask(&c, "[" USER("two") "," MODEL("2") "," USER("three") "]", JSON,
	    "{\"choices\":[{\"message\":{\"content\":\"c\"}}]}");
	ck_assert(build(&c, (struct mer_str)BYTES("four"), NULL) == MER_OK);
	ck_assert_str_eq(c.request.piece[0].ptr,
	                 HEAD SYSTEM USER("one") "," MODEL("ab\\n") "," USER("two") "," MODEL(
						 "2") "," USER("three") "," MODEL("c") "," USER("four") "]}");
	http_openai.over(c.api);
	tear_down(&c);
}
END_TEST

START_TEST(keeps_nothing_without_a_session)
{
	const char *const none[] = { NULL };
	struct chatter c;
	set_up(&c, none, false);
	ask(&c, "one", SSE, DELTA("a") DONE);
	ck_assert(build(&c, (struct mer_str)BYTES("hi"), NULL) == MER_OK);
	ck_assert_str_eq(c.request.piece[0].ptr, HEAD HI "]}");
	http_openai.over(c.api);
	tear_down(&c);
}
END_TEST

START_TEST(bounds_sessions)
{
	enum { LEN = 9 << 20 };
	const char *const none[] = { NULL };
	struct chatter c;
	struct mer_error err;
	MER_AUTO(mer_text_done) char *input = malloc(LEN);
	ck_assert_ptr_nonnull(input);
	memset(input, 'x', LEN);
	input[LEN - 1] = '\0';
	set_up(&c, none, true);
	ask(&c, input, SSE, DELTA("a") DONE);
	ck_assert(build(&c, (struct mer_str){ input, LEN - 1 }, &err) == MER_EINPUT);
	ck_assert_str_eq(err.message, "the conversation is over 16777216 bytes: begin another one");
	ck_assert(build(&c, (struct mer_str)BYTES("hi"), NULL) == MER_OK);
	http_openai.over(c.api);
	tear_down(&c);
}
END_TEST

/* --- whether it is there -------------------------------------------------------------------- */

static const struct {
	bool model;
	const char *body, *want; /* NULL: it is there */
} lists[] = {
	{ false, "{\"data\":[]}", NULL },
	{ true, "{\"data\":[{\"id\":\"x\"},{\"id\":\"m\\\"1\"}]}", NULL },
	{ true, "{\"data\":[{\"id\":\"m\\\"1:latest\"}]}", NULL },
	{ true, "{\"data\":[{\"id\":\"m\\\"12\"},{\"id\":\"m\"},{},7]}",
	  "it has no model 'm\"1' on its list of 4" },
	{ true, "{\"data\":[]}", "it has no model 'm\"1' on its list of 0" },
	{ false, "{\"detail\":\"Not Found\"}", "it answers, but not with a list of models" },
	{ false, "<html>", "it answers, but not with a list of models" },
	{ false, "", "it answers, but not with a list of models" },
};

START_TEST(says_hello)
{
	const char *const none[] = { NULL };
	struct chatter c;
	struct mer_error err = { .message = "" };
	struct http_response head = { .status = 200, .content_type = "application/json" };
	set_up(&c, none, false);
	ck_assert(http_openai.hello(c.api, lists[_i].model, &c.request, &err) == MER_OK);
	ck_assert_str_eq(c.request.method, "GET");
	ck_assert_str_eq(c.request.path.ptr, "/models");
	struct mer_str body = { lists[_i].body, strlen(lists[_i].body) };
	enum mer_status st = http_openai.heard(c.api, lists[_i].model, &head, body, &err);
	ck_assert_int_eq(st, lists[_i].want == NULL ? MER_OK : MER_EUNREACHABLE);
	if (lists[_i].want != NULL)
		ck_assert_str_eq(err.message, lists[_i].want);
	tear_down(&c);
}
END_TEST

Suite *suite(void)
{
	Suite *all = suite_create("http_chat");
	TCase *tc = tcase_create("chats");
	tcase_add_loop_test(tc, builds_requests, 0, N_ROWS(requests));
	tcase_add_test(tc, takes_no_tensors);
	tcase_add_loop_test(tc, checks_options, 0, N_ROWS(options));
	tcase_add_loop_test(tc, reads_answers, 0, N_ROWS(answers));
	tcase_add_test(tc, bounds_answers);
	tcase_add_test(tc, keeps_what_a_session_said);
	tcase_add_test(tc, keeps_nothing_without_a_session);
	tcase_add_test(tc, bounds_sessions);
	tcase_add_loop_test(tc, says_hello, 0, N_ROWS(lists));
	suite_add_tcase(all, tc);
	return all;
}
