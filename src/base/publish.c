/* Files that appear whole; publish.h. */
#include <mer/publish.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART ".mer-part-"
enum { RANDOM_DIGITS = 8, NAME_SIZE = sizeof PART + RANDOM_DIGITS, TRIES = 16 };

/* The folder of a path, for the caller to free; NULL: out of memory. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	if (slash == NULL)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static enum mer_status fail(const char *path, struct mer_error *err)
{
	const int cause = errno;
	bool place = cause == ENOENT || cause == ENOTDIR || cause == EACCES || cause == EPERM ||
	             cause == EROFS || cause == ENAMETOOLONG || cause == ELOOP;
	(void)mer_fail(err, place ? MER_EINPUT : MER_EIO, "cannot write '%s': %s", path,
	               strerror(cause));
	if (place)
		mer_hint(err, "its folder must be there, and this user's to write to");
	return place ? MER_EINPUT : MER_EIO;
}

/* --- what the dead have left -------------------------------------------------------------- */

/* Whether it is still the file of that name. */
static bool is_in_place(int fd, int folder, const char *name)
{
	struct stat open_one, named;
	return fstat(fd, &open_one) == 0 && fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
}

/* In a folder that others may write to, a name alone means nothing. */
static bool is_ours(int folder, const char *name)
{
	struct stat info;
	return strncmp(name, PART, strlen(PART)) == 0 &&
	       fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
	       info.st_uid == geteuid();
}

static void sweep(const char *path)
{
	DIR *dir = opendir(path);
	if (dir == NULL)
		return;
	for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		const char *name = entry->d_name;
		if (!is_ours(dirfd(dir), name))
			continue;
		MER_AUTO(mer_fd_done)
		int fd = openat(dirfd(dir), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && is_in_place(fd, dirfd(dir), name))
			(void)unlinkat(dirfd(dir), name, 0);
	}
	(void)closedir(dir);
}

/* --- a file of one's own ------------------------------------------------------------------ */

/* A name that is free, and the lock on its file: between the two somebody may have swept it away. */
static enum mer_status make_part(const char *folder, mode_t mode, struct mer_publish *file,
                                 struct mer_error *err)
{
	for (int tries = 0; tries < TRIES; tries++) {
		uint32_t random;
		if (getrandom(&random, sizeof random, 0) != sizeof random)
			return mer_fail(err, MER_EIO, "no random bytes: %s", strerror(errno));
		free(file->part);
		file->part = mer_text_new("%s/" PART "%08x", folder, random);
		if (file->part == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		file->fd = open(file->part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (file->fd < 0 && errno == EEXIST)
			continue;
		if (file->fd < 0 || fchmod(file->fd, mode) < 0 || flock(file->fd, LOCK_EX) < 0)
			return fail(file->path, err);
		if (is_in_place(file->fd, AT_FDCWD, file->part))
			return MER_OK;
		(void)close(file->fd);
		file->fd = -1;
	}
	return mer_fail(err, MER_EIO, "cannot make a file beside '%s'", file->path);
}

static enum mer_status fail_there(const char *path, struct mer_error *err)
{
	return mer_fail(err, MER_ECONFLICT, "there is a file '%s' already", path);
}

static enum mer_status check_place(const char *path, bool replace, struct mer_error *err)
{
	struct stat info;
	size_t len = strlen(path);
	if (len == 0 || path[len - 1] == '/')
		return mer_fail(err, MER_EINPUT, "'%s' names no file", path);
	if (stat(path, &info) < 0)
		return MER_OK; /* what is wrong with it shows itself */
	if (!S_ISREG(info.st_mode))
		return mer_fail(err, MER_EINPUT, "'%s' is %s", path,
		                S_ISDIR(info.st_mode) ? "a folder" : "not a file");
	return replace ? MER_OK : fail_there(path, err);
}

enum mer_status mer_publish_open(const char *path, bool replace, mode_t mode,
                                 struct mer_publish *out, struct mer_error *err)
{
	*out = (struct mer_publish){ .fd = -1 };
	enum mer_status st = check_place(path, replace, err);
	if (st != MER_OK)
		return st;
	MER_AUTO(mer_text_done) char *folder = folder_of(path);
	out->path = strdup(path);
	if (folder == NULL || out->path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	sweep(folder);
	st = make_part(folder, mode, out, err);
	if (st != MER_OK && out->fd < 0) { /* there is none to remove */
		free(out->part);
		out->part = NULL;
	}
	return st;
}

/* --- in its place ------------------------------------------------------------------------- */

/* Without replacing one; some file systems know no such renaming, but links. */
static int rename_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (link(from, to) < 0)
		return -1;
	(void)unlink(from);
	return 0;
}

/* The name is to outlive a power cut, too. */
static void sync_folder(const char *path)
{
	MER_AUTO(mer_text_done) char *folder = folder_of(path);
	MER_AUTO(mer_fd_done)
	int fd = folder == NULL ? -1 : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		(void)fsync(fd);
}

enum mer_status mer_publish_put(struct mer_publish *file, bool replace, struct mer_error *err)
{
	if (fsync(file->fd) < 0)
		return fail(file->path, err);
	int failed = replace ? rename(file->part, file->path) : rename_new(file->part, file->path);
	if (failed != 0 && errno == EEXIST)
		return fail_there(file->path, err);
	if (failed != 0)
		return fail(file->path, err);
	free(file->part);
	file->part = NULL;
	sync_folder(file->path);
	return MER_OK;
}

void mer_publish_release(struct mer_publish *file)
{
	if (file->part != NULL)
		(void)unlink(file->part);
	if (file->path != NULL && file->fd >= 0) /* a zeroed one has no descriptor */
		(void)close(file->fd);
	free(file->part);
	free(file->path);
	*file = (struct mer_publish){ .fd = -1 };
}
