/* One connection to one SQLite file, which sqlite*.c share. */
#ifndef DAL_SQLITE_H
#define DAL_SQLITE_H

#include "internal.h"

#include <signal.h>
#include <sqlite3.h>

struct sqlite {
	struct mer_dal base;
	sqlite3 *db;
	sqlite3_stmt *stmts[MER_Q_COUNT];               /* made when first needed */
	struct mer_value *bound[MER_Q_COUNT];           /* what each of them has for $1, $2, ... */
	unsigned char param[MER_Q_COUNT][DAL_ARGS_MAX]; /* SQLite's index of $1, $2, ... */
	int lock_fd;                                    /* PATH-lock; -1: not opened yet */
	bool lock_write; /* lock_fd can take locks, not only look at them */
	int64_t wait_ms, busy_since_ms;
	bool wait_is_given;             /* by whoever opened it */
	volatile sig_atomic_t canceled; /* what began last is to end, also where it waits */
	int wal_pages;                  /* after the last commit of this connection */
	bool has_wal;                   /* known from the first lazy transaction on */
	bool looked_for_wal;
	bool lazy;     /* commits need not be on the disk, at this moment */
	bool unsynced; /* one was not */
	bool reads;    /* as MER_DAL_READ says */
	bool within;   /* the script runs within a transaction */
	bool denied;   /* the script wanted to begin or end a transaction */
	/* What the script did that can leave a foreign key without its row: it added rows to these tables,
	 * whose names end with a NUL each; or more than that. */
	struct mer_buf added;
	bool may_break_all, replaces;
};

static inline struct sqlite *lite_of(struct mer_dal *dal)
{
	MER_ASSERT(dal->ops == &dal_sqlite);
	return (struct sqlite *)dal;
}

/* sqlite.c: what the last call failed with, or a call with that code. */
enum mer_status lite_fail(struct sqlite *lite, struct mer_error *err);
enum mer_status lite_fail_code(struct sqlite *lite, int code, struct mer_error *err);

/* sqlite_script.c and sqlite_lock.c: as struct dal_ops says. */
MER_MUST enum mer_status lite_script(struct mer_dal *dal, const char *sql, size_t len,
                                     struct mer_script_place *place, struct mer_error *err);
MER_MUST enum mer_status lite_lock(struct mer_dal *dal, int64_t key, enum mer_lock_op op, bool *yes,
                                   struct mer_error *err);

#endif
