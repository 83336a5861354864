/*
 * The rules of Postgres. Statements are told apart as its parser does: at semicolons that are
 * neither in parentheses (the actions of a rule) nor in the body of a function in standard SQL,
 * BEGIN ATOMIC ... END. That body's END stands behind a semicolon or ATOMIC, the END of a CASE never
 * does. Sources: src/backend/parser/gram.y, src/fe_utils/psqlscan.l of PostgreSQL 15.
 */
#include "look_rules.h"

#include <string.h>

/* Where in a statement the look ahead is. */
enum state {
	START,    /* nothing of it was seen */
	CREATED,  /* CREATE, after which FUNCTION may stand */
	FUNCTION, /* CREATE FUNCTION or PROCEDURE, which may have a body */
	PREPARED, /* PREPARE, after which TRANSACTION may stand */
	COPY,     /* anywhere in COPY */
	INSIDE,   /* anywhere else */
};

enum effect {
	EFFECT_TRANSACTION, /* begins or ends one */
	EFFECT_SESSION,     /* changes the connection in what is not put back behind each script */
	EFFECT_PROCEDURE,   /* runs one */
	EFFECT_STATE,       /* what follows says what it is */
};

/* What Postgres does at the first word of a statement that is of interest here. */
static const struct {
	const char *word;
	enum effect effect;
	enum state state;
} words[] = {
	{ "ABORT", EFFECT_TRANSACTION, INSIDE },
	{ "BEGIN", EFFECT_TRANSACTION, INSIDE },
	{ "CALL", EFFECT_PROCEDURE, INSIDE },
	{ "COMMIT", EFFECT_TRANSACTION, INSIDE },
	{ "COPY", EFFECT_STATE, COPY },
	{ "CREATE", EFFECT_STATE, CREATED },
	{ "DEALLOCATE", EFFECT_SESSION, INSIDE },
	{ "DECLARE", EFFECT_SESSION, INSIDE },
	{ "DISCARD", EFFECT_SESSION, INSIDE },
	{ "DO", EFFECT_PROCEDURE, INSIDE },
	{ "END", EFFECT_TRANSACTION, INSIDE },
	{ "LISTEN", EFFECT_SESSION, INSIDE },
	{ "LOAD", EFFECT_SESSION, INSIDE },
	{ "PREPARE", EFFECT_STATE, PREPARED },
	{ "RELEASE", EFFECT_TRANSACTION, INSIDE },
	{ "ROLLBACK", EFFECT_TRANSACTION, INSIDE },
	{ "SAVEPOINT", EFFECT_TRANSACTION, INSIDE },
	{ "START", EFFECT_TRANSACTION, INSIDE },
	{ "UNLISTEN", EFFECT_SESSION, INSIDE },
};

static enum state first_word(struct look *look, const struct sql_token *token)
{
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (!sql_is_word(&look->lex, token, words[i].word))
			continue;
		if (words[i].effect == EFFECT_TRANSACTION)
			look_refuse_transaction(look, token);
		if (words[i].effect == EFFECT_SESSION)
			look->facts->touches_session = true;
		if (words[i].effect == EFFECT_PROCEDURE)
			look->facts->may_commit = true;
		return words[i].state;
	}
	return INSIDE;
}

static enum state after_create(const struct look *look, const struct sql_token *token)
{
	static const char *const replace[] = { "OR", "REPLACE", NULL };
	static const char *const routine[] = { "FUNCTION", "PROCEDURE", NULL };
	if (look_is_one_of(look, token, replace))
		return CREATED;
	return look_is_one_of(look, token, routine) ? FUNCTION : INSIDE;
}

/* PREPARE of a statement stays in the session. */
static enum state after_prepare(struct look *look, const struct sql_token *token)
{
	if (sql_is_word(&look->lex, token, "TRANSACTION"))
		look_refuse_transaction(look, &look->previous);
	look->facts->touches_session = true;
	return INSIDE;
}

/* Either word stands for the client's end; data in the script would leave the connection waiting
 * for it. */
static void look_at_copy(struct look *look, const struct sql_token *token)
{
	static const char *const ends[] = { "STDIN", "STDOUT", NULL };
	if (look->parens > 0 || !look_is_one_of(look, token, ends))
		return;
	if (sql_is_word(&look->lex, &look->previous, "FROM"))
		look_refuse(look, token, true, "a script has no data behind COPY",
		            "write INSERT statements (pg_dump --inserts does)");
	else if (sql_is_word(&look->lex, &look->previous, "TO"))
		look_refuse(look, token, true, "nobody takes what COPY would send", NULL);
}

/* Without regard to case. */
static bool contains(const struct sql_lex *lex, const struct sql_token *token, const char *lower)
{
	size_t len = strlen(lower);
	for (size_t i = 0; i + len <= token->len; i++) {
		size_t n = 0;
		while (n < len && (lex->text[token->at + i + n] | 0x20) == (lower[n] | 0x20))
			n++;
		if (n == len)
			return true;
	}
	return false;
}

/* What stays in the session when the transaction is over; in a function's body too, which the script
 * may call. */
static bool touches_session(const struct look *look, const struct sql_token *token)
{
	static const char *const stays[] = { "TEMP", "TEMPORARY", "PG_TEMP", "DBLINK_CONNECT", NULL };
	if (token->kind != SQL_QUOTED && token->kind != SQL_WORD)
		return false;
	if (contains(&look->lex, token, "pg_advisory"))
		return true;
	if (token->kind == SQL_QUOTED)
		return look->lex.text[token->at] == '$' && contains(&look->lex, token, "temp");
	return look_is_one_of(look, token, stays);
}

/* A body within a body is for the server to refuse. */
static void look_at_body(struct look *look, const struct sql_token *token)
{
	const struct sql_lex *lex = &look->lex;
	bool atomic = sql_is_word(lex, &look->previous, "ATOMIC");
	if (look->parens > 0)
		return;
	if (!look->body)
		look->body =
			sql_is_word(lex, token, "ATOMIC") && sql_is_word(lex, &look->previous, "BEGIN");
	else if (sql_is_word(lex, token, "END"))
		look->body = !atomic && look->previous.kind != SQL_SEMICOLON;
}

static void look_at_other(struct look *look, const struct sql_token *token)
{
	switch (look->lex.text[token->at]) {
	case '(': look->parens++; break;
	case ')': look->parens -= look->parens > 0; break;
	case '\\':
		look_refuse(look, token, false,
		            "a backslash command, which psql knows and the database not",
		            "take it out; of a dump: delete the lines \\restrict and \\unrestrict");
		break;
	default: break;
	}
}

static enum state after_token(struct look *look, const struct sql_token *token)
{
	switch ((enum state)look->state) {
	case START: return first_word(look, token);
	case CREATED: return after_create(look, token);
	case PREPARED: return after_prepare(look, token);
	case COPY: look_at_copy(look, token); return COPY;
	case FUNCTION: look_at_body(look, token); return FUNCTION;
	case INSIDE: break;
	}
	return (enum state)look->state;
}

void look_postgres(struct look *look, const struct sql_token *token)
{
	if (token->kind == SQL_SEMICOLON) {
		if (look->parens == 0 && !look->body)
			look->state = START;
		return;
	}
	if (look->state == START) {
		look->parens = 0;
		look->body = false;
		look_begin(look, token);
	}
	if (token->kind == SQL_OTHER)
		look_at_other(look, token);
	if (touches_session(look, token))
		look->facts->touches_session = true;
	look->state = (int)after_token(look, token);
}
