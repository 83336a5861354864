/* Small bars. */
#include "bars.h"

#include <langinfo.h>
#include <locale.h>
#include <string.h>

enum { LEVELS = 8 };

bool bars_utf8(void)
{
	(void)setlocale(LC_CTYPE, "");
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

/* 0 to LEVELS, rounded up. */
static size_t level(int64_t number, int64_t most)
{
	if (number <= 0)
		return 0;
	double share = (double)number / (double)most * LEVELS;
	size_t full = (size_t)share;
	full += (double)full < share;
	return full > LEVELS ? LEVELS : full;
}

void bars_add(struct mer_buf *out, const int64_t numbers[], size_t n, bool utf8)
{
	static const char *const blocks[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const letters[] = { " ", ".", ":", "-", "=", "+", "*", "%", "#" };
	int64_t most = 0;
	for (size_t i = 0; i < n; i++)
		most = numbers[i] > most ? numbers[i] : most;
	for (size_t i = 0; i < n; i++)
		mer_buf_text(out, (utf8 ? blocks : letters)[level(numbers[i], most)]);
}
