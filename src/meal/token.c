/* The token protocol: a worker that stays and speaks lines (CLI.md, "The token protocol, exactly").
 *
 * stdout is looked through for one token at a time, the one that the state waits for. What could
 * still become that token's line is held back: being a prefix of the token it needs no memory. */
#include "internal.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_LINE_MAX ((size_t)64 * 1024) /* a longer line on stderr is no error line */

enum token_name { READY, START, STOP, EXIT, TOKEN_COUNT };

static const char *const token_words[] = { "ready", "start", "stop", "exit" };

struct tokens {
	struct mer_str token[TOKEN_COUNT];
};

enum state {
	STARTING, /* until the ready token */
	IDLE,     /* between answers; stdout is log */
	WAITING,  /* for the start token of an answer */
	ANSWER,   /* until the stop token */
	LATE,     /* in an answer that belongs to no run, until its stop token */
	LINE,     /* answer_line: until the end of the line */
};

struct token {
	struct meal_protocol base;
	enum state state;
	bool line;                 /* the answer is one bare line */
	bool mid_line;             /* of stdout, of a line that is not the token */
	bool due;                  /* an answer to the open run */
	bool begun;                /* something of it has come */
	bool answered;             /* the answer is complete, MEAL_DONE not yet given */
	bool failed;               /* the open run, by an error line */
	bool matched;              /* error_line is an error line, MEAL_DONE not yet given */
	bool spent;                /* error_line has been given */
	bool out_of_step;          /* what stdout says next may be about an earlier run */
	bool too_long;             /* the line of stderr that is being read */
	size_t held;               /* bytes of the token that a line of stdout began with */
	struct tokens tokens;      /* views of text */
	struct mer_str start_line; /* the start token and its newline */
	struct mer_str stop_lines; /* a newline, the stop token and its newline */
	char *text;
	char **globs;              /* ended by NULL */
	struct mer_buf error_line; /* the line of stderr that is being read, or that matched */
};

static struct token *downcast(struct meal_protocol *protocol)
{
	MER_ASSERT(protocol->ops == &meal_token);
	return (struct token *)protocol;
}

static struct mer_str view(const char *text, const char *fallback)
{
	const char *ptr = text != NULL ? text : fallback;
	return (struct mer_str){ ptr, strlen(ptr) };
}

static bool same(struct mer_str a, struct mer_str b)
{
	return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static struct tokens tokens_of(const struct mer_worker_spec *spec)
{
	return (struct tokens){ .token = {
								[READY] = view(spec->ready_token, MER_TOKEN_READY),
								[START] = view(spec->start_token, MER_TOKEN_START),
								[STOP] = view(spec->stop_token, MER_TOKEN_STOP),
								[EXIT] = view(spec->exit_token, MER_TOKEN_EXIT),
							} };
}

static enum mer_status check_tokens(const struct tokens *tokens, struct mer_error *err)
{
	for (size_t i = 0; i < TOKEN_COUNT; i++) {
		struct mer_str token = tokens->token[i];
		if (token.len == 0)
			return mer_fail(err, MER_EINPUT, "the %s token is empty", token_words[i]);
		if (strpbrk(token.ptr, "\r\n") != NULL)
			return mer_fail(err, MER_EINPUT, "the %s token '%s' holds a line break", token_words[i],
			                token.ptr);
		for (size_t j = 0; j < i; j++)
			if (same(token, tokens->token[j]))
				return mer_fail(err, MER_EINPUT, "the %s token and the %s token are both '%s'",
				                token_words[j], token_words[i], token.ptr);
	}
	return MER_OK;
}

/* The texts that are sent, in one allocation; the views of tokens then lie in it. */
static enum mer_status make_text(struct token *token, const struct mer_worker_spec *spec,
                                 struct mer_error *err)
{
	struct tokens from = tokens_of(spec);
	size_t size = 1; /* a newline before and behind each */
	for (size_t i = 0; i < TOKEN_COUNT; i++)
		size += from.token[i].len + 1;
	char *at = token->text = malloc(size);
	if (at == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	*at++ = '\n';
	for (size_t i = 0; i < TOKEN_COUNT; i++) {
		size_t len = from.token[i].len;
		memcpy(at, from.token[i].ptr, len);
		token->tokens.token[i] = (struct mer_str){ at, len };
		at[len] = '\n';
		at += len + 1;
	}
	const struct mer_str *own = token->tokens.token;
	token->start_line = (struct mer_str){ own[START].ptr, own[START].len + 1 };
	token->stop_lines = (struct mer_str){ own[STOP].ptr - 1, own[STOP].len + 2 };
	token->base.farewell = (struct mer_str){ own[EXIT].ptr, own[EXIT].len + 1 };
	return MER_OK;
}

static enum mer_status copy_globs(struct token *token, const char *const *globs,
                                  struct mer_error *err)
{
	size_t count = 0;
	while (globs != NULL && globs[count] != NULL)
		count++;
	token->globs = calloc(count + 1, sizeof *token->globs);
	if (token->globs == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		token->globs[i] = strdup(globs[i]);
		if (token->globs[i] == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	token->base.hears_stderr = count > 0;
	return MER_OK;
}

static enum mer_status init(struct meal_protocol *protocol, const struct mer_worker_spec *spec,
                            struct mer_error *err)
{
	struct token *token = downcast(protocol);
	struct tokens tokens = tokens_of(spec);
	mer_buf_init(&token->error_line, ERROR_LINE_MAX);
	protocol->stays = true;
	token->line = spec->answer_line;
	for (const char *const *word = spec->argv; *word != NULL; word++)
		if (mer_expand_uses(*word, "input") || mer_expand_uses(*word, "output"))
			return mer_fail(err, MER_EINPUT, "a worker that stays has no file for its runs: '%s'",
			                *word);
	enum mer_status st = check_tokens(&tokens, err);
	if (st == MER_OK)
		st = make_text(token, spec, err);
	return st == MER_OK ? copy_globs(token, spec->error_lines, err) : st;
}

static void release(struct meal_protocol *protocol)
{
	struct token *token = downcast(protocol);
	for (char **glob = token->globs; glob != NULL && *glob != NULL; glob++)
		free(*glob);
	free(token->globs);
	free(token->text);
	mer_buf_release(&token->error_line);
}

/* --- input ---------------------------------------------------------------------------------- */

/* Which token a line without its newline is; TOKEN_COUNT: none. A carriage return at its end does
 * not count, since workers strip it. */
static size_t token_at(const struct tokens *tokens, const char *line, size_t len)
{
	if (len > 0 && line[len - 1] == '\r')
		len--;
	size_t i = 0;
	while (i < TOKEN_COUNT && !same(tokens->token[i], (struct mer_str){ line, len }))
		i++;
	return i;
}

static enum mer_status check_input(const struct tokens *tokens, bool one_line, const char *input,
                                   size_t len, struct mer_error *err)
{
	size_t number = 1;
	const char *nul = len == 0 ? NULL : memchr(input, '\0', len);
	if (nul != NULL) {
		for (const char *at = input; (at = memchr(at, '\n', (size_t)(nul - at))) != NULL; at++)
			number++;
		return mer_fail(err, MER_EINPUT, "line %zu of the input holds a NUL", number);
	}
	for (const char *line = input, *end = input + len; line < end; number++) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		size_t n = (size_t)((newline != NULL ? newline : end) - line);
		size_t which = token_at(tokens, line, n);
		if (which < TOKEN_COUNT)
			return mer_fail(err, MER_EINPUT, "line %zu of the input is the %s token '%.*s'", number,
			                token_words[which], (int)tokens->token[which].len,
			                tokens->token[which].ptr);
		if (newline == NULL)
			break;
		line = newline + 1;
		if (one_line && line < end)
			return mer_fail(err, MER_EINPUT,
			                "the input has more than one line, but the model answers a line");
	}
	return MER_OK;
}

static enum mer_status check(const struct mer_worker_spec *spec, const struct mer_input *input,
                             struct mer_error *err)
{
	struct tokens tokens = tokens_of(spec);
	enum mer_status st = meal_check_plain(input, err);
	return st == MER_OK ? check_input(&tokens, spec->answer_line, input->bytes, input->len, err)
	                    : st;
}

static enum mer_status begin(struct meal_protocol *protocol, struct meal_call *call,
                             struct mer_error *err)
{
	struct token *token = downcast(protocol);
	const char *input = call->input.bytes;
	size_t len = call->input.len;
	MER_ASSERT(TAILQ_EMPTY(&protocol->calls) && (token->state == IDLE || token->state == LATE));
	enum mer_status st = meal_check_plain(&call->input, err);
	if (st == MER_OK)
		st = check_input(&token->tokens, token->line, input, len, err);
	if (st != MER_OK)
		return st;
	protocol->syncing = token->out_of_step;
	token->due = true;
	token->begun = token->answered = token->failed = false;
	if (!token->out_of_step)
		token->state = token->line ? LINE : WAITING;
	size_t doubled = len > 0 && input[len - 1] == '\n';
	call->pieces = (struct meal_pieces){
		.piece = { token->start_line,
		           { input, len },
		           { token->stop_lines.ptr + doubled, token->stop_lines.len - doubled } },
		.count = 3,
	};
	return MER_OK;
}

static void synced(struct meal_protocol *protocol, bool surely)
{
	struct token *token = downcast(protocol);
	MER_ASSERT(!TAILQ_EMPTY(&protocol->calls) && protocol->syncing);
	protocol->syncing = false;
	token->out_of_step = false;
	if (token->state == LATE && !surely)
		return;
	token->state = token->line ? LINE : WAITING;
	if (surely) { /* an answer that was cut off may have left half a line */
		token->held = 0;
		token->mid_line = false;
	}
}

/* --- stdout --------------------------------------------------------------------------------- */

/* The token that matters now; its ptr is NULL for none. */
static struct mer_str wanted(const struct token *token)
{
	switch (token->state) {
	case STARTING: return token->tokens.token[READY];
	case IDLE:
	case WAITING: return token->line ? (struct mer_str){ NULL, 0 } : token->tokens.token[START];
	case ANSWER:
	case LATE: return token->tokens.token[STOP];
	case LINE: break;
	}
	return (struct mer_str){ NULL, 0 };
}

/* Bytes are no token's line: output or log. */
static void give(struct token *token, const char *bytes, size_t n, struct meal_event *event)
{
	bool output = token->state == ANSWER || token->state == LINE;
	event->kind = output ? MEAL_OUTPUT : MEAL_LOG;
	event->bytes = (struct mer_str){ bytes, n };
	token->begun |= output;
	if (token->line && token->state == IDLE)
		token->out_of_step = true; /* a stray line; the next may be one too */
}

static void done(struct token *token, struct meal_event *event)
{
	token->state = IDLE;
	token->due = false;
	event->kind = MEAL_DONE;
	event->status = MER_OK;
}

/* A whole line is the token that the state waits for. */
static void on_token(struct token *token, struct meal_event *event)
{
	token->held = 0;
	switch (token->state) {
	case STARTING:
		token->state = IDLE;
		event->kind = MEAL_READY;
		return;
	case WAITING:
		token->state = ANSWER;
		token->begun = true;
		return;
	case ANSWER: done(token, event); return;
	case IDLE: /* nobody asked */
		token->state = LATE;
		token->out_of_step = true;
		return;
	case LATE: token->state = token->due && !token->base.syncing ? WAITING : IDLE; return;
	case LINE: break;
	}
	mer_defect(__FILE__, __LINE__, "this state waits for a token");
}

static size_t common(struct mer_str token, size_t from, const char *bytes, size_t n)
{
	size_t most = token.len - from < n ? token.len - from : n, i = 0;
	while (i < most && token.ptr[from + i] == bytes[i])
		i++;
	return i;
}

/* Goes on with a line that began like the token in earlier bytes. */
static size_t feed_held(struct token *token, const char *bytes, size_t n, struct meal_event *event)
{
	struct mer_str want = wanted(token);
	MER_ASSERT(want.ptr != NULL);
	size_t same_len = common(want, token->held, bytes, n);
	if (same_len == n) {
		token->held += n;
		return n;
	}
	if (token->held + same_len == want.len && bytes[same_len] == '\n') {
		on_token(token, event);
		return same_len + 1;
	}
	give(token, want.ptr, token->held, event);
	token->held = 0;
	token->mid_line = true;
	return 0;
}

static size_t feed_stdout(struct token *token, const char *bytes, size_t n,
                          struct meal_event *event)
{
	if (token->answered) {
		token->answered = false;
		done(token, event);
		return 0;
	}
	if (n == 0)
		return 0;
	if (token->held > 0)
		return feed_held(token, bytes, n, event);
	struct mer_str want = wanted(token);
	size_t at = 0; /* bytes before it are output or log */
	while (at < n) {
		if (!token->mid_line && want.ptr != NULL) {
			size_t same_len = common(want, 0, bytes + at, n - at);
			bool whole = same_len == want.len && same_len < n - at && bytes[at + same_len] == '\n';
			if (whole && at > 0)
				break; /* first what came before it */
			if (whole) {
				on_token(token, event);
				return same_len + 1;
			}
			if (same_len == n - at) {
				token->held = same_len;
				break;
			}
		}
		const char *newline = memchr(bytes + at, '\n', n - at);
		token->mid_line = newline == NULL;
		at = newline == NULL ? n : (size_t)(newline - bytes) + 1;
		if (newline != NULL && token->state == LINE) {
			token->answered = true;
			break;
		}
	}
	if (at > 0)
		give(token, bytes, at, event);
	return at + token->held;
}

/* --- stderr --------------------------------------------------------------------------------- */

/* Whether the line in error_line fails the open run. A NUL or too many bytes make it no text. */
static bool is_error_line(const struct token *token)
{
	if (TAILQ_EMPTY(&token->base.calls) || token->base.syncing || token->failed ||
	    token->too_long || mer_buf_check(&token->error_line, NULL) != MER_OK)
		return false;
	const char *line = token->error_line.len > 0 ? token->error_line.ptr : "";
	if (strlen(line) != token->error_line.len)
		return false;
	char **glob = token->globs;
	while (*glob != NULL && fnmatch(*glob, line, 0) != 0)
		glob++;
	return *glob != NULL;
}

static void forget_line(struct token *token)
{
	mer_buf_clear(&token->error_line);
	token->too_long = token->spent = false;
}

/* The open run has failed, its worker goes on: perhaps with the rest of its answer. */
static void fail(struct token *token, struct meal_event *event)
{
	token->failed = token->spent = token->out_of_step = true;
	token->matched = token->answered = token->due = false;
	if (token->state == ANSWER)
		token->state = LATE;
	else if (token->state != LATE)
		token->state = IDLE;
	event->kind = MEAL_DONE;
	event->status = MER_EMODEL;
	event->bytes = (struct mer_str){ token->error_line.ptr, token->error_line.len };
}

/* Takes bytes up to the end of the first error line, or all. */
static size_t read_lines(struct token *token, const char *bytes, size_t n)
{
	size_t at = 0;
	while (at < n && !token->matched) {
		const char *newline = memchr(bytes + at, '\n', n - at);
		size_t len = newline == NULL ? n - at : (size_t)(newline - bytes) - at;
		if (len > ERROR_LINE_MAX - token->error_line.len)
			token->too_long = true;
		else
			mer_buf_add(&token->error_line, bytes + at, len);
		at += len;
		if (newline == NULL)
			break;
		at++;
		token->matched = is_error_line(token);
		if (!token->matched)
			forget_line(token);
	}
	return at;
}

static size_t feed_stderr(struct token *token, const char *bytes, size_t n,
                          struct meal_event *event)
{
	if (token->spent)
		forget_line(token);
	if (token->matched) { /* the line itself was given as log by the last call */
		fail(token, event);
		return 0;
	}
	size_t taken = token->base.hears_stderr ? read_lines(token, bytes, n) : n;
	if (taken > 0) {
		event->kind = MEAL_LOG;
		event->bytes = (struct mer_str){ bytes, taken };
	}
	return taken;
}

static size_t feed(struct meal_protocol *protocol, enum meal_stream stream, const char *bytes,
                   size_t n, struct meal_event *event)
{
	struct token *token = downcast(protocol);
	MER_ASSERT(stream != MEAL_FILE);
	event->kind = MEAL_NOTHING;
	return stream == MEAL_STDOUT ? feed_stdout(token, bytes, n, event)
	                             : feed_stderr(token, bytes, n, event);
}

/* --- ends ----------------------------------------------------------------------------------- */

/* A last stop token without its newline counts; a last bare line does not, since it may be half. */
static void eof_stdout(struct token *token, struct meal_event *event)
{
	struct mer_str want = wanted(token);
	if (token->state == ANSWER && token->held == want.len)
		done(token, event);
	else if (token->held > 0)
		give(token, want.ptr, token->held, event);
	token->held = 0;
}

static void eof(struct meal_protocol *protocol, enum meal_stream stream, struct meal_event *event)
{
	struct token *token = downcast(protocol);
	event->kind = MEAL_NOTHING;
	if (stream == MEAL_STDOUT) {
		eof_stdout(token, event);
		return;
	}
	if (token->spent)
		forget_line(token);
	if (token->error_line.len > 0 && is_error_line(token))
		fail(token, event);
}

static enum mer_status ended(const struct meal_protocol *protocol, const struct meal_call *call,
                             const struct meal_exit *how, const char **when)
{
	(void)how;
	MER_ASSERT(protocol->ops == &meal_token);
	const struct token *token = (const struct token *)protocol;
	if (token->state == STARTING) {
		*when = " before it was ready";
		return MER_EUNREACHABLE;
	}
	*when = call == NULL   ? " between runs"
	        : token->begun ? " in the middle of its answer"
	                       : " before it had answered";
	return MER_EMODEL;
}

const struct meal_protocol_ops meal_token = {
	.name = "token",
	.size = sizeof(struct token),
	.call_size = sizeof(struct meal_call),
	.init = init,
	.release = release,
	.check = check,
	.begin = begin,
	.synced = synced,
	.feed = feed,
	.eof = eof,
	.ended = ended,
};
