/* Chat completions: what a server says. */
#include "http_chat.h"

#include "http_template.h"

#include <mer/clean.h>
#include <string.h>

void http_chat_init(struct http_chat *chat, bool streamed, size_t limit)
{
	*chat = (struct http_chat){ .streamed = streamed, .asked = -1, .answered = -1 };
	http_sse_init(&chat->sse, limit);
	mer_buf_init(&chat->whole, limit);
	mer_buf_init(&chat->log, SIZE_MAX);
}

void http_chat_release(struct http_chat *chat)
{
	http_sse_release(&chat->sse);
	mer_buf_release(&chat->whole);
	mer_buf_release(&chat->log);
	json_decref(chat->given);
	chat->given = NULL;
}

/* --- the end -------------------------------------------------------------------------------- */

/* First what is to be known of a run that went well, then that it is over. */
static void finish(struct http_chat *chat, struct meal_event *event)
{
	chat->ending = true;
	if (!chat->logged) {
		chat->logged = true;
		if (chat->finish[0] != '\0' && strcmp(chat->finish, "stop") != 0)
			mer_buf_printf(&chat->log, "finish_reason: %s\n", chat->finish);
		if (chat->asked >= 0 || chat->answered >= 0)
			mer_buf_printf(&chat->log, "usage: prompt_tokens=%lld completion_tokens=%lld\n",
			               (long long)chat->asked, (long long)chat->answered);
		if (chat->log.len > 0 && chat->log.status == MER_OK) {
			event->kind = MEAL_LOG;
			event->bytes = (struct mer_str){ chat->log.ptr, chat->log.len };
			return;
		}
	}
	chat->done = true;
	event->kind = MEAL_DONE;
	event->status = chat->problem.status;
	event->bytes = (struct mer_str){ chat->problem.message, strlen(chat->problem.message) };
}

static void fail(struct http_chat *chat, enum mer_status status, const char *message,
                 struct meal_event *event)
{
	if (message != chat->problem.message)
		(void)mer_fail(&chat->problem, status, "%s", message);
	finish(chat, event);
}

/* --- what is in it -------------------------------------------------------------------------- */

static const char *error_text(const json_t *error)
{
	static const char *const members[] = { "message", "type", "code" };
	const char *text = json_is_string(error) ? json_string_value(error) : "";
	for (size_t i = 0; text[0] == '\0' && i < sizeof members / sizeof *members; i++)
		text = mer_json_get_text(error, members[i], "");
	return text[0] != '\0' ? text : "the server says that it failed, not why";
}

/* The one answer that is asked for. */
static const json_t *first_choice(const json_t *json)
{
	const json_t *list = json_object_get(json, "choices"), *choice;
	size_t i;
	json_array_foreach(list, i, choice) {
		if (mer_json_get_i64(choice, "index", 0) == 0)
			return choice;
	}
	return NULL;
}

/* Takes what an event or an answer says beside its text; part is where that stands. */
static struct mer_str take_text(struct http_chat *chat, const json_t *json, const char *part)
{
	const json_t *choice = first_choice(json), *usage = json_object_get(json, "usage");
	const json_t *message = json_object_get(choice, part);
	const json_t *text = json_object_get(message, "content");
	if (!json_is_string(text))
		text = json_object_get(message, "refusal");
	const char *reason = mer_json_get_text(choice, "finish_reason", "");
	if (reason[0] != '\0')
		(void)snprintf(chat->finish, sizeof chat->finish, "%s", reason);
	chat->asked = mer_json_get_i64(usage, "prompt_tokens", chat->asked);
	chat->answered = mer_json_get_i64(usage, "completion_tokens", chat->answered);
	return (struct mer_str){ json_string_value(text), json_string_length(text) };
}

/* A document that was sent: an event of the stream, or all. Gives its text, or fails. */
static void take_document(struct http_chat *chat, const char *what, struct mer_str text,
                          struct meal_event *event)
{
	json_t *json = NULL;
	if (http_json_parse(what, text, &json, &chat->problem) != MER_OK) {
		fail(chat, chat->problem.status, chat->problem.message, event);
		return;
	}
	json_decref(chat->given);
	chat->given = json;
	const json_t *error = json_object_get(json, "error");
	if (error != NULL && !json_is_null(error)) {
		fail(chat, MER_EMODEL, error_text(error), event);
		return;
	}
	struct mer_str said = take_text(chat, json, chat->streamed ? "delta" : "message");
	if (strcmp(chat->finish, "content_filter") == 0) {
		fail(chat, MER_EMODEL, "the server's content filter held the answer back", event);
	} else if (!chat->streamed && first_choice(json) == NULL) {
		fail(chat, MER_EMODEL, "the answer has no choices: it is no chat completion", event);
	} else if (said.len > 0) {
		event->kind = MEAL_OUTPUT;
		event->bytes = said;
	}
}

static bool is_text(struct mer_str a, const char *b)
{
	return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0;
}

static void on_event(struct http_chat *chat, const struct http_sse_event *came,
                     struct meal_event *event)
{
	bool known =
		came->type.len == 0 || is_text(came->type, "message") || is_text(came->type, "error");
	if (!known || came->data.len == 0)
		return;
	if (is_text(came->data, "[DONE]"))
		finish(chat, event);
	else
		take_document(chat, "an event of the stream", came->data, event);
}

/* --- bytes ---------------------------------------------------------------------------------- */

static void check_whole(struct http_chat *chat, struct meal_event *event)
{
	enum mer_status st = mer_buf_check(&chat->whole, NULL);
	if (st == MER_ELIMIT)
		(void)mer_fail(&chat->problem, st, "its answer is over %zu bytes", chat->whole.limit);
	else if (st != MER_OK)
		(void)mer_fail(&chat->problem, st, "out of memory");
	if (st != MER_OK)
		finish(chat, event);
}

size_t http_chat_feed(struct http_chat *chat, const char *bytes, size_t n, struct meal_event *event)
{
	struct http_sse_event came;
	size_t taken = n;
	event->kind = MEAL_NOTHING;
	if (chat->ending) {
		finish(chat, event);
		return n;
	}
	if (!chat->streamed) {
		mer_buf_add(&chat->whole, bytes, n);
		check_whole(chat, event);
		return n;
	}
	if (http_sse_feed(&chat->sse, bytes, n, &taken, &came))
		on_event(chat, &came, event);
	else if (http_sse_check(&chat->sse, &chat->problem) != MER_OK)
		finish(chat, event);
	return taken;
}

void http_chat_end(struct http_chat *chat, struct meal_event *event)
{
	event->kind = MEAL_NOTHING;
	if (!chat->ending && !chat->streamed && !chat->read) {
		chat->read = true;
		take_document(chat, "the answer", (struct mer_str){ chat->whole.ptr, chat->whole.len },
		              event);
		if (event->kind != MEAL_NOTHING)
			return;
	}
	if (!chat->ending && chat->streamed && chat->finish[0] == '\0')
		fail(chat, MER_EMODEL, "the stream ended before the answer was whole", event);
	else
		finish(chat, event);
}
