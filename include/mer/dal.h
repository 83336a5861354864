/*
 * The data access layer: one connection to the metadata database, whatever database that is.
 *
 * Calls block, so a loop has them done by a thread (mer/work.h). A connection belongs to one thread
 * at a time and may be handed over between calls. What can be asked is in mer/queries.h.
 *
 * Postgres is a private module, which is loaded when a URL first asks for it. What libpq understands
 * (URLs, PG* variables, ~/.pgpass, service files, sslmode) holds; where the URL has no password and
 * the variable MER_DATABASE_PASSWORD is set, the reference in it (mer/ref.h) names the password: what
 * an env file says of it, a program puts into its environment. The tables are in the schema that is
 * first in the search path when connecting, `public` unless the URL, the role or the database say
 * otherwise. A connection that was lost is opened again at the next call, its locks and owner's row
 * included: a call outside a transaction never notices, and waits up to 30 s for a server that
 * restarts (once an outage); see also mer_dal_repeatable() and mer_dal_keep().
 */
#ifndef MER_DAL_H
#define MER_DAL_H

#include <mer/queries.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mer_dal;

/* The highest number of MER's own scripts in sql/ that this program is built for. */
#define MER_SCHEMA_NUM 12

enum mer_dal_flags {
	MER_DAL_CREATE = 1,     /* make the database (0600) and the folders above it (0700) */
	MER_DAL_ANY_SCHEMA = 2, /* do not ask which scripts have run, and check foreign keys after each
	                           script instead of within it; to Postgres, be "mer-migrate";
	                           mer-migrate only */
	MER_DAL_READ = 4,       /* transactions only read, and all of one sees the same: what had been
	                           committed when it read first */
	MER_DAL_LONG = 8, /* statements may take as long as they do. To Postgres each of a run's may
	                           take a minute, of which 30 s for locks; the two above imply this one */
};

/**
 * Opens a connection.
 *
 * @param url    sqlite:PATH (a path alone too), or postgres://..., postgresql://..., postgres:
 * @param flags  enum mer_dal_flags
 * @param out    gives the connection
 * @return MER_EINPUT     no such kind of URL
 *         MER_EDATABASE  cannot be reached, is no database, is corrupt, or its schema is older
 *                        (not migrated) or newer than this program; the hint says what to do
 */
MER_API MER_MUST enum mer_status mer_dal_open(const char *url, unsigned flags, struct mer_dal **out,
                                              struct mer_error *err);

/* How somebody in a hurry ends the waits of connections: for other programs, for a server that does
 * not answer or is away. It is theirs from before they are opened, so that opening one ends as well,
 * and holds for each wait that follows until it is over; so none slips through between two calls. A
 * wait ends MER_HASTE_MS after it began or the haste did, whichever came later, with MER_ECANCELED;
 * what a server is doing by then is cancelled, and one that does not say so loses its connection. */
struct mer_haste {
	_Atomic int64_t since_ms; /* mer_clock_ms(); 0: nobody is in a hurry */
	atomic_bool called;       /* a call is under way; not set while it calls back */
	/* In no hurry, but not patient either: how long a call waits for another program that has an
	 * SQLite file, which then is MER_EBUSY; 0: 30 s, and MER_EDATABASE. Set before it is opened. */
	int64_t wait_ms;
};
#define MER_HASTE_MS 200

/** Asks for haste. Safe in a signal handler and from any thread.
 * @return whether a call is under way that ends for it */
MER_API bool mer_haste(struct mer_haste *haste);
MER_API void mer_haste_over(struct mer_haste *haste);

/** mer_dal_open() with somebody who may be in a hurry. haste: borrowed until it is closed. */
MER_API MER_MUST enum mer_status mer_dal_open_hasty(const char *url, unsigned flags,
                                                    struct mer_haste *haste, struct mer_dal **out,
                                                    struct mer_error *err);

/** Ends what is open (an open transaction is rolled back) and drops its locks. NULL is fine. */
MER_API void mer_dal_close(struct mer_dal *dal);

/**
 * Like mer_dal_open(), with the backend wrapped so that its nth call fails (1 is the first after
 * opening; 0 never), for tests: every call that can fail counts.
 * @param calls  borrowed until the connection is closed: counts the calls; NULL allowed
 */
MER_API MER_MUST enum mer_status mer_dal_open_fault(const char *url, unsigned flags,
                                                    int64_t fail_at, int64_t *calls,
                                                    struct mer_dal **out, struct mer_error *err);

enum mer_value_type { MER_VALUE_NULL, MER_VALUE_TEXT, MER_VALUE_I64, MER_VALUE_BLOB };

/* An argument; text and blob are borrowed for the call. */
struct mer_value {
	enum mer_value_type type;
	struct mer_str text;
	int64_t number;
};

/* "" where text is NULL, so that a forgotten value meets a constraint instead of a NULL. */
MER_API struct mer_value mer_text(const char *text);
/* NULL where text is NULL or "". */
MER_API struct mer_value mer_text_or_null(const char *text);
MER_API struct mer_value mer_blob(const void *bytes, size_t n);
static inline struct mer_value mer_i64(int64_t number)
{
	return (struct mer_value){ .type = MER_VALUE_I64, .number = number };
}

/* Gets one row: the row struct that mer/queries.h names; it and its texts are borrowed until the
 * return. Not MER_OK ends the query with that status; the callee fills err. It must not use the
 * connection. */
typedef enum mer_status mer_row_fn(void *ctx, const void *row, struct mer_error *err);

/**
 * Runs a query and calls on_row for each row, in order. The number of args is fixed by the query and
 * asserted.
 *
 * @param on_row   NULL where the query gives no rows
 * @return MER_ECONFLICT  a name is there already, or something else still refers to it
 *         MER_EINPUT     a value that the schema forbids
 *         MER_EDATABASE  anything else that the database says; never "database is locked": a writer
 *                        waits its turn
 */
MER_API MER_MUST enum mer_status mer_dal_query(struct mer_dal *dal, enum mer_query query,
                                               const struct mer_value args[], size_t n_args,
                                               mer_row_fn *on_row, void *ctx,
                                               struct mer_error *err);

/** A row function for struct mer_count_row: *(int64_t *)ctx is the count. */
MER_API enum mer_status mer_take_count(void *ctx, const void *row, struct mer_error *err);

/** The same for a statement that gives no rows; *changed (NULL allowed) is how many it changed. */
MER_API MER_MUST enum mer_status mer_dal_exec(struct mer_dal *dal, enum mer_query query,
                                              const struct mer_value args[], size_t n_args,
                                              int64_t *changed, struct mer_error *err);

/** Where the row is that the last mer_dal_exec() inserted, for finding it without its key, as long as
 * nobody has moved it; 0: not told. */
MER_API int64_t mer_dal_last_place(const struct mer_dal *dal);

#define MER_ARGS(...) \
	(const struct mer_value[]){ __VA_ARGS__ }, \
		(sizeof((const struct mer_value[]){ __VA_ARGS__ }) / sizeof(struct mer_value))

/**
 * Begins a transaction that may write; not nested. It waits for other writers.
 *
 * In it a mer_dal_exec() without `changed`, and a lock whose answer nobody waits for, may be sent only
 * with what follows and then report their failure there, at the latest from mer_dal_end(). So on
 * Postgres a group of rows costs one round trip. After a failure of the database's a transaction can
 * only be rolled back.
 */
MER_API MER_MUST enum mer_status mer_dal_begin(struct mer_dal *dal, struct mer_error *err);

/**
 * The same for what need not be on the disk as soon as it is committed: a power cut may take the newest
 * such transactions away, in their order, though nothing else can, the end of this process least of
 * all. The next transaction that was begun otherwise, and mer_dal_keep(), bring them to the disk. Only
 * a file with a WAL makes a difference; of a server its synchronous_commit decides.
 */
MER_API MER_MUST enum mer_status mer_dal_begin_lazy(struct mer_dal *dal, struct mer_error *err);

/** Commits or rolls back. After a failed commit nothing of it is in the database, unless
 * mer_dal_repeatable() says that the connection was lost. */
MER_API MER_MUST enum mer_status mer_dal_end(struct mer_dal *dal, bool commit,
                                             struct mer_error *err);

/** How many rows the statements of a query without rows have changed in the transaction that was begun
 * last; all of them have been counted once it has been committed. */
MER_API int64_t mer_dal_tally(const struct mer_dal *dal, enum mer_query query);

/** Rolls back the open transaction after a failure that is reported already. */
MER_API void mer_dal_rollback(struct mer_dal *dal);

/**
 * Whether what failed last may be done again from its beginning, a transaction as a whole: the
 * connection was lost (the next call opens it again), or the database ended it for another's sake (a
 * deadlock). After a lost mer_dal_end(dal, true) nobody knows whether it is in the database: do again
 * only what may be there twice, or look first.
 */
MER_API bool mer_dal_repeatable(const struct mer_dal *dal);

/**
 * Looks whether the connection is still there, without asking the server, and opens it again with its
 * locks if not. For who waits long while others must see that it lives: every few seconds is fine. Of a
 * file: what was committed lazily is on the disk then.
 */
MER_API MER_MUST enum mer_status mer_dal_keep(struct mer_dal *dal, struct mer_error *err);

/** Asks the call under way in another thread, or behind a signal handler, to end: it then returns
 * MER_ECANCELED, or what it had done by then. Safe in a signal handler. */
MER_API void mer_dal_cancel(struct mer_dal *dal);

/* Where a script failed. */
struct mer_script_place {
	int64_t line, column; /* from 1, column in bytes; 0: not known */
	int64_t statement;    /* where they are not known: the one that failed, from 1; 0: none did */
	bool untouched;       /* of a script without a transaction: nothing of it can be there */
};

/**
 * Runs a script of several statements inside the open transaction, by the database's own parser.
 * Without a transaction it runs one statement that must be outside of one (CREATE INDEX
 * CONCURRENTLY, VACUUM). On Postgres it starts from RESET ALL and the session's own role.
 *
 * @param sql    ended by a NUL at len
 * @param place  written on failure; NULL allowed
 * @return MER_EINPUT     the database refuses it, or it ended its transaction; the message is the
 *                        database's
 *         MER_EDATABASE  the database cannot be used (full, read-only, gone)
 */
MER_API MER_MUST enum mer_status mer_dal_script(struct mer_dal *dal, const char *sql, size_t len,
                                                struct mer_script_place *place,
                                                struct mer_error *err);

/* A script and what its row in the ledger says. All is borrowed. */
struct mer_script {
	const char *sql; /* ended by a NUL at len */
	size_t len;
	int64_t num;
	const char *name, *sha256, *canonical_sha256, *applied_by, *tool_version;
	bool make_ledger; /* the ledger may be missing: make it in the same transaction */
};

struct mer_script_result {
	struct mer_script_place place; /* on failure; 0: not the script's fault, or as a whole */
	int64_t duration_ms;           /* what the row says; on failure until then */
};

/**
 * Runs a script and writes its row in the ledger, in a transaction of their own: then both are in the
 * database or neither is. On Postgres all of it, commit included, is one message and one round trip;
 * it is not cut short by the death of this process once it is sent, only by mer_dal_cancel().
 *
 * @param result  written in any case
 * @return as mer_dal_script(); MER_ECONFLICT: the ledger has that number already
 */
MER_API MER_MUST enum mer_status mer_dal_apply(struct mer_dal *dal, const struct mer_script *script,
                                               struct mer_script_result *result,
                                               struct mer_error *err);

/* Locks that die with their holder, whatever kills it: on SQLite bytes of the file PATH-lock beside
 * the database (open file description locks), on Postgres session advisory locks of the database (the
 * form with one bigint, which is the key xor MER_LOCK_POSTGRES, so that others who number their locks
 * from 0 on do not meet ours). */
enum mer_lock_op {
	MER_LOCK_TAKE, /* without waiting; *yes: we have it now. yes NULL, in a transaction: not to get
	                  it is MER_ECONFLICT, at the latest from mer_dal_end() */
	MER_LOCK_TEST, /* *yes: some other connection holds it */
	MER_LOCK_DROP,
};
#define MER_LOCK_POSTGRES INT64_C(0x4d45522d6c6f636b) /* "MER-lock" */
#define MER_LOCK_MIGRATE \
	INT64_C(0) /* held by the one that changes the schema; owners have their key */

/* Whoever takes MER_LOCK_MIGRATE through a pooler that gives each transaction another session gets
 * MER_EDATABASE and a hint: such a lock would be nobody's. A connection that holds it and is lost
 * stays lost, since another may have been at work meanwhile. */
MER_API MER_MUST enum mer_status mer_dal_lock(struct mer_dal *dal, int64_t key, enum mer_lock_op op,
                                              bool *yes, struct mer_error *err);

/** "sqlite" or "postgres": the folder of scripts for it; and what to call it in messages, without
 * a password. */
MER_API const char *mer_dal_dialect(const struct mer_dal *dal);
MER_API const char *mer_dal_name(const struct mer_dal *dal);

/** The dialect of a URL without opening it; NULL: of no kind that is known. */
MER_API const char *mer_dal_dialect_of(const char *url);

/** What is odd but no error ("on a network file system: rollback journal"), or NULL; for doctor. */
MER_API const char *mer_dal_notice(const struct mer_dal *dal);

/* --- owners: which mer process a run belongs to ------------------------------------------- */

/**
 * Closes as lost what dead owners left open and forgets those owners; alive is who holds the lock of
 * its key. Cheap when nobody died: one that ends well deletes its own row with its last run's. On a
 * read-only database it does nothing.
 * @param lost  how many runs were closed; NULL: nobody asks, so that on Postgres it may be enough that
 *              nobody was there when the connection was opened
 */
MER_API MER_MUST enum mer_status mer_owners_sweep(struct mer_dal *dal, bool in_transaction,
                                                  int64_t *lost, struct mer_error *err);

/** Takes the owner's lock and writes its row, inside an open transaction. A connection has one owner
 * in its life. MER_ECONFLICT: another has that uid. */
MER_API MER_MUST enum mer_status mer_owner_register(struct mer_dal *dal, const char *uid,
                                                    const char *host, int64_t pid,
                                                    const char *program, struct mer_error *err);

#endif
