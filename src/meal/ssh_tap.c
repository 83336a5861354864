/* What libssh2 asks of us; ssh_tap.h. */
#include "ssh_tap.h"

#include "remote_say.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HELLO_MAX ((size_t)64 << 10)
#define LOGIN_MAX ((size_t)1 << 20)

static LIBSSH2_RECV_FUNC(receive)
{
	struct ssh_tap *tap = *abstract;
	if (tap->received > LOGIN_MAX) {
		tap->flooded = true;
		return -ECONNABORTED;
	}
	ssize_t n = recv(socket, buffer, length, flags);
	if (n < 0 && (errno == EINTR || errno == EWOULDBLOCK))
		return -EAGAIN;
	if (n <= 0) {
		tap->closed = true;
		return n == 0 ? 0 : -errno;
	}
	tap->received += (size_t)n;
	const size_t room = HELLO_MAX - tap->hello.len;
	mer_buf_add(&tap->hello, buffer, (size_t)n < room ? (size_t)n : room);
	return n;
}

static LIBSSH2_DISCONNECT_FUNC(on_disconnect)
{
	struct ssh_tap *tap = *abstract;
	(void)session, (void)reason, (void)language, (void)language_len;
	const int most = (int)sizeof tap->bye - 1;
	(void)snprintf(tap->bye, sizeof tap->bye, "%.*s", message_len < most ? message_len : most,
	               message);
	remote_say_plain(tap->bye);
}

/* ISO C has no conversion between pointers to functions and to data; libssh2 wants one. */
static void *as_data(void (*function)(void))
{
	void *data;
	_Static_assert(sizeof data == sizeof function, "as POSIX has it");
	memcpy(&data, &function, sizeof data);
	return data;
}

LIBSSH2_SESSION *ssh_tap_on(struct ssh_tap *tap)
{
	LIBSSH2_SESSION *session = ssh_heap_session(&tap->heap);
	mer_buf_init(&tap->hello, HELLO_MAX);
	if (session == NULL)
		return NULL;
	void *before = libssh2_session_callback_set(session, LIBSSH2_CALLBACK_RECV,
	                                            as_data((void (*)(void))receive));
	memcpy(&tap->receive, &before, sizeof before);
	(void)libssh2_session_callback_set(session, LIBSSH2_CALLBACK_DISCONNECT,
	                                   as_data((void (*)(void))on_disconnect));
	libssh2_session_set_blocking(session, 0);
	ssh_heap_wipe(true);
	return session;
}

void ssh_tap_off(struct ssh_tap *tap, LIBSSH2_SESSION *session, struct ssh_heap **place)
{
	(void)libssh2_session_callback_set(session, LIBSSH2_CALLBACK_RECV,
	                                   as_data((void (*)(void))tap->receive));
	(void)libssh2_session_callback_set(session, LIBSSH2_CALLBACK_DISCONNECT, NULL);
	*place = tap->heap;
	*libssh2_session_abstract(session) = place;
}

void ssh_tap_release(struct ssh_tap *tap)
{
	ssh_heap_wipe(false);
	mer_buf_release(&tap->hello);
}

enum mer_status ssh_tap_wait(const struct ssh_tap *tap, LIBSSH2_SESSION *session)
{
	const int directions = libssh2_session_block_directions(session);
	short events = 0;
	if ((directions & LIBSSH2_SESSION_BLOCK_INBOUND) != 0)
		events |= POLLIN;
	if ((directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0)
		events |= POLLOUT;
	return ssh_wait(tap->fd, events != 0 ? events : POLLIN, tap->until);
}
