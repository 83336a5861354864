/* What workers on another host are lent: the example models, weights, a dataset, the Python SDK; and where
 * they find it there. In the database thread. */
#include "internal.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/sched.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>

static enum mer_status out_of_memory(struct mer_error *err)
{
	return mer_fail(err, MER_ENOMEM, "out of memory");
}

/* Adds one, whose path is taken; there: gives where it is found. */
static enum mer_status add(struct deployment *deployment, char *path, const char *sha256,
                           bool is_there, char **there, struct mer_error *err)
{
	MER_ASSERT(deployment->n_lent < LENT_MAX);
	const char *own = deployment->folder[0] != '\0' ? deployment->folder : MER_FAR_FOLDER;
	size_t at = deployment->n_lent;
	struct mer_lent *lent = &deployment->lent[at];
	if (path == NULL)
		return out_of_memory(err);
	lent->path = path;
	lent->sha256 = strdup(sha256);
	lent->is_there = is_there;
	deployment->n_lent++;
	*there = is_there ? strdup(path) : mer_text_new("%s/%zu/%s", own, at, mer_lent_name(lent));
	return lent->sha256 != NULL && *there != NULL ? MER_OK : out_of_memory(err);
}

/* Mostly what is remembered of it is enough. */
static enum mer_status add_here(struct deployment *deployment, const struct mer_sched *sched,
                                const char *path, char **there, struct mer_error *err)
{
	struct mer_sum sum;
	enum mer_status st = mer_sum_get(path, &sched->stop_reading, &sum, err);
	return st == MER_OK ? add(deployment, strdup(path), sum.sha256, false, there, err) : st;
}

bool mer_weights_there(const char *stored, size_t *server)
{
	const char *colon = strchr(stored, ':');
	if (stored[0] == '/' || stored[0] == '{' || colon == NULL || colon[1] != '/')
		return false;
	*server = (size_t)(colon - stored);
	return memchr(stored, '/', *server) == NULL;
}

enum mer_status lent_weights(struct deployment *deployment, const struct mer_deployment_row *row,
                             const char *models, struct mer_error *err)
{
	const struct mer_pair pair = { "models", models };
	const char *stored = row->weights_path;
	size_t len;
	if (!mer_weights_there(stored, &len)) {
		enum mer_status st = mer_expand(stored, &pair, 1, &deployment->weights_here, err);
		if (st == MER_OK && (deployment->weights_path = strdup(deployment->weights_here)) == NULL)
			st = out_of_memory(err);
		return st;
	}
	if (strlen(row->server) != len || strncmp(stored, row->server, len) != 0)
		return mer_fail(err, MER_EUNREACHABLE, "weights '%s' are on server '%.*s'",
		                row->weights_version, (int)len, stored);
	deployment->weights_path = strdup(stored + len + 1);
	return deployment->weights_path != NULL ? MER_OK : out_of_memory(err);
}

static bool tells_weights(const char *words)
{
	return strstr(words, "{weights}") != NULL || strstr(words, "{old_weights}") != NULL;
}

static enum mer_status lend_weights(struct deployment *deployment,
                                    const struct mer_deployment_row *row, struct mer_error *err)
{
	char *there = NULL;
	enum mer_status st = add(deployment, strdup(deployment->weights_path), row->weights_sha256,
	                         deployment->weights_here == NULL, &there, err);
	if (st != MER_OK) {
		free(there);
		return st;
	}
	free(deployment->weights_path);
	deployment->weights_path = there;
	return MER_OK;
}

/* The sum of a folder of sources, whose files are small: not by what is remembered, since Python writes into
 * such a folder. */
struct sources {
	const char *path;
	struct mer_buf lines; /* "sha256  name", each with a NUL */
	size_t n;
};

static enum mer_status on_source(void *ctx, const char *name, const struct stat *info,
                                 struct mer_error *err)
{
	enum { SOURCE_MAX = 64 << 20 };
	struct sources *sources = ctx;
	char sha256[MER_SHA256_SIZE];
	size_t len;
	(void)info;
	if (strstr(name, "__pycache__/") != NULL)
		return MER_OK;
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s/%s", sources->path, name);
	MER_AUTO(mer_text_done) char *bytes = NULL;
	if (path == NULL)
		return out_of_memory(err);
	enum mer_status st = mer_read_file(path, SOURCE_MAX, &bytes, &len, err);
	if (st != MER_OK)
		return st;
	mer_sha256(bytes, len, sha256);
	mer_buf_printf(&sources->lines, "%s  %s", sha256, name);
	mer_buf_byte(&sources->lines, '\0');
	sources->n++;
	return mer_buf_check(&sources->lines, err);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum mer_status sum_up(const struct sources *sources, char out[MER_SHA256_SIZE],
                              struct mer_error *err)
{
	struct mer_sha256 hash;
	const char **lines = calloc(sources->n + 1, sizeof *lines), *at = sources->lines.ptr;
	if (lines == NULL)
		return out_of_memory(err);
	for (size_t i = 0; i < sources->n; i++, at += strlen(at) + 1)
		lines[i] = at;
	qsort(lines, sources->n, sizeof *lines, by_text);
	mer_sha256_init(&hash);
	for (size_t i = 0; i < sources->n; i++) {
		mer_sha256_add(&hash, lines[i], strlen(lines[i]));
		mer_sha256_add(&hash, "\n", 1);
	}
	mer_sha256_end(&hash, out);
	free(lines);
	return MER_OK;
}

static enum mer_status add_sources(struct deployment *deployment, const char *path, char **there,
                                   struct mer_error *err)
{
	struct sources sources = { .path = path };
	char sha256[MER_SHA256_SIZE];
	bool is_folder;
	mer_buf_init(&sources.lines, (size_t)16 << 20);
	enum mer_status st = mer_sum_list(path, &is_folder, on_source, &sources, err);
	if (st == MER_OK)
		st = sum_up(&sources, sha256, err);
	mer_buf_release(&sources.lines);
	deployment->lent[deployment->n_lent].is_source = true;
	return st == MER_OK ? add(deployment, strdup(path), sha256, false, there, err) : st;
}

static enum mer_status lend_training(struct deployment *deployment, const struct mer_sched *sched,
                                     const struct training *training, struct mer_error *err)
{
	struct training *told = &deployment->training;
	const char *dataset = training->dataset;
	size_t len;
	told->new_version = strdup(training->new_version);
	told->new_weights = mer_text_new("%s/new/%s", deployment->folder, training->new_version);
	if (told->new_version == NULL || told->new_weights == NULL)
		return out_of_memory(err);
	if (!mer_weights_there(dataset, &len))
		return add_here(deployment, sched, dataset, &told->dataset, err);
	if (strlen(deployment->server) != len || strncmp(dataset, deployment->server, len) != 0)
		return mer_fail(err, MER_EUNREACHABLE, "the dataset is on server '%.*s'", (int)len,
		                dataset);
	told->dataset = strdup(dataset + len + 1);
	return told->dataset != NULL ? MER_OK : out_of_memory(err);
}

enum mer_status lent_read(struct deployment *deployment, const struct mer_deployment_row *row,
                          const struct mer_sched *sched, const struct training *training,
                          struct mer_error *err)
{
	bool frames = strcmp(row->protocol, "frame") == 0;
	bool command = training != NULL && row->train[0] != '\0';
	const char *words = command ? row->train : row->argv;
	bool models = strstr(words, "{models}") != NULL || strstr(row->workdir, "{models}") != NULL;
	enum mer_status st = MER_OK;
	if (training != NULL)
		st = mer_far_folder(deployment->folder, err);
	if (st == MER_OK && models)
		st = add_sources(deployment, sched->models, &deployment->models, err);
	if (st == MER_OK && deployment->weights_path[0] != '\0' &&
	    ((frames && !command) || tells_weights(words)))
		st = lend_weights(deployment, row, err);
	if (st == MER_OK && training != NULL)
		st = lend_training(deployment, sched, training, err);
	if (st == MER_OK && frames && !command)
		st = add_sources(deployment, sched->python, &deployment->python, err);
	return st;
}

void lent_free(struct deployment *deployment)
{
	for (size_t i = 0; i < deployment->n_lent; i++) {
		free((void *)(uintptr_t)deployment->lent[i].path);
		free((void *)(uintptr_t)deployment->lent[i].sha256);
	}
	free(deployment->models);
	free(deployment->python);
	free(deployment->weights_here);
	free(deployment->training.dataset);
	free(deployment->training.new_weights);
	free(deployment->training.new_version);
}
