/* What mer-migrate exits with; CLI.md. */
#ifndef MIGRATIONS_EXIT_H
#define MIGRATIONS_EXIT_H

#include <mer/error.h>
#include <stddef.h>

enum exit_code {
	EXIT_DONE = 0,
	EXIT_SCRIPT = 1,
	EXIT_USAGE = 2,
	EXIT_HISTORY = 3,
	EXIT_DATABASE = 4,
	EXIT_LOCKED = 5,
	EXIT_PENDING = 6,
	EXIT_DEFECT = 70,
	EXIT_INTERRUPTED = 130, /* by SIGINT */
	EXIT_TERMINATED = 143,  /* by SIGTERM */
	EXIT_READER_LEFT = 141, /* as if SIGPIPE had ended it */
};

/* What they mean to users. */
struct exit_row {
	enum exit_code code;
	const char *means;
};
extern const struct exit_row exit_rows[];
extern const size_t n_exit_rows;

/** What a status is worth where nothing more is known of it. */
enum exit_code exit_code_of(enum mer_status status);

#endif
