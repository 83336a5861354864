/* Numbers in text, and their mean and standard deviation: what both workers of this folder answer. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATORS " \t\n\v\f\r,"
#define DIGITS "+-.0123456789eE" /* keeps strtod from hexadecimal, nan and infinity */
#define LARGEST 1e150 /* the squares of a hundred million such numbers have a finite sum */

struct moments {
	size_t n;
	double mean, squares, min, max; /* squares: of the differences from the mean */
};

struct request {
	bool open;
	size_t lines;
	struct moments moments;
	char refused[128]; /* why; empty while all is well */
};

/* B. P. Welford, Note on a method for calculating corrected sums of squares and products,
 * Technometrics 4 (1962) 419-420. */
static void moments_add(struct moments *m, double x)
{
	double delta = x - m->mean;
	m->n++;
	m->mean += delta / (double)m->n;
	m->squares += delta * (x - m->mean);
	if (m->n == 1 || x < m->min)
		m->min = x;
	if (m->n == 1 || x > m->max)
		m->max = x;
}

static void refuse(struct request *req, const char *word, size_t len)
{
	char shown[41] = "";
	for (size_t i = 0; i < len && i < sizeof shown - 1; i++) {
		shown[i] = word[i];
		if (word[i] <= ' ' || word[i] > '~')
			shown[i] = '?';
	}
	(void)snprintf(req->refused, sizeof req->refused,
	               "line %zu: '%s' is not a number within -1e150 to 1e150", req->lines, shown);
}

/* A NUL ends strcspn and strspn early; it is then refused as a word without a digit. */
static void read_numbers(struct request *req, const char *line, size_t len)
{
	const char *end = line + len;
	req->lines++;
	for (const char *word = line + strspn(line, SEPARATORS); word < end;) {
		size_t word_len = strcspn(word, SEPARATORS);
		char *stop;
		double x = strtod(word, &stop);
		if (word_len == 0 || strspn(word, DIGITS) < word_len || stop != word + word_len ||
		    fabs(x) > LARGEST) {
			refuse(req, word, word_len);
			return;
		}
		moments_add(&req->moments, x);
		word += word_len + strspn(word + word_len, SEPARATORS);
	}
}

/* Room for what say_moments() writes. */
#define MOMENTS_SIZE 160

/* The answer, or why there is none. */
static bool say_moments(const struct request *req, char text[MOMENTS_SIZE])
{
	const struct moments *m = &req->moments;
	double sd = m->n < 2 ? 0 : sqrt(m->squares / (double)(m->n - 1));
	if (req->refused[0] != '\0')
		(void)snprintf(text, MOMENTS_SIZE, "%s", req->refused);
	else if (m->n == 0)
		(void)snprintf(text, MOMENTS_SIZE, "no numbers");
	else
		(void)snprintf(text, MOMENTS_SIZE, "n=%zu mean=%.6g sd=%.6g min=%.6g max=%.6g", m->n,
		               m->mean, sd, m->min, m->max);
	return req->refused[0] == '\0' && m->n > 0;
}

#endif
