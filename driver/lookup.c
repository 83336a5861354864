/* Names by their beginning, asked of the database and of folders in a thread of its own. */
#include "lookup.h"

#include <dirent.h>
#include <mer/clean.h>
#include <mer/dal.h>
#include <mer/text.h>
#include <mer/uid.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
	LATE_MS = 5000,     /* so long an answer that came too late is still one */
	LEAVE_MS = 300,     /* for the thread to end, before it is left behind */
	FILES_MAX = 100000, /* in one folder; of more than that none is named */
};

struct lookup {
	pthread_mutex_t mutex;
	pthread_cond_t asked, answered;
	pthread_t thread;
	bool started; /* the thread */

	/* Under the mutex. */
	bool busy;  /* a question is being answered */
	bool fresh; /* names answer the question */
	bool ended; /* nothing more is asked */
	bool gone;  /* the thread has done its last */
	bool left;  /* nobody waits for it: it frees all */
	enum arg_value what;
	char *where, *begin; /* the question; owned */
	struct lookup_names names;
	int64_t answered_ms;

	char *url;
	struct mer_uid since; /* runs of this process are not older */
	struct mer_haste haste;
	struct mer_dal *dal; /* the thread's */
};

void lookup_release(struct lookup_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->names[i]);
	free(names->names);
	*names = (struct lookup_names){ .n = 0 };
}

/* --- names -------------------------------------------------------------------------------- */

struct gather {
	struct lookup_names *names;
	size_t cap, most;
	char *first; /* owned: what all are compared with */
	bool failed;
};

/* Begins a name of its own; the rest is what it has in common with the first one. */
static void compare(struct gather *gather, const char *name)
{
	if (gather->first == NULL) {
		gather->first = strdup(name);
		gather->failed |= gather->first == NULL;
		gather->names->common = strlen(name);
		return;
	}
	size_t n = 0;
	while (n < gather->names->common && gather->first[n] == name[n])
		n++;
	gather->names->common = n;
}

static void add(struct gather *gather, const char *name, const char *suffix)
{
	struct lookup_names *names = gather->names;
	if (names->n == gather->cap) {
		size_t cap = gather->cap == 0 ? 16 : 2 * gather->cap;
		char **more = realloc(names->names, cap * sizeof *more);
		gather->failed |= more == NULL;
		if (more == NULL)
			return;
		names->names = more;
		gather->cap = cap;
	}
	char *copy = mer_text_new("%s%s", name, suffix);
	gather->failed |= copy == NULL;
	if (copy != NULL)
		names->names[names->n++] = copy;
}

static enum mer_status on_name(void *ctx, const void *row, struct mer_error *err)
{
	struct gather *gather = ctx;
	const struct mer_name_row *name = row;
	(void)err;
	compare(gather, name->name);
	if (gather->names->n < gather->most)
		add(gather, name->name, "");
	else
		gather->names->more = true;
	return MER_OK;
}

/* --- the database ------------------------------------------------------------------------- */

static enum mer_status query(struct lookup *lookup, enum arg_value what, const char *where,
                             const char *begin, struct gather *gather)
{
	static const struct {
		enum arg_value what;
		enum mer_query query;
		size_t n_args;
	} rows[] = {
		{ VALUE_MODEL, MER_Q_MODEL_NAMES, 2 },
		{ VALUE_SERVER, MER_Q_SERVER_NAMES, 2 },
		{ VALUE_DEPLOYMENT, MER_Q_DEPLOYMENT_NAMES, 3 },
		{ VALUE_WEIGHTS, MER_Q_WEIGHTS_NAMES, 3 },
		{ VALUE_RUN, MER_Q_RUN_NAMES, 4 },
	};
	/* Of runs those of this process; by what they begin with, anybody's. */
	const bool run = what == VALUE_RUN, any = begin[0] != '\0';
	const struct mer_value args[] = {
		mer_text(begin),
		mer_i64(LOOKUP_MOST + 1),
		mer_text(!run  ? where
		         : any ? ""
		               : lookup->since.text),
		mer_i64(any ? 0 : (int64_t)getpid()),
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (rows[i].what == what)
			return mer_dal_query(lookup->dal, rows[i].query, args, rows[i].n_args, on_name, gather,
			                     NULL);
	}
	return MER_EINPUT;
}

static void ask_database(struct lookup *lookup, enum arg_value what, const char *where,
                         const char *begin, struct gather *gather)
{
	if (lookup->url == NULL)
		return;
	if (lookup->dal == NULL &&
	    mer_dal_open_hasty(lookup->url, MER_DAL_READ, &lookup->haste, &lookup->dal, NULL) != MER_OK)
		return;
	if (query(lookup, what, where, begin, gather) != MER_OK)
		gather->failed = true;
	/* Where some are left out that nobody has compared, only what was written is common to all. */
	if (gather->names->more && what != VALUE_MODEL && what != VALUE_SERVER)
		gather->names->common = strlen(begin);
}

/* --- files -------------------------------------------------------------------------------- */

/* Whether it is a folder, by way of a link too. */
static bool is_folder(DIR *folder, const struct dirent *entry)
{
	struct stat info;
	if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK)
		return entry->d_type == DT_DIR;
	return fstatat(dirfd(folder), entry->d_name, &info, 0) == 0 && S_ISDIR(info.st_mode);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void ask_folder(enum arg_value what, const char *where, const char *begin,
                       struct gather *gather)
{
	struct lookup_names *names = gather->names;
	const size_t len = strlen(begin);
	DIR *folder = opendir(where);
	if (folder == NULL)
		return;
	for (const struct dirent *entry; (entry = readdir(folder)) != NULL && !gather->failed;) {
		const char *name = entry->d_name;
		if (strncmp(name, begin, len) != 0 || (name[0] == '.' && begin[0] != '.') ||
		    strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strchr(name, '\n') != NULL)
			continue;
		const bool within = is_folder(folder, entry);
		if (!within && what == VALUE_FOLDER)
			continue;
		compare(gather, name);
		add(gather, name, within ? "/" : "");
		gather->failed |= names->n > FILES_MAX;
	}
	(void)closedir(folder);
	if (names->n == 1)
		names->common = strlen(names->names[0]);
	if (names->n > 0)
		qsort(names->names, names->n, sizeof *names->names, by_name);
	names->more = names->n > LOOKUP_MOST;
	while (names->n > LOOKUP_MOST)
		free(names->names[--names->n]);
}

/* --- the thread --------------------------------------------------------------------------- */

static void answer(struct lookup *lookup, enum arg_value what, const char *where, const char *begin,
                   struct lookup_names *names)
{
	struct gather gather = { .names = names, .most = LOOKUP_MOST };
	if (what == VALUE_FILE || what == VALUE_FOLDER)
		ask_folder(what, where, begin, &gather);
	else
		ask_database(lookup, what, where, begin, &gather);
	free(gather.first);
	if (gather.failed)
		lookup_release(names);
}

static void free_all(struct lookup *lookup)
{
	(void)pthread_cond_destroy(&lookup->asked);
	(void)pthread_cond_destroy(&lookup->answered);
	(void)pthread_mutex_destroy(&lookup->mutex);
	lookup_release(&lookup->names);
	free(lookup->where);
	free(lookup->begin);
	free(lookup->url);
	free(lookup);
}

/* Answers one question. The mutex is held before and after. */
static void answer_one(struct lookup *lookup)
{
	MER_AUTO(mer_text_done) char *where = strdup(lookup->where);
	MER_AUTO(mer_text_done) char *begin = strdup(lookup->begin);
	const enum arg_value what = lookup->what;
	struct lookup_names names = { .n = 0 };
	pthread_mutex_unlock(&lookup->mutex);
	if (where != NULL && begin != NULL)
		answer(lookup, what, where, begin, &names);
	pthread_mutex_lock(&lookup->mutex);
	lookup->names = names;
	lookup->answered_ms = mer_clock_ms();
	lookup->fresh = true;
	lookup->busy = false;
	(void)pthread_cond_broadcast(&lookup->answered);
}

static void *thread_main(void *arg)
{
	struct lookup *lookup = arg;
	pthread_mutex_lock(&lookup->mutex);
	while (!lookup->ended) {
		if (lookup->busy)
			answer_one(lookup);
		else
			(void)pthread_cond_wait(&lookup->asked, &lookup->mutex);
	}
	pthread_mutex_unlock(&lookup->mutex);
	mer_dal_close(lookup->dal);
	pthread_mutex_lock(&lookup->mutex);
	lookup->gone = true;
	const bool left = lookup->left;
	(void)pthread_cond_broadcast(&lookup->answered);
	pthread_mutex_unlock(&lookup->mutex);
	if (left)
		free_all(lookup);
	return NULL;
}

/* Signals are for the main thread. */
static bool start(struct lookup *lookup)
{
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	lookup->started = pthread_create(&lookup->thread, NULL, thread_main, lookup) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return lookup->started;
}

/* --- asking ------------------------------------------------------------------------------- */

struct lookup *lookup_new(const char *url)
{
	struct lookup *lookup = calloc(1, sizeof *lookup);
	if (lookup == NULL)
		return NULL;
	pthread_condattr_t monotonic;
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_mutex_init(&lookup->mutex, NULL);
	(void)pthread_cond_init(&lookup->asked, &monotonic);
	(void)pthread_cond_init(&lookup->answered, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	mer_uid_new(&lookup->since);
	lookup->url = url != NULL ? strdup(url) : NULL;
	return lookup;
}

/* Waits for an answer, or what else is told by it; whether there is time left. */
static bool wait_until(struct lookup *lookup, int64_t until_ms)
{
	const int64_t now = mer_clock_ms();
	if (now >= until_ms)
		return false;
	struct timespec until;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (until_ms - now) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return pthread_cond_timedwait(&lookup->answered, &lookup->mutex, &until) == 0;
}

static bool is_asked(const struct lookup *lookup, const struct lookup_question *question)
{
	return lookup->what == question->what && lookup->where != NULL && lookup->begin != NULL &&
	       strcmp(lookup->where, question->where) == 0 &&
	       strcmp(lookup->begin, question->begin) == 0;
}

static bool put(struct lookup *lookup, const struct lookup_question *question)
{
	char *where = strdup(question->where), *begin = strdup(question->begin);
	if (where == NULL || begin == NULL) {
		free(where);
		free(begin);
		return false;
	}
	lookup_release(&lookup->names);
	free(lookup->where);
	free(lookup->begin);
	lookup->what = question->what;
	lookup->where = where;
	lookup->begin = begin;
	lookup->fresh = false;
	lookup->busy = true;
	(void)pthread_cond_signal(&lookup->asked);
	return true;
}

static bool take(struct lookup *lookup, struct lookup_names *out)
{
	if (!lookup->fresh)
		return false;
	*out = lookup->names;
	lookup->names = (struct lookup_names){ .n = 0 };
	lookup->fresh = false;
	return true;
}

bool lookup_ask(struct lookup *lookup, const struct lookup_question *question,
                struct lookup_names *out)
{
	if (!lookup->started && !start(lookup))
		return false;
	const int64_t until = mer_clock_ms() + LOOKUP_MS;
	pthread_mutex_lock(&lookup->mutex);
	/* What was asked before and took too long. */
	while (lookup->busy && wait_until(lookup, until))
		;
	bool answered = false;
	if (lookup->fresh && is_asked(lookup, question) &&
	    mer_clock_ms() - lookup->answered_ms < LATE_MS) {
		answered = take(lookup, out);
	} else if (!lookup->busy && put(lookup, question)) {
		while (lookup->busy && wait_until(lookup, until))
			;
		answered = take(lookup, out);
	}
	pthread_mutex_unlock(&lookup->mutex);
	return answered;
}

void lookup_free(struct lookup *lookup)
{
	if (lookup == NULL)
		return;
	if (!lookup->started) {
		free_all(lookup);
		return;
	}
	const int64_t until = mer_clock_ms() + LEAVE_MS;
	(void)mer_haste(&lookup->haste);
	pthread_mutex_lock(&lookup->mutex);
	lookup->ended = true;
	(void)pthread_cond_signal(&lookup->asked);
	while (!lookup->gone && wait_until(lookup, until))
		;
	const bool gone = lookup->gone;
	lookup->left = !gone;
	pthread_t thread = lookup->thread;
	pthread_mutex_unlock(&lookup->mutex);
	if (gone) {
		(void)pthread_join(thread, NULL);
		free_all(lookup);
	} else {
		(void)pthread_detach(thread);
	}
}
