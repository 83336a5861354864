/*
 * A server of kind http as its row has it, made ready for workers: what its URL and its parameters may
 * be, and its secrets. docs/http.md.
 */
#ifndef MER_HTTP_H
#define MER_HTTP_H

#include <mer/meal.h>

/* What a worker only looks at before it leaves: exit code 0, or MER_EUNREACHABLE. */
enum mer_http_probe { MER_HTTP_RUNS, MER_HTTP_PROBES_SERVER, MER_HTTP_PROBES_MODEL };

/* A server, and a model as it is called there. */
struct mer_http {
	const char *server; /* its name, for messages */
	const char *url;    /* without a slash at its end */
	const char *api;    /* oip, openai, plain */
	const char *model;  /* its name there */
	const char *ca_file; /* NULL: the system's */
	const char *const *headers; /* "Name: value", secrets among them; ended by NULL */
	const struct mer_pair *params; /* the API's own */
	size_t n_params;
	int64_t retries; /* of a run that a busy server has not taken */
	bool stateful;
	enum mer_http_probe probe;
};

/** Names of parameters, ended by NULL; header.NAME comes beside them. */
MER_API const char *const *mer_http_param_names(void);

/** Whether a server may have that parameter. @return MER_EINPUT says what is wrong with it */
MER_API MER_MUST enum mer_status mer_http_check_param(const char *name, const char *value,
                                                      struct mer_error *err);

/** Whether parameters fit each other: those of another API are refused. params: JSON object of texts. */
MER_API MER_MUST enum mer_status mer_http_check(const char *url, const char *params,
                                                struct mer_error *err);

/**
 * Makes what struct mer_worker_spec wants; references are resolved, so it may block.
 *
 * @param server  its name; url and params as its row has them
 * @param model   as it is called there
 * @param out     gives it; free with mer_http_free()
 * @return MER_EINPUT a parameter that this mer does not know, a reference that cannot be resolved
 */
MER_API MER_MUST enum mer_status mer_http_new(const char *server, const char *url,
                                              const char *params, const char *model,
                                              struct mer_http **out, struct mer_error *err);
MER_API void mer_http_free(struct mer_http *http);

#endif
