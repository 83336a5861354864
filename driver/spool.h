/* Output that is kept until it is its turn, or known how its run ended: the beginning in memory, what
 * does not fit there on disk. Both are borrowed from a store, so that memory stays flat however many
 * there are. */
#ifndef SPOOL_H
#define SPOOL_H

#include "store.h"

#include <mer/buf.h>
#include <stdbool.h>

struct spool {
	struct store *store;
	struct mer_buf mem;
	size_t first, last;             /* the blocks behind mem; STORE_NONE: none */
	size_t read_block, read_number; /* the one that was read last, and its number in them */
	int64_t bytes;
	bool odd;    /* what came is not UTF-8 */
	char cut[4]; /* of a sequence whose end has not come */
	size_t n_cut;
	struct mer_error err; /* the first failure; what comes after it is dropped */
};

/** @param store  borrowed until the last spool_clear() */
void spool_init(struct spool *spool, struct store *store);

/** Gives back all that it has borrowed; it is as after spool_init(). */
void spool_clear(struct spool *spool);

void spool_add(struct spool *spool, const char *bytes, size_t n);

/** Whether all of it is UTF-8. */
static inline bool spool_is_text(const struct spool *spool)
{
	return !spool->odd && spool->n_cut == 0;
}

/** MER_EIO or MER_ENOMEM where not all could be kept. */
MER_MUST enum mer_status spool_check(const struct spool *spool, struct mer_error *err);

/** Copies up to n bytes from a place on; 0 at the end. Only of what could be kept. */
MER_MUST enum mer_status spool_read(struct spool *spool, int64_t at, char *out, size_t n,
                                    size_t *got, struct mer_error *err);

#endif
