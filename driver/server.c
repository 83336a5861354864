/* A server between the options of users and its row. */
#define LOG_AREA "server"
#include "server.h"

#include <mer/clean.h>
#include <mer/http.h>
#include <mer/log.h>
#include <mer/ref.h>
#include <mer/remote.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = { "local", "ssh", "http", NULL };

/* clang-format off */
const struct cmd_arg server_args[SERVER_ARGS] = {
	[SERVER_NAME] = CMD_WORD("NAME", ARG_NAME, "what the server is to be called",
		.value = "server", .required = true),
	[SERVER_KIND] = CMD_OPTION("kind", ARG_CHOICE, NULL, "how it is reached", .choices = kinds,
		.required = true),
	[SERVER_HOST] = CMD_OPTION("host", ARG_TEXT, "H", "ssh: its name or address"),
	[SERVER_PORT] = CMD_OPTION("port", ARG_I64, "P", "ssh: its port"),
	[SERVER_USER] = CMD_OPTION("user", ARG_TEXT, "U", "ssh: who to be there"),
	[SERVER_URL] = CMD_OPTION("url", ARG_TEXT, "URL", "http: where it answers",
		.secret = SECRET_URL),
	[SERVER_PARAM] = CMD_OPTION("param", ARG_PAIR, NULL, "whatever else the kind knows",
		.secret = SECRET_PAIR, .repeat = true),
};
/* clang-format on */

/* Params that are secrets, of whatever kind. */
static enum mer_status check_secret(const char *pair, struct mer_error *err)
{
	static const char *const secrets[] = { "password", "passphrase", "api_key" };
	size_t len = strcspn(pair, "=");
	for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
		if (strlen(secrets[i]) == len && strncmp(pair, secrets[i], len) == 0)
			return mer_ref_check(secrets[i], pair + len + 1, err);
	}
	return MER_OK;
}

enum mer_status server_check_place(const char *host, const char *user, int64_t port,
                                   struct mer_error *err)
{
	if (port < 0 || port > 65535)
		return mer_fail(err, MER_EINPUT, "--port: %lld is no port", (long long)port);
	return mer_remote_check_host(host, user, err);
}

enum mer_status server_check_http(json_t *params, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *text = NULL;
	enum mer_status st = mer_json_text(params, &text, err);
	return st == MER_OK ? mer_http_check(mer_json_get_text(params, MER_HTTP_URL, ""), text, err)
	                    : st;
}

enum mer_status server_set_param(const char *kind, json_t *params, const char *pair,
                                 struct mer_error *err)
{
	const char *equals = strchr(pair, '=');
	if (equals == NULL) {
		(void)json_object_del(params, pair);
		return MER_OK;
	}
	MER_AUTO(mer_text_done) char *name = strndup(pair, (size_t)(equals - pair));
	if (name == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = strcmp(kind, "http") == 0 ? mer_http_check_param(name, equals + 1, err)
	                                               : mer_remote_check_param(name, equals + 1, err);
	json_t *text = st == MER_OK ? json_string(equals + 1) : NULL;
	if (st == MER_OK && text == NULL)
		return mer_fail(err, MER_EINPUT, "--param %s: its value is not UTF-8", name);
	if (st == MER_OK && json_object_set_new(params, name, text) != 0)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return st;
}

enum mer_status server_set_url(json_t *params, const char *url, struct mer_error *err)
{
	json_t *text = json_string(url);
	if (text == NULL)
		return mer_fail(err, MER_EINPUT, "--url: it is not UTF-8");
	if (json_object_set_new(params, MER_HTTP_URL, text) != 0)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return MER_OK;
}

/* What values say of a place, borrowed but for the parameters. */
struct said {
	const char *host, *user;
	int64_t port;
	char *params;
};

static void said_done(struct said *said)
{
	free(said->params);
}

static enum mer_status read_said(const struct cmd_value values[SERVER_ARGS], struct said *out,
                                 struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *params = json_object();
	enum mer_status st = MER_OK;
	*out = (struct said){
		.host = cmd_has(&values[SERVER_HOST]) ? values[SERVER_HOST].text : "",
		.user = cmd_has(&values[SERVER_USER]) ? values[SERVER_USER].text : "",
		.port = cmd_has(&values[SERVER_PORT]) ? values[SERVER_PORT].number : 0,
	};
	if (params == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (size_t i = 0; i < values[SERVER_PARAM].count && st == MER_OK; i++)
		st = server_set_param(values[SERVER_KIND].text, params, values[SERVER_PARAM].words[i], err);
	if (st == MER_OK && cmd_has(&values[SERVER_URL]))
		st = server_set_url(params, values[SERVER_URL].text, err);
	return st == MER_OK ? mer_json_text(params, &out->params, err) : st;
}

static enum mer_status check_ssh(const struct cmd_value values[SERVER_ARGS], struct mer_error *err)
{
	MER_AUTO(said_done) struct said said = { 0 };
	if (cmd_has(&values[SERVER_URL]))
		return mer_fail(err, MER_EINPUT, "a server of kind 'ssh' has no --url");
	enum mer_status st = read_said(values, &said, err);
	if (st == MER_OK)
		st = mer_remote_check_params(said.params, err);
	return st == MER_OK ? server_check_place(said.host, said.user, said.port, err) : st;
}

void server_warn_http(const char *name, const json_t *params)
{
	const char *param = mer_http_bare_secret(params);
	if (param != NULL)
		MER_LOG(MER_LOG_WARN, "server '%s': %s " SERVER_BARE_SECRET ": " SERVER_BARE_ADVICE, name,
		        param);
}

void server_warn(const struct cmd_value values[SERVER_ARGS])
{
	MER_AUTO(said_done) struct said said = { 0 };
	MER_AUTO(mer_json_done) json_t *params = NULL;
	if (strcmp(values[SERVER_KIND].text, "http") == 0 && read_said(values, &said, NULL) == MER_OK &&
	    mer_json_parse("params", said.params, strlen(said.params), &params, NULL) == MER_OK)
		server_warn_http(values[SERVER_NAME].text, params);
}

static enum mer_status check_http(const struct cmd_value values[SERVER_ARGS], struct mer_error *err)
{
	MER_AUTO(said_done) struct said said = { 0 };
	MER_AUTO(mer_json_done) json_t *params = NULL;
	for (size_t i = SERVER_HOST; i <= SERVER_USER; i++) {
		if (values[i].given)
			return mer_fail(err, MER_EINPUT, "a server of kind 'http' has no --%s: its --url tells",
			                server_args[i].name);
	}
	enum mer_status st = read_said(values, &said, err);
	if (st == MER_OK)
		st = mer_json_parse("params", said.params, strlen(said.params), &params, err);
	return st == MER_OK ? server_check_http(params, err) : st;
}

enum mer_status server_check(const struct cmd_value values[SERVER_ARGS], struct mer_error *err)
{
	const char *kind = values[SERVER_KIND].text;
	for (size_t i = 0; i < values[SERVER_PARAM].count; i++) {
		enum mer_status st = check_secret(values[SERVER_PARAM].words[i], err);
		if (st != MER_OK)
			return st;
	}
	if (strcmp(kind, "ssh") == 0)
		return check_ssh(values, err);
	if (strcmp(kind, "http") == 0)
		return check_http(values, err);
	if (strcmp(kind, "local") != 0)
		return mer_fail(err, MER_EINPUT, "kind '%s' is not built in", kind);
	for (size_t i = SERVER_HOST; i < SERVER_ARGS; i++) {
		if (values[i].given)
			return mer_fail(err, MER_EINPUT, "a server of kind 'local' has no --%s",
			                server_args[i].name);
	}
	return MER_OK;
}

/* --- writing ------------------------------------------------------------------------------ */

enum mer_status server_insert(struct mer_dal *dal, const char *uid, const char *name,
                              const struct cmd_value values[SERVER_ARGS], struct mer_error *err)
{
	MER_AUTO(said_done) struct said said = { 0 };
	int64_t changed; /* asked for, so that a conflict is told here and not at the commit */
	enum mer_status st = read_said(values, &said, err);
	if (st != MER_OK)
		return st;
	return mer_dal_exec(dal, MER_Q_SERVER_INSERT,
	                    MER_ARGS(mer_text(uid), mer_text(name), mer_text(values[SERVER_KIND].text),
	                             mer_text(said.host), mer_i64(said.port), mer_text(said.user),
	                             mer_text(said.params)),
	                    &changed, err);
}

enum mer_status server_update(struct mer_dal *dal, const char *uid,
                              const struct cmd_value values[SERVER_ARGS], struct mer_error *err)
{
	MER_AUTO(said_done) struct said said = { 0 };
	enum mer_status st = read_said(values, &said, err);
	if (st != MER_OK)
		return st;
	return mer_dal_exec(dal, MER_Q_SERVER_UPDATE,
	                    MER_ARGS(mer_text(uid), mer_text(said.host), mer_i64(said.port),
	                             mer_text(said.user), mer_text(said.params)),
	                    NULL, err);
}

/* --- as an object ------------------------------------------------------------------------- */

enum mer_status server_row_object(const struct mer_server_row *row, json_t **out,
                                  struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *param = NULL;
	enum mer_status st =
		mer_json_parse("params of a server", row->params, strlen(row->params), &param, err);
	if (st != MER_OK)
		return st;
	MER_AUTO(mer_json_done) json_t *url = json_incref(json_object_get(param, MER_HTTP_URL));
	(void)json_object_del(param, MER_HTTP_URL);
	if (url == NULL)
		url = json_null();
	*out = json_pack("{s:s, s:s, s:I, s:s, s:O, s:O}", "kind", row->kind, "host", row->host, "port",
	                 (json_int_t)row->port, "user", row->user, "url", url, "param", param);
	return *out != NULL ? MER_OK : mer_fail(err, MER_EDATABASE, "a server's row is not UTF-8");
}

enum mer_status server_object(const struct cmd_value values[SERVER_ARGS], json_t **out,
                              struct mer_error *err)
{
	MER_AUTO(said_done) struct said said = { 0 };
	enum mer_status st = read_said(values, &said, err);
	if (st != MER_OK)
		return st;
	const struct mer_server_row row = { .kind = values[SERVER_KIND].text,
		                                .host = said.host,
		                                .port = said.port,
		                                .user = said.user,
		                                .params = said.params };
	return server_row_object(&row, out, err);
}
