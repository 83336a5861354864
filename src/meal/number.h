/* Values of a tensor: numbers between JSON and the bytes of a body, and the elements of BYTES. */
#ifndef MEAL_NUMBER_H
#define MEAL_NUMBER_H

#include <mer/wire.h>

/**
 * Appends a JSON value as one element. Whole numbers may come with a fraction of 0; those of 64 bits,
 * which not each JSON reader holds, also as strings; BOOL also as 0 and 1.
 * @return MER_EINPUT says what it is that the datatype is not; the message begins with the value
 */
MER_MUST enum mer_status meal_number_read(enum mer_datatype datatype, const json_t *json,
                                          struct mer_buf *out, struct mer_error *err);

/** Appends one element as JSON, with as few digits as it takes to read the same number again; what
 * JSON has no number for is null. Returns whether it is a number. Not for MER_BYTES. */
bool meal_number_write(enum mer_datatype datatype, const char *bytes, struct mer_buf *out);

/** The value of one element, exactly. Not for MER_BYTES. */
long double meal_number_value(enum mer_datatype datatype, const char *bytes);

/** A number of n bytes, at most 8, little-endian. */
static inline uint64_t meal_number_get(const char *at, size_t n)
{
	uint64_t value = 0;
	while (n-- > 0)
		value = value << 8 | (unsigned char)at[n];
	return value;
}

/** Appends one. */
void meal_number_put(struct mer_buf *out, uint64_t value, size_t n);

enum { MEAL_LENGTH_BYTES = 4 }; /* in front of an element of BYTES */

/** Takes the element that BYTES begin with off them. false: none is there as a whole. */
bool meal_element_next(struct mer_str *bytes, struct mer_str *out);

#endif
