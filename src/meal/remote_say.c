/* What is said of a server that cannot be used; remote_say.h. */
#include "remote_say.h"

#include <stdio.h>

void remote_say_plain(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || (unsigned char)*text >= 127)
			*text = *text == '\t' ? ' ' : '?';
}

void remote_say_unknown(char *text, size_t size, const char *server, const char *host)
{
	(void)snprintf(text, size,
	               "server '%s': the host key of '%s' is not known ('server trust %.100s' adds it)",
	               server, host, server);
}

void remote_say_changed(char *text, size_t size, const char *server, const char *host,
                        const char *fingerprint, const char *where)
{
	(void)snprintf(
		text, size,
		"server '%s': the host key of '%s' has changed to %.60s, or somebody is in between; "
		"another one is in %.120s",
		server, host, fingerprint, where);
}

void remote_say_revoked(char *text, size_t size, const char *server, const char *host)
{
	(void)snprintf(text, size, "server '%s': the host key of '%s' is revoked", server, host);
}

void remote_say_refused(char *text, size_t size, const char *server, const char *why)
{
	(void)snprintf(text, size, "server '%s': cannot log in: %s", server, why);
}

void remote_say_unreachable(char *text, size_t size, const char *server, const char *why)
{
	(void)snprintf(text, size, "cannot reach server '%s': %s", server, why);
}
