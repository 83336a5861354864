/* A server between the options of users and its row. */
#include "server.h"

#include <mer/clean.h>
#include <mer/ref.h>
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

enum mer_status server_check(const struct cmd_value values[SERVER_ARGS], struct mer_error *err)
{
	const char *kind = values[SERVER_KIND].text;
	for (size_t i = 0; i < values[SERVER_PARAM].count; i++) {
		enum mer_status st = check_secret(values[SERVER_PARAM].words[i], err);
		if (st != MER_OK)
			return st;
	}
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
	int64_t changed; /* asked for, so that a conflict is told here and not at the commit */
	return mer_dal_exec(dal, MER_Q_SERVER_INSERT,
	                    MER_ARGS(mer_text(uid), mer_text(name), mer_text(values[SERVER_KIND].text),
	                             mer_text(""), mer_i64(0), mer_text(""), mer_text("{}")),
	                    &changed, err);
}

enum mer_status server_update(struct mer_dal *dal, const char *uid, struct mer_error *err)
{
	return mer_dal_exec(
		dal, MER_Q_SERVER_UPDATE,
		MER_ARGS(mer_text(uid), mer_text(""), mer_i64(0), mer_text(""), mer_text("{}")), NULL, err);
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
	*out = json_pack("{s:s, s:s, s:I, s:s, s:O}", "kind", row->kind, "host", row->host, "port",
	                 (json_int_t)row->port, "user", row->user, "param", param);
	return *out != NULL ? MER_OK : mer_fail(err, MER_EDATABASE, "a server's row is not UTF-8");
}

enum mer_status server_object(const struct cmd_value values[SERVER_ARGS], json_t **out,
                              struct mer_error *err)
{
	const struct mer_server_row row = {
		.kind = values[SERVER_KIND].text, .host = "", .user = "", .params = "{}"
	};
	return server_row_object(&row, out, err);
}
