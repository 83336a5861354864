/* What workers share on other hosts; links.h. */
#define LOG_AREA "meal"
#include "links.h"

#include <mer/log.h>
#include <mer/module.h>
#include <mer/remote.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define SPARES_MAX 3 /* of a server: while one is being opened the next may be needed */
#define SPARE_IDLE_MS 60000
#define SPARE_FIRST_MS \
	30 /* after a server's first worker: a program with one run has gone by then */
/* A start keeps a processor of its host busy, and the login there, so it is put off: until a run that has a
 * supervisor is over, but not for long, since the next may come meanwhile. */
#define SPARE_BUSY_MS 10
#define SPARE_AFTER_MS 1 /* then whoever waits has got the answer */
#define TICK_MS 1000
#define HANDLES 2

/* What is known of a server. */
struct used {
	TAILQ_ENTRY(used) link;
	struct mer_remote *remote; /* a copy */
	size_t spares, wanted;     /* there are, and ought to be */
	int64_t due_ms;            /* when they are to be opened; 0: not */
	bool again;                /* it is used more than once */
	int holds;                 /* links_hold() */
};

struct mer_links {
	struct uv_loop_s *loop;
	const struct meal_ssh *ssh; /* NULL: not loaded */
	struct ssh_pool *pool;
	struct mer_error missing; /* why it is not; status MER_OK: nobody has asked */
	TAILQ_HEAD(, remote_spare) spares;
	TAILQ_HEAD(, used) used;
	uv_timer_t later, tick;
	size_t parts; /* that are open: spares, handles, the pool */
	bool closing;
	void (*closed)(void *ctx);
	void *ctx;
};

static enum mer_status load(struct mer_links *links, struct mer_error *err)
{
	const void *table;
	enum mer_status st = mer_module_load(MEAL_MODULE_SSH, &table, err);
	if (st == MER_OK)
		st = ((const struct meal_ssh *)table)->open(links->loop, &links->pool, err);
	if (st != MER_OK)
		return st;
	links->ssh = table;
	links->parts++;
	return MER_OK;
}

enum mer_status links_ssh(struct mer_links *links, const struct meal_ssh **ssh,
                          struct ssh_pool **pool, struct mer_error *err)
{
	if (links->ssh == NULL && links->missing.status == MER_OK)
		links->missing.status = load(links, &links->missing);
	if (links->ssh == NULL) {
		(void)mer_fail(err, MER_EUNREACHABLE, "this mer has no libssh2: %s",
		               links->missing.message);
		mer_hint(err, "install its module (package mer-ssh, or meson setup -Dssh=enabled), or use "
		              "transport=auto");
		return MER_EUNREACHABLE;
	}
	*ssh = links->ssh;
	*pool = links->pool;
	return MER_OK;
}

/* --- spares ------------------------------------------------------------------------------------- */

static struct used *used_of(struct mer_links *links, const struct mer_remote *remote)
{
	struct used *used;
	TAILQ_FOREACH(used, &links->used, link)
	if (mer_remote_same(used->remote, remote))
		return used;
	used = calloc(1, sizeof *used);
	if (used == NULL || mer_remote_copy(remote, &used->remote, NULL) != MER_OK) {
		free(used);
		return NULL;
	}
	used->wanted = 1;
	TAILQ_INSERT_TAIL(&links->used, used, link);
	return used;
}

static void open_spares(struct mer_links *links, struct used *used, size_t wanted)
{
	while (used->spares < wanted && !links->closing) {
		struct remote_spare *spare;
		struct mer_error err;
		if (remote_spare_new(links->loop, used->remote, links, &spare, &err) != MER_OK) {
			MER_DEBUG("no spare server=%s why=%s", used->remote->server, err.message);
			return;
		}
		MER_DEBUG("spare server=%s", used->remote->server);
		spare->since_ms = mer_clock_ms();
		TAILQ_INSERT_TAIL(&links->spares, spare, link);
		used->spares++;
		links->parts++;
		(void)uv_timer_again(&links->tick);
	}
}

static void on_later(uv_timer_t *timer);

/* Waits for whoever is due next. */
static void await_due(struct mer_links *links)
{
	const struct used *used;
	int64_t next_ms = 0;
	TAILQ_FOREACH(used, &links->used, link)
	if (used->due_ms != 0 && (next_ms == 0 || used->due_ms < next_ms))
		next_ms = used->due_ms;
	if (next_ms == 0 || links->closing)
		return;
	int64_t left_ms = next_ms - mer_clock_ms();
	(void)uv_timer_start(&links->later, on_later, left_ms > 0 ? (uint64_t)left_ms : 0, 0);
}

static void on_later(uv_timer_t *timer)
{
	struct mer_links *links = timer->data;
	struct used *used;
	int64_t now_ms = mer_clock_ms();
	TAILQ_FOREACH(used, &links->used, link)
	{
		if (used->due_ms == 0 || used->due_ms > now_ms)
			continue;
		used->due_ms = 0;
		used->again = true;
		if (used->holds <= 0)
			open_spares(links, used, used->wanted);
	}
	await_due(links);
}

/* Spares are to be opened so soon, or sooner. */
static void open_within(struct mer_links *links, struct used *used, int64_t wait_ms)
{
	int64_t due_ms = mer_clock_ms() + wait_ms;
	if (used->due_ms != 0 && used->due_ms <= due_ms)
		return;
	used->due_ms = due_ms;
	await_due(links);
}

void links_used(struct mer_links *links, const struct mer_remote *remote, bool at_once)
{
	struct used *used = used_of(links, remote);
	if (used == NULL || links->closing || !used->again || used->holds > 0)
		return;
	if (at_once) {
		open_within(links, used, SPARE_BUSY_MS);
		return;
	}
	if (used->wanted < SPARES_MAX)
		used->wanted++;
	open_spares(links, used, used->wanted);
}

void links_free_again(struct mer_links *links, const struct mer_remote *remote)
{
	struct used *used = used_of(links, remote);
	if (used != NULL && !links->closing)
		open_within(links, used, used->again ? SPARE_AFTER_MS : SPARE_FIRST_MS);
}

void links_ahead(struct mer_links *links, const struct mer_remote *remote, size_t n)
{
	struct used *used = used_of(links, remote);
	if (used != NULL)
		open_spares(links, used, n);
}

void links_hold(struct mer_links *links, const struct mer_remote *remote, bool hold)
{
	struct used *used = used_of(links, remote);
	if (used != NULL)
		used->holds += hold ? 1 : -1;
}

struct remote_spare *links_spare(struct mer_links *links, const struct mer_remote *remote)
{
	struct remote_spare *spare;
	TAILQ_FOREACH(spare, &links->spares, link)
	if (mer_remote_same(spare->remote, remote) && remote_spare_lives(spare))
		return spare;
	return NULL;
}

void links_take(struct remote_spare *spare)
{
	struct mer_links *links = spare->links;
	struct used *used = used_of(links, spare->remote);
	TAILQ_REMOVE(&links->spares, spare, link);
	spare->waits = false;
	if (used != NULL)
		used->spares--;
}

void links_drop(struct remote_spare *spare)
{
	links_take(spare);
	remote_spare_close(spare);
}

static void on_tick(uv_timer_t *timer)
{
	struct mer_links *links = timer->data;
	struct remote_spare *spare, *next;
	int64_t now = mer_clock_ms();
	for (spare = TAILQ_FIRST(&links->spares); spare != NULL; spare = next) {
		next = TAILQ_NEXT(spare, link);
		if (now - spare->since_ms > SPARE_IDLE_MS)
			links_drop(spare);
	}
	if (TAILQ_EMPTY(&links->spares))
		(void)uv_timer_stop(timer);
}

/* --- life ------------------------------------------------------------------------------------------ */

static void links_free(struct mer_links *links)
{
	struct used *used;
	while ((used = TAILQ_FIRST(&links->used)) != NULL) {
		TAILQ_REMOVE(&links->used, used, link);
		mer_remote_free(used->remote);
		free(used);
	}
	free(links);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct mer_links *links = handle->data;
	if (--links->parts > 0)
		return;
	links->closed(links->ctx);
	links_free(links);
}

static void close_handles(struct mer_links *links)
{
	uv_close((uv_handle_t *)&links->later, on_handle_closed);
	uv_close((uv_handle_t *)&links->tick, on_handle_closed);
}

static void on_pool_closed(void *ctx)
{
	struct mer_links *links = ctx;
	links->parts--;
	close_handles(links);
}

/* Spares go first, then the pool that they were on, then the handles. */
static void part_gone(struct mer_links *links)
{
	links->parts--;
	if (!links->closing || links->parts > HANDLES + (links->pool != NULL))
		return;
	if (links->pool != NULL)
		links->ssh->close(links->pool, on_pool_closed, links);
	else
		close_handles(links);
}

void links_gone(struct remote_spare *spare)
{
	part_gone(spare->links);
}

enum mer_status mer_links_new(struct uv_loop_s *loop, struct mer_links **out, struct mer_error *err)
{
	struct mer_links *links = calloc(1, sizeof *links);
	if (links == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	links->loop = loop;
	links->parts = HANDLES;
	TAILQ_INIT(&links->spares);
	TAILQ_INIT(&links->used);
	(void)uv_timer_init(loop, &links->later);
	(void)uv_timer_init(loop, &links->tick);
	links->later.data = links->tick.data = links;
	uv_unref((uv_handle_t *)&links->later);
	uv_unref((uv_handle_t *)&links->tick);
	(void)uv_timer_start(&links->tick, on_tick, TICK_MS, TICK_MS); /* as uv_timer_again() goes on */
	(void)uv_timer_stop(&links->tick);
	*out = links;
	return MER_OK;
}

void mer_links_close(struct mer_links *links, void (*closed)(void *ctx), void *ctx)
{
	struct remote_spare *spare;
	links->closing = true;
	links->closed = closed;
	links->ctx = ctx;
	links->parts++;
	while ((spare = TAILQ_FIRST(&links->spares)) != NULL)
		links_drop(spare);
	part_gone(links);
}
