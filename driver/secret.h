/* Secrets in what was typed: by the table of commands, so that no history keeps them. */
#ifndef SECRET_H
#define SECRET_H

#include "cmd.h"

/**
 * Whether the words of a command hold a secret: in an argument that the table says may hold one (`secret`
 * of struct cmd_arg), or, where they are no command as they stand, in any word that looks like it.
 */
bool secret_within(const char *const words[], size_t n);

#endif
