/*
 * mer-migrate: brings the metadata database up to date. Each command first compares the ledger with
 * the folders of scripts, then shows the plan or follows it.
 */
#include "apply.h"
#include "ledger.h"
#include "options.h"
#include "report.h"
#include "scan.h"
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mer/clean.h>
#include <mer/env.h>
#include <mer/file.h>
#include <mer/text.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/* One call of the program. */
struct work {
	struct options options;
	struct report report;
	struct mer_error err;
	const struct script *culprit; /* the script that err is about, and where in it; or NULL */
	int64_t line, column;

	char *url, *own_dir; /* owned */
	bool default_url, no_database;
	enum sql_dialect dialect;
	struct scan scan;
	struct ledger ledger;
	struct apply apply;
	struct plan plan;
};

static void work_release(struct work *work)
{
	plan_release(&work->plan);
	apply_release(&work->apply);
	ledger_release(&work->ledger);
	scan_release(&work->scan);
	free(work->own_dir);
	free(work->url);
	report_release(&work->report);
	options_release(&work->options);
}

/* --- settings ----------------------------------------------------------------------------- */

static enum mer_status on_setting(void *ctx, const char *name, const char *value,
                                  struct mer_error *err)
{
	struct work *work = ctx;
	if (strcmp(name, "MER_DATABASE_URL") != 0 || *value == '\0')
		return MER_OK;
	char *url = strdup(value);
	if (url == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	free(work->url);
	work->url = url;
	return MER_OK;
}

/* A variable that is set to nothing counts as not set, as in env files of Compose. */
static const char *setting(const char *name)
{
	const char *value = getenv(name);
	return value != NULL && *value != '\0' ? value : NULL;
}

/* The command line beats the environment, that the env file, that the default. */
static enum mer_status choose_url(struct work *work)
{
	struct mer_error *err = &work->err;
	const char *file = work->options.env_file, *given = work->options.database;
	if (file == NULL)
		file = setting("MER_ENV_FILE");
	if (file != NULL) {
		enum mer_status st = mer_env_read(file, on_setting, work, err);
		if (st != MER_OK)
			return st == MER_ENOMEM ? st : MER_EINPUT;
	}
	if (given == NULL)
		given = setting("MER_DATABASE_URL");
	if (given != NULL) {
		free(work->url);
		work->url = strdup(given);
	} else if (work->url == NULL) {
		MER_AUTO(mer_text_done) char *state = NULL;
		enum mer_status st = mer_place(MER_PLACE_STATE, &state, err);
		if (st != MER_OK)
			return st;
		work->url = mer_text_new("sqlite:%s/mer.db", state);
		work->default_url = true;
	}
	return work->url != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

/* --- before a command --------------------------------------------------------------------- */

static enum mer_status connect_to(struct work *work, unsigned flags)
{
	struct mer_dal *dal;
	enum mer_status st = mer_dal_open(work->url, MER_DAL_ANY_SCHEMA | flags, &dal, &work->err);
	if (st == MER_OK)
		apply_init(&work->apply, work->url, dal);
	return st;
}

/* A server is asked at once: without one there is no need for scripts. A file is not made before
 * they are found to be fine. */
static enum mer_status choose_dialect(struct work *work)
{
	const char *name = mer_dal_dialect_of(work->url);
	bool known = name != NULL && sql_dialect_by_name(name, &work->dialect);
	if (known && work->dialect == SQL_SQLITE)
		return MER_OK;
	enum mer_status st = connect_to(work, 0); /* it also says what is wrong with a URL */
	if (st == MER_OK && !known)
		st = mer_fail(&work->err, MER_EINPUT, "no scripts are known for this kind of database");
	return st;
}

static enum mer_status list_scripts(struct work *work)
{
	struct options *options = &work->options;
	if (options->n_dirs > 0)
		return scan_list(&work->scan, options->dirs, options->n_dirs, &work->err);
	MER_AUTO(mer_text_done) char *place = NULL;
	enum mer_status st = mer_place(MER_PLACE_SQL, &place, &work->err);
	if (st != MER_OK)
		return st;
	work->own_dir = mer_text_new("%s/%s", place, mer_dal_dialect_of(work->url));
	if (work->own_dir == NULL)
		return mer_fail(&work->err, MER_ENOMEM, "out of memory");
	const char *dirs[] = { work->own_dir };
	return scan_list(&work->scan, dirs, 1, &work->err);
}

/* The file of an SQLite database, or NULL. */
static const char *database_file(const struct work *work)
{
	static const char scheme[] = "sqlite:";
	if (work->dialect != SQL_SQLITE)
		return NULL;
	bool has_scheme = strncmp(work->url, scheme, sizeof scheme - 1) == 0;
	const char *path = work->url + (has_scheme ? sizeof scheme - 1 : 0);
	return *path != '\0' ? path : NULL;
}

/* Makes the folder of the default database. That of another one must exist: else a slip in its name
 * would make a second database in a strange place. */
static enum mer_status check_folder(struct work *work, const char *file, bool change)
{
	const char *slash = strrchr(file, '/');
	if (slash == NULL || slash == file)
		return MER_OK;
	MER_AUTO(mer_text_done) char *folder = strndup(file, (size_t)(slash - file));
	if (folder == NULL)
		return mer_fail(&work->err, MER_ENOMEM, "out of memory");
	if (work->default_url) {
		enum mer_status st = change ? mer_make_folders(folder, &work->err) : MER_OK;
		return st == MER_EIO ? MER_EDATABASE : st;
	}
	struct stat info;
	if (stat(folder, &info) == 0 || (errno != ENOENT && errno != ENOTDIR))
		return MER_OK; /* the database says what is wrong */
	(void)mer_fail(&work->err, MER_EDATABASE, "there is no folder '%s' for the database", folder);
	mer_hint(&work->err, "mkdir -p %s", folder);
	return MER_EDATABASE;
}

/* Opens the database, unless there is none yet and none is to be made: that is to look at like an
 * empty one. */
static enum mer_status open_database(struct work *work, bool change)
{
	if (work->apply.work != NULL)
		return MER_OK;
	const char *file = database_file(work);
	struct stat info;
	if (file != NULL && stat(file, &info) < 0 && errno == ENOENT) {
		enum mer_status st = check_folder(work, file, change);
		if (st != MER_OK)
			return st;
		work->no_database = !change;
	}
	if (work->no_database)
		return MER_OK;
	return connect_to(work, change ? MER_DAL_CREATE : 0);
}

/* Everything up to the plan. What changes the database holds the lock from here on, and what it
 * reads is what stands under the lock. */
static enum mer_status prepare(struct work *work, bool change)
{
	struct mer_error *err = &work->err;
	enum mer_status st = choose_url(work);
	if (st == MER_OK)
		st = choose_dialect(work);
	if (st == MER_OK)
		st = list_scripts(work);
	if (st == MER_OK)
		st = open_database(work, change);
	if (st == MER_OK && change)
		st = apply_lock(&work->apply, work->options.wait_ms, err);
	if (st == MER_OK && !work->no_database)
		st = ledger_read(work->apply.work, &work->ledger, err);
	if (st == MER_OK)
		st = scan_read(&work->scan, work->dialect, work->ledger.rows, work->ledger.n, err);
	if (st != MER_OK)
		return st;
	work->apply.ledger = work->ledger.exists;
	struct plan_input input = {
		.rows = work->ledger.rows,
		.n_rows = work->ledger.n,
		.scripts = work->scan.scripts,
		.n_scripts = work->scan.n,
		.strict = work->options.strict,
		.own_only = work->options.n_dirs == 0,
		.to = work->options.to,
	};
	return plan_make(&input, &work->plan, err);
}

/* --- commands ----------------------------------------------------------------------------- */

/* The plan's verdict, with what hinders in err. */
static enum exit_code judge(struct work *work)
{
	if (work->plan.code != EXIT_DONE) {
		const struct entry *only = plan_explain(&work->plan, &work->err);
		if (only != NULL && only->state == ENTRY_REFUSED) {
			work->culprit = only->script;
			work->line = only->script->line;
			work->column = only->script->column;
		}
	}
	return work->plan.code;
}

static bool on_terminal(const struct work *work)
{
	return work->report.format == MER_FORMAT_TABLE;
}

/* What people might wonder about, and programs need not. */
static void say_no_database(struct work *work)
{
	if (work->no_database && on_terminal(work))
		report_line(&work->report, "there is no database '%s' yet", work->url);
}

static enum exit_code status(struct work *work)
{
	say_no_database(work);
	report_view(&work->report, VIEW_STATUS, &work->plan);
	if (!work->options.check)
		return EXIT_DONE;
	enum exit_code code = judge(work);
	return code == EXIT_DONE && work->plan.states[ENTRY_PENDING] > 0 ? EXIT_PENDING : code;
}

static enum exit_code plan(struct work *work)
{
	say_no_database(work);
	report_view(&work->report, VIEW_PLAN, &work->plan);
	if (on_terminal(work) && work->plan.actions[ACTION_APPLY] == 0 && work->plan.code == EXIT_DONE)
		report_line(&work->report, "nothing to do");
	return judge(work);
}

static enum exit_code verify(struct work *work)
{
	say_no_database(work);
	report_view(&work->report, VIEW_VERIFY, &work->plan);
	if (on_terminal(work) && work->plan.code == EXIT_DONE)
		report_line(&work->report, "%zu scripts have run, %zu are pending", work->ledger.n,
		            work->plan.states[ENTRY_PENDING]);
	return judge(work);
}

static void warn(const struct work *work)
{
	for (size_t i = 0; i < work->plan.n; i++) {
		struct mer_error note;
		if (work->plan.entries[i].action != ACTION_NOTE)
			continue;
		entry_explain(&work->plan.entries[i], &note);
		report_warning(&work->report, &note);
	}
}

/* Puts the script and the place in front of what the database said. */
static void blame(struct work *work, const struct script *script, struct mer_script_place place)
{
	struct mer_error *err = &work->err;
	/* Behind the last byte there is nothing to point at: it is the whole that is wrong. */
	int64_t last_line, last_column;
	sql_place(script->text, script->len, &last_line, &last_column);
	bool whole = place.line == 0 || (place.line == last_line && place.column >= last_column);
	if (whole) {
		(void)mer_wrap(err, err->status, "%s/%s", script->folder, script->file);
	} else {
		(void)mer_wrap(err, err->status, "%s/%s:%" PRId64 ":%" PRId64, script->folder, script->file,
		               place.line, place.column);
		work->culprit = script;
		work->line = place.line;
		work->column = place.column;
	}
	mer_hint(err, "nothing of it was kept: mend it, then run mer-migrate up again");
}

static enum exit_code apply_all(struct work *work)
{
	size_t n = 0;
	int64_t began_ms = mer_time_now_ms();
	for (size_t i = 0; i < work->plan.n; i++) {
		const struct script *script = work->plan.entries[i].script;
		if (work->plan.entries[i].action != ACTION_APPLY)
			continue;
		char doing[300];
		(void)snprintf(doing, sizeof doing, ": '%s' is rolled back", script->file);
		report_allow_stop(&work->report, doing);
		struct apply_result result;
		enum exit_code code = apply_script(&work->apply, script, &result, &work->err);
		if (code == EXIT_SCRIPT)
			blame(work, script, result.place);
		else if (code != EXIT_DONE)
			(void)mer_wrap(&work->err, work->err.status, "'%s' was not applied", script->file);
		if (code != EXIT_DONE)
			return code;
		report_applied(&work->report, script, result.duration_ms);
		n++;
	}
	if (n > 0)
		report_line(&work->report, "%zu script%s applied in %" PRId64 " ms", n, n == 1 ? "" : "s",
		            mer_time_now_ms() - began_ms);
	else
		report_line(&work->report, "nothing to do, %zu script%s applied", work->ledger.n,
		            work->ledger.n == 1 ? " is" : "s are");
	return EXIT_DONE;
}

static enum exit_code up(struct work *work)
{
	if (work->options.dry_run)
		return plan(work);
	warn(work);
	enum exit_code code = judge(work);
	if (code != EXIT_DONE)
		return code;
	stop_hold();
	report_begin(&work->report);
	return apply_all(work);
}

static enum exit_code (*const commands[])(struct work *work) = {
	[COMMAND_UP] = up,
	[COMMAND_STATUS] = status,
	[COMMAND_PLAN] = plan,
	[COMMAND_VERIFY] = verify,
};

/* --- the program -------------------------------------------------------------------------- */

/* Gives the standard descriptors something that fails instead of leaving their numbers to the
 * database's files. */
static void keep_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
			_exit(EXIT_DEFECT);
	}
}

static void choose_format(struct work *work)
{
	struct report *report = &work->report;
	report->quiet = work->options.quiet;
	if (work->options.json)
		report->format = MER_FORMAT_JSON;
	else
		report->format = isatty(STDOUT_FILENO) ? MER_FORMAT_TABLE : MER_FORMAT_PLAIN;
}

/* --help and --version, which need nothing. */
static enum exit_code answer(struct work *work)
{
	struct report *report = &work->report;
	report->format = MER_FORMAT_PLAIN;
	if (work->options.help)
		options_help(work->options.command, &report->out);
	else
		mer_buf_text(&report->out, "mer-migrate " MER_VERSION "\n");
	return EXIT_DONE;
}

static enum exit_code run(struct work *work, int argc, char *const argv[])
{
	enum mer_status st = options_parse(argc, argv, &work->options, &work->err);
	choose_format(work);
	if (st != MER_OK)
		return exit_code_of(st);
	if (work->options.help || work->options.version)
		return answer(work);
	stop_open();
	report_allow_stop(&work->report, "");
	st = prepare(work, work->options.command == COMMAND_UP && !work->options.dry_run);
	if (st != MER_OK)
		return exit_code_of(st);
	if (work->options.command != COMMAND_UP)
		stop_hold();
	return commands[work->options.command](work);
}

int main(int argc, char *argv[])
{
	keep_descriptors();
	(void)signal(SIGXFSZ, SIG_IGN); /* an error like a full disk, which is reported */
	(void)signal(SIGPIPE, SIG_IGN); /* a reader that leaves must not end it between two scripts */
	(void)signal(SIGXFSZ, SIG_IGN); /* a file that must not grow is a database that is full */
	struct work work = { 0 };
	report_init(&work.report);
	scan_init(&work.scan);
	ledger_init(&work.ledger);
	enum exit_code code = run(&work, argc, argv);
	bool failed = work.err.message[0] != '\0' && code != EXIT_DONE;
	code = report_end(&work.report, code, failed ? &work.err : NULL);
	if (failed)
		report_error(&work.err, work.culprit, work.line, work.column);
	work_release(&work);
	return (int)code;
}
