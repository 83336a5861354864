/*
 * The data access layer: one connection to the metadata database, whatever database that is.
 *
 * Calls block, so a loop has them done by a thread (mer/work.h). A connection belongs to one thread
 * at a time and may be handed over between calls. What can be asked is in mer/queries.h.
 */
#ifndef MER_DAL_H
#define MER_DAL_H

#include <mer/queries.h>
#include <stdbool.h>
#include <stdint.h>

struct mer_dal;

/* The highest number of MER's own scripts in sql/ that this program is built for. */
#define MER_SCHEMA_NUM 5

enum mer_dal_flags {
	MER_DAL_CREATE = 1,     /* make the database (0600) and the folders above it (0700) */
	MER_DAL_ANY_SCHEMA = 2, /* do not ask which scripts have run, and check foreign keys after each
	                           script instead of within it; mer-migrate only */
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

/** Begins a transaction that may write; not nested. It waits for other writers. */
MER_API MER_MUST enum mer_status mer_dal_begin(struct mer_dal *dal, struct mer_error *err);

/** Commits or rolls back. After a failed commit nothing of it is in the database. */
MER_API MER_MUST enum mer_status mer_dal_end(struct mer_dal *dal, bool commit,
                                             struct mer_error *err);

/** Rolls back the open transaction after a failure that is reported already. */
MER_API void mer_dal_rollback(struct mer_dal *dal);

/* Where a script failed. */
struct mer_script_place {
	int64_t line, column; /* from 1, column in bytes; 0: not known */
};

/**
 * Runs a script of several statements inside the open transaction, by the database's own parser.
 *
 * @param sql    ended by a NUL at len
 * @param place  written on failure; NULL allowed
 * @return MER_EINPUT     the database refuses it; the message is the database's
 *         MER_EDATABASE  the database cannot be used (full, read-only, gone)
 */
MER_API MER_MUST enum mer_status mer_dal_script(struct mer_dal *dal, const char *sql, size_t len,
                                                struct mer_script_place *place,
                                                struct mer_error *err);

/* Locks that die with their holder, whatever kills it: on SQLite bytes of the file PATH-lock beside
 * the database (open file description locks), on Postgres session advisory locks. */
enum mer_lock_op {
	MER_LOCK_TAKE, /* without waiting; *yes: we have it now */
	MER_LOCK_TEST, /* *yes: some other connection holds it */
	MER_LOCK_DROP,
};
#define MER_LOCK_MIGRATE \
	INT64_C(0) /* held by the one that changes the schema; owners have their key */

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
 * @param lost  how many runs were closed; NULL allowed
 */
MER_API MER_MUST enum mer_status mer_owners_sweep(struct mer_dal *dal, bool in_transaction,
                                                  int64_t *lost, struct mer_error *err);

/** Takes the owner's lock and writes its row, inside an open transaction. A connection has one owner
 * in its life. MER_ECONFLICT: another has that uid. */
MER_API MER_MUST enum mer_status mer_owner_register(struct mer_dal *dal, const char *uid,
                                                    const char *host, int64_t pid,
                                                    const char *program, struct mer_error *err);

#endif
