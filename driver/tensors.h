/* Tensors that a user gives on the command line: .npy files and JSON. */
#ifndef TENSORS_H
#define TENSORS_H

#include "cmd.h"

#include <mer/json.h>

/* A request of the Open Inference Protocol, whose binary data is in bytes. */
struct tensors {
	char *request; /* JSON; owned */
	struct mer_buf bytes;
};

/**
 * Reads the words of --tensor: NAME[:DATATYPE]=@FILE.npy or NAME[:DATATYPE]=JSON. What stands behind
 * the last colon belongs to the name where it is no datatype.
 *
 * @param limit  bytes of all files, and of each
 * @param out    release it also after a failure
 * @return MER_EINPUT names the tensor and the file
 */
MER_MUST enum mer_status tensors_read(const struct cmd_value *words, size_t limit,
                                      struct tensors *out, struct mer_error *err);
void tensors_release(struct tensors *tensors);

#endif
