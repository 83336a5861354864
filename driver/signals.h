/*
 * SIGINT, SIGTERM and SIGHUP. Until there is a loop they end the program with 128 + signal, nothing
 * being to be recorded yet; with a loop it takes them and decides. In either case a call of the database
 * that is under way, or that follows, ends as struct mer_haste has it; a second signal before the first
 * was taken ends a program without a loop whatever it does.
 */
#ifndef SIGNALS_H
#define SIGNALS_H

#include <mer/dal.h>
#include <uv.h>

enum { SESSION_SIGNALS = 3 };
extern const int exit_signals[SESSION_SIGNALS];

/** Begins. SIGPIPE is ignored from then on; what was ignored before stays so (nohup). */
void signals_open(void);

/** From here on the loop is woken up to take them; NULL: there is none any more. */
void signals_wake(uv_async_t *wake);

/** Takes one that came; 0: there is none. */
int signals_take(void);

/** In a hurry since a signal came. Whoever goes on after one says when that is over. */
struct mer_haste *signals_haste(void);

/** Whether it was ignored when the program began, so that it stays so. */
bool signals_ignored(int signo);

/**
 * Stops the program as SIGTSTP does where nobody handles it, until it is continued.
 *
 * @param handle  the loop's own of SIGTSTP, from whose callback it is called
 * @param before  is called first
 * @return whether it was stopped; then SIGCONT comes, by the loop
 */
bool signals_stop(uv_signal_t *handle, void (*before)(void));

#endif
