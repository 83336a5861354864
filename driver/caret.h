/* What a model printed, as a terminal may show it: control characters other than newline and tab as
 * ^[ and the like, so that no model moves the cursor or renames the window. */
#ifndef CARET_H
#define CARET_H

#include <mer/buf.h>
#include <stdbool.h>

struct caret {
	unsigned char held; /* the first byte of what may become a control character, or 0 */
	unsigned left;      /* bytes that the sequence of UTF-8 begun before still wants */
	bool any;           /* something was given */
	char last;          /* its last byte */
};

/** Adds bytes of a text that may be cut anywhere. */
void caret_add(struct caret *caret, const char *bytes, size_t n, struct mer_buf *out);

/** Ends the text: what is held, and a newline where the text lacks its last one. */
void caret_end(struct caret *caret, struct mer_buf *out);

#endif
