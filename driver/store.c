/* The file of blocks. Chains and what was given back are in one array, as in a FAT. */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <string.h>

void store_init(struct store *store, size_t memory)
{
	*store = (struct store){ .memory = memory, .fd = -1, .spare = STORE_NONE };
}

void store_release(struct store *store)
{
	free(store->next);
	if (store->fd >= 0)
		(void)close(store->fd);
	store_init(store, store->memory);
}

/* --- the file ----------------------------------------------------------------------------- */

static const char *folder(void)
{
	const char *path = getenv("TMPDIR");
	return path != NULL && path[0] != '\0' ? path : "/tmp";
}

static int open_unnamed(const char *path)
{
	int fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	MER_AUTO(mer_text_done) char *name = mer_text_new("%s/mer-XXXXXX", path);
	if (name == NULL)
		return -1;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		(void)unlink(name);
	return fd;
}

static off_t place(size_t block, size_t at)
{
	return (off_t)(block * STORE_BLOCK + at);
}

enum mer_status store_write(const struct store *store, size_t block, size_t at, const char *bytes,
                            size_t n, struct mer_error *err)
{
	if (lseek(store->fd, place(block, at), SEEK_SET) < 0)
		return mer_fail(err, MER_EIO, "cannot keep the output in '%s': %s", folder(),
		                strerror(errno));
	return mer_write_all(store->fd, folder(), bytes, n, err);
}

enum mer_status store_read(const struct store *store, size_t block, size_t at, char *out, size_t n,
                           struct mer_error *err)
{
	for (size_t got = 0; got < n;) {
		ssize_t done = pread(store->fd, out + got, n - got, place(block, at + got));
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return mer_fail(err, MER_EIO, "cannot read the kept output: %s",
			                done < 0 ? strerror(errno) : "it has been cut");
		got += (size_t)done;
	}
	return MER_OK;
}

/* --- blocks ------------------------------------------------------------------------------- */

void store_give(struct store *store, size_t first, size_t last)
{
	for (size_t block = first; block != last; block = store->next[block])
		store->n_spare++;
	store->n_spare++;
	store->next[last] = store->spare;
	store->spare = first;
}

/* One more block, behind all others. */
static enum mer_status add_block(struct store *store, struct mer_error *err)
{
	if (store->n_blocks == store->room) {
		size_t room = store->room > 0 ? 2 * store->room : 64;
		size_t *next = reallocarray(store->next, room, sizeof *next);
		if (next == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		store->next = next;
		store->room = room;
	}
	store_give(store, store->n_blocks, store->n_blocks);
	store->n_blocks++;
	return MER_OK;
}

enum mer_status store_take(struct store *store, size_t last, size_t *out, struct mer_error *err)
{
	if (store->fd < 0)
		store->fd = open_unnamed(folder());
	if (store->fd < 0)
		return mer_fail(err, MER_EIO, "cannot keep the output in '%s': %s", folder(),
		                strerror(errno));
	enum mer_status st = store->n_spare == 0 ? add_block(store, err) : MER_OK;
	if (st != MER_OK)
		return st;
	size_t block = store->spare;
	store->spare = store->next[block];
	store->n_spare--;
	store->next[block] = STORE_NONE;
	if (last != STORE_NONE)
		store->next[last] = block;
	*out = block;
	return MER_OK;
}
