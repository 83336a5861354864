/* The example by which a model is tested: an input, the output that it should give, and how near to it
 * numbers have to be. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include "cmd.h"
#include "session.h"

#include <mer/compare.h>

struct example {
	char *input, *output; /* owned; NULL: the model has none */
	size_t input_len, output_len;
	char *tolerance; /* as it was given, "": each byte counts */
	double within;   /* the same */
	bool on_start;
};

void example_release(struct example *example);

/** Reads a model's, into an empty one. */
MER_MUST enum mer_status example_read(struct mer_dal *dal, const char *model, struct example *out,
                                      struct mer_error *err);

/** Whether one of the values, a row of spec_args, is about it. */
bool example_is_given(const struct cmd_value values[]);
bool example_is_arg(size_t arg);

/**
 * Changes one by what values says of it; an empty input or output takes it away.
 * @return MER_EINPUT: one half of it is missing, a file cannot be read
 */
MER_MUST enum mer_status example_take(struct example *example, const struct cmd_value values[],
                                      struct mer_error *err);

/** Writes it as the model's. */
MER_MUST enum mer_status example_write(struct mer_dal *dal, const char *model_uid,
                                       const struct example *example, struct mer_error *err);

/**
 * Changes the model's by what values says of it; an empty input or output takes it away.
 * @return MER_EINPUT: one half of it is missing, a file cannot be read
 */
MER_MUST enum mer_status example_change(struct mer_dal *dal, const char *model,
                                        const char *model_uid, const struct cmd_value values[],
                                        struct mer_error *err);

/**
 * Runs it without a record; a difference is shown on stdout, unless it is kept in shown.
 * @return MER_ENOTFOUND the model has none
 *         MER_EMODEL    the output is another
 */
MER_MUST enum mer_status example_run(struct session *s, const char *model, int64_t *ms,
                                     struct mer_buf *shown, struct mer_error *err);

#endif
