/* The carrier for workers on this machine: three pipes to the worker, or for frames a socket of their
 * own and one pipe, and one socket to its supervisor (guard.h), which is the only child of mer and is
 * reaped by its number. */
#define LOG_AREA "meal"
#include "internal.h"
#include "launch.h"
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/log.h>
#include <mer/text.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <uv.h>

#define READ_BYTES 65536                /* what a pipe holds */
#define READ_FRAME_BYTES (256 * 1024)   /* measured: a body of 1 MiB takes half the time */
#define FILE_BYTES ((size_t)256 * 1024) /* of {input}, written in one turn of the loop */
#define FRAME_BYTES (1 << 20)           /* of a frame connection each way: 9 times a pipe's speed */
#define DRAIN_READS 32    /* of what a dead worker left, in a pipe of up to 1 MiB too */
#define REAP_MS 1         /* between two looks for the supervisor's end */
#define ANSWERS_A_TURN 16 /* read before the loop's other handles have their turn */
#define LOOKS_OFF 64      /* answers for which no second look is taken after one in vain */

/* EXIT is the supervisor's process, opened when its end is near. For frames IN and OUT are the same
 * connection under two numbers, since each is watched by itself, and ERR has all that the model prints. */
enum end_name { IN, OUT, ERR, CONTROL, EXIT, END_COUNT, CHANNEL_COUNT = EXIT };

/* mer's end of a channel. */
struct end {
	struct local *owner;
	uv_poll_t poll;
	bool watched; /* poll is open */
	int fd;       /* -1: closed */
};

struct local {
	struct meal_carrier base;
	struct launch launch;
	struct end ends[END_COUNT];
	uv_idle_t turn;  /* does what takes long, a piece a turn of the loop */
	uv_timer_t reap; /* looks for the supervisor's end where EXIT cannot be opened */
	int open;        /* of these handles */
	pid_t guard;     /* 0: reaped, or not started */

	bool prepared; /* MER_GUARD_READY came */
	bool wanted;   /* go came */
	bool went;     /* MER_GUARD_GO was sent */
	bool over;     /* how says how the process ended */
	bool gone;     /* nothing of it lives */
	bool told;     /* ended was told */
	bool closing;
	bool paused;
	int looks_off; /* answers left without a second look */
	bool in_done;  /* {input} is written, or there is none */
	bool out_done; /* {output} is read, or there is none */
	int file;      /* the one of them that is in work; -1: none */
	struct meal_exit how;

	struct meal_queue queue; /* for stdin, the connection, or {input} */
	bool last;               /* nothing follows the queue */
	bool corked;             /* what is queued meanwhile goes out together */
	size_t room;
	char buffer[]; /* room bytes */
};

static struct local *downcast(struct meal_carrier *carrier)
{
	MER_ASSERT(carrier->ops == &meal_local);
	return (struct local *)carrier;
}

static void release(struct local *c)
{
	launch_release(&c->launch);
	meal_queue_drop(&c->queue);
	free(c);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct local *c = handle->type == UV_POLL ? ((struct end *)handle->data)->owner : handle->data;
	if (--c->open > 0)
		return;
	if (c->closing) /* else it failed to start */
		c->base.events->closed(c->base.ctx);
	release(c);
}

/* The handle goes first and at once: libuv tells the kernel to forget the number of a handle that is
 * closed, and by then it may be another worker's. */
static void close_end(struct local *c, enum end_name name)
{
	struct end *end = &c->ends[name];
	if (end->watched)
		uv_close((uv_handle_t *)&end->poll, on_handle_closed);
	end->watched = false;
	if (end->fd >= 0 && name == IN && c->launch.frames)
		(void)shutdown(end->fd, SHUT_WR); /* OUT goes on */
	if (end->fd >= 0)
		(void)close(end->fd);
	end->fd = -1;
}

static void close_file(struct local *c)
{
	if (c->file >= 0)
		(void)close(c->file);
	c->file = -1;
}

static void order(struct local *c, enum mer_guard_order what)
{
	char byte = (char)what;
	if (c->ends[CONTROL].fd >= 0)
		(void)send(c->ends[CONTROL].fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* --- input ---------------------------------------------------------------------------------- */

static void on_writable(uv_poll_t *poll, int status, int events);

/* Writes what the pipe takes now. A worker need not read its input: a broken pipe is no failure. */
static void flush(struct local *c)
{
	struct end *in = &c->ends[IN];
	while (c->queue.n > 0) {
		struct iovec pieces[MEAL_QUEUE_MAX];
		for (size_t i = 0; i < c->queue.n; i++) {
			struct mer_str piece = c->queue.pieces[i];
			pieces[i] = (struct iovec){ (void *)(uintptr_t)piece.ptr, piece.len };
		}
		ssize_t n = writev(in->fd, pieces, (int)c->queue.n);
		if (n >= 0) {
			meal_queue_advance(&c->queue, (size_t)n);
		} else if (errno == EAGAIN) {
			(void)uv_poll_start(&in->poll, UV_WRITABLE, on_writable);
			return;
		} else if (errno != EINTR) {
			meal_queue_drop(&c->queue);
			c->last = true;
		}
	}
	meal_queue_drop(&c->queue);
	if (uv_is_active((uv_handle_t *)&in->poll)) /* to stop one that is not costs a system call */
		(void)uv_poll_stop(&in->poll);
	if (c->last)
		close_end(c, IN);
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events; /* a broken pipe shows itself in the writing */
	struct end *end = poll->data;
	flush(end->owner);
}

/* --- ends of the worker --------------------------------------------------------------------- */

/* Tells the end of the process once its streams are at theirs. */
static void tell_ended(struct local *c)
{
	if (c->told || !c->over || c->ends[OUT].fd >= 0 || c->ends[ERR].fd >= 0 || !c->out_done)
		return;
	c->told = true;
	c->base.events->ended(c->base.ctx, &c->how);
}

static void end_stream(struct local *c, enum end_name name)
{
	close_end(c, name);
	c->base.events->eof(c->base.ctx, name == OUT ? MEAL_STDOUT : MEAL_STDERR);
}

/* Tells what was read. The runs that come for the answers in it are sent together. */
static void tell_data(struct local *c, enum end_name name, size_t n)
{
	bool idle = c->queue.n == 0 && !c->last;
	c->corked = true;
	c->base.events->data(c->base.ctx, name == OUT ? MEAL_STDOUT : MEAL_STDERR, c->buffer, n);
	c->corked = false;
	if (idle && (c->queue.n > 0 || c->last) && c->in_done && c->ends[IN].fd >= 0)
		flush(c);
}

/* Reads once. Returns whether there may be more. */
static bool read_end(struct local *c, enum end_name name)
{
	ssize_t n = read(c->ends[name].fd, c->buffer, c->room);
	if (n > 0)
		tell_data(c, name, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		end_stream(c, name);
	return (n > 0 || errno == EINTR) && c->ends[name].fd >= 0;
}

/* A worker that shares our processor has answered what the last read made us send by the time it is
 * sent: then a second look costs less than going around the loop. Where one finds nothing, the
 * worker is elsewhere or slow, and none is taken for a while. */
static void on_output_readable(struct local *c)
{
	bool more = read_end(c, OUT);
	for (int i = 1; more && i < ANSWERS_A_TURN && !c->paused && !c->closing; i++) {
		if (c->looks_off > 0) {
			c->looks_off--;
			break;
		}
		more = read_end(c, OUT);
		if (!more)
			c->looks_off = LOOKS_OFF;
	}
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events; /* both show themselves in the reading */
	struct end *end = poll->data;
	struct local *c = end->owner;
	if (end == &c->ends[OUT])
		on_output_readable(c);
	else
		(void)read_end(c, ERR);
	tell_ended(c);
}

static void listen_to(struct local *c, enum end_name name)
{
	if (c->ends[name].fd >= 0)
		(void)uv_poll_start(&c->ends[name].poll, UV_READABLE, on_readable);
}

/* Reads what a worker left of which nothing lives. Who else may hold its pipes is not waited for. */
static void drain(struct local *c, enum end_name name)
{
	for (int i = 0; i < DRAIN_READS && c->ends[name].fd >= 0; i++) {
		if (name == OUT && c->paused && c->how.started)
			return;
		if (!read_end(c, name))
			break;
	}
	if (c->ends[name].fd >= 0 && !(name == OUT && c->paused && c->how.started))
		end_stream(c, name);
}

static void on_turn(uv_idle_t *turn);

static void take_turns(struct local *c)
{
	(void)uv_idle_start(&c->turn, on_turn);
}

/* Opens what the worker left as {output}; only a file is one, since a pipe could be waited for. */
static void open_output(struct local *c)
{
	struct stat info;
	const char *why = NULL;
	c->file = open(c->launch.output, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (c->file < 0 || fstat(c->file, &info) < 0)
		why = errno == ENOENT ? "it was not written" : strerror(errno);
	else if (!S_ISREG(info.st_mode))
		why = "it is not a file";
	if (why == NULL)
		return;
	(void)snprintf(c->how.no_output, sizeof c->how.no_output,
	               "the model left no output in '%s': %s", c->launch.output, why);
	close_file(c);
}

/* Nothing of it lives any more. */
static void on_gone(struct local *c)
{
	if (c->gone)
		return;
	c->gone = true;
	c->over = true;
	close_end(c, IN);
	meal_queue_drop(&c->queue);
	close_file(c); /* {input}, where it came to that in the middle */
	if (!c->out_done && c->how.started)
		open_output(c);
	if (c->file < 0)
		c->out_done = true;
	else if (!c->paused)
		take_turns(c);
	drain(c, ERR);
	drain(c, OUT);
	tell_ended(c);
}

/* --- files ---------------------------------------------------------------------------------- */

/* Lets the program run once all is there that it needs. */
static void try_go(struct local *c)
{
	if (c->went || !c->wanted || !c->in_done)
		return;
	c->went = true;
	order(c, MER_GUARD_GO);
}

/* Writes a piece of {input}. */
static void write_input(struct local *c)
{
	const char *path = c->launch.input;
	ssize_t n = 0;
	if (c->file < 0)
		c->file = mer_open_own(path, O_WRONLY | O_EXCL);
	if (c->file >= 0 && c->queue.n > 0) {
		struct mer_str piece = c->queue.pieces[0];
		n = write(c->file, piece.ptr, piece.len < FILE_BYTES ? piece.len : FILE_BYTES);
	}
	if (c->file < 0 || (n < 0 && errno != EINTR)) {
		(void)snprintf(c->how.problem, sizeof c->how.problem, "cannot write '%s': %s", path,
		               strerror(errno));
		order(c, MER_GUARD_KILL);
		meal_queue_drop(&c->queue);
		close_file(c);
		return;
	}
	if (n > 0)
		meal_queue_advance(&c->queue, (size_t)n);
	if (c->queue.n > 0)
		return;
	meal_queue_drop(&c->queue);
	close_file(c);
	c->in_done = true;
	try_go(c);
}

/* Reads a piece of {output}. */
static void read_output(struct local *c)
{
	ssize_t n = read(c->file, c->buffer, c->room);
	if (n > 0)
		c->base.events->data(c->base.ctx, MEAL_FILE, c->buffer, (size_t)n);
	if (n > 0 || (n < 0 && errno == EINTR))
		return;
	if (n < 0)
		(void)snprintf(c->how.no_output, sizeof c->how.no_output, "cannot read '%s': %s",
		               c->launch.output, strerror(errno));
	close_file(c);
	c->out_done = true;
	c->base.events->eof(c->base.ctx, MEAL_FILE);
}

static bool has_turns(const struct local *c)
{
	if (!c->gone)
		return c->queue.n > 0;
	return !c->paused && (c->file >= 0 || c->ends[OUT].fd >= 0);
}

static void on_turn(uv_idle_t *turn)
{
	struct local *c = turn->data;
	if (!c->gone)
		write_input(c);
	else if (!c->paused && c->ends[OUT].fd >= 0)
		drain(c, OUT);
	else if (!c->paused && c->file >= 0)
		read_output(c);
	if (!has_turns(c))
		(void)uv_idle_stop(turn);
	tell_ended(c);
}

/* --- the supervisor ------------------------------------------------------------------------- */

static void close_all(struct local *c)
{
	close_file(c);
	for (int i = IN; i < END_COUNT; i++)
		close_end(c, (enum end_name)i);
	if (c->open == 0) {
		release(c);
		return;
	}
	uv_close((uv_handle_t *)&c->turn, on_handle_closed);
	uv_close((uv_handle_t *)&c->reap, on_handle_closed);
}

static void explain_loss(struct local *c, int status)
{
	char name[MER_SIGNAL_SIZE];
	if (WIFSIGNALED(status))
		(void)snprintf(c->how.problem, sizeof c->how.problem,
		               "the supervisor of '%s' was killed by %s", c->launch.program,
		               mer_signal_name(WTERMSIG(status), name));
	else
		(void)snprintf(c->how.problem, sizeof c->how.problem,
		               "the supervisor of '%s' ended with exit code %d", c->launch.program,
		               WEXITSTATUS(status));
}

/* The supervisor is reaped: nothing can come of it any more. */
static void on_reaped(struct local *c, int status)
{
	bool closing = c->closing; /* as the end is told it may begin */
	bool well = (closing || c->gone) && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	c->guard = 0;
	if (!well && !c->over && c->base.pid > 1)
		(void)kill((pid_t)-c->base.pid, SIGKILL); /* in the place of a supervisor that was killed */
	if (!c->over && c->how.problem[0] == '\0')
		explain_loss(c, status);
	if (!closing)
		on_gone(c);
	if (!well)
		launch_clear(&c->launch);
	if (closing)
		close_all(c);
}

/* Returns whether the supervisor is reaped. */
static bool try_reap(struct local *c)
{
	int status = 0;
	pid_t pid = waitpid(c->guard, &status, WNOHANG);
	if (pid == 0)
		return false;
	(void)uv_timer_stop(&c->reap);
	close_end(c, EXIT);
	on_reaped(c, pid < 0 ? 0 : status); /* a program that ignores SIGCHLD has no status */
	return true;
}

static void on_reap(uv_timer_t *reap)
{
	(void)try_reap(reap->data);
}

static void on_exit_of_guard(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events;
	const struct end *end = poll->data;
	(void)try_reap(end->owner);
}

/* The supervisor has closed its socket, so it is about to end. */
static void await_exit(struct local *c)
{
	struct end *end = &c->ends[EXIT];
	end->fd = pidfd_open(c->guard, 0);
	if (end->fd >= 0 && uv_poll_init(c->turn.loop, &end->poll, end->fd) == 0) {
		end->poll.data = end;
		end->watched = true;
		c->open++;
		(void)uv_poll_start(&end->poll, UV_READABLE, on_exit_of_guard);
	} else {
		close_end(c, EXIT);
		(void)uv_timer_start(&c->reap, on_reap, REAP_MS, REAP_MS);
	}
}

static void on_report(struct local *c, const struct mer_guard_report *report)
{
	switch ((enum mer_guard_kind)report->kind) {
	case MER_GUARD_NONE: break;
	case MER_GUARD_READY:
		c->prepared = true;
		if (c->launch.input != NULL && c->last)
			take_turns(c);
		c->base.events->prepared(c->base.ctx);
		break;
	case MER_GUARD_STARTED:
		c->how.started = true;
		c->base.pid = report->value;
		MER_DEBUG("started worker=%p pid=%lld", c->base.ctx, (long long)c->base.pid);
		listen_to(c, ERR); /* not before, so that what it says comes from a process that is known */
		if (!c->paused)
			listen_to(c, OUT);
		break;
	case MER_GUARD_FAILED:
		launch_explain(&c->launch, report, c->how.problem, sizeof c->how.problem);
		break;
	case MER_GUARD_EXITED:
	case MER_GUARD_SIGNALED:
		c->how.exit_code = report->kind == MER_GUARD_EXITED ? report->value : -1;
		c->how.signal = report->kind == MER_GUARD_SIGNALED ? report->value : 0;
		c->how.cpu_us = report->cpu_us;
		c->how.max_rss_kib = report->max_rss_kib;
		if (report->kind == MER_GUARD_SIGNALED)
			confine_explain(&c->launch.confine, report, c->how.problem, sizeof c->how.problem);
		c->over = true;
		tell_ended(c);
		break;
	case MER_GUARD_GONE: on_gone(c); break;
	}
}

static void on_control(uv_poll_t *poll, int status, int events)
{
	(void)events;
	struct end *end = poll->data;
	struct local *c = end->owner;
	struct mer_guard_report report;
	ssize_t n;
	/* ECONNRESET: it ended without reading an order; its reports are still there. */
	while ((n = recv(end->fd, &report, sizeof report, MSG_DONTWAIT)) > 0 ||
	       (n < 0 && (errno == EINTR || errno == ECONNRESET)))
		if (n == sizeof report && !c->closing)
			on_report(c, &report);
	if (n < 0 && errno == EAGAIN) {
		if (status < 0)
			(void)uv_poll_start(poll, UV_READABLE, on_control);
		return;
	}
	close_end(c, CONTROL);
	if (!try_reap(c))
		await_exit(c);
}

/* --- start ---------------------------------------------------------------------------------- */

/* A write to a worker that has left must not end the program; one that does anything about the
 * signal is left alone. */
static void block_sigpipe(void)
{
	struct sigaction now;
	sigset_t pipe_only;
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
		(void)pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
}

/* Moves a descriptor above those that the supervisor gets: a program may run with these closed. */
static bool lift(int *fd)
{
	if (*fd > MER_GUARD_FD)
		return true;
	int lifted = fcntl(*fd, F_DUPFD_CLOEXEC, MER_GUARD_FD + 1);
	if (lifted < 0)
		return false;
	(void)close(*fd);
	*fd = lifted;
	return true;
}

static bool open_pair(struct local *c, enum end_name name, int theirs[])
{
	int pair[2];
	int failed = name == CONTROL ? socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)
	                             : pipe2(pair, O_CLOEXEC);
	if (failed != 0)
		return false;
	c->ends[name].fd = pair[name == IN];
	theirs[name] = pair[name != IN];
	return true;
}

/* The connection of a worker of frames; its stdin is empty. A kernel that grants a smaller buffer is
 * only slower. */
static bool open_frames(struct local *c, int theirs[])
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return false;
	c->ends[OUT].fd = pair[0];
	theirs[LAUNCH_FRAME_FD] = pair[1];
	for (int i = 0; i < 2; i++) {
		(void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &(int){ FRAME_BYTES }, sizeof(int));
		(void)setsockopt(pair[i], SOL_SOCKET, SO_RCVBUF, &(int){ FRAME_BYTES }, sizeof(int));
	}
	c->ends[IN].fd = fcntl(pair[0], F_DUPFD_CLOEXEC, MER_GUARD_FD + 1);
	theirs[IN] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return c->ends[IN].fd >= 0 && theirs[IN] >= 0;
}

/* Makes the channels: mer's ends and, in the supervisor's order, the others. */
static enum mer_status open_channels(struct local *c, int theirs[LAUNCH_FDS], struct mer_error *err)
{
	bool frames = c->launch.frames;
	bool good =
		frames ? open_frames(c, theirs) : open_pair(c, IN, theirs) && open_pair(c, OUT, theirs);
	good = good && open_pair(c, ERR, theirs) && open_pair(c, CONTROL, theirs);
	if (good && frames)
		good = (theirs[OUT] = fcntl(theirs[ERR], F_DUPFD_CLOEXEC, MER_GUARD_FD + 1)) >= 0;
	for (int i = 0; i < LAUNCH_FDS && good; i++)
		good = theirs[i] < 0 || lift(&theirs[i]);
	for (int i = IN; i < CHANNEL_COUNT && good; i++)
		good = lift(&c->ends[i].fd);
	return good ? MER_OK
	            : mer_fail(err, MER_EUNREACHABLE, "cannot start '%s': %s", c->launch.program,
	                       strerror(errno));
}

static enum mer_status open_handles(struct local *c, struct uv_loop_s *loop, struct mer_error *err)
{
	(void)uv_idle_init(loop, &c->turn);
	(void)uv_timer_init(loop, &c->reap);
	c->turn.data = c->reap.data = c;
	c->open = 2;
	for (int i = IN; i < CHANNEL_COUNT; i++) {
		int error = uv_poll_init(loop, &c->ends[i].poll, c->ends[i].fd);
		if (error != 0)
			return mer_fail(err, MER_EUNREACHABLE, "cannot start '%s': %s", c->launch.program,
			                uv_strerror(error));
		c->ends[i].poll.data = &c->ends[i];
		c->ends[i].watched = true;
		c->open++;
	}
	return MER_OK;
}

static enum mer_status start(struct meal_carrier *carrier, struct uv_loop_s *loop,
                             const struct mer_worker_spec *spec, struct mer_error *err)
{
	struct local *c = downcast(carrier);
	int theirs[LAUNCH_FDS] = { -1, -1, -1, -1, -1 };
	block_sigpipe();
	enum mer_status st = launch_init(&c->launch, spec, err);
	if (st == MER_OK)
		st = open_channels(c, theirs, err);
	if (st == MER_OK)
		st = open_handles(c, loop, err);
	if (st == MER_OK)
		st = launch_spawn(&c->launch, spec->env, theirs, &c->guard, err);
	for (int i = 0; i < LAUNCH_FDS; i++)
		mer_fd_done(&theirs[i]);
	if (st != MER_OK) {
		close_all(c);
		return st;
	}
	c->in_done = c->launch.input == NULL;
	c->out_done = c->launch.output == NULL;
	if (!c->in_done)
		close_end(c, IN); /* stdin is empty then */
	(void)uv_poll_start(&c->ends[CONTROL].poll, UV_READABLE, on_control);
	return MER_OK;
}

/* --- what the front asks -------------------------------------------------------------------- */

static void go(struct meal_carrier *carrier)
{
	struct local *c = downcast(carrier);
	c->wanted = true;
	try_go(c);
}

static void queue(struct meal_carrier *carrier, const struct mer_str pieces[], size_t n, bool last,
                  const void *owner)
{
	struct local *c = downcast(carrier);
	bool to_file = !c->in_done, idle = c->queue.n == 0;
	if (c->last || (!to_file && c->ends[IN].fd < 0))
		return;
	for (size_t i = 0; i < n; i++)
		meal_queue_add(&c->queue, pieces[i], owner);
	c->last = last;
	if (to_file && c->prepared)
		take_turns(c);
	else if (!to_file && idle && !c->corked)
		flush(c);
}

static enum mer_status tell(struct meal_carrier *carrier, struct mer_str bytes)
{
	struct local *c = downcast(carrier);
	if (c->last || c->ends[IN].fd < 0)
		return MER_OK;
	enum mer_status st = meal_queue_tell(&c->queue, bytes);
	if (st == MER_OK && c->queue.n == 1 && !c->corked)
		flush(c);
	return st;
}

static void hold(struct meal_carrier *carrier, bool pause)
{
	struct local *c = downcast(carrier);
	struct end *out = &c->ends[OUT];
	c->paused = pause;
	if (pause && out->fd >= 0)
		(void)uv_poll_stop(&out->poll);
	else if (!pause && c->how.started)
		listen_to(c, OUT);
	if (c->gone && has_turns(c))
		take_turns(c);
}

static void send_signal(struct meal_carrier *carrier, enum meal_signal signal)
{
	struct local *c = downcast(carrier);
	if (signal == MEAL_TERM && c->went) {
		order(c, MER_GUARD_TERMINATE);
		return;
	}
	order(c, MER_GUARD_KILL);
	if (c->guard > 0)
		(void)kill(c->guard, SIGCONT); /* it may have been stopped */
	meal_queue_drop(&c->queue);
	c->last = true;
	close_end(c, IN);
	if (!c->gone)
		close_file(c);
}

static enum mer_status settle(struct meal_carrier *carrier, const void *owner, bool hear)
{
	struct local *c = downcast(carrier);
	enum mer_status st = meal_queue_settle(&c->queue, owner);
	if (st != MER_OK)
		send_signal(carrier, MEAL_KILL);
	for (int i = 0; hear && i < DRAIN_READS && c->ends[ERR].fd >= 0; i++) {
		ssize_t n = read(c->ends[ERR].fd, c->buffer, c->room);
		if (n <= 0) /* its end is told in its turn */
			break;
		c->base.events->data(c->base.ctx, MEAL_STDERR, c->buffer, (size_t)n);
	}
	return st;
}

static int in_flight(struct meal_carrier *carrier)
{
	struct local *c = downcast(carrier);
	for (int i = IN; i <= ERR;
	     i++) { /* in this order: what it prints before it reads, then is there */
		int n = 0;
		if (c->ends[i].fd >= 0 && ioctl(c->ends[i].fd, FIONREAD, &n) < 0)
			return -1;
		if (n > 0 || c->queue.n > 0)
			return 1;
	}
	return 0;
}

static void close_carrier(struct meal_carrier *carrier)
{
	struct local *c = downcast(carrier);
	if (c->open == 0) {
		close_all(c);
		return;
	}
	c->closing = true;
	(void)uv_idle_stop(&c->turn);
	for (int i = IN; i <= ERR; i++)
		close_end(c, (enum end_name)i);
	if (c->guard == 0)
		close_all(c);
	else if (c->ends[CONTROL].fd >= 0)
		(void)shutdown(c->ends[CONTROL].fd, SHUT_WR); /* it kills what lives, tidies up and ends */
}

const struct meal_carrier_ops meal_local = {
	.name = "local",
	.start = start,
	.go = go,
	.write = queue,
	.tell = tell,
	.pause = hold,
	.signal = send_signal,
	.settle = settle,
	.in_flight = in_flight,
	.close = close_carrier,
};

struct meal_carrier *meal_local_new(bool frames)
{
	size_t room = frames ? READ_FRAME_BYTES : READ_BYTES;
	struct local *c = malloc(sizeof *c + room);
	if (c == NULL)
		return NULL;
	*c = (struct local){ .base.ops = &meal_local, .room = room };
	c->file = -1;
	c->how.exit_code = -1;
	for (int i = IN; i < END_COUNT; i++)
		c->ends[i] = (struct end){ .owner = c, .fd = -1 };
	return &c->base;
}
