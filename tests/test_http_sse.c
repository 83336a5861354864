/* Server-Sent Events: what a stream means, cut at each byte. */
#include "check_main.h"
#include "http_sse.h"

#include <string.h>

#define LIMIT 64

/* want: of each event its type, an equals sign, its data, a semicolon; '!' last: it was too long. */
static const struct {
	const char *stream, *want;
} rows[] = {
	{ "", "" },
	{ "data: a\n\n", "=a;" },
	{ "data: a\r\n\r\n", "=a;" },
	{ "data: a\r\r", "=a;" },
	{ "data: a\n\r\n", "=a;" },
	{ "data: a\r\n\rdata: b\n\r", "=a;=b;" },
	{ "data: a\r\n\n", "=a;" },
	{ "\xEF\xBB\xBF"
	  "data: a\n\n",
	  "=a;" },
	{ "\xEF\xBB\xBF\xEF\xBB\xBF"
	  "data: a\n\ndata: b\n\n",
	  "=b;" },
	{ "data: a\n\n\xEF\xBB\xBF"
	  "data: b\n\n",
	  "=a;" },
	{ "\xEF\xBB\n\ndata: b\n\n", "=b;" },

	/* the examples of the standard */
	{ "data: YHOO\ndata: +2\ndata: 10\n\n", "=YHOO\n+2\n10;" },
	{ ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
	  "=first event;=second event;= third event;" },
	{ "data\n\ndata\ndata\n\ndata:\n", "=;=\n;" },
	{ "data:test\n\ndata: test\n\n", "=test;=test;" },

	/* types belong to one event, also to one without data, which is none */
	{ "event: add\ndata: 1\n\ndata: 2\n\n", "add=1;=2;" },
	{ "event: add\n\ndata: 2\n\n", "=2;" },
	{ "event: add\nevent: sub\ndata: 2\n\n", "sub=2;" },
	{ "event: add\nevent\ndata: 2\n\n", "=2;" },

	/* what is no field */
	{ ":\n:data: x\ndata : x\nDATA: x\n data: x\nretry: 10\ndatax\ndata: y\n\n", "=y;" },
	{ "data: a: b\n\n", "=a: b;" },
	{ "\n\n\r\r\n\ndata: a\n\n\n\n\n", "=a;" },

	/* an event that is not ended is none */
	{ "data: a\n\ndata: b", "=a;" },
	{ "data: a\n\ndata: b\n", "=a;" },
	{ "data: \xFF\xC3\n\n", "=\xFF\xC3;" },

	/* bounds: of a line, of an event, of a comment */
	{ "data: 0123456789012345678901234567890123456789012345678901234567\n\n",
	  "=0123456789012345678901234567890123456789012345678901234567;" },
	{ "data: a\n\ndata: 01234567890123456789012345678901234567890123456789012345678\n\n", "=a;!" },
	{ "data: a\n\n:012345678901234567890123456789012345678901234567890123456789abcd", "=a;!" },
	{ "data: 0123456789012345678901234567890\ndata: 0123456789012345678901234567890\n\n",
	  "=0123456789012345678901234567890\n0123456789012345678901234567890;" },
	{ "data: 0123456789012345678901234567890\ndata: 01234567890123456789012345678901\ndata: b\n\n",
	  "!" },
};

static void feed(struct http_sse *sse, const char *bytes, size_t n, struct mer_buf *seen)
{
	struct http_sse_event event;
	while (n > 0) {
		size_t taken;
		if (http_sse_feed(sse, bytes, n, &taken, &event)) {
			mer_buf_add(seen, event.type.ptr, event.type.len);
			mer_buf_byte(seen, '=');
			mer_buf_add(seen, event.data.ptr, event.data.len);
			mer_buf_byte(seen, ';');
		}
		ck_assert_uint_gt(taken, 0);
		ck_assert_uint_le(taken, n);
		bytes += taken;
		n -= taken;
	}
}

/* In pieces of the given size, the first one of another. */
static void check_cut(struct http_sse *sse, int row, size_t first, size_t size)
{
	const char *stream = rows[row].stream;
	size_t len = strlen(stream);
	struct mer_buf seen;
	mer_buf_init(&seen, SIZE_MAX);
	mer_buf_text(&seen, "");
	for (size_t at = 0; at < len;) {
		size_t most = at == 0 ? first : size, n = len - at < most ? len - at : most;
		feed(sse, stream + at, n, &seen);
		at += n;
	}
	struct mer_error err;
	enum mer_status st = http_sse_check(sse, &err);
	if (st != MER_OK)
		mer_buf_byte(&seen, '!');
	mer_buf_byte(&seen, '\0');
	ck_assert_msg(strcmp(seen.ptr, rows[row].want) == 0, "row %d, %zu then %zu: '%s'", row, first,
	              size, seen.ptr);
	ck_assert(
		st == MER_OK ||
		(st == MER_ELIMIT && strcmp(err.message, "an event of the stream is over 64 bytes") == 0));
	mer_buf_release(&seen);
}

START_TEST(reads_streams)
{
	struct http_sse sse;
	size_t len = strlen(rows[_i].stream);
	http_sse_init(&sse, LIMIT);
	for (size_t first = 1; first <= len + 1; first++)
		for (size_t size = 1; size <= 3; size++) {
			check_cut(&sse, _i, first, size == 3 ? len + 1 : size);
			http_sse_clear(&sse); /* a stream that broke off leaves nothing behind */
		}
	http_sse_release(&sse);
}
END_TEST

Suite *suite(void)
{
	Suite *all = suite_create("http_sse");
	TCase *tc = tcase_create("streams");
	tcase_add_loop_test(tc, reads_streams, 0, N_ROWS(rows));
	suite_add_tcase(all, tc);
	return all;
}
