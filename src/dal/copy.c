/*
 * Copies a metadata database: page by page by key, so that memory does not grow with it. Each row
 * goes into a digest of its table on its way; what came to be in the target is read again and gives
 * another, before anything is committed.
 */
#include "internal.h"
#include "tables.h"

#include <inttypes.h>
#include <mer/clean.h>
#include <mer/copy.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What MER's own scripts make has uids that no clock gives. */
#define SCRIPTED "01980000-0000-7000-8000-"

enum {
	KEY_MAX = 160,           /* bytes: 36 characters, or a name and a figure */
	UNSETTLED_MAX = 1 << 20, /* bytes that are sent to the target and not answered for yet */
	OWN_SCRIPTS = 1000,      /* the first number of an operator's */
	LEDGER_MAX = 1 << 24,
};

static const struct {
	const char *name;
	int64_t at_once;
} tables[MER_TABLE_COUNT] = {
#define TABLE_ROW(id, table, key, n, rows) [id] = { #table, rows },
	DAL_TABLES(TABLE_ROW)
};

static enum mer_query of_table(enum mer_query query, enum mer_table table)
{
	return (enum mer_query)((int)query + (int)table);
}

/* --- a table, row by row ------------------------------------------------------------------ */

typedef enum mer_status values_fn(void *ctx, const struct mer_value row[], struct mer_error *err);

/* Where the reading of a table is. */
struct reader {
	struct mer_dal *dal;
	enum mer_table table;
	const atomic_bool *stop;
	values_fn *on_row;
	void *ctx;
	int64_t rows; /* of the last page */
	size_t key_len;
	char key[KEY_MAX]; /* of the last row; none before the first */
};

static enum mer_status on_page_row(void *ctx, const void *data, struct mer_error *err)
{
	struct reader *reader = ctx;
	const struct mer_value *row = data;
	const struct mer_str key = row[0].text;
	if (reader->stop != NULL && atomic_load(reader->stop))
		return mer_fail(err, MER_ECANCELED, "interrupted");
	if (key.len > sizeof reader->key)
		return mer_fail(err, MER_EDATABASE, "a key of %zu bytes is not a mer's", key.len);
	memcpy(reader->key, key.ptr, key.len);
	reader->key_len = key.len;
	reader->rows++;
	return reader->on_row(reader->ctx, row, err);
}

/* So many rows behind the last one; rows is then how many there were. */
static enum mer_status read_page(struct reader *reader, int64_t at_once, struct mer_error *err)
{
	char from[KEY_MAX]; /* it is still asked for while the reader's is written */
	memcpy(from, reader->key, reader->key_len);
	const struct mer_value args[] = {
		{ .type = MER_VALUE_TEXT, .text = { from, reader->key_len } },
		mer_i64(at_once),
	};
	reader->rows = 0;
	return mer_dal_query(reader->dal, of_table(MER_Q_TABLE_ROWS, reader->table), args,
	                     DAL_COUNT(args), on_page_row, reader, err);
}

static enum mer_status read_table(struct reader *reader, struct mer_error *err)
{
	const int64_t at_once = tables[reader->table].at_once;
	enum mer_status st;
	do
		st = read_page(reader, at_once, err);
	while (st == MER_OK && reader->rows == at_once);
	return st;
}

/* Adds a row to a digest: of each value its type, its length or number, and its bytes. */
static void digest_row(struct mer_sha256 *hash, const struct mer_value row[], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const bool bytes = row[i].type == MER_VALUE_TEXT || row[i].type == MER_VALUE_BLOB;
		uint64_t number = bytes ? row[i].text.len : (uint64_t)row[i].number;
		unsigned char head[9] = { (unsigned char)row[i].type };
		for (size_t at = 1; at < sizeof head; at++, number >>= 8)
			head[at] = (unsigned char)number;
		mer_sha256_add(hash, head, sizeof head);
		if (bytes)
			mer_sha256_add(hash, row[i].text.ptr, row[i].text.len);
	}
}

/* --- both: not the same ------------------------------------------------------------------- */

static enum mer_status take_name(void *ctx, const void *row, struct mer_error *err)
{
	char **name = ctx;
	*name = strdup(((const struct mer_name_row *)row)->name);
	return *name != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory for a name");
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat first, second;
	return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
	       first.st_ino == second.st_ino;
}

/* However they are spelled. */
static enum mer_status check_different(struct mer_dal *from, struct mer_dal *to,
                                       struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *ours = NULL, *theirs = NULL;
	if (strcmp(mer_dal_dialect(from), mer_dal_dialect(to)) != 0)
		return MER_OK;
	enum mer_status st = mer_dal_query(from, MER_Q_IDENTITY, NULL, 0, take_name, &ours, err);
	if (st == MER_OK)
		st = mer_dal_query(to, MER_Q_IDENTITY, NULL, 0, take_name, &theirs, err);
	if (st != MER_OK || ours == NULL || theirs == NULL || *ours == '\0')
		return st;
	if (strcmp(ours, theirs) == 0 || is_same_file(ours, theirs))
		return mer_fail(err, MER_EINPUT, "'%s' and '%s' are the same database", mer_dal_name(from),
		                mer_dal_name(to));
	return MER_OK;
}

/* --- the source: nobody is at work on it -------------------------------------------------- */

struct owner {
	char uid[KEY_MAX + 1], host[64];
	int64_t pid;
};

static enum mer_status take_owner(void *ctx, const struct mer_value row[], struct mer_error *err)
{
	(void)err;
	struct owner *owner = ctx;
	(void)snprintf(owner->uid, sizeof owner->uid, "%.*s", (int)row[0].text.len, row[0].text.ptr);
	(void)snprintf(owner->host, sizeof owner->host, "%.*s", (int)row[1].text.len, row[1].text.ptr);
	owner->pid = row[2].number;
	return MER_OK;
}

static enum mer_status check_owner(struct mer_dal *from, const struct owner *owner,
                                   struct mer_error *err)
{
	bool alive = false;
	int64_t open = 0;
	enum mer_status st = MER_OK;
	if (mer_uid_valid(owner->uid))
		st = mer_dal_lock(from, mer_uid_key(owner->uid), MER_LOCK_TEST, &alive, err);
	if (st == MER_OK && alive)
		st = mer_dal_query(from, MER_Q_OWNER_OPEN_RUNS, MER_ARGS(mer_text(owner->uid)),
		                   mer_take_count, &open, err);
	if (st != MER_OK || open == 0)
		return st;
	(void)mer_fail(err, MER_ECONFLICT,
	               "the database '%s' is at work: process %" PRId64 " on '%s' has %" PRId64
	               " open runs",
	               mer_dal_name(from), owner->pid, owner->host, open);
	mer_hint(err, "wait for its runs or end it, and copy again");
	return MER_ECONFLICT;
}

/* One owner at a time, since a row's callback must not ask the same connection. Those that are dead
 * go over with their open runs: the next mer there closes these as lost. */
static enum mer_status check_source(struct mer_dal *from, struct mer_error *err)
{
	struct owner owner;
	struct reader reader = {
		.dal = from, .table = MER_TABLE_OWNERS, .on_row = take_owner, .ctx = &owner
	};
	for (;;) {
		enum mer_status st = read_page(&reader, 1, err);
		if (st != MER_OK || reader.rows == 0)
			return st;
		st = check_owner(from, &owner, err);
		if (st != MER_OK)
			return st;
	}
}

/* --- both: an operator's scripts ---------------------------------------------------------- */

static enum mer_status take_script(void *ctx, const void *row, struct mer_error *err)
{
	const struct mer_ledger_row *script = row;
	struct mer_buf *list = ctx;
	if (script->num >= OWN_SCRIPTS)
		mer_buf_printf(list, "%" PRId64 "-%s\n", script->num, script->name);
	return mer_buf_check(list, err);
}

/* What is half done would be run on there. */
static enum mer_status take_whole_script(void *ctx, const void *row, struct mer_error *err)
{
	const bool whole = strcmp(((const struct mer_ledger_row *)row)->state, "applied") == 0;
	return whole ? take_script(ctx, row, err) : MER_OK;
}

/* The next line, cut out; NULL: no more. */
static char *next_line(char **at)
{
	char *line = *at, *end = line != NULL ? strchr(line, '\n') : NULL;
	if (end == NULL)
		return NULL;
	*end = '\0';
	*at = end + 1;
	return line;
}

static enum mer_status compare_scripts(const struct mer_dal *from, const struct mer_dal *to,
                                       char *ours, char *theirs, struct mer_error *err)
{
	char *there = next_line(&theirs);
	for (char *script; (script = next_line(&ours)) != NULL;) {
		while (there != NULL && strtoll(there, NULL, 10) < strtoll(script, NULL, 10))
			there = next_line(&theirs);
		if (there != NULL && strcmp(there, script) == 0)
			continue;
		(void)mer_fail(err, MER_ECONFLICT,
		               "script '%s' has run in the database '%s' and not in '%s'", script,
		               mer_dal_name(from), mer_dal_name(to));
		mer_hint(err, "mer-migrate up with its folder as --dir there first: what it did to mer's "
		              "tables is copied");
		return MER_ECONFLICT;
	}
	return MER_OK;
}

/* Also the first look at the source: from here on it is what it was now. */
static enum mer_status check_scripts(struct mer_dal *from, struct mer_dal *to,
                                     struct mer_error *err)
{
	struct mer_buf ours, theirs;
	mer_buf_init(&ours, LEDGER_MAX);
	mer_buf_init(&theirs, LEDGER_MAX);
	const struct mer_value all[] = { mer_i64(0), mer_i64(INT64_MAX) };
	enum mer_status st =
		mer_dal_query(from, MER_Q_LEDGER, all, DAL_COUNT(all), take_script, &ours, err);
	if (st == MER_OK)
		st = mer_dal_query(to, MER_Q_LEDGER, all, DAL_COUNT(all), take_whole_script, &theirs, err);
	if (st == MER_OK)
		st = compare_scripts(from, to, ours.ptr, theirs.ptr, err);
	mer_buf_release(&ours);
	mer_buf_release(&theirs);
	return st;
}

/* --- the target: nobody has used it ------------------------------------------------------- */

struct emptiness {
	struct mer_dal *from, *to;
	enum mer_table table;
};

static enum mer_status fail_not_empty(const struct emptiness *emptiness, const char *what,
                                      struct mer_str key, struct mer_error *err)
{
	(void)mer_fail(err, MER_ECONFLICT, "the database '%s' is not empty: in '%s' there is %s '%.*s'",
	               mer_dal_name(emptiness->to), tables[emptiness->table].name, what, (int)key.len,
	               key.ptr);
	mer_hint(err, "copy into a new one, made by: mer-migrate up --database URL");
	return MER_ECONFLICT;
}

static enum mer_status on_used(void *ctx, const struct mer_value row[], struct mer_error *err)
{
	return fail_not_empty(ctx, "already", row[0].text, err);
}

static const struct mer_value *column(enum mer_table table, const struct mer_value row[],
                                      const char *name)
{
	const struct dal_query *shape = &dal_queries[of_table(MER_Q_TABLE_ROWS, table)];
	for (size_t i = 0; i < shape->n_fields; i++) {
		if (strcmp(shape->fields[i].column, name) == 0)
			return &row[i];
	}
	return NULL;
}

/* Whether somebody has changed the row since it was made. */
static bool was_changed(enum mer_table table, const struct mer_value row[])
{
	const struct mer_value *created = column(table, row, "created_at");
	const struct mer_value *updated = column(table, row, "updated_at");
	return created != NULL && updated != NULL &&
	       (created->text.len != updated->text.len ||
	        memcmp(created->text.ptr, updated->text.ptr, created->text.len) != 0);
}

/* A row that a script made: of MER's, or of the source's as well. */
static enum mer_status on_scripted(void *ctx, const struct mer_value row[], struct mer_error *err)
{
	const struct emptiness *emptiness = ctx;
	const struct mer_str key = row[0].text;
	if (was_changed(emptiness->table, row))
		return fail_not_empty(emptiness, "a changed", key, err);
	const size_t n = strlen(SCRIPTED);
	if (key.len > n && memcmp(key.ptr, SCRIPTED, n) == 0)
		return MER_OK;
	int64_t there = 0;
	enum mer_status st = mer_dal_query(emptiness->from, of_table(MER_Q_TABLE_HAS, emptiness->table),
	                                   &row[0], 1, mer_take_count, &there, err);
	return st == MER_OK && there == 0 ? fail_not_empty(emptiness, "already", key, err) : st;
}

static enum mer_status check_empty(struct mer_dal *from, struct mer_dal *to, struct mer_error *err)
{
	enum mer_status st = mer_owners_sweep(to, true, NULL, err); /* who is left after it lives */
	for (int i = 0; st == MER_OK && i < MER_TABLE_COUNT; i++) {
		const enum mer_table table = (enum mer_table)i;
		struct emptiness emptiness = { from, to, table };
		struct reader reader = { .dal = to,
			                     .table = table,
			                     .on_row = table < MER_TABLE_RUNS ? on_scripted : on_used,
			                     .ctx = &emptiness };
		st = read_table(&reader, err);
	}
	return st;
}

/* --- copying ------------------------------------------------------------------------------ */

/* The copying of a table. */
struct copy {
	struct mer_dal *to;
	enum mer_table table;
	bool any_bytes; /* the target takes texts that are none */
	size_t n_columns;
	size_t unsettled;
	struct mer_sha256 hash;
	struct mer_copy_table *out;
};

/* Whether every database takes it for text. */
static bool is_sound(struct mer_str text)
{
	return text.len == 0 || (mer_utf8_span(text.ptr, text.len) == text.len &&
	                         memchr(text.ptr, '\0', text.len) == NULL);
}

/* Makes U+FFFD of the bytes of a text that are none; *owned is what to free. */
static enum mer_status mend(struct mer_str *text, char **owned, struct mer_error *err)
{
	struct mer_buf buf;
	mer_buf_init(&buf, 3 * text->len);
	mer_buf_add_utf8(&buf, text->ptr, text->len);
	enum mer_status st = mer_buf_take(&buf, owned, &text->len, err);
	if (st == MER_OK)
		text->ptr = *owned;
	return st;
}

/* Mends the texts of a row; owned has an entry a column. */
static enum mer_status mend_row(struct copy *copy, struct mer_value row[], char *owned[],
                                struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (size_t i = 0; st == MER_OK && i < copy->n_columns; i++) {
		struct mer_str *text = &row[i].text;
		if (row[i].type != MER_VALUE_TEXT || is_sound(*text))
			continue;
		st = mend(text, &owned[i], err);
		copy->out->mended++;
	}
	return st;
}

static size_t size_of(const struct mer_value row[], size_t n)
{
	size_t size = 0;
	for (size_t i = 0; i < n; i++)
		size += sizeof row[i] + row[i].text.len;
	return size;
}

/* Asks for an answer now and then, so that what waits for one stays little. */
static enum mer_status insert(struct copy *copy, const struct mer_value row[],
                              struct mer_error *err)
{
	int64_t changed;
	copy->unsettled += size_of(row, copy->n_columns);
	const bool settle = copy->unsettled > UNSETTLED_MAX;
	if (settle)
		copy->unsettled = 0;
	return mer_dal_exec(copy->to, of_table(MER_Q_TABLE_INSERT, copy->table), row, copy->n_columns,
	                    settle ? &changed : NULL, err);
}

static enum mer_status on_copied(void *ctx, const struct mer_value values[], struct mer_error *err)
{
	struct copy *copy = ctx;
	struct mer_value row[DAL_FIELDS_MAX];
	char *owned[DAL_FIELDS_MAX] = { NULL };
	memcpy(row, values, copy->n_columns * sizeof *row);
	enum mer_status st = copy->any_bytes ? MER_OK : mend_row(copy, row, owned, err);
	if (st == MER_OK) {
		digest_row(&copy->hash, row, copy->n_columns);
		copy->out->rows++;
		st = insert(copy, row, err);
	}
	for (size_t i = 0; i < copy->n_columns; i++)
		free(owned[i]);
	return st;
}

static enum mer_status copy_table(struct mer_dal *from, struct mer_dal *to, enum mer_table table,
                                  const atomic_bool *stop, struct mer_copy_table *out,
                                  struct mer_error *err)
{
	struct copy copy = {
		.to = to,
		.table = table,
		.any_bytes = strcmp(mer_dal_dialect(to), "sqlite") == 0,
		.n_columns = dal_queries[of_table(MER_Q_TABLE_ROWS, table)].n_fields,
		.out = out,
	};
	struct reader reader = {
		.dal = from, .table = table, .stop = stop, .on_row = on_copied, .ctx = &copy
	};
	*out = (struct mer_copy_table){ .name = tables[table].name };
	mer_sha256_init(&copy.hash);
	enum mer_status st = read_table(&reader, err);
	mer_sha256_end(&copy.hash, out->sha256);
	return st == MER_OK ? st : mer_wrap(err, st, "cannot copy '%s'", out->name);
}

/* --- verifying ---------------------------------------------------------------------------- */

struct check {
	size_t n_columns;
	int64_t rows;
	struct mer_sha256 hash;
};

static enum mer_status on_written(void *ctx, const struct mer_value row[], struct mer_error *err)
{
	(void)err;
	struct check *check = ctx;
	check->rows++;
	digest_row(&check->hash, row, check->n_columns);
	return MER_OK;
}

static enum mer_status verify_table(struct mer_dal *to, enum mer_table table,
                                    const atomic_bool *stop, const struct mer_copy_table *want,
                                    struct mer_error *err)
{
	struct check check = { .n_columns = dal_queries[of_table(MER_Q_TABLE_ROWS, table)].n_fields };
	struct reader reader = {
		.dal = to, .table = table, .stop = stop, .on_row = on_written, .ctx = &check
	};
	char sha256[MER_SHA256_SIZE];
	mer_sha256_init(&check.hash);
	enum mer_status st = read_table(&reader, err);
	mer_sha256_end(&check.hash, sha256);
	if (st != MER_OK)
		return mer_wrap(err, st, "cannot verify '%s'", want->name);
	if (check.rows == want->rows && strcmp(sha256, want->sha256) == 0)
		return MER_OK;
	(void)mer_fail(err, MER_EDATABASE,
	               "'%s' of the database '%s' is not what was written: %" PRId64 " rows of %" PRId64
	               ", sha256 %.12s instead of %.12s",
	               want->name, mer_dal_name(to), check.rows, want->rows, sha256, want->sha256);
	mer_hint(err, "nobody else may write to it meanwhile; it is left as it was");
	return MER_EDATABASE;
}

/* --- all of it ---------------------------------------------------------------------------- */

static enum mer_status clear(struct mer_dal *to, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (int table = MER_TABLE_COUNT; st == MER_OK && table-- > 0;)
		st = mer_dal_exec(to, of_table(MER_Q_TABLE_CLEAR, (enum mer_table)table), NULL, 0, NULL,
		                  err);
	return st;
}

static enum mer_status copy_all(struct mer_dal *from, struct mer_dal *to, const atomic_bool *stop,
                                struct mer_copy_table out[], struct mer_error *err)
{
	/* Or what somebody adds to the target meanwhile would be removed with what scripts made. */
	enum mer_status st =
		to->remote ? mer_dal_exec(to, MER_Q_LOCK_TABLES, NULL, 0, NULL, err) : MER_OK;
	if (st == MER_OK)
		st = check_scripts(from, to, err);
	if (st == MER_OK)
		st = check_source(from, err);
	if (st == MER_OK)
		st = check_empty(from, to, err);
	if (st == MER_OK)
		st = clear(to, err);
	if (st == MER_OK) /* weights refer to weights */
		st = mer_dal_exec(to, MER_Q_KEYS_LATER, NULL, 0, NULL, err);
	for (int i = 0; st == MER_OK && i < MER_TABLE_COUNT; i++)
		st = copy_table(from, to, (enum mer_table)i, stop, &out[i], err);
	return st;
}

static enum mer_status verify_all(struct mer_dal *to, const atomic_bool *stop,
                                  const struct mer_copy_table want[], struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (int i = 0; st == MER_OK && i < MER_TABLE_COUNT; i++)
		st = verify_table(to, (enum mer_table)i, stop, &want[i], err);
	return st;
}

enum mer_status mer_copy(struct mer_dal *from, struct mer_dal *to, const atomic_bool *stop,
                         struct mer_copy_table out[MER_TABLE_COUNT], struct mer_error *err)
{
	enum mer_status st = check_different(from, to, err);
	if (st == MER_OK)
		st = mer_dal_begin(to, err);
	if (st != MER_OK)
		return st;
	st = mer_dal_begin(from, err);
	if (st == MER_OK) {
		st = copy_all(from, to, stop, out, err);
		mer_dal_rollback(from); /* a server ends transactions in which nothing happens for long */
	}
	if (st == MER_OK)
		st = verify_all(to, stop, out, err);
	if (st != MER_OK) {
		mer_dal_rollback(to);
		return st;
	}
	st = mer_dal_end(to, true, err); /* checks foreign keys, too */
	return st == MER_OK ? st : mer_wrap(err, st, "cannot finish the copy");
}

/* --- what stays behind -------------------------------------------------------------------- */

static enum mer_status add_name(void *ctx, const void *row, struct mer_error *err)
{
	struct mer_buf *names = ctx;
	mer_buf_printf(names, "%s%s", names->len > 0 ? ", " : "",
	               ((const struct mer_name_row *)row)->name);
	return mer_buf_check(names, err);
}

enum mer_status mer_copy_others(struct mer_dal *from, struct mer_buf *names, struct mer_error *err)
{
	return mer_dal_query(from, MER_Q_OTHERS, NULL, 0, add_name, names, err);
}
