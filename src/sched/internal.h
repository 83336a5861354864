/*
 * Between the files of the scheduler.
 *
 *   sched.c       the front: open, submit, cancel, deadlines, close
 *   resolve.c     what a route leads to
 *   record.c      when rows are written; record.h:
 *     group.c       writes a group of them
 *     rows.c        the rows of runs and of their owner
 *     connection.c  the database thread's connection
 *   deployment.c  a deployment's row made ready for starting workers
 *   choose.c      which of several deployments a run goes to; pure
 *   again.c       what becomes of a run whose worker did not answer
 *   lent.c        what workers on another host are lent
 *   loan.c        copies it there
 *   made.c        brings what a training made there
 *   weights.c     whether a route's weights are still the bytes that were added
 *   pool.c        workers of a route: limit, idle, changes; pool.h:
 *     slot.c        one worker: start, runs, end
 *     events.c      what workers say
 *     dispatch.c    which worker a run is given to
 *     ping.c        whether a model could answer
 *   run.c         a run from its submission to its closed row
 *   contract.c    what workers announce of inputs and outputs, kept with their model
 *   keep.c        what runs read and wrote, where it is kept
 *   origin.c      the bytes that answered: programs, scripts, weights
 *   trace.c       the trace that runs belong to, as workers are told of it
 *   use.c         what a run used of a worker that stays
 *   test.c        the example that a worker answers before it is ready
 *   place.c       which processor a quick conversation takes place on
 *
 * Objects belong to the loop's thread; what the database thread may touch is said where it is
 * declared. A job owns what it points to while it is under way.
 */
#ifndef SCHED_INTERNAL_H
#define SCHED_INTERNAL_H

#include "choose.h"

#include <mer/dal.h>
#include <mer/hash.h>
#include <mer/meal.h>
#include <mer/sched.h>
#include <mer/sum.h>
#include <mer/text.h>
#include <mer/trace.h>
#include <mer/work.h>
#include <sched.h>
#include <sys/queue.h>
#include <uv.h>

#define GRACE_MS 2000     /* from SIGTERM to SIGKILL, and from the exit token to SIGTERM */
#define GROUP_ROWS 512    /* rows that are worth a transaction; measured: more gains little */
#define GROUP_MAX 1024    /* what one takes, when a slow disk has let them grow */
#define READY_LOW 64      /* with fewer recorded runs waiting the next group is written */
#define KEEP_MS 5000      /* between two looks whether the database's server is there */
#define SYNC_MS 1000      /* for so long a row may not be on the disk */
#define AGAIN_MAX 3       /* times a group is written again after a lost connection */
#define STUCK_MS 2000     /* between two tries to close what the database did not take */
#define CLOSE_DELAY_MS 50 /* how long an ended run's row may stay open while others go on */
#define STDERR_TAIL ((size_t)4096) /* bytes kept of what a model says beside its answers */

#define KEPT_FLUSH ((size_t)4 << 20) /* bytes kept of ended runs that are worth a group */
#define KEPT_MAX ((size_t)64 << 20) /* with more of them no run begins, so that memory stays flat */
#define ORIGIN_DIGEST 33            /* room for the 32 digits of an origin and a NUL */

struct run_list;
TAILQ_HEAD(run_list, mer_run);
struct facts;
struct origin;
struct test;
struct testing;
struct loan;
struct making;

enum { LENT_MAX = 4 };

/* What a training is told beside the old weights; all owned. */
struct training {
	char *dataset, *new_weights, *new_version;
	void (*on_gone)(void *ctx);
	void *ctx;
};

/* A deployment as it was when its rows were read; counted, since workers outlive a change. */
struct deployment {
	int refs;
	char *key; /* what it was made of */
	char *uid, *name, *model, *server, *weights, *weights_path, *weights_sha256;
	char *weights_here; /* what weights_path is, or was copied from; NULL: there is nothing here */
	bool uses_weights;  /* a worker of it is told of them */
	char *train_meta;   /* what a worker that stays is told to train; NULL: it is not */
	struct mer_worker_spec spec; /* its texts are the owned ones below */
	char **argv, **env, **error_lines;
	char *workdir, *ready_token, *start_token, *stop_token, *exit_token;
	int64_t idle_ms, timeout_ms, start_timeout_ms;
	int64_t max_workers, max_queue, retries, priority;
	bool stateful;               /* a worker keeps what a session's runs have told it */
	bool keep_io;                /* what its runs read and wrote is kept */
	struct choose_health health; /* the loop's */
	struct origin *origin;       /* the loop's: of its last worker */
	struct test *test;           /* NULL: workers are not tested */
	struct mer_remote *remote;   /* where its server is of kind ssh: */
	struct mer_lent lent[LENT_MAX];
	size_t n_lent;
	char *models, *python;              /* where they are found there; NULL: they are not */
	struct training training;           /* as it is told there; NULL of each: it is none */
	char folder[sizeof MER_FAR_FOLDER]; /* of a training; else "" */
	struct loan *loan;                  /* the loop's; NULL: nothing is being copied there */
	struct mer_http *http;              /* or http; both NULL: it is this machine */
};

/* What a route leads to, in the order of priority. */
enum { PLACES_MAX = 64 }; /* further deployments of a model are not used */
struct places {
	size_t n;
	struct {
		char *key;               /* of a deployment that the route has: */
		struct deployment *made; /* else the new one */
	} of[PLACES_MAX];
};

enum slot_state { SLOT_PREPARED, SLOT_STARTING, SLOT_IDLE, SLOT_BUSY, SLOT_ENDING };

/* A worker and what the scheduler knows of it. Owned by its route until it is gone. */
struct slot {
	TAILQ_ENTRY(slot) link;
	struct route *route;
	struct deployment *deployment;
	struct mer_worker *worker;
	enum slot_state state;
	struct run_list runs; /* those that it answers, or the one that waits for it to be ready */
	size_t n_runs;
	bool answered;           /* a run, since it was started */
	int64_t ready_by;        /* loop time in ms; 0: it is ready or not started */
	int64_t idle_until;      /* loop time in ms; 0: not idle */
	struct testing *testing; /* NULL: it is not being tested */
	bool tested;
	bool clocked; /* clock is that of the processor time of its process */
	clockid_t clock;
	struct facts *facts; /* of the files it was started with; NULL: see origin */
	struct origin *origin;
	struct making *making; /* of a training that has ended; NULL: nothing is to be brought here */
};
TAILQ_HEAD(slot_list, slot);

/* A way to a model: its name with the caller's choice of server, deployment, session and weights. Each
 * training has one of its own. */
struct route {
	TAILQ_ENTRY(route) link;
	struct mer_sched *sched;
	char *model, *server, *deployment; /* "" any; never change */
	char *session;                     /* "": none; never changes */
	bool begun;                        /* a worker has seen a run of the session */
	char *weights;                     /* version; "" the active one; never changes */
	struct training *training;         /* NULL: it is a way to answers; never changes */

	/* the database thread's alone */
	char **seen;                                 /* keys of what it leads to, ended by NULL */
	char *seen_uid, *seen_server, *seen_weights; /* of the first */
	char *seen_path, *seen_sha256;               /* of weights that matter, else NULL */
	char read_stamp[MER_SHA256_SIZE];            /* of the bytes that read_sum is of; "": none */
	struct mer_sum read_sum;
	char *passed_over; /* why another one cannot be used, as was said */

	/* the loop's */
	struct deployment *places[PLACES_MAX]; /* those that are in force */
	size_t n_places;
	struct deployment *current; /* the first of them; NULL: none is known yet */
	struct run_list ready;      /* recorded, not sent */
	size_t n_ready, n_calls;    /* n_calls: those that are not of a stream */
	size_t n_open;              /* of n_open of the scheduler */
	struct slot_list slots;
	struct ping *ping;
};
TAILQ_HEAD(route_list, route);

struct ping {
	mer_ping_fn *on_ready;
	void *ctx;
	uint64_t begun_ns;
	int64_t timeout_ms;
	bool waits; /* for a worker to leave, for another way's to be ready, or for what is lent */
	bool lent;  /* what a worker needs was copied for it */
	struct mer_worker *looks; /* on another host, for a program; NULL: none does */
};

enum run_state {
	RUN_NEW,   /* its row is not written */
	RUN_READY, /* in its route's ready list */
	RUN_TAKEN, /* a slot has it, the worker is not ready */
	RUN_OPEN,  /* its input is sent */
	RUN_ENDED, /* done was called; the row is to be closed */
};

/* What is kept of a run's input and output. */
struct kept_io {
	char *input;           /* NULL: larger than the limit */
	char *meta;            /* what its bytes are; NULL: just bytes */
	struct mer_buf output; /* the same where its status is not MER_OK */
	struct mer_buf metas; /* what its parts are, as a JSON array; the same, and where it is empty */
	size_t bytes;
};

enum run_ending { ENDING_NO, ENDING_TIMEOUT, ENDING_CANCEL, ENDING_KILL };

struct mer_run {
	TAILQ_ENTRY(mer_run) link;  /* in one of: pending, a job's, ready, a slot's, closing */
	TAILQ_ENTRY(mer_run) timed; /* in the scheduler's timed list while deadline is set */
	struct mer_sched *sched;
	struct route *route;
	struct slot *slot;
	struct deployment *deployment; /* where it was last; NULL: nowhere yet */
	enum run_state state;
	enum run_ending ending;
	const struct mer_run_events *events;
	void *ctx;

	struct mer_uid uid;
	uint64_t number;   /* in the order of submission */
	const char *input; /* borrowed until done */
	size_t input_len;
	const char *input_meta; /* borrowed until done; NULL: none */
	int64_t bytes_in;       /* of both */
	bool tensors;           /* its answer is to be told with its metas */
	size_t jobs;
	int64_t timeout_ms, deadline; /* loop time in ms; 0: none */
	bool own_timeout;             /* not the deployment's */
	bool no_record, stream, paused;
	bool accepted;   /* it may wait */
	bool answered;   /* something of an answer has come */
	uint64_t tried;  /* a bit for each of the route's places where it was and is not to go again */
	int attempts;    /* how often a worker took it */
	int64_t retried; /* how often it was given again to one after a worker had seen it */
	char row_uid[sizeof(struct mer_uid)]; /* the database thread's: the deployment of its row */
	bool refused;    /* written by the database thread: its route has no deployment */
	bool rejected;   /* by the same: its route's weights are not what they should be */
	bool recorded;   /* its row is in the database */
	bool unwritable; /* by the database thread: its row was refused, or could not be written */
	bool lent;       /* what it needs was copied to where it was last */
	bool gone;       /* by the database thread: its row was not there to be closed */
	int64_t place;   /* the database thread's: where in it; 0: not told */

	uint64_t queued_ns, taken_ns, sent_ns, done_ns;
	int64_t started_at, stopped_at; /* wall clock in ms */
	struct mer_sha256 hash;
	int64_t bytes_out;
	char sha256_out[MER_SHA256_SIZE];
	struct mer_buf tail;
	struct kept_io *kept;  /* NULL: nobody asks for it */
	struct origin *origin; /* NULL: no worker had it, or it is not known */
	char replays[sizeof((struct mer_uid *)0)->text];

	enum mer_status ended; /* what the row closes with: */
	const char *status;
	int exit_code;
	int signal;
	int64_t cpu_us, max_rss_kib; /* -1: not known */
	int64_t used_us; /* of its worker when it was sent; -1: it has it not alone, or not known */
	char *error;
};

/* A time and its text. */
struct stamp {
	int64_t ms;
	char text[MER_TIME_SIZE]; /* "": none yet */
};

struct mer_sched {
	uv_loop_t *loop;
	struct mer_work *work;
	const char *door;
	char *database, *models, *guard, *python;
	const char *const *environment;
	const char *hidden;
	struct mer_links *links; /* borrowed; NULL: none */
	int64_t keep_io_max;
	char traceparent[MER_TRACEPARENT_SIZE]; /* "": none; never changes */

	struct mer_uid owner;   /* older than its runs */
	struct mer_haste haste; /* of the database thread's waits; set by the loop's */

	/* the database thread's alone */
	struct mer_dal *dal;
	char **secrets;    /* names of the environment that nobody inherits; NULL: not read yet */
	bool registered;   /* our owner row is written and its lock is held */
	bool owes;         /* a row of ours stays open */
	int64_t synced_ms; /* when rows were brought to the disk last, or first written; 0: never */

	_Atomic bool stop_reading; /* set by the loop: the database thread is to read no weights */

	/* the database thread's alone */
	char who[64], host[256];
	int64_t pid;
	struct stamp queued, started, stopped; /* the last of each */

	/* the loop's */
	struct mer_uid_source uids;
	struct route_list routes;
	struct run_list pending; /* to be written */
	struct run_list closing; /* to be closed in the database */
	struct run_list all_timed;
	size_t n_pending, n_closing, n_open, n_ready;
	size_t kept_bytes;  /* of runs that have ended */
	uint64_t submitted; /* runs so far */
	bool recording;     /* a record job is under way */
	bool hurried;       /* haste is to stay until the next submission */
	bool stuck;         /* some of closing could not be written: later */
	bool stuck_said;    /* and that was said */
	size_t jobs;        /* of any kind under way */
	size_t slots;       /* workers that are not gone */
	bool crowded;       /* a run may wait for a worker of another route to leave */
	uv_timer_t clock;   /* earliest deadline */
	int64_t clock_at;   /* loop time; 0: not armed */
	uv_timer_t close_delay;
	uv_timer_t keep; /* looks after the connection: a server's while runs are open, a file's when
	                  * something is not on the disk */
	struct mer_job keep_job;
	bool keeping;   /* keep_job is under way */
	uv_idle_t kick; /* does what must not happen inside a caller's call */
	struct mer_error record_error;
	struct place *place;

	struct mer_job close_job;
	bool leaving; /* the database is being closed */
	bool closed_dal;
	int open_handles;
	mer_sched_closed_fn *on_closed;
	void *closed_ctx;
};

/* --- deployment.c --- */
enum mer_status deployment_make(const struct mer_deployment_row *row, const char *key,
                                const struct mer_sched *sched, const struct training *training,
                                struct deployment **out, struct mer_error *err);
void deployment_free(struct deployment *deployment);
static inline struct deployment *deployment_ref(struct deployment *deployment)
{
	deployment->refs++;
	return deployment;
}
void deployment_unref(struct deployment *deployment);

/* --- lent.c, in the database thread --- */
/* Where the weights of a row are, there and here. */
enum mer_status lent_weights(struct deployment *deployment, const struct mer_deployment_row *row,
                             const char *models, struct mer_error *err);
/* What its workers on another host are lent; changes where the weights are. */
enum mer_status lent_read(struct deployment *deployment, const struct mer_deployment_row *row,
                          const struct mer_sched *sched, const struct training *training,
                          struct mer_error *err);
void lent_free(struct deployment *deployment);

/* --- loan.c --- */
/* Copies what workers of that deployment are lent, where one says that it lacks something. Not so: it cannot. */
bool loan_begin(struct route *route, struct deployment *deployment, const char *lacks);
/* A run or ping of the route has ended that waited: nobody may want it any more. */
void loan_unwanted(struct route *route);

/* --- weights.c, in the database thread --- */
/* Notes the weights of what the route leads to now. */
enum mer_status weights_seen(struct route *route, const struct places *places,
                             struct mer_error *err);
/* Whether they are what was added, as far as that is known without reading them: *unread, read them. */
enum mer_status weights_look(struct route *route, bool *unread, struct mer_error *err);
/* Reads them. Takes its time: not in a transaction. */
enum mer_status weights_read(struct route *route, struct mer_error *err);

/* --- resolve.c --- */
/* Reads what the route leads to, in the database thread. *fresh stays NULL where nothing has changed. */
enum mer_status resolve_route(struct mer_sched *sched, struct route *route, struct places **fresh,
                              struct mer_error *err);
/* Has it read ahead, so that its worker is prepared while rows are written. */
void resolve_ahead(struct route *route);

/* --- record.c --- */
/* Writes what is pending when it is time to; now: in any case. */
void record_flush(struct mer_sched *sched, bool now);

/* --- connection.c --- */
/* Opens the connection unless it is, in the database thread. */
enum mer_status connection_open(struct mer_sched *sched, struct mer_error *err);
/* Begins to look after it. */
void connection_keep(struct mer_sched *sched);
/* Has the thread close it, as the last that it does. */
void connection_leave(struct mer_sched *sched);

/* --- dispatch.c --- */
/* Gives ready runs to workers, and starts workers. */
void dispatch_route(struct route *route);

/* --- ping.c --- */
/* What the route's ping asks for. */
void ping_begin(struct route *route);
void ping_cancel(struct route *route);

/* --- slot.c --- */
/* Holds the worker, or lets it go on, as its runs say. */
void slot_hold(struct slot *slot);

/* --- pool.c --- */
/* Starts a worker that waits to be let go. */
void pool_prepare(struct route *route);
/* A run was submitted: where each has a program of its own on another host, it gets there while rows are written. */
void pool_foresee(struct route *route);
/* That is not about to leave. */
bool pool_has_worker(const struct route *route);
/* Ends a run that a slot has. */
void pool_end_run(struct mer_run *run, bool kill);
/* Other deployments are in force, which it takes: workers of the old ones leave when they are idle. */
void pool_changed(struct route *route, struct places *fresh);
void pool_drain(struct route *route);
/* Earliest time at which something of the route's workers is due; 0: nothing. */
int64_t pool_due(const struct route *route);
void pool_tick(struct route *route, int64_t now);

/* --- again.c --- */
/* A run that no model has seen, since this deployment could not be started, waits for another one.
 * Not so: it is to fail. */
bool again_elsewhere(struct mer_run *run, const struct deployment *deployment);
/* A run that a busy server has not taken goes elsewhere, or waits. Not so: it is to fail. */
bool again_later(struct mer_run *run, struct deployment *deployment, int64_t busy_ms);
/* A run whose worker died over it waits to be sent once more. Not so: it is to fail. */
bool again_anew(struct mer_run *run, const struct deployment *deployment);
/* A run whose worker was not started, since what it is lent is not there, waits for that. Not so: it is
 * to fail. */
bool again_lent(struct mer_run *run, struct deployment *deployment, const char *lacks);
/* A deployment failed; took and slowest as of choose_failed(). */
void again_learn(const struct route *route, struct deployment *deployment, int64_t took,
                 int64_t slowest, const char *why);

/* --- run.c --- */
void run_sent(struct mer_run *run, uint64_t now_ns);
void run_meta(struct mer_run *run, const char *meta);
void run_output(struct mer_run *run, const char *bytes, size_t n);
void run_log(struct mer_run *run, const char *bytes, size_t n);
/* The same, but nobody is told. */
void run_keep_log(struct mer_run *run, const char *bytes, size_t n);
/* Ends the run: its caller is told, its row goes to be closed. */
void run_end(struct mer_run *run, const struct mer_outcome *outcome);
/* Ends a run that no worker has, as its ending says: cancelled, or its deadline has passed. */
void run_cancelled(struct mer_run *run);
/* Puts it into its route's ready list, and takes it out; again: it was there before, and those submitted
 * earlier may be. */
void run_make_ready(struct mer_run *run, bool again);
void run_leave_ready(struct mer_run *run);
void run_fail(struct mer_run *run, enum mer_status status, const char *row_status,
              const struct mer_error *error);
void run_free(struct mer_run *run);
/* All of it but its times. */
void run_close_row(struct mer_run *run, struct mer_run_close *row);

/* --- sched.c --- */
/* Something with an earlier deadline has come. */
void sched_due(struct mer_sched *sched, int64_t at);
void sched_run_timed(struct mer_run *run);
void sched_run_untimed(struct mer_run *run);
/* Does soon, outside of the caller's call, what must not happen inside of it. */
void sched_kick(struct mer_sched *sched);
/* Something has ended; if it was the last, close. */
void sched_maybe_closed(struct mer_sched *sched);

/* --- contract.c --- */
/* Keeps what a worker of a model has announced (a JSON object), soon and where it may. */
void contract_keep(struct mer_sched *sched, const char *model, const char *announced);

/* --- keep.c --- */
/* Its row is written, or it goes to another deployment: from now on it is kept, where that says so. */
void keep_begin(struct mer_run *run, const struct deployment *deployment);
/* Run's kept is not NULL: */
void keep_output(struct mer_run *run, const char *bytes, size_t n);
void keep_meta(struct mer_run *run, const char *meta);
/* Copies the input, which is borrowed for no longer. */
void keep_end(struct mer_run *run);
enum mer_status keep_write(struct mer_dal *dal, const struct mer_run *run, struct mer_error *err);
void keep_release(struct mer_run *run);

/* --- origin.c --- */
/* A worker that stays is about to be let go: its files are looked at. */
void origin_begin(struct slot *slot);
/* It has the run: so does its origin. */
void origin_take(struct slot *slot, struct mer_run *run);
void origin_end(struct slot *slot);
void origin_unref(struct origin *origin);
/* "" of NULL. */
const char *origin_digest(const struct origin *origin);
/* The database thread's: writes its row unless it is there, and is told what became of it. */
enum mer_status origin_write(struct mer_sched *sched, struct origin *origin, struct mer_error *err);
void origin_written(struct origin *origin, bool committed);

/* --- use.c --- */
/* A worker that stays was given a run, and has answered it. */
void use_begin(struct slot *slot, struct mer_run *run);
void use_end(struct slot *slot, struct mer_run *run, const struct mer_outcome *outcome);

/* --- test.c --- */
/* The database thread's. */
enum mer_status test_read(struct mer_dal *dal, struct deployment *deployment,
                          struct mer_error *err);
void test_free(struct test *test);
/* A worker could be ready: whether it is to be tested first. err: it cannot be. */
bool test_begin(struct slot *slot, struct mer_error *err);
void test_output(struct slot *slot, const char *bytes, size_t n);
/* It has answered. */
bool test_passed(struct slot *slot, const struct mer_outcome *outcome, struct mer_error *err);
void test_end(struct slot *slot);

/* --- place.c --- */
struct place *place_new(struct mer_work *work);
void place_free(struct place *place);
/* A call of one that follow one another took this long. */
void place_call(struct place *place, int64_t pid, uint64_t call_ns);
/* Everybody runs wherever they like again: before a start, at the end of a stream. */
void place_leave(struct place *place);

#endif
