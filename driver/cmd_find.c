/* Finding a command by its name, and saying what may have been meant where there is none. */
#include "cmd.h"

#include <mer/text.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 256 };

/* Whether the words at the front are a name; how many, or 0. */
static size_t match(const char *name, const char *const words[], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(words[i]);
		if (strncmp(name, words[i], len) != 0)
			return 0;
		name += len;
		if (*name == '\0')
			return i + 1;
		if (*name++ != ' ')
			return 0;
	}
	return 0;
}

/* How many of the words one of the command's names takes; 0: it is not meant. */
static size_t match_any(const struct cmd *cmd, const char *const words[], size_t n)
{
	size_t used = match(cmd->name, words, n);
	for (const char *const *older = cmd->older; used == 0 && older != NULL && *older != NULL;
	     older++)
		used = match(*older, words, n);
	return used;
}

static bool is_listed(const struct cmd *cmd, bool changes)
{
	return changes || (cmd->needs & CMD_NEEDS_CHANGES) == 0;
}

/* The names that begin so, each from byte skip on, as "add, list, show"; gives how many. */
static size_t list_names(const char *begin, size_t skip, bool changes, char *out, size_t size)
{
	size_t at = 0, count = 0;
	out[0] = '\0';
	for (size_t i = 0; i < n_commands && at < size; i++) {
		const char *name = commands[i]->name;
		if (!is_listed(commands[i], changes) || strncmp(name, begin, strlen(begin)) != 0)
			continue;
		int n = snprintf(out + at, size - at, "%s%s", at == 0 ? "" : ", ", name + skip);
		at += n > 0 ? (size_t)n : 0;
		count++;
	}
	return count;
}

/* What begins so, or else is nearest. both: with the word behind it, where nothing is known of the
 * first; or NULL. */
static void suggest(const char *typed, const char *both, bool changes, struct mer_error *err)
{
	char names[NAME_SIZE];
	if (typed[0] != '\0' && list_names(typed, 0, changes, names, sizeof names) > 1) {
		mer_hint(err, "it may be one of: %s", names);
		return;
	}
	struct mer_guess guess = { .typed = typed }, guess_both = { .typed = both };
	for (size_t i = 0; i < n_commands; i++) {
		if (!is_listed(commands[i], changes))
			continue;
		mer_guess_offer(&guess, commands[i]->name);
		if (both != NULL)
			mer_guess_offer(&guess_both, commands[i]->name);
		for (const char *const *older = commands[i]->older; older != NULL && *older != NULL;
		     older++)
			mer_guess_offer(&guess, *older);
	}
	bool both_nearer = guess_both.word[0] != '\0' &&
	                   (guess.word[0] == '\0' || guess_both.distance < guess.distance);
	if (!mer_guess_hint(both_nearer ? &guess_both : &guess, err))
		mer_hint(err, "'help' lists the commands");
}

void cmd_hint_longer(const struct cmd *cmd, const char *word, bool changes, struct mer_error *err)
{
	char typed[NAME_SIZE], names[NAME_SIZE];
	(void)snprintf(typed, sizeof typed, "%s %s", cmd->name, word);
	size_t n = list_names(typed, 0, changes, names, sizeof names);
	if (n > 0)
		mer_hint(err, n == 1 ? "did you mean '%s'?" : "it may be one of: %s", names);
}

enum mer_status cmd_find(const char *const words[], size_t n, bool changes, const struct cmd **out,
                         size_t *used, struct mer_error *err)
{
	size_t most = 0;
	for (size_t i = 0; i < n_commands; i++) {
		size_t is = match_any(commands[i], words, n);
		if (is > most) {
			most = is;
			*out = commands[i];
		}
	}
	if (most > 0) {
		*used = most;
		return MER_OK;
	}
	char verbs[NAME_SIZE], typed[NAME_SIZE];
	(void)snprintf(typed, sizeof typed, "%s ", words[0]);
	bool noun = list_names(typed, strlen(typed), changes, verbs, sizeof verbs) > 0;
	if (noun && (n == 1 || words[1][0] == '-')) {
		(void)mer_fail(err, MER_EINPUT, "'%s' is not a whole command", words[0]);
		mer_hint(err, "it goes on with one of: %s", verbs);
		return MER_EINPUT;
	}
	(void)snprintf(typed, sizeof typed, "%s%s%s", words[0], noun ? " " : "", noun ? words[1] : "");
	(void)mer_fail(err, MER_EINPUT, "no such command: '%s'", typed);
	char both[NAME_SIZE];
	(void)snprintf(both, sizeof both, "%s %s", words[0], n > 1 ? words[1] : "");
	suggest(typed, !noun && n > 1 ? both : NULL, changes, err);
	return MER_EINPUT;
}
