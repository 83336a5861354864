/* A session of libssh2 that is logged in; ssh_login.h. */
#include "ssh_login.h"

#include "remote_say.h"
#include "ssh_auth.h"
#include "ssh_dial.h"
#include "ssh_hello.h"
#include "ssh_known.h"
#include "ssh_piece.h"
#include "ssh_tap.h"

#include <fcntl.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

/* What is under way; all owned. */
struct way {
	struct ssh_login *login;
	struct ssh_known known;
	struct ssh_auth *auth;
	struct ssh_tap tap;
	LIBSSH2_SESSION *session;
	char *lists[SSH_LIST_COUNT]; /* what we would agree upon */
	struct ssh_until soon;       /* until the keys are exchanged */
	enum ssh_choice *choice;
	char *reason;
	struct mer_error *err;
};

static enum mer_status unreachable(const struct way *way, enum mer_status st, const char *why)
{
	char text[400];
	remote_say_unreachable(text, sizeof text, way->login->remote->server, why);
	return mer_fail(way->err, st, "%s", text);
}

/* Leaves it to ssh, which is no failure. */
static enum mer_status leave(const struct way *way, const char *why)
{
	(void)snprintf(way->reason, 200, "%s", why);
	*way->choice = SSH_OPENSSH;
	return MER_OK;
}

static enum mer_status cancelled(const struct way *way)
{
	return mer_fail(way->err, MER_ECANCELED, "canceled");
}

/* --- before the connection ------------------------------------------------------------------------ */

/* Of what is allowed what libssh2 has, in the order of the former. */
static enum mer_status in_common(const struct way *way, const char *allowed, int method, char **out)
{
	const char **names = NULL;
	struct mer_buf buf;
	struct mer_str rest = ssh_text(allowed), name;
	int n = libssh2_session_supported_algs(way->session, method, &names);
	mer_buf_init(&buf, 4096);
	while (ssh_list_next(&rest, &name))
		for (int i = 0; i < n; i++)
			if (ssh_is(name, names[i]))
				mer_buf_printf(&buf, "%s%s", buf.len > 0 ? "," : "", names[i]);
	if (n > 0)
		libssh2_free(way->session, (void *)names);
	mer_buf_add(&buf, "", 1);
	return mer_buf_take(&buf, out, NULL, way->err);
}

static enum mer_status order_host_keys(const struct way *way, bool *lost, char **out)
{
	const char **names = NULL;
	int n = libssh2_session_supported_algs(way->session, LIBSSH2_METHOD_HOSTKEY, &names);
	enum mer_status st = ssh_known_order(&way->known, way->login->config->host_keys, names,
	                                     n > 0 ? (size_t)n : 0, out, lost, way->err);
	if (n > 0)
		libssh2_free(way->session, (void *)names);
	return st;
}

static enum mer_status prefer(struct way *way)
{
	const struct ssh_config *config = way->login->config;
	const struct {
		int method;
		const char *allowed;
	} rows[SSH_LIST_COUNT] = {
		[SSH_LIST_KEX] = { LIBSSH2_METHOD_KEX, config->kex },
		[SSH_LIST_HOST_KEYS] = { LIBSSH2_METHOD_HOSTKEY, config->host_keys },
		[SSH_LIST_CIPHERS_TO] = { LIBSSH2_METHOD_CRYPT_CS, config->ciphers },
		[SSH_LIST_CIPHERS_FROM] = { LIBSSH2_METHOD_CRYPT_SC, config->ciphers },
		[SSH_LIST_MACS_TO] = { LIBSSH2_METHOD_MAC_CS, config->macs },
		[SSH_LIST_MACS_FROM] = { LIBSSH2_METHOD_MAC_SC, config->macs },
	};
	bool lost = false;
	for (size_t i = 0; i < SSH_LIST_COUNT; i++) {
		enum mer_status st = i == SSH_LIST_HOST_KEYS
		                         ? order_host_keys(way, &lost, &way->lists[i])
		                         : in_common(way, rows[i].allowed, rows[i].method, &way->lists[i]);
		if (st != MER_OK)
			return st;
		if (libssh2_session_method_pref(way->session, rows[i].method, way->lists[i]) != 0)
			return leave(way, "libssh2 has nothing of what ssh's configuration allows");
	}
	if (!lost)
		return MER_OK;
	return leave(way, "the keys that are known of the host are of types that libssh2 cannot check");
}

static enum mer_status prepare(struct way *way)
{
	struct ssh_login *login = way->login;
	enum mer_status st = ssh_known_init(&way->known, login->config, way->err);
	if (st == MER_OK)
		st = ssh_known_load(&way->known, login->config, way->err);
	if (st != MER_OK)
		return st;
	way->session = ssh_tap_on(&way->tap);
	if (way->session == NULL)
		return mer_fail(way->err, MER_ENOMEM, "out of memory");
	st = prefer(way);
	if (st == MER_OK && *way->choice == SSH_LIBSSH2)
		st = ssh_auth_plan(login, way->soon, &way->auth, way->choice, way->reason, way->err);
	return st;
}

/* --- connection and keys ---------------------------------------------------------------------------- */

static enum mer_status dial(struct way *way)
{
	struct ssh_login *login = way->login;
	struct mer_error err = { .message = "" };
	if (login->fd >= 0) { /* a stream through another host */
		int flags = fcntl(login->fd, F_GETFL);
		(void)fcntl(login->fd, F_SETFL, flags | O_NONBLOCK);
		return MER_OK;
	}
	enum mer_status st = ssh_dial(login->config, way->soon, &login->fd, &err);
	if (st == MER_ECANCELED)
		return cancelled(way);
	return st == MER_OK ? st : unreachable(way, st, err.message);
}

/* "HOST port P" */
static void name_place(const struct way *way, char text[160])
{
	(void)snprintf(text, 160, "%.120s port %lld", way->login->config->hostname,
	               (long long)way->login->config->port);
}

/* No banner has come. */
static enum mer_status explain_silence(const struct way *way, const struct ssh_hello *hello,
                                       bool late)
{
	char why[300], place[160], said[100];
	name_place(way, place);
	(void)snprintf(said, sizeof said, "%.*s", hello->said.len < 80 ? (int)hello->said.len : 80,
	               hello->said.ptr);
	remote_say_plain(said);
	const char *colon = said[0] != '\0' ? ": " : "";
	if (late && said[0] == '\0')
		(void)snprintf(why, sizeof why, "%s took the connection, but no SSH server answers", place);
	else if (late || !way->tap.closed)
		(void)snprintf(why, sizeof why, "%s is no SSH server%s%s", place, colon, said);
	else
		(void)snprintf(why, sizeof why, "%s hung up before it said who it is%s%s", place, colon,
		               said);
	const bool busy = way->tap.closed && (said[0] == '\0' || strstr(said, "MaxStartups") != NULL);
	return unreachable(way, busy ? MER_EBUSY : MER_EUNREACHABLE, why);
}

static enum mer_status explain_keys(struct way *way, bool late)
{
	char why[300], place[160], *text = NULL;
	struct ssh_hello hello;
	name_place(way, place);
	ssh_hello_read(&hello, (struct mer_str){ way->tap.hello.ptr, way->tap.hello.len });
	if (hello.banner.len == 0)
		return explain_silence(way, &hello, late);
	const char *const ours[SSH_LIST_COUNT] = { way->lists[0], way->lists[1], way->lists[2],
		                                       way->lists[3], way->lists[4], way->lists[5] };
	char lacks[160] = "";
	if (hello.has_lists && !ssh_hello_agrees(&hello, ours, lacks)) {
		remote_say_plain(lacks);
		return leave(way, lacks);
	}
	(void)libssh2_session_last_error(way->session, &text, NULL, 0);
	const char *what = late                      ? "it stopped answering"
	                   : way->tap.flooded        ? "it sends more than a login takes"
	                   : way->tap.bye[0] != '\0' ? way->tap.bye
	                   : way->tap.closed         ? "it hung up"
	                                             : text;
	(void)snprintf(why, sizeof why, "the key exchange with %s failed: %.100s", place, what);
	return unreachable(way, MER_EUNREACHABLE, why);
}

static enum mer_status exchange_keys(struct way *way)
{
	int rc;
	enum mer_status st = MER_OK;
	way->tap.fd = way->login->fd;
	way->tap.until = way->soon;
	while ((rc = libssh2_session_handshake(way->session, way->tap.fd)) == LIBSSH2_ERROR_EAGAIN &&
	       st == MER_OK)
		st = ssh_tap_wait(&way->tap, way->session);
	if (st == MER_ECANCELED)
		return cancelled(way);
	return rc == 0 ? MER_OK : explain_keys(way, st == MER_ETIMEOUT);
}

/* --- the host's key ------------------------------------------------------------------------------------ */

static enum mer_status refuse_key(const struct way *way, enum ssh_known_verdict verdict,
                                  const struct ssh_known_line *line, const char *fingerprint)
{
	const struct mer_remote *remote = way->login->remote;
	char text[500], where[200] = "";
	if (line != NULL)
		(void)snprintf(where, sizeof where, "%.180s:%d", line->file, line->number);
	if (verdict == SSH_KNOWN_IS_REVOKED)
		remote_say_revoked(text, sizeof text, remote->server, remote->host);
	else if (verdict == SSH_KNOWN_CHANGED || way->login->config->accept_new)
		remote_say_changed(text, sizeof text, remote->server, remote->host, fingerprint, where);
	else
		remote_say_unknown(text, sizeof text, remote->server, remote->host);
	return mer_fail(way->err, MER_EUNREACHABLE, "%s", text);
}

/* A key of another type than those that are known is taken for a change: who is in between would show
 * just that. */
static enum mer_status check_key(struct way *way, char shown[130])
{
	struct mer_str blob = { NULL, 0 };
	const struct ssh_known_line *line = NULL;
	char fingerprint[SSH_FINGERPRINT_SIZE];
	int type;
	blob.ptr = libssh2_session_hostkey(way->session, &blob.len, &type);
	if (blob.ptr == NULL || ssh_key_type(blob).len == 0)
		return unreachable(way, MER_EUNREACHABLE, "it shows no host key");
	ssh_fingerprint(blob, fingerprint);
	(void)snprintf(shown, 130, "%.*s %s", (int)ssh_key_type(blob).len, ssh_key_type(blob).ptr,
	               fingerprint);
	const enum ssh_known_verdict verdict = ssh_known_check(&way->known, blob, &line);
	if (verdict == SSH_KNOWN_YES)
		return MER_OK;
	if (verdict == SSH_KNOWN_NEW && line == NULL && way->login->config->accept_new)
		return ssh_known_add(&way->known, way->login->config, blob, way->err);
	return refuse_key(way, verdict, line, fingerprint);
}

/* --- all of it ------------------------------------------------------------------------------------------- */

/* Says farewell, if there is room for it, since a server counts who leaves without a word. */
static void hang_up(LIBSSH2_SESSION *session)
{
	for (int i = 0; i < 3; i++)
		if (libssh2_session_disconnect(session, "leaving") != LIBSSH2_ERROR_EAGAIN)
			break;
	ssh_heap_free(session);
}

static enum mer_status go(struct way *way, char shown[130], char by[100])
{
	struct ssh_times *times = &way->login->times;
	enum mer_status st = prepare(way);
	if (st != MER_OK || *way->choice != SSH_LIBSSH2)
		return st;
	int64_t since_us = mer_clock_us();
	st = dial(way);
	times->connect_us = mer_clock_us() - since_us;
	since_us += times->connect_us;
	if (st == MER_OK)
		st = exchange_keys(way);
	if (st == MER_OK && *way->choice == SSH_LIBSSH2)
		st = check_key(way, shown);
	times->kex_us = mer_clock_us() - since_us;
	since_us += times->kex_us;
	if (st != MER_OK || *way->choice != SSH_LIBSSH2)
		return st;
	way->tap.until.deadline_ms = way->login->deadline_ms;
	st = ssh_auth_run(way->auth, &way->tap, way->session, by, way->err);
	times->auth_us = mer_clock_us() - since_us;
	return st;
}

static void leave_behind(struct way *way, bool good)
{
	struct ssh_login *login = way->login;
	if (good) {
		ssh_tap_off(&way->tap, way->session, &login->heap);
		login->session = way->session;
	} else {
		if (way->session != NULL)
			hang_up(way->session);
		if (login->fd >= 0)
			(void)close(login->fd);
		login->fd = -1;
	}
	ssh_tap_release(&way->tap);
	ssh_auth_free(way->auth);
	ssh_known_release(&way->known);
	for (size_t i = 0; i < SSH_LIST_COUNT; i++)
		free(way->lists[i]);
}

enum mer_status ssh_login(struct ssh_login *login, enum ssh_choice *choice, char reason[200],
                          struct mer_error *err)
{
	char shown[130] = "", by[100] = "";
	struct way way = { .login = login, .choice = choice, .reason = reason, .err = err };
	const int64_t soon_ms = mer_clock_ms() + login->config->connect_timeout_s * 1000;
	way.soon = (struct ssh_until){ login->cancel_fd,
		                           soon_ms < login->deadline_ms ? soon_ms : login->deadline_ms };
	login->session = NULL;
	login->how[0] = reason[0] = '\0';
	*choice = SSH_LIBSSH2;
	enum mer_status st = go(&way, shown, by);
	const bool good = st == MER_OK && *choice == SSH_LIBSSH2;
	if (good)
		(void)snprintf(login->how, sizeof login->how, "libssh2 %.12s, %.75s, %.50s",
		               libssh2_version(0), shown, by);
	leave_behind(&way, good);
	return st;
}
