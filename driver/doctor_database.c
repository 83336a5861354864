/* doctor: the database, its schema, who owns open runs, its clock. */
#include "doctor.h"

#include <dirent.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/hash.h>
#include <mer/text.h>
#include <mer/uid.h>
#include <stdlib.h>
#include <string.h>

enum { OWNERS_MAX = 1000, CLOCK_SLACK_MS = 5000, SCRIPT_MAX = 16 << 20 };

/* --- its schema --------------------------------------------------------------------------- */

struct ledger {
	struct doctor *doctor;
	bool has[1000]; /* MER's own scripts, by number */
	char *sql;      /* the folder of the scripts */
};

/* The file of a script in the folder; NULL: none. The caller frees it. */
static char *find_script(const char *folder, int64_t num)
{
	DIR *dir = opendir(folder);
	char *path = NULL;
	for (const struct dirent *entry;
	     dir != NULL && path == NULL && (entry = readdir(dir)) != NULL;) {
		char *end;
		size_t len = strlen(entry->d_name);
		bool is = strtoll(entry->d_name, &end, 10) == num && end > entry->d_name && *end == '-' &&
		          len > 4 && strcmp(entry->d_name + len - 4, ".sql") == 0;
		if (is)
			path = mer_text_new("%s/%s", folder, entry->d_name);
	}
	if (dir != NULL)
		(void)closedir(dir);
	return path;
}

static enum mer_status on_script(void *ctx, const void *data, struct mer_error *err)
{
	struct ledger *ledger = ctx;
	const struct mer_ledger_row *row = data;
	char name[256], digest[MER_SHA256_SIZE];
	(void)err;
	(void)snprintf(name, sizeof name, "%02lld-%s", (long long)row->num, row->name);
	if (strcmp(row->state, "applied") != 0)
		doctor_say(ledger->doctor, DOCTOR_FAULT, "schema", name,
		           "look at what it has done; 'mer-migrate status' says more",
		           "this script began and did not end");
	if (row->num < 1 || row->num >= (int64_t)sizeof ledger->has)
		return MER_OK; /* an operator's, in a folder that is not ours to know */
	ledger->has[row->num] = strcmp(row->state, "applied") == 0;
	MER_AUTO(mer_text_done)
	char *path = ledger->sql != NULL ? find_script(ledger->sql, row->num) : NULL;
	MER_AUTO(mer_text_done) char *text = NULL;
	size_t len;
	if (path == NULL || mer_read_file(path, SCRIPT_MAX, &text, &len, NULL) != MER_OK)
		return MER_OK; /* newer than this mer: told elsewhere */
	mer_sha256(text, len, digest);
	if (strcmp(digest, row->sha256) != 0)
		doctor_say(ledger->doctor, ledger->doctor->thorough ? DOCTOR_FAULT : DOCTOR_WARNING,
		           "schema", name, "'mer-migrate verify' says more",
		           "the script in '%s' is not the one that has run", path);
	return MER_OK;
}

/* The highest number alone says whether a database is migrated. */
static void look_for_gaps(const struct ledger *ledger)
{
	char name[24];
	for (int num = 1; num <= MER_SCHEMA_NUM; num++) {
		(void)snprintf(name, sizeof name, "%02d", num);
		if (!ledger->has[num])
			doctor_say(ledger->doctor, DOCTOR_FAULT, "schema", name,
			           "'mer-migrate status' says more",
			           "this script has not run, though later ones have");
	}
}

static void look_at_ledger(struct doctor *doctor)
{
	struct ledger ledger = { .doctor = doctor };
	struct mer_error err;
	MER_AUTO(mer_text_done) char *top = NULL;
	if (mer_place(MER_PLACE_SQL, &top, NULL) == MER_OK)
		ledger.sql = mer_text_new("%s/%s", top, mer_dal_dialect(doctor->dal));
	int64_t found = doctor->found[DOCTOR_FAULT] + doctor->found[DOCTOR_WARNING];
	if (mer_dal_query(doctor->dal, MER_Q_LEDGER, MER_ARGS(mer_i64(0), mer_i64(INT64_MAX)),
	                  on_script, &ledger, &err) != MER_OK)
		doctor_say_error(doctor, DOCTOR_FAULT, "schema", NULL, &err);
	else if (doctor->thorough && doctor->migrated)
		look_for_gaps(&ledger);
	if (doctor->migrated && found == doctor->found[DOCTOR_FAULT] + doctor->found[DOCTOR_WARNING])
		doctor_say(doctor, DOCTOR_OK, "schema", NULL, NULL, "all %d scripts have run",
		           MER_SCHEMA_NUM);
	free(ledger.sql);
}

/* What is wrong with its schema is what keeps any other command from opening it. */
static void look_at_schema(struct doctor *doctor, const char *url)
{
	struct mer_dal *dal;
	struct mer_error err;
	int64_t has = 0;
	enum mer_status st = session_open_dal(url, MER_DAL_READ, &dal, &err);
	doctor->migrated = st == MER_OK;
	if (st == MER_OK)
		mer_dal_close(dal);
	else
		doctor_say_error(doctor, DOCTOR_FAULT, "schema", NULL, &err);
	if (mer_dal_query(doctor->dal, MER_Q_LEDGER_EXISTS, NULL, 0, mer_take_count, &has, &err) !=
	    MER_OK)
		doctor_say_error(doctor, DOCTOR_FAULT, "schema", NULL, &err);
	if (has != 0)
		look_at_ledger(doctor);
}

/* --- its content -------------------------------------------------------------------------- */

static enum mer_status on_wrong(void *ctx, const void *data, struct mer_error *err)
{
	struct doctor *doctor = ctx;
	(void)err;
	doctor_say(doctor, DOCTOR_FAULT, "integrity", NULL,
	           strcmp(mer_dal_dialect(doctor->dal), "sqlite") == 0
	               ? "keep a copy, then bring back the last good one"
	               : "REINDEX it",
	           "%s", ((const struct mer_name_row *)data)->name);
	return MER_OK;
}

static void look_at_integrity(struct doctor *doctor)
{
	struct mer_error err;
	int64_t found = doctor->found[DOCTOR_FAULT];
	bool whole = doctor->thorough && doctor->migrated; /* other tables are not for us to judge */
	enum mer_query look = whole ? MER_Q_CHECK : MER_Q_QUICK_CHECK;
	if (mer_dal_query(doctor->dal, look, NULL, 0, on_wrong, doctor, &err) != MER_OK)
		doctor_say_error(doctor, DOCTOR_FAULT, "integrity", NULL, &err);
	else if (found == doctor->found[DOCTOR_FAULT])
		doctor_say(doctor, DOCTOR_OK, "integrity", NULL, NULL, "%s finds nothing wrong",
		           whole ? "a look at all of it" : "a quick look");
}

static enum mer_status on_stray(void *ctx, const void *data, struct mer_error *err)
{
	(void)err;
	doctor_say(ctx, DOCTOR_FAULT, "runs", ((const struct mer_name_row *)data)->name,
	           "its row was changed past mer: close it by hand, or forget it",
	           "this run is open, and no mer that could end it is known");
	return MER_OK;
}

static void look_at_runs(struct doctor *doctor)
{
	struct mer_error err;
	int64_t found = doctor->found[DOCTOR_FAULT];
	if (mer_dal_query(doctor->dal, MER_Q_CHECK_STRAY, NULL, 0, on_stray, doctor, &err) != MER_OK)
		doctor_say_error(doctor, DOCTOR_FAULT, "runs", NULL, &err);
	else if (found == doctor->found[DOCTOR_FAULT])
		doctor_say(doctor, DOCTOR_OK, "runs", NULL, NULL, "each open run has a mer that owns it");
}

struct owners {
	struct mer_owner {
		char uid[37], host[256];
		int64_t pid;
	} list[OWNERS_MAX];
	size_t n;
};

static enum mer_status on_owner(void *ctx, const void *data, struct mer_error *err)
{
	struct owners *owners = ctx;
	const struct mer_owner_row *row = data;
	(void)err;
	if (owners->n == OWNERS_MAX || !mer_uid_valid(row->uid))
		return MER_OK;
	struct mer_owner *owner = &owners->list[owners->n++];
	(void)snprintf(owner->uid, sizeof owner->uid, "%s", row->uid);
	(void)snprintf(owner->host, sizeof owner->host, "%s", row->host);
	owner->pid = row->pid;
	return MER_OK;
}

static enum mer_status look_at_owner(struct doctor *doctor, const struct mer_owner *owner,
                                     struct mer_error *err)
{
	bool alive;
	int64_t open = 0;
	char who[300];
	enum mer_status st =
		mer_dal_lock(doctor->dal, mer_uid_key(owner->uid), MER_LOCK_TEST, &alive, err);
	if (st == MER_OK && !alive)
		st = mer_dal_query(doctor->dal, MER_Q_OWNER_OPEN_RUNS, MER_ARGS(mer_text(owner->uid)),
		                   mer_take_count, &open, err);
	if (st != MER_OK || alive)
		return st;
	(void)snprintf(who, sizeof who, "%lld on %s", (long long)owner->pid, owner->host);
	doctor_say(doctor, DOCTOR_WARNING, "owners", who,
	           "the next command that can write the database closes its runs as lost: mer log",
	           "this mer died and left %lld runs open", (long long)open);
	return st;
}

static void look_at_owners(struct doctor *doctor)
{
	struct owners *owners = calloc(1, sizeof *owners);
	struct mer_error err;
	int64_t found = doctor->found[DOCTOR_WARNING];
	if (owners == NULL)
		return;
	enum mer_status st = mer_dal_query(doctor->dal, MER_Q_OWNERS, NULL, 0, on_owner, owners, &err);
	for (size_t i = 0; i < owners->n && st == MER_OK; i++)
		st = look_at_owner(doctor, &owners->list[i], &err);
	if (st != MER_OK)
		doctor_say_error(doctor, DOCTOR_FAULT, "owners", NULL, &err);
	else if (found == doctor->found[DOCTOR_WARNING])
		doctor_say(doctor, DOCTOR_OK, "owners", NULL, NULL, "no run is left of a mer that died");
	free(owners);
}

/* --- clocks ------------------------------------------------------------------------------- */

static enum mer_status on_time(void *ctx, const void *data, struct mer_error *err)
{
	return mer_parse_time(((const struct mer_name_row *)data)->name, ctx, err);
}

static enum mer_status on_newest(void *ctx, const void *data, struct mer_error *err)
{
	return mer_parse_time(((const struct mer_run_row *)data)->queued_at, ctx, err);
}

static void look_at_clock(struct doctor *doctor)
{
	struct mer_error err;
	char ahead[24];
	int64_t theirs = 0, newest = 0, before = mer_time_now_ms();
	enum mer_status st = mer_dal_query(doctor->dal, MER_Q_NOW, NULL, 0, on_time, &theirs, &err);
	int64_t now = mer_time_now_ms();
	if (st == MER_OK && doctor->migrated)
		st = mer_dal_query(
			doctor->dal, MER_Q_RUNS,
			MER_ARGS(mer_text(""), mer_text(""), mer_text(""), mer_i64(1), mer_text("")), on_newest,
			&newest, &err);
	if (st != MER_OK) {
		doctor_say_error(doctor, DOCTOR_WARNING, "clock", NULL, &err);
		return;
	}
	bool behind = theirs<before - CLOCK_SLACK_MS, early = theirs> now + CLOCK_SLACK_MS;
	mer_ms_text(behind ? now - theirs : theirs - now, ahead);
	if (behind || early)
		doctor_say(doctor, DOCTOR_WARNING, "clock", NULL, "let both follow a time server",
		           "the database's clock is %s %s this one", ahead, behind ? "behind" : "ahead of");
	mer_ms_text(newest - now, ahead);
	if (newest > now + CLOCK_SLACK_MS)
		doctor_say(doctor, DOCTOR_WARNING, "clock", NULL,
		           "see whether this clock is right; times in the log are not in order",
		           "the newest run in the log began %s from now", ahead);
	else if (!behind && !early)
		doctor_say(doctor, DOCTOR_OK, "clock", NULL, NULL, "it agrees with the database's");
}

/* --- all of it ---------------------------------------------------------------------------- */

char *doctor_database_file(struct doctor *doctor)
{
	const char *url = NULL;
	if (settings_database(&doctor->s->settings, &url, NULL) != MER_OK)
		return NULL;
	const char *dialect = mer_dal_dialect_of(url);
	if (dialect == NULL || strcmp(dialect, "sqlite") != 0)
		return NULL;
	return strdup(strncmp(url, "sqlite:", 7) == 0 ? url + 7 : url);
}

/* It is in the process list, and in scripts. */
static void look_at_url(struct doctor *doctor, const char *url)
{
	MER_AUTO(mer_text_done) char *shown = settings_url_shown(url);
	if (shown != NULL && strcmp(shown, url) != 0)
		doctor_say(doctor, DOCTOR_WARNING, "secrets", shown,
		           "MER_DATABASE_PASSWORD=file:PATH, or ~/.pgpass",
		           "the database's URL has its password in plain text");
}

void doctor_database(struct doctor *doctor)
{
	const char *url = NULL;
	struct mer_error err;
	enum mer_status st = settings_database(&doctor->s->settings, &url, &err);
	if (st == MER_OK)
		st = session_open_dal(url, MER_DAL_READ | MER_DAL_ANY_SCHEMA, &doctor->dal, &err);
	if (url != NULL)
		look_at_url(doctor, url);
	if (st != MER_OK) {
		doctor->dal = NULL;
		doctor_say_error(doctor, DOCTOR_FAULT, "database", NULL, &err);
		return;
	}
	const char *name = mer_dal_name(doctor->dal), *notice = mer_dal_notice(doctor->dal);
	doctor_say(doctor, DOCTOR_OK, "database", name, NULL, "it can be reached");
	if (notice != NULL)
		doctor_say(doctor, DOCTOR_NOTE, "database", name,
		           "a disk of this machine, or Postgres, is quicker and bears more writers", "%s",
		           notice);
	look_at_schema(doctor, url);
	look_at_integrity(doctor);
	if (doctor->migrated)
		look_at_owners(doctor);
	if (doctor->migrated && doctor->thorough)
		look_at_runs(doctor);
	look_at_clock(doctor);
}
