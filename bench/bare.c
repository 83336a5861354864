/*
 * What a run costs without MER: the yardstick of bench.py.
 *
 *   bare once PROGRAM       starts it, gives it our stdin, prints its stdout, reaps it
 *   bare token PROGRAM...   drives one token worker (framed answers) with the lines of our stdin,
 *                           one after another, over plain pipes
 *   bare frame PROGRAM...   drives one frame worker in the same way, over a socketpair
 *
 * Nothing is recorded, watched or limited.
 */
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static pid_t start(char **argv, int *to, int *from)
{
	int in[2], out[2];
	pid_t pid;
	posix_spawn_file_actions_t actions;
	if (pipe(in) != 0 || pipe(out) != 0)
		exit(70);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	for (int i = 0; i < 2; i++) {
		posix_spawn_file_actions_addclose(&actions, in[i]);
		posix_spawn_file_actions_addclose(&actions, out[i]);
	}
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) != 0)
		exit(6);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	*to = in[1];
	*from = out[0];
	return pid;
}

static void put(int fd, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t wrote = write(fd, bytes, n);
		if (wrote <= 0)
			exit(70);
		bytes += wrote;
		n -= (size_t)wrote;
	}
}

static int once(char **argv)
{
	static char bytes[65536];
	int to, from, status;
	pid_t pid = start(argv, &to, &from);
	ssize_t n = read(0, bytes, sizeof bytes);
	put(to, bytes, n > 0 ? (size_t)n : 0);
	close(to);
	while ((n = read(from, bytes, sizeof bytes)) > 0)
		put(1, bytes, (size_t)n);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

#define START "@!#START#!@\n"
#define STOP "@!#STOP#!@\n"

/* Reads until the text so far ends with a token's line; returns its length without that line. */
static size_t until(int from, const char *token, char *bytes, size_t size)
{
	size_t len = 0, token_len = strlen(token);
	while (len < token_len || memcmp(bytes + len - token_len, token, token_len) != 0) {
		ssize_t n = read(from, bytes + len, size - len);
		if (n <= 0)
			exit(1);
		len += (size_t)n;
	}
	return len - token_len;
}

static int token(char **argv)
{
	static char line[4096], request[8192], answer[65536];
	int to, from, status;
	pid_t pid = start(argv, &to, &from);
	until(from, "@!#READY#!@\n", answer, sizeof answer);
	while (fgets(line, sizeof line, stdin) != NULL) {
		int n = snprintf(request, sizeof request, START "%s" STOP, line);
		put(to, request, (size_t)n);
		size_t len = until(from, STOP, answer, sizeof answer);
		fwrite(answer + sizeof START - 1, 1, len - (sizeof START - 1), stdout);
	}
	close(to);
	waitpid(pid, &status, 0);
	return fflush(stdout) == 0 ? 0 : 70;
}

#define HEADER 32
#define META "{\"content\":\"bytes\"}"
#define SOCKET_BYTES (1 << 20) /* as mer's own */

/* Reads a frame; returns its body, of *len bytes. */
static char *answer(int fd, size_t *len)
{
	static char *bytes;
	static size_t size;
	size_t have = 0, want = HEADER;
	while (have < want) {
		if (size < want + 65536 && (bytes = realloc(bytes, size = 2 * want + 65536)) == NULL)
			exit(70);
		ssize_t n = read(fd, bytes + have, size - have);
		if (n <= 0)
			exit(1);
		have += (size_t)n;
		if (want == HEADER && have >= HEADER) {
			unsigned meta;
			unsigned long long body;
			memcpy(&meta, bytes + 16, sizeof meta);
			memcpy(&body, bytes + 24, sizeof body);
			*len = (size_t)body;
			want = HEADER + meta + *len;
		}
	}
	return bytes + want - *len;
}

static void ask(int fd, unsigned char kind, unsigned long long id, const char *meta,
                const char *body, size_t len)
{
	char head[HEADER] = "MERF\1";
	unsigned meta_len = (unsigned)strlen(meta);
	unsigned long long body_len = len;
	head[5] = (char)kind;
	memcpy(head + 8, &id, sizeof id);
	memcpy(head + 16, &meta_len, sizeof meta_len);
	memcpy(head + 24, &body_len, sizeof body_len);
	struct iovec pieces[] = { { head, HEADER },
		                      { (char *)(uintptr_t)meta, meta_len },
		                      { (char *)(uintptr_t)body, len } };
	ssize_t n = writev(fd, pieces, 3);
	if (n < HEADER + (ssize_t)meta_len)
		exit(70);
	size_t sent = (size_t)n - HEADER - meta_len;
	put(fd, body + sent, len - sent);
}

static int frame(char **argv)
{
	char *line = NULL, text[16];
	size_t cap = 0, answer_len;
	ssize_t len;
	int ends[2], status;
	pid_t pid;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
		exit(70);
	for (int i = 0; i < 2; i++)
		(void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &(int){ SOCKET_BYTES }, sizeof(int));
	snprintf(text, sizeof text, "%d", ends[1]);
	setenv("MER_FRAME_FD", text, 1);
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addclose(&actions, ends[0]);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) != 0)
		exit(6);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	ask(ends[0], 1, 0, "{\"versions\":[1],\"max_body\":1073741824}", "", 0);
	answer(ends[0], &answer_len);
	for (unsigned long long id = 1; (len = getline(&line, &cap, stdin)) > 0; id++) {
		ask(ends[0], 3, id, META, line, (size_t)len);
		char *body = answer(ends[0], &answer_len);
		fwrite(body, 1, answer_len, stdout);
	}
	ask(ends[0], 11, 0, "", "", 0);
	waitpid(pid, &status, 0);
	free(line);
	return fflush(stdout) == 0 ? 0 : 70;
}

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "once") == 0)
		return once(argv + 2);
	if (argc > 2 && strcmp(argv[1], "token") == 0)
		return token(argv + 2);
	if (argc > 2 && strcmp(argv[1], "frame") == 0)
		return frame(argv + 2);
	fprintf(stderr, "usage: bare once|token|frame PROGRAM [ARG...]\n");
	return 2;
}
