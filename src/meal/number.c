/* Values of a tensor: numbers between JSON and the bytes of a body, and the elements of BYTES. */
#include "number.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- floating point of fewer bits than a double --------------------------------------------- */

/* IEEE 754: how many bits the fraction has, the exponent of the least normal number, and the digits
 * that always tell two of its numbers apart. */
struct format {
	unsigned fraction;
	int least;
	int digits;
};

enum { DOUBLE_FRACTION = 52, DOUBLE_BIAS = 1023, DOUBLE_DIGITS = 17 };

static const struct format formats[MER_DATATYPE_COUNT] = {
	[MER_FP16] = { 10, -14, 5 },
	[MER_BF16] = { 7, -126, 4 },
	[MER_FP32] = { 23, -126, 9 },
};

/* What the exponent's field is of infinity and of what is no number. */
static uint64_t field_max(const struct format *format)
{
	return 2 * (uint64_t)(1 - format->least) + 1;
}

/* The nearest number of that format, ties to even. false: it is beyond its greatest. */
static bool narrow(const struct format *format, double value, uint64_t *out)
{
	uint64_t bits, sign_at = format->fraction + (unsigned)__builtin_popcountll(field_max(format));
	memcpy(&bits, &value, sizeof bits);
	uint64_t sign = bits >> 63, fraction = bits & ((UINT64_C(1) << DOUBLE_FRACTION) - 1);
	int exponent = (int)(bits >> DOUBLE_FRACTION & 0x7ff) - DOUBLE_BIAS;
	uint64_t whole = fraction | UINT64_C(1) << DOUBLE_FRACTION;
	int below = exponent < format->least ? format->least - exponent : 0;
	int shift = DOUBLE_FRACTION - (int)format->fraction + below;
	uint64_t kept = 0;
	if (shift < 64) {
		uint64_t half = UINT64_C(1) << (shift - 1), rest = whole & (2 * half - 1);
		kept = whole >> shift;
		kept += rest > half || (rest == half && (kept & 1) != 0);
	}
	/* The leading bit of a normal number is one more in the exponent's field. */
	if (below == 0)
		kept += (uint64_t)(exponent - format->least) << format->fraction;
	if (kept >> format->fraction >= field_max(format))
		return false;
	*out = sign << sign_at | kept;
	return true;
}

static double widen(const struct format *format, uint64_t bits)
{
	unsigned field_bits = (unsigned)__builtin_popcountll(field_max(format));
	uint64_t field = bits >> format->fraction & field_max(format);
	uint64_t sign = bits >> (format->fraction + field_bits) & 1;
	uint64_t fraction = bits & ((UINT64_C(1) << format->fraction) - 1), wide;
	double value;
	if (field == 0) { /* fraction times the least power of two */
		wide = (uint64_t)(DOUBLE_BIAS + format->least - (int)format->fraction) << DOUBLE_FRACTION;
		memcpy(&value, &wide, sizeof value);
		value *= (double)fraction;
		return sign != 0 ? -value : value;
	}
	wide = field == field_max(format) ? 0x7ff
	                                  : (uint64_t)((int)field - 1 + format->least + DOUBLE_BIAS);
	wide = sign << 63 | wide << DOUBLE_FRACTION | fraction << (DOUBLE_FRACTION - format->fraction);
	memcpy(&value, &wide, sizeof value);
	return value;
}

/* --- reading -------------------------------------------------------------------------------- */

void meal_number_put(struct mer_buf *out, uint64_t value, size_t n)
{
	char bytes[8];
	MER_ASSERT(n <= sizeof bytes);
	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)(value >> 8 * i);
	mer_buf_add(out, bytes, n);
}

bool meal_element_next(struct mer_str *bytes, struct mer_str *out)
{
	if (bytes->len < MEAL_LENGTH_BYTES ||
	    meal_number_get(bytes->ptr, MEAL_LENGTH_BYTES) > bytes->len - MEAL_LENGTH_BYTES)
		return false;
	*out = (struct mer_str){ bytes->ptr + MEAL_LENGTH_BYTES,
		                     (size_t)meal_number_get(bytes->ptr, MEAL_LENGTH_BYTES) };
	bytes->ptr = out->ptr + out->len;
	bytes->len -= MEAL_LENGTH_BYTES + out->len;
	return true;
}

static enum mer_status fail_value(const json_t *json, const char *what, enum mer_datatype datatype,
                                  struct mer_error *err)
{
	static const char *const kinds[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
		[JSON_INTEGER] = "",         [JSON_REAL] = "",          [JSON_TRUE] = "true",
		[JSON_FALSE] = "false",      [JSON_NULL] = "null",
	};
	char text[48];
	if (json_is_integer(json))
		(void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
	else if (json_is_real(json))
		(void)snprintf(text, sizeof text, "%.17g", json_real_value(json));
	else if (json_is_string(json))
		(void)snprintf(text, sizeof text, "\"%.40s\"", json_string_value(json));
	else
		(void)snprintf(text, sizeof text, "%s", kinds[json_typeof(json)]);
	return mer_fail(err, MER_EINPUT, "%s %s %s", text, what, mer_datatype_name(datatype));
}

static bool is_signed(enum mer_datatype datatype)
{
	return datatype >= MER_INT8 && datatype <= MER_INT64;
}

/* A sign and a magnitude. false: it is no whole number. */
static bool read_whole(const json_t *json, bool *negative, uint64_t *magnitude)
{
	if (json_is_integer(json)) {
		json_int_t value = json_integer_value(json);
		*negative = value < 0;
		*magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
		return true;
	}
	if (json_is_real(json)) {
		double value = json_real_value(json);
		*negative = value < 0;
		value = value < 0 ? -value : value;
		*magnitude = value < 0x1p64 ? (uint64_t)value : UINT64_MAX;
		return value >= 0x1p64 || (double)*magnitude == value;
	}
	const char *text = json_is_string(json) ? json_string_value(json) : "";
	*negative = *text == '-';
	text += *negative;
	if (*text == '\0' || strspn(text, "0123456789") != strlen(text))
		return false;
	errno = 0;
	*magnitude = strtoull(text, NULL, 10);
	return errno == 0;
}

static enum mer_status read_integer(enum mer_datatype datatype, const json_t *json,
                                    struct mer_buf *out, struct mer_error *err)
{
	size_t size = mer_datatype_size(datatype);
	bool negative, is_text = json_is_string(json) && size < 8;
	uint64_t magnitude;
	if (is_text || !read_whole(json, &negative, &magnitude))
		return fail_value(json, "is no", datatype, err);
	uint64_t top = UINT64_C(1) << (8 * size - 1);
	uint64_t most = is_signed(datatype) ? negative ? top : top - 1 : negative ? 0 : top - 1 + top;
	if (magnitude > most)
		return fail_value(json, "is out of the range of", datatype, err);
	meal_number_put(out, negative ? 0 - magnitude : magnitude, size);
	return MER_OK;
}

static enum mer_status read_float(enum mer_datatype datatype, const json_t *json,
                                  struct mer_buf *out, struct mer_error *err)
{
	uint64_t bits;
	if (!json_is_number(json))
		return fail_value(json, "is no", datatype, err);
	double value = json_number_value(json);
	if (datatype == MER_FP64)
		memcpy(&bits, &value, sizeof bits);
	else if (!narrow(&formats[datatype], value, &bits))
		return fail_value(json, "is out of the range of", datatype, err);
	meal_number_put(out, bits, mer_datatype_size(datatype));
	return MER_OK;
}

enum mer_status meal_number_read(enum mer_datatype datatype, const json_t *json,
                                 struct mer_buf *out, struct mer_error *err)
{
	if (datatype >= MER_FP16 && datatype <= MER_FP64)
		return read_float(datatype, json, out, err);
	if (datatype != MER_BOOL)
		return read_integer(datatype, json, out, err);
	bool is_bit = json_is_integer(json) && json_integer_value(json) >> 1 == 0;
	if (!json_is_boolean(json) && !is_bit)
		return fail_value(json, "is no", datatype, err);
	mer_buf_byte(out, json_is_true(json) || json_integer_value(json) == 1);
	return MER_OK;
}

/* --- values --------------------------------------------------------------------------------- */

static double float_value(enum mer_datatype datatype, uint64_t bits)
{
	double value;
	if (datatype != MER_FP64)
		return widen(&formats[datatype], bits);
	memcpy(&value, &bits, sizeof value);
	return value;
}

static int64_t signed_value(size_t size, uint64_t bits)
{
	unsigned unused = 64 - 8 * (unsigned)size;
	return (int64_t)(bits << unused) >> unused;
}

long double meal_number_value(enum mer_datatype datatype, const char *bytes)
{
	size_t size = mer_datatype_size(datatype);
	MER_ASSERT(size > 0);
	uint64_t bits = meal_number_get(bytes, size);
	if (datatype >= MER_FP16)
		return float_value(datatype, bits);
	return is_signed(datatype) ? (long double)signed_value(size, bits) : (long double)bits;
}

/* --- writing -------------------------------------------------------------------------------- */

/* Whether a text is read as that very number. */
static bool is_same(const struct format *format, const char *text, uint64_t bits)
{
	double value = strtod(text, NULL);
	uint64_t again;
	if (format->fraction > 0)
		return narrow(format, value, &again) && again == bits;
	memcpy(&again, &value, sizeof again);
	return again == bits;
}

static bool write_float(enum mer_datatype datatype, uint64_t bits, struct mer_buf *out)
{
	const struct format *format = &formats[datatype];
	int digits = datatype == MER_FP64 ? DOUBLE_DIGITS : format->digits;
	char text[40];
	double value = float_value(datatype, bits);
	if (!__builtin_isfinite(value)) {
		mer_buf_text(out, "null");
		return false;
	}
	double size = value < 0 ? -value : value, most = 1;
	for (int n = 0; n < digits; n++)
		most *= 10;
	for (int n = digits > 3 ? digits - 3 : 1; n <= digits; n++) {
		(void)snprintf(text, sizeof text, "%.*g", n, value);
		bool as_people_write = strchr(text, 'e') == NULL || size >= most || size < 1e-4;
		if (as_people_write && is_same(format, text, bits))
			break;
	}
	mer_buf_text(out, text);
	if (strpbrk(text, ".e") == NULL)
		mer_buf_text(out, ".0");
	return true;
}

bool meal_number_write(enum mer_datatype datatype, const char *bytes, struct mer_buf *out)
{
	size_t size = mer_datatype_size(datatype);
	MER_ASSERT(size > 0);
	uint64_t bits = meal_number_get(bytes, size);
	if (datatype == MER_BOOL) {
		mer_buf_text(out, bits != 0 ? "true" : "false");
	} else if (datatype >= MER_FP16) {
		return write_float(datatype, bits, out);
	} else if (is_signed(datatype)) {
		mer_buf_printf(out, "%" PRId64, signed_value(size, bits));
	} else {
		mer_buf_printf(out, "%" PRIu64, bits);
	}
	return true;
}
