/* The rows of runs and of their owner, as the database thread writes them inside a transaction. */
#include "record.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whose runs these are. A user's name is asked of the environment, since a name service may be slow
 * and costs a library; the numeric id stands in. */
static void identify(struct mer_sched *sched)
{
	const char *user = getenv("USER");
	if (user == NULL || user[0] == '\0')
		user = getenv("LOGNAME");
	if (user != NULL && user[0] != '\0')
		(void)snprintf(sched->who, sizeof sched->who, "%s", user);
	else
		(void)snprintf(sched->who, sizeof sched->who, "uid:%ld", (long)geteuid());
	if (gethostname(sched->host, sizeof sched->host) != 0)
		sched->host[0] = '\0';
	sched->host[sizeof sched->host - 1] = '\0';
	sched->pid = getpid();
}

enum mer_status rows_own(struct mer_sched *sched, struct mer_error *err)
{
	if (sched->registered)
		return MER_OK;
	if (sched->who[0] == '\0') /* the first time; what failed to be written is tried again */
		identify(sched);
	enum mer_status st = mer_owners_sweep(sched->dal, true, NULL, err);
	if (st == MER_OK)
		st = mer_owner_register(sched->dal, sched->owner.text, sched->host, sched->pid, "mer", err);
	return st;
}

/* Whoever ends well takes its owner row along, so that only the dead are looked for; who leaves a row
 * open does not, so that the next start closes it as lost. */
enum mer_status rows_disown(struct mer_sched *sched, struct mer_error *err)
{
	if (!sched->registered || sched->owes)
		return MER_OK;
	return mer_dal_exec(sched->dal, MER_Q_OWNER_DELETE, MER_ARGS(mer_text(sched->owner.text)), NULL,
	                    err);
}

/* Rows of one group share most of their times. */
static const char *stamp_text(struct stamp *stamp, int64_t ms)
{
	if (stamp->text[0] == '\0' || stamp->ms != ms)
		mer_time_text(ms, stamp->text);
	stamp->ms = ms;
	return stamp->text;
}

enum mer_status rows_insert(struct mer_sched *sched, struct mer_run *run, struct mer_error *err)
{
	char sha256[MER_SHA256_SIZE];
	struct mer_sha256 hash;
	mer_sha256_init(&hash);
	if (run->input_meta != NULL)
		mer_sha256_add(&hash, run->input_meta, strlen(run->input_meta));
	mer_sha256_add(&hash, run->input, run->input_len);
	mer_sha256_end(&hash, sha256);
	struct mer_run_open row = {
		.request_uid = run->uid.text,
		.model = run->route->model,
		.deployment = run->route->seen_uid,
		.server = run->route->seen_server,
		.weights = run->route->seen_weights,
		.door = sched->door,
		.who = sched->who,
		.host = sched->host,
		.pid = sched->pid,
		.status = run->stream ? "queued" : "running",
		.queued_at = stamp_text(&sched->queued, mer_time_now_ms()),
		.bytes_in = run->bytes_in,
		.sha256_in = sha256,
		.owner = sched->owner.text,
		.kind = run->route->training != NULL ? "train" : NULL,
		.replays = run->replays,
		.traceparent = sched->traceparent,
	};
	struct mer_value args[MER_RUN_OPEN_ARGS];
	mer_run_open_args(&row, args);
	enum mer_status st =
		mer_dal_exec(sched->dal, MER_Q_RUN_INSERT, args, MER_RUN_OPEN_ARGS, NULL, err);
	run->place = mer_dal_last_place(sched->dal);
	(void)memccpy(run->row_uid, row.deployment, '\0', sizeof run->row_uid - 1);
	return st;
}

/* A row tells where its run was at the end. */
static enum mer_status move_run(struct mer_sched *sched, const struct mer_run *run,
                                struct mer_error *err)
{
	const struct deployment *deployment = run->deployment;
	if (deployment == NULL || strcmp(deployment->uid, run->row_uid) == 0)
		return MER_OK;
	return mer_dal_exec(
		sched->dal, MER_Q_RUN_MOVE,
		MER_ARGS(mer_text(run->uid.text), mer_text(deployment->uid), mer_text(deployment->server)),
		NULL, err);
}

enum mer_status rows_close(struct mer_sched *sched, struct mer_run *run, struct mer_error *err)
{
	struct mer_run_close row;
	run_close_row(run, &row);
	row.started_at = run->started_at != 0 ? stamp_text(&sched->started, run->started_at) : "";
	row.stopped_at = stamp_text(&sched->stopped, run->stopped_at);
	row.place = run->place;
	struct mer_value args[MER_RUN_CLOSE_AT_ARGS];
	mer_run_close_args(&row, args);
	int64_t changed = 0;
	enum mer_status st = move_run(sched, run, err);
	if (st == MER_OK && run->place != 0)
		st = mer_dal_exec(sched->dal, MER_Q_RUN_CLOSE_AT, args, MER_RUN_CLOSE_AT_ARGS, &changed,
		                  err);
	if (st != MER_OK || changed > 0)
		return st;
	return mer_dal_exec(sched->dal, MER_Q_RUN_CLOSE, args, MER_RUN_CLOSE_ARGS, NULL, err);
}
