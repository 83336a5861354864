/* What a line typed in a conversation is. */
#include "chat_line.h"

#include <string.h>

/* Ends the word at the front; gives what stands behind it and its spaces. */
static char *cut(char *line)
{
	char *end = line + strcspn(line, " \t");
	if (*end != '\0')
		*end++ = '\0';
	return end + strspn(end, " \t");
}

static enum mer_status fail_unknown(const char *word, struct mer_error *err)
{
	(void)mer_fail(err, MER_EINPUT, "no such word to mer: '%.100s'", word);
	mer_hint(err, "'/help' lists them; a line for the model that begins with / takes a second one");
	return MER_EINPUT;
}

enum mer_status chat_line_read(char *line, struct chat_line *out, struct mer_error *err)
{
	*out = (struct chat_line){ .what = CHAT_INPUT, .text = line, .note = "" };
	if (line[0] != '/') {
		out->what = line[strspn(line, " \t")] == '\0' ? CHAT_NOTHING : CHAT_INPUT;
		return MER_OK;
	}
	if (line[1] == '/') {
		out->text = line + 1;
		return MER_OK;
	}
	char *rest = cut(line);
	if (strcmp(line, "/feedback") == 0) {
		out->what = CHAT_RATING;
		out->text = rest;
		out->note = cut(rest);
	} else if (strcmp(line, "/help") == 0) {
		out->what = CHAT_HELP;
	} else if (strcmp(line, "/quit") == 0) {
		out->what = CHAT_QUIT;
	} else {
		return fail_unknown(line, err);
	}
	return MER_OK;
}
