/* Documents: whatever the bytes are, they are read or refused with a place that is in them; and JSON that was
 * written is read as the same. */
#include "fuzz.h"

#include "document.h"

#include <mer/clean.h>
#include <stdio.h>
#include <string.h>

extern const struct yaml_ops mer_yaml;

/* The tables of options come with the finding of commands. */
const struct cmd *const commands[] = { NULL };
const size_t n_commands = 0;

/* FUZZ:LINE:COLUMN, the line one that there is. */
static void check_place(const struct mer_error *err, const uint8_t *bytes, size_t len)
{
	long long line = 0, column = 0, lines = 2; /* the end may count as a line of its own */
	for (size_t i = 0; i < len; i++)
		lines += bytes[i] == '\n' || bytes[i] == '\r' || bytes[i] == 0x85 || bytes[i] == 0xA8 ||
		         bytes[i] == 0xA9;
	int n = sscanf(err->message, "fuzz:%lld:%lld: ", &line, &column);
	MER_ASSERT(n == 2 && line >= 1 && line <= lines && column >= 1);
}

/* A tree as JSON: maps, lists and texts. */
static json_t *to_json(const struct yaml_node *node)
{
	if (node->kind == YAML_SCALAR)
		return json_stringn_nocheck(node->text, strlen(node->text));
	json_t *json = node->kind == YAML_MAP ? json_object() : json_array();
	for (const struct yaml_node *member = node->first; member != NULL; member = member->next) {
		if (node->kind == YAML_MAP)
			(void)json_object_set_new_nocheck(json, member->key->text, to_json(member));
		else
			(void)json_array_append_new(json, to_json(member));
	}
	return json;
}

/* libyaml wants a key within 1024 characters; ours are names. */
static bool has_long_key(const struct yaml_node *node)
{
	if (node->key != NULL && strlen(node->key->text) > 128)
		return true;
	for (const struct yaml_node *member = node->first; member != NULL; member = member->next) {
		if (has_long_key(member))
			return true;
	}
	return false;
}

static void check_again(const struct yaml_node *root)
{
	MER_AUTO(mer_json_done) json_t *json = to_json(root);
	struct yaml_node *again = NULL;
	struct mer_buf text;
	struct mer_error err;
	mer_buf_init(&text, SIZE_MAX);
	document_write(json, root->line % 2 == 0, &text);
	enum mer_status st = mer_yaml.read("again", text.ptr, text.len, &again, &err);
	MER_ASSERT(st == MER_OK);
	MER_AUTO(mer_json_done) json_t *same = to_json(again);
	MER_ASSERT(json_equal(json, same));
	mer_yaml.free(again);
	mer_buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct document document;
	struct yaml_node *root = NULL;
	struct mer_error err;
	enum mer_status st = mer_yaml.read("fuzz", (const char *)bytes, len, &root, &err);
	MER_ASSERT((st == MER_OK) == (root != NULL) && (st == MER_OK || st == MER_EINPUT));
	if (st != MER_OK)
		check_place(&err, bytes, len);
	else if (root->kind == YAML_MAP && !has_long_key(root)) /* as documents are */
		check_again(root);
	mer_yaml.free(root);
	MER_ASSERT(document_init(&document, &mer_yaml, &err) == MER_OK);
	st = document_read(&document, "fuzz", "/folder", (const char *)bytes, len, &err);
	MER_ASSERT(st == MER_OK || st == MER_EINPUT || st == MER_ELIMIT || st == MER_ENOTFOUND);
	if (st != MER_OK)
		check_place(&err, bytes, len);
	document_release(&document);
	return 0;
}
