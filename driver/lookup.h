/*
 * What there is by a name that begins so: models, servers, deployments, versions of weights and runs
 * of the database, files. For completion, so an answer comes within LOOKUP_MS or not at all: a thread
 * of its own asks, over a connection of its own, since the database may be locked or away and a
 * folder on a server that does not answer. What comes too late is there when the same is asked again.
 */
#ifndef LOOKUP_H
#define LOOKUP_H

#include "cmd.h"

enum {
	LOOKUP_MS = 40,
	LOOKUP_MOST = 200, /* so many names at most */
};

struct lookup;

/* What is asked. All borrowed. */
struct lookup_question {
	enum arg_value what; /* VALUE_MODEL, _SERVER, _DEPLOYMENT, _WEIGHTS, _RUN, _FILE or _FOLDER */
	const char *where;   /* of deployments and weights their model; of files their folder */
	const char *begin;   /* with which the names begin */
};

struct lookup_names {
	char **names; /* in order, runs and weights the newest first; folders have a / behind them */
	size_t n;
	size_t common; /* with so many bytes all begin, those too that are not in names */
	bool more;     /* there are some */
};

/** @param url  of the database, which is opened at the first question; NULL: there is none
 * @return NULL: out of memory */
struct lookup *lookup_new(const char *url);

/** Ends what it waits for and frees it, or leaves that to its thread where that takes too long. NULL is
 * fine. */
void lookup_free(struct lookup *lookup);

/** Asks. @return whether there was an answer in time; release out then */
bool lookup_ask(struct lookup *lookup, const struct lookup_question *question,
                struct lookup_names *out);
void lookup_release(struct lookup_names *names);

#endif
