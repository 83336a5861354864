/* SHA-256 over libnettle. */
#include <assert.h>
#include <mer/hash.h>
#include <nettle/sha2.h>

static_assert(sizeof(struct sha256_ctx) <= sizeof((struct mer_sha256 *)0)->state,
              "libnettle's context fits");
static_assert(_Alignof(struct sha256_ctx) <= _Alignof(struct mer_sha256), "and is aligned");

static struct sha256_ctx *context(struct mer_sha256 *hash)
{
	return (struct sha256_ctx *)(void *)&hash->state;
}

void mer_sha256_init(struct mer_sha256 *hash)
{
	sha256_init(context(hash));
}

void mer_sha256_add(struct mer_sha256 *hash, const void *bytes, size_t n)
{
	if (n > 0)
		sha256_update(context(hash), n, bytes);
}

void mer_sha256_end(struct mer_sha256 *hash, char out[MER_SHA256_SIZE])
{
	unsigned char digest[SHA256_DIGEST_SIZE];
	sha256_digest(context(hash), sizeof digest, digest); /* initialises again */
	for (size_t i = 0; i < sizeof digest; i++) {
		out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
	}
	out[2 * sizeof digest] = '\0';
}

void mer_sha256(const void *bytes, size_t n, char out[MER_SHA256_SIZE])
{
	struct mer_sha256 hash;
	mer_sha256_init(&hash);
	mer_sha256_add(&hash, bytes, n);
	mer_sha256_end(&hash, out);
}
