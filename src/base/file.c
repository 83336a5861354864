/* Whole files, folders, and where things are. */
#include <errno.h>
#include <fcntl.h>
#include <mer/buf.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

/* Where the installation has its parts, as its programs' folder sees them; the build sets them. */
#ifndef MER_REL_SQL
#define MER_REL_SQL "../share/mer/sql"
#endif
#ifndef MER_REL_MODELS
#define MER_REL_MODELS "../lib/mer/models"
#endif
#ifndef MER_REL_GUARD
#define MER_REL_GUARD "../libexec/mer/mer-guard"
#endif
#ifndef MER_REL_MODULES
#define MER_REL_MODULES "../lib/mer"
#endif
#ifndef MER_REL_PYTHON
#define MER_REL_PYTHON "../lib/mer/python"
#endif

enum { CHUNK = 65536 };

static void buf_done(struct mer_buf *buf)
{
	mer_buf_release(buf);
}

/* Whether errno is worth another try; waits where the descriptor does not block. */
static bool try_again(int fd, short events)
{
	if (errno == EINTR)
		return true;
	if (errno != EAGAIN)
		return false;
	struct pollfd ready = { .fd = fd, .events = events };
	return poll(&ready, 1, -1) >= 0 || errno == EINTR;
}

static ssize_t read_some(int fd, void *out, size_t room)
{
	ssize_t n;
	do
		n = read(fd, out, room);
	while (n < 0 && try_again(fd, POLLIN));
	return n;
}

/* How much to read at once: a file's size and one more byte, so that it ends without a second
 * allocation; else a chunk. */
static size_t first_room(const struct stat *info)
{
	if (!S_ISREG(info->st_mode) || info->st_size <= 0)
		return CHUNK;
	return (size_t)info->st_size + 1;
}

enum mer_status mer_read_fd(int fd, const char *name, size_t limit, char **out, size_t *len,
                            struct mer_error *err)
{
	struct stat info;
	if (fstat(fd, &info) < 0)
		return mer_fail(err, MER_EIO, "cannot read '%s': %s", name, strerror(errno));
	if (S_ISDIR(info.st_mode))
		return mer_fail(err, MER_EIO, "cannot read '%s': it is a folder", name);

	/* One byte more than allowed tells a file of limit bytes from a longer one. */
	size_t most = limit < SIZE_MAX ? limit + 1 : limit;
	MER_AUTO(buf_done) struct mer_buf buf;
	mer_buf_init(&buf, most);
	for (size_t room = first_room(&info); buf.len < most; room = buf.cap - 1 - buf.len) {
		if (room == 0)
			room = CHUNK;
		if (room > most - buf.len)
			room = most - buf.len;
		char *to = mer_buf_room(&buf, room);
		if (to == NULL)
			break;
		ssize_t n = read_some(fd, to, room);
		if (n < 0)
			return mer_fail(err, MER_EIO, "cannot read '%s': %s", name, strerror(errno));
		if (n == 0)
			break;
		mer_buf_grow(&buf, (size_t)n);
	}
	if (buf.len > limit)
		return mer_fail(err, MER_ELIMIT, "'%s' is longer than %zu bytes", name, limit);
	enum mer_status st = mer_buf_take(&buf, out, len, err);
	return st == MER_OK ? st : mer_wrap(err, st, "cannot hold '%s'", name);
}

enum mer_status mer_read_file(const char *path, size_t limit, char **out, size_t *len,
                              struct mer_error *err)
{
	MER_AUTO(mer_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return mer_fail(err, MER_EIO, "cannot open '%s': %s", path, strerror(errno));
	return mer_read_fd(fd, path, limit, out, len, err);
}

enum mer_status mer_write_all(int fd, const char *name, const void *bytes, size_t n,
                              struct mer_error *err)
{
	for (const char *at = bytes; n > 0;) {
		ssize_t done = write(fd, at, n);
		if (done < 0 && try_again(fd, POLLOUT))
			continue;
		if (done < 0)
			return mer_fail(err, MER_EIO, "cannot write '%s': %s", name, strerror(errno));
		at += done;
		n -= (size_t)done;
	}
	return MER_OK;
}

/* Makes one folder whose parent exists. */
static enum mer_status make_folder(const char *path, struct mer_error *err)
{
	struct stat info;
	/* Looked for first: where it exists, some file systems refuse mkdir with another cause. */
	if (stat(path, &info) < 0) {
		if (errno != ENOENT)
			return mer_fail(err, MER_EIO, "cannot look at '%s': %s", path, strerror(errno));
		if (mkdir(path, 0700) == 0) {
			if (lstat(path, &info) == 0 && (info.st_mode & 0777) != 0700 && S_ISDIR(info.st_mode) &&
			    chmod(path, 0700) < 0) /* the umask took bits of the owner */
				return mer_fail(err, MER_EIO, "cannot open up '%s': %s", path, strerror(errno));
			return MER_OK;
		}
		int cause = errno;
		if (cause != EEXIST || stat(path, &info) < 0) /* else somebody was faster */
			return mer_fail(err, MER_EIO, "cannot make the folder '%s': %s", path, strerror(cause));
	}
	if (!S_ISDIR(info.st_mode))
		return mer_fail(err, MER_EIO, "cannot make the folder '%s': it is a file", path);
	return MER_OK;
}

int mer_open_own(const char *path, int flags)
{
	struct stat info;
	int fd = open(path, flags | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
	if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 0600) != 0600)
		(void)fchmod(fd, 0600); /* the umask took bits of the owner */
	return fd;
}

enum mer_status mer_make_folders(const char *path, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *part = strdup(path);
	if (part == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", path);
	/* Each prefix that ends before a slash, then the whole. */
	for (char *at = part + strspn(part, "/"); *at != '\0';) {
		at += strcspn(at, "/");
		char slash = *at;
		*at = '\0';
		enum mer_status st = make_folder(part, err);
		if (st != MER_OK)
			return st;
		*at = slash;
		at += strspn(at, "/");
	}
	if (path[0] == '\0')
		return mer_fail(err, MER_EINPUT, "cannot make a folder: its path is empty");
	return MER_OK;
}

/* Takes "//", "." and "x/.." out of an absolute path in place, without a look at the disk. */
static void normalise(char *path)
{
	char *to = path; /* what is written is path[0..to), without a slash at its end */
	for (const char *at = path; *at != '\0';) {
		at += strspn(at, "/");
		size_t n = strcspn(at, "/");
		if (n == 2 && at[0] == '.' && at[1] == '.') {
			while (to > path && *--to != '/')
				continue;
		} else if (n > 0 && !(n == 1 && at[0] == '.')) {
			*to++ = '/';
			memmove(to, at, n);
			to += n;
		}
		at += n;
	}
	if (to == path)
		*to++ = '/';
	*to = '\0';
}

/* The path of the running program; the caller frees it. NULL with errno. */
static char *program_path(void)
{
	for (size_t size = 256;; size *= 2) {
		char *path = malloc(size);
		if (path == NULL)
			return NULL;
		ssize_t n = readlink("/proc/self/exe", path, size);
		if (n >= 0 && (size_t)n < size) {
			path[n] = '\0';
			return path;
		}
		int cause = errno;
		free(path);
		errno = cause;
		if (n < 0)
			return NULL;
	}
}

static enum mer_status installed(const char *relative, char **out, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *program = program_path();
	if (program == NULL)
		return mer_fail(err, errno == ENOMEM ? MER_ENOMEM : MER_EIO,
		                "cannot find the installation from '/proc/self/exe': %s", strerror(errno));
	char *path = mer_text_new("%s/../%s", program, relative);
	if (path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	normalise(path);
	*out = path;
	return MER_OK;
}

/* The user's home from the password database; the caller frees it. */
static enum mer_status home_of_user(char **out, struct mer_error *err)
{
	for (size_t size = 1024;; size *= 2) {
		MER_AUTO(mer_text_done) char *room = malloc(size);
		if (room == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		struct passwd entry, *found = NULL;
		int cause = getpwuid_r(getuid(), &entry, room, size, &found);
		if (cause == ERANGE && size < (1u << 20))
			continue;
		if (found == NULL || found->pw_dir == NULL || found->pw_dir[0] != '/') {
			(void)mer_fail(err, MER_EIO, "cannot find the home folder of user %u: %s",
			               (unsigned)getuid(), cause != 0 ? strerror(cause) : "not known");
			mer_hint(err, "set HOME");
			return MER_EIO;
		}
		char *home = strdup(found->pw_dir);
		if (home == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		*out = home;
		return MER_OK;
	}
}

/* The value of a variable that is an absolute path; others are ignored, as the XDG specification
 * has it. */
static const char *absolute(const char *variable)
{
	const char *value = getenv(variable);
	return value != NULL && value[0] == '/' ? value : NULL;
}

/* A folder of the user: $variable/mer, or the home folder's fallback/mer. */
static enum mer_status of_user(const char *variable, const char *fallback, char **out,
                               struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *home = NULL;
	const char *base = absolute(variable), *below = "";
	if (base == NULL) {
		base = absolute("HOME");
		below = fallback;
	}
	if (base == NULL) {
		enum mer_status st = home_of_user(&home, err);
		if (home == NULL)
			return st;
		base = home;
	}
	size_t len = strlen(base);
	while (len > 0 && base[len - 1] == '/')
		len--;
	char *path = mer_text_new("%.*s%s/mer", (int)len, base, below);
	if (path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	*out = path;
	return MER_OK;
}

enum mer_status mer_place(enum mer_place place, char **out, struct mer_error *err)
{
	switch (place) {
	case MER_PLACE_STATE: return of_user("XDG_STATE_HOME", "/.local/state", out, err);
	case MER_PLACE_DATA: return of_user("XDG_DATA_HOME", "/.local/share", out, err);
	case MER_PLACE_SQL: return installed(MER_REL_SQL, out, err);
	case MER_PLACE_MODELS: return installed(MER_REL_MODELS, out, err);
	case MER_PLACE_GUARD: return installed(MER_REL_GUARD, out, err);
	case MER_PLACE_MODULES: return installed(MER_REL_MODULES, out, err);
	case MER_PLACE_PYTHON: return installed(MER_REL_PYTHON, out, err);
	}
	return mer_fail(err, MER_EINPUT, "no such place: %d", (int)place);
}
