/*
 * The scripts that folders hold. Names are looked at first, so that a wrong one is found before any
 * database is touched; then, with the ledger known, each file is read once.
 */
#ifndef MIGRATIONS_SCAN_H
#define MIGRATIONS_SCAN_H

#include "plan.h"

struct scan_folder;

struct scan {
	struct scan_folder *folders;
	size_t n_folders;
	struct script *scripts; /* by number, then by folder and name */
	size_t n, cap;
	struct mer_error *problems; /* of the scripts, in their order; NULL: there are none */
};

void scan_init(struct scan *scan);
void scan_release(struct scan *scan);

/**
 * Lists the folders; one given twice counts once. dirs are borrowed until the release.
 * @return MER_EINPUT a folder that cannot be read; files that end in .sql and are not named
 *         NN-Name.sql, or are no files
 */
MER_MUST enum mer_status scan_list(struct scan *scan, const char *const dirs[], size_t n,
                                   struct mer_error *err);

/**
 * Reads the files and fills the scripts. What is wrong with one is its problem, not a failure.
 * @param rows  the ledger by number: what it knows by its checksum is only hashed
 * @return MER_ENOMEM
 */
MER_MUST enum mer_status scan_read(struct scan *scan, enum sql_dialect dialect,
                                   const struct mer_ledger_row rows[], size_t n_rows,
                                   struct mer_error *err);

/**
 * Takes a file's name apart; pure.
 * @param name  gives the name's part of file, borrowed
 * @return MER_EINPUT says what is wrong
 */
MER_MUST enum mer_status scan_name(const char *file, int64_t *num, struct mer_str *name,
                                   struct mer_error *err);

#endif
