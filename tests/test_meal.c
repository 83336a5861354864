/* Workers as real processes, under the real supervisor, whose path is in MER_GUARD. After each row no
 * process, descriptor, file or open handle may be left. */
#include "check_main.h"
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <mer/file.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define DEADLINE_MS 60000 /* for a whole row */
#define MIB ((size_t)1 << 20)

/* Parts of workers in sh; each defines answer() and leave(). */
#define READY "echo '@!#READY#!@'\n"
#define TOKENS \
	READY "while read -r line; do case $line in\n" \
		  "'@!#START#!@') ;; '@!#STOP#!@') answer ;; '@!#EXIT#!@') leave ;;\n" \
		  "*) in=$line ;; esac; done\n"
#define ANSWER(text) "echo '@!#START#!@'; " text "; echo '@!#STOP#!@'"
#define LEAVE "leave() { exit 0; }\n"

/* A frame worker in Python; its answer(id, input) sends one. */
#define FRAMES(answer) \
	"import os, struct\n" \
	"fd = int(os.environ.get('MER_FRAME_FD', '1')); source = fd if fd > 1 else 0\n" \
	"head = struct.Struct('<4sBBHQIIQ')\n" \
	"def read(n):\n" \
	"    data = b''\n" \
	"    while len(data) < n:\n" \
	"        piece = os.read(source, n - len(data))\n" \
	"        if not piece: os._exit(0)\n" \
	"        data += piece\n" \
	"    return data\n" \
	"def send(kind, number, meta, body=b''):\n" \
	"    data = head.pack(b'MERF', 1, kind, 0, number, len(meta), 0, len(body)) + meta + body\n" \
	"    while data: data = data[os.write(fd, data):]\n" \
	"def answer(number, data):\n" answer "while True:\n" \
	"    _, _, kind, _, number, meta, _, body = head.unpack(read(32))\n" \
	"    read(meta); data = read(body)\n" \
	"    if kind == 1: send(2, 0, b'{\"version\":1}')\n" \
	"    if kind == 3: answer(number, data)\n" \
	"    if kind == 6: send(5, number, b'{\"code\":\"cancelled\",\"message\":\"\"}')\n" \
	"    if kind == 11: os._exit(0)\n"
#define RESULT "    send(4, number, b'{\"content\":\"bytes\"}', data)\n"
#define REFUSAL "    send(5, number, b'{\"code\":\"input\",\"message\":\"no\"}')\n"

/* What to do when. */
enum moment { NEVER, AT_START, AT_GO, AT_READY, AT_OUTPUT, AT_LOG, AT_DONE };
enum deed { NOTHING, DRAIN, TERM, KILL, PAUSE, CANCEL, KILL_GUARD, NO_GO };

struct row {
	const char *name;
	const char *argv[6];
	const char *sh;             /* a script in place of argv */
	const char *python;         /* a program in place of that */
	enum mer_protocol protocol; /* unset: once */
	const char *inputs[4];      /* token: one after another, then DRAIN */
	size_t big;                 /* bytes of a generated first input */
	bool same;                  /* the output is to be that input */
	bool line;
	bool stdio; /* frames over stdin and stdout */
	const char *error_line;
	const char *workdir;
	const char *temp; /* folder for its files; NULL: the test's */
	int64_t max_output;
	enum moment when;
	enum deed deed;
	int64_t grace_ms;
	const char *output; /* all of it; NULL: whatever */
	const char *log;    /* glob; NULL: whatever */
	const char *done;   /* glob over "status message|" of each run */
	const char *gone;   /* glob over "status message exit=N signal=N" */
};

enum { OUTPUT, LOG, DONE, GONE, TEXT_COUNT };

/* A worker and all that came of it. */
struct rig {
	const struct row *row;
	uv_loop_t loop;
	uv_timer_t deadline;
	struct mer_worker *worker;
	bool in_call; /* into the library: no callback may come */
	bool acted;
	bool open; /* a run is */
	int n_ready, n_log, n_runs, n_done, n_gone;
	int64_t pid;
	char *input;
	size_t input_len;
	size_t n_output, n_same, largest; /* bytes */
	struct mer_buf text[TEXT_COUNT];
	void (*on_output)(struct rig *rig);
	void (*on_gone)(struct rig *rig);
};

static char temp[64];
static const char *guard;
static int fds_before;
static pid_t orphan; /* a worker whose supervisor the test has killed; 0: none */

static int count_entries(const char *path)
{
	int n = 0;
	DIR *folder = opendir(path);
	ck_assert_msg(folder != NULL, "%s: %s", path, strerror(errno));
	for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
		n += entry->d_name[0] != '.';
	(void)closedir(folder);
	return n;
}

static void set_up(void)
{
	guard = getenv("MER_GUARD");
	ck_assert_msg(guard != NULL, "MER_GUARD is not set");
	(void)strcpy(temp, "/tmp/test-meal-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(temp));
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* whatever escapes becomes our child */
	uv_loop_t loop; /* the first one opens what the library keeps */
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	fds_before = count_entries("/proc/self/fd");
}

static void check_nothing_left(void)
{
	int status;
	if (orphan > 0) { /* it was killed, perhaps a moment ago */
		ck_assert_int_eq(waitpid(orphan, &status, 0), orphan);
		ck_assert_int_eq(WTERMSIG(status), SIGKILL);
	}
	pid_t left = waitpid(-1, &status, WNOHANG);
	ck_assert_msg(left < 0 && errno == ECHILD, "a process is left: %d", (int)left);
	ck_assert_int_eq(count_entries(temp), 0);
	ck_assert_int_eq(count_entries("/proc/self/fd"), fds_before);
}

static void tear_down(void)
{
	check_nothing_left();
	ck_assert_int_eq(rmdir(temp), 0);
}

/* The supervisor is the worker's parent. */
static pid_t parent_of(int64_t pid)
{
	char path[64], text[512] = "";
	(void)snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
	FILE *file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_gt(fread(text, 1, sizeof text - 1, file), 0);
	(void)fclose(file);
	return (pid_t)strtol(strrchr(text, ')') + 4, NULL, 10);
}

static void act(struct rig *rig, enum moment now)
{
	const struct row *row = rig->row;
	if (row->when != now || rig->acted)
		return;
	rig->acted = true;
	rig->in_call = true;
	switch (row->deed) {
	case NOTHING:
	case NO_GO: break;
	case DRAIN:
	case TERM:
	case KILL: mer_worker_end(rig->worker, (enum mer_end)(row->deed - DRAIN), row->grace_ms); break;
	case PAUSE: mer_worker_pause(rig->worker, true); break;
	case CANCEL:
		ck_assert(mer_worker_cancel(rig->worker, rig, row->grace_ms));
		ck_assert(mer_worker_cancel(rig->worker, rig, row->grace_ms));
		break;
	case KILL_GUARD:
		ck_assert_int_gt(rig->pid, 1);
		orphan = (pid_t)rig->pid;
		ck_assert_int_eq(kill(parent_of(rig->pid), SIGKILL), 0);
		break;
	}
	rig->in_call = false;
}

static void run(struct rig *rig, const char *input, size_t len)
{
	struct mer_error err = { 0 };
	ck_assert(!rig->open);
	rig->open = true;
	rig->n_runs++;
	rig->in_call = true;
	enum mer_status st = mer_worker_run(
		rig->worker, &(struct mer_input){ input, len, NULL, 0, false, NULL, NULL }, rig, &err);
	rig->in_call = false;
	ck_assert_msg(st == MER_OK || st == MER_EUNREACHABLE, "%s: %s", rig->row->name, err.message);
	if (st == MER_OK)
		return;
	rig->open = false; /* it is about to be gone */
	rig->n_runs--;
}

static void end(struct rig *rig, enum mer_end how, int64_t grace_ms)
{
	rig->in_call = true;
	mer_worker_end(rig->worker, how, grace_ms);
	rig->in_call = false;
}

static bool stays(const struct row *row)
{
	return row->protocol == MER_PROTOCOL_TOKEN || row->protocol == MER_PROTOCOL_FRAME;
}

/* The next run of a worker that stays, or its end. */
static void go_on(struct rig *rig)
{
	const char *next = rig->row->inputs[rig->n_runs];
	if (!stays(rig->row))
		return;
	if (rig->row->big > 0 && rig->n_runs == 0)
		run(rig, rig->input, rig->input_len);
	else if (next != NULL)
		run(rig, next, strlen(next));
	else if (!rig->acted || rig->row->deed == PAUSE || rig->row->deed == CANCEL)
		end(rig, MER_END_DRAIN, DEADLINE_MS);
}

static void on_ready(void *ctx)
{
	struct rig *rig = ctx;
	ck_assert(!rig->in_call && rig->n_ready == 0 && rig->n_gone == 0);
	rig->n_ready++;
	rig->pid = mer_worker_pid(rig->worker);
	if (stays(rig->row))
		ck_assert_int_gt(rig->pid, 1);
	const char *announced = mer_worker_announced(rig->worker);
	if (rig->row->protocol == MER_PROTOCOL_FRAME)
		ck_assert_str_eq(announced, "{\"version\":1}");
	else
		ck_assert_ptr_null(announced);
	act(rig, AT_READY);
	if (!rig->acted || rig->row->when != AT_READY)
		go_on(rig);
}

static void on_output(void *ctx, void *run, const char *bytes, size_t n)
{
	struct rig *rig = ctx;
	ck_assert_ptr_eq(run, rig);
	ck_assert(!rig->in_call && rig->open && n > 0);
	size_t at = rig->n_output;
	if (at == rig->n_same && n <= rig->input_len - at && memcmp(bytes, rig->input + at, n) == 0)
		rig->n_same += n;
	rig->n_output += n;
	mer_buf_add(&rig->text[OUTPUT], bytes, n);
	rig->largest = n > rig->largest ? n : rig->largest;
	rig->pid = mer_worker_pid(rig->worker);
	act(rig, AT_OUTPUT);
	if (rig->on_output != NULL)
		rig->on_output(rig);
}

static void on_log(void *ctx, void *run, const char *bytes, size_t n)
{
	struct rig *rig = ctx;
	ck_assert_ptr_eq(run, rig->open ? rig : NULL);
	ck_assert(!rig->in_call && n > 0 && rig->n_gone == 0);
	rig->n_log++;
	rig->largest = n > rig->largest ? n : rig->largest;
	mer_buf_add(&rig->text[LOG], bytes, n);
	rig->pid = mer_worker_pid(rig->worker);
	act(rig, AT_LOG);
}

static void on_done(void *ctx, void *run, const struct mer_outcome *outcome)
{
	struct rig *rig = ctx;
	ck_assert_ptr_eq(run, rig);
	ck_assert(!rig->in_call && rig->open && rig->n_gone == 0);
	ck_assert_int_eq(outcome->status == MER_OK, outcome->message[0] == '\0');
	rig->open = false;
	rig->n_done++;
	mer_buf_printf(&rig->text[DONE], "%s%s%s|", mer_status_name(outcome->status),
	               outcome->status == MER_OK ? "" : " ", outcome->message);
	act(rig, AT_DONE);
	if (rig->row->when != AT_DONE)
		go_on(rig);
}

static void on_gone(void *ctx, const struct mer_outcome *outcome)
{
	struct rig *rig = ctx;
	ck_assert(!rig->in_call && !rig->open && rig->n_gone == 0);
	rig->n_gone++;
	mer_buf_printf(&rig->text[GONE], "%s%s%s exit=%d signal=%d", mer_status_name(outcome->status),
	               outcome->status == MER_OK ? "" : " ", outcome->message, outcome->exit_code,
	               outcome->signal);
	uv_close((uv_handle_t *)&rig->deadline, NULL);
	if (rig->on_gone != NULL)
		rig->on_gone(rig);
}

static const struct mer_input x = { "x", 1, NULL, 0, false, NULL, NULL };

static const struct mer_worker_events events = {
	.on_ready = on_ready,
	.on_output = on_output,
	.on_log = on_log,
	.on_done = on_done,
	.on_gone = on_gone,
};

static const char *text_of(const struct rig *rig, int which)
{
	return rig->text[which].ptr != NULL ? rig->text[which].ptr : "";
}

static void on_deadline(uv_timer_t *deadline)
{
	struct rig *rig = deadline->data;
	ck_abort_msg("%s: takes too long; output '%.100s', log '%.100s', done '%.100s'", rig->row->name,
	             text_of(rig, OUTPUT), text_of(rig, LOG), text_of(rig, DONE));
}

static char *pattern(size_t n)
{
	char *bytes = malloc(n + 1);
	ck_assert_ptr_nonnull(bytes);
	for (size_t i = 0; i < n; i++)
		bytes[i] = i % 61 == 60 || i == n - 1 ? '\n' : (char)('0' + i * 7 % 73);
	return bytes;
}

static void rig_init(struct rig *rig, const struct row *row)
{
	*rig = (struct rig){ .row = row, .input_len = row->big };
	ck_assert_int_eq(uv_loop_init(&rig->loop), 0);
	ck_assert_int_eq(uv_timer_init(&rig->loop, &rig->deadline), 0);
	rig->deadline.data = rig;
	(void)uv_timer_start(&rig->deadline, on_deadline, DEADLINE_MS, 0);
	for (int i = 0; i < TEXT_COUNT; i++)
		mer_buf_init(&rig->text[i], 1 << 16);
	rig->input = pattern(row->big);
}

static void rig_release(struct rig *rig)
{
	ck_assert_int_eq(uv_loop_close(&rig->loop), 0);
	for (int i = 0; i < TEXT_COUNT; i++)
		mer_buf_release(&rig->text[i]);
	free(rig->input);
}

/* carrier: NULL for the usual one. */
static enum mer_status start_over(struct rig *rig, struct meal_carrier *carrier,
                                  struct mer_error *err)
{
	const struct row *row = rig->row;
	const char *const sh[] = { "/bin/sh", "-c", row->sh, NULL };
	const char *const python[] = { "/usr/bin/python3", "-uISEc", row->python, NULL };
	const char *const env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C", NULL };
	const char *const globs[] = { row->error_line, NULL };
	const struct mer_worker_spec spec = {
		.protocol = row->protocol != MER_PROTOCOL_UNSET ? row->protocol : MER_PROTOCOL_ONCE,
		.guard = guard,
		.argv = row->python != NULL ? python
		        : row->sh != NULL   ? sh
		                            : row->argv,
		.env = env,
		.workdir = row->workdir != NULL ? row->workdir : "/",
		.temp = row->temp != NULL ? row->temp : temp,
		.max_output = row->max_output > 0 ? row->max_output : (int64_t)1 << 30,
		.answer_line = row->line,
		.frame_stdio = row->stdio,
		.error_lines = row->error_line != NULL ? globs : NULL,
	};
	rig->in_call = true;
	enum mer_status st =
		carrier == NULL
			? mer_worker_start(&rig->loop, &spec, &events, rig, &rig->worker, err)
			: meal_worker_start(&rig->loop, carrier, &spec, &events, rig, &rig->worker, err);
	rig->in_call = false;
	return st;
}

/* What comes behind the start: run and go, as the row has it. */
static void set_off(struct rig *rig)
{
	const struct row *row = rig->row;
	act(rig, AT_START);
	bool ended = rig->acted && row->deed != PAUSE && row->deed != NO_GO;
	if (!stays(row) && !ended) {
		const char *input = row->inputs[0] != NULL ? row->inputs[0] : "";
		run(rig, row->big > 0 ? rig->input : input, row->big > 0 ? row->big : strlen(input));
	}
	if (row->deed == NO_GO) {
		end(rig, MER_END_DRAIN, DEADLINE_MS);
		return;
	}
	rig->in_call = true;
	mer_worker_go(rig->worker);
	mer_worker_go(rig->worker);
	rig->in_call = false;
	act(rig, AT_GO);
}

static void live(struct rig *rig)
{
	set_off(rig);
	ck_assert_int_eq(uv_run(&rig->loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(rig->n_gone, 1);
	ck_assert_int_eq(rig->n_done, rig->n_runs);
}

static void live_until(struct rig *rig, const int *count)
{
	while (*count == 0 && rig->n_gone == 0)
		(void)uv_run(&rig->loop, UV_RUN_ONCE);
	ck_assert_msg(rig->n_gone == 0, "%s: %s", rig->row->name, text_of(rig, GONE));
}

static void check(const struct rig *rig)
{
	const struct row *row = rig->row;
	const char *const want[TEXT_COUNT] = {
		[LOG] = row->log, [DONE] = row->done, [GONE] = row->gone
	};
	static const char *const what[TEXT_COUNT] = { "output", "log", "done", "gone" };
	for (int i = LOG; i < TEXT_COUNT; i++)
		ck_assert_msg(want[i] == NULL || fnmatch(want[i], text_of(rig, i), 0) == 0,
		              "%s: %s is\n'%.500s' instead of\n'%s'", row->name, what[i], text_of(rig, i),
		              want[i]);
	if (row->output != NULL)
		ck_assert_msg(strcmp(row->output, text_of(rig, OUTPUT)) == 0,
		              "%s: output is '%.500s' instead of '%s'", row->name, text_of(rig, OUTPUT),
		              row->output);
	if (row->same)
		ck_assert_msg(rig->n_same == row->big && rig->n_output == row->big,
		              "%s: %zu bytes of %zu came back", row->name, rig->n_same, row->big);
	size_t most = rig->row->protocol == MER_PROTOCOL_FRAME ? 262144 : 65536;
	ck_assert_uint_le(rig->largest, most);
}

static const struct row rows[] = {
	/* once */
	{ .name = "success",
	  .sh = "cat; echo said >&2",
	  .inputs = { "some\ninput" },
	  .output = "some\ninput",
	  .log = "said\n",
	  .done = "ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "empty input and output", .argv = { "cat" }, .output = "", .log = "", .done = "ok|" },
	{ .name = "10 MiB both ways", .argv = { "cat" }, .big = 10 * MIB, .same = true, .done = "ok|" },
	{ .name = "does not read its input",
	  .sh = "echo 1",
	  .big = 10 * MIB,
	  .output = "1\n",
	  .done = "ok|" },
	{ .name = "closes its input, then works",
	  .sh = "exec <&-; sleep 0.05; echo 1",
	  .big = 10 * MIB,
	  .output = "1\n",
	  .done = "ok|" },
	{ .name = "exit 3",
	  .sh = "echo part; echo last words >&2; exit 3",
	  .output = "part\n",
	  .done = "model the model ended with exit code 3: last words|",
	  .gone = "model the model ended with exit code 3: last words exit=3 signal=0" },
	{ .name = "exit 3, silent", .sh = "exit 3", .done = "model the model ended with exit code 3|" },
	{ .name = "the last line that says anything",
	  .sh = "printf 'a\\nb\\n \\n\\n' >&2; exit 1",
	  .done = "model the model ended with exit code 1: b|" },
	{ .name = "SIGSEGV",
	  .sh = "kill -SEGV $$",
	  .done = "model the model was killed by SIGSEGV|",
	  .gone = "model * exit=-1 signal=11" },
	{ .name = "a signal without a name",
	  .sh = "kill -40 $$",
	  .done = "model the model was killed by SIGRTMIN+6|" },
	{ .name = "NUL bytes",
	  .sh = "tr '\\1' '\\0' | od -An -c",
	  .inputs = { "\1\1" },
	  .output = "  \\0  \\0\n" },

	/* frame */
	{ .name = "frames",
	  .python = FRAMES("    print('got', data.decode(), flush=True)\n" RESULT),
	  .protocol = MER_PROTOCOL_FRAME,
	  .inputs = { "a", "", "c" },
	  .output = "ac",
	  .log = "got a\ngot \ngot c\n",
	  .done = "ok|ok|ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "frames of 10 MiB both ways",
	  .python = FRAMES(RESULT),
	  .protocol = MER_PROTOCOL_FRAME,
	  .big = 10 * MIB,
	  .same = true,
	  .done = "ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "frames over stdin and stdout",
	  .python = FRAMES(RESULT),
	  .protocol = MER_PROTOCOL_FRAME,
	  .stdio = true,
	  .inputs = { "a", "b" },
	  .output = "ab",
	  .done = "ok|ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "a frame that refuses",
	  .python = FRAMES("    if data == b'a':\n    " REFUSAL "    else:\n    " RESULT),
	  .protocol = MER_PROTOCOL_FRAME,
	  .inputs = { "a", "b" },
	  .output = "b",
	  .done = "input no|ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "a run of frames is cancelled, and the worker takes the next",
	  .python = FRAMES("    os.write(2, b'x')\n"
	                   "    if data == b'b':\n    " RESULT),
	  .protocol = MER_PROTOCOL_FRAME,
	  .inputs = { "a", "b" },
	  .when = AT_LOG,
	  .deed = CANCEL,
	  .grace_ms = DEADLINE_MS,
	  .output = "b",
	  .done = "canceled canceled|ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "a run of frames is cancelled in vain",
	  .python = "import os, time\n" FRAMES("    os.write(2, b'x'); time.sleep(60)\n"),
	  .protocol = MER_PROTOCOL_FRAME,
	  .inputs = { "a" },
	  .when = AT_LOG,
	  .deed = CANCEL,
	  .grace_ms = 50,
	  .done = "canceled canceled|",
	  .gone = "canceled canceled: the model was killed by SIGTERM exit=-1 signal=15" },
	{ .name = "what is no frame",
	  .python = FRAMES("    os.write(fd, b'hello')\n"),
	  .protocol = MER_PROTOCOL_FRAME,
	  .inputs = { "a" },
	  .done = "model the model broke the frame protocol: wrong magic: byte 0 is 0x68, no frame|",
	  .gone = "model the model broke the frame protocol: wrong magic: * exit=0 signal=0" },

	/* not started */
	{ .name = "missing program",
	  .argv = { "/x/y" },
	  .done = "unreachable cannot start '/x/y': No such file or directory|",
	  .gone = "unreachable cannot start '/x/y': No such file or directory exit=-1 signal=0" },
	{ .name = "missing on PATH",
	  .argv = { "no-such-program" },
	  .done = "unreachable cannot start 'no-such-program': No such file or directory|" },
	{ .name = "not executable",
	  .argv = { "/etc/passwd" },
	  .done = "unreachable cannot start '/etc/passwd': Permission denied|" },
	{ .name = "a folder",
	  .argv = { "/tmp" },
	  .done = "unreachable cannot start '/tmp': it is a folder|" },
	{ .name = "bad folder to work in",
	  .argv = { "true" },
	  .workdir = "/no/such",
	  .done = "unreachable cannot enter the folder '/no/such': No such file or directory|" },
	{ .name = "missing program that stays",
	  .argv = { "/x/y" },
	  .protocol = MER_PROTOCOL_TOKEN,
	  .done = "",
	  .gone = "unreachable cannot start '/x/y': No such file or directory exit=-1 signal=0" },

	/* files */
	{ .name = "input and output in files",
	  .sh = "stat -c %a {input}; stat -c %a $(dirname {input}); wc -c; cat {input} > {output}",
	  .inputs = { "through files" },
	  .output = "through files",
	  .log = "600\n700\n0\n",
	  .done = "ok|" },
	{ .name = "10 MiB through files",
	  .sh = "cp {input} {output}",
	  .big = 10 * MIB,
	  .same = true,
	  .done = "ok|" },
	{ .name = "an empty input file", .sh = "wc -c < {input}", .output = "0\n", .done = "ok|" },
	{ .name = "input in a file, output on stdout",
	  .sh = "cat {input}",
	  .inputs = { "x" },
	  .output = "x" },
	{ .name = "inside words",
	  .argv = { "dd", "if={input}", "of={output}", "status=none" },
	  .inputs = { "x" },
	  .output = "x",
	  .done = "ok|" },
	{ .name = "no output file",
	  .sh = "true {output}",
	  .done = "model the model left no output in '*/output': it was not written|" },
	{ .name = "an output that is a pipe",
	  .sh = "mkfifo {output}",
	  .done = "model the model left no output in '*/output': it is not a file|" },
	{ .name = "an output that is a folder with files",
	  .sh = "mkdir {output}; touch {output}/a",
	  .done = "model *: it is not a file|" },
	{ .name = "a failure with an output file",
	  .sh = "echo half > {output}; exit 2",
	  .output = "half\n",
	  .done = "model the model ended with exit code 2|" },
	{ .name = "a failure without one",
	  .sh = "true {output}; exit 2",
	  .done = "model the model ended with exit code 2|" },
	{ .name = "no folder for its files",
	  .argv = { "cat", "{input}" },
	  .temp = "/no/such",
	  .done = "unreachable cannot make the folder '/no/such/mer-*': No such file or "
	          "directory|" },
	{ .name = "killed while its input file is written",
	  .sh = "cp {input} {output}",
	  .big = 10 * MIB,
	  .when = AT_GO,
	  .deed = KILL,
	  .done = "canceled *|" },

	/* what is left behind */
	{ .name = "a child that holds the pipes",
	  .sh = "sleep 60 & echo 1",
	  .output = "1\n",
	  .done = "ok|" },
	{ .name = "a grandchild in a session of its own",
	  .sh = "setsid sh -c 'sleep 60; echo 2' & echo 1",
	  .output = "1\n",
	  .done = "ok|" },

	/* limits */
	{ .name = "64 MiB on stdout",
	  .sh = "head -c 67108864 /dev/zero",
	  .max_output = 64 * MIB,
	  .done = "ok|" },
	{ .name = "64 MiB on stderr", .sh = "head -c 67108864 /dev/zero >&2", .done = "ok|" },
	{ .name = "one byte over its limit",
	  .sh = "printf 12345; sleep 60",
	  .max_output = 4,
	  .output = "1234",
	  .done = "limit the output is over 4 bytes|",
	  .gone = "limit the output is over 4 bytes exit=-1 signal=9" },
	{ .name = "at its limit",
	  .sh = "printf 1234",
	  .max_output = 4,
	  .output = "1234",
	  .done = "ok|" },
	{ .name = "endless output", .argv = { "yes" }, .max_output = MIB, .done = "limit *|" },
	{ .name = "an endless answer",
	  .sh = READY ANSWER("yes"),
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "x" },
	  .max_output = MIB,
	  .done = "limit *|",
	  .gone = "limit *" },

	/* ends */
	{ .name = "end before go",
	  .argv = { "echo" },
	  .when = AT_START,
	  .deed = KILL,
	  .done = "",
	  .gone = "canceled canceled before the model was started exit=-1 signal=0" },
	{ .name = "drain instead of go",
	  .argv = { "echo" },
	  .when = AT_START,
	  .deed = NO_GO,
	  .output = "",
	  .done = "canceled canceled before the model was started|" },
	{ .name = "term at once",
	  .sh = "sleep 60",
	  .when = AT_GO,
	  .deed = TERM,
	  .grace_ms = 60000,
	  .done = "canceled canceled: the model was killed by SIGTERM|" },
	{ .name = "cancel in the middle",
	  .sh = "echo 1; sleep 60",
	  .when = AT_OUTPUT,
	  .deed = TERM,
	  .grace_ms = 60000,
	  .output = "1\n",
	  .done = "canceled canceled: the model was killed by SIGTERM|",
	  .gone = "canceled * exit=-1 signal=15" },
	{ .name = "cancel one that catches it",
	  .sh = "trap 'exit 0' TERM; echo 1; while :; do sleep 0.01; done",
	  .when = AT_OUTPUT,
	  .deed = TERM,
	  .grace_ms = 60000,
	  .done = "canceled canceled: the model ended with exit code 0|" },
	{ .name = "cancel one that ignores it",
	  .sh = "trap '' TERM; echo 1; while :; do sleep 1; done",
	  .when = AT_OUTPUT,
	  .deed = TERM,
	  .grace_ms = 20,
	  .done = "canceled canceled: the model was killed by SIGKILL|" },
	{ .name = "drain one that goes on",
	  .sh = "trap '' TERM; echo 1; while :; do sleep 1; done",
	  .when = AT_OUTPUT,
	  .deed = DRAIN,
	  .grace_ms = 20,
	  .done = "canceled canceled: the model was killed by SIGKILL|" },
	{ .name = "drain one that is about to end",
	  .sh = "echo 1; sleep 0.05; echo 2",
	  .when = AT_OUTPUT,
	  .deed = DRAIN,
	  .grace_ms = 60000,
	  .output = "1\n2\n",
	  .done = "ok|" },
	{ .name = "cancel one that is held by its pipe",
	  .argv = { "yes" },
	  .when = AT_START,
	  .deed = PAUSE,
	  .output = "",
	  .done = "canceled canceled: the model was killed by SIGTERM|" },
	{ .name = "the supervisor is killed",
	  .sh = "echo 1; exec sleep 60",
	  .when = AT_OUTPUT,
	  .deed = KILL_GUARD,
	  .output = "1\n",
	  .done = "model the supervisor of '/bin/sh' was killed by SIGKILL|" },
	{ .name = "the supervisor is killed, with files",
	  .sh = "mkdir {output}.d; touch {output}.d/x; echo 1; exec sleep 60",
	  .when = AT_LOG,
	  .deed = KILL_GUARD,
	  .done = "model the supervisor of '/bin/sh' was killed by SIGKILL|" },

	/* token */
	{ .name = "three runs",
	  .sh = "answer() { " ANSWER("echo got $in") "; }\n" LEAVE TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "a", "b\n", "c" },
	  .output = "got a\ngot b\ngot c\n",
	  .done = "ok|ok|ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "the usual loop in Python",
	  .python = "import sys\n"
	            "print('@!#READY#!@')\n"
	            "for line in sys.stdin:\n"
	            "  if line[:3] != '@!#': print('@!#START#!@', line + '@!#STOP#!@', sep='\\n')\n"
	            "  elif 'EXIT' in line: sys.exit(0)\n",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "a", "b" },
	  .output = "a\nb\n",
	  .done = "ok|ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "10 MiB both ways, in lines",
	  .python = "import sys\n"
	            "r = sys.stdin.buffer; w = sys.stdout.buffer\n"
	            "w.write(b'@!#READY#!@\\n'); w.flush()\n"
	            "for line in r:\n"
	            "  if b'EXIT' in line: break\n"
	            "  w.write(line)\n"
	            "  if b'STOP' in line: w.flush()\n",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .big = 10 * MIB,
	  .same = true,
	  .done = "ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "answers before it has read",
	  .python = "import sys\n"
	            "r = sys.stdin.buffer; w = sys.stdout.buffer\n"
	            "w.write(b'@!#READY#!@\\n'); w.flush()\n"
	            "for line in r:\n"
	            "  if b'START' in line: w.write(b'@!#START#!@\\n1\\n@!#STOP#!@\\n'); w.flush()\n"
	            "  elif line == b'last\\n': print('saw it', file=sys.stderr)\n",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .big = 10 * MIB,
	  .inputs = { "", "last" },
	  .log = "saw it\n",
	  .done = "ok|ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "bare lines",
	  .sh = "answer() { echo got $in; }\n" LEAVE TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .line = true,
	  .inputs = { "a", "b" },
	  .output = "got a\ngot b\n",
	  .done = "ok|ok|" },
	{ .name = "stray lines",
	  .sh = "echo loading; answer() { echo hm; " ANSWER("echo $in") "; echo bye; }\n" LEAVE TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "a", "b" },
	  .output = "a\nb\n",
	  .log = "loading\nhm\nbye\nhm\nbye\n",
	  .done = "ok|ok|" },
	{ .name = "refused inputs",
	  .sh = "answer() { case $in in bad*) echo \"ERR $in\" >&2 ;; *) " ANSWER(
		  "echo $in") " ;; esac; }\n" LEAVE TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .error_line = "ERR*",
	  .inputs = { "bad 1", "bad 2", "good" },
	  .output = "good\n",
	  .done = "model ERR bad 1|model ERR bad 2|ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "refused inputs of bare lines",
	  .sh = "answer() { case $in in bad*) echo \"ERR $in\" >&2 ;; *) echo $in ;; esac; }\n" LEAVE
	      TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .line = true,
	  .error_line = "ERR*",
	  .inputs = { "good 1", "bad", "good 2" },
	  .output = "good 1\ngood 2\n",
	  .done = "ok|model ERR bad|ok|" },
	{ .name = "an answer that comes late is not of the next run",
	  .sh = "answer() { case $in in a) echo 'ERR but' >&2; sleep 0.1; esac; " ANSWER(
		  "echo got $in") "; }\n" LEAVE TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .error_line = "ERR*",
	  .inputs = { "a", "b", "c" },
	  .output = "got b\ngot c\n",
	  .log = "ERR but\ngot a\n",
	  .done = "model ERR but|ok|ok|" },
	{ .name = "a bare line that comes late is not of the next run",
	  .sh = "answer() { case $in in a) echo 'ERR but' >&2; sleep 0.1; esac; echo got $in; }\n" LEAVE
	      TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .line = true,
	  .error_line = "ERR*",
	  .inputs = { "a", "b", "c" },
	  .output = "got b\ngot c\n",
	  .done = "model ERR but|ok|ok|" },
	{ .name = "an error line just before its answer fails that run and no other",
	  .sh = "answer() { case $in in a) echo 'ERR a' >&2; esac; " ANSWER(
		  "echo got $in") "; }\n" LEAVE TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .error_line = "ERR*",
	  .inputs = { "b", "a", "b" },
	  .done = "ok|model ERR a|ok|" },
	{ .name = "dies before ready",
	  .sh = "echo last stderr line >&2; exit 3",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .done = "",
	  .gone = "unreachable the model ended with exit code 3 before it was ready: last stderr line "
	          "exit=3 signal=0" },
	{ .name = "ends before ready",
	  .sh = "echo 'no token'",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .log = "no token\n",
	  .gone = "unreachable the model ended with exit code 0 before it was ready exit=0 signal=0" },
	{ .name = "never ready, ends by TERM",
	  .sh = "echo x; sleep 60",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .when = AT_LOG,
	  .deed = TERM,
	  .grace_ms = 60000,
	  .gone = "canceled canceled: the model was killed by SIGTERM exit=-1 signal=15" },
	{ .name = "never ready, ignores TERM",
	  .sh = "trap '' TERM; echo x; while :; do sleep 1; done",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .when = AT_LOG,
	  .deed = TERM,
	  .grace_ms = 20,
	  .gone = "canceled canceled: the model was killed by SIGKILL exit=-1 signal=9" },
	{ .name = "dies in the middle of its answer",
	  .sh = READY "read x; echo '@!#START#!@'; echo 1; kill -SEGV $$",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "x" },
	  .when = AT_DONE,
	  .output = "1\n",
	  .done = "model the model was killed by SIGSEGV in the middle of its answer|",
	  .gone = "model * exit=-1 signal=11" },
	{ .name = "ends without an answer",
	  .sh = READY "read x; exit 0",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "x" },
	  .when = AT_DONE,
	  .done = "model the model ended with exit code 0 before it had answered|" },
	{ .name = "a last stop token without its newline",
	  .sh = READY "read x; printf '@!#START#!@\\n1\\n@!#STOP#!@'",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "x" },
	  .when = AT_DONE,
	  .output = "1\n",
	  .done = "ok|",
	  .gone = "model the model ended with exit code 0 between runs exit=0 signal=0" },
	{ .name = "ends between runs",
	  .sh = READY "read x; " ANSWER("echo 1") "; echo why >&2; exit 4",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "x" },
	  .when = AT_DONE,
	  .done = "ok|",
	  .gone = "model the model ended with exit code 4 between runs: why exit=4 signal=0" },
	{ .name = "closes its stdout, with a run",
	  .sh = READY "read x; exec >&-; sleep 60",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "x" },
	  .when = AT_DONE,
	  .done = "model the model was killed by SIGTERM before it had answered|" },
	{ .name = "does not know the exit token",
	  .sh = "answer() { " ANSWER("echo 1") "; }; leave() { :; }\n" TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "a" },
	  .done = "ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "drain in the middle of an answer",
	  .sh = "answer() { " ANSWER("echo 1; sleep 0.05; echo 2") "; }\n" LEAVE TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "a" },
	  .when = AT_OUTPUT,
	  .deed = DRAIN,
	  .grace_ms = 60000,
	  .output = "1\n2\n",
	  .done = "ok|",
	  .gone = "ok exit=0 signal=0" },
	{ .name = "drain does not wait for ever",
	  .sh = "trap '' TERM\n" READY "while :; do sleep 1; done",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .when = AT_READY,
	  .deed = DRAIN,
	  .grace_ms = 20,
	  .gone = "ok exit=-1 signal=9" },
	{ .name = "drain before it is ready",
	  .sh = "echo loading; cat >&2; exit 3",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .when = AT_LOG,
	  .deed = DRAIN,
	  .grace_ms = 60000,
	  .log = "loading\n@!#EXIT#!@\n",
	  .gone = "canceled canceled: the model ended with exit code 3 exit=3 signal=0" },
	{ .name = "cancel in the middle of an answer",
	  .sh = READY ANSWER("echo 1; sleep 60"),
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "a" },
	  .when = AT_OUTPUT,
	  .deed = TERM,
	  .grace_ms = 60000,
	  .output = "1\n",
	  .done = "canceled canceled: the model was killed by SIGTERM|" },
	{ .name = "the supervisor of one that stays is killed",
	  .sh = READY "echo x >&2; exec sleep 60",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .inputs = { "x" },
	  .when = AT_LOG,
	  .deed = KILL_GUARD,
	  .done = "model the supervisor of '/bin/sh' was killed by SIGKILL|" },
};

/* One that is paused for good is canceled after a while. */
static void on_held(uv_timer_t *timer)
{
	end(timer->data, MER_END_TERM, DEADLINE_MS);
	uv_close((uv_handle_t *)timer, NULL);
}

START_TEST(keeps_its_word)
{
	const struct row *row = &rows[_i];
	struct rig rig;
	struct mer_error err = { 0 };
	uv_timer_t held;
	rig_init(&rig, row);
	ck_assert_msg(start_over(&rig, NULL, &err) == MER_OK, "%s: %s", row->name, err.message);
	if (row->deed == PAUSE) {
		(void)uv_timer_init(&rig.loop, &held);
		held.data = &rig;
		(void)uv_timer_start(&held, on_held, 50, 0);
	}
	live(&rig);
	check(&rig);
	rig_release(&rig);
}
END_TEST

/* --- back-pressure -------------------------------------------------------------------------- */

#define HELD_BYTES (2 * MIB)

static const struct row held_rows[] = {
	{ .name = "once", .argv = { "cat" }, .big = HELD_BYTES, .same = true, .done = "ok|" },
	{ .name = "through files",
	  .sh = "cp {input} {output}",
	  .big = HELD_BYTES,
	  .same = true,
	  .done = "ok|" },
	{ .name = "token",
	  .python = "import sys\n"
	            "r = sys.stdin.buffer; w = sys.stdout.buffer\n"
	            "w.write(b'@!#READY#!@\\n'); w.flush()\n"
	            "for line in r:\n"
	            "  if b'EXIT' in line: break\n"
	            "  w.write(line)\n"
	            "  if b'STOP' in line: w.flush()\n",
	  .protocol = MER_PROTOCOL_TOKEN,
	  .big = HELD_BYTES,
	  .same = true,
	  .done = "ok|" },
};

static uv_timer_t reader;
static bool reader_busy;

static void on_read(uv_timer_t *timer)
{
	struct rig *rig = timer->data;
	reader_busy = false;
	rig->in_call = true;
	mer_worker_pause(rig->worker, false);
	rig->in_call = false;
}

static void on_output_of_slow_reader(struct rig *rig)
{
	ck_assert_msg(!reader_busy, "%s: output while paused", rig->row->name);
	reader_busy = true;
	rig->in_call = true;
	mer_worker_pause(rig->worker, true);
	rig->in_call = false;
	(void)uv_timer_start(&reader, on_read, rig->n_output % 3, 0);
}

static void on_gone_of_slow_reader(struct rig *rig)
{
	(void)rig;
	uv_close((uv_handle_t *)&reader, NULL);
}

START_TEST(waits_for_a_slow_reader)
{
	struct rig rig;
	rig_init(&rig, &held_rows[_i]);
	(void)uv_timer_init(&rig.loop, &reader);
	reader.data = &rig;
	rig.on_output = on_output_of_slow_reader;
	rig.on_gone = on_gone_of_slow_reader;
	ck_assert_int_eq(start_over(&rig, NULL, NULL), MER_OK);
	live(&rig);
	check(&rig);
	rig_release(&rig);
}
END_TEST

/* A model that writes is held by its pipe: what it can write beside what was taken is bounded. */
START_TEST(holds_a_model_by_its_pipe)
{
	static const struct row row = {
		.name = "held",
		.sh = "head -c 1000000 /dev/zero; echo written >&2",
		.when = AT_START,
		.deed = PAUSE,
		.output = "",
		.log = "",
	};
	struct rig rig;
	uv_timer_t held;
	rig_init(&rig, &row);
	ck_assert_int_eq(start_over(&rig, NULL, NULL), MER_OK);
	(void)uv_timer_init(&rig.loop, &held);
	held.data = &rig;
	(void)uv_timer_start(&held, on_held, 200, 0);
	live(&rig);
	check(&rig);
	rig_release(&rig);
}
END_TEST

/* --- starts --------------------------------------------------------------------------------- */

static const struct {
	const char *guard; /* NULL: the real one */
	const char *first; /* word of argv */
	enum mer_protocol protocol;
	const char *stop_token;
	enum mer_status want;
	const char *message;
} starts[] = {
	{ NULL, "true", MER_PROTOCOL_ONCE, NULL, MER_OK, "" },
	{ NULL, NULL, MER_PROTOCOL_ONCE, NULL, MER_EINPUT, "the command has no words" },
	{ NULL, "", MER_PROTOCOL_ONCE, NULL, MER_EINPUT, "the command has no words" },
	{ NULL, "true", MER_PROTOCOL_UNSET, NULL, MER_EINPUT, "no such protocol: unset" },
	{ NULL, "true", MER_PROTOCOL_FRAME, NULL, MER_OK, "" },
	{ NULL, "{input}", MER_PROTOCOL_FRAME, NULL, MER_EINPUT,
	  "a worker that stays has no file for its runs: '{input}'" },
	{ NULL, "true", MER_PROTOCOL_TOKEN, MER_TOKEN_START, MER_EINPUT,
	  "the start token and the stop token are both '@!#START#!@'" },
	{ "/no/guard", "true", MER_PROTOCOL_ONCE, NULL, MER_EUNREACHABLE,
	  "cannot start the supervisor '/no/guard': No such file or directory" },
	{ "/etc/passwd", "true", MER_PROTOCOL_ONCE, NULL, MER_EUNREACHABLE,
	  "cannot start the supervisor '/etc/passwd': Permission denied" },
};

START_TEST(refuses_to_start)
{
	const char *const argv[] = { starts[_i].first, NULL }, *const env[] = { NULL };
	const struct mer_worker_spec spec = {
		.protocol = starts[_i].protocol,
		.guard = starts[_i].guard != NULL ? starts[_i].guard : guard,
		.argv = argv,
		.env = env,
		.stop_token = starts[_i].stop_token,
	};
	static const struct row row = { .name = "start" };
	struct rig rig;
	struct mer_error err = { 0 };
	rig_init(&rig, &row);
	enum mer_status st = mer_worker_start(&rig.loop, &spec, &events, &rig, &rig.worker, &err);
	ck_assert_msg(st == starts[_i].want && strcmp(err.message, starts[_i].message) == 0,
	              "row %d: status %d, '%s'", _i, (int)st, err.message);
	if (st == MER_OK)
		end(&rig, MER_END_KILL, 0);
	else
		uv_close((uv_handle_t *)&rig.deadline, NULL);
	ck_assert_int_eq(uv_run(&rig.loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(rig.n_gone, st == MER_OK);
	rig_release(&rig);
}
END_TEST

/* A program in the place of the supervisor, and one that takes no orders. */
static const struct row strange_guards[] = {
	{ .name = "/bin/true", .done = "unreachable the supervisor of 'true' ended with exit code 0|" },
	{ .name = "/bin/false",
	  .done = "unreachable the supervisor of 'true' ended with exit code 1|" },
	{ .name = "/bin/cat",
	  .done = "unreachable the supervisor of 'true' ended with exit code 1|",
	  .log = "*cat: invalid option*" },
};

START_TEST(survives_a_strange_supervisor)
{
	struct row row = strange_guards[_i];
	struct rig rig;
	row.argv[0] = "true";
	guard = row.name;
	rig_init(&rig, &row);
	ck_assert_int_eq(start_over(&rig, NULL, NULL), MER_OK);
	live(&rig);
	check(&rig);
	rig_release(&rig);
}
END_TEST

/* With each possible number of free descriptors: it works, or says why not. */
START_TEST(runs_out_of_descriptors)
{
	static const struct row row = { .name = "EMFILE", .argv = { "cat" }, .inputs = { "x" } };
	struct rlimit old;
	bool worked = false;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (rlim_t extra = 3; extra < 14; extra++) {
		struct rig rig;
		struct mer_error err = { 0 };
		rig_init(&rig, &row);
		struct rlimit low = { .rlim_cur = (rlim_t)dup(0) + extra, .rlim_max = old.rlim_max };
		ck_assert_int_eq(close((int)(low.rlim_cur - extra)), 0);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
		enum mer_status st = start_over(&rig, NULL, &err);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
		if (st == MER_OK) {
			live(&rig);
			ck_assert_str_eq(text_of(&rig, OUTPUT), "x");
			worked = true;
		} else {
			ck_assert_int_eq(st, MER_EUNREACHABLE);
			ck_assert_str_eq(err.message, "cannot start 'cat': Too many open files");
			ck_assert(!worked);
			uv_close((uv_handle_t *)&rig.deadline, NULL);
			ck_assert_int_eq(uv_run(&rig.loop, UV_RUN_DEFAULT), 0);
		}
		rig_release(&rig);
		check_nothing_left();
	}
	ck_assert(worked);
}
END_TEST

/* The disk of the input file is full: a limit on the size of files stands for it. */
START_TEST(says_that_a_disk_is_full)
{
	static const struct row row = {
		.name = "full disk",
		.argv = { "cat", "{input}" },
		.big = 2 * MIB,
		.output = "",
		.done = "unreachable cannot write '*/input': File too large|",
	};
	struct rig rig;
	struct rlimit limit;
	rig_init(&rig, &row);
	(void)signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = MIB;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(start_over(&rig, NULL, NULL), MER_OK);
	live(&rig);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	check(&rig);
	rig_release(&rig);
}
END_TEST

START_TEST(says_that_an_argument_is_too_long)
{
	struct row row = { .name = "E2BIG", .argv = { "true" } };
	struct rig rig;
	struct mer_error err = { 0 };
	size_t len = 200 * MIB / 1024;
	char *word = pattern(len);
	word[len] = '\0';
	row.argv[1] = word;
	rig_init(&rig, &row);
	ck_assert_int_eq(start_over(&rig, NULL, &err), MER_EUNREACHABLE);
	ck_assert_str_eq(err.message, "cannot start 'true': Argument list too long");
	uv_close((uv_handle_t *)&rig.deadline, NULL);
	ck_assert_int_eq(uv_run(&rig.loop, UV_RUN_DEFAULT), 0);
	rig_release(&rig);
	free(word);
}
END_TEST

/* The supervisor gets its descriptors also from a program that has closed its own. */
START_TEST(works_with_closed_stdio)
{
	static const struct row row = { .name = "closed", .sh = "cat; echo y >&2", .inputs = { "x" } };
	struct rig rig;
	int saved[3];
	rig_init(&rig, &row); /* libuv itself keeps away from these */
	for (int i = 0; i < 3; i++) {
		saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 50);
		ck_assert_int_eq(close(i), 0);
	}
	enum mer_status st = start_over(&rig, NULL, NULL);
	if (st == MER_OK)
		live(&rig);
	for (int i = 0; i < 3; i++) {
		(void)dup2(saved[i], i);
		(void)close(saved[i]);
	}
	ck_assert_int_eq(st, MER_OK);
	ck_assert_str_eq(text_of(&rig, OUTPUT), "x");
	ck_assert_str_eq(text_of(&rig, LOG), "y\n");
	rig_release(&rig);
}
END_TEST

/* Programs that are files of the test's. */
static const struct {
	const char *text;
	mode_t mode;
	const char *want; /* glob over what keeps it from starting; NULL: nothing */
} programs[] = {
	{ "#!/bin/sh\necho x", 0755, NULL },
	{ "#! /bin/sh -e\n", 0755, NULL },
	{ "#!/no/interpreter -x\n", 0755,
	  "cannot start '*/program': its interpreter '/no/interpreter': No such file or directory" },
	{ "echo x", 0755, "'*/program' is not a program (no '#!' line[?])" },
	{ "", 0755, "'*/program' is not a program (no '#!' line[?])" },
	{ "#!/bin/sh\n", 0644, "cannot start '*/program': Permission denied" },
};

static void put_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(mer_write_all(fd, path, text, strlen(text), NULL), MER_OK);
	ck_assert_int_eq(close(fd), 0);
}

/* Started, and only looked for; by its path, relative to the working folder, and on PATH. */
START_TEST(explains_why_a_program_does_not_start)
{
	char path[128], search[128];
	bool text = programs[_i].text[0] != '#';
	if (text && access("/proc/sys/fs/binfmt_misc/register", F_OK) == 0)
		return; /* then only exec knows what is a program */
	(void)snprintf(path, sizeof path, "%s/program", temp);
	(void)snprintf(search, sizeof search, "PATH=/no/such:%s", temp);
	put_file(path, programs[_i].text, programs[_i].mode);
	const char *const words[] = { path, "./program", "program" };
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		const char *const argv[] = { words[i], NULL }, *const env[] = { search, NULL };
		const struct mer_worker_spec spec = {
			.protocol = MER_PROTOCOL_ONCE,
			.guard = guard,
			.argv = argv,
			.env = env,
			.workdir = temp,
		};
		static const struct row row = { .name = "program" };
		struct rig rig;
		struct mer_error err = { 0 };
		char glob[600];
		rig_init(&rig, &row);
		ck_assert_int_eq(mer_worker_start(&rig.loop, &spec, &events, &rig, &rig.worker, NULL),
		                 MER_OK);
		live(&rig);
		enum mer_status st = mer_worker_probe(&spec, &err);
		(void)snprintf(glob, sizeof glob, "%s%s|",
		               programs[_i].want != NULL ? "unreachable " : "ok",
		               programs[_i].want != NULL ? "*" : "");
		ck_assert_msg(fnmatch(glob, text_of(&rig, DONE), 0) == 0, "row %d: %s", _i,
		              text_of(&rig, DONE));
		ck_assert_int_eq(st, programs[_i].want != NULL ? MER_EUNREACHABLE : MER_OK);
		if (i == 0 && st != MER_OK)
			ck_assert_msg(fnmatch(programs[_i].want, err.message, 0) == 0, "row %d: '%s'", _i,
			              err.message);
		if (st != MER_OK) {
			(void)snprintf(glob, sizeof glob, "unreachable %s|", err.message);
			ck_assert_str_eq(text_of(&rig, DONE), glob);
		}
		rig_release(&rig);
	}
	ck_assert_int_eq(unlink(path), 0);
}
END_TEST

/* --- several things at once ----------------------------------------------------------------- */

static const struct row steady = {
	.name = "steady",
	.sh = "answer() { " ANSWER("echo got $in") "; }\n" LEAVE TOKENS,
	.protocol = MER_PROTOCOL_TOKEN,
	.inputs = { "a", "b" },
	.output = "got a\ngot b\n",
	.done = "ok|ok|",
	.gone = "ok exit=0 signal=0",
};

START_TEST(keeps_workers_apart)
{
	enum { COUNT = 8 };
	struct rig rigs[COUNT];
	for (int i = 0; i < COUNT; i++)
		rig_init(&rigs[i], i % 2 == 0 ? &steady : &rows[0]);
	uv_loop_t *loop = &rigs[0].loop;
	for (int i = 1; i < COUNT; i++) { /* all on the first one's loop */
		uv_close((uv_handle_t *)&rigs[i].deadline, NULL);
		ck_assert_int_eq(uv_run(&rigs[i].loop, UV_RUN_DEFAULT), 0);
		ck_assert_int_eq(uv_loop_close(&rigs[i].loop), 0);
		(void)uv_timer_init(loop, &rigs[i].deadline);
		rigs[i].deadline.data = &rigs[i];
	}
	for (int i = 0; i < COUNT; i++) {
		const struct row *row = rigs[i].row;
		const char *const argv[] = { "/bin/sh", "-c", row->sh, NULL };
		const char *const env[] = { "PATH=/usr/bin:/bin", NULL };
		const struct mer_worker_spec spec = {
			.protocol = i % 2 == 0 ? MER_PROTOCOL_TOKEN : MER_PROTOCOL_ONCE,
			.guard = guard,
			.argv = argv,
			.env = env,
		};
		ck_assert_int_eq(mer_worker_start(loop, &spec, &events, &rigs[i], &rigs[i].worker, NULL),
		                 MER_OK);
		set_off(&rigs[i]);
	}
	ck_assert_int_eq(uv_run(loop, UV_RUN_DEFAULT), 0);
	for (int i = 0; i < COUNT; i++) {
		ck_assert_int_eq(rigs[i].n_gone, 1);
		check(&rigs[i]);
		if (i > 0)
			ck_assert_int_eq(uv_loop_init(&rigs[i].loop), 0);
		rig_release(&rigs[i]);
	}
}
END_TEST

/* An input that is refused leaves the worker as it was. */
START_TEST(refuses_an_input)
{
	struct rig rig;
	struct mer_error err = { 0 };
	const char *const argv[] = { "true", NULL };
	const struct mer_worker_spec spec = { .protocol = MER_PROTOCOL_TOKEN, .argv = argv };
	const struct mer_input stop = { MER_TOKEN_STOP, 10, NULL, 0, false, NULL, NULL };
	rig_init(&rig, &steady);
	ck_assert_int_eq(start_over(&rig, NULL, NULL), MER_OK);
	mer_worker_go(rig.worker);
	rig.n_runs = 2; /* so that its first ready is not followed by a run of the row's */
	rig.acted = true;
	live_until(&rig, &rig.n_ready);
	ck_assert_int_eq(mer_worker_run(rig.worker, &stop, &rig, &err), MER_EINPUT);
	ck_assert_str_eq(err.message, "line 1 of the input is the stop token '@!#STOP#!@'");
	ck_assert_int_eq(mer_worker_check(&spec, &stop, NULL), MER_EINPUT);
	ck_assert_int_eq(
		mer_worker_check(&spec, &(struct mer_input){ "a", 1, NULL, 0, false, NULL, NULL }, NULL),
		MER_OK);
	rig.acted = false;
	rig.n_runs = 0;
	go_on(&rig);
	ck_assert_int_eq(uv_run(&rig.loop, UV_RUN_DEFAULT), 0);
	check(&rig);
	rig_release(&rig);
}
END_TEST

/* A run that is given when the worker has died, at various moments: taken and failed, or refused. */
START_TEST(takes_no_run_for_a_dead_worker)
{
	static const struct row row = {
		.name = "dead",
		.sh = READY "exit 5",
		.protocol = MER_PROTOCOL_TOKEN,
		.when = AT_READY,
	};
	for (int turns = 0; turns < 12; turns++) {
		struct rig rig;
		struct mer_error err = { 0 };
		rig_init(&rig, &row);
		ck_assert_int_eq(start_over(&rig, NULL, NULL), MER_OK);
		mer_worker_go(rig.worker);
		live_until(&rig, &rig.n_ready);
		for (int i = 0; i < turns && rig.n_gone == 0; i++)
			(void)uv_run(&rig.loop, UV_RUN_ONCE);
		rig.open = rig.n_gone == 0 && mer_worker_run(rig.worker, &x, &rig, &err) == MER_OK;
		rig.n_runs = rig.open;
		if (rig.n_gone == 0 && !rig.open)
			ck_assert_int_eq(err.status, MER_EUNREACHABLE);
		ck_assert_int_eq(uv_run(&rig.loop, UV_RUN_DEFAULT), 0);
		ck_assert_int_eq(rig.n_gone, 1);
		ck_assert_int_eq(rig.n_done, rig.n_runs);
		ck_assert_str_eq(text_of(&rig, DONE),
		                 rig.n_runs == 0
		                     ? ""
		                     : "model the model ended with exit code 5 before it had answered|");
		rig_release(&rig);
		check_nothing_left();
	}
}
END_TEST

/* One that has closed its stdout cannot answer any more. */
START_TEST(takes_no_run_for_a_mute_worker)
{
	static const struct row row = {
		.name = "mute",
		.sh = READY "exec >&-; echo x >&2; sleep 60",
		.protocol = MER_PROTOCOL_TOKEN,
		.when = AT_READY,
		.gone = "model the model was killed by SIGTERM between runs: x exit=-1 signal=15",
	};
	struct rig rig;
	struct mer_error err = { 0 };
	rig_init(&rig, &row);
	ck_assert_int_eq(start_over(&rig, NULL, NULL), MER_OK);
	mer_worker_go(rig.worker);
	live_until(&rig, &rig.n_log);
	(void)uv_run(&rig.loop, UV_RUN_NOWAIT);
	ck_assert_int_eq(mer_worker_run(rig.worker, &x, &rig, &err), MER_EUNREACHABLE);
	ck_assert_str_eq(err.message, "the model had ended before this run");
	ck_assert_int_eq(uv_run(&rig.loop, UV_RUN_DEFAULT), 0);
	check(&rig);
	rig_release(&rig);
}
END_TEST

/* mer itself is killed: its worker, what that started, and its files go too. */
START_TEST(leaves_nothing_when_killed)
{
	static const struct row row = {
		.name = "killed",
		.sh = "cat {input}; (setsid sleep 60 &) ; touch {output}; sleep 60",
		.inputs = { "x" },
	};
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct rig rig;
		rig_init(&rig, &row);
		if (start_over(&rig, NULL, NULL) != MER_OK)
			_exit(1);
		set_off(&rig);
		live_until(&rig, &rig.n_log);
		(void)kill(getpid(), SIGKILL);
	}
	int status = 0;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, SIGKILL);
	ck_assert_int_gt(waitpid(-1, &status, 0), 0); /* the supervisor, which is ours now */
}
END_TEST

/* --- each step fails in turn ---------------------------------------------------------------- */

static const struct row fault_rows[] = {
	{ .name = "once", .sh = "cat; echo x >&2", .inputs = { "some input" } },
	{ .name = "files", .sh = "cp {input} {output}", .inputs = { "some input" } },
	{ .name = "token",
	  .sh = "answer() { case $in in b) echo ERR >&2 ;; esac; " ANSWER(
		  "echo $in") "; }\n" LEAVE TOKENS,
	  .protocol = MER_PROTOCOL_TOKEN,
	  .error_line = "ERR",
	  .inputs = { "a", "b", "c" } },
	{ .name = "frame",
	  .python = FRAMES("    if data == b'b': os.write(2, b'x')\n" RESULT),
	  .protocol = MER_PROTOCOL_FRAME,
	  .inputs = { "a", "b", "c" } },
	{ .name = "term",
	  .sh = "echo 1; sleep 60",
	  .when = AT_OUTPUT,
	  .deed = TERM,
	  .grace_ms = 60000 },
};

START_TEST(reports_each_loss_once)
{
	const struct row *row = &fault_rows[_i];
	int64_t steps = 0;
	for (int64_t n = 0; n <= steps + 1; n++) {
		int64_t count = 0;
		struct rig rig;
		struct mer_error err = { 0 };
		rig_init(&rig, row);
		struct meal_carrier *carrier = meal_fault_new(meal_local_new(false), n, &count);
		ck_assert_ptr_nonnull(carrier);
		if (start_over(&rig, carrier, &err) == MER_OK) {
			live(&rig);
		} else {
			ck_assert_str_eq(err.message, "step 1 is made to fail");
			ck_assert_int_eq(n, 1);
			uv_close((uv_handle_t *)&rig.deadline, NULL);
			ck_assert_int_eq(uv_run(&rig.loop, UV_RUN_DEFAULT), 0);
		}
		steps = n == 0 ? count : steps;
		rig_release(&rig);
		check_nothing_left();
	}
	ck_assert_int_gt(steps, 5);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("meal");
	TCase *tc = tcase_create("processes");
	tcase_set_timeout(tc, 2 * DEADLINE_MS / 1000);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, keeps_its_word, 0, N_ROWS(rows));
	tcase_add_loop_test(tc, waits_for_a_slow_reader, 0, N_ROWS(held_rows));
	tcase_add_test(tc, holds_a_model_by_its_pipe);
	tcase_add_loop_test(tc, refuses_to_start, 0, N_ROWS(starts));
	tcase_add_loop_test(tc, survives_a_strange_supervisor, 0, N_ROWS(strange_guards));
	tcase_add_test(tc, runs_out_of_descriptors);
	tcase_add_test(tc, says_that_a_disk_is_full);
	tcase_add_test(tc, says_that_an_argument_is_too_long);
	tcase_add_test(tc, works_with_closed_stdio);
	tcase_add_loop_test(tc, explains_why_a_program_does_not_start, 0, N_ROWS(programs));
	tcase_add_test(tc, keeps_workers_apart);
	tcase_add_test(tc, refuses_an_input);
	tcase_add_test(tc, takes_no_run_for_a_dead_worker);
	tcase_add_test(tc, takes_no_run_for_a_mute_worker);
	tcase_add_test(tc, leaves_nothing_when_killed);
	tcase_add_loop_test(tc, reports_each_loss_once, 0, N_ROWS(fault_rows));
	suite_add_tcase(suite, tc);
	return suite;
}
