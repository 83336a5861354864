/*
 * NumPy's .npy files, and tensors as frames have them (mer/wire.h). Pure.
 *
 * Source: numpy.lib.format ("NPY format", also NEP 1), versions 1.0 to 3.0: the magic \x93NUMPY, two
 * bytes of version, the length of the header (16 bits in 1.0, then 32), the header, which is a literal
 * of Python with the keys descr, fortran_order and shape, and the data.
 */
#ifndef MER_NPY_H
#define MER_NPY_H

#include <mer/wire.h>

enum { MER_NPY_DIMS = 32 }; /* the most that NumPy 1 has; 2 has 64 */

/* What a file's header says. */
struct mer_npy {
	enum mer_datatype datatype;
	bool utf32;      /* of MER_BYTES: the elements are text of 32 bits a character, not bytes */
	bool big_endian; /* an element, or each of its characters */
	bool by_column;  /* fortran_order: the first index runs fastest */
	uint64_t item;   /* bytes an element has in the file */
	uint64_t elements;
	size_t dims;
	uint64_t shape[MER_NPY_DIMS];
	size_t header; /* bytes before the data */
};

/**
 * Reads the header of a whole file and checks that its data is as long as it says.
 *
 * b1 is BOOL, i u f are INT UINT FP of the same size, V2 is BF16 (what ml_dtypes saves), S and U are
 * BYTES.
 * @return MER_EINPUT says what is wrong with the file, or what its arrays are that tensors cannot be
 */
MER_API MER_MUST enum mer_status mer_npy_read(struct mer_str file, struct mer_npy *out,
                                              struct mer_error *err);

/**
 * Appends the values of a file that was read, as a frame's body has them: row by row, little-endian.
 * Elements of S and U lose the NULs at their ends, as in NumPy; those of U become UTF-8.
 * @return MER_EINPUT a value that is none: a BOOL over 1, no character; MER_ELIMIT, MER_ENOMEM of out
 */
MER_API MER_MUST enum mer_status mer_npy_values(const struct mer_npy *npy, struct mer_str file,
                                                struct mer_buf *out, struct mer_error *err);

/**
 * Appends a tensor as a file of version 1.0. BF16, which NumPy has not, becomes f4, which holds the
 * same numbers; BYTES become S of the longest element.
 *
 * @param bytes  of the body, and as many as shape and datatype want
 * @return MER_EINPUT an element of BYTES ends with a NUL, which S cannot hold; MER_ECORRUPT the
 *         elements of BYTES do not end with the bytes; MER_ELIMIT, MER_ENOMEM of out
 */
MER_API MER_MUST enum mer_status mer_npy_write(enum mer_datatype datatype, const uint64_t shape[],
                                               size_t dims, struct mer_str bytes,
                                               struct mer_buf *out, struct mer_error *err);

#endif
