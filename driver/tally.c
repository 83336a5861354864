/* A hash table of counts. */
#include "tally.h"

#include <stdlib.h>

enum { EXACT_BITS = 12, FIRST_ROOM = 1024 };

int64_t tally_step(int64_t value, int64_t *width)
{
	int64_t step = 1;
	while (value / step >> (EXACT_BITS + 1) != 0)
		step *= 2;
	*width = step;
	return value - value % step;
}

/* The finalizer of MurmurHash3, by Austin Appleby: each bit of the input moves half of the output's. */
static uint64_t mix(uint64_t bits)
{
	bits ^= bits >> 33;
	bits *= UINT64_C(0xff51afd7ed558ccd);
	bits ^= bits >> 33;
	bits *= UINT64_C(0xc4ceb9fe1a85ec53);
	return bits ^ bits >> 33;
}

/* Where an entry is, or would be. */
static struct tally_entry *find(const struct tally *tally, uint64_t key, int64_t value)
{
	size_t at = (size_t)mix(key * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)value);
	for (;; at++) {
		struct tally_entry *entry = &tally->entries[at & (tally->room - 1)];
		if (entry->count == 0 || (entry->key == key && entry->value == value))
			return entry;
	}
}

/* At most three quarters are taken. */
static enum mer_status grow(struct tally *tally, struct mer_error *err)
{
	struct tally next = { .room = tally->room > 0 ? 2 * tally->room : FIRST_ROOM, .n = tally->n };
	next.entries = calloc(next.room, sizeof *next.entries);
	if (next.entries == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (size_t i = 0; i < tally->room; i++) {
		const struct tally_entry *entry = &tally->entries[i];
		if (entry->count > 0)
			*find(&next, entry->key, entry->value) = *entry;
	}
	free(tally->entries);
	*tally = next;
	return MER_OK;
}

enum mer_status tally_add(struct tally *tally, uint64_t key, int64_t value, struct mer_error *err)
{
	if (4 * (tally->n + 1) > 3 * tally->room && grow(tally, err) != MER_OK)
		return MER_ENOMEM;
	struct tally_entry *entry = find(tally, key, value);
	if (entry->count == 0) {
		*entry = (struct tally_entry){ .key = key, .value = value };
		tally->n++;
	}
	entry->count++;
	return MER_OK;
}

static int by_key(const void *left, const void *right)
{
	const struct tally_entry *a = left, *b = right;
	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return (a->value > b->value) - (a->value < b->value);
}

void tally_sort(struct tally *tally)
{
	size_t to = 0;
	for (size_t i = 0; i < tally->room; i++) {
		if (tally->entries[i].count > 0)
			tally->entries[to++] = tally->entries[i];
	}
	if (to > 0)
		qsort(tally->entries, to, sizeof *tally->entries, by_key);
}

void tally_release(struct tally *tally)
{
	free(tally->entries);
	*tally = (struct tally){ 0 };
}
