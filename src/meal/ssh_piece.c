/* Pieces of SSH's messages; ssh_piece.h. */
#include "ssh_piece.h"

#include <string.h>

bool ssh_list_next(struct mer_str *rest, struct mer_str *name)
{
	while (rest->len > 0 && rest->ptr[0] == ',') {
		rest->ptr++;
		rest->len--;
	}
	if (rest->len == 0)
		return false;
	const char *comma = memchr(rest->ptr, ',', rest->len);
	size_t len = comma != NULL ? (size_t)(comma - rest->ptr) : rest->len;
	*name = (struct mer_str){ rest->ptr, len };
	rest->ptr += len;
	rest->len -= len;
	return true;
}

bool ssh_list_has(struct mer_str list, struct mer_str name)
{
	struct mer_str one;
	while (ssh_list_next(&list, &one))
		if (one.len == name.len && memcmp(one.ptr, name.ptr, name.len) == 0)
			return true;
	return false;
}

bool ssh_take_u32(struct mer_str *bytes, size_t *out)
{
	const unsigned char *at = (const unsigned char *)bytes->ptr;
	if (bytes->len < 4)
		return false;
	*out = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | (size_t)at[3];
	bytes->ptr += 4;
	bytes->len -= 4;
	return true;
}

bool ssh_take_string(struct mer_str *bytes, struct mer_str *out)
{
	size_t len;
	if (!ssh_take_u32(bytes, &len) || len > bytes->len)
		return false;
	*out = (struct mer_str){ bytes->ptr, len };
	bytes->ptr += len;
	bytes->len -= len;
	return true;
}
