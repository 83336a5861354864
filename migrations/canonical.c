/*
 * The canonical form and the look ahead, both over the tokens of lex.h. Statements are told apart
 * as sqlite3_complete() documents it: at semicolons, save in CREATE TRIGGER, which ends at "; END
 * ;".
 */
#include "canonical.h"

#include <string.h>

/* --- the canonical form ------------------------------------------------------------------- */

/* What a token's edge may join with across white space that is left out. */
enum {
	JOINS_WORD = 1,
	JOINS_SIGN = 2,
	JOINS_QUOTE = 4,
	JOINS_PREFIX = 8, /* of a string: one letter as in x'00', or the '&' of U&'' */
};

struct edge {
	unsigned joins;
	char byte; /* of a sign */
};

static unsigned joins_of_byte(char byte)
{
	if (byte == ':' || byte == '@' || byte == '#' || byte == '?')
		return JOINS_WORD | JOINS_SIGN; /* they begin names of parameters, and are operators */
	if (byte == '.')
		return JOINS_WORD; /* 1 .5 and 1.5 differ */
	if (byte == '&')
		return JOINS_SIGN | JOINS_PREFIX;
	return byte != '\0' && strchr("+-*/<>=~!%^|`\\", byte) != NULL ? JOINS_SIGN : 0u;
}

static struct edge edge_of(const struct sql_lex *lex, const struct sql_token *token)
{
	char first = lex->text[token->at];
	struct edge edge = { .byte = first };
	switch (token->kind) {
	case SQL_WORD: edge.joins = JOINS_WORD | (token->len == 1 ? JOINS_PREFIX : 0u); break;
	case SQL_QUOTED: edge.joins = JOINS_QUOTE | (first == '$' ? JOINS_WORD : 0u); break;
	case SQL_OTHER: edge.joins = joins_of_byte(first); break;
	case SQL_END:
	case SQL_SPACE:
	case SQL_COMMENT:
	case SQL_SEMICOLON: break;
	}
	return edge;
}

/* Whether two signs could be one, or begin a comment. In Postgres any could: operators are made
 * there. */
static bool signs_join(enum sql_dialect dialect, char left, char right)
{
	static const char pairs[][2] = { "--", "->", "/*", "==", "<=", "<>",
		                             "<<", ">=", ">>", "!=", "||" };
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		if (pairs[i][0] == left && pairs[i][1] == right)
			return true;
	}
	return dialect == SQL_POSTGRES;
}

static bool must_part(enum sql_dialect dialect, struct edge left, struct edge right)
{
	unsigned both = left.joins & right.joins;
	if ((both & (JOINS_WORD | JOINS_QUOTE)) != 0)
		return true;
	if ((both & JOINS_SIGN) != 0 && signs_join(dialect, left.byte, right.byte))
		return true;
	return (left.joins & JOINS_PREFIX) != 0 && (right.joins & JOINS_QUOTE) != 0;
}

static bool is_gap(const struct sql_token *token)
{
	return token->kind == SQL_SPACE || token->kind == SQL_COMMENT;
}

void canonical_write(enum sql_dialect dialect, const char *text, size_t len, struct mer_buf *out)
{
	struct sql_lex lex;
	sql_lex_init(&lex, dialect, text, len);
	struct edge left = { 0 };
	bool gap = false, newline = false;
	for (struct sql_token token; token = sql_lex_next(&lex), token.kind != SQL_END;) {
		if (is_gap(&token)) {
			gap = true;
			newline = newline || memchr(text + token.at, '\n', token.len) != NULL;
			continue;
		}
		struct edge right = edge_of(&lex, &token);
		/* Two strings apart are one in standard SQL if a newline is between them. */
		if (gap && must_part(dialect, left, right))
			mer_buf_byte(out,
			             (left.joins & right.joins & JOINS_QUOTE) != 0 && newline ? '\n' : ' ');
		mer_buf_add(out, text + token.at, token.len);
		left = right;
		gap = newline = false;
	}
}

static void buf_done(struct mer_buf *buf)
{
	mer_buf_release(buf);
}

enum mer_status canonical_sha256(enum sql_dialect dialect, const char *text, size_t len,
                                 char out[MER_SHA256_SIZE], struct mer_error *err)
{
	__attribute__((cleanup(buf_done))) struct mer_buf form;
	mer_buf_init(&form, len);
	canonical_write(dialect, text, len, &form);
	enum mer_status st = mer_buf_check(&form, err);
	if (st == MER_OK)
		mer_sha256(form.ptr, form.len, out);
	return st;
}

/* --- the look ahead ----------------------------------------------------------------------- */

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
} sqlite_words[] = {
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

struct look {
	struct sql_lex lex;
	struct script_facts *facts;
	enum state state;
};

static void refuse(struct look *look, const struct sql_token *at, bool named, const char *why,
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

static void first_word(struct look *look, const struct sql_token *token)
{
	enum effect effect = EFFECT_NONE;
	for (size_t i = 0; i < sizeof sqlite_words / sizeof *sqlite_words; i++) {
		if (sql_is_word(&look->lex, token, sqlite_words[i].word))
			effect = sqlite_words[i].effect;
	}
	switch (effect) {
	case EFFECT_NONE: break;
	case EFFECT_SESSION: look->facts->touches_session = true; break;
	case EFFECT_TRANSACTION:
		refuse(look, token, true, "a script does not begin or end transactions",
		       "take it out: each script is one transaction, with its row in the ledger");
		break;
	case EFFECT_OUTSIDE:
		refuse(look, token, true, "it cannot run in the transaction of a script", NULL);
		break;
	case EFFECT_ATTACH: refuse(look, token, true, "a script is about one database", NULL); break;
	}
}

static enum state after_semicolon(enum state state)
{
	return state == TRIGGER || state == TRIGGER_SEMI ? TRIGGER_SEMI : START;
}

static bool is_one_of(const struct sql_lex *lex, const struct sql_token *token,
                      const char *const words[])
{
	for (; *words != NULL; words++) {
		if (sql_is_word(lex, token, *words))
			return true;
	}
	return false;
}

static const char *const temp_words[] = { "TEMP", "TEMPORARY", NULL };

static enum state after_token(const struct look *look, const struct sql_token *token)
{
	static const char *const not_explained[] = { "EXPLAIN", "TEMP", "TEMPORARY",
		                                         "TRIGGER", "END",  NULL };
	const struct sql_lex *lex = &look->lex;
	switch (look->state) {
	case START:
		if (sql_is_word(lex, token, "EXPLAIN"))
			return EXPLAINED;
		return sql_is_word(lex, token, "CREATE") ? CREATED : INSIDE;
	case EXPLAINED:
		if (sql_is_word(lex, token, "CREATE"))
			return CREATED;
		return is_one_of(lex, token, not_explained) ? INSIDE : EXPLAINED;
	case CREATED:
		if (is_one_of(lex, token, temp_words))
			return CREATED;
		return sql_is_word(lex, token, "TRIGGER") ? TRIGGER : INSIDE;
	case TRIGGER_SEMI: return sql_is_word(lex, token, "END") ? TRIGGER_END : TRIGGER;
	case TRIGGER_END:
	case TRIGGER: return TRIGGER;
	case INSIDE: break;
	}
	return INSIDE;
}

static void look_at(struct look *look, const struct sql_token *token)
{
	if (token->kind == SQL_SEMICOLON) {
		look->state = after_semicolon(look->state);
		return;
	}
	look->facts->statements += look->state == START;
	if (look->state == START || look->state == EXPLAINED)
		first_word(look, token);
	if (is_one_of(&look->lex, token, temp_words))
		look->facts->touches_session = true;
	look->state = after_token(look, token);
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
		refuse(look, token, false, "unknown instruction",
		       "the one there is: -- mer: no-transaction");
}

void script_look(enum sql_dialect dialect, const char *text, size_t len, struct script_facts *facts)
{
	struct look look = { .facts = facts };
	*facts = (struct script_facts){ 0 };
	sql_lex_init(&look.lex, dialect, text, len);
	for (struct sql_token token; token = sql_lex_next(&look.lex), token.kind != SQL_END;) {
		if (token.kind == SQL_COMMENT && token.at == 0)
			look_at_first_line(&look, &token);
		/* SQLite would skip the rest of the script without a word. */
		if (token.kind == SQL_COMMENT && token.open)
			refuse(&look, &token, false, "a comment that does not end", NULL);
		if (!is_gap(&token))
			look_at(&look, &token);
	}
}
