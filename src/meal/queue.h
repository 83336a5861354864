/*
 * What is queued for a worker's input: pieces that are borrowed from the runs they belong to, until these
 * are settled, and copies of what no run asked for. Pure; carriers write what is at its front.
 */
#ifndef MEAL_QUEUE_H
#define MEAL_QUEUE_H

#include "internal.h"

#define MEAL_TOLD_MAX 24 /* pieces that no run asked for */
/* Pieces that are copies, since their run has ended. Who reads its input in order answers requests that
 * it has read, one of them perhaps in part; what is queued of the others is their cancel. */
#define MEAL_COPIED_MAX (MEAL_OPEN_MAX + MEAL_PIECES_MAX)
#define MEAL_QUEUE_MAX \
	(MEAL_OPEN_MAX * (MEAL_PIECES_MAX + 1) + MEAL_TOLD_MAX + MEAL_COPIED_MAX + \
	 2) /* with cancel, greeting, farewell */

struct meal_queue {
	struct mer_str pieces[MEAL_QUEUE_MAX];
	char *owned[MEAL_QUEUE_MAX]; /* where a piece is a copy: its bytes from their begin */
	const void
		*owners[MEAL_QUEUE_MAX]; /* of pieces that are borrowed; of those that were told, it */
	size_t n, n_told, n_copied;
};

/** Adds a borrowed piece behind the others. */
void meal_queue_add(struct meal_queue *queue, struct mer_str piece, const void *owner);

/** Adds a copy. MER_EBUSY: too many of them wait; MER_ENOMEM. */
MER_MUST enum mer_status meal_queue_tell(struct meal_queue *queue, struct mer_str bytes);

/** Takes n bytes off the front. */
void meal_queue_advance(struct meal_queue *queue, size_t n);

/** What is queued of an owner becomes a copy. MER_EBUSY: too much of what has ended waits; MER_ENOMEM. */
MER_MUST enum mer_status meal_queue_settle(struct meal_queue *queue, const void *owner);

/** Drops all that waits. */
void meal_queue_drop(struct meal_queue *queue);

#endif
