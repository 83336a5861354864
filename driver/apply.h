/* Making the database what a document says of the things that it names. */
#ifndef APPLY_H
#define APPLY_H

#include "document.h"
#include "session.h"

#include <mer/sum.h>

/* One thing that is new, or one key of it that is another. */
struct apply_change {
	bool added;
	const char *kind;  /* server model deployment weights */
	char *name;        /* owned; of a part of a model MODEL/NAME */
	const char *key;   /* NULL: it is new */
	json_t *old, *new; /* owned; NULL: it is new */
};

/* What was found where weights are. */
struct apply_sum {
	enum mer_status st;
	struct mer_error why;
	struct mer_sum sum;
};

struct apply {
	struct mer_dal *dal;
	const struct document *document;
	bool dry;               /* only look */
	struct apply_sum *sums; /* of all weights of all models, in their order */
	struct apply_change *changes;
	size_t n_changes;
};

void apply_release(struct apply *apply);

/** Reads what is at the paths of all weights, or remembers it. Before the transaction, since it may take
 * its time. */
MER_MUST enum mer_status apply_sum_all(struct session *s, struct apply *apply,
                                       struct mer_error *err);

/**
 * Compares all that the document names with what is there and, unless it is to be dry, changes it; inside
 * a transaction in which nobody else does.
 * @return MER_EINPUT, MER_ENOTFOUND, MER_ECONFLICT with FILE:LINE:COLUMN
 */
MER_MUST enum mer_status apply_run(struct apply *apply, struct mer_error *err);

#endif
