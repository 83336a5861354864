/* The marks of a far supervisor, amid bytes that a hostile server may have made: the same comes out however
 * they are cut, and it is what a search over all of them finds. */
#include "../../src/meal/far.h"
#include "fuzz.h"

#include <mer/clean.h>
#include <string.h>

#define NONCE "n" /* one that a search finds */
#define HEAD "\036MER-" NONCE " "

struct seen {
	struct mer_buf payload, marks; /* each mark followed by a newline */
};

static void seen_init(struct seen *seen)
{
	mer_buf_init(&seen->payload, SIZE_MAX);
	mer_buf_init(&seen->marks, SIZE_MAX);
}

static void seen_done(struct seen *seen)
{
	mer_buf_release(&seen->payload);
	mer_buf_release(&seen->marks);
}

static void feed(struct far_reader *reader, const char *bytes, size_t n, struct seen *seen)
{
	struct far_piece piece;
	for (size_t at = 0; at < n;) {
		size_t taken = far_reader_feed(reader, bytes + at, n - at, &piece);
		MER_ASSERT(taken <= n - at && (taken > 0 || piece.bytes.len > 0));
		MER_ASSERT(piece.mark == NULL || strlen(piece.mark) < FAR_MARK_MAX);
		at += taken;
		mer_buf_add(&seen->payload, piece.bytes.ptr, piece.bytes.len);
		if (piece.mark != NULL)
			mer_buf_printf(&seen->marks, "%s\n", piece.mark);
	}
}

static void read_pieces(const char *bytes, size_t len, size_t most, struct seen *seen)
{
	struct far_reader reader;
	far_reader_init(&reader, NONCE);
	for (size_t at = 0, n; at < len; at += n) {
		n = len - at < most ? len - at : most;
		feed(&reader, bytes + at, n, seen);
	}
	struct mer_str rest = far_reader_end(&reader);
	mer_buf_add(&seen->payload, rest.ptr, rest.len);
}

/* The same, with all of it at hand. */
static void search(const char *bytes, size_t len, struct seen *seen)
{
	const char *at = bytes, *end = bytes + len, *mark;
	while ((mark = memmem(at, (size_t)(end - at), HEAD, strlen(HEAD))) != NULL) {
		mer_buf_add(&seen->payload, at, (size_t)(mark - at));
		mark += strlen(HEAD);
		at = memchr(mark, '\n', (size_t)(end - mark));
		if (at == NULL)
			return;
		size_t n = (size_t)(at - mark) < FAR_MARK_MAX ? (size_t)(at - mark) : FAR_MARK_MAX - 1;
		mer_buf_add(&seen->marks, mark, strnlen(mark, n));
		mer_buf_byte(&seen->marks, '\n');
		at++;
	}
	mer_buf_add(&seen->payload, at, (size_t)(end - at));
}

static bool is_same(const struct mer_buf *one, const struct mer_buf *other)
{
	return one->len == other->len && (one->len == 0 || memcmp(one->ptr, other->ptr, one->len) == 0);
}

/* The first byte says where to cut. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	if (len == 0)
		return 0;
	MER_AUTO(seen_done) struct seen found, cut;
	const char *stream = (const char *)bytes + 1;
	seen_init(&found);
	seen_init(&cut);
	search(stream, len - 1, &found);
	read_pieces(stream, len - 1, 1 + (size_t)bytes[0], &cut);
	MER_ASSERT(is_same(&found.payload, &cut.payload) && is_same(&found.marks, &cut.marks));
	return 0;
}
