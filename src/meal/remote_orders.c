/* The channel of orders; remote_orders.h. */
#define LOG_AREA "meal"
#include "remote_orders.h"

#include <mer/log.h>
#include <string.h>

#define PREAMBLE_MAX ((size_t)128 << 10) /* a script and a few words */

static void on_prepared(void *ctx)
{
	struct remote_orders *orders = ctx;
	orders->carrier->ops->go(orders->carrier);
}

static void on_data(void *ctx, enum meal_stream stream, const char *bytes, size_t n)
{
	struct remote_orders *orders = ctx;
	struct far_piece piece;
	for (size_t at = 0; stream == MEAL_STDERR && at < n;) {
		at += far_reader_feed(&orders->reader, bytes + at, n - at, &piece);
		orders->up |= piece.mark != NULL;
	}
	MER_DEBUG("orders worker=%p stream=%d bytes=%zu up=%d", orders->worker->ctx, (int)stream, n,
	          orders->up);
}

static void on_eof(void *ctx, enum meal_stream stream)
{
	(void)ctx, (void)stream;
}

static void on_ended(void *ctx, const struct meal_exit *how)
{
	struct remote_orders *orders = ctx;
	orders->over = true;
	MER_DEBUG("orders ended worker=%p exit=%d", orders->worker->ctx, how->exit_code);
	orders->events->ended(orders->ctx);
}

static void on_closed(void *ctx)
{
	const struct remote_orders *orders = ctx;
	orders->events->closed(orders->ctx);
}

static const struct meal_carrier_events events = {
	.prepared = on_prepared,
	.data = on_data,
	.eof = on_eof,
	.ended = on_ended,
	.closed = on_closed,
};

enum mer_status remote_orders_init(struct remote_orders *orders, const char id[FAR_NONCE],
                                   struct mer_error *err)
{
	mer_buf_init(&orders->preamble, PREAMBLE_MAX);
	enum mer_status st = far_names_init(&orders->names, err);
	memcpy(orders->names.id, id, FAR_NONCE); /* they are for what bears the worker's mark */
	return st;
}

void remote_orders_release(struct remote_orders *orders)
{
	mer_buf_release(&orders->preamble);
}

/* beside NULL: with a login of its own. */
static bool open_channel(struct remote_orders *orders, struct meal_carrier *beside,
                         struct far_whom whom)
{
	struct mer_error err;
	whom.apart = beside == NULL;
	mer_buf_clear(&orders->preamble);
	far_reader_init(&orders->reader, orders->names.nonce);
	enum mer_status st = far_orders(&orders->preamble, orders->script, &orders->names, &whom, &err);
	if (st == MER_OK && beside != NULL)
		st = remote_way_beside(orders->way, beside, &events, orders, &orders->carrier, &err);
	else if (st == MER_OK)
		st = remote_way_apart(orders->way, &events, orders, &orders->carrier, &err);
	orders->over = st != MER_OK;
	if (orders->over) {
		MER_DEBUG("no orders worker=%p why=%s", orders->worker->ctx, err.message);
		return false;
	}
	const struct mer_str preamble = { orders->preamble.ptr, orders->preamble.len };
	orders->carrier->ops->write(orders->carrier, &preamble, 1, false, NULL);
	return true;
}

bool remote_orders_open(struct remote_orders *orders, struct meal_carrier *beside,
                        const struct far_whom *whom)
{
	return orders->carrier == NULL && !orders->over && open_channel(orders, beside, *whom);
}

static void tell(struct remote_orders *orders, const char *word)
{
	if (orders->carrier == NULL || orders->over || orders->leaving)
		return;
	enum mer_status st =
		orders->carrier->ops->tell(orders->carrier, (struct mer_str){ word, strlen(word) });
	if (st != MER_OK) /* the connection has come to a halt: what cannot be told, silence tells */
		MER_DEBUG("order not sent worker=%p", orders->worker->ctx);
}

bool remote_orders_reopen(struct remote_orders *orders, const struct far_whom *whom)
{
	if (orders->up || orders->apart || orders->leaving)
		return false;
	orders->carrier->ops->close(orders->carrier);
	orders->carrier = NULL;
	orders->apart = true;
	bool opened = open_channel(orders, NULL, *whom);
	if (orders->told_term)
		tell(orders, "term\n");
	return opened;
}

void remote_orders_beat(struct remote_orders *orders)
{
	tell(orders, "beat\n");
}

void remote_orders_term(struct remote_orders *orders)
{
	orders->told_term = true;
	tell(orders, "term\n");
}

bool remote_orders_are_over(const struct remote_orders *orders)
{
	return orders->carrier == NULL || orders->over;
}

void remote_orders_leave(struct remote_orders *orders)
{
	static const struct mer_str leave = { "leave\n", 6 };
	if (remote_orders_are_over(orders) || orders->leaving)
		return;
	orders->leaving = true;
	orders->carrier->ops->write(orders->carrier, &leave, 1, true, NULL);
}

void remote_orders_kill(struct remote_orders *orders)
{
	if (!remote_orders_are_over(orders))
		orders->carrier->ops->signal(orders->carrier, MEAL_KILL);
}

void remote_orders_close(struct remote_orders *orders)
{
	if (orders->carrier != NULL)
		orders->carrier->ops->close(orders->carrier);
}
