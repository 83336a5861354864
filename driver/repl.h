/* The prompt: commands that somebody types. */
#ifndef REPL_H
#define REPL_H

#include "session.h"

/**
 * Reads and does commands until `exit`, the end of input or a signal.
 * @return MER_EIO the prompt's module cannot be loaded
 */
MER_MUST enum mer_status repl_run(struct session *s, struct mer_error *err);

#endif
