/* Making the database what a document says. */
#include "apply.h"

#include "feedback.h"
#include "stored.h"

#include <mer/clean.h>
#include <mer/meal.h>
#include <mer/text.h>
#include <string.h>

/* What is known while it runs. */
struct applying {
	struct apply *apply;
	struct stored_servers servers; /* new ones too */
	size_t sum;                    /* the weights that come next, in apply->sums */
};

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

/* --- changes ------------------------------------------------------------------------------ */

static void clear_changes(struct apply *apply)
{
	for (size_t i = 0; i < apply->n_changes; i++) {
		free(apply->changes[i].name);
		json_decref(apply->changes[i].old);
		json_decref(apply->changes[i].new);
	}
	free(apply->changes);
	apply->changes = NULL;
	apply->n_changes = 0;
}

void apply_release(struct apply *apply)
{
	clear_changes(apply);
	free(apply->sums);
	apply->sums = NULL;
}

/* part NULL: of the model itself. */
static enum mer_status add_change(struct apply *apply, const char *kind, const char *name,
                                  const char *part, const char *key, json_t *old, json_t *new,
                                  struct mer_error *err)
{
	size_t n = apply->n_changes;
	if ((n & (n + 1)) == 0) {
		struct apply_change *all = reallocarray(apply->changes, 2 * n + 2, sizeof *all);
		if (all == NULL)
			return no_memory(err);
		apply->changes = all;
	}
	char *whole = part != NULL ? mer_text_new("%s/%s", name, part) : strdup(name);
	if (whole == NULL)
		return no_memory(err);
	apply->changes[apply->n_changes++] = (struct apply_change){
		.added = key == NULL,
		.kind = kind,
		.name = whole,
		.key = key,
		.old = json_incref(old),
		.new = json_incref(new),
	};
	return MER_OK;
}

/* A change for each key that is another; keys are told as long as the tables that they are from.
 * *differs is set where there is one. */
static enum mer_status compare(struct apply *apply, const char *kind, const char *name,
                               const char *part, json_t *old, json_t *new,
                               const struct document_key keys[], size_t n, bool *differs,
                               struct mer_error *err)
{
	enum mer_status st = MER_OK;
	*differs = false;
	for (size_t i = 0; i < n && st == MER_OK; i++) {
		json_t *was = json_object_get(old, keys[i].name), *is = json_object_get(new, keys[i].name);
		if (was == NULL || is == NULL || json_equal(was, is))
			continue;
		*differs = true;
		st = add_change(apply, kind, name, part, keys[i].name, was, is, err);
	}
	return st;
}

/* --- servers ------------------------------------------------------------------------------ */

static enum mer_status add_server(struct applying *is, const struct document_server *from,
                                  json_t *object, struct mer_error *err)
{
	struct mer_uid uid;
	mer_uid_new(&uid);
	enum mer_status st =
		add_change(is->apply, "server", from->item.name, NULL, NULL, NULL, NULL, err);
	if (st == MER_OK && !is->apply->dry)
		st = server_insert(is->apply->dal, uid.text, from->item.name, from->values, err);
	if (st != MER_OK)
		return st;
	return stored_servers_add(&is->servers, uid.text, from->item.name, json_incref(object), err);
}

static enum mer_status apply_server(struct applying *is, const struct document_server *from,
                                    struct mer_error *err)
{
	struct document_key keys[DOCUMENT_KEYS_MAX];
	const struct stored_server *there = stored_server_of(&is->servers, from->item.name);
	MER_AUTO(mer_json_done) json_t *object = NULL;
	bool differs;
	enum mer_status st = server_object(from->values, &object, err);
	if (st != MER_OK || there == NULL)
		return st == MER_OK ? add_server(is, from, object, err) : st;
	json_t *kind = json_object_get(there->object, "kind");
	if (!json_equal(kind, json_object_get(object, "kind"))) {
		(void)mer_fail(err, MER_ECONFLICT, "--kind of server '%s' is %s, which it stays",
		               from->item.name, json_string_value(kind));
		mer_hint(err, "'server remove' makes room");
		return document_fail(&from->item, MER_ECONFLICT, err);
	}
	st = compare(is->apply, "server", from->item.name, NULL, there->object, object, keys,
	             document_server_keys(NULL, keys), &differs, err);
	if (st == MER_OK && differs && !is->apply->dry)
		st = server_update(is->apply->dal, there->uid.text, from->values, err);
	return st;
}

/* --- deployments -------------------------------------------------------------------------- */

/* A deployment as the document has it. */
static enum mer_status make_spec(const struct applying *is, const struct document_deployment *from,
                                 const char *uid, const char *model_uid, struct spec *spec,
                                 struct mer_error *err)
{
	struct cmd_value values[SPEC_ARGS];
	const char *name = from->values[SPEC_SERVER].text;
	const struct stored_server *server = stored_server_of(&is->servers, name);
	if (server == NULL) {
		(void)mer_fail(err, MER_ENOTFOUND, "--server: there is no server '%s'", name);
		mer_hint(err, "'server list' shows those that there are; a document may add one");
		return document_fail(&from->item, MER_ENOTFOUND, err);
	}
	memcpy(values, from->values, sizeof values);
	values[SPEC_SERVER].text = NULL; /* it is found already, and may not be there yet */
	spec->server_uid = server->uid;
	(void)snprintf(spec->uid.text, sizeof spec->uid.text, "%s", uid);
	(void)snprintf(spec->model_uid.text, sizeof spec->model_uid.text, "%s", model_uid);
	enum mer_status st = spec_apply(spec, is->apply->dal, values, err);
	return st == MER_OK ? st : document_fail(&from->item, st, err);
}

static enum mer_status apply_deployment(struct applying *is, const struct document_model *model,
                                        const struct stored_model *there, const char *model_uid,
                                        const struct document_deployment *from,
                                        struct mer_error *err)
{
	struct apply *apply = is->apply;
	struct document_key keys[DOCUMENT_KEYS_MAX];
	const struct stored_deployment *old = stored_deployment_of(there, from->item.name);
	MER_AUTO(spec_release) struct spec spec;
	MER_AUTO(mer_json_done) json_t *object = NULL;
	struct mer_uid uid;
	bool differs = false;
	mer_uid_new(&uid);
	enum mer_status st = spec_init(&spec, err);
	if (st == MER_OK)
		st = make_spec(is, from, old != NULL ? old->uid.text : uid.text, model_uid, &spec, err);
	if (st == MER_OK)
		st = spec_object(&spec, from->values[SPEC_SERVER].text, &object, err);
	if (st == MER_OK && old == NULL)
		st = add_change(apply, "deployment", model->item.name, from->item.name, NULL, NULL, NULL,
		                err);
	else if (st == MER_OK)
		st = compare(apply, "deployment", model->item.name, from->item.name, old->object, object,
		             keys, document_deployment_keys(NULL, keys), &differs, err);
	if (st != MER_OK || apply->dry || (old != NULL && !differs))
		return st;
	if (old == NULL)
		st = spec_insert(&spec, apply->dal, err);
	/* A new one is enabled. */
	if (st == MER_OK && (old != NULL || spec.enabled == 0))
		st = spec_update(&spec, apply->dal, err);
	return st;
}

/* --- weights ------------------------------------------------------------------------------ */

/* One version that the document names. */
struct version {
	const struct document_weights *from;
	const struct weights *old; /* NULL: it is new */
	const struct apply_sum *sum;
	struct mer_uid uid;
	const char *state; /* what it is to be */
	bool there;        /* it is in the database, or would be by now */
};

struct versions {
	struct applying *is;
	const struct document_model *model;
	const struct stored_model *stored;
	const char *model_uid;
	struct version *list;
	size_t n;
};

static enum mer_status fail_weights(const struct version *version, enum mer_status st,
                                    struct mer_error *err)
{
	if (st == MER_ECONFLICT)
		mer_hint(err, "what a version is stays; call it by another name, or 'weights remove' it");
	return document_fail(&version->from->item, st, err);
}

/* What a version is cannot become another. */
static enum mer_status check_same(const struct versions *all, const struct version *version,
                                  struct mer_error *err)
{
	struct document_key keys[DOCUMENT_KEYS_MAX];
	const struct document_weights *from = version->from;
	MER_AUTO(mer_json_done) json_t *object = NULL;
	size_t n = document_weights_keys(NULL, keys);
	enum mer_status st = stored_weights_object(version->old, &object, err);
	for (size_t i = 0; i < n && st == MER_OK; i++) {
		const struct cmd_value *value = &from->values[i];
		const json_t *was = json_object_get(object, keys[i].name);
		const char *text = json_string_value(was);
		bool same = true;
		if (i == WEIGHTS_STATE || !value->given)
			continue;
		if (i == WEIGHTS_METRICS)
			same = json_equal(was, from->metrics);
		else if (i == WEIGHTS_BYTES)
			same = json_integer_value(was) == value->number;
		else
			same = strcmp(text != NULL ? text : "", value->text) == 0;
		if (!same)
			st = mer_fail(err, MER_ECONFLICT, "--%s of weights '%s' of model '%s' is another one",
			              keys[i].name, from->item.name, all->model->item.name);
	}
	if (st != MER_OK)
		return fail_weights(version, st, err);
	if (version->sum->st == MER_OK && strcmp(version->sum->sum.sha256, version->old->sha256) != 0) {
		st = mer_fail(err, MER_ECONFLICT, "weights '%s' of model '%s' are not what was added",
		              from->item.name, all->model->item.name);
		return fail_weights(version, st, err);
	}
	return MER_OK;
}

static enum mer_status check_new(const struct version *version, struct mer_error *err)
{
	const struct cmd_value *values = version->from->values;
	const struct mer_sum *sum = &version->sum->sum;
	enum mer_status st = version->sum->st;
	if (st != MER_OK) {
		st = mer_fail(err, st, "--path: %s", version->sum->why.message);
		return document_fail(&version->from->item, st, err);
	}
	if (values[WEIGHTS_SHA256].given && strcmp(values[WEIGHTS_SHA256].text, sum->sha256) != 0)
		st = mer_fail(err, MER_ECONFLICT, "--sha256 is not that of the bytes, which is %s",
		              sum->sha256);
	else if (values[WEIGHTS_BYTES].given && values[WEIGHTS_BYTES].number != sum->bytes)
		st = mer_fail(err, MER_ECONFLICT, "--bytes is not how many there are: %lld",
		              (long long)sum->bytes);
	return st == MER_OK ? st : document_fail(&version->from->item, st, err);
}

static enum mer_status insert(const struct versions *all, struct version *version,
                              const char *parent_uid, struct mer_error *err)
{
	struct apply *apply = all->is->apply;
	const struct document_weights *from = version->from;
	MER_AUTO(mer_text_done) char *metrics = NULL;
	enum mer_status st =
		add_change(apply, "weights", all->model->item.name, from->item.name, NULL, NULL, NULL, err);
	version->there = true;
	if (st != MER_OK || apply->dry)
		return st;
	if (from->metrics != NULL)
		st = mer_json_text(from->metrics, &metrics, err);
	struct mer_uid model_uid;
	(void)snprintf(model_uid.text, sizeof model_uid.text, "%s", all->model_uid);
	const struct weights_new new = {
		.version = from->item.name,
		.path = from->values[WEIGHTS_PATH].text,
		.metrics = metrics != NULL ? metrics : "{}",
		.parent_uid = parent_uid,
		.made_by = "",
		.sum = version->sum->sum,
	};
	if (st == MER_OK)
		st =
			weights_insert(apply->dal, all->model->item.name, &model_uid, &new, &version->uid, err);
	return st;
}

/* The uid of a version that is there; NULL: it is not, or not yet. */
static const char *uid_of(const struct versions *all, const char *name)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct version *one = &all->list[i];
		if (one->there && strcmp(one->from->item.name, name) == 0)
			return one->uid.text;
	}
	const struct weights *old = weights_of(&all->stored->weights, name);
	return old != NULL ? old->uid.text : NULL;
}

/* A parent comes before its children, wherever it stands. */
static enum mer_status insert_all(const struct versions *all, struct mer_error *err)
{
	const struct version *waits = NULL;
	bool any = true;
	while (any) {
		any = false;
		waits = NULL;
		for (size_t i = 0; i < all->n; i++) {
			struct version *one = &all->list[i];
			const char *parent = one->from->values[WEIGHTS_PARENT].text;
			const char *uid = parent != NULL ? uid_of(all, parent) : "";
			if (one->there)
				continue;
			if (uid == NULL) {
				waits = one;
				continue;
			}
			enum mer_status st = insert(all, one, uid, err);
			if (st != MER_OK)
				return st;
			any = true;
		}
	}
	if (waits == NULL)
		return MER_OK;
	enum mer_status st =
		mer_fail(err, MER_ENOTFOUND, "--parent: model '%s' has no weights '%s' before",
	             all->model->item.name, waits->from->values[WEIGHTS_PARENT].text);
	return document_fail(&waits->from->item, st, err);
}

/* --- which weights are used --------------------------------------------------------------- */

static enum mer_status change_state(const struct versions *all, const char *name, const char *uid,
                                    const char *old, const char *new, bool told,
                                    struct mer_error *err)
{
	struct apply *apply = all->is->apply;
	MER_AUTO(mer_json_done) json_t *was = json_string(old);
	MER_AUTO(mer_json_done) json_t *is = json_string(new);
	enum mer_status st = MER_OK;
	if (was == NULL || is == NULL)
		return no_memory(err);
	if (told)
		st = add_change(apply, "weights", all->model->item.name, name, "state", was, is, err);
	if (st == MER_OK && !apply->dry)
		st = mer_dal_exec(apply->dal, MER_Q_WEIGHTS_STATE, MER_ARGS(mer_text(uid), mer_text(new)),
		                  NULL, err);
	return st;
}

/* One of the document, if it is not what it is to be. A new one is told already. */
static enum mer_status apply_state(const struct versions *all, const struct version *one,
                                   struct mer_error *err)
{
	const char *old = one->old != NULL ? one->old->state : "candidate";
	if (strcmp(old, one->state) == 0)
		return MER_OK;
	return change_state(all, one->from->item.name, one->uid.text, old, one->state, one->old != NULL,
	                    err);
}

/* First what is not to be active, since only one may be. */
static enum mer_status apply_states(const struct versions *all, struct mer_error *err)
{
	const struct weights *used = weights_of(&all->stored->weights, NULL);
	const struct version *active = NULL;
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < all->n; i++) {
		const struct version *one = &all->list[i];
		if (strcmp(one->state, "active") == 0 && one->from->values[WEIGHTS_STATE].given)
			active = one;
	}
	for (size_t i = 0; i < all->n && st == MER_OK; i++) {
		const struct version *one = &all->list[i];
		if (one->old == used && used != NULL && one->from->values[WEIGHTS_STATE].given)
			used = NULL; /* the document says what becomes of it */
		if (strcmp(one->state, "active") != 0)
			st = apply_state(all, one, err);
	}
	if (st != MER_OK || active == NULL)
		return st;
	if (used != NULL)
		st = change_state(all, used->version, used->uid.text, "active", "retired", true, err);
	return st == MER_OK ? apply_state(all, active, err) : st;
}

static void versions_done(struct versions *all)
{
	free(all->list);
}

static enum mer_status check_version(const struct versions *all, struct version *one,
                                     struct mer_error *err)
{
	const struct cmd_value *state = &one->from->values[WEIGHTS_STATE];
	one->state = state->given ? state->text : one->old != NULL ? one->old->state : "candidate";
	one->there = one->old != NULL;
	if (one->old == NULL)
		return check_new(one, err);
	one->uid = one->old->uid;
	return check_same(all, one, err);
}

static enum mer_status apply_weights(struct applying *is, const struct document_model *model,
                                     const struct stored_model *stored, const char *model_uid,
                                     struct mer_error *err)
{
	MER_AUTO(versions_done)
	struct versions all = { is, model, stored, model_uid, NULL, model->n_weights };
	enum mer_status st = MER_OK;
	all.list = calloc(all.n + 1, sizeof *all.list);
	if (all.list == NULL)
		return no_memory(err);
	for (size_t i = 0; i < all.n && st == MER_OK; i++) {
		struct version *one = &all.list[i];
		one->from = &model->weights[i];
		one->old = weights_of(&stored->weights, one->from->item.name);
		one->sum = &is->apply->sums[is->sum++];
		st = check_version(&all, one, err);
	}
	if (st == MER_OK)
		st = insert_all(&all, err);
	return st == MER_OK ? apply_states(&all, err) : st;
}

/* --- models ------------------------------------------------------------------------------- */

static void own_done(struct stored_own *own)
{
	free(own->summary);
	example_release(&own->example);
}

static enum mer_status take_copy(const char *bytes, size_t len, char **to, size_t *to_len,
                                 struct mer_error *err)
{
	if (bytes == NULL)
		return MER_OK;
	*to = malloc(len + 1);
	if (*to == NULL)
		return no_memory(err);
	memcpy(*to, bytes, len + 1);
	*to_len = len;
	return MER_OK;
}

/* The model's own part as the document has it. */
static enum mer_status make_own(const struct document_model *from, struct stored_own *own,
                                struct mer_error *err)
{
	const char *summary = from->values[SPEC_SUMMARY].text;
	const struct cmd_value *more = from->more;
	struct example *example = &own->example;
	bool on = more[MODEL_FEEDBACK].number != 0;
	own->feedback = on;
	own->threshold = on ? FEEDBACK_THRESHOLD : 0;
	own->train_after = on ? FEEDBACK_TRAIN_AFTER : 0;
	if (more[MODEL_THRESHOLD].given)
		own->threshold = more[MODEL_THRESHOLD].number;
	if (more[MODEL_TRAIN_AFTER].given)
		own->train_after = more[MODEL_TRAIN_AFTER].number;
	own->summary = strdup(summary != NULL ? summary : "");
	example->tolerance = strdup("");
	example->within = MER_COMPARE_EXACT;
	if (own->summary == NULL || example->tolerance == NULL)
		return no_memory(err);
	enum mer_status st =
		take_copy(from->input.ptr, from->input.len, &example->input, &example->input_len, err);
	if (st == MER_OK)
		st = take_copy(from->output.ptr, from->output.len, &example->output, &example->output_len,
		               err);
	if (st == MER_OK && (st = example_take(example, from->values, err)) != MER_OK)
		return document_fail(&from->item, st, err);
	return st;
}

/* A process a run is never ready before its run. */
static enum mer_status check_stays(const struct document_model *model,
                                   const struct stored_model *there, struct mer_error *err)
{
	bool stays = false;
	if (!model->values[SPEC_TEST_ON_START].given || model->values[SPEC_TEST_ON_START].number == 0)
		return MER_OK;
	for (size_t i = 0; i < model->n_deployments; i++)
		stays |= mer_protocol_by_name(model->deployments[i].values[SPEC_PROTOCOL].text) !=
		             MER_PROTOCOL_ONCE ||
		         model->deployments[i].values[SPEC_ARGV].count == 0; /* behind a URL */
	for (size_t i = 0; i < there->n_deployments; i++) {
		const struct stored_deployment *old = &there->deployments[i];
		bool named = false;
		for (size_t j = 0; j < model->n_deployments; j++)
			named |= strcmp(old->name, model->deployments[j].item.name) == 0;
		bool process = json_array_size(json_object_get(old->object, "argv")) > 0;
		stays |= !named && (!process || mer_protocol_by_name(old->protocol) != MER_PROTOCOL_ONCE);
	}
	if (stays)
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT,
	               "--test-on-start is for workers that stay: those of token and frame");
	return document_fail(&model->item, MER_EINPUT, err);
}

static bool differs_in(const json_t *old, const json_t *new, const char *const keys[])
{
	for (size_t i = 0; keys[i] != NULL; i++) {
		if (!json_equal(json_object_get(old, keys[i]), json_object_get(new, keys[i])))
			return true;
	}
	return false;
}

/* old NULL: of a new model. */
static enum mer_status write_own(struct mer_dal *dal, const char *uid, const struct stored_own *own,
                                 const json_t *old, const json_t *new, struct mer_error *err)
{
	static const char *const summary[] = { "summary", NULL };
	static const char *const test[] = { "test-input", "test-output", "test-tolerance",
		                                "test-on-start", NULL };
	static const char *const feedback[] = { "feedback", "feedback-threshold", "train-after", NULL };
	enum mer_status st = MER_OK;
	if (old != NULL && differs_in(old, new, summary))
		st = mer_dal_exec(dal, MER_Q_MODEL_UPDATE, MER_ARGS(mer_text(uid), mer_text(own->summary)),
		                  NULL, err);
	if (st == MER_OK && (old != NULL ? differs_in(old, new, test) : own->example.input != NULL))
		st = example_write(dal, uid, &own->example, err);
	if (st == MER_OK && (old == NULL || differs_in(old, new, feedback)))
		st = mer_dal_exec(dal, MER_Q_MODEL_FEEDBACK,
		                  MER_ARGS(mer_text(uid), mer_i64(own->feedback), mer_i64(own->threshold),
		                           mer_i64(own->train_after)),
		                  NULL, err);
	return st;
}

static enum mer_status insert_model(struct apply *apply, const struct document_model *from,
                                    const char *uid, const struct stored_own *own,
                                    struct mer_error *err)
{
	int64_t changed; /* asked for, so that a conflict is told here and not at the commit */
	enum mer_status st = MER_OK;
	if (!from->tells_deployments) {
		(void)mer_fail(err, MER_EINPUT, "new model '%s' has no deployments", from->item.name);
		mer_hint(err, "'deployments' says how it is started");
		return document_fail(&from->item, MER_EINPUT, err);
	}
	st = add_change(apply, "model", from->item.name, NULL, NULL, NULL, NULL, err);
	if (st != MER_OK || apply->dry)
		return st;
	st = mer_dal_exec(apply->dal, MER_Q_MODEL_INSERT,
	                  MER_ARGS(mer_text(uid), mer_text(from->item.name), mer_text(own->summary)),
	                  &changed, err);
	return st == MER_OK ? write_own(apply->dal, uid, own, NULL, NULL, err) : st;
}

static enum mer_status update_model(struct apply *apply, const struct document_model *from,
                                    const struct stored_model *there, const struct stored_own *own,
                                    struct mer_error *err)
{
	struct document_key keys[DOCUMENT_KEYS_MAX];
	MER_AUTO(mer_json_done) json_t *object = NULL;
	bool differs = false;
	enum mer_status st = stored_own_object(own, &object, err);
	if (st == MER_OK)
		st = compare(apply, "model", from->item.name, NULL, there->object, object, keys,
		             document_model_keys(NULL, NULL, keys), &differs, err);
	if (st == MER_OK && differs && !apply->dry)
		st = write_own(apply->dal, there->uid.text, own, there->object, object, err);
	return st;
}

static enum mer_status apply_model(struct applying *is, const struct document_model *from,
                                   struct mer_error *err)
{
	struct apply *apply = is->apply;
	MER_AUTO(stored_model_release) struct stored_model there;
	MER_AUTO(own_done) struct stored_own own = { .summary = NULL };
	struct mer_uid uid;
	bool found;
	size_t before = apply->n_changes;
	mer_uid_new(&uid);
	enum mer_status st = stored_model_read(apply->dal, from->item.name, &found, &there, err);
	if (st == MER_OK)
		st = make_own(from, &own, err);
	if (st == MER_OK)
		st = check_stays(from, &there, err);
	if (st == MER_OK && found)
		st = update_model(apply, from, &there, &own, err);
	else if (st == MER_OK)
		st = insert_model(apply, from, uid.text, &own, err);
	if (st == MER_OK && found)
		uid = there.uid;
	for (size_t i = 0; i < from->n_deployments && st == MER_OK; i++)
		st = apply_deployment(is, from, &there, uid.text, &from->deployments[i], err);
	if (st == MER_OK)
		st = apply_weights(is, from, &there, uid.text, err);
	if (st == MER_OK && found && apply->n_changes > before && !apply->dry)
		st = mer_dal_exec(apply->dal, MER_Q_MODEL_TOUCH, MER_ARGS(mer_text(uid.text)), NULL, err);
	return st;
}

/* --- the whole ---------------------------------------------------------------------------- */

enum mer_status apply_sum_all(struct session *s, struct apply *apply, struct mer_error *err)
{
	const struct document *document = apply->document;
	size_t n = 0;
	for (size_t i = 0; i < document->n_models; i++)
		n += document->models[i].n_weights;
	apply->sums = calloc(n + 1, sizeof *apply->sums);
	if (apply->sums == NULL)
		return no_memory(err);
	struct apply_sum *to = apply->sums;
	for (size_t i = 0; i < document->n_models; i++) {
		const struct document_model *model = &document->models[i];
		for (size_t j = 0; j < model->n_weights; j++, to++) {
			to->st =
				weights_sum(s, model->weights[j].values[WEIGHTS_PATH].text, &to->sum, &to->why);
			if (to->st == MER_ECANCELED || to->st == MER_ENOMEM)
				return mer_fail(err, to->st, "%s", to->why.message);
		}
	}
	return MER_OK;
}

enum mer_status apply_run(struct apply *apply, struct mer_error *err)
{
	const struct document *document = apply->document;
	struct applying is = { .apply = apply };
	clear_changes(apply);
	enum mer_status st = stored_servers_read(apply->dal, &is.servers, err);
	for (size_t i = 0; i < document->n_servers && st == MER_OK; i++)
		st = apply_server(&is, &document->servers[i], err);
	for (size_t i = 0; i < document->n_models && st == MER_OK; i++)
		st = apply_model(&is, &document->models[i], err);
	stored_servers_release(&is.servers);
	return st;
}
