/*
 * Rows as bytes for programs: JSON, JSON Lines, CSV (RFC 4180) and plain, streamed. An object tree
 * a row costs three times what writing it does, so rows are written as they come.
 */
#ifndef MER_EMIT_H
#define MER_EMIT_H

#include <mer/buf.h>
#include <stdbool.h>
#include <stdint.h>

enum mer_format {
	MER_FORMAT_UNSET,
	MER_FORMAT_TABLE,    /* for people; not written here */
	MER_FORMAT_JSON,     /* an array of objects; one object where there is one by nature */
	MER_FORMAT_JSONL,    /* an object a line */
	MER_FORMAT_CSV,      /* with a header; CRLF line ends */
	MER_FORMAT_PLAIN,    /* tab separated, no header; \t \n \r and \\ in values are escaped so */
	MER_FORMAT_VERTICAL, /* for people: a field a line; not written here */
	MER_FORMAT_COUNT
};

enum mer_cell_type {
	MER_CELL_NULL, /* null; nothing in CSV and plain */
	MER_CELL_TEXT,
	MER_CELL_I64,
	MER_CELL_BOOL,
	MER_CELL_JSON, /* text that is JSON already; its line ends become spaces in JSON and JSONL */
};

struct mer_cell {
	enum mer_cell_type type;
	struct mer_str text; /* TEXT and JSON; borrowed */
	int64_t number;      /* I64 and BOOL */
};

static inline struct mer_cell mer_cell_i64(int64_t number)
{
	return (struct mer_cell){ .type = MER_CELL_I64, .number = number };
}
/** A number of which negative ones say that it is not known: then null. */
static inline struct mer_cell mer_cell_known(int64_t number)
{
	return number >= 0 ? mer_cell_i64(number) : (struct mer_cell){ .type = MER_CELL_NULL };
}
static inline struct mer_cell mer_cell_bool(bool yes)
{
	return (struct mer_cell){ .type = MER_CELL_BOOL, .number = yes };
}
MER_API struct mer_cell mer_cell_text(const char *text); /* NULL is null */
MER_API struct mer_cell mer_cell_json(const char *text); /* NULL and "" are null */
MER_API struct mer_cell mer_cell_word(const char *text); /* NULL and "" are null */

struct mer_emit {
	enum mer_format format;
	bool single;                /* JSON: one object, no array around it */
	const char *const *columns; /* borrowed */
	size_t n_columns;
	bool plain_names;    /* nothing in the columns' names needs an escape in JSON */
	struct mer_buf *out; /* borrowed; whoever owns it empties it between rows */
	size_t rows;
};

/**
 * Writes what stands before the first row.
 * @param format  not one for people
 * @param single  of MER_FORMAT_JSON: at most one row follows; null where none does
 */
MER_API void mer_emit_begin(struct mer_emit *emit, enum mer_format format, bool single,
                            const char *const columns[], size_t n_columns, struct mer_buf *out);
/** Writes one row; n_columns cells. Text that is not UTF-8 is mended in JSON only. */
MER_API void mer_emit_row(struct mer_emit *emit, const struct mer_cell cells[]);
/** Writes what stands after the last. Failures show in out. */
MER_API void mer_emit_end(struct mer_emit *emit);

/** MER_FORMAT_UNSET when it names none: table json jsonl csv plain vertical. */
MER_API enum mer_format mer_format_by_name(const char *name);

#endif
