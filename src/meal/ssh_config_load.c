/* Runs `ssh -G`; ssh_config.h. */
#include "ssh_config.h"
#include "ssh_module.h"

#include <mer/child.h>
#include <mer/clean.h>
#include <mer/remote.h>
#include <string.h>

#define OUTPUT_MAX ((size_t)1 << 20)

/* The last line of a complaint: "FILE line 3: Bad configuration option: x". */
static enum mer_status refuse(const struct mer_buf *complaints, const char *server,
                              struct mer_error *err)
{
	const char *text = complaints->ptr != NULL ? complaints->ptr : "";
	size_t end = strlen(text), start;
	while (end > 0 && strchr("\r\n", text[end - 1]) != NULL)
		end--;
	for (start = end; start > 0 && text[start - 1] != '\n'; start--)
		;
	(void)mer_fail(err, MER_EINPUT, "server '%s': ssh does not take its configuration: %.*s",
	               server, (int)(end - start), text + start);
	mer_hint(err, "mend ssh's configuration, or see 'server show %.100s'", server);
	return MER_EINPUT;
}

/* Why it has not come to its end. */
static enum mer_status fail(const char *server, enum mer_status why, int error,
                            struct mer_error *err)
{
	if (why == MER_ETIMEOUT)
		return mer_fail(err, why, "server '%s': 'ssh -G' does not end", server);
	if (why == MER_ECANCELED)
		return mer_fail(err, why, "canceled");
	if (why == MER_ELIMIT)
		return mer_fail(err, why, "server '%s': 'ssh -G' says more than %zu bytes", server,
		                OUTPUT_MAX);
	if (why == MER_ENOMEM)
		return mer_fail(err, why, "out of memory");
	return mer_fail(err, MER_EUNREACHABLE, "cannot start 'ssh': %s (is openssh-client installed?)",
	                strerror(error));
}

/* child has all but what is to be run. */
static enum mer_status ask(const struct mer_remote *remote, struct mer_child *child,
                           struct mer_error *err)
{
	static const char *const defaults[] = { MEAL_SSH_DEFAULTS, NULL };
	const char *const *const lists[] = { remote->options, defaults };
	struct mer_remote_words words;
	int status, error;
	enum mer_status st =
		mer_remote_words(remote, "-G", lists, sizeof lists / sizeof *lists, NULL, &words, err);
	if (st != MER_OK)
		return st;
	child->program = words.argv[0];
	child->argv = words.argv;
	child->env = remote->env;
	st = mer_child_run(child, &status, &error);
	if (st != MER_OK)
		return fail(remote->server, st, error, err);
	return status == 0 ? MER_OK : refuse(child->log, remote->server, err);
}

enum mer_status ssh_config_load(const struct mer_remote *remote, int cancel_fd, int64_t deadline_ms,
                                struct ssh_config **out, struct mer_error *err)
{
	MER_AUTO(mer_buf_release) struct mer_buf said, complaints;
	mer_buf_init(&said, OUTPUT_MAX);
	mer_buf_init(&complaints, OUTPUT_MAX);
	struct mer_child child = {
		.cancel_fd = cancel_fd, .deadline_ms = deadline_ms, .out = &said, .log = &complaints
	};
	enum mer_status st = ask(remote, &child, err);
	if (st != MER_OK)
		return st;
	const struct mer_str text = { said.ptr, said.len };
	st = ssh_config_parse(text, remote->env, out, err);
	return st == MER_OK ? st : mer_wrap(err, st, "server '%s'", remote->server);
}
