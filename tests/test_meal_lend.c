/* What is sent of files to other hosts: folders as a tar, from anywhere on, and which bytes are still missing. */
#include "bundle.h"
#include "far_room.h"
#include "lend_plan.h"

#include "check_main.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- plans ------------------------------------------------------------------------------------ */

enum { K = 65536, MOST = 4 };

static const struct lend_shares shares = { .channels = MOST, .least = 2 * K };

static const struct {
	const char *parts;
	int64_t size, have;
	const char *plan; /* START+BYTES-END, each followed by a blank */
} plans[] = {
	{ "", 0, 0, "0+0-0 " },
	{ "", 100, 0, "0+0-100 " },
	{ " 0:40\n", 100, 40, "0+40-100 " },
	{ " 0:100\n", 100, 100, "0+100-100 " },
	{ " 0:0\n", 0, 0, "0+0-0 " },
	{ "", 8 * K, 0, "0+0-131072 131072+0-262144 262144+0-393216 393216+0-524288 " },
	{ " 0:65536", 8 * K, K, "0+65536-196608 196608+0-327680 327680+0-524288 " },
	{ " 0:10 131072:20 262144:30", 8 * K, 60, "0+10-131072 131072+20-262144 262144+30-524288 " },
	{ " 131072:20", 8 * K, 20, "0+0-131072 131072+20-524288 " },
	{ " 0:200000 131072:393216", 8 * K, 8 * K, "131072+393216-524288 " }, /* they overlap */
	{ " 0:200000 131072:20", 8 * K, 200000, "0+200000-327680 327680+0-524288 " },
};

START_TEST(plans_what_is_missing)
{
	struct lend_part parts[LEND_PARTS_MAX], plan[MOST];
	char text[400] = "";
	size_t n, len = 0;
	ck_assert(lend_parts_read(plans[_i].parts, plans[_i].size, parts, &n));
	ck_assert_int_eq(lend_parts_have(parts, n), plans[_i].have);
	size_t planned = lend_plan(parts, n, plans[_i].size, &shares, plan);
	for (size_t i = 0; i < planned; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%lld+%lld-%lld ",
		                        (long long)plan[i].start, (long long)plan[i].bytes,
		                        (long long)plan[i].end);
	ck_assert_str_eq(text, plans[_i].plan);
}
END_TEST

static const struct {
	int64_t size, lead, shares[MOST];
} leads[] = {
	{ 40 * K, 0, { 10, 10, 10, 10 } },
	{ 40 * K, 2 * K, { 13, 11, 9, 7 } },
	{ 12 * K, 100 * K, { 4, 4, 2, 2 } }, /* nobody has less than half */
	{ 4 * K, 2 * K, { 3, 1 } },
};

/* Who begins later has less to send. */
START_TEST(shares_out)
{
	struct lend_shares later = shares;
	struct lend_part plan[MOST];
	int64_t at = 0;
	later.lead = leads[_i].lead;
	size_t n = lend_plan(NULL, 0, leads[_i].size, &later, plan);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(plan[i].start, at);
		ck_assert_int_eq(plan[i].end - plan[i].start, leads[_i].shares[i] * K);
		at = plan[i].end;
	}
	ck_assert_int_eq(at, leads[_i].size);
}
END_TEST

/* Whatever is sent and however much of it arrives: in the end all bytes are there. */
START_TEST(comes_to_an_end)
{
	enum { SIZE = 40 * K + 7, ROUNDS = 1000 };
	static bool have[SIZE];
	struct lend_part parts[LEND_PARTS_MAX] = { { 0 } }, plan[MOST];
	size_t n = 0, rounds = 0;
	unsigned seed = (unsigned)_i;
	memset(have, 0, sizeof have);
	while (lend_parts_have(parts, n) < SIZE && rounds++ < ROUNDS) {
		size_t planned = lend_plan(parts, n, SIZE, &shares, plan);
		for (size_t i = 0; i < planned; i++) {
			int64_t left = plan[i].end - plan[i].start - plan[i].bytes;
			int64_t comes = rand_r(&seed) % 3 == 0 ? left : rand_r(&seed) % (left + 1);
			memset(have + plan[i].start + plan[i].bytes, true, (size_t)comes);
			size_t at = 0;
			while (at < n && parts[at].start < plan[i].start)
				at++;
			if (at == n || parts[at].start != plan[i].start) {
				memmove(parts + at + 1, parts + at, (n++ - at) * sizeof *parts);
				parts[at] = (struct lend_part){ .start = plan[i].start };
			}
			ck_assert_int_eq(parts[at].bytes, plan[i].bytes);
			parts[at].bytes += comes;
		}
	}
	ck_assert_uint_lt(rounds, ROUNDS);
	ck_assert_ptr_null(memchr(have, false, sizeof have));
}
END_TEST

static const char *const odd_parts[] = {
	" 0",       " x:1",     " 0:1x", "0:1",   " 0:101", " 101:0",
	" 1:2 0:3", " 0:1 0:1", " 0:-1", " -1:1", " 0: 1",  " 0:99999999999999999999"
};

START_TEST(refuses_what_is_no_list)
{
	struct lend_part parts[LEND_PARTS_MAX];
	size_t n;
	ck_assert(!lend_parts_read(odd_parts[_i], 100, parts, &n));
}
END_TEST

/* --- bundles ---------------------------------------------------------------------------------- */

static char folder[] = "/tmp/mer-lend-XXXXXX";

static void run(const char *command)
{
	MER_AUTO(mer_text_done) char *line = mer_text_new("cd %s && %s", folder, command);
	ck_assert_ptr_nonnull(line);
	ck_assert_int_eq(system(line), 0); /* NOLINT(cert-env33-c) */
}

static void set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void tear_down(void)
{
	run("rm -rf \"$PWD\"");
	strcpy(folder, "/tmp/mer-lend-XXXXXX");
}

static char *read_all(struct bundle *bundle, size_t step)
{
	size_t size = (size_t)bundle_size(bundle);
	char *bytes = malloc(size + 1);
	ck_assert_ptr_nonnull(bytes);
	for (size_t at = 0; at < size; at += step) {
		size_t n = size - at < step ? size - at : step;
		ck_assert_int_eq(bundle_read(bundle, (int64_t)at, bytes + at, n, NULL), MER_OK);
	}
	return bytes;
}

/* tar makes the same folder of it, and it is the same however it is read. */
START_TEST(is_a_tar)
{
	run("mkdir -p in/a/b out && echo one >in/a/b/one && : >in/empty && head -c 5000 /dev/urandom >in/big && "
	    "chmod 700 in/big && echo linked >elsewhere && ln -s ../elsewhere in/link && "
	    "d=in/$(printf '%0200d' 0) && mkdir $d && echo deep >$d/$(printf '%0150d' 1) && "
	    "echo x >in/$(printf '%0100d' 2) && echo y >in/$(printf '%099d' 3) && "
	    "echo q >\"in/it's \\\"odd\\\"\"");
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s/in", folder);
	MER_AUTO(mer_text_done) char *tar = mer_text_new("%s/tar", folder);
	struct bundle *bundle;
	ck_assert_int_eq(bundle_open(path, false, &bundle, NULL), MER_OK);
	ck_assert(bundle_is_folder(bundle));
	char *bytes = read_all(bundle, 1 << 20);
	for (size_t step = 1; step < 3000; step += 977) {
		char *same = read_all(bundle, step);
		ck_assert_mem_eq(bytes, same, (size_t)bundle_size(bundle));
		free(same);
	}
	FILE *file = fopen(tar, "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, (size_t)bundle_size(bundle), file),
	                  (size_t)bundle_size(bundle));
	ck_assert_int_eq(fclose(file), 0);
	run("tar -C out -xf tar 2>warnings && test ! -s warnings");
	run("rm in/link && cp elsewhere in/link && diff -r in out && test -x out/big && test ! -x out/empty");
	free(bytes);
	bundle_free(bundle);
}
END_TEST

START_TEST(is_a_file)
{
	run("printf hello >file");
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s/file", folder);
	struct bundle *bundle;
	ck_assert_int_eq(bundle_open(path, false, &bundle, NULL), MER_OK);
	ck_assert(!bundle_is_folder(bundle));
	ck_assert_int_eq(bundle_size(bundle), 5);
	char *bytes = read_all(bundle, 2), more[5];
	ck_assert_mem_eq(bytes, "hello", 5);
	run("printf hell >file");
	ck_assert_int_eq(bundle_read(bundle, 0, more, 5, NULL), MER_ECONFLICT);
	free(bytes);
	bundle_free(bundle);
	ck_assert_int_eq(bundle_open("/nonexistent", false, &bundle, NULL), MER_ENOTFOUND);
}
END_TEST

/* --- folders of workers ----------------------------------------------------------------------- */

START_TEST(settles_a_folder)
{
	char text[] = "a " MER_FAR_FOLDER "/0/x:" MER_FAR_FOLDER " /tmp/mer-0";
	char name[FAR_ROOM_END], other[FAR_ROOM_END];
	ck_assert_int_eq(far_room_name(name, NULL), MER_OK);
	ck_assert_int_eq(far_room_name(other, NULL), MER_OK);
	ck_assert_str_ne(name, other);
	ck_assert_uint_eq(strspn(name, "0123456789abcdef"), FAR_ROOM_END - 1);
	far_room_fill(text, "0123456789abcdef0123456789abcdef");
	ck_assert_str_eq(text, "a /tmp/mer-0123456789abcdef0123456789abcdef/0/x:"
	                       "/tmp/mer-0123456789abcdef0123456789abcdef /tmp/mer-0");
}
END_TEST

Suite *suite(void)
{
	Suite *lend = suite_create("lend");
	TCase *pure = tcase_create("pure"), *files = tcase_create("files");
	tcase_add_loop_test(pure, plans_what_is_missing, 0, N_ROWS(plans));
	tcase_add_loop_test(pure, shares_out, 0, N_ROWS(leads));
	tcase_add_loop_test(pure, comes_to_an_end, 0, 100);
	tcase_add_loop_test(pure, refuses_what_is_no_list, 0, N_ROWS(odd_parts));
	tcase_add_test(pure, settles_a_folder);
	tcase_add_checked_fixture(files, set_up, tear_down);
	tcase_set_timeout(files, 120);
	tcase_add_test(files, is_a_tar);
	tcase_add_test(files, is_a_file);
	suite_add_tcase(lend, pure);
	suite_add_tcase(lend, files);
	return lend;
}
