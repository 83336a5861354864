/* Rows and objects on stdout, in the format that was chosen. */
#include "output.h"

#include "session.h"

#include <stdlib.h>
#include <string.h>

bool out_is_terminal(void)
{
	static int is = -1;
	if (is < 0)
		is = isatty(STDOUT_FILENO);
	return is != 0;
}

bool out_has_colors(const struct session *s)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	return s->prompt && out_is_terminal() && !setting_on(&s->settings, SET_NO_COLOR) &&
	       (no_color == NULL || no_color[0] == '\0') && term != NULL && strcmp(term, "dumb") != 0;
}

void out_text(struct session *s, const char *text)
{
	mer_buf_text(&s->out.sink.buf, text);
	sink_added(&s->out.sink);
}

/* Between rows: what is much goes out, and whoever makes them waits for the reader. */
static enum mer_status pass_on(struct session *s, struct mer_error *err)
{
	struct sink *sink = &s->out.sink;
	sink_added(sink);
	if (sink_full(sink) || sink->gone || sink->error != 0)
		return session_flush(s, err);
	return MER_OK;
}

void out_begin(struct session *s, const struct out_column columns[], size_t n_columns)
{
	struct output *out = &s->out;
	MER_ASSERT(n_columns <= OUT_COLUMNS_MAX);
	out->columns = columns;
	out->n_columns = n_columns;
	out->begun = false;
	for (size_t i = 0; i < n_columns; i++)
		out->names[i] = columns[i].name;
}

/* Not before there is a row or the end, so that what fails at once leaves stdout alone. */
static enum mer_status begin(struct output *out, struct mer_error *err)
{
	if (out->begun)
		return MER_OK;
	out->begun = true;
	if (out->format != MER_FORMAT_TABLE) {
		mer_emit_begin(&out->emit, out->format, false, out->names, out->n_columns, &out->sink.buf);
		return MER_OK;
	}
	out->table = table_new(out->columns, out->n_columns);
	return out->table != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

enum mer_status out_row(struct session *s, const struct mer_cell cells[], struct mer_error *err)
{
	enum mer_status st = begin(&s->out, err);
	if (st != MER_OK)
		return st;
	if (s->out.table != NULL)
		return table_row(s->out.table, cells, err);
	mer_emit_row(&s->out.emit, cells);
	return pass_on(s, err);
}

enum mer_status out_end(struct session *s, struct mer_error *err)
{
	struct output *out = &s->out;
	enum mer_status st = begin(out, err);
	if (st != MER_OK)
		return st;
	if (out->table == NULL) {
		mer_emit_end(&out->emit);
		return pass_on(s, err);
	}
	st = table_print(out->table, out_has_colors(s), &out->sink.buf, err);
	out_drop(out);
	return st == MER_OK ? pass_on(s, err) : st;
}

void out_drop(struct output *out)
{
	table_free(out->table);
	out->table = NULL;
}

/* --- objects ------------------------------------------------------------------------------ */

bool out_by_member(const struct session *s)
{
	return s->out.format == MER_FORMAT_TABLE || s->out.format == MER_FORMAT_PLAIN;
}

enum mer_status out_member(struct session *s, const char *name, struct mer_cell cell,
                           struct mer_error *err)
{
	static const struct out_column columns[] = { { "name", 0 }, { "value", OUT_LINES } };
	static const char *const names[] = { "name", "value" };
	const struct mer_cell cells[] = { mer_cell_text(name), cell };
	struct output *out = &s->out;
	if (out->format == MER_FORMAT_TABLE) {
		if (out->table == NULL)
			out->table = table_new(columns, 2);
		return out->table != NULL ? table_row(out->table, cells, err)
		                          : mer_fail(err, MER_ENOMEM, "out of memory");
	}
	mer_emit_begin(&out->emit, MER_FORMAT_PLAIN, false, names, 2, &out->sink.buf);
	mer_emit_row(&out->emit, cells);
	mer_emit_end(&out->emit);
	return MER_OK;
}

enum mer_status out_members_end(struct session *s, struct mer_error *err)
{
	struct output *out = &s->out;
	enum mer_status st = MER_OK;
	if (out->table != NULL)
		st = table_print_members(out->table, out_has_colors(s), &out->sink.buf, err);
	out_drop(out);
	return st == MER_OK ? pass_on(s, err) : st;
}

enum mer_status out_object(struct session *s, const struct out_column columns[],
                           const struct mer_cell cells[], size_t n, struct mer_error *err)
{
	struct output *out = &s->out;
	enum mer_status st = MER_OK;
	MER_ASSERT(n <= OUT_COLUMNS_MAX);
	if (out_by_member(s)) {
		for (size_t i = 0; i < n && st == MER_OK; i++)
			st = out_member(s, columns[i].name, cells[i], err);
		return st == MER_OK ? out_members_end(s, err) : st;
	}
	for (size_t i = 0; i < n; i++)
		out->names[i] = columns[i].name;
	mer_emit_begin(&out->emit, out->format, true, out->names, n, &out->sink.buf);
	mer_emit_row(&out->emit, cells);
	mer_emit_end(&out->emit);
	return pass_on(s, err);
}
