/* New texts, numbers, durations, sizes, times and names. */
#include <assert.h>
#include <mer/text.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

char *mer_text_new(const char *fmt, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, fmt);
	int n = vasprintf(&text, fmt, args);
	va_end(args);
	return n < 0 ? NULL : text;
}

/* A unit and how many of the smallest one it is. */
struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit ms_units[] = {
	{ "", 1 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { NULL, 0 },
};
static const struct unit byte_units[] = {
	{ "", 1 }, { "B", 1 }, { "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 }, { NULL, 0 },
};

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

/* Reads digits; false when there are none. *fits says whether they are an int64_t. */
static bool read_digits(const char **at, bool negative, int64_t *out, bool *fits)
{
	if (!is_digit(**at))
		return false;
	*out = 0;
	*fits = true;
	for (; is_digit(**at); ++*at) {
		int digit = **at - '0';
		if (__builtin_mul_overflow(*out, 10, out) ||
		    __builtin_add_overflow(*out, negative ? -digit : digit, out))
			*fits = false;
	}
	return true;
}

enum mer_status mer_parse_i64(const char *text, int64_t *out, struct mer_error *err)
{
	const char *at = text;
	bool negative = *at == '-', fits;
	int64_t number;
	if (negative)
		at++;
	if (!read_digits(&at, negative, &number, &fits) || *at != '\0')
		return mer_fail(err, MER_EINPUT, "not a whole number: '%s'", text);
	if (!fits)
		return mer_fail(err, MER_ELIMIT, "number too large: '%s'", text);
	*out = number;
	return MER_OK;
}

static const struct unit *find_unit(const struct unit units[], const char *name)
{
	for (; units->name != NULL; units++) {
		if (strcmp(units->name, name) == 0)
			return units;
	}
	return NULL;
}

static enum mer_status parse_units(const char *text, const char *what, const char *hint,
                                   const struct unit units[], int64_t *out, struct mer_error *err)
{
	const char *at = text;
	bool fits;
	int64_t number;
	const struct unit *unit = NULL;
	if (read_digits(&at, false, &number, &fits))
		unit = find_unit(units, at);
	if (unit == NULL) {
		(void)mer_fail(err, MER_EINPUT, "not a %s: '%s'", what, text);
		mer_hint(err, "%s", hint);
		return MER_EINPUT;
	}
	if (!fits || __builtin_mul_overflow(number, unit->factor, &number))
		return mer_fail(err, MER_ELIMIT, "%s too large: '%s'", what, text);
	*out = number;
	return MER_OK;
}

enum mer_status mer_parse_ms(const char *text, int64_t *out, struct mer_error *err)
{
	return parse_units(text, "duration", "a whole number and ms, s, m or h, as in 30s", ms_units,
	                   out, err);
}

enum mer_status mer_parse_bytes(const char *text, int64_t *out, struct mer_error *err)
{
	return parse_units(text, "size", "a whole number and B, KiB, MiB or GiB, as in 64MiB",
	                   byte_units, out, err);
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar, and back; the year begins in
 * March there, so that the leap day is its last. Source: Howard Hinnant, "chrono-Compatible
 * Low-Level Date Algorithms", days_from_civil and civil_from_days. */
struct date {
	int year, month, day;
};

enum { DAYS_OF_ERA = 146097, DAYS_TO_1970 = 719468 }; /* 400 years; from 0000-03-01 */

static int64_t days_from_date(struct date date)
{
	int64_t year = date.month <= 2 ? date.year - 1 : date.year;
	int64_t era = (year >= 0 ? year : year - 399) / 400;
	int64_t year_of_era = year - era * 400;
	int64_t month = date.month > 2 ? date.month - 3 : date.month + 9;
	int64_t day_of_year = (153 * month + 2) / 5 + date.day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
	return era * DAYS_OF_ERA + day_of_era - DAYS_TO_1970;
}

/* For the years that mer_time_text() writes, so nothing is negative from 0000-03-01. */
static struct date date_from_days(int days)
{
	unsigned from = (unsigned)(days + DAYS_TO_1970);
	unsigned era = from / DAYS_OF_ERA, day_of_era = from % DAYS_OF_ERA;
	unsigned year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	unsigned month = (5 * day_of_year + 2) / 153; /* 0 is March */
	return (struct date){
		.year = (int)(year_of_era + era * 400 + (month >= 10)),
		.month = (int)(month < 10 ? month + 3 : month - 9),
		.day = (int)(day_of_year - (153 * month + 2) / 5 + 1),
	};
}

static int days_of_month(int year, int month)
{
	static const char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return days[month - 1] + (month == 2 && leap);
}

#define MS_OF_DAY INT64_C(86400000)
#define TIME_MIN INT64_C(-62135596800000) /* 0001-01-01T00:00:00.000Z */
#define TIME_MAX INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

/* n digits as a number within bounds. */
static bool read_field(const char **at, int n, int min, int max, int *out)
{
	int number = 0;
	for (int i = 0; i < n; i++, ++*at) {
		if (!is_digit(**at))
			return false;
		number = number * 10 + (**at - '0');
	}
	*out = number;
	return number >= min && number <= max;
}

static bool read_char(const char **at, const char *allowed)
{
	if (**at == '\0' || strchr(allowed, **at) == NULL)
		return false;
	++*at;
	return true;
}

static bool read_date(const char **at, struct date *out)
{
	return read_field(at, 4, 0, 9999, &out->year) && read_char(at, "-") &&
	       read_field(at, 2, 1, 12, &out->month) && read_char(at, "-") &&
	       read_field(at, 2, 1, days_of_month(out->year, out->month), &out->day);
}

/* hh:mm:ss and a fraction, of which three digits count. A leap second is the start of the next. */
static bool read_clock(const char **at, int64_t *ms)
{
	int hour, minute, second, factor = 100;
	if (!(read_field(at, 2, 0, 23, &hour) && read_char(at, ":") &&
	      read_field(at, 2, 0, 59, &minute) && read_char(at, ":") &&
	      read_field(at, 2, 0, 60, &second)))
		return false;
	*ms = ((hour * 60 + minute) * 60 + second) * INT64_C(1000);
	if (!read_char(at, "."))
		return true;
	if (!is_digit(**at))
		return false;
	for (; is_digit(**at); ++*at, factor /= 10)
		*ms += second < 60 ? (**at - '0') * factor : 0;
	return true;
}

static bool read_offset(const char **at, int64_t *ms)
{
	int hour, minute;
	*ms = 0;
	if (read_char(at, "Zz"))
		return true;
	bool west = **at == '-';
	if (!(read_char(at, "+-") && read_field(at, 2, 0, 23, &hour) && read_char(at, ":") &&
	      read_field(at, 2, 0, 59, &minute)))
		return false;
	*ms = (hour * 60 + minute) * (west ? INT64_C(-60000) : INT64_C(60000));
	return true;
}

static bool read_time(const char *text, int64_t *out)
{
	const char *at = text;
	struct date date;
	int64_t clock = 0, offset = 0;
	if (!read_date(&at, &date))
		return false;
	if (*at != '\0' &&
	    !(read_char(&at, "Tt ") && read_clock(&at, &clock) && read_offset(&at, &offset)))
		return false;
	*out = days_from_date(date) * MS_OF_DAY + clock - offset;
	if (*at != '\0' || *out < TIME_MIN || *out > TIME_MAX)
		return false;
	/* Second 60 occurs at the end of a day in UTC only, and its successor begins the next day. */
	bool leap_second = text[10] != '\0' && memcmp(text + 17, "60", 2) == 0;
	return !leap_second || *out % MS_OF_DAY == 0;
}

enum mer_status mer_parse_time(const char *text, int64_t *out_ms, struct mer_error *err)
{
	int64_t ms;
	if (!read_time(text, &ms)) {
		(void)mer_fail(err, MER_EINPUT, "not a time: '%s'", text);
		mer_hint(err, "as in 2026-01-31T12:00:00Z, or a date as in 2026-01-31");
		return MER_EINPUT;
	}
	*out_ms = ms;
	return MER_OK;
}

static char *put_digits(char *to, int number, int n)
{
	for (int i = n - 1; i >= 0; i--, number /= 10)
		to[i] = (char)('0' + number % 10);
	return to + n;
}

void mer_time_text(int64_t ms, char out[MER_TIME_SIZE])
{
	if (ms < TIME_MIN)
		ms = TIME_MIN;
	if (ms > TIME_MAX)
		ms = TIME_MAX;
	int days = (int)(ms / MS_OF_DAY), rest = (int)(ms % MS_OF_DAY);
	if (rest < 0) {
		days--;
		rest += (int)MS_OF_DAY;
	}
	struct date date = date_from_days(days);
	static_assert(sizeof "2026-01-31T12:00:00.123Z" == MER_TIME_SIZE, "room for a time");
	memcpy(out, "0000-00-00T00:00:00.000Z", MER_TIME_SIZE);
	(void)put_digits(out, date.year, 4);
	(void)put_digits(out + 5, date.month, 2);
	(void)put_digits(out + 8, date.day, 2);
	(void)put_digits(out + 11, rest / 3600000, 2);
	(void)put_digits(out + 14, rest / 60000 % 60, 2);
	(void)put_digits(out + 17, rest / 1000 % 60, 2);
	(void)put_digits(out + 20, rest % 1000, 3);
}

int64_t mer_time_now_ms(void)
{
	struct timespec now;
	MER_ASSERT(clock_gettime(CLOCK_REALTIME, &now) == 0);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t mer_clock_us(void)
{
	struct timespec now;
	MER_ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

const char *mer_signal_name(int number, char out[MER_SIGNAL_SIZE])
{
	const char *name = sigabbrev_np(number);
	if (name != NULL)
		(void)snprintf(out, MER_SIGNAL_SIZE, "SIG%s", name);
	else if (number >= SIGRTMIN && number <= SIGRTMAX)
		(void)snprintf(out, MER_SIGNAL_SIZE, "SIGRTMIN+%d", number - SIGRTMIN);
	else
		(void)snprintf(out, MER_SIGNAL_SIZE, "SIG%d", number);
	return out;
}

void mer_ms_text(int64_t ms, char out[24])
{
	static const struct {
		const char *name;
		uint64_t ms, below; /* used where less than that many tenths of the unit remain */
	} steps[] = {
		{ "s", 1000, 600 },
		{ "m", 60000, 600 },
		{ "h", 3600000, UINT64_MAX },
	};
	uint64_t size = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
	const char *sign = ms < 0 ? "-" : "";
	if (size < 1000) {
		(void)snprintf(out, 24, "%s%dms", sign, (int)size);
		return;
	}
	size_t step = 0;
	uint64_t tenths;
	do
		tenths = (size + steps[step].ms / 20) / (steps[step].ms / 10);
	while (tenths >= steps[step++].below);
	const char *name = steps[step - 1].name;
	if (tenths % 10 == 0)
		(void)snprintf(out, 24, "%s%llu%s", sign, (unsigned long long)(tenths / 10), name);
	else
		(void)snprintf(out, 24, "%s%llu.%d%s", sign, (unsigned long long)(tenths / 10),
		               (int)(tenths % 10), name);
}

static bool is_alnum(char byte)
{
	return is_digit(byte) || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

bool mer_text_has_controls(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 127)
			return true;
	return false;
}

enum mer_status mer_check_name(const char *what, const char *name, struct mer_error *err)
{
	enum { NAME_MAX_BYTES = 128 };
	const char *why = NULL;
	size_t len = strlen(name), good = 0;
	while (is_alnum(name[good]) || (name[good] != '\0' && strchr("._-", name[good]) != NULL))
		good++;
	if (len == 0)
		why = "it is empty";
	else if (good < len)
		why = "only letters, digits and . _ - may be in it";
	else if (!is_alnum(name[0]))
		why = "it must begin with a letter or a digit";
	else if (len > NAME_MAX_BYTES)
		why = "it is longer than 128 bytes";
	if (why != NULL)
		return mer_fail(err, MER_EINPUT, "bad %s name '%.200s': %s", what, name, why);
	return MER_OK;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment, three rows of its table at a time. */
size_t mer_edit_distance(const char *a, const char *b)
{
	enum { WORD_MAX = 128 };
	size_t rows[3][WORD_MAX + 1], n_a = strlen(a), n_b = strlen(b);
	if (n_a > WORD_MAX || n_b > WORD_MAX)
		return n_a > n_b ? n_a : n_b; /* nobody meant such a word */
	size_t *before = rows[0], *last = rows[1], *now = rows[2];
	for (size_t j = 0; j <= n_b; j++)
		now[j] = j;
	for (size_t i = 1; i <= n_a; i++) {
		size_t *oldest = before;
		before = last;
		last = now;
		now = oldest;
		now[0] = i;
		for (size_t j = 1; j <= n_b; j++) {
			size_t edits = least(last[j], now[j - 1]) + 1;
			edits = least(edits, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				edits = least(edits, before[j - 2] + 1);
			now[j] = edits;
		}
	}
	return now[n_b];
}

void mer_guess_offer(struct mer_guess *guess, const char *word)
{
	size_t len = strlen(guess->typed), allowed = len < 3 ? 1 : len < 6 ? 2 : 3;
	bool begun = len > 0 && strncmp(word, guess->typed, len) == 0; /* nearer than any slip */
	size_t distance = begun ? 0 : mer_edit_distance(guess->typed, word);
	if (distance > allowed || distance >= strlen(word) || strlen(word) >= sizeof guess->word ||
	    (guess->word[0] != '\0' && distance >= guess->distance))
		return;
	memcpy(guess->word, word, strlen(word) + 1);
	guess->distance = distance;
}

bool mer_guess_hint(const struct mer_guess *guess, struct mer_error *err)
{
	if (guess->word[0] == '\0')
		return false;
	mer_hint(err, "did you mean '%s'?", guess->word);
	return true;
}
