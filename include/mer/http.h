/*
 * A server of kind http as its row has it, made ready for workers: what its URL and its parameters may
 * be, and its secrets. docs/http.md.
 */
#ifndef MER_HTTP_H
#define MER_HTTP_H

#include <mer/json.h>
#include <mer/meal.h>

/* A server, and a model as it is called there. Never changes; counted. */
struct mer_http {
	int refs;
	char *server;   /* its name, for messages */
	char *url;      /* without a slash at its end */
	char *api;      /* oip, openai, plain */
	char *model;    /* its name there */
	char *ca_file;  /* NULL: the system's */
	char **headers; /* "Name: value", secrets among them; ended by NULL */
	size_t n_secrets;
	const char **secrets; /* what references gave, within them; ended by NULL */
	char **params;        /* the API's own, NAME=VALUE; ended by NULL */
};

/** Whether a server may have that parameter. @return MER_EINPUT says what is wrong with it */
MER_API MER_MUST enum mer_status mer_http_check_param(const char *name, const char *value,
                                                      struct mer_error *err);

/** Whether a model may have that parameter in the place of its server's: one of the API's own. */
MER_API MER_MUST enum mer_status mer_http_check_own(const char *name, const char *value,
                                                    struct mer_error *err);

/** Whether parameters of a model, an object (NULL: none), are of the API of its server, whose
 * parameters are an object too (NULL: not known, and anything goes). */
MER_API MER_MUST enum mer_status mer_http_check_params(const json_t *server, const json_t *own,
                                                       struct mer_error *err);

/**
 * Whether a server may be reached so: a URL, and parameters that are all of its API.
 * @param params  JSON object of texts, each of them checked
 */
MER_API MER_MUST enum mer_status mer_http_check(const char *url, const char *params,
                                                struct mer_error *err);

/**
 * Makes what struct mer_worker_spec wants; references are resolved, so it may block.
 *
 * @param server  its name; params as its row has them, with the URL as "url"
 * @param model   as it is called there
 * @param own     the model's own parameters, in the place of the server's; NULL: none
 * @param out     gives it; free with mer_http_unref()
 * @return MER_EINPUT a parameter that this mer does not know, a reference that cannot be resolved
 */
MER_API MER_MUST enum mer_status mer_http_new(const char *server, const char *params,
                                              const char *model, const json_t *own,
                                              struct mer_http **out, struct mer_error *err);
MER_API struct mer_http *mer_http_ref(const struct mer_http *http);
MER_API void mer_http_unref(struct mer_http *http);

/**
 * The secret that would go over a network as it stands: one that a reference leads to, and whose server
 * is neither https:// nor this machine.
 * @param params  as a server's row has them, with the URL
 * @return        the parameter's name, borrowed; NULL: there is none
 */
MER_API const char *mer_http_bare_secret(const json_t *params);

/** The parameter in which a server's row keeps its URL. */
#define MER_HTTP_URL "url"

#endif
