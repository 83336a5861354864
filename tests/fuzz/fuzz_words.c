/* Words: what is split, quoted and split again is the same; an open line has no words. */
#include "fuzz.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

/* Each word in single quotes, as scripts write it: ' becomes '\''. */
static void add_quoted(struct mer_buf *line, const char *word)
{
	mer_buf_text(line, " '");
	for (; *word != '\0'; word++) {
		if (*word == '\'')
			mer_buf_text(line, "'\\''");
		else
			mer_buf_byte(line, *word);
	}
	mer_buf_byte(line, '\'');
}

static void check_again(char **words, size_t count)
{
	MER_AUTO(mer_text_done) char *line = NULL;
	MER_AUTO(mer_words_done) char **again = NULL;
	struct mer_buf buf;
	size_t n;
	bool open;
	mer_buf_init(&buf, SIZE_MAX);
	for (size_t i = 0; i < count; i++)
		add_quoted(&buf, words[i]);
	MER_ASSERT(mer_buf_take(&buf, &line, NULL, NULL) == MER_OK);
	MER_ASSERT(mer_split_words(line, &again, &n, &open, NULL) == MER_OK);
	MER_ASSERT(!open && n == count);
	for (size_t i = 0; i < n; i++)
		MER_ASSERT(strcmp(words[i], again[i]) == 0);
}

/* Before a cursor anything can be split, and into the same words. */
static void check_last(const char *line, char **words, size_t count)
{
	MER_AUTO(mer_words_done) char **before = NULL;
	struct mer_last_word last;
	size_t n;
	MER_ASSERT(mer_split_last(line, &before, &n, &last, NULL) == MER_OK);
	MER_ASSERT(last.from <= strlen(line) && before[n] == NULL);
	if (words != NULL) {
		bool whole = last.text == NULL || n == count;
		MER_ASSERT(last.open == '\0' && (whole ? n == count : n + 1 == count));
		MER_ASSERT(whole || strcmp(words[n], last.text) == 0);
		for (size_t i = 0; i < n; i++)
			MER_ASSERT(strcmp(words[i], before[i]) == 0);
	}
	free(last.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	MER_AUTO(mer_text_done) char *line = NULL;
	MER_AUTO(mer_words_done) char **words = NULL;
	struct mer_error err;
	struct mer_buf buf;
	size_t count = 0;
	bool open = false;
	mer_buf_init(&buf, len);
	mer_buf_add(&buf, bytes, len);
	MER_ASSERT(mer_buf_take(&buf, &line, NULL, NULL) == MER_OK);
	enum mer_status st = mer_split_words(line, &words, &count, &open, &err);
	MER_ASSERT(open == (st == MER_EINPUT) && (words != NULL) == (st == MER_OK));
	check_last(line, words, count);
	if (st != MER_OK)
		return 0;
	MER_ASSERT(words[count] == NULL);
	check_again(words, count);
	return 0;
}
