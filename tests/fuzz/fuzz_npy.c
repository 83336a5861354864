/* .npy files: no bytes make the reader read or write beyond them, and what it made of a file is the
 * same after it was written and read again. */
#include "fuzz.h"

#include <mer/npy.h>
#include <string.h>

#define LIMIT 65536

/* Whether there are values. */
static bool read_values(struct mer_str file, struct mer_npy *npy, struct mer_buf *values)
{
	struct mer_error err = { .status = MER_OK };
	enum mer_status st = mer_npy_read(file, npy, &err);
	if (st == MER_OK)
		st = mer_npy_values(npy, file, values, &err);
	MER_ASSERT(st == MER_OK || err.message[0] != '\0');
	MER_ASSERT(st == MER_OK || st == MER_EINPUT || st == MER_ELIMIT || st == MER_ENOMEM);
	return st == MER_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct mer_npy npy, again;
	struct mer_buf values, written, values_again;
	mer_buf_init(&values, LIMIT);
	mer_buf_init(&written, 16 * LIMIT);
	mer_buf_init(&values_again, LIMIT);
	if (read_values((struct mer_str){ (const char *)bytes, len }, &npy, &values)) {
		struct mer_str all = { values.ptr, values.len };
		enum mer_status st = mer_npy_write(npy.datatype, npy.shape, npy.dims, all, &written, NULL);
		MER_ASSERT(st != MER_ECORRUPT && (st != MER_EINPUT || npy.datatype == MER_BYTES));
		struct mer_str file = { written.ptr, written.len };
		if (st == MER_OK && npy.datatype != MER_BF16) {
			MER_ASSERT(read_values(file, &again, &values_again));
			MER_ASSERT(again.datatype == npy.datatype && again.dims == npy.dims);
			MER_ASSERT(memcmp(again.shape, npy.shape, npy.dims * sizeof *npy.shape) == 0);
			MER_ASSERT(values_again.len == values.len);
			MER_ASSERT(values.len == 0 || memcmp(values_again.ptr, values.ptr, values.len) == 0);
		}
	}
	mer_buf_release(&values);
	mer_buf_release(&written);
	mer_buf_release(&values_again);
	return 0;
}
