/* The pure parts of the prompt: how far a run is, what goes to the background, what a line of a
 * conversation is. */
#include "check_main.h"

#include "../driver/background.h"
#include "../driver/chat_line.h"
#include "../driver/progress.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

/* --- progress ----------------------------------------------------------------------------- */

static const struct {
	bool told;
	double done, total;
	const char *text;
	int64_t elapsed_ms;
	unsigned turn;
	const char *far, *line;
} lines[] = {
	{ false, 0, 0, "", 999, 0, "", "- m (0s)" },
	{ false, 0, 0, "", 59999, 1, "", "\\ m (59s)" },
	{ false, 0, 0, "", 60000, 2, "", "| m (1:00)" },
	{ false, 0, 0, "", 3661000, 7, "", "/ m (1:01:01)" },
	{ true, 0, 0, "", 0, 0, "0", "- m: 0 (0s)" },
	{ true, 1234567, 0, "lines", 0, 0, "1234567", "- m: 1234567: lines (0s)" },
	{ true, 0, 3, "", 0, 0, "0%", "  0% m (0s)" },
	{ true, 0.5, 1, "half", 1000, 3, "50%", " 50% m: half (1s)" },
	{ true, 999, 1000, "", 0, 0, "99%", " 99% m (0s)" },
	{ true, 3, 3, "", 0, 0, "100%", "100% m (0s)" },
	{ true, 1, 2, "a\nb\tc\r\033[2Jd\x7f\xC2\x9B", 0, 0, "50%", " 50% m: a b c^M^[[2Jd^?^[[ (0s)" },
	{ true, 1, 2, "\xC3\xA4\xF0\x9F\x98\x80", 0, 0, "50%",
	  " 50% m: \xC3\xA4\xF0\x9F\x98\x80 (0s)" },
};

START_TEST(writes_the_line)
{
	struct progress progress;
	struct mer_buf out;
	char far[PROGRESS_FAR];
	const char *text = lines[_i].text;
	progress_begin(&progress, "m");
	if (lines[_i].told)
		progress_told(&progress, &(struct mer_progress){
									 lines[_i].done, lines[_i].total, { text, strlen(text) } });
	mer_buf_init(&out, 4096);
	progress_line(&progress, lines[_i].elapsed_ms, lines[_i].turn, &out);
	mer_buf_byte(&out, '\0');
	progress_far(&progress, far);
	ck_assert_str_eq(out.ptr, lines[_i].line);
	ck_assert_str_eq(far, lines[_i].far);
	mer_buf_release(&out);
}
END_TEST

START_TEST(takes_the_longest_text)
{
	struct progress progress;
	struct mer_buf out;
	char text[MER_PROGRESS_TEXT];
	memset(text, '\033', sizeof text);
	progress_begin(&progress, "m");
	progress_told(&progress, &(struct mer_progress){ 0, 0, { text, sizeof text } });
	mer_buf_init(&out, 4096);
	progress_text(&progress, &out);
	ck_assert_uint_eq(out.len, 2 * sizeof text);
	mer_buf_release(&out);
}
END_TEST

/* --- a bare & ----------------------------------------------------------------------------- */

static const struct {
	const char *command;
	bool want;
} asked[] = {
	{ "run m x &", true },       { "run m x &  \t", true }, { "run m\nx &", true },
	{ "run m 'a b' &", true },   { "run m \"&\" &", true }, { "&", true },
	{ "run m x", false },        { "run m x&", false },     { "run m '&'", false },
	{ "run m \"&\"", false },    { "run m \\&", false },    { "run m \\ &", false },
	{ "run m & x", false },      { "run m x # &", false },  { "run m '&' # y &", false },
	{ "run m 'x &'", false },    { "run m x '' &", true },  { "run m & &", true },
	{ "run m & # away", false },
};

START_TEST(finds_a_bare_ampersand)
{
	MER_AUTO(mer_words_done) char **words = NULL;
	size_t n;
	const char *command = asked[_i].command;
	ck_assert_int_eq(mer_split_words(command, &words, &n, NULL, NULL), MER_OK);
	ck_assert_msg(background_asked(command, (const char *const *)words, n) == asked[_i].want,
	              "'%s'", command);
}
END_TEST

/* --- a conversation ----------------------------------------------------------------------- */

static const struct {
	const char *line;
	enum chat_what want;
	const char *text, *note; /* NULL: refused */
} said[] = {
	{ "", CHAT_NOTHING, "", "" },
	{ " \t", CHAT_NOTHING, " \t", "" },
	{ "hello /help", CHAT_INPUT, "hello /help", "" },
	{ " /help", CHAT_INPUT, " /help", "" },
	{ "//help", CHAT_INPUT, "/help", "" },
	{ "//", CHAT_INPUT, "/", "" },
	{ "/help", CHAT_HELP, "/help", "" },
	{ "/help me", CHAT_HELP, "/help", "" },
	{ "/quit", CHAT_QUIT, "/quit", "" },
	{ "/feedback 3", CHAT_RATING, "3", "" },
	{ "/feedback  3  it is  so ", CHAT_RATING, "3", "it is  so " },
	{ "/feedback", CHAT_RATING, "", "" },
	{ "/", CHAT_INPUT, NULL, NULL },
	{ "/bogus", CHAT_INPUT, NULL, NULL },
	{ "/helpme", CHAT_INPUT, NULL, NULL },
	{ "/etc/passwd", CHAT_INPUT, NULL, NULL },
};

START_TEST(reads_a_line)
{
	struct chat_line line;
	struct mer_error err = { .status = MER_OK };
	MER_AUTO(mer_text_done) char *text = strdup(said[_i].line);
	enum mer_status st = chat_line_read(text, &line, &err);
	ck_assert_msg((st == MER_OK) == (said[_i].text != NULL), "'%s'", said[_i].line);
	if (st != MER_OK) {
		ck_assert_int_eq(st, MER_EINPUT);
		ck_assert_str_ne(err.hint, "");
		return;
	}
	ck_assert_int_eq(line.what, said[_i].want);
	ck_assert_str_eq(line.text, said[_i].text);
	ck_assert_str_eq(line.note, said[_i].note);
}
END_TEST

Suite *suite(void)
{
	Suite *all = suite_create("driver_prompt");
	TCase *tc = tcase_create("prompt");
	tcase_add_loop_test(tc, writes_the_line, 0, N_ROWS(lines));
	tcase_add_test(tc, takes_the_longest_text);
	tcase_add_loop_test(tc, finds_a_bare_ampersand, 0, N_ROWS(asked));
	tcase_add_loop_test(tc, reads_a_line, 0, N_ROWS(said));
	suite_add_tcase(all, tc);
	return all;
}
