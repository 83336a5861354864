/* KEY=VALUE words, read as the options that the keys are named after. */
#include "spec.h"

#include <mer/text.h>
#include <stdlib.h>
#include <string.h>

struct keys {
	enum spec_arg first, end;
	const char *command;
};

/* The row of a key; NULL: there is none. */
static const struct cmd_arg *find_key(const struct keys *keys, const char *pair,
                                      struct mer_error *err)
{
	size_t len = strcspn(pair, "=");
	char key[64];
	(void)snprintf(key, sizeof key, "%.*s", (int)(len < sizeof key ? len : sizeof key - 1), pair);
	struct mer_guess guess = { .typed = key };
	for (size_t i = keys->first; i < keys->end; i++) {
		if (!spec_args[i].option)
			continue;
		if (strcmp(spec_args[i].name, key) == 0)
			return &spec_args[i];
		mer_guess_offer(&guess, spec_args[i].name);
	}
	(void)mer_fail(err, MER_EINPUT, "no such key: '%s'", key);
	if (!mer_guess_hint(&guess, err))
		mer_hint(err, "keys are the options of '%s', as in timeout=5s", keys->command);
	return NULL;
}

/* The values of one row. Its words take room off the pool. */
static enum mer_status read_row(const struct keys *keys, const struct cmd_arg *arg,
                                const char *const words[], size_t n, struct cmd_value *value,
                                const char ***pool, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	value->words = *pool;
	for (size_t i = 0; i < n && st == MER_OK; i++) {
		if (find_key(keys, words[i], NULL) != arg)
			continue;
		const char *text = strchr(words[i], '=') + 1;
		if (arg->type == ARG_PAIR) /* a name alone takes it away */
			value->text = text;
		else
			st = cmd_value_parse(arg, arg->name, text, value, err);
		value->given = true;
		*(*pool)++ = text;
	}
	value->count = (size_t)(*pool - value->words);
	*(*pool)++ = NULL;
	return st;
}

enum mer_status spec_pairs_read(enum spec_arg first, enum spec_arg end, const char *command,
                                const char *const words[], size_t n, struct spec_pairs *out,
                                struct mer_error *err)
{
	const struct keys keys = { first, end, command };
	*out = (struct spec_pairs){ .pool = calloc(n + SPEC_ARGS, sizeof *out->pool) };
	if (out->pool == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		if (find_key(&keys, words[i], err) == NULL)
			return MER_EINPUT;
	}
	const char **pool = out->pool; /* room for all words, and a NULL a row */
	enum mer_status st = MER_OK;
	for (size_t row = first; row < end && st == MER_OK; row++)
		st = read_row(&keys, &spec_args[row], words, n, &out->values[row], &pool, err);
	return st;
}

void spec_pairs_release(struct spec_pairs *pairs)
{
	free(pairs->pool);
}
