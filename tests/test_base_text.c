/* Numbers, durations, sizes, times and names. */
#include "check_main.h"

#include <mer/text.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* In all tables -1 is what is left alone by a failure. */

static const struct {
	const char *text;
	enum mer_status want;
	int64_t want_number;
} number_rows[] = {
	{ "0", MER_OK, 0 },
	{ "-0", MER_OK, 0 },
	{ "42", MER_OK, 42 },
	{ "-42", MER_OK, -42 },
	{ "007", MER_OK, 7 },
	{ "9223372036854775807", MER_OK, INT64_MAX },
	{ "-9223372036854775808", MER_OK, INT64_MIN },
	{ "9223372036854775808", MER_ELIMIT, -1 },
	{ "-9223372036854775809", MER_ELIMIT, -1 },
	{ "99999999999999999999999999999999999999999999999", MER_ELIMIT, -1 },
	{ "99999999999999999999999999999999999999999999999x", MER_EINPUT, -1 },
	{ "", MER_EINPUT, -1 },
	{ "-", MER_EINPUT, -1 },
	{ "--1", MER_EINPUT, -1 },
	{ "+1", MER_EINPUT, -1 },
	{ " 1", MER_EINPUT, -1 },
	{ "1 ", MER_EINPUT, -1 },
	{ "1.0", MER_EINPUT, -1 },
	{ "0x10", MER_EINPUT, -1 },
	{ "1e3", MER_EINPUT, -1 },
	{ "\xD9\xA1", MER_EINPUT, -1 },
};

START_TEST(parses_number)
{
	int64_t number = -1;
	enum mer_status got = mer_parse_i64(number_rows[_i].text, &number, NULL);
	ck_assert_msg(got == number_rows[_i].want && number == number_rows[_i].want_number,
	              "row %d '%s': status %d, %lld", _i, number_rows[_i].text, (int)got,
	              (long long)number);
}
END_TEST

static const struct {
	const char *text;
	enum mer_status want;
	int64_t want_ms;
} duration_rows[] = {
	{ "250", MER_OK, 250 },
	{ "0", MER_OK, 0 },
	{ "250ms", MER_OK, 250 },
	{ "30s", MER_OK, 30000 },
	{ "5m", MER_OK, 300000 },
	{ "2h", MER_OK, 7200000 },
	{ "9223372036854775807ms", MER_OK, INT64_MAX },
	{ "2562047788015h", MER_OK, 2562047788015 * 3600000 },
	{ "2562047788016h", MER_ELIMIT, -1 },
	{ "9223372036854775807m", MER_ELIMIT, -1 },
	{ "9223372036854775808", MER_ELIMIT, -1 },
	{ "", MER_EINPUT, -1 },
	{ "s", MER_EINPUT, -1 },
	{ "-5s", MER_EINPUT, -1 },
	{ "5 s", MER_EINPUT, -1 },
	{ "5S", MER_EINPUT, -1 },
	{ "1.5s", MER_EINPUT, -1 },
	{ "5 parsecs", MER_EINPUT, -1 },
	{ "5sec", MER_EINPUT, -1 },
	{ "5mm", MER_EINPUT, -1 },
	{ "1m30s", MER_EINPUT, -1 },
	{ "99999999999999999999 parsecs", MER_EINPUT, -1 },
};

START_TEST(parses_duration)
{
	int64_t ms = -1;
	enum mer_status got = mer_parse_ms(duration_rows[_i].text, &ms, NULL);
	ck_assert_msg(got == duration_rows[_i].want && ms == duration_rows[_i].want_ms,
	              "row %d '%s': status %d, %lld ms", _i, duration_rows[_i].text, (int)got,
	              (long long)ms);
}
END_TEST

static const struct {
	const char *text;
	enum mer_status want;
	int64_t want_bytes;
} size_rows[] = {
	{ "0", MER_OK, 0 },
	{ "17", MER_OK, 17 },
	{ "17B", MER_OK, 17 },
	{ "64KiB", MER_OK, 65536 },
	{ "1MiB", MER_OK, 1048576 },
	{ "3GiB", MER_OK, INT64_C(3221225472) },
	{ "8589934591GiB", MER_OK, INT64_C(8589934591) << 30 },
	{ "8589934592GiB", MER_ELIMIT, -1 },
	{ "64kib", MER_EINPUT, -1 },
	{ "64KB", MER_EINPUT, -1 },
	{ "64K", MER_EINPUT, -1 },
	{ "-1B", MER_EINPUT, -1 },
	{ "1 MiB", MER_EINPUT, -1 },
	{ "", MER_EINPUT, -1 },
};

START_TEST(parses_size)
{
	int64_t bytes = -1;
	enum mer_status got = mer_parse_bytes(size_rows[_i].text, &bytes, NULL);
	ck_assert_msg(got == size_rows[_i].want && bytes == size_rows[_i].want_bytes,
	              "row %d '%s': status %d, %lld bytes", _i, size_rows[_i].text, (int)got,
	              (long long)bytes);
}
END_TEST

START_TEST(parse_errors_say_what_to_do)
{
	struct mer_error err;
	int64_t out;
	ck_assert_int_eq(mer_parse_ms("5 parsecs", &out, &err), MER_EINPUT);
	ck_assert_str_eq(err.message, "not a duration: '5 parsecs'");
	ck_assert_ptr_nonnull(strstr(err.hint, "30s"));
	ck_assert_int_eq(mer_parse_bytes("9999999999GiB", &out, &err), MER_ELIMIT);
	ck_assert_str_eq(err.message, "size too large: '9999999999GiB'");
	ck_assert_int_eq(mer_parse_i64("many", &out, &err), MER_EINPUT);
	ck_assert_str_eq(err.message, "not a whole number: 'many'");
	ck_assert_int_eq(mer_parse_time("tomorrow", &out, &err), MER_EINPUT);
	ck_assert_str_eq(err.message, "not a time: 'tomorrow'");
}
END_TEST

#define SECONDS(n) ((n)*INT64_C(1000))
#define BAD INT64_MIN

static const struct {
	const char *text;
	int64_t want_ms; /* BAD: MER_EINPUT */
} time_rows[] = {
	{ "1970-01-01T00:00:00Z", 0 },
	{ "1970-01-01", 0 },
	{ "1970-01-01T00:00:00.001Z", 1 },
	{ "1969-12-31T23:59:59.999Z", -1 },
	{ "2026-01-31T12:00:00Z", SECONDS(1769860800) },
	{ "2026-01-31t12:00:00z", SECONDS(1769860800) },
	{ "2026-01-31 12:00:00Z", SECONDS(1769860800) },
	{ "2026-01-31T12:00:00.123Z", SECONDS(1769860800) + 123 },
	{ "2026-01-31T12:00:00.1Z", SECONDS(1769860800) + 100 },
	{ "2026-01-31T12:00:00.123999999Z", SECONDS(1769860800) + 123 },
	{ "2026-01-31T12:00:00.00000000000000000000000000000001Z", SECONDS(1769860800) },
	{ "2026-01-31T12:00:00+01:00", SECONDS(1769857200) },
	{ "2026-01-31T12:00:00-05:30", SECONDS(1769880600) },
	{ "2026-01-31T12:00:00-00:00", SECONDS(1769860800) },
	{ "2026-01-31T12:00:00+23:59", SECONDS(1769774460) },
	{ "2026-01-31", SECONDS(1769817600) },
	{ "2024-02-29", SECONDS(1709164800) },
	{ "2000-02-29", SECONDS(951782400) },
	{ "1900-03-01", SECONDS(-2203891200) },
	{ "0001-01-01T00:00:00Z", SECONDS(-62135596800) },
	{ "9999-12-31T23:59:59.999Z", SECONDS(253402300799) + 999 },
	{ "0000-12-31T23:00:00-01:00", SECONDS(-62135596800) },
	{ "2016-12-31T23:59:60Z", SECONDS(1483228800) },
	{ "2016-12-31T23:59:60.5Z", SECONDS(1483228800) },
	{ "2017-01-01T00:59:60+01:00", SECONDS(1483228800) },
	{ "2016-12-31T22:59:60Z", BAD },
	{ "2016-12-31T23:59:61Z", BAD },
	{ "2026-02-29", BAD },
	{ "1900-02-29", BAD },
	{ "2026-04-31", BAD },
	{ "2026-00-10", BAD },
	{ "2026-13-10", BAD },
	{ "2026-01-00", BAD },
	{ "2026-01-32", BAD },
	{ "2026-1-1", BAD },
	{ "26-01-01", BAD },
	{ "2026-01-31T", BAD },
	{ "2026-01-31Z", BAD },
	{ "2026-01-31T12:00Z", BAD },
	{ "2026-01-31T12:00:00", BAD },
	{ "2026-01-31T24:00:00Z", BAD },
	{ "2026-01-31T12:60:00Z", BAD },
	{ "2026-01-31T12:00:00.Z", BAD },
	{ "2026-01-31T12:00:00,5Z", BAD },
	{ "2026-01-31T12:00:00+24:00", BAD },
	{ "2026-01-31T12:00:00+0100", BAD },
	{ "2026-01-31T12:00:00+01:60", BAD },
	{ "2026-01-31T12:00:00Zulu", BAD },
	{ "2026-01-31T12:00:00Z ", BAD },
	{ " 2026-01-31", BAD },
	{ "-2026-01-31", BAD },
	{ "0000-01-01", BAD },
	{ "0001-01-01T00:00:00+00:01", BAD },
	{ "9999-12-31T23:59:59-00:01", BAD },
	{ "12026-01-31", BAD },
	{ "", BAD },
	{ "now", BAD },
};

START_TEST(parses_time)
{
	int64_t ms = BAD;
	enum mer_status got = mer_parse_time(time_rows[_i].text, &ms, NULL);
	enum mer_status want = time_rows[_i].want_ms == BAD ? MER_EINPUT : MER_OK;
	ck_assert_msg(got == want && ms == time_rows[_i].want_ms, "row %d '%s': status %d, %lld ms", _i,
	              time_rows[_i].text, (int)got, (long long)ms);
}
END_TEST

/* What libc makes of it. */
static void reference_text(int64_t ms, char out[64])
{
	time_t seconds = (time_t)(ms / 1000 - (ms % 1000 < 0));
	struct tm tm;
	if (gmtime_r(&seconds, &tm) == NULL)
		ck_abort_msg("gmtime_r of %lld", (long long)seconds);
	(void)snprintf(out, 64, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
	               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
	               (int)(ms - (int64_t)seconds * 1000));
}

static void check_time(int64_t ms)
{
	char got[MER_TIME_SIZE], want[64];
	int64_t back = 0;
	mer_time_text(ms, got);
	reference_text(ms, want);
	/* A ck_assert writes to a file each time, so only failures get there. */
	if (strcmp(got, want) != 0)
		ck_abort_msg("%lld ms: '%s', not '%s'", (long long)ms, got, want);
	if (mer_parse_time(got, &back, NULL) != MER_OK || back != ms)
		ck_abort_msg("'%s': %lld, not %lld", got, (long long)back, (long long)ms);
}

#define TIME_MIN (SECONDS(-62135596800))
#define TIME_MAX (SECONDS(253402300799) + 999)

START_TEST(time_goes_there_and_back)
{
	uint64_t state = 2463534242u;
	for (int i = 0; i < 200000; i++) {
		uint64_t random = (uint64_t)random_below(&state, UINT32_MAX) << 31 | state >> 33;
		check_time(TIME_MIN + (int64_t)(random % (uint64_t)(TIME_MAX - TIME_MIN + 1)));
	}
	/* Around midnight of each day of eight hundred years, and both ends. */
	for (int64_t day = -200000; day < 100000; day++) {
		check_time(day * 86400000);
		check_time(day * 86400000 - 1);
	}
	check_time(TIME_MIN);
	check_time(TIME_MAX);
}
END_TEST

START_TEST(time_beyond_its_years_is_clamped)
{
	char got[MER_TIME_SIZE];
	mer_time_text(INT64_MAX, got);
	ck_assert_str_eq(got, "9999-12-31T23:59:59.999Z");
	mer_time_text(INT64_MIN, got);
	ck_assert_str_eq(got, "0001-01-01T00:00:00.000Z");
}
END_TEST

START_TEST(now_is_now)
{
	int64_t before = (int64_t)time(NULL), now = mer_time_now_ms();
	ck_assert_int_ge(now, before * 1000 - 1000);
	ck_assert_int_le(now, (before + 60) * 1000);
}
END_TEST

static const struct {
	int64_t ms;
	const char *want;
} shown_rows[] = {
	{ 0, "0ms" },
	{ 850, "850ms" },
	{ 999, "999ms" },
	{ 1000, "1s" },
	{ 1049, "1s" },
	{ 1050, "1.1s" },
	{ 1500, "1.5s" },
	{ 30000, "30s" },
	{ 59949, "59.9s" },
	{ 59950, "1m" },
	{ 60000, "1m" },
	{ 90000, "1.5m" },
	{ 720000, "12m" },
	{ 3597000, "1h" },
	{ 3596999, "59.9m" },
	{ 10800000, "3h" },
	{ 360000000, "100h" },
	{ -850, "-850ms" },
	{ -1500, "-1.5s" },
	{ INT64_MAX, "2562047788015.2h" },
	{ INT64_MIN, "-2562047788015.2h" },
};

START_TEST(shows_duration)
{
	char got[24];
	mer_ms_text(shown_rows[_i].ms, got);
	ck_assert_msg(strcmp(got, shown_rows[_i].want) == 0, "row %d %lld ms: '%s', not '%s'", _i,
	              (long long)shown_rows[_i].ms, got, shown_rows[_i].want);
}
END_TEST

static const struct {
	int number;
	const char *want;
} signal_rows[] = {
	{ 11, "SIGSEGV" },     { 9, "SIGKILL" }, { 1, "SIGHUP" }, { 40, "SIGRTMIN+6" },
	{ 64, "SIGRTMIN+30" }, { 32, "SIG32" },  { 99, "SIG99" },
};

START_TEST(names_signal)
{
	char out[MER_SIGNAL_SIZE];
	ck_assert_str_eq(mer_signal_name(signal_rows[_i].number, out), signal_rows[_i].want);
}
END_TEST

#define TEN "abcdefghij"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const struct {
	const char *name, *problem; /* NULL: fine */
} name_rows[] = {
	{ "a", NULL },
	{ "7", NULL },
	{ "Resnet-50_v1.5", NULL },
	{ "a..b", NULL },
	{ HUNDRED TEN TEN "12345678", NULL },
	{ HUNDRED TEN TEN "123456789", "longer than 128" },
	{ "", "empty" },
	{ ".a", "begin" },
	{ "-a", "begin" },
	{ "_a", "begin" },
	{ "a b", "only letters" },
	{ "a/b", "only letters" },
	{ "a\n", "only letters" },
	{ "m\xC3\xBC", "only letters" },
	{ "a@b", "only letters" },
	{ " a", "only letters" },
};

START_TEST(checks_name)
{
	struct mer_error err = { .status = MER_OK };
	enum mer_status got = mer_check_name("model", name_rows[_i].name, &err);
	enum mer_status want = name_rows[_i].problem == NULL ? MER_OK : MER_EINPUT;
	ck_assert_msg(got == want, "row %d '%s': status %d", _i, name_rows[_i].name, (int)got);
	if (name_rows[_i].problem != NULL)
		ck_assert_msg(strstr(err.message, name_rows[_i].problem) != NULL &&
		                  strstr(err.message, "model") != NULL,
		              "row %d '%s': '%s'", _i, name_rows[_i].name, err.message);
}
END_TEST

static const struct {
	const char *a, *b;
	size_t want;
} edit_rows[] = {
	{ "", "", 0 },
	{ "model", "model", 0 },
	{ "", "abc", 3 },
	{ "abc", "", 3 },
	{ "modle", "model", 1 },
	{ "mdoel", "model", 1 },
	{ "modl", "model", 1 },
	{ "models", "model", 1 },
	{ "nodel", "model", 1 },
	{ "ca", "abc", 3 },
	{ "run", "ping", 3 },
	{ "kitten", "sitting", 3 },
	{ "abcdef", "badcfe", 3 },
	{ HUNDRED TEN TEN TEN, "a", 130 },
};

START_TEST(measures_edits)
{
	size_t got = mer_edit_distance(edit_rows[_i].a, edit_rows[_i].b);
	size_t back = mer_edit_distance(edit_rows[_i].b, edit_rows[_i].a);
	ck_assert_msg(got == edit_rows[_i].want && back == got, "row %d '%s' '%s': %zu, %zu back", _i,
	              edit_rows[_i].a, edit_rows[_i].b, got, back);
}
END_TEST

Suite *suite(void)
{
	Suite *text = suite_create("text");
	TCase *numbers = tcase_create("numbers"), *times = tcase_create("times");
	TCase *names = tcase_create("names");
	tcase_add_loop_test(numbers, parses_number, 0, N_ROWS(number_rows));
	tcase_add_loop_test(numbers, parses_duration, 0, N_ROWS(duration_rows));
	tcase_add_loop_test(numbers, parses_size, 0, N_ROWS(size_rows));
	tcase_add_test(numbers, parse_errors_say_what_to_do);
	tcase_add_loop_test(numbers, shows_duration, 0, N_ROWS(shown_rows));
	tcase_add_loop_test(numbers, names_signal, 0, N_ROWS(signal_rows));
	tcase_set_timeout(times, 60);
	tcase_add_loop_test(times, parses_time, 0, N_ROWS(time_rows));
	tcase_add_test(times, time_goes_there_and_back);
	tcase_add_test(times, time_beyond_its_years_is_clamped);
	tcase_add_test(times, now_is_now);
	tcase_add_loop_test(names, checks_name, 0, N_ROWS(name_rows));
	tcase_add_loop_test(names, measures_edits, 0, N_ROWS(edit_rows));
	suite_add_tcase(text, numbers);
	suite_add_tcase(text, times);
	suite_add_tcase(text, names);
	return text;
}
