/*
 * The module of tables, table.so: libsmartcols behind a table of calls, so that it is only loaded
 * where people are shown one.
 */
#ifndef TABLE_H
#define TABLE_H

#include "output.h"

#define TABLE_MODULE "table"

struct table;

struct table_ops {
	const char *version; /* as mer/module.h has it */

	/* Gives a table that borrows columns; NULL: out of memory. */
	struct table *(*create)(const struct out_column columns[], size_t n);
	void (*release)(struct table *table);

	/* Copies a row. */
	enum mer_status (*row)(struct table *table, const struct mer_cell cells[],
	                       struct mer_error *err);

	/* Writes the rows since the last time, as wide as the terminal; below them further ones have the
	 * same widths and no header. Nothing where there are no rows. */
	enum mer_status (*print)(struct table *table, bool colors, struct mer_buf *out,
	                         struct mer_error *err);

	/* The same for a table of two columns, names and values, without a header and with nothing cut. */
	enum mer_status (*print_members)(struct table *table, bool colors, struct mer_buf *out,
	                                 struct mer_error *err);
};

#endif
