/*
 * What commands print on stdout: rows and objects in the format that the user chose. Programs get
 * them through the emitter, row by row; people get a table, when the last row has come.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "sink.h"

#include <mer/emit.h>

struct session;
struct table;

enum out_flags {
	OUT_HIDDEN = 1,  /* not in tables */
	OUT_SHORTEN = 2, /* may be cut in a table that is too wide */
	OUT_RIGHT = 4,   /* a number */
	OUT_LINES = 8,   /* may be of several lines */
	OUT_TIME = 16,   /* RFC 3339; tables of several rows show less of it */
};

struct out_column {
	const char *name;
	unsigned flags;
};

enum { OUT_COLUMNS_MAX = 48 };

struct output {
	struct sink sink;
	enum mer_format format; /* of the command that runs; never unset then */
	bool begun;             /* something of the rows is written */
	bool told;              /* its outcome is on stdout as JSON already */
	struct mer_emit emit;
	const struct out_column *columns;
	size_t n_columns;
	const char *names[OUT_COLUMNS_MAX];
	struct table *table;
};

/** Whether stdout is a terminal; and whether it may have colours, which batch never has. */
bool out_is_terminal(void);
bool out_has_colors(const struct session *s);

/** Text for people, or one that is the command's own. */
void out_text(struct session *s, const char *text);

/** Begins rows; columns (at most OUT_COLUMNS_MAX) are borrowed until out_end(). */
void out_begin(struct session *s, const struct out_column columns[], size_t n_columns);

/**
 * Adds a row: a cell a column. The texts may go afterwards. Not MER_OK once stdout cannot be
 * written: end what makes the rows, session_do() says the rest.
 */
MER_MUST enum mer_status out_row(struct session *s, const struct mer_cell cells[],
                                 struct mer_error *err);
MER_MUST enum mer_status out_end(struct session *s, struct mer_error *err);

/** Forgets rows that were begun and not ended. */
void out_drop(struct output *out);

/** One object instead of rows: in JSON without an array around it, in plain text and for people a
 * member a line. */
MER_MUST enum mer_status out_object(struct session *s, const struct out_column columns[],
                                    const struct mer_cell cells[], size_t n, struct mer_error *err);

/** Whether objects are printed a member a line; then they can be made so, too. */
bool out_by_member(const struct session *s);
MER_MUST enum mer_status out_member(struct session *s, const char *name, struct mer_cell cell,
                                    struct mer_error *err);
MER_MUST enum mer_status out_members_end(struct session *s, struct mer_error *err);

/* --- table.c: tables for a terminal, by libsmartcols -------------------------------------- */

/** Gives a table that borrows columns; NULL: out of memory. */
struct table *table_new(const struct out_column columns[], size_t n);
void table_free(struct table *table);

/** Copies a row. */
MER_MUST enum mer_status table_row(struct table *table, const struct mer_cell cells[],
                                   struct mer_error *err);

/** Writes it as wide as the terminal. Nothing where there are no rows. */
MER_MUST enum mer_status table_print(struct table *table, bool colors, struct mer_buf *out,
                                     struct mer_error *err);

/** The same for a table of two columns, names and values, without a header and with nothing cut. */
MER_MUST enum mer_status table_print_members(struct table *table, bool colors, struct mer_buf *out,
                                             struct mer_error *err);

#endif
