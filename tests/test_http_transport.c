/* What carries HTTP, without a server: the port that is asked is nobody's. */
#include "../src/meal/http_transport.h"
#include "check_main.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

extern const struct http_transport mer_http;

static struct one {
	struct http_client *client;
	struct http_exchange *exchange;
	int done, closed;
	bool last;
} ones[2];

static void on_closed(void *ctx)
{
	((struct one *)ctx)->closed++;
}

static bool on_header(void *ctx, const char *line, size_t n)
{
	(void)ctx, (void)line, (void)n;
	return true;
}

static enum http_taken on_data(void *ctx, const char *bytes, size_t n)
{
	(void)ctx, (void)bytes, (void)n;
	return HTTP_TAKEN;
}

static void on_done(void *ctx, enum http_end end, const char *message)
{
	struct one *one = ctx;
	ck_assert_msg(end == HTTP_UNSENT && message[0] != '\0', "%d: %s", (int)end, message);
	one->done++;
	one->last = mer_http.close(one->client, on_closed, one);
}

static const struct http_events events = { .header = on_header, .data = on_data, .done = on_done };

/* Bound, so that nobody else gets it, and not listening. */
static int take_port(char url[64])
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof address;
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(0, bind(sock, (const struct sockaddr *)&address, size));
	ck_assert_int_eq(0, getsockname(sock, (struct sockaddr *)&address, &size));
	(void)snprintf(url, 64, "http://127.0.0.1:%d/", ntohs(address.sin_port));
	return sock;
}

/* Each exchange's end closes its client; the last of them is told of what both had. */
START_TEST(is_closed_from_an_event)
{
	uv_loop_t loop;
	char url[64];
	int sock = take_port(url), n = _i + 1;
	const struct http_send send = { .method = "GET", .url = url };
	ck_assert_int_eq(0, uv_loop_init(&loop));
	for (struct one *one = ones; one < ones + n; one++)
		ck_assert_int_eq(MER_OK, mer_http.open(&loop, &one->client, NULL));
	for (struct one *one = ones; one < ones + n; one++)
		ck_assert_int_eq(MER_OK,
		                 mer_http.start(one->client, &send, &events, one, &one->exchange, NULL));
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	int last = 0;
	for (const struct one *one = ones; one < ones + n; one++) {
		ck_assert_int_eq(1, one->done);
		ck_assert_int_eq(one->last, one->closed);
		last += one->last;
	}
	ck_assert_int_eq(1, last);
	ck_assert_int_eq(0, uv_loop_close(&loop));
	(void)close(sock);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("http_transport");
	TCase *tcase = tcase_create("closing");
	tcase_add_loop_test(tcase, is_closed_from_an_event, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}
