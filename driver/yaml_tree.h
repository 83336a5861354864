/*
 * The module of documents, yaml.so: YAML by libyaml, and so JSON, as a tree whose nodes know where they
 * stand. Behind a table, so that libyaml is only loaded when a document is read.
 *
 * Only what a document of data needs: one document a file, no anchors, aliases, tags or merge keys, no
 * key twice, no NUL in a text; and no more of it than fits the limits below. What a scalar means is for
 * whoever reads it: 1, on and no are texts here.
 */
#ifndef YAML_TREE_H
#define YAML_TREE_H

#include <mer/error.h>
#include <stdbool.h>
#include <stdint.h>

#define YAML_MODULE "yaml"
#define YAML_BYTES_MAX ((size_t)64 << 20)
enum { YAML_NODES_MAX = 1 << 20, YAML_DEPTH_MAX = 64 };

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
	enum yaml_kind kind;
	bool plain;             /* a scalar that stands without quotes */
	int64_t line, column;   /* from 1; column in characters */
	char *text;             /* of a scalar, ended by its only NUL */
	struct yaml_node *key;  /* of a member of a map: the scalar before it */
	struct yaml_node *next; /* the next member of the list or map that it is in */
	struct yaml_node *first;
};

struct yaml_ops {
	const char *version; /* as mer/module.h has it */

	/* Reads a document. name is what messages call it, NAME:LINE:COLUMN.
	 * MER_EINPUT, MER_ENOMEM; out gives the tree. */
	enum mer_status (*read)(const char *name, const char *bytes, size_t len, struct yaml_node **out,
	                        struct mer_error *err);
	/* Frees a tree; NULL is fine. */
	void (*free)(struct yaml_node *root);
};

#endif
