#!/usr/bin/python3
"""The two schemas of the metadata, sql/sqlite and sql/postgres, are one: the same scripts by number and
name make the same tables, columns, keys, checks, defaults and rows, which docs/tables.md has. MER_SQL names
the folder of both.
Prints TAP when run as a program."""
import datetime
import json
import os
import re
import sqlite3
import subprocess
import sys
import unittest
from pathlib import Path

import postgres

SQL = Path(os.environ.get("MER_SQL", Path(__file__).parent.parent / "sql"))
TYPES = {"bigint": "INTEGER", "text": "TEXT", "bytea": "BLOB"}
NOW = "now"  # stands for either way to ask for it


def uid(number):
    return f"01980000-0000-7000-8000-{number:012d}"


TIME = "2026-01-02T03:04:05.678Z"
# A row for each table that is there before each trial, and below what makes it another good row.
GOOD = {
    "servers": {"uid": uid(901), "name": "good", "kind": "ssh"},
    "models": {"uid": uid(911), "name": "good"},
    "deployments": {"uid": uid(921), "name": "good", "model_uid": uid(911), "server_uid": uid(901),
                    "protocol": "once", "workdir": "/", "argv": "[]", "max_workers": 0, "idle_ms": 0,
                    "timeout_ms": 0, "start_timeout_ms": 0},
    "model_weights": {"uid": uid(931), "model_uid": uid(911), "version": "1", "path": "p",
                      "sha256": "0" * 64, "bytes": 0, "state": "active"},
    "provenance": {"digest": "0" * 32, "host": "h", "program": "p"},
    "model_access": {"request_uid": uid(941), "model": "good", "door": "repl", "who": "w", "host": "h",
                     "pid": 1, "status": "ok", "queued_at": TIME, "stopped_at": TIME},
    "model_access_io": {"request_uid": uid(941)},
    "feedback": {"uid": uid(951), "request_uid": uid(941), "rating": 5},
    "run_totals": {"series": "good/ok", "value": 1},
    "owners": {"uid": uid(961), "host": "h", "pid": 1, "program": "p"},
}
ANOTHER = {
    "servers": {"uid": uid(902), "name": "another"},
    "models": {"uid": uid(912), "name": "another"},
    "deployments": {"uid": uid(922), "name": "another"},
    "model_weights": {"uid": uid(932), "version": "2", "state": "candidate"},
    "provenance": {"digest": "1" * 32},
    "model_access": {"request_uid": uid(942)},
    "model_access_io": {"request_uid": uid(949)},  # a run without
    "feedback": {"uid": uid(952)},
    "run_totals": {"series": "good/failed"},
    "owners": {"uid": uid(962)},
}
OBJECTS = ("servers.params", "models.input_contract", "models.output_contract", "deployments.env",
           "deployments.params", "deployments.limits", "model_weights.metrics")
ARRAYS = ("deployments.argv", "deployments.train_argv", "provenance.files")
NO_JSON = ("", "{", "{a:1}", "{'a':1}", "[1,]", "[1 2]", "nul", "01", '["\n"]', "[] []", "// c\n[]")


def rows_of_checks():
    """table, what differs from a good row, and the constraint that refuses it; None: it is accepted."""
    for table in ("servers", "models", "deployments"):
        for name in ("", "-a", ".a", "_a", "a b", "a/b", "a\n", "\na", "ä", "aä", "a" * 129, "[a]", "a*", "a]"):
            yield table, {"name": name}, f"{table}_name"
        for name in ("a", "A", "0", "a-", "a.b_c-D", "Z9", "z", "a" * 128):
            yield table, {"name": name}, None
    for table in ("servers", "models", "deployments", "model_weights", "feedback", "owners"):
        for text in ("", uid(0)[1:], uid(0) + "0"):
            yield table, {"uid": text}, f"{table}_uid"
        yield table, {"uid": "ä" * 36}, None  # characters, not bytes
    for text in ("", uid(0)[1:], uid(0) + "0"):
        yield "model_access", {"request_uid": text}, "model_access_request_uid"
    for place, good, bad in [(place, "{}", "[]") for place in OBJECTS] + [(place, "[]", "{}") for place in ARRAYS]:
        table, column = place.split(".")
        for text in (bad, "1", "null", '"{}"', *NO_JSON):
            yield table, {column: text}, f"{table}_{column}"
        more = '[ "k", [1e3]]' if good == "[]" else '{ "k":{"a":[1e3,"\\u00e4\\n"]}}'
        for text in (good, f" {good}\n", more):
            yield table, {column: text}, None
    yield "deployments", {"train_argv": None}, None
    choices = {"servers.kind": ("local", "ssh", "http", "slurm"),
               "deployments.protocol": ("once", "token", "frame"),
               "model_weights.state": ("candidate", "retired"),
               "model_access.door": ("repl", "batch", "daemon", "sql", "http", "job"),
               "model_access.kind": ("run", "train")}
    for place, words in choices.items():
        table, column = place.split(".")
        for word in words:
            yield table, {column: word}, None
        for word in ("", words[0].upper(), words[0] + " ", "other"):
            yield table, {column: word}, f"{table}_{column}"
    for place, good, bad in (("servers.port", (0, 65535), (-1, 65536)), ("models.feedback", (0, 1), (-1, 2)),
                             ("models.test_on_start", (0, 1), (-1, 2)),
                             ("models.feedback_threshold", (0, 5), (-1, 6)),
                             ("models.train_after", (0, 2**63 - 1), (-1,)),
                             ("deployments.enabled", (0, 1), (-1, 2)), ("feedback.rating", (1, 5), (0, 6)),
                             *((f"deployments.{column}", (0, 2**63 - 1), (-1,)) for column in
                               ("max_workers", "idle_ms", "timeout_ms", "start_timeout_ms")),
                             ("model_weights.bytes", (0, 2**63 - 1), (-1,))):
        table, column = place.split(".")
        for number in good:
            yield table, {column: number}, None
        for number in bad:
            yield table, {column: number}, f"{table}_{column}"
    for text in ("", "a/b", "/", "v" * 129):
        yield "model_weights", {"version": text}, "model_weights_version"
    for text in (" ", "v" * 128, "ä" * 128, "2026-01 (b)"):
        yield "model_weights", {"version": text}, None
    yield "model_weights", {"path": ""}, "model_weights_path"
    for text in ("", "0" * 63, "0" * 65, "0" * 63 + "g", "A" * 64, "0" * 64 + "\n"):
        yield "model_weights", {"sha256": text}, "model_weights_sha256"
    yield "model_weights", {"sha256": "0123456789abcdef" * 4}, None
    for status in ("ok", "failed", "timeout", "cancelled", "lost", "rejected"):
        yield "model_access", {"status": status}, None
        yield "model_access", {"status": status, "stopped_at": None}, "model_access_open"
    for status in ("queued", "running"):
        yield "model_access", {"status": status, "stopped_at": None}, None
        yield "model_access", {"status": status}, "model_access_open"
    yield "model_access", {"status": "done"}, "model_access_status"
    for text in ("", "0" * 31, "0" * 33):
        yield "provenance", {"digest": text}, "provenance_digest"
    for text in ("", "/", "ok", "/ok", "good/"):
        yield "run_totals", {"series": text}, "run_totals_series"
    yield "run_totals", {"series": "a/b/ünï"}, None
    for number, constraint in ((0, None), (2**63 - 1, None), (-1, "run_totals_value")):
        yield "run_totals", {"value": number}, constraint


def rows_of_keys():
    """The same for keys; the constraint is what SQLite says it is about."""
    for table, row in GOOD.items():
        if table != "model_access_io":
            key = next(iter(row))
            yield table, {key: row[key]}, "unique"
    yield "model_access_io", {"request_uid": uid(941)}, "unique"
    yield "servers", {"name": "good"}, "unique"
    yield "servers", {"name": "Good"}, None
    yield "models", {"name": "good"}, "unique"
    yield "deployments", {"name": "good"}, "unique"
    yield "deployments", {"name": "good", "model_uid": uid(11)}, None
    yield "model_weights", {"version": "1"}, "unique"
    yield "model_weights", {"version": "1", "model_uid": uid(12)}, None
    yield "model_weights", {"state": "active"}, "unique"
    yield "model_weights", {"parent_uid": uid(931)}, None
    for place in ("deployments.model_uid", "deployments.server_uid", "model_weights.model_uid",
                  "model_weights.parent_uid", "model_access_io.request_uid", "feedback.request_uid"):
        table, column = place.split(".")
        yield table, {column: uid(0)}, "foreign key"


def literal(value):
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def insert(table, row):
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(map(literal, row.values()))})"


class Both:
    """What the two have in common."""

    def fill(self):
        for table, row in GOOD.items():
            self.run(insert(table, row))


class Sqlite(Both):
    def __init__(self, folder):
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.execute("PRAGMA foreign_keys = ON")
        for script in sorted(folder.glob("*.sql")):
            self.db.executescript(script.read_text())

    def rows(self, sql):
        return [list(row) for row in self.db.execute(sql)]

    def run(self, sql):
        self.db.execute(sql)

    def tables(self):
        return [name for name, in self.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")]

    def columns(self, table):
        return [(name, kind, bool(notnull), default_of(default))
                for _, name, kind, notnull, default, _ in self.rows(f"PRAGMA table_info({table})")]

    def keys(self, table):
        """Primary key, unique constraints and indexes: what each is over, and of which rows."""
        found = set()
        for _, name, unique, origin, partial in self.rows(f"PRAGMA index_list({table})"):
            columns = tuple(column for _, _, column in self.rows(f"PRAGMA index_info({name})"))
            where = ""
            if partial:
                (text,), = self.rows(f"SELECT sql FROM sqlite_schema WHERE name = '{name}'")
                where = condition(re.split(r"\sWHERE\s", text, maxsplit=1)[1])
            kind = {"pk": "primary key", "u": "unique constraint", "c": "index"}[origin]
            found.add((kind, name if origin == "c" else "", columns, bool(unique), where))
        return found

    def foreign_keys(self, table):
        return {(column, other, to, on_delete, on_update) for _, _, other, column, to, on_update, on_delete, _
                in self.rows(f"PRAGMA foreign_key_list({table})")}

    def constraints(self, table):
        (text,), = self.rows(f"SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = '{table}'")
        return {(name, kind.lower()) for name, kind in
                re.findall(r"CONSTRAINT (\w+)\s+(CHECK|UNIQUE|FOREIGN KEY)", text)}

    def tries(self, statements):
        """What refuses each: the name of a check, or a kind of constraint; None where nothing does."""
        answers = []
        for sql in statements:
            self.db.execute("BEGIN")
            try:
                self.db.execute(sql)
                answers.append(None)
            except sqlite3.Error as error:
                answers.append(sqlite_reason(str(error)))
            self.db.execute("ROLLBACK")
        return answers


def sqlite_reason(message):
    for pattern, reason in ((r"CHECK constraint failed: (\w+)", None), (r"UNIQUE|PRIMARY KEY", "unique"),
                            ("FOREIGN KEY", "foreign key"), ("NOT NULL", "not null"), ("cannot store", "type")):
        found = re.search(pattern, message)
        if found:
            return reason or found[1]
    return message


# Runs a statement and undoes it; says which constraint refused it.
TRY = """CREATE FUNCTION pg_temp.try(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; name text; message text;
BEGIN
	EXECUTE sql;
	RAISE EXCEPTION USING ERRCODE = 'MER00';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, name = CONSTRAINT_NAME, message = MESSAGE_TEXT;
	RETURN CASE state WHEN 'MER00' THEN '' WHEN '23514' THEN name WHEN '23505' THEN 'unique'
		WHEN '23503' THEN 'foreign key' WHEN '23502' THEN 'not null'
		WHEN '22P02' THEN CASE WHEN message LIKE '%json%' THEN 'json' ELSE 'type' END
		ELSE state || ' ' || message END;
END $$;
"""


class Pg(Both):
    def __init__(self, server, folder=None):
        """Without a folder it is empty."""
        self.server = server
        self.url = server.new_database()
        for script in sorted(folder.glob("*.sql")) if folder else ():
            server.psql(script.read_text(), self.url)

    def rows(self, sql):
        text = self.server.psql(f"SELECT row_to_json(r) FROM ({sql}) AS r", self.url)
        return [list(json.loads(line).values()) for line in text.splitlines()]

    def run(self, sql):
        self.server.psql(sql, self.url)

    def tables(self):
        return [name for name, in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
                                            "ORDER BY tablename COLLATE \"C\"")]

    def columns(self, table):
        return [(name, TYPES[kind], nullable == "NO", default_of(default)) for name, kind, nullable, default in
                self.rows("SELECT column_name, data_type, is_nullable, column_default FROM "
                          f"information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position")]

    def collations(self):
        """Columns of text that something is looked up, sorted or compared by, if not by their bytes."""
        return self.rows("""SELECT c.relname, a.attname FROM pg_attribute AS a
            JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_collation AS o ON o.oid = a.attcollation
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND o.collname <> 'C'
            AND (a.attname ~ '(^|_)(uid|at|by)$' OR a.attname IN ('model', 'version', 'status', 'owner', 'server')
            OR a.attname = 'name' AND c.relname <> 'model_weights' OR EXISTS (SELECT FROM pg_index AS i
            WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey)))""")

    def keys(self, table):
        rows = self.rows(f"""SELECT i.indisprimary, k.conname, c.relname, i.indisunique,
            (SELECT json_agg(a.attname ORDER BY u.n) FROM unnest(i.indkey) WITH ORDINALITY AS u(attnum, n)
            JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.attnum),
            pg_get_expr(i.indpred, i.indrelid)
            FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
            LEFT JOIN pg_constraint AS k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
            WHERE i.indrelid = '{table}'::regclass""")
        return {("primary key" if primary else "unique constraint" if constraint else "index",
                 "" if constraint else name, tuple(columns), unique, condition(where or ""))
                for primary, constraint, name, unique, columns, where in rows}

    def foreign_keys(self, table):
        action = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
        return {(column, other, to, action[on_delete], action[on_update])
                for column, other, to, on_delete, on_update in self.rows(f"""SELECT a.attname,
            k.confrelid::regclass, f.attname AS other, k.confdeltype, k.confupdtype FROM pg_constraint AS k
            JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
            JOIN pg_attribute AS f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[1]
            WHERE k.contype = 'f' AND k.conrelid = '{table}'::regclass""")}

    def constraints(self, table):
        kinds = {"c": "check", "u": "unique", "f": "foreign key"}
        return {(name, kinds[kind]) for name, kind in self.rows(
            f"SELECT conname, contype FROM pg_constraint WHERE conrelid = '{table}'::regclass AND contype <> 'p'")}

    def tries(self, statements):
        asked = "".join(f"SELECT pg_temp.try({literal(sql)});\n" for sql in statements)
        return [line or None for line in self.server.psql(TRY + asked, self.url).splitlines()]


def default_of(text):
    """What a column gets by default, in either dialect's words."""
    if text is None:
        return None
    if "to_char" in text or "strftime" in text:
        return NOW
    return re.sub(r"::[a-z]+$", "", text.strip("()"))


def condition(text):
    return re.sub(r"::[a-z]+|[()]", "", text).strip()


class Schema(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = postgres.Postgres()
        cls.addClassCleanup(cls.server.close)
        cls.lite = Sqlite(SQL / "sqlite")
        cls.addClassCleanup(cls.lite.db.close)
        cls.pg = Pg(cls.server, SQL / "postgres")
        cls.seeds = [{table: both.rows(f"SELECT * FROM {table} ORDER BY 1") for table in cls.lite.tables()}
                     for both in (cls.lite, cls.pg)]
        for both in (cls.lite, cls.pg):
            both.fill()
            both.run(insert("model_access", GOOD["model_access"] | {"request_uid": uid(949)}))

    def test_scripts(self):
        """A number that is in one folder only would make a database of the other kind look migrated."""
        names = [sorted(path.name for path in (SQL / dialect).iterdir()) for dialect in ("sqlite", "postgres")]
        self.assertEqual(*names)
        self.assertGreater(len(names[0]), 4)

    def test_tables(self):
        self.assertEqual(self.lite.tables(), self.pg.tables())
        self.assertEqual(set(GOOD), set(self.lite.tables()), "a table without rows of this test")

    def test_each_table(self):
        for table in self.lite.tables():
            for what in ("columns", "keys", "foreign_keys", "constraints"):
                with self.subTest(f"{what} of {table}"):
                    self.assertEqual(getattr(self.lite, what)(table), getattr(self.pg, what)(table))

    def test_page(self):
        """docs/tables.md, which was written from a SQLite, is of a Postgres as well, the ledger too."""
        made = Pg(self.server)
        subprocess.run([os.environ["MER_PREFIX"] + "/bin/mer-migrate", "--quiet", "--database", made.url, "up"],
                       check=True, timeout=60)
        types = {"text": "TEXT", "integer": "INTEGER", "bytes": "BLOB"}
        parts = re.split(r"^## `(\w+)`$", (SQL.parent / "docs" / "tables.md").read_text(), flags=re.M)
        page = {table: [(name, types[kind], default) for name, kind, default in
                        re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \|", text, re.M)]
                for table, text in zip(parts[1::2], parts[2::2])}
        words = {"''": "empty", NOW: "`now`"}
        self.assertEqual(page, {table: [
            (name, kind, "must be given" if notnull and default is None else "NULL" if default is None
             else words.get(default, f"`{default.strip(chr(39))}`"))
            for name, kind, notnull, default in made.columns(table)] for table in made.tables()})

    def test_bytes_decide_the_order(self):
        self.assertEqual([], self.pg.collations())

    def test_first_rows(self):
        """But for when they were made."""
        lite, pg = (json.loads(re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", NOW, json.dumps(seeds)))
                    for seeds in self.seeds)
        self.assertEqual(lite, pg)
        self.assertEqual(5, len(lite["models"]))

    def compare(self, trials, json_checks=()):
        trials = list(trials)
        statements = [insert(table, GOOD[table] | ANOTHER[table] | changes) for table, changes, _ in trials]
        wanted = [want for _, _, want in trials]
        for both in (self.lite, self.pg):
            answers = both.tries(statements)
            self.assertEqual(len(wanted), len(answers))
            # What is no JSON at all fails in the cast, before the check is done.
            wrong = [(trial, got) for trial, want, got in zip(trials, wanted, answers)
                     if got != want and not (got == "json" and want in json_checks)]
            self.assertEqual([], wrong, type(both).__name__)

    def test_checks(self):
        self.compare(rows_of_checks(), {place.replace(".", "_") for place in OBJECTS + ARRAYS})

    def test_each_check_is_tried(self):
        tried = {want for _, _, want in rows_of_checks()}
        there = {name for table in self.lite.tables() for name, kind in self.lite.constraints(table) if kind == "check"}
        self.assertEqual(there, tried - {None})

    def test_keys(self):
        self.compare(rows_of_keys())

    def test_nulls_and_types(self):
        trials = []
        for table in self.lite.tables():
            for column, kind, notnull, _ in self.lite.columns(table):
                if notnull:
                    trials.append((table, {column: None}, "not null"))
                if kind == "INTEGER":
                    trials.append((table, {column: "many"}, "type"))
        self.compare(trials)

    def test_deletes(self):
        """What goes along, what forbids it, and what is only forgotten."""
        cases = (("DELETE FROM models WHERE name = 'iris'", None),
                 ("DELETE FROM servers WHERE name = 'local'", "foreign key"),
                 ("DELETE FROM servers WHERE name = 'good'", "foreign key"))
        for both in (self.lite, self.pg):
            self.assertEqual([want for _, want in cases], both.tries(sql for sql, _ in cases))
        counts = "SELECT (SELECT count(*) FROM deployments) AS d, (SELECT count(*) FROM model_weights) AS w, " \
                 "(SELECT count(*) FROM model_access_io) AS i, (SELECT count(*) FROM feedback) AS f, " \
                 "(SELECT count(*) FROM model_access) AS a, " \
                 "(SELECT count(*) FROM model_weights WHERE parent_uid IS NULL) AS p"
        child = insert("model_weights", GOOD["model_weights"] | ANOTHER["model_weights"] | {"parent_uid": uid(931)})
        steps = (child, "DELETE FROM model_weights WHERE uid = " + literal(uid(931)),
                 "DELETE FROM models WHERE name = 'good'",
                 "DELETE FROM model_access WHERE request_uid = " + literal(uid(941)))
        seen = []
        for both in (Sqlite(SQL / "sqlite"), Pg(self.server, SQL / "postgres")):
            both.fill()
            seen.append([])
            for step in steps:
                both.run(step)
                seen[-1] += both.rows(counts)
            if isinstance(both, Sqlite):
                both.db.close()
        self.assertEqual(*seen)
        self.assertEqual([[6, 3, 1, 1, 1, 2], [6, 2, 1, 1, 1, 2], [5, 1, 1, 1, 1, 1], [5, 1, 0, 0, 0, 1]], seen[0])

    def test_defaults(self):
        """What a row gets that says only what it must, and when it was made: now, in UTC."""
        for table in self.lite.tables():
            times = [name for name, _, _, default in self.lite.columns(table) if default == NOW]
            found = []
            for both in (self.lite, self.pg):
                key = both.columns(table)[0][0]
                row = GOOD[table] | ANOTHER[table]
                begin = datetime.datetime.now(datetime.timezone.utc)
                both.run(insert(table, row))
                got, = both.rows(f"SELECT * FROM {table} WHERE {key} = {literal(row[key])}")
                end = datetime.datetime.now(datetime.timezone.utc)
                found.append(dict(zip((column[0] for column in both.columns(table)), got)))
                both.run(f"DELETE FROM {table} WHERE {key} = {literal(row[key])}")
                for name in times:
                    text = found[-1].pop(name)
                    self.assertRegex(text, r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
                    time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
                    self.assertLess(begin - datetime.timedelta(milliseconds=2), time)
                    self.assertLess(time, end + datetime.timedelta(milliseconds=2))
            self.assertEqual(*found)


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
