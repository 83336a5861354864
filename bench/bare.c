/*
 * What a run costs without MER: the yardstick of bench.py.
 *
 *   bare once PROGRAM       starts it, gives it our stdin, prints its stdout, reaps it
 *   bare token PROGRAM...   drives one token worker (framed answers) with the lines of our stdin,
 *                           one after another, over plain pipes
 *
 * Nothing is recorded, watched or limited.
 */
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "once") == 0)
		return once(argv + 2);
	if (argc > 2 && strcmp(argv[1], "token") == 0)
		return token(argv + 2);
	fprintf(stderr, "usage: bare once|token PROGRAM [ARG...]\n");
	return 2;
}
