#!/usr/bin/python3
"""Weights, training and feedback through mer, as scripts and people use it. MER_PREFIX names the
installation. Prints TAP when run as a program."""
import base64
import contextlib
import csv
import hashlib
import json
import os
import re
import select
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
SOURCE = Path(os.environ.get("MER_SOURCE", Path(__file__).parent.parent)).resolve()
MER = str(PREFIX / "bin" / "mer")
MIGRATE = str(PREFIX / "bin" / "mer-migrate")
IRIS = PREFIX / "lib" / "mer" / "models" / "iris"
DEADLINE_S = 120

# What a model says of its weights.
TELL = ["sh", "-c", 'cat "$0"; echo "version $1"', "{weights}", "{weights_version}"]
LINE = ["--protocol", "token", "--answer", "line", "--ready-token", "READY", "--start-token", "GO",
        "--stop-token", "OVER", "--exit-token", "BYE"]
# A worker that stays: what it read as it started, and its process.
STAYS = ('w=$(cat "$0"); echo READY; while read t; do [ "$t" = GO ] || exit 0; read x; read t; '
                'echo "$w $$"; done')


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def sum_of_folder(folder):
    lines = sorted(f"{sha256(path.read_bytes())}  {path.relative_to(folder)}\n"
                   for path in folder.rglob("*") if path.is_file())
    return sha256("".join(lines).encode())


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mer-weights-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()
        self.state = self.folder / "state" / "mer"
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("MER_", "XDG_", "PG"))} | {
            "LC_ALL": "C.UTF-8", "HOME": str(self.folder), "TMPDIR": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"), "XDG_DATA_HOME": str(self.folder / "data"),
            "MER_ALLOW_CHANGES": "1"}
        subprocess.run([MIGRATE, "--quiet", "up"], env=self.env, check=True, timeout=DEADLINE_S)

    def file(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def call(self, *args, code=0, env=None, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run([MER, *map(str, args)], env=self.env | (env or {}), cwd=self.folder,
                              capture_output=True, timeout=DEADLINE_S, **options)
        self.assertEqual(done.returncode, code, (args, done.stdout, done.stderr))
        if code == 0:
            self.assertEqual(done.stderr, b"", args)
        return done

    def out(self, *args, **options):
        return self.call(*args, **options).stdout.decode()

    def json(self, *args, **options):
        return json.loads(self.out("--json", *args, **options))

    def fails(self, code, message, *args, **options):
        done = self.call(*args, code=code, **options)
        self.assertRegex(done.stderr.decode().splitlines()[0], f"^mer: {message}$")
        return done

    def states(self, model="m"):
        return {row["version"]: row["state"] for row in self.json("weights", "list", model)}

    def model(self, *options, name="m", argv=TELL):
        self.out("model", "add", name, *options, "--", *argv)

    def start(self, *args, **options):
        options = {"stdin": subprocess.DEVNULL} | options
        process = subprocess.Popen([MER, *map(str, args)], env=self.env, cwd=self.folder,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def line_of(self, file):
        data = b""
        while not data.endswith(b"\n"):
            ready = select.select([file], [], [], DEADLINE_S)[0]
            piece = os.read(file.fileno(), 1) if ready else b""
            if not piece:
                self.fail(f"no line after {data!r}")
            data += piece
        return data.decode()


class Weights(Case):
    def test_add_list_use_remove(self):
        self.model()
        self.fails(3, "model 'm' has no active weights", "run", "m", "x")
        one = self.file("one", "1\n")
        made = self.json("weights", "add", "m", "one")
        self.assertEqual({key: made[key] for key in ("version", "state", "path", "sha256", "bytes", "parent")},
                         {"version": "1", "state": "candidate", "path": str(one), "sha256": sha256(b"1\n"),
                          "bytes": 2, "parent": None})
        self.file("two", "22\n")
        self.out("weights", "add", "m", "./two", "--version", "b-2.x")
        self.file("ten", "10\n")
        self.out("weights", "add", "m", self.folder / "ten", "--version", "10")
        self.assertEqual(self.json("weights", "add", "m", one)["version"], "11")
        self.assertEqual(self.states(), dict.fromkeys(("11", "10", "b-2.x", "1"), "candidate"))
        self.assertEqual([row["version"] for row in self.json("weights", "list", "m")], ["11", "10", "b-2.x", "1"])
        self.fails(3, "model 'm' has no active weights", "run", "m", "x")

        self.out("weights", "use", "m", "1")
        self.assertEqual(self.out("run", "m", "x"), "1\nversion 1\n")
        self.out("weights", "use", "m", "b-2.x")
        self.out("weights", "use", "m", "b-2.x")
        self.assertEqual(self.states(), {"11": "candidate", "10": "candidate", "b-2.x": "active", "1": "retired"})
        self.assertEqual(self.out("run", "m", "x"), "22\nversion b-2.x\n")
        self.assertEqual(self.json("model", "show", "m")["deployments"][0]["weights"], "b-2.x")

        self.fails(4, "weights 'b-2.x' of model 'm' are the active ones", "weights", "remove", "m", "b-2.x")
        self.out("weights", "remove", "m", "1")
        self.assertEqual(self.states(), {"11": "candidate", "10": "candidate", "b-2.x": "active"})
        self.assertEqual(one.read_text(), "1\n")

    def test_refused(self):
        self.model()
        self.file("w", "w")
        self.out("weights", "add", "m", "w", "--version", "1")
        os.mkfifo(self.folder / "fifo")
        for code, message, *args in (
                (3, "there is no model 'nosuch'", "add", "nosuch", "w"),
                (3, "there is no model 'nosuch'", "list", "nosuch"),
                (3, "there is no model 'nosuch'", "use", "nosuch", "1"),
                (3, "model 'm' has no weights '2'", "use", "m", "2"),
                (3, "model 'm' has no weights '2'", "remove", "m", "2"),
                (4, "model 'm' has weights '1' already", "add", "m", "w", "--version", "1"),
                (2, "--version: bad V name '../x': .*", "add", "m", "w", "--version", "../x"),
                (2, "PATH: there is no '.*/nothing'", "add", "m", "nothing"),
                (2, "PATH: '.*/fifo' is neither a file nor a folder", "add", "m", "fifo"),
                (2, "PATH: it is empty", "add", "m", "")):
            with self.subTest(args=args):
                self.fails(code, message, "weights", *args)
        self.assertEqual(self.states(), {"1": "candidate"})
        for verb in ("add m w", "use m 1", "remove m 1"):
            self.fails(4, "not allowed; start with --allow-changes", "weights", *verb.split(),
                       env={"MER_ALLOW_CHANGES": "0"})

    def test_folder(self):
        self.model(argv=["cat", "{weights}/b"])
        folder = self.folder / "w"
        for name in ("b", "a/x", "a b/ü"):
            self.file(f"w/{name}", f"{name}\n")
        (folder / "empty").mkdir()
        (folder / "link").symlink_to("a/x")
        (folder / "more").symlink_to("a")
        made = self.json("weights", "add", "m", "w")
        lines = sorted(f"{sha256((folder / name).read_bytes())}  {name}\n"
                       for name in ("b", "a/x", "a b/ü", "link", "more/x"))
        self.assertEqual((made["sha256"], made["bytes"]), (sha256("".join(lines).encode()), 21))
        self.out("weights", "use", "m", "1")
        self.assertEqual(self.out("run", "m", "x"), "b\n")
        self.file("w/a/new", "")
        self.fails(4, "weights '1' of model 'm' are not what was added: .*", "run", "m", "x")
        (folder / "a" / "new").unlink()
        self.assertEqual(self.out("run", "m", "x"), "b\n")
        (folder / "a" / "up").symlink_to("..")
        self.fails(2, "PATH: '.*' is a link to a folder that it is in", "weights", "add", "m", "w")
        self.fails(6, "weights '1' of model 'm': '.*' is a link to a folder that it is in", "run", "m", "x")

    def test_models_folder(self):
        self.model(argv=["head", "-c", "1", "{weights}"])
        made = self.json("weights", "add", "m", "{models}/iris/weights/1.json")
        self.assertEqual(made["path"], "{models}/iris/weights/1.json")
        self.assertEqual(made["sha256"], sha256((IRIS / "weights/1.json").read_bytes()))
        self.assertEqual(self.out("run", "m", "--weights", "1", "x"), "{")
        self.fails(2, "PATH: there is no '.*'", "weights", "add", "m", "{models}/iris/weights/none")

    def test_another_version_for_a_run(self):
        self.model()
        for name in ("1", "2"):
            self.file(name, f"w{name}\n")
            self.out("weights", "add", "m", name)
        got = self.json("run", "--weights", "2", "m", "x")
        self.assertEqual((got["output"], got["weights"], got["status"]), ("w2\nversion 2\n", "2", "ok"))
        self.out("weights", "use", "m", "1")
        self.assertEqual(self.out("run", "m", "x"), "w1\nversion 1\n")
        self.assertEqual(self.out("run", "m", "--weights", "2", "x"), "w2\nversion 2\n")
        self.assertEqual(self.out("run", "m", "--lines", "--weights", "2", "@1"), "w2\nversion 2\n")
        self.assertEqual([row["weights"] for row in self.json("log")], ["2", "2", "1", "2"])
        self.fails(3, "model 'm' has no weights '3'", "run", "m", "--weights", "3", "x")
        self.assertEqual(len(self.json("log")), 4)

    def test_each_version_has_its_worker(self):
        self.model(*LINE, "--max-workers", "2", argv=["sh", "-c", STAYS, "{weights}"])
        for name in ("1", "2"):
            self.file(name, f"w{name}")
            self.out("weights", "add", "m", name)
        self.out("weights", "use", "m", "1")
        out = self.call("-c", "run m x", "-c", "run m --weights 2 x", "-c", "run m x", "-c",
                        "run m --weights 2 x").stdout.decode().splitlines()
        self.assertEqual([line.split()[0] for line in out], ["w1", "w2", "w1", "w2"])
        self.assertEqual((out[0], out[1]), (out[2], out[3]))
        self.assertNotEqual(out[0], out[1])

    def test_use_drains_warm_workers(self):
        """In the process that says it, and in another one before its next run; also amid a stream."""
        self.model(*LINE, argv=["sh", "-c", STAYS, "{weights}"])
        for name in ("1", "2"):
            self.file(name, f"w{name}")
            self.out("weights", "add", "m", name)
        self.out("weights", "use", "m", "1")
        mer = self.start(stdin=subprocess.PIPE)
        def ask(line):
            mer.stdin.write(line)
            mer.stdin.flush()
            return self.line_of(mer.stdout).split()
        first = ask(b"run m x\n")
        self.assertEqual(ask(b"run m x\n"), first)
        second = ask(b"weights use m 2\nrun m x\n")
        self.assertEqual((first[0], second[0]), ("w1", "w2"))
        self.out("weights", "use", "m", "1")
        third = ask(b"run m x\n")
        self.assertEqual(third[0], "w1")
        self.assertEqual(len({first[1], second[1], third[1]}), 3)
        mer.stdin.close()
        self.assertEqual(mer.wait(DEADLINE_S), 0)

        lines = self.start("run", "--lines", "m", "-", stdin=subprocess.PIPE)
        def line():
            lines.stdin.write(b"x\n")
            lines.stdin.flush()
            return self.line_of(lines.stdout).split()
        old = line()
        self.assertEqual(line(), old)
        self.out("weights", "use", "m", "2")
        new = line()
        self.assertEqual((old[0], new[0]), ("w1", "w2"))
        lines.stdin.close()
        self.assertEqual(lines.wait(DEADLINE_S), 0)


@unittest.skipUnless((PREFIX / "lib" / "mer" / "postgres.so").exists(), "built without Postgres")
class OnPostgres(Weights):
    """The same, and what several do at once."""

    @classmethod
    def setUpClass(cls):
        import postgres

        cls.server = postgres.Postgres()
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        super().setUp()
        self.env["MER_DATABASE_URL"] = self.server.new_database()
        subprocess.run([MIGRATE, "--quiet", "up"], env=self.env, check=True, timeout=DEADLINE_S)

    def test_many_at_once(self):
        """Each gets a number of its own, and one version is active."""
        self.model("--train", "sh -c 'echo w >\"$0\"' {new_weights}")
        self.file("w", "w\n")
        adds = [self.start("weights", "add", "m", "w") for _ in range(6)]
        for mer in adds:
            _, err = mer.communicate(timeout=DEADLINE_S)
            self.assertEqual((mer.returncode, err), (0, b""))
        self.assertEqual(set(self.states()), set("123456"))
        many = [self.start("weights", "use", "m", str(n)) for n in range(1, 7)]
        many += [self.start("train", "m", "--dataset", "w", "--activate")]
        for mer in many:
            _, err = mer.communicate(timeout=DEADLINE_S)
            self.assertEqual((mer.returncode, err), (0, b""))
        self.assertEqual(sorted(self.states().values()), ["active"] + ["retired"] * 6)

    def test_feedback(self):
        self.model(argv=["cat"])
        uid = self.json("run", "m", "a")["request_uid"]
        self.out("feedback", uid, "2", "--expected", "b")
        self.out("feedback", "set", "m", "on", "--train-after", "1")
        row = json.loads(self.out("feedback", "export", "m"))
        self.assertEqual((row["request_uid"], row["rating"], row["expected"], row["input"]), (uid, 2, "b", None))


class Sums(Case):
    def old(self, path, seconds=60):
        """As it is when nobody has written to it for a while: only then it is remembered."""
        then = time.time() - seconds
        os.utime(path, (then, then))

    def test_changed_weights_are_not_run(self):
        self.model()
        path = self.file("w", "good\n")
        self.out("weights", "add", "m", "w")
        self.out("weights", "use", "m", "1")
        path.write_text("evil\n")
        message = "weights '1' of model 'm' are not what was added: sha256 is {}, not {}: '{}'".format(
            sha256(b"evil\n"), sha256(b"good\n"), path)
        self.fails(4, re.escape(message), "run", "m", "x")
        got = json.loads(self.call("--json", "run", "m", "x", code=4).stdout)
        self.assertEqual((got["status"], got["error"], got["attempts"]), ("rejected", message, 0))
        self.fails(4, "line 1: " + re.escape(message), "run", "--lines", "m", "@w")
        self.assertEqual({(row["status"], row["weights"], row["started_at"]) for row in self.json("log")},
                         {("rejected", "1", None)})
        self.fails(4, re.escape(message), "run", "--no-record", "m", "x")
        self.fails(4, re.escape(message), "model", "ping", "m")
        path.unlink()
        self.fails(3, "weights '1' of model 'm': there is no '.*/w'", "run", "m", "x")
        path.write_text("good\n")
        self.assertEqual(self.out("run", "m", "x"), "good\nversion 1\n")

    def test_changed_while_a_worker_is_warm(self):
        self.model(*LINE, argv=["sh", "-c", STAYS, "{weights}"])
        path = self.file("w", "good")
        self.out("weights", "add", "m", "w")
        self.out("weights", "use", "m", "1")
        mer = self.start("--keep-going", stdin=subprocess.PIPE)
        mer.stdin.write(b"run m x\n")
        mer.stdin.flush()
        first = self.line_of(mer.stdout)
        path.write_text("evil")
        mer.stdin.write(b"run m x\n")
        mer.stdin.flush()
        self.assertIn("are not what was added", self.line_of(mer.stderr))
        path.write_text("good")
        mer.stdin.write(b"run m x\n")
        mer.stdin.flush()
        self.assertEqual(self.line_of(mer.stdout), first)
        mer.stdin.close()
        mer.wait(DEADLINE_S)

    def test_weights_that_nobody_names_are_not_looked_at(self):
        self.model(argv=["cat"])
        path = self.file("w", "good\n")
        self.out("weights", "add", "m", "w")
        self.out("weights", "use", "m", "1")
        path.unlink()
        self.assertEqual(self.out("run", "m", "x"), "x")

    def test_list_check_reads(self):
        self.model()
        for name in ("1", "2", "3"):
            self.file(name, f"w{name}\n")
            self.out("weights", "add", "m", name)
        self.assertEqual({row["check"] for row in self.json("weights", "list", "m", "--check")}, {"ok"})
        self.assertNotIn("check", self.json("weights", "list", "m")[0])
        before = os.stat(self.folder / "1")
        self.file("1", "W1\n")
        os.utime(self.folder / "1", ns=(before.st_atime_ns, before.st_mtime_ns))
        (self.folder / "2").unlink()
        done = self.call("--json", "weights", "list", "m", "--check", code=4)
        self.assertEqual({row["version"]: row["check"] for row in json.loads(done.stdout)},
                         {"1": "changed", "2": "missing", "3": "ok"})
        self.assertEqual(done.stderr.decode(), "mer: weights of model 'm' are not what was added: '2' missing, "
                                               "'1' changed\n")

    def test_remembered_by_what_the_file_system_says(self):
        """What is remembered is believed, so that a file is not read again; any of its facts that differs has
        it read."""
        self.model()
        path = self.file("w", "good\n")
        self.out("weights", "add", "m", "w")
        self.out("weights", "use", "m", "1")
        deadline = time.monotonic() + DEADLINE_S
        while not list(self.state.glob("sums/*")) and time.monotonic() < deadline:
            self.out("run", "m", "x")  # it is remembered once its times tell of a change
        memory, = self.state.glob("sums/*")
        self.assertEqual(memory.stat().st_mode & 0o777, 0o600)
        kept = memory.read_text()
        self.assertIn(sha256(b"good\n"), kept)
        lie = sha256(b"lie")
        memory.write_text(kept.replace(sha256(b"good\n"), lie))
        self.fails(4, f".*sha256 is {lie}, not .*", "run", "m", "x")
        self.assertEqual(self.json("weights", "list", "m", "--check")[0]["check"], "ok")
        for broken in ("", "1", kept[:-1], kept + "x", kept.replace("1 ", "2 ", 1), "x" * 9000, kept[:40],
                       kept.replace(str(path), str(path) + "x")):
            with self.subTest(broken=broken[:20]):
                memory.write_text(broken)
                self.assertEqual(self.out("run", "m", "x"), "good\nversion 1\n")
        for change in (lambda: path.write_text("good\n"), lambda: os.utime(path, (1, 1)),
                       lambda: os.link(path, str(path) + "2"),
                       lambda: os.replace(self.file("other", "good\n"), path)):
            memory.write_text(kept.replace(sha256(b"good\n"), lie))
            change()
            self.assertEqual(self.out("run", "m", "x"), "good\nversion 1\n")

    def test_without_a_place_to_remember(self):
        self.model()
        self.file("w", "good\n")
        self.out("weights", "add", "m", "w")
        self.out("weights", "use", "m", "1")
        for memory in self.state.glob("sums/*"):
            memory.unlink()
        with contextlib.suppress(FileNotFoundError):
            (self.state / "sums").rmdir()
        self.file("state/mer/sums", "in the way")
        self.assertEqual(self.out("run", "m", "x"), "good\nversion 1\n")

    def test_interrupt_ends_reading(self):
        """While a large file is read the run can be cancelled, and other processes write to the database."""
        self.model()
        path = self.folder / "w"
        with path.open("wb") as file:
            file.truncate(1 << 42)  # takes hours to read, and no room
        with contextlib.closing(sqlite3.connect(self.state / "mer.db")) as db:
            db.execute("INSERT INTO model_weights (uid, model_uid, version, path, sha256, bytes, state) SELECT "
                       "'01980000-0000-7000-8000-00000000aaaa', uid, '1', ?, ?, 1, 'active' FROM models "
                       "WHERE name = 'm'", (str(path), "0" * 64))
            db.commit()
        for args in (["run", "m", "x"], ["run", "--lines", "m", "@/dev/null"], ["weights", "add", "m", "w"],
                     ["weights", "list", "m", "--check"], ["model", "ping", "m"]):
            if "@/dev/null" in args:
                args[-1] = "@" + str(self.file("lines", "a\nb\n"))
            with self.subTest(args=args):
                mer = self.start(*args)
                self.wait_reading(mer.pid, path)
                self.assertEqual(self.json("run", "digest", "x")["status"], "ok")
                mer.send_signal(signal.SIGINT)
                self.assertEqual(mer.wait(DEADLINE_S), 130, args)
        self.assertEqual({row["status"] for row in self.json("log", "--model", "m")} - {"cancelled"}, set())

    def wait_reading(self, pid, path):
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if any(os.readlink(fd.path) == str(path) for fd in os.scandir(f"/proc/{pid}/fd")):
                    return
        self.fail(f"{pid} does not read {path}")


class Train(Case):
    # Leaves a file that says what it was told.
    WORDS = ("sh -c 'printf \"%s\\n\" \"$@\" >\"$0\"; echo noise; echo \"{\\\"loss\\\": 0.5, \\\"n\\\": 3}\"; echo done' "
             "{new_weights} {old_version} {old_weights} {new_version} {dataset} {workdir}")

    def setUp(self):
        super().setUp()
        self.data = self.file("data set.csv", "d\n")
        self.made = self.folder / "data" / "mer" / "weights" / "m"

    def left(self):
        return sorted(path.name for path in self.made.rglob("*")) if self.made.exists() else []

    def test_candidate(self):
        self.model("--train", self.WORDS)
        got = self.json("train", "m", "--dataset", "data set.csv")
        path = self.made / "1"
        told = ["", "", "1", str(self.data), str(self.folder)]
        self.assertEqual(path.read_text().split("\n")[:-1], told)
        self.assertEqual({key: got[key] for key in ("version", "state", "path", "sha256", "bytes", "parent",
                                                    "metrics")},
                         {"version": "1", "state": "candidate", "path": str(path),
                          "sha256": sha256(path.read_bytes()), "bytes": path.stat().st_size, "parent": None,
                          "metrics": {"loss": 0.5, "n": 3}})
        run, = self.json("log")
        self.assertEqual((run["request_uid"], run["kind"], run["status"], run["exit_code"], run["weights"]),
                         (got["made_by"], "train", "ok", 0, None))
        self.assertEqual(self.left(), ["1"])

        got = self.json("train", "m", "--dataset", "data set.csv", "--activate")
        self.assertEqual((got["version"], got["state"], got["parent"]), ("2", "active", None))
        got = self.json("train", "m", "--dataset", "data set.csv", "--new", "b", "--activate")
        self.assertEqual((got["version"], got["state"], got["parent"]), ("b", "active", "2"))
        self.assertEqual((self.made / "b").read_text().split("\n")[:3], ["2", str(self.made / "2"), "b"])
        got = self.json("train", "m", "--dataset", "data set.csv", "--weights", "1")
        self.assertEqual((got["version"], got["state"], got["parent"]), ("3", "candidate", "1"))
        self.assertEqual(self.states(), {"1": "candidate", "2": "retired", "b": "active", "3": "candidate"})
        self.assertEqual(self.json("log")[0]["weights"], "1")
        self.assertTrue(self.out("run", "m", "x").endswith("version b\n"))

    def test_iris(self):
        got = self.json("train", "iris", "--dataset", IRIS / "iris.csv", "--activate")
        self.assertEqual(got["metrics"], {"accuracy": 1.0, "held_out": 30, "trained_on": 120})
        self.assertEqual(self.out("run", "iris", "5.1,3.5,1.4,0.2"), "setosa\n")
        self.assertEqual(self.json("log")[0]["weights"], "2")

    def test_folder_and_place(self):
        """--weights-dir, and what begins from a folder."""
        self.model("--weights-dir", "made here", "--train",
                   "sh -c 'mkdir {new_weights}; echo x >{new_weights}/x; mkdir {new_weights}/y'")
        self.assertEqual(self.json("model", "show", "m")["deployments"][0]["weights_dir"],
                         str(self.folder / "made here"))
        # The words are split before they are filled in, so a shell's own script has to quote.
        self.out("model", "set", "m", "train=sh -c 'mkdir \"$0\"; echo x >\"$0\"/x; mkdir \"$0\"/y' {new_weights}")
        got = self.json("train", "m", "--dataset", "data set.csv")
        self.assertEqual(got["path"], str(self.folder / "made here" / "1"))
        self.assertEqual(got["sha256"], sum_of_folder(self.folder / "made here" / "1"))
        self.out("model", "set", "m", "weights-dir=")
        self.assertEqual(self.json("train", "m", "--dataset", "data set.csv")["path"], str(self.made / "2"))

    def test_failures_leave_nothing(self):
        half = "echo half >\"$0\"; mkdir \"$0.d\"; mv \"$0\" \"$0.d/x\"; mv \"$0.d\" \"$0\"; "
        for code, message, script, status in (
                (1, "training: model 'm' failed: .*7: last words", half + "echo last words >&2; exit 7", "failed"),
                (1, "training: model 'm' failed: .*SIGSEGV.*", half + "kill -SEGV $$", "failed"),
                (7, "training: model 'm' gave no answer within 500ms", half + "exec sleep 60", "timeout"),
                (1, "the training of model 'm' left nothing at '.*/1'", "echo '{}'", "ok")):
            with self.subTest(script=script):
                self.call("model", "remove", "m", code=0 if self.has_model() else 3)
                self.model("--train", f"sh -c '{script.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}' "
                                      "{new_weights}")
                more = ["--timeout", "500ms"] if code == 7 else []
                self.fails(code, message, "train", "m", "--dataset", "data set.csv", *more)
                self.assertEqual(self.left(), [])
                self.assertEqual(self.states(), {})
                run = self.json("log")[0]
                self.assertEqual((run["kind"], run["status"]), ("train", status))

    def has_model(self):
        return any(row["name"] == "m" for row in self.json("model", "list"))

    def test_refused(self):
        self.model("--train", self.WORDS)
        self.out("train", "m", "--dataset", "data set.csv")
        self.made.joinpath("taken").write_text("mine")
        (self.made / "gone").symlink_to("nowhere")
        runs = len(self.json("log"))
        for code, message, *args in (
                (4, "model 'm' has weights '1' already", "m", "--new", "1"),
                (4, "weights of model 'm': there is a '.*/taken' already", "m", "--new", "taken"),
                (4, "weights of model 'm': there is a '.*/gone' already", "m", "--new", "gone"),
                (2, "--new: bad V name '../x': .*", "m", "--new", "../x"),
                (3, "model 'm' has no weights '9'", "m", "--weights", "9"),
                (3, "there is no model 'nosuch'", "nosuch"),
                (2, "model 'digest' has no train command", "digest")):
            with self.subTest(args=args):
                self.fails(code, message, "train", *args, "--dataset", "data set.csv")
        self.fails(2, "'train' needs --dataset", "train", "m")
        self.fails(2, "--dataset: cannot read '.*/none': No such file or directory", "train", "m", "--dataset", "none")
        self.fails(4, "not allowed; start with --allow-changes", "train", "m", "--dataset", "data set.csv",
                   env={"MER_ALLOW_CHANGES": "0"})
        self.assertEqual(len(self.json("log")), runs)
        self.assertEqual(self.made.joinpath("taken").read_text(), "mine")
        # A number whose path is taken is passed over.
        self.made.joinpath("2").write_text("mine too")
        self.assertEqual(self.json("train", "m", "--dataset", "data set.csv")["version"], "3")
        self.assertEqual(self.made.joinpath("2").read_text(), "mine too")

    def test_needs_old_weights(self):
        self.model("--train", "cp {weights} {new_weights}")
        self.fails(3, "training: model 'm' has no active weights", "train", "m", "--dataset", "data set.csv")
        old = self.file("w", "old")
        self.out("weights", "add", "m", "w", "--version", "w")
        self.assertEqual(self.json("train", "m", "--dataset", "data set.csv", "--weights", "w")["parent"], "w")
        old.write_text("evil")
        self.fails(4, "training: weights 'w' of model 'm' are not what was added: .*", "train", "m", "--dataset",
                   "data set.csv", "--weights", "w")
        self.assertEqual(self.left(), ["1"])

    def waiting(self):
        """A training that has begun to write, and waits."""
        self.model("--train", "sh -c 'echo half >\"$0\"; mkfifo \"$1\"; setsid sh -c \"trap : TERM; while :; do "
                              "echo more >>\\\"$0\\\"; sleep 0.01; done\" \"$0\" & echo \"$$\"; read x <\"$1\"' "
                              "{new_weights} {workdir}/fifo")
        mer = self.start("--log", "info", "train", "m", "--dataset", "data set.csv")
        self.assertRegex(self.line_of(mer.stderr), r"m request_uid=\S+: \d+\n$")
        return mer

    def test_interrupt(self):
        mer = self.waiting()
        self.assertEqual(self.left(), [".1.lock", "1"])
        self.fails(4, "weights of model 'm': version '1' is being trained", "train", "m", "--dataset",
                   "data set.csv", "--new", "1")
        mer.send_signal(signal.SIGINT)
        self.assertEqual(mer.wait(DEADLINE_S), 130)
        self.assertEqual(self.left(), [])
        self.assertEqual(self.states(), {})
        run, = self.json("log")
        self.assertEqual((run["kind"], run["status"]), ("train", "cancelled"))

    def test_killed(self):
        """What a mer that was killed leaves behind is not a candidate and in nobody's way."""
        mer = self.waiting()
        mer.kill()
        mer.wait()
        self.assertEqual(self.states(), {})
        self.out("model", "set", "m", "train=sh -c 'echo w >\"$0\"' {new_weights}")
        self.assertEqual(self.json("train", "m", "--dataset", "data set.csv")["version"], "2")
        self.assertEqual([row["status"] for row in self.json("log")], ["ok", "lost"])

    def test_two_at_once(self):
        self.model("--train", "sh -c 'echo w >\"$0\"; echo x >>\"$1\"; while [ $(wc -l <\"$1\") -lt 2 ]; do :; done' "
                              "{new_weights} {workdir}/both")
        both = [self.start("train", "m", "--dataset", "data set.csv") for _ in range(2)]
        for mer in both:
            out, err = mer.communicate(timeout=DEADLINE_S)
            self.assertEqual((mer.returncode, err), (0, b""))
        self.assertEqual(self.states(), {"1": "candidate", "2": "candidate"})
        self.assertEqual(self.left(), ["1", "2"])

    def test_what_cannot_be_recorded_is_kept(self):
        """Hours may be in it."""
        self.model("--train", "sh -c 'echo w >\"$0\"; \"$1\" weights add m \"$2\" --version 1 >/dev/null' "
                              f"{{new_weights}} {shlex.quote(MER)} {{dataset}}")
        self.out("model", "set", "m", "env=MER_ALLOW_CHANGES=1")
        done = self.fails(4, "model 'm' has weights '1' already", "train", "m", "--dataset", "data set.csv")
        self.assertIn(f"weights add m {self.made}/1", done.stderr.decode())
        self.assertEqual(self.left(), ["1"])

    def test_metrics(self):
        for printed, want in (("{\"a\":1}\n{\"b\":2}", {"b": 2}), ("{\"a\":1}\nlater", {"a": 1}), ("[1]", {}),
                              ("{\"a\":NaN}", {}), ("{\"a\":" + "1" * 70000 + "}", {}), ("", {}),
                              ("x" * 200000 + "\n{\"a\": \"ü\"}", {"a": "ü"})):
            with self.subTest(printed=printed[:20]):
                self.call("model", "remove", "m", code=0 if self.has_model() else 3)
                text = self.file("printed", printed)
                self.model("--train", f"sh -c 'echo w >\"$0\"; cat {text}' {{new_weights}}")
                self.assertEqual(self.json("train", "m", "--dataset", "data set.csv")["metrics"], want)

    def test_large_output_is_no_limit(self):
        self.model("--max-output", "10", "--train", "sh -c 'echo w >\"$0\"; seq 100000' {new_weights}")
        self.assertEqual(self.json("train", "m", "--dataset", "data set.csv")["version"], "1")


SELF_TRAINED = """
import time

import mer

@mer.model
def predict(x: str) -> str:
    return x

@mer.train
def train(job):
    with open(job.new_weights, "w") as file:
        print(job.dataset, job.new_version, job.old_weights, job.old_version, sep="\\n", file=file)
    mer.log("begun")
    mer.progress(1, 3, "step")
    if "bad" in job.dataset:
        raise mer.InputError("no such data")
    if "slow" in job.dataset:
        time.sleep(60)
    return {"loss": 0.25, "n": 3}

mer.serve()
"""


class FrameTrain(Case):
    """A model of the frame protocol without a command is told to train."""

    def setUp(self):
        super().setUp()
        self.data = self.file("data", "d\n")
        self.made = self.folder / "data2" / "mer" / "weights" / "m"
        self.env["XDG_DATA_HOME"] = str(self.folder / "data2")
        self.model("--protocol", "frame", "--env", f"PYTHONPATH={SOURCE / 'python'}",
                   argv=["/usr/bin/python3", self.file("model.py", SELF_TRAINED)])

    def test_candidate(self):
        done = subprocess.run([MER, "--log", "info", "--json", "train", "m", "--dataset", "data"], env=self.env,
                              cwd=self.folder, capture_output=True, timeout=DEADLINE_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr.decode(), r"m request_uid=\S+: begun\n")
        self.assertRegex(done.stderr.decode(), r"m request_uid=\S+: progress: 1 of 3: step\n")
        got = json.loads(done.stdout)
        self.assertEqual((got["version"], got["state"], got["metrics"]), ("1", "candidate", {"loss": 0.25, "n": 3}))
        self.assertEqual((self.made / "1").read_text(), f"{self.data}\n1\n\n\n")
        run, = self.json("log")
        self.assertEqual((run["kind"], run["status"], run["request_uid"]), ("train", "ok", got["made_by"]))
        self.out("weights", "use", "m", "1")
        self.assertEqual(self.json("train", "m", "--dataset", "data")["parent"], "1")
        self.assertEqual((self.made / "2").read_text(), f"{self.data}\n2\n{self.made}/1\n1\n")
        self.assertEqual(self.out("run", "m", "x"), "x")

    def test_failures_leave_nothing(self):
        bad, slow = self.file("bad", ""), self.file("slow", "")
        self.fails(2, "training: model 'm' failed: no such data", "train", "m", "--dataset", bad)
        self.assertEqual(list(self.made.iterdir()), [])
        mer = self.start("--log", "info", "train", "m", "--dataset", slow)
        self.assertRegex(self.line_of(mer.stderr), r"m request_uid=\S+: begun\n$")
        mer.send_signal(signal.SIGINT)
        self.assertEqual(mer.wait(DEADLINE_S), 130)
        self.assertEqual(list(self.made.iterdir()), [])
        self.fails(7, "training: model 'm' gave no answer within 1s", "train", "m", "--dataset", slow,
                   "--timeout", "1s")
        self.assertEqual(list(self.made.iterdir()), [])
        self.assertEqual([row["status"] for row in self.json("log")], ["timeout", "cancelled", "failed"])
        self.assertEqual(self.states(), {})

    def test_nothing_to_train(self):
        self.model("--protocol", "frame", name="fixed", argv=["{models}/moments/moments_frame"])
        self.fails(1, "training: model 'fixed' failed: there is nothing to train", "train", "fixed", "--dataset",
                   "data")


class Feedback(Case):
    def rated(self):
        return [json.loads(line) for line in self.out("feedback", "export", "m").splitlines()]

    def keep(self, uid, given, answered):
        with contextlib.closing(sqlite3.connect(self.state / "mer.db")) as db:
            db.execute("INSERT OR REPLACE INTO model_access_io (request_uid, input, output) VALUES (?, ?, ?)",
                       (uid, given, answered))
            db.commit()

    def test_add_and_export(self):
        self.model(argv=["cat"])
        self.assertEqual(self.rated(), [])
        uids = [self.json("run", "m", word)["request_uid"] for word in ("a", "b", "c")]
        self.json("run", "digest", "x")
        ends = {"MER_ALLOW_CHANGES": "0"}
        self.out("feedback", "add", uids[0], "2", "--expected", "A", "--note", "wrong", env=ends)
        self.out("feedback", uids[1], "5", env=ends)
        self.out("model-continuous-feedback", uids[2], "1", env=ends)
        self.file("e", b"\xff\n")
        self.out("continuous-feedback", uids[2], "3", "--expected", "@e", env=ends)
        self.keep(uids[0], b"a", b"a\n")
        self.keep(uids[1], b"\xfe", None)
        rows = self.rated()
        for row in rows:
            self.assertRegex(row.pop("created_at"), r"^20\d\d-")
        common = {"weights": "", "note": ""}
        self.assertEqual(rows, [
            common | {"request_uid": uids[0], "input": "a", "output": "a\n", "rating": 2, "expected": "A",
                      "note": "wrong"},
            common | {"request_uid": uids[1], "input_base64": base64.b64encode(b"\xfe").decode(), "output": None,
                      "rating": 5, "expected": None},
            common | {"request_uid": uids[2], "input": None, "output": None, "rating": 3,
                      "expected_base64": base64.b64encode(b"\xff\n").decode()}])
        self.out("feedback", "add", uids[1], "4", "--expected", "@@x")
        self.assertEqual([(row["rating"], row.get("expected")) for row in self.rated()],
                         [(2, "A"), (3, None), (4, "@x")])

    def test_refused(self):
        self.model(argv=["cat"])
        uid = self.json("run", "m", "a")["request_uid"]
        none = "01980000-0000-7000-8000-000000000999"
        for code, message, *args in (
                (3, f"there is no run '{none}'", "add", none, "3"),
                (3, "there is no run 'm'", "add", "m", "3"),
                (2, "RATING: '0' is not 1 to 5", "add", uid, "0"),
                (2, "RATING: '6' is not 1 to 5", uid, "6"),
                (2, "RATING: '3.5' is not 1 to 5", uid, "3.5"),
                (2, "RATING: 'on' is not 1 to 5", uid, "on"),
                (2, "'3' is not on or off", "m", "3"),
                (2, "--note is for a run", "m", "on", "--note", "x"),
                (2, "--expected: cannot open 'none': No such file or directory", "add", uid, "3", "--expected",
                 "@none"),
                (3, "there is no model 'nosuch'", "export", "nosuch"),
                (3, "there is no model 'nosuch'", "set", "nosuch", "on"),
                (3, "there is no model 'nosuch'", "nosuch", "on"),
                (2, "on|off: 'yes' is none of off, on", "set", "m", "yes"),
                (2, "--threshold: 6 is not 0 to 5", "set", "m", "on", "--threshold", "6")):
            with self.subTest(args=args):
                self.fails(code, message.replace("on|off:", "on[|]off:"), "feedback", *args)
        for args in (("set", "m", "on"), ("m", "on")):
            self.fails(4, "not allowed; start with --allow-changes", "feedback", *args,
                       env={"MER_ALLOW_CHANGES": "0"})
        self.assertEqual(self.rated(), [])

    def test_switch(self):
        self.model(argv=["cat"])
        for args, want in ((["set", "m", "on"], True), (["m", "off"], False), (["m", "on"], True)):
            self.out("feedback", *args)
            self.assertIs(self.json("model", "show", "m")["feedback"], want)
        self.out("run", "m", "batch asks nobody")
        self.out("feedback", "set", "m", "on", "--threshold", "5")
        self.out("feedback", "m", "off")
        self.out("feedback", "set", "m", "on", "--train-after", "0")
        with contextlib.closing(sqlite3.connect(self.state / "mer.db")) as db:
            self.assertEqual(db.execute("SELECT feedback, feedback_threshold, train_after FROM models "
                                        "WHERE name = 'm'").fetchall(), [(1, 5, 0)])

    def test_closes_the_loop(self):
        """Wrong answers, feedback, export, training, a candidate, its use, right answers."""
        with (IRIS / "iris.csv").open() as file:
            rows = [(",".join(row[:4]), row[4]) for row in list(csv.reader(file))[1:]]
        turned = {"setosa": "virginica", "virginica": "versicolor", "versicolor": "setosa"}
        header = "sepal_length,sepal_width,petal_length,petal_width,species\n"
        bad = self.file("bad.csv", header + "".join(f"{flower},{turned[name]}\n" for flower, name in rows))
        self.out("train", "iris", "--dataset", bad, "--activate", "--new", "bad")
        keeps = subprocess.run([MER, "model", "set", "iris", "keep-io=on"], env=self.env,
                               capture_output=True).returncode == 0
        asked = rows[::4]  # some of each species
        inputs = self.file("flowers", "".join(flower + "\n" for flower, _ in asked))
        answers = [json.loads(line) for line in self.out("run", "--jsonl", "--lines", "iris", f"@{inputs}").splitlines()]
        self.assertEqual({answer["weights"] for answer in answers}, {"bad"})
        for (flower, name), answer in zip(asked, answers):
            self.assertNotEqual(answer["output"], name + "\n")
            self.out("feedback", "add", answer["request_uid"], "1", "--expected", name)
            if not keeps:
                self.keep(answer["request_uid"], flower.encode(), answer["output"].encode())
        rated = self.file("rated.jsonl", self.out("feedback", "export", "iris"))
        made = self.json("train", "iris", "--dataset", rated)
        self.assertEqual((made["state"], made["parent"]), ("candidate", "bad"))
        self.assertNotEqual(self.out("run", "iris", asked[0][0]), asked[0][1] + "\n")
        self.out("weights", "use", "iris", made["version"])
        right = sum(got == name for got, (_, name) in
                    zip(self.out("run", "--lines", "iris", f"@{inputs}").splitlines(), asked))
        self.assertGreaterEqual(right, len(asked) - 2)
        self.assertEqual(self.out("run", "iris", asked[0][0]), asked[0][1] + "\n")


PROMPT, RATE, SHOULD = "mer> ", "rate it, 1 to 5 (Enter skips): ", "what should it have been (Enter skips): "
OFFER = "a dataset to train it with (Enter skips): "


@unittest.skipUnless((PREFIX / "lib" / "mer" / "prompt.so").exists(), "built without the prompt")
class Prompt(Case):
    def spawn(self, *args, **env):
        import pexpect

        child = pexpect.spawn("/usr/bin/env", [MER, *args], env=self.env | {"TERM": "xterm"} | env, encoding="utf-8",
                              timeout=DEADLINE_S, dimensions=(24, 100), cwd=str(self.folder), echo=True)
        self.addCleanup(child.close, force=True)
        child.delaybeforesend = 0
        child.expect_exact(PROMPT)
        return child

    @staticmethod
    def say(child, line, then=PROMPT):
        """Types a line; what is printed until then, without the line itself."""
        child.sendline(line)
        child.expect_exact(then)
        text = re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", child.before).replace("\r", "")
        return text.partition("\n")[2]

    def rated(self):
        return [(row["rating"], row.get("expected")) for row in
                map(json.loads, self.out("feedback", "export", "m").splitlines())]

    def test_what_was_typed_ahead_is_no_rating(self):
        os.mkfifo(self.folder / "go")
        self.model(argv=["sh", "-c", f"echo here; read x <{self.folder}/go"])
        child = self.spawn()
        self.say(child, "feedback m on")
        child.sendline("run m x")
        child.expect_exact("here")
        child.sendline("version")
        child.expect_exact("version")  # the terminal has it
        (self.folder / "go").write_text("x\n")
        child.expect_exact("mer 0.1.0")
        child.expect_exact(PROMPT)
        child.sendeof()
        child.wait()
        self.assertEqual(self.rated(), [])

    def test_asks_after_each_run(self):
        self.model(argv=["cat"])
        child = self.spawn()
        self.assertEqual(self.say(child, "run m a"), "a\n")
        self.say(child, "feedback m on")
        self.assertEqual(self.say(child, "run m a", RATE), "a\n")
        self.say(child, "4")
        self.say(child, "run m b", RATE)
        self.say(child, "2", SHOULD)
        self.say(child, "B b")
        self.say(child, "run m c", RATE)
        self.say(child, "1", SHOULD)
        self.say(child, "")
        self.say(child, "run m d", RATE)
        self.say(child, "")
        self.say(child, "run m e", RATE)
        self.say(child, "7", RATE)
        child.sendintr()
        child.expect_exact(PROMPT)
        self.say(child, "run m f", RATE)
        self.say(child, "2", SHOULD)
        child.sendintr()
        child.expect_exact(PROMPT)
        self.assertEqual(self.rated(), [(4, None), (2, "B b"), (1, None), (2, None)])
        for line in ("run --no-record m g", "run --json m g", "run nosuch g", "version",
                     "run --timeout 1ms slow g"):
            self.say(child, line)
        self.say(child, "feedback m off")
        self.assertEqual(self.say(child, "run m a"), "a\n")
        self.assertNotIn("B b", (self.state / "history").read_text())
        child.sendeof()
        child.expect_exact("\n")
        child.wait()

    def test_end_of_input_leaves(self):
        self.model(argv=["cat"])
        self.out("feedback", "m", "on")
        child = self.spawn()
        self.say(child, "run m a", RATE)
        child.sendeof()
        child.expect_exact(PROMPT)
        self.assertEqual(self.rated(), [])

    def test_offers_training(self):
        self.data = self.file("d.csv", "d\n")
        self.model("--train", "sh -c 'echo w >\"$0\"; echo half way' {new_weights}", argv=["cat"])
        self.out("feedback", "set", "m", "on", "--train-after", "2", "--threshold", "4")
        child = self.spawn()
        for rating in (3, 4):
            self.say(child, "run m a", RATE)
            if rating < 4:
                self.say(child, str(rating), SHOULD)
                self.say(child, "")
            else:
                self.say(child, str(rating))
        self.say(child, "run m a", RATE)
        self.say(child, "1", SHOULD)
        self.assertIn("2 answers of model 'm' with these weights were rated below 4", self.say(child, "", OFFER))
        text = self.say(child, "d.csv")
        self.assertIn("half way\n", text)
        self.assertIn("weights '1' of model 'm' are there; 'weights use' makes them the active ones\n", text)
        self.assertEqual(self.states(), {"1": "candidate"})
        for then in (PROMPT, OFFER):
            self.say(child, "run m a", RATE)
            self.say(child, "1", SHOULD)
            self.say(child, "", then)
        self.say(child, "")
        self.assertEqual(self.states(), {"1": "candidate"})
        # Whoever may change nothing is not asked.
        child = self.spawn(MER_ALLOW_CHANGES="0")
        for _ in range(2):
            self.say(child, "run m a", RATE)
            self.say(child, "1", SHOULD)
            self.say(child, "")

    def test_training_is_shown_and_interrupted(self):
        self.data = self.file("d.csv", "d\n")
        self.model("--train", "sh -c 'echo w >\"$0\"; printf \"50\\\\033[1m%%\\n\" >&2; exec sleep 60' {new_weights}")
        child = self.spawn()
        child.sendline("train m --dataset d.csv")
        child.expect_exact("50^[[1m%")
        child.sendintr()
        child.expect_exact(PROMPT)
        self.assertIn("mer: training: the run of model 'm' was cancelled", child.before)
        self.assertEqual(list((self.folder / "data" / "mer" / "weights" / "m").iterdir()), [])


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
