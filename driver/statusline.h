/*
 * One line of news on the terminal of stderr, drawn over and over while something runs and gone when it
 * is done: a progress line, a spinner. There is one terminal, so there is one such line. Whatever else is
 * written to a terminal erases it first, in whatever thread; so does stdout's sink where stdout is one.
 */
#ifndef STATUSLINE_H
#define STATUSLINE_H

#include <stdbool.h>

struct session;

enum { STATUSLINE_MS = 100 }; /* between two drawings, at least */

/** Whether there may be one: stderr is a terminal that can erase (TERM is neither empty nor dumb), and
 * nobody said --quiet. */
bool statusline_may(const struct session *s);

/** Whether it is time to draw it again. */
bool statusline_due(void);

/**
 * Draws it in place of what was drawn, cut to the terminal's width. The cursor must be where a line
 * begins: nothing on the terminal's last line is of somebody else. Nothing happens where the terminal
 * does not take it at once, or belongs to another job.
 * @param text  one line of UTF-8; control characters are left out
 */
void statusline_draw(const char *text);

/** Erases it. Cheap where there is none. */
void statusline_erase(void);

#endif
