/* Compares the ledger with the scripts, in one pass over both, and puts what it finds in words. */
#include "plan.h"

#include <assert.h>
#include <inttypes.h>
#include <mer/buf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a state means for `up`. */
static const struct {
	const char *name;
	enum entry_action action;
	enum exit_code code; /* where it is refused */
} states[] = {
	[ENTRY_APPLIED] = { "applied", ACTION_NONE, EXIT_DONE },
	[ENTRY_RENAMED] = { "renamed", ACTION_NOTE, EXIT_DONE },
	[ENTRY_COSMETIC] = { "cosmetic", ACTION_NOTE, EXIT_HISTORY },
	[ENTRY_PENDING] = { "pending", ACTION_APPLY, EXIT_DONE },
	[ENTRY_EDITED] = { "edited", ACTION_REFUSE, EXIT_HISTORY },
	[ENTRY_MISSING] = { "missing", ACTION_REFUSE, EXIT_HISTORY },
	[ENTRY_LATE] = { "late", ACTION_REFUSE, EXIT_HISTORY },
	[ENTRY_DUPLICATE] = { "duplicate", ACTION_REFUSE, EXIT_HISTORY },
	[ENTRY_HALF_DONE] = { "half-done", ACTION_REFUSE, EXIT_HISTORY },
	[ENTRY_REFUSED] = { "refused", ACTION_REFUSE, EXIT_USAGE },
};
static_assert(sizeof states / sizeof *states == ENTRY_STATE_COUNT, "a row for each state");

static const char *const action_names[] = {
	[ACTION_NONE] = "",
	[ACTION_NOTE] = "note",
	[ACTION_APPLY] = "apply",
	[ACTION_REFUSE] = "refuse",
};
static_assert(sizeof action_names / sizeof *action_names == ACTION_COUNT, "a name for each");

const char *entry_state_name(enum entry_state state)
{
	return states[state].name;
}

const char *entry_action_name(enum entry_action action)
{
	return action_names[action];
}

static bool is_operators(int64_t num)
{
	return num >= PLAN_OPERATORS;
}

static enum entry_state compare(const struct script *script, const struct mer_ledger_row *row)
{
	if (strcmp(row->state, "applied") != 0)
		return ENTRY_HALF_DONE;
	if (script->problem != NULL && script->sha256[0] == '\0')
		return ENTRY_REFUSED; /* not even read */
	if (strcmp(script->sha256, row->sha256) == 0)
		return strcmp(script->name, row->name) == 0 ? ENTRY_APPLIED : ENTRY_RENAMED;
	return script->canonical_sha256[0] != '\0' &&
	               strcmp(script->canonical_sha256, row->canonical_sha256) == 0
	           ? ENTRY_COSMETIC
	           : ENTRY_EDITED;
}

/* What the pass over both lists remembers. */
struct pass {
	const struct plan_input *in;
	struct plan *plan;
	int64_t highest[2]; /* that has run: of MER's own, of the operator's */
};

static struct entry *add(struct pass *pass, enum entry_state state, int64_t num,
                         const struct script *script, const struct mer_ledger_row *row)
{
	struct entry *entry = &pass->plan->entries[pass->plan->n++];
	*entry = (struct entry){
		.state = state,
		.action = states[state].action,
		.num = num,
		.script = script,
		.row = row,
	};
	if (state == ENTRY_COSMETIC && pass->in->strict)
		entry->action = ACTION_REFUSE;
	return entry;
}

static void add_row(struct pass *pass, const struct mer_ledger_row *row)
{
	enum entry_state state = ENTRY_MISSING;
	if (strcmp(row->state, "applied") != 0)
		state = ENTRY_HALF_DONE;
	else if (pass->in->own_only && is_operators(row->num))
		state = ENTRY_APPLIED;
	(void)add(pass, state, row->num, NULL, row);
}

static void add_new(struct pass *pass, const struct script *script)
{
	int64_t above = pass->highest[is_operators(script->num)];
	bool wanted = pass->in->to == 0 || script->num <= pass->in->to;
	enum entry_state state = ENTRY_PENDING;
	if (script->num < above)
		state = ENTRY_LATE;
	else if (script->problem != NULL && (wanted || script->sha256[0] == '\0'))
		state = ENTRY_REFUSED;
	struct entry *entry = add(pass, state, script->num, script, NULL);
	entry->above = above;
	if (state == ENTRY_PENDING && !wanted)
		entry->action = ACTION_NONE;
}

/* All scripts of one number, of which there are several. */
static void add_duplicates(struct pass *pass, const struct script *first, size_t n,
                           const struct mer_ledger_row *row)
{
	for (size_t i = 0; i < n; i++)
		add(pass, ENTRY_DUPLICATE, first->num, first + i, row)->other = first + (i == 0);
}

static void walk(struct pass *pass)
{
	const struct plan_input *in = pass->in;
	size_t r = 0, at = 0; /* an array without elements may have no address to count from */
	while (r < in->n_rows || at < in->n_scripts) {
		const struct mer_ledger_row *row = r < in->n_rows ? &in->rows[r] : NULL;
		const struct script *script = at < in->n_scripts ? &in->scripts[at] : NULL;
		if (script == NULL || (row != NULL && row->num < script->num)) {
			add_row(pass, row);
			r++;
			continue;
		}
		const struct mer_ledger_row *same = row != NULL && row->num == script->num ? row : NULL;
		size_t n = 1;
		while (at + n < in->n_scripts && script[n].num == script->num)
			n++;
		if (n > 1)
			add_duplicates(pass, script, n, same);
		else if (same != NULL)
			(void)add(pass, compare(script, same), script->num, script, same);
		else
			add_new(pass, script);
		at += n;
		r += same != NULL;
	}
}

/* A new script, to be found by its text. */
struct new_script {
	const struct script *script;
};

static int by_sha256(const void *a, const void *b)
{
	const struct new_script *one = a, *two = b;
	return strcmp(one->script->sha256, two->script->sha256);
}

static int find_sha256(const void *key, const void *at)
{
	const struct new_script *new_script = at;
	return strcmp(key, new_script->script->sha256);
}

/* Whether it is a new script, which a missing one may have become by another number. */
static bool is_new(const struct entry *entry)
{
	return entry->script != NULL && entry->row == NULL && entry->script->sha256[0] != '\0';
}

/* Finds the text of missing scripts among the new ones. */
static enum mer_status find_moved(struct plan *plan, struct mer_error *err)
{
	if (plan->states[ENTRY_MISSING] == 0)
		return MER_OK;
	struct new_script *news = calloc(plan->n, sizeof *news);
	if (news == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	size_t n = 0;
	for (size_t i = 0; i < plan->n; i++) {
		if (is_new(&plan->entries[i]))
			news[n++].script = plan->entries[i].script;
	}
	qsort(news, n, sizeof *news, by_sha256);
	for (size_t i = 0; i < plan->n; i++) {
		struct entry *entry = &plan->entries[i];
		if (entry->state != ENTRY_MISSING)
			continue;
		const struct new_script *found =
			bsearch(entry->row->sha256, news, n, sizeof *news, find_sha256);
		entry->other = found != NULL ? found->script : NULL;
	}
	free(news);
	return MER_OK;
}

static void count(struct plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct entry *entry = &plan->entries[i];
		plan->states[entry->state]++;
		plan->actions[entry->action]++;
		/* A history that disagrees outweighs a script that may not run. */
		if (entry->action == ACTION_REFUSE && plan->code != EXIT_HISTORY)
			plan->code = states[entry->state].code;
	}
}

enum mer_status plan_make(const struct plan_input *in, struct plan *out, struct mer_error *err)
{
	struct plan plan = { 0 };
	plan.entries = calloc(in->n_rows + in->n_scripts + 1, sizeof *plan.entries);
	if (plan.entries == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	struct pass pass = { .in = in, .plan = &plan };
	for (size_t i = 0; i < in->n_rows; i++) /* ascending */
		pass.highest[is_operators(in->rows[i].num)] = in->rows[i].num;
	walk(&pass);
	count(&plan);
	enum mer_status st = find_moved(&plan, err);
	if (st == MER_OK)
		*out = plan;
	else
		plan_release(&plan);
	return st;
}

void plan_release(struct plan *plan)
{
	if (plan == NULL)
		return;
	free(plan->entries);
	*plan = (struct plan){ 0 };
}

/* --- in words ----------------------------------------------------------------------------- */

static const char *row_file(const struct mer_ledger_row *row, char *out, size_t size)
{
	(void)snprintf(out, size, "%02" PRId64 "-%s.sql", row->num, row->name);
	return out;
}

const char *entry_file(const struct entry *entry, char *out, size_t size)
{
	return entry->script != NULL ? entry->script->file : row_file(entry->row, out, size);
}

static void explain_edited(const struct entry *entry, struct mer_error *out)
{
	char was[ENTRY_FILE_ROOM];
	const struct mer_ledger_row *row = entry->row;
	if (strcmp(entry->script->name, row->name) == 0)
		(void)mer_fail(out, MER_ECONFLICT, "'%s' was edited after it ran at %s",
		               entry->script->file, row->applied_at);
	else
		(void)mer_fail(out, MER_ECONFLICT, "'%s' is not '%s', which ran at %s", entry->script->file,
		               row_file(row, was, sizeof was), row->applied_at);
	mer_hint(out,
	         "put its old text back, and write the change as a new script; or, if the database has "
	         "it: mer-migrate repair --accept-edit %" PRId64,
	         entry->num);
}

static void explain_cosmetic(const struct entry *entry, struct mer_error *out)
{
	(void)mer_fail(out, MER_ECONFLICT,
	               "'%s' was edited after it ran, in comments or white space only",
	               entry->script->file);
	if (entry->action == ACTION_REFUSE)
		mer_hint(out, "put its old text back, or leave out --strict");
}

static void explain_missing(const struct entry *entry, struct mer_error *out)
{
	char was[ENTRY_FILE_ROOM];
	const struct mer_ledger_row *row = entry->row;
	(void)mer_fail(out, MER_ECONFLICT, "'%s' ran at %s and is missing",
	               row_file(row, was, sizeof was), row->applied_at);
	if (entry->other != NULL)
		mer_hint(out, "its text is in '%s' now: a script that ran keeps its number",
		         entry->other->file);
	else if (strcmp(row->tool_version, MER_VERSION) != 0)
		mer_hint(out,
		         "mer-migrate %s ran it: use that version's scripts, or name its folder with --dir",
		         row->tool_version);
	else
		mer_hint(out, "put it back, or name its folder with --dir as well");
}

static void explain_late(const struct entry *entry, struct mer_error *out)
{
	(void)mer_fail(out, MER_ECONFLICT, "'%s' is late: script %" PRId64 " has run already",
	               entry->script->file, entry->above);
	mer_hint(out, "give it a number above %" PRId64, entry->above);
}

static void explain_duplicate(const struct entry *entry, struct mer_error *out)
{
	const struct script *one = entry->script, *two = entry->other;
	(void)mer_fail(out, MER_ECONFLICT, "'%s/%s' and '%s/%s' have the same number", one->folder,
	               one->file, two->folder, two->file);
	mer_hint(out, "numbers are unique over all folders");
}

void entry_hint_half_done(int64_t num, struct mer_error *out)
{
	mer_hint(out,
	         "see what it has left in the database; then: mer-migrate repair --forget %" PRId64
	         " (it runs again) or --accept-edit %" PRId64 " (it is done)",
	         num, num);
}

static void explain_half_done(const struct entry *entry, struct mer_error *out)
{
	char file[ENTRY_FILE_ROOM];
	(void)mer_fail(out, MER_ECONFLICT, "'%s' began at %s outside a transaction and did not end",
	               entry_file(entry, file, sizeof file), entry->row->applied_at);
	entry_hint_half_done(entry->num, out);
}

static void explain_renamed(const struct entry *entry, struct mer_error *out)
{
	char was[ENTRY_FILE_ROOM];
	(void)mer_fail(out, MER_OK, "'%s' ran as '%s'", entry->script->file,
	               row_file(entry->row, was, sizeof was));
}

static void explain_applied(const struct entry *entry, struct mer_error *out)
{
	if (entry->script == NULL)
		(void)mer_fail(out, MER_OK, "not compared: its folder was not given");
}

static void explain_refused(const struct entry *entry, struct mer_error *out)
{
	*out = *entry->script->problem;
}

static void explain_nothing(const struct entry *entry, struct mer_error *out)
{
	(void)entry;
	(void)out;
}

void entry_explain(const struct entry *entry, struct mer_error *out)
{
	static void (*const explain[])(const struct entry *, struct mer_error *) = {
		[ENTRY_APPLIED] = explain_applied,     [ENTRY_RENAMED] = explain_renamed,
		[ENTRY_COSMETIC] = explain_cosmetic,   [ENTRY_PENDING] = explain_nothing,
		[ENTRY_EDITED] = explain_edited,       [ENTRY_MISSING] = explain_missing,
		[ENTRY_LATE] = explain_late,           [ENTRY_DUPLICATE] = explain_duplicate,
		[ENTRY_HALF_DONE] = explain_half_done, [ENTRY_REFUSED] = explain_refused,
	};
	static_assert(sizeof explain / sizeof *explain == ENTRY_STATE_COUNT, "one for each state");
	*out = (struct mer_error){ 0 };
	explain[entry->state](entry, out);
}

const struct entry *plan_explain(const struct plan *plan, struct mer_error *out)
{
	*out = (struct mer_error){ 0 };
	const struct entry *first = NULL;
	struct mer_buf list;
	mer_buf_init(&list, sizeof out->message); /* cut there: the first ones do */
	for (size_t i = 0; i < plan->n; i++) {
		const struct entry *entry = &plan->entries[i];
		if (entry->action != ACTION_REFUSE)
			continue;
		char file[ENTRY_FILE_ROOM];
		mer_buf_printf(&list, "%s%s (%s)", first == NULL ? "" : ", ",
		               entry_file(entry, file, sizeof file), entry_state_name(entry->state));
		if (first == NULL)
			first = entry;
	}
	size_t n = plan->actions[ACTION_REFUSE];
	if (first != NULL && (n == 1 || (n == 2 && first->state == ENTRY_DUPLICATE))) {
		entry_explain(first, out);
	} else if (n > 1) {
		(void)mer_fail(out, MER_ECONFLICT, "%zu scripts are in the way: %s%s", n,
		               list.ptr != NULL ? list.ptr : "", list.status == MER_OK ? "" : ", ...");
		mer_hint(out, "'mer-migrate plan' says what is wrong with each");
	}
	mer_buf_release(&list);
	return n == 1 ? first : NULL;
}
