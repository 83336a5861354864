/*
 * Cleanup of locals when their scope ends. Success hands over by clearing the local.
 *
 *     MER_AUTO(mer_text_done) char *body = malloc(n);
 *     ...
 *     *out = body;
 *     body = NULL;
 */
#ifndef MER_CLEAN_H
#define MER_CLEAN_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MER_AUTO(done) __attribute__((cleanup(done)))

static inline void mer_text_done(char **text)
{
	free(*text);
}

static inline void mer_fd_done(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void mer_file_done(FILE **file)
{
	if (*file != NULL)
		(void)fclose(*file);
}

/** Frees a vector of owned strings that ends with NULL. */
static inline void mer_words_done(char ***words)
{
	if (*words == NULL)
		return;
	for (char **word = *words; *word != NULL; word++)
		free(*word);
	free(*words);
}

#endif
