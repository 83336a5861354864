/*
 * Logs in to a server of kind ssh and tells what came of it, as JSON: ssh_login_probe HOST PORT USER PARAMS
 * [MS [FD [SECRET]]]. PARAMS is what the server's row has, MS how long all may take, FD what becomes readable when
 * nobody wants it any more. SECRET, spelled backwards, is looked for in its own memory afterwards.
 *
 * ssh_login_probe REF: tells the kernel's flags of the pages in which a secret lies (proc(5), VmFlags).
 */
#include "ssh_login.h"
#include "ssh_secret.h"

#include <dlfcn.h>
#include <errno.h>
#include <mer/clean.h>
#include <mer/json.h>
#include <mer/remote.h>
#include <mer/text.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* In the place of libc's: one name fails as none does otherwise, by what the system lacks. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	void *found = dlsym(RTLD_NEXT, "getaddrinfo");
	if (strcmp(name, "no-descriptor.invalid") == 0 && (hints->ai_flags & AI_NUMERICHOST) == 0) {
		errno = EMFILE;
		return EAI_SYSTEM;
	}
	memcpy(&real, &found, sizeof real);
	return real(name, service, hints, out);
}

static json_t *text(const char *value)
{
	json_t *json = json_string(value);
	return json != NULL ? json : json_string("?");
}

/* That the session can be used: what a program said over there. */
static json_t *run(LIBSSH2_SESSION *session)
{
	char out[64] = "";
	libssh2_session_set_blocking(session, 1);
	libssh2_session_set_timeout(session, 30000);
	LIBSSH2_CHANNEL *channel = libssh2_channel_open_session(session);
	if (channel == NULL)
		return text("no channel");
	if (libssh2_channel_exec(channel, "echo hello") != 0)
		(void)snprintf(out, sizeof out, "no exec");
	for (size_t len = 0; len < sizeof out - 1;) {
		ssize_t n = libssh2_channel_read(channel, out + len, sizeof out - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	(void)libssh2_channel_free(channel);
	out[strcspn(out, "\n")] = '\0';
	return text(out);
}

/* How often a text is in memory that can be written. */
static int count_in_memory(const char *backwards)
{
	static char room[1 << 16]; /* what is read is not to be found itself */
	const size_t len = strlen(backwards);
	const unsigned long own = (unsigned long)(uintptr_t)room;
	int found = 0;
	unsigned long from, to;
	char line[512], mode[8];
	MER_AUTO(mer_file_done) FILE *maps = fopen("/proc/self/maps", "r");
	MER_AUTO(mer_file_done) FILE *mem = fopen("/proc/self/mem", "r");
	if (maps == NULL || mem == NULL)
		return -1;
	(void)setvbuf(mem, NULL, _IONBF, 0);
	while (fgets(line, sizeof line, maps) != NULL) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[1] != 'w' ||
		    to - from > 1UL << 30)
			continue;
		for (unsigned long at = from; at < to; at += sizeof room - len) {
			if ((at + sizeof room > own && at < own + sizeof room) ||
			    fseek(mem, (long)at, SEEK_SET) != 0)
				continue;
			size_t n = fread(room, 1, to - at < sizeof room ? to - at : sizeof room, mem);
			for (size_t i = 0; i + len <= n; i++) {
				size_t same = 0;
				while (same < len && room[i + same] == backwards[len - 1 - same])
					same++;
				found += same == len;
			}
		}
	}
	memset(room, 0, sizeof room);
	return found;
}

static void tell(json_t *told, const char *name, json_t *value)
{
	(void)json_object_set_new(told, name, value);
}

/* What its socket does about a peer that is gone. */
static json_t *watched(int fd)
{
	int alive = 0, silence_ms = 0;
	socklen_t len = sizeof alive;
	(void)getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &alive, &len);
	len = sizeof silence_ms;
	(void)getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, &len);
	return json_pack("[b, i]", alive, silence_ms);
}

static enum mer_status log_in(const struct mer_remote *remote, char **argv, int argc, json_t *told,
                              struct mer_error *err)
{
	const int cancel_fd = argc > 6 ? atoi(argv[6]) : -1;
	const int64_t deadline_ms = mer_clock_ms() + (argc > 5 ? atoi(argv[5]) : 60000);
	struct ssh_config *config = NULL;
	char reason[200] = "";
	enum mer_status st = ssh_config_load(remote, cancel_fd, deadline_ms, &config, err);
	if (st != MER_OK)
		return st;
	struct ssh_login login = { .remote = remote,
		                       .config = config,
		                       .fd = -1,
		                       .cancel_fd = cancel_fd,
		                       .deadline_ms = deadline_ms };
	enum ssh_choice choice = ssh_config_choose(config, reason);
	if (choice == SSH_LIBSSH2)
		st = ssh_login(&login, &choice, reason, err);
	if (argc > 7)
		tell(told, "found", json_integer(count_in_memory(argv[7])));
	if (login.session != NULL) {
		tell(told, "watched", watched(login.fd));
		tell(told, "hello", run(login.session));
		(void)libssh2_session_disconnect(login.session, "bye");
		ssh_heap_free(login.session);
		(void)close(login.fd);
	}
	tell(told, "how", text(login.how));
	tell(told, "times",
	     json_pack("[I, I, I]", (json_int_t)login.times.connect_us, (json_int_t)login.times.kex_us,
	               (json_int_t)login.times.auth_us));
	tell(told, "choice", text(choice == SSH_LIBSSH2 ? "libssh2" : "openssh"));
	tell(told, "reason", text(reason));
	ssh_config_free(config);
	return st;
}

static int tell_flags(const char *ref)
{
	char line[400], flags[] = "VmFlags:";
	struct ssh_secret secret;
	bool is_there = false;
	unsigned long long from, to;
	MER_AUTO(mer_file_done) FILE *file = fopen("/proc/self/smaps", "re");
	if (file == NULL || ssh_secret_resolve(&secret, ref, NULL) != MER_OK)
		return 2;
	while (fgets(line, sizeof line, file) != NULL) {
		if (sscanf(line, "%llx-%llx ", &from, &to) == 2)
			is_there = from <= (uintptr_t)secret.text && (uintptr_t)secret.text < to;
		else if (is_there && strncmp(line, flags, sizeof flags - 1) == 0)
			(void)fputs(line + sizeof flags - 1, stdout);
	}
	ssh_secret_release(&secret);
	return 0;
}

int main(int argc, char **argv)
{
	struct mer_remote *remote = NULL;
	struct mer_error err = { .message = "" };
	if (argc == 2)
		return tell_flags(argv[1]);
	if (argc < 5 || libssh2_init(0) != 0)
		return 2;
	json_t *told = json_object();
	const struct mer_remote_row row = {
		.server = "box", .host = argv[1], .port = atoi(argv[2]), .user = argv[3], .params = argv[4]
	};
	enum mer_status st = mer_remote_new(&row, "/nonexistent/guard", (const char *const *)environ,
	                                    NULL, &remote, &err);
	if (st == MER_OK)
		st = log_in(remote, argv, argc, told, &err);
	tell(told, "status", text(st == MER_OK ? "ok" : mer_status_name(st)));
	tell(told, "message", text(st == MER_OK ? "" : err.message));
	tell(told, "hint", text(st == MER_OK ? "" : err.hint));
	tell(told, "cpu", json_real((double)clock() / CLOCKS_PER_SEC));
	mer_remote_free(remote);
	(void)json_dumpf(told, stdout, JSON_SORT_KEYS);
	(void)putchar('\n');
	json_decref(told);
	libssh2_exit();
	return 0;
}
