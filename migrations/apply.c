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

static int64_t now_ms(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

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

void apply_init(struct apply *apply, const char *url, struct mer_dal *dal)
{
	*apply = (struct apply){ .url = url, .lock = dal, .work = dal };
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
	unsigned random = 0;
	(void)getrandom(&random, sizeof random, GRND_NONBLOCK);
	return longest / 2 + (int64_t)(random % (unsigned)(longest / 2 + 1));
}

enum mer_status apply_lock(struct apply *apply, int64_t wait_ms, struct mer_error *err)
{
	int64_t begin = now_ms(), longest = NAP_FIRST_MS;
	for (;;) {
		bool ours;
		enum mer_status st = mer_dal_lock(apply->lock, MER_LOCK_MIGRATE, MER_LOCK_TAKE, &ours, err);
		if (st != MER_OK || ours)
			return st;
		int64_t left = wait_ms - (now_ms() - begin);
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

/* Gives the next script a connection on which no script has left anything. */
static enum mer_status renew(struct apply *apply, struct mer_error *err)
{
	if (!apply->soiled)
		return MER_OK;
	struct mer_dal *fresh;
	enum mer_status st = mer_dal_open(apply->url, MER_DAL_ANY_SCHEMA, &fresh, err);
	if (st != MER_OK)
		return st;
	if (apply->work != apply->lock)
		mer_dal_close(apply->work);
	apply->work = fresh;
	apply->soiled = false;
	return MER_OK;
}

/* The script and its row; in a transaction that the caller ends. */
static enum exit_code run_with_row(struct apply *apply, const struct script *script,
                                   struct apply_result *result, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	if (!apply->ledger)
		st = mer_dal_exec(apply->work, MER_Q_LEDGER_CREATE, NULL, 0, NULL, err);
	if (st != MER_OK)
		return exit_code_of(st);
	apply->soiled = apply->soiled || script->facts.touches_session;
	int64_t begin = now_ms();
	st = mer_dal_script(apply->work, script->text, script->len, &result->place, err);
	result->duration_ms = now_ms() - begin;
	if (st != MER_OK)
		return st == MER_EDATABASE || st == MER_ENOMEM ? exit_code_of(st) : EXIT_SCRIPT;
	st = mer_dal_exec(apply->work, MER_Q_LEDGER_INSERT,
	                  MER_ARGS(mer_i64(script->num), mer_text(script->name),
	                           mer_text(script->sha256), mer_text(script->canonical_sha256),
	                           mer_i64(result->duration_ms), mer_text(apply->by),
	                           mer_text(MER_VERSION)),
	                  NULL, err);
	return st == MER_OK ? EXIT_DONE : EXIT_DATABASE;
}

enum exit_code apply_script(struct apply *apply, const struct script *script,
                            struct apply_result *result, struct mer_error *err)
{
	MER_ASSERT(script->text != NULL);
	*result = (struct apply_result){ 0 };
	if (apply->by[0] == '\0')
		name_user(apply->by, sizeof apply->by);
	enum mer_status st = renew(apply, err);
	if (st == MER_OK)
		st = mer_dal_begin(apply->work, err);
	if (st != MER_OK) {
		stop_hold();
		return exit_code_of(st);
	}
	enum exit_code code = run_with_row(apply, script, result, err);
	stop_hold();
	/* A script's failure is the news, not that of its rollback: closing the connection is one
	 * too. */
	struct mer_error ignored;
	st = mer_dal_end(apply->work, code == EXIT_DONE, code == EXIT_DONE ? err : &ignored);
	if (code != EXIT_DONE)
		return code;
	if (st != MER_OK)
		return exit_code_of(st);
	apply->ledger = true;
	return EXIT_DONE;
}
