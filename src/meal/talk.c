/* A worker that is tested: its process, and the bytes to and from it; talk.h. */
#include "talk.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 100 /* between two looks at whether to stop */

void talk_breaks(struct talk *talk, enum rule rule, const char *fmt, ...)
{
	struct conform *conform = talk->conform;
	struct mer_error seen;
	char text[400];
	va_list args;
	if (conform->told[rule] || conform_is_stopped(conform))
		return;
	conform->told[rule] = true;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	(void)mer_fail(&seen, MER_EMODEL, "%s%s%s", talk->name, talk->name[0] != '\0' ? ": " : "",
	               text);
	conform->on_broken(conform->ctx, mer_conform_rules[rule].name, seen.message);
}

/* --- its process ---------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void talk_close_connection(struct talk *talk)
{
	if (talk->out == talk->in)
		talk->out = -1;
	close_fd(&talk->in);
	close_fd(&talk->out);
	mer_buf_clear(&talk->to);
}

static bool open_ends(struct talk *talk, int theirs[LAUNCH_FDS])
{
	int in[2], out[2], log[2], control[2];
	if (pipe2(log, O_CLOEXEC) != 0)
		return false;
	talk->log = log[0];
	theirs[2] = log[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0)
		return false;
	talk->control = control[0];
	theirs[MER_GUARD_FD] = control[1];
	if (talk->stdio) {
		if (pipe2(in, O_CLOEXEC) != 0)
			return false;
		talk->in = in[1];
		theirs[0] = in[0];
		if (pipe2(out, O_CLOEXEC) != 0)
			return false;
		talk->out = out[0];
		theirs[1] = out[1];
	} else {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0)
			return false;
		talk->in = talk->out = in[0];
		theirs[LAUNCH_FRAME_FD] = in[1];
		theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		theirs[1] = fcntl(log[1], F_DUPFD_CLOEXEC, MER_GUARD_FD + 1);
	}
	for (int i = 0; i < LAUNCH_FDS; i++)
		if (theirs[i] >= 0 && theirs[i] <= MER_GUARD_FD) {
			int lifted = fcntl(theirs[i], F_DUPFD_CLOEXEC, MER_GUARD_FD + 1);
			(void)close(theirs[i]);
			theirs[i] = lifted;
		}
	return fcntl(talk->in, F_SETFL, O_NONBLOCK) == 0 && fcntl(talk->out, F_SETFL, O_NONBLOCK) == 0;
}

static ino_t inode_of(int fd)
{
	struct stat info;
	return fd >= 0 && fstat(fd, &info) == 0 ? info.st_ino : 0;
}

enum mer_status talk_start(struct talk *talk, struct conform *conform, const char *name, bool stdio,
                           struct mer_error *err)
{
	struct mer_worker_spec spec = *conform->spec;
	int theirs[LAUNCH_FDS] = { -1, -1, -1, -1, -1 };
	spec.protocol = MER_PROTOCOL_FRAME;
	spec.frame_stdio = stdio;
	*talk = (struct talk){
		.conform = conform,
		.name = name,
		.stdio = stdio,
		.in = -1,
		.out = -1,
		.log = -1,
		.control = -1,
		.exit_code = -1,
	};
	mer_wire_reader_init(&talk->reader, TALK_BODY_MAX);
	mer_buf_init(&talk->to, SIZE_MAX);
	mer_buf_init(&talk->text, TALK_LARGE);
	enum mer_status st = launch_init(&talk->launch, &spec, err);
	if (st == MER_OK && !open_ends(talk, theirs))
		st = mer_fail(err, MER_EUNREACHABLE, "cannot start '%s': %s", talk->launch.program,
		              strerror(errno));
	if (st == MER_OK)
		st = launch_spawn(&talk->launch, spec.env, theirs, &talk->guard, err);
	talk->inode = inode_of(theirs[LAUNCH_FRAME_FD]);
	for (int i = 0; i < LAUNCH_FDS; i++)
		mer_fd_done(&theirs[i]);
	if (st == MER_OK && send(talk->control, &(char){ MER_GUARD_GO }, 1, MSG_NOSIGNAL) != 1)
		st = mer_fail(err, MER_EUNREACHABLE, "the supervisor ended: %s", strerror(errno));
	return st;
}

/* The supervisor kills what lives as soon as its socket is closed, and ends. */
void talk_end(struct talk *talk)
{
	talk_close_connection(talk);
	close_fd(&talk->log);
	close_fd(&talk->control);
	while (talk->guard > 0 && waitpid(talk->guard, NULL, 0) < 0 && errno == EINTR)
		continue;
	launch_release(&talk->launch);
	mer_wire_reader_release(&talk->reader);
	mer_content_release(&talk->content);
	json_decref(talk->announced);
	json_decref(talk->meta);
	mer_buf_release(&talk->to);
	mer_buf_release(&talk->text);
}

static void hear_report(struct talk *talk)
{
	struct mer_guard_report report;
	ssize_t n = recv(talk->control, &report, sizeof report, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof report) {
		talk->over = true;
		close_fd(&talk->control);
	} else if (report.kind == MER_GUARD_STARTED) {
		talk->worker = report.value;
	} else if (report.kind == MER_GUARD_FAILED) {
		launch_explain(&talk->launch, &report, talk->problem, sizeof talk->problem);
	} else if (report.kind == MER_GUARD_EXITED || report.kind == MER_GUARD_SIGNALED) {
		talk->exit_code = report.kind == MER_GUARD_EXITED ? report.value : -1;
		talk->signal = report.kind == MER_GUARD_SIGNALED ? report.value : 0;
		talk->over = true;
	} else if (report.kind == MER_GUARD_GONE) {
		talk->over = true;
	}
}

/* Keeps the end of what it prints. */
static void hear_log(struct talk *talk)
{
	char bytes[4096];
	ssize_t n = read(talk->log, bytes, sizeof bytes);
	if (n <= 0) {
		if (n == 0 || errno != EINTR)
			close_fd(&talk->log);
		return;
	}
	size_t len = (size_t)n < TALK_SAID_MAX ? (size_t)n : TALK_SAID_MAX;
	size_t keep = talk->said_len < TALK_SAID_MAX - len ? talk->said_len : TALK_SAID_MAX - len;
	memmove(talk->said, talk->said + talk->said_len - keep, keep);
	memcpy(talk->said + keep, bytes + n - len, len);
	talk->said_len = keep + len;
}

void talk_describe(const struct talk *talk, char text[256])
{
	size_t end = talk->said_len;
	while (end > 0 && (talk->said[end - 1] == '\n' || talk->said[end - 1] == '\r'))
		end--;
	size_t begin = end;
	while (begin > 0 && talk->said[begin - 1] != '\n')
		begin--;
	char name[MER_SIGNAL_SIZE];
	int at = !talk->over ? snprintf(text, 256, "it lives on")
	         : talk->signal > 0
	             ? snprintf(text, 256, "it was killed by %s", mer_signal_name(talk->signal, name))
	             : snprintf(text, 256, "it ended with exit code %d", talk->exit_code);
	if (end > begin)
		(void)snprintf(text + at, 256 - (size_t)at, ", its last words: %.*s",
		               (int)(end - begin < 150 ? end - begin : 150), talk->said + begin);
}

static void hear_frames(struct talk *talk)
{
	static char bytes[1 << 16];
	ssize_t n = read(talk->out, bytes, sizeof bytes);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		if (!talk->broken && !talk->unsound && !mer_wire_is_between(&talk->reader))
			talk_breaks(talk, ONE_LAST, "the connection ended in the middle of a frame");
		talk_close_connection(talk);
		return;
	}
	talk_hear(talk, bytes, (size_t)n);
}

/* --- waiting -------------------------------------------------------------------------------- */

static void flush(struct talk *talk)
{
	ssize_t n = talk->to.len == 0 ? 0 : write(talk->in, talk->to.ptr, talk->to.len);
	if (n > 0)
		mer_buf_drop(&talk->to, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		mer_buf_clear(&talk->to); /* the end of its side tells */
}

bool talk_wait(struct talk *talk, talk_until_fn *until, int64_t ms)
{
	int64_t end = mer_clock_ms() + ms;
	while (!until(talk)) {
		int64_t left = end - mer_clock_ms();
		struct pollfd on[] = {
			{ .fd = talk->unread ? -1 : talk->out, .events = POLLIN },
			{ .fd = talk->to.len > 0 ? talk->in : -1, .events = POLLOUT },
			{ .fd = talk->control, .events = POLLIN },
			{ .fd = talk->log, .events = POLLIN },
		};
		if (mer_buf_check(&talk->to, NULL) != MER_OK)
			talk->conform->no_memory = true;
		if (left <= 0 || talk->conform->no_memory || conform_is_stopped(talk->conform) ||
		    (talk->out < 0 && talk->control < 0))
			return false;
		if (poll(on, sizeof on / sizeof *on, left < LOOK_MS ? (int)left : LOOK_MS) <= 0)
			continue;
		if (on[1].revents != 0)
			flush(talk);
		if (on[0].revents != 0)
			hear_frames(talk);
		if (on[3].revents != 0)
			hear_log(talk);
		if (on[2].revents != 0)
			hear_report(talk);
	}
	return true;
}
