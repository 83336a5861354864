/* The backends that are modules, since their libraries are dear to load. */
#include "internal.h"

#include <mer/module.h>
#include <string.h>

enum mer_status dal_module_ops(const char *module, const struct dal_ops **out,
                               struct mer_error *err)
{
	const void *table;
	enum mer_status st = mer_module_load(module, &table, err);
	if (st == MER_OK) {
		*out = ((const struct dal_module *)table)->ops;
		return MER_OK;
	}
	if (st == MER_ENOTFOUND) {
		(void)mer_fail(err, MER_EDATABASE, "this mer has no Postgres module");
		mer_hint(err, "install it (package mer-postgres, or meson setup -Dpostgres=enabled), or "
		              "use a database of sqlite:PATH");
		return MER_EDATABASE;
	}
	return st == MER_ENOMEM ? st : mer_wrap(err, MER_EDATABASE, "no Postgres module");
}
