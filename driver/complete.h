/*
 * Completion: what the word before a cursor may become, by the table of commands and by what there is
 * (lookup.h). Never an error: where there is nothing to say there are no candidates.
 */
#ifndef COMPLETE_H
#define COMPLETE_H

#include "lookup.h"
#include "prompt.h"

struct completing {
	struct lookup *lookup; /* borrowed; NULL: nothing but the table is known */
	bool changes;          /* commands that change the metadata are offered too */
};

/**
 * Completes.
 *
 * @param text  all of the command before the cursor; lines that are done, and a newline behind each,
 *              are a part of it
 * @param line  where the line that is edited begins in it
 * @param out   release it with prompt_words_release()
 */
void complete(const struct completing *with, const char *text, size_t line,
              struct prompt_words *out);

#endif
