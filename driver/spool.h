/* Output that is kept until it is known how the run ended: in memory up to a size, then in an
 * unnamed file, so that memory stays flat. */
#ifndef SPOOL_H
#define SPOOL_H

#include <mer/buf.h>
#include <stdbool.h>
#include <stdint.h>

struct spool {
	struct mer_buf mem; /* all of it, or what is not in the file yet */
	size_t limit;       /* of mem */
	int fd;             /* -1: all is in memory */
	int64_t bytes;
	bool odd;    /* what came is not UTF-8 */
	char cut[4]; /* of a sequence whose end has not come */
	size_t n_cut;
	struct mer_error err; /* the first failure; what comes after it is dropped */
};

void spool_init(struct spool *spool, size_t limit);
void spool_release(struct spool *spool);
void spool_clear(struct spool *spool);

void spool_add(struct spool *spool, const char *bytes, size_t n);

/** Whether all of it is UTF-8. */
static inline bool spool_is_text(const struct spool *spool)
{
	return !spool->odd && spool->n_cut == 0;
}

/** MER_EIO or MER_ENOMEM where not all could be kept. */
MER_MUST enum mer_status spool_check(const struct spool *spool, struct mer_error *err);

/** Copies up to n bytes from a place on; 0 at the end. */
MER_MUST enum mer_status spool_read(struct spool *spool, int64_t at, char *out, size_t n,
                                    size_t *got, struct mer_error *err);

#endif
