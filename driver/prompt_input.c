/* Bytes of the terminal, and pastes, for the prompt's modules. */
#include "prompt_input.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { PASTE_MAX = 1 << 20 };

void prompt_never_wait(int fd)
{
	struct termios mode;
	if (tcgetattr(fd, &mode) < 0)
		return;
	mode.c_cc[VMIN] = 0;
	mode.c_cc[VTIME] = 0;
	(void)tcsetattr(fd, TCSANOW, &mode);
}

bool prompt_has_byte(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	return poll(&ready, 1, 0) > 0;
}

int prompt_read_byte(int fd, int wait_ms)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	if (poll(&ready, 1, wait_ms) <= 0)
		return PROMPT_NO_BYTE;
	unsigned char byte;
	const ssize_t n = read(ready.fd, &byte, 1);
	if (n == 1)
		return byte;
	const bool left = (ready.revents & (POLLHUP | POLLERR)) != 0;
	return left || (n < 0 && errno != EINTR && errno != EAGAIN) ? EOF : PROMPT_NO_BYTE;
}

void prompt_paste_drop(struct prompt_paste *paste)
{
	free(paste->text);
	*paste = (struct prompt_paste){ .under_way = false };
}

static bool keep_byte(struct prompt_paste *paste, char byte)
{
	if (paste->len + 1 >= paste->cap) {
		const size_t cap = paste->cap == 0 ? 256 : 2 * paste->cap;
		char *text = cap <= PASTE_MAX ? realloc(paste->text, cap) : NULL;
		if (text == NULL)
			return false;
		paste->text = text;
		paste->cap = cap;
	}
	paste->text[paste->len++] = byte == '\r' ? '\n' : byte;
	paste->text[paste->len] = '\0';
	return true;
}

const char *prompt_paste_read(struct prompt_paste *paste, int fd, bool *full)
{
	static const char end[] = PROMPT_PASTE_ENDS;
	const size_t n = sizeof end - 1;
	*full = false;
	for (int byte; (byte = prompt_read_byte(fd, 0)) >= 0;) {
		if (byte != '\0' && !keep_byte(paste, (char)byte))
			*full = true;
		if (paste->len < n || memcmp(paste->text + paste->len - n, end, n) != 0)
			continue;
		paste->text[paste->len - n] = '\0';
		return paste->text;
	}
	return NULL;
}
