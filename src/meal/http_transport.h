/*
 * What carries HTTP: the private module `http` on libcurl. An exchange is a request and its response; it
 * knows nothing of models, follows nothing and tries nothing again by itself.
 */
#ifndef MEAL_HTTP_TRANSPORT_H
#define MEAL_HTTP_TRANSPORT_H

#include <mer/buf.h>
#include <stdbool.h>
#include <stddef.h>

struct uv_loop_s;
struct http_client;   /* the connections of a loop */
struct http_exchange; /* from start until done, or stop */

/* All borrowed until the exchange is over; lists are ended by NULL. */
struct http_send {
	const char *method, *url;
	const char *const *headers;   /* "Name: value" */
	const char *const *more;      /* the same */
	const struct mer_str *pieces; /* of the body */
	size_t n_pieces;
	const char *ca_file; /* NULL: the system's */
};

enum http_end {
	HTTP_WHOLE,   /* the response is at its end, as its framing says */
	HTTP_STOPPED, /* header or data did not want more of it */
	HTTP_UNSENT,  /* the server surely had no request: no connection, or not all of its head went */
	HTTP_LOST,    /* anything else: it may have had it */
};

enum http_taken {
	HTTP_TAKEN,
	HTTP_LATER,  /* none of them: they are given again once it is resumed, and no others before */
	HTTP_ENOUGH, /* no more of it is wanted */
};

/* Never from inside a call of struct http_transport, but for data from resume. */
struct http_events {
	/* A line of a head, an interim one too, without its end; an empty one ends the head. Behind the body
	 * those of its trailer. false: no more. */
	bool (*header)(void *ctx, const char *line, size_t n);
	enum http_taken (*data)(void *ctx, const char *bytes, size_t n);
	/* The last one; the exchange is gone. message says why it is not whole, else "". */
	void (*done)(void *ctx, enum http_end end, const char *message);
};

/* What the module gives. */
struct http_transport {
	const char *version; /* as mer/module.h has it */

	/* The loop's client, which is counted: each open is closed. */
	enum mer_status (*open)(struct uv_loop_s *loop, struct http_client **out,
	                        struct mer_error *err);
	/* All of its exchanges are over; may be called from inside an event. true: it was the last one, and
	 * closed comes later. */
	bool (*close)(struct http_client *client, void (*closed)(void *ctx), void *ctx);

	enum mer_status (*start)(struct http_client *client, const struct http_send *send,
	                         const struct http_events *events, void *ctx,
	                         struct http_exchange **out, struct mer_error *err);
	/* What was to come later may come. Not from inside an event. false: it cannot go on, for want of
	 * memory or since data had enough, and no event follows: it is to be stopped. */
	bool (*resume)(struct http_exchange *exchange);
	/* Ends it; no event follows. Not from inside an event. */
	void (*stop)(struct http_exchange *exchange);
};

#endif
