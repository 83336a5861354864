/*
 * What is SQLite's own in the data access layer: files that are not there, not whole or not ours,
 * other processes at the same file, processes that die, and a disk that fails.
 */
#include "dal_fixture.h"

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { NOBODY = 65534 };

static char path[80], wal_path[90], url[90];

static void setup(void)
{
	setup_folder();
	(void)snprintf(path, sizeof path, "%s/mer.db", folder);
	(void)snprintf(wal_path, sizeof wal_path, "%s-wal", path);
	(void)snprintf(url, sizeof url, "sqlite:%s", path);
}

static void write_file(const char *to, const char *bytes, size_t n)
{
	MER_AUTO(mer_fd_done) int fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	MUST(mer_write_all(fd, to, bytes, n, &err));
}

static void copy_file(const char *from, const char *to)
{
	MER_AUTO(mer_text_done) char *bytes = NULL;
	size_t len;
	MUST(mer_read_file(from, 100 << 20, &bytes, &len, &err));
	write_file(to, bytes, len);
}

static int64_t size_of(const char *name)
{
	struct stat info;
	return stat(name, &info) == 0 ? (int64_t)info.st_size : -1;
}

/* Runs SQL past the layer, as another program would. */
static void other_program(const char *sql)
{
	sqlite3 *db;
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", sql,
	              sqlite3_errmsg(db));
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* The first column of the first row. */
static void ask_other_program(const char *sql, char *out, size_t size)
{
	sqlite3 *db;
	sqlite3_stmt *stmt;
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	(void)snprintf(out, size, "%s", (const char *)sqlite3_column_text(stmt, 0));
	(void)sqlite3_finalize(stmt);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

static void check_whole(void)
{
	char answer[100];
	ask_other_program("PRAGMA integrity_check", answer, sizeof answer);
	ck_assert_str_eq(answer, "ok");
}

static int give_to_nobody(const char *name, const struct stat *info, int type, struct FTW *at)
{
	(void)info, (void)type, (void)at;
	return lchown(name, NOBODY, NOBODY);
}

/* File modes mean nothing to root, so this process becomes somebody else. */
static void become_nobody(void)
{
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(nftw(folder, give_to_nobody, 16, FTW_PHYS), 0);
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
	ck_assert_int_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
	ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); /* for the leak checker */
}

/* --- files that cannot be used ------------------------------------------------------------ */

static void nothing(void)
{
}

static void a_folder(void)
{
	ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void a_pipe(void)
{
	ck_assert_int_eq(mkfifo(path, 0600), 0);
}

static void an_empty_file(void)
{
	write_file(path, "", 0);
}

static void some_text(void)
{
	write_file(path, "hello\n", 6);
}

static void much_text(void)
{
	static char text[8192];
	memset(text, 'x', sizeof text);
	write_file(path, text, sizeof text);
}

static void another_database(void)
{
	other_program("CREATE TABLE migrations (version TEXT); CREATE TABLE t (a)");
}

static void overwrite(int64_t from, int64_t n)
{
	migrate(url, 0);
	other_program("PRAGMA wal_checkpoint(TRUNCATE)");
	MER_AUTO(mer_fd_done) int fd = open(path, O_WRONLY | O_CLOEXEC);
	for (int64_t i = 0; i < n; i++)
		ck_assert_int_eq(pwrite(fd, "\xa5", 1, (off_t)(from + i)), 1);
}

static void a_bad_first_page(void)
{
	overwrite(100, 100);
}

static void bad_pages(void)
{
	overwrite(4096, 40000);
}

static void half_a_file(void)
{
	migrate(url, 0);
	other_program("PRAGMA wal_checkpoint(TRUNCATE)");
	ck_assert_int_eq(truncate(path, (off_t)size_of(path) / 2), 0);
}

static void no_right(void)
{
	migrate(url, 0);
	ck_assert_int_eq(chmod(path, 0), 0);
}

static void a_closed_folder(void)
{
	migrate(url, 0);
	ck_assert_int_eq(chmod(folder, 0), 0);
}

static void no_shared_memory(void)
{
	migrate(url, 0);
	other_program("SELECT 1 FROM models"); /* the last to close takes -wal and -shm away */
	ck_assert_int_lt(size_of(wal_path), 0);
	ck_assert_int_eq(chmod(folder, 0500), 0);
}

static void a_file_of_a_newer_sqlite(void)
{
	overwrite(18, 2); /* the version of the format that it takes to read it */
}

static const struct {
	void (*prepare)(void);
	const char *message, *hint; /* parts */
} unusable_rows[] = {
	{ nothing, "there is no database at '/tmp/", "mer-migrate up --database sqlite:/tmp/" },
	{ a_folder, "mer.db' is a folder, not a database", "" },
	{ a_pipe, "mer.db' is not a file", "" },
	{ an_empty_file, "mer.db' is not migrated", "mer-migrate up --database sqlite:/tmp/" },
	{ some_text, "mer.db' is no SQLite database", "another file" },
	{ much_text, "mer.db' is no SQLite database", "another file" },
	{ another_database, "no such column: num", "another program's" },
	{ a_bad_first_page, "mer.db' is corrupt", "backup" },
	{ bad_pages, "mer.db' is corrupt", "backup" },
	{ half_a_file, "mer.db' is corrupt", "backup" },
	{ no_right, "cannot open the database '/tmp/", "must be this user's" },
	{ a_closed_folder, "cannot open the database '/tmp/", "" },
	{ no_shared_memory, "needs files beside it, which this user cannot make", "its folder" },
	{ a_file_of_a_newer_sqlite, "mer.db' is no SQLite database", "" },
};

START_TEST(says_what_is_wrong_with_a_file)
{
	unusable_rows[_i].prepare();
	become_nobody();
	struct mer_dal *dal = NULL;
	err.hint[0] = '\0';
	MUST_FAIL(MER_EDATABASE, mer_dal_open(url, 0, &dal, &err));
	ck_assert_ptr_null(dal);
	ck_assert_msg(strstr(err.message, unusable_rows[_i].message) != NULL, "row %d: %s", _i,
	              err.message);
	ck_assert_msg(strstr(err.hint, unusable_rows[_i].hint) != NULL, "row %d: %s", _i, err.hint);
}
END_TEST

START_TEST(does_not_make_a_file_unasked)
{
	struct mer_dal *dal;
	MUST_FAIL(MER_EDATABASE, mer_dal_open(url, MER_DAL_ANY_SCHEMA, &dal, &err));
	ck_assert_int_lt(size_of(path), 0);
	MUST_FAIL(MER_EINPUT, mer_dal_open("sqlite:", MER_DAL_CREATE, &dal, &err));
	MUST_FAIL(MER_EINPUT, mer_dal_open("", MER_DAL_CREATE, &dal, &err));
	(void)snprintf(url, sizeof url, "sqlite:%s/mer.db", folder);
	(void)snprintf(url + strlen(url), sizeof url - strlen(url), "/x");
	write_file(path, "", 0);
	MUST_FAIL(MER_EDATABASE, mer_dal_open(url, MER_DAL_CREATE, &dal, &err));
	MUST_FAIL(MER_EDATABASE, mer_dal_open(url, 0, &dal, &err));
	MUST_FAIL(MER_EDATABASE, mer_dal_open(folder, MER_DAL_CREATE, &dal, &err));
}
END_TEST

/* --- names and modes ---------------------------------------------------------------------- */

static const char *const name_rows[] = {
	"mer.db",      "a b.db",   "a?mode=ro",      "100%41.db",  "a#b.db",       "\xff\xfe.db",
	"\xc3\xa9.db", "-x",       ":memory:",       "file:x",     "file:x?vfs=n", "new\nline",
	"'\"$(x)",     "x.db-wal", "deep/er/mer.db", "C:\\mer.db", "&=+.db",       "..x",
};

static void expect_file(const char *name, const char *suffix, int mode)
{
	MER_AUTO(mer_text_done) char *full = mer_text_new("%s%s", name, suffix);
	struct stat info;
	ck_assert_msg(lstat(full, &info) == 0, "no file '%s'", full);
	ck_assert_msg((info.st_mode & 07777) == (unsigned)mode, "'%s' has mode %o", full,
	              info.st_mode & 07777);
}

static void try_name(const char *name)
{
	MER_AUTO(mer_text_done) char *this_url = mer_text_new("sqlite:%s", name);
	migrate(this_url, 0);
	struct mer_dal *dal = must_open(this_url);
	bool yes;
	MUST(mer_dal_lock(dal, 7, MER_LOCK_TAKE, &yes, &err));
	ck_assert(yes);
	ck_assert_int_eq(count_rows(dal, MER_Q_MODELS, NULL, 0), EXAMPLES);
	ck_assert_str_eq(mer_dal_name(dal), name);
	mer_dal_close(dal);
	expect_file(name, "", 0600);
	expect_file(name, "-wal", 0600);
	expect_file(name, "-shm", 0600);
	expect_file(name, "-lock", 0600);
}

static int n_files;

static int count_file(const char *name, const struct stat *info, int type, struct FTW *at_)
{
	(void)name, (void)info, (void)at_;
	n_files += type == FTW_F;
	return 0;
}

START_TEST(takes_any_path)
{
	MER_AUTO(mer_text_done) char *full = mer_text_new("%s/%s", folder, name_rows[_i]);
	try_name(full);
	ck_assert_int_eq(nftw(folder, count_file, 16, FTW_PHYS), 0);
	ck_assert_int_eq(n_files, 4); /* nothing lies about under another name */
}
END_TEST

START_TEST(takes_any_relative_path)
{
	ck_assert_int_eq(chdir(folder), 0);
	try_name(name_rows[_i]);
	ck_assert_int_eq(nftw(folder, count_file, 16, FTW_PHYS), 0);
	ck_assert_int_eq(n_files, 4);
}
END_TEST

static const unsigned umask_rows[] = { 0, 022, 077, 0277, 0777 };

START_TEST(gives_mode_0600_whatever_the_umask)
{
	become_nobody();
	(void)umask(umask_rows[_i]);
	(void)snprintf(path, sizeof path, "%s/a/b/mer.db", folder);
	try_name(path);
	struct stat info;
	ck_assert_int_eq(stat(folder, &info), 0);
	(void)snprintf(path, sizeof path, "%s/a/b", folder);
	expect_file(path, "", 0700);
}
END_TEST

/* The lock file is for whom the database is for, whoever came first. */
START_TEST(shares_what_is_shared)
{
	migrate(url, 0);
	ck_assert_int_eq(chmod(path, 0660), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(chown(path, NOBODY, NOBODY), 0);
	struct mer_dal *dal = must_open(url);
	bool yes;
	MUST(mer_dal_lock(dal, 7, MER_LOCK_TAKE, &yes, &err));
	mer_dal_close(dal);
	expect_file(path, "-lock", 0660);
	struct stat info, lock;
	ck_assert_int_eq(stat(path, &info), 0);
	(void)snprintf(path, sizeof path, "%s/mer.db-lock", folder);
	ck_assert_int_eq(stat(path, &lock), 0);
	ck_assert_uint_eq(info.st_uid, lock.st_uid);
}
END_TEST

START_TEST(locks_beside_the_file_not_the_link)
{
	migrate(url, 0);
	char link_url[100], elsewhere[90];
	(void)snprintf(elsewhere, sizeof elsewhere, "%s/link", folder);
	ck_assert_int_eq(symlink("mer.db", elsewhere), 0);
	(void)snprintf(link_url, sizeof link_url, "sqlite:%s", elsewhere);
	struct mer_dal *a = must_open(url), *b = must_open(link_url);
	bool yes;
	ck_assert_int_eq(chdir("/"), 0);
	MUST(mer_dal_lock(a, 7, MER_LOCK_TAKE, &yes, &err));
	MUST(mer_dal_lock(b, 7, MER_LOCK_TEST, &yes, &err));
	ck_assert(yes);
	mer_dal_close(a);
	mer_dal_close(b);
}
END_TEST

/* --- read-only ---------------------------------------------------------------------------- */

static void read_only_file(void)
{
	ck_assert_int_eq(chmod(path, 0400), 0);
}

static void read_only_folder(void)
{
	ck_assert_int_eq(chmod(folder, 0500), 0);
}

static void read_only_all(void)
{
	read_only_file();
	ck_assert_int_eq(chmod(wal_path, 0400), 0);
	MER_AUTO(mer_text_done) char *shm = mer_text_new("%s-shm", path);
	ck_assert_int_eq(chmod(shm, 0400), 0);
	read_only_folder();
}

static const struct {
	void (*prepare)(void);
	bool lock_file; /* there before */
	bool writes;    /* that folder and those modes still let it */
} read_only_rows[] = {
	{ read_only_file, true, false },  { read_only_file, false, false },
	{ read_only_folder, true, true }, { read_only_folder, false, true },
	{ read_only_all, true, false },   { read_only_all, false, false },
};

START_TEST(reads_what_it_cannot_write)
{
	migrate(url, 0);
	struct mer_uid owner;
	mer_uid_new(&owner);
	struct mer_dal *dal = must_open(url);
	own_runs(dal, owner.text, 2);
	mer_dal_close(dal);
	char lock_path[264];
	(void)snprintf(lock_path, sizeof lock_path, "%s-lock", path);
	ck_assert_int_eq(chmod(lock_path, 0400), 0);
	if (!read_only_rows[_i].lock_file)
		ck_assert_int_eq(unlink(lock_path), 0);
	read_only_rows[_i].prepare();
	become_nobody();

	dal = must_open(url);
	ck_assert_int_eq(count_rows(dal, MER_Q_MODELS, NULL, 0), EXAMPLES);
	bool yes = true;
	MUST(mer_dal_lock(dal, 7, MER_LOCK_TEST, &yes, &err));
	ck_assert(!yes);
	/* In a folder that is closed no lock file can be made, nor can one of mode 0400 be locked. */
	if (read_only_rows[_i].lock_file || read_only_rows[_i].prepare != read_only_file)
		MUST_FAIL(MER_EDATABASE, mer_dal_lock(dal, 7, MER_LOCK_TAKE, &yes, &err));
	int64_t lost = -1;
	MUST(mer_owners_sweep(dal, false, &lost, &err));
	if (read_only_rows[_i].writes) {
		MUST(add_model(dal, EXAMPLE_SERVER, "m", &err));
	} else {
		ck_assert_int_eq(lost, 0);
		MUST_FAIL(MER_EDATABASE, add_model(dal, EXAMPLE_SERVER, "m", &err));
		ck_assert_msg(strstr(err.message, "is read-only") != NULL, "%s", err.message);
		ck_assert_str_ne(err.hint, "");
		MUST_FAIL(MER_EDATABASE, mer_dal_begin(dal, &err));
	}
	mer_dal_close(dal);
}
END_TEST

/* --- other processes ---------------------------------------------------------------------- */

/* A child that has its own copy of everything and never returns. */
static pid_t start(int (*run)(void *), void *ctx)
{
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* none outlives a test that fails */
		_exit(run(ctx));
	}
	return pid;
}

static void must_end(pid_t pid)
{
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a process ended with %x", status);
}

/* In a child: says what is wrong and ends it. */
#define CHILD_MUST(call) \
	do { \
		if ((call) != MER_OK) { \
			(void)fprintf(stderr, "%s: %s\n", #call, err.message); \
			_exit(1); \
		} \
	} while (0)

enum { WRITERS = 3, TRANSACTIONS = 200 };

static int write_often(void *ctx)
{
	(void)ctx;
	struct mer_dal *dal;
	CHILD_MUST(mer_dal_open(url, 0, &dal, &err));
	for (int i = 0; i < TRANSACTIONS; i++) {
		struct mer_uid uid;
		mer_uid_new(&uid);
		int64_t n = 0;
		CHILD_MUST(mer_dal_begin(dal, &err));
		CHILD_MUST(mer_dal_query(dal, MER_Q_MODELS, NULL, 0, count_row, &n, &err));
		CHILD_MUST(open_run(dal, uid.text, "", &err));
		CHILD_MUST(mer_dal_end(dal, true, &err));
		CHILD_MUST(close_run(dal, uid.text, &err));
	}
	mer_dal_close(dal);
	return 0;
}

/* Opens anew each time, as one command after the other does. */
static int come_and_go(void *ctx)
{
	(void)ctx;
	for (int i = 0; i < TRANSACTIONS; i++) {
		struct mer_dal *dal;
		struct mer_uid uid;
		mer_uid_new(&uid);
		int64_t n = 0;
		CHILD_MUST(mer_dal_open(url, 0, &dal, &err));
		CHILD_MUST(mer_dal_query(dal, MER_Q_OWNERS, NULL, 0, count_row, &n, &err));
		CHILD_MUST(open_run(dal, uid.text, "", &err));
		CHILD_MUST(close_run(dal, uid.text, &err));
		mer_dal_close(dal);
	}
	return 0;
}

/* As `sqlite3` does: it checkpoints when it is the last to close, and takes the WAL away. */
static int shell_now_and_then(void *ctx)
{
	(void)ctx;
	for (int i = 0; i < TRANSACTIONS / 4; i++) {
		sqlite3 *db;
		if (sqlite3_open(path, &db) != SQLITE_OK)
			return 1;
		(void)sqlite3_busy_timeout(db, 30000);
		(void)sqlite3_exec(db, "PRAGMA wal_checkpoint(RESTART)", NULL, NULL, NULL);
		(void)sqlite3_close(db);
	}
	return 0;
}

static const char *const journal_rows[] = { "PRAGMA journal_mode = WAL",
	                                        "PRAGMA journal_mode = DELETE" };

START_TEST(waits_for_others)
{
	migrate(url, 0);
	other_program(journal_rows[_i]);
	pid_t children[WRITERS + 3];
	for (int i = 0; i < WRITERS; i++)
		children[i] = start(write_often, NULL);
	children[WRITERS] = start(come_and_go, NULL);
	children[WRITERS + 1] = start(come_and_go, NULL);
	children[WRITERS + 2] = start(shell_now_and_then, NULL);
	for (int i = 0; i < WRITERS + 3; i++)
		must_end(children[i]);
	struct mer_dal *dal = must_open(url);
	ck_assert_int_eq(count_runs(dal, "ok"), (int64_t)(WRITERS + 2) * TRANSACTIONS);
	mer_dal_close(dal);
	check_whole();
}
END_TEST

static const char *const busy_rows[] = { "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE" };

START_TEST(gives_up_with_a_reason)
{
	migrate(url, 0);
	other_program("PRAGMA journal_mode = DELETE");
	struct mer_dal *dal = must_open(url);
	dal_sqlite_set_wait(dal, 30);
	sqlite3 *db;
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, busy_rows[_i], NULL, NULL, NULL), SQLITE_OK);
	MUST_FAIL(MER_EDATABASE, mer_dal_begin(dal, &err));
	ck_assert_msg(strstr(err.message, "is in use by another program for longer than") != NULL, "%s",
	              err.message);
	ck_assert_ptr_null(strstr(err.message, "locked"));
	MUST_FAIL(MER_EDATABASE, add_model(dal, EXAMPLE_SERVER, "m", &err));
	int64_t n = 0;
	if (_i == 0)
		MUST(mer_dal_query(dal, MER_Q_MODELS, NULL, 0, count_row, &n, &err));
	else
		MUST_FAIL(MER_EDATABASE, mer_dal_query(dal, MER_Q_MODELS, NULL, 0, count_row, &n, &err));
	ck_assert_int_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
	MUST(mer_dal_begin(dal, &err));
	MUST(mer_dal_end(dal, true, &err));
	mer_dal_close(dal);
}
END_TEST

/* To open a file that this process has open already must not drop the locks of the first. */
START_TEST(keeps_its_locks_when_opened_twice)
{
	migrate(url, 0);
	struct mer_dal *a = must_open(url), *b;
	MUST(mer_dal_begin(a, &err));
	MUST(add_model(a, EXAMPLE_SERVER, "m", &err));
	MUST(mer_dal_open(url, MER_DAL_ANY_SCHEMA | MER_DAL_CREATE, &b, &err));
	mer_dal_close(b);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		CHILD_MUST(mer_dal_open(url, 0, &b, &err));
		dal_sqlite_set_wait(b, 30);
		_exit(mer_dal_begin(b, &err) == MER_EDATABASE ? 0 : 1);
	}
	must_end(pid);
	MUST(mer_dal_end(a, true, &err));
	mer_dal_close(a);
}
END_TEST

/* Writes pairs of runs and a byte to the pipe after each. */
static int write_pairs(void *ctx)
{
	const int *ends = ctx;
	struct mer_dal *dal;
	CHILD_MUST(mer_dal_open(url, 0, &dal, &err));
	for (;;) {
		CHILD_MUST(mer_dal_begin(dal, &err));
		for (int i = 0; i < 2; i++) {
			struct mer_uid uid;
			mer_uid_new(&uid);
			CHILD_MUST(open_run(dal, uid.text, "", &err));
		}
		CHILD_MUST(mer_dal_end(dal, true, &err));
		CHILD_MUST(mer_write_all(ends[1], "pipe", "x", 1, &err));
	}
}

START_TEST(survives_kill_9)
{
	migrate(url, 0);
	other_program(journal_rows[_i]);
	uint64_t random = 0x9e3779b97f4a7c15;
	int64_t sure = 0; /* transactions that were told to be committed */
	for (int round = 0; round < 20; round++) {
		int ends[2];
		ck_assert_int_eq(pipe(ends), 0);
		pid_t pid = start(write_pairs, ends);
		(void)close(ends[1]);
		char byte;
		for (uint32_t n = 1 + random_below(&random, 8); n > 0; n--)
			ck_assert_int_eq(read(ends[0], &byte, 1), 1);
		for (volatile uint32_t spin = random_below(&random, 200000); spin > 0; spin--)
			continue;
		(void)kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		(void)close(ends[0]);
		struct mer_dal *dal = must_open(url);
		int64_t runs = count_runs(dal, "");
		mer_dal_close(dal);
		ck_assert_int_eq(runs % 2, 0);
		ck_assert_int_gt(runs, sure);
		sure = runs;
		check_whole();
	}
}
END_TEST

/* Makes the database like many a first command at once, and uses it. */
static int make_it(void *ctx)
{
	(void)ctx;
	struct mer_dal *dal;
	for (int i = 0; i < 5; i++) {
		CHILD_MUST(mer_dal_open(url, MER_DAL_CREATE | MER_DAL_ANY_SCHEMA, &dal, &err));
		CHILD_MUST(mer_dal_begin(dal, &err));
		CHILD_MUST(mer_dal_exec(dal, MER_Q_LEDGER_CREATE, NULL, 0, NULL, &err));
		CHILD_MUST(mer_dal_end(dal, true, &err));
		mer_dal_close(dal);
	}
	return 0;
}

START_TEST(is_made_by_many_at_once)
{
	for (int round = 0; round < 10; round++) {
		(void)snprintf(url, sizeof url, "sqlite:%s/%d/mer.db", folder, round);
		pid_t children[6];
		for (int i = 0; i < 6; i++)
			children[i] = start(make_it, NULL);
		for (int i = 0; i < 6; i++)
			must_end(children[i]);
	}
}
END_TEST

static void *work_in_a_thread(void *ctx)
{
	(void)ctx;
	return write_often(NULL) == 0 ? NULL : folder;
}

START_TEST(serves_threads_with_a_connection_each)
{
	migrate(url, 0);
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work_in_a_thread, NULL), 0);
	for (int i = 0; i < 3; i++) {
		void *failed = NULL;
		ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
		ck_assert_ptr_null(failed);
	}
}
END_TEST

/* --- owners ------------------------------------------------------------------------------- */

/* Registers, opens runs, says so and stays. */
static int own_and_stay(void *ctx)
{
	const int *ends = ctx;
	struct mer_uid owner;
	struct mer_dal *dal;
	mer_uid_new(&owner);
	CHILD_MUST(mer_dal_open(url, 0, &dal, &err));
	CHILD_MUST(mer_dal_begin(dal, &err));
	CHILD_MUST(mer_owner_register(dal, owner.text, "here", getpid(), "check", &err));
	for (int i = 0; i < 3; i++) {
		struct mer_uid run;
		mer_uid_new(&run);
		CHILD_MUST(open_run(dal, run.text, owner.text, &err));
	}
	CHILD_MUST(mer_owners_sweep(dal, true, NULL, &err));
	CHILD_MUST(mer_dal_end(dal, true, &err));
	CHILD_MUST(mer_write_all(ends[1], "pipe", "x", 1, &err));
	for (;;)
		(void)pause();
}

static pid_t start_owner(void)
{
	int ends[2];
	char byte;
	ck_assert_int_eq(pipe(ends), 0);
	pid_t pid = start(own_and_stay, ends);
	ck_assert_int_eq(read(ends[0], &byte, 1), 1);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return pid;
}

static void end_owner(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(knows_who_was_killed)
{
	migrate(url, 0);
	struct mer_dal *dal = must_open(url);
	pid_t a = start_owner(), b = start_owner();
	int64_t lost = -1;
	MUST(mer_owners_sweep(dal, false, &lost, &err));
	ck_assert_int_eq(lost, 0);
	end_owner(a);
	MUST(mer_owners_sweep(dal, false, &lost, &err));
	ck_assert_int_eq(lost, 3);
	ck_assert_int_eq(count_runs(dal, "queued"), 3);
	ck_assert_int_eq(count_rows(dal, MER_Q_OWNERS, NULL, 0), 1);
	end_owner(b);
	MUST(mer_owners_sweep(dal, false, &lost, &err));
	ck_assert_int_eq(lost, 3);
	ck_assert_int_eq(count_runs(dal, "lost"), 6);
	mer_dal_close(dal);
}
END_TEST

/* Registers, works, sweeps and leaves, again and again, as many commands at once do. */
static int own_often(void *ctx)
{
	(void)ctx;
	for (int i = 0; i < 60; i++) {
		struct mer_uid owner, run;
		struct mer_dal *dal;
		int64_t lost;
		mer_uid_new(&owner);
		mer_uid_new(&run);
		CHILD_MUST(mer_dal_open(url, 0, &dal, &err));
		CHILD_MUST(mer_owners_sweep(dal, false, &lost, &err));
		CHILD_MUST(mer_dal_begin(dal, &err));
		CHILD_MUST(mer_owner_register(dal, owner.text, "here", getpid(), "check", &err));
		CHILD_MUST(mer_owners_sweep(dal, true, &lost, &err));
		CHILD_MUST(open_run(dal, run.text, owner.text, &err));
		CHILD_MUST(mer_dal_end(dal, true, &err));
		CHILD_MUST(close_run(dal, run.text, &err));
		if (i % 3 != 0) {
			CHILD_MUST(
				mer_dal_exec(dal, MER_Q_OWNER_DELETE, MER_ARGS(mer_text(owner.text)), NULL, &err));
		}
		mer_dal_close(dal);
	}
	return 0;
}

START_TEST(never_takes_the_living_for_dead)
{
	migrate(url, 0);
	pid_t children[4], steady = start_owner();
	for (int i = 0; i < 4; i++)
		children[i] = start(own_often, NULL);
	for (int i = 0; i < 4; i++)
		must_end(children[i]);
	struct mer_dal *dal = must_open(url);
	ck_assert_int_eq(count_runs(dal, "ok"), 240);
	ck_assert_int_eq(count_runs(dal, "lost"), 0);
	ck_assert_int_eq(count_runs(dal, "queued"), 3);
	end_owner(steady);
	mer_dal_close(dal);
}
END_TEST

/* A fork that only closes what it got disturbs nobody, in the middle of a transaction too. */
START_TEST(survives_a_fork)
{
	migrate(url, 0);
	struct mer_uid owner;
	mer_uid_new(&owner);
	struct mer_dal *dal = must_open(url);
	own_runs(dal, owner.text, 2);
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, EXAMPLE_SERVER, "m", &err));
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		mer_dal_close(dal);
		_exit(0);
	}
	must_end(pid);
	struct mer_dal *other = must_open(url);
	int64_t lost = -1;
	MUST(mer_owners_sweep(other, false, &lost, &err));
	ck_assert_int_eq(lost, 0);
	ck_assert_int_eq(count_rows(other, MER_Q_MODELS, NULL, 0), EXAMPLES);
	MUST(add_model(dal, EXAMPLE_IRIS "x", "n", &err) == MER_EINPUT ? MER_OK : MER_EIO);
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(count_rows(other, MER_Q_MODELS, NULL, 0), EXAMPLES + 1);
	mer_dal_close(dal);
	MUST(mer_owners_sweep(other, false, &lost, &err));
	ck_assert_int_eq(lost, 2);
	mer_dal_close(other);
	check_whole();
}
END_TEST

START_TEST(does_not_inherit_into_programs)
{
	migrate(url, 0);
	struct mer_dal *dal = must_open(url);
	bool yes;
	MUST(mer_dal_lock(dal, 7, MER_LOCK_TAKE, &yes, &err));
	int n = 0;
	for (int fd = 3; fd < 100; fd++) {
		char link[32], target[200];
		(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		ssize_t len = readlink(link, target, sizeof target);
		if (len < 0 || strncmp(target, folder, strlen(folder)) != 0)
			continue;
		n++;
		ck_assert_msg(fcntl(fd, F_GETFD) & FD_CLOEXEC, "%.*s", (int)len, target);
	}
	ck_assert_int_eq(n, 4); /* the database, its WAL, its shared memory and the locks */
	mer_dal_close(dal);
}
END_TEST

/* --- the WAL ------------------------------------------------------------------------------ */

static int n_syncs; /* that SQLite asked for */

/* SQLite's own comes here, since the program's is found first. */
int fdatasync(int fd)
{
	n_syncs++;
	return (int)syscall(SYS_fdatasync, fd);
}

static const struct {
	const char *journal;
	bool lazy_syncs;
} lazy_rows[] = { { "PRAGMA journal_mode = WAL", false },
	              { "PRAGMA journal_mode = DELETE", true } };

static int syncs_of(struct mer_dal *dal, bool lazy)
{
	struct mer_uid uid;
	mer_uid_new(&uid);
	n_syncs = 0;
	MUST(lazy ? mer_dal_begin_lazy(dal, &err) : mer_dal_begin(dal, &err));
	MUST(open_run(dal, uid.text, "", &err));
	MUST(mer_dal_end(dal, true, &err));
	return n_syncs;
}

START_TEST(syncs_when_it_must)
{
	migrate(url, 0);
	other_program(lazy_rows[_i].journal);
	struct mer_dal *dal = must_open(url);
	bool lazy_syncs = lazy_rows[_i].lazy_syncs;
	(void)syncs_of(dal, false); /* a WAL that is new has a header to sync */
	ck_assert_int_eq(syncs_of(dal, true) > 0, lazy_syncs);
	ck_assert_int_gt(syncs_of(dal, false), 0);
	ck_assert_int_eq(syncs_of(dal, true) > 0, lazy_syncs);
	n_syncs = 0;
	MUST(mer_dal_keep(dal, &err));
	ck_assert_int_eq(n_syncs > 0, !lazy_syncs);
	n_syncs = 0;
	MUST(mer_dal_keep(dal, &err)); /* nothing has come since */
	ck_assert_int_eq(n_syncs, 0);
	mer_dal_close(dal);
	check_whole();
}
END_TEST

START_TEST(leaves_a_short_wal)
{
	migrate(url, 0);
	int64_t longest = 0;
	for (int i = 0; i < 120; i++) {
		struct mer_dal *dal = must_open(url);
		struct mer_uid uid;
		mer_uid_new(&uid);
		MUST(open_run(dal, uid.text, "", &err));
		if (i % 40 == 39) { /* and once in a while a large one */
			MUST(mer_dal_begin(dal, &err));
			for (int j = 0; j < 3000; j++) {
				mer_uid_new(&uid);
				MUST(open_run(dal, uid.text, "", &err));
			}
			MUST(mer_dal_end(dal, true, &err));
		}
		mer_dal_close(dal);
		longest = size_of(wal_path) > longest ? size_of(wal_path) : longest;
	}
	ck_assert_int_gt(longest, 0); /* closing leaves it */
	ck_assert_msg(longest < INT64_C(140) * 4120, "the WAL has %" PRId64 " bytes", longest);
	check_whole();
}
END_TEST

START_TEST(takes_over_what_was_left_behind)
{
	migrate(url, 0);
	struct mer_dal *dal = must_open(url);
	MUST(add_model(dal, EXAMPLE_SERVER, "m", &err));
	/* The files of a process that died: copies of the database and its WAL, without the rest. */
	char copy[90], copy_wal[100], copy_url[100];
	(void)snprintf(copy, sizeof copy, "%s/copy", folder);
	(void)snprintf(copy_wal, sizeof copy_wal, "%s-wal", copy);
	(void)snprintf(copy_url, sizeof copy_url, "sqlite:%s", copy);
	copy_file(path, copy);
	copy_file(wal_path, copy_wal);
	mer_dal_close(dal);
	dal = must_open(copy_url);
	ck_assert_int_eq(count_rows(dal, MER_Q_MODELS, NULL, 0), EXAMPLES + 1);
	mer_dal_close(dal);

	/* A WAL that is nonsense is as good as none. */
	other_program("PRAGMA wal_checkpoint(TRUNCATE)");
	uint64_t random = 0x9e3779b97f4a7c15;
	static char noise[100000];
	for (size_t i = 0; i < sizeof noise; i++)
		noise[i] = (char)random_below(&random, 256);
	ck_assert_int_lt(size_of(wal_path), 0);
	write_file(wal_path, noise, sizeof noise);
	dal = must_open(url);
	ck_assert_int_eq(count_rows(dal, MER_Q_MODELS, NULL, 0), EXAMPLES + 1);
	mer_dal_close(dal);
	check_whole();
}
END_TEST

static const struct {
	int64_t type;
	bool network;
} fs_rows[] = {
	{ 0xef53, false },            /* ext4 */
	{ 0x9123683e, false },        /* btrfs */
	{ 0x58465342, false },        /* xfs */
	{ 0x01021994, false },        /* tmpfs */
	{ 0x794c7630, false },        /* overlayfs */
	{ 0x2fc12fc1, false },        /* zfs */
	{ 0x6969, true },             /* nfs */
	{ 0xff534d42, true },         /* cifs */
	{ INT64_C(-11317950), true }, /* cifs, as a signed 32-bit word */
	{ 0xfe534d42, true },         /* smb2 */
	{ 0x65735546, true },         /* fuse */
	{ 0x01021997, true },         /* 9p */
	{ 0x0bd00bd0, true },         /* lustre */
	{ 0x00c36400, true },         /* ceph */
};

START_TEST(knows_network_file_systems)
{
	ck_assert_int_eq(dal_sqlite_network_fs(fs_rows[_i].type), fs_rows[_i].network);
}
END_TEST

START_TEST(sets_the_database_up)
{
	migrate(url, 0);
	char answer[100];
	ask_other_program("PRAGMA journal_mode", answer, sizeof answer);
	ck_assert_str_eq(answer, "wal");
	struct mer_dal *dal = must_open(url);
	ck_assert_ptr_null(mer_dal_notice(dal));
	/* What another program chose stays. */
	mer_dal_close(dal);
	other_program("PRAGMA journal_mode = DELETE");
	mer_dal_close(must_open(url));
	ask_other_program("PRAGMA journal_mode", answer, sizeof answer);
	ck_assert_str_eq(answer, "delete");
}
END_TEST

/* --- a disk that fails -------------------------------------------------------------------- */

/* A file system of SQLite's whose nth write or sync fails; the rest is the real one's. */
static struct {
	int fail_at, calls, code;
	int (*write)(sqlite3_file *, const void *, int, sqlite3_int64);
	int (*truncate)(sqlite3_file *, sqlite3_int64);
	int (*open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
	sqlite3_io_methods methods[2]; /* of the database, which locks, and of what is beside it */
	sqlite3_vfs vfs;
} disk;

static int disk_step(void)
{
	return disk.fail_at > 0 && ++disk.calls >= disk.fail_at ? disk.code : SQLITE_OK;
}

static int disk_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
	int code = disk_step();
	return code != SQLITE_OK ? code : disk.write(file, bytes, n, at);
}

static int disk_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	int code = disk_step();
	return code != SQLITE_OK ? code : disk.truncate(file, size);
}

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	int code = disk.open(vfs, name, file, flags, out);
	if (code != SQLITE_OK || file->pMethods == NULL)
		return code;
	disk.write = file->pMethods->xWrite;
	disk.truncate = file->pMethods->xTruncate;
	sqlite3_io_methods *methods = &disk.methods[(flags & SQLITE_OPEN_MAIN_DB) != 0];
	*methods = *file->pMethods;
	methods->xWrite = disk_write;
	methods->xTruncate = disk_truncate;
	file->pMethods = methods;
	return SQLITE_OK;
}

static void break_disk(int code)
{
	disk.code = code;
	disk.vfs = *sqlite3_vfs_find(NULL);
	disk.open = disk.vfs.xOpen;
	disk.vfs.xOpen = disk_open;
	disk.vfs.zName = "breaking";
	ck_assert_int_eq(sqlite3_vfs_register(&disk.vfs, 1), SQLITE_OK);
}

static enum mer_status write_much(struct mer_dal *dal)
{
	enum mer_status st = mer_dal_begin(dal, &err);
	if (st != MER_OK)
		return st;
	for (int i = 0; st == MER_OK && i < 600; i++) {
		struct mer_uid uid;
		mer_uid_new(&uid);
		st = open_run(dal, uid.text, "", &err);
	}
	if (st == MER_OK)
		return mer_dal_end(dal, true, &err);
	mer_dal_rollback(dal);
	return st;
}

static const struct {
	int code;
	const char *journal, *message;
} disk_rows[] = {
	{ SQLITE_FULL, "PRAGMA journal_mode = WAL", "is full" },
	{ SQLITE_FULL, "PRAGMA journal_mode = DELETE", "is full" },
	{ SQLITE_IOERR_WRITE, "PRAGMA journal_mode = WAL", "cannot read or write the database" },
	{ SQLITE_IOERR_WRITE, "PRAGMA journal_mode = DELETE", "cannot read or write the database" },
};

START_TEST(survives_a_failing_disk)
{
	migrate(url, 0);
	other_program(disk_rows[_i].journal);
	break_disk(disk_rows[_i].code);
	bool failed = true;
	int64_t had = 0;
	for (int fail_at = 1; failed; fail_at += 1 + fail_at / 8) {
		struct mer_dal *dal = must_open(url);
		disk.calls = 0;
		disk.fail_at = fail_at;
		enum mer_status st = write_much(dal);
		failed = st != MER_OK;
		ck_assert_msg(!failed || st == MER_EDATABASE, "write %d: %s", fail_at, mer_status_name(st));
		ck_assert_msg(!failed || strstr(err.message, disk_rows[_i].message) != NULL, "%s",
		              err.message);
		disk.fail_at = 0;
		ck_assert_int_eq(count_runs(dal, ""), failed ? had : had + 600);
		mer_dal_close(dal);
		check_whole();
		dal = must_open(url);
		ck_assert_int_eq(count_runs(dal, ""), failed ? had : had + 600);
		had = count_runs(dal, "");
		mer_dal_close(dal);
	}
	ck_assert_int_gt(had, 0);
}
END_TEST

/* --- how it asks -------------------------------------------------------------------------- */

/* What the log of a million runs is asked for comes by an index, in its order. */
static const struct {
	enum mer_query query;
	const char *never;
} plan_rows[] = {
	{ MER_Q_RUNS, "SCAN model_access" },
	{ MER_Q_RUNS, "TEMP B-TREE" },
	{ MER_Q_RUNS_AFTER, "SCAN" },
	{ MER_Q_RUNS_AFTER, "TEMP B-TREE" },
	{ MER_Q_RUNS_OF, "SCAN model_access" },
	{ MER_Q_WRITTEN, "SCAN" },
	{ MER_Q_RUNS_LATE, "SCAN" },
	{ MER_Q_RUNS_LATE, "TEMP B-TREE" },
	{ MER_Q_RUNS_OPEN, "SCAN model_access" },
	{ MER_Q_RUN_TIMES, "SCAN model_access" },
	{ MER_Q_RUN_TIMES, "TEMP B-TREE" },
	{ MER_Q_OWNERS, "SCAN r" },
	{ MER_Q_RUNS_LOST, "SCAN" },
	{ MER_Q_RUN_BY_UID, "SCAN" },
	{ MER_Q_RUN_CLOSE, "SCAN" },
	{ MER_Q_RESOLVE, "SCAN" },
	{ MER_Q_SERVER_DELETE, "SCAN" },
	{ MER_Q_MODEL_DELETE, "SCAN" },
	{ MER_Q_RUNS_PRUNE, "SCAN" },
	{ MER_Q_IO, "SCAN" },
	{ MER_Q_IO_INSERT, "SCAN model" },
	{ MER_Q_PROVENANCE, "SCAN" },
};

START_TEST(asks_by_index)
{
	migrate(url, 0);
	sqlite3 *db;
	sqlite3_stmt *stmt;
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	MER_AUTO(mer_text_done)
	char *sql = mer_text_new("EXPLAIN QUERY PLAN %s", dal_sqlite_text[plan_rows[_i].query]);
	ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s",
	              sqlite3_errmsg(db));
	int n = 0;
	for (; sqlite3_step(stmt) == SQLITE_ROW; n++) {
		const char *detail = (const char *)sqlite3_column_text(stmt, 3);
		ck_assert_msg(strstr(detail, plan_rows[_i].never) == NULL, "row %d: %s", _i, detail);
	}
	ck_assert_int_gt(n, 0);
	(void)sqlite3_finalize(stmt);
	(void)sqlite3_close(db);
}
END_TEST

START_TEST(names_what_is_there_already)
{
	migrate(url, 0);
	struct mer_dal *dal = must_open(url);
	MUST_FAIL(MER_ECONFLICT, add_model(dal, EXAMPLE_SERVER, "iris", &err));
	ck_assert_str_eq(err.message, "there is a row with the same 'models.name' already");
	MUST_FAIL(MER_ECONFLICT, mer_dal_exec(dal, MER_Q_SERVER_DELETE,
	                                      MER_ARGS(mer_text(EXAMPLE_SERVER)), NULL, &err));
	ck_assert_str_eq(err.message, "other rows still refer to this one");
	MUST_FAIL(MER_EINPUT, add_model(dal, EXAMPLE_SERVER, "a b", &err));
	ck_assert_str_eq(err.message, "the database takes no such value: 'models_name'");
	mer_dal_close(dal);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("dal_sqlite");
	TCase *tc = tcase_create("sqlite");
	tcase_add_checked_fixture(tc, setup, teardown_folder);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, says_what_is_wrong_with_a_file, 0, N_ROWS(unusable_rows));
	tcase_add_test(tc, does_not_make_a_file_unasked);
	tcase_add_loop_test(tc, takes_any_path, 0, N_ROWS(name_rows));
	tcase_add_loop_test(tc, takes_any_relative_path, 0, N_ROWS(name_rows));
	tcase_add_loop_test(tc, gives_mode_0600_whatever_the_umask, 0, N_ROWS(umask_rows));
	tcase_add_test(tc, shares_what_is_shared);
	tcase_add_test(tc, locks_beside_the_file_not_the_link);
	tcase_add_loop_test(tc, reads_what_it_cannot_write, 0, N_ROWS(read_only_rows));
	tcase_add_loop_test(tc, waits_for_others, 0, N_ROWS(journal_rows));
	tcase_add_loop_test(tc, gives_up_with_a_reason, 0, N_ROWS(busy_rows));
	tcase_add_test(tc, keeps_its_locks_when_opened_twice);
	tcase_add_loop_test(tc, survives_kill_9, 0, N_ROWS(journal_rows));
	tcase_add_test(tc, is_made_by_many_at_once);
	tcase_add_test(tc, serves_threads_with_a_connection_each);
	tcase_add_test(tc, knows_who_was_killed);
	tcase_add_test(tc, never_takes_the_living_for_dead);
	tcase_add_test(tc, survives_a_fork);
	tcase_add_test(tc, does_not_inherit_into_programs);
	tcase_add_loop_test(tc, syncs_when_it_must, 0, N_ROWS(lazy_rows));
	tcase_add_test(tc, leaves_a_short_wal);
	tcase_add_test(tc, takes_over_what_was_left_behind);
	tcase_add_loop_test(tc, knows_network_file_systems, 0, N_ROWS(fs_rows));
	tcase_add_test(tc, sets_the_database_up);
	tcase_add_loop_test(tc, survives_a_failing_disk, 0, N_ROWS(disk_rows));
	tcase_add_loop_test(tc, asks_by_index, 0, N_ROWS(plan_rows));
	tcase_add_test(tc, names_what_is_there_already);
	suite_add_tcase(s, tc);
	return s;
}
