/* A connection to a server; ssh_dial.h. */
#include "ssh_dial.h"

#include <errno.h>
#include <limits.h>
#include <mer/clean.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

/* --- names ------------------------------------------------------------------------------------- */

/* A name that is looked up in a thread which nobody waits for: the resolver has no deadline and cannot
 * be told to stop. The last of the two who know of it frees it. */
struct lookup {
	atomic_int refs;
	atomic_bool done; /* error, reason and found are the waiting thread's from now on */
	int done_fd;      /* readable: done. A descriptor wakes, but orders no memory */
	char *host, port[24];
	struct addrinfo hints, *found;
	int error;
	int reason; /* an errno, where error is EAI_SYSTEM */
};

static void drop(struct lookup *lookup)
{
	if (atomic_fetch_sub(&lookup->refs, 1) > 1)
		return;
	if (lookup->found != NULL)
		freeaddrinfo(lookup->found);
	mer_fd_done(&lookup->done_fd);
	free(lookup->host);
	free(lookup);
}

static void *look_up(void *arg)
{
	struct lookup *lookup = arg;
	lookup->error = getaddrinfo(lookup->host, lookup->port, &lookup->hints, &lookup->found);
	lookup->reason = errno;
	atomic_store(&lookup->done, true);
	(void)eventfd_write(lookup->done_fd, 1);
	drop(lookup);
	return NULL;
}

static int start_thread(struct lookup *lookup)
{
	pthread_t thread;
	pthread_attr_t attr;
	sigset_t all, before;
	int error = pthread_attr_init(&attr);
	if (error != 0)
		return error;
	sigfillset(&all);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	atomic_fetch_add(&lookup->refs, 1);
	error = pthread_create(&thread, &attr, look_up, lookup);
	if (error != 0)
		atomic_fetch_sub(&lookup->refs, 1);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	return error;
}

static struct lookup *lookup_new(const struct ssh_config *config)
{
	struct lookup *lookup = calloc(1, sizeof *lookup);
	if (lookup == NULL)
		return NULL;
	atomic_init(&lookup->refs, 1);
	lookup->hints = (struct addrinfo){ .ai_family = config->family, .ai_socktype = SOCK_STREAM };
	(void)snprintf(lookup->port, sizeof lookup->port, "%lld", (long long)config->port);
	lookup->done_fd = eventfd(0, EFD_CLOEXEC);
	lookup->host = strdup(config->hostname);
	if (lookup->done_fd >= 0 && lookup->host != NULL)
		return lookup;
	drop(lookup);
	return NULL;
}

static enum mer_status resolve(struct lookup *lookup, const char *name, struct ssh_until until,
                               struct mer_error *err)
{
	const struct addrinfo plain = lookup->hints;
	lookup->hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
	lookup->error = getaddrinfo(lookup->host, lookup->port, &lookup->hints, &lookup->found);
	if (lookup->error == 0)
		return MER_OK;
	lookup->hints = plain;
	int error = start_thread(lookup);
	if (error != 0)
		return mer_fail(err, MER_EUNREACHABLE, "no thread to look up %s: %s", name,
		                strerror(error));
	enum mer_status st = ssh_wait(lookup->done_fd, POLLIN, until);
	if (st == MER_ECANCELED)
		return mer_fail(err, st, "canceled");
	if (st != MER_OK || !atomic_load(&lookup->done))
		return mer_fail(err, MER_EUNREACHABLE,
		                "Could not resolve hostname %s: no answer of the name service", name);
	if (lookup->error == 0)
		return MER_OK;
	return mer_fail(err, MER_EUNREACHABLE, "Could not resolve hostname %s: %s", name,
	                lookup->error == EAI_SYSTEM ? strerror(lookup->reason)
	                                            : gai_strerror(lookup->error));
}

/* --- addresses --------------------------------------------------------------------------------- */

/* Small packets at once, and a peer that is dead is noticed. */
static void tune(int fd, const struct ssh_config *config)
{
	const int on = 1;
	const int64_t wanted_ms = config->alive_s * config->alive_count * 1000;
	const unsigned silence_ms = wanted_ms < INT_MAX ? (unsigned)wanted_ms : INT_MAX;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (config->tcp_keepalive)
		(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	if (silence_ms > 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
}

/* Returns 0 or an errno; ECANCELED when somebody gave up. */
static int connect_to(int fd, const struct addrinfo *address, struct ssh_until until)
{
	int error = 0;
	socklen_t len = sizeof error;
	if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	enum mer_status st = ssh_wait(fd, POLLOUT, until);
	if (st != MER_OK)
		return st == MER_ECANCELED ? ECANCELED : ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
}

/* The same, with *out. */
static int dial_one(const struct addrinfo *address, struct ssh_until until, int *out)
{
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return errno;
	int error = connect_to(fd, address, until);
	if (error != 0)
		(void)close(fd);
	else
		*out = fd;
	return error;
}

/* Each gets its share of the time that is left. */
static int dial_all(const struct addrinfo *first, struct ssh_until until, int *out)
{
	int n = 0, error = ETIMEDOUT;
	for (const struct addrinfo *at = first; at != NULL; at = at->ai_next)
		n++;
	for (const struct addrinfo *at = first; at != NULL; at = at->ai_next, n--) {
		struct ssh_until share = until;
		share.deadline_ms -= ssh_left_ms(until) - ssh_left_ms(until) / n;
		error = dial_one(at, share, out);
		if (error == 0 || error == ECANCELED)
			break;
	}
	return error;
}

enum mer_status ssh_dial(const struct ssh_config *config, struct ssh_until until, int *out,
                         struct mer_error *err)
{
	struct lookup *lookup = lookup_new(config);
	if (lookup == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = resolve(lookup, config->hostname, until, err);
	int error = st == MER_OK ? dial_all(lookup->found, until, out) : 0;
	drop(lookup);
	if (error == ECANCELED)
		return mer_fail(err, MER_ECANCELED, "canceled");
	if (error != 0)
		return mer_fail(err, MER_EUNREACHABLE, "connect to host %s port %lld: %s", config->hostname,
		                (long long)config->port, strerror(error));
	if (st == MER_OK)
		tune(*out, config);
	return st;
}
