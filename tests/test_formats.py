#!/usr/bin/python3
"""What commands print, in every format: against golden files (tests/golden, one a command and format), against each
other, against what `mer --print contract` and docs/formats.md say of it, and on terminals of all widths and both kinds
of locale. MER_PREFIX names the installation, MER_SOURCE the sources. With MER_GOLDEN=write the golden files are
written anew. Prints TAP when run as a program."""
import csv
import fcntl
import hashlib
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import struct
import subprocess
import termios
import time
import unicodedata
import unittest
from pathlib import Path

from record_case import DEADLINE_S, MER, MIGRATE, SANITIZED, OnPostgres, OnSqlite, main

SOURCE = Path(os.environ.get("MER_SOURCE", Path(__file__).parent.parent)).resolve()
GOLDEN = SOURCE / "tests" / "golden"
WRITE = os.environ.get("MER_GOLDEN") == "write"
FORMATS = ("table", "json", "jsonl", "csv", "plain", "vertical")
RUN = "01980000-1000-7000-8000-00000000000%d"

# What each command prints in which format is a golden file: its words with hyphens.
COMMANDS = (
    ("model", "list"), ("model", "show", "echo"), ("deployment", "list"), ("deployment", "show", "echo"),
    ("server", "list"), ("server", "show", "gpu"), ("weights", "list", "echo"), ("weights", "list", "--check", "echo"),
    ("log",), ("log", "show", RUN % 2), ("log", "--status", "failed", "--columns", "error,model"),
    ("log", "--sort", "infer_ms:desc"), ("worker-check", "--list"), ("version",),
    ("stats",), ("stats", "echo"), ("export",),
)
# The same of commands that run or change something, or take files: each is done on what was there before any of them.
# KEPT is a run that can be replayed, HOW the format.
DOING = (
    ("weights", "add", "echo", "weights.bin", "--version", "3"), ("model", "ping", "same"), ("server", "ping", "local"),
    ("train", "makes", "--dataset", "weights.bin", "--new", "3"),
    ("db", "copy", "--from", "sqlite:mer.db", "--to", "sqlite:copy.db"), ("apply", "--dry-run", "shop.yaml"),
    ("run", "same", "x"), ("replay", "KEPT"), ("feedback", "export", "same"),
    ("log", "export", "--model", "echo", "--format", "HOW"),
)
# Commands that do not print in all formats.
SOME_FORMATS = {
    "version": ("json", "jsonl", "plain"), "export": ("json", "jsonl", "plain"), "apply": ("json", "jsonl", "plain"),
    "run": ("json", "jsonl", "plain"), "replay": ("json", "jsonl", "plain"), "feedback export": ("jsonl",),
    "log export": ("jsonl", "csv"),
}
# Those that have no golden file, and why.
NO_GOLDEN = {
    "db backup": "its size and digest follow what is in the database: test_backup", "db check": "as doctor",
    "db restore": "the name of what is kept has the time in it: test_backup",
    "doctor": "which rows there are, and how wide, depends on how mer was built, on its prefix and on the disk",
    "help": "text for people, the same in every format: test_help",
} | dict.fromkeys(("runs", "wait", "cancel", "chat", "set"), "only at the prompt: test_prompt_runs") | dict.fromkeys((
    "model add", "model set", "model remove", "deployment add", "deployment set", "deployment remove", "server add",
    "server set", "server remove", "server trust", "weights use", "weights remove", "feedback", "feedback set",
    "feedback add", "log prune", "exit"), "prints nothing")


def name_in(contract, command):
    """The command's name of those in the contract: the longest that it begins with."""
    return max((name for name in contract if command[:name.count(" ") + 1] == tuple(name.split())), key=len)


def golden_path(command, how):
    words = [re.sub(r"[^\w-]+", "-", word.lstrip("-")) for word in command if not word.startswith(("0198", "KEPT", "HOW"))]
    return GOLDEN / f"{'-'.join(words)}.{how}"


# Texts that try each format: separators and what escapes them, lines, control characters, characters that are wide,
# combine or are joined, and such that turn the line.
HARD = ('say "a,b"\tand\nmore\\n', "\033]0;owned\a\033[31mred\r\x9b1m", "名前 は 日本語 です", "cafe\u0301 \U0001f600",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 family", "\u202egnp.exe", "x" * 300, "")


def width(text):
    """Columns of a terminal, for the characters that are used here."""
    return sum(0 if unicodedata.combining(c) or unicodedata.category(c) in ("Cf", "Mn") else
               2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fill(folder):
    """Makes everything in the database the same each time, so that what is printed of it is."""
    db = sqlite3.connect(folder / "mer.db", isolation_level=None, timeout=DEADLINE_S)
    moment = "2026-01-31T12:00:0%d.123Z"
    db.execute("INSERT INTO servers (uid, name, kind, host, port, username, params) VALUES ('01980000-9999-7000-8000-"
               "000000000000', 'gpu', 'ssh', 'gpu.example', 2222, 'ann', '{\"ConnectTimeout\":\"5\"}')")
    for table, key in (("models", "model_uid"), ("servers", "server_uid")):
        for n, (uid,) in enumerate(db.execute(f"SELECT uid FROM {table} ORDER BY name").fetchall()):
            new = "01980000-%s-7000-8000-%012d" % ("2000" if table == "models" else "3000", n)
            db.execute(f"UPDATE {table} SET uid = ? WHERE uid = ?", (new, uid))
            db.execute(f"UPDATE deployments SET {key} = ? WHERE {key} = ?", (new, uid))
            if table == "models":
                db.execute("UPDATE model_weights SET model_uid = ? WHERE model_uid = ?", (new, uid))
    for n, (uid,) in enumerate(db.execute("SELECT uid FROM deployments ORDER BY model_uid, name").fetchall()):
        db.execute("UPDATE deployments SET uid = ?, max_workers = 3 WHERE uid = ?",
                   ("01980000-4000-7000-8000-%012d" % n, uid))
    for n, (uid,) in enumerate(db.execute("SELECT uid FROM model_weights ORDER BY uid").fetchall()):
        db.execute("UPDATE model_weights SET uid = ?, created_at = ?, made_by = '' WHERE uid = ?",
                   ("01980000-5000-7000-8000-%012d" % n, moment % 0, uid))
    for n, text in enumerate(HARD):
        status = ("ok", "failed", "timeout", "running")[n % 4]
        db.execute(
            "INSERT INTO model_access (request_uid, model, deployment_uid, server, weights, door, who, host, pid, "
            "status, queued_at, started_at, stopped_at, exit_code, signal, error, stderr_tail, attempts, queue_ms, "
            "start_ms, infer_ms, bytes_in, bytes_out, sha256_in, sha256_out, owner) VALUES (?, 'echo', ?, 'local', ?, "
            "'batch', 'ann', 'host', ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, ?, ?, 12, ?, '', '', '')",
            (RUN % n, "01980000-4000-7000-8000-000000000000", "1" if n % 2 else "", 4000 + n, status, moment % n,
             moment % n, None if status == "running" else moment % (n + 1), 1 if status == "failed" else None,
             "SIGSEGV" if n == 5 else "", text if status != "ok" else "", text, n * 9, (n * 7 % 5) * 100 if n else None,
             n * 1000))
    db.close()


class OnFilled(OnSqlite):
    def setUp(self):
        super().setUp()
        weights = self.file("weights.bin", "weights")
        self.change("model", "add", "echo", "--summary", "says it again, and again, and \"again\", whatever it is",
                    "--timeout", "30s", "--max-output", "1MiB", "--env", "A=b c", "--limit", "memory=64MiB",
                    "--workdir", "/", "--train", "true {new_weights}", "--", "cat", "a b")
        self.change("model", "add", "same", "--timeout", "2h", "--max-output", "64KiB", "--workdir", "/", "--", "cat")
        for version in ("1", "2"):
            self.change("weights", "add", "echo", weights, "--version", version)
        self.change("weights", "use", "echo", "2")
        self.sql("PRAGMA foreign_keys = OFF")
        fill(self.folder)

    def printed(self, command, how, **options):
        env = {"MER_FORMAT": how, "COLUMNS": "80"} | options.pop("env", {})
        return self.out(*command, env=env, **options)

    def fixed(self, out):
        """Without what is this test's own, in the same width."""
        folder = str(self.folder).encode()
        return out.replace(folder, b"/" + b"tmp/folder".ljust(len(folder) - 1, b"."))


class Golden(OnFilled, unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.contract = {said["name"]: said for said in json.loads(self.out("--print", "contract"))["commands"]}

    def formats(self, command):
        return SOME_FORMATS.get(name_in(self.contract, command), FORMATS)

    def check(self, command, how, out):
        path = golden_path(command, how)
        if WRITE:
            GOLDEN.mkdir(exist_ok=True)
            path.write_bytes(out)
        self.assertTrue(path.exists(), "MER_GOLDEN=write makes it")
        self.assertEqual(path.read_bytes().decode(), out.decode())

    def test_golden(self):
        for command in COMMANDS:
            for how in self.formats(command):
                with self.subTest(command, how=how):
                    self.check(command, how, self.fixed(self.printed(command, how)))

    @staticmethod
    def marked(command, out):
        """Marks for what is another each time, in its width: uids, times, and digests of rows with such in them. How
        long something took has no width of its own."""
        def mark(letter):
            return lambda found: re.sub(rb"[0-9a-f]", letter, found[0])
        out = re.sub(rb"\b(?!01980000)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", mark(b"u"), out)
        out = re.sub(rb"\b(?!2026-01-31T12:00:0)\d{4}-\d\d-\d\dT[\d:.]{12}Z", mark(b"t"), out)
        if command[0] == "db":
            empty = hashlib.sha256().hexdigest()[:8].encode()
            out = re.sub(rb"\b(?!%s)[0-9a-f]{48,64}" % empty, mark(b"d"), out)
        if command[0] != "log":
            out = re.sub(rb'(_ms":|ready in |\b(?:same|local),local,)\d+', rb"\1N", out)
        return out

    def test_doing(self):
        self.change("model", "add", "makes", "--train", "touch {new_weights}", "--", "cat")
        self.change("model", "set", "same", "keep-io=on")
        self.file("shop.yaml", "version: 1\nmodels: {echo: {summary: other}, new: {deployments: {local: {argv: [cat]}}}}\n")
        kept = json.loads(self.out("run", "--json", "same", "kept"))["request_uid"]
        self.out("feedback", "add", kept, "4", "--expected", "other", "--note", "a note")
        before = self.sqlite(":memory:")
        now = self.sqlite(self.folder / "mer.db")
        now.backup(before)
        for command in DOING:
            for how in self.formats(command):
                with self.subTest(command, how=how):
                    before.backup(now)
                    shutil.rmtree(self.folder / ".local", ignore_errors=True)
                    for path in self.folder.glob("copy.db*"):
                        path.unlink()
                    self.call(0, "--quiet", "up", "--database", "sqlite:copy.db", program=MIGRATE)
                    words = [{"KEPT": kept, "HOW": how}.get(word, word) for word in command]
                    out = self.fixed(self.printed(words, how, env={"MER_ALLOW_CHANGES": "1"}))
                    self.check(command, how, self.marked(command, out))

    def sqlite(self, path):
        db = sqlite3.connect(path, isolation_level=None, timeout=DEADLINE_S)
        self.addCleanup(db.close)
        return db

    def test_nothing_is_left_out(self):
        """A golden file of each command that prints, or a reason why there is none."""
        there = {name_in(self.contract, command) for command in COMMANDS + DOING}
        self.assertEqual(set(self.contract), there | set(NO_GOLDEN), "in neither, or no command")
        self.assertEqual(set(), there & set(NO_GOLDEN), "in both")
        prints = {name for name, said in self.contract.items() if said["prints"]}
        self.assertEqual(set(), {name for name in prints if NO_GOLDEN.get(name) == "prints nothing"})
        self.assertEqual({golden_path(command, how).name for command in COMMANDS + DOING
                          for how in self.formats(command)},
                         {path.name for path in GOLDEN.iterdir()}, "a file of no command, or none of one")

    def test_both_ways_to_say_it(self):
        for how in FORMATS[1:]:
            for words in ((f"--{how}", "model", "list"), ("model", "list", f"--{how}")):
                self.assertEqual(self.printed(("model", "list"), how), self.out(*words))
        for words in (("-x", "log"), ("log", "-x"), ("--json", "log", "-x")):
            self.assertEqual(self.printed(("log",), "vertical"), self.out(*words))


def unescaped(field):
    return re.sub(r"\\(.)", lambda m: {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}[m[1]], field)


def flat(value):
    """A value of JSON as CSV and plain have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else value if isinstance(value, (dict, list)) else str(value)


class Agreement(OnFilled, unittest.TestCase):
    """All formats say the same."""
    LISTS = [command for command in COMMANDS if command[-1] in ("list", "log", "--list") or command[0] == "log" and
             command[1:2] != ("show",)] + [("weights", "list", "echo"), ("log", "export")]

    def rows(self, command):
        if command == ("log", "export"):
            return [json.loads(line) for line in self.out(*command).decode().splitlines()]
        return json.loads(self.printed(command, "json"))

    def same(self, rows, fields):
        self.assertEqual(len(rows), len(fields))
        for row, line in zip(rows, fields):
            for (name, value), field in zip(row.items(), line, strict=True):
                value = flat(value)
                self.assertEqual(value, json.loads(field) if isinstance(value, (dict, list)) else field, name)

    def test_csv(self):
        for command in self.LISTS:
            export = command == ("log", "export")
            out = self.out(*command, "--format", "csv") if export else self.printed(command, "csv")
            self.assertNotRegex(re.sub(rb'"([^"]|"")*"', b"", out), rb"[^\r]\n", "lines end in CRLF")
            lines = list(csv.reader(io.StringIO(out.decode(), newline=""), strict=True))
            rows = self.rows(command)
            self.assertEqual(list(rows[0]), lines[0], "a header")
            self.same(rows, lines[1:])

    def test_plain(self):
        for command in self.LISTS:
            if command != ("log", "export"):
                lines = self.printed(command, "plain").decode().split("\n")
                self.assertEqual("", lines.pop(), "each line is ended")
                self.same(self.rows(command), [[unescaped(field) for field in line.split("\t")] for line in lines])

    def test_jsonl(self):
        for command in self.LISTS:
            out = self.out(*command) if command == ("log", "export") else self.printed(command, "jsonl")
            self.assertEqual(self.rows(command), [json.loads(line) for line in out.decode().split("\n")[:-1]])

    def test_vertical(self):
        out = self.printed(("log",), "vertical").decode()
        records = re.split(r"^-\[ RECORD (\d+) \]-*\n", out, flags=re.M)
        self.assertEqual("", records[0])
        self.assertEqual([str(n + 1) for n in range(len(HARD))], records[1::2])
        for row, record in zip(self.rows(("log",)), records[2::2], strict=True):
            fields = {}
            for line in record[:-1].split("\n"):
                name, value = re.fullmatch(r"(\w*) *\| ?(.*)", line, flags=re.S).groups()
                last = name or last
                fields[last] = fields[last] + "\n" + value if last in fields else value
            self.assertEqual({name: flat(value) for name, value in row.items()}, fields)

    def test_empty(self):
        for how, out in (("table", b""), ("json", b"[]\n"), ("jsonl", b""), ("plain", b""), ("vertical", b""),
                         ("csv", b"model,status\r\n")):
            words = ("log", "--since", "2999-01-01", "--columns", "model,status")
            self.assertEqual(out, self.printed(words, how), how)


class Columns(OnFilled, unittest.TestCase):
    """--columns and --sort."""
    def columns(self, *words):
        return [line.split("\t") for line in self.out(*words, "--plain").decode().splitlines()]

    def test_columns(self):
        self.assertEqual([["cat", "echo"], ["cat", "same"]],
                         [[json.loads(argv)[0], name] for argv, name in
                          self.columns("deployment", "list", "--columns", "argv,model")
                          if name in ("echo", "same")])
        self.assertEqual(["status", "request_uid"], list(json.loads(self.out("log", "--json", "--columns",
                                                                             "status,request_uid"))[0]))
        out = self.printed(("log", "--columns", "who,model"), "table").decode()
        self.assertEqual(["who", "model"], out.splitlines()[0].split(), "hidden ones are shown where asked for")

    def test_unknown(self):
        for option, name, told in (
                ("--columns", "name,sumary", "--columns: there is no column 'sumary'; there are uid name summary feedback "
                                             "deployments\nhint: did you mean 'summary'?\n"),
                ("--columns", "", "--columns: there is no column ''; there are uid name summary feedback deployments\n"),
                ("--columns", "name,", "--columns: there is no column ''; there are uid name summary feedback "
                                       "deployments\n"),
                ("--columns", "name,uid,name", "--columns: 'name' is there twice\n"),
                ("--sort", "nosuch", "--sort: there is no column 'nosuch'; there are uid name summary feedback "
                                     "deployments\n"),
                ("--sort", "name:up", "--sort: ':up' is not :asc or :desc\nhint: --sort name:desc\n")):
            out, err = self.call(2, "model", "list", option, name)
            self.assertEqual((b"", "mer: " + told), (out, err))
        told = json.loads(self.call(2, "--json", "log", "--columns", "nosuch")[0])
        self.assertEqual(2, told["code"])
        self.assertIn(" provenance", told["error"], "all of them are named")
        self.assertIn("no such option of 'model show'", self.call(2, "model", "show", "echo", "--columns", "name")[1])
        self.assertIn("there is no column 'check'", self.call(2, "weights", "list", "echo", "--columns", "check")[1])
        self.assertEqual([["ok"], ["ok"]], self.columns("weights", "list", "echo", "--check", "--columns", "check"))

    def test_sort(self):
        times = [self.columns("log", "--sort", f"infer_ms{how}", "--columns", "infer_ms")
                 for how in ("", ":asc", ":desc")]
        up = ["0", "100", "200", "200", "300", "400", "400", ""]
        self.assertEqual(len(HARD), len(up))
        self.assertEqual(times[0], times[1])
        numbers = [field for field, in times[0]]
        self.assertEqual("", numbers[-1], "what has none is last")
        self.assertEqual(sorted(numbers[:-1], key=int), numbers[:-1])
        self.assertEqual(numbers[-2::-1] + [""], [field for field, in times[2]])
        mine = [row for row in self.columns("deployment", "list", "--sort", "timeout:desc", "--columns",
                                            "model,timeout,max_output") if row[0] in ("echo", "same")]
        self.assertEqual([["same", "2h", "64KiB"], ["echo", "30s", "1MiB"]], mine, "a duration is no text")
        mine = [row[0] for row in self.columns("deployment", "list", "--sort", "max_output", "--columns",
                                               "model,max_output") if row[0] in ("echo", "same")]
        self.assertEqual(["same", "echo"], mine, "nor is a size")
        names = [name for name, in self.columns("model", "list", "--sort", "name:desc", "--columns", "name")]
        self.assertEqual(sorted(names, reverse=True), names)

    def test_first_of_all(self):
        """Sorted, --limit gives the first of all that match, and equal ones as they came."""
        got = self.columns("log", "--sort", "bytes_out", "--limit", "2", "--columns", "request_uid,bytes_out")
        self.assertEqual([[RUN % 0, "0"], [RUN % 1, "1000"]], got)
        got = self.columns("log", "--sort", "model", "--columns", "request_uid")
        self.assertEqual([[RUN % n] for n in reversed(range(len(HARD)))], got)

    def test_too_many(self):
        self.sql("INSERT INTO model_access (request_uid, model, door, who, host, pid, status, queued_at, stopped_at, "
                 "stderr_tail) WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1200) "
                 "SELECT printf('01980000-1100-7000-8000-%012d', n), 'm', 'batch', '', '', n, 'ok', "
                 "'2026-01-31T12:00:00.000Z', '2026-01-31T12:00:00.000Z', printf('%.65536c', 'x') FROM n")
        out, err = self.call(2, "log", "--limit", "100000", "--sort", "pid", "--json", "--columns", "pid")
        self.assertIn("--sort: more than 64 MiB of rows\nhint: ", err)
        self.assertEqual(2, json.loads(out)["code"], "nothing of a list is there")
        self.assertEqual([["4007"], ["4006"]], self.columns("log", "--sort", "pid:desc", "--limit", "2", "--columns",
                                                            "pid"), "for the first ones there is room")


class Contract(OnFilled, unittest.TestCase):
    """What the contract and docs/formats.md say of the fields is so."""
    TYPES = {"text": str, "number": int, "boolean": bool, "time": str, "uid": str, "duration": str, "size": str,
             "array": list, "object": dict, "decimal": (int, float), "any": object}
    PATTERNS = {"time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "uid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
                "duration": r"\d+(h|m|s|ms)", "size": r"\d+(B|KiB|MiB|GiB)"}
    PRINT = {  # of each command that says what it prints, how it can be asked
        "model list": ("model", "list"), "model show": ("model", "show", "echo"),
        "deployment list": ("deployment", "list"), "deployment show": ("deployment", "show", "echo"),
        "server list": ("server", "list"), "server show": ("server", "show", "gpu"),
        "weights list": ("weights", "list", "--check", "echo"),
        "weights add": ("weights", "add", "same", "weights.bin"), "log": ("log",), "log show": ("log", "show", RUN % 1),
        "log export": ("log", "export"), "model ping": ("model", "ping", "same"),
        "server ping": ("server", "ping", "local"), "train": ("train", "makes", "--dataset", "weights.bin"),
        "db copy": ("db", "copy", "--from", "sqlite:mer.db", "--to", "sqlite:copy.db"),
        "db backup": ("db", "backup", "new.db"), "db restore": ("--allow-changes", "db", "restore", "old.db"),
        "db check": ("db", "check"),
        "worker-check": ("worker-check", "--list"), "stats": ("stats",), "doctor": ("doctor",), "export": ("export",),
        "apply": ("apply", "--dry-run", "shop.yaml"), "run": ("run", "same", "x"), "version": ("version",),
        "replay": ("replay", "KEPT"),
    }
    SOME = {"worker-check", "log show", "run", "replay", "export"}  # print some of their fields at a time

    def contract(self):
        commands = json.loads(self.out("--print", "contract"))["commands"]
        return {command["name"]: command for command in commands if command["prints"]}

    def check(self, field, value):
        name, kind = field["name"], field["type"]
        if value is None:
            self.assertTrue(field["null"], name)
            return
        self.assertIsInstance(value, self.TYPES[kind], name)
        self.assertEqual(kind == "boolean", isinstance(value, bool) and kind != "any", name)
        if kind in self.PATTERNS:
            self.assertRegex(value, rf"\A{self.PATTERNS[kind]}\Z", name)

    def test_output(self):
        self.call(0, "--quiet", "up", "--database", "sqlite:copy.db", program=MER.parent / "mer-migrate")
        self.change("model", "add", "makes", "--train", "touch {new_weights}", "--", "cat")
        self.file("shop.yaml", "version: 1\nmodels: {echo: {summary: other}, new: {deployments: {local: {argv: [cat]}}}}\n")
        self.change("model", "set", "same", "keep-io=on")
        kept = json.loads(self.out("run", "--json", "same", "kept"))["request_uid"]
        self.out("db", "backup", "old.db")
        contract = self.contract()
        # What is of the prompt alone tests of the prompt ask.
        missing = {name for name, said in contract.items() if not said["prompt"]} - set(self.PRINT)
        self.assertEqual(set(), missing, "here is no way to ask what it prints")
        for command, words in self.PRINT.items():
            with self.subTest(command):
                how = () if command in ("log export", "export") else ("--json",)
                words = [kept if word == "KEPT" else word for word in words]
                out = self.out("--allow-changes", *words, *how)
                lines = out.splitlines() if command == "log export" else [out]
                rows = [json.loads(line) for line in lines]
                rows = rows[0] if isinstance(rows[0], list) else rows
                rows_are = command == "log export" or out[:1] == b"["
                self.assertEqual("rows" if rows_are else "object", contract[command]["prints"])
                fields = contract[command]["fields"]
                if command in self.SOME:
                    fields = [field for field in fields if field["name"] in rows[0]]
                self.assertGreater(len(rows), 0)
                for row in rows:
                    self.assertEqual([field["name"] for field in fields], list(row))
                    for field in fields:
                        self.check(field, row[field["name"]])

    def test_documented(self):
        """Each object has a table in docs/formats.md with its fields, in their order."""
        text = (SOURCE / "docs" / "formats.md").read_text(encoding="utf-8")
        documented = {}
        for names, body in re.findall(r"^### (.+)\n\n(?:[^|#\n][^\n]*\n)*\n?((?:\|.*\n)+)", text, flags=re.M):
            rows = [tuple(cell.strip(" `") for cell in line.split("|")[1:3]) for line in body.splitlines()[2:]]
            for name in names.split(", "):
                documented[name.strip("`")] = rows
        for command, said in self.contract().items():
            want = [(field["name"], field["type"] + (" or null" if field["null"] else "")) for field in said["fields"]]
            self.assertEqual(want, documented.get(command), command)


class Tables(OnFilled, unittest.TestCase):
    """What people see."""

    def terminal(self, *words, columns=80, lines=50, env=None):
        """What it writes to a terminal of that size."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        attributes = termios.tcgetattr(theirs)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        child = self.start(*words, stdout=theirs, env=env)
        os.close(theirs)
        out = b""
        while True:
            ready, _, _ = select.select([ours], [], [], DEADLINE_S)
            self.assertTrue(ready, "it takes too long")
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: the last one has closed it
                piece = b""
            if not piece:
                break
            out += piece
        os.close(ours)
        self.assertEqual((0, b""), (child.wait(DEADLINE_S), child.stderr.read()))
        return out

    def test_widths(self):
        for columns in (20, 80, 300, 500):
            for env, ellipsis in ({"LC_ALL": "C.UTF-8"}, "…"), ({"LC_ALL": "C"}, "..."):
                with self.subTest(columns=columns, **env):
                    out = self.terminal("log", columns=columns, env=env).decode()
                    lines = out.splitlines()
                    self.assertEqual(len(HARD) + 1, len(lines))
                    fits = 8 + max(len(RUN % 1) + len("  model status started_at infer_ms") + 14, 76)
                    if columns > fits:
                        self.assertLessEqual(max(map(width, lines)), columns)
                    for n in range(len(HARD)):
                        self.assertIn(RUN % n, out, "a uid is never cut")
                    self.assertEqual(columns < 500, ellipsis in out)
                    if env["LC_ALL"] == "C":
                        self.assertTrue(out.isascii())

    def test_aligned(self):
        """Wide, combining and joined characters take their places: what stands behind them is in one column."""
        self.sql("UPDATE model_access SET model = error WHERE error <> ''")
        lines = self.terminal("log", columns=300, env={"LC_ALL": "C.UTF-8"}).decode().splitlines()
        places = {width(line[:line.rindex(status)]) for line in lines[1:]
                  for status in re.findall(r" (ok|failed|timeout|running) ", line)[-1:]}
        self.assertEqual({width(lines[0][:lines[0].index("status")])}, places)

    def test_cut_between_characters(self):
        self.sql("UPDATE model_access SET model = 'm', error = '日本語日本語日本語日本語' || '\U0001f600e\u0301'")
        for columns in range(80, 110):
            for line in self.terminal("log", columns=columns, env={"LC_ALL": "C.UTF-8"}).decode().splitlines():
                self.assertNotIn("\ufffd", line)
                self.assertLessEqual(width(line), max(columns, 8 + 76))

    def test_control_characters(self):
        """They are shown in each format on a terminal, and are as they are for a program."""
        for how in FORMATS:
            for words in (("log",), ("log", "show", RUN % 1)):
                out = self.terminal(*words, columns=500, env={"MER_FORMAT": how, "LC_ALL": "C.UTF-8"})
                self.assertNotRegex(out.decode(), r"[\0-\x08\x0b-\x1f\x7f-\x9f]", (how, words))
                if "json" not in how:
                    self.assertIn(b"^[]0;owned^G^[[31mred", out, (how, words))
        self.assertIn(b"\033]0;owned\a\033[31mred\\r\xc2\x9b1m", self.printed(("log",), "plain"))
        self.assertIn(b"\033]0;owned\a\033[31mred\r\xc2\x9b1m", self.printed(("log",), "csv"))
        self.assertNotIn("\u202e", self.terminal("log", env={"LC_ALL": "C.UTF-8"}).decode())

    def test_bytes(self):
        self.sql("UPDATE model_access SET error = CAST(x'ff61c3' AS TEXT), stderr_tail = CAST(x'e697a5e6' AS TEXT)")
        out = self.terminal("log", env={"LC_ALL": "C.UTF-8"}).decode()
        self.assertIn(" \ufffda\ufffd ", out)
        self.assertIn(" ?a? ", self.terminal("log", env={"LC_ALL": "C"}).decode())
        self.assertIn("\ufffda\ufffd", self.out("log", "--json").decode())

    def test_long(self):
        """A table that is printed in parts is one."""
        self.sql("INSERT INTO model_access (request_uid, model, door, who, host, pid, status, queued_at, stopped_at) "
                 "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 9000) SELECT "
                 "printf('01980000-0%03x-7000-8000-%012d', n % 7, n), CASE n WHEN 2 THEN 'longer than others' ELSE "
                 "'short' END, 'batch', '', '', 1, 'ok', '2026-01-31T12:00:00.000Z', '2026-01-31T12:00:01.000Z' FROM n")
        out = self.printed(("log", "--limit", "10000", "--columns", "request_uid,model,status"), "table").decode()
        lines = out.splitlines()
        self.assertEqual(9000 + len(HARD) + 1, len(lines))
        self.assertEqual(1, out.count("request_uid"))
        at = lines[0].index("status")
        cut = [line for line in lines[1:] if not re.match(r"ok|failed|timeout|running", line[at:])]
        self.assertEqual([], cut)
        self.assertIn("-000000000002 long… ok\n", out, "what is wider than those before is cut")

    def test_no_module(self):
        """Programs never wait for the library of tables."""
        trace = self.folder / "trace"
        for how in FORMATS:
            done = subprocess.run(["/usr/bin/env", "LD_DEBUG=files", f"LD_DEBUG_OUTPUT={trace}", MER, "model", "list"],
                                  env=self.env | {"MER_FORMAT": how}, cwd=self.folder, stdout=subprocess.DEVNULL,
                                  timeout=DEADLINE_S, check=True)
            self.assertEqual(0, done.returncode)
            files = list(self.folder.glob("trace.*"))
            loaded = any("libsmartcols" in path.read_text() for path in files)
            for path in files:
                path.unlink()
            self.assertEqual(how == "table", loaded, how)


class Log:
    """log --follow, log export and log prune."""
    THEN = "019c140a-4e00-7000-8000-"  # uids of when the rows below say that they were queued

    def setUp(self):
        super().setUp()
        ms = time.time_ns() // 1000000
        self.prefix = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7000-8000-"

    def uid(self, n):
        return f"{self.prefix}{n:012d}"

    def rows(self, begin, end, status="ok", model="m", stderr="''"):
        """Rows of runs, by SQL that both databases know."""
        stopped = "NULL" if status in ("queued", "running") else "'2026-01-31T12:00:01.000Z'"
        step = 500
        for first in range(begin, end, step):
            values = ", ".join(
                f"('{self.uid(n)}', '{model}', 'batch', 'ann', 'host', {n % 1000}, '{status}', "
                f"'2026-01-31T12:{n // 60 % 60:02d}:{n % 60:02d}.000Z', {stopped}, {stderr})"
                for n in range(first, min(first + step, end)))
            self.sql("INSERT INTO model_access (request_uid, model, door, who, host, pid, status, queued_at, stopped_at, "
                     f"stderr_tail) VALUES {values}")

    def close(self, n, status="ok"):
        self.sql(f"UPDATE model_access SET status = '{status}', stopped_at = '2026-01-31T12:00:09.000Z' "
                 f"WHERE request_uid = '{self.uid(n)}'")

    def follow(self, *words):
        return self.start("log", "--follow", "--jsonl", *words, bufsize=0)

    def line(self, child):
        ready, _, _ = select.select([child.stdout], [], [], DEADLINE_S)
        self.assertTrue(ready, "no line comes")
        line = child.stdout.readline()
        self.assertTrue(line.endswith(b"\n"), line)
        return json.loads(line)

    def numbers(self, child, n):
        return [int(self.line(child)["request_uid"][-12:]) for _ in range(n)]

    def leave(self, child):
        child.send_signal(signal.SIGINT)
        self.assertEqual((b"", b""), child.communicate(timeout=DEADLINE_S))
        self.assertEqual(130, child.returncode)

    def test_follow(self):
        self.rows(0, 30)
        self.change("model", "add", "m", "--", "cat")
        child = self.follow("--limit", "3")
        self.assertEqual([27, 28, 29], self.numbers(child, 3), "the newest, the oldest of them first")
        self.out("run", "m", "x")
        self.assertEqual("ok", self.line(child)["status"])
        self.leave(child)

    def test_follow_late_rows(self):
        """Rows that come later than newer ones, and runs that end in another order than they began."""
        self.rows(50, 51)
        child = self.follow()
        self.assertEqual([50], self.numbers(child, 1))
        self.rows(60, 62, "running")
        self.rows(70, 71)
        self.assertEqual([70], self.numbers(child, 1))
        self.rows(40, 41)
        self.assertEqual([40], self.numbers(child, 1))
        self.close(61)
        self.assertEqual([61], self.numbers(child, 1))
        self.close(60, "failed")
        got = self.line(child)
        self.assertEqual("failed", got["status"])
        self.leave(child)

    def test_follow_clocks(self):
        """Rows of hosts whose clocks are behind, by minutes or hours, are told once, be they ended or open when
        they come; and neither are those that were there."""
        now, hours = self.prefix, []
        for back in (600, 3 * 3600):
            ms = time.time_ns() // 1000000 - back * 1000
            hours.append(f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7000-8000-")
        for self.prefix in hours:
            self.rows(1, 3)
        self.prefix = now
        self.rows(50, 51)
        child = self.follow("--limit", "1")
        self.assertEqual([50], self.numbers(child, 1))
        self.prefix = hours[0]
        self.rows(10, 12)
        self.assertEqual([10, 11], sorted(self.numbers(child, 2)))
        self.prefix = hours[1]
        self.rows(20, 21)
        self.assertEqual([20], self.numbers(child, 1))
        self.rows(30, 31, "running")
        self.rows(40, 41)
        self.assertEqual([40], self.numbers(child, 1))
        self.close(30)
        self.assertEqual([30], self.numbers(child, 1))
        # Once: the next one that comes late is the next one that is told.
        self.prefix = hours[0]
        self.rows(60, 61)
        self.assertEqual([60], self.numbers(child, 1))
        self.prefix = now
        self.rows(70, 71)
        self.assertEqual([70], self.numbers(child, 1))
        self.leave(child)

    def test_follow_long_runs(self):
        """What began long before a look reaches back is told of when it ends, and what had ended before is not."""
        now, self.prefix = self.prefix, self.THEN
        self.rows(0, 1)
        self.rows(1, 3, "running")
        self.rows(3, 4)
        child = self.follow("--limit", "1")
        self.assertEqual([3], self.numbers(child, 1))
        self.prefix = now
        self.rows(10, 11)
        self.assertEqual([10], self.numbers(child, 1))
        self.prefix = self.THEN
        for n in (2, 1):
            self.close(n)
            self.assertEqual([n], self.numbers(child, 1))
        self.leave(child)

    def test_follow_statuses(self):
        self.rows(0, 1, "failed")
        self.rows(1, 2, "running")
        failed, running = self.follow("--status", "failed"), self.follow("--status", "running")
        other = self.follow("--model", "digest")
        self.assertEqual([0], self.numbers(failed, 1))
        self.assertEqual([1], self.numbers(running, 1))
        self.rows(2, 3, "running")
        self.assertEqual([2], self.numbers(running, 1))
        self.close(2, "failed")
        self.assertEqual([2], self.numbers(failed, 1))
        self.rows(3, 4, "ok")
        self.rows(4, 5, "ok", model="digest")
        self.assertEqual([4], self.numbers(other, 1))
        for child in (failed, running, other):
            self.leave(child)

    def test_follow_many(self):
        self.rows(0, 1)
        child = self.follow("--columns", "request_uid")
        self.assertEqual([0], self.numbers(child, 1), "looks reach a minute back from here")
        self.rows(1, 5000)
        self.assertEqual(list(range(1, 5000)), self.numbers(child, 4999), "each once")
        self.leave(child)

    def test_follow_ends_with_its_reader(self):
        child = self.follow()
        self.rows(0, 1)  # as it begins, perhaps
        self.assertEqual([0], self.numbers(child, 1))
        child.stdout.close()
        self.assertEqual(141, child.wait(DEADLINE_S))
        self.assertEqual(b"", child.stderr.read())

    def test_follow_formats(self):
        self.rows(0, 2)
        child = self.start("log", "--follow", "--csv", "--columns", "request_uid,status")
        self.assertEqual(b"request_uid,status\r\n", child.stdout.readline())
        self.assertEqual(f"{self.uid(0)},ok\r\n".encode(), child.stdout.readline())
        self.assertEqual(f"{self.uid(1)},ok\r\n".encode(), child.stdout.readline())
        self.leave(child)
        child = self.start("log", "--follow", "--columns", "request_uid,status", env={"MER_FORMAT": "table"})
        self.assertEqual(b"request_uid                          status\n", child.stdout.readline())
        self.numbers_of_table(child, 2)
        self.rows(2, 3, "timeout")
        self.assertEqual(f"{self.uid(2)} timeout\n".encode(), child.stdout.readline())
        self.leave(child)
        for words, told in ((("--json",), "--json is one array, which --follow never ends"),
                            (("--sort", "model"), "--sort needs an end, which --follow has not")):
            self.assertIn(f"mer: {told}\n", self.call(2, "log", "--follow", *words)[1])

    def numbers_of_table(self, child, n):
        for i in range(n):
            self.assertEqual(f"{self.uid(i)} ok\n".encode(), child.stdout.readline())

    def exported(self, *words):
        return [int(json.loads(line)["request_uid"][-12:]) for line in self.out("log", "export", *words).splitlines()]

    def test_export(self):
        self.prefix = self.THEN
        self.rows(0, 4500)
        self.rows(4500, 4510, model="other")
        self.assertEqual(list(range(4510)), self.exported())
        self.assertEqual(list(range(4500, 4510)), self.exported("--model", "other"))
        self.assertEqual([n for n in range(4510) if 60 <= n % 3600 < 120],
                         self.exported("--since", "2026-01-31T12:01:00Z", "--until", "2026-01-31T12:02:00Z"))
        self.assertEqual([], self.exported("--since", "2027-01-01"))
        lines = list(csv.DictReader(io.StringIO(self.out("log", "export", "--format", "csv").decode(), newline="")))
        self.assertEqual(json.loads(self.out("log", "--json", "--limit", "1", "--columns", "request_uid"))[0]
                         ["request_uid"], lines[-1]["request_uid"])
        self.assertEqual(list(reversed(range(4510))),
                         [int(row["request_uid"][-12:]) for row in self.log("--limit", "10000")], "so does log")
        self.assertIn("'xml' is none of jsonl, csv", self.call(2, "log", "export", "--format", "xml")[1])

    @unittest.skipIf(SANITIZED, "a sanitizer keeps what was freed")
    def test_export_memory(self):
        """Does not grow with the log."""
        peaks = []
        for begin, end in ((0, 2000), (2000, 60000)):
            self.rows(begin, end)
            child = subprocess.Popen([MER, "log", "export"], env=self.env, cwd=self.folder, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = status
            self.assertEqual(0, status)
            peaks.append(usage.ru_maxrss)
        self.assertLess(peaks[1], peaks[0] + 4096, "KiB")

    def test_prune(self):
        self.prefix = self.THEN
        self.rows(0, 3000)
        self.rows(3000, 3001, "running")
        self.change("log", "prune", "--before", "2026-01-31T12:20:00Z")
        want = [n for n in range(3001) if n == 3000 or n % 3600 >= 1200]
        self.assertEqual(want, self.exported())


class LogOnSqlite(Log, OnSqlite, unittest.TestCase):
    def test_prune_lets_others_write(self):
        """Between the steps of a long one: whoever writes gets its turn many times."""
        self.rows(0, 30000, stderr="'" + "x" * 2000 + "'")
        child = self.start("--allow-changes", "log", "prune", "--before", "2027-01-01")
        db = sqlite3.connect(self.folder / "mer.db", isolation_level=None, timeout=DEADLINE_S)
        written = 0
        while child.poll() is None:
            db.execute("UPDATE models SET summary = summary WHERE name = 'iris'")
            written += 1
        db.close()
        self.assertEqual((0, b""), (child.returncode, child.stderr.read()))
        self.assertGreater(written, 5)
        self.assertEqual([], self.exported())


class LogOnPostgres(Log, OnPostgres, unittest.TestCase):
    pass


if __name__ == "__main__":
    main(__name__)
