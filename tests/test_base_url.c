/* Passwords in URLs: out of what is shown, and blotted in arguments. */
#include "check_main.h"

#include <mer/url.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *url, *want;
} hidden_rows[] = {
	{ "", "" },
	{ "postgres:", "postgres:" },
	{ "sqlite:/a/b:c@d.db", "sqlite:/a/b:c@d.db" },
	{ "postgres://h:5432/db?sslmode=require", "postgres://h:5432/db?sslmode=require" },
	{ "postgres://u@h/db", "postgres://u@h/db" },
	{ "postgres://u:s3cret@h:1/db", "postgres://u@h:1/db" },
	{ "postgres://u:@h/db", "postgres://u@h/db" },
	{ "postgres://:s3cret@h/db", "postgres://@h/db" },
	{ "postgres://u:s3?cret@h/db", "postgres://u@h/db" },
	{ "postgres://u:s3?a=s3cret&b@h/db?c=d", "postgres://u@h/db?c=d" },
	{ "postgres://u:s3#cret@h/db", "postgres://u@h/db" },
	{ "postgres://u:s3:cret@h/db", "postgres://u@h/db" },
	{ "postgres://u:s3@cret@h/db", "postgres://u@h/db" },
	{ "postgres://u:s3?cret@/db?host=h", "postgres://u@/db?host=h" },
	{ "postgres://u?x:s3cret@h", "postgres://u?x@h" },
	{ "postgres://h:1/db?user=a@b", "postgres://h:1/db?user=a@b" },
	{ "postgres://h/db?password=s3cret", "postgres://h/db" },
	{ "postgres://h/db?a=b&password=s3cret&c=d", "postgres://h/db?a=b&c=d" },
	{ "postgres://h/db?PassWord=s3cret&c=d", "postgres://h/db?c=d" },
	{ "postgres://h/db?sslpassword=s3cret", "postgres://h/db" },
	{ "postgres://h/db?pass%77ord=s3cret&c=d", "postgres://h/db?c=d" },
	{ "postgres://h/db?%70assword=s3cret", "postgres://h/db" },
	{ "postgres://h/db#password=s3cret", "postgres://h/db" },
	{ "postgres://h/db?a=b#s3cret", "postgres://h/db?a=b" },
	{ "postgres:///?password=s3cret", "postgres:///" },
	{ "postgres//u:s3cret@h/db", "postgres//u@h/db" },
};

START_TEST(hides)
{
	char url[100];
	(void)snprintf(url, sizeof url, "%s", hidden_rows[_i].url);
	mer_url_hide(url);
	ck_assert_msg(strcmp(url, hidden_rows[_i].want) == 0, "row %d '%s': '%s'", _i,
	              hidden_rows[_i].url, url);
}
END_TEST

static const struct {
	const char *text, *want;
} blotted_rows[] = {
	{ "", "" },
	{ "sqlite:/a/b@c.db", "sqlite:/a/b@c.db" },
	{ "postgres://h:5432/db?sslmode=require", "postgres://h:5432/db?sslmode=require" },
	{ "postgres://u@h/db?a=b", "postgres://u@h/db?a=b" },
	{ "postgres://u:s3cret@h/db", "postgres://u:xxxxxx@h/db" },
	{ "--database=postgres://u:s3cret@h/db", "--database=postgres://u:xxxxxx@h/db" },
	{ "postgres://u:s?c@h/db", "postgres://u:xxx@h/db" },
	{ "postgres://u:s/c@h/db", "postgres://u:xxx@h/db" },
	{ "postgres://u:s//c@h/db", "postgres://u:xxxx@h/db" },
	{ "postgres://u:s#c@h/db", "postgres://u:xxx@h/db" },
	{ "postgres://u:s c@h/db", "postgres://u:xxx@h/db" },
	{ "postgres://u:s@c@h/db", "postgres://u:xxx@h/db" },
	{ "postgres://h/db?password=s3c&a=b", "postgres://h/db?password=xxx&a=b" },
	{ "postgres://h/db?a=b&PASSWORD=s3c", "postgres://h/db?a=b&PASSWORD=xxx" },
	{ "postgres://h/db?a=b&pass%77ord=s=c", "postgres://h/db?a=b&pass%77ord=xxx" },
	{ "postgres://h/db#password=s3c", "postgres://h/db#password=xxx" },
	{ "postgres:password=s3c", "postgres:password=xxx" },
	{ "db copy --from postgres://u:s3c@h/a --to postgres://v:s3c@i/b",
	  "db copy --from postgres://u:xxxxxxxxxxxxxxxxxxxxxxxxxxxxx@i/b" },
	{ "db copy --to 'postgres://h/a?password=s c'", "db copy --to 'postgres://h/a?password=xxxx" },
};

START_TEST(blots)
{
	char text[100];
	(void)snprintf(text, sizeof text, "%s", blotted_rows[_i].text);
	mer_url_blot(text);
	ck_assert_msg(strcmp(text, blotted_rows[_i].want) == 0, "row %d '%s': '%s'", _i,
	              blotted_rows[_i].text, text);
}
END_TEST

START_TEST(arguments_are_blotted_and_read)
{
	char program[] = "mer", plain[] = "run", url[] = "postgres://u:s3c@h/db";
	char *argv[] = { program, plain, url, NULL };
	ck_assert_int_eq(mer_url_blot_args(3, argv, NULL), MER_OK);
	ck_assert_str_eq(url, "postgres://u:xxx@h/db");
	ck_assert_ptr_eq(argv[1], plain);
	ck_assert_str_eq(argv[2], "postgres://u:s3c@h/db");
	free(argv[2]);
}
END_TEST

Suite *suite(void)
{
	Suite *url = suite_create("url");
	TCase *passwords = tcase_create("passwords");
	tcase_add_loop_test(passwords, hides, 0, N_ROWS(hidden_rows));
	tcase_add_loop_test(passwords, blots, 0, N_ROWS(blotted_rows));
	tcase_add_test(passwords, arguments_are_blotted_and_read);
	suite_add_tcase(url, passwords);
	return url;
}
