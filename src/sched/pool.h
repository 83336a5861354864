/*
 * Between the files of the pool: dispatch.c gives runs to workers, slot.c has one worker, events.c
 * what it says, ping.c asks for one, pool.c has all of a route.
 */
#ifndef SCHED_POOL_H
#define SCHED_POOL_H

#include "internal.h"

/* Whether its workers answer one run after another, not a program a run. Those behind a URL do, though
 * each run is a request. */
static inline bool deployment_stays(const struct deployment *deployment)
{
	return deployment->spec.protocol != MER_PROTOCOL_ONCE || deployment->http != NULL;
}

/* --- slot.c --- */
/* Starts a worker that waits to be let go. */
enum mer_status slot_start(struct route *route, struct deployment *deployment,
                           const struct mer_run *run, struct slot **out, struct mer_error *err);
void slot_let_go(struct slot *slot);
/* How long a start has been under way; 0: none is. */
int64_t slot_start_took(const struct slot *slot);
/* It was started and will not be ready: its run goes elsewhere, or is told as whoever asks is. */
void slot_not_ready(struct slot *slot, const char *why, const struct mer_error *err);
void slot_end(struct slot *slot, enum mer_end how);
/* Gives it a ready run: at once, or when it is ready itself. */
void slot_take(struct slot *slot, struct mer_run *run);
/* A slot has a run from slot_enter() to slot_leave(); between them it is sent. */
void slot_enter(struct slot *slot, struct mer_run *run);
void slot_leave(struct mer_run *run);
void slot_send(struct slot *slot, struct mer_run *run, uint64_t now_ns);
/* It has no run any more: it is idle, or leaves where it is of no further use. */
void slot_rest(struct slot *slot);
/* Whether a run could be sent to it now; how many it has already decides between two. */
bool slot_has_room(const struct slot *slot);
/* Whether new runs may go there. */
bool slot_in_force(const struct slot *slot);

/* --- made.c --- */
/* A run has ended. Whether it is a training whose weights are to be brought here: then it stays open. */
bool made_begin(struct slot *slot, const struct mer_outcome *outcome);
/* Its worker is gone. */
void made_fetch(struct slot *slot);
/* Gives up; not so: nothing is being brought. */
bool made_cancel(struct slot *slot);

/* --- events.c --- */
/* Nothing of it is left: frees it. */
void slot_gone(struct slot *slot);
extern const struct mer_worker_events slot_events;

/* --- trace.c --- */
/* Whether a worker is told of the trace when it is started: then it is started for its run. */
bool trace_is_of_start(const struct mer_sched *sched, const struct deployment *deployment);
/* mer_worker_start() of a slot's worker. run: what it is started for; NULL: nothing yet. */
enum mer_status trace_start_worker(struct mer_sched *sched, const struct deployment *deployment,
                                   const struct mer_run *run, struct slot *slot,
                                   struct mer_error *err);

/* --- ping.c --- */
/* Tells whoever asked; err NULL: the model could answer. */
void ping_end(struct route *route, const struct mer_error *err);

/* Whether the ping waits for what a worker lacks. */
bool ping_lent(struct route *route, struct deployment *deployment, const char *lacks);

/* --- pool.c --- */
/* Whether there are as many workers as there may be: the limit is the deployment's, whatever way led
 * to it. */
bool pool_is_full(const struct route *route, const struct deployment *deployment);
/* Makes a worker of the same deployment leave that another way to the model has and does not use; one
 * that holds a session's state stays. False: sessions hold all of them, so that none will leave soon. */
bool pool_make_room(const struct route *route, const struct deployment *deployment);

#endif
