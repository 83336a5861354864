/* The journal of answered lines. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "mer-lines 1 "

enum { RECORD_MAX = 1024, WORDS_MAX = 5 };

/* --- writing ------------------------------------------------------------------------------ */

static enum mer_status write_record(struct journal *journal, const char *text,
                                    struct mer_error *err)
{
	enum mer_status st = mer_write_all(journal->fd, journal->path, text, strlen(text), err);
	return st == MER_OK ? st : mer_wrap(err, st, "--resume");
}

/* Where stdout is; 0 where it is no file. */
static int64_t offset(const struct journal *journal)
{
	struct stat info;
	if (fstat(journal->out, &info) != 0 || !S_ISREG(info.st_mode))
		return 0;
	off_t at = lseek(journal->out, 0, SEEK_CUR);
	return at > 0 ? at : 0;
}

/* The version comes last, since it may have spaces. */
static void head_text(const struct journal_head *head, char text[RECORD_MAX])
{
	(void)snprintf(text, RECORD_MAX, MAGIC "%s %s %s", head->model,
	               head->sha256[0] != '\0' ? head->sha256 : "-", head->weights);
	for (char *at = text; *at != '\0'; at++)
		*at = *at == '\n' ? '?' : *at;
}

static enum mer_status write_head(struct journal *journal, const struct journal_head *head,
                                  struct mer_error *err)
{
	char line[RECORD_MAX + 2], text[RECORD_MAX];
	head_text(head, text);
	(void)snprintf(line, sizeof line, "%s\n", text);
	return write_record(journal, line, err);
}

static enum mer_status write_to(struct journal *journal, struct mer_error *err)
{
	char text[RECORD_MAX];
	struct stat info;
	bool is_file = fstat(journal->out, &info) == 0 && S_ISREG(info.st_mode);
	int flags = fcntl(journal->out, F_GETFL);
	if (is_file && flags >= 0 && (flags & O_APPEND) != 0)
		(void)lseek(journal->out, 0, SEEK_END); /* where the first write goes anyway */
	int64_t at = is_file ? offset(journal) : 0;
	journal->ended = at;
	(void)snprintf(text, sizeof text, "to %llu %llu %lld\n",
	               is_file ? (unsigned long long)info.st_dev : 0,
	               is_file ? (unsigned long long)info.st_ino : 0, (long long)at);
	return write_record(journal, text, err);
}

enum mer_status journal_add(struct journal *journal, int64_t number, const char *bytes, size_t len,
                            const char *run, struct mer_error *err)
{
	char text[RECORD_MAX], digest[MER_SHA256_SIZE];
	mer_sha256(bytes, len, digest);
	journal->ended = offset(journal);
	(void)snprintf(text, sizeof text, "ok %lld %s %s %lld\n", (long long)number, digest,
	               run[0] != '\0' ? run : "-", (long long)journal->ended);
	return write_record(journal, text, err);
}

enum mer_status journal_pass(struct journal *journal, struct mer_error *err)
{
	char text[RECORD_MAX];
	int64_t at = offset(journal);
	if (at == journal->ended)
		return MER_OK;
	journal->ended = at;
	(void)snprintf(text, sizeof text, "at %lld\n", (long long)at);
	return write_record(journal, text, err);
}

/* --- reading ------------------------------------------------------------------------------ */

static bool read_number(const char *text, int64_t *out)
{
	char *end;
	errno = 0;
	long long number = strtoll(text, &end, 10);
	*out = number;
	return errno == 0 && end > text && *end == '\0' && number >= 0;
}

static bool read_u64(const char *text, uint64_t *out)
{
	char *end;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno == 0 && end > text && *end == '\0';
}

static bool read_digest(const char *text, uint64_t out[2])
{
	if (strlen(text) != MER_SHA256_SIZE - 1)
		return false;
	for (size_t i = 0; i < 2; i++) {
		char half[17], *end;
		memcpy(half, text + 16 * i, 16);
		half[16] = '\0';
		out[i] = strtoull(half, &end, 16);
		if (*end != '\0')
			return false;
	}
	return true;
}

static enum mer_status add_line(struct journal *journal, const struct journal_line *line,
                                struct mer_error *err)
{
	if (journal->n_lines == journal->room) {
		size_t room = journal->room > 0 ? 2 * journal->room : 256;
		struct journal_line *lines = reallocarray(journal->lines, room, sizeof *lines);
		if (lines == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		journal->lines = lines;
		journal->room = room;
	}
	journal->lines[journal->n_lines++] = *line;
	return MER_OK;
}

static size_t split(char *text, char *words[WORDS_MAX])
{
	size_t n = 0;
	for (char *word, *rest = text; n < WORDS_MAX && (word = strsep(&rest, " ")) != NULL;)
		words[n++] = word;
	return n;
}

/* Answers that the file has not got are not there, though there are records of them: the machine went down
 * before they came to the disk. */
static void forget_lost(struct journal *journal, int64_t size)
{
	size_t to = 0;
	journal->ended = journal->began < size ? journal->began : size;
	for (size_t i = 0; i < journal->n_lines; i++) {
		if (journal->lines[i].ended > size)
			continue;
		if (journal->lines[i].ended > journal->ended)
			journal->ended = journal->lines[i].ended;
		journal->lines[to++] = journal->lines[i];
	}
	journal->n_lines = to;
}

/* Since then the file may have been emptied, on purpose, or have lost answers, which that mer forgot.
 * Those in other files cannot be looked for. */
static void begin_session(struct journal *journal)
{
	struct stat info;
	journal->began = journal->ended;
	journal->in_order = false;
	journal->same = journal->inode != 0 && fstat(journal->out, &info) == 0 &&
	                info.st_ino == journal->inode && info.st_dev == journal->device;
	if (!journal->same)
		return;
	for (size_t i = 0; i < journal->n_lines && journal->began == 0; i++)
		journal->lines[i].ended = -1;
	forget_lost(journal, journal->began);
	journal->ended = journal->began;
}

/* Whether it is a record, which it then takes. */
static bool read_record(struct journal *journal, char *text, enum mer_status *st,
                        struct mer_error *err)
{
	char *words[WORDS_MAX];
	size_t n = split(text, words);
	struct journal_line line;
	if (n == 5 && strcmp(words[0], "ok") == 0) {
		if (!read_number(words[1], &line.number) || !read_digest(words[2], line.digest) ||
		    !read_number(words[4], &line.ended))
			return false;
		journal->ended = line.ended;
		line.ended = journal->same ? line.ended : -1;
		*st = add_line(journal, &line, err);
		return true;
	}
	if (n == 4 && strcmp(words[0], "to") == 0) {
		bool is = read_u64(words[1], &journal->device) && read_u64(words[2], &journal->inode) &&
		          read_number(words[3], &journal->ended);
		begin_session(journal);
		return is;
	}
	journal->in_order = strcmp(words[0], "end") == 0;
	return n == 2 && (journal->in_order || strcmp(words[0], "at") == 0) &&
	       read_number(words[1], &journal->ended);
}

static enum mer_status fail_other(const struct journal *journal, struct mer_error *err)
{
	mer_hint(err, "name another file for --resume, or remove '%s' to begin anew", journal->path);
	return err->status;
}

static enum mer_status check_head(const struct journal *journal, const char *text,
                                  const struct journal_head *head, struct mer_error *err)
{
	char expected[RECORD_MAX];
	head_text(head, expected);
	if (strcmp(text, expected) == 0)
		return MER_OK;
	if (strncmp(text, MAGIC, strlen(MAGIC)) != 0) {
		(void)mer_fail(err, MER_EINPUT, "--resume: '%s' is no journal of mer", journal->path);
		return fail_other(journal, err);
	}
	size_t model = strcspn(text + strlen(MAGIC), " ");
	if (strncmp(text, expected, strlen(MAGIC) + model + 1) != 0)
		(void)mer_fail(err, MER_ECONFLICT, "--resume: '%s' is of model '%.*s', not '%s'",
		               journal->path, (int)model, text + strlen(MAGIC), head->model);
	else
		(void)mer_fail(err, MER_ECONFLICT, "--resume: '%s' is of other weights than '%s'",
		               journal->path, head->weights);
	return fail_other(journal, err);
}

/* The whole lines of the file; what a killed mer left of one is cut off. */
static enum mer_status read_records(struct journal *journal, FILE *file,
                                    const struct journal_head *head, bool *any,
                                    struct mer_error *err)
{
	char text[RECORD_MAX + 2];
	off_t at = 0;
	enum mer_status st = MER_OK;
	for (int64_t number = 1; st == MER_OK && fgets(text, sizeof text, file) != NULL; number++) {
		size_t len = strlen(text);
		if (len == 0 || text[len - 1] != '\n') {
			int next = fgetc(file);
			bool head_begun = strncmp(text, MAGIC, len < strlen(MAGIC) ? len : strlen(MAGIC)) == 0;
			if (next == EOF && !*any && !head_begun)
				return check_head(journal, text, head, err);
			if (next == EOF)
				break; /* torn */
			(void)mer_fail(err, MER_EINPUT, "--resume: %s:%lld: no record of a journal",
			               journal->path, (long long)number);
			return fail_other(journal, err);
		}
		text[len - 1] = '\0';
		at += (off_t)len;
		if (!*any) {
			st = check_head(journal, text, head, err);
			*any = true;
		} else if (!read_record(journal, text, &st, err)) {
			(void)mer_fail(err, MER_EINPUT, "--resume: %s:%lld: no record of a journal",
			               journal->path, (long long)number);
			return fail_other(journal, err);
		}
	}
	if (st == MER_OK && ferror(file) != 0)
		return mer_fail(err, MER_EIO, "--resume: cannot read '%s'", journal->path);
	if (st == MER_OK && ftruncate(journal->fd, at) != 0)
		return mer_fail(err, MER_EIO, "--resume: cannot mend '%s': %s", journal->path,
		                strerror(errno));
	return st;
}

/* --- what was written without a record ---------------------------------------------------- */

static enum mer_status mend_output(struct journal *journal, struct mer_error *err)
{
	struct stat info;
	if (journal->in_order || !journal->same || fstat(journal->out, &info) != 0 ||
	    !S_ISREG(info.st_mode) || info.st_size == 0)
		return MER_OK;
	if (info.st_size < journal->ended)
		forget_lost(journal, info.st_size);
	if (info.st_size > journal->ended && ftruncate(journal->out, journal->ended) != 0)
		return mer_fail(err, MER_EIO, "--resume: cannot cut stdout: %s", strerror(errno));
	(void)lseek(journal->out, 0, SEEK_END);
	return MER_OK;
}

static int by_number(const void *left, const void *right)
{
	const struct journal_line *a = left, *b = right;
	return (a->number > b->number) - (a->number < b->number);
}

/* --- life --------------------------------------------------------------------------------- */

static enum mer_status lock(const struct journal *journal, struct mer_error *err)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (fcntl(journal->fd, F_OFD_SETLK, &whole) == 0)
		return MER_OK;
	if (errno == EAGAIN || errno == EACCES)
		return mer_fail(err, MER_ECONFLICT, "--resume: another mer is at '%s'", journal->path);
	return mer_fail(err, MER_EIO, "--resume: cannot lock '%s': %s", journal->path, strerror(errno));
}

/* Who may write it says where the output ends, so it has to be ours, and no way to another file. */
static enum mer_status open_file(struct journal *journal, struct mer_error *err)
{
	struct stat info;
	journal->fd = mer_open_own(journal->path, O_RDWR | O_APPEND);
	if (journal->fd < 0)
		return mer_fail(err, MER_EINPUT, "--resume: cannot open '%s': %s", journal->path,
		                errno == ELOOP ? "it is a link" : strerror(errno));
	if (fstat(journal->fd, &info) != 0 || !S_ISREG(info.st_mode))
		return mer_fail(err, MER_EINPUT, "--resume: '%s' is no file", journal->path);
	if (info.st_uid != geteuid())
		return mer_fail(err, MER_EINPUT, "--resume: '%s' is another user's", journal->path);
	return lock(journal, err);
}

static enum mer_status begin(struct journal *journal, const struct journal_head *head,
                             struct mer_error *err)
{
	bool any = false;
	enum mer_status st = open_file(journal, err);
	int copy = st == MER_OK ? fcntl(journal->fd, F_DUPFD_CLOEXEC, 3) : -1;
	FILE *file = copy >= 0 ? fdopen(copy, "r") : NULL;
	if (st == MER_OK && file == NULL)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	if (st == MER_OK)
		st = read_records(journal, file, head, &any, err);
	if (file != NULL)
		(void)fclose(file);
	if (st == MER_OK)
		st = any ? mend_output(journal, err) : write_head(journal, head, err);
	if (st != MER_OK)
		return st;
	if (journal->n_lines > 0)
		qsort(journal->lines, journal->n_lines, sizeof *journal->lines, by_number);
	return write_to(journal, err);
}

static void release(struct journal *journal)
{
	if (journal->fd >= 0)
		(void)close(journal->fd);
	free(journal->path);
	free(journal->lines);
	*journal = (struct journal){ .fd = -1 };
}

enum mer_status journal_open(const char *path, const struct journal_head *head, int out,
                             struct journal *journal, struct mer_error *err)
{
	*journal = (struct journal){ .path = strdup(path), .fd = -1, .out = out, .in_order = true };
	enum mer_status st = journal->path == NULL ? mer_fail(err, MER_ENOMEM, "out of memory")
	                                           : begin(journal, head, err);
	if (st != MER_OK)
		release(journal);
	return st;
}

enum mer_status journal_has(struct journal *journal, int64_t number, const char *bytes, size_t len,
                            bool *has, struct mer_error *err)
{
	char text[MER_SHA256_SIZE];
	uint64_t digest[2] = { 0 };
	while (journal->at < journal->n_lines && journal->lines[journal->at].number < number)
		journal->at++;
	*has = journal->at < journal->n_lines && journal->lines[journal->at].number == number;
	if (!*has)
		return MER_OK;
	const struct journal_line *line = &journal->lines[journal->at];
	mer_sha256(bytes, len, text);
	(void)read_digest(text, digest);
	if (digest[0] == line->digest[0] && digest[1] == line->digest[1])
		return MER_OK;
	(void)mer_fail(err, MER_ECONFLICT, "--resume: '%s' is of another input: its line %lld differs",
	               journal->path, (long long)number);
	return fail_other(journal, err);
}

enum mer_status journal_check_end(const struct journal *journal, int64_t lines,
                                  struct mer_error *err)
{
	if (journal->n_lines == 0 || journal->lines[journal->n_lines - 1].number <= lines)
		return MER_OK;
	(void)mer_fail(err, MER_ECONFLICT,
	               "--resume: '%s' is of another input: it has line %lld, and this one %lld lines",
	               journal->path, (long long)journal->lines[journal->n_lines - 1].number,
	               (long long)lines);
	return fail_other(journal, err);
}

void journal_close(struct journal *journal)
{
	/* What was written without a record is cut off by the next. */
	if (journal->fd >= 0 && offset(journal) == journal->ended) {
		char text[RECORD_MAX];
		(void)snprintf(text, sizeof text, "end %lld\n", (long long)journal->ended);
		(void)!fdatasync(journal->out); /* the answers first */
		(void)!write_record(journal, text, NULL);
		(void)!fdatasync(journal->fd);
	}
	release(journal);
}
