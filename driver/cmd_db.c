/* db copy: the metadata database as a whole. */
#define LOG_AREA "db"
#include "commands.h"
#include "session.h"

#include <mer/copy.h>
#include <mer/log.h>
#include <string.h>

/* --- db copy ------------------------------------------------------------------------------ */

enum { FROM, TO };
static const struct cmd_arg copy_args[] = {
	[FROM] = CMD_OPTION("from", ARG_TEXT, "URL", "the database to copy", .secret = SECRET_URL,
	                    .required = true),
	[TO] = CMD_OPTION("to", ARG_TEXT, "URL", "a new one, migrated and not used yet",
	                  .secret = SECRET_URL, .required = true),
};

enum { COPY_COLUMNS = 4 };
static const struct out_column copy_columns[COPY_COLUMNS] = {
	{ "table", 0 },
	{ "rows", OUT_NUMBER },
	{ "mended", OUT_NUMBER },
	{ "sha256", OUT_SHORTEN },
};

enum { OTHERS_MAX = 1 << 20 }; /* bytes of names */

struct copying {
	struct mer_dal *from, *to;
	atomic_bool stop;
	struct mer_copy_table tables[MER_TABLE_COUNT];
	struct mer_buf others; /* names of what stays behind */
};

static enum mer_status run_copy(void *ctx, struct mer_error *err)
{
	struct copying *copying = ctx;
	enum mer_status st = mer_copy_others(copying->from, &copying->others, err);
	if (st == MER_OK)
		st = mer_copy(copying->from, copying->to, &copying->stop, copying->tables, err);
	return st;
}

static void cancel_copy(void *ctx, bool kill)
{
	struct copying *copying = ctx;
	(void)kill;
	atomic_store(&copying->stop, true); /* what the connections do and wait for ends by itself */
}

static enum mer_status print_tables(struct session *s, const struct mer_copy_table tables[],
                                    struct mer_error *err)
{
	enum mer_status st = MER_OK;
	out_begin(s, copy_columns, COPY_COLUMNS);
	for (size_t i = 0; st == MER_OK && i < MER_TABLE_COUNT; i++) {
		const struct mer_cell cells[COPY_COLUMNS] = {
			mer_cell_text(tables[i].name),
			mer_cell_i64(tables[i].rows),
			mer_cell_i64(tables[i].mended),
			mer_cell_text(tables[i].sha256),
		};
		st = out_row(s, cells, err);
	}
	return st == MER_OK ? out_end(s, err) : st;
}

static enum mer_status copy(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	if (strcmp(argv[FROM].text, argv[TO].text) == 0)
		return mer_fail(err, MER_EINPUT, "--from and --to are the same database");
	struct copying copying = { 0 };
	mer_buf_init(&copying.others, OTHERS_MAX);
	enum mer_status st = session_open_dal(argv[FROM].text, MER_DAL_READ, &copying.from, err);
	if (st == MER_OK)
		st = session_open_dal(argv[TO].text, MER_DAL_LONG, &copying.to, err);
	if (st == MER_OK)
		st = session_in_thread(s, run_copy, cancel_copy, &copying, err);
	mer_dal_close(copying.from);
	mer_dal_close(copying.to);
	if (st == MER_OK && copying.others.len > 0 && mer_log_on(MER_LOG_WARN, LOG_AREA))
		mer_log_write(MER_LOG_WARN, LOG_AREA, "not copied, since it is not mer's: %s",
		              copying.others.ptr);
	mer_buf_release(&copying.others);
	if (st == MER_OK)
		session_note(s, "copied; --database or MER_DATABASE_URL says which one to use");
	return st == MER_OK ? print_tables(s, copying.tables, err) : st;
}

const struct cmd cmd_db_copy = {
	.name = "db copy",
	.summary = "move all that mer knows to another database, of whatever kind",
	.notes =
		"The other one is made before, by mer-migrate up; nothing else has used it. All goes over in\n"
		"one transaction and is read again there and compared by digest; whatever ends it sooner\n"
		"leaves the other one as it was. --from is only read, and as it was at the beginning: end\n"
		"each mer that uses it first. The rows printed say what is now there; mended is how many\n"
		"texts had bytes that are not UTF-8, which Postgres does not take: they became U+FFFD.\n"
		"Tables and columns that mer's own scripts have not made are named and stay behind.\n",
	CMD_EXAMPLES("db copy --from sqlite:mer.db --to sqlite:copy.db",
	             "db copy --json --from sqlite:mer.db --to sqlite:copy.db"),
	CMD_ARGS(copy_args),
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(copy_columns, COPY_COLUMNS),
	.run = copy,
};
