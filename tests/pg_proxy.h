/*
 * A proxy before a Postgres server, in a thread of the test: it counts what a client waits for, and
 * does to the connection what networks and servers do.
 *
 * It knows the frontend's messages well enough to see where a client stops and waits: at a Sync and
 * at a simple Query. Source: the frontend/backend protocol, chapter 55 of Postgres' manual.
 */
#ifndef PG_PROXY_H
#define PG_PROXY_H

#include <stdbool.h>
#include <stddef.h>

/* What becomes of the next batch: what a client sends up to where it waits. */
enum proxy_fate {
	PROXY_PASS,
	PROXY_CUT_BEFORE, /* the server never sees it; the client's connection ends */
	PROXY_CUT_AFTER,  /* the server does it; the client's connection ends instead of the answer */
};

/** Starts it before the server at 127.0.0.1:port; returns its own port. */
int proxy_start(int port);
void proxy_stop(void);

/** How many batches clients have waited for since the last call. */
int proxy_waits(void);

/** Ends all connections. server: its ends too, else it does not notice. */
void proxy_cut(bool server);

/** The next n connections are closed as soon as they are made, as by a server that starts. */
void proxy_refuse(int n);

void proxy_next(enum proxy_fate fate);

/** From now on a pooler: all connections share one session, and answer with a process that is none. */
void proxy_pool(void);

#endif
