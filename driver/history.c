/* The file of the lines that were typed. */
#include "history.h"

#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { KEPT_LINES = 1000, MOST_BYTES = 16 << 20 };

/* Opens it where it is a file: a FIFO, say, would make the prompt wait. */
static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	struct stat info;
	if (fd >= 0 && (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* All of it, and where the last lines begin. */
static char *read_lines(int fd, const char *path, size_t *len, char **from)
{
	char *text;
	if (mer_read_fd(fd, path, MOST_BYTES, &text, len, NULL) != MER_OK)
		return NULL;
	size_t lines = 0;
	*from = text + *len;
	while (*from > text) {
		if (*from < text + *len && (*from)[-1] == '\n' && ++lines == KEPT_LINES)
			break;
		--*from;
	}
	return text;
}

void history_load(const char *path, history_fn *on_line, void *ctx)
{
	MER_AUTO(mer_fd_done) int fd = open_file(path, O_RDONLY);
	size_t len;
	char *line;
	MER_AUTO(mer_text_done) char *text = fd >= 0 ? read_lines(fd, path, &len, &line) : NULL;
	if (text == NULL)
		return;
	for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		if (end > line)
			on_line(ctx, line);
	}
}

void history_append(const char *path, const char *line)
{
	if (line[0] == ' ' || line[0] == '\0' || strchr(line, '\n') != NULL)
		return;
	MER_AUTO(mer_fd_done) int fd = open_file(path, O_WRONLY | O_APPEND | O_CREAT);
	MER_AUTO(mer_text_done) char *text = mer_text_new("%s\n", line);
	if (fd < 0 || text == NULL)
		return;
	(void)fchmod(fd, 0600);
	(void)flock(fd, LOCK_EX);
	(void)!mer_write_all(fd, path, text, strlen(text), NULL);
}

void history_trim(const char *path)
{
	MER_AUTO(mer_fd_done) int fd = open_file(path, O_RDWR);
	if (fd < 0 || flock(fd, LOCK_EX) != 0)
		return;
	size_t len;
	char *from;
	MER_AUTO(mer_text_done) char *text = read_lines(fd, path, &len, &from);
	if (text == NULL || from == text)
		return;
	size_t left = len - (size_t)(from - text);
	if (pwrite(fd, from, left, 0) == (ssize_t)left)
		(void)!ftruncate(fd, (off_t)left);
}
