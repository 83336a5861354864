/* Control characters made visible. Those are C0, DEL and C1 (U+0080 to U+009F, which some terminals
 * obey as they do ESC and a letter), the latter also as bytes outside of UTF-8. */
#include "caret.h"

/* The byte that begins all C1 characters in UTF-8. */
enum { C1_LEAD = 0xC2 };

static void show(struct mer_buf *out, unsigned char byte)
{
	if (byte >= 0x80) { /* as ESC and a letter */
		mer_buf_add(out, "^[", 2);
		byte = (unsigned char)(byte - 0x40);
	} else {
		mer_buf_byte(out, '^');
		byte ^= 0x40;
	}
	mer_buf_byte(out, (char)byte);
}

/* How many bytes follow a byte that begins a sequence of UTF-8. */
static unsigned followers(unsigned char lead)
{
	if (lead < 0xC2 || lead > 0xF4)
		return 0;
	return lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
}

static void add_byte(struct caret *caret, unsigned char byte, struct mer_buf *out)
{
	bool follows = (byte & 0xC0) == 0x80;
	if (caret->held != 0) {
		caret->held = 0;
		caret->left = 0;
		if (follows && byte < 0xA0) {
			show(out, byte);
			return;
		}
		mer_buf_byte(out, (char)C1_LEAD);
		if (follows) {
			mer_buf_byte(out, (char)byte);
			return;
		}
	}
	if (follows && caret->left > 0) {
		caret->left--;
		mer_buf_byte(out, (char)byte);
		return;
	}
	caret->left = followers(byte);
	if (byte == C1_LEAD)
		caret->held = byte;
	else if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F ||
	         (byte >= 0x80 && byte < 0xA0))
		show(out, byte);
	else
		mer_buf_byte(out, (char)byte);
}

void caret_add(struct caret *caret, const char *bytes, size_t n, struct mer_buf *out)
{
	for (size_t i = 0; i < n; i++)
		add_byte(caret, (unsigned char)bytes[i], out);
	if (n > 0) {
		caret->any = true;
		caret->last = bytes[n - 1];
	}
}

void caret_end(struct caret *caret, struct mer_buf *out)
{
	if (caret->held != 0)
		mer_buf_byte(out, (char)caret->held);
	if (caret->any && caret->last != '\n')
		mer_buf_byte(out, '\n');
	*caret = (struct caret){ 0 };
}
