/* The one table from statuses to exit codes. */
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

enum exit_code exit_code_of(enum mer_status status)
{
	return codes[status];
}
