/*
 * server trust: the host key of a server of kind ssh is shown and, after a yes, or where it is the one that
 * --fingerprint names, added to the file by which ssh knows hosts.
 *
 * ssh itself fetches the key, without logging in, into a file of its own: so it is the key that it will
 * ask for, by whatever name, port and jump host its own files say.
 */
#include "command.h"
#include "commands.h"
#include "find.h"
#include "server_reach.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/remote.h>
#include <mer/text.h>
#include <string.h>
#include <sys/stat.h>

enum { SERVER, FINGERPRINT, N_ARGS };
static const struct cmd_arg args[N_ARGS] = {
	[SERVER] = CMD_WORD("NAME", ARG_TEXT, "a server that 'server list' shows", .is = VALUE_SERVER,
	                    .required = true),
	[FINGERPRINT] = CMD_OPTION("fingerprint", ARG_TEXT, "SHA256:...",
	                           "add the key without a question if it is that one"),
};

/* What is under way; all owned. */
struct trusting {
	struct session *s;
	struct mer_remote *remote;
	char *folder, *fetched; /* a private folder, and the file in it that ssh puts the key into */
	char *known;            /* the file that it is added to */
	char *key;              /* its line */
	char name[256];         /* what it begins with: the host as ssh calls it */
	char fingerprint[128], kind[64];
};

static void trusting_done(struct trusting *t)
{
	if (t->fetched != NULL)
		(void)unlink(t->fetched);
	if (t->folder != NULL)
		(void)rmdir(t->folder);
	mer_remote_free(t->remote);
	free(t->folder);
	free(t->fetched);
	free(t->known);
	free(t->key);
}

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status make_folder(struct trusting *t, struct mer_error *err)
{
	const char *temp = getenv("TMPDIR");
	char *folder =
		mer_text_new("%s/mer-trust-XXXXXX", temp != NULL && temp[0] == '/' ? temp : "/tmp");
	if (folder == NULL)
		return no_memory(err);
	if (mkdtemp(folder) == NULL) {
		(void)mer_fail(err, MER_EIO, "cannot make '%s': %s", folder, strerror(errno));
		free(folder);
		return MER_EIO;
	}
	t->folder = folder;
	t->fetched = mer_text_new("%s/known_hosts", folder);
	return t->fetched != NULL ? MER_OK : no_memory(err);
}

/* ssh with what the server says of reaching it; the options in first count before those. */
static enum mer_status call_ssh(struct trusting *t, const char *mode, const char *const first[],
                                struct command_result *result, struct mer_error *err)
{
	const struct mer_remote *remote = t->remote;
	const char *const *const lists[] = { first, remote->options };
	const char *command = strcmp(mode, "-G") == 0 ? NULL : "true";
	struct mer_remote_words words;
	enum mer_status st =
		mer_remote_words(remote, mode, lists, sizeof lists / sizeof *lists, command, &words, err);
	if (st != MER_OK)
		return st;
	return command_run_ssh(t->s, remote->server, words.argv, remote->env, result, err);
}

/* The first of the files by which ssh knows hosts. */
static enum mer_status find_known(struct trusting *t, struct mer_error *err)
{
	static const char *const none[] = { NULL };
	static const char begin[] = "\nuserknownhostsfile ";
	MER_AUTO(command_release) struct command_result result = { 0 };
	for (const char *const *option = t->remote->options; *option != NULL; option++) {
		const char *path = *option + sizeof "UserKnownHostsFile" - 1;
		if (strncmp(*option, "UserKnownHostsFile=/", sizeof "UserKnownHostsFile=/" - 1) != 0)
			continue;
		t->known = strdup(path + 1);
		return t->known != NULL ? MER_OK : no_memory(err);
	}
	enum mer_status st = call_ssh(t, "-G", none, &result, err);
	if (st != MER_OK)
		return st;
	const char *at = strstr(result.out.ptr, begin);
	if (at == NULL)
		return mer_fail(err, MER_EUNREACHABLE, "ssh does not tell where it keeps known hosts");
	at += sizeof begin - 1;
	t->known = strndup(at, strcspn(at, " \n"));
	return t->known != NULL ? MER_OK : no_memory(err);
}

/* The last line that a program said, which may be of the other side. */
static void last_line(const char *text, char line[200])
{
	size_t end = strlen(text), start;
	while (end > 0 && strchr(" \r\n", text[end - 1]) != NULL)
		end--;
	for (start = end; start > 0 && text[start - 1] != '\n'; start--)
		;
	(void)snprintf(line, 200, "%.*s", (int)(end - start), text + start);
	for (; *line != '\0'; line++)
		if ((unsigned char)*line < ' ' || (unsigned char)*line >= 127)
			*line = '?';
}

static enum mer_status fetch(struct trusting *t, struct mer_error *err)
{
	MER_AUTO(command_release) struct command_result result = { 0 };
	MER_AUTO(mer_text_done) char *file = mer_text_new("UserKnownHostsFile=\"%s\"", t->fetched);
	if (file == NULL)
		return no_memory(err);
	const char *const first[] = { file,
		                          "GlobalKnownHostsFile=/dev/null",
		                          "StrictHostKeyChecking=accept-new",
		                          "HashKnownHosts=no",
		                          "UpdateHostKeys=no",
		                          "PreferredAuthentications=none",
		                          "PubkeyAuthentication=no",
		                          "BatchMode=yes",
		                          "ControlMaster=no",
		                          "ControlPath=none",
		                          "ClearAllForwardings=yes",
		                          "LogLevel=ERROR",
		                          NULL };
	char line[200];
	size_t len;
	enum mer_status st = call_ssh(t, "-T", first, &result, err);
	if (st != MER_OK)
		return st;
	if (mer_read_file(t->fetched, 65536, &t->key, &len, NULL) == MER_OK && len > 0 &&
	    sscanf(t->key, "%255s", t->name) == 1) {
		t->name[strcspn(t->name, ",")] = '\0';
		return MER_OK;
	}
	last_line(result.log.ptr, line);
	return mer_fail(err, MER_EUNREACHABLE, "cannot reach server '%s': %s", t->remote->server,
	                strncmp(line, "ssh: ", 5) == 0 ? line + 5 : line);
}

static enum mer_status take_fingerprint(struct trusting *t, struct mer_error *err)
{
	MER_AUTO(command_release) struct command_result result = { 0 };
	const char *const argv[] = { "ssh-keygen", "-l", "-f", t->fetched, NULL };
	enum mer_status st = command_run(t->s, argv, t->remote->env, &result, err);
	if (st != MER_OK)
		return st;
	const char *kind = strrchr(result.out.ptr, '(');
	if (sscanf(result.out.ptr, "%*s %127s", t->fingerprint) != 1 || kind == NULL ||
	    sscanf(kind, "(%63[A-Z0-9-])", t->kind) != 1)
		return mer_fail(err, MER_EUNREACHABLE, "ssh-keygen does not tell the key's fingerprint");
	return MER_OK;
}

/* Whether the file has the key already: *yes. Another one of that kind is a conflict. */
static enum mer_status look_up(struct trusting *t, bool *yes, struct mer_error *err)
{
	MER_AUTO(command_release) struct command_result result = { 0 };
	const char *const argv[] = { "ssh-keygen", "-F", t->name, "-f", t->known, NULL };
	char kind[64], key[8192], other[64], blob[8192];
	struct stat info;
	if (stat(t->known, &info) < 0)
		return MER_OK;
	enum mer_status st = command_run(t->s, argv, t->remote->env, &result, err);
	if (st != MER_OK || sscanf(t->key, "%*s %63s %8191s", kind, key) != 2)
		return st;
	for (const char *line = result.out.ptr; line != NULL && *line != '\0';) {
		if (sscanf(line, "%*[^ #\n] %63s %8191s", other, blob) == 2 && strcmp(kind, other) == 0) {
			*yes |= strcmp(key, blob) == 0;
			if (strcmp(key, blob) != 0) {
				(void)mer_fail(err, MER_ECONFLICT,
				               "the host key of server '%s' has changed to %s, or somebody is in "
				               "between; '%s' has another one",
				               t->remote->server, t->fingerprint, t->known);
				mer_hint(err, "if it is right: ssh-keygen -R '%s' -f '%s', and trust it again",
				         t->name, t->known);
				return MER_ECONFLICT;
			}
		}
		line = strchr(line, '\n');
		line = line != NULL ? line + 1 : NULL;
	}
	return MER_OK;
}

static enum mer_status confirm(struct trusting *t, const struct cmd_value *wanted,
                               struct mer_error *err)
{
	if (cmd_has(wanted)) {
		if (strcmp(wanted->text, t->fingerprint) == 0)
			return MER_OK;
		return mer_fail(err, MER_ECONFLICT, "the host key of server '%s' is %s, not %s",
		                t->remote->server, t->fingerprint, wanted->text);
	}
	if (t->s->ask == NULL) {
		(void)mer_fail(err, MER_EINPUT, "the host key of server '%s' is not trusted yet: %s %s",
		               t->remote->server, t->kind, t->fingerprint);
		mer_hint(err,
		         "compare it with what the host's own administrator says, then --fingerprint %s",
		         t->fingerprint);
		return MER_EINPUT;
	}
	MER_AUTO(mer_text_done) char *answer = NULL;
	MER_AUTO(mer_text_done)
	char *question =
		mer_text_new("%s has the key %s %s; trust it (yes/no)? ", t->name, t->kind, t->fingerprint);
	if (question == NULL)
		return no_memory(err);
	enum mer_status st = t->s->ask(t->s->ask_ctx, question, &answer, err);
	if (st != MER_OK || (answer != NULL && strcmp(answer, "yes") == 0))
		return st;
	return mer_fail(err, MER_ECANCELED, "the host key of server '%s' is not trusted",
	                t->remote->server);
}

/* Behind what is there, on a line of its own. */
static enum mer_status append(const struct trusting *t, struct mer_error *err)
{
	const char *slash = strrchr(t->known, '/');
	MER_AUTO(mer_text_done)
	char *folder = strndup(t->known, slash != NULL ? (size_t)(slash - t->known) : 0);
	if (folder == NULL)
		return no_memory(err);
	enum mer_status st = folder[0] != '\0' ? mer_make_folders(folder, err) : MER_OK;
	if (st != MER_OK)
		return st;
	MER_AUTO(mer_fd_done) int fd = open(t->known, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return mer_fail(err, MER_EIO, "cannot write '%s': %s", t->known, strerror(errno));
	char last = '\n';
	off_t end = lseek(fd, 0, SEEK_END);
	if (end > 0 && pread(fd, &last, 1, end - 1) != 1)
		last = '\n';
	MER_AUTO(mer_text_done) char *text = mer_text_new("%s%s", last == '\n' ? "" : "\n", t->key);
	if (text == NULL)
		return no_memory(err);
	return mer_write_all(fd, t->known, text, strlen(text), err);
}

static enum mer_status do_trust(struct trusting *t, const struct cmd_value *argv,
                                struct mer_error *err)
{
	bool known = false;
	enum mer_status st = reach_read(t->s, argv[SERVER].text, &t->remote, err);
	if (st == MER_OK)
		st = make_folder(t, err);
	if (st == MER_OK)
		st = find_known(t, err);
	if (st == MER_OK)
		st = fetch(t, err);
	if (st == MER_OK)
		st = take_fingerprint(t, err);
	if (st == MER_OK)
		st = look_up(t, &known, err);
	if (st != MER_OK)
		return st;
	st = known && !cmd_has(&argv[FINGERPRINT]) ? MER_OK : confirm(t, &argv[FINGERPRINT], err);
	if (st == MER_OK && !known)
		st = append(t, err);
	if (st == MER_OK)
		session_note(t->s, "server '%s' is trusted by %s", t->remote->server, t->fingerprint);
	return st;
}

static enum mer_status trust(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	MER_AUTO(trusting_done) struct trusting t = { .s = s };
	struct mer_uid uid;
	char kind[16];
	enum mer_status st = find_server(s->dal, argv[SERVER].text, &uid, kind, err);
	if (st == MER_OK && strcmp(kind, "ssh") != 0)
		return mer_fail(err, MER_EINPUT, "a server of kind '%s' has no host key", kind);
	return st == MER_OK ? do_trust(&t, argv, err) : st;
}

const struct cmd cmd_server_trust = {
	.name = "server trust",
	.summary = "take a server's host key for its own",
	.notes =
		"Shows the key's fingerprint and, after a yes, adds it to the file by which ssh knows hosts.\n"
		"In batch there is no question: --fingerprint says which key it has to be.\n",
	CMD_ARGS(args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = trust,
};
