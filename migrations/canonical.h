/*
 * What a script says, apart from how it is written: its canonical form, whose checksum tells an
 * edit of comments and white space from an edit of the script.
 */
#ifndef MIGRATIONS_CANONICAL_H
#define MIGRATIONS_CANONICAL_H

#include "lex.h"

#include <mer/buf.h>
#include <mer/hash.h>

/**
 * Appends the canonical form: comments and white space are left out, save for one space (or
 * newline) where leaving them out could join two tokens into another one. Quoted text stays as it
 * is, save for CRs before a newline, which are left out. Its own canonical form is itself, and it is never longer than the text.
 *
 * The form is frozen: its checksum is in the ledgers, and with another one each comment that was
 * edited would count as an edit of its script.
 */
void canonical_write(enum sql_dialect dialect, const char *text, size_t len, struct mer_buf *out);

/** The checksum of the canonical form. MER_ENOMEM. */
MER_MUST enum mer_status canonical_sha256(enum sql_dialect dialect, const char *text, size_t len,
                                          char out[MER_SHA256_SIZE], struct mer_error *err);

#endif
