/* What is said of a worker on another host that failed there; remote_explain.h. */
#include "remote_explain.h"

#include "remote_say.h"

#include <errno.h>
#include <limits.h>
#include <mer/text.h>
#include <stdio.h>
#include <string.h>

#define SSH_FAILED 255 /* ssh's own exit code; what else it ends with is the login shell's */

/* --- what ssh printed ------------------------------------------------------------------------- */

/* The last line of the noise that says something. */
static void last_line(const char *noise, char text[160])
{
	size_t end = strlen(noise), start;
	while (end > 0 && strchr(" \t\r\n", noise[end - 1]) != NULL)
		end--;
	for (start = end; start > 0 && noise[start - 1] != '\n'; start--)
		;
	(void)snprintf(text, 160, "%.*s", (int)(end - start), noise + start);
	remote_say_plain(text);
}

/* A word of the noise that begins so, up to a blank; "" where there is none. */
static void find_word(const char *noise, const char *begin, char word[200])
{
	const char *at = strstr(noise, begin);
	(void)snprintf(word, 200, "%.*s", at == NULL ? 0 : (int)strcspn(at, " \r\n"), at);
	remote_say_plain(word);
	if (word[0] != '\0' && word[strlen(word) - 1] == '.')
		word[strlen(word) - 1] = '\0';
}

static void explain_key(char problem[REMOTE_PROBLEM], const struct remote_subject *subject,
                        const char *noise)
{
	char now[200], where[200];
	const char *offending = strstr(noise, "Offending");
	find_word(noise, "SHA256:", now);
	find_word(offending != NULL ? offending : "", "/", where);
	if (strstr(noise, "HAS CHANGED") != NULL)
		remote_say_changed(problem, REMOTE_PROBLEM, subject->server, subject->host, now, where);
	else if (strstr(noise, "REVOKED") != NULL)
		remote_say_revoked(problem, REMOTE_PROBLEM, subject->server, subject->host);
	else
		remote_say_unknown(problem, REMOTE_PROBLEM, subject->server, subject->host);
}

/* ssh puts its name in front of some of its lines. */
static const char *without_name(const char *line)
{
	static const char name[] = "ssh: ";
	return strncmp(line, name, sizeof name - 1) == 0 ? line + sizeof name - 1 : line;
}

void remote_explain_silence(char problem[REMOTE_PROBLEM], const struct remote_subject *subject,
                            const char *noise, const struct meal_exit *ssh)
{
	char line[160];
	const char *server = subject->server;
	last_line(noise, line);
	const char *said = without_name(line);
	if (strstr(noise, "ost key verification failed") != NULL)
		explain_key(problem, subject, noise);
	else if (ssh->exit_code == SSH_FAILED && strstr(line, "ermission denied") != NULL)
		remote_say_refused(problem, REMOTE_PROBLEM, server, line);
	else if (ssh->exit_code == SSH_FAILED)
		remote_say_unreachable(problem, REMOTE_PROBLEM, server,
		                       said[0] != '\0' ? said : "ssh failed without a word");
	else if (ssh->exit_code == 127 || ssh->exit_code == 126)
		(void)snprintf(problem, REMOTE_PROBLEM, "server '%s' has no POSIX shell for us: %s", server,
		               said);
	else
		(void)snprintf(problem, REMOTE_PROBLEM,
		               "server '%s' did not run what it was told (a forced command, or a login "
		               "without a shell?)%s%s",
		               server, said[0] != '\0' ? ": " : "", said);
}

void remote_explain_late(char problem[REMOTE_PROBLEM], const struct remote_subject *subject,
                         const char *noise, int64_t seconds)
{
	char line[160];
	last_line(noise, line);
	const char *said = without_name(line);
	(void)snprintf(problem, REMOTE_PROBLEM, "server '%s': no shell answered in %lld s%s%s",
	               subject->server, (long long)seconds, said[0] != '\0' ? ": " : "", said);
}

bool remote_was_dropped(struct mer_str noise, const struct meal_exit *ssh)
{
	static const char *const lines[] = { "kex_exchange_identification: ", "Connection closed by ",
		                                 "Connection reset by " };
	enum { LINES = sizeof lines / sizeof *lines };
	struct mer_str rest = noise;
	if (ssh->exit_code != SSH_FAILED || rest.len == 0 ||
	    memmem(rest.ptr, rest.len, lines[0], strlen(lines[0])) == NULL)
		return false;
	while (rest.len > 0) {
		const char *end = memchr(rest.ptr, '\n', rest.len);
		size_t len = end != NULL ? (size_t)(end - rest.ptr) + 1 : rest.len, i = 0;
		while (i < LINES &&
		       (strlen(lines[i]) > len || memcmp(rest.ptr, lines[i], strlen(lines[i])) != 0))
			i++;
		if (i == LINES)
			return false;
		rest.ptr += len;
		rest.len -= len;
	}
	return true;
}

void remote_explain_start(char problem[REMOTE_PROBLEM], const char *why)
{
	static const char no_ssh[] = "cannot start 'ssh': ";
	bool hint = strncmp(why, no_ssh, sizeof no_ssh - 1) == 0;
	(void)snprintf(problem, REMOTE_PROBLEM, "%.360s%s", why,
	               hint ? " (is openssh-client installed?)" : "");
}

void remote_explain_lost(char problem[REMOTE_PROBLEM], const struct remote_subject *subject)
{
	(void)snprintf(problem, REMOTE_PROBLEM, "the connection to server '%s' was lost",
	               subject->server);
}

/* --- what the supervisor said ----------------------------------------------------------------- */

/* The errno that it tells; 0: none. */
static int exec_error(const char *why)
{
	int64_t error;
	bool told = strncmp(why, "exec ", 5) == 0 && mer_parse_i64(why + 5, &error, NULL) == MER_OK &&
	            error > 0 && error <= INT_MAX;
	return told ? (int)error : 0;
}

void remote_explain_failure(char problem[REMOTE_PROBLEM], const struct remote_subject *subject,
                            const char *why)
{
	const char *server = subject->server, *program = subject->program;
	char limit[31], variable[64];
	int error = 0;
	if (strcmp(why, "missing") == 0)
		(void)snprintf(problem, REMOTE_PROBLEM, "cannot start '%s' on server '%s': %s", program,
		               server, strerror(ENOENT));
	else if (strcmp(why, "denied") == 0)
		(void)snprintf(problem, REMOTE_PROBLEM, "cannot start '%s' on server '%s': %s", program,
		               server, strerror(EACCES));
	else if (strcmp(why, "folder") == 0)
		(void)snprintf(problem, REMOTE_PROBLEM, "cannot start '%s' on server '%s': it is a folder",
		               program, server);
	else if (strcmp(why, "workdir") == 0)
		(void)snprintf(problem, REMOTE_PROBLEM, "cannot enter the folder '%s' on server '%s'",
		               subject->workdir, server);
	else if (sscanf(why, "limit %30[a-z-]", limit) == 1)
		(void)snprintf(problem, REMOTE_PROBLEM, "the limit '%s' cannot be held on server '%s'",
		               limit, server);
	else if (sscanf(why, "variable %63[A-Za-z0-9_]", variable) == 1)
		(void)snprintf(
			problem, REMOTE_PROBLEM,
			"the variable '%s' cannot be set on server '%s': its shell has it for itself", variable,
			server);
	else if (strncmp(why, "lacks ", 6) == 0)
		(void)snprintf(problem, REMOTE_PROBLEM, "what '%s' needs is not on server '%s'", program,
		               server);
	else if (strcmp(why, "input") == 0)
		(void)snprintf(problem, REMOTE_PROBLEM, "the input cannot be written on server '%s'",
		               server);
	else if (strcmp(why, "room") == 0)
		(void)snprintf(problem, REMOTE_PROBLEM, "cannot make a folder in '/tmp' on server '%s'",
		               server);
	else if (strcmp(why, "cache") == 0)
		(void)snprintf(problem, REMOTE_PROBLEM, "cannot write in the cache on server '%s'", server);
	else if ((error = exec_error(why)) == ENOEXEC)
		(void)snprintf(problem, REMOTE_PROBLEM,
		               "'%s' on server '%s' is not a program (no '#!' line?)", program, server);
	else if (error == ENOENT)
		(void)snprintf(problem, REMOTE_PROBLEM,
		               "cannot start '%s' on server '%s': its interpreter or loader: %s", program,
		               server, strerror(error));
	else
		(void)snprintf(problem, REMOTE_PROBLEM, "cannot start '%s' on server '%s': %s", program,
		               server, error != 0 ? strerror(error) : "no process can be made there");
}
