/* What a spec asks for: which protocol, which carrier, and on another host a folder with a name. */
#include "far_room.h"
#include "internal.h"
#include "remote.h"

#include <assert.h>
#include <mer/clean.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- protocols ------------------------------------------------------------------------------ */

static const char *const protocol_names[] = {
	[MER_PROTOCOL_UNSET] = "unset",
	[MER_PROTOCOL_ONCE] = "once",
	[MER_PROTOCOL_TOKEN] = "token",
	[MER_PROTOCOL_FRAME] = "frame",
};
static_assert(sizeof protocol_names / sizeof *protocol_names == MER_PROTOCOL_COUNT,
              "a name for each protocol");

static const struct meal_protocol_ops *const protocols[MER_PROTOCOL_COUNT] = {
	[MER_PROTOCOL_ONCE] = &meal_once,
	[MER_PROTOCOL_TOKEN] = &meal_token,
	[MER_PROTOCOL_FRAME] = &meal_frame,
};

enum mer_protocol mer_protocol_by_name(const char *name)
{
	for (size_t i = MER_PROTOCOL_ONCE; i < MER_PROTOCOL_COUNT; i++)
		if (strcmp(name, protocol_names[i]) == 0)
			return (enum mer_protocol)i;
	return MER_PROTOCOL_UNSET;
}

const char *mer_protocol_name(enum mer_protocol protocol)
{
	size_t at = (size_t)protocol;
	return protocol_names[at < MER_PROTOCOL_COUNT ? at : MER_PROTOCOL_UNSET];
}

enum mer_status meal_protocol_of(const struct mer_worker_spec *spec, struct meal_protocol **out,
                                 struct mer_error *err)
{
	size_t which = (size_t)spec->protocol;
	if (which >= MER_PROTOCOL_COUNT || protocols[which] == NULL)
		return mer_fail(err, MER_EINPUT, "no such protocol: %s", mer_protocol_name(spec->protocol));
	if (spec->argv == NULL || spec->argv[0] == NULL || spec->argv[0][0] == '\0')
		return mer_fail(err, MER_EINPUT, "the command has no words");
	if (spec->guard == NULL || spec->env == NULL)
		return mer_fail(err, MER_EINPUT, "a worker needs a supervisor and an environment");
	return meal_protocol_new(protocols[which], spec, out, err);
}

enum mer_status meal_worker_check(const struct mer_worker_spec *spec, const struct mer_input *input,
                                  struct mer_error *err)
{
	size_t which = (size_t)spec->protocol;
	if (which >= MER_PROTOCOL_COUNT || protocols[which] == NULL)
		return mer_fail(err, MER_EINPUT, "no such protocol: %s", mer_protocol_name(spec->protocol));
	return protocols[which]->check(spec, input, err);
}

/* --- carriers ------------------------------------------------------------------------------- */

struct meal_carrier *meal_carrier_new(const struct mer_worker_spec *spec)
{
	bool frames = spec->protocol == MER_PROTOCOL_FRAME && spec->remote == NULL;
	return spec->remote != NULL ? meal_remote_new(spec) : meal_local_new(frames);
}

static char **filled(const char *const *words, const char *name)
{
	size_t n = 0;
	while (words != NULL && words[n] != NULL)
		n++;
	char **copy = calloc(n + 1, sizeof *copy);
	for (size_t i = 0; copy != NULL && i < n; i++) {
		copy[i] = strdup(words[i]);
		if (copy[i] == NULL)
			mer_words_done(&copy);
		else
			far_room_fill(copy[i], name);
	}
	return copy;
}

/* The worker's own folder gets its name, before anything says it. */
static enum mer_status start_remote(struct uv_loop_s *loop, struct meal_carrier *carrier,
                                    const struct mer_worker_spec *spec,
                                    const struct mer_worker_events *events, void *ctx,
                                    struct mer_worker **out, struct mer_error *err)
{
	char folder[sizeof MER_FAR_FOLDER];
	struct mer_worker_spec own = *spec;
	enum mer_status st = MER_OK;
	if (spec->folder != NULL)
		(void)snprintf(folder, sizeof folder, "%s", spec->folder);
	else
		st = mer_far_folder(folder, err);
	const char *name = strrchr(folder, '-') + 1;
	MER_AUTO(mer_words_done) char **argv = filled(spec->argv, name);
	MER_AUTO(mer_words_done) char **env = filled(spec->env, name);
	const char *const texts[] = { spec->workdir != NULL ? spec->workdir : "",
		                          spec->weights != NULL ? spec->weights : "", NULL };
	MER_AUTO(mer_words_done) char **told = filled(texts, name);
	if (st != MER_OK || argv == NULL || env == NULL || told == NULL) {
		carrier->ops->close(carrier);
		return st != MER_OK ? st : mer_fail(err, MER_ENOMEM, "out of memory");
	}
	own.argv = (const char *const *)argv;
	own.env = (const char *const *)env;
	own.workdir = told[0];
	own.weights = spec->weights != NULL ? told[1] : NULL;
	own.folder = folder;
	return meal_worker_start(loop, carrier, &own, events, ctx, out, err);
}

enum mer_status meal_start(struct uv_loop_s *loop, const struct mer_worker_spec *spec,
                           const struct mer_worker_events *events, void *ctx,
                           struct mer_worker **out, struct mer_error *err)
{
	struct meal_carrier *carrier = meal_carrier_new(spec);
	if (carrier == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (spec->remote != NULL)
		return start_remote(loop, carrier, spec, events, ctx, out, err);
	return meal_worker_start(loop, carrier, spec, events, ctx, out, err);
}
