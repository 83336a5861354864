/* Two outputs beside each other: what is the same, and what is shown of what is not. */
#include "check_main.h"

#include <mer/compare.h>
#include <string.h>

static struct mer_str view(const char *text)
{
	return (struct mer_str){ text, strlen(text) };
}

static const struct {
	const char *before, *now;
	double tolerance;
	bool same;
} same_rows[] = {
	{ "", "", 0, true },
	{ "a", "b", 1, false },
	{ "a", "a\n", 1, false },
	{ "1", "1.0", 0, true },
	{ "1", "1.0", MER_COMPARE_EXACT, false },
	{ "1", "2", 1, true },
	{ "1", "2.1", 1, false },
	{ "-1", "1", 1.9, false },
	{ "-1", "1", 2, true },
	{ "+1", "1", 0, true },
	{ "0", "0.001", 0.001, true },
	{ "0", "0.0011", 0.001, false },
	{ "1000", "1001", 0.001, true },
	{ "1000", "1002", 0.001, false },
	{ "1e3", "1000", 0, true },
	{ "1e-3", "0.001", 0, true },
	{ "1E+3", "1000.", 0, true },
	{ ".5", "0.5", 0, true },
	{ "5.", "5", 0, true },
	{ ".", ".", 0, true },
	{ ".", "0", 1, false },
	{ "1e", "1f", 1, false },
	{ "nan", "NaN", 0, true },
	{ "nan", "1", 1e300, false },
	{ "inf", "Infinity", 0, true },
	{ "inf", "-inf", 1e300, false },
	{ "inf", "1", 1e300, false },
	{ "info", "info", 0, true },
	{ "info", "nano", 9, false },
	{ "x1", "x2", 9, false },
	{ "x_1", "x_2", 9, false },
	{ "1x", "2x", 9, false },
	{ "0x10", "0x11", 9, false },
	{ "1.2.3", "1.2.4", 9, false },
	{ "v1.2", "v1.3", 9, false },
	{ "\xc3\xa9"
	  "1",
	  "\xc3\xa9"
	  "2",
	  9, false },
	{ "1-2", "1-3", 1, true },
	{ "1,2;3", "1.1,2.1;3.1", 0.2, true },
	{ "[1, 2]", "[1,  2]", 0, true },
	{ "[1. 2.]", "[ 1.  2.]", 0, true },
	{ "[1 2]", "[12]", 99, false },
	{ "a b", "a  b", 9, false },
	{ "1\n2", "1\n\n2", 9, false },
	{ "1 \n", "1\n", 9, false },
	{ "{\"a\":0.1}", "{\"a\":0.10000001}", 1e-6, true },
	{ "1 2", "1 2 3", 9, false },
	{ "1234567890123456789012345678901234567890123456789012345678901234567890",
	  "1234567890123456789012345678901234567890123456789012345678901234567891", 9, false },
	{ "\xff 1", "\xff 1.0", 9, false }, /* no text */
};

START_TEST(knows_the_same)
{
	const struct mer_str before = view(same_rows[_i].before), now = view(same_rows[_i].now);
	ck_assert_msg(mer_compare_same(before, now, same_rows[_i].tolerance) == same_rows[_i].same,
	              "row %d '%s' '%s'", _i, before.ptr, now.ptr);
	ck_assert_msg(mer_compare_same(before, before, same_rows[_i].tolerance), "row %d", _i);
}
END_TEST

static const struct {
	const char *text;
	enum mer_status want;
	double value;
} tolerance_rows[] = {
	{ "0", MER_OK, 0 },         { "1e-6", MER_OK, 1e-6 }, { ".5", MER_OK, 0.5 },
	{ "", MER_EINPUT, 7 },      { "-1", MER_EINPUT, 7 },  { "nan", MER_EINPUT, 7 },
	{ "inf", MER_EINPUT, 7 },   { " 1", MER_EINPUT, 7 },  { "1 ", MER_EINPUT, 7 },
	{ "1e999", MER_EINPUT, 7 },
};

START_TEST(reads_a_tolerance)
{
	double value = 7;
	enum mer_status st = mer_compare_parse("x", tolerance_rows[_i].text, &value, NULL);
	ck_assert_msg(st == tolerance_rows[_i].want && !(value < tolerance_rows[_i].value) &&
	                  !(value > tolerance_rows[_i].value),
	              "row %d '%s'", _i, tolerance_rows[_i].text);
}
END_TEST

static const struct {
	const char *before, *now;
	double tolerance;
	const char *want;
} show_rows[] = {
	{ "a\n", "b\n", MER_COMPARE_EXACT, "--- before\n+++ now\n@@ -1 +1 @@\n-a\n+b\n" },
	{ "a\n", "", MER_COMPARE_EXACT, "--- before\n+++ now\n@@ -1 +0,0 @@\n-a\n" },
	{ "", "a", MER_COMPARE_EXACT,
	  "--- before\n+++ now\n@@ -0,0 +1 @@\n+a\n\\ No newline at end of file\n" },
	{ "a", "a\n", MER_COMPARE_EXACT,
	  "--- before\n+++ now\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n" },
	{ "1\n2\n", "1.1\n3\n", 0.2, "--- before\n+++ now\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n" },
	{ "a\nb\nc\nd\ne\nf\ng\nh\ni\n", "a\nb\nc\nd\nf\ng\nh\ni\n", MER_COMPARE_EXACT,
	  "--- before\n+++ now\n@@ -2,7 +2,6 @@\n b\n c\n d\n-e\n f\n g\n h\n" },
	{ "\xff", "\xff\xfe", MER_COMPARE_EXACT,
	  "bytes differ from offset 1 on; 1 before, 2 now\n-00000000  ff\n+00000000  ff fe\n" },
};

START_TEST(shows_what_differs)
{
	struct mer_buf out;
	mer_buf_init(&out, 1 << 20);
	mer_compare_show(view(show_rows[_i].before), view(show_rows[_i].now), show_rows[_i].tolerance,
	                 &out);
	ck_assert_int_eq(mer_buf_check(&out, NULL), MER_OK);
	ck_assert_str_eq(out.ptr, show_rows[_i].want);
	mer_buf_release(&out);
}
END_TEST

/* More lines than are matched one by one are replaced whole, and soon. */
START_TEST(shows_many_lines)
{
	struct mer_buf before, now, out;
	mer_buf_init(&before, PTRDIFF_MAX);
	mer_buf_init(&now, PTRDIFF_MAX);
	mer_buf_init(&out, PTRDIFF_MAX);
	for (int i = 0; i < 50000; i++) {
		mer_buf_printf(&before, "before %d\n", i);
		mer_buf_printf(&now, "now %d\n", i);
	}
	mer_compare_show((struct mer_str){ before.ptr, before.len },
	                 (struct mer_str){ now.ptr, now.len }, MER_COMPARE_EXACT, &out);
	ck_assert_int_eq(mer_buf_check(&out, NULL), MER_OK);
	ck_assert_ptr_nonnull(strstr(out.ptr, "\n@@ -1,50000 +1,50000 @@\n-before 0\n"));
	ck_assert_ptr_nonnull(strstr(out.ptr, "\n+now 49999\n"));
	mer_buf_release(&before);
	mer_buf_release(&now);
	mer_buf_release(&out);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("base_compare");
	TCase *tc = tcase_create("compare");
	tcase_add_loop_test(tc, knows_the_same, 0, N_ROWS(same_rows));
	tcase_add_loop_test(tc, reads_a_tolerance, 0, N_ROWS(tolerance_rows));
	tcase_add_loop_test(tc, shows_what_differs, 0, N_ROWS(show_rows));
	tcase_add_test(tc, shows_many_lines);
	suite_add_tcase(s, tc);
	return s;
}
