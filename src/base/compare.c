/* Two outputs beside each other. */
#include <ctype.h>
#include <math.h>
#include <mer/compare.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	NUMBER_MAX = 63,     /* characters; what is longer is compared as text */
	CONTEXT = 3,         /* lines around a change */
	LCS_CELLS = 1 << 20, /* lines by lines that are matched at best; more are replaced whole */
	BYTES_SHOWN = 16,
};

enum mer_status mer_compare_parse(const char *what, const char *text, double *out,
                                  struct mer_error *err)
{
	char *end;
	double value = strtod(text, &end);
	if (end == text || *end != '\0' || !isfinite(value) || value < 0 ||
	    isspace((unsigned char)*text))
		return mer_fail(err, MER_EINPUT, "%s: not a number of 0 or more: '%s'", what, text);
	*out = value;
	return MER_OK;
}

/* --- numbers in texts --------------------------------------------------------------------- */

/* A place in a text. */
struct cursor {
	const char *begin, *at, *end;
};

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || (c & 0x80) != 0;
}

static size_t digits(const char *at, const char *end)
{
	const char *from = at;
	while (at < end && isdigit((unsigned char)*at))
		at++;
	return (size_t)(at - from);
}

static size_t named_number(const char *at, const char *end)
{
	static const char *const names[] = { "infinity", "inf", "nan" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		size_t len = strlen(names[i]);
		if ((size_t)(end - at) >= len && strncasecmp(at, names[i], len) == 0)
			return len;
	}
	return 0;
}

static const char *skip_exponent(const char *at, const char *end)
{
	if (at == end || (*at != 'e' && *at != 'E'))
		return at;
	const char *from = at + 1 + (at + 1 < end && (at[1] == '+' || at[1] == '-'));
	size_t n = from < end ? digits(from, end) : 0;
	return n > 0 ? from + n : at;
}

/* How long the number is that begins there; 0: none does. */
static size_t number_at(const struct cursor *c)
{
	const char *at = c->at, *end = c->end;
	const char before = at > c->begin ? at[-1] : ' ';
	if (at == end || in_word(before) || before == '.')
		return 0;
	if (*at == '+' || *at == '-')
		at++;
	size_t n = at < end ? named_number(at, end) : 0;
	if (n == 0) {
		size_t whole = digits(at, end);
		n = whole;
		if (at + n < end && at[n] == '.')
			n += 1 + digits(at + n + 1, end);
		if (whole == 0 && n < 2)
			return 0;
		n = (size_t)(skip_exponent(at + n, end) - at);
	}
	at += n;
	if (at < end && (in_word(*at) || (*at == '.' && at + 1 < end && in_word(at[1]))))
		return 0;
	return (size_t)(at - c->at);
}

bool mer_compare_near(long double before, long double now, double tolerance)
{
	if (isnan(before) || isnan(now))
		return isnan(before) && isnan(now);
	if (isinf(before) || isinf(now))
		return before == now;
	long double size = fabsl(before);
	return fabsl(now - before) <= tolerance * (size > 1 ? size : 1);
}

static bool close_enough(const char *before, size_t n_before, const char *now, size_t n_now,
                         double tolerance)
{
	char one[NUMBER_MAX + 1], other[NUMBER_MAX + 1];
	if (n_before == n_now && memcmp(before, now, n_now) == 0)
		return true;
	if (n_before > NUMBER_MAX || n_now > NUMBER_MAX)
		return false;
	(void)snprintf(one, sizeof one, "%.*s", (int)n_before, before);
	(void)snprintf(other, sizeof other, "%.*s", (int)n_now, now);
	return mer_compare_near(strtod(one, NULL), strtod(other, NULL), tolerance);
}

static struct cursor behind_blanks(struct cursor c)
{
	while (c.at < c.end && (*c.at == ' ' || *c.at == '\t'))
		c.at++;
	return c;
}

static bool same_within(struct mer_str before, struct mer_str now, double tolerance)
{
	struct cursor a = { before.ptr, before.ptr, before.ptr + before.len };
	struct cursor b = { now.ptr, now.ptr, now.ptr + now.len };
	while (a.at < a.end && b.at < b.end) {
		struct cursor x = behind_blanks(a), y = behind_blanks(b);
		size_t n = number_at(&x), m = n > 0 ? number_at(&y) : 0;
		if (n > 0 && m > 0) {
			if (!close_enough(x.at, n, y.at, m, tolerance))
				return false;
			a.at = x.at + n;
			b.at = y.at + m;
		} else if (*a.at++ != *b.at++) {
			return false;
		}
	}
	return a.at == a.end && b.at == b.end;
}

static bool same_bytes(struct mer_str a, struct mer_str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static bool is_text(struct mer_str bytes)
{
	return bytes.len == 0 || (memchr(bytes.ptr, '\0', bytes.len) == NULL &&
	                          mer_utf8_span(bytes.ptr, bytes.len) == bytes.len);
}

static bool same_text(struct mer_str before, struct mer_str now, double tolerance)
{
	return same_bytes(before, now) || (tolerance >= 0 && same_within(before, now, tolerance));
}

bool mer_compare_same(struct mer_str before, struct mer_str now, double tolerance)
{
	if (!is_text(before) || !is_text(now))
		tolerance = MER_COMPARE_EXACT;
	return same_text(before, now, tolerance);
}

/* --- bytes -------------------------------------------------------------------------------- */

static void show_row(char sign, struct mer_str bytes, size_t at, struct mer_buf *out)
{
	mer_buf_printf(out, "%c%08zx ", sign, at);
	for (size_t i = at; i < bytes.len && i < at + BYTES_SHOWN; i++)
		mer_buf_printf(out, " %02x", (unsigned char)bytes.ptr[i]);
	mer_buf_byte(out, '\n');
}

static void show_bytes(struct mer_str before, struct mer_str now, struct mer_buf *out)
{
	size_t at = 0;
	while (at < before.len && at < now.len && before.ptr[at] == now.ptr[at])
		at++;
	mer_buf_printf(out, "bytes differ from offset %zu on; %zu before, %zu now\n", at, before.len,
	               now.len);
	at -= at % BYTES_SHOWN;
	show_row('-', before, at, out);
	show_row('+', now, at, out);
}

/* --- lines -------------------------------------------------------------------------------- */

struct lines {
	struct mer_str *list; /* with their newlines */
	size_t n;
};

static bool split(struct mer_str text, struct lines *out)
{
	const char *end = text.ptr + text.len;
	size_t n = 0;
	for (const char *at = text.ptr; at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL;
	     at++)
		n++;
	out->list = calloc(n + 1, sizeof *out->list);
	out->n = 0;
	for (const char *at = text.ptr; out->list != NULL && at < end;) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *next = newline != NULL ? newline + 1 : end;
		out->list[out->n++] = (struct mer_str){ at, (size_t)(next - at) };
		at = next;
	}
	return out->list != NULL;
}

/* Two texts as what becomes of their lines: ' ' stays, '-' goes, '+' comes. */
struct script {
	struct lines before, now;
	double tolerance;
	char *ops;
	size_t n;
};

static bool line_stays(const struct script *script, size_t i, size_t j)
{
	return same_text(script->before.list[i], script->now.list[j], script->tolerance);
}

static void add_ops(struct script *script, char op, size_t n)
{
	memset(script->ops + script->n, op, n);
	script->n += n;
}

/* Matches as many of n lines from i on with m lines from j on as can be, in order. */
static void match(struct script *script, size_t i, size_t n, size_t j, size_t m)
{
	/* length[x * (m + 1) + y]: of the longest match behind the lines x and y */
	uint32_t *length = NULL;
	if (n > 0 && m > 0 && (n + 1) <= LCS_CELLS / (m + 1))
		length = calloc((n + 1) * (m + 1), sizeof *length);
	size_t row = m + 1, x = 0, y = 0;
	for (size_t a = n; length != NULL && a-- > 0;)
		for (size_t b = m; b-- > 0;) {
			uint32_t down = length[(a + 1) * row + b], right = length[a * row + b + 1];
			length[a * row + b] = line_stays(script, i + a, j + b)
			                          ? length[(a + 1) * row + b + 1] + 1
			                          : (down > right ? down : right);
		}
	while (length != NULL && x < n && y < m) {
		uint32_t down = length[(x + 1) * row + y], right = length[x * row + y + 1];
		if (line_stays(script, i + x, j + y)) {
			add_ops(script, ' ', 1);
			x++, y++;
		} else if (down >= right) {
			add_ops(script, '-', 1);
			x++;
		} else {
			add_ops(script, '+', 1);
			y++;
		}
	}
	add_ops(script, '-', n - x);
	add_ops(script, '+', m - y);
	free(length);
}

static void make_ops(struct script *script)
{
	size_t n = script->before.n, m = script->now.n, head = 0, tail = 0;
	while (head < n && head < m && line_stays(script, head, head))
		head++;
	while (tail < n - head && tail < m - head && line_stays(script, n - 1 - tail, m - 1 - tail))
		tail++;
	add_ops(script, ' ', head);
	match(script, head, n - head - tail, head, m - head - tail);
	add_ops(script, ' ', tail);
}

static void show_line(char op, struct mer_str line, struct mer_buf *out)
{
	mer_buf_byte(out, op);
	mer_buf_add(out, line.ptr, line.len);
	if (line.ptr[line.len - 1] != '\n')
		mer_buf_text(out, "\n\\ No newline at end of file\n");
}

/* Where a hunk ends whose first change is at op: behind its last context line. */
static size_t hunk_end(const struct script *script, size_t op)
{
	size_t last = op;
	for (; op < script->n && op <= last + 2 * CONTEXT; op++)
		if (script->ops[op] != ' ')
			last = op;
	return last + CONTEXT < script->n ? last + CONTEXT + 1 : script->n;
}

/* As diff -u counts: the line before it, where there is none. */
static void show_range(char sign, size_t first, size_t n, struct mer_buf *out)
{
	mer_buf_printf(out, "%c%zu", sign, n > 0 ? first + 1 : first);
	if (n != 1)
		mer_buf_printf(out, ",%zu", n);
}

static void show_hunk(const struct script *script, size_t from, size_t to, size_t i, size_t j,
                      struct mer_buf *out)
{
	size_t n = 0, m = 0;
	for (size_t op = from; op < to; op++) {
		n += script->ops[op] != '+';
		m += script->ops[op] != '-';
	}
	mer_buf_text(out, "@@ ");
	show_range('-', i, n, out);
	mer_buf_byte(out, ' ');
	show_range('+', j, m, out);
	mer_buf_text(out, " @@\n");
	for (size_t op = from; op < to; op++) {
		char what = script->ops[op];
		show_line(what, what == '+' ? script->now.list[j] : script->before.list[i], out);
		i += what != '+';
		j += what != '-';
	}
}

static void show_hunks(const struct script *script, struct mer_buf *out)
{
	size_t i = 0, j = 0, shown = 0;
	for (size_t op = 0; op < script->n; op++) {
		if (script->ops[op] != ' ' && op >= shown) {
			size_t back = op - shown < CONTEXT ? op - shown : CONTEXT;
			shown = hunk_end(script, op);
			show_hunk(script, op - back, shown, i - back, j - back, out);
		}
		i += script->ops[op] != '+';
		j += script->ops[op] != '-';
	}
}

static void show_lines(struct mer_str before, struct mer_str now, double tolerance,
                       struct mer_buf *out)
{
	struct script script = { .tolerance = tolerance };
	bool fits = split(before, &script.before) && split(now, &script.now);
	if (fits)
		script.ops = malloc(script.before.n + script.now.n + 1);
	if (script.ops != NULL) {
		make_ops(&script);
		mer_buf_text(out, "--- before\n+++ now\n");
		show_hunks(&script, out);
	} else {
		out->status = MER_ENOMEM;
	}
	free(script.ops);
	free(script.before.list);
	free(script.now.list);
}

void mer_compare_show(struct mer_str before, struct mer_str now, double tolerance,
                      struct mer_buf *out)
{
	if (is_text(before) && is_text(now))
		show_lines(before, now, tolerance, out);
	else
		show_bytes(before, now, out);
}
