/* Sends files to another host's cache; mer/lend.h. What is there of those of which the worker could not tell is asked
 * first (lend.sh), then what is missing is sent behind it, one after another, a large file over several channels,
 * since a server's window bounds each. */
#define LOG_AREA "meal"
#include "lend_plan.h"
#include "lending.h"

#include <mer/clean.h>
#include <mer/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STRIPE_BYTES (INT64_C(4) << 20)
/* A server's channels are opened one after another, a round trip each, in which those that are open send what its
 * window takes. */
#define STRIPE_LEAD_BYTES (INT64_C(2) << 20)

/* A file or folder of a lending. */
struct item {
	char *path;
	char key[MER_SHA256_SIZE];
	bool is_there; /* path is one there: nothing is copied */
	bool is_source;
	char *said; /* of it at the first look, or by the worker; NULL: it has not been asked for */
};

struct lend {
	struct mer_lending base;
	struct item *items;
	size_t n, at;
	struct bundle *bundle; /* of the item that is being sent */
	int64_t had;           /* bytes of it that were there at the last look */
	int rounds;
	bool whole, changed;  /* as the last round said */
	bool asked;           /* the errand is a look or a check, not a put */
	struct mer_error why; /* the first failure of the last round */
};

static struct lend *downcast(struct mer_lending *lending)
{
	return (struct lend *)lending;
}

static void release(struct mer_lending *lending)
{
	struct lend *lend = downcast(lending);
	lending_hold(lending, false);
	for (size_t i = 0; i < lend->n; i++) {
		free(lend->items[i].path);
		free(lend->items[i].said);
	}
	free(lend->items);
	bundle_free(lend->bundle);
}

/* --- orders ------------------------------------------------------------------------------- */

/* Of the item, or before anything is known of it of all that follow. */
static enum mer_status ask(struct lend *lend, struct mer_error *err)
{
	const struct item *item = &lend->items[lend->at];
	struct lending_order order = { .words = { "look" } };
	size_t n = 1;
	for (size_t i = lend->at; i < lend->n && n + 1 < LENDING_WORDS_MAX; i++)
		if (!lend->items[i].is_there && (i == lend->at || lend->items[i].said == NULL))
			order.words[n++] = lend->items[i].key;
	if (item->is_there)
		order = (struct lending_order){ .words = { "check", item->key, item->path } };
	lend->asked = true;
	lend->whole = lend->changed = false;
	lend->why.status = MER_OK;
	return lending_send(&lend->base, &order, err);
}

static enum mer_status put(struct lend *lend, const struct lend_part *part, struct mer_error *err)
{
	char size[24], start[24], bytes[24];
	(void)snprintf(size, sizeof size, "%lld", (long long)bundle_size(lend->bundle));
	(void)snprintf(start, sizeof start, "%lld", (long long)part->start);
	(void)snprintf(bytes, sizeof bytes, "%lld", (long long)part->bytes);
	const struct lending_order order = {
		.words = { "put", lend->items[lend->at].key,
		           bundle_is_folder(lend->bundle) ? "folder" : "file", size, start, bytes },
		.source = lend->bundle,
		.from = part->start + part->bytes,
		.to = part->end,
	};
	return lending_send(&lend->base, &order, err);
}

static const struct lend_shares shares = { .channels = LENDING_STRIPES,
	                                       .least = STRIPE_BYTES,
	                                       .lead = STRIPE_LEAD_BYTES };

static enum mer_status send_rest(struct lend *lend, const char *parts_text, struct mer_error *err)
{
	struct lend_part parts[LEND_PARTS_MAX], plan[LENDING_STRIPES];
	size_t n;
	const struct item *item = &lend->items[lend->at];
	if (lend->bundle == NULL) {
		enum mer_status st = bundle_open(item->path, item->is_source, &lend->bundle, err);
		if (st != MER_OK)
			return st;
	}
	int64_t size = bundle_size(lend->bundle);
	if (!lend_parts_read(parts_text, size, parts, &n))
		n = 0;
	int64_t have = lend_parts_have(parts, n);
	lend->rounds = have > lend->had ? 0 : lend->rounds + 1;
	lend->had = have;
	if (lend->rounds > LENDING_ROUNDS)
		return mer_fail(err, MER_EUNREACHABLE, "'%s' cannot be copied to server '%s'", item->path,
		                lend->base.remote->server);
	n = lend_plan(parts, n, size, &shares, plan);
	MER_DEBUG("lend path=%s server=%s bytes=%lld there=%lld channels=%zu", item->path,
	          lend->base.remote->server, (long long)size, (long long)have, n);
	lend->asked = false;
	enum mer_status st = put(lend, &plan[0], err);
	for (size_t i = 1; i < n && st == MER_OK; i++)
		if (put(lend, &plan[i], NULL) != MER_OK)
			break; /* the next round sends the rest */
	if (st == MER_OK && n < LENDING_STRIPES)
		lending_ahead(&lend->base, 1); /* for who waits for it; else once the first has ended */
	return st;
}

/* The channels of what is probably to be sent are opened while what is there is asked for. */
static void prepare(struct lend *lend)
{
	struct stat info;
	int64_t largest = 0;
	for (size_t i = 0; i < lend->n; i++)
		if (!lend->items[i].is_there && stat(lend->items[i].path, &info) == 0 &&
		    (int64_t)info.st_size > largest)
			largest = (int64_t)info.st_size;
	int64_t n = largest / STRIPE_BYTES, most = LENDING_STRIPES - 1; /* and that of the question */
	lending_ahead(&lend->base, n < 1 ? 1 : (size_t)(n < most ? n : most));
}

/* --- what comes of them --------------------------------------------------------------------- */

static enum mer_status on_told(struct lend *lend, const char *text, struct mer_error *err);

static enum mer_status go_on(struct lend *lend, struct mer_error *err)
{
	bundle_free(lend->bundle);
	lend->bundle = NULL;
	lend->rounds = 0;
	lend->had = -1;
	lend->whole = lend->changed = false;
	lend->why.status = MER_OK;
	if (++lend->at == lend->n)
		return MER_OK;
	const struct item *next = &lend->items[lend->at];
	return next->said != NULL ? on_told(lend, next->said, err) : ask(lend, err);
}

/* The bytes of a path that is there are what was added, or are not. */
static enum mer_status on_checked(struct lend *lend, const char *text, struct mer_error *err)
{
	const struct item *item = &lend->items[lend->at];
	const char *server = lend->base.remote->server;
	if (strcmp(text, "ok\n") == 0)
		return go_on(lend, err);
	if (strcmp(text, "none\n") == 0)
		return mer_fail(err, MER_ENOTFOUND, "there is no '%s' on server '%s'", item->path, server);
	return mer_fail(err, MER_ECONFLICT,
	                "'%s' on server '%s' is not what was added: its sha256 is not %s", item->path,
	                server, item->key);
}

/* What there is of the item, as one line of a look says. */
static enum mer_status on_told(struct lend *lend, const char *text, struct mer_error *err)
{
	const struct item *item = &lend->items[lend->at];
	if (strcmp(text, "ok\n") == 0)
		return go_on(lend, err);
	if (strcmp(text, "changed\n") == 0) {
		MER_LOG(MER_LOG_WARN,
		        "the copy of '%s' on server '%s' was not what it should be, and is made anew",
		        item->path, lend->base.remote->server);
		text = "parts\n";
	}
	if (strncmp(text, "parts", 5) != 0)
		return mer_fail(err, MER_EIO, "server '%s' does not say what it has of '%s'",
		                lend->base.remote->server, item->path);
	return send_rest(lend, text + 5, err);
}

/* A line for each that was asked for. */
static enum mer_status on_looked(struct lend *lend, const char *text, struct mer_error *err)
{
	if (lend->items[lend->at].is_there)
		return on_checked(lend, text, err);
	for (size_t i = lend->at; i < lend->n; i++) {
		struct item *item = &lend->items[i];
		size_t len = strcspn(text, "\n") + (strchr(text, '\n') != NULL);
		if (item->is_there || (i > lend->at && item->said != NULL))
			continue;
		free(item->said);
		item->said = strndup(text, len);
		if (item->said == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		text += len;
	}
	return on_told(lend, lend->items[lend->at].said, err);
}

/* All channels of a round are closed. A lost connection is tried again as long as something comes over. */
static enum mer_status on_round(struct lend *lend, struct mer_error *err)
{
	const struct item *item = &lend->items[lend->at];
	if (lend->whole)
		return go_on(lend, err);
	if (lend->changed)
		return mer_fail(err, MER_ECONFLICT, "'%s' was changed since its sha256 was taken, %s",
		                item->path, item->key);
	if (lend->why.status != MER_OK && lend->why.status != MER_EUNREACHABLE) {
		*err = lend->why;
		return err->status;
	}
	if (lend->why.status != MER_OK && lend->rounds >= 2) {
		*err = lend->why;
		return err->status;
	}
	return ask(lend, err);
}

static void on_ended(struct mer_lending *lending, const char *text, const struct mer_error *error)
{
	struct lend *lend = downcast(lending);
	struct mer_error err;
	if (error != NULL && lend->why.status == MER_OK)
		lend->why = *error;
	lend->whole |= strcmp(text, "ok\n") == 0;
	lend->changed |= strcmp(text, "changed\n") == 0;
	if (lending->n_errands > 0) {
		lending_ahead(lending, 1);
		return;
	}
	enum mer_status st = lending->error.status;
	if (st == MER_OK && lend->asked && error != NULL) {
		err = *error;
		st = err.status;
	} else if (st == MER_OK) {
		st = lend->asked ? on_looked(lend, text, &err) : on_round(lend, &err);
	}
	if (st != MER_OK && lending->error.status == MER_OK)
		lending_fail(lending, &err);
	if (lending->n_errands == 0)
		lending_finish(lending);
}

static bool on_bytes(struct mer_lending *lending, const char *bytes, size_t n)
{
	(void)lending, (void)bytes, (void)n;
	return false;
}

static const struct lending_kind lend_kind = {
	.size = sizeof(struct lend),
	.release = release,
	.ended = on_ended,
	.bytes = on_bytes,
};

/* Returns false when there is no memory for them. */
static bool copy_items(struct lend *lend, const struct mer_lent lent[], size_t n)
{
	lend->items = calloc(n, sizeof *lend->items);
	if (lend->items == NULL)
		return false;
	for (; lend->n < n; lend->n++) {
		struct item *item = &lend->items[lend->n];
		const struct mer_lent *from = &lent[lend->n];
		if ((item->path = strdup(from->path)) == NULL)
			return false;
		item->is_there = from->is_there;
		item->is_source = from->is_source;
		(void)snprintf(item->key, sizeof item->key, "%s", from->sha256);
	}
	return true;
}

/* What the worker has said, as a look would. */
static bool hear(struct lend *lend, const char *lacks)
{
	bool lacking = strlen(lacks) == lend->n && strpbrk(lacks, "na") != NULL, heard = true;
	for (size_t i = 0; i < lend->n && lacking; i++)
		if (lacks[i] == 'y' || lacks[i] == 'n')
			heard &= (lend->items[i].said = strdup(lacks[i] == 'y' ? "ok\n" : "parts\n")) != NULL;
	return heard;
}

/* What keeps it from sending is told once it is asked for. */
static enum mer_status begin(struct lend *lend, struct mer_error *err)
{
	const char *said = lend->items[0].said;
	enum mer_status st = MER_OK;
	if (said == NULL || on_told(lend, said, NULL) != MER_OK)
		st = ask(lend, err);
	if (st == MER_OK && lend->asked)
		prepare(lend);
	return st;
}

enum mer_status mer_lend(struct uv_loop_s *loop, const struct mer_worker_spec *spec,
                         const struct mer_lent lent[], size_t n_lent, const char *lacks,
                         mer_lending_done_fn *done, void *ctx, struct mer_lending **out,
                         struct mer_error *err)
{
	struct lend *lend;
	MER_ASSERT(n_lent > 0);
	enum mer_status st = lending_new(&lend_kind, loop, spec, done, ctx, &lend, err);
	if (st != MER_OK)
		return st;
	lending_hold(&lend->base, true);
	lend->had = -1;
	st = copy_items(lend, lent, n_lent) && hear(lend, lacks)
	         ? begin(lend, err)
	         : mer_fail(err, MER_ENOMEM, "out of memory");
	if (st != MER_OK) {
		lending_free(&lend->base);
		return st;
	}
	*out = &lend->base;
	return MER_OK;
}
