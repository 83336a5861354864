/* What a test program of Check shares with check_main.c: it defines suite(), which main() runs. */
#ifndef CHECK_MAIN_H
#define CHECK_MAIN_H

#include <check.h>
#include <stdint.h>

Suite *suite(void);

/* The number of rows of a table, as tcase_add_loop_test() takes it. */
#define N_ROWS(table) ((int)(sizeof(table) / sizeof *(table)))

/* Numbers that are the same in each run. Source: Marsaglia, "Xorshift RNGs" (2003), 64 bits. */
static inline uint32_t random_below(uint64_t *state, uint32_t n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 32) % n;
}

#endif
