/* Server-Sent Events: a stream means the same however it is cut, and is held to its bounds. */
#include "../../src/meal/http_sse.h"
#include "fuzz.h"

#include <string.h>

#define LIMIT 256

static void read_stream(const char *bytes, size_t len, size_t most, struct mer_buf *seen)
{
	struct http_sse sse;
	struct http_sse_event event;
	http_sse_init(&sse, LIMIT);
	for (size_t at = 0, taken; at < len; at += taken) {
		size_t n = len - at < most ? len - at : most;
		bool whole = http_sse_feed(&sse, bytes + at, n, &taken, &event);
		MER_ASSERT(taken > 0 && taken <= n);
		if (!whole)
			continue;
		MER_ASSERT(event.type.len <= LIMIT && event.data.len < LIMIT);
		MER_ASSERT(memchr(event.data.ptr, '\r', event.data.len) == NULL);
		mer_buf_add(seen, event.type.ptr, event.type.len);
		mer_buf_byte(seen, '\n');
		mer_buf_add(seen, event.data.ptr, event.data.len);
		mer_buf_text(seen, "\n\n");
	}
	mer_buf_byte(seen, (char)http_sse_check(&sse, NULL));
	http_sse_release(&sse);
}

/* The first byte says how it is cut. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct mer_buf whole, cut;
	if (len == 0)
		return 0;
	mer_buf_init(&whole, SIZE_MAX);
	mer_buf_init(&cut, SIZE_MAX);
	read_stream((const char *)bytes + 1, len - 1, len, &whole);
	read_stream((const char *)bytes + 1, len - 1, 1 + (size_t)bytes[0] % 16, &cut);
	MER_ASSERT(whole.len == cut.len && memcmp(whole.ptr, cut.ptr, whole.len) == 0);
	mer_buf_release(&whole);
	mer_buf_release(&cut);
	return 0;
}
