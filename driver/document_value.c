/* What stands behind a key; document_value.h. */
#include "document_value.h"

#include <mer/clean.h>
#include <mer/limits.h>
#include <mer/text.h>
#include <nettle/base64.h>
#include <string.h>

/* --- memory and messages ------------------------------------------------------------------ */

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

enum mer_status document_at(const struct document_reader *reader, const struct yaml_node *node,
                            enum mer_status st, struct mer_error *err)
{
	return mer_wrap(err, st, "%s:%lld:%lld", reader->file, (long long)node->line,
	                (long long)node->column);
}

enum mer_status document_fail_kind(const struct document_reader *reader,
                                   const struct yaml_node *node, const char *what,
                                   const char *wanted, struct mer_error *err)
{
	(void)mer_fail(err, MER_EINPUT, "%s is to be %s", what, wanted);
	return document_at(reader, node, MER_EINPUT, err);
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
static enum mer_status check_text(const struct document_reader *reader, const char *what,
                                  const struct yaml_node *node, struct mer_error *err)
{
	if (node->kind != YAML_SCALAR)
		return document_fail_kind(reader, node, what, "one text", err);
	if (!is_null(node))
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "%s has no value", what);
	mer_hint(err, "leave the key out for its default, or put an empty text into quotes");
	return document_at(reader, node, MER_EINPUT, err);
}

/* Numbers and switches are not texts. */
static enum mer_status check_plain(const struct document_reader *reader,
                                   const struct document_key *key, const struct yaml_node *node,
                                   struct mer_error *err)
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
	return good ? MER_OK : document_at(reader, node, MER_EINPUT, err);
}

enum mer_status document_resolve(const struct document_reader *reader, const char *path,
                                 const char **out, struct mer_error *err)
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
static enum mer_status read_path(const struct document_reader *reader,
                                 const struct document_key *key, const char *text,
                                 struct mer_error *err)
{
	if (text[0] != '\0' || key->arg == &spec_args[SPEC_WORKDIR])
		return document_resolve(reader, text, &key->to->text, err);
	key->to->text = text;
	return MER_OK;
}

static enum mer_status read_scalar(const struct document_reader *reader,
                                   const struct document_key *key, const struct yaml_node *node,
                                   struct mer_error *err)
{
	enum mer_status st = check_text(reader, key->name, node, err);
	if (st == MER_OK)
		st = check_plain(reader, key, node, err);
	if (st == MER_OK && key->shape == SHAPE_PATH)
		return read_path(reader, key, node->text, err);
	if (st != MER_OK)
		return st;
	st = cmd_value_parse(key->arg, key->name, node->text, key->to, err);
	return st == MER_OK ? st : document_at(reader, node, st, err);
}

/* Room for the words of a list or map, ended by a NULL. */
static enum mer_status make_words(const struct document_reader *reader,
                                  const struct yaml_node *node, const char ***out, size_t *n,
                                  struct mer_error *err)
{
	*n = 0;
	for (const struct yaml_node *member = node->first; member != NULL; member = member->next)
		++*n;
	const char **words = calloc(*n + 1, sizeof *words);
	*out = words;
	return keep(reader->document, words, err);
}

static enum mer_status read_list(const struct document_reader *reader,
                                 const struct document_key *key, const struct yaml_node *node,
                                 struct mer_error *err)
{
	const char **words;
	size_t at_word = 0;
	if (node->kind != YAML_LIST)
		return document_fail_kind(reader, node, key->name, "a list of texts: [a, b]", err);
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
static enum mer_status check_pair(const struct document_reader *reader,
                                  const struct document_key *key, const char *pair,
                                  const struct yaml_node *member, struct mer_error *err)
{
	if (key->arg != &spec_args[SPEC_LIMIT])
		return MER_OK;
	MER_AUTO(mer_json_done) json_t *scratch = json_object();
	if (scratch == NULL)
		return no_memory(err);
	enum mer_status st = mer_limits_set(scratch, pair, err);
	return st == MER_OK ? st : document_at(reader, member->key, st, err);
}

static enum mer_status read_pair(const struct document_reader *reader,
                                 const struct document_key *key, const struct yaml_node *member,
                                 const char **out, struct mer_error *err)
{
	const char *name = member->key->text;
	if (name[0] == '\0' || strchr(name, '=') != NULL)
		return document_fail_kind(reader, member->key, "a name", "not empty and without '='", err);
	enum mer_status st = check_text(reader, name, member, err);
	if (st != MER_OK)
		return st;
	char *pair = mer_text_new("%s=%s", name, member->text);
	st = keep(reader->document, pair, err);
	*out = pair;
	return st == MER_OK ? check_pair(reader, key, pair, member, err) : st;
}

static enum mer_status read_map(const struct document_reader *reader,
                                const struct document_key *key, const struct yaml_node *node,
                                struct mer_error *err)
{
	const char **words;
	size_t at_word = 0;
	if (node->kind != YAML_MAP)
		return document_fail_kind(reader, node, key->name, "a map of names and texts: {a: b}", err);
	enum mer_status st = make_words(reader, node, &words, &key->to->count, err);
	if (st == MER_OK)
		key->to->words = words;
	for (const struct yaml_node *member = node->first; member != NULL && st == MER_OK;
	     member = member->next)
		st = read_pair(reader, key, member, &words[at_word++], err);
	return st;
}

/* The words as a line that is split into them again. */
static enum mer_status quote_words(const struct document_reader *reader, struct cmd_value *value,
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
static enum mer_status read_example_text(const struct document_reader *reader, const char *text,
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

static enum mer_status decode(const struct document_reader *reader, const struct yaml_node *node,
                              char **out, size_t *len, struct mer_error *err)
{
	size_t n = strlen(node->text), done = BASE64_DECODE_LENGTH(n);
	struct base64_decode_ctx ctx;
	MER_AUTO(mer_text_done) char *bytes = malloc(done + 1);
	if (bytes == NULL)
		return no_memory(err);
	base64_decode_init(&ctx);
	if (base64_decode_update(&ctx, &done, (uint8_t *)bytes, n, node->text) == 0 ||
	    base64_decode_final(&ctx) == 0)
		return document_fail_kind(reader, node, "base64", "base64 (RFC 4648, section 4)", err);
	bytes[done] = '\0';
	*out = bytes;
	*len = done;
	bytes = NULL;
	return MER_OK;
}

enum mer_status document_read_base64(const struct document_reader *reader,
                                     struct document_model *model, const struct document_key *key,
                                     const struct yaml_node *node, struct mer_error *err)
{
	const struct yaml_node *member = node->kind == YAML_MAP ? node->first : NULL;
	if (member == NULL || member->next != NULL || strcmp(member->key->text, "base64") != 0)
		return document_fail_kind(reader, node, key->name, "a text, or {base64: ...}", err);
	enum mer_status st = check_text(reader, "base64", member, err);
	if (st != MER_OK)
		return st;
	if (key->arg == &spec_args[SPEC_TEST_INPUT])
		return decode(reader, member, &model->input.ptr, &model->input.len, err);
	return decode(reader, member, &model->output.ptr, &model->output.len, err);
}

static enum mer_status members_to_json(const struct document_reader *reader,
                                       const struct yaml_node *node, json_t *into,
                                       struct mer_error *err)
{
	for (const struct yaml_node *member = node->first; member != NULL; member = member->next) {
		json_t *value = NULL;
		enum mer_status st = document_read_json(reader, member, &value, err);
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

enum mer_status document_read_json(const struct document_reader *reader,
                                   const struct yaml_node *node, json_t **out,
                                   struct mer_error *err)
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

enum mer_status document_read_value(const struct document_reader *reader,
                                    const struct document_key *key, const struct yaml_node *node,
                                    struct mer_error *err)
{
	enum mer_status st = MER_OK;
	key->to->given = true;
	switch (key->shape) {
	case SHAPE_SCALAR:
	case SHAPE_PATH: return read_scalar(reader, key, node, err);
	case SHAPE_BYTES:
		if (node->kind != YAML_SCALAR) /* document_read_base64() does */
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
			st = document_fail_kind(reader, node, key->name, "a program and its arguments", err);
		return st;
	case SHAPE_MAP: return read_map(reader, key, node, err);
	case SHAPE_JSON: break;
	}
	if (node->kind != YAML_MAP)
		st = document_fail_kind(reader, node, key->name, "a map", err);
	return st;
}
