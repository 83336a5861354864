/*
 * What workers announce of their inputs and outputs is kept with their model, for people to read. It is
 * a record of what was seen, as the log is, so a plain run keeps it too; but only where the database
 * lets it: on a shared one that is its owner's. Nothing is checked against what is kept: a worker's
 * own word is at hand.
 */
#define LOG_AREA "sched"
#include "internal.h"

#include <mer/clean.h>
#include <mer/json.h>
#include <mer/log.h>
#include <stdlib.h>
#include <string.h>

struct contract_job {
	struct mer_job job;
	struct mer_sched *sched;
	char *model, *announced;
};

/* --- in the thread ------------------------------------------------------------------------ */

/* What is kept now: an object each. */
struct kept {
	json_t *inputs, *outputs;
};

static void kept_done(struct kept *kept)
{
	json_decref(kept->inputs);
	json_decref(kept->outputs);
}

static enum mer_status on_model(void *ctx, const void *row, struct mer_error *err)
{
	struct kept *kept = ctx;
	const struct mer_model_row *model = row;
	enum mer_status st =
		mer_json_parse("inputs", model->inputs, strlen(model->inputs), &kept->inputs, err);
	if (st != MER_OK)
		return st;
	return mer_json_parse("outputs", model->outputs, strlen(model->outputs), &kept->outputs, err);
}

static enum mer_status on_count(void *ctx, const void *row, struct mer_error *err)
{
	(void)err;
	*(int64_t *)ctx = ((const struct mer_count_row *)row)->count;
	return MER_OK;
}

/* The member of that name alone, or an empty object. */
static json_t *only(json_t *announced, const char *key)
{
	json_t *object = json_object(), *member = json_object_get(announced, key);
	if (member != NULL && json_object_set(object, key, member) != 0) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static enum mer_status write_fresh(struct mer_dal *dal, const char *model, const struct kept *fresh,
                                   struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *inputs = NULL;
	MER_AUTO(mer_text_done) char *outputs = NULL;
	int64_t may = 0;
	enum mer_status st = mer_dal_query(dal, MER_Q_MODEL_CONTRACT_MAY, NULL, 0, on_count, &may, err);
	if (st != MER_OK || may == 0)
		return st;
	st = mer_json_text(fresh->inputs, &inputs, err);
	if (st == MER_OK)
		st = mer_json_text(fresh->outputs, &outputs, err);
	if (st != MER_OK)
		return st;
	return mer_dal_exec(dal, MER_Q_MODEL_CONTRACT,
	                    MER_ARGS(mer_text(model), mer_text(inputs), mer_text(outputs)), NULL, err);
}

static enum mer_status keep(struct mer_dal *dal, const struct contract_job *job,
                            struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *announced = NULL;
	MER_AUTO(kept_done) struct kept now = { NULL, NULL };
	MER_AUTO(kept_done) struct kept fresh = { NULL, NULL };
	enum mer_status st = mer_dal_query(dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text(job->model)),
	                                   on_model, &now, err);
	if (st == MER_OK)
		st = mer_json_parse("what it announces", job->announced, strlen(job->announced), &announced,
		                    err);
	if (st != MER_OK || now.inputs == NULL)
		return st; /* or the model has gone */
	fresh = (struct kept){ only(announced, "inputs"), only(announced, "outputs") };
	if (fresh.inputs == NULL || fresh.outputs == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (json_equal(now.inputs, fresh.inputs) && json_equal(now.outputs, fresh.outputs))
		return MER_OK;
	return write_fresh(dal, job->model, &fresh, err);
}

static void keep_in_thread(struct mer_job *base)
{
	struct contract_job *job = (struct contract_job *)base;
	struct mer_error err;
	/* It was open when the model's deployment was read. */
	if (job->sched->dal != NULL && keep(job->sched->dal, job, &err) != MER_OK)
		MER_DEBUG("the contract of model '%s' is not kept: %s", job->model, err.message);
}

/* --- on the loop -------------------------------------------------------------------------- */

static void free_job(struct contract_job *job)
{
	free(job->model);
	free(job->announced);
	free(job);
}

static void keep_done(struct mer_job *base)
{
	struct contract_job *job = (struct contract_job *)base;
	struct mer_sched *sched = job->sched;
	sched->jobs--;
	free_job(job);
	sched_maybe_closed(sched);
}

void contract_keep(struct mer_sched *sched, const char *model, const char *announced)
{
	struct contract_job *job = calloc(1, sizeof *job);
	if (job == NULL)
		return; /* the next start keeps it */
	job->job = (struct mer_job){ .run = keep_in_thread, .done = keep_done };
	job->sched = sched;
	job->model = strdup(model);
	job->announced = strdup(announced);
	if (job->model == NULL || job->announced == NULL) {
		free_job(job);
		return;
	}
	sched->jobs++;
	mer_work_push(sched->work, &job->job);
}
