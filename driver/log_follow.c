/*
 * Following the log. A run may end long after it began, and its row may come later than that of a run
 * that began after it (another host's clock, a group that was written together). So each look reads
 * the last minute's rows again, and those of older runs that are still open. Older ones that are new,
 * since their host's clock is behind, are found by when they were written; a server has to read all of
 * a day for that, so it is asked seldom. What has been told is remembered for as long as a look may
 * meet it again.
 */
#include "log_rows.h"

#include <mer/text.h>
#include <mer/uid.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum {
	LOOK_MS = 500,     /* between looks at SQLite, which cost a look at shared memory */
	REMOTE_MS = 1000,  /* and at a server */
	BACK_MS = 60000,   /* how far back a look reaches, */
	BACK_ROWS = 20000, /* but over no more rows than that */
	LATE_MS = 5000,    /* between looks at a server for what came late, */
	LATE_SHARE = 20,   /* and at least so many times as long as one takes; */
	LATE_BACK_MS = 86400000,
	KNOWN_MOST = 1 << 20, /* a transaction that is open for hours has us remember no more */
	CHANGES_SIZE = 256,
};

struct known {
	struct mer_uid uid;
	bool over;     /* nothing more is to be told of it */
	int64_t until; /* then: where the log was written to by the next look; 0: that is to come */
};

struct follow {
	struct session *s;
	const struct log_choice *choice;
	struct mer_uid first; /* what ended before it and was there already is not told, */
	struct mer_uid there; /* which is all up to here */
	struct mer_uid mark;  /* looks begin behind it */
	struct mer_uid last;  /* of the rows of a look; newest: of all */
	struct mer_uid newest;
	struct known *known; /* by uid: what is behind the mark, and what is open before it */
	size_t n_known, cap_known;
	size_t n_sorted; /* those after it were added by this look */
	int64_t got;
	struct mer_written_row written; /* by this look */
	int64_t late_from;              /* what came late is looked for from there on */
	int64_t late_due_ms;            /* mer_clock_ms() */
	bool late_owed;                 /* something has changed since the last look for it */
	bool told;
	bool looked;                /* at least once */
	char changes[CHANGES_SIZE]; /* what the database said at the last look */
	uv_timer_t timer;
	bool due, closed;
};

/* --- what is known ------------------------------------------------------------------------ */

static int by_uid(const void *a, const void *b)
{
	return strcmp(((const struct known *)a)->uid.text, ((const struct known *)b)->uid.text);
}

static struct known *find_known(const struct follow *follow, const char *uid)
{
	struct known key;
	(void)snprintf(key.uid.text, sizeof key.uid.text, "%s", uid);
	if (follow->n_sorted == 0)
		return NULL;
	return bsearch(&key, follow->known, follow->n_sorted, sizeof key, by_uid);
}

static struct known *add_known(struct follow *follow, const char *uid, struct mer_error *err)
{
	if (follow->n_known == follow->cap_known) {
		size_t cap = follow->cap_known == 0 ? 256 : 2 * follow->cap_known;
		struct known *known = reallocarray(follow->known, cap, sizeof *known);
		if (known == NULL) {
			(void)mer_fail(err, MER_ENOMEM, "out of memory for %zu runs", cap);
			return NULL;
		}
		follow->known = known;
		follow->cap_known = cap;
	}
	struct known *added = &follow->known[follow->n_known++];
	*added = (struct known){ 0 };
	(void)snprintf(added->uid.text, sizeof added->uid.text, "%s", uid);
	return added;
}

static void sort_known(struct follow *follow)
{
	if (follow->n_known > follow->n_sorted)
		qsort(follow->known, follow->n_known, sizeof *follow->known, by_uid);
	follow->n_sorted = follow->n_known;
}

static void mark_at(int64_t ms, struct mer_uid *out)
{
	ms = ms > 0 ? ms : 0;
	(void)snprintf(out->text, sizeof out->text, "%08x-%04x", (unsigned)(ms >> 16),
	               (unsigned)(ms & 0xFFFF));
}

/* The mark for looks that reach back from the newest run. A clock that is ahead does not hide the
 * others' runs. */
static void mark_back(const struct follow *follow, struct mer_uid *out)
{
	int64_t ms = mer_time_now_ms();
	char *end;
	int64_t newest_ms = (int64_t)strtoul(follow->newest.text, &end, 16) << 16;
	if (*end == '-' && (newest_ms |= (int64_t)strtoul(end + 1, NULL, 16)) < ms)
		ms = newest_ms;
	mark_at(ms - BACK_MS, out);
}

/* Moves the mark on, and forgets what no look will meet again. */
static void move_mark(struct follow *follow)
{
	struct mer_uid mark;
	mark_back(follow, &mark);
	if (follow->n_known > BACK_ROWS) {
		const char *far = follow->known[follow->n_known - BACK_ROWS].uid.text;
		if (strcmp(far, mark.text) > 0)
			(void)snprintf(mark.text, sizeof mark.text, "%s", far);
	}
	if (strcmp(mark.text, follow->mark.text) > 0)
		follow->mark = mark;
	size_t kept = 0;
	for (size_t i = 0; i < follow->n_known; i++) {
		const struct known *known = &follow->known[i];
		const bool met = known->until == 0 || known->until > follow->late_from;
		if (!known->over || strcmp(known->uid.text, follow->mark.text) > 0 ||
		    (met && follow->n_known < KNOWN_MOST))
			follow->known[kept++] = *known;
	}
	follow->n_known = follow->n_sorted = kept;
}

/* --- looking ------------------------------------------------------------------------------ */

static bool is_wanted(const struct follow *follow, const struct mer_run_row *row)
{
	const char *status = follow->choice->status, *model = follow->choice->model;
	if (model != NULL && strcmp(model, row->model) != 0)
		return false;
	if (strcmp(row->queued_at, follow->choice->since) < 0)
		return false;
	return status != NULL ? strcmp(status, row->status) == 0 : row->stopped_at[0] != '\0';
}

static enum mer_status on_run(void *ctx, const void *data, struct mer_error *err)
{
	struct follow *follow = ctx;
	const struct mer_run_row *row = data;
	struct mer_cell cells[LOG_COLUMNS];
	follow->got++;
	(void)snprintf(follow->last.text, sizeof follow->last.text, "%s", row->request_uid);
	if (strcmp(row->request_uid, follow->newest.text) > 0)
		follow->newest = follow->last;
	struct known *known = find_known(follow, row->request_uid);
	if (known != NULL && known->over)
		return MER_OK;
	if (known == NULL)
		known = add_known(follow, row->request_uid, err);
	if (known == NULL)
		return MER_ENOMEM;
	known->over = row->stopped_at[0] != '\0';
	if (!is_wanted(follow, row) ||
	    (!follow->looked && strcmp(row->request_uid, follow->first.text) < 0 &&
	     strcmp(row->request_uid, follow->there.text) <= 0))
		return MER_OK;
	known->over = follow->told = true;
	log_cells(row, cells);
	return out_row(follow->s, cells, err);
}

static bool is_remote(const struct follow *follow)
{
	return strcmp(mer_dal_dialect(follow->s->dal), "sqlite") != 0;
}

/* What is open and older than the mark, by its uids. */
static enum mer_status look_at_open(struct follow *follow, struct mer_error *err)
{
	struct mer_buf uids;
	mer_buf_init(&uids, PTRDIFF_MAX);
	for (size_t i = 0; i < follow->n_sorted; i++) {
		const struct known *known = &follow->known[i];
		if (!known->over && strcmp(known->uid.text, follow->mark.text) <= 0)
			mer_buf_printf(&uids, "%s\"%s\"", uids.len == 0 ? "[" : ",", known->uid.text);
	}
	if (uids.len == 0)
		return MER_OK;
	mer_buf_byte(&uids, ']');
	enum mer_status st = mer_buf_check(&uids, err);
	if (st == MER_OK)
		st = mer_dal_query(follow->s->dal, MER_Q_RUNS_OF, MER_ARGS(mer_text(uids.ptr)), on_run,
		                   follow, err);
	mer_buf_release(&uids);
	return st;
}

static enum mer_status on_written(void *ctx, const void *data, struct mer_error *err)
{
	struct follow *follow = ctx;
	(void)err;
	follow->written = *(const struct mer_written_row *)data;
	for (size_t i = 0; i < follow->n_known; i++) {
		struct known *known = &follow->known[i];
		if (known->over && known->until == 0)
			known->until = follow->written.any;
	}
	return MER_OK;
}

/* What came since the last time, and is older than the mark. */
static enum mer_status look_for_late(struct follow *follow, struct mer_error *err)
{
	const int64_t began_ms = mer_clock_ms();
	follow->late_owed = is_remote(follow) && began_ms < follow->late_due_ms;
	if (follow->late_owed)
		return MER_OK;
	struct mer_uid from = { "" };
	if (is_remote(follow))
		mark_at(mer_time_now_ms() - LATE_BACK_MS, &from);
	enum mer_status st = mer_dal_query(
		follow->s->dal, MER_Q_RUNS_LATE,
		MER_ARGS(mer_i64(follow->late_from), mer_text(from.text), mer_text(follow->mark.text)),
		on_run, follow, err);
	sort_known(follow);
	follow->late_from = follow->written.all;
	const int64_t now_ms = mer_clock_ms(), rest_ms = LATE_SHARE * (now_ms - began_ms);
	follow->late_due_ms = now_ms + (rest_ms > LATE_MS ? rest_ms : LATE_MS);
	return st;
}

static enum mer_status look(struct follow *follow, struct mer_error *err)
{
	follow->told = false;
	enum mer_status st =
		mer_dal_query(follow->s->dal, MER_Q_WRITTEN, NULL, 0, on_written, follow, err);
	if (st == MER_OK)
		st = look_at_open(follow, err);
	if (st == MER_OK && follow->looked)
		st = look_for_late(follow, err);
	follow->last = follow->mark;
	follow->got = LOG_PAGE;
	while (st == MER_OK && follow->got == LOG_PAGE) {
		follow->got = 0;
		st = mer_dal_query(follow->s->dal, MER_Q_RUNS_AFTER,
		                   MER_ARGS(mer_text(follow->choice->model), mer_text(""), mer_text(""),
		                            mer_text(follow->last.text), mer_i64(LOG_PAGE)),
		                   on_run, follow, err);
		sort_known(follow);
	}
	if (st != MER_OK)
		return st;
	move_mark(follow);
	follow->looked = true;
	return follow->told ? out_pause(follow->s, err) : MER_OK;
}

static enum mer_status on_changes(void *ctx, const void *data, struct mer_error *err)
{
	struct follow *follow = ctx;
	const struct mer_name_row *row = data;
	(void)err;
	follow->due = strncmp(follow->changes, row->name, sizeof follow->changes - 1) != 0 ||
	              strlen(row->name) >= sizeof follow->changes;
	(void)snprintf(follow->changes, sizeof follow->changes, "%s", row->name);
	return MER_OK;
}

/* --- where to begin ----------------------------------------------------------------------- */

static enum mer_status on_newest(void *ctx, const void *data, struct mer_error *err)
{
	struct follow *follow = ctx;
	const struct mer_run_row *row = data;
	(void)err;
	(void)snprintf(follow->first.text, sizeof follow->first.text, "%s", row->request_uid);
	if (follow->newest.text[0] == '\0')
		follow->newest = follow->first;
	return MER_OK;
}

static enum mer_status on_open(void *ctx, const void *data, struct mer_error *err)
{
	struct follow *follow = ctx;
	const struct mer_name_row *row = data;
	return add_known(follow, row->name, err) != NULL ? MER_OK : MER_ENOMEM;
}

/* At the oldest of the newest runs, and with what is open. */
static enum mer_status start(struct follow *follow, struct mer_error *err)
{
	const struct log_choice *choice = follow->choice;
	struct mer_dal *dal = follow->s->dal;
	(void)snprintf(follow->first.text, sizeof follow->first.text, "g"); /* behind all uids */
	enum mer_status st = mer_dal_query(dal, MER_Q_CHANGES, NULL, 0, on_changes, follow, err);
	if (st == MER_OK)
		st = mer_dal_query(dal, MER_Q_WRITTEN, NULL, 0, on_written, follow, err);
	follow->late_from = follow->written.all;
	if (st == MER_OK)
		st = mer_dal_query(dal, MER_Q_RUNS,
		                   MER_ARGS(mer_text(choice->model), mer_text(choice->status),
		                            mer_text(choice->since), mer_i64(choice->limit), mer_text("")),
		                   on_newest, follow, err);
	follow->there = follow->newest;
	mark_back(follow, &follow->mark);
	if (strcmp(follow->first.text, follow->mark.text) < 0) {
		follow->mark = follow->first; /* and just before it */
		follow->mark.text[strlen(follow->mark.text) - 1] = '\0';
	}
	if (st == MER_OK)
		st = mer_dal_query(dal, MER_Q_RUNS_OPEN, NULL, 0, on_open, follow, err);
	sort_known(follow);
	return st;
}

/* --- waiting ------------------------------------------------------------------------------ */

static void on_due(uv_timer_t *timer)
{
	((struct follow *)timer->data)->due = true;
}

static void on_closed(uv_handle_t *handle)
{
	((struct follow *)handle->data)->closed = true;
}

/* Whoever reads a pipe and leaves is noticed without a row for him. */
static bool reader_left(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO };
	return poll(&out, 1, 0) > 0 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

/* Until the database has changed. */
static enum mer_status await(struct follow *follow, struct mer_error *err)
{
	struct session *s = follow->s;
	const bool remote = is_remote(follow);
	enum mer_status st = MER_OK;
	for (bool changed = false; st == MER_OK && !changed;) {
		follow->due = false;
		(void)uv_timer_start(&follow->timer, on_due, remote ? REMOTE_MS : LOOK_MS, 0);
		while (!follow->due && !s->stopped)
			(void)uv_run(&s->loop, UV_RUN_ONCE);
		if (s->stopped)
			return mer_fail(err, MER_ECANCELED, "interrupted");
		if (reader_left()) {
			s->out.sink.gone = true;
			return mer_fail(err, MER_EIO, "the reader of stdout left");
		}
		follow->due = false;
		st = mer_dal_query(s->dal, MER_Q_CHANGES, NULL, 0, on_changes, follow, err);
		changed = follow->due || (follow->late_owed && mer_clock_ms() >= follow->late_due_ms);
	}
	return st;
}

enum mer_status log_follow(struct session *s, const struct log_choice *choice,
                           struct mer_error *err)
{
	struct follow follow = { .s = s, .choice = choice };
	uv_loop_t *loop;
	enum mer_status st = session_loop(s, &loop, err);
	if (st != MER_OK)
		return st;
	(void)uv_timer_init(loop, &follow.timer);
	follow.timer.data = &follow;
	out_begin(s, log_columns, LOG_COLUMNS);
	st = start(&follow, err);
	while (st == MER_OK) {
		st = look(&follow, err);
		if (st == MER_OK)
			st = await(&follow, err);
	}
	uv_close((uv_handle_t *)&follow.timer, on_closed);
	session_run(s, &follow.closed);
	free(follow.known);
	/* It was asked to go on until somebody ends it. */
	s->reported = st == MER_ECANCELED;
	return st;
}
