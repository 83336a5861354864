/*
 * A metadata database in a file as one file that can be kept, and back. SQLite only: a server has tools
 * of its own for that.
 */
#ifndef MER_BACKUP_H
#define MER_BACKUP_H

#include <mer/dal.h>
#include <mer/hash.h>
#include <stdatomic.h>

struct mer_backup {
	int64_t bytes;
	int64_t schema_num; /* the highest of MER's own scripts that it has seen */
	char sha256[MER_SHA256_SIZE];
};

/**
 * Copies a database as it is at this moment, while others go on writing to it: with a WAL nobody waits,
 * on a network file system writers do. The copy is looked through before it gets its name, is not of
 * WAL mode, so that it is this one file, and has mode 0600. The schema may be any.
 *
 * @param path     appears when all of it is there
 * @param replace  a file of that name may be replaced
 * @param stop     set by another thread to end it; NULL: nobody does
 * @return MER_EINPUT     of a kind of database that this cannot do, or its place is none
 *         MER_ECONFLICT  there is such a file
 *         MER_EDATABASE  the database cannot be read, is corrupt, or nobody's that mer knows
 *         MER_EIO        the file cannot be written
 *         MER_ECANCELED  *stop was set
 */
MER_API MER_MUST enum mer_status mer_backup(const char *url, const char *path, bool replace,
                                            const atomic_bool *stop, struct mer_backup *out,
                                            struct mer_error *err);

/**
 * Puts a backup in the place of a database, in one transaction: whatever ends it sooner leaves the
 * database as it was. What was there is kept in a file beside it before, whose name is given.
 *
 * @param path  one that mer_backup() made, or any file of such a database; it is looked through first
 * @param kept  gives the path of what was there, for the caller to free; NULL: there was nothing
 * @param out   what is there now. Its schema may be older than this program's, not newer
 * @return MER_EINPUT     path is no such file
 *         MER_ECONFLICT  another program uses the database
 *         MER_EDATABASE  the backup is corrupt or newer than this program; or the database cannot be
 *                        written
 *         MER_ECANCELED  *stop was set
 */
MER_API MER_MUST enum mer_status mer_restore(const char *url, const char *path,
                                             const atomic_bool *stop, char **kept,
                                             struct mer_backup *out, struct mer_error *err);

#endif
