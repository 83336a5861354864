/* Programs that are run for what they print; mer/child.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mer/child.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PIECE ((size_t)8192)
#define LOOK_MS 5 /* between two looks whether it has ended, where the kernel does not tell */

/* One that is under way. */
struct running {
	const struct mer_child *child;
	pid_t pid;    /* 0: it does not run, or has been waited for */
	int out, log; /* -1: at its end */
};

static void running_done(struct running *running)
{
	int status;
	if (running->pid > 0) {
		(void)kill(-running->pid, SIGKILL);
		while (waitpid(running->pid, &status, 0) < 0 && errno == EINTR)
			continue;
	}
	mer_fd_done(&running->out);
	mer_fd_done(&running->log);
}

/* --- start ------------------------------------------------------------------------------------- */

/* Some descriptors of libraries are not marked as ours alone. log -1: our stderr. Returns 0 or an errno. */
static int add_actions(posix_spawn_file_actions_t *actions, int out, int log)
{
	int error = posix_spawn_file_actions_adddup2(actions, out, STDOUT_FILENO);
	if (error == 0 && log >= 0)
		error = posix_spawn_file_actions_adddup2(actions, log, STDERR_FILENO);
	if (error == 0)
		error = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (error == 0)
		error = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
	return error;
}

static void set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, defaults;
	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	sigaddset(&defaults, SIGCHLD);
	(void)posix_spawnattr_setsigmask(attr, &none);
	(void)posix_spawnattr_setsigdefault(attr, &defaults);
	(void)posix_spawnattr_setpgroup(attr, 0);
	(void)posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
	                                         POSIX_SPAWN_SETSIGDEF);
}

static int spawn(const struct mer_child *child, int out, int log, pid_t *pid)
{
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t actions;
	int error = posix_spawnattr_init(&attr);
	if (error != 0)
		return error;
	error = posix_spawn_file_actions_init(&actions);
	if (error == 0) {
		set_attributes(&attr);
		error = add_actions(&actions, out, log);
		if (error == 0)
			error = posix_spawnp(pid, child->program, &actions, &attr,
			                     (char *const *)(uintptr_t)child->argv,
			                     (char *const *)(uintptr_t)child->env);
		(void)posix_spawn_file_actions_destroy(&actions);
	}
	(void)posix_spawnattr_destroy(&attr);
	return error;
}

/* Returns 0 or an errno. */
static int start(struct running *running)
{
	int out[2], log[2] = { -1, -1 };
	if (pipe2(out, O_CLOEXEC) < 0)
		return errno;
	running->out = out[0];
	int error = running->child->log != NULL && pipe2(log, O_CLOEXEC) < 0 ? errno : 0;
	running->log = log[0];
	if (error == 0)
		error = spawn(running->child, out[1], log[1], &running->pid);
	if (error != 0)
		running->pid = 0;
	(void)close(out[1]);
	mer_fd_done(&log[1]);
	return error;
}

/* --- what it says, and its end ------------------------------------------------------------------ */

/* Waits for one of two descriptors, -1: none, but no longer than that. MER_OK: one is ready, or none within most_ms. */
static enum mer_status await(const struct mer_child *child, struct pollfd fds[3], int most_ms)
{
	int64_t left_ms = child->deadline_ms - mer_clock_ms();
	if (left_ms <= 0)
		return MER_ETIMEOUT;
	fds[0] = (struct pollfd){ .fd = child->cancel_fd, .events = POLLIN };
	if (poll(fds, 3, left_ms < most_ms ? (int)left_ms : most_ms) < 0)
		fds[0].revents = fds[1].revents = fds[2].revents = 0;
	return fds[0].revents != 0 ? MER_ECANCELED : MER_OK;
}

/* Reads what is there, into the buffer itself: it may be a secret. At its end *fd becomes -1. */
static enum mer_status drain(int *fd, struct mer_buf *buf)
{
	size_t left = buf->limit - buf->len;
	size_t n = left < PIECE ? left : PIECE;
	char *to = mer_buf_room(buf, n);
	if (to == NULL)
		return buf->status;
	ssize_t got = read(*fd, to, n);
	if (got < 0 && errno == EINTR)
		return MER_OK;
	if (got <= 0) {
		(void)close(*fd);
		*fd = -1;
		return MER_OK;
	}
	mer_buf_grow(buf, (size_t)got);
	return buf->len < buf->limit ? MER_OK : MER_ELIMIT;
}

static enum mer_status hear(struct running *running)
{
	enum mer_status st = MER_OK;
	while (st == MER_OK && (running->out >= 0 || running->log >= 0)) {
		struct pollfd fds[3] = { { .fd = -1 },
			                     { .fd = running->out, .events = POLLIN },
			                     { .fd = running->log, .events = POLLIN } };
		st = await(running->child, fds, INT_MAX);
		if (st == MER_OK && fds[1].revents != 0)
			st = drain(&running->out, running->child->out);
		if (st == MER_OK && fds[2].revents != 0)
			st = drain(&running->log, running->child->log);
	}
	return st;
}

/* Its end, which mostly follows that of what it says at once. */
static enum mer_status reap(struct running *running, int *status)
{
	MER_AUTO(mer_fd_done) int fd = (int)syscall(SYS_pidfd_open, running->pid, 0);
	for (;;) {
		struct pollfd fds[3] = { { .fd = -1 }, { .fd = fd, .events = POLLIN }, { .fd = -1 } };
		pid_t ended = waitpid(running->pid, status, WNOHANG);
		if (ended > 0 || (ended < 0 && errno != EINTR)) {
			running->pid = 0;
			return MER_OK;
		}
		enum mer_status st = await(running->child, fds, fd >= 0 ? INT_MAX : LOOK_MS);
		if (st != MER_OK)
			return st;
	}
}

enum mer_status mer_child_run(const struct mer_child *child, int *status, int *error)
{
	MER_AUTO(running_done) struct running running = { .child = child, .out = -1, .log = -1 };
	*status = 0;
	*error = start(&running);
	if (*error != 0)
		return *error == ENOMEM ? MER_ENOMEM : MER_EIO;
	enum mer_status st = hear(&running);
	return st == MER_OK ? reap(&running, status) : st;
}
