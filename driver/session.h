/*
 * What commands share: settings, output, the loop, the database and the scheduler. Each is opened
 * at the first need, so that a command that needs nothing starts as quickly as an empty program.
 *
 * A command blocks by running the loop until its operation is done: session_run(). It never does so
 * from inside a callback.
 */
#ifndef SESSION_H
#define SESSION_H

#include "cmd.h"
#include "output.h"
#include "progress.h"
#include "settings.h"
#include "signals.h"
#include "summary.h"

#include <mer/dal.h>
#include <mer/sched.h>
#include <uv.h>

/* The cancelling of what runs: asked twice within a second, kill is set. */
typedef void session_cancel_fn(void *ctx, bool kill);

/* Asks for a line: gives it without its newline, for the caller to free, or NULL at the end of input.
 * MER_ECANCELED: Ctrl-C gave it up. */
typedef enum mer_status session_ask_fn(void *ctx, const char *question, char **line,
                                       struct mer_error *err);

struct background;

/* Where a command stands, for messages. */
struct place {
	const char *file; /* "stdin", "-c", a path; NULL: the program's arguments, or the prompt */
	int64_t line;     /* from 1 */
};

struct session {
	struct settings settings;
	const char *const *environment; /* NAME=VALUE, ended by NULL; borrowed */
	bool prompt;                    /* somebody types the commands */
	bool stdin_taken;               /* commands come from stdin, so no input does */
	bool leave;                     /* `exit` was said, or there is no sense in going on */
	int code;                       /* of the first failure */
	struct place at;                /* of the command that runs */
	bool reported;                  /* what it failed with is said already */

	/* Of the run that answered last at the prompt, for people to rate; its model "": none did. */
	struct {
		struct mer_uid uid;
		char model[132], weights[132];
	} answered;

	session_ask_fn *ask; /* of whoever is at the prompt; NULL in batch */
	void *ask_ctx;
	bool detach;                   /* the command that runs is to go to the background */
	struct background *background; /* NULL: nothing has been there */

	struct summary summary;
	struct output out;
	struct progress_view view; /* of what runs, on the terminal */
	struct mer_dal *dal;
	struct mer_sched *sched;
	struct mer_links *links; /* with servers; NULL: not wanted yet */

	uv_loop_t loop;
	bool has_loop;
	uv_async_t signals; /* some came */
	bool has_signals;
	bool ending;               /* all commands are done */
	int signal;                /* that asks the program to end; 0: none */
	bool stopped;              /* one came since the command began */
	int interrupts;            /* how many came, each within a second of the one before */
	int64_t interrupted_ms;    /* mer_clock_ms() of the last one */
	session_cancel_fn *cancel; /* of the operation under way; NULL: none */
	void *cancel_ctx;
};

void session_init(struct session *s);

/** Ends workers, writes what is to be recorded, closes everything. Failures are reported. */
void session_close(struct session *s);

/**
 * Does one command, says on stderr what went wrong and keeps the exit code of the first failure.
 * @return whether it succeeded
 */
bool session_do(struct session *s, const char *const words[], size_t n, struct place at);

/** Acts on the signals that have come, without a turn of the loop. */
void session_take_signals(struct session *s);

/** What signals came before a command is not meant for it, unless they are to end the program: then there is
 * to be none. Whether there may be one. */
bool session_begin(struct session *s);

/** Reports a failure as session_do() does: on stderr, where out.format is JSON and nothing told of
 * it yet also as an object on stdout, and by the exit code. */
void session_failed(struct session *s, struct place at, enum mer_status st,
                    const struct mer_error *err);

/** The same with an exit code that is of no status. */
void session_failed_as(struct session *s, struct place at, int code, const struct mer_error *err);

/** A signal asked the program to end while nothing ran: that is its exit code, unless something had
 * failed before. */
void session_interrupted(struct session *s);

/** A note for people at the prompt, on stderr; in batch and with --quiet nothing. */
MER_PRINTF(2, 3) void session_note(struct session *s, const char *fmt, ...);

/* --- what is opened at need --------------------------------------------------------------- */

/** mer_dal_open(), but a signal ends what it waits for, and later what the connection waits for. */
MER_MUST enum mer_status session_open_dal(const char *url, unsigned flags, struct mer_dal **out,
                                          struct mer_error *err);

MER_MUST enum mer_status session_dal(struct session *s, struct mer_dal **out,
                                     struct mer_error *err);

/** Connections to servers, which everything on the loop shares. */
MER_MUST enum mer_status session_links(struct session *s, struct mer_links **out,
                                       struct mer_error *err);

/** @param place  see struct mer_sched_options; counts for the call that opens it */
MER_MUST enum mer_status session_sched(struct session *s, bool place, struct mer_sched **out,
                                       struct mer_error *err);

/** From here on SIGINT, SIGTERM and SIGHUP come by the loop instead of ending the program. */
MER_MUST enum mer_status session_loop(struct session *s, uv_loop_t **out, struct mer_error *err);

/* --- waiting ------------------------------------------------------------------------------ */

/** Runs the loop until *done. The operation must end by itself or by what cancel does. */
void session_run(struct session *s, const bool *done);

/** Shows how far something is while it is waited for, where somebody looks on; NULL: no more. */
void session_progress(struct session *s, const struct progress *progress);

/** Sets what a signal calls; NULL at the operation's end. */
void session_cancels(struct session *s, session_cancel_fn *cancel, void *ctx);

/**
 * Runs what takes its time in a thread of its own, so that a signal can end it.
 * @param run     in the thread
 * @param cancel  as of session_cancels(), while run is under way
 * @return what run returns, or why there is no thread
 */
MER_MUST enum mer_status session_in_thread(struct session *s,
                                           enum mer_status (*run)(void *ctx, struct mer_error *err),
                                           session_cancel_fn *cancel, void *ctx,
                                           struct mer_error *err);

/**
 * Writes out what is in the sink, waiting for a slow reader.
 * @return MER_ECANCELED a signal came first; what was left is dropped
 *         MER_EIO       the reader left, or stdout cannot be written: out.sink says which
 */
MER_MUST enum mer_status session_flush(struct session *s, struct mer_error *err);

/**
 * Waits until fd can be read, while the loop does its work; at once where there is no loop.
 * @return MER_ECANCELED a signal came first
 */
MER_MUST enum mer_status session_wait_readable(struct session *s, int fd, struct mer_error *err);

/** Closes a watch and waits until its memory may go. */
void session_close_watch(struct session *s, struct watch *watch);

/* --- exit.c: exit codes ------------------------------------------------------------------- */

struct exit_row {
	int code;
	const char *means; /* to people */
	const char *name;  /* to programs, of one word */
};
extern const struct exit_row exit_rows[];
extern const size_t n_exit_rows;

/** The exit code of a status. */
int exit_code(enum mer_status status);

enum { EXIT_FAULT = 9, EXIT_HELD = 75, EXIT_READER_LEFT = 141, EXIT_SIGNAL = 128 };

#endif
