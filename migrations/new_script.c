/* Finds the folders and the number, and writes the files; none is ever overwritten. */
#include "new_script.h"

#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Where the script is to be written: a folder a dialect, or one alone. */
struct folders {
	char *paths[SQL_DIALECT_COUNT]; /* owned */
	size_t n;
};

static void folders_done(struct folders *folders)
{
	for (size_t i = 0; i < folders->n; i++)
		free(folders->paths[i]);
}

static bool is_folder(const char *path)
{
	struct stat info;
	return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* The folders that are in top and have the names of dialects. */
static enum mer_status find_dialects(const char *top, struct folders *out, struct mer_error *err)
{
	for (size_t i = 0; i < SQL_DIALECT_COUNT; i++) {
		char *path = mer_text_new("%s/%s", top, sql_dialect_name((enum sql_dialect)i));
		if (path == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		if (is_folder(path))
			out->paths[out->n++] = path;
		else
			free(path);
	}
	return MER_OK;
}

static enum mer_status find_folders(const char *dir, struct folders *out, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *real = realpath(dir, NULL);
	if (real == NULL)
		return mer_fail(err, MER_EINPUT, "cannot open the folder '%s': %s", dir, strerror(errno));
	char *slash = strrchr(real, '/');
	enum sql_dialect dialect;
	if (slash != NULL && sql_dialect_by_name(slash + 1, &dialect)) {
		*slash = '\0';
		return find_dialects(real, out, err);
	}
	enum mer_status st = find_dialects(real, out, err);
	if (st != MER_OK || out->n > 0)
		return st;
	out->paths[0] = strdup(dir);
	if (out->paths[0] == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	out->n = 1;
	return MER_OK;
}

/* Several folders that were given are the dialects of one set of scripts, or it is not known where to
 * write. */
static enum mer_status find_all(const char *const dirs[], size_t n_dirs, struct folders *out,
                                struct mer_error *err)
{
	enum mer_status st = find_folders(dirs[0], out, err);
	for (size_t i = 1; st == MER_OK && i < n_dirs; i++) {
		__attribute__((cleanup(folders_done))) struct folders others = { 0 };
		st = find_folders(dirs[i], &others, err);
		bool same = st == MER_OK && others.n == out->n;
		for (size_t j = 0; same && j < others.n; j++)
			same = strcmp(others.paths[j], out->paths[j]) == 0;
		if (st == MER_OK && !same) {
			(void)mer_fail(err, MER_EINPUT, "'%s' and '%s' hold different scripts", dirs[0],
			               dirs[i]);
			mer_hint(err, "name the one to write to");
			st = MER_EINPUT;
		}
	}
	return st;
}

/* --- its number --------------------------------------------------------------------------- */

/* The next number, and with how many digits the last one was written. */
static enum mer_status next_number(const struct folders *folders, int64_t first, int64_t *num,
                                   int *digits, struct mer_error *err)
{
	const char *paths[SQL_DIALECT_COUNT];
	for (size_t i = 0; i < folders->n; i++)
		paths[i] = folders->paths[i];
	struct scan scan;
	scan_init(&scan);
	enum mer_status st = scan_list(&scan, paths, folders->n, err);
	if (st == MER_OK && scan.n == 0) {
		*num = first;
		*digits = 2;
	} else if (st == MER_OK) {
		const struct script *last = &scan.scripts[scan.n - 1];
		*digits = (int)strspn(last->file, "0123456789");
		if (__builtin_add_overflow(last->num, 1, num))
			st = mer_fail(err, MER_EINPUT, "no number is left above '%s'", last->file);
	}
	scan_release(&scan);
	return st;
}

/* --- its files ---------------------------------------------------------------------------- */

static enum mer_status write_file(const char *path, const char *name, struct mer_error *err)
{
	MER_AUTO(mer_fd_done) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return mer_fail(err, MER_EINPUT, "cannot write '%s': %s", path, strerror(errno));
	char text[600];
	int n = snprintf(
		text, sizeof text,
		"-- %.300s: what changes, and why.\n"
		"-- It runs in one transaction with its row in the ledger: no BEGIN or COMMIT here.\n"
		"-- Until there is a statement in it mer-migrate up refuses it.\n",
		name);
	enum mer_status st = mer_write_all(fd, path, text, (size_t)n, err);
	if (st != MER_OK)
		(void)unlink(path);
	return st == MER_OK ? MER_OK : MER_EINPUT;
}

void new_script_release(struct new_script *script)
{
	if (script == NULL)
		return;
	for (size_t i = 0; i < script->n; i++)
		free(script->paths[i]);
	free(script->paths);
	*script = (struct new_script){ 0 };
}

static enum mer_status write_files(const struct folders *folders, int digits, const char *name,
                                   struct new_script *script, struct mer_error *err)
{
	script->paths = calloc(folders->n, sizeof *script->paths);
	if (script->paths == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = MER_OK;
	for (size_t i = 0; st == MER_OK && i < folders->n; i++) {
		char *path =
			mer_text_new("%s/%0*" PRId64 "-%s.sql", folders->paths[i], digits, script->num, name);
		if (path == NULL)
			st = mer_fail(err, MER_ENOMEM, "out of memory");
		else
			st = write_file(path, name, err);
		if (st == MER_OK)
			script->paths[script->n++] = path;
		else
			free(path);
	}
	for (size_t i = 0; st != MER_OK && i < script->n; i++)
		(void)unlink(script->paths[i]);
	return st;
}

static enum mer_status check_name(const char *name, struct mer_error *err)
{
	int64_t num;
	struct mer_str part;
	MER_AUTO(mer_text_done) char *file = mer_text_new("01-%s.sql", name);
	if (file == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (scan_name(file, &num, &part, err) == MER_OK)
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "'%s' is no name for a script", name);
	mer_hint(err, "letters, digits, '_' and '-'; the number and .sql are added");
	return MER_EINPUT;
}

enum mer_status new_script_write(const char *const dirs[], size_t n_dirs, const char *sql,
                                 const char *name, struct new_script *out, struct mer_error *err)
{
	__attribute__((cleanup(folders_done))) struct folders folders = { 0 };
	struct new_script script = { 0 };
	int digits = 2;
	enum mer_status st = check_name(name, err);
	if (st == MER_OK)
		st = n_dirs > 0 ? find_all(dirs, n_dirs, &folders, err) : find_dialects(sql, &folders, err);
	if (st == MER_OK && folders.n == 0)
		st = mer_fail(err, MER_EINPUT, "there are no folders of scripts in '%s'", sql);
	if (st == MER_OK)
		st = next_number(&folders, n_dirs > 0 ? PLAN_OPERATORS : 1, &script.num, &digits, err);
	if (st == MER_OK)
		st = write_files(&folders, digits, name, &script, err);
	if (st == MER_OK)
		*out = script;
	else
		new_script_release(&script);
	return st;
}
