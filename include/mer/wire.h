/*
 * The bytes of the frame protocol (docs/wire.md): frames, and what a meta says of its body. Pure:
 * nothing here reads, writes or blocks, and a body is passed on as it comes, never kept.
 */
#ifndef MER_WIRE_H
#define MER_WIRE_H

#include <mer/json.h>

#define MER_WIRE_VERSION 1
#define MER_WIRE_HEADER 32 /* bytes */
#define MER_WIRE_META_MAX ((uint32_t)1 << 20)
#define MER_WIRE_BODY_MAX (INT64_C(1) << 30) /* what a worker takes that does not say */
#define MER_WIRE_PING_MAX 64                 /* bytes of a ping's meta, and of its body */

enum mer_wire_kind {
	MER_WIRE_NONE,
	MER_WIRE_HELLO,
	MER_WIRE_READY,
	MER_WIRE_INFER,
	MER_WIRE_RESULT,
	MER_WIRE_ERROR,
	MER_WIRE_CANCEL,
	MER_WIRE_PING,
	MER_WIRE_LOG,
	MER_WIRE_PROGRESS,
	MER_WIRE_TRAIN,
	MER_WIRE_DRAIN,
	MER_WIRE_KIND_COUNT
};

enum { MER_WIRE_MORE = 1, MER_WIRE_SKIP = 2, MER_WIRE_ANSWER = 4 }; /* flags */

/* "infer"; "unknown" for a kind that version 1 has not. */
MER_API const char *mer_wire_kind_name(unsigned kind);

struct mer_wire_header {
	uint8_t kind; /* enum mer_wire_kind, or one that is not known */
	uint16_t flags;
	uint32_t meta; /* bytes */
	uint64_t id;
	uint64_t body; /* bytes */
};

/** Writes a header of version 1. */
MER_API void mer_wire_put(char out[MER_WIRE_HEADER], const struct mer_wire_header *header);

/** Appends a whole frame; the lengths of header are those of meta and body. */
MER_API void mer_wire_add(struct mer_buf *buf, struct mer_wire_header header, struct mer_str meta,
                          struct mer_str body);

/* --- reading ------------------------------------------------------------------------------ */

enum mer_wire_event_kind {
	MER_WIRE_NOTHING,
	MER_WIRE_META,   /* header and meta of a frame are there; bytes: the meta, perhaps empty */
	MER_WIRE_BODY,   /* a piece of its body */
	MER_WIRE_END,    /* the frame is at its end */
	MER_WIRE_BROKEN, /* no frame begins here: reader.error says why; nothing comes any more */
};

struct mer_wire_event {
	enum mer_wire_event_kind kind;
	struct mer_str bytes; /* borrowed until the next call */
};

/* Why bytes are no frame. */
enum mer_wire_fault {
	MER_WIRE_NO_FAULT,
	MER_WIRE_MAGIC,
	MER_WIRE_OTHER_VERSION,
	MER_WIRE_RESERVED,
	MER_WIRE_LONG_META,
	MER_WIRE_LONG_BODY,
	MER_WIRE_NO_MEMORY,
};

/* Cuts bytes into frames. Holds a header and a meta, which grows as its bytes come. */
struct mer_wire_reader {
	struct mer_wire_header header; /* of the frame that is read */
	enum mer_wire_fault fault;
	struct mer_error error;  /* where there is a fault */
	uint64_t max_body, left; /* bytes: of any body; of this one */
	enum { MER_WIRE_AT_HEADER, MER_WIRE_AT_META, MER_WIRE_AT_BODY, MER_WIRE_AT_FAULT } state;
	size_t have; /* bytes of head */
	char head[MER_WIRE_HEADER];
	struct mer_buf meta;
};

MER_API void mer_wire_reader_init(struct mer_wire_reader *reader, uint64_t max_body);
MER_API void mer_wire_reader_release(struct mer_wire_reader *reader);

/**
 * Takes some of the bytes, gives at most one event and returns how many it took. To be called again
 * with the rest until there is none and the event is MER_WIRE_NOTHING. Of a frame come one META, any
 * number of BODY and one END, however its bytes were cut.
 */
MER_API size_t mer_wire_feed(struct mer_wire_reader *reader, const char *bytes, size_t n,
                             struct mer_wire_event *event);

/** Whether it is between two frames: an end of file is no loss here. */
MER_API bool mer_wire_is_between(const struct mer_wire_reader *reader);

/**
 * A meta as a JSON object; none is an empty one.
 * @return MER_ECORRUPT it is no object; MER_ENOMEM
 */
MER_API MER_MUST enum mer_status mer_wire_meta(struct mer_str meta, json_t **out,
                                               struct mer_error *err);

/* --- inputs and outputs --------------------------------------------------------------------- */

enum mer_datatype {
	MER_DATATYPE_NONE,
	MER_BOOL,
	MER_UINT8,
	MER_UINT16,
	MER_UINT32,
	MER_UINT64,
	MER_INT8,
	MER_INT16,
	MER_INT32,
	MER_INT64,
	MER_FP16,
	MER_BF16,
	MER_FP32,
	MER_FP64,
	MER_BYTES, /* elements of any length, each behind its length as 32 bits */
	MER_DATATYPE_COUNT
};

/** MER_DATATYPE_NONE where there is none of that name. */
MER_API enum mer_datatype mer_datatype_by_name(const char *name);
MER_API const char *mer_datatype_name(enum mer_datatype datatype);

/** Bytes an element; 0 for MER_BYTES. */
MER_API size_t mer_datatype_size(enum mer_datatype datatype);

struct mer_tensor {
	const char *name; /* borrowed from the meta */
	enum mer_datatype datatype;
	uint64_t elements, bytes;
};

enum mer_content_form {
	MER_CONTENT_NONE, /* the meta describes no input or output */
	MER_CONTENT_BYTES,
	MER_CONTENT_TEXT,
	MER_CONTENT_TENSORS,
};

struct mer_content {
	enum mer_content_form form;
	struct mer_tensor *tensors; /* owned */
	size_t count;
};

/**
 * What a meta says of its body.
 *
 * @param key   inputs or outputs
 * @param body  bytes of the body, which the tensors have to fill
 * @param out   release it; borrows from meta
 * @return MER_EINPUT it is no description; MER_ECORRUPT it does not fit the body; MER_ENOMEM
 */
MER_API MER_MUST enum mer_status mer_content_read(const json_t *meta, const char *key,
                                                  uint64_t body, struct mer_content *out,
                                                  struct mer_error *err);
MER_API void mer_content_release(struct mer_content *content);

/* Goes through a body as it comes, and through the elements of MER_BYTES. Zeroed at its begin. */
struct mer_content_walk {
	size_t at;         /* tensor */
	bool inside;       /* of it: what follows counts */
	uint64_t left;     /* bytes of the tensor */
	uint64_t elements; /* of the tensor that did not begin yet */
	uint64_t element;  /* bytes of the element that are left */
	unsigned have;     /* bytes of its length */
	unsigned char length[4];
};

/**
 * Takes some of the bytes, at least one of any.
 *
 * @param taken  how many
 * @param piece  bytes of an element of the tensor walk->at, without lengths; empty: none
 * @return MER_ECORRUPT the elements of MER_BYTES do not end where their tensor does
 */
MER_API MER_MUST enum mer_status mer_content_step(const struct mer_content *content,
                                                  struct mer_content_walk *walk, const char *bytes,
                                                  size_t n, size_t *taken, struct mer_str *piece,
                                                  struct mer_error *err);

#endif
