/* Scripts on SQLite; sqlite.h. */
#include "sqlite.h"

#include <string.h>

/* Rows that are added break no other's keys, unless they replace some. */
static void note_added(struct sqlite *lite, const char *table)
{
	struct mer_buf *added = &lite->added;
	for (size_t at = 0; at < added->len; at += strlen(added->ptr + at) + 1) {
		if (strcmp(added->ptr + at, table) == 0)
			return;
	}
	mer_buf_add(added, table, strlen(table) + 1);
	if (lite->replaces || mer_buf_check(added, NULL) != MER_OK)
		lite->may_break_all = true;
}

/* SQLite asks it for whatever a statement of a script is about to do. */
static int on_authorize(void *ctx, int action, const char *a, const char *b, const char *database,
                        const char *trigger)
{
	struct sqlite *lite = ctx;
	(void)b, (void)database, (void)trigger;
	switch (action) {
	case SQLITE_TRANSACTION:
	case SQLITE_SAVEPOINT:
		if (!lite->within) /* VACUUM begins one of its own */
			return SQLITE_OK;
		lite->denied = true;
		return SQLITE_DENY;
	case SQLITE_INSERT:
		if (strncmp(a, "sqlite_", 7) != 0)
			note_added(lite, a);
		return SQLITE_OK;
	case SQLITE_UPDATE:
	case SQLITE_DELETE:
		if (strncmp(a, "sqlite_", 7) != 0)
			lite->may_break_all = true;
		return SQLITE_OK;
	case SQLITE_DROP_TABLE:
	case SQLITE_ALTER_TABLE: lite->may_break_all = true; return SQLITE_OK;
	default: return SQLITE_OK;
	}
}

/* Skips what is between statements, so that a place is the statement's own. */
static const char *skip_blanks(const char *sql)
{
	for (;;) {
		sql += strspn(sql, " \t\r\n\f;");
		if (sql[0] == '-' && sql[1] == '-') {
			sql += strcspn(sql, "\n");
		} else if (sql[0] == '/' && sql[1] == '*') {
			const char *end = strstr(sql + 2, "*/");
			if (end == NULL)
				return sql;
			sql = end + 2;
		} else if (strncmp(sql, "\xef\xbb\xbf", 3) == 0) {
			sql += 3;
		} else {
			return sql;
		}
	}
}

static struct mer_script_place place_of(const char *sql, const char *at)
{
	struct mer_script_place place = { .line = 1, .column = 1 };
	for (; sql < at; sql++) {
		place.column++;
		if (*sql == '\n') {
			place.line++;
			place.column = 1;
		}
	}
	return place;
}

/* What the database says of a script: mostly that the script is wrong. */
static enum mer_status fail_script(struct sqlite *lite, struct mer_error *err)
{
	if (lite->denied)
		return mer_fail(err, MER_EINPUT, "a script must not begin or end a transaction");
	int code = sqlite3_extended_errcode(lite->db);
	switch (code & 0xff) {
	case SQLITE_ERROR:
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
	case SQLITE_RANGE:
	case SQLITE_AUTH:
	case SQLITE_TOOBIG: return mer_fail(err, MER_EINPUT, "%s", sqlite3_errmsg(lite->db));
	default: return lite_fail_code(lite, code, err);
	}
}

/* Runs the first statement; *sql moves behind it, and on failure to where it failed. */
static enum mer_status run_statement(struct sqlite *lite, const char **sql, struct mer_error *err)
{
	const char *tail;
	sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(lite->db, *sql, -1, &stmt, &tail);
	if (code == SQLITE_OK && stmt != NULL) {
		do
			code = sqlite3_step(stmt);
		while (code == SQLITE_ROW);
		if (code == SQLITE_DONE)
			code = SQLITE_OK;
	}
	enum mer_status st = MER_OK;
	if (code != SQLITE_OK) {
		int offset = stmt == NULL ? sqlite3_error_offset(lite->db) : -1;
		st = fail_script(lite, err);
		*sql += offset > 0 ? offset : 0;
	} else {
		*sql = skip_blanks(tail);
	}
	(void)sqlite3_finalize(stmt);
	return st;
}

/* Looks for a row that refers to none; in a table, or in all of them (NULL). */
static enum mer_status check_table(struct sqlite *lite, const char *table, struct mer_error *err)
{
	char *sql = table != NULL ? sqlite3_mprintf("PRAGMA foreign_key_check(%Q)", table)
	                          : sqlite3_mprintf("PRAGMA foreign_key_check");
	if (sql == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory in the database '%s'", lite->base.name);
	sqlite3_stmt *stmt;
	int code = sqlite3_prepare_v2(lite->db, sql, -1, &stmt, NULL);
	sqlite3_free(sql);
	if (code != SQLITE_OK)
		return fail_script(lite, err);
	enum mer_status st = MER_OK;
	code = sqlite3_step(stmt);
	if (code == SQLITE_ROW)
		st = mer_fail(
			err, MER_EINPUT, "after it a row of '%s' refers to a row of '%s' that is not there",
			(const char *)sqlite3_column_text(stmt, 0), (const char *)sqlite3_column_text(stmt, 2));
	else if (code != SQLITE_DONE)
		st = fail_script(lite, err);
	(void)sqlite3_finalize(stmt);
	return st;
}

/* Such a row is found at the end, since foreign keys are off while scripts run. Not all tables are
 * looked at where a few are enough: else many scripts would cost the square of their number. */
static enum mer_status check_keys(struct sqlite *lite, struct mer_error *err)
{
	if (lite->may_break_all)
		return check_table(lite, NULL, err);
	enum mer_status st = MER_OK;
	const struct mer_buf *added = &lite->added;
	for (size_t at = 0; st == MER_OK && at < added->len; at += strlen(added->ptr + at) + 1)
		st = check_table(lite, added->ptr + at, err);
	return st;
}

enum mer_status lite_script(struct mer_dal *dal, const char *sql, size_t len,
                            struct mer_script_place *place, struct mer_error *err)
{
	struct sqlite *lite = lite_of(dal);
	const char *nul = memchr(sql, '\0', len);
	if (nul != NULL) {
		*place = place_of(sql, nul);
		return mer_fail(err, MER_EINPUT, "a NUL byte in the script");
	}
	const char *at = skip_blanks(sql);
	lite->within = !sqlite3_get_autocommit(lite->db);
	if (!lite->within)
		lite->canceled = 0;
	enum mer_status st = MER_OK;
	lite->denied = lite->may_break_all = false;
	lite->replaces = strcasestr(sql, "replace") != NULL;
	mer_buf_clear(&lite->added);
	(void)sqlite3_set_authorizer(lite->db, on_authorize, lite);
	while (st == MER_OK && *at != '\0') {
		const char *statement = at;
		st = run_statement(lite, &at, err);
		/* INSERT OR ROLLBACK and RAISE(ROLLBACK) end it without asking. */
		if (lite->within && sqlite3_get_autocommit(lite->db) &&
		    (st == MER_OK || st == MER_EINPUT)) {
			at = statement;
			st = st == MER_OK ? mer_fail(err, MER_EINPUT, "the script ended its transaction")
			                  : mer_wrap(err, st, "the script ended its transaction");
		}
	}
	(void)sqlite3_set_authorizer(lite->db, NULL, NULL);
	if (st != MER_OK) {
		*place = place_of(sql, at);
		/* A single statement is undone. */
		place->untouched = !lite->within && (st == MER_EINPUT || st == MER_ECANCELED);
		return st;
	}
	int keys_on = 1;
	(void)sqlite3_db_config(lite->db, SQLITE_DBCONFIG_ENABLE_FKEY, -1, &keys_on);
	return keys_on ? MER_OK : check_keys(lite, err);
}
