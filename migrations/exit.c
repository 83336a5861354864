/* The exit codes: what a status becomes, and what they mean to users. */
#include "exit.h"

#include <assert.h>

static const enum exit_code codes[] = {
	[MER_OK] = EXIT_DONE,
	[MER_EINPUT] = EXIT_USAGE,
	[MER_ENOTFOUND] = EXIT_USAGE,
	[MER_ECONFLICT] = EXIT_HISTORY,
	[MER_EDATABASE] = EXIT_DATABASE,
	[MER_EUNREACHABLE] = EXIT_DATABASE,
	[MER_EMODEL] = EXIT_DEFECT,
	[MER_ETIMEOUT] = EXIT_DATABASE,
	[MER_EBUSY] = EXIT_LOCKED,
	[MER_ECANCELED] = EXIT_DEFECT,
	[MER_ELIMIT] = EXIT_USAGE,
	[MER_EIO] = EXIT_DEFECT,
	[MER_ECORRUPT] = EXIT_DATABASE,
	[MER_ENOMEM] = EXIT_DEFECT,
};
static_assert(sizeof codes / sizeof *codes == MER_STATUS_COUNT, "a code for each status");

const struct exit_row exit_rows[] = {
	{ EXIT_DONE, "done, or nothing to do" },
	{ EXIT_SCRIPT, "a script failed; what ran before it stays, it left nothing" },
	{ EXIT_USAGE, "usage, or a script that may not run (name, encoding, own COMMIT)" },
	{ EXIT_HISTORY, "history disagrees: edited, missing, late, duplicate number; a half-done "
	                "no-transaction script" },
	{ EXIT_DATABASE,
	  "the database cannot be reached or logged in to, is corrupt, read-only or full" },
	{ EXIT_LOCKED, "another process holds the lock, and --wait ran out" },
	{ EXIT_PENDING, "pending scripts exist (status --check)" },
	{ EXIT_DEFECT, "a defect in mer-migrate" },
	{ EXIT_INTERRUPTED, "interrupted by SIGINT: the script in progress is rolled back" },
	{ EXIT_TERMINATED, "interrupted by SIGTERM: the same" },
	{ EXIT_READER_LEFT, "stdout's reader left" },
};
const size_t n_exit_rows = sizeof exit_rows / sizeof *exit_rows;

enum exit_code exit_code_of(enum mer_status status)
{
	return codes[status];
}
