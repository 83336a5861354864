/*
 * Which columns of rows are printed, and in which order the rows are: --columns and --sort. Rows that
 * are sorted are kept in memory, so there is a bound to them; of those of which only the first ones are
 * printed, no more are kept than that takes.
 */
#ifndef PICK_H
#define PICK_H

#include "cmd.h"

#include <mer/emit.h>

struct out_column;
struct picked_row;

enum { PICK_BYTES_MAX = 64 << 20 };

struct pick {
	const char *columns, *sort; /* as written; NULL: all, as they come. Borrowed */

	/* Of the rows under way. */
	const struct out_column *of; /* borrowed */
	size_t n_of;
	size_t *places; /* of the columns that are printed; NULL: all */
	size_t n_places;
	size_t sort_place;
	bool desc;
	int64_t most; /* of what is sorted so many are printed; 0: all */
	struct picked_row **rows;
	size_t n_rows, cap_rows, bytes, n_numbered;
};

/**
 * Takes a command's common options.
 * @param common  values of the rows of cmd_common
 * @return MER_EINPUT: the command has no such column
 */
MER_MUST enum mer_status pick_parse(struct pick *pick, const struct cmd *cmd,
                                    const struct cmd_value common[], struct mer_error *err);

/** Begins rows of these columns. MER_EINPUT: there is none of that name. */
MER_MUST enum mer_status pick_begin(struct pick *pick, const struct out_column *columns, size_t n,
                                    struct mer_error *err);

static inline bool pick_sorts(const struct pick *pick)
{
	return pick->sort != NULL;
}

/** Copies a row for sorting. MER_EINPUT: there are too many. */
MER_MUST enum mer_status pick_keep(struct pick *pick, const struct mer_cell cells[],
                                   struct mer_error *err);

/** Sorts what was kept; then pick_row() gives one after the other, NULL after the last. */
void pick_sort(struct pick *pick);
const struct mer_cell *pick_row(const struct pick *pick, size_t i);

/** Gives the cells that are printed: those of the row, or out with some of them. */
const struct mer_cell *pick_cells(const struct pick *pick, const struct mer_cell cells[],
                                  struct mer_cell out[]);

/** Forgets the rows. */
void pick_drop(struct pick *pick);

#endif
