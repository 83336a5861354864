/* The operator's editor, for a line that grows too long for a prompt. */
#ifndef EDITOR_H
#define EDITOR_H

#include "session.h"

/**
 * Lets $VISUAL, else $EDITOR, else vi change a text, while the loop does its work.
 *
 * @param fd   the terminal that it writes to
 * @param out  gives the text, without a newline at its end
 * @return MER_EINPUT  the editor cannot be run, or ended as if to say that nothing be done
 *         MER_EIO     there is no place for its file
 */
MER_MUST enum mer_status editor_run(struct session *s, int fd, const char *text, char **out,
                                    struct mer_error *err);

#endif
