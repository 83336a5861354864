/* What look.c and the rules of each database share. */
#ifndef MIGRATIONS_LOOK_RULES_H
#define MIGRATIONS_LOOK_RULES_H

#include "look.h"

struct look {
	struct sql_lex lex;
	struct script_facts *facts;
	int state;                 /* of the rules: where in a statement they are; 0 at its beginning */
	size_t parens;             /* how many are open */
	bool body;                 /* in the body of a function */
	struct sql_token previous; /* the token before, unless it was a gap */
	size_t nth, nth_at;        /* where that statement begins, from 1 */
};

/* One token that is no gap. */
typedef void look_rule(struct look *look, const struct sql_token *token);
look_rule look_sqlite, look_postgres;

/** Counts a statement that begins with this token. */
void look_begin(struct look *look, const struct sql_token *token);

/** Says why the script may not run, unless that was said; named: the token is what is refused. */
void look_refuse(struct look *look, const struct sql_token *at, bool named, const char *why,
                 const char *hint);

/** The same for a statement that begins or ends a transaction. */
void look_refuse_transaction(struct look *look, const struct sql_token *at);

/** Whether the token is one of the words, which end with NULL. */
bool look_is_one_of(const struct look *look, const struct sql_token *token,
                    const char *const words[]);

#endif
