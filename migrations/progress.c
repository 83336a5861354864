/* The line is written by a timer's signal, since the database has the thread. */
#include "progress.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

enum { LINE_ROOM = 400, WIDTH = 80 };

static bool on;

/* Changed only while the timer is off. */
static char line[LINE_ROOM]; /* "\r", the text, ", " and room for the seconds */
static size_t len;
static volatile sig_atomic_t seconds, shown;

static void put(const char *text, size_t n)
{
	if (write(STDERR_FILENO, text, n) < 0)
		return; /* nobody is there to see it */
}

void progress_clear(void)
{
	static const char clear[] = "\r\033[K";
	if (shown != 0)
		put(clear, sizeof clear - 1);
	shown = 0;
}

static void on_second(int number)
{
	(void)number;
	int cause = errno;
	char digits[16], *at = digits + sizeof digits;
	static const char unit[] = " s\033[K";
	at -= sizeof unit - 1;
	memcpy(at, unit, sizeof unit - 1);
	seconds++;
	for (int left = seconds; left > 0; left /= 10)
		*--at = (char)('0' + left % 10);
	size_t n = (size_t)(digits + sizeof digits - at);
	memcpy(line + len, at, n);
	put(line, len + n);
	shown = 1;
	errno = cause;
}

void progress_open(void)
{
	const char *terminal = getenv("TERM");
	on = isatty(STDERR_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0;
	if (!on)
		return;
	struct sigaction action = { .sa_handler = on_second, .sa_flags = SA_RESTART };
	(void)sigfillset(&action.sa_mask);
	(void)sigaction(SIGALRM, &action, NULL);
}

static void set_timer(time_t period)
{
	struct itimerval timer = { .it_interval = { .tv_sec = period },
		                       .it_value = { .tv_sec = period } };
	(void)setitimer(ITIMER_REAL, &timer, NULL);
}

/* So much of a line that its end stays on the terminal: else clearing would miss what was wrapped. */
static int room(void)
{
	struct winsize size;
	int columns =
		ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : WIDTH;
	int most = LINE_ROOM - 40;
	return columns - 16 < most ? columns - 16 : most;
}

void progress_begin(const char *what)
{
	int columns = on ? room() : 0;
	if (columns <= 0)
		return;
	len = (size_t)snprintf(line, LINE_ROOM - 20, "\r%.*s, ", columns, what);
	seconds = 0;
	set_timer(1);
}

void progress_end(void)
{
	if (!on)
		return;
	set_timer(0);
	progress_clear();
}
