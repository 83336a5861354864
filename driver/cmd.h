/*
 * Commands: what a row of the table says, and the one parser for all of them.
 *
 * A row is the only place that knows a command's names, arguments and help: parser, `help` and
 * docs/commands.md read it. To add a command, write its file with a const struct cmd and name it in
 * commands.c. Settings are rows of the same kind (settings.c), read by the same parser.
 */
#ifndef CMD_H
#define CMD_H

#include <mer/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct out_column;
struct session;

/* What the words of an argument may be, and which fields of struct cmd_value they set. */
enum arg_type {
	ARG_TEXT,   /* anything: text */
	ARG_NAME,   /* a name that a model or server may have: text */
	ARG_MS,     /* a duration: number, in ms */
	ARG_BYTES,  /* a size: number, in bytes */
	ARG_I64,    /* a whole number: number */
	ARG_TIME,   /* a time: number, in ms since 1970 */
	ARG_BOOL,   /* an option without a value, or in KEY=VALUE on or off: number, 0 or 1 */
	ARG_CHOICE, /* one of choices: number, its place there */
	ARG_PAIR,   /* NAME=VALUE: text */
	ARG_ARGV,   /* all that stands behind `--`: words */
};

/* What a value names, by which it is completed at the prompt and in shells. */
enum arg_value {
	VALUE_FREE, /* nothing that is listed anywhere */
	VALUE_MODEL,
	VALUE_SERVER,
	VALUE_DEPLOYMENT, /* name of one of the model's on the line */
	VALUE_WEIGHTS,    /* version of that model's weights */
	VALUE_SESSION,    /* what its user calls it; none is listed */
	VALUE_RUN,        /* request_uid */
	VALUE_RATED,      /* a model, or request_uid of a run */
	VALUE_FILE,       /* or a folder */
	VALUE_FOLDER,
	VALUE_AT_FILE, /* @FILE, or what would be in it */
	VALUE_TENSOR,  /* NAME=@FILE */
	VALUE_COMMAND, /* the words of a command's name */
	VALUE_KEY,     /* KEY=VALUE, where KEY is one of keys */
	VALUE_SETTING, /* one that `set` changes */
	VALUE_SET,     /* what that setting on the line may be */
};

/* What of a value is secret: a line with it is in no history. */
enum arg_secret {
	SECRET_NONE,
	SECRET_ALL,
	SECRET_URL,  /* the password in it */
	SECRET_PAIR, /* of NAME=VALUE the VALUE, where NAME sounds like it and it is no REF */
};

struct cmd_arg {
	const char *name;           /* an option without its --; NULL: a setting that is no option */
	const char *value;          /* what help calls an option's value: "D"; of ARG_NAME its noun */
	const char *help;           /* lower case, no full stop */
	const char *fallback;       /* where it is not given; as users write it */
	const char *const *choices; /* ended by NULL */
	const char *env;            /* of a setting: its environment variable, or NULL */
	const char *example;        /* of a setting: a value for .env.example */
	const char *set;            /* of a setting: its name for `set`, which changes it; or NULL */
	const struct cmd_arg *keys; /* of VALUE_KEY: rows, of which the options are its keys */
	size_t n_keys;
	int64_t least; /* of numbers */
	int64_t most;  /* the same; 0: any */
	enum arg_type type;
	enum arg_value is;
	enum arg_secret secret;
	char letter; /* -c beside --command; 0: none */
	bool option, required;
	const struct cmd_arg
		*unless; /* required, but for where this other one is given; NULL: always */
	bool repeat; /* words has all; a positional one takes all that is left */
	bool hidden; /* not in help */
};

/* Rows: a positional argument, an option with a value, an option without. What follows is the help
 * and then any other fields:
 *     CMD_OPTION("timeout", ARG_MS, "D", "give up after D", .fallback = "1h") */
#define CMD_WORD(name_, type_, ...) \
	{ \
		.name = (name_), .type = (type_), .help = __VA_ARGS__ \
	}
#define CMD_OPTION(name_, type_, value_, ...) \
	{ \
		.name = (name_), .option = true, .type = (type_), .value = (value_), .help = __VA_ARGS__ \
	}
#define CMD_FLAG(name_, ...) \
	{ \
		.name = (name_), .option = true, .type = ARG_BOOL, .help = __VA_ARGS__ \
	}

/* What an argument was given, or its fallback. Texts are borrowed from the words and the row. */
struct cmd_value {
	bool given;       /* by the user */
	const char *text; /* of the last time, as written; NULL without a fallback */
	int64_t number;
	const char *const *words; /* ended by NULL; of repeatable ones, never NULL */
	size_t count;             /* how many words */
};

/* What must be so before a command runs. */
enum cmd_needs {
	CMD_NEEDS_DATABASE = 1, /* a connection: session_dal() */
	CMD_NEEDS_CHANGES = 2,  /* --allow-changes; else it is in no help */
	CMD_NEEDS_PROMPT = 4,   /* somebody at a prompt */
	CMD_MAY_DETACH = 8,     /* nothing: with & behind it, it goes to the background */
	CMD_DRY_READS = 16,     /* with its --dry-run it changes nothing, and needs no permission to */
};

/* Which --json, --csv and so on it takes. */
enum cmd_formats { CMD_FORMATS_NONE, CMD_FORMATS_JSON, CMD_FORMATS_ALL };

/* What its columns are of. Rows can be chosen from and sorted: --columns, --sort. */
enum cmd_prints { CMD_PRINTS_OTHER, CMD_PRINTS_ROWS, CMD_PRINTS_OBJECT };

struct cmd {
	const char *name;         /* one word, or noun and verb: "model add" */
	const char *const *older; /* names that mean the same; ended by NULL, NULL: none */
	const char *summary;      /* one line, no full stop */
	const char *notes;        /* further lines for its own help, each ended by a newline, or NULL */
	const char *const *examples; /* lines as at the prompt, ended by NULL; a test does each */
	const struct cmd_arg *args;
	size_t n_args;
	unsigned needs;
	enum cmd_formats formats;
	enum cmd_prints prints;
	bool or_rows;                     /* CMD_PRINTS_OBJECT, but with some option rows of the same */
	const struct out_column *columns; /* of what it prints; see output.h */
	size_t n_columns;
	/* argv has a value for each row of args, in their order. */
	enum mer_status (*run)(struct session *s, const struct cmd_value *argv, struct mer_error *err);
};

#define CMD_EXAMPLES(...) \
	.examples = (const char *const[]) \
	{ \
		__VA_ARGS__, NULL \
	}
#define CMD_ARGS(rows) .args = (rows), .n_args = sizeof(rows) / sizeof *(rows)
#define CMD_ROWS(columns_, n) .prints = CMD_PRINTS_ROWS, .columns = (columns_), .n_columns = (n)
#define CMD_OBJECT(columns_, n) .prints = CMD_PRINTS_OBJECT, .columns = (columns_), .n_columns = (n)

/* commands.c: in the order in which help lists them. */
extern const struct cmd *const commands[];
extern const size_t n_commands;

/* --- finding a command -------------------------------------------------------------------- */

/**
 * Finds the command that words begin with.
 * @param changes  whether commands that change the metadata may be suggested
 * @param used     how many words its name took
 * @return MER_EINPUT: there is none; the hint names one that may be meant
 */
MER_MUST enum mer_status cmd_find(const char *const words[], size_t n, bool changes,
                                  const struct cmd **out, size_t *used, struct mer_error *err);

/** Of words that a command does not take, of which word is the first: hints at the longer names of
 * commands that begin with both, if there are any. */
void cmd_hint_longer(const struct cmd *cmd, const char *word, bool changes, struct mer_error *err);

/* --- parsing its words -------------------------------------------------------------------- */

/* Options that each command has beside its own. */
enum {
	COMMON_JSON,
	COMMON_JSONL,
	COMMON_CSV,
	COMMON_PLAIN,
	COMMON_VERTICAL,
	COMMON_COLUMNS,
	COMMON_SORT,
	COMMON_HELP,
	COMMON_COUNT
};
extern const struct cmd_arg cmd_common[COMMON_COUNT];

/* A word and the row it belongs to. */
struct cmd_token {
	const struct cmd_arg *arg;
	const char *text; /* an option's value, "" of ARG_BOOL */
};

struct cmd_call {
	struct cmd_value *values; /* of the rows, then of cmd_common */
	struct cmd_token *tokens; /* as they came */
	size_t n_tokens;
	size_t used;       /* words that were read; fewer than all only with first_only */
	const char **pool; /* memory of words */
};

/**
 * Reads the words behind a command's name into typed values.
 *
 * An option may stand before or after positional words until `--`; a word that begins with '-' and
 * a digit or a dot is none, nor is '-'. Where --help is given, nothing else is checked.
 *
 * @param cmd         for its rows and its name in messages
 * @param first_only  the first positional word ends it, and common options are not known: for the
 *                    program's own options
 * @param out         release it also after a failure
 * @return MER_EINPUT names the argument
 */
MER_MUST enum mer_status cmd_parse(const struct cmd *cmd, bool first_only,
                                   const char *const words[], size_t n, struct cmd_call *out,
                                   struct mer_error *err);
void cmd_call_release(struct cmd_call *call);

/* What may follow some words of a command. */
struct cmd_next {
	struct cmd_call call;             /* its tokens are what was read; it has no values */
	const struct cmd_arg *value;      /* only the value of this option; NULL: no option waits */
	const struct cmd_arg *positional; /* NULL: none is left */
	bool behind;                      /* a `--` was there, so no option any more */
};

/** Tells what may follow words, of which nothing is checked: what the command does not take is passed
 * over. Release out->call. @return MER_ENOMEM */
MER_MUST enum mer_status cmd_expect(const struct cmd *cmd, const char *const words[], size_t n,
                                    struct cmd_next *out, struct mer_error *err);

/** The options that a command takes, its own first; last NULL: the first. @return NULL: no further */
const struct cmd_arg *cmd_option_next(const struct cmd *cmd, const struct cmd_arg *last);

/** Whether a value was given or has a fallback. */
static inline bool cmd_has(const struct cmd_value *value)
{
	return value->text != NULL;
}

/** Which of the formats a command takes a common option is in. */
bool cmd_takes(const struct cmd *cmd, size_t common);

/**
 * Reads one value as the row says; the parts of out that its type does not set stay as they are.
 * @param what  names it in the message: "--timeout", "MER_FORMAT"
 */
MER_MUST enum mer_status cmd_value_parse(const struct cmd_arg *arg, const char *what,
                                         const char *text, struct cmd_value *out,
                                         struct mer_error *err);

/** What help calls the value of an option: "D", "BYTES". NULL: it takes none. */
const char *cmd_value_name(const struct cmd_arg *arg);

#endif
