/*
 * What can be asked of the metadata database: the queries, their arguments and their rows.
 *
 * Row structs hold no NULL: a missing text is "", a missing number what the comment says. Times are
 * RFC 3339 in UTC. Each backend has its own text for a query; src/dal/queries.c says how to add one.
 */
#ifndef MER_QUERIES_H
#define MER_QUERIES_H

#include <mer/buf.h>
#include <stdint.h>

/* The tables of the metadata but for the ledger; what a row refers to is in a table before its own,
 * or in its own. */
enum mer_table {
	MER_TABLE_SERVERS,
	MER_TABLE_MODELS,
	MER_TABLE_DEPLOYMENTS,
	MER_TABLE_WEIGHTS,
	MER_TABLE_PROVENANCE,
	MER_TABLE_RUNS,
	MER_TABLE_IO,
	MER_TABLE_FEEDBACK,
	MER_TABLE_TOTALS,
	MER_TABLE_OWNERS,
	MER_TABLE_COUNT
};

enum mer_query {
	/* the ledger: struct mer_ledger_row, by number */
	MER_Q_LEDGER_EXISTS, /* struct mer_count_row: 0 or 1; ask before the others */
	MER_Q_LEDGER_CREATE, /* makes the table unless it is there */
	MER_Q_LEDGER,        /* num (0 before all), limit: the rows that follow it */
	MER_Q_LEDGER_INSERT, /* num name sha256 canonical_sha256 duration_ms applied_by tool_version */
	MER_Q_LEDGER_START,  /* num name sha256 canonical_sha256 applied_by tool_version: one that runs
	                         outside a transaction begins */
	MER_Q_LEDGER_FINISH, /* num duration_ms: and has ended */
	MER_Q_LEDGER_ACCEPT, /* num name sha256 canonical_sha256: this is what has run */
	MER_Q_LEDGER_FORGET, /* num */
	MER_Q_LEDGER_MAX,    /* struct mer_count_row: highest number below 1000, 0 without any */

	/* servers: struct mer_server_row, by name */
	MER_Q_SERVERS,
	MER_Q_SERVER_BY_NAME, /* name */
	MER_Q_SERVER_INSERT,  /* uid name kind host port user params */
	MER_Q_SERVER_UPDATE,  /* uid host port user params */
	MER_Q_SERVER_DELETE,  /* uid */

	/* names for completion: struct mer_name_row, of those that begin so in their order. Where more
	 * than limit models or servers do, the last of all comes behind the first ones. */
	MER_Q_MODEL_NAMES,      /* beginning, limit */
	MER_Q_SERVER_NAMES,     /* beginning, limit */
	MER_Q_DEPLOYMENT_NAMES, /* beginning, limit, model name */
	MER_Q_WEIGHTS_NAMES,    /* beginning, limit, model name: versions, the newest first */
	MER_Q_RUN_NAMES, /* beginning, limit, request uid, pid: request uids, the newest first, none
	                    older than that one; pid 0: of any */

	/* models: struct mer_model_row, by name */
	MER_Q_MODELS,
	MER_Q_MODEL_BY_NAME, /* name */
	MER_Q_MODEL_INSERT,  /* uid name summary */
	MER_Q_MODEL_UPDATE,  /* uid summary */
	MER_Q_MODEL_TOUCH, /* uid: it was changed; who has done so first in a transaction goes first */
	MER_Q_MODEL_FEEDBACK,     /* uid feedback feedback_threshold train_after */
	MER_Q_MODEL_CONTRACT_MAY, /* struct mer_count_row: 1 where the next may be asked, else 0 */
	MER_Q_MODEL_CONTRACT,     /* name inputs outputs: what its workers announce; no change of the
	                             model, so not of its time */
	MER_Q_MODEL_DELETE,       /* uid; its deployments and weights go too, its runs stay */
	MER_Q_MODEL_TEST,     /* model name: four of struct mer_value: the example's input and output
	                         (NULL: it has none), tolerance ("": each byte), whether at each start */
	MER_Q_MODEL_TEST_SET, /* uid input output tolerance on_start */

	/* deployments: struct mer_deployment_row, by model, priority, name */
	MER_Q_DEPLOYMENTS,       /* model name, "" for all */
	MER_Q_RESOLVE,           /* model name, version or "": the enabled ones in the order to try
	                            them, with these weights instead of the active ones */
	MER_Q_DEPLOYMENT_INSERT, /* uid name model_uid server_uid protocol workdir argv train env params
	                             limits max_workers idle_ms timeout_ms start_timeout_ms priority */
	MER_Q_DEPLOYMENT_UPDATE, /* uid server_uid protocol workdir argv train env params limits
	                             max_workers idle_ms timeout_ms start_timeout_ms priority name
	                             enabled */
	MER_Q_DEPLOYMENT_DELETE, /* uid; its runs stay */
	MER_Q_SECRET_NAMES, /* struct mer_name_row: variables that a reference env:NAME of any server,
	                             deployment or model names */

	/* weights: struct mer_weights_row, newest first */
	MER_Q_WEIGHTS,          /* model name */
	MER_Q_WEIGHTS_INSERT,   /* uid model_uid version path sha256 bytes parent_uid metrics made_by:
	                           a candidate */
	MER_Q_WEIGHTS_RETIRE,   /* model_uid: its active ones */
	MER_Q_WEIGHTS_ACTIVATE, /* uid */
	MER_Q_WEIGHTS_STATE,    /* uid state */
	MER_Q_WEIGHTS_DELETE,   /* uid */

	/* feedback: what counts of a run is its last */
	MER_Q_FEEDBACK_INSERT, /* uid request_uid rating expected note */
	MER_Q_FEEDBACK_EXPORT, /* model name: an array of struct mer_value, by enum
	                          mer_feedback_column; oldest first */
	MER_Q_FEEDBACK_BAD,    /* struct mer_count_row; model name, version, threshold: ratings below it
	                          of what that version answered */

	/* runs: struct mer_run_row, newest first */
	MER_Q_RUNS,       /* model or "", status or "", since (time) or "", limit, request uid: only
	                        from before it, or "" */
	MER_Q_RUNS_AFTER, /* oldest first: model or "", since or "", until or "", request uid: only from
	                        after it, or "", limit */
	MER_Q_RUNS_TRACE, /* from, to: traceparents from the one and before the other, model or "", status
	                      or "", since or "", limit, request uid: only from before it, or "" */
	MER_Q_RUNS_OF,    /* a JSON array of request uids: those that are there */
	MER_Q_WRITTEN,    /* struct mer_written_row: how far the log is written by now */
	MER_Q_RUNS_LATE,  /* such a place, request uid, request uid: behind the one and up to the other,
	                     what was written from that place on, whatever clock its uid is of */
	MER_Q_RUNS_OPEN,  /* struct mer_name_row: request uids of owners' runs that have not ended */
	MER_Q_RUN_BY_UID, /* request uid */
	MER_Q_RUN_INSERT, /* struct mer_run_open, by mer_run_open_args() */
	MER_Q_RUN_CLOSE,  /* struct mer_run_close, by mer_run_close_args() */
	MER_Q_RUN_CLOSE_AT, /* the same and its place: only where the row is still there */
	MER_Q_RUN_MOVE,     /* request uid, deployment uid, server: where an open run is now */
	MER_Q_RUNS_LOST,    /* owner uid: its open runs, none of them older than it, become lost */
	MER_Q_RUNS_PRUNE,   /* struct mer_run_gone_row; time, limit: ended runs from before it are
	                        forgotten, with their feedback and what they kept, the oldest first; in a
	                        transaction with MER_Q_TOTALS_ADD */
	MER_Q_RUNS_EXPIRE, /* the same, but for those that have feedback, and trainings whose weights are
	                        there */
	MER_Q_TOTALS_ADD,  /* a JSON object of numbers, which are added to these series */
	MER_Q_TOTALS,      /* struct mer_total_row; model or "": its series, and maybe others' */
	MER_Q_IO_EXPIRE,   /* time, limit: what such runs from before it have kept; those with feedback
	                        stay */

	MER_Q_RUN_TIMES, /* struct mer_run_times_row, by request uid; model or "", kind (run train),
	                    request uid (or what sorts before it), since (time) or "", limit: those that
	                    follow */

	/* what runs keep: four of struct mer_value, input and output (NULL: not kept), and what the
	 * bytes of each are (NULL: just bytes) */
	MER_Q_IO,        /* request uid */
	MER_Q_IO_INSERT, /* request uid input output input_meta output_meta; where it is there already,
	                  * nothing */

	/* what answered: struct mer_provenance_row */
	MER_Q_PROVENANCE,        /* digest */
	MER_Q_PROVENANCE_INSERT, /* digest host program program_sha256 files weights_sha256 runtime sdk;
	                             where it is there already, nothing */
	MER_Q_PROVENANCE_NAMED, /* struct mer_named_row; request uid, limit: what so many runs behind it
	                             name, and the last of these that names it */
	MER_Q_PROVENANCE_PRUNE, /* a JSON array of digests, request uid: forgets those of them that no run
	                             from there on names, unless an owner is there that may have a run
	                             name them yet; on Postgres behind MER_Q_LOCK_TABLES */

	/* owners: struct mer_owner_row */
	MER_Q_OWNERS,
	MER_Q_OWNERS_COUNT, /* struct mer_count_row */
	MER_Q_OWNER_INSERT, /* uid host pid program */
	MER_Q_OWNER_DELETE, /* uid */
	MER_Q_OWNERS_SWEEP, /* mer_owners_sweep() in one statement, where locks are the database's;
	                       changes the runs that become lost */

	/* for doctor */
	MER_Q_NOW,         /* struct mer_name_row: the database's clock */
	MER_Q_QUICK_CHECK, /* struct mer_name_row: what a quick look finds wrong, a few of it; no row:
	                      nothing */

	/* for db check: struct mer_name_row, what is found wrong */
	MER_Q_CHECK,       /* a look at all of it: up to 100 findings */
	MER_Q_CHECK_STRAY, /* request uids of open runs whose owner has no row, so that nobody ever ends
	                      them: up to 100 */

	/* tables as wholes: the id plus an enum mer_table; for mer/copy.h */
	MER_Q_OWNER_OPEN_RUNS, /* struct mer_count_row; owner uid */
	MER_Q_KEYS_LATER,      /* in this transaction foreign keys are checked at its end */
	MER_Q_LOCK_TABLES,     /* nobody else writes to them in this transaction; Postgres only, since
	                          elsewhere every transaction is alone */
	MER_Q_LOCK_MODELS,     /* the same of servers, models, deployments and weights; runs go on */
	MER_Q_CHANGES,    /* struct mer_name_row: another one once another connection may have committed
	                          something */
	MER_Q_IDENTITY,   /* struct mer_name_row: the same for the same database and schema; on SQLite
	                          its file, "" where it has none */
	MER_Q_OTHERS,     /* struct mer_name_row: tables, and columns of ours as TABLE.COLUMN, that
	                          no script of MER's has made; no table that is empty */
	MER_Q_TABLE_ROWS, /* an array of struct mer_value, a column each, the key first: key (""
	                           before all), limit: the rows that follow it, by key */
	MER_Q_TABLE_HAS = MER_Q_TABLE_ROWS + MER_TABLE_COUNT,   /* struct mer_count_row; key */
	MER_Q_TABLE_INSERT = MER_Q_TABLE_HAS + MER_TABLE_COUNT, /* a value a column */
	MER_Q_TABLE_CLEAR = MER_Q_TABLE_INSERT + MER_TABLE_COUNT,

	MER_Q_COUNT = MER_Q_TABLE_CLEAR + MER_TABLE_COUNT
};

struct mer_count_row {
	int64_t count;
};

struct mer_name_row {
	const char *name;
};

struct mer_ledger_row {
	int64_t num;
	const char *name;
	const char *sha256, *canonical_sha256;
	const char *applied_at;
	int64_t duration_ms;
	const char *applied_by, *tool_version;
	const char *state; /* applied; started: a no-transaction script that did not end */
};

struct mer_server_row {
	const char *uid, *name;
	const char *kind; /* local ssh http */
	const char *host;
	int64_t port; /* 0: the kind's own */
	const char *user;
	const char *params; /* JSON object */
	const char *created_at, *updated_at;
};

struct mer_model_row {
	const char *uid, *name, *summary;
	int64_t feedback;             /* 1 on, 0 off */
	int64_t feedback_threshold;   /* ratings below it are bad ones */
	int64_t train_after;          /* so many bad ones of the active weights; 0: never */
	int64_t deployments;          /* how many */
	const char *inputs, *outputs; /* JSON objects with what workers announced under that name; {}:
	                               * nothing is known */
	const char *created_at, *updated_at;
};

struct mer_deployment_row {
	const char *uid, *name;
	const char *model_uid, *model;
	const char *server_uid, *server, *server_kind;
	const char *server_host, *server_user, *server_params, *server_at; /* at: when it changed */
	int64_t server_port;
	const char *protocol; /* once token frame */
	const char *workdir;
	const char *argv;   /* JSON array of strings */
	const char *train;  /* the same, or "" */
	const char *env;    /* JSON object of strings */
	const char *params; /* JSON object: protocol details, flags */
	const char *limits; /* JSON object: max_output, max_queue, retries */
	int64_t max_workers, idle_ms, timeout_ms, start_timeout_ms, priority;
	int64_t enabled;                                          /* 1 on, 0 off */
	const char *weights_uid, *weights_version, *weights_path; /* active ones, or "" */
	const char *weights_sha256;
	const char *test_at; /* when the example changed by which workers are tested; "": none is */
	const char *updated_at;
};

struct mer_weights_row {
	const char *uid, *model;
	const char *version, *state; /* candidate active retired */
	const char *path, *sha256;
	int64_t bytes;
	const char *parent;  /* version, or "" */
	const char *metrics; /* JSON object */
	const char *made_by; /* request uid of the training, or "" */
	const char *created_at;
};

/* What people thought of a run, and what it was. */
enum mer_feedback_column {
	MER_FEEDBACK_UID,
	MER_FEEDBACK_REQUEST_UID,
	MER_FEEDBACK_WEIGHTS,
	MER_FEEDBACK_RATING,
	MER_FEEDBACK_NOTE,
	MER_FEEDBACK_CREATED_AT,
	MER_FEEDBACK_EXPECTED, /* NULL: nobody said */
	MER_FEEDBACK_INPUT,    /* NULL: not kept */
	MER_FEEDBACK_OUTPUT,
	MER_FEEDBACK_COLUMNS
};

struct mer_run_row {
	const char *request_uid, *model, *deployment, *server, *weights;
	const char *door, *who, *host;
	int64_t pid;
	const char *status;
	const char *queued_at, *started_at, *stopped_at; /* "" where it did not come to that */
	int64_t exit_code;                               /* -1: none */
	const char *signal, *error, *stderr_tail;
	int64_t attempts;
	int64_t queue_ms, start_ms, infer_ms; /* -1: none */
	int64_t bytes_in, bytes_out;          /* -1: not known */
	const char *sha256_in, *sha256_out;
	const char *owner;
	const char *kind;            /* run train */
	const char *replays;         /* request uid, or "" */
	const char *provenance;      /* digest, or "" */
	int64_t cpu_us, max_rss_kib; /* -1: not known */
	const char *traceparent;     /* or "" */
};

/* How a run ended and how long it took, as in struct mer_run_row. */
struct mer_run_times_row {
	const char *request_uid, *model, *status;
	const char *queued_at, *stopped_at;
	int64_t queue_ms, start_ms, infer_ms;
};

/* The log in the order in which it is written, by rows or by their transactions. */
struct mer_written_row {
	int64_t all; /* what is before this place is all there */
	int64_t any; /* from this place on there is nothing */
};

/* What a run was that is there no more. */
struct mer_run_gone_row {
	const char *model, *status, *kind;
	int64_t queue_ms, start_ms, infer_ms; /* -1: none */
};

/* What runs that are there no more had counted; sql/sqlite/12-Totals.sql. */
struct mer_total_row {
	const char *series; /* model, slash, figure */
	int64_t value;
};

/* The bytes that answered a run, as they were when its worker was started. */
struct mer_provenance_row {
	const char *digest, *host;
	const char *program;        /* path, "" where it was not found */
	const char *program_sha256; /* "": it could not be read, or is very large */
	const char *files;          /* JSON array of objects: path, bytes, sha256 or null */
	const char *weights_sha256; /* or "" */
	const char *runtime, *sdk;  /* as the worker announced them, or "" */
	const char *created_at;
};

/* What runs name of the above. */
struct mer_named_row {
	const char *digest;
	const char *last; /* request uid */
};

struct mer_owner_row {
	const char *uid, *host;
	int64_t pid;
	const char *program, *started_at;
};

struct mer_value;

/* A run as its row begins. All texts are borrowed; deployment is the deployment's uid. */
struct mer_run_open {
	const char *request_uid, *model, *deployment, *server, *weights;
	const char *door, *who, *host;
	int64_t pid;
	const char *status;    /* queued or running */
	const char *queued_at; /* started_at is the same for running */
	int64_t bytes_in;
	const char *sha256_in;
	const char *owner;
	const char *kind; /* train, or NULL: run */
	const char *replays;
	const char *traceparent;
};

/* How it ended. -1 and "" as in struct mer_run_row. */
struct mer_run_close {
	const char *request_uid;
	const char *status;
	const char *started_at, *stopped_at;
	int64_t exit_code;
	const char *signal, *error, *stderr_tail;
	int64_t attempts;
	int64_t queue_ms, start_ms, infer_ms, bytes_out;
	const char *sha256_out;
	int64_t place; /* mer_dal_last_place() after its insert; for MER_Q_RUN_CLOSE_AT alone */
	const char *provenance;
	int64_t cpu_us, max_rss_kib;
};

#define MER_RUN_OPEN_ARGS 17
#define MER_RUN_CLOSE_ARGS 17
#define MER_RUN_CLOSE_AT_ARGS 18

MER_API void mer_run_open_args(const struct mer_run_open *run, struct mer_value *out);
/* out: MER_RUN_CLOSE_AT_ARGS of them, of which the first are those of MER_Q_RUN_CLOSE */
MER_API void mer_run_close_args(const struct mer_run_close *run, struct mer_value *out);

#endif
