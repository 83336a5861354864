/*
 * What the prompt's modules share, whichever library edits the line: bytes of the terminal without waiting
 * for a key, and pastes.
 */
#ifndef PROMPT_INPUT_H
#define PROMPT_INPUT_H

#include <stdbool.h>
#include <stddef.h>

enum {
	PROMPT_STALL_MS = 500, /* that the rest of a key may take */
	PROMPT_NO_BYTE = -2,
	PROMPT_HISTORY_LINES = 1000,
	PROMPT_SHOWN_MAX = 200, /* of candidates */
};

#define PROMPT_PASTE_BEGINS "\033[200~"
#define PROMPT_PASTE_ENDS "\033[201~"

/* A read of the terminal that never waits: what poll() saw may be gone, since Ctrl-C empties its queue. */
void prompt_never_wait(int fd);

/* The next byte; EOF: nobody is there any more, PROMPT_NO_BYTE: none came within wait_ms. */
int prompt_read_byte(int fd, int wait_ms);

/* Whether one is there. */
bool prompt_has_byte(int fd);

/* A paste that comes in pieces; zero: none. */
struct prompt_paste {
	bool under_way;
	char *text; /* owned; ended by a NUL */
	size_t len, cap;
};

void prompt_paste_drop(struct prompt_paste *paste);

/* Takes what is there. Gives all of it when it has come to its end, valid until it is dropped; NULL
 * until then. full: some of it had no room. */
const char *prompt_paste_read(struct prompt_paste *paste, int fd, bool *full);

#endif
