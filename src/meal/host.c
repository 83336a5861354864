/* A server of kind ssh; mer/remote.h. */
#include "remote.h"

#include <mer/clean.h>
#include <mer/json.h>
#include <mer/ref.h>
#include <mer/remote.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAR_NAME "mer-far.sh" /* beside the supervisor of this machine */

enum param_kind { PARAM_TEXT, PARAM_SECONDS, PARAM_CHOICE, PARAM_FILE, PARAM_REF };

static const struct {
	const char *name;
	enum param_kind kind;
	const char *choices[4]; /* ended by NULL */
} params[] = {
	{ "IdentityFile", PARAM_TEXT, { NULL } },
	{ "IdentitiesOnly", PARAM_CHOICE, { "yes", "no" } },
	{ "IdentityAgent", PARAM_TEXT, { NULL } },
	{ "UserKnownHostsFile", PARAM_TEXT, { NULL } },
	{ "ProxyJump", PARAM_TEXT, { NULL } },
	{ "StrictHostKeyChecking", PARAM_CHOICE, { "yes", "accept-new" } },
	{ "ConnectTimeout", PARAM_SECONDS, { NULL } },
	{ "ServerAliveInterval", PARAM_SECONDS, { NULL } },
	{ "ServerAliveCountMax", PARAM_SECONDS, { NULL } },
	{ "config", PARAM_FILE, { NULL } },
	{ "transport", PARAM_CHOICE, { "auto", "libssh2", "openssh" } },
	{ "password", PARAM_REF, { NULL } },
	{ "passphrase", PARAM_REF, { NULL } },
};
enum {
	N_PARAMS = sizeof params / sizeof *params,
	FIRST_OWN = 9, /* from there on none is ssh's */
	PASSWORD = 11,
	PASSPHRASE = 12,
};

/* All that a server says: words and what they are made of. First member is what is given out. */
struct owner {
	struct mer_remote remote;
	char *server, *host, *user, *config, *script, *password, *passphrase;
	enum mer_transport transport;
	char **options, **env;
};

static enum mer_status check_seconds(const char *name, const char *value, struct mer_error *err)
{
	size_t len = strlen(value);
	if (len > 0 && len <= 5 && strspn(value, "0123456789") == len)
		return MER_OK;
	return mer_fail(err, MER_EINPUT, "--param %s: '%s' is no number of seconds up to 99999", name,
	                value);
}

enum mer_status mer_remote_check_param(const char *name, const char *value, struct mer_error *err)
{
	size_t i = 0;
	while (i < N_PARAMS && strcmp(params[i].name, name) != 0)
		i++;
	if (i == N_PARAMS) {
		(void)mer_fail(err, MER_EINPUT, "a server of kind 'ssh' has no parameter '%s'", name);
		mer_hint(err, "names are those of ssh_config(5), for instance IdentityFile; what is not "
		              "among them here goes into a file: config=FILE");
		return MER_EINPUT;
	}
	if (params[i].kind == PARAM_REF)
		return mer_ref_check(name, value, err);
	if (value[0] == '\0' || mer_text_has_controls(value) || strchr(value, '"') != NULL)
		return mer_fail(err, MER_EINPUT,
		                "--param %s: its value is empty, or holds what ssh does not "
		                "take",
		                name);
	if (params[i].kind == PARAM_SECONDS)
		return check_seconds(name, value, err);
	if (params[i].kind == PARAM_FILE && value[0] != '/')
		return mer_fail(err, MER_EINPUT, "--param %s: '%s' is no absolute path", name, value);
	const char *const *choices = params[i].choices;
	for (size_t j = 0; params[i].kind == PARAM_CHOICE && strcmp(choices[j], value) != 0; j++) {
		if (choices[j + 1] == NULL)
			return mer_fail(err, MER_EINPUT, "--param %s: '%s' is none of %s, %s%s%s", name, value,
			                choices[0], choices[1], choices[2] != NULL ? ", " : "",
			                choices[2] != NULL ? choices[2] : "");
	}
	return MER_OK;
}

/* A host may be what ssh's files call it, an address, or both with what ssh replaces in commands. */
enum mer_status mer_remote_check_host(const char *host, const char *user, struct mer_error *err)
{
	static const char odd[] = " \t\"'`$\\|&;<>(){}*?!#/";
	if (host == NULL || host[0] == '\0') {
		(void)mer_fail(err, MER_EINPUT, "a server of kind 'ssh' needs --host");
		return MER_EINPUT;
	}
	if (host[0] == '-' || mer_text_has_controls(host) || strpbrk(host, odd) != NULL)
		return mer_fail(err, MER_EINPUT, "--host: '%s' is no host", host);
	if (user != NULL &&
	    (user[0] == '-' || mer_text_has_controls(user) || strpbrk(user, odd) != NULL))
		return mer_fail(err, MER_EINPUT, "--user: '%s' is no user", user);
	return MER_OK;
}

void mer_remote_free(struct mer_remote *remote)
{
	struct owner *owner = (struct owner *)remote;
	if (owner == NULL)
		return;
	free(owner->server);
	free(owner->host);
	free(owner->user);
	free(owner->config);
	free(owner->script);
	free(owner->password);
	free(owner->passphrase);
	mer_words_done(&owner->options);
	mer_words_done(&owner->env);
	free(owner);
}

/* A parameter that is none of ssh's. */
static enum mer_status read_own(struct owner *owner, const char *name, const char *value,
                                struct mer_error *err)
{
	const struct {
		const char *name;
		char **to;
	} texts[] = { { "config", &owner->config },
		          { "password", &owner->password },
		          { "passphrase", &owner->passphrase } };
	if (strcmp(name, "transport") == 0)
		owner->transport = strcmp(value, "openssh") == 0   ? MER_TRANSPORT_OPENSSH
		                   : strcmp(value, "libssh2") == 0 ? MER_TRANSPORT_LIBSSH2
		                                                   : MER_TRANSPORT_AUTO;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (strcmp(name, texts[i].name) == 0 && (*texts[i].to = strdup(value)) == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
	return MER_OK;
}

static enum mer_status read_option(struct owner *owner, size_t at, const char *name,
                                   const char *value, struct mer_error *err)
{
	const char *quote = strpbrk(value, " #") != NULL ? "\"" : "";
	owner->options[at] = mer_text_new("%s=%s%s%s", name, quote, value, quote);
	return owner->options[at] != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status read_params(struct owner *owner, const char *text, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	enum mer_status st = mer_json_parse("params", text, strlen(text), &json, err);
	if (st != MER_OK)
		return st;
	owner->options = calloc(N_PARAMS + 1, sizeof *owner->options);
	if (owner->options == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	size_t n = 0;
	for (size_t i = 0; i < N_PARAMS; i++) {
		const char *value = mer_json_get_text(json, params[i].name, NULL);
		if (value == NULL)
			continue;
		st = mer_remote_check_param(params[i].name, value, err);
		if (st == MER_OK)
			st = i < FIRST_OWN ? read_option(owner, n++, params[i].name, value, err)
			                   : read_own(owner, params[i].name, value, err);
		if (st != MER_OK)
			return st;
	}
	if (owner->transport == MER_TRANSPORT_OPENSSH &&
	    (owner->password != NULL || owner->passphrase != NULL)) {
		(void)mer_fail(err, MER_EINPUT, "--param %s: the system's ssh cannot be given one",
		               owner->password != NULL ? params[PASSWORD].name : params[PASSPHRASE].name);
		mer_hint(err, "leave out transport=openssh, or log in with a key that an agent holds");
		return MER_EINPUT;
	}
	return MER_OK;
}

enum mer_status mer_remote_check_params(const char *text, struct mer_error *err)
{
	struct owner *owner = calloc(1, sizeof *owner);
	if (owner == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = read_params(owner, text, err);
	mer_remote_free(&owner->remote);
	return st;
}

/* What ssh gets: nothing that a reference names, its own first. */
static enum mer_status fill_env(struct owner *owner, const char *const environment[],
                                const char *const hidden[], struct mer_error *err)
{
	const char *const own[] = { owner->password, owner->passphrase };
	size_t n_hidden = 0, n = 0;
	while (hidden != NULL && hidden[n_hidden] != NULL)
		n_hidden++;
	const char **all = calloc(n_hidden + sizeof own / sizeof *own + 1, sizeof *all);
	if (all == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
		const char *name = own[i] != NULL ? mer_ref_env_name(own[i]) : NULL;
		if (name != NULL)
			all[n++] = name;
	}
	for (size_t i = 0; i < n_hidden; i++)
		all[n++] = hidden[i];
	enum mer_status st = mer_worker_env(environment, NULL, 0, false, all, &owner->env, err);
	free(all);
	return st;
}

static enum mer_status fill(struct owner *owner, const struct mer_remote_row *row,
                            const char *guard, const char *const environment[],
                            const char *const hidden[], struct mer_error *err)
{
	const char *slash = strrchr(guard, '/');
	owner->server = strdup(row->server);
	owner->host = strdup(row->host);
	owner->user = strdup(row->user);
	owner->script =
		mer_text_new("%.*s" FAR_NAME, slash == NULL ? 0 : (int)(slash + 1 - guard), guard);
	if (owner->server == NULL || owner->host == NULL || owner->user == NULL ||
	    owner->script == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = mer_remote_check_host(row->host, row->user, err);
	if (st == MER_OK)
		st = read_params(owner, row->params, err);
	if (st == MER_OK)
		st = fill_env(owner, environment, hidden, err);
	owner->remote = (struct mer_remote){
		.server = owner->server,
		.host = owner->host,
		.user = owner->user,
		.port = row->port,
		.config = owner->config,
		.options = (const char *const *)owner->options,
		.script = owner->script,
		.env = (const char *const *)owner->env,
		.password = owner->password,
		.passphrase = owner->passphrase,
		.transport = owner->transport,
	};
	return st;
}

enum mer_status mer_remote_new(const struct mer_remote_row *row, const char *guard,
                               const char *const environment[], const char *const hidden[],
                               struct mer_remote **out, struct mer_error *err)
{
	struct owner *owner = calloc(1, sizeof *owner);
	if (owner == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = fill(owner, row, guard, environment, hidden, err);
	if (st != MER_OK) {
		mer_remote_free(&owner->remote);
		return mer_wrap(err, st, "server '%s'", row->server);
	}
	*out = &owner->remote;
	return MER_OK;
}

const char *mer_transport_name(enum mer_transport transport)
{
	static const char *const transports[] = { NULL, "openssh", "libssh2" };
	return (size_t)transport < sizeof transports / sizeof *transports ? transports[transport]
	                                                                  : NULL;
}

static bool copy_text(const char *from, char **to)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

static bool copy_words(const char *const *from, char ***to)
{
	size_t n = 0;
	while (from != NULL && from[n] != NULL)
		n++;
	*to = calloc(n + 1, sizeof **to);
	for (size_t i = 0; *to != NULL && i < n; i++)
		if (((*to)[i] = strdup(from[i])) == NULL)
			return false;
	return *to != NULL;
}

enum mer_status mer_remote_copy(const struct mer_remote *remote, struct mer_remote **out,
                                struct mer_error *err)
{
	struct owner *owner = calloc(1, sizeof *owner);
	if (owner == NULL || !copy_text(remote->server, &owner->server) ||
	    !copy_text(remote->host, &owner->host) || !copy_text(remote->user, &owner->user) ||
	    !copy_text(remote->config, &owner->config) || !copy_text(remote->script, &owner->script) ||
	    !copy_text(remote->password, &owner->password) ||
	    !copy_text(remote->passphrase, &owner->passphrase) ||
	    !copy_words(remote->options, &owner->options) || !copy_words(remote->env, &owner->env)) {
		mer_remote_free((struct mer_remote *)owner);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	owner->remote = *remote;
	owner->remote.server = owner->server;
	owner->remote.host = owner->host;
	owner->remote.user = owner->user;
	owner->remote.config = owner->config;
	owner->remote.script = owner->script;
	owner->remote.password = owner->password;
	owner->remote.passphrase = owner->passphrase;
	owner->remote.options = (const char *const *)owner->options;
	owner->remote.env = (const char *const *)owner->env;
	*out = &owner->remote;
	return MER_OK;
}

static bool same_text(const char *a, const char *b)
{
	return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

static bool same_words(const char *const *a, const char *const *b)
{
	while (*a != NULL && *b != NULL && strcmp(*a, *b) == 0)
		a++, b++;
	return *a == NULL && *b == NULL;
}

bool mer_remote_same(const struct mer_remote *a, const struct mer_remote *b)
{
	return a->port == b->port && a->transport == b->transport && same_text(a->server, b->server) &&
	       same_text(a->host, b->host) && same_text(a->user, b->user) &&
	       same_text(a->config, b->config) && same_text(a->password, b->password) &&
	       same_text(a->passphrase, b->passphrase) && same_words(a->options, b->options);
}

/* --- the call of ssh ------------------------------------------------------------------------ */

enum mer_status mer_remote_words(const struct mer_remote *remote, const char *flag,
                                 const char *const *const options[], size_t n_options,
                                 const char *command, struct mer_remote_words *out,
                                 struct mer_error *err)
{
	enum { LAST = 8 }; /* words behind the options */
	*out = (struct mer_remote_words){ .argv = { "ssh", flag }, .n = 2 };
	if (remote->config != NULL) {
		out->argv[out->n++] = "-F";
		out->argv[out->n++] = remote->config;
	}
	for (size_t i = 0; i < n_options; i++)
		for (const char *const *option = options[i]; *option != NULL; option++) {
			if (out->n + 2 + LAST > MER_REMOTE_WORDS)
				return mer_fail(err, MER_EINPUT, "server '%s' has too many parameters",
				                remote->server);
			out->argv[out->n++] = "-o";
			out->argv[out->n++] = *option;
		}
	if (remote->port > 0) {
		(void)snprintf(out->port, sizeof out->port, "%lld", (long long)remote->port);
		out->argv[out->n++] = "-p";
		out->argv[out->n++] = out->port;
	}
	if (remote->user != NULL && remote->user[0] != '\0') {
		out->argv[out->n++] = "-l";
		out->argv[out->n++] = remote->user;
	}
	out->argv[out->n++] = "--";
	out->argv[out->n++] = remote->host;
	out->argv[out->n++] = command;
	return MER_OK;
}
