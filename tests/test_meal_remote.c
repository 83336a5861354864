/* What is made of what comes from a worker on another host, and of its end, however its bytes are cut. */
#include "remote_hear.h"

#include "check_main.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define NONCE "0123456789abcdef0123456789abcdef"
#define MARK(text) "\036MER-" NONCE " " text "\n"
#define UP MARK("up")
#define STARTED UP MARK("started 7") MARK("watch 7 8 perl")
#define LEFT(how) STARTED MARK(how) MARK("gone")
#define LOST "the connection to server 'box' was lost"

static const struct row {
	const char *err, *out; /* what comes, stderr first */
	const char *events;    /* a letter each: Up, Watch, Gone, Stray */
	const char *payload;   /* of both streams */
	struct remote_end end; /* but for carrier */
	struct meal_exit carrier;
	bool started; /* what is made of it */
	int exit_code, signal;
	const char *problem;
	bool spare;
} rows[] = {
	/* it has said how it ended */
	{ LEFT("exit 0"), UP "answer", "UWG", "answer", .started = true },
	{ LEFT("exit 3"), UP "answer", "UWG", "answer", .started = true, .exit_code = 3 },
	{ LEFT("signal 11"), UP, "UWG", "", .started = true, .exit_code = -1, .signal = 11 },
	{ UP MARK("there") MARK("gone"), UP, "UG", "", .end = { .probes = true }, .started = true },
	{ "motd\n" LEFT("exit 0"), "login\n" UP "x" UP, "UWG", "x" UP, .started = true },
	{ STARTED "log" MARK("beat") "ged" MARK("exit 0") MARK("gone"), UP, "UWG", "logged",
	  .started = true },
	{ STARTED MARK("exit 256") MARK("signal 0") MARK("exit 1") MARK("gone"), UP, "UWG", "",
	  .started = true, .exit_code = 1 },
	{ STARTED MARK("exit 4294967296") MARK("signal 4294967305") MARK("gone"), UP, "UWG", "",
	  .started = true, .exit_code = -1, .problem = LOST },
	{ STARTED MARK("exit 0x") MARK("exit 3 4") MARK("exit 1") MARK("gone"), UP, "UWG", "",
	  .started = true, .exit_code = 1 },
	{ UP MARK("watch 1 8 perl") MARK("watch 7 0 sh") MARK("exit 1") MARK("gone"), UP, "UG", "",
	  .exit_code = 1 },
	/* nobody knows whether that is all */
	{ STARTED MARK("exit 0"), UP "ans", "UW", "ans", .started = true, .exit_code = -1,
	  .problem = LOST },
	{ LEFT("exit 0") "ssh complains", UP, "UWG", "", .started = true, .exit_code = -1,
	  .problem = LOST },
	{ LEFT("exit 0"), UP, "UWG", "", .end = { .by_ssh = true }, .carrier = { .exit_code = 255 },
	  .started = true, .exit_code = -1, .problem = LOST },
	{ LEFT("exit 0"), UP, "UWG", "", .carrier = { .problem = "reset" }, .started = true,
	  .exit_code = -1, .problem = LOST },
	{ STARTED MARK("exit 0"), UP, "UW", "", .end = { .was_killed = true }, .started = true },
	{ STARTED MARK("exit 5"), UP, "UW", "", .started = true, .exit_code = 5 },
	/* it has not */
	{ STARTED, UP, "UW", "", .started = true, .exit_code = -1, .problem = LOST },
	{ UP, UP, "U", "", .exit_code = -1, .problem = LOST },
	{ UP, UP, "U", "", .end = { .begun = true }, .started = true, .exit_code = -1,
	  .problem = LOST },
	{ "", "", "", "", .end = { .begun = true }, .carrier = { .problem = "lost" }, .started = true,
	  .exit_code = -1, .problem = "lost" },
	{ "", "", "", "", .end = { .begun = true, .probes = true }, .carrier = { .problem = "lost" },
	  .exit_code = -1, .problem = "lost" },
	{ "", "", "", "", .end = { .was_killed = true }, .exit_code = -1, .signal = SIGKILL },
	{ "", "", "", "", .end = { .probes = true, .logs_in = true }, .started = true },
	{ "", "", "", "", .carrier = { .problem = "cannot start 'ssh': No such file or directory" },
	  .exit_code = -1,
	  .problem = "cannot start 'ssh': No such file or directory (is openssh-client installed?)" },
	{ "motd\n", "", "", "", .end = { .late_s = 40 }, .carrier = { .exit_code = -1 },
	  .exit_code = -1, .problem = "server 'box': no shell answered in 40 s: motd" },
	{ UP, "", "U", "", .end = { .late_s = 40 }, .exit_code = -1, .problem = LOST },
	/* ssh says why */
	{ "ssh: connect to host h port 22: Connection refused\r\n", "", "", "",
	  .carrier = { .exit_code = 255 }, .exit_code = -1,
	  .problem = "cannot reach server 'box': connect to host h port 22: Connection refused" },
	{ "", "", "", "", .carrier = { .exit_code = 255 }, .exit_code = -1,
	  .problem = "cannot reach server 'box': ssh failed without a word" },
	{ "me@h: Permission denied (publickey).\n", "", "", "", .carrier = { .exit_code = 255 },
	  .exit_code = -1,
	  .problem = "server 'box': cannot log in: me@h: Permission denied (publickey)." },
	{ "Host key verification failed.\n", "", "", "", .carrier = { .exit_code = 255 },
	  .exit_code = -1,
	  .problem = "server 'box': the host key of 'h' is not known ('server trust box' adds it)" },
	{ "Offending ED25519 key in /k:3\n@ HAS CHANGED! @\nSHA256:abc.\nHost key verification failed.",
	  "", "", "", .carrier = { .exit_code = 255 }, .exit_code = -1,
	  .problem = "server 'box': the host key of 'h' has changed to SHA256:abc, or somebody is in "
	             "between; another one is in /k:3" },
	{ "csh: \033[2Jno\n", "", "", "", .carrier = { .exit_code = 127 }, .exit_code = -1,
	  .problem = "server 'box' has no POSIX shell for us: csh: ?[2Jno" },
	{ "", "", "", "", .carrier = { .exit_code = 0 }, .exit_code = -1,
	  .problem = "server 'box' did not run what it was told (a forced command, or a login without "
	             "a shell?)" },
	/* the supervisor does */
	{ UP MARK("fail missing") MARK("gone"), UP, "UG", "", .exit_code = -1,
	  .problem = "cannot start 'prog' on server 'box': No such file or directory" },
	{ UP MARK("fail limit memory") MARK("gone"), UP, "UG", "", .exit_code = -1,
	  .problem = "the limit 'memory' cannot be held on server 'box'" },
	{ UP MARK("fail workdir") MARK("gone"), UP, "UG", "", .exit_code = -1,
	  .problem = "cannot enter the folder '/work' on server 'box'" },
	{ UP MARK("fail exec 8") MARK("gone"), UP, "UG", "", .exit_code = -1,
	  .problem = "'prog' on server 'box' is not a program (no '#!' line?)" },
	{ UP MARK("fail \033") MARK("gone"), UP, "UG", "", .exit_code = -1,
	  .problem = "cannot start 'prog' on server 'box': no process can be made there" },
	/* there is no worker */
	{ UP MARK("beat"), UP, "U", "", .spare = true, .exit_code = -1, .problem = LOST },
	{ UP MARK("exit 0"), UP, "US", "", .spare = true, .exit_code = -1, .problem = LOST },
	{ UP "x", UP, "US", "x", .spare = true, .exit_code = -1, .problem = LOST },
	{ UP, UP "x", "US", "x", .spare = true, .exit_code = -1, .problem = LOST },
};

struct got {
	char events[64];
	struct mer_buf payload;
};

static void hear(struct remote_heard *heard, enum meal_stream stream, const char *bytes, size_t n,
                 struct got *got)
{
	static const char letters[] = {
		[REMOTE_UP] = 'U', [REMOTE_WATCH] = 'W', [REMOTE_GONE] = 'G', [REMOTE_STRAY] = 'S'
	};
	for (size_t at = 0; at < n;) {
		struct remote_event event;
		size_t taken = remote_hear(heard, stream, bytes + at, n - at, &event), len;
		ck_assert_uint_gt(taken + event.bytes.len, 0);
		at += taken;
		if (event.kind == REMOTE_BYTES || event.kind == REMOTE_STRAY)
			mer_buf_add(&got->payload, event.bytes.ptr, event.bytes.len);
		len = strlen(got->events);
		if (event.kind != REMOTE_NOTHING && event.kind != REMOTE_BYTES &&
		    event.kind != REMOTE_NOISE && len < sizeof got->events - 1)
			got->events[len] = letters[event.kind];
	}
}

/* The row with its bytes in two pieces; 0: each byte alone. */
static void live(const struct row *row, size_t cut)
{
	struct remote_heard heard;
	struct got got = { "", { 0 } };
	struct meal_exit carrier = row->carrier;
	struct remote_end end = row->end;
	const char *const streams[] = { row->err, row->out };
	end.carrier = &carrier;
	mer_buf_init(&got.payload, SIZE_MAX);
	remote_heard_init(&heard);
	remote_heard_expect(&heard, NONCE);
	heard.subject = (struct remote_subject){ .server = "box", .host = "h", .workdir = "/work" };
	heard.subject.program = row->spare ? NULL : "prog";
	for (size_t i = 0; i < 2; i++) {
		enum meal_stream stream = i == 0 ? MEAL_STDERR : MEAL_STDOUT;
		size_t len = strlen(streams[i]), first = cut < len ? cut : len;
		for (size_t at = 0; cut == 0 && at < len; at++)
			hear(&heard, stream, streams[i] + at, 1, &got);
		if (cut > 0) {
			hear(&heard, stream, streams[i], first, &got);
			hear(&heard, stream, streams[i] + first, len - first, &got);
		}
	}
	ck_assert_uint_eq(remote_hear_rest(&heard).len, 0);
	remote_hear_end(&heard, &end);
	ck_assert_msg(strcmp(got.events, row->events) == 0, "cut %zu: events '%s'", cut, got.events);
	ck_assert_str_eq(got.payload.ptr != NULL ? got.payload.ptr : "", row->payload);
	ck_assert_str_eq(heard.how.problem, row->problem != NULL ? row->problem : "");
	ck_assert_int_eq(heard.how.exit_code, row->exit_code);
	ck_assert_int_eq(heard.how.signal, row->signal);
	ck_assert_int_eq(heard.how.started, row->started);
	ck_assert(heard.over);
	remote_heard_release(&heard);
	mer_buf_release(&got.payload);
}

START_TEST(hears)
{
	const struct row *row = &rows[_i];
	size_t longest = strlen(row->err) > strlen(row->out) ? strlen(row->err) : strlen(row->out);
	for (size_t cut = 0; cut <= longest; cut++)
		live(row, cut);
}
END_TEST

/* Of what a server prints without an end only the last is kept. */
START_TEST(bounds_noise)
{
	struct remote_heard heard;
	struct got got = { "", { 0 } };
	char many[1000];
	remote_heard_init(&heard);
	remote_heard_expect(&heard, NONCE);
	memset(many, 'x', sizeof many);
	many[0] = '\0';
	for (int i = 0; i < 1000; i++)
		hear(&heard, MEAL_STDERR, many, sizeof many, &got);
	hear(&heard, MEAL_STDERR, "\nlast", 5, &got);
	ck_assert_uint_le(heard.noise.len, 4096);
	ck_assert_uint_eq(strlen(heard.noise.ptr), heard.noise.len);
	ck_assert_str_eq(heard.noise.ptr + heard.noise.len - 5, "\nlast");
	remote_heard_release(&heard);
}
END_TEST

static const struct {
	const char *noise;
	int exit_code;
	bool want;
} drops[] = {
	{ "kex_exchange_identification: Connection closed by remote host\r\n"
	  "Connection closed by 10.0.0.1 port 22\r\n",
	  255, true },
	{ "kex_exchange_identification: read: Connection reset by peer\n"
	  "Connection reset by 10.0.0.1 port 22",
	  255, true },
	{ "kex_exchange_identification: Connection closed by remote host\n", 1, false },
	{ "Connection closed by 10.0.0.1 port 22\n", 255, false },
	{ "channel 0: open failed\nkex_exchange_identification: Connection closed by remote host\n",
	  255, false },
	{ "", 255, false },
};

START_TEST(tells_who_hung_up)
{
	const struct meal_exit ssh = { .exit_code = drops[_i].exit_code };
	const struct mer_str noise = { drops[_i].noise, strlen(drops[_i].noise) };
	ck_assert_int_eq(remote_was_dropped(noise, &ssh), drops[_i].want);
}
END_TEST

Suite *suite(void)
{
	Suite *remote = suite_create("remote");
	TCase *tc = tcase_create("hear");
	tcase_add_loop_test(tc, hears, 0, N_ROWS(rows));
	tcase_add_test(tc, bounds_noise);
	tcase_add_loop_test(tc, tells_who_hung_up, 0, N_ROWS(drops));
	suite_add_tcase(remote, tc);
	return remote;
}
