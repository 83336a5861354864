/* What a training on another host made is brought here once its worker is gone; until then its run is open. */
#include "pool.h"

#include <mer/lend.h>
#include <stdlib.h>
#include <string.h>

struct making {
	struct mer_outcome outcome;
	struct mer_lending *lending; /* NULL: its worker is not gone */
};

bool made_begin(struct slot *slot, const struct mer_outcome *outcome)
{
	if (slot->route->training == NULL || slot->deployment->remote == NULL ||
	    outcome->status != MER_OK)
		return false;
	slot->making = calloc(1, sizeof *slot->making);
	if (slot->making == NULL)
		return false;
	slot->making->outcome = *outcome;
	if (deployment_stays(slot->deployment))
		slot_end(slot, MER_END_DRAIN);
	else
		slot->state = SLOT_ENDING;
	return true;
}

static void on_fetched(void *ctx, const struct mer_error *err)
{
	struct slot *slot = ctx;
	struct making *making = slot->making;
	struct mer_run *run = TAILQ_FIRST(&slot->runs);
	if (err != NULL) {
		making->outcome.status = err->status == MER_EIO ? MER_EUNREACHABLE : err->status;
		(void)snprintf(making->outcome.message, sizeof making->outcome.message, "%s", err->message);
	}
	slot->making = NULL;
	slot_leave(run);
	run->done_ns = uv_hrtime();
	run_end(run, &making->outcome);
	free(making);
	slot_gone(slot);
}

void made_fetch(struct slot *slot)
{
	const struct deployment *deployment = slot->deployment;
	struct making *making = slot->making;
	struct mer_error err;
	enum mer_status st =
		mer_fetch(slot->route->sched->loop, &deployment->spec, strrchr(deployment->folder, '-') + 1,
	              slot->route->training->new_weights, on_fetched, slot, &making->lending, &err);
	if (st != MER_OK)
		on_fetched(slot, &err);
}

bool made_cancel(struct slot *slot)
{
	if (slot->making == NULL || slot->making->lending == NULL)
		return false;
	mer_lending_cancel(slot->making->lending);
	return true;
}
