/* A server of kind http; mer/http.h. */
#include "http_api.h"
#include "http_template.h"

#include <arpa/inet.h>
#include <mer/clean.h>
#include <mer/json.h>
#include <mer/ref.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADER "header."

enum { OIP = 1, OPENAI = 2, PLAIN = 4, ANY = OIP | OPENAI | PLAIN };
static const char *const apis[] = { "oip", "openai", "plain", NULL }; /* in the order of the bits */

enum param_kind {
	PARAM_API,
	PARAM_REF,
	PARAM_FILE,
	PARAM_HEADER,
	PARAM_METHOD,
	PARAM_BOOL,
	PARAM_POINTER,
	/* Texts that become JSON, so that they may have lines. */
	PARAM_TEXT,
	PARAM_OPTIONS,
	PARAM_TEMPLATE,
};

static const struct {
	const char *name;
	enum param_kind kind;
	unsigned apis; /* that have it */
} params[] = {
	{ "api", PARAM_API, ANY },          { "api_key", PARAM_REF, ANY },
	{ "ca_file", PARAM_FILE, ANY },     { "content_type", PARAM_HEADER, PLAIN },
	{ "method", PARAM_METHOD, PLAIN },  { "body", PARAM_TEMPLATE, PLAIN },
	{ "result", PARAM_POINTER, PLAIN }, { "options", PARAM_OPTIONS, OPENAI },
	{ "stream", PARAM_BOOL, OPENAI },   { "system", PARAM_TEXT, OPENAI },
};
enum { N_PARAMS = sizeof params / sizeof *params, FIRST_OWN = 3 }; /* from there on the APIs' own */

/* --- headers -------------------------------------------------------------------------------- */

static bool is_one_of(const char *name, const char *const list[])
{
	for (; *list != NULL; list++)
		if (strcasecmp(name, *list) == 0)
			return true;
	return false;
}

/* A token of RFC 9110 that no request of mer's has to decide itself. */
static enum mer_status check_header_name(const char *name, struct mer_error *err)
{
	static const char *const own[] = { "Accept-Encoding",
		                               "Connection",
		                               "Content-Length",
		                               "Content-Type",
		                               "Expect",
		                               "Inference-Header-Content-Length",
		                               "Proxy-Authorization",
		                               "Transfer-Encoding",
		                               "Upgrade",
		                               NULL };
	static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
								"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	if (name[0] == '\0' || name[strspn(name, token)] != '\0')
		return mer_fail(err, MER_EINPUT, "--param header.%s: no name of a header", name);
	if (!is_one_of(name, own))
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "--param header.%s: mer sets that header itself", name);
	if (strcasecmp(name, "Proxy-Authorization") == 0)
		mer_hint(err, "a proxy's user and password are in its URL, as https_proxy has it");
	return MER_EINPUT;
}

static enum mer_status check_header(const char *name, const char *value, struct mer_error *err)
{
	static const char *const secrets[] = { "Authorization",
		                                   "Cookie",
		                                   "X-Api-Key",
		                                   "Api-Key",
		                                   "X-Auth-Token",
		                                   "X-Goog-Api-Key",
		                                   "Ocp-Apim-Subscription-Key",
		                                   NULL };
	enum mer_status st = check_header_name(name, err);
	if (st == MER_OK && is_one_of(name, secrets))
		st = mer_ref_check(name, value, err);
	return st;
}

/* --- parameters ----------------------------------------------------------------------------- */

/* Its row; N_PARAMS: none. */
static size_t find_param(const char *name)
{
	size_t i = 0;
	while (i < N_PARAMS && strcmp(params[i].name, name) != 0)
		i++;
	return i;
}

static unsigned api_bit(const char *name)
{
	for (size_t i = 0; apis[i] != NULL; i++)
		if (strcmp(name, apis[i]) == 0)
			return 1U << i;
	return 0;
}

static enum mer_status check_word(size_t i, const char *value, const char *a, const char *b,
                                  struct mer_error *err)
{
	if (strcmp(value, a) == 0 || strcmp(value, b) == 0)
		return MER_OK;
	return mer_fail(err, MER_EINPUT, "--param %s: '%s' is none of %s, %s", params[i].name, value, a,
	                b);
}

static enum mer_status check_text(size_t i, const char *value, struct mer_error *err)
{
	enum mer_status st = params[i].kind == PARAM_POINTER    ? http_pointer_check(value, err)
	                     : params[i].kind == PARAM_TEMPLATE ? http_template_check(value, err)
	                     : params[i].kind == PARAM_OPTIONS  ? http_openai_check_options(value, err)
	                                                        : MER_OK;
	return st == MER_OK ? MER_OK : mer_wrap(err, st, "--param %s", params[i].name);
}

static enum mer_status check_kind(size_t i, const char *value, struct mer_error *err)
{
	switch (params[i].kind) {
	case PARAM_API:
		if (api_bit(value) == 0)
			return mer_fail(err, MER_EINPUT, "--param api: '%s' is none of oip, openai, plain",
			                value);
		return MER_OK;
	case PARAM_REF: return mer_ref_check(params[i].name, value, err);
	case PARAM_FILE:
		if (value[0] != '/')
			return mer_fail(err, MER_EINPUT, "--param %s: '%s' is no absolute path", params[i].name,
			                value);
		return MER_OK;
	case PARAM_HEADER: return MER_OK;
	case PARAM_METHOD: return check_word(i, value, "POST", "PUT", err);
	case PARAM_BOOL: return check_word(i, value, "true", "false", err);
	case PARAM_POINTER:
	case PARAM_TEXT:
	case PARAM_OPTIONS:
	case PARAM_TEMPLATE: return check_text(i, value, err);
	}
	mer_defect(__FILE__, __LINE__, params[i].name);
}

enum mer_status mer_http_check_param(const char *name, const char *value, struct mer_error *err)
{
	size_t i = find_param(name);
	bool header = strncmp(name, HEADER, sizeof HEADER - 1) == 0;
	if (i == N_PARAMS && !header) {
		(void)mer_fail(err, MER_EINPUT, "a server of kind 'http' has no parameter '%s'", name);
		mer_hint(err, "it has api, api_key, ca_file, header.NAME, and those of its API: "
		              "docs/http.md");
		return MER_EINPUT;
	}
	bool lines = i < N_PARAMS && params[i].kind >= PARAM_TEXT;
	if (value[0] == '\0' || (!lines && mer_text_has_controls(value)))
		return mer_fail(err, MER_EINPUT,
		                "--param %s: its value is empty, or holds control characters", name);
	return header ? check_header(name + sizeof HEADER - 1, value, err) : check_kind(i, value, err);
}

/* Whether it is an address of IPv6; a zone of it is the system's to judge. */
static bool is_six(const char *text, size_t len)
{
	char address[INET6_ADDRSTRLEN];
	struct in6_addr six;
	const char *zone = memchr(text, '%', len);
	size_t n = zone != NULL ? (size_t)(zone - text) : len;
	if (n >= sizeof address)
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	return inet_pton(AF_INET6, address, &six) == 1;
}

static bool is_port(const char *text, size_t len)
{
	int port = 0;
	for (size_t i = 0; i < len && port <= UINT16_MAX; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = 10 * port + (text[i] - '0');
	}
	return port > 0 && port <= UINT16_MAX;
}

/* A name, or an address of IPv6 in brackets, and maybe a port. */
static bool is_authority(const char *host, size_t len)
{
	const char *close = host[0] == '[' ? memchr(host, ']', len) : NULL;
	const char *behind = close != NULL ? close + 1 : memchr(host, ':', len), *end = host + len;
	if (host[0] == '[' && (close == NULL || !is_six(host + 1, (size_t)(close - host - 1))))
		return false;
	if (behind == NULL || behind == end)
		return true;
	return behind != host && *behind == ':' && is_port(behind + 1, (size_t)(end - behind - 1));
}

/* Scheme and host, and nothing that would come behind a path. */
static enum mer_status check_url(const char *url, struct mer_error *err)
{
	const char *host = strncasecmp(url, "https://", 8) == 0  ? url + 8
	                   : strncasecmp(url, "http://", 7) == 0 ? url + 7
	                                                         : NULL;
	if (host == NULL || strcspn(host, "/") == 0 || mer_text_has_controls(url) ||
	    strpbrk(url, " \"<>\\^`|") != NULL) {
		(void)mer_fail(err, MER_EINPUT, "--url: '%s' is no URL of a server",
		               strchr(url, '@') == NULL ? url : "...");
		mer_hint(err, "as in --url https://models.example.org:8443");
		return MER_EINPUT;
	}
	if (memchr(host, '@', strcspn(host, "/")) != NULL) {
		(void)mer_fail(err, MER_EINPUT, "--url: no user and no password in it");
		mer_hint(err, "a key is --param api_key=REF, another header --param header.NAME=REF");
		return MER_EINPUT;
	}
	if (strpbrk(url, "?#") != NULL)
		return mer_fail(err, MER_EINPUT, "--url: '%s' has a '?' or a '#', where a path follows",
		                url);
	if (!is_authority(host, strcspn(host, "/"))) {
		(void)mer_fail(err, MER_EINPUT, "--url: '%s' has no good host and port", url);
		mer_hint(err, "as in --url https://models.example.org:8443 or --url http://[::1]:8080");
		return MER_EINPUT;
	}
	return MER_OK;
}

static enum mer_status check_together(const char *api, const json_t *json, struct mer_error *err)
{
	for (size_t i = FIRST_OWN; i < N_PARAMS; i++) {
		if (json_object_get(json, params[i].name) != NULL && (params[i].apis & api_bit(api)) == 0)
			return mer_fail(err, MER_EINPUT, "--param %s: a server of api '%s' has none",
			                params[i].name, api);
	}
	return MER_OK;
}

/* No header twice, whatever its case. */
static enum mer_status check_headers(const json_t *json, struct mer_error *err)
{
	json_t *all = (json_t *)(uintptr_t)json, *value;
	const char *name, *other;
	bool has_key = json_object_get(json, "api_key") != NULL;
	json_object_foreach(all, name, value) {
		if (strncmp(name, HEADER, sizeof HEADER - 1) != 0)
			continue;
		if (has_key && strcasecmp(name, HEADER "Authorization") == 0)
			return mer_fail(err, MER_EINPUT, "--param %s: api_key sets that header", name);
		json_object_foreach(all, other, value)
			if (strcasecmp(name, other) == 0 && strcmp(name, other) < 0)
				return mer_fail(err, MER_EINPUT, "--param %s: there is '%s' too", other, name);
	}
	return MER_OK;
}

enum mer_status mer_http_check_own(const char *name, const char *value, struct mer_error *err)
{
	size_t i = find_param(name);
	if (i >= FIRST_OWN && i < N_PARAMS)
		return mer_http_check_param(name, value, err);
	(void)mer_fail(err, MER_EINPUT, "a model has no parameter '%s'", name);
	mer_hint(err, i < N_PARAMS || strncmp(name, HEADER, sizeof HEADER - 1) == 0
	                  ? "its server has: 'server set NAME param=K=V'"
	                  : "it has those of its server's API: docs/http.md");
	return MER_EINPUT;
}

enum mer_status mer_http_check_params(const json_t *server, const json_t *own,
                                      struct mer_error *err)
{
	return server == NULL ? MER_OK
	                      : check_together(mer_json_get_text(server, "api", apis[0]), own, err);
}

enum mer_status mer_http_check(const char *url, const char *text, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	if (url == NULL || url[0] == '\0') {
		(void)mer_fail(err, MER_EINPUT, "a server of kind 'http' needs --url");
		return MER_EINPUT;
	}
	enum mer_status st = check_url(url, err);
	if (st == MER_OK)
		st = mer_json_parse("params", text, strlen(text), &json, err);
	if (st == MER_OK)
		st = check_headers(json, err);
	return st == MER_OK ? check_together(mer_json_get_text(json, "api", apis[0]), json, err) : st;
}

/* Whether what is sent to that URL stays on this machine. */
static bool is_here(const char *url)
{
	const char *host = strstr(url, "//") + 2;
	bool quoted = host[0] == '[';
	size_t len = quoted ? strcspn(++host, "]/") : strcspn(host, ":/"), top = sizeof "localhost" - 1;
	char text[INET6_ADDRSTRLEN];
	struct in_addr four;
	struct in6_addr six;
	if (len >= top && strncasecmp(host + len - top, "localhost", top) == 0)
		return len == top || host[len - top - 1] == '.';
	if (len >= sizeof text)
		return false;
	memcpy(text, host, len);
	text[len] = '\0';
	return quoted
	           ? inet_pton(AF_INET6, text, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six)
	           : inet_pton(AF_INET, text, &four) == 1 && ntohl(four.s_addr) >> 24 == IN_LOOPBACKNET;
}

const char *mer_http_bare_secret(const json_t *json)
{
	const char *url = mer_json_get_text(json, MER_HTTP_URL, ""), *name;
	json_t *all = (json_t *)(uintptr_t)json, *value;
	if (strncasecmp(url, "http://", 7) != 0 || is_here(url))
		return NULL;
	json_object_foreach(all, name, value)
		if (json_is_string(value) && mer_ref_is(json_string_value(value)) &&
		    (strcmp(name, "api_key") == 0 || strncmp(name, HEADER, sizeof HEADER - 1) == 0))
			return name;
	return NULL;
}

/* --- made ready ----------------------------------------------------------------------------- */

struct mer_http *mer_http_ref(const struct mer_http *http)
{
	struct mer_http *counted = (struct mer_http *)(uintptr_t)http; /* its count is not what it is */
	counted->refs++;
	return counted;
}

void mer_http_unref(struct mer_http *http)
{
	if (http == NULL || --http->refs > 0)
		return;
	free(http->server);
	free(http->url);
	free(http->api);
	free(http->model);
	free(http->ca_file);
	for (char **header = http->headers; header != NULL && *header != NULL; header++)
		explicit_bzero(*header, strlen(*header));
	mer_words_done(&http->headers);
	mer_words_done(&http->params);
	free(http->secrets);
	free(http);
}

void http_hide(const struct mer_http *http, char *text, size_t len)
{
	enum { LEAST = 4 }; /* a shorter one would be told by what is covered */
	for (const char **secret = http->secrets; secret != NULL && *secret != NULL; secret++) {
		size_t n = strlen(*secret);
		char *at = text;
		while (n >= LEAST && (at = memmem(at, len - (size_t)(at - text), *secret, n)) != NULL) {
			memset(at, '*', n);
			at += n;
		}
	}
}

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

/* Takes one with what its reference gives. */
static enum mer_status add_header(struct mer_http *http, size_t *n, const char *name,
                                  const char *lead, const char *value, struct mer_error *err)
{
	char *secret = NULL;
	const char *text = strncmp(value, "text:", 5) == 0 ? value + 5 : value;
	if (text == value && mer_ref_is(value)) {
		enum mer_status st = mer_ref_resolve(value, &secret, err);
		if (st != MER_OK)
			return mer_wrap(err, st, "%s", name);
		text = secret;
	}
	bool good = text[strspn(text, " ")] != '\0' && !mer_text_has_controls(text);
	http->headers[*n] = good ? mer_text_new("%s: %s%s", name, lead, text) : NULL;
	if (http->headers[*n] != NULL && secret != NULL)
		http->secrets[http->n_secrets++] = strchr(http->headers[*n], ':') + 2 + strlen(lead);
	mer_ref_wipe(secret);
	if (!good)
		return mer_fail(err, MER_EINPUT, "%s: its value is empty, or holds control characters",
		                name);
	return http->headers[(*n)++] != NULL ? MER_OK : no_memory(err);
}

static enum mer_status take(struct mer_http *http, size_t *n_headers, size_t *n_params,
                            const char *name, const char *value, struct mer_error *err)
{
	size_t i = find_param(name);
	if (strcmp(name, MER_HTTP_URL) == 0)
		return MER_OK;
	enum mer_status st = mer_http_check_param(name, value, err);
	if (st != MER_OK)
		return st;
	if (i == N_PARAMS)
		return add_header(http, n_headers, name + sizeof HEADER - 1, "", value, err);
	if (params[i].kind == PARAM_REF)
		return add_header(http, n_headers, "Authorization", "Bearer ", value, err);
	if (params[i].kind == PARAM_FILE)
		return (http->ca_file = strdup(value)) != NULL ? MER_OK : no_memory(err);
	if (i < FIRST_OWN)
		return MER_OK;
	http->params[*n_params] = mer_text_new("%s=%s", name, value);
	return http->params[(*n_params)++] != NULL ? MER_OK : no_memory(err);
}

/* {model} is the model's name there. */
static enum mer_status make_url(struct mer_str url, const char *model, char **out,
                                struct mer_error *err)
{
	static const char slot[] = "{model}";
	struct mer_buf made;
	mer_buf_init(&made, 1 << 16);
	for (const char *found; (found = memmem(url.ptr, url.len, slot, sizeof slot - 1)) != NULL;) {
		size_t before = (size_t)(found - url.ptr), skip = before + sizeof slot - 1;
		mer_buf_add(&made, url.ptr, before);
		http_add_segment(&made, model);
		url = (struct mer_str){ url.ptr + skip, url.len - skip };
	}
	mer_buf_add(&made, url.ptr, url.len);
	return mer_buf_take(&made, out, NULL, err);
}

static enum mer_status fill(struct mer_http *http, const char *server, const char *text,
                            const char *model, const json_t *own, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	MER_AUTO(mer_text_done) char *all = NULL;
	enum mer_status st = mer_json_parse("params", text, strlen(text), &json, err);
	if (st == MER_OK && own != NULL && json_object_update(json, (json_t *)(uintptr_t)own) != 0)
		st = no_memory(err);
	if (st == MER_OK)
		st = mer_json_text(json, &all, err);
	if (st != MER_OK)
		return st;
	const char *url = mer_json_get_text(json, MER_HTTP_URL, ""), *name;
	st = mer_http_check(url, all, err);
	if (st != MER_OK)
		return st;
	size_t len = strlen(url), n_headers = 0, n_params = 0, n = json_object_size(json);
	while (len > 0 && url[len - 1] == '/')
		len--;
	http->server = strdup(server);
	st = make_url((struct mer_str){ url, len }, model, &http->url, err);
	if (st != MER_OK)
		return st;
	http->api = strdup(mer_json_get_text(json, "api", apis[0]));
	http->model = strdup(model);
	http->headers = calloc(n + 1, sizeof *http->headers);
	http->params = calloc(n + 1, sizeof *http->params);
	http->secrets = calloc(n + 1, sizeof *http->secrets);
	if (http->server == NULL || http->api == NULL || http->model == NULL || http->headers == NULL ||
	    http->params == NULL || http->secrets == NULL)
		return no_memory(err);
	json_t *value;
	json_object_foreach(json, name, value) {
		if (st == MER_OK && json_is_string(value))
			st = take(http, &n_headers, &n_params, name, json_string_value(value), err);
	}
	return st;
}

enum mer_status mer_http_new(const char *server, const char *text, const char *model,
                             const json_t *own, struct mer_http **out, struct mer_error *err)
{
	struct mer_http *http = calloc(1, sizeof *http);
	if (http == NULL)
		return no_memory(err);
	http->refs = 1;
	enum mer_status st = fill(http, server, text, model, own, err);
	if (st != MER_OK) {
		mer_http_unref(http);
		return mer_wrap(err, st, "server '%s'", server);
	}
	*out = http;
	return MER_OK;
}

/* --- what APIs ask -------------------------------------------------------------------------- */

const char *http_param(const struct mer_http *http, const char *name)
{
	size_t len = strlen(name);
	for (char **param = http->params; *param != NULL; param++)
		if (strncmp(*param, name, len) == 0 && (*param)[len] == '=')
			return *param + len + 1;
	return NULL;
}

bool http_has_header(const struct mer_http *http, const char *line)
{
	size_t len = strcspn(line, ":") + 1;
	for (char **header = http->headers; *header != NULL; header++)
		if (strncasecmp(*header, line, len) == 0)
			return true;
	return false;
}

void http_add_segment(struct mer_buf *path, const char *text)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	for (; *text != '\0'; text++) {
		if (strchr(plain, *text) != NULL)
			mer_buf_byte(path, *text);
		else
			mer_buf_printf(path, "%%%02X", (unsigned)(unsigned char)*text);
	}
}
