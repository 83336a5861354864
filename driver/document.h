/*
 * A document: servers, models, their deployments and their weights, as `mer apply` reads them and
 * `mer export` writes them; docs/apply.md is for who writes one.
 *
 * Its keys are rows of the tables that the commands read their options from, with the same names, types
 * and defaults, so that an option is a key as soon as it is there. All files of one `apply` are one
 * document. Nothing here asks the database.
 */
#ifndef DOCUMENT_H
#define DOCUMENT_H

#include "cmd.h"
#include "server.h"
#include "spec.h"
#include "yaml_tree.h"

#include <mer/json.h>

/* --- keys --------------------------------------------------------------------------------- */

enum { DOCUMENT_VERSION = 1, DOCUMENT_KEYS_MAX = 48 };

/* What a model has beside the options of `model add`. */
enum document_model_key { MODEL_FEEDBACK, MODEL_THRESHOLD, MODEL_TRAIN_AFTER, MODEL_KEYS };
extern const struct cmd_arg document_model_args[MODEL_KEYS];

enum document_weights_key {
	WEIGHTS_PATH,
	WEIGHTS_STATE,
	WEIGHTS_SHA256,
	WEIGHTS_BYTES,
	WEIGHTS_PARENT,
	WEIGHTS_METRICS,
	WEIGHTS_KEYS
};
extern const struct cmd_arg document_weights_args[WEIGHTS_KEYS];

/* What a key's value looks like. */
enum document_shape {
	SHAPE_SCALAR, /* as its row's type says */
	SHAPE_PATH,   /* a text; relative to the document's folder */
	SHAPE_BYTES,  /* a text, @FILE or {base64: ...} */
	SHAPE_WORDS,  /* a list of texts: a command */
	SHAPE_LIST,   /* a list of texts */
	SHAPE_MAP,    /* texts by name */
	SHAPE_JSON,   /* a map of anything */
};

struct document_key {
	const char *name;
	const struct cmd_arg *arg;
	enum document_shape shape;
	bool required;
	struct cmd_value *to; /* where its value belongs; NULL: nobody reads one */
};

/** The keys of each; values may be NULL. They give how many they are. */
size_t document_server_keys(struct cmd_value *values, struct document_key out[DOCUMENT_KEYS_MAX]);
size_t document_model_keys(struct cmd_value *values, struct cmd_value *more,
                           struct document_key out[DOCUMENT_KEYS_MAX]);
size_t document_deployment_keys(struct cmd_value *values,
                                struct document_key out[DOCUMENT_KEYS_MAX]);
size_t document_weights_keys(struct cmd_value *values, struct document_key out[DOCUMENT_KEYS_MAX]);

/* --- what was read ------------------------------------------------------------------------ */

/* What all have: a name, and where they are. */
struct document_item {
	const char *name, *file;
	const struct yaml_node *node; /* its key tells line and column, its members are its keys */
};

struct document_server {
	struct document_item item;
	struct cmd_value values[SERVER_ARGS];
};

struct document_deployment {
	struct document_item item;
	struct cmd_value values[SPEC_ARGS];
};

struct document_weights {
	struct document_item item;
	struct cmd_value values[WEIGHTS_KEYS];
	json_t *metrics; /* owned; NULL: nothing is said */
};

struct document_model {
	struct document_item item;
	struct cmd_value values[SPEC_ARGS], more[MODEL_KEYS];
	struct {
		char *ptr; /* owned; NULL: it is in values */
		size_t len;
	} input, output; /* of the example, from base64 */
	struct document_deployment *deployments;
	struct document_weights *weights;
	size_t n_deployments, n_weights;
	bool tells_deployments; /* also where it says that there are none */
};

struct document {
	const struct yaml_ops *yaml;
	struct document_server *servers;
	struct document_model *models;
	size_t n_servers, n_models;
	json_t *seen; /* whose names are taken: kind/name, file and node */
	struct yaml_node **trees;
	size_t n_trees;
	void **pool; /* memory of values */
	size_t n_pool;
};

/** An empty one; release it whatever happens. */
MER_MUST enum mer_status document_init(struct document *document, const struct yaml_ops *yaml,
                                       struct mer_error *err);
void document_release(struct document *document);

/**
 * Adds what a file says.
 *
 * @param file    what messages call it; borrowed
 * @param folder  what paths are relative to, absolute
 * @return MER_EINPUT with FILE:LINE:COLUMN; something is there twice, also in another file
 */
MER_MUST enum mer_status document_read(struct document *document, const char *file,
                                       const char *folder, const char *bytes, size_t len,
                                       struct mer_error *err);

/** Puts FILE:LINE:COLUMN in front of a message: of the item, or of its key that the message is about,
 * which it then calls --KEY. */
MER_MUST enum mer_status document_fail(const struct document_item *item, enum mer_status st,
                                       struct mer_error *err);

/* --- document_out.c: writing -------------------------------------------------------------- */

/** Adds JSON that is YAML as well: a value a line, or all on one. Ends with a newline. */
void document_write(const json_t *json, bool one_line, struct mer_buf *out);

/** The same without the newline, on one line. */
void document_write_value(const json_t *json, struct mer_buf *out);

/* --- document_schema.c -------------------------------------------------------------------- */

/** The JSON Schema of documents. */
void document_schema(struct mer_buf *out);

#endif
