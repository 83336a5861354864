/*
 * Where libpq sees the password of a URL: in its user part up to the '@' that no '/' comes before,
 * whatever else is in it, and in parameters, whose names may be encoded.
 */
#include <mer/url.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Whether a parameter of len bytes up to its '=' may hold a secret. */
static bool is_secret(const char *name, size_t len)
{
	static const char word[] = "password";
	const size_t n = sizeof word - 1;
	return memchr(name, '%', len) != NULL ||
	       (len >= n && strncasecmp(name + len - n, word, n) == 0);
}

/* --- what is shown ------------------------------------------------------------------------ */

/* Cuts the password out of the user part; gives what stands behind that. */
static char *hide_user(char *url)
{
	char *place = strstr(url, "//");
	if (place == NULL)
		return url;
	place += 2;
	char *at = memrchr(place, '@', strcspn(place, "/"));
	if (at == NULL)
		return place;
	char *colon = memchr(place, ':', (size_t)(at - place));
	if (colon == NULL)
		return at + 1;
	memmove(colon, at, strlen(at) + 1);
	return colon + 1;
}

static void hide_parameters(char *query)
{
	char *to = query, separator = '?';
	for (char *at = query + 1; *at != '\0';) {
		size_t len = strcspn(at, "&");
		char *next = at + len + (at[len] == '&');
		if (len > 0 && !is_secret(at, strcspn(at, "=&"))) {
			*to++ = separator;
			memmove(to, at, len);
			to += len;
			separator = '&';
		}
		at = next;
	}
	*to = '\0';
}

void mer_url_hide(char *url)
{
	char *rest = hide_user(url);
	rest[strcspn(rest, "#")] = '\0';
	char *query = strchr(rest, '?');
	if (query != NULL)
		hide_parameters(query);
}

/* --- what others can read ----------------------------------------------------------------- */

static void blot(char *begin, const char *end)
{
	while (begin < end)
		*begin++ = 'x';
}

void mer_url_blot(char *text)
{
	char *place = strstr(text, "//"), *at = place != NULL ? strrchr(place, '@') : NULL;
	char *colon = at != NULL ? memchr(place, ':', (size_t)(at - place)) : NULL;
	if (colon != NULL)
		blot(colon + 1, at);
	for (char *value = text; (value = strchr(value, '=')) != NULL;) {
		const char *name = value++;
		while (name > text && strchr("?&# \t\n'\":", name[-1]) == NULL)
			name--;
		if (is_secret(name, (size_t)(value - 1 - name)))
			blot(value, value + strcspn(value, "&"));
	}
}

enum mer_status mer_url_blot_args(int argc, char *argv[], struct mer_error *err)
{
	for (int i = 1; i < argc; i++) {
		if (strstr(argv[i], "postgres") == NULL)
			continue;
		char *copy = strdup(argv[i]);
		if (copy == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory for arguments");
		mer_url_blot(argv[i]);
		argv[i] = copy;
	}
	return MER_OK;
}
