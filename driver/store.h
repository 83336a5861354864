/* Where outputs that wait for their turn are kept, all of a command's together: a budget of memory, and
 * one unnamed file of blocks, which whoever borrows them gives back for others to use. */
#ifndef STORE_H
#define STORE_H

#include <mer/error.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_BLOCK ((size_t)65536) /* bytes */
#define STORE_NONE SIZE_MAX         /* no block */

struct store {
	size_t memory, borrowed; /* bytes of memory: all that may be borrowed, and what is */
	int fd;                  /* -1: nothing has come to the disk yet */
	size_t *next;            /* of each block that there is, in its chain */
	size_t n_blocks, room;   /* room: of next */
	size_t spare, n_spare;   /* the chain of those given back */
};

/** Opens nothing. */
void store_init(struct store *store, size_t memory);
void store_release(struct store *store);

/** How many bytes of memory may still be borrowed. */
static inline size_t store_memory_left(const struct store *store)
{
	return store->borrowed < store->memory ? store->memory - store->borrowed : 0;
}

/** How many bytes of the disk are borrowed. */
static inline int64_t store_on_disk(const struct store *store)
{
	return (int64_t)(store->n_blocks - store->n_spare) * (int64_t)STORE_BLOCK;
}

/** What follows a block in its chain. */
static inline size_t store_next(const struct store *store, size_t block)
{
	return store->next[block];
}

/**
 * Borrows a block, the end of a chain.
 * @param last  what is its end so far; STORE_NONE: the chain begins
 */
MER_MUST enum mer_status store_take(struct store *store, size_t last, size_t *out,
                                    struct mer_error *err);

/** Gives back a chain, from its first block to its last. */
void store_give(struct store *store, size_t first, size_t last);

/** Writes, or reads, within a block. What is read must have been written. */
MER_MUST enum mer_status store_write(const struct store *store, size_t block, size_t at,
                                     const char *bytes, size_t n, struct mer_error *err);
MER_MUST enum mer_status store_read(const struct store *store, size_t block, size_t at, char *out,
                                    size_t n, struct mer_error *err);

#endif
