/*
 * Manual pages in the language of man(7). Text is escaped where it has to be, so that whatever a
 * table says stands in the page as it is.
 */
#ifndef MER_ROFF_H
#define MER_ROFF_H

#include <mer/buf.h>

/** The page's title line and its NAME: "mer", "runs models wherever they live". */
MER_API void mer_roff_begin(struct mer_buf *out, const char *program, const char *what);

/** A section ("OPTIONS"), and a section in it. */
MER_API void mer_roff_section(struct mer_buf *out, const char *name);
MER_API void mer_roff_subsection(struct mer_buf *out, const char *name);

/** Text within a line; a newline in it begins a new input line. */
MER_API void mer_roff_text(struct mer_buf *out, const char *text);

/** A paragraph of text. Empty lines in it begin another one. */
MER_API void mer_roff_paragraph(struct mer_buf *out, const char *text);

/** An indented paragraph: its tag in bold, what it means, and in brackets a default, NULL: none. */
MER_API void mer_roff_tagged(struct mer_buf *out, const char *tag, const char *text,
                             const char *fallback);

/** Lines as they stand, for what is typed. */
MER_API void mer_roff_typed(struct mer_buf *out, const char *lines);

#endif
