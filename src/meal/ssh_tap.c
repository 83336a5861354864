/* What libssh2 asks of us; ssh_tap.h. */
#include "ssh_tap.h"

#include "remote_say.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HELLO_MAX ((size_t)64 << 10)
#define LOGIN_MAX ((size_t)1 << 20)

/* --- memory ------------------------------------------------------------------------------------ */

/* Whether this thread is the one that logs in. Afterwards the session is another's, and wiping
 * all that it moves would be for nothing. */
static _Thread_local bool wiping;

static void tally(void *const *abstract, void *ptr, bool taken)
{
	struct ssh_heap *heap = *abstract;
	if (heap == NULL || ptr == NULL)
		return;
	const size_t size = malloc_usable_size(ptr);
	heap->held = taken ? heap->held + size : heap->held - size;
}

static LIBSSH2_ALLOC_FUNC(take)
{
	void *ptr = malloc(count);
	tally(abstract, ptr, true);
	return ptr;
}

static LIBSSH2_FREE_FUNC(give)
{
	tally(abstract, ptr, false);
	if (wiping && ptr != NULL)
		explicit_bzero(ptr, malloc_usable_size(ptr));
	free(ptr);
}

static LIBSSH2_REALLOC_FUNC(change)
{
	const size_t size = ptr != NULL ? malloc_usable_size(ptr) : 0;
	void *fresh = take(count, abstract);
	if (fresh == NULL)
		return NULL;
	if (ptr != NULL)
		memcpy(fresh, ptr, size < count ? size : count);
	give(ptr, abstract);
	return fresh;
}

/* --- bytes ------------------------------------------------------------------------------------- */

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
	LIBSSH2_SESSION *session = libssh2_session_init_ex(take, give, change, tap);
	mer_buf_init(&tap->hello, HELLO_MAX);
	if (session == NULL)
		return NULL;
	void *before = libssh2_session_callback_set(session, LIBSSH2_CALLBACK_RECV,
	                                            as_data((void (*)(void))receive));
	memcpy(&tap->receive, &before, sizeof before);
	(void)libssh2_session_callback_set(session, LIBSSH2_CALLBACK_DISCONNECT,
	                                   as_data((void (*)(void))on_disconnect));
	libssh2_session_set_blocking(session, 0);
	wiping = true;
	return session;
}

void ssh_tap_off(struct ssh_tap *tap, LIBSSH2_SESSION *session)
{
	(void)libssh2_session_callback_set(session, LIBSSH2_CALLBACK_RECV,
	                                   as_data((void (*)(void))tap->receive));
	(void)libssh2_session_callback_set(session, LIBSSH2_CALLBACK_DISCONNECT, NULL);
	*libssh2_session_abstract(session) = NULL;
}

void ssh_tap_release(struct ssh_tap *tap)
{
	wiping = false;
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
