/* Placeholders inside the words of a command: {name} and its value. */
#include "far.h"

#include <mer/meal.h>
#include <string.h>

#define WORD_MAX ((size_t)1 << 20) /* the kernel takes no argument of more than 128 KiB */

/* Whether text begins with {name}; its length then, else 0. */
static size_t placeholder(const char *text, const char *name)
{
	size_t len = strlen(name);
	bool is = text[0] == '{' && strncmp(text + 1, name, len) == 0 && text[1 + len] == '}';
	return is ? len + 2 : 0;
}

/* Whether a shell takes it as it is, wherever it stands. */
static bool is_plain(const char *value)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+:,./-";
	return value[strspn(value, plain)] == '\0';
}

static void nest(struct mer_shell *shell)
{
	if (shell->depth + 1 < MER_SHELL_DEPTH)
		shell->quotes[++shell->depth] = '\0';
}

/* Follows the quotes of a line. Where it errs, a value is split or has quotes around it, and is no code either. */
static void follow(struct mer_shell *shell, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = text[i], *quote = &shell->quotes[shell->depth];
		if (*quote == '\'') {
			*quote = c == '\'' ? '\0' : *quote;
		} else if (c == '\\') {
			i++;
		} else if (c == '$' && i + 1 < n && text[i + 1] == '(') {
			nest(shell);
			i++;
		} else if (*quote == '"') {
			*quote = c == '"' ? '\0' : *quote;
		} else if (c == '\'' || c == '"') {
			*quote = c;
		} else if (c == '(') {
			nest(shell);
		} else if (c == ')' && shell->depth > 0) {
			shell->depth--;
		}
	}
}

static void add_value(struct mer_buf *buf, const struct mer_pair *pair, struct mer_shell *shell)
{
	if (shell == NULL || is_plain(pair->value)) {
		mer_buf_text(buf, pair->value);
		return;
	}
	mer_buf_printf(&shell->front, "mer_%s=", pair->name);
	far_quote(&shell->front, pair->value);
	mer_buf_byte(&shell->front, '\n');
	char quote = shell->quotes[shell->depth];
	mer_buf_text(buf, quote == '\'' ? "'\"" : quote == '"' ? "" : "\"");
	mer_buf_printf(buf, "${mer_%s}", pair->name);
	mer_buf_text(buf, quote == '\'' ? "\"'" : quote == '"' ? "" : "\"");
}

enum mer_status mer_expand_line(const char *word, const struct mer_pair pairs[], size_t n_pairs,
                                struct mer_shell *shell, char **out, struct mer_error *err)
{
	struct mer_buf buf;
	mer_buf_init(&buf, WORD_MAX);
	for (const char *at = word; *at != '\0';) {
		size_t plain = strcspn(at, "{"), len = 0, i = 0;
		mer_buf_add(&buf, at, plain);
		if (shell != NULL)
			follow(shell, at, plain);
		at += plain;
		while (i < n_pairs && (len = placeholder(at, pairs[i].name)) == 0)
			i++;
		if (i < n_pairs)
			add_value(&buf, &pairs[i], shell);
		else if (*at != '\0')
			mer_buf_byte(&buf, at[len++]);
		at += len;
	}
	enum mer_status st = mer_buf_take(&buf, out, NULL, err);
	return st == MER_OK ? st : mer_wrap(err, st, "cannot expand '%.100s'", word);
}

enum mer_status mer_expand(const char *word, const struct mer_pair pairs[], size_t n_pairs,
                           char **out, struct mer_error *err)
{
	return mer_expand_line(word, pairs, n_pairs, NULL, out, err);
}

bool mer_expand_uses(const char *word, const char *name)
{
	while ((word = strchr(word, '{')) != NULL) {
		if (placeholder(word, name) > 0)
			return true;
		word++;
	}
	return false;
}
