/* Looks through a script by the rules of its database, and at its first line. */
#include "look_rules.h"

#include <string.h>

void look_begin(struct look *look, const struct sql_token *token)
{
	if (++look->facts->statements == look->nth)
		look->nth_at = token->at;
}

void look_refuse(struct look *look, const struct sql_token *at, bool named, const char *why,
                 const char *hint)
{
	struct script_facts *facts = look->facts;
	if (facts->refused != NULL)
		return;
	facts->refused = why;
	facts->refused_at = at->at;
	facts->hint = hint;
	if (named)
		facts->subject = (struct mer_str){ .ptr = look->lex.text + at->at, .len = at->len };
}

void look_refuse_transaction(struct look *look, const struct sql_token *at)
{
	look_refuse(look, at, true, "a script does not begin or end transactions",
	            "take it out: each script is one transaction, with its row in the ledger");
}

bool look_is_one_of(const struct look *look, const struct sql_token *token,
                    const char *const words[])
{
	for (; *words != NULL; words++) {
		if (sql_is_word(&look->lex, token, *words))
			return true;
	}
	return false;
}

/* A first line "-- mer: ..." is an instruction. */
static void look_at_first_line(struct look *look, const struct sql_token *token)
{
	static const char mark[] = "-- mer:", no_transaction[] = " no-transaction";
	const char *line = look->lex.text + token->at;
	size_t len = token->len, n = sizeof mark - 1;
	if (len < n || memcmp(line, mark, n) != 0)
		return;
	while (len > n && strchr(" \t\r", line[len - 1]) != NULL)
		len--;
	if (len - n == sizeof no_transaction - 1 && memcmp(line + n, no_transaction, len - n) == 0)
		look->facts->no_transaction = true;
	else
		look_refuse(look, token, false, "unknown instruction",
		            "the one there is: -- mer: no-transaction");
}

/* A script without a statement is one that is still to be written. Several statements in one message
 * are a transaction to Postgres; and what a crash has left of one statement can be seen. */
static void look_at_count(struct look *look)
{
	const struct script_facts *facts = look->facts;
	struct sql_token at = { .at = facts->statements > 1 ? look->nth_at : 0 };
	if (facts->statements == 0)
		look_refuse(look, &at, false, "a script without a statement", "fill it in, or delete it");
	else if (facts->no_transaction && facts->statements > 1)
		look_refuse(look, &at, false, "a second statement in a no-transaction script",
		            "one statement a script: put it into the next one");
}

static void look_through(struct look *look, enum sql_dialect dialect, const char *text, size_t len)
{
	static look_rule *const rules[] = {
		[SQL_SQLITE] = look_sqlite,
		[SQL_POSTGRES] = look_postgres,
	};
	*look->facts = (struct script_facts){ 0 };
	sql_lex_init(&look->lex, dialect, text, len);
	for (struct sql_token token; token = sql_lex_next(&look->lex), token.kind != SQL_END;) {
		if (token.kind == SQL_COMMENT && token.at == 0)
			look_at_first_line(look, &token);
		/* SQLite would skip the rest of the script without a word. */
		if (token.kind == SQL_COMMENT && token.open)
			look_refuse(look, &token, false, "a comment that does not end", NULL);
		if (sql_is_gap(&token))
			continue;
		rules[dialect](look, &token);
		look->previous = token;
	}
}

void script_look(enum sql_dialect dialect, const char *text, size_t len, struct script_facts *facts)
{
	struct look look = { .facts = facts, .nth = 2 };
	look_through(&look, dialect, text, len);
	look_at_count(&look);
}

size_t script_statement(enum sql_dialect dialect, const char *text, size_t len, size_t nth)
{
	struct script_facts facts;
	struct look look = { .facts = &facts, .nth = nth, .nth_at = len };
	look_through(&look, dialect, text, len);
	return look.nth_at;
}
