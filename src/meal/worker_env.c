/* The environment of a worker (CLI.md, Placeholders). */
#include <mer/clean.h>
#include <mer/meal.h>
#include <mer/ref.h>
#include <mer/text.h>
#include <string.h>

#define TEXT_PREFIX "text:"
#define UNBUFFERED "PYTHONUNBUFFERED"

/* What a worker never inherits, and what alone it inherits with clean. */
static const char *const own_names[] = { "MER_*", "PG*", NULL };
static const char *const login_names[] = { "HOME",  "LANG",   "LC_*", "LOGNAME", "PATH",
	                                       "SHELL", "TMPDIR", "TZ",   "USER",    NULL };

/* Whether a name of that length is one of the globs, which end in '*' or not at all. */
static bool is_among(const char *const globs[], const char *name, size_t len)
{
	for (size_t i = 0; globs != NULL && globs[i] != NULL; i++) {
		size_t fixed = strcspn(globs[i], "*");
		bool whole = globs[i][fixed] == '\0';
		if (len >= fixed && (!whole || len == fixed) && memcmp(globs[i], name, fixed) == 0)
			return true;
	}
	return false;
}

/* What a login needs is no secret, whoever refers to it. */
static bool is_hidden(const char *const hidden[], const char *name, size_t len)
{
	for (size_t i = 0; hidden != NULL && hidden[i] != NULL; i++) {
		if (strlen(hidden[i]) == len && memcmp(hidden[i], name, len) == 0)
			return !is_among(login_names, name, len);
	}
	return false;
}

/* Whether the deployment sets a variable, or takes its value as a secret under another name. */
static bool is_taken(const struct mer_pair added[], size_t n_added, const char *name, size_t len)
{
	for (size_t i = 0; i < n_added; i++) {
		const char *secret = mer_ref_env_name(added[i].value);
		if ((strlen(added[i].name) == len && memcmp(added[i].name, name, len) == 0) ||
		    (secret != NULL && strlen(secret) == len && memcmp(secret, name, len) == 0))
			return true;
	}
	return false;
}

static enum mer_status check_name(const char *name, struct mer_error *err)
{
	if (name[0] == '\0' || strchr(name, '=') != NULL)
		return mer_fail(err, MER_EINPUT, "no name of a variable: '%s'", name);
	return MER_OK;
}

static enum mer_status make_entry(const struct mer_pair *pair, char **out, struct mer_error *err)
{
	char *secret = NULL;
	const char *value = pair->value;
	enum mer_status st = check_name(pair->name, err);
	if (st == MER_OK && mer_ref_is(value)) {
		st = mer_ref_resolve(value, &secret, err);
		if (st != MER_OK)
			return mer_wrap(err, st, "variable '%s'", pair->name);
		value = secret;
	} else if (strncmp(value, TEXT_PREFIX, strlen(TEXT_PREFIX)) == 0) {
		value += strlen(TEXT_PREFIX);
	}
	if (st != MER_OK)
		return st;
	*out = mer_text_new("%s=%s", pair->name, value);
	mer_ref_wipe(secret);
	return *out != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

/* Whether a later pair has the same name: the last one counts. */
static bool is_overridden(const struct mer_pair added[], size_t n_added, size_t at)
{
	for (size_t i = at + 1; i < n_added; i++)
		if (strcmp(added[i].name, added[at].name) == 0)
			return true;
	return false;
}

enum mer_status mer_worker_env(const char *const base[], const struct mer_pair added[],
                               size_t n_added, bool clean, const char *const hidden[], char ***out,
                               struct mer_error *err)
{
	const struct mer_pair unbuffered = { UNBUFFERED, "1" };
	size_t n_base = 0, at = 0;
	while (base[n_base] != NULL)
		n_base++;
	MER_AUTO(mer_words_done) char **env = calloc(n_base + n_added + 2, sizeof *env);
	if (env == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (size_t i = 0; i < n_base; i++) {
		size_t len = strcspn(base[i], "=");
		bool inherited = base[i][len] == '=' && (!clean || is_among(login_names, base[i], len));
		if (!inherited || is_among(own_names, base[i], len) || is_hidden(hidden, base[i], len) ||
		    is_taken(added, n_added, base[i], len) || is_taken(&unbuffered, 1, base[i], len))
			continue;
		if ((env[at++] = strdup(base[i])) == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	bool set = false;
	for (size_t i = 0; i < n_added; i++) {
		set |= strcmp(added[i].name, UNBUFFERED) == 0;
		if (is_overridden(added, n_added, i))
			continue;
		enum mer_status st = make_entry(&added[i], &env[at], err);
		if (st != MER_OK)
			return st;
		at++;
	}
	if (!set && (env[at] = strdup(UNBUFFERED "=1")) == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	*out = env;
	env = NULL;
	return MER_OK;
}

enum mer_status mer_worker_env_path(char ***env, const char *name, const char *folder,
                                    struct mer_error *err)
{
	size_t len = strlen(name), n = 0, at;
	while ((*env)[n] != NULL)
		n++;
	for (at = 0; at < n; at++)
		if (strncmp((*env)[at], name, len) == 0 && (*env)[at][len] == '=')
			break;
	const char *old = at < n ? (*env)[at] + len + 1 : "";
	char *entry = mer_text_new("%s=%s%s%s", name, old, old[0] != '\0' ? ":" : "", folder);
	char **grown = realloc(*env, (n + 2) * sizeof *grown);
	if (grown != NULL)
		*env = grown;
	if (entry == NULL || grown == NULL) {
		free(entry);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	if (at == n)
		grown[n + 1] = NULL;
	else
		mer_ref_wipe(grown[at]); /* it may have come from a reference */
	grown[at] = entry;
	return MER_OK;
}
