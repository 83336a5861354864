/*
 * What ssh_config(5) says of a server, as `ssh -G` tells it: aliases, Include, Match and all of its own files
 * are resolved by ssh itself. The parser is pure; the loader runs ssh.
 *
 * Part of the private module `ssh`.
 */
#ifndef MEAL_SSH_CONFIG_H
#define MEAL_SSH_CONFIG_H

#include <mer/buf.h>
#include <mer/meal.h>
#include <stdbool.h>

/* Owned. A text that ssh does not tell is NULL. Vectors are ended by NULL, and never NULL. */
struct ssh_config {
	char *host;     /* what ssh was asked for */
	char *hostname; /* what that stands for */
	char *user;
	int64_t port;
	int family; /* AF_UNSPEC, AF_INET or AF_INET6 */

	char *proxy_jump;    /* as ssh takes it, "user@a:22,b"; NULL: none */
	char *proxy_command; /* NULL: none */

	int64_t connect_timeout_s; /* ConnectTimeout; where nothing is said, as long as TCP waits */
	int64_t alive_s;           /* ServerAliveInterval; 0: off */
	int64_t alive_count;       /* ServerAliveCountMax */
	bool tcp_keepalive;

	bool accept_new;       /* StrictHostKeyChecking=accept-new; else yes */
	bool hash_known_hosts; /* what is added is hashed */
	char *host_key_alias;
	char **user_known, **global_known; /* absolute paths */

	char **identities; /* IdentityFile, expanded; those that are not there too */
	bool identities_only;
	char *agent;                           /* path of the agent's socket; NULL: none */
	bool by_key, by_password, by_keyboard; /* methods that may be tried */
	bool by_gssapi;                        /* and one that only ssh has */

	char *kex, *host_keys, *ciphers, *macs,
		*key_algorithms; /* what may be agreed upon, by commas */

	char odd[160]; /* why only ssh can do what it says; "": nothing so far */
};

/**
 * Reads what `ssh -G` printed.
 *
 * @param env  of ssh, for SSH_AUTH_SOCK and ${NAME}; ended by NULL
 * @param out  gives it; free with ssh_config_free()
 * @return MER_EINPUT it is not what ssh -G prints; MER_ENOMEM
 */
MER_MUST enum mer_status ssh_config_parse(struct mer_str text, const char *const env[],
                                          struct ssh_config **out, struct mer_error *err);

/**
 * Runs `ssh -G` with the words of mer_remote_words() and the defaults of every server of kind ssh, and
 * reads what it says. Blocks until the deadline (of CLOCK_MONOTONIC) or until cancel_fd is
 * readable; then ssh, in a group of its own, is killed.
 *
 * @param cancel_fd  an eventfd; -1: nobody cancels
 * @return MER_EINPUT        ssh does not take what the server or its own files say; MER_ETIMEOUT;
 *         MER_EUNREACHABLE  there is no ssh, or it failed; MER_ECANCELED; MER_ENOMEM
 */
MER_MUST enum mer_status ssh_config_load(const struct mer_remote *remote, int cancel_fd,
                                         int64_t deadline_ms, struct ssh_config **out,
                                         struct mer_error *err);

void ssh_config_free(struct ssh_config *config);

enum ssh_choice { SSH_LIBSSH2, SSH_OPENSSH };

/**
 * Whether libssh2, as it is at run time, can carry a server of that configuration. Files of keys and what
 * the server itself can do are ssh_login()'s to judge.
 *
 * @param reason  why not, for people; "" with SSH_LIBSSH2
 */
enum ssh_choice ssh_config_choose(const struct ssh_config *config, char reason[200]);

#endif
