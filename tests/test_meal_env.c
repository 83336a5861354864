/* What a deployment says of its workers' command and environment: words, variables, references to
 * secrets, and whether its program is there. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/meal.h>
#include <mer/ref.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *word, *want;
} words[] = {
	{ "", "" },         { "plain", "plain" }, { "{a}", "1" },   { "x{a}y{bb}z", "x1y{a}z" },
	{ "{a}{a}", "11" }, { "{none}", "" },     { "{c}", "{c}" }, { "{A}", "{A}" },
	{ "{a", "{a" },     { "{{a}}", "{1}" },   { "a}{", "a}{" }, { "{}", "{}" },
	{ "{ a}", "{ a}" }, { "{ab}", "{ab}" },
};

START_TEST(expands_words)
{
	/* What a value holds is not expanded again. */
	const struct mer_pair pairs[] = { { "a", "1" }, { "bb", "{a}" }, { "none", "" } };
	MER_AUTO(mer_text_done) char *got = NULL;
	ck_assert_int_eq(mer_expand(words[_i].word, pairs, N_ROWS(pairs), &got, NULL), MER_OK);
	ck_assert_str_eq(got, words[_i].want);
	ck_assert_int_eq(mer_expand_uses(words[_i].word, "a"), strstr(words[_i].word, "{a}") != NULL);
}
END_TEST

static const struct {
	const char *line, *want;
} lines[] = {
	{ "cat {p} {q}", "cat /a/b-1.2 \"${mer_q}\"" },
	{ "cat \"{q}\"", "cat \"${mer_q}\"" },
	{ "awk '/{q}/' '{p}'", "awk '/'\"${mer_q}\"'/' '/a/b-1.2'" },
	{ "echo \\'{q}", "echo \\'\"${mer_q}\"" },
	{ "echo \"\\\"{q}\"", "echo \"\\\"${mer_q}\"" },
	{ "echo \"$(cat {q}; cat \"{q}\") {q}\"",
	  "echo \"$(cat \"${mer_q}\"; cat \"${mer_q}\") ${mer_q}\"" },
	{ "(echo \"(\"; cat {q})", "(echo \"(\"; cat \"${mer_q}\")" },
};

START_TEST(expands_lines)
{
	const struct mer_pair pairs[] = { { "p", "/a/b-1.2" }, { "q", "it's; $(x) {p}" } };
	struct mer_shell shell = { .depth = 0 };
	mer_buf_init(&shell.front, 1000);
	MER_AUTO(mer_text_done) char *got = NULL;
	ck_assert_int_eq(mer_expand_line(lines[_i].line, pairs, N_ROWS(pairs), &shell, &got, NULL),
	                 MER_OK);
	ck_assert_str_eq(got, lines[_i].want);
	mer_buf_byte(&shell.front, '\0');
	const char front[] = "mer_q='it'\\''s; $(x) {p}'\n";
	ck_assert_int_eq(strncmp(shell.front.ptr, front, strlen(front)), 0);
	mer_buf_release(&shell.front);
}
END_TEST

static const struct {
	bool clean;
	struct mer_pair added[3];
	const char *hidden[3];
	const char *want; /* joined by blanks, or the error behind '!' */
} environments[] = {
	{ .want = "HOME=/h LC_TIME=C LANGUAGE=de SECRET=s X=1=2 EMPTY= PYTHONUNBUFFERED=1" },
	{ .clean = true, .want = "HOME=/h LC_TIME=C PYTHONUNBUFFERED=1" },
	{ .added = { { "A", "b" } },
	  .clean = true,
	  .want = "HOME=/h LC_TIME=C A=b PYTHONUNBUFFERED=1" },
	{ .added = { { "HOME", "/x" } },
	  .clean = true,
	  .want = "LC_TIME=C HOME=/x PYTHONUNBUFFERED=1" },
	{ .added = { { "A", "1" }, { "A", "2" } },
	  .clean = true,
	  .want = "HOME=/h LC_TIME=C A=2 PYTHONUNBUFFERED=1" },
	{ .added = { { "PYTHONUNBUFFERED", "" } },
	  .clean = true,
	  .want = "HOME=/h LC_TIME=C PYTHONUNBUFFERED=" },
	{ .added = { { "MER_X", "1" }, { "PGHOST", "h" } },
	  .clean = true,
	  .want = "HOME=/h LC_TIME=C MER_X=1 PGHOST=h PYTHONUNBUFFERED=1" },
	{ .added = { { "KEY", "env:SECRET" } },
	  .want = "HOME=/h LC_TIME=C LANGUAGE=de X=1=2 EMPTY= KEY=s PYTHONUNBUFFERED=1" },
	{ .added = { { "KEY", "text:env:SECRET" } },
	  .clean = true,
	  .want = "HOME=/h LC_TIME=C KEY=env:SECRET PYTHONUNBUFFERED=1" },
	{ .added = { { "KEY", "cmd:echo a; echo b" } },
	  .clean = true,
	  .want = "HOME=/h LC_TIME=C KEY=a\nb PYTHONUNBUFFERED=1" },
	{ .hidden = { "SECRET" },
	  .want = "HOME=/h LC_TIME=C LANGUAGE=de X=1=2 EMPTY= PYTHONUNBUFFERED=1" },
	{ .hidden = { "SECRE", "S*" },
	  .want = "HOME=/h LC_TIME=C LANGUAGE=de SECRET=s X=1=2 EMPTY= PYTHONUNBUFFERED=1" },
	{ .added = { { "SECRET", "env:SECRET" } },
	  .hidden = { "SECRET" },
	  .clean = true,
	  .want = "HOME=/h LC_TIME=C SECRET=s PYTHONUNBUFFERED=1" },
	/* What a login needs stays, though somebody refers to it. */
	{ .hidden = { "HOME", "LC_TIME" },
	  .clean = true,
	  .want = "HOME=/h LC_TIME=C PYTHONUNBUFFERED=1" },
	{ .added = { { "KEY", "env:NO_SUCH" } },
	  .want = "!variable 'KEY': the variable of 'env:NO_SUCH' is not set" },
	{ .added = { { "A=B", "1" } }, .want = "!no name of a variable: 'A=B'" },
	{ .added = { { "", "1" } }, .want = "!no name of a variable: ''" },
};

START_TEST(makes_environments)
{
	const char *const base[] = {
		"HOME=/h", "MER_LOG=debug", "PGPASSWORD=x",       "LC_TIME=C", "LANGUAGE=de", "SECRET=s",
		"X=1=2",   "EMPTY=",        "PYTHONUNBUFFERED=0", "nonsense",  NULL
	};
	MER_AUTO(mer_words_done) char **env = NULL;
	struct mer_error err = { 0 };
	char got[512] = "!";
	size_t n = 0;
	ck_assert_int_eq(setenv("SECRET", "s", 1), 0);
	while (n < 3 && environments[_i].added[n].name != NULL)
		n++;
	enum mer_status st = mer_worker_env(base, environments[_i].added, n, environments[_i].clean,
	                                    environments[_i].hidden, &env, &err);
	if (st == MER_OK)
		got[0] = '\0';
	else
		strcat(got, err.message);
	for (char **entry = env; entry != NULL && *entry != NULL; entry++) {
		strcat(got, entry == env ? "" : " ");
		strcat(got, *entry);
	}
	ck_assert_str_eq(got, environments[_i].want);
}
END_TEST

static const struct {
	const char *before[3], *want[3];
} paths[] = {
	{ { NULL }, { "P=/sdk" } },
	{ { "A=1", "B=2" }, { "A=1", "B=2", "P=/sdk" } },
	{ { "P=", "A=1" }, { "P=/sdk", "A=1" } },
	{ { "A=1", "P=/a:/b" }, { "A=1", "P=/a:/b:/sdk" } },
	{ { "PP=/a" }, { "PP=/a", "P=/sdk" } },
	{ { "P=/a:" }, { "P=/a::/sdk" } },
};

START_TEST(adds_to_paths)
{
	MER_AUTO(mer_words_done) char **env = calloc(4, sizeof *env);
	ck_assert_ptr_nonnull(env);
	for (size_t i = 0; i < 3 && paths[_i].before[i] != NULL; i++)
		env[i] = strdup(paths[_i].before[i]);
	ck_assert_int_eq(mer_worker_env_path(&env, "P", "/sdk", NULL), MER_OK);
	size_t n = 0;
	for (; n < 3 && paths[_i].want[n] != NULL; n++)
		ck_assert_pstr_eq(env[n], paths[_i].want[n]);
	ck_assert_ptr_null(env[n]);
}
END_TEST

static const struct {
	const char *text;
	bool is;
	const char *want; /* the secret, or a glob over the error behind '!' */
} refs[] = {
	{ "env:MEAL_TEST", true, "from env" },
	{ "env:NO_SUCH", true, "!the variable of 'env:NO_SUCH' is not set" },
	{ "env:", false, "!no reference: *" },
	{ "plain", false, "!no reference: *" },
	{ "ENV:X", false, "!no reference: *" },
	{ "text:x", false, "!no reference: *" },
	{ "file:secret", true, "from file" },
	{ "file:two", true, "line\n" },
	{ "file:empty", true, "" },
	{ "file:nul", true, "!'file:nul' gives a NUL" },
	{ "file:large", true, "!'file:large' gives more than 65536 bytes" },
	{ "file:largest", true, NULL },
	{ "file:none", true, "!cannot read 'file:none': No such file or directory" },
	{ "file:.", true, "!cannot read 'file:.': Is a directory" },
	{ "file:/dev/zero", true, "!'file:/dev/zero' gives more than 65536 bytes" },
	{ "cmd:echo from cmd", true, "from cmd" },
	{ "cmd:printf 'a\\n\\n'", true, "a\n" },
	{ "cmd:cat", true, "" },
	{ "cmd:exit 3", true, "!'cmd:exit 3' ended with exit code 3" },
	{ "cmd:echo x; kill -9 $$", true, "!'cmd:*' was killed by signal 9" },
	{ "cmd:yes", true, "!'cmd:yes' gives more than 65536 bytes" },
	{ "cmd:no-such-command 2>/dev/null", true, "!'cmd:*' ended with exit code 127" },
};

static char temp[64];

static void put_file(const char *path, const char *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(mer_write_all(fd, path, bytes, len, NULL), MER_OK);
	ck_assert_int_eq(close(fd), 0);
}

static void put_secrets(void)
{
	static char large[65537];
	memset(large, 'x', sizeof large);
	(void)strcpy(temp, "/tmp/test-meal-env-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(temp));
	ck_assert_int_eq(chdir(temp), 0);
	put_file("secret", "from file\n", 10);
	put_file("two", "line\n\n", 6);
	put_file("empty", "", 0);
	put_file("nul", "a\0b", 3);
	put_file("large", large, 65537);
	put_file("largest", large, 65536);
	ck_assert_int_eq(setenv("MEAL_TEST", "from env\n", 1), 0);
}

static void remove_secrets(void)
{
	static const char *const names[] = { "secret", "two", "empty", "nul", "large", "largest" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		ck_assert_int_eq(unlink(names[i]), 0);
	ck_assert_int_eq(rmdir(temp), 0);
}

START_TEST(resolves_references)
{
	struct mer_error err = { 0 };
	char *got = NULL;
	enum mer_status st = mer_ref_resolve(refs[_i].text, &got, &err);
	ck_assert_int_eq(mer_ref_is(refs[_i].text), refs[_i].is);
	ck_assert_int_eq(mer_ref_env_name(refs[_i].text) != NULL,
	                 refs[_i].is && strncmp(refs[_i].text, "env:", 4) == 0);
	const char *want = refs[_i].want;
	if (want != NULL && want[0] == '!') {
		ck_assert_int_eq(st, MER_EINPUT);
		ck_assert_msg(got == NULL && fnmatch(want + 1, err.message, 0) == 0, "%s: '%s'",
		              refs[_i].text, err.message);
	} else {
		ck_assert_msg(st == MER_OK, "%s: %s", refs[_i].text, err.message);
		ck_assert_uint_eq(strlen(got), want != NULL ? strlen(want) : 65536);
		ck_assert(want == NULL || strcmp(got, want) == 0);
	}
	mer_ref_wipe(got);
	ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0);
}
END_TEST

static const struct {
	const char *word, *workdir, *path, *guard;
	const char *want; /* NULL: it could be started */
} probes[] = {
	{ "sh", "/", "PATH=/bin", NULL, NULL },
	{ "sh", "/", "HOME=/", NULL, NULL },
	{ "sh", NULL, "PATH=/bin", NULL, NULL },
	{ "bin/sh", "/", "PATH=/no", NULL, NULL },
	{ "sh", "/usr", "PATH=bin", NULL, NULL },
	{ "sh", "/", "PATH=/no:/such", NULL, "cannot start 'sh': No such file or directory" },
	{ "", "/", "PATH=/bin", NULL, "cannot start '': No such file or directory" },
	{ "/tmp", "/", "PATH=/bin", NULL, "cannot start '/tmp': it is a folder" },
	{ "sh", "/no/such", "PATH=/bin", NULL,
	  "cannot enter the folder '/no/such': No such file or directory" },
	{ "sh", "/etc/passwd", "PATH=/bin", NULL,
	  "cannot enter the folder '/etc/passwd': Not a directory" },
	{ "sh", "/", "PATH=/bin", "/no/guard",
	  "cannot start the supervisor '/no/guard': No such file or directory" },
};

START_TEST(probes_a_program)
{
	const char *const argv[] = { probes[_i].word, NULL }, *const env[] = { probes[_i].path, NULL };
	const struct mer_worker_spec spec = {
		.protocol = MER_PROTOCOL_ONCE,
		.guard = probes[_i].guard != NULL ? probes[_i].guard : "/bin/true", /* not run */
		.argv = argv,
		.env = env,
		.workdir = probes[_i].workdir,
	};
	struct mer_error err = { 0 };
	enum mer_status st = mer_worker_probe(&spec, &err);
	ck_assert_int_eq(st, probes[_i].want == NULL ? MER_OK : MER_EUNREACHABLE);
	ck_assert_str_eq(err.message, probes[_i].want == NULL ? "" : probes[_i].want);
}
END_TEST

START_TEST(knows_its_protocols)
{
	ck_assert_int_eq(mer_protocol_by_name("once"), MER_PROTOCOL_ONCE);
	ck_assert_int_eq(mer_protocol_by_name("token"), MER_PROTOCOL_TOKEN);
	ck_assert_int_eq(mer_protocol_by_name("unset"), MER_PROTOCOL_UNSET);
	ck_assert_int_eq(mer_protocol_by_name(""), MER_PROTOCOL_UNSET);
	ck_assert_str_eq(mer_protocol_name(MER_PROTOCOL_TOKEN), "token");
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("meal_env");
	TCase *tc = tcase_create("words");
	tcase_add_loop_test(tc, expands_words, 0, N_ROWS(words));
	tcase_add_loop_test(tc, expands_lines, 0, N_ROWS(lines));
	tcase_add_loop_test(tc, makes_environments, 0, N_ROWS(environments));
	tcase_add_loop_test(tc, adds_to_paths, 0, N_ROWS(paths));
	tcase_add_loop_test(tc, probes_a_program, 0, N_ROWS(probes));
	tcase_add_test(tc, knows_its_protocols);
	suite_add_tcase(suite, tc);
	tc = tcase_create("references");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, put_secrets, remove_secrets);
	tcase_add_loop_test(tc, resolves_references, 0, N_ROWS(refs));
	suite_add_tcase(suite, tc);
	return suite;
}
