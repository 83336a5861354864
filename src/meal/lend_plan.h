/* Which bytes of a file are still to be sent, where some of them are there already; pure. */
#ifndef MEAL_LEND_PLAN_H
#define MEAL_LEND_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LEND_PARTS_MAX = 256 };

/* A piece that is there: bytes from start on. Or that is to be sent: behind the bytes of it that are there,
 * up to end. */
struct lend_part {
	int64_t start, bytes, end;
};

/**
 * Reads what lend.sh says of parts: " START:BYTES START:BYTES...", in the order of their starts.
 * @return false: it is not that, or not within size
 */
bool lend_parts_read(const char *text, int64_t size, struct lend_part parts[LEND_PARTS_MAX],
                     size_t *n);

/** How many bytes are there. */
int64_t lend_parts_have(const struct lend_part parts[], size_t n);

/* How a file is shared out. */
struct lend_shares {
	size_t channels; /* at most */
	int64_t least;   /* bytes that are worth a channel */
	int64_t lead;    /* bytes that each channel has sent when the next one begins */
};

/** What is to be sent, such that all channels end together. At least one, which may be empty. Returns how many. */
size_t lend_plan(const struct lend_part parts[], size_t n, int64_t size,
                 const struct lend_shares *shares, struct lend_part out[]);

#endif
