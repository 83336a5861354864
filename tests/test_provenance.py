#!/usr/bin/python3
"""What a run's row tells later of where its answer came from: program, files, weights, interpreter, what it cost.
And what is forgotten of the log. MER_PREFIX names the installation. Prints TAP when run as a program."""
import hashlib
import json
import os
import shutil
import unittest
from pathlib import Path

from record_case import PYTHON, OnPostgres, OnSqlite, main

# Answers when it has used as many seconds of processor time as its input says, or dies.
BURNS = """import os, time
print('READY', flush=True)
while input() == 'GO':
    text = input()
    if text == 'die':
        os._exit(3)
    until = time.process_time() + float(text)
    while time.process_time() < until:
        pass
    input()
    print(text, flush=True)
"""
SERVES = "import sys\nprint('READY', flush=True)\nfor line in sys.stdin:\n    if line != 'GO\\n': break\n" \
    "    text = sys.stdin.readline()\n    sys.stdin.readline()\n    print('<' + text.strip() + '>', flush=True)\n"
FRAMES = "import mer\n@mer.model\ndef predict(text: str) -> str:\n    return text\nmer.serve()\n"
MEMBERS = ("program", "program_sha256", "files", "weights_sha256", "runtime", "sdk")


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class Provenance:
    def seen(self, *words):
        self.out("run", *words)
        return self.shown()

    def settle(self, path):
        """Waits until the file's times tell it from any later change; what is younger counts as new each time."""
        probe = self.folder / "probe"
        while probe.write_bytes(b"") or probe.stat().st_ctime_ns - path.stat().st_ctime_ns < 50_000_000:
            pass

    def listed(self, path):
        return {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256(path)}

    def test_program_and_files(self):
        script = self.file("script.py", "print(1)")
        data = self.file("data", b"\0" * 1000)
        self.file("-x", "an option")
        (self.folder / "folder").mkdir()
        os.mkfifo(self.folder / "fifo")
        self.change("model", "add", "m", "--", PYTHON, "script.py", "data", "-x", "folder", "fifo", "missing", "", data)
        run = self.seen("m", "x")
        self.assertEqual((PYTHON, sha256(PYTHON), [self.listed(script), self.listed(data), self.listed(data)],
                          None, None, None), tuple(run[name] for name in MEMBERS))
        self.assertGreater(run["cpu_us"], 0)
        self.assertGreater(run["max_rss_kib"], 1000)

    def test_fail_over(self):
        """Of a run that went elsewhere it is what answered there."""
        leaves, serves = self.file("leaves.py", "raise SystemExit\n"), self.file("serves.py", SERVES)
        words = ("--protocol", "token", "--answer", "line", "--ready-token", "READY", "--start-token", "GO",
                 "--stop-token", "OVER", "--", PYTHON)
        self.change("model", "add", "m", *words, "leaves.py")
        self.change("deployment", "add", "m", "--priority", "1", *words, "serves.py")
        self.assertEqual(b"<x>\n", self.call(0, "run", "m", "x")[0])
        self.assertEqual([self.listed(serves)], self.shown()["files"])
        self.change("deployment", "remove", "m", "local-2")
        self.call(6, "run", "m", "x")
        self.assertEqual([self.listed(leaves)], self.shown()["files"])

    def test_search(self):
        """Along the PATH that the worker has, from its folder; the first that may be run."""
        for name in ("one", "two", "three"):
            (self.folder / name).mkdir()
        self.file("one/tool", "no program")
        tool = self.file("two/tool", "#!/bin/sh\necho two\n")
        self.file("three/tool", "#!/bin/sh\necho three\n").chmod(0o755)
        tool.chmod(0o755)
        self.change("model", "add", "m", "--env", f"PATH={self.folder}/one:two:three:/bin", "--", "tool")
        run = self.seen("m", "x")
        self.assertEqual((str(tool), sha256(tool), []), tuple(run[name] for name in MEMBERS[:3]))
        tool.unlink()
        run = self.seen("m", "x")
        self.assertEqual(str(self.folder / "three/tool"), run["program"])
        self.change("model", "add", "relative", "--", "./three/tool")
        self.assertEqual(sha256(self.folder / "three/tool"), self.seen("relative", "x")["program_sha256"])

    def test_change(self):
        """The same bytes have one row, whoever ran them; other bytes have another."""
        script = self.file("script.py", "print(1)")
        self.change("model", "add", "m", "--", PYTHON, "script.py")
        self.settle(script)
        one, two = self.seen("m", "x"), self.seen("m", "y")
        self.assertEqual(one["provenance"], two["provenance"])
        self.assertEqual([(1,)], self.sql("SELECT count(*) AS n FROM provenance"))
        inode = script.stat().st_ino
        script.write_text("print(2)")
        self.assertEqual(inode, script.stat().st_ino)
        other = self.seen("m", "x")
        self.assertNotEqual(one["provenance"], other["provenance"])
        self.assertEqual([self.listed(script)], other["files"])
        self.assertEqual(hashlib.sha256(b"print(1)").hexdigest(), self.shown(one["request_uid"])["files"][0]["sha256"])

    def test_remembered(self):
        """What the database knows of a file that has not changed is not read again."""
        script = self.file("script.py", "print(1)")
        self.change("model", "add", "m", "--", PYTHON, "script.py")
        self.settle(script)
        run = self.seen("m", "x")
        self.sql(f"UPDATE provenance SET program_sha256 = 'known' WHERE digest = '{run['provenance']}'")
        self.assertEqual("known", self.seen("m", "x")["program_sha256"])
        os.utime(script)
        self.assertEqual(sha256(PYTHON), self.seen("m", "x")["program_sha256"])

    def test_large_file(self):
        """Is no script: its size has to do."""
        large = self.file("large", b"")
        os.truncate(large, (256 << 20) + 1)
        self.change("model", "add", "m", "--", "true", "large")
        self.assertEqual([{"path": str(large), "bytes": (256 << 20) + 1, "sha256": None}], self.seen("m", "x")["files"])

    def test_worker_that_stays(self):
        """Its runs name what it was started with, whatever became of the file; its memory is not one run's."""
        script = self.file("serves.py", SERVES)
        was = self.listed(script)
        self.change("model", "add", "m", "--protocol", "token", "--answer", "line", "--ready-token", "READY",
                    "--start-token", "GO", "--stop-token", "OVER", "--", PYTHON, "serves.py")
        child = self.start(stdin=-1)
        child.stdin.write(b"run m one\n")
        child.stdin.flush()
        self.assertEqual(b"<one>\n", child.stdout.readline())
        while self.log()[0]["status"] != "ok":
            pass
        script.write_text("raise SystemExit\n")
        out, err = child.communicate(b"run m two\n", timeout=120)
        self.assertEqual((0, b"<two>\n", b""), (child.returncode, out, err))
        runs = [self.shown(run["request_uid"]) for run in self.log()]
        for run in runs:
            self.assertEqual([was], run["files"])
            self.assertIsNone(run["max_rss_kib"])
        self.call(6, "run", "m", "three")
        run = self.shown()
        self.assertEqual(("failed", [self.listed(script)]), (run["status"], run["files"]))

    def test_processor_time_of_a_worker_that_stays(self):
        """A run has what the worker used while it was open; one over which the worker died has none."""
        script = self.file("burns.py", BURNS)
        self.change("model", "add", "m", "--protocol", "token", "--answer", "line", "--ready-token", "READY",
                    "--start-token", "GO", "--stop-token", "OVER", "--", PYTHON, script)
        self.out("run", "--lines", "m", "@" + str(self.file("lines", "0\n0.2\n0\n0.1\n")))
        used = [run["cpu_us"] for run in reversed(self.log())]
        self.assertEqual([False, True, False, True], [us >= 100000 for us in used], used)
        self.assertGreaterEqual(used[1], 200000)
        self.call(1, "run", "m", "die")
        self.assertIsNone(self.shown()["cpu_us"])
        self.out("run", "--no-record", "m", "0")

    def test_announced(self):
        """A worker that says so tells interpreter and SDK."""
        self.file("frames.py", FRAMES)
        library = next((Path(os.environ["MER_SOURCE"]) / "python").glob("mer")).parent
        self.change("model", "add", "m", "--protocol", "frame", "--env", f"PYTHONPATH={library}", "--", PYTHON,
                    "frames.py")
        self.out("run", "--lines", "m", "@" + str(self.file("lines", "a\nb\n")))
        for run in self.log():
            run = self.shown(run["request_uid"])
            self.assertRegex(run["runtime"], r"\ACPython 3\.\d+")
            self.assertRegex(run["sdk"], r"\Amer-python ")
        self.assertEqual([(1,)], self.sql("SELECT count(*) AS n FROM provenance"))

    def test_weights(self):
        """As their version says, without reading them with the files."""
        run = self.seen("iris", "5.1,3.5,1.4,0.2")
        want, = self.sql("SELECT sha256 FROM model_weights")
        self.assertEqual((*want, []), (run["weights_sha256"], run["files"]))
        self.assertTrue(run["program"].endswith("/iris/iris.py"))

    def test_nothing_ran(self):
        self.change("model", "add", "missing", "--", "/no/such/program")
        self.call(6, "run", "missing", "x")
        run = self.shown()
        self.assertEqual((None, None), (run["program"], run["program_sha256"]))
        self.change("model", "add", "token", "--protocol", "token", "--", "true")
        self.call(2, "run", "token", "@" + str(self.file("nul", b"\0")))
        run = self.shown()
        self.assertEqual(("rejected", None, None), (run["status"], run["provenance"], run["program"]))


class Prune:
    def setUp(self):
        super().setUp()
        self.change("model", "add", "m", "--keep-io", "--", "cat")
        for word in ("one", "two", "three"):
            self.out("run", "m", word)
        self.runs = self.log()[::-1]
        for number, run in enumerate(self.runs):
            self.sql("INSERT INTO feedback (uid, request_uid, rating) VALUES "
                     f"('01980000-0000-7000-8000-00000000000{number}', '{run['request_uid']}', 5)")

    def count(self):
        return tuple(self.sql(f"SELECT count(*) AS n FROM {table}")[0][0] for table in
                     ("model_access", "model_access_io", "feedback", "provenance"))

    def test_before(self):
        """What began before that time, with all that hangs on it; who answered what is left is still known."""
        self.assertEqual(3, self.count()[0])
        queued = self.runs[1]["queued_at"]
        self.assertLess(self.runs[0]["queued_at"], queued)
        self.change("log", "prune", "--before", queued)
        self.assertEqual(self.runs[1:], self.log()[::-1])
        self.assertEqual((2, 2, 2), self.count()[:3])
        self.assertEqual(sha256(shutil.which("cat")), self.shown()["program_sha256"])
        self.change("log", "prune", "--before", queued)
        self.assertEqual(2, self.count()[0])
        self.change("log", "prune", "--before", "2999-01-01")
        self.assertEqual((0, 0, 0, 0), self.count())

    def test_open(self):
        """One that is open stays, and so does what may be named by it when it ends."""
        uid = self.runs[0]["request_uid"]
        self.sql(f"UPDATE model_access SET status = 'running', stopped_at = NULL WHERE request_uid = '{uid}'")
        self.sql("INSERT INTO owners (uid, host, pid, program, started_at) VALUES "
                 "('nobody-nobody-nobody-nobody-nobody-n', 'h', 1, 'mer', '2999-01-01T00:00:00.000Z')")
        before = self.count()
        self.change("log", "prune", "--before", "2999-01-01")
        self.assertEqual([uid], [run["request_uid"] for run in self.log()])
        self.assertEqual((1, 1, 1, before[3]), self.count())

    def test_many(self):
        """More than go at once."""
        columns = "model, deployment_uid, server, door, who, host, pid, status, queued_at, stopped_at"
        numbers = "generate_series(1, 12000) AS n (n)" if self.kind == "postgres" else \
            "(WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 12000) SELECT n FROM n) AS n"
        uid = "'01980000-0000-7000-8000-' || " + ("lpad(to_hex(n.n), 12, '0')" if self.kind == "postgres"
                                                  else "printf('%012x', n.n)")
        self.sql(f"INSERT INTO model_access (request_uid, {columns}) SELECT {uid}, {columns} FROM model_access, "
                 f"{numbers} WHERE request_uid = '{self.runs[0]['request_uid']}'")
        self.assertEqual(12003, self.count()[0])
        self.change("log", "prune", "--before", self.runs[0]["queued_at"])
        self.assertEqual(12003, self.count()[0])
        self.change("log", "prune", "--before", self.runs[1]["queued_at"])
        self.assertEqual((2, 2, 2), self.count()[:3])

    def test_refused(self):
        self.assertIn("not allowed", self.call(4, "log", "prune", "--before", "2999-01-01")[1])
        self.assertIn("'log prune' needs --before", self.change("log", "prune", code=2))
        self.assertIn("--before", self.change("log", "prune", "--before", "tomorrow", code=2))
        self.assertEqual((3, 3, 3), self.count()[:3])


class Retention:
    """log prune by settings."""
    OLD = "2026-01-01T00:00:00.000Z"

    def prune(self, *words, **env):
        return self.call(0, "--allow-changes", "log", "prune", *words, env=env)

    def counts(self):
        return {table: self.sql(f"SELECT count(*) AS n FROM {table}")[0][0] for table in
                ("model_access", "model_access_io", "feedback", "provenance")}

    def setUp(self):
        super().setUp()
        self.change("model", "add", "m", "--keep-io", "--train", "touch {new_weights}", "--", "cat")
        for text in ("rated", "plain", "young"):
            self.out("run", "m", text)
        self.file("data", "1")
        self.change("train", "m", "--dataset", "data")
        rated, plain, self.young, self.training = [run["request_uid"] for run in self.log()[::-1]]
        self.out("feedback", "add", rated, "5")
        self.old = []
        for n, uid in enumerate((rated, plain, self.training), 1):  # as if they had run long ago
            old = f"01980000-0000-7000-8000-00000000000{n}"
            self.old.append(old)
            columns = [name for name, in self.sql(
                "SELECT name FROM pragma_table_info('model_access')" if self.kind == "sqlite" else
                "SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'model_access'")]
            values = {"request_uid": f"'{old}'", "queued_at": f"'{self.OLD}'", "stopped_at": f"'{self.OLD}'"}
            self.sql(f"INSERT INTO model_access ({', '.join(columns)}) SELECT "
                     f"{', '.join(values.get(name, name) for name in columns)} FROM model_access WHERE request_uid = '{uid}'")
            for table, key in (("model_access_io", "request_uid"), ("feedback", "request_uid"), ("model_weights", "made_by")):
                self.sql(f"UPDATE {table} SET {key} = '{old}' WHERE {key} = '{uid}'")
            self.sql(f"DELETE FROM model_access WHERE request_uid = '{uid}'")
        self.rated, self.plain, self.training = self.old

    def uids(self):
        return {run["request_uid"] for run in self.log()}

    def test_runs(self):
        """Old ones go but for what was rated and what made weights, as long as these are there."""
        every = self.uids()
        self.prune(MER_KEEP_RUNS_FOR="1000000h")
        self.assertEqual(every, self.uids())
        self.prune(MER_KEEP_RUNS_FOR="1h")
        self.assertEqual(every - {self.plain}, self.uids())
        self.assertIsNotNone(self.kept(self.rated))
        self.change("weights", "remove", "m", "1")
        self.prune(MER_KEEP_RUNS_FOR="1h", MER_KEEP_IO_FOR="1h")
        self.assertEqual({self.rated, self.young}, self.uids())
        self.change("log", "prune", "--before", "2026-02-01")  # which asks for all
        self.assertEqual({self.young}, self.uids())
        self.assertEqual({"model_access": 1, "model_access_io": 1, "feedback": 0, "provenance": 1}, self.counts())

    def test_what_they_kept(self):
        every = self.uids()
        self.prune(MER_KEEP_IO_FOR="1h")
        self.assertEqual(every, self.uids())
        self.assertEqual((None, (b"rated", b"rated"), (b"young", b"young")),
                         tuple(self.kept(uid) for uid in (self.plain, self.rated, self.young)))

    def test_settings(self):
        self.assertIn("MER_KEEP_RUNS_FOR", self.change("log", "prune", code=2))
        self.call(2, "--allow-changes", "log", "prune", env={"MER_KEEP_RUNS_FOR": "a year"})
        self.call(2, "--allow-changes", "log", "prune", env={"MER_KEEP_RUNS_FOR": "0"})
        self.call(4, "log", "prune", env={"MER_KEEP_RUNS_FOR": "1h"})
        self.assertEqual(4, len(self.uids()))

    def test_provenance(self):
        """Many that nobody names, by steps; those that are named stay, whoever names them."""
        named = [f"{n:032x}" for n in range(1200)]
        self.sql("INSERT INTO provenance (digest, host, program) VALUES " + ", ".join(f"('{d}', 'h', 'p')" for d in named))
        self.sql(f"UPDATE model_access SET provenance = '{named[700]}' WHERE request_uid = '{self.rated}'")
        self.sql(f"UPDATE model_access SET provenance = '{named[3]}' WHERE request_uid = '{self.young}'")
        self.sql(f"UPDATE model_access SET provenance = '' WHERE request_uid = '{self.training}'")
        self.prune(MER_KEEP_RUNS_FOR="1h")
        self.assertEqual([(named[3],), (named[700],)], self.sql("SELECT digest FROM provenance ORDER BY digest"))


class Log:
    def test_asked(self):
        """By model, status, time and number; newest first."""
        self.change("model", "add", "a", "--", "cat")
        self.change("model", "add", "b", "--", "false")
        for _ in range(11):
            self.out("run", "a", "x")
            self.call(1, "run", "b", "x")
        every = self.log("--limit", 100)
        self.assertEqual((22, 20), (len(every), len(self.log())))
        self.assertEqual(sorted((run["queued_at"] for run in every), reverse=True), [run["queued_at"] for run in every])
        self.assertEqual([run for run in every if run["model"] == "b"], self.log("--model", "b"))
        self.assertEqual([run for run in every if run["status"] == "ok"], self.log("--status", "ok"))
        self.assertEqual(every[:3], self.log("--limit", 3))
        self.assertEqual([run for run in every if run["queued_at"] >= every[7]["queued_at"]],
                         self.log("--since", every[7]["queued_at"]))
        self.assertEqual([], self.log("--since", "2999-01-01"))
        self.call(3, "log", "--model", "nobody")
        # What ran of one that was removed is found by its name, as long as it is there.
        self.change("model", "remove", "b")
        self.assertEqual([run for run in every if run["model"] == "b"], self.log("--model", "b"))
        self.assertEqual(11, len(self.out("log", "export", "--model", "b").splitlines()))
        self.assertEqual([], self.log("--model", "b", "--since", "2999-01-01"))
        self.change("log", "prune", "--before", "2999-01-01")
        self.assertEqual([], self.log("--model", "a"))
        self.assertIn("mer: there is no model 'b'\nhint: ", self.call(3, "log", "--model", "b")[1])
        self.assertIn("hint: did you mean 'iris'?\n", self.call(3, "log", "--model", "irs")[1])
        for words in (("--status", "good"), ("--limit", 0), ("--since", "x")):
            self.call(2, "log", *words)


class ProvenanceOnSqlite(Provenance, OnSqlite, unittest.TestCase):
    pass


class ProvenanceOnPostgres(Provenance, OnPostgres, unittest.TestCase):
    pass


class PruneOnSqlite(Prune, OnSqlite, unittest.TestCase):
    pass


class PruneOnPostgres(Prune, OnPostgres, unittest.TestCase):
    pass


class RetentionOnSqlite(Retention, OnSqlite, unittest.TestCase):
    pass


class RetentionOnPostgres(Retention, OnPostgres, unittest.TestCase):
    pass


class LogOnSqlite(Log, OnSqlite, unittest.TestCase):
    pass


class LogOnPostgres(Log, OnPostgres, unittest.TestCase):
    pass


if __name__ == "__main__":
    main("__main__")
