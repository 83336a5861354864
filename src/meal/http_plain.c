/* The API `plain`: the input goes to the server's URL as it stands, or in a template, and the answer's body
 * is the output, or what a pointer leads to in it. */
#include "http_api.h"
#include "http_template.h"

#include <mer/clean.h>
#include <string.h>

#define ANSWER_MAX ((size_t)64 << 20) /* bytes of a body that is looked into */

struct plain {
	struct http_api base;
	const char *body, *result; /* the template and the pointer, borrowed; NULL: there is none */
	struct mer_buf sent;       /* the template, filled */
	struct mer_buf whole;      /* of an answer that is looked into */
	struct mer_buf output;
	bool given; /* what was found */
	struct mer_error problem;
};

static struct plain *downcast(struct http_api *api)
{
	MER_ASSERT(api->ops == &http_plain);
	return (struct plain *)api;
}

static enum mer_status init(struct http_api *api, struct mer_error *err)
{
	struct plain *plain = downcast(api);
	(void)err;
	plain->body = http_param(api->http, "body");
	plain->result = http_param(api->http, "result");
	mer_buf_init(&plain->sent, SIZE_MAX);
	mer_buf_init(&plain->whole, ANSWER_MAX);
	mer_buf_init(&plain->output, SIZE_MAX);
	return MER_OK;
}

static void release(struct http_api *api)
{
	struct plain *plain = downcast(api);
	mer_buf_release(&plain->sent);
	mer_buf_release(&plain->whole);
	mer_buf_release(&plain->output);
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
	bool elsewhere = head->status >= 300 && head->status < 400; /* which a run does not follow */
	if (elsewhere || head->status == 401 || head->status == 403 || head->status == 404 ||
	    head->status >= 500)
		return mer_fail(err, MER_EUNREACHABLE, "it answers %d", head->status);
	api->greeted = true;
	return MER_OK;
}

static enum mer_status build(struct http_api *api, const struct mer_input *input,
                             struct http_request *out, struct mer_error *err)
{
	struct plain *plain = downcast(api);
	const char *type = http_param(api->http, "content_type");
	const char *method = http_param(api->http, "method");
	struct mer_str body = { input->bytes, input->len };
	enum mer_status st = meal_check_plain(input, err);
	mer_buf_clear(&plain->sent);
	if (st == MER_OK && plain->body != NULL) {
		st = http_template_fill(plain->body, body, api->http->model, &plain->sent, err);
		body = (struct mer_str){ plain->sent.ptr, plain->sent.len };
	}
	if (st != MER_OK)
		return st;
	out->method = method != NULL ? method : "POST";
	out->content_type = type != NULL          ? type
	                    : plain->body != NULL ? "application/json"
	                                          : "application/octet-stream";
	out->piece[0] = body;
	out->n_pieces = 1;
	return MER_OK;
}

static enum mer_status take(struct http_api *api, const struct http_response *head,
                            struct mer_error *err)
{
	struct plain *plain = downcast(api);
	(void)head, (void)err;
	mer_buf_clear(&plain->whole);
	plain->given = false;
	return MER_OK;
}

static void fail(struct plain *plain, enum mer_status status, struct meal_event *event)
{
	event->kind = MEAL_DONE;
	event->status = status;
	event->bytes = (struct mer_str){ plain->problem.message, strlen(plain->problem.message) };
}

static size_t feed(struct http_api *api, const char *bytes, size_t n, struct meal_event *event)
{
	struct plain *plain = downcast(api);
	event->kind = MEAL_NOTHING;
	if (plain->result == NULL) {
		if (n > 0)
			*event = (struct meal_event){ .kind = MEAL_OUTPUT, .bytes = { bytes, n } };
		return n;
	}
	mer_buf_add(&plain->whole, bytes, n);
	enum mer_status st = mer_buf_check(&plain->whole, NULL);
	if (st != MER_OK)
		fail(plain,
		     mer_fail(&plain->problem, st, "its answer is over %zu bytes", plain->whole.limit),
		     event);
	return n;
}

/* What the pointer leads to. */
static enum mer_status find(struct plain *plain, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	struct mer_str whole = { plain->whole.ptr, plain->whole.len };
	enum mer_status st = http_json_parse("its answer", whole, &json, err);
	if (st != MER_OK)
		return st;
	const json_t *found = http_pointer_get(json, plain->result);
	if (found == NULL)
		return mer_fail(err, MER_EMODEL, "its answer has nothing at '%s'", plain->result);
	mer_buf_clear(&plain->output);
	http_json_output(found, &plain->output);
	return mer_buf_check(&plain->output, err);
}

static void end(struct http_api *api, struct meal_event *event)
{
	struct plain *plain = downcast(api);
	*event = (struct meal_event){ .kind = MEAL_DONE };
	if (plain->result == NULL || plain->given)
		return;
	plain->given = true;
	enum mer_status st = find(plain, &plain->problem);
	if (st != MER_OK)
		fail(plain, st, event);
	else if (plain->output.len > 0)
		*event = (struct meal_event){ .kind = MEAL_OUTPUT,
			                          .bytes = { plain->output.ptr, plain->output.len } };
}

static void over(struct http_api *api)
{
	struct plain *plain = downcast(api);
	mer_buf_release(&plain->sent);
	mer_buf_release(&plain->whole);
	mer_buf_release(&plain->output);
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
