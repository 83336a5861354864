/* Files of keys: what is told of one is whole. */
#include "fuzz.h"

#include "ssh_keyfile.h"
#include "ssh_known.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct ssh_keyfile key = { .path = "fuzz" };
	struct mer_error err;
	enum mer_status st =
		ssh_keyfile_parse(&key, (struct mer_str){ (const char *)bytes, len }, &err);
	MER_ASSERT(st == MER_OK || st == MER_ENOTFOUND);
	if (key.blob != NULL) {
		const struct mer_str type = ssh_key_type((struct mer_str){ (char *)key.blob, key.len });
		MER_ASSERT(type.len == strlen(key.type) && memcmp(type.ptr, key.type, type.len) == 0);
	}
	MER_ASSERT(st != MER_OK || key.blob != NULL || key.is_private);
	ssh_keyfile_release(&key);
	return 0;
}
