/* Who we are there; ssh_auth.h. */
#include "ssh_auth.h"

#include "remote_say.h"
#include "ssh_agent.h"
#include "ssh_keyfile.h"
#include "ssh_known.h"
#include "ssh_piece.h"
#include "ssh_secret.h"

#include <mer/clean.h>
#include <mer/ref.h>
#include <stdarg.h>
#include <string.h>

#define TRIES_MAX 6   /* MaxAuthTries of sshd, unless told otherwise */
#define AGENT_SHARE 3 /* of the time that is left an agent gets one part of so many */

/* A key that is offered: of the agent, or of a file. Borrows from these. */
struct offer {
	const struct ssh_agent_key *held; /* NULL: the file's private half is used */
	const struct ssh_keyfile *file;   /* NULL: the agent's alone */
};

struct ssh_auth {
	const struct ssh_login *login;
	struct ssh_until until;
	struct ssh_agent agent;
	struct ssh_keyfile *files;
	size_t n_files;
	struct offer *offers;
	size_t n_offers;
	char **supported; /* types of keys, by libssh2 */
	size_t n_supported;
	char note[200]; /* what was passed over, and what to do about it */
};

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

void ssh_auth_free(struct ssh_auth *auth)
{
	if (auth == NULL)
		return;
	ssh_agent_release(&auth->agent);
	for (size_t i = 0; i < auth->n_files; i++)
		ssh_keyfile_release(&auth->files[i]);
	mer_words_done(&auth->supported);
	free(auth->files);
	free(auth->offers);
	free(auth);
}

static MER_PRINTF(2, 3) void note(struct ssh_auth *auth, const char *fmt, ...)
{
	if (auth->note[0] != '\0') /* the first says enough */
		return;
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(auth->note, sizeof auth->note, fmt, args);
	va_end(args);
}

/* --- what is there ----------------------------------------------------------------------------- */

static enum mer_status find_supported(struct ssh_auth *auth, struct mer_error *err)
{
	const char **names = NULL;
	LIBSSH2_SESSION *session = libssh2_session_init();
	if (session == NULL)
		return no_memory(err);
	int n = libssh2_session_supported_algs(session, LIBSSH2_METHOD_HOSTKEY, &names);
	auth->supported = calloc((size_t)(n > 0 ? n : 0) + 1, sizeof *auth->supported);
	for (int i = 0; i < n && auth->supported != NULL; i++)
		if ((auth->supported[auth->n_supported] = strdup(names[i])) != NULL)
			auth->n_supported++;
	if (n > 0)
		libssh2_free(session, (void *)names);
	(void)libssh2_session_free(session);
	return auth->supported != NULL ? MER_OK : no_memory(err);
}

static bool supports(const struct ssh_auth *auth, const char *name)
{
	for (size_t i = 0; i < auth->n_supported; i++)
		if (strcmp(auth->supported[i], name) == 0)
			return true;
	return false;
}

/* An agent may hang, or ask somebody who is not there, and there may be other ways in. */
static struct ssh_until until_tired(struct ssh_until until)
{
	until.deadline_ms -= ssh_left_ms(until) - ssh_left_ms(until) / AGENT_SHARE;
	return until;
}

/* One that is of no use is passed over, as ssh does. */
static enum mer_status find_agent(struct ssh_auth *auth, struct mer_error *err)
{
	const struct ssh_config *config = auth->login->config;
	struct mer_error why;
	if (config->agent == NULL)
		return MER_OK;
	enum mer_status st =
		ssh_agent_open(&auth->agent, config->agent, until_tired(auth->until), &why);
	if (st == MER_OK)
		return st;
	ssh_agent_release(&auth->agent);
	if (st == MER_ECANCELED || st == MER_ENOMEM)
		return mer_fail(err, st, "%s", why.message);
	if (st != MER_ENOTFOUND)
		note(auth, "%s", why.message);
	return MER_OK;
}

static enum mer_status find_files(struct ssh_auth *auth, struct mer_error *err)
{
	char **paths = auth->login->config->identities;
	size_t n = 0;
	while (paths[n] != NULL)
		n++;
	auth->files = calloc(n + 1, sizeof *auth->files);
	if (auth->files == NULL)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		enum mer_status st = ssh_keyfile_read(&auth->files[auth->n_files], paths[i], err);
		if (st == MER_OK)
			auth->n_files++;
		else if (st != MER_ENOTFOUND)
			return st;
	}
	return MER_OK;
}

static const struct ssh_keyfile *file_of(const struct ssh_auth *auth,
                                         const struct ssh_agent_key *held)
{
	for (size_t i = 0; i < auth->n_files; i++)
		if (auth->files[i].blob != NULL && auth->files[i].len == held->len &&
		    memcmp(auth->files[i].blob, held->blob, held->len) == 0)
			return &auth->files[i];
	return NULL;
}

static bool is_offered(const struct ssh_auth *auth, const struct ssh_keyfile *file)
{
	for (size_t i = 0; i < auth->n_offers; i++)
		if (auth->offers[i].file == file)
			return true;
	return false;
}

/* As ssh does: the agent's keys that are files, too; those that are not; files. */
static enum mer_status line_up(struct ssh_auth *auth, struct mer_error *err)
{
	auth->offers = calloc(auth->agent.n + auth->n_files + 1, sizeof *auth->offers);
	if (auth->offers == NULL)
		return no_memory(err);
	for (int pass = 0; pass < (auth->login->config->identities_only ? 1 : 2); pass++)
		for (size_t i = 0; i < auth->agent.n; i++) {
			const struct ssh_keyfile *file = file_of(auth, &auth->agent.keys[i]);
			if ((file != NULL) == (pass == 0))
				auth->offers[auth->n_offers++] = (struct offer){ &auth->agent.keys[i], file };
		}
	for (size_t i = 0; i < auth->n_files; i++)
		if (!is_offered(auth, &auth->files[i]))
			auth->offers[auth->n_offers++] = (struct offer){ NULL, &auth->files[i] };
	return MER_OK;
}

/* --- what of it can be offered -------------------------------------------------------------------- */

static struct mer_str type_of(const struct offer *offer)
{
	MER_ASSERT(offer->held != NULL || offer->file != NULL);
	if (offer->held == NULL)
		return ssh_text(offer->file->type);
	return ssh_key_type((struct mer_str){ (char *)offer->held->blob, offer->held->len });
}

/* Whether ssh would offer a key of that type: PubkeyAcceptedAlgorithms. */
static bool is_accepted(const struct ssh_auth *auth, struct mer_str type)
{
	const char *list = auth->login->config->key_algorithms;
	if (list == NULL || type.len == 0)
		return true;
	const struct mer_str allowed = ssh_text(list);
	return ssh_list_has(allowed, type) ||
	       (ssh_is(type, "ssh-rsa") && (ssh_list_has(allowed, ssh_text("rsa-sha2-512")) ||
	                                    ssh_list_has(allowed, ssh_text("rsa-sha2-256"))));
}

/* Why libssh2 cannot use it; false: it can. */
static bool is_odd(const struct ssh_auth *auth, const struct offer *offer, char why[200])
{
	const struct mer_str type = type_of(offer);
	char name[64], what[100];
	(void)snprintf(name, sizeof name, "%.*s", (int)type.len, type.ptr);
	if (offer->file != NULL)
		(void)snprintf(what, sizeof what, "'%.90s'", offer->file->path);
	else
		(void)snprintf(what, sizeof what, "of the agent, '%.60s'", offer->held->comment);
	remote_say_plain(what);
	if (offer->file != NULL && offer->file->has_certificate)
		(void)snprintf(why, 200, "the key %s has a certificate", what);
	else if (name[0] == '\0')
		(void)snprintf(why, 200, "nobody can tell of what type the key %s is", what);
	else if (strcmp(name, "ssh-rsa") == 0 && !supports(auth, "rsa-sha2-512"))
		(void)snprintf(why, 200, "libssh2 %s cannot sign with the RSA key %s", libssh2_version(0),
		               what);
	else if (strcmp(name, "ssh-rsa") != 0 &&
	         (!supports(auth, name) || strstr(name, "-cert-") != NULL))
		(void)snprintf(why, 200, "libssh2 %s cannot sign with the key %s of type %.40s",
		               libssh2_version(0), what, name);
	else
		return false;
	return true;
}

/* Whether ssh would use the private half, too, without asking anybody. */
static bool is_ready(struct ssh_auth *auth, const struct offer *offer)
{
	const struct ssh_keyfile *file = offer->file;
	if (offer->held != NULL)
		return true;
	if (!file->is_private)
		return false;
	if (file->is_open)
		note(auth, "others may read the key '%.120s': chmod 600", file->path);
	else if (file->is_guarded && auth->login->remote->passphrase == NULL)
		note(auth, "the key '%.100s' has a passphrase: --param passphrase=REF, or an agent",
		     file->path);
	else
		return true;
	return false;
}

static bool needs_libssh2(const struct mer_remote *remote)
{
	return remote->transport == MER_TRANSPORT_LIBSSH2 || remote->password != NULL ||
	       remote->passphrase != NULL;
}

/* Keeps what can be offered. Returns false where ssh would offer more than we can. */
static bool sift(struct ssh_auth *auth, char reason[200])
{
	size_t kept = 0;
	for (size_t i = 0; i < auth->n_offers; i++) {
		const struct offer *offer = &auth->offers[i];
		char why[200];
		if (!is_accepted(auth, type_of(offer)) || !is_ready(auth, offer))
			continue;
		if (!is_odd(auth, offer, why)) {
			auth->offers[kept++] = *offer;
			continue;
		}
		if (!needs_libssh2(auth->login->remote)) {
			memcpy(reason, why, sizeof why);
			return false;
		}
		note(auth, "%s", why);
	}
	auth->n_offers = kept;
	return true;
}

static enum mer_status plan(struct ssh_auth *auth, struct mer_error *err)
{
	enum mer_status st = find_supported(auth, err);
	if (!auth->login->config->by_key)
		return st;
	if (st == MER_OK)
		st = find_agent(auth, err);
	if (st == MER_OK)
		st = find_files(auth, err);
	return st == MER_OK ? line_up(auth, err) : st;
}

enum mer_status ssh_auth_plan(const struct ssh_login *login, struct ssh_until until,
                              struct ssh_auth **out, enum ssh_choice *choice, char reason[200],
                              struct mer_error *err)
{
	const struct mer_remote *remote = login->remote;
	struct ssh_auth *auth = calloc(1, sizeof *auth);
	if (auth == NULL)
		return no_memory(err);
	*auth = (struct ssh_auth){ .login = login, .until = until, .agent = { .fd = -1 } };
	enum mer_status st = plan(auth, err);
	if (st != MER_OK) {
		ssh_auth_free(auth);
		return mer_wrap(err, st, "server '%s'", remote->server);
	}
	bool ours = sift(auth, reason);
	if (ours && auth->n_offers == 0 && login->config->by_gssapi && !needs_libssh2(remote)) {
		(void)snprintf(reason, 200, "there is no key to offer, and GSSAPI is ssh's alone");
		ours = false;
	}
	*choice = ours ? SSH_LIBSSH2 : SSH_OPENSSH;
	if (ours)
		*out = auth;
	else
		ssh_auth_free(auth);
	return MER_OK;
}

/* --- authentication -------------------------------------------------------------------------------- */

/* While it is under way. */
struct trying {
	struct ssh_auth *auth;
	struct ssh_tap *tap;
	LIBSSH2_SESSION *session;
	const char *user;
	char methods[200];         /* what the server says may be tried; "": not known */
	int tries;                 /* that count */
	struct ssh_secret *answer; /* what a keyboard is to say; NULL: it was said */
	const struct offer *offer; /* whose key signs */
	bool mute;                 /* the agent has not signed with it */
	struct mer_error *err;
};

/* Why it ends here, whatever else could be tried. */
static enum mer_status fail(const struct trying *t, enum mer_status st, const char *why)
{
	char text[400];
	const struct mer_remote *remote = t->auth->login->remote;
	if (st == MER_ECANCELED)
		return mer_fail(t->err, st, "canceled");
	remote_say_refused(text, sizeof text, remote->server, why);
	(void)mer_fail(t->err, st, "%s", text);
	if (t->auth->note[0] != '\0')
		mer_hint(t->err, "%s", t->auth->note);
	return st;
}

/* Waits so that the call can be made again. */
static bool again(struct trying *t, int rc, enum mer_status *st)
{
	if (rc != LIBSSH2_ERROR_EAGAIN)
		return false;
	*st = ssh_tap_wait(t->tap, t->session);
	return *st == MER_OK;
}

/* What ends the connection, and so all attempts; MER_OK: something else may be tried. */
static enum mer_status ends(struct trying *t, int rc, enum mer_status st)
{
	char why[300];
	if (st == MER_ECANCELED)
		return fail(t, st, "");
	if (st == MER_ETIMEOUT)
		return fail(t, MER_EUNREACHABLE, "the server stopped answering");
	if (t->tap->flooded)
		return fail(t, MER_EUNREACHABLE, "the server sends more than a login takes");
	if (!t->tap->closed && t->tap->bye[0] == '\0' && rc != LIBSSH2_ERROR_SOCKET_DISCONNECT &&
	    rc != LIBSSH2_ERROR_SOCKET_RECV && rc != LIBSSH2_ERROR_SOCKET_SEND)
		return MER_OK;
	(void)snprintf(why, sizeof why, "the server hung up%s%s", t->tap->bye[0] != '\0' ? ": " : "",
	               t->tap->bye);
	return fail(t, MER_EUNREACHABLE, why);
}

/* Asks what may be tried. *done: nothing need be. */
static enum mer_status ask_methods(struct trying *t, bool *done)
{
	char *list;
	enum mer_status st = MER_OK;
	do {
		list = libssh2_userauth_list(t->session, t->user, (unsigned)strlen(t->user));
	} while (list == NULL && again(t, libssh2_session_last_errno(t->session), &st));
	if (list != NULL) {
		(void)snprintf(t->methods, sizeof t->methods, "%s", list);
		remote_say_plain(t->methods);
		return MER_OK;
	}
	*done = st == MER_OK && libssh2_userauth_authenticated(t->session);
	if (*done)
		return MER_OK;
	const int rc = libssh2_session_last_errno(t->session);
	st = ends(t, rc, st);
	return st != MER_OK ? st : fail(t, MER_EUNREACHABLE, "it answers what no SSH server does");
}

static bool may(const struct trying *t, const char *method)
{
	return ssh_list_has(ssh_text(t->methods), ssh_text(method));
}

/* The flags by which an agent signs what libssh2 wants to be signed: the algorithm stands in it. */
static unsigned flags_of(struct mer_str data)
{
	struct mer_str session, piece;
	if (!ssh_take_string(&data, &session) || data.len < 1)
		return 0;
	data.ptr++; /* the kind of message */
	data.len--;
	for (int i = 0; i < 3; i++) /* user, service, method */
		if (!ssh_take_string(&data, &piece))
			return 0;
	if (data.len < 1)
		return 0;
	data.ptr++; /* that a signature follows */
	data.len--;
	if (!ssh_take_string(&data, &piece))
		return 0;
	return ssh_is(piece, "rsa-sha2-256") ? 2 : ssh_is(piece, "rsa-sha2-512") ? 4 : 0;
}

static LIBSSH2_USERAUTH_PUBLICKEY_SIGN_FUNC(sign)
{
	struct trying *t = *abstract;
	const struct ssh_agent_key *key = t->offer->held;
	const struct mer_str blob = { (char *)key->blob, key->len };
	const struct mer_str message = { (const char *)data, data_len };
	unsigned char *signature = NULL;
	if (ssh_agent_sign(&t->auth->agent, blob, message, flags_of(message),
	                   until_tired(t->tap->until), &signature, sig_len, NULL) == MER_OK) {
		*sig = ssh_heap_take(session, *sig_len + 1);
		if (*sig != NULL)
			memcpy(*sig, signature, *sig_len);
		free(signature);
		return *sig != NULL ? 0 : -1;
	}
	t->mute = true;
	note(t->auth, "the agent does not sign with the key '%.60s'", key->comment);
	return -1;
}

static enum mer_status try_held(struct trying *t, int *rc)
{
	const struct ssh_agent_key *key = t->offer->held;
	void *abstract = t;
	enum mer_status st = MER_OK;
	do {
		*rc = libssh2_userauth_publickey(t->session, t->user, key->blob, key->len, sign, &abstract);
	} while (again(t, *rc, &st));
	return st;
}

/* Whether it is no answer of the server: then nothing was sent. */
static bool is_local(int rc)
{
	return rc != 0 && rc != LIBSSH2_ERROR_AUTHENTICATION_FAILED &&
	       rc != LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED && rc != LIBSSH2_ERROR_EAGAIN;
}

static enum mer_status try_file(struct trying *t, int *rc)
{
	const struct ssh_keyfile *file = t->offer->file;
	struct ssh_secret key = { 0 }, passphrase = { 0 };
	enum mer_status st = MER_OK;
	if (file->is_guarded)
		st = ssh_secret_resolve(&passphrase, t->auth->login->remote->passphrase, t->err);
	if (st != MER_OK)
		return mer_wrap(t->err, st, "server '%s': passphrase", t->auth->login->remote->server);
	*rc = LIBSSH2_ERROR_FILE;
	if (ssh_secret_read(&key, file->path, NULL) == MER_OK)
		do {
			*rc = libssh2_userauth_publickey_frommemory(t->session, t->user, strlen(t->user), NULL,
			                                            0, key.text, key.len, passphrase.text);
		} while (again(t, *rc, &st));
	ssh_secret_release(&key);
	ssh_secret_release(&passphrase);
	if (st == MER_OK && is_local(*rc))
		note(t->auth,
		     file->is_guarded ? "the passphrase of the key '%.120s' is wrong"
		                      : "libssh2 cannot read the key '%.120s'",
		     file->path);
	return st;
}

/* By the agent; where that does not sign, by the key's file. */
static enum mer_status try_offer(struct trying *t, int *rc)
{
	const struct offer alone = { NULL, t->offer->file };
	if (t->offer->held == NULL)
		return try_file(t, rc);
	t->mute = false;
	enum mer_status st = try_held(t, rc);
	if (st == MER_OK && t->mute && alone.file != NULL && is_ready(t->auth, &alone))
		st = try_file(t, rc);
	return st;
}

static bool is_known_status(enum mer_status st)
{
	return st == MER_OK || st == MER_ETIMEOUT || st == MER_ECANCELED;
}

/* The keys. *done: one was taken; how says which. */
static enum mer_status try_keys(struct trying *t, bool *done, char how[100])
{
	struct ssh_auth *auth = t->auth;
	const int most = TRIES_MAX - (auth->login->remote->password != NULL);
	for (size_t i = 0; i < auth->n_offers && t->tries < most && may(t, "publickey"); i++) {
		int rc = 0;
		t->offer = &auth->offers[i];
		enum mer_status st = try_offer(t, &rc);
		if (!is_known_status(st))
			return st;
		*done = st == MER_OK && rc == 0;
		(void)snprintf(how, 100, "publickey %s%s",
		               t->offer->file != NULL ? t->offer->file->path : "of the agent, ",
		               t->offer->file != NULL ? "" : t->offer->held->comment);
		if (*done)
			return MER_OK;
		st = ends(t, rc, st);
		t->tries += !is_local(rc);
		/* One that was good may not be all that is asked for. */
		if (st == MER_OK && rc == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED)
			st = ask_methods(t, done);
		if (st != MER_OK || *done)
			return st;
	}
	if (auth->n_offers > (size_t)most && t->tries >= most)
		note(auth,
		     "%d keys were offered, no server takes more: IdentityFile and IdentitiesOnly=yes",
		     t->tries);
	return MER_OK;
}

/* A single question whose answer is not to be seen is taken for that of the password, once. */
static LIBSSH2_USERAUTH_KBDINT_RESPONSE_FUNC(answer)
{
	struct ssh_tap *tap = *abstract;
	struct trying *t = tap->ctx;
	(void)name, (void)name_len, (void)instruction, (void)instruction_len;
	if (num_prompts != 1 || prompts[0].echo || t->answer == NULL)
		return;
	responses[0].text = ssh_heap_take(t->session, t->answer->len + 1);
	if (responses[0].text == NULL)
		return;
	memcpy(responses[0].text, t->answer->text, t->answer->len);
	responses[0].length = (unsigned)t->answer->len;
	t->answer = NULL;
}

/* An expired one is not changed here; without this libssh2 tells it as a wrong one. */
static LIBSSH2_PASSWD_CHANGEREQ_FUNC(keep_password)
{
	(void)session, (void)abstract;
	*newpw = NULL;
	*newpw_len = 0;
}

/* One attempt, whichever method takes it: who guesses is locked out. */
static enum mer_status try_password(struct trying *t, bool *done, char how[100])
{
	const struct ssh_login *login = t->auth->login;
	struct ssh_secret secret = { 0 };
	const bool plain = login->config->by_password && may(t, "password");
	int rc;
	enum mer_status st = ssh_secret_resolve(&secret, login->remote->password, t->err);
	if (st != MER_OK)
		return mer_wrap(t->err, st, "server '%s': password", login->remote->server);
	t->answer = &secret;
	t->tap->ctx = t;
	do {
		rc = plain ? libssh2_userauth_password_ex(t->session, t->user, (unsigned)strlen(t->user),
		                                          secret.text, (unsigned)secret.len, keep_password)
		           : libssh2_userauth_keyboard_interactive_ex(t->session, t->user,
		                                                      (unsigned)strlen(t->user), answer);
	} while (again(t, rc, &st));
	const bool asked = t->answer == NULL;
	t->answer = NULL;
	t->tap->ctx = NULL;
	ssh_secret_release(&secret);
	*done = st == MER_OK && rc == 0;
	(void)snprintf(how, 100, plain ? "password" : "keyboard-interactive");
	if (*done)
		return MER_OK;
	if (st == MER_OK && rc == LIBSSH2_ERROR_PASSWORD_EXPIRED)
		return fail(t, MER_EUNREACHABLE, "the password has expired");
	st = ends(t, rc, st);
	if (st == MER_OK && !plain && !asked)
		note(t->auth, "the server asks for something else than a password");
	return st;
}

static enum mer_status authenticate(struct trying *t, char how[100])
{
	const struct ssh_config *config = t->auth->login->config;
	char why[400];
	bool done = false;
	(void)snprintf(how, 100, "none");
	enum mer_status st = ask_methods(t, &done);
	if (st == MER_OK && !done)
		st = try_keys(t, &done, how);
	if (st == MER_OK && !done && t->auth->login->remote->password != NULL &&
	    ((config->by_password && may(t, "password")) ||
	     (config->by_keyboard && may(t, "keyboard-interactive"))))
		st = try_password(t, &done, how);
	if (st != MER_OK || done)
		return st;
	(void)snprintf(why, sizeof why, "%.80s@%.100s: Permission denied (%.150s).", config->user,
	               config->hostname, t->methods);
	return fail(t, MER_EUNREACHABLE, why);
}

enum mer_status ssh_auth_run(struct ssh_auth *auth, struct ssh_tap *tap, LIBSSH2_SESSION *session,
                             char how[100], struct mer_error *err)
{
	struct trying trying = {
		.auth = auth, .tap = tap, .session = session, .user = auth->login->config->user, .err = err
	};
	enum mer_status st = authenticate(&trying, how);
	remote_say_plain(how);
	return st;
}
