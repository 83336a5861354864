/* What people think of answers. */
#ifndef FEEDBACK_H
#define FEEDBACK_H

#include "session.h"

enum { RATING_MIN = 1, RATING_MAX = 5, EXPECTED_BYTES = 1 << 20 };

/* Of a model of which nobody has said when to train it. */
enum { FEEDBACK_THRESHOLD = 3, FEEDBACK_TRAIN_AFTER = 10 };

/** A rating as it is written. */
MER_MUST enum mer_status feedback_rating(const char *text, int64_t *out, struct mer_error *err);

/**
 * Records what somebody thinks of a run.
 * @param expected  what the output should have been; ptr NULL: nobody said
 * @return MER_ENOTFOUND no such run
 */
MER_MUST enum mer_status feedback_add(struct mer_dal *dal, const char *request_uid, int64_t rating,
                                      struct mer_str expected, const char *note,
                                      struct mer_error *err);

/* Asks whoever is at the prompt; gives a line without its newline, NULL where nobody answered. The
 * caller frees it. */
typedef char *feedback_ask_fn(void *ctx, const char *question);

/**
 * After a run at the prompt: asks for its rating if its model wants that, and offers training once
 * there were enough bad ones.
 * @param dataset  gives the path of a dataset to train the model with, which the caller frees; NULL: not
 *                 wanted
 */
MER_MUST enum mer_status feedback_ask(struct session *s, feedback_ask_fn *ask, void *ctx,
                                      char **dataset, struct mer_error *err);

#endif
