/*
 * The file of the commands that were typed: 0600, in their order, shared by all prompts of a user. A
 * line that begins with a space goes on with the command above it, since no command of its own does.
 * It is a comfort: whatever is wrong with it is no reason to complain, or to wait for long.
 */
#ifndef HISTORY_H
#define HISTORY_H

typedef void history_fn(void *ctx, const char *command);

/** Gives the last commands, oldest first. */
void history_load(const char *path, history_fn *on_command, void *ctx);

/** Adds a command, which may have several lines; not one that begins with a space. */
void history_append(const char *path, const char *command);

/** Keeps the last commands, and of those that are the same the last one. */
void history_trim(const char *path);

#endif
