/* Tensors between the JSON of the Open Inference Protocol and the bytes of frames. */
#include "check_main.h"

#include <mer/clean.h>
#include <mer/compare.h>
#include <mer/oip.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "0123456789abcdef";

/* Bytes of their hexadecimal digits; returns how many. */
static size_t from_hex(const char *hex, char *out)
{
	size_t n = 0;
	for (; hex[2 * n] != '\0'; n++)
		out[n] = (char)(strtol((char[]){ hex[2 * n], hex[2 * n + 1], '\0' }, NULL, 16));
	return n;
}

static void add_hex(struct mer_buf *out, struct mer_str bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		mer_buf_byte(out, digits[(unsigned char)bytes.ptr[i] >> 4]);
		mer_buf_byte(out, digits[(unsigned char)bytes.ptr[i] & 15]);
	}
}

/* --- requests ------------------------------------------------------------------------------- */

#define ONE(datatype, shape, data) \
	"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"" datatype "\",\"shape\":" shape \
	",\"data\":" data "}]}"
#define LOOSE(data) "{\"inputs\":[{\"name\":\"x\",\"data\":" data "}]}"
#define INPUT(name, datatype, shape) \
	"{\"name\":\"" name "\",\"datatype\":\"" datatype "\",\"shape\":" shape "}"
#define TAKES(datatype, shape) "[" INPUT("x", datatype, shape) "]"
#define BINARY(datatype, shape, size) \
	"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"" datatype "\",\"shape\":" shape \
	",\"parameters\":{\"binary_data_size\":" size "}}]}"
#define TWO "[" INPUT("a", "INT8", "[1]") "," INPUT("b", "FP32", "[-1,2]") "]"

/* want: datatype and shape of each input, then the body in hexadecimal; or what is wrong behind '!'. */
static const struct {
	const char *contract, *request, *binary, *want;
} requests[] = {
	{ NULL, ONE("BOOL", "[4]", "[true,false,1,0]"), "", "x BOOL [4] 01000100" },
	{ NULL, ONE("UINT8", "[3]", "[0,255,7]"), "", "x UINT8 [3] 00ff07" },
	{ NULL, ONE("UINT16", "[1]", "[65535]"), "", "x UINT16 [1] ffff" },
	{ NULL, ONE("UINT32", "[1]", "[4294967295]"), "", "x UINT32 [1] ffffffff" },
	{ NULL, ONE("UINT64", "[2]", "[1,\"18446744073709551615\"]"), "",
	  "x UINT64 [2] 0100000000000000ffffffffffffffff" },
	{ NULL, ONE("INT8", "[2]", "[-128,127]"), "", "x INT8 [2] 807f" },
	{ NULL, ONE("INT16", "[1]", "[-2]"), "", "x INT16 [1] feff" },
	{ NULL, ONE("INT32", "[1]", "[-2147483648]"), "", "x INT32 [1] 00000080" },
	{ NULL, ONE("INT64", "[2]", "[-9223372036854775808,\"9223372036854775807\"]"), "",
	  "x INT64 [2] 0000000000000080ffffffffffffff7f" },
	{ NULL, ONE("INT64", "[1]", "[\"-9223372036854775808\"]"), "", "x INT64 [1] 0000000000000080" },
	{ NULL, ONE("FP16", "[4]", "[1,-2,65504,0.000000059604644775390625]"), "",
	  "x FP16 [4] 003c00c0ff7b0100" },
	{ NULL, ONE("BF16", "[2]", "[1,-3.140625]"), "", "x BF16 [2] 803f49c0" },
	{ NULL, ONE("FP32", "[3]", "[1,-2.5,1e-45]"), "", "x FP32 [3] 0000803f000020c001000000" },
	{ NULL, ONE("FP64", "[1]", "[0.1]"), "", "x FP64 [1] 9a9999999999b93f" },
	{ NULL, ONE("BYTES", "[3]", "[\"ab\",\"\",\"\\u00e4\"]"), "",
	  "x BYTES [3] 020000006162"
	  "00000000"
	  "02000000c3a4" },
	{ NULL, ONE("BYTES", "[1]", "[\"a\\u0000b\"]"), "", "x BYTES [1] 03000000610062" },
	/* ties go to the even number */
	{ NULL, ONE("FP16", "[2]", "[1.00048828125,1.00146484375]"), "", "x FP16 [2] 003c023c" },
	{ NULL, ONE("FP16", "[2]", "[65519,1e-9]"), "", "x FP16 [2] ff7b0000" },
	{ NULL, ONE("FP16", "[1]", "[0.00006103515625]"), "", "x FP16 [1] 0004" },
	{ NULL, ONE("INT32", "[2]", "[2.0,-1e3]"), "", "x INT32 [2] 0200000018fcffff" },

	/* nested, flat, a scalar */
	{ NULL, ONE("UINT8", "[2,3]", "[[1,2,3],[4,5,6]]"), "", "x UINT8 [2,3] 010203040506" },
	{ NULL, ONE("UINT8", "[2,3]", "[1,2,3,4,5,6]"), "", "x UINT8 [2,3] 010203040506" },
	{ NULL, ONE("UINT8", "[2,1,2]", "[[[1,2]],[[3,4]]]"), "", "x UINT8 [2,1,2] 01020304" },
	{ NULL, ONE("UINT8", "[]", "5"), "", "x UINT8 [] 05" },
	{ NULL, ONE("UINT8", "[]", "[5]"), "", "x UINT8 [] 05" },
	{ NULL, ONE("UINT8", "[0]", "[]"), "", "x UINT8 [0] " },
	{ NULL, ONE("UINT8", "[2,0]", "[[],[]]"), "", "x UINT8 [2,0] " },
	{ NULL, ONE("UINT8", "[2,0]", "[]"), "", "x UINT8 [2,0] " },
	{ TAKES("UINT8", "[-1,2]"), LOOSE("[[1,2],[3,4]]"), "", "x UINT8 [2,2] 01020304" },
	{ TAKES("UINT8", "[]"), LOOSE("3"), "", "x UINT8 [] 03" },
	{ "[{\"name\":\"x\",\"datatype\":\"UINT8\",\"shape\":[\"n\"]}]", LOOSE("[3]"), "",
	  "x UINT8 [1] 03" },
	{ NULL, "{\"inputs\":[]}", "", "" },

	/* base64, and parameters that go on */
	{ NULL,
	  "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"shape\":[4],\"parameters\":"
	  "{\"content_type\":\"base64\"},\"data\":[\"\",\"/w==\",\"/wA=\",\"AAEC\"]}]}",
	  "",
	  "x BYTES [4] 00000000"
	  "01000000ff"
	  "02000000ff00"
	  "03000000000102" },
	{ NULL,
	  "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"shape\":[1],\"parameters\":"
	  "{\"content_type\":\"base64\"},\"data\":[\"/w=\"]}]}",
	  "", "!input 'x': data[0]: no base64" },
	{ NULL,
	  "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"shape\":[1],\"parameters\":"
	  "{\"content_type\":\"base64\"},\"data\":[\"/x==\"]}]}",
	  "", "!input 'x': data[0]: no base64" },
	{ NULL, "{\"parameters\":{\"k\":1},\"inputs\":[]}", "", "{\"k\":1}" },
	{ NULL, "{\"parameters\":1,\"inputs\":[]}", "", "!the request's parameters are no object" },

	/* binary data */
	{ NULL, BINARY("INT16", "[2]", "4"), "01000200", "x INT16 [2] 01000200" },
	{ TWO,
	  "{\"inputs\":[{\"name\":\"b\",\"datatype\":\"FP32\",\"shape\":[1,2],\"parameters\":"
	  "{\"binary_data_size\":8}},{\"name\":\"a\",\"data\":[-1]}]}",
	  "0000803f00000040", "b FP32 [1,2] a INT8 [1] 0000803f00000040ff" },
	{ NULL, BINARY("INT16", "[2]", "4"), "010002", "!input 'x' ends behind the binary data" },
	{ NULL, BINARY("INT16", "[2]", "4"), "0100020003",
	  "!1 bytes of binary data belong to no input" },
	{ NULL, BINARY("INT16", "[2]", "3"), "010002",
	  "!the binary data: tensor 'x': binary_data_size 3 does not fit 2 elements of INT16" },
	{ NULL, BINARY("BYTES", "[1]", "5"), "0200000061",
	  "!the binary data: tensor 'x': its 1 elements do not end where its 5 bytes do" },
	{ NULL, BINARY("INT16", "[-2]", "4"), "01000200",
	  "!tensor 'x': extent 0 of its shape is no length" },
	{ NULL, BINARY("INT16", "[2]", "-4"), "",
	  "!input 'x' has neither data nor a binary_data_size" },
	{ NULL,
	  "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1],"
	  "\"parameters\":{\"binary_data_size\":1}}]}",
	  "00", "!input 'x' has both data and a binary_data_size" },

	/* values that do not fit */
	{ NULL, ONE("UINT8", "[2]", "[1,256]"), "",
	  "!input 'x': data[1]: 256 is out of the range of UINT8" },
	{ NULL, ONE("UINT8", "[1,1]", "[[-1]]"), "",
	  "!input 'x': data[0][0]: -1 is out of the range of UINT8" },
	{ NULL, ONE("INT8", "[1]", "[128]"), "",
	  "!input 'x': data[0]: 128 is out of the range of INT8" },
	{ NULL, ONE("INT8", "[1]", "[-129]"), "",
	  "!input 'x': data[0]: -129 is out of the range of INT8" },
	{ NULL, ONE("UINT64", "[1]", "[\"18446744073709551616\"]"), "",
	  "!input 'x': data[0]: \"18446744073709551616\" is no UINT64" },
	{ NULL, ONE("UINT64", "[1]", "[-1]"), "",
	  "!input 'x': data[0]: -1 is out of the range of UINT64" },
	{ NULL, ONE("INT64", "[1]", "[1e19]"), "",
	  "!input 'x': data[0]: 1e+19 is out of the range of INT64" },
	{ NULL, ONE("INT32", "[1]", "[1.5]"), "", "!input 'x': data[0]: 1.5 is no INT32" },
	{ NULL, ONE("INT32", "[1]", "[\"1\"]"), "", "!input 'x': data[0]: \"1\" is no INT32" },
	{ NULL, ONE("INT32", "[1]", "[true]"), "", "!input 'x': data[0]: true is no INT32" },
	{ NULL, ONE("BOOL", "[1]", "[2]"), "", "!input 'x': data[0]: 2 is no BOOL" },
	{ NULL, ONE("BOOL", "[1]", "[\"true\"]"), "", "!input 'x': data[0]: \"true\" is no BOOL" },
	{ NULL, ONE("FP16", "[1]", "[65520]"), "",
	  "!input 'x': data[0]: 65520 is out of the range of FP16" },
	{ NULL, ONE("BF16", "[1]", "[3.4e38]"), "",
	  "!input 'x': data[0]: 3.4e+38 is out of the range of BF16" },
	{ NULL, ONE("FP32", "[1]", "[1e39]"), "",
	  "!input 'x': data[0]: 9.9999999999999994e+38 is out of the range of FP32" },
	{ NULL, ONE("FP32", "[1]", "[null]"), "", "!input 'x': data[0]: null is no FP32" },
	{ NULL, ONE("FP32", "[1]", "[\"1\"]"), "", "!input 'x': data[0]: \"1\" is no FP32" },
	{ NULL, ONE("FP32", "[1]", "[{}]"), "", "!input 'x': data[0]: an object is no FP32" },
	{ NULL, ONE("BYTES", "[1]", "[1]"), "",
	  "!input 'x': data[0]: no string, as the elements of BYTES are" },

	/* values that are not where the shape says */
	{ NULL, ONE("FP32", "[2,2]", "[[1,2],[3]]"), "", "!input 'x': data[1]: 1 elements, not 2" },
	{ NULL, ONE("FP32", "[2,2]", "[[1,2],3]"), "", "!input 'x': data[1]: no array of 2 elements" },
	{ NULL, ONE("FP32", "[2,2]", "[[1,2]]"), "", "!input 'x': data: 1 elements, not 2" },
	{ NULL, ONE("FP32", "[2,2]", "[1,2,3]"), "", "!input 'x': data: 3 elements, not 4" },
	{ NULL, ONE("FP32", "[2]", "[1,[2]]"), "", "!input 'x': data[1]: an array is no FP32" },
	{ NULL, ONE("FP32", "[1]", "1"), "", "!input 'x': data: no array of 1 elements" },
	{ NULL, ONE("FP32", "[1]", "null"), "", "!input 'x': data: no array of 1 elements" },
	{ TAKES("FP32", "[-1,2]"), LOOSE("[[1,2],[3]]"), "", "!input 'x': data[1]: 1 elements, not 2" },
	{ NULL, ONE("FP32", "[4294967296,4294967296]", "[]"), "",
	  "!input 'x': its shape is too large" },
	{ NULL, ONE("FP32", "[-1]", "[1]"), "",
	  "!input 'x': its shape is no array of up to 32 lengths" },
	{ NULL, ONE("FP32", "2", "[1]"), "", "!input 'x': its shape is no array of up to 32 lengths" },
	{ NULL, ONE("FP31", "[1]", "[1]"), "", "!input 'x': no such datatype: 'FP31'" },
	{ NULL, ONE("fp32", "[1]", "[1]"), "", "!input 'x': no such datatype: 'fp32'" },
	{ NULL, LOOSE("[1]"), "", "!input 'x' has no datatype, and the model does not say" },

	/* what is no request */
	{ NULL, "{}", "", "!the request has no array of inputs" },
	{ NULL, "[]", "", "!the request has no array of inputs" },
	{ NULL, "{\"inputs\":{}}", "", "!the request has no array of inputs" },
	{ NULL, "{\"inputs\":[1]}", "", "!input 1 has no name" },
	{ NULL, "{\"inputs\":[{\"name\":\"x\"}]}", "",
	  "!input 'x' has no datatype, and the model does not say" },

	/* against the contract */
	{ TAKES("FP32", "[-1,2]"), ONE("FP64", "[1,2]", "[1,2]"), "",
	  "!input 'x' is FP64 [1,2], the model takes FP32 [-1,2]" },
	{ TAKES("FP32", "[-1,2]"), ONE("FP32", "[1,3]", "[1,2,3]"), "",
	  "!input 'x' is FP32 [1,3], the model takes FP32 [-1,2]" },
	{ TAKES("FP32", "[-1,2]"), ONE("FP32", "[2]", "[1,2]"), "",
	  "!input 'x' is FP32 [2], the model takes FP32 [-1,2]" },
	{ TAKES("FP32", "[]"), LOOSE("[1]"), "", "!input 'x' is FP32 [1], the model takes FP32 []" },
	{ TAKES("FP32", "[-1]"), "{\"inputs\":[{\"name\":\"y\",\"data\":[1]}]}", "",
	  "!no such input: 'y'; the model takes x FP32 [-1]" },
	{ TWO, "{\"inputs\":[{\"name\":\"a\",\"data\":[1]}]}", "",
	  "!there is no input 'b'; the model takes a INT8 [1], b FP32 [-1,2]" },
	{ NULL,
	  "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"INT8\",\"data\":[1]},"
	  "{\"name\":\"a\",\"datatype\":\"INT8\",\"data\":[1]}]}",
	  "", "!input 'a' is there twice" },
	{ "[]", LOOSE("[1]"), "", "!no such input: 'x'; the model takes other inputs" },
};

static void show(const struct mer_oip_request *request, struct mer_buf *seen)
{
	const json_t *inputs = json_object_get(request->meta, "inputs");
	for (size_t i = 0; i < json_array_size(inputs); i++) {
		const json_t *input = json_array_get(inputs, i);
		MER_AUTO(mer_text_done)
		char *shape = json_dumps(json_object_get(input, "shape"), JSON_COMPACT);
		mer_buf_printf(seen, "%s %s %s ", mer_json_get_text(input, "name", "?"),
		               mer_json_get_text(input, "datatype", "?"), shape);
	}
	add_hex(seen, request->body);
	const json_t *parameters = json_object_get(request->meta, "parameters");
	if (parameters != NULL) {
		MER_AUTO(mer_text_done) char *text = json_dumps(parameters, JSON_COMPACT);
		mer_buf_text(seen, text);
	}
	struct mer_content content;
	ck_assert_int_eq(mer_content_read(request->meta, "inputs", request->body.len, &content, NULL),
	                 MER_OK);
	mer_content_release(&content);
}

static void tell(enum mer_status st, const struct mer_oip_request *made,
                 const struct mer_error *err, const char *want)
{
	struct mer_buf seen;
	mer_buf_init(&seen, 1024);
	mer_buf_text(&seen, "");
	if (st == MER_OK)
		show(made, &seen);
	else
		mer_buf_printf(&seen, "!%s", err->message);
	ck_assert(st == MER_OK || st == MER_EINPUT);
	ck_assert_str_eq(seen.len > 0 ? seen.ptr : "", want);
	mer_buf_release(&seen);
}

START_TEST(reads_requests)
{
	MER_AUTO(mer_json_done)
	json_t *contract =
		requests[_i].contract != NULL ? json_loads(requests[_i].contract, 0, NULL) : NULL;
	MER_AUTO(mer_json_done) json_t *json = json_loads(requests[_i].request, JSON_ALLOW_NUL, NULL);
	ck_assert(json != NULL && (contract == NULL) == (requests[_i].contract == NULL));
	char binary[64];
	size_t n = from_hex(requests[_i].binary, binary);
	struct mer_oip_request made = { 0 };
	struct mer_error err = { 0 };
	enum mer_status st =
		mer_oip_request(contract, json, (struct mer_str){ binary, n }, 1 << 20, &made, &err);
	tell(st, &made, &err, requests[_i].want);
	mer_oip_request_release(&made);
	if (n > 0)
		return;
	made = (struct mer_oip_request){ 0 };
	const struct mer_str text = { requests[_i].request, strlen(requests[_i].request) };
	st = mer_oip_parse(contract, text, 1 << 20, &made, &err);
	tell(st, &made, &err, requests[_i].want);
	mer_oip_request_release(&made);
}
END_TEST

/* Values are no part of the tree, and have to be JSON all the same. */
static const char *const no_values[] = {
	"[1,]",        "[,1]",  "[1,,2]", "[1 2]",  "[1}",    "{1]",      "[1",    "[1]]",
	"[1] 2",       "",      "[[1,2]", "[0x1]",  "[01,2]", "[1.]",     "[NaN]", "[\"a]",
	"[1,\"\\u\"]", "[tru]", "[1;2]",  "[[1],]", "[,]",    "[[1][2]]", "'1'",   "[1]\"",
};

START_TEST(refuses_values_that_are_not_json)
{
	char text[256];
	struct mer_oip_request made;
	struct mer_error err = { 0 };
	(void)snprintf(
		text, sizeof text,
		"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[2],\"data\":%s}]}",
		no_values[_i]);
	enum mer_status st =
		mer_oip_parse(NULL, (struct mer_str){ text, strlen(text) }, 1 << 20, &made, &err);
	ck_assert_msg(st == MER_EINPUT && err.message[0] != '\0', "%s: %s", text, err.message);
}
END_TEST

/* A text of many values is read piece by piece, wherever it is cut, and no comma too much is taken. */
static void read_many(bool nested, size_t padding, const char *end, bool good)
{
	enum { N = 20000 };
	struct mer_buf text;
	struct mer_oip_request made = { 0 };
	struct mer_error err = { 0 };
	mer_buf_init(&text, SIZE_MAX);
	mer_buf_printf(&text, "{\"inputs\":[{\"data\":[%*s", (int)padding, "");
	for (int i = 0; i < N; i++) {
		const char *comma = i > 0 ? "," : "";
		if (nested)
			mer_buf_printf(&text, "%s[%d , %d ]", comma, i, -i);
		else
			mer_buf_printf(&text, "%s%d,%d", comma, i, -i);
	}
	mer_buf_printf(&text, "%s],\"name\":\"x\",\"datatype\":\"INT32\"}]}", end);
	enum mer_status st =
		mer_oip_parse(NULL, (struct mer_str){ text.ptr, text.len }, SIZE_MAX, &made, &err);
	ck_assert_msg(st == (good ? MER_OK : MER_EINPUT), "%s", err.message);
	ck_assert_uint_eq(good ? 2 * sizeof(int32_t) * N : 0, made.body.len);
	int wrong = 0;
	for (int i = 0; i < N && good; i++) {
		int32_t values[2];
		memcpy(values, made.body.ptr + sizeof values * (size_t)i, sizeof values);
		wrong += values[0] != i || values[1] != -i;
	}
	ck_assert_int_eq(0, wrong);
	mer_oip_request_release(&made);
	mer_buf_release(&text);
}

START_TEST(reads_many_values)
{
	for (size_t padding = 0; padding < 12; padding++)
		read_many(false, padding, "", true);
	read_many(true, 0, "", true);
	read_many(false, 0, ",", false);
	read_many(false, 0, ",[1]", false);
	read_many(true, 0, ",", false);
}
END_TEST

/* One whose name is written with an escape is not told from a number of the outline. */
START_TEST(knows_its_own_numbers)
{
	static const char *const rows[] = {
		"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[],\"d\\u0061ta\":0},"
		"{\"name\":\"y\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[5]}]}",
		"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[],\"d\\u0061ta\":7}]}",
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct mer_oip_request made;
		struct mer_error err = { 0 };
		ck_assert_int_eq(MER_EINPUT,
		                 mer_oip_parse(NULL, (struct mer_str){ rows[i], strlen(rows[i]) }, 1 << 20,
		                               &made, &err));
		ck_assert_str_eq("an input has a name for its data that is not plain", err.message);
	}
}
END_TEST

START_TEST(holds_to_the_limit)
{
	MER_AUTO(mer_json_done) json_t *json = json_loads(ONE("FP64", "[3]", "[1,2,3]"), 0, NULL);
	struct mer_oip_request made = { 0 };
	struct mer_error err = { 0 };
	ck_assert_int_eq(mer_oip_request(NULL, json, (struct mer_str){ "", 0 }, 24, &made, &err),
	                 MER_OK);
	mer_oip_request_release(&made);
	ck_assert_int_eq(mer_oip_request(NULL, json, (struct mer_str){ "", 0 }, 23, &made, &err),
	                 MER_EINPUT);
	ck_assert_str_eq(err.message, "the inputs are: longer than 23 bytes");
}
END_TEST

START_TEST(knows_what_wants_tensors)
{
	static const struct {
		const char *contract;
		bool want;
	} rows[] = {
		{ "[]", false },
		{ TAKES("BYTES", "[1]"), false },
		{ TAKES("BYTES", "[-1]"), false },
		{ TAKES("UINT8", "[-1]"), true },
		{ "[" INPUT("a", "BYTES", "[1]") "," INPUT("b", "BYTES", "[1]") "]", true },
	};
	ck_assert(!mer_oip_wants_tensors(NULL));
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		MER_AUTO(mer_json_done) json_t *contract = json_loads(rows[i].contract, 0, NULL);
		ck_assert_msg(mer_oip_wants_tensors(contract) == rows[i].want, "%s", rows[i].contract);
	}
}
END_TEST

/* --- responses ------------------------------------------------------------------------------ */

static const struct {
	const char *datatype, *shape, *body, *want; /* the members behind the shape */
} outputs[] = {
	{ "BOOL", "[2]", "0100", "\"data\":[true,false]" },
	{ "UINT8", "[]", "ff", "\"data\":[255]" },
	{ "UINT64", "[1]", "ffffffffffffffff", "\"data\":[18446744073709551615]" },
	{ "INT8", "[2]", "80ff", "\"data\":[-128,-1]" },
	{ "INT32", "[1]", "18fcffff", "\"data\":[-1000]" },
	{ "INT64", "[1]", "0000000000000080", "\"data\":[-9223372036854775808]" },
	{ "FP16", "[5]", "003c00c0ff7b01000080", "\"data\":[1.0,-2.0,65504.0,6e-08,-0.0]" },
	{ "BF16", "[2]", "803f49c0", "\"data\":[1.0,-3.14]" },
	{ "FP32", "[3]", "cdcccc3d01000000ffff7f7f", "\"data\":[0.1,1.4013e-45,3.4028235e+38]" },
	{ "FP64", "[2]", "9a9999999999b93f182d4454fb210940", "\"data\":[0.1,3.141592653589793]" },
	{ "FP32", "[4]", "0000c07f0000807f000080ff0000803f", "\"data\":[null,null,null,1.0]" },
	{ "FP16", "[2]", "007c007e", "\"data\":[null,null]" },
	{ "FP32", "[0,4]", "", "\"data\":[]" },
	{ "BYTES", "[3]",
	  "020000006122"
	  "00000000"
	  "02000000c3a4",
	  "\"data\":[\"a\\\"\",\"\",\"ä\"]" },
	{ "BYTES", "[2]",
	  "01000000ff"
	  "0100000061",
	  "\"data\":[\"/w==\",\"YQ==\"],\"parameters\":{\"content_type\":\"base64\"}" },
	{ "BYTES", "[1]", "02000000ff", "!its elements do not end with its bytes" },
};

/* Writes it from pieces of a size. */
static enum mer_status write_output(const json_t *description, struct mer_str body, size_t step,
                                    struct mer_buf *out, struct mer_error *err)
{
	struct mer_oip_output output;
	mer_oip_output_begin(&output, description, out);
	for (size_t at = 0; at < body.len; at += step)
		mer_oip_output_add(&output, body.ptr + at, step < body.len - at ? step : body.len - at);
	return mer_oip_output_end(&output, err);
}

START_TEST(writes_outputs)
{
	char body[64], want[512];
	size_t n = from_hex(outputs[_i].body, body);
	MER_AUTO(mer_json_done) json_t *shape = json_loads(outputs[_i].shape, 0, NULL);
	MER_AUTO(mer_json_done)
	json_t *description =
		json_pack("{s:s,s:s,s:O}", "name", "y\"", "datatype", outputs[_i].datatype, "shape", shape);
	(void)snprintf(want, sizeof want, "{\"name\":\"y\\\"\",\"datatype\":\"%s\",\"shape\":%s,%s}",
	               outputs[_i].datatype, outputs[_i].shape, outputs[_i].want);
	for (size_t step = 1; step <= n + 1; step++) {
		struct mer_buf out;
		struct mer_error err;
		mer_buf_init(&out, 4096);
		if (write_output(description, (struct mer_str){ body, n }, step, &out, &err) == MER_OK)
			ck_assert_str_eq(out.ptr, want);
		else
			ck_assert_str_eq(err.message, outputs[_i].want + 1);
		mer_buf_release(&out);
	}
}
END_TEST

/* Each number of a datatype's patterns that JSON has is read as the same again. */
static void check_round_trip(const char *datatype, struct mer_str body, size_t elements)
{
	struct mer_buf out;
	struct mer_oip_request made;
	struct mer_error err = { 0 };
	mer_buf_init(&out, 1 << 24);
	MER_AUTO(mer_json_done)
	json_t *description = json_pack("{s:s,s:s,s:[I]}", "name", "x", "datatype", datatype, "shape",
	                                (json_int_t)elements);
	ck_assert_int_eq(write_output(description, body, 4096, &out, &err), MER_OK);
	MER_AUTO(mer_json_done) json_t *tensor = json_loadb(out.ptr, out.len, 0, NULL);
	ck_assert_ptr_nonnull(tensor);
	MER_AUTO(mer_json_done) json_t *request = json_pack("{s:[O]}", "inputs", tensor);
	ck_assert_msg(mer_oip_request(NULL, request, (struct mer_str){ "", 0 }, 1 << 24, &made, &err) ==
	                  MER_OK,
	              "%s: %s", datatype, err.message);
	ck_assert_uint_eq(made.body.len, body.len);
	ck_assert_msg(memcmp(made.body.ptr, body.ptr, body.len) == 0, "%s", datatype);
	mer_oip_request_release(&made);
	mer_buf_release(&out);
}

START_TEST(reads_what_it_writes)
{
	static const struct {
		const char *datatype;
		unsigned size, exponent_at, exponent_bits;
	} rows[] = {
		{ "FP16", 2, 10, 5 }, { "BF16", 2, 7, 8 }, { "FP32", 4, 23, 8 }, { "FP64", 8, 52, 11 }
	};
	uint64_t state = 1;
	for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
		struct mer_buf body;
		size_t elements = 0;
		mer_buf_init(&body, 1 << 24);
		for (uint64_t i = 0; i < 65536; i++) { /* of two bytes all that there are */
			uint64_t bits = rows[row].size == 2 ? i
			                                    : (uint64_t)random_below(&state, UINT32_MAX) << 32 |
			                                          random_below(&state, UINT32_MAX);
			uint64_t most = (UINT64_C(1) << rows[row].exponent_bits) - 1;
			if ((bits >> rows[row].exponent_at & most) == most)
				continue;
			mer_buf_add(&body, &bits, rows[row].size); /* little-endian, as all hosts are here */
			elements++;
		}
		check_round_trip(rows[row].datatype, (struct mer_str){ body.ptr, body.len }, elements);
		mer_buf_release(&body);
	}
}
END_TEST

/* --- two answers ---------------------------------------------------------------------------- */

#define TENSOR(name, datatype, shape, size) \
	"{\"name\":\"" name "\",\"datatype\":\"" datatype "\",\"shape\":" shape \
	",\"parameters\":{\"binary_data_size\":" size "}}"
#define ANSWER(tensors) "[{\"outputs\":[" tensors "]}]"
#define Y(datatype, shape, size) ANSWER(TENSOR("y", datatype, shape, size))

static const struct {
	const char *before, *before_body, *now, *now_body; /* metas; hexadecimal digits */
	double tolerance;
	const char *want; /* NULL: bytes are to be compared */
} answers[] = {
	{ Y("FP32", "[2]", "8"), "0000803f00000040", Y("FP32", "[2]", "8"), "0000803f00000040",
	  MER_COMPARE_EXACT, "" },
	{ Y("FP32", "[2]", "8"), "0000803f00000040", Y("FP32", "[2]", "8"), "0000803f01000040",
	  MER_COMPARE_EXACT, "tensor \"y\" [1] was 2.0, is 2.0000002; 1 of 2 elements differ\n" },
	{ Y("FP32", "[2]", "8"), "0000803f00000040", Y("FP32", "[2]", "8"), "0000803f01000040", 1e-6,
	  "" },
	{ Y("FP32", "[2,2]", "16"), "0000803f0000803f0000803f0000803f", Y("FP32", "[2,2]", "16"),
	  "0000803f0000803f0000004000004040", 0.5,
	  "tensor \"y\" [1,0] was 1.0, is 2.0; 2 of 4 elements differ\n" },
	{ Y("FP64", "[]", "8"), "000000000000f87f", Y("FP64", "[]", "8"), "010000000000f8ff", 0, "" },
	{ Y("FP64", "[]", "8"), "000000000000f07f", Y("FP64", "[]", "8"), "000000000000f0ff", 1e300,
	  "tensor \"y\" [] was inf, is -inf; 1 of 1 elements differ\n" },
	{ Y("FP16", "[1]", "2"), "003c", Y("FP16", "[1]", "2"), "013c", 0.001, "" },
	{ Y("BF16", "[1]", "2"), "803f", Y("BF16", "[1]", "2"), "813f", 0.001,
	  "tensor \"y\" [0] was 1.0, is 1.01; 1 of 1 elements differ\n" },
	{ Y("INT64", "[1]", "8"), "ffffffffffffff7f", Y("INT64", "[1]", "8"), "feffffffffffff7f", 0,
	  "tensor \"y\" [0] was 9223372036854775807, is 9223372036854775806; 1 of 1 elements differ\n" },
	{ Y("INT8", "[1]", "1"), "ff", Y("INT8", "[1]", "1"), "01", 2, "" },
	{ Y("UINT8", "[1]", "1"), "ff", Y("UINT8", "[1]", "1"), "01", 0.5,
	  "tensor \"y\" [0] was 255, is 1; 1 of 1 elements differ\n" },
	{ Y("BOOL", "[1]", "1"), "01", Y("BOOL", "[1]", "1"), "00", 5,
	  "tensor \"y\" [0] was true, is false; 1 of 1 elements differ\n" },
	{ Y("BYTES", "[2]", "11"), "0100000061020000006263", Y("BYTES", "[2]", "11"),
	  "0100000061020000006264", MER_COMPARE_EXACT,
	  "tensor \"y\" [1] was \"bc\", is \"bd\"; 1 of 2 elements differ\n" },
	{ Y("BYTES", "[1]", "7"), "03000000312e30", Y("BYTES", "[1]", "8"), "04000000312e3031", 0.1,
	  "" },
	/* another shape or datatype of the same bytes */
	{ Y("FP32", "[2,1]", "8"), "0000803f00000040", Y("FP32", "[1,2]", "8"), "0000803f00000040", 1,
	  "tensor \"y\" was FP32 [2,1], is FP32 [1,2]\n" },
	{ Y("FP32", "[1]", "4"), "00000000", Y("INT32", "[1]", "4"), "00000000", 1,
	  "tensor \"y\" was FP32 [1], is INT32 [1]\n" },
	{ Y("FP32", "[0]", "0"), "", Y("FP32", "[0]", "0"), "", 0, "" },
	/* several */
	{ ANSWER(TENSOR("a", "INT8", "[1]", "1") "," TENSOR("b", "INT8", "[1]", "1")), "0102",
	  ANSWER(TENSOR("b", "INT8", "[1]", "1") "," TENSOR("a", "INT8", "[1]", "1")), "0201", 0, "" },
	{ ANSWER(TENSOR("a", "INT8", "[1]", "1") "," TENSOR("b", "INT8", "[1]", "1")), "0102",
	  ANSWER(TENSOR("b", "INT8", "[1]", "1") "," TENSOR("c\\n", "INT8", "[1]", "1")), "0301", 0,
	  "tensor \"a\" is missing\ntensor \"b\" [0] was 2, is 3; 1 of 1 elements differ\n"
	  "tensor \"c\\n\" is new\n" },
	{ "[{\"outputs\":[" TENSOR("y", "INT8", "[1]",
	                           "1") "]},{\"outputs\":[" TENSOR("y", "INT8", "[1]", "1") "]}]",
	  "0102", Y("INT8", "[1]", "1"), "01", 0, "part 2: tensor \"y\" is missing\n" },
	{ ANSWER(""), "", ANSWER(""), "", 0, "" },
	/* no tensors, or not their bytes */
	{ NULL, "01", Y("INT8", "[1]", "1"), "01", 0, NULL },
	{ Y("INT8", "[1]", "1"), "01", "[{\"content\":\"bytes\"}]", "01", 0, NULL },
	{ Y("INT8", "[1]", "1"), "0101", Y("INT8", "[1]", "1"), "01", 0, NULL },
	{ Y("INT8", "[1]", "1"), "", Y("INT8", "[1]", "1"), "01", 0, NULL },
	{ Y("INT8", "[3]", "1"), "01", Y("INT8", "[1]", "1"), "01", 0, NULL },
	{ "[", "01", Y("INT8", "[1]", "1"), "01", 0, NULL },
};

START_TEST(compares_answers)
{
	char before[64], now[64];
	struct mer_error err = { 0 };
	struct mer_buf out;
	mer_buf_init(&out, 4096);
	const struct mer_oip_answer was = { answers[_i].before,
		                                { before, from_hex(answers[_i].before_body, before) } };
	const struct mer_oip_answer is = { answers[_i].now,
		                               { now, from_hex(answers[_i].now_body, now) } };
	enum mer_status st = mer_oip_compare(&was, &is, answers[_i].tolerance, &out, &err);
	ck_assert_msg(st == (answers[_i].want == NULL ? MER_ECORRUPT : MER_OK), "row %d: %s", _i,
	              err.message);
	const char *want = answers[_i].want != NULL ? answers[_i].want : "";
	ck_assert_msg(strcmp(out.len > 0 ? out.ptr : "", want) == 0, "row %d: %s", _i, out.ptr);
	mer_buf_release(&out);
}
END_TEST

Suite *suite(void)
{
	Suite *suite = suite_create("oip");
	TCase *tc = tcase_create("requests");
	tcase_add_loop_test(tc, reads_requests, 0, N_ROWS(requests));
	tcase_add_loop_test(tc, refuses_values_that_are_not_json, 0, N_ROWS(no_values));
	tcase_add_test(tc, reads_many_values);
	tcase_add_test(tc, knows_its_own_numbers);
	tcase_add_test(tc, holds_to_the_limit);
	tcase_add_test(tc, knows_what_wants_tensors);
	suite_add_tcase(suite, tc);
	tc = tcase_create("responses");
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, writes_outputs, 0, N_ROWS(outputs));
	tcase_add_test(tc, reads_what_it_writes);
	suite_add_tcase(suite, tc);
	tc = tcase_create("answers");
	tcase_add_loop_test(tc, compares_answers, 0, N_ROWS(answers));
	suite_add_tcase(suite, tc);
	return suite;
}
