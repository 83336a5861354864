#!/usr/bin/python3
"""`mer run --lines`: --resume, with mer killed at any moment, and the progress line. MER_PREFIX names the installation.
Prints TAP when run as a program."""
import json
import os
import random
import re
import signal
import stat
import subprocess
import unittest

from record_case import DEADLINE_S, MER, PYTHON, SANITIZED, OnSqlite, main
from on_terminal import on_terminal

# Answers a line <X> for X; fails for what the file `bad` has, and counts what it was asked in `asked`.
WORKER = """import sys
print("READY", flush=True)
for line in sys.stdin:
    if line != "GO\\n":
        break
    text = sys.stdin.readline().rstrip("\\n")
    sys.stdin.readline()
    with open("asked", "a") as asked:
        asked.write(text + "\\n")
    if text in open("bad").read().split():
        print("bad", text, file=sys.stderr, flush=True)
    else:
        print("<%s>" % text, flush=True)
"""
TOKEN = ("--protocol", "token", "--answer", "line", "--ready-token", "READY", "--start-token", "GO", "--stop-token",
         "OVER", "--error-line", "bad *", "--max-workers", "4")


class Case(OnSqlite):
    def setUp(self):
        super().setUp()
        self.file("worker.py", WORKER)
        self.file("bad", "")
        self.change("model", "add", "m", *TOKEN, "--", PYTHON, "worker.py")
        self.journal = self.folder / "J"

    def input(self, n, name="in"):
        return "@" + str(self.file(name, "".join(f"{number}\n" for number in range(1, n + 1))))

    def run_lines(self, code, source, *options, model="m", **more):
        return self.call(code, "run", "--lines", "--resume", self.journal, *options, model, source, **more)

    def append(self, code, source, *options, before=()):
        with open(self.folder / "out", "ab") as out:
            child = self.start(*before, "run", "--lines", "--resume", self.journal, *options, "m", source, stdout=out)
            err = child.communicate(timeout=DEADLINE_S)[1].decode()
            self.assertEqual(code, child.returncode, err)
        return err

    @staticmethod
    def answers(*numbers):
        return "".join(f"<{number}>\n" for number in numbers).encode()

    def asked(self):
        path = self.folder / "asked"
        return path.read_text().split() if path.exists() else []


class Resume(Case, unittest.TestCase):
    def test_answers_the_rest(self):
        """After a line that failed, in each way of output."""
        self.file("bad", "4")
        out, err = self.run_lines(1, self.input(6))
        self.assertEqual(self.answers(1, 2, 3), out)
        self.assertIn("line 4", err)
        self.file("bad", "")
        self.assertEqual(self.answers(4, 5, 6), self.run_lines(0, self.input(6))[0])
        self.assertEqual(b"", self.run_lines(0, self.input(6))[0])
        self.assertEqual(b"", self.run_lines(0, "-", stdin=open(self.folder / "in", "rb"))[0])
        self.assertEqual(list("1234456"), self.asked())
        self.assertEqual(0o600, stat.S_IMODE(self.journal.stat().st_mode))
        self.assertEqual(self.answers(7, 8), self.run_lines(0, self.input(8))[0])  # it has grown

    def test_failed_lines_come_later(self):
        """--keep-going: a line that fails is no answer yet; as objects each says its line."""
        self.file("bad", "2 4")
        out, _ = self.run_lines(1, self.input(5), "--keep-going")
        self.assertEqual(self.answers(1, 3, 5), out)
        self.file("bad", "4")
        out, err = self.run_lines(1, self.input(5), "--keep-going", "--jsonl")
        self.assertEqual([(2, "ok", "<2>\n"), (4, "failed", "")],
                         [(row["line"], row["status"], row["output"]) for row in map(json.loads, out.splitlines())])
        self.assertEqual(1, len(err.splitlines()))

    def test_objects_name_the_run(self):
        rows = [json.loads(line) for line in self.run_lines(0, self.input(3), "--jsonl")[0].splitlines()]
        recorded = [line.split()[3] for line in self.journal.read_text().splitlines() if line.startswith("ok ")]
        self.assertEqual([row["request_uid"] for row in rows], recorded)

    def test_refusals(self):
        self.change("model", "add", "other", "--", "cat")
        self.run_lines(0, self.input(3))
        before = self.journal.read_bytes()
        rows = (
            (4, (self.input(3),), {"model": "other"}, "is of model 'm', not 'other'"),
            (4, ("@" + str(self.file("in2", "1\ntwo\n3\n")),), {}, "of another input: its line 2 differs"),
            (4, (self.input(2, "in3"),), {}, "it has line 3, and this one 2 lines"),
            (3, (self.input(3),), {"model": "n"}, "no model 'n'"),
            (2, (self.input(3), "--json"), {}, "an array cannot be continued"),
        )
        for code, words, more, message in rows:
            with self.subTest(message):
                out, err = self.run_lines(code, *words, **more)
                self.assertNotIn(b"<", out)
                self.assertIn(message, err)
                if code == 4:
                    self.assertIn(f"hint: name another file for --resume, or remove '{self.journal}'", err)
        self.assertTrue(self.journal.read_bytes().startswith(before))
        self.assertIn("--resume", self.call(2, "run", "--resume", "J", "m", "x")[1])
        self.assertEqual(["1", "2", "3"], self.asked())

    def test_no_journal(self):
        for content in ("something else", "something else\n", "mer-lines 2 m - \n", "mer-lines 1 m - \nok x\nok y\n"):
            with self.subTest(repr(content)):
                self.journal.write_text(content)
                self.assertIn("journal", self.run_lines(2, self.input(2))[1])
                self.assertEqual(content, self.journal.read_text())
        self.journal.unlink()
        self.journal.mkdir()
        self.run_lines(2, self.input(2))
        self.assertEqual([], self.asked())

    def test_other_weights(self):
        weights = self.file("weights", "one")
        self.change("weights", "add", "m", weights)
        self.change("weights", "use", "m", "1")
        self.run_lines(0, self.input(2))
        self.change("weights", "add", "m", self.file("two", "two"))
        self.change("weights", "use", "m", "2")
        self.assertIn("is of other weights than '2'", self.run_lines(4, self.input(3))[1])
        self.assertEqual(self.answers(3), self.run_lines(0, self.input(3), "--weights", "1")[0])

    def test_torn_records(self):
        """A record that was cut anywhere is as if it had not been begun."""
        self.run_lines(0, self.input(3))
        whole = self.journal.read_bytes()
        for cut in range(1, len(whole), 7):
            self.journal.write_bytes(whole[:cut])
            self.assertIn(self.run_lines(0, self.input(3))[0],
                          (self.answers(1, 2, 3), self.answers(2, 3), self.answers(3), b""))
            self.assertEqual(b"", self.run_lines(0, self.input(3))[0])

    def test_one_at_a_time(self):
        os.mkfifo(self.folder / "pipe")
        child = self.start("run", "--lines", "--resume", self.journal, "m", f"@{self.folder / 'pipe'}")
        with open(self.folder / "pipe", "w", encoding="utf-8") as pipe:
            pipe.write("1\n")
            pipe.flush()
            self.assertEqual(b"<1>\n", child.stdout.readline())
            self.assertIn("another mer is at", self.run_lines(4, self.input(2))[1])
        self.assertEqual(0, child.wait(DEADLINE_S))

    def test_file_of_before(self):
        """What was in the output stays, and what others wrote behind an orderly end."""
        self.file("out", "before\n")
        self.file("bad", "3")
        self.append(1, self.input(4))
        with open(self.folder / "out", "ab") as out:
            out.write(b"between\n")
        self.file("bad", "")
        self.append(0, self.input(4))
        self.assertEqual(b"before\n" + self.answers(1, 2) + b"between\n" + self.answers(3, 4),
                         (self.folder / "out").read_bytes())

    def test_answer_without_record(self):
        """As of a mer that was killed in between: it is cut off, whole or torn, and made again."""
        self.file("bad", "3")
        self.append(1, self.input(4))
        self.file("bad", "")
        records = self.journal.read_bytes().rpartition(b"end ")[0]
        for rest in (b"", b"<3", b"<3>\n"):
            with self.subTest(rest):
                self.journal.write_bytes(records)
                (self.folder / "out").write_bytes(self.answers(1, 2) + rest)
                self.append(0, self.input(4))
                self.assertEqual(self.answers(1, 2, 3, 4), (self.folder / "out").read_bytes())

    def test_answers_lost(self):
        """Records of answers that did not come to the disk count for nothing."""
        self.append(0, self.input(4))
        self.journal.write_bytes(self.journal.read_bytes().rpartition(b"end ")[0])
        for size in (9, 4):
            os.truncate(self.folder / "out", size)
            self.append(0, self.input(4))
            self.assertEqual(self.answers(1, 2, 3, 4), (self.folder / "out").read_bytes())
            self.journal.write_bytes(self.journal.read_bytes().rpartition(b"end ")[0])

    def test_all_answers_lost(self):
        """What was in the file before them stays."""
        self.file("out", "before\n")
        self.append(0, self.input(2))
        self.journal.write_bytes(self.journal.read_bytes().rpartition(b"end ")[0])
        os.truncate(self.folder / "out", 9)
        self.append(0, self.input(2))
        self.assertEqual(b"before\n" + self.answers(1, 2), (self.folder / "out").read_bytes())

    def test_emptied_on_purpose(self):
        """Then the rest is what there is to answer, as into another file."""
        self.file("bad", "3")
        self.append(1, self.input(4))
        self.journal.write_bytes(self.journal.read_bytes().rpartition(b"end ")[0])
        self.file("bad", "")
        self.file("out", "")
        self.append(0, self.input(4))
        self.assertEqual(self.answers(3, 4), (self.folder / "out").read_bytes())

    def test_killed_at_any_moment(self):
        """Again and again until all is answered: in the file each answer is there once, in order."""
        chance = random.Random(os.getpid())
        n, kills = (60, 12) if SANITIZED else (400, 40)
        source, expected = self.input(n), self.answers(*range(1, n + 1))
        for jobs in ("1", "4"):
            with self.subTest(jobs=jobs):
                ended = 0
                for turn in range(kills):
                    with open(self.folder / "out", "ab") as out:
                        child = self.start("run", "--lines", "--jobs", jobs, "--resume", self.journal, "m", source,
                                           stdout=out, stderr=subprocess.DEVNULL)
                    try:  # the moment is whatever it is; nothing is waited for
                        child.wait(chance.uniform(0.02, 0.3 if turn % 2 else 0.12))
                        ended += 1
                    except subprocess.TimeoutExpired:
                        child.send_signal(signal.SIGKILL if turn % 4 else signal.SIGTERM)
                        child.wait(DEADLINE_S)
                    text = (self.folder / "out").read_bytes()
                    cut = text.rpartition(b"\n")[0]
                    self.assertTrue(expected.startswith(cut), text[-200:])
                    if ended > 1:
                        break
                self.append(0, source, "--jobs", jobs)
                self.assertEqual(expected, (self.folder / "out").read_bytes())
                (self.folder / "out").unlink()
                self.journal.unlink()

    def test_killed_into_a_pipe(self):
        """There at most the last answer comes twice, and none is missing."""
        n, got = 60, b""
        source = self.input(n)
        for reads in (1, 7, 30):
            child = self.start("run", "--lines", "--resume", self.journal, "m", source)
            for _ in range(reads):
                got += child.stdout.readline()
            child.kill()
            got += child.stdout.read()
            child.wait(DEADLINE_S)
        got += self.run_lines(0, source)[0]
        lines = got.split()
        self.assertEqual(self.answers(*range(1, n + 1)).split(), list(dict.fromkeys(lines)))
        self.assertLessEqual(len(lines), n + 3)


class Progress(Case, unittest.TestCase):
    def setUp(self):
        super().setUp()
        # The second line takes as long as the test of it needs: it is answered when something was drawn twice.
        self.change("model", "add", "slow", "--", "sh", "-c", 'read x; [ "$x" != 2 ] || sleep 0.5; echo "<$x>"')

    def drawn(self, *words, stdout=None, term="xterm", **options):
        code, text = on_terminal([MER, *words], self.env | {"TERM": term}, self.folder, stdout=stdout, **options)
        return code, text.replace("\r\n", "\n")

    def test_drawn_and_gone(self):
        with open(self.folder / "out", "wb") as out:
            code, text = self.drawn("run", "--lines", "slow", self.input(3), stdout=out)
        self.assertEqual(0, code)
        self.assertRegex(text, r"^(\r1 done, [\d.]+/s, [\d.]+(ms|s) left\033\[K)+")
        self.assertRegex(text, "\r\033\\[K$")
        self.assertEqual("", re.sub(r"\r[^\r]*\033\[K", "", text))
        self.assertEqual(self.answers(1, 2, 3), (self.folder / "out").read_bytes())

    def test_beside_answers(self):
        """Where stdout is the same terminal the line goes before an answer comes."""
        code, text = self.drawn("run", "--lines", "slow", self.input(3))
        self.assertEqual(0, code)
        self.assertIn("1 done", text)
        self.assertEqual("<1>\n<2>\n<3>\n", re.sub(r"\r[^\r\n]*\033\[K", "", text))

    def test_failures_are_counted(self):
        self.change("model", "add", "fails", "--", "sh", "-c", 'read x; case $x in 1) exit 1;; 2) sleep 0.5;; esac')
        with open(self.folder / "out", "wb") as out:
            code, text = self.drawn("run", "--lines", "--keep-going", "fails", self.input(3), stdout=out)
        self.assertEqual(1, code)
        self.assertRegex(text, r"\r1 done, 1 failed, [\d.]+/s, [\d.]+m?s left\033\[K")
        self.assertIn("mer: line 1: ", text)

    def test_cut_to_the_width(self):
        with open(self.folder / "out", "wb") as out:
            _, text = self.drawn("run", "--lines", "slow", self.input(3), stdout=out, columns=10)
        pieces = re.findall(r"\r([^\r\033]*)\033\[K", text)
        self.assertIn("1 done, ", [piece[:8] for piece in pieces])
        self.assertLess(max(map(len, pieces)), 10)

    def test_size_not_known(self):
        with open(self.folder / "out", "wb") as out, subprocess.Popen(
                ["cat", self.input(3)[1:]], stdout=subprocess.PIPE) as cat:
            _, text = self.drawn("run", "--lines", "slow", "-", stdout=out, stdin=cat.stdout)
        self.assertIn("\r1 done, ", text)
        self.assertNotIn("left", text)

    def test_never(self):
        for words, term in ((["--quiet"], "xterm"), ([], "dumb"), ([], "")):
            with self.subTest(words=words, term=term), open(self.folder / "out", "wb") as out:
                self.assertEqual((0, ""), self.drawn(*words, "run", "--lines", "slow", self.input(3), stdout=out,
                                                     term=term))
        out, err = self.call(0, "run", "--lines", "slow", self.input(3), env={"TERM": "xterm"})
        self.assertEqual((self.answers(1, 2, 3), ""), (out, err))


if __name__ == "__main__":
    main("__main__")
