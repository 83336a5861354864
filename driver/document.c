/* Reading documents: a tree of texts, made values by the tables of options. */
#include "document.h"

#include <assert.h>
#include <mer/clean.h>
#include <mer/limits.h>
#include <mer/text.h>
#include <nettle/base64.h>
#include <string.h>

/* --- keys --------------------------------------------------------------------------------- */

static const char *const states[] = { "candidate", "active", "retired", NULL };

/* clang-format off */
const struct cmd_arg document_model_args[MODEL_KEYS] = {
	[MODEL_FEEDBACK] = CMD_FLAG("feedback", "whether the prompt asks what an answer is worth"),
	[MODEL_THRESHOLD] = CMD_OPTION("feedback-threshold", ARG_I64, "R",
		"ratings below it are bad ones; default: 3 where feedback is on, else 0", .most = 5),
	[MODEL_TRAIN_AFTER] = CMD_OPTION("train-after", ARG_I64, "N",
		"offer training after so many bad ones, 0: never; default: 10 where feedback is on, else 0"),
};

const struct cmd_arg document_weights_args[WEIGHTS_KEYS] = {
	[WEIGHTS_PATH] = CMD_OPTION("path", ARG_TEXT, "PATH", "a file or a folder; {models} at the "
		"front is the folder of the example models", .required = true),
	[WEIGHTS_STATE] = CMD_OPTION("state", ARG_CHOICE, NULL,
		"active: runs use it; default: as it is, a candidate when it is new", .choices = states),
	[WEIGHTS_SHA256] = CMD_OPTION("sha256", ARG_TEXT, "SHA256",
		"what its bytes must have; default: what they have"),
	[WEIGHTS_BYTES] = CMD_OPTION("bytes", ARG_I64, "N", "how many bytes it must have"),
	[WEIGHTS_PARENT] = CMD_OPTION("parent", ARG_NAME, "V", "the version that training began with"),
	[WEIGHTS_METRICS] = CMD_OPTION("metrics", ARG_TEXT, "JSON", "what its training measured"),
};
/* clang-format on */

static enum document_shape shape_of(const struct cmd_arg *arg)
{
	if (arg == &spec_args[SPEC_ARGV] || arg == &spec_args[SPEC_TRAIN])
		return SHAPE_WORDS;
	if (arg == &spec_args[SPEC_TEST_INPUT] || arg == &spec_args[SPEC_TEST_OUTPUT])
		return SHAPE_BYTES;
	if (arg == &spec_args[SPEC_WORKDIR] || arg == &spec_args[SPEC_WEIGHTS_DIR] ||
	    arg == &document_weights_args[WEIGHTS_PATH])
		return SHAPE_PATH;
	if (arg == &document_weights_args[WEIGHTS_METRICS])
		return SHAPE_JSON;
	if (arg->repeat)
		return arg->type == ARG_PAIR ? SHAPE_MAP : SHAPE_LIST;
	return SHAPE_SCALAR;
}

static size_t add_keys(const struct cmd_arg args[], size_t first, size_t end,
                       struct cmd_value *values, struct document_key *out)
{
	size_t n = 0;
	for (size_t i = first; i < end; i++) {
		const char *name = args == spec_args ? spec_key((enum spec_arg)i) : args[i].name;
		if (name == NULL)
			continue;
		out[n++] = (struct document_key){
			.name = name,
			.arg = &args[i],
			.shape = shape_of(&args[i]),
			.required = args[i].required,
			.to = values != NULL ? &values[i] : NULL,
		};
	}
	return n;
}

size_t document_server_keys(struct cmd_value *values, struct document_key out[DOCUMENT_KEYS_MAX])
{
	return add_keys(server_args, SERVER_KIND, SERVER_ARGS, values, out);
}

size_t document_model_keys(struct cmd_value *values, struct cmd_value *more,
                           struct document_key out[DOCUMENT_KEYS_MAX])
{
	size_t n = add_keys(spec_args, SPEC_SUMMARY, SPEC_SERVER, values, out);
	return n + add_keys(document_model_args, 0, MODEL_KEYS, more, out + n);
}

size_t document_deployment_keys(struct cmd_value *values,
                                struct document_key out[DOCUMENT_KEYS_MAX])
{
	static_assert(SPEC_ARGS - SPEC_SERVER <= DOCUMENT_KEYS_MAX, "there is room for all keys");
	return add_keys(spec_args, SPEC_SERVER, SPEC_ARGS, values, out);
}

size_t document_weights_keys(struct cmd_value *values, struct document_key out[DOCUMENT_KEYS_MAX])
{
	return add_keys(document_weights_args, 0, WEIGHTS_KEYS, values, out);
}

/* --- memory and messages ------------------------------------------------------------------ */

struct reader {
	struct document *document;
	const char *file, *folder;
};

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

/* Takes over memory until the document goes; NULL is out of memory. */
static enum mer_status keep(struct document *document, void *memory, struct mer_error *err)
{
	size_t n = document->n_pool;
	if (memory != NULL && (n & (n + 1)) == 0) {
		void **pool = reallocarray(document->pool, 2 * n + 2, sizeof *pool);
		if (pool == NULL) {
			free(memory);
			return no_memory(err);
		}
		document->pool = pool;
	}
	if (memory == NULL)
		return no_memory(err);
	document->pool[document->n_pool++] = memory;
	return MER_OK;
}

/* Puts the place of a node in front of a message. */
static enum mer_status at(const struct reader *reader, const struct yaml_node *node,
                          enum mer_status st, struct mer_error *err)
{
	return mer_wrap(err, st, "%s:%lld:%lld", reader->file, (long long)node->line,
	                (long long)node->column);
}

static enum mer_status fail_kind(const struct reader *reader, const struct yaml_node *node,
                                 const char *what, const char *wanted, struct mer_error *err)
{
	(void)mer_fail(err, MER_EINPUT, "%s is to be %s", what, wanted);
	return at(reader, node, MER_EINPUT, err);
}

/* --- values ------------------------------------------------------------------------------- */

static bool is_null(const struct yaml_node *node)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };
	for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
		if (node->plain && strcmp(node->text, nulls[i]) == 0)
			return true;
	}
	return false;
}

/* A text where there is one. */
static enum mer_status check_text(const struct reader *reader, const char *what,
                                  const struct yaml_node *node, struct mer_error *err)
{
	if (node->kind != YAML_SCALAR)
		return fail_kind(reader, node, what, "one text", err);
	if (!is_null(node))
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "%s has no value", what);
	mer_hint(err, "leave the key out for its default, or put an empty text into quotes");
	return at(reader, node, MER_EINPUT, err);
}

/* Numbers and switches are not texts. */
static enum mer_status check_plain(const struct reader *reader, const struct document_key *key,
                                   const struct yaml_node *node, struct mer_error *err)
{
	static const char *const switches[] = { "true", "false", "on", "off" };
	bool good = node->plain;
	if (key->arg->type == ARG_BOOL) {
		good = false;
		for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
			good |= node->plain && strcmp(node->text, switches[i]) == 0;
		if (!good)
			(void)mer_fail(err, MER_EINPUT, "%s is to be true or false, not '%.100s'", key->name,
			               node->text);
	} else if (key->arg->type != ARG_I64) {
		return MER_OK;
	} else if (!good) {
		(void)mer_fail(err, MER_EINPUT, "%s is a number, which stands without quotes", key->name);
	}
	return good ? MER_OK : at(reader, node, MER_EINPUT, err);
}

/* A path as it is stored. */
static enum mer_status resolve(const struct reader *reader, const char *path, const char **out,
                               struct mer_error *err)
{
	if (path[0] == '/' || strncmp(path, "{models}", 8) == 0) {
		*out = path;
		return MER_OK;
	}
	while (strncmp(path, "./", 2) == 0)
		path += 1 + strspn(path + 1, "/");
	const char *folder = strcmp(reader->folder, "/") == 0 ? "" : reader->folder;
	bool here = path[0] == '\0' || strcmp(path, ".") == 0;
	char *whole = here ? strdup(reader->folder) : mer_text_new("%s/%s", folder, path);
	enum mer_status st = keep(reader->document, whole, err);
	if (st == MER_OK)
		*out = whole;
	return st;
}

/* An empty one is the default; of a workdir that is the document's folder. */
static enum mer_status read_path(const struct reader *reader, const struct document_key *key,
                                 const char *text, struct mer_error *err)
{
	if (text[0] != '\0' || key->arg == &spec_args[SPEC_WORKDIR])
		return resolve(reader, text, &key->to->text, err);
	key->to->text = text;
	return MER_OK;
}

static enum mer_status read_scalar(const struct reader *reader, const struct document_key *key,
                                   const struct yaml_node *node, struct mer_error *err)
{
	enum mer_status st = check_text(reader, key->name, node, err);
	if (st == MER_OK)
		st = check_plain(reader, key, node, err);
	if (st == MER_OK && key->shape == SHAPE_PATH)
		return read_path(reader, key, node->text, err);
	if (st != MER_OK)
		return st;
	st = cmd_value_parse(key->arg, key->name, node->text, key->to, err);
	return st == MER_OK ? st : at(reader, node, st, err);
}

/* Room for the words of a list or map, ended by a NULL. */
static enum mer_status make_words(const struct reader *reader, const struct yaml_node *node,
                                  const char ***out, size_t *n, struct mer_error *err)
{
	*n = 0;
	for (const struct yaml_node *member = node->first; member != NULL; member = member->next)
		++*n;
	const char **words = calloc(*n + 1, sizeof *words);
	*out = words;
	return keep(reader->document, words, err);
}

static enum mer_status read_list(const struct reader *reader, const struct document_key *key,
                                 const struct yaml_node *node, struct mer_error *err)
{
	const char **words;
	size_t at_word = 0;
	if (node->kind != YAML_LIST)
		return fail_kind(reader, node, key->name, "a list of texts: [a, b]", err);
	enum mer_status st = make_words(reader, node, &words, &key->to->count, err);
	if (st != MER_OK)
		return st;
	key->to->words = words;
	for (const struct yaml_node *member = node->first; member != NULL; member = member->next) {
		st = check_text(reader, key->name, member, err);
		if (st != MER_OK)
			return st;
		words[at_word++] = member->text;
	}
	return MER_OK;
}

/* What a limit may be is known here already. */
static enum mer_status check_pair(const struct reader *reader, const struct document_key *key,
                                  const char *pair, const struct yaml_node *member,
                                  struct mer_error *err)
{
	if (key->arg != &spec_args[SPEC_LIMIT])
		return MER_OK;
	MER_AUTO(mer_json_done) json_t *scratch = json_object();
	if (scratch == NULL)
		return no_memory(err);
	enum mer_status st = mer_limits_set(scratch, pair, err);
	return st == MER_OK ? st : at(reader, member->key, st, err);
}

static enum mer_status read_pair(const struct reader *reader, const struct document_key *key,
                                 const struct yaml_node *member, const char **out,
                                 struct mer_error *err)
{
	const char *name = member->key->text;
	if (name[0] == '\0' || strchr(name, '=') != NULL)
		return fail_kind(reader, member->key, "a name", "not empty and without '='", err);
	enum mer_status st = check_text(reader, name, member, err);
	if (st != MER_OK)
		return st;
	char *pair = mer_text_new("%s=%s", name, member->text);
	st = keep(reader->document, pair, err);
	*out = pair;
	return st == MER_OK ? check_pair(reader, key, pair, member, err) : st;
}

static enum mer_status read_map(const struct reader *reader, const struct document_key *key,
                                const struct yaml_node *node, struct mer_error *err)
{
	const char **words;
	size_t at_word = 0;
	if (node->kind != YAML_MAP)
		return fail_kind(reader, node, key->name, "a map of names and texts: {a: b}", err);
	enum mer_status st = make_words(reader, node, &words, &key->to->count, err);
	if (st == MER_OK)
		key->to->words = words;
	for (const struct yaml_node *member = node->first; member != NULL && st == MER_OK;
	     member = member->next)
		st = read_pair(reader, key, member, &words[at_word++], err);
	return st;
}

/* The words as a line that is split into them again. */
static enum mer_status quote_words(const struct reader *reader, struct cmd_value *value,
                                   struct mer_error *err)
{
	struct mer_buf line;
	char *text = NULL;
	mer_buf_init(&line, PTRDIFF_MAX);
	mer_buf_text(&line, "");
	for (size_t i = 0; i < value->count; i++) {
		mer_buf_text(&line, " '");
		for (const char *at_byte = value->words[i]; *at_byte != '\0'; at_byte++) {
			if (*at_byte == '\'')
				mer_buf_text(&line, "'\\''");
			else
				mer_buf_byte(&line, *at_byte);
		}
		mer_buf_byte(&line, '\'');
	}
	enum mer_status st = mer_buf_take(&line, &text, NULL, err);
	if (st == MER_OK)
		st = keep(reader->document, text, err);
	value->text = text;
	return st;
}

/* @FILE is relative to the document as well. */
static enum mer_status read_example_text(const struct reader *reader, const char *text,
                                         struct cmd_value *to, struct mer_error *err)
{
	to->text = text;
	if (text[0] != '@' || text[1] == '@' || text[1] == '/')
		return MER_OK;
	char *path = mer_text_new("@%s/%s", reader->folder, text + 1);
	enum mer_status st = keep(reader->document, path, err);
	to->text = path;
	return st;
}

static enum mer_status decode(const struct reader *reader, const struct yaml_node *node, char **out,
                              size_t *len, struct mer_error *err)
{
	size_t n = strlen(node->text), done = BASE64_DECODE_LENGTH(n);
	struct base64_decode_ctx ctx;
	MER_AUTO(mer_text_done) char *bytes = malloc(done + 1);
	if (bytes == NULL)
		return no_memory(err);
	base64_decode_init(&ctx);
	if (base64_decode_update(&ctx, &done, (uint8_t *)bytes, n, node->text) == 0 ||
	    base64_decode_final(&ctx) == 0)
		return fail_kind(reader, node, "base64", "base64 (RFC 4648, section 4)", err);
	bytes[done] = '\0';
	*out = bytes;
	*len = done;
	bytes = NULL;
	return MER_OK;
}

/* {base64: ...}, of an example. */
static enum mer_status read_base64(const struct reader *reader, struct document_model *model,
                                   const struct document_key *key, const struct yaml_node *node,
                                   struct mer_error *err)
{
	const struct yaml_node *member = node->kind == YAML_MAP ? node->first : NULL;
	if (member == NULL || member->next != NULL || strcmp(member->key->text, "base64") != 0)
		return fail_kind(reader, node, key->name, "a text, or {base64: ...}", err);
	enum mer_status st = check_text(reader, "base64", member, err);
	if (st != MER_OK)
		return st;
	if (key->arg == &spec_args[SPEC_TEST_INPUT])
		return decode(reader, member, &model->input.ptr, &model->input.len, err);
	return decode(reader, member, &model->output.ptr, &model->output.len, err);
}

static enum mer_status to_json(const struct reader *reader, const struct yaml_node *node,
                               json_t **out, struct mer_error *err);

static enum mer_status members_to_json(const struct reader *reader, const struct yaml_node *node,
                                       json_t *into, struct mer_error *err)
{
	for (const struct yaml_node *member = node->first; member != NULL; member = member->next) {
		json_t *value = NULL;
		enum mer_status st = to_json(reader, member, &value, err);
		if (st != MER_OK)
			return st;
		int failed = node->kind == YAML_MAP
		                 ? json_object_set_new_nocheck(into, member->key->text, value)
		                 : json_array_append_new(into, value);
		if (failed != 0)
			return no_memory(err);
	}
	return MER_OK;
}

/* What stands without quotes and is JSON is that, all else a text. */
static enum mer_status to_json(const struct reader *reader, const struct yaml_node *node,
                               json_t **out, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	enum mer_status st = MER_OK;
	if (node->kind != YAML_SCALAR) {
		json = node->kind == YAML_MAP ? json_object() : json_array();
		st = json != NULL ? members_to_json(reader, node, json, err) : no_memory(err);
	} else if (node->plain) {
		json = is_null(node) ? json_null() : json_loads(node->text, JSON_DECODE_ANY, NULL);
	}
	if (st == MER_OK && json == NULL)
		json = json_string(node->text);
	if (st == MER_OK && json == NULL)
		st = no_memory(err);
	if (st != MER_OK)
		return st;
	*out = json;
	json = NULL;
	return MER_OK;
}

static enum mer_status read_value(const struct reader *reader, const struct document_key *key,
                                  const struct yaml_node *node, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	key->to->given = true;
	switch (key->shape) {
	case SHAPE_SCALAR:
	case SHAPE_PATH: return read_scalar(reader, key, node, err);
	case SHAPE_BYTES:
		if (node->kind != YAML_SCALAR) /* read_base64() does */
			key->to->given = false;
		else if ((st = check_text(reader, key->name, node, err)) == MER_OK)
			st = read_example_text(reader, node->text, key->to, err);
		return st;
	case SHAPE_LIST:
		st = read_list(reader, key, node, err);
		key->to->given = key->to->count > 0; /* an empty one is the default */
		return st;
	case SHAPE_WORDS:
		st = read_list(reader, key, node, err);
		if (st == MER_OK && key->arg->type != ARG_ARGV)
			return quote_words(reader, key->to, err);
		if (st == MER_OK && (key->to->count == 0 || key->to->words[0][0] == '\0'))
			st = fail_kind(reader, node, key->name, "a program and its arguments", err);
		return st;
	case SHAPE_MAP: return read_map(reader, key, node, err);
	case SHAPE_JSON: break;
	}
	if (node->kind != YAML_MAP)
		st = fail_kind(reader, node, key->name, "a map", err);
	return st;
}

/* --- items -------------------------------------------------------------------------------- */

static enum mer_status fail_key(const struct reader *reader, const struct yaml_node *key,
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
	return at(reader, key, MER_EINPUT, err);
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
static enum mer_status read_missing(const struct reader *reader, const char *noun,
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
		return at(reader, node->key, MER_EINPUT, err);
	}
	if (key->arg == &spec_args[SPEC_WORKDIR])
		return resolve(reader, ".", &to->text, err);
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
static enum mer_status read_keys(const struct reader *reader, const char *noun,
                                 const struct yaml_node *node, const struct document_key keys[],
                                 size_t n, const char *const more[], struct mer_error *err)
{
	if (node->kind != YAML_MAP)
		return fail_kind(reader, node, noun, "a map of its keys", err);
	enum mer_status st = MER_OK;
	for (const struct yaml_node *member = node->first; member != NULL && st == MER_OK;
	     member = member->next) {
		size_t i = 0;
		while (i < n && strcmp(keys[i].name, member->key->text) != 0)
			i++;
		if (i < n)
			st = read_value(reader, &keys[i], member, err);
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
static enum mer_status begin_item(const struct reader *reader, const char *noun,
                                  const struct yaml_node *node, struct document_item *item,
                                  struct mer_error *err)
{
	*item = (struct document_item){ node->key->text, reader->file, node };
	enum mer_status st = mer_check_name(noun, node->key->text, err);
	return st == MER_OK ? st : at(reader, node->key, st, err);
}

/* How many members a map of names has. */
static enum mer_status count_items(const struct reader *reader, const char *what,
                                   const struct yaml_node *node, size_t *n, struct mer_error *err)
{
	*n = 0;
	if (node->kind != YAML_MAP)
		return fail_kind(reader, node, what, "a map of names", err);
	for (const struct yaml_node *member = node->first; member != NULL; member = member->next)
		++*n;
	return MER_OK;
}

/* Nothing is in the document twice. */
static enum mer_status check_seen(const struct reader *reader, const char *noun,
                                  const struct yaml_node *node, struct mer_error *err)
{
	char key[160];
	const struct yaml_node *name = node->key;
	(void)snprintf(key, sizeof key, "%s/%s", noun, name->text);
	const char *before = json_string_value(json_object_get(reader->document->seen, key));
	if (before != NULL) {
		(void)mer_fail(err, MER_EINPUT, "%s '%s' is twice: first in %s", noun, name->text, before);
		return at(reader, name, MER_EINPUT, err);
	}
	MER_AUTO(mer_text_done)
	char *place =
		mer_text_new("%s:%lld:%lld", reader->file, (long long)name->line, (long long)name->column);
	json_t *text = place != NULL ? json_stringn_nocheck(place, strlen(place)) : NULL;
	return json_object_set_new(reader->document->seen, key, text) == 0 ? MER_OK : no_memory(err);
}

/* --- deployments and weights -------------------------------------------------------------- */

static enum mer_status read_deployment(const struct reader *reader, const struct yaml_node *node,
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

static enum mer_status read_deployments(const struct reader *reader, struct document_model *model,
                                        const struct yaml_node *node, struct mer_error *err)
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

static enum mer_status check_sha256(const struct reader *reader, const struct document_weights *is,
                                    struct mer_error *err)
{
	const char *text = is->values[WEIGHTS_SHA256].text;
	if (text == NULL || (strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64))
		return MER_OK;
	return fail_kind(reader, member_of(is->item.node, "sha256"), "sha256", "64 digits of 0-9 a-f",
	                 err);
}

static enum mer_status read_weights(const struct reader *reader, const struct yaml_node *node,
                                    struct document_weights *out, struct mer_error *err)
{
	struct document_key keys[DOCUMENT_KEYS_MAX];
	size_t n = document_weights_keys(out->values, keys);
	enum mer_status st = begin_item(reader, "weights", node, &out->item, err);
	if (st == MER_OK)
		st = read_keys(reader, "version of weights", node, keys, n, no_more, err);
	if (st == MER_OK && out->values[WEIGHTS_PATH].text[0] == '\0')
		st = fail_kind(reader, member_of(node, "path"), "path", "not empty", err);
	if (st == MER_OK)
		st = check_sha256(reader, out, err);
	if (st == MER_OK && out->values[WEIGHTS_METRICS].given)
		st = to_json(reader, member_of(node, "metrics"), &out->metrics, err);
	return st;
}

static enum mer_status check_one_active(const struct reader *reader,
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
			return at(reader, node, MER_EINPUT, err);
		}
		first = node;
	}
	return MER_OK;
}

static enum mer_status read_all_weights(const struct reader *reader, struct document_model *model,
                                        const struct yaml_node *node, struct mer_error *err)
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

static enum mer_status read_examples(const struct reader *reader, struct document_model *model,
                                     const struct document_key keys[], size_t n,
                                     struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < n && st == MER_OK; i++) {
		const struct yaml_node *node = member_of(model->item.node, keys[i].name);
		if (keys[i].shape == SHAPE_BYTES && node != NULL && node->kind != YAML_SCALAR)
			st = read_base64(reader, model, &keys[i], node, err);
	}
	return st;
}

static enum mer_status read_model(const struct reader *reader, const struct yaml_node *node,
                                  struct document_model *out, struct mer_error *err)
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

static enum mer_status read_models(const struct reader *reader, const struct yaml_node *node,
                                   struct mer_error *err)
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

static enum mer_status read_server(const struct reader *reader, const struct yaml_node *node,
                                   struct document_server *out, struct mer_error *err)
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

static enum mer_status read_servers(const struct reader *reader, const struct yaml_node *node,
                                    struct mer_error *err)
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

static enum mer_status check_version(const struct reader *reader, const struct yaml_node *root,
                                     struct mer_error *err)
{
	const struct yaml_node *version = member_of(root, "version");
	if (version == NULL) {
		(void)mer_fail(err, MER_EINPUT, "the document does not say its version");
		mer_hint(err, "version: %d", DOCUMENT_VERSION);
		return at(reader, root, MER_EINPUT, err);
	}
	if (version->kind == YAML_SCALAR && version->plain && strcmp(version->text, "1") == 0)
		return MER_OK;
	return fail_kind(reader, version, "version", "1, as a number", err);
}

static enum mer_status read_root(const struct reader *reader, const struct yaml_node *root,
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
	const struct reader reader = { document, file, folder };
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
