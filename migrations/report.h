/*
 * What mer-migrate says: data to stdout as a table, plain or JSON, everything else to stderr.
 *
 * JSON is one document: of `status` an array, of other commands an object that begins with their
 * list and ends with the exit code; an object of the error alone where it did not come to a list.
 */
#ifndef MIGRATIONS_REPORT_H
#define MIGRATIONS_REPORT_H

#include "settle.h"

#include <mer/dal.h>
#include <mer/emit.h>

/* The lists of what a command did. */
enum deeds { DEEDS_APPLIED, DEEDS_RECORDED, DEEDS_REPAIRED, DEEDS_WRITTEN, DEEDS_COUNT };

enum view { VIEW_STATUS, VIEW_PLAN, VIEW_VERIFY, VIEW_COUNT };

struct report {
	enum mer_format format; /* TABLE PLAIN JSON */
	bool quiet;             /* say nothing but what failed; JSON was asked for, so it is written */
	bool list;              /* the document's list is open: rows may follow */
	enum deeds deeds;       /* which list, where it is one of deeds */
	bool document;          /* the document is complete */
	bool reader_left;       /* stdout has nobody who reads it */
	enum mer_status written;
	struct mer_error failure; /* of stdout */
	struct mer_buf out;
	struct mer_emit emit;
	const char *columns[16]; /* that emit borrows */
};

void report_init(struct report *report);
void report_release(struct report *report);

/** The scripts, as `status`, `plan` or `verify` shows them. */
void report_view(struct report *report, enum view view, const struct plan *plan);

/** Begins one; then each script of it. */
void report_begin(struct report *report, enum deeds deeds);
void report_applied(struct report *report, const struct script *script, int64_t duration_ms);
void report_changed(struct report *report, const struct change *change);
void report_written(struct report *report, int64_t num, const char *name, const char *path);

/** A line for people on stdout. */
MER_PRINTF(2, 3) void report_line(struct report *report, const char *fmt, ...);

/** A message on stderr that is no error. */
void report_warning(const struct report *report, const struct mer_error *warning);

/**
 * Lets SIGINT and SIGTERM end the process from here on, with a message that ends with what; with a
 * connection, what it does is cancelled first (stop.h). They are held back again by stop_hold().
 */
void report_allow_stop(struct report *report, const char *what, struct mer_dal *cancel);

/**
 * An error that is not the end of the document: one line on stderr, and where it is in a script.
 */
void report_error(const struct mer_error *err, const struct script *script, int64_t line,
                  int64_t column);

/**
 * Completes the document and writes what is left.
 * @param err  NULL, or why code is not EXIT_DONE
 * @return     code, or what a stdout that cannot be written makes of EXIT_DONE
 */
enum exit_code report_end(struct report *report, enum exit_code code, const struct mer_error *err);

#endif
