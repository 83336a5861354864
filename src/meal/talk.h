/* Inside the tests of a worker: conform.c has the rules and the sessions, talk.c the worker's process
 * and the bytes, talk_hear.c holds the frames that come against the rules, talk_say.c makes those that
 * are sent. */
#ifndef MEAL_TALK_H
#define MEAL_TALK_H

#include "launch.h"

#include <mer/conform.h>
#include <mer/wire.h>

#define TALK_REQUESTS_MAX 32
#define TALK_BODY_MAX ((uint64_t)1 << 30)
#define TALK_SAID_MAX 512
#define TALK_LARGE ((size_t)1 << 20) /* more than a connection holds */

/* The names are those of `python -m mer check` too. */
enum rule {
	CLOSE_ON_EXEC,
	STRAY_PRINT,
	CUT_ANYWHERE,
	EOF_EXITS,
	HEADER_MAGIC,
	HEADER_VERSION,
	HEADER_FLAGS,
	HEADER_RESERVED,
	META_LIMIT,
	META_OBJECT,
	BODY_LIMIT,
	KNOWN_KIND,
	FRAME_IDS,
	ERROR_FIELDS,
	LOG_FIELDS,
	PROGRESS_FIELDS,
	READY_AFTER_HELLO,
	READY_OR_ERROR,
	ONLY_LOG,
	READY_VERSION,
	READY_FIELDS,
	VERSION_REFUSED,
	UNKNOWN_FIELDS,
	UNKNOWN_FLAGS,
	UNKNOWN_SKIP,
	ONE_LAST,
	IDS_OPEN,
	NOT_REUSED,
	CONCURRENCY,
	READS_ON,
	LARGE_BODY,
	CANCEL_ANSWERED,
	LATE_CANCEL,
	PING_ANSWERED,
	INPUT_REFUSED,
	TRAIN_UNSUPPORTED,
	OUTPUT_DESCRIBED,
	OUTPUT_SIZES,
	OUTPUT_ELEMENTS,
	OUTPUT_TEXT,
	OUTPUT_CONTRACT,
	DRAIN_ANSWERS,
	DRAIN_EXITS,
	BAD_MAGIC,
	BAD_VERSION,
	BAD_RESERVED,
	BAD_META,
	LONG_META,
	LONG_BODY,
	BAD_SIZES,
	UNKNOWN_CLOSES,
	PROTOCOL_ERROR,
	RULES
};

struct conform {
	const struct mer_worker_spec *spec;
	int64_t start_ms, patience_ms;
	mer_conform_fn *on_broken;
	void *ctx;
	const atomic_bool *stop; /* NULL: nobody stops it */
	bool told[RULES];
	bool no_memory;
};

static inline bool conform_is_stopped(const struct conform *conform)
{
	return conform->stop != NULL && atomic_load(conform->stop);
}

/* A worker and what came of it. */
struct talk {
	struct conform *conform;
	const char *name; /* what the session is about, for messages */
	bool stdio;       /* over stdin and stdout */
	bool unsound;     /* what is sent is wrong, so little can be asked of the answers */
	bool unread;      /* what it sends is not read */
	bool over;        /* its process is */
	bool broken;      /* nothing of its frames can be understood any more */
	bool ready;
	bool gave_up; /* error with id 0 */
	bool walks;   /* the body that is read is an output */

	struct launch launch;
	pid_t guard, worker;
	int exit_code, signal;
	int in, out, log, control; /* -1: closed; in and out may be one */
	ino_t inode;               /* of its end of the connection; 0: stdin and stdout */
	struct mer_buf to;         /* what is still to be sent */
	size_t said_len;
	char said[TALK_SAID_MAX]; /* the end of what it printed */
	char problem[256];        /* why it cannot be started */

	char code[32]; /* of the last error */
	json_t *announced, *meta;
	struct mer_wire_reader reader;
	struct mer_content content;
	struct mer_content_walk walk;
	struct mer_buf text;          /* of an output that says so, or a ping's */
	bool open[TALK_REQUESTS_MAX]; /* requests, by id */
	uint64_t last_id;
	size_t n_open, n_pongs;
};

/* --- talk.c --- */
MER_PRINTF(3, 4) void talk_breaks(struct talk *talk, enum rule rule, const char *fmt, ...);

/* Starts the worker; talk_end() follows it either way, and leaves nothing of it. */
MER_MUST enum mer_status talk_start(struct talk *talk, struct conform *conform, const char *name,
                                    bool stdio, struct mer_error *err);
void talk_end(struct talk *talk);
void talk_close_connection(struct talk *talk);

/* Whether it came to that within the time, while all that can be read or written is. */
typedef bool talk_until_fn(const struct talk *talk);
bool talk_wait(struct talk *talk, talk_until_fn *until, int64_t ms);

/* How its process is, with its last line. */
void talk_describe(const struct talk *talk, char text[256]);

/* --- talk_hear.c --- */
void talk_hear(struct talk *talk, const char *bytes, size_t n);

/* --- talk_say.c --- */
void talk_send(struct talk *talk, struct mer_wire_header header, const char *meta,
               struct mer_str body);
uint64_t talk_open_request(struct talk *talk);
/* Whether its input may be one piece of bytes. */
bool talk_takes_content(const struct talk *talk);
/* A request as the worker's contract has it. fields: further members of its meta, each with a comma in
 * front. wrong: with tensors of other datatypes. */
void talk_send_input(struct talk *talk, const char *fields, uint16_t flags, bool wrong);
/* One with 1 MiB of bytes. */
void talk_send_large(struct talk *talk);
void talk_send_ping(struct talk *talk);
#define TALK_PING_NUMBER 7
#define TALK_PING_BODY ((struct mer_str){ "\0ping", 5 })

#endif
