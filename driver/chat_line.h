/* What a line typed in a conversation is: for the model, or a word to mer. */
#ifndef CHAT_LINE_H
#define CHAT_LINE_H

#include <mer/error.h>

enum chat_what {
	CHAT_NOTHING, /* an empty line */
	CHAT_INPUT,   /* text is what the model gets */
	CHAT_RATING,  /* text is the rating, note why */
	CHAT_HELP,
	CHAT_QUIT,
};

struct chat_line {
	enum chat_what what;
	const char *text, *note; /* borrowed from the line; never NULL */
};

/**
 * Reads a line, which is cut up for it. Pure.
 * @return MER_EINPUT a word to mer that it does not know
 */
MER_MUST enum mer_status chat_line_read(char *line, struct chat_line *out, struct mer_error *err);

#endif
