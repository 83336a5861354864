#!/usr/bin/python3
"""mer-migrate killed at each of its writes, each message to the server included, before it and in the middle
of it: every script ran as a whole, with its row, or not at all, and the next `up` goes on. The first argument
is the library that kills. Prints TAP when run as a program."""
import os
import signal
import sys

from migrate_case import Case, on_each_database, preloadable, run_module

LIBRARY = preloadable(os.environ.get("MER_KILL_AT") or sys.argv.pop(1))
ALONE = "-- mer: no-transaction\n"


class Kills(Case):
    def up(self, at, half):
        library = {"LD_PRELOAD": LIBRARY, "ASAN_OPTIONS": "verify_asan_link_order=0",
                   "KILL_COUNT": str(self.top / "count")}
        if at:
            library["KILL_AT"] = str(at)
        if half:
            library["KILL_HALF"] = "1"
        return self.call(self.argv(["up"]), settings=library)

    def count(self):
        """How many calls there are to be killed at."""
        self.ground.reset()
        done = self.up(0, False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return int((self.top / "count").read_text())

    def kill_at_each(self):
        """What check_whole() says after each kill; and when the next one has gone on."""
        seen = set()
        calls = self.count()
        for half in (False, True):
            for at in range(1, calls + 1):
                with self.subTest(at=at, half=half):
                    self.ground.reset()
                    done = self.up(at, half)
                    self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
                    self.ground.wait_until_free()
                    seen.add(self.check_whole())
                    self.run_it(0, "up")
                    last = self.check_whole()
        print(f"# {self.ground.name}: killed at each of {calls} calls, before it and within", file=sys.stderr)
        return seen, last

    def tables_and_nums(self):
        tables = self.ground.names() if self.ground.exists() else []
        rows = self.rows("SELECT num FROM migrations ORDER BY num") if "migrations" in tables else []
        return [name for name in tables if name != "migrations"], [num for num, in rows]


@on_each_database
class EachWrite(Kills):
    def check_whole(self):
        tables, nums = self.tables_and_nums()
        n = len(nums)
        self.assertEqual(nums, list(range(1, n + 1)))
        self.assertEqual(tables, ["c", "p"] if n else [])
        if n:
            self.ground.check()
            self.assertEqual(self.rows("SELECT * FROM p ORDER BY 1"),
                             [[(1,), (2,)], [(1, 0), (2, 0)], [(1, 0), (2, 0), (3, 3)]][n - 1])
            self.assertEqual(self.rows("SELECT * FROM c ORDER BY 1"), [(1,), (2,), (3,)][:2 + (n > 2)])
        return n

    def test_in_transactions(self):
        self.put("01-A.sql", "CREATE TABLE p(id int PRIMARY KEY);\n"
                             "CREATE TABLE c(p int REFERENCES p(id) ON DELETE CASCADE);\n"
                             "INSERT INTO p VALUES (1), (2);\nINSERT INTO c VALUES (1), (2);\n")
        self.put("02-B.sql", "CREATE TABLE p2(id int PRIMARY KEY, x int);\nINSERT INTO p2 SELECT id, 0 FROM p;\n"
                             + self.on("DROP TABLE p;\n", "DROP TABLE p CASCADE;\n") + "ALTER TABLE p2 RENAME TO p;\n")
        self.put("03-C.sql", "INSERT INTO p VALUES (3, 3);\nINSERT INTO c VALUES (3);\n")
        seen, last = self.kill_at_each()
        self.assertEqual((seen, last), ({0, 1, 2, 3}, 3))
        self.run_it(0, "verify", "--strict")


@on_each_database
class EachWriteOutside(Kills):
    """A script without a transaction did not begin, is named as half done, or is done."""

    def check_whole(self):
        _, nums = self.tables_and_nums()
        states = self.rows("SELECT state FROM migrations WHERE num = 2") if nums else []
        there = "i" in self.ground.names("index")
        if not states:
            self.assertFalse(there)
            return "pending"
        if states == [("started",)]:
            done = self.run_it(3, "up")
            self.assertIn("'02-B.sql' began at ", done.stderr)
            self.run_it(3, "status", "--check")
            if there:
                self.ground.run("DROP INDEX i")
            self.run_it(0, "repair", "--forget", "2")
            return "started"
        self.assertTrue(there)
        return "applied"

    def test_outside(self):
        self.put("01-A.sql", "CREATE TABLE t(a int);\n")
        self.put("02-B.sql", ALONE + self.on("CREATE INDEX i ON t(a);", "CREATE INDEX CONCURRENTLY i ON t(a);"))
        seen, last = self.kill_at_each()
        self.assertEqual((seen, last), ({"pending", "started", "applied"}, "applied"))
        self.run_it(0, "verify", "--strict")


if __name__ == "__main__":
    run_module(__name__)
