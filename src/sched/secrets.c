/* Which variables hold secrets; mer/secrets.h. */
#include <mer/secrets.h>

#include <mer/clean.h>
#include <stdlib.h>
#include <string.h>

struct names {
	char **words;
	size_t n, room;
};

static enum mer_status add_name(struct names *names, const char *name, struct mer_error *err)
{
	if (names->n + 1 >= names->room) {
		size_t room = names->room > 0 ? 2 * names->room : 16;
		char **words = reallocarray(names->words, room, sizeof *words);
		if (words == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		names->words = words;
		names->room = room;
	}
	names->words[names->n] = name != NULL ? strdup(name) : NULL;
	if (name == NULL)
		return MER_OK;
	names->words[names->n + 1] = NULL;
	return names->words[names->n++] != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status on_name(void *ctx, const void *data, struct mer_error *err)
{
	const struct mer_name_row *row = data;
	return add_name(ctx, row->name, err);
}

enum mer_status mer_secret_names(struct mer_dal *dal, const char *also, char ***out,
                                 struct mer_error *err)
{
	struct names names = { .words = NULL };
	enum mer_status st = add_name(&names, also, err);
	if (st == MER_OK)
		st = mer_dal_query(dal, MER_Q_SECRET_NAMES, NULL, 0, on_name, &names, err);
	if (st == MER_OK)
		*out = names.words;
	else
		mer_words_done(&names.words);
	return st;
}
