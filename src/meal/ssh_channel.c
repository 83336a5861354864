/* A channel of a session; ssh_channel.h. */
#define LOG_AREA "meal"
#include "ssh_channel.h"

#include "ssh_pool.h"

#include <mer/log.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>

#define PACKET_BYTES 32768 /* the most that every SSH takes */
#define WINDOW_MIN ((size_t)2 << 20)
#define WINDOW_MAX ((size_t)64 << 20)
#define WINDOW_A_MS 167772 /* bytes */
#define RTT_MAX_US 1000000
#define RTT_SHORT_US 5000 /* then WINDOW_MIN is plenty: 400 MiB/s */

struct ssh_channel *ssh_channel_new(struct ssh_host *host, const struct ssh_channel_want *want,
                                    const struct ssh_channel_events *events, void *ctx)
{
	struct ssh_channel *c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->host = host;
	c->want = *want;
	c->events = events;
	c->ctx = ctx;
	c->window = WINDOW_MIN;
	c->asked_us = mer_clock_us();
	if (want->only != NULL) {
		ssh_session_take(want->only, c);
	} else {
		TAILQ_INSERT_TAIL(&host->waiting, c, link);
		ssh_host_assign_soon(host);
	}
	return c;
}

static void channel_free(struct ssh_channel *c)
{
	meal_queue_drop(&c->queue);
	free(c);
}

/* It has ended: whoever asked for it is told, and then it is nobody's. */
static void end(struct ssh_channel *c, const char *problem, int exit_code)
{
	bool told = c->left || c->state == SSH_CHANNEL_CLOSES;
	c->state = SSH_CHANNEL_CLOSES;
	if (!told)
		c->events->ended(c->ctx, problem, exit_code);
}

void ssh_channel_fail(struct ssh_channel *c, const char *why)
{
	TAILQ_REMOVE(&c->host->waiting, c, link);
	end(c, why, 0);
	channel_free(c);
}

void ssh_channel_lost(struct ssh_channel *c, const char *why)
{
	char problem[400];
	c->ssh = NULL;
	bool early = c->state == SSH_CHANNEL_OPENS || c->state == SSH_CHANNEL_STARTS;
	if (early && !c->left && !c->retried &&
	    c->want.only == NULL) { /* it had been left alone for too long */
		c->retried = true;
		c->state = SSH_CHANNEL_WAITS;
		TAILQ_INSERT_HEAD(&c->host->waiting, c, link);
		return;
	}
	MER_DEBUG("channel lost server=%s why=%s", c->host->remote->server, why);
	(void)snprintf(problem, sizeof problem, "the connection to server '%s' was lost: %s",
	               c->host->remote->server, why);
	end(c, problem, 0);
	channel_free(c);
}

void ssh_channel_met(struct ssh_channel *c, struct ssh_session *session)
{
	TAILQ_REMOVE(&c->host->waiting, c, link);
	c->session = session;
	if (!c->left)
		c->events->open(c->ctx);
	end(c, NULL, 0);
	channel_free(c);
}

/* --- opening ------------------------------------------------------------------------------------ */

/* How much may be under way to us at first: what a line of that delay holds at 160 MiB/s. */
void ssh_channel_delay(struct ssh_channel *c, int64_t rtt_us)
{
	size_t window = (size_t)(rtt_us < RTT_MAX_US ? rtt_us : RTT_MAX_US) * WINDOW_A_MS / 1000;
	window = window < WINDOW_MAX ? window : WINDOW_MAX;
	if (rtt_us < RTT_SHORT_US || window <= c->window)
		return;
	c->owed += window - c->window;
	c->window = window;
}

/* Where most of the window came within the time that it takes to ask for more, the window is what holds it
 * back. It is not made larger than need be: sshd copies all that it holds for us with each piece more. */
static void grow_window(struct ssh_channel *c, size_t n)
{
	int64_t now_us = mer_clock_us(), rtt_us = c->session->rtt_us;
	if (rtt_us < RTT_SHORT_US)
		return;
	c->came += n;
	if (c->came < c->window / 4 * 3 && now_us - c->came_since_us <= rtt_us)
		return;
	if (now_us - c->came_since_us <= rtt_us + rtt_us / 4) {
		size_t room = WINDOW_MAX - c->window, more = c->window < room ? c->window : room;
		c->owed += more;
		c->window += more;
	}
	c->came = 0;
	c->came_since_us = now_us;
}

/* Of a connection further, which is for another host to take. */
static void open_refused(struct ssh_channel *c)
{
	char problem[400] = "", *why = NULL;
	(void)libssh2_session_last_error(c->session->ssh, &why, NULL, 0);
	const char *from = why != NULL ? strchr(why, '(') : NULL;
	if (!c->left) /* else nobody has its name any more */
		(void)snprintf(
			problem, sizeof problem, "server '%.80s' cannot connect to %.80s port %d%s%.*s",
			c->host->remote->server, c->want.to_host, c->want.to_port, from != NULL ? ": " : "",
			from != NULL ? (int)strcspn(from + 1, ")") : 0, from != NULL ? from + 1 : "");
	end(c, problem, 0);
	ssh_session_kick(c->session);
}

/* sshd counts a channel that was closed until it has read all that came with its end, so that one which is asked
 * for right behind it is refused, and has only to be asked for again. */
static void open_step(struct ssh_channel *c)
{
	struct ssh_session *s = c->session;
	const struct ssh_channel_want *want = &c->want;
	if (s->opening != NULL && s->opening != c)
		return;
	s->opening = c;
	if (c->since_us == 0) {
		c->since_us = mer_clock_us();
		c->behind = s->has_closed;
		s->has_closed = false;
	}
	c->ssh = want->command != NULL
	             ? libssh2_channel_open_ex(s->ssh, "session", strlen("session"),
	                                       (unsigned)WINDOW_MIN, PACKET_BYTES, NULL, 0)
	             : libssh2_channel_direct_tcpip(s->ssh, want->to_host, want->to_port);
	int error = c->ssh == NULL ? libssh2_session_last_errno(s->ssh) : 0;
	if (error == LIBSSH2_ERROR_EAGAIN)
		return;
	s->opening = NULL;
	if (c->ssh == NULL && error == LIBSSH2_ERROR_CHANNEL_FAILURE) {
		ssh_session_kick(s); /* for others that wait to be opened */
		if (want->to_host != NULL)
			open_refused(c);
		else if (c->behind && !c->left)
			c->since_us = 0; /* once more */
		else
			ssh_host_refused(c->host, c);
	} else if (c->ssh == NULL) {
		ssh_session_fail(s, error);
	} else {
		s->has_opened = true;
		ssh_channel_delay(c, s->rtt_us);
		ssh_session_ping(s);
		c->since_us = 0;
		c->state = c->left                 ? SSH_CHANNEL_CLOSES
		           : want->command != NULL ? SSH_CHANNEL_STARTS
		                                   : SSH_CHANNEL_RUNS;
		ssh_session_kick(s);
		if (c->state == SSH_CHANNEL_RUNS)
			c->events->open(c->ctx);
	}
}

/* Libssh2 waits for the answer of its channel, and takes that of another one, which a server may give before, for an
 * error; not so for what was taken in before it is asked. */
static int take_in(struct ssh_channel *c)
{
	char nothing;
	ssize_t n = libssh2_channel_read_ex(c->ssh, 0, &nothing, 0);
	return n < 0 && n != LIBSSH2_ERROR_EAGAIN ? (int)n : 0;
}

/* A server may close what it does not want to run instead of saying so, for which libssh2 does not look. */
static bool closed_unanswered(const struct ssh_channel *c, int error)
{
	return error == LIBSSH2_ERROR_EAGAIN && libssh2_channel_wait_closed(c->ssh) == 0;
}

/* Nothing was begun. Dropbear closes a channel that waits for its command when a program of another one ends. */
static void open_again(struct ssh_channel *c)
{
	if (libssh2_channel_free(c->ssh) == LIBSSH2_ERROR_EAGAIN)
		return;
	MER_DEBUG("channel closed unanswered server=%s", c->host->remote->server);
	c->ssh = NULL;
	c->retried = true;
	c->state = SSH_CHANNEL_OPENS;
	c->session->has_closed = true;
	ssh_session_kick(c->session);
}

static void start_step(struct ssh_channel *c)
{
	int error = take_in(c);
	if (error == 0)
		error = libssh2_channel_exec(c->ssh, c->want.command);
	if (closed_unanswered(c, error)) {
		if (!c->retried) {
			open_again(c);
			return;
		}
		error = 0; /* what it has said is read as of one that has run */
	}
	if (error == LIBSSH2_ERROR_EAGAIN)
		return;
	if (error == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED) {
		char problem[400];
		(void)snprintf(problem, sizeof problem,
		               "server '%s' did not run what it was told: it takes no commands",
		               c->host->remote->server);
		end(c, problem, 0);
	} else if (error != 0) {
		ssh_session_fail(c->session, error);
	} else {
		c->state = SSH_CHANNEL_RUNS;
		c->events->open(c->ctx);
	}
}

/* --- bytes ---------------------------------------------------------------------------------------- */

/* Lets the server send as much more as was given. Libssh2 does so itself, but only up to the window that a
 * channel was opened with. What is asked for is asked for again until it is sent. */
static bool adjust(struct ssh_channel *c)
{
	if (c->asking == 0 && c->window > WINDOW_MIN && c->owed >= c->window / 8) {
		c->asking = c->owed;
		c->owed = 0;
	}
	if (c->asking == 0)
		return true;
	int error = libssh2_channel_receive_window_adjust2(c->ssh, c->asking, 1, NULL);
	if (error == 0)
		c->asking = 0;
	else if (error != LIBSSH2_ERROR_EAGAIN)
		ssh_session_fail(c->session, error);
	return error == 0;
}

static bool hears(const struct ssh_channel *c)
{
	return c->state == SSH_CHANNEL_RUNS && !c->session->dead;
}

/* Reads once. Returns how many bytes there were; 0: perhaps its end; negative: none now. */
static ssize_t read_stream(struct ssh_channel *c, enum meal_stream stream)
{
	char *to = c->session->pool->data;
	if (!adjust(c))
		return LIBSSH2_ERROR_EAGAIN;
	int id = stream == MEAL_STDERR ? SSH_EXTENDED_DATA_STDERR : 0;
	ssize_t n = libssh2_channel_read_ex(c->ssh, id, to, SSH_READ_BYTES);
	if (n > 0) {
		c->owed += (size_t)n;
		grow_window(c, (size_t)n);
		c->events->data(c->ctx, stream, to, (size_t)n);
	} else if (n < 0 && n != LIBSSH2_ERROR_EAGAIN) {
		ssh_session_fail(c->session, (int)n);
	}
	return n;
}

/* Nothing comes any more once both streams are empty at their end. A server may have sent what is of
 * neither. */
static void look_for_end(struct ssh_channel *c)
{
	if (libssh2_channel_eof(c->ssh) == 0)
		(void)libssh2_channel_flush_ex(c->ssh, LIBSSH2_CHANNEL_FLUSH_EXTENDED_DATA);
	if (libssh2_channel_eof(c->ssh) != 1)
		return;
	if (!c->heard_eof) {
		c->heard_eof = true;
		c->events->eof(c->ctx);
	}
	if (hears(c) && libssh2_channel_wait_closed(c->ssh) == 0)
		end(c, NULL, libssh2_channel_get_exit_status(c->ssh));
}

/* Stderr first and always: who does not read it has no stdout either once the window is full of it, and
 * a supervisor's marks come there. */
static void read_step(struct ssh_channel *c)
{
	ssize_t err, out;
	do {
		err = read_stream(c, MEAL_STDERR);
		out = hears(c) && !c->paused ? read_stream(c, MEAL_STDOUT) : LIBSSH2_ERROR_EAGAIN;
	} while (hears(c) && (err > 0 || out > 0));
	if (hears(c) && err == 0 && out == 0)
		look_for_end(c);
}

void ssh_channel_push(struct ssh_channel *c)
{
	struct ssh_session *s = c->session;
	if (c->state != SSH_CHANNEL_RUNS)
		return;
	bool wrote = c->queue.n > 0;
	while (c->queue.n > 0 && ssh_session_has_room(s)) {
		ssize_t n = libssh2_channel_write(c->ssh, c->queue.pieces[0].ptr, c->queue.pieces[0].len);
		if (n > 0)
			meal_queue_advance(&c->queue, (size_t)n);
		else if (n == 0 || n == LIBSSH2_ERROR_EAGAIN)
			break;
		else if (n == LIBSSH2_ERROR_CHANNEL_CLOSED || n == LIBSSH2_ERROR_CHANNEL_EOF_SENT)
			meal_queue_drop(&c->queue);
		else
			ssh_session_fail(s, (int)n);
	}
	if (c->queue.n == 0 && c->last && !c->eof_sent && !s->dead)
		c->eof_sent = libssh2_channel_send_eof(c->ssh) != LIBSSH2_ERROR_EAGAIN;
	if (wrote && c->queue.n == 0) {
		c->drained = true; /* told in its turn */
		ssh_session_kick(s);
	}
	ssh_session_flush(s);
}

void ssh_channel_pause(struct ssh_channel *c, bool pause)
{
	c->paused = pause;
	if (!pause && c->session != NULL)
		ssh_session_kick(c->session);
}

/* --- the end ---------------------------------------------------------------------------------------- */

static void close_step(struct ssh_channel *c)
{
	struct ssh_session *s = c->session;
	if (c->since_us == 0)
		c->since_us = mer_clock_us();
	if (c->ssh != NULL && libssh2_channel_free(c->ssh) == LIBSSH2_ERROR_EAGAIN)
		return;
	struct ssh_host *host = c->host;
	s->has_closed |= c->ssh != NULL;
	ssh_session_drop(s, c);
	channel_free(c);
	ssh_host_assign(host);
}

void ssh_channel_close(struct ssh_channel *c)
{
	meal_queue_drop(&c->queue);
	c->left = true;
	if (c->session == NULL) {
		TAILQ_REMOVE(&c->host->waiting, c, link);
		channel_free(c);
	} else if (c->session->opening != c) { /* else it is left as soon as it is open */
		c->state = SSH_CHANNEL_CLOSES;
		c->since_us = 0;
		ssh_session_kick(c->session);
	} else if (c->want.to_host != NULL) {
		ssh_session_unload(c->session);
	}
}

void ssh_channel_turn(struct ssh_channel *c)
{
	switch (c->state) {
	case SSH_CHANNEL_WAITS: break;
	case SSH_CHANNEL_OPENS: open_step(c); break;
	case SSH_CHANNEL_STARTS: start_step(c); break;
	case SSH_CHANNEL_RUNS:
		if (c->queue.n > 0 || (c->last && !c->eof_sent))
			ssh_channel_push(c);
		if (hears(c) && c->drained) {
			c->drained = false;
			c->events->drained(c->ctx);
		}
		if (hears(c))
			read_step(c);
		break;
	case SSH_CHANNEL_CLOSES: close_step(c); break;
	}
}
