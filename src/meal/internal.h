/*
 * Inside meal: a worker is a carrier, which moves bytes and knows about processes, and a protocol,
 * a pure state machine that knows what the bytes mean. meal.c puts the two together.
 */
#ifndef MEAL_INTERNAL_H
#define MEAL_INTERNAL_H

#include <mer/meal.h>
#include <sys/queue.h>
#include <sys/types.h>

enum meal_stream {
	MEAL_STDOUT, /* or the connection of its own over which a worker answers */
	MEAL_STDERR, /* with such a connection stdout too */
	MEAL_FILE,   /* the file that stands for {output} */
};

/* How a worker's process ended. */
struct meal_exit {
	bool started;  /* its program ran */
	int exit_code; /* -1: it did not exit */
	int signal;    /* 0: none ended it */
	int64_t cpu_us, max_rss_kib;
	char problem[400];          /* why it could not be started or watched; "": it ended by itself */
	char no_output[256];        /* why the file that stands for {output} cannot be read, or "" */
	char lacks[MER_LACKS_SIZE]; /* as of struct mer_outcome */
};

#define MEAL_OPEN_MAX 64 /* runs of a worker at a time, whatever it announces */

/* --- protocols ------------------------------------------------------------------------------ */

#define MEAL_PIECES_MAX 3

/* What a run's input becomes on the worker's stdin. */
struct meal_pieces {
	struct mer_str piece[MEAL_PIECES_MAX]; /* borrowed from protocol, call and input */
	size_t count;
	bool last; /* stdin ends behind them */
};

/* An open run: from begin until meal.c has told the caller how it ended. First member of what a
 * protocol keeps of one, which is zeroed before begin. */
struct meal_call {
	TAILQ_ENTRY(meal_call) link; /* in the protocol's calls */
	void *run;                   /* the caller's */
	struct mer_input input;
	struct meal_pieces pieces; /* set by begin */

	/* meal.c's */
	int64_t output;    /* bytes */
	bool finished;     /* result holds how it ended, on_done is due */
	bool cancelling;   /* it is asked to be given up; its output is dropped */
	int64_t cancel_by; /* loop time in ms: until when it may take to do so */
	struct mer_outcome result;
};
TAILQ_HEAD(meal_calls, meal_call);

enum meal_event_kind {
	MEAL_NOTHING,
	MEAL_READY,    /* takes its first run */
	MEAL_META,     /* of an output that follows; bytes end with a NUL that does not count */
	MEAL_OUTPUT,   /* bytes of a run's output */
	MEAL_LOG,      /* bytes beside it */
	MEAL_DONE,     /* a run is answered, or failed with bytes as its message */
	MEAL_SEND,     /* bytes are to be sent to the worker, which did not wait for a run */
	MEAL_PROGRESS, /* of a run; bytes: what the model says of it, perhaps nothing */
	MEAL_BROKEN, /* the worker cannot be talked to any more, bytes say why; the farewell tells it */
};

struct meal_event {
	enum meal_event_kind kind;
	struct meal_call *call; /* of which run; NULL: the one that is open */
	struct mer_str bytes;   /* borrowed until the next call */
	enum mer_status status; /* DONE, BROKEN */
	double done, total;     /* PROGRESS; total 0: not known */
};

struct meal_protocol_ops;

/* First member of each protocol's own struct; zeroed before init. */
struct meal_protocol {
	const struct meal_protocol_ops *ops;
	struct meal_calls calls; /* the open ones, in their order */
	size_t n_open,
		capacity; /* how many they are, and may be: one until the protocol says otherwise */
	struct meal_call *spare; /* of a run that is over, for the next one */
	bool syncing;            /* of the open run only the first piece may be sent until synced */
	bool stays;              /* one worker takes many runs */
	bool hears_stderr;       /* what stderr says can fail a run */
	bool lingers;            /* after the farewell the worker's input stays open */
	/* What the worker is sent; owned by the protocol, empty for nothing. */
	struct mer_str greeting; /* as soon as it may run */
	struct mer_str farewell; /* makes an idle worker leave; empty: the end of its input does */
	const char
		*announced; /* what it said of itself as it got ready: a JSON object; NULL: nothing */
};

/* Its only open run, or NULL. */
static inline struct meal_call *meal_only_call(const struct meal_protocol *protocol)
{
	struct meal_call *first = TAILQ_FIRST(&protocol->calls);
	return first != NULL && TAILQ_NEXT(first, link) == NULL ? first : NULL;
}

/* They never block, allocate only what they say, and call nobody. */
struct meal_protocol_ops {
	const char *name;
	size_t size;      /* of the protocol's own struct */
	size_t call_size; /* of what it keeps of a run */

	/* MER_EINPUT where the spec is wrong. release follows it either way. */
	enum mer_status (*init)(struct meal_protocol *protocol, const struct mer_worker_spec *spec,
	                        struct mer_error *err);
	void (*release)(struct meal_protocol *protocol);

	/* Whether a worker of that spec could be given that input; MER_EINPUT says why not. */
	enum mer_status (*check)(const struct mer_worker_spec *spec, const struct mer_input *input,
	                         struct mer_error *err);

	/* Makes the pieces of a run. Failures as of check, and MER_ENOMEM; then nothing has changed. */
	enum mer_status (*begin)(struct meal_protocol *protocol, struct meal_call *call,
	                         struct mer_error *err);

	/* What makes the worker give up that run, and answer so; borrowed from it. NULL: nothing does. */
	struct mer_str (*cancel)(struct meal_protocol *protocol, struct meal_call *call);

	/* The run is told: what it owns is freed. NULL: nothing is. */
	void (*end)(struct meal_call *call);

	/* After a run that failed while its worker lives on, nobody knows whether the worker still
	 * speaks of it. So of the next run the worker first gets one piece (base.syncing). Once it has
	 * read that, all that it printed before belongs to nobody: with surely, it has, and what it
	 * printed has been fed; without, the carrier cannot tell. */
	void (*synced)(struct meal_protocol *protocol, bool surely);

	/* Takes some of the bytes, gives at most one event, and returns how many it took. To be called
	 * again with the rest until there is none and the event is MEAL_NOTHING. */
	size_t (*feed)(struct meal_protocol *protocol, enum meal_stream stream, const char *bytes,
	               size_t n, struct meal_event *event);

	/* The stream is at its end. At most one event; DONE of a run may come here. */
	void (*eof)(struct meal_protocol *protocol, enum meal_stream stream, struct meal_event *event);

	/* What it means that the process has ended by itself, after the ends of its streams: the status
	 * of that open run, or without one of the worker; *when completes "the model ended". */
	enum mer_status (*ended)(const struct meal_protocol *protocol, const struct meal_call *call,
	                         const struct meal_exit *how, const char **when);
};

extern const struct meal_protocol_ops meal_once, meal_token, meal_frame;

/* protocol.c: failures as of init. Free it at the end; open runs end with it. */
MER_MUST enum mer_status meal_protocol_new(const struct meal_protocol_ops *ops,
                                           const struct mer_worker_spec *spec,
                                           struct meal_protocol **out, struct mer_error *err);
void meal_protocol_free(struct meal_protocol *protocol);

/* start.c: the one that a spec names. MER_EINPUT: there is none, or the spec lacks what each needs. */
MER_MUST enum mer_status meal_protocol_of(const struct mer_worker_spec *spec,
                                          struct meal_protocol **out, struct mer_error *err);

/* Opens a run, where there is room, until meal_end(). Failures as of begin. */
MER_MUST enum mer_status meal_begin(struct meal_protocol *protocol, const struct mer_input *input,
                                    struct meal_call **out, struct mer_error *err);
void meal_end(struct meal_protocol *protocol, struct meal_call *call);

/* Refuses an input that is not just bytes. */
MER_MUST enum mer_status meal_check_plain(const struct mer_input *input, struct mer_error *err);

/* --- carriers ------------------------------------------------------------------------------- */

struct meal_carrier;

/* What a carrier tells; never from inside a call of meal_carrier_ops, except data from settle.
 * Order: prepared, data and eof in any order, ended once, closed once. */
struct meal_carrier_events {
	void (*prepared)(void *ctx); /* the program may be let run */
	void (*data)(void *ctx, enum meal_stream stream, const char *bytes, size_t n);
	void (*eof)(void *ctx, enum meal_stream stream);
	/* The process is gone and its streams are at their ends; also where it never started. */
	void (*ended)(void *ctx, const struct meal_exit *how);
	/* Nothing is left. The carrier frees itself after the return. Only after close. */
	void (*closed)(void *ctx);
};

struct meal_carrier_ops;

/* First member of each carrier's own struct. */
struct meal_carrier {
	const struct meal_carrier_ops *ops;
	const struct meal_carrier_events *events; /* set before start; borrowed */
	void *ctx;
	int64_t pid; /* of the worker; 0: it does not run yet */
};

enum meal_signal { MEAL_TERM, MEAL_KILL };

/* None of them blocks. After close only closed comes. */
struct meal_carrier_ops {
	const char *name;

	/* Prepares the worker. After a failure the carrier frees itself. */
	enum mer_status (*start)(struct meal_carrier *carrier, struct uv_loop_s *loop,
	                         const struct mer_worker_spec *spec, struct mer_error *err);

	/* Lets the program run. Kept until what it needs is there. Twice is once. */
	void (*go)(struct meal_carrier *carrier);

	/* Queues bytes for the worker's input, behind earlier ones; last closes it behind them. The
	 * pieces are borrowed until their owner is settled (NULL: as long as the worker lives) or a
	 * MEAL_KILL. What a worker does not read is dropped. */
	void (*write)(struct meal_carrier *carrier, const struct mer_str pieces[], size_t n, bool last,
	              const void *owner);

	/* Queues a copy of bytes that no run asked for. MER_EBUSY: the worker does not read what it was
	 * sent before. */
	enum mer_status (*tell)(struct meal_carrier *carrier, struct mer_str bytes);

	/* While paused no data and no eof of MEAL_STDOUT and MEAL_FILE come. */
	void (*pause)(struct meal_carrier *carrier, bool pause);

	/* MEAL_TERM: to the worker's group; MEAL_KILL: it and all its descendants, and what is queued is
	 * dropped. */
	void (*signal)(struct meal_carrier *carrier, enum meal_signal signal);

	/* A run is over: copies what is still queued of it and, with hear, gives what stderr holds by now.
	 * MER_ENOMEM, or MER_EBUSY where too many did not wait for their input to be read: the queue is
	 * dropped, which leaves the worker with half an input. */
	enum mer_status (*settle)(struct meal_carrier *carrier, const void *owner, bool hear);

	/* Whether bytes are on their way: not yet read by the worker, or printed by it and not given.
	 * -1: cannot be told. */
	int (*in_flight)(struct meal_carrier *carrier);

	/* Ends it if it still lives, and frees the carrier after closed; one that was never started at
	 * once and silently. */
	void (*close)(struct meal_carrier *carrier);
};

extern const struct meal_carrier_ops meal_local;

/* A worker on this machine, which speaks frames or not. NULL: out of memory. */
struct meal_carrier *meal_local_new(bool frames);

/* What carries a worker of that spec, wherever it is. NULL: out of memory. */
struct meal_carrier *meal_carrier_new(const struct mer_worker_spec *spec);

/* Wraps a carrier that was not started, and takes it, on failure too: its nth step fails (fault.c;
 * 0: none does). steps counts them; borrowed until closed; NULL allowed. NULL: out of memory. */
struct meal_carrier *meal_fault_new(struct meal_carrier *inner, int64_t fail_at, int64_t *steps);

/* --- workers -------------------------------------------------------------------------------- */

struct meal_worker_ops;

/* First member of each kind's own struct. */
struct mer_worker {
	const struct meal_worker_ops *ops;
};

/* What mer/meal.h says of mer_worker_NAME(); worker.c traces calls and has checked what they are given. */
struct meal_worker_ops {
	void (*go)(struct mer_worker *worker);
	size_t (*room)(const struct mer_worker *worker);
	enum mer_status (*run)(struct mer_worker *worker, const struct mer_input *input, void *run,
	                       struct mer_error *err);
	bool (*cancel)(struct mer_worker *worker, const void *run, int64_t grace_ms);
	void (*pause)(struct mer_worker *worker, bool pause);
	void (*end)(struct mer_worker *worker, enum mer_end how, int64_t grace_ms);
	const char *(*announced)(const struct mer_worker *worker);
	int64_t (*pid)(const struct mer_worker *worker);
};

/* start.c: as mer_worker_start() and mer_worker_check(), of a worker over bytes. */
MER_MUST enum mer_status meal_start(struct uv_loop_s *loop, const struct mer_worker_spec *spec,
                                    const struct mer_worker_events *events, void *ctx,
                                    struct mer_worker **out, struct mer_error *err);
MER_MUST enum mer_status meal_worker_check(const struct mer_worker_spec *spec,
                                           const struct mer_input *input, struct mer_error *err);

/* meal.c: as mer_worker_start(), over a carrier that was not started; takes it, on failure too. */
MER_MUST enum mer_status meal_worker_start(struct uv_loop_s *loop, struct meal_carrier *carrier,
                                           const struct mer_worker_spec *spec,
                                           const struct mer_worker_events *events, void *ctx,
                                           struct mer_worker **out, struct mer_error *err);

#endif
