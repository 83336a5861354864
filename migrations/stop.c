/* The signal handler and its prepared words: it only writes and exits, which is all that it may. */
#include "stop.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const int signals[] = { SIGINT, SIGTERM };
enum { N_SIGNALS = sizeof signals / sizeof *signals };

/* Changed only while the signals are held back. */
static struct {
	char message[1024], data[1024];
} prepared[N_SIGNALS];

static void say(int fd, const char *text)
{
	for (size_t len = strlen(text); len > 0;) {
		ssize_t n = write(fd, text, len);
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static void on_signal(int number)
{
	size_t which = number == signals[0] ? 0 : 1;
	say(STDOUT_FILENO, prepared[which].data);
	say(STDERR_FILENO, prepared[which].message);
	_exit(128 + number);
}

static void mask(int how)
{
	sigset_t set;
	(void)sigemptyset(&set);
	for (size_t i = 0; i < N_SIGNALS; i++)
		(void)sigaddset(&set, signals[i]);
	(void)sigprocmask(how, &set, NULL);
}

void stop_open(void)
{
	stop_hold();
	for (size_t i = 0; i < N_SIGNALS; i++) {
		struct sigaction old, action = { .sa_handler = on_signal };
		(void)sigfillset(&action.sa_mask);
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			(void)sigaction(signals[i], &action, NULL);
	}
}

void stop_allow(const struct stop_words words[2])
{
	for (size_t i = 0; i < N_SIGNALS; i++) {
		(void)snprintf(prepared[i].message, sizeof prepared[i].message, "%s", words[i].message);
		(void)snprintf(prepared[i].data, sizeof prepared[i].data, "%s", words[i].data);
	}
	mask(SIG_UNBLOCK);
}

void stop_hold(void)
{
	mask(SIG_BLOCK);
}
