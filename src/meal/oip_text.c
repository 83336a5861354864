/* The text of a request or an answer, taken apart so that there is no tree of its values; mer/oip.h. */
#include "oip_values.h"

#include <stdlib.h>
#include <string.h>

struct cutting {
	struct mer_oip_text *out;
	const char *at, *end, *copied; /* up to there it is in the outline */
	const char *list;              /* the name of the one that has tensors */
	struct mer_str string;         /* the one before, which may be a name */
	size_t depth;
	bool listed, within; /* what comes is that list's; we are in it */
};

static bool is_name(struct mer_str string, const char *name)
{
	return string.len == strlen(name) && memcmp(string.ptr, name, string.len) == 0;
}

static bool keep(struct mer_oip_text *out, struct mer_str data)
{
	size_t room = out->count == 0 ? 8 : 2 * out->count;
	if ((out->count & (out->count - 1)) == 0 && (out->count == 0 || out->count >= 8)) {
		struct mer_str *longer = realloc(out->data, room * sizeof *longer);
		if (longer == NULL)
			return false;
		out->data = longer;
	}
	out->data[out->count++] = data;
	return true;
}

/* A tensor's values, behind the colon: in the outline stands which they are. */
static bool cut_values(struct cutting *cutting)
{
	struct mer_oip_text *out = cutting->out;
	const char *begin = cutting->at;
	while (begin < cutting->end && strchr(" \t\r\n", *begin) != NULL && *begin != '\0')
		begin++;
	const char *behind = oip_value_end(begin, cutting->end);
	if (behind == begin)
		return true; /* no value: the outline is not JSON either */
	mer_buf_add(&out->outline, cutting->copied, (size_t)(begin - cutting->copied));
	mer_buf_printf(&out->outline, "%zu", out->count);
	cutting->at = cutting->copied = behind;
	return keep(out, (struct mer_str){ begin, (size_t)(behind - begin) });
}

static bool step(struct cutting *cutting)
{
	const char byte = *cutting->at++;
	if (byte == '"') {
		const char *name = cutting->at, *behind = oip_string_end(name - 1, cutting->end);
		cutting->string = (struct mer_str){ name, (size_t)(behind - name) };
		cutting->string.len -= behind > name && behind[-1] == '"';
		cutting->at = behind;
	} else if (byte == '[' || byte == '{') {
		cutting->depth++;
		cutting->within |= cutting->depth == 2 && cutting->listed && byte == '[';
	} else if ((byte == ']' || byte == '}') && cutting->depth > 0) {
		cutting->depth--;
		cutting->within &= cutting->depth >= 2;
	} else if (byte == ':' && cutting->depth == 1) {
		cutting->listed = is_name(cutting->string, cutting->list);
	} else if (byte == ':' && cutting->depth == 3 && cutting->within) {
		return !is_name(cutting->string, "data") || cut_values(cutting);
	}
	return true;
}

enum mer_status mer_oip_text_read(struct mer_str text, const char *list, struct mer_oip_text *out,
                                  struct mer_error *err)
{
	struct cutting cutting = {
		.out = out, .at = text.ptr, .copied = text.ptr, .list = list, .string = { "", 0 }
	};
	bool good = true;
	*out = (struct mer_oip_text){ .count = 0 };
	mer_buf_init(&out->outline, SIZE_MAX);
	cutting.end = text.len > 0 ? text.ptr + text.len : text.ptr;
	while (good && cutting.at < cutting.end)
		good = step(&cutting);
	mer_buf_add(&out->outline, cutting.copied, (size_t)(cutting.end - cutting.copied));
	enum mer_status st =
		good ? mer_buf_check(&out->outline, err) : mer_fail(err, MER_ENOMEM, "out of memory");
	if (st != MER_OK)
		mer_oip_text_release(out);
	return st;
}

void mer_oip_text_release(struct mer_oip_text *text)
{
	mer_buf_release(&text->outline);
	free(text->data);
	text->data = NULL;
	text->count = 0;
}
