/*
 * A server of kind ssh as its row has it, made ready for workers: what its parameters may be, and the words
 * that the system's ssh gets of them. docs/ssh.md.
 */
#ifndef MER_REMOTE_H
#define MER_REMOTE_H

#include <mer/meal.h>

enum {
	MER_REMOTE_OPTIONS = 32, /* of ssh, that a server may have */
	MER_REMOTE_WORDS = 40 + 2 * MER_REMOTE_OPTIONS,
};

/** Whether a server may have that parameter. @return MER_EINPUT says what is wrong with it */
MER_API MER_MUST enum mer_status mer_remote_check_param(const char *name, const char *value,
                                                        struct mer_error *err);

/** Whether a server may have all of them together. Each is looked at, too. @param params  JSON object of texts */
MER_API MER_MUST enum mer_status mer_remote_check_params(const char *params, struct mer_error *err);

/** Whether ssh may be given that host and user. user may be "" or NULL. */
MER_API MER_MUST enum mer_status mer_remote_check_host(const char *host, const char *user,
                                                       struct mer_error *err);

/* What a row says. Borrowed. */
struct mer_remote_row {
	const char *server, *host, *user;
	int64_t port;
	const char *params; /* JSON object of texts */
};

/**
 * Makes what struct mer_worker_spec wants.
 *
 * @param guard        the supervisor program of this machine, beside which the far one is
 * @param environment  mer's own, NAME=VALUE ended by NULL
 * @param hidden       names in it that nobody gets, beside those of its own references
 *                     (mer/secrets.h); ended by NULL; NULL: none
 * @param out          gives it; free with mer_remote_free()
 * @return MER_EINPUT a parameter that this mer does not know
 */
MER_API MER_MUST enum mer_status mer_remote_new(const struct mer_remote_row *row, const char *guard,
                                                const char *const environment[],
                                                const char *const hidden[], struct mer_remote **out,
                                                struct mer_error *err);
MER_API void mer_remote_free(struct mer_remote *remote);

/** A copy of one that mer_remote_new() made, or of what is like it: for mer_remote_free(). MER_ENOMEM. */
MER_API MER_MUST enum mer_status mer_remote_copy(const struct mer_remote *remote,
                                                 struct mer_remote **out, struct mer_error *err);

/** Whether sessions with the one serve the other. */
MER_API bool mer_remote_same(const struct mer_remote *a, const struct mer_remote *b);

/**
 * Connections to servers that the workers of a loop share (struct mer_worker_spec), where libssh2 can carry
 * them; nothing is connected, and no library loaded, before a worker wants it.
 */
MER_API MER_MUST enum mer_status mer_links_new(struct uv_loop_s *loop, struct mer_links **out,
                                               struct mer_error *err);

/** Closes them; only once all workers that were given them are gone. Then calls closed, from the loop. */
MER_API void mer_links_close(struct mer_links *links, void (*closed)(void *ctx), void *ctx);

/* The words of a call of ssh; those of the server and of the caller are borrowed. */
struct mer_remote_words {
	const char *argv[MER_REMOTE_WORDS]; /* ended by NULL */
	size_t n;
	char port[24];
};

/**
 * Makes them: ssh takes the first that it is told of an option.
 *
 * @param flag     of ssh: "-T", "-G"
 * @param options  lists of NAME=VALUE, the first count before the later; each ended by NULL
 * @param command  for the login shell there; NULL: none
 * @return MER_EINPUT too many options
 */
MER_API MER_MUST enum mer_status mer_remote_words(const struct mer_remote *remote, const char *flag,
                                                  const char *const *const options[],
                                                  size_t n_options, const char *command,
                                                  struct mer_remote_words *out,
                                                  struct mer_error *err);

/**
 * Whether ssh has gone round in a circle by now: to be asked every now and then until it is where it should be.
 *
 * @param pid  of ssh; 0: it has not started
 * @return MER_EUNREACHABLE it has, and is to be killed, as more of them follow
 */
MER_API MER_MUST enum mer_status mer_remote_circle(const char *server, int64_t pid,
                                                   struct mer_error *err);

#endif
