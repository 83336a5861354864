/* What goes to a far supervisor and what it says; far.h. */
#include "far.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* Reads the lines behind it up to the nonce, which no line of ours is, and evaluates them. In the C
 * locale a shell takes bytes as they are; bash in a UTF-8 one does not. A shell reads them one by one, 20 ms long,
 * so perl does where there is one: so many bytes and no more. */
#define LOADER \
	"far_lc=${LC_ALL+x}${LC_ALL-}; LC_ALL=C; far_n=$(printf '\\nx'); far_n=${far_n%%x}; " \
	"far_m=$(perl -e 'for (my $n = shift; $n > 0; $n -= length $_) { sysread STDIN, $_, $n or " \
	"exit 1; print }' %zu 2>/dev/null) && far_m=${far_m%%%s} || { far_m=; " \
	"while IFS= read -r far_l; do [ \"$far_l\" != %s ] || break; far_m=$far_m$far_l$far_n; done; " \
	"unset far_l; }; eval \"$far_m\"\n"

#define SHORT 64 /* bytes of a value that a shell may have changed */
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"

enum mer_status far_names_init(struct far_names *names, struct mer_error *err)
{
	unsigned char random[FAR_NONCE - 1];
	if (getrandom(random, sizeof random, 0) != sizeof random)
		return mer_fail(err, MER_EIO, "no random bytes: %s", strerror(errno));
	for (size_t i = 0; i < sizeof random; i++) {
		char pair[3];
		(void)snprintf(pair, sizeof pair, "%02x", random[i]);
		char *to = i < sizeof random / 2 ? names->nonce : names->id;
		memcpy(to + 2 * (i % (sizeof random / 2)), pair, sizeof pair);
	}
	return MER_OK;
}

void far_quote(struct mer_buf *out, const char *word)
{
	mer_buf_byte(out, '\'');
	for (const char *quote; (quote = strchr(word, '\'')) != NULL; word = quote + 1) {
		mer_buf_add(out, word, (size_t)(quote - word));
		mer_buf_text(out, "'\\''");
	}
	mer_buf_text(out, word);
	mer_buf_byte(out, '\'');
}

/* The script without what only people need. */
static void add_script(struct mer_buf *out, struct mer_str script)
{
	const char *at = script.ptr, *end = script.ptr + script.len;
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *stop = newline != NULL ? newline : end;
		while (at < stop && (*at == '\t' || *at == ' '))
			at++;
		if (at < stop && *at != '#')
			mer_buf_printf(out, "%.*s\n", (int)(stop - at), at);
		at = stop + 1;
	}
}

/* The script, what of it is to run, and the line that it reads first. */
static void add_loaded(struct mer_buf *out, struct mer_str script, const char *call,
                       const struct far_names *names, int64_t silence_s)
{
	struct mer_buf lines;
	mer_buf_init(&lines, SIZE_MAX);
	add_script(&lines, script);
	mer_buf_printf(&lines, "%s\n%s\n", call, names->nonce);
	if (mer_buf_check(&lines, NULL) != MER_OK)
		out->status = MER_ENOMEM;
	mer_buf_printf(out, LOADER, lines.len, names->nonce, names->nonce);
	mer_buf_add(out, lines.ptr, lines.len);
	mer_buf_release(&lines);
	mer_buf_printf(out, "%s %s %lld\n", names->nonce, names->id, (long long)silence_s);
}

enum mer_status far_supervisor(struct mer_buf *out, struct mer_str script,
                               const struct far_names *names, int64_t silence_s,
                               struct mer_error *err)
{
	add_loaded(out, script, "far_serve", names, silence_s);
	return mer_buf_check(out, err);
}

enum mer_status far_orders(struct mer_buf *out, struct mer_str script,
                           const struct far_names *names, const struct far_whom *whom,
                           struct mer_error *err)
{
	char call[80];
	(void)snprintf(call, sizeof call, "far_watch %lld %lld %s '%s'", (long long)whom->pid,
	               (long long)whom->timer, whom->by_perl ? "perl" : "plain",
	               whom->apart ? "apart" : "");
	add_loaded(out, script, call, names, 0);
	return mer_buf_check(out, err);
}

static void add_text(struct mer_buf *out, const char *name, const char *value)
{
	mer_buf_printf(out, "%s=", name);
	far_quote(out, value != NULL ? value : "");
	mer_buf_byte(out, '\n');
}

/* A shell may refuse some of its own, or make a number of what was none, and such are short. Perl reads each NAME='...'
 * for itself. */
static void add_variable(struct mer_buf *out, int len, const char *variable)
{
	const char *value = variable + len + 1;
	mer_buf_printf(out, "command export %.*s=", len, variable);
	far_quote(out, value);
	mer_buf_text(out, " 2>/dev/null");
	if (strlen(value) <= SHORT) {
		mer_buf_printf(out, " && far_same %.*s=", len, variable);
		far_quote(out, value);
	}
	mer_buf_printf(out, " || far_odd=%.*s\n", len, variable);
}

static enum mer_status add_env(struct mer_buf *out, const char *const *env, struct mer_error *err)
{
	mer_buf_text(out, "far_env() {\n:\n");
	for (; env != NULL && *env != NULL; env++) {
		size_t len = strspn(*env, LETTERS "0123456789");
		if (len == 0 || (*env)[len] != '=' || strchr(LETTERS, **env) == NULL ||
		    strncmp(*env, "far_", 4) == 0)
			return mer_fail(err, MER_EINPUT, "the variable '%.*s' cannot be set on another host",
			                (int)strcspn(*env, "="), *env);
		add_variable(out, (int)len, *env);
	}
	mer_buf_text(out, "}\n");
	return MER_OK;
}

/* Text that a shell evaluates and that perl takes apart: every word in it is quoted. */
static enum mer_status add_task(struct mer_buf *out, const struct far_header *header,
                                struct mer_error *err)
{
	add_text(out, "far_dir", header->workdir);
	add_text(out, "far_clean", header->clean ? "1" : "");
	add_text(out, "far_probe", header->probe ? "1" : "");
	add_text(out, "far_room", header->room);
	enum mer_status st = add_env(out, header->env, err);
	mer_buf_text(out, "set --");
	for (const char *const *word = header->argv; *word != NULL; word++) {
		mer_buf_byte(out, ' ');
		far_quote(out, *word);
	}
	mer_buf_printf(out, "\n%s\n", header->names->nonce);
	return st == MER_OK ? mer_buf_check(out, err) : st;
}

/* Its length comes first: who can, reads it at once. */
enum mer_status far_header(struct mer_buf *out, const struct far_header *header,
                           struct mer_error *err)
{
	struct mer_buf task;
	mer_buf_init(&task, out->limit);
	enum mer_status st = add_task(&task, header, err);
	if (st == MER_OK) {
		mer_buf_printf(out, "%zu\n", task.len);
		mer_buf_add(out, task.ptr, task.len);
		st = mer_buf_check(out, err);
	}
	mer_buf_release(&task);
	return st;
}

/* --- marks -------------------------------------------------------------------------------- */

void far_reader_init(struct far_reader *reader, const char *nonce)
{
	*reader = (struct far_reader){ .matched = 0 };
	reader->head_len = (size_t)snprintf(reader->head, sizeof reader->head, "\036MER-%s ", nonce);
}

/* Takes what belongs to a mark that has begun. */
static size_t take_line(struct far_reader *reader, const char *bytes, size_t n,
                        struct far_piece *piece)
{
	const char *newline = memchr(bytes, '\n', n);
	size_t len = newline != NULL ? (size_t)(newline - bytes) : n;
	size_t room = sizeof reader->line - 1 - reader->len, kept = len < room ? len : room;
	memcpy(reader->line + reader->len, bytes, kept);
	reader->len += kept;
	if (newline == NULL)
		return n;
	reader->line[reader->len] = '\0';
	reader->len = reader->matched = 0;
	piece->mark = reader->line;
	return len + 1;
}

size_t far_reader_feed(struct far_reader *reader, const char *bytes, size_t n,
                       struct far_piece *piece)
{
	*piece = (struct far_piece){ { NULL, 0 }, NULL };
	size_t at = 0;
	if (n > 0 && reader->matched == 0) {
		const char *first = memchr(bytes, reader->head[0], n);
		at = first != NULL ? (size_t)(first - bytes) : n;
		piece->bytes = (struct mer_str){ bytes, at };
		if (at > 0)
			return at;
	}
	while (at < n && reader->matched < reader->head_len &&
	       bytes[at] == reader->head[reader->matched]) {
		reader->matched++;
		at++;
	}
	if (reader->matched == reader->head_len)
		return at + take_line(reader, bytes + at, n - at, piece);
	if (at < n) { /* it was none; its first byte is nowhere else in head */
		piece->bytes = (struct mer_str){ reader->head, reader->matched };
		reader->matched = 0;
	}
	return at;
}

struct mer_str far_reader_end(struct far_reader *reader)
{
	bool was_mark = reader->matched == reader->head_len;
	struct mer_str rest = { reader->head, was_mark ? 0 : reader->matched };
	reader->matched = reader->len = 0;
	return rest;
}
