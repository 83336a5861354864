/* References to secrets, resolved when used. What they give is never part of a message. */
#include <errno.h>
#include <fcntl.h>
#include <mer/buf.h>
#include <mer/child.h>
#include <mer/clean.h>
#include <mer/ref.h>
#include <mer/text.h>
#include <string.h>
#include <sys/wait.h>

#define SECRET_MAX ((size_t)64 * 1024)
#define COMMAND_MS 30000

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

/* A secret while it is read: all of its room is there from the start, since what grows leaves a copy behind, and is
 * wiped. A byte too many is seen. */
static enum mer_status secret_init(struct mer_buf *secret)
{
	mer_buf_init(secret, SECRET_MAX + 1);
	return mer_buf_room(secret, SECRET_MAX + 1) != NULL ? MER_OK : MER_ENOMEM;
}

static void secret_done(struct mer_buf *secret)
{
	if (secret->ptr != NULL)
		explicit_bzero(secret->ptr, secret->cap);
	mer_buf_release(secret);
}

static enum mer_status fail_long(const char *ref, struct mer_error *err)
{
	return mer_fail(err, MER_EINPUT, "'%s' gives more than %zu bytes", ref, SECRET_MAX);
}

/* Gives the text without one newline at its end. */
static enum mer_status give(const char *ref, const char *bytes, size_t len, char **out,
                            struct mer_error *err)
{
	if (len > SECRET_MAX)
		return fail_long(ref, err);
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

/* Reads to the end, or to one byte too many. Returns 0 or an errno. */
static int read_secret(int fd, struct mer_buf *secret)
{
	while (secret->len < secret->limit) {
		ssize_t n = read(fd, secret->ptr + secret->len, secret->limit - secret->len);
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return errno;
		mer_buf_grow(secret, n < 0 ? 0 : (size_t)n);
	}
	return 0;
}

static enum mer_status from_file(const char *ref, const char *path, char **out,
                                 struct mer_error *err)
{
	MER_AUTO(secret_done) struct mer_buf secret;
	if (secret_init(&secret) != MER_OK)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	MER_AUTO(mer_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int error = fd < 0 ? errno : read_secret(fd, &secret);
	if (error != 0)
		return mer_fail(err, MER_EINPUT, "cannot read '%s': %s", ref, strerror(error));
	return give(ref, secret.ptr, secret.len, out, err);
}

/* Why a command gave nothing. */
static enum mer_status fail_command(const char *ref, enum mer_status why, int error,
                                    struct mer_error *err)
{
	if (why == MER_ENOMEM)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (why == MER_ETIMEOUT)
		return mer_fail(err, MER_EINPUT, "'%s' took longer than %d s", ref, COMMAND_MS / 1000);
	if (why == MER_ELIMIT)
		return fail_long(ref, err);
	return mer_fail(err, MER_EINPUT, "cannot run '%s': %s", ref, strerror(error));
}

static enum mer_status from_command(const char *ref, const char *command, char **out,
                                    struct mer_error *err)
{
	const char *const argv[] = { "sh", "-c", command, NULL };
	MER_AUTO(secret_done) struct mer_buf secret;
	const struct mer_child child = { .program = "/bin/sh",
		                             .argv = argv,
		                             .env = (const char *const *)environ,
		                             .cancel_fd = -1,
		                             .deadline_ms = mer_clock_ms() + COMMAND_MS,
		                             .out = &secret };
	int status = 0, error = 0;
	enum mer_status st = secret_init(&secret);
	if (st == MER_OK)
		st = mer_child_run(&child, &status, &error);
	if (st != MER_OK)
		return fail_command(ref, st, error, err);
	if (WIFSIGNALED(status))
		return mer_fail(err, MER_EINPUT, "'%s' was killed by signal %d", ref, WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
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
