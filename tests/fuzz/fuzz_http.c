/* What a server of the Open Inference Protocol answers: heads, statuses and bodies mean the same however
 * they are cut, and every run ends. */
#include "../../src/meal/http_status.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#define INPUT "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":[1]}]}"

static void add(struct mer_buf *seen, const struct meal_event *event)
{
	static const char names[] = {
		[MEAL_META] = 'm', [MEAL_OUTPUT] = 'o', [MEAL_LOG] = 'l', [MEAL_DONE] = 'd'
	};
	if (event->kind == MEAL_NOTHING)
		return;
	if (event->kind != MEAL_OUTPUT) /* of which the pieces are joined */
		mer_buf_byte(seen, names[event->kind]);
	mer_buf_add(seen, event->bytes.ptr, event->bytes.len);
	if (event->kind == MEAL_DONE)
		mer_buf_byte(seen, (char)event->status);
}

static bool read_head(struct mer_str *rest, struct http_head *head)
{
	http_head_init(head);
	while (!head->whole) {
		const char *end = rest->len > 0 ? memchr(rest->ptr, '\n', rest->len) : NULL;
		if (end == NULL)
			return false;
		size_t len = (size_t)(end - rest->ptr);
		if (http_head_line(head, rest->ptr, len, NULL) != MER_OK)
			return false;
		*rest = (struct mer_str){ end + 1, rest->len - len - 1 };
	}
	return true;
}

static void read_body(struct http_api *api, struct mer_str body, size_t most, struct mer_buf *seen)
{
	struct meal_event event = { .kind = MEAL_NOTHING };
	for (size_t at = 0; at < body.len && event.kind != MEAL_DONE;) {
		size_t n = body.len - at < most ? body.len - at : most;
		event = (struct meal_event){ .kind = MEAL_NOTHING };
		size_t taken = api->ops->feed(api, body.ptr + at, n, &event);
		MER_ASSERT(taken <= n && (taken > 0 || event.kind != MEAL_NOTHING));
		at += taken;
		add(seen, &event);
	}
	while (event.kind != MEAL_DONE) {
		event = (struct meal_event){ .kind = MEAL_NOTHING };
		api->ops->end(api, &event);
		MER_ASSERT(event.kind != MEAL_NOTHING);
		add(seen, &event);
	}
}

static void answer(const struct http_head *head, struct mer_str body, bool plain, size_t most,
                   struct mer_buf *seen)
{
	static char name[] = "m";
	static char *none[] = { NULL };
	const struct mer_http http = { .url = name, .model = name, .params = none, .headers = none };
	static const char bytes_only[] =
		"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"shape\":[1]}]}";
	struct http_request request = { .method = "GET" };
	struct http_api *api = calloc(1, http_oip.size);
	MER_ASSERT(api != NULL);
	*api = (struct http_api){ .ops = &http_oip, .http = &http, .max_output = 4096 };
	mer_buf_init(&request.path, 4096);
	MER_ASSERT(http_oip.init(api, NULL) == MER_OK);
	while (!api->greeted) { /* what comes back is what it says of the model, too */
		const struct http_response ok = { .status = 200 };
		MER_ASSERT(http_oip.hello(api, true, &request, NULL) == MER_OK);
		const struct mer_str says = { bytes_only, plain ? sizeof bytes_only - 1 : 0 };
		(void)!http_oip.heard(api, true, &ok, says, NULL);
	}
	const struct mer_input input = { .bytes = INPUT, .len = sizeof INPUT - 1 };
	if (http_oip.build(api, &input, &request, NULL) == MER_OK) {
		if (http_oip.take(api, &head->response, NULL) == MER_OK)
			read_body(api, body, most, seen);
		http_oip.over(api);
	}
	http_oip.release(api);
	mer_buf_release(&request.path);
	free(api);
}

/* The first byte says how it is cut and whether plain bytes were sent; lines of a head follow, an empty
 * one, and the body. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct mer_buf whole, cut;
	struct http_head head;
	struct mer_error err;
	if (len == 0)
		return 0;
	struct mer_str rest = { (const char *)bytes + 1, len - 1 };
	if (!read_head(&rest, &head))
		return 0;
	if (!http_head_is_good(&head)) {
		MER_ASSERT(http_judge("s", &head, rest, &err) != MER_OK);
		return 0;
	}
	mer_buf_init(&whole, SIZE_MAX);
	mer_buf_init(&cut, SIZE_MAX);
	answer(&head, rest, (bytes[0] & 128) != 0, len, &whole);
	answer(&head, rest, (bytes[0] & 128) != 0, 1 + (size_t)bytes[0] % 16, &cut);
	MER_ASSERT(whole.len == cut.len &&
	           (whole.len == 0 || memcmp(whole.ptr, cut.ptr, whole.len) == 0));
	mer_buf_release(&whole);
	mer_buf_release(&cut);
	return 0;
}
