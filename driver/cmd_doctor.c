/* doctor: what is wrong, and what to do about it; db check: the same of the database alone, and all of it. */
#include "commands.h"
#include "doctor.h"

#include <stdarg.h>
#include <string.h>

static const struct out_column columns[] = {
	{ "severity", 0 },
	{ "check", 0 },
	{ "subject", OUT_NULL | OUT_SHORTEN },
	{ "finding", OUT_SHORTEN },
	{ "advice", OUT_NULL | OUT_LINES },
};
enum { N_COLUMNS = sizeof columns / sizeof *columns, TEXT_SIZE = 1024 };

static const char *const severities[DOCTOR_SEVERITIES] = { "ok", "note", "warning", "fault" };

void doctor_say(struct doctor *doctor, enum doctor_severity severity, const char *check,
                const char *subject, const char *advice, const char *fmt, ...)
{
	char text[TEXT_SIZE];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	doctor->found[severity]++;
	bool silent = severity < DOCTOR_WARNING && setting_on(&doctor->s->settings, SET_QUIET);
	if (doctor->st != MER_OK || silent)
		return;
	const struct mer_cell cells[N_COLUMNS] = {
		mer_cell_text(severities[severity]),
		mer_cell_text(check),
		mer_cell_word(subject),
		mer_cell_text(text),
		mer_cell_word(advice),
	};
	doctor->st = out_row(doctor->s, cells, &doctor->err);
}

void doctor_say_error(struct doctor *doctor, enum doctor_severity severity, const char *check,
                      const char *subject, const struct mer_error *err)
{
	if (err->status == MER_ECANCELED && doctor->st == MER_OK) {
		doctor->st = MER_ECANCELED;
		doctor->err = *err;
		return;
	}
	doctor_say(doctor, severity, check, subject, err->hint, "%s", err->message);
}

static void count_text(int64_t n, const char *noun, char out[48])
{
	(void)snprintf(out, 48, "%lld %s%s", (long long)n, noun, n == 1 ? "" : "s");
}

/* Faults end it with a code of their own, which no status has. */
static enum mer_status verdict(struct doctor *doctor, const char *who, struct mer_error *err)
{
	struct session *s = doctor->s;
	char faults[48], warnings[48];
	if (doctor->found[DOCTOR_FAULT] == 0)
		return MER_OK;
	count_text(doctor->found[DOCTOR_FAULT], "fault", faults);
	count_text(doctor->found[DOCTOR_WARNING], "warning", warnings);
	enum mer_status st = mer_fail(err, MER_ECONFLICT, "%s found %s and %s", who, faults, warnings);
	s->out.told = true;
	s->reported = true;
	session_failed_as(s, s->at, EXIT_FAULT, err);
	return st;
}

static enum mer_status end(struct doctor *doctor, const char *who, struct mer_error *err)
{
	mer_dal_close(doctor->dal);
	if (doctor->st == MER_OK)
		doctor->st = out_end(doctor->s, &doctor->err);
	if (doctor->st != MER_OK) {
		*err = doctor->err;
		return doctor->st;
	}
	return verdict(doctor, who, err);
}

static enum mer_status doctor(struct session *s, const struct cmd_value *argv,
                              struct mer_error *err)
{
	struct doctor doctor = { .s = s };
	(void)argv;
	out_begin(s, columns, N_COLUMNS);
	doctor_database(&doctor);
	if (doctor.migrated && doctor.st == MER_OK)
		doctor_models(&doctor);
	if (doctor.st == MER_OK)
		doctor_files(&doctor);
	return end(&doctor, "doctor", err);
}

const struct cmd cmd_doctor = {
	.name = "doctor",
	.summary = "what is wrong here, and what to do about it",
	.notes =
		"Looks at the database, its schema, the rows of runs whose mer died, servers, deployments and\n"
		"weights, secrets in plain text, the installation, files and their modes, disks and clocks, and\n"
		"changes nothing. A row a finding: its severity is ok, note, warning or fault. With a fault\n"
		"among them it exits 9; with --quiet it tells warnings and faults only.\n",
	CMD_EXAMPLES("doctor", "doctor --json"),
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(columns, N_COLUMNS),
	.run = doctor,
};

/* --- db check ----------------------------------------------------------------------------- */

static enum mer_status check(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	struct doctor doctor = { .s = s, .thorough = true };
	(void)argv;
	out_begin(s, columns, N_COLUMNS);
	doctor_database(&doctor);
	return end(&doctor, "db check", err);
}

const struct cmd cmd_db_check = {
	.name = "db check",
	.summary = "look through the whole database for what is wrong",
	.notes =
		"Reads all of it, which takes its time, and changes nothing: whether it is whole, whether each\n"
		"row that another refers to is there, whether the scripts that have run are those of this mer,\n"
		"and whether runs are open that nobody will ever end. Rows and exit code are those of doctor:\n"
		"with a fault among them it exits 9.\n",
	CMD_EXAMPLES("db check", "db check --json"),
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(columns, N_COLUMNS),
	.run = check,
};
