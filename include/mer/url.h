/* Passwords in the URLs of databases: not in what is shown, nor where other users can look. */
#ifndef MER_URL_H
#define MER_URL_H

#include <mer/error.h>

/** Takes the password out of a URL, and each parameter that may be one; the rest stays as it is,
 * but for what follows a '#', which no URL of a database has. */
MER_API void mer_url_hide(char *url);

/** Writes 'x' over all that may be a password in a text with URLs in it, which may be rather more
 * than that: nobody has to read it. Its length stays. */
MER_API void mer_url_blot(char *text);

/**
 * Blots the arguments of a program that may hold a URL with a password, since other users can read
 * them (ps). Copies take their place in argv, which live as long as the program.
 */
MER_API MER_MUST enum mer_status mer_url_blot_args(int argc, char *argv[], struct mer_error *err);

#endif
