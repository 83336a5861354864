/* Tensors of a result as objects of the Open Inference Protocol's JSON, written as their bytes come. */
#include "number.h"

#include <mer/oip.h>
#include <mer/text.h>
#include <string.h>

void mer_oip_output_begin(struct mer_oip_output *output, const json_t *description,
                          struct mer_buf *out)
{
	const char *name = mer_json_get_text(description, "name", "");
	const char *datatype = mer_json_get_text(description, "datatype", "");
	const json_t *shape = json_object_get(description, "shape");
	*output = (struct mer_oip_output){ .datatype = mer_datatype_by_name(datatype), .out = out };
	mer_buf_init(&output->elements, SIZE_MAX);
	mer_buf_text(out, "{\"name\":");
	mer_json_quote(out, name, strlen(name));
	mer_buf_printf(out, ",\"datatype\":\"%s\",\"shape\":[", datatype);
	for (size_t i = 0; i < json_array_size(shape); i++)
		mer_buf_printf(out, "%s%" JSON_INTEGER_FORMAT, i > 0 ? "," : "",
		               json_integer_value(json_array_get(shape, i)));
	mer_buf_text(out, "],\"data\":[");
}

static void add_number(struct mer_oip_output *output, const char *bytes)
{
	if (output->any)
		mer_buf_byte(output->out, ',');
	output->any = true;
	if (!meal_number_write(output->datatype, bytes, output->out))
		output->odd = true;
}

void mer_oip_output_add(struct mer_oip_output *output, const char *bytes, size_t n)
{
	size_t size = mer_datatype_size(output->datatype);
	if (output->datatype == MER_BYTES) {
		mer_buf_add(&output->elements, bytes, n);
		return;
	}
	while (n > 0) {
		if (output->have == 0 && n >= size) {
			add_number(output, bytes);
			bytes += size;
			n -= size;
			continue;
		}
		output->carry[output->have++] = *bytes++;
		n--;
		if (output->have == size) {
			output->have = 0;
			add_number(output, output->carry);
		}
	}
}

/* All as text where all of it is, else all in base64. */
static enum mer_status add_elements(struct mer_oip_output *output, struct mer_error *err)
{
	const struct mer_str all = { output->elements.ptr, output->elements.len };
	struct mer_str rest = all, element;
	bool text = true;
	while (meal_element_next(&rest, &element))
		text = text && mer_utf8_span(element.ptr, element.len) == element.len;
	if (rest.len > 0)
		return mer_fail(err, MER_ECORRUPT, "its elements do not end with its bytes");
	for (rest = all; meal_element_next(&rest, &element); output->any = true) {
		mer_buf_text(output->out, output->any ? ",\"" : "\"");
		if (text)
			mer_json_escape(output->out, element.ptr, element.len);
		else
			mer_base64_add(output->out, element.ptr, element.len);
		mer_buf_byte(output->out, '"');
	}
	mer_buf_text(output->out, text ? "]}" : "],\"parameters\":{\"content_type\":\"base64\"}}");
	return MER_OK;
}

enum mer_status mer_oip_output_end(struct mer_oip_output *output, struct mer_error *err)
{
	enum mer_status st = mer_buf_check(&output->elements, err);
	if (output->datatype != MER_BYTES)
		mer_buf_text(output->out, "]}");
	else if (st == MER_OK)
		st = add_elements(output, err);
	mer_buf_release(&output->elements);
	return st;
}
