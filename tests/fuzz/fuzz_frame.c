/* The frame protocol: a conversation means the same however its bytes are cut, and no bytes of a worker
 * bring up a state that forbids what a caller may do. */
#include "../../src/meal/internal.h"
#include "fuzz.h"

#include <mer/clean.h>
#include <mer/wire.h>
#include <string.h>

/* The input is a list of acts: a byte that says which one, and what it needs. */
enum { FRAME, RAW, BEGIN, TOLD, TO_STDERR, ACTS };

#define META "{\"content\":\"text\"}"
#define REQUEST "{\"inputs\":[{\"name\":\"x\",\"data\":[1,2]}]}"
#define TENSOR \
	"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"UINT8\",\"shape\":[4],\"parameters\":" \
	"{\"binary_data_size\":4}}]}"

struct talk {
	struct meal_protocol *protocol;
	size_t most; /* bytes fed at a time */
	bool ready, broken;
	size_t begun;
	struct mer_buf seen;
	char last; /* kind of the piece that seen ends with, and whose it is */
	const struct meal_call *last_call;
};

/* Pieces of one output or of a log may be cut anywhere. */
static void note(struct talk *talk, const struct meal_call *call, char kind, struct mer_str bytes)
{
	bool goes_on = (kind == 'o' || kind == 'l') && kind == talk->last && call == talk->last_call;
	if (!goes_on && call != NULL && talk->protocol->n_open > 1)
		mer_buf_printf(&talk->seen, "%d", (int)call->input.len); /* of which of them */
	if (!goes_on)
		mer_buf_byte(&talk->seen, kind);
	mer_buf_add(&talk->seen, bytes.ptr, bytes.len);
	talk->last = kind;
	talk->last_call = call;
}

static void take(struct talk *talk, const struct meal_event *event)
{
	static const char kinds[] = "nrmolDspb";
	MER_ASSERT(!talk->broken || event->kind == MEAL_NOTHING || event->kind == MEAL_LOG);
	struct meal_call *call = event->call;
	switch (event->kind) {
	case MEAL_NOTHING: return;
	case MEAL_READY:
		MER_ASSERT(!talk->ready);
		talk->ready = true;
		break;
	case MEAL_META:
		MER_ASSERT(
			call != NULL && !call->finished &&
			(call->input.meta != NULL || call->input.tensors || call->input.bytes[0] == '{') &&
			event->bytes.ptr[event->bytes.len] == '\0');
		break;
	case MEAL_OUTPUT: MER_ASSERT(call != NULL && !call->finished && event->bytes.len > 0); break;
	case MEAL_LOG: MER_ASSERT(event->bytes.len > 0); break;
	case MEAL_DONE:
		MER_ASSERT(call != NULL && !call->finished);
		MER_ASSERT(event->status == MER_OK || event->bytes.len > 0);
		call->finished = true;
		break;
	case MEAL_SEND:
		MER_ASSERT(event->bytes.len >= MER_WIRE_HEADER &&
		           event->bytes.len <= MER_WIRE_HEADER + 2 * MER_WIRE_PING_MAX);
		break;
	case MEAL_PROGRESS: MER_ASSERT(call == NULL || !call->finished); break;
	case MEAL_BROKEN:
		MER_ASSERT(event->status != MER_OK && event->bytes.len > 0);
		talk->broken = true;
		break;
	}
	bool says = event->kind != MEAL_READY && (event->kind != MEAL_DONE || event->status != MER_OK);
	note(talk, call, kinds[event->kind], says ? event->bytes : (struct mer_str){ NULL, 0 });
}

static void feed(struct talk *talk, enum meal_stream stream, const char *bytes, size_t n)
{
	struct meal_event event = { .kind = MEAL_NOTHING };
	for (size_t from = 0; from < n; from += talk->most) {
		size_t len = n - from < talk->most ? n - from : talk->most, at = 0;
		do {
			size_t taken = talk->protocol->ops->feed(talk->protocol, stream, bytes + from + at,
			                                         len - at, &event);
			MER_ASSERT(taken <= len - at && (taken > 0 || at == len || event.kind != MEAL_NOTHING));
			at += taken;
			take(talk, &event);
		} while (at < len || event.kind != MEAL_NOTHING);
	}
}

/* A frame whose header is right: kind, flags, id, and the lengths of meta and body, a byte each. */
static size_t feed_frame(struct talk *talk, const char *bytes, size_t n)
{
	const uint8_t *at = (const uint8_t *)bytes;
	struct mer_buf frame;
	if (n < 5)
		return n;
	size_t meta = at[3] < n - 5 ? at[3] : n - 5, rest = n - 5 - meta;
	size_t body = at[4] < rest ? at[4] : rest;
	mer_buf_init(&frame, SIZE_MAX);
	mer_wire_add(&frame, (struct mer_wire_header){ .kind = at[0], .flags = at[1], .id = at[2] },
	             (struct mer_str){ bytes + 5, meta }, (struct mer_str){ bytes + 5 + meta, body });
	feed(talk, MEAL_STDOUT, frame.ptr, frame.len);
	mer_buf_release(&frame);
	return 5 + meta + body;
}

/* Inputs differ: bytes, with and without a meta, tensors, and a request for who wants tensors. */
static const struct mer_input inputs[] = {
	{ "", 0, NULL, 0, true, NULL, NULL },
	{ "x", 1, NULL, 1, false, NULL, NULL },
	{ "xx", 2, META, 2, false, NULL, NULL },
	{ REQUEST, sizeof REQUEST - 1, NULL, 3, false, NULL, NULL },
	{ "xxxx", 4, TENSOR, 4, false, NULL, NULL },
	{ "", 0, REQUEST, 0, true, NULL, NULL },
};

static void begin(struct talk *talk)
{
	struct meal_protocol *protocol = talk->protocol;
	struct meal_call *call;
	if (!talk->ready || talk->broken || protocol->n_open == protocol->capacity)
		return;
	const struct mer_input *input = &inputs[talk->begun++ % (sizeof inputs / sizeof *inputs)];
	if (meal_begin(protocol, input, &call, NULL) == MER_OK)
		MER_ASSERT(protocol->ops->cancel(protocol, call).len == MER_WIRE_HEADER);
}

/* The first run that has ended is told. */
static void tell(struct talk *talk)
{
	struct meal_call *call;
	TAILQ_FOREACH(call, &talk->protocol->calls, link)
	if (call->finished)
		break;
	if (call != NULL)
		meal_end(talk->protocol, call);
}

static size_t act(struct talk *talk, const char *bytes, size_t n)
{
	size_t len = n > 1 ? (uint8_t)bytes[1] : 0, rest = n > 2 ? n - 2 : 0;
	len = len < rest ? len : rest;
	switch ((uint8_t)bytes[0] % ACTS) {
	case FRAME: return 1 + feed_frame(talk, bytes + 1, n - 1);
	case RAW: feed(talk, MEAL_STDOUT, bytes + n - rest, len); return n - rest + len;
	case TO_STDERR: feed(talk, MEAL_STDERR, bytes + n - rest, len); return n - rest + len;
	case BEGIN: begin(talk); return 1;
	default: tell(talk); return 1;
	}
}

static void talk_init(struct talk *talk, size_t most)
{
	static const char *const argv[] = { "model", NULL };
	const struct mer_worker_spec spec = { .argv = argv, .max_output = 200 };
	*talk = (struct talk){ .most = most };
	MER_ASSERT(meal_protocol_new(&meal_frame, &spec, &talk->protocol, NULL) == MER_OK);
	mer_buf_init(&talk->seen, SIZE_MAX);
}

static void talk_done(struct talk *talk)
{
	const char *when;
	const struct meal_exit how = { .started = true };
	MER_ASSERT(meal_frame.ended(talk->protocol, TAILQ_FIRST(&talk->protocol->calls), &how, &when) !=
	           MER_OK);
	meal_protocol_free(talk->protocol);
	mer_buf_release(&talk->seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	MER_AUTO(talk_done) struct talk whole, cut;
	talk_init(&whole, SIZE_MAX / 2);
	talk_init(&cut, 1 + (len > 0 ? bytes[0] % 40u : 0));
	for (size_t at = 1; at < len;)
		at += act(&whole, (const char *)bytes + at, len - at);
	for (size_t at = 1; at < len;)
		at += act(&cut, (const char *)bytes + at, len - at);
	MER_ASSERT(whole.seen.len == cut.seen.len);
	MER_ASSERT(whole.seen.len == 0 || memcmp(whole.seen.ptr, cut.seen.ptr, whole.seen.len) == 0);
	return 0;
}
