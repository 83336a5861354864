/*
 * Server-Sent Events: bytes go in, events come out, however they were cut.
 *
 * Source: WHATWG HTML, "Interpreting an event stream". Ids and reconnection times are for browsers and
 * are passed over. Bytes are not decoded: who reads an event's data finds what is not UTF-8.
 */
#ifndef MEAL_HTTP_SSE_H
#define MEAL_HTTP_SSE_H

#include <mer/buf.h>
#include <stdbool.h>

struct http_sse_event {
	struct mer_str type; /* "": message */
	struct mer_str data; /* its lines, a newline between them */
};

struct http_sse {
	struct mer_buf line;       /* of which the end has not come */
	struct mer_buf data, type; /* of the event that is not whole */
	bool begun;                /* the first line has been read */
	bool after_cr; /* a newline that comes now belongs to the carriage return before it */
	bool given;    /* data and type were given with the last event */
};

/** A stream at its beginning. No line and no event's data may be over limit bytes. */
void http_sse_init(struct http_sse *sse, size_t limit);

void http_sse_release(struct http_sse *sse);

/** At the beginning again, with the memory that it has. */
void http_sse_clear(struct http_sse *sse);

/**
 * Takes bytes up to the end of the first event, or all.
 *
 * @param taken  how many
 * @param event  borrowed until the next call; written where true is returned
 * @return whether there is one. The rest is to be fed again; what is not ended by an empty line is
 *         no event.
 */
bool http_sse_feed(struct http_sse *sse, const char *bytes, size_t n, size_t *taken,
                   struct http_sse_event *event);

/** MER_ELIMIT or MER_ENOMEM of the first line or event that was too long: nothing comes any more. */
MER_MUST enum mer_status http_sse_check(const struct http_sse *sse, struct mer_error *err);

#endif
