/* The error object, the names of the statuses, and the report of a broken invariant. */
#include "base.h"

#include <assert.h>
#include <errno.h>
#include <mer/error.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const status_names[] = {
	[MER_OK] = "ok",
	[MER_EINPUT] = "input",
	[MER_ENOTFOUND] = "not found",
	[MER_ECONFLICT] = "conflict",
	[MER_EDATABASE] = "database",
	[MER_EUNREACHABLE] = "unreachable",
	[MER_EMODEL] = "model",
	[MER_ETIMEOUT] = "timeout",
	[MER_EBUSY] = "busy",
	[MER_ECANCELED] = "canceled",
	[MER_ELIMIT] = "limit",
	[MER_EIO] = "io",
	[MER_ECORRUPT] = "corrupt",
	[MER_ENOMEM] = "out of memory",
};
static_assert(sizeof status_names / sizeof *status_names == MER_STATUS_COUNT,
              "a name for each status");

/* Formats into a copy first, since the arguments may point into what is written. */
MER_PRINTF(3, 0) static void format(char *out, size_t size, const char *fmt, va_list args)
{
	char text[sizeof((struct mer_error *)0)->message];
	MER_ASSERT(size <= sizeof text);
	if (vsnprintf(text, size, fmt, args) < 0)
		text[0] = '\0';
	base_one_line(text);
	memcpy(out, text, strlen(text) + 1);
}

enum mer_status(mer_fail)(struct mer_error *err, enum mer_status status, const char *fmt, ...)
{
	if (err == NULL)
		return status;
	int saved = errno;
	va_list args;
	va_start(args, fmt);
	format(err->message, sizeof err->message, fmt, args);
	va_end(args);
	err->hint[0] = '\0';
	err->status = status;
	errno = saved;
	return status;
}

enum mer_status mer_wrap(struct mer_error *err, enum mer_status status, const char *fmt, ...)
{
	if (err == NULL)
		return status;
	char context[sizeof err->message];
	va_list args;
	va_start(args, fmt);
	format(context, sizeof context, fmt, args);
	va_end(args);

	size_t front = strlen(context), room = sizeof context - 1 - front;
	char cause[sizeof err->message + 2];
	(void)snprintf(cause, sizeof cause, ": %s", err->message);
	size_t n = strnlen(cause, room);
	memcpy(context + front, cause, n);
	context[front + n] = '\0';
	base_one_line(context); /* the cut may have split a sequence */
	memcpy(err->message, context, strlen(context) + 1);
	err->status = status;
	return status;
}

void mer_hint(struct mer_error *err, const char *fmt, ...)
{
	if (err == NULL)
		return;
	va_list args;
	va_start(args, fmt);
	format(err->hint, sizeof err->hint, fmt, args);
	va_end(args);
}

const char *mer_status_name(enum mer_status status)
{
	size_t at = (size_t)status;
	return at < MER_STATUS_COUNT ? status_names[at] : "unknown";
}

void mer_defect(const char *file, int line, const char *what)
{
	char text[512];
	int n = snprintf(text, sizeof text, "mer: defect at %s:%d: %s\n", file, line, what);
	if (n >= (int)sizeof text) {
		n = (int)sizeof text - 1;
		text[n - 1] = '\n';
	}
	if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
		_exit(70);
	_exit(70);
}
