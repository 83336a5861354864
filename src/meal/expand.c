/* Placeholders inside the words of a command: {name} and its value. */
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

enum mer_status mer_expand(const char *word, const struct mer_pair pairs[], size_t n_pairs,
                           char **out, struct mer_error *err)
{
	struct mer_buf buf;
	mer_buf_init(&buf, WORD_MAX);
	for (const char *at = word; *at != '\0';) {
		size_t plain = strcspn(at, "{"), len = 0, i = 0;
		mer_buf_add(&buf, at, plain);
		at += plain;
		while (i < n_pairs && (len = placeholder(at, pairs[i].name)) == 0)
			i++;
		if (i < n_pairs)
			mer_buf_text(&buf, pairs[i].value);
		else if (*at != '\0')
			mer_buf_byte(&buf, at[len++]);
		at += len;
	}
	enum mer_status st = mer_buf_take(&buf, out, NULL, err);
	return st == MER_OK ? st : mer_wrap(err, st, "cannot expand '%.100s'", word);
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
