/* SHA-256 of files and folders, and remembering it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mer/buf.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/sum.h>
#include <mer/text.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { CHUNK = 1 << 18, DEPTH_MAX = 64, LINE_MAX_BYTES = 8192 };

/* A change this short after another one may leave no trace in a file's times. */
#define RACY_NS INT64_C(2000000000)

/* --- the files ---------------------------------------------------------------------------- */

struct file {
	size_t name_at;   /* in the tree's names */
	const char *name; /* relative to the tree; "" of a tree that is a file; once all are there */
	struct stat info;
	char sha256[MER_SHA256_SIZE];
};

struct tree {
	const char *path;
	struct file *files; /* by name */
	size_t n, room;
	struct mer_buf names; /* each with its NUL */
	bool is_folder;
};

static void tree_done(struct tree *tree)
{
	free(tree->files);
	mer_buf_release(&tree->names);
}

/* The folders above the one that is looked at, so that a link to one of them is noticed. */
struct above {
	const struct above *next;
	dev_t device;
	ino_t inode;
	int depth;
};

static enum mer_status out_of_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status add_file(struct tree *tree, const char *name, const struct stat *info,
                                struct mer_error *err)
{
	if (tree->n == tree->room) {
		size_t room = tree->room == 0 ? 16 : 2 * tree->room;
		struct file *files = reallocarray(tree->files, room, sizeof *files);
		if (files == NULL)
			return out_of_memory(err);
		tree->files = files;
		tree->room = room;
	}
	tree->files[tree->n++] = (struct file){ .name_at = tree->names.len, .info = *info };
	mer_buf_add(&tree->names, name, strlen(name) + 1);
	return mer_buf_check(&tree->names, err);
}

static char *path_of(const struct tree *tree, const char *name)
{
	return mer_text_new("%s%s%s", tree->path, name[0] != '\0' ? "/" : "", name);
}

static enum mer_status walk(struct tree *tree, const char *name, const struct above *above,
                            struct mer_error *err);

static void dir_done(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

static enum mer_status walk_folder(struct tree *tree, const char *name, const char *path,
                                   const struct stat *info, const struct above *above,
                                   struct mer_error *err)
{
	struct above here = { above, info->st_dev, info->st_ino, above != NULL ? above->depth + 1 : 0 };
	for (const struct above *one = above; one != NULL; one = one->next)
		if (one->device == here.device && one->inode == here.inode)
			return mer_fail(err, MER_EIO, "'%s' is a link to a folder that it is in", path);
	if (here.depth > DEPTH_MAX)
		return mer_fail(err, MER_EIO, "'%s' is more than %d folders deep", path, (int)DEPTH_MAX);
	MER_AUTO(dir_done) DIR *dir = opendir(path);
	if (dir == NULL)
		return mer_fail(err, MER_EIO, "cannot read the folder '%s': %s", path, strerror(errno));
	enum mer_status st = MER_OK;
	while (st == MER_OK) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (entry == NULL && errno != 0)
			return mer_fail(err, MER_EIO, "cannot read the folder '%s': %s", path, strerror(errno));
		if (entry == NULL)
			break;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		MER_AUTO(mer_text_done)
		char *below = mer_text_new("%s%s%s", name, name[0] != '\0' ? "/" : "", entry->d_name);
		st = below != NULL ? walk(tree, below, &here, err) : out_of_memory(err);
	}
	return st;
}

static enum mer_status walk(struct tree *tree, const char *name, const struct above *above,
                            struct mer_error *err)
{
	struct stat info;
	MER_AUTO(mer_text_done) char *path = path_of(tree, name);
	if (path == NULL)
		return out_of_memory(err);
	if (strchr(name, '\n') != NULL)
		return mer_fail(err, MER_EIO, "'%s': there is a newline in its name", path);
	if (stat(path, &info) < 0 && (errno == ENOENT || errno == ENOTDIR) && name[0] == '\0')
		return mer_fail(err, MER_ENOTFOUND, "there is no '%s'", path);
	if (stat(path, &info) < 0)
		return mer_fail(err, MER_EIO, "cannot look at '%s': %s", path, strerror(errno));
	if (S_ISDIR(info.st_mode)) {
		tree->is_folder = true;
		return walk_folder(tree, name, path, &info, above, err);
	}
	if (!S_ISREG(info.st_mode))
		return mer_fail(err, MER_EIO, "'%s' is neither a file nor a folder", path);
	return add_file(tree, name, &info, err);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static enum mer_status look(struct tree *tree, struct mer_error *err)
{
	mer_buf_init(&tree->names, PTRDIFF_MAX);
	enum mer_status st = walk(tree, "", NULL, err);
	for (size_t i = 0; i < tree->n && st == MER_OK; i++)
		tree->files[i].name = tree->names.ptr + tree->files[i].name_at;
	if (st == MER_OK && tree->n > 1)
		qsort(tree->files, tree->n, sizeof *tree->files, by_name);
	return st;
}

static int64_t ns_of(struct timespec time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void stamp_tree(const struct tree *tree, struct mer_stamp *out)
{
	struct mer_sha256 hash;
	mer_sha256_init(&hash);
	out->changed_ns = 0;
	for (size_t i = 0; i < tree->n; i++) {
		const struct file *file = &tree->files[i];
		int64_t facts[] = { (int64_t)file->info.st_dev, (int64_t)file->info.st_ino,
			                (int64_t)file->info.st_size, ns_of(file->info.st_mtim),
			                ns_of(file->info.st_ctim) };
		for (size_t k = 3; k < 5; k++)
			if (facts[k] > out->changed_ns)
				out->changed_ns = facts[k];
		mer_sha256_add(&hash, facts, sizeof facts);
		mer_sha256_add(&hash, file->name, strlen(file->name) + 1);
	}
	mer_sha256_end(&hash, out->text);
}

enum mer_status mer_sum_look(const char *path, struct mer_stamp *out, struct mer_error *err)
{
	MER_AUTO(tree_done) struct tree tree = { .path = path };
	enum mer_status st = look(&tree, err);
	if (st == MER_OK)
		stamp_tree(&tree, out);
	return st;
}

enum mer_status mer_sum_list(const char *path, bool *is_folder, mer_sum_file_fn *on_file, void *ctx,
                             struct mer_error *err)
{
	MER_AUTO(tree_done) struct tree tree = { .path = path };
	enum mer_status st = look(&tree, err);
	for (size_t i = 0; i < tree.n && st == MER_OK; i++)
		st = on_file(ctx, tree.files[i].name, &tree.files[i].info, err);
	if (st == MER_OK)
		*is_folder = tree.is_folder;
	return st;
}

/* --- what is remembered ------------------------------------------------------------------- */

static char *memory_of(const char *path, bool make)
{
	MER_AUTO(mer_text_done) char *state = NULL;
	MER_AUTO(mer_text_done) char *folder = NULL;
	char key[MER_SHA256_SIZE];
	if (mer_place(MER_PLACE_STATE, &state, NULL) != MER_OK)
		return NULL;
	folder = mer_text_new("%s/sums", state);
	if (folder == NULL || (make && mer_make_folders(folder, NULL) != MER_OK))
		return NULL;
	mer_sha256(path, strlen(path), key);
	return mer_text_new("%s/%s", folder, key);
}

static char *memory_line(const char *path, const struct mer_stamp *stamp, const struct mer_sum *sum)
{
	return mer_text_new("1 %s %s %lld %s\n", stamp->text, sum->sha256, (long long)sum->bytes, path);
}

bool mer_sum_known(const char *path, const struct mer_stamp *stamp, struct mer_sum *out)
{
	enum { DIGITS = MER_SHA256_SIZE - 1, SUM = 2 + DIGITS + 1, BYTES = SUM + DIGITS + 1 };
	MER_AUTO(mer_text_done) char *memory = memory_of(path, false);
	MER_AUTO(mer_text_done) char *line = NULL;
	MER_AUTO(mer_text_done) char *same = NULL;
	struct mer_sum sum;
	size_t len;
	if (memory == NULL || mer_read_file(memory, LINE_MAX_BYTES, &line, &len, NULL) != MER_OK)
		return false;
	if (len < BYTES || strspn(line + SUM, "0123456789abcdef") != DIGITS)
		return false;
	(void)snprintf(sum.sha256, sizeof sum.sha256, "%.*s", (int)DIGITS, line + SUM);
	sum.bytes = strtoll(line + BYTES, NULL, 10);
	/* Two who write at once, or a full disk, may leave anything: it counts as a whole or not. */
	same = memory_line(path, stamp, &sum);
	if (same == NULL || strlen(same) != len || memcmp(same, line, len) != 0)
		return false;
	*out = sum;
	return true;
}

/* Whether a change that comes now would be seen in the times. */
static bool is_settled(const struct mer_stamp *stamp, int64_t read_at_ns)
{
	return stamp->changed_ns < read_at_ns - RACY_NS;
}

static void remember(const char *path, const struct mer_stamp *stamp, const struct mer_sum *sum)
{
	MER_AUTO(mer_text_done) char *memory = memory_of(path, true);
	MER_AUTO(mer_text_done) char *line = memory_line(path, stamp, sum);
	if (memory == NULL || line == NULL || strlen(line) > LINE_MAX_BYTES)
		return;
	MER_AUTO(mer_fd_done) int fd = mer_open_own(memory, O_WRONLY | O_TRUNC);
	if (fd >= 0)
		(void)!mer_write_all(fd, memory, line, strlen(line), NULL);
}

/* --- reading ------------------------------------------------------------------------------ */

static enum mer_status read_file(const struct tree *tree, struct file *file, char *room,
                                 const _Atomic bool *stop, int64_t *bytes, struct mer_error *err)
{
	struct mer_sha256 hash;
	MER_AUTO(mer_text_done) char *path = path_of(tree, file->name);
	if (path == NULL)
		return out_of_memory(err);
	MER_AUTO(mer_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return mer_fail(err, MER_EIO, "cannot open '%s': %s", path, strerror(errno));
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	mer_sha256_init(&hash);
	for (;;) {
		if (stop != NULL && atomic_load_explicit(stop, memory_order_relaxed))
			return mer_fail(err, MER_ECANCELED, "interrupted");
		ssize_t n = read(fd, room, CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mer_fail(err, MER_EIO, "cannot read '%s': %s", path, strerror(errno));
		if (n == 0)
			break;
		mer_sha256_add(&hash, room, (size_t)n);
		*bytes += n;
	}
	mer_sha256_end(&hash, file->sha256);
	return MER_OK;
}

static int by_line(const void *a, const void *b)
{
	const struct file *one = a, *other = b;
	int order = strcmp(one->sha256, other->sha256);
	return order != 0 ? order : strcmp(one->name, other->name);
}

static void sum_up(struct tree *tree, char out[MER_SHA256_SIZE])
{
	struct mer_sha256 hash;
	if (!tree->is_folder) {
		MER_ASSERT(tree->files != NULL);
		memcpy(out, tree->files[0].sha256, MER_SHA256_SIZE);
		return;
	}
	if (tree->n > 1)
		qsort(tree->files, tree->n, sizeof *tree->files, by_line);
	mer_sha256_init(&hash);
	for (size_t i = 0; i < tree->n; i++) {
		const struct file *file = &tree->files[i];
		mer_sha256_add(&hash, file->sha256, strlen(file->sha256));
		mer_sha256_add(&hash, "  ", 2);
		mer_sha256_add(&hash, file->name, strlen(file->name));
		mer_sha256_add(&hash, "\n", 1);
	}
	mer_sha256_end(&hash, out);
}

enum mer_status mer_sum_read(const char *path, const _Atomic bool *stop, struct mer_sum *out,
                             struct mer_stamp *stamp_out, struct mer_error *err)
{
	MER_AUTO(tree_done) struct tree tree = { .path = path };
	MER_AUTO(mer_text_done) char *room = malloc(CHUNK);
	struct mer_stamp before, after;
	struct mer_sum sum = { .bytes = 0 };
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	enum mer_status st = room != NULL ? look(&tree, err) : out_of_memory(err);
	if (st != MER_OK)
		return st;
	stamp_tree(&tree, &before);
	for (size_t i = 0; i < tree.n && st == MER_OK; i++)
		st = read_file(&tree, &tree.files[i], room, stop, &sum.bytes, err);
	if (st == MER_OK)
		st = mer_sum_look(path, &after, err);
	if (st != MER_OK)
		return st;
	if (strcmp(before.text, after.text) != 0)
		return mer_fail(err, MER_ECONFLICT, "'%s' was changed while it was read", path);
	sum_up(&tree, sum.sha256);
	if (is_settled(&before, ns_of(now)))
		remember(path, &before, &sum);
	else
		before.text[0] = '\0';
	*out = sum;
	if (stamp_out != NULL)
		*stamp_out = before;
	return MER_OK;
}

enum mer_status mer_sum_get(const char *path, const _Atomic bool *stop, struct mer_sum *out,
                            struct mer_error *err)
{
	struct mer_stamp stamp;
	enum mer_status st = mer_sum_look(path, &stamp, err);
	if (st != MER_OK || mer_sum_known(path, &stamp, out))
		return st;
	return mer_sum_read(path, stop, out, NULL, err);
}
