/*
 * Orders and beats to the supervisor of a worker on another host, which cannot go over the worker's own channel.
 * They have a second one on the same connection, opened with the first of them: a run that is over sooner costs
 * none. A kill needs none either, since a dead channel is one. Where the server takes no second channel they have
 * a login of their own, which tells whether it is the same host.
 */
#ifndef MEAL_REMOTE_ORDERS_H
#define MEAL_REMOTE_ORDERS_H

#include "far.h"
#include "remote_way.h"

/* What is told of a channel that was opened, from the loop. */
struct remote_orders_events {
	void (*ended)(void *ctx);  /* perhaps remote_orders_reopen() helps */
	void (*closed)(void *ctx); /* nothing of it is left */
};

struct remote_orders {
	const struct meal_carrier *worker; /* whose they are, as traces tell it */
	const struct remote_way *way;
	const struct remote_orders_events *events;
	void *ctx;
	struct mer_str script; /* of the supervisor; borrowed */
	struct far_names names;
	struct mer_buf preamble;
	struct far_reader reader;
	struct meal_carrier *carrier; /* NULL: none was opened */
	bool up;                      /* its start mark has come */
	bool apart;                   /* it is of a login of its own */
	bool told_term;               /* the worker is to end */
	bool leaving;                 /* it was told to close */
	bool over;                    /* it has ended, or could not be had */
};

/**
 * All others are set before: worker, way, events, ctx, script. Nothing is opened.
 *
 * @param id  of the worker's processes (struct far_names)
 */
MER_MUST enum mer_status remote_orders_init(struct remote_orders *orders, const char id[FAR_NONCE],
                                            struct mer_error *err);
void remote_orders_release(struct remote_orders *orders);

/* Opens one beside the worker's channel, where none was yet. @return whether it did: closed follows */
bool remote_orders_open(struct remote_orders *orders, struct meal_carrier *beside,
                        const struct far_whom *whom);

/* After its end, with a login of its own, where the server took no second channel. @return as remote_orders_open() */
bool remote_orders_reopen(struct remote_orders *orders, const struct far_whom *whom);

/* What is told where none is open is lost, and the worker ends by the silence. */
void remote_orders_beat(struct remote_orders *orders);
void remote_orders_term(struct remote_orders *orders);

/* The worker is gone: ssh ends once both channels are closed. */
void remote_orders_leave(struct remote_orders *orders);

/* Whether nothing is to be waited for. */
bool remote_orders_are_over(const struct remote_orders *orders);

void remote_orders_kill(struct remote_orders *orders);
void remote_orders_close(struct remote_orders *orders);

#endif
