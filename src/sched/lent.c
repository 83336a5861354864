/* What workers on another host are lent: the example models, weights, a dataset, the Python SDK; and where
 * they find it there. In the database thread. */
#include "internal.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/sched.h>
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
		st = add_here(deployment, sched, sched->models, &deployment->models, err);
	if (st == MER_OK && deployment->weights_path[0] != '\0' &&
	    ((frames && !command) || tells_weights(words)))
		st = lend_weights(deployment, row, err);
	if (st == MER_OK && training != NULL)
		st = lend_training(deployment, sched, training, err);
	if (st == MER_OK && frames && !command)
		st = add_here(deployment, sched, sched->python, &deployment->python, err);
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
