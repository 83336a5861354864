/* UUIDv7: keys in the order of time. Source: RFC 9562, section 5.7 (and 6.2 method 3). */
#ifndef MER_UID_H
#define MER_UID_H

#include <mer/error.h>
#include <stdbool.h>
#include <stdint.h>

struct mer_uid {
	char text[37]; /* 8-4-4-4-12 lower-case hexadecimal digits and a NUL */
};

/** A new uid: 48 bits of milliseconds, 12 of their fraction, 62 random (getrandom). */
MER_API void mer_uid_new(struct mer_uid *out);

/** Whether it is a UUID in the form that mer_uid_new() writes; any version. */
MER_API bool mer_uid_valid(const char *text);

/** The 62 random bits of a uid that is valid, as a key for locks; never 0. */
MER_API int64_t mer_uid_key(const char *text);

#endif
