/* worker-check: tests any worker against the frame protocol. */
#include "commands.h"
#include "session.h"

#include <mer/clean.h>
#include <mer/conform.h>
#include <mer/file.h>
#include <mer/ref.h>
#include <mer/work.h>
#include <string.h>

enum { LIST, START_TIMEOUT, TIMEOUT, ARGV };
static const struct cmd_arg check_args[] = {
	[LIST] = CMD_FLAG("list", "print the rules and what each asks for"),
	[START_TIMEOUT] =
		CMD_OPTION("start-timeout", ARG_MS, NULL, "how long it may take until it is ready",
	               .fallback = "2m", .least = 1),
	[TIMEOUT] = CMD_OPTION("timeout", ARG_MS, NULL, "how long an answer may take",
	                       .fallback = "10s", .least = 1),
	[ARGV] = CMD_WORD("ARGV", ARG_ARGV, "the program and its arguments"),
};

enum { RULE_COLUMNS = 2 };

/* A rule that is broken. */
struct broken {
	const char *rule;
	char *seen;
};

/* It takes its time, in a thread, so that a signal can end it. */
struct check_job {
	struct mer_job job; /* first: the thread gives it back */
	struct mer_worker_spec spec;
	int64_t start_ms, patience_ms;
	atomic_bool stop;
	struct broken *broken; /* room for each rule */
	size_t n_broken;
	enum mer_status st;
	struct mer_error err;
	bool done, closed;
};

static void on_broken(void *ctx, const char *rule, const char *seen)
{
	struct check_job *check = ctx;
	check->broken[check->n_broken++] = (struct broken){ rule, strdup(seen) };
}

static void run_check(struct mer_job *job)
{
	struct check_job *check = (struct check_job *)job;
	check->st = mer_conform(&check->spec, check->start_ms, check->patience_ms, &check->stop,
	                        on_broken, check, &check->err);
}

static void on_check_done(struct mer_job *job)
{
	((struct check_job *)job)->done = true;
}

static void on_work_closed(void *ctx)
{
	((struct check_job *)ctx)->closed = true;
}

static void cancel_check(void *ctx, bool kill)
{
	struct check_job *check = ctx;
	(void)kill;
	atomic_store(&check->stop, true);
}

static enum mer_status check_in_thread(struct session *s, struct check_job *check,
                                       struct mer_error *err)
{
	uv_loop_t *loop;
	struct mer_work *work;
	enum mer_status st = session_loop(s, &loop, err);
	if (st == MER_OK)
		st = mer_work_open(loop, &work, err);
	if (st != MER_OK)
		return st;
	session_cancels(s, cancel_check, check);
	mer_work_push(work, &check->job);
	session_run(s, &check->done);
	session_cancels(s, NULL, NULL);
	mer_work_close(work, on_work_closed, check);
	session_run(s, &check->closed);
	if (check->st != MER_OK && err != NULL)
		*err = check->err;
	return check->st;
}

static enum mer_status print_row(struct session *s, const char *rule, const char *text,
                                 struct mer_error *err)
{
	return out_row(s, (struct mer_cell[]){ mer_cell_text(rule), mer_cell_text(text) }, err);
}

static enum mer_status list(struct session *s, struct mer_error *err)
{
	static const struct out_column columns[RULE_COLUMNS] = { { "rule", 0 }, { "asks", 0 } };
	const struct mer_conform_rule *rule = mer_conform_rules;
	enum mer_status st = MER_OK;
	out_begin(s, columns, RULE_COLUMNS);
	for (; rule->name != NULL && st == MER_OK; rule++)
		st = print_row(s, rule->name, rule->asks, err);
	return st == MER_OK ? out_end(s, err) : st;
}

static enum mer_status print_broken(struct session *s, const struct check_job *check,
                                    struct mer_error *err)
{
	static const struct out_column columns[RULE_COLUMNS] = { { "rule", 0 }, { "seen", 0 } };
	enum mer_status st = MER_OK;
	out_begin(s, columns, RULE_COLUMNS);
	for (size_t i = 0; i < check->n_broken && st == MER_OK; i++) {
		const char *seen = check->broken[i].seen;
		st = print_row(s, check->broken[i].rule, seen != NULL ? seen : "", err);
	}
	return st == MER_OK ? out_end(s, err) : st;
}

static enum mer_status test_worker(struct session *s, struct check_job *check,
                                   struct mer_error *err)
{
	const char *program = check->spec.argv[0];
	enum mer_status st = check_in_thread(s, check, err);
	if (st == MER_OK)
		st = print_broken(s, check, err);
	if (st != MER_OK)
		return st;
	if (check->n_broken == 0) {
		session_note(s, "'%s' keeps all rules of the frame protocol", program);
		return MER_OK;
	}
	(void)mer_fail(err, MER_EMODEL, "'%s' breaks %zu rule%s of the frame protocol", program,
	               check->n_broken, check->n_broken == 1 ? "" : "s");
	mer_hint(err, "docs/wire.md is the protocol");
	s->out.told = true; /* by the rows */
	return MER_EMODEL;
}

static size_t count_rules(void)
{
	size_t n = 0;
	while (mer_conform_rules[n].name != NULL)
		n++;
	return n;
}

static enum mer_status check(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	const char *password = setting(&s->settings, SET_PASSWORD)->text;
	const char *const hidden[] = { password != NULL ? mer_ref_env_name(password) : NULL, NULL };
	MER_AUTO(mer_text_done) char *guard = NULL;
	MER_AUTO(mer_words_done) char **env = NULL;
	struct check_job job = { .job = { .run = run_check, .done = on_check_done },
		                     .start_ms = argv[START_TIMEOUT].number,
		                     .patience_ms = argv[TIMEOUT].number,
		                     .broken = calloc(count_rules() + 1, sizeof *job.broken) };
	enum mer_status st = job.broken == NULL ? mer_fail(err, MER_ENOMEM, "out of memory") : MER_OK;
	if (st == MER_OK)
		st = mer_place(MER_PLACE_GUARD, &guard, err);
	if (st == MER_OK)
		st = mer_worker_env(s->environment, NULL, 0, false, hidden, &env, err);
	if (st == MER_OK) {
		job.spec = (struct mer_worker_spec){
			.guard = guard,
			.argv = argv[ARGV].words,
			.env = (const char *const *)env,
		};
		st = test_worker(s, &job, err);
	}
	for (size_t i = 0; i < job.n_broken; i++)
		free(job.broken[i].seen);
	free(job.broken);
	return st;
}

static enum mer_status list_or_check(struct session *s, const struct cmd_value *argv,
                                     struct mer_error *err)
{
	if (argv[LIST].given)
		return list(s, err);
	if (argv[ARGV].count == 0)
		return mer_fail(err, MER_EINPUT, "worker-check needs ARGV");
	return check(s, argv, err);
}

const struct cmd cmd_worker_check = {
	.name = "worker-check",
	.summary = "test a worker against the frame protocol",
	.notes =
		"Starts it several times, as a model of protocol frame would be, and prints each rule\n"
		"that it breaks with what was seen. Ends with 0 where it keeps them all, with 1 where\n"
		"not, with 6 where it does not get ready.\n",
	CMD_ARGS(check_args),
	.formats = CMD_FORMATS_ALL,
	.run = list_or_check,
};
