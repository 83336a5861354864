/*
 * A deployment as users write it: the options of `model add` and `deployment add`, which are the keys
 * of `model set` and `deployment set` and the members of what shows it, against the row of the
 * database.
 */
#ifndef SPEC_H
#define SPEC_H

#include "cmd.h"
#include "output.h"

#include <mer/dal.h>
#include <mer/json.h>
#include <mer/uid.h>

/* The arguments of `model add`; behind them what only `deployment add` has, and only `deployment set`.
 * What is common to all is between SPEC_SERVER and SPEC_ARGV. */
enum spec_arg {
	SPEC_NAME,
	SPEC_SUMMARY,
	SPEC_TEST_INPUT,
	SPEC_TEST_OUTPUT,
	SPEC_TEST_TOLERANCE,
	SPEC_TEST_ON_START,
	SPEC_SERVER,
	SPEC_REMOTE_MODEL,
	SPEC_PARAM,
	SPEC_PROTOCOL,
	SPEC_ANSWER,
	SPEC_READY_TOKEN,
	SPEC_START_TOKEN,
	SPEC_STOP_TOKEN,
	SPEC_EXIT_TOKEN,
	SPEC_ERROR_LINE,
	SPEC_WORKDIR,
	SPEC_ENV,
	SPEC_TIMEOUT,
	SPEC_START_TIMEOUT,
	SPEC_IDLE,
	SPEC_MAX_WORKERS,
	SPEC_MAX_QUEUE,
	SPEC_MAX_OUTPUT,
	SPEC_LIMIT,
	SPEC_RETRIES,
	SPEC_WEIGHTS_DIR,
	SPEC_CLEAN_ENV,
	SPEC_SHELL,
	SPEC_KEEP_IO,
	SPEC_STATEFUL,
	SPEC_TRAIN,
	SPEC_ARGV,
	SPEC_MODEL_ARGS,
	SPEC_PRIORITY = SPEC_MODEL_ARGS,
	SPEC_CALLED,
	SPEC_MODEL,
	SPEC_DEPLOYMENT_ARGS,
	SPEC_ENABLED = SPEC_DEPLOYMENT_ARGS,
	SPEC_ARGS
};
extern const struct cmd_arg spec_args[SPEC_ARGS];

/* The row; all owned. */
struct spec {
	struct mer_uid uid, model_uid, server_uid;
	char *name, *protocol, *workdir, *train; /* train: JSON, "" where it cannot be trained */
	json_t *argv, *env, *params, *limits;
	bool is_there;         /* on another host */
	bool is_http;          /* behind a URL: nothing is started for it */
	json_t *server_params; /* of the server there */
	int64_t max_workers, idle_ms, timeout_ms, start_timeout_ms, priority, enabled;
};

/** An empty one; release it whatever happens. */
MER_MUST enum mer_status spec_init(struct spec *spec, struct mer_error *err);
void spec_release(struct spec *spec);

/** Takes over a row, into an empty one. */
MER_MUST enum mer_status spec_read(struct spec *spec, const struct mer_deployment_row *row,
                                   struct mer_error *err);

/**
 * Changes what values has something for, each of a row of spec_args, and checks that it fits
 * together.
 * @return MER_EINPUT names the option; MER_ENOTFOUND no such server
 */
MER_MUST enum mer_status spec_apply(struct spec *spec, struct mer_dal *dal,
                                    const struct cmd_value values[SPEC_ARGS],
                                    struct mer_error *err);

/** Writes it as a new row, or over the one with its uid. */
MER_MUST enum mer_status spec_insert(const struct spec *spec, struct mer_dal *dal,
                                     struct mer_error *err);
MER_MUST enum mer_status spec_update(const struct spec *spec, struct mer_dal *dal,
                                     struct mer_error *err);

/* The members by which a deployment is shown: columns, and the cells of one row. */
enum { SPEC_COLUMNS = 33 };
extern const struct out_column spec_columns[SPEC_COLUMNS];

/* Cells and the texts that they borrow. */
struct spec_cells {
	struct mer_cell cells[SPEC_COLUMNS];
	char *kept[8];
	size_t n_kept;
	json_t *params;
};
MER_MUST enum mer_status spec_show(const struct mer_deployment_row *row, struct spec_cells *out,
                                   struct mer_error *err);
void spec_cells_release(struct spec_cells *cells);

/**
 * All that its options say, as an object with their names, with a default where it is one: what a
 * document says of it. Numbers with units are texts; null is a default that is not told.
 * @param server  the name of its server
 * @param out     gives a reference
 */
MER_MUST enum mer_status spec_object(const struct spec *spec, const char *server, json_t **out,
                                     struct mer_error *err);

/** An option's key in a document; the argument ARGV is argv. NULL: it has none there. */
const char *spec_key(enum spec_arg arg);

/* --- spec_pairs.c ------------------------------------------------------------------------- */

/* What KEY=VALUE words say, as if they were options. */
struct spec_pairs {
	struct cmd_value values[SPEC_ARGS];
	const char **pool; /* memory of their words */
};

/**
 * Reads pairs.
 *
 * @param first, end  the rows of spec_args whose options are keys
 * @param command     whose options they are, for messages
 * @param words       borrowed by out
 * @param out         release it whatever happens
 * @return MER_EINPUT names the key
 */
MER_MUST enum mer_status spec_pairs_read(enum spec_arg first, enum spec_arg end,
                                         const char *command, const char *const words[], size_t n,
                                         struct spec_pairs *out, struct mer_error *err);
void spec_pairs_release(struct spec_pairs *pairs);

#endif
