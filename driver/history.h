/* The file of the lines that were typed: 0600, one line each, shared by all prompts of a user. It
 * is a comfort: whatever is wrong with it is no reason to complain. */
#ifndef HISTORY_H
#define HISTORY_H

typedef void history_fn(void *ctx, const char *line);

/** Gives the last lines, oldest first. */
void history_load(const char *path, history_fn *on_line, void *ctx);

/** Adds a line; not one that begins with a space, or that holds a newline. */
void history_append(const char *path, const char *line);

/** Drops all but the last lines. */
void history_trim(const char *path);

#endif
