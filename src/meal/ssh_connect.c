/* Making a session; ssh_connect.h. */
#define LOG_AREA "meal"
#include "ssh_connect.h"

#include "ssh_relay.h"

#include <mer/clean.h>
#include <mer/log.h>
#include <mer/remote.h>
#include <mer/text.h>
#include <mer/work.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define AGAIN_MS 100      /* before the first attempt after a server that hung up at once, */
#define AGAIN_MAX_MS 2000 /* doubled each time up to this */
#define CONNECT_MS 10000  /* until the configuration says otherwise */

struct ssh_connect {
	TAILQ_ENTRY(ssh_connect) link; /* in its host */
	struct mer_job job;            /* of its thread */
	struct mer_work *work;
	struct ssh_host *host;
	int cancel;      /* an eventfd: the thread is to give up */
	bool cancelled;  /* nobody wants it any more */
	bool logging_in; /* it counts */
	int64_t deadline_ms;

	/* The thread's, while it has the job. */
	struct ssh_config *config; /* NULL: not read yet */
	struct ssh_login login;
	enum ssh_choice choice;
	bool jump; /* a way through another host is to be made first */
	char reason[MER_REASON_SIZE];
	enum mer_status status;
	struct mer_error err;

	struct ssh_relay *relay;  /* through the jump host; NULL: none, or it is with the session */
	struct ssh_host *through; /* that one, while it is waited for */
};

static void count(struct ssh_connect *connect, bool logging_in)
{
	if (connect->logging_in != logging_in)
		connect->host->logging_in += logging_in ? 1 : (size_t)-1;
	connect->logging_in = logging_in;
}

/* --- in the thread -------------------------------------------------------------------------------- */

/* Returns whether it was not cancelled meanwhile. */
static bool wait_ms(const struct ssh_connect *connect, int64_t ms)
{
	struct pollfd cancel = { .fd = connect->cancel, .events = POLLIN };
	return poll(&cancel, 1, (int)ms) == 0;
}

/* A server that has too many who are not logged in hangs up before it has said what it is. */
static void log_in(struct ssh_connect *connect)
{
	struct ssh_login *login = &connect->login;
	bool once = login->fd >= 0; /* the way through another host is used up */
	for (int64_t wait = AGAIN_MS;; wait = 2 * wait < AGAIN_MAX_MS ? 2 * wait : AGAIN_MAX_MS) {
		connect->status = ssh_login(login, &connect->choice, connect->reason, &connect->err);
		if (connect->status != MER_EBUSY || once || mer_clock_ms() + wait > connect->deadline_ms ||
		    !wait_ms(connect, wait))
			return;
		MER_DEBUG("connect again server=%s", connect->host->remote->server);
	}
}

static void leave_to_ssh(struct ssh_connect *connect)
{
	connect->status = MER_OK;
	connect->choice = SSH_OPENSSH;
	(void)snprintf(connect->reason, sizeof connect->reason, "%.*s", MER_REASON_SIZE - 1,
	               connect->err.message);
}

static void run(struct mer_job *job)
{
	struct ssh_connect *connect =
		(struct ssh_connect *)((char *)job - offsetof(struct ssh_connect, job));
	const struct mer_remote *remote = connect->host->remote;
	if (connect->config == NULL) {
		connect->status = ssh_config_load(remote, connect->cancel, connect->deadline_ms,
		                                  &connect->config, &connect->err);
		if (connect->status == MER_EINPUT || connect->status == MER_EUNREACHABLE)
			leave_to_ssh(connect); /* which says better what it does not like */
		if (connect->status != MER_OK || connect->config == NULL)
			return;
		connect->deadline_ms = mer_clock_ms() + connect->config->connect_timeout_s * 1000;
		connect->choice = ssh_config_choose(connect->config, connect->reason);
		connect->jump = connect->choice == SSH_LIBSSH2 && connect->config->proxy_jump != NULL;
		if (connect->choice == SSH_OPENSSH || connect->jump)
			return;
	}
	connect->login.config = connect->config;
	connect->login.remote = remote;
	connect->login.cancel_fd = connect->cancel;
	connect->login.deadline_ms = connect->deadline_ms;
	log_in(connect);
}

/* --- on the loop ------------------------------------------------------------------------------------ */

static void on_work_closed(void *ctx)
{
	struct ssh_connect *connect = ctx;
	struct ssh_pool *pool = connect->host->pool;
	ssh_config_free(connect->config);
	mer_fd_done(&connect->cancel);
	mer_fd_done(&connect->login.fd);
	free(connect);
	ssh_pool_part_gone(pool);
}

static void finish(struct ssh_connect *connect)
{
	struct ssh_host *host = connect->host;
	count(connect, false);
	TAILQ_REMOVE(&host->connects, connect, link);
	host->n_connects--;
	if (connect->relay != NULL)
		ssh_relay_free(connect->relay);
	connect->relay = NULL;
	if (connect->config != NULL)
		host->connect_ms = connect->config->connect_timeout_s * 1000;
	if (connect->login.session != NULL && (connect->cancelled || host->pool->closing)) {
		ssh_heap_free(connect->login.session);
		connect->login.session = NULL;
	} else if (connect->cancelled) {
		;
	} else if (connect->login.session != NULL) {
		ssh_host_connected(host, &connect->login);
	} else if (connect->status == MER_OK && connect->choice == SSH_OPENSSH) {
		ssh_host_openssh(host, connect->reason);
	} else {
		ssh_host_not_connected(host, connect->err.message);
	}
	mer_work_close(connect->work, on_work_closed, connect);
}

static void on_relay_ready(void *ctx, int fd, const char *problem, bool openssh)
{
	struct ssh_connect *connect = ctx;
	if (problem != NULL && openssh) {
		connect->relay = NULL;
		connect->choice = SSH_OPENSSH;
		(void)snprintf(connect->reason, sizeof connect->reason, "%s", problem);
		finish(connect);
		return;
	}
	if (problem != NULL) {
		connect->relay = NULL;
		connect->status =
			mer_fail(&connect->err, MER_EUNREACHABLE, "server '%s', on the way there: %s",
		             connect->host->remote->server, problem);
		finish(connect);
		return;
	}
	connect->through = NULL;
	connect->login.fd = fd;
	count(connect, true);
	mer_work_push(connect->work, &connect->job);
}

/* Whether one host waits for another one, so that this must not wait for it. What waits for itself is never let
 * happen, so this ends. */
static bool waits_for(const struct ssh_host *host, const struct ssh_host *other)
{
	const struct ssh_connect *connect;
	while (host != NULL && host != other) {
		TAILQ_FOREACH(connect, &host->connects, link)
		if (connect->through != NULL)
			break;
		host = connect != NULL ? connect->through : NULL;
	}
	return host != NULL;
}

/* The way through a jump host, for which its session is made where there is none. */
static enum mer_status begin_relay(struct ssh_connect *connect)
{
	struct ssh_host *jump = ssh_relay_through(connect->host, connect->config);
	if (jump == NULL)
		return mer_fail(&connect->err, MER_ENOMEM, "out of memory");
	if (waits_for(jump, connect->host)) {
		(void)mer_fail(&connect->err, MER_EUNREACHABLE,
		               "server '%s': its ProxyJump leads back to itself, by way of '%s'",
		               connect->host->remote->server, jump->remote->server);
		mer_hint(&connect->err, "mend ssh's configuration");
		return MER_EUNREACHABLE;
	}
	connect->relay = ssh_relay_new(jump, connect->config, on_relay_ready, connect, &connect->err);
	if (connect->relay == NULL)
		return connect->err.status;
	connect->through = jump;
	return MER_OK;
}

/* Neither a jump host nor the host behind it need ever answer. */
static void give_up(struct ssh_connect *connect)
{
	char why[200];
	const struct ssh_config *config = connect->config;
	const char *jump = connect->through->remote->server;
	if (ssh_relay_is_there(connect->relay))
		(void)snprintf(why, sizeof why, "server '%.60s' gets no connection to %.60s port %lld",
		               jump, config->hostname, (long long)config->port);
	else
		(void)snprintf(why, sizeof why, "server '%.60s' has not let us in", jump);
	connect->status =
		mer_fail(&connect->err, MER_EUNREACHABLE, "server '%s', on the way there: %s within %lld s",
	             connect->host->remote->server, why, (long long)config->connect_timeout_s);
	finish(connect);
}

static struct ssh_connect *find_late(const struct ssh_host *host, int64_t now_ms)
{
	struct ssh_connect *connect;
	TAILQ_FOREACH(connect, &host->connects, link)
	if (connect->through != NULL && now_ms >= connect->deadline_ms)
		break;
	return connect;
}

void ssh_connect_tick(struct ssh_host *host, int64_t now_ms)
{
	struct ssh_connect *connect;
	while ((connect = find_late(host, now_ms)) != NULL)
		give_up(connect);
}

static void on_done(struct mer_job *job)
{
	struct ssh_connect *connect =
		(struct ssh_connect *)((char *)job - offsetof(struct ssh_connect, job));
	bool jump = connect->jump && connect->status == MER_OK;
	connect->jump = false;
	if (!jump || connect->cancelled || connect->host->pool->closing) {
		if (connect->login.session != NULL && connect->relay != NULL) {
			ssh_relay_leave(connect->relay); /* it ends with the session's socket */
			connect->relay = NULL;
		}
		finish(connect);
		return;
	}
	count(connect, false);
	connect->status = begin_relay(connect);
	if (connect->status != MER_OK)
		finish(connect);
}

void ssh_connect_begin(struct ssh_host *host)
{
	struct mer_error err;
	struct ssh_connect *connect = calloc(1, sizeof *connect);
	if (connect == NULL) {
		ssh_host_not_connected(host, "out of memory");
		return;
	}
	*connect = (struct ssh_connect){
		.host = host,
		.job = { .run = run, .done = on_done },
		.cancel = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.login = { .fd = -1 },
		.deadline_ms = mer_clock_ms() + CONNECT_MS,
	};
	enum mer_status st = connect->cancel < 0
	                         ? mer_fail(&err, MER_EIO, "no descriptor for a connection")
	                         : mer_work_open(host->pool->loop, &connect->work, &err);
	if (st != MER_OK) {
		mer_fd_done(&connect->cancel);
		free(connect);
		ssh_host_not_connected(host, err.message);
		return;
	}
	TAILQ_INSERT_TAIL(&host->connects, connect, link);
	host->n_connects++;
	host->pool->parts++;
	count(connect, true);
	mer_work_push(connect->work, &connect->job);
}

void ssh_connect_cancel(struct ssh_host *host)
{
	struct ssh_connect *connect, *next;
	for (connect = TAILQ_FIRST(&host->connects); connect != NULL; connect = next) {
		next = TAILQ_NEXT(connect, link);
		connect->cancelled = true;
		(void)eventfd_write(connect->cancel, 1);
		if (connect->relay != NULL && !connect->logging_in)
			finish(connect); /* its thread has no job */
	}
}
