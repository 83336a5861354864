/* Server-Sent Events, line by line. */
#include "http_sse.h"

#include <string.h>

void http_sse_init(struct http_sse *sse, size_t limit)
{
	*sse = (struct http_sse){ .begun = false };
	mer_buf_init(&sse->line, limit);
	mer_buf_init(&sse->data, limit);
	mer_buf_init(&sse->type, limit);
}

void http_sse_release(struct http_sse *sse)
{
	mer_buf_release(&sse->line);
	mer_buf_release(&sse->data);
	mer_buf_release(&sse->type);
}

static void forget_event(struct http_sse *sse)
{
	mer_buf_clear(&sse->data);
	mer_buf_clear(&sse->type);
	sse->given = false;
}

void http_sse_clear(struct http_sse *sse)
{
	mer_buf_clear(&sse->line);
	forget_event(sse);
	sse->begun = sse->after_cr = false;
}

enum mer_status http_sse_check(const struct http_sse *sse, struct mer_error *err)
{
	enum mer_status st = mer_buf_check(&sse->line, NULL);
	if (st == MER_OK)
		st = mer_buf_check(&sse->data, NULL);
	if (st == MER_OK)
		st = mer_buf_check(&sse->type, NULL);
	if (st == MER_ELIMIT)
		return mer_fail(err, st, "an event of the stream is over %zu bytes", sse->line.limit);
	return st == MER_OK ? st : mer_fail(err, st, "out of memory for an event of the stream");
}

static bool is_field(struct mer_str name, const char *field)
{
	return name.len == strlen(field) && memcmp(name.ptr, field, name.len) == 0;
}

/* A line of the event that is not whole yet. Data is kept with a newline behind each line, so that an
 * empty line of it counts. */
static void take_field(struct http_sse *sse, struct mer_str line)
{
	const char *colon = memchr(line.ptr, ':', line.len);
	struct mer_str name = { line.ptr, colon != NULL ? (size_t)(colon - line.ptr) : line.len };
	struct mer_str value = { line.ptr + line.len, 0 };
	if (colon != NULL) {
		value = (struct mer_str){ colon + 1, line.len - name.len - 1 };
		bool space = value.len > 0 && value.ptr[0] == ' ';
		value.ptr += space;
		value.len -= space;
	}
	if (is_field(name, "data")) {
		mer_buf_add(&sse->data, value.ptr, value.len);
		mer_buf_byte(&sse->data, '\n');
	} else if (is_field(name, "event")) {
		mer_buf_clear(&sse->type);
		mer_buf_add(&sse->type, value.ptr, value.len);
	}
}

/* A whole line, without its end. Whether an event is whole with it. */
static bool take_line(struct http_sse *sse, struct mer_str line)
{
	static const char bom[] = "\xEF\xBB\xBF";
	if (!sse->begun && line.len >= 3 && memcmp(line.ptr, bom, 3) == 0)
		line = (struct mer_str){ line.ptr + 3, line.len - 3 };
	sse->begun = true;
	if (line.len > 0) {
		take_field(sse, line);
		return false;
	}
	if (sse->data.len > 0)
		return true;
	forget_event(sse);
	return false;
}

bool http_sse_feed(struct http_sse *sse, const char *bytes, size_t n, size_t *taken,
                   struct http_sse_event *event)
{
	size_t at = 0;
	bool whole = false;
	if (sse->given)
		forget_event(sse);
	while (at < n && !whole && http_sse_check(sse, NULL) == MER_OK) {
		at += sse->after_cr && bytes[at] == '\n';
		sse->after_cr = false;
		size_t from = at;
		while (at < n && bytes[at] != '\n' && bytes[at] != '\r')
			at++;
		if (at == n || sse->line.len > 0 || at - from > sse->line.limit)
			mer_buf_add(&sse->line, bytes + from, at - from);
		if (at == n || http_sse_check(sse, NULL) != MER_OK)
			break;
		sse->after_cr = bytes[at] == '\r';
		bool kept = sse->line.len > 0;
		whole = take_line(sse, kept ? (struct mer_str){ sse->line.ptr, sse->line.len }
		                            : (struct mer_str){ bytes + from, at - from });
		mer_buf_clear(&sse->line);
		at++;
	}
	bool good = http_sse_check(sse, NULL) == MER_OK;
	*taken = good ? at : n;
	if (!whole || !good)
		return false;
	event->type = (struct mer_str){ sse->type.len > 0 ? sse->type.ptr : "", sse->type.len };
	event->data = (struct mer_str){ sse->data.ptr, sse->data.len - 1 };
	sse->given = true;
	return true;
}
