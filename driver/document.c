/* Reading documents: a tree of texts, made servers and models. What stands behind a key document_value.c reads. */
#include "document_value.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

/* --- items -------------------------------------------------------------------------------- */

static enum mer_status fail_key(const struct document_reader *reader, const struct yaml_node *key,
                                const char *noun, const struct document_key keys[], size_t n,
                                const char *const more[], struct mer_error *err)
{
	struct mer_guess guess = { .typed = key->text };
	for (size_t i = 0; i < n; i++)
		mer_guess_offer(&guess, keys[i].name);
	for (size_t i = 0; more[i] != NULL; i++)
		mer_guess_offer(&guess, more[i]);
	(void)mer_fail(err, MER_EINPUT, "'%.128s' is no key of a %s", key->text, noun);
	if (!mer_guess_hint(&guess, err))
		mer_hint(err, "docs/apply.md and 'mer --print schema' tell the keys");
	return document_at(reader, key, MER_EINPUT, err);
}

static bool is_one_of(const char *text, const char *const more[])
{
	for (size_t i = 0; more[i] != NULL; i++) {
		if (strcmp(text, more[i]) == 0)
			return true;
	}
	return false;
}

/* What is not said. Lists are never NULL then, and a worker runs where the document is. */
static enum mer_status read_missing(const struct document_reader *reader, const char *noun,
                                    const struct yaml_node *node, const struct document_key *key,
                                    bool waived, struct mer_error *err)
{
	static const char *const none[] = { NULL };
	struct cmd_value *to = key->to;
	if (to->words == NULL)
		to->words = none;
	if (to->given)
		return MER_OK;
	if (key->required && !waived) {
		(void)mer_fail(err, MER_EINPUT, "%s '%s' needs '%s'", noun, node->key->text, key->name);
		return document_at(reader, node->key, MER_EINPUT, err);
	}
	if (key->arg == &spec_args[SPEC_WORKDIR])
		return document_resolve(reader, ".", &to->text, err);
	if (key->arg->fallback == NULL)
		return MER_OK;
	return cmd_value_parse(key->arg, key->name, key->arg->fallback, to, err);
}

/* Whether another key is there that makes this one's lack right. */
static bool is_waived(const struct document_key keys[], size_t n, const struct document_key *key)
{
	for (size_t i = 0; i < n; i++)
		if (key->arg->unless != NULL && keys[i].arg == key->arg->unless)
			return keys[i].to->given;
	return false;
}

/* The keys of an item; those in more are left for the caller. */
static enum mer_status read_keys(const struct document_reader *reader, const char *noun,
                                 const struct yaml_node *node, const struct document_key keys[],
                                 size_t n, const char *const more[], struct mer_error *err)
{
	if (node->kind != YAML_MAP)
		return document_fail_kind(reader, node, noun, "a map of its keys", err);
	enum mer_status st = MER_OK;
	for (const struct yaml_node *member = node->first; member != NULL && st == MER_OK;
	     member = member->next) {
		size_t i = 0;
		while (i < n && strcmp(keys[i].name, member->key->text) != 0)
			i++;
		if (i < n)
			st = document_read_value(reader, &keys[i], member, err);
		else if (!is_one_of(member->key->text, more))
			st = fail_key(reader, member->key, noun, keys, n, more, err);
	}
	for (size_t i = 0; i < n && st == MER_OK; i++)
		st = read_missing(reader, noun, node, &keys[i], is_waived(keys, n, &keys[i]), err);
	return st;
}

static const char *const no_more[] = { NULL };

static const struct yaml_node *member_of(const struct yaml_node *node, const char *name)
{
	const struct yaml_node *member = node->kind == YAML_MAP ? node->first : NULL;
	while (member != NULL && strcmp(member->key->text, name) != 0)
		member = member->next;
	return member;
}

/* An item of a map of names, the name checked. */
static enum mer_status begin_item(const struct document_reader *reader, const char *noun,
                                  const struct yaml_node *node, struct document_item *item,
                                  struct mer_error *err)
{
	*item = (struct document_item){ node->key->text, reader->file, node };
	enum mer_status st = mer_check_name(noun, node->key->text, err);
	return st == MER_OK ? st : document_at(reader, node->key, st, err);
}

/* How many members a map of names has. */
static enum mer_status count_items(const struct document_reader *reader, const char *what,
                                   const struct yaml_node *node, size_t *n, struct mer_error *err)
{
	*n = 0;
	if (node->kind != YAML_MAP)
		return document_fail_kind(reader, node, what, "a map of names", err);
	for (const struct yaml_node *member = node->first; member != NULL; member = member->next)
		++*n;
	return MER_OK;
}

/* Nothing is in the document twice. */
static enum mer_status check_seen(const struct document_reader *reader, const char *noun,
                                  const struct yaml_node *node, struct mer_error *err)
{
	char key[160];
	const struct yaml_node *name = node->key;
	(void)snprintf(key, sizeof key, "%s/%s", noun, name->text);
	const char *before = json_string_value(json_object_get(reader->document->seen, key));
	if (before != NULL) {
		(void)mer_fail(err, MER_EINPUT, "%s '%s' is twice: first in %s", noun, name->text, before);
		return document_at(reader, name, MER_EINPUT, err);
	}
	MER_AUTO(mer_text_done)
	char *place =
		mer_text_new("%s:%lld:%lld", reader->file, (long long)name->line, (long long)name->column);
	json_t *text = place != NULL ? json_stringn_nocheck(place, strlen(place)) : NULL;
	return json_object_set_new(reader->document->seen, key, text) == 0 ? MER_OK : no_memory(err);
}

/* --- deployments and weights -------------------------------------------------------------- */

static enum mer_status read_deployment(const struct document_reader *reader,
                                       const struct yaml_node *node,
                                       struct document_deployment *out, struct mer_error *err)
{
	struct document_key keys[DOCUMENT_KEYS_MAX];
	size_t n = document_deployment_keys(out->values, keys);
	enum mer_status st = begin_item(reader, "deployment", node, &out->item, err);
	if (st == MER_OK)
		st = read_keys(reader, "deployment", node, keys, n, no_more, err);
	out->values[SPEC_CALLED].text = out->item.name;
	return st;
}

static enum mer_status read_deployments(const struct document_reader *reader,
                                        struct document_model *model, const struct yaml_node *node,
                                        struct mer_error *err)
{
	size_t n;
	enum mer_status st = count_items(reader, "deployments", node, &n, err);
	if (st != MER_OK)
		return st;
	model->tells_deployments = true;
	model->deployments = calloc(n + 1, sizeof *model->deployments);
	if (model->deployments == NULL)
		return no_memory(err);
	for (const struct yaml_node *member = node->first; member != NULL && st == MER_OK;
	     member = member->next)
		st = read_deployment(reader, member, &model->deployments[model->n_deployments++], err);
	return st;
}

static enum mer_status check_sha256(const struct document_reader *reader,
                                    const struct document_weights *is, struct mer_error *err)
{
	const char *text = is->values[WEIGHTS_SHA256].text;
	if (text == NULL || (strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64))
		return MER_OK;
	return document_fail_kind(reader, member_of(is->item.node, "sha256"), "sha256",
	                          "64 digits of 0-9 a-f", err);
}

static enum mer_status read_weights(const struct document_reader *reader,
                                    const struct yaml_node *node, struct document_weights *out,
                                    struct mer_error *err)
{
	struct document_key keys[DOCUMENT_KEYS_MAX];
	size_t n = document_weights_keys(out->values, keys);
	enum mer_status st = begin_item(reader, "weights", node, &out->item, err);
	if (st == MER_OK)
		st = read_keys(reader, "version of weights", node, keys, n, no_more, err);
	if (st == MER_OK && out->values[WEIGHTS_PATH].text[0] == '\0')
		st = document_fail_kind(reader, member_of(node, "path"), "path", "not empty", err);
	if (st == MER_OK)
		st = check_sha256(reader, out, err);
	if (st == MER_OK && out->values[WEIGHTS_METRICS].given)
		st = document_read_json(reader, member_of(node, "metrics"), &out->metrics, err);
	return st;
}

static enum mer_status check_one_active(const struct document_reader *reader,
                                        const struct document_model *model, struct mer_error *err)
{
	const struct yaml_node *first = NULL;
	for (size_t i = 0; i < model->n_weights; i++) {
		const struct document_weights *one = &model->weights[i];
		const char *state = one->values[WEIGHTS_STATE].text;
		if (state == NULL || strcmp(state, "active") != 0)
			continue;
		const struct yaml_node *node = member_of(one->item.node, "state");
		if (first != NULL) {
			(void)mer_fail(err, MER_EINPUT,
			               "a second active version of model '%s': the first is in %s:%lld:%lld",
			               model->item.name, reader->file, (long long)first->line,
			               (long long)first->column);
			return document_at(reader, node, MER_EINPUT, err);
		}
		first = node;
	}
	return MER_OK;
}

static enum mer_status read_all_weights(const struct document_reader *reader,
                                        struct document_model *model, const struct yaml_node *node,
                                        struct mer_error *err)
{
	size_t n;
	enum mer_status st = count_items(reader, "weights", node, &n, err);
	if (st != MER_OK)
		return st;
	model->weights = calloc(n + 1, sizeof *model->weights);
	if (model->weights == NULL)
		return no_memory(err);
	for (const struct yaml_node *member = node->first; member != NULL && st == MER_OK;
	     member = member->next)
		st = read_weights(reader, member, &model->weights[model->n_weights++], err);
	return st == MER_OK ? check_one_active(reader, model, err) : st;
}

/* --- models and servers ------------------------------------------------------------------- */

static enum mer_status read_examples(const struct document_reader *reader,
                                     struct document_model *model, const struct document_key keys[],
                                     size_t n, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < n && st == MER_OK; i++) {
		const struct yaml_node *node = member_of(model->item.node, keys[i].name);
		if (keys[i].shape == SHAPE_BYTES && node != NULL && node->kind != YAML_SCALAR)
			st = document_read_base64(reader, model, &keys[i], node, err);
	}
	return st;
}

static enum mer_status read_model(const struct document_reader *reader,
                                  const struct yaml_node *node, struct document_model *out,
                                  struct mer_error *err)
{
	static const char *const more[] = { "deployments", "weights", NULL };
	struct document_key keys[DOCUMENT_KEYS_MAX];
	size_t n = document_model_keys(out->values, out->more, keys);
	enum mer_status st = begin_item(reader, "model", node, &out->item, err);
	if (st == MER_OK)
		st = check_seen(reader, "model", node, err);
	if (st == MER_OK)
		st = read_keys(reader, "model", node, keys, n, more, err);
	if (st == MER_OK)
		st = read_examples(reader, out, keys, n, err);
	const struct yaml_node *deployments = member_of(node, "deployments");
	const struct yaml_node *weights = member_of(node, "weights");
	if (st == MER_OK && deployments != NULL)
		st = read_deployments(reader, out, deployments, err);
	if (st == MER_OK && weights != NULL)
		st = read_all_weights(reader, out, weights, err);
	return st;
}

static enum mer_status read_models(const struct document_reader *reader,
                                   const struct yaml_node *node, struct mer_error *err)
{
	struct document *document = reader->document;
	size_t n;
	enum mer_status st = count_items(reader, "models", node, &n, err);
	if (st != MER_OK)
		return st;
	struct document_model *all =
		reallocarray(document->models, document->n_models + n + 1, sizeof *all);
	if (all == NULL)
		return no_memory(err);
	document->models = all;
	for (const struct yaml_node *member = node->first; member != NULL && st == MER_OK;
	     member = member->next) {
		struct document_model *to = &all[document->n_models++];
		*to = (struct document_model){ .tells_deployments = false };
		st = read_model(reader, member, to, err);
	}
	return st;
}

static enum mer_status read_server(const struct document_reader *reader,
                                   const struct yaml_node *node, struct document_server *out,
                                   struct mer_error *err)
{
	struct document_key keys[DOCUMENT_KEYS_MAX];
	size_t n = document_server_keys(out->values, keys);
	enum mer_status st = begin_item(reader, "server", node, &out->item, err);
	if (st == MER_OK)
		st = check_seen(reader, "server", node, err);
	if (st == MER_OK)
		st = read_keys(reader, "server", node, keys, n, no_more, err);
	if (st == MER_OK && (st = server_check(out->values, err)) != MER_OK)
		st = document_fail(&out->item, st, err);
	return st;
}

static enum mer_status read_servers(const struct document_reader *reader,
                                    const struct yaml_node *node, struct mer_error *err)
{
	struct document *document = reader->document;
	size_t n;
	enum mer_status st = count_items(reader, "servers", node, &n, err);
	if (st != MER_OK)
		return st;
	struct document_server *all =
		reallocarray(document->servers, document->n_servers + n + 1, sizeof *all);
	if (all == NULL)
		return no_memory(err);
	document->servers = all;
	for (const struct yaml_node *member = node->first; member != NULL && st == MER_OK;
	     member = member->next) {
		struct document_server *to = &all[document->n_servers++];
		*to = (struct document_server){ .item = { .name = NULL } };
		st = read_server(reader, member, to, err);
	}
	return st;
}

/* --- the whole ---------------------------------------------------------------------------- */

static enum mer_status check_version(const struct document_reader *reader,
                                     const struct yaml_node *root, struct mer_error *err)
{
	const struct yaml_node *version = member_of(root, "version");
	if (version == NULL) {
		(void)mer_fail(err, MER_EINPUT, "the document does not say its version");
		mer_hint(err, "version: %d", DOCUMENT_VERSION);
		return document_at(reader, root, MER_EINPUT, err);
	}
	if (version->kind == YAML_SCALAR && version->plain && strcmp(version->text, "1") == 0)
		return MER_OK;
	return document_fail_kind(reader, version, "version", "1, as a number", err);
}

static enum mer_status read_root(const struct document_reader *reader, const struct yaml_node *root,
                                 struct mer_error *err)
{
	static const char *const more[] = { "version", "servers", "models", NULL };
	enum mer_status st = read_keys(reader, "document", root, NULL, 0, more, err);
	if (st == MER_OK)
		st = check_version(reader, root, err);
	const struct yaml_node *servers = member_of(root, "servers");
	const struct yaml_node *models = member_of(root, "models");
	if (st == MER_OK && servers != NULL)
		st = read_servers(reader, servers, err);
	if (st == MER_OK && models != NULL)
		st = read_models(reader, models, err);
	return st;
}

enum mer_status document_read(struct document *document, const char *file, const char *folder,
                              const char *bytes, size_t len, struct mer_error *err)
{
	const struct document_reader reader = { document, file, folder };
	struct yaml_node **trees =
		reallocarray(document->trees, document->n_trees + 1, sizeof(struct yaml_node *));
	if (trees == NULL)
		return no_memory(err);
	document->trees = trees;
	trees[document->n_trees] = NULL;
	enum mer_status st = document->yaml->read(file, bytes, len, &trees[document->n_trees], err);
	if (st != MER_OK)
		return st;
	return read_root(&reader, trees[document->n_trees++], err);
}

enum mer_status document_init(struct document *document, const struct yaml_ops *yaml,
                              struct mer_error *err)
{
	*document = (struct document){ .yaml = yaml, .seen = json_object() };
	return document->seen != NULL ? MER_OK : no_memory(err);
}

static void release_model(struct document_model *model)
{
	for (size_t i = 0; i < model->n_weights; i++)
		json_decref(model->weights[i].metrics);
	free(model->input.ptr);
	free(model->output.ptr);
	free(model->deployments);
	free(model->weights);
}

void document_release(struct document *document)
{
	for (size_t i = 0; i < document->n_models; i++)
		release_model(&document->models[i]);
	for (size_t i = 0; i < document->n_pool; i++)
		free(document->pool[i]);
	for (size_t i = 0; i < document->n_trees; i++)
		document->yaml->free(document->trees[i]);
	free(document->models);
	free(document->servers);
	free(document->pool);
	free(document->trees);
	json_decref(document->seen);
	*document = (struct document){ .yaml = NULL };
}

enum mer_status document_fail(const struct document_item *item, enum mer_status st,
                              struct mer_error *err)
{
	const struct yaml_node *place = item->node->key;
	const char *option = err != NULL ? strstr(err->message, "--") : NULL;
	const struct yaml_node *member = item->node->kind == YAML_MAP ? item->node->first : NULL;
	for (; option != NULL && member != NULL; member = member->next) {
		size_t len = strlen(member->key->text);
		if (strncmp(option + 2, member->key->text, len) == 0 &&
		    strchr(" :", option[2 + len]) != NULL)
			place = member->key;
	}
	return mer_wrap(err, st, "%s:%lld:%lld", item->file, (long long)place->line,
	                (long long)place->column);
}
