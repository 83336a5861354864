/*
 * What the files of the data access layer share: the shape of a backend and of a query.
 *
 * A backend is one file with one `const struct dal_ops` and its own text for each query. All calls
 * go through dal.c, which asserts, traces and dispatches, so that a backend holds no trace code.
 */
#ifndef DAL_INTERNAL_H
#define DAL_INTERNAL_H

#include <mer/dal.h>
#include <mer/text.h>
#include <mer/uid.h>
#include <stddef.h>

#define DAL_COUNT(array) (sizeof(array) / sizeof *(array))

/* --- queries ------------------------------------------------------------------------------ */

enum dal_type { DAL_I64, DAL_TEXT, DAL_BLOB };

struct dal_field {
	const char *column; /* what the query's text must call it */
	enum dal_type type;
	size_t offset;
};

/* The row struct decides the type of a column. */
/* clang-format off */
#define DAL_TYPE(row, member) _Generic(((row *)0)->member, int64_t: DAL_I64, const char *: DAL_TEXT)
#define DAL_FIELD(row, member) { #member, DAL_TYPE(row, member), offsetof(row, member) }
/* clang-format on */

enum { DAL_ARGS_MAX = 40, DAL_FIELDS_MAX = 40 };

struct dal_query {
	const char *name; /* for traces and messages */
	size_t n_args;
	size_t row_size; /* 0: gives no rows */
	const struct dal_field *fields;
	size_t n_fields;
	bool values; /* a row is an array of struct mer_value, as the fields are ordered (their offsets
	                are nothing): it may hold NULL and blobs */
};

extern const struct dal_query dal_queries[MER_Q_COUNT];

/* Room for one row of any query. */
union dal_row {
	int64_t number;
	const char *text;
};

/* --- backends ----------------------------------------------------------------------------- */

struct dal_ops;

/* First member of each backend's own struct; ops tells which that is. */
struct mer_dal {
	const struct dal_ops *ops;
	const char *dialect; /* static */

	/* The backend's. */
	char *url;          /* without a password; owned by the backend */
	const char *name;   /* for messages: a part of url */
	const char *notice; /* static, or NULL */
	int64_t session;    /* another number after each loss of the connection */
	int64_t schema_num; /* where open has looked: the highest of MER's own scripts that has run */
	bool knows_schema;  /* it has */
	bool nobody_there;  /* when it was opened no owner was there */
	bool read_only;     /* at the latest when a write was refused for it */
	bool remote;        /* a server's: the connection may be lost and made anew, a transaction with
	                       nothing in it costs nothing, and MER_Q_OWNERS_SWEEP is there */
	bool repeatable;    /* see mer_dal_repeatable(); of the last call that failed */
	int64_t tally[MER_Q_COUNT]; /* see mer_dal_tally(); the backend adds to it */

	/* What dal.c wants. While together is set, the transaction is one script with its row: the
	 * backend may keep all until its end, borrowing what it is given, and tells here what it finds
	 * then. */
	bool together;
	bool impatient;                /* a server that is away is not waited for */
	struct mer_script_place place; /* where the script failed; as it was: not by the script */
	int64_t script_ms;             /* how long it took; as it was: the caller has measured it */

	struct mer_haste *haste; /* borrowed; NULL: nobody is ever in a hurry. Given to open */

	/* Kept by dal.c and owner.c. */
	int64_t pid; /* of the process that opened it; a fork of it must not touch the connection */
	int64_t last_place;
	struct {
		char *host, *program; /* owned; NULL: no owner was registered by this connection */
		int64_t pid;
		int64_t session; /* in which its row was written last */
	} owner_row;
	struct mer_uid owner; /* "": the same */
	bool owner_written;   /* its row, in the open transaction; or deleted: */
	bool owner_leaves;
	bool owner_left; /* that is committed: its lock no longer means anything */
	bool in_transaction;
	bool lazy; /* it, or the one that is about to begin, need not be on the disk when committed */
	bool in_call;
};

/* One call of a query. */
struct dal_call {
	enum mer_query query;
	const struct dal_query *shape; /* its row in dal_queries, which a module does not see */
	const struct mer_value *args;  /* as many as the query has; borrowed */
	mer_row_fn *on_row;            /* not NULL where the query gives rows */
	void *ctx;
	bool counts;     /* the caller waits for: */
	int64_t changed; /* written by the backend: rows that a statement without rows changed */
	int64_t place;   /* and where the row is that it inserted, if a backend has such places */
};

struct dal_ops {
	/* Opens what follows the scheme of a URL and fills the base but for what dal.c keeps. Looks at
	 * no table but for schema_num. On failure nothing is left open and *out is untouched. */
	enum mer_status (*open)(const char *rest, unsigned flags, struct mer_haste *haste,
	                        struct mer_dal **out, struct mer_error *err);

	/* Runs a query outside or inside a transaction; outside it is one of its own. Calls on_row for
	 * each row, in order; row and texts are borrowed until it returns. Stops at the first status
	 * that is not MER_OK and returns it; what the statement did by itself is undone then. */
	enum mer_status (*run)(struct mer_dal *dal, struct dal_call *call, struct mer_error *err);

	/* Begins a transaction that may write, waiting for other writers; none is open. What is done in
	 * it without a row, a count or an answer that the caller waits for may wait for what follows. */
	enum mer_status (*begin)(struct mer_dal *dal, struct mer_error *err);

	/* Ends the transaction. Whatever it returns, no transaction is open afterwards, and unless it
	 * was MER_OK with commit nothing of it is in the database. */
	enum mer_status (*end)(struct mer_dal *dal, bool commit, struct mer_error *err);

	/* Brings to the disk what was committed lazily. NULL: there is no such thing. */
	enum mer_status (*sync)(struct mer_dal *dal, struct mer_error *err);

	/* Runs a script inside the open transaction and refuses one that ended it; *place is written on
	 * failure. What ran before the failure is still there until the rollback. Without an open
	 * transaction: one statement that must be outside of one. */
	enum mer_status (*script)(struct mer_dal *dal, const char *sql, size_t len,
	                          struct mer_script_place *place, struct mer_error *err);

	/* Takes, tests or drops a lock that dies with the connection; never waits. Taking one's own
	 * again is fine. *yes is written on MER_OK; only remote backends meet NULL, in a transaction:
	 * taking it or failing with MER_ECONFLICT, later too. */
	enum mer_status (*lock)(struct mer_dal *dal, int64_t key, enum mer_lock_op op, bool *yes,
	                        struct mer_error *err);

	/* Ends the call that is under way, in another thread or behind this signal handler. */
	void (*cancel)(struct mer_dal *dal);

	/* Rolls back what is open, drops the locks and frees it. In a fork of the process that opened
	 * it (forked is true) it only frees what that does not disturb. */
	void (*close)(struct mer_dal *dal, bool forked);
};

extern const struct dal_ops dal_sqlite;

/* How long a wait that began then may still take; INT64_MAX: nobody is in a hurry. */
static inline int64_t dal_patience_ms(const struct mer_dal *dal, int64_t began_ms)
{
	const int64_t since = dal->haste != NULL ? atomic_load(&dal->haste->since_ms) : 0;
	if (since == 0)
		return INT64_MAX;
	const int64_t until = (since > began_ms ? since : began_ms) + MER_HASTE_MS;
	const int64_t now = mer_clock_ms();
	return until > now ? until - now : 0;
}

/* Its patience has come to an end. */
static inline enum mer_status dal_fail_hasty(const struct mer_dal *dal, struct mer_error *error)
{
	return mer_fail(error, MER_ECANCELED, "interrupted while waiting for the database '%s'",
	                dal->name);
}

/* What the module "postgres" gives. */
struct dal_module {
	const char *version; /* as mer/module.h has it */
	const struct dal_ops *ops;
};
#define DAL_MODULE_POSTGRES "postgres"

/* The backend of a module. MER_EDATABASE: this mer has none, or cannot load it. */
MER_MUST enum mer_status dal_module_ops(const char *module, const struct dal_ops **out,
                                        struct mer_error *err);

/* Writes the owner's row again where the session is another than the one that wrote it; inside a
 * transaction. */
MER_MUST enum mer_status dal_owner_renew(struct mer_dal *dal, struct mer_error *err);

/* The hint where a database is missing or not migrated. */
void dal_hint_migrate(struct mer_error *err, const char *url);

/* The texts of the queries for SQLite. Arguments are $1, $2, ... in any order. */
extern const char *const dal_sqlite_text[MER_Q_COUNT];

/* Whether a file system of that statfs(2) type may be shared with another host, or is served by a
 * program of which nobody knows that: there SQLite must not use shared memory. Pure. */
bool dal_sqlite_network_fs(int64_t f_type);

/* The file layer that its connections use, set up at the first call; NULL: SQLite's own. */
const char *dal_sqlite_vfs(void);

/* How long a call waits for other programs, instead of 30 s; for tests. */
void dal_sqlite_set_wait(struct mer_dal *dal, int64_t wait_ms);

/* Wraps inner, and takes it unless out of memory (NULL): the nth call fails, 0 none. calls: see
 * mer_dal_open_fault(). */
struct mer_dal *dal_fault_wrap(struct mer_dal *inner, int64_t fail_at, int64_t *calls);

#endif
