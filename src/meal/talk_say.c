/* Makes the frames that a worker is tested with; talk.h. */
#include "talk.h"

#include <stdlib.h>
#include <string.h>

void talk_send(struct talk *talk, struct mer_wire_header header, const char *meta,
               struct mer_str body)
{
	mer_wire_add(&talk->to, header, (struct mer_str){ meta, strlen(meta) }, body);
}

uint64_t talk_open_request(struct talk *talk)
{
	MER_ASSERT(talk->last_id + 1 < TALK_REQUESTS_MAX);
	talk->open[++talk->last_id] = true;
	talk->n_open++;
	return talk->last_id;
}

bool talk_takes_content(const struct talk *talk)
{
	const json_t *inputs = json_object_get(talk->announced, "inputs");
	const json_t *first = json_array_get(inputs, 0);
	return inputs == NULL || (json_array_size(inputs) == 1 &&
	                          strcmp(mer_json_get_text(first, "datatype", ""), "BYTES") == 0);
}

/* A tensor of zeros as a contract has it, a length that is left open being 1. */
static void add_tensor(const json_t *contract, const char *datatype, struct mer_buf *meta,
                       struct mer_buf *body)
{
	const json_t *shape = json_object_get(contract, "shape");
	const char *name = mer_json_get_text(contract, "name", ""), *between = "";
	size_t size = mer_datatype_size(mer_datatype_by_name(datatype)), elements = 1;
	mer_buf_text(meta, "{\"name\":");
	mer_json_quote(meta, name, strlen(name));
	mer_buf_printf(meta, ",\"datatype\":\"%s\",\"shape\":[", datatype);
	for (size_t i = 0; i < json_array_size(shape); i++, between = ",") {
		json_int_t extent = json_integer_value(json_array_get(shape, i));
		extent = extent < 0 ? 1 : extent;
		mer_buf_printf(meta, "%s%" JSON_INTEGER_FORMAT, between, extent);
		if (__builtin_mul_overflow(elements, (size_t)extent, &elements) || elements > TALK_LARGE)
			elements = 0; /* it will be refused, which is an answer too */
	}
	size_t bytes = elements * (size > 0 ? size : 4);
	mer_buf_printf(meta, "],\"parameters\":{\"binary_data_size\":%zu}}", bytes);
	for (size_t i = 0; i < bytes; i++)
		mer_buf_byte(body, '\0');
}

static void make_input(const struct talk *talk, const char *fields, bool wrong,
                       struct mer_buf *meta, struct mer_buf *body)
{
	const json_t *inputs = json_object_get(talk->announced, "inputs");
	if (!wrong && talk_takes_content(talk)) {
		mer_buf_printf(meta, "{\"content\":\"bytes\"%s}", fields);
		mer_buf_text(body, "1");
		return;
	}
	mer_buf_text(meta, "{\"inputs\":[");
	for (size_t i = 0; i < json_array_size(inputs); i++) {
		const json_t *one = json_array_get(inputs, i);
		const char *datatype = mer_json_get_text(one, "datatype", "");
		if (wrong)
			datatype = strcmp(datatype, "FP64") == 0 ? "INT8" : "FP64";
		mer_buf_text(meta, i > 0 ? "," : "");
		add_tensor(one, datatype, meta, body);
	}
	mer_buf_printf(meta, "]%s}", fields);
}

void talk_send_input(struct talk *talk, const char *fields, uint16_t flags, bool wrong)
{
	struct mer_buf meta, body;
	mer_buf_init(&meta, MER_WIRE_META_MAX);
	mer_buf_init(&body, SIZE_MAX);
	make_input(talk, fields, wrong, &meta, &body);
	if (mer_buf_check(&meta, NULL) != MER_OK || mer_buf_check(&body, NULL) != MER_OK)
		talk->conform->no_memory = true;
	else
		mer_wire_add(&talk->to,
		             (struct mer_wire_header){
						 .kind = MER_WIRE_INFER, .flags = flags, .id = talk_open_request(talk) },
		             (struct mer_str){ meta.ptr, meta.len },
		             (struct mer_str){ body.ptr, body.len });
	mer_buf_release(&meta);
	mer_buf_release(&body);
}

void talk_send_large(struct talk *talk)
{
	char *bytes = malloc(TALK_LARGE);
	if (bytes == NULL) {
		talk->conform->no_memory = true;
		return;
	}
	memset(bytes, '1', TALK_LARGE);
	talk_send(talk,
	          (struct mer_wire_header){ .kind = MER_WIRE_INFER, .id = talk_open_request(talk) },
	          "{\"content\":\"bytes\"}", (struct mer_str){ bytes, TALK_LARGE });
	free(bytes);
}

void talk_send_ping(struct talk *talk)
{
	talk_send(talk, (struct mer_wire_header){ .kind = MER_WIRE_PING }, "{\"n\":7}", TALK_PING_BODY);
	talk->n_pongs = 0;
}
