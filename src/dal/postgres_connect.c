/*
 * The connection: its URL, its password, making it, and making it again when it was lost.
 *
 * What libpq finds by itself (PG* variables, ~/.pgpass, service files, sslmode) holds. Settings of a
 * session go with its start, so that RESET ALL comes back to them.
 */
#include "postgres.h"

#include <limits.h>
#include <mer/clean.h>
#include <mer/ref.h>
#include <mer/text.h>
#include <mer/url.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	CONNECT_MS = 30000, /* for a server that restarts; as SQLite waits for other programs */
	NAP_FIRST_MS = 20,
	NAP_MAX_MS = 1000,
};

/* A statement of a run takes milliseconds and waits for no other for long: what takes longer is
 * stuck, and holds up whoever waits for its rows. What copies or changes a whole database takes
 * as long as it does. A client that is gone without a word is noticed within a minute, as a server is
 * (start), and with it its locks. */
#define SETTINGS \
	"-c client_min_messages=warning -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 " \
	"-c tcp_keepalives_count=3 -c tcp_user_timeout=60000"
#define LIMITS \
	SETTINGS " -c statement_timeout=60s -c lock_timeout=30s " \
			 "-c idle_in_transaction_session_timeout=60s"

/* --- the URL ------------------------------------------------------------------------------ */

static void wipe(PQconninfoOption *options)
{
	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++) {
		if (option->val != NULL && strcmp(option->keyword, "password") == 0)
			explicit_bzero(option->val, strlen(option->val));
	}
	PQconninfoFree(options);
}

static void options_done(PQconninfoOption **options)
{
	wipe(*options);
}

/* The value of a URL's parameter, or NULL. */
static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
	for (; options != NULL && options->keyword != NULL; options++) {
		if (strcmp(options->keyword, keyword) == 0)
			return options->val;
	}
	return NULL;
}

static enum mer_status fail_url(struct mer_error *err, const char *why)
{
	(void)mer_fail(err, MER_EINPUT, "the database URL cannot be read: %s", why);
	mer_hint(err, "postgres://USER@HOST:PORT/NAME; in a password '/' is %%2F, '@' %%40, ':' %%3A, "
	              "'%%' %%25");
	return MER_EINPUT;
}

/* What libpq says of a URL quotes it, password and all: it is cut before that. */
static enum mer_status fail_parse(struct mer_error *err, char *said)
{
	char line[120];
	if (said == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for a URL");
	(void)snprintf(line, sizeof line, "%.*s", (int)strcspn(said, "\"\n"), said);
	explicit_bzero(said, strlen(said));
	PQfreemem(said);
	for (size_t n = strlen(line); n > 0 && strchr(": (", line[n - 1]) != NULL; n--)
		line[n - 1] = '\0';
	return fail_url(err, line);
}

/* A password with a bare '/' or ':' in it makes a URL that can be read, but wrongly; then parts of it
 * would be shown as host, port or database. */
static enum mer_status check_url(const char *url, const PQconninfoOption *options,
                                 struct mer_error *err)
{
	const char *port = value_of(options, "port"), *database = value_of(options, "dbname");
	const char *host = value_of(options, "host");
	if (port != NULL && port[strspn(port, "0123456789,")] != '\0')
		return fail_url(err, "the port is no number");
	if ((database != NULL && strchr(database, '@') != NULL && strstr(url, "%40") == NULL) ||
	    (host != NULL && *host != '/' && strchr(host, '@') != NULL))
		return fail_url(err, "an '@' where none belongs");
	return MER_OK;
}

/* Ours first, so that the user's win. */
static char *make_options(unsigned flags, const char *wanted)
{
	const unsigned patient = MER_DAL_ANY_SCHEMA | MER_DAL_READ | MER_DAL_LONG;
	const char *ours = (flags & patient) != 0 ? SETTINGS : LIMITS;
	if (wanted == NULL)
		wanted = getenv("PGOPTIONS");
	/* But for this: what a script's strings are is known before it runs. */
	return mer_text_new("%s%s%s -c standard_conforming_strings=on", ours, wanted != NULL ? " " : "",
	                    wanted != NULL ? wanted : "");
}

enum mer_status pg_read_url(struct postgres *pg, const char *rest, struct mer_error *err)
{
	if (*rest != '\0' && strncmp(rest, "//", 2) != 0)
		return fail_url(err, "'//' is missing behind 'postgres:'");
	pg->conninfo = mer_text_new("postgres:%s", *rest != '\0' ? rest : "//");
	pg->base.url = mer_text_new("postgres:%s", rest);
	if (pg->conninfo == NULL || pg->base.url == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for a URL");
	mer_url_hide(pg->base.url);
	pg->name = strndup(pg->base.url, strcspn(pg->base.url, "?")); /* none is left in the user */
	pg->base.name = pg->name;
	char *said = NULL;
	MER_AUTO(options_done) PQconninfoOption *options = PQconninfoParse(pg->conninfo, &said);
	if (options == NULL)
		return fail_parse(err, said);
	enum mer_status st = check_url(pg->conninfo, options, err);
	if (st != MER_OK)
		return st;
	pg->options = make_options(pg->flags, value_of(options, "options"));
	pg->has_password = value_of(options, "password") != NULL;
	if (pg->options == NULL || pg->name == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for a URL");
	return MER_OK;
}

/* --- cancelling --------------------------------------------------------------------------- */

void pg_cancel(struct mer_dal *dal)
{
	struct postgres *pg = as_postgres(dal);
	pg->canceled = 1;
	PGcancel *cancel = atomic_load(&pg->cancel);
	char why[256];
	if (cancel != NULL) /* whether it came in time, the call under way will tell */
		(void)PQcancel(cancel, why, sizeof why);
}

/* --- connecting --------------------------------------------------------------------------- */

static void on_notice(void *ctx, const char *message)
{
	(void)ctx, (void)message;
}

/* The password that MER_DATABASE_PASSWORD refers to; NULL where libpq is to look itself. */
static enum mer_status fetch_password(const struct postgres *pg, char **out, struct mer_error *err)
{
	const char *ref = getenv("MER_DATABASE_PASSWORD");
	*out = NULL;
	if (pg->has_password || ref == NULL || *ref == '\0')
		return MER_OK;
	enum mer_status st = mer_ref_check("MER_DATABASE_PASSWORD", ref, err);
	if (st != MER_OK)
		return st;
	st = mer_ref_resolve(ref, out, err);
	return st == MER_OK ? st : mer_wrap(err, st, "MER_DATABASE_PASSWORD");
}

/* How long libpq waits for one address; -1: for ever. */
static int64_t limit_ms(PGconn *conn)
{
	MER_AUTO(options_done) PQconninfoOption *options = PQconninfo(conn);
	const char *text = value_of(options, "connect_timeout");
	const int64_t seconds = text != NULL ? atoi(text) : 0;
	return seconds <= 0 ? -1 : 1000 * (seconds == 1 ? 2 : seconds);
}

/* Whether it tries another address than before. */
static bool has_moved(const PGconn *conn, char at[512])
{
	char now[512];
	const char *host = PQhost(conn), *address = PQhostaddr(conn), *port = PQport(conn);
	(void)snprintf(now, sizeof now, "%s %s %s", host != NULL ? host : "",
	               address != NULL ? address : "", port != NULL ? port : "");
	if (strcmp(at, now) == 0)
		return false;
	memcpy(at, now, sizeof now);
	return true;
}

/* As PQconnectdbParams(), but what the server says behind its greeting is ours from the first byte on:
 * there the connection is used already, and libpq writes what it says to stderr. An address that takes
 * too long is cut off, so that libpq goes on to the next. NULL: out of memory. */
static PGconn *dial(const char *const keys[], const char *const values[], PGVerbosity verbosity,
                    bool *late)
{
	char at[512] = "";
	*late = false;
	PGconn *conn = PQconnectStartParams(keys, values, 1);
	if (conn == NULL || PQstatus(conn) == CONNECTION_BAD)
		return conn;
	(void)PQsetNoticeProcessor(conn, on_notice, NULL);
	(void)PQsetErrorVerbosity(conn, verbosity);
	const int64_t limit = limit_ms(conn);
	int64_t until = -1;
	PostgresPollingStatusType wants = PGRES_POLLING_WRITING;
	while (wants == PGRES_POLLING_READING || wants == PGRES_POLLING_WRITING) {
		const int64_t now = mer_clock_ms();
		if (has_moved(conn, at)) {
			*late = false;
			until = limit >= 0 ? now + limit : -1;
		}
		struct pollfd end = { .fd = PQsocket(conn),
			                  .events = wants == PGRES_POLLING_READING ? POLLIN : POLLOUT };
		const int64_t left = until < 0 ? -1 : until > now ? until - now : 0;
		int n = end.fd < 0 ? 1 : poll(&end, 1, left < INT_MAX ? (int)left : INT_MAX);
		if (n == 0 && left == 0) {
			*late = true;
			until = -1; /* its end is told at once */
			(void)shutdown(end.fd, SHUT_RDWR);
		}
		if (n > 0)
			wants = PQconnectPoll(conn);
	}
	return conn;
}

/* One try to connect, which may outlive the connection that it is for. */
struct attempt {
	struct pg_aside aside;
	const char *program; /* static */
	char *conninfo, *options, *password;
	bool was_there; /* the server, once */
	PGconn *conn;   /* what came of it; NULL: no memory */
	bool later;     /* trying again may help */
	bool late;      /* it took too long */
};

enum { PARAMETERS = 10 };

/* What the URL says beats what stands before it and is beaten by what stands behind it. */
static PGconn *connect_to(struct attempt *attempt)
{
	const char *keys[PARAMETERS + 1] = { NULL }, *values[PARAMETERS + 1] = { NULL };
	size_t n = 0;
#define ADD(key, value) (keys[n] = (key), values[n++] = (value))
	ADD("fallback_application_name", attempt->program);
	if (getenv("PGCONNECT_TIMEOUT") == NULL)
		ADD("connect_timeout", "10");
	/* A host that is gone without a word is noticed within a minute. */
	ADD("keepalives_idle", "30");
	ADD("keepalives_interval", "10");
	ADD("keepalives_count", "3");
	ADD("tcp_user_timeout", "60000");
	ADD("dbname", attempt->conninfo);
	ADD("options", attempt->options);
	ADD("client_encoding", "UTF8");
	if (attempt->password != NULL)
		ADD("password", attempt->password);
#undef ADD
	return dial(keys, values, PQERRORS_DEFAULT, &attempt->late);
}

/* What a server had to say to a connection of PQERRORS_SQLSTATE. */
enum answer { ANSWER_NONE, ANSWER_NOT_NOW, ANSWER_GIVEN };

/* Its code stands at the end of a line, behind a word of any language. */
static enum answer answer_of(const PGconn *conn)
{
	static const char marks[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	if (PQstatus(conn) == CONNECTION_OK || PQconnectionNeedsPassword(conn) != 0)
		return ANSWER_GIVEN;
	const char *code = PQerrorMessage(conn);
	while ((code = strstr(code, ":  ")) != NULL) {
		code += 3;
		if (strspn(code, marks) == 5)
			return strncmp(code, "57P03", 5) == 0 ? ANSWER_NOT_NOW : ANSWER_GIVEN;
	}
	return ANSWER_NONE;
}

/* Whether a server may let us in soon: one that lets nobody in while it starts or stops, or, where it
 * was there before, one that is away. One that answers has come back since, or does not want us. */
static bool may_come_back(const struct attempt *attempt)
{
	const char *said = PQerrorMessage(attempt->conn);
	if (strstr(said, "too many clients") != NULL || strstr(said, "connection slots") != NULL)
		return attempt->was_there;
	const char *keys[] = { "connect_timeout", "dbname", NULL };
	const char *values[] = { "2", attempt->conninfo, NULL };
	bool late;
	PGconn *conn = dial(keys, values, PQERRORS_SQLSTATE, &late);
	const enum answer answer = conn != NULL ? answer_of(conn) : ANSWER_NONE;
	PQfinish(conn);
	return answer == ANSWER_NOT_NOW || (answer == ANSWER_NONE && attempt->was_there);
}

static void run_attempt(struct pg_aside *aside)
{
	struct attempt *attempt = (struct attempt *)aside;
	attempt->conn = connect_to(attempt);
	if (attempt->conn != NULL && PQstatus(attempt->conn) != CONNECTION_OK)
		attempt->later = may_come_back(attempt);
}

static void free_attempt(struct pg_aside *aside)
{
	struct attempt *attempt = (struct attempt *)aside;
	PQfinish(attempt->conn);
	mer_ref_wipe(attempt->conninfo);
	mer_ref_wipe(attempt->password);
	free(attempt->options);
	free(attempt);
}

static enum mer_status make_attempt(const struct postgres *pg, struct attempt **out,
                                    struct mer_error *err)
{
	struct attempt *attempt = calloc(1, sizeof *attempt);
	if (attempt == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for a connection");
	attempt->aside = (struct pg_aside){ .run = run_attempt, .free = free_attempt };
	attempt->program = (pg->flags & MER_DAL_ANY_SCHEMA) != 0 ? "mer-migrate" : "mer";
	attempt->was_there = pg->base.session > 0;
	attempt->conninfo = strdup(pg->conninfo);
	attempt->options = strdup(pg->options);
	enum mer_status st = MER_OK;
	if (attempt->conninfo == NULL || attempt->options == NULL)
		st = mer_fail(err, MER_ENOMEM, "out of memory for a connection");
	if (st == MER_OK)
		st = fetch_password(pg, &attempt->password, err);
	if (st == MER_OK)
		*out = attempt;
	else
		free_attempt(&attempt->aside);
	return st;
}

/* Other encodings lack characters that rows of runs hold. */
static enum mer_status check_encoding(const struct postgres *pg, const PGconn *conn,
                                      struct mer_error *err)
{
	const char *encoding = PQparameterStatus(conn, "server_encoding");
	if (encoding == NULL || strcmp(encoding, "UTF8") == 0)
		return MER_OK;
	(void)mer_fail(err, MER_EDATABASE, "the database '%s' is of encoding %s instead of UTF8",
	               pg->base.name, encoding);
	mer_hint(err, "make another: CREATE DATABASE mer ENCODING 'UTF8' TEMPLATE template0");
	return MER_EDATABASE;
}

/* As good as a connection gets before its first statement. */
static void take(struct postgres *pg, PGconn *conn)
{
	MER_ASSERT(PQenterPipelineMode(conn) == 1);
	if (pg->base.haste != NULL)
		(void)PQsetnonblocking(conn, 1); /* sending too is waited for in pg_result() */
	pg->conn = conn;
	pg->away = false;
	atomic_store(&pg->cancel, PQgetCancel(conn));
	const char *standby = PQparameterStatus(conn, "in_hot_standby");
	const char *read_only = PQparameterStatus(conn, "default_transaction_read_only");
	pg->base.read_only = (standby != NULL && strcmp(standby, "on") == 0) ||
	                     (read_only != NULL && strcmp(read_only, "on") == 0);
	pg->base.session++;
}

static enum mer_status take_attempt(struct postgres *pg, struct attempt *attempt,
                                    struct mer_error *err)
{
	if (attempt->conn == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for a connection");
	if (PQstatus(attempt->conn) != CONNECTION_OK)
		return pg_fail_connect(
			pg, attempt->late ? "timeout expired" : PQerrorMessage(attempt->conn), err);
	enum mer_status st = check_encoding(pg, attempt->conn, err);
	if (st != MER_OK)
		return st;
	take(pg, attempt->conn);
	attempt->conn = NULL;
	return MER_OK;
}

/* Connects once; *later tells whether trying again may help. */
static enum mer_status try_connect(struct postgres *pg, int64_t began_ms, bool *later,
                                   struct mer_error *err)
{
	struct attempt *attempt = NULL;
	*later = false;
	enum mer_status st = make_attempt(pg, &attempt, err);
	if (st != MER_OK)
		return st;
	if (!pg_aside_run(pg, &attempt->aside, began_ms))
		return pg_fail_canceled(pg, err);
	st = take_attempt(pg, attempt, err);
	*later = attempt->later;
	pg_aside_free(&attempt->aside);
	return st;
}

void pg_disconnect(struct postgres *pg)
{
	/* Whoever is about to use it, in another thread, may do so until the next time. */
	PQfreeCancel(pg->old_cancel);
	pg->old_cancel = atomic_exchange(&pg->cancel, NULL);
	PQfinish(pg->conn);
	pg->conn = NULL;
	pg->given_up = false;
	pg->n_sent = 0;
	pg_batch_clear(&pg->batch);
	memset(pg->prepared, PG_NOT_PREPARED, sizeof pg->prepared);
	pg->ledger_prepared = pg->reads_committed = false;
	pg->gone = pg->gone || pg_holds(pg, MER_LOCK_MIGRATE);
}

enum mer_status pg_connect(struct postgres *pg, struct mer_error *err)
{
	/* One outage is waited for once; after that each call looks whether it is over. */
	const bool waits = !pg->away && !pg->base.impatient;
	const int64_t began = mer_clock_ms(), until = began + (waits ? CONNECT_MS : 0);
	int refused = 0;
	for (int64_t nap_ms = NAP_FIRST_MS;;
	     nap_ms = 2 * nap_ms < NAP_MAX_MS ? 2 * nap_ms : NAP_MAX_MS) {
		bool later;
		enum mer_status st = try_connect(pg, began, &later, err);
		if (st == MER_OK)
			return pg_relock(pg, err);
		if (st == MER_ECANCELED)
			return st;
		refused = later ? 0 : refused + 1;
		const int enough = pg->base.session > 0 ? 2 : 1; /* it may have come back in between */
		if (refused == enough || mer_clock_ms() + nap_ms > until) {
			pg->away = pg->away || waits;
			return st;
		}
		if (!pg_nap(pg, began, nap_ms))
			return pg_fail_canceled(pg, err);
	}
}

/* --- a connection that may be lost -------------------------------------------------------- */

/* Whether the server is still at the other end, as far as its last words can tell: they have come
 * long before they are needed. */
static bool is_alive(PGconn *conn)
{
	for (;;) {
		if (PQstatus(conn) != CONNECTION_OK)
			return false;
		struct pollfd end = { .fd = PQsocket(conn), .events = POLLIN };
		if (poll(&end, 1, 0) <= 0)
			return true;
		if (PQconsumeInput(conn) == 0)
			return false;
		(void)PQisBusy(conn); /* takes in what came */
	}
}

enum mer_status pg_ready(struct postgres *pg, struct mer_error *err)
{
	if (pg->conn != NULL && !pg->given_up && is_alive(pg->conn))
		return MER_OK;
	if (pg->conn != NULL)
		pg_disconnect(pg);
	if (pg->gone) {
		(void)mer_fail(err, MER_EDATABASE,
		               "the connection to the database '%s' was lost, and its lock with it",
		               pg->base.name);
		mer_hint(err, "start again");
		return MER_EDATABASE;
	}
	return pg_connect(pg, err);
}
