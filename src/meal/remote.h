/* The carrier for workers on other hosts. */
#ifndef MEAL_REMOTE_H
#define MEAL_REMOTE_H

#include "internal.h"

/* Over a carrier that was not started and that runs `ssh`; takes it, on failure too. NULL: out of
 * memory. What is behind the seam may be another transport one day. */
struct meal_carrier *meal_remote_new(struct meal_carrier *inner);

#endif
