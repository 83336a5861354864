/* What `ssh -G` says of a server; ssh_config.h. */
#include "ssh_config.h"

#include "ssh_piece.h"

#include <libssh2.h>
#include <limits.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <pwd.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#define NUMBER_MAX 1000000 /* seconds, so that milliseconds of them can be counted on */
#define FOREVER_S 120      /* about how long TCP waits for a connection of which nothing is said */
#define WORDS_MAX 100      /* as SSH_MAX_IDENTITY_FILES of OpenSSH */

/* While it is read. */
struct reading {
	struct ssh_config *config;
	const char *const *env;
	char *agent; /* IdentityAgent as it stands */
	struct mer_error *err;
};

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

static void set_odd(struct ssh_config *config, const char *why, const char *what)
{
	if (config->odd[0] == '\0')
		(void)snprintf(config->odd, sizeof config->odd, "%s%.100s", why, what);
}

/* --- expansion ------------------------------------------------------------------------------- */

static const char *env_of(const char *const env[], const char *name, size_t len)
{
	for (; env != NULL && *env != NULL; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

/* Who runs this, as ssh looks it up: $HOME does not count. */
struct person {
	struct passwd entry;
	char room[4096];
	bool found;
};

static void find_person(struct person *person)
{
	struct passwd *found = NULL;
	person->found =
		getpwuid_r(getuid(), &person->entry, person->room, sizeof person->room, &found) == 0 &&
		found != NULL;
}

/* What a letter behind a percent sign stands for; NULL: not known here. */
static const char *token_of(const struct ssh_config *config, const struct person *person,
                            char letter, char room[HOST_NAME_MAX + 1])
{
	switch (letter) {
	case '%': return "%";
	case 'd': return person->found ? person->entry.pw_dir : NULL;
	case 'u': return person->found ? person->entry.pw_name : NULL;
	case 'h': return config->hostname;
	case 'k': return config->host_key_alias != NULL ? config->host_key_alias : config->host;
	case 'n': return config->host;
	case 'r': return config->user;
	case 'i': (void)snprintf(room, HOST_NAME_MAX, "%lld", (long long)getuid()); return room;
	case 'p': (void)snprintf(room, HOST_NAME_MAX, "%lld", (long long)config->port); return room;
	case 'l':
	case 'L':
		if (gethostname(room, HOST_NAME_MAX) < 0)
			return NULL;
		room[HOST_NAME_MAX] = '\0';
		if (letter == 'L')
			room[strcspn(room, ".")] = '\0';
		return room;
	default: return NULL;
	}
}

/* A path with ~, %x and ${NAME} in it. *out is NULL where it has what only ssh knows. */
static enum mer_status expand(const struct ssh_config *config, const char *const env[],
                              const char *text, char **out, struct mer_error *err)
{
	struct person person;
	struct mer_buf buf;
	char room[HOST_NAME_MAX + 1];
	bool known = true;
	find_person(&person);
	mer_buf_init(&buf, PATH_MAX);
	if (text[0] == '~' && (text[1] == '/' || text[1] == '\0') && person.found)
		mer_buf_text(&buf, person.entry.pw_dir);
	else if (text[0] == '~')
		known = false;
	text += text[0] == '~';
	while (*text != '\0' && known) {
		size_t len = strcspn(text, "%$");
		const char *value = "";
		mer_buf_add(&buf, text, len);
		text += len;
		if (text[0] == '%') {
			value = text[1] != '\0' ? token_of(config, &person, text[1], room) : NULL;
			text += value != NULL ? 2 : 0;
		} else if (text[0] == '$' && text[1] == '{') {
			len = strcspn(text + 2, "}");
			value = env_of(env, text + 2, len);
			text += value != NULL && text[2 + len] == '}' ? len + 3 : 1;
		} else if (text[0] == '$') {
			value = "$";
			text++;
		}
		known = value != NULL;
		mer_buf_text(&buf, known ? value : "");
	}
	if (!known || mer_buf_check(&buf, NULL) == MER_ELIMIT) {
		mer_buf_release(&buf);
		*out = NULL;
		return MER_OK;
	}
	return mer_buf_take(&buf, out, NULL, err);
}

/* --- lines ----------------------------------------------------------------------------------- */

static bool is_no(const char *value)
{
	return strcmp(value, "no") == 0 || strcmp(value, "false") == 0;
}

static bool is_none(const char *value)
{
	return value[0] == '\0' || strcmp(value, "none") == 0;
}

static enum mer_status set_text(char **to, const char *value, struct mer_error *err)
{
	free(*to);
	*to = NULL;
	if (!is_none(value) && (*to = mer_text_new("%s", value)) == NULL)
		return no_memory(err);
	return MER_OK;
}

static enum mer_status set_number(int64_t *to, const char *value, struct mer_error *err)
{
	int64_t number = 0;
	if (!is_none(value) && mer_parse_i64(value, &number, NULL) != MER_OK)
		return mer_fail(err, MER_EINPUT, "ssh tells a number that is none: '%.60s'", value);
	*to = number < 0 ? 0 : number > NUMBER_MAX ? NUMBER_MAX : number;
	return MER_OK;
}

/* words has room for WORDS_MAX. */
static enum mer_status add_word(char **words, const char *word, size_t len, struct mer_error *err)
{
	size_t n = 0;
	while (words[n] != NULL)
		n++;
	if (n == WORDS_MAX)
		return MER_OK;
	if ((words[n] = mer_text_new("%.*s", (int)len, word)) == NULL)
		return no_memory(err);
	return MER_OK;
}

/* Paths with blanks between them, which ssh does not quote. One of them may have blanks itself. */
static enum mer_status set_paths(struct reading *r, char **to, const char *value)
{
	enum mer_status st = MER_OK;
	if (is_none(value))
		return MER_OK;
	if (strchr(value, ' ') != NULL && access(value, F_OK) == 0)
		return add_word(to, value, strlen(value), r->err);
	while (*value != '\0' && st == MER_OK) {
		size_t len = strcspn(value, " ");
		if (value[0] != '/')
			set_odd(r->config, "known hosts are in a file that has no absolute path: ", value);
		st = add_word(to, value, len, r->err);
		value += len;
		value += strspn(value, " ");
	}
	return st;
}

static enum mer_status on_host_key_check(struct reading *r, const char *value)
{
	r->config->accept_new = strcmp(value, "accept-new") == 0;
	return MER_OK;
}

static enum mer_status on_family(struct reading *r, const char *value)
{
	r->config->family = strcmp(value, "inet") == 0    ? AF_INET
	                    : strcmp(value, "inet6") == 0 ? AF_INET6
	                                                  : AF_UNSPEC;
	return MER_OK;
}

static enum mer_status on_agent(struct reading *r, const char *value)
{
	char *copy = strdup(value);
	if (copy == NULL)
		return no_memory(r->err);
	free(r->agent);
	r->agent = copy;
	return MER_OK;
}

static enum mer_status on_identity(struct reading *r, const char *value)
{
	return is_none(value) ? MER_OK : add_word(r->config->identities, value, strlen(value), r->err);
}

static enum mer_status on_user_known(struct reading *r, const char *value)
{
	return set_paths(r, r->config->user_known, value);
}

static enum mer_status on_global_known(struct reading *r, const char *value)
{
	return set_paths(r, r->config->global_known, value);
}

/* What is left out of it may not be tried. */
static enum mer_status on_preferred(struct reading *r, const char *value)
{
	const struct mer_str list = ssh_text(value);
	r->config->by_key &= ssh_list_has(list, ssh_text("publickey"));
	r->config->by_password &= ssh_list_has(list, ssh_text("password"));
	r->config->by_keyboard &= ssh_list_has(list, ssh_text("keyboard-interactive"));
	return MER_OK;
}

/* Keywords as ssh -G prints them. Those that nobody asks for here are passed over. */
enum value_kind { TEXT, NUMBER, FLAG, OFF_ONLY, CALL, ODD_IF_SAID, ODD_IF_ON };
static const struct keyword {
	const char *name;
	enum value_kind kind;
	size_t offset;
	enum mer_status (*call)(struct reading *, const char *);
	const char *odd;
} keywords[] = {
#define AT(member) offsetof(struct ssh_config, member)
	{ "host", TEXT, AT(host), NULL, NULL },
	{ "hostname", TEXT, AT(hostname), NULL, NULL },
	{ "user", TEXT, AT(user), NULL, NULL },
	{ "port", NUMBER, AT(port), NULL, NULL },
	{ "proxyjump", TEXT, AT(proxy_jump), NULL, NULL },
	{ "proxycommand", TEXT, AT(proxy_command), NULL, NULL },
	{ "connecttimeout", NUMBER, AT(connect_timeout_s), NULL, NULL },
	{ "serveraliveinterval", NUMBER, AT(alive_s), NULL, NULL },
	{ "serveralivecountmax", NUMBER, AT(alive_count), NULL, NULL },
	{ "tcpkeepalive", FLAG, AT(tcp_keepalive), NULL, NULL },
	{ "hashknownhosts", FLAG, AT(hash_known_hosts), NULL, NULL },
	{ "hostkeyalias", TEXT, AT(host_key_alias), NULL, NULL },
	{ "identitiesonly", FLAG, AT(identities_only), NULL, NULL },
	{ "pubkeyauthentication", OFF_ONLY, AT(by_key), NULL, NULL },
	{ "passwordauthentication", OFF_ONLY, AT(by_password), NULL, NULL },
	{ "kbdinteractiveauthentication", OFF_ONLY, AT(by_keyboard), NULL, NULL },
	{ "gssapiauthentication", FLAG, AT(by_gssapi), NULL, NULL },
	{ "kexalgorithms", TEXT, AT(kex), NULL, NULL },
	{ "hostkeyalgorithms", TEXT, AT(host_keys), NULL, NULL },
	{ "ciphers", TEXT, AT(ciphers), NULL, NULL },
	{ "macs", TEXT, AT(macs), NULL, NULL },
	{ "pubkeyacceptedalgorithms", TEXT, AT(key_algorithms), NULL, NULL },
	{ "stricthostkeychecking", CALL, 0, on_host_key_check, NULL },
	{ "addressfamily", CALL, 0, on_family, NULL },
	{ "identityagent", CALL, 0, on_agent, NULL },
	{ "identityfile", CALL, 0, on_identity, NULL },
	{ "userknownhostsfile", CALL, 0, on_user_known, NULL },
	{ "globalknownhostsfile", CALL, 0, on_global_known, NULL },
	{ "preferredauthentications", CALL, 0, on_preferred, NULL },
	{ "certificatefile", ODD_IF_SAID, 0, NULL, "CertificateFile" },
	{ "pkcs11provider", ODD_IF_SAID, 0, NULL, "PKCS11Provider" },
	{ "knownhostscommand", ODD_IF_SAID, 0, NULL, "KnownHostsCommand" },
	{ "revokedhostkeys", ODD_IF_SAID, 0, NULL, "RevokedHostKeys" },
	{ "bindaddress", ODD_IF_SAID, 0, NULL, "BindAddress" },
	{ "bindinterface", ODD_IF_SAID, 0, NULL, "BindInterface" },
	{ "verifyhostkeydns", ODD_IF_ON, 0, NULL, "VerifyHostKeyDNS" },
	{ "setenv", ODD_IF_SAID, 0, NULL, "SetEnv" },
	{ "compression", ODD_IF_ON, 0, NULL, "Compression" },
	{ "hostbasedauthentication", ODD_IF_ON, 0, NULL, "HostbasedAuthentication" },
#undef AT
};

static enum mer_status read_value(struct reading *r, const struct keyword *keyword,
                                  const char *value)
{
	void *at = (char *)r->config + keyword->offset;
	switch (keyword->kind) {
	case TEXT: return set_text(at, value, r->err);
	case NUMBER: return set_number(at, value, r->err);
	case FLAG: *(bool *)at = !is_no(value); return MER_OK;
	case OFF_ONLY: *(bool *)at &= !is_no(value); return MER_OK;
	case CALL: return keyword->call(r, value);
	case ODD_IF_SAID:
		if (!is_none(value))
			set_odd(r->config, "the configuration has ", keyword->odd);
		return MER_OK;
	case ODD_IF_ON:
		if (!is_no(value))
			set_odd(r->config, "the configuration has ", keyword->odd);
		return MER_OK;
	}
	return MER_OK;
}

static enum mer_status read_line(struct reading *r, char *line)
{
	char *value = strchr(line, ' ');
	if (value == NULL)
		return MER_OK;
	*value++ = '\0';
	for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
		if (strcmp(keywords[i].name, line) == 0)
			return read_value(r, &keywords[i], value);
	return MER_OK;
}

/* --- what follows from all of them ------------------------------------------------------------ */

static enum mer_status expand_identities(struct reading *r)
{
	char **words = r->config->identities;
	size_t kept = 0;
	for (size_t i = 0; words[i] != NULL; i++) {
		char *path = NULL;
		enum mer_status st = expand(r->config, r->env, words[i], &path, r->err);
		if (st != MER_OK)
			return st;
		if (path == NULL)
			set_odd(r->config, "the configuration has IdentityFile ", words[i]);
		free(words[i]);
		words[i] = NULL;
		if (path != NULL)
			words[kept++] = path;
	}
	return MER_OK;
}

/* IdentityAgent: a path, none, SSH_AUTH_SOCK, or $NAME. */
static enum mer_status find_agent(struct reading *r)
{
	const char *said = r->agent != NULL ? r->agent : "SSH_AUTH_SOCK";
	if (is_none(said))
		return MER_OK;
	const char *name = strcmp(said, "SSH_AUTH_SOCK") == 0 ? said
	                   : said[0] == '$' && said[1] != '{' ? said + 1
	                                                      : NULL;
	if (name != NULL) {
		const char *path = env_of(r->env, name, strlen(name));
		return path != NULL ? set_text(&r->config->agent, path, r->err) : MER_OK;
	}
	enum mer_status st = expand(r->config, r->env, said, &r->config->agent, r->err);
	if (st == MER_OK && r->config->agent == NULL)
		set_odd(r->config, "the configuration has IdentityAgent ", said);
	return st;
}

static enum mer_status finish(struct reading *r)
{
	struct ssh_config *config = r->config;
	if (config->hostname == NULL || config->user == NULL || config->port < 1 ||
	    config->port > 65535 || config->kex == NULL || config->host_keys == NULL ||
	    config->ciphers == NULL || config->macs == NULL)
		return mer_fail(r->err, MER_EINPUT, "ssh -G does not tell what a server is");
	if (config->connect_timeout_s == 0)
		config->connect_timeout_s = FOREVER_S;
	enum mer_status st = MER_OK;
	if (config->host == NULL)
		st = set_text(&config->host, config->hostname, r->err);
	if (st == MER_OK)
		st = expand_identities(r);
	return st == MER_OK ? find_agent(r) : st;
}

static struct ssh_config *config_new(void)
{
	struct ssh_config *config = calloc(1, sizeof *config);
	if (config == NULL)
		return NULL;
	config->by_key = config->by_password = config->by_keyboard = true;
	config->identities = calloc(WORDS_MAX + 1, sizeof *config->identities);
	config->user_known = calloc(WORDS_MAX + 1, sizeof *config->user_known);
	config->global_known = calloc(WORDS_MAX + 1, sizeof *config->global_known);
	if (config->identities != NULL && config->user_known != NULL && config->global_known != NULL)
		return config;
	ssh_config_free(config);
	return NULL;
}

static enum mer_status read_lines(struct reading *r, struct mer_str text)
{
	enum mer_status st = MER_OK;
	MER_AUTO(mer_text_done) char *copy = strndup(text.len > 0 ? text.ptr : "", text.len);
	char *rest = copy;
	if (copy == NULL)
		return no_memory(r->err);
	for (char *line; st == MER_OK && (line = strsep(&rest, "\n")) != NULL;)
		st = read_line(r, line);
	return st;
}

enum mer_status ssh_config_parse(struct mer_str text, const char *const env[],
                                 struct ssh_config **out, struct mer_error *err)
{
	struct reading r = { .config = config_new(), .env = env, .err = err };
	if (r.config == NULL)
		return no_memory(err);
	enum mer_status st = read_lines(&r, text);
	if (st == MER_OK)
		st = finish(&r);
	free(r.agent);
	if (st == MER_OK)
		*out = r.config;
	else
		ssh_config_free(r.config);
	return st;
}

void ssh_config_free(struct ssh_config *config)
{
	if (config == NULL)
		return;
	free(config->host);
	free(config->hostname);
	free(config->user);
	free(config->proxy_jump);
	free(config->proxy_command);
	free(config->host_key_alias);
	free(config->agent);
	free(config->kex);
	free(config->host_keys);
	free(config->ciphers);
	free(config->macs);
	free(config->key_algorithms);
	mer_words_done(&config->user_known);
	mer_words_done(&config->global_known);
	mer_words_done(&config->identities);
	free(config);
}

/* --- the choice ------------------------------------------------------------------------------- */

/* Whether libssh2 has any of what may be agreed upon. */
static bool has_any(LIBSSH2_SESSION *session, int method, const char *allowed)
{
	const char **names = NULL;
	bool found = false;
	int n = libssh2_session_supported_algs(session, method, &names);
	for (int i = 0; i < n; i++)
		found |= ssh_list_has(ssh_text(allowed), ssh_text(names[i]));
	if (n > 0)
		libssh2_free(session, (void *)names);
	return found;
}

enum ssh_choice ssh_config_choose(const struct ssh_config *config, char reason[200])
{
	const struct {
		int method;
		const char *allowed, *what;
	} rows[] = {
		{ LIBSSH2_METHOD_KEX, config->kex, "KexAlgorithms" },
		{ LIBSSH2_METHOD_HOSTKEY, config->host_keys, "HostKeyAlgorithms" },
		{ LIBSSH2_METHOD_CRYPT_CS, config->ciphers, "Ciphers" },
		{ LIBSSH2_METHOD_MAC_CS, config->macs, "MACs" },
	};
	reason[0] = '\0';
	if (config->proxy_command != NULL)
		(void)snprintf(reason, 200, "the configuration has ProxyCommand");
	else
		(void)snprintf(reason, 200, "%s", config->odd);
	if (reason[0] != '\0')
		return SSH_OPENSSH;
	LIBSSH2_SESSION *session = libssh2_session_init();
	for (size_t i = 0; i < sizeof rows / sizeof *rows && session != NULL; i++)
		if (reason[0] == '\0' && !has_any(session, rows[i].method, rows[i].allowed))
			(void)snprintf(reason, 200, "libssh2 %s has none of the configuration's %s",
			               libssh2_version(0), rows[i].what);
	if (session == NULL)
		(void)snprintf(reason, 200, "libssh2 does not start");
	else
		(void)libssh2_session_free(session);
	return reason[0] == '\0' ? SSH_LIBSSH2 : SSH_OPENSSH;
}
