/* What a server says first: all that is found in it is of it. */
#include "fuzz.h"

#include "ssh_hello.h"

#include <string.h>

static bool is_within(struct mer_str piece, const uint8_t *bytes, size_t len)
{
	const uint8_t *at = (const uint8_t *)piece.ptr;
	return piece.len == 0 || (at >= bytes && at + piece.len <= bytes + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const char *const ours[SSH_LIST_COUNT] = { "curve25519-sha256", "ssh-ed25519",
		                                              "aes128-ctr",        "aes128-ctr",
		                                              "hmac-sha2-256",     "hmac-sha2-256" };
	struct ssh_hello hello;
	char why[160];
	ssh_hello_read(&hello, (struct mer_str){ (const char *)bytes, len });
	MER_ASSERT(is_within(hello.said, bytes, len) && is_within(hello.banner, bytes, len));
	MER_ASSERT(hello.banner.len == 0 || memcmp(hello.banner.ptr, "SSH-", 4) == 0);
	if (!hello.has_lists)
		return 0;
	for (size_t i = 0; i < SSH_LIST_COUNT; i++)
		MER_ASSERT(is_within(hello.lists[i], bytes, len));
	const bool agrees = ssh_hello_agrees(&hello, ours, why);
	MER_ASSERT(agrees == (why[0] == '\0'));
	return 0;
}
