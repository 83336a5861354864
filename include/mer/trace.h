/* W3C Trace Context: which trace a run belongs to (https://www.w3.org/TR/trace-context/). */
#ifndef MER_TRACE_H
#define MER_TRACE_H

#include <mer/error.h>
#include <mer/uid.h>
#include <stdbool.h>

/* Room for a traceparent of version 00 and its NUL: 00-TRACE-PARENT-FLAGS. */
#define MER_TRACEPARENT_SIZE 56
/* Digits of its trace id. */
#define MER_TRACE_DIGITS 32

/**
 * Reads a traceparent, of a later version what that has in common with 00.
 * @param out  it in version 00; "" where text is NULL or none
 * @return whether it is one
 */
MER_API bool mer_traceparent_read(const char *text, char out[MER_TRACEPARENT_SIZE]);

/** What a run passes on: the same trace, with the run as the parent of what follows. Its id there is the
 * last 16 digits of its uid. from, out: "" where there is none. */
MER_API void mer_traceparent_pass(const char *from, const struct mer_uid *run,
                                  char out[MER_TRACEPARENT_SIZE]);

#endif
