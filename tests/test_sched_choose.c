/* Which deployment a run goes to, as tables: priorities, health, load, time. */
#include "check_main.h"

#include "choose.h"

#include <stdlib.h>

/* --- health ------------------------------------------------------------------------------- */

static const struct {
	int failures; /* in a row, all at time 10 */
	int64_t took, slowest;
	int64_t shunned_until, start_after;
} health_rows[] = {
	{ 0, 0, CHOOSE_SLOW_MS, 0, 0 },
	{ 1, 0, CHOOSE_SLOW_MS, 1010, 0 },
	{ 2, 0, CHOOSE_SLOW_MS, 2010, 0 },
	{ 3, 0, CHOOSE_SLOW_MS, 4010, 110 },
	{ 3, 0, 0, 4010, 0 },
	{ 4, 0, CHOOSE_SLOW_MS, 8010, 210 },
	{ 7, 0, CHOOSE_SLOW_MS, 60010, 1610 },
	{ 8, 0, CHOOSE_SLOW_MS, 60010, 3210 },
	{ 9, 0, CHOOSE_SLOW_MS, 60010, 6410 },
	{ 5, 0, CHOOSE_SLOW_READY_MS, 16010, 410 },
	{ 9, 0, CHOOSE_SLOW_READY_MS, 60010, 410 },
	{ 1000, 0, CHOOSE_SLOW_MS, 60010, 6410 },
	{ 1000, 0, 0, 60010, 0 },
	{ 1, 99, CHOOSE_SLOW_MS, 1010, 0 },
	{ 1, 101, CHOOSE_SLOW_MS, 1020, 0 },
	{ 2, 120000, CHOOSE_SLOW_MS, 1200010, 0 },
	{ 9, 5999, CHOOSE_SLOW_MS, 60010, 6410 },
	{ 1, INT64_MAX, CHOOSE_SLOW_MS, INT64_MAX / 2 + 10, 0 },
};

START_TEST(learns)
{
	struct choose_health health = { 0 };
	for (int i = 0; i < health_rows[_i].failures; i++)
		choose_failed(&health, 10, health_rows[_i].took, health_rows[_i].slowest);
	ck_assert_msg(health.failures == health_rows[_i].failures &&
	                  health.shunned_until == health_rows[_i].shunned_until &&
	                  health.start_after == health_rows[_i].start_after,
	              "row %d: %d failures, shunned until %lld, start after %lld", _i, health.failures,
	              (long long)health.shunned_until, (long long)health.start_after);
	health.busy_until = 7;
	choose_answered(&health);
	ck_assert_int_eq(7, health.busy_until); /* what it asked for holds for all others */
	ck_assert(health.failures == 0 && health.shunned_until == 0 && health.start_after == 0);
}
END_TEST

/* --- choice ------------------------------------------------------------------------------- */

/* A place as text: priority, then letters: t tried, r ready, c coming, s shunned, d start delayed, b busy;
 * then its load. Time is 100; shunned, delayed and busy are until 200. */
static const struct {
	const char *places[4];
	enum choice want;
	size_t which;
} choice_rows[] = {
	/* one */
	{ { "0r0" }, CHOICE_PLACE, 0 },
	{ { "0c0" }, CHOICE_PLACE, 0 },
	{ { "0-9" }, CHOICE_WAIT, 0 },
	{ { "0sr0" }, CHOICE_PLACE, 0 },
	{ { "0sc0" }, CHOICE_PLACE, 0 },
	{ { "0sdc0" }, CHOICE_WAIT, 0 },
	{ { "0sdr0" }, CHOICE_PLACE, 0 },
	{ { "0tr0" }, CHOICE_NONE, 0 },
	{ { NULL }, CHOICE_NONE, 0 },
	/* by priority: whatever is free elsewhere, and however busy it is */
	{ { "5r0", "-3c9", "0r0" }, CHOICE_PLACE, 1 },
	{ { "1r0", "0-9" }, CHOICE_WAIT, 1 },
	{ { "0r0", "1r0" }, CHOICE_PLACE, 0 },
	/* of one priority: ready before coming before busy, then the least busy, then the first */
	{ { "0c0", "0r3" }, CHOICE_PLACE, 1 },
	{ { "0-0", "0c7" }, CHOICE_PLACE, 1 },
	{ { "0r3", "0r1", "0r2" }, CHOICE_PLACE, 1 },
	{ { "0c3", "0c1", "0c2" }, CHOICE_PLACE, 1 },
	{ { "0r1", "0r1" }, CHOICE_PLACE, 0 },
	{ { "0-3", "0-1" }, CHOICE_WAIT, 1 },
	{ { "0-1", "0r1", "1r0" }, CHOICE_PLACE, 1 },
	/* those that are well come first, others all the same where there is nothing else */
	{ { "0sr0", "9c5" }, CHOICE_PLACE, 1 },
	{ { "0sr0", "9-5" }, CHOICE_WAIT, 1 },
	{ { "0sc0", "9sr0" }, CHOICE_PLACE, 0 },
	{ { "0sdc0", "9sc0" }, CHOICE_PLACE, 1 },
	{ { "0sdc0", "9sdc0" }, CHOICE_WAIT, 0 },
	/* nothing goes where it is busy, worker or not */
	{ { "0br0" }, CHOICE_WAIT, 0 },
	{ { "0br0", "9c5" }, CHOICE_PLACE, 1 },
	{ { "0br0", "9sr5" }, CHOICE_PLACE, 1 },
	{ { "0bc0", "9tr5" }, CHOICE_WAIT, 0 },
	/* not twice to the same */
	{ { "0tr0", "9c5" }, CHOICE_PLACE, 1 },
	{ { "0tr0", "9sc5" }, CHOICE_PLACE, 1 },
	{ { "0tr0", "9sdc5" }, CHOICE_WAIT, 1 },
	{ { "0tr0", "9tr0" }, CHOICE_NONE, 0 },
	{ { "0tr0", "3sr0", "5r0", "4r0" }, CHOICE_PLACE, 3 },
};

static struct choose_place read_place(const char *text)
{
	char *flags;
	struct choose_place place = { .priority = strtol(text, &flags, 10) };
	for (; *flags < '0' || *flags > '9'; flags++) {
		place.tried |= *flags == 't';
		place.ready |= *flags == 'r';
		place.coming |= *flags == 'c';
		place.health.failures += *flags == 's';
		place.health.shunned_until += *flags == 's' ? 200 : 0;
		place.health.start_after += *flags == 'd' ? 200 : 0;
		place.health.busy_until += *flags == 'b' ? 200 : 0;
	}
	place.load = strtoul(flags, NULL, 10);
	return place;
}

START_TEST(chooses)
{
	struct choose_place places[4] = { { .tried = false } };
	size_t n = 0, which = 99;
	while (n < 4 && choice_rows[_i].places[n] != NULL) {
		places[n] = read_place(choice_rows[_i].places[n]);
		n++;
	}
	enum choice got = choose(places, n, 100, &which);
	ck_assert_msg(
		got == choice_rows[_i].want && (got == CHOICE_NONE || which == choice_rows[_i].which),
		"row %d '%s': %d, place %zu", _i, n > 0 ? choice_rows[_i].places[0] : "", (int)got, which);
}
END_TEST

START_TEST(forgives)
{
	struct choose_place places[] = { read_place("0sdc0"), read_place("1r0") };
	size_t which = 99;
	ck_assert_int_eq(choose(places, 2, 199, &which), CHOICE_PLACE);
	ck_assert_uint_eq(which, 1);
	ck_assert_int_eq(choose(places, 2, 200, &which), CHOICE_PLACE);
	ck_assert_uint_eq(which, 0);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("choose");
	TCase *tc = tcase_create("choose");
	tcase_add_loop_test(tc, learns, 0, N_ROWS(health_rows));
	tcase_add_loop_test(tc, chooses, 0, N_ROWS(choice_rows));
	tcase_add_test(tc, forgives);
	suite_add_tcase(suite, tc);
	return suite;
}
