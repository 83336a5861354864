/* Settings: the program's own options, their environment variables and their defaults. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "cmd.h"

#include <mer/emit.h>

enum setting {
	SET_DATABASE,
	SET_CHANGES,
	SET_JSON,
	SET_JSONL,
	SET_CSV,
	SET_PLAIN,
	SET_VERTICAL,
	SET_FORMAT,
	SET_PASSWORD,
	SET_KEEP_IO_MAX,
	SET_KEEP_IO,
	SET_KEEP_RUNS,
	SET_KEEP_GOING,
	SET_QUIET,
	SET_TIMEOUT,
	SET_TIMING,
	SET_SUMMARY,
	SET_ONCE_KEY,
	SET_NO_COLOR,
	SET_ENV_FILE,
	SET_LOG,
	SET_LOG_FORMAT,
	SET_COMMAND,
	SET_FILE,
	SET_PRINT,
	SET_COMPLETE,
	SET_VERSION,
	SET_HELP,
	SET_COUNT
};

/* What `mer --print` can print: an index into the choices of SET_PRINT. */
enum settings_print {
	PRINT_DOCS,
	PRINT_MAN,
	PRINT_BASH,
	PRINT_ZSH,
	PRINT_FISH,
	PRINT_ENV,
	PRINT_CONTRACT,
	PRINT_SCHEMA,
	PRINT_COUNT
};

extern const struct cmd_arg setting_rows[SET_COUNT];

/* Where the value of a setting comes from. */
enum setting_from { FROM_DEFAULT, FROM_COMMAND_LINE, FROM_ENVIRONMENT, FROM_FILE, FROM_SET };

struct settings {
	struct cmd_call call; /* tokens has -c and -f in their order */
	enum setting_from from[SET_COUNT];
	char *from_file[SET_COUNT]; /* what the environment file says; owned */
	char *from_set[SET_COUNT];  /* what somebody said at the prompt; owned */
	char *default_database;     /* owned; NULL until it is asked for */
	enum mer_format format;     /* MER_FORMAT_UNSET: whatever suits stdout */
};

static inline const struct cmd_value *setting(const struct settings *settings, enum setting which)
{
	return &settings->call.values[which];
}
static inline bool setting_on(const struct settings *settings, enum setting which)
{
	return setting(settings, which)->number != 0;
}

/**
 * Reads settings: the command line beats the environment, that the environment file, that the
 * defaults. With --help and --version nothing else is looked at.
 *
 * @param words  of the command line without the program's name; borrowed for good
 * @param out    release it also after a failure; call.used words were options
 * @return MER_EINPUT names the option, the variable or the file
 */
MER_MUST enum mer_status settings_load(struct settings *out, const char *const words[], size_t n,
                                       struct mer_error *err);
void settings_release(struct settings *settings);

/**
 * The setting that `set` knows by a name.
 * @return MER_EINPUT there is none; the hint names one that may be meant
 */
MER_MUST enum mer_status settings_find(const char *name, enum setting *out, struct mer_error *err);

/** Changes one for as long as the program runs. MER_EINPUT; nothing has changed then. */
MER_MUST enum mer_status settings_change(struct settings *settings, enum setting which,
                                         const char *text, struct mer_error *err);

/** Its value as a user would write it; NULL: it has none. Borrowed. */
const char *settings_text(const struct settings *settings, enum setting which, bool terminal);

/** Where it comes from, in words. */
const char *settings_from(const struct settings *settings, enum setting which);

/** The URL of the database; borrowed. The default one needs the user's home. */
MER_MUST enum mer_status settings_database(struct settings *settings, const char **url,
                                           struct mer_error *err);

/** The URL as it may be shown: without a password; the caller frees it. NULL: out of memory. */
char *settings_url_shown(const char *url);

/** Whether words that could not be parsed ask for JSON. */
bool settings_guess_json(const char *const words[], size_t n);

#endif
