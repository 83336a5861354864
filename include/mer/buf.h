/*
 * Bytes that grow up to a limit, and views of bytes.
 *
 * A buffer is sticky: appends return nothing, after the first failure they do nothing, and
 * mer_buf_check() or mer_buf_take() is the one place that reports it. So a message is built without
 * a branch an append. ptr always has a NUL after its len bytes once something was added; it is NULL
 * before. Never keep ptr over an append.
 */
#ifndef MER_BUF_H
#define MER_BUF_H

#include <mer/error.h>

/* A view: borrowed, not ended by NUL. */
struct mer_str {
	const char *ptr;
	size_t len;
};

struct mer_buf {
	char *ptr;
	size_t len, cap; /* bytes; cap counts the room for the NUL */
	size_t limit;    /* len never exceeds it */
	enum mer_status status;
};

/** An empty buffer on the caller's storage; allocates nothing. */
MER_API void mer_buf_init(struct mer_buf *buf, size_t limit);

/** Frees the bytes; the buffer is as after mer_buf_init(). */
MER_API void mer_buf_release(struct mer_buf *buf);

/** Forgets the bytes and a failure, keeps the memory. */
MER_API void mer_buf_clear(struct mer_buf *buf);

MER_API void mer_buf_add(struct mer_buf *buf, const void *bytes, size_t n);
MER_API void mer_buf_text(struct mer_buf *buf, const char *text);
MER_API void mer_buf_byte(struct mer_buf *buf, char byte);
MER_API MER_PRINTF(2, 3) void mer_buf_printf(struct mer_buf *buf, const char *fmt, ...);

/** Room to write n more bytes into, or NULL after a failure; mer_buf_grow() then counts them. */
MER_API char *mer_buf_room(struct mer_buf *buf, size_t n);
MER_API void mer_buf_grow(struct mer_buf *buf, size_t n);

/** Drops the first n bytes; n is at most len. */
MER_API void mer_buf_drop(struct mer_buf *buf, size_t n);

/** MER_OK, MER_ELIMIT or MER_ENOMEM of the first append that failed. */
MER_API MER_MUST enum mer_status mer_buf_check(const struct mer_buf *buf, struct mer_error *err);

/**
 * Gives the bytes, ended by a NUL, to the caller, who frees them; the buffer is empty afterwards.
 * @param len  how many bytes without the NUL; NULL allowed
 * @return     as mer_buf_check(); on failure the buffer is released
 */
MER_API MER_MUST enum mer_status mer_buf_take(struct mer_buf *buf, char **out, size_t *len,
                                              struct mer_error *err);

#endif
