/*
 * Answers of chat completions, as a stream or whole: bytes go in, the events of an API come out.
 *
 * Source: OpenAI, "Create chat completion" and "Streaming" of its API reference. Beyond it, as other
 * servers have it: an error may be a text or an object, a stream may end without [DONE] once it has
 * given a reason, and a server may answer whole although it was asked for a stream.
 */
#ifndef MEAL_HTTP_CHAT_H
#define MEAL_HTTP_CHAT_H

#include "http_sse.h"
#include "internal.h"

#include <mer/json.h>

struct http_chat {
	bool streamed;
	struct http_sse sse;
	struct mer_buf whole;    /* of what is no stream */
	json_t *given;           /* whose text the last event borrows */
	bool read;               /* the whole answer was */
	char finish[64];         /* the reason why it is over; "": none came */
	int64_t asked, answered; /* tokens; -1: not told */
	bool ending, logged, done;
	struct mer_buf log;
	struct mer_error problem; /* its status is not MER_OK where it has failed */
};

/** @param limit bytes of an event, and of an answer that is no stream */
void http_chat_init(struct http_chat *chat, bool streamed, size_t limit);
void http_chat_release(struct http_chat *chat);

/** As feed and end of http_api.h. done and problem then say how it ended. */
size_t http_chat_feed(struct http_chat *chat, const char *bytes, size_t n,
                      struct meal_event *event);
void http_chat_end(struct http_chat *chat, struct meal_event *event);

#endif
