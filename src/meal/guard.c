/* mer-guard: supervises one worker for mer and leaves nothing of it behind; contract in guard.h.
 * A program of its own, static and small, because a subreaper inside mer would die with mer. */
#include "guard.h"
#include "guard_limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	QUICK_MS = 20,      /* a tree that is still there after this is stopped before it is killed */
	PATIENCE_MS = 1000, /* about the longest wait between two attempts at one that does not die */
	SWEEPS_MAX = 100,   /* a tree that does not stop in as many is killed as it is */
	PID_LIMIT = 4 * 1024 * 1024, /* PID_MAX_LIMIT in the kernel's include/linux/threads.h */
};

#ifndef CHILDREN_FILE /* the tests build a second guard with a path that does not exist */
#define CHILDREN_FILE "/proc/thread-self/children"
#endif

enum phase { WAITING, RUNNING, OVER };

struct failure {
	enum mer_guard_stage stage;
	int error;
};

struct guard {
	char **argv;
	const char *workdir;      /* NULL: where the guard is */
	const char *scratch_path; /* NULL: none */
	int extra;                /* the worker's further descriptor; -1: none, or given away */
	struct guard_limits limits;

	enum phase phase;
	pid_t worker;  /* 0: not started, or reaped */
	pid_t outside; /* its number outside of a namespace of ours; 0: the same, or not known yet */
	int exec_end;  /* gives why exec failed, or end of file once it succeeded; -1: known */
	unsigned owed; /* bits of the signals to send as soon as exec has succeeded */
	bool failed;   /* the worker's program never ran: its end is not reported */
	bool leaving;  /* nobody listens any more */

	int signals;  /* signalfd */
	int null;     /* -1: in place of the worker's descriptors */
	int children; /* CHILDREN_FILE; -1: this kernel has none */
	DIR *proc;
	DIR *scratch; /* NULL: not made */
};

/* The descendants as the last sweep saw them, a bit a pid; static: killing must not need memory. */
static uint8_t members[PID_LIMIT / 8];

/* Never waits: the reports are few and fit the socket's buffer; without mer there is no reader. */
static void tell(struct mer_guard_report report)
{
	(void)send(MER_GUARD_FD, &report, sizeof report, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void tell_failure(struct failure why)
{
	tell((struct mer_guard_report){
		.kind = MER_GUARD_FAILED, .stage = why.stage, .value = why.error });
}

static void tell_end(const struct guard *g, int status, const struct rusage *used)
{
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	bool exited = WIFEXITED(status);
	int64_t seconds = used->ru_utime.tv_sec + used->ru_stime.tv_sec;
	tell((struct mer_guard_report){
		.kind = exited ? MER_GUARD_EXITED : MER_GUARD_SIGNALED,
		.value = exited ? WEXITSTATUS(status) : WTERMSIG(status),
		.limit = killed ? guard_limits_met(&g->limits) : MER_GUARD_LIMIT_NONE,
		.cpu_us = seconds * 1000000 + used->ru_utime.tv_usec + used->ru_stime.tv_usec,
		.max_rss_kib = used->ru_maxrss,
	});
}

/* Signals the worker's group. Its number is the group's as long as the worker is not reaped. */
static void signal_worker(struct guard *g, int sig)
{
	if (g->worker == 0)
		return;
	if (g->exec_end >= 0) {
		g->owed |= 1U << sig; /* it would end a worker that is not yet its program */
		return;
	}
	(void)kill(-g->worker, sig);
	if (sig == SIGTERM)
		(void)kill(-g->worker, SIGCONT);
}

/* Learns whether exec succeeded, if that is known by now. */
static void settle_exec(struct guard *g)
{
	struct failure why;
	ssize_t n = g->exec_end < 0 ? -1 : read(g->exec_end, &why, sizeof why);
	if (n == sizeof why && why.stage == MER_GUARD_STAGE_NONE) {
		g->outside = why.error; /* comes before */
		n = read(g->exec_end, &why, sizeof why);
	}
	if (n < 0)
		return;
	(void)close(g->exec_end);
	g->exec_end = -1;
	if (n == sizeof why) {
		g->failed = true;
		tell_failure(why);
		return;
	}
	tell((struct mer_guard_report){ .kind = MER_GUARD_STARTED,
	                                .value = g->outside > 0 ? g->outside : g->worker });
	for (int sig = 1; sig <= SIGTERM; sig++)
		if ((g->owed & 1U << sig) != 0)
			signal_worker(g, sig);
}

/* Reaps all that is dead. Returns whether a child is left. */
static bool reap(struct guard *g)
{
	for (;;) {
		siginfo_t dead = { 0 };
		if (waitid(P_ALL, 0, &dead, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
			return errno != ECHILD;
		if (dead.si_pid == 0)
			return true;
		bool worker = dead.si_pid == g->worker;
		if (worker) {
			(void)kill(-g->worker, SIGKILL); /* while the number cannot be another's */
			settle_exec(g);
		}
		int status;
		struct rusage used;
		if (wait4(dead.si_pid, &status, __WALL, &used) < 0 || !worker)
			continue;
		g->worker = 0;
		if (!g->failed)
			tell_end(g, status, &used);
	}
}

static void hear_signals(struct guard *g)
{
	struct signalfd_siginfo heard;
	while (read(g->signals, &heard, sizeof heard) == sizeof heard)
		if (heard.ssi_signo != SIGCHLD)
			g->leaving = true;
}

static int64_t now_ms(void)
{
	struct timespec now = { 0 };
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Waits for the death of a child. Returns false when the time is up. */
static bool wait_death(struct guard *g, int64_t until_ms)
{
	int64_t left_ms = until_ms - now_ms();
	struct pollfd signals = { .fd = g->signals, .events = POLLIN };
	if (left_ms <= 0 || poll(&signals, 1, (int)left_ms) <= 0)
		return false;
	hear_signals(g);
	return true;
}

static bool is_member(pid_t pid)
{
	return pid > 0 && pid < PID_LIMIT && (members[pid / 8] & 1U << pid % 8) != 0;
}

static void set_member(pid_t pid, bool member)
{
	if (pid <= 0 || pid >= PID_LIMIT)
		return;
	uint8_t bit = (uint8_t)(1U << pid % 8);
	members[pid / 8] = (uint8_t)(member ? members[pid / 8] | bit : members[pid / 8] & ~bit);
}

static void forget_members(void)
{
	memset(members, 0, sizeof members);
	set_member(getpid(), true);
}

/* The parent of the process whose folder in /proc is open; 0: it is gone. */
static pid_t parent_of(int process)
{
	char text[256];
	int file = openat(process, "stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
	if (file >= 0)
		(void)close(file);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	const char *name_end = strrchr(text, ')'); /* the name may hold brackets, what follows not */
	if (name_end == NULL || strlen(name_end) < sizeof ") S ")
		return 0;
	return (pid_t)strtol(name_end + sizeof ") S " - 1, NULL, 10);
}

/* Signals a process if it is a descendant. Returns whether it is one that was not known before.
 * The open folder stands for the process itself, so its number cannot become another's between
 * the look and the signal. */
static bool visit(struct guard *g, const char *name, int sig)
{
	pid_t pid = (pid_t)strtol(name, NULL, 10);
	if (pid <= 0 || pid == getpid())
		return false;
	int process = openat(dirfd(g->proc), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (process < 0)
		return false;
	bool known = is_member(pid);
	bool ours = is_member(parent_of(process));
	set_member(pid, ours);
	if (ours && syscall(SYS_pidfd_send_signal, process, sig, NULL, 0) < 0 && errno == ENOSYS)
		(void)kill(pid, sig);
	(void)close(process);
	return ours && !known;
}

/* Signals all descendants that it finds. Returns how many were not known before. Those whose pid is
 * smaller than their parent's, because numbers began anew, are found one level a sweep. */
static unsigned sweep(struct guard *g, int sig)
{
	unsigned found = 0;
	rewinddir(g->proc);
	for (const struct dirent *entry; (entry = readdir(g->proc)) != NULL;)
		found += visit(g, entry->d_name, sig);
	return found;
}

/* A process with a SIGSTOP pending cannot fork: once a sweep finds nobody new, none is missing. */
static void stop_tree(struct guard *g)
{
	forget_members();
	for (int n = 0; n < SWEEPS_MAX && sweep(g, SIGSTOP) > 0; n++)
		continue;
}

/* Whoever is the first process of a namespace reaches all others in it at once. */
static void kill_children(struct guard *g)
{
	if (g->limits.isolate) {
		(void)kill(-1, SIGKILL);
		return;
	}
	if (g->children < 0) {
		forget_members();
		(void)sweep(g, SIGKILL);
		return;
	}
	char text[4096];
	pid_t pid = 0;
	(void)lseek(g->children, 0, SEEK_SET);
	for (ssize_t n; (n = read(g->children, text, sizeof text)) > 0;) {
		for (ssize_t i = 0; i < n; i++) {
			if (text[i] >= '0' && text[i] <= '9') {
				pid = pid * 10 + (text[i] - '0');
				continue;
			}
			if (pid > 0)
				(void)kill(pid, SIGKILL); /* ours until it is reaped */
			pid = 0;
		}
	}
}

/* Kills all descendants. The orphans of each that dies become children of the guard, so killing
 * children until none is left ends any tree that grows more slowly than it is killed; one that does
 * not is first stopped as a whole. */
static void kill_tree(struct guard *g)
{
	guard_limits_kill(&g->limits);
	for (int64_t wait_ms = QUICK_MS;; wait_ms = wait_ms < PATIENCE_MS ? 2 * wait_ms : wait_ms) {
		int64_t until_ms = now_ms() + wait_ms;
		do {
			if (!reap(g))
				return;
			if (g->worker != 0)
				(void)kill(-g->worker, SIGKILL);
			kill_children(g);
		} while (wait_death(g, until_ms));
		if (g->limits.isolate)
			continue;
		stop_tree(g);
		(void)sweep(g, SIGKILL);
	}
}

/* Lets go of the worker's descriptors. */
static void detach(struct guard *g)
{
	if (g->null < 0)
		return;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		(void)dup2(g->null, fd);
	(void)close(g->null);
	g->null = -1;
	if (g->extra >= 0)
		(void)close(g->extra);
}

/* Ends the worker and its descendants, if that has not been done. */
static void end(struct guard *g)
{
	if (g->phase == OVER)
		return;
	g->phase = OVER;
	detach(g);
	settle_exec(g);
	if (g->exec_end >= 0) {
		(void)close(g->exec_end);
		g->exec_end = -1; /* it is killed before it is known, so STARTED is not reported */
	}
	kill_tree(g);
	guard_limits_leave(&g->limits);
	tell((struct mer_guard_report){ .kind = MER_GUARD_GONE });
}

/* Returns only when the file cannot be run. */
static struct failure run_file(const char *file, char **argv)
{
	(void)execve(file, argv, environ);
	struct failure why = { MER_GUARD_STAGE_EXEC, errno };
	if (why.error == ENOENT && access(file, F_OK) == 0)
		why.stage = MER_GUARD_STAGE_INTERPRETER;
	return why;
}

/* Whether a search goes on after this, as in glibc's posix/execvpe.c. */
static bool is_elsewhere(int error)
{
	return error == ENOENT || error == EACCES || error == ENOTDIR || error == ESTALE ||
	       error == ENODEV || error == ETIMEDOUT;
}

/* As execvp, without its /bin/sh. Returns only when nothing can be run. */
static struct failure run_program(char **argv)
{
	struct failure why = { MER_GUARD_STAGE_EXEC, ENOENT };
	if (argv[0][0] == '\0')
		return why;
	if (strchr(argv[0], '/') != NULL)
		return run_file(argv[0], argv);
	const char *dir = getenv("PATH");
	if (dir == NULL)
		dir = "/bin:/usr/bin";
	for (const char *dir_end;; dir = dir_end + 1) {
		char file[PATH_MAX];
		dir_end = strchrnul(dir, ':');
		int n = snprintf(file, sizeof file, "%.*s%s%s", (int)(dir_end - dir), dir,
		                 dir_end > dir ? "/" : "", argv[0]);
		if (n > 0 && (size_t)n < sizeof file) {
			struct failure here = run_file(file, argv);
			if (!is_elsewhere(here.error))
				return here;
			bool seen = here.stage == MER_GUARD_STAGE_INTERPRETER && why.error != EACCES;
			if (here.error == EACCES || seen)
				why = here;
		}
		if (*dir_end == '\0')
			return why;
	}
}

/* Tells our number outside of the namespace, which /proc is of. */
static bool tell_outside(const struct guard *g, int exec_end)
{
	char text[16] = "";
	struct failure number = { MER_GUARD_STAGE_NONE, 0 };
	if (!g->limits.isolate)
		return true;
	if (readlink("/proc/self", text, sizeof text - 1) < 0)
		return false;
	number.error = (int)strtol(text, NULL, 10);
	return write(exec_end, &number, sizeof number) == sizeof number;
}

static _Noreturn void become_worker(const struct guard *g, pid_t guard, int exec_end)
{
	sigset_t none;
	sigemptyset(&none);
	struct failure why = { .stage = MER_GUARD_STAGE_FORK };
	if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
	    (g->extra >= 0 && fcntl(g->extra, F_SETFD, 0) < 0) || !tell_outside(g, exec_end)) {
		why.error = errno;
	} else if (getppid() != guard) {
		_exit(127); /* it died before PDEATHSIG was set */
	} else if ((why.error = guard_limits_enter(&g->limits, &why.stage)) != 0) {
		; /* that is all */
	} else if (g->workdir != NULL && chdir(g->workdir) < 0) {
		why = (struct failure){ MER_GUARD_STAGE_CHDIR, errno };
	} else {
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
		why = run_program(g->argv);
	}
	(void)!write(exec_end, &why, sizeof why);
	_exit(127);
}

static void start(struct guard *g)
{
	int ends[2];
	pid_t guard = getpid();
	g->phase = RUNNING;
	pid_t worker = pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 ? -1 : guard_limits_fork(&g->limits);
	if (worker == 0)
		become_worker(g, guard, ends[1]);
	if (worker < 0) {
		tell_failure((struct failure){ MER_GUARD_STAGE_FORK, errno });
		end(g);
		return;
	}
	(void)setpgid(worker, worker); /* whoever comes first */
	(void)close(ends[1]);
	g->worker = worker;
	g->exec_end = ends[0];
	detach(g);
}

static void obey(struct guard *g)
{
	char order;
	ssize_t n = recv(MER_GUARD_FD, &order, sizeof order, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		g->leaving = true; /* ECONNRESET too: mer ended without reading a report */
		return;
	}
	switch ((enum mer_guard_order)order) {
	case MER_GUARD_GO:
		if (g->phase == WAITING)
			start(g);
		break;
	case MER_GUARD_INTERRUPT: signal_worker(g, SIGINT); break;
	case MER_GUARD_TERMINATE: signal_worker(g, SIGTERM); break;
	case MER_GUARD_KILL: end(g); break;
	}
}

static void step(struct guard *g)
{
	struct pollfd on[] = {
		{ .fd = g->exec_end, .events = POLLIN },
		{ .fd = g->signals, .events = POLLIN },
		{ .fd = MER_GUARD_FD, .events = POLLIN },
	};
	if (poll(on, sizeof on / sizeof *on, -1) < 0)
		return;
	if (on[0].revents != 0)
		settle_exec(g);
	if (on[1].revents != 0) {
		hear_signals(g);
		(void)reap(g);
		if (g->phase == RUNNING && g->worker == 0)
			end(g);
	}
	if (on[2].revents != 0)
		obey(g);
}

/* Pids read from the /proc of another pid namespace would be other processes. */
static bool owns_proc(void)
{
	char text[16] = "";
	errno = ESRCH;
	return readlink("/proc/self", text, sizeof text - 1) > 0 && strtol(text, NULL, 10) == getpid();
}

/* Blocks all signals: none must end the guard early. */
static void settle_signals(void)
{
	sigset_t all;
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	for (int sig = 1; sig < NSIG; sig++) /* the worker's too; an ignored SIGCHLD would reap */
		(void)sigaction(sig, &(struct sigaction){ .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP },
		                NULL);
}

/* Returns 0 or an errno. In a namespace of ours /proc is of another, and not needed. */
static int prepare(struct guard *g)
{
	bool isolated = g->limits.isolate;
	sigset_t heard;
	sigemptyset(&heard);
	for (const int *sig = (const int[]){ SIGCHLD, SIGTERM, SIGINT, SIGHUP, 0 }; *sig != 0; sig++)
		sigaddset(&heard, *sig);
	g->children = open(CHILDREN_FILE, O_RDONLY | O_CLOEXEC);
	if ((g->signals = signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK)) < 0 ||
	    (g->null = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0 ||
	    (!isolated && ((g->proc = opendir("/proc")) == NULL || !owns_proc())) ||
	    (setsid() < 0 && getsid(0) != getpid()) || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return errno;
	return 0;
}

/* Returns 0 or an errno. Held open from now on, so that it is emptied even if it is renamed. */
static int make_scratch(struct guard *g)
{
	if (g->scratch_path == NULL)
		return 0;
	mode_t mask = umask(0);
	int error = mkdir(g->scratch_path, 0700) < 0 ? errno : 0;
	(void)umask(mask);
	if (error != 0)
		return error;
	g->scratch = opendir(g->scratch_path);
	if (g->scratch != NULL)
		return 0;
	error = errno;
	(void)rmdir(g->scratch_path);
	return error;
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* A folder that is moved elsewhere must itself be writable. */
static bool move_entry(int from, const char *name, int to, const char *new_name)
{
	if (renameat(from, name, to, new_name) == 0)
		return true;
	return fchmodat(from, name, 0700, AT_SYMLINK_NOFOLLOW) == 0 &&
	       renameat(from, name, to, new_name) == 0;
}

/* Moves what a folder in the scratch holds up into the scratch, under names of its own: so any
 * depth is emptied without recursion, and what is mounted there is left alone (EXDEV). Returns
 * whether it moved anything. */
static bool hoist(int scratch, const char *name)
{
	static unsigned count;
	(void)fchmodat(scratch, name, 0700, AT_SYMLINK_NOFOLLOW);
	int fd = openat(scratch, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	bool progress = false;
	for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		char new_name[32];
		(void)snprintf(new_name, sizeof new_name, ".mer-guard-%u", count++);
		if (!is_dot(entry->d_name))
			progress |= move_entry(fd, entry->d_name, scratch, new_name);
	}
	(void)closedir(dir);
	return progress;
}

/* Removes an entry of the scratch, or a level of a folder. Returns whether that got any further. */
static bool remove_entry(int scratch, const char *name)
{
	if (unlinkat(scratch, name, 0) == 0)
		return true;
	if (errno != EISDIR)
		return false;
	bool progress = hoist(scratch, name);
	return unlinkat(scratch, name, AT_REMOVEDIR) == 0 || progress;
}

static void remove_scratch(struct guard *g)
{
	if (g->scratch == NULL)
		return;
	for (bool progress = true; progress;) {
		progress = false;
		rewinddir(g->scratch);
		for (const struct dirent *entry; (entry = readdir(g->scratch)) != NULL;)
			if (!is_dot(entry->d_name))
				progress |= remove_entry(dirfd(g->scratch), entry->d_name);
	}
	(void)rmdir(g->scratch_path);
}

static const char usage[] = "mer-guard [-C DIR] [-s SCRATCH] [-f FD] [-r N=VALUE]... [-n NICE] "
							"[-g CGROUP] [-w NAME=VALUE]... [-i] -- ARGV...";

/* Returns what is wrong with the arguments or the descriptors, or NULL. */
static const char *parse(struct guard *g, int argc, char **argv)
{
	const char *problem;
	opterr = 0;
	for (int option; (option = getopt(argc, argv, "+C:s:f:r:n:g:w:i")) != -1;) {
		char *rest = NULL;
		long fd;
		switch (option) {
		case 'C': g->workdir = optarg; break;
		case 's':
			if (optarg[0] != '/')
				return "SCRATCH is not an absolute path";
			g->scratch_path = optarg;
			break;
		case 'f':
			fd = strtol(optarg, &rest, 10);
			if (*rest != '\0' || fd <= MER_GUARD_FD || fd > INT_MAX || fcntl((int)fd, F_GETFD) < 0)
				return "FD is not an open descriptor above 3";
			g->extra = (int)fd;
			break;
		case '?': return "unknown option, or its argument is missing";
		default:
			problem = guard_limits_option(&g->limits, option, optarg);
			if (problem != NULL)
				return problem;
		}
	}
	g->argv = argv + optind;
	if (g->argv[0] == NULL)
		return "no program";
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return "descriptor 0, 1 or 2 is closed";
	int type = 0;
	if (getsockopt(MER_GUARD_FD, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){ sizeof type }) < 0 ||
	    type != SOCK_SEQPACKET)
		return "descriptor 3 is not a SOCK_SEQPACKET socket";
	return NULL;
}

static void close_others(int extra)
{
	unsigned kept = extra < 0 ? MER_GUARD_FD : (unsigned)extra;
	guard_close(MER_GUARD_FD + 1, kept - 1);
	guard_close(kept + 1, ~0U);
	(void)fcntl(MER_GUARD_FD, F_SETFD, FD_CLOEXEC);
}

int main(int argc, char **argv)
{
	struct guard g = { .extra = -1,
		               .limits = GUARD_LIMITS,
		               .exec_end = -1,
		               .signals = -1,
		               .null = -1,
		               .children = -1 };
	const char *problem = parse(&g, argc, argv);
	if (problem != NULL) {
		(void)dprintf(STDERR_FILENO, "mer-guard: %s; usage: %s\n", problem, usage);
		return 2;
	}
	close_others(g.extra);
	settle_signals();
	struct failure why = { MER_GUARD_STAGE_ISOLATE, g.limits.isolate ? guard_isolate() : 0 };
	g.limits.isolate &= why.error == 0;
	if (why.error == 0)
		why = (struct failure){ MER_GUARD_STAGE_SETUP, prepare(&g) };
	if (why.error == 0)
		why = (struct failure){ MER_GUARD_STAGE_CGROUP, guard_limits_make(&g.limits) };
	if (why.error == 0)
		why = (struct failure){ MER_GUARD_STAGE_SCRATCH, make_scratch(&g) };
	if (why.error == 0) {
		tell((struct mer_guard_report){ .kind = MER_GUARD_READY });
	} else {
		tell_failure(why);
		end(&g);
	}
	while (!g.leaving)
		step(&g);
	end(&g);
	remove_scratch(&g);
	return 0;
}
