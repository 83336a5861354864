/*
 * Many runs: each line of the input is one, and their answers are printed in the order of the
 * lines. Runs are submitted ahead, up to a number and a size, so that memory stays flat however
 * long the input is. Callbacks only note what happened; reading, submitting and printing are done
 * between turns of the loop, where it is fine to wait for stdout's reader.
 */
#include "find.h"
#include "journal.h"
#include "lines_progress.h"
#include "run.h"

#include <errno.h>
#include <string.h>

enum {
	AHEAD = 2048,
	AHEAD_BYTES = 4 << 20, /* of input; one line may be longer */
	CHUNK = 65536,
	LITTLE = 4096,            /* what a run's input may keep of memory for the next */
	KEPT_IN_MEMORY = 4 << 20, /* bytes of outputs, while another one is printed */
	KEPT_ON_DISK = 256 << 20, /* with so many none is begun; those that are may add to it */
};

struct line {
	struct lines *lines;
	int64_t number; /* from 1 */
	struct mer_buf input;
	struct mer_run *run; /* NULL once it has ended */
	bool started, done, paused;
	struct spool output; /* what is not printed yet */
	bool any;            /* something was printed, its last byte being: */
	char last;
	struct caret caret;
	struct answer answer;
	struct run_log log;
	struct run_kept *result; /* of one that failed, or is to be an object */
	enum mer_status status;
};

struct lines {
	struct session *s;
	const struct run_choice *choice;
	struct mer_sched *sched;
	bool as_json, tidy;
	bool whole; /* nothing of a run is printed before it has ended well */

	int fd;
	const char *name;
	struct watch watch;
	bool readable, eof;
	struct mer_buf bytes; /* read, from at on not submitted; searched: of those without a newline */
	size_t at, searched;

	struct line *ring; /* AHEAD of them; those in flight from first on */
	size_t first, count, bytes_ahead;
	struct store store; /* of their outputs */
	int64_t held_by;    /* the line before whose end no other is to start; 0: they may */
	int64_t submitted, objects;
	struct journal journal; /* fd -1: without --resume */
	bool resumes;
	struct lines_progress progress;
	bool failing;           /* a line has failed that ends all once it is its turn */
	bool stop;              /* nothing more is submitted */
	enum mer_status status; /* the first failure */
	struct mer_error err;
};

static struct line *head(struct lines *lines)
{
	return lines->count > 0 ? &lines->ring[lines->first] : NULL;
}

/* Says what went wrong; the first is the command's own failure. Not from a callback. */
static void fail(struct lines *lines, enum mer_status st, const struct mer_error *err)
{
	if (lines->status == MER_OK) {
		lines->status = st;
		lines->err = *err;
	}
	lines->s->reported = true;
	session_failed(lines->s, lines->s->at, st, err);
}

/* --- what happens to a run ---------------------------------------------------------------- */

static bool is_much_kept(const struct lines *lines)
{
	return store_on_disk(&lines->store) >= KEPT_ON_DISK;
}

/* All that is kept waits for the first in flight, so that one always may. */
static bool may_start(void *ctx)
{
	const struct line *line = ctx;
	struct lines *lines = line->lines;
	if (line == head(lines) || !is_much_kept(lines))
		return true;
	lines->held_by = head(lines)->number;
	return false;
}

/* What was held may start, since there is another first in flight, or less is kept. */
static void let_start(struct lines *lines)
{
	const struct line *first = head(lines);
	bool as_before = first != NULL && first->number == lines->held_by && is_much_kept(lines);
	if (lines->held_by == 0 || as_before)
		return;
	lines->held_by = 0;
	mer_sched_ask_again(lines->sched);
}

static void on_started(void *ctx, const struct mer_run *run)
{
	struct line *line = ctx;
	line->started = true;
	run_log_begin(&line->log, run);
}

static void print(struct line *line, const char *bytes, size_t n)
{
	struct sink *sink = &line->lines->s->out.sink;
	line->any = true;
	line->last = bytes[n - 1];
	if (line->lines->tidy) {
		caret_add(&line->caret, bytes, n, &sink->buf);
		sink_added(sink);
	} else {
		sink_add(sink, bytes, n);
	}
}

static void take(struct line *line, const char *bytes, size_t n)
{
	struct lines *lines = line->lines;
	if (line != head(lines) || lines->whole || line->output.bytes > 0) {
		spool_add(&line->output, bytes, n);
		return;
	}
	if (n == 0 || lines->stop)
		return;
	print(line, bytes, n);
	if (sink_full(&lines->s->out.sink)) {
		line->paused = true;
		mer_run_pause(line->run, true);
	}
}

static void take_tensors(struct line *line)
{
	if (line->answer.text.len > 0)
		take(line, line->answer.text.ptr, line->answer.text.len);
	mer_buf_clear(&line->answer.text);
}

static void on_meta(void *ctx, const char *meta)
{
	struct line *line = ctx;
	answer_meta(&line->answer, meta);
	take_tensors(line);
}

static void on_output(void *ctx, const char *bytes, size_t n)
{
	struct line *line = ctx;
	if (!line->answer.described) {
		take(line, bytes, n);
		return;
	}
	answer_add(&line->answer, bytes, n);
	take_tensors(line);
}

static void on_drain(void *ctx)
{
	struct lines *lines = ctx;
	struct line *line = head(lines);
	if (line == NULL || !line->paused || line->run == NULL)
		return;
	line->paused = false;
	mer_run_pause(line->run, false);
}

static void on_log(void *ctx, const char *bytes, size_t n)
{
	struct line *line = ctx;
	run_log_add(&line->log, line->lines->choice->model, bytes, n);
}

/* Whether nothing is to follow a line that failed so: the user wants it, or it would fail as well. */
static bool ends_all(const struct lines *lines, enum mer_status st)
{
	return !lines->choice->keep_going || st == MER_ENOTFOUND || st == MER_EDATABASE;
}

/* The lines behind one that failed are not sent any more, though it is not its turn to be told. What has
 * been sent goes on until then: a worker that does not give it up would take those before along. */
static void cancel_behind(struct lines *lines, const struct line *line)
{
	bool behind = false;
	lines->failing = true;
	for (size_t i = 0; i < lines->count; i++) {
		const struct line *one = &lines->ring[(lines->first + i) % AHEAD];
		if (behind && one->run != NULL && !one->started)
			mer_run_cancel(one->run, false);
		behind |= one == line;
	}
}

static void on_done(void *ctx, const struct mer_run_result *result)
{
	struct line *line = ctx;
	struct lines *lines = line->lines;
	run_log_end(&line->log, lines->choice->model);
	line->run = NULL;
	line->done = true;
	line->status = result->error.status;
	lines->bytes_ahead -= line->input.len;
	if (result->status != NULL || lines->choice->no_record)
		summary_run(lines->s, line->status == MER_OK);
	if (line->status != MER_OK || lines->as_json || lines->resumes)
		line->result = run_keep(result, lines->choice->no_record);
	if (line->status != MER_OK && line->status != MER_ECANCELED && ends_all(lines, line->status))
		cancel_behind(lines, line);
}

static const struct mer_run_events events = {
	.may_start = may_start,
	.on_started = on_started,
	.on_meta = on_meta,
	.on_output = on_output,
	.on_log = on_log,
	.on_done = on_done,
};

/* Nothing more is submitted; what is in flight is cancelled, or only what has not begun. */
static void stop(struct lines *lines, bool all, bool kill)
{
	lines->stop = true;
	for (size_t i = 0; i < lines->count; i++) {
		struct line *line = &lines->ring[(lines->first + i) % AHEAD];
		if (line->run == NULL || (line->started && !all))
			continue;
		if (line->paused)
			mer_run_pause(line->run, false);
		line->paused = false;
		mer_run_cancel(line->run, kill);
	}
}

static void on_cancel(void *ctx, bool kill)
{
	stop(ctx, true, kill);
}

/* --- input -------------------------------------------------------------------------------- */

static void on_readable(void *ctx)
{
	struct lines *lines = ctx;
	watch_stop(&lines->watch);
	lines->readable = true;
}

/* Reads once. Whether there may be something new to look at. */
static bool read_more(struct lines *lines)
{
	if (lines->eof)
		return false;
	if (!lines->watch.always && !lines->readable) {
		watch_start(&lines->watch);
		return false;
	}
	lines->readable = false;
	mer_buf_drop(&lines->bytes, lines->at);
	lines->at = 0;
	char *to = mer_buf_room(&lines->bytes, CHUNK);
	struct mer_error err;
	if (to == NULL) {
		enum mer_status st = mer_buf_check(&lines->bytes, &err);
		(void)mer_wrap(&err, st, "line %lld", (long long)lines->submitted + 1);
		fail(lines, st == MER_ELIMIT ? MER_EINPUT : st, &err);
		stop(lines, true, false);
		return false;
	}
	ssize_t n = read(lines->fd, to, CHUNK);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n < 0) {
		fail(lines,
		     mer_fail(&err, MER_EINPUT, "cannot read '%s': %s", lines->name, strerror(errno)),
		     &err);
		stop(lines, true, false);
		return false;
	}
	lines->eof = n == 0;
	mer_buf_grow(&lines->bytes, (size_t)n);
	return true;
}

/* The next line of what was read, without its newline. Whether there is one. */
static bool next_line(struct lines *lines, struct mer_str *out)
{
	size_t len = lines->bytes.len - lines->at;
	if (len == 0)
		return false;
	const char *from = lines->bytes.ptr + lines->at;
	const char *end = memchr(from + lines->searched, '\n', len - lines->searched);
	if (end == NULL && !lines->eof) {
		lines->searched = len;
		return false;
	}
	*out = (struct mer_str){ from, end != NULL ? (size_t)(end - from) : len };
	lines->at += out->len + (end != NULL);
	lines->searched = 0;
	return true;
}

static enum mer_status submit(struct lines *lines, struct mer_str text, struct mer_error *err)
{
	struct line *line = &lines->ring[(lines->first + lines->count) % AHEAD];
	line->lines = lines;
	line->number = ++lines->submitted;
	line->started = line->done = line->paused = line->any = false;
	line->status = MER_OK;
	line->caret = (struct caret){ 0 };
	mer_buf_clear(&line->input);
	mer_buf_add(&line->input, text.ptr, text.len);
	enum mer_status st = mer_buf_check(&line->input, err);
	if (st != MER_OK)
		return st;
	const struct run_choice *choice = lines->choice;
	answer_init(&line->answer, choice->model, NULL,
	            (struct mer_str){ line->input.ptr, line->input.len });
	const struct mer_run_request request = {
		.model = choice->model,
		.deployment = choice->deployment,
		.server = choice->server,
		.session = choice->session,
		.weights = choice->weights,
		.input = line->input.len > 0 ? line->input.ptr : "",
		.input_len = line->input.len,
		.timeout_ms = run_timeout_ms(lines->s, choice->timeout_ms),
		.no_record = choice->no_record,
		.stream = true,
		.jobs = (size_t)choice->jobs,
	};
	st = mer_sched_submit(lines->sched, &request, &events, line, &line->run, err);
	if (st != MER_OK)
		return st;
	lines->count++;
	lines->bytes_ahead += line->input.len;
	return MER_OK;
}

/* Passes over a line that was answered before. */
static enum mer_status skip(struct lines *lines, struct mer_str text, bool *skipped,
                            struct mer_error *err)
{
	enum { BREATH = 4096 };
	*skipped = false;
	if (!lines->resumes)
		return MER_OK;
	int64_t number = lines->submitted + 1;
	enum mer_status st = journal_has(&lines->journal, number, text.ptr, text.len, skipped, err);
	if (st != MER_OK || !*skipped)
		return st;
	lines->submitted = number;
	lines->progress.bytes += (int64_t)text.len + 1;
	lines->progress.skipped += (int64_t)text.len + 1;
	if (number % BREATH == 0)
		(void)uv_run(&lines->s->loop, UV_RUN_NOWAIT); /* for signals */
	return st;
}

/* Submits as much as may be ahead. */
static void pump(struct lines *lines)
{
	while (!lines->stop && !lines->failing && lines->count < AHEAD &&
	       (lines->bytes_ahead < AHEAD_BYTES || lines->count == 0)) {
		struct mer_str text;
		struct mer_error err;
		if (next_line(lines, &text)) {
			bool skipped;
			enum mer_status st = skip(lines, text, &skipped, &err);
			if (st == MER_OK && !skipped)
				st = submit(lines, text, &err);
			if (st != MER_OK) {
				fail(lines, st, &err);
				stop(lines, true, false);
			}
		} else if (!read_more(lines)) {
			return;
		}
	}
}

/* --- output ------------------------------------------------------------------------------- */

/* One newline after each answer, so that line n answers line n where answers are of one line. */
static void end_answer(struct lines *lines, struct line *line)
{
	struct sink *sink = &lines->s->out.sink;
	if (lines->tidy)
		caret_end(&line->caret, &sink->buf);
	if (!line->any || (!lines->tidy && line->last != '\n'))
		mer_buf_byte(&sink->buf, '\n');
	sink_added(sink);
}

/* Whether all of a run's output could be kept. */
static enum mer_status check_kept(const struct line *line, struct mer_error *err)
{
	enum mer_status st = spool_check(&line->output, err);
	return st == MER_OK ? st : mer_wrap(err, st, "line %lld", (long long)line->number);
}

static enum mer_status print_object(struct lines *lines, struct line *line, struct mer_error *err)
{
	struct session *s = lines->s;
	enum mer_status st = check_kept(line, err);
	if (st != MER_OK)
		return st;
	if (s->out.format == MER_FORMAT_JSON)
		mer_buf_text(&s->out.sink.buf, lines->objects == 0 ? "[" : ",");
	lines->objects++;
	s->out.told = true;
	return run_object(s, line->result, &line->output, line->number, err);
}

/* What was kept of a run before it was the first in flight. */
static enum mer_status print_kept(struct lines *lines, struct line *line, struct mer_error *err)
{
	enum mer_status st = check_kept(line, err);
	if (st != MER_OK || line->output.bytes == 0)
		return st;
	/* More may be added while stdout's reader is waited for, so its end is looked at afterwards. */
	st = run_copy(lines->s, &line->output, lines->tidy ? &line->caret : NULL, err);
	size_t got;
	if (st == MER_OK)
		st = spool_read(&line->output, line->output.bytes - 1, &line->last, 1, &got, err);
	line->any = true;
	spool_clear(&line->output);
	return st;
}

static enum mer_status why_failed(const struct line *line, struct mer_error *err)
{
	if (line->result == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = run_status(&line->result->result, err);
	if (!run_came_to_be(line->result))
		return st; /* it is not the line's fault */
	return mer_wrap(err, st, "line %lld", (long long)line->number);
}

/* A run that failed: the first ends all, unless the user wants to go on and it makes sense. */
static void take_failure(struct lines *lines, const struct line *line)
{
	struct mer_error why;
	enum mer_status st = why_failed(line, &why);
	if (ends_all(lines, st) || ends_all(lines, line->status))
		stop(lines, true, false);
	fail(lines, st, &why);
}

/* All that was printed of a line is written before its record is. */
static enum mer_status record(struct lines *lines, const struct line *line, struct mer_error *err)
{
	if (!lines->resumes)
		return MER_OK;
	enum mer_status st = session_flush(lines->s, err);
	if (st != MER_OK)
		return st;
	if (line->status != MER_OK)
		return journal_pass(&lines->journal, err);
	return journal_add(&lines->journal, line->number, line->input.ptr, line->input.len,
	                   line->result != NULL ? line->result->result.request_uid.text : "", err);
}

/* Prints a run that has ended. */
static enum mer_status print_done(struct lines *lines, struct line *line, struct mer_error *err)
{
	bool failed = line->status != MER_OK;
	enum mer_status st = MER_OK;
	if (lines->as_json) {
		if (line->result != NULL && run_came_to_be(line->result))
			st = print_object(lines, line, err);
	} else {
		if (!failed || !lines->whole)
			st = print_kept(lines, line, err);
		/* A line that is run again by the next mer is not answered twice. */
		bool passed = failed && !lines->resumes && !ends_all(lines, line->status);
		if (st == MER_OK && (!failed || passed))
			end_answer(lines, line);
	}
	if (st == MER_OK)
		st = record(lines, line, err);
	if (failed)
		take_failure(lines, line);
	return st;
}

static void release_line(struct line *line)
{
	answer_release(&line->answer);
	free(line->result);
	line->result = NULL;
	spool_clear(&line->output);
	if (line->input.cap > LITTLE)
		mer_buf_release(&line->input);
}

/* Prints what can be printed of the first run in flight. */
static enum mer_status print_head(struct lines *lines, struct line *line, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	if (lines->stop) { /* cancelled, maybe by a signal; one word of why is enough */
		bool told = lines->status != MER_OK || lines->s->out.sink.error != 0;
		if (line->done && line->status != MER_OK && !told)
			take_failure(lines, line);
		return MER_OK;
	}
	if (line->done)
		st = print_done(lines, line, err);
	else if (!lines->whole)
		st = print_kept(lines, line, err);
	if (st == MER_OK && sink_full(&lines->s->out.sink))
		st = session_flush(lines->s, err);
	return st;
}

/* Prints runs in order, up to one that has not ended. */
static void deliver(struct lines *lines)
{
	const struct sink *sink = &lines->s->out.sink;
	struct line *line;
	while ((line = head(lines)) != NULL) {
		struct mer_error err;
		bool done = line->done; /* it may come to be while stdout's reader is waited for */
		enum mer_status st = print_head(lines, line, &err);
		bool unheard = sink->gone || sink->error != 0;
		if (st != MER_OK && !unheard)
			fail(lines, st, &err);
		if ((st != MER_OK || unheard) && !lines->stop)
			stop(lines, false, false);
		if (!done && line->done)
			continue;
		if (!done)
			return;
		lines->progress.done++;
		lines->progress.failed += line->status != MER_OK;
		lines->progress.bytes += (int64_t)line->input.len + 1;
		release_line(line);
		lines->first = (lines->first + 1) % AHEAD;
		lines->count--;
	}
}

/* --- all of it ---------------------------------------------------------------------------- */

static bool is_over(const struct lines *lines)
{
	bool all_read = lines->eof && lines->at == lines->bytes.len;
	return lines->count == 0 && (lines->stop || all_read);
}

static void work(struct lines *lines)
{
	struct sink *sink = &lines->s->out.sink;
	for (;;) {
		deliver(lines);
		let_start(lines);
		pump(lines); /* last, so that something is in flight or awaited when the loop waits */
		if (is_over(lines))
			return;
		sink->lazy = lines->count > 1;
		const struct line *first = head(lines);
		lines->progress.mid_line =
			out_is_terminal() && first != NULL && first->any && first->last != '\n';
		if (lines->count > 0 && head(lines)->done) /* since something was waited for */
			continue;
		(void)uv_run(&lines->s->loop, UV_RUN_ONCE);
	}
}

struct weights_now {
	char version[129 * 4], sha256[MER_SHA256_SIZE];
};

static enum mer_status on_deployment(void *ctx, const void *data, struct mer_error *err)
{
	struct weights_now *now = ctx;
	const struct mer_deployment_row *row = data;
	(void)err;
	(void)snprintf(now->version, sizeof now->version, "%s", row->weights_version);
	(void)snprintf(now->sha256, sizeof now->sha256, "%s", row->weights_sha256);
	return MER_OK;
}

/* A journal is of one model and one version of its weights. */
static enum mer_status open_journal(struct lines *lines, struct mer_error *err)
{
	const struct run_choice *choice = lines->choice;
	struct weights_now now = { "", "" };
	struct mer_dal *dal;
	struct mer_uid uid;
	enum mer_status st = session_dal(lines->s, &dal, err);
	if (st == MER_OK)
		st = find_model(dal, choice->model, &uid, err);
	if (st == MER_OK)
		st = mer_dal_query(dal, MER_Q_RESOLVE,
		                   MER_ARGS(mer_text(choice->model), mer_text(choice->weights)),
		                   on_deployment, &now, err);
	const struct journal_head head = { choice->model, now.version, now.sha256 };
	if (st == MER_OK)
		st = journal_open(choice->resume, &head, STDOUT_FILENO, &lines->journal, err);
	lines->resumes = st == MER_OK;
	return st;
}

static enum mer_status open_lines(struct lines *lines, struct mer_error *err)
{
	store_init(&lines->store, KEPT_IN_MEMORY);
	enum mer_status st = lines->choice->resume != NULL ? open_journal(lines, err) : MER_OK;
	if (st != MER_OK)
		return st;
	st = session_sched(lines->s, true, &lines->sched, err);
	if (st != MER_OK)
		return st;
	lines->ring = calloc(AHEAD, sizeof *lines->ring);
	if (lines->ring == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (size_t i = 0; i < AHEAD; i++) {
		mer_buf_init(&lines->ring[i].input, RUN_INPUT_BYTES);
		spool_init(&lines->ring[i].output, &lines->store);
	}
	mer_buf_init(&lines->bytes, RUN_INPUT_BYTES);
	return watch_open(&lines->watch, &lines->s->loop, lines->fd, WATCH_READ, on_readable, lines,
	                  err);
}

static void close_lines(struct lines *lines)
{
	session_close_watch(lines->s, &lines->watch);
	journal_close(&lines->journal);
	for (size_t i = 0; lines->ring != NULL && i < AHEAD; i++) {
		mer_buf_release(&lines->ring[i].input);
		spool_clear(&lines->ring[i].output);
	}
	free(lines->ring);
	store_release(&lines->store);
	mer_buf_release(&lines->bytes);
}

enum mer_status run_lines(struct session *s, const struct run_choice *choice, int fd,
                          const char *name, struct mer_error *err)
{
	struct sink *sink = &s->out.sink;
	struct lines lines = {
		.s = s,
		.choice = choice,
		.as_json = run_as_json(s),
		.tidy = !run_as_json(s) && !choice->raw && out_is_terminal(),
		.whole = run_as_json(s) || choice->keep_going || choice->resume != NULL,
		.journal = { .fd = -1 },
		.fd = fd,
		.name = name,
		.watch = { .closed = true },
	};
	enum mer_status st = open_lines(&lines, err);
	if (st == MER_OK) {
		sink->on_drain = on_drain;
		sink->ctx = &lines;
		session_cancels(s, on_cancel, &lines);
		lines_progress_open(&lines.progress, s, fd);
		work(&lines);
		lines_progress_close(&lines.progress, s);
		if (lines.resumes && !lines.stop &&
		    journal_check_end(&lines.journal, lines.submitted, err) != MER_OK)
			fail(&lines, MER_ECONFLICT, err);
		session_cancels(s, NULL, NULL);
		sink->on_drain = NULL;
		sink->lazy = false;
		if (s->out.format == MER_FORMAT_JSON && (lines.objects > 0 || lines.status == MER_OK))
			out_text(s, lines.objects > 0 ? "]\n" : "[]\n");
		st = lines.status;
		if (st != MER_OK)
			*err = lines.err;
	}
	close_lines(&lines);
	return st;
}
