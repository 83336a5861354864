/*
 * The rules of SQLite. Statements are told apart as sqlite3_complete() documents it: at semicolons,
 * save in CREATE TRIGGER, which ends at "; END ;".
 */
#include "look_rules.h"

enum effect {
	EFFECT_NONE,
	EFFECT_TRANSACTION, /* begins or ends one */
	EFFECT_OUTSIDE,     /* runs in none */
	EFFECT_ATTACH,
	EFFECT_SESSION, /* changes the connection */
};

/* What SQLite does at the first word of a statement that is of interest here. */
static const struct {
	const char *word;
	enum effect effect;
} words[] = {
	{ "ATTACH", EFFECT_ATTACH },         { "BEGIN", EFFECT_TRANSACTION },
	{ "COMMIT", EFFECT_TRANSACTION },    { "DETACH", EFFECT_ATTACH },
	{ "END", EFFECT_TRANSACTION },       { "PRAGMA", EFFECT_SESSION },
	{ "RELEASE", EFFECT_TRANSACTION },   { "ROLLBACK", EFFECT_TRANSACTION },
	{ "SAVEPOINT", EFFECT_TRANSACTION }, { "VACUUM", EFFECT_OUTSIDE },
};

/* Where in a statement the look ahead is. */
enum state {
	START,        /* nothing of it was seen */
	EXPLAINED,    /* EXPLAIN, after which CREATE TRIGGER may stand */
	CREATED,      /* CREATE, after which TRIGGER may stand */
	INSIDE,       /* anywhere else */
	TRIGGER,      /* in a trigger, where a semicolon ends nothing */
	TRIGGER_SEMI, /* behind a semicolon of a trigger */
	TRIGGER_END,  /* behind its "; END" */
};

static void first_word(struct look *look, const struct sql_token *token)
{
	enum effect effect = EFFECT_NONE;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (sql_is_word(&look->lex, token, words[i].word))
			effect = words[i].effect;
	}
	switch (effect) {
	case EFFECT_NONE: break;
	case EFFECT_SESSION: look->facts->touches_session = true; break;
	case EFFECT_TRANSACTION: look_refuse_transaction(look, token); break;
	case EFFECT_OUTSIDE:
		if (!look->facts->no_transaction)
			look_refuse(look, token, true, "it cannot run in the transaction of a script",
			            "alone in a script whose first line is: -- mer: no-transaction");
		break;
	case EFFECT_ATTACH:
		look_refuse(look, token, true, "a script is about one database", NULL);
		break;
	}
}

static enum state after_semicolon(enum state state)
{
	return state == TRIGGER || state == TRIGGER_SEMI ? TRIGGER_SEMI : START;
}

static const char *const temp_words[] = { "TEMP", "TEMPORARY", NULL };

static enum state after_token(const struct look *look, const struct sql_token *token)
{
	static const char *const not_explained[] = { "EXPLAIN", "TEMP", "TEMPORARY",
		                                         "TRIGGER", "END",  NULL };
	const struct sql_lex *lex = &look->lex;
	switch ((enum state)look->state) {
	case START:
		if (sql_is_word(lex, token, "EXPLAIN"))
			return EXPLAINED;
		return sql_is_word(lex, token, "CREATE") ? CREATED : INSIDE;
	case EXPLAINED:
		if (sql_is_word(lex, token, "CREATE"))
			return CREATED;
		return look_is_one_of(look, token, not_explained) ? INSIDE : EXPLAINED;
	case CREATED:
		if (look_is_one_of(look, token, temp_words))
			return CREATED;
		return sql_is_word(lex, token, "TRIGGER") ? TRIGGER : INSIDE;
	case TRIGGER_SEMI: return sql_is_word(lex, token, "END") ? TRIGGER_END : TRIGGER;
	case TRIGGER_END:
	case TRIGGER: return TRIGGER;
	case INSIDE: break;
	}
	return INSIDE;
}

void look_sqlite(struct look *look, const struct sql_token *token)
{
	enum state state = (enum state)look->state;
	if (token->kind == SQL_SEMICOLON) {
		look->state = (int)after_semicolon(state);
		return;
	}
	if (state == START)
		look_begin(look, token);
	if (state == START || state == EXPLAINED)
		first_word(look, token);
	if (look_is_one_of(look, token, temp_words))
		look->facts->touches_session = true;
	look->state = (int)after_token(look, token);
}
