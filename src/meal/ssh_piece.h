/* Pieces of SSH's messages and files: numbers, strings, and lists of names with commas between them. */
#ifndef MEAL_SSH_PIECE_H
#define MEAL_SSH_PIECE_H

#include <mer/buf.h>
#include <stdbool.h>

/** Takes the first name off *rest. @return false where there is none left */
bool ssh_list_next(struct mer_str *rest, struct mer_str *name);

bool ssh_list_has(struct mer_str list, struct mer_str name);

/** Takes a number of four bytes, or a string behind its length, off *bytes. @return false: it is not all
 * there */
bool ssh_take_u32(struct mer_str *bytes, size_t *out);
bool ssh_take_string(struct mer_str *bytes, struct mer_str *out);

static inline struct mer_str ssh_text(const char *text)
{
	return (struct mer_str){ text, __builtin_strlen(text) };
}

static inline bool ssh_is(struct mer_str text, const char *what)
{
	return text.len == __builtin_strlen(what) && __builtin_memcmp(text.ptr, what, text.len) == 0;
}

#endif
