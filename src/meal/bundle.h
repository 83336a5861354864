/* A file, or a folder as a tar of its files, as bytes that can be read from anywhere on: the same path
 * gives the same bytes as long as nothing in it is changed. Links are followed, as in mer/sum.h. */
#ifndef MEAL_BUNDLE_H
#define MEAL_BUNDLE_H

#include <mer/error.h>
#include <stdbool.h>
#include <stdint.h>

struct bundle;

/**
 * @param is_source  without the folders __pycache__
 * @return as mer_sum_look()
 */
MER_MUST enum mer_status bundle_open(const char *path, bool is_source, struct bundle **out,
                                     struct mer_error *err);
void bundle_free(struct bundle *bundle);

bool bundle_is_folder(const struct bundle *bundle);
int64_t bundle_size(const struct bundle *bundle);

/** Reads exactly n bytes, which there are. MER_ECONFLICT: a file has become shorter. */
MER_MUST enum mer_status bundle_read(struct bundle *bundle, int64_t at, char *out, size_t n,
                                     struct mer_error *err);

#endif
