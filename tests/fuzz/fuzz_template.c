/* Templates and pointers: a template that was checked makes JSON of whatever input it takes, and a pointer
 * finds what it names or nothing. */
#include "../../src/meal/http_template.h"
#include "fuzz.h"

#include <mer/clean.h>
#include <string.h>

/* Up to a NUL, ended by one; owned. */
static char *next_text(const uint8_t **at, size_t *left)
{
	size_t len = strnlen((const char *)*at, *left);
	char *text = strndup((const char *)*at, len);
	MER_ASSERT(text != NULL);
	len += len < *left;
	*at += len;
	*left -= len;
	return text;
}

static void fill(const char *text, struct mer_str input)
{
	struct mer_buf out;
	MER_AUTO(mer_json_done) json_t *json = NULL;
	struct mer_error err = { .status = MER_OK };
	mer_buf_init(&out, SIZE_MAX);
	enum mer_status st = http_template_fill(text, input, "m", &out, &err);
	MER_ASSERT(st == MER_OK ? mer_json_parse("it", out.ptr, out.len, &json, NULL) == MER_OK
	                        : st == MER_EINPUT && err.message[0] != '\0');
	mer_buf_release(&out);
}

static void find(const char *pointer, struct mer_str document)
{
	struct mer_buf out;
	MER_AUTO(mer_json_done) json_t *json = NULL;
	struct mer_error err;
	mer_buf_init(&out, SIZE_MAX);
	if (http_pointer_check(pointer, &err) == MER_OK &&
	    http_json_parse("it", document, &json, &err) == MER_OK) {
		json_t *found = http_pointer_get(json, pointer);
		if (found != NULL)
			http_json_output(found, &out);
		MER_ASSERT(mer_buf_check(&out, NULL) == MER_OK);
		MER_ASSERT(pointer[0] != '\0' || found == json);
	}
	mer_buf_release(&out);
}

/* The input: a template or a pointer, ended by a NUL, and an input or a document. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	MER_AUTO(mer_text_done) char *text = next_text(&bytes, &len);
	struct mer_str rest = { (const char *)bytes, len };
	if (http_template_check(text, NULL) == MER_OK)
		fill(text, rest);
	find(text, rest);
	return 0;
}
