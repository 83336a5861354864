/* Writing the next script: an empty one of the same number and name for each dialect. */
#ifndef MIGRATIONS_NEW_SCRIPT_H
#define MIGRATIONS_NEW_SCRIPT_H

#include <mer/error.h>
#include <stddef.h>
#include <stdint.h>

struct new_script {
	int64_t num;
	char **paths; /* owned, as what they point to */
	size_t n;
};

/**
 * Writes it; all of its files or none.
 *
 * The folders are those of all dialects beside the one that is given, or within it: one whose folders
 * have no names of dialects is alone. The number is the next one there. Where there is none yet it is
 * the operators' first in a folder that was given, and 1 in the installed ones.
 *
 * @param dirs  of --dir; NULL: the installed ones below sql
 * @param sql   the folder with a folder for each dialect
 * @return MER_EINPUT a name that is none, folders that cannot be read or belong together in no way,
 *         or a file that cannot be written
 */
MER_MUST enum mer_status new_script_write(const char *const dirs[], size_t n_dirs, const char *sql,
                                          const char *name, struct new_script *out,
                                          struct mer_error *err);
void new_script_release(struct new_script *script);

#endif
