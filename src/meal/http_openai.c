/* api=openai: chat completions. A run is a request; what it says is built here, what comes back is read
 * by http_chat.c. */
#include "http_api.h"
#include "http_chat.h"
#include "http_template.h"

#include <mer/clean.h>
#include <mer/json.h>
#include <mer/text.h>
#include <string.h>

#define EVENT_MAX ((size_t)4 << 20)   /* bytes of an event, which carries some tokens */
#define ANSWER_MAX ((size_t)64 << 20) /* bytes of an answer that is no stream */
#define SAID_MAX ((size_t)16 << 20)   /* bytes of what a session keeps; no model reads as much */

struct openai {
	struct http_api base;
	json_t *options;    /* members of each request; NULL: none */
	const char *system; /* NULL: no such message; borrowed */
	bool stream;
	struct mer_buf body;   /* of the open run */
	struct mer_buf asked;  /* its messages, a comma between them */
	struct mer_buf answer; /* what came back, where that is kept */
	struct mer_buf said;   /* of the session: its messages, a comma behind each */
	struct http_chat chat;
};

static struct openai *downcast(struct http_api *api)
{
	MER_ASSERT(api->ops == &http_openai);
	return (struct openai *)api;
}

/* --- parameters ----------------------------------------------------------------------------- */

enum mer_status http_openai_check_options(const char *text, struct mer_error *err)
{
	static const char *const own[] = { "messages", "model", "stream" };
	MER_AUTO(mer_json_done) json_t *json = NULL;
	enum mer_status st = mer_json_parse("it", text, strlen(text), &json, err);
	if (st != MER_OK)
		return st;
	if (!json_is_object(json))
		return mer_fail(err, MER_EINPUT, "it is no JSON object");
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (json_object_get(json, own[i]) != NULL)
			return mer_fail(err, MER_EINPUT, "mer sets '%s' itself", own[i]);
	return MER_OK;
}

static enum mer_status init(struct http_api *api, struct mer_error *err)
{
	struct openai *openai = downcast(api);
	const char *options = http_param(api->http, "options");
	const char *stream = http_param(api->http, "stream");
	mer_buf_init(&openai->body, SIZE_MAX);
	mer_buf_init(&openai->asked, SIZE_MAX);
	mer_buf_init(&openai->answer, SAID_MAX);
	mer_buf_init(&openai->said, SAID_MAX);
	openai->system = http_param(api->http, "system");
	openai->stream = stream == NULL || strcmp(stream, "true") == 0;
	if (options == NULL)
		return MER_OK;
	enum mer_status st = http_openai_check_options(options, err);
	if (st == MER_OK)
		st = mer_json_parse("it", options, strlen(options), &openai->options, err);
	return st == MER_OK ? MER_OK : mer_wrap(err, st, "--param options");
}

static void release(struct http_api *api)
{
	struct openai *openai = downcast(api);
	json_decref(openai->options);
	mer_buf_release(&openai->body);
	mer_buf_release(&openai->asked);
	mer_buf_release(&openai->answer);
	mer_buf_release(&openai->said);
	http_chat_release(&openai->chat);
}

/* --- whether it is there -------------------------------------------------------------------- */

static enum mer_status hello(struct http_api *api, bool model, struct http_request *out,
                             struct mer_error *err)
{
	(void)api;
	(void)model;
	(void)err;
	out->method = "GET";
	out->accept = "application/json";
	mer_buf_text(&out->path, "/models");
	return MER_OK;
}

/* Whether a name on a list is the model: "llama3:latest" is called "llama3" as well. */
static bool is_named(const char *listed, const char *model)
{
	size_t len = strlen(model);
	return strncmp(listed, model, len) == 0 && (listed[len] == '\0' || listed[len] == ':');
}

static enum mer_status heard(struct http_api *api, bool model, const struct http_response *head,
                             struct mer_str body, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	const json_t *entry;
	size_t i;
	(void)head;
	enum mer_status st = http_json_parse("the list of models", body, &json, err);
	const json_t *list = json_object_get(json, "data");
	if (st == MER_ENOMEM)
		return st;
	if (!json_is_array(list)) {
		(void)mer_fail(err, MER_EUNREACHABLE, "it answers, but not with a list of models");
		mer_hint(err,
		         "the URL is the one in front of /chat/completions, mostly with /v1 at its end");
		return MER_EUNREACHABLE;
	}
	api->greeted = true;
	if (!model)
		return MER_OK;
	json_array_foreach(list, i, entry) {
		if (is_named(mer_json_get_text(entry, "id", ""), api->http->model))
			return MER_OK;
	}
	return mer_fail(err, MER_EUNREACHABLE, "it has no model '%s' on its list of %zu",
	                api->http->model, json_array_size(list));
}

/* --- requests ------------------------------------------------------------------------------- */

static void add_message(struct mer_buf *buf, const char *role, const char *text, size_t len)
{
	mer_buf_printf(buf, "{\"role\":\"%s\",\"content\":", role);
	mer_json_quote(buf, text, len);
	mer_buf_byte(buf, '}');
}

static bool are_messages(const json_t *list)
{
	const json_t *message;
	size_t i;
	json_array_foreach(list, i, message) {
		if (mer_json_get_text(message, "role", "")[0] == '\0')
			return false;
	}
	return json_array_size(list) > 0;
}

/* Whether the input is no text but JSON that says more: messages, or a request that has some. Gives it
 * then. */
static enum mer_status read_messages(const struct mer_input *input, json_t **out,
                                     struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	size_t at = 0;
	while (at < input->len && strchr(" \t\r\n", input->bytes[at]) != NULL &&
	       input->bytes[at] != '\0')
		at++;
	if (at == input->len || (input->bytes[at] != '{' && input->bytes[at] != '['))
		return MER_OK;
	if (mer_json_parse("the input", input->bytes, input->len, &json, err) == MER_ENOMEM)
		return MER_ENOMEM;
	const json_t *list = json_is_object(json) ? json_object_get(json, "messages") : json;
	if (!are_messages(list))
		return MER_OK;
	*out = json;
	json = NULL;
	return MER_OK;
}

/* Members of the request beside its messages. What is null in the options or in the input is left out. */
static json_t *members_of(const struct openai *openai, const json_t *request, bool *stream)
{
	json_t *all = json_object(), *value;
	const char *name;
	void *next;
	bool good = all != NULL &&
	            json_object_set_new(all, "model", json_string(openai->base.http->model)) == 0;
	*stream = openai->stream;
	if (json_is_boolean(json_object_get(request, "stream")))
		*stream = json_is_true(json_object_get(request, "stream"));
	if (good && *stream)
		good =
			json_object_set_new(all, "stream_options", json_pack("{s:b}", "include_usage", 1)) == 0;
	if (good && openai->options != NULL)
		good = json_object_update(all, openai->options) == 0;
	json_object_foreach((json_t *)(uintptr_t)request, name, value) {
		bool own = strcmp(name, "messages") == 0 || strcmp(name, "model") == 0;
		good = good && (own || json_object_set(all, name, value) == 0);
	}
	good = good && json_object_set_new(all, "stream", json_boolean(*stream)) == 0;
	json_object_foreach_safe(all, next, name, value)
	{
		if (json_is_null(value))
			(void)json_object_del(all, name);
	}
	if (good)
		return all;
	json_decref(all);
	return NULL;
}

/* The run's own messages. Whether they say themselves what the model is to be. */
static bool add_asked(struct mer_buf *buf, const struct mer_input *input, const json_t *given)
{
	const json_t *list = json_is_object(given) ? json_object_get(given, "messages") : given;
	const json_t *message;
	size_t i;
	if (given == NULL) {
		add_message(buf, "user", input->bytes, input->len);
		return false;
	}
	json_array_foreach(list, i, message) {
		if (i > 0)
			mer_buf_byte(buf, ',');
		http_json_add(message, buf);
	}
	const char *first = mer_json_get_text(json_array_get(list, 0), "role", "");
	return strcmp(first, "system") == 0 || strcmp(first, "developer") == 0;
}

static enum mer_status check_input(const struct mer_input *input, struct mer_error *err)
{
	enum mer_status st = meal_check_plain(input, err);
	return st == MER_OK ? http_json_check((struct mer_str){ input->bytes, input->len }, err) : st;
}

static enum mer_status fill_body(struct openai *openai, const struct mer_input *input,
                                 const json_t *given, bool *stream, struct mer_error *err)
{
	MER_AUTO(mer_json_done)
	json_t *members = members_of(openai, json_is_object(given) ? given : NULL, stream);
	if (members == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	mer_buf_clear(&openai->body);
	mer_buf_clear(&openai->asked);
	bool has_system = add_asked(&openai->asked, input, given);
	bool kept = mer_buf_check(&openai->said, NULL) == MER_OK;
	if (!kept || (openai->said.len > 0 && openai->asked.len > SAID_MAX - openai->said.len))
		return mer_fail(err, MER_EINPUT, "the conversation is over %zu bytes: begin another one",
		                SAID_MAX);
	struct mer_buf *body = &openai->body;
	http_json_add(members, body);
	if (body->len > 0)
		body->len--; /* its brace */
	mer_buf_text(body, ",\"messages\":[");
	if (openai->system != NULL && !has_system) {
		add_message(body, "system", openai->system, strlen(openai->system));
		mer_buf_byte(body, ',');
	}
	mer_buf_add(body, openai->said.ptr, openai->said.len);
	mer_buf_add(body, openai->asked.ptr, openai->asked.len);
	mer_buf_text(body, "]}");
	enum mer_status st = mer_buf_check(&openai->asked, err);
	return st == MER_OK ? mer_buf_check(body, err) : st;
}

static enum mer_status build(struct http_api *api, const struct mer_input *input,
                             struct http_request *out, struct mer_error *err)
{
	struct openai *openai = downcast(api);
	MER_AUTO(mer_json_done) json_t *given = NULL;
	bool stream = true;
	enum mer_status st = check_input(input, err);
	if (st == MER_OK)
		st = read_messages(input, &given, err);
	if (st == MER_OK)
		st = fill_body(openai, input, given, &stream, err);
	if (st != MER_OK)
		return st;
	mer_buf_clear(&openai->answer);
	out->method = "POST";
	mer_buf_text(&out->path, "/chat/completions");
	out->piece[0] = (struct mer_str){ openai->body.ptr, openai->body.len };
	out->n_pieces = 1;
	out->content_type = "application/json";
	out->accept = stream ? "text/event-stream" : "application/json";
	return MER_OK;
}

/* --- answers -------------------------------------------------------------------------------- */

static enum mer_status take(struct http_api *api, const struct http_response *head,
                            struct mer_error *err)
{
	struct openai *openai = downcast(api);
	bool streamed = strcmp(head->content_type, "text/event-stream") == 0;
	if (!streamed && strcmp(head->content_type, "application/json") != 0)
		return mer_fail(err, MER_EMODEL, "its answer is '%s', which is no chat completion",
		                head->content_type);
	http_chat_release(&openai->chat);
	http_chat_init(&openai->chat, streamed, streamed ? EVENT_MAX : ANSWER_MAX);
	return MER_OK;
}

/* What the model says is told to it again with the next question of its session. */
static void keep(struct openai *openai, const struct meal_event *event)
{
	if (openai->base.session && event->kind == MEAL_OUTPUT)
		mer_buf_add(&openai->answer, event->bytes.ptr, event->bytes.len);
}

static size_t feed(struct http_api *api, const char *bytes, size_t n, struct meal_event *event)
{
	struct openai *openai = downcast(api);
	size_t taken = http_chat_feed(&openai->chat, bytes, n, event);
	keep(openai, event);
	return taken;
}

static void end(struct http_api *api, struct meal_event *event)
{
	struct openai *openai = downcast(api);
	http_chat_end(&openai->chat, event);
	keep(openai, event);
}

/* A question that was not answered was not asked. */
static void over(struct http_api *api)
{
	struct openai *openai = downcast(api);
	const struct http_chat *chat = &openai->chat;
	if (api->session && chat->done && chat->problem.status == MER_OK) {
		mer_buf_add(&openai->said, openai->asked.ptr, openai->asked.len);
		mer_buf_byte(&openai->said, ',');
		add_message(&openai->said, "assistant", openai->answer.ptr, openai->answer.len);
		mer_buf_byte(&openai->said, ',');
		if (openai->answer.status != MER_OK)
			openai->said.status = openai->answer.status;
	}
	http_chat_release(&openai->chat);
	http_chat_init(&openai->chat, true, EVENT_MAX);
	mer_buf_release(&openai->body);
	mer_buf_release(&openai->asked);
	mer_buf_release(&openai->answer);
}

const struct http_api_ops http_openai = {
	.name = "openai",
	.size = sizeof(struct openai),
	.asks_first = false,
	.init = init,
	.release = release,
	.hello = hello,
	.heard = heard,
	.build = build,
	.take = take,
	.feed = feed,
	.end = end,
	.over = over,
};
