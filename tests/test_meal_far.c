/* What goes to a far supervisor and what comes back of it: words as a shell takes them, and marks,
 * wherever they are in a stream and however it is cut. */
#include "far.h"

#include "check_main.h"

#include <mer/clean.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONCE "0123456789abcdef0123456789abcdef"
#define MARK(text) "\036MER-" NONCE " " text "\n"

static const struct {
	const char *stream, *payload, *marks; /* marks: each followed by ';' */
} streams[] = {
	{ "", "", "" },
	{ "plain", "plain", "" },
	{ MARK("up"), "", "up;" },
	{ "a" MARK("up") "b", "ab", "up;" },
	{ "half a " MARK("beat") "line\n" MARK("exit 0"), "half a line\n", "beat;exit 0;" },
	{ MARK("a") MARK("b") MARK("c"), "", "a;b;c;" },
	{ "\036", "\036", "" },
	{ "\036\036\036MER", "\036\036\036MER", "" },
	{ "\036\036MER-" NONCE " up\nx", "\036x", "up;" },
	{ "\036MER-" NONCE "\n", "\036MER-" NONCE "\n", "" },
	{ "\036MER-0123456789abcdef0123456789abcdee up\n",
	  "\036MER-0123456789abcdef0123456789abcdee up\n", "" },
	{ "\036MER-01" MARK("up") "\036MER-", "\036MER-01\036MER-", "up;" },
	{ "x\036MER-" NONCE " never ends", "x", "" },
};

static void feed(struct far_reader *reader, const char *bytes, size_t n, struct mer_buf *payload,
                 struct mer_buf *marks)
{
	struct far_piece piece;
	for (size_t at = 0; at < n;) {
		size_t taken = far_reader_feed(reader, bytes + at, n - at, &piece);
		ck_assert_uint_gt(taken + piece.bytes.len, 0);
		ck_assert_uint_le(taken, n - at);
		at += taken;
		if (piece.mark != NULL)
			mer_buf_printf(marks, "%s;", piece.mark);
		mer_buf_add(payload, piece.bytes.ptr, piece.bytes.len);
	}
}

static void compare(struct mer_buf *got, const char *want, size_t cut, size_t row)
{
	mer_buf_byte(got, '\0');
	ck_assert_msg(strcmp(got->ptr, want) == 0, "row %zu cut at %zu: '%s', not '%s'", row, cut,
	              got->ptr, want);
	mer_buf_release(got);
}

START_TEST(takes_marks_out)
{
	const char *stream = streams[_i].stream;
	size_t len = strlen(stream);
	for (size_t cut = 0; cut <= len + 1; cut++) { /* the last: each byte alone */
		struct far_reader reader;
		struct mer_buf payload, marks;
		mer_buf_init(&payload, SIZE_MAX);
		mer_buf_init(&marks, SIZE_MAX);
		far_reader_init(&reader, NONCE);
		if (cut <= len) {
			feed(&reader, stream, cut, &payload, &marks);
			feed(&reader, stream + cut, len - cut, &payload, &marks);
		}
		for (size_t i = 0; cut > len && i < len; i++)
			feed(&reader, stream + i, 1, &payload, &marks);
		struct mer_str rest = far_reader_end(&reader);
		mer_buf_add(&payload, rest.ptr, rest.len);
		compare(&payload, streams[_i].payload, cut, (size_t)_i);
		compare(&marks, streams[_i].marks, cut, (size_t)_i);
	}
}
END_TEST

/* A hostile server's mark has no end: it takes no memory, and what follows its newline is seen. */
START_TEST(bounds_marks)
{
	struct far_reader reader;
	struct mer_buf payload, marks;
	char many[1000];
	memset(many, 'x', sizeof many);
	mer_buf_init(&payload, SIZE_MAX);
	mer_buf_init(&marks, SIZE_MAX);
	far_reader_init(&reader, NONCE);
	feed(&reader, "\036MER-" NONCE " ", 6 + strlen(NONCE), &payload, &marks);
	for (int i = 0; i < 1000; i++)
		feed(&reader, many, sizeof many, &payload, &marks);
	feed(&reader, "\nrest", 5, &payload, &marks);
	ck_assert_uint_eq(marks.len, FAR_MARK_MAX); /* its bytes without the NUL, and ';' */
	compare(&payload, "rest", 0, 0);
	mer_buf_release(&marks);
}
END_TEST

static const char *const quoted[][2] = {
	{ "", "''" },       { "a b", "'a b'" },       { "a'b", "'a'\\''b'" },
	{ "'", "''\\'''" }, { "$x\\\n", "'$x\\\n'" },
};

START_TEST(quotes)
{
	struct mer_buf out;
	mer_buf_init(&out, SIZE_MAX);
	far_quote(&out, quoted[_i][0]);
	compare(&out, quoted[_i][1], 0, (size_t)_i);
}
END_TEST

/* Whatever the bytes are, a shell gives them back. */
START_TEST(quotes_at_random)
{
	uint64_t state = 88172645463325252U + (uint64_t)_i;
	char word[400], got[sizeof word + 1];
	size_t len = random_below(&state, sizeof word - 1);
	for (size_t i = 0; i < len; i++)
		word[i] = random_below(&state, 3) == 0 ? "'\\\n$"[random_below(&state, 4)]
		                                       : (char)(1 + random_below(&state, 255));
	word[len] = '\0';
	struct mer_buf line;
	mer_buf_init(&line, SIZE_MAX);
	mer_buf_text(&line, "LC_ALL=C; printf %s ");
	far_quote(&line, word);
	mer_buf_byte(&line, '\0');
	FILE *shell = popen(line.ptr, "r");
	ck_assert_ptr_nonnull(shell);
	size_t n = fread(got, 1, sizeof got, shell);
	ck_assert_int_eq(pclose(shell), 0);
	ck_assert_uint_eq(n, len);
	ck_assert_int_eq(memcmp(got, word, len), 0);
	mer_buf_release(&line);
}
END_TEST

static const struct {
	const char *variable;
	enum mer_status want;
} variables[] = {
	{ "A=b", MER_OK },         { "_x9=", MER_OK },
	{ "9=x", MER_EINPUT },     { "A-B=c", MER_EINPUT },
	{ "=x", MER_EINPUT },      { "A", MER_EINPUT },
	{ "far_x=1", MER_EINPUT }, { "BASH_FUNC_f%%=() {", MER_EINPUT },
};

START_TEST(checks_variables)
{
	static const struct far_names names = { NONCE, NONCE };
	const char *const argv[] = { "true", NULL }, *const env[] = { variables[_i].variable, NULL };
	const struct far_header header = { .names = &names, .argv = argv, .env = env };
	struct mer_buf out;
	mer_buf_init(&out, SIZE_MAX);
	ck_assert_int_eq(far_header(&out, &header, NULL), variables[_i].want);
	mer_buf_release(&out);
}
END_TEST

/* The loader is one line for the login shell's read, only the nonce ends what it evaluates, and what is
 * behind that is the line of who is who. */
START_TEST(makes_a_supervisor)
{
	static const struct far_names names = { NONCE, "id" };
	const char *script = "# says\nf()\n{\n\t# more\n\techo x # kept\n}\n";
	const struct far_whom whom = { .pid = 7, .timer = 8, .by_perl = true };
	struct mer_buf out;
	mer_buf_init(&out, SIZE_MAX);
	const struct mer_str text = { script, strlen(script) };
	ck_assert_int_eq(far_supervisor(&out, text, &names, 20, NULL), MER_OK);
	mer_buf_byte(&out, '\0');
	ck_assert_ptr_nonnull(strstr(out.ptr, "\nf()\n{\necho x # kept\n}\nfar_serve\n" NONCE "\n"));
	const char *end = strstr(out.ptr, "\n" NONCE "\n");
	ck_assert_str_eq(end, "\n" NONCE "\n" NONCE " id 20\n");
	const char *loaded = strchr(out.ptr, '\n') + 1, *told = strstr(out.ptr, "}' ");
	ck_assert_uint_eq(strtoul(told + 3, NULL, 10), (size_t)(end + sizeof NONCE + 1 - loaded));
	mer_buf_release(&out);
	mer_buf_init(&out, SIZE_MAX);
	ck_assert_int_eq(far_orders(&out, text, &names, &whom, NULL), MER_OK);
	mer_buf_byte(&out, '\0');
	ck_assert_ptr_nonnull(strstr(out.ptr, "\nfar_watch 7 8 perl ''\n" NONCE "\n" NONCE " id 0\n"));
	mer_buf_release(&out);
}
END_TEST

/* A header says how long it is, and ends with the nonce, whatever its words are. */
START_TEST(makes_a_header)
{
	static const struct far_names names = { NONCE, NONCE };
	const char *const argv[] = { "a\n" NONCE "b", "it's", NULL }, *const env[] = { "A=b c", NULL };
	const struct far_header header = { .names = &names, .argv = argv, .env = env, .clean = true };
	const char *want =
		"far_dir=''\nfar_clean='1'\nfar_probe=''\nfar_room=''\nfar_env() {\n:\ncommand export A='b c' 2>/dev/null && far_same A='b c' || far_odd=A\n}\n"
		"set -- 'a\n" NONCE "b' 'it'\\''s'\n" NONCE "\n";
	struct mer_buf out;
	mer_buf_init(&out, SIZE_MAX);
	ck_assert_int_eq(far_header(&out, &header, NULL), MER_OK);
	mer_buf_byte(&out, '\0');
	char *text;
	ck_assert_uint_eq(strtoul(out.ptr, &text, 10), strlen(want));
	ck_assert_str_eq(text + 1, want);
	mer_buf_release(&out);
}
END_TEST

Suite *suite(void)
{
	Suite *far = suite_create("far");
	TCase *marks = tcase_create("marks"), *words = tcase_create("words");
	tcase_add_loop_test(marks, takes_marks_out, 0, N_ROWS(streams));
	tcase_add_test(marks, bounds_marks);
	tcase_set_timeout(words, 120);
	tcase_add_loop_test(words, quotes, 0, N_ROWS(quoted));
	tcase_add_loop_test(words, quotes_at_random, 0, 50);
	tcase_add_loop_test(words, checks_variables, 0, N_ROWS(variables));
	tcase_add_test(words, makes_a_supervisor);
	tcase_add_test(words, makes_a_header);
	suite_add_tcase(far, marks);
	suite_add_tcase(far, words);
	return far;
}
