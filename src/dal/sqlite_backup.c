/*
 * Backups of SQLite files by SQLite's own backup functions, over connections of their own.
 *
 * A restore writes into the file that is there, in one transaction, instead of putting another file in
 * its place: so SQLite's journal makes it whole, and no program can have the old file open beside the
 * new one's WAL. Only what is no database any more is moved away.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mer/backup.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/publish.h>
#include <mer/text.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

enum {
	WAIT_MS = 30000,       /* for a writer, where there is no WAL */
	IN_USE_MS = 2000,      /* for another program that is about to leave */
	PAGES = 256,           /* between two looks whether somebody wants it to end */
	PROGRESS_STEPS = 10000 /* the same within a statement */
};

/* SQLite's locks on a file are in this range (os_unix.c: PENDING_BYTE and on). */
#define LOCK_FIRST 0x40000000
#define LOCK_COUNT 512

/* Bytes 18 and 19 of a database say how it is written; 1: by a rollback journal
 * (sqlite.org/fileformat2.html). */
#define MODE_OFFSET 18
static const char rollback_mode[] = { 1, 1 };

struct file {
	sqlite3 *db;
	const char *path; /* for messages; borrowed */
	const atomic_bool *stop;
	bool target; /* it is what is written; for messages */
	int wait_ms;
	int64_t busy_since_ms;
};

static void file_done(struct file *file)
{
	(void)sqlite3_close(file->db);
	file->db = NULL;
}

static bool stopped(const atomic_bool *stop)
{
	return stop != NULL && atomic_load(stop);
}

/* --- errors ------------------------------------------------------------------------------- */

static enum mer_status fail_system(const struct file *file, struct mer_error *err)
{
	int cause = sqlite3_system_errno(file->db);
	const char *why = cause != 0 ? strerror(cause) : sqlite3_errmsg(file->db);
	return mer_fail(err, MER_EDATABASE, "cannot %s '%s': %s", file->target ? "write" : "read",
	                file->path, why);
}

static enum mer_status fail_code(const struct file *file, int code, struct mer_error *err)
{
	switch (code & 0xff) {
	case SQLITE_NOMEM: return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", file->path);
	case SQLITE_INTERRUPT: return mer_fail(err, MER_ECANCELED, "interrupted");
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
		if (stopped(file->stop))
			return mer_fail(err, MER_ECANCELED, "interrupted");
		(void)mer_fail(err, MER_ECONFLICT, "the database '%s' is in use by another program",
		               file->path);
		mer_hint(err, "end each mer that uses it; see who has it open: fuser -v %s", file->path);
		return MER_ECONFLICT;
	case SQLITE_FULL:
		return mer_fail(err, MER_EDATABASE, "cannot write '%s': no space on its disk", file->path);
	case SQLITE_READONLY:
		return mer_fail(err, MER_EDATABASE, "the database '%s' is read-only", file->path);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return mer_fail(err, MER_ECORRUPT, "'%s' is %s", file->path,
		                (code & 0xff) == SQLITE_NOTADB ? "no SQLite database" : "corrupt");
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN: return fail_system(file, err);
	default:
		return mer_fail(err, MER_EDATABASE, "the database '%s' says: %s", file->path,
		                sqlite3_errmsg(file->db));
	}
}

static enum mer_status fail(const struct file *file, struct mer_error *err)
{
	return fail_code(file, sqlite3_extended_errcode(file->db), err);
}

/* --- connections -------------------------------------------------------------------------- */

static int on_busy(void *ctx, int tries)
{
	struct file *file = ctx;
	const struct timespec nap = { .tv_nsec = 5000000 };
	if (tries == 0)
		file->busy_since_ms = mer_clock_ms();
	if (stopped(file->stop) || mer_clock_ms() - file->busy_since_ms >= file->wait_ms)
		return 0;
	(void)nanosleep(&nap, NULL);
	return 1;
}

static int on_progress(void *ctx)
{
	const struct file *file = ctx;
	return stopped(file->stop);
}

static int run_text(const struct file *file, const char *sql)
{
	return sqlite3_exec(file->db, sql, NULL, NULL, NULL);
}

/* file has path, stop and wait_ms. */
static enum mer_status file_open(struct file *file, int flags, struct mer_error *err)
{
	/* What begins with "./" or "/" is never a URI nor ":memory:" to SQLite. */
	const char *prefix = file->path[0] == '/' ? "" : "./";
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s%s", prefix, file->path);
	if (path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", file->path);
	int code = sqlite3_open_v2(path, &file->db, flags | SQLITE_OPEN_NOMUTEX, dal_sqlite_vfs());
	if (file->db == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", file->path);
	if (code == SQLITE_OK)
		code = sqlite3_extended_result_codes(file->db, 1);
	if (code == SQLITE_OK)
		code = sqlite3_busy_handler(file->db, on_busy, file);
	sqlite3_progress_handler(file->db, PROGRESS_STEPS, on_progress, file);
	return code == SQLITE_OK ? MER_OK : fail(file, err);
}

/* --- looking at one ----------------------------------------------------------------------- */

/* The first column of a statement's first row; "" without one. The caller frees *text. */
static enum mer_status first_text(const struct file *file, const char *sql, char **text,
                                  struct mer_error *err)
{
	sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(file->db, sql, -1, &stmt, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	const char *found = code == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : "";
	enum mer_status st = code == SQLITE_ROW || code == SQLITE_DONE ? MER_OK : fail(file, err);
	if (st == MER_OK && (*text = strdup(found != NULL ? found : "")) == NULL)
		st = mer_fail(err, MER_ENOMEM, "out of memory for '%s'", file->path);
	(void)sqlite3_finalize(stmt);
	return st;
}

/* Which of mer's scripts have run there. */
static enum mer_status read_schema(const struct file *file, int64_t *num, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *has = NULL;
	MER_AUTO(mer_text_done) char *max = NULL;
	enum mer_status st = first_text(file,
	                                "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND "
	                                "name IN ('migrations', 'model_access', 'models')",
	                                &has, err);
	if (st == MER_OK && strcmp(has, "3") != 0)
		return mer_fail(err, MER_EINPUT, "'%s' is not a mer's database", file->path);
	if (st == MER_OK)
		st = first_text(file,
		                "SELECT coalesce(max(num), 0) FROM migrations WHERE num < 1000 AND "
		                "state = 'applied'",
		                &max, err);
	if (st == MER_OK)
		*num = strtoll(max, NULL, 10);
	return st;
}

/* Looks through all of it. */
static enum mer_status check_file(const struct file *file, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *found = NULL;
	MER_AUTO(mer_text_done) char *stray = NULL;
	enum mer_status st = first_text(file, "PRAGMA integrity_check(1)", &found, err);
	if (st == MER_OK && strcmp(found, "ok") != 0) {
		found[strcspn(found, "\n")] = '\0';
		return mer_fail(err, MER_ECORRUPT, "'%s' is corrupt: %.200s", file->path, found);
	}
	if (st == MER_OK)
		st =
			first_text(file, "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1", &stray, err);
	if (st == MER_OK && stray[0] != '\0')
		return mer_fail(err, MER_ECORRUPT, "'%s' is corrupt: a row of '%s' refers to none",
		                file->path, stray);
	return st;
}

/* --- copying ------------------------------------------------------------------------------ */

/* All pages; the target's transaction is committed at the end, or rolled back. */
static enum mer_status copy_pages(struct file *to, struct file *from, struct mer_error *err)
{
	sqlite3_backup *backup = sqlite3_backup_init(to->db, "main", from->db, "main");
	if (backup == NULL)
		return fail(to, err);
	int code = SQLITE_OK;
	bool stop = false;
	while (code == SQLITE_OK && !(stop = stopped(to->stop)))
		code = sqlite3_backup_step(backup, PAGES);
	/* It tells neither which of the two failed: what can be written is the target. */
	(void)sqlite3_backup_finish(backup);
	if (stop)
		return mer_fail(err, MER_ECANCELED, "interrupted");
	if (code == SQLITE_DONE)
		return MER_OK;
	const bool reading = (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB ||
	                     code == SQLITE_IOERR_READ || code == SQLITE_IOERR_SHORT_READ;
	return fail_code(reading ? from : to, code, err);
}

/* Of the file in its part: what the caller wants to know of it. */
static enum mer_status describe(int fd, struct mer_backup *out, struct mer_error *err)
{
	enum { BLOCK = 1 << 16 };
	MER_AUTO(mer_text_done) char *block = malloc(BLOCK);
	struct mer_sha256 hash;
	if (block == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	mer_sha256_init(&hash);
	out->bytes = 0;
	for (ssize_t n; (n = pread(fd, block, BLOCK, (off_t)out->bytes)) != 0;) {
		if (n < 0)
			return mer_fail(err, MER_EIO, "cannot read a copy: %s", strerror(errno));
		mer_sha256_add(&hash, block, (size_t)n);
		out->bytes += n;
	}
	mer_sha256_end(&hash, out->sha256);
	return MER_OK;
}

/* Fills a part. It is thrown away as a whole if something fails, so that it needs no journal. */
static enum mer_status fill_part(const struct mer_publish *part, struct file *from,
                                 struct mer_error *err)
{
	MER_AUTO(file_done) struct file to = { .path = part->part, .stop = from->stop, .target = true };
	enum mer_status st = file_open(&to, SQLITE_OPEN_READWRITE, err);
	to.path = part->path;
	if (st == MER_OK &&
	    run_text(&to, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF") != SQLITE_OK)
		st = fail(&to, err);
	return st == MER_OK ? copy_pages(&to, from, err) : st;
}

/* Whether what came to be can be read again. */
static enum mer_status check_part(const struct mer_publish *part, const atomic_bool *stop,
                                  struct mer_error *err)
{
	MER_AUTO(file_done) struct file copy = { .path = part->part, .stop = stop };
	enum mer_status st = file_open(&copy, SQLITE_OPEN_READONLY, err);
	copy.path = part->path;
	return st == MER_OK ? check_file(&copy, err) : st;
}

/* Copies a database into a file of its own. out: NULL, nobody looks through it nor asks for more. */
static enum mer_status copy_file(struct file *from, const char *path, bool replace,
                                 struct mer_backup *out, struct mer_error *err)
{
	MER_AUTO(mer_publish_release) struct mer_publish part = { .fd = -1 };
	enum mer_status st = mer_publish_open(path, replace, 0600, &part, err);
	if (st == MER_OK)
		st = fill_part(&part, from, err);
	if (st == MER_OK &&
	    pwrite(part.fd, rollback_mode, sizeof rollback_mode, MODE_OFFSET) != sizeof rollback_mode)
		st = mer_fail(err, MER_EIO, "cannot write '%s': %s", path, strerror(errno));
	if (st == MER_OK && out != NULL)
		st = check_part(&part, from->stop, err);
	if (st == MER_OK && out != NULL)
		st = describe(part.fd, out, err);
	return st == MER_OK ? mer_publish_put(&part, replace, err) : st;
}

/* The path of a URL. */
static enum mer_status path_of(const char *url, const char *advice, const char **out,
                               struct mer_error *err)
{
	const char *dialect = mer_dal_dialect_of(url);
	if (dialect == NULL || strcmp(dialect, "sqlite") != 0) {
		(void)mer_fail(err, MER_EINPUT, "this is for databases in a file, and not for %s",
		               dialect == NULL ? "such a URL" : dialect);
		mer_hint(err, "%s", advice);
		return MER_EINPUT;
	}
	*out = strncmp(url, "sqlite:", strlen("sqlite:")) == 0 ? url + strlen("sqlite:") : url;
	return MER_OK;
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat first, second;
	return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
	       first.st_ino == second.st_ino;
}

/* To whoever asked for it, that is a fault of the database. */
static enum mer_status as_database(enum mer_status st, struct mer_error *err)
{
	if (st != MER_ECORRUPT)
		return st;
	if (err != NULL)
		err->status = MER_EDATABASE;
	return MER_EDATABASE;
}

static enum mer_status backup_file(const char *database, const char *path, bool replace,
                                   const atomic_bool *stop, struct mer_backup *out,
                                   struct mer_error *err)
{
	MER_AUTO(file_done)
	struct file from = { .path = database, .stop = stop, .wait_ms = WAIT_MS };
	enum mer_status st = file_open(&from, SQLITE_OPEN_READWRITE, err);
	/* Its WAL stays as it is: to move that is for who writes. */
	if (st == MER_OK)
		(void)sqlite3_db_config(from.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	/* All pages are of the moment at which the transaction reads first. */
	if (st == MER_OK && run_text(&from, "BEGIN") != SQLITE_OK)
		st = fail(&from, err);
	if (st == MER_OK)
		st = read_schema(&from, &out->schema_num, err);
	if (st == MER_EINPUT)
		st = mer_wrap(err, MER_EDATABASE, "cannot back it up");
	return st == MER_OK ? copy_file(&from, path, replace, out, err) : st;
}

enum mer_status mer_backup(const char *url, const char *path, bool replace, const atomic_bool *stop,
                           struct mer_backup *out, struct mer_error *err)
{
	const char *database;
	struct stat info;
	enum mer_status st =
		path_of(url, "pg_dump -Fc -f FILE URL; or: mer db copy --from URL --to sqlite:FILE",
	            &database, err);
	if (st != MER_OK)
		return st;
	if (stat(database, &info) < 0)
		return mer_fail(err, MER_EDATABASE, "there is no database at '%s'", database);
	if (is_same_file(database, path))
		return mer_fail(err, MER_EINPUT, "'%s' is the database itself", path);
	return as_database(backup_file(database, path, replace, stop, out, err), err);
}

/* --- restoring ---------------------------------------------------------------------------- */

struct restoring {
	const char *database; /* where it really is */
	const atomic_bool *stop;
	struct file *from;
	char *kept; /* where what was there is; NULL: nowhere */
};

/* Beside the database, with the time in its name. */
static enum mer_status name_kept(struct restoring *restoring, struct mer_error *err)
{
	char time[MER_TIME_SIZE], digits[MER_TIME_SIZE];
	size_t n = 0;
	mer_time_text(mer_time_now_ms(), time);
	for (const char *at = time; *at != '\0'; at++) {
		if (strchr("-:.", *at) == NULL)
			digits[n++] = *at;
	}
	digits[n] = '\0';
	restoring->kept = mer_text_new("%s.before-restore-%s", restoring->database, digits);
	return restoring->kept != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

static bool is_on_network(const char *path)
{
	struct statfs info;
	return statfs(path, &info) == 0 && dal_sqlite_network_fs((int64_t)info.f_type);
}

/* Nobody else can read or write it from here on. With a WAL every connection has a lock, even one that
 * does nothing. */
static enum mer_status take_alone(struct file *file, struct mer_error *err)
{
	int code = run_text(file, "PRAGMA locking_mode = EXCLUSIVE");
	if (code == SQLITE_OK)
		code = run_text(file, "BEGIN EXCLUSIVE");
	if (code == SQLITE_OK)
		code = run_text(file, "COMMIT");
	return code == SQLITE_OK ? MER_OK : fail_code(file, code, err);
}

/* Pages of another size cannot go into a WAL. */
static enum mer_status match_page_size(struct file *to, const struct file *from,
                                       struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *ours = NULL;
	MER_AUTO(mer_text_done) char *theirs = NULL;
	enum mer_status st = first_text(to, "PRAGMA page_size", &ours, err);
	if (st == MER_OK)
		st = first_text(from, "PRAGMA page_size", &theirs, err);
	if (st == MER_OK && strcmp(ours, theirs) != 0 &&
	    run_text(to, "PRAGMA journal_mode = DELETE") != SQLITE_OK)
		st = fail(to, err);
	return st;
}

/* Copies what is there to its new name, and what is restored over it. */
static enum mer_status write_over(struct restoring *restoring, struct mer_error *err)
{
	MER_AUTO(file_done)
	struct file to = {
		.path = restoring->database, .stop = restoring->stop, .target = true, .wait_ms = IN_USE_MS
	};
	enum mer_status st = file_open(&to, SQLITE_OPEN_READWRITE, err);
	if (st == MER_OK)
		st = take_alone(&to, err);
	if (st == MER_OK)
		st = match_page_size(&to, restoring->from, err);
	if (st == MER_OK)
		st = copy_file(&to, restoring->kept, false, NULL, err);
	if (st != MER_OK)
		return st;
	st = copy_pages(&to, restoring->from, err);
	if (st != MER_OK) {
		(void)unlink(restoring->kept); /* the database is as it was */
		return st;
	}
	if (!is_on_network(restoring->database)) /* whatever it was before */
		(void)run_text(&to, "PRAGMA journal_mode = WAL");
	return MER_OK;
}

/* Nothing of before may be read together with what comes: a WAL or a journal that is left would be taken
 * for its own. The file itself, which then gets a second name, stays until it is replaced. */
static enum mer_status set_aside(const struct restoring *restoring, struct mer_error *err)
{
	static const char *const suffixes[] = { "-wal", "-shm", "-journal" };
	for (size_t i = 0; i < DAL_COUNT(suffixes); i++) {
		MER_AUTO(mer_text_done) char *from = mer_text_new("%s%s", restoring->database, suffixes[i]);
		MER_AUTO(mer_text_done) char *to = mer_text_new("%s%s", restoring->kept, suffixes[i]);
		if (from == NULL || to == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		if (rename(from, to) < 0 && errno != ENOENT)
			return mer_fail(err, MER_EDATABASE, "cannot move '%s' away: %s", from, strerror(errno));
	}
	if (link(restoring->database, restoring->kept) == 0 || errno == ENOENT)
		return MER_OK;
	if (rename(restoring->database, restoring->kept) < 0) /* where there are no such links */
		return mer_fail(err, MER_EDATABASE, "cannot move '%s' away: %s", restoring->database,
		                strerror(errno));
	return MER_OK;
}

/* Puts a new file in the place of what is no database, or of nothing. */
static enum mer_status write_new(const struct restoring *restoring, struct mer_error *err)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_FIRST, .l_len = LOCK_COUNT
	};
	MER_AUTO(mer_fd_done) int fd = open(restoring->database, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES))
		return mer_fail(err, MER_ECONFLICT, "the database '%s' is in use by another program",
		                restoring->database);
	enum mer_status st = set_aside(restoring, err);
	if (st == MER_OK)
		st = copy_file(restoring->from, restoring->database, true, NULL, err);
	if (st != MER_OK || is_on_network(restoring->database))
		return st;
	MER_AUTO(file_done) struct file made = { .path = restoring->database };
	if (file_open(&made, SQLITE_OPEN_READWRITE, NULL) == MER_OK) /* it works without, but slower */
		(void)run_text(&made, "PRAGMA journal_mode = WAL");
	return MER_OK;
}

/* A mer that lives holds the lock of its owner row; where there is no WAL, it may have no other. */
struct living {
	struct mer_uid uids[64];
	size_t n;
};

static enum mer_status on_owner(void *ctx, const void *data, struct mer_error *err)
{
	struct living *living = ctx;
	const struct mer_owner_row *row = data;
	(void)err;
	if (living->n < DAL_COUNT(living->uids) && mer_uid_valid(row->uid))
		memcpy(living->uids[living->n++].text, row->uid, sizeof living->uids->text);
	return MER_OK;
}

static enum mer_status check_owners(const char *url, struct mer_error *err)
{
	struct mer_dal *dal;
	struct living living = { .n = 0 };
	bool alive = false;
	if (mer_dal_open(url, MER_DAL_READ | MER_DAL_ANY_SCHEMA, &dal, NULL) != MER_OK)
		return MER_OK; /* why not shows itself */
	enum mer_status st = mer_dal_query(dal, MER_Q_OWNERS, NULL, 0, on_owner, &living, NULL);
	for (size_t i = 0; st == MER_OK && !alive && i < living.n; i++)
		st = mer_dal_lock(dal, mer_uid_key(living.uids[i].text), MER_LOCK_TEST, &alive, NULL);
	mer_dal_close(dal);
	if (!alive)
		return MER_OK;
	(void)mer_fail(err, MER_ECONFLICT, "the database '%s' is in use by another mer", url);
	mer_hint(err, "end it first; mer log --status running says what it does");
	return MER_ECONFLICT;
}

static enum mer_status put_in_place(struct restoring *restoring, const char *url,
                                    struct mer_error *err)
{
	struct stat info;
	bool there = stat(restoring->database, &info) == 0;
	if (there && !S_ISREG(info.st_mode))
		return mer_fail(err, MER_EDATABASE, "'%s' is not a file", restoring->database);
	bool empty = !there || info.st_size == 0;
	enum mer_status st = empty ? MER_OK : check_owners(url, err);
	if (st == MER_OK)
		st = name_kept(restoring, err);
	if (st == MER_OK && !empty)
		st = write_over(restoring, err);
	if ((st == MER_OK && empty) || st == MER_ECORRUPT)
		st = write_new(restoring, err);
	if (empty && restoring->kept != NULL) { /* that was nothing to be kept */
		(void)unlink(restoring->kept);
		free(restoring->kept);
		restoring->kept = NULL;
	}
	return st;
}

/* What is to be restored must be what it says, before anything is touched. */
static enum mer_status check_backup(struct file *from, struct mer_backup *out,
                                    struct mer_error *err)
{
	MER_AUTO(mer_fd_done) int fd = open(from->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return mer_fail(err, MER_EINPUT, "cannot open '%s': %s", from->path, strerror(errno));
	enum mer_status st = describe(fd, out, err);
	/* Its locks would go with this descriptor, so that comes first. */
	(void)close(fd);
	fd = -1;
	if (st == MER_EIO)
		st = mer_wrap(err, MER_EINPUT, "'%s'", from->path);
	if (st == MER_OK && out->bytes == 0)
		st = mer_fail(err, MER_EINPUT, "'%s' is empty", from->path);
	if (st == MER_OK)
		st = file_open(from, SQLITE_OPEN_READONLY, err);
	if (st == MER_OK && run_text(from, "BEGIN") != SQLITE_OK)
		st = fail(from, err);
	if (st == MER_OK)
		st = read_schema(from, &out->schema_num, err);
	if (st == MER_ECORRUPT && (sqlite3_errcode(from->db) & 0xff) == SQLITE_NOTADB)
		st = mer_wrap(err, MER_EINPUT, "it cannot be restored");
	if (st == MER_OK)
		st = check_file(from, err);
	if (st == MER_OK && out->schema_num > MER_SCHEMA_NUM) {
		(void)mer_fail(err, MER_EDATABASE,
		               "the backup '%s' is newer than this mer: it has script %" PRId64
		               ", this one knows up to %d",
		               from->path, out->schema_num, MER_SCHEMA_NUM);
		mer_hint(err, "use the mer that it was made with, or a newer one");
		return MER_EDATABASE;
	}
	return st;
}

/* The folder that a database is to be in may not be there yet. */
static enum mer_status make_folder(const char *database, struct mer_error *err)
{
	const char *slash = strrchr(database, '/');
	if (slash == NULL || slash == database)
		return MER_OK;
	MER_AUTO(mer_text_done) char *folder = strndup(database, (size_t)(slash - database));
	return folder != NULL ? mer_make_folders(folder, err)
	                      : mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status restore_file(const char *url, const char *database, const char *path,
                                    const atomic_bool *stop, char **kept, struct mer_backup *out,
                                    struct mer_error *err)
{
	/* What is beside it is beside the file itself, not beside a link to it. */
	MER_AUTO(mer_text_done) char *real = realpath(database, NULL);
	MER_AUTO(file_done) struct file from = { .path = path, .stop = stop, .wait_ms = WAIT_MS };
	struct restoring restoring = { .database = real != NULL ? real : database,
		                           .stop = stop,
		                           .from = &from };
	enum mer_status st = check_backup(&from, out, err);
	if (st == MER_OK && real == NULL)
		st = make_folder(database, err);
	if (st == MER_OK)
		st = put_in_place(&restoring, url, err);
	if (st != MER_OK) {
		free(restoring.kept);
		return st;
	}
	*kept = restoring.kept;
	return MER_OK;
}

enum mer_status mer_restore(const char *url, const char *path, const atomic_bool *stop, char **kept,
                            struct mer_backup *out, struct mer_error *err)
{
	const char *database;
	enum mer_status st =
		path_of(url, "pg_restore --clean --if-exists -d URL FILE; of a SQLite file: mer db copy",
	            &database, err);
	if (st == MER_OK && is_same_file(database, path))
		st = mer_fail(err, MER_EINPUT, "'%s' is the database itself", path);
	if (st != MER_OK)
		return st;
	return as_database(restore_file(url, database, path, stop, kept, out, err), err);
}
