/* The API `plain`: the input is POSTed to the server's URL as it stands, in which {model} is the model's
 * name there, and the answer's body is the output. */
#include "http_api.h"

#include <string.h>

struct plain {
	struct http_api base;
};

static enum mer_status init(struct http_api *api, struct mer_error *err)
{
	(void)api, (void)err;
	return MER_OK;
}

static void release(struct http_api *api)
{
	(void)api;
}

/* Any answer tells that somebody is there: a URL that takes a POST need not know HEAD. */
static enum mer_status hello(struct http_api *api, bool model, struct http_request *out,
                             struct mer_error *err)
{
	(void)model, (void)err;
	api->any_status = true;
	out->method = "HEAD";
	return MER_OK;
}

static enum mer_status heard(struct http_api *api, bool model, const struct http_response *head,
                             struct mer_str body, struct mer_error *err)
{
	(void)model, (void)body;
	if (head->status == 401 || head->status == 403 || head->status == 404 || head->status >= 500)
		return mer_fail(err, MER_EUNREACHABLE, "it answers %d", head->status);
	api->greeted = true;
	return MER_OK;
}

static enum mer_status build(struct http_api *api, const struct mer_input *input,
                             struct http_request *out, struct mer_error *err)
{
	const char *type = http_param(api->http, "content_type");
	enum mer_status st = meal_check_plain(input, err);
	if (st != MER_OK)
		return st;
	out->method = "POST";
	out->content_type = type != NULL ? type : "application/octet-stream";
	out->piece[0] = (struct mer_str){ input->bytes, input->len };
	out->n_pieces = 1;
	return MER_OK;
}

static enum mer_status take(struct http_api *api, const struct http_response *head,
                            struct mer_error *err)
{
	(void)api, (void)head, (void)err;
	return MER_OK;
}

static size_t feed(struct http_api *api, const char *bytes, size_t n, struct meal_event *event)
{
	(void)api;
	if (n > 0)
		*event = (struct meal_event){ .kind = MEAL_OUTPUT, .bytes = { bytes, n } };
	return n;
}

static void end(struct http_api *api, struct meal_event *event)
{
	(void)api;
	*event = (struct meal_event){ .kind = MEAL_DONE };
}

static void over(struct http_api *api)
{
	(void)api;
}

const struct http_api_ops http_plain = {
	.name = "plain",
	.size = sizeof(struct plain),
	.init = init,
	.release = release,
	.hello = hello,
	.heard = heard,
	.build = build,
	.take = take,
	.feed = feed,
	.end = end,
	.over = over,
};
