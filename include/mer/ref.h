/* References to secrets: env:NAME, file:PATH or cmd:COMMAND, resolved when used (CLI.md, REF). */
#ifndef MER_REF_H
#define MER_REF_H

#include <mer/error.h>
#include <stdbool.h>

/** Whether the text has the form of a reference. */
MER_API bool mer_ref_is(const char *text);

/** MER_EINPUT where a text that is given for what holds a secret itself and no reference. what is what
 * it was given for; the text is not told. NULL is fine. */
MER_API MER_MUST enum mer_status mer_ref_check(const char *what, const char *text,
                                               struct mer_error *err);

/** The NAME of env:NAME, else NULL; borrowed from text. */
MER_API const char *mer_ref_env_name(const char *text);

/**
 * Fetches what a reference names: the variable, the file's content, or what /bin/sh -c COMMAND
 * prints; one newline at the end is dropped. At most 64 KiB, no NUL. Blocks; a command is given 30 s.
 *
 * @param out  gives the secret; wipe it with mer_ref_wipe()
 * @return MER_EINPUT names the reference, never what it gave
 */
MER_API MER_MUST enum mer_status mer_ref_resolve(const char *text, char **out,
                                                 struct mer_error *err);

/** Overwrites the text and frees it. NULL is fine. */
MER_API void mer_ref_wipe(char *text);

#endif
