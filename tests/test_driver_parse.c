/* The parser of commands and settings, and the pure parts of mer beside it: what a terminal is
 * shown of an output, and output that is kept. */
#include "check_main.h"

#include "../driver/caret.h"
#include "../driver/cmd.h"
#include "../driver/settings.h"
#include "../driver/spool.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

/* --- a table of commands, as the program has its own -------------------------------------- */

enum { NAME, INPUT, FAST, TIMEOUT, SIZE, COUNT, KIND, ENV, GLOB, ARGV };
static const char *const kinds[] = { "local", "ssh", NULL };
static const struct cmd_arg rows[] = {
	[NAME] = CMD_WORD("NAME", ARG_NAME, "a name", .value = "model", .required = true),
	[INPUT] = CMD_WORD("INPUT", ARG_TEXT, "words", .repeat = true),
	[FAST] = CMD_FLAG("fast", "no value"),
	[TIMEOUT] = CMD_OPTION("timeout", ARG_MS, NULL, "a duration", .fallback = "2s", .least = 1),
	[SIZE] = CMD_OPTION("size", ARG_BYTES, NULL, "a size", .letter = 's'),
	[COUNT] = CMD_OPTION("count", ARG_I64, NULL, "a number", .least = -5),
	[KIND] = CMD_OPTION("kind", ARG_CHOICE, NULL, "a choice", .choices = kinds),
	[ENV] = CMD_OPTION("env", ARG_PAIR, NULL, "pairs", .repeat = true),
	[GLOB] = CMD_OPTION("glob", ARG_TEXT, "G", "texts", .repeat = true),
	[ARGV] = CMD_WORD("ARGV", ARG_ARGV, "what follows"),
};
static const struct cmd cmd_start = { .name = "box start",
	                                  CMD_ARGS(rows),
	                                  .formats = CMD_FORMATS_JSON };
static const struct cmd cmd_stop = { .name = "box stop", .needs = CMD_NEEDS_CHANGES };
static const struct cmd_arg words_rows[] = {
	CMD_WORD("WORD", ARG_TEXT, "words", .required = true, .repeat = true),
};
static const struct cmd cmd_say = {
	.name = "say",
	.older = (const char *const[]){ "tell", "box-say", NULL },
	CMD_ARGS(words_rows),
};
static const struct cmd cmd_version = { .name = "version" };

const struct cmd *const commands[] = { &cmd_start, &cmd_stop, &cmd_say, &cmd_version };
const size_t n_commands = sizeof commands / sizeof *commands;

static const char *const *split(const char *line, char ***words, size_t *n)
{
	ck_assert_int_eq(mer_split_words(line, words, n, NULL, NULL), MER_OK);
	return (const char *const *)*words;
}

/* --- finding ------------------------------------------------------------------------------ */

static const struct {
	const char *line;
	bool changes;
	const char *want; /* the command; NULL: there is none */
	size_t used;
	const char *message, *hint;
} find_rows[] = {
	{ "box start x", false, "box start", 2, NULL, NULL },
	{ "box stop", false, "box stop", 2, NULL, NULL },
	{ "say box stop", false, "say", 1, NULL, NULL },
	{ "tell", false, "say", 1, NULL, NULL },
	{ "box-say x", false, "say", 1, NULL, NULL },
	{ "'box start' x", false, "box start", 1, NULL, NULL },
	{ "version", false, "version", 1, NULL, NULL },
	{ "vers", false, NULL, 0, "no such command: 'vers'", "did you mean 'version'?" },
	{ "verzion", false, NULL, 0, "no such command: 'verzion'", "did you mean 'version'?" },
	{ "tel", false, NULL, 0, "no such command: 'tel'", "did you mean 'tell'?" },
	{ "box", false, NULL, 0, "'box' is not a whole command", "it goes on with one of: start" },
	{ "box", true, NULL, 0, "'box' is not a whole command", "it goes on with one of: start, stop" },
	{ "box -x", true, NULL, 0, "'box' is not a whole command",
	  "it goes on with one of: start, stop" },
	{ "box sta", true, NULL, 0, "no such command: 'box sta'", "did you mean 'box start'?" },
	{ "box st", true, NULL, 0, "no such command: 'box st'",
	  "it may be one of: box start, box stop" },
	{ "box sto", false, NULL, 0, "no such command: 'box sto'", "did you mean 'box start'?" },
	{ "boxstart", false, NULL, 0, "no such command: 'boxstart'", "did you mean 'box start'?" },
	{ "bxo sta", false, NULL, 0, "no such command: 'bxo'", "did you mean 'box start'?" },
	{ "frobnicate", false, NULL, 0, "no such command: 'frobnicate'", "'help' lists the commands" },
	{ "''", false, NULL, 0, "no such command: ''", NULL },
};

START_TEST(finds_commands)
{
	MER_AUTO(mer_words_done) char **words = NULL;
	const struct cmd *cmd = NULL;
	size_t n, used = 0;
	struct mer_error err = { .status = MER_OK };
	const char *const *line = split(find_rows[_i].line, &words, &n);
	enum mer_status st = cmd_find(line, n, find_rows[_i].changes, &cmd, &used, &err);
	if (find_rows[_i].want != NULL) {
		ck_assert_msg(st == MER_OK, "row %d '%s': %s", _i, find_rows[_i].line, err.message);
		ck_assert_str_eq(cmd->name, find_rows[_i].want);
		ck_assert_uint_eq(used, find_rows[_i].used);
	} else {
		ck_assert_msg(st == MER_EINPUT, "row %d '%s': status %d", _i, find_rows[_i].line, (int)st);
		ck_assert_str_eq(err.message, find_rows[_i].message);
		if (find_rows[_i].hint != NULL)
			ck_assert_str_eq(err.hint, find_rows[_i].hint);
	}
}
END_TEST

/* --- parsing ------------------------------------------------------------------------------ */

static void describe_words(struct mer_buf *out, const char *name, const struct cmd_value *value)
{
	if (value->count == 0)
		return;
	mer_buf_printf(out, " %s=[", name);
	for (size_t i = 0; i < value->count; i++)
		mer_buf_printf(out, "%s%s", i == 0 ? "" : "|", value->words[i]);
	mer_buf_byte(out, ']');
	ck_assert_ptr_null(value->words[value->count]);
}

/* What was parsed, as text: only what was given. */
static void describe(struct mer_buf *out, const struct cmd_call *call)
{
	const struct cmd_value *values = call->values;
	mer_buf_printf(out, "%s", values[NAME].text != NULL ? values[NAME].text : "-");
	describe_words(out, "input", &values[INPUT]);
	if (values[FAST].given)
		mer_buf_text(out, " fast");
	if (values[TIMEOUT].given)
		mer_buf_printf(out, " timeout=%lld", (long long)values[TIMEOUT].number);
	if (values[SIZE].given)
		mer_buf_printf(out, " size=%lld", (long long)values[SIZE].number);
	if (values[COUNT].given)
		mer_buf_printf(out, " count=%lld", (long long)values[COUNT].number);
	if (values[KIND].given)
		mer_buf_printf(out, " kind=%s", kinds[values[KIND].number]);
	describe_words(out, "env", &values[ENV]);
	describe_words(out, "glob", &values[GLOB]);
	describe_words(out, "argv", &values[ARGV]);
	const struct cmd_value *common = values + cmd_start.n_args;
	if (common[COMMON_JSON].given)
		mer_buf_text(out, " json");
	if (common[COMMON_HELP].given)
		mer_buf_text(out, " help");
}

static const struct {
	const char *line;
	const char *want; /* NULL: refused */
	const char *message, *hint;
} parse_rows[] = {
	{ "m", "m", NULL, NULL },
	{ "m a b", "m input=[a|b]", NULL, NULL },
	{ "m ''", "m input=[]", NULL, NULL },
	{ "m --fast a", "m input=[a] fast", NULL, NULL },
	{ "--fast m a", "m input=[a] fast", NULL, NULL },
	{ "m a --timeout 5s b", "m input=[a|b] timeout=5000", NULL, NULL },
	{ "m --timeout=5s", "m timeout=5000", NULL, NULL },
	{ "m --timeout 5s --timeout 7ms", "m timeout=7", NULL, NULL },
	{ "m -0.5,1.2", "m input=[-0.5,1.2]", NULL, NULL },
	{ "m -.5 -7", "m input=[-.5|-7]", NULL, NULL },
	{ "m -", "m input=[-]", NULL, NULL },
	{ "m --size 64KiB", "m size=65536", NULL, NULL },
	{ "m -s 1MiB", "m size=1048576", NULL, NULL },
	{ "m -s2KiB", "m size=2048", NULL, NULL },
	{ "m --count -3", "m count=-3", NULL, NULL },
	{ "m --kind ssh", "m kind=ssh", NULL, NULL },
	{ "m --env A=1 --env B=x=y --glob '*' --glob ''", "m env=[A=1|B=x=y] glob=[*|]", NULL, NULL },
	{ "m a -- --fast b", "m input=[a] argv=[--fast|b]", NULL, NULL },
	{ "m -- -- x", "m argv=[--|x]", NULL, NULL },
	{ "m --", "m", NULL, NULL },
	{ "m --json", "m json", NULL, NULL },
	{ "m --help", "- help", NULL, NULL },
	{ "--nonsense -h", "- help", NULL, NULL },
	{ "m -- --help", "m argv=[--help]", NULL, NULL },
	{ "", NULL, "'box start' needs NAME", "'help box start' tells what it takes" },
	{ "-- x", NULL, "'box start' needs NAME", NULL },
	{ "'a b'", NULL, "NAME: bad model name 'a b': only letters, digits and . _ - may be in it",
	  NULL },
	{ "m --fsat", NULL, "no such option of 'box start': '--fsat'", "did you mean '--fast'?" },
	{ "m --fas", NULL, "no such option of 'box start': '--fas'", "did you mean '--fast'?" },
	{ "m --nothing-like-it=3", NULL, "no such option of 'box start': '--nothing-like-it'",
	  "'help box start' lists its options" },
	{ "m --allow-changes", NULL, "no such option of 'box start': '--allow-changes'",
	  "--allow-changes stands before the command" },
	{ "m --csv", NULL, "no such option of 'box start': '--csv'", NULL },
	{ "m -x", NULL, "no such option of 'box start': '-x'", NULL },
	{ "m --fast=yes", NULL, "--fast takes no value", NULL },
	{ "m --timeout", NULL, "--timeout needs a value", "--timeout D" },
	{ "m --timeout 5parsecs", NULL, "--timeout: not a duration: '5parsecs'", NULL },
	{ "m --timeout 0", NULL, "--timeout: '0' is too small", NULL },
	{ "m --timeout -5s", NULL, "--timeout: not a duration: '-5s'", NULL },
	{ "m --timeout 99999999999999999h", NULL, NULL, NULL },
	{ "m --size 5KB", NULL, "--size: not a size: '5KB'", NULL },
	{ "m --count x", NULL, "--count: not a whole number: 'x'", NULL },
	{ "m --count -6", NULL, "--count: '-6' is too small", NULL },
	{ "m --kind lokal", NULL, "--kind: 'lokal' is none of local, ssh", "did you mean 'local'?" },
	{ "m --env A", NULL, "--env: not NAME=VALUE: 'A'", NULL },
	{ "m --env =A", NULL, "--env: not NAME=VALUE: '=A'", NULL },
};

START_TEST(parses_words)
{
	MER_AUTO(mer_words_done) char **words = NULL;
	struct cmd_call call;
	struct mer_error err = { .status = MER_OK };
	size_t n;
	const char *const *line = split(parse_rows[_i].line, &words, &n);
	enum mer_status st = cmd_parse(&cmd_start, false, line, n, &call, &err);
	if (parse_rows[_i].want != NULL) {
		ck_assert_msg(st == MER_OK, "row %d '%s': %s", _i, parse_rows[_i].line, err.message);
		struct mer_buf text;
		mer_buf_init(&text, 4096);
		describe(&text, &call);
		ck_assert_str_eq(text.ptr, parse_rows[_i].want);
		mer_buf_release(&text);
	} else {
		ck_assert_msg(st == MER_EINPUT, "row %d '%s': status %d", _i, parse_rows[_i].line, (int)st);
		if (parse_rows[_i].message != NULL)
			ck_assert_str_eq(err.message, parse_rows[_i].message);
		if (parse_rows[_i].hint != NULL)
			ck_assert_str_eq(err.hint, parse_rows[_i].hint);
	}
	cmd_call_release(&call);
}
END_TEST

START_TEST(gives_fallbacks)
{
	const char *const words[] = { "m" };
	struct cmd_call call;
	ck_assert_int_eq(cmd_parse(&cmd_start, false, words, 1, &call, NULL), MER_OK);
	ck_assert(!call.values[TIMEOUT].given);
	ck_assert(cmd_has(&call.values[TIMEOUT]));
	ck_assert_int_eq(call.values[TIMEOUT].number, 2000);
	ck_assert(!cmd_has(&call.values[SIZE]));
	ck_assert_ptr_nonnull(call.values[ENV].words);
	cmd_call_release(&call);
}
END_TEST

START_TEST(refuses_too_many)
{
	const char *const words[] = { "one", "two" };
	struct cmd_call call;
	struct mer_error err;
	ck_assert_int_eq(cmd_parse(&cmd_version, false, words, 2, &call, &err), MER_EINPUT);
	ck_assert_str_eq(err.message, "one argument too many for 'version': 'one'");
	cmd_call_release(&call);
}
END_TEST

/* --- settings ----------------------------------------------------------------------------- */

static const struct {
	const char *line, *env; /* env: NAME=VALUE or NULL */
	enum mer_status want;
	const char *message;
	enum mer_format format;
	bool changes;
	size_t used;
} settings_rows[] = {
	{ "run x", NULL, MER_OK, NULL, MER_FORMAT_UNSET, false, 0 },
	{ "--json --allow-changes run --csv", NULL, MER_OK, NULL, MER_FORMAT_JSON, true, 2 },
	{ "--json --csv run", NULL, MER_OK, NULL, MER_FORMAT_CSV, false, 2 },
	{ "--csv --json run", NULL, MER_OK, NULL, MER_FORMAT_JSON, false, 2 },
	{ "-- run", NULL, MER_OK, NULL, MER_FORMAT_UNSET, false, 1 },
	{ "-c version -f -", NULL, MER_OK, NULL, MER_FORMAT_UNSET, false, 4 },
	{ "-cversion", NULL, MER_OK, NULL, MER_FORMAT_UNSET, false, 1 },
	{ "run", "MER_FORMAT=jsonl", MER_OK, NULL, MER_FORMAT_JSONL, false, 0 },
	{ "--plain run", "MER_FORMAT=jsonl", MER_OK, NULL, MER_FORMAT_PLAIN, false, 1 },
	{ "run", "MER_FORMAT=", MER_OK, NULL, MER_FORMAT_UNSET, false, 0 },
	{ "run", "MER_ALLOW_CHANGES=1", MER_OK, NULL, MER_FORMAT_UNSET, true, 0 },
	{ "run", "MER_ALLOW_CHANGES=off", MER_OK, NULL, MER_FORMAT_UNSET, false, 0 },
	{ "run", "MER_ALLOW_CHANGES=maybe", MER_EINPUT, "MER_ALLOW_CHANGES: not on or off: 'maybe'",
	  MER_FORMAT_UNSET, false, 0 },
	{ "run", "MER_FORMAT=xml", MER_EINPUT,
	  "MER_FORMAT: 'xml' is none of table, json, jsonl, csv, plain, vertical", MER_FORMAT_UNSET,
	  false, 0 },
	{ "--help", "MER_FORMAT=xml", MER_OK, NULL, MER_FORMAT_UNSET, false, 1 },
	{ "run", "MER_DATABASE_PASSWORD=secret", MER_EINPUT,
	  "MER_DATABASE_PASSWORD holds a plain secret", MER_FORMAT_UNSET, false, 0 },
	{ "run", "MER_DATABASE_PASSWORD=file:/run/secrets/db", MER_OK, NULL, MER_FORMAT_UNSET, false,
	  0 },
	{ "--databse x", NULL, MER_EINPUT, "no such option: '--databse'", MER_FORMAT_UNSET, false, 0 },
	{ "--database", NULL, MER_EINPUT, "--database needs a value", MER_FORMAT_UNSET, false, 0 },
	{ "-c", NULL, MER_EINPUT, "-c needs a value", MER_FORMAT_UNSET, false, 0 },
};

START_TEST(reads_settings)
{
	MER_AUTO(mer_words_done) char **words = NULL;
	struct settings settings;
	struct mer_error err = { .status = MER_OK };
	size_t n;
	(void)clearenv();
	if (settings_rows[_i].env != NULL) {
		const char *equals = strchr(settings_rows[_i].env, '=');
		MER_AUTO(mer_text_done)
		char *name = strndup(settings_rows[_i].env, (size_t)(equals - settings_rows[_i].env));
		ck_assert_int_eq(setenv(name, equals + 1, 1), 0);
	}
	const char *const *line = split(settings_rows[_i].line, &words, &n);
	enum mer_status st = settings_load(&settings, line, n, &err);
	ck_assert_msg(st == settings_rows[_i].want, "row %d '%s': %d %s", _i, settings_rows[_i].line,
	              (int)st, err.message);
	if (st == MER_OK) {
		ck_assert_int_eq(settings.format, settings_rows[_i].format);
		ck_assert_uint_eq(settings.call.used, settings_rows[_i].used);
		ck_assert(setting_on(&settings, SET_CHANGES) == settings_rows[_i].changes);
	} else {
		ck_assert_str_eq(err.message, settings_rows[_i].message);
	}
	settings_release(&settings);
}
END_TEST

static const struct {
	const char *url, *want;
} url_rows[] = {
	{ "sqlite:/a/b.db", "sqlite:/a/b.db" },
	{ "postgres://u:p@h/d", "postgres://u@h/d" },
	{ "postgres://u:p@ss@h:5432/d", "postgres://u@h:5432/d" },
	{ "postgres://u@h:5432/d", "postgres://u@h:5432/d" },
	{ "postgres://h:5432/d", "postgres://h:5432/d" },
	{ "postgres://h/d?user=u&password=p", "postgres://h/d" },
};

START_TEST(hides_passwords)
{
	MER_AUTO(mer_text_done) char *shown = settings_url_shown(url_rows[_i].url);
	ck_assert_str_eq(shown, url_rows[_i].want);
}
END_TEST

/* --- what a terminal is shown ------------------------------------------------------------- */

#define TEXT(literal) (literal), sizeof(literal) - 1

static const struct {
	const char *bytes;
	size_t n;
	const char *want;
} caret_rows[] = {
	{ TEXT(""), "" },
	{ TEXT("plain"), "plain\n" },
	{ TEXT("two\nlines\n"), "two\nlines\n" },
	{ TEXT("tab\there"), "tab\there\n" },
	{ TEXT("\033[31mred\r\n"), "^[[31mred^M\n" },
	{ TEXT("\0\001\177"), "^@^A^?\n" },
	{ TEXT("caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"),
	  "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\n" },
	{ TEXT("\xC2\x9B"
	       "31m"),
	  "^[[31m\n" },
	{ TEXT("\x9B"
	       "31m"),
	  "^[[31m\n" },
	{ TEXT("\xC2\xA9"), "\xC2\xA9\n" },
	{ TEXT("\xC2"), "\xC2\n" },
	{ TEXT("\xC2\n"), "\xC2\n" },
	{ TEXT("\xC2\xC2\x85"), "\xC2^[E\n" },
	{ TEXT("\xE2\x82\x1B"), "\xE2\x82^[\n" },
	{ TEXT("\xF0\x9F\x98\x80\x9B"), "\xF0\x9F\x98\x80^[[\n" },
};

/* However it is cut. */
START_TEST(shows_control_characters)
{
	for (size_t cut = 0; cut <= caret_rows[_i].n; cut++) {
		struct caret caret = { 0 };
		struct mer_buf out;
		mer_buf_init(&out, 4096);
		caret_add(&caret, caret_rows[_i].bytes, cut, &out);
		caret_add(&caret, caret_rows[_i].bytes + cut, caret_rows[_i].n - cut, &out);
		caret_end(&caret, &out);
		ck_assert_msg(strcmp(out.ptr != NULL ? out.ptr : "", caret_rows[_i].want) == 0,
		              "row %d cut at %zu: '%s'", _i, cut, out.ptr);
		mer_buf_release(&out);
	}
}
END_TEST

/* --- output that is kept ------------------------------------------------------------------ */

static const struct {
	const char *bytes;
	size_t n;
	bool text;
} spool_rows[] = {
	{ TEXT(""), true },
	{ TEXT("plain"), true },
	{ TEXT("caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 end"), true },
	{ TEXT("\xF0\x9F\x98\x80\xF0\x9F\x98\x80"), true },
	{ TEXT("a\0b"), true },
	{ TEXT("\xC3"), false },
	{ TEXT("\xE2\x82"), false },
	{ TEXT("\xC3(\xC3\xA9"), false },
	{ TEXT("\xF0\x9F\x98\xC3\xA9"), false },
	{ TEXT("\x80 text"), false },
};

/* Cut in three pieces in every way, in memory and in a file. */
START_TEST(keeps_output)
{
	size_t n = spool_rows[_i].n;
	const char *bytes = spool_rows[_i].bytes;
	for (size_t limit = 0; limit < 100; limit += 50) {
		for (size_t a = 0; a <= n; a++) {
			for (size_t b = a; b <= n; b++) {
				struct store store;
				struct spool spool;
				char back[64];
				size_t got;
				store_init(&store, limit);
				spool_init(&spool, &store);
				spool_add(&spool, bytes, a);
				spool_add(&spool, bytes + a, b - a);
				spool_add(&spool, bytes + b, n - b);
				ck_assert_int_eq(spool_check(&spool, NULL), MER_OK);
				ck_assert_int_eq(spool.bytes, (int64_t)n);
				ck_assert_msg(spool_is_text(&spool) == spool_rows[_i].text,
				              "row %d cut at %zu, %zu", _i, a, b);
				ck_assert_int_eq(spool_read(&spool, 0, back, sizeof back, &got, NULL), MER_OK);
				ck_assert(got == n && memcmp(back, bytes, n) == 0);
				ck_assert((store.fd >= 0) == (limit == 0 && n > 0));
				spool_clear(&spool);
				ck_assert(store_on_disk(&store) == 0 && store.borrowed == 0);
				store_release(&store);
			}
		}
	}
}
END_TEST

START_TEST(says_where_output_cannot_be_kept)
{
	struct store store;
	struct spool spool;
	struct mer_error err;
	ck_assert_int_eq(setenv("TMPDIR", "/nonexistent", 1), 0);
	store_init(&store, 2);
	spool_init(&spool, &store);
	spool_add(&spool, "abc", 3);
	spool_add(&spool, "def", 3);
	ck_assert_int_eq(spool_check(&spool, &err), MER_EIO);
	ck_assert_str_eq(err.message,
	                 "cannot keep the output in '/nonexistent': No such file or directory");
	spool_clear(&spool);
	store_release(&store);
}
END_TEST

enum { SPOOLS = 3, PIECE = 50001, PIECES = 5, PLACES = 50 };

static char pattern(size_t round, size_t i, size_t at)
{
	return (char)(round * 7 + i * 31 + at % 251);
}

/* Several grow by turns, so that their blocks lie between each other's, and one gives back its own. */
static void grow_by_turns(struct spool spools[], size_t round)
{
	char *bytes = malloc(PIECE);
	ck_assert_ptr_nonnull(bytes);
	for (size_t piece = 0; piece < PIECES; piece++) {
		for (size_t i = 0; i < SPOOLS; i++) {
			for (size_t at = 0; at < PIECE; at++)
				bytes[at] = pattern(round, i, piece * PIECE + at);
			spool_add(&spools[i], bytes, PIECE);
		}
	}
	free(bytes);
}

/* From places in any order, over the edges of memory and blocks. */
static void check_kept(struct spool *spool, size_t round, size_t i)
{
	char back[70000];
	ck_assert_int_eq(spool_check(spool, NULL), MER_OK);
	ck_assert_int_eq(spool->bytes, PIECES * PIECE);
	for (size_t place = 0; place < PLACES; place++) {
		size_t at = place == 0 ? PIECES * PIECE - 7 : place * 104729 % (PIECES * PIECE);
		size_t left = PIECES * PIECE - at, got, same = 0;
		ck_assert_int_eq(spool_read(spool, (int64_t)at, back, sizeof back, &got, NULL), MER_OK);
		ck_assert_uint_eq(got, left < sizeof back ? left : sizeof back);
		while (same < got && back[same] == pattern(round, i, at + same))
			same++;
		ck_assert_msg(same == got, "round %zu, spool %zu: wrong from %zu on", round, i, at + same);
	}
}

/* Neither memory nor the file grow by what was given back. */
START_TEST(shares_a_store)
{
	enum { MEMORY = 2 * PIECE, ROUNDS = 5 };
	struct store store;
	struct spool spools[SPOOLS];
	store_init(&store, MEMORY);
	for (size_t i = 0; i < SPOOLS; i++)
		spool_init(&spools[i], &store);
	for (size_t round = 0; round < ROUNDS; round++) {
		grow_by_turns(spools, round);
		ck_assert_uint_le(store.borrowed, MEMORY + SPOOLS);
		for (size_t i = 0; i < SPOOLS; i++) {
			check_kept(&spools[i], round, i);
			spool_clear(&spools[i]);
		}
		ck_assert(store_on_disk(&store) == 0 && store.borrowed == 0);
	}
	ck_assert_int_le(lseek(store.fd, 0, SEEK_END), (SPOOLS * 4 + 1) * (off_t)STORE_BLOCK);
	store_release(&store);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("driver_parse");
	TCase *tc = tcase_create("commands");
	tcase_add_loop_test(tc, finds_commands, 0, N_ROWS(find_rows));
	tcase_add_loop_test(tc, parses_words, 0, N_ROWS(parse_rows));
	tcase_add_test(tc, gives_fallbacks);
	tcase_add_test(tc, refuses_too_many);
	suite_add_tcase(suite, tc);
	tc = tcase_create("settings");
	tcase_add_loop_test(tc, reads_settings, 0, N_ROWS(settings_rows));
	tcase_add_loop_test(tc, hides_passwords, 0, N_ROWS(url_rows));
	suite_add_tcase(suite, tc);
	tc = tcase_create("output");
	tcase_add_loop_test(tc, shows_control_characters, 0, N_ROWS(caret_rows));
	tcase_add_loop_test(tc, keeps_output, 0, N_ROWS(spool_rows));
	tcase_add_test(tc, shares_a_store);
	tcase_add_test(tc, says_where_output_cannot_be_kept);
	suite_add_tcase(suite, tc);
	return suite;
}
