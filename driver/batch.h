/* Commands that come as lines: from -c, from files, from stdin, from the prompt. */
#ifndef BATCH_H
#define BATCH_H

#include "session.h"

struct source;

/* Adds what comes next to source->bytes, a whole line at least, or sets eof. open: a command is not
 * complete yet. MER_ECANCELED: what was read of it is forgotten. */
typedef enum mer_status source_fill(struct session *s, struct source *source, bool open,
                                    struct mer_error *err);

struct source {
	const char *name;     /* for messages; borrowed */
	source_fill *fill;    /* NULL: all is in bytes */
	void *ctx;            /* of fill */
	int fd;               /* of batch_fill() */
	struct mer_buf bytes; /* read and not used yet, from at on */
	size_t at;
	bool eof;
	int64_t line;           /* how many lines were used */
	struct mer_buf command; /* the last command as it was written, maybe over several lines */
};

void source_init(struct source *source, const char *name, source_fill *fill);
void source_release(struct source *source);

/** Reads a descriptor, waiting by the loop. */
source_fill batch_fill;

/**
 * Reads the next command and splits its words; empty lines and comments are passed over.
 * @param words  gives a vector; NULL at the end of the source
 * @param at     where the command begins, on failure too
 * @return MER_EINPUT an open quote at the end, a NUL, a command of more than 1 MiB; reading on is
 *         fine. What fill returns
 */
MER_MUST enum mer_status source_next(struct session *s, struct source *source, char ***words,
                                     size_t *n, struct place *at, struct mer_error *err);

/** Does what -c and -f say, in their order; and what stdin says. */
void batch_options(struct session *s);
void batch_stdin(struct session *s);

#endif
