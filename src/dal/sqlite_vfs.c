/*
 * SQLite's own file layer with one difference: a WAL that has content is opened as the file that it
 * is, not as one that may have to be made. SQLite cannot tell the two apart, and so syncs the folder
 * when it first syncs the WAL, which doubles the cost of a program's first commit. Who made the WAL
 * has synced the folder before anybody else could write to it.
 */
#include "internal.h"

#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>

static sqlite3_vfs *system_vfs, vfs;

static int open_file(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags, int *out)
{
	struct stat info;
	(void)self;
	if ((flags & SQLITE_OPEN_WAL) != 0 && stat(name, &info) == 0 && info.st_size > 0) {
		int code = system_vfs->xOpen(system_vfs, name, file, flags & ~SQLITE_OPEN_CREATE, out);
		if (code == SQLITE_OK)
			return code;
	}
	return system_vfs->xOpen(system_vfs, name, file, flags, out);
}

static void set_up(void)
{
	/* SQLite counts its memory under a mutex at each allocation, which nobody here reads: a tenth of
	 * what opening costs. Refused, and no harm done, where the program has used SQLite already. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	system_vfs = sqlite3_vfs_find(NULL);
	if (system_vfs == NULL)
		return;
	vfs = *system_vfs;
	vfs.pNext = NULL;
	vfs.zName = "mer";
	vfs.xOpen = open_file;
	(void)sqlite3_vfs_register(&vfs, 0);
}

const char *dal_sqlite_vfs(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, set_up);
	return vfs.zName;
}
