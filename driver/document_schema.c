/* The JSON Schema of documents, out of the tables that they are read by. It accepts each document that
 * `apply` accepts; what a value means is for `apply` to say. */
#include "document.h"

#include <string.h>

#define NAME_PATTERN "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

/* Members, each on a line of its own. */
struct schema {
	struct mer_buf *out;
	size_t depth;
	bool first;
};

static void add_quoted(struct mer_buf *out, const char *text)
{
	mer_json_quote(out, text, strlen(text));
}

static void add_member(struct schema *schema, const char *name)
{
	if (!schema->first)
		mer_buf_byte(schema->out, ',');
	schema->first = false;
	mer_buf_byte(schema->out, '\n');
	for (size_t i = 0; i < schema->depth; i++)
		mer_buf_text(schema->out, "  ");
	add_quoted(schema->out, name);
	mer_buf_text(schema->out, ": ");
}

static void begin_object(struct schema *schema)
{
	mer_buf_byte(schema->out, '{');
	schema->depth++;
	schema->first = true;
}

static void end_object(struct schema *schema)
{
	schema->depth--;
	schema->first = false;
	mer_buf_byte(schema->out, '\n');
	for (size_t i = 0; i < schema->depth; i++)
		mer_buf_text(schema->out, "  ");
	mer_buf_byte(schema->out, '}');
}

static void add_ref(struct schema *schema, const char *name, const char *definition)
{
	add_member(schema, name);
	mer_buf_printf(schema->out, "{\"$ref\": \"#/$defs/%s\"}", definition);
}

/* --- values ------------------------------------------------------------------------------- */

static void add_choices(struct schema *schema, const char *const choices[])
{
	add_member(schema, "enum");
	for (size_t i = 0; choices[i] != NULL; i++) {
		mer_buf_text(schema->out, i == 0 ? "[" : ", ");
		add_quoted(schema->out, choices[i]);
	}
	mer_buf_byte(schema->out, ']');
}

static void add_range(struct schema *schema, const struct cmd_arg *arg)
{
	add_member(schema, "type");
	mer_buf_text(schema->out, "\"integer\"");
	if (arg->least > INT64_MIN) {
		add_member(schema, "minimum");
		mer_buf_printf(schema->out, "%lld", (long long)arg->least);
	}
	if (arg->most > 0) {
		add_member(schema, "maximum");
		mer_buf_printf(schema->out, "%lld", (long long)arg->most);
	}
}

static void add_same(struct schema *schema, const char *definition)
{
	add_member(schema, "$ref");
	mer_buf_printf(schema->out, "\"#/$defs/%s\"", definition);
}

static void add_scalar(struct schema *schema, const struct cmd_arg *arg)
{
	switch (arg->type) {
	case ARG_BOOL: add_same(schema, "switch"); break;
	case ARG_I64: add_range(schema, arg); break;
	case ARG_MS: add_same(schema, "duration"); break;
	case ARG_BYTES: add_same(schema, "size"); break;
	case ARG_CHOICE: add_choices(schema, arg->choices); break;
	case ARG_NAME:
	case ARG_TIME:
	case ARG_TEXT:
	case ARG_PAIR:
	case ARG_ARGV: add_same(schema, "text"); break;
	}
}

static void add_shape(struct schema *schema, const struct document_key *key)
{
	switch (key->shape) {
	case SHAPE_SCALAR: add_scalar(schema, key->arg); break;
	case SHAPE_PATH: add_same(schema, "text"); break;
	case SHAPE_BYTES: add_same(schema, "bytes"); break;
	case SHAPE_WORDS:
	case SHAPE_LIST: add_same(schema, "list"); break;
	case SHAPE_MAP: add_same(schema, "map"); break;
	case SHAPE_JSON:
		add_member(schema, "type");
		mer_buf_text(schema->out, "\"object\"");
		break;
	}
}

static void add_key(struct schema *schema, const struct document_key *key)
{
	const char *fallback = key->arg->fallback;
	add_member(schema, key->name);
	begin_object(schema);
	add_member(schema, "description");
	add_quoted(schema->out, key->arg->help);
	add_shape(schema, key);
	if (fallback != NULL) {
		add_member(schema, "default");
		if (key->arg->type == ARG_I64)
			mer_buf_text(schema->out, fallback);
		else
			add_quoted(schema->out, fallback);
	}
	end_object(schema);
}

/* --- items -------------------------------------------------------------------------------- */

/* An object of these keys and, in more, of maps of other items. */
static void add_item(struct schema *schema, const char *name, const struct document_key keys[],
                     size_t n, const char *const more[])
{
	bool any = false;
	add_member(schema, name);
	begin_object(schema);
	add_member(schema, "type");
	mer_buf_text(schema->out, "\"object\"");
	add_member(schema, "additionalProperties");
	mer_buf_text(schema->out, "false");
	for (size_t i = 0; i < n; i++) {
		if (!keys[i].required || keys[i].arg->unless != NULL)
			continue;
		if (!any)
			add_member(schema, "required");
		mer_buf_text(schema->out, any ? ", " : "[");
		add_quoted(schema->out, keys[i].name);
		any = true;
	}
	mer_buf_text(schema->out, any ? "]" : "");
	for (size_t i = 0; i < n; i++) {
		if (keys[i].arg->unless == NULL)
			continue;
		add_member(schema, "anyOf");
		mer_buf_printf(schema->out, "[{\"required\": [\"%s\"]}, {\"required\": [\"%s\"]}]",
		               keys[i].name, keys[i].arg->unless->name);
	}
	add_member(schema, "properties");
	begin_object(schema);
	for (size_t i = 0; i < n; i++)
		add_key(schema, &keys[i]);
	for (size_t i = 0; more != NULL && more[i] != NULL; i++)
		add_ref(schema, more[i], more[i]);
	end_object(schema);
	end_object(schema);
}

/* Items by their names. */
static void add_items(struct schema *schema, const char *name, const char *item)
{
	add_member(schema, name);
	begin_object(schema);
	add_member(schema, "type");
	mer_buf_text(schema->out, "\"object\"");
	add_member(schema, "propertyNames");
	mer_buf_text(schema->out, "{\"pattern\": ");
	add_quoted(schema->out, NAME_PATTERN);
	mer_buf_byte(schema->out, '}');
	add_ref(schema, "additionalProperties", item);
	end_object(schema);
}

static void add_raw(struct schema *schema, const char *name, const char *json)
{
	add_member(schema, name);
	mer_buf_text(schema->out, json);
}

static void add_definitions(struct schema *schema)
{
	static const char *const more[] = { "deployments", "weights", NULL };
	struct document_key keys[DOCUMENT_KEYS_MAX];
	add_raw(schema, "text", "{\"type\": [\"string\", \"number\", \"boolean\"]}");
	add_raw(schema, "switch", "{\"enum\": [true, false, \"on\", \"off\"]}");
	add_raw(schema, "duration",
	        "{\"anyOf\": [{\"type\": \"integer\", \"minimum\": 0}, {\"type\": \"string\", "
	        "\"pattern\": \"^[0-9]+(ms|s|m|h)?$\"}]}");
	add_raw(schema, "size",
	        "{\"anyOf\": [{\"type\": \"integer\", \"minimum\": 0}, {\"type\": \"string\", "
	        "\"pattern\": \"^[0-9]+([KMG]i)?B?$\"}]}");
	add_raw(schema, "bytes",
	        "{\"anyOf\": [{\"$ref\": \"#/$defs/text\"}, {\"type\": \"object\", \"required\": "
	        "[\"base64\"], \"additionalProperties\": false, \"properties\": {\"base64\": "
	        "{\"$ref\": \"#/$defs/text\"}}}]}");
	add_raw(schema, "list", "{\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/text\"}}");
	add_raw(schema, "map",
	        "{\"type\": \"object\", \"additionalProperties\": {\"$ref\": \"#/$defs/text\"}}");
	add_items(schema, "servers", "server");
	add_item(schema, "server", keys, document_server_keys(NULL, keys), NULL);
	add_items(schema, "models", "model");
	add_item(schema, "model", keys, document_model_keys(NULL, NULL, keys), more);
	add_items(schema, "deployments", "deployment");
	add_item(schema, "deployment", keys, document_deployment_keys(NULL, keys), NULL);
	add_items(schema, "weights", "version");
	add_item(schema, "version", keys, document_weights_keys(NULL, keys), NULL);
}

void document_schema(struct mer_buf *out)
{
	struct schema schema = { .out = out };
	begin_object(&schema);
	add_raw(&schema, "$schema", "\"https://json-schema.org/draft/2020-12/schema\"");
	add_raw(&schema, "title", "\"a document for mer apply\"");
	add_raw(&schema, "type", "\"object\"");
	add_raw(&schema, "additionalProperties", "false");
	add_raw(&schema, "required", "[\"version\"]");
	add_member(&schema, "properties");
	begin_object(&schema);
	add_member(&schema, "version");
	mer_buf_printf(out, "{\"const\": %d}", DOCUMENT_VERSION);
	add_ref(&schema, "servers", "servers");
	add_ref(&schema, "models", "models");
	end_object(&schema);
	add_member(&schema, "$defs");
	begin_object(&schema);
	add_definitions(&schema);
	end_object(&schema);
	end_object(&schema);
	mer_buf_byte(out, '\n');
}
