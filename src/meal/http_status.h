/* What the head of a response says, and what a status that is not 2xx means. Pure. */
#ifndef MEAL_HTTP_STATUS_H
#define MEAL_HTTP_STATUS_H

#include "http_api.h"

enum { HTTP_HEAD_MAX = 65536 }; /* bytes of a response's heads, interim ones and its trailer too */

struct http_head {
	struct http_response response;
	bool whole; /* its last line has come; what comes then is of a trailer */
	size_t bytes;
	char location[256], encoding[64]; /* "": none */
	int64_t retry_after_ms;           /* 0: not told */
};

void http_head_init(struct http_head *head);

/* Takes a line without its end; an empty one ends a head. MER_ELIMIT: they are too many; MER_EMODEL: it
 * makes no sense of the answer's end. */
enum mer_status http_head_line(struct http_head *head, const char *line, size_t n,
                               struct mer_error *err);

/* Whether it is an answer, whose body is the API's. */
static inline bool http_head_is_good(const struct http_head *head)
{
	return head->response.status >= 200 && head->response.status < 300;
}

/* Whether it says that there is a server, which wants nobody now. A bare 503 may as well come from what
 * stands in front of one that is not there, or not ready. */
static inline bool http_head_is_busy(const struct http_head *head)
{
	int status = head->response.status;
	return status == 429 || (status == 503 && head->retry_after_ms > 0);
}

/* What it means that it is none, with what the server says of it: the beginning of its body. Never
 * MER_OK. */
enum mer_status http_judge(const char *server, const struct http_head *head, struct mer_str body,
                           struct mer_error *err);

#endif
