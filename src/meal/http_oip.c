/*
 * The API `oip`: the Open Inference Protocol v2 over REST. A worker first asks the server for its
 * extensions and for the model's contract; tensors then go as binary data where the server says that it
 * knows binary_tensor_data, else as JSON. What comes back is read as it is, in either form.
 *
 * Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md; triton's
 * docs/protocol/extension_binary_data.md.
 */
#include "http_api.h"
#include "http_template.h"

#include <inttypes.h>
#include <mer/clean.h>
#include <mer/oip.h>
#include <stdlib.h>
#include <string.h>

#define JSON_MOST ((uint64_t)1 << 30) /* bytes of an answer in JSON, which is read as a whole */
#define HEADER_MOST ((int64_t)1 << 20)

enum asked { NOTHING, SERVER, MODEL_READY, MODEL };

/* Where in an answer's body: JSON alone, JSON before binary data, the binary data, and behind JSON alone
 * the values that were in it. */
enum phase { WHOLE, HEADER, BINARY, VALUES };

struct oip {
	struct http_api base;
	enum asked asked; /* by the last hello */
	bool binary;      /* the server takes binary data and gives some */
	json_t *inputs;   /* the model's contract; NULL: it says nothing of it */
	char *announced;

	/* the run that is open */
	bool described; /* its answer is told with a meta */
	struct mer_oip_request request;
	struct mer_buf text; /* its JSON; then that of the answer */

	/* its answer */
	enum phase phase;
	uint64_t left; /* bytes of HEADER; of BINARY */
	json_t *meta;
	char *meta_text;
	struct mer_content content;
	struct mer_content_walk walk;
	struct mer_oip_request answer; /* what was JSON, as binary data */
	struct mer_str rest;           /* of it, that is not told */
	bool meta_due;
	struct mer_error problem;
};

static struct oip *downcast(struct http_api *api)
{
	MER_ASSERT(api->ops == &http_oip);
	return (struct oip *)api;
}

static enum mer_status init(struct http_api *api, struct mer_error *err)
{
	(void)err;
	mer_buf_init(&downcast(api)->text, SIZE_MAX);
	return MER_OK;
}

static void forget_run(struct oip *oip)
{
	mer_oip_request_release(&oip->request);
	mer_oip_request_release(&oip->answer);
	mer_content_release(&oip->content);
	mer_buf_release(&oip->text);
	json_decref(oip->meta);
	free(oip->meta_text);
	oip->meta = NULL;
	oip->meta_text = NULL;
	mer_buf_init(&oip->text, SIZE_MAX);
}

static void release(struct http_api *api)
{
	struct oip *oip = downcast(api);
	forget_run(oip);
	json_decref(oip->inputs);
	free(oip->announced);
}

static void over(struct http_api *api)
{
	forget_run(downcast(api));
}

/* --- the server and the model --------------------------------------------------------------- */

static void add_model(const struct http_api *api, struct mer_buf *path)
{
	mer_buf_text(path, "/v2/models/");
	http_add_segment(path, api->http->model);
}

static enum mer_status hello(struct http_api *api, bool model, struct http_request *out,
                             struct mer_error *err)
{
	struct oip *oip = downcast(api);
	enum asked first = api->probe == MER_HTTP_RUNS ? SERVER : MODEL_READY;
	(void)err;
	out->method = "GET";
	out->accept = "application/json";
	if (!model) {
		mer_buf_text(&out->path, "/v2/health/ready");
		return MER_OK;
	}
	oip->asked = oip->asked == NOTHING ? first : MODEL;
	if (oip->asked == SERVER) {
		api->any_status = true; /* a proxy may let through no more than the models */
		mer_buf_text(&out->path, "/v2");
		return MER_OK;
	}
	add_model(api, &out->path);
	if (oip->asked == MODEL_READY)
		mer_buf_text(&out->path, "/ready");
	return MER_OK;
}

static bool has_extension(const json_t *server, const char *name)
{
	const json_t *list = json_object_get(server, "extensions");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (text != NULL && strcmp(text, name) == 0)
			return true;
	}
	return false;
}

/* One list of a contract with what MER knows of it; NULL where there is none, or none that it knows. */
static json_t *read_contract(const json_t *model, const char *key)
{
	const json_t *list = json_object_get(model, key);
	json_t *out = json_array();
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);
		json_t *shape = json_object_get(one, "shape");
		const char *name = mer_json_get_text(one, "name", "");
		const char *datatype = mer_json_get_text(one, "datatype", "");
		bool known = name[0] != '\0' && mer_datatype_by_name(datatype) != MER_DATATYPE_NONE;
		for (size_t j = 0; j < json_array_size(shape); j++)
			known = known && json_is_integer(json_array_get(shape, j));
		if (!known || !json_is_array(shape) ||
		    json_array_append_new(out, json_pack("{s:s,s:s,s:O}", "name", name, "datatype",
		                                         datatype, "shape", shape)) != 0) {
			json_decref(out);
			return NULL;
		}
	}
	if (json_array_size(out) > 0)
		return out;
	json_decref(out);
	return NULL;
}

static enum mer_status read_model(struct oip *oip, const json_t *model, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *announced = json_object();
	MER_AUTO(mer_json_done) json_t *outputs = read_contract(model, "outputs");
	if (!json_is_object(model))
		return mer_fail(err, MER_EUNREACHABLE, "what it says of the model is no JSON object");
	json_decref(oip->inputs);
	oip->inputs = read_contract(model, "inputs");
	if ((oip->inputs != NULL && json_object_set(announced, "inputs", oip->inputs) != 0) ||
	    (outputs != NULL && json_object_set(announced, "outputs", outputs) != 0))
		return mer_fail(err, MER_ENOMEM, "out of memory");
	free(oip->announced);
	oip->announced = NULL;
	enum mer_status st = mer_json_text(announced, &oip->announced, err);
	oip->base.announced = oip->announced;
	return st;
}

static enum mer_status heard(struct http_api *api, bool model, const struct http_response *head,
                             struct mer_str body, struct mer_error *err)
{
	struct oip *oip = downcast(api);
	MER_AUTO(mer_json_done) json_t *json = NULL;
	bool good = head->status >= 200 && head->status < 300;
	api->greeted = !model || oip->asked == MODEL;
	if (!model || oip->asked == MODEL_READY)
		return MER_OK; /* its status says all */
	if (oip->asked == SERVER && !good)
		return MER_OK;
	enum mer_status st = http_json_parse("its answer", body, &json, err);
	if (oip->asked == SERVER) {
		oip->binary = st == MER_OK && has_extension(json, "binary_tensor_data");
		return st == MER_ENOMEM ? st : MER_OK;
	}
	return st == MER_OK ? read_model(oip, json, err) : st;
}

/* --- requests ------------------------------------------------------------------------------- */

/* Whether plain bytes are the element of the model's only input. */
static bool takes_bytes(const struct oip *oip)
{
	return oip->inputs != NULL && !mer_oip_wants_tensors(oip->inputs);
}

/* Bytes as the request that they are to a model of one input of BYTES. */
static enum mer_status wrap_bytes(struct oip *oip, struct mer_str bytes, struct mer_error *err)
{
	const json_t *input = json_array_get(oip->inputs, 0);
	const size_t dims = json_array_size(json_object_get(input, "shape"));
	struct mer_buf *room = &oip->request.room;
	mer_buf_init(room, SIZE_MAX);
	if (bytes.len > UINT32_MAX)
		return mer_fail(err, MER_EINPUT, "the input is longer than 4 GiB");
	for (unsigned i = 0; i < 4; i++)
		mer_buf_byte(room, (char)(bytes.len >> 8 * i));
	mer_buf_add(room, bytes.ptr, bytes.len);
	json_t *shape = json_array();
	for (size_t i = 0; i < dims; i++)
		(void)json_array_append_new(shape, json_integer(1));
	oip->request.meta =
		json_pack("{s:[{s:s,s:s,s:o,s:{s:I}}]}", "inputs", "name",
	              mer_json_get_text(input, "name", ""), "datatype", "BYTES", "shape", shape,
	              "parameters", "binary_data_size", (json_int_t)room->len);
	oip->request.body = (struct mer_str){ room->ptr, room->len };
	if (oip->request.meta == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return mer_buf_check(room, err);
}

static enum mer_status make_request(struct oip *oip, const struct mer_input *input,
                                    struct mer_error *err)
{
	const struct mer_str bytes = { input->bytes, input->len };
	MER_AUTO(mer_json_done) json_t *meta = NULL;
	enum mer_status st = MER_OK;
	oip->described = input->meta != NULL || input->tensors;
	if (input->meta != NULL)
		st = mer_json_parse("what describes the input", input->meta, strlen(input->meta), &meta,
		                    err);
	if (st != MER_OK)
		return st;
	if (json_object_get(meta, "inputs") != NULL)
		return mer_oip_request(oip->inputs, meta, bytes, MER_WIRE_BODY_MAX, &oip->request, err);
	if (takes_bytes(oip))
		return wrap_bytes(oip, bytes, err);
	oip->described = true;
	return mer_oip_parse(oip->inputs, bytes, MER_WIRE_BODY_MAX, &oip->request, err);
}

/* A tensor's own parameters, but for the one that says where its bytes are, into the object that was
 * written last. One whose elements had to be base64 says so there, and no more. */
static void add_parameters(const json_t *tensor, struct mer_buf *out)
{
	MER_AUTO(mer_text_done) char *text = NULL;
	MER_AUTO(mer_json_done)
	json_t *parameters = json_copy(json_object_get(tensor, "parameters"));
	(void)json_object_del(parameters, "binary_data_size");
	if (json_object_size(parameters) == 0 || out->len < 2 || out->ptr[out->len - 2] != ']' ||
	    mer_json_text(parameters, &text, NULL) != MER_OK)
		return;
	out->len--; /* its closing brace */
	mer_buf_printf(out, ",\"parameters\":%s}", text);
}

static enum mer_status write_json(struct oip *oip, struct mer_error *err)
{
	const json_t *inputs = json_object_get(oip->request.meta, "inputs");
	const json_t *parameters = json_object_get(oip->request.meta, "parameters");
	struct mer_str rest = oip->request.body;
	struct mer_buf *out = &oip->text;
	enum mer_status st = MER_OK;
	mer_buf_text(out, "{\"inputs\":[");
	for (size_t i = 0; i < json_array_size(inputs) && st == MER_OK; i++) {
		const json_t *tensor = json_array_get(inputs, i);
		struct mer_oip_output writer;
		size_t size =
			(size_t)mer_json_get_i64(json_object_get(tensor, "parameters"), "binary_data_size", 0);
		if (i > 0)
			mer_buf_byte(out, ',');
		mer_oip_output_begin(&writer, tensor, out);
		mer_oip_output_add(&writer, rest.ptr, size);
		st = mer_oip_output_end(&writer, err);
		if (st == MER_OK && writer.odd)
			st = mer_fail(err, MER_EINPUT, "input '%s' holds NaN or infinity, which JSON has not",
			              mer_json_get_text(tensor, "name", ""));
		add_parameters(tensor, out);
		rest.ptr += size;
		rest.len -= size;
	}
	MER_AUTO(mer_text_done) char *text = NULL;
	if (st == MER_OK && parameters != NULL)
		st = mer_json_text(parameters, &text, err);
	mer_buf_printf(out, text != NULL ? "],\"parameters\":%s}" : "]%s}", text != NULL ? text : "");
	return st == MER_OK ? mer_buf_check(out, err) : st;
}

/* The meta is nearly a request with binary data already. */
static enum mer_status write_binary(struct oip *oip, struct mer_error *err)
{
	json_t *meta = oip->request.meta, *parameters = json_object_get(meta, "parameters");
	MER_AUTO(mer_text_done) char *text = NULL;
	if (parameters == NULL) {
		parameters = json_object();
		if (json_object_set_new(meta, "parameters", parameters) != 0)
			return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	if (json_object_set_new(parameters, "binary_data_output", json_true()) != 0)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = mer_json_text(meta, &text, err);
	if (st == MER_OK)
		mer_buf_text(&oip->text, text);
	return st == MER_OK ? mer_buf_check(&oip->text, err) : st;
}

static bool has_all(const json_t *inputs)
{
	static const char *const wanted[] = { "name", "datatype", "shape", "data" };
	for (size_t i = 0; i < json_array_size(inputs); i++)
		for (size_t j = 0; j < sizeof wanted / sizeof *wanted; j++)
			if (json_object_get(json_array_get(inputs, i), wanted[j]) == NULL)
				return false;
	return json_array_size(inputs) > 0;
}

/* Whether INPUT is a request that is whole as it stands: then its author's words are sent, with
 * whatever else is in them. */
static bool is_whole(const struct mer_input *input)
{
	MER_AUTO(mer_json_done) json_t *request = NULL;
	struct mer_oip_text text;
	const struct mer_str bytes = { input->bytes, input->len };
	if (input->meta != NULL || mer_oip_text_read(bytes, "inputs", &text, NULL) != MER_OK)
		return false;
	const struct mer_buf *outline = &text.outline;
	bool whole = outline->len > 0 &&
	             mer_json_parse("it", outline->ptr, outline->len, &request, NULL) == MER_OK &&
	             has_all(json_object_get(request, "inputs"));
	mer_oip_text_release(&text);
	return whole;
}

static enum mer_status add_body(struct oip *oip, const struct mer_input *input,
                                struct http_request *out, struct mer_error *err)
{
	if (oip->binary) {
		enum mer_status st = write_binary(oip, err);
		out->content_type = "application/octet-stream";
		out->piece[0] = (struct mer_str){ oip->text.ptr, oip->text.len };
		out->piece[1] = oip->request.body;
		out->n_pieces = 2;
		(void)snprintf(out->header[out->n_headers++], sizeof out->header[0],
		               "Inference-Header-Content-Length: %zu", oip->text.len);
		return st;
	}
	bool as_it_is = !takes_bytes(oip) && is_whole(input);
	enum mer_status st = as_it_is ? MER_OK : write_json(oip, err);
	out->content_type = "application/json";
	out->piece[0] = as_it_is ? (struct mer_str){ input->bytes, input->len }
	                         : (struct mer_str){ oip->text.ptr, oip->text.len };
	out->n_pieces = 1;
	return st;
}

static enum mer_status build(struct http_api *api, const struct mer_input *input,
                             struct http_request *out, struct mer_error *err)
{
	struct oip *oip = downcast(api);
	forget_run(oip);
	enum mer_status st = make_request(oip, input, err);
	if (st == MER_OK)
		st = add_body(oip, input, out, err);
	if (st != MER_OK) {
		forget_run(oip);
		return st;
	}
	out->method = "POST";
	add_model(api, &out->path);
	mer_buf_text(&out->path, "/infer");
	return MER_OK;
}

/* --- answers -------------------------------------------------------------------------------- */

static void done(struct oip *oip, enum mer_status status, struct meal_event *event)
{
	*event = (struct meal_event){ .kind = MEAL_DONE, .status = status };
	if (status != MER_OK)
		event->bytes = (struct mer_str){ oip->problem.message, strlen(oip->problem.message) };
}

static void fail(struct oip *oip, enum mer_status status, struct meal_event *event)
{
	bool own = status == MER_ENOMEM || status == MER_ELIMIT;
	done(oip, own ? status : MER_EMODEL, event);
}

static uint64_t most_of(const struct oip *oip)
{
	uint64_t max = (uint64_t)oip->base.max_output;
	return max > 0 && max < JSON_MOST / 8 ? 8 * max + ((uint64_t)1 << 20) : JSON_MOST;
}

static enum mer_status take(struct http_api *api, const struct http_response *head,
                            struct mer_error *err)
{
	struct oip *oip = downcast(api);
	mer_buf_clear(&oip->text); /* the request has gone */
	oip->phase = head->json_length >= 0 ? HEADER : WHOLE;
	oip->left = head->json_length >= 0 ? (uint64_t)head->json_length : 0;
	if (head->json_length > HEADER_MOST)
		return mer_fail(err, MER_EMODEL,
		                "the JSON before its binary data is over %" PRId64 " bytes", HEADER_MOST);
	if (oip->phase == WHOLE && head->content_length > 0 &&
	    (uint64_t)head->content_length > most_of(oip))
		return mer_fail(err, MER_ELIMIT, "its answer has %" PRId64 " bytes", head->content_length);
	return MER_OK;
}

/* The outputs of an answer with what MER knows of them, and whether all of them are binary data. */
static json_t *read_outputs(const json_t *answer, bool *binary, uint64_t *bytes)
{
	const json_t *list = json_object_get(answer, "outputs");
	json_t *out = json_array();
	*binary = true;
	*bytes = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);
		json_t *size = json_object_get(json_object_get(one, "parameters"), "binary_data_size");
		json_t *made = json_object();
		static const char *const kept[] = { "name", "datatype", "shape" };
		for (size_t j = 0; j < sizeof kept / sizeof *kept; j++)
			if (json_object_get(one, kept[j]) != NULL)
				(void)json_object_set(made, kept[j], json_object_get(one, kept[j]));
		*binary = *binary && json_is_integer(size) && json_integer_value(size) >= 0 &&
		          !__builtin_add_overflow(*bytes, (uint64_t)json_integer_value(size), bytes);
		if (size != NULL)
			(void)json_object_set_new(made, "parameters",
			                          json_pack("{s:O}", "binary_data_size", size));
		(void)json_array_append_new(out, made);
	}
	return out;
}

/* What is known of the answer now: its meta, and how its bytes are to be told. */
static enum mer_status describe(struct oip *oip, json_t *outputs, uint64_t bytes,
                                struct mer_error *err)
{
	oip->meta = json_pack("{s:o}", "outputs", outputs);
	oip->walk = (struct mer_content_walk){ .at = 0 };
	enum mer_status st = oip->meta == NULL ? mer_fail(err, MER_ENOMEM, "out of memory") : MER_OK;
	if (st == MER_OK)
		st = mer_content_read(oip->meta, "outputs", bytes, &oip->content, err);
	if (st == MER_OK && oip->described)
		st = mer_json_text(oip->meta, &oip->meta_text, err);
	if (st == MER_OK && !oip->described && oip->content.count != 1)
		st = mer_fail(err, MER_EMODEL,
		              "the model answers with %zu tensors, of which none is the output",
		              oip->content.count);
	oip->meta_due = oip->described;
	return st == MER_OK ? st : mer_wrap(err, st, "its answer");
}

static enum mer_status parse(const struct mer_buf *text, json_t **out, struct mer_error *err)
{
	const struct mer_str all = { text->ptr != NULL ? text->ptr : "", text->len };
	enum mer_status st = http_json_parse("its answer", all, out, err);
	if (st != MER_OK || json_is_array(json_object_get(*out, "outputs")))
		return st;
	const char *error = mer_json_get_text(*out, "error", "");
	return mer_fail(err, MER_EMODEL, "its answer has no outputs%s%.200s",
	                error[0] != '\0' ? ": " : "", error);
}

/* The JSON before binary data is there. Where some outputs are JSON all of the body is kept. */
static enum mer_status on_header(struct oip *oip, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *answer = NULL;
	bool binary;
	uint64_t bytes;
	enum mer_status st = parse(&oip->text, &answer, err);
	if (st != MER_OK)
		return st;
	json_t *outputs = read_outputs(answer, &binary, &bytes);
	if (!binary) {
		json_decref(outputs);
		return mer_fail(err, MER_EMODEL, "its answer has JSON and binary data for its outputs");
	}
	oip->phase = BINARY;
	oip->left = bytes;
	return describe(oip, outputs, bytes, err);
}

/* The values of an answer in JSON become binary data, as a request's do. */
static enum mer_status read_values(struct oip *oip, const struct mer_oip_text *text,
                                   struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *answer = NULL;
	MER_AUTO(mer_json_done) json_t *request = NULL;
	enum mer_status st = parse(&text->outline, &answer, err);
	if (st != MER_OK)
		return st;
	request = json_pack("{s:O}", "inputs", json_object_get(answer, "outputs"));
	st = mer_oip_request_of(NULL, request, text, (size_t)most_of(oip), &oip->answer, err);
	if (st != MER_OK && strncmp(err->message, "input ", 6) == 0)
		return mer_fail(err, st, "its answer: output %s", err->message + 6);
	return st != MER_OK ? mer_wrap(err, st, "its answer") : st;
}

static enum mer_status on_whole(struct oip *oip, struct mer_error *err)
{
	struct mer_oip_text text;
	bool binary;
	uint64_t bytes;
	const struct mer_str all = { oip->text.len > 0 ? oip->text.ptr : "", oip->text.len };
	enum mer_status st = mer_oip_text_read(all, "outputs", &text, err);
	if (st != MER_OK)
		return st;
	st = read_values(oip, &text, err);
	mer_oip_text_release(&text);
	mer_buf_release(&oip->text);
	if (st != MER_OK)
		return st;
	json_t *outputs = json_object();
	(void)json_object_set(outputs, "outputs", json_object_get(oip->answer.meta, "inputs"));
	json_t *list = read_outputs(outputs, &binary, &bytes);
	json_decref(outputs);
	oip->phase = VALUES;
	oip->rest = oip->answer.body;
	return describe(oip, list, oip->answer.body.len, err);
}

static bool tell_meta(struct oip *oip, struct meal_event *event)
{
	if (!oip->meta_due)
		return false;
	oip->meta_due = false;
	*event = (struct meal_event){ .kind = MEAL_META,
		                          .bytes = { oip->meta_text, strlen(oip->meta_text) } };
	return true;
}

/* Tells some of an answer's values; returns how many bytes of them it took. */
static size_t tell_values(struct oip *oip, struct mer_str bytes, struct meal_event *event)
{
	size_t at = 0;
	if (oip->described) {
		if (bytes.len > 0)
			*event = (struct meal_event){ .kind = MEAL_OUTPUT, .bytes = bytes };
		return bytes.len;
	}
	while (at < bytes.len && event->kind == MEAL_NOTHING) {
		size_t taken;
		struct mer_str piece;
		enum mer_status st = mer_content_step(&oip->content, &oip->walk, bytes.ptr + at,
		                                      bytes.len - at, &taken, &piece, &oip->problem);
		at += taken;
		if (st != MER_OK)
			fail(oip, st, event);
		else if (piece.len > 0)
			*event = (struct meal_event){ .kind = MEAL_OUTPUT, .bytes = piece };
	}
	return at;
}

static size_t feed_header(struct oip *oip, const char *bytes, size_t n, struct meal_event *event)
{
	size_t len = n < oip->left ? n : (size_t)oip->left;
	mer_buf_add(&oip->text, bytes, len);
	oip->left -= len;
	enum mer_status st = mer_buf_check(&oip->text, &oip->problem);
	if (st == MER_OK && oip->left == 0)
		st = on_header(oip, &oip->problem);
	if (st != MER_OK)
		fail(oip, st, event);
	else if (oip->phase == BINARY)
		(void)tell_meta(oip, event);
	return len;
}

static size_t feed_binary(struct oip *oip, const char *bytes, size_t n, struct meal_event *event)
{
	if (oip->left == 0) {
		(void)mer_fail(&oip->problem, MER_EMODEL, "its answer goes on behind its tensors");
		done(oip, MER_EMODEL, event);
		return n;
	}
	size_t len = n < oip->left ? n : (size_t)oip->left;
	size_t taken = tell_values(oip, (struct mer_str){ bytes, len }, event);
	oip->left -= taken;
	return taken;
}

static size_t feed(struct http_api *api, const char *bytes, size_t n, struct meal_event *event)
{
	struct oip *oip = downcast(api);
	if (n == 0)
		return 0;
	if (oip->phase == HEADER && oip->left > 0)
		return feed_header(oip, bytes, n, event);
	if (oip->phase == BINARY)
		return feed_binary(oip, bytes, n, event);
	if (oip->phase == HEADER || n > most_of(oip) - oip->text.len) {
		(void)mer_fail(&oip->problem, MER_ELIMIT, "its answer is over %" PRIu64 " bytes",
		               oip->phase == HEADER ? 0 : most_of(oip));
		done(oip, MER_ELIMIT, event);
		return n;
	}
	mer_buf_add(&oip->text, bytes, n);
	enum mer_status st = mer_buf_check(&oip->text, &oip->problem);
	if (st != MER_OK)
		fail(oip, st, event);
	return n;
}

static void end(struct http_api *api, struct meal_event *event)
{
	struct oip *oip = downcast(api);
	enum mer_status st = oip->phase == WHOLE ? on_whole(oip, &oip->problem) : MER_OK;
	if (oip->phase == HEADER || (oip->phase == BINARY && oip->left > 0))
		st = mer_fail(&oip->problem, MER_EMODEL, "its answer ends amid its %s",
		              oip->phase == HEADER ? "JSON" : "tensors");
	if (st != MER_OK) {
		fail(oip, st, event);
		return;
	}
	if (tell_meta(oip, event))
		return;
	while (oip->phase == VALUES && oip->rest.len > 0 && event->kind == MEAL_NOTHING) {
		size_t taken = tell_values(oip, oip->rest, event);
		oip->rest.ptr += taken;
		oip->rest.len -= taken;
	}
	if (event->kind == MEAL_NOTHING)
		done(oip, MER_OK, event);
}

const struct http_api_ops http_oip = {
	.name = "oip",
	.size = sizeof(struct oip),
	.asks_first = true,
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
