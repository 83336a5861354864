/* A carrier over a channel of its own, of a session that workers share. Part of the private module `ssh`. */
#ifndef MEAL_SSH_CARRIER_H
#define MEAL_SSH_CARRIER_H

#include "ssh_pool.h"

/* As struct meal_ssh has them. */
struct meal_carrier *ssh_carrier_new(struct ssh_pool *pool);
struct meal_carrier *ssh_carrier_beside(struct meal_carrier *other);
bool ssh_carrier_whole(const struct meal_carrier *carrier);
bool ssh_carrier_lives(const struct meal_carrier *carrier);
void ssh_carrier_lose(struct meal_carrier *carrier);
void ssh_carrier_reach(const struct meal_carrier *carrier, struct mer_reach *out);

#endif
