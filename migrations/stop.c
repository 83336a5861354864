/* The signal handler and its prepared words: it only writes, cancels and exits, which is all that it
 * may. */
#include "stop.h"

#include "progress.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const int signals[] = { SIGINT, SIGTERM };
static const char *const names[] = { "SIGINT", "SIGTERM" };
enum { N_SIGNALS = sizeof signals / sizeof *signals, AGAIN_MS = 200, WORDS_ROOM = 1024 };

/* Changed only while the signals are held back. */
static struct {
	char message[WORDS_ROOM], data[WORDS_ROOM];
} prepared[N_SIGNALS];
static struct mer_dal *volatile running; /* the connection of the script that runs, or NULL */

static volatile sig_atomic_t asked;

/* What meets a connection between two statements ends none of them: it is done again, and again. */
static timer_t again;
static bool has_again;

static void set_again(long ms)
{
	const struct timespec time = { .tv_nsec = ms * 1000000L };
	const struct itimerspec timer = { .it_interval = time, .it_value = time };
	if (has_again)
		(void)timer_settime(again, 0, &timer, NULL);
}

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

static void on_again(int number)
{
	(void)number;
	int cause = errno;
	struct mer_dal *dal = running;
	if (dal != NULL)
		mer_dal_cancel(dal);
	errno = cause;
}

/* Cancelling may wait for a server that does not answer: the next signal comes through meanwhile. */
static void on_signal(int number)
{
	int cause = errno;
	struct mer_dal *dal = running;
	if (dal != NULL && asked == 0) {
		asked = number;
		set_again(AGAIN_MS);
		mer_dal_cancel(dal);
		errno = cause;
		return;
	}
	sigset_t all;
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, NULL);
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

/* Without a timer the first try is the only one. */
static void open_again(void)
{
	struct sigaction action = { .sa_handler = on_again, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	(void)sigemptyset(&action.sa_mask);
	has_again = sigaction(SIGRTMIN, &action, NULL) == 0 &&
	            timer_create(CLOCK_MONOTONIC, &event, &again) == 0;
}

void stop_open(void)
{
	stop_hold();
	open_again();
	for (size_t i = 0; i < N_SIGNALS; i++) {
		struct sigaction old,
			action = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_NODEFER };
		(void)sigemptyset(&action.sa_mask);
		(void)sigaddset(&action.sa_mask, SIGRTMIN);
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			(void)sigaction(signals[i], &action, NULL);
	}
}

static void copy(char to[WORDS_ROOM], const char *text)
{
	size_t len = strnlen(text, WORDS_ROOM - 1);
	memcpy(to, text, len);
	to[len] = '\0';
}

void stop_allow(const struct stop_words words[2], struct mer_dal *dal)
{
	for (size_t i = 0; i < N_SIGNALS; i++) {
		copy(prepared[i].message, words[i].message);
		copy(prepared[i].data, words[i].data);
	}
	running = dal;
	mask(SIG_UNBLOCK);
}

void stop_hold(void)
{
	mask(SIG_BLOCK);
	running = NULL;
	if (asked != 0)
		set_again(0);
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
