/* A thread that does blocking jobs in order and reports each on the loop. */
#include <mer/work.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct queue {
	struct mer_job *head, **tail;
};

struct mer_work {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	struct queue todo, finished; /* both under mutex */
	bool stop;                   /* under mutex: leave when todo is empty */
	uv_async_t report;           /* referenced while jobs are under way */
	size_t under_way;            /* pushed and not yet done; the loop's */
	cpu_set_t cpus;              /* where the process may run */
	void (*on_closed)(void *ctx);
	void *ctx;
};

static void queue_init(struct queue *queue)
{
	queue->head = NULL;
	queue->tail = &queue->head;
}

static void queue_add(struct queue *queue, struct mer_job *job)
{
	job->next = NULL;
	*queue->tail = job;
	queue->tail = &job->next;
}

static struct mer_job *queue_take(struct queue *queue)
{
	struct mer_job *job = queue->head;
	if (job == NULL)
		return NULL;
	queue->head = job->next;
	if (queue->head == NULL)
		queue->tail = &queue->head;
	return job;
}

static void *work_main(void *arg)
{
	struct mer_work *work = arg;
	pthread_mutex_lock(&work->mutex);
	for (;;) {
		struct mer_job *job = queue_take(&work->todo);
		if (job != NULL) {
			pthread_mutex_unlock(&work->mutex);
			job->run(job);
			pthread_mutex_lock(&work->mutex);
			queue_add(&work->finished, job);
			uv_async_send(&work->report);
		} else if (work->stop) {
			break;
		} else {
			pthread_cond_wait(&work->wake, &work->mutex);
		}
	}
	pthread_mutex_unlock(&work->mutex);
	return NULL;
}

static void on_report_closed(uv_handle_t *handle)
{
	struct mer_work *work = handle->data;
	void (*on_closed)(void *) = work->on_closed;
	void *ctx = work->ctx;
	pthread_cond_destroy(&work->wake);
	pthread_mutex_destroy(&work->mutex);
	free(work);
	on_closed(ctx);
}

static void on_failed_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void work_end(struct mer_work *work)
{
	pthread_mutex_lock(&work->mutex);
	work->stop = true;
	pthread_cond_signal(&work->wake);
	pthread_mutex_unlock(&work->mutex);
	(void)pthread_join(work->thread, NULL);
	uv_close((uv_handle_t *)&work->report, on_report_closed);
}

static void on_report(uv_async_t *handle)
{
	struct mer_work *work = handle->data;
	for (;;) {
		pthread_mutex_lock(&work->mutex);
		struct mer_job *job = queue_take(&work->finished);
		pthread_mutex_unlock(&work->mutex);
		if (job == NULL)
			break;
		if (--work->under_way == 0 && work->on_closed == NULL)
			uv_unref((uv_handle_t *)&work->report);
		job->done(job);
	}
	if (work->under_way == 0 && work->on_closed != NULL && !uv_is_closing((uv_handle_t *)handle))
		work_end(work);
}

/* Signals are for the loop's thread; what the thread starts with it keeps. */
static int thread_start(struct mer_work *work)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int failed = pthread_create(&work->thread, NULL, work_main, work);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return failed;
}

MER_API enum mer_status mer_work_open(struct uv_loop_s *loop, struct mer_work **out,
                                      struct mer_error *err)
{
	struct mer_work *work = calloc(1, sizeof *work);
	if (work == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	int failed = uv_async_init(loop, &work->report, on_report);
	if (failed != 0) {
		free(work);
		return mer_fail(err, MER_EIO, "cannot watch a thread: %s", uv_strerror(failed));
	}
	work->report.data = work;
	uv_unref((uv_handle_t *)&work->report);
	pthread_mutex_init(&work->mutex, NULL);
	pthread_cond_init(&work->wake, NULL);
	queue_init(&work->todo);
	queue_init(&work->finished);
	CPU_ZERO(&work->cpus);
	(void)sched_getaffinity(0, sizeof work->cpus, &work->cpus);
	failed = thread_start(work);
	if (failed != 0) {
		uv_close((uv_handle_t *)&work->report, on_failed_closed);
		return mer_fail(err, MER_EIO, "cannot start a thread: %s", strerror(failed));
	}
	*out = work;
	return MER_OK;
}

static void push(struct mer_work *work, struct mer_job *job, bool last)
{
	MER_ASSERT(work->on_closed == NULL);
	if (work->under_way++ == 0)
		uv_ref((uv_handle_t *)&work->report);
	pthread_mutex_lock(&work->mutex);
	MER_ASSERT(!work->stop);
	queue_add(&work->todo, job);
	work->stop = last;
	pthread_cond_signal(&work->wake);
	pthread_mutex_unlock(&work->mutex);
}

MER_API void mer_work_push(struct mer_work *work, struct mer_job *job)
{
	push(work, job, false);
}

MER_API void mer_work_push_last(struct mer_work *work, struct mer_job *job)
{
	push(work, job, true);
}

MER_API void mer_work_avoid_cpu(struct mer_work *work, int cpu)
{
	cpu_set_t cpus = work->cpus;
	if (cpu >= 0 && cpu < CPU_SETSIZE)
		CPU_CLR((size_t)cpu, &cpus);
	if (CPU_COUNT(&cpus) > 0)
		(void)pthread_setaffinity_np(work->thread, sizeof cpus, &cpus);
}

MER_API void mer_work_close(struct mer_work *work, void (*on_closed)(void *ctx), void *ctx)
{
	work->on_closed = on_closed;
	work->ctx = ctx;
	uv_ref((uv_handle_t *)&work->report);
	uv_async_send(&work->report);
}
