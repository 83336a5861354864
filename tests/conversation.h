/* Conversations with a protocol as a state machine, without any process: bytes go in, cut anywhere, and
 * what comes of them is recorded as one line of text, which a test compares:
 *   R ready, m(..) meta, o(..) output, l(..) log, p(..) progress, d() done, d(..) failed,
 *   s(..) sent, B(..) broken, i(..) input refused, q(..) the end
 * in order, with neighbours joined. Where several runs are open, the input of the one in front where it
 * is another one: a:o(..) */
#ifndef CONVERSATION_H
#define CONVERSATION_H

#include "check_main.h"
#include "internal.h"

#include <mer/clean.h>
#include <mer/wire.h>
#include <stdlib.h>
#include <string.h>

struct record {
	struct mer_buf text;
	char open;                  /* kind of the piece that may go on; 0: none */
	const struct meal_call *of; /* which run it is of */
	bool broken;
};

static inline void record_init(struct record *record)
{
	*record = (struct record){ .open = 0 };
	mer_buf_init(&record->text, 1 << 20);
}

static inline void add(struct record *record, char kind, const char *bytes, size_t n)
{
	bool joins = kind == 'o' || kind == 'l';
	if (record->open != 0 && !(joins && record->open == kind))
		mer_buf_byte(&record->text, ')');
	if (!(joins && record->open == kind)) {
		mer_buf_byte(&record->text, kind);
		mer_buf_text(&record->text, kind != 'R' ? "(" : "");
	}
	for (size_t i = 0; i < n; i++)
		mer_buf_text(&record->text, bytes[i] == '\0' ? "\\0" : (char[]){ bytes[i], '\0' });
	record->open = joins ? kind : 0;
	if (!joins && kind != 'R')
		mer_buf_byte(&record->text, ')');
}

/* What is sent is a frame. */
static inline void add_frame(struct record *record, struct mer_str bytes)
{
	struct mer_wire_reader reader;
	struct mer_wire_event event;
	char text[256];
	mer_wire_reader_init(&reader, 1000);
	size_t at = mer_wire_feed(&reader, bytes.ptr, bytes.len, &event);
	ck_assert_int_eq(event.kind, MER_WIRE_META);
	int meta_len = (int)event.bytes.len, body_len = (int)reader.header.body;
	(void)snprintf(text, sizeof text, "%s %d %.*s %.*s", mer_wire_kind_name(reader.header.kind),
	               (int)reader.header.flags, meta_len > 0 ? meta_len : 2,
	               meta_len > 0 ? event.bytes.ptr : "{}", body_len, bytes.ptr + at);
	ck_assert_uint_eq(at + (size_t)body_len, bytes.len);
	add(record, 's', text, strlen(text));
	mer_wire_reader_release(&reader);
}

/* Of which run what follows is. */
static inline void add_call(struct record *record, const struct meal_protocol *p,
                            const struct meal_event *event)
{
	const struct meal_call *call = event->call;
	if (call != record->of && record->open != 0) {
		mer_buf_byte(&record->text, ')');
		record->open = 0;
	}
	if (call != NULL && call != record->of && p->n_open > 1)
		mer_buf_printf(&record->text, "%s:", call->input.bytes);
	record->of = call;
}

static inline void add_event(struct record *record, const struct meal_protocol *p,
                             const struct meal_event *event)
{
	char text[600];
	int len = (int)event->bytes.len;
	const char *bytes = len > 0 ? event->bytes.ptr : "";
	ck_assert(!record->broken || event->kind == MEAL_NOTHING);
	if (event->kind != MEAL_NOTHING)
		add_call(record, p, event);
	switch (event->kind) {
	case MEAL_NOTHING: break;
	case MEAL_READY: add(record, 'R', NULL, 0); break;
	case MEAL_OUTPUT:
	case MEAL_LOG:
		ck_assert_uint_gt(event->bytes.len, 0);
		add(record, event->kind == MEAL_OUTPUT ? 'o' : 'l', bytes, event->bytes.len);
		break;
	case MEAL_DONE:
	case MEAL_BROKEN:
		record->broken = event->kind == MEAL_BROKEN;
		(void)snprintf(text, sizeof text, "%s %.*s", mer_status_name(event->status), len, bytes);
		add(record, record->broken ? 'B' : 'd', text, event->status == MER_OK ? 0 : strlen(text));
		if (event->kind == MEAL_DONE && event->call != NULL)
			event->call->finished = true;
		break;
	case MEAL_META: add(record, 'm', bytes, event->bytes.len); break;
	case MEAL_SEND: add_frame(record, event->bytes); break;
	case MEAL_PROGRESS:
		(void)snprintf(text, sizeof text, "%g/%g %.*s", event->done, event->total, len, bytes);
		add(record, 'p', text, strlen(text));
		break;
	}
}

static inline void feed_piece(struct meal_protocol *p, enum meal_stream stream, const char *bytes,
                              size_t n, struct record *record)
{
	MER_AUTO(mer_text_done)
	char *copy = malloc(n > 0 ? n : 1); /* so that a read beyond it is seen */
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, n);
	struct meal_event event = { .kind = MEAL_NOTHING };
	size_t at = 0;
	do {
		size_t taken = p->ops->feed(p, stream, copy + at, n - at, &event);
		ck_assert_uint_le(taken, n - at);
		ck_assert_msg(taken > 0 || at == n || event.kind != MEAL_NOTHING, "no progress");
		at += taken;
		add_event(record, p, &event);
	} while (at < n || event.kind != MEAL_NOTHING);
}

/* Where the bytes of a whole conversation are cut: at up to two places, or everywhere. */
struct cuts {
	size_t first, second;
	bool all;
};

/* *offset: bytes of earlier steps; moved on. */
static inline void feed_cut(struct meal_protocol *p, enum meal_stream stream, const char *bytes,
                            size_t n, const struct cuts *cuts, size_t *offset,
                            struct record *record)
{
	size_t from = 0;
	for (size_t i = 1; i <= n; i++) {
		size_t at = *offset + i;
		if (i < n && !cuts->all && at != cuts->first && at != cuts->second)
			continue;
		feed_piece(p, stream, bytes + from, i - from, record);
		from = i;
	}
	*offset += n;
}

/* meta: of the input; NULL: none */
static inline void begin(struct meal_protocol *p, const char *text, const char *meta,
                         struct record *record)
{
	struct mer_error err;
	struct meal_call *call;
	if (meal_begin(p, &(struct mer_input){ text, strlen(text), meta, 0, false, NULL, NULL }, &call,
	               &err) != MER_OK)
		add(record, 'i', err.message, strlen(err.message));
}

static inline void take_eof(struct meal_protocol *p, enum meal_stream stream, struct record *record)
{
	struct meal_event event = { .kind = MEAL_NOTHING };
	p->ops->eof(p, stream, &event);
	add_event(record, p, &event);
}

static inline void take_end(struct meal_protocol *p, int code, struct record *record)
{
	const char *when = "";
	const struct meal_exit how = { .started = true, .exit_code = code };
	char text[128];
	enum mer_status status = p->ops->ended(p, TAILQ_FIRST(&p->calls), &how, &when);
	(void)snprintf(text, sizeof text, "%s%s", mer_status_name(status), when);
	add(record, 'q', text, strlen(text));
}

/* The conversation is over; releases the record. */
static inline void check_record(struct record *record, const char *name, const struct cuts *cuts,
                                const char *want)
{
	if (record->open != 0)
		mer_buf_byte(&record->text, ')');
	const char *got = record->text.ptr != NULL ? record->text.ptr : "";
	ck_assert_msg(strcmp(got, want) == 0, "'%s' cut at %zu, %zu%s:\n%s\ninstead of\n%s", name,
	              cuts->first, cuts->second, cuts->all ? " and everywhere" : "", got, want);
	mer_buf_release(&record->text);
}

#endif
