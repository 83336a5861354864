/* Heads of responses, and statuses; http_status.h. */
#include "http_status.h"

#include <ctype.h>
#include <mer/clean.h>
#include <mer/json.h>
#include <mer/text.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* --- heads ---------------------------------------------------------------------------------- */

void http_head_init(struct http_head *head)
{
	*head = (struct http_head){ .response = { .content_length = -1, .json_length = -1 } };
}

/* "HTTP/1.1 200 OK", "HTTP/2 200 ". Whatever came before was of an interim one. */
static void begin(struct http_head *head, const char *line, size_t n)
{
	const char *space = memchr(line, ' ', n);
	size_t bytes = head->bytes;
	int status = 0;
	http_head_init(head);
	head->bytes = bytes;
	for (size_t i = 1; space != NULL && i <= 3 && space + i < line + n; i++)
		status = isdigit((unsigned char)space[i]) ? 10 * status + (space[i] - '0') : 0;
	head->response.status = status;
}

/* -1: none. */
static int64_t number(struct mer_str value)
{
	char text[24];
	int64_t parsed;
	if (value.len == 0 || value.len >= sizeof text)
		return -1;
	memcpy(text, value.ptr, value.len);
	text[value.len] = '\0';
	return mer_parse_i64(text, &parsed, NULL) == MER_OK && parsed >= 0 ? parsed : -1;
}

static void copy(char *out, size_t size, struct mer_str value)
{
	size_t len = value.len < size ? value.len : size - 1;
	if (len > 0)
		memcpy(out, value.ptr, len);
	out[len] = '\0';
}

static bool is_digits(struct mer_str value)
{
	size_t n = 0;
	while (n < value.len && isdigit((unsigned char)value.ptr[n]))
		n++;
	return n > 0 && n == value.len;
}

/* Seconds to wait, or a date: what Retry-After has. 0: neither. */
static int64_t read_wait(struct mer_str value)
{
	enum { MOST_S = 1000000 };
	char text[40];
	struct tm date = { .tm_sec = 0 };
	int64_t seconds = number(value);
	if (seconds < 0 && is_digits(value)) /* more than there is time */
		return (int64_t)1000 * MOST_S;
	copy(text, sizeof text, value);
	if (seconds < 0 && strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &date) != NULL)
		seconds = (int64_t)timegm(&date) - (int64_t)time(NULL);
	if (seconds < 0)
		return 0;
	return 1000 * (seconds < MOST_S ? seconds : MOST_S);
}

static void take_type(struct http_head *head, struct mer_str value)
{
	char *type = head->response.content_type;
	const char *semicolon = value.len > 0 ? memchr(value.ptr, ';', value.len) : NULL;
	if (semicolon != NULL)
		value.len = (size_t)(semicolon - value.ptr);
	copy(type, sizeof head->response.content_type, value);
	for (size_t i = strlen(type); i > 0 && type[i - 1] == ' '; i--)
		type[i - 1] = '\0';
	for (; *type != '\0'; type++)
		*type = (char)tolower((unsigned char)*type);
}

static bool is_named(struct mer_str name, const char *want)
{
	return name.len == strlen(want) && strncasecmp(name.ptr, want, name.len) == 0;
}

/* Two that differ, or one that is none, is how an answer is told that somebody has slipped in. */
static enum mer_status take_length(struct http_head *head, struct mer_str value,
                                   struct mer_error *err)
{
	int64_t length = number(value), *had = &head->response.content_length;
	if (length < 0 || (*had >= 0 && *had != length))
		return mer_fail(err, MER_EMODEL, "its answer has %s Content-Length: '%.*s'",
		                length < 0 ? "no sensible" : "another",
		                (int)(value.len < 40 ? value.len : 40), value.ptr);
	*had = length;
	return MER_OK;
}

static enum mer_status take(struct http_head *head, struct mer_str name, struct mer_str value,
                            struct mer_error *err)
{
	bool transfer = is_named(name, "transfer-encoding") && !is_named(value, "chunked");
	bool content = is_named(name, "content-encoding");
	if (is_named(name, "content-length"))
		return take_length(head, value, err);
	if (is_named(name, "content-type")) {
		take_type(head, value);
	} else if (is_named(name, "inference-header-content-length")) {
		head->response.json_length = number(value);
	} else if (is_named(name, "retry-after")) {
		head->retry_after_ms = read_wait(value);
	} else if (is_named(name, "location")) {
		copy(head->location, sizeof head->location, value);
	} else if ((content || transfer) && !is_named(value, "identity")) {
		copy(head->encoding, sizeof head->encoding, value);
	}
	return MER_OK;
}

static struct mer_str trimmed(struct mer_str value)
{
	for (; value.len > 0 && (*value.ptr == ' ' || *value.ptr == '\t'); value.ptr++)
		value.len--;
	while (value.len > 0 && (value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t'))
		value.len--;
	return value;
}

enum mer_status http_head_line(struct http_head *head, const char *line, size_t n,
                               struct mer_error *err)
{
	head->bytes += n + 2;
	if (head->bytes > HTTP_HEAD_MAX)
		return mer_fail(err, MER_ELIMIT, "the headers of its answer are over %d bytes",
		                HTTP_HEAD_MAX);
	if (head->whole)
		return MER_OK;
	if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) {
		begin(head, line, n);
		return MER_OK;
	}
	if (n == 0) {
		head->whole = head->response.status >= 200;
		return MER_OK;
	}
	const char *colon = memchr(line, ':', n);
	if (colon == NULL)
		return MER_OK;
	const struct mer_str name = { line, (size_t)(colon - line) };
	return take(head, name, trimmed((struct mer_str){ colon + 1, n - name.len - 1 }), err);
}

/* --- statuses ------------------------------------------------------------------------------- */

static const struct {
	int status;
	enum mer_status means;
} meanings[] = {
	{ 400, MER_EINPUT },       { 401, MER_EUNREACHABLE }, { 403, MER_EUNREACHABLE },
	{ 404, MER_EUNREACHABLE }, { 405, MER_EUNREACHABLE }, { 407, MER_EUNREACHABLE },
	{ 408, MER_ETIMEOUT },     { 410, MER_EUNREACHABLE }, { 413, MER_EINPUT },
	{ 414, MER_EINPUT },       { 415, MER_EINPUT },       { 422, MER_EINPUT },
	{ 429, MER_EBUSY },        { 501, MER_EUNREACHABLE }, { 503, MER_EBUSY },
	{ 504, MER_ETIMEOUT },
};

/* The text in which servers say what is wrong, wherever they put it: OIP {"error": text}, OpenAI
 * {"error": {"message": text}}, FastAPI {"detail": text, or a list of {"msg"}}, others {"message": text}. */
static const char *message_in(const json_t *json)
{
	static const char *const keys[] = { "error", "message", "detail", "msg" };
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		const json_t *member = json_object_get(json, keys[i]);
		if (json_is_array(member))
			member = json_array_get(member, 0);
		if (json_is_object(member)) {
			const json_t *message = json_object_get(member, "message");
			member = message != NULL ? message : json_object_get(member, "msg");
		}
		if (json_is_string(member) && json_string_length(member) > 0)
			return json_string_value(member);
	}
	return NULL;
}

/* The first line of a body that is text for people. */
static struct mer_str first_line(struct mer_str body)
{
	while (body.len > 0 && isspace((unsigned char)*body.ptr)) {
		body.ptr++;
		body.len--;
	}
	const char *end = body.len > 0 ? memchr(body.ptr, '\n', body.len) : NULL;
	if (end != NULL)
		body.len = (size_t)(end - body.ptr);
	while (body.len > 0 && isspace((unsigned char)body.ptr[body.len - 1]))
		body.len--;
	return body;
}

enum { SAID_MOST = 300, SAID_SIZE = SAID_MOST + 8 };

static void explain(const struct http_head *head, struct mer_str body, char out[SAID_SIZE])
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	struct mer_str said = { NULL, 0 };
	const char *message = NULL;
	if (body.len > 0 && mer_json_parse("it", body.ptr, body.len, &json, NULL) == MER_OK)
		message = message_in(json);
	if (message != NULL)
		said = (struct mer_str){ message, strlen(message) };
	else if (strcmp(head->response.content_type, "text/html") != 0)
		said = first_line(body);
	said.len = said.len < SAID_MOST ? said.len : SAID_MOST;
	(void)snprintf(out, SAID_SIZE, "%s%.*s", said.len > 0 ? ": " : "", (int)said.len,
	               said.len > 0 ? said.ptr : "");
}

static enum mer_status judge_redirect(const char *server, const struct http_head *head,
                                      struct mer_error *err)
{
	return mer_fail(err, MER_EUNREACHABLE,
	                "server '%s' answers %d: it is at '%s', and redirects are not followed", server,
	                head->response.status, head->location);
}

enum mer_status http_judge(const char *server, const struct http_head *head, struct mer_str body,
                           struct mer_error *err)
{
	int status = head->response.status;
	/* Below 400 it is nothing that a server of models says. */
	enum mer_status means = status < 400 ? MER_EUNREACHABLE : MER_EMODEL;
	char said[SAID_SIZE];
	if (status >= 300 && status < 400 && head->location[0] != '\0')
		return judge_redirect(server, head, err);
	for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
		if (meanings[i].status == status)
			means = meanings[i].means;
	explain(head, body, said);
	return mer_fail(err, means, "server '%s' answers %d%s", server, status, said);
}
