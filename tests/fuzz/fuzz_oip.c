/* Requests of the Open Inference Protocol: what is made of one is what a frame may have, and is the
 * same after it was written as JSON and read again, and whether its values were a tree or not. */
#include "fuzz.h"

#include <mer/clean.h>
#include <mer/oip.h>
#include <string.h>

#define LIMIT 65536

/* The input: a contract and a request as JSON, each ended by a NUL, and binary data. */
static json_t *next_json(const uint8_t **at, size_t *left)
{
	const uint8_t *end = *left > 0 ? memchr(*at, 0, *left) : NULL;
	size_t len = end != NULL ? (size_t)(end - *at) : *left;
	json_t *json = NULL;
	if (mer_json_parse("it", (const char *)*at, len, &json, NULL) != MER_OK)
		json = NULL;
	len += end != NULL;
	*at += len;
	*left -= len;
	return json;
}

static json_t *write_all(const struct mer_oip_request *request, const struct mer_content *content)
{
	struct mer_buf out;
	json_t *json = NULL;
	const char *body = request->body.len > 0 ? request->body.ptr : "";
	mer_buf_init(&out, SIZE_MAX);
	mer_buf_text(&out, "{\"inputs\":[");
	for (size_t i = 0; i < content->count; i++) {
		struct mer_oip_output output;
		size_t n = (size_t)content->tensors[i].bytes, half = n / 2;
		if (i > 0)
			mer_buf_byte(&out, ',');
		const json_t *list = json_object_get(request->meta, "inputs");
		mer_oip_output_begin(&output, json_array_get(list, i), &out);
		mer_oip_output_add(&output, body, half);
		mer_oip_output_add(&output, body + half, n - half);
		MER_ASSERT(mer_oip_output_end(&output, NULL) == MER_OK);
		body += n;
	}
	mer_buf_text(&out, "]}");
	MER_ASSERT(mer_json_parse("it", out.ptr, out.len, &json, NULL) == MER_OK ||
	           strstr(out.ptr, "\"UINT64\"") != NULL); /* over 63 bits, which jansson has not */
	mer_buf_release(&out);
	return json;
}

/* Infinity is null, and a BOOL of binary data may be 2: such is refused when it comes back. */
static void check_again(const struct mer_oip_request *made, const struct mer_content *content)
{
	struct mer_oip_request again = { 0 };
	MER_AUTO(mer_json_done) json_t *json = write_all(made, content);
	if (mer_oip_request(NULL, json, (struct mer_str){ "", 0 }, SIZE_MAX, &again, NULL) == MER_OK) {
		const json_t *list = json_object_get(made->meta, "inputs");
		MER_ASSERT(json_array_size(list) == json_array_size(json_object_get(again.meta, "inputs")));
		MER_ASSERT(made->body.len == again.body.len);
	}
	mer_oip_request_release(&again);
}

static void check_made(const struct mer_oip_request *made)
{
	struct mer_content content;
	uint64_t shape[MER_OIP_DIMS];
	const json_t *list = json_object_get(made->meta, "inputs");
	bool in_json = true; /* binary data may have more dimensions */
	MER_ASSERT(mer_content_read(made->meta, "inputs", made->body.len, &content, NULL) == MER_OK);
	for (size_t i = 0; i < content.count; i++)
		in_json = in_json && mer_oip_shape(json_array_get(list, i), shape) >= 0;
	if (in_json)
		check_again(made, &content);
	mer_content_release(&content);
}

/* A request whose values were left in its text is the same as one of which there is a tree. */
static void check_text(const json_t *contract, struct mer_str text)
{
	struct mer_oip_request made = { 0 }, parsed = { 0 };
	MER_AUTO(mer_json_done) json_t *request = NULL;
	const struct mer_str none = { "", 0 };
	enum mer_status st = mer_json_parse("it", text.ptr, text.len, &request, NULL);
	if (st == MER_OK)
		st = mer_oip_request(contract, request, none, LIMIT, &made, NULL);
	enum mer_status again = mer_oip_parse(contract, text, LIMIT, &parsed, NULL);
	bool escaped = text.len > 0 && memchr(text.ptr, '\\', text.len) != NULL; /* names, perhaps */
	MER_ASSERT(again == st || (escaped && again != MER_OK));
	if (again == MER_OK) {
		MER_ASSERT(json_equal(made.meta, parsed.meta) && made.body.len == parsed.body.len);
		MER_ASSERT(made.body.len == 0 ||
		           memcmp(made.body.ptr, parsed.body.ptr, made.body.len) == 0);
	}
	mer_oip_request_release(&made);
	mer_oip_request_release(&parsed);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct mer_oip_request made = { 0 };
	struct mer_error err = { .status = MER_OK };
	MER_AUTO(mer_json_done) json_t *contract = next_json(&bytes, &len);
	const char *text_at = (const char *)bytes;
	const size_t text_len = strnlen(text_at, len);
	MER_AUTO(mer_json_done) json_t *request = next_json(&bytes, &len);
	if (!json_is_array(contract)) {
		json_decref(contract);
		contract = NULL;
	}
	struct mer_buf text;
	mer_buf_init(&text, LIMIT);
	mer_oip_describe(contract, &text);
	mer_buf_release(&text);
	struct mer_str binary = { (const char *)bytes, len };
	enum mer_status st = mer_oip_request(contract, request, binary, LIMIT, &made, &err);
	MER_ASSERT(st == MER_OK || (err.status == st && err.message[0] != '\0'));
	if (st == MER_OK)
		check_made(&made);
	mer_oip_request_release(&made);
	check_text(contract, (struct mer_str){ text_at, text_len });
	return 0;
}
