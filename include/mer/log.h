/*
 * Log lines by area and level: "meal: worker started pid=12".
 *
 * A file that logs begins with `#define LOG_AREA "meal"`. Nothing is logged until a program has set
 * a sink; a library never does. Debug is allowed anywhere, the rest only in programs.
 */
#ifndef MER_LOG_H
#define MER_LOG_H

#include <mer/error.h>
#include <stdbool.h>

enum mer_log_level { MER_LOG_OFF, MER_LOG_ERROR, MER_LOG_WARN, MER_LOG_INFO, MER_LOG_DEBUG };

/* Gets one line without its newline. Called from any thread. */
typedef void mer_log_sink(enum mer_log_level level, const char *area, const char *line);

/**
 * Sets the sink and what reaches it, before other threads log.
 *
 * @param spec  "warn", or by area "warn,meal=debug"; levels off, error, warn, info, debug
 * @param sink  NULL logs nothing
 * @return MER_EINPUT names the word of spec that is wrong; nothing has changed then
 */
MER_API MER_MUST enum mer_status mer_log_open(const char *spec, mer_log_sink *sink,
                                              struct mer_error *err);

/** Changes what reaches the sink, whoever is logging meanwhile. MER_EINPUT as of mer_log_open(). */
MER_API MER_MUST enum mer_status mer_log_change(const char *spec, struct mer_error *err);

/** Whether a line of that level in that area reaches a sink. */
MER_API bool mer_log_on(enum mer_log_level level, const char *area);

MER_API MER_PRINTF(3, 4) void mer_log_write(enum mer_log_level level, const char *area,
                                            const char *fmt, ...);

/* The arguments are evaluated only where the line is wanted. */
#define MER_LOG(level, ...) \
	(mer_log_on((level), LOG_AREA) ? mer_log_write((level), LOG_AREA, __VA_ARGS__) : (void)0)
#define MER_DEBUG(...) MER_LOG(MER_LOG_DEBUG, __VA_ARGS__)

#endif
