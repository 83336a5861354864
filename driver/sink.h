/*
 * Where data goes: stdout, buffered. It never waits for a slow reader while the loop has other
 * work: whoever fills it asks sink_full() and goes on in on_drain.
 */
#ifndef SINK_H
#define SINK_H

#include "watch.h"

#include <mer/buf.h>

/* How bytes are written so that the process does not wait. */
enum sink_way {
	SINK_PLAIN, /* write(2): a file, or the program has no loop yet */
	SINK_TWIN,  /* a descriptor of our own for the same pipe or terminal, with O_NONBLOCK */
	SINK_SEND,  /* send(2) with MSG_DONTWAIT: a socket */
	SINK_PIECE, /* poll(2), then what a pipe takes in one piece */
};

struct sink {
	struct mer_buf buf; /* to be written; after adding to it call sink_added() */
	int fd, twin;       /* twin: -1 where there is none */
	enum sink_way way;
	bool terminal;   /* what news are on it is erased first */
	bool lazy;       /* gather for 5 ms instead of one turn of the loop */
	bool gone;       /* its reader has left; bytes are dropped from then on */
	int error;       /* errno of a write that failed otherwise; the same */
	uv_loop_t *loop; /* NULL: none yet */
	uv_prepare_t soon;
	uv_timer_t late;
	struct watch watch;
	bool waiting; /* for the reader */
	int open_handles;
	watch_fn *on_drain; /* the reader has caught up; NULL: nobody cares */
	void *ctx;
};

void sink_init(struct sink *sink, int fd);

/** From now on waits by the loop. */
MER_MUST enum mer_status sink_attach(struct sink *sink, uv_loop_t *loop, struct mer_error *err);

/** Adds bytes to what is to be written. */
void sink_add(struct sink *sink, const void *bytes, size_t n);

/** Something was added to buf: it is written now where it is much, else soon. */
void sink_added(struct sink *sink);

/** Writes what goes without waiting for the reader; all of it where there is no loop. */
void sink_flush(struct sink *sink);

/** Whether whoever fills it should stop until on_drain. */
static inline bool sink_full(const struct sink *sink)
{
	return sink->waiting;
}

static inline bool sink_empty(const struct sink *sink)
{
	return sink->buf.len == 0;
}

/** Forgets what is not written. */
void sink_drop(struct sink *sink);

/** Begins to close what it has on the loop; sink_closed() tells when that is done. */
void sink_close(struct sink *sink);
static inline bool sink_closed(const struct sink *sink)
{
	return sink->open_handles == 0 && (sink->loop == NULL || sink->watch.closed);
}

void sink_release(struct sink *sink);

#endif
