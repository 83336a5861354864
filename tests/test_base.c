/* Errors, the sticky buffer, the log, uids and SHA-256. */
#include "check_main.h"

#include <errno.h>
#include <mer/buf.h>
#include <mer/clean.h>
#include <mer/hash.h>
#include <mer/log.h>
#include <mer/text.h>
#include <mer/uid.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Errors. */

static const struct {
	const char *given, *want;
} message_rows[] = {
	{ "no such model: 'x'", "no such model: 'x'" },
	{ "", "" },
	{ "a\nb\tc\x1b[31md\x7f", "a?b?c?[31md?" },
	{ "Z\xC3\xBCrich", "Z\xC3\xBCrich" },
	{ "C1 \xC2\x9B end", "C1 ? end" },
	{ "bad \xFF\xC3 end", "bad ?? end" },
	{ "cut \xE2\x82", "cut " },
};

START_TEST(message_is_one_line)
{
	struct mer_error err;
	enum mer_status st = mer_fail(&err, MER_EIO, "%s", message_rows[_i].given);
	ck_assert_msg(st == MER_EIO && err.status == MER_EIO && err.hint[0] == '\0' &&
	                  strcmp(err.message, message_rows[_i].want) == 0,
	              "row %d: status %d, '%s'", _i, (int)err.status, err.message);
}
END_TEST

START_TEST(message_is_cut_between_characters)
{
	char text[1200];
	size_t len = 0;
	for (; len < 509; len++)
		text[len] = 'a';
	for (; len + 3 < sizeof text; len += 3)
		memcpy(text + len, "\xE2\x82\xAC", 3);
	text[len] = '\0';
	struct mer_error err;
	ck_assert_int_eq(mer_fail(&err, MER_EINPUT, "%s", text), MER_EINPUT);
	ck_assert_uint_eq(strlen(err.message), 509);

	ck_assert_int_eq(mer_fail(&err, MER_EINPUT, "%s", text + 500), MER_EINPUT);
	ck_assert_uint_eq(strlen(err.message), 9 + 167 * 3);
	ck_assert_int_eq(mer_wrap(&err, MER_EINPUT, "x"), MER_EINPUT);
	ck_assert_uint_eq(strlen(err.message), 3 + 9 + 166 * 3);
	ck_assert_int_eq(mer_wrap(&err, MER_EINPUT, "%s", text), MER_EINPUT);
	ck_assert_uint_eq(strlen(err.message), 511);
	ck_assert_int_eq(err.message[510], ' ');
}
END_TEST

START_TEST(arguments_may_be_the_error_itself)
{
	struct mer_error err;
	(void)mer_fail(&err, MER_EIO, "first");
	mer_hint(&err, "a hint");
	(void)mer_fail(&err, MER_EINPUT, "<%s|%s>", err.message, err.hint);
	ck_assert_str_eq(err.message, "<first|a hint>");
	ck_assert_str_eq(err.hint, "");
	mer_hint(&err, "see %s", err.message);
	mer_hint(&err, "%s!", err.hint);
	ck_assert_str_eq(err.hint, "see <first|a hint>!");
	(void)mer_wrap(&err, MER_EMODEL, "again %s", err.message);
	ck_assert_str_eq(err.message, "again <first|a hint>: <first|a hint>");
	ck_assert_str_eq(err.hint, "see <first|a hint>!");
	ck_assert_int_eq(err.status, MER_EMODEL);
}
END_TEST

START_TEST(error_may_be_missing)
{
	ck_assert_int_eq(mer_fail(NULL, MER_EBUSY, "x"), MER_EBUSY);
	ck_assert_int_eq(mer_wrap(NULL, MER_EBUSY, "x"), MER_EBUSY);
	mer_hint(NULL, "x");
}
END_TEST

START_TEST(failing_leaves_errno)
{
	struct mer_error err;
	errno = EPIPE;
	(void)mer_fail(&err, MER_EIO, "%s %d", strerror(errno), 12);
	(void)mer_wrap(&err, MER_EIO, "cannot write");
	ck_assert_int_eq(errno, EPIPE);
	ck_assert_str_eq(err.message, "cannot write: Broken pipe 12");
}
END_TEST

START_TEST(each_status_has_a_name)
{
	for (int i = 0; i < MER_STATUS_COUNT; i++)
		ck_assert_msg(mer_status_name((enum mer_status)i)[0] != '\0', "status %d", i);
	ck_assert_str_eq(mer_status_name(MER_ENOTFOUND), "not found");
	ck_assert_str_eq(mer_status_name(MER_STATUS_COUNT), "unknown");
}
END_TEST

START_TEST(defect_is_one_line_and_exit_70)
{
	int ends[2], status;
	ck_assert_int_eq(pipe(ends), 0);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		(void)dup2(ends[1], STDERR_FILENO);
		MER_ASSERT(child != 0);
		_exit(0);
	}
	(void)close(ends[1]);
	char text[600];
	ssize_t n = read(ends[0], text, sizeof text - 1);
	(void)close(ends[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 70, "status %d", status);
	ck_assert_msg(strstr(text, "child != 0\n") != NULL && strchr(text, '\n') == text + n - 1,
	              "'%s'", text);
}
END_TEST

/* The buffer. */

START_TEST(buffer_grows)
{
	struct mer_buf buf;
	mer_buf_init(&buf, 1u << 20);
	ck_assert_ptr_null(buf.ptr);
	mer_buf_text(&buf, "");
	ck_assert_ptr_null(buf.ptr);
	for (int i = 0; i < 10000; i++) {
		mer_buf_printf(&buf, "%d", i % 10);
		mer_buf_byte(&buf, ' ');
		mer_buf_add(&buf, "\0x", 2);
		mer_buf_text(&buf, "yz");
		ck_assert_int_eq(buf.ptr[buf.len], '\0');
	}
	ck_assert_int_eq(mer_buf_check(&buf, NULL), MER_OK);
	ck_assert_uint_eq(buf.len, 60000);
	ck_assert_int_eq(memcmp(buf.ptr + 59994, "9 \0xyz", 7), 0);
	mer_buf_drop(&buf, 59990);
	ck_assert_int_eq(memcmp(buf.ptr, "\0xyz9 \0xyz", 11), 0);
	mer_buf_clear(&buf);
	ck_assert_str_eq(buf.ptr, "");
	mer_buf_release(&buf);
	ck_assert_ptr_null(buf.ptr);
}
END_TEST

START_TEST(buffer_formats_what_needs_more_room)
{
	struct mer_buf buf;
	mer_buf_init(&buf, 5000);
	for (size_t n = 0; n < 70; n++) {
		mer_buf_clear(&buf);
		mer_buf_printf(&buf, "%0*d", (int)(n * n), 7);
		ck_assert_uint_eq(buf.len, n == 0 ? 1 : n * n);
	}
	mer_buf_printf(&buf, "%0400d", 7);
	ck_assert_int_eq(mer_buf_check(&buf, NULL), MER_ELIMIT);
	ck_assert_uint_eq(strlen(buf.ptr), 69 * 69);
	mer_buf_release(&buf);
}
END_TEST

START_TEST(buffer_is_sticky)
{
	struct mer_buf buf;
	struct mer_error err;
	mer_buf_init(&buf, 10);
	mer_buf_text(&buf, "0123456789");
	ck_assert_int_eq(mer_buf_check(&buf, &err), MER_OK);
	mer_buf_byte(&buf, 'x');
	mer_buf_clear(&buf);
	mer_buf_text(&buf, "012345678");
	mer_buf_text(&buf, "9a");
	mer_buf_text(&buf, "9");
	mer_buf_printf(&buf, "%d", 9);
	ck_assert_ptr_null(mer_buf_room(&buf, 1));
	ck_assert_str_eq(buf.ptr, "012345678");
	ck_assert_int_eq(mer_buf_check(&buf, &err), MER_ELIMIT);
	ck_assert_str_eq(err.message, "longer than 10 bytes");
	char *out = NULL;
	ck_assert_int_eq(mer_buf_take(&buf, &out, NULL, &err), MER_ELIMIT);
	ck_assert_ptr_null(out);
	ck_assert_ptr_null(buf.ptr);
}
END_TEST

START_TEST(buffer_survives_no_memory)
{
	struct mer_buf buf;
	struct mer_error err;
	mer_buf_init(&buf, SIZE_MAX);
	mer_buf_text(&buf, "kept");
	ck_assert_ptr_null(mer_buf_room(&buf, (size_t)PTRDIFF_MAX));
	mer_buf_text(&buf, "lost");
	ck_assert_str_eq(buf.ptr, "kept");
	ck_assert_int_eq(mer_buf_check(&buf, &err), MER_ENOMEM);
	mer_buf_clear(&buf);
	ck_assert_ptr_null(mer_buf_room(&buf, SIZE_MAX));
	ck_assert_int_eq(mer_buf_check(&buf, &err), MER_ENOMEM);
	char *out = NULL;
	ck_assert_int_eq(mer_buf_take(&buf, &out, NULL, &err), MER_ENOMEM);
	ck_assert_ptr_null(out);
}
END_TEST

START_TEST(buffer_gives_its_bytes)
{
	struct mer_buf buf;
	size_t len = 99;
	char *out = NULL;
	mer_buf_init(&buf, 100);
	ck_assert_int_eq(mer_buf_take(&buf, &out, &len, NULL), MER_OK);
	ck_assert_str_eq(out, "");
	ck_assert_uint_eq(len, 0);
	free(out);
	char *room = mer_buf_room(&buf, 3);
	ck_assert_ptr_nonnull(room);
	memcpy(room, "ab", 2);
	mer_buf_grow(&buf, 2);
	ck_assert_int_eq(mer_buf_take(&buf, &out, &len, NULL), MER_OK);
	ck_assert_str_eq(out, "ab");
	ck_assert_uint_eq(len, 2);
	free(out);
	mer_buf_init(&buf, 0);
	mer_buf_add(&buf, "", 0);
	ck_assert_int_eq(mer_buf_check(&buf, NULL), MER_OK);
	mer_buf_byte(&buf, 'x');
	ck_assert_int_eq(mer_buf_check(&buf, NULL), MER_ELIMIT);
	mer_buf_release(&buf);
}
END_TEST

/* The log. */

static char logged[4096];

static void remember(enum mer_log_level level, const char *area, const char *line)
{
	errno = ENOENT;
	(void)snprintf(logged, sizeof logged, "%d %s: %s", (int)level, area, line);
}

static const struct {
	const char *spec;
	enum mer_log_level level;
	const char *area;
	bool want;
} log_rows[] = {
	{ "warn", MER_LOG_ERROR, "meal", true },
	{ "warn", MER_LOG_WARN, "meal", true },
	{ "warn", MER_LOG_INFO, "meal", false },
	{ "off", MER_LOG_ERROR, "meal", false },
	{ "off", MER_LOG_OFF, "meal", false },
	{ "debug", MER_LOG_OFF, "meal", false },
	{ "debug", MER_LOG_DEBUG, "meal", true },
	{ "warn,meal=debug", MER_LOG_DEBUG, "meal", true },
	{ "warn,meal=debug", MER_LOG_DEBUG, "mea", false },
	{ "warn,meal=debug", MER_LOG_DEBUG, "meal2", false },
	{ "warn,meal=debug", MER_LOG_WARN, "dal", true },
	{ "meal=debug,warn", MER_LOG_DEBUG, "meal", true },
	{ "meal=debug", MER_LOG_DEBUG, "meal", true },
	{ "meal=debug", MER_LOG_ERROR, "dal", false },
	{ "debug,meal=off", MER_LOG_ERROR, "meal", false },
	{ "debug,meal=off", MER_LOG_DEBUG, "dal", true },
	{ "info,dal=warn,meal=error,dal=debug", MER_LOG_DEBUG, "dal", true },
	{ "info,dal=warn,meal=error,dal=debug", MER_LOG_WARN, "meal", false },
};

START_TEST(log_spec_decides)
{
	ck_assert_int_eq(mer_log_open(log_rows[_i].spec, remember, NULL), MER_OK);
	bool got = mer_log_on(log_rows[_i].level, log_rows[_i].area);
	mer_log_write(log_rows[_i].level, log_rows[_i].area, "x");
	ck_assert_msg(got == log_rows[_i].want && (logged[0] != '\0') == got,
	              "row %d '%s' level %d of %s: %d", _i, log_rows[_i].spec, (int)log_rows[_i].level,
	              log_rows[_i].area, got);
}
END_TEST

static const struct {
	const char *spec, *names;
} log_bad_rows[] = {
	{ "", "''" },
	{ "loud", "'loud'" },
	{ "Warn", "'Warn'" },
	{ "warn,", "''" },
	{ "warn,meal=loud,dal=debug", "'meal=loud'" },
	{ "warn,=debug", "'=debug'" },
	{ "meal=", "'meal='" },
	{ "warn debug", "'warn debug'" },
	{ "an-area-that-is-much-too-long=debug", "'an-area-that-is-much-too-long=debug'" },
};

START_TEST(log_spec_is_refused)
{
	struct mer_error err;
	ck_assert_int_eq(mer_log_open("debug", remember, NULL), MER_OK);
	enum mer_status st = mer_log_open(log_bad_rows[_i].spec, NULL, &err);
	ck_assert_msg(st == MER_EINPUT && strstr(err.message, log_bad_rows[_i].names) != NULL,
	              "row %d '%s': status %d, '%s'", _i, log_bad_rows[_i].spec, (int)st, err.message);
	ck_assert(mer_log_on(MER_LOG_DEBUG, "x"));
}
END_TEST

START_TEST(log_spec_is_changed)
{
	ck_assert_int_eq(mer_log_change("debug", NULL), MER_OK); /* nobody listens yet */
	ck_assert(!mer_log_on(MER_LOG_ERROR, "x"));
	ck_assert_int_eq(mer_log_open("warn", remember, NULL), MER_OK);
	ck_assert_int_eq(mer_log_change("error,meal=debug", NULL), MER_OK);
	ck_assert(mer_log_on(MER_LOG_DEBUG, "meal") && !mer_log_on(MER_LOG_WARN, "x"));
	ck_assert_int_eq(mer_log_change("loud", NULL), MER_EINPUT);
	ck_assert(mer_log_on(MER_LOG_DEBUG, "meal") && !mer_log_on(MER_LOG_WARN, "x"));
	ck_assert_int_eq(mer_log_change("info", NULL), MER_OK);
	ck_assert(mer_log_on(MER_LOG_INFO, "x") && !mer_log_on(MER_LOG_DEBUG, "meal"));
	mer_log_write(MER_LOG_INFO, "x", "heard");
	ck_assert_str_eq(logged, "3 x: heard");
}
END_TEST

#define LOG_AREA "base"

START_TEST(log_line_reaches_the_sink)
{
	int evaluated = 0;
	MER_DEBUG("no sink %d", ++evaluated);
	ck_assert_int_eq(evaluated, 0);
	ck_assert_int_eq(mer_log_open("debug", NULL, NULL), MER_OK);
	MER_DEBUG("no sink %d", ++evaluated);
	ck_assert_int_eq(evaluated, 0);

	ck_assert_int_eq(mer_log_open("debug", remember, NULL), MER_OK);
	errno = EINTR;
	MER_DEBUG("started pid=%d name=%s", ++evaluated, "a\nb\xFF");
	ck_assert_int_eq(errno, EINTR);
	ck_assert_str_eq(logged, "4 base: started pid=1 name=a?b?");
	MER_DEBUG("%0*d", 3000, 1);
	ck_assert_uint_eq(strlen(logged), strlen("4 base: ") + 2047);
}
END_TEST

/* Uids. */

enum { THREADS = 4, UIDS_A_THREAD = 250000 };

static void *make_uids(void *room)
{
	struct mer_uid *uids = room;
	for (int i = 0; i < UIDS_A_THREAD; i++)
		mer_uid_new(&uids[i]);
	return NULL;
}

static int compare_uids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct mer_uid));
}

START_TEST(uids_of_threads_differ)
{
	size_t n = (size_t)THREADS * UIDS_A_THREAD;
	struct mer_uid *uids = calloc(n, sizeof *uids);
	ck_assert_ptr_nonnull(uids);
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, make_uids, uids + i * UIDS_A_THREAD), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	qsort(uids, n, sizeof *uids, compare_uids);
	for (size_t i = 1; i < n; i++) {
		if (strcmp(uids[i - 1].text, uids[i].text) == 0)
			ck_abort_msg("twice %s", uids[i].text); /* an assert writes to a file each time */
	}
	free(uids);
}
END_TEST

/* Whatever becomes of the clock: here it was an hour ahead before. */
START_TEST(uids_of_a_source_are_in_order)
{
	struct mer_uid_source source = { 0 };
	struct mer_uid first, uid, last;
	mer_uid_next(&source, &first);
	source.latest += UINT64_C(3600000) << 16;
	mer_uid_next(&source, &last);
	ck_assert_int_gt(strncmp(last.text, first.text, MER_UID_TIME), 0);
	for (int i = 0; i < 200; i++) {
		mer_uid_next(&source, &uid);
		ck_assert_msg(mer_uid_valid(uid.text), "%s", uid.text);
		ck_assert_int_ge(strncmp(uid.text, last.text, MER_UID_TIME), 0);
		ck_assert_str_ne(uid.text, last.text);
		last = uid;
	}
}
END_TEST

START_TEST(uid_is_of_rfc_9562)
{
	char last[16] = "";
	for (int i = 0; i < 2000; i++) {
		struct mer_uid uid;
		int64_t before = mer_time_now_ms();
		mer_uid_new(&uid);
		int64_t after = mer_time_now_ms();
		ck_assert_msg(mer_uid_valid(uid.text), "%s", uid.text);
		ck_assert_msg(uid.text[14] == '7' && strchr("89ab", uid.text[19]) != NULL, "%s", uid.text);
		char time[16];
		(void)snprintf(time, sizeof time, "%.8s%.4s%.3s", uid.text, uid.text + 9, uid.text + 15);
		ck_assert_msg(memcmp(time, last, 15) >= 0, "%s after %s", uid.text, last);
		memcpy(last, time, sizeof last);
		time[12] = '\0';
		int64_t ms = strtoll(time, NULL, 16);
		ck_assert_msg(ms >= before && ms <= after, "%s: %lld", uid.text, (long long)ms);
		ck_assert_int_gt(mer_uid_key(uid.text), 0);
	}
}
END_TEST

static const struct {
	const char *text;
	int64_t key; /* -1: not valid */
} uid_rows[] = {
	{ "017f22e2-79b0-7cc3-98c4-dc0c0c07398f", 0x18c4dc0c0c07398f },
	{ "00000000-0000-0000-0000-000000000000", 1 },
	{ "ffffffff-ffff-ffff-ffff-ffffffffffff", 0x3fffffffffffffff },
	{ "017f22e2-79b0-4cc3-8000-000000000002", 2 },
	{ "017F22E2-79B0-7CC3-98C4-DC0C0C07398F", -1 },
	{ "017f22e2-79b0-7cc3-98c4-dc0c0c07398", -1 },
	{ "017f22e2-79b0-7cc3-98c4-dc0c0c07398ff", -1 },
	{ "017f22e279b0-7cc3-98c4-dc0c0c07398f-", -1 },
	{ "017f22e2-79b0-7cc3-98c4-dc0c0c07398g", -1 },
	{ "{17f22e2-79b0-7cc3-98c4-dc0c0c07398}", -1 },
	{ "", -1 },
};

START_TEST(uid_rows_are_checked)
{
	bool valid = mer_uid_valid(uid_rows[_i].text);
	int64_t key = valid ? mer_uid_key(uid_rows[_i].text) : -1;
	ck_assert_msg(key == uid_rows[_i].key, "row %d '%s': %llx", _i, uid_rows[_i].text,
	              (unsigned long long)key);
}
END_TEST

/* SHA-256. Source of the vectors: NIST, "SHA256.pdf" of its examples with intermediate values. */

static const struct {
	const char *text;
	size_t times;
	const char *want;
} sha_rows[] = {
	{ "", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
	  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	{ "a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
};

START_TEST(sha256_of_nist)
{
	struct mer_sha256 hash;
	char got[MER_SHA256_SIZE];
	mer_sha256_init(&hash);
	for (int again = 0; again < 2; again++) {
		for (size_t i = 0; i < sha_rows[_i].times; i++)
			mer_sha256_add(&hash, sha_rows[_i].text, strlen(sha_rows[_i].text));
		mer_sha256_end(&hash, got);
		ck_assert_msg(strcmp(got, sha_rows[_i].want) == 0, "row %d: %s", _i, got);
	}
	if (sha_rows[_i].times == 1)
		mer_sha256(sha_rows[_i].text, strlen(sha_rows[_i].text), got);
	ck_assert_str_eq(got, sha_rows[_i].want);
}
END_TEST

/* _i * 37 bytes in pieces against coreutils. */
START_TEST(sha256_of_coreutils)
{
	unsigned char bytes[64 * 37];
	size_t n = (size_t)_i * 37;
	uint64_t state = 88172645463325252u + (uint64_t)_i;
	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)random_below(&state, 256);
	char path[] = "/tmp/test_base.XXXXXX", line[200], got[MER_SHA256_SIZE];
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	(void)close(fd);
	(void)snprintf(line, sizeof line, "sha256sum < %s", path);
	FILE *pipe = popen(line, "r");
	ck_assert_ptr_nonnull(pipe);
	bool read = fgets(line, sizeof line, pipe) != NULL;
	(void)pclose(pipe);
	(void)unlink(path);
	ck_assert(read);
	struct mer_sha256 hash;
	mer_sha256_init(&hash);
	for (size_t at = 0, piece; at < n; at += piece) {
		piece = 1 + random_below(&state, 130);
		if (piece > n - at)
			piece = n - at;
		mer_sha256_add(&hash, bytes + at, piece);
	}
	mer_sha256_end(&hash, got);
	ck_assert_msg(strncmp(line, got, 64) == 0, "%zu bytes: %s, not %s", n, got, line);
}
END_TEST

Suite *suite(void)
{
	Suite *base = suite_create("base");
	TCase *errors = tcase_create("error"), *buffer = tcase_create("buf");
	TCase *log = tcase_create("log"), *uid = tcase_create("uid"), *hash = tcase_create("hash");
	tcase_add_loop_test(errors, message_is_one_line, 0, N_ROWS(message_rows));
	tcase_add_test(errors, message_is_cut_between_characters);
	tcase_add_test(errors, arguments_may_be_the_error_itself);
	tcase_add_test(errors, error_may_be_missing);
	tcase_add_test(errors, failing_leaves_errno);
	tcase_add_test(errors, each_status_has_a_name);
	tcase_add_test(errors, defect_is_one_line_and_exit_70);
	tcase_add_test(buffer, buffer_grows);
	tcase_add_test(buffer, buffer_formats_what_needs_more_room);
	tcase_add_test(buffer, buffer_is_sticky);
	tcase_add_test(buffer, buffer_survives_no_memory);
	tcase_add_test(buffer, buffer_gives_its_bytes);
	tcase_add_loop_test(log, log_spec_decides, 0, N_ROWS(log_rows));
	tcase_add_loop_test(log, log_spec_is_refused, 0, N_ROWS(log_bad_rows));
	tcase_add_test(log, log_spec_is_changed);
	tcase_add_test(log, log_line_reaches_the_sink);
	tcase_set_timeout(uid, 60);
	tcase_add_test(uid, uids_of_threads_differ);
	tcase_add_test(uid, uids_of_a_source_are_in_order);
	tcase_add_test(uid, uid_is_of_rfc_9562);
	tcase_add_loop_test(uid, uid_rows_are_checked, 0, N_ROWS(uid_rows));
	tcase_set_timeout(hash, 60);
	tcase_add_loop_test(hash, sha256_of_nist, 0, N_ROWS(sha_rows));
	tcase_add_loop_test(hash, sha256_of_coreutils, 0, 64);
	suite_add_tcase(base, errors);
	suite_add_tcase(base, buffer);
	suite_add_tcase(base, log);
	suite_add_tcase(base, uid);
	suite_add_tcase(base, hash);
	return base;
}
