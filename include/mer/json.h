/* JSON over jansson: what every layer needs of it, with errors in MER's form. */
#ifndef MER_JSON_H
#define MER_JSON_H

#include <jansson.h>
#include <mer/buf.h>
#include <stdbool.h>
#include <stdint.h>

static inline void mer_json_done(json_t **json)
{
	json_decref(*json);
}

/**
 * Parses a document of any kind; duplicate keys are refused.
 * @param what  names it in the message: "params of server 'gpu1'"
 * @param out   gives a reference
 * @return MER_EINPUT with line and column
 */
MER_API MER_MUST enum mer_status mer_json_parse(const char *what, const char *text, size_t len,
                                                json_t **out, struct mer_error *err);

/** Writes compactly, keys in the order in which they were set; the caller frees the text. */
MER_API MER_MUST enum mer_status mer_json_text(const json_t *json, char **out,
                                               struct mer_error *err);

/**
 * An array of strings as a vector ended by NULL, free with mer_words_done(); and back.
 * MER_EINPUT: not an array, not only strings, or a string with a NUL in it.
 */
MER_API MER_MUST enum mer_status mer_json_to_words(const char *what, const json_t *json,
                                                   char ***words, size_t *count,
                                                   struct mer_error *err);
MER_API MER_MUST enum mer_status mer_json_from_words(const char *const words[], json_t **out,
                                                     struct mer_error *err);

/* Members of an object, with a fallback where they are missing or of another type (a string with a
 * NUL in it is no text); borrowed. */
MER_API const char *mer_json_get_text(const json_t *object, const char *key, const char *fallback);
MER_API int64_t mer_json_get_i64(const json_t *object, const char *key, int64_t fallback);
MER_API bool mer_json_get_bool(const json_t *object, const char *key, bool fallback);

/** Appends text as a JSON string with its quotes (RFC 8259); what is not UTF-8 becomes U+FFFD. */
MER_API void mer_json_quote(struct mer_buf *buf, const char *bytes, size_t len);

/** The same without the quotes: a piece of a string that is written in pieces, each whole UTF-8. */
MER_API void mer_json_escape(struct mer_buf *buf, const char *bytes, size_t len);

/** Appends bytes in base64 (RFC 4648, section 4). Where another piece follows, 3 divides n. */
MER_API void mer_base64_add(struct mer_buf *buf, const void *bytes, size_t n);

#endif
