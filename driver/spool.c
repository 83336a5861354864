/* Output kept in a store. */
#include "spool.h"

#include <mer/text.h>
#include <string.h>

void spool_init(struct spool *spool, struct store *store)
{
	*spool = (struct spool){ .store = store, .first = STORE_NONE, .last = STORE_NONE };
	mer_buf_init(&spool->mem, 0);
}

void spool_clear(struct spool *spool)
{
	spool->store->borrowed -= spool->mem.cap;
	mer_buf_release(&spool->mem);
	if (spool->first != STORE_NONE)
		store_give(spool->store, spool->first, spool->last);
	spool_init(spool, spool->store);
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

/* --- where it is -------------------------------------------------------------------------- */

/* Whether it is in memory now. */
static bool to_memory(struct spool *spool, const char *bytes, size_t n)
{
	struct mer_buf *mem = &spool->mem;
	size_t before = mem->cap;
	mem->limit = before + store_memory_left(spool->store);
	if (spool->first != STORE_NONE || n > mem->limit - mem->len)
		return false;
	mer_buf_add(mem, bytes, n);
	spool->store->borrowed += mem->cap - before;
	return mem->status == MER_OK;
}

/* How many bytes are on disk. */
static int64_t on_disk(const struct spool *spool)
{
	return spool->bytes - (int64_t)spool->mem.len;
}

static enum mer_status to_disk(struct spool *spool, const char *bytes, size_t n)
{
	while (n > 0) {
		size_t at = (size_t)on_disk(spool) % STORE_BLOCK;
		size_t piece = n < STORE_BLOCK - at ? n : STORE_BLOCK - at;
		enum mer_status st = MER_OK;
		if (at == 0)
			st = store_take(spool->store, spool->last, &spool->last, &spool->err);
		if (st == MER_OK && spool->first == STORE_NONE)
			spool->first = spool->read_block = spool->last;
		if (st == MER_OK)
			st = store_write(spool->store, spool->last, at, bytes, piece, &spool->err);
		if (st != MER_OK)
			return st;
		spool->bytes += (int64_t)piece;
		bytes += piece;
		n -= piece;
	}
	return MER_OK;
}

void spool_add(struct spool *spool, const char *bytes, size_t n)
{
	if (spool->err.status != MER_OK || n == 0)
		return;
	if (!spool->odd)
		check_text(spool, bytes, n);
	if (to_memory(spool, bytes, n))
		spool->bytes += (int64_t)n;
	else
		(void)to_disk(spool, bytes, n);
}

enum mer_status spool_check(const struct spool *spool, struct mer_error *err)
{
	if (spool->err.status != MER_OK && err != NULL)
		*err = spool->err;
	return spool->err.status;
}

/* The block of this number. Who reads on does not begin at the first. */
static size_t find_block(struct spool *spool, size_t number)
{
	if (number < spool->read_number) {
		spool->read_block = spool->first;
		spool->read_number = 0;
	}
	for (; spool->read_number < number; spool->read_number++)
		spool->read_block = store_next(spool->store, spool->read_block);
	return spool->read_block;
}

enum mer_status spool_read(struct spool *spool, int64_t at, char *out, size_t n, size_t *got,
                           struct mer_error *err)
{
	int64_t left = spool->bytes - at;
	size_t all = left < (int64_t)n ? (size_t)left : n, done = 0;
	if (at < (int64_t)spool->mem.len) {
		size_t in_memory = spool->mem.len - (size_t)at;
		done = all < in_memory ? all : in_memory;
		memcpy(out, spool->mem.ptr + at, done);
	}
	while (done < all) {
		size_t from = (size_t)at + done - spool->mem.len, in_block = from % STORE_BLOCK;
		size_t piece = STORE_BLOCK - in_block;
		if (piece > all - done)
			piece = all - done;
		enum mer_status st = store_read(spool->store, find_block(spool, from / STORE_BLOCK),
		                                in_block, out + done, piece, err);
		if (st != MER_OK)
			return st;
		done += piece;
	}
	*got = all;
	return MER_OK;
}
