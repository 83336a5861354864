/*
 * Moving a whole metadata database to another one, of the same kind or not.
 *
 * The ledger stays as it is on both sides: each database is migrated by its own scripts, whose texts
 * differ. All else goes over as it is, in one transaction, and is read again there and compared.
 */
#ifndef MER_COPY_H
#define MER_COPY_H

#include <mer/buf.h>
#include <mer/dal.h>
#include <mer/hash.h>
#include <stdatomic.h>

struct mer_copy_table {
	const char *name; /* static */
	int64_t rows;
	int64_t mended; /* texts of them that were not UTF-8, where the other database takes no such */
	char sha256
		[MER_SHA256_SIZE]; /* of their content, by key; the same for the same in any database */
};

/**
 * Copies all tables but the ledger.
 *
 * Of the target is expected that nobody has used it: no runs, no owners that live, and of servers,
 * models, deployments and weights only those that scripts made (MER's own, and what the source has
 * under the same uid), as they made them. These are replaced. Scripts of an operator that the
 * source has seen must have run in the target too, since they would be run a second time later.
 *
 * In texts NUL and bytes that are not UTF-8 become U+FFFD where the target takes none (Postgres).
 *
 * @param from  opened with MER_DAL_READ; no transaction is open
 * @param to    the same without that flag; after a failure it is as it was
 * @param stop  set by another thread to end it; NULL: nobody does
 * @param out   a row for each table
 * @return MER_EINPUT     they are the same database
 *         MER_ECONFLICT  the target is in use or not empty, misses a script, or a mer that lives has
 *                        open runs in the source
 *         MER_ECANCELED  *stop was set
 *         MER_EDATABASE  also: what was read again is not what was written
 */
MER_API MER_MUST enum mer_status mer_copy(struct mer_dal *from, struct mer_dal *to,
                                          const atomic_bool *stop,
                                          struct mer_copy_table out[MER_TABLE_COUNT],
                                          struct mer_error *err);

/** Adds the names of what mer_copy() leaves behind: tables and columns that MER's scripts have not
 * made ("own, servers.rack"). On Postgres no table that never had a row. */
MER_API MER_MUST enum mer_status mer_copy_others(struct mer_dal *from, struct mer_buf *names,
                                                 struct mer_error *err);

#endif
