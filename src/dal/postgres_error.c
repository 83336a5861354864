/*
 * What Postgres and libpq say, as an error of ours with what to do about it. The server's own words
 * may be in any language, so decisions are made by SQLSTATE (appendix A of its manual) alone, but for
 * a connection that was refused, of which libpq tells nothing else.
 */
#include "postgres.h"

#include <stdlib.h>
#include <string.h>

static const char *field(const PGresult *result, int which)
{
	const char *text = PQresultErrorField(result, which);
	return text != NULL ? text : "";
}

static bool is(const char *code, const char *want)
{
	return strncmp(code, want, strlen(want)) == 0;
}

/* --- constraints -------------------------------------------------------------------------- */

/* "models.name" of a table and the detail "Key (name)=(iris) already exists.", else the constraint's
 * name. Of the detail only the parentheses are used, which no language changes. */
static void name_subject(const PGresult *result, char *out, size_t size)
{
	const char *detail = field(result, PG_DIAG_MESSAGE_DETAIL);
	const char *begin = strchr(detail, '('), *end = begin != NULL ? strstr(begin, ")=(") : NULL;
	if (end != NULL)
		(void)snprintf(out, size, "%s.%.*s", field(result, PG_DIAG_TABLE_NAME),
		               (int)(end - begin - 1), begin + 1);
	else
		(void)snprintf(out, size, "%s", field(result, PG_DIAG_CONSTRAINT_NAME));
}

static enum mer_status fail_constraint(const PGresult *result, const struct dal_query *shape,
                                       const char *code, struct mer_error *err)
{
	char subject[200];
	if (is(code, "23505")) {
		name_subject(result, subject, sizeof subject);
		return mer_fail(err, MER_ECONFLICT, "there is a row with the same '%s' already", subject);
	}
	/* Both ends of a reference fail alike; only deleting fails at the one referred to. */
	const char *dash = shape != NULL ? strrchr(shape->name, '-') : NULL;
	if (is(code, "23001") || (is(code, "23503") && dash != NULL && strcmp(dash, "-delete") == 0))
		return mer_fail(err, MER_ECONFLICT, "other rows still refer to this one");
	if (is(code, "23503"))
		return mer_fail(err, MER_ECONFLICT, "a row that this one refers to is not there");
	const char *name = field(result, PG_DIAG_CONSTRAINT_NAME);
	if (*name == '\0')
		name = field(result, PG_DIAG_COLUMN_NAME);
	return mer_fail(err, MER_EINPUT, "the database takes no such value: '%s'", name);
}

/* --- what a statement may meet ------------------------------------------------------------ */

enum mer_status pg_fail_canceled(struct postgres *pg, struct mer_error *err)
{
	pg->base.repeatable = false;
	if (dal_patience_ms(&pg->base, 0) == 0)
		return dal_fail_hasty(&pg->base, err);
	return mer_fail(err, MER_ECANCELED, "interrupted");
}

static enum mer_status fail_right(struct postgres *pg, const PGresult *result,
                                  struct mer_error *err)
{
	const char *role = pg->conn != NULL ? PQuser(pg->conn) : "";
	(void)mer_fail(err, MER_EDATABASE, "the role '%s' of the database '%s' lacks a right: %s", role,
	               pg->base.name, field(result, PG_DIAG_MESSAGE_PRIMARY));
	mer_hint(err, "its owner can give it, with GRANT, to: %s", role);
	return MER_EDATABASE;
}

/* By the beginning of a SQLSTATE: what "the database '...'" does. */
static const struct {
	const char *code;
	const char *does, *hint;
} rows[] = {
	{ "25006", "is read-only", "is it a standby? connect to the primary" },
	{ "26000", "forgot a statement that was prepared",
	  "a pooler in between must pool sessions, not transactions" },
	{ "42P05", "has the statements of another session",
	  "a pooler in between must pool sessions, not transactions" },
	{ "53100", "is full: no space on its disk", "free some space on its server" },
	{ "53200", "is on a server that is out of memory", "see the server's log" },
	{ "53300", "has too many connections", "end some, or raise max_connections" },
	{ "55P03", "is in use by another program for longer than 30 s",
	  "see who has it: SELECT * FROM pg_stat_activity" },
	{ "57014", "took too long for a statement",
	  "its log has the statement; statement_timeout is the limit" },
	{ "58", "is on a server that cannot read or write its files", "see the server's log" },
	{ "XX001", "is corrupt", "restore a backup" },
	{ "XX002", "has a corrupt index", "REINDEX, or restore a backup" },
};

/* What is wrong with the database, not with what is asked of it. */
static enum mer_status fail_database(struct postgres *pg, const PGresult *result, const char *code,
                                     struct mer_error *err)
{
	const char *name = pg->base.name;
	for (size_t i = 0; i < DAL_COUNT(rows); i++) {
		if (!is(code, rows[i].code))
			continue;
		(void)mer_fail(err, MER_EDATABASE, "the database '%s' %s: %s", name, rows[i].does,
		               field(result, PG_DIAG_MESSAGE_PRIMARY));
		mer_hint(err, "%s", rows[i].hint);
		return MER_EDATABASE;
	}
	(void)mer_fail(err, MER_EDATABASE, "the database '%s' says: %s", name,
	               *code != '\0' ? field(result, PG_DIAG_MESSAGE_PRIMARY)
	                             : PQresultErrorMessage(result));
	if (is(code, "42")) /* a statement of ours that its tables do not fit */
		mer_hint(err, "is it another program's? its tables are not those of this mer");
	return MER_EDATABASE;
}

enum mer_status pg_fail(struct postgres *pg, const PGresult *result, const struct dal_query *shape,
                        struct mer_error *err)
{
	const char *code = field(result, PG_DIAG_SQLSTATE);
	if (pg->given_up)
		return pg_fail_lost(pg, NULL, err);
	pg->base.repeatable = is(code, "40");
	pg->no_table = is(code, "42P01");
	if (is(code, "25006"))
		pg->base.read_only = true;
	if (is(code, "57014") && pg->canceled)
		return pg_fail_canceled(pg, err);
	if (is(code, "42501"))
		return fail_right(pg, result, err);
	if (is(code, "23"))
		return fail_constraint(result, shape, code, err);
	if (is(code, "22"))
		return mer_fail(err, MER_EINPUT, "the database takes no such value: %s",
		                field(result, PG_DIAG_MESSAGE_PRIMARY));
	if (is(code, "54"))
		return mer_fail(err, MER_ELIMIT, "a value is too large for the database '%s': %s",
		                pg->base.name, field(result, PG_DIAG_MESSAGE_PRIMARY));
	return fail_database(pg, result, code, err);
}

/* --- scripts ------------------------------------------------------------------------------ */

enum mer_status pg_fail_script(struct postgres *pg, const PGresult *result, struct mer_error *err)
{
	static const char *const database[] = { "08", "25006", "53", "57P", "58", "XX" };
	const char *code = field(result, PG_DIAG_SQLSTATE);
	for (size_t i = 0; i < DAL_COUNT(database); i++) {
		if (*code == '\0' || is(code, database[i]))
			return pg_fail(pg, result, NULL, err);
	}
	pg->base.repeatable = is(code, "40");
	if (is(code, "57014") && pg->canceled)
		return pg_fail_canceled(pg, err);
	/* What a script leaves open is quoted to the end of the message, which is not the script's. */
	const char *said = field(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *behind = strstr(said, pg->message.guarded ? PG_BEHIND_GUARDED : PG_BEHIND);
	const char *detail = field(result, PG_DIAG_MESSAGE_DETAIL);
	(void)mer_fail(err, MER_EINPUT, "%.*s%s%s%s (SQLSTATE %s)",
	               (int)(behind != NULL ? behind - said : (ptrdiff_t)strlen(said)), said,
	               behind != NULL ? "\"" : "", *detail != '\0' ? ": " : "", detail, code);
	const char *hint = field(result, PG_DIAG_MESSAGE_HINT);
	if (*hint != '\0')
		mer_hint(err, "%s", hint);
	return MER_EINPUT;
}

/* --- connections -------------------------------------------------------------------------- */

bool pg_is_leaving(const PGresult *result)
{
	const char *code = field(result, PG_DIAG_SQLSTATE);
	return is(code, "57P01") || is(code, "57P02") || is(code, "57P03") || is(code, "57P05") ||
	       is(code, "08");
}

/* The first line of what libpq says, without the address in front of it. */
static void first_line(const char *said, char *out, size_t size)
{
	const char *failed = strstr(said, " failed: ");
	if (failed != NULL)
		said = failed + strlen(" failed: ");
	(void)snprintf(out, size, "%.*s", (int)strcspn(said, "\n"), said);
}

enum mer_status pg_fail_lost(struct postgres *pg, const char *why, struct mer_error *err)
{
	char line[200];
	first_line(why != NULL ? why : PQerrorMessage(pg->conn), line, sizeof line);
	const bool given_up = pg->given_up;
	pg_disconnect(pg);
	if (given_up)
		return pg_fail_canceled(pg, err);
	pg->base.repeatable = true;
	(void)mer_fail(err, MER_EDATABASE, "the connection to the database '%s' was lost: %s",
	               pg->base.name, *line != '\0' ? line : "its server closed it");
	mer_hint(err, "try again: the next command connects anew");
	return MER_EDATABASE;
}

enum mer_status pg_fail_send(struct postgres *pg, struct mer_error *err)
{
	return pg_fail_lost(pg, NULL, err);
}

/* What libpq says of a refused connection, in English as far as it is the server's own. */
static const struct {
	const char *part, *hint;
} refusals[] = {
	{ "password authentication failed",
	  "the password is that of the URL, of MER_DATABASE_PASSWORD, PGPASSWORD or ~/.pgpass" },
	{ "no password supplied",
	  "say where the password is: MER_DATABASE_PASSWORD=file:PATH, or ~/.pgpass" },
	{ "is not permitted to log in", "its administrator can let it in: ALTER ROLE ... LOGIN" },
	{ "role \"", "the user of the URL must be a role of the server: createuser" },
	{ "database \"", "make it: createdb, or correct the URL" },
	{ "no pg_hba.conf entry", "the server does not let this host in: pg_hba.conf" },
	{ "too many", "end some connections, or raise max_connections" },
	{ "remaining connection slots", "end some connections, or raise max_connections" },
	{ "starting up", "try again in a moment" },
	{ "shutting down", "try again in a moment" },
	{ "unsupported startup parameter",
	  "a pooler is in between: let it ignore 'options' (ignore_startup_parameters)" },
	{ "could not translate host name", "is the host of the URL right?" },
	{ "certificate", "see sslmode, sslrootcert and sslcert of the URL" },
	{ "SSL", "see sslmode of the URL" },
	{ "timeout expired", "is the host of the URL right, and is there a firewall?" },
};

enum mer_status pg_fail_connect(struct postgres *pg, const char *said, struct mer_error *err)
{
	char line[300];
	first_line(said, line, sizeof line);
	pg->base.repeatable = false;
	(void)mer_fail(err, MER_EDATABASE, "cannot connect to the database '%s': %s", pg->base.name,
	               line);
	for (size_t i = 0; i < DAL_COUNT(refusals); i++) {
		if (strstr(line, refusals[i].part) != NULL) {
			mer_hint(err, "%s", refusals[i].hint);
			return MER_EDATABASE;
		}
	}
	mer_hint(err, "is its server running? pg_isready asks it");
	return MER_EDATABASE;
}
