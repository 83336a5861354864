/* Tables for a terminal. The cells are cut to fit here; libsmartcols aligns and escapes them. */
#include "output.h"

#include <langinfo.h>
#include <libsmartcols.h>
#include <locale.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

enum { LEAST_WIDTH = 8, GAP = 1 };

/* Cells as people read them, one after the other, each ended by a NUL. */
struct table {
	const struct out_column *columns;
	size_t n_columns, n_rows;
	struct mer_buf texts, places; /* places: where each cell begins, a size_t each */
};

struct table *table_new(const struct out_column columns[], size_t n)
{
	struct table *table = calloc(1, sizeof *table);
	if (table == NULL)
		return NULL;
	table->columns = columns;
	table->n_columns = n;
	mer_buf_init(&table->texts, PTRDIFF_MAX);
	mer_buf_init(&table->places, PTRDIFF_MAX);
	return table;
}

void table_free(struct table *table)
{
	if (table == NULL)
		return;
	mer_buf_release(&table->texts);
	mer_buf_release(&table->places);
	free(table);
}

static void add_text(struct mer_buf *out, const struct mer_cell *cell)
{
	switch (cell->type) {
	case MER_CELL_I64: mer_buf_printf(out, "%lld", (long long)cell->number); break;
	case MER_CELL_BOOL: mer_buf_text(out, cell->number != 0 ? "yes" : "no"); break;
	case MER_CELL_TEXT:
	case MER_CELL_JSON: mer_buf_add(out, cell->text.ptr, cell->text.len); break;
	case MER_CELL_NULL: break;
	}
}

/* Makes what was added one line. */
static void join_lines(struct mer_buf *texts, size_t from)
{
	for (size_t i = from; i < texts->len; i++) {
		if ((unsigned char)texts->ptr[i] < ' ' || texts->ptr[i] == 127)
			texts->ptr[i] = ' ';
	}
}

enum mer_status table_row(struct table *table, const struct mer_cell cells[], struct mer_error *err)
{
	for (size_t i = 0; i < table->n_columns; i++) {
		size_t at = table->texts.len;
		mer_buf_add(&table->places, &at, sizeof at);
		add_text(&table->texts, &cells[i]);
		if ((table->columns[i].flags & OUT_LINES) == 0)
			join_lines(&table->texts, at);
		mer_buf_byte(&table->texts, '\0');
	}
	table->n_rows++;
	enum mer_status st = mer_buf_check(&table->places, err);
	return st == MER_OK ? mer_buf_check(&table->texts, err) : st;
}

static const char *cell_at(const struct table *table, size_t row, size_t column)
{
	size_t at;
	memcpy(&at, table->places.ptr + (row * table->n_columns + column) * sizeof at, sizeof at);
	return table->texts.ptr + at;
}

/* In a list a time is short enough to be shown whole: month, day and time of day in UTC. The year,
 * the milliseconds and the rest are in every other format.
 * 2026-01-31T12:00:00.123Z -> 01-31 12:00:00 */
static void shorten_times(struct table *table)
{
	for (size_t c = 0; c < table->n_columns; c++) {
		if ((table->columns[c].flags & OUT_TIME) == 0)
			continue;
		for (size_t r = 0; r < table->n_rows; r++) {
			char *text = table->texts.ptr + (cell_at(table, r, c) - table->texts.ptr);
			if (strlen(text) != MER_TIME_SIZE - 1)
				continue;
			memmove(text, text + strlen("2026-"), strlen("01-31T12:00:00"));
			text[strlen("01-31")] = ' ';
			text[strlen("01-31 12:00:00")] = '\0';
		}
	}
}

/* --- fitting ------------------------------------------------------------------------------ */

static size_t terminal_width(void)
{
	struct winsize size;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	const char *columns = getenv("COLUMNS");
	int64_t width;
	if (columns != NULL && mer_parse_i64(columns, &width, NULL) == MER_OK && width > 0)
		return (size_t)width;
	return 80;
}

static bool is_shown(const struct out_column *column)
{
	return (column->flags & OUT_HIDDEN) == 0;
}

/* The widths that the columns get: as wide as they are, those that may be cut as narrow as the
 * terminal asks for, the widest first. */
static void choose_widths(const struct table *table, size_t widths[])
{
	size_t total = 0, n = table->n_columns;
	for (size_t c = 0; c < n; c++) {
		widths[c] = strlen(table->columns[c].name);
		for (size_t r = 0; r < table->n_rows; r++) {
			size_t width = mer_text_width(cell_at(table, r, c));
			widths[c] = width > widths[c] ? width : widths[c];
		}
		if (is_shown(&table->columns[c]))
			total += widths[c] + GAP;
	}
	size_t room = terminal_width();
	for (total -= GAP; total > room; total--) {
		size_t widest = n;
		for (size_t c = 0; c < n; c++) {
			bool may = is_shown(&table->columns[c]) && (table->columns[c].flags & OUT_SHORTEN) != 0;
			if (may && widths[c] > LEAST_WIDTH && (widest == n || widths[c] > widths[widest]))
				widest = c;
		}
		if (widest == n)
			return; /* the terminal breaks the lines */
		widths[widest]--;
	}
}

static const char *ellipsis(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? "…" : "~";
}

/* Text cut to width columns, the last one being the ellipsis; the caller frees it. */
static char *cut(const char *text, size_t width)
{
	char one[5];
	size_t at = 0, used = 0, len = strlen(text);
	while (at < len) {
		size_t n = 1;
		while (n < 4 && ((unsigned char)text[at + n] & 0xC0) == 0x80)
			n++;
		memcpy(one, text + at, n);
		one[n] = '\0';
		used += mer_text_width(one);
		if (used > width - 1)
			break;
		at += n;
	}
	return mer_text_new("%.*s%s", (int)at, text, ellipsis());
}

/* --- printing ----------------------------------------------------------------------------- */

static void table_done(struct libscols_table **table)
{
	scols_unref_table(*table);
}

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory for a table");
}

static struct libscols_table *new_scols(bool headings, bool colors)
{
	(void)setlocale(LC_CTYPE, "");
	struct libscols_table *table = scols_new_table();
	if (table == NULL)
		return NULL;
	(void)scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER);
	(void)scols_table_enable_minout(table, 1);
	(void)scols_table_enable_noheadings(table, !headings);
	(void)scols_table_enable_colors(table, colors);
	return table;
}

static enum mer_status print(struct libscols_table *table, struct mer_buf *out,
                             struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *text = NULL;
	if (scols_print_table_to_string(table, &text) != 0)
		return no_memory(err);
	if (text != NULL)
		mer_buf_text(out, text);
	if (out->len > 0 && out->ptr[out->len - 1] != '\n')
		mer_buf_byte(out, '\n');
	return MER_OK;
}

static enum mer_status add_column(struct libscols_table *table, const struct out_column *column,
                                  struct mer_error *err)
{
	int flags = (column->flags & OUT_RIGHT) != 0 ? SCOLS_FL_RIGHT : 0;
	struct libscols_column *to = scols_table_new_column(table, column->name, 0, flags);
	if (to == NULL || scols_cell_set_color(scols_column_get_header(to), "bold") != 0)
		return no_memory(err);
	return MER_OK;
}

/* Adds a row; what is wider than its column is cut. */
static enum mer_status add_row(struct libscols_table *scols, const struct table *table, size_t row,
                               const size_t widths[], struct mer_error *err)
{
	struct libscols_line *line = scols_table_new_line(scols, NULL);
	if (line == NULL)
		return no_memory(err);
	for (size_t c = 0, to = 0; c < table->n_columns; c++) {
		if (!is_shown(&table->columns[c]))
			continue;
		const char *text = cell_at(table, row, c);
		bool fits = mer_text_width(text) <= widths[c];
		MER_AUTO(mer_text_done) char *less = fits ? NULL : cut(text, widths[c]);
		if (!fits && less == NULL)
			return no_memory(err);
		if (scols_line_set_data(line, to++, fits ? text : less) != 0)
			return no_memory(err);
	}
	return MER_OK;
}

enum mer_status table_print(struct table *table, bool colors, struct mer_buf *out,
                            struct mer_error *err)
{
	size_t widths[OUT_COLUMNS_MAX];
	enum mer_status st = MER_OK;
	if (table->n_rows == 0)
		return MER_OK;
	MER_AUTO(table_done) struct libscols_table *scols = new_scols(true, colors);
	if (scols == NULL)
		return no_memory(err);
	shorten_times(table);
	choose_widths(table, widths);
	for (size_t c = 0; c < table->n_columns && st == MER_OK; c++) {
		if (is_shown(&table->columns[c]))
			st = add_column(scols, &table->columns[c], err);
	}
	for (size_t r = 0; r < table->n_rows && st == MER_OK; r++)
		st = add_row(scols, table, r, widths, err);
	return st == MER_OK ? print(scols, out, err) : st;
}

static enum mer_status member_columns(struct libscols_table *table, bool colors,
                                      struct mer_error *err)
{
	struct libscols_column *name = scols_table_new_column(table, "name", 0, 0);
	struct libscols_column *value = scols_table_new_column(table, "value", 0, SCOLS_FL_WRAP);
	if (name == NULL || value == NULL)
		return no_memory(err);
	if (colors)
		(void)scols_column_set_color(name, "bold");
	(void)scols_column_set_safechars(value, "\n");
	(void)scols_column_set_wrapfunc(value, scols_wrapnl_chunksize, scols_wrapnl_nextchunk, NULL);
	return MER_OK;
}

enum mer_status table_print_members(struct table *table, bool colors, struct mer_buf *out,
                                    struct mer_error *err)
{
	MER_AUTO(table_done) struct libscols_table *scols = new_scols(false, colors);
	if (scols == NULL)
		return no_memory(err);
	enum mer_status st = member_columns(scols, colors, err);
	for (size_t r = 0; r < table->n_rows && st == MER_OK; r++) {
		struct libscols_line *line = scols_table_new_line(scols, NULL);
		if (line == NULL || scols_line_set_data(line, 0, cell_at(table, r, 0)) != 0 ||
		    scols_line_set_data(line, 1, cell_at(table, r, 1)) != 0)
			st = no_memory(err);
	}
	return st == MER_OK ? print(scols, out, err) : st;
}
