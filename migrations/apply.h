/* Changing the database: the lock that lets one process do it at a time, scripts with their rows, and
 * rows alone. */
#ifndef MIGRATIONS_APPLY_H
#define MIGRATIONS_APPLY_H

#include "settle.h"

#include <mer/dal.h>

struct apply {
	const char *url;         /* borrowed */
	struct mer_haste *waits; /* for other programs; borrowed; or NULL */
	struct mer_dal *lock,
		*work;    /* connections: the one that holds the lock, and the one scripts use,
	                              * which mostly is the same; owned */
	bool ledger;  /* its table exists */
	bool soiled;  /* a script may have left settings or temporary tables in work */
	char by[320]; /* user@host */
};

/** Begins with an open connection, which it takes. */
void apply_init(struct apply *apply, const char *url, struct mer_haste *waits, struct mer_dal *dal);
void apply_release(struct apply *apply);

/**
 * Takes the lock, which is held until the release; tries again and again.
 * @return MER_EBUSY  another one had it for all of wait_ms
 */
MER_MUST enum mer_status apply_lock(struct apply *apply, int64_t wait_ms, struct mer_error *err);

/* What became of a script that failed. */
enum apply_rest {
	REST_NOTHING, /* nothing of it is in the database */
	REST_STARTED, /* it ran outside a transaction: something may be, and its row says so */
	REST_UNKNOWN, /* the connection was lost while it was committed */
};

struct apply_result {
	int64_t duration_ms;
	struct mer_script_place place; /* line 0: as a whole, or the script did not fail */
	enum apply_rest rest;
};

/** Whether a script needs another connection: one on which none has left anything; and for one that
 * may leave something, or drop locks, not the one with the lock. */
bool apply_must_renew(const struct apply *apply, const struct script *script);
MER_MUST enum mer_status apply_renew(struct apply *apply, struct mer_error *err);

/**
 * Runs a script that may run, and writes its row. In one transaction, or by itself if it asks for
 * that: then the row is there first, as started.
 * @return EXIT_DONE, EXIT_SCRIPT the script is wrong, EXIT_DATABASE, EXIT_DEFECT; where the signals are
 *         let through, what has been interrupted is MER_ECANCELED in err
 */
MER_MUST enum exit_code apply_script(struct apply *apply, const struct script *script,
                                     struct apply_result *result, struct mer_error *err);

/** Changes rows, all or none. */
MER_MUST enum mer_status apply_changes(struct apply *apply, const struct changes *changes,
                                       struct mer_error *err);

#endif
