/* Rows and objects on stdout, in the format that was chosen. */
#include "output.h"

#include "caret.h"
#include "session.h"
#include "table.h"

#include <mer/module.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_ROWS = 2000 }; /* of a long table are in memory at a time */

bool out_is_terminal(void)
{
	static int is = -1;
	if (is < 0)
		is = isatty(STDOUT_FILENO);
	return is != 0;
}

/* Batch never has. */
static bool has_colors(const struct session *s)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	return s->prompt && out_is_terminal() && !setting_on(&s->settings, SET_NO_COLOR) &&
	       (no_color == NULL || no_color[0] == '\0') && term != NULL && strcmp(term, "dumb") != 0;
}

const char *out_type_name(unsigned flags)
{
	static const struct {
		unsigned flag;
		const char *name;
	} types[] = {
		{ OUT_NUMBER, "number" }, { OUT_BOOL, "boolean" },      { OUT_TIME, "time" },
		{ OUT_UID, "uid" },       { OUT_DURATION, "duration" }, { OUT_SIZE, "size" },
		{ OUT_ARRAY, "array" },   { OUT_OBJECT, "object" },     { OUT_DECIMAL, "decimal" },
		{ OUT_ANY, "any" },
	};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if ((flags & types[i].flag) != 0)
			return types[i].name;
	}
	return "text";
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

/* --- what a terminal may be given --------------------------------------------------------- */

/* What rows are written to. What models and peers have said is in them, so on a terminal they are
 * looked through first: nothing there moves the cursor. */
static struct mer_buf *raw_buf(struct output *out)
{
	return out_is_terminal() ? &out->raw : &out->sink.buf;
}

/* What was written to it becomes visible. */
static void make_visible(struct output *out)
{
	struct caret caret = { 0 };
	if (out->raw.status != MER_OK)
		out->sink.buf.status = out->raw.status;
	if (out->raw.len == 0)
		return;
	caret_add(&caret, out->raw.ptr, out->raw.len, &out->sink.buf);
	mer_buf_clear(&out->raw);
}

/* --- tables ------------------------------------------------------------------------------- */

static const struct table_ops *tables; /* NULL: not loaded yet */

static enum mer_status open_table(struct output *out, const struct out_column columns[], size_t n,
                                  struct mer_error *err)
{
	const void *module = tables;
	enum mer_status st = module == NULL ? mer_module_load(TABLE_MODULE, &module, err) : MER_OK;
	if (st != MER_OK) {
		st = st == MER_ENOMEM ? st : mer_wrap(err, MER_EIO, "no tables");
		mer_hint(err, "--plain does without");
		return st;
	}
	tables = module;
	out->table = tables->create(columns, n);
	return out->table != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status print_table(struct session *s, struct mer_error *err)
{
	s->out.n_lines = 0;
	return tables->print(s->out.table, has_colors(s), &s->out.sink.buf, err);
}

static enum mer_status table_row(struct session *s, const struct mer_cell cells[],
                                 struct mer_error *err)
{
	enum mer_status st = tables->row(s->out.table, cells, err);
	if (st != MER_OK || ++s->out.n_lines < TABLE_ROWS)
		return st;
	st = print_table(s, err);
	return st == MER_OK ? pass_on(s, err) : st;
}

/* --- a field a line ----------------------------------------------------------------------- */

static void vertical_value(struct mer_buf *out, const struct mer_cell *cell, size_t width)
{
	switch (cell->type) {
	case MER_CELL_NULL: break;
	case MER_CELL_I64: mer_buf_printf(out, "%lld", (long long)cell->number); break;
	case MER_CELL_BOOL: mer_buf_text(out, cell->number != 0 ? "yes" : "no"); break;
	case MER_CELL_TEXT:
	case MER_CELL_JSON:
		for (size_t at = 0; at < cell->text.len;) {
			const char *from = cell->text.ptr + at;
			const char *end = memchr(from, '\n', cell->text.len - at);
			size_t n = end != NULL ? (size_t)(end - from) : cell->text.len - at;
			if (at > 0)
				mer_buf_printf(out, "\n%*s | ", (int)width, "");
			mer_buf_add(out, from, n);
			at += n + 1;
		}
		break;
	}
}

/* As psql's expanded display. A row is written as it comes, so the line above it is as long for all. */
static void vertical_row(struct output *out, const struct mer_cell cells[])
{
	struct mer_buf *to = raw_buf(out);
	size_t width = 0, begin = to->len;
	for (size_t i = 0; i < out->n_columns; i++)
		width = strlen(out->names[i]) > width ? strlen(out->names[i]) : width;
	mer_buf_printf(to, "-[ RECORD %zu ]", ++out->n_lines);
	while (to->status == MER_OK && to->len - begin < width + 1)
		mer_buf_byte(to, '-');
	mer_buf_byte(to, '\n');
	for (size_t i = 0; i < out->n_columns; i++) {
		mer_buf_printf(to, "%-*s | ", (int)width, out->names[i]);
		vertical_value(to, &cells[i], width);
		mer_buf_byte(to, '\n');
	}
}

/* --- rows --------------------------------------------------------------------------------- */

void out_begin(struct session *s, const struct out_column columns[], size_t n_columns)
{
	struct output *out = &s->out;
	MER_ASSERT(n_columns <= OUT_COLUMNS_MAX);
	out->columns = columns;
	out->n_columns = n_columns;
	out->begun = out->open = false;
	out->n_lines = 0;
}

void out_most(struct session *s, int64_t most)
{
	s->out.pick.most = most;
}

/* The columns become those that were asked for. */
static enum mer_status pick_columns(struct output *out, struct mer_error *err)
{
	struct pick *pick = &out->pick;
	enum mer_status st = pick_begin(pick, out->columns, out->n_columns, err);
	if (st != MER_OK)
		return st;
	for (size_t i = 0; i < pick->n_places; i++) {
		out->picked[i] = out->columns[pick->places[i]];
		out->picked[i].flags &= ~(unsigned)OUT_HIDDEN;
	}
	if (pick->places != NULL) {
		out->columns = out->picked;
		out->n_columns = pick->n_places;
	}
	for (size_t i = 0; i < out->n_columns; i++)
		out->names[i] = out->columns[i].name;
	return MER_OK;
}

static enum mer_status begin(struct output *out, struct mer_error *err)
{
	enum mer_status st = out->begun ? MER_OK : pick_columns(out, err);
	if (st == MER_OK)
		out->begun = true;
	return st;
}

/* Not before there is a row to print or the end, so that what fails leaves stdout alone. */
static enum mer_status open_rows(struct output *out, struct mer_error *err)
{
	if (out->open)
		return MER_OK;
	out->open = true;
	if (out->format == MER_FORMAT_TABLE)
		return open_table(out, out->columns, out->n_columns, err);
	if (out->format != MER_FORMAT_VERTICAL)
		mer_emit_begin(&out->emit, out->format, false, out->names, out->n_columns, raw_buf(out));
	return MER_OK;
}

static enum mer_status print_row(struct session *s, const struct mer_cell cells[],
                                 struct mer_error *err)
{
	struct output *out = &s->out;
	struct mer_cell some[OUT_COLUMNS_MAX];
	enum mer_status st = open_rows(out, err);
	if (st != MER_OK)
		return st;
	cells = pick_cells(&out->pick, cells, some);
	if (out->table != NULL)
		return table_row(s, cells, err);
	if (out->format == MER_FORMAT_VERTICAL)
		vertical_row(out, cells);
	else
		mer_emit_row(&out->emit, cells);
	make_visible(out);
	return pass_on(s, err);
}

enum mer_status out_row(struct session *s, const struct mer_cell cells[], struct mer_error *err)
{
	enum mer_status st = begin(&s->out, err);
	if (st != MER_OK)
		return st;
	if (pick_sorts(&s->out.pick))
		return pick_keep(&s->out.pick, cells, err);
	return print_row(s, cells, err);
}

static enum mer_status print_sorted(struct session *s, struct mer_error *err)
{
	struct pick *pick = &s->out.pick;
	enum mer_status st = MER_OK;
	pick_sort(pick);
	const struct mer_cell *cells;
	for (size_t i = 0; st == MER_OK && (cells = pick_row(pick, i)) != NULL; i++)
		st = print_row(s, cells, err);
	return st;
}

enum mer_status out_pause(struct session *s, struct mer_error *err)
{
	enum mer_status st = begin(&s->out, err);
	if (st == MER_OK)
		st = open_rows(&s->out, err);
	if (st == MER_OK && s->out.table != NULL)
		st = print_table(s, err);
	make_visible(&s->out);
	return st == MER_OK ? session_flush(s, err) : st;
}

enum mer_status out_end(struct session *s, struct mer_error *err)
{
	struct output *out = &s->out;
	enum mer_status st = begin(out, err);
	if (st == MER_OK && pick_sorts(&out->pick))
		st = print_sorted(s, err);
	if (st == MER_OK)
		st = open_rows(out, err);
	if (st != MER_OK)
		return st;
	if (out->table != NULL)
		st = print_table(s, err);
	else if (out->format != MER_FORMAT_VERTICAL)
		mer_emit_end(&out->emit);
	make_visible(out);
	out_drop(out);
	return st == MER_OK ? pass_on(s, err) : st;
}

void out_drop(struct output *out)
{
	if (out->table != NULL)
		tables->release(out->table);
	out->table = NULL;
	pick_drop(&out->pick);
	mer_buf_release(&out->raw);
}

/* --- objects ------------------------------------------------------------------------------ */

bool out_by_member(const struct session *s)
{
	return s->out.format == MER_FORMAT_TABLE || s->out.format == MER_FORMAT_PLAIN ||
	       s->out.format == MER_FORMAT_VERTICAL;
}

enum mer_status out_member(struct session *s, const char *name, struct mer_cell cell,
                           struct mer_error *err)
{
	static const struct out_column columns[] = { { "name", 0 }, { "value", OUT_LINES } };
	static const char *const names[] = { "name", "value" };
	const struct mer_cell cells[] = { mer_cell_text(name), cell };
	struct output *out = &s->out;
	if (out->format != MER_FORMAT_PLAIN) {
		enum mer_status st = out->table == NULL ? open_table(out, columns, 2, err) : MER_OK;
		return st == MER_OK ? tables->row(out->table, cells, err) : st;
	}
	mer_emit_begin(&out->emit, MER_FORMAT_PLAIN, false, names, 2, raw_buf(out));
	mer_emit_row(&out->emit, cells);
	mer_emit_end(&out->emit);
	make_visible(out);
	return MER_OK;
}

enum mer_status out_members_end(struct session *s, struct mer_error *err)
{
	struct output *out = &s->out;
	enum mer_status st = MER_OK;
	if (out->table != NULL)
		st = tables->print_members(out->table, has_colors(s), &out->sink.buf, err);
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
	mer_emit_begin(&out->emit, out->format, true, out->names, n, raw_buf(out));
	mer_emit_row(&out->emit, cells);
	mer_emit_end(&out->emit);
	make_visible(out);
	return pass_on(s, err);
}
