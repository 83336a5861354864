/* Changing the database: the lock that lets one process do it at a time, and a script with its
 * row. */
#ifndef MIGRATIONS_APPLY_H
#define MIGRATIONS_APPLY_H

#include "plan.h"

#include <mer/dal.h>

struct apply {
	const char *url; /* borrowed */
	struct mer_dal *lock,
		*work;    /* connections: the one that holds the lock, and the one scripts use,
	                              * which mostly is the same; owned */
	bool ledger;  /* its table exists */
	bool soiled;  /* a script may have left settings or temporary tables in work */
	char by[320]; /* user@host */
};

/** Begins with an open connection, which it takes. */
void apply_init(struct apply *apply, const char *url, struct mer_dal *dal);
void apply_release(struct apply *apply);

/**
 * Takes the lock, which is held until the release; tries again and again.
 * @return MER_EBUSY  another one had it for all of wait_ms
 */
MER_MUST enum mer_status apply_lock(struct apply *apply, int64_t wait_ms, struct mer_error *err);

/* Where a script failed; line 0: as a whole, or the script did not fail but the database. */
struct apply_result {
	int64_t duration_ms;
	struct mer_script_place place;
};

/**
 * Runs a script that may run, and writes its row, in one transaction; on failure nothing of it is
 * left. It ends with stop_hold(), before the commit: what was committed is also said.
 * @return EXIT_DONE, EXIT_SCRIPT the script is wrong, EXIT_DATABASE, EXIT_DEFECT
 */
MER_MUST enum exit_code apply_script(struct apply *apply, const struct script *script,
                                     struct apply_result *result, struct mer_error *err);

#endif
