/* The scheduler with real workers and a real database: each run has one done, one row, one status. */
#include "check_main.h"

#include <fcntl.h>
#include <mer/clean.h>
#include <mer/dal.h>
#include <mer/json.h>
#include <mer/sched.h>
#include <mer/text.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

extern char **environ;

#define READY "printf '@!#READY#!@\\n'; "
#define ECHO_WORKER \
	READY "while read -r l; do case $l in *EXIT*) exit 0;; *START*) printf '%s\\n' \"$l\";; " \
		  "*) printf '%s\\n' \"$l\";; esac; done"

/* --- a database with one model ------------------------------------------------------------ */

static char folder[64], url[128];

static void run_program(const char *const argv[])
{
	pid_t pid;
	int status;
	char *const *words = (char *const *)(uintptr_t)argv; /* posix_spawn does not change them */
	ck_assert_int_eq(posix_spawnp(&pid, argv[0], NULL, NULL, words, environ), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "'%s' ended with %d", argv[0], status);
}

static void setup(void)
{
	strcpy(folder, "/tmp/mer-sched-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(url, sizeof url, "sqlite:%s/mer.db", folder);
	MER_AUTO(mer_text_done)
	char *migrate = mer_text_new("%s/bin/mer-migrate", getenv("MER_PREFIX"));
	run_program((const char *[]){ migrate, "up", "--quiet", "--database", url, NULL });
}

static void teardown(void)
{
	run_program((const char *[]){ "rm", "-r", folder, NULL });
}

static struct mer_dal *dal_open(void)
{
	struct mer_error err;
	struct mer_dal *dal;
	enum mer_status st = mer_dal_open(url, 0, &dal, &err);
	ck_assert_msg(st == MER_OK, "%s", err.message);
	return dal;
}

static enum mer_status on_server(void *ctx, const void *row, struct mer_error *err)
{
	(void)err;
	(void)snprintf(ctx, 37, "%s", ((const struct mer_server_row *)row)->uid);
	return MER_OK;
}

static const char room_for_many[] = "{\"max_output\":100000,\"max_queue\":1000}";

/* A model "m" whose program is a line of shell, with one worker if it stays. */
static void add_limited_model(const char *protocol, const char *line, const char *params,
                              int64_t start_timeout_ms, const char *limits)
{
	struct mer_dal *dal = dal_open();
	struct mer_error err;
	struct mer_uid model, deployment;
	char server[37] = "";
	json_t *argv = json_pack("[sss]", "/bin/sh", "-c", line);
	char *text = json_dumps(argv, JSON_COMPACT);
	json_decref(argv);
	mer_uid_new(&model);
	mer_uid_new(&deployment);
	enum mer_status st = mer_dal_query(dal, MER_Q_SERVER_BY_NAME, MER_ARGS(mer_text("local")),
	                                   on_server, server, &err);
	if (st == MER_OK)
		st = mer_dal_begin(dal, &err);
	if (st == MER_OK)
		st = mer_dal_exec(dal, MER_Q_MODEL_INSERT,
		                  MER_ARGS(mer_text(model.text), mer_text("m"), mer_text("")), NULL, &err);
	if (st == MER_OK)
		st = mer_dal_exec(dal, MER_Q_DEPLOYMENT_INSERT,
		                  MER_ARGS(mer_text(deployment.text), mer_text("local"),
		                           mer_text(model.text), mer_text(server), mer_text(protocol),
		                           mer_text("/tmp"), mer_text(text), mer_text(""), mer_text("{}"),
		                           mer_text(params), mer_text(limits), mer_i64(0), mer_i64(300000),
		                           mer_i64(60000), mer_i64(start_timeout_ms), mer_i64(0)),
		                  NULL, &err);
	if (st == MER_OK)
		st = mer_dal_end(dal, true, &err);
	ck_assert_msg(st == MER_OK, "%s", err.message);
	free(text);
	mer_dal_close(dal);
}

static void add_model(const char *protocol, const char *line, const char *params,
                      int64_t start_timeout_ms)
{
	add_limited_model(protocol, line, params, start_timeout_ms, room_for_many);
}

/* --- a scheduler and what its runs say ---------------------------------------------------- */

struct seen {
	struct mer_run *run;
	char output[64], status[16], uid[37];
	size_t output_len;
	struct mer_error error;
	int started, done, exit_code;
	bool cancel_when_started, stream, held;
};

static bool may_start(void *ctx)
{
	const struct seen *seen = ctx;
	return !seen->held;
}

static void on_started(void *ctx, const struct mer_run *run)
{
	struct seen *seen = ctx;
	ck_assert_ptr_eq(run, seen->run);
	seen->started++;
	if (seen->cancel_when_started)
		mer_run_cancel(seen->run, false);
}

static void on_output(void *ctx, const char *bytes, size_t n)
{
	struct seen *seen = ctx;
	ck_assert_int_eq(seen->started, 1);
	for (size_t i = 0; i < n && seen->output_len < sizeof seen->output - 1; i++)
		seen->output[seen->output_len++] = bytes[i];
}

static void on_log(void *ctx, const char *bytes, size_t n)
{
	(void)ctx;
	(void)bytes;
	(void)n;
}

static void on_done(void *ctx, const struct mer_run_result *result)
{
	struct seen *seen = ctx;
	seen->done++;
	seen->error = result->error;
	seen->exit_code = result->exit_code;
	memcpy(seen->uid, result->request_uid.text, sizeof seen->uid);
	(void)snprintf(seen->status, sizeof seen->status, "%s",
	               result->status != NULL ? result->status : "none");
}

static const struct mer_run_events events = {
	.may_start = may_start,
	.on_started = on_started,
	.on_output = on_output,
	.on_log = on_log,
	.on_done = on_done,
};

static struct mer_sched *sched_open(uv_loop_t *loop)
{
	struct mer_sched_options options = {
		.database = url,
		.door = "batch",
		.models = "/nowhere",
		.guard = getenv("MER_GUARD"),
		.python = "/nowhere",
		.environment = (const char *const *)environ,
	};
	struct mer_sched *sched;
	ck_assert_int_eq(uv_loop_init(loop), 0);
	ck_assert_int_eq(mer_sched_open(loop, &options, &sched, NULL), MER_OK);
	return sched;
}

static void on_closed(void *ctx, const struct mer_error *err)
{
	ck_assert_msg(err == NULL, "%s", err == NULL ? "" : err->message);
	*(bool *)ctx = true;
}

static void sched_close(uv_loop_t *loop, struct mer_sched *sched)
{
	bool closed = false;
	mer_sched_close(sched, on_closed, &closed);
	uv_run(loop, UV_RUN_DEFAULT);
	ck_assert(closed);
	ck_assert_int_eq(uv_loop_close(loop), 0);
	ck_assert_msg(waitpid(-1, NULL, WNOHANG) == -1, "a child is left");
}

static void submit(struct mer_sched *sched, struct seen *seen, const char *model, const char *input,
                   int64_t timeout_ms)
{
	struct mer_run_request request = {
		.model = model,
		.input = input,
		.input_len = strlen(input),
		.timeout_ms = timeout_ms,
	};
	request.stream = seen->stream;
	ck_assert_int_eq(mer_sched_submit(sched, &request, &events, seen, &seen->run, NULL), MER_OK);
	ck_assert_int_eq(seen->done, 0);
}

static void wait_done(uv_loop_t *loop, const struct seen *seen)
{
	while (seen->done == 0)
		uv_run(loop, UV_RUN_ONCE);
}

/* --- what the database says afterwards ---------------------------------------------------- */

struct row {
	int count;
	char status[16], started_at[32], stopped_at[32];
	int64_t exit_code, bytes_out;
};

static enum mer_status on_row(void *ctx, const void *data, struct mer_error *err)
{
	struct row *row = ctx;
	const struct mer_run_row *run = data;
	(void)err;
	row->count++;
	row->exit_code = run->exit_code;
	row->bytes_out = run->bytes_out;
	(void)snprintf(row->status, sizeof row->status, "%s", run->status);
	(void)snprintf(row->started_at, sizeof row->started_at, "%s", run->started_at);
	(void)snprintf(row->stopped_at, sizeof row->stopped_at, "%s", run->stopped_at);
	return MER_OK;
}

static struct row read_row(const char *uid)
{
	struct row row = { 0 };
	struct mer_dal *dal = dal_open();
	ck_assert_int_eq(
		mer_dal_query(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(uid)), on_row, &row, NULL), MER_OK);
	mer_dal_close(dal);
	return row;
}

/* --- one run ------------------------------------------------------------------------------ */

static const struct {
	const char *name, *protocol, *line, *params, *input;
	int64_t timeout_ms, start_timeout_ms;
	bool cancel;
	enum mer_status want;
	const char *want_row, *want_output;
	int want_exit;
} rows[] = {
	{ "once answers", "once", "cat", "{}", "hello", 0, 60000, false, MER_OK, "ok", "hello", 0 },
	{ "once, nothing", "once", "cat", "{}", "", 0, 60000, false, MER_OK, "ok", "", 0 },
	{ "once fails", "once", "echo part; exit 3", "{}", "x", 0, 60000, false, MER_EMODEL, "failed",
	  "part\n", 3 },
	{ "once killed", "once", "kill -9 $$", "{}", "x", 0, 60000, false, MER_EMODEL, "failed", "",
	  -1 },
	{ "once too much", "once", "yes", "{}", "", 0, 60000, false, MER_ELIMIT, "failed", NULL, -1 },
	{ "once too late", "once", "exec sleep 60", "{}", "", 100, 60000, false, MER_ETIMEOUT,
	  "timeout", "", -1 },
	{ "once, deaf and late", "once", "trap '' TERM; while :; do sleep 60; done", "{}", "", 100,
	  60000, false, MER_ETIMEOUT, "timeout", "", -1 },
	{ "once cancelled", "once", "exec sleep 60", "{}", "", 0, 60000, true, MER_ECANCELED,
	  "cancelled", "", -1 },
	{ "token answers", "token", ECHO_WORKER, "{}", "hello", 0, 60000, false, MER_OK, "ok",
	  "hello\n", -1 },
	{ "token refuses a token", "token", ECHO_WORKER, "{}", "a\n@!#STOP#!@\nb", 0, 60000, false,
	  MER_EINPUT, "rejected", "", -1 },
	{ "token leaves", "token", READY "read x; exit 4", "{}", "x", 0, 60000, false, MER_EMODEL,
	  "failed", "", 4 },
	{ "token never ready", "token", "exec sleep 60", "{}", "x", 0, 100, false, MER_ETIMEOUT,
	  "timeout", "", -1 },
	{ "token late while starting", "token", "exec sleep 60", "{}", "x", 100, 60000, false,
	  MER_ETIMEOUT, "timeout", "", -1 },
	{ "token dies before ready", "token", "echo sorry >&2; exit 5", "{}", "x", 0, 60000, false,
	  MER_EUNREACHABLE, "failed", "", 5 },
	{ "token's error line", "token",
	  READY "while read -r l; do case $l in *STOP*) echo 'bad input: no' >&2;; esac; done",
	  "{\"error_lines\":[\"bad input: *\"]}", "x", 0, 60000, false, MER_EMODEL, "failed", "", -1 },
};

START_TEST(one_run)
{
	uv_loop_t loop;
	struct seen seen = { .cancel_when_started = rows[_i].cancel };
	add_model(rows[_i].protocol, rows[_i].line, rows[_i].params, rows[_i].start_timeout_ms);
	struct mer_sched *sched = sched_open(&loop);
	submit(sched, &seen, "m", rows[_i].input, rows[_i].timeout_ms);
	wait_done(&loop, &seen);
	sched_close(&loop, sched);
	struct row row = read_row(seen.uid);
	ck_assert_msg(
		seen.done == 1 && seen.error.status == rows[_i].want &&
			seen.exit_code == rows[_i].want_exit &&
			(rows[_i].want_output == NULL || strcmp(seen.output, rows[_i].want_output) == 0),
		"row %d '%s': done %d, status %s '%s', exit %d, output '%s'", _i, rows[_i].name, seen.done,
		mer_status_name(seen.error.status), seen.error.message, seen.exit_code, seen.output);
	ck_assert_msg(row.count == 1 && strcmp(row.status, rows[_i].want_row) == 0 &&
	                  strcmp(seen.status, rows[_i].want_row) == 0 &&
	                  row.exit_code == rows[_i].want_exit && row.stopped_at[0] != '\0' &&
	                  (row.started_at[0] != '\0') == (seen.started == 1),
	              "row %d '%s': %d rows, status '%s', exit %lld, started '%s', stopped '%s'", _i,
	              rows[_i].name, row.count, row.status, (long long)row.exit_code, row.started_at,
	              row.stopped_at);
}
END_TEST

START_TEST(unknown_model_has_no_row)
{
	uv_loop_t loop;
	struct seen seen = { 0 };
	struct mer_sched *sched = sched_open(&loop);
	submit(sched, &seen, "nobody", "x", 0);
	wait_done(&loop, &seen);
	sched_close(&loop, sched);
	ck_assert_int_eq(seen.error.status, MER_ENOTFOUND);
	ck_assert_str_eq(seen.error.message, "there is no model 'nobody'");
	ck_assert_str_eq(seen.status, "none");
	ck_assert_int_eq(read_row(seen.uid).count, 0);
}
END_TEST

START_TEST(warm_worker_is_kept)
{
	uv_loop_t loop;
	struct seen seen[20] = { 0 };
	add_model("token",
	          READY "while read -r l; do case $l in *EXIT*) exit 0;; *START*) echo "
	                "\"$l\"; echo $$;; *STOP*) echo \"$l\";; esac; done",
	          "{}", 60000);
	struct mer_sched *sched = sched_open(&loop);
	for (int i = 0; i < 20; i++) {
		submit(sched, &seen[i], "m", "who", 0);
		wait_done(&loop, &seen[i]);
		ck_assert_int_eq(seen[i].error.status, MER_OK);
		ck_assert_str_eq(seen[i].output, seen[0].output);
	}
	sched_close(&loop, sched);
}
END_TEST

START_TEST(many_at_once_each_end)
{
	enum { N = 700 };
	uv_loop_t loop;
	static struct seen seen[N];
	add_model("token", ECHO_WORKER, "{}", 60000);
	struct mer_sched *sched = sched_open(&loop);
	for (int i = 0; i < N; i++)
		submit(sched, &seen[i], "m", i % 7 == 0 ? "@!#EXIT#!@" : "hello", 0);
	for (int i = 0; i < N; i++)
		wait_done(&loop, &seen[i]);
	sched_close(&loop, sched);
	for (int i = 0; i < N; i++) {
		const char *want = i % 7 == 0 ? "rejected" : "ok";
		ck_assert_int_eq(seen[i].done, 1);
		ck_assert_str_eq(seen[i].status, want);
		ck_assert_str_eq(read_row(seen[i].uid).status, want);
	}
}
END_TEST

/* Each run has a process of its own, so descriptors come and go and their numbers are used again. */
START_TEST(stream_of_processes)
{
	enum { N = 300 };
	uv_loop_t loop;
	static struct seen seen[N];
	add_model("once", "read x; echo \"got $x\"; test \"$x\" != bad", "{}", 60000);
	struct mer_sched *sched = sched_open(&loop);
	for (int i = 0; i < N; i++) {
		seen[i].stream = true;
		submit(sched, &seen[i], "m", i % 3 == 0 ? "bad" : "good", 0);
	}
	for (int i = 0; i < N; i++)
		wait_done(&loop, &seen[i]);
	sched_close(&loop, sched);
	for (int i = 0; i < N; i++) {
		const char *want = i % 3 == 0 ? "failed" : "ok";
		ck_assert_str_eq(seen[i].output, i % 3 == 0 ? "got bad\n" : "got good\n");
		ck_assert_str_eq(seen[i].status, want);
		ck_assert_str_eq(read_row(seen[i].uid).status, want);
	}
}
END_TEST

START_TEST(closing_cancels_what_is_open)
{
	enum { N = 300 };
	uv_loop_t loop;
	static struct seen seen[N];
	add_model("once", "exec sleep 60", "{}", 60000);
	struct mer_sched *sched = sched_open(&loop);
	for (int i = 0; i < N; i++)
		submit(sched, &seen[i], "m", "x", 0);
	while (seen[0].started == 0)
		uv_run(&loop, UV_RUN_ONCE);
	sched_close(&loop, sched);
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(seen[i].done, 1);
		ck_assert_int_eq(seen[i].error.status, MER_ECANCELED);
		struct row row = read_row(seen[i].uid);
		ck_assert_msg(row.count == 0 || strcmp(row.status, "cancelled") == 0, "run %d: %s", i,
		              row.status);
		ck_assert_int_eq(row.count == 1, strcmp(seen[i].status, "none") != 0);
	}
}
END_TEST

/* Of a queue for two: a worker that is not ready yet has one run, two wait, what comes then is refused.
 * A stream waits. */
/* Though there is a worker for it. */
START_TEST(waits_until_it_may_start)
{
	uv_loop_t loop;
	static struct seen seen[3] = { { .stream = true },
		                           { .stream = true, .held = true },
		                           { .stream = true } };
	add_model("token", ECHO_WORKER, "{}", 60000);
	struct mer_sched *sched = sched_open(&loop);
	for (int i = 0; i < 3; i++)
		submit(sched, &seen[i], "m", "hello", 0);
	wait_done(&loop, &seen[0]);
	ck_assert(seen[1].started == 0 && seen[2].started == 0);
	seen[1].held = false;
	mer_sched_ask_again(sched);
	ck_assert_int_eq(seen[1].started, 0); /* callbacks come later */
	wait_done(&loop, &seen[2]);
	sched_close(&loop, sched);
	for (int i = 0; i < 3; i++)
		ck_assert_str_eq(seen[i].status, "ok");
}
END_TEST

START_TEST(held_runs_are_cancelled)
{
	uv_loop_t loop;
	static struct seen seen = { .held = true };
	add_model("token", ECHO_WORKER, "{}", 60000);
	struct mer_sched *sched = sched_open(&loop);
	submit(sched, &seen, "m", "hello", 0);
	mer_run_cancel(seen.run, false);
	wait_done(&loop, &seen);
	sched_close(&loop, sched);
	ck_assert_int_eq(seen.error.status, MER_ECANCELED);
}
END_TEST

START_TEST(full_queue_refuses)
{
	enum { N = 6, QUEUE = 2, STREAMED = 40 };
	uv_loop_t loop;
	static struct seen seen[N], streamed[STREAMED];
	MER_AUTO(mer_text_done) char *gate = mer_text_new("%s/gate", folder);
	MER_AUTO(mer_text_done) char *line = mer_text_new("read x <%s; %s", gate, ECHO_WORKER);
	ck_assert_int_eq(mkfifo(gate, 0600), 0);
	add_limited_model("token", line, "{}", 60000, "{\"max_queue\":2}");
	struct mer_sched *sched = sched_open(&loop);
	for (int i = 0; i < N; i++)
		submit(sched, &seen[i], "m", "hello", 0);
	for (int i = 0; i < STREAMED; i++) {
		streamed[i].stream = true;
		submit(sched, &streamed[i], "m", "hello", 0);
	}
	for (int i = N - 1; i > QUEUE; i--)
		wait_done(&loop, &seen[i]);
	MER_AUTO(mer_fd_done) int fd = open(gate, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(write(fd, "\n", 1), 1);
	for (int i = 0; i <= QUEUE; i++)
		wait_done(&loop, &seen[i]);
	for (int i = 0; i < STREAMED; i++) {
		wait_done(&loop, &streamed[i]);
		ck_assert_str_eq(streamed[i].status, "ok");
	}
	struct seen later = { 0 };
	submit(sched, &later, "m", "again", 0);
	wait_done(&loop, &later);
	sched_close(&loop, sched);
	ck_assert_str_eq(later.status, "ok");
	for (int i = 0; i < N; i++) {
		bool refused = i > QUEUE;
		struct row row = read_row(seen[i].uid);
		ck_assert_msg(strcmp(row.status, refused ? "rejected" : "ok") == 0, "run %d: %s", i,
		              row.status);
		ck_assert_int_eq(row.started_at[0] == '\0', refused);
		ck_assert_int_eq(seen[i].error.status, refused ? MER_EBUSY : MER_OK);
		if (refused)
			ck_assert_str_eq(seen[i].error.message, "model 'm' is busy: 2 runs wait already");
	}
}
END_TEST

START_TEST(closing_ends_a_start)
{
	uv_loop_t loop;
	struct seen seen = { 0 };
	MER_AUTO(mer_text_done) char *here = mer_text_new("%s/here", folder);
	MER_AUTO(mer_text_done) char *line = mer_text_new(": >%s; exec sleep 60", here);
	add_model("token", line, "{}", 60000);
	struct mer_sched *sched = sched_open(&loop);
	submit(sched, &seen, "m", "x", 0);
	while (access(here, F_OK) != 0)
		uv_run(&loop, UV_RUN_NOWAIT);
	uint64_t before = uv_hrtime();
	sched_close(&loop, sched);
	ck_assert_int_eq(seen.error.status, MER_ECANCELED);
	ck_assert_msg(uv_hrtime() - before < UINT64_C(30000000000), "it waited for the start");
}
END_TEST

/* Ways to a model share its workers. */
START_TEST(ways_make_room_for_one_another)
{
	enum { N = 8 };
	uv_loop_t loop;
	struct seen seen[N] = { 0 };
	MER_AUTO(mer_text_done)
	char *line = mer_text_new(
		"mkdir %s/one || exit 1; " READY
		"while read -r l; do case $l in *EXIT*) rmdir %s/one; exit 0;; *) echo \"$l\";; esac; done",
		folder, folder);
	add_model("token", line, "{}", 60000);
	struct mer_sched *sched = sched_open(&loop);
	for (int i = 0; i < N; i++) {
		struct mer_run_request request = {
			.model = "m", .server = i % 2 == 0 ? "" : "local", .input = "x", .input_len = 1
		};
		ck_assert_int_eq(mer_sched_submit(sched, &request, &events, &seen[i], &seen[i].run, NULL),
		                 MER_OK);
	}
	for (int i = 0; i < N; i++) {
		wait_done(&loop, &seen[i]);
		ck_assert_msg(seen[i].error.status == MER_OK, "run %d: %s", i, seen[i].error.message);
	}
	sched_close(&loop, sched);
}
END_TEST

START_TEST(opens_and_closes_without_a_run)
{
	uv_loop_t loop;
	struct mer_sched *sched = sched_open(&loop);
	sched_close(&loop, sched);
}
END_TEST

static void take_end(void *ctx, const struct mer_error *err)
{
	struct seen *seen = ctx;
	seen->error = *err; /* there must be one */
	seen->done++;
}

/* Somebody writes the database for as long as it takes. The row of a run that is cancelled is not waited
 * for; another run's is, if not by whoever is in a hurry, and stays for the next start to close. */
START_TEST(haste_waits_for_no_row)
{
	uv_loop_t loop;
	struct seen never = { 0 }, killed = { 0 }, end = { 0 };
	struct mer_error err;
	add_model("once", "read x; exec sleep 60", "{}", 60000);
	struct mer_sched *sched = sched_open(&loop);
	struct mer_dal *writer = dal_open();
	ck_assert_int_eq(mer_dal_begin(writer, &err), MER_OK);
	submit(sched, &never, "m", "x", 0);
	mer_run_cancel(never.run, false);
	wait_done(&loop, &never);
	ck_assert_int_eq(never.error.status, MER_ECANCELED);
	ck_assert_str_eq(never.status, "none");
	mer_dal_rollback(writer);

	submit(sched, &killed, "m", "x", 0);
	while (killed.started == 0)
		uv_run(&loop, UV_RUN_ONCE);
	ck_assert_int_eq(mer_dal_begin(writer, &err), MER_OK);
	mer_run_cancel(killed.run, true);
	wait_done(&loop, &killed);
	mer_sched_close(sched, take_end, &end);
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	ck_assert_int_eq(end.done, 1);
	ck_assert_int_eq(end.error.status, MER_ECANCELED);
	ck_assert_ptr_nonnull(strstr(end.error.message, killed.uid));
	mer_dal_rollback(writer);
	ck_assert_str_eq(read_row(killed.uid).status, "running");
	ck_assert_int_eq(mer_owners_sweep(writer, false, NULL, &err), MER_OK);
	ck_assert_str_eq(read_row(killed.uid).status, "lost");
	ck_assert_int_eq(read_row(never.uid).count, 0);
	mer_dal_close(writer);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("sched");
	TCase *tc = tcase_create("sched");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, one_run, 0, sizeof rows / sizeof *rows);
	tcase_add_test(tc, unknown_model_has_no_row);
	tcase_add_test(tc, warm_worker_is_kept);
	tcase_add_test(tc, many_at_once_each_end);
	tcase_add_test(tc, stream_of_processes);
	tcase_add_test(tc, closing_cancels_what_is_open);
	tcase_add_test(tc, waits_until_it_may_start);
	tcase_add_test(tc, held_runs_are_cancelled);
	tcase_add_test(tc, full_queue_refuses);
	tcase_add_test(tc, closing_ends_a_start);
	tcase_add_test(tc, ways_make_room_for_one_another);
	tcase_add_test(tc, opens_and_closes_without_a_run);
	tcase_add_test(tc, haste_waits_for_no_row);
	suite_add_tcase(suite, tc);
	return suite;
}
