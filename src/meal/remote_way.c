/* Carriers to a server of kind ssh; remote_way.h. */
#include "remote_way.h"

#include "far.h"
#include "links.h"

#include <mer/clean.h>
#include <mer/remote.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* As MEAL_SSH_DEFAULTS has them. */
#define CONNECT_S 10
#define ALIVE_S 5
#define ALIVE_COUNT 3

#define SOCKET "/c"          /* in a folder of its own */
#define SOCKET_FOLDER_MAX 60 /* a socket's path has room for 107 bytes, and ssh adds 17 */

/* ssh takes the first that it is told of an option: ours, the server's, our defaults, its files. */
static const char *const fixed[] = {
	"BatchMode=yes",   "ControlMaster=yes", "ControlPersist=no",     "ClearAllForwardings=yes",
	"ForwardAgent=no", "ForwardX11=no",     "PermitLocalCommand=no", "RemoteCommand=none",
	"RequestTTY=no",   "EscapeChar=none",   "LogLevel=ERROR",        NULL
};
static const char *const defaults[] = { MEAL_SSH_DEFAULTS, NULL };

/* The value of an option of ssh; NULL: it is not given. */
static const char *option_of(const struct mer_remote *remote, const char *name)
{
	size_t len = strlen(name);
	for (const char *const *option = remote->options; option != NULL && *option != NULL; option++)
		if (strncasecmp(*option, name, len) == 0 && (*option)[len] == '=')
			return *option + len + 1;
	return NULL;
}

static int64_t number_of(const struct mer_remote *remote, const char *name, int64_t fallback)
{
	const char *text = option_of(remote, name);
	int64_t number;
	return text != NULL && mer_parse_i64(text, &number, NULL) == MER_OK ? number : fallback;
}

void remote_way_init(struct remote_way *way, const struct mer_remote *remote)
{
	way->remote = remote;
	way->connect_s = number_of(remote, "ConnectTimeout", CONNECT_S);
	way->alive_s = number_of(remote, "ServerAliveInterval", ALIVE_S);
	way->silence_s = way->alive_s * (number_of(remote, "ServerAliveCountMax", ALIVE_COUNT) + 1);
}

void remote_way_release(struct remote_way *way)
{
	free(way->guard);
	free(way->socket);
}

/* --- which one ---------------------------------------------------------------------------------- */

/* The system's ssh is not given secrets, so it is no way out where there are some. */
static bool only_libssh2(const struct mer_remote *remote)
{
	return remote->transport == MER_TRANSPORT_LIBSSH2 || remote->password != NULL ||
	       remote->passphrase != NULL;
}

enum mer_status remote_way_choose(struct remote_way *way, struct mer_links *links,
                                  char why[MER_REASON_SIZE], struct mer_error *err)
{
	struct mer_error own;
	if (links == NULL || way->remote->transport == MER_TRANSPORT_OPENSSH)
		return MER_OK;
	enum mer_status st = links_ssh(links, &way->ssh, &way->pool, &own);
	if (st == MER_OK) {
		if (!only_libssh2(way->remote) && remote_way_is_refused(way, why))
			way->ssh = NULL;
		return MER_OK;
	}
	if (only_libssh2(way->remote)) {
		if (err != NULL)
			*err = own;
		return mer_wrap(err, st, "server '%s'", way->remote->server);
	}
	(void)snprintf(why, MER_REASON_SIZE, "%.*s", MER_REASON_SIZE - 1, own.message);
	return MER_OK;
}

bool remote_way_is_refused(const struct remote_way *way, char why[MER_REASON_SIZE])
{
	return way->ssh != NULL && way->ssh->refuses(way->pool, way->remote, why);
}

enum mer_status remote_way_change(struct remote_way *way, const char *why, struct mer_error *err)
{
	if (only_libssh2(way->remote))
		return mer_fail(err, MER_EUNREACHABLE, "server '%s': libssh2 cannot carry it: %s",
		                way->remote->server, why);
	way->ssh = NULL;
	return MER_OK;
}

/* --- carriers ----------------------------------------------------------------------------------- */

/* Starts one that was made just now; NULL: it could not be. argv, scratch: of ssh. */
static enum mer_status start(const struct remote_way *way, struct meal_carrier *carrier,
                             const char *const argv[], const char *scratch,
                             const struct meal_carrier_events *events, void *ctx,
                             struct meal_carrier **out, struct mer_error *err)
{
	static const char *const command[] = { FAR_COMMAND, NULL };
	const struct mer_worker_spec by_channel = { .argv = command, .remote = way->remote };
	const struct mer_worker_spec by_ssh = { .protocol = MER_PROTOCOL_ONCE,
		                                    .guard = way->guard,
		                                    .argv = argv,
		                                    .env = way->remote->env,
		                                    .scratch = scratch };
	if (carrier == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	carrier->events = events;
	carrier->ctx = ctx;
	enum mer_status st =
		carrier->ops->start(carrier, way->loop, way->ssh != NULL ? &by_channel : &by_ssh, err);
	if (st == MER_OK)
		*out = carrier;
	return st;
}

/* Where nobody else gets at it, and none was before. */
static enum mer_status name_socket(struct remote_way *way, struct mer_error *err)
{
	struct far_names names;
	const char *temp = getenv("TMPDIR");
	if (temp == NULL || temp[0] != '/' || strlen(temp) > SOCKET_FOLDER_MAX)
		temp = "/tmp";
	enum mer_status st = far_names_init(&names, err);
	if (st != MER_OK)
		return st;
	free(way->socket);
	way->socket = mer_text_new("%s/mer-%.16s%s", temp, names.id, SOCKET);
	return way->socket != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status start_ssh(struct remote_way *way, bool login,
                                 const struct meal_carrier_events *events, void *ctx,
                                 struct meal_carrier **out, struct mer_error *err)
{
	struct mer_remote_words words;
	enum mer_status st = name_socket(way, err);
	if (st != MER_OK)
		return st;
	MER_AUTO(mer_text_done) char *path = mer_text_new("ControlPath=%s", way->socket);
	MER_AUTO(mer_text_done)
	char *folder = strndup(way->socket, strlen(way->socket) - strlen(SOCKET));
	if (path == NULL || folder == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	const char *const one[] = { path, NULL };
	const char *const *const lists[] = { fixed, one, way->remote->options, defaults };
	/* -f: it leaves once it is in, and what it leaves behind ends with it (mer-guard). */
	st = mer_remote_words(way->remote, login ? "-fN" : "-T", lists, sizeof lists / sizeof *lists,
	                      login ? NULL : FAR_COMMAND, &words, err);
	if (st != MER_OK)
		return st;
	return start(way, meal_local_new(false), words.argv, folder, events, ctx, out, err);
}

enum mer_status remote_way_start(struct remote_way *way, bool login,
                                 const struct meal_carrier_events *events, void *ctx,
                                 struct meal_carrier **out, struct mer_error *err)
{
	if (way->ssh == NULL)
		return start_ssh(way, login, events, ctx, out, err);
	return start(way, way->ssh->channel(way->pool), NULL, NULL, events, ctx, out, err);
}

enum mer_status remote_way_beside(const struct remote_way *way, struct meal_carrier *other,
                                  const struct meal_carrier_events *events, void *ctx,
                                  struct meal_carrier **out, struct mer_error *err)
{
	if (way->ssh != NULL)
		return start(way, way->ssh->beside(other), NULL, NULL, events, ctx, out, err);
	MER_AUTO(mer_text_done) char *path = mer_text_new("ControlPath=%s", way->socket);
	if (path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	const char *const words[] = { "ssh",       "-F",
		                          "none",      "-T",
		                          "-o",        "BatchMode=yes",
		                          "-o",        path,
		                          "-o",        "ControlMaster=no",
		                          "-o",        "ProxyCommand=false",
		                          "-o",        "LogLevel=ERROR",
		                          "--",        way->remote->host,
		                          FAR_COMMAND, NULL };
	return start(way, meal_local_new(false), words, NULL, events, ctx, out, err);
}

enum mer_status remote_way_apart(const struct remote_way *way,
                                 const struct meal_carrier_events *events, void *ctx,
                                 struct meal_carrier **out, struct mer_error *err)
{
	static const char *const alone[] = { "ControlMaster=no", "ControlPath=none", NULL };
	const char *const *const lists[] = { alone, fixed, way->remote->options, defaults };
	struct mer_remote_words words;
	if (way->ssh != NULL)
		return start(way, way->ssh->channel(way->pool), NULL, NULL, events, ctx, out, err);
	enum mer_status st = mer_remote_words(way->remote, "-T", lists, sizeof lists / sizeof *lists,
	                                      FAR_COMMAND, &words, err);
	if (st != MER_OK)
		return st;
	return start(way, meal_local_new(false), words.argv, NULL, events, ctx, out, err);
}
