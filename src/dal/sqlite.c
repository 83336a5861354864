/*
 * The SQLite backend: one connection to one file, and the lock file beside it.
 *
 * What other programs do to the file at the same time is waited for, never reported as "locked".
 * Closing does not checkpoint (that would be most of what recording a run costs), so PATH-wal
 * stays; who leaves a long one behind makes it short, since the next one to open reads it all.
 */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

enum {
	WAIT_MS = 30000, /* for other programs, before a call gives up */
	/* Of the WAL. Checkpoints every 100 pages make groups of runs a fifth slower than every 400; a
	 * hundred pages left behind cost the next opener 0.1 ms. */
	CHECKPOINT_PAGES = 1000,
	LEAVE_PAGES = 100,
	PROGRESS_STEPS = 10000, /* less than a millisecond's */
	ADDED_MAX = 1024,       /* bytes of names; beyond that all tables are looked at */
};

/* --- errors ------------------------------------------------------------------------------- */

static enum mer_status fail_busy(const struct sqlite *lite, struct mer_error *err)
{
	const enum mer_status status = lite->wait_is_given ? MER_EBUSY : MER_EDATABASE;
	(void)mer_fail(err, status,
	               "the database '%s' is in use by another program for longer than %" PRId64 " s",
	               lite->base.name, lite->wait_ms / 1000);
	mer_hint(err, "see who has it open: fuser -v %s", lite->base.name);
	return status;
}

/* A file or folder that cannot be opened, read or written. */
static enum mer_status fail_file(const struct sqlite *lite, const char *what, struct mer_error *err)
{
	int cause = sqlite3_system_errno(lite->db);
	(void)mer_fail(err, MER_EDATABASE, "cannot %s the database '%s': %s", what, lite->base.name,
	               cause != 0 ? strerror(cause) : sqlite3_errmsg(lite->db));
	mer_hint(err, "the file, its folder and '-wal' and '-shm' beside it must be this user's");
	return MER_EDATABASE;
}

static enum mer_status fail_read_only(struct sqlite *lite, int code, struct mer_error *err)
{
	if (code == SQLITE_READONLY_DBMOVED) {
		(void)mer_fail(err, MER_EDATABASE, "the database '%s' was moved or removed while in use",
		               lite->base.name);
		mer_hint(err, "start again once it is in its place");
		return MER_EDATABASE;
	}
	lite->base.read_only = true;
	if (code == SQLITE_READONLY_DIRECTORY || code == SQLITE_READONLY_CANTINIT)
		(void)mer_fail(err, MER_EDATABASE,
		               "the database '%s' needs files beside it, which this user cannot make",
		               lite->base.name);
	else
		(void)mer_fail(err, MER_EDATABASE, "the database '%s' is read-only", lite->base.name);
	mer_hint(err, "this user must be able to write the file and its folder");
	return MER_EDATABASE;
}

/* What the database itself says went wrong, but for constraints. */
enum mer_status lite_fail_code(struct sqlite *lite, int code, struct mer_error *err)
{
	const char *name = lite->base.name;
	switch (code & 0xff) {
	case SQLITE_NOMEM: return mer_fail(err, MER_ENOMEM, "out of memory in the database '%s'", name);
	case SQLITE_INTERRUPT: return mer_fail(err, MER_ECANCELED, "interrupted");
	case SQLITE_TOOBIG:
		return mer_fail(err, MER_ELIMIT, "a value is too large for the database '%s'", name);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
		if (lite->canceled)
			return mer_fail(err, MER_ECANCELED, "interrupted");
		return dal_patience_ms(&lite->base, lite->busy_since_ms) == 0
		           ? dal_fail_hasty(&lite->base, err)
		           : fail_busy(lite, err);
	case SQLITE_READONLY: return fail_read_only(lite, code, err);
	case SQLITE_CANTOPEN: return fail_file(lite, "open", err);
	case SQLITE_IOERR:
		if (code == SQLITE_IOERR_NOMEM)
			return mer_fail(err, MER_ENOMEM, "out of memory in the database '%s'", name);
		return fail_file(lite, "read or write", err);
	case SQLITE_FULL:
		(void)mer_fail(err, MER_EDATABASE, "the database '%s' is full: no space on its disk", name);
		mer_hint(err, "free some space on the disk of '%s'", name);
		return MER_EDATABASE;
	case SQLITE_CORRUPT:
		(void)mer_fail(err, MER_EDATABASE, "the database '%s' is corrupt: %s", name,
		               sqlite3_errmsg(lite->db));
		mer_hint(err, "restore a backup; what is left can be had with: sqlite3 %s .recover", name);
		return MER_EDATABASE;
	case SQLITE_NOTADB:
		(void)mer_fail(err, MER_EDATABASE, "'%s' is no SQLite database", name);
		mer_hint(err, "give the path of another file; this one is left as it is");
		return MER_EDATABASE;
	default:
		(void)mer_fail(err, MER_EDATABASE, "the database '%s' says: %s", name,
		               sqlite3_errmsg(lite->db));
		if (code == SQLITE_ERROR) /* a statement of ours that its tables do not fit */
			mer_hint(err, "is it another program's? its tables are not those of this mer");
		return MER_EDATABASE;
	}
}

/* "UNIQUE constraint failed: models.name" -> "models.name". */
static const char *constraint_subject(const char *message)
{
	const char *colon = strstr(message, ": ");
	return colon != NULL ? colon + 2 : message;
}

static enum mer_status fail_constraint(struct sqlite *lite, int code, struct mer_error *err)
{
	const char *subject = constraint_subject(sqlite3_errmsg(lite->db));
	switch (code) {
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
	case SQLITE_CONSTRAINT_ROWID:
		return mer_fail(err, MER_ECONFLICT, "there is a row with the same '%s' already", subject);
	case SQLITE_CONSTRAINT_FOREIGNKEY: /* a row that is referred to is not there */
		return mer_fail(err, MER_ECONFLICT, "a row that this one refers to is not there");
	case SQLITE_CONSTRAINT_TRIGGER: /* ON DELETE RESTRICT is a trigger inside SQLite */
		if (strstr(subject, "FOREIGN KEY") != NULL)
			return mer_fail(err, MER_ECONFLICT, "other rows still refer to this one");
		return mer_fail(err, MER_ECONFLICT, "the database refuses it: '%s'", subject);
	default: return mer_fail(err, MER_EINPUT, "the database takes no such value: '%s'", subject);
	}
}

enum mer_status lite_fail(struct sqlite *lite, struct mer_error *err)
{
	int code = sqlite3_extended_errcode(lite->db);
	if ((code & 0xff) == SQLITE_CONSTRAINT)
		return fail_constraint(lite, code, err);
	return lite_fail_code(lite, code, err);
}

/* --- waiting for other programs ----------------------------------------------------------- */

/* SQLite's busy handler: sleeps a while and returns whether to try again. The naps grow and are
 * uneven, so that those who wait for the same writer do not meet again and again. */
static int on_busy(void *ctx, int tries)
{
	static const long naps_us[] = { 100, 200, 500, 1000, 2000, 5000, 10000 };
	struct sqlite *lite = ctx;
	int64_t us = mer_clock_us(), ms = us / 1000;
	if (tries == 0)
		lite->busy_since_ms = ms;
	if (ms - lite->busy_since_ms >= lite->wait_ms || lite->canceled ||
	    dal_patience_ms(&lite->base, lite->busy_since_ms) == 0)
		return 0;
	size_t last = DAL_COUNT(naps_us) - 1;
	long nap_us = naps_us[(size_t)tries < last ? (size_t)tries : last];
	nap_us += us % nap_us; /* the clock's low digits are as good as random */
	struct timespec nap = { .tv_nsec = nap_us * 1000 };
	(void)nanosleep(&nap, NULL);
	return 1;
}

/* SQLite asks it every so many steps of a statement whether to end it. */
static int on_progress(void *ctx)
{
	const struct sqlite *lite = ctx;
	return dal_patience_ms(&lite->base, 0) == 0;
}

/* Runs a statement without a result. */
static int run_text(struct sqlite *lite, const char *sql)
{
	return sqlite3_exec(lite->db, sql, NULL, NULL, NULL);
}

/* For what SQLite does not ask its busy handler: a change of the journal mode. */
static int run_text_waiting(struct sqlite *lite, const char *sql)
{
	for (int tries = 0;; tries++) {
		int code = run_text(lite, sql);
		if ((code & 0xff) != SQLITE_BUSY || !on_busy(lite, tries))
			return code;
	}
}

/* --- opening ------------------------------------------------------------------------------ */

bool dal_sqlite_network_fs(int64_t f_type)
{
	/* statfs(2), linux/magic.h and the file systems' own sources. statfs gives some of them with
	 * the sign bit, so only 32 bits count. */
	static const uint32_t types[] = {
		0x6969,     /* nfs */
		0xff534d42, /* cifs */
		0xfe534d42, /* smb2 */
		0x517b,     /* smb */
		0x65735546, /* fuse: sshfs, glusterfs, s3fs, ... */
		0x01021997, /* 9p */
		0x0bd00bd0, /* lustre */
		0x00c36400, /* ceph */
		0x5346414f, /* afs */
		0x6b414653, /* kafs */
		0x73757245, /* coda */
		0x01161970, /* gfs2 */
		0x7461636f, /* ocfs2 */
		0x47504653, /* gpfs */
		0x19830326, /* beegfs */
		0xaad7aaea, /* panfs */
		0x786f4256, /* vboxsf */
		0xbacbacbc, /* vmhgfs */
		0x20030528, /* orangefs */
		0x564c,     /* ncp */
	};
	for (size_t i = 0; i < DAL_COUNT(types); i++) {
		if (types[i] == (uint32_t)f_type)
			return true;
	}
	return false;
}

/* Makes the file empty and with mode 0600, so that what SQLite puts beside it has that mode too. */
static enum mer_status create_file(const char *path, struct mer_error *err)
{
	const char *slash = strrchr(path, '/');
	if (slash != NULL && slash != path) {
		MER_AUTO(mer_text_done) char *folder = strndup(path, (size_t)(slash - path));
		if (folder == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", path);
		enum mer_status st = mer_make_folders(folder, err);
		if (st != MER_OK)
			return mer_wrap(err, st == MER_EIO ? MER_EDATABASE : st,
			                "cannot make the database '%s'", path);
	}
	/* Exclusive: closing a file that a connection of this process has open would drop its locks. */
	MER_AUTO(mer_fd_done) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return MER_OK;
	if (fd < 0 || fchmod(fd, 0600) < 0)
		return mer_fail(err, MER_EDATABASE, "cannot make the database '%s': %s", path,
		                strerror(errno));
	return MER_OK;
}

/* Looks at the path before SQLite does, which would not say what is wrong with it. */
static enum mer_status check_path(const struct sqlite *lite, struct mer_error *err)
{
	const char *path = lite->base.name;
	struct stat info;
	if (stat(path, &info) < 0) {
		if (errno == ENOENT) {
			(void)mer_fail(err, MER_EDATABASE, "there is no database at '%s'", path);
			dal_hint_migrate(err, lite->base.url);
			return MER_EDATABASE;
		}
		return mer_fail(err, MER_EDATABASE, "cannot open the database '%s': %s", path,
		                strerror(errno));
	}
	if (S_ISDIR(info.st_mode))
		return mer_fail(err, MER_EDATABASE, "'%s' is a folder, not a database", path);
	if (!S_ISREG(info.st_mode))
		return mer_fail(err, MER_EDATABASE, "'%s' is not a file", path);
	return MER_OK;
}

/* SQLite calls it after each commit to a WAL. */
static int on_commit(void *ctx, sqlite3 *db, const char *schema, int pages)
{
	struct sqlite *lite = ctx;
	lite->wal_pages = pages;
	/* As far as the readers let it; the commit is done in any case. */
	if (pages >= CHECKPOINT_PAGES)
		(void)sqlite3_wal_checkpoint_v2(db, schema, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	return SQLITE_OK;
}

/* Empties a long WAL, unless somebody is at it: then that one leaves last. The busy handler would
 * wait for it. */
static void shorten_wal(struct sqlite *lite)
{
	if (lite->wal_pages <= LEAVE_PAGES)
		return;
	(void)sqlite3_busy_handler(lite->db, NULL, NULL);
	(void)sqlite3_wal_checkpoint_v2(lite->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

/* What needs no look at the file. The schema stays trusted: to SQLite 3.40 json_valid() in a CHECK
 * is unsafe otherwise, and no function of this program's own is there to be abused. */
static int configure(struct sqlite *lite, unsigned flags)
{
	/* Foreign keys cannot be switched within a transaction, and a script that builds a table anew
	 * would delete the rows that refer to the old one. */
	const struct {
		int option, on;
	} options[] = {
		{ SQLITE_DBCONFIG_ENABLE_FKEY, (flags & MER_DAL_ANY_SCHEMA) == 0 },
		{ SQLITE_DBCONFIG_DEFENSIVE, 1 },
		{ SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 },
		{ SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1 },
	};
	int code = SQLITE_OK;
	for (size_t i = 0; code == SQLITE_OK && i < DAL_COUNT(options); i++)
		code = sqlite3_db_config(lite->db, options[i].option, options[i].on, (int *)NULL);
	if (code == SQLITE_OK)
		code = sqlite3_extended_result_codes(lite->db, 1);
	if (code == SQLITE_OK)
		code = sqlite3_busy_handler(lite->db, on_busy, lite);
	(void)sqlite3_wal_hook(lite->db, on_commit, lite);
	if (lite->base.haste != NULL)
		sqlite3_progress_handler(lite->db, PROGRESS_STEPS, on_progress, lite);
	return code == SQLITE_OK ? run_text(lite, "PRAGMA temp_store = MEMORY") : code;
}

/* The journal mode is in the file itself: set it where the file is made and where it would be
 * dangerous, and leave it alone otherwise. */
static int set_journal(struct sqlite *lite, const char *path, unsigned flags)
{
	struct statfs info;
	if (statfs(path, &info) == 0 && dal_sqlite_network_fs((int64_t)info.f_type)) {
		lite->base.notice = "on a network file system: rollback journal";
		return run_text_waiting(lite, "PRAGMA journal_mode = DELETE");
	}
	if ((flags & MER_DAL_CREATE) == 0 || lite->base.read_only)
		return SQLITE_OK;
	return run_text_waiting(lite, "PRAGMA journal_mode = WAL");
}

static enum mer_status open_file(struct sqlite *lite, const char *path, unsigned flags,
                                 struct mer_error *err)
{
	const char *vfs = dal_sqlite_vfs(); /* before anything else of SQLite */
	/* One thread at a time uses it, so it needs no mutex. */
	int code = sqlite3_open_v2(path, &lite->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, vfs);
	if (lite->db == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for the database '%s'", path);
	if (code == SQLITE_OK)
		code = configure(lite, flags);
	if (code == SQLITE_OK) {
		lite->base.read_only = sqlite3_db_readonly(lite->db, "main") == 1;
		code = set_journal(lite, path, flags);
	}
	/* The first look at the file's content; synchronous reads the schema, as any query would. */
	if (code == SQLITE_OK)
		code = run_text(lite, "PRAGMA synchronous = FULL");
	return code == SQLITE_OK ? MER_OK : lite_fail(lite, err);
}

static void sqlite_close(struct mer_dal *dal, bool forked)
{
	struct sqlite *lite = lite_of(dal);
	if (!forked) {
		/* In a fork, even finalizing could change the shared memory of the WAL: it is left open. */
		for (size_t i = 0; i < MER_Q_COUNT; i++)
			(void)sqlite3_finalize(lite->stmts[i]);
		if (lite->db != NULL && !sqlite3_get_autocommit(lite->db))
			(void)run_text(lite, "ROLLBACK");
		shorten_wal(lite);
		MER_ASSERT(sqlite3_close(lite->db) == SQLITE_OK);
	}
	if (lite->lock_fd >= 0)
		(void)close(lite->lock_fd); /* last: who holds its lock is alive */
	for (size_t i = 0; i < MER_Q_COUNT; i++)
		free(lite->bound[i]);
	mer_buf_release(&lite->added);
	free(lite->base.url);
	free(lite);
}

static enum mer_status sqlite_open(const char *rest, unsigned flags, struct mer_haste *haste,
                                   struct mer_dal **out, struct mer_error *err)
{
	if (*rest == '\0') {
		(void)mer_fail(err, MER_EINPUT, "the database URL names no file");
		mer_hint(err, "sqlite:PATH");
		return MER_EINPUT;
	}
	struct sqlite *lite = calloc(1, sizeof *lite);
	/* An absolute path or one that begins with "./" is never a URI nor ":memory:" to SQLite. */
	char *url = mer_text_new("sqlite:%s", rest);
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s%s", *rest == '/' ? "" : "./", rest);
	if (lite == NULL || url == NULL || path == NULL) {
		free(lite);
		free(url);
		return mer_fail(err, MER_ENOMEM, "out of memory for a connection");
	}
	lite->base = (struct mer_dal){
		.ops = &dal_sqlite, .url = url, .name = url + strlen("sqlite:"), .haste = haste
	};
	mer_buf_init(&lite->added, ADDED_MAX);
	lite->lock_fd = -1;
	lite->wait_is_given = haste != NULL && haste->wait_ms > 0;
	lite->wait_ms = lite->wait_is_given ? haste->wait_ms : WAIT_MS;
	lite->reads = (flags & MER_DAL_READ) != 0;
	enum mer_status st = MER_OK;
	if ((flags & MER_DAL_CREATE) != 0)
		st = create_file(rest, err);
	if (st == MER_OK)
		st = check_path(lite, err);
	if (st == MER_OK)
		st = open_file(lite, path, flags, err);
	if (st != MER_OK) {
		sqlite_close(&lite->base, false);
		return st;
	}
	*out = &lite->base;
	return MER_OK;
}

/* --- queries ------------------------------------------------------------------------------ */

/* What the text of a query and its row in queries.c say must be the same. */
static void check_shape(struct sqlite *lite, enum mer_query query, sqlite3_stmt *stmt)
{
	const struct dal_query *shape = &dal_queries[query];
	MER_ASSERT(sqlite3_bind_parameter_count(stmt) == (int)shape->n_args);
	for (size_t i = 0; i < shape->n_args; i++) {
		char name[24];
		(void)snprintf(name, sizeof name, "$%zu", i + 1);
		int index = sqlite3_bind_parameter_index(stmt, name);
		MER_ASSERT(index > 0);
		lite->param[query][i] = (unsigned char)index;
	}
	MER_ASSERT(sqlite3_column_count(stmt) == (int)shape->n_fields);
	for (size_t i = 0; i < shape->n_fields; i++) {
		const char *column = sqlite3_column_name(stmt, (int)i);
		MER_ASSERT(column == NULL || strcmp(column, shape->fields[i].column) == 0);
	}
}

/* mer_has_rows(table), since SQL cannot ask for a table by a name that it has just read. One that cannot
 * be read may have some. */
static void has_rows(sqlite3_context *result, int n, sqlite3_value **args)
{
	sqlite3 *db = sqlite3_context_db_handle(result);
	sqlite3_stmt *stmt = NULL;
	(void)n;
	char *sql = sqlite3_mprintf("SELECT 1 FROM \"%w\" LIMIT 1", sqlite3_value_text(args[0]));
	int code = sql == NULL ? SQLITE_NOMEM : sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	(void)sqlite3_finalize(stmt);
	sqlite3_free(sql);
	if (code == SQLITE_NOMEM)
		sqlite3_result_error_nomem(result);
	else
		sqlite3_result_int(result, code != SQLITE_DONE);
}

/* Makes the function that a query calls, if it calls one. */
static int add_function(struct sqlite *lite, enum mer_query query)
{
	if (query != MER_Q_OTHERS)
		return SQLITE_OK;
	return sqlite3_create_function(lite->db, "mer_has_rows", 1, SQLITE_UTF8, NULL, has_rows, NULL,
	                               NULL);
}

static enum mer_status prepared(struct sqlite *lite, enum mer_query query, sqlite3_stmt **out,
                                struct mer_error *err)
{
	if (lite->stmts[query] == NULL) {
		sqlite3_stmt *stmt;
		int code = add_function(lite, query);
		if (code == SQLITE_OK)
			code = sqlite3_prepare_v3(lite->db, dal_sqlite_text[query], -1,
			                          SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
		if (code != SQLITE_OK)
			return lite_fail(lite, err);
		check_shape(lite, query, stmt);
		lite->stmts[query] = stmt;
		lite->bound[query] = calloc(dal_queries[query].n_args + 1, sizeof *lite->bound[query]);
	}
	*out = lite->stmts[query];
	return MER_OK;
}

static int bind_one(sqlite3_stmt *stmt, int index, const struct mer_value *value)
{
	switch (value->type) {
	case MER_VALUE_NULL: return sqlite3_bind_null(stmt, index);
	case MER_VALUE_I64: return sqlite3_bind_int64(stmt, index, value->number);
	case MER_VALUE_TEXT:
		return sqlite3_bind_text64(stmt, index, value->text.ptr, value->text.len, SQLITE_STATIC,
		                           SQLITE_UTF8);
	case MER_VALUE_BLOB:
		/* A pointer of NULL would be SQL's NULL. */
		return sqlite3_bind_blob64(stmt, index, value->text.len > 0 ? value->text.ptr : "",
		                           value->text.len, SQLITE_STATIC);
	}
	return SQLITE_MISUSE;
}

/* Not the bytes, but where they are: SQLite reads them when it steps. */
static bool is_bound(const struct mer_value *bound, const struct mer_value *value)
{
	return bound->type == value->type && bound->number == value->number &&
	       bound->text.ptr == value->text.ptr && bound->text.len == value->text.len;
}

/* Rows that follow one another differ in a few of their values only, and to bind one costs a tenth of
 * what writing it does. */
static enum mer_status bind(struct sqlite *lite, sqlite3_stmt *stmt, const struct dal_call *call,
                            struct mer_error *err)
{
	struct mer_value *bound = lite->bound[call->query];
	for (size_t i = 0; i < dal_queries[call->query].n_args; i++) {
		if (bound != NULL && is_bound(&bound[i], &call->args[i]))
			continue;
		int code = bind_one(stmt, lite->param[call->query][i], &call->args[i]);
		if (code != SQLITE_OK)
			return lite_fail_code(lite, code, err);
		if (bound != NULL)
			bound[i] = call->args[i];
	}
	return MER_OK;
}

static struct mer_value value_at(sqlite3_stmt *stmt, int column, enum dal_type type)
{
	struct mer_value value = { .type = MER_VALUE_NULL };
	if (sqlite3_column_type(stmt, column) == SQLITE_NULL)
		return value;
	if (type == DAL_I64)
		return mer_i64(sqlite3_column_int64(stmt, column));
	value.type = type == DAL_BLOB ? MER_VALUE_BLOB : MER_VALUE_TEXT;
	value.text.ptr = type == DAL_BLOB ? sqlite3_column_blob(stmt, column)
	                                  : (const char *)sqlite3_column_text(stmt, column);
	value.text.len = (size_t)sqlite3_column_bytes(stmt, column);
	if (value.text.ptr == NULL && value.text.len == 0)
		value.text.ptr = ""; /* a blob of no bytes */
	return value;
}

static enum mer_status give_values(struct sqlite *lite, sqlite3_stmt *stmt,
                                   const struct dal_call *call, struct mer_error *err)
{
	const struct dal_query *shape = &dal_queries[call->query];
	struct mer_value row[DAL_FIELDS_MAX];
	for (size_t i = 0; i < shape->n_fields; i++) {
		row[i] = value_at(stmt, (int)i, shape->fields[i].type);
		if (sqlite3_errcode(lite->db) == SQLITE_NOMEM)
			return mer_fail(err, MER_ENOMEM, "out of memory for a row of '%s'", shape->name);
	}
	return call->on_row(call->ctx, row, err);
}

static enum mer_status give_row(struct sqlite *lite, sqlite3_stmt *stmt,
                                const struct dal_call *call, struct mer_error *err)
{
	const struct dal_query *shape = &dal_queries[call->query];
	union dal_row row[DAL_FIELDS_MAX];
	for (size_t i = 0; i < shape->n_fields; i++) {
		const struct dal_field *field = &shape->fields[i];
		union dal_row *to = &row[field->offset / sizeof *row];
		if (field->type == DAL_I64) {
			to->number = sqlite3_column_int64(stmt, (int)i);
			continue;
		}
		to->text = (const char *)sqlite3_column_text(stmt, (int)i);
		if (to->text == NULL && sqlite3_errcode(lite->db) == SQLITE_NOMEM)
			return mer_fail(err, MER_ENOMEM, "out of memory for a row of '%s'", shape->name);
		if (to->text == NULL)
			return mer_fail(err, MER_EDATABASE, "the database '%s' has no '%s' in a row of '%s'",
			                lite->base.name, field->column, shape->name);
	}
	return call->on_row(call->ctx, row, err);
}

static enum mer_status step_all(struct sqlite *lite, sqlite3_stmt *stmt, struct dal_call *call,
                                struct mer_error *err)
{
	for (;;) {
		int code = sqlite3_step(stmt);
		if (code == SQLITE_DONE)
			break;
		if (code != SQLITE_ROW)
			return lite_fail(lite, err);
		enum mer_status st = dal_queries[call->query].values ? give_values(lite, stmt, call, err)
		                                                     : give_row(lite, stmt, call, err);
		if (st != MER_OK)
			return st;
	}
	if (call->on_row == NULL) {
		call->changed = sqlite3_changes64(lite->db);
		lite->base.tally[call->query] += call->changed;
		call->place = sqlite3_last_insert_rowid(lite->db);
	}
	return MER_OK;
}

static enum mer_status sqlite_run(struct mer_dal *dal, struct dal_call *call, struct mer_error *err)
{
	struct sqlite *lite = lite_of(dal);
	if (sqlite3_get_autocommit(lite->db))
		lite->canceled = 0;
	sqlite3_stmt *stmt = NULL;
	enum mer_status st = prepared(lite, call->query, &stmt, err);
	if (st != MER_OK)
		return st;
	st = bind(lite, stmt, call, err);
	if (st == MER_OK)
		st = step_all(lite, stmt, call, err);
	/* It only repeats the failure of the step. What is bound points to what is the caller's again, and
	 * is not looked at before the next call has bound all of it anew. */
	(void)sqlite3_reset(stmt);
	return st;
}

/* --- transactions ------------------------------------------------------------------------- */

static int on_journal_mode(void *ctx, int n, char **values, char **names)
{
	struct sqlite *lite = ctx;
	(void)n, (void)names;
	lite->has_wal = values[0] != NULL && strcmp(values[0], "wal") == 0;
	return 0;
}

/* With a WAL a commit that is not synced cannot damage the file, with a rollback journal it could. */
static int set_lazy(struct sqlite *lite, bool lazy)
{
	int code = SQLITE_OK;
	if (lazy && !lite->looked_for_wal)
		code = sqlite3_exec(lite->db, "PRAGMA journal_mode", on_journal_mode, lite, NULL);
	lite->looked_for_wal |= lazy && code == SQLITE_OK;
	lazy = lazy && lite->has_wal;
	if (code == SQLITE_OK && lazy != lite->lazy)
		code = run_text(lite, lazy ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL");
	if (code == SQLITE_OK)
		lite->lazy = lazy;
	return code;
}

static enum mer_status sqlite_sync(struct mer_dal *dal, struct mer_error *err)
{
	struct sqlite *lite = lite_of(dal);
	if (!lite->unsynced)
		return MER_OK;
	/* It syncs the WAL before it moves anything, as far as readers let it. */
	int code = sqlite3_wal_checkpoint_v2(lite->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	lite->unsynced = code != SQLITE_OK;
	return code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY ? MER_OK : lite_fail(lite, err);
}

static enum mer_status sqlite_begin(struct mer_dal *dal, struct mer_error *err)
{
	struct sqlite *lite = lite_of(dal);
	lite->canceled = 0;
	if (lite->reads)
		return run_text(lite, "BEGIN") == SQLITE_OK ? MER_OK : lite_fail(lite, err);
	/* There SQLite would begin one that only reads. */
	if (sqlite3_db_readonly(lite->db, "main") == 1)
		return fail_read_only(lite, SQLITE_READONLY, err);
	if (set_lazy(lite, dal->lazy) != SQLITE_OK)
		return lite_fail(lite, err);
	/* At once a writer: one that read first could not become one when another wrote meanwhile. */
	return run_text(lite, "BEGIN IMMEDIATE") == SQLITE_OK ? MER_OK : lite_fail(lite, err);
}

static enum mer_status sqlite_end(struct mer_dal *dal, bool commit, struct mer_error *err)
{
	struct sqlite *lite = lite_of(dal);
	if (sqlite3_get_autocommit(lite->db)) {
		/* An error such as a full disk has rolled it back. */
		if (!commit)
			return MER_OK;
		return mer_fail(err, MER_EDATABASE, "the transaction of the database '%s' is gone already",
		                lite->base.name);
	}
	if (commit && run_text(lite, "COMMIT") == SQLITE_OK) {
		lite->unsynced = lite->lazy;
		return MER_OK;
	}
	enum mer_status st = commit ? lite_fail(lite, err) : MER_OK;
	if (!sqlite3_get_autocommit(lite->db) && run_text(lite, "ROLLBACK") != SQLITE_OK && !commit)
		st = lite_fail(lite, err);
	return st;
}

static void sqlite_cancel(struct mer_dal *dal)
{
	struct sqlite *lite = lite_of(dal);
	lite->canceled = 1;
	sqlite3_interrupt(lite->db);
}

void dal_sqlite_set_wait(struct mer_dal *dal, int64_t wait_ms)
{
	lite_of(dal)->wait_ms = wait_ms;
}

const struct dal_ops dal_sqlite = {
	.open = sqlite_open,
	.run = sqlite_run,
	.begin = sqlite_begin,
	.sync = sqlite_sync,
	.end = sqlite_end,
	.script = lite_script,
	.lock = lite_lock,
	.cancel = sqlite_cancel,
	.close = sqlite_close,
};
