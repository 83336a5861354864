/* Tests of a worker against docs/wire.md: the rules, and the sessions. A session is a connection of its
 * own: a script of what is sent and waited for, while every frame that comes is held to the rules. */
#include "talk.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define AT_ONCE_MAX 8 /* open requests, of however many it promises */
#define TAKEN_MS 500  /* to wait for a byte to be read before the next one */

const struct mer_conform_rule mer_conform_rules[] = {
	[CLOSE_ON_EXEC] = { "fd-close-on-exec", "set close-on-exec on the descriptor" },
	[STRAY_PRINT] = { "stray-print-is-log",
	                  "what a model prints is a log line and not a broken frame" },
	[CUT_ANYWHERE] = { "cut-anywhere",
	                   "a frame never depends on how the bytes were cut on their way" },
	[EOF_EXITS] = { "eof-exits",
	                "where mer closes the connection the worker stops working and exits" },
	[HEADER_MAGIC] = { "header-magic", "a frame begins with the bytes MERF" },
	[HEADER_VERSION] = { "header-version", "a header has the version that is spoken" },
	[HEADER_FLAGS] = { "header-flags", "other bits than MORE, SKIP and ANSWER are 0" },
	[HEADER_RESERVED] = { "header-reserved", "reserved bytes are 0" },
	[META_LIMIT] = { "meta-limit", "a meta has at most 1,048,576 bytes" },
	[META_OBJECT] = { "meta-json-object", "a meta is a JSON object in UTF-8" },
	[BODY_LIMIT] = { "body-limit", "no body is larger than mer takes" },
	[KNOWN_KIND] = { "known-kind", "only kinds that a worker sends, or one with SKIP" },
	[FRAME_IDS] = { "frame-ids", "id 0 for the connection's own frames, else that of the request" },
	[ERROR_FIELDS] = { "error-fields", "an error has a code, and a message of one line" },
	[LOG_FIELDS] = { "log-fields", "log has a level and a message" },
	[PROGRESS_FIELDS] = { "progress-fields",
	                      "progress has the number done, and a number total if at all" },
	[READY_AFTER_HELLO] = { "ready-after-hello", "ready comes once, behind hello" },
	[READY_OR_ERROR] = { "ready-or-error", "behind hello come ready, or an error with id 0" },
	[ONLY_LOG] = { "only-log-before-ready", "before ready come log and progress only" },
	[READY_VERSION] = { "ready-version", "ready's version is one of hello's versions" },
	[READY_FIELDS] = { "ready-fields", "ready has the fields of the page in their types" },
	[VERSION_REFUSED] = { "version-refused",
	                      "where none of versions is spoken comes the error version" },
	[UNKNOWN_FIELDS] = { "unknown-fields-ignored",
	                     "fields of a meta that are not known are ignored" },
	[UNKNOWN_FLAGS] = { "unknown-flags-ignored", "flags that are not known are ignored" },
	[UNKNOWN_SKIP] = { "unknown-kind-skip", "an unknown kind with SKIP is read over" },
	[ONE_LAST] = { "one-last-frame", "each request gets exactly one last frame" },
	[IDS_OPEN] = { "ids-open", "no id that is not open" },
	[NOT_REUSED] = { "ids-not-reused", "behind its last frame an id is never heard of again" },
	[CONCURRENCY] = { "concurrency", "as many requests as promised may be open" },
	[READS_ON] = { "reads-while-writing", "who takes several requests reads on while it writes" },
	[LARGE_BODY] = { "large-body", "a body of 1 MiB is taken" },
	[CANCEL_ANSWERED] = { "cancel-answered",
	                      "a request that is cancelled still gets its last frame" },
	[LATE_CANCEL] = { "late-cancel-ignored", "cancel for an id that was answered is ignored" },
	[PING_ANSWERED] = { "ping-answered", "a ping is answered with its meta and body" },
	[INPUT_REFUSED] = { "input-refused", "an input that is not as announced gets the error input" },
	[TRAIN_UNSUPPORTED] = { "train-unsupported",
	                        "train that is not done gets the error unsupported" },
	[OUTPUT_DESCRIBED] = { "output-described", "a result says outputs or content" },
	[OUTPUT_SIZES] = { "output-sizes", "the sizes of outputs fit their shapes and the body" },
	[OUTPUT_ELEMENTS] = { "output-elements",
	                      "elements of BYTES end exactly where their tensor does" },
	[OUTPUT_TEXT] = { "output-text", "text is UTF-8" },
	[OUTPUT_CONTRACT] = { "output-contract", "outputs are as announced" },
	[DRAIN_ANSWERS] = { "drain-answers-open", "at drain what is open is answered" },
	[DRAIN_EXITS] = { "drain-exits-0", "behind drain it closes the connection and exits with 0" },
	[BAD_MAGIC] = { "bad-magic-closes", "at a wrong magic it closes" },
	[BAD_VERSION] = { "bad-version-closes", "at a version that was not agreed on it closes" },
	[BAD_RESERVED] = { "bad-reserved-closes", "at reserved bytes that are not 0 it closes" },
	[BAD_META] = { "bad-meta-closes", "at a meta that is no JSON object it closes" },
	[LONG_META] = { "long-meta-closes", "at a meta over its limit it closes" },
	[LONG_BODY] = { "long-body-closes", "at a body over its limit it closes" },
	[BAD_SIZES] = { "bad-sizes-close", "at lengths that do not fit the tensors it closes" },
	[UNKNOWN_CLOSES] = { "unknown-kind-closes",
	                     "at a kind that is unknown and not SKIP it closes" },
	[PROTOCOL_ERROR] = { "protocol-error",
	                     "who finds the protocol broken says protocol, if anything" },
	[RULES] = { NULL, NULL },
};

/* --- what is waited for --------------------------------------------------------------------- */

static bool is_sent(const struct talk *talk)
{
	return talk->to.len == 0 || talk->out < 0;
}

static bool is_started(const struct talk *talk)
{
	return talk->ready || talk->gave_up || talk->broken || talk->out < 0 || talk->over;
}

static bool is_idle(const struct talk *talk)
{
	return (talk->n_open == 0 && talk->to.len == 0) || talk->out < 0 || talk->broken;
}

static bool is_ponged(const struct talk *talk)
{
	return talk->n_pongs > 0 || talk->out < 0 || talk->broken;
}

static bool is_closed(const struct talk *talk)
{
	return talk->out < 0;
}

static bool is_over(const struct talk *talk)
{
	return talk->over;
}

/* --- what is sent --------------------------------------------------------------------------- */

static void send_infer(struct talk *talk, const char *fields, uint16_t flags)
{
	talk_send_input(talk, fields, flags, false);
}

/* Waits until the worker has read what was sent; false: it is busy with something else. */
static bool wait_taken(struct talk *talk, int64_t ms)
{
	int64_t end = mer_clock_ms() + ms;
	int left = 0;
	while (ioctl(talk->in, talk->stdio ? FIONREAD : TIOCOUTQ, &left) == 0 && left > 0) {
		if (mer_clock_ms() >= end)
			return false;
		(void)poll(NULL, 0, 1); /* no event tells of it */
	}
	return true;
}

/* Each byte by itself, as far as the worker's speed lets it. */
static void send_in_bytes(struct talk *talk)
{
	struct mer_buf all = talk->to;
	bool waits = true;
	mer_buf_init(&talk->to, SIZE_MAX);
	for (size_t i = 0; i < all.len && talk->out >= 0; i++) {
		mer_buf_byte(&talk->to, all.ptr[i]);
		(void)talk_wait(talk, is_sent, talk->conform->patience_ms);
		waits = waits && wait_taken(talk, TAKEN_MS);
	}
	mer_buf_release(&all);
}

/* --- sessions ------------------------------------------------------------------------------- */

static const struct mer_str nothing = { NULL, 0 };

#define HELLO_WITH(max_body) "{\"versions\":[1],\"max_body\":" max_body ",\"x-unknown\":[{}]}"
#define HELLO HELLO_WITH("1073741824")

/* Waits a moment for its end, for a message. */
static void see_end(struct talk *talk, char how[256])
{
	int64_t most = talk->conform->patience_ms < 500 ? talk->conform->patience_ms : 500;
	if (talk->out < 0)
		(void)talk_wait(talk, is_over, most);
	talk_describe(talk, how);
}

/* Starts a worker and gets it ready. MER_OK with a talk that is not ready: it is told already. */
static enum mer_status meet(struct talk *talk, struct conform *conform, const char *name,
                            bool stdio, const char *hello, struct mer_error *err)
{
	char how[256];
	enum mer_status st = talk_start(talk, conform, name, stdio, err);
	if (st != MER_OK)
		return st;
	talk_send(talk, (struct mer_wire_header){ .kind = MER_WIRE_HELLO }, hello, nothing);
	bool answered = talk_wait(talk, is_started, conform->start_ms);
	if (talk->ready || talk->broken)
		return MER_OK;
	if (answered)
		(void)talk_wait(talk, is_over, conform->patience_ms);
	if (talk->problem[0] != '\0')
		return mer_fail(err, MER_EUNREACHABLE, "%s", talk->problem);
	if (talk->gave_up)
		return mer_fail(err, MER_EUNREACHABLE, "the worker gave up before it was ready: %s",
		                mer_json_get_text(talk->meta, "message", talk->code));
	talk_describe(talk, how);
	if (talk->over)
		return mer_fail(err, MER_EUNREACHABLE, "the worker left before it was ready: %s", how);
	talk_breaks(talk, READY_OR_ERROR, "%s, and %s",
	            talk->out < 0 ? "the connection was closed" : "nothing came in time", how);
	return MER_OK;
}

/* All that is open has to be answered now. */
static void expect_answers(struct talk *talk, enum rule rule)
{
	char how[256];
	if (talk_wait(talk, is_idle, talk->conform->patience_ms) && talk->n_open == 0)
		return;
	see_end(talk, how);
	talk_breaks(talk, rule, "%zu of %" PRIu64 " requests are not answered, %s%s", talk->n_open,
	            talk->last_id, talk->out < 0 ? "the connection is closed; " : "and ", how);
}

static bool goes_on(const struct talk *talk)
{
	return talk->ready && talk->out >= 0 && !talk->broken && talk->n_open == 0 &&
	       !talk->conform->no_memory;
}

static void ask_ping(struct talk *talk, enum rule rule)
{
	char how[256];
	if (!goes_on(talk))
		return;
	talk_send_ping(talk);
	if (talk_wait(talk, is_ponged, talk->conform->patience_ms) && talk->n_pongs > 0)
		return;
	see_end(talk, how);
	talk_breaks(talk, rule, "no answer to a ping, and %s", how);
}

static void ask_plainly(struct talk *talk)
{
	send_infer(talk, "", 0);
	expect_answers(talk, ONE_LAST);
	ask_ping(talk, PING_ANSWERED);
}

static void ask_with_unknown(struct talk *talk)
{
	send_infer(talk, ",\"x-unknown\":{\"y\":[1,null]},\"parameters\":{}", 0);
	expect_answers(talk, UNKNOWN_FIELDS);
	ask_ping(talk, UNKNOWN_FIELDS);
	if (!goes_on(talk))
		return;
	send_infer(talk, "", 0x8000);
	expect_answers(talk, UNKNOWN_FLAGS);
	ask_ping(talk, UNKNOWN_FLAGS);
}

static void ask_skipping(struct talk *talk)
{
	talk_send(talk, (struct mer_wire_header){ .kind = 200, .flags = MER_WIRE_SKIP, .id = 77 },
	          "{\"a\":[]}", (struct mer_str){ "MERF, but a body", 16 });
	ask_ping(talk, UNKNOWN_SKIP);
}

/* Each byte by itself, then several frames at once. */
static void ask_in_pieces(struct talk *talk)
{
	int64_t n = mer_json_get_i64(talk->announced, "concurrency", 1);
	send_infer(talk, "", 0);
	send_in_bytes(talk);
	expect_answers(talk, CUT_ANYWHERE);
	if (!goes_on(talk))
		return;
	for (int64_t i = 0; i < n && i < AT_ONCE_MAX; i++)
		send_infer(talk, "", 0);
	expect_answers(talk, n > 1 ? CONCURRENCY : CUT_ANYWHERE);
}

static void cancel(struct talk *talk, uint64_t id)
{
	talk_send(talk, (struct mer_wire_header){ .kind = MER_WIRE_CANCEL, .id = id }, "", nothing);
}

static void ask_and_cancel(struct talk *talk)
{
	send_infer(talk, "", 0);
	cancel(talk, talk->last_id);
	expect_answers(talk, CANCEL_ANSWERED);
	if (!goes_on(talk))
		return;
	cancel(talk, talk->last_id);
	ask_ping(talk, LATE_CANCEL);
}

static void ask_wrongly(struct talk *talk)
{
	if (json_array_size(json_object_get(talk->announced, "inputs")) == 0)
		return;
	talk->code[0] = '\0';
	talk_send_input(talk, "", 0, true);
	expect_answers(talk, INPUT_REFUSED);
	if (talk->n_open == 0 && strcmp(talk->code, "input") != 0)
		talk_breaks(talk, INPUT_REFUSED,
		            "tensors of other datatypes are answered with %s%s, not input",
		            talk->code[0] != '\0' ? "the error " : "a result", talk->code);
}

/* Only where it says that it does not train: otherwise it would. */
static void ask_to_train(struct talk *talk)
{
	if (mer_json_get_bool(talk->announced, "train", false))
		return;
	talk->code[0] = '\0';
	talk_send(talk,
	          (struct mer_wire_header){ .kind = MER_WIRE_TRAIN, .id = talk_open_request(talk) },
	          "{\"dataset\":\"/dev/null\",\"new_weights\":\"/dev/null/none\",\"new_version\":\"1\","
	          "\"old_weights\":\"\",\"old_version\":\"\",\"parameters\":{}}",
	          nothing);
	expect_answers(talk, TRAIN_UNSUPPORTED);
	if (talk->n_open == 0 && strcmp(talk->code, "unsupported") != 0)
		talk_breaks(talk, TRAIN_UNSUPPORTED, "train is answered with %s%s, not unsupported",
		            talk->code[0] != '\0' ? "the error " : "a result", talk->code);
}

/* What is sent before has to be answered, then it leaves. */
static void ask_to_leave(struct talk *talk)
{
	char how[256];
	send_infer(talk, "", 0);
	talk_send(talk, (struct mer_wire_header){ .kind = MER_WIRE_DRAIN }, "", nothing);
	bool closed = talk_wait(talk, is_closed, talk->conform->patience_ms);
	if (talk->n_open > 0)
		talk_breaks(talk, DRAIN_ANSWERS, "what was open is not answered");
	bool over = talk_wait(talk, is_over, closed ? talk->conform->patience_ms : 0);
	talk_describe(talk, how);
	if (!closed && !over)
		talk_breaks(talk, DRAIN_EXITS, "the connection is still open, and %s", how);
	else if (!over || talk->exit_code != 0)
		talk_breaks(talk, DRAIN_EXITS, "%s", how);
}

/* Whether a descriptor of a process is its connection without close-on-exec: 1, with: 2; else 0. */
static int look_at_fd(const struct talk *talk, const char *pid, const char *fd)
{
	char path[600], text[64];
	struct stat info;
	unsigned flags = 0;
	(void)snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, fd);
	if (stat(path, &info) != 0 || info.st_ino != talk->inode || !S_ISSOCK(info.st_mode))
		return 0;
	(void)snprintf(path, sizeof path, "/proc/%s/fdinfo/%s", pid, fd);
	MER_AUTO(mer_file_done) FILE *file = fopen(path, "re");
	while (file != NULL && fgets(text, sizeof text, file) != NULL)
		if (strncmp(text, "flags:", 6) == 0)
			flags = (unsigned)strtoul(text + 6, NULL, 8);
	return (flags & O_CLOEXEC) != 0 ? 2 : 1;
}

/* Of its group one process must have set it: a shell in front of the worker has not. */
static void check_close_on_exec(struct talk *talk)
{
	int seen = 0;
	DIR *proc = opendir("/proc");
	for (const struct dirent *entry; proc != NULL && (entry = readdir(proc)) != NULL;) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		char path[300];
		(void)snprintf(path, sizeof path, "/proc/%s/fd", entry->d_name);
		DIR *fds = pid > 0 && getpgid(pid) == talk->worker ? opendir(path) : NULL;
		if (fds == NULL)
			continue;
		for (const struct dirent *fd; (fd = readdir(fds)) != NULL;)
			seen |= look_at_fd(talk, entry->d_name, fd->d_name);
		(void)closedir(fds);
	}
	if (proc != NULL)
		(void)closedir(proc);
	if (seen == 1)
		talk_breaks(talk, CLOSE_ON_EXEC, "the programs that it starts inherit the connection");
}

static enum mer_status live(struct conform *conform, const char *name, bool stdio,
                            struct mer_error *err)
{
	static void (*const steps[])(struct talk *) = { ask_plainly,   ask_with_unknown, ask_skipping,
		                                            ask_in_pieces, ask_and_cancel,   ask_wrongly,
		                                            ask_to_train,  ask_to_leave };
	struct talk talk;
	enum mer_status st = meet(&talk, conform, name, stdio, HELLO, err);
	if (st == MER_OK && goes_on(&talk) && talk.inode != 0 && talk.worker > 0)
		check_close_on_exec(&talk);
	for (size_t i = 0; i < sizeof steps / sizeof *steps && st == MER_OK && goes_on(&talk); i++)
		steps[i](&talk);
	talk_end(&talk);
	return st;
}

static enum mer_status live_over_fd(struct conform *conform, struct mer_error *err)
{
	return live(conform, "", false, err);
}

static enum mer_status live_over_stdio(struct conform *conform, struct mer_error *err)
{
	return live(conform, "over stdin and stdout", true, err);
}

/* It left, as it should, when mer did. */
static void expect_exit(struct talk *talk)
{
	char how[256];
	if (talk_wait(talk, is_over, talk->conform->patience_ms))
		return;
	talk_describe(talk, how);
	talk_breaks(talk, EOF_EXITS, "%s", how);
}

static enum mer_status leave_before_hello(struct conform *conform, struct mer_error *err)
{
	struct talk talk;
	enum mer_status st = talk_start(&talk, conform, "closed before hello", false, err);
	if (st == MER_OK) {
		talk.unsound = true;
		(void)shutdown(talk.in, SHUT_WR);
		(void)talk_wait(&talk, is_over, conform->start_ms);
		if (talk.ready)
			talk_breaks(&talk, READY_AFTER_HELLO, "ready without a hello");
		expect_exit(&talk);
	}
	talk_end(&talk);
	return st;
}

static enum mer_status leave(struct conform *conform, const char *name, bool half,
                             struct mer_error *err)
{
	struct talk talk;
	enum mer_status st = meet(&talk, conform, name, false, HELLO, err);
	if (st == MER_OK && goes_on(&talk)) {
		talk.unsound = true;
		if (half)
			send_infer(&talk, "", 0);
		if (talk.to.len > 0)
			talk.to.len--;
		(void)talk_wait(&talk, is_sent, conform->patience_ms);
		talk_close_connection(&talk);
		expect_exit(&talk);
	}
	talk_end(&talk);
	return st;
}

static enum mer_status leave_idle(struct conform *conform, struct mer_error *err)
{
	return leave(conform, "closed while idle", false, err);
}

static enum mer_status leave_in_a_frame(struct conform *conform, struct mer_error *err)
{
	return leave(conform, "closed in a frame", true, err);
}

static enum mer_status offer_no_version(struct conform *conform, struct mer_error *err)
{
	struct talk talk;
	char how[256];
	enum mer_status st = talk_start(&talk, conform, "", false, err);
	if (st == MER_OK) {
		talk_send(&talk, (struct mer_wire_header){ .kind = MER_WIRE_HELLO },
		          "{\"versions\":[201,202],\"max_body\":1073741824}", nothing);
		(void)talk_wait(&talk, is_started, conform->start_ms);
		bool over = talk_wait(&talk, is_over, talk.ready ? 0 : conform->patience_ms);
		talk_describe(&talk, how);
		if (talk.ready)
			talk_breaks(&talk, VERSION_REFUSED, "it got ready for a mer that speaks 201 and 202");
		else if (!talk.gave_up || strcmp(talk.code, "version") != 0)
			talk_breaks(&talk, VERSION_REFUSED, "%s%s, and %s",
			            talk.gave_up ? "the error " : "no error", talk.gave_up ? talk.code : "",
			            how);
		else if (!over)
			talk_breaks(&talk, VERSION_REFUSED, "behind its error %s", how);
	}
	talk_end(&talk);
	return st;
}

static bool takes_large(const struct talk *talk)
{
	return talk_takes_content(talk) &&
	       mer_json_get_i64(talk->announced, "max_body", MER_WIRE_BODY_MAX) >= (int64_t)TALK_LARGE;
}

static enum mer_status give_much(struct conform *conform, const char *hello, uint64_t max_body,
                                 enum rule rule, struct mer_error *err)
{
	struct talk talk;
	enum mer_status st = meet(&talk, conform, "1 MiB of input", false, hello, err);
	if (st == MER_OK && goes_on(&talk) && takes_large(&talk)) {
		talk.reader.max_body = max_body;
		talk_send_large(&talk);
		expect_answers(&talk, rule);
		ask_ping(&talk, rule);
	}
	talk_end(&talk);
	return st;
}

static enum mer_status give_a_large_body(struct conform *conform, struct mer_error *err)
{
	return give_much(conform, HELLO, TALK_BODY_MAX, LARGE_BODY, err);
}

static enum mer_status take_small_bodies(struct conform *conform, struct mer_error *err)
{
	return give_much(conform, HELLO_WITH("1000"), 1000, BODY_LIMIT, err);
}

/* More than the connection holds, while nobody reads the answers. */
static enum mer_status read_nothing(struct conform *conform, struct mer_error *err)
{
	struct talk talk;
	enum mer_status st = meet(&talk, conform, "", false, HELLO, err);
	int64_t n = st == MER_OK ? mer_json_get_i64(talk.announced, "concurrency", 1) : 1;
	if (st == MER_OK && goes_on(&talk) && n > 1 && takes_large(&talk)) {
		for (int64_t i = 0; i < n && i < AT_ONCE_MAX; i++)
			talk_send_large(&talk);
		talk.unread = true;
		if (!talk_wait(&talk, is_sent, conform->patience_ms))
			talk_breaks(&talk, READS_ON, "it does not read while its answers are not read");
		talk.unread = false;
		expect_answers(&talk, READS_ON);
	}
	talk_end(&talk);
	return st;
}

/* What is wrong on the wire: the worker's own input with a byte of its header changed, or a header and
 * what follows it. The first shows a worker that does not look there: it answers. */
static const struct {
	enum rule rule;
	char into; /* what the byte at that place of the worker's own input is changed into */
	size_t at;
	const char *what;
	const char *head; /* instead of it, of MER_WIRE_HEADER bytes, or NULL */
	const char *rest;
} wrongs[] = {
#define ID "\1\0\0\0\0\0\0\0"
#define ZERO4 "\0\0\0\0"
#define ZERO8 ZERO4 ZERO4
	{ BAD_MAGIC, 'N', 0, "a wrong magic", NULL, NULL },
	{ BAD_VERSION, 9, 4, "version 9", NULL, NULL },
	{ BAD_RESERVED, 1, 20, "reserved bytes", NULL, NULL },
	{ BAD_META, 0, 0, "the meta []", "MERF\1\3\0\0" ID "\2\0\0\0" ZERO4 ZERO8, "[]" },
	{ BAD_META, 0, 0, "the meta {\"a\":", "MERF\1\3\0\0" ID "\5\0\0\0" ZERO4 ZERO8, "{\"a\":" },
	{ BAD_META, 0, 0, "a meta that is not UTF-8", "MERF\1\3\0\0" ID "\x09\0\0\0" ZERO4 ZERO8,
	  "{\"a\":\"\xff\"}" },
	{ LONG_META, 0, 0, "a meta of 1,048,577 bytes", "MERF\1\3\0\0" ID "\1\0\x10\0" ZERO4 ZERO8,
	  "" },
	{ LONG_BODY, 0, 0, "a body of 2^63 bytes", "MERF\1\3\0\0" ID ZERO4 ZERO4 "\0\0\0\0\0\0\0\x80",
	  "" },
	{ BAD_SIZES, 0, 0, "a tensor of 8 bytes in a body of 4",
	  "MERF\1\3\0\0" ID "\x5c\0\0\0" ZERO4 "\4\0\0\0\0\0\0\0",
	  "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[2],"
	  "\"parameters\":{\"binary_data_size\":8}}]} 1234" },
	{ UNKNOWN_CLOSES, 0, 0, "kind 200", "MERF\1\xc8\0\0" ID ZERO4 ZERO4 ZERO8, "" },
#undef ID
#undef ZERO4
#undef ZERO8
};

static void add_wrong(struct talk *talk, size_t which)
{
	if (wrongs[which].head == NULL) {
		send_infer(talk, "", 0);
		if (talk->to.len >= MER_WIRE_HEADER)
			talk->to.ptr[wrongs[which].at] = wrongs[which].into;
		return;
	}
	(void)talk_open_request(talk);
	mer_buf_add(&talk->to, wrongs[which].head, MER_WIRE_HEADER);
	mer_buf_text(&talk->to, wrongs[which].rest);
}

static enum mer_status send_wrong(struct conform *conform, size_t which, struct mer_error *err)
{
	struct talk talk;
	char how[256];
	enum mer_status st = meet(&talk, conform, wrongs[which].what, false, HELLO, err);
	if (st == MER_OK && goes_on(&talk)) {
		talk.unsound = true;
		talk.code[0] = '\0';
		add_wrong(&talk, which);
		bool closed = talk_wait(&talk, is_closed, conform->patience_ms);
		talk_describe(&talk, how);
		if (talk.n_open == 0)
			talk_breaks(&talk, wrongs[which].rule, "it is answered");
		else if (!closed)
			talk_breaks(&talk, wrongs[which].rule, "the connection stays open, and %s", how);
		else if (talk.gave_up && strcmp(talk.code, "protocol") != 0)
			talk_breaks(&talk, PROTOCOL_ERROR, "the error is '%s'", talk.code);
	}
	talk_end(&talk);
	return st;
}

/* One that does not get ready is not waited for again and again. */
static bool may_go_on(const struct conform *conform)
{
	return !conform->told[READY_OR_ERROR] && !conform->no_memory && !conform_is_stopped(conform);
}

enum mer_status mer_conform(const struct mer_worker_spec *spec, int64_t start_ms,
                            int64_t patience_ms, const atomic_bool *stop, mer_conform_fn *on_broken,
                            void *ctx, struct mer_error *err)
{
	static_assert(sizeof mer_conform_rules / sizeof *mer_conform_rules == RULES + 1,
	              "a name for each rule");
	static enum mer_status (*const sessions[])(struct conform *, struct mer_error *) = {
		live_over_fd,     live_over_stdio,   leave_before_hello, leave_idle,  leave_in_a_frame,
		offer_no_version, give_a_large_body, take_small_bodies,  read_nothing
	};
	struct conform conform = {
		.spec = spec,
		.start_ms = start_ms,
		.patience_ms = patience_ms,
		.stop = stop,
		.on_broken = on_broken,
		.ctx = ctx,
	};
	enum mer_status st = MER_OK;
	for (size_t i = 0;
	     i < sizeof sessions / sizeof *sessions && st == MER_OK && may_go_on(&conform); i++)
		st = sessions[i](&conform, err);
	for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs && st == MER_OK && may_go_on(&conform);
	     i++)
		st = send_wrong(&conform, i, err);
	if (conform_is_stopped(&conform))
		return mer_fail(err, MER_ECANCELED, "the test of '%s' was cancelled", spec->argv[0]);
	if (st == MER_OK && conform.no_memory)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	return st;
}
