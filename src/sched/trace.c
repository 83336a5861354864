/*
 * The trace that runs belong to. A process a run has it in its environment, with the run as its parent;
 * a worker that stays is told with each run where its protocol can say it (docs/wire.md), and otherwise
 * has what mer itself was started with.
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#define VARIABLE "TRACEPARENT="

bool trace_is_of_start(const struct mer_sched *sched, const struct deployment *deployment)
{
	return sched->traceparent[0] != '\0' && deployment->spec.protocol == MER_PROTOCOL_ONCE;
}

/* An environment with that variable instead of any of its name; borrows from both. NULL: no memory. */
static const char **env_with(const char *const env[], const char *variable)
{
	size_t n = 0, at = 0;
	while (env[n] != NULL)
		n++;
	const char **with = calloc(n + 2, sizeof *with);
	for (size_t i = 0; i < n && with != NULL; i++) {
		if (strncmp(env[i], VARIABLE, strlen(VARIABLE)) != 0)
			with[at++] = env[i];
	}
	if (with != NULL)
		with[at] = variable;
	return with;
}

enum mer_status trace_start_worker(struct mer_sched *sched, const struct deployment *deployment,
                                   const struct mer_run *run, struct slot *slot,
                                   struct mer_error *err)
{
	struct mer_worker_spec spec = deployment->spec;
	spec.http_session = slot->route->session[0] != '\0';
	char variable[sizeof VARIABLE + MER_TRACEPARENT_SIZE] = VARIABLE;
	const char **env = NULL;
	if (run != NULL && trace_is_of_start(sched, deployment)) {
		mer_traceparent_pass(sched->traceparent, &run->uid, variable + strlen(VARIABLE));
		env = env_with(spec.env, variable);
		if (env == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		spec.env = env;
	}
	enum mer_status st =
		mer_worker_start(sched->loop, &spec, &slot_events, slot, &slot->worker, err);
	free(env);
	return st;
}
