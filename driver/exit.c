/* The exit codes, in one table each: what a status becomes, and what they mean to users. */
#include "session.h"

#include <assert.h>

static const int codes[] = {
	[MER_OK] = 0,        [MER_EINPUT] = 2,       [MER_ENOTFOUND] = 3, [MER_ECONFLICT] = 4,
	[MER_EDATABASE] = 5, [MER_EUNREACHABLE] = 6, [MER_EMODEL] = 1,    [MER_ETIMEOUT] = 7,
	[MER_EBUSY] = 8,     [MER_ECANCELED] = 130,  [MER_ELIMIT] = 2,    [MER_EIO] = 70,
	[MER_ECORRUPT] = 70, [MER_ENOMEM] = 70,
};
static_assert(sizeof codes / sizeof *codes == MER_STATUS_COUNT, "a code for each status");

const struct exit_row exit_rows[] = {
	{ 0, "done", "done" },
	{ 1, "the model ran and failed: exit status, signal, error answer, output over its limit",
	  "failed" },
	{ 2, "usage or bad input", "usage" },
	{ 3, "no such model, server, weights, run", "missing" },
	{ 4, "conflict, or changes not allowed", "conflict" },
	{ 5, "database unreachable, not migrated, newer than this mer, corrupt, read-only or full",
	  "database" },
	{ 6,
	  "server unreachable, or the model would not start (program missing, died before it was "
	  "ready)",
	  "unreachable" },
	{ 7, "deadline passed", "deadline" },
	{ 8, "busy: a limit was reached and the queue is full", "busy" },
	{ 9, "doctor or db check found a fault", "fault" },
	{ 70, "a defect in mer; also when it runs out of memory or an I/O error has no better code",
	  "defect" },
	{ 75, "another mer holds the --once-key", "held" },
	{ 141, "stdout's reader left; the run is recorded first", "reader-left" },
	{ 129, "interrupted by SIGHUP: the run is cancelled and recorded first", "hangup" },
	{ 130, "interrupted by SIGINT: the same", "interrupted" },
	{ 143, "interrupted by SIGTERM: the same", "terminated" },
};
const size_t n_exit_rows = sizeof exit_rows / sizeof *exit_rows;

int exit_code(enum mer_status status)
{
	return codes[status];
}
