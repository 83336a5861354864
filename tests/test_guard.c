/* The contract of src/meal/guard.h, held against the real program, whose path is in MER_GUARD. A
 * worker's descendants all hold its stdout, so end of file there proves that none of them is left.
 * Workers are this program again, as `test_guard as ROLE`. */
#include "../src/meal/guard.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define DEADLINE_MS 30000 /* for any single event */
#define LIFE_MS 60000     /* what escapes from a broken guard ends by itself after this */

static char self[PATH_MAX], program[PATH_MAX]; /* of this test; of the guard */
static char row[128];                          /* for messages */

#define NAME_ROW(...) (void)snprintf(row, sizeof row, __VA_ARGS__)

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* ---- roles of the worker ---- */

static void say(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		_exit(99);
}

static _Noreturn void linger(int ready)
{
	say(ready, ".");
	(void)poll(NULL, 0, LIFE_MS);
	_exit(98);
}

static void grow_nothing(int ready)
{
	say(ready, ".");
}

static void grow_child(int ready)
{
	if (fork() == 0)
		linger(ready);
}

static void grow_session(int ready)
{
	if (fork() == 0) {
		setsid();
		linger(ready);
	}
}

static void grow_daemon(int ready)
{
	pid_t child = fork();
	if (child == 0) {
		setsid();
		if (fork() == 0)
			linger(ready);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void grow_deaf(int ready)
{
	if (fork() == 0) {
		sigset_t all;
		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, NULL);
		for (int sig = 1; sig < NSIG; sig++)
			signal(sig, SIG_IGN);
		setsid();
		linger(ready);
	}
}

static void grow_stopped(int ready)
{
	for (int i = 0; i < 2; i++) {
		pid_t child = fork();
		if (child == 0) {
			signal(SIGHUP, SIG_IGN); /* comes, with SIGCONT, when its group is orphaned */
			if (i == 0)
				setsid();
			else
				setpgid(0, 0);
			raise(SIGSTOP);
			linger(ready);
		}
		waitpid(child, NULL, WUNTRACED);
	}
	say(ready, ".");
}

static void grow_chain(int ready)
{
	for (int depth = 0; depth < 200; depth++) {
		if (fork() != 0) {
			if (depth > 0)
				linger(ready);
			return;
		}
		setsid();
	}
	linger(ready);
}

static void grow_fan(int ready)
{
	pid_t child = fork();
	if (child == 0) {
		for (int i = 0; i < 700; i++) /* their pids fill more than 4096 bytes */
			grow_session(ready);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void grow_reaper(int ready)
{
	if (fork() == 0) {
		setsid();
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		grow_daemon(ready);
		linger(ready);
	}
}

static void *linger_thread(void *ready)
{
	linger(*(int *)ready);
}

/* A process whose first thread has ended looks like a zombie. */
static void grow_headless(int ready)
{
	if (fork() == 0) {
		pthread_t thread;
		setsid();
		if (pthread_create(&thread, NULL, linger_thread, &ready) != 0)
			_exit(99);
		syscall(SYS_exit, 0);
	}
}

/* Processes that always move on: each forks and ends. */
static void grow_hoppers(int ready)
{
	int64_t until_ms = now_ms() + LIFE_MS;
	for (int i = 0; i < 16; i++) {
		if (fork() != 0)
			continue;
		say(ready, ".");
		while (now_ms() < until_ms) {
			if (fork() != 0)
				_exit(0);
			setsid();
		}
		_exit(98);
	}
}

/* A fork bomb of a thousand. */
static void grow_bomb(int ready)
{
	atomic_int *count =
		mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count == MAP_FAILED || fork() != 0)
		return;
	say(ready, ".");
	while (atomic_fetch_add(count, 1) < 1000 && fork() >= 0)
		setsid();
	(void)poll(NULL, 0, LIFE_MS);
	_exit(98);
}

static const struct tree {
	const char *name;
	void (*grow)(int ready);
	int ready; /* how many bytes say that it stands */
} trees[] = {
	{ "nothing", grow_nothing, 1 },  { "child", grow_child, 1 },
	{ "session", grow_session, 1 },  { "daemon", grow_daemon, 1 },
	{ "deaf", grow_deaf, 1 },        { "stopped", grow_stopped, 1 },
	{ "chain", grow_chain, 200 },    { "fan", grow_fan, 700 },
	{ "reaper", grow_reaper, 2 },    { "headless", grow_headless, 1 },
	{ "hoppers", grow_hoppers, 16 }, { "bomb", grow_bomb, 1 },
};

/* Says "up" when its tree stands; ends with 5 when it is given a byte. */
static int be_tree(const struct tree *tree)
{
	int ready[2];
	char byte;
	if (pipe(ready) < 0)
		return 99;
	tree->grow(ready[1]);
	for (int n = 0; n < tree->ready; n++)
		if (read(ready[0], &byte, 1) != 1)
			return 99;
	say(STDOUT_FILENO, "up\n");
	(void)!read(STDIN_FILENO, &byte, 1);
	_exit(5);
}

static void on_signal(int sig)
{
	_exit(sig == SIGTERM ? 3 : 4);
}

static int be_trapping(void)
{
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	return be_tree(&trees[0]);
}

static int be_ignoring(void)
{
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	return be_tree(&trees[0]);
}

/* Ends with 6 when both of two processes of its group were told to end. */
static int be_family(void)
{
	int ready[2], status = 0;
	char byte;
	if (pipe(ready) < 0)
		return 99;
	if (fork() == 0) {
		signal(SIGTERM, on_signal);
		linger(ready[1]);
	}
	signal(SIGTERM, SIG_IGN);
	(void)!read(ready[0], &byte, 1);
	say(STDOUT_FILENO, "up\n");
	wait(&status);
	return WIFEXITED(status) && WEXITSTATUS(status) == 3 ? 6 : 97;
}

static int be_lister(void)
{
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			(void)dprintf(STDOUT_FILENO, "%d ", fd);
	return 0;
}

static int be_placed(void)
{
	bool terminal = open("/dev/tty", O_RDWR) >= 0 || errno != ENXIO;
	(void)dprintf(STDOUT_FILENO, "group %d session %d terminal %d umask %03o",
	              getpgrp() == getpid(), getsid(0) == getppid(), terminal, (unsigned)umask(0));
	return 0;
}

static int be_busy(void)
{
	size_t size = 48U << 20;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 99;
	memset(memory, 1, size);
	while (clock() < CLOCKS_PER_SEC / 20)
		continue;
	return memory[size - 1] - 1;
}

/* Leaves orphans that end, and says "up" when the guard has reaped them. */
static int be_littering(void)
{
	for (int i = 0; i < 20; i++) {
		int orphan[2];
		pid_t pid = 0;
		if (pipe(orphan) < 0)
			return 99;
		pid_t child = fork();
		if (child == 0) {
			pid = fork();
			if (pid != 0)
				(void)!write(orphan[1], &pid, sizeof pid);
			_exit(0);
		}
		waitpid(child, NULL, 0);
		if (read(orphan[0], &pid, sizeof pid) != sizeof pid || pid <= 0)
			return 99;
		close(orphan[0]);
		close(orphan[1]);
		while (kill(pid, 0) == 0)
			sched_yield();
	}
	return be_tree(&trees[0]);
}

/* What it may take: soft and hard limits, and its niceness. */
static int be_limited(void)
{
	static const struct {
		const char *name;
		unsigned resource;
	} shown[] = { { "core", RLIMIT_CORE },
		          { "cpu", RLIMIT_CPU },
		          { "files", RLIMIT_NOFILE },
		          { "size", RLIMIT_FSIZE } };
	for (int i = 0; i < COUNT(shown); i++) {
		struct rlimit limit;
		getrlimit(shown[i].resource, &limit);
		(void)dprintf(STDOUT_FILENO, "%s %lld %lld ", shown[i].name, (long long)limit.rlim_cur,
		              (long long)limit.rlim_max);
	}
	(void)dprintf(STDOUT_FILENO, "nice %d", getpriority(PRIO_PROCESS, 0));
	return 0;
}

/* Forks as often as it may, and tells how often that was. */
static int be_crowd(void)
{
	int n = 0, unused[2];
	if (pipe(unused) < 0)
		return 99;
	for (pid_t child; n < 1000 && (child = fork()) >= 0; n++) {
		setsid();
		if (child == 0)
			linger(unused[1]);
	}
	bool expected = errno == EAGAIN;
	(void)dprintf(STDOUT_FILENO, "%d", n);
	_exit(expected ? 0 : 97); /* a sanitizer would want one more at exit */
}

/* Its own number, that of /proc and its parent's. */
static int be_numbered(void)
{
	char text[16] = "";
	if (readlink("/proc/self", text, sizeof text - 1) < 0)
		return 99;
	(void)dprintf(STDOUT_FILENO, "%d %s %d %d", (int)getpid(), text, (int)getppid(), (int)getuid());
	return 0;
}

static const struct {
	const char *name;
	int (*be)(void);
} roles[] = {
	{ "trapping", be_trapping },   { "ignoring", be_ignoring }, { "family", be_family },
	{ "lister", be_lister },       { "placed", be_placed },     { "busy", be_busy },
	{ "littering", be_littering }, { "limited", be_limited },   { "crowd", be_crowd },
	{ "numbered", be_numbered },
};

static int play(const char *name)
{
	for (int i = 0; i < COUNT(trees); i++)
		if (strcmp(trees[i].name, name) == 0)
			return be_tree(&trees[i]);
	for (int i = 0; i < COUNT(roles); i++)
		if (strcmp(roles[i].name, name) == 0)
			return roles[i].be();
	return 96;
}

/* ---- the rig: a guard with the test in mer's place ---- */

struct plan {
	const char *role;                  /* of this program, or */
	const char *const *argv;           /* any worker, NULL-ended */
	const char *const *env;            /* NULL: the test's own */
	const char *workdir;               /* NULL: none */
	const char *scratch;               /* NULL: one that does not exist yet */
	const char *extra;                 /* -f, as text */
	const char *const *limits;         /* further options, NULL-ended; NULL: none */
	void (*before_exec)(const void *); /* spoils what the guard inherits */
	const void *arg;
	bool same_session, no_scratch;
};

struct rig {
	pid_t guard;
	int control, in, out, err;
	pid_t worker; /* once it is started */
	char dir[32], scratch[64];
};

/* Moves a descriptor out of the way of those that the guard is given. */
static int high(int fd)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, 50);
	ck_assert_int_ge(moved, 0);
	close(fd);
	return moved;
}

static void make_pipe(int ends[2])
{
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ends[0] = high(ends[0]);
	ends[1] = high(ends[1]);
}

static _Noreturn void become_guard(const struct rig *rig, const struct plan *plan)
{
	const char *argv[40] = { "mer-guard" };
	const char *role[] = { self, "as", plan->role, NULL };
	int n = 1;
	if (!plan->no_scratch) {
		argv[n++] = "-s";
		argv[n++] = plan->scratch != NULL ? plan->scratch : rig->scratch;
	}
	if (plan->workdir != NULL) {
		argv[n++] = "-C";
		argv[n++] = plan->workdir;
	}
	if (plan->extra != NULL) {
		argv[n++] = "-f";
		argv[n++] = plan->extra;
	}
	for (const char *const *arg = plan->limits; arg != NULL && *arg != NULL; arg++)
		argv[n++] = *arg;
	argv[n++] = "--";
	for (const char *const *arg = plan->argv != NULL ? plan->argv : role; *arg != NULL; arg++)
		argv[n++] = *arg;
	if (!plan->same_session)
		setsid();
	if (plan->before_exec != NULL)
		plan->before_exec(plan->arg);
	union { /* execve() takes char *const[] for old times' sake */
		const char *const *strings;
		char *const *old;
	} args = { argv }, env = { plan->env };
	execve(program, args.old, plan->env != NULL ? env.old : environ);
	_exit(95);
}

static void launch(struct rig *rig, const struct plan *plan)
{
	int in[2], out[2], err[2], control[2];
	*rig = (struct rig){ .dir = "/tmp/test-guard.XXXXXX" };
	ck_assert_ptr_nonnull(mkdtemp(rig->dir));
	snprintf(rig->scratch, sizeof rig->scratch, "%s/scratch", rig->dir);
	make_pipe(in);
	make_pipe(out);
	make_pipe(err);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
	control[0] = high(control[0]);
	control[1] = high(control[1]);
	rig->guard = fork();
	ck_assert_int_ge(rig->guard, 0);
	if (rig->guard == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		dup2(control[1], MER_GUARD_FD);
		become_guard(rig, plan);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	close(control[1]);
	rig->in = in[1];
	rig->out = out[0];
	rig->err = err[0];
	rig->control = control[0];
}

static void await(int fd, const char *what)
{
	struct pollfd on = { .fd = fd, .events = POLLIN };
	ck_assert_msg(poll(&on, 1, DEADLINE_MS) == 1, "%s: no %s within %d ms", row, what, DEADLINE_MS);
}

static void order(const struct rig *rig, const char *orders)
{
	for (; *orders != '\0'; orders++)
		ck_assert_int_eq(send(rig->control, orders, 1, MSG_NOSIGNAL), 1);
}

/* Returns the next report; its kind is 0 at end of file. */
static struct mer_guard_report hear(const struct rig *rig)
{
	struct mer_guard_report report = { 0 };
	await(rig->control, "report");
	ssize_t n = recv(rig->control, &report, sizeof report, 0);
	ck_assert_msg(n == 0 || n == sizeof report, "%s: a report of %zd bytes: %s", row, n,
	              strerror(errno));
	return report;
}

static struct mer_guard_report expect(const struct rig *rig, enum mer_guard_kind kind, int value)
{
	struct mer_guard_report got = hear(rig);
	ck_assert_msg(got.kind == kind && (value < 0 || got.value == value),
	              "%s: report %u (stage %u) with %d in place of %d with %d", row, got.kind,
	              got.stage, got.value, (int)kind, value);
	return got;
}

static void expect_failure(const struct rig *rig, enum mer_guard_stage stage, int error)
{
	struct mer_guard_report got = expect(rig, MER_GUARD_FAILED, error);
	ck_assert_msg(got.stage == stage, "%s: stage %u in place of %d", row, got.stage, (int)stage);
	expect(rig, MER_GUARD_GONE, 0);
}

static void go(struct rig *rig)
{
	expect(rig, MER_GUARD_READY, 0);
	order(rig, "G");
	rig->worker = expect(rig, MER_GUARD_STARTED, -1).value;
	ck_assert_int_gt(rig->worker, 1);
}

/* Reads to the end of file, at most size - 1 bytes of text. */
static const char *read_all(int fd, char *text, size_t size)
{
	size_t used = 0;
	for (;;) {
		await(fd, "end of file");
		ssize_t n = read(fd, text + used, size - 1 - used);
		ck_assert_int_ge(n, 0);
		used += (size_t)n;
		text[used] = '\0';
		if (n == 0)
			return text;
	}
}

static void await_up(const struct rig *rig)
{
	char text[3];
	for (size_t n = 0; n < sizeof text; n++) {
		await(rig->out, "sign of life");
		ck_assert_int_eq(read(rig->out, text + n, 1), 1);
	}
	ck_assert_mem_eq(text, "up\n", 3);
}

/* The end of file must be there already. */
static void assert_all_gone(const struct rig *rig)
{
	char bytes[256];
	fcntl(rig->out, F_SETFL, O_NONBLOCK);
	ssize_t n;
	while ((n = read(rig->out, bytes, sizeof bytes)) > 0)
		continue;
	ck_assert_msg(n == 0, "%s: a descendant is left", row);
}

static int await_exit(pid_t pid)
{
	int status, fd = pidfd_open(pid, 0);
	ck_assert_int_ge(fd, 0);
	await(fd, "end of the guard");
	close(fd);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_removed(const struct rig *rig)
{
	ck_assert_msg(access(rig->scratch, F_OK) < 0 && errno == ENOENT, "%s: the scratch is left",
	              row);
	ck_assert_msg(rmdir(rig->dir) == 0, "%s: %s: %s", row, rig->dir, strerror(errno));
}

/* Closes mer's end, if it is open, and sees the guard leave as it should. */
static void finish(struct rig *rig)
{
	char text[256];
	if (rig->control >= 0)
		close(rig->control);
	int status = await_exit(rig->guard);
	ck_assert_msg(status == 0, "%s: the guard ended with wait status %#x", row, (unsigned)status);
	assert_all_gone(rig);
	ck_assert_str_eq(read_all(rig->err, text, sizeof text), "");
	assert_removed(rig);
}

/* ---- how it starts and ends ---- */

static const struct {
	const char *script, *out;
	enum mer_guard_kind kind;
	int value;
} scripts[] = {
	{ "exit 0", "", MER_GUARD_EXITED, 0 },
	{ "exit 7", "", MER_GUARD_EXITED, 7 },
	{ "exit 255", "", MER_GUARD_EXITED, 255 },
	{ "echo out; cat", "out\n", MER_GUARD_EXITED, 0 },
	{ "kill -9 $$", "", MER_GUARD_SIGNALED, SIGKILL },
	{ "kill -15 $$", "", MER_GUARD_SIGNALED, SIGTERM },
	{ "ulimit -c 0; kill -11 $$", "", MER_GUARD_SIGNALED, SIGSEGV },
	{ "kill -13 $$", "", MER_GUARD_SIGNALED, SIGPIPE },
	{ "kill -9 0", "", MER_GUARD_SIGNALED, SIGKILL },
};

START_TEST(reports_the_end)
{
	struct rig rig;
	char text[64];
	NAME_ROW("%s", scripts[_i].script);
	launch(&rig,
	       &(struct plan){ .argv = (const char *[]){ "sh", "-c", scripts[_i].script, NULL } });
	go(&rig);
	close(rig.in);
	expect(&rig, scripts[_i].kind, scripts[_i].value);
	expect(&rig, MER_GUARD_GONE, 0);
	ck_assert_str_eq(read_all(rig.out, text, sizeof text), scripts[_i].out);
	finish(&rig);
}
END_TEST

/* Orders sent before the guard can have read any, and the initials of the reports. */
static const struct {
	const char *orders, *reports, *or_reports;
	int signal;
} openings[] = {
	{ "", "R", NULL, 0 },
	{ "xyzTI", "R", NULL, 0 },
	{ "K", "RG", NULL, 0 },
	{ "KG", "RG", NULL, 0 },
	{ "GT", "RSDG", NULL, SIGTERM },
	{ "GI", "RSDG", NULL, SIGINT },
	{ "GGT", "RSDG", NULL, SIGTERM },
	{ "ITGxI", "RSDG", NULL, SIGINT },
	{ "GK", "RSDG", "RDG", SIGKILL },
	{ "GIK", "RSDG", "RDG", -1 },
};

START_TEST(takes_orders_at_once)
{
	static const char initials[] = "-RSFEDG"; /* D: signaled */
	struct rig rig;
	struct mer_guard_report report;
	char got[8] = "";
	NAME_ROW("orders '%s'", openings[_i].orders);
	launch(&rig, &(struct plan){ .argv = (const char *[]){ "cat", NULL } });
	order(&rig, openings[_i].orders);
	for (int n = 0; n < COUNT(got) - 1; n++) {
		report = hear(&rig);
		got[n] = initials[report.kind];
		if (report.kind == MER_GUARD_SIGNALED && openings[_i].signal > 0)
			ck_assert_int_eq(report.value, openings[_i].signal);
		if (report.kind == MER_GUARD_GONE || strcmp(openings[_i].reports, "R") == 0)
			break;
	}
	bool other = openings[_i].or_reports != NULL && strcmp(got, openings[_i].or_reports) == 0;
	ck_assert_msg(other || strcmp(got, openings[_i].reports) == 0, "%s: reports %s", row, got);
	finish(&rig);
}
END_TEST

START_TEST(runs_nothing_before_go)
{
	struct rig rig;
	char text[64];
	NAME_ROW("row %d", _i);
	launch(&rig, &(struct plan){ .argv = (const char *[]){ "sh", "-c", "echo ran", NULL } });
	expect(&rig, MER_GUARD_READY, 0);
	order(&rig, _i == 0 ? "" : "K");
	close(rig.control);
	rig.control = -1;
	ck_assert_str_eq(read_all(rig.out, text, sizeof text), "");
	finish(&rig);
}
END_TEST

/* ---- what cannot be run ---- */

#define LONG_NAME "0123456789012345678901234567890123456789012345678901234567890123456789"

static const struct {
	const char *name, *path, *workdir; /* path: PATH=, or NULL for none */
	enum mer_guard_stage stage;        /* 0: it runs */
	int error;
} programs[] = {
	{ "good", "PATH=bin", NULL, 0, 0 },
	{ "good", "PATH=empty::bin", NULL, 0, 0 },
	{ "good", "PATH=denied:good-file:bin", NULL, 0, 0 },
	{ "good", "PATH=folders:broken:bin", NULL, 0, 0 },
	{ "good", "PATH=", "bin", 0, 0 },
	{ "good", "PATH=empty:", "bin", 0, 0 },
	{ "bin/good", "PATH=", NULL, 0, 0 },
	{ "./good", NULL, "bin", 0, 0 },
	{ "true", NULL, NULL, 0, 0 },
	{ "good", "PATH=empty", NULL, MER_GUARD_STAGE_EXEC, ENOENT },
	{ "good", "PATH=", NULL, MER_GUARD_STAGE_EXEC, ENOENT },
	{ "good", "PATH=good-file", NULL, MER_GUARD_STAGE_EXEC, ENOENT },
	{ "good", NULL, NULL, MER_GUARD_STAGE_EXEC, ENOENT },
	{ "", "PATH=bin", NULL, MER_GUARD_STAGE_EXEC, ENOENT },
	{ "bin/none", NULL, NULL, MER_GUARD_STAGE_EXEC, ENOENT },
	{ "bin/good/none", NULL, NULL, MER_GUARD_STAGE_EXEC, ENOTDIR },
	{ "good", "PATH=denied", NULL, MER_GUARD_STAGE_EXEC, EACCES },
	{ "good", "PATH=denied:empty", NULL, MER_GUARD_STAGE_EXEC, EACCES },
	{ "good", "PATH=empty:denied:broken", NULL, MER_GUARD_STAGE_EXEC, EACCES },
	{ "good", "PATH=broken:denied", NULL, MER_GUARD_STAGE_EXEC, EACCES },
	{ "good", "PATH=folders", NULL, MER_GUARD_STAGE_EXEC, EACCES },
	{ "denied/good", NULL, NULL, MER_GUARD_STAGE_EXEC, EACCES },
	{ "folders/good", NULL, NULL, MER_GUARD_STAGE_EXEC, EACCES },
	{ "text/good", NULL, NULL, MER_GUARD_STAGE_EXEC, ENOEXEC },
	{ "good", "PATH=text:bin", NULL, MER_GUARD_STAGE_EXEC, ENOEXEC },
	{ "good", "PATH=empty:broken", NULL, MER_GUARD_STAGE_INTERPRETER, ENOENT },
	{ "good", "PATH=broken:empty", NULL, MER_GUARD_STAGE_INTERPRETER, ENOENT },
	{ "broken/good", NULL, NULL, MER_GUARD_STAGE_INTERPRETER, ENOENT },
	{ "true", NULL, "none", MER_GUARD_STAGE_CHDIR, ENOENT },
	{ "true", NULL, "good-file", MER_GUARD_STAGE_CHDIR, ENOTDIR },
};

static const struct {
	const char *path, *text; /* NULL: a folder */
	mode_t mode;
} files[] = {
	{ "bin", NULL, 0755 },     { "bin/good", "#!/bin/sh\necho good\n", 0755 },
	{ "good-file", "", 0644 }, { "empty", NULL, 0755 },
	{ "denied", NULL, 0755 },  { "denied/good", "#!/bin/sh\n", 0644 },
	{ "folders", NULL, 0755 }, { "folders/good", NULL, 0755 },
	{ "text", NULL, 0755 },    { "text/good", "echo text\n", 0755 },
	{ "broken", NULL, 0755 },  { "broken/good", "#!/nowhere/sh\n", 0755 },
};

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

START_TEST(finds_its_program)
{
	struct rig rig;
	char text[64], place[] = "/tmp/test-guard.XXXXXX";
	const char *env[] = { programs[_i].path, NULL };
	NAME_ROW("'%s' with %s", programs[_i].name,
	         programs[_i].path != NULL ? programs[_i].path : "no PATH");
	ck_assert(mkdtemp(place) != NULL && chdir(place) == 0);
	for (int i = 0; i < COUNT(files); i++) {
		if (files[i].text != NULL)
			write_file(files[i].path, files[i].text, files[i].mode);
		else
			ck_assert_int_eq(mkdir(files[i].path, files[i].mode), 0);
	}
	launch(&rig, &(struct plan){ .argv = (const char *[]){ programs[_i].name, NULL },
	                             .env = env,
	                             .workdir = programs[_i].workdir });
	if (programs[_i].stage != 0) {
		expect(&rig, MER_GUARD_READY, 0);
		order(&rig, "G");
		expect_failure(&rig, programs[_i].stage, programs[_i].error);
		ck_assert_str_eq(read_all(rig.out, text, sizeof text), "");
	} else {
		go(&rig);
		expect(&rig, MER_GUARD_EXITED, 0);
		expect(&rig, MER_GUARD_GONE, 0);
		bool silent = strcmp(programs[_i].name, "true") == 0;
		ck_assert_str_eq(read_all(rig.out, text, sizeof text), silent ? "" : "good\n");
	}
	finish(&rig);
	for (int i = COUNT(files) - 1; i >= 0; i--)
		ck_assert_int_eq(remove(files[i].path), 0);
	ck_assert_int_eq(rmdir(place), 0);
}
END_TEST

/* ---- adversity that the guard inherits ---- */

static void spoil_signals(const void *unused)
{
	(void)unused;
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_IGN);
}

static void spoil_descriptors(const void *unused)
{
	(void)unused;
	for (int fd = 4; fd < 300; fd += 7)
		dup2(1, fd);
	dup2(1, 60);
}

static void spoil_umask(const void *mask)
{
	umask(*(const mode_t *)mask);
}

#ifndef SYS_fork
#define SYS_fork SYS_clone
#endif

struct denial {
	long call;
	int error;
	long also; /* another name of the call; 0: none */
};

static void deny(const void *arg)
{
	const struct denial *denial = arg;
	unsigned also = (unsigned)(denial->also != 0 ? denial->also : denial->call);
	spoil_descriptors(NULL); /* for close_range */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)denial->call, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, also, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)denial->error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = COUNT(code), .filter = code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		_exit(94);
}

static const struct {
	struct denial denial;
	enum mer_guard_stage stage;
} denials[] = {
	{ { SYS_signalfd4, EMFILE, 0 }, MER_GUARD_STAGE_SETUP },
	{ { SYS_prctl, EINVAL, 0 }, MER_GUARD_STAGE_SETUP },
	{ { SYS_setsid, EPERM, 0 }, MER_GUARD_STAGE_SETUP },
	{ { SYS_pipe2, EMFILE, 0 }, MER_GUARD_STAGE_FORK },
	{ { SYS_clone, EAGAIN, SYS_fork }, MER_GUARD_STAGE_FORK },
};

START_TEST(reports_what_it_cannot_do)
{
	struct rig rig;
	NAME_ROW("without system call %ld", denials[_i].denial.call);
	launch(&rig, &(struct plan){ .role = "nothing",
	                             .before_exec = deny,
	                             .arg = &denials[_i].denial,
	                             .same_session = true });
	if (denials[_i].stage == MER_GUARD_STAGE_FORK) {
		expect(&rig, MER_GUARD_READY, 0);
		order(&rig, "G");
	}
	expect_failure(&rig, denials[_i].stage, denials[_i].denial.error);
	order(&rig, "GTK");
	finish(&rig);
}
END_TEST

static const struct {
	const char *role, *extra, *out;
	void (*spoil)(const void *);
	struct denial denial;
	bool same_session;
} heirs[] = {
	{ "lister", NULL, "0 1 2 ", NULL, { 0 }, false },
	{ "lister", NULL, "0 1 2 ", spoil_descriptors, { 0 }, false },
	{ "lister", "60", "0 1 2 60 ", spoil_descriptors, { 0 }, false },
	{ "lister", "4", "0 1 2 4 ", spoil_descriptors, { 0 }, false },
	{ "lister", "60", "0 1 2 60 ", deny, { SYS_close_range, ENOSYS, 0 }, false },
	{ "placed", NULL, "group 1 session 1 terminal 0 umask 022", NULL, { 0 }, false },
	{ "placed", NULL, "group 1 session 1 terminal 0 umask 022", NULL, { 0 }, true },
	{ "placed", NULL, "group 1 session 1 terminal 0 umask 022", spoil_signals, { 0 }, false },
};

START_TEST(gives_the_worker_its_place)
{
	struct rig rig;
	char text[256];
	umask(022);
	NAME_ROW("row %d, %s", _i, heirs[_i].role);
	launch(&rig, &(struct plan){ .role = heirs[_i].role,
	                             .extra = heirs[_i].extra,
	                             .before_exec = heirs[_i].spoil,
	                             .arg = &heirs[_i].denial,
	                             .same_session = heirs[_i].same_session });
	go(&rig);
	expect(&rig, MER_GUARD_EXITED, 0);
	expect(&rig, MER_GUARD_GONE, 0);
	ck_assert_str_eq(read_all(rig.out, text, sizeof text), heirs[_i].out);
	finish(&rig);
}
END_TEST

START_TEST(gives_the_worker_default_signals)
{
	struct rig rig;
	char text[4096];
	NAME_ROW("cat");
	launch(&rig, &(struct plan){ .argv = (const char *[]){ "cat", "/proc/self/status", NULL },
	                             .before_exec = spoil_signals });
	go(&rig);
	expect(&rig, MER_GUARD_EXITED, 0);
	expect(&rig, MER_GUARD_GONE, 0);
	read_all(rig.out, text, sizeof text);
	ck_assert_ptr_nonnull(strstr(text, "SigBlk:\t0000000000000000\n"));
	const char *ignored = strstr(text, "SigIgn:\t");
	ck_assert_ptr_nonnull(ignored);
	/* C libraries keep 32 to 34 to themselves: nobody can set them. */
	ck_assert_uint_eq(strtoull(ignored + 8, NULL, 16) & ~(7ULL << 31), 0);
	finish(&rig);
}
END_TEST

START_TEST(measures_the_worker)
{
	struct rig rig;
	NAME_ROW("busy");
	launch(&rig, &(struct plan){ .role = "busy", .no_scratch = true });
	go(&rig);
	struct mer_guard_report end = expect(&rig, MER_GUARD_EXITED, 0);
	ck_assert_int_ge(end.cpu_us, 50000);
	ck_assert_int_lt(end.cpu_us, DEADLINE_MS * 1000LL);
	ck_assert_int_ge(end.max_rss_kib, 48 << 10);
	ck_assert_int_lt(end.max_rss_kib, 1 << 20);
	expect(&rig, MER_GUARD_GONE, 0);
	finish(&rig);
}
END_TEST

START_TEST(reaps_orphans_meanwhile)
{
	struct rig rig;
	NAME_ROW("littering");
	launch(&rig, &(struct plan){ .role = "littering" });
	go(&rig);
	await_up(&rig);
	order(&rig, "T");
	expect(&rig, MER_GUARD_SIGNALED, SIGTERM);
	expect(&rig, MER_GUARD_GONE, 0);
	finish(&rig);
}
END_TEST

/* ---- signals to the worker ---- */

static const struct {
	const char *role;
	bool stop; /* the worker, before the orders */
	const char *orders;
	enum mer_guard_kind kind;
	int value;
} talks[] = {
	{ "nothing", false, "T", MER_GUARD_SIGNALED, SIGTERM },
	{ "nothing", false, "I", MER_GUARD_SIGNALED, SIGINT },
	{ "nothing", false, "Gx?T", MER_GUARD_SIGNALED, SIGTERM },
	{ "nothing", false, "K", MER_GUARD_SIGNALED, SIGKILL },
	{ "nothing", true, "T", MER_GUARD_SIGNALED, SIGTERM },
	{ "nothing", true, "K", MER_GUARD_SIGNALED, SIGKILL },
	{ "trapping", false, "T", MER_GUARD_EXITED, 3 },
	{ "trapping", false, "I", MER_GUARD_EXITED, 4 },
	{ "trapping", true, "T", MER_GUARD_EXITED, 3 },
	{ "ignoring", false, "TIK", MER_GUARD_SIGNALED, SIGKILL },
	{ "ignoring", true, "TIK", MER_GUARD_SIGNALED, SIGKILL },
	{ "family", false, "T", MER_GUARD_EXITED, 6 },
	{ "family", true, "T", MER_GUARD_EXITED, 6 },
};

static char state_of(pid_t pid)
{
	char path[32], text[256] = "";
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_gt(read(fd, text, sizeof text - 1), 0);
	close(fd);
	return strrchr(text, ')')[2];
}

START_TEST(passes_signals_on)
{
	struct rig rig;
	NAME_ROW("%s%s, orders '%s'", talks[_i].role, talks[_i].stop ? ", stopped" : "",
	         talks[_i].orders);
	int64_t until_ms = now_ms() + DEADLINE_MS;
	launch(&rig, &(struct plan){ .role = talks[_i].role });
	go(&rig);
	await_up(&rig);
	if (talks[_i].stop)
		ck_assert_int_eq(kill(rig.worker, SIGSTOP), 0);
	while (talks[_i].stop && state_of(rig.worker) != 'T' && now_ms() < until_ms)
		sched_yield();
	order(&rig, talks[_i].orders);
	expect(&rig, talks[_i].kind, talks[_i].value);
	expect(&rig, MER_GUARD_GONE, 0);
	finish(&rig);
}
END_TEST

/* ---- nothing is left: every tree with every ending ---- */

static const struct ending {
	const char *name;
	const char *order;
	int to_guard, to_worker; /* signals */
	bool feed;               /* the worker ends by itself */
	bool close, kill_mer;
	enum mer_guard_kind kind; /* 0: nobody listens */
	int value;
} endings[] = {
	{ .name = "mer closes", .close = true },
	{ .name = "mer is killed", .kill_mer = true },
	{ .name = "order to kill", .order = "K", .kind = MER_GUARD_SIGNALED, .value = SIGKILL },
	{ .name = "worker exits", .feed = true, .kind = MER_GUARD_EXITED, .value = 5 },
	{ .name = "worker is killed",
	  .to_worker = SIGKILL,
	  .kind = MER_GUARD_SIGNALED,
	  .value = SIGKILL },
	{ .name = "SIGTERM", .to_guard = SIGTERM, .kind = MER_GUARD_SIGNALED, .value = SIGKILL },
	{ .name = "SIGINT", .to_guard = SIGINT, .kind = MER_GUARD_SIGNALED, .value = SIGKILL },
	{ .name = "SIGHUP", .to_guard = SIGHUP, .kind = MER_GUARD_SIGNALED, .value = SIGKILL },
};

/* Of the first ones, for what makes no difference to the others. */
enum { ENDINGS_OF_CGROUPS = 3, ENDINGS_ISOLATED = 6 };

/* Hands the test's end to a process that stands for mer, and kills that. */
static void kill_mer(struct rig *rig)
{
	pid_t mer = fork();
	if (mer == 0) {
		(void)poll(NULL, 0, LIFE_MS);
		_exit(98);
	}
	ck_assert_int_gt(mer, 0); /* before anything is killed */
	close(rig->control);
	rig->control = -1;
	kill(mer, SIGKILL);
	waitpid(mer, NULL, 0);
}

static void apply(struct rig *rig, const struct ending *ending)
{
	if (ending->order != NULL)
		order(rig, ending->order);
	if (ending->feed)
		say(rig->in, "x");
	if (ending->to_worker != 0)
		ck_assert_int_eq(kill(rig->worker, ending->to_worker), 0);
	if (ending->to_guard != 0)
		ck_assert_int_eq(kill(rig->guard, ending->to_guard), 0);
	if (ending->kill_mer)
		kill_mer(rig);
	if (ending->close) {
		close(rig->control);
		rig->control = -1;
	}
}

static void leave_nothing(const struct plan *plan, const struct ending *ending)
{
	struct rig rig;
	char result[96];
	launch(&rig, plan);
	go(&rig);
	await_up(&rig);
	snprintf(result, sizeof result, "%s/result", rig.scratch);
	write_file(result, "of the run", 0600);
	apply(&rig, ending);
	if (ending->kind != MER_GUARD_NONE) {
		expect(&rig, ending->kind, ending->value);
		expect(&rig, MER_GUARD_GONE, 0);
		assert_all_gone(&rig);
		if (ending->to_guard == 0)
			ck_assert_int_eq(access(result, R_OK), 0); /* kept for mer until it closes */
		else
			expect(&rig, MER_GUARD_NONE, 0); /* leaves at once */
	}
	finish(&rig);
}

START_TEST(leaves_nothing)
{
	const struct tree *tree = &trees[_i / COUNT(endings)];
	const struct ending *ending = &endings[_i % COUNT(endings)];
	NAME_ROW("%s, %s", tree->name, ending->name);
	leave_nothing(&(struct plan){ .role = tree->name }, ending);
}
END_TEST

/* On a kernel that cannot signal through a folder of /proc. */
START_TEST(leaves_nothing_on_old_kernels)
{
	const struct denial denial = { SYS_pidfd_send_signal, ENOSYS, 0 };
	NAME_ROW("%s", trees[_i].name);
	leave_nothing(&(struct plan){ .role = trees[_i].name, .before_exec = deny, .arg = &denial },
	              &endings[0]);
}
END_TEST

START_TEST(takes_the_worker_along)
{
	struct rig rig;
	char text[8];
	NAME_ROW("row %d", _i);
	launch(&rig, &(struct plan){ .role = _i == 0 ? "nothing" : "ignoring" });
	go(&rig);
	await_up(&rig);
	ck_assert_int_eq(kill(rig.guard, SIGKILL), 0);
	ck_assert_str_eq(read_all(rig.out, text, sizeof text), "");
	expect(&rig, MER_GUARD_NONE, 0);
	ck_assert_int_eq(await_exit(rig.guard), SIGKILL);
	ck_assert_int_eq(rmdir(rig.scratch), 0); /* it could not */
	assert_removed(&rig);
}
END_TEST

/* ---- a namespace of its own ---- */

static const char *const isolated[] = { "-i", NULL };

/* Processes as another user, who may nothing. */
static void become_nobody(const void *arg)
{
	(void)arg;
	if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
		_exit(94);
}

START_TEST(leaves_nothing_isolated)
{
	const struct tree *tree = &trees[_i / ENDINGS_ISOLATED];
	const struct ending *ending = &endings[_i % ENDINGS_ISOLATED];
	NAME_ROW("%s isolated, %s", tree->name, ending->name);
	leave_nothing(&(struct plan){ .role = tree->name, .limits = isolated }, ending);
}
END_TEST

START_TEST(passes_signals_on_isolated)
{
	struct rig rig;
	NAME_ROW("%s isolated, orders '%s'", talks[_i].role, talks[_i].orders);
	launch(&rig, &(struct plan){ .role = talks[_i].role, .limits = isolated });
	go(&rig);
	await_up(&rig);
	if (talks[_i].stop)
		ck_assert_int_eq(kill(rig.worker, SIGSTOP), 0);
	order(&rig, talks[_i].orders);
	expect(&rig, talks[_i].kind, talks[_i].value);
	expect(&rig, MER_GUARD_GONE, 0);
	finish(&rig);
}
END_TEST

/* The guard itself, which is the only child of the process that mer started. */
static pid_t inner_of(pid_t guard)
{
	char path[64], text[32] = "";
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)guard, (int)guard);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_gt(read(fd, text, sizeof text - 1), 0);
	close(fd);
	return (pid_t)strtol(text, NULL, 10);
}

/* Whichever of the two is killed, nothing of any tree is left. */
START_TEST(takes_all_along)
{
	const struct tree *tree = &trees[_i / 2];
	bool inner = _i % 2 == 1;
	struct rig rig;
	char text[4096];
	NAME_ROW("%s, %s is killed", tree->name, inner ? "the guard" : "what stands for it");
	launch(&rig, &(struct plan){ .role = tree->name, .limits = isolated });
	go(&rig);
	await_up(&rig);
	ck_assert_int_eq(kill(inner ? inner_of(rig.guard) : rig.guard, SIGKILL), 0);
	ck_assert_str_eq(read_all(rig.out, text, sizeof text), "");
	while (hear(&rig).kind != MER_GUARD_NONE)
		continue; /* it may have seen the end of the worker */
	ck_assert_int_eq(await_exit(rig.guard), SIGKILL);
	ck_assert_int_eq(rmdir(rig.scratch), 0);
	assert_removed(&rig);
}
END_TEST

/* As root in a pid namespace alone, as anybody else in a user namespace too, where everybody is still
 * who he was. */
START_TEST(numbers_anew)
{
	struct rig rig;
	char text[64], want[64];
	bool root = geteuid() == 0;
	NAME_ROW("row %d", _i);
	if (_i == 1 && !root)
		return;
	launch(&rig, &(struct plan){ .role = "numbered",
	                             .limits = isolated,
	                             .no_scratch = true,
	                             .before_exec = _i == 1 ? become_nobody : NULL });
	go(&rig);
	expect(&rig, MER_GUARD_EXITED, 0);
	expect(&rig, MER_GUARD_GONE, 0);
	unsigned user = _i == 1 ? 65534 : (unsigned)geteuid();
	snprintf(want, sizeof want, "2 %d 1 %u", (int)rig.worker, user);
	ck_assert_str_eq(read_all(rig.out, text, sizeof text), want);
	finish(&rig);
}
END_TEST

START_TEST(says_that_it_cannot_isolate)
{
	const struct denial denial = { SYS_unshare, EPERM, 0 };
	struct rig rig;
	NAME_ROW("no namespaces");
	launch(&rig, &(struct plan){ .role = "nothing",
	                             .limits = isolated,
	                             .before_exec = deny,
	                             .arg = &denial,
	                             .same_session = true });
	expect_failure(&rig, MER_GUARD_STAGE_ISOLATE, EPERM);
	finish(&rig);
}
END_TEST

/* Whether this machine lets us have them. */
static bool has_namespaces(void)
{
	pid_t child = fork();
	int status = 1;
	if (child == 0)
		_exit(unshare(CLONE_NEWPID) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0);
	waitpid(child, &status, 0);
	return status == 0;
}

/* ---- limits ---- */

static void lower_hard_limits(const void *arg)
{
	(void)arg;
	if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, 64 }) < 0 ||
	    setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 1000, 1000 }) < 0)
		_exit(94);
}

static const struct {
	const char *limits[12];
	const char *part; /* of what the worker says */
} limitings[] = {
	{ { NULL }, "core 0 0 cpu -1 -1 files 64 64 size 1000 1000 " },
	{ { "-r", "4=4096", NULL }, " 4096 cpu " },
	{ { "-r", "0=7", NULL }, "cpu 7 8 " },
	{ { "-r", "7=16", "-r", "1=10", NULL }, "files 16 16 size 10 10 " },
	{ { "-r", "7=16", "-r", "7=20", NULL }, "files 20 20 " },
	{ { "-r", "7=1000", "-r", "1=18446744073709551615", NULL }, "files 64 64 size 1000 1000 " },
};

START_TEST(limits_the_worker)
{
	struct rig rig;
	char text[256];
	struct rlimit core;
	NAME_ROW("row %d, %s", _i, limitings[_i].part);
	if (getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max < 4096 && _i == 1)
		return; /* it cannot be given what we have not */
	launch(&rig, &(struct plan){ .role = "limited",
	                             .limits = limitings[_i].limits,
	                             .before_exec = lower_hard_limits });
	go(&rig);
	expect(&rig, MER_GUARD_EXITED, 0);
	expect(&rig, MER_GUARD_GONE, 0);
	read_all(rig.out, text, sizeof text);
	ck_assert_msg(strstr(text, limitings[_i].part) != NULL, "%s: %s", row, text);
	finish(&rig);
}
END_TEST

/* Meeker than the guard, or as it is. */
START_TEST(is_as_nice_as_it_is_told)
{
	struct rig rig;
	char text[256], nice[16], want[32];
	const char *const limits[] = { "-n", nice, NULL };
	int ours = getpriority(PRIO_PROCESS, 0);
	int asked = _i == 0 ? 19 : 1;
	snprintf(nice, sizeof nice, "%d", asked);
	snprintf(want, sizeof want, " nice %d", asked > ours ? asked : ours);
	NAME_ROW("niceness %s from %d", nice, ours);
	launch(&rig, &(struct plan){ .role = "limited", .limits = limits });
	go(&rig);
	expect(&rig, MER_GUARD_EXITED, 0);
	expect(&rig, MER_GUARD_GONE, 0);
	read_all(rig.out, text, sizeof text);
	ck_assert_msg(strstr(text, want) != NULL, "%s: %s", row, text);
	finish(&rig);
}
END_TEST

static const struct {
	const char *limits[8];
	enum mer_guard_stage stage;
	int error;
} hindrances[] = {
	{ { "-r", "999=1", NULL }, MER_GUARD_STAGE_LIMIT, EINVAL },
	{ { "-n", "-5", NULL }, MER_GUARD_STAGE_NICE, EACCES },
	{ { "-g", "/nowhere/here", NULL }, MER_GUARD_STAGE_CGROUP, ENOENT },
	{ { "-g", "/dev", NULL }, MER_GUARD_STAGE_CGROUP, EEXIST },
	{ { "-g", "/proc/here", NULL }, MER_GUARD_STAGE_CGROUP, ENOENT },
};

START_TEST(says_what_it_cannot_limit)
{
	struct rig rig;
	bool nobody = geteuid() == 0 && hindrances[_i].stage == MER_GUARD_STAGE_NICE;
	NAME_ROW("%s %s", hindrances[_i].limits[0], hindrances[_i].limits[1]);
	launch(&rig, &(struct plan){ .role = "nothing",
	                             .limits = hindrances[_i].limits,
	                             .no_scratch = true,
	                             .before_exec = nobody ? become_nobody : NULL });
	if (hindrances[_i].stage != MER_GUARD_STAGE_CGROUP) {
		expect(&rig, MER_GUARD_READY, 0);
		order(&rig, "G");
	}
	expect_failure(&rig, hindrances[_i].stage, hindrances[_i].error);
	finish(&rig);
}
END_TEST

/* In a folder that is no cgroup: what is optional is left out, the rest is missed, nothing is left. */
START_TEST(takes_no_folder_for_a_cgroup)
{
	struct rig rig;
	char place[] = "/tmp/test-guard.XXXXXX", path[64];
	const char *const limits[] = { "-g", path, "-w", _i == 0 ? "?x.max=1" : "x.max=1", NULL };
	NAME_ROW("%s", limits[3]);
	ck_assert_ptr_nonnull(mkdtemp(place));
	snprintf(path, sizeof path, "%s/group", place);
	launch(&rig, &(struct plan){ .role = "nothing", .limits = limits });
	expect_failure(&rig, MER_GUARD_STAGE_CGROUP, ENOENT);
	finish(&rig);
	ck_assert_int_eq(rmdir(place), 0);
}
END_TEST

/* Counted in a user namespace of its own, so it does not matter what else the user runs; root is
 * counted nowhere. */
START_TEST(holds_a_crowd)
{
	static const char *const limits[] = { "-i", "-r", "6=20", NULL };
	struct rig rig;
	char text[16];
	NAME_ROW("crowd");
	launch(&rig, &(struct plan){ .role = "crowd",
	                             .limits = limits,
	                             .no_scratch = true,
	                             .before_exec = geteuid() == 0 ? become_nobody : NULL });
	go(&rig);
	expect(&rig, MER_GUARD_EXITED, 0);
	expect(&rig, MER_GUARD_GONE, 0);
	int n = atoi(read_all(rig.out, text, sizeof text));
	ck_assert_msg(n > 10 && n < 20, "%d forks of 20 processes", n); /* the guard counts too */
	finish(&rig);
}
END_TEST

/* ---- a cgroup ---- */

/* A folder of cgroup v2 in which we may make others, or "". */
static void find_cgroups(char *path, size_t size)
{
	char line[512];
	FILE *file = fopen("/proc/self/mountinfo", "re");
	path[0] = '\0';
	while (file != NULL && path[0] == '\0' && fgets(line, sizeof line, file) != NULL) {
		char mount[256];
		if (strstr(line, " - cgroup2 ") != NULL &&
		    sscanf(line, "%*s %*s %*s %*s %255s", mount) == 1)
			snprintf(path, size, "%s/test-guard-%d", mount, (int)getpid());
	}
	if (file != NULL)
		(void)fclose(file);
	if (path[0] != '\0' && (mkdir(path, 0755) < 0 || rmdir(path) < 0))
		path[0] = '\0';
}

/* The guard's worker and its tree are in the cgroup, the guard is not; all that is left of a tree is
 * killed there, and the cgroup goes. */
START_TEST(leaves_no_cgroup)
{
	const struct tree *tree = &trees[_i / ENDINGS_OF_CGROUPS];
	const struct ending *ending = &endings[_i % ENDINGS_OF_CGROUPS];
	struct plan plan = { .role = tree->name };
	char path[300];
	const char *const limits[] = { "-g", path, "-w", "?pids.max=max", NULL };
	find_cgroups(path, sizeof path);
	NAME_ROW("%s in a cgroup, %s", tree->name, ending->name);
	plan.limits = limits;
	leave_nothing(&plan, ending);
	ck_assert_msg(access(path, F_OK) < 0, "%s: the cgroup is left", row);
}
END_TEST

/* Also where it cannot begin there. */
START_TEST(enters_its_cgroup)
{
	const struct denial denial = { SYS_clone3, ENOSYS, 0 };
	struct rig rig;
	char path[300], text[4096];
	const char *const limits[] = { "-g", path, NULL };
	find_cgroups(path, sizeof path);
	NAME_ROW("cat in a cgroup, row %d", _i);
	launch(&rig, &(struct plan){ .argv = (const char *[]){ "cat", "/proc/self/cgroup", NULL },
	                             .limits = limits,
	                             .before_exec = _i == 1 ? deny : NULL,
	                             .arg = &denial });
	go(&rig);
	expect(&rig, MER_GUARD_EXITED, 0);
	ck_assert_ptr_nonnull(strstr(read_all(rig.out, text, sizeof text), strrchr(path, '/')));
	expect(&rig, MER_GUARD_GONE, 0);
	finish(&rig);
	ck_assert_int_lt(access(path, F_OK), 0);
}
END_TEST

/* ---- the scratch ---- */

START_TEST(makes_a_private_scratch)
{
	static const mode_t masks[] = { 0, 022, 0777 };
	struct rig rig;
	struct stat found;
	NAME_ROW("umask %03o", masks[_i]);
	launch(&rig, &(struct plan){ .role = "placed", .before_exec = spoil_umask, .arg = &masks[_i] });
	expect(&rig, MER_GUARD_READY, 0);
	ck_assert_int_eq(lstat(rig.scratch, &found), 0);
	ck_assert_uint_eq(found.st_mode, S_IFDIR | 0700);
	order(&rig, "G");
	expect(&rig, MER_GUARD_STARTED, -1);
	expect(&rig, MER_GUARD_EXITED, 0);
	expect(&rig, MER_GUARD_GONE, 0);
	char text[64], want[64];
	snprintf(want, sizeof want, "group 1 session 1 terminal 0 umask %03o", masks[_i]);
	ck_assert_str_eq(read_all(rig.out, text, sizeof text), want);
	finish(&rig);
}
END_TEST

static const struct {
	const char *path; /* of a scratch that is there before, or cannot be made */
	mode_t kind;      /* what is made there first */
	int error;
} refusals[] = {
	{ "folder", S_IFDIR, EEXIST },
	{ "file", S_IFREG, EEXIST },
	{ "link", S_IFLNK, EEXIST },
	{ "none/scratch", 0, ENOENT },
};

START_TEST(refuses_a_scratch)
{
	struct rig rig;
	char place[] = "/tmp/test-guard.XXXXXX", path[64];
	struct stat found;
	NAME_ROW("%s", refusals[_i].path);
	ck_assert_ptr_nonnull(mkdtemp(place));
	snprintf(path, sizeof path, "%s/%s", place, refusals[_i].path);
	if (refusals[_i].kind == S_IFDIR)
		ck_assert_int_eq(mkdir(path, 0700), 0);
	if (refusals[_i].kind == S_IFREG)
		write_file(path, "", 0600);
	if (refusals[_i].kind == S_IFLNK)
		ck_assert_int_eq(symlink("nowhere", path), 0);
	launch(&rig, &(struct plan){ .role = "nothing", .scratch = path });
	expect_failure(&rig, MER_GUARD_STAGE_SCRATCH, refusals[_i].error);
	order(&rig, "G");
	finish(&rig);
	if (refusals[_i].kind != 0) {
		ck_assert_int_eq(lstat(path, &found), 0);
		ck_assert_uint_eq(found.st_mode & S_IFMT, refusals[_i].kind);
		ck_assert_int_eq(remove(path), 0);
	}
	ck_assert_int_eq(rmdir(place), 0);
}
END_TEST

/* Run in the scratch; "$1" is a folder outside, which must stay as it is. */
static const char *const fillings[] = {
	"touch a b c .hidden 'a b' \"$(printf 'a\\nb')\"",
	"mkdir -p a/b/c d/e; touch a/1 a/b/2 a/b/c/3 d/e/4",
	"ln -s \"$1\" link; ln -s \"$1/file\" link2; ln -s . loop; mkdir a; "
	"ln -s ../.. a/up; ln -s \"$1\" a/x",
	"mkdir a a/b; touch a/b/c; chmod 0 a/b a; touch f; chmod 0 f",
	"mkfifo fifo; ln \"$1/file\" hard",
	"for i in .mer-guard-0 .mer-guard-1 .mer-guard-2 .mer-guard-3; do "
	"mkdir -p $i/$i; touch $i/$i/x $i/y; done",
	"i=0; while [ $i -lt 300 ]; do mkdir " LONG_NAME "; cd -P " LONG_NAME
	"; : > f; i=$((i+1)); done",
	"i=0; while [ $i -lt 2000 ]; do : > $i; i=$((i+1)); done",
};

START_TEST(empties_its_scratch)
{
	struct rig rig;
	char outside[] = "/tmp/test-guard.XXXXXX", path[64];
	NAME_ROW("%s", fillings[_i]);
	ck_assert_ptr_nonnull(mkdtemp(outside));
	snprintf(path, sizeof path, "%s/file", outside);
	write_file(path, "kept", 0600);
	launch(&rig, &(struct plan){ .argv = (const char *[]){ "sh", "-c",
	                                                       "read dir; cd \"$dir\" && eval \"$0\"",
	                                                       fillings[_i], outside, NULL } });
	go(&rig);
	say(rig.in, rig.scratch);
	say(rig.in, "\n");
	expect(&rig, MER_GUARD_EXITED, 0);
	expect(&rig, MER_GUARD_GONE, 0);
	finish(&rig);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(outside), 0);
}
END_TEST

/* What is in the place of a scratch that was moved away is nobody's business. */
START_TEST(knows_its_scratch)
{
	struct rig rig;
	char outside[] = "/tmp/test-guard.XXXXXX", kept[64], lost[96], moved[64];
	NAME_ROW("moved");
	ck_assert_ptr_nonnull(mkdtemp(outside));
	launch(&rig, &(struct plan){ .role = "nothing" });
	expect(&rig, MER_GUARD_READY, 0);
	snprintf(kept, sizeof kept, "%s/kept", outside);
	snprintf(lost, sizeof lost, "%s/lost", rig.scratch);
	snprintf(moved, sizeof moved, "%s/moved", rig.dir);
	write_file(kept, "", 0600);
	write_file(lost, "", 0600);
	ck_assert_int_eq(rename(rig.scratch, moved), 0);
	ck_assert_int_eq(symlink(outside, rig.scratch), 0);
	close(rig.control);
	ck_assert_int_eq(await_exit(rig.guard), 0);
	ck_assert_int_eq(rmdir(moved), 0);
	ck_assert_int_eq(unlink(rig.scratch), 0);
	assert_removed(&rig);
	ck_assert_int_eq(unlink(kept), 0);
	ck_assert_int_eq(rmdir(outside), 0);
}
END_TEST

/* ---- usage ---- */

static const struct {
	const char *argv[8];
	int close; /* a descriptor that is not there; -1: none */
	const char *problem;
} usages[] = {
	{ { NULL }, -1, "no program" },
	{ { "--", NULL }, -1, "no program" },
	{ { "-s", "/tmp/x", NULL }, -1, "no program" },
	{ { "-x", "--", "true", NULL }, -1, "unknown option" },
	{ { "-C", NULL }, -1, "its argument is missing" },
	{ { "-s", "x", "--", "true", NULL }, -1, "absolute" },
	{ { "-s", "", "--", "true", NULL }, -1, "absolute" },
	{ { "-f", "3", "--", "true", NULL }, -1, "above 3" },
	{ { "-f", "-1", "--", "true", NULL }, -1, "above 3" },
	{ { "-f", "x", "--", "true", NULL }, -1, "above 3" },
	{ { "-f", "", "--", "true", NULL }, -1, "above 3" },
	{ { "-f", "99999999999", "--", "true", NULL }, -1, "above 3" },
	{ { "-f", "999", "--", "true", NULL }, -1, "above 3" },
	{ { "-r", "x", "--", "true", NULL }, -1, "NUMBER=VALUE" },
	{ { "-r", "7", "--", "true", NULL }, -1, "NUMBER=VALUE" },
	{ { "-r", "7=", "--", "true", NULL }, -1, "NUMBER=VALUE" },
	{ { "-r", "7=-1", "--", "true", NULL }, -1, "NUMBER=VALUE" },
	{ { "-r", "7=1x", "--", "true", NULL }, -1, "NUMBER=VALUE" },
	{ { "-r", "7=99999999999999999999", "--", "true", NULL }, -1, "NUMBER=VALUE" },
	{ { "-n", "20", "--", "true", NULL }, -1, "-20 to 19" },
	{ { "-n", "x", "--", "true", NULL }, -1, "-20 to 19" },
	{ { "-g", "x", "--", "true", NULL }, -1, "absolute" },
	{ { "-w", "x", "--", "true", NULL }, -1, "NAME=VALUE" },
	{ { "-w", "../x=1", "--", "true", NULL }, -1, "NAME=VALUE" },
	{ { "-w", "=1", "--", "true", NULL }, -1, "NAME=VALUE" },
	{ { "--", "true", NULL }, 3, "descriptor 3" },
	{ { "--", "true", NULL }, 0, "descriptor 0, 1 or 2" },
	{ { "--", "true", NULL }, 1, "descriptor 0, 1 or 2" },
};

START_TEST(explains_its_usage)
{
	int out[2], err[2], control[2];
	char text[256];
	NAME_ROW("row %d, %s", _i, usages[_i].problem);
	make_pipe(out);
	make_pipe(err);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
	int end = high(control[1]);
	pid_t guard = fork();
	if (guard == 0) {
		char *argv[9] = { (char[]){ "mer-guard" } };
		for (int i = 0; usages[_i].argv[i] != NULL; i++)
			argv[i + 1] = strdup(usages[_i].argv[i]);
		dup2(out[1], 1);
		dup2(err[1], 2);
		dup2(end, MER_GUARD_FD);
		if (usages[_i].close >= 0)
			close(usages[_i].close);
		execv(program, argv);
		_exit(95);
	}
	close(out[1]);
	close(err[1]);
	ck_assert_int_eq(await_exit(guard), 2 << 8);
	ck_assert_str_eq(read_all(out[0], text, sizeof text), "");
	read_all(err[0], text, sizeof text);
	ck_assert_msg(strncmp(text, "mer-guard: ", 11) == 0 &&
	                  strstr(text, usages[_i].problem) != NULL &&
	                  strchr(text, '\n') == text + strlen(text) - 1,
	              "%s: %s", row, text);
}
END_TEST

static TCase *isolation_tcase(void)
{
	TCase *tc = tcase_create("isolation");
	tcase_set_timeout(tc, 120);
	if (!has_namespaces()) {
		(void)printf("# not tested: namespaces, which are not allowed here\n");
		return tc;
	}
	tcase_add_loop_test(tc, leaves_nothing_isolated, 0, COUNT(trees) * ENDINGS_ISOLATED);
	tcase_add_loop_test(tc, passes_signals_on_isolated, 0, COUNT(talks));
	tcase_add_loop_test(tc, takes_all_along, 0, COUNT(trees) * 2);
	tcase_add_loop_test(tc, numbers_anew, 0, 2);
	tcase_add_test(tc, holds_a_crowd);
	return tc;
}

static TCase *cgroup_tcase(void)
{
	char path[300];
	TCase *tc = tcase_create("cgroup");
	tcase_set_timeout(tc, 120);
	find_cgroups(path, sizeof path);
	if (path[0] == '\0') {
		(void)printf("# not tested: cgroups, since we may make none of version 2 here\n");
		return tc;
	}
	tcase_add_loop_test(tc, leaves_no_cgroup, 0, COUNT(trees) * ENDINGS_OF_CGROUPS);
	tcase_add_loop_test(tc, enters_its_cgroup, 0, 2);
	return tc;
}

static Suite *guard_suite(void)
{
	Suite *suite = suite_create("guard");
	TCase *tc = tcase_create("guard");
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, reports_the_end, 0, COUNT(scripts));
	tcase_add_loop_test(tc, takes_orders_at_once, 0, COUNT(openings));
	tcase_add_loop_test(tc, runs_nothing_before_go, 0, 2);
	tcase_add_loop_test(tc, finds_its_program, 0, COUNT(programs));
	tcase_add_loop_test(tc, reports_what_it_cannot_do, 0, COUNT(denials));
	tcase_add_loop_test(tc, gives_the_worker_its_place, 0, COUNT(heirs));
	tcase_add_test(tc, gives_the_worker_default_signals);
	tcase_add_test(tc, measures_the_worker);
	tcase_add_test(tc, reaps_orphans_meanwhile);
	tcase_add_loop_test(tc, passes_signals_on, 0, COUNT(talks));
	tcase_add_loop_test(tc, leaves_nothing, 0, COUNT(trees) * COUNT(endings));
	tcase_add_loop_test(tc, leaves_nothing_on_old_kernels, 0, COUNT(trees));
	tcase_add_loop_test(tc, takes_the_worker_along, 0, 2);
	tcase_add_loop_test(tc, limits_the_worker, 0, COUNT(limitings));
	tcase_add_loop_test(tc, is_as_nice_as_it_is_told, 0, 2);
	tcase_add_loop_test(tc, says_what_it_cannot_limit, 0, COUNT(hindrances));
	tcase_add_loop_test(tc, takes_no_folder_for_a_cgroup, 0, 2);
	tcase_add_test(tc, says_that_it_cannot_isolate);
	tcase_add_loop_test(tc, makes_a_private_scratch, 0, 3);
	tcase_add_loop_test(tc, refuses_a_scratch, 0, COUNT(refusals));
	tcase_add_loop_test(tc, empties_its_scratch, 0, COUNT(fillings));
	tcase_add_test(tc, knows_its_scratch);
	tcase_add_loop_test(tc, explains_its_usage, 0, COUNT(usages));
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, isolation_tcase());
	suite_add_tcase(suite, cgroup_tcase());
	return suite;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "as") == 0)
		return play(argv[2]);
	const char *guard = getenv("MER_GUARD");
	if (guard == NULL || realpath(guard, program) == NULL ||
	    realpath("/proc/self/exe", self) == NULL) {
		(void)fprintf(stderr, "test_guard: MER_GUARD is not the path of mer-guard\n");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	SRunner *runner = srunner_create(guard_suite());
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
