/* The values of a tensor in the text of a JSON document, which become bytes without a tree of them. */
#ifndef MEAL_OIP_VALUES_H
#define MEAL_OIP_VALUES_H

#include <mer/oip.h>

struct oip_values {
	const char *name; /* of the tensor, for messages */
	enum mer_datatype datatype;
	bool base64; /* elements of BYTES are */
	const uint64_t *shape;
	size_t dims; /* up to MER_OIP_DIMS */
	struct mer_buf *out;
};

/** Appends the values of data, flat or nested as the shape says. MER_EINPUT names the first that is wrong,
 * MER_ECORRUPT what is no JSON. */
MER_MUST enum mer_status oip_values_read(const struct oip_values *values, struct mer_str data,
                                         struct mer_error *err);

/** The shape that the nesting of data says; NULL: out of memory. Gives a reference. */
json_t *oip_values_nesting(struct mer_str data);

/** Behind the value at the beginning of a text, whatever it is. */
const char *oip_value_end(const char *at, const char *end);
/** Behind the string that begins there; end, where it has none. */
const char *oip_string_end(const char *at, const char *end);

#endif
