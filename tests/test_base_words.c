/* Words as a shell splits them, and UTF-8. */
#include "check_main.h"
#include "test_base_utf8.h"

#include <locale.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *line, *want; /* each word in <>; NULL: open at the end */
} word_rows[] = {
	{ "", "" },
	{ " \t \n ", "" },
	{ "a", "<a>" },
	{ "  run  model  x ", "<run><model><x>" },
	{ "a\tb\nc", "<a><b><c>" },
	{ "''", "<>" },
	{ "\"\" ''", "<><>" },
	{ "a'b c'd", "<ab cd>" },
	{ "a\"b c\"d", "<ab cd>" },
	{ "'a\"b' \"a'b\"", "<a\"b><a'b>" },
	{ "'a\\b'", "<a\\b>" },
	{ "\"a\\b\"", "<a\\b>" },
	{ "\"a\\\"b\\\\c\\$d\\`e\"", "<a\"b\\c$d`e>" },
	{ "\"\\n\\'\"", "<\\n\\'>" },
	{ "a\\ b", "<a b>" },
	{ "\\'a\\\"", "<'a\">" },
	{ "\\\\n", "<\\n>" },
	{ "a\\\nb", "<ab>" },
	{ "a \\\n b", "<a><b>" },
	{ "\\\n#x", "" },
	{ "\"a\\\nb\"", "<ab>" },
	{ "'a\\\nb'", "<a\\\nb>" },
	{ "'a\nb'", "<a\nb>" },
	{ "# all of it 'open", "" },
	{ "a # rest\\", "<a>" },
	{ "a #x\nb", "<a><b>" },
	{ "a#b '#'c \\#d", "<a#b><#c><#d>" },
	{ "''#a", "<#a>" },
	{ "$HOME *.c a;b|c&d >e `f` $(g) ~", "<$HOME><*.c><a;b|c&d><>e><`f`><$(g)><~>" },
	{ "a\r", "<a\r>" },
	{ "'", NULL },
	{ "\"", NULL },
	{ "a 'b", NULL },
	{ "a \"b\\\"", NULL },
	{ "a \"b\\", NULL },
	{ "\\", NULL },
	{ "a b\\", NULL },
	{ "'a\\' \\", NULL },
	{ "\"'", NULL },
};

static void show_words(char **words, char *out, size_t size)
{
	size_t len = 0;
	out[0] = '\0';
	for (; *words != NULL; words++)
		len += (size_t)snprintf(out + len, size - len, "<%s>", *words);
}

START_TEST(splits_words)
{
	MER_AUTO(mer_words_done) char **words = NULL;
	size_t count = 99;
	bool open = word_rows[_i].want != NULL;
	enum mer_status got = mer_split_words(word_rows[_i].line, &words, &count, &open, NULL);
	if (word_rows[_i].want == NULL) {
		ck_assert_msg(got == MER_EINPUT && open && words == NULL && count == 99,
		              "row %d [%s]: status %d, open %d", _i, word_rows[_i].line, (int)got, open);
		return;
	}
	ck_assert_msg(got == MER_OK && !open, "row %d [%s]: status %d", _i, word_rows[_i].line,
	              (int)got);
	char shown[400];
	show_words(words, shown, sizeof shown);
	ck_assert_msg(strcmp(shown, word_rows[_i].want) == 0, "row %d [%s]: %s, not %s", _i,
	              word_rows[_i].line, shown, word_rows[_i].want);
	size_t n = 0;
	while (words[n] != NULL)
		n++;
	ck_assert_uint_eq(n, count);
}
END_TEST

static const struct {
	const char *line, *want; /* whole words in <>, then the last one */
	size_t from;
	char open;
} last_rows[] = {
	{ "", "", 0, 0 },
	{ "  ", "", 2, 0 },
	{ "a", "a", 0, 0 },
	{ "a b", "<a>b", 2, 0 },
	{ "a b ", "<a><b>", 4, 0 },
	{ " run 'a b' c\\ d", "<run><a b>c d", 11, 0 },
	{ "a 'b c", "<a>b c", 2, '\'' },
	{ "a x'b c", "<a>xb c", 2, '\'' },
	{ "a \"b \\\"c", "<a>b \"c", 2, '"' },
	{ "a \"b\\", "<a>b\\", 2, '"' },
	{ "a b\\", "<a>b", 2, '\\' },
	{ "a \\\n", "<a>", 4, 0 },
	{ "a\nb", "<a>b", 2, 0 },
	{ "a 'b'", "<a>b", 2, 0 },
	{ "a '' b", "<a><>b", 5, 0 },
	{ "a # b", NULL, 0, 0 },
	{ "#", NULL, 0, 0 },
	{ "a #b\nc", "<a>c", 5, 0 },
	{ "a#b", "a#b", 0, 0 },
};

START_TEST(splits_the_last_word)
{
	MER_AUTO(mer_words_done) char **words = NULL;
	const char *line = last_rows[_i].line, *want = last_rows[_i].want;
	struct mer_last_word last;
	size_t count = 0;
	ck_assert_int_eq(mer_split_last(line, &words, &count, &last, NULL), MER_OK);
	ck_assert_ptr_null(words[count]);
	MER_AUTO(mer_text_done) char *text = last.text;
	if (want == NULL) {
		ck_assert_msg(text == NULL, "row %d [%s]: a word '%s'", _i, line, text);
		return;
	}
	char shown[400];
	show_words(words, shown, sizeof shown);
	ck_assert_ptr_nonnull(text);
	strcat(shown, text);
	ck_assert_msg(strcmp(shown, want) == 0 && last.from == last_rows[_i].from &&
	                  last.open == last_rows[_i].open,
	              "row %d [%s]: %s from %zu open %d", _i, line, shown, last.from, last.open);
}
END_TEST

START_TEST(splits_many_words)
{
	enum { MANY = 5000 };
	char line[MANY * 2 + 1];
	for (int n = 0; n < MANY; n += 1 + n / 7) {
		for (int i = 0; i < n; i++)
			memcpy(line + 2 * i, "x ", 2);
		line[2 * n] = '\0';
		MER_AUTO(mer_words_done) char **words = NULL;
		size_t count = 0;
		ck_assert_int_eq(mer_split_words(line, &words, &count, NULL, NULL), MER_OK);
		ck_assert_uint_eq(count, (size_t)n);
		ck_assert_ptr_null(words[n]);
	}
}
END_TEST

/* Against sh: lines are built of what means the same there and here, that is without expansions,
 * operators, or newlines outside of quotes, and written into a script that shows its arguments. */

enum { LINES = 400, LINE_SIZE = 400 };

static const char *pick(uint64_t *state, const char *const choices[], uint32_t n)
{
	return choices[random_below(state, n)];
}

/* Appends a few random pieces, each at most 4 bytes. */
static void add_pieces(uint64_t *state, char *line, const char *const choices[], uint32_t n)
{
	for (uint32_t i = random_below(state, 6); i > 0; i--)
		strcat(line, pick(state, choices, n));
}

static void random_line(uint64_t *state, char line[LINE_SIZE])
{
	static const char *const plain[] = { "a", "Z", "0", "-",        ".", "=", ",", "/",
		                                 "%", "+", "_", "\xC3\xA9", "b", ":", "@" };
	static const char *const escaped[] = { "\\a",  "\\ ",  "\\'", "\\\"", "\\\\",
		                                   "\\$",  "\\`",  "\\#", "\\;",  "\\*",
		                                   "\\\t", "\\\n", "\\n", "\\&",  "\\(" };
	static const char *const single[] = {
		"a", " ", "\"", "\\", "$", "`", "#", "\n", "\t", "*", ";"
	};
	static const char *const quoted[] = { "a",  " ",    "'",   "\\\"", "\\\\", "\\$", "\\`", "#",
		                                  "\n", "\\\n", "\\a", "\\'",  "*",    "\\ ", "~",   "\t" };
	static const char *const blank[] = { " ", "\t", "  ", " \\\n", " \\\n " };
	line[0] = '\0';
	for (uint32_t i = random_below(state, 9); i > 0; i--) {
		switch (random_below(state, 6)) {
		case 0: add_pieces(state, line, plain, N_ROWS(plain)); break;
		case 1: add_pieces(state, line, escaped, N_ROWS(escaped)); break;
		case 2:
			strcat(line, "'");
			add_pieces(state, line, single, N_ROWS(single));
			strcat(line, "'");
			break;
		case 3:
			strcat(line, "\"");
			add_pieces(state, line, quoted, N_ROWS(quoted));
			strcat(line, "\"");
			break;
		case 4: strcat(line, pick(state, blank, N_ROWS(blank))); break;
		default: strcat(line, "x#"); break;
		}
	}
	/* Never before a newline: what follows it would be commands. */
	if (random_below(state, 4) == 0)
		strcat(line, " # comment '\"\\");
}

/* One word of what the script prints, which a NUL ends. */
static void next_word(FILE *in, char out[LINE_SIZE])
{
	size_t len = 0;
	int byte;
	while ((byte = fgetc(in)) > 0 && len + 1 < LINE_SIZE)
		out[len++] = (char)byte;
	out[len] = '\0';
	ck_assert_msg(byte == 0, "sh stopped after '%s'", out);
}

static void compare_with_sh(FILE *in, const char *line)
{
	MER_AUTO(mer_words_done) char **words = NULL;
	size_t count = 0;
	char want[LINE_SIZE];
	enum mer_status st = mer_split_words(line, &words, &count, NULL, NULL);
	ck_assert_msg(st == MER_OK, "[%s]: status %d", line, (int)st);
	next_word(in, want);
	ck_assert_msg(strtoul(want, NULL, 10) == count, "[%s]: %zu words, not %s", line, count, want);
	for (size_t i = 0; i < count; i++) {
		next_word(in, want);
		ck_assert_msg(strcmp(words[i], want) == 0, "[%s]: word %zu is '%s', not '%s'", line, i,
		              words[i], want);
	}
}

START_TEST(splits_as_sh_does)
{
	static char lines[LINES][LINE_SIZE];
	uint64_t state = 88172645463325252u + (uint64_t)_i;
	char path[] = "/tmp/test_base_words.XXXXXX", command[64];
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	FILE *script = fdopen(fd, "w");
	ck_assert_ptr_nonnull(script);
	(void)fputs("w() { printf '%d\\0' $#; for x; do printf '%s\\0' \"$x\"; done; }\n", script);
	for (int i = 0; i < LINES; i++) {
		random_line(&state, lines[i]);
		(void)fprintf(script, "w %s\n", lines[i]);
	}
	ck_assert_int_eq(fclose(script), 0);
	(void)snprintf(command, sizeof command, "sh %s", path);
	FILE *in = popen(command, "r");
	ck_assert_ptr_nonnull(in);
	for (int i = 0; i < LINES; i++)
		compare_with_sh(in, lines[i]);
	ck_assert_int_eq(fgetc(in), EOF);
	ck_assert_int_eq(pclose(in), 0);
	(void)unlink(path);
}
END_TEST

/* Whatever the quotes: sh must agree on whether they are closed. */
START_TEST(is_open_as_in_sh)
{
	uint64_t state = 362436069u;
	for (int i = 0; i < 150; i++) {
		char line[16] = "", command[32];
		for (uint32_t n = random_below(&state, 9); n > 0; n--)
			strcat(line, pick(&state, (const char *const[]){ "a", " ", "'", "\"", "\\", "#" }, 6));
		MER_AUTO(mer_words_done) char **words = NULL;
		bool open;
		enum mer_status got = mer_split_words(line, &words, NULL, &open, NULL);
		ck_assert_int_eq(got, open ? MER_EINPUT : MER_OK);
		size_t len = strlen(line);
		if (len > 0 && line[len - 1] == '\\')
			continue; /* sh takes a last backslash as it stands */
		(void)snprintf(command, sizeof command, ": %s", line);
		FILE *sh = popen("sh 2>/dev/null", "w");
		ck_assert_ptr_nonnull(sh);
		(void)fputs(command, sh);
		int status = pclose(sh);
		ck_assert_msg((status != 0) == open, "[%s]: open %d, sh says %d", line, open, status);
	}
}
END_TEST

/* UTF-8. */

static void check_span(const unsigned char *bytes, size_t len)
{
	size_t want = 0, want_cut = 0;
	while (want < len) {
		bool valid;
		size_t n = reference_step(bytes + want, len - want, &valid);
		if (!valid) {
			if (want + n == len && reference_begins(bytes + want, n))
				want_cut = n;
			break;
		}
		want += n;
	}
	size_t cut = 99, got = mer_utf8_span_cut((const char *)bytes, len, &cut);
	size_t plain = mer_utf8_span((const char *)bytes, len);
	if (got != want || cut != want_cut || plain != want)
		ck_abort_msg("%02x %02x %02x %02x (%zu): span %zu not %zu, cut %zu not %zu", bytes[0],
		             bytes[1], bytes[2], bytes[3], len, got, want, cut, want_cut);
}

#define BAD "\xef\xbf\xbd"
static const struct {
	const char *bytes;
	size_t len;
	const char *want;
} mended_rows[] = {
	{ "", 0, "" },
	{ "abc \xc3\xa4", 6, "abc \xc3\xa4" },
	{ "a\xff", 2, "a" BAD },
	{ "\xff\xfe", 2, BAD BAD },
	{ "a\0b", 3, "a" BAD "b" },
	{ "\0", 1, BAD },
	{ "\xe2\x82", 2, BAD BAD },
	{ "\xe2\x82z\0\xc3\xa4", 6, BAD BAD "z" BAD "\xc3\xa4" },
};

START_TEST(mends_utf8)
{
	struct mer_buf buf;
	mer_buf_init(&buf, 100);
	mer_buf_add_utf8(&buf, mended_rows[_i].bytes, mended_rows[_i].len);
	ck_assert_uint_eq(buf.len, strlen(mended_rows[_i].want));
	ck_assert_str_eq(buf.len > 0 ? buf.ptr : "", mended_rows[_i].want);
	mer_buf_release(&buf);
}
END_TEST

/* Sixteen first bytes a row. */
START_TEST(utf8_of_three_bytes)
{
	for (unsigned all = (unsigned)_i << 20; all < (unsigned)(_i + 1) << 20; all++) {
		unsigned char bytes[5] = { (unsigned char)(all >> 16), (unsigned char)(all >> 8),
			                       (unsigned char)all };
		check_span(bytes, 3);
		if ((all & 0xFF) == 0)
			check_span(bytes, 2);
		if ((all & 0xFFFF) == 0)
			check_span(bytes, 1);
	}
}
END_TEST

START_TEST(utf8_of_four_bytes)
{
	static const unsigned char thirds[] = { 0x00, 0x7F, 0x80, 0x9F, 0xA0, 0xBF, 0xC0, 0xF0, 0xFF };
	unsigned char bytes[5] = { 0 };
	bytes[0] = (unsigned char)(0xE0 + _i);
	for (unsigned second = 0; second < 256; second++) {
		bytes[1] = (unsigned char)second;
		for (size_t i = 0; i < sizeof thirds * sizeof thirds; i++) {
			bytes[2] = thirds[i / sizeof thirds];
			bytes[3] = thirds[i % sizeof thirds];
			check_span(bytes, 4);
		}
	}
}
END_TEST

START_TEST(utf8_at_random)
{
	static const unsigned char bytes_of[] = { 'a',  0x00, 0x7F, 0x80, 0xBF, 0x9F, 0xA0,
		                                      0xC2, 0xE2, 0x82, 0xAC, 0xF0, 0x90, 0xED };
	uint64_t state = 521288629u;
	for (int i = 0; i < 200000; i++) {
		unsigned char bytes[40] = { 0 };
		size_t len = random_below(&state, sizeof bytes);
		for (size_t at = 0; at < len; at++)
			bytes[at] = random_below(&state, 3) > 0 ? 'x' : bytes_of[random_below(&state, 14)];
		check_span(bytes, len);
	}
}
END_TEST

static const struct {
	const char *text;
	size_t want;
} width_rows[] = {
	{ "", 0 },
	{ "model", 5 },
	{ "Z\xC3\xBCrich", 6 },
	{ "\xE6\xA8\xA1\xE5\x9E\x8B", 4 },
	{ "e\xCC\x81", 1 },
	{ "a\tb\x1b\x7f\xC2\x85", 2 },
	{ "\xFF\xE2\x82", 2 },
	{ "\xF0\x9F\x98\x80", 2 },
};

START_TEST(measures_width)
{
	ck_assert_ptr_nonnull(setlocale(LC_CTYPE, "C.UTF-8"));
	size_t got = mer_text_width(width_rows[_i].text);
	ck_assert_msg(got == width_rows[_i].want, "row %d '%s': %zu, not %zu", _i, width_rows[_i].text,
	              got, width_rows[_i].want);
}
END_TEST

START_TEST(measures_width_without_a_locale)
{
	ck_assert_uint_eq(mer_text_width("Z\xC3\xBCrich \xC2\x85"), 7);
}
END_TEST

Suite *suite(void)
{
	Suite *words = suite_create("words");
	TCase *split = tcase_create("split"), *utf8 = tcase_create("utf8");
	tcase_set_timeout(split, 120);
	tcase_add_loop_test(split, splits_words, 0, N_ROWS(word_rows));
	tcase_add_loop_test(split, splits_the_last_word, 0, N_ROWS(last_rows));
	tcase_add_test(split, splits_many_words);
	tcase_add_loop_test(split, splits_as_sh_does, 0, 10);
	tcase_add_test(split, is_open_as_in_sh);
	tcase_set_timeout(utf8, 120);
	tcase_add_loop_test(utf8, utf8_of_three_bytes, 0, 16);
	tcase_add_loop_test(utf8, utf8_of_four_bytes, 0, 32);
	tcase_add_test(utf8, utf8_at_random);
	tcase_add_loop_test(utf8, mends_utf8, 0, N_ROWS(mended_rows));
	tcase_add_loop_test(utf8, measures_width, 0, N_ROWS(width_rows));
	tcase_add_test(utf8, measures_width_without_a_locale);
	suite_add_tcase(words, split);
	suite_add_tcase(words, utf8);
	return words;
}
