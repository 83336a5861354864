/* The codec of the frame protocol: headers, limits, metas, and tensors against their bodies. */
#include "check_main.h"

#include <mer/clean.h>
#include <mer/wire.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BODY 1000

/* --- headers ------------------------------------------------------------------------------- */

/* Bytes of a header from their hexadecimal digits; blanks do not count. Returns how many. */
static size_t from_hex(const char *hex, char *out)
{
	size_t n = 0;
	for (; *hex != '\0'; hex++) {
		if (*hex == ' ')
			continue;
		char digits[] = { hex[0], hex[1], '\0' };
		out[n++] = (char)strtol(digits, NULL, 16);
		hex++;
	}
	return n;
}

#define MAGIC "4d455246 01"
#define IDS "0807060504030201"
#define ZERO8 "0000000000000000"

static const struct {
	const char *hex;
	const char *error; /* NULL: a frame */
	struct mer_wire_header want;
} headers[] = {
	{ MAGIC "01 0000" ZERO8 "00000000 00000000" ZERO8, NULL, { .kind = MER_WIRE_HELLO } },
	{ MAGIC "04 0100" IDS "00000000 00000000 e803000000000000",
	  NULL,
	  { .kind = MER_WIRE_RESULT, .flags = MER_WIRE_MORE, .id = 0x0102030405060708, .body = 1000 } },
	{ MAGIC "ff ff80" ZERO8 "00000000 00000000" ZERO8, NULL, { .kind = 255, .flags = 0x80ff } },
	{ MAGIC "02 0000" ZERO8 "02000000 00000000" ZERO8,
	  NULL,
	  { .kind = MER_WIRE_READY, .meta = 2 } },
	{ "00", "wrong magic: byte 0 is 0x00, no frame", { 0 } },
	{ "4d4552", NULL, { 0 } },
	{ "4d45524601", NULL, { 0 } },
	{ "4d455267", "wrong magic: byte 3 is 0x67, no frame", { 0 } },
	{ "48656c6c6f", "wrong magic: byte 0 is 0x48, no frame", { 0 } },
	{ "4d45524602", "version 2, not the 1 that was agreed on", { 0 } },
	{ "4d45524600", "version 0, not the 1 that was agreed on", { 0 } },
	{ MAGIC "01 0000" ZERO8 "00001000", NULL, { 0 } },
	{ MAGIC "01 0000" ZERO8 "01001000",
	  "a meta of 1048577 bytes is over the limit of 1048576",
	  { 0 } },
	{ MAGIC "01 0000" ZERO8 "ffffffff",
	  "a meta of 4294967295 bytes is over the limit of 1048576",
	  { 0 } },
	{ MAGIC "01 0000" ZERO8 "00000000 00000001", "reserved bytes that are not 0", { 0 } },
	{ MAGIC "01 0000" ZERO8 "00000000 00000000 e903000000000000",
	  "a body of 1001 bytes is over the limit of 1000",
	  { 0 } },
	{ MAGIC "01 0000" ZERO8 "00000000 00000000 0000000000000080",
	  "a body of 9223372036854775808 bytes is over the limit of 1000",
	  { 0 } },
};

/* Feeds a copy of its own, so that a read beyond it is seen. */
static size_t feed(struct mer_wire_reader *reader, const char *bytes, size_t n,
                   struct mer_wire_event *event, char **copy)
{
	*copy = malloc(n > 0 ? n : 1);
	ck_assert_ptr_nonnull(*copy);
	memcpy(*copy, bytes, n);
	return mer_wire_feed(reader, *copy, n, event);
}

START_TEST(reads_headers)
{
	char bytes[64];
	size_t n = from_hex(headers[_i].hex, bytes);
	for (size_t step = 1; step <= n; step++) { /* in pieces of that size */
		struct mer_wire_reader reader;
		struct mer_wire_event event = { .kind = MER_WIRE_NOTHING };
		mer_wire_reader_init(&reader, MAX_BODY);
		for (size_t at = 0; at < n && event.kind == MER_WIRE_NOTHING; at += step) {
			MER_AUTO(mer_text_done) char *copy = NULL;
			size_t len = step < n - at ? step : n - at;
			size_t taken = feed(&reader, bytes + at, len, &event, &copy);
			ck_assert_uint_eq(taken, len);
		}
		if (headers[_i].error != NULL) {
			ck_assert_int_eq(event.kind, MER_WIRE_BROKEN);
			ck_assert_str_eq(reader.error.message, headers[_i].error);
		} else if (n < MER_WIRE_HEADER) {
			ck_assert_int_eq(event.kind, MER_WIRE_NOTHING);
			ck_assert(!mer_wire_is_between(&reader));
		} else {
			const struct mer_wire_header *got = &reader.header, *want = &headers[_i].want;
			ck_assert_int_eq(event.kind, want->meta > 0 ? MER_WIRE_NOTHING : MER_WIRE_META);
			ck_assert(got->kind == want->kind && got->flags == want->flags && got->id == want->id &&
			          got->meta == want->meta && got->body == want->body);
			char again[MER_WIRE_HEADER];
			mer_wire_put(again, got);
			ck_assert_mem_eq(again, bytes, sizeof again);
		}
		mer_wire_reader_release(&reader);
	}
}
END_TEST

/* --- frames -------------------------------------------------------------------------------- */

/* Three frames, and what comes of them. */
static const struct {
	struct mer_wire_header header;
	const char *meta, *body;
} frames[] = {
	{ { .kind = MER_WIRE_RESULT, .id = 7, .flags = MER_WIRE_MORE }, "{\"a\":1}", "body" },
	{ { .kind = MER_WIRE_CANCEL, .id = 1 }, "", "" },
	{ { .kind = MER_WIRE_PING }, "", "xy" },
	{ { .kind = MER_WIRE_LOG }, "{}", "" },
};

static void note(struct mer_buf *seen, const struct mer_wire_reader *reader,
                 const struct mer_wire_event *event)
{
	switch (event->kind) {
	case MER_WIRE_NOTHING: break;
	case MER_WIRE_META:
		mer_buf_printf(seen, "%s %d/%d [%.*s] <", mer_wire_kind_name(reader->header.kind),
		               (int)reader->header.id, (int)reader->header.flags, (int)event->bytes.len,
		               event->bytes.len > 0 ? event->bytes.ptr : "");
		break;
	case MER_WIRE_BODY:
		ck_assert_uint_gt(event->bytes.len, 0);
		mer_buf_add(seen, event->bytes.ptr, event->bytes.len);
		break;
	case MER_WIRE_END: mer_buf_text(seen, ">"); break;
	case MER_WIRE_BROKEN: ck_abort_msg("%s", reader->error.message);
	}
}

static void feed_piece(struct mer_wire_reader *reader, const char *bytes, size_t n,
                       struct mer_buf *seen)
{
	struct mer_wire_event event;
	MER_AUTO(mer_text_done) char *copy = malloc(n > 0 ? n : 1);
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, n);
	size_t at = 0;
	do {
		size_t taken = mer_wire_feed(reader, copy + at, n - at, &event);
		ck_assert(taken <= n - at && (taken > 0 || at == n || event.kind != MER_WIRE_NOTHING));
		at += taken;
		note(seen, reader, &event);
	} while (at < n || event.kind != MER_WIRE_NOTHING);
}

START_TEST(cuts_do_not_show)
{
	static const char want[] = "result 7/1 [{\"a\":1}] <body>cancel 1/0 [] <>ping 0/0 [] <xy>"
							   "log 0/0 [{}] <>";
	struct mer_buf all;
	mer_buf_init(&all, 4096);
	for (int i = 0; i < N_ROWS(frames); i++)
		mer_wire_add(&all, frames[i].header,
		             (struct mer_str){ frames[i].meta, strlen(frames[i].meta) },
		             (struct mer_str){ frames[i].body, strlen(frames[i].body) });
	for (size_t first = 0; first <= all.len; first++) {
		for (size_t second = first; second <= all.len; second++) {
			struct mer_wire_reader reader;
			struct mer_buf seen;
			mer_buf_init(&seen, 4096);
			mer_wire_reader_init(&reader, MAX_BODY);
			feed_piece(&reader, all.ptr, first, &seen);
			feed_piece(&reader, all.ptr + first, second - first, &seen);
			feed_piece(&reader, all.ptr + second, all.len - second, &seen);
			ck_assert_msg(strcmp(seen.ptr, want) == 0, "cut at %zu, %zu: %s", first, second,
			              seen.ptr);
			ck_assert(mer_wire_is_between(&reader));
			mer_wire_reader_release(&reader);
			mer_buf_release(&seen);
		}
	}
	mer_buf_release(&all);
}
END_TEST

/* A meta that is announced takes no memory before it comes, and a body none at all. */
START_TEST(holds_no_more_than_came)
{
	struct mer_wire_reader reader;
	struct mer_wire_event event;
	char head[MER_WIRE_HEADER];
	static char bytes[1 << 16];
	mer_wire_reader_init(&reader, UINT64_MAX);
	mer_wire_put(head, &(struct mer_wire_header){ .kind = MER_WIRE_RESULT,
	                                              .meta = MER_WIRE_META_MAX,
	                                              .body = UINT64_MAX });
	ck_assert_uint_eq(mer_wire_feed(&reader, head, sizeof head, &event), sizeof head);
	ck_assert_uint_eq(mer_wire_feed(&reader, bytes, 10, &event), 10);
	ck_assert_uint_lt(reader.meta.cap, 1000);
	for (size_t left = MER_WIRE_META_MAX - 10, n; left > 0; left -= n) {
		n = left < sizeof bytes ? left : sizeof bytes;
		ck_assert_uint_eq(mer_wire_feed(&reader, bytes, n, &event), n);
	}
	ck_assert_int_eq(event.kind, MER_WIRE_META);
	ck_assert_uint_eq(event.bytes.len, MER_WIRE_META_MAX);
	size_t cap = reader.meta.cap;
	for (int i = 0; i < 1000; i++) {
		ck_assert_uint_eq(mer_wire_feed(&reader, bytes, sizeof bytes, &event), sizeof bytes);
		ck_assert(event.kind == MER_WIRE_BODY && event.bytes.ptr == bytes);
	}
	ck_assert_uint_eq(reader.meta.cap, cap);
	mer_wire_reader_release(&reader);
}
END_TEST

static const struct {
	const char *text;
	const char *want; /* how the message begins; NULL: an object */
} metas[] = {
	{ "", NULL },
	{ "{}", NULL },
	{ " {\"a\":[1,2,{}]} ", NULL },
	{ "{\"a\":\"\\u00e9\xc3\xa9\"}", NULL },
	{ "[]", "the meta is no JSON object" },
	{ "1", "the meta is no JSON object" },
	{ "null", "the meta is no JSON object" },
	{ "{", "a frame: the meta is not JSON: line 1, column 1: " },
	{ "{\"a\":\"\xff\"}", "a frame: the meta is not JSON: line 1, " },
	{ "{} {}", "a frame: the meta is not JSON: line 1, column 4: " },
};

START_TEST(reads_metas)
{
	MER_AUTO(mer_json_done) json_t *json = NULL;
	struct mer_error err = { 0 };
	struct mer_str text = { metas[_i].text, strlen(metas[_i].text) };
	enum mer_status st = mer_wire_meta(text, &json, &err);
	ck_assert_int_eq(st, metas[_i].want == NULL ? MER_OK : MER_ECORRUPT);
	const char *want = metas[_i].want != NULL ? metas[_i].want : "";
	ck_assert_msg(strncmp(err.message, want, strlen(want)) == 0, "row %d: %s", _i, err.message);
	ck_assert_int_eq(json != NULL, metas[_i].want == NULL);
}
END_TEST

/* --- tensors ------------------------------------------------------------------------------- */

#define TENSOR(name, datatype, shape, size) \
	"{\"name\":\"" name "\",\"datatype\":\"" datatype "\",\"shape\":" shape \
	",\"parameters\":{\"binary_data_size\":" #size "}}"
#define ONE(datatype, shape, size) "{\"outputs\":[" TENSOR("t", datatype, shape, size) "]}"

/* want: the elements of a good one with a bar behind each piece, or what is wrong behind '!'. The
 * body's '%' stands for a NUL. */
static const struct {
	const char *meta, *body, *want;
} contents[] = {
	{ "{}", "", "none" },
	{ "{}", "x", "!a body of 1 bytes that its meta does not describe" },
	{ "{\"content\":\"bytes\"}", "abc", "bytes 0:abc" },
	{ "{\"content\":\"text\"}", "abc", "text 0:abc" },
	{ "{\"content\":\"bytes\"}", "", "bytes" },
	{ "{\"content\":\"tensor\"}", "", "!'content' is neither \"bytes\" nor \"text\"" },
	{ "{\"content\":1}", "", "!'content' is neither \"bytes\" nor \"text\"" },
	{ "{\"content\":\"bytes\",\"outputs\":[]}", "", "!both 'content' and 'outputs'" },
	{ "{\"outputs\":[]}", "", "tensors" },
	{ "{\"outputs\":[]}", "x", "!the tensors have 0 bytes, their body 1" },
	{ "{\"outputs\":{}}", "", "!'outputs' is no array" },
	{ "{\"outputs\":[1]}", "", "!a tensor has no name" },
	{ "{\"outputs\":[{\"name\":\"t\"}]}", "", "!tensor 't': no such datatype: ''" },
	{ ONE("UINT8", "[3]", 3), "abc", "tensors 0:abc" },
	{ ONE("UINT8", "[]", 1), "a", "tensors 0:a" },
	{ ONE("UINT8", "[0]", 0), "", "tensors" },
	{ ONE("UINT8", "[2,0,5]", 0), "", "tensors" },
	{ ONE("FP32", "[1,2]", 8), "abcdefgh", "tensors 0:abcdefgh" },
	{ ONE("BF16", "[2]", 4), "abcd", "tensors 0:abcd" },
	{ ONE("FP64", "[]", 8), "abcdefgh", "tensors 0:abcdefgh" },
	{ ONE("FP32", "[1,2]", 8), "abcdefg", "!tensor 't' ends behind the body of 7 bytes" },
	{ ONE("FP32", "[1,2]", 8), "abcdefghi", "!the tensors have 8 bytes, their body 9" },
	{ ONE("FP32", "[1,2]", 7), "abcdefg",
	  "!tensor 't': binary_data_size 7 does not fit 2 elements of FP32" },
	{ ONE("FP31", "[1,2]", 8), "abcdefgh", "!tensor 't': no such datatype: 'FP31'" },
	{ ONE("FP32", "[-1]", 8), "abcdefgh", "!tensor 't': extent 0 of its shape is no length" },
	{ ONE("FP32", "[2.0]", 8), "abcdefgh", "!tensor 't': extent 0 of its shape is no length" },
	{ ONE("FP32", "[2,true]", 8), "abcdefgh", "!tensor 't': extent 1 of its shape is no length" },
	{ ONE("FP32", "2", 8), "abcdefgh", "!tensor 't' has no shape" },
	{ ONE("UINT8", "[4294967296,4294967296]", 0), "", "!tensor 't': its shape is too large" },
	{ ONE("FP64", "[4611686018427387904]", 0), "",
	  "!tensor 't': binary_data_size 0 does not fit 4611686018427387904 elements of FP64" },
	{ ONE("UINT8", "[1]", -1), "", "!tensor 't' has no binary_data_size" },
	{ ONE("UINT8", "[1]", 1.0), "a", "!tensor 't' has no binary_data_size" },
	{ "{\"outputs\":[{\"name\":\"t\",\"datatype\":\"BOOL\",\"shape\":[1],\"data\":[true]}]}", "",
	  "!tensor 't' has no binary_data_size" },
	{ ONE("BYTES", "[1]", 7), "\3%%%abc", "tensors 0:abc" },
	{ ONE("BYTES", "[1]", 4), "%%%%", "tensors" },
	{ ONE("BYTES", "[2]", 11), "\1%%%a\2%%%bc", "tensors 0:abc" },
	{ ONE("BYTES", "[3]", 13), "%%%%\1%%%a%%%%", "tensors 0:a" },
	{ ONE("BYTES", "[0]", 0), "", "tensors" },
	{ ONE("BYTES", "[2]", 7), "\3%%%abc",
	  "!tensor 't': binary_data_size 7 does not fit 2 elements of BYTES" },
	{ ONE("BYTES", "[1]", 7), "\2%%%abc",
	  "!tensor 't': its 1 elements do not end where its 7 bytes do" },
	{ ONE("BYTES", "[1]", 7), "\4%%%abc",
	  "!tensor 't': its 1 elements do not end where its 7 bytes do" },
	{ ONE("BYTES", "[1]", 7),
	  "\3%%\x80"
	  "abc",
	  "!tensor 't': its 1 elements do not end where its 7 bytes do" },
	{ ONE("BYTES", "[2]", 9), "\2%%%ab%%%",
	  "!tensor 't': its 2 elements do not end where its 9 bytes do" },
	{ ONE("BYTES", "[0]", 3), "abc",
	  "!tensor 't': its 0 elements do not end where its 3 bytes do" },
	{ "{\"outputs\":[" TENSOR("a", "UINT8", "[2]", 2) "," TENSOR("b", "BYTES", "[1]", 5) "," TENSOR(
		  "c", "UINT8", "[0]", 0) "," TENSOR("d", "INT16", "[1]", 2) "]}",
	  "AA\1%%%bDD", "tensors 0:AA1:b3:DD" },
	{ "{\"outputs\":[" TENSOR("a", "UINT8", "[2]", 2) "," TENSOR("b", "UINT8", "[1]", 1) "]}", "AA",
	  "!tensor 'b' ends behind the body of 2 bytes" },
};

/* Goes through a body that is cut in pieces of a size. */
static enum mer_status walk(const struct mer_content *content, const char *body, size_t n,
                            size_t step, struct mer_buf *seen, struct mer_error *err)
{
	struct mer_content_walk walk = { .at = 0 };
	size_t last = SIZE_MAX;
	for (size_t at = 0; at < n;) {
		size_t len = step < n - at ? step : n - at, taken;
		struct mer_str piece;
		enum mer_status st = mer_content_step(content, &walk, body + at, len, &taken, &piece, err);
		if (st != MER_OK)
			return st;
		ck_assert(taken > 0 && taken <= len);
		at += taken;
		if (piece.len > 0 && walk.at != last)
			mer_buf_printf(seen, "%s%zu:", last == SIZE_MAX ? " " : "", walk.at);
		if (piece.len > 0)
			last = walk.at;
		mer_buf_add(seen, piece.ptr, piece.len);
	}
	return MER_OK;
}

START_TEST(reads_contents)
{
	static const char *const forms[] = { "none", "bytes", "text", "tensors" };
	char body[64];
	size_t n = strlen(contents[_i].body);
	memcpy(body, contents[_i].body, n);
	for (size_t i = 0; i < n; i++)
		body[i] = body[i] == '%' ? '\0' : body[i];
	MER_AUTO(mer_json_done) json_t *meta = json_loads(contents[_i].meta, 0, NULL);
	ck_assert_ptr_nonnull(meta);
	for (size_t step = 1; step <= n + 1; step++) {
		struct mer_content content;
		struct mer_error err = { 0 };
		struct mer_buf seen;
		mer_buf_init(&seen, 256);
		enum mer_status st = mer_content_read(meta, "outputs", n, &content, &err);
		if (st == MER_OK) {
			mer_buf_text(&seen, forms[content.form]);
			st = walk(&content, body, n, step, &seen, &err);
		}
		if (st != MER_OK) {
			mer_buf_clear(&seen);
			mer_buf_printf(&seen, "!%s", err.message);
			ck_assert(st == MER_ECORRUPT || st == MER_EINPUT);
		}
		ck_assert_msg(strcmp(seen.ptr, contents[_i].want) == 0, "row %d in pieces of %zu: %s", _i,
		              step, seen.ptr);
		mer_content_release(&content);
		mer_buf_release(&seen);
	}
}
END_TEST

START_TEST(names_datatypes)
{
	for (int i = MER_DATATYPE_NONE + 1; i < MER_DATATYPE_COUNT; i++) {
		const char *name = mer_datatype_name((enum mer_datatype)i);
		ck_assert_int_eq(mer_datatype_by_name(name), i);
	}
	ck_assert_int_eq(mer_datatype_by_name(""), MER_DATATYPE_NONE);
	ck_assert_int_eq(mer_datatype_by_name("fp32"), MER_DATATYPE_NONE);
	ck_assert_uint_eq(mer_datatype_size(MER_FP16), 2);
	ck_assert_uint_eq(mer_datatype_size(MER_BYTES), 0);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("wire");
	TCase *tc = tcase_create("frames");
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, reads_headers, 0, N_ROWS(headers));
	tcase_add_test(tc, cuts_do_not_show);
	tcase_add_test(tc, holds_no_more_than_came);
	tcase_add_loop_test(tc, reads_metas, 0, N_ROWS(metas));
	suite_add_tcase(suite, tc);
	tc = tcase_create("contents");
	tcase_add_loop_test(tc, reads_contents, 0, N_ROWS(contents));
	tcase_add_test(tc, names_datatypes);
	suite_add_tcase(suite, tc);
	return suite;
}
