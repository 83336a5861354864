/* Tables for a terminal. The cells are made fit to be shown and cut to fit here; libsmartcols aligns
 * them. */
#include "table.h"

#include "caret.h"

#include <langinfo.h>
#include <libsmartcols.h>
#include <locale.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

enum { LEAST_WIDTH = 8, GAP = 1 };

/* The texts are cells as people read them, one after the other, each ended by a NUL; only of columns
 * that are shown. */
struct table {
	const struct out_column *columns[OUT_COLUMNS_MAX]; /* those that are shown */
	size_t from[OUT_COLUMNS_MAX];                      /* their places in a row that is given */
	size_t n_columns, n_rows;
	struct mer_buf texts, places; /* places: where each text begins, a size_t each */
	struct mer_buf raw, visible;  /* for one cell at a time */
	bool utf8;                    /* what the terminal takes; else ASCII */
	bool printed;                 /* a header, and rows of these widths: */
	size_t widths[OUT_COLUMNS_MAX];
};

static struct table *create(const struct out_column columns[], size_t n)
{
	struct table *table = calloc(1, sizeof *table);
	if (table == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if ((columns[i].flags & OUT_HIDDEN) != 0)
			continue;
		table->columns[table->n_columns] = &columns[i];
		table->from[table->n_columns++] = i;
	}
	(void)setlocale(LC_CTYPE, "");
	table->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	mer_buf_init(&table->texts, PTRDIFF_MAX);
	mer_buf_init(&table->places, PTRDIFF_MAX);
	mer_buf_init(&table->raw, PTRDIFF_MAX);
	mer_buf_init(&table->visible, PTRDIFF_MAX);
	return table;
}

static void release(struct table *table)
{
	if (table == NULL)
		return;
	mer_buf_release(&table->texts);
	mer_buf_release(&table->places);
	mer_buf_release(&table->raw);
	mer_buf_release(&table->visible);
	free(table);
}

/* --- cells -------------------------------------------------------------------------------- */

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

/* A tab is as wide as where it stands wants it, and a cell is one line unless it may be more. */
static void join_lines(struct mer_buf *text, bool lines)
{
	for (size_t i = 0; i < text->len; i++) {
		if (text->ptr[i] == '\t' || (text->ptr[i] == '\n' && !lines))
			text->ptr[i] = ' ';
	}
}

/* Whether a terminal shows it, in as many columns as wcwidth() says. Those that change the direction
 * of what follows would put a row's cells in another order. */
static bool is_fit(wchar_t code)
{
	bool turns = (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
	return !turns && iswprint((wint_t)code) != 0 && wcwidth(code) >= 0;
}

/* Adds text of which each character is one that a terminal in this locale shows. */
static void add_fit(const struct table *table, struct mer_buf *out, const char *text, size_t len)
{
	mbstate_t state = { 0 };
	for (size_t at = 0; at < len;) {
		wchar_t code = L'\0';
		unsigned char byte = (unsigned char)text[at];
		size_t n = 1;
		bool fits = byte < 0x80; /* newlines; the others are visible already */
		if (!fits && table->utf8) {
			n = mbrtowc(&code, text + at, len - at, &state);
			bool whole = n != 0 && n <= len - at;
			fits = whole && is_fit(code);
			n = whole ? n : 1;
		} else if (!fits) { /* a character, as far as it is one, is one place */
			while (at + n < len && ((unsigned char)text[at + n] & 0xC0) == 0x80)
				n++;
		}
		if (fits) {
			mer_buf_add(out, text + at, n);
		} else {
			mer_buf_text(out, table->utf8 ? "\xEF\xBF\xBD" : "?");
			state = (mbstate_t){ 0 };
		}
		at += n;
	}
}

static enum mer_status add_row(struct table *table, const struct mer_cell cells[],
                               struct mer_error *err)
{
	for (size_t i = 0; i < table->n_columns; i++) {
		struct mer_buf *raw = &table->raw, *visible = &table->visible;
		struct caret caret = { 0 };
		size_t at = table->texts.len;
		mer_buf_add(&table->places, &at, sizeof at);
		mer_buf_clear(raw);
		mer_buf_clear(visible);
		add_text(raw, &cells[table->from[i]]);
		join_lines(raw, (table->columns[i]->flags & OUT_LINES) != 0);
		if (raw->len > 0) {
			caret_add(&caret, raw->ptr, raw->len, visible);
			if (caret.held != 0) /* the text ended in a character */
				mer_buf_byte(visible, (char)caret.held);
		}
		if (raw->status != MER_OK || visible->status != MER_OK)
			return mer_fail(err, MER_ENOMEM, "out of memory for a table");
		if (visible->len > 0)
			add_fit(table, &table->texts, visible->ptr, visible->len);
		mer_buf_byte(&table->texts, '\0');
	}
	table->n_rows++;
	enum mer_status st = mer_buf_check(&table->places, err);
	return st == MER_OK ? mer_buf_check(&table->texts, err) : st;
}

static char *cell_at(const struct table *table, size_t row, size_t column)
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
		if ((table->columns[c]->flags & OUT_TIME) == 0)
			continue;
		for (size_t r = 0; r < table->n_rows; r++) {
			char *text = cell_at(table, r, c);
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

/* The widths that the columns get: as wide as they are, those that may be cut as narrow as the
 * terminal asks for, the widest first. */
static void choose_widths(struct table *table)
{
	size_t total = 0, n = table->n_columns, *widths = table->widths;
	for (size_t c = 0; c < n; c++) {
		widths[c] = strlen(table->columns[c]->name);
		for (size_t r = 0; r < table->n_rows; r++) {
			size_t width = mer_text_width(cell_at(table, r, c));
			widths[c] = width > widths[c] ? width : widths[c];
		}
		total += widths[c] + GAP;
	}
	size_t room = terminal_width();
	for (total -= GAP; total > room; total--) {
		size_t widest = n;
		for (size_t c = 0; c < n; c++) {
			bool may = (table->columns[c]->flags & OUT_SHORTEN) != 0 && widths[c] > LEAST_WIDTH;
			if (may && (widest == n || widths[c] > widths[widest]))
				widest = c;
		}
		if (widest == n)
			return; /* the terminal breaks the lines */
		widths[widest]--;
	}
}

/* How many bytes of text are at most so many columns wide, with what combines with the last one. */
static size_t span(const char *text, size_t width)
{
	size_t at = 0, used = 0, len = strlen(text);
	while (at < len) {
		char one[5];
		size_t n = 1;
		while (n < 4 && ((unsigned char)text[at + n] & 0xC0) == 0x80)
			n++;
		memcpy(one, text + at, n);
		one[n] = '\0';
		used += mer_text_width(one);
		if (used > width)
			break;
		at += n;
	}
	/* A joiner would join the ellipsis. */
	while (at >= 3 && memcmp(text + at - 3, "\xE2\x80\x8D", 3) == 0)
		at -= 3;
	return at;
}

/* Text cut to width columns, the last of which are the ellipsis; the caller frees it. */
static char *cut(const struct table *table, const char *text, size_t width)
{
	const char *ellipsis = table->utf8 ? "\xE2\x80\xA6" : "...";
	return mer_text_new("%.*s%s", (int)span(text, width - (table->utf8 ? 1 : 3)), text, ellipsis);
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
	struct libscols_table *table = scols_new_table();
	if (table == NULL)
		return NULL;
	(void)scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER);
	(void)scols_table_enable_minout(table, 1);
	(void)scols_table_enable_noheadings(table, !headings);
	(void)scols_table_enable_noencoding(table, 1); /* the cells are fit to be shown */
	(void)scols_table_enable_colors(table, colors);
	return table;
}

static enum mer_status print_scols(struct libscols_table *table, struct mer_buf *out,
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

static enum mer_status add_column(struct libscols_table *scols, const struct table *table, size_t c,
                                  struct mer_error *err)
{
	const struct out_column *column = table->columns[c];
	int flags = (column->flags & (OUT_NUMBER | OUT_DECIMAL | OUT_RIGHT)) != 0 ? SCOLS_FL_RIGHT : 0;
	/* The width is a wish that rows of a further part, which are narrower, come up to. */
	double width = table->widths[c] > 1 ? (double)table->widths[c] : 0;
	struct libscols_column *to = scols_table_new_column(scols, column->name, width, flags);
	if (to == NULL || scols_cell_set_color(scols_column_get_header(to), "bold") != 0)
		return no_memory(err);
	return MER_OK;
}

/* Adds a row; what is wider than its column is cut, where it may be. */
static enum mer_status add_line(struct libscols_table *scols, const struct table *table, size_t row,
                                struct mer_error *err)
{
	struct libscols_line *line = scols_table_new_line(scols, NULL);
	if (line == NULL)
		return no_memory(err);
	for (size_t c = 0; c < table->n_columns; c++) {
		const char *text = cell_at(table, row, c);
		bool fits = (table->columns[c]->flags & OUT_SHORTEN) == 0 ||
		            mer_text_width(text) <= table->widths[c];
		MER_AUTO(mer_text_done) char *less = fits ? NULL : cut(table, text, table->widths[c]);
		if (!fits && less == NULL)
			return no_memory(err);
		if (scols_line_set_data(line, c, fits ? text : less) != 0)
			return no_memory(err);
	}
	return MER_OK;
}

static enum mer_status print(struct table *table, bool colors, struct mer_buf *out,
                             struct mer_error *err)
{
	enum mer_status st = MER_OK;
	if (table->n_rows == 0 || table->n_columns == 0)
		return MER_OK;
	MER_AUTO(table_done) struct libscols_table *scols = new_scols(!table->printed, colors);
	if (scols == NULL)
		return no_memory(err);
	shorten_times(table);
	if (!table->printed)
		choose_widths(table);
	for (size_t c = 0; c < table->n_columns && st == MER_OK; c++)
		st = add_column(scols, table, c, err);
	for (size_t r = 0; r < table->n_rows && st == MER_OK; r++)
		st = add_line(scols, table, r, err);
	if (st == MER_OK)
		st = print_scols(scols, out, err);
	table->printed = true;
	table->n_rows = 0;
	mer_buf_clear(&table->texts);
	mer_buf_clear(&table->places);
	return st;
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

static enum mer_status print_members(struct table *table, bool colors, struct mer_buf *out,
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
	return st == MER_OK ? print_scols(scols, out, err) : st;
}

MER_API extern const struct table_ops mer_table;
const struct table_ops mer_table = {
	.version = MER_VERSION,
	.create = create,
	.release = release,
	.row = add_row,
	.print = print,
	.print_members = print_members,
};
