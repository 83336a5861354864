/* Takes the lock and runs scripts. A second connection is opened only after a script that touched
 * its own. */
#include "apply.h"

#include "stop.h"

#include <mer/text.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { NAP_FIRST_MS = 20, NAP_MAX_MS = 100 }; /* the least is half of it */

/* Who runs it, for the ledger. */
static void name_user(char *out, size_t size)
{
	char host[256] = "localhost", room[4096];
	struct passwd entry, *found = NULL;
	(void)gethostname(host, sizeof host - 1);
	if (getpwuid_r(geteuid(), &entry, room, sizeof room, &found) == 0 && found != NULL)
		(void)snprintf(out, size, "%.63s@%s", found->pw_name, host);
	else
		(void)snprintf(out, size, "%u@%s", (unsigned)geteuid(), host);
}

void apply_init(struct apply *apply, const char *url, struct mer_haste *waits, struct mer_dal *dal)
{
	*apply = (struct apply){ .url = url, .waits = waits, .lock = dal, .work = dal };
}

void apply_release(struct apply *apply)
{
	if (apply == NULL)
		return;
	if (apply->work != apply->lock)
		mer_dal_close(apply->work);
	mer_dal_close(apply->lock);
	*apply = (struct apply){ 0 };
}

/* From half of longest to longest, so that those who wait for the same lock spread. */
static int64_t nap_ms(int64_t longest)
{
	unsigned random;
	if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
		random = (unsigned)getpid(); /* early after boot */
	return longest / 2 + (int64_t)(random % (unsigned)(longest / 2 + 1));
}

enum mer_status apply_lock(struct apply *apply, int64_t wait_ms, struct mer_error *err)
{
	int64_t begin = mer_clock_ms(), longest = NAP_FIRST_MS;
	for (;;) {
		bool ours;
		enum mer_status st = mer_dal_lock(apply->lock, MER_LOCK_MIGRATE, MER_LOCK_TAKE, &ours, err);
		if (st != MER_OK || ours)
			return st;
		int64_t left = wait_ms - (mer_clock_ms() - begin);
		if (left <= 0)
			break;
		int64_t nap = nap_ms(longest);
		if (nap > left)
			nap = left;
		struct timespec time = { .tv_sec = nap / 1000, .tv_nsec = nap % 1000 * 1000000 };
		(void)nanosleep(&time, NULL);
		longest = longest < NAP_MAX_MS / 2 ? 2 * longest : NAP_MAX_MS;
	}
	char waited[24];
	mer_ms_text(wait_ms, waited);
	(void)mer_fail(err, MER_EBUSY, "another process migrates the database '%s'; waited %s for it",
	               mer_dal_name(apply->lock), waited);
	mer_hint(err, "try again later, or wait longer: --wait 5m");
	return MER_EBUSY;
}

bool apply_must_renew(const struct apply *apply, const struct script *script)
{
	return apply->soiled || (apply->work == apply->lock && script->facts.touches_session);
}

enum mer_status apply_renew(struct apply *apply, struct mer_error *err)
{
	struct mer_dal *fresh;
	enum mer_status st =
		mer_dal_open_hasty(apply->url, MER_DAL_ANY_SCHEMA, apply->waits, &fresh, err);
	if (st != MER_OK)
		return st;
	if (apply->work != apply->lock)
		mer_dal_close(apply->work);
	apply->work = fresh;
	apply->soiled = false;
	return MER_OK;
}

/* --- scripts ------------------------------------------------------------------------------ */

static const char *by(struct apply *apply)
{
	if (apply->by[0] == '\0')
		name_user(apply->by, sizeof apply->by);
	return apply->by;
}

/* Whose fault it is that a script did not run. */
static enum exit_code code_of_script(enum mer_status st)
{
	switch (st) {
	case MER_OK: return EXIT_DONE;
	case MER_EINPUT:
	case MER_ELIMIT:
	case MER_ECANCELED: return EXIT_SCRIPT;
	case MER_ENOTFOUND:
	case MER_ECONFLICT:
	case MER_EDATABASE:
	case MER_EUNREACHABLE:
	case MER_EMODEL:
	case MER_ETIMEOUT:
	case MER_EBUSY:
	case MER_EIO:
	case MER_ECORRUPT:
	case MER_ENOMEM:
	case MER_STATUS_COUNT: break;
	}
	return exit_code_of(st);
}

static enum exit_code in_transaction(struct apply *apply, const struct script *script,
                                     struct apply_result *result, struct mer_error *err)
{
	struct mer_script with_row = {
		.sql = script->text,
		.len = script->len,
		.num = script->num,
		.name = script->name,
		.sha256 = script->sha256,
		.canonical_sha256 = script->canonical_sha256,
		.applied_by = by(apply),
		.tool_version = MER_VERSION,
		.make_ledger = !apply->ledger,
	};
	struct mer_script_result done = { 0 };
	enum mer_status st = mer_dal_apply(apply->work, &with_row, &done, err);
	result->duration_ms = done.duration_ms;
	result->place = done.place;
	if (st == MER_EDATABASE && mer_dal_repeatable(apply->work))
		result->rest = REST_UNKNOWN;
	apply->ledger = apply->ledger || st == MER_OK;
	return code_of_script(st);
}

/* The row of a script that is about to run by itself. */
static enum mer_status start(struct apply *apply, const struct script *script,
                             struct mer_error *err)
{
	struct mer_dal *dal = apply->work;
	enum mer_status st = mer_dal_begin(dal, err);
	if (st != MER_OK)
		return st;
	if (!apply->ledger)
		st = mer_dal_exec(dal, MER_Q_LEDGER_CREATE, NULL, 0, NULL, err);
	if (st == MER_OK)
		st = mer_dal_exec(dal, MER_Q_LEDGER_START,
		                  MER_ARGS(mer_i64(script->num), mer_text(script->name),
		                           mer_text(script->sha256), mer_text(script->canonical_sha256),
		                           mer_text(by(apply)), mer_text(MER_VERSION)),
		                  NULL, err);
	if (st != MER_OK) {
		mer_dal_rollback(dal);
		return st;
	}
	st = mer_dal_end(dal, true, err);
	apply->ledger = apply->ledger || st == MER_OK;
	return st;
}

static enum exit_code by_itself(struct apply *apply, const struct script *script,
                                struct apply_result *result, struct mer_error *err)
{
	enum mer_status st = start(apply, script, err);
	if (st != MER_OK)
		return code_of_script(st);
	result->rest = REST_STARTED;
	int64_t begin = mer_clock_ms();
	st = mer_dal_script(apply->work, script->text, script->len, &result->place, err);
	result->duration_ms = mer_clock_ms() - begin;
	stop_hold(); /* what has ended is also said */
	if (st == MER_OK) {
		st = mer_dal_exec(apply->work, MER_Q_LEDGER_FINISH,
		                  MER_ARGS(mer_i64(script->num), mer_i64(result->duration_ms)), NULL, err);
		if (st != MER_OK)
			(void)mer_wrap(err, st, "it ran, but its row cannot say so");
		return exit_code_of(st);
	}
	if (result->place.untouched && !script->facts.may_commit) {
		/* Its failure is the news; if the row stays, it is to be settled. */
		struct mer_error ignored;
		if (mer_dal_exec(apply->work, MER_Q_LEDGER_FORGET, MER_ARGS(mer_i64(script->num)), NULL,
		                 &ignored) == MER_OK)
			result->rest = REST_NOTHING;
	}
	return code_of_script(st);
}

enum exit_code apply_script(struct apply *apply, const struct script *script,
                            struct apply_result *result, struct mer_error *err)
{
	MER_ASSERT(script->text != NULL && !apply->soiled);
	*result = (struct apply_result){ 0 };
	/* Who lost the lock may meet another at work. */
	bool ours = false;
	enum mer_status st = mer_dal_lock(apply->lock, MER_LOCK_MIGRATE, MER_LOCK_TAKE, &ours, err);
	if (st == MER_OK && !ours)
		st = mer_fail(err, MER_EDATABASE, "the lock of the database '%s' is another's now",
		              mer_dal_name(apply->lock));
	if (st != MER_OK)
		return exit_code_of(st);
	apply->soiled = script->facts.touches_session;
	return script->facts.no_transaction ? by_itself(apply, script, result, err)
	                                    : in_transaction(apply, script, result, err);
}

/* --- rows alone --------------------------------------------------------------------------- */

static enum mer_status change_row(struct apply *apply, const struct change *change,
                                  struct mer_error *err)
{
	const struct script *script = change->entry->script;
	struct mer_value num = mer_i64(change->entry->num);
	switch (change->kind) {
	case CHANGE_ACCEPT:
		return mer_dal_exec(apply->work, MER_Q_LEDGER_ACCEPT,
		                    MER_ARGS(num, mer_text(script->name), mer_text(script->sha256),
		                             mer_text(change->canonical_sha256)),
		                    NULL, err);
	case CHANGE_FORGET:
		return mer_dal_exec(apply->work, MER_Q_LEDGER_FORGET, MER_ARGS(num), NULL, err);
	case CHANGE_RECORD:
		return mer_dal_exec(apply->work, MER_Q_LEDGER_INSERT,
		                    MER_ARGS(num, mer_text(script->name), mer_text(script->sha256),
		                             mer_text(change->canonical_sha256), mer_i64(0),
		                             mer_text(by(apply)), mer_text(MER_VERSION)),
		                    NULL, err);
	case CHANGE_COUNT: break;
	}
	return MER_OK;
}

enum mer_status apply_changes(struct apply *apply, const struct changes *changes,
                              struct mer_error *err)
{
	enum mer_status st = mer_dal_begin(apply->work, err);
	if (st != MER_OK)
		return st;
	if (!apply->ledger)
		st = mer_dal_exec(apply->work, MER_Q_LEDGER_CREATE, NULL, 0, NULL, err);
	for (size_t i = 0; st == MER_OK && i < changes->n; i++)
		st = change_row(apply, &changes->at[i], err);
	if (st == MER_OK)
		return mer_dal_end(apply->work, true, err);
	mer_dal_rollback(apply->work);
	return st;
}
