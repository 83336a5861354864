/* What `mer doctor` looks at. Each check says what it finds, and none ends the others. Nothing is changed. */
#ifndef DOCTOR_H
#define DOCTOR_H

#include "session.h"

enum doctor_severity {
	DOCTOR_OK,
	DOCTOR_NOTE,    /* odd, and meant so or of no harm */
	DOCTOR_WARNING, /* works, and may not for long, or not for all */
	DOCTOR_FAULT,   /* does not work, or is not safe */
	DOCTOR_SEVERITIES
};

struct doctor {
	struct session *s;
	struct mer_dal *dal; /* NULL: it cannot be reached; then nothing asks it */
	bool thorough; /* the database is looked through as a whole, and held against its scripts */
	bool migrated; /* its tables are there, as this mer knows them */
	int64_t found[DOCTOR_SEVERITIES];
	enum mer_status st; /* why nothing more can be told: stdout's reader has left, a signal */
	struct mer_error err;
};

/** Tells a finding. advice: what to do, NULL or "": nothing. */
MER_PRINTF(6, 7)
void doctor_say(struct doctor *doctor, enum doctor_severity severity, const char *check,
                const char *subject, const char *advice, const char *fmt, ...);

/** Tells an error, with its hint as advice. */
void doctor_say_error(struct doctor *doctor, enum doctor_severity severity, const char *check,
                      const char *subject, const struct mer_error *err);

/** The database: opens it too, and the caller closes it. */
void doctor_database(struct doctor *doctor);
/** Servers, deployments and weights, and what is plain in them. */
void doctor_models(struct doctor *doctor);
/** The installation, the files of this user, disks. */
void doctor_files(struct doctor *doctor);

/** The file of the database where it is SQLite's; else, or out of memory, NULL. The caller frees it. */
char *doctor_database_file(struct doctor *doctor);

#endif
