/* Batch: commands from -c, from files and from stdin, one after another until one fails. */
#include "batch.h"

#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK = 65536, COMMAND_BYTES = 1 << 20 };

void source_init(struct source *source, const char *name, source_fill *fill)
{
	*source = (struct source){ .name = name, .fill = fill, .fd = -1, .eof = fill == NULL };
	mer_buf_init(&source->bytes, SIZE_MAX / 4);
	mer_buf_init(&source->command, COMMAND_BYTES);
}

void source_release(struct source *source)
{
	mer_buf_release(&source->bytes);
	mer_buf_release(&source->command);
}

/* --- lines -------------------------------------------------------------------------------- */

enum mer_status batch_fill(struct session *s, struct source *source, bool open,
                           struct mer_error *err)
{
	(void)open;
	enum mer_status st = session_wait_readable(s, source->fd, err);
	char *to = mer_buf_room(&source->bytes, CHUNK);
	if (st != MER_OK || to == NULL)
		return st != MER_OK ? st : mer_buf_check(&source->bytes, err);
	ssize_t n;
	while ((n = read(source->fd, to, CHUNK)) < 0 && (errno == EINTR || errno == EAGAIN)) {
		struct pollfd ready = { .fd = source->fd, .events = POLLIN };
		(void)poll(&ready, 1, -1);
	}
	if (n < 0)
		return mer_fail(err, MER_EINPUT, "cannot read '%s': %s", source->name, strerror(errno));
	source->eof = n == 0;
	mer_buf_grow(&source->bytes, (size_t)n);
	return MER_OK;
}

/* Where the line at the front ends, after reading as much as it takes; NULL: there is none. */
static enum mer_status find_line(struct session *s, struct source *source, struct mer_str *line,
                                 struct mer_error *err)
{
	size_t seen = 0;
	for (;;) {
		size_t len = source->bytes.len - source->at;
		const char *from = len > 0 ? source->bytes.ptr + source->at : NULL;
		const char *end = len > seen ? memchr(from + seen, '\n', len - seen) : NULL;
		if (end != NULL || source->eof) {
			*line = (struct mer_str){ from, end != NULL ? (size_t)(end - from) : len };
			source->at += line->len + (end != NULL);
			return MER_OK;
		}
		seen = len;
		mer_buf_drop(&source->bytes, source->at);
		source->at = 0;
		if (len > COMMAND_BYTES) /* no command, and no reason to keep it */
			return mer_fail(err, MER_ELIMIT, "a line of more than 1 MiB");
		enum mer_status st = source->fill(s, source, source->command.len > 0, err);
		if (st != MER_OK)
			return st;
	}
}

/* Adds the next line to the command. */
static enum mer_status add_line(struct session *s, struct source *source, bool *end,
                                struct mer_error *err)
{
	struct mer_str line = { 0 };
	enum mer_status st = find_line(s, source, &line, err);
	if (st != MER_OK)
		return st;
	*end = line.ptr == NULL;
	if (*end)
		return MER_OK;
	source->line++;
	if (memchr(line.ptr, '\0', line.len) != NULL)
		return mer_fail(err, MER_EINPUT, "a NUL in a command");
	bool bom = source->line == 1 && line.len >= 3 && memcmp(line.ptr, "\xEF\xBB\xBF", 3) == 0;
	if (bom)
		line = (struct mer_str){ line.ptr + 3, line.len - 3 };
	if (line.len > 0 && line.ptr[line.len - 1] == '\r')
		line.len--;
	if (source->command.len > 0)
		mer_buf_byte(&source->command, '\n');
	mer_buf_add(&source->command, line.ptr, line.len);
	st = mer_buf_check(&source->command, err);
	return st == MER_OK ? st : mer_wrap(err, MER_EINPUT, "a command");
}

enum mer_status source_next(struct session *s, struct source *source, char ***words, size_t *n,
                            struct place *at, struct mer_error *err)
{
	*words = NULL;
	*n = 0;
	while (*n == 0) {
		mer_words_done(words);
		*words = NULL;
		mer_buf_clear(&source->command);
		*at = (struct place){ source->name, source->line + 1 };
		bool open = true;
		while (open) {
			bool end;
			enum mer_status st = add_line(s, source, &end, err);
			if (st != MER_OK)
				return st;
			if (end && source->command.len == 0)
				return MER_OK;
			const char *text = source->command.ptr != NULL ? source->command.ptr : "";
			st = mer_split_words(text, words, n, &open, err);
			if (st != MER_OK && (!open || end))
				return st;
			open = open && st != MER_OK;
		}
	}
	return MER_OK;
}

/* --- what to do --------------------------------------------------------------------------- */

/* Whether to go on after a command. */
static bool goes_on(const struct session *s, bool succeeded)
{
	return !s->leave && (succeeded || setting_on(&s->settings, SET_KEEP_GOING));
}

/* Does all commands of a source; whether to go on after it. */
static bool do_source(struct session *s, struct source *source)
{
	for (;;) {
		struct mer_error err;
		struct place at;
		MER_AUTO(mer_words_done) char **words = NULL;
		size_t n;
		enum mer_status st = source_next(s, source, &words, &n, &at, &err);
		bool broken = st != MER_OK && st != MER_EINPUT;
		if (st == MER_OK && words == NULL)
			return true;
		if (s->signal != 0) {
			session_interrupted(s);
			return false;
		}
		if (st != MER_OK) {
			s->out.format = s->settings.format;
			session_failed(s, at, st, &err);
		}
		if (st == MER_OK && background_asked(source->command.ptr, (const char *const *)words, n))
			st = background_refuse(s, at);
		bool succeeded = st == MER_OK && session_do(s, (const char *const *)words, n, at);
		if (broken || !goes_on(s, succeeded))
			return false;
	}
}

static bool do_fd(struct session *s, const char *name, int fd)
{
	struct source source;
	source_init(&source, name, batch_fill);
	source.fd = fd;
	bool on = do_source(s, &source);
	source_release(&source);
	return on;
}

void batch_stdin(struct session *s)
{
	s->stdin_taken = true;
	(void)do_fd(s, "stdin", STDIN_FILENO);
}

/* Whether a file of commands is what stdin is, whatever it is called there. */
static bool is_stdin(const char *path)
{
	struct stat file, in;
	return strcmp(path, "-") == 0 || (stat(path, &file) == 0 && fstat(STDIN_FILENO, &in) == 0 &&
	                                  file.st_dev == in.st_dev && file.st_ino == in.st_ino);
}

static bool do_file(struct session *s, const char *path)
{
	if (strcmp(path, "-") == 0)
		return do_fd(s, "stdin", STDIN_FILENO);
	MER_AUTO(mer_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd >= 0)
		return do_fd(s, path, fd);
	struct mer_error err;
	enum mer_status st = mer_fail(&err, MER_EINPUT, "cannot open '%s': %s", path, strerror(errno));
	s->out.format = s->settings.format;
	session_failed(s, (struct place){ 0 }, st, &err);
	return goes_on(s, false);
}

/* All of -c are one text of which each is a line. */
static bool do_line(struct session *s, const char *text, int64_t *line)
{
	struct source source;
	source_init(&source, "-c", NULL);
	mer_buf_text(&source.bytes, text);
	mer_buf_byte(&source.bytes, '\n');
	source.line = *line;
	bool on = do_source(s, &source);
	*line = source.line;
	source_release(&source);
	return on;
}

void batch_options(struct session *s)
{
	const struct cmd_call *call = &s->settings.call;
	int64_t line = 0;
	for (size_t i = 0; i < call->n_tokens; i++) {
		if (call->tokens[i].arg == &setting_rows[SET_FILE] && is_stdin(call->tokens[i].text))
			s->stdin_taken = true;
	}
	bool on = true;
	for (size_t i = 0; i < call->n_tokens && on; i++) {
		const struct cmd_token *token = &call->tokens[i];
		if (token->arg == &setting_rows[SET_COMMAND])
			on = do_line(s, token->text, &line);
		else if (token->arg == &setting_rows[SET_FILE])
			on = do_file(s, token->text);
	}
}
