/* The signal handler and its prepared words: it only writes, cancels and exits, which is all that it
 * may. */
#include "stop.h"

#include "progress.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const int signals[] = { SIGINT, SIGTERM };
static const char *const names[] = { "SIGINT", "SIGTERM" };
enum { N_SIGNALS = sizeof signals / sizeof *signals };

/* Changed only while the signals are held back. */
static struct {
	char message[1024], data[1024];
} prepared[N_SIGNALS];
static struct mer_dal *running; /* the connection of the script that runs, or NULL */

static volatile sig_atomic_t asked;

static size_t index_of(int number)
{
	return number == signals[0] ? 0 : 1;
}

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
	int cause = errno;
	if (running != NULL && asked == 0) {
		asked = number;
		mer_dal_cancel(running);
		errno = cause;
		return;
	}
	progress_clear();
	say(STDOUT_FILENO, prepared[index_of(number)].data);
	say(STDERR_FILENO, prepared[index_of(number)].message);
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
		struct sigaction old, action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
		(void)sigfillset(&action.sa_mask);
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			(void)sigaction(signals[i], &action, NULL);
	}
}

void stop_allow(const struct stop_words words[2])
{
	stop_allow_cancel(words, NULL);
}

void stop_allow_cancel(const struct stop_words words[2], struct mer_dal *dal)
{
	for (size_t i = 0; i < N_SIGNALS; i++) {
		(void)snprintf(prepared[i].message, sizeof prepared[i].message, "%s", words[i].message);
		(void)snprintf(prepared[i].data, sizeof prepared[i].data, "%s", words[i].data);
	}
	running = dal;
	mask(SIG_UNBLOCK);
}

void stop_hold(void)
{
	mask(SIG_BLOCK);
	running = NULL;
}

int stop_asked(void)
{
	sigset_t pending;
	if (asked != 0 || sigpending(&pending) < 0)
		return asked;
	for (size_t i = 0; i < N_SIGNALS; i++) {
		if (sigismember(&pending, signals[i]) == 1)
			return signals[i];
	}
	return 0;
}

const char *stop_name(int number)
{
	return names[index_of(number)];
}
