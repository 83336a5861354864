/* doctor: the installation, the files of this user, and the room on their disks. */
#include "doctor.h"

#include <errno.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { FEW_MIB = 16, SOME_MIB = 256 };

/* --- the installation --------------------------------------------------------------------- */

static void look_at_part(struct doctor *doctor, enum mer_place place, const char *below, int mode,
                         enum doctor_severity severity, const char *advice, const char *without)
{
	MER_AUTO(mer_text_done) char *top = NULL;
	MER_AUTO(mer_text_done) char *path = NULL;
	struct mer_error err;
	if (mer_place(place, &top, &err) != MER_OK) {
		doctor_say_error(doctor, severity, "installation", below, &err);
		return;
	}
	path = mer_text_new("%s%s", top, below);
	if (path == NULL)
		return;
	struct stat info;
	if (stat(path, &info) == 0 && (info.st_mode & S_IWOTH) != 0)
		doctor_say(doctor, DOCTOR_FAULT, "installation", path, "chmod o-w it",
		           "anybody may change what this mer runs: mode %04o", info.st_mode & 07777u);
	else if (access(path, mode) == 0)
		doctor_say(doctor, DOCTOR_OK, "installation", path, NULL, "it is there");
	else
		doctor_say(doctor, severity, "installation", path, advice, "%s: %s", strerror(errno),
		           without);
}

/* Packages of their own have some, and not everybody has all of them. */
static void look_at_modules(struct doctor *doctor, bool postgres)
{
	static const struct {
		const char *below, *advice, *without;
	} modules[] = {
		{ "/postgres.so", "install mer-postgres for it", "without it there is no Postgres" },
		{ "/ssh.so", "install mer-ssh for it", "without it other hosts take an ssh a worker" },
		{ "/http.so", "install mer-http for it", "without it there are no models behind a URL" },
		{ "/yaml.so", NULL, "without it there is no 'apply'" },
		{ "/prompt.so", NULL, "without it there is no prompt" },
	};
	for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
		look_at_part(doctor, MER_PLACE_MODULES, modules[i].below, R_OK,
		             i == 0 && postgres ? DOCTOR_FAULT : DOCTOR_NOTE, modules[i].advice,
		             modules[i].without);
}

static void look_at_installation(struct doctor *doctor)
{
	static const char again[] = "install mer again, all of it";
	const char *url = NULL, *dialect = NULL;
	if (settings_database(&doctor->s->settings, &url, NULL) == MER_OK)
		dialect = mer_dal_dialect_of(url);
	look_at_part(doctor, MER_PLACE_GUARD, "", X_OK, DOCTOR_FAULT, again,
	             "without it no worker starts");
	look_at_modules(doctor, dialect != NULL && strcmp(dialect, "postgres") == 0);
	look_at_part(doctor, MER_PLACE_PYTHON, "/mer/__init__.py", R_OK, DOCTOR_WARNING, again,
	             "without it no worker finds the Python SDK");
	look_at_part(doctor, MER_PLACE_MODELS, "", R_OK | X_OK, DOCTOR_WARNING, again,
	             "without it the example models do not run");
	look_at_part(doctor, MER_PLACE_SQL, "", R_OK | X_OK, DOCTOR_WARNING, again,
	             "without it nothing can be migrated");
}

/* --- files -------------------------------------------------------------------------------- */

/* What others may do with a file that is this user's alone. Not there is fine. */
static void look_at_mode(struct doctor *doctor, const char *path, enum doctor_severity readable)
{
	struct stat info;
	char advice[64];
	if (stat(path, &info) != 0) {
		if (errno != ENOENT && errno != ENOTDIR)
			doctor_say(doctor, DOCTOR_WARNING, "files", path, NULL, "%s", strerror(errno));
		return;
	}
	unsigned mode = info.st_mode & 07777u, right = S_ISDIR(info.st_mode) ? 0700 : 0600;
	(void)snprintf(advice, sizeof advice, "chmod %o it", right);
	if ((mode & 022u) != 0)
		doctor_say(doctor, DOCTOR_FAULT, "files", path, advice, "others may write it: mode %04o",
		           mode);
	else if ((mode & 044u) != 0)
		doctor_say(doctor, readable, "files", path, advice, "others may read it: mode %04o", mode);
	else if (info.st_uid != geteuid() && geteuid() != 0)
		doctor_say(doctor, DOCTOR_WARNING, "files", path, NULL, "it is another user's");
	else
		doctor_say(doctor, DOCTOR_OK, "files", path, NULL, "mode %04o", mode);
}

static void look_at_files(struct doctor *doctor, const char *state, const char *file)
{
	static const char *const behind[] = { "", "-wal", "-shm", "-journal", "-lock" };
	const char *env_file = setting(&doctor->s->settings, SET_ENV_FILE)->text;
	MER_AUTO(mer_text_done)
	char *history = state != NULL ? mer_text_new("%s/history", state) : NULL;
	if (state != NULL)
		look_at_mode(doctor, state, DOCTOR_NOTE);
	if (history != NULL)
		look_at_mode(doctor, history, DOCTOR_WARNING);
	if (env_file != NULL)
		look_at_mode(doctor, env_file, DOCTOR_NOTE);
	if (file != NULL && access(file, F_OK) == 0 && access(file, W_OK) != 0)
		doctor_say(doctor, DOCTOR_WARNING, "files", file, "without that no run can be recorded",
		           "this user may not write it: %s", strerror(errno));
	for (size_t i = 0; file != NULL && i < sizeof behind / sizeof *behind; i++) {
		MER_AUTO(mer_text_done) char *path = mer_text_new("%s%s", file, behind[i]);
		if (path != NULL)
			look_at_mode(doctor, path, DOCTOR_WARNING);
	}
}

/* --- disks -------------------------------------------------------------------------------- */

struct disks {
	dev_t seen[8];
	size_t n;
};

static bool is_new(struct disks *disks, dev_t device)
{
	for (size_t i = 0; i < disks->n; i++) {
		if (disks->seen[i] == device)
			return false;
	}
	if (disks->n < sizeof disks->seen / sizeof *disks->seen)
		disks->seen[disks->n++] = device;
	return true;
}

/* Of the folder, or of the nearest above it that there is. */
static void look_at_disk(struct doctor *doctor, struct disks *disks, const char *folder)
{
	MER_AUTO(mer_text_done) char *path = strdup(folder);
	struct statvfs room;
	struct stat info;
	while (path != NULL && stat(path, &info) != 0 && strrchr(path, '/') > path)
		*strrchr(path, '/') = '\0';
	if (path == NULL || stat(path, &info) != 0 || !is_new(disks, info.st_dev) ||
	    statvfs(path, &room) != 0)
		return;
	unsigned long long mib = (unsigned long long)room.f_bavail * room.f_frsize >> 20;
	enum doctor_severity severity = mib < FEW_MIB    ? DOCTOR_FAULT
	                                : mib < SOME_MIB ? DOCTOR_WARNING
	                                                 : DOCTOR_OK;
	doctor_say(doctor, severity, "disk", path,
	           severity != DOCTOR_OK ? "make room; 'mer log prune' forgets old runs" : NULL,
	           "%llu MiB are free", mib);
	if (room.f_files > 0 && room.f_favail == 0)
		doctor_say(doctor, DOCTOR_FAULT, "disk", path, "remove some",
		           "it has no room for another file");
	if ((room.f_flag & ST_RDONLY) != 0)
		doctor_say(doctor, DOCTOR_FAULT, "disk", path, "mount it for writing",
		           "it is mounted read-only");
}

void doctor_files(struct doctor *doctor)
{
	struct disks disks = { .n = 0 };
	struct mer_error err;
	MER_AUTO(mer_text_done) char *state = NULL;
	MER_AUTO(mer_text_done) char *data = NULL;
	MER_AUTO(mer_text_done) char *file = doctor_database_file(doctor);
	const char *temporary = getenv("TMPDIR");
	look_at_installation(doctor);
	if (mer_place(MER_PLACE_STATE, &state, &err) != MER_OK)
		doctor_say_error(doctor, DOCTOR_FAULT, "files", NULL, &err);
	else if (mer_place(MER_PLACE_DATA, &data, &err) != MER_OK)
		doctor_say_error(doctor, DOCTOR_FAULT, "files", NULL, &err);
	look_at_files(doctor, state, file);
	if (file != NULL)
		look_at_disk(doctor, &disks, file);
	if (state != NULL)
		look_at_disk(doctor, &disks, state);
	if (data != NULL)
		look_at_disk(doctor, &disks, data);
	look_at_disk(doctor, &disks, temporary != NULL && temporary[0] == '/' ? temporary : "/tmp");
}
