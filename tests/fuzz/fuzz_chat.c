/* Chat completions: an answer means the same however it is cut, and has one end. */
#include "../../src/meal/http_chat.h"
#include "fuzz.h"

#include <string.h>

#define LIMIT 1024

static void note(struct mer_buf *seen, char *last, const struct meal_event *event)
{
	char kind = event->kind == MEAL_OUTPUT ? 'o' : event->kind == MEAL_LOG ? 'l' : 'd';
	MER_ASSERT(kind == 'o' || event->kind == MEAL_LOG || event->kind == MEAL_DONE);
	MER_ASSERT(kind == 'd' || event->bytes.len > 0);
	if (kind != *last)
		mer_buf_byte(seen, kind);
	if (kind == 'd')
		mer_buf_byte(seen, (char)event->status);
	mer_buf_add(seen, event->bytes.ptr, event->bytes.len);
	*last = kind;
}

static void read_answer(bool streamed, const char *bytes, size_t len, size_t most,
                        struct mer_buf *seen)
{
	struct http_chat chat;
	struct meal_event event = { .kind = MEAL_NOTHING };
	char last = '\0';
	size_t at = 0;
	http_chat_init(&chat, streamed, LIMIT);
	while (at < len && !chat.done) {
		size_t end = len - at < most ? len : at + most;
		do {
			size_t taken = http_chat_feed(&chat, bytes + at, end - at, &event);
			MER_ASSERT(taken <= end - at && (taken > 0 || at == end || event.kind != MEAL_NOTHING));
			at += taken;
			if (event.kind != MEAL_NOTHING)
				note(seen, &last, &event);
		} while (!chat.done && (at < end || event.kind != MEAL_NOTHING));
	}
	for (int steps = 0; !chat.done; steps++) {
		MER_ASSERT(steps < 4);
		http_chat_end(&chat, &event);
		note(seen, &last, &event);
	}
	MER_ASSERT(last == 'd');
	http_chat_release(&chat);
}

/* The first byte says how it is cut, and whether it is a stream. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct mer_buf whole, cut;
	if (len == 0)
		return 0;
	bool streamed = bytes[0] < 192;
	mer_buf_init(&whole, SIZE_MAX);
	mer_buf_init(&cut, SIZE_MAX);
	read_answer(streamed, (const char *)bytes + 1, len - 1, len, &whole);
	read_answer(streamed, (const char *)bytes + 1, len - 1, 1 + (size_t)bytes[0] % 16, &cut);
	MER_ASSERT(whole.len == cut.len && memcmp(whole.ptr, cut.ptr, whole.len) == 0);
	mer_buf_release(&whole);
	mer_buf_release(&cut);
	return 0;
}
