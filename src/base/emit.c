/* Rows as JSON, JSON Lines, CSV and plain text. */
#include "base.h"

#include <assert.h>
#include <mer/emit.h>
#include <mer/json.h>
#include <string.h>

static const char *const format_names[] = {
	[MER_FORMAT_UNSET] = "",
	[MER_FORMAT_TABLE] = "table",
	[MER_FORMAT_JSON] = "json",
	[MER_FORMAT_JSONL] = "jsonl",
	[MER_FORMAT_CSV] = "csv",
	[MER_FORMAT_PLAIN] = "plain",
	[MER_FORMAT_VERTICAL] = "vertical",
};
static_assert(sizeof format_names / sizeof *format_names == MER_FORMAT_COUNT,
              "a name for each format");

enum mer_format mer_format_by_name(const char *name)
{
	for (size_t i = MER_FORMAT_TABLE; i < MER_FORMAT_COUNT; i++) {
		if (strcmp(format_names[i], name) == 0)
			return (enum mer_format)i;
	}
	return MER_FORMAT_UNSET;
}

static struct mer_cell cell_of(enum mer_cell_type type, const char *text)
{
	if (text == NULL)
		return (struct mer_cell){ .type = MER_CELL_NULL };
	return (struct mer_cell){ .type = type, .text = { .ptr = text, .len = strlen(text) } };
}

struct mer_cell mer_cell_text(const char *text)
{
	return cell_of(MER_CELL_TEXT, text);
}

struct mer_cell mer_cell_json(const char *text)
{
	return cell_of(MER_CELL_JSON, text != NULL && text[0] != '\0' ? text : NULL);
}

struct mer_cell mer_cell_word(const char *text)
{
	return cell_of(MER_CELL_TEXT, text != NULL && text[0] != '\0' ? text : NULL);
}

static void add_number(struct mer_buf *out, int64_t number)
{
	char digits[20], *at = digits + sizeof digits; /* "-9223372036854775808" */
	uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
	do
		*--at = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	if (number < 0)
		*--at = '-';
	base_add(out, at, (size_t)(digits + sizeof digits - at));
}

static void add_bool(struct mer_buf *out, bool yes)
{
	base_add(out, yes ? "true" : "false", yes ? 4 : 5);
}

/* JSON as it stands, but on one line: line ends within it are outside of its strings. */
static void add_json(struct mer_buf *out, struct mer_str text)
{
	for (size_t at = 0; at < text.len;) {
		size_t n = 0;
		while (at + n < text.len && text.ptr[at + n] != '\n' && text.ptr[at + n] != '\r')
			n++;
		base_add(out, text.ptr + at, n);
		at += n;
		if (at++ < text.len)
			base_byte(out, ' ');
	}
}

static void add_json_cell(struct mer_buf *out, const struct mer_cell *cell)
{
	switch (cell->type) {
	case MER_CELL_NULL: base_add(out, "null", 4); break;
	case MER_CELL_TEXT: mer_json_quote(out, cell->text.ptr, cell->text.len); break;
	case MER_CELL_I64: add_number(out, cell->number); break;
	case MER_CELL_BOOL: add_bool(out, cell->number != 0); break;
	case MER_CELL_JSON:
		if (cell->text.len > 0)
			add_json(out, cell->text);
		else
			base_add(out, "null", 4);
		break;
	}
}

static bool is_plain(const char *name)
{
	for (; *name != '\0'; name++) {
		if ((unsigned char)*name < ' ' || (unsigned char)*name >= 0x7F || *name == '"' ||
		    *name == '\\')
			return false;
	}
	return true;
}

static void add_object(const struct mer_emit *emit, const struct mer_cell cells[])
{
	struct mer_buf *out = emit->out;
	base_byte(out, '{');
	for (size_t i = 0; i < emit->n_columns; i++) {
		const char *name = emit->columns[i];
		if (i > 0)
			base_byte(out, ',');
		if (emit->plain_names) {
			base_byte(out, '"');
			base_add(out, name, strlen(name));
			base_byte(out, '"');
		} else {
			mer_json_quote(out, name, strlen(name));
		}
		base_byte(out, ':');
		add_json_cell(out, &cells[i]);
	}
	base_byte(emit->out, '}');
}

static bool needs_quotes(struct mer_str text)
{
	for (size_t i = 0; i < text.len; i++) {
		char byte = text.ptr[i];
		if (byte == ',' || byte == '"' || byte == '\r' || byte == '\n')
			return true;
	}
	return false;
}

/* A CSV field: in quotes, each one within doubled, only where it needs them. */
static void add_field(struct mer_buf *out, struct mer_str text)
{
	if (!needs_quotes(text)) {
		base_add(out, text.ptr, text.len);
		return;
	}
	base_byte(out, '"');
	for (size_t at = 0; at < text.len;) {
		const char *quote = memchr(text.ptr + at, '"', text.len - at);
		size_t n = quote == NULL ? text.len - at : (size_t)(quote - text.ptr) - at + 1;
		base_add(out, text.ptr + at, n);
		if (quote != NULL)
			base_byte(out, '"');
		at += n;
	}
	base_byte(out, '"');
}

/* What is plain on one line between tabs. */
static void add_escaped(struct mer_buf *out, struct mer_str text)
{
	if (text.len == 0)
		return;
	size_t done = 0;
	for (size_t at = 0; at < text.len; at++) {
		char letter;
		switch (text.ptr[at]) {
		case '\t': letter = 't'; break;
		case '\n': letter = 'n'; break;
		case '\r': letter = 'r'; break;
		case '\\': letter = '\\'; break;
		default: continue;
		}
		base_add(out, text.ptr + done, at - done);
		base_add(out, (char[]){ '\\', letter }, 2);
		done = at + 1;
	}
	base_add(out, text.ptr + done, text.len - done);
}

static void add_flat_cell(const struct mer_emit *emit, const struct mer_cell *cell)
{
	switch (cell->type) {
	case MER_CELL_NULL: break;
	case MER_CELL_I64: add_number(emit->out, cell->number); break;
	case MER_CELL_BOOL: add_bool(emit->out, cell->number != 0); break;
	case MER_CELL_TEXT:
	case MER_CELL_JSON:
		if (emit->format == MER_FORMAT_CSV)
			add_field(emit->out, cell->text);
		else
			add_escaped(emit->out, cell->text);
		break;
	}
}

/* A line of CSV or plain text. */
static void add_line(const struct mer_emit *emit, const struct mer_cell cells[])
{
	bool csv = emit->format == MER_FORMAT_CSV;
	size_t begin = emit->out->len;
	for (size_t i = 0; i < emit->n_columns; i++) {
		if (i > 0)
			base_byte(emit->out, csv ? ',' : '\t');
		add_flat_cell(emit, &cells[i]);
	}
	if (csv && emit->out->len == begin)
		base_add(emit->out, "\"\"", 2); /* an empty line would be no row */
	if (csv)
		base_byte(emit->out, '\r');
	base_byte(emit->out, '\n');
}

void mer_emit_begin(struct mer_emit *emit, enum mer_format format, bool single,
                    const char *const columns[], size_t n_columns, struct mer_buf *out)
{
	MER_ASSERT(format > MER_FORMAT_TABLE && format < MER_FORMAT_VERTICAL);
	*emit = (struct mer_emit){ .format = format, .single = single, .out = out };
	emit->columns = columns;
	emit->n_columns = n_columns;
	emit->plain_names = true;
	for (size_t i = 0; i < n_columns; i++)
		emit->plain_names = emit->plain_names && is_plain(columns[i]);
	if (format == MER_FORMAT_JSON && !single)
		base_byte(out, '[');
	if (format != MER_FORMAT_CSV)
		return;
	for (size_t i = 0; i < n_columns; i++) {
		if (i > 0)
			base_byte(out, ',');
		add_field(out, (struct mer_str){ .ptr = columns[i], .len = strlen(columns[i]) });
	}
	base_add(out, "\r\n", 2);
}

void mer_emit_row(struct mer_emit *emit, const struct mer_cell cells[])
{
	bool list = emit->format == MER_FORMAT_JSON && !emit->single;
	MER_ASSERT(!(emit->format == MER_FORMAT_JSON && emit->single && emit->rows > 0));
	if (emit->format == MER_FORMAT_CSV || emit->format == MER_FORMAT_PLAIN) {
		add_line(emit, cells);
	} else {
		if (list && emit->rows > 0)
			base_add(emit->out, ",\n", 2);
		add_object(emit, cells);
		if (!list)
			base_byte(emit->out, '\n');
	}
	emit->rows++;
}

void mer_emit_end(struct mer_emit *emit)
{
	if (emit->format != MER_FORMAT_JSON)
		return;
	if (!emit->single)
		base_add(emit->out, "]\n", 2);
	else if (emit->rows == 0)
		base_add(emit->out, "null\n", 5);
}
