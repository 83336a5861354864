/* Whether two outputs of a model are the same, and what differs: byte by byte, or with a tolerance for
 * the numbers in texts. Pure. */
#ifndef MER_COMPARE_H
#define MER_COMPARE_H

#include <mer/buf.h>
#include <stdbool.h>

#define MER_COMPARE_EXACT (-1.0)

/**
 * A tolerance X as users write it: a number, 0 or more. With it two numbers are the same where
 * |now - before| <= X * max(1, |before|), so absolute for small ones and relative for large ones;
 * nan is nan, an infinity itself; and how many blanks stand before a number does not count. A number is
 * decimal, with a sign, a fraction, an exponent, and no part of a word (x1, 0x1f, 1.2.3).
 * Source: the rule of pytest.approx(before, rel=X, abs=X).
 */
MER_API MER_MUST enum mer_status mer_compare_parse(const char *what, const char *text, double *out,
                                                   struct mer_error *err);

/** Two numbers by a tolerance, which is not MER_COMPARE_EXACT. */
MER_API bool mer_compare_near(long double before, long double now, double tolerance);

/** tolerance: MER_COMPARE_EXACT, or as above; where one of both is no text, each byte counts. */
MER_API bool mer_compare_same(struct mer_str before, struct mer_str now, double tolerance);

/** Without the newline at its end, which does not count where an example is written by hand. */
static inline struct mer_str mer_compare_chomp(struct mer_str text)
{
	text.len -= text.len > 0 && text.ptr[text.len - 1] == '\n';
	return text;
}

/** What differs: a unified diff of texts, the first different bytes of others. Lines that are the same
 * by tolerance are context. Failures show in out. */
MER_API void mer_compare_show(struct mer_str before, struct mer_str now, double tolerance,
                              struct mer_buf *out);

#endif
