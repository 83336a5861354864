/*
 * The prompt's module with libedit in place of readline, for who may not pass on what is under the GPL
 * (docs/dependencies.md). A key at a time: el_gets() without its buffer does one command and returns.
 *
 * libedit draws within el_gets() alone, so what is done to the line from outside is a key of ours, which
 * nobody types: ACT.
 */
#include "prompt.h"
#include "prompt_input.h"

#include <histedit.h>
#include <locale.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

enum {
	COLUMNS = 80,     /* where the terminal does not say */
	TO_END = 1 << 24, /* more characters than a line has */
};

#define ACT "\033[9~mer"

/* libedit's callbacks have a context, the commands of mer one prompt. */
static struct {
	const struct prompt_calls *calls;
	void *ctx;
	EditLine *editor;
	History *history;
	FILE *out;
	char *text; /* of the prompt; owned */
	bool started;
	bool brackets;    /* the terminal knows of bracketed paste */
	int first;        /* byte of the read under way; PROMPT_NO_BYTE: it has been taken */
	bool gone;        /* nobody is there any more */
	const char *feed; /* bytes of ACT that come before those of the terminal */
	size_t cut;       /* characters before the cursor that ACT takes away */
	const char *put;  /* what it writes instead, or NULL */
	int move;         /* characters by which it then moves the cursor */
	bool edit, tab;   /* asked for within the read under way */
	bool tab_before;  /* the last key was a TAB, which changed nothing */
	struct prompt_paste paste;
} state;

static char *prompt_text(EditLine *editor)
{
	(void)editor;
	return state.text;
}

static void say(const char *text)
{
	(void)fputs(text, state.out);
	(void)fflush(state.out);
}

/* Whether the terminal tells a paste from typing. */
static void set_bracketed_paste(bool on)
{
	if (state.brackets)
		say(on ? "\033[?2004h" : "\033[?2004l\r");
}

static void stop(void)
{
	prompt_paste_drop(&state.paste);
	if (!state.started)
		return;
	set_bracketed_paste(false);
	(void)el_set(state.editor, EL_UNBUFFERED, 0);
	state.started = false;
}

/* --- bytes -------------------------------------------------------------------------------- */

/* The first byte is there. Others of the same key may not come: then what there is has to do. */
static int next_byte(void)
{
	if (state.feed != NULL && *state.feed != '\0')
		return (unsigned char)*state.feed++;
	const int first = state.first;
	state.first = PROMPT_NO_BYTE;
	if (first != PROMPT_NO_BYTE)
		return first;
	return prompt_read_byte(STDIN_FILENO, PROMPT_STALL_MS);
}

/* libedit's reader of characters. Bytes that are none are passed over. */
static int get_character(EditLine *editor, wchar_t *out)
{
	(void)editor;
	mbstate_t partial = { 0 };
	for (;;) {
		const int byte = next_byte();
		if (byte < 0) {
			state.gone = state.gone || byte == EOF;
			return 0;
		}
		const char piece = (char)byte;
		const size_t n = mbrtowc(out, &piece, 1, &partial);
		if (n <= 1)
			return 1;
		if (n == (size_t)-1)
			partial = (mbstate_t){ 0 };
	}
}

/* --- keys --------------------------------------------------------------------------------- */

static unsigned char on_act(EditLine *editor, int key)
{
	(void)key;
	if (state.cut > 0)
		el_deletestr(editor, (int)state.cut);
	if (state.put != NULL && el_insertstr(editor, state.put) < 0)
		return CC_REFRESH_BEEP;
	(void)el_cursor(editor, state.move);
	return CC_REFRESH;
}

/* Takes cut characters before the cursor away, writes put, and moves. */
static void act(size_t cut, const char *put, int move)
{
	int n;
	state.cut = cut;
	state.put = put;
	state.move = move;
	state.feed = ACT;
	(void)el_gets(state.editor, &n);
	state.feed = NULL;
}

/* Where a paste is not told from typing, its TABs are. */
static unsigned char on_tab(EditLine *editor, int key)
{
	(void)key;
	if (!state.brackets && prompt_has_byte(STDIN_FILENO))
		return el_insertstr(editor, "\t") == 0 ? CC_REFRESH : CC_REFRESH_BEEP;
	state.tab = true;
	return CC_NORM;
}

static unsigned char on_edit_key(EditLine *editor, int key)
{
	(void)editor, (void)key;
	state.edit = true;
	return CC_NORM;
}

static unsigned char on_paste(EditLine *editor, int key)
{
	(void)editor, (void)key;
	state.paste.under_way = true;
	return CC_NORM;
}

/* What ~/.editrc binds stays so. Names are wide, since of others libedit keeps copies for ever. */
static void bind_keys(EditLine *editor)
{
	static const struct {
		const wchar_t *name, *help, *key;
		unsigned char (*call)(EditLine *, int);
	} keys[] = {
		{ L"mer-complete", L"completes the word", L"^I", on_tab },
		{ L"mer-edit", L"edits the line in an editor", L"^X^E", on_edit_key },
		{ L"mer-paste", L"inserts a paste", L"" PROMPT_PASTE_BEGINS, on_paste },
		{ L"mer-act", L"for mer itself", L"" ACT, on_act },
	};
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		(void)el_wset(editor, EL_ADDFN, keys[i].name, keys[i].help, keys[i].call);
		(void)el_wset(editor, EL_BIND, keys[i].key, keys[i].name, NULL);
	}
	/* Its own search waits for each key. This one takes what has been typed so far. */
	(void)el_set(editor, EL_BIND, "^R", "ed-search-prev-history", NULL);
	(void)el_source(editor, NULL);
	(void)el_set(editor, EL_BIND, ACT, "mer-act", NULL);
	(void)el_set(editor, EL_BIND, "-a", ACT, "mer-act", NULL); /* of vi's commands */
}

/* --- completion --------------------------------------------------------------------------- */

static int columns(void)
{
	struct winsize size;
	return ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : COLUMNS;
}

/* How far the cursor is from the end of the line. */
static int characters_behind(void)
{
	const LineInfo *line = el_line(state.editor);
	char *text = strndup(line->cursor, (size_t)(line->lastchar - line->cursor));
	const size_t n = text != NULL ? mbstowcs(NULL, text, 0) : 0;
	free(text);
	return n < TO_END ? (int)n : 0;
}

/* Below the line, which is then drawn anew below the list. */
static void list(const struct prompt_words *words)
{
	const size_t shown = words->n < PROMPT_SHOWN_MAX ? words->n : PROMPT_SHOWN_MAX;
	size_t longest = 0;
	for (size_t i = 0; i < shown; i++) {
		const size_t len = strlen(words->shown[i]);
		longest = len > longest ? len : longest;
	}
	const size_t fit = (size_t)columns() / (longest + 2), across = fit == 0 ? 1 : fit;
	const size_t down = (shown + across - 1) / across;
	const int behind = characters_behind();
	act(0, NULL, TO_END);
	say("\n");
	for (size_t row = 0; row < down; row++) {
		for (size_t i = row; i < shown; i += down)
			(void)fprintf(state.out, "%s%*s", words->shown[i],
			              i + down < shown ? (int)(longest + 2 - strlen(words->shown[i])) : 0, "");
		say("\n");
	}
	if (words->more || shown < words->n)
		say("... and more\n");
	if (behind > 0)
		(void)el_cursor(state.editor, -behind);
	(void)el_set(state.editor, EL_REFRESH);
}

/* Writes what all candidates begin with in place of the word. Whether the line is another one now; a
 * blank that is there already is not written again. */
static bool complete_word(const struct prompt_words *words, const char *line, bool at_blank)
{
	const char *word = line + words->from;
	const size_t cut = mbstowcs(NULL, word, 0);
	const bool blank = words->n == 1 && words->closed;
	if (cut == (size_t)-1 || (strcmp(word, words->common) == 0 && !blank))
		return false;
	act(cut, words->common, 0);
	if (blank)
		act(0, at_blank ? NULL : " ", at_blank ? 1 : 0);
	return true;
}

static void complete(void)
{
	const LineInfo *info = el_line(state.editor);
	const size_t at = (size_t)(info->cursor - info->buffer);
	const bool at_blank = info->cursor < info->lastchar && *info->cursor == ' ';
	char *line = strndup(info->buffer, at);
	struct prompt_words words = { .n = 0 };
	if (line != NULL)
		state.calls->complete(state.ctx, line, at, &words);
	const bool changed = words.n > 0 && complete_word(&words, line, at_blank);
	if (words.n > 1 && state.tab_before)
		list(&words);
	else if (words.n != 1)
		say("\a");
	state.tab_before = words.n > 1 && !changed;
	prompt_words_release(&words);
	free(line);
}

/* --- the table ---------------------------------------------------------------------------- */

static void prompt_open(FILE *out, const struct prompt_calls *calls, void *ctx)
{
	HistEvent event;
	const char *terminal = getenv("TERM");
	(void)setlocale(LC_CTYPE, ""); /* so that the cursor moves by characters */
	state.calls = calls;
	state.ctx = ctx;
	state.out = out;
	state.brackets = terminal != NULL && strcmp(terminal, "dumb") != 0;
	state.first = PROMPT_NO_BYTE;
	state.editor = el_init("mer", stdin, out, out);
	state.history = history_init();
	if (state.editor == NULL || state.history == NULL)
		return;
	(void)history(state.history, &event, H_SETSIZE, PROMPT_HISTORY_LINES);
	(void)el_set(state.editor, EL_SIGNAL, 0);
	(void)el_set(state.editor, EL_EDITOR, "emacs");
	(void)el_set(state.editor, EL_PROMPT, prompt_text);
	(void)el_set(state.editor, EL_HIST, history, state.history);
	(void)el_set(state.editor, EL_GETCFN, get_character);
	bind_keys(state.editor);
}

static void prompt_start(const char *text)
{
	free(state.text);
	state.text = strdup(text);
	if (state.editor == NULL || state.text == NULL) { /* out of memory: as at the end of input */
		state.calls->line(state.ctx, NULL);
		return;
	}
	set_bracketed_paste(true);
	(void)el_set(state.editor, EL_UNBUFFERED, 1);
	prompt_never_wait(STDIN_FILENO);
	state.started = true;
	state.tab_before = false;
}

static void prompt_put(const char *text)
{
	if (state.started)
		act(0, text, 0);
}

static void read_paste(void)
{
	bool full;
	const char *text = prompt_paste_read(&state.paste, STDIN_FILENO, &full);
	if (full)
		say("\a");
	if (text == NULL)
		return;
	act(0, text, 0);
	prompt_paste_drop(&state.paste);
}

/* The line, as it would be behind Enter; the callee's. */
static char *whole_line(void)
{
	const LineInfo *info = el_line(state.editor);
	return strndup(info->buffer, (size_t)(info->lastchar - info->buffer));
}

static void leave_to_editor(void)
{
	char *line = whole_line();
	act(0, NULL, TO_END);
	say("\n");
	stop();
	state.calls->edit(state.ctx, line);
}

/* One key. */
static void prompt_read(void)
{
	if (!state.started)
		return;
	if (state.paste.under_way) {
		read_paste();
		return;
	}
	state.first = prompt_read_byte(STDIN_FILENO, 0);
	if (state.first == PROMPT_NO_BYTE)
		return;
	int n = 0;
	state.edit = state.tab = false;
	const char *typed = el_gets(state.editor, &n);
	const bool entered = typed != NULL && n > 0 && typed[n - 1] == '\n';
	const bool ended = state.gone || (typed != NULL && n == 1 && typed[0] == '\004');
	if (entered || ended) {
		char *line = entered ? strndup(typed, (size_t)n - 1) : NULL;
		stop();
		state.calls->line(state.ctx, line);
	} else if (state.edit) {
		leave_to_editor();
	} else if (state.tab) {
		complete();
	} else {
		state.tab_before = false;
	}
}

static void prompt_clear(void)
{
	if (!state.started)
		return;
	act(0, NULL, TO_END);
	say("^C\n");
	stop();
}

/* The terminal has moved what it shows of a line that takes several of its own: that is drawn anew below. */
static void prompt_resize(void)
{
	if (state.editor != NULL)
		el_resize(state.editor);
	if (!state.started)
		return;
	const LineInfo *line = el_line(state.editor);
	const size_t bytes = strlen(state.text) + (size_t)(line->lastchar - line->buffer);
	say(bytes < (size_t)columns() ? "\r" : "\r\n");
	(void)el_set(state.editor, EL_REFRESH);
}

static void prompt_suspend(void)
{
	if (!state.started)
		return;
	say("^Z");
	set_bracketed_paste(false);
	(void)el_set(state.editor, EL_PREP_TERM, 0);
}

static void prompt_resume(void)
{
	if (!state.started)
		return;
	(void)el_set(state.editor, EL_PREP_TERM, 1);
	prompt_never_wait(STDIN_FILENO);
	set_bracketed_paste(true);
	el_resize(state.editor);
	(void)el_set(state.editor, EL_REFRESH);
}

static void prompt_remember(const char *line)
{
	HistEvent event;
	if (state.history == NULL)
		return;
	for (int more = history(state.history, &event, H_FIRST); more == 0;
	     more = history(state.history, &event, H_NEXT))
		if (strcmp(event.str, line) == 0) {
			if (history(state.history, &event, H_DEL, event.num) == 0)
				free((void *)(uintptr_t)event.str); /* a copy, the caller's */
			break;
		}
	(void)history(state.history, &event, H_ENTER, line);
}

static void prompt_close(void)
{
	stop();
	if (state.editor != NULL)
		el_end(state.editor);
	if (state.history != NULL)
		history_end(state.history);
	free(state.text);
	state.editor = NULL;
	state.history = NULL;
	state.text = NULL;
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
