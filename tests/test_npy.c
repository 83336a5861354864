/* NumPy's .npy files, byte by byte: what is read, what is refused and why, what is written. */
#include "check_main.h"

#include <mer/npy.h>
#include <stdlib.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";

static void from_hex(const char *hex, struct mer_buf *out)
{
	for (; *hex != '\0'; hex += 2)
		mer_buf_byte(out, (char)strtol((char[]){ hex[0], hex[1], '\0' }, NULL, 16));
}

static void add_hex(struct mer_buf *out, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		mer_buf_byte(out, hex_digits[(unsigned char)bytes[i] >> 4]);
		mer_buf_byte(out, hex_digits[(unsigned char)bytes[i] & 15]);
	}
}

/* A file of a version, a header and its data in hexadecimal. */
static void make(unsigned version, const char *header, const char *data, struct mer_buf *out)
{
	size_t len = strlen(header);
	mer_buf_text(out, "\x93NUMPY");
	mer_buf_add(out, (char[]){ (char)version, 0 }, 2);
	mer_buf_add(out, (char[]){ (char)(len & 255), (char)(len >> 8), 0, 0 }, version == 1 ? 2 : 4);
	mer_buf_add(out, header, len);
	from_hex(data, out);
}

#define HEAD(descr, order, shape) \
	"{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }       \n"
#define C(descr, shape) HEAD("'" descr "'", "False", shape)
#define F(descr, shape) HEAD("'" descr "'", "True", shape)

/* want: datatype, shape and values in hexadecimal, or what is wrong behind '!'. */
static const struct {
	unsigned version;
	const char *header, *data, *want;
} files[] = {
	{ 1, C("|b1", "(2,)"), "0100", "BOOL [2] 0100" },
	{ 1, C("|u1", "(2,)"), "01ff", "UINT8 [2] 01ff" },
	{ 1, C("<u2", "(1,)"), "0102", "UINT16 [1] 0102" },
	{ 1, C("<u4", "(1,)"), "01020304", "UINT32 [1] 01020304" },
	{ 1, C("<u8", "(1,)"), "0102030405060708", "UINT64 [1] 0102030405060708" },
	{ 1, C("|i1", "(1,)"), "ff", "INT8 [1] ff" },
	{ 1, C("<i2", "(1,)"), "0102", "INT16 [1] 0102" },
	{ 1, C("<i4", "(1,)"), "01020304", "INT32 [1] 01020304" },
	{ 1, C("<i8", "(1,)"), "0102030405060708", "INT64 [1] 0102030405060708" },
	{ 1, C("<f2", "(1,)"), "003c", "FP16 [1] 003c" },
	{ 1, C("<f4", "(1,)"), "0000803f", "FP32 [1] 0000803f" },
	{ 1, C("<f8", "(1,)"), "000000000000f03f", "FP64 [1] 000000000000f03f" },
	{ 1, C("<V2", "(1,)"), "803f", "BF16 [1] 803f" },
	{ 1, C("|V2", "(1,)"), "803f", "BF16 [1] 803f" },
	{ 2, C("<i2", "(1,)"), "0102", "INT16 [1] 0102" },
	{ 3, C("<i2", "(1,)"), "0102", "INT16 [1] 0102" },

	/* shapes */
	{ 1, C("|u1", "()"), "07", "UINT8 [] 07" },
	{ 1, C("|u1", "(0,)"), "", "UINT8 [0] " },
	{ 1, C("|u1", "(2, 0, 5)"), "", "UINT8 [2,0,5] " },
	{ 1, C("|u1", "(2, 3)"), "010203040506", "UINT8 [2,3] 010203040506" },
	{ 1, C("|u1", "(2L, 1L)"), "0102", "UINT8 [2,1] 0102" },
	{ 1, C("|u1", "(1,2,)"), "0102", "UINT8 [1,2] 0102" },
	{ 1, F("|u1", "(2, 3)"), "010402050306", "UINT8 [2,3] 010203040506" },
	{ 1, F("<i2", "(2, 1, 2)"), "0100030002000400", "INT16 [2,1,2] 0100020003000400" },
	{ 1, F("|u1", "(3,)"), "010203", "UINT8 [3] 010203" },
	{ 1, F("|u1", "()"), "01", "UINT8 [] 01" },
	{ 1, F("|u1", "(2, 0)"), "", "UINT8 [2,0] " },

	/* the other byte order */
	{ 1, C(">i2", "(2,)"), "01020304", "INT16 [2] 02010403" },
	{ 1, C(">f8", "(1,)"), "3ff0000000000000", "FP64 [1] 000000000000f03f" },
	{ 1, F(">u2", "(2, 2)"), "0001000300020004", "UINT16 [2,2] 0100020003000400" },
	{ 1, C(">u1", "(1,)"), "05", "UINT8 [1] 05" },
	{ 1, C("=u2", "(1,)"), "0102", "UINT16 [1] 0102" },

	/* strings */
	{ 1, C("|S3", "(2,)"),
	  "616200"
	  "616263",
	  "BYTES [2] 020000006162"
	  "03000000616263" },
	{ 1, C("|S2", "(1,)"), "0061", "BYTES [1] 020000000061" },
	{ 1, C("|S1", "(2,)"), "0061",
	  "BYTES [2] 00000000"
	  "0100000061" },
	{ 1, C("|S0", "(2,)"), "", "BYTES [2] 0000000000000000" },
	{ 1, C("<U2", "(2,)"),
	  "e400000000000000"
	  "ac20000000f60100",
	  "BYTES [2] 02000000c3a4"
	  "07000000e282acf09f9880" },
	{ 1, C(">U1", "()"), "00000041", "BYTES [] 0100000041" },
	{ 1, F("|S1", "(2, 2)"), "61636264",
	  "BYTES [2,2] 01000000610100000062"
	  "01000000630100000064" },
	{ 1, C("<U1", "(1,)"), "00d80000", "!0xd800 in it is no character" },
	{ 1, C("<U1", "(1,)"), "00001100", "!0x110000 in it is no character" },
	{ 1, C("|b1", "(1,)"), "02", "!2 in it is no bool" },

	/* headers as others write them */
	{ 1, "{\"shape\": (1,), \"fortran_order\": False, \"descr\": \"|u1\"}", "07", "UINT8 [1] 07" },
	{ 1, "{'descr':'|u1','fortran_order':False,'shape':(1,)}\n", "07", "UINT8 [1] 07" },

	/* what no tensor can be */
	{ 1, C("<c8", "(1,)"), "0102030405060708", "!its dtype '<c8' is none that a tensor can be" },
	{ 1, C("|O", "(1,)"), "00", "!its dtype '|O' is none that a tensor can be" },
	{ 1, C("<M8[ns]", "(1,)"), "0102030405060708",
	  "!its dtype '<M8[ns]' is none that a tensor can be" },
	{ 1, C("<f16", "(1,)"), "0102030405060708", "!its dtype '<f16' is none that a tensor can be" },
	{ 1, C("|V3", "(1,)"), "010203", "!its dtype '|V3' is none that a tensor can be" },
	{ 1, C("", "(1,)"), "01", "!its dtype '' is none that a tensor can be" },
	{ 1, C("f4", "(1,)"), "01", "!its dtype 'f4' is none that a tensor can be" },
	{ 1, HEAD("[('a', '<f4')]", "False", "(1,)"), "00000000",
	  "!its dtype has fields, which no tensor has" },

	/* headers that are none */
	{ 1, "", "", "!its header is none that NumPy writes" },
	{ 1, "{", "", "!its header is none that NumPy writes" },
	{ 1, "{}", "", "!its header is none that NumPy writes" },
	{ 1, "{'descr': '|u1', 'shape': (1,)}", "07", "!its header is none that NumPy writes" },
	{ 1, "{'descr': '|u1', 'descr': '|u1'}", "07", "!its header is none that NumPy writes" },
	{ 1, "{'order': '|u1'}", "07", "!its header is none that NumPy writes" },
	{ 1, "{'descr' '|u1'}", "07", "!its header is none that NumPy writes" },
	{ 1, "{'descr': '|u1' 'shape': (1,)}", "07", "!its header is none that NumPy writes" },
	{ 1, C("|u1", "(1,)") "x", "07", "!its header is none that NumPy writes" },
	{ 1, HEAD("'|u1'", "true", "(1,)"), "07", "!its header is none that NumPy writes" },
	{ 1, C("|u1", "[1]"), "07", "!its shape is no tuple" },
	{ 1, C("|u1", "(1)"), "07", "!its shape is no tuple" },
	{ 1, C("|u1", "(1 2)"), "07", "!its shape is no tuple" },
	{ 1, C("|u1", "(-1,)"), "07", "!extent 0 of its shape is no length" },
	{ 1, C("|u1", "(1, x)"), "07", "!extent 1 of its shape is no length" },
	{ 1, C("|u1", "(,)"), "07", "!extent 0 of its shape is no length" },
	{ 1, C("|u1", "(99999999999999999999,)"), "07", "!extent 0 of its shape is no length" },
	{ 1, C("|u1", "(4294967296, 4294967296)"), "07", "!its shape is too large" },
	{ 1, C("<f8", "(2305843009213693952,)"), "07", "!its shape is too large" },
	{ 1, C("|u1", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)"), "07",
	  "!it has more than 32 dimensions" },

	/* data that is too short or too long */
	{ 1, C("<f4", "(2,)"), "0000803f", "!it is cut off: it has 4 of 8 bytes of data" },
	{ 1, C("|u1", "(1,)"), "0102", "!1 bytes stand behind its data" },
	{ 4, C("|u1", "(1,)"), "07", "!its version of the format is 4, not 1 to 3" },
};

static void read_file(struct mer_str file, struct mer_buf *seen)
{
	struct mer_npy npy;
	struct mer_error err;
	struct mer_buf values;
	mer_buf_init(&values, 4096);
	enum mer_status st = mer_npy_read(file, &npy, &err);
	if (st == MER_OK)
		st = mer_npy_values(&npy, file, &values, &err);
	if (st != MER_OK) {
		ck_assert_int_eq(st, MER_EINPUT);
		mer_buf_printf(seen, "!%s", err.message);
	} else {
		mer_buf_printf(seen, "%s [", mer_datatype_name(npy.datatype));
		for (size_t i = 0; i < npy.dims; i++)
			mer_buf_printf(seen, "%s%d", i > 0 ? "," : "", (int)npy.shape[i]);
		mer_buf_text(seen, "] ");
		add_hex(seen, values.ptr, values.len);
	}
	mer_buf_release(&values);
}

START_TEST(reads_files)
{
	struct mer_buf file, seen;
	mer_buf_init(&file, 4096);
	mer_buf_init(&seen, 4096);
	make(files[_i].version, files[_i].header, files[_i].data, &file);
	read_file((struct mer_str){ file.ptr, file.len }, &seen);
	ck_assert_str_eq(seen.ptr, files[_i].want);
	size_t cuts = files[_i].want[0] != '!' ? file.len : 0;
	for (size_t len = 0; len < cuts; len++) { /* each begin of it, in memory of that size */
		char *cut = malloc(len > 0 ? len : 1);
		ck_assert_ptr_nonnull(cut);
		memcpy(cut, file.ptr, len);
		mer_buf_clear(&seen);
		read_file((struct mer_str){ cut, len }, &seen);
		ck_assert_msg(seen.ptr[0] == '!', "%zu bytes: %s", len, seen.ptr);
		free(cut);
	}
	mer_buf_release(&file);
	mer_buf_release(&seen);
}
END_TEST

static const struct {
	const char *bytes, *error, *hint;
} no_files[] = {
	{ "", "no .npy file: it does not begin with \\x93NUMPY", "" },
	{ "1.0,2.0", "no .npy file: it does not begin with \\x93NUMPY", "" },
	{ "PK\3\4", "no .npy file: it does not begin with \\x93NUMPY",
	  "an .npz archive holds several of them: unpack it" },
	{ "\x93NUMPY", "it is cut off in its header", "" },
	{ "\x93NUMPY\2\x01\xff\xff\xff\xff",
	  "its header of 4294967295 bytes is over the limit of 65536", "" },
};

START_TEST(refuses_what_is_no_file)
{
	struct mer_npy npy;
	struct mer_error err;
	const struct mer_str file = { no_files[_i].bytes, strlen(no_files[_i].bytes) };
	ck_assert_int_eq(mer_npy_read(file, &npy, &err), MER_EINPUT);
	ck_assert_str_eq(err.message, no_files[_i].error);
	ck_assert_str_eq(err.hint, no_files[_i].hint);
}
END_TEST

/* --- writing -------------------------------------------------------------------------------- */

#define MAX_DIMS 4
static const struct {
	enum mer_datatype datatype;
	size_t dims;
	uint64_t shape[MAX_DIMS];
	const char *bytes;
	const char *header; /* without the spaces at its end; or what is wrong behind '!' */
	const char *data;   /* NULL: as bytes */
} written[] = {
	{ MER_FP32,
	  2,
	  { 1, 2 },
	  "0000803f00000040",
	  "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }",
	  NULL },
	{ MER_BOOL,
	  1,
	  { 2 },
	  "0100",
	  "{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }",
	  NULL },
	{ MER_INT64,
	  0,
	  { 0 },
	  "0102030405060708",
	  "{'descr': '<i8', 'fortran_order': False, 'shape': (), }",
	  NULL },
	{ MER_UINT8,
	  3,
	  { 2, 0, 5 },
	  "",
	  "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 0, 5), }",
	  NULL },
	{ MER_BF16,
	  1,
	  { 2 },
	  "803f49c0",
	  "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
	  "0000803f000049c0" },
	{ MER_BYTES,
	  1,
	  { 3 },
	  "0100000061"
	  "00000000"
	  "03000000616263",
	  "{'descr': '|S3', 'fortran_order': False, 'shape': (3,), }",
	  "610000"
	  "000000"
	  "616263" },
	{ MER_BYTES,
	  1,
	  { 1 },
	  "00000000",
	  "{'descr': '|S1', 'fortran_order': False, 'shape': (1,), }",
	  "00" },
	{ MER_BYTES, 1, { 0 }, "", "{'descr': '|S1', 'fortran_order': False, 'shape': (0,), }", NULL },
	{ MER_BYTES,
	  1,
	  { 1 },
	  "020000006100",
	  "!an element ends with a NUL, which NumPy's strings cannot",
	  NULL },
	{ MER_BYTES, 1, { 1 }, "0300000061", "!its elements do not end with its bytes", NULL },
	{ MER_BYTES, 1, { 1 }, "010000006161", "!its elements do not end with its bytes", NULL },
	{ MER_BYTES, 1, { 2 }, "0100000061", "!its elements do not end with its bytes", NULL },
};

START_TEST(writes_files)
{
	struct mer_buf bytes, out, want;
	struct mer_error err;
	mer_buf_init(&bytes, 4096);
	mer_buf_init(&out, 4096);
	mer_buf_init(&want, 4096);
	from_hex(written[_i].bytes, &bytes);
	enum mer_status st = mer_npy_write(written[_i].datatype, written[_i].shape, written[_i].dims,
	                                   (struct mer_str){ bytes.ptr, bytes.len }, &out, &err);
	const char *header = written[_i].header;
	if (st != MER_OK) {
		ck_assert_str_eq(err.message, header + 1);
	} else {
		ck_assert_mem_eq(out.ptr, "\x93NUMPY\1\0\x76\0", 10); /* 118 and these 10 are 128 */
		ck_assert_mem_eq(out.ptr + 10, header, strlen(header));
		for (size_t i = 10 + strlen(header); i < 127; i++)
			ck_assert_int_eq(out.ptr[i], ' ');
		ck_assert_int_eq(out.ptr[127], '\n');
		add_hex(&want, out.ptr + 128, out.len - 128);
		const char *data = written[_i].data != NULL ? written[_i].data : written[_i].bytes;
		ck_assert_str_eq(want.len > 0 ? want.ptr : "", data);
		mer_buf_clear(&want);
		read_file((struct mer_str){ out.ptr, out.len }, &want);
		ck_assert_msg(want.ptr[0] != '!', "%s", want.ptr);
	}
	mer_buf_release(&bytes);
	mer_buf_release(&out);
	mer_buf_release(&want);
}
END_TEST

START_TEST(holds_to_the_limit)
{
	struct mer_buf file, out;
	struct mer_npy npy;
	struct mer_error err;
	mer_buf_init(&file, 4096);
	make(1, C("|S0", "(9223372036854775807,)"), "", &file);
	const struct mer_str all = { file.ptr, file.len };
	ck_assert_int_eq(mer_npy_read(all, &npy, &err), MER_OK);
	mer_buf_init(&out, 1000);
	ck_assert_int_eq(mer_npy_values(&npy, all, &out, &err), MER_ELIMIT);
	mer_buf_release(&out);
	mer_buf_release(&file);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("npy");
	TCase *tc = tcase_create("npy");
	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, reads_files, 0, N_ROWS(files));
	tcase_add_loop_test(tc, refuses_what_is_no_file, 0, N_ROWS(no_files));
	tcase_add_loop_test(tc, writes_files, 0, N_ROWS(written));
	tcase_add_test(tc, holds_to_the_limit);
	suite_add_tcase(suite, tc);
	return suite;
}
