/* Versions of a model's weights: reading, summing up, adding, making active, printing. */
#include "weights.h"

#include "find.h"
#include "weights_there.h"

#include <errno.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/meal.h>
#include <mer/sched.h>
#include <mer/text.h>
#include <stdatomic.h>
#include <string.h>

/* --- reading ------------------------------------------------------------------------------ */

static void release(struct weights *weights)
{
	free(weights->version);
	free(weights->state);
	free(weights->path);
	free(weights->sha256);
	free(weights->parent);
	free(weights->metrics);
	free(weights->made_by);
	free(weights->created_at);
}

void weights_list_done(struct weights_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		release(&list->rows[i]);
	free(list->rows);
	*list = (struct weights_list){ 0 };
}

static enum mer_status on_weights(void *ctx, const void *data, struct mer_error *err)
{
	struct weights_list *list = ctx;
	const struct mer_weights_row *row = data;
	struct weights *rows = reallocarray(list->rows, list->n + 1, sizeof *rows);
	if (rows == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	list->rows = rows;
	struct weights *to = &rows[list->n++];
	*to = (struct weights){
		.version = strdup(row->version),
		.state = strdup(row->state),
		.path = strdup(row->path),
		.sha256 = strdup(row->sha256),
		.parent = strdup(row->parent),
		.metrics = strdup(row->metrics),
		.made_by = strdup(row->made_by),
		.created_at = strdup(row->created_at),
		.bytes = row->bytes,
	};
	(void)snprintf(to->uid.text, sizeof to->uid.text, "%s", row->uid);
	bool whole = to->version != NULL && to->state != NULL && to->path != NULL &&
	             to->sha256 != NULL && to->parent != NULL && to->metrics != NULL &&
	             to->made_by != NULL && to->created_at != NULL;
	return whole ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

enum mer_status weights_read_all(struct mer_dal *dal, const char *model, struct weights_list *out,
                                 struct mer_error *err)
{
	return mer_dal_query(dal, MER_Q_WEIGHTS, MER_ARGS(mer_text(model)), on_weights, out, err);
}

const struct weights *weights_of(const struct weights_list *list, const char *version)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct weights *one = &list->rows[i];
		if (strcmp(version != NULL ? one->version : one->state,
		           version != NULL ? version : "active") == 0)
			return one;
	}
	return NULL;
}

enum mer_status weights_find(const struct weights_list *list, const char *model,
                             const char *version, const struct weights **out, struct mer_error *err)
{
	*out = weights_of(list, version);
	if (*out != NULL)
		return MER_OK;
	(void)mer_fail(err, MER_ENOTFOUND, "model '%s' has no weights '%s'", model, version);
	mer_hint(err, "'weights list %.100s' shows those that there are", model);
	return MER_ENOTFOUND;
}

int64_t weights_next(const struct weights_list *list)
{
	enum { DIGITS_MAX = 18 };
	int64_t most = 0;
	for (size_t i = 0; i < list->n; i++) {
		const char *version = list->rows[i].version;
		size_t len = strlen(version);
		if (len > DIGITS_MAX || strspn(version, "0123456789") < len)
			continue;
		int64_t number = strtoll(version, NULL, 10);
		most = number > most ? number : most;
	}
	return most + 1;
}

/* --- paths and sums ----------------------------------------------------------------------- */

enum mer_status weights_path(const char *path, char **out, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *here = NULL;
	size_t server;
	bool whole =
		path[0] == '/' || strncmp(path, "{models}", 8) == 0 || mer_weights_there(path, &server);
	if (!whole && (here = getcwd(NULL, 0)) == NULL)
		return mer_fail(err, MER_EINPUT, "cannot tell the current folder: %s", strerror(errno));
	while (!whole && strncmp(path, "./", 2) == 0)
		path += 1 + strspn(path + 1, "/");
	*out = whole ? strdup(path) : mer_text_new("%s/%s", strcmp(here, "/") == 0 ? "" : here, path);
	return *out != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status real_path(const char *stored, char **out, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *models = NULL;
	enum mer_status st = mer_place(MER_PLACE_MODELS, &models, err);
	const struct mer_pair pair = { "models", models };
	return st == MER_OK ? mer_expand(stored, &pair, 1, out, err) : st;
}

struct summing {
	_Atomic bool stop;
	const char *path;
	struct mer_sum *out;
	struct weights_list *list;
};

static void on_cancel(void *ctx, bool kill)
{
	struct summing *summing = ctx;
	(void)kill;
	summing->stop = true;
}

static enum mer_status sum_one(void *ctx, struct mer_error *err)
{
	struct summing *summing = ctx;
	MER_AUTO(mer_text_done) char *path = NULL;
	enum mer_status st = real_path(summing->path, &path, err);
	return st == MER_OK ? mer_sum_get(path, &summing->stop, summing->out, err) : st;
}

enum mer_status weights_sum(struct session *s, const char *path, struct mer_sum *out,
                            struct mer_error *err)
{
	struct summing summing = { .path = path, .out = out };
	size_t server;
	bool nothing;
	if (mer_weights_there(path, &server))
		return weights_there_sum(s, path, out, &nothing, err);
	enum mer_status st = session_in_thread(s, sum_one, on_cancel, &summing, err);
	if (st == MER_ENOTFOUND || st == MER_EIO)
		return mer_wrap(err, MER_EINPUT, "PATH");
	return st;
}

static enum mer_status check_one(struct summing *summing, struct weights *weights,
                                 struct mer_error *err)
{
	struct mer_sum sum;
	struct mer_error why;
	MER_AUTO(mer_text_done) char *path = NULL;
	enum mer_status st = real_path(weights->path, &path, err);
	if (st != MER_OK)
		return st;
	st = mer_sum_read(path, &summing->stop, &sum, NULL, &why);
	if (st == MER_OK)
		weights->check = strcmp(sum.sha256, weights->sha256) == 0 ? "ok" : "changed";
	else if (st == MER_ENOTFOUND)
		weights->check = "missing";
	else if (st == MER_EIO)
		weights->check = "unreadable";
	else if (st == MER_ECONFLICT)
		weights->check = "changed";
	else
		return mer_fail(err, st, "%s", why.message);
	return MER_OK;
}

static enum mer_status check_all(void *ctx, struct mer_error *err)
{
	struct summing *summing = ctx;
	enum mer_status st = MER_OK;
	size_t server;
	for (size_t i = 0; i < summing->list->n && st == MER_OK; i++)
		if (!mer_weights_there(summing->list->rows[i].path, &server))
			st = check_one(summing, &summing->list->rows[i], err);
	return st;
}

/* Of what is on another host it is told there. */
static enum mer_status check_there(struct session *s, struct weights *weights,
                                   struct mer_error *err)
{
	struct mer_sum sum;
	struct mer_error why;
	bool nothing = false;
	enum mer_status st = weights_there_sum(s, weights->path, &sum, &nothing, &why);
	if (st == MER_OK)
		weights->check = strcmp(sum.sha256, weights->sha256) == 0 ? "ok" : "changed";
	else if (nothing)
		weights->check = "missing";
	else if (st == MER_EUNREACHABLE || st == MER_EINPUT || st == MER_ENOTFOUND)
		weights->check = "unreadable";
	else {
		*err = why;
		return st;
	}
	return MER_OK;
}

enum mer_status weights_check(struct session *s, struct weights_list *list, struct mer_error *err)
{
	struct summing summing = { .list = list };
	size_t server;
	enum mer_status st = session_in_thread(s, check_all, on_cancel, &summing, err);
	for (size_t i = 0; i < list->n && st == MER_OK; i++)
		if (mer_weights_there(list->rows[i].path, &server))
			st = check_there(s, &list->rows[i], err);
	return st;
}

/* --- changing ----------------------------------------------------------------------------- */

static enum mer_status begin(struct mer_dal *dal, const char *model, struct mer_uid *model_uid,
                             struct weights_list *out, struct mer_error *err)
{
	int64_t changed = 0;
	enum mer_status st = find_model(dal, model, model_uid, err);
	/* Whoever writes to the model's row first has all others wait. */
	if (st == MER_OK)
		st = mer_dal_exec(dal, MER_Q_MODEL_TOUCH, MER_ARGS(mer_text(model_uid->text)), &changed,
		                  err);
	if (st == MER_OK && changed == 0)
		return mer_fail(err, MER_ENOTFOUND, "there is no model '%s'", model);
	return st == MER_OK ? weights_read_all(dal, model, out, err) : st;
}

enum mer_status weights_begin(struct mer_dal *dal, const char *model, struct mer_uid *model_uid,
                              struct weights_list *out, struct mer_error *err)
{
	enum mer_status st = mer_dal_begin(dal, err);
	if (st != MER_OK)
		return st;
	st = begin(dal, model, model_uid, out, err);
	return st == MER_OK ? st : find_end(dal, st, err);
}

enum mer_status weights_insert(struct mer_dal *dal, const char *model,
                               const struct mer_uid *model_uid, const struct weights_new *new,
                               struct mer_uid *uid, struct mer_error *err)
{
	int64_t changed; /* asked for, so that a conflict is told here and not at the end */
	mer_uid_new(uid);
	enum mer_status st = mer_dal_exec(
		dal, MER_Q_WEIGHTS_INSERT,
		MER_ARGS(mer_text(uid->text), mer_text(model_uid->text), mer_text(new->version),
	             mer_text(new->path), mer_text(new->sum.sha256), mer_i64(new->sum.bytes),
	             mer_text_or_null(new->parent_uid), mer_text(new->metrics), mer_text(new->made_by)),
		&changed, err);
	if (st == MER_ECONFLICT)
		return mer_fail(err, st, "model '%s' has weights '%s' already", model, new->version);
	return st;
}

enum mer_status weights_activate(struct mer_dal *dal, const struct mer_uid *model_uid,
                                 const char *uid, struct mer_error *err)
{
	enum mer_status st =
		mer_dal_exec(dal, MER_Q_WEIGHTS_RETIRE, MER_ARGS(mer_text(model_uid->text)), NULL, err);
	if (st == MER_OK)
		st = mer_dal_exec(dal, MER_Q_WEIGHTS_ACTIVATE, MER_ARGS(mer_text(uid)), NULL, err);
	return st;
}

/* --- printing ----------------------------------------------------------------------------- */

enum { COLUMNS = WEIGHTS_COLUMNS, CHECK = COLUMNS - 1 };
const struct out_column weights_columns[COLUMNS] = {
	{ "uid", OUT_UID | OUT_HIDDEN },
	{ "version", 0 },
	{ "state", 0 },
	{ "path", OUT_SHORTEN },
	{ "sha256", OUT_SHORTEN },
	{ "bytes", OUT_NUMBER },
	{ "parent", OUT_NULL },
	{ "created_at", OUT_TIME },
	{ "made_by", OUT_UID | OUT_NULL | OUT_HIDDEN }, /* beside the contract */
	{ "metrics", OUT_OBJECT | OUT_SHORTEN | OUT_HIDDEN },
	{ "check", OUT_NULL }, /* where it was asked for */
};

static void fill_cells(const struct weights *weights, struct mer_cell cells[COLUMNS])
{
	const struct mer_cell all[COLUMNS] = {
		mer_cell_text(weights->uid.text), mer_cell_text(weights->version),
		mer_cell_text(weights->state),    mer_cell_text(weights->path),
		mer_cell_text(weights->sha256),   mer_cell_i64(weights->bytes),
		mer_cell_word(weights->parent),   mer_cell_text(weights->created_at),
		mer_cell_word(weights->made_by),  mer_cell_json(weights->metrics),
		mer_cell_text(weights->check),
	};
	memcpy(cells, all, sizeof all);
}

enum mer_status weights_show(struct session *s, const char *model, const char *version,
                             struct mer_error *err)
{
	MER_AUTO(weights_list_done) struct weights_list list = { 0 };
	const struct weights *found;
	struct mer_cell cells[COLUMNS];
	enum mer_status st = weights_read_all(s->dal, model, &list, err);
	if (st == MER_OK)
		st = weights_find(&list, model, version, &found, err);
	if (st != MER_OK)
		return st;
	fill_cells(found, cells);
	return out_object(s, weights_columns, cells, CHECK, err);
}

enum mer_status weights_print(struct session *s, const struct weights_list *list, bool check,
                              struct mer_error *err)
{
	enum mer_status st = MER_OK;
	out_begin(s, weights_columns, check ? COLUMNS : CHECK);
	for (size_t i = 0; i < list->n && st == MER_OK; i++) {
		struct mer_cell cells[COLUMNS];
		fill_cells(&list->rows[i], cells);
		st = out_row(s, cells, err);
	}
	return st == MER_OK ? out_end(s, err) : st;
}
