/* Splits a line into words as a POSIX shell does. Source: POSIX.1-2017, XCU 2.2 and 2.3. */
#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

struct scan {
	const char *at;
	char *word; /* room for the longest word and its NUL */
	size_t len;
	char open;    /* what END_OPEN is about */
	bool comment; /* the line ends in one */
};

/* What ended the reading of a word. */
enum end { END_LINE, END_WORD, END_OPEN };

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\n';
}

/* Blanks, joined lines and comments. */
static void skip_blanks(struct scan *scan)
{
	for (;;) {
		if (is_blank(*scan->at)) {
			scan->at++;
		} else if (scan->at[0] == '\\' && scan->at[1] == '\n') {
			scan->at += 2;
		} else if (*scan->at == '#') {
			scan->at += strcspn(scan->at, "\n");
			scan->comment = *scan->at == '\0';
		} else {
			return;
		}
	}
}

static void put(struct scan *scan, char byte)
{
	scan->word[scan->len++] = byte;
}

/* at[0] is a backslash outside of quotes. */
static bool read_escape(struct scan *scan)
{
	scan->open = '\\';
	if (scan->at[1] == '\0')
		return false;
	if (scan->at[1] != '\n')
		put(scan, scan->at[1]);
	scan->at += 2;
	return true;
}

/* at[0] is the opening quote; leaves at behind the closing one. */
static bool read_single(struct scan *scan)
{
	scan->open = *scan->at++;
	size_t n = strcspn(scan->at, "'");
	memcpy(scan->word + scan->len, scan->at, n);
	scan->len += n;
	scan->at += n;
	if (*scan->at == '\0')
		return false;
	scan->at++;
	return true;
}

static bool read_double(struct scan *scan)
{
	scan->open = '"';
	for (scan->at++; *scan->at != '"'; scan->at++) {
		if (scan->at[0] == '\\' && scan->at[1] != '\0' && strchr("$`\"\\\n", scan->at[1]) != NULL) {
			scan->at++;
			if (*scan->at == '\n')
				continue;
		}
		if (*scan->at == '\0')
			return false;
		put(scan, *scan->at);
	}
	scan->at++;
	return true;
}

/* Reads the next word into scan->word. */
static enum end read_word(struct scan *scan)
{
	skip_blanks(scan);
	if (*scan->at == '\0')
		return END_LINE;
	scan->len = 0;
	for (bool whole = true; *scan->at != '\0' && !is_blank(*scan->at);) {
		switch (*scan->at) {
		case '\\': whole = read_escape(scan); break;
		case '\'': whole = read_single(scan); break;
		case '"': whole = read_double(scan); break;
		default: put(scan, *scan->at++); break;
		}
		if (!whole)
			return END_OPEN;
	}
	scan->word[scan->len] = '\0';
	return END_WORD;
}

/* Puts a copy of word at the end of a vector of n words, which always has room for its NULL. */
static bool push(char ***words, size_t n, const char *word, size_t len)
{
	if ((n & (n + 1)) == 0) { /* full at 0, 1, 3, 7, ... words: one more is the NULL */
		char **more = realloc(*words, (2 * n + 2) * sizeof *more);
		if (more == NULL)
			return false;
		*words = more;
	}
	(*words)[n] = NULL;
	char *copy = malloc(len + 1);
	if (copy == NULL)
		return false;
	memcpy(copy, word, len + 1);
	(*words)[n] = copy;
	(*words)[n + 1] = NULL;
	return true;
}

enum mer_status mer_split_words(const char *line, char ***words, size_t *count, bool *open,
                                struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *word = malloc(strlen(line) + 1);
	MER_AUTO(mer_words_done) char **list = calloc(1, sizeof *list);
	if (word == NULL || list == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	struct scan scan = { .at = line, .word = word };
	size_t n = 0;
	enum end end;
	while ((end = read_word(&scan)) == END_WORD) {
		if (!push(&list, n, scan.word, scan.len))
			return mer_fail(err, MER_ENOMEM, "out of memory after %zu words", n);
		n++;
	}
	if (open != NULL)
		*open = end == END_OPEN;
	if (end == END_OPEN && *scan.at == '\\')
		return mer_fail(err, MER_EINPUT, "nothing follows the backslash at the end");
	if (end == END_OPEN)
		return mer_fail(err, MER_EINPUT, "a quote is not closed");
	*words = list;
	list = NULL;
	if (count != NULL)
		*count = n;
	return MER_OK;
}

/* The line ends in the word that was read last, which begins at from; or in a comment. */
static enum mer_status take_last(const struct scan *scan, enum end end, size_t from,
                                 struct mer_last_word *last, struct mer_error *err)
{
	*last = (struct mer_last_word){ .from = from };
	if (scan->comment)
		return MER_OK;
	last->open = end == END_OPEN ? scan->open : '\0';
	last->text = end == END_LINE ? strdup("") : strndup(scan->word, scan->len);
	return last->text != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

enum mer_status mer_split_last(const char *line, char ***words, size_t *count,
                               struct mer_last_word *last, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *word = malloc(strlen(line) + 1);
	MER_AUTO(mer_words_done) char **list = calloc(1, sizeof *list);
	if (word == NULL || list == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	struct scan scan = { .at = line, .word = word };
	for (size_t n = 0;; n++) {
		skip_blanks(&scan);
		size_t from = (size_t)(scan.at - line);
		enum end end = read_word(&scan);
		if (end != END_WORD || *scan.at == '\0') {
			enum mer_status st = take_last(&scan, end, from, last, err);
			if (st != MER_OK)
				return st;
			*words = list;
			list = NULL;
			*count = n;
			return MER_OK;
		}
		if (!push(&list, n, scan.word, scan.len))
			return mer_fail(err, MER_ENOMEM, "out of memory after %zu words", n);
	}
}
