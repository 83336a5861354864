/*
 * The prompt's module, prompt.so: line editing by readline, behind a table so that readline is only
 * loaded when somebody is there to type. It knows lines and nothing of commands.
 *
 * One prompt a process, since readline is one. Between start and the line, and then again after the
 * next start, the terminal is its own; in between it is as it was found.
 */
#ifndef PROMPT_H
#define PROMPT_H

#include <mer/error.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define PROMPT_MODULE "prompt"

/* What the word at the cursor may become; all owned. */
struct prompt_words {
	size_t from;    /* where in the line it begins */
	char *common;   /* what takes its place: of several with what all begin, else the one; written
	                   with its quotes, as all of these */
	char **inserts; /* each, whole; ended by NULL */
	char **shown;   /* each, as the list shows it; ended by NULL */
	size_t n;
	bool more;   /* there are others that are not listed */
	bool closed; /* the one is whole: a blank follows */
};

static inline void prompt_words_release(struct prompt_words *words)
{
	for (size_t i = 0; i < words->n; i++) {
		free(words->inserts[i]);
		free(words->shown[i]);
	}
	free(words->inserts);
	free(words->shown);
	free(words->common);
	*words = (struct prompt_words){ .n = 0 };
}

/* What the module calls. */
struct prompt_calls {
	/* A line without its newline, which is the callee's; NULL: the end of input (Ctrl-D). */
	void (*line)(void *ctx, char *line);
	/* The line is to be edited elsewhere; it is the callee's, NULL: out of memory. */
	void (*edit)(void *ctx, char *line);
	/* What may the word become that ends at byte at of the line? Quickly. */
	void (*complete)(void *ctx, const char *line, size_t at, struct prompt_words *out);
};

struct prompt_ops {
	const char *version; /* as mer/module.h has it */

	/* Prepares; out is where it draws. Once. calls: borrowed. */
	void (*open)(FILE *out, const struct prompt_calls *calls, void *ctx);
	/* Shows the prompt and edits a new line. */
	void (*start)(const char *text);
	/* Writes into the line that is edited. */
	void (*put)(const char *text);
	/* Stdin can be read: reads of it. Makes its calls when the line is whole or is to be edited
	 * elsewhere, and is then stopped. */
	void (*read)(void);
	/* Gives the line up, as Ctrl-C does, and stops. */
	void (*clear)(void);
	/* The terminal's size is another one. */
	void (*resize)(void);
	/* The program is about to be stopped: gives the terminal back. */
	void (*suspend)(void);
	/* The program was stopped and goes on: takes the terminal again. */
	void (*resume)(void);
	/* Adds a line to those that the arrow keys bring back; the same one from before goes. */
	void (*remember)(const char *line);
	/* Gives the terminal back. */
	void (*close)(void);
};

#endif
