/* Loads private modules. They are never unloaded: what libraries keep until the end of the program
 * would be lost, and a checker of leaks could not name what is. */
#include <dlfcn.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/module.h>
#include <mer/text.h>
#include <string.h>
#include <unistd.h>

/* The table of a module that is there. Lazily: of what Postgres' two dozen libraries call a command
 * reaches a tenth, and to look up the rest is an eighth of its work. What a module itself calls is
 * looked for at once, as it is linked (meson.build). */
static enum mer_status table_of(const char *path, const char *symbol, const void **out,
                                struct mer_error *err)
{
	void *module = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	const void *table = module != NULL ? dlsym(module, symbol) : NULL;
	if (table == NULL)
		return mer_fail(err, MER_EIO, "cannot load '%s': %s", path, dlerror());
	const char *version = *(const char *const *)table;
	if (strcmp(version, MER_VERSION) != 0)
		return mer_fail(err, MER_EIO, "'%s' is of version %s, this program of " MER_VERSION, path,
		                version);
	*out = table;
	return MER_OK;
}

enum mer_status mer_module_load(const char *name, const void **out, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *folder = NULL;
	enum mer_status st = mer_place(MER_PLACE_MODULES, &folder, err);
	if (st != MER_OK)
		return st;
	MER_AUTO(mer_text_done) char *path = mer_text_new("%s/%s.so", folder, name);
	MER_AUTO(mer_text_done) char *symbol = mer_text_new("mer_%s", name);
	if (path == NULL || symbol == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory for a module");
	if (access(path, F_OK) < 0)
		return mer_fail(err, MER_ENOTFOUND, "there is no module '%s'", path);
	return table_of(path, symbol, out, err);
}
