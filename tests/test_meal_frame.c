/* The frame protocol as a state machine, without any process: what it makes of a conversation must not
 * depend on where its bytes were cut. */
#include "conversation.h"

#define BYTES "{\"content\":\"bytes\"}"

/* A conversation, step by step:
 *   f       a frame of the worker            o TEXT  bytes of its connection that are none
 *   e TEXT  stderr                           E       the end of its connection
 *   b TEXT  a run is begun with that input   x       the first one that has ended is told and closed
 *   m TEXT  the same, and it asks for metas  c TEXT  what would cancel the run of that input
 *   q CODE  the process ended with that exit code */
struct step {
	char op;
	const char *text; /* a frame's meta */
	const char *body;
	uint8_t kind;
	uint16_t flags;
	uint64_t id;
};

struct conversation {
	const char *name;
	struct step steps[16];
	const char *want;
};

#define FRAME(kind_, id_, meta) \
	{ \
		.op = 'f', .kind = (kind_), .id = (id_), .text = (meta), .body = "" \
	}
#define READY_WITH(meta) FRAME(MER_WIRE_READY, 0, meta)
#define READY READY_WITH("{\"version\":1}")
#define READY_MANY READY_WITH("{\"version\":1,\"concurrency\":3}")
#define RESULT_WITH(id_, flags_, meta, body_) \
	{ \
		.op = 'f', .kind = MER_WIRE_RESULT, .id = (id_), .flags = (flags_), .text = (meta), \
		.body = (body_) \
	}
#define RESULT(id_, body_) RESULT_WITH(id_, 0, BYTES, body_)
#define PART(id_, body_) RESULT_WITH(id_, MER_WIRE_MORE, BYTES, body_)
#define ERROR(id_, meta) FRAME(MER_WIRE_ERROR, id_, meta)
#define LOG(id_, meta) FRAME(MER_WIRE_LOG, id_, meta)
#define BEGIN(input) \
	{ \
		.op = 'b', .text = (input) \
	}
#define TOLD \
	{ \
		.op = 'x' \
	}
#define SAY(op_, text_) \
	{ \
		.op = (op_), .text = (text_) \
	}
#define TENSOR(name, datatype, shape, size) \
	"{\"name\":\"" name "\",\"datatype\":\"" datatype "\",\"shape\":" shape \
	",\"parameters\":{\"binary_data_size\":" #size "}}"
#define OUTPUTS(list) "{\"outputs\":[" list "]}"
#define BROKE "the model broke the frame protocol: "

static const struct conversation conversations[] = {
	{ "two answers",
	  { READY, BEGIN("a"), RESULT(1, "one"), TOLD, BEGIN("b"), RESULT(2, "two"), TOLD },
	  "Ro(one)d()o(two)d()" },
	{ "an empty answer", { READY, BEGIN(""), RESULT(1, "") }, "Rd()" },
	{ "an answer without a meta", { READY, BEGIN(""), RESULT_WITH(1, 0, "", "") }, "Rd()" },
	{ "text",
	  { READY, BEGIN(""), RESULT_WITH(1, 0, "{\"content\":\"text\",\"x\":1}", "t") },
	  "Ro(t)d()" },
	{ "a stream",
	  { READY, BEGIN(""), PART(1, "a"), PART(1, ""), PART(1, "bc"), RESULT(1, "d") },
	  "Ro(abcd)d()" },
	{ "log and progress",
	  { LOG(0, "{\"level\":\"info\",\"message\":\"loading\"}"),
	    FRAME(MER_WIRE_PROGRESS, 0, "{\"done\":1,\"total\":2}"), READY, BEGIN(""),
	    LOG(1, "{\"level\":\"warn\",\"message\":\"hm\\nhm\"}"),
	    FRAME(MER_WIRE_PROGRESS, 1, "{\"done\":0.5,\"message\":\"half\"}"), SAY('e', "printed\n"),
	    RESULT(1, "a") },
	  "l(loading\n)p(1/2 )Rl(warn: hm\nhm\n)p(0.5/0 half)l(printed\n)o(a)d()" },
	{ "errors",
	  { READY, BEGIN("a"),
	    ERROR(1, "{\"code\":\"model\",\"message\":\"no luck\",\"traceback\":\"line 1\\nline 2\"}"),
	    TOLD, BEGIN("b"), ERROR(2, "{\"code\":\"input\",\"message\":\"no number\"}"), TOLD,
	    BEGIN("c"), ERROR(3, "{\"code\":\"new\"}"), TOLD, BEGIN("d"), ERROR(4, "") },
	  "Rl(line 1\nline 2\n)d(model no luck)d(input no number)d(model new)"
	  "d(model it does not say why)" },
	{ "an error in a stream",
	  { READY, BEGIN("a"), PART(1, "half"), ERROR(1, "{\"code\":\"model\",\"message\":\"x\"}") },
	  "Ro(half)d(model x)" },
	{ "gives up before it is ready",
	  { ERROR(0, "{\"code\":\"load\",\"message\":\"no weights\"}") },
	  "B(unreachable the model gave up: no weights)" },
	{ "gives up later",
	  { READY, BEGIN("a"), ERROR(0, "{\"code\":\"internal\",\"message\":\"full\"}"),
	    RESULT(1, "x") },
	  "RB(model the model gave up: full)" },
	{ "a tensor",
	  { READY, BEGIN("a"), RESULT_WITH(1, 0, OUTPUTS(TENSOR("y", "UINT8", "[3]", 3)), "abc") },
	  "Ro(abc)d()" },
	{ "an element of BYTES",
	  { READY, BEGIN("a"), RESULT_WITH(1, 0, OUTPUTS(TENSOR("y", "BYTES", "[1]", 7)), "\3%%%abc") },
	  "Ro(abc)d()" },
	{ "elements of BYTES, in a stream with others",
	  { READY, BEGIN("a"),
	    RESULT_WITH(1, MER_WIRE_MORE, OUTPUTS(TENSOR("y", "BYTES", "[2]", 10)), "\1%%%a\1%%%b"),
	    PART(1, "c"), RESULT_WITH(1, 0, OUTPUTS(TENSOR("y", "BYTES", "[]", 4)), "%%%%") },
	  "Ro(abc)d()" },
	{ "no tensor", { READY, BEGIN("a"), RESULT_WITH(1, 0, OUTPUTS(""), "") }, "Rd()" },
	{ "two tensors, and the worker stays",
	  { READY, BEGIN("a"),
	    RESULT_WITH(1, MER_WIRE_MORE,
	                OUTPUTS(TENSOR("y", "UINT8", "[]", 1) "," TENSOR("z", "UINT8", "[]", 1)), "yz"),
	    RESULT(1, "more"), TOLD, BEGIN("b"), RESULT(2, "b") },
	  "Rd(model the model answers with 2 tensors, of which none is the output)o(b)d()" },
	{ "pings",
	  { FRAME(MER_WIRE_PING, 0, ""),
	    READY,
	    { .op = 'f', .kind = MER_WIRE_PING, .text = "{\"n\":1}", .body = "x" },
	    { .op = 'f', .kind = MER_WIRE_PING, .flags = MER_WIRE_ANSWER, .text = "", .body = "x" },
	    BEGIN("a"),
	    { .op = 'f', .kind = MER_WIRE_PING, .text = "", .body = "y" },
	    RESULT(1, "a") },
	  "s(ping 4 {} )Rs(ping 4 {\"n\":1} x)s(ping 4 {} y)o(a)d()" },
	{ "answers out of order",
	  { READY_MANY, BEGIN("a"), BEGIN("b"), RESULT(2, "two"), RESULT(1, "one"), TOLD, TOLD,
	    BEGIN("c"), RESULT(3, "three") },
	  "Rb:o(two)d()a:o(one)d()o(three)d()" },
	{ "streams that alternate",
	  { READY_MANY, BEGIN("a"), BEGIN("b"), PART(1, "1"), PART(2, "2"), PART(1, "3"),
	    RESULT(2, "4"), TOLD, RESULT(1, "5") },
	  "Ra:o(1)b:o(2)a:o(3)b:o(4)d()o(5)d()" },
	{ "one of several fails",
	  { READY_MANY, BEGIN("a"), BEGIN("b"), PART(1, "x"),
	    ERROR(2, "{\"code\":\"input\",\"message\":\"no\"}"), LOG(1, "{\"message\":\"y\"}"),
	    RESULT(1, "z") },
	  "Ra:o(x)b:d(input no)a:l(y\n)o(z)d()" },
	{ "one of several answers with too much",
	  { READY_MANY, BEGIN("a"), BEGIN("b"),
	    RESULT_WITH(1, MER_WIRE_MORE,
	                OUTPUTS(TENSOR("y", "UINT8", "[]", 1) "," TENSOR("z", "UINT8", "[]", 1)), "yz"),
	    RESULT(2, "b"), RESULT(1, "more") },
	  "Rb:o(b)d()a:d(model the model answers with 2 tensors, of which none is the output)" },
	{ "what cancels",
	  { READY_MANY, BEGIN("a"), BEGIN("b"), SAY('c', "b"),
	    ERROR(2, "{\"code\":\"cancelled\",\"message\":\"gone\"}"), RESULT(1, "a") },
	  "Rs(cancel 0 {} )b:d(model gone)a:o(a)d()" },
	{ "a run that was answered is closed for good, though others are open",
	  { READY_MANY, BEGIN("a"), BEGIN("b"), RESULT(1, "a"), TOLD, PART(1, "x") },
	  "Ra:o(a)d()B(model " BROKE "result with id 1, which is not open)" },
	{ "a meta that was asked for",
	  { READY, SAY('m', "a"), PART(1, "x"),
	    RESULT_WITH(1, 0, OUTPUTS(TENSOR("y", "UINT8", "[2]", 2) "," TENSOR("z", "INT8", "[]", 1)),
	                "abz"),
	    TOLD, BEGIN("b"), RESULT(2, "b") },
	  "Rm(" BYTES ")o(x)m(" OUTPUTS(
		  TENSOR("y", "UINT8", "[2]", 2) "," TENSOR("z", "INT8", "[]", 1)) ")o(abz)d()o(b)d()" },
	{ "the end with several open",
	  { READY_MANY, BEGIN("a"), BEGIN("b"), PART(1, "p"), SAY('E', ""), SAY('q', "0") },
	  "Ra:o(p)q(model in the middle of its answer)" },
	{ "a new kind is read over",
	  { { .op = 'f', .kind = 99, .flags = MER_WIRE_SKIP, .id = 5, .text = "no JSON", .body = "x" },
	    READY,
	    { .op = 'f', .kind = 0, .flags = MER_WIRE_SKIP, .text = "", .body = "" },
	    BEGIN("a"),
	    RESULT(1, "a") },
	  "Ro(a)d()" },
	{ "a new kind is not",
	  { READY, FRAME(99, 0, "") },
	  "RB(model " BROKE "unknown kind 99, not to be skipped)" },
	{ "bits that mean nothing yet",
	  { READY, BEGIN("a"), RESULT_WITH(1, 0x8002, BYTES, "a") },
	  "Ro(a)d()" },

	/* what breaks it */
	{ "prints before it is ready",
	  { SAY('o', "Hello\n") },
	  "B(unreachable " BROKE "wrong magic: byte 0 is 0x48, no frame)" },
	{ "prints in between",
	  { READY, BEGIN("a"), SAY('o', "MERRY"), RESULT(1, "a") },
	  "RB(model " BROKE "wrong magic: byte 3 is 0x52, no frame)" },
	{ "an id that nobody asked for",
	  { READY, BEGIN("a"), RESULT(2, "x") },
	  "RB(model " BROKE "result with id 2, which is not open)" },
	{ "an answer before any run",
	  { READY, RESULT(1, "x") },
	  "RB(model " BROKE "result with id 1, which is not open)" },
	{ "a second answer",
	  { READY, BEGIN("a"), RESULT(1, "a"), RESULT(1, "b"), TOLD },
	  "Ro(a)d()B(model " BROKE "result with id 1, which is not open)" },
	{ "log of a run that is over",
	  { READY, BEGIN("a"), RESULT(1, "a"), TOLD, LOG(1, "{\"message\":\"x\"}") },
	  "Ro(a)d()B(model " BROKE "log with id 1, which is not open)" },
	{ "progress of nothing",
	  { READY, FRAME(MER_WIRE_PROGRESS, 0, "{\"done\":1}") },
	  "RB(model " BROKE "progress with id 0)" },
	{ "a result of the connection",
	  { READY, BEGIN("a"), RESULT(0, "x") },
	  "RB(model " BROKE "result with id 0)" },
	{ "ready with an id",
	  { FRAME(MER_WIRE_READY, 3, "{\"version\":1}") },
	  "B(unreachable " BROKE "ready with id 3 instead of 0)" },
	{ "ready again", { READY, READY }, "RB(model " BROKE "ready a second time)" },
	{ "ready for another version",
	  { READY_WITH("{\"version\":2}") },
	  "B(unreachable " BROKE "ready: 'version' is not 1)" },
	{ "ready without a version",
	  { READY_WITH("") },
	  "B(unreachable " BROKE "ready: 'version' is not 1)" },
	{ "no concurrency",
	  { READY_WITH("{\"version\":1,\"concurrency\":0}") },
	  "B(unreachable " BROKE "ready: 'concurrency' is no number from 1 on)" },
	{ "an odd max_body",
	  { READY_WITH("{\"version\":1,\"max_body\":\"1GB\"}") },
	  "B(unreachable " BROKE "ready: 'max_body' is no number from 1 on)" },
	{ "an odd contract",
	  { READY_WITH(
		  "{\"version\":1,\"inputs\":[{\"name\":\"x\",\"datatype\":\"FLOAT\",\"shape\":[]}]}") },
	  "B(unreachable " BROKE "ready: inputs: no such datatype: 'FLOAT')" },
	{ "a contract",
	  { READY_WITH(
			"{\"version\":1,\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"shape\":[1]}],"
			"\"outputs\":[],\"concurrency\":8,\"max_batch\":1,\"max_body\":3,\"runtime\":\"C\"}"),
	    BEGIN("abcd"), BEGIN("abc"), RESULT(1, "a") },
	  "Ri(the input has 4 bytes, the model takes at most 3)o(a)d()" },
	{ "what only mer sends",
	  { READY, FRAME(MER_WIRE_INFER, 1, BYTES) },
	  "RB(model " BROKE "infer is for mer to send)" },
	{ "a meta that is none",
	  { READY, BEGIN("a"), RESULT_WITH(1, 0, "[1]", "") },
	  "RB(model " BROKE "result: the meta is no JSON object)" },
	{ "a body that does not fit its tensors",
	  { READY, BEGIN("a"), RESULT_WITH(1, 0, OUTPUTS(TENSOR("y", "UINT8", "[3]", 3)), "ab") },
	  "RB(model " BROKE "result: tensor 'y' ends behind the body of 2 bytes)" },
	{ "BYTES that do not fit their tensor",
	  { READY, BEGIN("a"), RESULT_WITH(1, 0, OUTPUTS(TENSOR("y", "BYTES", "[1]", 6)), "\1%%%ab") },
	  "RB(model " BROKE "tensor 'y': its 1 elements do not end where its 6 bytes do)" },
	{ "a long ping",
	  { READY,
	    { .op = 'f',
	      .kind = MER_WIRE_PING,
	      .text = "",
	      .body = "12345678901234567890123456789012345678901234567890123456789012345" } },
	  "RB(model " BROKE "a ping with a meta of 0 and a body of 65 bytes)" },
	{ "a long answer",
	  { READY, BEGIN("a"),
	    RESULT(1, "1234567890123456789012345678901234567890123456789012345678901234"
	              "123456789012345678901234567890123456789") },
	  "RB(model " BROKE "a body of 103 bytes is over the limit of 100)" },

	/* ends */
	{ "the end before ready",
	  { SAY('o', "MERF"), SAY('E', ""), SAY('q', "1") },
	  "q(unreachable in the middle of a frame, before it was ready)" },
	{ "the end before an answer",
	  { READY, BEGIN("a"), SAY('E', ""), SAY('q', "0") },
	  "Rq(model before it had answered)" },
	{ "the end in a stream",
	  { READY, BEGIN("a"), PART(1, "p"), SAY('E', ""), SAY('q', "0") },
	  "Ro(p)q(model in the middle of its answer)" },
	{ "half a frame",
	  { READY, BEGIN("a"), SAY('o', "MERF\1\4"), SAY('E', ""), SAY('q', "0") },
	  "Rq(model in the middle of a frame of its answer)" },
	{ "the end between runs",
	  { READY, BEGIN("a"), RESULT(1, ""), TOLD, SAY('E', ""), SAY('q', "0") },
	  "Rd()q(model between runs)" },
};

/* In a body '%' stands for a NUL. */
static void feed_step(struct meal_protocol *p, const struct step *step, const struct cuts *cuts,
                      size_t *offset, struct record *record)
{
	struct mer_buf bytes;
	char body[128];
	mer_buf_init(&bytes, 4096);
	size_t len = step->body != NULL ? strlen(step->body) : 0;
	ck_assert_uint_lt(len, sizeof body);
	for (size_t i = 0; i < len; i++)
		body[i] = step->body[i] == '%' ? '\0' : step->body[i];
	if (step->op == 'f')
		mer_wire_add(
			&bytes,
			(struct mer_wire_header){ .kind = step->kind, .flags = step->flags, .id = step->id },
			(struct mer_str){ step->text, strlen(step->text) }, (struct mer_str){ body, len });
	else
		mer_buf_text(&bytes, step->text);
	feed_cut(p, step->op == 'e' ? MEAL_STDERR : MEAL_STDOUT, bytes.ptr, bytes.len, cuts, offset,
	         record);
	mer_buf_release(&bytes);
}

static struct meal_call *call_named(struct meal_protocol *p, const char *input)
{
	struct meal_call *call;
	TAILQ_FOREACH(call, &p->calls, link)
	if (input != NULL ? strcmp(call->input.bytes, input) == 0 : call->finished)
		return call;
	return TAILQ_FIRST(&p->calls);
}

static void take_step(struct meal_protocol *p, const struct step *step, const struct cuts *cuts,
                      size_t *offset, struct record *record)
{
	switch (step->op) {
	case 'b': begin(p, step->text, NULL, record); break;
	case 'm': begin(p, step->text, BYTES, record); break;
	case 'x': meal_end(p, call_named(p, NULL)); break;
	case 'c': add_frame(record, p->ops->cancel(p, call_named(p, step->text))); break;
	case 'E': take_eof(p, MEAL_STDOUT, record); break;
	case 'q': take_end(p, atoi(step->text), record); break;
	default: feed_step(p, step, cuts, offset, record);
	}
}

static struct meal_protocol *make(const struct mer_worker_spec *spec)
{
	struct meal_protocol *p = NULL;
	struct mer_error err;
	ck_assert_msg(meal_protocol_new(&meal_frame, spec, &p, &err) == MER_OK, "%s", err.message);
	return p;
}

static const char *const model_argv[] = { "model", NULL };
static const struct mer_worker_spec model_spec = { .argv = model_argv, .max_output = 96 };

/* Returns how many bytes the conversation has. */
static size_t hold_conversation(const struct conversation *c, const struct cuts *cuts)
{
	struct meal_protocol *p = make(&model_spec);
	struct record record;
	record_init(&record);
	size_t offset = 0;
	for (const struct step *step = c->steps; step->op != 0; step++)
		take_step(p, step, cuts, &offset, &record);
	check_record(&record, c->name, cuts, c->want);
	meal_protocol_free(p);
	return offset;
}

START_TEST(converses)
{
	const struct conversation *c = &conversations[_i];
	size_t len = hold_conversation(c, &(struct cuts){ 0 });
	(void)hold_conversation(c, &(struct cuts){ .all = true });
	for (size_t i = 1; i < len; i++)
		for (size_t j = i; j < len; j += 7) /* a prime: pairs at every distance from a header */
			(void)hold_conversation(c, &(struct cuts){ .first = i, .second = j });
}
END_TEST

/* --- what is sent --------------------------------------------------------------------------- */

static const struct mer_input in = { "in", 2, NULL, 0, false, NULL, NULL };

START_TEST(sends_frames)
{
	struct mer_worker_spec spec = model_spec;
	spec.weights = "/w/\"1\"";
	spec.weights_version = "v1";
	struct meal_protocol *p = make(&spec);
	struct record record;
	struct meal_call *call;
	char all[256];
	size_t len = 0;
	record_init(&record);
	add_frame(&record, p->greeting);
	add_frame(&record, p->farewell);
	feed_step(p, &(struct step)READY, &(struct cuts){ 0 }, &(size_t){ 0 }, &record);
	ck_assert_str_eq(p->announced, "{\"version\":1}");
	ck_assert_int_eq(meal_begin(p, &in, &call, NULL), MER_OK);
	ck_assert(!p->syncing && !call->pieces.last);
	for (size_t i = 0; i < call->pieces.count; i++) {
		if (call->pieces.piece[i].len == 0)
			continue;
		memcpy(all + len, call->pieces.piece[i].ptr, call->pieces.piece[i].len);
		len += call->pieces.piece[i].len;
	}
	add_frame(&record, (struct mer_str){ all, len });
	add_frame(&record, p->ops->cancel(p, call));
	feed_step(p, &(struct step)SAY('o', "x"), &(struct cuts){ 0 }, &(size_t){ 0 }, &record);
	add_frame(&record, p->farewell);
	ck_assert_str_eq(
		record.text.ptr,
		"s(hello 0 {\"versions\":[1],\"max_body\":100,\"weights\":\"/w/\\\"1\\\"\","
		"\"weights_version\":\"v1\"} )s(drain 0 {} )Rs(infer 0 " BYTES " in)"
		"s(cancel 0 {} )B(model " BROKE "wrong magic: byte 0 is 0x78, no frame)"
		"s(error 0 {\"code\":\"protocol\",\"message\":\"wrong magic: byte 0 is 0x78, no "
		"frame\"} )");
	mer_buf_release(&record.text);
	meal_protocol_free(p);
}
END_TEST

START_TEST(refuses_files)
{
	const char *const argv[] = { "model", "-i{input}", NULL };
	const struct mer_worker_spec spec = { .argv = argv };
	struct meal_protocol *p;
	struct mer_error err = { 0 };
	ck_assert_int_eq(meal_protocol_new(&meal_frame, &spec, &p, &err), MER_EINPUT);
	ck_assert_str_eq(err.message, "a worker that stays has no file for its runs: '-i{input}'");
}
END_TEST

/* A body is passed on as it comes: 1 GiB in pieces needs the memory of a piece. */
START_TEST(passes_a_body_on)
{
	static char piece[1 << 16];
	const char *const argv[] = { "model", NULL };
	const struct mer_worker_spec spec = { .argv = argv };
	struct meal_protocol *p = make(&spec);
	struct record record;
	struct meal_event event;
	struct meal_call *call;
	char head[MER_WIRE_HEADER];
	uint64_t size = (uint64_t)1 << 30, got = 0;
	record_init(&record);
	feed_step(p, &(struct step)READY, &(struct cuts){ 0 }, &(size_t){ 0 }, &record);
	ck_assert_int_eq(meal_begin(p, &in, &call, NULL), MER_OK);
	mer_wire_put(head,
	             &(struct mer_wire_header){
					 .kind = MER_WIRE_RESULT, .id = 1, .meta = sizeof BYTES - 1, .body = size });
	feed_piece(p, MEAL_STDOUT, head, sizeof head, &record);
	feed_piece(p, MEAL_STDOUT, BYTES, sizeof BYTES - 1, &record);
	for (uint64_t at = 0; at < size; at += sizeof piece) {
		ck_assert_uint_eq(p->ops->feed(p, MEAL_STDOUT, piece, sizeof piece, &event), sizeof piece);
		ck_assert(event.kind == MEAL_OUTPUT && event.bytes.ptr == piece);
		got += event.bytes.len;
	}
	ck_assert_uint_eq(got, size);
	(void)p->ops->feed(p, MEAL_STDOUT, piece, 0, &event);
	ck_assert_int_eq(event.kind, MEAL_DONE);
	mer_buf_release(&record.text);
	meal_protocol_free(p);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("meal_frame");
	TCase *tc = tcase_create("conversations");
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, converses, 0, N_ROWS(conversations));
	tcase_add_test(tc, sends_frames);
	tcase_add_test(tc, refuses_files);
	tcase_add_test(tc, passes_a_body_on);
	suite_add_tcase(suite, tc);
	return suite;
}
