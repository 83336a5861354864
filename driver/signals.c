/*
 * SIGINT, SIGTERM and SIGHUP: what they do until there is a loop, while the main thread is in a call of
 * the database, and on the loop. One handler knows all three, since a loop that waits for a call to
 * return hears of nothing.
 */
#include "signals.h"

#include "session.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

const int exit_signals[SESSION_SIGNALS] = { SIGINT, SIGTERM, SIGHUP };

/* A signal handler takes no context. */
static struct {
	atomic_int came[SESSION_SIGNALS];
	uv_async_t *_Atomic wake;
	struct mer_haste haste;
} state;

static void on_signal(int signo)
{
	const int cause = errno;
	uv_async_t *wake = atomic_load(&state.wake);
	const bool called = mer_haste(&state.haste);
	bool again = false;
	for (size_t i = 0; i < SESSION_SIGNALS; i++) {
		again |= atomic_load(&state.came[i]) > 0;
		if (exit_signals[i] == signo)
			(void)atomic_fetch_add(&state.came[i], 1);
	}
	if (wake != NULL)
		(void)uv_async_send(wake);
	else if (!called || again)
		_exit(EXIT_SIGNAL + signo);
	errno = cause;
}

void signals_open(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, before;
	(void)sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < SESSION_SIGNALS; i++)
		(void)sigaddset(&action.sa_mask, exit_signals[i]);
	for (size_t i = 0; i < SESSION_SIGNALS; i++) {
		if (sigaction(exit_signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			(void)sigaction(exit_signals[i], &action, NULL);
	}
	action = (struct sigaction){ .sa_handler = SIG_IGN };
	(void)sigaction(SIGPIPE, &action, NULL);
	/* A file that may not grow is an error like a full disk. */
	(void)sigaction(SIGXFSZ, &action, NULL);
	action.sa_handler = SIG_DFL; /* ignored, it would keep children from being waited for */
	(void)sigaction(SIGCHLD, &action, NULL);
}

void signals_wake(uv_async_t *wake)
{
	atomic_store(&state.wake, wake);
}

int signals_take(void)
{
	for (size_t i = 0; i < SESSION_SIGNALS; i++) {
		if (atomic_load(&state.came[i]) > 0) {
			(void)atomic_fetch_sub(&state.came[i], 1);
			return exit_signals[i];
		}
	}
	return 0;
}

bool signals_ignored(int signo)
{
	struct sigaction action;
	return sigaction(signo, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

bool signals_stop(uv_signal_t *handle, void (*before)(void))
{
	const uv_signal_cb callback = handle->signal_cb;
	sigset_t cont, old, pending;
	before();
	(void)sigemptyset(&cont);
	(void)sigaddset(&cont, SIGCONT);
	/* Blocked, it continues us just the same, and then tells by waiting that it did. */
	(void)pthread_sigmask(SIG_BLOCK, &cont, &old);
	(void)uv_signal_stop(handle);
	(void)raise(SIGTSTP);
	const bool stopped = sigpending(&pending) == 0 && sigismember(&pending, SIGCONT) == 1;
	(void)uv_signal_start(handle, callback, SIGTSTP);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return stopped;
}

struct mer_haste *signals_haste(void)
{
	return &state.haste;
}
