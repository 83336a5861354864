/* Which variables of mer's own environment hold secrets, so that no child inherits them unasked. */
#ifndef MER_SECRETS_H
#define MER_SECRETS_H

#include <mer/dal.h>

/**
 * Those that a reference env:NAME of any server, deployment or model in the database names.
 * @param also  one more; NULL: none
 * @param out   gives a vector, ended by NULL; free with mer_words_done()
 */
MER_API MER_MUST enum mer_status mer_secret_names(struct mer_dal *dal, const char *also,
                                                  char ***out, struct mer_error *err);

#endif
