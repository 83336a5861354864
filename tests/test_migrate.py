#!/usr/bin/python3
"""mer-migrate as its users meet it, on SQLite and on Postgres: each exit code, each disagreement, crashes,
many at once. What only one of them has is in classes of its own, for Postgres in test_migrate_postgres.py.
MER_PREFIX names the installation. MER_TEST_KILLS is how many processes the crash tests kill, MER_TEST_ROUNDS
how often eight start at once. Prints TAP when run as a program."""
import contextlib
import hashlib
import json
import os
import pty
import random
import re
import resource
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

from migrate_case import (DEADLINE_S, PROGRAM, T1, T2, T3, Case, as_nobody, on_each_database,
                          run_module)

KILLS = int(os.environ.get("MER_TEST_KILLS", "20"))
ROUNDS = int(os.environ.get("MER_TEST_ROUNDS", "3"))
BROKEN_KEYS = """CREATE TABLE p(id INTEGER PRIMARY KEY);
CREATE TABLE c(p REFERENCES p(id) ON DELETE CASCADE);
INSERT INTO c VALUES(7);
"""


class Usage(Case):
    def test_version_and_help(self):
        done = self.run_plain(0, "--version")
        self.assertRegex(done.stdout, r"\Amer-migrate [0-9]+\.[0-9]+\.[0-9]+\n\Z")
        self.assertEqual(done.stderr, "")
        done = self.run_plain(0, "--help")
        for word in ("up [--to N] [--dry-run]", "status [--check]", "plan", "verify", "--database URL",
                     "--dir DIR", "--wait D", "--strict", "--json", "--quiet", "--env-file FILE", "baseline N",
                     "repair [--accept-edit N] [--forget N]", "new NAME"):
            self.assertIn(word, done.stdout)
        self.assertIn("--to N", self.run_plain(0, "up", "--help").stdout)
        self.assertIn("--check", self.run_plain(0, "--help", "status").stdout)
        self.assertFalse(self.db.exists())

    def test_refused(self):
        self.put("01-A.sql", T1)
        for words in ([], ["ups"], ["up", "up"], ["up", "--bogus"], ["up", "-q"], ["up", "--to"],
                      ["up", "--to", "x"], ["up", "--to=0"], ["up", "--wait", "soon"], ["up", "--json=1"],
                      ["up", "--check"], ["plan", "--to", "5"], ["status", "--dry-run"], ["baseline"],
                      ["baseline", "x"], ["baseline", "1", "2"], ["repair", "1"], ["repair", "--forget"],
                      ["repair", "--accept-edit", "x"], ["new"], ["new", "A", "B"], ["up", "--dry_run"],
                      ["up", "--dir", self.top / "none"], ["up", "--dir", self.dir / "01-A.sql"]):
            with self.subTest(words=words):
                done = self.run_it(2, *words)
                self.assertEqual(done.stdout, "")
                self.assertTrue(done.stderr.startswith("mer-migrate: "))
        self.assertFalse(self.db.exists())

    def test_options_anywhere(self):
        self.put("01-A.sql", T1)
        db = f"sqlite:{self.db}"
        self.run_plain(0, "--quiet", "up", f"--database={db}", "--dir", self.dir, "--wait=5s")
        done = self.run_plain(0, "--json", "--dir", self.dir, "status", "--database", db)
        self.assertEqual(json.loads(done.stdout)[0]["state"], "applied")
        self.run_plain(0, "--quiet", "--database", self.db, f"--dir={self.dir}", "--", "up")

    def test_errors_as_json(self):
        for words in (["--json"], ["up", "--bogus", "--json"], ["plan", "--json", "--dir", "none"]):
            done = self.run_it(2, *words)
            error = json.loads(done.stdout)
            self.assertEqual(error["code"], 2)
            self.assertEqual(done.stderr.splitlines()[0], "mer-migrate: " + error["error"])
            self.assertIn("hint", error)


class Settings(Case):
    def setUp(self):
        super().setUp()
        self.put("01-A.sql", T1)

    def up(self, *words, **settings):
        self.run_plain(0, "--quiet", "--dir", self.dir, "up", *words, settings=settings)

    def test_precedence(self):
        given, variable, file = (self.top / name for name in ("given.db", "variable.db", "file.db"))
        env_file = self.put("settings.env", f"# a comment\nexport MER_DATABASE_URL='sqlite:{file}'\n", self.top)
        url = f"sqlite:{variable}"
        self.up("--database", f"sqlite:{given}", "--env-file", env_file, MER_DATABASE_URL=url)
        self.assertEqual((given.exists(), variable.exists(), file.exists()), (True, False, False))
        self.up("--env-file", env_file, MER_DATABASE_URL=url)
        self.assertEqual((variable.exists(), file.exists()), (True, False))
        self.up("--env-file", env_file, MER_DATABASE_URL="")
        self.assertTrue(file.exists())

    def test_env_file_by_setting(self):
        env_file = self.put("settings.env", f"MER_DATABASE_URL=sqlite:{self.db}\n", self.top)
        self.up(MER_ENV_FILE=str(env_file))
        self.assertTrue(self.db.exists())

    def test_wrong_env_file(self):
        self.run_it(2, "up", "--env-file", self.top / "none.env")
        bad = self.put("bad.env", "A=1\n?=2\n", self.top)
        done = self.run_it(2, "up", "--env-file", bad)
        self.assertIn("bad.env:2:1", done.stderr)
        self.assertFalse(self.db.exists())

    def test_dot_env_is_not_read_unasked(self):
        self.put(".env", f"MER_DATABASE_URL=sqlite:{self.db}\n", self.top)
        self.up(XDG_STATE_HOME=str(self.top / "state"))
        self.assertFalse(self.db.exists())

    def test_default_database(self):
        state = self.top / "some" / "state"
        self.run_plain(0, "status", "--dir", self.dir, settings={"XDG_STATE_HOME": str(state)})
        self.assertFalse(state.exists())
        self.up(XDG_STATE_HOME=str(state))
        self.assertEqual((state / "mer").stat().st_mode & 0o777, 0o700)
        self.assertEqual(state.stat().st_mode & 0o777, 0o700)
        self.assertEqual((state / "mer" / "mer.db").stat().st_mode & 0o777, 0o600)
        self.up()
        self.assertTrue((self.top / ".local" / "state" / "mer" / "mer.db").exists())

    def test_default_scripts(self):
        url = f"sqlite:{self.db}"
        done = self.run_plain(0, "up", "--database", url)
        installed = sorted(Path(os.environ["MER_PREFIX"]).glob("**/sql/sqlite/*.sql"))
        self.assertEqual(len(self.ledger()), len(installed))
        self.assertIn("applied 01-Servers.sql (", done.stdout)
        self.assertEqual(self.run_plain(0, "up", "--database", url, "--quiet").stdout, "")
        self.run_plain(0, "verify", "--database", url, "--strict")
        self.assertIn("{models}", self.rows("SELECT argv FROM deployments ORDER BY name LIMIT 1")[0][0])

    def test_operators_scripts_beside_the_installed_ones(self):
        url = f"sqlite:{self.db}"
        own = self.top / "own"
        own.mkdir()
        self.put("1000-Own.sql", T1, own)
        self.run_plain(0, "up", "--database", url, "--dir", own)
        self.run_plain(0, "up", "--database", url)  # its own range is not late
        self.run_plain(0, "status", "--check", "--database", url)
        installed = next(Path(os.environ["MER_PREFIX"]).glob("**/sql/sqlite"))
        self.run_plain(0, "verify", "--database", url, "--dir", installed, "--dir", own)
        done = self.run_plain(3, "verify", "--database", url, "--dir", own)
        self.assertIn("missing", done.stdout)


@on_each_database
class Up(Case):
    def test_ledger(self):
        self.put("01-First_one.sql", "-- why\n" + T1)
        done = self.run_it(0, "up")
        self.assertRegex(done.stdout, r"\Aapplied 01-First_one\.sql \([0-9]+ ms\)\n1 script applied in [0-9]+ ms\n\Z")
        self.assertEqual(done.stderr, "")
        num, name, sha, canonical, at, ms, by, version, state = self.rows(
            "SELECT num, name, sha256, canonical_sha256, applied_at, duration_ms, applied_by, tool_version, "
            "state FROM migrations")[0]
        self.assertEqual((num, name, state), (1, "First_one", "applied"))
        self.assertEqual(sha, hashlib.sha256(("-- why\n" + T1).encode()).hexdigest())
        self.assertEqual(canonical, hashlib.sha256(T1.strip().encode()).hexdigest())
        self.assertRegex(at, r"\A20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?Z\Z")
        self.assertRegex(by, r"\A[^@]+@[^@]+\Z")
        self.assertGreaterEqual(ms, 0)
        self.assertIn(version, self.run_plain(0, "--version").stdout)
        if self.ground.name == "sqlite":
            self.assertEqual(self.db.stat().st_mode & 0o777, 0o600)

    def test_order_is_by_number(self):
        for n in ("100", "09", "0010", "99"):
            self.put(f"{n}-X.sql", f"CREATE TABLE t{n}(a int);")
        done = self.run_it(0, "up")
        self.assertEqual(re.findall(r"applied (\d+)-", done.stdout), ["09", "0010", "99", "100"])
        self.assertEqual(self.ledger(), [9, 10, 99, 100])

    def test_again_is_nothing(self):
        self.put_three()
        self.run_it(0, "up")
        before = self.content()
        done = self.run_it(0, "up")
        self.assertEqual((done.stdout, done.stderr), ("nothing to do, 3 scripts are applied\n", ""))
        done = self.run_it(0, "up", "--quiet")
        self.assertEqual((done.stdout, done.stderr), ("", ""))
        self.assertEqual(self.content(), before)

    def test_no_scripts(self):
        self.run_it(0, "up")
        self.assertEqual(self.ledger(), [])
        self.assertEqual(json.loads(self.run_it(0, "status", "--json").stdout), [])

    def test_to(self):
        self.put_three()
        self.run_it(0, "up", "--to", 2)
        self.assertEqual(self.ledger(), [1, 2])
        self.run_it(0, "up", "--to", 1)
        self.assertEqual(self.ledger(), [1, 2])
        self.put("04-Bad.sql", "COMMIT;")
        self.run_it(0, "up", "--to=3")
        self.assertEqual(self.ledger(), [1, 2, 3])
        self.run_it(2, "up", "--to=999")

    def test_dry_run_and_plan_change_nothing(self):
        self.put_three()
        for words in (["up", "--dry-run"], ["plan"], ["status"], ["verify"]):
            self.run_it(0, *words)
            self.assertFalse(self.content())
        self.run_it(0, "up", "--to", 1)
        before = self.content()
        for words in (["up", "--dry-run"], ["plan"]):
            done = self.run_it(0, *words)
            self.assertEqual([line.split("\t")[:2] for line in done.stdout.splitlines()],
                             [["apply", "02-B.sql"], ["apply", "03-C.sql"]])
        done = self.run_it(0, "up", "--dry-run", "--to", 2)
        self.assertEqual(done.stdout.split("\t")[:2], ["apply", "02-B.sql"])
        for words in (["status"], ["status", "--json"], ["verify"]):
            self.run_it(0, *words)
        self.put("01-A.sql", T3)
        for words in (["up", "--dry-run"], ["plan"], ["verify"]):
            done = self.run_it(3, *words)
            self.assertIn("01-A.sql", done.stdout)
        self.assertEqual(self.content(), before)

    def test_json(self):
        self.put_three()
        plan = json.loads(self.run_it(0, "plan", "--json").stdout)
        self.assertEqual(plan["code"], 0)
        self.assertEqual([(row["num"], row["action"]) for row in plan["scripts"]],
                         [(1, "apply"), (2, "apply"), (3, "apply")])
        up = json.loads(self.run_it(0, "up", "--json").stdout)
        self.assertEqual(up["code"], 0)
        self.assertEqual([row["file"] for row in up["applied"]], ["01-A.sql", "02-B.sql", "03-C.sql"])
        self.assertEqual(json.loads(self.run_it(0, "up", "--json", "--quiet").stdout), {"applied": [], "code": 0})
        row = json.loads(self.run_it(0, "status", "--json").stdout)[1]
        self.assertEqual((row["num"], row["name"], row["file"], row["state"]), (2, "B", "02-B.sql", "applied"))
        self.assertGreaterEqual(row.keys(), {"applied_at", "applied_by", "duration_ms", "tool_version"})
        self.put("04-D.sql", T1)
        done = self.run_it(1, "up", "--json")
        document = json.loads(done.stdout)
        self.assertEqual((document["applied"], document["code"]), ([], 1))
        self.assertIn("04-D.sql:1:", document["error"])
        self.assertEqual(json.loads(self.run_it(0, "status", "--json").stdout)[3]["applied_at"], None)
        self.put("02-B.sql", T1)
        document = json.loads(self.run_it(3, "verify", "--json").stdout)
        self.assertEqual([(row["num"], row["state"]) for row in document["scripts"]], [(2, "edited")])
        self.assertEqual(document["code"], 3)

    def test_table_on_a_terminal(self):
        self.put_three()
        self.run_it(0, "up", "--to", 1)
        mother, child = pty.openpty()
        with open(mother, "rb") as screen:
            with open(child, "wb") as stdout:
                done = self.call(self.argv(["status"]), stdout=stdout)
            seen = b""
            with contextlib.suppress(OSError):
                while piece := screen.read1(65536):
                    seen += piece
        self.assertEqual(done.returncode, 0)
        lines = seen.decode().splitlines()
        self.assertRegex(lines[0], r"\ANUM +NAME +STATE +APPLIED_AT")
        self.assertRegex(lines[1], r"\A +1 +A +applied +20")
        self.assertRegex(lines[2], r"\A +2 +B +pending\Z")

    def test_status_check(self):
        self.put_three()
        done = self.run_it(6, "status", "--check")
        self.assertEqual(done.stderr, "")
        self.assertEqual(self.run_it(6, "status", "--check", "--quiet").stdout, "")
        self.run_it(0, "status")
        self.run_it(0, "up")
        self.run_it(0, "status", "--check")
        self.put("04-D.sql", "x")
        self.put("01-A.sql", T2)
        self.run_it(0, "status")
        self.run_it(3, "status", "--check")


@on_each_database
class Scripts(Case):
    """What is in a script."""

    def test_failing_statement_leaves_nothing(self):
        self.put("01-A.sql", T1)
        self.put("02-B.sql", "CREATE TABLE half(a int);\nINSERT INTO half VALUES(1);\n"
                             "\tINSERT INTO nosuch\n VALUES(1);\nCREATE TABLE rest(a int);\n")
        self.put("03-C.sql", T3)
        done = self.run_it(1, "up")
        self.assertEqual((self.tables(), self.ledger()), (["t1"], [1]))
        self.assertIn("applied 01-A.sql", done.stdout)
        lines = done.stderr.splitlines()
        place, caret = self.on(("3:2", "\t^"), ("3:14", "\t" + " " * 12 + "^"))
        self.assertEqual(lines[0], f"mer-migrate: {self.dir}/02-B.sql:{place}: {self.ground.no_table}")
        self.assertEqual(lines[1], "    3 | \tINSERT INTO nosuch")
        self.assertEqual(lines[2], "      | " + caret)
        self.assertRegex(lines[3], r"\Ahint: \S")
        self.put("02-B.sql", T2)
        self.run_it(0, "up")
        self.assertEqual(self.ledger(), [1, 2, 3])

    def test_first_script_fails_on_an_empty_database(self):
        self.put("01-A.sql", "CREATE TABLE a(x int); SELECT nosuch;")
        self.run_it(1, "up")
        self.assertEqual(self.ground.names(), [])

    def test_place_of_errors(self):
        for text, place, caret in (
                (b"\xef\xbb\xbfSELEC 1;", "1:1", ""),
                (b"SELECT 1;\r\n\r\nSELECT nosuch;\r\n", "3:8", " " * 7),
                ("SELECT 'ü€', nosuch;".encode(), "1:17", " " * 13),
                ("SELECT '日本',\tnosuch;".encode(), "1:18", " " * 14 + "\t"),
                (b"SELECT 1;\n\n  SELECT 1 +;\n", "3:13", " " * 12),
                *self.on([(b"CREATE TABLE t(a CHECK (a > 0));\n/* c */ INSERT INTO t VALUES (0);", "2:9", " " * 8)],
                         [(b"SELECT $$\n;\n$$;\nCREATE FUNCTION f() RETURNS int LANGUAGE sql\nAS $$ SELECT nosuch $$;",
                           "5:14", " " * 13)])):
            with self.subTest(text=text):
                self.put("01-A.sql", text)
                done = self.run_it(1, "up")
                lines = done.stderr.splitlines()
                self.assertIn(f"01-A.sql:{place}: ", lines[0])
                self.assertEqual(lines[2], "      | " + caret + "^")

    def test_long_line_is_shown_around_the_place(self):
        self.put("01-A.sql", "SELECT " + "'x', " * 200 + "nosuch" + ", 'y'" * 200)
        lines = self.run_it(1, "up").stderr.splitlines()
        self.assertLessEqual(max(map(len, lines[1:3])), 120)
        at = lines[2].index("^")
        self.assertTrue(lines[1][at:].startswith("nosuch"))

    def test_what_controls_the_transaction_is_refused_before_anything_runs(self):
        own = self.on((("ATTACH ':memory:' AS a;", "1:1"), ("DETACH a;", "1:1"), ("EXPLAIN COMMIT;", "1:9"),
                       (T2 + "-- x\n\n  VACUUM;", "4:3"), ("\ufeff\ufeffCOMMIT;", "1:4"),
                       (T2 + ";; \v COMMIT;", "2:6")),
                      (("ABORT;", "1:1"), ("START TRANSACTION;", "1:1"), (T2 + "PREPARE TRANSACTION 'x';", "2:1"),
                       ("COMMIT PREPARED 'x'", "1:1"), ("ROLLBACK PREPARED 'x'", "1:1"), ("COMMIT AND CHAIN", "1:1"),
                       ("SELECT $$;$$, E'\\';'; COMMIT", "1:23"),
                       ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; COMMIT", "1:61"),
                       (T2 + "COPY t2 FROM STDIN;\n1\n\\.\n", "2:14"), (T2 + "COPY t2 TO STDOUT", "2:12"),
                       ("\\restrict x\n" + T2 + "\\unrestrict x\n", "1:1"), (T2 + "\\connect x", "2:1")))
        for text, place in (("COMMIT;", "1:1"), (T2 + "commit;\n", "2:1"), (T2 + "/* x */ End;", "2:9"),
                            ("BEGIN;" + T2 + "COMMIT;", "1:1"), (T2 + "ROLLBACK", "2:1"),
                            ("SAVEPOINT a;", "1:1"), ("RELEASE a;", "1:1"),
                            ("SELECT 1; /* never ends; COMMIT;", "1:11"), *own):
            with self.subTest(text=text):
                self.put("01-A.sql", T1)
                self.put("02-B.sql", text)
                done = self.run_it(2, "up")
                self.assertIn(f"02-B.sql:{place}: ", done.stderr)
                self.assertIn("^", done.stderr)
                self.assertEqual((self.tables(), self.ledger()), ([], []))
                self.run_it(2, "plan")

    def test_ledger_taken_away(self):
        for text in ("DROP TABLE migrations;", "ALTER TABLE migrations RENAME TO others;"):
            with self.subTest(text=text):
                self.put("01-A.sql", T1)
                self.put("02-B.sql", T2 + text)
                done = self.run_it(1, "up")
                self.assertRegex(done.stderr, r"\Amer-migrate: \S+/02-B\.sql: [^\n]*migrations[^\n]*\n"
                                              r"hint: nothing of it was kept")
                self.assertEqual((self.tables(), self.ledger()), (["t1"], [1]))

    def test_texts_that_are_fine(self):
        self.put("01-No-semicolon.sql", "CREATE TABLE t1(a int);\nCREATE TABLE t2(a int) -- end")
        self.put("04-Mark.sql", b"\xef\xbb\xbfCREATE TABLE t4(a int);\n")
        self.put("05-Crlf.sql", b"CREATE TABLE t5(\r\n a int -- x\r\n);\r\nINSERT INTO t5 VALUES(1);\r\n")
        self.put("06-Utf8.sql", "CREATE TABLE t6(\"größe\" text DEFAULT '€');")
        self.run_it(0, "up")
        self.assertEqual(self.tables(), ["t1", "t2", "t4", "t5", "t6"])
        self.run_it(0, "verify", "--strict")

    def test_texts_without_a_statement(self):
        for text in ("", "\n", "-- nothing; to do\n/* here; */\n", ";;;\n;", b"\xef\xbb\xbf",
                     "-- mer: no-transaction\n"):
            with self.subTest(text=text):
                self.put("01-A.sql", T1)
                self.put("02-B.sql", text)
                self.assertIn("02-B.sql", self.run_it(2, "up").stderr)
                self.assertEqual((self.tables(), self.ledger()), ([], []))
        self.put("02-B.sql", T2)
        self.run_it(0, "up")

    def test_ends_of_lines_are_no_edit(self):
        body = self.on("CREATE TRIGGER x AFTER INSERT ON t1 BEGIN\n  SELECT 'a\n';\nEND;\n",
                       "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$\n SELECT 1\n$$;\n"
                       "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS '\n SELECT 1\n';\n")
        self.put("01-A.sql", T1 + body)
        self.run_it(0, "up")
        self.put("01-A.sql", (T1 + body).replace("\n", "\r\n"))
        self.assertIn("in comments or white space only", self.run_it(0, "up").stderr)
        self.run_it(3, "up", "--strict")
        self.put("01-A.sql", (T1 + body).replace("\n", "\n\n"))
        self.run_it(3, "up")

    def test_texts_that_are_not_utf8(self):
        for text, place in ((b"SELECT '\xff';", "1:9"), ("SELECT 'ü';".encode("latin-1"), "1:9"),
                            ("SELECT 1;".encode("utf-16"), "1:1"), (b"SELECT 1;\nSELECT '\0';", "2:9"),
                            (b"SELECT '\xed\xa0\x80';", "1:9"), (b"-- cut \xe2\x82", "1:8")):
            with self.subTest(text=text):
                self.put("01-A.sql", T1)
                self.put("02-B.sql", text)
                done = self.run_it(2, "up")
                self.assertIn(f"02-B.sql:{place}: ", done.stderr)
                self.assertEqual(self.ledger(), [])


class ScriptsOfSqlite(Case):
    def test_what_only_looks_like_it_is_not(self):
        self.put("01-A.sql", "CREATE TABLE t1(a, b);\n-- ; COMMIT;\n/* ; COMMIT; */\n"
                             "INSERT INTO t1 VALUES('; COMMIT;', \"; COMMIT;\");\nEXPLAIN SELECT 1;\n"
                             "CREATE TABLE [; COMMIT;](`; END;` int);\n"
                             "SELECT CASE WHEN 1 THEN 2 END;")
        self.put("02-B.sql", "CREATE TRIGGER tr AFTER INSERT ON t1 BEGIN\n  UPDATE t1 SET b = CASE WHEN a > 1 "
                             "THEN 'x;' ELSE 'y' END;\n  DELETE FROM t1 WHERE a < 0;\nEND;\n"
                             "CREATE TEMP TRIGGER t2 AFTER INSERT ON t1 BEGIN SELECT 1; END;\nCREATE TABLE t2(a);")
        self.run_it(0, "up")
        self.assertEqual(self.rows("SELECT name FROM sqlite_master WHERE type = 'trigger'"), [("tr",)])
        self.assertEqual(self.ledger(), [1, 2])

    def test_transactions_that_end_by_a_failure(self):
        self.put("01-A.sql", "CREATE TABLE t1(a UNIQUE); INSERT INTO t1 VALUES(1);\n"
                             "INSERT OR ROLLBACK INTO t1 VALUES(1);\nCREATE TABLE t2(a);")
        self.run_it(1, "up")
        self.assertEqual((self.tables(), self.ledger()), ([], []))
        self.put("01-A.sql", "CREATE TABLE t1(a); CREATE TRIGGER x BEFORE INSERT ON t1 BEGIN "
                             "SELECT RAISE(ROLLBACK, 'no'); END;\nINSERT INTO t1 VALUES(1);\nCREATE TABLE t2(a);")
        self.run_it(1, "up")
        self.assertEqual((self.tables(), self.ledger()), ([], []))

    def test_rebuild_keeps_child_rows(self):
        self.put("01-A.sql", "CREATE TABLE p(id INTEGER PRIMARY KEY);\n"
                             "CREATE TABLE c(p REFERENCES p(id) ON DELETE CASCADE);\n"
                             "INSERT INTO p VALUES(1);\nINSERT INTO c VALUES(1);\n")
        self.put("02-B.sql", "PRAGMA foreign_keys=ON;\nCREATE TABLE p2(id INTEGER PRIMARY KEY, x int);\n"
                             "INSERT INTO p2 SELECT id, 0 FROM p;\nDROP TABLE p;\nALTER TABLE p2 RENAME TO p;\n")
        self.run_it(0, "up")
        self.assertEqual(self.rows("SELECT * FROM c"), [(1,)])

    def test_broken_keys_are_refused(self):
        self.put("01-A.sql", BROKEN_KEYS)
        done = self.run_it(1, "up")
        self.assertRegex(done.stderr, "01-A.sql: .*'c'.*'p'")
        self.assertEqual(self.tables(), [])
        self.put("01-A.sql", BROKEN_KEYS + "INSERT INTO p VALUES(7);")
        self.put("02-B.sql", "DELETE FROM p;")
        self.run_it(1, "up")
        self.assertEqual((self.ledger(), self.rows("SELECT * FROM p")), ([1], [(7,)]))

    def test_whatever_breaks_keys_is_found(self):
        self.put("01-A.sql", "CREATE TABLE p(id INTEGER PRIMARY KEY, u UNIQUE);\nCREATE TABLE c(p REFERENCES p(id));\n"
                             "CREATE TABLE other(a);\nINSERT INTO p VALUES(1, 'u');\nINSERT INTO c VALUES(1);\n"
                             "CREATE TRIGGER tr AFTER INSERT ON other BEGIN INSERT INTO c VALUES(NEW.a); END;")
        self.run_it(0, "up")
        names = ["long_" * 10 + str(n) for n in range(1, 40)]
        many = "".join(f"CREATE TABLE {name}(p REFERENCES p(id)); INSERT INTO {name} VALUES(1);\n" for name in names)
        many += f"INSERT INTO {names[-1]} VALUES(7);"
        for text in ("INSERT INTO c VALUES(7);", "UPDATE p SET id = 9;", "DELETE FROM p WHERE id = 1;", "DROP TABLE p;",
                     "REPLACE INTO p VALUES(2, 'u');", "INSERT OR REPLACE INTO p VALUES(2, 'u');",
                     "UPDATE c SET p = 9;", "INSERT INTO other VALUES(7);", many,
                     "ALTER TABLE other ADD COLUMN q INTEGER DEFAULT 7 REFERENCES p(id);\n"
                     "INSERT INTO other(a) VALUES(1);",
                     "INSERT INTO p VALUES(1, 'x') ON CONFLICT(id) DO UPDATE SET id = 5;"):
            with self.subTest(text=text[:60]):
                self.put("02-B.sql", text)
                self.run_it(1, "up")
                self.assertEqual((self.ledger(), self.rows("SELECT p FROM c")), ([1], [(1,)]))
        self.put("02-B.sql", "INSERT INTO p VALUES(2, 'v'); INSERT INTO c VALUES(2);\nINSERT INTO other VALUES(2);")
        self.run_it(0, "up")

    def test_nothing_leaks_into_the_next_script(self):
        self.put("01-A.sql", "CREATE TABLE t1(a);\nPRAGMA recursive_triggers = ON;\nPRAGMA legacy_alter_table = ON;")
        self.put("02-B.sql", "INSERT INTO t1 SELECT * FROM pragma_recursive_triggers;\n"
                             "INSERT INTO t1 SELECT * FROM pragma_legacy_alter_table;\nCREATE TEMP TABLE x(a);")
        self.put("03-C.sql", "CREATE TEMP TABLE x(a);")
        self.put("04-D.sql", "CREATE TABLE x(a);\nINSERT INTO x VALUES(5);")
        self.run_it(0, "up")
        self.assertEqual(self.rows("SELECT a FROM t1"), [(0,), (0,)])
        self.assertEqual(self.rows("SELECT a FROM x"), [(5,)])


@on_each_database
class Disagreements(Case):
    def setUp(self):
        super().setUp()
        self.put_three()
        self.run_it(0, "up")

    def check(self, code, state, file, *words):
        """What each command says of a script; up leaves the database as it is where it refuses."""
        before = self.content()
        done = self.run_it(code, "up", *words)
        if code:
            self.assertIn(file, done.stderr)
            self.assertEqual(self.content(), before)
        self.assertIn(state, self.states().values())
        self.run_it(code, "verify", *words)
        self.run_it(code, "plan", *words)
        self.run_it(code, "status", "--check", *words)
        return done

    def test_edited(self):
        self.put("02-B.sql", "CREATE TABLE t2(a int, b int);\n")
        done = self.check(3, "edited", "02-B.sql")
        self.assertEqual(len(done.stderr.splitlines()), 2)

    def test_edited_to_what_is_no_text(self):
        self.put("02-B.sql", b"\xff")
        self.check(3, "edited", "02-B.sql")

    def test_several(self):
        self.put("01-A.sql", T2)
        (self.dir / "03-C.sql").unlink()
        done = self.check(3, "missing", "01-A.sql (edited), 03-C.sql (missing)")
        self.assertEqual(len(done.stderr.splitlines()), 2)

    def test_cosmetic(self):
        for text in ("-- why\nCREATE  TABLE t2(\n\ta int -- what\n);", "CREATE TABLE t2(a int);\r\n",
                     "\ufeffCREATE TABLE t2(a int);\n", "CREATE TABLE t2(a int);"):
            with self.subTest(text=text):
                self.put("02-B.sql", text)
                done = self.check(0, "cosmetic", "02-B.sql")
                self.assertRegex(done.stderr, r"\Amer-migrate: warning: '02-B.sql' [^\n]+\n\Z")
                self.assertEqual(self.run_it(0, "up", "--quiet").stderr, "")
                self.check(3, "cosmetic", "02-B.sql", "--strict")

    def test_missing(self):
        for name in ("01-A.sql", "03-C.sql"):
            with self.subTest(name=name):
                text = (self.dir / name).read_text()
                (self.dir / name).unlink()
                self.check(3, "missing", name)
                self.put(name, text)

    def test_renumbered(self):
        (self.dir / "03-C.sql").rename(self.dir / "04-C.sql")
        done = self.check(3, "missing", "03-C.sql")
        self.assertIn("'04-C.sql'", done.stderr)

    def test_renamed(self):
        (self.dir / "02-B.sql").rename(self.dir / "002-Better.sql")
        done = self.check(0, "renamed", "02-B.sql")
        self.assertIn("'002-Better.sql' ran as '02-B.sql'", done.stderr)

    def test_late(self):
        (self.dir / "03-C.sql").rename(self.dir / "05-C.sql")
        self.ground.reset()
        self.run_it(0, "up")
        self.put("04-D.sql", "CREATE TABLE t4(a int);")
        done = self.check(3, "late", "04-D.sql")
        self.assertIn("above 5", done.stderr)

    def test_late_only_against_its_own_range(self):
        self.put("1000-X.sql", "CREATE TABLE x(a int);")
        self.run_it(0, "up")
        self.put("999-D.sql", "CREATE TABLE t4(a int);")
        self.run_it(0, "up")
        self.assertEqual(self.ledger(), [1, 2, 3, 999, 1000])
        self.put("1002-Z.sql", "CREATE TABLE z(a int);")
        self.run_it(0, "up")
        self.put("1001-Y.sql", "CREATE TABLE y(a int);")
        self.check(3, "late", "1001-Y.sql")

    def test_duplicates(self):
        self.put("003-Other.sql", "CREATE TABLE o(a int);")
        self.check(3, "duplicate", "003-Other.sql")

    def test_duplicates_over_folders(self):
        other = self.top / "other"
        other.mkdir()
        self.put("04-D.sql", "CREATE TABLE d(a int);")
        self.put("04-D.sql", "CREATE TABLE d(a int);", other)
        done = self.run_it(3, "up", "--dir", other)
        self.assertIn(f"{self.dir}/04-D.sql", done.stderr)
        self.assertIn(f"{other}/04-D.sql", done.stderr)
        self.assertEqual(self.ledger(), [1, 2, 3])
        (other / "04-D.sql").rename(other / "05-E.sql")
        self.put("05-E.sql", "CREATE TABLE e(a int);", other)
        self.run_it(0, "up", "--dir", other)
        self.assertEqual(self.ledger(), [1, 2, 3, 4, 5])

    def test_a_folder_given_twice_is_one(self):
        link = self.top / "link"
        link.symlink_to(self.dir)
        self.run_it(0, "up", "--dir", self.dir, "--dir", link)

    def test_half_done(self):
        self.ground.run("UPDATE migrations SET state = 'started' WHERE num = 2")
        done = self.check(3, "half-done", "02-B.sql")
        self.assertRegex(done.stderr, r"'02-B.sql' began at 20.* outside a transaction and did not end")

    def test_newer_database(self):
        self.ground.run("INSERT INTO migrations SELECT 900, 'New', sha256, canonical_sha256, applied_at, "
                        "duration_ms, applied_by, '9.9.9', state FROM migrations WHERE num = 2")
        done = self.check(3, "missing", "900-New.sql")
        self.assertIn("9.9.9", done.stderr)


@on_each_database
class Files(Case):
    def test_bad_names(self):
        self.put("01-A.sql", T1)
        for name in ("foo.sql", "2-B.sql", "00-B.sql", "02-.sql", "02.sql", "02_B.sql", "02-B C.sql",
                     "02-B.up.sql", "02-ü.sql", ".02-B.sql", ".sql", "V2__B.sql", "x02-B.sql",
                     "99999999999999999999-B.sql"):
            with self.subTest(name=name):
                path = self.put(name, T2)
                for command in ("up", "plan", "status", "verify"):
                    done = self.run_it(2, command)
                    self.assertIn(name, done.stderr)
                path.unlink()
        self.assertFalse(self.content())

    def test_other_files_are_ignored(self):
        self.put("01-A.sql", T1)
        for name in ("02-B.SQL", "02-B.sql~", "02-B.sql.bak", "README", "02-B", ".gitignore", "02-B.sqlx"):
            self.put(name, "COMMIT; \xff")
        (self.dir / "old").mkdir()
        (self.dir / "02-B.sql.d").mkdir()
        self.run_it(0, "up")
        self.assertEqual(self.ledger(), [1])

    def test_what_is_no_file(self):
        self.put("01-A.sql", T1)
        odd = self.dir / "07-X.sql"
        for make in (lambda: odd.mkdir(), lambda: odd.symlink_to(odd), lambda: odd.symlink_to("nowhere"),
                     lambda: odd.symlink_to(self.top), lambda: os.mkfifo(odd)):
            make()
            for command in ("up", "plan", "verify"):
                done = self.run_it(2, command)
                self.assertIn("07-X.sql", done.stderr)
            if odd.is_dir() and not odd.is_symlink():
                odd.rmdir()
            else:
                odd.unlink()
        self.assertEqual(self.ledger(), [])

    def test_links_to_files_and_folders_are_fine(self):
        elsewhere = self.top / "elsewhere"
        elsewhere.mkdir()
        self.put("a", T1, elsewhere)
        (self.dir / "01-A.sql").symlink_to(elsewhere / "a")
        self.run_it(0, "up")
        self.assertEqual(self.ledger(), [1])

    def test_unreadable(self):
        self.put("01-A.sql", T1)
        self.put("02-B.sql", T2).chmod(0)
        user = as_nobody(self)
        done = self.run_it(2, "up", **user)
        self.assertIn("02-B.sql", done.stderr)
        self.assertFalse(self.ledger())
        self.dir.chmod(0)
        self.run_it(2, "up", **user)


class FilesOfSqlite(Case):
    def setUp(self):
        super().setUp()
        self.put_three()

    def test_missing_folder(self):
        self.ground.url = f"sqlite:{self.top}/no/such/x.db"
        for command in ("up", "status", "plan", "verify"):
            done = self.run_it(4, command)
            self.assertIn("no/such", done.stderr)
        self.assertFalse((self.top / "no").exists())

    def test_no_database(self):
        self.db.write_bytes(b"This is no database, but a text of some length. " * 100)
        for command in ("up", "status", "plan", "verify"):
            self.run_it(4, command)
        self.assertTrue(self.db.read_bytes().startswith(b"This is no"))
        self.db.unlink()
        self.db.mkdir()
        self.run_it(4, "up")

    def test_empty_file_is_an_empty_database(self):
        self.db.touch()
        self.run_it(0, "plan")
        self.run_it(0, "up")

    def test_corrupt(self):
        self.run_it(0, "up")
        with contextlib.closing(sqlite3.connect(self.db)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("PRAGMA journal_mode = DELETE")
        content = bytearray(self.db.read_bytes())
        for at in range(100, len(content)):
            content[at] ^= 0x5a
        self.db.write_bytes(content)
        for command in ("up", "status", "verify"):
            self.run_it(4, command)

    def test_read_only(self):
        self.run_it(0, "up", "--to", 1)
        with contextlib.closing(sqlite3.connect(self.db)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
        user = as_nobody(self)
        self.db.chmod(0o444)
        done = self.run_it(4, "up", **user)
        self.assertEqual(self.ledger(), [1])
        self.assertRegex(done.stderr, "read-only|Permission denied")
        self.run_it(6, "status", "--check", **user)

    def test_full(self):
        self.put("04-Big.sql", "CREATE TABLE big(a);\nINSERT INTO big VALUES(zeroblob(4000000));")
        self.put("05-E.sql", "CREATE TABLE t5(a);")
        self.run_it(4, "up", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000)))
        self.assertEqual((self.ledger(), self.tables()), ([1, 2, 3], ["t1", "t2", "t3"]))
        self.run_it(0, "up")
        self.assertEqual(self.rows("PRAGMA integrity_check"), [("ok",)])

    def test_full_from_the_beginning(self):
        done = self.call(self.argv(["up"]), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
        self.assertEqual(done.returncode, 4, done.stderr)
        self.run_it(0, "up")

    def test_passwords_are_not_shown(self):
        secret = "s3cr3t%zz"
        for url in ("postgres://me:s3cr3t@127.0.0.1:1/x", f"postgres://me:{secret}@127.0.0.1:1/x", f"postgresql://me:{secret}@[::1/x",
                    f"postgres:password={secret}", f"mysql://me:{secret}@host/x"):
            for words in ([], ["--json"]):
                done = self.call([PROGRAM, "--dir", str(self.dir), "up", "--database", url, *words])
                self.assertIn(done.returncode, (2, 4), done.stderr)
                self.assertNotIn("s3cr3t", done.stdout + done.stderr)
                self.check_stderr(done.stderr)
        self.run_plain(2, "--dir", self.dir, "up", "--database", "mysql://host/x")


@on_each_database
class Output(Case):
    def setUp(self):
        super().setUp()
        self.put_three()

    def test_stdout_that_fails(self):
        with open("/dev/full", "w") as full:
            done = self.call(self.argv(["up"]), stdout=full)
        self.assertEqual((done.returncode, self.ledger()), (70, [1, 2, 3]))
        self.check_stderr(done.stderr)
        done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *self.argv(["status"])], capture_output=True,
                              env=self.environment({}))
        self.assertEqual(done.returncode, 70)
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "w") as gone:
            done = self.call(self.argv(["status"]), stdout=gone)
        self.assertEqual((done.returncode, done.stderr), (141, ""))
        self.ground.check()


@on_each_database
class Locks(Case):
    def setUp(self):
        super().setUp()
        self.put_three()
        self.run_it(0, "up", "--to", 1)

    def test_wait_runs_out(self):
        with self.ground.held():
            for wait, least in (("0", 0), ("300ms", 0.3)):
                begin = time.monotonic()
                done = self.run_it(5, "up", "--wait", wait)
                self.assertGreaterEqual(time.monotonic() - begin, least)
                self.assertEqual(done.stdout, "")
            self.assertEqual(json.loads(self.run_it(5, "up", "--wait", "0", "--json").stdout)["code"], 5)
            self.run_it(6, "status", "--check")
            self.run_it(0, "plan")
        self.assertEqual(self.ledger(), [1])

    def test_wait_is_long_enough(self):
        with self.ground.held():
            process = self.start_waiting("up", "--wait", "60s")
        self.assertEqual(process.communicate(timeout=DEADLINE_S)[1], "")
        self.assertEqual((process.returncode, self.ledger()), (0, [1, 2, 3]))

    def test_interrupted_while_waiting(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with self.ground.held():
                process = self.start_waiting("up", "--wait", "60s")
                process.send_signal(number)
                out, err = process.communicate(timeout=DEADLINE_S)
            self.assertEqual((process.returncode, out), (code, ""))
            self.check_stderr(err)


class LocksOfSqlite(Case):
    def test_another_program_has_the_file(self):
        """A shell in the middle of a transaction; of a new file it may have all to itself."""
        self.put_three()
        for begin, commands in (("BEGIN EXCLUSIVE", ("up", "status", "plan")), ("BEGIN IMMEDIATE", ("up",))):
            with contextlib.closing(sqlite3.connect(self.db, isolation_level=None)) as db:
                db.execute(begin)
                db.execute("CREATE TABLE other(a)")
                for command in commands:
                    with self.subTest(begin=begin, command=command):
                        done = self.run_it(5, command, "--wait", "1s")
                        self.assertRegex(done.stderr, "is in use by another program for longer than 1 s\nhint: .*fuser")
                db.execute("ROLLBACK")
            self.run_it(0, "up", "--to", 1)
        self.run_it(0, "up")
        self.assertEqual(self.ledger(), [1, 2, 3])

    def test_read_is_not_disturbed_by_a_writer(self):
        self.put_three()
        self.run_it(0, "up", "--to", 1)
        with contextlib.closing(sqlite3.connect(self.db, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            self.run_it(0, "status")
            self.run_it(0, "plan")
            process = self.start_waiting("up")
            db.execute("ROLLBACK")
            process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 0)

    def test_interrupted_while_the_database_is_busy(self):
        self.put_three()
        self.run_it(0, "up", "--to", 1)
        with contextlib.closing(sqlite3.connect(self.db, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            process = self.start_waiting("up")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)  # the database waits for longer
            db.execute("ROLLBACK")
        self.assertEqual(process.returncode, 130)
        self.assertIn("'02-B.sql' is rolled back", err)
        self.assertEqual(self.ledger(), [1])


@on_each_database
class ManyAtOnce(Case):
    def test_eight(self):
        for n in range(1, 21):
            self.put(f"{n:02d}-X.sql", f"CREATE TABLE x{n:02d}(a int);\nINSERT INTO x{n:02d} VALUES({n});")
        for _ in range(ROUNDS):
            self.ground.reset()
            processes = [self.start("up") for _ in range(8)]
            results = [process.communicate(timeout=DEADLINE_S) for process in processes]
            self.assertEqual([process.returncode for process in processes], [0] * 8, results)
            applied = re.findall(r"^applied (\d+)", "".join(out for out, _ in results), re.MULTILINE)
            self.assertEqual(sorted(applied), [f"{n:02d}" for n in range(1, 21)])
            self.assertEqual("".join(err for _, err in results), "")
            self.assertEqual((len(self.tables()), len(self.ledger())), (20, 20))
            self.assertEqual(self.rows("SELECT count(*) FROM x07"), [(1,)])


@on_each_database
class Crashes(Case):
    def check_whole(self):
        """Each script ran as a whole, with its row, or not at all."""
        self.ground.wait_until_free()
        self.ground.check()
        ledger = self.ledger()
        self.assertEqual(ledger, list(range(1, len(ledger) + 1)))
        for n in ledger:
            self.assertEqual(self.rows(f"SELECT count(*) FROM y{n:02d}"), [(400,)])
        self.assertEqual(len(self.tables()), 2 * len(ledger))
        return len(ledger)

    def test_kill_at_any_moment(self):
        for n in range(1, 13):
            value = self.on("hex(randomblob(150))", "repeat(md5(random()::text), 10)")
            inserts = "".join(f"INSERT INTO x{n:02d} VALUES({i}, {value});\n" for i in range(400))
            self.put(f"{n:02d}-X.sql", f"CREATE TABLE x{n:02d}(a int, b text);\nCREATE TABLE y{n:02d}(a int, b text);\n"
                                       f"{inserts}INSERT INTO y{n:02d} SELECT * FROM x{n:02d};\n")
        begin = time.monotonic()
        self.run_it(0, "up")
        whole = time.monotonic() - begin
        kills = 0
        while kills < KILLS:
            self.ground.reset()
            self.ground.make()
            done = 0
            while done < 12 and kills < KILLS:
                process = self.start("up")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(random.uniform(0, whole / 2))
                process.kill()
                process.communicate()
                kills += process.returncode == -signal.SIGKILL
                now = self.check_whole()
                self.assertGreaterEqual(now, done)
                done = now
        self.run_it(0, "up")
        self.assertEqual(self.check_whole(), 12)
        self.run_it(0, "verify", "--strict")

    def test_interrupted_in_a_script(self):
        self.put("01-A.sql", T1)
        self.put("02-B.sql", T2 + self.ground.seconds + T3)
        for number, code, words in ((signal.SIGINT, 130, []), (signal.SIGTERM, 143, []),
                                    (signal.SIGINT, 130, ["--json"]), (signal.SIGTERM, 143, ["--json"])):
            with self.subTest(code=code, words=words):
                self.ground.reset()
                process = self.start("up", *words)
                limit = time.monotonic() + DEADLINE_S
                while not self.ledger() and time.monotonic() < limit:
                    pass
                process.send_signal(number)  # between the two scripts, or in the second one
                out, err = process.communicate(timeout=DEADLINE_S)
                self.assertEqual(process.returncode, code, (out, err))
                self.assertRegex(err, "'02-B.sql' (is rolled back|did not begin)|1 of 2 scripts are applied")
                self.check_stderr(err)
                self.assertEqual((self.tables(), self.ledger()), (["t1"], [1]))
                if words:
                    document = json.loads(out)
                    self.assertEqual((document["code"], len(document["applied"])), (code, 1))
        self.put("02-B.sql", T2)
        self.run_it(0, "up")

    def test_ignored_signals_stay_ignored(self):
        self.put("01-A.sql", T1 + self.ground.seconds.replace("3000000000", "3000000").replace("100", "1"))
        process = self.start("up", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        sent, limit = 0, time.monotonic() + DEADLINE_S
        while process.poll() is None and time.monotonic() < limit:
            process.send_signal(signal.SIGINT)
            sent += 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.communicate(timeout=DEADLINE_S)
        self.assertGreater(sent, 1)
        self.assertEqual((process.returncode, self.ledger()), (0, [1]))


@on_each_database
class Large(Case):
    def test_ten_thousand(self):
        """Nothing to do is nothing special; the bound is for what is not linear, not for speed."""
        self.put("00001-X.sql", "CREATE TABLE t(a int);\n")
        self.run_it(0, "up")
        rows = []
        for n in range(2, 10001):
            text = f"INSERT INTO t VALUES({n});\n".encode()
            self.put(f"{n:05d}-X.sql", text)
            rows.append(f"({n}, 'X', '{hashlib.sha256(text).hexdigest()}', '-', 1, 'me@here', '0')")
        self.ground.run("INSERT INTO migrations(num, name, sha256, canonical_sha256, duration_ms, applied_by, "
                        f"tool_version) VALUES {', '.join(rows)}")
        for words in (["up"], ["verify"], ["status", "--check"], ["plan", "--json"]):
            begin = time.monotonic()
            self.run_it(0, *words)
            self.assertLess(time.monotonic() - begin, 5)
        self.put("07000-X.sql", "DELETE FROM t;\n")
        self.assertIn("07000-X.sql", self.run_it(3, "up").stderr)
        for n in range(2, 10001):
            self.put(f"{n:05d}-X.sql", "SELECT 1;")
        begin = time.monotonic()
        self.run_it(3, "up")
        self.assertLess(time.monotonic() - begin, 10)


if __name__ == "__main__":
    run_module(__name__)
