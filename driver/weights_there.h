/* Weights that are on a server of kind ssh, SERVER:/PATH. */
#ifndef WEIGHTS_THERE_H
#define WEIGHTS_THERE_H

#include "session.h"

#include <mer/sum.h>

/**
 * SHA-256 and size of what is there, as told there.
 * @param nothing  set to true where there is nothing, which is MER_EINPUT
 * @return MER_ENOTFOUND  no such server
 */
MER_MUST enum mer_status weights_there_sum(struct session *s, const char *stored,
                                           struct mer_sum *out, bool *nothing,
                                           struct mer_error *err);

#endif
