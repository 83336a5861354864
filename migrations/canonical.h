/*
 * What a script says, apart from how it is written: its canonical form, whose checksum tells an
 * edit of comments and white space from an edit of the script; and what can be known of it before
 * it runs.
 */
#ifndef MIGRATIONS_CANONICAL_H
#define MIGRATIONS_CANONICAL_H

#include "lex.h"

#include <mer/buf.h>
#include <mer/hash.h>

/**
 * Appends the canonical form: comments and white space are left out, save for one space (or
 * newline) where leaving them out could join two tokens into another one. Quoted text stays as it
 * is. Its own canonical form is itself, and it is never longer than the text.
 *
 * The form is frozen: its checksum is in the ledgers, and with another one each comment that was
 * edited would count as an edit of its script.
 */
void canonical_write(enum sql_dialect dialect, const char *text, size_t len, struct mer_buf *out);

/** The checksum of the canonical form. MER_ENOMEM. */
MER_MUST enum mer_status canonical_sha256(enum sql_dialect dialect, const char *text, size_t len,
                                          char out[MER_SHA256_SIZE], struct mer_error *err);

/* What a script's tokens tell. */
struct script_facts {
	size_t statements;      /* empty ones do not count */
	bool no_transaction;    /* the first line asks for it */
	bool touches_session;   /* settings or temporary tables, which the next script must not see */
	const char *refused;    /* why it may not run, or NULL */
	size_t refused_at;      /* the byte that the reason is about */
	struct mer_str subject; /* the word that is refused, borrowed from the text; or empty */
	const char *hint;       /* what to do about it, or NULL */
};

/** Looks through a script; refused is the first reason in its text. */
void script_look(enum sql_dialect dialect, const char *text, size_t len,
                 struct script_facts *facts);

#endif
