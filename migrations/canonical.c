/* The canonical form, over the tokens of lex.h. */
#include "canonical.h"

#include <stdbool.h>
#include <string.h>

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

/* White space and comments between two tokens. */
struct gap {
	bool any, newline, block; /* block: a comment in Postgres that keeps two strings apart */
};

static bool add_gap(struct gap *gap, const struct sql_lex *lex, const struct sql_token *token)
{
	const char *text = lex->text + token->at;
	bool postgres = lex->dialect == SQL_POSTGRES;
	if (!sql_is_gap(token))
		return false;
	gap->any = true;
	gap->block = gap->block || (postgres && *text == '/');
	gap->newline = gap->newline || memchr(text, '\n', token->len) != NULL ||
	               (postgres && memchr(text, '\r', token->len) != NULL);
	return true;
}

/* A token, with the ends of its lines as Unix has them: how a checkout writes them is no edit. */
static void add_token(struct mer_buf *out, const char *text, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t begin = at;
		while (at < len && text[at] == '\r')
			at++;
		if (at == len || text[at] != '\n')
			mer_buf_add(out, text + begin, at - begin);
		const char *next = memchr(text + at, '\r', len - at);
		size_t n = next != NULL ? (size_t)(next - text) - at : len - at;
		mer_buf_add(out, text + at, n);
		at += n;
	}
}

void canonical_write(enum sql_dialect dialect, const char *text, size_t len, struct mer_buf *out)
{
	struct sql_lex lex;
	sql_lex_init(&lex, dialect, text, len);
	struct edge left = { 0 };
	struct gap gap = { 0 };
	for (struct sql_token token; token = sql_lex_next(&lex), token.kind != SQL_END;) {
		if (add_gap(&gap, &lex, &token))
			continue;
		struct edge right = edge_of(&lex, &token);
		/* Two strings apart are one in standard SQL if a newline is between them. */
		bool one = (left.joins & right.joins & JOINS_QUOTE) != 0 && gap.newline && !gap.block;
		if (gap.any && must_part(dialect, left, right))
			mer_buf_byte(out, one ? '\n' : ' ');
		add_token(out, text + token.at, token.len);
		left = right;
		gap = (struct gap){ 0 };
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
