/*
 * Which of a model's deployments a run goes to, and what is learnt of each; pure.
 *
 * Those that are well come before those whose starts have failed of late, and these before those that
 * wait for their next start; among equals the lowest priority comes first, and among those of one
 * priority the least busy. A run does not overflow to a higher number where a lower one is only
 * busy: it waits, since the operator has said what is to be used first.
 */
#ifndef CHOOSE_H
#define CHOOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHOOSE_SHUN_MS INT64_C(1000) /* how long others come first; doubled with each failure */
#define CHOOSE_SHUN_MOST_MS INT64_C(60000) /* up to this */
#define CHOOSE_FREE 3 /* so many crashes in a row do not slow down the next start */
#define CHOOSE_SLOW_FIRST_MS INT64_C(100) /* how long it then waits; doubled with each crash */
#define CHOOSE_SLOW_MS INT64_C(6400)      /* up to this */
/* Or to this where it was ready: perhaps its inputs are to blame, and the next is fine. */
#define CHOOSE_SLOW_READY_MS INT64_C(400)

/* What is known of a deployment. Times are the caller's, in ms; 0: at once. */
struct choose_health {
	int failures;          /* in a row, since it answered for the last time */
	int64_t shunned_until; /* others come first */
	int64_t start_after;   /* no worker is started before */
	int64_t busy_until;    /* it has asked that nobody comes before */
};

/* It could not be started, which took so long to tell, or its worker left without an answer. Others
 * come first for ten times as long at least, so that little time goes into what does not work.
 * slowest: of a worker that stays, which is started again and again, the longest that starts are to
 * wait when that goes on; else 0. */
void choose_failed(struct choose_health *health, int64_t now, int64_t took, int64_t slowest);

/* It answered. */
void choose_answered(struct choose_health *health);

/* A deployment as one run sees it. */
struct choose_place {
	struct choose_health health;
	int64_t priority;
	bool tried;  /* the run has been there, and is not to go again */
	bool ready;  /* a worker takes it now */
	bool coming; /* a worker is on its way, or may be started once start_after has passed */
	size_t load; /* runs that are open there */
};

enum choice {
	CHOICE_PLACE, /* *which is it */
	CHOICE_WAIT,  /* until a worker has room, or until a start is due */
	CHOICE_NONE,  /* it has been everywhere */
};

enum choice choose(const struct choose_place places[], size_t n, int64_t now, size_t *which);

#endif
