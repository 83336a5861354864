/* Whole files, folders, places, and environment files. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mer/clean.h>
#include <mer/env.h>
#include <mer/file.h>
#include <mer/text.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Each test runs in an empty folder of its own. */
static char folder[] = "/tmp/test_base_file.XXXXXX";

static void enter_folder(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
	(void)info;
	(void)kind;
	(void)where;
	return remove(path);
}

static void leave_folder(void)
{
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void write_file(const char *path, const char *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(mer_write_all(fd, path, bytes, n, NULL), MER_OK);
	ck_assert_int_eq(close(fd), 0);
}

/* Files. */

static const struct {
	size_t size, limit;
	enum mer_status want;
} size_rows[] = {
	{ 0, 0, MER_OK },
	{ 0, 10, MER_OK },
	{ 1, 0, MER_ELIMIT },
	{ 10, 10, MER_OK },
	{ 11, 10, MER_ELIMIT },
	{ 10, SIZE_MAX, MER_OK },
	{ 65535, 65536, MER_OK },
	{ 65536, 65536, MER_OK },
	{ 65537, 65536, MER_ELIMIT },
	{ 1000003, 1u << 20, MER_OK },
	{ 1000003, SIZE_MAX, MER_OK },
	{ 1000003, 1000002, MER_ELIMIT },
};

static void fill(char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)(i * 31 % 251);
}

static void check_read(size_t row, enum mer_status got, const char *out, size_t len,
                       const char *want)
{
	ck_assert_msg(got == size_rows[row].want, "row %zu: status %d", row, (int)got);
	if (got != MER_OK) {
		ck_assert_ptr_null(out);
		ck_assert_uint_eq(len, 99);
		return;
	}
	ck_assert_uint_eq(len, size_rows[row].size);
	ck_assert_int_eq(memcmp(out, want, len), 0);
	ck_assert_int_eq(out[len], '\0');
}

START_TEST(reads_file)
{
	size_t n = size_rows[_i].size, len = 99;
	static char bytes[1000003];
	MER_AUTO(mer_text_done) char *out = NULL;
	fill(bytes, n);
	write_file("file", bytes, n);
	struct mer_error err;
	enum mer_status got = mer_read_file("file", size_rows[_i].limit, &out, &len, &err);
	check_read((size_t)_i, got, out, len, bytes);
	if (got == MER_ELIMIT)
		ck_assert_ptr_nonnull(strstr(err.message, "'file' is longer than"));
}
END_TEST

struct feed {
	const char *path;
	const char *bytes;
	size_t n;
};

/* A program at the other end, which writes a little at a time. */
static void *write_slowly(void *ctx)
{
	const struct feed *feed = ctx;
	int fd = open(feed->path, O_WRONLY | O_CLOEXEC);
	for (size_t at = 0, piece = 1; fd >= 0 && at < feed->n; at += piece, piece = piece * 3 + 1) {
		if (piece > feed->n - at)
			piece = feed->n - at;
		if (mer_write_all(fd, "fifo", feed->bytes + at, piece, NULL) != MER_OK)
			break;
		(void)sched_yield();
	}
	if (fd >= 0)
		(void)close(fd);
	return NULL;
}

START_TEST(reads_fifo)
{
	size_t n = size_rows[_i].size, len = 99;
	static char bytes[1000003];
	MER_AUTO(mer_text_done) char *out = NULL;
	fill(bytes, n);
	(void)signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	struct feed feed = { .path = "fifo", .bytes = bytes, .n = n };
	pthread_t writer;
	ck_assert_int_eq(pthread_create(&writer, NULL, write_slowly, &feed), 0);
	enum mer_status got = mer_read_file("fifo", size_rows[_i].limit, &out, &len, NULL);
	ck_assert_int_eq(pthread_join(writer, NULL), 0);
	check_read((size_t)_i, got, out, len, bytes);
}
END_TEST

START_TEST(reads_descriptor_that_does_not_block)
{
	int ends[2];
	ck_assert_int_eq(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	char name[64];
	(void)snprintf(name, sizeof name, "/proc/self/fd/%d", ends[1]);
	char bytes[300000];
	fill(bytes, sizeof bytes);
	struct feed feed = { .path = name, .bytes = bytes, .n = sizeof bytes };
	pthread_t writer;
	ck_assert_int_eq(pthread_create(&writer, NULL, write_slowly, &feed), 0);
	char first;
	while (read(ends[0], &first, 1) != 1)
		(void)sched_yield();
	(void)close(ends[1]); /* the writer has its own */
	MER_AUTO(mer_text_done) char *out = NULL;
	size_t len = 0;
	ck_assert_int_eq(mer_read_fd(ends[0], "pipe", SIZE_MAX, &out, &len, NULL), MER_OK);
	ck_assert_int_eq(pthread_join(writer, NULL), 0);
	ck_assert_uint_eq(len, sizeof bytes - 1);
	ck_assert_int_eq(memcmp(out, bytes + 1, len), 0);
}
END_TEST

START_TEST(reads_what_the_size_does_not_tell)
{
	MER_AUTO(mer_text_done) char *out = NULL;
	size_t len = 0;
	ck_assert_int_eq(mer_read_file("/proc/self/status", 1u << 20, &out, &len, NULL), MER_OK);
	ck_assert_uint_gt(len, 100);
	ck_assert_int_eq(strncmp(out, "Name:", 5), 0);

	MER_AUTO(mer_text_done) char *rest = NULL;
	write_file("file", "0123456789", 10);
	ck_assert_ptr_nonnull(freopen("file", "r", stdin));
	ck_assert_int_eq(lseek(STDIN_FILENO, 7, SEEK_SET), 7);
	ck_assert_int_eq(mer_read_fd(STDIN_FILENO, "stdin", 3, &rest, &len, NULL), MER_OK);
	ck_assert_str_eq(rest, "789");
	free(rest);
	rest = NULL;
	ck_assert_int_eq(mer_read_file("/dev/stdin", 10, &rest, &len, NULL), MER_OK);
	ck_assert_str_eq(rest, "0123456789");
}
END_TEST

static const struct {
	const char *path, *want;
} read_bad_rows[] = {
	{ "missing", "cannot open 'missing': No such file or directory" },
	{ ".", "cannot read '.': it is a folder" },
	{ "", "cannot open '': No such file or directory" },
	{ "file/x", "cannot open 'file/x': Not a directory" },
};

START_TEST(refuses_to_read)
{
	char *out = NULL;
	size_t len = 99;
	struct mer_error err;
	write_file("file", "x", 1);
	enum mer_status got = mer_read_file(read_bad_rows[_i].path, 100, &out, &len, &err);
	ck_assert_msg(got == MER_EIO && strcmp(err.message, read_bad_rows[_i].want) == 0 &&
	                  out == NULL && len == 99,
	              "row %d '%s': status %d, '%s'", _i, read_bad_rows[_i].path, (int)got,
	              err.message);
}
END_TEST

START_TEST(writing_tells_why_it_failed)
{
	struct mer_error err;
	int ends[2];
	(void)signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(close(ends[0]), 0);
	errno = 0;
	ck_assert_int_eq(mer_write_all(ends[1], "stdout", "x", 1, &err), MER_EIO);
	ck_assert_int_eq(errno, EPIPE);
	ck_assert_str_eq(err.message, "cannot write 'stdout': Broken pipe");
	ck_assert_int_eq(mer_write_all(-1, "nothing", "", 0, &err), MER_OK);
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(full, 0);
	ck_assert_int_eq(mer_write_all(full, "full", "x", 1, &err), MER_EIO);
	ck_assert_int_eq(errno, ENOSPC);
}
END_TEST

/* Folders. */

static const struct {
	const char *path;
	mode_t umask;
	const char *made[4]; /* of mode 0700 */
} folder_rows[] = {
	{ "a", 022, { "a" } },
	{ "a/b/c", 022, { "a", "a/b", "a/b/c" } },
	{ "a/b/c", 0, { "a", "a/b", "a/b/c" } },
	{ "a/b/c", 0777, { "a", "a/b", "a/b/c" } },
	{ "./a//b///", 077, { "a", "a/b" } },
	{ "old", 022, { NULL } },
	{ "old/a", 0277, { "old/a" } },
	{ "link/a", 022, { "old/a" } },
	{ "old/../a", 022, { "a" } },
	{ ".", 022, { NULL } },
	{ "/", 022, { NULL } },
};

START_TEST(makes_folders)
{
	struct mer_error err = { .message = "" };
	struct stat info;
	ck_assert_int_eq(mkdir("old", 0755), 0);
	ck_assert_int_eq(symlink("old", "link"), 0);
	(void)umask(folder_rows[_i].umask);
	for (int again = 0; again < 2; again++) {
		enum mer_status got = mer_make_folders(folder_rows[_i].path, &err);
		ck_assert_msg(got == MER_OK, "row %d '%s': '%s'", _i, folder_rows[_i].path, err.message);
		for (const char *const *made = folder_rows[_i].made; *made != NULL; made++) {
			ck_assert_msg(stat(*made, &info) == 0, "row %d: no '%s'", _i, *made);
			ck_assert_msg(S_ISDIR(info.st_mode) && (info.st_mode & 0777) == 0700, "row %d '%s': %o",
			              _i, *made, (unsigned)info.st_mode);
		}
	}
	ck_assert_int_eq(stat("old", &info), 0);
	ck_assert_int_eq(info.st_mode & 0777, 0755);
	(void)umask(022);
}
END_TEST

static const struct {
	const char *path, *names;
} folder_bad_rows[] = {
	{ "file", "'file'" },
	{ "file/a/b", "'file'" },
	{ "a/../file/x", "'a/../file'" },
	{ "dangling", "'dangling'" },
	{ "dangling/a", "'dangling'" },
	{ "", "empty" },
	{ "/proc/none/a", "'/proc/none'" },
};

START_TEST(refuses_folder)
{
	struct mer_error err = { .message = "" };
	write_file("file", "x", 1);
	ck_assert_int_eq(symlink("nowhere", "dangling"), 0);
	enum mer_status got = mer_make_folders(folder_bad_rows[_i].path, &err);
	ck_assert_msg(got != MER_OK && strstr(err.message, folder_bad_rows[_i].names) != NULL,
	              "row %d '%s': status %d, '%s'", _i, folder_bad_rows[_i].path, (int)got,
	              err.message);
}
END_TEST

/* Places. */

static const struct {
	const char *home, *state, *data;
	const char *want_state, *want_data;
} place_rows[] = {
	{ "/h", NULL, NULL, "/h/.local/state/mer", "/h/.local/share/mer" },
	{ "/h/", "", "", "/h/.local/state/mer", "/h/.local/share/mer" },
	{ "/h", "/s", "/d//", "/s/mer", "/d/mer" },
	{ "/h", "s", "./d", "/h/.local/state/mer", "/h/.local/share/mer" },
	{ NULL, "/s", "/d", "/s/mer", "/d/mer" },
	{ "/", NULL, "/", "/.local/state/mer", "/mer" },
};

static void set_variable(const char *name, const char *value)
{
	ck_assert_int_eq(value == NULL ? unsetenv(name) : setenv(name, value, 1), 0);
}

START_TEST(finds_places_of_the_user)
{
	MER_AUTO(mer_text_done) char *state = NULL;
	MER_AUTO(mer_text_done) char *data = NULL;
	set_variable("HOME", place_rows[_i].home);
	set_variable("XDG_STATE_HOME", place_rows[_i].state);
	set_variable("XDG_DATA_HOME", place_rows[_i].data);
	ck_assert_int_eq(mer_place(MER_PLACE_STATE, &state, NULL), MER_OK);
	ck_assert_int_eq(mer_place(MER_PLACE_DATA, &data, NULL), MER_OK);
	ck_assert_msg(strcmp(state, place_rows[_i].want_state) == 0 &&
	                  strcmp(data, place_rows[_i].want_data) == 0,
	              "row %d: '%s' '%s'", _i, state, data);
}
END_TEST

START_TEST(finds_home_without_a_variable)
{
	const char *bad[] = { NULL, "", "relative" };
	const struct passwd *me = getpwuid(getuid());
	MER_AUTO(mer_text_done) char *got = NULL;
	MER_AUTO(mer_text_done) char *want = NULL;
	struct mer_error err;
	set_variable("XDG_STATE_HOME", NULL);
	set_variable("HOME", bad[_i]);
	enum mer_status st = mer_place(MER_PLACE_STATE, &got, &err);
	if (me == NULL || me->pw_dir[0] != '/') {
		ck_assert_int_eq(st, MER_EIO);
		return;
	}
	ck_assert_int_eq(st, MER_OK);
	want = mer_text_new("%s/.local/state/mer", me->pw_dir);
	ck_assert_str_eq(got, want);
}
END_TEST

START_TEST(finds_places_of_the_installation)
{
	static const enum mer_place places[] = { MER_PLACE_SQL, MER_PLACE_MODELS, MER_PLACE_GUARD,
		                                     MER_PLACE_MODULES };
	MER_AUTO(mer_text_done) char *got = NULL;
	char program[4096];
	ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
	ck_assert_int_gt(n, 0);
	program[n] = '\0';
	*strrchr(program, '/') = '\0';
	strrchr(program, '/')[1] = '\0'; /* the folder above that of the program, with its slash */
	ck_assert_int_eq(mer_place(places[_i], &got, NULL), MER_OK);
	ck_assert_msg(strncmp(got, program, strlen(program)) == 0 && strstr(got, "/.") == NULL &&
	                  strstr(got, "//") == NULL && got[strlen(got) - 1] != '/',
	              "row %d: '%s' of '%s'", _i, got, program);
}
END_TEST

/* Environment files. */

static const struct {
	const char *text, *want; /* NAME=[VALUE] for each; or what is wrong, from its line on */
	enum mer_status status;
} env_rows[] = {
	{ "", "", MER_OK },
	{ "\n\n  \n\t\r\n", "", MER_OK },
	{ "# A=1\n  # B=2\n", "", MER_OK },
	{ "A=1", "A=[1]", MER_OK },
	{ "A=1\nB_2=x y\n_c=", "A=[1]B_2=[x y]_c=[]", MER_OK },
	{ "\xEF\xBB\xBF"
	  "A=1\r\nB=2\r\n",
	  "A=[1]B=[2]", MER_OK },
	{ "A=1\r", "A=[1]", MER_OK },
	{ "A=x\ry", "A=[x\ry]", MER_OK },
	{ "  A \t= \t 1 2 \t\n", "A=[1 2]", MER_OK },
	{ "export A=1\nexport\tB=2\n  export   C = 3", "A=[1]B=[2]C=[3]", MER_OK },
	{ "export=1\nexport =2\nexports=3", "export=[1]export=[2]exports=[3]", MER_OK },
	{ "export export=1", "export=[1]", MER_OK },
	{ "A=1 # one\nB=a#b\nC=#c\nD= # d\nE=a\t#e", "A=[1]B=[a#b]C=[#c]D=[]E=[a]", MER_OK },
	{ "A='it is # \\n \"x\" '\nB=''", "A=[it is # \\n \"x\" ]B=[]", MER_OK },
	{ "A=\"a\\\\b\\\"c\\nd\\te # f'\"\nB=\"\"", "A=[a\\b\"c\nd\te # f']B=[]", MER_OK },
	{ "A='x' # why\nB=\"y\"\t#why\nC='z'  ", "A=[x]B=[y]C=[z]", MER_OK },
	{ "A=b'c'd\"e", "A=[b'c'd\"e]", MER_OK },
	{ "A=$HOME ${B} `c` \\n", "A=[$HOME ${B} `c` \\n]", MER_OK },
	{ "A=b=c", "A=[b=c]", MER_OK },
	{ "A=1\nA=2", "A=[1]A=[2]", MER_OK },
	{ "A=\xFF\xC3", "A=[\xFF\xC3]", MER_OK },
	{ "A", ":1:2: no '=' follows the name", MER_EINPUT },
	{ "A=1\n\nB C=2", ":3:3: no '=' follows the name", MER_EINPUT },
	{ "export A", ":1:9: no '=' follows the name", MER_EINPUT },
	{ "export ", ":1:8: no '=' follows the name", MER_EINPUT },
	{ "=1", ":1:1: no name", MER_EINPUT },
	{ "  =1", ":1:3: no name", MER_EINPUT },
	{ "1A=1", ":1:1: no name", MER_EINPUT },
	{ "A-B=1", ":1:2: no '=' follows the name", MER_EINPUT },
	{ "export 1=1", ":1:8: no name", MER_EINPUT },
	{ "A=1\n B='x", ":2:4: the quote is not closed", MER_EINPUT },
	{ "A=\"x\ny\"", ":1:3: the quote is not closed", MER_EINPUT },
	{ "A=\"x\\\"", ":1:3: the quote is not closed", MER_EINPUT },
	{ "A=\"x\\qy\"", ":1:5: only \\ \" n t", MER_EINPUT },
	{ "A=\"x\\", ":1:5: only \\ \" n t", MER_EINPUT },
	{ "A='x'y", ":1:6: something follows the closing quote", MER_EINPUT },
	{ "A='x'#y", ":1:6: something follows the closing quote", MER_EINPUT },
	{ "A=\"x\" y", ":1:7: something follows the closing quote", MER_EINPUT },
	{ "OK=1\r\nREFUSED=2", ":2: not a duration: '2'", MER_ECONFLICT },
};

static enum mer_status note_setting(void *ctx, const char *name, const char *value,
                                    struct mer_error *err)
{
	mer_buf_printf(ctx, "%s=[%s]", name, value);
	if (strcmp(name, "REFUSED") != 0)
		return MER_OK;
	(void)mer_fail(err, MER_ECONFLICT, "not a duration: '%s'", value);
	mer_hint(err, "as in 30s");
	return MER_ECONFLICT;
}

static void check_env(enum mer_status got, const struct mer_buf *seen, const struct mer_error *err,
                      int row)
{
	const char *want = env_rows[row].want, *shown = seen->len > 0 ? seen->ptr : "";
	ck_assert_msg(got == env_rows[row].status, "row %d [%s]: status %d '%s'", row,
	              env_rows[row].text, (int)got, err->message);
	if (got == MER_OK)
		ck_assert_msg(strcmp(shown, want) == 0, "row %d [%s]: %s", row, env_rows[row].text, shown);
	else
		ck_assert_msg(strncmp(err->message, "my.env", 6) == 0 &&
		                  strncmp(err->message + 6, want, strlen(want)) == 0,
		              "row %d [%s]: '%s'", row, env_rows[row].text, err->message);
	ck_assert_str_eq(err->hint, got == MER_ECONFLICT ? "as in 30s" : "");
}

START_TEST(reads_environment)
{
	struct mer_error err = { .message = "" };
	struct mer_buf seen;
	const char *text = env_rows[_i].text;
	mer_buf_init(&seen, 4000);
	check_env(mer_env_parse("my.env", text, strlen(text), note_setting, &seen, &err), &seen, &err,
	          _i);
	mer_buf_clear(&seen);
	write_file("my.env", text, strlen(text));
	check_env(mer_env_read("my.env", note_setting, &seen, &err), &seen, &err, _i);
	mer_buf_release(&seen);
}
END_TEST

START_TEST(environment_without_a_file)
{
	struct mer_error err;
	struct mer_buf seen;
	mer_buf_init(&seen, 4000);
	ck_assert_int_eq(mer_env_read("missing.env", note_setting, &seen, &err), MER_EIO);
	ck_assert_ptr_nonnull(strstr(err.message, "'missing.env'"));
	ck_assert_int_eq(mer_env_parse("x", "A=1\nB=\0002", 8, note_setting, &seen, &err), MER_EINPUT);
	ck_assert_str_eq(err.message, "x:2:3: a NUL byte stands here");
	ck_assert_str_eq(seen.ptr, "A=[1]");
	ck_assert_int_eq(mer_env_parse("x", NULL, 0, note_setting, &seen, &err), MER_OK);
	mer_buf_release(&seen);
}
END_TEST

Suite *suite(void)
{
	Suite *file = suite_create("file");
	TCase *files = tcase_create("files"), *folders = tcase_create("folders");
	TCase *places = tcase_create("places"), *env = tcase_create("env");
	TCase *cases[] = { files, folders, places, env };
	tcase_set_timeout(files, 60);
	tcase_add_loop_test(files, reads_file, 0, N_ROWS(size_rows));
	tcase_add_loop_test(files, reads_fifo, 0, N_ROWS(size_rows));
	tcase_add_test(files, reads_descriptor_that_does_not_block);
	tcase_add_test(files, reads_what_the_size_does_not_tell);
	tcase_add_loop_test(files, refuses_to_read, 0, N_ROWS(read_bad_rows));
	tcase_add_test(files, writing_tells_why_it_failed);
	tcase_add_loop_test(folders, makes_folders, 0, N_ROWS(folder_rows));
	tcase_add_loop_test(folders, refuses_folder, 0, N_ROWS(folder_bad_rows));
	tcase_add_loop_test(places, finds_places_of_the_user, 0, N_ROWS(place_rows));
	tcase_add_loop_test(places, finds_home_without_a_variable, 0, 3);
	tcase_add_loop_test(places, finds_places_of_the_installation, 0, 4);
	tcase_add_loop_test(env, reads_environment, 0, N_ROWS(env_rows));
	tcase_add_test(env, environment_without_a_file);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		tcase_add_checked_fixture(cases[i], enter_folder, leave_folder);
		suite_add_tcase(file, cases[i]);
	}
	return file;
}
