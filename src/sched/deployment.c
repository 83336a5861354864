/* A deployment's row, made ready for starting workers: JSON parsed, placeholders filled in, the
 * environment resolved. Runs in the database thread, since a reference may run a command. */
#include "internal.h"

#include <mer/clean.h>
#include <mer/http.h>
#include <mer/json.h>
#include <mer/limits.h>
#include <mer/remote.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES ((size_t)1 << 20) /* the kernel takes no argument of more than 128 KiB */

static char **no_words(void)
{
	return calloc(1, sizeof(char *));
}

/* Placeholders that say something of weights; of those from OLD on only in training. */
static const char *const weights_names[] = { "weights", "weights_version", "old_weights",
	                                         "old_version" };
enum { OLD = 2, WEIGHTS_NAMES = sizeof weights_names / sizeof *weights_names };

static enum mer_status check_weights(struct deployment *deployment, const char *word, bool trains,
                                     struct mer_error *err)
{
	bool there = deployment->weights_path[0] != '\0';
	for (size_t i = 0; i < (trains ? WEIGHTS_NAMES : OLD); i++) {
		if (!mer_expand_uses(word, weights_names[i]))
			continue;
		if (!there && i < OLD) {
			(void)mer_fail(err, MER_ENOTFOUND, "model '%s' has no active weights",
			               deployment->model);
			mer_hint(err, "'weights add' and then 'weights use' give it some");
			return MER_ENOTFOUND;
		}
		deployment->uses_weights |= there;
	}
	return MER_OK;
}

/* Placeholders of all words; shell NULL: they are no line. {models} counts in the first word only (CLI.md). */
static enum mer_status expand_argv(struct deployment *deployment, char **words, const char *models,
                                   const struct training *training, struct mer_shell *shell,
                                   struct mer_error *err)
{
	enum { FIRST_WORD = 1, TRAINING = 5 };
	const struct mer_pair pairs[] = {
		{ "models", models },
		{ "weights", deployment->weights_path },
		{ "weights_version", deployment->weights },
		{ "workdir", deployment->workdir },
		{ "old_weights", deployment->weights_path },
		{ "old_version", deployment->weights },
		{ "new_weights", training != NULL ? training->new_weights : NULL },
		{ "new_version", training != NULL ? training->new_version : NULL },
		{ "dataset", training != NULL ? training->dataset : NULL },
	};
	size_t n = sizeof pairs / sizeof *pairs - (training != NULL ? 0 : TRAINING);
	for (size_t i = 0; words[i] != NULL; i++) {
		char *expanded;
		size_t skip = i == 0 ? 0 : FIRST_WORD;
		enum mer_status st = check_weights(deployment, words[i], training != NULL, err);
		if (st == MER_OK)
			st = mer_expand_line(words[i], pairs + skip, n - skip, shell, &expanded, err);
		if (st != MER_OK)
			return st;
		free(words[i]);
		words[i] = expanded;
	}
	return MER_OK;
}

/* Words in front of which something stands become one line. */
static enum mer_status join_line(char ***words, struct mer_str front, struct mer_error *err)
{
	struct mer_buf line;
	mer_buf_init(&line, LINE_MAX_BYTES);
	mer_buf_add(&line, front.ptr, front.len);
	for (char **word = *words; *word != NULL; word++)
		mer_buf_printf(&line, "%s%s", word == *words ? "" : " ", *word);
	char *text;
	enum mer_status st = mer_buf_take(&line, &text, NULL, err);
	if (st != MER_OK)
		return st;
	char **shell = calloc(4, sizeof *shell);
	if (shell == NULL || (shell[0] = strdup("/bin/sh")) == NULL ||
	    (shell[1] = strdup("-c")) == NULL) {
		mer_words_done(&shell);
		free(text);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	shell[2] = text;
	mer_words_done(words);
	*words = shell;
	return MER_OK;
}

static enum mer_status expand_shell(struct deployment *deployment, const char *models,
                                    struct mer_error *err)
{
	struct mer_shell shell = { .depth = 0 };
	mer_buf_init(&shell.front, LINE_MAX_BYTES);
	enum mer_status st = expand_argv(deployment, deployment->argv, models, NULL, &shell, err);
	if (st == MER_OK)
		st = mer_buf_check(&shell.front, err);
	if (st == MER_OK)
		st =
			join_line(&deployment->argv, (struct mer_str){ shell.front.ptr, shell.front.len }, err);
	mer_buf_release(&shell.front);
	return st;
}

static void add_member(struct mer_buf *out, const char *name, const char *value)
{
	mer_buf_printf(out, "%s\"%s\":", out->len == 0 ? "{" : ",", name);
	mer_json_quote(out, value, strlen(value));
}

/* The meta of a train frame (docs/wire.md). */
static enum mer_status make_train_meta(struct deployment *deployment,
                                       const struct training *training, struct mer_error *err)
{
	struct mer_buf meta;
	mer_buf_init(&meta, 1 << 20);
	add_member(&meta, "dataset", training->dataset);
	add_member(&meta, "new_weights", training->new_weights);
	add_member(&meta, "new_version", training->new_version);
	add_member(&meta, "old_weights", deployment->weights_path);
	add_member(&meta, "old_version", deployment->weights);
	mer_buf_text(&meta, ",\"parameters\":{}}");
	return mer_buf_take(&meta, &deployment->train_meta, NULL, err);
}

/* Of the words of a training those are filled in that are of it alone. */
static enum mer_status read_argv(struct deployment *deployment,
                                 const struct mer_deployment_row *row, const json_t *params,
                                 const char *models, const struct training *training,
                                 struct mer_error *err)
{
	if (row->train[0] == '\0')
		training = NULL;
	const char *words = training != NULL ? row->train : row->argv;
	const struct mer_pair models_pair = { "models", models };
	enum mer_status st = mer_expand(row->workdir, &models_pair, 1, &deployment->workdir, err);
	if (st != MER_OK)
		return st;
	MER_AUTO(mer_json_done) json_t *json = NULL;
	st = mer_json_parse("argv", words, strlen(words), &json, err);
	if (st == MER_OK)
		st = mer_json_to_words("argv", json, &deployment->argv, NULL, err);
	if (st != MER_OK)
		return st;
	if (training == NULL && mer_json_get_bool(params, "shell", false))
		return expand_shell(deployment, models, err);
	return expand_argv(deployment, deployment->argv, models, training, NULL, err);
}

static enum mer_status read_env(struct deployment *deployment, const char *text, bool clean,
                                const struct mer_sched *sched, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	enum mer_status st = mer_json_parse("env", text, strlen(text), &json, err);
	if (st != MER_OK)
		return st;
	size_t n = json_object_size(json), i = 0;
	struct mer_pair *added = calloc(n + 1, sizeof *added);
	if (added == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	const char *name;
	json_t *value;
	json_object_foreach(json, name, value) {
		if (json_is_string(value))
			added[i++] = (struct mer_pair){ name, json_string_value(value) };
	}
	static const char *const none[] = { NULL }; /* another host has an environment of its own */
	bool here = deployment->remote == NULL;
	st = mer_worker_env(here ? sched->environment : none, added, i, clean && here,
	                    (const char *const *)sched->secrets, &deployment->env, err);
	free(added);
	const char *python = here ? sched->python : deployment->python;
	if (st == MER_OK && deployment->spec.protocol == MER_PROTOCOL_FRAME && python != NULL)
		st = mer_worker_env_path(&deployment->env, "PYTHONPATH", python, err);
	/* What is written there would be a change of what is lent. */
	if (st == MER_OK && deployment->n_lent > 0)
		st = mer_worker_env_path(&deployment->env, "PYTHONDONTWRITEBYTECODE", "1", err);
	return st;
}

static char *copy_or_null(const char *text)
{
	return text == NULL || text[0] == '\0' ? NULL : strdup(text);
}

static enum mer_status read_params(struct deployment *deployment, const json_t *params,
                                   struct mer_error *err)
{
	deployment->ready_token = copy_or_null(mer_json_get_text(params, "ready_token", ""));
	deployment->start_token = copy_or_null(mer_json_get_text(params, "start_token", ""));
	deployment->stop_token = copy_or_null(mer_json_get_text(params, "stop_token", ""));
	deployment->exit_token = copy_or_null(mer_json_get_text(params, "exit_token", ""));
	deployment->keep_io = mer_json_get_bool(params, "keep_io", false);
	const json_t *globs = json_object_get(params, "error_lines");
	if (globs == NULL) {
		deployment->error_lines = no_words();
		return deployment->error_lines != NULL ? MER_OK
		                                       : mer_fail(err, MER_ENOMEM, "out of memory");
	}
	return mer_json_to_words("error_lines", globs, &deployment->error_lines, NULL, err);
}

static enum mer_status read_limits(struct deployment *deployment, const char *text,
                                   struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *limits = NULL;
	enum mer_status st = mer_json_parse("limits", text, strlen(text), &limits, err);
	if (st != MER_OK)
		return st;
	deployment->spec.max_output = mer_json_get_i64(limits, "max_output", INT64_C(256) << 20);
	deployment->max_queue = mer_json_get_i64(limits, "max_queue", 64);
	deployment->retries = mer_json_get_i64(limits, "retries", 0);
	return mer_limits_read(limits, &deployment->spec.limits, err);
}

static void fill_spec(struct deployment *deployment, const char *guard, struct mer_links *links,
                      const json_t *params)
{
	struct mer_worker_spec *spec = &deployment->spec;
	spec->guard = guard;
	spec->argv = (const char *const *)deployment->argv;
	spec->env = (const char *const *)deployment->env;
	spec->workdir = deployment->workdir;
	spec->remote = deployment->remote;
	spec->links = links;
	spec->http = deployment->http;
	spec->frame_stdio = deployment->remote != NULL;
	spec->lent = deployment->lent;
	spec->n_lent = deployment->n_lent;
	spec->makes = deployment->remote != NULL && deployment->folder[0] != '\0';
	spec->folder = spec->makes ? deployment->folder : NULL;
	spec->ready_token = deployment->ready_token;
	spec->start_token = deployment->start_token;
	spec->stop_token = deployment->stop_token;
	spec->exit_token = deployment->exit_token;
	deployment->stateful = mer_json_get_bool(params, "stateful", false);
	spec->answer_line = strcmp(mer_json_get_text(params, "answer", "framed"), "line") == 0;
	spec->error_lines = (const char *const *)deployment->error_lines;
	if (deployment->weights_path[0] != '\0') {
		spec->weights = deployment->weights_path;
		spec->weights_version = deployment->weights;
		deployment->uses_weights |= spec->protocol == MER_PROTOCOL_FRAME;
	}
}

/* A training is a process of its own, whatever the model's workers speak, and what it prints is no
 * answer that anybody keeps; without a command it is a worker that is told to train. */
static enum mer_status train(struct deployment *deployment, const struct mer_deployment_row *row,
                             const struct training *training, struct mer_error *err)
{
	size_t server;
	if (deployment->remote == NULL && mer_weights_there(training->dataset, &server))
		return mer_fail(err, MER_EUNREACHABLE, "the dataset is on server '%.*s'", (int)server,
		                training->dataset);
	deployment->max_workers = 1;
	deployment->keep_io = false;
	if (deployment->remote != NULL)
		deployment->retries = 0; /* its folder there has a name of its own */
	if (row->train[0] == '\0') {
		deployment->spec.trains = true;
		return make_train_meta(deployment, training, err);
	}
	deployment->spec.protocol = MER_PROTOCOL_ONCE;
	deployment->spec.max_output = 0;
	return MER_OK;
}

/* A server of kind ssh. The environment that ssh gets is mer's. */
static enum mer_status read_remote(struct deployment *deployment,
                                   const struct mer_deployment_row *row, const json_t *params,
                                   const struct mer_sched *sched, struct mer_error *err)
{
	const struct mer_remote_row host = {
		.server = row->server,
		.host = row->server_host,
		.user = row->server_user,
		.port = row->server_port,
		.params = row->server_params,
	};
	enum mer_status st =
		mer_remote_new(&host, sched->guard, sched->environment, (const char *const *)sched->secrets,
	                   &deployment->remote, err);
	if (st != MER_OK)
		return mer_wrap(err, MER_EUNREACHABLE, "cannot be used");
	deployment->remote->clean = mer_json_get_bool(params, "clean_env", false);
	return MER_OK;
}

/* A server of kind http. */
static enum mer_status read_http(struct deployment *deployment,
                                 const struct mer_deployment_row *row, const json_t *params,
                                 struct mer_error *err)
{
	enum mer_status st = mer_http_new(row->server, row->server_params,
	                                  mer_json_get_text(params, "remote_model", row->model),
	                                  json_object_get(params, "param"), &deployment->http, err);
	return st == MER_EINPUT ? mer_wrap(err, MER_EUNREACHABLE, "cannot be used") : st;
}

static enum mer_status fill(struct deployment *deployment, const struct mer_deployment_row *row,
                            const char *key, const struct mer_sched *sched,
                            const struct training *training, struct mer_error *err)
{
	deployment->key = strdup(key);
	deployment->uid = strdup(row->uid);
	deployment->name = strdup(row->name);
	deployment->model = strdup(row->model);
	deployment->server = strdup(row->server);
	deployment->weights = strdup(row->weights_version);
	deployment->weights_sha256 = strdup(row->weights_sha256);
	if (deployment->key == NULL || deployment->uid == NULL || deployment->name == NULL ||
	    deployment->model == NULL || deployment->server == NULL || deployment->weights == NULL ||
	    deployment->weights_sha256 == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	deployment->idle_ms = row->idle_ms;
	deployment->timeout_ms = row->timeout_ms;
	deployment->start_timeout_ms = row->start_timeout_ms;
	deployment->max_workers = row->max_workers;
	deployment->priority = row->priority;
	deployment->spec.protocol = mer_protocol_by_name(row->protocol);
	if (deployment->spec.protocol == MER_PROTOCOL_UNSET)
		return mer_fail(err, MER_EUNREACHABLE, "this mer does not speak the protocol '%s'",
		                row->protocol);
	bool is_ssh = strcmp(row->server_kind, "ssh") == 0;
	bool is_http = strcmp(row->server_kind, "http") == 0;
	if (!is_ssh && !is_http && strcmp(row->server_kind, "local") != 0)
		return mer_fail(err, MER_EUNREACHABLE, "this mer cannot reach servers of kind '%s'",
		                row->server_kind);
	MER_AUTO(mer_json_done) json_t *params = NULL;
	enum mer_status st = mer_json_parse("params", row->params, strlen(row->params), &params, err);
	if (st == MER_OK && is_ssh)
		st = read_remote(deployment, row, params, sched, err);
	if (st == MER_OK && is_http)
		st = read_http(deployment, row, params, err);
	if (st == MER_OK)
		st = read_params(deployment, params, err);
	if (st == MER_OK)
		st = lent_weights(deployment, row, sched->models, err);
	if (st == MER_OK && is_ssh)
		st = lent_read(deployment, row, sched, training, err);
	const struct training *told = is_ssh && training != NULL ? &deployment->training : training;
	const char *models = deployment->models != NULL ? deployment->models : sched->models;
	if (st == MER_OK)
		st = read_argv(deployment, row, params, models, told, err);
	if (st == MER_OK)
		st = read_env(deployment, row->env, mer_json_get_bool(params, "clean_env", false), sched,
		              err);
	if (st == MER_OK)
		st = read_limits(deployment, row->limits, err);
	if (st == MER_OK && training != NULL)
		st = train(deployment, row, told, err);
	if (st == MER_OK)
		fill_spec(deployment, sched->guard, sched->links, params);
	return st;
}

enum mer_status deployment_make(const struct mer_deployment_row *row, const char *key,
                                const struct mer_sched *sched, const struct training *training,
                                struct deployment **out, struct mer_error *err)
{
	struct deployment *deployment = calloc(1, sizeof *deployment);
	if (deployment == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	deployment->refs = 1;
	enum mer_status st = fill(deployment, row, key, sched, training, err);
	if (st != MER_OK) {
		deployment_free(deployment);
		return st == MER_ENOTFOUND ? st : mer_wrap(err, st, "model '%s'", row->model);
	}
	*out = deployment;
	return MER_OK;
}

/* The environment may hold secrets that a reference named. */
static void wipe_words(char **words)
{
	for (char **word = words; word != NULL && *word != NULL; word++)
		explicit_bzero(*word, strlen(*word));
	mer_words_done(&words);
}

void deployment_free(struct deployment *deployment)
{
	if (deployment == NULL)
		return;
	mer_words_done(&deployment->argv);
	mer_words_done(&deployment->error_lines);
	wipe_words(deployment->env);
	free(deployment->workdir);
	free(deployment->ready_token);
	free(deployment->start_token);
	free(deployment->stop_token);
	free(deployment->exit_token);
	free(deployment->key);
	free(deployment->uid);
	free(deployment->name);
	free(deployment->model);
	free(deployment->server);
	free(deployment->weights);
	free(deployment->weights_path);
	free(deployment->weights_sha256);
	free(deployment->train_meta);
	origin_unref(deployment->origin);
	test_free(deployment->test);
	mer_remote_free(deployment->remote);
	lent_free(deployment);
	mer_http_unref(deployment->http);
	free(deployment);
}

void deployment_unref(struct deployment *deployment)
{
	if (deployment != NULL && --deployment->refs == 0)
		deployment_free(deployment);
}
