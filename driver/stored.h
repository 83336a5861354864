/* What the database knows, as objects with the keys of documents: to be written as one, or compared with
 * one. All defaults are told; null is one that has no value of its own. */
#ifndef STORED_H
#define STORED_H

#include "example.h"
#include "weights.h"

#include <mer/json.h>

struct stored_server {
	struct mer_uid uid;
	char *name;
	json_t *object;
};

struct stored_servers {
	struct stored_server *rows;
	size_t n;
};

struct stored_deployment {
	struct mer_uid uid;
	char *name, *protocol;
	json_t *object;
};

/* The model's own part. */
struct stored_own {
	char *summary;
	int64_t feedback, threshold, train_after;
	struct example example;
};

struct stored_model {
	struct mer_uid uid;
	struct stored_own own;
	json_t *object;
	struct stored_deployment *deployments;
	size_t n_deployments;
	struct weights_list weights;
};

/** All servers; further ones may be added. */
MER_MUST enum mer_status stored_servers_read(struct mer_dal *dal, struct stored_servers *out,
                                             struct mer_error *err);
MER_MUST enum mer_status stored_servers_add(struct stored_servers *servers, const char *uid,
                                            const char *name, json_t *object,
                                            struct mer_error *err);
const struct stored_server *stored_server_of(const struct stored_servers *servers,
                                             const char *name);
void stored_servers_release(struct stored_servers *servers);

/** One model with all that is its own; *found is whether there is one. */
MER_MUST enum mer_status stored_model_read(struct mer_dal *dal, const char *name, bool *found,
                                           struct stored_model *out, struct mer_error *err);
const struct stored_deployment *stored_deployment_of(const struct stored_model *model,
                                                     const char *name);
void stored_model_release(struct stored_model *model);

/** Objects of parts; each gives a reference. */
MER_MUST enum mer_status stored_own_object(const struct stored_own *own, json_t **out,
                                           struct mer_error *err);
MER_MUST enum mer_status stored_weights_object(const struct weights *weights, json_t **out,
                                               struct mer_error *err);

/** The whole database as a document, without what are defaults. */
MER_MUST enum mer_status stored_document(struct mer_dal *dal, json_t **out, struct mer_error *err);

#endif
