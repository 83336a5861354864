/*
 * Private modules: parts of a program that need libraries which are dear to load, in files of their
 * own beside libmer-base.so. Nobody else's modules are loaded.
 */
#ifndef MER_MODULE_H
#define MER_MODULE_H

#include <mer/error.h>

/**
 * Loads NAME.so of the installation's own modules and gives the table that it calls mer_NAME, whose
 * first member must be `const char *version`: that of this program. A module stays until the end.
 *
 * @param out  gives the table, which is static
 * @return MER_ENOTFOUND  it is not installed
 *         MER_EIO        it cannot be loaded, or is of another version
 */
MER_API MER_MUST enum mer_status mer_module_load(const char *name, const void **out,
                                                 struct mer_error *err);

#endif
