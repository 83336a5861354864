/* Whether servers can run models: several are asked at a time. */
#ifndef SERVER_PROBE_H
#define SERVER_PROBE_H

#include "session.h"

#include <mer/http.h>
#include <mer/meal.h>
#include <mer/remote.h>

/* A server, and what came of asking it. Texts are owned. */
struct probe {
	char *name, *kind;
	struct mer_remote *remote; /* NULL: it is not of kind ssh, */
	struct mer_http *http;     /* or not of kind http */
	enum mer_status st;        /* once asked */
	char message[512];         /* why not; "": it can */
	int64_t ms;                /* how long it took to tell */
	struct mer_reach reach;    /* of kind ssh, once asked: how */

	/* while it is asked */
	struct probes *probes;
	struct mer_worker *worker; /* NULL: none, or not any more */
	uint64_t begun_ns;
	bool asked;
};

struct probes {
	struct probe *probe; /* in the order of their names */
	size_t n;

	struct session *s;
	char *guard;
	bool start, done;
	size_t n_open, n_over;
};

/**
 * Reads the servers, or the one of that name.
 *
 * @param name  NULL: all
 * @param out   release it whatever happens
 * @return MER_ENOTFOUND
 */
MER_MUST enum mer_status probes_read(struct session *s, const char *name, struct probes *out,
                                     struct mer_error *err);

/**
 * Asks them all; none waits for another one but where too many would be asked at a time.
 *
 * @param start  that a worker's supervisor can be started there, too; else a login is enough
 * @return MER_OK also where they cannot; MER_ECANCELED
 */
MER_MUST enum mer_status probes_ask(struct probes *probes, bool start, struct mer_error *err);

void probes_release(struct probes *probes);

#endif
