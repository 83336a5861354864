/*
 * What can be known of a script before it runs, from its tokens: how many statements it has, and
 * whether one of them would begin or end a transaction or do something else that a script may not.
 */
#ifndef MIGRATIONS_LOOK_H
#define MIGRATIONS_LOOK_H

#include "lex.h"

#include <mer/buf.h>

struct script_facts {
	size_t statements;      /* empty ones do not count */
	bool no_transaction;    /* the first line asks for it */
	bool touches_session;   /* settings or temporary tables, which the next script must not see */
	bool may_commit;        /* a procedure, which can commit by itself outside a transaction */
	const char *refused;    /* why it may not run, or NULL */
	size_t refused_at;      /* the byte that the reason is about */
	struct mer_str subject; /* the word that is refused, borrowed from the text; or empty */
	const char *hint;       /* what to do about it, or NULL */
};

/** Looks through a script; refused is the first reason in its text. */
void script_look(enum sql_dialect dialect, const char *text, size_t len,
                 struct script_facts *facts);

/** Where the nth statement begins, from 1; len: there is no such. */
size_t script_statement(enum sql_dialect dialect, const char *text, size_t len, size_t nth);

#endif
