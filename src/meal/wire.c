/* Frames between bytes and headers (docs/wire.md). */
#include <assert.h>
#include <inttypes.h>
#include <mer/wire.h>
#include <string.h>

static const char magic[] = { 'M', 'E', 'R', 'F' };

static const char *const kind_names[] = {
	[MER_WIRE_NONE] = "unknown",      [MER_WIRE_HELLO] = "hello",   [MER_WIRE_READY] = "ready",
	[MER_WIRE_INFER] = "infer",       [MER_WIRE_RESULT] = "result", [MER_WIRE_ERROR] = "error",
	[MER_WIRE_CANCEL] = "cancel",     [MER_WIRE_PING] = "ping",     [MER_WIRE_LOG] = "log",
	[MER_WIRE_PROGRESS] = "progress", [MER_WIRE_TRAIN] = "train",   [MER_WIRE_DRAIN] = "drain",
};
static_assert(sizeof kind_names / sizeof *kind_names == MER_WIRE_KIND_COUNT,
              "a name for each kind");

const char *mer_wire_kind_name(unsigned kind)
{
	return kind_names[kind < MER_WIRE_KIND_COUNT ? kind : MER_WIRE_NONE];
}

/* Where the fields of a header are. */
enum {
	AT_VERSION = 4,
	AT_KIND = 5,
	AT_FLAGS = 6,
	AT_ID = 8,
	AT_META = 16,
	AT_ZERO = 20,
	AT_BODY = 24
};

static void put(char *at, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++)
		at[i] = (char)(value >> 8 * i);
}

static uint64_t get(const char *at, size_t n)
{
	uint64_t value = 0;
	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)(unsigned char)at[i] << 8 * i;
	return value;
}

void mer_wire_put(char out[MER_WIRE_HEADER], const struct mer_wire_header *header)
{
	memcpy(out, magic, sizeof magic);
	out[AT_VERSION] = MER_WIRE_VERSION;
	out[AT_KIND] = (char)header->kind;
	put(out + AT_FLAGS, header->flags, 2);
	put(out + AT_ID, header->id, 8);
	put(out + AT_META, header->meta, 4);
	put(out + AT_ZERO, 0, 4);
	put(out + AT_BODY, header->body, 8);
}

void mer_wire_add(struct mer_buf *buf, struct mer_wire_header header, struct mer_str meta,
                  struct mer_str body)
{
	char head[MER_WIRE_HEADER];
	header.meta = (uint32_t)meta.len;
	header.body = body.len;
	mer_wire_put(head, &header);
	mer_buf_add(buf, head, sizeof head);
	mer_buf_add(buf, meta.ptr, meta.len);
	mer_buf_add(buf, body.ptr, body.len);
}

/* --- reading ------------------------------------------------------------------------------ */

void mer_wire_reader_init(struct mer_wire_reader *reader, uint64_t max_body)
{
	*reader = (struct mer_wire_reader){ .max_body = max_body };
	mer_buf_init(&reader->meta, MER_WIRE_META_MAX);
}

void mer_wire_reader_release(struct mer_wire_reader *reader)
{
	mer_buf_release(&reader->meta);
}

bool mer_wire_is_between(const struct mer_wire_reader *reader)
{
	return reader->state == MER_WIRE_AT_HEADER && reader->have == 0;
}

/* What is wrong as far as a header has come, which its sender may want an answer to; the first
 * fault, so that the cuts do not show. */
static enum mer_wire_fault find_fault(const struct mer_wire_reader *reader)
{
	const char *head = reader->head;
	size_t have = reader->have;
	if (memcmp(head, magic, have < sizeof magic ? have : sizeof magic) != 0)
		return MER_WIRE_MAGIC;
	if (have > AT_VERSION && head[AT_VERSION] != MER_WIRE_VERSION)
		return MER_WIRE_OTHER_VERSION;
	if (have >= AT_ZERO && get(head + AT_META, 4) > MER_WIRE_META_MAX)
		return MER_WIRE_LONG_META;
	if (have >= AT_BODY && get(head + AT_ZERO, 4) != 0)
		return MER_WIRE_RESERVED;
	if (have == MER_WIRE_HEADER && get(head + AT_BODY, 8) > reader->max_body)
		return MER_WIRE_LONG_BODY;
	return MER_WIRE_NO_FAULT;
}

static void explain(struct mer_wire_reader *reader)
{
	const char *head = reader->head;
	struct mer_error *err = &reader->error;
	size_t at = 0;
	switch (reader->fault) {
	case MER_WIRE_NO_FAULT: break;
	case MER_WIRE_MAGIC:
		while (head[at] == magic[at])
			at++;
		(void)mer_fail(err, MER_ECORRUPT, "wrong magic: byte %zu is 0x%02x, no frame", at,
		               (unsigned)(unsigned char)head[at]);
		break;
	case MER_WIRE_OTHER_VERSION:
		(void)mer_fail(err, MER_ECORRUPT, "version %u, not the %d that was agreed on",
		               (unsigned)(unsigned char)head[AT_VERSION], MER_WIRE_VERSION);
		break;
	case MER_WIRE_RESERVED:
		(void)mer_fail(err, MER_ECORRUPT, "reserved bytes that are not 0");
		break;
	case MER_WIRE_LONG_META:
		(void)mer_fail(err, MER_ECORRUPT,
		               "a meta of %" PRIu64 " bytes is over the limit of %" PRIu32,
		               get(head + AT_META, 4), MER_WIRE_META_MAX);
		break;
	case MER_WIRE_LONG_BODY:
		(void)mer_fail(err, MER_ECORRUPT,
		               "a body of %" PRIu64 " bytes is over the limit of %" PRIu64,
		               get(head + AT_BODY, 8), reader->max_body);
		break;
	case MER_WIRE_NO_MEMORY: (void)mer_fail(err, MER_ENOMEM, "out of memory"); break;
	}
}

static void break_off(struct mer_wire_reader *reader, enum mer_wire_fault fault,
                      struct mer_wire_event *event)
{
	reader->fault = fault;
	explain(reader);
	reader->state = MER_WIRE_AT_FAULT;
	event->kind = MER_WIRE_BROKEN;
}

static size_t feed_header(struct mer_wire_reader *reader, const char *bytes, size_t n,
                          struct mer_wire_event *event)
{
	size_t want = MER_WIRE_HEADER - reader->have, len = n < want ? n : want;
	memcpy(reader->head + reader->have, bytes, len);
	reader->have += len;
	enum mer_wire_fault fault = find_fault(reader);
	if (fault != MER_WIRE_NO_FAULT) {
		break_off(reader, fault, event);
	} else if (reader->have == MER_WIRE_HEADER) {
		const char *head = reader->head;
		reader->header = (struct mer_wire_header){
			.kind = (uint8_t)head[AT_KIND],
			.flags = (uint16_t)get(head + AT_FLAGS, 2),
			.meta = (uint32_t)get(head + AT_META, 4),
			.id = get(head + AT_ID, 8),
			.body = get(head + AT_BODY, 8),
		};
		mer_buf_clear(&reader->meta);
		reader->have = 0;
		reader->state = MER_WIRE_AT_META;
	}
	return len;
}

/* A meta that is there as a whole is not copied. */
static size_t feed_meta(struct mer_wire_reader *reader, const char *bytes, size_t n,
                        struct mer_wire_event *event)
{
	size_t want = reader->header.meta - reader->meta.len, len = n < want ? n : want;
	bool whole = reader->meta.len == 0 && len == want;
	if (!whole)
		mer_buf_add(&reader->meta, bytes, len);
	if (mer_buf_check(&reader->meta, NULL) != MER_OK) {
		break_off(reader, MER_WIRE_NO_MEMORY, event);
	} else if (len == want) {
		event->kind = MER_WIRE_META;
		event->bytes = whole ? (struct mer_str){ bytes, len }
		                     : (struct mer_str){ reader->meta.ptr, reader->meta.len };
		reader->left = reader->header.body;
		reader->state = MER_WIRE_AT_BODY;
	}
	return len;
}

static size_t feed_body(struct mer_wire_reader *reader, const char *bytes, size_t n,
                        struct mer_wire_event *event)
{
	size_t len = n < reader->left ? n : (size_t)reader->left;
	if (reader->left == 0) {
		event->kind = MER_WIRE_END;
		reader->state = MER_WIRE_AT_HEADER;
	} else if (len > 0) {
		event->kind = MER_WIRE_BODY;
		event->bytes = (struct mer_str){ bytes, len };
		reader->left -= len;
	}
	return len;
}

size_t mer_wire_feed(struct mer_wire_reader *reader, const char *bytes, size_t n,
                     struct mer_wire_event *event)
{
	size_t at = 0;
	*event = (struct mer_wire_event){ .kind = MER_WIRE_NOTHING };
	if (reader->state == MER_WIRE_AT_HEADER && n > 0)
		at = feed_header(reader, bytes, n, event);
	if (reader->state == MER_WIRE_AT_META)
		return at + feed_meta(reader, bytes + at, n - at, event);
	if (reader->state == MER_WIRE_AT_BODY)
		return feed_body(reader, bytes, n, event);
	return reader->state == MER_WIRE_AT_FAULT ? n : at;
}

enum mer_status mer_wire_meta(struct mer_str meta, json_t **out, struct mer_error *err)
{
	json_t *json = NULL;
	enum mer_status st = MER_OK;
	if (meta.len == 0)
		json = json_object();
	else
		st = mer_json_parse("the meta", meta.ptr, meta.len, &json, err);
	if (st == MER_EINPUT)
		return mer_wrap(err, MER_ECORRUPT, "a frame");
	if (st == MER_OK && json == NULL)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	if (st != MER_OK)
		return st;
	if (!json_is_object(json)) {
		json_decref(json);
		return mer_fail(err, MER_ECORRUPT, "the meta is no JSON object");
	}
	*out = json;
	return MER_OK;
}
