/* Runs `ssh -G`; ssh_config.h. */
#include "ssh_config.h"
#include "ssh_module.h"
#include "ssh_wait.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/remote.h>
#include <mer/text.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define OUTPUT_MAX ((size_t)1 << 20)

/* A program under way, and what it says. */
struct child {
	pid_t pid;
	int out, err; /* -1: at its end */
	struct mer_buf said, complained;
};

static void child_done(struct child *child)
{
	int status;
	if (child->pid > 0) {
		(void)kill(-child->pid, SIGKILL);
		while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
			continue;
	}
	mer_fd_done(&child->out);
	mer_fd_done(&child->err);
	mer_buf_release(&child->said);
	mer_buf_release(&child->complained);
}

/* In a group of its own, without an input. Returns 0 or an errno. */
static int spawn(const char *const argv[], const char *const env[], int out, int err, pid_t *pid)
{
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t actions;
	sigset_t none, defaults;
	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	sigaddset(&defaults, SIGCHLD);
	int error = posix_spawnattr_init(&attr);
	if (error != 0)
		return error;
	error = posix_spawn_file_actions_init(&actions);
	if (error == 0) {
		(void)posix_spawnattr_setsigmask(&attr, &none);
		(void)posix_spawnattr_setsigdefault(&attr, &defaults);
		(void)posix_spawnattr_setpgroup(&attr, 0);
		(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
		                                          POSIX_SPAWN_SETSIGDEF);
		error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		if (error == 0)
			error = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
		if (error == 0)
			error = posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
		if (error == 0)
			error = posix_spawnp(pid, argv[0], &actions, &attr, (char *const *)(uintptr_t)argv,
			                     (char *const *)(uintptr_t)env);
		(void)posix_spawn_file_actions_destroy(&actions);
	}
	(void)posix_spawnattr_destroy(&attr);
	return error;
}

static enum mer_status start(struct child *child, const char *const argv[], const char *const env[],
                             struct mer_error *err)
{
	int out[2], log[2];
	if (pipe2(out, O_CLOEXEC) < 0)
		return mer_fail(err, MER_EUNREACHABLE, "cannot run ssh: %s", strerror(errno));
	child->out = out[0];
	if (pipe2(log, O_CLOEXEC) < 0) {
		int error = errno;
		(void)close(out[1]);
		return mer_fail(err, MER_EUNREACHABLE, "cannot run ssh: %s", strerror(error));
	}
	child->err = log[0];
	int error = spawn(argv, env, out[1], log[1], &child->pid);
	(void)close(out[1]);
	(void)close(log[1]);
	if (error == 0)
		return MER_OK;
	child->pid = 0;
	return mer_fail(err, MER_EUNREACHABLE, "cannot start 'ssh': %s (is openssh-client installed?)",
	                strerror(error));
}

/* Reads what is there. At its end, or when it is more than anybody would say, *fd becomes -1. */
static void drain(int *fd, struct mer_buf *buf)
{
	char room[8192];
	ssize_t n = read(*fd, room, sizeof room);
	if (n > 0)
		mer_buf_add(buf, room, (size_t)n);
	if ((n < 0 && errno != EINTR) || n == 0 || buf->status != MER_OK) {
		(void)close(*fd);
		*fd = -1;
	}
}

static enum mer_status hear(struct child *child, struct ssh_until until)
{
	while (child->out >= 0 || child->err >= 0) {
		struct pollfd fds[3] = { { .fd = until.cancel_fd, .events = POLLIN },
			                     { .fd = child->out, .events = POLLIN },
			                     { .fd = child->err, .events = POLLIN } };
		int left_ms = ssh_left_ms(until);
		int ready = left_ms > 0 ? poll(fds, 3, left_ms) : 0;
		if (ready > 0 && fds[0].revents != 0)
			return MER_ECANCELED;
		if (ready == 0)
			return MER_ETIMEOUT;
		if (ready > 0 && fds[1].revents != 0)
			drain(&child->out, &child->said);
		if (ready > 0 && fds[2].revents != 0)
			drain(&child->err, &child->complained);
	}
	return MER_OK;
}

/* Its end, which follows at once that of what it says. */
static enum mer_status reap(struct child *child, struct ssh_until until, int *status)
{
	MER_AUTO(mer_fd_done) int fd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	enum mer_status st = fd >= 0 ? ssh_wait(fd, POLLIN, until) : MER_OK;
	if (st != MER_OK)
		return st;
	while (waitpid(child->pid, status, 0) < 0 && errno == EINTR)
		continue;
	child->pid = 0;
	return MER_OK;
}

/* The last line of a complaint: "FILE line 3: Bad configuration option: x". */
static enum mer_status refuse(struct child *child, const char *server, struct mer_error *err)
{
	mer_buf_byte(&child->complained, '\0');
	const char *text = child->complained.ptr != NULL ? child->complained.ptr : "";
	size_t end = strlen(text), start;
	while (end > 0 && strchr("\r\n", text[end - 1]) != NULL)
		end--;
	for (start = end; start > 0 && text[start - 1] != '\n'; start--)
		;
	(void)mer_fail(err, MER_EINPUT, "server '%s': ssh does not take its configuration: %.*s",
	               server, (int)(end - start), text + start);
	mer_hint(err, "mend ssh's configuration, or see 'server show %.100s'", server);
	return MER_EINPUT;
}

static enum mer_status ask(const struct mer_remote *remote, struct child *child,
                           struct ssh_until until, struct mer_error *err)
{
	static const char *const defaults[] = { MEAL_SSH_DEFAULTS, NULL };
	const char *const *const lists[] = { remote->options, defaults };
	struct mer_remote_words words;
	int status = 0;
	enum mer_status st =
		mer_remote_words(remote, "-G", lists, sizeof lists / sizeof *lists, NULL, &words, err);
	if (st == MER_OK)
		st = start(child, words.argv, remote->env, err);
	if (st != MER_OK)
		return st;
	st = hear(child, until);
	if (st == MER_OK)
		st = reap(child, until, &status);
	if (st == MER_ETIMEOUT)
		return mer_fail(err, st, "server '%s': 'ssh -G' does not end", remote->server);
	if (st != MER_OK)
		return mer_fail(err, st, "canceled");
	return status == 0 ? MER_OK : refuse(child, remote->server, err);
}

enum mer_status ssh_config_load(const struct mer_remote *remote, int cancel_fd, int64_t deadline_ms,
                                struct ssh_config **out, struct mer_error *err)
{
	MER_AUTO(child_done) struct child child = { .out = -1, .err = -1 };
	const struct ssh_until until = { cancel_fd, deadline_ms };
	mer_buf_init(&child.said, OUTPUT_MAX);
	mer_buf_init(&child.complained, OUTPUT_MAX);
	enum mer_status st = ask(remote, &child, until, err);
	if (st == MER_OK)
		st = mer_buf_check(&child.said, err);
	if (st != MER_OK)
		return st;
	const struct mer_str text = { child.said.ptr, child.said.len };
	st = ssh_config_parse(text, remote->env, out, err);
	return st == MER_OK ? st : mer_wrap(err, st, "server '%s'", remote->server);
}
