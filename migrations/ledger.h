/* The ledger as it was read: all rows, in memory. */
#ifndef MIGRATIONS_LEDGER_H
#define MIGRATIONS_LEDGER_H

#include <mer/dal.h>

struct ledger {
	struct mer_ledger_row *rows; /* by number; their texts are in texts */
	size_t n, cap;
	struct mer_buf texts;
	bool exists; /* the table does */
};

void ledger_init(struct ledger *ledger);
void ledger_release(struct ledger *ledger);

/** Reads it; without its table it is empty. */
MER_MUST enum mer_status ledger_read(struct mer_dal *dal, struct ledger *ledger,
                                     struct mer_error *err);

#endif
