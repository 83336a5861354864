/* Inside mer/lend.h: the order of errands that a lending is. lending.c has what all share, lend.c sends
 * files, fetch.c brings them back. */
#ifndef MEAL_LENDING_H
#define MEAL_LENDING_H

#include "errand.h"

#include <mer/lend.h>

#define LENDING_STRIPES \
	5 /* channels over which a file is sent, where it is large: what one session has for workers */
#define LENDING_ROUNDS \
	6 /* times that it goes on where a connection was lost, or another mer was first */
#define LENDING_WORDS_MAX 16

struct lending_kind;

/* First member of each kind's own struct. */
struct mer_lending {
	const struct lending_kind *kind;
	struct uv_loop_s *loop;
	struct mer_worker_spec there, here; /* like which errands are */
	const struct mer_remote *remote;    /* borrowed */
	char *guard, *script;
	mer_lending_done_fn *done;
	void *ctx;
	struct errand *errands[LENDING_STRIPES];
	size_t n_errands;
	struct mer_error error;
};

struct lending_kind {
	size_t size;
	void (*release)(struct mer_lending *lending);
	/* An errand has ended; there may be others. err NULL: text is what it said. */
	void (*ended)(struct mer_lending *lending, const char *text, const struct mer_error *err);
	bool (*bytes)(struct mer_lending *lending, const char *bytes, size_t n);
};

/* An object of that kind, without an errand. Free it with lending_free() unless one was started. */
MER_MUST enum mer_status lending_new(const struct lending_kind *kind, struct uv_loop_s *loop,
                                     const struct mer_worker_spec *spec, mer_lending_done_fn *done,
                                     void *ctx, void *out, struct mer_error *err);
void lending_free(struct mer_lending *lending);

/* What goes along with an order. */
struct lending_order {
	const char *words[LENDING_WORDS_MAX]; /* of lend.sh, ended by NULL */
	struct bundle *source;                /* for stdin; NULL: none */
	int64_t from, to;
	bool streams; /* stdout goes to the kind's bytes */
};

/* Runs lend.sh there. */
MER_MUST enum mer_status lending_send(struct mer_lending *lending,
                                      const struct lending_order *order, struct mer_error *err);

/* So many orders follow one another, or are to be carried out at the same time. */
void lending_ahead(struct mer_lending *lending, size_t n);

/* Nobody else's orders are opened ahead meanwhile. */
void lending_hold(struct mer_lending *lending, bool hold);

/* Runs a program here, all of whose words are given. */
MER_MUST enum mer_status lending_run(struct mer_lending *lending, const char *const *argv,
                                     struct mer_error *err);

/* Notes the first failure, or that it was cancelled. */
void lending_fail(struct mer_lending *lending, const struct mer_error *err);

/* From ended(): nothing more is to be done. */
void lending_finish(struct mer_lending *lending);

#endif
