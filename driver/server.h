/* A server as users write it, against its row. */
#ifndef SERVER_H
#define SERVER_H

#include "cmd.h"

#include <mer/dal.h>
#include <mer/json.h>

/* The arguments of `server add`; those behind the name are its keys in a document. */
enum server_arg {
	SERVER_NAME,
	SERVER_KIND,
	SERVER_HOST,
	SERVER_PORT,
	SERVER_USER,
	SERVER_URL,
	SERVER_PARAM,
	SERVER_ARGS
};
extern const struct cmd_arg server_args[SERVER_ARGS];

/** Whether what is said of a server fits its kind. MER_EINPUT names the option. */
MER_MUST enum mer_status server_check(const struct cmd_value values[SERVER_ARGS],
                                      struct mer_error *err);

/** Writes a new row. MER_ECONFLICT: there is one of that name. */
MER_MUST enum mer_status server_insert(struct mer_dal *dal, const char *uid, const char *name,
                                       const struct cmd_value values[SERVER_ARGS],
                                       struct mer_error *err);

/** Writes over a row, but for its name and kind. */
MER_MUST enum mer_status server_update(struct mer_dal *dal, const char *uid,
                                       const struct cmd_value values[SERVER_ARGS],
                                       struct mer_error *err);

/** Whether ssh can be given that. MER_EINPUT names the option. */
MER_MUST enum mer_status server_check_place(const char *host, const char *user, int64_t port,
                                            struct mer_error *err);

/** Sets a parameter of a server of that kind, or with NAME alone takes it away. */
MER_MUST enum mer_status server_set_param(const char *kind, json_t *params, const char *pair,
                                          struct mer_error *err);

MER_MUST enum mer_status server_set_url(json_t *params, const char *url, struct mer_error *err);

/** Whether a server of kind http can be reached so, with its URL among params. */
MER_MUST enum mer_status server_check_http(json_t *params, struct mer_error *err);

/** Warns of what is allowed and hardly meant: a secret that goes over a network as it stands. */
void server_warn_http(const char *name, const json_t *params);
void server_warn(const struct cmd_value values[SERVER_ARGS]);
#define SERVER_BARE_SECRET "goes over the network in plain text"
#define SERVER_BARE_ADVICE "https:// keeps it secret"

/** What the options say, as an object with their names, defaults too: of what is to be written, and of a
 * row. Gives a reference. */
MER_MUST enum mer_status server_object(const struct cmd_value values[SERVER_ARGS], json_t **out,
                                       struct mer_error *err);
MER_MUST enum mer_status server_row_object(const struct mer_server_row *row, json_t **out,
                                           struct mer_error *err);

#endif
