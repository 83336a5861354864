/* SHA-256 (FIPS 180-4) over libnettle. */
#ifndef MER_HASH_H
#define MER_HASH_H

#include <mer/error.h>
#include <stdint.h>

/* Room for the 64 hexadecimal digits and a NUL. */
#define MER_SHA256_SIZE 65

struct mer_sha256 {
	union {
		uint64_t align;
		unsigned char bytes[128]; /* libnettle's context, whose size is checked when compiled */
	} state;
};

MER_API void mer_sha256_init(struct mer_sha256 *hash);
MER_API void mer_sha256_add(struct mer_sha256 *hash, const void *bytes, size_t n);

/** Writes the digest in lower-case hexadecimal; the state is as after mer_sha256_init(). */
MER_API void mer_sha256_end(struct mer_sha256 *hash, char out[MER_SHA256_SIZE]);

/** All at once. */
MER_API void mer_sha256(const void *bytes, size_t n, char out[MER_SHA256_SIZE]);

#endif
