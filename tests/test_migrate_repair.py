#!/usr/bin/python3
"""mer-migrate beside `up`: scripts outside a transaction and what a crash leaves of them, baseline, repair,
new, and what a terminal shows. On SQLite and on Postgres. Prints TAP when run as a program."""
import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

from migrate_case import DEADLINE_S, PROGRAM, T1, T2, T3, Case, as_nobody, on_each_database, run_module

ALONE = "-- mer: no-transaction\n"


@on_each_database
class NoTransaction(Case):
    def statement(self, name="i"):
        """One that the database runs in no transaction, or one like any other."""
        return self.on(f"CREATE INDEX {name} ON t1(a);", f"CREATE INDEX CONCURRENTLY {name} ON t1(a);")

    def test_runs_outside(self):
        self.put("01-A.sql", T1)
        self.put("02-B.sql", ALONE + "VACUUM;\n")
        self.put("03-C.sql", ALONE + self.statement())
        self.put("04-D.sql", T2)
        done = self.run_it(0, "up")
        self.assertEqual(re.findall(r"^applied (\S+)", done.stdout, re.MULTILINE),
                         ["01-A.sql", "02-B.sql", "03-C.sql", "04-D.sql"])
        self.assertEqual(set(self.states().values()), {"applied"})
        self.assertIn("i", self.ground.names("index"))
        self.run_it(0, "verify", "--strict")
        self.run_it(0, "status", "--check")

    def test_first_of_all(self):
        self.put("01-A.sql", ALONE + T1)
        self.run_it(0, "up")
        self.assertEqual((self.tables(), self.ledger()), (["t1"], [1]))

    def test_exactly_one_statement(self):
        self.put("01-A.sql", T1)
        for text, place in ((ALONE + T2 + T3, "3:1"), (ALONE, "1:1"), (ALONE + "-- nothing\n;;", "1:1"),
                            (ALONE + "BEGIN;", "2:1"), (ALONE + "COMMIT", "2:1"),
                            ("-- mer: no-transacton\n" + T2, "1:1"),
                            ("-- mer: no-transaction please\n" + T2, "1:1")):
            with self.subTest(text=text):
                self.put("02-B.sql", text)
                done = self.run_it(2, "up")
                self.assertIn(f"02-B.sql:{place}: ", done.stderr)
                self.assertEqual(self.ledger(), [])
        self.put("02-B.sql", ALONE + "CREATE TABLE t2(a int);; -- ; x\n;")
        self.run_it(0, "up")

    def test_what_needs_it_is_told(self):
        self.put("01-A.sql", T1)
        self.put("02-B.sql", self.on("VACUUM;", self.statement()))
        done = self.run_it(self.on(2, 1), "up")
        self.assertIn("-- mer: no-transaction", done.stderr)

    def test_failure_that_left_nothing(self):
        self.put("01-A.sql", ALONE + self.on("CREATE INDEX i ON nosuch(a);",
                                             "CREATE INDEX CONCURRENTLY i ON nosuch(a);"))
        done = self.run_it(1, "up")
        self.assertIn("01-A.sql:2:" if self.ground.name == "sqlite" else "01-A.sql", done.stderr)
        self.assertIn("nosuch", done.stderr)
        self.assertEqual(self.ledger(), [])
        self.put("01-A.sql", ALONE + T1)
        self.run_it(0, "up")

    def test_half_done_is_named_and_settled(self):
        self.put("01-A.sql", T1)
        self.put("02-B.sql", ALONE + T2)
        self.run_it(0, "up")
        self.put("03-C.sql", T3)
        for how, state, tables in (("--accept-edit", "applied", ["t1", "t2"]), ("--forget", "pending", ["t1"])):
            with self.subTest(how=how):
                self.ground.run("UPDATE migrations SET state = 'started' WHERE num = 2; DROP TABLE t2;"
                                if how == "--forget" else "UPDATE migrations SET state = 'started' WHERE num = 2;")
                before = self.content()
                for words in (["up"], ["plan"], ["verify"], ["status", "--check"], ["repair"]):
                    done = self.run_it(3, *words)
                    self.assertIn("02-B.sql", done.stderr)
                    self.assertIn("hint: ", done.stderr)
                self.assertEqual(self.states()[2], "half-done")
                self.assertEqual(self.content(), before)
                done = self.run_it(0, "repair", how, 2)
                self.assertRegex(done.stdout, r"\A(accepted|forgot) 02-B\.sql \(half-done\)\n\Z")
                self.assertEqual((self.states()[2], self.tables()), (state, tables))
        self.run_it(0, "up")
        self.assertEqual((self.tables(), self.ledger()), (["t1", "t2", "t3"], [1, 2, 3]))

    def wait_for_row(self):
        limit = time.monotonic() + DEADLINE_S
        while time.monotonic() < limit and not self.ledger()[1:]:
            pass
        self.assertEqual(self.rows("SELECT state FROM migrations WHERE num = 2"), [("started",)])

    def test_kill_9(self):
        self.put("01-A.sql", T1)
        self.put("02-B.sql", ALONE + self.ground.seconds)
        process = self.start("up")
        self.wait_for_row()
        process.kill()
        process.communicate()
        if self.ground.name == "postgres":
            self.ground.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' "
                            "AND pid <> pg_backend_pid()")
        done = self.run_it(3, "up")
        self.assertIn("'02-B.sql' began at ", done.stderr)
        self.run_it(0, "repair", "--forget", "2")
        self.put("02-B.sql", T2)
        self.run_it(0, "up")

    def test_interrupted(self):
        self.put("01-A.sql", T1)
        self.put("02-B.sql", ALONE + self.ground.seconds)
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            self.ground.reset()
            process = self.start("up")
            self.wait_for_row()
            process.send_signal(number)
            _, err = process.communicate(timeout=DEADLINE_S)
            self.assertEqual(process.returncode, code, err)
            self.assertIn(self.on("'02-B.sql' is rolled back", "'02-B.sql' is half done"), err)
            self.run_it(self.on(6, 3), "status", "--check")


@on_each_database
class Baseline(Case):
    def setUp(self):
        super().setUp()
        self.put_three()
        self.ground.make()

    def test_records_without_running(self):
        self.ground.run(T1 + T2)
        done = self.run_it(0, "baseline", 2)
        self.assertEqual(done.stdout, "recorded 01-A.sql\nrecorded 02-B.sql\n"
                                      "2 scripts recorded as applied, none was run\n")
        self.assertEqual(self.states(), {1: "applied", 2: "applied", 3: "pending"})
        self.run_it(0, "verify", "--strict")
        self.run_it(0, "up")
        self.assertEqual((self.tables(), self.ledger()), (["t1", "t2", "t3"], [1, 2, 3]))
        row = json.loads(self.run_it(0, "status", "--json").stdout)[0]
        self.assertEqual(row["duration_ms"], 0)
        self.assertRegex(row["applied_by"], r"\A[^@]+@[^@]+\Z")

    def test_only_on_an_empty_ledger(self):
        self.run_it(0, "up", "--to", 1)
        before = self.content()
        done = self.run_it(3, "baseline", 2)
        self.assertIn("the ledger has 1 script already", done.stderr)
        self.assertEqual(self.content(), before)
        (self.dir / "01-A.sql").unlink()
        self.run_it(0, "repair", "--forget", 1)  # the table is there, and empty
        self.put("01-A.sql", T1)
        self.run_it(0, "baseline", 1)
        self.assertEqual(self.ledger(), [1])

    def test_what_would_not_run_is_recorded_too(self):
        self.put("02-B.sql", "BEGIN;\n" + T2 + "COMMIT;\n")
        self.run_it(0, "baseline", 2)
        self.run_it(0, "verify", "--strict")
        self.assertEqual(self.ledger(), [1, 2])

    def test_refused(self):
        for number, code, why in ((0, 2, "numbers from 1"), ("x", 2, "not a whole number")):
            self.assertIn(why, self.run_it(code, "baseline", number).stderr)
        self.put("02-B.sql", b"\xff")
        self.assertIn("02-B.sql", self.run_it(2, "baseline", 2).stderr)
        self.put("002-Bb.sql", T2)
        self.assertIn("same number", self.run_it(3, "baseline", 2).stderr)
        for path in self.dir.iterdir():
            path.unlink()
        self.assertIn("no script up to 5", self.run_it(2, "baseline", 5).stderr)
        self.assertEqual(self.ledger(), [])

    def test_json_and_quiet(self):
        self.assertEqual(self.run_it(0, "baseline", 1, "--quiet").stdout, "")
        self.ground.reset()
        self.ground.make()
        document = json.loads(self.run_it(0, "baseline", 999, "--json").stdout)
        self.assertEqual(document["code"], 0)
        self.assertEqual([(row["num"], row["name"], row["file"]) for row in document["recorded"]],
                         [(1, "A", "01-A.sql"), (2, "B", "02-B.sql"), (3, "C", "03-C.sql")])
        document = json.loads(self.run_it(3, "baseline", 3, "--json").stdout)
        self.assertEqual((document["code"], "recorded" in document), (3, False))

    def test_waits_for_the_lock(self):
        with self.ground.held():
            self.run_it(5, "baseline", 1, "--wait", "0")


class BaselineOfSqlite(Case):
    def test_a_missing_database_is_not_made(self):
        self.put("01-A.sql", T1)
        for words in (["baseline", 1], ["repair", "--forget", 1]):
            self.run_it(4, *words)
        self.assertFalse(self.db.exists())


@on_each_database
class Repair(Case):
    def setUp(self):
        super().setUp()
        self.put_three()
        self.run_it(0, "up")

    def test_nothing_to_repair(self):
        done = self.run_it(0, "repair")
        self.assertEqual((done.stdout, done.stderr), ("nothing to repair\n", ""))

    def test_named_without_a_number_changes_nothing(self):
        self.put("02-B.sql", "CREATE TABLE t2(a int, b int);\n")
        (self.dir / "03-C.sql").unlink()
        before = self.content()
        done = self.run_it(3, "repair")
        self.assertEqual([line.split("\t")[:2] for line in done.stdout.splitlines()],
                         [["02-B.sql", "edited"], ["03-C.sql", "missing"]])
        self.assertIn("hint: mer-migrate repair --accept-edit N, or --forget N", done.stderr)
        self.assertEqual(self.content(), before)

    def test_accept_edit(self):
        self.put("02-B.sql", "CREATE TABLE t2(a int, b int);\n")
        done = self.run_it(0, "repair", "--accept-edit", 2)
        self.assertEqual(done.stdout, "accepted 02-B.sql (edited)\n")
        for command in ("up", "verify"):
            self.run_it(0, command, "--strict")
        self.assertEqual(self.states()[2], "applied")

    def test_accept_what_is_cosmetic_or_renamed(self):
        self.put("01-A.sql", "-- why\n" + T1)
        (self.dir / "02-B.sql").rename(self.dir / "02-Better.sql")
        done = self.run_it(0, "repair", "--accept-edit", 1, "--accept-edit", 2)
        self.assertEqual(done.stdout, "accepted 01-A.sql (cosmetic)\naccepted 02-Better.sql (renamed)\n")
        done = self.run_it(0, "up", "--strict")
        self.assertEqual(done.stderr, "")
        self.assertEqual(self.rows("SELECT name FROM migrations WHERE num = 2"), [("Better",)])

    def test_forget_what_is_missing(self):
        (self.dir / "02-B.sql").unlink()
        done = self.run_it(0, "repair", "--forget", 2)
        self.assertEqual(done.stdout, "forgot 02-B.sql (missing)\n")
        self.assertEqual(self.ledger(), [1, 3])
        self.run_it(0, "verify", "--strict")

    def test_forget_the_last_that_was_edited(self):
        self.put("03-C.sql", "CREATE TABLE t4(a int);\n")
        self.run_it(0, "repair", "--forget", 3)
        self.run_it(0, "up")
        self.assertEqual((self.tables(), self.ledger()), (["t1", "t2", "t3", "t4"], [1, 2, 3]))

    def test_several_at_once_or_none(self):
        self.put("01-A.sql", "SELECT 1;")
        (self.dir / "02-B.sql").unlink()
        before = self.content()
        self.run_it(2, "repair", "--accept-edit", 1, "--forget", 2, "--forget", 3)
        self.assertEqual(self.content(), before)
        done = self.run_it(0, "repair", "--forget", 2, "--accept-edit", 1)
        self.assertEqual(done.stdout, "accepted 01-A.sql (edited)\nforgot 02-B.sql (missing)\n")
        self.run_it(0, "verify", "--strict")

    def test_nothing_is_invented(self):
        self.put("04-D.sql", "CREATE TABLE t4(a int);\n")
        self.put("02-B.sql", "CREATE TABLE t2(a int, b int);\n")
        before = self.content()
        for words, why in ((["--accept-edit", 1], "as it ran"), (["--forget", 1], "as it ran"),
                           (["--accept-edit", 4], "has not run"), (["--forget", 4], "has not run"),
                           (["--forget", 9], "no script 9"), (["--forget", 2], "has run after it"),
                           (["--accept-edit", 2, "--forget", 2], "both accepted and forgotten")):
            with self.subTest(words=words):
                self.assertIn(why, self.run_it(2, "repair", *words).stderr)
        (self.dir / "02-B.sql").unlink()
        self.assertIn("is missing", self.run_it(2, "repair", "--accept-edit", 2).stderr)
        self.assertEqual(self.content(), before)

    def test_others_are_left_as_they_are(self):
        self.put("01-A.sql", "SELECT 1;")
        self.put("02-B.sql", "SELECT 2;")
        self.run_it(0, "repair", "--accept-edit", 1)
        self.assertEqual(self.states(), {1: "applied", 2: "edited", 3: "applied"})
        self.run_it(3, "up")

    def test_operators_scripts_need_their_folder(self):
        own = self.top / "own"
        own.mkdir()
        self.put("1000-X.sql", "CREATE TABLE x(a int);", own)
        self.run_it(0, "up", "--dir", own)
        self.put("1000-X.sql", "CREATE TABLE x(a int, b int);", own)
        done = self.run_plain(2, "repair", "--accept-edit", 1000, "--database", self.ground.url)
        self.assertIn("--dir", done.stderr)
        self.run_it(0, "repair", "--accept-edit", 1000, "--dir", own)

    def test_json(self):
        self.put("01-A.sql", "SELECT 1;")
        (self.dir / "03-C.sql").unlink()
        document = json.loads(self.run_it(3, "repair", "--json").stdout)
        self.assertEqual([row["num"] for row in document["scripts"]], [1, 3])
        document = json.loads(self.run_it(0, "repair", "--accept-edit", 1, "--forget", 3, "--json").stdout)
        self.assertEqual([(row["num"], row["state"], row["action"]) for row in document["repaired"]],
                         [(1, "edited", "accept"), (3, "missing", "forget")])
        self.assertEqual(document["code"], 0)

    def test_waits_for_the_lock(self):
        self.put("01-A.sql", "SELECT 1;")
        with self.ground.held():
            self.run_it(5, "repair", "--accept-edit", 1, "--wait", "0")
            self.run_it(3, "repair", "--wait", "0")  # it only looks


class New(Case):
    def new(self, code, *words, **options):
        """No database is asked."""
        words = ["new", *words, "--database", "sqlite:/no/such/place/x.db"]
        return self.run_plain(code, *words, **options)

    def make(self, *names):
        for name in names:
            (self.top / name).mkdir(parents=True)

    def files(self, folder):
        return sorted(path.name for path in (self.top / folder).iterdir())

    def test_every_dialect(self):
        self.make("all/sqlite", "all/postgres", "all/other")
        self.put("01-A.sql", T1, self.top / "all/sqlite")
        self.put("02-B.sql", T1, self.top / "all/postgres")
        for given in ("all", "all/sqlite", "all/postgres", "all/sqlite/."):
            with self.subTest(given=given):
                done = self.new(0, "Next_one-2", "--dir", self.top / given)
                written = [Path(line) for line in done.stdout.splitlines()]
                self.assertEqual(sorted(path.parent.name for path in written), ["postgres", "sqlite"])
                self.assertEqual({path.name for path in written}, {"03-Next_one-2.sql"})
                for path in written:
                    path.unlink()
        self.assertEqual(self.files("all/other"), [])
        both = ("--dir", self.top / "all/sqlite", "--dir", self.top / "all/postgres")
        self.assertEqual(len(self.new(0, "C", *both).stdout.splitlines()), 2)

    def test_installed_folders(self):
        """Those of the program itself, wherever it was moved to."""
        prefix = Path(os.environ["MER_PREFIX"])
        sql = next(prefix.glob("**/sql/sqlite")).parent
        moved = self.top / "moved"
        (moved / "bin").mkdir(parents=True)
        shutil.copy(PROGRAM, moved / "bin")
        shutil.copytree(sql, moved / sql.relative_to(prefix))
        last = max(path.name for path in (sql / "sqlite").glob("*.sql"))
        done = self.call([moved / "bin" / "mer-migrate", "new", "Next"])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        written = [Path(line) for line in done.stdout.splitlines()]
        self.assertEqual({path.name for path in written}, {f"{int(last[:2]) + 1:02d}-Next.sql"})
        dialects = {path.name for path in sql.iterdir() if path.is_dir()}
        self.assertEqual({path.parent.name for path in written}, dialects)

    def test_one_folder(self):
        self.put("01-A.sql", T1)
        self.put("0099-B.sql", T1)
        self.assertEqual(self.new(0, "C", "--dir", self.dir).stdout, f"{self.dir}/0100-C.sql\n")
        self.assertEqual(self.new(0, "C", "--dir", self.dir).stdout, f"{self.dir}/0101-C.sql\n")

    def test_operators_begin_at_1000(self):
        self.assertEqual(self.new(0, "Own", "--dir", self.dir).stdout, f"{self.dir}/1000-Own.sql\n")
        self.assertEqual(self.new(0, "Own", "--dir", self.dir).stdout, f"{self.dir}/1001-Own.sql\n")
        for path in self.dir.iterdir():
            path.unlink()
        self.put("999-A.sql", T1)
        self.assertEqual(self.new(0, "Own", "--dir", self.dir).stdout, f"{self.dir}/1000-Own.sql\n")

    def test_what_is_written_runs_when_it_is_filled_in(self):
        self.new(0, "Own", "--dir", self.dir)
        self.assertIn("1000-Own.sql:1:1: a script without a statement", self.run_it(2, "up").stderr)
        self.assertEqual(self.ledger(), [])
        with open(self.dir / "1000-Own.sql", "a", encoding="utf-8") as script:
            script.write(T1)
        self.run_it(0, "up")
        self.assertEqual((self.tables(), self.ledger()), (["t1"], [1000]))

    def test_refused(self):
        self.make("all/sqlite", "all/postgres", "more/sqlite")
        for name in ("a b", "a/b", "", "ä", "a.b", "../x"):
            with self.subTest(name=name):
                self.new(2, name, "--dir", self.dir)
        self.assertIn("different scripts", self.new(2, "C", "--dir", self.top / "all", "--dir", self.dir).stderr)
        self.new(2, "C", "--dir", self.top / "all/sqlite", "--dir", self.top / "more/sqlite")
        self.new(2, "C", "--dir", self.top / "none")
        self.put("bad.sql", T1)
        self.assertIn("bad.sql", self.new(2, "C", "--dir", self.dir).stderr)
        (self.dir / "bad.sql").unlink()
        self.put("9223372036854775807-Z.sql", T1)
        self.new(2, "C", "--dir", self.dir)
        self.assertEqual((self.files("all/sqlite"), self.files("more/sqlite")), ([], []))

    def test_all_or_none(self):
        self.make("all/sqlite", "all/postgres")
        user = as_nobody(self)
        (self.top / "all/postgres").chmod(0o555)
        (self.top / "all/sqlite").chmod(0o777)
        self.new(2, "C", "--dir", self.top / "all", **user)
        self.assertEqual((self.files("all/sqlite"), self.files("all/postgres")), ([], []))

    def test_json(self):
        document = json.loads(self.new(0, "C", "--dir", self.dir, "--json").stdout)
        self.assertEqual(document, {"written": [{"num": 1000, "name": "C", "file": f"{self.dir}/1000-C.sql"}],
                                    "code": 0})
        self.assertEqual(self.new(0, "C", "--dir", self.dir, "--quiet").stdout, "")


@on_each_database
class Terminal(Case):
    def watch(self, *words, until, **settings):
        """What a terminal gets until it has shown a pattern; and the process, which goes on."""
        mother, child = pty.openpty()
        self.addCleanup(os.close, mother)
        process = subprocess.Popen(self.argv(words), env=self.environment({"TERM": "xterm", **settings}),
                                   stdin=subprocess.DEVNULL, stdout=child, stderr=child, start_new_session=True)
        os.close(child)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        seen = b""
        limit = time.monotonic() + DEADLINE_S
        while not re.search(until, seen) and time.monotonic() < limit:
            if select.select([mother], [], [], 1)[0]:
                try:
                    seen += os.read(mother, 65536)
                except OSError:
                    break
        self.assertRegex(seen, until)
        return process, seen, mother

    def rest(self, mother):
        seen = b""
        with contextlib.suppress(OSError):
            while piece := os.read(mother, 65536):
                seen += piece
        return seen

    def test_long_script_is_shown(self):
        self.put("01-A.sql", T1)
        self.put("02-B.sql", T2 + self.ground.seconds)
        process, seen, mother = self.watch("up", until=rb"\rapplying 02-B\.sql \(2 of 2\), 2 s\x1b\[K")
        self.assertIn(b"applied 01-A.sql (", seen)
        self.assertNotIn(b"applying 01-A.sql", seen)
        process.send_signal(signal.SIGINT)
        seen = self.rest(mother)
        self.assertEqual(process.wait(), 130)
        self.assertRegex(seen, rb"\r\x1b\[Kmer-migrate: interrupted by SIGINT: '02-B\.sql' is rolled back\r\n\Z")

    def test_waiting_is_shown(self):
        self.put("01-A.sql", T1)
        self.ground.make()
        with self.ground.held():
            process, _, mother = self.watch("up", until=rb"\rwaiting for another mer-migrate, 1 s\x1b\[K")
        seen = self.rest(mother)
        self.assertEqual(process.wait(), 0)
        self.assertIn(b"\r\x1b[Kapplied 01-A.sql (", seen)

    def test_not_where_it_cannot_be(self):
        self.put("01-A.sql", T1)
        self.ground.make()
        for words, settings in ((["up"], {"TERM": "dumb"}), (["up", "--quiet"], {}), (["up", "--json"], {})):
            with self.ground.held():
                _, seen, _ = self.watch(*words, "--wait", "1500ms", until=rb"another process migrates", **settings)
            self.assertNotIn(b"\x1b", seen)
            self.assertNotIn(b"waiting", seen)


if __name__ == "__main__":
    run_module(__name__)
