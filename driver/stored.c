/* What the database knows, as the objects of documents. */
#include "stored.h"

#include "document.h"
#include "feedback.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

/* Takes value, which may be NULL when out of memory. */
static enum mer_status set(json_t *object, const char *key, json_t *value, struct mer_error *err)
{
	return json_object_set_new_nocheck(object, key, value) == 0 ? MER_OK : no_memory(err);
}

static json_t *text_json(const char *text)
{
	return json_stringn_nocheck(text, strlen(text));
}

/* --- servers ------------------------------------------------------------------------------ */

enum mer_status stored_servers_add(struct stored_servers *servers, const char *uid,
                                   const char *name, json_t *object, struct mer_error *err)
{
	struct stored_server *rows = reallocarray(servers->rows, servers->n + 1, sizeof *rows);
	char *copy = strdup(name);
	if (rows != NULL)
		servers->rows = rows;
	if (rows == NULL || copy == NULL) {
		free(copy);
		json_decref(object);
		return no_memory(err);
	}
	struct stored_server *to = &rows[servers->n++];
	*to = (struct stored_server){ .name = copy, .object = object };
	(void)snprintf(to->uid.text, sizeof to->uid.text, "%s", uid);
	return MER_OK;
}

static enum mer_status on_server(void *ctx, const void *data, struct mer_error *err)
{
	const struct mer_server_row *row = data;
	json_t *object;
	enum mer_status st = server_row_object(row, &object, err);
	return st == MER_OK ? stored_servers_add(ctx, row->uid, row->name, object, err) : st;
}

enum mer_status stored_servers_read(struct mer_dal *dal, struct stored_servers *out,
                                    struct mer_error *err)
{
	return mer_dal_query(dal, MER_Q_SERVERS, NULL, 0, on_server, out, err);
}

const struct stored_server *stored_server_of(const struct stored_servers *servers, const char *name)
{
	for (size_t i = 0; i < servers->n; i++) {
		if (strcmp(servers->rows[i].name, name) == 0)
			return &servers->rows[i];
	}
	return NULL;
}

void stored_servers_release(struct stored_servers *servers)
{
	for (size_t i = 0; i < servers->n; i++) {
		free(servers->rows[i].name);
		json_decref(servers->rows[i].object);
	}
	free(servers->rows);
	*servers = (struct stored_servers){ 0 };
}

/* --- a model's own ------------------------------------------------------------------------ */

/* Bytes as a text that is read as the same, or in base64. */
static json_t *bytes_json(const char *bytes, size_t len)
{
	struct mer_buf text;
	if (bytes == NULL)
		return json_null();
	mer_buf_init(&text, SIZE_MAX);
	bool is_text = len > 0 && mer_utf8_span(bytes, len) == len && memchr(bytes, '\0', len) == NULL;
	if (is_text && bytes[0] == '@')
		mer_buf_byte(&text, '@');
	if (is_text)
		mer_buf_add(&text, bytes, len);
	else
		mer_base64_add(&text, bytes, len);
	json_t *json = text.status == MER_OK
	                   ? json_stringn_nocheck(text.ptr != NULL ? text.ptr : "", text.len)
	                   : NULL;
	mer_buf_release(&text);
	return is_text || json == NULL ? json : json_pack("{s:o}", "base64", json);
}

enum mer_status stored_own_object(const struct stored_own *own, json_t **out, struct mer_error *err)
{
	const struct example *example = &own->example;
	MER_AUTO(mer_json_done) json_t *object = json_object();
	enum mer_status st = object != NULL ? MER_OK : no_memory(err);
	if (st == MER_OK)
		st = set(object, "summary", text_json(own->summary), err);
	if (st == MER_OK)
		st = set(object, "test-input", bytes_json(example->input, example->input_len), err);
	if (st == MER_OK)
		st = set(object, "test-output", bytes_json(example->output, example->output_len), err);
	if (st == MER_OK)
		st = set(object, "test-tolerance",
		         text_json(example->tolerance != NULL ? example->tolerance : ""), err);
	if (st == MER_OK)
		st = set(object, "test-on-start", json_boolean(example->on_start), err);
	if (st == MER_OK)
		st = set(object, "feedback", json_boolean(own->feedback != 0), err);
	if (st == MER_OK)
		st = set(object, "feedback-threshold", json_integer(own->threshold), err);
	if (st == MER_OK)
		st = set(object, "train-after", json_integer(own->train_after), err);
	if (st != MER_OK)
		return st;
	*out = object;
	object = NULL;
	return MER_OK;
}

static enum mer_status on_model(void *ctx, const void *data, struct mer_error *err)
{
	struct stored_model *model = ctx;
	const struct mer_model_row *row = data;
	(void)snprintf(model->uid.text, sizeof model->uid.text, "%s", row->uid);
	model->own.feedback = row->feedback;
	model->own.threshold = row->feedback_threshold;
	model->own.train_after = row->train_after;
	model->own.summary = strdup(row->summary);
	return model->own.summary != NULL ? MER_OK : no_memory(err);
}

/* --- deployments and weights -------------------------------------------------------------- */

static enum mer_status on_deployment(void *ctx, const void *data, struct mer_error *err)
{
	struct stored_model *model = ctx;
	const struct mer_deployment_row *row = data;
	struct stored_deployment *all =
		reallocarray(model->deployments, model->n_deployments + 1, sizeof *all);
	if (all == NULL)
		return no_memory(err);
	model->deployments = all;
	struct stored_deployment *to = &all[model->n_deployments++];
	*to =
		(struct stored_deployment){ .name = strdup(row->name), .protocol = strdup(row->protocol) };
	(void)snprintf(to->uid.text, sizeof to->uid.text, "%s", row->uid);
	if (to->name == NULL || to->protocol == NULL)
		return no_memory(err);
	MER_AUTO(spec_release) struct spec spec;
	enum mer_status st = spec_init(&spec, err);
	if (st == MER_OK)
		st = spec_read(&spec, row, err);
	return st == MER_OK ? spec_object(&spec, row->server, &to->object, err) : st;
}

const struct stored_deployment *stored_deployment_of(const struct stored_model *model,
                                                     const char *name)
{
	for (size_t i = 0; i < model->n_deployments; i++) {
		if (strcmp(model->deployments[i].name, name) == 0)
			return &model->deployments[i];
	}
	return NULL;
}

enum mer_status stored_weights_object(const struct weights *weights, json_t **out,
                                      struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *object = json_object();
	json_t *metrics = NULL;
	enum mer_status st = object != NULL ? MER_OK : no_memory(err);
	if (st == MER_OK)
		st = set(object, "path", text_json(weights->path), err);
	if (st == MER_OK)
		st = set(object, "state", text_json(weights->state), err);
	if (st == MER_OK)
		st = set(object, "sha256", text_json(weights->sha256), err);
	if (st == MER_OK)
		st = set(object, "bytes", json_integer(weights->bytes), err);
	if (st == MER_OK)
		st = set(object, "parent",
		         weights->parent[0] != '\0' ? text_json(weights->parent) : json_null(), err);
	if (st == MER_OK)
		st = mer_json_parse("metrics", weights->metrics, strlen(weights->metrics), &metrics, err);
	if (st == MER_OK)
		st = set(object, "metrics", metrics, err);
	if (st != MER_OK)
		return st;
	*out = object;
	object = NULL;
	return MER_OK;
}

enum mer_status stored_model_read(struct mer_dal *dal, const char *name, bool *found,
                                  struct stored_model *out, struct mer_error *err)
{
	*out = (struct stored_model){ .object = NULL };
	enum mer_status st =
		mer_dal_query(dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text(name)), on_model, out, err);
	*found = st == MER_OK && out->own.summary != NULL;
	if (st != MER_OK || !*found)
		return st;
	st = example_read(dal, name, &out->own.example, err);
	if (st == MER_OK)
		st = stored_own_object(&out->own, &out->object, err);
	if (st == MER_OK)
		st = mer_dal_query(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(name)), on_deployment, out,
		                   err);
	return st == MER_OK ? weights_read_all(dal, name, &out->weights, err) : st;
}

void stored_model_release(struct stored_model *model)
{
	for (size_t i = 0; i < model->n_deployments; i++) {
		free(model->deployments[i].name);
		free(model->deployments[i].protocol);
		json_decref(model->deployments[i].object);
	}
	free(model->deployments);
	free(model->own.summary);
	example_release(&model->own.example);
	weights_list_done(&model->weights);
	json_decref(model->object);
	*model = (struct stored_model){ .object = NULL };
}

/* --- as a document ------------------------------------------------------------------------ */

/* What a deployment of this protocol is that says nothing else. */
static enum mer_status defaults_of(const char *protocol, json_t **out, struct mer_error *err)
{
	static const char *const none[] = { NULL };
	static const char *const argv[] = { "-", NULL };
	struct cmd_value values[SPEC_ARGS] = { { .given = false } };
	MER_AUTO(spec_release) struct spec spec;
	enum mer_status st = spec_init(&spec, err);
	for (size_t i = SPEC_SERVER; i < SPEC_ARGS && st == MER_OK; i++) {
		const struct cmd_arg *arg = &spec_args[i];
		values[i].words = none;
		if (arg->fallback != NULL)
			st = cmd_value_parse(arg, arg->name, arg->fallback, &values[i], err);
	}
	values[SPEC_SERVER] = (struct cmd_value){ .words = none };
	values[SPEC_PROTOCOL].text = protocol;
	values[SPEC_WORKDIR].text = "/";
	values[SPEC_ARGV] = (struct cmd_value){ .given = true, .words = argv, .count = 1 };
	if (st == MER_OK)
		st = spec_apply(&spec, NULL, values, err);
	return st == MER_OK ? spec_object(&spec, "", out, err) : st;
}

/* Copies what is no default; all of always, whatever it is. */
static enum mer_status copy_told(json_t *object, const json_t *defaults, const char *const always[],
                                 json_t *to, struct mer_error *err)
{
	const char *key;
	json_t *value;
	enum mer_status st = MER_OK;
	json_object_foreach(object, key, value) {
		bool told = !json_is_null(value) && !json_equal(value, json_object_get(defaults, key));
		for (size_t i = 0; always[i] != NULL; i++)
			told |= strcmp(always[i], key) == 0;
		if (told && st == MER_OK)
			st = set(to, key, json_incref(value), err);
	}
	return st;
}

static int by_name(const void *a, const void *b)
{
	const struct stored_deployment *left = a, *right = b;
	return strcmp(left->name, right->name);
}

static int by_version(const void *a, const void *b)
{
	const struct weights *left = a, *right = b;
	return strverscmp(left->version, right->version);
}

/* A new member that is an object. */
static enum mer_status add_object(json_t *to, const char *key, json_t **out, struct mer_error *err)
{
	*out = json_object();
	return set(to, key, *out, err);
}

static enum mer_status deployments_document(struct stored_model *model, json_t *to,
                                            struct mer_error *err)
{
	static const char *const always[] = { "server", "protocol", "workdir", "argv", NULL };
	json_t *all = NULL, *one = NULL;
	enum mer_status st = add_object(to, "deployments", &all, err);
	if (model->n_deployments > 0)
		qsort(model->deployments, model->n_deployments, sizeof *model->deployments, by_name);
	for (size_t i = 0; i < model->n_deployments && st == MER_OK; i++) {
		const struct stored_deployment *from = &model->deployments[i];
		MER_AUTO(mer_json_done) json_t *defaults = NULL;
		st = defaults_of(from->protocol, &defaults, err);
		if (st == MER_OK)
			st = add_object(all, from->name, &one, err);
		if (st == MER_OK)
			st = copy_told(from->object, defaults, always, one, err);
		if (st == MER_OK && json_array_size(json_object_get(one, "argv")) == 0) {
			for (size_t j = 1; always[j] != NULL; j++) /* behind a URL nothing is started */
				(void)json_object_del(one, always[j]);
		}
	}
	return st;
}

static enum mer_status weights_document(struct stored_model *model, json_t *to,
                                        struct mer_error *err)
{
	static const char *const always[] = { NULL };
	json_t *all = NULL, *one = NULL;
	if (model->weights.n == 0)
		return MER_OK;
	qsort(model->weights.rows, model->weights.n, sizeof *model->weights.rows, by_version);
	MER_AUTO(mer_json_done) json_t *defaults = json_pack("{s:{}}", "metrics");
	enum mer_status st = add_object(to, "weights", &all, err);
	for (size_t i = 0; i < model->weights.n && st == MER_OK; i++) {
		MER_AUTO(mer_json_done) json_t *object = NULL;
		st = stored_weights_object(&model->weights.rows[i], &object, err);
		if (st == MER_OK)
			st = add_object(all, model->weights.rows[i].version, &one, err);
		if (st == MER_OK)
			st = copy_told(object, defaults, always, one, err);
	}
	return st;
}

static enum mer_status model_document(struct stored_model *model, json_t *to, struct mer_error *err)
{
	static const char *const always[] = { NULL };
	static char nothing[] = "";
	const struct stored_own silent = {
		.summary = nothing,
		.feedback = 0,
		.threshold = model->own.feedback != 0 ? FEEDBACK_THRESHOLD : 0,
		.train_after = model->own.feedback != 0 ? FEEDBACK_TRAIN_AFTER : 0,
	};
	MER_AUTO(mer_json_done) json_t *defaults = NULL;
	enum mer_status st = stored_own_object(&silent, &defaults, err);
	if (st == MER_OK)
		st = copy_told(model->object, defaults, always, to, err);
	if (st == MER_OK)
		st = deployments_document(model, to, err);
	return st == MER_OK ? weights_document(model, to, err) : st;
}

/* Names of models, in an order that is the same in every database. */
struct names {
	char **list;
	size_t n;
};

static void names_done(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->list[i]);
	free(names->list);
}

static enum mer_status on_name(void *ctx, const void *data, struct mer_error *err)
{
	struct names *names = ctx;
	const struct mer_model_row *row = data;
	char **list = reallocarray(names->list, names->n + 1, sizeof *list);
	if (list == NULL)
		return no_memory(err);
	names->list = list;
	list[names->n] = strdup(row->name);
	return list[names->n++] != NULL ? MER_OK : no_memory(err);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum mer_status models_document(struct mer_dal *dal, json_t *to, struct mer_error *err)
{
	MER_AUTO(names_done) struct names names = { NULL, 0 };
	json_t *all = NULL, *one = NULL;
	enum mer_status st = mer_dal_query(dal, MER_Q_MODELS, NULL, 0, on_name, &names, err);
	if (st == MER_OK)
		st = add_object(to, "models", &all, err);
	if (names.n > 0)
		qsort(names.list, names.n, sizeof *names.list, compare_names);
	for (size_t i = 0; i < names.n && st == MER_OK; i++) {
		MER_AUTO(stored_model_release) struct stored_model model;
		bool found;
		st = stored_model_read(dal, names.list[i], &found, &model, err);
		if (st == MER_OK)
			st = add_object(all, names.list[i], &one, err);
		if (st == MER_OK)
			st = model_document(&model, one, err);
	}
	return st;
}

static int compare_servers(const void *a, const void *b)
{
	const struct stored_server *left = a, *right = b;
	return strcmp(left->name, right->name);
}

static enum mer_status servers_document(struct mer_dal *dal, json_t *to, struct mer_error *err)
{
	static const char *const always[] = { "kind", NULL };
	MER_AUTO(stored_servers_release) struct stored_servers servers = { NULL, 0 };
	MER_AUTO(mer_json_done)
	json_t *defaults =
		json_pack("{s:s, s:i, s:s, s:{}}", "host", "", "port", 0, "user", "", "param");
	json_t *all = NULL, *one = NULL;
	enum mer_status st = stored_servers_read(dal, &servers, err);
	if (st == MER_OK)
		st = add_object(to, "servers", &all, err);
	if (servers.n > 0)
		qsort(servers.rows, servers.n, sizeof *servers.rows, compare_servers);
	for (size_t i = 0; i < servers.n && st == MER_OK; i++) {
		st = add_object(all, servers.rows[i].name, &one, err);
		if (st == MER_OK)
			st = copy_told(servers.rows[i].object, defaults, always, one, err);
	}
	return st;
}

enum mer_status stored_document(struct mer_dal *dal, json_t **out, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *document = json_object();
	enum mer_status st = document != NULL ? MER_OK : no_memory(err);
	if (st == MER_OK)
		st = set(document, "version", json_integer(DOCUMENT_VERSION), err);
	if (st == MER_OK)
		st = servers_document(dal, document, err);
	if (st == MER_OK)
		st = models_document(dal, document, err);
	if (st != MER_OK)
		return st;
	*out = document;
	document = NULL;
	return MER_OK;
}
