/* known_hosts(5); ssh_known.h. Matching follows OpenSSH's hostfile.c and match.c. */
#include "ssh_known.h"

#include "ssh_piece.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <nettle/base64.h>
#include <nettle/hmac.h>
#include <nettle/sha2.h>
#include <string.h>
#include <sys/random.h>

#define FILE_MAX ((size_t)64 << 20)
#define LINES_MAX 1000 /* that one host may have */
#define USUAL_PORT 22
#define HASH_MAGIC "|1|"

static enum mer_status no_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

/* --- keys -------------------------------------------------------------------------------------- */

struct mer_str ssh_key_type(struct mer_str blob)
{
	static const struct mer_str none = { "", 0 };
	struct mer_str type;
	if (!ssh_take_string(&blob, &type) || type.len == 0 || type.len > 64)
		return none;
	for (size_t i = 0; i < type.len; i++)
		if (type.ptr[i] <= ' ' || type.ptr[i] >= 127)
			return none;
	return type;
}

void ssh_fingerprint(struct mer_str blob, char out[SSH_FINGERPRINT_SIZE])
{
	struct sha256_ctx hash;
	uint8_t digest[SHA256_DIGEST_SIZE];
	char text[BASE64_ENCODE_RAW_LENGTH(SHA256_DIGEST_SIZE) + 1];
	sha256_init(&hash);
	sha256_update(&hash, blob.len, (const uint8_t *)blob.ptr);
	sha256_digest(&hash, sizeof digest, digest);
	base64_encode_raw(text, sizeof digest, digest);
	text[sizeof text - 1] = '\0';
	text[strcspn(text, "=")] = '\0';
	(void)snprintf(out, SSH_FINGERPRINT_SIZE, "SHA256:%s", text);
}

/* Decodes text of base64 into new memory. NULL with *len 0: it is none; NULL with *len 1: no memory. */
static unsigned char *decode(struct mer_str text, size_t *len)
{
	struct base64_decode_ctx state;
	size_t n = BASE64_DECODE_LENGTH(text.len);
	unsigned char *bytes = malloc(n + 1);
	*len = bytes == NULL;
	if (bytes == NULL)
		return NULL;
	base64_decode_init(&state);
	if (base64_decode_update(&state, &n, bytes, text.len, text.ptr) &&
	    base64_decode_final(&state)) {
		*len = n;
		return bytes;
	}
	free(bytes);
	return NULL;
}

/* --- names ------------------------------------------------------------------------------------- */

/* Whether a pattern with * and ? fits, whatever the case of ASCII letters. Takes n * m steps at most. */
static bool fits(struct mer_str pattern, const char *name)
{
	size_t at = 0, star = SIZE_MAX;
	const char *back = NULL;
	while (*name != '\0') {
		if (at < pattern.len && pattern.ptr[at] == '*') {
			star = at++;
			back = name;
		} else if (at < pattern.len &&
		           (pattern.ptr[at] == '?' ||
		            tolower((unsigned char)pattern.ptr[at]) == tolower((unsigned char)*name))) {
			at++;
			name++;
		} else if (star != SIZE_MAX) {
			at = star + 1;
			name = ++back;
		} else {
			return false;
		}
	}
	while (at < pattern.len && pattern.ptr[at] == '*')
		at++;
	return at == pattern.len;
}

/* A list of patterns; one that begins with '!' and fits rules all others out. */
static bool names_it(struct mer_str list, const char *name)
{
	struct mer_str pattern;
	bool found = false;
	while (ssh_list_next(&list, &pattern)) {
		bool negated = pattern.len > 0 && pattern.ptr[0] == '!';
		const struct mer_str rest = { pattern.ptr + negated, pattern.len - negated };
		if (!fits(rest, name))
			continue;
		if (negated)
			return false;
		found = true;
	}
	return found;
}

static void hash_name(const char *name, const uint8_t salt[SHA1_DIGEST_SIZE],
                      uint8_t out[SHA1_DIGEST_SIZE])
{
	struct hmac_sha1_ctx hmac;
	hmac_sha1_set_key(&hmac, SHA1_DIGEST_SIZE, salt);
	hmac_sha1_update(&hmac, strlen(name), (const uint8_t *)name);
	hmac_sha1_digest(&hmac, SHA1_DIGEST_SIZE, out);
}

/* "|1|SALT|HASH", both of base64. */
static bool is_hash_of(struct mer_str text, const char *name)
{
	const size_t skip = sizeof HASH_MAGIC - 1;
	const char *bar = memchr(text.ptr + skip, '|', text.len - skip);
	uint8_t digest[SHA1_DIGEST_SIZE];
	size_t n_salt = 0, n_hash = 0;
	if (bar == NULL)
		return false;
	const size_t salt_len = (size_t)(bar - text.ptr) - skip;
	unsigned char *salt = decode((struct mer_str){ text.ptr + skip, salt_len }, &n_salt);
	unsigned char *hash =
		decode((struct mer_str){ bar + 1, text.len - skip - salt_len - 1 }, &n_hash);
	bool same = false;
	if (salt != NULL && hash != NULL && n_salt == sizeof digest && n_hash == sizeof digest) {
		hash_name(name, salt, digest);
		same = memcmp(hash, digest, sizeof digest) == 0;
	}
	free(salt);
	free(hash);
	return same;
}

static bool is_named(struct mer_str names, const char *name)
{
	if (name == NULL)
		return false;
	if (names.len > sizeof HASH_MAGIC - 1 &&
	    memcmp(names.ptr, HASH_MAGIC, sizeof HASH_MAGIC - 1) == 0)
		return is_hash_of(names, name);
	return names_it(names, name);
}

/* --- lines ------------------------------------------------------------------------------------- */

enum mer_status ssh_known_init(struct ssh_known *known, const struct ssh_config *config,
                               struct mer_error *err)
{
	*known = (struct ssh_known){ 0 };
	if (config->host_key_alias != NULL) {
		known->name = strdup(config->host_key_alias);
		return known->name != NULL ? MER_OK : no_memory(err);
	}
	char *name = strdup(config->hostname);
	for (char *at = name; at != NULL && *at != '\0'; at++)
		*at = (char)tolower((unsigned char)*at);
	known->name = name;
	if (name != NULL && config->port != USUAL_PORT) {
		known->bare = name;
		known->name = mer_text_new("[%s]:%lld", name, (long long)config->port);
	}
	return known->name != NULL ? MER_OK : no_memory(err);
}

void ssh_known_release(struct ssh_known *known)
{
	for (size_t i = 0; i < known->n; i++) {
		free(known->lines[i].type);
		free(known->lines[i].blob);
	}
	free(known->lines);
	free(known->name);
	free(known->bare);
	*known = (struct ssh_known){ 0 };
}

static struct mer_str next_word(struct mer_str *line)
{
	while (line->len > 0 && (line->ptr[0] == ' ' || line->ptr[0] == '\t')) {
		line->ptr++;
		line->len--;
	}
	size_t n = 0;
	while (n < line->len && strchr(" \t\r", line->ptr[n]) == NULL)
		n++;
	const struct mer_str word = { line->ptr, n };
	line->ptr += n;
	line->len -= n;
	return word;
}

static enum mer_status keep(struct ssh_known *known, struct ssh_known_line line,
                            struct mer_error *err)
{
	if (known->n >= LINES_MAX)
		return mer_fail(err, MER_ELIMIT, "'%s' has more than %d lines that name '%s'", line.file,
		                LINES_MAX, known->name);
	if (known->n == known->cap) {
		size_t cap = known->cap > 0 ? 2 * known->cap : 8;
		struct ssh_known_line *lines = realloc(known->lines, cap * sizeof *lines);
		if (lines == NULL)
			return no_memory(err);
		known->lines = lines;
		known->cap = cap;
	}
	known->lines[known->n++] = line;
	return MER_OK;
}

/* MARKER NAMES TYPE BASE64 COMMENT. The key says itself of what type it is, too. */
static enum mer_status read_line(struct ssh_known *known, const char *file, int number,
                                 struct mer_str text, struct mer_error *err)
{
	struct ssh_known_line line = { .file = file, .number = number };
	struct mer_str names = next_word(&text);
	if (ssh_is(names, "@revoked"))
		line.mark = SSH_KNOWN_REVOKED;
	else if (ssh_is(names, "@cert-authority"))
		line.mark = SSH_KNOWN_AUTHORITY;
	else if (names.len == 0 || names.ptr[0] == '@' || names.ptr[0] == '#')
		return MER_OK;
	if (line.mark != SSH_KNOWN_KEY)
		names = next_word(&text);
	const struct mer_str type = next_word(&text), key = next_word(&text);
	if (type.len == 0 || key.len == 0)
		return MER_OK;
	const bool named = is_named(names, known->name);
	line.bare = !named;
	if (!named && !is_named(names, known->bare))
		return MER_OK;
	line.blob = decode(key, &line.len);
	if (line.blob == NULL)
		return line.len == 0 ? MER_OK : no_memory(err);
	const struct mer_str own = ssh_key_type((struct mer_str){ (char *)line.blob, line.len });
	if (own.len != type.len || memcmp(own.ptr, type.ptr, own.len) != 0) {
		free(line.blob);
		return MER_OK;
	}
	line.type = strndup(type.ptr, type.len);
	enum mer_status st = line.type != NULL ? keep(known, line, err) : no_memory(err);
	if (st != MER_OK) {
		free(line.type);
		free(line.blob);
	}
	return st;
}

enum mer_status ssh_known_read(struct ssh_known *known, const char *file, struct mer_str text,
                               struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (int number = 1; text.len > 0 && st == MER_OK; number++) {
		const char *end = memchr(text.ptr, '\n', text.len);
		const size_t len = end != NULL ? (size_t)(end - text.ptr) : text.len;
		if (memchr(text.ptr, '\0', len) == NULL)
			st = read_line(known, file, number, (struct mer_str){ text.ptr, len }, err);
		text.ptr += len + (end != NULL);
		text.len -= len + (end != NULL);
	}
	return st;
}

enum mer_status ssh_known_load(struct ssh_known *known, const struct ssh_config *config,
                               struct mer_error *err)
{
	char **const lists[] = { config->user_known, config->global_known };
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
		for (char **file = lists[i]; *file != NULL; file++) {
			MER_AUTO(mer_text_done) char *text = NULL;
			size_t len;
			if (access(*file, R_OK) < 0)
				continue;
			enum mer_status st = mer_read_file(*file, FILE_MAX, &text, &len, err);
			if (st == MER_OK)
				st = ssh_known_read(known, *file, (struct mer_str){ text, len }, err);
			if (st != MER_OK)
				return st;
		}
	return MER_OK;
}

/* --- verdicts ---------------------------------------------------------------------------------- */

static bool begins(struct mer_str text, const char *with)
{
	return text.len >= strlen(with) && memcmp(text.ptr, with, strlen(with)) == 0;
}

/* Whether two types are of one family: a host has one key of ECDSA, on whatever curve. */
static bool same_family(struct mer_str a, struct mer_str b)
{
	static const char ecdsa[] = "ecdsa-sha2-";
	return (a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0) ||
	       (begins(a, ecdsa) && begins(b, ecdsa));
}

enum ssh_known_verdict ssh_known_check(const struct ssh_known *known, struct mer_str blob,
                                       const struct ssh_known_line **line)
{
	const struct mer_str type = ssh_key_type(blob);
	const struct ssh_known_line *same = NULL, *bare = NULL, *other = NULL, *differs = NULL;
	for (size_t i = 0; i < known->n; i++) {
		const struct ssh_known_line *at = &known->lines[i];
		const bool equal = at->len == blob.len && memcmp(at->blob, blob.ptr, blob.len) == 0;
		if (at->mark == SSH_KNOWN_REVOKED && equal) {
			*line = at;
			return SSH_KNOWN_IS_REVOKED;
		}
		if (at->mark != SSH_KNOWN_KEY || (at->bare && !equal))
			continue;
		const struct ssh_known_line **to = equal && at->bare                       ? &bare
		                                   : equal                                 ? &same
		                                   : same_family(type, ssh_text(at->type)) ? &differs
		                                                                           : &other;
		if (*to == NULL)
			*to = at;
	}
	*line = same != NULL ? same : differs != NULL ? differs : bare != NULL ? bare : other;
	if (same != NULL || (differs == NULL && bare != NULL))
		return SSH_KNOWN_YES;
	return differs != NULL ? SSH_KNOWN_CHANGED : SSH_KNOWN_NEW;
}

/* The type of the keys that an algorithm signs with. */
static struct mer_str type_of(struct mer_str algorithm)
{
	if (begins(algorithm, "rsa-sha2-"))
		return ssh_text("ssh-rsa");
	return algorithm;
}

static bool is_known(const struct ssh_known *known, struct mer_str algorithm)
{
	const struct mer_str type = type_of(algorithm);
	for (size_t i = 0; i < known->n; i++)
		if (known->lines[i].mark == SSH_KNOWN_KEY && ssh_is(type, known->lines[i].type))
			return true;
	return false;
}

static bool supports(const char *const supported[], size_t n, struct mer_str name)
{
	for (size_t i = 0; i < n; i++)
		if (ssh_is(name, supported[i]))
			return true;
	return false;
}

static bool is_certificate(struct mer_str name)
{
	return memmem(name.ptr, name.len, "-cert-", 6) != NULL;
}

enum mer_status ssh_known_order(const struct ssh_known *known, const char *allowed,
                                const char *const supported[], size_t n_supported, char **out,
                                bool *lost, struct mer_error *err)
{
	struct mer_buf buf;
	size_t n_known = 0, n_keys = 0;
	mer_buf_init(&buf, 4096);
	for (int pass = 0; pass < 2; pass++) {
		struct mer_str rest = ssh_text(allowed), name;
		while (ssh_list_next(&rest, &name)) {
			if (is_certificate(name) || !supports(supported, n_supported, name) ||
			    is_known(known, name) != (pass == 0))
				continue;
			if (buf.len > 0)
				mer_buf_byte(&buf, ',');
			mer_buf_add(&buf, name.ptr, name.len);
			n_known += pass == 0;
		}
	}
	for (size_t i = 0; i < known->n; i++)
		n_keys += known->lines[i].mark != SSH_KNOWN_REVOKED;
	mer_buf_add(&buf, "", 1);
	enum mer_status st = mer_buf_take(&buf, out, NULL, err);
	if (st == MER_OK)
		*lost = n_keys > 0 && n_known == 0;
	return st;
}

/* --- a new one --------------------------------------------------------------------------------- */

static void add_base64(struct mer_buf *buf, const void *bytes, size_t n)
{
	char *room = mer_buf_room(buf, BASE64_ENCODE_RAW_LENGTH(n));
	if (room == NULL)
		return;
	base64_encode_raw(room, n, bytes);
	mer_buf_grow(buf, BASE64_ENCODE_RAW_LENGTH(n));
}

static enum mer_status add_name(struct mer_buf *buf, const char *name, bool hashed,
                                struct mer_error *err)
{
	uint8_t salt[SHA1_DIGEST_SIZE], digest[SHA1_DIGEST_SIZE];
	if (!hashed) {
		mer_buf_text(buf, name);
		return MER_OK;
	}
	if (getrandom(salt, sizeof salt, 0) != (ssize_t)sizeof salt)
		return mer_fail(err, MER_EIO, "there are no random numbers: %s", strerror(errno));
	hash_name(name, salt, digest);
	mer_buf_text(buf, HASH_MAGIC);
	add_base64(buf, salt, sizeof salt);
	mer_buf_byte(buf, '|');
	add_base64(buf, digest, sizeof digest);
	return MER_OK;
}

/* A folder for it, as ssh makes ~/.ssh. */
static enum mer_status make_place(const char *file, struct mer_error *err)
{
	const char *slash = strrchr(file, '/');
	if (slash == NULL || slash == file)
		return MER_OK;
	MER_AUTO(mer_text_done) char *folder = strndup(file, (size_t)(slash - file));
	return folder != NULL ? mer_make_folders(folder, err) : no_memory(err);
}

static enum mer_status append(const char *file, struct mer_buf *line, struct mer_error *err)
{
	enum mer_status st = make_place(file, err);
	if (st != MER_OK)
		return st;
	MER_AUTO(mer_fd_done) int fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return mer_fail(err, MER_EIO, "cannot write '%s': %s", file, strerror(errno));
	char last = '\n';
	off_t end = lseek(fd, 0, SEEK_END);
	if (end > 0 && pread(fd, &last, 1, end - 1) != 1)
		last = '\n';
	const size_t skip = last == '\n'; /* the line begins with a newline, for where one is missing */
	return mer_write_all(fd, file, line->ptr + skip, line->len - skip, err);
}

enum mer_status ssh_known_add(const struct ssh_known *known, const struct ssh_config *config,
                              struct mer_str blob, struct mer_error *err)
{
	const struct mer_str type = ssh_key_type(blob);
	struct mer_buf line;
	if (config->user_known[0] == NULL) /* nobody wants it to be kept */
		return MER_OK;
	mer_buf_init(&line, 65536);
	mer_buf_byte(&line, '\n');
	enum mer_status st = add_name(&line, known->name, config->hash_known_hosts, err);
	mer_buf_byte(&line, ' ');
	mer_buf_add(&line, type.ptr, type.len);
	mer_buf_byte(&line, ' ');
	add_base64(&line, blob.ptr, blob.len);
	mer_buf_byte(&line, '\n');
	if (st == MER_OK)
		st = mer_buf_check(&line, err);
	if (st == MER_OK)
		st = append(config->user_known[0], &line, err);
	mer_buf_release(&line);
	return st;
}
