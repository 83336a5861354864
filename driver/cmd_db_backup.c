/* db backup and db restore: the metadata database as a file that can be kept, and back. */
#define LOG_AREA "db"
#include "commands.h"
#include "session.h"

#include <mer/backup.h>
#include <mer/clean.h>
#include <mer/log.h>

enum { BACKUP_COLUMNS = 4, RESTORE_COLUMNS };
static const struct out_column columns[RESTORE_COLUMNS] = {
	{ "file", OUT_SHORTEN },   { "bytes", OUT_NUMBER }, { "schema", OUT_NUMBER },
	{ "sha256", OUT_SHORTEN }, { "kept", OUT_NULL },
};

struct keeping {
	const char *url, *file;
	bool replace;
	atomic_bool stop;
	char *kept;
	struct mer_backup result;
};

static void cancel(void *ctx, bool kill)
{
	struct keeping *keeping = ctx;
	(void)kill;
	atomic_store(&keeping->stop, true);
}

static enum mer_status print(struct session *s, const struct keeping *keeping, size_t n_columns,
                             struct mer_error *err)
{
	const struct mer_cell cells[RESTORE_COLUMNS] = {
		mer_cell_text(keeping->file),
		mer_cell_i64(keeping->result.bytes),
		mer_cell_i64(keeping->result.schema_num),
		mer_cell_text(keeping->result.sha256),
		mer_cell_word(keeping->kept),
	};
	return out_object(s, columns, cells, n_columns, err);
}

/* --- db backup ---------------------------------------------------------------------------- */

enum { FILE_TO, FORCE };
static const struct cmd_arg backup_args[] = {
	[FILE_TO] =
		CMD_WORD("FILE", ARG_TEXT, "where to: a new file", .is = VALUE_FILE, .required = true),
	[FORCE] = CMD_FLAG("force", "FILE may be there: it is replaced, once the new one is whole"),
};

static enum mer_status run_backup(void *ctx, struct mer_error *err)
{
	struct keeping *keeping = ctx;
	return mer_backup(keeping->url, keeping->file, keeping->replace, &keeping->stop,
	                  &keeping->result, err);
}

static enum mer_status backup(struct session *s, const struct cmd_value *argv,
                              struct mer_error *err)
{
	struct keeping keeping = { .file = argv[FILE_TO].text, .replace = argv[FORCE].given };
	enum mer_status st = settings_database(&s->settings, &keeping.url, err);
	if (st == MER_OK)
		st = session_in_thread(s, run_backup, cancel, &keeping, err);
	if (st == MER_ECONFLICT && err->hint[0] == '\0')
		mer_hint(err, "--force replaces it");
	return st == MER_OK ? print(s, &keeping, BACKUP_COLUMNS, err) : st;
}

const struct cmd cmd_db_backup = {
	.name = "db backup",
	.summary = "copy the database to a file, while others go on using it",
	.notes =
		"All of it as it is at one moment, looked through before it gets its name; whatever ends it\n"
		"sooner leaves no FILE, or the one of before. FILE is this user's alone (0600), needs nothing\n"
		"beside it, and is a database that mer can be started with. The schema may be any, so this\n"
		"comes before mer-migrate up. A Postgres has pg_dump for this, and db copy goes from one to a\n"
		"file as well.\n",
	CMD_EXAMPLES("db backup mer-2026-01-31.db", "db backup --force --json last.db"),
	CMD_ARGS(backup_args),
	.formats = CMD_FORMATS_ALL,
	CMD_OBJECT(columns, BACKUP_COLUMNS),
	.run = backup,
};

/* --- db restore --------------------------------------------------------------------------- */

enum { FILE_FROM };
static const struct cmd_arg restore_args[] = {
	[FILE_FROM] =
		CMD_WORD("FILE", ARG_TEXT, "what db backup made", .is = VALUE_FILE, .required = true),
};

static enum mer_status run_restore(void *ctx, struct mer_error *err)
{
	struct keeping *keeping = ctx;
	return mer_restore(keeping->url, keeping->file, &keeping->stop, &keeping->kept,
	                   &keeping->result, err);
}

/* This mer has the database open, too. */
static enum mer_status let_go(struct session *s, struct mer_error *err)
{
	if (s->sched != NULL) {
		(void)mer_fail(err, MER_ECONFLICT, "this mer has run models, and so uses the database");
		mer_hint(err, "restore in a mer of its own: mer --allow-changes db restore FILE");
		return MER_ECONFLICT;
	}
	mer_dal_close(s->dal);
	s->dal = NULL;
	return MER_OK;
}

static enum mer_status restore(struct session *s, const struct cmd_value *argv,
                               struct mer_error *err)
{
	struct keeping keeping = { .file = argv[FILE_FROM].text };
	enum mer_status st = settings_database(&s->settings, &keeping.url, err);
	if (st == MER_OK)
		st = let_go(s, err);
	if (st == MER_OK)
		st = session_in_thread(s, run_restore, cancel, &keeping, err);
	if (st == MER_OK && keeping.result.schema_num < MER_SCHEMA_NUM)
		MER_LOG(MER_LOG_WARN, "the backup is older than this mer: 'mer-migrate up' comes next");
	if (st == MER_OK)
		st = print(s, &keeping, RESTORE_COLUMNS, err);
	free(keeping.kept);
	return st;
}

const struct cmd cmd_db_restore = {
	.name = "db restore",
	.summary = "put a backup in the place of the database",
	.notes =
		"FILE is looked through first: that it is whole, a mer's, and not newer than this mer. No other\n"
		"program may have the database open. What was there is kept beside it under the name that is\n"
		"printed (kept). It is one transaction: whatever ends it sooner leaves the database as it was.\n"
		"Runs that were open in the backup become lost, as of a mer that died. Of an older schema\n"
		"mer-migrate up comes next. A Postgres has pg_restore for this.\n",
	CMD_EXAMPLES("db restore mer-2026-01-31.db", "db restore --json mer-2026-01-31.db"),
	CMD_ARGS(restore_args),
	.needs = CMD_NEEDS_CHANGES,
	.formats = CMD_FORMATS_ALL,
	CMD_OBJECT(columns, RESTORE_COLUMNS),
	.run = restore,
};
