/* The protocols as state machines, without any process: what they make of a conversation must not
 * depend on where its bytes were cut. */
#include "conversation.h"

#define READY "@!#READY#!@\n"
#define START "@!#START#!@\n"
#define STOP "@!#STOP#!@\n"

#define PAIRS_MAX 110 /* bytes of a conversation that is cut at all pairs of places */

/* A conversation, step by step:
 *   o TEXT  stdout      e TEXT  stderr      f TEXT  {output}
 *   b TEXT  a run is begun with that input  x       the run is told and closed
 *   s       synced, surely                  u       synced, unknown
 *   O E F   the end of that stream          q CODE  the process ended with that exit code */
struct step {
	char op;
	const char *text;
};

struct conversation {
	const char *name;
	const struct meal_protocol_ops *ops;
	bool line;
	bool to_file;
	struct step steps[24];
	const char *want;
};

static const char *const globs[] = { "ERR*", "* bad *", NULL };

static const struct conversation conversations[] = {
	{ "once",
	  &meal_once,
	  false,
	  false,
	  { { 'b', "in" },
	    { 'o', "some\nout" },
	    { 'e', "log" },
	    { 'o', "put" },
	    { 'O', "" },
	    { 'E', "" },
	    { 'q', "0" } },
	  "o(some\nout)l(log)o(put)q(ok)" },
	{ "once fails",
	  &meal_once,
	  false,
	  false,
	  { { 'b', "" }, { 'o', "part" }, { 'O', "" }, { 'E', "" }, { 'q', "3" } },
	  "o(part)q(model)" },
	{ "once to a file",
	  &meal_once,
	  false,
	  true,
	  { { 'b', "" }, { 'o', "chat" }, { 'O', "" }, { 'f', "answer" }, { 'F', "" }, { 'q', "0" } },
	  "l(chat)o(answer)q(ok)" },
	{ "two answers",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'o', START "one\n" STOP },
	    { 'x', "" },
	    { 'b', "b" },
	    { 'o', START "two\n\nlines\n" STOP },
	    { 'x', "" } },
	  "Ro(one\n)d()o(two\n\nlines\n)d()" },
	{ "an answer without its last newline",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY }, { 'b', "a" }, { 'o', START "one" STOP "\n" STOP } },
	  "Ro(one@!#STOP#!@\n\n)d()" },
	{ "an empty answer",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY }, { 'b', "" }, { 'o', START STOP } },
	  "Rd()" },
	{ "log around answers",
	  &meal_token,
	  false,
	  false,
	  { { 'o', "loading\n" READY "warm\n" },
	    { 'b', "a" },
	    { 'o', "thinking\n" START "1\n" STOP "bye\n" },
	    { 'x', "" },
	    { 'o', "idle" } },
	  "l(loading\n)Rl(warm\nthinking\n)o(1\n)d()l(bye\nidle)" },
	{ "what only looks like a token",
	  &meal_token,
	  false,
	  false,
	  { { 'o', "@!#READY#!@ \n @!#READY#!@\n@!#READY#!@\r\n@!#READY#!\n" READY },
	    { 'b', "a" },
	    { 'o', "@!#START#!@x\nx" START START "@!#STOP#!@\r\n@!#STOP#!@@\nx@!#STOP#!@\n@!#ST\n@!#" },
	    { 'o', "@!#STOP#!@\n" STOP } },
	  "l(@!#READY#!@ \n @!#READY#!@\n@!#READY#!@\r\n@!#READY#!\n)R"
	  "l(@!#START#!@x\nx@!#START#!@\n)"
	  "o(@!#STOP#!@\r\n@!#STOP#!@@\nx@!#STOP#!@\n@!#ST\n@!#@!#STOP#!@\n)d()" },
	{ "other tokens inside an answer",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY }, { 'b', "a" }, { 'o', START START READY "@!#EXIT#!@\n" STOP } },
	  "Ro(" START READY "@!#EXIT#!@\n)d()" },
	{ "ready again",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY READY "x\n" } },
	  "Rl(@!#READY#!@\nx\n)" },
	{ "a stop token that nothing follows",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'o', START "1\n@!#STOP#!@" },
	    { 'O', "" },
	    { 'x', "" },
	    { 'q', "0" } },
	  "Ro(1\n)d()q(model between runs)" },
	{ "the end inside a stop token",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY }, { 'b', "a" }, { 'o', START "1\n@!#STOP#!" }, { 'O', "" }, { 'q', "0" } },
	  "Ro(1\n@!#STOP#!)q(model in the middle of its answer)" },
	{ "the end behind a start token",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY }, { 'b', "a" }, { 'o', START }, { 'O', "" }, { 'q', "1" } },
	  "Rq(model in the middle of its answer)" },
	{ "the end before an answer",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY }, { 'b', "a" }, { 'o', "@!#ST" }, { 'O', "" }, { 'q', "0" } },
	  "Rl(@!#ST)q(model before it had answered)" },
	{ "the end before ready",
	  &meal_token,
	  false,
	  false,
	  { { 'o', "hm\n@!#READY#!@" }, { 'O', "" }, { 'q', "0" } },
	  "l(hm\n@!#READY#!@)q(unreachable before it was ready)" },
	{ "an error line",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'e', "harmless\n" },
	    { 'b', "a" },
	    { 'e', "warn\nERR too long\nmore\n" },
	    { 'x', "" },
	    { 'b', "b" },
	    { 's', "" },
	    { 'o', START "2\n" STOP } },
	  "Rl(harmless\nwarn\nERR too long\n)d(model ERR too long)l(more\n)o(2\n)d()" },
	{ "an error line between runs",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'e', "ERR before\n" },
	    { 'b', "a" },
	    { 'o', START "1\n" STOP },
	    { 'x', "" },
	    { 'e', "ERR after\n" } },
	  "Rl(ERR before\n)o(1\n)d()l(ERR after\n)" },
	{ "an error line that a run's begin cuts",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY }, { 'e', "ER" }, { 'b', "a" }, { 'e', "R cut\n" } },
	  "Rl(ERR cut\n)d(model ERR cut)" },
	{ "two error lines for one run",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'e', "ERR 1\nis bad indeed\n" },
	    { 'x', "" },
	    { 'b', "b" },
	    { 'e', "ERR 2\n" },
	    { 's', "" },
	    { 'e', "ERR 3\n" } },
	  "Rl(ERR 1\n)d(model ERR 1)l(is bad indeed\nERR 2\nERR 3\n)d(model ERR 3)" },
	{ "an error line when the answer is complete",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'o', START "1\n" STOP },
	    { 'e', "ERR still\n" },
	    { 'x', "" } },
	  "Ro(1\n)d()l(ERR still\n)d(model ERR still)" },
	{ "an error line without its newline at the end",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY }, { 'b', "a" }, { 'e', "ERR last" }, { 'E', "" } },
	  "Rl(ERR last)d(model ERR last)" },
	{ "an error line with a NUL is none",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY }, { 'b', "a" }, { 'e', "ERR %\n" } },
	  "Rl(ERR \\0\n)" },
	{ "an error line inside an answer, whose rest follows",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'o', START "1\n" },
	    { 'e', "ERR mid\n" },
	    { 'x', "" },
	    { 'b', "b" },
	    { 'o', "rest\n" STOP },
	    { 's', "" },
	    { 'o', START "2\n" STOP } },
	  "Ro(1\n)l(ERR mid\n)d(model ERR mid)l(rest\n)o(2\n)d()" },
	{ "an error line inside an answer that is left half",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'o', START "1\nha" },
	    { 'e', "ERR mid\n" },
	    { 'x', "" },
	    { 'b', "b" },
	    { 's', "" },
	    { 'o', START "2\n" STOP } },
	  "Ro(1\nha)l(ERR mid\n)d(model ERR mid)o(2\n)d()" },
	{ "the same where nobody can tell",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'o', START "1\n" },
	    { 'e', "ERR mid\n" },
	    { 'x', "" },
	    { 'b', "b" },
	    { 'u', "" },
	    { 'o', "rest\n" STOP START "2\n" STOP } },
	  "Ro(1\n)l(ERR mid\n)d(model ERR mid)l(rest\n)o(2\n)d()" },
	{ "a late answer is not of the next run",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'e', "ERR no\n" },
	    { 'x', "" },
	    { 'b', "b" },
	    { 'o', START "late\n" STOP },
	    { 's', "" },
	    { 'o', START "2\n" STOP } },
	  "Rl(ERR no\n)d(model ERR no)l(late\n)o(2\n)d()" },
	{ "an answer that nobody asked for",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY START "1\n" STOP }, { 'b', "b" }, { 's', "" }, { 'o', START "2\n" STOP } },
	  "Rl(1\n)o(2\n)d()" },
	{ "bare lines",
	  &meal_token,
	  true,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'o', "one\n" },
	    { 'x', "" },
	    { 'b', "b\n" },
	    { 'o', "\n" },
	    { 'x', "" },
	    { 'b', "c" },
	    { 'o', "@!#START#!@\n" },
	    { 'x', "" } },
	  "Ro(one\n)d()o(\n)d()o(@!#START#!@\n)d()" },
	{ "a second bare line is log, and makes careful",
	  &meal_token,
	  true,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'o', "one\ntwo\n" },
	    { 'x', "" },
	    { 'b', "b" },
	    { 'o', "three\n" },
	    { 's', "" },
	    { 'o', "four\n" } },
	  "Ro(one\n)d()l(two\nthree\n)o(four\n)d()" },
	{ "a bare line that is cut off",
	  &meal_token,
	  true,
	  false,
	  { { 'o', READY }, { 'b', "a" }, { 'o', "hal" }, { 'O', "" }, { 'q', "0" } },
	  "Ro(hal)q(model in the middle of its answer)" },
	{ "a bare line fails",
	  &meal_token,
	  true,
	  false,
	  { { 'o', READY },
	    { 'b', "a" },
	    { 'o', "hal" },
	    { 'e', "ERR x\n" },
	    { 'x', "" },
	    { 'b', "b" },
	    { 'o', "f\n" },
	    { 's', "" },
	    { 'o', "2\n" } },
	  "Ro(hal)l(ERR x\n)d(model ERR x)l(f\n)o(2\n)d()" },
	{ "refused inputs leave all as it was",
	  &meal_token,
	  false,
	  false,
	  { { 'o', READY },
	    { 'b', "@!#STOP#!@" },
	    { 'b', "x\n@!#EXIT#!@\r\n" },
	    { 'b', "b" },
	    { 'o', START "2\n" STOP } },
	  "Ri(line 1 of the input is the stop token '@!#STOP#!@')"
	  "i(line 2 of the input is the exit token '@!#EXIT#!@')o(2\n)d()" },
};

/* '%' in the text stands for a NUL. */
static void feed_step(struct meal_protocol *p, enum meal_stream stream, const char *text,
                      const struct cuts *cuts, size_t *offset, struct record *record)
{
	size_t len = strlen(text);
	char bytes[512];
	ck_assert_uint_lt(len, sizeof bytes);
	memcpy(bytes, text, len + 1);
	for (char *at = bytes; (at = strchr(at, '%')) != NULL;)
		*at++ = '\0';
	feed_cut(p, stream, bytes, len, cuts, offset, record);
}

static void take_step(struct meal_protocol *p, const struct step *step, const struct cuts *cuts,
                      size_t *offset, struct record *record)
{
	static const char streams[] = "oefOEF";
	const char *stream = strchr(streams, step->op);
	if (stream != NULL && stream < streams + 3) {
		feed_step(p, (enum meal_stream)(stream - streams), step->text, cuts, offset, record);
	} else if (stream != NULL) {
		take_eof(p, (enum meal_stream)(stream - streams - 3), record);
	} else if (step->op == 'b') {
		begin(p, step->text, NULL, record);
	} else if (step->op == 'x') {
		meal_end(p, TAILQ_FIRST(&p->calls));
	} else if (step->op == 'q') {
		take_end(p, atoi(step->text), record);
	} else {
		ck_assert_msg(p->syncing, "a run after trouble is to be synced");
		p->ops->synced(p, step->op == 's');
	}
}

static struct meal_protocol *make(const struct meal_protocol_ops *ops, bool line, bool to_file)
{
	const char *const argv[] = { "model", to_file ? "--to={output}" : "x", NULL };
	const struct mer_worker_spec spec = { .argv = argv, .answer_line = line, .error_lines = globs };
	struct meal_protocol *p = NULL;
	struct mer_error err;
	ck_assert_msg(meal_protocol_new(ops, &spec, &p, &err) == MER_OK, "%s", err.message);
	return p;
}

/* Returns how many bytes the conversation has. */
static size_t hold_conversation(const struct conversation *c, const struct cuts *cuts)
{
	struct meal_protocol *p = make(c->ops, c->line, c->to_file);
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
		for (size_t j = i; j < (len <= PAIRS_MAX ? len : i + 1); j++)
			(void)hold_conversation(c, &(struct cuts){ .first = i, .second = j });
}
END_TEST

/* --- against a second reading of the same rules, by whole lines -------------------------------- */

/* What a framed worker's stdout means from ready on, with a run open all the time. */
static void read_by_lines(const char *text, size_t len, struct record *record)
{
	bool answer = false;
	for (size_t at = 0; at < len;) {
		const char *newline = memchr(text + at, '\n', len - at);
		size_t n = newline == NULL ? len - at : (size_t)(newline - text) + 1 - at;
		const char *token = answer ? STOP : START;
		if (n == strlen(token) && memcmp(text + at, token, n) == 0) {
			if (answer)
				add(record, 'd', NULL, 0);
			answer = !answer;
		} else {
			add(record, answer ? 'o' : 'l', text + at, n);
		}
		at += n;
	}
}

static void compare_readings(uint64_t seed)
{
	static const char *const parts[] = { START,   STOP,   START,   STOP,          "\n",
		                                 "a",     "@!#",  "@!#ST", "@!#START#!@", "@!#STOP#!@",
		                                 "OP#!@", "\r\n", "line\n" };
	uint64_t state = seed;
	char text[1024] = "";
	while (strlen(text) < 900)
		strcat(text, parts[random_below(&state, N_ROWS(parts))]);
	strcat(text, "\n");
	size_t len = strlen(text);
	struct record want, got;
	record_init(&want);
	record_init(&got);
	read_by_lines(text, len, &want);

	struct meal_protocol *p = make(&meal_token, false, false);
	struct record ready;
	record_init(&ready);
	feed_piece(p, MEAL_STDOUT, READY, strlen(READY), &ready);
	begin(p, "x", NULL, &got);
	for (size_t at = 0, n; at < len; at += n) {
		n = 1 + random_below(&state, 30);
		if (n > len - at)
			n = len - at;
		/* The next run begins right behind an answer, so a piece ends there. */
		for (size_t i = at; i < at + n; i++)
			if (text[i] == '\n')
				n = i + 1 - at;
		size_t before = got.text.len;
		feed_piece(p, MEAL_STDOUT, text + at, n, &got);
		if (got.text.len > before + 2 && strcmp(got.text.ptr + got.text.len - 3, "d()") == 0) {
			meal_end(p, TAILQ_FIRST(&p->calls));
			begin(p, "x", NULL, &got);
		}
	}
	ck_assert_str_eq(got.text.ptr, want.text.ptr);
	mer_buf_release(&want.text);
	mer_buf_release(&got.text);
	mer_buf_release(&ready.text);
	meal_protocol_free(p);
}

START_TEST(agrees_with_a_reading_by_lines)
{
	for (uint64_t i = 0; i < 500; i++)
		compare_readings(88172645463325252u + i);
}
END_TEST

/* --- one thing at a time ----------------------------------------------------------------------- */

static const struct {
	const char *input;
	size_t len;
	bool line;
	const char *want; /* what is sent, or the refusal behind '!' */
} inputs[] = {
	{ "a", 1, false, START "a\n" STOP },
	{ "a\n", 2, false, START "a\n" STOP },
	{ "a\n\n", 3, false, START "a\n\n" STOP },
	{ "", 0, false, START "\n" STOP },
	{ "\n", 1, false, START "\n" STOP },
	{ "a\nb", 3, false, START "a\nb\n" STOP },
	{ "a\r\n", 3, false, START "a\r\n" STOP },
	{ "\xff\x01", 2, false, START "\xff\x01\n" STOP },
	{ "@!#STOP#!@ ", 11, false, START "@!#STOP#!@ \n" STOP },
	{ " @!#STOP#!@", 11, false, START " @!#STOP#!@\n" STOP },
	{ "@!#STOP#!@\r\r", 12, false, START "@!#STOP#!@\r\r\n" STOP },
	{ "@!#STOP#!@", 10, false, "!line 1 of the input is the stop token '@!#STOP#!@'" },
	{ "a\nb\n@!#STOP#!@\nc", 16, false, "!line 3 of the input is the stop token '@!#STOP#!@'" },
	{ "@!#READY#!@\n", 12, false, "!line 1 of the input is the ready token '@!#READY#!@'" },
	{ "@!#START#!@\r", 12, false, "!line 1 of the input is the start token '@!#START#!@'" },
	{ "@!#EXIT#!@\r\n", 12, true, "!line 1 of the input is the exit token '@!#EXIT#!@'" },
	{ "a\nb\0c", 5, false, "!line 2 of the input holds a NUL" },
	{ "\0", 1, false, "!line 1 of the input holds a NUL" },
	{ "a", 1, true, START "a\n" STOP },
	{ "a\n", 2, true, START "a\n" STOP },
	{ "", 0, true, START "\n" STOP },
	{ "a\nb", 3, true, "!the input has more than one line, but the model answers a line" },
	{ "a\n\n", 3, true, "!the input has more than one line, but the model answers a line" },
	{ "\n\n", 2, true, "!the input has more than one line, but the model answers a line" },
};

START_TEST(frames_input)
{
	const char *const argv[] = { "model", NULL };
	const struct mer_worker_spec spec = { .argv = argv, .answer_line = inputs[_i].line };
	struct meal_protocol *p = make(&meal_token, inputs[_i].line, false);
	struct meal_event event;
	(void)p->ops->feed(p, MEAL_STDOUT, READY, strlen(READY), &event);
	const struct mer_input input = { inputs[_i].input, inputs[_i].len, NULL, 0, false, NULL, NULL };
	struct meal_call *call = NULL;
	struct mer_error err = { 0 }, check_err = { 0 };
	char got[256] = "!";
	enum mer_status st = meal_begin(p, &input, &call, &err);
	ck_assert_int_eq(p->ops->check(&spec, &input, &check_err), st);
	ck_assert_int_eq(st, inputs[_i].want[0] == '!' ? MER_EINPUT : MER_OK);
	ck_assert_uint_eq(p->n_open, st == MER_OK);
	ck_assert_str_eq(err.message, check_err.message);
	size_t len = strlen(inputs[_i].want);
	if (st == MER_OK) {
		len = 0;
		ck_assert(!call->pieces.last && !p->syncing);
		for (size_t i = 0; i < call->pieces.count; i++) {
			memcpy(got + len, call->pieces.piece[i].ptr, call->pieces.piece[i].len);
			len += call->pieces.piece[i].len;
		}
	} else {
		strcat(got, err.message);
	}
	ck_assert_msg(len == strlen(inputs[_i].want) && memcmp(got, inputs[_i].want, len) == 0,
	              "row %d: '%.*s' instead of '%s'", _i, (int)len, got, inputs[_i].want);
	meal_protocol_free(p);
}
END_TEST

static const struct {
	const char *ready, *start, *stop, *exit, *word;
	const char *want; /* NULL: fine */
} specs[] = {
	{ NULL, NULL, NULL, NULL, "x", NULL },
	{ "r", "s", "t", "e", "x", NULL },
	{ "ok", NULL, NULL, NULL, "x", NULL },
	{ "", NULL, NULL, NULL, "x", "the ready token is empty" },
	{ "r", "r", NULL, NULL, "x", "the ready token and the start token are both 'r'" },
	{ NULL, NULL, "s", "s", "x", "the stop token and the exit token are both 's'" },
	{ MER_TOKEN_STOP, NULL, NULL, NULL, "x",
	  "the ready token and the stop token are both '@!#STOP#!@'" },
	{ NULL, "a\nb", NULL, NULL, "x", "the start token 'a?b' holds a line break" },
	{ NULL, NULL, "a\r", NULL, "x", "the stop token 'a?' holds a line break" },
	{ NULL, NULL, NULL, NULL, "-i{input}",
	  "a worker that stays has no file for its runs: '-i{input}'" },
};

START_TEST(checks_spec)
{
	const char *const argv[] = { "model", specs[_i].word, NULL };
	const struct mer_worker_spec spec = {
		.argv = argv,
		.ready_token = specs[_i].ready,
		.start_token = specs[_i].start,
		.stop_token = specs[_i].stop,
		.exit_token = specs[_i].exit,
	};
	struct meal_protocol *p = NULL;
	struct mer_error err = { 0 };
	enum mer_status st = meal_protocol_new(&meal_token, &spec, &p, &err);
	ck_assert_int_eq(st, specs[_i].want == NULL ? MER_OK : MER_EINPUT);
	ck_assert_str_eq(err.message, specs[_i].want == NULL ? "" : specs[_i].want);
	meal_protocol_free(p);
}
END_TEST

START_TEST(holds_back_only_what_could_be_a_token)
{
	static const struct {
		const char *bytes;
		size_t given; /* at once, with what was held back before */
	} rows[] = {
		{ "a", 1 }, { "b@", 2 }, { "\n", 1 }, { "@!#", 0 }, { "STOP", 0 }, { "x\nab\n@", 7 + 5 },
	};
	struct meal_protocol *p = make(&meal_token, false, false);
	struct meal_event event;
	struct record record;
	record_init(&record);
	feed_piece(p, MEAL_STDOUT, READY, strlen(READY), &record);
	begin(p, "x", NULL, &record);
	feed_piece(p, MEAL_STDOUT, START, strlen(START), &record);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t len = strlen(rows[i].bytes), at = 0, given = 0;
		do {
			at += p->ops->feed(p, MEAL_STDOUT, rows[i].bytes + at, len - at, &event);
			given += event.kind == MEAL_OUTPUT ? event.bytes.len : 0;
		} while (at < len || event.kind != MEAL_NOTHING);
		ck_assert_msg(given == rows[i].given, "row %zu: %zu bytes", i, given);
	}
	mer_buf_release(&record.text);
	meal_protocol_free(p);
}
END_TEST

/* A line of more than 64 KiB on stderr is log and no error line, and the next line is read anew. */
START_TEST(passes_on_long_lines)
{
	struct meal_protocol *p = make(&meal_token, false, false);
	struct record record;
	record_init(&record);
	feed_piece(p, MEAL_STDOUT, READY, strlen(READY), &record);
	begin(p, "x", NULL, &record);
	char line[8192];
	memset(line, 'E', sizeof line);
	memcpy(line, "ERR", 3);
	for (int i = 0; i < 9; i++)
		feed_piece(p, MEAL_STDERR, line, sizeof line, &record);
	feed_piece(p, MEAL_STDERR, "\n", 1, &record);
	ck_assert_uint_eq(record.text.len, strlen("Rl(") + 9 * sizeof line + 1);
	feed_piece(p, MEAL_STDERR, "ERR short\n", 10, &record);
	ck_assert_str_eq(record.text.ptr + record.text.len - strlen("d(model ERR short)"),
	                 "d(model ERR short)");
	mer_buf_release(&record.text);
	meal_protocol_free(p);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("meal_protocol");
	TCase *tc = tcase_create("conversations");
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, converses, 0, N_ROWS(conversations));
	tcase_add_test(tc, agrees_with_a_reading_by_lines);
	suite_add_tcase(suite, tc);
	tc = tcase_create("rules");
	tcase_add_loop_test(tc, frames_input, 0, N_ROWS(inputs));
	tcase_add_loop_test(tc, checks_spec, 0, N_ROWS(specs));
	tcase_add_test(tc, holds_back_only_what_could_be_a_token);
	tcase_add_test(tc, passes_on_long_lines);
	suite_add_tcase(suite, tc);
	return suite;
}
