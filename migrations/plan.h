/*
 * What the ledger says has run, next to what the folders hold: the state of each script, what `up`
 * would do about it, and whether it may. Pure: no files, no database, no clock.
 */
#ifndef MIGRATIONS_PLAN_H
#define MIGRATIONS_PLAN_H

#include "exit.h"
#include "look.h"

#include <mer/hash.h>
#include <mer/queries.h>
#include <stdbool.h>

/* A script has a number from 1; MER's own are below this, an operator's own are not. */
#define PLAN_OPERATORS INT64_C(1000)

/* A file NN-Name.sql. The scan that made it owns what it points to. */
struct script {
	int64_t num;
	char *file;                             /* NN-Name.sql */
	const char *name;                       /* Name */
	const char *folder;                     /* as it was given */
	char sha256[MER_SHA256_SIZE];           /* of its bytes; "" where it could not be read */
	char canonical_sha256[MER_SHA256_SIZE]; /* "" where it is not text, or sha256 was enough */
	const struct mer_error *problem;        /* why it may not run, or NULL */
	int64_t line, column;                   /* in text, where the problem is; or 0 */

	/* What has not run is kept from when it was checked until it runs, so that it runs as it
	 * was. */
	char *text; /* without a byte order mark, ended by a NUL; NULL: has run, or is no text */
	size_t len;
	struct script_facts facts;
};

enum entry_state {
	ENTRY_APPLIED,   /* as it ran; without a script where its range is not compared */
	ENTRY_RENAMED,   /* the same under another name, which is fine: the number is what counts */
	ENTRY_COSMETIC,  /* edited in comments or white space only */
	ENTRY_PENDING,   /* has not run */
	ENTRY_EDITED,    /* is not what ran */
	ENTRY_MISSING,   /* has run and is in no folder */
	ENTRY_LATE,      /* has not run, and a higher number of its range has */
	ENTRY_DUPLICATE, /* two files have its number */
	ENTRY_HALF_DONE, /* ran outside a transaction and did not end */
	ENTRY_REFUSED,   /* may not run, or cannot be read */
	ENTRY_STATE_COUNT
};

enum entry_action {
	ACTION_NONE,
	ACTION_NOTE,   /* say it and go on */
	ACTION_APPLY,  /* run it */
	ACTION_REFUSE, /* run nothing */
	ACTION_COUNT
};

struct entry {
	enum entry_state state;
	enum entry_action action;
	int64_t num;
	const struct script *script;      /* NULL: in no folder */
	const struct mer_ledger_row *row; /* NULL: not in the ledger */
	const struct script *other;       /* the other duplicate; where a missing one's text is now */
	int64_t above;                    /* late: the highest number of its range that has run */
};

struct plan_input {
	const struct mer_ledger_row *rows; /* by number */
	size_t n_rows;
	const struct script *scripts; /* by number */
	size_t n_scripts;
	bool strict;   /* a cosmetic edit is refused too */
	bool own_only; /* operators' rows have no folder to be looked for in */
	int64_t to;    /* the highest number to apply; 0: all */
};

struct plan {
	struct entry *entries; /* by number; they borrow from the input */
	size_t n;
	size_t states[ENTRY_STATE_COUNT], actions[ACTION_COUNT];
	enum exit_code code; /* EXIT_DONE where `up` may run; else what it exits with */
};

/** Compares; release the plan. MER_ENOMEM. */
MER_MUST enum mer_status plan_make(const struct plan_input *in, struct plan *out,
                                   struct mer_error *err);
void plan_release(struct plan *plan);

/** "applied", "pending", ...; and "apply", "refuse", "note", "". */
const char *entry_state_name(enum entry_state state);
const char *entry_action_name(enum entry_action action);

/* Room for what entry_file() writes. */
enum { ENTRY_FILE_ROOM = 300 };

/** NN-Name.sql of its file, or as its file must have been named; in out where there is no file. */
const char *entry_file(const struct entry *entry, char *out, size_t size);

/** How a script that did not end outside a transaction is settled. */
void entry_hint_half_done(int64_t num, struct mer_error *out);

/** What is to be said about it: a message and a hint, both "" where it is as it should be. */
void entry_explain(const struct entry *entry, struct mer_error *out);

/** One message for all that hinders: how many and which, or the one there is, which it returns. */
const struct entry *plan_explain(const struct plan *plan, struct mer_error *out);

#endif
