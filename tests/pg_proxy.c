/* One thread moves the bytes; the test tells it what to do under a mutex, and wakes it by a pipe. */
#include "pg_proxy.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINKS_MAX = 16, PIECE = 65536, GREETING_MAX = 4096 };

/* The frontend's messages, of which only type and length count. */
struct parser {
	bool started; /* the first message has no type */
	unsigned char head[5];
	size_t have;   /* of head */
	uint32_t skip; /* bytes of the message still to come */
};

struct link {
	int client, server; /* -1: none; of a pool the server is shared */
	struct parser parser;
	bool swallow; /* what the server says next is the end of it */
};

static struct {
	pthread_t thread;
	pthread_mutex_t mutex;
	int listener, port, wake[2];
	bool stop, pool;
	struct link links[LINKS_MAX];
	int waits, refuse;
	enum proxy_fate fate;

	char greeting[GREETING_MAX]; /* what the pool's server said before the first statement */
	size_t greeting_len;
	bool greeted;
	int pool_server, pool_user; /* the link that asked last */
} proxy = { .mutex = PTHREAD_MUTEX_INITIALIZER, .pool_server = -1 };

/* --- bytes -------------------------------------------------------------------------------- */

static bool send_all(int fd, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		bytes += sent;
		n -= (size_t)sent;
	}
	return true;
}

/* Counts in bytes of a client how often it waits. */
static int count_waits(struct parser *parser, const char *bytes, size_t n)
{
	int waits = 0;
	for (size_t i = 0; i < n;) {
		if (parser->skip > 0) {
			size_t some = n - i < parser->skip ? n - i : parser->skip;
			parser->skip -= (uint32_t)some;
			i += some;
			continue;
		}
		const size_t type = parser->started ? 1 : 0;
		parser->head[parser->have++] = (unsigned char)bytes[i++];
		if (parser->have < type + 4)
			continue;
		const unsigned char *len = parser->head + type;
		parser->skip =
			((uint32_t)len[0] << 24 | (uint32_t)len[1] << 16 | (uint32_t)len[2] << 8 | len[3]) - 4;
		if (type == 1 && (parser->head[0] == 'S' || parser->head[0] == 'Q'))
			waits++;
		parser->started = true;
		parser->have = 0;
	}
	return waits;
}

/* --- links -------------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
	if (*fd >= 0) {
		(void)shutdown(*fd, SHUT_RDWR); /* at once, though the thread may be waiting for it */
		(void)close(*fd);
	}
	*fd = -1;
}

static void end_link(struct link *link)
{
	close_fd(&link->client);
	if (link->server != proxy.pool_server)
		close_fd(&link->server);
	link->server = -1;
}

static int connect_server(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		                      .sin_port = htons((uint16_t)proxy.port),
		                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
		close_fd(&fd);
	return fd;
}

static struct link *free_link(void)
{
	for (int i = 0; i < LINKS_MAX; i++) {
		if (proxy.links[i].client < 0 && proxy.links[i].server < 0)
			return &proxy.links[i];
	}
	return NULL;
}

static void on_connection(void)
{
	int client = accept4(proxy.listener, NULL, NULL, SOCK_CLOEXEC);
	struct link *link = free_link();
	if (client < 0 || link == NULL || proxy.refuse > 0) {
		proxy.refuse -= proxy.refuse > 0;
		close_fd(&client);
		return;
	}
	const bool joins = proxy.pool && proxy.greeted;
	*link =
		(struct link){ .client = client, .server = joins ? proxy.pool_server : connect_server() };
	if (proxy.pool && !joins)
		proxy.pool_server = link->server;
}

/* The process that the server names in its greeting (BackendKeyData) becomes none. */
static void hide_process(char *bytes, size_t n)
{
	static const char head[] = { 'K', 0, 0, 0, 12 };
	char *at = memmem(bytes, n, head, sizeof head);
	if (at != NULL)
		memset(at + sizeof head, 0x7f, 4);
}

/* Whether the bytes end with ReadyForQuery. */
static bool is_ready(const char *bytes, size_t n)
{
	static const char head[] = { 'Z', 0, 0, 0, 5 };
	return n >= 6 && memcmp(bytes + n - 6, head, sizeof head) == 0;
}

/* Says hello to one more user of the pool's session. */
static bool greet(struct link *link, const char *bytes, size_t n)
{
	if (!proxy.pool || !proxy.greeted || link->parser.started)
		return false;
	(void)count_waits(&link->parser, bytes, n);
	(void)send_all(link->client, proxy.greeting, proxy.greeting_len);
	return true;
}

static void from_client(struct link *link)
{
	char bytes[PIECE];
	ssize_t n = recv(link->client, bytes, sizeof bytes, 0);
	if (n <= 0) {
		end_link(link);
		return;
	}
	if (greet(link, bytes, (size_t)n))
		return;
	int waits = count_waits(&link->parser, bytes, (size_t)n);
	proxy.waits += waits;
	/* In a pool, who leaves does not end the session. */
	if (proxy.pool && bytes[0] == 'X')
		return;
	if (waits > 0 && proxy.fate == PROXY_CUT_BEFORE) {
		proxy.fate = PROXY_PASS;
		end_link(link);
		return;
	}
	if (waits > 0 && proxy.fate == PROXY_CUT_AFTER) {
		proxy.fate = PROXY_PASS;
		link->swallow = true;
	}
	proxy.pool_user = (int)(link - proxy.links);
	if (!send_all(link->server, bytes, (size_t)n))
		end_link(link);
}

static void keep_greeting(const char *bytes, size_t n)
{
	if (proxy.greeted || !proxy.pool)
		return;
	/* With a password it comes in pieces; what the first client was asked is not asked again. */
	const char *ok = memmem(bytes, n, "R\0\0\0\10\0\0\0\0", 9);
	if (ok != NULL) {
		n -= (size_t)(ok - bytes);
		bytes = ok;
	} else if (proxy.greeting_len == 0) {
		return;
	}
	ck_assert_uint_le(proxy.greeting_len + n, GREETING_MAX);
	memcpy(proxy.greeting + proxy.greeting_len, bytes, n);
	proxy.greeting_len += n;
	proxy.greeted = is_ready(bytes, n);
}

static void from_server(struct link *link)
{
	char bytes[PIECE];
	ssize_t n = recv(link->server, bytes, sizeof bytes, 0);
	if (n <= 0 || link->swallow) {
		end_link(link);
		return;
	}
	if (proxy.pool && !proxy.greeted)
		hide_process(bytes, (size_t)n);
	keep_greeting(bytes, (size_t)n);
	if (proxy.pool)
		link = &proxy.links[proxy.pool_user];
	/* Without its client it is left open: a server does not always notice. */
	if (link->client >= 0 && !send_all(link->client, bytes, (size_t)n))
		end_link(link);
}

/* --- the thread --------------------------------------------------------------------------- */

/* One look at all descriptors; the mutex is held but while waiting. */
static void turn(void)
{
	struct pollfd fds[2 + 2 * LINKS_MAX];
	nfds_t n = 0;
	fds[n++] = (struct pollfd){ .fd = proxy.wake[0], .events = POLLIN };
	fds[n++] = (struct pollfd){ .fd = proxy.listener, .events = POLLIN };
	for (int i = 0; i < LINKS_MAX; i++) {
		const struct link *link = &proxy.links[i];
		const bool listens = !proxy.pool || i == proxy.pool_user;
		fds[n++] = (struct pollfd){ .fd = link->client, .events = POLLIN };
		fds[n++] = (struct pollfd){ .fd = listens ? link->server : -1, .events = POLLIN };
	}
	pthread_mutex_unlock(&proxy.mutex);
	(void)poll(fds, n, -1);
	pthread_mutex_lock(&proxy.mutex);
	if (fds[0].revents != 0) {
		char drained[16];
		(void)!read(proxy.wake[0], drained, sizeof drained);
		return; /* the descriptors may be others now */
	}
	if (fds[1].revents != 0)
		on_connection();
	for (int i = 0; i < LINKS_MAX; i++) {
		struct link *link = &proxy.links[i];
		const struct pollfd *client = &fds[2 + 2 * i], *server = &fds[3 + 2 * i];
		if (client->revents != 0 && link->client == client->fd)
			from_client(link);
		if (server->revents != 0 && server->fd >= 0 && link->server == server->fd)
			from_server(link);
	}
}

static void *run(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&proxy.mutex);
	while (!proxy.stop)
		turn();
	pthread_mutex_unlock(&proxy.mutex);
	return NULL;
}

static void wake(void)
{
	ck_assert_int_eq(write(proxy.wake[1], "x", 1), 1);
}

int proxy_start(int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof at;
	proxy.port = port;
	proxy.stop = false;
	for (int i = 0; i < LINKS_MAX; i++)
		proxy.links[i] = (struct link){ .client = -1, .server = -1 };
	proxy.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(proxy.listener, (struct sockaddr *)&at, size), 0);
	ck_assert_int_eq(listen(proxy.listener, LINKS_MAX), 0);
	ck_assert_int_eq(getsockname(proxy.listener, (struct sockaddr *)&at, &size), 0);
	ck_assert_int_eq(pipe2(proxy.wake, O_CLOEXEC), 0);
	ck_assert_int_eq(pthread_create(&proxy.thread, NULL, run, NULL), 0);
	return ntohs(at.sin_port);
}

void proxy_stop(void)
{
	pthread_mutex_lock(&proxy.mutex);
	proxy.stop = true;
	pthread_mutex_unlock(&proxy.mutex);
	wake();
	(void)pthread_join(proxy.thread, NULL);
	for (int i = 0; i < LINKS_MAX; i++)
		end_link(&proxy.links[i]);
	close_fd(&proxy.pool_server);
	close_fd(&proxy.listener);
	close_fd(&proxy.wake[0]);
	close_fd(&proxy.wake[1]);
}

int proxy_waits(void)
{
	pthread_mutex_lock(&proxy.mutex);
	int waits = proxy.waits;
	proxy.waits = 0;
	pthread_mutex_unlock(&proxy.mutex);
	return waits;
}

void proxy_cut(bool server)
{
	pthread_mutex_lock(&proxy.mutex);
	for (int i = 0; i < LINKS_MAX; i++) {
		struct link *link = &proxy.links[i];
		close_fd(&link->client);
		if (server)
			end_link(link);
	}
	pthread_mutex_unlock(&proxy.mutex);
	wake();
}

void proxy_refuse(int n)
{
	pthread_mutex_lock(&proxy.mutex);
	proxy.refuse = n;
	pthread_mutex_unlock(&proxy.mutex);
}

void proxy_next(enum proxy_fate fate)
{
	pthread_mutex_lock(&proxy.mutex);
	proxy.fate = fate;
	pthread_mutex_unlock(&proxy.mutex);
}

void proxy_pool(void)
{
	pthread_mutex_lock(&proxy.mutex);
	proxy.pool = true;
	pthread_mutex_unlock(&proxy.mutex);
}
