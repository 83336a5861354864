/* server add, list, show, set and remove. */
#include "commands.h"
#include "find.h"
#include "server.h"
#include "session.h"

#include <mer/clean.h>
#include <mer/http.h>
#include <mer/json.h>
#include <mer/remote.h>
#include <string.h>

enum { SERVER_COLUMNS = 8 };
static const struct out_column columns[SERVER_COLUMNS] = {
	{ "uid", OUT_UID | OUT_HIDDEN },
	{ "name", 0 },
	{ "kind", 0 },
	{ "host", OUT_NULL },
	{ "port", OUT_NUMBER | OUT_NULL },
	{ "user", OUT_NULL },
	{ "params", OUT_OBJECT | OUT_SHORTEN },
	{ "url", OUT_NULL },
};

/* What a row has in one object, apart. */
struct shown {
	json_t *params;
	char *text; /* of them without the URL */
};

static void shown_done(struct shown *shown)
{
	json_decref(shown->params);
	free(shown->text);
}

static enum mer_status fill_cells(const struct mer_server_row *row, struct shown *shown,
                                  struct mer_cell cells[SERVER_COLUMNS], struct mer_error *err)
{
	enum mer_status st =
		mer_json_parse("params", row->params, strlen(row->params), &shown->params, err);
	if (st != MER_OK)
		return st;
	MER_AUTO(mer_json_done) json_t *others = json_copy(shown->params);
	(void)json_object_del(others, MER_HTTP_URL);
	st = mer_json_text(others, &shown->text, err);
	if (st != MER_OK)
		return st;
	const struct mer_cell port = mer_cell_i64(row->port), none = { .type = MER_CELL_NULL };
	const struct mer_cell all[SERVER_COLUMNS] = {
		mer_cell_text(row->uid),
		mer_cell_text(row->name),
		mer_cell_text(row->kind),
		mer_cell_word(row->host),
		row->port != 0 ? port : none,
		mer_cell_word(row->user),
		mer_cell_json(shown->text),
		mer_cell_text(mer_json_get_text(shown->params, MER_HTTP_URL, NULL)),
	};
	memcpy(cells, all, sizeof all);
	return MER_OK;
}

enum { SERVER };
static const struct cmd_arg name_args[] = {
	[SERVER] = CMD_WORD("NAME", ARG_TEXT, "a server that 'server list' shows", .is = VALUE_SERVER,
	                    .required = true),
};

/* --- server list, server show ------------------------------------------------------------- */

static enum mer_status on_listed(void *ctx, const void *row, struct mer_error *err)
{
	MER_AUTO(shown_done) struct shown shown = { 0 };
	struct mer_cell cells[SERVER_COLUMNS];
	enum mer_status st = fill_cells(row, &shown, cells, err);
	return st == MER_OK ? out_row(ctx, cells, err) : st;
}

static enum mer_status list(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	(void)argv;
	out_begin(s, columns, SERVER_COLUMNS);
	enum mer_status st = mer_dal_query(s->dal, MER_Q_SERVERS, NULL, 0, on_listed, s, err);
	return st == MER_OK ? out_end(s, err) : st;
}

const struct cmd cmd_server_list = {
	.name = "server list",
	.summary = "the servers that models run on",
	CMD_EXAMPLES("server list", "server list --json"),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(columns, SERVER_COLUMNS),
	.run = list,
};

static enum mer_status on_shown(void *ctx, const void *row, struct mer_error *err)
{
	MER_AUTO(shown_done) struct shown shown = { 0 };
	struct mer_cell cells[SERVER_COLUMNS];
	enum mer_status st = fill_cells(row, &shown, cells, err);
	return st == MER_OK ? out_object(ctx, columns, cells, SERVER_COLUMNS, err) : st;
}

static enum mer_status show(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	struct mer_uid uid;
	enum mer_status st = find_server(s->dal, argv[SERVER].text, &uid, NULL, err);
	if (st == MER_OK)
		st = mer_dal_query(s->dal, MER_Q_SERVER_BY_NAME, MER_ARGS(mer_text(argv[SERVER].text)),
		                   on_shown, s, err);
	return st;
}

const struct cmd cmd_server_show = {
	.name = "server show",
	.summary = "all that is known of a server",
	CMD_EXAMPLES("server show local", "server show --json local"),
	CMD_ARGS(name_args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_OBJECT(columns, SERVER_COLUMNS),
	.run = show,
};

/* --- server add --------------------------------------------------------------------------- */

static enum mer_status add(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	const char *name = argv[SERVER_NAME].text;
	struct mer_uid uid;
	enum mer_status st = server_check(argv, err);
	if (st != MER_OK)
		return st;
	mer_uid_new(&uid);
	st = server_insert(s->dal, uid.text, name, argv, err);
	if (st == MER_ECONFLICT)
		return mer_fail(err, st, "there is a server '%s' already", name);
	if (st != MER_OK)
		return st;
	session_note(s, "server '%s' is there", name);
	server_warn(argv);
	return MER_OK;
}

const struct cmd cmd_server_add = {
	.name = "server add",
	.summary = "a place to run models",
	.args = server_args,
	.n_args = SERVER_ARGS,
	CMD_EXAMPLES("server add second --kind local",
	             "server add gpu --kind ssh --host gpu.example.org --user infer "
	             "--param IdentityFile=~/.ssh/mer",
	             "server add triton --kind http --url http://gpu.example.org:8000 --param api=oip"),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = add,
};

/* --- server set --------------------------------------------------------------------------- */

enum { PAIRS = 1 };
static const struct cmd_arg set_args[] = {
	[SERVER] = CMD_WORD("NAME", ARG_TEXT, "a server that 'server list' shows", .is = VALUE_SERVER,
	                    .required = true),
	[PAIRS] = CMD_WORD("KEY=VALUE", ARG_PAIR, "KEY is an option of 'server add' without its --",
	                   .is = VALUE_KEY, .keys = server_args, .n_keys = SERVER_ARGS,
	                   .required = true, .repeat = true),
};

/* A server as it is, and what it is to become. Texts are owned. */
struct changing {
	char *host, *user;
	int64_t port;
	json_t *params;
	char *name; /* all of them are kept for longer than the row */
};

static void changing_done(struct changing *changing)
{
	free(changing->host);
	free(changing->user);
	free(changing->name);
	json_decref(changing->params);
}

static enum mer_status on_changing(void *ctx, const void *data, struct mer_error *err)
{
	struct changing *changing = ctx;
	const struct mer_server_row *row = data;
	changing->name = strdup(row->name);
	changing->host = strdup(row->host);
	changing->user = strdup(row->user);
	changing->port = row->port;
	if (changing->name == NULL || changing->host == NULL || changing->user == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return mer_json_parse("params", row->params, strlen(row->params), &changing->params, err);
}

static enum mer_status set_text(char **to, const char *text, struct mer_error *err)
{
	char *copy = strdup(text);
	if (copy == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	free(*to);
	*to = copy;
	return MER_OK;
}

static enum mer_status change_ssh(struct changing *changing, const char *pair,
                                  struct mer_error *err)
{
	const char *value = strchr(pair, '=') + 1;
	size_t len = (size_t)(value - 1 - pair);
	struct cmd_value parsed = { 0 };
	enum mer_status st;
	if (len == 4 && strncmp(pair, "host", len) == 0)
		return set_text(&changing->host, value, err);
	if (len == 4 && strncmp(pair, "user", len) == 0)
		return set_text(&changing->user, value, err);
	if (len == 4 && strncmp(pair, "port", len) == 0) {
		st = cmd_value_parse(&server_args[SERVER_PORT], "port", value, &parsed, err);
		changing->port = st == MER_OK ? parsed.number : changing->port;
		return st;
	}
	if (len == 5 && strncmp(pair, "param", len) == 0)
		return server_set_param("ssh", changing->params, value, err);
	(void)mer_fail(err, MER_EINPUT, "a server of kind 'ssh' has no '%.*s' to set", (int)len, pair);
	mer_hint(err, "keys are host, port, user and param, as in param=ConnectTimeout=5");
	return MER_EINPUT;
}

static enum mer_status check_ssh(const struct changing *changing, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *params = NULL;
	enum mer_status st = server_check_place(changing->host, changing->user, changing->port, err);
	if (st == MER_OK)
		st = mer_json_text(changing->params, &params, err);
	return st == MER_OK ? mer_remote_check_params(params, err) : st;
}

static enum mer_status change_http(json_t *params, const char *pair, struct mer_error *err)
{
	if (strncmp(pair, "url=", 4) == 0)
		return server_set_url(params, pair + 4, err);
	if (strncmp(pair, "param=", 6) == 0)
		return server_set_param("http", params, pair + 6, err);
	(void)mer_fail(err, MER_EINPUT, "a server of kind 'http' has no '%.*s' to set",
	               (int)strcspn(pair, "="), pair);
	mer_hint(err, "keys are url and param, as in param=api=openai");
	return MER_EINPUT;
}

/* All of its place is in the URL. */
static enum mer_status check_http(struct changing *changing, struct mer_error *err)
{
	changing->host[0] = changing->user[0] = '\0';
	changing->port = 0;
	return server_check_http(changing->params, err);
}

static enum mer_status write_changed(struct session *s, const struct mer_uid *uid,
                                     const struct changing *changing, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *params = NULL;
	enum mer_status st = mer_json_text(changing->params, &params, err);
	if (st == MER_OK)
		st = mer_dal_exec(s->dal, MER_Q_SERVER_UPDATE,
		                  MER_ARGS(mer_text(uid->text), mer_text(changing->host),
		                           mer_i64(changing->port), mer_text(changing->user),
		                           mer_text(params)),
		                  NULL, err);
	if (st == MER_OK)
		session_note(s, "server '%s' is changed", changing->name);
	return st;
}

/* Only what ssh and http have can be changed. */
static enum mer_status set(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	struct mer_uid uid;
	char kind[16];
	enum mer_status st = find_server(s->dal, argv[SERVER].text, &uid, kind, err);
	if (st != MER_OK)
		return st;
	bool http = strcmp(kind, "http") == 0;
	const char *pair = argv[PAIRS].words[0];
	if (!http && strcmp(kind, "ssh") != 0)
		return mer_fail(err, MER_EINPUT, "a server of kind '%s' has no '%.*s' to set", kind,
		                (int)strcspn(pair, "="), pair);
	MER_AUTO(changing_done) struct changing changing = { 0 };
	st = mer_dal_query(s->dal, MER_Q_SERVER_BY_NAME, MER_ARGS(mer_text(argv[SERVER].text)),
	                   on_changing, &changing, err);
	for (size_t i = 0; i < argv[PAIRS].count && st == MER_OK; i++) {
		pair = argv[PAIRS].words[i];
		st = http ? change_http(changing.params, pair, err) : change_ssh(&changing, pair, err);
	}
	if (st == MER_OK)
		st = http ? check_http(&changing, err) : check_ssh(&changing, err);
	if (st == MER_OK)
		st = write_changed(s, &uid, &changing, err);
	if (st == MER_OK && http)
		server_warn_http(changing.name, changing.params);
	return st;
}

const struct cmd cmd_server_set = {
	.name = "server set",
	.summary = "change how a server is reached",
	CMD_EXAMPLES("server set gpu port=2222 param=ConnectTimeout=5"),
	CMD_ARGS(set_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = set,
};

/* --- server remove ------------------------------------------------------------------------ */

static enum mer_status remove_server(struct session *s, const struct cmd_value *argv,
                                     struct mer_error *err)
{
	const char *name = argv[SERVER].text;
	struct mer_uid uid;
	enum mer_status st = find_server(s->dal, name, &uid, NULL, err);
	if (st == MER_OK && strcmp(name, "local") == 0)
		return mer_fail(err, MER_ECONFLICT, "server 'local' is always there");
	if (st == MER_OK)
		st = mer_dal_exec(s->dal, MER_Q_SERVER_DELETE, MER_ARGS(mer_text(uid.text)), NULL, err);
	if (st == MER_ECONFLICT)
		return mer_fail(err, st, "there are models on server '%s'", name);
	if (st == MER_OK)
		session_note(s, "server '%s' is removed", name);
	return st;
}

const struct cmd cmd_server_remove = {
	.name = "server remove",
	.summary = "forget a server that has no models",
	CMD_EXAMPLES("server remove second"),
	CMD_ARGS(name_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = remove_server,
};
