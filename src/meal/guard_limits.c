/* What mer-guard's worker may take: rlimits, niceness, a cgroup, a namespace; guard_limits.h. */
#include "guard_limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIES_MAX 100 /* to make a cgroup that others take for one that was left behind */

/* --- options -------------------------------------------------------------------------------- */

static const char *add_rlimit(struct guard_limits *limits, const char *text)
{
	char *rest;
	errno = 0;
	unsigned long resource = strtoul(text, &rest, 10);
	if (*text < '0' || *text > '9' || *rest != '=' || resource > INT_MAX)
		return "a limit is not NUMBER=VALUE";
	const char *value_text = rest + 1;
	unsigned long long value = strtoull(value_text, &rest, 10);
	if (*value_text < '0' || *value_text > '9' || *rest != '\0' || errno != 0)
		return "a limit is not NUMBER=VALUE";
	int i = 0;
	while (i < limits->n_rlimits && limits->rlimits[i].resource != resource)
		i++;
	if (i == GUARD_RLIMITS)
		return "too many limits";
	limits->rlimits[i] = (struct guard_rlimit){ (unsigned)resource, (rlim_t)value };
	limits->n_rlimits += i == limits->n_rlimits;
	return NULL;
}

static const char *set_nice(struct guard_limits *limits, const char *text)
{
	char *rest;
	long nice = strtol(text, &rest, 10);
	if (rest == text || *rest != '\0' || nice < -20 || nice > 19)
		return "NICE is not from -20 to 19";
	limits->nice = (int)nice;
	return NULL;
}

static const char *add_file(struct guard_limits *limits, const char *text)
{
	const char *name = text + (*text == '?');
	size_t len = strcspn(name, "=");
	if (len == 0 || len > NAME_MAX || name[len] == '\0' || memchr(name, '/', len) != NULL)
		return "a file of the cgroup is not NAME=VALUE";
	if (limits->n_files == GUARD_FILES)
		return "too many files of the cgroup";
	limits->files[limits->n_files++] = text;
	return NULL;
}

const char *guard_limits_option(struct guard_limits *limits, int option, const char *value)
{
	switch (option) {
	case 'r': return add_rlimit(limits, value);
	case 'n': return set_nice(limits, value);
	case 'w': return add_file(limits, value);
	case 'i': limits->isolate = true; return NULL;
	default: break;
	}
	if (value[0] != '/')
		return "CGROUP is not an absolute path";
	limits->cgroup = value;
	return NULL;
}

/* --- the cgroup ----------------------------------------------------------------------------- */

static int write_at(int dir, const char *name, const char *value)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	int error = fd < 0 || write(fd, value, strlen(value)) < 0 ? errno : 0;
	if (fd >= 0)
		(void)close(fd);
	return error;
}

/* Holds a lock on the folder, by which others see that it is in use. Whoever took it for left behind
 * before that has removed it, so that is looked at behind the lock. */
static int make_folder(struct guard_limits *limits)
{
	for (int i = 0; i < TRIES_MAX; i++) {
		struct stat held, there;
		if (mkdir(limits->cgroup, 0755) < 0)
			return errno;
		int dir = open(limits->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir >= 0 && flock(dir, LOCK_EX) == 0 && fstat(dir, &held) == 0 &&
		    stat(limits->cgroup, &there) == 0 && held.st_ino == there.st_ino) {
			limits->cgroup_dir = dir;
			return 0;
		}
		if (dir >= 0)
			(void)close(dir);
		else if (errno != ENOENT)
			return errno;
	}
	return EAGAIN;
}

static int write_file(int dir, const char *text)
{
	bool optional = *text == '?';
	char name[NAME_MAX + 1];
	const char *equals = strchr(text, '=');
	(void)snprintf(name, sizeof name, "%.*s", (int)(equals - text - optional), text + optional);
	int error = write_at(dir, name, equals + 1);
	return optional && error == ENOENT ? 0 : error;
}

int guard_limits_make(struct guard_limits *limits)
{
	if (limits->cgroup == NULL)
		return 0;
	int error = make_folder(limits);
	for (int i = 0; i < limits->n_files && error == 0; i++)
		error = write_file(limits->cgroup_dir, limits->files[i]);
	if (error == 0) {
		limits->cgroup_procs = openat(limits->cgroup_dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		error = limits->cgroup_procs < 0 ? errno : 0;
	}
	return error;
}

enum mer_guard_limit guard_limits_met(const struct guard_limits *limits)
{
	char text[512];
	if (limits->cgroup_dir < 0)
		return MER_GUARD_LIMIT_NONE;
	int fd = openat(limits->cgroup_dir, "memory.events", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *kills = strstr(text, "oom_kill ");
	bool met = kills != NULL && strtol(kills + strlen("oom_kill "), NULL, 10) > 0;
	return met ? MER_GUARD_LIMIT_MEMORY : MER_GUARD_LIMIT_NONE;
}

void guard_limits_kill(const struct guard_limits *limits)
{
	if (limits->cgroup_dir >= 0)
		(void)write_at(limits->cgroup_dir, "cgroup.kill", "1"); /* since Linux 5.14 */
}

void guard_limits_leave(struct guard_limits *limits)
{
	if (limits->cgroup_procs >= 0)
		(void)close(limits->cgroup_procs);
	if (limits->cgroup_dir >= 0) {
		(void)rmdir(limits->cgroup);
		(void)close(limits->cgroup_dir);
	}
	limits->cgroup_procs = limits->cgroup_dir = -1;
}

/* --- the worker itself ---------------------------------------------------------------------- */

/* A hard limit that is lower stays. Who is over its processor time hears it a second before the end. */
static int set_rlimit(const struct guard_rlimit *limit)
{
	struct rlimit now;
	if (getrlimit(limit->resource, &now) < 0)
		return errno;
	rlim_t hard = limit->value + (limit->resource == RLIMIT_CPU ? 1 : 0);
	if (now.rlim_max > hard)
		now.rlim_max = hard;
	now.rlim_cur = limit->value < now.rlim_max ? limit->value : now.rlim_max;
	return setrlimit(limit->resource, &now) < 0 ? errno : 0;
}

/* A niceness above 0 never takes back what the guard has already. */
static int set_niceness(int nice)
{
	if (nice == 0 || (nice > 0 && getpriority(PRIO_PROCESS, 0) >= nice))
		return 0;
	return setpriority(PRIO_PROCESS, 0, nice) < 0 ? errno : 0;
}

/* Source: struct clone_args and CLONE_INTO_CGROUP in the kernel's include/uapi/linux/sched.h. */
struct clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	uint64_t set_tid, set_tid_size, cgroup;
};
#define INTO_CGROUP 0x200000000ULL /* since Linux 5.7; seccomp may deny clone3 as a whole */

pid_t guard_limits_fork(struct guard_limits *limits)
{
	struct clone_args args = { .flags = INTO_CGROUP, .exit_signal = SIGCHLD };
	if (limits->cgroup_dir < 0)
		return fork();
	args.cgroup = (uint64_t)limits->cgroup_dir;
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	limits->entered = pid >= 0;
	return pid >= 0 ? pid : fork();
}

int guard_limits_enter(const struct guard_limits *limits, enum mer_guard_stage *stage)
{
	*stage = MER_GUARD_STAGE_CGROUP;
	if (limits->cgroup_procs >= 0 && !limits->entered && write(limits->cgroup_procs, "0", 1) < 0)
		return errno;
	*stage = MER_GUARD_STAGE_NICE;
	int error = set_niceness(limits->nice);
	if (error != 0)
		return error;
	*stage = MER_GUARD_STAGE_LIMIT;
	for (int i = 0; i < limits->n_rlimits && error == 0; i++)
		error = set_rlimit(&limits->rlimits[i]);
	return error;
}

/* --- the namespace -------------------------------------------------------------------------- */

/* A user namespace in which we are who we are, for a pid namespace without privileges. */
static int unshare_user(void)
{
	char users[64], groups[64];
	(void)snprintf(users, sizeof users, "%u %u 1", (unsigned)geteuid(), (unsigned)geteuid());
	(void)snprintf(groups, sizeof groups, "%u %u 1", (unsigned)getegid(), (unsigned)getegid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
		return errno;
	int error = write_at(AT_FDCWD, "/proc/self/setgroups", "deny");
	if (error == 0)
		error = write_at(AT_FDCWD, "/proc/self/uid_map", users);
	return error == 0 ? write_at(AT_FDCWD, "/proc/self/gid_map", groups) : error;
}

/* Holds nothing but the pipe whose end tells the other one that it has died. */
static _Noreturn void stand_for(pid_t inner, int alive)
{
	static const int passed_on[] = { SIGTERM, SIGINT, SIGHUP, SIGCONT };
	sigset_t heard;
	int status = 0;
	guard_close(0, (unsigned)alive - 1);
	guard_close((unsigned)alive + 1, ~0U);
	sigemptyset(&heard);
	sigaddset(&heard, SIGCHLD);
	for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
		sigaddset(&heard, passed_on[i]);
	while (waitpid(inner, &status, WNOHANG) == 0) {
		int sig = sigwaitinfo(&heard, NULL);
		if (sig > 0 && sig != SIGCHLD)
			(void)kill(inner, sig);
	}
	if (WIFSIGNALED(status)) {
		sigfillset(&heard);
		(void)sigprocmask(SIG_UNBLOCK, &heard, NULL);
		(void)kill(getpid(), WTERMSIG(status));
	}
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

int guard_isolate(void)
{
	int alive[2];
	int error = unshare(CLONE_NEWPID) == 0 ? 0 : unshare_user();
	if (error == 0 && pipe2(alive, O_CLOEXEC) < 0)
		error = errno;
	if (error != 0)
		return error;
	pid_t inner = fork();
	if (inner < 0)
		return errno;
	if (inner > 0)
		stand_for(inner, alive[1]);
	struct pollfd outer = { .fd = alive[0] };
	(void)close(alive[1]);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || poll(&outer, 1, 0) != 0)
		_exit(1); /* it died before the signal was asked for */
	(void)close(alive[0]);
	return 0;
}

void guard_close(unsigned first, unsigned last)
{
	if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
		return;
	DIR *dir = opendir("/proc/self/fd"); /* a kernel before 5.9 */
	if (dir == NULL)
		return; /* no worker is started without /proc */
	for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		unsigned fd = (unsigned)strtoul(entry->d_name, NULL, 10);
		if (fd >= first && fd <= last && (int)fd != dirfd(dir))
			(void)close((int)fd);
	}
	(void)closedir(dir);
}
