/* Whether a command asks for the background. */
#include "background.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

bool background_asked(const char *command, const char *const words[], size_t n)
{
	size_t len = strlen(command);
	while (len > 0 && strchr(" \t\n", command[len - 1]) != NULL)
		len--;
	if (n == 0 || strcmp(words[n - 1], "&") != 0 || len == 0 || command[len - 1] != '&')
		return false;
	/* Quoted, or in a comment, its words are not one fewer without it. */
	MER_AUTO(mer_text_done) char *before = strndup(command, len - 1);
	MER_AUTO(mer_words_done) char **rest = NULL;
	size_t n_rest = 0;
	return before != NULL && mer_split_words(before, &rest, &n_rest, NULL, NULL) == MER_OK &&
	       n_rest == n - 1;
}
