/* What the ways to run a model share: one input, many lines. */
#ifndef RUN_H
#define RUN_H

#include "answer.h"
#include "caret.h"
#include "session.h"
#include "spool.h"

#include <mer/clean.h>

/* What the user asked for. */
struct run_choice {
	const char *model, *server, *deployment; /* NULL: any */
	const char *session;                     /* NULL: none */
	const char *weights;                     /* NULL: the active ones */
	const char *replays;                     /* uid of the run that it repeats; NULL: none */
	int64_t timeout_ms;                      /* 0: the deployment's */
	int64_t jobs;                            /* lines at a time */
	const char *resume;                      /* the journal of lines; NULL: none */
	bool no_record, raw, keep_going;
	const struct cmd_value *tensor_out; /* NULL: none are files */
	struct mer_buf
		*metas; /* of run_one_kept(): gets what the answer's parts are, each behind a comma;
	                        * NULL: nobody asks */
};

enum { RUN_INPUT_BYTES = 1 << 30 }; /* the most that one input may be */

/* A result that outlives its callback. One block of memory. */
struct run_kept {
	struct mer_run_result result;
	bool no_record;
};
MER_MUST struct run_kept *run_keep(const struct mer_run_result *result, bool no_record);

/** The status that its row has, or would have; NULL: it did not come to be. */
const char *run_status_name(const struct run_kept *kept);

/** Whether the run came to be: it has a row, or would have one. */
bool run_came_to_be(const struct run_kept *kept);

/** The error of a result as a command's: an output over its limit is the model's failure. */
enum mer_status run_status(const struct mer_run_result *result, struct mer_error *err);

/* The members of a run as a JSON object; of output and output_base64 there is one. */
enum { RUN_COLUMNS = 19 };
extern const struct out_column run_columns[RUN_COLUMNS];

/**
 * Writes a run as a JSON object and a newline, its output last. Not from a callback: waits for
 * stdout's reader.
 * @param line  from 1; 0: it is not one of many
 */
MER_MUST enum mer_status run_object(struct session *s, const struct run_kept *kept,
                                    struct spool *output, int64_t line, struct mer_error *err);

/** Writes what was kept to stdout as it is, or by caret (NULL: none) as a terminal may show it. */
MER_MUST enum mer_status run_copy(struct session *s, struct spool *output, struct caret *caret,
                                  struct mer_error *err);

/** Whether runs are to be objects: --json, --jsonl. */
static inline bool run_as_json(const struct session *s)
{
	return s->out.format == MER_FORMAT_JSON || s->out.format == MER_FORMAT_JSONL;
}

/* What a model says beside its answers, line by line to the log. */
struct run_log {
	char line[512];
	size_t len;
	char uid[sizeof(struct mer_uid)]; /* of the run; "": it is not known yet */
};
void run_log_begin(struct run_log *log, const struct mer_run *run);
void run_log_add(struct run_log *log, const char *model, const char *bytes, size_t n);
void run_log_end(struct run_log *log, const char *model);

/** Reads stdin to its end, at most limit bytes; a signal ends it. The caller frees them. */
MER_MUST enum mer_status run_read_stdin(struct session *s, size_t limit, char **out, size_t *len,
                                        struct mer_error *err);

/** How long a run may take: as its command says, else --timeout of the program; 0: the deployment's. */
static inline int64_t run_timeout_ms(const struct session *s, int64_t own)
{
	return own != 0 ? own : setting(&s->settings, SET_TIMEOUT)->number;
}

/* --- the two ways; input NULL: stdin ------------------------------------------------------ */

/** @param meta  of the input, as of struct mer_input; NULL: it is bytes */
MER_MUST enum mer_status run_one(struct session *s, const struct run_choice *choice,
                                 struct mer_str input, const char *meta, struct mer_error *err);

/**
 * The same, but nothing is printed.
 * @param output  initialised; gets the output, byte by byte as it is recorded
 * @param result  how it ended; the caller frees it
 * @return what kept it from being run
 */
MER_MUST enum mer_status run_one_kept(struct session *s, const struct run_choice *choice,
                                      struct mer_str input, const char *meta, struct spool *output,
                                      struct run_kept **result, struct mer_error *err);

/** @param fd  of the input; name for messages */
MER_MUST enum mer_status run_lines(struct session *s, const struct run_choice *choice, int fd,
                                   const char *name, struct mer_error *err);

#endif
