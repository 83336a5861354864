/* What the files of the base layer share. */
#ifndef BASE_H
#define BASE_H

#include <mer/buf.h>
#include <stdint.h>
#include <string.h>

/* mer_buf_add() for hot paths: inline where the bytes fit the memory at hand. */
static inline void base_add(struct mer_buf *buf, const void *bytes, size_t n)
{
	/* cap is 0, or counts the NUL. */
	if (n == 0 || buf->status != MER_OK || buf->cap - buf->len <= n) {
		mer_buf_add(buf, bytes, n);
		return;
	}
	memcpy(buf->ptr + buf->len, bytes, n);
	buf->len += n;
	buf->ptr[buf->len] = '\0';
}

static inline void base_byte(struct mer_buf *buf, char byte)
{
	base_add(buf, &byte, 1);
}

/* What is no code point. */
enum {
	BASE_UTF8_BAD = 0x110000,
	BASE_UTF8_CUT, /* not whole only because the bytes end too early */
};

/**
 * Reads the sequence at the start of len bytes; len is at least 1.
 * @param code  its code point, or one of the two above
 * @return how many bytes it has, at least 1. What is not valid is as long as the longest part that
 *         could begin a sequence (Unicode, section 3.9, "Substitution of Maximal Subparts"), so
 *         that one U+FFFD stands for it.
 */
size_t base_utf8_read(const char *bytes, size_t len, uint32_t *code);

/* Makes text one line of valid UTF-8 in place: control characters and bytes that are not UTF-8
 * become '?', a sequence cut off at the end is dropped. */
void base_one_line(char *text);

#endif
