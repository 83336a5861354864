/*
 * Errors: what went wrong, in an object on the caller's stack that nobody frees.
 *
 * A function that can fail returns enum mer_status and takes a struct mer_error last. The status
 * says what the caller may do, the message what happened: lower case, problem first, the subject in
 * quotes, the cause last, no full stop. Outputs are untouched on failure.
 */
#ifndef MER_ERROR_H
#define MER_ERROR_H

#include <stddef.h>

#define MER_API __attribute__((visibility("default")))
#define MER_MUST __attribute__((warn_unused_result))
#define MER_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))

/* What the caller may do about it. Programs map these to their exit codes in one table each. */
enum mer_status {
	MER_OK,
	MER_EINPUT,       /* the caller's input is wrong; mend it */
	MER_ENOTFOUND,    /* no such thing */
	MER_ECONFLICT,    /* it is there already, is in use, or may not be changed */
	MER_EDATABASE,    /* the metadata database cannot be used */
	MER_EUNREACHABLE, /* a server or a program that cannot be reached or started */
	MER_EMODEL,       /* the model ran and failed */
	MER_ETIMEOUT,     /* a deadline passed */
	MER_EBUSY,        /* try again later */
	MER_ECANCELED,    /* somebody asked for it to end */
	MER_ELIMIT,       /* larger than a limit allows */
	MER_EIO,          /* a file or stream could not be read or written */
	MER_ECORRUPT,     /* bytes that are not what they claim to be */
	MER_ENOMEM,
	MER_STATUS_COUNT
};

struct mer_error {
	enum mer_status status;
	char message[512]; /* one line without its newline; cut at 511 bytes */
	char hint[256];    /* what to do about it, one line, or "" */
};

/**
 * Fills *err unless it is NULL, with no hint, and returns status, so that failing is one statement.
 * The message becomes one line of UTF-8: control characters and bytes that are not UTF-8 are shown
 * as '?'. The arguments may point into *err. errno is left alone.
 */
MER_API MER_PRINTF(3, 4) enum mer_status
	mer_fail(struct mer_error *err, enum mer_status status, const char *fmt, ...);
#ifdef __clang_analyzer__ /* sees one file, and so not what is returned */
#define mer_fail(err, status, ...) ((void)mer_fail(err, status, __VA_ARGS__), (status))
#endif

/** Puts "context: " in front of the message of err (NULL allowed) and keeps its hint. */
MER_API MER_PRINTF(3, 4) enum mer_status
	mer_wrap(struct mer_error *err, enum mer_status status, const char *fmt, ...);

/** Adds what to do about it; err may be NULL. */
MER_API MER_PRINTF(2, 3) void mer_hint(struct mer_error *err, const char *fmt, ...);

/** A short name of the status, for logs: "input", "not found", ... */
MER_API const char *mer_status_name(enum mer_status status);

/** Reports a broken invariant: one line on stderr, then _exit(70). Kept in release builds. */
MER_API __attribute__((noreturn)) void mer_defect(const char *file, int line, const char *what);

#define MER_ASSERT(condition) ((condition) ? (void)0 : mer_defect(__FILE__, __LINE__, #condition))

#endif
