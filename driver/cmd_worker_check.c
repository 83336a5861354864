/* worker-check: tests any worker against the frame protocol. */
#include "commands.h"
#include "session.h"

#include <mer/clean.h>
#include <mer/conform.h>
#include <mer/file.h>
#include <mer/ref.h>
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

enum { RULE_COLUMNS = 2, ALL_COLUMNS = 3 };

static const struct out_column all_columns[] = { { "rule", 0 },
	                                             { "seen", OUT_NULL },
	                                             { "asks", OUT_NULL } };

/* A rule that is broken. */
struct broken {
	const char *rule;
	char *seen;
};

struct checking {
	struct mer_worker_spec spec;
	int64_t start_ms, patience_ms;
	atomic_bool stop;
	struct broken *broken; /* room for each rule */
	size_t n_broken;
};

static void on_broken(void *ctx, const char *rule, const char *seen)
{
	struct checking *checking = ctx;
	checking->broken[checking->n_broken++] = (struct broken){ rule, strdup(seen) };
}

static enum mer_status run_check(void *ctx, struct mer_error *err)
{
	struct checking *checking = ctx;
	return mer_conform(&checking->spec, checking->start_ms, checking->patience_ms, &checking->stop,
	                   on_broken, checking, err);
}

static void cancel_check(void *ctx, bool kill)
{
	struct checking *checking = ctx;
	(void)kill;
	atomic_store(&checking->stop, true);
}

static enum mer_status print_row(struct session *s, const char *rule, const char *text,
                                 struct mer_error *err)
{
	return out_row(s, (struct mer_cell[]){ mer_cell_text(rule), mer_cell_text(text) }, err);
}

static enum mer_status list(struct session *s, struct mer_error *err)
{
	static const struct out_column columns[] = { { "rule", 0 }, { "asks", 0 } };
	const struct mer_conform_rule *rule = mer_conform_rules;
	enum mer_status st = MER_OK;
	out_begin(s, columns, RULE_COLUMNS);
	for (; rule->name != NULL && st == MER_OK; rule++)
		st = print_row(s, rule->name, rule->asks, err);
	return st == MER_OK ? out_end(s, err) : st;
}

static enum mer_status print_broken(struct session *s, const struct checking *checking,
                                    struct mer_error *err)
{
	static const struct out_column columns[] = { { "rule", 0 }, { "seen", 0 } };
	enum mer_status st = MER_OK;
	out_begin(s, columns, RULE_COLUMNS);
	for (size_t i = 0; i < checking->n_broken && st == MER_OK; i++) {
		const char *seen = checking->broken[i].seen;
		st = print_row(s, checking->broken[i].rule, seen != NULL ? seen : "", err);
	}
	return st == MER_OK ? out_end(s, err) : st;
}

static enum mer_status test_worker(struct session *s, struct checking *checking,
                                   struct mer_error *err)
{
	const char *program = checking->spec.argv[0];
	enum mer_status st = session_in_thread(s, run_check, cancel_check, checking, err);
	if (st == MER_OK)
		st = print_broken(s, checking, err);
	if (st != MER_OK)
		return st;
	if (checking->n_broken == 0) {
		session_note(s, "'%s' keeps all rules of the frame protocol", program);
		return MER_OK;
	}
	(void)mer_fail(err, MER_EMODEL, "'%s' breaks %zu rule%s of the frame protocol", program,
	               checking->n_broken, checking->n_broken == 1 ? "" : "s");
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
	MER_AUTO(mer_text_done) char *python = NULL;
	MER_AUTO(mer_words_done) char **env = NULL;
	struct checking checking = { .start_ms = argv[START_TIMEOUT].number,
		                         .patience_ms = argv[TIMEOUT].number,
		                         .broken = calloc(count_rules() + 1, sizeof *checking.broken) };
	enum mer_status st =
		checking.broken == NULL ? mer_fail(err, MER_ENOMEM, "out of memory") : MER_OK;
	if (st == MER_OK)
		st = mer_place(MER_PLACE_GUARD, &guard, err);
	if (st == MER_OK)
		st = mer_place(MER_PLACE_PYTHON, &python, err);
	if (st == MER_OK)
		st = mer_worker_env(s->environment, NULL, 0, false, hidden, &env, err);
	if (st == MER_OK)
		st = mer_worker_env_path(&env, "PYTHONPATH", python, err);
	if (st == MER_OK) {
		checking.spec = (struct mer_worker_spec){
			.guard = guard,
			.argv = argv[ARGV].words,
			.env = (const char *const *)env,
		};
		st = test_worker(s, &checking, err);
	}
	for (size_t i = 0; i < checking.n_broken; i++)
		free(checking.broken[i].seen);
	free(checking.broken);
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
	CMD_EXAMPLES("worker-check -- python3 hello.py", "worker-check --list"),
	CMD_ARGS(check_args),
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(all_columns,
	         ALL_COLUMNS), /* of which --list has no 'seen', and else there is no 'asks' */
	.run = list_or_check,
};
