/*
 * Where a run's answer came from: the bytes of the program and of the files that its words name, of the
 * weights, and what the worker said of its interpreter.
 *
 * A worker's files are looked at (stat) when it is started. What they are identified by then (device,
 * inode, size, times), together with the weights and the announcement, has a digest, which is what a
 * run's row names. Only the database thread reads the files, and only where neither this mer nor the
 * database knows that digest: so the database remembers what was read, from mer to mer. A file that was
 * replaced before it could be read has no sha256.
 */
#define LOG_AREA "sched"
#include "internal.h"

#include <fcntl.h>
#include <limits.h>
#include <mer/clean.h>
#include <mer/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	FILES_MAX = 32,       /* words that are looked at, the program included */
	READ_MAX = 256 << 20, /* bytes; what is larger is no script, and weights have their own way */
	CHUNK = 65536,
	RACY_NS = 20000000 /* two changes within so many ns may leave the same times */
};

/* A file, and what tells it from others. */
struct fact {
	size_t word; /* of argv */
	char *path;
	dev_t device;
	ino_t inode;
	int64_t bytes, mtime_ns, ctime_ns;
	int64_t racy_ns; /* when it was looked at where it had just been changed, so that it is unlike
	                  * what any other look gives; else 0 */
};

struct facts {
	size_t n;
	struct fact list[FILES_MAX];
};

struct origin {
	int refs;
	char digest[ORIGIN_DIGEST];
	char *runtime, *sdk, *weights_sha256;
	struct facts facts;
	bool asked; /* the database thread was asked to see to it */

	/* the database thread's alone */
	bool known;                      /* its row is in the database */
	bool written;                    /* or is written in the open transaction */
	char (*sha256)[MER_SHA256_SIZE]; /* of each fact, "": not read; NULL: none was */
};

/* --- looking ------------------------------------------------------------------------------ */

static int64_t ns_of(struct timespec time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void take_stat(const struct stat *info, struct fact *out)
{
	out->device = info->st_dev;
	out->inode = info->st_ino;
	out->bytes = info->st_size;
	out->mtime_ns = ns_of(info->st_mtim);
	out->ctime_ns = ns_of(info->st_ctim);
}

static bool same_file(const struct fact *a, const struct fact *b)
{
	return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

static bool look_at(const char *path, bool runs, struct fact *out)
{
	struct stat info;
	struct timespec now;
	if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || (runs && access(path, X_OK) != 0))
		return false;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	take_stat(&info, out);
	out->racy_ns = ns_of(now) - out->ctime_ns < RACY_NS ? ns_of(now) : 0;
	return true;
}

/* A word as a path, in dir, from the worker's folder on. */
static bool path_of(const struct deployment *deployment, struct mer_str dir, const char *word,
                    char out[PATH_MAX])
{
	bool absolute = dir.len > 0 ? dir.ptr[0] == '/' : word[0] == '/';
	int n = snprintf(out, PATH_MAX, "%s%s%.*s%s%s", absolute ? "" : deployment->workdir,
	                 absolute ? "" : "/", (int)dir.len, dir.ptr, dir.len > 0 ? "/" : "", word);
	return n > 0 && n < PATH_MAX;
}

static const struct mer_str here = { "", 0 };

/* As the supervisor searches. */
static bool find_program(const struct deployment *deployment, char path[PATH_MAX], struct fact *out)
{
	const char *word = deployment->argv[0], *dir = "/bin:/usr/bin";
	if (strchr(word, '/') != NULL)
		return path_of(deployment, here, word, path) && look_at(path, true, out);
	for (char **variable = deployment->env; *variable != NULL; variable++)
		if (strncmp(*variable, "PATH=", 5) == 0)
			dir = *variable + 5;
	for (const char *end;; dir = end + 1) {
		end = strchrnul(dir, ':');
		const struct mer_str folder = { dir, (size_t)(end - dir) };
		if (path_of(deployment, folder, word, path) && look_at(path, true, out))
			return true;
		if (*end == '\0')
			return false;
	}
}

static bool find_word(const struct deployment *deployment, const char *word, char path[PATH_MAX],
                      struct fact *out)
{
	/* The weights are known by what their version says. */
	if (word[0] == '\0' || word[0] == '-' || strcmp(word, deployment->weights_path) == 0)
		return false;
	return path_of(deployment, here, word, path) && look_at(path, false, out);
}

static void look(const struct deployment *deployment, struct facts *out)
{
	char path[PATH_MAX];
	out->n = 0;
	for (size_t i = 0; deployment->argv[i] != NULL && out->n < FILES_MAX; i++) {
		struct fact *fact = &out->list[out->n];
		bool there = i == 0 ? find_program(deployment, path, fact)
		                    : find_word(deployment, deployment->argv[i], path, fact);
		if (!there || (fact->path = strdup(path)) == NULL)
			continue;
		fact->word = i;
		out->n++;
	}
}

static void facts_release(struct facts *facts)
{
	for (size_t i = 0; i < facts->n; i++)
		free(facts->list[i].path);
	facts->n = 0;
}

static bool same_facts(const struct facts *a, const struct facts *b)
{
	bool same = a->n == b->n;
	for (size_t i = 0; same && i < a->n; i++) {
		const struct fact *x = &a->list[i], *y = &b->list[i];
		same = same_file(x, y) && x->racy_ns == y->racy_ns && x->word == y->word &&
		       strcmp(x->path, y->path) == 0;
	}
	return same;
}

/* --- an origin ---------------------------------------------------------------------------- */

void origin_unref(struct origin *origin)
{
	if (origin == NULL || --origin->refs > 0)
		return;
	facts_release(&origin->facts);
	free(origin->runtime);
	free(origin->sdk);
	free(origin->weights_sha256);
	free(origin->sha256);
	free(origin);
}

static bool digest(struct origin *origin, const char *host)
{
	char sha256[MER_SHA256_SIZE];
	struct mer_buf text;
	mer_buf_init(&text, (FILES_MAX + 4) * (PATH_MAX + 256));
	mer_buf_printf(&text, "%s\n%s\n%s\n%s\n", host, origin->weights_sha256, origin->runtime,
	               origin->sdk);
	for (size_t i = 0; i < origin->facts.n; i++) {
		const struct fact *fact = &origin->facts.list[i];
		mer_buf_printf(&text, "%zu %s %llu %llu %lld %lld %lld %lld\n", fact->word, fact->path,
		               (unsigned long long)fact->device, (unsigned long long)fact->inode,
		               (long long)fact->bytes, (long long)fact->mtime_ns, (long long)fact->ctime_ns,
		               (long long)fact->racy_ns);
	}
	bool whole = mer_buf_check(&text, NULL) == MER_OK;
	if (whole)
		mer_sha256(text.ptr, text.len, sha256);
	mer_buf_release(&text);
	if (whole)
		(void)snprintf(origin->digest, sizeof origin->digest, "%.32s", sha256);
	return whole;
}

/* Takes the facts. NULL: no memory. */
static struct origin *origin_new(const struct deployment *deployment, struct facts *facts,
                                 const char *runtime, const char *sdk)
{
	struct origin *origin = calloc(1, sizeof *origin);
	char host[256] = "";
	if (origin == NULL) {
		facts_release(facts);
		return NULL;
	}
	(void)gethostname(host, sizeof host - 1);
	origin->refs = 1;
	origin->facts = *facts;
	origin->runtime = strdup(runtime);
	origin->sdk = strdup(sdk);
	origin->weights_sha256 = strdup(deployment->weights_sha256);
	if (origin->runtime != NULL && origin->sdk != NULL && origin->weights_sha256 != NULL &&
	    digest(origin, host))
		return origin;
	origin_unref(origin);
	return NULL;
}

/* The one that the deployment's last worker had, where nothing has changed since. */
static struct origin *find_or_make(struct deployment *deployment, struct facts *facts,
                                   const json_t *announced)
{
	const char *runtime = mer_json_get_text(announced, "runtime", "");
	const char *sdk = mer_json_get_text(announced, "sdk", "");
	struct origin *last = deployment->origin;
	if (last != NULL && same_facts(&last->facts, facts) && strcmp(last->runtime, runtime) == 0 &&
	    strcmp(last->sdk, sdk) == 0) {
		facts_release(facts);
	} else {
		origin_unref(last);
		deployment->origin = origin_new(deployment, facts, runtime, sdk);
	}
	return deployment->origin;
}

const char *origin_digest(const struct origin *origin)
{
	return origin != NULL ? origin->digest : "";
}

/* --- in the database thread --------------------------------------------------------------- */

/* Whether it is still the file that was looked at. */
static bool still(int fd, const struct fact *fact)
{
	struct stat info;
	struct fact now;
	if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
		return false;
	take_stat(&info, &now);
	return same_file(&now, fact);
}

static void read_file(const struct fact *fact, char *buffer, char out[MER_SHA256_SIZE])
{
	MER_AUTO(mer_fd_done)
	int fd = open(fact->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fact->bytes > READ_MAX || !still(fd, fact))
		return;
	struct mer_sha256 hash;
	mer_sha256_init(&hash);
	ssize_t n;
	while ((n = read(fd, buffer, CHUNK)) > 0)
		mer_sha256_add(&hash, buffer, (size_t)n);
	if (n == 0 && still(fd, fact))
		mer_sha256_end(&hash, out);
}

static void read_files(struct origin *origin)
{
	char *buffer = malloc(CHUNK);
	origin->sha256 = calloc(origin->facts.n + 1, sizeof *origin->sha256);
	for (size_t i = 0; i < origin->facts.n && buffer != NULL && origin->sha256 != NULL; i++)
		read_file(&origin->facts.list[i], buffer, origin->sha256[i]);
	free(buffer);
}

struct origin_job {
	struct mer_job job;
	struct mer_sched *sched;
	struct origin *origin;
};

static enum mer_status on_known(void *ctx, const void *row, struct mer_error *err)
{
	(void)row, (void)err;
	*(bool *)ctx = true;
	return MER_OK;
}

static void origin_in_thread(struct mer_job *base)
{
	struct origin_job *job = (struct origin_job *)base;
	struct origin *origin = job->origin;
	if (connection_open(job->sched, NULL) == MER_OK)
		(void)!mer_dal_query(job->sched->dal, MER_Q_PROVENANCE, MER_ARGS(mer_text(origin->digest)),
		                     on_known, &origin->known, NULL);
	if (!origin->known)
		read_files(origin);
}

static void origin_done(struct mer_job *base)
{
	struct origin_job *job = (struct origin_job *)base;
	struct mer_sched *sched = job->sched;
	sched->jobs--;
	origin_unref(job->origin);
	free(job);
	sched_maybe_closed(sched);
}

/* The words that are files, as JSON. */
static enum mer_status files_text(const struct origin *origin, struct mer_buf *out,
                                  struct mer_error *err)
{
	const char *comma = "";
	mer_buf_byte(out, '[');
	for (size_t i = 0; i < origin->facts.n; i++) {
		const struct fact *fact = &origin->facts.list[i];
		const char *sha256 = origin->sha256 != NULL ? origin->sha256[i] : "";
		if (fact->word == 0)
			continue;
		mer_buf_printf(out, "%s{\"path\":", comma);
		mer_json_quote(out, fact->path, strlen(fact->path));
		mer_buf_printf(out, ",\"bytes\":%lld,\"sha256\":", (long long)fact->bytes);
		mer_buf_printf(out, sha256[0] != '\0' ? "\"%s\"}" : "null%s}", sha256);
		comma = ",";
	}
	mer_buf_byte(out, ']');
	return mer_buf_check(out, err);
}

enum mer_status origin_write(struct mer_sched *sched, struct origin *origin, struct mer_error *err)
{
	if (origin->known || origin->written)
		return MER_OK;
	const bool found = origin->facts.n > 0 && origin->facts.list[0].word == 0;
	struct mer_buf files;
	mer_buf_init(&files, FILES_MAX * (6 * PATH_MAX + 256));
	enum mer_status st = files_text(origin, &files, err);
	if (st == MER_OK)
		st = mer_dal_exec(
			sched->dal, MER_Q_PROVENANCE_INSERT,
			MER_ARGS(mer_text(origin->digest), mer_text(sched->host),
		             mer_text(found ? origin->facts.list[0].path : ""),
		             mer_text(found && origin->sha256 != NULL ? origin->sha256[0] : ""),
		             mer_text(files.ptr), mer_text(origin->weights_sha256),
		             mer_text(origin->runtime), mer_text(origin->sdk)),
			NULL, err);
	mer_buf_release(&files);
	origin->written = st == MER_OK;
	return st;
}

void origin_written(struct origin *origin, bool committed)
{
	origin->known |= origin->written && committed;
	origin->written = false;
}

/* --- workers and their runs --------------------------------------------------------------- */

/* Else its files are not. */
static bool is_here(const struct deployment *deployment)
{
	return deployment->remote == NULL && deployment->http == NULL;
}

void origin_begin(struct slot *slot)
{
	if (!is_here(slot->deployment))
		return;
	slot->facts = malloc(sizeof *slot->facts);
	if (slot->facts != NULL)
		look(slot->deployment, slot->facts);
}

static void ask(struct mer_sched *sched, struct origin *origin)
{
	struct origin_job *job = calloc(1, sizeof *job);
	if (job == NULL)
		return; /* then its files are not read */
	job->job = (struct mer_job){ .run = origin_in_thread, .done = origin_done };
	job->sched = sched;
	job->origin = origin;
	origin->refs++;
	origin->asked = true;
	sched->jobs++;
	mer_work_push(sched->work, &job->job);
}

static void make_origin(struct slot *slot)
{
	MER_AUTO(mer_json_done) json_t *announced = NULL;
	const char *text = mer_worker_announced(slot->worker);
	struct facts now;
	if (slot->facts == NULL)
		look(slot->deployment, &now);
	else
		now = *slot->facts;
	free(slot->facts);
	slot->facts = NULL;
	if (text != NULL)
		(void)!mer_json_parse("ready", text, strlen(text), &announced, NULL);
	slot->origin = find_or_make(slot->deployment, &now, announced);
	if (slot->origin != NULL)
		slot->origin->refs++;
}

void origin_take(struct slot *slot, struct mer_run *run)
{
	if (!run->recorded || !is_here(slot->deployment))
		return;
	if (slot->origin == NULL)
		make_origin(slot);
	if (slot->origin != NULL)
		slot->origin->refs++;
	origin_unref(run->origin); /* of a worker that did not take it after all */
	run->origin = slot->origin;
	if (run->origin == NULL)
		return;
	if (!run->origin->asked)
		ask(run->sched, run->origin);
}

void origin_end(struct slot *slot)
{
	origin_unref(slot->origin);
	slot->origin = NULL;
	if (slot->facts != NULL)
		facts_release(slot->facts);
	free(slot->facts);
	slot->facts = NULL;
}
