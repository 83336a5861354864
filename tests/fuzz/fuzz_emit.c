/* Rows: the input is cut into cells, the first byte of each choosing its type; jansson reads what
 * JSON came to, and JSON Lines and plain text have as many lines as rows. */
#include "fuzz.h"

#include <jansson.h>
#include <mer/emit.h>
#include <mer/text.h>
#include <string.h>

enum { N_COLUMNS = 3, CELLS_MAX = 300 };
static const char *const columns[N_COLUMNS] = { "a", "b\"\n", "c" };

/* Cells of up to 15 bytes; returns how many there are, whole rows only. */
static size_t cut(const uint8_t *bytes, size_t len, struct mer_cell cells[CELLS_MAX])
{
	size_t n = 0;
	for (size_t at = 0; at < len && n < CELLS_MAX; n++) {
		uint8_t how = bytes[at++];
		size_t size = how >> 4 < len - at ? how >> 4 : len - at;
		cells[n] = (struct mer_cell){ .type = how % 4 };
		if (cells[n].type == MER_CELL_I64)
			memcpy(&cells[n].number, bytes + at, size < 8 ? size : 8);
		if (cells[n].type == MER_CELL_BOOL)
			cells[n].number = how;
		if (cells[n].type == MER_CELL_TEXT)
			cells[n].text = (struct mer_str){ .ptr = (const char *)bytes + at, .len = size };
		at += size;
	}
	return n - n % N_COLUMNS;
}

static void write_rows(enum mer_format format, const struct mer_cell cells[], size_t n,
                       struct mer_buf *out)
{
	struct mer_emit emit;
	mer_buf_clear(out);
	mer_emit_begin(&emit, format, false, columns, N_COLUMNS, out);
	for (size_t i = 0; i < n; i += N_COLUMNS)
		mer_emit_row(&emit, cells + i);
	mer_emit_end(&emit);
	MER_ASSERT(mer_buf_check(out, NULL) == MER_OK);
}

static void check_value(const json_t *got, const struct mer_cell *cell)
{
	switch (cell->type) {
	case MER_CELL_NULL: MER_ASSERT(json_is_null(got)); break;
	case MER_CELL_I64: MER_ASSERT(json_integer_value(got) == cell->number); break;
	case MER_CELL_BOOL: MER_ASSERT(json_is_true(got) == (cell->number != 0)); break;
	case MER_CELL_JSON: break;
	case MER_CELL_TEXT:
		MER_ASSERT(json_is_string(got));
		if (mer_utf8_span(cell->text.ptr, cell->text.len) < cell->text.len)
			break; /* mended; the unit tests say how */
		MER_ASSERT(json_string_length(got) == cell->text.len);
		MER_ASSERT(cell->text.len == 0 ||
		           memcmp(json_string_value(got), cell->text.ptr, cell->text.len) == 0);
		break;
	}
}

static void check_object(const json_t *object, const struct mer_cell cells[])
{
	MER_ASSERT(json_object_size(object) == N_COLUMNS);
	for (size_t i = 0; i < N_COLUMNS; i++)
		check_value(json_object_get(object, columns[i]), &cells[i]);
}

static void check_json(const struct mer_cell cells[], size_t n, struct mer_buf *out)
{
	write_rows(MER_FORMAT_JSON, cells, n, out);
	json_t *list = json_loadb(out->ptr, out->len, JSON_ALLOW_NUL, NULL);
	MER_ASSERT(list != NULL && json_array_size(list) == n / N_COLUMNS);
	for (size_t i = 0; i < n; i += N_COLUMNS)
		check_object(json_array_get(list, i / N_COLUMNS), cells + i);
	json_decref(list);
}

static size_t count(const struct mer_buf *out, char byte)
{
	size_t n = 0;
	for (size_t i = 0; i < out->len; i++)
		n += out->ptr[i] == byte;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct mer_cell cells[CELLS_MAX];
	struct mer_buf out;
	size_t n = cut(bytes, len, cells);
	mer_buf_init(&out, SIZE_MAX);
	check_json(cells, n, &out);
	write_rows(MER_FORMAT_JSONL, cells, n, &out);
	MER_ASSERT(count(&out, '\n') == n / N_COLUMNS);
	write_rows(MER_FORMAT_PLAIN, cells, n, &out);
	MER_ASSERT(count(&out, '\n') == n / N_COLUMNS);
	MER_ASSERT(count(&out, '\t') == n / N_COLUMNS * (N_COLUMNS - 1));
	write_rows(MER_FORMAT_CSV, cells, n, &out);
	MER_ASSERT(count(&out, '"') % 2 == 0);
	mer_buf_release(&out);
	return 0;
}
