/* The table of limits: names, members of the JSON, kinds and ranges; limits.h. */
#include <mer/clean.h>
#include <mer/limits.h>
#include <mer/text.h>
#include <stdio.h>
#include <string.h>

enum kind { BYTES, MS, COUNT, CPUS, FLAG };

struct limit {
	const char *name, *member;
	enum kind kind;
	int64_t least, most;
	size_t offset;
};

#define LIMIT(name, member, kind, least, most, field) \
	{ \
		name, member, kind, least, most, offsetof(struct mer_limits, field) \
	}

static const struct limit limits_table[] = {
	LIMIT("memory", "memory", BYTES, 1 << 20, INT64_MAX, memory_bytes),
	LIMIT("cpu-time", "cpu_time", MS, 1000, INT64_MAX, cpu_ms),
	LIMIT("processes", "processes", COUNT, 1, INT32_MAX, processes),
	LIMIT("open-files", "open_files", COUNT, 8, INT32_MAX, open_files),
	LIMIT("file-size", "file_size", BYTES, 1, INT64_MAX, file_bytes),
	LIMIT("core-size", "core_size", BYTES, 0, INT64_MAX, core_bytes),
	LIMIT("nice", "nice", COUNT, -20, 19, nice),
	LIMIT("cpus", "cpus_permille", CPUS, 10, 1000000, cpus_permille),
	LIMIT("isolate", "isolate", FLAG, 0, 1, isolate),
};
enum { N_LIMITS = sizeof limits_table / sizeof *limits_table };

/* --- values ------------------------------------------------------------------------------- */

struct unit {
	const char *name;
	int64_t factor;
};

static void unit_text(int64_t number, const struct unit units[4], char out[MER_LIMIT_TEXT])
{
	size_t i = 0;
	while (i < 3 && (number == 0 || number % units[i].factor != 0))
		i++;
	(void)snprintf(out, MER_LIMIT_TEXT, "%lld%s", (long long)(number / units[i].factor),
	               units[i].name);
}

void mer_limit_bytes_text(int64_t bytes, char out[MER_LIMIT_TEXT])
{
	static const struct unit units[] = {
		{ "GiB", 1 << 30 }, { "MiB", 1 << 20 }, { "KiB", 1 << 10 }, { "B", 1 }
	};
	unit_text(bytes, units, out);
}

void mer_limit_ms_text(int64_t ms, char out[MER_LIMIT_TEXT])
{
	static const struct unit units[] = {
		{ "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 }
	};
	unit_text(ms, units, out);
}

static void cpus_text(int64_t permille, char out[MER_LIMIT_TEXT])
{
	int n =
		snprintf(out, MER_LIMIT_TEXT, "%d.%03d", (int)(permille / 1000), (int)(permille % 1000));
	while (out[n - 1] == '0')
		out[--n] = '\0';
	if (out[n - 1] == '.')
		out[n - 1] = '\0';
}

static void value_text(const struct limit *limit, int64_t value, char out[MER_LIMIT_TEXT])
{
	switch (limit->kind) {
	case BYTES: mer_limit_bytes_text(value, out); return;
	case MS: mer_limit_ms_text(value, out); return;
	case CPUS: cpus_text(value, out); return;
	case FLAG: (void)snprintf(out, MER_LIMIT_TEXT, "%s", value != 0 ? "true" : "false"); return;
	case COUNT: break;
	}
	(void)snprintf(out, MER_LIMIT_TEXT, "%lld", (long long)value);
}

static enum mer_status parse_cpus(const char *text, int64_t *out, struct mer_error *err)
{
	static const char digits[] = "0123456789";
	size_t whole = strspn(text, digits);
	size_t point = text[whole] == '.' ? 1 : 0, fraction = strspn(text + whole + point, digits);
	bool good = whole > 0 && whole < 6 && point == (fraction > 0) && fraction <= 3 &&
	            text[whole + point + fraction] == '\0';
	if (!good) {
		(void)mer_fail(err, MER_EINPUT, "not a number of processors: '%s'", text);
		mer_hint(err, "as in 2 or 0.5, with up to three digits behind the point");
		return MER_EINPUT;
	}
	int64_t permille = 0;
	for (size_t i = 0; i < whole + 3; i++) {
		size_t at = i < whole ? i : i + point;
		bool given = i < whole + fraction;
		permille = permille * 10 + (given ? text[at] - '0' : 0);
	}
	*out = permille;
	return MER_OK;
}

static enum mer_status parse_flag(const char *text, int64_t *out, struct mer_error *err)
{
	static const char *const names[] = { "false", "true", "off", "on", "no", "yes", "0", "1" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(text, names[i]) == 0) {
			*out = i % 2;
			return MER_OK;
		}
	}
	return mer_fail(err, MER_EINPUT, "not true or false: '%s'", text);
}

static enum mer_status parse_value(const struct limit *limit, const char *text, int64_t *out,
                                   struct mer_error *err)
{
	switch (limit->kind) {
	case BYTES: return mer_parse_bytes(text, out, err);
	case MS: return mer_parse_ms(text, out, err);
	case CPUS: return parse_cpus(text, out, err);
	case FLAG: return parse_flag(text, out, err);
	case COUNT: break;
	}
	return mer_parse_i64(text, out, err);
}

static enum mer_status check_range(const struct limit *limit, int64_t value, struct mer_error *err)
{
	if (value >= limit->least && value <= limit->most)
		return MER_OK;
	char given[MER_LIMIT_TEXT], edge[MER_LIMIT_TEXT];
	bool small = value < limit->least;
	value_text(limit, value, given);
	value_text(limit, small ? limit->least : limit->most, edge);
	return mer_fail(err, MER_EINPUT, "%s is too %s: it is at %s %s", given,
	                small ? "little" : "much", small ? "least" : "most", edge);
}

/* --- by name ------------------------------------------------------------------------------ */

static const struct limit *find(const char *name, size_t len, struct mer_error *err)
{
	char names[128] = "";
	size_t at = 0;
	for (size_t i = 0; i < N_LIMITS; i++) {
		const struct limit *limit = &limits_table[i];
		if (strlen(limit->name) == len && memcmp(limit->name, name, len) == 0)
			return limit;
		int n = snprintf(names + at, sizeof names - at, "%s%s", i == 0 ? "" : " ", limit->name);
		at += n > 0 && (size_t)n < sizeof names - at ? (size_t)n : 0;
	}
	(void)mer_fail(err, MER_EINPUT, "no such limit: '%.*s'", (int)(len < 64 ? len : 64), name);
	mer_hint(err, "there are %s", names);
	return NULL;
}

enum mer_status mer_limits_set(json_t *limits, const char *pair, struct mer_error *err)
{
	size_t len = strcspn(pair, "=");
	const struct limit *limit = find(pair, len, err);
	if (limit == NULL)
		return MER_EINPUT;
	int64_t value = 0;
	if (pair[len] == '=') {
		enum mer_status st = parse_value(limit, pair + len + 1, &value, err);
		if (st == MER_OK)
			st = check_range(limit, value, err);
		if (st != MER_OK)
			return mer_wrap(err, MER_EINPUT, "limit '%s'", limit->name);
	}
	if (value == 0) {
		(void)json_object_del(limits, limit->member);
		return MER_OK;
	}
	json_t *json = limit->kind == FLAG ? json_true() : json_integer(value);
	return json_object_set_new(limits, limit->member, json) == 0
	           ? MER_OK
	           : mer_fail(err, MER_ENOMEM, "out of memory");
}

static enum mer_status read_member(const struct limit *limit, const json_t *limits, int64_t *out,
                                   struct mer_error *err)
{
	const json_t *json = json_object_get(limits, limit->member);
	*out = 0;
	if (json == NULL || json_is_false(json))
		return MER_OK;
	if (limit->kind == FLAG ? !json_is_true(json) : !json_is_integer(json))
		return mer_fail(err, MER_EINPUT, "limit '%s': not a %s", limit->name,
		                limit->kind == FLAG ? "truth value" : "whole number");
	*out = limit->kind == FLAG ? 1 : json_integer_value(json);
	if (*out != 0 && check_range(limit, *out, err) != MER_OK)
		return mer_wrap(err, MER_EINPUT, "limit '%s'", limit->name);
	return MER_OK;
}

enum mer_status mer_limits_read(const json_t *limits, struct mer_limits *out, struct mer_error *err)
{
	struct mer_limits read = { 0 };
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < N_LIMITS && st == MER_OK; i++) {
		int64_t value;
		st = read_member(&limits_table[i], limits, &value, err);
		if (st == MER_OK)
			memcpy((char *)&read + limits_table[i].offset, &value, sizeof value);
	}
	if (st == MER_OK)
		*out = read;
	return st;
}

enum mer_status mer_limits_show(const json_t *limits, json_t **out, struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *shown = json_object();
	enum mer_status st = shown != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
	for (size_t i = 0; i < N_LIMITS && st == MER_OK; i++) {
		char text[MER_LIMIT_TEXT];
		int64_t value;
		st = read_member(&limits_table[i], limits, &value, err);
		if (st != MER_OK || value == 0)
			continue;
		value_text(&limits_table[i], value, text);
		if (json_object_set_new(shown, limits_table[i].name, json_string(text)) != 0)
			st = mer_fail(err, MER_ENOMEM, "out of memory");
	}
	if (st != MER_OK)
		return st;
	*out = shown;
	shown = NULL;
	return MER_OK;
}
