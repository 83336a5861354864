/* What is queued for a worker; queue.h. */
#include "queue.h"

#include <stdlib.h>
#include <string.h>

/* Of the copies that have that owner. */
static size_t *count_of(struct meal_queue *queue, const void *owner)
{
	return owner == queue ? &queue->n_told : &queue->n_copied;
}

/* Drops the first n pieces. */
static void drop_pieces(struct meal_queue *queue, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (queue->owned[i] != NULL)
			*count_of(queue, queue->owners[i]) -= 1;
		free(queue->owned[i]);
	}
	queue->n -= n;
	if (queue->n == 0)
		return;
	memmove(queue->pieces, queue->pieces + n, queue->n * sizeof *queue->pieces);
	memmove(queue->owned, queue->owned + n, queue->n * sizeof *queue->owned);
	memmove(queue->owners, queue->owners + n, queue->n * sizeof *queue->owners);
}

static void add_piece(struct meal_queue *queue, struct mer_str piece, char *owned,
                      const void *owner)
{
	MER_ASSERT(queue->n < MEAL_QUEUE_MAX);
	queue->pieces[queue->n] = piece;
	queue->owned[queue->n] = owned;
	queue->owners[queue->n++] = owner;
	if (owned != NULL)
		*count_of(queue, owner) += 1;
}

void meal_queue_add(struct meal_queue *queue, struct mer_str piece, const void *owner)
{
	if (piece.len > 0)
		add_piece(queue, piece, NULL, owner);
}

enum mer_status meal_queue_tell(struct meal_queue *queue, struct mer_str bytes)
{
	if (queue->n_told >= MEAL_TOLD_MAX)
		return MER_EBUSY;
	char *copy = malloc(bytes.len);
	if (copy == NULL)
		return MER_ENOMEM;
	memcpy(copy, bytes.ptr, bytes.len);
	add_piece(queue, (struct mer_str){ copy, bytes.len }, copy, queue);
	return MER_OK;
}

void meal_queue_advance(struct meal_queue *queue, size_t n)
{
	size_t i = 0;
	while (i < queue->n && n >= queue->pieces[i].len)
		n -= queue->pieces[i++].len;
	drop_pieces(queue, i);
	if (n > 0) {
		queue->pieces[0].ptr += n;
		queue->pieces[0].len -= n;
	}
}

enum mer_status meal_queue_settle(struct meal_queue *queue, const void *owner)
{
	for (size_t i = 0; i < queue->n; i++) {
		if (queue->owners[i] != owner)
			continue;
		if (queue->n_copied >= MEAL_COPIED_MAX)
			return MER_EBUSY;
		char *copy = malloc(queue->pieces[i].len);
		if (copy == NULL)
			return MER_ENOMEM;
		memcpy(copy, queue->pieces[i].ptr, queue->pieces[i].len);
		queue->pieces[i].ptr = queue->owned[i] = copy;
		queue->owners[i] = NULL;
		queue->n_copied++;
	}
	return MER_OK;
}

void meal_queue_drop(struct meal_queue *queue)
{
	drop_pieces(queue, queue->n);
}
