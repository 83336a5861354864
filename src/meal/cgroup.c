/* Where a worker's cgroup may be made; cgroup.h. Rules: Linux, Documentation/admin-guide/cgroup-v2.rst. */
#define LOG_AREA "meal"
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mer/clean.h>
#include <mer/log.h>
#include <mer/text.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define WORKER_PREFIX "mer-worker-"
#define OWN_NAME "mer-self"
#define EMPTY_MS 200 /* for the killed to be gone */
#define MOVES_MAX 10 /* rounds of moving our own, which may fork meanwhile */
#define PARENTS_MAX 64
#define ENABLE_UP 1 /* levels above our own that may be delegated to us as well */

static const struct {
	unsigned bit;
	const char *name;
} controllers[] = {
	{ CGROUP_CPU, "cpu" },
	{ CGROUP_MEMORY, "memory" },
	{ CGROUP_PIDS, "pids" },
};
enum { N_CONTROLLERS = sizeof controllers / sizeof *controllers };

/* --- files -------------------------------------------------------------------------------- */

/* The text of a file in a folder, cut; "" where there is none. */
static void read_file(const char *dir, const char *name, char *text, size_t size)
{
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s/%s", dir, name);
	MER_AUTO(mer_fd_done) int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
}

static bool write_file(const char *dir, const char *name, const char *text)
{
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s/%s", dir, name);
	MER_AUTO(mer_fd_done) int fd = path == NULL ? -1 : open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, strlen(text)) >= 0;
}

static bool may_write(const char *dir, const char *name)
{
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s/%s", dir, name);
	return path != NULL && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

static unsigned read_controllers(const char *dir, const char *name)
{
	char text[512];
	unsigned found = 0;
	read_file(dir, name, text, sizeof text);
	for (char *rest, *word = strtok_r(text, " \n", &rest); word != NULL;
	     word = strtok_r(NULL, " \n", &rest))
		for (size_t i = 0; i < N_CONTROLLERS; i++)
			found |= strcmp(word, controllers[i].name) == 0 ? controllers[i].bit : 0;
	return found;
}

/* --- where we are ------------------------------------------------------------------------- */

/* Our own path below the root of the hierarchy; the caller frees it. NULL: none. */
static char *own_path(void)
{
	MER_AUTO(mer_file_done) FILE *file = fopen("/proc/self/cgroup", "re");
	MER_AUTO(mer_text_done) char *line = NULL;
	size_t size = 0;
	while (file != NULL && getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::/", 4) == 0 && strncmp(line, "0::/..", 6) != 0)
			return strdup(line + 3);
	}
	return NULL;
}

/* The folder that stands for our own path under a mount, from a line of mountinfo (proc(5)); NULL: it
 * mounts something else. */
static char *folder_of(char *line, const char *own, size_t *mount_len)
{
	char *words[PARENTS_MAX], *rest;
	size_t n = 0, dash = 0;
	for (char *word = strtok_r(line, " \n", &rest); word != NULL && n < PARENTS_MAX;
	     word = strtok_r(NULL, " \n", &rest)) {
		if (dash == 0 && n > 5 && strcmp(word, "-") == 0)
			dash = n;
		words[n++] = word;
	}
	if (dash == 0 || dash + 1 >= n || strcmp(words[dash + 1], "cgroup2") != 0)
		return NULL;
	const char *root = words[3], *mount = words[4];
	size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(own, root, len) != 0 || (own[len] != '/' && own[len] != '\0'))
		return NULL;
	*mount_len = strlen(mount);
	return mer_text_new("%s%s", mount, strcmp(own + len, "/") == 0 ? "" : own + len);
}

/* The folder of our own cgroup, and how much of its path is the mount; the caller frees it. */
static char *own_folder(size_t *mount_len)
{
	MER_AUTO(mer_file_done) FILE *file = fopen("/proc/self/mountinfo", "re");
	MER_AUTO(mer_text_done) char *own = own_path();
	MER_AUTO(mer_text_done) char *line = NULL;
	size_t size = 0;
	char *folder = NULL;
	while (file != NULL && own != NULL && folder == NULL && getline(&line, &size, file) > 0)
		folder = folder_of(line, own, mount_len);
	return folder;
}

/* --- what is there ------------------------------------------------------------------------ */

/* What systemd manages by itself it may change back at any time. */
static bool is_slice(const char *dir)
{
	size_t len = strlen(dir);
	return len >= 6 && strcmp(dir + len - 6, ".slice") == 0;
}

static void enable(const char *dir, unsigned wanted)
{
	for (size_t i = 0; i < N_CONTROLLERS; i++) {
		char text[16];
		(void)snprintf(text, sizeof text, "+%s", controllers[i].name);
		if ((wanted & controllers[i].bit) != 0)
			(void)write_file(dir, "cgroup.subtree_control", text);
	}
}

/* Whether cgroups in it can hold processes: it is the root of all, or has none itself. */
static bool can_be_divided(const char *dir)
{
	char type[32], processes[16];
	read_file(dir, "cgroup.type", type, sizeof type);
	read_file(dir, "cgroup.procs", processes, sizeof processes);
	return type[0] == '\0' || (strcmp(type, "domain\n") == 0 && processes[0] == '\0');
}

/* What a cgroup made in this folder would have of what is wanted. */
static unsigned offers(const char *dir, unsigned wanted, bool may_enable)
{
	if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) < 0 || !may_write(dir, "cgroup.procs") ||
	    !can_be_divided(dir))
		return 0;
	unsigned got = wanted & read_controllers(dir, "cgroup.subtree_control");
	if (got == wanted || !may_enable || is_slice(dir))
		return got;
	enable(dir, wanted & ~got & read_controllers(dir, "cgroup.controllers"));
	return wanted & read_controllers(dir, "cgroup.subtree_control");
}

/* The folder from our own upwards that offers most; dir becomes it. */
static unsigned climb(char *dir, size_t mount_len, unsigned wanted)
{
	size_t best_len = 0, len = strlen(dir);
	unsigned best = 0;
	MER_AUTO(mer_text_done) char *here = strdup(dir);
	for (int up = 0; here != NULL && best != wanted; up++) {
		unsigned got = offers(here, wanted, up <= ENABLE_UP);
		if (__builtin_popcount(got) > __builtin_popcount(best)) {
			best = got;
			best_len = len;
		}
		if (len <= mount_len)
			break;
		while (here[len] != '/')
			len--;
		here[len] = '\0';
	}
	if (best != 0)
		dir[best_len] = '\0';
	return best;
}

/* --- making room in our own ----------------------------------------------------------------- */

/* Whether a process is this one, or one that it started. */
static bool is_ours(long pid)
{
	for (int i = 0; i < PARENTS_MAX && pid > 1; i++) {
		char dir[32], text[512];
		if (pid == getpid())
			return true;
		(void)snprintf(dir, sizeof dir, "/proc/%ld", pid);
		read_file(dir, "stat", text, sizeof text);
		const char *name_end = strrchr(text, ')');
		if (name_end == NULL || strlen(name_end) < sizeof ") S ")
			return false;
		pid = strtol(name_end + sizeof ") S " - 1, NULL, 10);
	}
	return pid > 0 && pid == getpid();
}

/* Moves the processes of a cgroup into another. Returns whether it is empty then; a stranger stays
 * where it is, and so do all. */
static bool move_ours(const char *from, const char *to)
{
	for (int i = 0; i < MOVES_MAX; i++) {
		char text[16384], *rest;
		read_file(from, "cgroup.procs", text, sizeof text);
		if (text[0] == '\0')
			return true;
		MER_AUTO(mer_text_done) char *again = strdup(text);
		for (char *word = strtok_r(text, "\n", &rest); word != NULL;
		     word = strtok_r(NULL, "\n", &rest))
			if (!is_ours(strtol(word, NULL, 10)))
				return false;
		for (char *word = again == NULL ? NULL : strtok_r(again, "\n", &rest); word != NULL;
		     word = strtok_r(NULL, "\n", &rest))
			(void)write_file(to, "cgroup.procs", word); /* it may have ended */
	}
	return false;
}

static unsigned divide_own(const char *dir, unsigned wanted)
{
	MER_AUTO(mer_text_done) char *own = mer_text_new("%s/%s", dir, OWN_NAME);
	unsigned there = wanted & read_controllers(dir, "cgroup.controllers");
	if (own == NULL || there == 0 || is_slice(dir) || !may_write(dir, "cgroup.subtree_control") ||
	    !may_write(dir, "cgroup.procs") || (mkdir(own, 0755) < 0 && errno != EEXIST))
		return 0;
	if (!move_ours(dir, own)) {
		(void)rmdir(own);
		return 0;
	}
	enable(dir, there);
	return wanted & read_controllers(dir, "cgroup.subtree_control");
}

/* --- what was left behind ------------------------------------------------------------------- */

static int remove_folder(const char *path, const struct stat *info, int type, struct FTW *where)
{
	(void)info, (void)where;
	if (type == FTW_DP)
		(void)rmdir(path);
	return 0;
}

/* Waits, not for long, until nothing lives in it. */
static void await_empty(const char *path)
{
	MER_AUTO(mer_text_done) char *events = mer_text_new("%s/cgroup.events", path);
	MER_AUTO(mer_fd_done) int fd = events == NULL ? -1 : open(events, O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < EMPTY_MS / 10 && fd >= 0; i++) {
		char text[256];
		ssize_t n = pread(fd, text, sizeof text - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		if (strstr(text, "populated 1") == NULL)
			return;
		(void)poll(&(struct pollfd){ .fd = fd, .events = POLLPRI }, 1, 10);
	}
}

void cgroup_remove(const char *path)
{
	(void)write_file(path, "cgroup.kill", "1");
	await_empty(path);
	(void)nftw(path, remove_folder, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* A supervisor holds a lock on the cgroup that it made as long as it lives. */
static void sweep(const char *dir)
{
	DIR *entries = opendir(dir);
	if (entries == NULL)
		return;
	for (const struct dirent *entry; (entry = readdir(entries)) != NULL;) {
		if (strncmp(entry->d_name, WORKER_PREFIX, strlen(WORKER_PREFIX)) != 0)
			continue;
		MER_AUTO(mer_text_done) char *path = mer_text_new("%s/%s", dir, entry->d_name);
		MER_AUTO(mer_fd_done)
		int fd = path == NULL ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
			continue;
		MER_DEBUG("remove left=%s", path);
		cgroup_remove(path);
	}
	(void)closedir(entries);
}

/* --- all together --------------------------------------------------------------------------- */

enum mer_status cgroup_choose(unsigned wanted, char **out, unsigned *got, struct mer_error *err)
{
	static unsigned count;
	size_t mount_len = 0;
	*out = NULL;
	*got = 0;
	MER_AUTO(mer_text_done) char *own = own_folder(&mount_len);
	if (own == NULL)
		return MER_OK;
	MER_AUTO(mer_text_done) char *dir = strdup(own);
	if (dir == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	*got = climb(dir, mount_len, wanted);
	if (*got != wanted) {
		unsigned divided = divide_own(own, wanted);
		if (__builtin_popcount(divided) > __builtin_popcount(*got)) {
			*got = divided;
			memcpy(dir, own, strlen(own) + 1); /* of which dir is a beginning */
		}
	}
	if (*got == 0)
		return MER_OK;
	sweep(dir);
	*out = mer_text_new("%s/" WORKER_PREFIX "%ld-%u", dir, (long)getpid(), count++);
	return *out != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}
