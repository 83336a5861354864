/* Completion in shells: each has a few lines that ask mer what the word at the cursor may become. */
#ifndef SHELLS_H
#define SHELLS_H

struct mer_buf;
struct session;

/** Prints what the last word of a shell's line may become, which begins with the program's name: a
 * candidate a line, as it is without quotes, and behind a tab what it means. Nothing where nothing is
 * known: never an error. */
void shells_complete(struct session *s, const char *line);

/** What the shells are given: `mer --print completion-bash` and so on. */
void shells_bash(struct mer_buf *out);
void shells_zsh(struct mer_buf *out);
void shells_fish(struct mer_buf *out);

#endif
