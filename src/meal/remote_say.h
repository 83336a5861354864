/* What is said of a server that cannot be used: the same words, whichever transport found it out. */
#ifndef MEAL_REMOTE_SAY_H
#define MEAL_REMOTE_SAY_H

#include <stddef.h>

/** Whatever the other side sent becomes one line that drives no terminal. */
void remote_say_plain(char *text);

/* host is as the server's row has it. */
void remote_say_unknown(char *text, size_t size, const char *server, const char *host);
void remote_say_changed(char *text, size_t size, const char *server, const char *host,
                        const char *fingerprint, const char *where);
void remote_say_revoked(char *text, size_t size, const char *server, const char *host);
void remote_say_refused(char *text, size_t size, const char *server, const char *why);
void remote_say_unreachable(char *text, size_t size, const char *server, const char *why);

#endif
