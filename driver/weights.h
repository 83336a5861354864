/* What commands know of the versions of a model's weights. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "session.h"

#include <mer/sum.h>
#include <mer/uid.h>

/* By which versions are shown; the last one where their bytes were looked at. */
enum { WEIGHTS_COLUMNS = 11 };
extern const struct out_column weights_columns[WEIGHTS_COLUMNS];

/* A version as its row was. */
struct weights {
	struct mer_uid uid;
	char *version, *state, *path, *sha256, *parent, *metrics, *made_by, *created_at;
	int64_t bytes;
	const char *check; /* what a look at the bytes gave; NULL: nobody looked */
};

/* All versions of a model, newest first. */
struct weights_list {
	struct weights *rows;
	size_t n;
};
MER_MUST enum mer_status weights_read_all(struct mer_dal *dal, const char *model,
                                          struct weights_list *out, struct mer_error *err);
void weights_list_done(struct weights_list *list);

/** The one of that version, version NULL: the active one; NULL: there is none. */
const struct weights *weights_of(const struct weights_list *list, const char *version);

/** The same; MER_ENOTFOUND where there is none. */
MER_MUST enum mer_status weights_find(const struct weights_list *list, const char *model,
                                      const char *version, const struct weights **out,
                                      struct mer_error *err);

/** The number behind the highest that is a version. */
int64_t weights_next(const struct weights_list *list);

/** A path as it is stored: absolute, or of the example models. The caller frees it. */
MER_MUST enum mer_status weights_path(const char *path, char **out, struct mer_error *err);

/** SHA-256 and size of what a stored path names, read in a thread, so that a signal ends it. */
MER_MUST enum mer_status weights_sum(struct session *s, const char *path, struct mer_sum *out,
                                     struct mer_error *err);

/** Reads the bytes of all, whatever is remembered, and sets what was found of each (check). */
MER_MUST enum mer_status weights_check(struct session *s, struct weights_list *list,
                                       struct mer_error *err);

/* A version to be. */
struct weights_new {
	const char *version, *path, *metrics; /* metrics: a JSON object */
	const char *parent_uid, *made_by;     /* "": none */
	struct mer_sum sum;
};

/**
 * Begins a transaction in which nobody else changes the model's weights, and reads them.
 * @return MER_ENOTFOUND no such model; then no transaction is open
 */
MER_MUST enum mer_status weights_begin(struct mer_dal *dal, const char *model,
                                       struct mer_uid *model_uid, struct weights_list *out,
                                       struct mer_error *err);

/** Adds a candidate, in a transaction. MER_ECONFLICT: there is such a version. */
MER_MUST enum mer_status weights_insert(struct mer_dal *dal, const char *model,
                                        const struct mer_uid *model_uid,
                                        const struct weights_new *new, struct mer_uid *uid,
                                        struct mer_error *err);

/** Makes it active instead of any other, in a transaction. */
MER_MUST enum mer_status weights_activate(struct mer_dal *dal, const struct mer_uid *model_uid,
                                          const char *uid, struct mer_error *err);

/** Prints one version as an object. */
MER_MUST enum mer_status weights_show(struct session *s, const char *model, const char *version,
                                      struct mer_error *err);

/** Prints all; with check beside each what was found. */
MER_MUST enum mer_status weights_print(struct session *s, const struct weights_list *list,
                                       bool check, struct mer_error *err);

#endif
