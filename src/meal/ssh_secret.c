/* Secrets while they are needed; ssh_secret.h. */
#include "ssh_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/ref.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FILE_MAX ((size_t)64 << 10)

/* Zeroes, which are not written to a core. Swap is not kept from them: many may lock no memory. */
static enum mer_status make_room(struct ssh_secret *secret, size_t size, struct mer_error *err)
{
	void *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	(void)madvise(room, size, MADV_DONTDUMP);
	*secret = (struct ssh_secret){ .text = room, .size = size };
	return MER_OK;
}

enum mer_status ssh_secret_resolve(struct ssh_secret *secret, const char *ref,
                                   struct mer_error *err)
{
	char *text = NULL;
	enum mer_status st = mer_ref_resolve(ref, &text, err);
	if (st == MER_OK)
		st = make_room(secret, strlen(text) + 1, err);
	if (st == MER_OK) {
		secret->len = strlen(text);
		memcpy(secret->text, text, secret->len);
	}
	mer_ref_wipe(text);
	return st;
}

enum mer_status ssh_secret_read(struct ssh_secret *secret, const char *path, struct mer_error *err)
{
	struct stat info;
	MER_AUTO(mer_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &info) < 0)
		return mer_fail(err, MER_EIO, "cannot read '%s': %s", path, strerror(errno));
	if (!S_ISREG(info.st_mode) || (size_t)info.st_size > FILE_MAX)
		return mer_fail(err, MER_EIO, "'%s' is no file of a key", path);
	enum mer_status st = make_room(secret, (size_t)info.st_size + 1, err);
	while (st == MER_OK && secret->len < (size_t)info.st_size) {
		ssize_t n = read(fd, secret->text + secret->len, (size_t)info.st_size - secret->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			st = mer_fail(err, MER_EIO, "cannot read '%s': %s", path, strerror(errno));
		if (n <= 0)
			break;
		secret->len += (size_t)n;
	}
	if (st != MER_OK)
		ssh_secret_release(secret);
	return st;
}

void ssh_secret_release(struct ssh_secret *secret)
{
	if (secret->text != NULL) {
		explicit_bzero(secret->text, secret->size);
		(void)munmap(secret->text, secret->size);
	}
	*secret = (struct ssh_secret){ 0 };
}
