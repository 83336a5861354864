/* Where a training leaves new weights: a path that is nobody else's until it has ended. */
#ifndef TRAIN_PLACE_H
#define TRAIN_PLACE_H

#include "weights.h"

struct train_place {
	char *path, *lock_path; /* of the weights, and of a lock file beside them */
	int lock;               /* -1: none */
	char version[132];
};

/**
 * Takes a version's path in a folder, which is made; nothing is there.
 * @param version  NULL: the next number whose path is free
 * @return MER_ECONFLICT there is such a version, something is at its path, or another trains it
 */
MER_MUST enum mer_status train_place_take(struct train_place *place, const char *folder,
                                          const char *model, const struct weights_list *list,
                                          const char *version, struct mer_error *err);

/** Whether the training has left something. */
bool train_place_filled(const struct train_place *place);

/** Removes what it has left. */
void train_place_clear(const struct train_place *place);

/** Lets the path go, with what is there. */
void train_place_release(struct train_place *place);

#endif
