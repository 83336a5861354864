/* The operator's editor. The text is in a file of its own, 0600, which goes when it ends. */
#include "editor.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <signal.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20 }; /* as of a command */

struct editing {
	uv_process_t child;
	bool done;
	int64_t code;
	int signal;
	const struct session *s;
};

static const char *editor_name(void)
{
	const char *names[] = { getenv("VISUAL"), getenv("EDITOR") };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (names[i] != NULL && names[i][0] != '\0')
			return names[i];
	}
	return "vi";
}

static void on_closed(uv_handle_t *handle)
{
	struct editing *editing = handle->data;
	editing->done = true;
}

static void on_exit_of(uv_process_t *child, int64_t code, int signal)
{
	struct editing *editing = child->data;
	editing->code = code;
	editing->signal = signal;
	uv_close((uv_handle_t *)child, on_closed);
}

/* Ctrl-C is the editor's own; what asks mer to end asks it too. */
static void on_cancel(void *ctx, bool kill)
{
	struct editing *editing = ctx;
	(void)kill;
	if (editing->s->signal != 0 && !uv_is_closing((const uv_handle_t *)&editing->child))
		(void)uv_process_kill(&editing->child, SIGTERM);
}

static enum mer_status run(struct session *s, int fd, char *path, struct mer_error *err)
{
	const char *name = editor_name();
	MER_AUTO(mer_text_done) char *line = mer_text_new("%s \"$1\"", name);
	if (line == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	char sh[] = "sh", option[] = "-c";
	char *argv[] = { sh, option, line, sh, path, NULL }; /* it may have arguments, as git has it */
	uv_stdio_container_t stdio[] = {
		{ .flags = UV_INHERIT_FD, .data.fd = STDIN_FILENO },
		{ .flags = UV_INHERIT_FD, .data.fd = fd },
		{ .flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO },
	};
	struct editing editing = { .s = s };
	editing.child.data = &editing;
	const uv_process_options_t options = {
		.file = "/bin/sh", .args = argv, .stdio = stdio, .stdio_count = 3, .exit_cb = on_exit_of
	};
	int failed = uv_spawn(&s->loop, &editing.child, &options);
	if (failed != 0)
		uv_close((uv_handle_t *)&editing.child, on_closed);
	session_cancels(s, on_cancel, &editing);
	session_run(s, &editing.done);
	session_cancels(s, NULL, NULL);
	if (failed != 0)
		return mer_fail(err, MER_EINPUT, "cannot run the editor '%s': %s", name,
		                uv_strerror(failed));
	if (editing.code == 0 && editing.signal == 0)
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "the editor '%s' failed: the line is as it was", name);
	mer_hint(err, "$VISUAL or $EDITOR names another");
	return MER_EINPUT;
}

static enum mer_status write_text(int fd, const char *path, const char *text, struct mer_error *err)
{
	enum mer_status st = mer_write_all(fd, path, text, strlen(text), err);
	return st == MER_OK && text[0] != '\0' ? mer_write_all(fd, path, "\n", 1, err) : st;
}

/* By its path: an editor may have put another file there. */
static enum mer_status read_text(const char *path, char **out, struct mer_error *err)
{
	MER_AUTO(mer_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t len;
	if (fd < 0)
		return mer_fail(err, MER_EIO, "cannot read '%s': %s", path, strerror(errno));
	enum mer_status st = mer_read_fd(fd, path, MOST_BYTES, out, &len, err);
	while (st == MER_OK && len > 0 && (*out)[len - 1] == '\n')
		(*out)[--len] = '\0';
	return st;
}

enum mer_status editor_run(struct session *s, int fd, const char *text, char **out,
                           struct mer_error *err)
{
	const char *folder = getenv("TMPDIR");
	MER_AUTO(mer_text_done)
	char *path =
		mer_text_new("%s/mer-XXXXXX", folder != NULL && folder[0] != '\0' ? folder : "/tmp");
	if (path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	MER_AUTO(mer_fd_done) int file = mkostemp(path, O_CLOEXEC);
	if (file < 0)
		return mer_fail(err, MER_EIO, "cannot make '%s': %s", path, strerror(errno));
	enum mer_status st = write_text(file, path, text, err);
	if (st == MER_OK)
		st = run(s, fd, path, err);
	if (st == MER_OK)
		st = read_text(path, out, err);
	(void)unlink(path);
	return st;
}
