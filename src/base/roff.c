/* Writes man(7): the macros that both groff and mandoc know, one way each. */
#include <mer/roff.h>
#include <stdbool.h>
#include <string.h>

/* What a character of text is in roff; NULL: itself. The quotes and signs of programs are not those
 * of typography, and a hyphen that can be copied is a minus. */
static const char *escaped(char byte)
{
	switch (byte) {
	case '\\': return "\\e";
	case '-': return "\\-";
	case '\'': return "\\(aq";
	case '`': return "\\(ga";
	case '^': return "\\(ha";
	case '~': return "\\(ti";
	default: return NULL;
	}
}

/* Where fill, lines are broken at single blanks once they are long. */
static void add(struct mer_buf *out, const char *text, size_t len, bool fill)
{
	enum { LONG = 55 };
	size_t column = 0;
	for (size_t i = 0; i < len; i++) {
		const char *is = escaped(text[i]);
		bool single = text[i] == ' ' && i > 0 && text[i - 1] != ' ' && text[i + 1] != ' ';
		if (text[i] == '.' && column == 0) /* would be a request */
			mer_buf_text(out, "\\&");
		if (fill && single && column > LONG)
			mer_buf_byte(out, '\n');
		else if (is != NULL)
			mer_buf_text(out, is);
		else
			mer_buf_byte(out, text[i]);
		column = text[i] == '\n' || (fill && single && column > LONG) ? 0 : column + 1;
	}
}

void mer_roff_text(struct mer_buf *out, const char *text)
{
	add(out, text, strlen(text), false);
}

void mer_roff_begin(struct mer_buf *out, const char *program, const char *what)
{
	mer_buf_text(out, ".TH ");
	for (const char *at = program; *at != '\0'; at++)
		mer_buf_byte(out, *at >= 'a' && *at <= 'z' ? (char)(*at - 'a' + 'A') : *at);
	mer_buf_text(out, " 1 " MER_VERSION_DATE " \"mer " MER_VERSION "\"\n");
	mer_roff_section(out, "NAME");
	mer_roff_text(out, program);
	mer_buf_text(out, " \\- ");
	mer_roff_text(out, what);
	mer_buf_byte(out, '\n');
}

void mer_roff_section(struct mer_buf *out, const char *name)
{
	mer_buf_printf(out, ".SH %s\n", name);
}

void mer_roff_subsection(struct mer_buf *out, const char *name)
{
	mer_buf_text(out, ".SS ");
	mer_roff_text(out, name);
	mer_buf_byte(out, '\n');
}

/* A heading begins one by itself. */
static void begin_paragraph(struct mer_buf *out)
{
	const char *line = out->len > 1 ? memrchr(out->ptr, '\n', out->len - 1) : NULL;
	if (line == NULL || strncmp(line + 1, ".S", 2) != 0)
		mer_buf_text(out, ".PP\n");
}

void mer_roff_paragraph(struct mer_buf *out, const char *text)
{
	while (*text != '\0') {
		const char *end = strstr(text, "\n\n");
		size_t len = end != NULL ? (size_t)(end - text) : strlen(text);
		begin_paragraph(out);
		add(out, text, len, true);
		if (len == 0 || text[len - 1] != '\n')
			mer_buf_byte(out, '\n');
		text += len;
		text += strspn(text, "\n");
	}
}

void mer_roff_tagged(struct mer_buf *out, const char *tag, const char *text, const char *fallback)
{
	mer_buf_text(out, ".TP\n\\fB");
	mer_roff_text(out, tag);
	mer_buf_text(out, "\\fR\n");
	add(out, text, strlen(text), true);
	if (fallback != NULL) {
		mer_buf_text(out, "\n(default ");
		mer_roff_text(out, fallback);
		mer_buf_byte(out, ')');
	}
	mer_buf_byte(out, '\n');
}

void mer_roff_typed(struct mer_buf *out, const char *lines)
{
	begin_paragraph(out);
	mer_buf_text(out, ".nf\n");
	mer_roff_text(out, lines);
	mer_buf_text(out, ".fi\n");
}
