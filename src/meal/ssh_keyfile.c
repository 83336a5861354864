/* Files of keys; ssh_keyfile.h. */
#include "ssh_keyfile.h"

#include "ssh_known.h"
#include "ssh_piece.h"
#include "ssh_secret.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <nettle/base64.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC "openssh-key-v1" /* and its NUL */

static enum mer_status no_key(struct mer_error *err)
{
	return mer_fail(err, MER_ENOTFOUND, "no key");
}

/* Takes over a public half, if it is one. */
static enum mer_status set_public(struct ssh_keyfile *key, struct mer_str blob,
                                  struct mer_error *err)
{
	const struct mer_str type = ssh_key_type(blob);
	if (type.len == 0 || type.len >= sizeof key->type)
		return no_key(err);
	unsigned char *copy = malloc(blob.len);
	if (copy == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	memcpy(copy, blob.ptr, blob.len);
	free(key->blob);
	key->blob = copy;
	key->len = blob.len;
	memcpy(key->type, type.ptr, type.len);
	key->type[type.len] = '\0';
	return MER_OK;
}

static bool contains(struct mer_str text, const char *what)
{
	return text.len > 0 && memmem(text.ptr, text.len, what, strlen(what)) != NULL;
}

/* --- OpenSSH's own format (PROTOCOL.key), whose public half is not guarded -------------------------- */

static enum mer_status parse_openssh(struct ssh_keyfile *key, struct mer_str bytes,
                                     struct mer_error *err)
{
	struct mer_str cipher, kdf, options, blob;
	size_t n;
	if (bytes.len < sizeof MAGIC || memcmp(bytes.ptr, MAGIC, sizeof MAGIC) != 0)
		return no_key(err);
	bytes.ptr += sizeof MAGIC;
	bytes.len -= sizeof MAGIC;
	if (!ssh_take_string(&bytes, &cipher) || !ssh_take_string(&bytes, &kdf) ||
	    !ssh_take_string(&bytes, &options) || !ssh_take_u32(&bytes, &n) || n != 1 ||
	    !ssh_take_string(&bytes, &blob))
		return no_key(err);
	key->is_private = true;
	key->is_guarded = !ssh_is(cipher, "none");
	return set_public(key, blob, err);
}

/* What stands between the lines of a PEM, decoded; wiped, since the private half may be in it. */
static enum mer_status parse_pem(struct ssh_keyfile *key, struct mer_str text,
                                 struct mer_error *err)
{
	struct base64_decode_ctx state;
	const char *begin = memchr(text.ptr, '\n', text.len);
	const char *end = begin == NULL ? NULL
	                                : memmem(begin, text.len - (size_t)(begin - text.ptr),
	                                         "-----END", sizeof "-----END" - 1);
	if (end == NULL)
		return no_key(err);
	const size_t len = (size_t)(end - begin);
	size_t n = BASE64_DECODE_LENGTH(len);
	unsigned char *bytes = malloc(n + 1);
	if (bytes == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	base64_decode_init(&state);
	const size_t room = n;
	bool good = base64_decode_update(&state, &n, bytes, len, begin) && base64_decode_final(&state);
	enum mer_status st =
		good ? parse_openssh(key, (struct mer_str){ (char *)bytes, n }, err) : no_key(err);
	explicit_bzero(bytes, room + 1);
	free(bytes);
	return st;
}

/* The older ones, by their first line. Their public half is in a file beside them, if anywhere. */
static void parse_older(struct ssh_keyfile *key, struct mer_str text)
{
	static const struct {
		const char *begin, *type;
	} rows[] = {
		{ "-----BEGIN RSA PRIVATE KEY-----", "ssh-rsa" },
		{ "-----BEGIN DSA PRIVATE KEY-----", "ssh-dss" },
		{ "-----BEGIN EC PRIVATE KEY-----", "ecdsa-sha2-nistp256" },
	};
	key->is_private = true;
	key->is_guarded = contains(text, "ENCRYPTED");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (contains(text, rows[i].begin))
			(void)snprintf(key->type, sizeof key->type, "%s", rows[i].type);
}

/* TYPE BASE64 COMMENT, as known_hosts has it behind the names. */
static enum mer_status parse_public(struct ssh_keyfile *key, struct mer_str text,
                                    struct mer_error *err)
{
	struct base64_decode_ctx state;
	const char *space = memchr(text.ptr, ' ', text.len);
	if (space == NULL)
		return no_key(err);
	size_t len = text.len - (size_t)(space + 1 - text.ptr);
	for (size_t i = 0; i < len; i++)
		if (memchr(" \t\r\n", space[1 + i], 4) != NULL)
			len = i;
	size_t n = BASE64_DECODE_LENGTH(len);
	MER_AUTO(mer_text_done) char *bytes = malloc(n + 1);
	if (bytes == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	base64_decode_init(&state);
	if (!base64_decode_update(&state, &n, (uint8_t *)bytes, len, space + 1) ||
	    !base64_decode_final(&state))
		return no_key(err);
	const struct mer_str blob = { bytes, n }, type = ssh_key_type(blob);
	if (type.len != (size_t)(space - text.ptr) || memcmp(type.ptr, text.ptr, type.len) != 0)
		return no_key(err);
	return set_public(key, blob, err);
}

enum mer_status ssh_keyfile_parse(struct ssh_keyfile *key, struct mer_str text,
                                  struct mer_error *err)
{
	if (contains(text, "-----BEGIN OPENSSH PRIVATE KEY-----"))
		return parse_pem(key, text, err);
	if (contains(text, "PRIVATE KEY-----")) {
		parse_older(key, text);
		return MER_OK;
	}
	return text.len > 0 ? parse_public(key, text, err) : no_key(err);
}

/* --- the files ---------------------------------------------------------------------------------- */

/* PATH.pub, where the file itself does not tell. What is wrong with it does not matter. */
static void read_public(struct ssh_keyfile *key)
{
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s.pub", key->path);
	MER_AUTO(mer_text_done) char *text = NULL;
	size_t len;
	if (path == NULL || access(path, R_OK) < 0 ||
	    mer_read_file(path, 65536, &text, &len, NULL) != MER_OK || len == 0)
		return;
	(void)parse_public(key, (struct mer_str){ text, len }, NULL);
}

static bool has_certificate(const char *path)
{
	MER_AUTO(mer_text_done) char *name = mer_text_new("%s-cert.pub", path);
	return name != NULL && access(name, F_OK) == 0;
}

enum mer_status ssh_keyfile_read(struct ssh_keyfile *key, const char *path, struct mer_error *err)
{
	struct ssh_secret secret = { 0 };
	struct stat info;
	*key = (struct ssh_keyfile){ .path = path, .has_certificate = has_certificate(path) };
	enum mer_status st = MER_OK;
	if (stat(path, &info) < 0) {
		read_public(key); /* the private half may be an agent's */
		return key->blob != NULL ? MER_OK : no_key(err);
	}
	key->is_open = info.st_uid == getuid() && (info.st_mode & 077) != 0;
	if (ssh_secret_read(&secret, path, NULL) != MER_OK)
		return no_key(err);
	st = ssh_keyfile_parse(key, (struct mer_str){ secret.text, secret.len }, err);
	ssh_secret_release(&secret);
	if (st == MER_OK && key->blob == NULL)
		read_public(key);
	key->is_open = key->is_open && key->is_private;
	if (st != MER_OK)
		ssh_keyfile_release(key);
	return st;
}

void ssh_keyfile_release(struct ssh_keyfile *key)
{
	free(key->blob);
	key->blob = NULL;
}
