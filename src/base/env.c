/* Environment files, one line at a time. */
#include <mer/buf.h>
#include <mer/clean.h>
#include <mer/env.h>
#include <mer/file.h>
#include <stdbool.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 20 };

/* One line without its end. */
struct line {
	const char *path;
	size_t number;
	const char *begin, *at, *end;
};

static void buf_done(struct mer_buf *buf)
{
	mer_buf_release(buf);
}

static enum mer_status fail_at(const struct line *line, const char *at, const char *problem,
                               struct mer_error *err)
{
	return mer_fail(err, MER_EINPUT, "%s:%zu:%zu: %s", line->path, line->number,
	                (size_t)(at - line->begin) + 1, problem);
}

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

static void skip_blanks(struct line *line)
{
	while (line->at < line->end && is_blank(*line->at))
		line->at++;
}

static bool is_name(char byte, bool first)
{
	return byte == '_' || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
	       (!first && byte >= '0' && byte <= '9');
}

static struct mer_str read_name(struct line *line)
{
	const char *begin = line->at;
	while (line->at < line->end && is_name(*line->at, line->at == begin))
		line->at++;
	return (struct mer_str){ .ptr = begin, .len = (size_t)(line->at - begin) };
}

/* at is behind the opening quote; leaves it behind the closing one. */
static enum mer_status read_single(struct line *line, struct mer_buf *value, struct mer_error *err)
{
	const char *close = memchr(line->at, '\'', (size_t)(line->end - line->at));
	if (close == NULL)
		return fail_at(line, line->at - 1, "the quote is not closed", err);
	mer_buf_add(value, line->at, (size_t)(close - line->at));
	line->at = close + 1;
	return MER_OK;
}

/* The byte that stands behind a backslash in double quotes means this one; '\0' where none may. */
static char unescape(char byte)
{
	switch (byte) {
	case '\\':
	case '"': return byte;
	case 'n': return '\n';
	case 't': return '\t';
	default: return '\0';
	}
}

static enum mer_status read_double(struct line *line, struct mer_buf *value, struct mer_error *err)
{
	const char *open = line->at - 1;
	for (; line->at < line->end && *line->at != '"'; line->at++) {
		char byte = *line->at;
		if (byte == '\\') {
			const char *next = line->at + 1;
			byte = next < line->end ? unescape(*next) : '\0';
			if (byte == '\0')
				return fail_at(line, line->at, "only \\ \" n t may follow a backslash here", err);
			line->at = next;
		}
		mer_buf_byte(value, byte);
	}
	if (line->at == line->end)
		return fail_at(line, open, "the quote is not closed", err);
	line->at++;
	return MER_OK;
}

/* To the end, or to a '#' with a blank before it, without blanks at its end. */
static void read_plain(struct line *line, struct mer_buf *value)
{
	const char *begin = line->at, *end = begin;
	for (; line->at < line->end; line->at++) {
		if (*line->at == '#' && is_blank(line->at[-1]))
			break;
		if (!is_blank(*line->at))
			end = line->at + 1;
	}
	mer_buf_add(value, begin, (size_t)(end - begin));
}

static enum mer_status read_value(struct line *line, struct mer_buf *value, struct mer_error *err)
{
	char quote = line->at < line->end ? *line->at : '\0';
	if (quote != '\'' && quote != '"') {
		read_plain(line, value);
		return MER_OK;
	}
	line->at++;
	enum mer_status st =
		quote == '\'' ? read_single(line, value, err) : read_double(line, value, err);
	if (st != MER_OK)
		return st;
	const char *behind = line->at;
	skip_blanks(line);
	if (line->at < line->end && !(*line->at == '#' && line->at > behind))
		return fail_at(line, line->at, "something follows the closing quote", err);
	return MER_OK;
}

/* Reads NAME = VALUE, with "export" in front perhaps, into text: the name, a NUL and the value. */
static enum mer_status read_setting(struct line *line, struct mer_buf *text, struct mer_error *err)
{
	struct mer_str name = read_name(line);
	if (name.len == 6 && memcmp(name.ptr, "export", 6) == 0 && line->at < line->end &&
	    is_blank(*line->at)) {
		skip_blanks(line);
		if (line->at < line->end && *line->at != '=')
			name = read_name(line);
	}
	if (name.len == 0)
		return fail_at(line, line->at, "no name of letters, digits and _ stands here", err);
	skip_blanks(line);
	if (line->at == line->end || *line->at != '=')
		return fail_at(line, line->at, "no '=' follows the name", err);
	line->at++;
	skip_blanks(line);
	mer_buf_add(text, name.ptr, name.len);
	mer_buf_byte(text, '\0');
	return read_value(line, text, err);
}

static enum mer_status read_line(struct line *line, struct mer_buf *text, mer_env_fn *on_setting,
                                 void *ctx, struct mer_error *err)
{
	size_t n = strnlen(line->begin, (size_t)(line->end - line->begin));
	if (line->begin + n < line->end)
		return fail_at(line, line->begin + n, "a NUL byte stands here", err);
	skip_blanks(line);
	if (line->at == line->end || *line->at == '#')
		return MER_OK;
	mer_buf_clear(text);
	enum mer_status st = read_setting(line, text, err);
	if (st == MER_OK)
		st = mer_buf_check(text, err);
	if (st != MER_OK)
		return st;
	struct mer_error cause = { .status = MER_OK };
	st = on_setting(ctx, text->ptr, text->ptr + strlen(text->ptr) + 1, &cause);
	if (st == MER_OK)
		return MER_OK;
	(void)mer_fail(err, st, "%s:%zu: %s", line->path, line->number, cause.message);
	mer_hint(err, "%s", cause.hint);
	return st;
}

enum mer_status mer_env_parse(const char *path, const char *text, size_t len,
                              mer_env_fn *on_setting, void *ctx, struct mer_error *err)
{
	MER_AUTO(buf_done) struct mer_buf setting;
	mer_buf_init(&setting, len + 1);
	struct line line = { .path = path, .number = 1 };
	size_t at = len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
	for (size_t n; at < len; at += n + 1, line.number++) {
		const char *feed = memchr(text + at, '\n', len - at);
		n = feed == NULL ? len - at : (size_t)(feed - text) - at;
		bool crlf = n > 0 && text[at + n - 1] == '\r';
		line.begin = line.at = text + at;
		line.end = text + at + n - crlf;
		enum mer_status st = read_line(&line, &setting, on_setting, ctx, err);
		if (st != MER_OK)
			return st;
	}
	return MER_OK;
}

enum mer_status mer_env_read(const char *path, mer_env_fn *on_setting, void *ctx,
                             struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *text = NULL;
	size_t len;
	enum mer_status st = mer_read_file(path, FILE_LIMIT, &text, &len, err);
	if (st != MER_OK)
		return st;
	return mer_env_parse(path, text, len, on_setting, ctx, err);
}
