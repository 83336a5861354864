/* Looking up what commands name. */
#ifndef FIND_H
#define FIND_H

#include <mer/dal.h>
#include <mer/uid.h>
#include <stdbool.h>

/** The uid of a model. @return MER_ENOTFOUND with a hint at one of a near name */
MER_MUST enum mer_status find_model(struct mer_dal *dal, const char *name, struct mer_uid *uid,
                                    struct mer_error *err);

/** The same for what asks of runs: one that was removed is there as long as the log has runs of it. */
MER_MUST enum mer_status find_logged_model(struct mer_dal *dal, const char *name,
                                           struct mer_error *err);

/** The same of a server; kind has room for 16 bytes, NULL allowed. */
MER_MUST enum mer_status find_server(struct mer_dal *dal, const char *name, struct mer_uid *uid,
                                     char *kind, struct mer_error *err);

/* A deployment as it was found. */
struct found_deployment {
	struct mer_uid uid;
	char model[129], name[129];
	size_t siblings; /* how many its model has, itself among them */
};

/**
 * A deployment of a model, by its name or its uid.
 *
 * @param model  the model's name; or the uid of a deployment where which is NULL
 * @param which  NULL: the only one that the model has
 * @return MER_ENOTFOUND, MER_ECONFLICT it has several: with a hint at those that there are
 */
MER_MUST enum mer_status find_deployment(struct mer_dal *dal, const char *model, const char *which,
                                         struct found_deployment *out, struct mer_error *err);

/** Ends the transaction that began before st was known: commits after MER_OK, else rolls back and
 * gives st. */
MER_MUST enum mer_status find_end(struct mer_dal *dal, enum mer_status st, struct mer_error *err);

#endif
