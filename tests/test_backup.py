#!/usr/bin/python3
"""db backup, db restore and db check: a backup is whole or not there, a restored database answers as the one that was
backed up, and whatever kills one leaves the database as it was before or as it is after. Its argument is the library
kill_at. MER_PREFIX names the installation. Prints TAP when run as a program."""
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import unittest
from pathlib import Path

from migrate_case import preloadable
from record_case import DEADLINE_S, MER, MIGRATE, SANITIZED, OnPostgres, OnSqlite, main

KILL_AT = preloadable(sys.argv.pop(1)) if len(sys.argv) > 1 and sys.argv[1].endswith(".so") else None
RUN = "01980000-0000-7000-8000-00000000%04x"


def row(number, **changes):
    values = {"request_uid": RUN % number, "model": "iris", "door": "batch", "who": "w", "host": "h", "pid": 7,
              "status": "ok", "queued_at": "2026-01-01T00:00:00.000Z", "stopped_at": "2026-01-01T00:00:01.000Z"} | changes
    return (f"INSERT INTO model_access ({', '.join(values)}) VALUES ("
            + ", ".join("NULL" if v is None else str(v) if isinstance(v, int) else f"'{v}'" for v in values.values())
            + ")")


class Files(OnSqlite, unittest.TestCase):
    """All of this is of databases in a file."""

    def setUp(self):
        super().setUp()
        self.database = self.folder / "mer.db"
        self.backup_file = self.folder / "b.db"

    def backup(self, *options, code=0, file=None):
        out, err = self.call(code, "db", "backup", "--json", *options, file or self.backup_file)
        answer = json.loads(out)
        if code == 0:
            self.assertEqual("", err)
            content = Path(self.folder, file or self.backup_file).read_bytes()
            self.assertEqual((len(content), hashlib.sha256(content).hexdigest()), (answer["bytes"], answer["sha256"]))
        else:
            self.assertEqual(code, answer["code"])
        return answer

    def restore(self, file=None, code=0, **options):
        out, err = self.call(code, "--allow-changes", "db", "restore", "--json", file or self.backup_file, **options)
        answer = json.loads(out)
        if code:
            self.assertEqual(code, answer["code"])
            return answer["error"], answer["hint"]
        self.assertEqual("", err)
        return answer

    def content(self, path=None):
        """What is in all tables of a file that is as it should be."""
        db = sqlite3.connect(path or self.database, timeout=DEADLINE_S)
        try:
            self.assertEqual([("ok",)], db.execute("PRAGMA integrity_check").fetchall())
            tables = [name for name, in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")]
            return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables
                    if table != "owners"}
        finally:
            db.close()

    def parts(self):
        return [name for name in os.listdir(self.folder) if name.startswith(".mer-part-")]

    def kept(self):
        return sorted(path for path in self.folder.glob("mer.db.before-restore-*") if path.name[-1] == "Z")

    def grow(self, rows=200, first=0):
        for number in range(first, first + rows):
            self.sql(row(number, stderr_tail="x" * 900))

    def answers(self):
        """What queries tell."""
        return [self.out(*words) for words in (("log", "--json", "--limit", "10000"), ("model", "list", "--json"),
                                               ("stats", "--json"), ("export",), ("weights", "list", "iris"))]

    # --- backup -----------------------------------------------------------------------------

    def test_there_and_back(self):
        self.grow(50)
        self.out("run", "digest", "x")
        before, answers = self.content(), self.answers()
        told = self.backup()
        self.assertEqual(0o600, self.backup_file.stat().st_mode & 0o777)
        self.assertEqual(before, self.content(self.backup_file))
        self.assertEqual([(told["schema"],)], self.sql("SELECT max(num) FROM migrations"))
        self.change("model", "remove", "iris")
        self.out("run", "digest", "y")
        changed = self.content()
        done = self.restore()
        self.assertEqual((told["sha256"], told["schema"]), (done["sha256"], done["schema"]))
        self.assertEqual(before, self.content())
        self.assertEqual(answers, self.answers())
        self.assertEqual([Path(done["kept"])], self.kept())
        self.assertEqual(changed, self.content(done["kept"]))
        self.assertEqual(0o600, Path(done["kept"]).stat().st_mode & 0o777)
        db = sqlite3.connect(self.database)
        self.assertEqual([("wal",)], db.execute("PRAGMA journal_mode").fetchall())
        db.close()
        self.assertEqual(b"setosa", self.out("run", "iris", "5.1,3.5,1.4,0.2").strip())
        self.assertEqual([], self.parts())

    def test_it_is_one_file_that_mer_can_use(self):
        """Also where nothing may be written beside it."""
        self.grow(3)
        self.backup()
        alone = self.folder / "alone"
        alone.mkdir()
        shutil.copy(self.backup_file, alone)
        log = self.out("--database", f"sqlite:{alone / 'b.db'}", "log", "--json")
        self.assertEqual(self.out("log", "--json"), log)

    def test_one_that_is_there(self):
        self.backup()
        before = self.backup_file.read_bytes()
        self.grow(3)
        self.backup(code=4)
        self.assertIn("--force", self.call(4, "db", "backup", self.backup_file)[1])
        self.assertEqual(before, self.backup_file.read_bytes())
        self.backup("--force")
        self.assertEqual(3, len(self.content(self.backup_file)["model_access"]))

    def test_places(self):
        (self.folder / "folder").mkdir()
        for place, code in (("folder", 2), ("nowhere/b.db", 2), ("folder/", 2), ("mer.db", 2), ("/dev/null", 2)):
            with self.subTest(place):
                before = self.content()
                self.backup("--force", code=code, file=place)
                self.assertEqual(before, self.content())
        self.call(2, "db", "backup", "")
        os.symlink(self.database, self.folder / "link.db")
        self.backup("--force", code=2, file="link.db")

    def test_a_link_to_the_database(self):
        os.symlink(self.database, self.folder / "link.db")
        self.grow(2)
        link = {"MER_DATABASE_URL": f"sqlite:{self.folder / 'link.db'}"}
        self.backup()
        self.grow(2, 10)
        done = self.restore(env=link)
        self.assertTrue((self.folder / "link.db").is_symlink())
        self.assertEqual(2, len(self.content()["model_access"]))
        self.assertTrue(done["kept"].startswith(str(self.database.resolve())))

    def test_others_write_meanwhile(self):
        """Each backup has all that was committed before it began, as at one moment; and nobody waits."""
        self.grow(300)
        stop, done, failed = threading.Event(), [0], []

        def write():
            db = sqlite3.connect(self.database, isolation_level=None, timeout=DEADLINE_S)
            try:
                while not stop.is_set():
                    db.execute("BEGIN IMMEDIATE")  # two rows that belong together
                    for half in range(2):
                        db.execute(row(10000 + 2 * done[0] + half, stderr_tail="y" * 500))
                    db.execute("COMMIT")
                    done[0] += 1
            except sqlite3.Error as error:
                failed.append(error)
            finally:
                db.close()
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(10):
                least = done[0]
                self.backup("--force")
                found = [uid for uid, *_ in self.content(self.backup_file)["model_access"] if uid >= RUN % 10000]
                self.assertEqual(0, len(found) % 2)
                self.assertGreaterEqual(len(found), 2 * least)
                self.assertEqual([RUN % (10000 + n) for n in range(len(found))], found)
        finally:
            stop.set()
            writer.join()
        self.assertEqual([], failed)

    def test_runs_go_on_meanwhile(self):
        mer = self.start("run", "--lines", "moments", stdin=subprocess.PIPE)
        mer.stdin.write(b"1 2\n")
        mer.stdin.flush()
        self.assertIn(b"mean", mer.stdout.readline())
        self.backup()
        mer.stdin.write(b"3 4\n")
        mer.stdin.close()
        self.assertIn(b"mean", mer.stdout.readline())
        self.assertEqual(0, mer.wait(DEADLINE_S))
        self.assertGreaterEqual(len(self.content(self.backup_file)["model_access"]), 1)
        self.restore()
        self.assertNotIn("running", {run["status"] for run in self.log()})  # nobody is at it any more

    def test_what_is_no_database_of_mer(self):
        other = self.folder / "other.db"
        db = sqlite3.connect(other)
        db.execute("CREATE TABLE t (x)")
        db.commit()
        db.close()
        for url, code in ((f"sqlite:{other}", 5), ("sqlite:nothing.db", 5), ("postgres://u@127.0.0.1:1/x", 2), ("oracle:x", 2)):
            with self.subTest(url):
                self.call(code, "--database", url, "db", "backup", "out.db")
                self.assertFalse((self.folder / "out.db").exists())
        self.assertIn("pg_dump", self.call(2, "--database", "postgres://u@127.0.0.1:1/x", "db", "backup", "o")[1])

    def test_before_an_upgrade(self):
        """What this mer cannot use yet can be backed up, and put back."""
        old = f"sqlite:{self.folder / 'old.db'}"
        self.call(0, "--quiet", "up", "--to", "9", "--database", old, program=MIGRATE)
        env = {"MER_DATABASE_URL": old}
        self.call(5, "log", env=env)
        self.assertEqual(9, json.loads(self.out("db", "backup", "--json", "old-b.db", env=env))["schema"])
        self.call(0, "--quiet", "up", env=env, program=MIGRATE)
        out, err = self.call(0, "--allow-changes", "db", "restore", "--json", "old-b.db", env=env)
        self.assertEqual(9, json.loads(out)["schema"])
        self.assertIn("mer-migrate up", err)
        self.call(0, "--quiet", "up", env=env, program=MIGRATE)
        self.call(0, "log", env=env)

    # --- restore ----------------------------------------------------------------------------

    def test_needs_permission(self):
        self.backup()
        self.assertIn("--allow-changes", self.call(4, "db", "restore", self.backup_file)[1])

    def test_wrong_files(self):
        self.backup()
        before = self.content()
        good = self.backup_file.read_bytes()
        middle = len(good) // 2 // 4096 * 4096
        self.file("text", "no database " * 1000)
        self.file("empty", "")
        self.file("cut", good[:middle])
        self.file("garbled", good[:middle] + b"\xff" * 8192 + good[middle + 8192:])
        (self.folder / "folder").mkdir()
        for name, code, what in (("text", 2, "no SQLite database"), ("empty", 2, "empty"), ("cut", 5, "corrupt"),
                                 ("garbled", 5, "corrupt"), ("nothing", 2, "No such file"), ("folder", 2, "folder"),
                                 ("mer.db", 2, "database itself")):
            with self.subTest(name):
                self.assertIn(what, self.restore(name, code)[0])
                self.assertEqual(before, self.content())
                self.assertEqual(([], []), (self.kept(), self.parts()))

    def test_other_and_newer(self):
        other = sqlite3.connect(self.folder / "other.db")
        other.execute("CREATE TABLE migrations (x)")
        other.commit()
        other.close()
        self.assertIn("not a mer's", self.restore("other.db", 2)[0])
        self.backup()
        db = sqlite3.connect(self.backup_file)
        db.execute("INSERT INTO migrations (num, name, sha256, canonical_sha256, duration_ms, applied_by, tool_version) "
                   "VALUES (998, 'Future', 'x', 'x', 1, 'x', 'x')")
        db.commit()
        db.close()
        self.assertIn("newer than this mer", self.restore(code=5)[0])
        self.assertEqual([], self.kept())

    def test_while_another_uses_it(self):
        self.backup()
        self.change("model", "add", "slow", "--", "sh", "-c", "echo on; cat")
        mer = self.start("run", "slow", "-", stdin=subprocess.PIPE)
        prompt = sqlite3.connect(self.folder / "second.db")  # of no concern
        prompt.close()
        mer.stdin.close()
        mer.wait(DEADLINE_S)
        idle = self.start("-f", "/dev/stdin", stdin=subprocess.PIPE)
        idle.stdin.write(b"model list\n")
        idle.stdin.flush()
        idle.stdout.readline()  # it has the database open, and does nothing
        error, hint = self.restore(code=4)
        self.assertIn("in use by another program", error)
        self.assertIn("fuser", hint)
        self.assertIn("slow", {model["name"] for model in json.loads(self.out("model", "list", "--json"))})
        self.assertEqual([], self.kept())
        idle.stdin.close()
        self.assertEqual(0, idle.wait(DEADLINE_S))
        self.restore()
        self.assertNotIn("slow", {model["name"] for model in json.loads(self.out("model", "list", "--json"))})

    def test_while_a_mer_lives_without_a_wal(self):
        """There a connection that does nothing has no lock on the file, but its owner's."""
        self.backup()
        self.sql("PRAGMA journal_mode = DELETE")
        mer = self.start("run", "--lines", "moments", stdin=subprocess.PIPE)
        mer.stdin.write(b"1 2\n")
        mer.stdin.flush()
        self.assertIn(b"mean", mer.stdout.readline())
        self.assertIn("in use by another mer", self.restore(code=4)[0])
        self.assertEqual([], self.kept())
        mer.stdin.close()
        self.assertEqual(0, mer.wait(DEADLINE_S))
        self.restore()

    def test_in_a_file_of_commands(self):
        """What this mer has open itself is let go, unless it has run models."""
        self.backup()
        self.file("ok", f"model list\ndb restore {self.backup_file}\nmodel list\n")
        self.out("--allow-changes", "-f", "ok")
        self.file("no", f"run digest x\ndb restore {self.backup_file}\n")
        self.assertIn("this mer has run models", self.call(4, "--allow-changes", "-f", "no")[1])

    def test_instead_of_what_is_none(self):
        self.grow(5)
        self.backup()
        before = self.content()
        for name, content in (("garbage", b"garbage " * 4096), ("empty", b""), ("missing", None),
                              ("broken", self.backup_file.read_bytes()[:100] + b"\xff" * 50000)):
            with self.subTest(name):
                for path in self.kept():
                    path.unlink()
                self.database.unlink(missing_ok=True)
                if content is not None:
                    self.database.write_bytes(content)
                # What a database of before has left must not be taken for this one's.
                (self.folder / "mer.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\xff" * 5000)
                kept = self.restore()["kept"]
                self.assertEqual(before, self.content())
                self.assertEqual(bool(content), kept is not None)
                if content:
                    self.assertEqual(content, Path(kept).read_bytes())
                self.out("run", "digest", "x")
                self.sql("DELETE FROM model_access WHERE model = 'digest'")
                self.sql("DELETE FROM provenance")

    def test_a_folder_that_is_not_there(self):
        self.backup()
        url = f"sqlite:{self.folder}/new/folder/mer.db"
        self.assertIsNone(self.restore(env={"MER_DATABASE_URL": url})["kept"])
        self.assertEqual(0o700, (self.folder / "new").stat().st_mode & 0o777)
        self.out("--database", url, "run", "digest", "x")

    def test_other_page_size(self):
        self.grow(20)
        self.backup()
        before = self.content()
        db = sqlite3.connect(self.database, isolation_level=None)
        for line in ("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 8192", "VACUUM", "PRAGMA journal_mode = WAL"):
            db.execute(line)
        db.close()
        self.grow(20, 100)
        self.restore()
        self.assertEqual(before, self.content())

    # --- what goes wrong --------------------------------------------------------------------

    def on_small_disk(self, mib, script):
        if SANITIZED or os.geteuid() != 0:
            self.skipTest("a disk of its own takes root")
        small = self.folder / "small"
        small.mkdir(exist_ok=True)
        full = f'set -e; mount -t tmpfs -o size={mib}m none "$1"; {script}'
        done = subprocess.run(["unshare", "--mount", "sh", "-c", full, MER, small], env=self.env, cwd=self.folder,
                              capture_output=True, timeout=DEADLINE_S, check=False, text=True)
        self.assertEqual(0, done.returncode, (done.stdout, done.stderr))
        return done.stdout

    def test_backup_to_a_full_disk(self):
        self.grow(3000)
        out = self.on_small_disk(1, 'c=0; "$0" db backup "$1/b.db" 2>&1 || c=$?; echo "code $c"; ls -A "$1"')
        self.assertIn("no space", out)
        self.assertTrue(out.endswith("code 5\n"), out)

    def test_restore_to_a_full_disk(self):
        """Wherever the space comes to an end: for what is kept, or amid the database."""
        self.grow(3000)
        self.backup()
        outs = [self.on_small_disk(mib, 'cp b.db "$1/mer.db"; export MER_DATABASE_URL="sqlite:$1/mer.db"; '
                                        '"$0" --allow-changes model remove iris; "$0" log >before; c=0; '
                                        '"$0" --allow-changes db restore b.db >out 2>&1 || c=$?; cat out; echo "code $c"; '
                                        '"$0" log | cmp - before; echo "$("$0" model list | grep -c iris)"; '
                                        'ls -A "$1" | grep -v "^mer.db\\(-.*\\)\\?$" || :')
                for mib in (5, 7, 8, 9, 10, 11, 12, 13, 16)]
        for out in outs:
            if "code 5" in out:
                self.assertIn("no space", out)
                self.assertTrue(out.endswith("code 5\n0\n"), out)  # and nothing else in the folder
            else:
                self.assertRegex(out, r"code 0\n1\nmer.db.before-restore-[0-9TZ]+\n$")
        places = {"before-restore" in out for out in outs if "code 5" in out}
        self.assertEqual({True, False}, places)
        self.assertIn("code 0", outs[-1])

    def interrupted(self, *words):
        mer = self.start(*words)
        mer.send_signal(signal.SIGINT)
        _, err = mer.communicate(timeout=DEADLINE_S)
        self.assertIn(mer.returncode, (0, 130, -signal.SIGINT), err)
        return mer.returncode == 0

    def test_interrupted(self):
        """All or nothing; what is there already stays when the signal comes behind it."""
        self.grow(500)
        before = self.content()
        self.backup()
        self.change("model", "remove", "iris")
        changed = self.content()
        for _ in range(5):
            done = self.interrupted("db", "backup", "c.db")
            copy = self.folder / "c.db"
            self.assertTrue(copy.exists() or not done)
            if copy.exists():
                self.assertEqual(changed, self.content(copy))
            copy.unlink(missing_ok=True)
            done = self.interrupted("--allow-changes", "db", "restore", "b.db")
            self.assertIn(self.content(), [before] if done else [before, changed])
            self.restore()
            self.change("model", "remove", "iris")
            changed = self.content()

    def killed(self, number, *words):
        """Whether it came to an end before its nth change of anything outside of it."""
        env = self.env | {"LD_PRELOAD": KILL_AT, "KILL_AT": str(number), "KILL_HALF": "1"}
        done = subprocess.run([MER, *words], env=env, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=DEADLINE_S, check=False)
        self.assertIn(done.returncode, (0, -signal.SIGKILL), done.stderr)
        return done.returncode == 0

    def need_kill_at(self):
        if KILL_AT is None or SANITIZED:
            self.skipTest("the library kill_at is not for this build")

    def test_backup_killed_at_each_write(self):
        self.need_kill_at()
        self.grow(20)
        before = self.content()
        number, ended = 0, False
        while not ended:
            number += 1
            ended = self.killed(number, "db", "backup", "b.db")
            self.assertEqual(before, self.content())
            if self.backup_file.exists():
                self.assertEqual(before, self.content(self.backup_file))
                self.backup_file.unlink()
            self.assertLessEqual(len(self.parts()), 1)  # the next one takes it away
        self.assertGreater(number, 20)
        self.backup()
        self.assertEqual([], self.parts())

    def test_restore_killed_at_each_write(self):
        self.need_kill_at()
        self.grow(20)
        before = self.content()
        self.backup()
        self.change("model", "remove", "iris")
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        changed = self.content()
        start = {path.name: path.read_bytes() for path in self.folder.iterdir() if path.name.startswith("mer.db")}
        number, ended, seen = 0, False, set()
        while not ended:
            number += 1
            for path in self.folder.glob("*mer*"):
                if path.is_file():
                    path.unlink()
            for name, content in start.items():
                (self.folder / name).write_bytes(content)
            ended = self.killed(number, "--allow-changes", "db", "restore", "b.db")
            now = self.content()
            self.assertIn(now, (before, changed), f"killed at change {number}")
            seen.add(now == before)
            for path in self.kept():
                self.assertEqual(changed, self.content(path))
            self.out("model", "list")
        self.assertEqual({True, False}, seen)
        self.assertGreater(number, 50)


class Check:
    """db check, on both kinds of database."""

    def check(self, code=0):
        out, err = self.call(code, "db", "check", "--json")
        findings = json.loads(out)
        self.assertIn("mer: db check found " if code else "", err)
        return [(row["severity"], row["check"], row["subject"]) for row in findings if row["severity"] not in ("ok", "note")]

    def test_all_is_well(self):
        self.out("run", "digest", "x")
        self.assertEqual([], self.check())
        rows = [line.split("\t")[1] for line in self.out("db", "check").decode().splitlines()]
        self.assertLessEqual({"database", "schema", "integrity", "owners", "runs"}, set(rows))

    def test_scripts(self):
        self.sql("UPDATE migrations SET sha256 = 'x' WHERE num = 3")
        self.assertEqual([("fault", "schema", "03-Runs")], self.check(9))
        self.sql("DELETE FROM migrations WHERE num = 3")
        self.assertEqual([("fault", "schema", "03")], self.check(9))

    def test_stray_runs(self):
        self.sql(row(1, status="running", stopped_at=None, owner=""))  # nobody's: it may be a job
        self.assertEqual([], self.check())
        self.sql(row(2, status="running", stopped_at=None, owner=RUN % 99))
        self.assertEqual([("fault", "runs", RUN % 2)], self.check(9))
        self.log()
        self.assertEqual([("fault", "runs", RUN % 2)], self.check(9))

    def test_runs_of_a_dead_mer(self):
        """Those mend themselves: told, but no fault."""
        self.sql(f"INSERT INTO owners (uid, host, pid, program, started_at) VALUES ('{RUN % 99}', 'h', 7, 'mer', "
                 "'2999-01-01T00:00:00.000Z')")
        self.sql(row(0x9a, status="running", stopped_at=None, owner=RUN % 99))
        self.assertEqual([("warning", "owners", "7 on h")], self.check())
        self.log()
        self.assertEqual([], self.check())


class CheckOfSqlite(Check, OnSqlite, unittest.TestCase):
    def test_row_without_its_other(self):
        db = sqlite3.connect(self.folder / "mer.db")
        db.execute(f"INSERT INTO feedback (uid, request_uid, rating) VALUES ('{RUN % 1}', '{RUN % 2}', 3)")
        db.commit()
        db.close()
        self.assertEqual([("fault", "integrity", None)], self.check(9))

    def test_corrupt(self):
        for number in range(300):
            self.sql(row(number, error="e" * 900))
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self.sql("PRAGMA journal_mode = DELETE")
        with open(self.folder / "mer.db", "r+b") as file:
            file.seek(-8 * 4096, os.SEEK_END)
            file.write(b"\xff" * 3 * 4096)
        self.assertIn("integrity", {check for severity, check, _ in self.check(9) if severity == "fault"})
        self.call(5, "db", "backup", "b.db")
        self.assertFalse((self.folder / "b.db").exists())


class CheckOfPostgres(Check, OnPostgres, unittest.TestCase):
    def test_row_without_its_other(self):
        admin = self.server.url(self.url.partition("?")[0].rpartition("/")[2], user="postgres")
        self.server.psql("SET session_replication_role = replica; "
                         f"INSERT INTO feedback (uid, request_uid, rating) VALUES ('{RUN % 1}', '{RUN % 2}', 3)", admin)
        self.assertEqual([("fault", "integrity", None)], self.check(9))

    def test_constraint(self):
        self.server.psql("ALTER TABLE feedback ADD CONSTRAINT half CHECK (rating < 9) NOT VALID", self.url)
        self.assertEqual([("fault", "integrity", None)], self.check(9))


if __name__ == "__main__":
    main("__main__")
