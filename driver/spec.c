/* A deployment between the options of users and its row. */
#include "spec.h"

#include "find.h"

#include <errno.h>
#include <mer/clean.h>
#include <mer/http.h>
#include <mer/limits.h>
#include <mer/meal.h>
#include <mer/text.h>
#include <string.h>

static const char *const answers[] = { "framed", "line", NULL };
static const char *const protocols[] = { "once", "token", "frame", NULL };

/* clang-format off */
const struct cmd_arg spec_args[SPEC_ARGS] = {
	[SPEC_NAME] = CMD_WORD("NAME", ARG_NAME, "what the model is to be called",
		.value = "model", .required = true),
	[SPEC_SUMMARY] = CMD_OPTION("summary", ARG_TEXT, "T", "what it does, in a line"),
	[SPEC_TEST_INPUT] = CMD_OPTION("test-input", ARG_TEXT, "TEXT",
		"an example to test it by: an input, or @FILE", .is = VALUE_AT_FILE),
	[SPEC_TEST_OUTPUT] = CMD_OPTION("test-output", ARG_TEXT, "TEXT",
		"the output that it should give, or @FILE", .is = VALUE_AT_FILE),
	[SPEC_TEST_TOLERANCE] = CMD_OPTION("test-tolerance", ARG_TEXT, "X",
		"numbers in it may differ: by X * max(1, |number|)"),
	[SPEC_TEST_ON_START] = CMD_FLAG("test-on-start", "a worker is ready once it has passed"),
	[SPEC_SERVER] = CMD_OPTION("server", ARG_TEXT, "S", "where it runs", .is = VALUE_SERVER,
		.fallback = "local"),
	[SPEC_REMOTE_MODEL] = CMD_OPTION("remote-model", ARG_TEXT, "NAME",
		"what a server of kind http calls it; default: as the model"),
	[SPEC_PARAM] = CMD_OPTION("param", ARG_PAIR, NULL,
		"what its API takes there, in the place of the server's own: system='Be brief'",
		.secret = SECRET_PAIR, .repeat = true),
	[SPEC_PROTOCOL] = CMD_OPTION("protocol", ARG_CHOICE, NULL,
		"how input and output are told: a process a run, or one that stays",
		.choices = protocols, .fallback = "once"),
	[SPEC_ANSWER] = CMD_OPTION("answer", ARG_CHOICE, NULL,
		"token: between the tokens (framed), or the next line", .choices = answers),
	[SPEC_READY_TOKEN] = CMD_OPTION("ready-token", ARG_TEXT, "T",
		"token: the line by which it says that it is ready; " MER_TOKEN_READY),
	[SPEC_START_TOKEN] = CMD_OPTION("start-token", ARG_TEXT, "T",
		"token: the line before an input and an output; " MER_TOKEN_START),
	[SPEC_STOP_TOKEN] = CMD_OPTION("stop-token", ARG_TEXT, "T",
		"token: the line behind them; " MER_TOKEN_STOP),
	[SPEC_EXIT_TOKEN] = CMD_OPTION("exit-token", ARG_TEXT, "T",
		"token: the line that asks it to leave; " MER_TOKEN_EXIT),
	[SPEC_ERROR_LINE] = CMD_OPTION("error-line", ARG_TEXT, "GLOB",
		"token: a line on stderr like this fails the run", .repeat = true),
	[SPEC_WORKDIR] = CMD_OPTION("workdir", ARG_TEXT, "D",
		"the folder it runs in; default: the current one", .is = VALUE_FOLDER),
	[SPEC_ENV] = CMD_OPTION("env", ARG_PAIR, NULL,
		"a variable for it; V may be env:NAME, file:PATH, cmd:COMMAND or text:VALUE",
		.secret = SECRET_PAIR,
		.repeat = true),
	[SPEC_TIMEOUT] = CMD_OPTION("timeout", ARG_MS, NULL,
		"how long a run may take: queue, start and answer", .fallback = "1h", .least = 1),
	[SPEC_START_TIMEOUT] = CMD_OPTION("start-timeout", ARG_MS, NULL,
		"how long it may take until it is ready", .fallback = "2m", .least = 1),
	[SPEC_IDLE] = CMD_OPTION("idle", ARG_MS, NULL, "how long it stays without a run",
		.fallback = "5m"),
	[SPEC_MAX_WORKERS] = CMD_OPTION("max-workers", ARG_I64, NULL,
		"how many it may be at a time; default: 1 that stays, of once the number of processors",
		.least = 1),
	[SPEC_MAX_QUEUE] = CMD_OPTION("max-queue", ARG_I64, NULL,
		"how many runs may wait for one; what comes then is refused", .fallback = "64"),
	[SPEC_MAX_OUTPUT] = CMD_OPTION("max-output", ARG_BYTES, NULL, "the most that a run may answer",
		.fallback = "256MiB", .least = 1),
	[SPEC_LIMIT] = CMD_OPTION("limit", ARG_PAIR, "NAME=VALUE",
		"what its processes may take: memory, cpu-time, processes, open-files, file-size, "
		"core-size, nice, cpus, isolate", .repeat = true),
	[SPEC_RETRIES] = CMD_OPTION("retries", ARG_I64, NULL,
		"how often a run is sent again whose worker died without a word of an answer",
		.fallback = "0"),
	[SPEC_WEIGHTS_DIR] = CMD_OPTION("weights-dir", ARG_TEXT, "D",
		"where training leaves new weights; default: $XDG_DATA_HOME/mer/weights/MODEL",
		.is = VALUE_FOLDER),
	[SPEC_CLEAN_ENV] = CMD_FLAG("clean-env", "it inherits only what a login has"),
	[SPEC_SHELL] = CMD_FLAG("shell", "ARGV is a line for /bin/sh -c"),
	[SPEC_KEEP_IO] = CMD_FLAG("keep-io", "keep each run's input and output, up to MER_KEEP_IO_MAX"),
	[SPEC_STATEFUL] = CMD_FLAG("stateful",
		"it stays and remembers: the runs of a --session go to one worker"),
	[SPEC_TRAIN] = CMD_OPTION("train", ARG_TEXT, "'WORDS'", "the command that trains it"),
	[SPEC_ARGV] = CMD_WORD("ARGV", ARG_ARGV,
		"the program and its arguments; none where the server is of kind http", .required = true,
		.unless = &spec_args[SPEC_SERVER]),
	[SPEC_PRIORITY] = CMD_OPTION("priority", ARG_I64, NULL,
		"which of the model's deployments is tried first: that of the lowest number",
		.fallback = "0", .least = INT64_MIN),
	[SPEC_CALLED] = CMD_OPTION("name", ARG_NAME, "deployment",
		"what it is to be called; default: as its server, with a number if need be"),
	[SPEC_MODEL] = CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows",
		.is = VALUE_MODEL, .required = true),
	[SPEC_ENABLED] = CMD_FLAG("enabled", "whether runs may use it"),
};
/* clang-format on */

/* Options that are kept in params under their own name with underscores. */
static const struct {
	enum spec_arg arg;
	const char *key, *fallback;
} texts[] = {
	{ SPEC_ANSWER, "answer", "framed" },
	{ SPEC_READY_TOKEN, "ready_token", MER_TOKEN_READY },
	{ SPEC_START_TOKEN, "start_token", MER_TOKEN_START },
	{ SPEC_STOP_TOKEN, "stop_token", MER_TOKEN_STOP },
	{ SPEC_EXIT_TOKEN, "exit_token", MER_TOKEN_EXIT },
};
enum { N_TEXTS = sizeof texts / sizeof *texts, FIRST_TOKEN = 1 };

/* And numbers in limits. */
static const struct {
	enum spec_arg arg;
	const char *key;
} limits[] = {
	{ SPEC_MAX_OUTPUT, "max_output" },
	{ SPEC_MAX_QUEUE, "max_queue" },
	{ SPEC_RETRIES, "retries" },
};

/* --- life --------------------------------------------------------------------------------- */

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

enum mer_status spec_init(struct spec *spec, struct mer_error *err)
{
	*spec = (struct spec){
		.name = strdup(""),
		.protocol = strdup("once"),
		.train = strdup(""),
		.argv = json_array(),
		.env = json_object(),
		.params = json_object(),
		.limits = json_object(),
		.enabled = 1,
	};
	if (spec->name == NULL || spec->protocol == NULL || spec->train == NULL || spec->argv == NULL ||
	    spec->env == NULL || spec->params == NULL || spec->limits == NULL)
		return no_memory(err);
	return MER_OK;
}

void spec_release(struct spec *spec)
{
	free(spec->name);
	free(spec->protocol);
	free(spec->workdir);
	free(spec->train);
	json_decref(spec->argv);
	json_decref(spec->env);
	json_decref(spec->server_params);
	json_decref(spec->params);
	json_decref(spec->limits);
}

static enum mer_status set_copy(char **to, const char *text, struct mer_error *err)
{
	char *copy = strdup(text);
	if (copy == NULL)
		return no_memory(err);
	free(*to);
	*to = copy;
	return MER_OK;
}

static enum mer_status read_json(json_t **to, const char *what, const char *text,
                                 struct mer_error *err)
{
	json_t *json;
	enum mer_status st = mer_json_parse(what, text, strlen(text), &json, err);
	if (st != MER_OK)
		return mer_wrap(err, MER_EDATABASE, "a deployment's row");
	json_decref(*to);
	*to = json;
	return MER_OK;
}

enum mer_status spec_read(struct spec *spec, const struct mer_deployment_row *row,
                          struct mer_error *err)
{
	(void)snprintf(spec->uid.text, sizeof spec->uid.text, "%s", row->uid);
	(void)snprintf(spec->model_uid.text, sizeof spec->model_uid.text, "%s", row->model_uid);
	(void)snprintf(spec->server_uid.text, sizeof spec->server_uid.text, "%s", row->server_uid);
	spec->max_workers = row->max_workers;
	spec->idle_ms = row->idle_ms;
	spec->timeout_ms = row->timeout_ms;
	spec->start_timeout_ms = row->start_timeout_ms;
	spec->priority = row->priority;
	spec->enabled = row->enabled;
	enum mer_status st = set_copy(&spec->name, row->name, err);
	if (st == MER_OK)
		st = set_copy(&spec->protocol, row->protocol, err);
	if (st == MER_OK)
		st = set_copy(&spec->workdir, row->workdir, err);
	if (st == MER_OK)
		st = set_copy(&spec->train, row->train, err);
	if (st == MER_OK)
		st = read_json(&spec->argv, "argv", row->argv, err);
	if (st == MER_OK)
		st = read_json(&spec->env, "env", row->env, err);
	if (st == MER_OK)
		st = read_json(&spec->params, "params", row->params, err);
	return st == MER_OK ? read_json(&spec->limits, "limits", row->limits, err) : st;
}

/* --- applying options --------------------------------------------------------------------- */

/* Sets a member, or takes it away where value is NULL. */
static enum mer_status set_member(json_t *object, const char *key, json_t *value, bool wanted,
                                  struct mer_error *err)
{
	if (!wanted) {
		(void)json_object_del(object, key);
		return MER_OK;
	}
	if (value == NULL)
		return mer_fail(err, MER_EINPUT, "the value of '%s' is not UTF-8", key);
	return json_object_set_new(object, key, value) == 0 ? MER_OK : no_memory(err);
}

static enum mer_status apply_texts(struct spec *spec, const struct cmd_value argv[],
                                   struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < N_TEXTS && st == MER_OK; i++) {
		const char *text = argv[texts[i].arg].text;
		if (text == NULL)
			continue;
		bool wanted = text[0] != '\0' && strcmp(text, texts[i].fallback) != 0;
		st = set_member(spec->params, texts[i].key, wanted ? json_string(text) : NULL, wanted, err);
	}
	return st;
}

static enum mer_status apply_error_lines(struct spec *spec, const struct cmd_value *value,
                                         struct mer_error *err)
{
	if (!value->given)
		return MER_OK;
	bool wanted = !(value->count == 1 && value->words[0][0] == '\0');
	json_t *globs = NULL;
	enum mer_status st = wanted ? mer_json_from_words(value->words, &globs, err) : MER_OK;
	return st == MER_OK ? set_member(spec->params, "error_lines", globs, wanted, err) : st;
}

static enum mer_status apply_flag(struct spec *spec, const char *key, const struct cmd_value *value,
                                  struct mer_error *err)
{
	if (!value->given)
		return MER_OK;
	bool on = value->number != 0;
	return set_member(spec->params, key, on ? json_true() : NULL, on, err);
}

/* Adds variables; NAME alone, which only a key can be, takes one away. */
static enum mer_status apply_env(struct spec *spec, const struct cmd_value *value,
                                 struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < value->count && st == MER_OK; i++) {
		const char *pair = value->words[i], *equals = strchr(pair, '=');
		size_t len = equals != NULL ? (size_t)(equals - pair) : strlen(pair);
		static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
		static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
		if (len == 0 || strspn(pair, letters) == 0 || strspn(pair, all) < len)
			return mer_fail(err, MER_EINPUT, "--env: no name of a variable: '%.*s'", (int)len,
			                pair);
		char *name = strndup(pair, len);
		if (name == NULL)
			return no_memory(err);
		json_t *text = equals != NULL ? json_string(equals + 1) : NULL;
		st = set_member(spec->env, name, text, equals != NULL, err);
		free(name);
	}
	return st;
}

/* Absolute; NULL is the current folder. */
static enum mer_status absolute(const char *path, char **out, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *here = NULL;
	if (path != NULL && path[0] == '/')
		return set_copy(out, path, err);
	here = getcwd(NULL, 0);
	if (here == NULL)
		return mer_fail(err, MER_EINPUT, "cannot tell the current folder: %s", strerror(errno));
	if (path == NULL || path[0] == '\0' || strcmp(path, ".") == 0)
		return set_copy(out, here, err);
	MER_AUTO(mer_text_done)
	char *whole = mer_text_new("%s/%s", strcmp(here, "/") == 0 ? "" : here,
	                           strncmp(path, "./", 2) == 0 ? path + 2 : path);
	return whole == NULL ? no_memory(err) : set_copy(out, whole, err);
}

/* On another host it is the home there, or a path there. */
static enum mer_status apply_workdir(struct spec *spec, const char *path, bool here,
                                     struct mer_error *err)
{
	if (path == NULL && spec->workdir != NULL)
		return MER_OK;
	if (!here && path != NULL && path[0] != '/' && path[0] != '\0' &&
	    strncmp(path, "{models}", 8) != 0)
		return mer_fail(err, MER_EINPUT, "--workdir: '%s' is no absolute path on its server", path);
	if (!here)
		return set_copy(&spec->workdir, path != NULL ? path : "", err);
	if (path != NULL && strncmp(path, "{models}", 8) == 0)
		return set_copy(&spec->workdir, path, err);
	return absolute(path, &spec->workdir, err);
}

static enum mer_status apply_weights_dir(struct spec *spec, const char *path, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *whole = NULL;
	if (path == NULL)
		return MER_OK;
	bool wanted = path[0] != '\0';
	enum mer_status st = wanted ? absolute(path, &whole, err) : MER_OK;
	if (st != MER_OK)
		return st;
	return set_member(spec->params, "weights_dir", wanted ? json_string(whole) : NULL, wanted, err);
}

static enum mer_status apply_remote_model(struct spec *spec, const char *name,
                                          struct mer_error *err)
{
	bool wanted = name != NULL && name[0] != '\0';
	return name == NULL ? MER_OK
	                    : set_member(spec->params, "remote_model",
	                                 wanted ? json_string(name) : NULL, wanted, err);
}

/* Adds parameters of its API; NAME alone, which only a key can be, takes one away. */
static enum mer_status apply_param(struct spec *spec, const struct cmd_value *value,
                                   struct mer_error *err)
{
	json_t *all = json_object_get(spec->params, "param");
	if (value->count == 0)
		return MER_OK;
	if (all == NULL && json_object_set_new(spec->params, "param", all = json_object()) != 0)
		return no_memory(err);
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < value->count && st == MER_OK; i++) {
		const char *pair = value->words[i], *equals = strchr(pair, '=');
		MER_AUTO(mer_text_done)
		char *name = strndup(pair, equals != NULL ? (size_t)(equals - pair) : strlen(pair));
		if (name == NULL)
			return no_memory(err);
		if (equals != NULL)
			st = mer_http_check_own(name, equals + 1, err);
		if (st == MER_OK)
			st = set_member(all, name, equals != NULL ? json_string(equals + 1) : NULL,
			                equals != NULL, err);
	}
	if (json_object_size(all) == 0)
		(void)json_object_del(spec->params, "param");
	return st;
}

static enum mer_status apply_train(struct spec *spec, const char *line, struct mer_error *err)
{
	if (line == NULL)
		return MER_OK;
	MER_AUTO(mer_words_done) char **words = NULL;
	MER_AUTO(mer_json_done) json_t *json = NULL;
	size_t n;
	enum mer_status st = mer_split_words(line, &words, &n, NULL, err);
	if (st != MER_OK)
		return mer_wrap(err, st, "--train");
	if (n == 0)
		return set_copy(&spec->train, "", err);
	MER_AUTO(mer_text_done) char *text = NULL;
	st = mer_json_from_words((const char *const *)words, &json, err);
	if (st == MER_OK)
		st = mer_json_text(json, &text, err);
	return st == MER_OK ? set_copy(&spec->train, text, err) : mer_wrap(err, st, "--train");
}

static enum mer_status apply_argv(struct spec *spec, const struct cmd_value *value,
                                  struct mer_error *err)
{
	if (!value->given)
		return MER_OK;
	json_t *argv;
	enum mer_status st = mer_json_from_words(value->words, &argv, err);
	if (st != MER_OK)
		return mer_wrap(err, st, "ARGV");
	json_decref(spec->argv);
	spec->argv = argv;
	return MER_OK;
}

/* Whether a name for a deployment of this model is taken. */
struct taken {
	const struct spec *spec;
	char name[160];
	bool yes;
};

static enum mer_status on_other(void *ctx, const void *data, struct mer_error *err)
{
	struct taken *taken = ctx;
	const struct mer_deployment_row *row = data;
	(void)err;
	if (strcmp(row->model_uid, taken->spec->model_uid.text) == 0 &&
	    strcmp(row->name, taken->name) == 0)
		taken->yes = true;
	return MER_OK;
}

/* A deployment that nobody gave a name is called as its server is, a further one there gets a number:
 * gpu, gpu-2, gpu-3. */
static enum mer_status call(struct spec *spec, struct mer_dal *dal, const char *server,
                            struct mer_error *err)
{
	struct taken taken = { .spec = spec, .yes = true };
	enum mer_status st = MER_OK;
	for (int i = 1; taken.yes && st == MER_OK; i++) {
		taken.yes = false;
		if (i == 1)
			(void)snprintf(taken.name, sizeof taken.name, "%s", server);
		else
			(void)snprintf(taken.name, sizeof taken.name, "%.116s-%d", server, i);
		st = mer_dal_query(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text("")), on_other, &taken, err);
	}
	return st == MER_OK ? set_copy(&spec->name, taken.name, err) : st;
}

static enum mer_status on_server(void *ctx, const void *data, struct mer_error *err)
{
	struct spec *spec = ctx;
	const struct mer_server_row *row = data;
	if (strcmp(row->uid, spec->server_uid.text) == 0) {
		spec->is_there = strcmp(row->kind, "ssh") == 0;
		spec->is_http = strcmp(row->kind, "http") == 0;
		json_decref(spec->server_params);
		spec->server_params = NULL;
		return mer_json_parse("params", row->params, strlen(row->params), &spec->server_params,
		                      err);
	}
	return MER_OK;
}

/* Whether it is on another host, by what is to be its server or is already. */
static enum mer_status look_where(struct spec *spec, struct mer_dal *dal,
                                  const struct cmd_value *value, struct mer_error *err)
{
	struct mer_uid before = spec->server_uid;
	enum mer_status st = MER_OK;
	if (cmd_has(value))
		st = find_server(dal, value->text, &spec->server_uid, NULL, err);
	if (st == MER_OK && dal != NULL) /* else it is of no server yet */
		st = mer_dal_query(dal, MER_Q_SERVERS, NULL, 0, on_server, spec, err);
	spec->server_uid = before;
	return st;
}

static enum mer_status apply_server(struct spec *spec, struct mer_dal *dal,
                                    const struct cmd_value *value, struct mer_error *err)
{
	if (!cmd_has(value))
		return MER_OK;
	enum mer_status st = find_server(dal, value->text, &spec->server_uid, NULL, err);
	return st == MER_OK && spec->name[0] == '\0' ? call(spec, dal, value->text, err) : st;
}

static enum mer_status apply_protocol(struct spec *spec, const struct cmd_value *value,
                                      struct mer_error *err)
{
	if (!cmd_has(value))
		return MER_OK;
	/* One worker that stays; of those for one run as many as there are processors. */
	bool stayed = strcmp(spec->protocol, "once") != 0, stays = strcmp(value->text, "once") != 0;
	if (stays != stayed)
		spec->max_workers = stays ? 1 : 0;
	return set_copy(&spec->protocol, value->text, err);
}

static void apply_number(int64_t *to, const struct cmd_value *value)
{
	if (cmd_has(value))
		*to = value->number;
}

static enum mer_status apply_limits(struct spec *spec, const struct cmd_value values[],
                                    struct mer_error *err)
{
	const struct cmd_value *pairs = &values[SPEC_LIMIT];
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < sizeof limits / sizeof *limits && st == MER_OK; i++) {
		const struct cmd_value *value = &values[limits[i].arg];
		if (cmd_has(value))
			st = set_member(spec->limits, limits[i].key, json_integer(value->number), true, err);
	}
	for (size_t i = 0; i < pairs->count && st == MER_OK; i++)
		st = mer_limits_set(spec->limits, pairs->words[i], err);
	return st;
}

/* --- what fits together ------------------------------------------------------------------- */

static enum mer_status check_no_tokens(const struct spec *spec, struct mer_error *err)
{
	const char *odd = json_object_get(spec->params, "error_lines") != NULL ? "error-line" : NULL;
	for (size_t i = 0; i < N_TEXTS; i++) {
		if (json_object_get(spec->params, texts[i].key) != NULL)
			odd = spec_args[texts[i].arg].name;
	}
	if (odd == NULL)
		return MER_OK;
	return mer_fail(err, MER_EINPUT, "--%s is for --protocol token", odd);
}

static enum mer_status check_tokens(const struct spec *spec, struct mer_error *err)
{
	const char *tokens[N_TEXTS];
	for (size_t i = FIRST_TOKEN; i < N_TEXTS; i++) {
		tokens[i] = mer_json_get_text(spec->params, texts[i].key, texts[i].fallback);
		if (strpbrk(tokens[i], "\r\n") != NULL)
			return mer_fail(err, MER_EINPUT, "--%s is not one line", spec_args[texts[i].arg].name);
		for (size_t other = FIRST_TOKEN; other < i; other++) {
			if (strcmp(tokens[i], tokens[other]) == 0)
				return mer_fail(err, MER_EINPUT, "--%s and --%s are the same",
				                spec_args[texts[other].arg].name, spec_args[texts[i].arg].name);
		}
	}
	return MER_OK;
}

/* What only this machine's supervisor holds. */
static enum mer_status check_there(const struct spec *spec, struct mer_error *err)
{
	struct mer_limits held;
	enum mer_status st = mer_limits_read(spec->limits, &held, err);
	if (st == MER_OK && held.isolate != 0)
		return mer_fail(err, MER_EINPUT, "--limit isolate cannot be held on servers of kind 'ssh'");
	if (st == MER_OK && held.cpus_permille % 1000 != 0)
		return mer_fail(err, MER_EINPUT,
		                "--limit cpus can only be whole processors on servers of kind 'ssh'");
	return st;
}

/* What is of a process no request has. */
static enum mer_status check_http(const struct spec *spec, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *shown = NULL;
	enum mer_status st = mer_limits_show(spec->limits, &shown, err);
	const char *odd = json_array_size(spec->argv) > 0                      ? "ARGV"
	                  : json_object_size(spec->env) > 0                    ? "--env"
	                  : json_object_size(shown) > 0                        ? "--limit"
	                  : spec->train[0] != '\0'                             ? "--train"
	                  : strcmp(spec->protocol, "once") != 0                ? "--protocol"
	                  : json_object_get(spec->params, "shell") != NULL     ? "--shell"
	                  : json_object_get(spec->params, "clean_env") != NULL ? "--clean-env"
	                                                                       : NULL;
	if (st == MER_OK && odd == NULL)
		st =
			mer_http_check_params(spec->server_params, json_object_get(spec->params, "param"), err);
	if (st != MER_OK || odd == NULL)
		return st;
	(void)mer_fail(err, MER_EINPUT, "a model on a server of kind 'http' has no %s", odd);
	mer_hint(err, "it has --remote-model, --timeout, --max-workers and the like: docs/http.md");
	return MER_EINPUT;
}

static enum mer_status check(const struct spec *spec, struct mer_error *err)
{
	if (spec->is_http) {
		enum mer_status ok = check_http(spec, err);
		return ok == MER_OK ? check_no_tokens(spec, err) : ok;
	}
	if (json_object_get(spec->params, "remote_model") != NULL)
		return mer_fail(err, MER_EINPUT, "--remote-model is for servers of kind 'http'");
	if (json_object_get(spec->params, "param") != NULL)
		return mer_fail(err, MER_EINPUT, "--param is for servers of kind 'http'");
	const char *program = json_string_value(json_array_get(spec->argv, 0));
	if (program == NULL || program[0] == '\0')
		return mer_fail(err, MER_EINPUT, "ARGV names no program");
	if (strcmp(spec->protocol, "once") == 0 && mer_json_get_bool(spec->params, "stateful", false))
		return mer_fail(err, MER_EINPUT,
		                "--stateful is for a worker that stays: --protocol token or frame");
	enum mer_status st = spec->is_there ? check_there(spec, err) : MER_OK;
	if (st != MER_OK)
		return st;
	if (strcmp(spec->protocol, "token") != 0)
		return check_no_tokens(spec, err);
	return check_tokens(spec, err);
}

enum mer_status spec_apply(struct spec *spec, struct mer_dal *dal,
                           const struct cmd_value values[SPEC_ARGS], struct mer_error *err)
{
	apply_number(&spec->timeout_ms, &values[SPEC_TIMEOUT]);
	apply_number(&spec->start_timeout_ms, &values[SPEC_START_TIMEOUT]);
	apply_number(&spec->idle_ms, &values[SPEC_IDLE]);
	apply_number(&spec->priority, &values[SPEC_PRIORITY]);
	apply_number(&spec->enabled, &values[SPEC_ENABLED]);
	enum mer_status st = look_where(spec, dal, &values[SPEC_SERVER], err);
	if (st == MER_OK)
		st = apply_protocol(spec, &values[SPEC_PROTOCOL], err);
	apply_number(&spec->max_workers, &values[SPEC_MAX_WORKERS]); /* the protocol has a default */
	if (st == MER_OK)
		st = apply_texts(spec, values, err);
	if (st == MER_OK)
		st = apply_error_lines(spec, &values[SPEC_ERROR_LINE], err);
	if (st == MER_OK)
		st = apply_flag(spec, "clean_env", &values[SPEC_CLEAN_ENV], err);
	if (st == MER_OK)
		st = apply_flag(spec, "shell", &values[SPEC_SHELL], err);
	if (st == MER_OK)
		st = apply_flag(spec, "keep_io", &values[SPEC_KEEP_IO], err);
	if (st == MER_OK)
		st = apply_flag(spec, "stateful", &values[SPEC_STATEFUL], err);
	if (st == MER_OK)
		st = apply_env(spec, &values[SPEC_ENV], err);
	if (st == MER_OK)
		st = spec->is_http ? set_copy(&spec->workdir, "", err)
		                   : apply_workdir(spec, values[SPEC_WORKDIR].text, !spec->is_there, err);
	if (st == MER_OK)
		st = apply_remote_model(spec, values[SPEC_REMOTE_MODEL].text, err);
	if (st == MER_OK)
		st = apply_param(spec, &values[SPEC_PARAM], err);
	if (st == MER_OK)
		st = apply_weights_dir(spec, values[SPEC_WEIGHTS_DIR].text, err);
	if (st == MER_OK)
		st = apply_train(spec, values[SPEC_TRAIN].text, err);
	if (st == MER_OK)
		st = apply_argv(spec, &values[SPEC_ARGV], err);
	if (st == MER_OK)
		st = apply_limits(spec, values, err);
	if (st == MER_OK && cmd_has(&values[SPEC_CALLED]))
		st = set_copy(&spec->name, values[SPEC_CALLED].text, err);
	if (st == MER_OK)
		st = check(spec, err);
	return st == MER_OK ? apply_server(spec, dal, &values[SPEC_SERVER], err) : st;
}
