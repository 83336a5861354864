/*
 * Tensors as the Open Inference Protocol v2 writes them in JSON, and as frames have them (docs/wire.md,
 * "Inputs and outputs"). Pure.
 *
 * Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md. Beyond it: FP16
 * and BF16 have numbers in JSON too, 64-bit numbers may be strings, and BYTES that are not all UTF-8
 * are base64, which MLServer's content_type "base64" says.
 */
#ifndef MER_OIP_H
#define MER_OIP_H

#include <mer/wire.h>

enum { MER_OIP_DIMS = 32 }; /* NumPy's .npy files have no more */

/* --- what a worker takes -------------------------------------------------------------------- */

/** Whether a contract (an array of ready, NULL: none) is of tensors: plain bytes are none of its
 * inputs. Of exactly one input of BYTES they are that one's element. */
MER_API bool mer_oip_wants_tensors(const json_t *contract);

/** A contract for people: "flowers FP32 [-1,4], name BYTES [1]". */
MER_API void mer_oip_describe(const json_t *contract, struct mer_buf *out);

/* --- requests ------------------------------------------------------------------------------- */

/* A request as an infer frame has it. */
struct mer_oip_request {
	json_t *meta;        /* inputs and, where there are some, parameters; owned */
	struct mer_buf room; /* what of the body had to be made */
	struct mer_str body; /* in room, or the binary data that was given */
};

/* The text of a request or an answer whose tensors' values are left where they are: as a tree each takes some
 * 40 bytes. In the outline a number stands in the place of each tensor's `data`: which of these it is. */
struct mer_oip_text {
	struct mer_buf outline; /* the JSON of all else */
	struct mer_str *data;   /* borrowed from the text */
	size_t count;
};

/** @param list  the member that has the tensors: "inputs", "outputs". @param out  release it.
 * @return MER_ENOMEM; what is no JSON has an outline that is none, or values that are none */
MER_API MER_MUST enum mer_status mer_oip_text_read(struct mer_str text, const char *list,
                                                   struct mer_oip_text *out, struct mer_error *err);
MER_API void mer_oip_text_release(struct mer_oip_text *text);

/**
 * Makes a frame's request of a request in JSON. An input has its values as `data`, flat or nested, or
 * parameters.binary_data_size bytes of the binary data. With data its datatype may be left out where
 * the contract has it, and its shape, which then is that of the nesting.
 *
 * @param contract  the worker's inputs; NULL: anything goes
 * @param request   the object
 * @param binary    of the inputs in their order; borrowed by out
 * @param limit     bytes of the body
 * @param out       release it
 * @return MER_EINPUT names the input and what is wrong with it; MER_ENOMEM
 */
MER_API MER_MUST enum mer_status mer_oip_request(const json_t *contract, const json_t *request,
                                                 struct mer_str binary, size_t limit,
                                                 struct mer_oip_request *out,
                                                 struct mer_error *err);
/** The same of a request that is the outline of a text, and has no binary data. MER_ECORRUPT too: values
 * that are not JSON. */
MER_API MER_MUST enum mer_status mer_oip_request_of(const json_t *contract, const json_t *request,
                                                    const struct mer_oip_text *text, size_t limit,
                                                    struct mer_oip_request *out,
                                                    struct mer_error *err);
/** The same of an input that is the text of a request, for a worker that wants tensors. */
MER_API MER_MUST enum mer_status mer_oip_parse(const json_t *contract, struct mer_str text,
                                               size_t limit, struct mer_oip_request *out,
                                               struct mer_error *err);
MER_API void mer_oip_request_release(struct mer_oip_request *request);

/* --- responses ------------------------------------------------------------------------------ */

/* A tensor that is written as an object of a response while its bytes come. */
struct mer_oip_output {
	enum mer_datatype datatype;
	struct mer_buf *out;     /* borrowed; whoever owns it may empty it between the calls */
	bool any;                /* a value is written */
	bool odd;                /* one of them is none that JSON has, and is null */
	unsigned have;           /* bytes of carry */
	char carry[8];           /* of a number whose other bytes have not come */
	struct mer_buf elements; /* of BYTES, until all are there */
};

/** Begins a tensor. @param description  of the meta that mer_content_read() has taken */
MER_API void mer_oip_output_begin(struct mer_oip_output *output, const json_t *description,
                                  struct mer_buf *out);
MER_API void mer_oip_output_add(struct mer_oip_output *output, const char *bytes, size_t n);

/** Ends it, also after a failure. @return MER_ECORRUPT, MER_ENOMEM its elements could not be kept */
MER_API MER_MUST enum mer_status mer_oip_output_end(struct mer_oip_output *output,
                                                    struct mer_error *err);

/* An answer as it was told: the metas of its results as a JSON array, and all their bytes. */
struct mer_oip_answer {
	const char *metas; /* NULL: it was just bytes */
	struct mer_str bytes;
};

/**
 * What differs between two answers of tensors: those that are missing or new, datatypes, shapes, and
 * of each tensor the first element that differs; numbers by tolerance (mer/compare.h), BYTES as texts.
 *
 * @param out  a line for each tensor that differs; nothing: they are the same
 * @return MER_ECORRUPT one of them is no answer of tensors, so that bytes are to be compared; MER_ENOMEM
 */
MER_API MER_MUST enum mer_status mer_oip_compare(const struct mer_oip_answer *before,
                                                 const struct mer_oip_answer *now, double tolerance,
                                                 struct mer_buf *out, struct mer_error *err);

/** Reads the shape of a description. @return how many dimensions; -1: over MER_OIP_DIMS, or none */
MER_API int mer_oip_shape(const json_t *description, uint64_t shape[MER_OIP_DIMS]);

#endif
