/*
 * Text: numbers, durations, sizes, times, names, words and UTF-8. Parsers take the whole text and
 * leave their output alone on failure.
 */
#ifndef MER_TEXT_H
#define MER_TEXT_H

#include <mer/buf.h>
#include <stdbool.h>
#include <stdint.h>

/** printf into a new string, which the caller frees; NULL when out of memory. */
MER_API MER_PRINTF(1, 2) char *mer_text_new(const char *fmt, ...);

/** A decimal whole number with an optional '-'. MER_EINPUT: not one; MER_ELIMIT: no int64_t. */
MER_API MER_MUST enum mer_status mer_parse_i64(const char *text, int64_t *out,
                                               struct mer_error *err);

/**
 * A duration in milliseconds, never negative: a number with one of ms, s, m, h behind it, or none
 * (milliseconds). MER_EINPUT: not one; MER_ELIMIT: more than INT64_MAX ms.
 */
MER_API MER_MUST enum mer_status mer_parse_ms(const char *text, int64_t *out,
                                              struct mer_error *err);

/** A size in bytes: a number with one of B, KiB, MiB, GiB behind it, or none (bytes). */
MER_API MER_MUST enum mer_status mer_parse_bytes(const char *text, int64_t *out,
                                                 struct mer_error *err);

/**
 * A time of RFC 3339 (2026-01-31T12:00:00Z, a fraction and an offset allowed), or a date alone for
 * its first moment in UTC, as milliseconds since 1970.
 */
MER_API MER_MUST enum mer_status mer_parse_time(const char *text, int64_t *out_ms,
                                                struct mer_error *err);

/** Room for what mer_time_text() writes: 2026-01-31T12:00:00.123Z and its NUL. */
#define MER_TIME_SIZE 25

/** Milliseconds since 1970 as RFC 3339 in UTC with three digits of fraction; what is outside the
 * years 1 to 9999 is shown as the nearest time within. */
MER_API void mer_time_text(int64_t ms, char out[MER_TIME_SIZE]);

/** The wall clock in milliseconds since 1970. */
MER_API int64_t mer_time_now_ms(void);

/** A clock for spans of time, which nobody sets, in microseconds since some moment. */
MER_API int64_t mer_clock_us(void);
static inline int64_t mer_clock_ms(void)
{
	return mer_clock_us() / 1000;
}

/** A duration as people write it, rounded to a tenth: 850ms, 1.5s, 12m, 3h. Room 24. */
MER_API void mer_ms_text(int64_t ms, char out[24]);

/** Room for what mer_signal_name() writes. */
#define MER_SIGNAL_SIZE 24

/** A signal by its name (SIGSEGV, SIGRTMIN+6), one without a name by its number (SIG99). Returns out. */
MER_API const char *mer_signal_name(int number, char out[MER_SIGNAL_SIZE]);

/** Whether it may name a model, server or deployment: 1 to 128 of A-Z a-z 0-9 . _ -, first a letter
 * or digit (CLI.md). MER_EINPUT says why not; what is the noun for the message. */
MER_API MER_MUST enum mer_status mer_check_name(const char *what, const char *name,
                                                struct mer_error *err);

/**
 * Splits a line as a POSIX shell splits words (quotes and backslash; nothing is expanded; '#' that
 * begins a word begins a comment).
 *
 * @param words  gives a vector ended by NULL; free with mer_words_done()
 * @param count  how many; NULL allowed
 * @param open   set to whether a quote is open at the end or the last byte is a lone backslash, so
 *               that a prompt can ask for more; written on success and on MER_EINPUT; NULL allowed
 * @return MER_OK; MER_EINPUT an open quote or a trailing backslash
 */
MER_API MER_MUST enum mer_status mer_split_words(const char *line, char ***words, size_t *count,
                                                 bool *open, struct mer_error *err);

/* The word that a cursor behind the end of a line is in. */
struct mer_last_word {
	char *text;  /* owned: what there is of it, without its quotes; "" between words; NULL: the line
	                ends in a comment */
	size_t from; /* where it begins in the line */
	char open;   /* the quote that is open, or a backslash that nothing follows; 0: none */
};

/** Splits what stands before a cursor: the whole words, as mer_split_words() gives them, and the one
 * that is being written. Whatever the line is, it can be split. @return MER_ENOMEM */
MER_API MER_MUST enum mer_status mer_split_last(const char *line, char ***words, size_t *count,
                                                struct mer_last_word *last, struct mer_error *err);

/** Bytes at the start that are whole, valid UTF-8 (no surrogates, nothing above U+10FFFF). */
MER_API size_t mer_utf8_span(const char *bytes, size_t len);

/** Appends text as every database takes it: each byte that is not UTF-8, and each NUL, becomes U+FFFD. */
MER_API void mer_buf_add_utf8(struct mer_buf *buf, const char *bytes, size_t len);

/**
 * Like mer_utf8_span(), but a sequence that is merely cut off at the end is not an error:
 * *cut says how many bytes (0 to 3) of an unfinished sequence follow the span.
 */
MER_API size_t mer_utf8_span_cut(const char *bytes, size_t len, size_t *cut);

/** Columns of terminal that the text takes (wcwidth, so in a UTF-8 locale); control characters
 * count 0, bytes that are not UTF-8 and what wcwidth does not know 1. */
MER_API size_t mer_text_width(const char *text);

/** Whether a control character of ASCII is in it. */
MER_API bool mer_text_has_controls(const char *text);

/** How far apart two words are in single edits (insert, delete, replace, swap of neighbours), for
 * "did you mean"; of words over 128 bytes the length of the longer one. */
MER_API size_t mer_edit_distance(const char *a, const char *b);

/* Which of some words was probably meant by one that is none of them. */
struct mer_guess {
	const char *typed; /* borrowed; the rest is zero at first */
	char word[129];    /* the nearest so far; "": none is near */
	size_t distance;
};

/** Offers a word: near is what the typed one begins, or what is 1 to 3 edits away from it. */
MER_API void mer_guess_offer(struct mer_guess *guess, const char *word);

/** Hints at the one that is near: "did you mean 'WORD'?" @return false: none is, no hint */
MER_API bool mer_guess_hint(const struct mer_guess *guess, struct mer_error *err);

#endif
