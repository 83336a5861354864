/* Output kept in memory or in an unnamed file. */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <string.h>

void spool_init(struct spool *spool, size_t limit)
{
	*spool = (struct spool){ .limit = limit, .fd = -1 };
	mer_buf_init(&spool->mem, SIZE_MAX / 4);
}

void spool_release(struct spool *spool)
{
	mer_buf_release(&spool->mem);
	if (spool->fd >= 0)
		(void)close(spool->fd);
	spool->fd = -1;
}

void spool_clear(struct spool *spool)
{
	size_t limit = spool->limit;
	if (spool->fd >= 0 || spool->mem.cap > limit) {
		spool_release(spool);
		spool_init(spool, limit);
		return;
	}
	mer_buf_clear(&spool->mem);
	spool->bytes = 0;
	spool->odd = false;
	spool->n_cut = 0;
	spool->err.status = MER_OK;
}

/* --- UTF-8, piece by piece ---------------------------------------------------------------- */

static void check_text(struct spool *spool, const char *bytes, size_t n)
{
	char joined[sizeof spool->cut + 3];
	size_t before = spool->n_cut, cut;
	if (before > 0) { /* the sequence that was cut goes on here */
		size_t take = n < 3 ? n : 3;
		memcpy(joined, spool->cut, before);
		memcpy(joined + before, bytes, take);
		size_t whole = mer_utf8_span_cut(joined, before + take, &cut);
		if (whole == 0 && cut == before + take) {
			memcpy(spool->cut, joined, cut);
			spool->n_cut = cut;
			return;
		}
		spool->n_cut = 0;
		spool->odd = whole <= before;
		bytes += whole > before ? whole - before : 0;
		n -= whole > before ? whole - before : 0;
	}
	if (spool->odd)
		return;
	size_t whole = mer_utf8_span_cut(bytes, n, &cut);
	spool->odd = whole + cut != n;
	spool->n_cut = cut;
	if (cut > 0)
		memcpy(spool->cut, bytes + whole, cut);
}

/* --- the file ----------------------------------------------------------------------------- */

static int open_unnamed(const char *folder)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s/mer-XXXXXX", folder);
	if (path == NULL)
		return -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		(void)unlink(path);
	return fd;
}

static enum mer_status to_file(struct spool *spool, const char *bytes, size_t n)
{
	const char *folder = getenv("TMPDIR");
	if (folder == NULL || folder[0] == '\0')
		folder = "/tmp";
	if (spool->fd < 0) {
		spool->fd = open_unnamed(folder);
		if (spool->fd < 0)
			return mer_fail(&spool->err, MER_EIO, "cannot keep the output in '%s': %s", folder,
			                strerror(errno));
		enum mer_status st =
			mer_write_all(spool->fd, folder, spool->mem.ptr, spool->mem.len, &spool->err);
		mer_buf_release(&spool->mem);
		if (st != MER_OK)
			return st;
	}
	return mer_write_all(spool->fd, folder, bytes, n, &spool->err);
}

void spool_add(struct spool *spool, const char *bytes, size_t n)
{
	if (spool->err.status != MER_OK || n == 0)
		return;
	if (!spool->odd)
		check_text(spool, bytes, n);
	spool->bytes += (int64_t)n;
	if (spool->fd < 0 && spool->mem.len + n <= spool->limit) {
		mer_buf_add(&spool->mem, bytes, n);
		(void)!mer_buf_check(&spool->mem, &spool->err);
	} else {
		(void)to_file(spool, bytes, n);
	}
}

enum mer_status spool_check(const struct spool *spool, struct mer_error *err)
{
	if (spool->err.status != MER_OK && err != NULL)
		*err = spool->err;
	return spool->err.status;
}

enum mer_status spool_read(struct spool *spool, int64_t at, char *out, size_t n, size_t *got,
                           struct mer_error *err)
{
	if (spool->fd < 0) {
		size_t left = spool->mem.len - (size_t)at;
		*got = n < left ? n : left;
		if (*got > 0)
			memcpy(out, spool->mem.ptr + at, *got);
		return MER_OK;
	}
	ssize_t done;
	size_t all = 0;
	while (all < n && (done = pread(spool->fd, out + all, n - all, at + (int64_t)all)) != 0) {
		if (done < 0 && errno != EINTR)
			return mer_fail(err, MER_EIO, "cannot read the kept output: %s", strerror(errno));
		all += done > 0 ? (size_t)done : 0;
	}
	*got = all;
	return MER_OK;
}
