/* Decides what a repair or a baseline changes, and says why not. */
#include "settle.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *done;
} kinds[] = {
	[CHANGE_ACCEPT] = { "accept", "accepted" },
	[CHANGE_FORGET] = { "forget", "forgot" },
	[CHANGE_RECORD] = { "record", "recorded" },
};
static_assert(sizeof kinds / sizeof *kinds == CHANGE_COUNT, "a row for each kind");

const char *change_name(enum change_kind kind)
{
	return kinds[kind].name;
}

const char *change_done(enum change_kind kind)
{
	return kinds[kind].done;
}

void changes_release(struct changes *changes)
{
	if (changes == NULL)
		return;
	free(changes->at);
	*changes = (struct changes){ 0 };
}

/* --- repair ------------------------------------------------------------------------------- */

/* What the two ways to settle it may do about a state. */
static const struct {
	bool accept, forget;
} may[] = {
	[ENTRY_EDITED] = { true, true },    [ENTRY_COSMETIC] = { true, false },
	[ENTRY_RENAMED] = { true, false },  [ENTRY_HALF_DONE] = { true, true },
	[ENTRY_MISSING] = { false, true },  [ENTRY_APPLIED] = { false, false },
	[ENTRY_PENDING] = { false, false }, [ENTRY_LATE] = { false, false },
	[ENTRY_REFUSED] = { false, false }, [ENTRY_DUPLICATE] = { false, false },
};
static_assert(sizeof may / sizeof *may == ENTRY_STATE_COUNT, "a row for each state");

static const struct entry *find(const struct plan *plan, int64_t num)
{
	for (size_t i = 0; i < plan->n; i++) {
		if (plan->entries[i].num == num)
			return &plan->entries[i];
	}
	return NULL;
}

/* Why a script cannot be settled in this way. */
static enum mer_status refuse(const struct entry *entry, enum change_kind kind,
                              struct mer_error *err)
{
	char file[ENTRY_FILE_ROOM];
	const char *name = entry_file(entry, file, sizeof file);
	switch (entry->state) {
	case ENTRY_PENDING:
	case ENTRY_LATE:
		(void)mer_fail(err, MER_EINPUT, "'%s' has not run: there is nothing to %s", name,
		               change_name(kind));
		break;
	case ENTRY_APPLIED:
		if (entry->script == NULL)
			(void)mer_fail(err, MER_EINPUT, "'%s' is not compared: name its folder with --dir",
			               name);
		else
			(void)mer_fail(err, MER_EINPUT, "'%s' is as it ran: there is nothing to %s", name,
			               change_name(kind));
		break;
	case ENTRY_COSMETIC:
	case ENTRY_RENAMED:
		(void)mer_fail(err, MER_EINPUT, "'%s' ran, and says the same: it is not to be forgotten",
		               name);
		mer_hint(err, "mer-migrate repair --accept-edit %" PRId64, entry->num);
		break;
	case ENTRY_MISSING:
		(void)mer_fail(err, MER_EINPUT, "'%s' is missing: there is no edit to accept", name);
		mer_hint(err, "put it back, or: mer-migrate repair --forget %" PRId64, entry->num);
		break;
	case ENTRY_REFUSED: *err = *entry->script->problem; break;
	case ENTRY_DUPLICATE: entry_explain(entry, err); break;
	case ENTRY_EDITED:
	case ENTRY_HALF_DONE:
	case ENTRY_STATE_COUNT: break;
	}
	return err->status;
}

/* One that others of its range have run after would be late; the plan is by number. */
static const struct entry *ran_after(const struct plan *plan, const struct entry *entry)
{
	const struct entry *last = plan->entries + plan->n - 1;
	bool operators = entry->num >= PLAN_OPERATORS;
	for (; last > entry; last--) {
		if (last->row != NULL && (last->num >= PLAN_OPERATORS) == operators)
			return last;
	}
	return NULL;
}

static enum mer_status check_forget(const struct plan *plan, const struct entry *entry,
                                    struct mer_error *err)
{
	if (entry->script == NULL)
		return MER_OK;
	const struct entry *after = ran_after(plan, entry);
	if (after == NULL)
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "'%s' cannot be forgotten: script %" PRId64 " has run after it",
	               entry->script->file, after->num);
	mer_hint(err, "write the change as a new script, or --accept-edit %" PRId64, entry->num);
	return MER_EINPUT;
}

/* The canonical sum of a file; it was not needed where the bytes are those that ran. */
static enum mer_status canonical_of(const struct entry *entry, const char **out,
                                    struct mer_error *err)
{
	const struct script *script = entry->script;
	char file[ENTRY_FILE_ROOM];
	if (script == NULL) {
		(void)mer_fail(err, MER_EINPUT, "'%s' is missing: there is no file to accept",
		               entry_file(entry, file, sizeof file));
		mer_hint(err, "put it back, or: mer-migrate repair --forget %" PRId64, entry->num);
		return MER_EINPUT;
	}
	if (script->sha256[0] == '\0' && script->problem != NULL) {
		*err = *script->problem;
		return err->status;
	}
	bool same = entry->row != NULL && strcmp(script->sha256, entry->row->sha256) == 0;
	*out = same ? entry->row->canonical_sha256 : script->canonical_sha256;
	if (**out != '\0')
		return MER_OK;
	return mer_fail(err, MER_EINPUT, "'%s/%s' is no text in UTF-8", script->folder, script->file);
}

static enum mer_status add(const struct plan *plan, int64_t num, enum change_kind kind,
                           struct changes *changes, struct mer_error *err)
{
	const struct entry *entry = find(plan, num);
	const char *canonical = "";
	if (entry == NULL)
		return mer_fail(err, MER_EINPUT, "there is no script %" PRId64, num);
	for (size_t i = 0; i < changes->n; i++) {
		if (changes->at[i].entry->num != num)
			continue;
		return changes->at[i].kind == kind
		           ? MER_OK
		           : mer_fail(err, MER_EINPUT, "script %" PRId64 " is both accepted and forgotten",
		                      num);
	}
	bool fine = kind == CHANGE_ACCEPT ? may[entry->state].accept : may[entry->state].forget;
	if (!fine)
		return refuse(entry, kind, err);
	enum mer_status st = kind == CHANGE_ACCEPT ? canonical_of(entry, &canonical, err)
	                                           : check_forget(plan, entry, err);
	if (st == MER_OK)
		changes->at[changes->n++] =
			(struct change){ .kind = kind, .entry = entry, .canonical_sha256 = canonical };
	return st;
}

enum mer_status settle_repair(const struct plan *plan, struct numbers accepts,
                              struct numbers forgets, struct changes *out, struct mer_error *err)
{
	struct mer_error ignored;
	err = err != NULL ? err : &ignored;
	struct changes changes = { .at = calloc(accepts.n + forgets.n + 1, sizeof *changes.at) };
	if (changes.at == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = MER_OK;
	for (size_t i = 0; st == MER_OK && i < accepts.n; i++)
		st = add(plan, accepts.at[i], CHANGE_ACCEPT, &changes, err);
	for (size_t i = 0; st == MER_OK && i < forgets.n; i++)
		st = add(plan, forgets.at[i], CHANGE_FORGET, &changes, err);
	if (st == MER_OK)
		*out = changes;
	else
		changes_release(&changes);
	return st;
}

/* --- baseline ----------------------------------------------------------------------------- */

static enum mer_status record(const struct entry *entry, struct changes *changes,
                              struct mer_error *err)
{
	const char *canonical = "";
	if (entry->state == ENTRY_DUPLICATE) {
		entry_explain(entry, err);
		return MER_ECONFLICT;
	}
	enum mer_status st = canonical_of(entry, &canonical, err);
	if (st == MER_OK)
		changes->at[changes->n++] =
			(struct change){ .kind = CHANGE_RECORD, .entry = entry, .canonical_sha256 = canonical };
	return st;
}

enum mer_status settle_baseline(const struct plan *plan, size_t n_rows, int64_t to,
                                struct changes *out, struct mer_error *err)
{
	struct mer_error ignored;
	err = err != NULL ? err : &ignored;
	if (n_rows > 0) {
		(void)mer_fail(err, MER_ECONFLICT, "the ledger has %zu script%s already", n_rows,
		               n_rows == 1 ? "" : "s");
		mer_hint(err, "a baseline is where a ledger begins; see: mer-migrate status");
		return MER_ECONFLICT;
	}
	struct changes changes = { .at = calloc(plan->n + 1, sizeof *changes.at) };
	if (changes.at == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = MER_OK;
	for (size_t i = 0; st == MER_OK && i < plan->n && plan->entries[i].num <= to; i++)
		st = record(&plan->entries[i], &changes, err);
	if (st == MER_OK && changes.n == 0)
		st = mer_fail(err, MER_EINPUT, "there is no script up to %" PRId64, to);
	if (st == MER_OK)
		*out = changes;
	else
		changes_release(&changes);
	return st;
}
