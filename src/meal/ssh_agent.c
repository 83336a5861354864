/* An agent that holds keys; ssh_agent.h. */
#include "ssh_agent.h"

#include "ssh_piece.h"

#include <errno.h>
#include <mer/clean.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)256 << 10) /* as AGENT_MAX_LEN of OpenSSH */
#define KEYS_MAX 2048

enum { REQUEST_IDENTITIES = 11, IDENTITIES_ANSWER = 12, SIGN_REQUEST = 13, SIGN_RESPONSE = 14 };

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

/* --- messages ---------------------------------------------------------------------------------- */

static void add_u32(struct mer_buf *buf, size_t value)
{
	const unsigned char bytes[4] = { (unsigned char)(value >> 24), (unsigned char)(value >> 16),
		                             (unsigned char)(value >> 8), (unsigned char)value };
	mer_buf_add(buf, bytes, sizeof bytes);
}

static void add_string(struct mer_buf *buf, struct mer_str text)
{
	add_u32(buf, text.len);
	mer_buf_add(buf, text.ptr, text.len);
}

/* --- the socket -------------------------------------------------------------------------------- */

static enum mer_status silent(enum mer_status st, struct mer_error *err)
{
	if (st == MER_ECANCELED)
		return mer_fail(err, st, "canceled");
	if (st == MER_ETIMEOUT)
		return mer_fail(err, MER_EUNREACHABLE, "the agent of keys does not answer");
	return mer_fail(err, MER_EUNREACHABLE, "the agent of keys hung up");
}

/* Moves n bytes; those that are written are in bytes. */
static enum mer_status move(int fd, bool write, char *bytes, size_t n, struct ssh_until until,
                            struct mer_error *err)
{
	while (n > 0) {
		enum mer_status st = ssh_wait(fd, write ? POLLOUT : POLLIN, until);
		if (st != MER_OK)
			return silent(st, err);
		ssize_t done = write ? send(fd, bytes, n, MSG_NOSIGNAL) : recv(fd, bytes, n, 0);
		if (done == 0 || (done < 0 && errno != EINTR && errno != EAGAIN))
			return silent(MER_EUNREACHABLE, err);
		bytes += done > 0 ? done : 0;
		n -= done > 0 ? (size_t)done : 0;
	}
	return MER_OK;
}

/* Sends a message and reads the answer, whose first byte must be that. out: what is behind it. */
static enum mer_status exchange(struct ssh_agent *agent, struct mer_buf *message, char want,
                                struct ssh_until until, struct mer_buf *answer,
                                struct mer_error *err)
{
	char size[4];
	size_t len;
	enum mer_status st = mer_buf_check(message, err);
	if (st == MER_OK)
		st = move(agent->fd, true, message->ptr, message->len, until, err);
	if (st == MER_OK)
		st = move(agent->fd, false, size, sizeof size, until, err);
	if (st != MER_OK)
		return st;
	struct mer_str view = { size, sizeof size };
	if (!ssh_take_u32(&view, &len) || len == 0 || len > ANSWER_MAX)
		return mer_fail(err, MER_EUNREACHABLE, "the agent of keys answers what no agent does");
	char *room = mer_buf_room(answer, len);
	if (room == NULL)
		return no_memory(err);
	st = move(agent->fd, false, room, len, until, err);
	if (st != MER_OK)
		return st;
	mer_buf_grow(answer, len);
	if (answer->ptr[0] == want)
		return MER_OK;
	return mer_fail(err, MER_EUNREACHABLE, "the agent of keys refuses");
}

/* One that did not answer in time might answer later, when something else was asked. */
static enum mer_status call(struct ssh_agent *agent, struct mer_buf *message, char want,
                            struct ssh_until until, struct mer_buf *answer, struct mer_error *err)
{
	if (agent->fd < 0)
		return mer_fail(err, MER_EUNREACHABLE, "the agent of keys was left");
	enum mer_status st = exchange(agent, message, want, until, answer, err);
	if (st != MER_OK && answer->len == 0) {
		(void)close(agent->fd);
		agent->fd = -1;
	}
	return st;
}

static enum mer_status dial(struct ssh_agent *agent, const char *path, struct mer_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof address.sun_path)
		return mer_fail(err, MER_ENOTFOUND, "the agent of keys has too long a path");
	memcpy(address.sun_path, path, strlen(path) + 1);
	/* Not blocking, since one with a full backlog would be waited for. */
	agent->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (agent->fd < 0 || connect(agent->fd, (const struct sockaddr *)&address, sizeof address) < 0)
		return mer_fail(err, MER_ENOTFOUND, "no agent of keys at '%s': %s", path, strerror(errno));
	return MER_OK;
}

/* --- what is asked ------------------------------------------------------------------------------ */

static enum mer_status keep_key(struct ssh_agent *agent, struct mer_str blob,
                                struct mer_str comment, struct mer_error *err)
{
	struct ssh_agent_key *key = &agent->keys[agent->n];
	key->blob = malloc(blob.len + 1);
	if (key->blob == NULL)
		return no_memory(err);
	memcpy(key->blob, blob.ptr, blob.len);
	key->len = blob.len;
	(void)snprintf(key->comment, sizeof key->comment, "%.*s",
	               comment.len < 60 ? (int)comment.len : 60, comment.ptr);
	agent->n++;
	return MER_OK;
}

static enum mer_status read_keys(struct ssh_agent *agent, struct mer_str answer,
                                 struct mer_error *err)
{
	struct mer_str blob, comment;
	size_t n;
	answer.ptr++;
	answer.len--;
	if (!ssh_take_u32(&answer, &n) || n > KEYS_MAX)
		return mer_fail(err, MER_EUNREACHABLE, "the agent of keys answers what no agent does");
	agent->keys = calloc(n + 1, sizeof *agent->keys);
	if (agent->keys == NULL)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		if (!ssh_take_string(&answer, &blob) || !ssh_take_string(&answer, &comment))
			return mer_fail(err, MER_EUNREACHABLE, "the agent of keys answers what no agent does");
		enum mer_status st = keep_key(agent, blob, comment, err);
		if (st != MER_OK)
			return st;
	}
	return MER_OK;
}

static void buf_done(struct mer_buf *buf)
{
	mer_buf_release(buf);
}

enum mer_status ssh_agent_open(struct ssh_agent *agent, const char *path, struct ssh_until until,
                               struct mer_error *err)
{
	static const char request[] = { 0, 0, 0, 1, REQUEST_IDENTITIES };
	MER_AUTO(buf_done) struct mer_buf message, answer;
	*agent = (struct ssh_agent){ .fd = -1 };
	mer_buf_init(&message, ANSWER_MAX);
	mer_buf_init(&answer, ANSWER_MAX);
	mer_buf_add(&message, request, sizeof request);
	enum mer_status st = dial(agent, path, err);
	if (st == MER_OK)
		st = call(agent, &message, IDENTITIES_ANSWER, until, &answer, err);
	if (st == MER_OK)
		st = read_keys(agent, (struct mer_str){ answer.ptr, answer.len }, err);
	return st;
}

void ssh_agent_release(struct ssh_agent *agent)
{
	for (size_t i = 0; i < agent->n; i++)
		free(agent->keys[i].blob);
	free(agent->keys);
	mer_fd_done(&agent->fd);
	*agent = (struct ssh_agent){ .fd = -1 };
}

enum mer_status ssh_agent_sign(struct ssh_agent *agent, struct mer_str blob, struct mer_str data,
                               unsigned flags, struct ssh_until until, unsigned char **out,
                               size_t *len, struct mer_error *err)
{
	MER_AUTO(buf_done) struct mer_buf message, answer;
	struct mer_str whole, name, signature;
	mer_buf_init(&message, ANSWER_MAX);
	mer_buf_init(&answer, ANSWER_MAX);
	add_u32(&message, 1 + 4 + blob.len + 4 + data.len + 4);
	mer_buf_byte(&message, SIGN_REQUEST);
	add_string(&message, blob);
	add_string(&message, data);
	add_u32(&message, flags);
	enum mer_status st = call(agent, &message, SIGN_RESPONSE, until, &answer, err);
	if (st != MER_OK)
		return st;
	struct mer_str rest = { answer.ptr + 1, answer.len - 1 };
	if (!ssh_take_string(&rest, &whole) || !ssh_take_string(&whole, &name) ||
	    !ssh_take_string(&whole, &signature))
		return mer_fail(err, MER_EUNREACHABLE, "the agent of keys answers what no agent does");
	unsigned char *copy = malloc(signature.len + 1);
	if (copy == NULL)
		return no_memory(err);
	memcpy(copy, signature.ptr, signature.len);
	*out = copy;
	*len = signature.len;
	return MER_OK;
}
