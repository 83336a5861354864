/* Lines for the log; log_lines.h. */
#include "log_lines.h"

#include "statusline.h"

#include <mer/buf.h>
#include <mer/file.h>
#include <mer/json.h>
#include <mer/text.h>
#include <mer/uid.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 64 << 10, UID_LEN = sizeof(struct mer_uid) - 1 };

static enum log_format format; /* written before other threads log */

/* Of a level: its name, and the priority that a line of it has for systemd (sd-daemon(3), syslog(3)). */
static const struct {
	const char *name;
	char priority;
} levels[] = {
	[MER_LOG_OFF] = { "", '5' },        [MER_LOG_ERROR] = { "error", '3' },
	[MER_LOG_WARN] = { "warn", '4' },   [MER_LOG_INFO] = { "info", '6' },
	[MER_LOG_DEBUG] = { "debug", '7' },
};

void log_lines_format(enum log_format which)
{
	format = which;
}

static void add_member(struct mer_buf *out, const char *name, const char *text, size_t len)
{
	mer_buf_printf(out, ",\"%s\":", name);
	mer_json_quote(out, text, len);
}

/* The run that a line is about, which says so as "request_uid=UID" or "run UID". */
static const char *find_uid(const char *line)
{
	static const char *const before[] = { "request_uid=", "run " };
	for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
		const char *at = line;
		while ((at = strstr(at, before[i])) != NULL) {
			struct mer_uid uid;
			at += strlen(before[i]);
			if (strnlen(at, UID_LEN) < UID_LEN)
				break;
			memcpy(uid.text, at, UID_LEN);
			uid.text[UID_LEN] = '\0';
			if (mer_uid_valid(uid.text))
				return at;
		}
	}
	return NULL;
}

static void begin_json(struct mer_buf *out, const char *level, const char *area, const char *line)
{
	char time[MER_TIME_SIZE];
	mer_time_text(mer_time_now_ms(), time);
	mer_buf_printf(out, "{\"time\":\"%s\",\"level\":\"%s\"", time, level);
	add_member(out, "area", area, strlen(area));
	add_member(out, "message", line, strlen(line));
	const char *uid = find_uid(line);
	if (uid != NULL)
		add_member(out, "request_uid", uid, UID_LEN);
}

static void write_out(struct mer_buf *out)
{
	statusline_erase();
	if (mer_buf_check(out, NULL) == MER_OK)
		(void)!mer_write_all(STDERR_FILENO, "stderr", out->ptr, out->len, NULL);
	mer_buf_release(out);
}

void log_lines_write(enum mer_log_level level, const char *area, const char *line)
{
	struct mer_buf out;
	mer_buf_init(&out, LINE_MAX_BYTES);
	if (format == LOG_JSON) {
		begin_json(&out, levels[level].name, area, line);
		mer_buf_text(&out, "}\n");
	} else if (format == LOG_JOURNAL) {
		mer_buf_printf(&out, "<%c>%s: %s\n", levels[level].priority, area, line);
	} else {
		mer_buf_printf(&out, "%s %s: %s\n", levels[level].name, area, line);
	}
	write_out(&out);
}

void log_lines_error(const char *at, const char *message, const char *hint)
{
	struct mer_buf out;
	mer_buf_init(&out, LINE_MAX_BYTES);
	if (format == LOG_JSON) {
		begin_json(&out, "error", "mer", message);
		if (at[0] != '\0')
			add_member(&out, "at", at, strlen(at));
		if (hint[0] != '\0')
			add_member(&out, "hint", hint, strlen(hint));
		mer_buf_text(&out, "}\n");
	} else {
		const bool journal = format == LOG_JOURNAL;
		mer_buf_printf(&out, "%smer: %s%s%s\n", journal ? "<3>" : "", at, at[0] != '\0' ? ": " : "",
		               message);
		if (hint[0] != '\0')
			mer_buf_printf(&out, "%shint: %s\n", journal ? "<6>" : "", hint);
	}
	write_out(&out);
}
