/* Rows as JSON, JSON Lines, CSV and plain text: as written, and read back by another reader. */
#include "check_main.h"
#include "test_base_utf8.h"

#include <jansson.h>
#include <mer/emit.h>
#include <stdio.h>
#include <string.h>

static const char *const columns[] = { "name", "n", "ok", "params" };
enum { N_COLUMNS = 4 };

static const struct {
	enum mer_format format;
	bool single;
	int rows;
	const char *want;
} shape_rows[] = {
	{ MER_FORMAT_JSON, false, 0, "[]\n" },
	{ MER_FORMAT_JSON, false, 1,
	  "[{\"name\":\"a\\\"b\",\"n\":-7,\"ok\":true,\"params\":{\"x\": 1}}]\n" },
	{ MER_FORMAT_JSON, false, 2,
	  "[{\"name\":\"a\\\"b\",\"n\":-7,\"ok\":true,\"params\":{\"x\": 1}},\n"
	  "{\"name\":null,\"n\":null,\"ok\":false,\"params\":null}]\n" },
	{ MER_FORMAT_JSON, true, 0, "null\n" },
	{ MER_FORMAT_JSON, true, 1,
	  "{\"name\":\"a\\\"b\",\"n\":-7,\"ok\":true,\"params\":{\"x\": 1}}\n" },
	{ MER_FORMAT_JSONL, false, 0, "" },
	{ MER_FORMAT_JSONL, false, 2,
	  "{\"name\":\"a\\\"b\",\"n\":-7,\"ok\":true,\"params\":{\"x\": 1}}\n"
	  "{\"name\":null,\"n\":null,\"ok\":false,\"params\":null}\n" },
	{ MER_FORMAT_JSONL, true, 2,
	  "{\"name\":\"a\\\"b\",\"n\":-7,\"ok\":true,\"params\":{\"x\": 1}}\n"
	  "{\"name\":null,\"n\":null,\"ok\":false,\"params\":null}\n" },
	{ MER_FORMAT_CSV, false, 0, "name,n,ok,params\r\n" },
	{ MER_FORMAT_CSV, true, 2,
	  "name,n,ok,params\r\n\"a\"\"b\",-7,true,\"{\"\"x\"\":\n1}\"\r\n,,false,\r\n" },
	{ MER_FORMAT_PLAIN, false, 0, "" },
	{ MER_FORMAT_PLAIN, false, 2, "a\"b\t-7\ttrue\t{\"x\":\\n1}\n\t\tfalse\t\n" },
};

START_TEST(writes_shape)
{
	const struct mer_cell cells[2][N_COLUMNS] = {
		{ mer_cell_text("a\"b"), mer_cell_i64(-7), mer_cell_bool(true),
		  mer_cell_json("{\"x\":\n1}") },
		{ mer_cell_text(NULL), { .type = MER_CELL_NULL }, mer_cell_bool(false), mer_cell_json("") },
	};
	struct mer_buf out;
	struct mer_emit emit;
	mer_buf_init(&out, 4000);
	mer_emit_begin(&emit, shape_rows[_i].format, shape_rows[_i].single, columns, N_COLUMNS, &out);
	for (int row = 0; row < shape_rows[_i].rows; row++)
		mer_emit_row(&emit, cells[row]);
	mer_emit_end(&emit);
	const char *got = out.len > 0 ? out.ptr : "";
	ck_assert_msg(strcmp(got, shape_rows[_i].want) == 0, "row %d: %s, not %s", _i, got,
	              shape_rows[_i].want);
	ck_assert_uint_eq(emit.rows, (size_t)shape_rows[_i].rows);
	mer_buf_release(&out);
}
END_TEST

static const struct {
	struct mer_cell cell;
	const char *json, *csv, *plain;
} cell_rows[] = {
	{ { .type = MER_CELL_NULL }, "null", "", "" },
	{ { .type = MER_CELL_TEXT }, "\"\"", "", "" },
	{ { .type = MER_CELL_JSON }, "null", "", "" },
	{ { .type = MER_CELL_I64, .number = 0 }, "0", "0", "0" },
	{ { .type = MER_CELL_I64, .number = INT64_MAX },
	  "9223372036854775807",
	  "9223372036854775807",
	  "9223372036854775807" },
	{ { .type = MER_CELL_I64, .number = INT64_MIN },
	  "-9223372036854775808",
	  "-9223372036854775808",
	  "-9223372036854775808" },
	{ { .type = MER_CELL_BOOL, .number = 2 }, "true", "true", "true" },
	{ { .type = MER_CELL_TEXT, .text = { "a b", 3 } }, "\"a b\"", "a b", "a b" },
	{ { .type = MER_CELL_TEXT, .text = { "a,b", 3 } }, "\"a,b\"", "\"a,b\"", "a,b" },
	{ { .type = MER_CELL_TEXT, .text = { "\"", 1 } }, "\"\\\"\"", "\"\"\"\"", "\"" },
	{ { .type = MER_CELL_TEXT, .text = { "\"a\"\"", 4 } },
	  "\"\\\"a\\\"\\\"\"",
	  "\"\"\"a\"\"\"\"\"",
	  "\"a\"\"" },
	{ { .type = MER_CELL_TEXT, .text = { "a\tb\nc\rd\\e", 9 } },
	  "\"a\\tb\\nc\\rd\\\\e\"",
	  "\"a\tb\nc\rd\\e\"",
	  "a\\tb\\nc\\rd\\\\e" },
	{ { .type = MER_CELL_TEXT, .text = { "\n", 1 } }, "\"\\n\"", "\"\n\"", "\\n" },
	{ { .type = MER_CELL_TEXT, .text = { "a\xFF", 2 } }, "\"a\xEF\xBF\xBD\"", "a\xFF", "a\xFF" },
	{ { .type = MER_CELL_JSON, .text = { "[1,\r\n2]\n", 8 } },
	  "[1,  2] ",
	  "\"[1,\r\n2]\n\"",
	  "[1,\\r\\n2]\\n" },
};

/* The cell behind another one, which writes nothing or 1. */
static void check_cell(enum mer_format format, int row, const char *front, const char *cell,
                       const char *back)
{
	static const char *const names[] = { "f", "x" };
	const struct mer_cell cells[] = { mer_cell_i64(1), cell_rows[row].cell };
	struct mer_buf out;
	struct mer_emit emit;
	char want[200];
	mer_buf_init(&out, 4000);
	mer_emit_begin(&emit, format, false, names, 2, &out);
	mer_emit_row(&emit, cells);
	mer_emit_end(&emit);
	(void)snprintf(want, sizeof want, "%s%s%s", front, cell, back);
	ck_assert_msg(strcmp(out.ptr, want) == 0, "row %d: %s, not %s", row, out.ptr, want);
	mer_buf_release(&out);
}

START_TEST(writes_cell)
{
	check_cell(MER_FORMAT_JSONL, _i, "{\"f\":1,\"x\":", cell_rows[_i].json, "}\n");
	check_cell(MER_FORMAT_JSON, _i, "[{\"f\":1,\"x\":", cell_rows[_i].json, "}]\n");
	check_cell(MER_FORMAT_CSV, _i, "f,x\r\n1,", cell_rows[_i].csv, "\r\n");
	check_cell(MER_FORMAT_PLAIN, _i, "1\t", cell_rows[_i].plain, "\n");
}
END_TEST

START_TEST(makes_cells)
{
	ck_assert_int_eq(mer_cell_text(NULL).type, MER_CELL_NULL);
	ck_assert_int_eq(mer_cell_text("").type, MER_CELL_TEXT);
	ck_assert_int_eq(mer_cell_word(NULL).type, MER_CELL_NULL);
	ck_assert_int_eq(mer_cell_word("").type, MER_CELL_NULL);
	ck_assert_int_eq(mer_cell_word("ab").type, MER_CELL_TEXT);
	ck_assert_uint_eq(mer_cell_word("ab").text.len, 2);
	ck_assert_int_eq(mer_cell_json(NULL).type, MER_CELL_NULL);
	ck_assert_int_eq(mer_cell_json("").type, MER_CELL_NULL);
	ck_assert_int_eq(mer_cell_json("{}").type, MER_CELL_JSON);
}
END_TEST

START_TEST(writes_columns_that_need_quotes)
{
	static const char *const odd[] = { "a,b", "say \"x\"" };
	const struct mer_cell cells[] = { mer_cell_i64(1), mer_cell_i64(2) };
	struct mer_buf out;
	struct mer_emit emit;
	mer_buf_init(&out, 4000);
	mer_emit_begin(&emit, MER_FORMAT_CSV, false, odd, 2, &out);
	mer_emit_begin(&emit, MER_FORMAT_JSONL, false, odd, 2, &out);
	mer_emit_row(&emit, cells);
	ck_assert_str_eq(out.ptr, "\"a,b\",\"say \"\"x\"\"\"\r\n{\"a,b\":1,\"say \\\"x\\\"\":2}\n");
	mer_buf_clear(&out);
	mer_emit_begin(&emit, MER_FORMAT_CSV, false, odd, 1, &out);
	mer_emit_row(&emit, &(struct mer_cell){ .type = MER_CELL_NULL });
	ck_assert_str_eq(out.ptr, "\"a,b\"\r\n\"\"\r\n");
	mer_buf_release(&out);
}
END_TEST

START_TEST(failure_shows_in_the_buffer)
{
	static const char *const names[] = { "x" };
	struct mer_buf out;
	struct mer_emit emit;
	mer_buf_init(&out, 30);
	mer_emit_begin(&emit, MER_FORMAT_JSON, false, names, 1, &out);
	for (int i = 0; i < 10; i++)
		mer_emit_row(&emit, &(struct mer_cell){ .type = MER_CELL_I64, .number = i });
	mer_emit_end(&emit);
	ck_assert_int_eq(mer_buf_check(&out, NULL), MER_ELIMIT);
	ck_assert_uint_le(out.len, 30);
	mer_buf_release(&out);
}
END_TEST

START_TEST(names_formats)
{
	static const char *const names[] = { "table", "json", "jsonl", "csv", "plain" };
	for (int i = 0; i < N_ROWS(names); i++)
		ck_assert_int_eq(mer_format_by_name(names[i]), (enum mer_format)(MER_FORMAT_TABLE + i));
	ck_assert_int_eq(mer_format_by_name(""), MER_FORMAT_UNSET);
	ck_assert_int_eq(mer_format_by_name("xml"), MER_FORMAT_UNSET);
	ck_assert_int_eq(mer_format_by_name("JSON"), MER_FORMAT_UNSET);
}
END_TEST

/* Random rows, written in all formats and read back. */

enum { ROWS = 40, CELL_MAX = 24 };

struct table {
	unsigned char bytes[ROWS][N_COLUMNS][CELL_MAX];
	struct mer_cell cells[ROWS][N_COLUMNS];
};

static void fill_table(struct table *table, uint64_t *state)
{
	static const char interesting[] = ",\"\r\n\t\\ a\x7f\xC3\xBC\xE2\x82\xAC\xF0\x9F\xFF\x80\0";
	for (size_t i = 0; i < (size_t)ROWS * N_COLUMNS; i++) {
		unsigned char *bytes = table->bytes[i / N_COLUMNS][i % N_COLUMNS];
		struct mer_cell *cell = &table->cells[i / N_COLUMNS][i % N_COLUMNS];
		*cell = (struct mer_cell){ .type = MER_CELL_NULL };
		uint32_t kind = random_below(state, 8);
		if (kind == 0)
			continue;
		if (kind == 1) {
			*cell = mer_cell_i64((int64_t)*state >> random_below(state, 63));
			continue;
		}
		cell->type = MER_CELL_TEXT;
		cell->text.ptr = (const char *)bytes;
		cell->text.len = random_below(state, CELL_MAX);
		for (size_t at = 0; at < cell->text.len; at++)
			bytes[at] =
				(unsigned char)(kind % 2 == 0
			                        ? random_below(state, 256)
			                        : (unsigned char)
			                              interesting[random_below(state, sizeof interesting - 1)]);
	}
}

static void write_table(struct table *table, enum mer_format format, struct mer_buf *out)
{
	struct mer_emit emit;
	mer_buf_clear(out);
	mer_emit_begin(&emit, format, false, columns, N_COLUMNS, out);
	for (size_t row = 0; row < ROWS; row++)
		mer_emit_row(&emit, table->cells[row]);
	mer_emit_end(&emit);
	ck_assert_int_eq(mer_buf_check(out, NULL), MER_OK);
}

static size_t mend(struct mer_str text, char out[3 * CELL_MAX])
{
	size_t to = 0;
	const unsigned char *bytes = (const unsigned char *)text.ptr;
	for (size_t at = 0, n; at < text.len; at += n) {
		bool valid;
		n = reference_step(bytes + at, text.len - at, &valid);
		memcpy(out + to, valid ? text.ptr + at : "\xEF\xBF\xBD", valid ? n : 3);
		to += valid ? n : 3;
	}
	return to;
}

static void check_object(const json_t *object, const struct mer_cell cells[])
{
	ck_assert_uint_eq(json_object_size(object), N_COLUMNS);
	for (size_t i = 0; i < N_COLUMNS; i++) {
		const json_t *got = json_object_get(object, columns[i]);
		char want[3 * CELL_MAX];
		if (cells[i].type == MER_CELL_NULL)
			ck_assert(json_is_null(got));
		if (cells[i].type == MER_CELL_I64)
			ck_assert_int_eq(json_integer_value(got), cells[i].number);
		if (cells[i].type != MER_CELL_TEXT)
			continue;
		size_t n = mend(cells[i].text, want);
		ck_assert_uint_eq(json_string_length(got), n);
		ck_assert_int_eq(memcmp(json_string_value(got), want, n), 0);
	}
}

START_TEST(jansson_reads_it_back)
{
	static struct table table;
	struct mer_buf out;
	uint64_t state = 11400714819323198485u + (uint64_t)_i;
	mer_buf_init(&out, 1u << 20);
	fill_table(&table, &state);
	write_table(&table, MER_FORMAT_JSON, &out);
	json_t *list = json_loadb(out.ptr, out.len, JSON_ALLOW_NUL, NULL);
	ck_assert_msg(list != NULL, "%s", out.ptr);
	ck_assert_uint_eq(json_array_size(list), ROWS);
	for (size_t row = 0; row < ROWS; row++)
		check_object(json_array_get(list, row), table.cells[row]);
	json_decref(list);

	write_table(&table, MER_FORMAT_JSONL, &out);
	const char *at = out.ptr;
	for (size_t row = 0; row < ROWS; row++) {
		const char *end = strchr(at, '\n');
		ck_assert_ptr_nonnull(end);
		json_t *object = json_loadb(at, (size_t)(end - at), JSON_ALLOW_NUL, NULL);
		check_object(object, table.cells[row]);
		json_decref(object);
		at = end + 1;
	}
	ck_assert_ptr_eq(at, out.ptr + out.len);
	mer_buf_release(&out);
}
END_TEST

/* What a flat format shows of a cell. */
static struct mer_str flat(const struct mer_cell *cell, char digits[24])
{
	if (cell->type == MER_CELL_I64) {
		int n = snprintf(digits, 24, "%lld", (long long)cell->number);
		return (struct mer_str){ .ptr = digits, .len = (size_t)n };
	}
	return cell->text;
}

/* Reads a CSV field as RFC 4180 has it; returns what follows it. */
static const char *read_field(const char *at, const char *end, char *out, size_t *len)
{
	bool quoted = at < end && *at == '"';
	*len = 0;
	for (at += quoted; at < end; at++) {
		if (quoted && *at == '"' && (++at == end || *at != '"'))
			return at;
		if (!quoted && (*at == ',' || *at == '\r'))
			return at;
		ck_assert(quoted || (*at != '"' && *at != '\n'));
		out[(*len)++] = *at;
	}
	return at;
}

START_TEST(csv_reads_back)
{
	static struct table table;
	struct mer_buf out;
	uint64_t state = 14029467366897019727u + (uint64_t)_i;
	mer_buf_init(&out, 1u << 20);
	fill_table(&table, &state);
	write_table(&table, MER_FORMAT_CSV, &out);
	const char *at = out.ptr + strlen("name,n,ok,params\r\n"), *end = out.ptr + out.len;
	for (size_t i = 0; i < (size_t)ROWS * N_COLUMNS; i++) {
		char field[100], digits[24];
		size_t len;
		struct mer_str want = flat(&table.cells[i / N_COLUMNS][i % N_COLUMNS], digits);
		at = read_field(at, end, field, &len);
		ck_assert_uint_eq(len, want.len);
		if (len > 0)
			ck_assert_int_eq(memcmp(field, want.ptr, len), 0);
		const char *behind = i % N_COLUMNS == N_COLUMNS - 1 ? "\r\n" : ",";
		ck_assert_int_eq(memcmp(at, behind, strlen(behind)), 0);
		at += strlen(behind);
	}
	ck_assert_ptr_eq(at, end);
	mer_buf_release(&out);
}
END_TEST

static char unescape(char letter)
{
	static const char letters[] = "tnr\\", bytes[] = "\t\n\r\\";
	const char *at = letter == '\0' ? NULL : strchr(letters, letter);
	ck_assert_msg(at != NULL, "escape of '%c'", letter);
	return bytes[at - letters];
}

START_TEST(plain_reads_back)
{
	static struct table table;
	struct mer_buf out;
	uint64_t state = 1609587929392839161u + (uint64_t)_i;
	mer_buf_init(&out, 1u << 20);
	fill_table(&table, &state);
	write_table(&table, MER_FORMAT_PLAIN, &out);
	const char *at = out.ptr, *end = out.ptr + out.len;
	for (size_t i = 0; i < (size_t)ROWS * N_COLUMNS; i++) {
		char field[100], digits[24];
		size_t len = 0;
		struct mer_str want = flat(&table.cells[i / N_COLUMNS][i % N_COLUMNS], digits);
		for (; at < end && *at != '\t' && *at != '\n'; at++)
			field[len++] = *at == '\\' ? unescape(*++at) : *at;
		ck_assert_uint_eq(len, want.len);
		if (len > 0)
			ck_assert_int_eq(memcmp(field, want.ptr, len), 0);
		ck_assert_int_eq(*at++, i % N_COLUMNS == N_COLUMNS - 1 ? '\n' : '\t');
	}
	ck_assert_ptr_eq(at, end);
	mer_buf_release(&out);
}
END_TEST

Suite *suite(void)
{
	Suite *emit = suite_create("emit");
	TCase *rows = tcase_create("rows"), *back = tcase_create("back");
	tcase_add_loop_test(rows, writes_shape, 0, N_ROWS(shape_rows));
	tcase_add_loop_test(rows, writes_cell, 0, N_ROWS(cell_rows));
	tcase_add_test(rows, makes_cells);
	tcase_add_test(rows, writes_columns_that_need_quotes);
	tcase_add_test(rows, failure_shows_in_the_buffer);
	tcase_add_test(rows, names_formats);
	tcase_set_timeout(back, 60);
	tcase_add_loop_test(back, jansson_reads_it_back, 0, 30);
	tcase_add_loop_test(back, csv_reads_back, 0, 30);
	tcase_add_loop_test(back, plain_reads_back, 0, 30);
	suite_add_tcase(emit, rows);
	suite_add_tcase(emit, back);
	return emit;
}
