/* Choosing columns and sorting rows. */
#include "pick.h"

#include "output.h"

#include <mer/text.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MORE = 1000 };

/* --- names -------------------------------------------------------------------------------- */

static enum mer_status fail_name(const char *option, struct mer_str name,
                                 const struct out_column columns[], size_t n, struct mer_error *err)
{
	size_t at = 0;
	char typed[64], names[sizeof err->message] = "";
	(void)snprintf(typed, sizeof typed, "%.*s", (int)(name.len < sizeof typed ? name.len : 63),
	               name.ptr);
	struct mer_guess guess = { .typed = typed };
	for (size_t i = 0; i < n; i++) {
		mer_guess_offer(&guess, columns[i].name);
		int len =
			snprintf(names + at, sizeof names - at, "%s%s", i == 0 ? "" : " ", columns[i].name);
		at += len > 0 && (size_t)len < sizeof names - at ? (size_t)len : 0;
	}
	(void)mer_fail(err, MER_EINPUT, "%s: there is no column '%s'; there are %s", option, typed,
	               names);
	(void)mer_guess_hint(&guess, err);
	return MER_EINPUT;
}

static enum mer_status find(const char *option, struct mer_str name,
                            const struct out_column columns[], size_t n, size_t *out,
                            struct mer_error *err)
{
	for (size_t i = 0; i < n; i++) {
		if (strlen(columns[i].name) == name.len &&
		    memcmp(columns[i].name, name.ptr, name.len) == 0) {
			*out = i;
			return MER_OK;
		}
	}
	return fail_name(option, name, columns, n, err);
}

/* The next of the names in a list with commas; false behind the last. */
static bool next_name(const char **at, struct mer_str *name)
{
	if (*at == NULL)
		return false;
	size_t len = strcspn(*at, ",");
	*name = (struct mer_str){ *at, len };
	*at = (*at)[len] == ',' ? *at + len + 1 : NULL;
	return true;
}

static enum mer_status find_columns(struct pick *pick, const struct out_column columns[], size_t n,
                                    struct mer_error *err)
{
	enum mer_status st = MER_OK;
	const char *at = pick->columns;
	struct mer_str name;
	pick->n_places = 0;
	free(pick->places);
	pick->places = calloc(OUT_COLUMNS_MAX, sizeof *pick->places);
	if (pick->places == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	while (st == MER_OK && next_name(&at, &name)) {
		size_t place = 0;
		st = find("--columns", name, columns, n, &place, err);
		for (size_t i = 0; st == MER_OK && i < pick->n_places; i++) {
			if (pick->places[i] == place)
				st = mer_fail(err, MER_EINPUT, "--columns: '%s' is there twice",
				              columns[place].name);
		}
		if (st == MER_OK)
			pick->places[pick->n_places++] = place; /* each once, so there is room */
	}
	return st;
}

static enum mer_status find_sort(struct pick *pick, const struct out_column columns[], size_t n,
                                 struct mer_error *err)
{
	const char *colon = strchr(pick->sort, ':');
	struct mer_str name = { pick->sort,
		                    colon != NULL ? (size_t)(colon - pick->sort) : strlen(pick->sort) };
	pick->desc = colon != NULL && strcmp(colon, ":desc") == 0;
	if (colon != NULL && !pick->desc && strcmp(colon, ":asc") != 0) {
		(void)mer_fail(err, MER_EINPUT, "--sort: '%s' is not :asc or :desc", colon);
		mer_hint(err, "--sort %.*s:desc", (int)name.len, name.ptr);
		return MER_EINPUT;
	}
	return find("--sort", name, columns, n, &pick->sort_place, err);
}

static enum mer_status find_all(struct pick *pick, const struct out_column columns[], size_t n,
                                struct mer_error *err)
{
	enum mer_status st = MER_OK;
	if (pick->columns != NULL)
		st = find_columns(pick, columns, n, err);
	return st == MER_OK && pick->sort != NULL ? find_sort(pick, columns, n, err) : st;
}

enum mer_status pick_parse(struct pick *pick, const struct cmd *cmd,
                           const struct cmd_value common[], struct mer_error *err)
{
	pick_drop(pick);
	*pick =
		(struct pick){ .columns = common[COMMON_COLUMNS].text, .sort = common[COMMON_SORT].text };
	/* Before the command does anything; what it prints may have less of them. */
	enum mer_status st = find_all(pick, cmd->columns, cmd->n_columns, err);
	pick_drop(pick);
	return st;
}

enum mer_status pick_begin(struct pick *pick, const struct out_column columns[], size_t n,
                           struct mer_error *err)
{
	pick->of = columns;
	pick->n_of = n;
	return find_all(pick, columns, n, err);
}

const struct mer_cell *pick_cells(const struct pick *pick, const struct mer_cell cells[],
                                  struct mer_cell out[])
{
	if (pick->places == NULL)
		return cells;
	for (size_t i = 0; i < pick->n_places; i++)
		out[i] = cells[pick->places[i]];
	return out;
}

/* --- sorting ------------------------------------------------------------------------------ */

/* One block of memory with its texts behind the cells. */
struct picked_row {
	size_t number; /* as it came: equals stay in that order */
	size_t bytes;
	unsigned flags; /* of the column that is sorted by */
	bool desc;
	int64_t value; /* what a duration or a size in text is */
	const struct mer_cell *key;
	struct mer_cell cells[];
};

static size_t size_of(const struct pick *pick, const struct mer_cell cells[])
{
	size_t bytes = sizeof(struct picked_row) + pick->n_of * sizeof *cells;
	for (size_t i = 0; i < pick->n_of; i++)
		bytes += cells[i].text.len;
	return bytes;
}

static void set_key(const struct pick *pick, struct picked_row *row)
{
	MER_ASSERT(pick->sort_place < pick->n_of);
	const struct mer_cell *key = row->key = &row->cells[pick->sort_place];
	row->flags = pick->of[pick->sort_place].flags;
	row->desc = pick->desc;
	row->value = key->number;
	if (key->type != MER_CELL_TEXT || (row->flags & (OUT_DURATION | OUT_SIZE)) == 0)
		return;
	char text[32];
	(void)snprintf(text, sizeof text, "%.*s", (int)(key->text.len < 31 ? key->text.len : 31),
	               key->text.ptr);
	enum mer_status st = (row->flags & OUT_SIZE) != 0 ? mer_parse_bytes(text, &row->value, NULL)
	                                                  : mer_parse_ms(text, &row->value, NULL);
	if (st != MER_OK)
		row->value = INT64_MAX;
}

static int compare_numbers(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int compare_texts(struct mer_str a, struct mer_str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int order = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;
	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* What has no value comes last whichever way it is sorted: who wants the slowest or the fastest wants
 * one that was measured. */
static int compare(const void *left, const void *right)
{
	const struct picked_row *a = *(struct picked_row *const *)left;
	const struct picked_row *b = *(struct picked_row *const *)right;
	bool a_none = a->key->type == MER_CELL_NULL, b_none = b->key->type == MER_CELL_NULL;
	int order = 0;
	if (a_none || b_none)
		order = a_none - b_none;
	else if (a->key->type == MER_CELL_I64 || a->key->type == MER_CELL_BOOL ||
	         (a->flags & (OUT_DURATION | OUT_SIZE)) != 0)
		order = compare_numbers(a->value, b->value) * (a->desc ? -1 : 1);
	else
		order = compare_texts(a->key->text, b->key->text) * (a->desc ? -1 : 1);
	return order != 0 ? order : (a->number > b->number) - (a->number < b->number);
}

void pick_sort(struct pick *pick)
{
	if (pick->n_rows > 0)
		qsort(pick->rows, pick->n_rows, sizeof(struct picked_row *), compare);
	while (pick->most > 0 && pick->n_rows > (size_t)pick->most) {
		pick->bytes -= pick->rows[--pick->n_rows]->bytes;
		free(pick->rows[pick->n_rows]);
	}
}

static enum mer_status make_room(struct pick *pick, struct mer_error *err)
{
	/* Of those that are more than will be printed, the last ones go. */
	size_t most = (size_t)pick->most;
	if (most > 0 && (pick->n_rows / 2 >= most + ROWS_MORE || pick->bytes > PICK_BYTES_MAX))
		pick_sort(pick);
	if (pick->bytes > PICK_BYTES_MAX) {
		(void)mer_fail(err, MER_EINPUT, "--sort: more than %d MiB of rows", PICK_BYTES_MAX >> 20);
		mer_hint(err, "ask for fewer rows, or sort what --plain or --jsonl prints");
		return MER_EINPUT;
	}
	if (pick->n_rows < pick->cap_rows)
		return MER_OK;
	size_t cap = pick->cap_rows == 0 ? 64 : 2 * pick->cap_rows;
	struct picked_row **rows = reallocarray(pick->rows, cap, sizeof(struct picked_row *));
	if (rows == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for %zu rows", cap);
	pick->rows = rows;
	pick->cap_rows = cap;
	return MER_OK;
}

enum mer_status pick_keep(struct pick *pick, const struct mer_cell cells[], struct mer_error *err)
{
	enum mer_status st = make_room(pick, err);
	if (st != MER_OK)
		return st;
	size_t bytes = size_of(pick, cells);
	struct picked_row *row = malloc(bytes);
	if (row == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for %zu rows", pick->n_rows + 1);
	char *at = (char *)(row->cells + pick->n_of);
	for (size_t i = 0; i < pick->n_of; i++) {
		row->cells[i] = cells[i];
		if (cells[i].text.len == 0)
			continue;
		memcpy(at, cells[i].text.ptr, cells[i].text.len);
		row->cells[i].text.ptr = at;
		at += cells[i].text.len;
	}
	row->number = pick->n_numbered++;
	row->bytes = bytes;
	set_key(pick, row);
	pick->rows[pick->n_rows++] = row;
	pick->bytes += bytes;
	return MER_OK;
}

const struct mer_cell *pick_row(const struct pick *pick, size_t i)
{
	return i < pick->n_rows ? pick->rows[i]->cells : NULL;
}

void pick_drop(struct pick *pick)
{
	for (size_t i = 0; i < pick->n_rows; i++)
		free(pick->rows[i]);
	free(pick->rows);
	free(pick->places);
	pick->rows = NULL;
	pick->places = NULL;
	pick->n_rows = pick->cap_rows = pick->bytes = pick->n_numbered = pick->n_places = 0;
	pick->most = 0;
}
