/*
 * What commands print on stdout: rows and objects in the format that the user chose. Programs get
 * them through the emitter, row by row; people get a table, when the last row has come.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "pick.h"
#include "sink.h"

#include <mer/emit.h>

struct session;
struct table;

enum out_flags {
	OUT_HIDDEN = 1,  /* not in tables, unless asked for */
	OUT_SHORTEN = 2, /* may be cut in a table that is too wide */
	OUT_LINES = 4,   /* may be of several lines */
	OUT_NULL = 8,    /* there may be none */

	/* What it is; where none is said, text. docs/formats.md says more of each. */
	OUT_NUMBER = 16,    /* a whole one */
	OUT_BOOL = 32,      /* true or false */
	OUT_TIME = 64,      /* RFC 3339; tables of several rows show less of it */
	OUT_UID = 128,      /* never cut */
	OUT_DURATION = 256, /* text such as 30s */
	OUT_SIZE = 512,     /* text such as 64MiB */
	OUT_ARRAY = 1024,   /* JSON */
	OUT_RIGHT = 4096,   /* a number that is text, at the right as numbers are */
	OUT_OBJECT = 2048,  /* JSON */
	OUT_DECIMAL = 8192, /* a number that may have a fraction */
	OUT_ANY = 16384,    /* any JSON */
};

struct out_column {
	const char *name;
	unsigned flags;
};

enum { OUT_COLUMNS_MAX = 48 };

struct output {
	struct sink sink;
	enum mer_format format; /* of the command that runs; never unset then */
	bool begun;             /* the columns are chosen */
	bool open;              /* something of the rows is written */
	bool told;              /* its outcome is on stdout as JSON already */
	struct mer_emit emit;
	const struct out_column *columns;
	size_t n_columns;
	const char *names[OUT_COLUMNS_MAX];
	struct table *table;
	struct pick pick;
	struct out_column picked[OUT_COLUMNS_MAX];
	struct mer_buf raw; /* on a terminal: what is not made visible yet */
	size_t n_lines;     /* VERTICAL: how many rows there were; TABLE: since it was printed last */
};

/** What a column is, as docs/formats.md and the contract call it: "text", "number", ... */
const char *out_type_name(unsigned flags);

/** Whether stdout is a terminal. */
bool out_is_terminal(void);

/** Text for people, or one that is the command's own. */
void out_text(struct session *s, const char *text);

/** Begins rows; columns (at most OUT_COLUMNS_MAX) are borrowed until out_end(). What is wrong with
 * --columns is told with the first row or the end. */
void out_begin(struct session *s, const struct out_column columns[], size_t n_columns);

/**
 * Adds a row: a cell a column. The texts may go afterwards. Not MER_OK once stdout cannot be
 * written: end what makes the rows, session_do() says the rest.
 */
MER_MUST enum mer_status out_row(struct session *s, const struct mer_cell cells[],
                                 struct mer_error *err);
MER_MUST enum mer_status out_end(struct session *s, struct mer_error *err);

/** Rows that are sorted: of them only so many are printed. After out_begin(). */
void out_most(struct session *s, int64_t most);

/** Writes the rows so far for whoever waits for more of them. */
MER_MUST enum mer_status out_pause(struct session *s, struct mer_error *err);

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

#endif
