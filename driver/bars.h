/* Numbers as a row of small bars, one a column: in UTF-8 blocks of eighths, else letters. */
#ifndef BARS_H
#define BARS_H

#include <mer/buf.h>
#include <stdbool.h>
#include <stdint.h>

/** Whether the locale's characters are UTF-8. */
bool bars_utf8(void);

/** Appends n bars, the largest number being as high as a bar can be; 0 is a space, and nothing else is. */
void bars_add(struct mer_buf *out, const int64_t numbers[], size_t n, bool utf8);

#endif
