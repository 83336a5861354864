/* How lines for the log look on stderr: as text, as JSON, or as a journal takes them. */
#ifndef LOG_LINES_H
#define LOG_LINES_H

#include <mer/error.h>
#include <mer/log.h>

enum log_format { LOG_TEXT, LOG_JSON, LOG_JOURNAL };

/** Until it is called, and unless it was, they are text. */
void log_lines_format(enum log_format format);

/** Writes a line; the sink of the log (mer/log.h). One write, so that lines of several programs do not mix. */
void log_lines_write(enum mer_log_level level, const char *area, const char *line);

/**
 * Writes what went wrong, in text as the contract has it.
 * @param at    where the command stands: "FILE:LINE", or ""
 * @param hint  "": none is told
 */
void log_lines_error(const char *at, const char *message, const char *hint);

#endif
