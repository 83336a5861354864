/*
 * What is known of a worker on another host from what comes of its channel: the marks of its supervisor on stderr,
 * what is in front of them and behind, and how the channel ended. Pure: bytes go in, events come out.
 */
#ifndef MEAL_REMOTE_HEAR_H
#define MEAL_REMOTE_HEAR_H

#include "far.h"
#include "remote_explain.h"

struct remote_heard {
	struct remote_subject subject; /* borrowed; program NULL: it has no worker yet */
	struct far_reader out, err;
	bool out_up, err_up;  /* their start marks have come */
	bool gone;            /* nothing is left there, as the supervisor said */
	bool complained;      /* something came on stderr behind that: ssh's own words */
	bool over;            /* how says how it ended */
	struct far_whom whom; /* of whom orders are for; pid 0: not known */
	struct meal_exit how;
	struct mer_buf noise; /* the end of what came on stderr beside the worker's */
};

void remote_heard_init(struct remote_heard *heard);
void remote_heard_release(struct remote_heard *heard);

/* By which marks are told (struct far_names). */
void remote_heard_expect(struct remote_heard *heard, const char *nonce);

enum remote_event_kind {
	REMOTE_NOTHING,
	REMOTE_UP,    /* the supervisor is there */
	REMOTE_WATCH, /* whom is known */
	REMOTE_GONE,  /* nothing is left there */
	REMOTE_BYTES, /* the worker's */
	REMOTE_NOISE, /* login scripts print such, and ssh itself */
	REMOTE_STRAY, /* of a worker, but there is none yet */
};

struct remote_event {
	enum remote_event_kind kind;
	struct mer_str bytes; /* borrowed until the next call */
	const char *mark;     /* what the supervisor said, but for beats; NULL: it did not */
};

/** Takes some of n bytes and returns how many; gives one event. To be called until all are taken. */
size_t remote_hear(struct remote_heard *heard, enum meal_stream stream, const char *bytes, size_t n,
                   struct remote_event *event);

/** stderr has ended: bytes of the worker's that looked like the beginning of a mark. */
struct mer_str remote_hear_rest(struct remote_heard *heard);

/* The end of what carried it, and what counts for what that means. */
struct remote_end {
	const struct meal_exit *carrier;
	bool by_ssh;     /* the system's */
	bool was_killed; /* by us */
	bool begun;      /* the supervisor was told that the worker may go */
	bool probes;     /* there was to be no worker */
	bool logs_in;    /* nor a supervisor */
	int64_t
		late_s; /* seconds in which no supervisor has spoken, so that we ended it; 0: we did not */
};

/** Then how is what has become of the worker, and over. A problem of how from before that is why we ended it. */
void remote_hear_end(struct remote_heard *heard, const struct remote_end *end);

#endif
