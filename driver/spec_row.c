/* A deployment's row: writing it, and the members by which it is shown. */
#include "spec.h"

#include <mer/clean.h>
#include <mer/limits.h>
#include <mer/meal.h>
#include <mer/text.h>
#include <sched.h>
#include <string.h>

/* --- writing ------------------------------------------------------------------------------ */

/* The JSON columns as text. */
struct documents {
	char *argv, *env, *params, *limits;
};

static void documents_done(struct documents *documents)
{
	free(documents->argv);
	free(documents->env);
	free(documents->params);
	free(documents->limits);
}

static enum mer_status write_documents(const struct spec *spec, struct documents *out,
                                       struct mer_error *err)
{
	enum mer_status st = mer_json_text(spec->argv, &out->argv, err);
	if (st == MER_OK)
		st = mer_json_text(spec->env, &out->env, err);
	if (st == MER_OK)
		st = mer_json_text(spec->params, &out->params, err);
	return st == MER_OK ? mer_json_text(spec->limits, &out->limits, err) : st;
}

enum mer_status spec_insert(const struct spec *spec, struct mer_dal *dal, struct mer_error *err)
{
	MER_AUTO(documents_done) struct documents json = { 0 };
	int64_t changed; /* asked for, so that a conflict is told here and not at the commit */
	enum mer_status st = write_documents(spec, &json, err);
	if (st != MER_OK)
		return st;
	return mer_dal_exec(
		dal, MER_Q_DEPLOYMENT_INSERT,
		MER_ARGS(mer_text(spec->uid.text), mer_text(spec->name), mer_text(spec->model_uid.text),
	             mer_text(spec->server_uid.text), mer_text(spec->protocol), mer_text(spec->workdir),
	             mer_text(json.argv), mer_text(spec->train), mer_text(json.env),
	             mer_text(json.params), mer_text(json.limits), mer_i64(spec->max_workers),
	             mer_i64(spec->idle_ms), mer_i64(spec->timeout_ms), mer_i64(spec->start_timeout_ms),
	             mer_i64(spec->priority)),
		&changed, err);
}

enum mer_status spec_update(const struct spec *spec, struct mer_dal *dal, struct mer_error *err)
{
	MER_AUTO(documents_done) struct documents json = { 0 };
	int64_t changed; /* asked for, so that a conflict is told here and not at the commit */
	enum mer_status st = write_documents(spec, &json, err);
	if (st != MER_OK)
		return st;
	return mer_dal_exec(
		dal, MER_Q_DEPLOYMENT_UPDATE,
		MER_ARGS(mer_text(spec->uid.text), mer_text(spec->server_uid.text),
	             mer_text(spec->protocol), mer_text(spec->workdir), mer_text(json.argv),
	             mer_text(spec->train), mer_text(json.env), mer_text(json.params),
	             mer_text(json.limits), mer_i64(spec->max_workers), mer_i64(spec->idle_ms),
	             mer_i64(spec->timeout_ms), mer_i64(spec->start_timeout_ms),
	             mer_i64(spec->priority), mer_text(spec->name), mer_i64(spec->enabled)),
		&changed, err);
}

/* --- showing ------------------------------------------------------------------------------ */

const struct out_column spec_columns[SPEC_COLUMNS] = {
	{ "uid", OUT_UID | OUT_HIDDEN },
	{ "model", 0 },
	{ "server", 0 },
	{ "protocol", 0 },
	{ "argv", OUT_ARRAY | OUT_SHORTEN },
	{ "name", 0 },
	{ "answer", OUT_NULL | OUT_HIDDEN },
	{ "ready_token", OUT_NULL | OUT_HIDDEN },
	{ "start_token", OUT_NULL | OUT_HIDDEN },
	{ "stop_token", OUT_NULL | OUT_HIDDEN },
	{ "exit_token", OUT_NULL | OUT_HIDDEN },
	{ "error_line", OUT_ARRAY | OUT_SHORTEN | OUT_HIDDEN },
	{ "workdir", OUT_SHORTEN | OUT_HIDDEN },
	{ "env", OUT_OBJECT | OUT_SHORTEN | OUT_HIDDEN },
	{ "timeout", OUT_DURATION | OUT_HIDDEN },
	{ "start_timeout", OUT_DURATION | OUT_HIDDEN },
	{ "idle", OUT_DURATION | OUT_HIDDEN },
	{ "max_workers", OUT_NUMBER | OUT_NULL | OUT_HIDDEN },
	{ "max_queue", OUT_NUMBER | OUT_HIDDEN },
	{ "max_output", OUT_SIZE | OUT_HIDDEN },
	{ "limit", OUT_OBJECT | OUT_SHORTEN | OUT_HIDDEN },
	{ "retries", OUT_NUMBER | OUT_HIDDEN },
	{ "clean_env", OUT_BOOL | OUT_HIDDEN },
	{ "shell", OUT_BOOL | OUT_HIDDEN },
	{ "keep_io", OUT_BOOL | OUT_HIDDEN },
	{ "stateful", OUT_BOOL | OUT_HIDDEN },
	{ "train", OUT_ARRAY | OUT_NULL | OUT_SHORTEN | OUT_HIDDEN },
	{ "weights", OUT_NULL },
	{ "priority", OUT_NUMBER },
	{ "enabled", OUT_BOOL },
	{ "weights_dir", OUT_NULL | OUT_SHORTEN | OUT_HIDDEN },
	{ "remote_model", OUT_NULL | OUT_HIDDEN },
	{ "param", OUT_OBJECT | OUT_SHORTEN | OUT_HIDDEN },
};

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit ms_units[] = {
	{ "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 }
};
static const struct unit byte_units[] = {
	{ "GiB", 1 << 30 }, { "MiB", 1 << 20 }, { "KiB", 1 << 10 }, { "B", 1 }
};

/* A number with the largest unit that keeps it exact, so that it can be given back. */
static struct mer_cell unit_cell(struct spec_cells *out, int64_t number, const struct unit units[4])
{
	size_t i = number == 0 ? 2 : 0;
	while (i < 3 && number % units[i].factor != 0)
		i++;
	char *text = mer_text_new("%lld%s", (long long)(number / units[i].factor), units[i].name);
	out->kept[out->n_kept++] = text;
	return mer_cell_text(text);
}

static struct mer_cell token_cell(const struct spec_cells *out, bool token, const char *key,
                                  const char *fallback)
{
	return mer_cell_text(token ? mer_json_get_text(out->params, key, fallback) : NULL);
}

static enum mer_status param_cell(struct spec_cells *out, const char *key, const char *fallback,
                                  struct mer_cell *cell, struct mer_error *err)
{
	const json_t *value = json_object_get(out->params, key);
	if (value == NULL) {
		*cell = mer_cell_json(fallback);
		return MER_OK;
	}
	enum mer_status st = mer_json_text(value, &out->kept[out->n_kept], err);
	if (st == MER_OK)
		*cell = mer_cell_json(out->kept[out->n_kept++]);
	return st;
}

static enum mer_status limit_cell(struct spec_cells *out, const json_t *limits,
                                  struct mer_cell *cell, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *shown = NULL;
	enum mer_status st = mer_limits_show(limits, &shown, err);
	if (st == MER_OK)
		st = mer_json_text(shown, &out->kept[out->n_kept], err);
	if (st == MER_OK)
		*cell = mer_cell_json(out->kept[out->n_kept++]);
	return st;
}

/* As many as there are processors, which of another machine only that one knows. */
static struct mer_cell workers_cell(const struct mer_deployment_row *row)
{
	cpu_set_t cpus;
	if (row->max_workers > 0)
		return mer_cell_i64(row->max_workers);
	if (strcmp(row->server_kind, "local") != 0 || sched_getaffinity(0, sizeof cpus, &cpus) != 0)
		return (struct mer_cell){ .type = MER_CELL_NULL };
	return mer_cell_i64(CPU_COUNT(&cpus));
}

enum mer_status spec_show(const struct mer_deployment_row *row, struct spec_cells *out,
                          struct mer_error *err)
{
	*out = (struct spec_cells){ 0 };
	MER_AUTO(mer_json_done) json_t *limits = NULL;
	enum mer_status st =
		mer_json_parse("params", row->params, strlen(row->params), &out->params, err);
	if (st == MER_OK)
		st = mer_json_parse("limits", row->limits, strlen(row->limits), &limits, err);
	struct mer_cell error_line, limit, param;
	if (st == MER_OK)
		st = param_cell(out, "error_lines", "[]", &error_line, err);
	if (st == MER_OK)
		st = param_cell(out, "param", "{}", &param, err);
	if (st == MER_OK)
		st = limit_cell(out, limits, &limit, err);
	if (st != MER_OK)
		return st;
	bool token = strcmp(row->protocol, "token") == 0;
	int64_t max_output = mer_json_get_i64(limits, "max_output", INT64_C(256) << 20);
	const struct mer_cell cells[SPEC_COLUMNS] = {
		mer_cell_text(row->uid),
		mer_cell_text(row->model),
		mer_cell_text(row->server),
		mer_cell_text(row->protocol),
		mer_cell_json(row->argv),
		mer_cell_text(row->name),
		token_cell(out, token, "answer", "framed"),
		token_cell(out, token, "ready_token", MER_TOKEN_READY),
		token_cell(out, token, "start_token", MER_TOKEN_START),
		token_cell(out, token, "stop_token", MER_TOKEN_STOP),
		token_cell(out, token, "exit_token", MER_TOKEN_EXIT),
		error_line,
		mer_cell_text(row->workdir),
		mer_cell_json(row->env),
		unit_cell(out, row->timeout_ms, ms_units),
		unit_cell(out, row->start_timeout_ms, ms_units),
		unit_cell(out, row->idle_ms, ms_units),
		workers_cell(row),
		mer_cell_i64(mer_json_get_i64(limits, "max_queue", 64)),
		unit_cell(out, max_output, byte_units),
		limit,
		mer_cell_i64(mer_json_get_i64(limits, "retries", 0)),
		mer_cell_bool(mer_json_get_bool(out->params, "clean_env", false)),
		mer_cell_bool(mer_json_get_bool(out->params, "shell", false)),
		mer_cell_bool(mer_json_get_bool(out->params, "keep_io", false)),
		mer_cell_bool(mer_json_get_bool(out->params, "stateful", false)),
		mer_cell_json(row->train),
		mer_cell_word(row->weights_version),
		mer_cell_i64(row->priority),
		mer_cell_bool(row->enabled != 0),
		mer_cell_word(mer_json_get_text(out->params, "weights_dir", NULL)),
		mer_cell_word(mer_json_get_text(out->params, "remote_model", NULL)),
		param,
	};
	memcpy(out->cells, cells, sizeof cells);
	return MER_OK;
}

void spec_cells_release(struct spec_cells *cells)
{
	for (size_t i = 0; i < cells->n_kept; i++)
		free(cells->kept[i]);
	json_decref(cells->params);
}

/* --- as an object ------------------------------------------------------------------------- */

const char *spec_key(enum spec_arg arg)
{
	if (arg == SPEC_ARGV)
		return "argv";
	return spec_args[arg].option && arg != SPEC_CALLED ? spec_args[arg].name : NULL;
}

/* The column of an option: its name with underscores. */
static size_t column_of(const char *key)
{
	for (size_t i = 0; i < SPEC_COLUMNS; i++) {
		const char *name = spec_columns[i].name;
		size_t at = 0;
		while (name[at] != '\0' && (key[at] == '-' ? '_' : key[at]) == name[at])
			at++;
		if (name[at] == '\0' && key[at] == '\0')
			return i;
	}
	mer_defect(__FILE__, __LINE__, key); /* each option is shown, by its name */
}

static enum mer_status cell_json(const struct mer_cell *cell, json_t **out, struct mer_error *err)
{
	switch (cell->type) {
	case MER_CELL_NULL: *out = json_null(); break;
	case MER_CELL_I64: *out = json_integer(cell->number); break;
	case MER_CELL_BOOL: *out = json_boolean(cell->number != 0); break;
	case MER_CELL_TEXT: *out = json_stringn_nocheck(cell->text.ptr, cell->text.len); break;
	case MER_CELL_JSON:
		return mer_json_parse("a deployment's row", cell->text.ptr, cell->text.len, out, err);
	}
	return *out != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status object_of(const struct mer_deployment_row *row, json_t *object,
                                 struct mer_error *err)
{
	struct spec_cells cells;
	enum mer_status st = spec_show(row, &cells, err);
	for (size_t i = SPEC_SERVER; i < SPEC_ARGS && st == MER_OK; i++) {
		const char *key = spec_key((enum spec_arg)i);
		json_t *value = NULL;
		if (key == NULL)
			continue;
		if (i == SPEC_MAX_WORKERS) /* not what the default is on this machine */
			value = row->max_workers > 0 ? json_integer(row->max_workers) : json_null();
		else
			st = cell_json(&cells.cells[column_of(key)], &value, err);
		if (st == MER_OK && json_object_set_new_nocheck(object, key, value) != 0)
			st = mer_fail(err, MER_ENOMEM, "out of memory");
	}
	spec_cells_release(&cells);
	return st;
}

enum mer_status spec_object(const struct spec *spec, const char *server, json_t **out,
                            struct mer_error *err)
{
	MER_AUTO(documents_done) struct documents texts = { 0 };
	MER_AUTO(mer_json_done) json_t *object = json_object();
	enum mer_status st = write_documents(spec, &texts, err);
	if (st == MER_OK && object == NULL)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	if (st != MER_OK)
		return st;
	const struct mer_deployment_row row = {
		.uid = spec->uid.text,
		.name = spec->name,
		.model_uid = spec->model_uid.text,
		.model = "",
		.server_uid = spec->server_uid.text,
		.server = server,
		.server_kind = "",
		.protocol = spec->protocol,
		.workdir = spec->workdir,
		.argv = texts.argv,
		.train = spec->train,
		.env = texts.env,
		.params = texts.params,
		.limits = texts.limits,
		.max_workers = spec->max_workers,
		.idle_ms = spec->idle_ms,
		.timeout_ms = spec->timeout_ms,
		.start_timeout_ms = spec->start_timeout_ms,
		.priority = spec->priority,
		.enabled = spec->enabled,
		.weights_version = "",
	};
	st = object_of(&row, object, err);
	if (st != MER_OK)
		return st;
	*out = object;
	object = NULL;
	return MER_OK;
}
