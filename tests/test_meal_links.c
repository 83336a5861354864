/* When supervisors are opened ahead of need: not while a run that has one is under way, at once where a run has
 * to wait for its own, and never more than there ought to be. */
#include "links.h"

#include "check_main.h"

#include <mer/remote.h>
#include <stdlib.h>
#include <uv.h>

static struct remote_spare *made[10];
static size_t n_made;
static const struct mer_remote one = { .server = "one" }, two = { .server = "two" };

/* What links.c has of others. */

enum mer_status remote_spare_new(struct uv_loop_s *loop, const struct mer_remote *remote,
                                 struct mer_links *links, struct remote_spare **out,
                                 struct mer_error *err)
{
	(void)loop, (void)err;
	struct remote_spare *spare = calloc(1, sizeof *spare);
	ck_assert_ptr_nonnull(spare);
	ck_assert_uint_lt(n_made, sizeof made / sizeof *made);
	spare->links = links;
	spare->remote = remote;
	spare->waits = true;
	made[n_made++] = *out = spare;
	return MER_OK;
}

bool remote_spare_lives(struct remote_spare *spare)
{
	return spare->waits;
}

void remote_spare_close(struct remote_spare *spare)
{
	links_gone(spare);
}

bool mer_remote_same(const struct mer_remote *a, const struct mer_remote *b)
{
	return a == b;
}

enum mer_status mer_remote_copy(const struct mer_remote *remote, struct mer_remote **out,
                                struct mer_error *err)
{
	(void)err;
	*out = (struct mer_remote *)(uintptr_t)remote;
	return MER_OK;
}

void mer_remote_free(struct mer_remote *remote)
{
	(void)remote;
}

/* --- fixture ------------------------------------------------------------------------------------ */

static uv_loop_t loop;
static struct mer_links *links;
static uv_timer_t keep; /* timers of links do not keep the loop */

static void on_keep(uv_timer_t *timer)
{
	(void)timer;
}

static void setup(void)
{
	n_made = 0;
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_int_eq(mer_links_new(&loop, &links, NULL), MER_OK);
	ck_assert_int_eq(uv_timer_init(&loop, &keep), 0);
	ck_assert_int_eq(uv_timer_start(&keep, on_keep, 60000, 0), 0);
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static void teardown(void)
{
	bool closed = false;
	mer_links_close(links, on_closed, &closed);
	uv_close((uv_handle_t *)&keep, NULL);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert(closed);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	for (size_t i = 0; i < n_made; i++)
		free(made[i]);
}

/* Waits for so many; the test has a deadline. */
static void await_made(size_t n)
{
	while (n_made < n)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_uint_eq(n_made, n);
}

/* A run that gets what waits, or waits for its own. */
static struct remote_spare *begin(const struct mer_remote *remote)
{
	struct remote_spare *spare = links_spare(links, remote);
	if (spare != NULL)
		links_take(spare);
	links_used(links, remote, spare != NULL);
	return spare;
}

static void end(struct remote_spare *spare, const struct mer_remote *remote)
{
	links_free_again(links, remote);
	if (spare != NULL)
		links_gone(spare);
}

/* --- tests -------------------------------------------------------------------------------------- */

START_TEST(opens_none_for_one_run)
{
	end(begin(&one), &one);
	ck_assert_uint_eq(n_made, 0);
}
END_TEST

START_TEST(opens_one_behind_the_first)
{
	end(begin(&one), &one);
	await_made(1);
	ck_assert_ptr_null(links_spare(links, &two));
	ck_assert_ptr_eq(links_spare(links, &one), made[0]);
}
END_TEST

START_TEST(disturbs_no_run_that_has_one)
{
	end(begin(&one), &one);
	await_made(1);
	struct remote_spare *spare = begin(&one);
	ck_assert_ptr_eq(spare, made[0]);
	ck_assert_uint_eq(n_made, 1);
	end(spare, &one);
	ck_assert_uint_eq(n_made, 1);
	await_made(2);
}
END_TEST

/* One that goes on keeps nobody waiting. */
START_TEST(opens_one_beside_a_long_run)
{
	end(begin(&one), &one);
	await_made(1);
	struct remote_spare *spare = begin(&one);
	await_made(2);
	end(spare, &one);
	ck_assert_ptr_eq(links_spare(links, &one), made[1]);
}
END_TEST

/* As many as were lacking, but three at most. */
START_TEST(opens_more_where_there_are_too_few)
{
	struct remote_spare *taken[10] = { NULL };
	size_t n = 0;
	end(begin(&one), &one);
	await_made(1);
	taken[n++] = begin(&one);
	ck_assert_ptr_null(begin(&one));
	ck_assert_uint_eq(n_made, 3); /* at once: that run waits anyway */
	while (links_spare(links, &one) != NULL)
		taken[n++] = begin(&one);
	ck_assert_uint_eq(n_made, 3);
	ck_assert_ptr_null(begin(&one));
	ck_assert_uint_eq(n_made, 6);
	links_used(links, &one, false);
	ck_assert_uint_eq(n_made, 6);
	ck_assert_ptr_null(links_spare(links, &two));
	for (size_t i = 0; i < n; i++)
		links_gone(taken[i]);
}
END_TEST

Suite *suite(void)
{
	Suite *all = suite_create("links");
	TCase *spares = tcase_create("spares");
	tcase_add_checked_fixture(spares, setup, teardown);
	tcase_set_timeout(spares, 30);
	tcase_add_test(spares, opens_none_for_one_run);
	tcase_add_test(spares, opens_one_behind_the_first);
	tcase_add_test(spares, disturbs_no_run_that_has_one);
	tcase_add_test(spares, opens_one_beside_a_long_run);
	tcase_add_test(spares, opens_more_where_there_are_too_few);
	suite_add_tcase(all, spares);
	return all;
}
