/* Limits by name: as users write them, as the database keeps them, as they are shown, and as a worker is
 * held to them. */
#include "check_main.h"

#include <mer/clean.h>
#include <mer/limits.h>
#include <stdlib.h>
#include <string.h>

/* A document, what is set in it, and what it is then. */
static const struct {
	const char *before, *pair;
	const char *after, *shown; /* NULL: refused */
} settings[] = {
	{ "{}", "memory=64MiB", "{\"memory\":67108864}", "{\"memory\":\"64MiB\"}" },
	{ "{}", "memory=1048577", "{\"memory\":1048577}", "{\"memory\":\"1048577B\"}" },
	{ "{}", "cpu-time=90m", "{\"cpu_time\":5400000}", "{\"cpu-time\":\"90m\"}" },
	{ "{}", "cpu-time=1500ms", "{\"cpu_time\":1500}", "{\"cpu-time\":\"1500ms\"}" },
	{ "{}", "processes=1", "{\"processes\":1}", "{\"processes\":\"1\"}" },
	{ "{}", "open-files=8", "{\"open_files\":8}", "{\"open-files\":\"8\"}" },
	{ "{}", "file-size=1", "{\"file_size\":1}", "{\"file-size\":\"1B\"}" },
	{ "{}", "core-size=2GiB", "{\"core_size\":2147483648}", "{\"core-size\":\"2GiB\"}" },
	{ "{}", "core-size=0", "{}", "{}" },
	{ "{}", "nice=-20", "{\"nice\":-20}", "{\"nice\":\"-20\"}" },
	{ "{}", "nice=19", "{\"nice\":19}", "{\"nice\":\"19\"}" },
	{ "{}", "nice=0", "{}", "{}" },
	{ "{}", "cpus=1.5", "{\"cpus_permille\":1500}", "{\"cpus\":\"1.5\"}" },
	{ "{}", "cpus=2", "{\"cpus_permille\":2000}", "{\"cpus\":\"2\"}" },
	{ "{}", "cpus=0.010", "{\"cpus_permille\":10}", "{\"cpus\":\"0.01\"}" },
	{ "{}", "cpus=0.125", "{\"cpus_permille\":125}", "{\"cpus\":\"0.125\"}" },
	{ "{}", "cpus=1000", "{\"cpus_permille\":1000000}", "{\"cpus\":\"1000\"}" },
	{ "{}", "isolate=true", "{\"isolate\":true}", "{\"isolate\":\"true\"}" },
	{ "{}", "isolate=on", "{\"isolate\":true}", "{\"isolate\":\"true\"}" },
	{ "{\"isolate\":true}", "isolate=false", "{}", "{}" },
	{ "{\"memory\":1048576,\"nice\":5}", "memory", "{\"nice\":5}", "{\"nice\":\"5\"}" },
	{ "{\"nice\":5}", "memory", "{\"nice\":5}", "{\"nice\":\"5\"}" },
	{ "{\"max_output\":10,\"nice\":5}", "nice=6", "{\"max_output\":10,\"nice\":6}",
	  "{\"nice\":\"6\"}" },
	{ "{}", "", NULL, NULL },
	{ "{}", "=1", NULL, NULL },
	{ "{}", "memor=1GiB", NULL, NULL },
	{ "{}", "memory_=1GiB", NULL, NULL },
	{ "{}", "memory=", NULL, NULL },
	{ "{}", "memory=0", NULL, NULL },
	{ "{}", "memory=1023KiB", NULL, NULL },
	{ "{}", "memory=99999999999GiB", NULL, NULL },
	{ "{}", "cpu-time=999ms", NULL, NULL },
	{ "{}", "processes=0", NULL, NULL },
	{ "{}", "processes=4294967296", NULL, NULL },
	{ "{}", "open-files=7", NULL, NULL },
	{ "{}", "nice=20", NULL, NULL },
	{ "{}", "nice=-21", NULL, NULL },
	{ "{}", "cpus=0.009", NULL, NULL },
	{ "{}", "cpus=.5", NULL, NULL },
	{ "{}", "cpus=1.", NULL, NULL },
	{ "{}", "cpus=1.0001", NULL, NULL },
	{ "{}", "cpus=1.5.5", NULL, NULL },
	{ "{}", "cpus=-1", NULL, NULL },
	{ "{}", "cpus=1001", NULL, NULL },
	{ "{}", "cpus=100000", NULL, NULL },
	{ "{}", "cpus=1e2", NULL, NULL },
	{ "{}", "isolate=2", NULL, NULL },
};

static void assert_json(const json_t *json, const char *want)
{
	MER_AUTO(mer_text_done) char *text = NULL;
	ck_assert_int_eq(mer_json_text(json, &text, NULL), MER_OK);
	ck_assert_str_eq(text, want);
}

START_TEST(sets_limits)
{
	MER_AUTO(mer_json_done) json_t *json = NULL, *shown = NULL;
	const char *before = settings[_i].before, *after = settings[_i].after;
	struct mer_error err = { .message = "" };
	ck_assert_int_eq(mer_json_parse("x", before, strlen(before), &json, NULL), MER_OK);
	enum mer_status st = mer_limits_set(json, settings[_i].pair, &err);
	ck_assert_msg(st == (after != NULL ? MER_OK : MER_EINPUT), "'%s': %s", settings[_i].pair,
	              err.message);
	ck_assert((st == MER_OK) == (err.message[0] == '\0'));
	assert_json(json, after != NULL ? after : before);
	if (after == NULL)
		return;
	ck_assert_int_eq(mer_limits_show(json, &shown, NULL), MER_OK);
	assert_json(shown, settings[_i].shown);
}
END_TEST

START_TEST(reads_limits)
{
	static const char text[] =
		"{\"memory\":1048576,\"cpu_time\":2000,\"processes\":3,\"open_files\":9,\"file_size\":5,"
		"\"core_size\":6,\"nice\":-7,\"cpus_permille\":1500,\"isolate\":true,\"max_output\":8}";
	static const struct mer_limits want = { 1048576, 2000, 3, 9, 5, 6, -7, 1500, 1 };
	MER_AUTO(mer_json_done) json_t *json = NULL;
	struct mer_limits got;
	ck_assert_int_eq(mer_json_parse("x", text, strlen(text), &json, NULL), MER_OK);
	ck_assert_int_eq(mer_limits_read(json, &got, NULL), MER_OK);
	ck_assert_mem_eq(&got, &want, sizeof got);
}
END_TEST

static const char *const odd[] = {
	"{\"memory\":\"1GiB\"}", "{\"memory\":1.5}",      "{\"memory\":10}",   "{\"memory\":true}",
	"{\"nice\":99}",         "{\"isolate\":1}",       "{\"cpu_time\":-1}", "{\"processes\":null}",
	"{\"open_files\":[]}",   "{\"cpus_permille\":1}",
};

START_TEST(refuses_odd_documents)
{
	MER_AUTO(mer_json_done) json_t *json = NULL, *shown = NULL;
	struct mer_limits got = { .nice = 1 };
	ck_assert_int_eq(mer_json_parse("x", odd[_i], strlen(odd[_i]), &json, NULL), MER_OK);
	ck_assert_int_eq(mer_limits_read(json, &got, NULL), MER_EINPUT);
	ck_assert_int_eq(got.nice, 1);
	ck_assert_int_eq(mer_limits_show(json, &shown, NULL), MER_EINPUT);
	ck_assert_ptr_null(shown);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("meal_limits");
	TCase *tc = tcase_create("limits");
	tcase_add_loop_test(tc, sets_limits, 0, N_ROWS(settings));
	tcase_add_test(tc, reads_limits);
	tcase_add_loop_test(tc, refuses_odd_documents, 0, N_ROWS(odd));
	suite_add_tcase(suite, tc);
	return suite;
}
