/*
 * Copying a database when calls fail or somebody wants it to end: the target is as it was. What a
 * copy holds, and what is refused, is in test_db_copy.py.
 */
#include "dal_fixture.h"

#include <mer/copy.h>

enum kind { LITE, PG };
static const struct {
	enum kind from, to;
} pairs[] = { { LITE, LITE }, { LITE, PG }, { PG, LITE } };

#define RUNS 5
#define PARENT "01980000-2222-7000-8000-0000000000f2"
#define CHILD "01980000-2222-7000-8000-0000000000f1"

/* A migrated database. */
static void fresh(enum kind kind, char *url, size_t size)
{
	static int n;
	if (kind == PG)
		fresh_postgres(url, size);
	else
		(void)snprintf(url, size, "sqlite:%s/copy%d.db", folder, ++n);
	migrate(url, 0);
}

static struct mer_value text_of(int i, const char *const texts[])
{
	return texts[i] != NULL ? mer_text(texts[i]) : (struct mer_value){ .type = MER_VALUE_NULL };
}

/* A row of each table that no script fills, and weights that refer to later ones. */
static void fill(const char *url)
{
	static const char *const weights[][2] = { { CHILD, PARENT }, { PARENT, NULL } };
	const char *sha256 = "00000000000000000000000000000000"
						 "00000000000000000000000000000000";
	struct mer_dal *dal = must_open(url);
	MUST(mer_dal_begin(dal, &err));
	MUST(mer_dal_exec(dal, MER_Q_KEYS_LATER, NULL, 0, NULL, &err));
	for (int i = 0; i < N_ROWS(weights); i++)
		MUST(mer_dal_exec(dal, (enum mer_query)(MER_Q_TABLE_INSERT + (int)MER_TABLE_WEIGHTS),
		                  MER_ARGS(text_of(0, weights[i]), mer_text(EXAMPLE_IRIS),
		                           mer_text(weights[i][0]), mer_text(""), mer_text("p"),
		                           mer_text(sha256), mer_i64(0), text_of(1, weights[i]),
		                           mer_text("retired"), mer_text("{}"), mer_text(""),
		                           mer_text("now")),
		                  NULL, &err));
	for (int i = 0; i < RUNS; i++) {
		struct mer_uid uid, feedback;
		mer_uid_new(&uid);
		mer_uid_new(&feedback);
		MUST(open_run(dal, uid.text, "", &err));
		MUST(mer_dal_exec(dal, (enum mer_query)(MER_Q_TABLE_INSERT + (int)MER_TABLE_IO),
		                  MER_ARGS(mer_text(uid.text), mer_blob("\0x", 2), mer_blob("", 0),
		                           mer_text("{}"), mer_text("[]")),
		                  NULL, &err));
		MUST(mer_dal_exec(dal, (enum mer_query)(MER_Q_TABLE_INSERT + (int)MER_TABLE_FEEDBACK),
		                  MER_ARGS(mer_text(feedback.text), mer_text(uid.text), mer_i64(5),
		                           (struct mer_value){ .type = MER_VALUE_NULL }, mer_text("\t"),
		                           mer_text("now")),
		                  NULL, &err));
	}
	MUST(mer_dal_end(dal, true, &err));
	mer_dal_close(dal);
}

static void check_target(const char *url, bool copied)
{
	struct mer_dal *dal = must_open(url);
	ck_assert_int_eq(count_runs(dal, ""), copied ? RUNS : 0);
	ck_assert_int_eq(count_rows(dal, MER_Q_WEIGHTS, MER_ARGS(mer_text("iris"))), copied ? 3 : 1);
	ck_assert_int_eq(count_rows(dal, MER_Q_MODELS, NULL, 0), EXAMPLES);
	ck_assert_int_eq(count_rows(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(""))), EXAMPLES);
	mer_dal_close(dal);
}

static char from_url[256], to_url[256];

/* Whether the pair can be tested; then both are there. */
static bool begin_pair(int i)
{
	const char *why_not = pairs[i].from == PG || pairs[i].to == PG ? why_not_postgres() : NULL;
	if (why_not != NULL) {
		(void)fprintf(stderr, "postgres is not tested: %s\n", why_not);
		return false;
	}
	fresh(pairs[i].from, from_url, sizeof from_url);
	fresh(pairs[i].to, to_url, sizeof to_url);
	fill(from_url);
	return true;
}

/* Copies with the nth call at one end made to fail; 0: none. Returns how many there were. */
static int64_t copy_failing(int64_t fail_from, int64_t fail_to, bool at_from, enum mer_status *st)
{
	struct mer_copy_table out[MER_TABLE_COUNT];
	struct mer_dal *from, *to;
	int64_t from_calls = 0, to_calls = 0;
	MUST(mer_dal_open_fault(from_url, MER_DAL_READ, fail_from, &from_calls, &from, &err));
	MUST(mer_dal_open_fault(to_url, 0, fail_to, &to_calls, &to, &err));
	err = (struct mer_error){ 0 };
	*st = mer_copy(from, to, NULL, out, &err);
	mer_dal_close(from);
	mer_dal_close(to);
	return at_from ? from_calls : to_calls;
}

START_TEST(survives_the_failure_of_each_call)
{
	const bool at_from = _i % 2 == 0;
	if (!begin_pair(_i / 2))
		return;
	for (int64_t n = 1;; n++) {
		enum mer_status st;
		int64_t calls = copy_failing(at_from ? n : 0, at_from ? 0 : n, at_from, &st);
		/* Giving up the source's transaction is the last call there, and nothing depends on it. */
		const bool may_fail = calls >= n && !(at_from && calls == n && st == MER_OK);
		ck_assert_msg(may_fail == (st != MER_OK), "call %" PRId64 " of %" PRId64 ": %s: %s", n,
		              calls, mer_status_name(st), err.message);
		ck_assert_msg(st == MER_OK || err.message[0] != '\0', "call %" PRId64 " says nothing", n);
		check_target(to_url, st == MER_OK);
		if (st == MER_OK) {
			ck_assert_int_gt(n, at_from ? 10 : 40);
			return;
		}
	}
}
END_TEST

START_TEST(ends_when_told)
{
	if (!begin_pair(_i))
		return;
	struct mer_copy_table out[MER_TABLE_COUNT];
	struct mer_dal *from, *to = must_open(to_url);
	atomic_bool stop = true;
	MUST(mer_dal_open(from_url, MER_DAL_READ, &from, &err));
	MUST_FAIL(MER_ECANCELED, mer_copy(from, to, &stop, out, &err));
	check_target(to_url, false);
	/* Both may be used as before. */
	stop = false;
	MUST(mer_copy(from, to, &stop, out, &err));
	check_target(to_url, true);
	ck_assert_int_eq(out[MER_TABLE_RUNS].rows, RUNS);
	ck_assert_str_eq(out[MER_TABLE_RUNS].name, "model_access");
	mer_dal_close(from);
	mer_dal_close(to);
}
END_TEST

/* A connection for reading does not write. */
START_TEST(reads_only)
{
	if (!begin_pair(_i))
		return;
	struct mer_dal *dal;
	MUST(mer_dal_open(from_url, MER_DAL_READ, &dal, &err));
	MUST(mer_dal_begin(dal, &err));
	ck_assert_int_eq(count_runs(dal, ""), RUNS);
	struct mer_dal *writer = must_open(from_url);
	struct mer_uid uid;
	mer_uid_new(&uid);
	MUST(open_run(writer, uid.text, "", &err)); /* and is in nobody's way */
	ck_assert_int_eq(count_runs(writer, ""), RUNS + 1);
	ck_assert_int_eq(count_runs(dal, ""), RUNS); /* as it was */
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(count_runs(dal, ""), RUNS + 1);
	mer_dal_close(writer);
	mer_dal_close(dal);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("dal_copy");
	TCase *tc = tcase_create("copy");
	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup_folder, teardown_folder);
	tcase_add_loop_test(tc, survives_the_failure_of_each_call, 0, 2 * N_ROWS(pairs));
	tcase_add_loop_test(tc, ends_when_told, 0, N_ROWS(pairs));
	tcase_add_loop_test(tc, reads_only, 0, N_ROWS(pairs));
	suite_add_tcase(s, tc);
	return s;
}
