/* The commands: each shows the plan or follows it. */
#include "work.h"

#include "new_script.h"
#include "progress.h"
#include "stop.h"

#include <assert.h>
#include <inttypes.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <signal.h>
#include <string.h>

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

/* What became of a script that failed is said with it. */
static void hint_at_rest(struct work *work, const struct script *script,
                         const struct apply_result *result)
{
	struct mer_error *err = &work->err;
	switch (result->rest) {
	case REST_NOTHING:
		if (strstr(err->message, "cannot run inside a transaction block") != NULL)
			mer_hint(err, "alone in a script whose first line is: -- mer: no-transaction");
		else if (strstr(err->message, "(SQLSTATE 40") != NULL)
			mer_hint(err, "another session was in the way: run mer-migrate up again");
		else
			mer_hint(err, "nothing of it was kept: mend it, then run mer-migrate up again");
		break;
	case REST_STARTED: entry_hint_half_done(script->num, err); break;
	case REST_UNKNOWN:
		mer_hint(err, "it is there as a whole or not at all: mer-migrate status tells");
		break;
	}
}

/* Puts the script and the place in front of what the database said. */
static void blame(struct work *work, const struct script *script, struct mer_script_place place)
{
	struct mer_error *err = &work->err;
	if (place.line == 0 && place.statement > 0)
		sql_place(
			script->text,
			script_statement(work->dialect, script->text, script->len, (size_t)place.statement),
			&place.line, &place.column);
	/* Behind the last byte there is nothing to point at: it is the whole that is wrong. */
	int64_t last_line, last_column;
	sql_place(script->text, script->len, &last_line, &last_column);
	bool whole = place.line == 0 || (place.line == last_line && place.column >= last_column);
	if (whole) {
		(void)mer_wrap(err, err->status, "%s/%s", script->folder, script->file);
		return;
	}
	(void)mer_wrap(err, err->status, "%s/%s:%" PRId64 ":%" PRId64, script->folder, script->file,
	               place.line, place.column);
	work->culprit = script;
	work->line = place.line;
	work->column = place.column;
}

static enum exit_code interrupted(struct work *work, int number, const char *what)
{
	(void)mer_fail(&work->err, MER_ECANCELED, "interrupted by %s: %s", stop_name(number), what);
	return number == SIGINT ? EXIT_INTERRUPTED : EXIT_TERMINATED;
}

static enum exit_code explain_failure(struct work *work, const struct script *script,
                                      const struct apply_result *result, enum exit_code code)
{
	int asked = stop_asked();
	if (asked != 0 && work->err.status == MER_ECANCELED) {
		char what[ENTRY_FILE_ROOM + 40];
		(void)snprintf(what, sizeof what, "'%s' is %s", script->file,
		               result->rest == REST_STARTED ? "half done" : "rolled back");
		code = interrupted(work, asked, what);
		if (result->rest != REST_NOTHING)
			hint_at_rest(work, script, result);
		return code;
	}
	if (code == EXIT_SCRIPT)
		blame(work, script, result->place);
	else if (result->rest == REST_UNKNOWN)
		(void)mer_wrap(&work->err, work->err.status, "it is not known whether '%s' was applied",
		               script->file);
	else
		(void)mer_wrap(&work->err, work->err.status, "'%s' was not applied", script->file);
	if (code == EXIT_SCRIPT || result->rest != REST_NOTHING)
		hint_at_rest(work, script, result);
	return code;
}

/* Connecting may take long. */
static enum mer_status renew(struct work *work, const struct script *script)
{
	char text[ENTRY_FILE_ROOM + 80];
	if (!apply_must_renew(&work->apply, script))
		return MER_OK;
	(void)snprintf(text, sizeof text, ": '%s' did not begin", script->file);
	report_allow_stop(&work->report, text, NULL);
	enum mer_status st = apply_renew(&work->apply, &work->err);
	stop_hold();
	return st;
}

/* One script; nth of all that are to be applied. */
static enum exit_code apply_one(struct work *work, const struct script *script, size_t nth)
{
	char text[ENTRY_FILE_ROOM + 80];
	struct apply_result result = { 0 };
	enum mer_status st = renew(work, script);
	if (st != MER_OK)
		return explain_failure(work, script, &result, exit_code_of(st));
	(void)snprintf(text, sizeof text, " again: the database may still be at '%s'", script->file);
	report_allow_stop(&work->report, text, work->apply.work);
	if (stop_asked() != 0) {
		stop_hold();
		(void)snprintf(text, sizeof text, "'%s' did not begin", script->file);
		return interrupted(work, stop_asked(), text);
	}
	(void)snprintf(text, sizeof text, "applying %s (%zu of %zu)", script->file, nth,
	               work->plan.actions[ACTION_APPLY]);
	progress_begin(text);
	enum exit_code code = apply_script(&work->apply, script, &result, &work->err);
	stop_hold();
	progress_end();
	if (code != EXIT_DONE)
		return explain_failure(work, script, &result, code);
	report_applied(&work->report, script, result.duration_ms);
	return EXIT_DONE;
}

static enum exit_code apply_all(struct work *work)
{
	size_t n = 0, all = work->plan.actions[ACTION_APPLY];
	int64_t began_ms = mer_time_now_ms();
	for (size_t i = 0; i < work->plan.n; i++) {
		const struct script *script = work->plan.entries[i].script;
		if (work->plan.entries[i].action != ACTION_APPLY)
			continue;
		enum exit_code code = apply_one(work, script, ++n);
		if (code != EXIT_DONE)
			return code;
		int asked = stop_asked();
		if (asked != 0 && n < all) {
			char done[80];
			(void)snprintf(done, sizeof done, "%zu of %zu scripts are applied", n, all);
			return interrupted(work, asked, done);
		}
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
	report_begin(&work->report, DEEDS_APPLIED);
	return apply_all(work);
}

/* --- commands that change rows alone ------------------------------------------------------ */

static enum exit_code change(struct work *work, struct changes *changes, enum deeds deeds)
{
	stop_hold();
	enum mer_status st = apply_changes(&work->apply, changes, &work->err);
	if (st != MER_OK)
		return exit_code_of(st);
	report_begin(&work->report, deeds);
	for (size_t i = 0; i < changes->n; i++)
		report_changed(&work->report, &changes->at[i]);
	return EXIT_DONE;
}

static enum exit_code baseline(struct work *work)
{
	struct changes changes = { 0 };
	enum mer_status st =
		settle_baseline(&work->plan, work->ledger.n, work->options.to, &changes, &work->err);
	enum exit_code code = st == MER_OK ? change(work, &changes, DEEDS_RECORDED) : exit_code_of(st);
	if (code == EXIT_DONE)
		report_line(&work->report, "%zu script%s recorded as applied, none was run", changes.n,
		            changes.n == 1 ? "" : "s");
	changes_release(&changes);
	return code;
}

/* Nothing was named: what could be. */
static enum exit_code list_repairs(struct work *work)
{
	report_view(&work->report, VIEW_VERIFY, &work->plan);
	enum exit_code code = judge(work);
	if (code == EXIT_HISTORY)
		mer_hint(&work->err, "mer-migrate repair --accept-edit N, or --forget N");
	else if (code == EXIT_DONE && work->plan.actions[ACTION_NOTE] == 0)
		report_line(&work->report, "nothing to repair");
	return code;
}

static enum exit_code repair(struct work *work)
{
	const struct options *options = &work->options;
	struct numbers accepts = { options->accepts, options->n_accepts };
	struct numbers forgets = { options->forgets, options->n_forgets };
	if (accepts.n + forgets.n == 0)
		return list_repairs(work);
	struct changes changes = { 0 };
	enum mer_status st = settle_repair(&work->plan, accepts, forgets, &changes, &work->err);
	enum exit_code code = st == MER_OK ? change(work, &changes, DEEDS_REPAIRED) : exit_code_of(st);
	changes_release(&changes);
	return code;
}

static enum exit_code write_new(struct work *work)
{
	const struct options *options = &work->options;
	MER_AUTO(mer_text_done) char *sql = NULL;
	struct new_script script = { 0 };
	enum mer_status st = options->n_dirs > 0 ? MER_OK : mer_place(MER_PLACE_SQL, &sql, &work->err);
	if (st == MER_OK)
		st = new_script_write(options->dirs, options->n_dirs, sql, options->name, &script,
		                      &work->err);
	if (st != MER_OK)
		return exit_code_of(st);
	report_begin(&work->report, DEEDS_WRITTEN);
	for (size_t i = 0; i < script.n; i++)
		report_written(&work->report, script.num, options->name, script.paths[i]);
	new_script_release(&script);
	return EXIT_DONE;
}

/* --- all of them -------------------------------------------------------------------------- */

static const struct {
	enum access access;
	enum exit_code (*run)(struct work *work);
} commands[] = {
	[COMMAND_UP] = { ACCESS_CREATE, up },
	[COMMAND_STATUS] = { ACCESS_READ, status },
	[COMMAND_PLAN] = { ACCESS_READ, plan },
	[COMMAND_VERIFY] = { ACCESS_READ, verify },
	[COMMAND_BASELINE] = { ACCESS_CHANGE, baseline },
	[COMMAND_REPAIR] = { ACCESS_CHANGE, repair },
	[COMMAND_NEW] = { ACCESS_NONE, write_new },
};
static_assert(sizeof commands / sizeof *commands == COMMAND_COUNT, "a row for each command");

/* One that would change something and is only asked about it reads. */
enum access work_access(const struct work *work)
{
	const struct options *options = &work->options;
	bool reads = options->dry_run || (options->command == COMMAND_REPAIR &&
	                                  options->n_accepts + options->n_forgets == 0);
	return reads ? ACCESS_READ : commands[options->command].access;
}

enum exit_code work_do(struct work *work)
{
	return commands[work->options.command].run(work);
}
