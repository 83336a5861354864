/*
 * Locks: session advisory locks of the database, which the server drops when it notices that their
 * connection is gone.
 */
#include "postgres.h"

#include <stdlib.h>
#include <string.h>

#define HOLDERS \
	"FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND " \
	"database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) AND " \
	"classid::bigint << 32 | objid::bigint = $1 AND pid "
#define OTHERS HOLDERS "<> pg_backend_pid()"
#define OURS HOLDERS "= pg_backend_pid()"

enum {
	TAKE_AGAIN = 100, /* times a lock is tried that a dead connection of ours still holds, */
	NAP_MS = 20,      /* with so long in between */
};

/* --- what we hold ------------------------------------------------------------------------- */

bool pg_holds(const struct postgres *pg, int64_t key)
{
	for (size_t i = 0; i < pg->n_held; i++) {
		if (pg->held[i] == key)
			return true;
	}
	return false;
}

/* Room for one more, before it is taken. */
static enum mer_status make_room(struct postgres *pg, struct mer_error *err)
{
	/* Those that are sent count as well. */
	const size_t need = pg->n_held + pg->n_sent + 1;
	if (need <= pg->cap_held)
		return MER_OK;
	int64_t *held = reallocarray(pg->held, 2 * need, sizeof *held);
	if (held == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for a lock");
	pg->held = held;
	pg->cap_held = 2 * need;
	return MER_OK;
}

void pg_now_held(struct postgres *pg, int64_t key)
{
	if (pg_holds(pg, key))
		return;
	MER_ASSERT(pg->n_held < pg->cap_held);
	pg->held[pg->n_held++] = key;
}

static void no_longer_held(struct postgres *pg, int64_t key)
{
	for (size_t i = 0; i < pg->n_held; i++) {
		if (pg->held[i] == key)
			pg->held[i--] = pg->held[--pg->n_held];
	}
}

/* --- asking ------------------------------------------------------------------------------- */

/* Asks for one number about a key. */
static enum mer_status ask(struct postgres *pg, const char *sql, int64_t key, int64_t *value,
                           struct mer_error *err)
{
	const int64_t theirs = key ^ MER_LOCK_POSTGRES;
	enum mer_status st = pg->tx == PG_TX_NONE ? pg_ready(pg, err) : pg_begin_sent(pg, err);
	if (st == MER_OK)
		st = pg_send_text(pg, sql, &theirs, err);
	return st == MER_OK ? pg_settle(pg, NULL, value, err) : st;
}

static enum mer_status take(struct postgres *pg, int64_t key, bool *yes, struct mer_error *err)
{
	int64_t got = 0;
	enum mer_status st = make_room(pg, err);
	if (st == MER_OK)
		st = ask(pg, "SELECT pg_try_advisory_lock($1)", key, &got, err);
	if (st != MER_OK)
		return st;
	if (got != 0)
		pg_now_held(pg, key);
	*yes = got != 0;
	return MER_OK;
}

/* In the open transaction, with what follows: it fails as a division by zero fails, so that nothing
 * behind it is done. */
static enum mer_status take_queued(struct postgres *pg, int64_t key, struct mer_error *err)
{
	enum mer_status st = make_room(pg, err);
	if (st == MER_OK)
		st = pg_begin_sent(pg, err);
	const int64_t theirs = key ^ MER_LOCK_POSTGRES;
	if (st == MER_OK)
		st = pg_send_text(pg, "SELECT 1 / pg_try_advisory_lock($1)::int", &theirs, err);
	if (st != MER_OK)
		return st;
	pg->sent[pg->n_sent - 1].kind = PG_SENT_LOCK;
	pg->sent[pg->n_sent - 1].key = key;
	return MER_OK;
}

static enum mer_status drop(struct postgres *pg, int64_t key, struct mer_error *err)
{
	if (!pg_holds(pg, key))
		return MER_OK;
	int64_t was;
	no_longer_held(pg, key); /* also of a connection that turns out to be lost */
	return ask(pg, "SELECT pg_advisory_unlock($1)", key, &was, err);
}

/* --- a pooler in between ------------------------------------------------------------------ */

static enum mer_status fail_pooled(struct postgres *pg, struct mer_error *err)
{
	(void)mer_fail(err, MER_EDATABASE,
	               "a pooler before the database '%s' gives each transaction another session",
	               pg->base.name);
	mer_hint(err, "connect to the server itself, or let it pool sessions");
	return MER_EDATABASE;
}

/*
 * Whoever is asked for its process and names another than the one that said hello is not that one:
 * something is in between. It may still keep us to one session (which is fine), so a second
 * connection takes a session and keeps it: where sessions go from hand to hand it gets ours, the one
 * that was used last.
 */
static enum mer_status check_pooler(struct postgres *pg, struct mer_error *err)
{
	static const char pid[] = "SELECT pg_backend_pid()";
	int64_t mine = 0, other = 0;
	enum mer_status st = pg_send_text(pg, pid, NULL, err);
	if (st == MER_OK)
		st = pg_settle(pg, NULL, &mine, err);
	if (st != MER_OK || mine == PQbackendPID(pg->conn))
		return st;
	struct mer_dal *dal;
	st = pg_open_again(pg, &dal, err);
	if (st != MER_OK)
		return st;
	struct postgres *second = as_postgres(dal);
	st = pg_send_text(second, "BEGIN", NULL, err);
	if (st == MER_OK)
		st = pg_send_text(second, pid, NULL, err);
	if (st == MER_OK)
		st = pg_settle(second, NULL, &other, err);
	dal->ops->close(dal, false);
	if (st == MER_OK && other == mine)
		return fail_pooled(pg, err);
	return st;
}

/* --- the operation ------------------------------------------------------------------------ */

static enum mer_status lock(struct postgres *pg, int64_t key, enum mer_lock_op op, bool *yes,
                            struct mer_error *err)
{
	int64_t n = 0;
	enum mer_status st;
	switch (op) {
	case MER_LOCK_TAKE: return yes != NULL ? take(pg, key, yes, err) : take_queued(pg, key, err);
	case MER_LOCK_DROP: return drop(pg, key, err);
	case MER_LOCK_TEST: break;
	}
	st = ask(pg, "SELECT count(*) " OTHERS, key, &n, err);
	if (st == MER_OK)
		*yes = n > 0;
	return st;
}

/* Whether a lock of ours is still ours. The server counts how often one is taken, so that nobody takes
 * his own again; a script can have given it back. */
static enum mer_status check_ours(struct postgres *pg, int64_t key, struct mer_error *err)
{
	int64_t n = 0;
	if (pg->tx != PG_TX_NONE)
		return MER_OK;
	enum mer_status st = pg_ready(pg, err);
	if (st != MER_OK || !pg->unsure)
		return st;
	st = ask(pg, "SELECT count(*) " OURS, key, &n, err);
	if (st != MER_OK)
		return st;
	if (n == 0)
		return mer_fail(err, MER_EDATABASE, "a script gave up the lock of the database '%s'",
		                pg->base.name);
	pg->unsure = false;
	return MER_OK;
}

enum mer_status pg_lock(struct mer_dal *dal, int64_t key, enum mer_lock_op op, bool *yes,
                        struct mer_error *err)
{
	struct postgres *pg = as_postgres(dal);
	MER_ASSERT(pg->tx != PG_TX_TOGETHER);
	if (pg->tx == PG_TX_NONE)
		pg->canceled = 0;
	if (op == MER_LOCK_TAKE && pg_holds(pg, key)) {
		enum mer_status st = check_ours(pg, key, err);
		if (st == MER_OK && yes != NULL)
			*yes = true;
		return st;
	}
	enum mer_status st = lock(pg, key, op, yes, err);
	if (st == MER_OK && op == MER_LOCK_TAKE && key == MER_LOCK_MIGRATE && yes != NULL && *yes)
		st = check_pooler(pg, err);
	return st;
}

/* --- after a loss ------------------------------------------------------------------------- */

static enum mer_status take_again(struct postgres *pg, int64_t key, struct mer_error *err)
{
	const int64_t theirs = key ^ MER_LOCK_POSTGRES;
	const int64_t began = mer_clock_ms();
	for (int i = 0; i < TAKE_AGAIN; i++) {
		int64_t got = 0, ended;
		enum mer_status st = pg_send_text(pg, "SELECT pg_try_advisory_lock($1)", &theirs, err);
		if (st == MER_OK)
			st = pg_settle(pg, NULL, &got, err);
		if (st != MER_OK || got != 0)
			return st;
		/* Nobody else wants an owner's lock: its holder is what is left of our last connection. */
		st = pg_send_text(pg, "SELECT count(pg_terminate_backend(pid)) " OTHERS, &theirs, err);
		if (st == MER_OK)
			st = pg_settle(pg, NULL, &ended, err);
		if (st != MER_OK)
			return st;
		if (!pg_nap(pg, began, NAP_MS))
			return pg_fail_canceled(pg, err);
	}
	return mer_fail(err, MER_EDATABASE, "another connection to the database '%s' keeps our lock",
	                pg->base.name);
}

enum mer_status pg_relock(struct postgres *pg, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (size_t i = 0; st == MER_OK && !pg->base.owner_left && i < pg->n_held; i++)
		st = take_again(pg, pg->held[i], err);
	if (st != MER_OK && pg->conn != NULL)
		pg_disconnect(pg); /* without its locks it must not be taken for whole */
	return st;
}
