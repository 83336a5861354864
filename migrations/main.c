/*
 * mer-migrate: brings the metadata database up to date. Each command first compares the ledger with
 * the folders of scripts, then shows the plan or follows it.
 */
#include "progress.h"
#include "stop.h"
#include "work.h"

#include <mer/program.h>
#include <mer/url.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

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

static void choose_format(struct work *work)
{
	struct report *report = &work->report;
	report->quiet = work->options.quiet;
	if (work->options.json)
		report->format = MER_FORMAT_JSON;
	else
		report->format = isatty(STDOUT_FILENO) ? MER_FORMAT_TABLE : MER_FORMAT_PLAIN;
}

/* --help, --version and --print, which need nothing. */
static enum exit_code answer(struct work *work)
{
	struct report *report = &work->report;
	report->format = MER_FORMAT_PLAIN;
	if (work->options.help)
		options_help(work->options.command, &report->out);
	else if (work->options.man)
		options_man(&report->out);
	else
		mer_buf_text(&report->out, "mer-migrate " MER_VERSION "\n");
	return EXIT_DONE;
}

static enum exit_code run(struct work *work, int argc, char *argv[])
{
	enum mer_status st = mer_program_begin(&work->err);
	if (st == MER_OK)
		st = mer_url_blot_args(argc, argv, &work->err);
	if (st == MER_OK)
		st = options_parse(argc, argv, &work->options, &work->err);
	choose_format(work);
	if (st != MER_OK)
		return exit_code_of(st);
	if (work->options.help || work->options.version || work->options.man)
		return answer(work);
	stop_open();
	report_allow_stop(&work->report, "", NULL);
	if (work->report.format != MER_FORMAT_JSON && !work->options.quiet)
		progress_open();
	enum access access = work_access(work);
	st = access == ACCESS_NONE ? MER_OK : work_prepare(work, access);
	if (st != MER_OK)
		return exit_code_of(st);
	stop_hold();
	return work_do(work);
}

int main(int argc, char *argv[])
{
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
