/* A folder as a tar (POSIX ustar, with pax headers for long names and large files); bundle.h. */
#include "bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/sum.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	BLOCK = 512,
	NAME_MAX_BYTES = 100,   /* in a ustar header */
	HEADER_MAX = 16 * 1024, /* of the longest name that a path has */
};
#define SIZE_MAX_OCTAL INT64_C(077777777777)

struct part {
	char *name; /* relative; "" of a bundle that is a file */
	int64_t at; /* of its header, or of the file itself */
	int64_t header, bytes, mtime;
	bool runs;
};

struct bundle {
	char *path;
	struct part *parts;
	size_t n;
	int64_t size;
	bool is_folder, is_source;
	int fd; /* of the part that was read last; -1: none */
	size_t open;
};

static int64_t rounded(int64_t n)
{
	return (n + BLOCK - 1) / BLOCK * BLOCK;
}

/* --- headers ------------------------------------------------------------------------------ */

/* A record of a pax header counts its own digits. */
static size_t add_record(char *out, size_t room, const char *name, const char *value)
{
	size_t plain = strlen(name) + strlen(value) + 3, len = plain + 1;
	for (size_t digits = 1, ten = 10; len >= ten; ten *= 10)
		len = plain + ++digits;
	(void)snprintf(out, room, "%zu %s=%s\n", len, name, value);
	return len;
}

static void fill_block(char block[BLOCK], const char *name, int64_t bytes, int64_t mtime, bool runs,
                       char kind)
{
	unsigned sum = 0;
	memset(block, 0, BLOCK);
	(void)memccpy(block, name, '\0', NAME_MAX_BYTES);
	(void)snprintf(block + 100, 8, "%07o", runs ? 0755u : 0644u);
	memcpy(block + 108, "0000000", 8);
	memcpy(block + 116, "0000000", 8);
	(void)snprintf(block + 124, 12, "%011llo", (unsigned long long)bytes);
	(void)snprintf(block + 136, 12, "%011llo", (unsigned long long)(mtime & SIZE_MAX_OCTAL));
	memset(block + 148, ' ', 8);
	block[156] = kind;
	memcpy(block + 257, "ustar\00000", 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += (unsigned char)block[i];
	(void)snprintf(block + 148, 8, "%06o", sum & 0777777);
}

/* Returns how long it is. */
static int64_t make_header(const struct part *part, char out[HEADER_MAX])
{
	char number[24];
	size_t len = 0, at = 0;
	bool large = part->bytes > SIZE_MAX_OCTAL;
	memset(out, 0, HEADER_MAX);
	if (strlen(part->name) > NAME_MAX_BYTES)
		len = add_record(out + BLOCK, HEADER_MAX - 2 * BLOCK, "path", part->name);
	(void)snprintf(number, sizeof number, "%lld", (long long)part->bytes);
	if (large)
		len += add_record(out + BLOCK + len, HEADER_MAX - 2 * BLOCK - len, "size", number);
	if (len > 0) {
		fill_block(out, "pax", (int64_t)len, part->mtime, false, 'x');
		at = BLOCK + (size_t)rounded((int64_t)len);
	}
	fill_block(out + at, part->name, large ? 0 : part->bytes, part->mtime, part->runs, '0');
	return (int64_t)at + BLOCK;
}

/* --- opening ------------------------------------------------------------------------------ */

static enum mer_status on_file(void *ctx, const char *name, const struct stat *info,
                               struct mer_error *err)
{
	struct bundle *bundle = ctx;
	char header[HEADER_MAX];
	if (bundle->is_source && strstr(name, "__pycache__/") != NULL)
		return MER_OK;
	struct part *parts = reallocarray(bundle->parts, bundle->n + 1, sizeof *parts);
	if (parts == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	bundle->parts = parts;
	struct part *part = &parts[bundle->n];
	*part = (struct part){ .name = strdup(name),
		                   .at = bundle->size,
		                   .bytes = (int64_t)info->st_size,
		                   .mtime = (int64_t)info->st_mtim.tv_sec,
		                   .runs = (info->st_mode & S_IXUSR) != 0 };
	if (part->name == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	bundle->n++;
	if (strlen(name) > HEADER_MAX / 2)
		return mer_fail(err, MER_EIO, "'%.200s...' has too long a name", name);
	part->header = name[0] != '\0' ? make_header(part, header) : 0;
	bundle->size += part->header + (name[0] != '\0' ? rounded(part->bytes) : part->bytes);
	return MER_OK;
}

enum mer_status bundle_open(const char *path, bool is_source, struct bundle **out,
                            struct mer_error *err)
{
	struct bundle *bundle = calloc(1, sizeof *bundle);
	if (bundle == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	bundle->fd = -1;
	bundle->is_source = is_source;
	bundle->path = strdup(path);
	enum mer_status st = bundle->path != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
	if (st == MER_OK)
		st = mer_sum_list(path, &bundle->is_folder, on_file, bundle, err);
	if (st != MER_OK) {
		bundle_free(bundle);
		return st;
	}
	if (bundle->is_folder)
		bundle->size += INT64_C(2) * BLOCK; /* the end of a tar */
	*out = bundle;
	return MER_OK;
}

void bundle_free(struct bundle *bundle)
{
	if (bundle == NULL)
		return;
	for (size_t i = 0; i < bundle->n; i++)
		free(bundle->parts[i].name);
	if (bundle->fd >= 0)
		(void)close(bundle->fd);
	free(bundle->parts);
	free(bundle->path);
	free(bundle);
}

bool bundle_is_folder(const struct bundle *bundle)
{
	return bundle->is_folder;
}

int64_t bundle_size(const struct bundle *bundle)
{
	return bundle->size;
}

/* --- reading ------------------------------------------------------------------------------ */

static enum mer_status open_part(struct bundle *bundle, size_t i, struct mer_error *err)
{
	const char *name = bundle->parts[i].name;
	if (bundle->fd >= 0 && bundle->open == i)
		return MER_OK;
	if (bundle->fd >= 0)
		(void)close(bundle->fd);
	MER_AUTO(mer_text_done)
	char *path = mer_text_new("%s%s%s", bundle->path, name[0] != '\0' ? "/" : "", name);
	if (path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	bundle->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	bundle->open = i;
	return bundle->fd >= 0 ? MER_OK
	                       : mer_fail(err, MER_EIO, "cannot open '%s': %s", path, strerror(errno));
}

static enum mer_status read_part(struct bundle *bundle, size_t i, int64_t at, char *out, size_t n,
                                 struct mer_error *err)
{
	enum mer_status st = open_part(bundle, i, err);
	while (st == MER_OK && n > 0) {
		ssize_t got = pread(bundle->fd, out, n, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return mer_fail(err, MER_EIO, "cannot read '%s': %s", bundle->path, strerror(errno));
		if (got == 0)
			return mer_fail(err, MER_ECONFLICT, "'%s' was changed while it was copied",
			                bundle->path);
		out += got;
		n -= (size_t)got;
		at += got;
	}
	return st;
}

/* The last part that begins at or before that byte. */
static size_t find_part(const struct bundle *bundle, int64_t at)
{
	size_t low = 0, high = bundle->n;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (bundle->parts[middle].at <= at)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Some of the bytes: of a header, of a file, or of the zeros behind it. */
static enum mer_status read_some(struct bundle *bundle, int64_t at, char *out, size_t n,
                                 size_t *taken, struct mer_error *err)
{
	char header[HEADER_MAX];
	*taken = n;
	memset(out, 0, n);
	if (bundle->n == 0)
		return MER_OK;
	size_t i = find_part(bundle, at);
	const struct part *part = &bundle->parts[i];
	int64_t into = at - part->at;
	int64_t next = i + 1 < bundle->n ? bundle->parts[i + 1].at : bundle->size;
	int64_t end = into < part->header                 ? part->header
	              : into < part->header + part->bytes ? part->header + part->bytes
	                                                  : next - part->at;
	if ((int64_t)n > end - into)
		*taken = (size_t)(end - into);
	if (into < part->header) {
		(void)make_header(part, header);
		memcpy(out, header + into, *taken);
	} else if (into < part->header + part->bytes) {
		return read_part(bundle, i, into - part->header, out, *taken, err);
	}
	return MER_OK;
}

enum mer_status bundle_read(struct bundle *bundle, int64_t at, char *out, size_t n,
                            struct mer_error *err)
{
	enum mer_status st = MER_OK;
	MER_ASSERT(at >= 0 && (int64_t)n <= bundle->size - at);
	while (n > 0 && st == MER_OK) {
		size_t taken;
		st = read_some(bundle, at, out, n, &taken, err);
		out += taken;
		n -= taken;
		at += (int64_t)taken;
	}
	return st;
}
