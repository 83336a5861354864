/*
 * The journal of run --lines --resume: which lines of an input were answered, and where on stdout their
 * answers ended. So a later mer answers the rest, whatever ended the one before.
 *
 * It is text, a record a line, appended with one write each:
 *     mer-lines 1 MODEL SHA256 WEIGHTS     first of all; without weights SHA256 is -
 *     to DEVICE INODE OFFSET               a mer begins to answer to that file; 0 0 0: to no file
 *     ok LINE SHA256 RUN OFFSET            that line, whose bytes have that digest, was answered, and all of
 *                                          the answer is written; OFFSET: where it ended
 *     at OFFSET                            what was written of a line that failed ended there
 *     end OFFSET                           that mer ended in order: nothing else was written
 * The answer is written before its record. So where stdout is a file, what is behind the last OFFSET of a mer
 * that did not end in order is of an answer without a record: it is cut off, and the line is run again.
 */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <mer/hash.h>
#include <mer/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal_line {
	int64_t number;     /* from 1 */
	int64_t ended;      /* OFFSET; -1: in another file than stdout is */
	uint64_t digest[2]; /* the first half of it */
};

struct journal {
	char *path;
	int fd;                     /* -1: there is none */
	int out;                    /* where answers go */
	struct journal_line *lines; /* those answered before, by number */
	size_t n_lines, room;
	size_t at;              /* of journal_has() */
	uint64_t device, inode; /* of the last `to` */
	bool same;              /* which is the file that stdout is */
	int64_t began, ended;   /* the OFFSET of the last `to`, and the last of all */
	bool in_order;          /* the last mer ended so */
};

/* What the answers are of. */
struct journal_head {
	const char *model;
	const char *weights, *sha256; /* "": none */
};

/**
 * Opens one, or makes it (0600), and locks it; mends what a mer that was killed left.
 * @param out  the descriptor that answers are written to
 * @return MER_ECONFLICT  it is of another model or weights, or another mer is at it
 *         MER_EINPUT     it is no journal
 *         MER_EIO        it cannot be read or written; or stdout cannot be cut
 */
MER_MUST enum mer_status journal_open(const char *path, const struct journal_head *head, int out,
                                      struct journal *journal, struct mer_error *err);

/**
 * Whether a line was answered. Asked in the order of numbers.
 * @return MER_ECONFLICT it was another line then
 */
MER_MUST enum mer_status journal_has(struct journal *journal, int64_t number, const char *bytes,
                                     size_t len, bool *has, struct mer_error *err);

/** All of the input was asked for: MER_ECONFLICT where more lines were answered than it has. */
MER_MUST enum mer_status journal_check_end(const struct journal *journal, int64_t lines,
                                           struct mer_error *err);

/** Writes that a line is answered; all of its answer is written by then. run: uid, or "". */
MER_MUST enum mer_status journal_add(struct journal *journal, int64_t number, const char *bytes,
                                     size_t len, const char *run, struct mer_error *err);

/** Writes that a line has failed, where something was written of it. */
MER_MUST enum mer_status journal_pass(struct journal *journal, struct mer_error *err);

/** Ends in order. A zeroed one with fd -1 is fine. */
void journal_close(struct journal *journal);

#endif
