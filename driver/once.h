/*
 * --once-key: of all mer processes of a user that are given the same key one runs, and the others leave at
 * once. A lock on a file of the state folder says so, which the kernel gives back when its holder ends,
 * whatever ends it. The folder is the same for cron and for a terminal, unlike $XDG_RUNTIME_DIR, which cron
 * has not got.
 */
#ifndef ONCE_H
#define ONCE_H

#include <mer/error.h>

/**
 * Takes the lock of a key for the rest of the process's life; no program that is started inherits it.
 * @return MER_EBUSY   another mer has it: the message says which and since when
 *         MER_EINPUT  an empty key
 *         MER_EIO     the file cannot be made or locked
 */
MER_MUST enum mer_status once_take(const char *key, struct mer_error *err);

#endif
