/* The log's sink and what reaches it: the one state that a process has of this library. */
#include "base.h"

#include <errno.h>
#include <mer/log.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AREAS_MAX = 32, AREA_SIZE = 24, LINE_SIZE = 2048 };

struct rule {
	char area[AREA_SIZE];
	enum mer_log_level level;
};

struct filter {
	enum mer_log_level fallback; /* of areas without a rule */
	enum mer_log_level most;     /* the highest of all, so that most calls compare once */
	struct rule rules[AREAS_MAX];
	size_t n_rules;
	const struct filter *before; /* which another thread may be reading still */
};

static struct {
	mer_log_sink *sink; /* written by mer_log_open() alone, before other threads log */
	const struct filter *_Atomic filter; /* NULL: none yet */
} state;

static const char *const level_names[] = {
	[MER_LOG_OFF] = "off",   [MER_LOG_ERROR] = "error", [MER_LOG_WARN] = "warn",
	[MER_LOG_INFO] = "info", [MER_LOG_DEBUG] = "debug",
};

static bool level_by_name(const char *name, size_t len, enum mer_log_level *out)
{
	for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
		if (strlen(level_names[i]) == len && memcmp(level_names[i], name, len) == 0) {
			*out = (enum mer_log_level)i;
			return true;
		}
	}
	return false;
}

/* The level that an area has in a filter; a later rule for it replaces an earlier one. */
static bool set_area(struct filter *filter, const char *area, size_t len, enum mer_log_level level)
{
	if (len == 0 || len >= AREA_SIZE)
		return false;
	size_t at = 0;
	while (at < filter->n_rules && (strlen(filter->rules[at].area) != len ||
	                                memcmp(filter->rules[at].area, area, len) != 0))
		at++;
	if (at == AREAS_MAX)
		return false;
	if (at == filter->n_rules)
		filter->n_rules++;
	memcpy(filter->rules[at].area, area, len);
	filter->rules[at].area[len] = '\0';
	filter->rules[at].level = level;
	return true;
}

/* One word of a spec: "warn" or "meal=debug". */
static bool add_word(struct filter *filter, const char *word, size_t len)
{
	const char *equals = memchr(word, '=', len);
	if (equals == NULL)
		return level_by_name(word, len, &filter->fallback);
	enum mer_log_level level;
	size_t area = (size_t)(equals - word);
	return level_by_name(equals + 1, len - area - 1, &level) && set_area(filter, word, area, level);
}

static enum mer_log_level highest(const struct filter *filter)
{
	enum mer_log_level most = filter->fallback;
	for (size_t i = 0; i < filter->n_rules; i++) {
		if (filter->rules[i].level > most)
			most = filter->rules[i].level;
	}
	return most;
}

static enum mer_status parse(const char *spec, struct filter *out, struct mer_error *err)
{
	for (const char *at = spec;; at++) {
		size_t len = strcspn(at, ",");
		if (!add_word(out, at, len)) {
			(void)mer_fail(err, MER_EINPUT, "not a log setting: '%.*s'",
			               (int)(len < 200 ? len : 200), at);
			mer_hint(err, "off, error, warn, info or debug; for one area as in warn,meal=debug");
			return MER_EINPUT;
		}
		at += len;
		if (*at == '\0')
			break;
	}
	out->most = highest(out);
	return MER_OK;
}

enum mer_status mer_log_open(const char *spec, mer_log_sink *sink, struct mer_error *err)
{
	static struct filter first;
	struct filter filter = { .fallback = MER_LOG_OFF };
	enum mer_status st = parse(spec, &filter, err);
	if (st != MER_OK)
		return st;
	first = filter;
	state.sink = sink;
	atomic_store(&state.filter, sink != NULL ? &first : NULL);
	return MER_OK;
}

enum mer_status mer_log_change(const char *spec, struct mer_error *err)
{
	struct filter *filter = calloc(1, sizeof *filter);
	if (filter == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = parse(spec, filter, err);
	if (st != MER_OK || state.sink == NULL) {
		free(filter);
		return st;
	}
	filter->before = atomic_load(&state.filter);
	atomic_store(&state.filter, filter);
	return MER_OK;
}

bool mer_log_on(enum mer_log_level level, const char *area)
{
	const struct filter *filter = atomic_load_explicit(&state.filter, memory_order_acquire);
	if (filter == NULL || level > filter->most || level == MER_LOG_OFF)
		return false;
	for (size_t i = 0; i < filter->n_rules; i++) {
		if (strcmp(filter->rules[i].area, area) == 0)
			return level <= filter->rules[i].level;
	}
	return level <= filter->fallback;
}

void mer_log_write(enum mer_log_level level, const char *area, const char *fmt, ...)
{
	if (!mer_log_on(level, area))
		return;
	int saved = errno; /* a trace must not change what its caller is about to report */
	char line[LINE_SIZE];
	va_list args;
	va_start(args, fmt);
	if (vsnprintf(line, sizeof line, fmt, args) < 0)
		line[0] = '\0';
	va_end(args);
	base_one_line(line);
	state.sink(level, area, line);
	errno = saved;
}
