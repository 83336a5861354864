/* Locks that die with their holder, on SQLite: byte ranges of a file beside the database; sqlite.h. */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Gives the lock file the database's mode and, made by root, its owner, so that a run by root does
 * not shut out the one whose database it is. */
static void adopt_mode(int fd, const char *database)
{
	struct stat info;
	if (stat(database, &info) < 0)
		return;
	(void)fchmod(fd, info.st_mode & 0666);
	if (geteuid() == 0 && fchown(fd, info.st_uid, info.st_gid) < 0)
		return; /* as good as it gets */
}

/* Opens PATH-lock beside the file itself, not beside a link to it. Reading is enough to look at
 * locks. *there is false where it is missing and may stay so. */
static enum mer_status open_lock_file(struct sqlite *lite, bool write, bool *there,
                                      struct mer_error *err)
{
	*there = true;
	if (lite->lock_fd >= 0 && (lite->lock_write || !write))
		return MER_OK;
	const char *database = sqlite3_db_filename(lite->db, "main");
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s-lock", database);
	if (path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for a lock");
	bool made = false;
	int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && write) {
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		made = fd >= 0;
		if (fd < 0 && errno == EEXIST)
			fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd >= 0) {
		if (made)
			adopt_mode(fd, database);
		if (lite->lock_fd >= 0)
			(void)close(lite->lock_fd); /* it could only look, so it holds nothing */
		lite->lock_fd = fd;
		lite->lock_write = true;
		return MER_OK;
	}
	if (!write) {
		*there = errno != ENOENT;
		if (*there)
			lite->lock_fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (!*there || lite->lock_fd >= 0)
			return MER_OK;
	}
	if (errno == EROFS || errno == EACCES || errno == EPERM)
		lite->base.read_only = true;
	(void)mer_fail(err, MER_EDATABASE, "cannot open the lock file '%s': %s", path, strerror(errno));
	mer_hint(err, "this user must be able to write it and its folder");
	return MER_EDATABASE;
}

enum mer_status lite_lock(struct mer_dal *dal, int64_t key, enum mer_lock_op op, bool *yes,
                          struct mer_error *err)
{
	struct sqlite *lite = lite_of(dal);
	bool there = true;
	*yes = false;
	if (op == MER_LOCK_DROP && lite->lock_fd < 0)
		return MER_OK;
	enum mer_status st =
		op == MER_LOCK_DROP ? MER_OK : open_lock_file(lite, op == MER_LOCK_TAKE, &there, err);
	if (st != MER_OK || !there)
		return st;
	/* Locks of the open file description: they go when its last descriptor does, whichever way the
	 * process ends, and other connections of this process meet them like anybody else. */
	struct flock lock = { .l_type = op == MER_LOCK_DROP ? F_UNLCK : F_WRLCK,
		                  .l_whence = SEEK_SET,
		                  .l_start = key,
		                  .l_len = 1 };
	if (fcntl(lite->lock_fd, op == MER_LOCK_TEST ? F_OFD_GETLK : F_OFD_SETLK, &lock) == 0) {
		*yes = op == MER_LOCK_TAKE || (op == MER_LOCK_TEST && lock.l_type != F_UNLCK);
		return MER_OK;
	}
	if (op == MER_LOCK_TAKE && (errno == EAGAIN || errno == EACCES))
		return MER_OK;
	return mer_fail(err, MER_EDATABASE, "cannot lock '%s-lock': %s",
	                sqlite3_db_filename(lite->db, "main"), strerror(errno));
}
