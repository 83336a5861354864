/*
 * The tokens of SQL. Sources: SQLite's "SQL As Understood By SQLite" (comments, keywords in quotes)
 * as 3.40 behaves; PostgreSQL 15 manual, 4.1 "Lexical Structure", and what its server takes.
 */
#include "lex.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

static const char *const dialect_names[] = {
	[SQL_SQLITE] = "sqlite",
	[SQL_POSTGRES] = "postgres",
};
static_assert(sizeof dialect_names / sizeof *dialect_names == SQL_DIALECT_COUNT,
              "a name for each dialect");

bool sql_dialect_by_name(const char *name, enum sql_dialect *out)
{
	for (size_t i = 0; i < SQL_DIALECT_COUNT; i++) {
		if (strcmp(name, dialect_names[i]) == 0) {
			*out = (enum sql_dialect)i;
			return true;
		}
	}
	return false;
}

const char *sql_dialect_name(enum sql_dialect dialect)
{
	return dialect_names[dialect];
}

void sql_lex_init(struct sql_lex *lex, enum sql_dialect dialect, const char *text, size_t len)
{
	*lex = (struct sql_lex){ .dialect = dialect, .text = text, .len = len };
}

/* SQLite skips a vertical tab behind other white space, and refuses it elsewhere. */
static bool is_space(char byte)
{
	return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* A byte that may begin a name; bytes of UTF-8 sequences all may. */
static bool is_letter(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' ||
	       (byte & 0x80) != 0;
}

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static bool is_word(char byte)
{
	return is_letter(byte) || is_digit(byte) || byte == '$';
}

static char byte_at(const struct sql_lex *lex, size_t at)
{
	return at < lex->len ? lex->text[at] : '\0';
}

/* SQLite takes a byte order mark for white space wherever it stands between other tokens. */
static bool is_mark(const struct sql_lex *lex, size_t at)
{
	return lex->dialect == SQL_SQLITE && byte_at(lex, at) == '\xef' &&
	       byte_at(lex, at + 1) == '\xbb' && byte_at(lex, at + 2) == '\xbf';
}

static size_t skip_spaces(const struct sql_lex *lex, size_t at)
{
	while (at < lex->len && is_space(lex->text[at]))
		at++;
	return at;
}

static size_t skip_digits(const struct sql_lex *lex, size_t at)
{
	while (is_digit(byte_at(lex, at)))
		at++;
	return at;
}

/* A number or the $1 of a parameter ends where its digits do, so that a dollar quote or the E of a
 * string may follow at once. */
static size_t skip_number(const struct sql_lex *lex, size_t at)
{
	bool parameter = lex->text[at] == '$';
	at = skip_digits(lex, at + 1);
	bool exponent =
		!parameter && (byte_at(lex, at) | 0x20) == 'e' && is_digit(byte_at(lex, at + 1));
	return exponent ? skip_digits(lex, at + 1) : at;
}

static size_t skip_word(const struct sql_lex *lex, size_t at)
{
	if (lex->dialect == SQL_POSTGRES && !is_letter(lex->text[at]))
		return skip_number(lex, at);
	while (at < lex->len && is_word(lex->text[at]))
		at++;
	return at;
}

static size_t skip_line(const struct sql_lex *lex, size_t at)
{
	/* In Postgres a carriage return ends a comment; in SQLite it does not. */
	while (at < lex->len && lex->text[at] != '\n' &&
	       (lex->dialect == SQL_SQLITE || lex->text[at] != '\r'))
		at++;
	return at;
}

/* Behind a block comment that begins at at; those of Postgres nest. */
static size_t skip_block(const struct sql_lex *lex, size_t at, bool *open)
{
	size_t depth = 1;
	for (at += 2; at + 1 < lex->len; at++) {
		if (lex->text[at] == '*' && lex->text[at + 1] == '/') {
			at++;
			if (--depth == 0)
				return at + 1;
		} else if (lex->dialect == SQL_POSTGRES && lex->text[at] == '/' &&
		           lex->text[at + 1] == '*') {
			at++;
			depth++;
		}
	}
	*open = true;
	return lex->len;
}

/* Behind the closing quote. A doubled one stands for itself, save for ']'. */
static size_t skip_quoted(const struct sql_lex *lex, size_t at, char close, bool escapes,
                          bool *open)
{
	for (at++; at < lex->len; at++) {
		if (escapes && lex->text[at] == '\\') {
			at++;
		} else if (lex->text[at] == close) {
			if (close == ']' || byte_at(lex, at + 1) != close)
				return at + 1;
			at++;
		}
	}
	*open = true;
	return lex->len;
}

/* The length of the $tag$ that begins at at, or 0. */
static size_t dollar_tag(const struct sql_lex *lex, size_t at)
{
	size_t end = at + 1;
	if (is_letter(byte_at(lex, end))) {
		while (end < lex->len && lex->text[end] != '$' && is_word(lex->text[end]))
			end++;
	}
	return byte_at(lex, end) == '$' ? end + 1 - at : 0;
}

static size_t skip_dollars(const struct sql_lex *lex, size_t at, size_t tag, bool *open)
{
	const char *body = lex->text + at + tag;
	const char *close = memmem(body, lex->len - at - tag, lex->text + at, tag);
	if (close == NULL) {
		*open = true;
		return lex->len;
	}
	return (size_t)(close - lex->text) + tag;
}

/* What closes the quote that the byte opens, or NUL where it opens none. */
static char closing_quote(enum sql_dialect dialect, char byte)
{
	switch (byte) {
	case '\'':
	case '"': return byte;
	case '`': return dialect == SQL_SQLITE ? '`' : '\0';
	case '[': return dialect == SQL_SQLITE ? ']' : '\0';
	default: return '\0';
	}
}

static bool opens_block(const struct sql_lex *lex, size_t at)
{
	/* SQLite takes a slash and star that nothing follows for two operators. */
	return byte_at(lex, at) == '/' && byte_at(lex, at + 1) == '*' &&
	       (lex->dialect != SQL_SQLITE || at + 2 < lex->len);
}

static enum sql_escapes after_token(const struct sql_lex *lex, const struct sql_token *token)
{
	const char *text = lex->text + token->at;
	enum sql_escapes before = lex->escapes;
	bool behind = before == SQL_ESCAPES_STRING || before == SQL_ESCAPES_NEWLINE;
	if (lex->dialect != SQL_POSTGRES)
		return SQL_ESCAPES_NO;
	if (token->kind == SQL_WORD)
		return token->len == 1 && (*text | 0x20) == 'e' ? SQL_ESCAPES_E : SQL_ESCAPES_NO;
	if (token->kind == SQL_QUOTED && *text == '\'')
		return before == SQL_ESCAPES_E || before == SQL_ESCAPES_NEWLINE ? SQL_ESCAPES_STRING
		                                                                : SQL_ESCAPES_NO;
	if (token->kind == SQL_COMMENT && *text == '-')
		return behind ? before : SQL_ESCAPES_NO;
	if (token->kind == SQL_SPACE && behind)
		return memchr(text, '\n', token->len) != NULL || memchr(text, '\r', token->len) != NULL
		           ? SQL_ESCAPES_NEWLINE
		           : before;
	return SQL_ESCAPES_NO;
}

struct sql_token sql_lex_next(struct sql_lex *lex)
{
	struct sql_token token = { .kind = SQL_END, .at = lex->at };
	if (lex->at >= lex->len)
		return token;

	size_t at = lex->at, end, tag = 0;
	char byte = lex->text[at], close = closing_quote(lex->dialect, byte);
	if (byte == '$' && lex->dialect == SQL_POSTGRES)
		tag = dollar_tag(lex, at);
	if (is_mark(lex, at)) {
		token.kind = SQL_SPACE;
		end = at + 3;
	} else if (is_space(byte)) {
		token.kind = SQL_SPACE;
		end = skip_spaces(lex, at);
	} else if (byte == '-' && byte_at(lex, at + 1) == '-') {
		token.kind = SQL_COMMENT;
		end = skip_line(lex, at);
	} else if (opens_block(lex, at)) {
		token.kind = SQL_COMMENT;
		end = skip_block(lex, at, &token.open);
	} else if (close != '\0') {
		token.kind = SQL_QUOTED;
		bool escapes = lex->escapes == SQL_ESCAPES_E || lex->escapes == SQL_ESCAPES_NEWLINE;
		end = skip_quoted(lex, at, close, escapes && byte == '\'', &token.open);
	} else if (tag > 0) {
		token.kind = SQL_QUOTED;
		end = skip_dollars(lex, at, tag, &token.open);
	} else if (is_word(byte)) {
		token.kind = SQL_WORD;
		end = skip_word(lex, at);
	} else {
		token.kind = byte == ';' ? SQL_SEMICOLON : SQL_OTHER;
		end = at + 1;
	}
	token.len = end - at;
	lex->escapes = after_token(lex, &token);
	lex->at = end;
	return token;
}

bool sql_is_word(const struct sql_lex *lex, const struct sql_token *token, const char *upper)
{
	return token->kind == SQL_WORD && strlen(upper) == token->len &&
	       strncasecmp(lex->text + token->at, upper, token->len) == 0;
}

void sql_place(const char *text, size_t at, int64_t *line, int64_t *column)
{
	size_t begin = 0;
	*line = 1;
	for (const char *end; (end = memchr(text + begin, '\n', at - begin)) != NULL; ++*line)
		begin = (size_t)(end - text) + 1;
	*column = (int64_t)(at - begin) + 1;
}
