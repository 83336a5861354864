/* Brings from another host what a training made there, and sums up what is at a path there; mer/lend.h. */
#define LOG_AREA "meal"
#include "lending.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/log.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum fetching { ASKING, TAKING, UNPACKING, DROPPING };
enum { STEPS_AFTER = 2 }; /* there, once it is asked: it is taken, and dropped */

struct fetch {
	struct mer_lending base;
	enum fetching step;
	char *id, *path, *part, *tree; /* part: what has come; tree: where it is unpacked */
	int fd;                        /* of part, where it is_open */
	bool is_open, is_folder;
	int64_t size, have, had;
	char sha256[MER_SHA256_SIZE];
	struct mer_sha256 hash;
	int rounds;
};

static struct fetch *downcast(struct mer_lending *lending)
{
	return (struct fetch *)lending;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)info, (void)kind, (void)at;
	(void)remove(path);
	return 0;
}

/* Who unpacks takes over that a folder is not to be written in. */
static int open_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)at;
	if (kind == FTW_D)
		(void)chmod(path, (info->st_mode & 0777) | S_IRWXU);
	return 0;
}

static void clear(const char *part, const char *tree)
{
	enum { DESCRIPTORS = 16 };
	(void)unlink(part);
	(void)nftw(tree, open_one, DESCRIPTORS, FTW_PHYS);
	(void)nftw(tree, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}

static void release(struct mer_lending *lending)
{
	struct fetch *fetch = downcast(lending);
	if (fetch->is_open)
		(void)close(fetch->fd);
	if (fetch->part != NULL && fetch->tree != NULL)
		clear(fetch->part, fetch->tree);
	free(fetch->id);
	free(fetch->path);
	free(fetch->part);
	free(fetch->tree);
}

/* "KIND BYTES SHA256" of lend.sh, whatever a server makes of it. */
static bool read_told(const char *text, bool *is_folder, int64_t *bytes,
                      char sha256[MER_SHA256_SIZE])
{
	enum { DIGITS = MER_SHA256_SIZE - 1 };
	*is_folder = strncmp(text, "folder ", 7) == 0;
	if (!*is_folder && strncmp(text, "file ", 5) != 0)
		return false;
	text = strchr(text, ' ') + 1;
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 18 || text[digits] != ' ')
		return false;
	*bytes = strtoll(text, NULL, 10);
	text += digits + 1;
	if (strspn(text, "0123456789abcdef") != DIGITS || text[DIGITS] != '\n')
		return false;
	(void)snprintf(sha256, MER_SHA256_SIZE, "%.*s", (int)DIGITS, text);
	return true;
}

static enum mer_status odd(const struct mer_lending *lending, struct mer_error *err)
{
	return mer_fail(err, MER_EIO, "server '%s' does not say what there is",
	                lending->remote->server);
}

/* --- steps -------------------------------------------------------------------------------- */

static enum mer_status take_rest(struct fetch *fetch, struct mer_error *err)
{
	char from[24];
	(void)snprintf(from, sizeof from, "%lld", (long long)fetch->have);
	const struct lending_order order = { .words = { "give", fetch->id, from }, .streams = true };
	fetch->step = TAKING;
	fetch->had = fetch->have;
	return lending_send(&fetch->base, &order, err);
}

static enum mer_status drop(struct fetch *fetch, struct mer_error *err)
{
	const struct lending_order order = { .words = { "drop", fetch->id } };
	fetch->step = DROPPING;
	return lending_send(&fetch->base, &order, err);
}

static enum mer_status on_told(struct fetch *fetch, const char *text, struct mer_error *err)
{
	if (strcmp(text, "none\n") == 0)
		return drop(fetch, err);
	if (!read_told(text, &fetch->is_folder, &fetch->size, fetch->sha256))
		return odd(&fetch->base, err);
	fetch->fd = open(fetch->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (fetch->fd < 0)
		return mer_fail(err, MER_EIO, "cannot write '%s': %s", fetch->part, strerror(errno));
	fetch->is_open = true;
	mer_sha256_init(&fetch->hash);
	return take_rest(fetch, err);
}

static bool on_bytes(struct mer_lending *lending, const char *bytes, size_t n)
{
	struct fetch *fetch = downcast(lending);
	struct mer_error err;
	if ((int64_t)n > fetch->size - fetch->have)
		(void)mer_fail(&err, MER_EIO, "server '%s' sends more than it said",
		               lending->remote->server);
	else if (mer_write_all(fetch->fd, fetch->part, bytes, n, &err) == MER_OK) {
		mer_sha256_add(&fetch->hash, bytes, n);
		fetch->have += (int64_t)n;
		return true;
	}
	lending_fail(lending, &err);
	return false;
}

/* What tar would first hand to another program may become any number of bytes. */
static bool is_plain_tar(int fd)
{
	enum { AT = 257 };
	char magic[5];
	return pread(fd, magic, sizeof magic, AT) == (ssize_t)sizeof magic &&
	       memcmp(magic, "ustar", sizeof magic) == 0;
}

/* Of one entry; *left is what came and is not in the files before it. A link may lead anywhere here; a file with
 * holes takes none of a tar, and one with several names is counted once. */
static enum mer_status judge(const struct fetch *fetch, const FTSENT *at, int64_t *left,
                             struct mer_error *err)
{
	const char *server = fetch->base.remote->server;
	const struct stat *info = at->fts_statp;
	bool is_file = at->fts_info == FTS_F && S_ISREG(info->st_mode);
	if (is_file)
		*left -= (int64_t)info->st_size / (int64_t)info->st_nlink;
	if (!is_file && at->fts_info != FTS_D && at->fts_info != FTS_DP)
		return mer_fail(err, MER_EIO, "what came from server '%s' is not only of files and folders",
		                server);
	return *left >= 0 ? MER_OK
	                  : mer_fail(err, MER_EIO,
	                             "what came from server '%s' becomes more bytes than came", server);
}

static enum mer_status judge_all(const struct fetch *fetch, struct mer_error *err)
{
	char *const paths[] = { fetch->tree, NULL };
	int64_t left = fetch->size;
	FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	if (walk == NULL)
		return mer_fail(err, MER_EIO, "cannot look at '%s': %s", fetch->tree, strerror(errno));
	enum mer_status st = MER_OK;
	for (const FTSENT *at; st == MER_OK && (at = fts_read(walk)) != NULL;)
		st = judge(fetch, at, &left, err);
	(void)fts_close(walk);
	return st;
}

static enum mer_status put_in_place(struct fetch *fetch, const char *what, struct mer_error *err)
{
	if (rename(what, fetch->path) == 0)
		return drop(fetch, err);
	return mer_fail(err, MER_EIO, "cannot write '%s': %s", fetch->path, strerror(errno));
}

static enum mer_status on_unpacked(struct fetch *fetch, struct mer_error *err)
{
	enum mer_status st = judge_all(fetch, err);
	return st == MER_OK ? put_in_place(fetch, fetch->tree, err) : st;
}

static enum mer_status on_taken(struct fetch *fetch, struct mer_error *err)
{
	char sha256[MER_SHA256_SIZE];
	mer_sha256_end(&fetch->hash, sha256);
	if (strcmp(sha256, fetch->sha256) != 0)
		return mer_fail(err, MER_EIO,
		                "what came from server '%s' is not what it has: sha256 is %s, not %s",
		                fetch->base.remote->server, sha256, fetch->sha256);
	if (!fetch->is_folder)
		return put_in_place(fetch, fetch->part, err);
	if (!is_plain_tar(fetch->fd))
		return mer_fail(err, MER_EIO, "what came from server '%s' is no tar",
		                fetch->base.remote->server);
	if (mkdir(fetch->tree, 0777) != 0)
		return mer_fail(err, MER_EIO, "cannot make '%s': %s", fetch->tree, strerror(errno));
	/* Not even root takes modes over: what another host says is setuid would be so here. */
	const char *const argv[] = {
		"tar",         "-xf",       fetch->part, "--no-same-owner", "--no-same-permissions",
		"--directory", fetch->tree, NULL
	};
	fetch->step = UNPACKING;
	return lending_run(&fetch->base, argv, err);
}

/* The stream has ended: whole, or in its middle. */
static enum mer_status on_stream(struct fetch *fetch, const struct mer_error *error,
                                 struct mer_error *err)
{
	if (fetch->have == fetch->size)
		return on_taken(fetch, err);
	fetch->rounds = fetch->have > fetch->had ? 0 : fetch->rounds + 1;
	if (fetch->rounds <= LENDING_ROUNDS && (error == NULL || error->status == MER_EUNREACHABLE))
		return take_rest(fetch, err);
	if (error == NULL)
		return odd(&fetch->base, err);
	*err = *error;
	return err->status;
}

static enum mer_status step(struct fetch *fetch, const char *text, const struct mer_error *error,
                            struct mer_error *err)
{
	if (fetch->step == TAKING)
		return on_stream(fetch, error, err);
	if (fetch->step == DROPPING)
		return MER_OK; /* what is not forgotten now will be in a month */
	if (error != NULL) {
		*err = *error;
		return err->status;
	}
	return fetch->step == ASKING ? on_told(fetch, text, err) : on_unpacked(fetch, err);
}

static void on_ended(struct mer_lending *lending, const char *text, const struct mer_error *error)
{
	struct mer_error err;
	if (lending->error.status == MER_OK && step(downcast(lending), text, error, &err) != MER_OK)
		lending_fail(lending, &err);
	if (lending->n_errands == 0)
		lending_finish(lending);
}

static const struct lending_kind fetch_kind = {
	.size = sizeof(struct fetch),
	.release = release,
	.ended = on_ended,
	.bytes = on_bytes,
};

/* Beside the path, so that it is renamed within a folder. */
static enum mer_status name_parts(const char *path, char **part, char **tree, struct mer_error *err)
{
	const char *slash = strrchr(path, '/');
	int folder = slash != NULL ? (int)(slash + 1 - path) : 0;
	*part = mer_text_new("%.*s.%s.part", folder, path, path + folder);
	*tree = mer_text_new("%.*s.%s.tree", folder, path, path + folder);
	return *part != NULL && *tree != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

enum mer_status mer_fetch_clear(const char *path, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *part = NULL;
	MER_AUTO(mer_text_done) char *tree = NULL;
	enum mer_status st = name_parts(path, &part, &tree, err);
	if (st == MER_OK)
		clear(part, tree);
	return st;
}

enum mer_status mer_fetch(struct uv_loop_s *loop, const struct mer_worker_spec *spec,
                          const char *id, const char *path, mer_lending_done_fn *done, void *ctx,
                          struct mer_lending **out, struct mer_error *err)
{
	struct fetch *fetch;
	enum mer_status st = lending_new(&fetch_kind, loop, spec, done, ctx, &fetch, err);
	if (st != MER_OK)
		return st;
	fetch->id = strdup(id);
	fetch->path = strdup(path);
	st = name_parts(path, &fetch->part, &fetch->tree, err);
	if (st == MER_OK && (fetch->id == NULL || fetch->path == NULL))
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	const struct lending_order order = { .words = { "made", id } };
	if (st == MER_OK)
		clear(fetch->part, fetch->tree); /* a tar outlives its mer by a moment */
	if (st == MER_OK)
		st = lending_send(&fetch->base, &order, err);
	if (st != MER_OK) {
		lending_free(&fetch->base);
		return st;
	}
	lending_ahead(&fetch->base, STEPS_AFTER);
	*out = &fetch->base;
	return MER_OK;
}

/* --- a sum -------------------------------------------------------------------------------- */

struct far_sum {
	struct mer_lending base;
	struct mer_sum *sum;
	char *path;
};

static void sum_release(struct mer_lending *lending)
{
	free(((struct far_sum *)lending)->path);
}

static void on_summed(struct mer_lending *lending, const char *text, const struct mer_error *error)
{
	struct far_sum *far = (struct far_sum *)lending;
	struct mer_error err;
	bool is_folder;
	if (error != NULL)
		lending_fail(lending, error);
	else if (strcmp(text, "none\n") == 0) {
		(void)mer_fail(&err, MER_ENOTFOUND, "there is no '%s' on server '%s'", far->path,
		               lending->remote->server);
		lending_fail(lending, &err);
	} else if (!read_told(text, &is_folder, &far->sum->bytes, far->sum->sha256)) {
		(void)odd(lending, &err);
		lending_fail(lending, &err);
	}
	lending_finish(lending);
}

static const struct lending_kind sum_kind = {
	.size = sizeof(struct far_sum),
	.release = sum_release,
	.ended = on_summed,
	.bytes = on_bytes,
};

enum mer_status mer_far_sum(struct uv_loop_s *loop, const struct mer_worker_spec *spec,
                            const char *path, struct mer_sum *sum, mer_lending_done_fn *done,
                            void *ctx, struct mer_lending **out, struct mer_error *err)
{
	struct far_sum *far;
	enum mer_status st = lending_new(&sum_kind, loop, spec, done, ctx, &far, err);
	if (st != MER_OK)
		return st;
	far->sum = sum;
	far->path = strdup(path);
	const struct lending_order order = { .words = { "sum", path } };
	st = far->path != NULL ? lending_send(&far->base, &order, err)
	                       : mer_fail(err, MER_ENOMEM, "out of memory");
	if (st != MER_OK) {
		lending_free(&far->base);
		return st;
	}
	*out = &far->base;
	return MER_OK;
}
