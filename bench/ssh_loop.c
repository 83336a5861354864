/* What bench/ssh.py measures mer against: a session of libssh2 alone, as it comes. ssh_loop PORT USER KEY [CIPHER MAC
 * WINDOW] logs in at 127.0.0.1, which is not checked, and says "ready". Each line of stdin is "down BYTES" or
 * "up BYTES": so many bytes of head -c come, or are sent to a program that drops them, and then it says "done"; "echo": the
 * line goes to a cat over a channel that stays open, and comes back; or "cat": a cat is started here for the line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <libssh2.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIECE = 256 << 10, PACKET = 32768 };

static char piece[PIECE];

static void check(int failed, const char *what)
{
	if (failed == 0)
		return;
	(void)fprintf(stderr, "ssh_loop: %s: error %d\n", what, failed);
	exit(EXIT_FAILURE);
}

static int dial(int port)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
	there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(connect(fd, (struct sockaddr *)&there, sizeof there), "connect");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static LIBSSH2_CHANNEL *run(LIBSSH2_SESSION *session, const char *command, unsigned window)
{
	LIBSSH2_CHANNEL *channel = libssh2_channel_open_ex(
		session, "session", (unsigned)strlen("session"), window, PACKET, NULL, 0);
	check(channel == NULL, "channel");
	check(libssh2_channel_exec(channel, command), "exec");
	return channel;
}

static void finish(LIBSSH2_CHANNEL *channel)
{
	check(libssh2_channel_close(channel), "close");
	check(libssh2_channel_wait_closed(channel), "wait");
	check(libssh2_channel_free(channel), "free");
	(void)puts("done");
	(void)fflush(stdout);
}

static void down(LIBSSH2_SESSION *session, long bytes, unsigned window)
{
	char command[64];
	ssize_t n;
	(void)snprintf(command, sizeof command, "head -c %ld /dev/zero", bytes);
	LIBSSH2_CHANNEL *channel = run(session, command, window);
	while ((n = libssh2_channel_read(channel, piece, PIECE)) > 0)
		bytes -= n;
	check(n != 0 || bytes != 0, "read");
	finish(channel);
}

static void up(LIBSSH2_SESSION *session, long bytes, unsigned window)
{
	LIBSSH2_CHANNEL *channel = run(session, "cat >/dev/null", window);
	while (bytes > 0) {
		ssize_t n = libssh2_channel_write(channel, piece, bytes < PIECE ? (size_t)bytes : PIECE);
		check(n < 0, "write");
		bytes -= n;
	}
	check(libssh2_channel_send_eof(channel), "eof");
	check(libssh2_channel_wait_eof(channel), "end");
	finish(channel);
}

static void echo(LIBSSH2_SESSION *session, const char *line)
{
	static LIBSSH2_CHANNEL *channel;
	ssize_t len = (ssize_t)strlen(line), n;
	if (channel == NULL)
		channel = run(session, "exec cat", LIBSSH2_CHANNEL_WINDOW_DEFAULT);
	check(libssh2_channel_write(channel, line, (size_t)len) != len, "write");
	for (; len > 0; len -= n) {
		n = libssh2_channel_read(channel, piece, (size_t)len);
		check(n <= 0, "read");
		(void)fwrite(piece, 1, (size_t)n, stdout);
	}
	(void)fflush(stdout);
}

/* What nobody can spare who starts a program a run. */
static void cat(const char *line)
{
	extern char **environ;
	char *argv[] = { "cat", NULL };
	int in[2], out[2], status;
	ssize_t n;
	pid_t pid;
	posix_spawn_file_actions_t actions;
	check(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | posix_spawn_file_actions_init(&actions),
	      "pipes");
	check(posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO), "stdin");
	check(posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO), "stdout");
	check(posix_spawnp(&pid, "cat", &actions, NULL, argv, environ), "cat");
	(void)close(in[0]);
	(void)close(out[1]);
	check(write(in[1], line, strlen(line)) < 0, "write");
	(void)close(in[1]);
	while ((n = read(out[0], piece, PIECE)) > 0)
		(void)fwrite(piece, 1, (size_t)n, stdout);
	(void)close(out[0]);
	check(waitpid(pid, &status, 0) != pid || status != 0, "wait");
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)fflush(stdout);
}

static void prefer(LIBSSH2_SESSION *session, const char *cipher, const char *mac)
{
	check(libssh2_session_method_pref(session, LIBSSH2_METHOD_CRYPT_CS, cipher) |
	          libssh2_session_method_pref(session, LIBSSH2_METHOD_CRYPT_SC, cipher) |
	          libssh2_session_method_pref(session, LIBSSH2_METHOD_MAC_CS, mac) |
	          libssh2_session_method_pref(session, LIBSSH2_METHOD_MAC_SC, mac),
	      "methods");
}

int main(int argc, char *argv[])
{
	char line[4096];
	check(argc < 4 || libssh2_init(0) != 0, "usage");
	const char *user = argv[2];
	unsigned window = argc > 6 ? (unsigned)atoi(argv[6]) : LIBSSH2_CHANNEL_WINDOW_DEFAULT;
	LIBSSH2_SESSION *session = libssh2_session_init();
	if (argc > 5)
		prefer(session, argv[4], argv[5]);
	check(libssh2_session_handshake(session, dial(atoi(argv[1]))), "handshake");
	check(libssh2_userauth_publickey_fromfile(session, user, NULL, argv[3], NULL), "key");
	(void)printf("ready %s %s\n", libssh2_session_methods(session, LIBSSH2_METHOD_CRYPT_SC),
	             libssh2_session_methods(session, LIBSSH2_METHOD_MAC_SC));
	(void)fflush(stdout);
	while (fgets(line, sizeof line, stdin) != NULL) {
		const char *number = strchr(line, ' ');
		if (strncmp(line, "echo", 4) == 0)
			echo(session, line);
		else if (strncmp(line, "cat", 3) == 0)
			cat(line);
		else if (number != NULL && line[0] == 'd')
			down(session, atol(number), window);
		else if (number != NULL)
			up(session, atol(number), window);
	}
	check(libssh2_session_disconnect(session, ""), "disconnect");
	return EXIT_SUCCESS;
}
