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
#include <stdio.h>

#define PROMPT_MODULE "prompt"

/* Gets a line without its newline, which it frees; NULL: the end of input (Ctrl-D). */
typedef void prompt_line_fn(void *ctx, char *line);

struct prompt_ops {
	const char *version; /* as mer/module.h has it */

	/* Prepares; out is where it draws. Once. */
	void (*open)(FILE *out, prompt_line_fn *on_line, void *ctx);
	/* Shows the prompt and edits a new line. */
	void (*start)(const char *text);
	/* Stdin can be read: reads of it. Calls on_line when the line is whole, and is then stopped. */
	void (*read)(void);
	/* Gives the line up, as Ctrl-C does, and stops. */
	void (*clear)(void);
	/* The terminal's size is another one. */
	void (*resize)(void);
	/* The program was stopped and goes on: takes the terminal again. */
	void (*resume)(void);
	/* Adds a line to those that the arrow keys bring back. */
	void (*remember)(const char *line);
	/* Gives the terminal back. */
	void (*close)(void);
};

#endif
