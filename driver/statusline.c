/* The one line of news on a terminal. */
#include "statusline.h"

#include "session.h"

#include <locale.h>
#include <mer/text.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { USUAL_WIDTH = 80, TEXT_SIZE = 1024 };

/* Of the terminal, which knows no context either. */
static struct {
	atomic_bool shown;
	int64_t drawn_ms; /* 0: never */
} line;

bool statusline_may(const struct session *s)
{
	const char *term = getenv("TERM");
	return isatty(STDERR_FILENO) == 1 && term != NULL && term[0] != '\0' &&
	       strcmp(term, "dumb") != 0 && !setting_on(&s->settings, SET_QUIET);
}

bool statusline_due(void)
{
	return line.drawn_ms == 0 || mer_clock_ms() - line.drawn_ms >= STATUSLINE_MS;
}

static size_t width(void)
{
	struct winsize size;
	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
	                                                                       : USUAL_WIDTH;
}

/* How many bytes of text take at most so many columns, controls left out. */
static size_t fit(const char *text, size_t columns, char *out, size_t size)
{
	size_t to = 0, used = 0;
	for (size_t at = 0, n; text[at] != '\0'; at += n) {
		char one[5] = { text[at] };
		for (n = 1; n < 4 && ((unsigned char)text[at + n] & 0xC0) == 0x80; n++)
			one[n] = text[at + n];
		size_t takes = mer_text_width(one);
		if (used + takes > columns || to + n >= size)
			break;
		used += takes;
		bool control = (unsigned char)one[0] < 0x20 || one[0] == 0x7F ||
		               (one[0] == '\xC2' && (unsigned char)one[1] < 0xA0);
		if (control || mer_utf8_span(one, n) != n)
			continue;
		memcpy(out + to, one, n);
		to += n;
	}
	return to;
}

/* Whether we may write without being stopped or kept waiting. */
static bool is_ours(void)
{
	struct pollfd ready = { .fd = STDERR_FILENO, .events = POLLOUT };
	pid_t foreground = tcgetpgrp(STDERR_FILENO);
	return (foreground < 0 || foreground == getpgrp()) && poll(&ready, 1, 0) == 1 &&
	       (ready.revents & POLLOUT) != 0;
}

void statusline_draw(const char *text)
{
	static const char before[] = "\r", behind[] = "\033[K";
	char out[TEXT_SIZE + sizeof before + sizeof behind] = "\r";
	if (line.drawn_ms == 0)
		(void)setlocale(LC_CTYPE, ""); /* for the width of characters */
	line.drawn_ms = mer_clock_ms();
	if (!is_ours())
		return;
	size_t n = 1 + fit(text, width() - 1, out + 1, TEXT_SIZE);
	memcpy(out + n, behind, sizeof behind - 1);
	atomic_store(&line.shown, true);
	(void)!write(STDERR_FILENO, out, n + sizeof behind - 1);
}

void statusline_erase(void)
{
	static const char erase[] = "\r\033[K";
	if (atomic_load(&line.shown) && atomic_exchange(&line.shown, false))
		(void)!write(STDERR_FILENO, erase, sizeof erase - 1);
}
