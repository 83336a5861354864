/*
 * SQL as tokens, as far as a migration tool needs it: what is white space, a comment, a word,
 * quoted, or anything else, by the rules of one database. Nothing is allocated; no input is wrong.
 */
#ifndef MIGRATIONS_LEX_H
#define MIGRATIONS_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sql_dialect { SQL_SQLITE, SQL_POSTGRES, SQL_DIALECT_COUNT };

/** The dialect by the name of its folder of scripts; false: no such. */
bool sql_dialect_by_name(const char *name, enum sql_dialect *out);

/** And back. */
const char *sql_dialect_name(enum sql_dialect dialect);

enum sql_kind {
	SQL_END,
	SQL_SPACE,
	SQL_COMMENT,
	SQL_WORD,   /* a keyword, name or number; also a part of one that has a sign or dot in it */
	SQL_QUOTED, /* a string, quoted name or dollar quote, with its quotes */
	SQL_SEMICOLON,
	SQL_OTHER, /* one byte of anything else */
};

struct sql_token {
	enum sql_kind kind;
	bool open; /* a quote or comment that the text ends before it ends */
	size_t at, len;
};

/* Where it is about a string of Postgres with backslashes: E'..', which goes on in the quotes that
 * follow behind white space with a newline in it. */
enum sql_escapes { SQL_ESCAPES_NO, SQL_ESCAPES_E, SQL_ESCAPES_STRING, SQL_ESCAPES_NEWLINE };

struct sql_lex {
	enum sql_dialect dialect;
	const char *text; /* borrowed */
	size_t len, at;
	enum sql_escapes escapes;
};

/** Begins over text of len bytes, which needs no NUL. */
void sql_lex_init(struct sql_lex *lex, enum sql_dialect dialect, const char *text, size_t len);

/**
 * The next token; the tokens' bytes together are the text. SQL_END, of no bytes, again and
 * again.
 */
struct sql_token sql_lex_next(struct sql_lex *lex);

/** Whether it is white space or a comment. */
static inline bool sql_is_gap(const struct sql_token *token)
{
	return token->kind == SQL_SPACE || token->kind == SQL_COMMENT;
}

/** Whether a token is this word, in any case; upper is in capitals. */
bool sql_is_word(const struct sql_lex *lex, const struct sql_token *token, const char *upper);

/** The place of a byte as people count: lines and bytes of the line, both from 1. */
void sql_place(const char *text, size_t at, int64_t *line, int64_t *column);

#endif
