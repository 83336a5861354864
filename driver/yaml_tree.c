/* The module of documents: libyaml's events, made a tree. */
#include "yaml_tree.h"

#include <mer/buf.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>
#include <yaml.h>

/* --- nodes -------------------------------------------------------------------------------- */

/* As deep as YAML_DEPTH_MAX. */
static void free_node(struct yaml_node *node)
{
	while (node != NULL) {
		struct yaml_node *next = node->next;
		free_node(node->first);
		if (node->key != NULL)
			free(node->key->text);
		free(node->key);
		free(node->text);
		free(node);
		node = next;
	}
}

static void node_done(struct yaml_node **node)
{
	free_node(*node);
}

struct reading {
	const char *name;
	yaml_parser_t parser;
	yaml_event_t event;
	bool has_event;
	size_t nodes, depth;
};

static void reading_done(struct reading *reading)
{
	if (reading->has_event)
		yaml_event_delete(&reading->event);
	yaml_parser_delete(&reading->parser);
}

static enum mer_status fail_at(const struct reading *reading, yaml_mark_t mark,
                               struct mer_error *err, const char *why)
{
	return mer_fail(err, MER_EINPUT, "%s:%zu:%zu: %s", reading->name, mark.line + 1,
	                mark.column + 1, why);
}

/* --- events ------------------------------------------------------------------------------- */

/* Where a byte is that no YAML may have. */
static enum mer_status fail_byte(const struct reading *reading, const char *bytes, size_t len,
                                 struct mer_error *err)
{
	const yaml_parser_t *parser = &reading->parser;
	size_t offset = parser->problem_offset < len ? parser->problem_offset : len;
	yaml_mark_t mark = { 0 };
	for (size_t i = 0; i < offset; i++) {
		mark.column += ((unsigned char)bytes[i] & 0xC0) != 0x80;
		if (bytes[i] == '\n') {
			mark.line++;
			mark.column = 0;
		}
	}
	char why[160];
	(void)snprintf(why, sizeof why, "not YAML: %s", parser->problem);
	return fail_at(reading, mark, err, why);
}

static enum mer_status fail_parser(const struct reading *reading, const char *bytes, size_t len,
                                   struct mer_error *err)
{
	const yaml_parser_t *parser = &reading->parser;
	char why[256];
	if (parser->error == YAML_MEMORY_ERROR)
		return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", reading->name);
	if (parser->error == YAML_READER_ERROR)
		return fail_byte(reading, bytes, len, err);
	(void)snprintf(why, sizeof why, "not YAML: %s%s%s", parser->problem,
	               parser->context != NULL ? " " : "",
	               parser->context != NULL ? parser->context : "");
	return fail_at(reading, parser->problem_mark, err, why);
}

struct source {
	const char *bytes;
	size_t len;
};

/* The next event; it is the reading's until the next call. */
static enum mer_status next_event(struct reading *reading, struct source source,
                                  struct mer_error *err)
{
	if (reading->has_event)
		yaml_event_delete(&reading->event);
	reading->has_event = yaml_parser_parse(&reading->parser, &reading->event) != 0;
	return reading->has_event ? MER_OK : fail_parser(reading, source.bytes, source.len, err);
}

/* What a document of data has no use for. */
static enum mer_status check_event(const struct reading *reading, struct mer_error *err)
{
	const yaml_event_t *event = &reading->event;
	const yaml_char_t *anchor = NULL, *tag = NULL;
	if (event->type == YAML_ALIAS_EVENT)
		return fail_at(reading, event->start_mark, err, "an alias (*): write it out");
	if (event->type == YAML_SCALAR_EVENT) {
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
	} else if (event->type == YAML_SEQUENCE_START_EVENT) {
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
	} else if (event->type == YAML_MAPPING_START_EVENT) {
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
	}
	if (anchor != NULL)
		return fail_at(reading, event->start_mark, err, "an anchor (&): write it out");
	if (tag != NULL)
		return fail_at(reading, event->start_mark, err, "a tag (!): each key has its own type");
	return MER_OK;
}

/* A node of the event: a scalar as a whole, of the others what they begin with. */
static enum mer_status make_node(struct reading *reading, struct yaml_node **out,
                                 struct mer_error *err)
{
	const yaml_event_t *event = &reading->event;
	enum mer_status st = check_event(reading, err);
	if (st != MER_OK)
		return st;
	if (++reading->nodes > YAML_NODES_MAX)
		return fail_at(reading, event->start_mark, err, "the document has too many values");
	MER_AUTO(node_done) struct yaml_node *node = calloc(1, sizeof *node);
	if (node == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", reading->name);
	node->line = (int64_t)event->start_mark.line + 1;
	node->column = (int64_t)event->start_mark.column + 1;
	if (event->type == YAML_SCALAR_EVENT) {
		size_t len = event->data.scalar.length;
		if (memchr(event->data.scalar.value, '\0', len) != NULL)
			return fail_at(reading, event->start_mark, err, "a NUL character in a text");
		node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		node->text = malloc(len + 1);
		if (node->text == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", reading->name);
		memcpy(node->text, event->data.scalar.value, len);
		node->text[len] = '\0';
	} else {
		node->kind = event->type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_LIST;
	}
	*out = node;
	node = NULL;
	return MER_OK;
}

/* --- keys --------------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
	const struct yaml_node *left = *(struct yaml_node *const *)a;
	const struct yaml_node *right = *(struct yaml_node *const *)b;
	int order = strcmp(left->text, right->text);
	if (order == 0)
		order = (left->line > right->line) - (left->line < right->line);
	return order != 0 ? order : (left->column > right->column) - (left->column < right->column);
}

static void nodes_done(struct yaml_node ***nodes)
{
	free(*nodes);
}

static enum mer_status check_twice(const struct reading *reading, const struct yaml_node *map,
                                   struct mer_error *err)
{
	size_t n = 0;
	for (const struct yaml_node *member = map->first; member != NULL; member = member->next)
		n++;
	MER_AUTO(nodes_done) struct yaml_node **keys = calloc(n + 1, sizeof(struct yaml_node *));
	if (keys == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", reading->name);
	n = 0;
	for (const struct yaml_node *member = map->first; member != NULL; member = member->next)
		keys[n++] = member->key;
	qsort(keys, n, sizeof(struct yaml_node *), compare_keys);
	for (size_t i = 1; i < n; i++) {
		const struct yaml_node *first = keys[i - 1], *second = keys[i];
		if (strcmp(first->text, second->text) == 0)
			return mer_fail(err, MER_EINPUT,
			                "%s:%lld:%lld: '%.128s' is twice: first in %s:%lld:%lld", reading->name,
			                (long long)second->line, (long long)second->column, second->text,
			                reading->name, (long long)first->line, (long long)first->column);
	}
	return MER_OK;
}

static enum mer_status make_key(struct reading *reading, struct yaml_node **out,
                                struct mer_error *err)
{
	yaml_mark_t mark = reading->event.start_mark;
	if (reading->event.type != YAML_SCALAR_EVENT && reading->event.type != YAML_ALIAS_EVENT)
		return fail_at(reading, mark, err, "a key is one text");
	enum mer_status st = make_node(reading, out, err);
	if (st == MER_OK && (*out)->plain && strcmp((*out)->text, "<<") == 0)
		return fail_at(reading, mark, err, "a merge key (<<): write it out");
	return st;
}

/* --- the tree ----------------------------------------------------------------------------- */

static enum mer_status read_node(struct reading *reading, struct source source,
                                 struct yaml_node **out, struct mer_error *err);

/* A member; the event is where it begins. */
static enum mer_status read_member(struct reading *reading, struct source source, bool has_key,
                                   struct yaml_node **out, struct mer_error *err)
{
	MER_AUTO(node_done) struct yaml_node *key = NULL;
	enum mer_status st = has_key ? make_key(reading, &key, err) : MER_OK;
	if (st == MER_OK && has_key)
		st = next_event(reading, source, err);
	if (st == MER_OK)
		st = read_node(reading, source, out, err);
	if (st != MER_OK)
		return st;
	(*out)->key = key;
	key = NULL;
	return MER_OK;
}

static enum mer_status read_members(struct reading *reading, struct source source,
                                    struct yaml_node *parent, struct mer_error *err)
{
	bool map = parent->kind == YAML_MAP;
	struct yaml_node **to = &parent->first;
	for (;;) {
		enum mer_status st = next_event(reading, source, err);
		if (st != MER_OK)
			return st;
		if (reading->event.type == (map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT))
			return map ? check_twice(reading, parent, err) : MER_OK;
		st = read_member(reading, source, map, to, err);
		if (st != MER_OK)
			return st;
		to = &(*to)->next;
	}
}

/* The node that the event begins; the last event is then its end. */
static enum mer_status read_node(struct reading *reading, struct source source,
                                 struct yaml_node **out, struct mer_error *err)
{
	MER_AUTO(node_done) struct yaml_node *node = NULL;
	enum mer_status st = make_node(reading, &node, err);
	if (st == MER_OK && node->kind != YAML_SCALAR) {
		if (++reading->depth > YAML_DEPTH_MAX)
			return fail_at(reading, reading->event.start_mark, err, "the document is too deep");
		st = read_members(reading, source, node, err);
		reading->depth--;
	}
	if (st != MER_OK)
		return st;
	*out = node;
	node = NULL;
	return MER_OK;
}

static enum mer_status read_stream(struct reading *reading, struct source source,
                                   struct yaml_node **out, struct mer_error *err)
{
	enum mer_status st = next_event(reading, source, err); /* the stream's start */
	if (st == MER_OK)
		st = next_event(reading, source, err);
	if (st == MER_OK && reading->event.type == YAML_STREAM_END_EVENT)
		return fail_at(reading, reading->event.start_mark, err, "the document is empty");
	if (st == MER_OK)
		st = next_event(reading, source, err);
	if (st == MER_OK)
		st = read_node(reading, source, out, err);
	if (st == MER_OK)
		st = next_event(reading, source, err); /* the document's end */
	if (st == MER_OK)
		st = next_event(reading, source, err);
	if (st == MER_OK && reading->event.type != YAML_STREAM_END_EVENT)
		return fail_at(reading, reading->event.start_mark, err, "a second document: one a file");
	return st;
}

/* --- JSON --------------------------------------------------------------------------------- */

/* What JSON allows in a string and YAML does not, or takes for the end of a line, as \u escapes. How
 * many bytes of it, 0: none. */
static size_t odd_character(const unsigned char *at, size_t left, unsigned *code)
{
	if (at[0] == 0x7F) {
		*code = 0x7F;
		return 1;
	}
	if (left >= 2 && at[0] == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0) {
		*code = at[1];
		return 2;
	}
	if (left < 3)
		return 0;
	*code = (unsigned)(at[0] & 0x0F) << 12 | (unsigned)(at[1] & 0x3F) << 6 | (at[2] & 0x3Fu);
	bool odd = (at[0] == 0xE2 && at[1] == 0x80 && (at[2] == 0xA8 || at[2] == 0xA9)) ||
	           (at[0] == 0xEF && at[1] == 0xBB && at[2] == 0xBF) ||
	           (at[0] == 0xEF && at[1] == 0xBF && (at[2] == 0xBE || at[2] == 0xBF));
	return odd ? 3 : 0;
}

/* The number of \uXXXX; 0 where it is none, which is no surrogate either. */
static unsigned escape_code(const char *at, size_t left)
{
	char digits[5] = "";
	if (left < 6 || at[0] != '\\' || at[1] != 'u')
		return 0;
	memcpy(digits, at + 2, 4);
	return strspn(digits, "0123456789abcdefABCDEF") == 4 ? (unsigned)strtoul(digits, NULL, 16) : 0;
}

/* One character of a string, or escape. Gives how many bytes it took. */
static size_t fit_character(const char *at, size_t left, struct mer_buf *out)
{
	unsigned code, high = escape_code(at, left);
	unsigned low = left >= 12 ? escape_code(at + 6, left - 6) : 0;
	if (high >= 0xD800 && high < 0xDC00 && low >= 0xDC00 && low < 0xE000) {
		mer_buf_printf(out, "\\U%08X", 0x10000 + ((high - 0xD800) << 10 | (low - 0xDC00)));
		return 12;
	}
	size_t n = odd_character((const unsigned char *)at, left, &code);
	if (n > 0) {
		mer_buf_printf(out, "\\u%04X", code);
		return n;
	}
	n = at[0] == '\\' && left > 1 ? 2 : 1;
	mer_buf_add(out, at, n);
	return n;
}

/* JSON is YAML but for some characters in its strings: what begins as JSON is written so that libyaml
 * takes it too, as far as it is JSON. */
static void fit_json(const char *bytes, size_t len, struct mer_buf *out)
{
	static const char outside[] = "{}[]:,\" \t\r\n+-.0123456789truefalsnE";
	bool in_string = false;
	size_t at = 0;
	while (at < len) {
		if (in_string && bytes[at] != '"') {
			at += fit_character(bytes + at, len - at, out);
			continue;
		}
		if (bytes[at] == '\0' || strchr(outside, bytes[at]) == NULL)
			break;
		in_string ^= bytes[at] == '"';
		mer_buf_byte(out, bytes[at++]);
	}
	mer_buf_add(out, bytes + at, len - at);
}

/* --- the table ---------------------------------------------------------------------------- */

static enum mer_status read_source(const char *name, struct source source, struct yaml_node **out,
                                   struct mer_error *err)
{
	MER_AUTO(reading_done) struct reading reading = { .name = name };
	if (yaml_parser_initialize(&reading.parser) == 0)
		return mer_fail(err, MER_ENOMEM, "out of memory for '%s'", name);
	yaml_parser_set_encoding(&reading.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reading.parser, (const unsigned char *)source.bytes, source.len);
	MER_AUTO(node_done) struct yaml_node *root = NULL;
	enum mer_status st = read_stream(&reading, source, &root, err);
	if (st != MER_OK)
		return st;
	*out = root;
	root = NULL;
	return MER_OK;
}

static enum mer_status document_read(const char *name, const char *bytes, size_t len,
                                     struct yaml_node **out, struct mer_error *err)
{
	if (len >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark */
		bytes += 3;
		len -= 3;
	}
	size_t blank = 0;
	while (blank < len && memchr(" \t\r\n", bytes[blank], 4) != NULL)
		blank++;
	if (blank == len || bytes[blank] != '{')
		return read_source(name, (struct source){ bytes, len }, out, err);
	struct mer_buf fitted;
	mer_buf_init(&fitted, 6 * YAML_BYTES_MAX);
	fit_json(bytes, len, &fitted);
	enum mer_status st = mer_buf_check(&fitted, err);
	if (st == MER_OK)
		st = read_source(name, (struct source){ fitted.ptr, fitted.len }, out, err);
	mer_buf_release(&fitted);
	return st;
}

MER_API extern const struct yaml_ops mer_yaml;
const struct yaml_ops mer_yaml = {
	.version = MER_VERSION,
	.read = document_read,
	.free = free_node,
};
