/* UUIDv7 from the clock and getrandom(); no state, so threads share nothing. */
#include <mer/uid.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Whether a byte of the form is a '-'. */
static bool is_dash(size_t at)
{
	return at == 8 || at == 13 || at == 18 || at == 23;
}

static uint64_t time_half(void)
{
	struct timespec now;
	MER_ASSERT(clock_gettime(CLOCK_REALTIME, &now) == 0);
	uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	uint64_t fraction = (uint64_t)now.tv_nsec % 1000000 * 4096 / 1000000;
	return ms << 16 | UINT64_C(7) << 12 | fraction;
}

static void write_uid(uint64_t high, uint64_t random, struct mer_uid *out)
{
	uint64_t low = UINT64_C(2) << 62 | random >> 2;
	char *to = out->text;
	for (int i = 15; i >= 0; i--) {
		*to++ = "0123456789abcdef"[high >> (4 * i) & 15];
		if (is_dash((size_t)(to - out->text)))
			*to++ = '-';
	}
	for (int i = 15; i >= 0; i--) {
		if (is_dash((size_t)(to - out->text)))
			*to++ = '-';
		*to++ = "0123456789abcdef"[low >> (4 * i) & 15];
	}
	*to = '\0';
}

void mer_uid_new(struct mer_uid *out)
{
	uint64_t random;
	MER_ASSERT(getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random);
	write_uid(time_half(), random, out);
}

/* Up to 256 bytes getrandom() gives in one piece, uninterrupted: getrandom(2). */
void mer_uid_next(struct mer_uid_source *source, struct mer_uid *out)
{
	if (source->left == 0) {
		MER_ASSERT(getrandom(source->random, sizeof source->random, 0) ==
		           (ssize_t)sizeof source->random);
		source->left = sizeof source->random / sizeof *source->random;
	}
	uint64_t now = time_half();
	source->latest = now > source->latest ? now : source->latest;
	write_uid(source->latest, source->random[--source->left], out);
}

/* The value of a lower-case hexadecimal digit, or -1. */
static int digit(char byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

bool mer_uid_valid(const char *text)
{
	for (size_t i = 0; i < sizeof((struct mer_uid *)0)->text - 1; i++) {
		if (is_dash(i) ? text[i] != '-' : digit(text[i]) < 0)
			return false;
	}
	return text[36] == '\0';
}

int64_t mer_uid_key(const char *text)
{
	uint64_t low = 0;
	for (const char *at = text + 19; *at != '\0'; at++) {
		if (*at != '-')
			low = low << 4 | ((uint64_t)digit(*at) & 15);
	}
	low &= UINT64_MAX >> 2;
	return low == 0 ? 1 : (int64_t)low;
}
