/* A script's tokens, canonical form and look ahead, by the rules of each database: the tokens are the
 * text, the form is its own form, and looking at it tells the same as looking at the text. */
#include "fuzz.h"

#include <canonical.h>
#include <look.h>
#include <mer/clean.h>
#include <string.h>

static void check_tokens(enum sql_dialect dialect, const char *text, size_t len)
{
	struct sql_lex lex;
	size_t at = 0;
	sql_lex_init(&lex, dialect, text, len);
	for (struct sql_token token; token = sql_lex_next(&lex), token.kind != SQL_END;) {
		MER_ASSERT(token.at == at && token.len > 0 && token.len <= len - at);
		MER_ASSERT(!token.open || token.at + token.len == len);
		at += token.len;
	}
	MER_ASSERT(at == len && sql_lex_next(&lex).kind == SQL_END);
}

static void write_form(enum sql_dialect dialect, const char *text, size_t len, struct mer_buf *out)
{
	mer_buf_init(out, len);
	canonical_write(dialect, text, len, out);
	MER_ASSERT(mer_buf_check(out, NULL) == MER_OK);
}

static void check_facts(const struct script_facts *facts, const char *text, size_t len)
{
	MER_ASSERT(facts->refused != NULL || (facts->hint == NULL && facts->subject.len == 0));
	MER_ASSERT(facts->refused == NULL || facts->refused_at <= len);
	MER_ASSERT(facts->subject.len == 0 || facts->subject.ptr == text + facts->refused_at);
	MER_ASSERT(facts->subject.len <= len - facts->refused_at);
}

static void check(enum sql_dialect dialect, const char *text, size_t len)
{
	struct mer_buf form, again;
	struct script_facts facts, of_form;
	check_tokens(dialect, text, len);
	write_form(dialect, text, len, &form);
	const char *once = form.ptr != NULL ? form.ptr : "";
	write_form(dialect, once, form.len, &again);
	MER_ASSERT(again.len == form.len &&
	           (form.len == 0 || memcmp(form.ptr, again.ptr, form.len) == 0));
	script_look(dialect, text, len, &facts);
	script_look(dialect, once, form.len, &of_form);
	check_facts(&facts, text, len);
	MER_ASSERT(facts.statements == of_form.statements);
	MER_ASSERT(facts.touches_session == of_form.touches_session);
	mer_buf_release(&form);
	mer_buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < SQL_DIALECT_COUNT; i++)
		check((enum sql_dialect)i, (const char *)bytes, len);
	return 0;
}
