/*
 * JSON that is made around an input, and JSON in which the answer is found, for services whose own
 * protocol nobody else speaks.
 */
#ifndef MEAL_HTTP_TEMPLATE_H
#define MEAL_HTTP_TEMPLATE_H

#include <mer/json.h>

/**
 * A template is JSON in which {input} stands for the input as a string, {json} for the input, which
 * then is JSON itself, and {model} for the model's name as a string, wherever a value may be.
 *
 * @return MER_EINPUT says where it is none
 */
MER_MUST enum mer_status http_template_check(const char *text, struct mer_error *err);

/**
 * Appends the template with all filled in.
 *
 * @return MER_EINPUT the input is not UTF-8, or with {json} no JSON; MER_ENOMEM
 */
MER_MUST enum mer_status http_template_fill(const char *text, struct mer_str input,
                                            const char *model, struct mer_buf *out,
                                            struct mer_error *err);

/** Whether it is a JSON pointer (RFC 6901): "", or names that each begin with a slash. */
MER_MUST enum mer_status http_pointer_check(const char *pointer, struct mer_error *err);

/** What a pointer that was checked leads to, borrowed; NULL: nothing. */
json_t *http_pointer_get(json_t *document, const char *pointer);

/**
 * Parses what a server sent, within bounds: a few bytes of JSON can ask for many of memory.
 * @param what  names it in the message
 * @return MER_EMODEL it is no JSON; MER_ELIMIT more values than are taken; MER_ENOMEM
 */
MER_MUST enum mer_status http_json_parse(const char *what, struct mer_str text, json_t **out,
                                         struct mer_error *err);

/** Whether an input may be in JSON. @return MER_EINPUT it is not UTF-8 */
MER_MUST enum mer_status http_json_check(struct mer_str input, struct mer_error *err);

/** Appends a value's JSON. */
void http_json_add(const json_t *value, struct mer_buf *out);

/** Appends what a value is as an output: a string's own bytes, of all else its JSON. */
void http_json_output(const json_t *value, struct mer_buf *out);

#endif
