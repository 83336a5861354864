/* One call of mer-migrate: what its steps hand on. */
#ifndef MIGRATIONS_WORK_H
#define MIGRATIONS_WORK_H

#include "apply.h"
#include "ledger.h"
#include "options.h"
#include "report.h"
#include "scan.h"

struct work {
	struct options options;
	struct report report;
	struct mer_error err;
	const struct script *culprit; /* the script that err is about, and where in it; or NULL */
	int64_t line, column;

	char *url, *own_dir; /* owned */
	bool default_url, no_database;
	enum sql_dialect dialect;
	struct scan scan;
	struct ledger ledger;
	struct mer_haste waits; /* of an SQLite file */
	struct apply apply;
	struct plan plan;
};

/* What a command does to the database. */
enum access {
	ACCESS_NONE,
	ACCESS_READ,
	ACCESS_CHANGE, /* it must be there */
	ACCESS_CREATE, /* it is made */
};

/** Everything up to the plan: settings, scripts, connection, lock, ledger. What is wrong is in err. */
MER_MUST enum mer_status work_prepare(struct work *work, enum access access);

/** How the command that was given works, and does it. */
enum access work_access(const struct work *work);
MER_MUST enum exit_code work_do(struct work *work);

#endif
