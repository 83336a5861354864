/* The frame protocol: a worker that stays and speaks frames (docs/wire.md), with as many runs open as it
 * announces. What it sends comes as MEAL_STDOUT; its own stdout and stderr are log. */
#include "internal.h"

#include <inttypes.h>
#include <mer/clean.h>
#include <mer/oip.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_META "{\"content\":\"bytes\"}"
#define BODY_MAX ((uint64_t)1 << 50) /* where outputs have no limit */
#define TEXT_MAX ((size_t)MER_WIRE_META_MAX + 4096)

enum state { STARTING, RUNNING, BROKEN };

/* Of an open run. */
struct call {
	struct meal_call base;
	uint64_t id;
	bool due;                                           /* its last frame has not come */
	bool begun;                                         /* something of its answer has */
	enum mer_status status;                             /* as far as it is known */
	struct mer_error problem;                           /* why it failed */
	bool described;                                     /* its answers are told with their metas */
	struct mer_oip_request request;                     /* of tensors: what is sent */
	char *meta;                                         /* of infer, where it is not BYTES_META */
	char head[MER_WIRE_HEADER + sizeof BYTES_META - 1]; /* of infer */
	char cancel[MER_WIRE_HEADER];
};

struct frame {
	struct meal_protocol base;
	enum state state;
	uint64_t last_id;
	uint64_t takes; /* the longest input */
	json_t *inputs; /* the contract that it has announced; NULL: anything goes */
	bool wants_tensors;
	bool trains;

	/* the frame that is read */
	struct mer_wire_reader reader;
	struct call *call; /* that it belongs to; NULL: none */
	bool skipped;      /* its body means nothing */
	bool is_last;      /* with it the run is answered */
	json_t *meta;      /* of a result; NULL: bytes, or no result */
	struct mer_content content;
	struct mer_content_walk walk;
	struct mer_buf text; /* what an event says; the meta and body of a ping */

	struct mer_error problem; /* what is wrong with all */
	char *hello, *announced;
	char drain[MER_WIRE_HEADER];
	struct mer_buf complaint; /* the error frame that tells the worker what it did */
};

static struct frame *downcast(struct meal_protocol *protocol)
{
	MER_ASSERT(protocol->ops == &meal_frame);
	return (struct frame *)protocol;
}

static struct call *call_of(struct meal_call *call)
{
	return (struct call *)call;
}

/* The greatest body that is taken: an output at its limit, with the length in front of it. */
static uint64_t max_body(const struct mer_worker_spec *spec)
{
	return spec->max_output > 0 ? (uint64_t)spec->max_output + 4 : BODY_MAX;
}

static enum mer_status make_hello(struct frame *frame, const struct mer_worker_spec *spec,
                                  struct mer_error *err)
{
	struct mer_buf meta, hello;
	size_t len = 0;
	mer_buf_init(&meta, MER_WIRE_META_MAX);
	mer_buf_init(&hello, SIZE_MAX);
	mer_buf_printf(&meta, "{\"versions\":[%d],\"max_body\":%" PRIu64, MER_WIRE_VERSION,
	               max_body(spec));
	if (spec->weights != NULL) {
		mer_buf_text(&meta, ",\"weights\":");
		mer_json_quote(&meta, spec->weights, strlen(spec->weights));
	}
	if (spec->weights_version != NULL) {
		mer_buf_text(&meta, ",\"weights_version\":");
		mer_json_quote(&meta, spec->weights_version, strlen(spec->weights_version));
	}
	mer_buf_byte(&meta, '}');
	enum mer_status st = mer_buf_check(&meta, err);
	if (st == MER_OK) {
		mer_wire_add(&hello, (struct mer_wire_header){ .kind = MER_WIRE_HELLO },
		             (struct mer_str){ meta.ptr, meta.len }, (struct mer_str){ NULL, 0 });
		st = mer_buf_take(&hello, &frame->hello, &len, err);
	}
	mer_buf_release(&meta);
	frame->base.greeting = (struct mer_str){ frame->hello, len };
	return st;
}

static enum mer_status init(struct meal_protocol *protocol, const struct mer_worker_spec *spec,
                            struct mer_error *err)
{
	struct frame *frame = downcast(protocol);
	protocol->stays = protocol->lingers = protocol->hears_stderr = true;
	mer_wire_reader_init(&frame->reader, max_body(spec));
	mer_buf_init(&frame->text, TEXT_MAX);
	mer_buf_init(&frame->complaint, 4096);
	frame->takes = MER_WIRE_BODY_MAX;
	frame->trains = spec->trains;
	mer_wire_put(frame->drain, &(struct mer_wire_header){ .kind = MER_WIRE_DRAIN });
	protocol->farewell = (struct mer_str){ frame->drain, sizeof frame->drain };
	for (const char *const *word = spec->argv; *word != NULL; word++)
		if (mer_expand_uses(*word, "input") || mer_expand_uses(*word, "output"))
			return mer_fail(err, MER_EINPUT, "a worker that stays has no file for its runs: '%s'",
			                *word);
	return make_hello(frame, spec, err);
}

static void forget_answer(struct frame *frame)
{
	mer_content_release(&frame->content);
	json_decref(frame->meta);
	frame->meta = NULL;
}

static void release(struct meal_protocol *protocol)
{
	struct frame *frame = downcast(protocol);
	forget_answer(frame);
	mer_wire_reader_release(&frame->reader);
	mer_buf_release(&frame->text);
	mer_buf_release(&frame->complaint);
	json_decref(frame->inputs);
	free(frame->hello);
	free(frame->announced);
}

/* --- input ---------------------------------------------------------------------------------- */

static enum mer_status check(const struct mer_worker_spec *spec, const struct mer_input *input,
                             struct mer_error *err)
{
	(void)spec, (void)input, (void)err; /* the limit is the worker's to announce */
	return MER_OK;
}

/* Tensors are sent as the worker's contract has them, whether they come with a description or, to
 * a worker that cannot take bytes, as the text of a request. Of anything else the input stays. */
static enum mer_status take_tensors(const struct frame *frame, struct call *call,
                                    struct mer_error *err)
{
	const struct mer_input *input = &call->base.input;
	const struct mer_str bytes = { input->bytes, input->len };
	size_t limit = frame->takes < SIZE_MAX ? (size_t)frame->takes : SIZE_MAX;
	MER_AUTO(mer_json_done) json_t *meta = NULL;
	enum mer_status st = MER_OK;
	call->described = input->meta != NULL || input->tensors;
	if (input->meta != NULL)
		st = mer_json_parse("what describes the input", input->meta, strlen(input->meta), &meta,
		                    err);
	if (st == MER_OK && json_object_get(meta, "inputs") != NULL)
		return mer_oip_request(frame->inputs, meta, bytes, limit, &call->request, err);
	if (st != MER_OK || meta != NULL || !frame->wants_tensors)
		return st;
	call->described = true;
	return mer_oip_parse(frame->inputs, bytes, limit, &call->request, err);
}

static bool is_traced(const struct mer_input *input)
{
	return input->traceparent != NULL && input->traceparent[0] != '\0';
}

/* The meta of infer: what the bytes are, how long the answer may take, and which trace it is of. */
static enum mer_status make_meta(const struct call *call, char **out, size_t *len,
                                 struct mer_error *err)
{
	const struct mer_input *input = &call->base.input;
	const char *what = input->meta != NULL ? input->meta : BYTES_META;
	MER_AUTO(mer_text_done) char *described = NULL;
	if (call->request.meta != NULL) {
		enum mer_status st = mer_json_text(call->request.meta, &described, err);
		if (st != MER_OK)
			return st;
		what = described;
	}
	MER_ASSERT(what[0] == '{' && what[1] != '}');
	struct mer_buf meta;
	mer_buf_init(&meta, MER_WIRE_META_MAX);
	mer_buf_byte(&meta, '{');
	if (input->deadline_ms > 0)
		mer_buf_printf(&meta, "\"deadline_ms\":%" PRId64 ",", input->deadline_ms);
	if (is_traced(input))
		mer_buf_printf(&meta, "\"traceparent\":\"%s\",", input->traceparent);
	mer_buf_text(&meta, what + 1);
	enum mer_status st = mer_buf_take(&meta, out, len, err);
	mer_buf_release(&meta);
	return st == MER_ELIMIT ? mer_wrap(err, MER_EINPUT, "what describes the input") : st;
}

static enum mer_status begin(struct meal_protocol *protocol, struct meal_call *base,
                             struct mer_error *err)
{
	struct frame *frame = downcast(protocol);
	struct call *call = call_of(base);
	const struct mer_input *input = &base->input;
	size_t meta_len = sizeof BYTES_META - 1;
	MER_ASSERT(frame->state != STARTING);
	enum mer_status st = take_tensors(frame, call, err);
	if (st != MER_OK)
		return st;
	bool tensors = call->request.meta != NULL;
	const struct mer_str body =
		tensors ? call->request.body : (struct mer_str){ input->bytes, input->len };
	if (body.len > frame->takes)
		return mer_fail(err, MER_EINPUT,
		                "the input has %zu bytes, the model takes at most %" PRIu64, body.len,
		                frame->takes);
	if (tensors || input->meta != NULL || input->deadline_ms > 0 || is_traced(input))
		st = make_meta(call, &call->meta, &meta_len, err);
	if (st != MER_OK)
		return st;
	call->due = true;
	call->id = ++frame->last_id;
	mer_wire_put(call->head,
	             &(struct mer_wire_header){ .kind = frame->trains ? MER_WIRE_TRAIN : MER_WIRE_INFER,
	                                        .id = call->id,
	                                        .meta = (uint32_t)meta_len,
	                                        .body = body.len });
	memcpy(call->head + MER_WIRE_HEADER, BYTES_META, sizeof BYTES_META - 1);
	bool plain = call->meta == NULL;
	base->pieces = (struct meal_pieces){
		.piece = { { call->head, plain ? sizeof call->head : MER_WIRE_HEADER },
		           { call->meta, plain ? 0 : meta_len },
		           body },
		.count = 3,
	};
	return MER_OK;
}

static struct mer_str cancel(struct meal_protocol *protocol, struct meal_call *base)
{
	struct call *call = call_of(base);
	(void)protocol;
	mer_wire_put(call->cancel,
	             &(struct mer_wire_header){ .kind = MER_WIRE_CANCEL, .id = call->id });
	return (struct mer_str){ call->cancel, sizeof call->cancel };
}

static void end(struct meal_call *base)
{
	free(call_of(base)->meta);
	mer_oip_request_release(&call_of(base)->request);
}

/* The run whose last frame has not come and that has this id; NULL: none. */
static struct call *find_call(struct frame *frame, uint64_t id)
{
	struct meal_call *one;
	TAILQ_FOREACH(one, &frame->base.calls, link)
	if (call_of(one)->id == id)
		return call_of(one)->due ? call_of(one) : NULL;
	return NULL;
}

static void synced(struct meal_protocol *protocol, bool surely)
{
	(void)protocol, (void)surely;
	mer_defect(__FILE__, __LINE__, "frames carry the id of their run");
}

/* --- what went wrong ------------------------------------------------------------------------ */

/* Nothing can be understood from here on, or nobody is there who would. */
static void give_up(struct frame *frame, enum mer_status status, struct meal_event *event)
{
	forget_answer(frame);
	frame->state = BROKEN;
	frame->call = NULL;
	event->kind = MEAL_BROKEN;
	event->status = status;
	event->bytes = (struct mer_str){ frame->problem.message, strlen(frame->problem.message) };
}

/* The worker broke the protocol, as problem says: the error frame tells it so. */
static void complain(struct frame *frame, struct meal_event *event)
{
	struct mer_error *problem = &frame->problem;
	struct mer_buf meta;
	mer_buf_init(&meta, 4096);
	mer_buf_text(&meta, "{\"code\":\"protocol\",\"message\":");
	mer_json_quote(&meta, problem->message, strlen(problem->message));
	mer_buf_byte(&meta, '}');
	if (mer_buf_check(&meta, NULL) == MER_OK)
		mer_wire_add(&frame->complaint, (struct mer_wire_header){ .kind = MER_WIRE_ERROR },
		             (struct mer_str){ meta.ptr, meta.len }, (struct mer_str){ NULL, 0 });
	mer_buf_release(&meta);
	frame->base.lingers = false;
	frame->base.farewell = (struct mer_str){ frame->complaint.ptr, frame->complaint.len };
	if (mer_buf_check(&frame->complaint, NULL) != MER_OK)
		frame->base.farewell.len = 0;
	if (problem->status != MER_ENOMEM)
		(void)mer_wrap(problem, MER_EMODEL, "the model broke the frame protocol");
	give_up(frame,
	        frame->state == STARTING && problem->status == MER_EMODEL ? MER_EUNREACHABLE
	                                                                  : problem->status,
	        event);
}

MER_PRINTF(3, 4)
static void violate(struct frame *frame, struct meal_event *event, const char *fmt, ...)
{
	char text[256];
	va_list args;
	va_start(args, fmt);
	if (vsnprintf(text, sizeof text, fmt, args) < 0)
		text[0] = '\0';
	va_end(args);
	(void)mer_fail(&frame->problem, MER_ECORRUPT, "%s", text);
	complain(frame, event);
}

/* An event of the frame that is read, with what is in text. */
static void say(const struct frame *frame, enum meal_event_kind kind, struct meal_event *event)
{
	event->kind = frame->text.len > 0 || kind != MEAL_LOG ? kind : MEAL_NOTHING;
	event->call = frame->call != NULL ? &frame->call->base : NULL;
	event->bytes = (struct mer_str){ frame->text.ptr, frame->text.len };
}

/* --- frames of the worker ------------------------------------------------------------------- */

static enum mer_status check_contract(const json_t *ready, const char *key, struct mer_error *err)
{
	const json_t *list = json_object_get(ready, key);
	if (list != NULL && !json_is_array(list))
		return mer_fail(err, MER_ECORRUPT, "ready: '%s' is no array", key);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);
		const char *datatype = mer_json_get_text(one, "datatype", "");
		if (mer_json_get_text(one, "name", "")[0] == '\0')
			return mer_fail(err, MER_ECORRUPT, "ready: %s: tensor %zu has no name", key, i);
		if (mer_datatype_by_name(datatype) == MER_DATATYPE_NONE)
			return mer_fail(err, MER_ECORRUPT, "ready: %s: no such datatype: '%s'", key, datatype);
		if (!json_is_array(json_object_get(one, "shape")))
			return mer_fail(err, MER_ECORRUPT, "ready: %s: tensor %zu has no shape", key, i);
	}
	return MER_OK;
}

static enum mer_status check_number(const json_t *ready, const char *key, struct mer_error *err)
{
	const json_t *number = json_object_get(ready, key);
	if (number == NULL || (json_is_integer(number) && json_integer_value(number) >= 1))
		return MER_OK;
	return mer_fail(err, MER_ECORRUPT, "ready: '%s' is no number from 1 on", key);
}

static enum mer_status read_ready(struct frame *frame, const json_t *ready, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	if (mer_json_get_i64(ready, "version", 0) != MER_WIRE_VERSION)
		return mer_fail(err, MER_ECORRUPT, "ready: 'version' is not %d", MER_WIRE_VERSION);
	static const char *const numbers[] = { "concurrency", "max_batch", "max_body" };
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers && st == MER_OK; i++)
		st = check_number(ready, numbers[i], err);
	if (st == MER_OK)
		st = check_contract(ready, "inputs", err);
	if (st == MER_OK)
		st = check_contract(ready, "outputs", err);
	if (st == MER_OK)
		st = mer_json_text(ready, &frame->announced, err);
	if (st != MER_OK)
		return st;
	frame->takes = (uint64_t)mer_json_get_i64(ready, "max_body", MER_WIRE_BODY_MAX);
	frame->inputs = json_incref(json_object_get(ready, "inputs"));
	frame->wants_tensors = mer_oip_wants_tensors(frame->inputs);
	int64_t concurrency = mer_json_get_i64(ready, "concurrency", 1);
	frame->base.capacity = concurrency < MEAL_OPEN_MAX ? (size_t)concurrency : MEAL_OPEN_MAX;
	frame->base.announced = frame->announced;
	return MER_OK;
}

static void on_ready(struct frame *frame, const json_t *meta, struct meal_event *event)
{
	if (frame->state != STARTING) {
		violate(frame, event, "ready a second time");
	} else if (read_ready(frame, meta, &frame->problem) != MER_OK) {
		complain(frame, event);
	} else {
		frame->state = RUNNING;
		event->kind = MEAL_READY;
	}
}

/* The status of a run that the worker answered with an error. */
static enum mer_status status_of(const char *code)
{
	return strcmp(code, "input") == 0 ? MER_EINPUT : MER_EMODEL;
}

/* Says why; a traceback goes to the log first, and DONE comes with the end of the frame. */
static void on_error(struct frame *frame, const json_t *meta, struct meal_event *event)
{
	const char *code = mer_json_get_text(meta, "code", "");
	const char *message = mer_json_get_text(meta, "message", "");
	const char *traceback = mer_json_get_text(meta, "traceback", "");
	size_t len = strlen(traceback);
	struct call *call = frame->call;
	if (message[0] == '\0')
		message = code[0] != '\0' ? code : "it does not say why";
	(void)mer_fail(call != NULL ? &call->problem : &frame->problem, MER_EMODEL, "%s%s",
	               call != NULL ? "" : "the model gave up: ", message);
	if (len > 0) {
		mer_buf_add(&frame->text, traceback, len);
		if (traceback[len - 1] != '\n')
			mer_buf_byte(&frame->text, '\n');
		say(frame, MEAL_LOG, event);
	}
	frame->is_last = true;
	if (call != NULL)
		call->status = status_of(code);
}

static void on_log(struct frame *frame, const json_t *meta, struct meal_event *event)
{
	const char *level = mer_json_get_text(meta, "level", "info");
	const char *message = mer_json_get_text(meta, "message", "");
	if (strcmp(level, "info") != 0)
		mer_buf_printf(&frame->text, "%s: ", level);
	mer_buf_text(&frame->text, message);
	mer_buf_byte(&frame->text, '\n');
	say(frame, MEAL_LOG, event);
}

static void on_progress(struct frame *frame, const json_t *meta, struct meal_event *event)
{
	event->done = json_number_value(json_object_get(meta, "done"));
	event->total = json_number_value(json_object_get(meta, "total"));
	mer_buf_text(&frame->text, mer_json_get_text(meta, "message", ""));
	say(frame, MEAL_PROGRESS, event);
}

/* The answer of a run that asked for more than bytes is told as it is. */
static void on_described(struct frame *frame, struct mer_str meta, struct meal_event *event)
{
	mer_buf_add(&frame->text, meta.len > 0 ? meta.ptr : "{}", meta.len > 0 ? meta.len : 2);
	mer_buf_byte(&frame->text, '\0');
	say(frame, MEAL_META, event);
	event->bytes.len--;
}

/* The answer of a run that is told bytes is one output. */
static void on_result(struct frame *frame, json_t *meta, struct mer_str text,
                      struct meal_event *event)
{
	const struct mer_wire_header *head = &frame->reader.header;
	struct call *call = frame->call;
	frame->is_last = (head->flags & MER_WIRE_MORE) == 0;
	call->begun = true;
	frame->skipped = call->status != MER_OK;
	if (frame->skipped)
		return;
	forget_answer(frame);
	frame->walk = (struct mer_content_walk){ .at = 0 };
	frame->content.form = MER_CONTENT_BYTES;
	enum mer_status st = MER_OK;
	if (meta != NULL)
		st = mer_content_read(meta, "outputs", head->body, &frame->content, &frame->problem);
	frame->meta = json_incref(meta);
	if (st != MER_OK) {
		(void)mer_wrap(&frame->problem, st, "result");
		complain(frame, event);
	} else if (call->described) {
		on_described(frame, text, event);
	} else if (frame->content.count > 1) {
		(void)mer_fail(&call->problem, MER_EMODEL,
		               "the model answers with %zu tensors, of which none is the output",
		               frame->content.count);
		call->status = MER_EMODEL;
		frame->skipped = true;
	}
}

/* Its answer has the same meta and body: they are kept until it ends. */
static void on_ping(struct frame *frame, struct mer_str meta, struct meal_event *event)
{
	const struct mer_wire_header *head = &frame->reader.header;
	if ((head->flags & MER_WIRE_ANSWER) != 0)
		return;
	if (meta.len > MER_WIRE_PING_MAX || head->body > MER_WIRE_PING_MAX) {
		violate(frame, event, "a ping with a meta of %zu and a body of %" PRIu64 " bytes", meta.len,
		        head->body);
		return;
	}
	char answer[MER_WIRE_HEADER];
	mer_wire_put(answer, &(struct mer_wire_header){ .kind = MER_WIRE_PING,
	                                                .flags = MER_WIRE_ANSWER,
	                                                .meta = (uint32_t)meta.len,
	                                                .body = head->body });
	mer_buf_add(&frame->text, answer, sizeof answer);
	mer_buf_add(&frame->text, meta.ptr, meta.len);
	frame->skipped = false;
}

/* --- any frame ------------------------------------------------------------------------------ */

/* Whether a kind may come with that id now; complains where it may not. */
static bool may_come(struct frame *frame, struct meal_event *event)
{
	enum { CONNECTION = 1, REQUEST = 2 };
	static const unsigned ids[MER_WIRE_KIND_COUNT] = {
		[MER_WIRE_READY] = CONNECTION,           [MER_WIRE_RESULT] = REQUEST,
		[MER_WIRE_ERROR] = CONNECTION | REQUEST, [MER_WIRE_PING] = CONNECTION,
		[MER_WIRE_LOG] = CONNECTION | REQUEST,   [MER_WIRE_PROGRESS] = REQUEST,
	};
	const struct mer_wire_header *head = &frame->reader.header;
	const char *name = mer_wire_kind_name(head->kind);
	unsigned allowed = ids[head->kind];
	if (head->kind == MER_WIRE_PROGRESS && frame->state == STARTING)
		allowed |= CONNECTION; /* of its start */
	if (allowed == 0)
		violate(frame, event, "%s is for mer to send", name);
	else if (head->id == 0 && (allowed & CONNECTION) == 0)
		violate(frame, event, "%s with id 0", name);
	else if (head->id != 0 && (allowed & REQUEST) == 0)
		violate(frame, event, "%s with id %" PRIu64 " instead of 0", name, head->id);
	else if (head->id != 0 && (frame->call = find_call(frame, head->id)) == NULL)
		violate(frame, event, "%s with id %" PRIu64 ", which is not open", name, head->id);
	else
		return true;
	return false;
}

/* What nearly every answer is; spared the way through JSON. */
static bool is_plain_bytes(struct mer_str meta)
{
	static const struct mer_str forms[] = {
		{ BYTES_META, sizeof BYTES_META - 1 },
		{ "{\"content\": \"bytes\"}", sizeof BYTES_META },
	};
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
		if (meta.len == forms[i].len && memcmp(meta.ptr, forms[i].ptr, meta.len) == 0)
			return true;
	return false;
}

static void on_meta(struct frame *frame, struct mer_str text, struct meal_event *event)
{
	const struct mer_wire_header *head = &frame->reader.header;
	frame->call = NULL;
	frame->skipped = true;
	frame->is_last = false;
	mer_buf_clear(&frame->text);
	if (head->kind == MER_WIRE_NONE || head->kind >= MER_WIRE_KIND_COUNT) {
		if ((head->flags & MER_WIRE_SKIP) == 0)
			violate(frame, event, "unknown kind %u, not to be skipped", (unsigned)head->kind);
		return;
	}
	if (!may_come(frame, event))
		return;
	if (head->kind == MER_WIRE_RESULT && is_plain_bytes(text)) {
		on_result(frame, NULL, text, event);
		return;
	}
	MER_AUTO(mer_json_done) json_t *meta = NULL;
	if (mer_wire_meta(text, &meta, &frame->problem) != MER_OK) {
		(void)mer_wrap(&frame->problem, frame->problem.status, "%s",
		               mer_wire_kind_name(head->kind));
		complain(frame, event);
		return;
	}
	switch ((enum mer_wire_kind)head->kind) {
	case MER_WIRE_READY: on_ready(frame, meta, event); break;
	case MER_WIRE_RESULT: on_result(frame, meta, text, event); break;
	case MER_WIRE_ERROR: on_error(frame, meta, event); break;
	case MER_WIRE_PING: on_ping(frame, text, event); break;
	case MER_WIRE_LOG: on_log(frame, meta, event); break;
	case MER_WIRE_PROGRESS: on_progress(frame, meta, event); break;
	case MER_WIRE_NONE:
	case MER_WIRE_HELLO:
	case MER_WIRE_INFER:
	case MER_WIRE_CANCEL:
	case MER_WIRE_TRAIN:
	case MER_WIRE_DRAIN:
	case MER_WIRE_KIND_COUNT: mer_defect(__FILE__, __LINE__, "only the worker's kinds come here");
	}
	if (mer_buf_check(&frame->text, &frame->problem) != MER_OK)
		complain(frame, event);
}

/* Takes a piece of a body as far as it makes one event. Returns how much. */
static size_t on_body(struct frame *frame, struct mer_str body, struct meal_event *event)
{
	size_t at = 0;
	if (frame->skipped)
		return body.len;
	if (frame->reader.header.kind == MER_WIRE_PING) {
		mer_buf_add(&frame->text, body.ptr, body.len);
		return body.len;
	}
	if (frame->call->described) {
		*event =
			(struct meal_event){ .kind = MEAL_OUTPUT, .call = &frame->call->base, .bytes = body };
		return body.len;
	}
	while (at < body.len && event->kind == MEAL_NOTHING) {
		size_t taken;
		struct mer_str piece;
		enum mer_status st = mer_content_step(&frame->content, &frame->walk, body.ptr + at,
		                                      body.len - at, &taken, &piece, &frame->problem);
		at += taken;
		if (st != MER_OK)
			complain(frame, event);
		else if (piece.len > 0)
			*event = (struct meal_event){ .kind = MEAL_OUTPUT,
				                          .call = &frame->call->base,
				                          .bytes = piece };
	}
	return at;
}

static void on_end(struct frame *frame, struct meal_event *event)
{
	const struct mer_wire_header *head = &frame->reader.header;
	if (head->kind == MER_WIRE_PING && !frame->skipped)
		say(frame, MEAL_SEND, event);
	if (mer_buf_check(&frame->text, &frame->problem) != MER_OK)
		complain(frame, event);
	if (!frame->is_last)
		return;
	if (head->id == 0) {
		give_up(frame, frame->state == STARTING ? MER_EUNREACHABLE : MER_EMODEL, event);
		return;
	}
	struct call *call = frame->call;
	forget_answer(frame);
	call->due = false;
	frame->call = NULL;
	*event = (struct meal_event){
		.kind = MEAL_DONE,
		.call = &call->base,
		.bytes = { call->problem.message, strlen(call->problem.message) },
		.status = call->status,
	};
}

/* --- bytes ---------------------------------------------------------------------------------- */

static size_t feed_frames(struct frame *frame, const char *bytes, size_t n,
                          struct meal_event *event)
{
	struct mer_wire_reader *reader = &frame->reader;
	size_t at = 0;
	struct mer_wire_event wire;
	do {
		if (frame->state == BROKEN)
			return n;
		size_t taken = mer_wire_feed(reader, bytes + at, n - at, &wire);
		switch (wire.kind) {
		case MER_WIRE_NOTHING: break;
		case MER_WIRE_META: on_meta(frame, wire.bytes, event); break;
		case MER_WIRE_BODY:
			taken = on_body(frame, wire.bytes, event);
			reader->left += wire.bytes.len - taken; /* it gives the rest again */
			break;
		case MER_WIRE_END: on_end(frame, event); break;
		case MER_WIRE_BROKEN:
			frame->problem = reader->error;
			complain(frame, event);
			break;
		}
		at += taken;
	} while (event->kind == MEAL_NOTHING && (at < n || wire.kind != MER_WIRE_NOTHING));
	return at;
}

static size_t feed(struct meal_protocol *protocol, enum meal_stream stream, const char *bytes,
                   size_t n, struct meal_event *event)
{
	MER_ASSERT(stream != MEAL_FILE);
	*event = (struct meal_event){ .kind = MEAL_NOTHING };
	if (stream == MEAL_STDOUT)
		return feed_frames(downcast(protocol), bytes, n, event);
	if (n > 0)
		*event = (struct meal_event){ .kind = MEAL_LOG, .bytes = { bytes, n } };
	return n;
}

static void eof(struct meal_protocol *protocol, enum meal_stream stream, struct meal_event *event)
{
	(void)protocol, (void)stream; /* the end of the process says how an answer ended */
	*event = (struct meal_event){ .kind = MEAL_NOTHING };
}

static enum mer_status ended(const struct meal_protocol *protocol, const struct meal_call *base,
                             const struct meal_exit *how, const char **when)
{
	(void)how;
	MER_ASSERT(protocol->ops == &meal_frame);
	const struct frame *frame = (const struct frame *)protocol;
	const struct call *call = (const struct call *)base;
	bool half = !mer_wire_is_between(&frame->reader);
	if (frame->state == STARTING) {
		*when = half ? " in the middle of a frame, before it was ready" : " before it was ready";
		return MER_EUNREACHABLE;
	}
	bool of_it = meal_only_call(protocol) == base || frame->call == call;
	*when = call == NULL    ? half ? " between runs, in the middle of a frame" : " between runs"
	        : half && of_it ? " in the middle of a frame of its answer"
	        : call->begun   ? " in the middle of its answer"
	                        : " before it had answered";
	return MER_EMODEL;
}

const struct meal_protocol_ops meal_frame = {
	.name = "frame",
	.size = sizeof(struct frame),
	.call_size = sizeof(struct call),
	.init = init,
	.release = release,
	.check = check,
	.begin = begin,
	.cancel = cancel,
	.end = end,
	.synced = synced,
	.feed = feed,
	.eof = eof,
	.ended = ended,
};
