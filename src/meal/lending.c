/* What all kinds of lending share; lending.h. */
#include "lending.h"

#include "links.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>

#define SCRIPT_NAME "mer-lend.sh" /* beside the far supervisor's */
#define SCRIPT_MAX ((size_t)64 << 10)

/* The script without what only people need: it is a word of a command line. */
static void strip(char *script)
{
	char *to = script;
	for (char *at = script, *next; *at != '\0'; at = next) {
		next = strchrnul(at, '\n');
		next += *next == '\n';
		while (*at == '\t')
			at++;
		if (*at == '#')
			continue;
		memmove(to, at, (size_t)(next - at));
		to += next - at;
	}
	*to = '\0';
}

static enum mer_status read_script(struct mer_lending *lending, struct mer_error *err)
{
	const char *slash = strrchr(lending->remote->script, '/');
	int folder = slash != NULL ? (int)(slash + 1 - lending->remote->script) : 0;
	MER_AUTO(mer_text_done)
	char *path = mer_text_new("%.*s" SCRIPT_NAME, folder, lending->remote->script);
	size_t len;
	if (path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = mer_read_file(path, SCRIPT_MAX, &lending->script, &len, err);
	if (st != MER_OK)
		return mer_wrap(err, MER_EUNREACHABLE, "the script for files is not installed");
	strip(lending->script);
	return MER_OK;
}

enum mer_status lending_new(const struct lending_kind *kind, struct uv_loop_s *loop,
                            const struct mer_worker_spec *spec, mer_lending_done_fn *done,
                            void *ctx, void *out, struct mer_error *err)
{
	struct mer_lending *lending = calloc(1, kind->size);
	if (lending == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	lending->kind = kind;
	lending->loop = loop;
	lending->remote = spec->remote;
	lending->done = done;
	lending->ctx = ctx;
	lending->guard = strdup(spec->guard);
	lending->here =
		(struct mer_worker_spec){ .protocol = MER_PROTOCOL_ONCE, .guard = lending->guard };
	lending->there = lending->here;
	lending->there.remote = spec->remote;
	lending->there.links = spec->links;
	lending->there.aside = true;
	enum mer_status st = lending->guard != NULL ? read_script(lending, err)
	                                            : mer_fail(err, MER_ENOMEM, "out of memory");
	if (st != MER_OK) {
		lending_free(lending);
		return st;
	}
	*(void **)out = lending;
	return MER_OK;
}

void lending_free(struct mer_lending *lending)
{
	if (lending == NULL)
		return;
	lending->kind->release(lending);
	free(lending->guard);
	free(lending->script);
	free(lending);
}

static void on_ended(void *ctx, struct errand *errand, const char *text,
                     const struct mer_error *err)
{
	struct mer_lending *lending = ctx;
	for (size_t i = 0; i < lending->n_errands; i++)
		if (lending->errands[i] == errand)
			lending->errands[i] = lending->errands[--lending->n_errands];
	lending->kind->ended(lending, text, err);
}

static bool on_bytes(void *ctx, const char *bytes, size_t n)
{
	struct mer_lending *lending = ctx;
	return lending->kind->bytes(lending, bytes, n);
}

static enum mer_status run(struct mer_lending *lending, const struct errand_spec *spec,
                           struct mer_error *err)
{
	if (lending->error.status == MER_ECANCELED)
		return mer_fail(err, MER_ECANCELED, "interrupted");
	MER_ASSERT(lending->n_errands < LENDING_STRIPES);
	struct errand *errand;
	enum mer_status st = errand_start(lending->loop, spec, &errand, err);
	if (st == MER_OK)
		lending->errands[lending->n_errands++] = errand;
	return st;
}

enum mer_status lending_send(struct mer_lending *lending, const struct lending_order *order,
                             struct mer_error *err)
{
	static const char *const env[] = { NULL };
	const char *argv[4 + LENDING_WORDS_MAX] = { "/bin/sh", "-c", lending->script, "mer-lend" };
	for (size_t i = 0; i < LENDING_WORDS_MAX && order->words[i] != NULL; i++)
		argv[4 + i] = order->words[i];
	const struct errand_spec spec = {
		.like = &lending->there,
		.argv = argv,
		.env = env,
		.source = order->source,
		.from = order->from,
		.to = order->to,
		.on_bytes = order->streams ? on_bytes : NULL,
		.done = on_ended,
		.ctx = lending,
	};
	return run(lending, &spec, err);
}

void lending_ahead(struct mer_lending *lending, size_t n)
{
	if (lending->there.links != NULL && lending->error.status == MER_OK)
		links_ahead(lending->there.links, lending->remote, n);
}

void lending_hold(struct mer_lending *lending, bool hold)
{
	if (lending->there.links != NULL)
		links_hold(lending->there.links, lending->remote, hold);
}

enum mer_status lending_run(struct mer_lending *lending, const char *const *argv,
                            struct mer_error *err)
{
	const struct errand_spec spec = {
		.like = &lending->here,
		.argv = argv,
		.env = lending->remote->env,
		.done = on_ended,
		.ctx = lending,
	};
	return run(lending, &spec, err);
}

void lending_fail(struct mer_lending *lending, const struct mer_error *err)
{
	if (lending->error.status == MER_OK)
		lending->error = *err;
}

void lending_finish(struct mer_lending *lending)
{
	MER_ASSERT(lending->n_errands == 0);
	const struct mer_error *err = lending->error.status != MER_OK ? &lending->error : NULL;
	lending->done(lending->ctx, err);
	lending_free(lending);
}

void mer_lending_cancel(struct mer_lending *lending)
{
	struct mer_error err;
	(void)mer_fail(&err, MER_ECANCELED, "interrupted");
	lending_fail(lending, &err);
	for (size_t i = 0; i < lending->n_errands; i++)
		errand_cancel(lending->errands[i]);
}
