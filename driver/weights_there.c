/* Summing up what is on another host; weights_there.h. */
#include "weights_there.h"

#include "find.h"
#include "server_reach.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/lend.h>
#include <mer/sched.h>
#include <string.h>

struct summing {
	struct mer_lending *lending; /* until it is done */
	bool done;
	struct mer_error error;
};

static void on_done(void *ctx, const struct mer_error *err)
{
	struct summing *summing = ctx;
	summing->lending = NULL;
	summing->done = true;
	if (err != NULL)
		summing->error = *err;
}

static void on_cancel(void *ctx, bool kill)
{
	struct summing *summing = ctx;
	(void)kill;
	if (summing->lending != NULL)
		mer_lending_cancel(summing->lending);
}

static enum mer_status sum(struct session *s, const struct mer_remote *remote, const char *path,
                           struct mer_sum *out, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *guard = NULL;
	struct summing summing = { .error = { .status = MER_OK } };
	uv_loop_t *loop;
	enum mer_status st = mer_place(MER_PLACE_GUARD, &guard, err);
	if (st == MER_OK)
		st = session_loop(s, &loop, err);
	const struct mer_worker_spec there = { .guard = guard, .remote = remote };
	if (st == MER_OK)
		st = mer_far_sum(loop, &there, path, out, on_done, &summing, &summing.lending, err);
	if (st != MER_OK)
		return st;
	session_cancels(s, on_cancel, &summing);
	session_run(s, &summing.done);
	session_cancels(s, NULL, NULL);
	if (summing.error.status == MER_OK)
		return MER_OK;
	*err = summing.error;
	return err->status;
}

enum mer_status weights_there_sum(struct session *s, const char *stored, struct mer_sum *out,
                                  bool *nothing, struct mer_error *err)
{
	size_t len = 0;
	char kind[16];
	struct mer_uid uid;
	struct mer_remote *remote;
	MER_ASSERT(mer_weights_there(stored, &len));
	MER_AUTO(mer_text_done) char *server = strndup(stored, len);
	if (server == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = find_server(s->dal, server, &uid, kind, err);
	if (st != MER_OK)
		return st;
	if (strcmp(kind, "ssh") != 0) {
		(void)mer_fail(err, MER_EINPUT, "server '%s' is of kind '%s': nothing is there but here",
		               server, kind);
		mer_hint(err, "a file here whose name has a colon is ./NAME");
		return MER_EINPUT;
	}
	st = reach_read(s, server, &remote, err);
	if (st != MER_OK)
		return st;
	st = sum(s, remote, stored + len + 1, out, err);
	mer_remote_free(remote);
	*nothing = st == MER_ENOTFOUND;
	if (*nothing)
		return mer_wrap(err, MER_EINPUT, "PATH");
	return st == MER_EIO ? mer_wrap(err, MER_EUNREACHABLE, "PATH") : st;
}
