/*
 * The prompt's module: readline in callback mode. It catches no signals and leaves the environment
 * alone; who loaded it does the one, and models would inherit the other (LINES, COLUMNS).
 *
 * Nothing here waits for a key but the loop: readline's own questions ("Display all 1000
 * possibilities?", its pager) would, so lists are printed at once and cut.
 */
#include "prompt.h"
#include "prompt_input.h"

#include <locale.h>
#include <readline/history.h>
#include <readline/readline.h>
#include <signal.h>
#include <string.h>

/* Readline's callback takes no context. */
static struct {
	const struct prompt_calls *calls;
	void *ctx;
	bool started;
	bool edit;                 /* asked for within the read under way */
	int first;                 /* byte of the read under way; PROMPT_NO_BYTE: it has been taken */
	struct prompt_words words; /* that the list under way shows */
	struct prompt_paste paste;
} state;

static void stop(void)
{
	prompt_paste_drop(&state.paste);
	if (state.started)
		rl_callback_handler_remove();
	state.started = false;
}

static void on_line(char *line)
{
	rl_eof_found = 0; /* it would end the line here, and each that follows, a second time */
	stop();
	state.calls->line(state.ctx, line);
}

/* --- completion --------------------------------------------------------------------------- */

/* All of the line is one word to readline: what words are is for others to say. */
static char *break_nowhere(void)
{
	static char none[] = "";
	return none;
}

static char *joined(const char *line, size_t from, const char *word)
{
	const size_t len = strlen(word);
	char *text = malloc(from + len + 1);
	if (text == NULL)
		return NULL;
	memcpy(text, line, from);
	memcpy(text + from, word, len + 1);
	return text;
}

/* The vector that readline takes and frees: what all have in common, then each. */
static char **matches_of(const struct prompt_words *words, const char *line)
{
	const size_t n = words->n == 1 ? 0 : words->n;
	char **matches = calloc(n + 2, sizeof *matches);
	if (matches == NULL)
		return NULL;
	matches[0] = joined(line, words->from, words->common);
	bool failed = matches[0] == NULL;
	for (size_t i = 0; i < n && !failed; i++) {
		matches[i + 1] = joined(line, words->from, words->inserts[i]);
		failed = matches[i + 1] == NULL;
	}
	if (!failed)
		return matches;
	for (size_t i = 0; matches[i] != NULL; i++)
		free(matches[i]);
	free(matches);
	return NULL;
}

static char **on_complete(const char *text, int start, int end)
{
	(void)start;
	rl_attempted_completion_over = 1; /* no file names of readline's own */
	prompt_words_release(&state.words);
	state.calls->complete(state.ctx, rl_line_buffer, (size_t)end, &state.words);
	if (state.words.n == 0)
		return NULL;
	rl_completion_append_character = ' ';
	rl_completion_suppress_append = !state.words.closed;
	return matches_of(&state.words, text);
}

static void on_list(char **matches, int n, int longest)
{
	(void)matches, (void)n, (void)longest;
	const struct prompt_words *words = &state.words;
	const size_t shown = words->n < PROMPT_SHOWN_MAX ? words->n : PROMPT_SHOWN_MAX;
	char **list = calloc(shown + 2, sizeof *list); /* the first is passed over */
	int most = 0;
	if (list == NULL)
		return;
	for (size_t i = 0; i < shown; i++) {
		list[i + 1] = words->shown[i];
		const int len = (int)strlen(words->shown[i]);
		most = len > most ? len : most;
	}
	list[0] = list[1];
	rl_display_match_list(list, (int)shown, most);
	if (words->more || shown < words->n)
		(void)fputs("... and more\n", rl_outstream);
	(void)rl_forced_update_display();
	free(list);
}

/* Where a paste is not told from typing, its TABs are. */
static int on_tab(int count, int key)
{
	const char *bracketed = rl_variable_value("enable-bracketed-paste");
	const bool told = bracketed != NULL && strcmp(bracketed, "on") == 0;
	if (!told && prompt_has_byte(fileno(rl_instream)))
		return rl_insert(count, key);
	if (rl_last_func == on_tab) /* the second one lists */
		rl_last_func = rl_complete;
	return rl_complete(count, key);
}

static void open_completion(void)
{
	rl_attempted_completion_function = on_complete;
	rl_completion_word_break_hook = break_nowhere;
	rl_completion_display_matches_hook = on_list;
	rl_sort_completion_matches = 0;
	rl_ignore_completion_duplicates = 0;
}

/* --- keys --------------------------------------------------------------------------------- */

static void prepare_terminal(int meta)
{
	rl_prep_terminal(meta);
	prompt_never_wait(fileno(rl_instream));
}

/* The first byte is there. Others of the same key may not come: then what there is has to do. */
static int get_byte(FILE *in)
{
	const int first = state.first;
	state.first = PROMPT_NO_BYTE;
	if (first != PROMPT_NO_BYTE)
		return first;
	const int byte = prompt_read_byte(fileno(in), PROMPT_STALL_MS);
	return byte == PROMPT_NO_BYTE ? EOF : byte;
}

/* --- pastes ------------------------------------------------------------------------------- */

static int on_paste(int count, int key)
{
	(void)count, (void)key;
	state.paste.under_way = true;
	return 0;
}

/* Unlike readline's own this does not wait for all of it. */
static void read_paste(void)
{
	bool full;
	const char *text = prompt_paste_read(&state.paste, fileno(rl_instream), &full);
	if (full)
		(void)rl_ding();
	if (text == NULL)
		return;
	(void)rl_insert_text(text);
	prompt_paste_drop(&state.paste);
	rl_redisplay();
}

static int on_edit_key(int count, int key)
{
	(void)count, (void)key;
	state.edit = true;
	return 0;
}

/* After ~/.inputrc has been read: what it binds stays so. */
static void bind_keys(void)
{
	if (rl_function_of_keyseq("\t", emacs_standard_keymap, NULL) == rl_complete)
		(void)rl_bind_keyseq_in_map("\t", on_tab, emacs_standard_keymap);
	if (rl_function_of_keyseq("\t", vi_insertion_keymap, NULL) == rl_complete)
		(void)rl_bind_keyseq_in_map("\t", on_tab, vi_insertion_keymap);
	(void)rl_bind_keyseq_if_unbound_in_map("\030\005", on_edit_key, emacs_standard_keymap);
	(void)rl_bind_keyseq_if_unbound_in_map("v", on_edit_key, vi_movement_keymap);
	if (rl_function_of_keyseq(PROMPT_PASTE_BEGINS, emacs_standard_keymap, NULL) ==
	    rl_bracketed_paste_begin)
		(void)rl_bind_keyseq_in_map(PROMPT_PASTE_BEGINS, on_paste, emacs_standard_keymap);
	if (rl_function_of_keyseq(PROMPT_PASTE_BEGINS, vi_insertion_keymap, NULL) ==
	    rl_bracketed_paste_begin)
		(void)rl_bind_keyseq_in_map(PROMPT_PASTE_BEGINS, on_paste, vi_insertion_keymap);
	(void)rl_variable_bind("page-completions", "off");
	(void)rl_variable_bind("completion-query-items", "0");
}

/* --- the table ---------------------------------------------------------------------------- */

static void prompt_open(FILE *out, const struct prompt_calls *calls, void *ctx)
{
	(void)setlocale(LC_CTYPE, ""); /* so that the cursor moves by characters */
	state.calls = calls;
	state.ctx = ctx;
	rl_readline_name = "mer";
	rl_outstream = out;
	rl_catch_signals = 0;
	rl_catch_sigwinch = 0;
	rl_change_environment = 0;
	rl_getc_function = get_byte;
	rl_prep_term_function = prepare_terminal;
	open_completion();
	(void)rl_add_defun("edit-and-execute-command", on_edit_key, -1); /* as bash calls it */
	(void)rl_initialize();
	bind_keys();
	using_history();
	stifle_history(PROMPT_HISTORY_LINES);
}

static void prompt_start(const char *text)
{
	rl_callback_handler_install(text, on_line);
	state.started = true;
}

static void prompt_put(const char *text)
{
	if (!state.started)
		return;
	(void)rl_insert_text(text);
	rl_redisplay();
}

/* Puts the cursor behind all of the line, which may take several of the screen's. */
static void go_to_end(void)
{
	rl_point = rl_end;
	rl_redisplay();
}

/* Takes the line away from readline, as it would be behind Enter. */
static void leave_to_editor(void)
{
	char *line = strdup(rl_line_buffer);
	state.edit = false;
	go_to_end();
	(void)rl_crlf();
	stop();
	state.calls->edit(state.ctx, line);
}

static void prompt_read(void)
{
	if (!state.started)
		return;
	if (state.paste.under_way) {
		read_paste();
		return;
	}
	state.first = prompt_read_byte(fileno(rl_instream), 0);
	if (state.first == PROMPT_NO_BYTE)
		return;
	rl_callback_read_char();
	if (state.edit && state.started)
		leave_to_editor();
}

static void prompt_clear(void)
{
	if (!state.started)
		return;
	rl_free_line_state();
	rl_callback_sigcleanup();
	go_to_end();
	rl_replace_line("", 0);
	rl_echo_signal_char(SIGINT);
	(void)rl_crlf();
	stop();
}

static void prompt_resize(void)
{
	if (state.started)
		rl_resize_terminal();
	else
		rl_reset_screen_size();
}

static void prompt_suspend(void)
{
	if (!state.started)
		return;
	rl_echo_signal_char(SIGTSTP);
	(*rl_deprep_term_function)();
}

static void prompt_resume(void)
{
	if (!state.started)
		return;
	(*rl_deprep_term_function)();
	(*rl_prep_term_function)(1);
	rl_reset_screen_size();
	(void)rl_forced_update_display();
}

/* The same line from before goes. */
static void forget(const char *line)
{
	for (int i = history_length; i-- > 0;) {
		const HIST_ENTRY *entry = history_get(history_base + i);
		if (entry == NULL || strcmp(entry->line, line) != 0)
			continue;
		HIST_ENTRY *gone = remove_history(i);
		if (gone != NULL)
			free(free_history_entry(gone));
		return;
	}
}

static void prompt_remember(const char *line)
{
	forget(line);
	add_history(line);
}

static void prompt_close(void)
{
	stop();
	clear_history();
	prompt_words_release(&state.words);
}

MER_API extern const struct prompt_ops mer_prompt;
const struct prompt_ops mer_prompt = {
	.version = MER_VERSION,
	.open = prompt_open,
	.start = prompt_start,
	.put = prompt_put,
	.read = prompt_read,
	.clear = prompt_clear,
	.resize = prompt_resize,
	.suspend = prompt_suspend,
	.resume = prompt_resume,
	.remember = prompt_remember,
	.close = prompt_close,
};
