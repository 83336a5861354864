/* db copy: the metadata database as a whole. */
#define LOG_AREA "db"
#include "commands.h"
#include "session.h"

#include <mer/copy.h>
#include <mer/log.h>
#include <mer/work.h>
#include <string.h>

/* --- db copy ------------------------------------------------------------------------------ */

enum { FROM, TO };
static const struct cmd_arg copy_args[] = {
	[FROM] = CMD_OPTION("from", ARG_TEXT, "URL", "the database to copy", .required = true),
	[TO] =
		CMD_OPTION("to", ARG_TEXT, "URL", "a new one, migrated and not used yet", .required = true),
};

enum { COPY_COLUMNS = 4 };
static const struct out_column copy_columns[COPY_COLUMNS] = {
	{ "table", 0 },
	{ "rows", OUT_RIGHT },
	{ "mended", OUT_RIGHT },
	{ "sha256", OUT_SHORTEN },
};

enum { OTHERS_MAX = 1 << 20 }; /* bytes of names */

/* It takes its time, in a thread, so that a signal can end it. */
struct copy_job {
	struct mer_job job; /* first: the thread gives it back */
	struct mer_dal *from, *to;
	atomic_bool stop;
	struct mer_copy_table tables[MER_TABLE_COUNT];
	struct mer_buf others; /* names of what stays behind */
	enum mer_status st;
	struct mer_error err;
	bool done, closed;
};

static void run_copy(struct mer_job *job)
{
	struct copy_job *copy = (struct copy_job *)job;
	copy->st = mer_copy_others(copy->from, &copy->others, &copy->err);
	if (copy->st == MER_OK)
		copy->st = mer_copy(copy->from, copy->to, &copy->stop, copy->tables, &copy->err);
}

static void on_copy_done(struct mer_job *job)
{
	((struct copy_job *)job)->done = true;
}

static void on_work_closed(void *ctx)
{
	((struct copy_job *)ctx)->closed = true;
}

static void cancel_copy(void *ctx, bool kill)
{
	struct copy_job *copy = ctx;
	(void)kill;
	atomic_store(&copy->stop, true);
	mer_dal_cancel(copy->from);
	mer_dal_cancel(copy->to);
}

static enum mer_status copy_in_thread(struct session *s, struct copy_job *copy,
                                      struct mer_error *err)
{
	uv_loop_t *loop;
	struct mer_work *work;
	enum mer_status st = session_loop(s, &loop, err);
	if (st == MER_OK)
		st = mer_work_open(loop, &work, err);
	if (st != MER_OK)
		return st;
	session_cancels(s, cancel_copy, copy);
	mer_work_push(work, &copy->job);
	session_run(s, &copy->done);
	session_cancels(s, NULL, NULL);
	mer_work_close(work, on_work_closed, copy);
	session_run(s, &copy->closed);
	if (copy->st != MER_OK && err != NULL)
		*err = copy->err;
	return copy->st;
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
	struct copy_job job = { .job = { .run = run_copy, .done = on_copy_done } };
	mer_buf_init(&job.others, OTHERS_MAX);
	enum mer_status st = mer_dal_open(argv[FROM].text, MER_DAL_READ, &job.from, err);
	if (st == MER_OK)
		st = mer_dal_open(argv[TO].text, MER_DAL_LONG, &job.to, err);
	if (st == MER_OK)
		st = copy_in_thread(s, &job, err);
	mer_dal_close(job.from);
	mer_dal_close(job.to);
	if (st == MER_OK && job.others.len > 0 && mer_log_on(MER_LOG_WARN, LOG_AREA))
		mer_log_write(MER_LOG_WARN, LOG_AREA, "not copied, since it is not mer's: %s",
		              job.others.ptr);
	mer_buf_release(&job.others);
	if (st == MER_OK)
		session_note(s, "copied; --database or MER_DATABASE_URL says which one to use");
	return st == MER_OK ? print_tables(s, job.tables, err) : st;
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
	CMD_ARGS(copy_args),
	.formats = CMD_FORMATS_ALL,
	.run = copy,
};
