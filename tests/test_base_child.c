/* Programs that are run for what they print: what they say, how they end, and that none outlives its time. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/child.h>
#include <mer/text.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT 4096
#define HOUR_MS ((int64_t)3600 * 1000)

static const struct row {
	const char *script; /* of sh; NULL: a program that is not there */
	bool hears_log;
	int64_t ms; /* 0: an hour */
	enum mer_status want;
	int want_exit, want_signal;
	const char *out, *log;
} rows[] = {
	{ "printf said; printf told >&2", true, 0, MER_OK, 0, 0, "said", "told" },
	{ "printf said; exit 3", false, 0, MER_OK, 3, 0, "said", "" },
	{ "printf said; kill -9 $$", false, 0, MER_OK, 0, SIGKILL, "said", "" },
	{ "cat; printf end", false, 0, MER_OK, 0, 0, "end", "" },
	{ "exec ls /proc/self/fd", true, 0, MER_OK, 0, 0, "0\n1\n2\n3\n", "" }, /* 3 is ls's own */
	{ "head -c 4095 /dev/zero | tr '\\0' x >&2", true, 0, MER_OK, 0, 0, "", NULL },
	{ "yes", true, 0, MER_ELIMIT, 0, 0, NULL, "" },
	{ "yes >&2", true, 0, MER_ELIMIT, 0, 0, "", NULL },
	{ "printf said; exec sleep 3600", true, 50, MER_ETIMEOUT, 0, 0, NULL, "" },
	{ "exec >&- 2>&-; exec sleep 3600", true, 50, MER_ETIMEOUT, 0, 0, "", "" },
	{ "sleep 3600 & exit 0", true, 50, MER_ETIMEOUT, 0, 0, "", "" },
	{ NULL, true, 0, MER_EIO, 0, 0, "", "" },
};

static void check_said(const struct mer_buf *buf, const char *want)
{
	if (want != NULL)
		ck_assert_str_eq(buf->ptr != NULL ? buf->ptr : "", want);
}

START_TEST(runs)
{
	extern char **environ;
	const struct row *row = &rows[_i];
	const char *const argv[] = { "sh", "-c", row->script != NULL ? row->script : "", NULL };
	struct mer_buf out, log;
	int status, error, leaked = open("/dev/null", O_RDONLY); /* as some libraries do it */
	mer_buf_init(&out, LIMIT);
	mer_buf_init(&log, LIMIT);
	const struct mer_child child = { .program = row->script != NULL ? "sh" : "/no/such/program",
		                             .argv = argv,
		                             .env = (const char *const *)environ,
		                             .cancel_fd = -1,
		                             .deadline_ms =
		                                 mer_clock_ms() + (row->ms != 0 ? row->ms : HOUR_MS),
		                             .out = &out,
		                             .log = row->hears_log ? &log : NULL };
	ck_assert_int_ge(leaked, 0);
	ck_assert_int_eq(mer_child_run(&child, &status, &error), row->want);
	ck_assert_int_eq(error, row->want == MER_EIO ? ENOENT : 0);
	if (row->want == MER_OK) {
		ck_assert_int_eq(WIFSIGNALED(status) ? WTERMSIG(status) : 0, row->want_signal);
		ck_assert_int_eq(WIFEXITED(status) ? WEXITSTATUS(status) : 0, row->want_exit);
	}
	check_said(&out, row->out);
	check_said(&log, row->log);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* none is left */
	ck_assert_int_eq(errno, ECHILD);
	mer_buf_release(&out);
	mer_buf_release(&log);
	(void)close(leaked);
}
END_TEST

START_TEST(is_given_up)
{
	extern char **environ;
	const char *const argv[] = { "sh", "-c", "exec sleep 3600", NULL };
	int ends[2], status, error;
	struct mer_buf out;
	mer_buf_init(&out, LIMIT);
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	const struct mer_child child = { .program = "sh",
		                             .argv = argv,
		                             .env = (const char *const *)environ,
		                             .cancel_fd = ends[0],
		                             .deadline_ms = mer_clock_ms() + HOUR_MS,
		                             .out = &out };
	ck_assert_int_eq(mer_child_run(&child, &status, &error), MER_ECANCELED);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	mer_buf_release(&out);
	(void)close(ends[0]);
	(void)close(ends[1]);
}
END_TEST

Suite *suite(void)
{
	Suite *child = suite_create("child");
	TCase *tc = tcase_create("run");
	tcase_add_loop_test(tc, runs, 0, N_ROWS(rows));
	tcase_add_test(tc, is_given_up);
	suite_add_tcase(child, tc);
	return child;
}
