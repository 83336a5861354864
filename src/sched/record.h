/*
 * Between the files that write rows: record.c decides when, group.c writes a group, rows.c has the
 * rows, connection.c the connection that they go over.
 */
#ifndef SCHED_RECORD_H
#define SCHED_RECORD_H

#include "internal.h"

/* Why a route has no deployment, or those that it has now. */
struct resolved {
	SLIST_ENTRY(resolved) link;
	struct route *route;
	struct places *fresh; /* NULL: as before, or error */
	struct mer_error error;
	bool wrong; /* it is the weights that error is about */
};
SLIST_HEAD(resolved_list, resolved);

/* A group; the thread's while it is under way. */
struct record_job {
	struct mer_job job;
	struct mer_sched *sched;
	struct run_list inserts, closes;
	struct run_list closed, unwritten; /* what became of closes */
	struct resolved_list resolved;
	struct resolved *unread;       /* whose weights are to be read before the group is written */
	struct mer_error insert_error; /* of all inserts; MER_OK: see each run's unwritable */
	struct mer_error close_error;  /* of what is unwritten */
	bool last;                     /* nothing follows: we leave */
	bool lazy;                     /* what it wrote may not be on the disk yet */
};

/* --- group.c --- */
/* Writes it, in the database thread. The last group takes the connection along. */
void group_write(struct mer_job *job);
/* What was found of a route; NULL: nothing of the group goes that way. */
struct resolved *group_resolved(struct record_job *job, const struct route *route);

/* --- rows.c, in the database thread, inside a transaction --- */
/* Our owner row is there from then on. */
enum mer_status rows_own(struct mer_sched *sched, struct mer_error *err);
/* And goes again, unless a row of ours stays open. */
enum mer_status rows_disown(struct mer_sched *sched, struct mer_error *err);
enum mer_status rows_insert(struct mer_sched *sched, struct mer_run *run, struct mer_error *err);
enum mer_status rows_close(struct mer_sched *sched, struct mer_run *run, struct mer_error *err);

/* --- connection.c --- */
/* Something was written that is to be on the disk before long, whatever follows. */
void connection_sync(struct mer_sched *sched);
/* Closes it, in the database thread. */
void connection_close(struct mer_sched *sched);

#endif
