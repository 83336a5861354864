/* NumPy's .npy files: a header in Python's syntax, of which only what NumPy writes is understood. */
#include "number.h"

#include <assert.h>
#include <inttypes.h>
#include <mer/npy.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
enum {
	MAGIC_LEN = sizeof MAGIC - 1,
	LENGTH_AT = MAGIC_LEN + 2, /* behind the version */
	HEADER_MAX = 65536,        /* NumPy itself reads no more than 10,000 */
	ALIGN = 64,
	CHARACTER = 4, /* bytes of U's */
};

/* --- the literal ---------------------------------------------------------------------------- */

struct scan {
	const char *at, *end;
};

static void skip_space(struct scan *scan)
{
	while (scan->at < scan->end && strchr(" \t\n\r", *scan->at) != NULL && *scan->at != '\0')
		scan->at++;
}

/* Takes a byte, and the white space before it, if it is the next. */
static bool take(struct scan *scan, char byte)
{
	skip_space(scan);
	if (scan->at == scan->end || *scan->at != byte)
		return false;
	scan->at++;
	return true;
}

static bool take_word(struct scan *scan, const char *word)
{
	size_t len = strlen(word);
	skip_space(scan);
	if ((size_t)(scan->end - scan->at) < len || memcmp(scan->at, word, len) != 0)
		return false;
	scan->at += len;
	return true;
}

/* A string without escapes. */
static bool take_string(struct scan *scan, struct mer_str *out)
{
	skip_space(scan);
	if (scan->at == scan->end || (*scan->at != '\'' && *scan->at != '"'))
		return false;
	const char *begin = scan->at + 1;
	const char *quote = memchr(begin, *scan->at, (size_t)(scan->end - begin));
	if (quote == NULL || memchr(begin, '\\', (size_t)(quote - begin)) != NULL)
		return false;
	*out = (struct mer_str){ begin, (size_t)(quote - begin) };
	scan->at = quote + 1;
	return true;
}

static bool take_count(struct scan *scan, uint64_t *out)
{
	uint64_t count = 0;
	skip_space(scan);
	const char *begin = scan->at;
	for (; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++) {
		if (__builtin_mul_overflow(count, 10, &count) ||
		    __builtin_add_overflow(count, (uint64_t)(*scan->at - '0'), &count))
			return false;
	}
	if (scan->at == begin)
		return false;
	if (scan->at < scan->end && *scan->at == 'L') /* as Python 2 wrote them */
		scan->at++;
	*out = count;
	return true;
}

static enum mer_status read_shape(struct scan *scan, struct mer_npy *npy, struct mer_error *err)
{
	bool comma = false;
	if (!take(scan, '('))
		return mer_fail(err, MER_EINPUT, "its shape is no tuple");
	while (!take(scan, ')')) {
		if (npy->dims > 0 && !comma)
			return mer_fail(err, MER_EINPUT, "its shape is no tuple");
		if (npy->dims == MER_NPY_DIMS)
			return mer_fail(err, MER_EINPUT, "it has more than %d dimensions", MER_NPY_DIMS);
		if (!take_count(scan, &npy->shape[npy->dims]))
			return mer_fail(err, MER_EINPUT, "extent %zu of its shape is no length", npy->dims);
		npy->dims++;
		comma = take(scan, ',');
	}
	return npy->dims != 1 || comma ? MER_OK : mer_fail(err, MER_EINPUT, "its shape is no tuple");
}

/* --- dtypes --------------------------------------------------------------------------------- */

static const struct {
	char kind;
	uint8_t item; /* 0: any */
	enum mer_datatype datatype;
} dtypes[] = {
	{ 'b', 1, MER_BOOL },   { 'u', 1, MER_UINT8 }, { 'u', 2, MER_UINT16 }, { 'u', 4, MER_UINT32 },
	{ 'u', 8, MER_UINT64 }, { 'i', 1, MER_INT8 },  { 'i', 2, MER_INT16 },  { 'i', 4, MER_INT32 },
	{ 'i', 8, MER_INT64 },  { 'f', 2, MER_FP16 },  { 'V', 2, MER_BF16 },   { 'f', 4, MER_FP32 },
	{ 'f', 8, MER_FP64 },   { 'S', 0, MER_BYTES }, { 'U', 0, MER_BYTES },
};

static enum mer_status fail_dtype(struct mer_str descr, struct mer_error *err)
{
	(void)mer_fail(err, MER_EINPUT, "its dtype '%.*s' is none that a tensor can be",
	               (int)(descr.len < 64 ? descr.len : 64), descr.ptr);
	mer_hint(err,
	         "bool, int, uint and float up to 64 bits, and strings are: array.astype('float32')");
	return MER_EINPUT;
}

/* '<f4': byte order, kind, bytes (of U: characters) an element. */
static enum mer_status read_descr(struct scan *scan, struct mer_npy *npy, struct mer_error *err)
{
	struct mer_str descr;
	if (!take_string(scan, &descr)) {
		(void)mer_fail(err, MER_EINPUT, "its dtype has fields, which no tensor has");
		mer_hint(err, "save each field as a file of its own");
		return MER_EINPUT;
	}
	struct scan rest = { descr.ptr, descr.ptr + descr.len };
	char order = descr.len > 2 ? *rest.at++ : '\0';
	char kind = order != '\0' ? *rest.at++ : '\0';
	if (order == '\0' || strchr("<>|=", order) == NULL || !take_count(&rest, &npy->item) ||
	    rest.at != rest.end)
		return fail_dtype(descr, err);
	npy->big_endian = order == '>';
	for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
		if (dtypes[i].kind == kind && (dtypes[i].item == 0 || dtypes[i].item == npy->item))
			npy->datatype = dtypes[i].datatype;
	npy->utf32 = kind == 'U';
	if (npy->datatype == MER_DATATYPE_NONE ||
	    (npy->utf32 && __builtin_mul_overflow(npy->item, CHARACTER, &npy->item)))
		return fail_dtype(descr, err);
	return MER_OK;
}

/* --- the header ----------------------------------------------------------------------------- */

enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 };

static enum mer_status fail_header(struct mer_error *err)
{
	return mer_fail(err, MER_EINPUT, "its header is none that NumPy writes");
}

static enum mer_status read_member(struct scan *scan, struct mer_npy *npy, unsigned *seen,
                                   struct mer_error *err)
{
	static const char *const names[] = { "descr", "fortran_order", "shape" };
	struct mer_str key;
	unsigned which = 0;
	if (!take_string(scan, &key) || !take(scan, ':'))
		return fail_header(err);
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (key.len == strlen(names[i]) && memcmp(key.ptr, names[i], key.len) == 0)
			which = 1u << i;
	if (which == 0 || (*seen & which) != 0)
		return fail_header(err);
	*seen |= which;
	if (which == DESCR)
		return read_descr(scan, npy, err);
	if (which == SHAPE)
		return read_shape(scan, npy, err);
	npy->by_column = take_word(scan, "True");
	return npy->by_column || take_word(scan, "False") ? MER_OK : fail_header(err);
}

static enum mer_status read_header(struct mer_str text, struct mer_npy *npy, struct mer_error *err)
{
	struct scan scan = { text.ptr, text.ptr + text.len };
	unsigned seen = 0;
	if (!take(&scan, '{'))
		return fail_header(err);
	while (!take(&scan, '}')) {
		enum mer_status st = read_member(&scan, npy, &seen, err);
		if (st != MER_OK)
			return st;
		if (!take(&scan, ',')) {
			if (!take(&scan, '}'))
				return fail_header(err);
			break;
		}
	}
	skip_space(&scan);
	return seen == ALL && scan.at == scan.end ? MER_OK : fail_header(err);
}

/* Where the header is in the file. */
static enum mer_status find_header(struct mer_str file, struct mer_str *out, struct mer_error *err)
{
	if (file.len < MAGIC_LEN || memcmp(file.ptr, MAGIC, MAGIC_LEN) != 0) {
		(void)mer_fail(err, MER_EINPUT, "no .npy file: it does not begin with \\x93NUMPY");
		if (file.len >= 2 && memcmp(file.ptr, "PK", 2) == 0)
			mer_hint(err, "an .npz archive holds several of them: unpack it");
		return MER_EINPUT;
	}
	unsigned major = file.len > MAGIC_LEN ? (unsigned char)file.ptr[MAGIC_LEN] : 1;
	size_t bytes = major == 1 ? 2 : 4;
	if (major < 1 || major > 3)
		return mer_fail(err, MER_EINPUT, "its version of the format is %u, not 1 to 3", major);
	if (file.len < LENGTH_AT + bytes)
		return mer_fail(err, MER_EINPUT, "it is cut off in its header");
	uint64_t len = meal_number_get(file.ptr + LENGTH_AT, bytes);
	if (len > HEADER_MAX)
		return mer_fail(err, MER_EINPUT, "its header of %" PRIu64 " bytes is over the limit of %d",
		                len, HEADER_MAX);
	if (len > file.len - LENGTH_AT - bytes)
		return mer_fail(err, MER_EINPUT, "it is cut off in its header");
	*out = (struct mer_str){ file.ptr + LENGTH_AT + bytes, (size_t)len };
	return MER_OK;
}

/* The data has to be as long as the header says. */
static enum mer_status check_size(const struct mer_npy *npy, size_t data, struct mer_error *err)
{
	uint64_t want;
	if (__builtin_mul_overflow(npy->elements, npy->item, &want) || want > INT64_MAX)
		return mer_fail(err, MER_EINPUT, "its shape is too large");
	if (data < want)
		return mer_fail(err, MER_EINPUT, "it is cut off: it has %zu of %" PRIu64 " bytes of data",
		                data, want);
	if (data > want)
		return mer_fail(err, MER_EINPUT, "%" PRIu64 " bytes stand behind its data",
		                (uint64_t)data - want);
	return MER_OK;
}

enum mer_status mer_npy_read(struct mer_str file, struct mer_npy *out, struct mer_error *err)
{
	struct mer_npy npy = { .elements = 1 };
	struct mer_str header = { NULL, 0 };
	enum mer_status st = find_header(file, &header, err);
	if (st == MER_OK)
		st = read_header(header, &npy, err);
	if (st != MER_OK)
		return st;
	for (size_t i = 0; i < npy.dims; i++)
		if (__builtin_mul_overflow(npy.elements, npy.shape[i], &npy.elements))
			return mer_fail(err, MER_EINPUT, "its shape is too large");
	npy.header = (size_t)(header.ptr + header.len - file.ptr);
	st = check_size(&npy, file.len - npy.header, err);
	if (st == MER_OK)
		*out = npy;
	return st;
}

/* --- values --------------------------------------------------------------------------------- */

static uint32_t character_at(const struct mer_npy *npy, const char *at)
{
	uint32_t code = (uint32_t)meal_number_get(at, CHARACTER);
	return npy->big_endian ? __builtin_bswap32(code) : code;
}

/* UTF-8 of a character; 0 bytes: it is none. */
static size_t put_utf8(uint32_t code, char out[4])
{
	if (code >= 0x110000 || (code >= 0xd800 && code < 0xe000))
		return 0;
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
	for (size_t i = more; i > 0; i--, code >>= 6)
		out[i] = (char)(0x80 | (code & 0x3f));
	out[0] = (char)((0xf00 >> (more + 1) & 0xf0) | code);
	return more + 1;
}

static enum mer_status add_text(const struct mer_npy *npy, const char *at, size_t len,
                                struct mer_buf *out, struct mer_error *err)
{
	char utf8[4];
	uint64_t bytes = 0;
	for (int pass = 0; pass < 2; pass++) { /* its length stands before it */
		for (size_t i = 0; i < len; i += CHARACTER) {
			uint32_t code = character_at(npy, at + i);
			size_t n = put_utf8(code, utf8);
			if (n == 0)
				return mer_fail(err, MER_EINPUT, "0x%" PRIx32 " in it is no character", code);
			if (pass == 0)
				bytes += n;
			else
				mer_buf_add(out, utf8, n);
		}
		if (pass == 0)
			meal_number_put(out, bytes, MEAL_LENGTH_BYTES);
	}
	return MER_OK;
}

static enum mer_status add_string(const struct mer_npy *npy, const char *at, struct mer_buf *out,
                                  struct mer_error *err)
{
	size_t len = (size_t)npy->item, unit = npy->utf32 ? CHARACTER : 1;
	while (len > 0 && meal_number_get(at + len - unit, unit) == 0)
		len -= unit;
	if (len / unit > UINT32_MAX / CHARACTER)
		return mer_fail(err, MER_EINPUT, "its elements are too long");
	if (npy->utf32)
		return add_text(npy, at, len, out, err);
	meal_number_put(out, len, MEAL_LENGTH_BYTES);
	mer_buf_add(out, at, len);
	return MER_OK;
}

static enum mer_status add_element(const struct mer_npy *npy, const char *at, struct mer_buf *out,
                                   struct mer_error *err)
{
	if (npy->datatype == MER_BYTES)
		return add_string(npy, at, out, err);
	if (!npy->big_endian) {
		mer_buf_add(out, at, (size_t)npy->item);
		return MER_OK;
	}
	char swapped[8];
	for (size_t i = 0; i < npy->item; i++)
		swapped[i] = at[npy->item - 1 - i];
	mer_buf_add(out, swapped, (size_t)npy->item);
	return MER_OK;
}

/* Goes through the elements row by row, wherever they stand. */
static enum mer_status add_elements(const struct mer_npy *npy, const char *data,
                                    struct mer_buf *out, struct mer_error *err)
{
	uint64_t index[MER_NPY_DIMS] = { 0 }, stride[MER_NPY_DIMS], at = 0, step = npy->item;
	for (size_t i = 0; i < npy->dims; i++) {
		size_t dim = npy->by_column ? i : npy->dims - 1 - i;
		stride[dim] = step;
		step *= npy->shape[dim];
	}
	for (uint64_t n = 0; n < npy->elements; n++) {
		enum mer_status st = add_element(npy, data + at, out, err);
		if (st == MER_OK)
			st = mer_buf_check(out, err);
		if (st != MER_OK)
			return st;
		for (size_t dim = npy->dims; dim-- > 0;) {
			at += stride[dim];
			if (++index[dim] < npy->shape[dim])
				break;
			at -= stride[dim] * npy->shape[dim];
			index[dim] = 0;
		}
	}
	return MER_OK;
}

enum mer_status mer_npy_values(const struct mer_npy *npy, struct mer_str file, struct mer_buf *out,
                               struct mer_error *err)
{
	const char *data = file.ptr + npy->header;
	size_t len = file.len - npy->header;
	for (size_t i = 0; npy->datatype == MER_BOOL && i < len; i++)
		if ((unsigned char)data[i] > 1)
			return mer_fail(err, MER_EINPUT, "%u in it is no bool",
			                (unsigned)(unsigned char)data[i]);
	bool as_they_are = npy->datatype != MER_BYTES && (!npy->big_endian || npy->item == 1) &&
	                   (!npy->by_column || npy->dims < 2);
	if (!as_they_are)
		return add_elements(npy, data, out, err);
	mer_buf_add(out, data, len);
	return mer_buf_check(out, err);
}

/* --- writing -------------------------------------------------------------------------------- */

static void put_header(struct mer_buf *out, const char *descr, const uint64_t shape[], size_t dims)
{
	struct mer_buf text;
	mer_buf_init(&text, HEADER_MAX);
	mer_buf_printf(&text, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
	for (size_t i = 0; i < dims; i++)
		mer_buf_printf(&text, "%s%" PRIu64 "%s", i > 0 ? " " : "", shape[i],
		               i + 1 < dims || dims == 1 ? "," : "");
	mer_buf_text(&text, "), }");
	while ((LENGTH_AT + 2 + text.len + 1) % ALIGN != 0 && text.status == MER_OK)
		mer_buf_byte(&text, ' ');
	mer_buf_byte(&text, '\n');
	if (text.status != MER_OK)
		out->status = text.status;
	char length[2] = { (char)(text.len & 0xff), (char)(text.len >> 8) };
	mer_buf_add(out, MAGIC "\x01", MAGIC_LEN + 2);
	mer_buf_add(out, length, sizeof length);
	mer_buf_add(out, text.ptr, text.len);
	mer_buf_release(&text);
}

static enum mer_status longest(struct mer_str rest, uint64_t elements, size_t *out,
                               struct mer_error *err)
{
	struct mer_str element;
	*out = 1; /* NumPy has no S0 */
	for (; elements > 0; elements--) {
		if (!meal_element_next(&rest, &element))
			return mer_fail(err, MER_ECORRUPT, "its elements do not end with its bytes");
		if (element.len > 0 && element.ptr[element.len - 1] == '\0')
			return mer_fail(err, MER_EINPUT,
			                "an element ends with a NUL, which NumPy's strings cannot");
		*out = element.len > *out ? element.len : *out;
	}
	return rest.len == 0 ? MER_OK
	                     : mer_fail(err, MER_ECORRUPT, "its elements do not end with its bytes");
}

static enum mer_status write_strings(const uint64_t shape[], size_t dims, uint64_t elements,
                                     struct mer_str bytes, struct mer_buf *out,
                                     struct mer_error *err)
{
	char descr[32];
	size_t item = 1;
	struct mer_str element;
	enum mer_status st = longest(bytes, elements, &item, err);
	if (st != MER_OK)
		return st;
	(void)snprintf(descr, sizeof descr, "|S%zu", item);
	put_header(out, descr, shape, dims);
	while (meal_element_next(&bytes, &element) && mer_buf_check(out, NULL) == MER_OK) {
		mer_buf_add(out, element.ptr, element.len);
		size_t pad = item - element.len;
		char *room = mer_buf_room(out, pad);
		if (room != NULL && pad > 0) {
			memset(room, 0, pad);
			mer_buf_grow(out, pad);
		}
	}
	return mer_buf_check(out, err);
}

/* BF16 is the upper half of FP32. */
static void put_bf16(struct mer_buf *out, struct mer_str bytes)
{
	for (size_t i = 0; i + 2 <= bytes.len; i += 2)
		mer_buf_add(out, (char[]){ 0, 0, bytes.ptr[i], bytes.ptr[i + 1] }, 4);
}

enum mer_status mer_npy_write(enum mer_datatype datatype, const uint64_t shape[], size_t dims,
                              struct mer_str bytes, struct mer_buf *out, struct mer_error *err)
{
	static const char *const descrs[] = {
		[MER_BOOL] = "|b1",   [MER_UINT8] = "|u1", [MER_UINT16] = "<u2", [MER_UINT32] = "<u4",
		[MER_UINT64] = "<u8", [MER_INT8] = "|i1",  [MER_INT16] = "<i2",  [MER_INT32] = "<i4",
		[MER_INT64] = "<i8",  [MER_FP16] = "<f2",  [MER_BF16] = "<f4",   [MER_FP32] = "<f4",
		[MER_FP64] = "<f8",
	};
	static_assert(sizeof descrs / sizeof *descrs == MER_BYTES, "one for each but BYTES");
	uint64_t elements = 1;
	if (dims > MER_NPY_DIMS)
		return mer_fail(err, MER_EINPUT, "it has more than %d dimensions", MER_NPY_DIMS);
	for (size_t i = 0; i < dims; i++)
		if (__builtin_mul_overflow(elements, shape[i], &elements))
			return mer_fail(err, MER_EINPUT, "its shape is too large");
	if (datatype == MER_BYTES)
		return write_strings(shape, dims, elements, bytes, out, err);
	put_header(out, descrs[datatype], shape, dims);
	if (datatype == MER_BF16)
		put_bf16(out, bytes);
	else
		mer_buf_add(out, bytes.ptr, bytes.len);
	return mer_buf_check(out, err);
}
