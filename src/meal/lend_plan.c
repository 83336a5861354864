/* What is still to be sent; lend_plan.h. */
#include "lend_plan.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 65536 };

static bool read_number(const char **at, char end, int64_t *out)
{
	char *stop;
	if (**at < '0' || **at > '9')
		return false;
	*out = strtoll(*at, &stop, 10);
	bool good = *stop == end || (end == ' ' && (*stop == '\0' || *stop == '\n'));
	*at = *stop == ':' ? stop + 1 : stop;
	return good;
}

bool lend_parts_read(const char *text, int64_t size, struct lend_part parts[LEND_PARTS_MAX],
                     size_t *n)
{
	*n = 0;
	while (*text == ' ') {
		struct lend_part part = { .start = 0 };
		text++;
		if (*n == LEND_PARTS_MAX || !read_number(&text, ':', &part.start) ||
		    !read_number(&text, ' ', &part.bytes))
			return false;
		if (part.start > size || part.bytes > size - part.start ||
		    (*n > 0 && part.start <= parts[*n - 1].start))
			return false;
		parts[(*n)++] = part;
	}
	return *text == '\0' || *text == '\n';
}

int64_t lend_parts_have(const struct lend_part parts[], size_t n)
{
	int64_t have = 0, upto = 0;
	for (size_t i = 0; i < n; i++) {
		int64_t end = parts[i].start + parts[i].bytes;
		int64_t from = parts[i].start > upto ? parts[i].start : upto;
		have += end > from ? end - from : 0;
		upto = end > upto ? end : upto;
	}
	return have;
}

/* The gaps, each behind the part before it where that ends there. */
static size_t find_gaps(const struct lend_part parts[], size_t n, int64_t size, size_t channels,
                        struct lend_part out[])
{
	struct lend_part last = { .start = 0 };
	size_t found = 0;
	int64_t upto = 0;
	for (size_t i = 0; i <= n && found < channels; i++) {
		int64_t start = i < n ? parts[i].start : size;
		if (start > upto) {
			out[found] = last;
			out[found++].end = start;
		}
		int64_t end = i < n ? start + parts[i].bytes : size;
		if (i < n && end >= upto) {
			last = parts[i];
			upto = end;
		}
	}
	return found;
}

/* Where the share of a channel begins: the first has the most, and the last half of the mean at least. */
static int64_t share_start(int64_t from, int64_t left, int64_t n, int64_t i, int64_t lead)
{
	int64_t mean = left / n, most = mean / (n - 1);
	return (from + mean * i + i * (n - i) * (lead < most ? lead : most) / 2) / ALIGN * ALIGN;
}

/* Cuts the one gap that there is. What is left of several goes on where it was cut before. */
static size_t cut(struct lend_part out[], const struct lend_shares *shares)
{
	const struct lend_part whole = out[0];
	int64_t from = whole.start + whole.bytes, left = whole.end - from, n = left / shares->least;
	if (n > (int64_t)shares->channels)
		n = (int64_t)shares->channels;
	if (n <= 1)
		return 1;
	for (int64_t i = 0; i < n; i++) {
		int64_t start = share_start(from, left, n, i, shares->lead);
		int64_t end = i + 1 < n ? share_start(from, left, n, i + 1, shares->lead) : whole.end;
		out[i] = (struct lend_part){ .start = start, .end = end };
	}
	out[0].start = whole.start;
	out[0].bytes = whole.bytes;
	return (size_t)n;
}

size_t lend_plan(const struct lend_part parts[], size_t n, int64_t size,
                 const struct lend_shares *shares, struct lend_part out[])
{
	size_t found = find_gaps(parts, n, size, shares->channels, out);
	if (found == 0) { /* all is there and waits to be put together */
		out[0] = n > 0 ? parts[n - 1] : (struct lend_part){ .start = 0 };
		out[0].end = out[0].start + out[0].bytes;
		return 1;
	}
	return found == 1 ? cut(out, shares) : found;
}
