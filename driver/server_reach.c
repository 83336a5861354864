/* A server of kind ssh or http as its row has it; server_reach.h. */
#include "server_reach.h"

#include "settings.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/ref.h>
#include <mer/remote.h>
#include <mer/secrets.h>
#include <string.h>

struct reaching {
	struct session *session;
	const char *guard;
	char **secrets;
	struct mer_remote *remote;
};

static enum mer_status on_server(void *ctx, const void *data, struct mer_error *err)
{
	struct reaching *reaching = ctx;
	const struct mer_server_row *row = data;
	const struct mer_remote_row host = { row->name, row->host, row->user, row->port, row->params };
	return mer_remote_new(&host, reaching->guard, reaching->session->environment,
	                      (const char *const *)reaching->secrets, &reaching->remote, err);
}

enum mer_status reach_read(struct session *s, const char *server, struct mer_remote **out,
                           struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *guard = NULL;
	struct reaching reaching = { .session = s };
	const char *password = setting(&s->settings, SET_PASSWORD)->text;
	enum mer_status st = mer_place(MER_PLACE_GUARD, &guard, err);
	reaching.guard = guard;
	if (st == MER_OK)
		st = mer_secret_names(s->dal, password != NULL ? mer_ref_env_name(password) : NULL,
		                      &reaching.secrets, err);
	if (st == MER_OK)
		st = mer_dal_query(s->dal, MER_Q_SERVER_BY_NAME, MER_ARGS(mer_text(server)), on_server,
		                   &reaching, err);
	if (st == MER_OK)
		*out = reaching.remote;
	mer_words_done(&reaching.secrets);
	return st;
}

static enum mer_status on_http(void *ctx, const void *data, struct mer_error *err)
{
	const struct mer_server_row *row = data;
	enum mer_status st = mer_http_new(row->name, row->params, "", NULL, ctx, err);
	return st == MER_EINPUT ? mer_wrap(err, MER_EUNREACHABLE, "cannot be used") : st;
}

enum mer_status reach_read_http(struct session *s, const char *server, struct mer_http **out,
                                struct mer_error *err)
{
	return mer_dal_query(s->dal, MER_Q_SERVER_BY_NAME, MER_ARGS(mer_text(server)), on_http, out,
	                     err);
}
