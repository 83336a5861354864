/*
 * The private module `http`: exchanges on a multi handle of libcurl, which the loop drives by a poll
 * handle for each of its sockets and a timer. One multi handle a loop, so that connections are kept for
 * whoever asks the same server next.
 */
#include "http_transport.h"

#include <curl/curl.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define CONNECT_MS 10000L    /* names, connection and TLS: others may be tried behind it */
#define CONNECTIONS_MAX 256L /* that are kept */
#define RECEIVE_SIZE 65536L  /* of a piece of data */
#define ALIVE_IDLE_S 30L     /* without a byte, until the other side is asked whether it is there */
#define ALIVE_EVERY_S 10L    /* and how often */
#define UNHEARD_MS 60000U    /* that what was sent may stay without an acknowledgement */

struct http_client {
	uv_loop_t *loop;
	CURLM *multi;
	int refs, handles;
	bool acting; /* libcurl is, and tells of what it does */
	uv_timer_t timer;
	void (*closed)(void *ctx);
	void *ctx;
	struct http_client *next;
};

struct http_exchange {
	struct http_client *client;
	const struct http_events *events;
	void *ctx;
	CURL *easy;
	struct curl_slist *headers;
	struct mer_str pieces[8];
	size_t n_pieces, at, within; /* of the body: where the next byte is */
	curl_off_t bytes;
	bool handed, stopped;
	bool again;   /* libcurl would have sent it anew */
	bool refused; /* since the server has not begun with it, and has said so */
	char problem[CURL_ERROR_SIZE];
};

struct watched {
	uv_poll_t poll;
	struct http_client *client;
	curl_socket_t socket;
	int events; /* that libcurl waits for */
};

/* Of this thread, whose loops they belong to. */
static _Thread_local struct http_client *clients;

static void reap(struct http_client *client);

/* --- a client on its loop ------------------------------------------------------------------- */

static void on_handle_closed(struct http_client *client)
{
	if (--client->handles > 0)
		return;
	void (*closed)(void *ctx) = client->closed;
	void *ctx = client->ctx;
	free(client);
	closed(ctx);
}

static void on_timer_closed(uv_handle_t *timer)
{
	on_handle_closed(timer->data);
}

static void on_poll_closed(uv_handle_t *poll)
{
	struct watched *watched = poll->data;
	struct http_client *client = watched->client;
	free(watched);
	on_handle_closed(client);
}

static void tear_down(struct http_client *client)
{
	(void)curl_multi_cleanup(client->multi);
	uv_close((uv_handle_t *)&client->timer, on_timer_closed);
}

static void act(struct http_client *client, curl_socket_t socket, int what)
{
	int running;
	client->acting = true;
	(void)curl_multi_socket_action(client->multi, socket, what, &running);
	reap(client);
	client->acting = false;
	if (client->refs == 0) /* closed by whoever was told */
		tear_down(client);
}

static void on_timer(uv_timer_t *timer)
{
	act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* A connection that was reset may have an answer before that, as of a server that does not take all of
 * an input: libcurl is to read, and finds the error behind it. libuv has stopped the handle then. */
static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct watched *watched = poll->data;
	int what = 0;
	if (status < 0) {
		events = UV_READABLE | UV_WRITABLE;
		(void)uv_poll_start(poll, watched->events, on_poll);
	}
	what |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
	what |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
	act(watched->client, watched->socket, what);
}

static int on_set_timer(CURLM *multi, long ms, void *ctx)
{
	struct http_client *client = ctx;
	(void)multi;
	if (uv_is_closing((uv_handle_t *)&client->timer))
		return 0;
	if (ms < 0)
		(void)uv_timer_stop(&client->timer);
	else
		(void)uv_timer_start(&client->timer, on_timer, (uint64_t)ms, 0);
	return 0;
}

static struct watched *watch(struct http_client *client, curl_socket_t socket)
{
	struct watched *watched = calloc(1, sizeof *watched);
	if (watched == NULL)
		return NULL;
	watched->client = client;
	watched->socket = socket;
	watched->poll.data = watched;
	if (uv_poll_init_socket(client->loop, &watched->poll, socket) != 0) {
		free(watched);
		return NULL;
	}
	client->handles++;
	(void)curl_multi_assign(client->multi, socket, watched);
	return watched;
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *ctx, void *of_socket)
{
	struct http_client *client = ctx;
	struct watched *watched = of_socket;
	(void)easy;
	if (what == CURL_POLL_REMOVE && watched != NULL)
		uv_close((uv_handle_t *)&watched->poll, on_poll_closed);
	if (what == CURL_POLL_REMOVE)
		return 0;
	if (watched == NULL && (watched = watch(client, socket)) == NULL)
		return -1;
	int events = (what & CURL_POLL_IN) != 0 ? UV_READABLE : 0;
	events |= (what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0;
	watched->events = events;
	return uv_poll_start(&watched->poll, events, on_poll) == 0 ? 0 : -1;
}

/* Returns NULL when there is no memory for it. */
static struct http_client *make(uv_loop_t *loop)
{
	struct http_client *client = calloc(1, sizeof *client);
	if (client == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
	    (client->multi = curl_multi_init()) == NULL) {
		free(client);
		return NULL;
	}
	client->loop = loop;
	client->handles = 1;
	(void)uv_timer_init(loop, &client->timer);
	client->timer.data = client;
	(void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	(void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	(void)curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_set_timer);
	(void)curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	(void)curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX);
	client->next = clients;
	clients = client;
	return client;
}

static enum mer_status open_client(uv_loop_t *loop, struct http_client **out, struct mer_error *err)
{
	struct http_client *client = clients;
	while (client != NULL && client->loop != loop)
		client = client->next;
	if (client == NULL && (client = make(loop)) == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	client->refs++;
	*out = client;
	return MER_OK;
}

static bool close_client(struct http_client *client, void (*closed)(void *ctx), void *ctx)
{
	struct http_client **at = &clients;
	if (--client->refs > 0)
		return false;
	client->closed = closed;
	client->ctx = ctx;
	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	if (!client->acting)
		tear_down(client);
	return true;
}

/* --- an exchange ---------------------------------------------------------------------------- */

static size_t on_read(char *out, size_t size, size_t n, void *ctx)
{
	struct http_exchange *exchange = ctx;
	size_t room = size * n, len = 0;
	while (len < room && exchange->at < exchange->n_pieces) {
		const struct mer_str *piece = &exchange->pieces[exchange->at];
		size_t left = piece->len - exchange->within, take = left < room - len ? left : room - len;
		if (take > 0)
			memcpy(out + len, piece->ptr + exchange->within, take);
		len += take;
		exchange->within += take;
		if (exchange->within < piece->len)
			continue;
		exchange->at++;
		exchange->within = 0;
	}
	exchange->handed |= len > 0;
	return len;
}

/* libcurl would send a request anew whose kept connection breaks. Something of its body has gone, so the
 * server may have begun with it: whether it is sent twice is not libcurl's to say. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
	struct http_exchange *exchange = ctx;
	(void)offset, (void)origin;
	exchange->again = true;
	return CURL_SEEKFUNC_FAIL;
}

/* What libcurl says while it works. By this alone it tells that a stream of HTTP/2 was refused, and on a new connection
 * alone: of a kept one it says the same as where that has broken. */
static int on_said(CURL *easy, curl_infotype type, char *text, size_t n, void *ctx)
{
	static const char refused[] = "REFUSED_STREAM";
	struct http_exchange *exchange = ctx;
	(void)easy;
	exchange->refused |= type == CURLINFO_TEXT && n >= sizeof refused - 1 &&
	                     memcmp(text, refused, sizeof refused - 1) == 0;
	return 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct http_exchange *exchange = ctx;
	size_t len = size * n, end = len;
	while (end > 0 && (line[end - 1] == '\n' || line[end - 1] == '\r'))
		end--;
	exchange->stopped = exchange->stopped || !exchange->events->header(exchange->ctx, line, end);
	return exchange->stopped ? 0 : len;
}

static size_t on_write(char *bytes, size_t size, size_t n, void *ctx)
{
	struct http_exchange *exchange = ctx;
	if (exchange->stopped)
		return 0;
	enum http_taken taken = exchange->events->data(exchange->ctx, bytes, size * n);
	exchange->stopped = taken == HTTP_ENOUGH;
	if (taken == HTTP_LATER)
		return CURL_WRITEFUNC_PAUSE;
	return exchange->stopped ? 0 : size * n;
}

/* What was sent and is not acknowledged tells sooner than any other that the other side is gone. No child of
 * ours has it: one that lives on would keep the connection. */
static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *to)
{
	unsigned ms = UNHEARD_MS;
	(void)ctx, (void)purpose;
	int sock = socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
	if (sock < 0)
		return CURL_SOCKET_BAD;
	(void)setsockopt(sock, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
	return sock;
}

static void forget(struct http_exchange *exchange)
{
	if (exchange->easy != NULL)
		curl_easy_cleanup(exchange->easy);
	curl_slist_free_all(exchange->headers);
	free(exchange);
}

/* Whether the server can have had the request. */
static enum http_end end_of(const struct http_exchange *exchange, CURLcode code)
{
	curl_off_t began = 0;
	if (exchange->stopped)
		return HTTP_STOPPED;
	if (code == CURLE_OK)
		return HTTP_WHOLE;
	if (exchange->refused && exchange->again) /* RFC 9113, 8.7 */
		return HTTP_UNSENT;
	(void)curl_easy_getinfo(exchange->easy, CURLINFO_PRETRANSFER_TIME_T, &began);
	return !exchange->handed && (began == 0 || exchange->bytes > 0) ? HTTP_UNSENT : HTTP_LOST;
}

/* What libcurl says of a proxy's URL that it does not understand has all of it, its password too. */
static void hide_proxy(char *problem)
{
	char *open = strchr(problem, '\''), *end = strrchr(problem, '\'');
	if (strncmp(problem, "Unsupported proxy", strlen("Unsupported proxy")) != 0 || open == NULL)
		return;
	static const char hidden[] = "of http_proxy, https_proxy or all_proxy";
	size_t left = CURL_ERROR_SIZE - (size_t)(open - problem);
	char rest[CURL_ERROR_SIZE];
	(void)snprintf(rest, sizeof rest, "%s", end + 1);
	(void)snprintf(open, left, "%s%s", hidden, rest);
}

static void reap(struct http_client *client)
{
	CURLMsg *message;
	int left;
	while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
		struct http_exchange *exchange = NULL;
		char problem[CURL_ERROR_SIZE];
		CURLcode code = message->data.result;
		(void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &exchange);
		const struct http_events *events = exchange->events;
		void *ctx = exchange->ctx;
		enum http_end end = end_of(exchange, code);
		const char *said = end == HTTP_UNSENT && exchange->again ? "it has refused the request"
		                   : exchange->again                     ? "it ended before an answer"
		                   : exchange->problem[0] != '\0'        ? exchange->problem
		                                                         : curl_easy_strerror(code);
		(void)snprintf(problem, sizeof problem, "%s", code != CURLE_OK ? said : "");
		hide_proxy(problem);
		(void)curl_multi_remove_handle(client->multi, exchange->easy);
		forget(exchange);
		events->done(ctx, end, problem);
	}
}

static bool add_headers(struct http_exchange *exchange, const char *const list[])
{
	for (; list != NULL && *list != NULL; list++) {
		struct curl_slist *longer = curl_slist_append(exchange->headers, *list);
		if (longer == NULL)
			return false;
		exchange->headers = longer;
	}
	return true;
}

/* The body is read as it goes, so that it is known what has gone. */
static void set_body(struct http_exchange *exchange, const struct http_send *send)
{
	CURL *easy = exchange->easy;
	for (size_t i = 0; i < exchange->n_pieces; i++)
		exchange->bytes += (curl_off_t)exchange->pieces[i].len;
	(void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, exchange->bytes);
	(void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
	(void)curl_easy_setopt(easy, CURLOPT_READDATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
	(void)curl_easy_setopt(easy, CURLOPT_SEEKDATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, on_said);
	(void)curl_easy_setopt(easy, CURLOPT_DEBUGDATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_VERBOSE, strncmp(send->url, "https", 5) == 0 ? 1L : 0L);
	/* One without a byte would be sent twice unasked. */
	(void)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, exchange->bytes == 0 ? 1L : 0L);
	if (strcmp(send->method, "POST") != 0)
		(void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, send->method);
}

static void set_connection(CURL *easy, const struct http_send *send)
{
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* A name that nobody answers for is left to its thread: to wait for that holds up the loop. */
	(void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	(void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	(void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, ALIVE_IDLE_S);
	(void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, ALIVE_EVERY_S);
	(void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	(void)curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	/* Where HTTP/2 may be offered requests wait for that, and share the connection. */
	(void)curl_easy_setopt(easy, CURLOPT_PIPEWAIT, strncmp(send->url, "https", 5) == 0 ? 1L : 0L);
	if (send->ca_file == NULL)
		return;
	(void)curl_easy_setopt(easy, CURLOPT_CAINFO, send->ca_file);
	(void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* that one alone is trusted */
}

static void set_up(struct http_exchange *exchange, const struct http_send *send)
{
	CURL *easy = exchange->easy;
	set_connection(easy, send);
	(void)curl_easy_setopt(easy, CURLOPT_URL, send->url);
	(void)curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->problem);
	(void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "mer/" MER_VERSION);
	(void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers);
	(void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_SIZE);
	if (exchange->n_pieces > 0)
		set_body(exchange, send);
	else if (strcmp(send->method, "HEAD") == 0)
		(void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
}

static enum mer_status start(struct http_client *client, const struct http_send *send,
                             const struct http_events *events, void *ctx,
                             struct http_exchange **out, struct mer_error *err)
{
	struct http_exchange *exchange = calloc(1, sizeof *exchange);
	if (exchange == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	*exchange = (struct http_exchange){ .client = client, .events = events, .ctx = ctx };
	exchange->n_pieces = send->n_pieces;
	MER_ASSERT(send->n_pieces <= sizeof exchange->pieces / sizeof *exchange->pieces);
	if (send->n_pieces > 0)
		memcpy(exchange->pieces, send->pieces, send->n_pieces * sizeof *send->pieces);
	static const char *const always[] = { "Expect:", NULL }; /* nobody waits for a 100 */
	exchange->easy = curl_easy_init();
	bool made = exchange->easy != NULL && add_headers(exchange, send->headers) &&
	            add_headers(exchange, send->more) && add_headers(exchange, always);
	if (made) {
		set_up(exchange, send);
		made = curl_multi_add_handle(client->multi, exchange->easy) == CURLM_OK;
	}
	if (!made) {
		forget(exchange);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	*out = exchange;
	return MER_OK;
}

static bool resume(struct http_exchange *exchange)
{
	return curl_easy_pause(exchange->easy, CURLPAUSE_CONT) == CURLE_OK;
}

static void stop(struct http_exchange *exchange)
{
	exchange->stopped = true; /* of what is on its way nothing is told */
	(void)curl_multi_remove_handle(exchange->client->multi, exchange->easy);
	forget(exchange);
}

MER_API extern const struct http_transport mer_http;
const struct http_transport mer_http = {
	.version = MER_VERSION,
	.open = open_client,
	.close = close_client,
	.start = start,
	.resume = resume,
	.stop = stop,
};
