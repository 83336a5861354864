/*
 * What applying scripts costs without a tool: N statements, each in a transaction with a row that says
 * so, in the journal mode and at the synchronous level that mer uses.
 *
 *	bare_migrate sqlite:PATH|postgres:... N
 *
 * On Postgres a transaction is one message.
 */
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEDGER \
	"CREATE TABLE ledger(num bigint PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, " \
	"canonical_sha256 text NOT NULL, applied_at text NOT NULL, duration_ms bigint NOT NULL, " \
	"applied_by text NOT NULL, tool_version text NOT NULL, state text NOT NULL)"
#define SUM "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ROW \
	"INSERT INTO ledger VALUES(%d, 's%d', '" SUM "', '" SUM "', '2026-01-31T12:00:00.000Z', 0, " \
	"'root@localhost', '0.1.0', 'applied')"

static void statement(int n, char *out, size_t size)
{
	if (n == 1)
		(void)snprintf(out, size, "CREATE TABLE t(a int);\n");
	else
		(void)snprintf(out, size, "INSERT INTO t VALUES(%d);\n", n);
}

static int on_sqlite(const char *path, int n)
{
	sqlite3 *db;
	char sql[200], row[500];
	int code = sqlite3_open(path, &db);
	if (code == SQLITE_OK)
		code = sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" LEDGER,
		                    NULL, NULL, NULL);
	for (int i = 1; code == SQLITE_OK && i <= n; i++) {
		statement(i, sql, sizeof sql);
		(void)snprintf(row, sizeof row, ROW, i, i);
		code = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
		if (code == SQLITE_OK)
			code = sqlite3_exec(db, sql, NULL, NULL, NULL);
		if (code == SQLITE_OK)
			code = sqlite3_exec(db, row, NULL, NULL, NULL);
		if (code == SQLITE_OK)
			code = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	}
	if (code != SQLITE_OK)
		(void)fprintf(stderr, "%s: %s\n", path, sqlite3_errmsg(db));
	(void)sqlite3_close(db);
	return code != SQLITE_OK;
}

static int on_postgres(const char *url, int n)
{
	PGconn *conn = PQconnectdb(url);
	char sql[200], all[1000];
	int bad = PQstatus(conn) != CONNECTION_OK;
	for (int i = 0; !bad && i <= n; i++) {
		statement(i, sql, sizeof sql);
		if (i == 0)
			(void)snprintf(all, sizeof all, LEDGER);
		else
			(void)snprintf(all, sizeof all, "BEGIN;%s" ROW ";COMMIT", sql, i, i);
		PGresult *result = PQexec(conn, all);
		bad = PQresultStatus(result) != PGRES_COMMAND_OK;
		PQclear(result);
	}
	if (bad)
		(void)fprintf(stderr, "%s", PQerrorMessage(conn));
	PQfinish(conn);
	return bad;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	int n = atoi(argv[2]);
	return strncmp(argv[1], "sqlite:", 7) == 0 ? on_sqlite(argv[1] + 7, n)
	                                           : on_postgres(argv[1], n);
}
