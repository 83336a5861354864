/*
 * The wire between mer and the far supervisor of a worker on another host (far.sh): what is sent in
 * front of the worker's input, in two halves, and the marks that come back on its stderr. All of it is
 * pure.
 */
#ifndef MEAL_FAR_H
#define MEAL_FAR_H

#include <mer/buf.h>
#include <mer/text.h>
#include <stdbool.h>
#include <stdint.h>

/* The command line for the login shell over there, whichever it is: sh, bash, zsh, fish, tcsh. It has
 * nothing of ours in it; a POSIX read takes no byte behind its line off a pipe. */
#define FAR_COMMAND "exec /bin/sh -c 'IFS= read -r s && eval \"$s\"'"

#define FAR_NONCE 33 /* room for 32 hexadecimal digits and a NUL */

/* What only the two sides know. The worker sees id, not nonce, so that it cannot make marks. */
struct far_names {
	char nonce[FAR_NONCE]; /* marks are told by it */
	char id[FAR_NONCE];    /* the processes of the worker are told by it */
};
MER_MUST enum mer_status far_names_init(struct far_names *names, struct mer_error *err);

/* What the supervisor of a worker is told. Borrowed. */
struct far_header {
	const struct far_names *names;
	const char *workdir;     /* NULL or "": the home over there */
	const char *const *argv; /* of the worker */
	const char *const *env;  /* NAME=VALUE: what it gets beside what a login has over there */
	bool clean;              /* of that only what --clean-env leaves */
	bool probe;              /* only look whether the program is there */
	const char *room; /* what makes a folder of its own (far_room.h); NULL or "": it has none */
};

/* Appends a word as a POSIX shell takes it, whatever bytes it has. */
void far_quote(struct mer_buf *out, const char *word);

/**
 * Appends the supervisor of a worker, which may be sent ahead of need: it gets all ready, says "up" on
 * both streams and waits for one header. It leaves when its input ends before that.
 *
 * @param script     far.sh
 * @param silence_s  the worker is ended when nothing was heard of us for so long
 */
MER_MUST enum mer_status far_supervisor(struct mer_buf *out, struct mer_str script,
                                        const struct far_names *names, int64_t silence_s,
                                        struct mer_error *err);

/* What starts the worker that the header has told of: no byte behind it is touched, it is the worker's input. */
#define FAR_GO "go\n"

/**
 * Appends what it waits for. It looks at all that it can look at, and says nothing until FAR_GO follows.
 * The names are those of its supervisor.
 *
 * @return MER_EINPUT  a variable that a shell cannot hold
 */
MER_MUST enum mer_status far_header(struct mer_buf *out, const struct far_header *header,
                                    struct mer_error *err);

/* For whom orders are, as the mark "watch" says. */
struct far_whom {
	int64_t pid, timer;
	bool by_perl;
	bool apart; /* the channel is of another login, so that it need not be the same host */
};

/**
 * Appends what takes orders for a worker, a line each behind it, on a channel of its own: "beat", "term",
 * "kill", "leave". Where it ends without the last, the worker is killed.
 *
 * @param names  the nonce of this channel, the id of the worker
 */
MER_MUST enum mer_status far_orders(struct mer_buf *out, struct mer_str script,
                                    const struct far_names *names, const struct far_whom *whom,
                                    struct mer_error *err);

/* --- marks -------------------------------------------------------------------------------- */

#define FAR_MARK_MAX 160 /* bytes of a mark behind its nonce; what is longer is none of ours */

struct far_reader {
	char head[8 + FAR_NONCE]; /* "\036MER-NONCE " */
	size_t head_len;
	size_t matched; /* bytes of head that have come */
	char line[FAR_MARK_MAX];
	size_t len;
};
void far_reader_init(struct far_reader *reader, const char *nonce);

/* What a piece of a stream is. */
struct far_piece {
	struct mer_str bytes; /* of the stream itself; borrowed until the next call */
	const char *mark;     /* else a mark, without nonce and newline; NULL: neither is there */
};

/** Takes some of n bytes and returns how many; gives one piece. To be called until all are taken. */
size_t far_reader_feed(struct far_reader *reader, const char *bytes, size_t n,
                       struct far_piece *piece);

/** The stream has ended: what looked like the beginning of a mark was none. */
struct mer_str far_reader_end(struct far_reader *reader);

#endif
