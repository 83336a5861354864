/* References to secrets, resolved when used. What they give is never part of a message. */
#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/ref.h>
#include <mer/text.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define SECRET_MAX ((size_t)64 * 1024)
#define COMMAND_MS 30000
#define LOOK_MS 5 /* between two looks whether a command that closed its stdout has ended */

enum kind { ENV, FILE_PATH, COMMAND, KIND_COUNT };

static const char *const prefixes[KIND_COUNT] = {
	[ENV] = "env:", [FILE_PATH] = "file:", [COMMAND] = "cmd:"
};

/* What stands behind the prefix, or NULL; *kind is written with it. */
static const char *rest_of(const char *text, enum kind *kind)
{
	for (size_t i = 0; i < KIND_COUNT; i++) {
		size_t len = strlen(prefixes[i]);
		if (strncmp(text, prefixes[i], len) == 0 && text[len] != '\0') {
			*kind = (enum kind)i;
			return text + len;
		}
	}
	return NULL;
}

bool mer_ref_is(const char *text)
{
	enum kind kind;
	return rest_of(text, &kind) != NULL;
}

enum mer_status mer_ref_check(const char *what, const char *text, struct mer_error *err)
{
	if (text == NULL || mer_ref_is(text))
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "%s holds a plain secret", what);
	mer_hint(err, "say where it is: env:NAME, file:PATH or cmd:COMMAND");
	return MER_EINPUT;
}

const char *mer_ref_env_name(const char *text)
{
	enum kind kind;
	const char *name = rest_of(text, &kind);
	return name != NULL && kind == ENV ? name : NULL;
}

void mer_ref_wipe(char *text)
{
	if (text == NULL)
		return;
	explicit_bzero(text, strlen(text));
	free(text);
}

/* A secret while it is read; all of its room is wiped. */
struct secret {
	char *ptr; /* SECRET_MAX + 1 bytes, so that one byte too many is seen */
	size_t len;
};

static void secret_done(struct secret *secret)
{
	if (secret->ptr != NULL)
		explicit_bzero(secret->ptr, SECRET_MAX + 1);
	free(secret->ptr);
}

/* Gives the text without one newline at its end. */
static enum mer_status give(const char *ref, const char *bytes, size_t len, char **out,
                            struct mer_error *err)
{
	if (len > SECRET_MAX)
		return mer_fail(err, MER_EINPUT, "'%s' gives more than %zu bytes", ref, SECRET_MAX);
	if (len > 0 && bytes[len - 1] == '\n')
		len--;
	if (len > 0 && memchr(bytes, '\0', len) != NULL)
		return mer_fail(err, MER_EINPUT, "'%s' gives a NUL", ref);
	char *text = malloc(len + 1);
	if (text == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (len > 0)
		memcpy(text, bytes, len);
	text[len] = '\0';
	*out = text;
	return MER_OK;
}

/* Reads to the end, to one byte too many, or to the deadline (ETIMEDOUT). Returns 0 or an errno. */
static int read_secret(int fd, int64_t deadline_ms, struct secret *secret)
{
	secret->ptr = malloc(SECRET_MAX + 1);
	if (secret->ptr == NULL)
		return ENOMEM;
	while (secret->len <= SECRET_MAX) {
		int64_t left_ms = deadline_ms - mer_clock_ms();
		struct pollfd readable = { .fd = fd, .events = POLLIN };
		int ready = left_ms <= 0 ? 0 : poll(&readable, 1, (int)left_ms);
		if (ready == 0)
			return ETIMEDOUT;
		ssize_t n =
			ready < 0 ? -1 : read(fd, secret->ptr + secret->len, SECRET_MAX + 1 - secret->len);
		if (n < 0 && errno != EINTR)
			return errno;
		if (n == 0)
			return 0;
		secret->len += n < 0 ? 0 : (size_t)n;
	}
	return 0;
}

static enum mer_status from_file(const char *ref, const char *path, char **out,
                                 struct mer_error *err)
{
	MER_AUTO(secret_done) struct secret secret = { 0 };
	MER_AUTO(mer_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int error = fd < 0 ? errno : read_secret(fd, INT64_MAX, &secret);
	if (error == ENOMEM)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (error != 0)
		return mer_fail(err, MER_EINPUT, "cannot read '%s': %s", ref, strerror(error));
	return give(ref, secret.ptr, secret.len, out, err);
}

/* Starts the command in a process group of its own, without an input. It has none of our descriptors: some of
 * libraries are not marked as ours alone. Returns 0 or an errno. */
static int spawn(const char *command, int output, pid_t *pid)
{
	char *copy = strdup(command);
	char sh[] = "sh", option[] = "-c";
	char *argv[] = { sh, option, copy, NULL };
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t actions;
	sigset_t none, defaults;
	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	sigaddset(&defaults, SIGCHLD);
	if (copy == NULL)
		return ENOMEM;
	int error = posix_spawnattr_init(&attr);
	if (error == 0 && (error = posix_spawn_file_actions_init(&actions)) != 0)
		(void)posix_spawnattr_destroy(&attr);
	if (error == 0) {
		(void)posix_spawnattr_setsigmask(&attr, &none);
		(void)posix_spawnattr_setsigdefault(&attr, &defaults);
		(void)posix_spawnattr_setpgroup(&attr, 0);
		(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
		                                          POSIX_SPAWN_SETSIGDEF);
		error = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
		if (error == 0)
			error =
				posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		if (error == 0)
			error = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
		if (error == 0)
			error = posix_spawn(pid, "/bin/sh", &actions, &attr, argv, environ);
		(void)posix_spawn_file_actions_destroy(&actions);
		(void)posix_spawnattr_destroy(&attr);
	}
	free(copy);
	return error;
}

/* Waits until the deadline, then kills. Returns whether it ended by itself. */
static bool reap(pid_t pid, int64_t deadline_ms, int *status)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * 1000000L };
	pid_t reaped;
	while ((reaped = waitpid(pid, status, WNOHANG)) == 0 && mer_clock_ms() < deadline_ms)
		(void)nanosleep(&pause, NULL);
	if (reaped != 0)
		return true;
	(void)kill(-pid, SIGKILL);
	while (waitpid(pid, status, 0) < 0 && errno == EINTR)
		continue;
	return false;
}

static enum mer_status from_command(const char *ref, const char *command, char **out,
                                    struct mer_error *err)
{
	int ends[2];
	int64_t deadline_ms = mer_clock_ms() + COMMAND_MS;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return mer_fail(err, MER_EINPUT, "cannot run '%s': %s", ref, strerror(errno));
	pid_t pid = 0;
	int error = spawn(command, ends[1], &pid);
	(void)close(ends[1]);
	MER_AUTO(mer_fd_done) int fd = ends[0];
	MER_AUTO(secret_done) struct secret secret = { 0 };
	if (error != 0)
		return mer_fail(err, error == ENOMEM ? MER_ENOMEM : MER_EINPUT, "cannot run '%s': %s", ref,
		                strerror(error));
	int status = 0;
	error = read_secret(fd, deadline_ms, &secret);
	bool in_time = reap(pid, error != 0 || secret.len > SECRET_MAX ? 0 : deadline_ms, &status);
	if (error == ETIMEDOUT || (error == 0 && secret.len <= SECRET_MAX && !in_time))
		return mer_fail(err, MER_EINPUT, "'%s' took longer than %d s", ref, COMMAND_MS / 1000);
	if (error != 0)
		return mer_fail(err, MER_EINPUT, "cannot read from '%s': %s", ref, strerror(error));
	if (WIFSIGNALED(status) && in_time)
		return mer_fail(err, MER_EINPUT, "'%s' was killed by signal %d", ref, WTERMSIG(status));
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return mer_fail(err, MER_EINPUT, "'%s' ended with exit code %d", ref, WEXITSTATUS(status));
	return give(ref, secret.ptr, secret.len, out, err);
}

enum mer_status mer_ref_resolve(const char *text, char **out, struct mer_error *err)
{
	enum kind kind;
	const char *rest = rest_of(text, &kind);
	if (rest == NULL)
		return mer_fail(err, MER_EINPUT, "no reference: env:NAME, file:PATH or cmd:COMMAND");
	if (kind == FILE_PATH)
		return from_file(text, rest, out, err);
	if (kind == COMMAND)
		return from_command(text, rest, out, err);
	const char *value = getenv(rest);
	if (value == NULL)
		return mer_fail(err, MER_EINPUT, "the variable of '%s' is not set", text);
	return give(text, value, strlen(value), out, err);
}
