/* How often each value of some keys came: exact up to 8191, beyond in steps of a 4096th at most, so that
 * memory is by the number of different ones and of powers of two. */
#ifndef TALLY_H
#define TALLY_H

#include <mer/error.h>
#include <stddef.h>
#include <stdint.h>

struct tally_entry {
	uint64_t key;
	int64_t value; /* the least of a step; never negative */
	int64_t count; /* 0: the place is free */
};

struct tally {
	struct tally_entry *entries; /* a hash table; after tally_sort() the n of them in order */
	size_t room, n;
};

/** The step that a value is in: its least, and how many values it has. */
int64_t tally_step(int64_t value, int64_t *width);

/** Counts one more; value is taken as it is. A zeroed struct is an empty one. */
MER_MUST enum mer_status tally_add(struct tally *tally, uint64_t key, int64_t value,
                                   struct mer_error *err);

/** Orders it by key, then value; nothing is added afterwards. */
void tally_sort(struct tally *tally);
void tally_release(struct tally *tally);

#endif
