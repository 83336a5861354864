/* How a worker of this machine is launched; launch.h. */
#include "launch.h"

#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define FIXED_WORDS 8 /* mer-guard -C DIR -s SCRATCH -f FD -- ; beside those of the limits */
#define FRAME_VARIABLE "MER_FRAME_FD="
static const char frame_fd[] = { '0' + LAUNCH_FRAME_FD, '\0' };

/* A name that nobody can foresee, in the folder for such files. */
static enum mer_status name_scratch(struct launch *launch, const char *temp, struct mer_error *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567"; /* 5 bits each */
	unsigned char random[8];
	char name[sizeof random + 1] = "";
	if (temp == NULL)
		temp = getenv("TMPDIR");
	if (temp == NULL || temp[0] != '/')
		temp = "/tmp";
	if (getrandom(random, sizeof random, 0) != sizeof random)
		return mer_fail(err, MER_EIO, "no random bytes: %s", strerror(errno));
	for (size_t i = 0; i < sizeof random; i++)
		name[i] = letters[random[i] % 32];
	launch->scratch = mer_text_new("%s/mer-%s", temp, name);
	launch->input = mer_text_new("%s/mer-%s/input", temp, name);
	launch->output = mer_text_new("%s/mer-%s/output", temp, name);
	if (launch->scratch == NULL || launch->input == NULL || launch->output == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return MER_OK;
}

static bool uses(const struct mer_worker_spec *spec, const char *name)
{
	const char *const *word = spec->argv;
	while (*word != NULL && !mer_expand_uses(*word, name))
		word++;
	return *word != NULL;
}

/* The supervisor's command line; program and workdir are among its words. */
static enum mer_status make_words(struct launch *launch, const struct mer_worker_spec *spec,
                                  struct mer_error *err)
{
	const char *options[FIXED_WORDS + CONFINE_WORDS];
	const struct mer_pair files[] = { { "input", launch->input }, { "output", launch->output } };
	size_t n_options = 0, n_files = launch->input != NULL ? 2 : 0, n = 0;
	options[n_options++] = spec->guard;
	if (spec->workdir != NULL) {
		options[n_options++] = "-C";
		options[n_options++] = spec->workdir;
	}
	if (launch->scratch != NULL) {
		options[n_options++] = "-s";
		options[n_options++] = launch->scratch;
	}
	if (launch->frames) {
		options[n_options++] = "-f";
		options[n_options++] = frame_fd;
	}
	for (size_t i = 0; i < launch->confine.n; i++)
		options[n_options++] = launch->confine.words[i];
	options[n_options++] = "--";
	while (spec->argv[n] != NULL)
		n++;
	launch->words = calloc(n_options + n + 1, sizeof *launch->words);
	if (launch->words == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (size_t i = 0; i < n_options + n; i++) {
		bool option = i < n_options; /* in which nothing is expanded */
		const char *word = option ? options[i] : spec->argv[i - n_options];
		enum mer_status st = mer_expand(word, files, option ? 0 : n_files, &launch->words[i], err);
		if (st != MER_OK)
			return st;
	}
	launch->program = launch->words[n_options];
	launch->workdir = spec->workdir != NULL ? launch->words[2] : NULL;
	return MER_OK;
}

enum mer_status launch_init(struct launch *launch, const struct mer_worker_spec *spec,
                            struct mer_error *err)
{
	bool input = uses(spec, "input"), output = uses(spec, "output");
	*launch = (struct launch){
		.program = spec->argv[0],
		.frames = spec->protocol == MER_PROTOCOL_FRAME && !spec->frame_stdio,
	};
	enum mer_status st = input || output ? name_scratch(launch, spec->temp, err) : MER_OK;
	if (st == MER_OK && launch->scratch == NULL && spec->scratch != NULL &&
	    (launch->scratch = strdup(spec->scratch)) == NULL)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	if (st == MER_OK)
		st = confine_init(&launch->confine, &spec->limits, err);
	if (st == MER_OK)
		st = make_words(launch, spec, err);
	if (!input) {
		free(launch->input);
		launch->input = NULL;
	}
	if (!output) {
		free(launch->output);
		launch->output = NULL;
	}
	return st;
}

void launch_release(struct launch *launch)
{
	mer_words_done(&launch->words);
	confine_release(&launch->confine);
	free(launch->scratch);
	free(launch->input);
	free(launch->output);
}

static int set_up(posix_spawnattr_t *attr, posix_spawn_file_actions_t *actions, const int fds[],
                  int n_fds)
{
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	int error = posix_spawnattr_setsigmask(attr, &none);
	if (error == 0)
		error = posix_spawnattr_setsigdefault(attr, &all);
	if (error == 0)
		error = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
		                                           POSIX_SPAWN_SETSIGDEF);
	for (int i = 0; i < n_fds && error == 0; i++) { /* the last one may be its own number */
		MER_ASSERT(fds[i] > MER_GUARD_FD);
		error = posix_spawn_file_actions_adddup2(actions, fds[i], i);
	}
	return error;
}

/* The worker's environment with the number of its connection; borrows from env. */
static const char **env_with_frame_fd(const char *const env[], char text[])
{
	size_t n = 0, at = 0;
	while (env[n] != NULL)
		n++;
	const char **with = calloc(n + 2, sizeof *with);
	if (with == NULL)
		return NULL;
	(void)sprintf(text, FRAME_VARIABLE "%s", frame_fd);
	with[at++] = text;
	for (size_t i = 0; i < n; i++)
		if (strncmp(env[i], FRAME_VARIABLE, strlen(FRAME_VARIABLE)) != 0)
			with[at++] = env[i];
	return with;
}

static void env_done(const char ***env)
{
	free(*env);
}

enum mer_status launch_spawn(const struct launch *launch, const char *const env[],
                             const int fds[LAUNCH_FDS], pid_t *pid, struct mer_error *err)
{
	char text[sizeof FRAME_VARIABLE + sizeof frame_fd];
	MER_AUTO(env_done) const char **with = launch->frames ? env_with_frame_fd(env, text) : NULL;
	if (launch->frames && with == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t actions;
	pid_t child = 0;
	int error = posix_spawnattr_init(&attr);
	if (error == 0 && (error = posix_spawn_file_actions_init(&actions)) != 0)
		(void)posix_spawnattr_destroy(&attr);
	if (error == 0) {
		error = set_up(&attr, &actions, fds, launch->frames ? LAUNCH_FDS : LAUNCH_FRAME_FD);
		if (error == 0) /* it does not change env, whatever its prototype says */
			error = posix_spawn(&child, launch->words[0], &actions, &attr, launch->words,
			                    (char *const *)(uintptr_t)(with != NULL ? with : env));
		(void)posix_spawn_file_actions_destroy(&actions);
		(void)posix_spawnattr_destroy(&attr);
	}
	if (error == E2BIG)
		return mer_fail(err, MER_EUNREACHABLE, "cannot start '%s': %s", launch->program,
		                strerror(error));
	if (error != 0)
		return mer_fail(err, error == ENOMEM ? MER_ENOMEM : MER_EUNREACHABLE,
		                "cannot start the supervisor '%s': %s", launch->words[0], strerror(error));
	*pid = child;
	return MER_OK;
}

/* The file that a program name with a slash means; the caller frees it. */
static char *program_path(const struct launch *launch)
{
	if (strchr(launch->program, '/') == NULL)
		return NULL;
	if (launch->program[0] == '/' || launch->workdir == NULL)
		return strdup(launch->program);
	return mer_text_new("%s/%s", launch->workdir, launch->program);
}

/* The interpreter that a file's first line names, or NULL; the caller frees it. */
static char *interpreter_of(const char *path)
{
	char line[256] = "";
	MER_AUTO(mer_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
	if (n < 2 || line[0] != '#' || line[1] != '!')
		return NULL;
	line[n] = '\0';
	char *name = line + 2 + strspn(line + 2, " \t");
	name[strcspn(name, " \t\n")] = '\0';
	return strdup(name);
}

static void explain_niceness(const struct launch *launch, const char *why, char *text, size_t size)
{
	(void)snprintf(text, size, "cannot give '%s' its niceness of %d: %s", launch->program,
	               (int)launch->confine.limits.nice, why);
}

static void explain_exec(const struct launch *launch, int error, char *text, size_t size)
{
	MER_AUTO(mer_text_done) char *path = program_path(launch);
	struct stat info;
	const char *why = strerror(error);
	if (error == EACCES && path != NULL && stat(path, &info) == 0 && S_ISDIR(info.st_mode))
		why = "it is a folder";
	if (error == ENOEXEC)
		(void)snprintf(text, size, "'%s' is not a program (no '#!' line?)", launch->program);
	else
		(void)snprintf(text, size, "cannot start '%s': %s", launch->program, why);
}

static void explain_interpreter(const struct launch *launch, int error, char *text, size_t size)
{
	MER_AUTO(mer_text_done) char *path = program_path(launch);
	MER_AUTO(mer_text_done) char *name = path == NULL ? NULL : interpreter_of(path);
	if (name != NULL)
		(void)snprintf(text, size, "cannot start '%s': its interpreter '%s': %s", launch->program,
		               name, strerror(error));
	else
		(void)snprintf(text, size, "cannot start '%s': its interpreter or loader: %s",
		               launch->program, strerror(error));
}

void launch_explain(const struct launch *launch, const struct mer_guard_report *report, char *text,
                    size_t size)
{
	const char *why = strerror(report->value);
	switch ((enum mer_guard_stage)report->stage) {
	case MER_GUARD_STAGE_SCRATCH:
		(void)snprintf(text, size, "cannot make the folder '%s': %s", launch->scratch, why);
		return;
	case MER_GUARD_STAGE_CHDIR:
		(void)snprintf(text, size, "cannot enter the folder '%s': %s", launch->workdir, why);
		return;
	case MER_GUARD_STAGE_EXEC: explain_exec(launch, report->value, text, size); return;
	case MER_GUARD_STAGE_INTERPRETER:
		explain_interpreter(launch, report->value, text, size);
		return;
	case MER_GUARD_STAGE_ISOLATE:
		(void)snprintf(text, size, "cannot isolate '%s': no namespaces for us here: %s",
		               launch->program, why);
		return;
	case MER_GUARD_STAGE_CGROUP:
		(void)snprintf(text, size, "cannot put '%s' into the cgroup '%s': %s", launch->program,
		               launch->confine.cgroup, why);
		return;
	case MER_GUARD_STAGE_NICE: explain_niceness(launch, why, text, size); return;
	case MER_GUARD_STAGE_LIMIT:
		(void)snprintf(text, size, "cannot limit '%s': %s", launch->program, why);
		return;
	case MER_GUARD_STAGE_NONE:
	case MER_GUARD_STAGE_SETUP:
	case MER_GUARD_STAGE_FORK: break;
	}
	(void)snprintf(text, size, "cannot supervise '%s': %s", launch->program, why);
}

/* --- whether it could be started ------------------------------------------------------------ */

/* Whether the kernel may know formats that this file does not. */
static bool has_other_formats(void)
{
	return access("/proc/sys/fs/binfmt_misc/register", F_OK) == 0;
}

/* What exec would say of a file, without its being run. */
static struct mer_guard_report look_at(const char *path)
{
	struct mer_guard_report why = { .kind = MER_GUARD_FAILED, .stage = MER_GUARD_STAGE_EXEC };
	struct stat info;
	char magic[4] = "";
	if (stat(path, &info) < 0 || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0) {
		why.value = errno;
		return why;
	}
	if (!S_ISREG(info.st_mode)) {
		why.value = EACCES;
		return why;
	}
	MER_AUTO(mer_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) /* it may be run without being read */
		return why;
	MER_AUTO(mer_text_done) char *interpreter = interpreter_of(path);
	if (interpreter != NULL && access(interpreter, X_OK) < 0) {
		why.stage = MER_GUARD_STAGE_INTERPRETER;
		why.value = errno;
	} else if (interpreter == NULL && !has_other_formats() &&
	           (read(fd, magic, sizeof magic) != sizeof magic ||
	            memcmp(magic, "\177ELF", 4) != 0)) {
		why.value = ENOEXEC;
	}
	return why;
}

static const char *path_of(const char *const env[])
{
	for (; *env != NULL; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	return "/bin:/usr/bin";
}

/* As the supervisor searches. */
static struct mer_guard_report look_along(const struct launch *launch, const char *dirs)
{
	struct mer_guard_report why = { .kind = MER_GUARD_FAILED,
		                            .stage = MER_GUARD_STAGE_EXEC,
		                            .value = ENOENT };
	if (launch->program[0] == '\0')
		return why;
	for (const char *dir = dirs, *end;; dir = end + 1) {
		end = strchrnul(dir, ':');
		bool absolute = *dir == '/' || launch->workdir == NULL;
		MER_AUTO(mer_text_done)
		char *file =
			mer_text_new("%s%s%.*s%s%s", absolute ? "" : launch->workdir, absolute ? "" : "/",
		                 (int)(end - dir), dir, end > dir ? "/" : "", launch->program);
		struct mer_guard_report here = why;
		if (file != NULL)
			here = look_at(file);
		if (here.value != ENOENT && here.value != EACCES && here.value != ENOTDIR)
			return here;
		if (here.value == EACCES || here.stage == MER_GUARD_STAGE_INTERPRETER)
			why = here;
		if (*end == '\0')
			return why;
	}
}

static struct mer_guard_report look(const struct launch *launch, const char *const env[])
{
	MER_AUTO(mer_text_done) char *path = program_path(launch);
	struct mer_guard_report why = { .kind = MER_GUARD_FAILED, .stage = MER_GUARD_STAGE_CHDIR };
	struct stat info;
	if (launch->workdir != NULL) {
		if (stat(launch->workdir, &info) < 0)
			why.value = errno;
		else if (!S_ISDIR(info.st_mode))
			why.value = ENOTDIR;
		else if (faccessat(AT_FDCWD, launch->workdir, X_OK, AT_EACCESS) < 0)
			why.value = errno;
	}
	if (why.value != 0)
		return why;
	return path != NULL ? look_at(path) : look_along(launch, path_of(env));
}

enum mer_status mer_worker_probe(const struct mer_worker_spec *spec, struct mer_error *err)
{
	const struct launch launch = { .program = spec->argv[0], .workdir = spec->workdir };
	char text[sizeof err->message];
	if (access(spec->guard, X_OK) < 0)
		return mer_fail(err, MER_EUNREACHABLE, "cannot start the supervisor '%s': %s", spec->guard,
		                strerror(errno));
	MER_AUTO(confine_release) struct confine confine;
	enum mer_status st = confine_init(&confine, &spec->limits, err);
	if (st != MER_OK)
		return st;
	struct mer_guard_report why = look(&launch, spec->env);
	if (why.value == 0)
		return MER_OK;
	launch_explain(&launch, &why, text, sizeof text);
	return mer_fail(err, MER_EUNREACHABLE, "%s", text);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
	(void)info, (void)type, (void)where;
	(void)remove(path);
	return 0;
}

void launch_clear(const struct launch *launch)
{
	if (launch->confine.cgroup != NULL)
		cgroup_remove(launch->confine.cgroup);
	if (launch->scratch != NULL)
		(void)nftw(launch->scratch, remove_entry, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
