/* What stands behind a key of a document: a node of its tree, made a value by the row of its option. */
#ifndef DOCUMENT_VALUE_H
#define DOCUMENT_VALUE_H

#include "document.h"

/* A file that is read. Borrowed. */
struct document_reader {
	struct document *document; /* has the memory of values */
	const char *file, *folder;
};

/** Puts the place of a node in front of a message. Returns st. */
enum mer_status document_at(const struct document_reader *reader, const struct yaml_node *node,
                            enum mer_status st, struct mer_error *err);

/** MER_EINPUT: what is there is to be something else. */
enum mer_status document_fail_kind(const struct document_reader *reader,
                                   const struct yaml_node *node, const char *what,
                                   const char *wanted, struct mer_error *err);

/** A path as it is stored; one that is relative is to the document's folder. */
MER_MUST enum mer_status document_resolve(const struct document_reader *reader, const char *path,
                                          const char **out, struct mer_error *err);

/** Writes where the key says. Of SHAPE_BYTES only texts, of SHAPE_JSON nothing: see below. */
MER_MUST enum mer_status document_read_value(const struct document_reader *reader,
                                             const struct document_key *key,
                                             const struct yaml_node *node, struct mer_error *err);

/** {base64: ...}, of an example. */
MER_MUST enum mer_status document_read_base64(const struct document_reader *reader,
                                              struct document_model *model,
                                              const struct document_key *key,
                                              const struct yaml_node *node, struct mer_error *err);

/** What stands without quotes and is JSON is that, all else a text. out is the caller's. */
MER_MUST enum mer_status document_read_json(const struct document_reader *reader,
                                            const struct yaml_node *node, json_t **out,
                                            struct mer_error *err);

#endif
