/* UTF-8 as RFC 3629 defines it by bit patterns: the slow reference of the tests. */
#ifndef TEST_BASE_UTF8_H
#define TEST_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Whether bytes[0..n) are one whole, valid sequence. */
static inline bool reference_whole(const unsigned char *bytes, size_t n)
{
	static const struct {
		unsigned mask, mark;
		uint32_t first; /* the lowest code point that needs this length */
	} forms[] = { { 0, 1, 0 },
		          { 0x80, 0, 0 },
		          { 0xE0, 0xC0, 0x80 },
		          { 0xF0, 0xE0, 0x800 },
		          { 0xF8, 0xF0, 0x10000 } };
	if (n < 1 || n > 4 || (bytes[0] & forms[n].mask) != forms[n].mark)
		return false;
	uint32_t code = bytes[0] & ~forms[n].mask & 0xFFu;
	for (size_t i = 1; i < n; i++) {
		if ((bytes[i] & 0xC0) != 0x80)
			return false;
		code = code << 6 | (bytes[i] & 0x3Fu);
	}
	return code >= forms[n].first && code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
}

/* Whether some bytes behind bytes[0..n) would make it one whole, valid sequence. */
static inline bool reference_begins(const unsigned char *bytes, size_t n)
{
	static const unsigned char seconds[] = { 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF };
	unsigned char whole[8];
	if (n < 1 || n > 3)
		return false;
	for (size_t want = n + 1; want <= 4; want++) {
		for (size_t i = 0; i < sizeof seconds; i++) {
			memset(whole, 0x80, sizeof whole);
			memcpy(whole, bytes, n);
			whole[n] = seconds[i];
			if (reference_whole(whole, want))
				return true;
		}
	}
	return false;
}

/* How many bytes of len have one meaning: a sequence (*valid), or what one U+FFFD stands for. */
static inline size_t reference_step(const unsigned char *bytes, size_t len, bool *valid)
{
	*valid = true;
	for (size_t n = 1; n <= 4 && n <= len; n++) {
		if (reference_whole(bytes, n))
			return n;
	}
	*valid = false;
	size_t n = 1;
	while (n < len && reference_begins(bytes, n + 1))
		n++;
	return n;
}

#endif
