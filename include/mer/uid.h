/* UUIDv7: keys in the order of time. Source: RFC 9562, section 5.7 (and 6.2 method 3). */
#ifndef MER_UID_H
#define MER_UID_H

#include <mer/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters of a uid that are its time, to a quarter of a microsecond. */
#define MER_UID_TIME 18

struct mer_uid {
	char text[37]; /* 8-4-4-4-12 lower-case hexadecimal digits and a NUL */
};

/** A new uid: 48 bits of milliseconds, 12 of their fraction, 62 random (getrandom). */
MER_API void mer_uid_new(struct mer_uid *out);

/* Random bytes fetched ahead, for who makes many uids; zeroed before its first use. Never shared by
 * threads nor used on both sides of a fork. */
struct mer_uid_source {
	uint64_t random[32];
	size_t left;
	uint64_t latest; /* the first half of the last uid */
};

/** As mer_uid_new(), without a system call a uid, and none is of an earlier time than the one before,
 * whatever becomes of the clock: MER_UID_TIME characters compare so. */
MER_API void mer_uid_next(struct mer_uid_source *source, struct mer_uid *out);

/** Whether it is a UUID in the form that mer_uid_new() writes; any version. */
MER_API bool mer_uid_valid(const char *text);

/** The 62 random bits of a uid that is valid, as a key for locks; never 0. */
MER_API int64_t mer_uid_key(const char *text);

#endif
