/* The file of the commands that were typed. */
#include "history.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/buf.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

enum {
	KEPT_COMMANDS = 1000,
	MOST_BYTES = 1 << 20,  /* that are read, from the end */
	COMMAND_BYTES = 65536, /* a longer one is not kept */
	LOCK_MS = 200,         /* for other prompts; a file system may have no locks at all */
};

/* --- the file ----------------------------------------------------------------------------- */

/* Opens it where it is a file: a FIFO, say, would make the prompt wait, and a link lead to another's. */
static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
	struct stat info;
	if (fd >= 0 && (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* Whether it is ours alone; for somebody who holds it for long, or a file system without locks, nobody
 * waits. */
static bool lock(int fd)
{
	const struct timespec nap = { .tv_nsec = 2000000 };
	for (const int64_t until = mer_clock_ms() + LOCK_MS; flock(fd, LOCK_EX | LOCK_NB) != 0;) {
		if ((errno != EWOULDBLOCK && errno != EINTR) || mer_clock_ms() >= until)
			return false;
		(void)nanosleep(&nap, NULL);
	}
	return true;
}

/* --- commands ----------------------------------------------------------------------------- */

/* What was read of the file. */
struct commands {
	char *text; /* owned; each command ends with a NUL */
	char **at;  /* owned */
	size_t n;
	bool changed; /* the file holds more than this */
};

static void commands_done(struct commands *commands)
{
	free(commands->text);
	free(commands->at);
}

/* The end of the file, a NUL behind it; its beginning may be amid a line. NULL: there is nothing. */
static char *read_end(int fd, size_t *len, bool *cut)
{
	struct stat info;
	if (fstat(fd, &info) < 0 || info.st_size <= 0)
		return NULL;
	*cut = info.st_size > MOST_BYTES;
	const size_t size = *cut ? MOST_BYTES : (size_t)info.st_size;
	char *text = malloc(size + 1);
	if (text == NULL)
		return NULL;
	*len = 0;
	for (ssize_t n = 1; n > 0 && *len<size; *len += n> 0 ? (size_t)n : 0)
		n = pread(fd, text + *len, size - *len, info.st_size - (off_t)size + (off_t)*len);
	text[*len] = '\0';
	return text;
}

/* Splits it: lines that begin with a space belong to the one above. Those that are no text go. */
static bool split(struct commands *commands, char *text, size_t len, bool cut)
{
	size_t lines = 1;
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	commands->at = calloc(lines, sizeof *commands->at);
	if (commands->at == NULL)
		return false;
	char *to = text;
	bool dropped = true;
	for (char *line = text, *end; line < text + len; line = end + 1) {
		end = memchr(line, '\n', (size_t)(text + len - line));
		if (end == NULL)
			end = text + len;
		const size_t n = (size_t)(end - line);
		const bool more = n > 0 && line[0] == ' ';
		if (!more)
			dropped = n == 0 || (cut && line == text);
		dropped |= memchr(line, '\0', n) != NULL;
		commands->changed |= dropped;
		if (dropped)
			continue;
		if (more)
			to[-1] = '\n';
		else
			commands->at[commands->n++] = to;
		memmove(to, line + more, n - more);
		to += n - more;
		*to++ = '\0';
	}
	return true;
}

static int by_text_then_place(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	const int order = strcmp(x, y);
	return order != 0 ? order : (x > y) - (x < y);
}

/* Takes out all but the last of the same, then all but the last ones. */
static void thin(struct commands *commands)
{
	char **sorted = calloc(commands->n + 1, sizeof *sorted);
	if (sorted == NULL)
		return;
	memcpy(sorted, commands->at, commands->n * sizeof *sorted);
	qsort(sorted, commands->n, sizeof *sorted, by_text_then_place);
	size_t kept = 0;
	for (size_t i = 0; i + 1 < commands->n; i++) {
		if (strcmp(sorted[i], sorted[i + 1]) == 0)
			*sorted[i] = '\0';
	}
	free(sorted);
	for (size_t i = 0; i < commands->n; i++) {
		if (*commands->at[i] != '\0')
			commands->at[kept++] = commands->at[i];
	}
	const size_t over = kept > KEPT_COMMANDS ? kept - KEPT_COMMANDS : 0;
	commands->changed |= kept != commands->n || over > 0;
	memmove(commands->at, commands->at + over, (kept - over) * sizeof *commands->at);
	commands->n = kept - over;
}

static bool read_commands(int fd, struct commands *commands)
{
	size_t len = 0;
	bool cut = false;
	*commands = (struct commands){ .n = 0 };
	commands->text = read_end(fd, &len, &cut);
	if (commands->text == NULL || !split(commands, commands->text, len, cut))
		return false;
	thin(commands);
	return true;
}

/* As the file has it: a space before each line but the first. */
static void add_command(struct mer_buf *out, const char *command)
{
	for (const char *end; (end = strchr(command, '\n')) != NULL; command = end + 1) {
		mer_buf_add(out, command, (size_t)(end - command));
		mer_buf_text(out, "\n ");
	}
	mer_buf_text(out, command);
	mer_buf_byte(out, '\n');
}

/* --- what others see ---------------------------------------------------------------------- */

void history_load(const char *path, history_fn *on_command, void *ctx)
{
	MER_AUTO(mer_fd_done) int fd = open_file(path, O_RDONLY);
	MER_AUTO(commands_done) struct commands commands = { .n = 0 };
	if (fd < 0 || !read_commands(fd, &commands))
		return;
	for (size_t i = 0; i < commands.n; i++)
		on_command(ctx, commands.at[i]);
}

/* All of it or nothing, on a line of its own. */
static void append(int fd, const struct mer_buf *text)
{
	struct stat info;
	char last = '\n';
	if (fstat(fd, &info) < 0)
		return;
	if (info.st_size > 0)
		(void)!pread(fd, &last, 1, info.st_size - 1);
	const bool joined = last == '\n'; /* else somebody's line has no end */
	const ssize_t n = write(fd, text->ptr + joined, text->len - joined);
	if (n < (ssize_t)(text->len - joined))
		(void)!ftruncate(fd, info.st_size);
}

void history_append(const char *path, const char *command)
{
	const size_t len = strlen(command);
	if (command[0] == ' ' || command[0] == '\n' || len == 0 || len > COMMAND_BYTES)
		return;
	MER_AUTO(mer_fd_done) int fd = open_file(path, O_RDWR | O_APPEND | O_CREAT);
	if (fd < 0)
		return;
	MER_AUTO(mer_buf_release) struct mer_buf text;
	mer_buf_init(&text, SIZE_MAX / 2);
	mer_buf_byte(&text, '\n');
	add_command(&text, command);
	(void)fchmod(fd, 0600);
	(void)lock(fd); /* without it too: one write is not torn */
	if (mer_buf_check(&text, NULL) == MER_OK)
		append(fd, &text);
}

void history_trim(const char *path)
{
	MER_AUTO(mer_fd_done) int fd = open_file(path, O_RDWR);
	MER_AUTO(commands_done) struct commands commands = { .n = 0 };
	if (fd < 0 || !lock(fd) || !read_commands(fd, &commands) || !commands.changed)
		return;
	MER_AUTO(mer_buf_release) struct mer_buf text;
	mer_buf_init(&text, SIZE_MAX / 2);
	for (size_t i = 0; i < commands.n; i++)
		add_command(&text, commands.at[i]);
	if (mer_buf_check(&text, NULL) != MER_OK || text.len == 0)
		return;
	(void)fchmod(fd, 0600);
	if (pwrite(fd, text.ptr, text.len, 0) == (ssize_t)text.len)
		(void)!ftruncate(fd, (off_t)text.len);
}
