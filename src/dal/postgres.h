/*
 * What the files of the Postgres module share.
 *
 * Statements go out by libpq's pipeline mode. Inside a transaction what nobody waits for is only
 * queued (sent), and settled with the first call that waits, at the latest with the transaction's
 * end: so a transaction without a question in it is one round trip. A script goes by the simple
 * query protocol, which leaves the splitting to the server.
 */
#ifndef DAL_POSTGRES_H
#define DAL_POSTGRES_H

#include "internal.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>

#define PG_MESSAGE_MAX ((size_t)1 << 30) /* bytes that a message of the protocol may hold */

enum pg_tx {
	PG_TX_NONE,
	PG_TX_WANTED,   /* begun for the caller; the server has not heard of it */
	PG_TX_OPEN,     /* its BEGIN is sent */
	PG_TX_TOGETHER, /* all of it is kept in text until the end: mer_dal_apply() */
};

enum pg_sent_kind { PG_SENT_TEXT, PG_SENT_PREPARE, PG_SENT_QUERY, PG_SENT_LOCK };

/* A statement whose result is still to come. */
struct pg_sent {
	enum pg_sent_kind kind;
	enum mer_query query;          /* of PREPARE and QUERY; MER_Q_COUNT more: for many rows */
	const struct dal_query *shape; /* the same */
	int64_t key;                   /* of LOCK */
};

enum pg_prepared { PG_NOT_PREPARED, PG_PREPARING, PG_PREPARED };

/* A message of the simple query protocol with a script in it, or with more than one. */
struct pg_message {
	struct mer_buf sql;
	size_t script_at, script_len; /* in sql, of the script */
	bool guarded;                 /* the script stands between a cursor's beginning and its end */
};

/* Rows of one query that follow one another in a transaction, as arrays; they are sent before anything
 * else is. */
struct pg_batch {
	enum mer_query query;
	const struct dal_query *shape;
	size_t rows, bytes;
	struct mer_buf columns[DAL_ARGS_MAX]; /* array literals without their end */
};

/* Arguments as libpq takes them. */
struct pg_args {
	const char *values[DAL_ARGS_MAX];
	int lengths[DAL_ARGS_MAX], formats[DAL_ARGS_MAX];
};

struct postgres {
	struct mer_dal base;
	unsigned flags;
	char *name;        /* base.name */
	char *conninfo;    /* the URL with all that is in it; wiped */
	bool has_password; /* the URL has one */
	char *options;     /* the server's settings of a session */
	char *schema;      /* the ledger's, quoted where needed; NULL: as the search path has it */

	bool reads_committed; /* a session's transactions are READ COMMITTED unless told otherwise */

	PGconn *conn; /* NULL: lost */
	PGcancel *_Atomic cancel;
	PGcancel *old_cancel;           /* of the connection before */
	volatile sig_atomic_t canceled; /* since the call or transaction began */
	bool gone;                      /* lost with a lock that nobody can give back */
	bool away;                      /* the server was waited for once already, in vain */
	bool given_up;                  /* by somebody in a hurry: conn is of no more use */

	enum pg_tx tx;
	bool failed;   /* the transaction can only be rolled back */
	bool no_table; /* the last failure: a table is not there */
	struct pg_message message;

	unsigned char
		prepared[2 * MER_Q_COUNT]; /* enum pg_prepared; the second half is for many rows */
	unsigned generation;           /* of what is prepared; part of the names */
	bool ledger_prepared;          /* the statement that writes a script's row; */
	unsigned ledger_generation;    /* part of its name */
	struct pg_sent *sent;
	size_t n_sent, cap_sent;

	int64_t *held; /* keys of locks */
	size_t n_held, cap_held;
	bool unsure; /* a script may have run a function that gave them back */

	struct mer_buf scratch; /* arguments of a statement */
	struct pg_batch batch;
};

extern const struct dal_ops pg_ops;

static inline struct postgres *as_postgres(struct mer_dal *dal)
{
	MER_ASSERT(dal->ops == &pg_ops);
	return (struct postgres *)dal;
}

/* --- postgres_text.c --- */
/* The texts of the queries. "{ledger}" stands for the ledger's table. */
extern const char *const pg_text[MER_Q_COUNT];
/* The same for many rows; NULL: there is none. */
extern const char *const pg_batch_text[MER_Q_COUNT];

/* --- postgres_error.c --- */
/* What the server says of a statement; shape NULL: none of ours. */
enum mer_status pg_fail(struct postgres *pg, const PGresult *result, const struct dal_query *shape,
                        struct mer_error *err);
/* What it says of a script: mostly that the script is wrong. */
enum mer_status pg_fail_script(struct postgres *pg, const PGresult *result, struct mer_error *err);
/* The connection is lost, which this makes a fact; conn still knows why. */
enum mer_status pg_fail_lost(struct postgres *pg, const char *why, struct mer_error *err);
/* libpq would not take a statement: lost, or out of memory. */
enum mer_status pg_fail_send(struct postgres *pg, struct mer_error *err);
/* A connection could not be made; said is why. */
enum mer_status pg_fail_connect(struct postgres *pg, const char *said, struct mer_error *err);
enum mer_status pg_fail_canceled(struct postgres *pg, struct mer_error *err);
/* Whether a result says that its backend is about to leave. */
bool pg_is_leaving(const PGresult *result);

/* --- postgres_connect.c --- */
/* Makes base.url, base.name, conninfo and options of a URL. */
enum mer_status pg_read_url(struct postgres *pg, const char *rest, struct mer_error *err);
/* Connects, for as long as it is worth waiting for a server that restarts, and takes the locks of the
 * last connection again. */
enum mer_status pg_connect(struct postgres *pg, struct mer_error *err);
/* Makes sure, before a call outside of a transaction, that there is a connection. */
enum mer_status pg_ready(struct postgres *pg, struct mer_error *err);
/* Ends the connection, whatever state it is in. */
void pg_disconnect(struct postgres *pg);
void pg_cancel(struct mer_dal *dal);

/* --- postgres_wait.c --- */
/* Something that only libpq can do, and only with waiting. First member of what it needs. */
struct pg_aside {
	void (*run)(struct pg_aside *aside);
	void (*free)(struct pg_aside *aside);
	pthread_mutex_t mutex;
	pthread_cond_t over; /* done has come to be */
	bool done, left;     /* under mutex; the last of the two sides frees it */
};

/* Runs it. False: somebody in a hurry did not wait for its end, and it frees itself then. */
bool pg_aside_run(const struct postgres *pg, struct pg_aside *aside, int64_t began_ms);
void pg_aside_free(struct pg_aside *aside);
/* PQgetResult(); NULL also where somebody in a hurry has given the connection up. */
PGresult *pg_result(struct postgres *pg);
/* Whether it was slept to its end. */
bool pg_nap(const struct postgres *pg, int64_t began_ms, int64_t nap_ms);

/* --- postgres_open.c --- */
/* A further connection to the same database. */
enum mer_status pg_open_again(const struct postgres *pg, struct mer_dal **out,
                              struct mer_error *err);

/* --- postgres.c --- */
enum mer_status pg_run(struct mer_dal *dal, struct dal_call *call, struct mer_error *err);
enum mer_status pg_begin(struct mer_dal *dal, struct mer_error *err);
enum mer_status pg_end(struct mer_dal *dal, bool commit, struct mer_error *err);
/* Sends a statement without arguments, or with one key. */
enum mer_status pg_send_text(struct postgres *pg, const char *sql, const int64_t *key,
                             struct mer_error *err);
/* Reads the results of all that was sent; call (NULL: none) is the last of it, and *value (NULL:
 * nobody asks) becomes the number, true being 1, in the first row of the last. */
enum mer_status pg_settle(struct postgres *pg, struct dal_call *call, int64_t *value,
                          struct mer_error *err);
/* Refuses an argument with a NUL in it, which Postgres cannot store either. */
enum mer_status pg_check_args(const struct dal_call *call, struct mer_error *err);
/* Sends a query, with arguments as text. Their count is that of its shape. */
enum mer_status pg_send_query(struct postgres *pg, enum mer_query query,
                              const struct dal_query *shape, const struct pg_args *args,
                              struct mer_error *err);
/* Begins a transaction that is only wanted, and sends the rows that wait. */
enum mer_status pg_begin_sent(struct postgres *pg, struct mer_error *err);
/* Ends what the server still has open, for a reason that is reported already. */
void pg_roll_back(struct postgres *pg);
/* Whether a statement may be sent in the open transaction. */
enum mer_status pg_may_go_on(struct postgres *pg, struct mer_error *err);

/* --- postgres_batch.c --- */
void pg_batch_init(struct pg_batch *batch);
void pg_batch_release(struct pg_batch *batch);
/* Forgets what was not sent. */
void pg_batch_clear(struct pg_batch *batch);
/* Whether the statement sent last was of this query, so that a batch of it may begin or go on. */
bool pg_batch_takes(const struct postgres *pg, const struct dal_call *call);
/* Adds the call's row. */
enum mer_status pg_batch_add(struct postgres *pg, const struct dal_call *call,
                             struct mer_error *err);
/* Sends the rows. */
enum mer_status pg_batch_send(struct postgres *pg, struct mer_error *err);

/* --- postgres_script.c --- */
/* What stands directly behind a script in its message, where it is guarded and where not. */
#define PG_BEHIND_GUARDED "\n;CLOSE mer_script;"
#define PG_BEHIND "\n;RESET ALL;"

enum mer_status pg_script(struct mer_dal *dal, const char *sql, size_t len,
                          struct mer_script_place *place, struct mer_error *err);
/* The parts of mer_dal_apply(). */
enum mer_status pg_together_begin(struct postgres *pg, struct mer_error *err);
enum mer_status pg_together_run(struct postgres *pg, const struct dal_call *call,
                                struct mer_error *err);
enum mer_status pg_together_end(struct postgres *pg, bool commit, struct mer_error *err);
/* The text of a query with the ledger's table in it; grows buf. */
void pg_add_text(const struct postgres *pg, enum mer_query query, struct mer_buf *buf);

/* --- postgres_lock.c --- */
enum mer_status pg_lock(struct mer_dal *dal, int64_t key, enum mer_lock_op op, bool *yes,
                        struct mer_error *err);
/* Takes the locks of a connection that was lost again, from its own remains if need be. */
enum mer_status pg_relock(struct postgres *pg, struct mer_error *err);
bool pg_holds(const struct postgres *pg, int64_t key);
/* A lock that was taken is ours; there is room for it. */
void pg_now_held(struct postgres *pg, int64_t key);

#endif
