/* The sticky buffer. */
#include <errno.h>
#include <mer/buf.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mer_buf_init(struct mer_buf *buf, size_t limit)
{
	*buf = (struct mer_buf){ .limit = limit };
}

void mer_buf_release(struct mer_buf *buf)
{
	if (buf == NULL)
		return;
	free(buf->ptr);
	mer_buf_init(buf, buf->limit);
}

void mer_buf_clear(struct mer_buf *buf)
{
	buf->len = 0;
	buf->status = MER_OK;
	if (buf->ptr != NULL)
		buf->ptr[0] = '\0';
}

/* Memory for n more bytes and their NUL: twice what is needed, so that appends are linear. */
__attribute__((cold)) static void enlarge(struct mer_buf *buf, size_t n)
{
	if (n > buf->limit - buf->len) {
		buf->status = MER_ELIMIT;
		return;
	}
	size_t need = buf->len + n;
	if (need >= PTRDIFF_MAX) { /* no object may be larger */
		buf->status = MER_ENOMEM;
		return;
	}
	size_t cap = (need > buf->limit / 2 ? buf->limit : 2 * need);
	if (cap < 62 && buf->limit >= 62)
		cap = 62;
	if (cap >= PTRDIFF_MAX)
		cap = need;
	char *ptr = realloc(buf->ptr, cap + 1);
	if (ptr == NULL) {
		buf->status = MER_ENOMEM;
		return;
	}
	if (buf->ptr == NULL)
		ptr[0] = '\0';
	buf->ptr = ptr;
	buf->cap = cap + 1;
}

/* Whether n more bytes fit now. */
static inline bool make_room(struct mer_buf *buf, size_t n)
{
	if (buf->status != MER_OK)
		return false;
	/* cap - 1 never exceeds limit, so what fits the memory fits the limit. */
	if (buf->ptr == NULL || n > buf->cap - 1 - buf->len)
		enlarge(buf, n);
	return buf->status == MER_OK;
}

void mer_buf_add(struct mer_buf *buf, const void *bytes, size_t n)
{
	if (n == 0 || !make_room(buf, n))
		return;
	memcpy(buf->ptr + buf->len, bytes, n);
	buf->len += n;
	buf->ptr[buf->len] = '\0';
}

void mer_buf_text(struct mer_buf *buf, const char *text)
{
	mer_buf_add(buf, text, strlen(text));
}

void mer_buf_byte(struct mer_buf *buf, char byte)
{
	mer_buf_add(buf, &byte, 1);
}

void mer_buf_printf(struct mer_buf *buf, const char *fmt, ...)
{
	if (!make_room(buf, 0))
		return;
	size_t room = buf->cap - buf->len; /* with the NUL */
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(buf->ptr + buf->len, room, fmt, args);
	va_end(args);
	if (n >= 0 && (size_t)n >= room) {
		buf->ptr[buf->len] = '\0';
		if (!make_room(buf, (size_t)n))
			return;
		room = buf->cap - buf->len;
		va_start(args, fmt);
		n = vsnprintf(buf->ptr + buf->len, room, fmt, args);
		va_end(args);
	}
	if (n < 0 || (size_t)n >= room) {
		buf->ptr[buf->len] = '\0';
		buf->status = errno == ENOMEM ? MER_ENOMEM : MER_ELIMIT;
		return;
	}
	buf->len += (size_t)n;
}

char *mer_buf_room(struct mer_buf *buf, size_t n)
{
	return make_room(buf, n) ? buf->ptr + buf->len : NULL;
}

void mer_buf_grow(struct mer_buf *buf, size_t n)
{
	MER_ASSERT(n == 0 || (buf->ptr != NULL && n <= buf->cap - 1 - buf->len));
	if (n == 0)
		return;
	buf->len += n;
	buf->ptr[buf->len] = '\0';
}

void mer_buf_drop(struct mer_buf *buf, size_t n)
{
	MER_ASSERT(n <= buf->len);
	if (n == 0)
		return;
	buf->len -= n;
	memmove(buf->ptr, buf->ptr + n, buf->len + 1);
}

enum mer_status mer_buf_check(const struct mer_buf *buf, struct mer_error *err)
{
	if (buf->status == MER_OK)
		return MER_OK;
	if (buf->status == MER_ELIMIT)
		return mer_fail(err, MER_ELIMIT, "longer than %zu bytes", buf->limit);
	return mer_fail(err, buf->status, "out of memory after %zu bytes", buf->len);
}

enum mer_status mer_buf_take(struct mer_buf *buf, char **out, size_t *len, struct mer_error *err)
{
	(void)make_room(buf, 0); /* so that an empty buffer gives a text too */
	enum mer_status st = mer_buf_check(buf, err);
	if (st != MER_OK) {
		mer_buf_release(buf);
		return st;
	}
	*out = buf->ptr;
	if (len != NULL)
		*len = buf->len;
	mer_buf_init(buf, buf->limit);
	return MER_OK;
}
