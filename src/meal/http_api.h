/*
 * What the bytes of a server of kind http mean. An API builds requests and reads responses; it does no
 * I/O, so that it is tested and fuzzed without a socket. http_worker.c puts APIs and transport together:
 * it follows no redirect, judges every status that is not 2xx (http_status.c), bounds bodies and outputs,
 * and keeps the key: none of that is an API's.
 *
 * One struct http_api is what a worker has of it, which answers one run at a time; what a session has
 * told is kept there (session). A response is read by take, then feed until its end, then end.
 */
#ifndef MEAL_HTTP_API_H
#define MEAL_HTTP_API_H

#include "internal.h"

#include <mer/http.h>

enum { HTTP_PIECES_MAX = 3, HTTP_HEADERS_MAX = 4 }; /* of these an API has all but one */

/* A request that an API has built. Texts and pieces are borrowed from the API, from its room, or
 * from the run's input, until the next build or hello. */
struct http_request {
	const char *method;  /* "POST" */
	struct mer_buf path; /* behind the server's URL, with its slash: "/v2/models/iris/infer"; "" the
	                      * URL itself. Kept by the worker, cleared before each build */
	struct mer_str piece[HTTP_PIECES_MAX]; /* of the body, one behind the other */
	size_t n_pieces;
	const char *content_type;           /* NULL: no body */
	const char *accept;                 /* NULL: anything */
	char header[HTTP_HEADERS_MAX][128]; /* further ones: "Name: value" */
	size_t n_headers;
};

/* The head of a response whose status is 2xx. */
struct http_response {
	int status;
	char content_type[128]; /* in lower case, without parameters; "": none */
	int64_t content_length; /* -1: not told */
	int64_t json_length;    /* Inference-Header-Content-Length; -1: not told */
};

struct http_api_ops;

/* First member of each API's own struct; zeroed before init. */
struct http_api {
	const struct http_api_ops *ops;
	const struct mer_http *http; /* server, model and parameters; outlives it */
	enum mer_http_probe probe;   /* of its worker */
	int64_t max_output;    /* bytes a run; 0: no limit. An answer that has to be whole in memory
	                              * may have as many */
	bool session;          /* what a run was told and has answered, the next one is told again */
	bool greeted;          /* nothing is left that hello would ask. The API's */
	bool any_status;       /* of the request that hello has made: heard takes them all */
	const char *announced; /* what a server says of its model: a JSON object with "inputs" and
	                              * "outputs" as in ready of docs/wire.md; NULL: nothing. The API's */
};

/* They never block and call nobody. Messages say what the server did, and do not name it. */
struct http_api_ops {
	const char *name;
	size_t size;     /* of the API's own struct */
	bool asks_first; /* a worker is ready once hello was answered; else at once */

	/* MER_EINPUT where a parameter is wrong. release follows it either way. */
	enum mer_status (*init)(struct http_api *api, struct mer_error *err);
	void (*release)(struct http_api *api);

	/* A request without a body that tells whether the server is there (model false) or that model is
	 * ready; asked again until the API is greeted. */
	enum mer_status (*hello)(struct http_api *api, bool model, struct http_request *out,
	                         struct mer_error *err);
	/* Its answer, whole and, but for any_status, 2xx. MER_EUNREACHABLE: it is not ready, or speaks
	 * something else. */
	enum mer_status (*heard)(struct http_api *api, bool model, const struct http_response *head,
	                         struct mer_str body, struct mer_error *err);

	/* Opens a run. MER_EINPUT: it cannot be asked so; MER_ENOMEM. Then nothing has changed. May be
	 * called again for the same input, where the server was busy. */
	enum mer_status (*build)(struct http_api *api, const struct mer_input *input,
	                         struct http_request *out, struct mer_error *err);

	/* The head of its response. Anything but MER_OK ends the run with err. */
	enum mer_status (*take)(struct http_api *api, const struct http_response *head,
	                        struct mer_error *err);

	/* Takes some of the bytes, gives at most one event (META, OUTPUT, LOG, DONE), and returns how many
	 * it took. To be called again with the rest until there is none and the event is MEAL_NOTHING. A
	 * DONE that is not MER_OK ends the run with bytes as its message; behind one that is, what still
	 * comes is not read. */
	size_t (*feed)(struct http_api *api, const char *bytes, size_t n, struct meal_event *event);

	/* The body is at its end, as its framing says. As feed, called until the event is DONE. */
	void (*end)(struct http_api *api, struct meal_event *event);

	/* The run is over, however it ended: what it owns is freed. Follows each build that was MER_OK,
	 * once a run. */
	void (*over)(struct http_api *api);
};

extern const struct http_api_ops http_oip, http_openai, http_plain;

/* Whether a text may be the parameter `options` of the API openai. */
MER_MUST enum mer_status http_openai_check_options(const char *text, struct mer_error *err);

/* A parameter of the API's own, as the server's row has it; NULL: not given. */
const char *http_param(const struct mer_http *http, const char *name);

/* Whether the server has a header of that line's name ("Name: value") of its own. */
bool http_has_header(const struct mer_http *http, const char *line);

/* Covers secrets in what a server says is wrong: it may say again what it was sent. */
void http_hide(const struct mer_http *http, char *text, size_t len);

/* Appends text so that it is one segment of a path (RFC 3986). */
void http_add_segment(struct mer_buf *path, const char *text);

#endif
