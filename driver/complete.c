/* What a word may become. */
#include "complete.h"

#include "caret.h"
#include "settings.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

/* A word under completion and the candidates for it, as they are without quotes. */
struct gather {
	const struct completing *with;
	const char *word;    /* what is there of it */
	const char *model;   /* of the line, or NULL */
	const char *setting; /* the same */
	char **names;        /* owned */
	size_t *shown;       /* from where on each is shown */
	size_t n, cap;
	size_t common; /* bytes that all have, those too that are not in the list; at most */
	bool more;     /* there are some */
	bool failed;   /* out of memory */
};

/* --- candidates --------------------------------------------------------------------------- */

static bool grow(struct gather *gather)
{
	size_t cap = gather->cap == 0 ? 16 : 2 * gather->cap;
	char **names = realloc(gather->names, cap * sizeof *names);
	if (names != NULL)
		gather->names = names;
	size_t *shown = names != NULL ? realloc(gather->shown, cap * sizeof *shown) : NULL;
	if (shown == NULL)
		return false;
	gather->shown = shown;
	gather->cap = cap;
	return true;
}

/* Adds head and name as one, of which people see name; once. */
static void add(struct gather *gather, size_t head, const char *name, const char *suffix)
{
	char *text = mer_text_new("%.*s%s%s", (int)head, gather->word, name, suffix);
	if (text == NULL || (gather->n == gather->cap && !grow(gather))) {
		gather->failed = true;
		free(text);
		return;
	}
	for (size_t i = 0; i < gather->n; i++) {
		if (strcmp(gather->names[i], text) == 0) {
			free(text);
			return;
		}
	}
	const char *shown = strrchr(name, '/');
	bool inner = shown != NULL && shown[1] != '\0';
	gather->shown[gather->n] = head + (inner ? (size_t)(shown + 1 - name) : 0);
	gather->names[gather->n++] = text;
}

/* The same for one of many that are known: only if the word begins so. */
static void offer(struct gather *gather, size_t head, const char *name, const char *suffix)
{
	const char *tail = gather->word + head;
	if (strncmp(name, tail, strlen(tail)) == 0)
		add(gather, head, name, suffix);
}

/* With how many bytes do all begin? */
static size_t common_of(const struct gather *gather)
{
	size_t common = strlen(gather->names[0]);
	for (size_t i = 1; i < gather->n; i++) {
		size_t n = 0;
		while (n < common && gather->names[i][n] == gather->names[0][n])
			n++;
		common = n;
	}
	return common < gather->common ? common : gather->common;
}

/* What there is by that name; where: of files the folder, with its / or empty. */
static void look_up(struct gather *gather, size_t head, enum arg_value what, const char *where)
{
	struct lookup_names names;
	const bool files = what == VALUE_FILE || what == VALUE_FOLDER;
	const size_t folder = files ? strlen(where) : 0;
	const struct lookup_question question = {
		.what = what,
		.where = files && folder == 0 ? "." : where,
		.begin = gather->word + head + folder,
	};
	if (gather->with->lookup == NULL || !lookup_ask(gather->with->lookup, &question, &names))
		return;
	for (size_t i = 0; i < names.n; i++)
		add(gather, head + folder, names.names[i], "");
	if (names.more && head + folder + names.common < gather->common)
		gather->common = head + folder + names.common;
	gather->more |= names.more;
	lookup_release(&names);
}

static void look_up_files(struct gather *gather, size_t head, enum arg_value what)
{
	const char *path = gather->word + head, *slash = strrchr(path, '/');
	const size_t len = slash != NULL ? (size_t)(slash + 1 - path) : 0;
	MER_AUTO(mer_text_done) char *folder = strndup(path, len);
	if (folder != NULL)
		look_up(gather, head, what, folder);
}

/* --- commands ----------------------------------------------------------------------------- */

/* What follows the words in a name; NULL: it does not begin with them. */
static const char *name_behind(const char *name, const char *const words[], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const size_t len = strlen(words[i]);
		if (len == 0 || strncmp(name, words[i], len) != 0 || name[len] != ' ')
			return NULL;
		name += len + 1;
	}
	return name;
}

static void offer_name(struct gather *gather, const char *name, const char *const words[], size_t n)
{
	const char *rest = name_behind(name, words, n);
	if (rest == NULL)
		return;
	char word[64];
	const size_t len = strcspn(rest, " ");
	(void)snprintf(word, sizeof word, "%.*s", (int)(len < sizeof word ? len : 0), rest);
	offer(gather, 0, word, "");
}

/* The next words of commands that begin with these; older names only where nothing else is meant. */
static void offer_commands(struct gather *gather, const char *const words[], size_t n)
{
	for (int older = 0; older < 2 && (older == 0 || (gather->n == 0 && gather->word[0] != '\0'));
	     older++) {
		for (size_t i = 0; i < n_commands; i++) {
			const struct cmd *cmd = commands[i];
			if ((cmd->needs & CMD_NEEDS_CHANGES) != 0 && !gather->with->changes)
				continue;
			if (older == 0)
				offer_name(gather, cmd->name, words, n);
			for (const char *const *name = cmd->older; older != 0 && name != NULL && *name != NULL;
			     name++)
				offer_name(gather, *name, words, n);
		}
	}
}

/* --- values ------------------------------------------------------------------------------- */

static void offer_value(struct gather *gather, const struct cmd_arg *arg, size_t head);

/* KEY=, and behind it what that option takes. */
static void offer_key(struct gather *gather, const struct cmd_arg *arg, size_t head)
{
	static const struct cmd_arg on_off = { .type = ARG_BOOL };
	const char *tail = gather->word + head;
	const size_t len = strcspn(tail, "=");
	for (size_t i = 0; i < arg->n_keys; i++) {
		const struct cmd_arg *key = &arg->keys[i];
		if (!key->option || key->name == NULL)
			continue;
		if (tail[len] == '\0')
			offer(gather, head, key->name, "=");
		else if (strlen(key->name) == len && memcmp(key->name, tail, len) == 0)
			offer_value(gather, key->type == ARG_BOOL ? &on_off : key, head + len + 1);
	}
}

/* The names that `set` knows. */
static void offer_settings(struct gather *gather, size_t head)
{
	for (size_t i = 0; i < SET_COUNT; i++) {
		if (setting_rows[i].set != NULL)
			offer(gather, head, setting_rows[i].set, "");
	}
}

/* What the setting on the line takes. */
static void offer_set(struct gather *gather, size_t head)
{
	enum setting which;
	if (gather->setting != NULL && settings_find(gather->setting, &which, NULL) == MER_OK)
		offer_value(gather, &setting_rows[which], head);
}

/* Of an argument the part behind the first head bytes of the word. */
static void offer_value(struct gather *gather, const struct cmd_arg *arg, size_t head)
{
	static const char *const switches[] = { "on", "off", NULL };
	const char *tail = gather->word + head, *at = strstr(tail, "=@");
	const char *const *choices = arg->type == ARG_BOOL ? switches : arg->choices;
	for (; choices != NULL && *choices != NULL; choices++)
		offer(gather, head, *choices, "");
	if (arg->type == ARG_ARGV)
		look_up_files(gather, head, VALUE_FILE);
	switch (arg->is) {
	case VALUE_MODEL:
	case VALUE_SERVER:
	case VALUE_RUN: look_up(gather, head, arg->is, ""); break;
	case VALUE_DEPLOYMENT:
	case VALUE_WEIGHTS:
		if (gather->model != NULL)
			look_up(gather, head, arg->is, gather->model);
		break;
	case VALUE_RATED:
		look_up(gather, head, VALUE_MODEL, "");
		look_up(gather, head, VALUE_RUN, "");
		break;
	case VALUE_FILE:
	case VALUE_FOLDER: look_up_files(gather, head, arg->is); break;
	case VALUE_AT_FILE:
		if (tail[0] == '@' && tail[1] != '@')
			look_up_files(gather, head + 1, VALUE_FILE);
		break;
	case VALUE_TENSOR:
		if (at != NULL)
			look_up_files(gather, head + (size_t)(at + 2 - tail), VALUE_FILE);
		break;
	case VALUE_KEY: offer_key(gather, arg, head); break;
	case VALUE_SETTING: offer_settings(gather, head); break;
	case VALUE_SET: offer_set(gather, head); break;
	case VALUE_COMMAND:
	case VALUE_SESSION:
	case VALUE_FREE: break;
	}
}

/* --- arguments ---------------------------------------------------------------------------- */

static bool is_given(const struct cmd_call *call, const struct cmd_arg *arg)
{
	for (size_t i = 0; i < call->n_tokens; i++) {
		if (call->tokens[i].arg == arg)
			return true;
	}
	return false;
}

/* --NAME, or what stands behind --NAME=. */
static void offer_options(struct gather *gather, const struct cmd *cmd, const struct cmd_next *next)
{
	const char *word = gather->word;
	const size_t len = strcspn(word, "=");
	for (const struct cmd_arg *arg = cmd_option_next(cmd, NULL); arg != NULL;
	     arg = cmd_option_next(cmd, arg)) {
		char name[80];
		(void)snprintf(name, sizeof name, "--%s", arg->name);
		if (word[len] == '\0' && (arg->repeat || !is_given(&next->call, arg)))
			offer(gather, 0, name, "");
		else if (word[len] == '=' && arg->type != ARG_BOOL && strlen(name) == len &&
		         memcmp(name, word, len) == 0)
			offer_value(gather, arg, len + 1);
	}
}

/* Where nothing else is known: which options of its own there are, without writing any. */
static void show_options(struct gather *gather, const struct cmd *cmd, const struct cmd_next *next)
{
	for (size_t i = 0; i < cmd->n_args; i++) {
		const struct cmd_arg *arg = &cmd->args[i];
		char name[80];
		(void)snprintf(name, sizeof name, "--%s", arg->name != NULL ? arg->name : "");
		if (arg->option && arg->name != NULL && !arg->hidden && !is_given(&next->call, arg))
			offer(gather, 0, name, "");
	}
	gather->common = 0;
}

/* What may stand here, and what may where it is left out. */
static void offer_positional(struct gather *gather, const struct cmd *cmd,
                             const struct cmd_arg *arg)
{
	for (; arg != NULL && arg < cmd->args + cmd->n_args; arg++) {
		if (arg->option || arg->type == ARG_ARGV)
			continue;
		offer_value(gather, arg, 0);
		if (arg->required || arg->repeat)
			return;
	}
}

/* The first of its kind on the line, or NULL. */
static const char *word_of(const struct cmd_call *call, enum arg_value is)
{
	for (size_t i = 0; i < call->n_tokens; i++) {
		if (call->tokens[i].arg->is == is)
			return call->tokens[i].text;
	}
	return NULL;
}

static void offer_arguments(struct gather *gather, const struct cmd *cmd, const char *const words[],
                            size_t n)
{
	struct cmd_next next;
	if ((cmd->needs & CMD_NEEDS_CHANGES) != 0 && !gather->with->changes)
		return;
	if (cmd_expect(cmd, words, n, &next, NULL) != MER_OK)
		return;
	gather->model = word_of(&next.call, VALUE_MODEL);
	gather->setting = word_of(&next.call, VALUE_SETTING);
	if (next.value != NULL)
		offer_value(gather, next.value, 0);
	else if (gather->word[0] == '-' && !next.behind)
		offer_options(gather, cmd, &next);
	else if (next.positional != NULL && next.positional->is == VALUE_COMMAND)
		offer_commands(gather, words, n);
	else if (next.behind && next.positional != NULL)
		offer_value(gather, next.positional, 0);
	else
		offer_positional(gather, cmd, next.positional);
	if (gather->n == 0 && gather->word[0] == '\0' && next.value == NULL && !next.behind)
		show_options(gather, cmd, &next);
	cmd_call_release(&next.call);
}

static void offer_all(struct gather *gather, const char *const words[], size_t n)
{
	const struct cmd *cmd;
	size_t used;
	offer_commands(gather, words, n);
	if (n > 0 && cmd_find(words, n, gather->with->changes, &cmd, &used, NULL) == MER_OK)
		offer_arguments(gather, cmd, words + used, n - used);
}

/* --- as it is written --------------------------------------------------------------------- */

/* So many bytes that no character of UTF-8 is cut. */
static size_t whole_characters(const char *text, size_t len)
{
	while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
		len--;
	return len;
}

static void quote(struct mer_buf *out, const char *text, size_t len, char style)
{
	if (style != '\0')
		mer_buf_byte(out, style);
	for (size_t i = 0; i < len; i++) {
		const char byte = text[i];
		if (style == '\'' && byte == '\'')
			mer_buf_text(out, "'\\'");
		else if (style == '"' ? strchr("$`\"\\", byte) != NULL
		                      : style == '\0' &&
		                            (strchr(" \t'\"\\", byte) != NULL || (byte == '#' && i == 0)))
			mer_buf_byte(out, '\\');
		mer_buf_byte(out, byte);
	}
}

/* Whether something may still follow a whole name in the same word. */
static bool goes_on(const char *name)
{
	const size_t len = strlen(name);
	return len > 0 && (name[len - 1] == '/' || name[len - 1] == '=');
}

static char *written(const char *name, size_t len, char style, bool whole)
{
	struct mer_buf text;
	char *out = NULL;
	mer_buf_init(&text, SIZE_MAX);
	mer_buf_text(&text, "");
	quote(&text, name, len, style);
	if (whole && style != '\0' && !goes_on(name))
		mer_buf_byte(&text, style);
	return mer_buf_take(&text, &out, NULL, NULL) == MER_OK ? out : NULL;
}

/* For eyes: no file name drives the terminal. */
static char *made_visible(const char *name)
{
	struct mer_buf text;
	struct caret caret = { 0 };
	char *out = NULL;
	mer_buf_init(&text, SIZE_MAX);
	mer_buf_text(&text, "");
	caret_add(&caret, name, strlen(name), &text);
	return mer_buf_take(&text, &out, NULL, NULL) == MER_OK ? out : NULL;
}

static bool write_all(const struct gather *gather, char style, struct prompt_words *out)
{
	out->inserts = calloc(gather->n + 1, sizeof *out->inserts);
	out->shown = calloc(gather->n + 1, sizeof *out->shown);
	if (out->inserts == NULL || out->shown == NULL)
		return false;
	for (size_t i = 0; i < gather->n; i++) {
		const char *name = gather->names[i];
		out->n++;
		out->inserts[i] = written(name, strlen(name), style, true);
		out->shown[i] = made_visible(name + gather->shown[i]);
		if (out->inserts[i] == NULL || out->shown[i] == NULL)
			return false;
	}
	const bool single = gather->n == 1 && gather->common > 0;
	const size_t common = whole_characters(gather->names[0], common_of(gather));
	out->common =
		single ? strdup(out->inserts[0]) : written(gather->names[0], common, style, false);
	out->closed = single && !goes_on(gather->names[0]);
	out->more = gather->more;
	return out->common != NULL;
}

static void gather_done(struct gather *gather)
{
	for (size_t i = 0; i < gather->n; i++)
		free(gather->names[i]);
	free(gather->names);
	free(gather->shown);
}

void complete(const struct completing *with, const char *text, size_t line,
              struct prompt_words *out)
{
	MER_AUTO(mer_words_done) char **words = NULL;
	struct mer_last_word last;
	size_t n;
	*out = (struct prompt_words){ .n = 0 };
	if (mer_split_last(text, &words, &n, &last, NULL) != MER_OK)
		return;
	MER_AUTO(mer_text_done) char *word = last.text;
	if (word == NULL || last.from < line || last.open == '\\')
		return;
	MER_AUTO(gather_done) struct gather gather = { .with = with, .word = word, .common = SIZE_MAX };
	offer_all(&gather, (const char *const *)words, n);
	out->from = last.from - line;
	if (gather.failed || (gather.n > 0 && !write_all(&gather, last.open, out)))
		prompt_words_release(out);
}
