/* The token protocol: a conversation means the same however its bytes are cut, and no state comes up
 * that forbids what a caller may do. */
#include "../../src/meal/internal.h"
#include "fuzz.h"

#include <mer/clean.h>
#include <string.h>

/* The first byte chooses the form; then bytes of stdout, but these, which are not of any text. */
enum { BEGIN = 0xf8, TOLD, SURELY, UNKNOWN, TO_STDERR, TO_STDOUT, END_STDERR, END_STDOUT };

static const char *const globs[] = { "E*", NULL };

struct talk {
	struct meal_protocol *protocol;
	enum meal_stream stream;
	bool ready;
	bool ended[2];
	int done; /* of the open run: MEAL_DONE events that came */
	struct mer_buf seen;
	char last; /* kind of the piece that seen ends with */
};

static void note(struct talk *talk, char kind, struct mer_str bytes)
{
	if (kind != talk->last || (kind != 'o' && kind != 'l'))
		mer_buf_byte(&talk->seen, kind);
	mer_buf_add(&talk->seen, bytes.ptr, bytes.len);
	talk->last = kind;
}

static void take(struct talk *talk, const struct meal_event *event)
{
	bool open = talk->protocol->n_open > 0 && !talk->protocol->syncing;
	switch (event->kind) {
	case MEAL_NOTHING: break;
	case MEAL_READY:
		MER_ASSERT(!talk->ready);
		talk->ready = true;
		note(talk, 'r', (struct mer_str){ NULL, 0 });
		break;
	case MEAL_OUTPUT:
		MER_ASSERT(open && talk->done == 0 && event->bytes.len > 0);
		note(talk, 'o', event->bytes);
		break;
	case MEAL_LOG:
		MER_ASSERT(event->bytes.len > 0);
		note(talk, 'l', event->bytes);
		break;
	case MEAL_DONE:
		MER_ASSERT(open && talk->done < 2);
		talk->done += event->status == MER_OK ? 1 : 2;
		note(talk, event->status == MER_OK ? 'd' : 'f',
		     event->status == MER_OK ? (struct mer_str){ NULL, 0 } : event->bytes);
		break;
	case MEAL_META:
	case MEAL_SEND:
	case MEAL_PROGRESS:
	case MEAL_BROKEN: mer_defect(__FILE__, __LINE__, "an event of frames");
	}
}

static void feed(struct talk *talk, const char *bytes, size_t n)
{
	struct meal_event event;
	size_t at = 0;
	if (talk->ended[talk->stream])
		return;
	do {
		size_t taken =
			talk->protocol->ops->feed(talk->protocol, talk->stream, bytes + at, n - at, &event);
		MER_ASSERT(taken <= n - at && (taken > 0 || at == n || event.kind != MEAL_NOTHING));
		at += taken;
		take(talk, &event);
	} while (at < n || event.kind != MEAL_NOTHING);
}

static void end(struct talk *talk, enum meal_stream stream)
{
	struct meal_event event;
	if (talk->ended[stream])
		return;
	talk->ended[stream] = true;
	talk->protocol->ops->eof(talk->protocol, stream, &event);
	take(talk, &event);
}

static void act(struct talk *talk, int action)
{
	struct meal_protocol *protocol = talk->protocol;
	struct meal_call *call;
	if (action == BEGIN && talk->ready && protocol->n_open == 0) {
		talk->done = 0;
		MER_ASSERT(meal_begin(protocol, &(struct mer_input){ "x", 1, NULL, 0, false, NULL, NULL },
		                      &call, NULL) == MER_OK);
	} else if (action == TOLD && protocol->n_open > 0 && talk->done > 0) {
		meal_end(protocol, TAILQ_FIRST(&protocol->calls));
	} else if ((action == SURELY || action == UNKNOWN) && protocol->syncing) {
		protocol->ops->synced(protocol, action == SURELY);
	} else if (action == TO_STDERR || action == TO_STDOUT) {
		talk->stream = action == TO_STDERR ? MEAL_STDERR : MEAL_STDOUT;
	} else if (action == END_STDERR || action == END_STDOUT) {
		end(talk, action == END_STDERR ? MEAL_STDERR : MEAL_STDOUT);
	}
}

static void hold_talk(struct talk *talk, const char *bytes, size_t len, size_t most)
{
	for (size_t at = 0, n; at < len; at += n) {
		for (n = 0; at + n < len && (uint8_t)bytes[at + n] < BEGIN && n < most;)
			n++;
		if (n > 0)
			feed(talk, bytes + at, n);
		else
			act(talk, (uint8_t)bytes[at + n++]);
	}
}

static void talk_init(struct talk *talk, int form)
{
	static const char *const argv[] = { "model", NULL };
	const struct mer_worker_spec spec = {
		.argv = argv,
		.ready_token = "R",
		.start_token = "(a",
		.stop_token = "(b",
		.exit_token = "X",
		.answer_line = (form & 1) != 0,
		.error_lines = (form & 2) != 0 ? globs : NULL,
	};
	*talk = (struct talk){ .ready = false };
	MER_ASSERT(meal_protocol_new(&meal_token, &spec, &talk->protocol, NULL) == MER_OK);
	mer_buf_init(&talk->seen, SIZE_MAX);
}

static void talk_done(struct talk *talk)
{
	const char *when;
	const struct meal_exit how = { .started = true };
	MER_ASSERT(meal_token.ended(talk->protocol, TAILQ_FIRST(&talk->protocol->calls), &how, &when) !=
	           MER_OK);
	meal_protocol_free(talk->protocol);
	mer_buf_release(&talk->seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	MER_AUTO(talk_done) struct talk whole, cut;
	int form = len > 0 ? bytes[0] : 0;
	talk_init(&whole, form);
	talk_init(&cut, form);
	if (len > 1) {
		hold_talk(&whole, (const char *)bytes + 1, len - 1, len);
		hold_talk(&cut, (const char *)bytes + 1, len - 1, 1 + (size_t)form / 64);
	}
	MER_ASSERT(whole.seen.len == cut.seen.len);
	MER_ASSERT(whole.seen.len == 0 || memcmp(whole.seen.ptr, cut.seen.ptr, whole.seen.len) == 0);
	return 0;
}
