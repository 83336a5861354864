/* A lock a key, in the state folder. */
#include "once.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/hash.h>
#include <mer/text.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_DIGITS = 32, HOLDER_SIZE = 160 };

/* Any key is a name of its own, whatever characters it has. */
static enum mer_status find_path(const char *key, char **out, struct mer_error *err)
{
	char digest[MER_SHA256_SIZE];
	MER_AUTO(mer_text_done) char *state = NULL;
	MER_AUTO(mer_text_done) char *folder = NULL;
	enum mer_status st = mer_place(MER_PLACE_STATE, &state, err);
	if (st != MER_OK)
		return st;
	mer_sha256(key, strlen(key), digest);
	folder = mer_text_new("%s/once", state);
	if (folder == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	st = mer_make_folders(folder, err);
	if (st != MER_OK)
		return st;
	char *path = mer_text_new("%s/%.*s", folder, NAME_DIGITS, digest);
	if (path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	*out = path;
	return MER_OK;
}

static enum mer_status open_file(const char *path, int *out, struct mer_error *err)
{
	struct stat info;
	int fd = mer_open_own(path, O_RDWR);
	if (fd >= 0 && fstat(fd, &info) == 0 && !S_ISREG(info.st_mode)) {
		(void)close(fd);
		fd = -1;
		errno = EEXIST;
	}
	if (fd < 0)
		return mer_fail(err, MER_EIO, "--once-key: cannot open '%s': %s", path, strerror(errno));
	*out = fd;
	return MER_OK;
}

/* What the holder wrote of itself: it may not have come to that. */
static enum mer_status tell_holder(int fd, const char *key, struct mer_error *err)
{
	char text[HOLDER_SIZE];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	(void)mer_fail(err, MER_EBUSY, "another mer holds the once-key '%s'%s%s", key,
	               text[0] != '\0' ? ": " : "", text);
	return MER_EBUSY;
}

static void write_holder(int fd)
{
	char text[HOLDER_SIZE], since[MER_TIME_SIZE];
	mer_time_text(mer_time_now_ms(), since);
	int n = snprintf(text, sizeof text, "pid %ld since %s\n", (long)getpid(), since);
	(void)!ftruncate(fd, 0);
	(void)!pwrite(fd, text, (size_t)n, 0);
}

enum mer_status once_take(const char *key, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *path = NULL;
	MER_AUTO(mer_fd_done) int fd = -1;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (key[0] == '\0')
		return mer_fail(err, MER_EINPUT, "--once-key: it is empty");
	enum mer_status st = find_path(key, &path, err);
	if (st != MER_OK)
		return st;
	MER_ASSERT(path != NULL);
	st = open_file(path, &fd, err);
	if (st != MER_OK)
		return st;
	if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
		if (errno == EAGAIN || errno == EACCES)
			return tell_holder(fd, key, err);
		return mer_fail(err, MER_EIO, "--once-key: cannot lock '%s': %s", path, strerror(errno));
	}
	write_holder(fd);
	fd = -1; /* the end of the process closes it */
	return MER_OK;
}
