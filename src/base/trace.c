/* Trace contexts; trace.h. */
#include <mer/trace.h>

#include <string.h>

/* 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 */
enum { TRACE_AT = 3, PARENT_AT = 36, PARENT_DIGITS = 16, FLAGS_AT = 53, LEN = 55 };

/* Whether so many lower-case hexadecimal digits stand there, and not all are 0. */
static bool is_id(const char *text, size_t digits)
{
	return strspn(text, "0123456789abcdef") >= digits && strspn(text, "0") < digits;
}

bool mer_traceparent_read(const char *text, char out[MER_TRACEPARENT_SIZE])
{
	out[0] = '\0';
	size_t len = text != NULL ? strlen(text) : 0;
	if (len < LEN || text[2] != '-' || text[PARENT_AT - 1] != '-' || text[FLAGS_AT - 1] != '-')
		return false;
	const bool first = strncmp(text, "00", 2) == 0;
	if (strspn(text, "0123456789abcdef") != 2 || strncmp(text, "ff", 2) == 0)
		return false;
	if (len > LEN && (first || text[LEN] != '-'))
		return false;
	if (!is_id(text + TRACE_AT, MER_TRACE_DIGITS) || !is_id(text + PARENT_AT, PARENT_DIGITS) ||
	    strspn(text + FLAGS_AT, "0123456789abcdef") < 2)
		return false;
	memcpy(out, text, LEN);
	memcpy(out, "00", 2);
	out[LEN] = '\0';
	return true;
}

void mer_traceparent_pass(const char *from, const struct mer_uid *run,
                          char out[MER_TRACEPARENT_SIZE])
{
	out[0] = '\0';
	if (from[0] == '\0')
		return;
	memcpy(out, from, LEN + 1);
	memcpy(out + PARENT_AT, run->text + 19, 4);
	memcpy(out + PARENT_AT + 4, run->text + 24, 12);
}
