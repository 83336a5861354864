/*
 * What `repair` and `baseline` change in the ledger, decided as a whole before anything is changed.
 * Pure. Nothing is invented: each change is about one script that was named and that disagrees.
 */
#ifndef MIGRATIONS_SETTLE_H
#define MIGRATIONS_SETTLE_H

#include "plan.h"

enum change_kind {
	CHANGE_ACCEPT, /* the row becomes what the file is */
	CHANGE_FORGET, /* the row goes */
	CHANGE_RECORD, /* a row for a script that did not run */
	CHANGE_COUNT
};

struct change {
	enum change_kind kind;
	const struct entry *entry;    /* borrowed from the plan */
	const char *canonical_sha256; /* of the file; "" where the row goes */
};

struct changes {
	struct change *at; /* in the order in which they were named */
	size_t n;
};

/* Numbers as they were given. */
struct numbers {
	const int64_t *at; /* borrowed */
	size_t n;
};

/**
 * The changes of a repair; release them.
 * @return MER_EINPUT     what was named does not disagree, or cannot be settled so
 *         MER_ECONFLICT  several files have its number
 *         MER_ENOMEM
 */
MER_MUST enum mer_status settle_repair(const struct plan *plan, struct numbers accepts,
                                       struct numbers forgets, struct changes *out,
                                       struct mer_error *err);

/**
 * The rows of a baseline up to a number.
 * @return MER_ECONFLICT  the ledger has rows, or several files have one number
 *         MER_EINPUT     there is no such script; or one that is no text
 *         MER_ENOMEM
 */
MER_MUST enum mer_status settle_baseline(const struct plan *plan, size_t n_rows, int64_t to,
                                         struct changes *out, struct mer_error *err);

void changes_release(struct changes *changes);

/** "accept", "forget", "record"; and "accepted", ... */
const char *change_name(enum change_kind kind);
const char *change_done(enum change_kind kind);

#endif
