/* What a model answers in tensors: .npy files for those that the user wants there, and JSON for the
 * others, as a response of the Open Inference Protocol. */
#ifndef ANSWER_H
#define ANSWER_H

#include "cmd.h"

#include <mer/oip.h>

/* A tensor that becomes a file once the run has succeeded. */
struct answer_file {
	struct answer_file *next;
	char *name, *path;
	enum mer_datatype datatype;
	uint64_t shape[MER_OIP_DIMS];
	size_t dims;
	struct mer_buf bytes;
};

struct answer {
	const char *model;
	const struct cmd_value *where; /* words of --tensor-out */
	struct mer_str request;        /* the input, which may be one in JSON; empty: it is none */
	struct mer_buf text;           /* for stdout; whoever owns it empties it */
	struct mer_error err;          /* the first failure */

	char *id;        /* of the request, or NULL */
	bool described;  /* parts come with their metas; else all are bytes */
	json_t *outputs; /* of the part that comes; NULL: what comes are bytes */
	size_t at;       /* which of them */
	uint64_t left;   /* bytes of it */
	bool begun;      /* the part's object */
	bool any;        /* tensors in it */
	enum { ANSWER_DROPPED, ANSWER_JSON, ANSWER_FILE } to; /* where the tensor goes */
	struct mer_oip_output json;
	struct answer_file *files; /* the last one first */
};

/** Whether the words of --tensor-out (NAME=@FILE or a folder) say where something could be written.
 * @return MER_EINPUT */
MER_MUST enum mer_status answer_check(const struct cmd_value *where, struct mer_error *err);

/** @param where    NULL: all goes to stdout; borrowed as is model
 *  @param request  its id is the response's; borrowed until the first part has come */
void answer_init(struct answer *answer, const char *model, const struct cmd_value *where,
                 struct mer_str request);
void answer_release(struct answer *answer);

/** A part of the answer begins: the meta of a result frame. */
void answer_meta(struct answer *answer, const char *meta);

/** Bytes of it come; what is to be printed of them is in text then. */
void answer_add(struct answer *answer, const char *bytes, size_t n);

/** The run has succeeded: writes the files.
 * @return MER_EINPUT an output that was to be written is not there; MER_EIO, MER_EMODEL */
MER_MUST enum mer_status answer_end(struct answer *answer, struct mer_error *err);

#endif
