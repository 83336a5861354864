/*
 * Lists and reads folders of scripts. Reading is what `up` does when there is nothing to do, so it
 * is one open, stat, read, hash and close a file; only what the ledger does not know is looked at more
 * closely.
 */
#include "scan.h"

#include "canonical.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>
#include <sys/stat.h>

/* SQLite's own limit is 1,000,000,000 bytes. */
enum { SCRIPT_LIMIT = 256 << 20, CHUNK = 4096 };

struct scan_folder {
	const char *path; /* borrowed */
	DIR *dir;
	dev_t dev;
	ino_t ino;
};

void scan_init(struct scan *scan)
{
	*scan = (struct scan){ 0 };
}

void scan_release(struct scan *scan)
{
	if (scan == NULL)
		return;
	for (size_t i = 0; i < scan->n_folders; i++)
		(void)closedir(scan->folders[i].dir);
	for (size_t i = 0; i < scan->n; i++) {
		free(scan->scripts[i].file);
		free(scan->scripts[i].text);
	}
	free(scan->folders);
	free(scan->scripts);
	free(scan->problems);
	scan_init(scan);
}

/* --- names -------------------------------------------------------------------------------- */

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static bool is_name_byte(char byte)
{
	return is_digit(byte) || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       byte == '_' || byte == '-';
}

static bool is_script(const char *file)
{
	size_t len = strlen(file);
	return len >= 4 && strcmp(file + len - 4, ".sql") == 0;
}

enum mer_status scan_name(const char *file, int64_t *num, struct mer_str *name,
                          struct mer_error *err)
{
	static const char hint[] = "NN is two or more digits, Name letters, digits, '_' and '-'; "
							   "what does not end in .sql is left alone";
	size_t digits = 0, len = is_script(file) ? strlen(file) - 4 : 0;
	int64_t number = 0;
	bool fits = true;
	for (; is_digit(file[digits]); digits++)
		fits = fits && !__builtin_mul_overflow(number, 10, &number) &&
		       !__builtin_add_overflow(number, file[digits] - '0', &number);
	size_t at = digits + 1;
	bool fine = digits >= 2 && at < len && file[digits] == '-';
	for (size_t i = at; fine && i < len; i++)
		fine = is_name_byte(file[i]);
	if (!fine) {
		(void)mer_fail(err, MER_EINPUT, "'%s' is not named NN-Name.sql", file);
		mer_hint(err, "%s", hint);
		return MER_EINPUT;
	}
	if (!fits || number == 0) {
		(void)mer_fail(err, MER_EINPUT, "'%s' has no number from 1 to %" PRId64, file, INT64_MAX);
		return MER_EINPUT;
	}
	*num = number;
	*name = (struct mer_str){ .ptr = file + at, .len = len - at };
	return MER_OK;
}

static enum mer_status grow(struct scan *scan, struct mer_error *err)
{
	if (scan->n < scan->cap)
		return MER_OK;
	size_t cap = scan->cap == 0 ? 64 : 2 * scan->cap;
	struct script *scripts = reallocarray(scan->scripts, cap, sizeof *scripts);
	if (scripts == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	scan->scripts = scripts;
	scan->cap = cap;
	return MER_OK;
}

/* Adds a file. Its name and, behind that, the name's own part are one allocation. */
static enum mer_status add_file(struct scan *scan, const char *folder, const char *file,
                                struct mer_error *err)
{
	int64_t num = 0;
	struct mer_str name = { 0 };
	enum mer_status st = scan_name(file, &num, &name, err);
	if (st == MER_OK)
		st = grow(scan, err);
	if (st != MER_OK)
		return st;
	size_t len = strlen(file);
	char *names = malloc(len + 1 + name.len + 1);
	if (names == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	memcpy(names, file, len + 1);
	memcpy(names + len + 1, name.ptr, name.len);
	names[len + 1 + name.len] = '\0';
	scan->scripts[scan->n++] =
		(struct script){ .num = num, .name = names + len + 1, .file = names, .folder = folder };
	return MER_OK;
}

static const char *what_it_is(bool folder)
{
	return folder ? "a folder" : "not a file";
}

/* Whether an entry may be a file; what it is otherwise is in *is. Links are looked at when read. */
static bool may_be_file(const struct dirent *entry, const char **is)
{
	switch (entry->d_type) {
	case DT_REG:
	case DT_LNK:
	case DT_UNKNOWN: return true;
	default: *is = what_it_is(entry->d_type == DT_DIR); return false;
	}
}

/* The first of the entries that must not be there. */
struct bad {
	size_t n;
	struct mer_error first;
};

static enum mer_status list_folder(struct scan *scan, const struct scan_folder *folder,
                                   struct bad *bad, struct mer_error *err)
{
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(folder->dir);
		if (entry == NULL && errno != 0)
			return mer_fail(err, MER_EINPUT, "cannot read the folder '%s': %s", folder->path,
			                strerror(errno));
		if (entry == NULL)
			return MER_OK;
		if (!is_script(entry->d_name))
			continue;
		struct mer_error problem;
		const char *is;
		enum mer_status st;
		if (may_be_file(entry, &is))
			st = add_file(scan, folder->path, entry->d_name, &problem);
		else
			st = mer_fail(&problem, MER_EINPUT, "'%s' is %s", entry->d_name, is);
		if (st == MER_OK)
			continue;
		(void)mer_wrap(&problem, st, "%s", folder->path);
		if (st != MER_EINPUT) {
			if (err != NULL)
				*err = problem;
			return st;
		}
		/* The one that stands first in the alphabet: readdir() has no order. */
		if (bad->n == 0 || strcmp(problem.message, bad->first.message) < 0)
			bad->first = problem;
		bad->n++;
	}
}

static enum mer_status open_folder(struct scan *scan, const char *path, struct mer_error *err)
{
	DIR *dir = opendir(path);
	struct stat info;
	if (dir == NULL || fstat(dirfd(dir), &info) < 0) {
		(void)mer_fail(err, MER_EINPUT, "cannot open the folder '%s': %s", path, strerror(errno));
		if (dir != NULL)
			(void)closedir(dir);
		return MER_EINPUT;
	}
	for (size_t i = 0; i < scan->n_folders; i++) {
		if (scan->folders[i].dev == info.st_dev && scan->folders[i].ino == info.st_ino) {
			(void)closedir(dir);
			return MER_OK;
		}
	}
	scan->folders[scan->n_folders++] =
		(struct scan_folder){ .path = path, .dir = dir, .dev = info.st_dev, .ino = info.st_ino };
	return MER_OK;
}

static int by_number(const void *a, const void *b)
{
	const struct script *one = a, *two = b;
	if (one->num != two->num)
		return one->num < two->num ? -1 : 1;
	int folders = strcmp(one->folder, two->folder);
	return folders != 0 ? folders : strcmp(one->file, two->file);
}

enum mer_status scan_list(struct scan *scan, const char *const dirs[], size_t n,
                          struct mer_error *err)
{
	MER_ASSERT(scan->n_folders == 0 && scan->n == 0 && n > 0);
	scan->folders = calloc(n, sizeof *scan->folders);
	if (scan->folders == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = MER_OK;
	for (size_t i = 0; st == MER_OK && i < n; i++)
		st = open_folder(scan, dirs[i], err);
	struct bad bad = { 0 };
	for (size_t i = 0; st == MER_OK && i < scan->n_folders; i++)
		st = list_folder(scan, &scan->folders[i], &bad, err);
	if (st == MER_OK && bad.n > 0) {
		if (err != NULL)
			*err = bad.first;
		return MER_EINPUT;
	}
	if (st == MER_OK && scan->n > 0)
		qsort(scan->scripts, scan->n, sizeof *scan->scripts, by_number);
	return st;
}

/* --- texts -------------------------------------------------------------------------------- */

/*
 * One file as it is read. What looks at it returns MER_OK or fills *problem: MER_ENOMEM ends all
 * reading, anything else is the script's problem.
 */
struct reading {
	enum sql_dialect dialect;
	struct script *script;
	const struct mer_ledger_row *row; /* of its number, or NULL */
	struct mer_buf *room;             /* that each file is read into */
	char *bytes;                      /* in it */
	size_t len;
};

/* Puts the place of a byte in front of the problem. */
static enum mer_status fail_at(struct reading *at, size_t byte, struct mer_error *problem)
{
	struct script *script = at->script;
	sql_place(at->bytes, byte, &script->line, &script->column);
	return mer_wrap(problem, MER_EINPUT, "%s/%s:%" PRId64 ":%" PRId64, script->folder, script->file,
	                script->line, script->column);
}

/* Fills *problem where the bytes are no text. */
static enum mer_status check_text(struct reading *at, struct mer_error *problem)
{
	size_t span = mer_utf8_span(at->bytes, at->len);
	const char *nul = memchr(at->bytes, '\0', span);
	if (nul == NULL && span == at->len)
		return MER_OK;
	unsigned char first = (unsigned char)at->bytes[0];
	if (nul != NULL) {
		(void)mer_fail(problem, MER_EINPUT, "a NUL byte");
		span = (size_t)(nul - at->bytes);
	} else {
		(void)mer_fail(problem, MER_EINPUT, "not UTF-8");
	}
	if (first == 0xff || first == 0xfe || nul != NULL)
		mer_hint(problem, "if it is UTF-16: iconv -f UTF-16 -t UTF-8");
	return fail_at(at, span, problem);
}

static enum mer_status check_facts(struct reading *at, struct mer_error *problem)
{
	const struct script_facts *facts = &at->script->facts;
	if (facts->refused != NULL) {
		if (facts->subject.len > 0)
			(void)mer_fail(problem, MER_EINPUT, "'%.*s' is refused: %s", (int)facts->subject.len,
			               facts->subject.ptr, facts->refused);
		else
			(void)mer_fail(problem, MER_EINPUT, "%s", facts->refused);
		if (facts->hint != NULL)
			mer_hint(problem, "%s", facts->hint);
		return fail_at(at, facts->refused_at, problem);
	}
	return MER_OK;
}

static void drop_mark(struct reading *at)
{
	if (at->len < 3 || memcmp(at->bytes, "\xef\xbb\xbf", 3) != 0)
		return;
	at->len -= 3;
	memmove(at->bytes, at->bytes + 3, at->len + 1);
}

/* Looks at what is not as the ledger has it: at one that may run, all there is to know of it; at
 * one that has run, whether it still says the same. */
static enum mer_status look_closer(struct reading *at, struct mer_error *problem)
{
	struct script *script = at->script;
	drop_mark(at);
	enum mer_status st = check_text(at, problem);
	if (st != MER_OK)
		return at->row == NULL ? st : MER_OK; /* what ran was text, so it was edited */
	st = canonical_sha256(at->dialect, at->bytes, at->len, script->canonical_sha256, problem);
	if (st != MER_OK || at->row != NULL)
		return st;
	script_look(at->dialect, at->bytes, at->len, &script->facts);
	st = check_facts(at, problem);
	script->len = at->len;
	enum mer_status kept = mer_buf_take(at->room, &script->text, NULL, problem);
	return kept == MER_OK ? st : kept;
}

/* Opens without waiting for the other end of a pipe, and without becoming a terminal's session. */
static enum mer_status open_script(int folder, const struct script *script, int *out, size_t *size,
                                   struct mer_error *problem)
{
	struct stat info;
	int fd = openat(folder, script->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &info) < 0) {
		(void)mer_fail(problem, MER_EIO, "cannot open '%s/%s': %s", script->folder, script->file,
		               strerror(errno));
	} else if (!S_ISREG(info.st_mode)) {
		(void)mer_fail(problem, MER_EIO, "'%s/%s' is %s", script->folder, script->file,
		               what_it_is(S_ISDIR(info.st_mode)));
	} else {
		*out = fd;
		*size = (size_t)info.st_size;
		return MER_OK;
	}
	if (fd >= 0)
		(void)close(fd);
	return MER_EIO;
}

/* Reads a file of that size, which may be another one meanwhile. A read that gives less than was asked
 * for has met the end, but on some file systems only where all of the size is there. */
static enum mer_status read_bytes(int fd, size_t size, struct reading *at,
                                  struct mer_error *problem)
{
	const struct script *script = at->script;
	struct mer_buf *room = at->room;
	mer_buf_clear(room);
	for (;;) {
		size_t want = room->len < size ? size - room->len + 1 : CHUNK;
		char *to = mer_buf_room(room, want);
		if (to == NULL)
			return mer_wrap(problem, mer_buf_check(room, problem), "%s/%s", script->folder,
			                script->file);
		ssize_t n = read(fd, to, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mer_fail(problem, MER_EIO, "cannot read '%s/%s': %s", script->folder,
			                script->file, strerror(errno));
		mer_buf_grow(room, (size_t)n);
		if (n == 0 || ((size_t)n < want && room->len >= size))
			break;
	}
	room->ptr[room->len] = '\0'; /* also where nothing was read */
	at->bytes = room->ptr;
	at->len = room->len;
	return MER_OK;
}

static enum mer_status read_script(int folder, struct reading *at, struct mer_error *problem)
{
	struct script *script = at->script;
	MER_AUTO(mer_fd_done) int fd = -1;
	size_t size = 0;
	enum mer_status st = open_script(folder, script, &fd, &size, problem);
	if (st == MER_OK)
		st = read_bytes(fd, size, at, problem);
	if (st != MER_OK)
		return st;
	MER_ASSERT(at->bytes != NULL);
	mer_sha256(at->bytes, at->len, script->sha256);
	if (at->row != NULL && strcmp(script->sha256, at->row->sha256) == 0)
		return MER_OK;
	return look_closer(at, problem);
}

static void room_done(struct mer_buf *room)
{
	mer_buf_release(room);
}

static int folder_fd(const struct scan *scan, const struct script *script)
{
	size_t i = 0;
	while (i < scan->n_folders && scan->folders[i].path != script->folder)
		i++;
	MER_ASSERT(i < scan->n_folders);
	return dirfd(scan->folders[i].dir);
}

enum mer_status scan_read(struct scan *scan, enum sql_dialect dialect,
                          const struct mer_ledger_row rows[], size_t n_rows, struct mer_error *err)
{
	const struct mer_ledger_row *row = rows, *end = n_rows > 0 ? rows + n_rows : rows;
	MER_AUTO(room_done) struct mer_buf room;
	mer_buf_init(&room, SCRIPT_LIMIT);
	for (size_t i = 0; i < scan->n; i++) {
		struct script *script = &scan->scripts[i];
		while (row < end && row->num < script->num)
			row++;
		bool known = row < end && row->num == script->num;
		struct reading at = {
			.dialect = dialect, .script = script, .row = known ? row : NULL, .room = &room
		};
		struct mer_error problem;
		enum mer_status st = read_script(folder_fd(scan, script), &at, &problem);
		if (st == MER_OK)
			continue;
		if (st != MER_ENOMEM && scan->problems == NULL)
			scan->problems = calloc(scan->n, sizeof *scan->problems);
		if (st == MER_ENOMEM || scan->problems == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", script->file);
		scan->problems[i] = problem;
		script->problem = &scan->problems[i];
	}
	return MER_OK;
}
