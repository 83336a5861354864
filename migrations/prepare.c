/* What comes before a command: settings, scripts, the database and the comparison of both. */
#include "work.h"

#include "progress.h"

#include <errno.h>
#include <mer/clean.h>
#include <mer/env.h>
#include <mer/file.h>
#include <mer/ref.h>
#include <mer/text.h>
#include <string.h>
#include <sys/stat.h>

#define MOMENT_MS 1000 /* the least that other programs are waited for, whatever --wait says */

/* --- settings ----------------------------------------------------------------------------- */

/* A variable that is set to nothing counts as not set, as in env files of Compose. */
static const char *setting(const char *name)
{
	const char *value = getenv(name);
	return value != NULL && *value != '\0' ? value : NULL;
}

/* The URL is kept; the password's reference becomes a variable, which is where a connection looks for
 * it. */
static enum mer_status on_setting(void *ctx, const char *name, const char *value,
                                  struct mer_error *err)
{
	struct work *work = ctx;
	if (*value == '\0')
		return MER_OK;
	if (strcmp(name, "MER_DATABASE_PASSWORD") == 0 && setting(name) == NULL &&
	    setenv(name, value, 1) < 0)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (strcmp(name, "MER_DATABASE_URL") != 0)
		return MER_OK;
	char *url = strdup(value);
	if (url == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	free(work->url);
	work->url = url;
	return MER_OK;
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
	if (work->url == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return mer_ref_check("MER_DATABASE_PASSWORD", setting("MER_DATABASE_PASSWORD"), err);
}

/* --- before a command --------------------------------------------------------------------- */

/* waits: of an SQLite file, else NULL. */
static enum mer_status connect_to(struct work *work, unsigned flags, struct mer_haste *waits)
{
	struct mer_dal *dal;
	enum mer_status st =
		mer_dal_open_hasty(work->url, MER_DAL_ANY_SCHEMA | flags, waits, &dal, &work->err);
	if (st == MER_OK)
		apply_init(&work->apply, work->url, waits, dal);
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
	enum mer_status st = connect_to(work, 0, NULL); /* it also says what is wrong with a URL */
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
static enum mer_status check_folder(struct work *work, const char *file, bool create)
{
	const char *slash = strrchr(file, '/');
	if (slash == NULL || slash == file)
		return MER_OK;
	MER_AUTO(mer_text_done) char *folder = strndup(file, (size_t)(slash - file));
	if (folder == NULL)
		return mer_fail(&work->err, MER_ENOMEM, "out of memory");
	if (work->default_url) {
		enum mer_status st = create ? mer_make_folders(folder, &work->err) : MER_OK;
		return st == MER_EIO ? MER_EDATABASE : st;
	}
	struct stat info;
	if (stat(folder, &info) == 0 || (errno != ENOENT && errno != ENOTDIR))
		return MER_OK; /* the database says what is wrong */
	(void)mer_fail(&work->err, MER_EDATABASE, "there is no folder '%s' for the database", folder);
	mer_hint(&work->err, "mkdir -p %s", folder);
	return MER_EDATABASE;
}

/* Opens the database, unless there is none yet and it is only to be looked at: then it is like an
 * empty one. */
static enum mer_status open_database(struct work *work, enum access access)
{
	if (work->apply.work != NULL)
		return MER_OK;
	const char *file = database_file(work);
	struct stat info;
	if (file != NULL && stat(file, &info) < 0 && errno == ENOENT) {
		enum mer_status st = check_folder(work, file, access == ACCESS_CREATE);
		if (st != MER_OK)
			return st;
		work->no_database = access == ACCESS_READ;
	}
	if (work->no_database)
		return MER_OK;
	/* Each mer that records a run has the file for a moment. */
	work->waits.wait_ms = work->options.wait_ms > MOMENT_MS ? work->options.wait_ms : MOMENT_MS;
	return connect_to(work, access == ACCESS_CREATE ? MER_DAL_CREATE : 0, &work->waits);
}

/* Another process may be at it for long. */
static enum mer_status wait_for_lock(struct work *work)
{
	progress_begin("waiting for another mer-migrate");
	enum mer_status st = apply_lock(&work->apply, work->options.wait_ms, &work->err);
	progress_end();
	return st;
}

/* What changes the database holds the lock from here on, and what it reads is what stands under the
 * lock. */
enum mer_status work_prepare(struct work *work, enum access access)
{
	struct mer_error *err = &work->err;
	enum mer_status st = choose_url(work);
	if (st == MER_OK)
		st = choose_dialect(work);
	if (st == MER_OK)
		st = list_scripts(work);
	if (st == MER_OK)
		st = open_database(work, access);
	if (st == MER_OK && access != ACCESS_READ)
		st = wait_for_lock(work);
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
