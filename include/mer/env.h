/* Environment files: NAME=VALUE lines, as Compose and systemd users write them. */
#ifndef MER_ENV_H
#define MER_ENV_H

#include <mer/error.h>

/* Gets each setting in order; name and value are borrowed. Not MER_OK ends the reading. */
typedef enum mer_status mer_env_fn(void *ctx, const char *name, const char *value,
                                   struct mer_error *err);

/**
 * Reads a file of NAME=VALUE lines, at most 1 MiB. Empty lines and lines that begin with '#' are
 * skipped, a leading "export " is allowed, white space around name and value is dropped. A value
 * may stand in single quotes (as it is) or double quotes (with \\ \" \n \t), which end on their
 * line; unquoted, " #" begins a comment. Nothing is expanded. A BOM and CRLF are accepted.
 *
 * @return MER_EIO cannot be read; MER_EINPUT begins with "path:line:column: "; the status of
 *         on_setting, its message with "path:line: " in front
 */
MER_API MER_MUST enum mer_status mer_env_read(const char *path, mer_env_fn *on_setting, void *ctx,
                                              struct mer_error *err);

/** The same over text; path is only for messages. */
MER_API MER_MUST enum mer_status mer_env_parse(const char *path, const char *text, size_t len,
                                               mer_env_fn *on_setting, void *ctx,
                                               struct mer_error *err);

#endif
