/* Holds each frame of a worker that is tested against the rules; talk.h. */
#include "talk.h"

#include <inttypes.h>
#include <mer/text.h>
#include <string.h>

static void check_contract(struct talk *talk, const char *key)
{
	const json_t *list = json_object_get(talk->announced, key);
	if (list != NULL && !json_is_array(list))
		talk_breaks(talk, READY_FIELDS, "'%s' is no array", key);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i), *shape = json_object_get(one, "shape");
		const char *name = mer_json_get_text(one, "name", "");
		const char *datatype = mer_json_get_text(one, "datatype", "");
		if (name[0] == '\0')
			talk_breaks(talk, READY_FIELDS, "%s: tensor %zu has no name", key, i);
		if (mer_datatype_by_name(datatype) == MER_DATATYPE_NONE)
			talk_breaks(talk, READY_FIELDS, "%s: '%s': no such datatype: '%s'", key, name,
			            datatype);
		if (!json_is_array(shape))
			talk_breaks(talk, READY_FIELDS, "%s: '%s' has no shape", key, name);
		for (size_t d = 0; d < json_array_size(shape); d++)
			if (!json_is_integer(json_array_get(shape, d)) ||
			    json_integer_value(json_array_get(shape, d)) < -1)
				talk_breaks(talk, READY_FIELDS, "%s: '%s': extent %zu is neither a length nor -1",
				            key, name, d);
	}
}

static bool has_number(const json_t *object, const char *key, json_int_t least)
{
	const json_t *number = json_object_get(object, key);
	return number == NULL || (json_is_integer(number) && json_integer_value(number) >= least);
}

static bool has_text(const json_t *object, const char *key)
{
	const json_t *text = json_object_get(object, key);
	return text == NULL || json_is_string(text);
}

static void check_ready(struct talk *talk)
{
	static const char *const numbers[] = { "max_batch", "max_body" };
	static const char *const texts[] = { "sdk", "name", "runtime" };
	const json_t *ready = talk->announced, *train = json_object_get(ready, "train");
	if (mer_json_get_i64(ready, "version", 0) != MER_WIRE_VERSION)
		talk_breaks(talk, READY_VERSION, "'version' is not %d", MER_WIRE_VERSION);
	if (!has_number(ready, "concurrency", 1))
		talk_breaks(talk, CONCURRENCY, "'concurrency' is no number from 1 on");
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (!has_number(ready, numbers[i], 0))
			talk_breaks(talk, READY_FIELDS, "'%s' is no number", numbers[i]);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (!has_text(ready, texts[i]))
			talk_breaks(talk, READY_FIELDS, "'%s' is no text", texts[i]);
	if (train != NULL && !json_is_boolean(train))
		talk_breaks(talk, READY_FIELDS, "'train' is neither true nor false");
	check_contract(talk, "inputs");
	check_contract(talk, "outputs");
}

static void on_ready(struct talk *talk)
{
	if (talk->ready) {
		talk_breaks(talk, READY_AFTER_HELLO, "ready came a second time");
		return;
	}
	talk->ready = true;
	talk->announced = json_incref(talk->meta);
	check_ready(talk);
}

static void on_error(struct talk *talk, uint64_t id)
{
	const char *code = mer_json_get_text(talk->meta, "code", "");
	const char *message = mer_json_get_text(talk->meta, "message", NULL);
	(void)snprintf(talk->code, sizeof talk->code, "%s", code);
	if (code[0] == '\0' || message == NULL)
		talk_breaks(talk, ERROR_FIELDS, "an error without its %s",
		            code[0] == '\0' ? "code" : "message");
	else if (strchr(message, '\n') != NULL)
		talk_breaks(talk, ERROR_FIELDS, "the message of an error has several lines: '%.60s...'",
		            message);
	else if (!has_text(talk->meta, "traceback"))
		talk_breaks(talk, ERROR_FIELDS, "the traceback of an error is no text");
	talk->gave_up |= id == 0;
}

static void on_log(struct talk *talk)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };
	const char *level = mer_json_get_text(talk->meta, "level", "");
	size_t i = 0;
	while (i < sizeof levels / sizeof *levels && strcmp(levels[i], level) != 0)
		i++;
	if (i == sizeof levels / sizeof *levels)
		talk_breaks(talk, LOG_FIELDS, "no such level: '%s'", level);
	if (mer_json_get_text(talk->meta, "message", NULL) == NULL)
		talk_breaks(talk, LOG_FIELDS, "log without a message");
}

static void on_progress(struct talk *talk)
{
	const json_t *total = json_object_get(talk->meta, "total");
	if (!json_is_number(json_object_get(talk->meta, "done")))
		talk_breaks(talk, PROGRESS_FIELDS, "progress without the number 'done'");
	if ((total != NULL && !json_is_number(total)) || !has_text(talk->meta, "message"))
		talk_breaks(talk, PROGRESS_FIELDS, "'total' is no number, or 'message' no text");
}

/* Whether the extents are those of a shape, in which -1 is any. */
static bool is_of_shape(const json_t *got, const json_t *want)
{
	if (json_array_size(got) != json_array_size(want))
		return false;
	for (size_t i = 0; i < json_array_size(want); i++) {
		json_int_t extent = json_integer_value(json_array_get(want, i));
		if (extent != -1 && extent != json_integer_value(json_array_get(got, i)))
			return false;
	}
	return true;
}

/* Holds outputs to what was announced. */
static void check_announced(struct talk *talk)
{
	const json_t *contract = json_object_get(talk->announced, "outputs");
	const json_t *outputs = json_object_get(talk->meta, "outputs");
	for (size_t i = 0; contract != NULL && i < json_array_size(outputs); i++) {
		const json_t *got = json_array_get(outputs, i);
		bool found = false;
		for (size_t k = 0; k < json_array_size(contract); k++) {
			const json_t *want = json_array_get(contract, k);
			found |=
				json_equal(json_object_get(got, "name"), json_object_get(want, "name")) &&
				json_equal(json_object_get(got, "datatype"), json_object_get(want, "datatype")) &&
				is_of_shape(json_object_get(got, "shape"), json_object_get(want, "shape"));
		}
		if (!found)
			talk_breaks(talk, OUTPUT_CONTRACT, "tensor '%s' was announced otherwise, or not",
			            mer_json_get_text(got, "name", ""));
	}
}

/* Whether the frame that is read ends its request. */
static bool is_last(const struct talk *talk)
{
	const struct mer_wire_header *head = &talk->reader.header;
	return head->kind == MER_WIRE_ERROR ||
	       (head->kind == MER_WIRE_RESULT && (head->flags & MER_WIRE_MORE) == 0);
}

static void on_answered(struct talk *talk, uint64_t id)
{
	talk->open[id] = false;
	talk->n_open--;
}

static void on_result(struct talk *talk)
{
	struct mer_error err;
	mer_content_release(&talk->content);
	talk->walk = (struct mer_content_walk){ .at = 0 };
	enum mer_status st =
		mer_content_read(talk->meta, "outputs", talk->reader.header.body, &talk->content, &err);
	if (st != MER_OK) {
		talk_breaks(talk, st == MER_EINPUT ? OUTPUT_DESCRIBED : OUTPUT_SIZES, "%s", err.message);
		return;
	}
	talk->walks = true;
	check_announced(talk);
}

/* Whether the id may be there; tells where it may not. */
static bool check_id(struct talk *talk)
{
	const struct mer_wire_header *head = &talk->reader.header;
	const char *name = mer_wire_kind_name(head->kind);
	bool own = head->kind == MER_WIRE_READY || head->kind == MER_WIRE_PING;
	bool asked = head->kind == MER_WIRE_RESULT || (head->kind == MER_WIRE_PROGRESS && talk->ready);
	if (head->id == 0 ? asked : own)
		talk_breaks(talk, FRAME_IDS, "%s with id %" PRIu64, name, head->id);
	else if (head->id > talk->last_id)
		talk_breaks(talk, IDS_OPEN, "%s with id %" PRIu64 ", which nobody asked for", name,
		            head->id);
	else if (head->id > 0 && !talk->open[head->id])
		talk_breaks(talk, is_last(talk) ? ONE_LAST : NOT_REUSED,
		            "%s with id %" PRIu64 " behind its last frame", name, head->id);
	else
		return true;
	return false;
}

static bool check_kind(struct talk *talk)
{
	const struct mer_wire_header *head = &talk->reader.header;
	bool known = head->kind != MER_WIRE_NONE && head->kind < MER_WIRE_KIND_COUNT;
	static const bool of_worker[MER_WIRE_KIND_COUNT] = {
		[MER_WIRE_READY] = true, [MER_WIRE_RESULT] = true, [MER_WIRE_ERROR] = true,
		[MER_WIRE_PING] = true,  [MER_WIRE_LOG] = true,    [MER_WIRE_PROGRESS] = true,
	};
	const char *name = mer_wire_kind_name(head->kind);
	if ((head->flags & ~(MER_WIRE_MORE | MER_WIRE_SKIP | MER_WIRE_ANSWER)) != 0)
		talk_breaks(talk, HEADER_FLAGS, "flags 0x%x", (unsigned)head->flags);
	if (known && !of_worker[head->kind])
		talk_breaks(talk, KNOWN_KIND, "%s, which is for mer to send", name);
	else if (!known && (head->flags & MER_WIRE_SKIP) == 0)
		talk_breaks(talk, KNOWN_KIND, "kind %u, not to be skipped", (unsigned)head->kind);
	if (!talk->ready && (head->kind == MER_WIRE_RESULT || head->kind == MER_WIRE_PING))
		talk_breaks(talk, ONLY_LOG, "%s before ready", name);
	return known && of_worker[head->kind];
}

static void on_meta(struct talk *talk, struct mer_str text)
{
	const struct mer_wire_header *head = &talk->reader.header;
	struct mer_error err;
	json_decref(talk->meta);
	talk->meta = NULL;
	talk->walks = false;
	mer_buf_clear(&talk->text);
	if (!check_kind(talk))
		return;
	if (mer_wire_meta(text, &talk->meta, &err) != MER_OK) {
		talk_breaks(talk, META_OBJECT, "%s: %s", mer_wire_kind_name(head->kind), err.message);
		return;
	}
	if (!check_id(talk))
		return;
	if (head->kind == MER_WIRE_READY)
		on_ready(talk);
	else if (head->kind == MER_WIRE_ERROR)
		on_error(talk, head->id);
	else if (head->kind == MER_WIRE_RESULT)
		on_result(talk);
	else if (head->kind == MER_WIRE_LOG)
		on_log(talk);
	else if (head->kind == MER_WIRE_PROGRESS)
		on_progress(talk);
}

static void on_body(struct talk *talk, struct mer_str body)
{
	struct mer_error err;
	if (talk->reader.header.kind == MER_WIRE_PING || talk->content.form == MER_CONTENT_TEXT)
		mer_buf_add(&talk->text, body.ptr, body.len);
	for (size_t at = 0; talk->walks && at < body.len;) {
		size_t taken;
		struct mer_str piece;
		if (mer_content_step(&talk->content, &talk->walk, body.ptr + at, body.len - at, &taken,
		                     &piece, &err) != MER_OK) {
			talk_breaks(talk, OUTPUT_ELEMENTS, "%s", err.message);
			talk->walks = false;
		}
		at += taken;
	}
}

static void on_pong(struct talk *talk)
{
	const struct mer_str want = TALK_PING_BODY;
	bool same = mer_json_get_i64(talk->meta, "n", 0) == TALK_PING_NUMBER &&
	            talk->text.len == want.len && memcmp(talk->text.ptr, want.ptr, want.len) == 0;
	if ((talk->reader.header.flags & MER_WIRE_ANSWER) == 0) {
		struct mer_str body = { talk->text.ptr, talk->text.len }; /* its own: we answer */
		mer_wire_add(&talk->to,
		             (struct mer_wire_header){ .kind = MER_WIRE_PING, .flags = MER_WIRE_ANSWER },
		             (struct mer_str){ "{}", 2 }, body);
		return;
	}
	if (!same)
		talk_breaks(talk, PING_ANSWERED, "the answer has another meta or body");
	talk->n_pongs++;
}

static void on_end(struct talk *talk)
{
	const struct mer_wire_header *head = &talk->reader.header;
	bool known = head->id > 0 && head->id <= talk->last_id && talk->open[head->id];
	if (talk->meta == NULL)
		return;
	if (head->kind == MER_WIRE_PING)
		on_pong(talk);
	if (head->kind == MER_WIRE_RESULT && talk->content.form == MER_CONTENT_TEXT &&
	    talk->text.status == MER_OK && talk->text.len > 0 &&
	    mer_utf8_span(talk->text.ptr, talk->text.len) < talk->text.len)
		talk_breaks(talk, OUTPUT_TEXT, "a text that is not UTF-8");
	if (is_last(talk) && known)
		on_answered(talk, head->id);
}

static void on_no_frame(struct talk *talk)
{
	static const enum rule rules[] = {
		[MER_WIRE_MAGIC] = HEADER_MAGIC,       [MER_WIRE_OTHER_VERSION] = HEADER_VERSION,
		[MER_WIRE_RESERVED] = HEADER_RESERVED, [MER_WIRE_LONG_META] = META_LIMIT,
		[MER_WIRE_LONG_BODY] = BODY_LIMIT,     [MER_WIRE_NO_MEMORY] = RULES,
	};
	enum rule rule = rules[talk->reader.fault];
	talk->broken = true;
	if (rule == RULES)
		talk->conform->no_memory = true;
	else
		talk_breaks(talk, talk->stdio && rule == HEADER_MAGIC ? STRAY_PRINT : rule, "%s",
		            talk->reader.error.message);
}

void talk_hear(struct talk *talk, const char *bytes, size_t n)
{
	struct mer_wire_event event;
	size_t at = 0;
	do {
		at += mer_wire_feed(&talk->reader, bytes + at, n - at, &event);
		switch (event.kind) {
		case MER_WIRE_NOTHING: break;
		case MER_WIRE_META: on_meta(talk, event.bytes); break;
		case MER_WIRE_BODY: on_body(talk, event.bytes); break;
		case MER_WIRE_END: on_end(talk); break;
		case MER_WIRE_BROKEN: on_no_frame(talk); break;
		}
	} while (at < n || event.kind != MER_WIRE_NOTHING);
}
