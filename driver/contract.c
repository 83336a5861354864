/* All that programs may know of mer, as JSON: its tables, and schemas (JSON Schema, draft 2020-12) of
 * what commands print as JSON. */
#include "help.h"
#include "session.h"

#include <mer/json.h>
#include <string.h>

static void add_text(struct mer_buf *out, const char *before, const char *text)
{
	mer_buf_text(out, before);
	if (text != NULL)
		mer_json_quote(out, text, strlen(text));
	else
		mer_buf_text(out, "null");
}

static void add_bool(struct mer_buf *out, const char *before, bool yes)
{
	mer_buf_printf(out, "%s%s", before, yes ? "true" : "false");
}

/* A list that is ended by NULL, or null. */
static void add_list(struct mer_buf *out, const char *before, const char *const *texts)
{
	mer_buf_text(out, before);
	mer_buf_byte(out, '[');
	for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
		add_text(out, i == 0 ? "" : ",", texts[i]);
	mer_buf_byte(out, ']');
}

/* --- arguments ---------------------------------------------------------------------------- */

static const char *type_name(enum arg_type type)
{
	static const char *const names[] = {
		[ARG_TEXT] = "text",    [ARG_NAME] = "name",     [ARG_MS] = "duration",
		[ARG_BYTES] = "size",   [ARG_I64] = "integer",   [ARG_TIME] = "time",
		[ARG_BOOL] = "boolean", [ARG_CHOICE] = "choice", [ARG_PAIR] = "pair",
		[ARG_ARGV] = "words",
	};
	return names[type];
}

/* What there has to be by that name; NULL: anything. */
static const char *value_name(enum arg_value value)
{
	static const char *const names[] = {
		[VALUE_FREE] = NULL,
		[VALUE_MODEL] = "model",
		[VALUE_SERVER] = "server",
		[VALUE_DEPLOYMENT] = "deployment",
		[VALUE_WEIGHTS] = "weights",
		[VALUE_RUN] = "run",
		[VALUE_RATED] = "model or run",
		[VALUE_FILE] = "file",
		[VALUE_FOLDER] = "folder",
		[VALUE_AT_FILE] = "@file",
		[VALUE_TENSOR] = "name=@file",
		[VALUE_COMMAND] = "command",
		[VALUE_KEY] = "key=value",
		[VALUE_SETTING] = "setting",
		[VALUE_SET] = "value of the setting",
	};
	return (size_t)value < sizeof names / sizeof *names ? names[value] : NULL;
}

static void add_arg(struct mer_buf *out, const struct cmd_arg *arg)
{
	char letter[2] = { arg->letter, '\0' };
	const char *name = arg->name != NULL || !arg->option ? arg->name : letter;
	add_text(out, "\n  {\"name\":", name);
	add_text(out, ",\"letter\":", arg->letter != 0 ? letter : NULL);
	add_text(out, ",\"setting\":", arg->env);
	add_bool(out, ",\"option\":", arg->option);
	add_text(out, ",\"type\":", type_name(arg->type));
	add_text(out, ",\"value\":", arg->option ? cmd_value_name(arg) : NULL);
	add_text(out, ",\"is\":", value_name(arg->is));
	if (arg->choices != NULL)
		add_list(out, ",\"choices\":", arg->choices);
	add_bool(out, ",\"required\":", arg->required);
	add_bool(out, ",\"repeat\":", arg->repeat || arg->type == ARG_ARGV);
	add_bool(out, ",\"secret\":", arg->secret != SECRET_NONE);
	add_text(out, ",\"default\":", arg->fallback);
	add_text(out, ",\"help\":", arg->help);
	mer_buf_byte(out, '}');
}

static void add_args(struct mer_buf *out, const struct cmd_arg *args, size_t n)
{
	bool first = true;
	mer_buf_byte(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (args[i].hidden)
			continue;
		mer_buf_text(out, first ? "" : ",");
		add_arg(out, &args[i]);
		first = false;
	}
	mer_buf_byte(out, ']');
}

/* --- what is printed ---------------------------------------------------------------------- */

/* A column's type in a schema. */
static const char *schema_of(unsigned flags)
{
	static const struct {
		unsigned flag;
		const char *schema;
	} rows[] = {
		{ OUT_NUMBER, "\"type\":\"integer\"" },
		{ OUT_BOOL, "\"type\":\"boolean\"" },
		{ OUT_TIME, "\"type\":\"string\",\"format\":\"date-time\"" },
		{ OUT_UID, "\"type\":\"string\",\"format\":\"uuid\"" },
		{ OUT_DURATION, "\"type\":\"string\",\"pattern\":\"^[0-9]+(ms|s|m|h)?$\"" },
		{ OUT_SIZE, "\"type\":\"string\",\"pattern\":\"^[0-9]+([KMGT]iB)?$\"" },
		{ OUT_ARRAY, "\"type\":\"array\"" },
		{ OUT_OBJECT, "\"type\":\"object\"" },
		{ OUT_DECIMAL, "\"type\":\"number\"" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if ((flags & rows[i].flag) != 0)
			return rows[i].schema;
	}
	return "\"type\":\"string\"";
}

static void add_property(struct mer_buf *out, const struct out_column *column)
{
	add_text(out, "\n   ", column->name);
	mer_buf_printf(
		out, (column->flags & OUT_NULL) != 0 ? ":{\"anyOf\":[{%s},{\"type\":\"null\"}]}" : ":{%s}",
		schema_of(column->flags));
}

/* Of a row, or of the one object. What may be null may also be left out; others may come. */
static void add_object_schema(struct mer_buf *out, const struct cmd *cmd)
{
	bool first = true;
	mer_buf_text(out, "{\"type\":\"object\",\"properties\":{");
	for (size_t i = 0; i < cmd->n_columns; i++) {
		mer_buf_text(out, i == 0 ? "" : ",");
		add_property(out, &cmd->columns[i]);
	}
	mer_buf_text(out, "},\"required\":[");
	for (size_t i = 0; i < cmd->n_columns; i++) {
		if ((cmd->columns[i].flags & OUT_NULL) != 0)
			continue;
		add_text(out, first ? "" : ",", cmd->columns[i].name);
		first = false;
	}
	mer_buf_text(out, "]}");
}

static void add_fields(struct mer_buf *out, const struct cmd *cmd)
{
	mer_buf_text(out, ",\"fields\":[");
	for (size_t i = 0; i < cmd->n_columns; i++) {
		add_text(out, i == 0 ? "\n  {\"name\":" : ",\n  {\"name\":", cmd->columns[i].name);
		add_text(out, ",\"type\":", out_type_name(cmd->columns[i].flags));
		add_bool(out, ",\"null\":", (cmd->columns[i].flags & OUT_NULL) != 0);
		mer_buf_byte(out, '}');
	}
	mer_buf_byte(out, ']');
}

/* Its members, and the schema of what --json prints; of --jsonl each line is an item of it. */
static void add_printed(struct mer_buf *out, const struct cmd *cmd)
{
	static const char *const prints[] = {
		[CMD_PRINTS_OTHER] = NULL, [CMD_PRINTS_ROWS] = "rows", [CMD_PRINTS_OBJECT] = "object"
	};
	add_text(out, ",\"prints\":", prints[cmd->prints]);
	add_fields(out, cmd);
	mer_buf_text(out, ",\"schema\":");
	if (cmd->prints == CMD_PRINTS_OTHER) {
		mer_buf_text(out, "null");
		return;
	}
	if (cmd->or_rows) {
		mer_buf_text(out, "{\"anyOf\":[");
		add_object_schema(out, cmd);
		mer_buf_byte(out, ',');
	}
	if (cmd->prints == CMD_PRINTS_ROWS || cmd->or_rows)
		mer_buf_text(out, "{\"type\":\"array\",\"items\":");
	add_object_schema(out, cmd);
	if (cmd->prints == CMD_PRINTS_ROWS || cmd->or_rows)
		mer_buf_byte(out, '}');
	if (cmd->or_rows)
		mer_buf_text(out, "]}");
}

/* --- commands ----------------------------------------------------------------------------- */

/* The words of its name, each of them. */
static void add_words(struct mer_buf *out, const char *name)
{
	mer_buf_text(out, ",\"words\":[");
	for (const char *word = name; *word != '\0';) {
		size_t len = strcspn(word, " ");
		mer_buf_text(out, word == name ? "" : ",");
		mer_json_quote(out, word, len);
		word += len + (word[len] == ' ');
	}
	mer_buf_byte(out, ']');
}

static void add_common(struct mer_buf *out, const struct cmd *cmd)
{
	bool first = true;
	mer_buf_text(out, ",\"common\":[");
	for (size_t i = 0; i < COMMON_COUNT; i++) {
		if (!cmd_takes(cmd, i))
			continue;
		add_text(out, first ? "" : ",", cmd_common[i].name);
		first = false;
	}
	mer_buf_byte(out, ']');
}

static void add_command(struct mer_buf *out, const struct cmd *cmd)
{
	add_text(out, "\n {\"name\":", cmd->name);
	add_words(out, cmd->name);
	add_list(out, ",\"names\":", cmd->older);
	add_text(out, ",\"summary\":", cmd->summary);
	add_bool(out, ",\"changes\":", (cmd->needs & CMD_NEEDS_CHANGES) != 0);
	add_bool(out, ",\"prompt\":", (cmd->needs & CMD_NEEDS_PROMPT) != 0);
	add_list(out, ",\"examples\":", cmd->examples);
	mer_buf_text(out, ",\"args\":");
	add_args(out, cmd->args, cmd->n_args);
	add_common(out, cmd);
	add_printed(out, cmd);
	mer_buf_byte(out, '}');
}

void contract_print(struct mer_buf *out)
{
	add_text(out, "{\"version\":", MER_VERSION);
	mer_buf_text(out, ",\n\"settings\":");
	add_args(out, setting_rows, SET_COUNT);
	mer_buf_text(out, ",\n\"common\":"); /* options of commands, which name them */
	add_args(out, cmd_common, COMMON_COUNT);
	mer_buf_text(out, ",\n\"commands\":[");
	for (size_t i = 0; i < n_commands; i++) {
		mer_buf_text(out, i == 0 ? "" : ",");
		add_command(out, commands[i]);
	}
	mer_buf_text(out, "],\n\"exit_codes\":[");
	for (size_t i = 0; i < n_exit_rows; i++) {
		mer_buf_printf(out, "%s{\"code\":%d", i == 0 ? "\n  " : ",\n  ", exit_rows[i].code);
		add_text(out, ",\"name\":", exit_rows[i].name);
		add_text(out, ",\"means\":", exit_rows[i].means);
		mer_buf_byte(out, '}');
	}
	mer_buf_text(out, "],\n\"error_schema\":{\"type\":\"object\",\"properties\":{"
	                  "\"error\":{\"type\":\"string\"},\"code\":{\"type\":\"integer\"},"
	                  "\"hint\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}},"
	                  "\"required\":[\"error\",\"code\",\"hint\"]}}\n");
}
