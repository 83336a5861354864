/* What a server says first; ssh_hello.h. */
#include "ssh_hello.h"

#include "ssh_piece.h"

#include <stdio.h>
#include <string.h>

#define KEXINIT 20
#define COOKIE 16

static struct mer_str line_of(struct mer_str bytes, size_t *used)
{
	const char *end = memchr(bytes.ptr, '\n', bytes.len);
	size_t len = end != NULL ? (size_t)(end - bytes.ptr) : bytes.len;
	*used = len + (end != NULL);
	while (len > 0 && bytes.ptr[len - 1] == '\r')
		len--;
	return (struct mer_str){ bytes.ptr, len };
}

static void skip(struct mer_str *bytes, size_t n)
{
	bytes->ptr += n;
	bytes->len -= n;
}

/* A packet of the time before encryption: its length, that of its padding, its payload. */
static bool take_packet(struct mer_str *bytes, struct mer_str *payload)
{
	size_t len;
	if (!ssh_take_u32(bytes, &len) || len < 2 || len > bytes->len)
		return false;
	const size_t padding = (unsigned char)bytes->ptr[0];
	if (padding + 1 >= len)
		return false;
	*payload = (struct mer_str){ bytes->ptr + 1, len - padding - 1 };
	skip(bytes, len);
	return true;
}

static bool read_lists(struct ssh_hello *hello, struct mer_str payload)
{
	if (payload.len < 1 + COOKIE || payload.ptr[0] != KEXINIT)
		return false;
	skip(&payload, 1 + COOKIE);
	for (size_t i = 0; i < SSH_LIST_COUNT; i++)
		if (!ssh_take_string(&payload, &hello->lists[i]))
			return false;
	return true;
}

void ssh_hello_read(struct ssh_hello *hello, struct mer_str bytes)
{
	*hello = (struct ssh_hello){ .said = { "", 0 }, .banner = { "", 0 } };
	while (bytes.len > 0 && hello->banner.len == 0) {
		size_t used;
		const struct mer_str line = line_of(bytes, &used);
		const bool whole = bytes.ptr[used - 1] == '\n';
		if (whole && line.len > 4 && memcmp(line.ptr, "SSH-", 4) == 0)
			hello->banner = line;
		else if (line.len > 0)
			hello->said = line;
		skip(&bytes, used);
	}
	struct mer_str payload;
	while (!hello->has_lists && take_packet(&bytes, &payload))
		hello->has_lists = read_lists(hello, payload);
}

/* The first of ours that the server has; of no length: none. */
static struct mer_str agreed(struct mer_str ours, struct mer_str theirs)
{
	struct mer_str name;
	while (ssh_list_next(&ours, &name))
		if (ssh_list_has(theirs, name))
			return name;
	return (struct mer_str){ "", 0 };
}

/* Ciphers that need no MAC beside them. */
static bool is_sealed(struct mer_str cipher)
{
	return memmem(cipher.ptr, cipher.len, "gcm@", 4) != NULL ||
	       memmem(cipher.ptr, cipher.len, "poly1305", 8) != NULL;
}

bool ssh_hello_agrees(const struct ssh_hello *hello, const char *const ours[SSH_LIST_COUNT],
                      char why[160])
{
	static const char *const names[SSH_LIST_COUNT] = {
		[SSH_LIST_KEX] = "key exchange",    [SSH_LIST_HOST_KEYS] = "host key",
		[SSH_LIST_CIPHERS_TO] = "cipher",   [SSH_LIST_MACS_TO] = "MAC",
		[SSH_LIST_CIPHERS_FROM] = "cipher", [SSH_LIST_MACS_FROM] = "MAC",
	};
	why[0] = '\0';
	for (size_t i = 0; i < SSH_LIST_COUNT; i++) {
		const size_t cipher = i == SSH_LIST_MACS_TO     ? SSH_LIST_CIPHERS_TO
		                      : i == SSH_LIST_MACS_FROM ? SSH_LIST_CIPHERS_FROM
		                                                : i;
		if (cipher != i && is_sealed(agreed(ssh_text(ours[cipher]), hello->lists[cipher])))
			continue;
		if (agreed(ssh_text(ours[i]), hello->lists[i]).len > 0)
			continue;
		(void)snprintf(why, 160, "the server has no %s that libssh2 has, only %.*s", names[i],
		               hello->lists[i].len < 80 ? (int)hello->lists[i].len : 80,
		               hello->lists[i].ptr);
		return false;
	}
	return true;
}
