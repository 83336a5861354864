/*
 * The model execution abstraction layer: a worker is a live process (or remote process) of a
 * deployment that answers runs. What carries its bytes and what the bytes mean is hidden here.
 *
 * A worker belongs to one loop and its thread. Its life:
 *
 *     start  → the program is prepared, not running yet
 *     go     → it runs; on_ready when it takes a run (once: as soon as it is prepared)
 *     run    → on_output..., one on_done; token, frame: then the next run. So many may be open at a
 *              time as mer_worker_room() says: more than one only where the worker announces it
 *     end    → asks it to leave, then makes it leave; on_gone is the last call and comes once,
 *              also when it left by itself or never started
 *
 * Callbacks never come from inside these functions. After on_gone has returned the worker is freed.
 * Where the program leaves SIGPIPE as it is by default, a start blocks it in the calling thread.
 */
#ifndef MER_MEAL_H
#define MER_MEAL_H

#include <mer/buf.h>
#include <mer/limits.h>
#include <mer/progress.h>
#include <stdbool.h>
#include <stdint.h>

struct uv_loop_s;
struct mer_worker;

enum mer_protocol {
	MER_PROTOCOL_UNSET,
	MER_PROTOCOL_ONCE,
	MER_PROTOCOL_TOKEN,
	MER_PROTOCOL_FRAME,
	MER_PROTOCOL_COUNT
};

/** MER_PROTOCOL_UNSET where the name is none of once, token, frame. */
MER_API enum mer_protocol mer_protocol_by_name(const char *name);
MER_API const char *mer_protocol_name(enum mer_protocol protocol);

#define MER_TOKEN_READY "@!#READY#!@"
#define MER_TOKEN_START "@!#START#!@"
#define MER_TOKEN_STOP "@!#STOP#!@"
#define MER_TOKEN_EXIT "@!#EXIT#!@"

enum mer_transport { MER_TRANSPORT_AUTO, MER_TRANSPORT_OPENSSH, MER_TRANSPORT_LIBSSH2 };

/** NULL for auto: none was used. */
MER_API const char *mer_transport_name(enum mer_transport transport);

/* A host where workers run (docs/ssh.md). */
struct mer_remote {
	const char *server;                /* its name, for messages */
	const char *host, *user;           /* as ssh takes them; user NULL or "": as ssh has it */
	int64_t port;                      /* 0: as ssh has it */
	const char *config;                /* for ssh -F; NULL: ssh's own files */
	const char *const *options;        /* NAME=VALUE of ssh_config(5), ended by NULL */
	const char *script;                /* path of the far supervisor */
	const char *const *env;            /* of ssh itself */
	const char *password, *passphrase; /* references, resolved when used; NULL: none */
	enum mer_transport transport;
	bool clean; /* workers inherit only what a login has over there */
	bool probe; /* only look whether the program could be started: exit code 0 */
	bool login; /* only log in, and do not even start a shell: exit code 0 */
};

/* What a worker on another host is lent: a file or folder that it finds at MER_FAR_FOLDER "/I/NAME", where I
 * is its place among all and NAME the last part of its path. It is copied there by mer_lend() (mer/lend.h),
 * once, and looked at before each start. */
struct mer_lent {
	const char *path;   /* absolute; here */
	const char *sha256; /* as of mer/sum.h */
	bool is_source;     /* what Python leaves beside its sources, __pycache__, does not count */
	bool
		is_there; /* path is one over there: the worker knows it as it is, and it is only looked at */
};

/** The last part of its path. */
MER_API const char *mer_lent_name(const struct mer_lent *lent);

/* Stands in all words of a worker on another host for a folder that is its own there, as long as it lives. */
#define MER_FAR_FOLDER "/tmp/mer-00000000000000000000000000000000"

#define MER_REASON_SIZE 200
#define MER_LACKS_SIZE 8 /* of struct mer_outcome: for what a worker is lent */

struct mer_links; /* mer/remote.h */

/* How a worker was reached on another host. */
struct mer_reach {
	enum mer_transport transport;
	char
		why[MER_REASON_SIZE]; /* it is not libssh2, where that was to be seen; "": it was told so */
	char how[160];            /* what carries it: versions, keys; "": not known */
	int64_t connect_us, auth_us, start_us; /* -1: not measured */
};

/* A server of kind http, and what a worker asks of it before it leaves (mer/http.h). */
struct mer_http;
enum mer_http_probe { MER_HTTP_RUNS, MER_HTTP_PROBES_SERVER, MER_HTTP_PROBES_MODEL };

/* How a worker is started. Everything is borrowed until mer_worker_start() returns. */
struct mer_worker_spec {
	enum mer_protocol protocol;
	const char *guard;       /* path of the supervisor program */
	const char *const *argv; /* ended by NULL; all but {input} and {output} is expanded */
	const char *const *env;  /* NAME=VALUE, ended by NULL: the worker's whole environment */
	const char *workdir;     /* absolute */
	const char *temp;        /* folder for {input} and {output}; NULL: $TMPDIR or /tmp */
	const char
		*scratch; /* a private folder that is made for it and removed with it, in the place of
	                          * temp; NULL: none is, but for {input} and {output} */
	const struct mer_remote
		*remote;                 /* NULL: this machine. Else env is what a worker gets beside what a
	                                  * login has there, and workdir may be "": the home */
	const struct mer_lent *lent; /* with remote only: n_lent of them */
	size_t n_lent;
	bool makes; /* with remote only: what it leaves at MER_FAR_FOLDER "/new/..." stays there when
	                     * it ends well, for mer_fetch() */
	const char *folder; /* with makes: its own folder, as of mer_far_folder(); else NULL */
	struct mer_links
		*links; /* that workers on other hosts share; NULL: each has an ssh of its own */
	bool
		aside; /* with links: work of mer's own, which says nothing of when the next worker is needed */
	struct mer_reach *reach; /* filled before on_gone; NULL: nobody asks */
	const struct mer_http
		*http; /* NULL: a process. Else a worker is a run at a time as a request: of the rest only
	            * max_output counts. Counted, so it may outlive the spec */
	bool http_session; /* its runs are a session's: what they have told each other is told again */
	enum mer_http_probe http_probe; /* other than runs: it leaves at once, with MER_OK or not */
	int64_t max_output; /* bytes a run; more fails the run and ends the worker; 0: no limit */

	struct mer_limits limits; /* what its processes may take */

	/* token only; NULL: the defaults above */
	const char *ready_token, *start_token, *stop_token, *exit_token;
	bool answer_line;               /* the answer is one bare line */
	const char *const *error_lines; /* globs over stderr lines, ended by NULL; NULL: none */

	/* frame only */
	const char *weights, *weights_version; /* what it is told of them; NULL: nothing */
	bool frame_stdio; /* frames go over stdin and stdout, as where no descriptor is inherited */
	bool trains;      /* its runs are trainings: their metas are those of train */
};

/* What a run gives to a model. Borrowed until its on_done. Frame: to a worker whose contract is of
 * tensors, bytes without a meta are the text of a request of the Open Inference Protocol. */
struct mer_input {
	const char *bytes;
	size_t len;
	const char *meta; /* frame only: what the bytes are, a JSON object with "content", or a request
	                      * as mer_oip_request() takes it, of which they are the binary data; NULL:
	                      * bytes. With it the answer's metas are told too */
	int64_t deadline_ms; /* how long the answer may take, for a model that asks; 0: not told */
	bool tensors;        /* frame only: the answer's metas are told, whatever the input is */
	const char *uid;     /* of the run, for the log; NULL: it has none */
	const char
		*traceparent; /* frame only: the trace that it belongs to (mer/trace.h); NULL or "": none.
	                          * Borrowed until mer_worker_run() returns */
};

/* How a run or a worker ended. */
struct mer_outcome {
	enum mer_status status;      /* MER_OK
	                         * MER_EMODEL       it failed: exit status, signal, error line or
	                         *                  frame, it left before it had answered, or its
	                         *                  bytes are not of its protocol
	                         * MER_EINPUT       it says that the input is not what it takes
	                         * MER_ELIMIT       its output is over max_output
	                         * MER_EUNREACHABLE it could not be started, or left before it was ready
	                         * MER_ECANCELED    mer_worker_end() or mer_worker_cancel() came
	                         *                  before the answer
	                         * of a request further MER_ETIMEOUT, MER_EBUSY as its server says,
	                         * and MER_EUNREACHABLE: it surely had not begun */
	char message[512];           /* one line, "" for MER_OK */
	bool quotes;                 /* its end is the last line that the worker said on stderr */
	int exit_code;               /* of the process where it ended by exit, else -1 */
	int signal;                  /* that ended the process, else 0 */
	bool lost;                   /* nobody knows whether the model had the input: its connection
	                              * went before the answer was whole */
	int64_t busy_ms;             /* MER_EBUSY: how long it asks to be left alone; 0: not told */
	int64_t cpu_us, max_rss_kib; /* of the process where it ended, else 0 */
	/* Not "": it was not started, since not all that it is lent is there. A letter each: y it is there, n nothing
	 * of it is, a that is to be asked. */
	char lacks[MER_LACKS_SIZE];
};

/* What nobody asks for is NULL, but on_gone. run is what mer_worker_run() was given. */
struct mer_worker_events {
	void (*on_ready)(void *ctx);
	/* What the bytes that follow are: the JSON object of a result frame (docs/wire.md). Only of a
	 * run whose input had a meta or was a request; NULL where none is. */
	void (*on_meta)(void *ctx, void *run, const char *meta);
	/* A piece of a run's output; borrowed. */
	void (*on_output)(void *ctx, void *run, const char *bytes, size_t n);
	/* A piece of what the model says beside its answers: stderr, stdout outside an answer, and the
	 * log of a protocol that has one. run is NULL where none is open, or it may be of any. */
	void (*on_log)(void *ctx, void *run, const char *bytes, size_t n);
	/* How far a run is, or with run NULL how far the worker is that gets ready. */
	void (*on_progress)(void *ctx, void *run, const struct mer_progress *progress);
	/* The run has ended. The worker may be given another one from here, or ended. */
	void (*on_done)(void *ctx, void *run, const struct mer_outcome *outcome);
	/* Nothing of it is left: no process, no descriptor, no file. Open runs were done before. */
	void (*on_gone)(void *ctx, const struct mer_outcome *outcome);
};

/**
 * Prepares a worker on this machine: its supervisor is started and waits.
 *
 * @param events  borrowed until on_gone
 * @param out     gives the worker, which frees itself after on_gone
 * @return MER_EINPUT        the spec is wrong: no argv, tokens that are equal or hold a newline
 *         MER_EUNREACHABLE  the supervisor cannot be started (EMFILE, EAGAIN, ENOENT, ...), or a
 *                           limit cannot be held here
 *         MER_ENOMEM
 */
MER_API MER_MUST enum mer_status mer_worker_start(struct uv_loop_s *loop,
                                                  const struct mer_worker_spec *spec,
                                                  const struct mer_worker_events *events, void *ctx,
                                                  struct mer_worker **out, struct mer_error *err);

/** Names a folder for a worker on another host that makes something: MER_FAR_FOLDER with digits of its own. */
MER_API MER_MUST enum mer_status mer_far_folder(char out[sizeof MER_FAR_FOLDER],
                                                struct mer_error *err);

/** Lets the program run. Before that nothing of argv has run. Twice is once. */
MER_API void mer_worker_go(struct mer_worker *worker);

/** How many more runs it takes now: 0 until on_ready and once it is to leave. Once: one, from the
 * start on. */
MER_API size_t mer_worker_room(const struct mer_worker *worker);

/**
 * Gives it a run, where it has room. Once: before mer_worker_go() too.
 *
 * @param input  its bytes and meta are borrowed until on_done
 * @param run    what the events call it; not NULL, and no other open run of this worker has it
 * @return MER_EINPUT       the protocol cannot carry this input
 *         MER_EUNREACHABLE the worker has ended by itself, or is about to: on_gone comes soon
 *         MER_ENOMEM
 *         On all of them nothing was sent and the run is not open.
 */
MER_API MER_MUST enum mer_status mer_worker_run(struct mer_worker *worker,
                                                const struct mer_input *input, void *run,
                                                struct mer_error *err);

/** Whether mer_worker_run() would take that input of a worker of that spec; pure. */
MER_API MER_MUST enum mer_status mer_worker_check(const struct mer_worker_spec *spec,
                                                  const struct mer_input *input,
                                                  struct mer_error *err);

/**
 * Whether the program of a spec is there and could be started: found along the PATH of spec's
 * environment, executable, with its interpreter; nothing is run.
 * @return MER_EUNREACHABLE says what is missing, as a start would
 */
MER_API MER_MUST enum mer_status mer_worker_probe(const struct mer_worker_spec *spec,
                                                  struct mer_error *err);

/** Back-pressure: while paused no on_output comes of any run, and the model is held by its full pipe. */
MER_API void mer_worker_pause(struct mer_worker *worker, bool pause);

/**
 * Asks for an open run to be given up, and ends the worker as MER_END_TERM does where it has not
 * been after grace_ms; its output is dropped, and on_done comes with MER_ECANCELED. Other runs go on.
 * @return false: the protocol has no way to ask, or it is not open: end the worker
 */
MER_API bool mer_worker_cancel(struct mer_worker *worker, const void *run, int64_t grace_ms);

enum mer_end {
	MER_END_DRAIN, /* exit token, drain frame or end of input; after grace_ms as MER_END_TERM */
	MER_END_TERM,  /* SIGTERM to its group; after grace_ms as MER_END_KILL */
	MER_END_KILL,  /* SIGKILL to it and all its descendants */
};

/** Makes it leave. A harder way may follow a softer one. on_gone tells when it is done. */
MER_API void mer_worker_end(struct mer_worker *worker, enum mer_end how, int64_t grace_ms);

/** What it said of itself as it got ready, a JSON object (docs/wire.md); NULL: nothing. Borrowed. */
MER_API const char *mer_worker_announced(const struct mer_worker *worker);

/** The process id of the worker on this machine; 0 before it runs. */
MER_API int64_t mer_worker_pid(const struct mer_worker *worker);

/* --- what a deployment says of its workers' command and environment ------------------------- */

struct mer_pair {
	const char *name, *value;
};

/**
 * Replaces each {name} of pairs inside a word; other braces stay as they are.
 * @param out  gives the new word
 */
MER_API MER_MUST enum mer_status mer_expand(const char *word, const struct mer_pair pairs[],
                                            size_t n_pairs, char **out, struct mer_error *err);

enum { MER_SHELL_DEPTH = 32 };

/* Where in a line for a POSIX shell its words have come to. */
struct mer_shell {
	struct mer_buf front; /* what is to stand in front of the line; the caller's to release */
	char quotes[MER_SHELL_DEPTH]; /* by which it is quoted: 0, \' or "; of each $( that is open */
	size_t depth;
};

/**
 * The same for the next word of a line. A value that a shell would read as more than itself becomes a variable, so
 * that it is never code, whatever stands around it.
 */
MER_API MER_MUST enum mer_status mer_expand_line(const char *word, const struct mer_pair pairs[],
                                                 size_t n_pairs, struct mer_shell *shell,
                                                 char **out, struct mer_error *err);

/** Whether a word holds {name}. */
MER_API bool mer_expand_uses(const char *word, const char *name);

/**
 * The environment of a worker (CLI.md, Placeholders): mer's own without MER_*, PG* and whatever a
 * reference names, or with clean only the few that a login has; then the deployment's.
 *
 * @param base    mer's own environment, NAME=VALUE, ended by NULL
 * @param added   the deployment's: values may be references (mer/ref.h) or text:VALUE
 * @param hidden  further names to leave out (those that references elsewhere name), but for those that
 *                clean leaves in; ended by NULL; NULL allowed
 * @param out     gives a vector; free with mer_words_done()
 * @return MER_EINPUT a reference that cannot be resolved
 */
MER_API MER_MUST enum mer_status mer_worker_env(const char *const base[],
                                                const struct mer_pair added[], size_t n_added,
                                                bool clean, const char *const hidden[], char ***out,
                                                struct mer_error *err);

/**
 * Adds a folder behind those that a variable such as PYTHONPATH lists, or as its only one.
 *
 * @param env  as mer_worker_env() gave it; changed on MER_OK
 */
MER_API MER_MUST enum mer_status mer_worker_env_path(char ***env, const char *name,
                                                     const char *folder, struct mer_error *err);

#endif
