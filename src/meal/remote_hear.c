/* What comes from a worker on another host; remote_hear.h. */
#include "remote_hear.h"

#include <mer/text.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define NOISE_MAX ((size_t)4096)

void remote_heard_init(struct remote_heard *heard)
{
	*heard = (struct remote_heard){ .how = { .exit_code = -1 } };
	mer_buf_init(&heard->noise, NOISE_MAX);
}

void remote_heard_release(struct remote_heard *heard)
{
	mer_buf_release(&heard->noise);
}

void remote_heard_expect(struct remote_heard *heard, const char *nonce)
{
	far_reader_init(&heard->out, nonce);
	far_reader_init(&heard->err, nonce);
}

/* --- marks ------------------------------------------------------------------------------------- */

/* The whole number behind a word, from least to most; else false. */
static bool take_number(const char *mark, const char *word, int least, int most, int *out)
{
	const size_t len = strlen(word);
	int64_t number;
	if (strncmp(mark, word, len) != 0 || mer_parse_i64(mark + len, &number, NULL) != MER_OK ||
	    number < least || number > most)
		return false;
	*out = (int)number;
	return true;
}

/* PID TIMER MODE */
static enum remote_event_kind on_watch(struct remote_heard *heard, const char *words)
{
	char *end;
	const long long pid = strtoll(words, &end, 10), timer = strtoll(end, &end, 10);
	const char *mode = *end == ' ' ? end + 1 : end;
	if (pid <= 1 || timer <= 1) /* to kill they are everybody */
		return REMOTE_NOTHING;
	heard->whom =
		(struct far_whom){ .pid = pid, .timer = timer, .by_perl = strcmp(mode, "perl") == 0 };
	return REMOTE_WATCH;
}

static enum remote_event_kind on_mark(struct remote_heard *heard, const char *mark)
{
	struct meal_exit *how = &heard->how;
	if (strcmp(mark, "up") == 0) {
		heard->err_up = true;
		return REMOTE_UP;
	}
	if (heard->subject.program == NULL)
		return REMOTE_STRAY;
	if (strncmp(mark, "started ", 8) == 0) {
		how->started = true;
	} else if (strncmp(mark, "watch ", 6) == 0) {
		return on_watch(heard, mark + 6);
	} else if (strncmp(mark, "fail ", 5) == 0) {
		remote_explain_failure(how->problem, &heard->subject, mark + 5);
		(void)sscanf(mark + 5, "lacks %7[yna]", how->lacks);
		heard->over = true;
	} else if (take_number(mark, "exit ", 0, 255, &how->exit_code) ||
	           take_number(mark, "signal ", 1, 127, &how->signal)) {
		heard->over = true;
	} else if (strcmp(mark, "there") == 0) {
		how->started = heard->over = true;
		how->exit_code = 0;
	} else if (strcmp(mark, "gone") == 0) {
		heard->gone = true;
		return REMOTE_GONE;
	}
	return REMOTE_NOTHING;
}

/* --- streams ----------------------------------------------------------------------------------- */

static void add_noise(struct remote_heard *heard, struct mer_str bytes)
{
	heard->complained |= heard->gone;
	size_t n = bytes.len < NOISE_MAX ? bytes.len : NOISE_MAX;
	if (heard->noise.len + n > NOISE_MAX)
		mer_buf_drop(&heard->noise, heard->noise.len + n - NOISE_MAX);
	for (size_t i = bytes.len - n; i < bytes.len; i++)
		mer_buf_byte(&heard->noise, bytes.ptr[i] != '\0' ? bytes.ptr[i] : '?');
}

static enum remote_event_kind on_bytes(const struct remote_heard *heard)
{
	return heard->subject.program != NULL ? REMOTE_BYTES : REMOTE_STRAY;
}

/* stdout is marked once, where it becomes the worker's. */
static size_t hear_stdout(struct remote_heard *heard, const char *bytes, size_t n,
                          struct remote_event *event)
{
	struct far_piece piece = { .bytes = { bytes, n } };
	if (heard->out_up) {
		event->bytes = piece.bytes;
		event->kind = n > 0 ? on_bytes(heard) : REMOTE_NOTHING;
		return n;
	}
	size_t taken = far_reader_feed(&heard->out, bytes, n, &piece);
	heard->out_up = piece.mark != NULL;
	event->bytes = piece.bytes;
	event->kind = piece.bytes.len > 0 ? REMOTE_NOISE : REMOTE_NOTHING;
	return taken;
}

static size_t hear_stderr(struct remote_heard *heard, const char *bytes, size_t n,
                          struct remote_event *event)
{
	struct far_piece piece;
	size_t taken = far_reader_feed(&heard->err, bytes, n, &piece);
	event->bytes = piece.bytes;
	if (piece.mark != NULL && strcmp(piece.mark, "beat") != 0) {
		event->mark = piece.mark;
		event->kind = on_mark(heard, piece.mark);
	} else if (piece.bytes.len > 0 && (!heard->err_up || heard->gone)) {
		add_noise(heard, piece.bytes);
		event->kind = REMOTE_NOISE;
	} else if (piece.bytes.len > 0) {
		event->kind = on_bytes(heard);
	}
	return taken;
}

size_t remote_hear(struct remote_heard *heard, enum meal_stream stream, const char *bytes, size_t n,
                   struct remote_event *event)
{
	*event = (struct remote_event){ REMOTE_NOTHING, { NULL, 0 }, NULL };
	return stream == MEAL_STDERR ? hear_stderr(heard, bytes, n, event)
	                             : hear_stdout(heard, bytes, n, event);
}

struct mer_str remote_hear_rest(struct remote_heard *heard)
{
	struct mer_str rest = far_reader_end(&heard->err);
	return heard->err_up ? rest : (struct mer_str){ NULL, 0 };
}

/* --- the end ----------------------------------------------------------------------------------- */

/* Whether some of its output may be missing: marks overtake stdout, most of all while that is held. When ssh
 * loses the connection behind the exit code, it says so, but ends with that code all the same. */
static bool is_cut(const struct remote_heard *heard, const struct remote_end *end)
{
	enum { SSH_FAILED = 255 };
	bool lost = end->carrier->problem[0] != '\0' || !heard->gone || heard->complained ||
	            (end->by_ssh && end->carrier->exit_code == SSH_FAILED);
	return lost && heard->over && heard->how.exit_code == 0 && !end->was_killed && !end->probes;
}

/* How it ended that has not said so. */
static void explain(struct remote_heard *heard, const struct remote_end *end)
{
	struct meal_exit *how = &heard->how;
	const char *noise = heard->noise.ptr != NULL ? heard->noise.ptr : "";
	if (end->carrier->problem[0] != '\0') {
		remote_explain_start(how->problem, end->carrier->problem);
	} else if (end->was_killed) {
		how->signal = SIGKILL;
	} else if (end->logs_in && end->carrier->exit_code == 0) {
		how->started = true;
		how->exit_code = 0;
	} else if (heard->err_up) {
		remote_explain_lost(how->problem, &heard->subject);
	} else if (how->problem[0] == '\0' && end->late_s > 0) {
		remote_explain_late(how->problem, &heard->subject, noise, end->late_s);
	} else if (how->problem[0] == '\0') {
		remote_explain_silence(how->problem, &heard->subject, noise, end->carrier);
	}
	/* It was told to go, and whether it did nobody has said: it is not to run twice. */
	if (end->begun && (heard->err_up || end->carrier->problem[0] != '\0') && !end->was_killed &&
	    !end->probes)
		how->started = true;
}

void remote_hear_end(struct remote_heard *heard, const struct remote_end *end)
{
	if (is_cut(heard, end)) {
		heard->how.exit_code = -1;
		remote_explain_lost(heard->how.problem, &heard->subject);
	} else if (!heard->over) {
		explain(heard, end);
	}
	heard->over = true;
}
