/* Runs in the background of a prompt. */
#include "background.h"

#include "find.h"
#include "flight.h"

#include <mer/text.h>
#include <string.h>

enum {
	RUNS_MAX = 256,           /* under way, and ended with nobody having waited for them */
	KEPT_IN_MEMORY = 4 << 20, /* bytes of all their outputs */
	KEPT_ON_DISK = 256 << 20, /* of the same; whoever adds to more is cancelled */
};

struct background_run {
	TAILQ_ENTRY(background_run) link;
	char *model, *input, *meta;
	struct mer_uid uid;
	bool told; /* that it has ended */
	struct flight flight;
};

struct background {
	TAILQ_HEAD(, background_run) runs;
	size_t count;
	struct store store;
};

enum mer_status background_refuse(struct session *s, struct place at)
{
	struct mer_error err;
	(void)mer_fail(&err, MER_EINPUT, "'&' is for the prompt: nothing goes to the background here");
	mer_hint(&err, "quoted ('&') it is a word like another");
	s->out.format = s->settings.format;
	session_failed(s, at, MER_EINPUT, &err);
	return MER_EINPUT;
}

/* --- life --------------------------------------------------------------------------------- */

static struct background *open_background(struct session *s)
{
	if (s->background == NULL) {
		s->background = calloc(1, sizeof *s->background);
		if (s->background == NULL)
			return NULL;
		TAILQ_INIT(&s->background->runs);
		store_init(&s->background->store, KEPT_IN_MEMORY);
	}
	return s->background;
}

static void free_run(struct background_run *run)
{
	if (run->flight.s != NULL)
		flight_release(&run->flight);
	free(run->model);
	free(run->input);
	free(run->meta);
	free(run);
}

void background_forget(struct session *s, struct background_run *run)
{
	MER_ASSERT(run->flight.done || s->sched == NULL);
	TAILQ_REMOVE(&s->background->runs, run, link);
	s->background->count--;
	free_run(run);
}

void background_close(struct session *s)
{
	struct background_run *run;
	if (s->background == NULL)
		return;
	while ((run = TAILQ_FIRST(&s->background->runs)) != NULL)
		background_forget(s, run);
	store_release(&s->background->store);
	free(s->background);
	s->background = NULL;
}

/* --- starting ----------------------------------------------------------------------------- */

static struct background_run *copy(const struct run_choice *choice, struct mer_str input,
                                   const char *meta)
{
	struct background_run *run = calloc(1, sizeof *run);
	if (run == NULL)
		return NULL;
	run->model = strdup(choice->model);
	run->input = malloc(input.len + 1);
	run->meta = meta != NULL ? strdup(meta) : NULL;
	if (run->model == NULL || run->input == NULL || (meta != NULL && run->meta == NULL)) {
		free_run(run);
		return NULL;
	}
	if (input.len > 0)
		memcpy(run->input, input.ptr, input.len);
	return run;
}

static enum mer_status check(struct session *s, const struct run_choice *choice,
                             struct mer_error *err)
{
	struct mer_dal *dal;
	struct mer_uid uid;
	enum mer_status st = session_dal(s, &dal, err);
	if (st == MER_OK)
		st = find_model(dal, choice->model, &uid, err);
	if (st == MER_OK && s->background != NULL && s->background->count >= RUNS_MAX) {
		st = mer_fail(err, MER_EBUSY, "%d runs are in the background already", RUNS_MAX);
		mer_hint(err, "'wait' takes one that has ended off the list");
	}
	return st;
}

enum mer_status background_run(struct session *s, const struct run_choice *choice,
                               struct mer_str input, const char *meta, struct mer_error *err)
{
	enum mer_status st = check(s, choice, err);
	if (st != MER_OK)
		return st;
	struct background *background = open_background(s);
	struct background_run *run = background != NULL ? copy(choice, input, meta) : NULL;
	if (run == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	struct run_choice own = *choice;
	own.model = run->model;
	run->flight.keep_max = KEPT_ON_DISK;
	st = flight_begin(&run->flight, s, &own, (struct mer_str){ run->input, input.len }, run->meta,
	                  &background->store, err);
	if (st != MER_OK) {
		free_run(run);
		return st;
	}
	(void)snprintf(run->uid.text, sizeof run->uid.text, "%s", mer_run_uid(run->flight.run));
	TAILQ_INSERT_TAIL(&background->runs, run, link);
	background->count++;
	out_text(s, run->uid.text);
	out_text(s, "\n");
	return MER_OK;
}

/* --- looking ------------------------------------------------------------------------------ */

struct background_run *background_next(const struct session *s, const struct background_run *last)
{
	if (last != NULL)
		return TAILQ_NEXT(last, link);
	return s->background != NULL ? TAILQ_FIRST(&s->background->runs) : NULL;
}

struct flight *background_flight(struct background_run *run)
{
	return &run->flight;
}

const char *background_uid(const struct background_run *run)
{
	return run->uid.text;
}

enum mer_status background_find(const struct session *s, const char *prefix,
                                struct background_run **out, struct mer_error *err)
{
	struct background_run *found = NULL, *run = NULL;
	size_t len = strlen(prefix), count = 0;
	while (len > 0 && (run = background_next(s, run)) != NULL) {
		if (strncmp(run->uid.text, prefix, len) != 0)
			continue;
		found = run;
		count++;
	}
	if (count > 1) {
		(void)mer_fail(err, MER_EINPUT, "the uids of %zu runs begin with '%s'", count, prefix);
		mer_hint(err, "'runs' lists them; give more of it");
		return MER_EINPUT;
	}
	if (found == NULL) {
		(void)mer_fail(err, MER_ENOTFOUND, "there is no run '%s' in the background", prefix);
		mer_hint(err, "'runs' lists them; 'log show' knows those that were waited for");
		return MER_ENOTFOUND;
	}
	*out = found;
	return MER_OK;
}

size_t background_open(const struct session *s)
{
	size_t open = 0;
	for (const struct background_run *run = NULL; (run = background_next(s, run)) != NULL;)
		open += !run->flight.done;
	return open;
}

/* --- what has ended ----------------------------------------------------------------------- */

static void tell(struct session *s, const struct background_run *run)
{
	const struct flight *flight = &run->flight;
	const struct run_kept *kept = flight->result;
	const char *status = kept != NULL ? run_status_name(kept) : NULL;
	enum mer_status st = kept != NULL ? kept->result.error.status : MER_OK;
	const char *why = st != MER_OK && st != MER_ECANCELED ? kept->result.error.message : "";
	char took[24];
	mer_ms_text(flight->ended_ms - flight->progress.begun_ms, took);
	session_note(s, "run %s of model '%s' has ended after %s: %s%s%s", run->uid.text, run->model,
	             took, status != NULL ? status : "failed", why[0] != '\0' ? ", " : "", why);
}

void background_tell(struct session *s)
{
	for (struct background_run *run = NULL; (run = background_next(s, run)) != NULL;) {
		if (!run->flight.done || run->told)
			continue;
		run->told = true;
		tell(s, run);
	}
}
