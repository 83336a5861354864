/* The command line of mer-migrate: one row a command, one row an option. Help comes from the same
 * rows. */
#ifndef MIGRATIONS_OPTIONS_H
#define MIGRATIONS_OPTIONS_H

#include <mer/buf.h>
#include <stdbool.h>
#include <stdint.h>

enum command {
	COMMAND_NONE,
	COMMAND_UP,
	COMMAND_STATUS,
	COMMAND_PLAN,
	COMMAND_VERIFY,
	COMMAND_BASELINE,
	COMMAND_REPAIR,
	COMMAND_NEW,
	COMMAND_COUNT
};

struct options {
	enum command command;
	const char *database; /* borrowed from the arguments, as all texts; NULL: not given */
	const char *env_file;
	const char **dirs; /* owned; in the order in which they were given */
	size_t n_dirs;
	int64_t wait_ms;
	int64_t to;                 /* of up and baseline; 0: all */
	const char *name;           /* of new */
	int64_t *accepts, *forgets; /* of repair; owned */
	size_t n_accepts, n_forgets;
	bool strict, json, quiet, check, dry_run, help, version, man;
};

/**
 * Reads the arguments; release the options also after a failure.
 * @return MER_EINPUT with a hint. json is set where it was given, in whatever place.
 */
MER_MUST enum mer_status options_parse(int argc, char *const argv[], struct options *out,
                                       struct mer_error *err);
void options_release(struct options *options);

/** The help of a command, or of the program (COMMAND_NONE). */
void options_help(enum command command, struct mer_buf *out);

/** The manual page mer-migrate(1). */
void options_man(struct mer_buf *out);

#endif
