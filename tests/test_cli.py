#!/usr/bin/python3
"""mer as scripts and cron use it, held against the command-line contract. MER_PREFIX names the
installation, MER_SOURCE the sources. Prints TAP when run as a program."""
import base64
import csv
import io
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import stat
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
DEADLINE_S = 120
UID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
SANITIZED = b"__asan_init" in Path(MER).read_bytes()

# name: options and ARGV of `model add`
MODELS = {
    "echo": ["--", "cat"],
    "fail": ["--", "sh", "-c", "echo out; echo first >&2; echo last words >&2; exit 3"],
    "killed": ["--", "sh", "-c", "kill -SEGV $$"],
    "missing": ["--", "/no/such/program"],
    "dies": ["--protocol", "token", "--", "sh", "-c", "echo broken >&2; exit 1"],
    "late": ["--timeout", "200ms", "--", "sleep", "60"],
    "mute": ["--protocol", "token", "--start-timeout", "200ms", "--", "sleep", "60"],
    "big": ["--max-output", "10", "--", "seq", "100"],
    "slow": ["--", "sh", "-c", "echo begin; exec sleep 60"],
    "stubborn": ["--", "sh", "-c", "trap '' TERM; echo begin; while :; do sleep 0.05; done"],
    "flood": ["--", "sh", "-c", "head -c 40000000 /dev/zero | tr '\\0' x"],
    "bytes": ["--", "printf", "\\377\\n"],
    "upper": ["--shell", "--", "tr a-z A-Z"],
    "picky": ["--", "sh", "-c", "read x; echo \"got $x\"; test \"$x\" != bad"],
    "jitter": ["--", "sh", "-c", "read x; case $x in *[02468]) sleep 0.05;; esac; echo \"$x\""],
    "environment": ["--env", "GREETING=hello", "--env", "PLAIN=text:env:X", "--", "env"],
    "clean": ["--clean-env", "--", "env"],
    "where": ["--workdir", "/", "--", "pwd"],
    "here": ["--", "pwd"],
    "lines": ["--protocol", "token", "--answer", "line", "--ready-token", "READY",
              "--start-token", "GO", "--stop-token", "OVER", "--exit-token", "BYE",
              "--error-line", "bad*", "--",
              "sh", "-c", "echo READY; while read t; do [ \"$t\" = GO ] || exit 0; read x; "
                          "read t; case $x in bad*) echo \"$x\" >&2;; *) echo \"<$x>\";; esac; "
                          "done"],
}
TEMPLATE = None  # a state folder with a migrated database and MODELS
PROGRAM_ENV = {name: value for name, value in os.environ.items()
               if not name.startswith(("MER_", "XDG_", "PG"))} | {"LC_ALL": "C.UTF-8"}


def setUpModule():
    global TEMPLATE
    TEMPLATE = tempfile.TemporaryDirectory(prefix="mer-cli-")
    folder = Path(TEMPLATE.name)
    env = PROGRAM_ENV | {"XDG_STATE_HOME": str(folder), "HOME": str(folder)}
    subprocess.run([MIGRATE, "--quiet", "up"], env=env, check=True, timeout=DEADLINE_S)
    script = "".join(shlex.join(["model", "add", name, *options]) + "\n"
                     for name, options in MODELS.items())
    done = subprocess.run([MER, "--allow-changes"], env=env, input=script.encode(), cwd="/tmp",
                          capture_output=True, timeout=DEADLINE_S)
    if (done.returncode, done.stdout, done.stderr) != (0, b"", b""):
        raise RuntimeError(f"cannot add the models: {done}")


def tearDownModule():
    TEMPLATE.cleanup()


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mer-cli-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        shutil.copytree(Path(TEMPLATE.name) / "mer", self.folder / "state" / "mer")
        self.env = PROGRAM_ENV | {
            "XDG_STATE_HOME": str(self.folder / "state"), "XDG_DATA_HOME": str(self.folder / "data"),
            "HOME": str(self.folder), "TMPDIR": str(self.folder)}

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def start(self, *args, env=None, **options):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen([MER, *map(str, args)], env=self.env | (env or {}),
                                   cwd=self.folder, **(pipes | options))
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

    def call(self, *args, data=None, env=None, **options):
        """Code, stdout, stderr; data None: stdin is /dev/null."""
        if data is None:
            options.setdefault("stdin", subprocess.DEVNULL)
        else:
            options["input"] = data if isinstance(data, bytes) else data.encode()
        done = subprocess.run([MER, *map(str, args)], env=self.env | (env or {}), cwd=self.folder,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE_S,
                              **options)
        return done.returncode, done.stdout, done.stderr.decode()

    def out(self, *args, **options):
        """stdout of a command that succeeds and says nothing else."""
        code, out, err = self.call(*args, **options)
        self.assertEqual((code, err), (0, ""), args)
        return out

    def json(self, *args, **options):
        return json.loads(self.out("--json", *args, **options))

    def fails(self, code, message, *args, out=b"", **options):
        """A command that fails with one line on stderr, and a hint where the message has one."""
        got = self.call(*args, **options)
        self.assertEqual(got[:2], (code, out), (args, got))
        pattern = message if hasattr(message, "search") else re.compile(
            re.escape(f"mer: {message}") + r"\n(hint: [^\n]+\n)?")
        self.assertIsNotNone(pattern.fullmatch(got[2]), (args, got))

    def log(self, *options):
        return self.json("log", *options)

    def read_until(self, file, ending):
        data = b""
        while not data.endswith(ending):
            ready = select.select([file], [], [], DEADLINE_S)[0]
            piece = os.read(file.fileno(), 65536) if ready else b""
            if not piece:
                self.fail(f"no {ending!r} after {data[-200:]!r}")
            data += piece
        return data


# --- one command, however it comes ---------------------------------------------------------------

NO_MODEL = "there is no model 'nosuch'"
# words, code, stdout, message on stderr ("" for none); a pattern stands for what is not fixed
ROWS = [
    ("version", 0, b"mer 0.1.0\n", ""),
    ("version --json", 0, b'{"version":"0.1.0"}\n', ""),
    ("exit", 0, b"", ""),
    ("quit", 0, b"", ""),
    ("help frobnicate", 2, b"", "no such command: 'frobnicate'"),
    ("help model add", 4, b"", "not allowed; start with --allow-changes"),
    ("vers", 2, b"", "no such command: 'vers'"),
    ("frobnicate", 2, b"", "no such command: 'frobnicate'"),
    ("model", 2, b"", "'model' is not a whole command"),
    ("model lst", 2, b"", "no such command: 'model lst'"),
    ("weights bogus iris", 2, b"", "no such command: 'weights bogus'"),
    ("weights list nosuch", 3, b"", NO_MODEL),
    ("weights list echo", 0, b"", ""),
    ("version now", 2, b"", "one argument too many for 'version': 'now'"),

    ("run echo hello", 0, b"hello", ""),
    ("run echo hello   world", 0, b"hello world", ""),
    ("run echo 'hello   world'", 0, b"hello   world", ""),
    ("run echo ''", 0, b"", ""),
    ("run echo -0.5,1.2", 0, b"-0.5,1.2", ""),
    ("run echo -.5 -1", 0, b"-.5 -1", ""),
    ("run echo @@x", 0, b"@x", ""),
    ("run echo @ x", 0, b"@ x", ""),
    ("run echo a @@x", 0, b"a @@x", ""),
    ("run echo a -", 0, b"a -", ""),
    ("run echo @input.txt", 0, b"from a file\n", ""),
    ("run echo -- --json -", 0, b"--json -", ""),
    ("run --timeout 30s echo x", 0, b"x", ""),
    ("run echo --timeout=30s x --server local", 0, b"x", ""),
    ("run echo x --deployment local --no-record --raw", 0, b"x", ""),
    ("run upper hello", 0, b"HELLO", ""),
    ("run bytes x", 0, b"\xff\n", ""),
    ("run where x", 0, b"/\n", ""),
    ("run here x", 0, b"/tmp\n", ""),
    ("run lines x", 0, b"<x>\n", ""),
    ("run iris 5.1,3.5,1.4,0.2", 0, b"setosa\n", ""),
    ("run moments 1 2 3", 0, b"n=3 mean=2 sd=1 min=1 max=3\n", ""),
    ("run language 'that is the one and only'", 0, b"English\n", ""),
    ("run moments-frame 1 2 3", 0, b"n=3 mean=2 sd=1 min=1 max=3\n", ""),
    ("run digest ''", 0, re.compile(rb'\{"bytes": 0, .*\}\n'), ""),
    ("run --lines echo @lines.txt", 0, b"one\n\nthree\n", ""),
    ("run --lines lines @lines.txt", 0, b"<one>\n<>\n<three>\n", ""),

    ("run fail x", 1, b"out\n", re.compile("model 'fail' failed: .*3.*: last words")),
    ("run killed x", 1, b"", re.compile("model 'killed' failed: .*SIGSEGV.*")),
    ("run big x", 1, re.compile(rb"1\n.*", re.S), re.compile("model 'big' failed: .*10 bytes.*")),
    ("run lines bad input", 1, b"", re.compile("model 'lines' failed: bad input")),
    ("run", 2, b"", "'run' needs MODEL"),
    ("run echo --tiemout 5s x", 2, b"", "no such option of 'run': '--tiemout'"),
    ("run echo --weights 1 x", 3, b"", "model 'echo' has no weights '1'"),
    ("run echo --session s x", 2, b"", "model 'echo' has no sessions"),
    ("run echo --jobs 2 x", 2, b"", "--jobs: it is for --lines"),
    ("run --lines --jobs 0 echo @in", 2, b"", "--jobs: '0' is too small"),
    ("run echo --csv x", 2, b"", "no such option of 'run': '--csv'"),
    ("run echo --timeout 5x x", 2, b"", "--timeout: not a duration: '5x'"),
    ("run echo --timeout 0 x", 2, b"", "--timeout: '0' is too small"),
    ("run echo @nothing.txt", 2, b"",
     "INPUT: cannot open 'nothing.txt': No such file or directory"),
    ("run echo @.", 2, b"", re.compile("INPUT: .*folder")),
    ("run --lines echo word", 2, b"", "INPUT: --lines takes @FILE or -, not 'word'"),
    ("run --lines echo @nothing.txt", 2, b"",
     "INPUT: cannot open 'nothing.txt': No such file or directory"),
    ("run --lines echo @.", 2, b"", "cannot read '.': Is a directory"),
    ("run lines 'two\nlines'", 2, b"", re.compile(".+")),
    ("run nosuch x", 3, b"", NO_MODEL),
    ("run --lines nosuch @lines.txt", 3, b"", NO_MODEL),
    ("run echo x --server nosuch", 3, b"", re.compile(".*'nosuch'")),
    ("run echo x --deployment nosuch", 3, b"", re.compile(".*'nosuch'")),
    ("run missing x", 6, b"", re.compile(".*'/no/such/program': No such file or directory")),
    ("run dies x", 6, b"", re.compile("model 'dies'.*: broken")),
    ("run late x", 7, b"", re.compile("model 'late' .*200ms")),
    ("run echo x --timeout 1h", 0, b"x", ""),
    ("run slow x --timeout 300ms", 7, b"begin\n", re.compile("model 'slow' .*300ms")),
    ("run mute x", 7, b"", re.compile("model 'mute'.*")),

    ("model ping iris", 0, re.compile(rb"iris on local: ready in [0-9]+ ms\n"), ""),
    ("model ping digest", 0, re.compile(rb"digest on local: ready in [0-9]+ ms\n"), ""),
    ("model ping nosuch", 3, b"", NO_MODEL),
    ("model ping missing", 6, b"", re.compile(".*")),
    ("model ping mute", 7, b"", re.compile(".*")),
    ("model show nosuch", 3, b"", NO_MODEL),
    ("server show nosuch", 3, b"", "there is no server 'nosuch'"),
    ("log show nosuch", 3, b"", "there is no run 'nosuch'"),
    ("log --limit 0", 2, b"", "--limit: '0' is too small"),
    ("log --since noon", 2, b"", "--since: not a time: 'noon'"),
    ("log --status good", 2, b"", re.compile("--status: 'good' is none of queued, .*")),
    ("log", 0, b"", ""),

    ("model add x -- cat", 4, b"", "not allowed; start with --allow-changes"),
    ("model set x", 4, b"", "not allowed; start with --allow-changes"),
    ("model remove --bogus", 4, b"", "not allowed; start with --allow-changes"),
    ("server add", 4, b"", "not allowed; start with --allow-changes"),
    ("create x -- cat", 4, b"", "not allowed; start with --allow-changes"),
    ("modify x", 4, b"", "not allowed; start with --allow-changes"),
    ("delete x", 4, b"", "not allowed; start with --allow-changes"),
]
CHANGE_ROWS = [
    ("model add", 2, b"", "'model add' needs NAME"),
    ("model add x", 2, b"", "'model add' needs ARGV"),
    ("model add x cat", 2, b"", "one argument too many for 'model add': 'cat'"),
    ("model add x -- ''", 2, b"", "ARGV names no program"),
    ("model add 'a b' -- cat", 2, b"",
     "NAME: bad model name 'a b': only letters, digits and . _ - may be in it"),
    ("model add .x -- cat", 2, b"",
     "NAME: bad model name '.x': it must begin with a letter or a digit"),
    ("model add echo -- cat", 4, b"", "there is a model 'echo' already"),
    ("model add x --server nosuch -- cat", 3, b"", "there is no server 'nosuch'"),
    ("model add x --protocol frame --stop-token x -- cat", 2, b"",
     "--stop-token is for --protocol token"),
    ("model add x --protocol tokens -- cat", 2, b"",
     "--protocol: 'tokens' is none of once, token, frame"),
    ("model add x --ready-token R -- cat", 2, b"", "--ready-token is for --protocol token"),
    ("model add x --error-line R -- cat", 2, b"", "--error-line is for --protocol token"),
    ("model add x --protocol token --ready-token R --stop-token R -- cat", 2, b"",
     "--ready-token and --stop-token are the same"),
    ("model add x --protocol token --ready-token 'a\nb' -- cat", 2, b"",
     "--ready-token is not one line"),
    ("model add x --env =1 -- cat", 2, b"", "--env: not NAME=VALUE: '=1'"),
    ("model add x --env 'A B=1' -- cat", 2, b"", "--env: no name of a variable: 'A B'"),
    ("model add x --train 'a \"b' -- cat", 2, b"", "--train: a quote is not closed"),
    ("model add x --timeout 0 -- cat", 2, b"", "--timeout: '0' is too small"),
    ("model add x --max-output 1KB -- cat", 2, b"", "--max-output: not a size: '1KB'"),
    ("model add x --max-output 0 -- cat", 2, b"", "--max-output: '0' is too small"),
    ("model set echo max-output=0", 2, b"", "max-output: '0' is too small"),
    ("model add x --max-workers 0 -- cat", 2, b"", "--max-workers: '0' is too small"),
    # Nothing is called "".
    *((line, 2, b"", f"{what}: it is empty") for line, what in (
        ("run --server= echo x", "--server"), ("run --weights= echo x", "--weights"),
        ("run --deployment= echo x", "--deployment"), ("run --session= echo x", "--session"),
        ("run --lines --resume= echo @x", "--resume"), ("run '' x", "MODEL"), ("log --model=", "--model"),
        ("log export --model=", "--model"), ("replay --server= x", "--server"), ("replay --weights= x", "--weights"),
        ("model add --server= x -- cat", "--server"), ("model set echo server=", "server"), ("model show ''", "NAME"),
        ("deployment add echo --server= -- cat", "--server"), ("weights use echo ''", "V"),
        ("train echo --dataset=", "--dataset"), ("train echo --dataset x --weights=", "--weights"),
        ("server show ''", "NAME"), ("log show ''", "UID"), ("stats --prometheus --output=", "--output"))),
    ("log --model nosuch", 3, b"", NO_MODEL),
    ("log --model eco", 3, b"", "there is no model 'eco'"),
    ("log --follow --model nosuch", 3, b"", NO_MODEL),
    ("log export --model nosuch", 3, b"", NO_MODEL),
    ("model add x --max-queue -1 -- cat", 2, b"", "--max-queue: '-1' is too small"),
    ("model add x --retries often -- cat", 2, b"", "--retries: not a whole number: 'often'"),
    ("model add x --priority 1 -- cat", 2, b"", "no such option of 'model add': '--priority'"),
    ("model set nosuch timeout=1s", 3, b"", NO_MODEL),
    ("model set echo", 2, b"", "'model set' needs KEY=VALUE"),
    ("model set echo timeout", 2, b"", "KEY=VALUE: not NAME=VALUE: 'timeout'"),
    ("model set echo timout=1s", 2, b"", "no such key: 'timout'"),
    ("model set echo argv=x", 2, b"", "no such key: 'argv'"),
    ("model set echo timeout=soon", 2, b"", "timeout: not a duration: 'soon'"),
    ("model set echo clean-env=maybe", 2, b"", "clean-env: not on or off: 'maybe'"),
    ("model set echo stop-token=x", 2, b"", "--stop-token is for --protocol token"),
    ("model remove nosuch", 3, b"", NO_MODEL),
    ("model-create echo -- cat", 4, b"", "there is a model 'echo' already"),
    ("model-modify nosuch timeout=1s", 3, b"", NO_MODEL),
    ("model-delete nosuch", 3, b"", NO_MODEL),
    ("server add g", 2, b"", "'server add' needs --kind"),
    ("server add g --kind slurm", 2, b"", "--kind: 'slurm' is none of local, ssh, http"),
    ("server add g --kind ssh", 2, b"", "a server of kind 'ssh' needs --host"),
    ("server add g --kind ssh --host h --param password=P", 2, b"", "password holds a plain secret"),
    ("server add g --kind ssh --host h --param NoSuch=1", 2, b"", "a server of kind 'ssh' has no parameter 'NoSuch'"),
    ("server add g --kind ssh --host=-x", 2, b"", "--host: '-x' is no host"),
    ("server add g --kind http", 2, b"", "a server of kind 'http' needs --url"),
    ("server add g --kind http --url h:80", 2, b"", "--url: 'h:80' is no URL of a server"),
    ("server add g --kind http --url http://u:p@h", 2, b"", "--url: no user and no password in it"),
    ("server add g --kind http --url http://h/x?y", 2, b"", "--url: 'http://h/x?y' has a '?' or a '#', where a path follows"),
    ("server add g --kind http --url http://h --host h", 2, b"", "a server of kind 'http' has no --host: its --url tells"),
    ("server add g --kind http --url http://h --param api=soap", 2, b"", "--param api: 'soap' is none of oip, openai, plain"),
    ("server add g --kind http --url http://h --param api_key=s3cret", 2, b"", "api_key holds a plain secret"),
    ("server add g --kind http --url http://h --param header.Authorization=s3cret", 2, b"", "Authorization holds a plain secret"),
    ("server add g --kind http --url http://h --param header.Content-Length=1", 2, b"", "--param header.Content-Length: mer sets that header itself"),
    ("server add g --kind http --url http://h --param ca_file=ca.pem", 2, b"", "--param ca_file: 'ca.pem' is no absolute path"),
    ("server add g --kind http --url http://h --param content_type=text/plain", 2, b"",
     "--param content_type: a server of api 'oip' has none"),
    ("server add g --kind http --url http://h --param IdentityFile=/x", 2, b"",
     "a server of kind 'http' has no parameter 'IdentityFile'"),
    ("server add g --kind local --host h", 2, b"", "a server of kind 'local' has no --host"),
    ("server add local --kind local", 4, b"", "there is a server 'local' already"),
    ("server set nosuch host=h", 3, b"", "there is no server 'nosuch'"),
    ("server set local host=h", 2, b"", "a server of kind 'local' has no 'host' to set"),
    ("server remove nosuch", 3, b"", "there is no server 'nosuch'"),
    ("server remove local", 4, b"", "server 'local' is always there"),
    ("server ping nosuch", 3, b"", "there is no server 'nosuch'"),
    ("server ping local", 0, re.compile(rb"local: ready in [0-9]+ ms\n"), ""),
    ("server trust local", 2, b"", "a server of kind 'local' has no host key"),
    ("model add x --remote-model y -- cat", 2, b"", "--remote-model is for servers of kind 'http'"),
    ("model add x --param system=y -- cat", 2, b"", "--param is for servers of kind 'http'"),
    ("model add x --server local", 2, b"", "ARGV names no program"),
]


class Rows(Case):
    """Each row by the arguments, by -c, by -f and by stdin: the same but for the place in messages."""

    def check(self, row, where, got):
        line, code, out, message = row
        context = (line, where, got)
        self.assertEqual(got[0], code, context)
        if hasattr(out, "fullmatch"):
            self.assertIsNotNone(out.fullmatch(got[1]), context)
        else:
            self.assertEqual(got[1], out, context)
        if message == "":
            self.assertEqual(got[2], "", context)
            return
        pattern = message.pattern if hasattr(message, "pattern") else re.escape(message)
        self.assertRegex(got[2], rf"\Amer: {re.escape(where)}{pattern}\n(hint: [^\n]+\n)?\Z", context)

    def check_rows(self, rows, *options):
        self.file("input.txt", "from a file\n")
        self.file("lines.txt", "one\n\nthree")
        for row in rows:
            line = row[0]
            with self.subTest(line=line):
                words = shlex.split(line)
                self.check(row, "", self.call(*options, *words))
                self.check(row, "-c:1: ", self.call(*options, "-c", line))
                path = self.file("batch.mer", f"# a comment\n\n{line}\n")
                self.check(row, f"{path}:3: ", self.call(*options, "-f", path))
                self.check(row, "stdin:1: ", self.call(*options, data=line))

    def test_rows(self):
        self.check_rows([row for row in ROWS if row[0] not in ("log",)])

    def test_rows_with_changes(self):
        self.check_rows(CHANGE_ROWS, "--allow-changes")

    def test_empty_log(self):
        self.assertEqual(self.out("log"), b"")
        self.assertEqual(self.json("log"), [])
        self.assertEqual(self.out("log", "--jsonl"), b"")

    def test_errors_as_json(self):
        for line, code, message in (
                ("bogus", 2, "no such command: 'bogus'"),
                ("run nosuch x", 3, NO_MODEL),
                ("run --lines nosuch @lines.txt", 3, NO_MODEL),
                ("model show nosuch", 3, NO_MODEL),
                ("model remove x", 4, "not allowed; start with --allow-changes"),
                ("run echo --tiemout 1 x", 2, "no such option of 'run': '--tiemout'")):
            self.file("lines.txt", "one\n")
            for args in (("--json", *line.split()), ("--json", "-c", line), (*line.split(), "--json")):
                with self.subTest(args=args):
                    got = self.call(*args)
                    error = json.loads(got[1])
                    self.assertEqual(got[0], code)
                    self.assertEqual(set(error), {"error", "code", "hint"})
                    self.assertEqual((error["error"], error["code"]), (message, code))
                    self.assertIn(message, got[2])
        self.assertEqual(self.call("--json", "--bogus")[:2],
                         (2, b'{"error":"no such option: \'--bogus\'","code":2,'
                             b'"hint":"\'mer --help\' lists the options"}\n'))


# --- help, and what works without a database -------------------------------------------------------


class Help(Case):
    def setUp(self):
        super().setUp()
        shutil.rmtree(self.folder / "state")

    def test_allowed_by_the_environment(self):
        for value, shown in (("1", True), ("0", False), ("bogus", False)):
            code, out, err = self.call("--help", env={"MER_ALLOW_CHANGES": value})
            self.assertEqual((code, b"model add" in out, err), (0, shown, ""))

    def test_without_database(self):
        for args in (["--help"], ["-h"], ["help"], ["help", "run"], ["run", "--help"], ["model", "--help"],
                     ["help", "model"], ["model", "list", "-h"], ["--version"], ["-V"], ["version"]):
            with self.subTest(args=args):
                self.assertNotEqual(self.out(*args), b"")
        self.assertFalse((self.folder / "state").exists())

    def test_each_command_has_help(self):
        contract = json.loads(self.out("--print", "contract"))
        for command in contract["commands"]:
            for name in [command["name"], *command["names"]]:
                with self.subTest(name=name):
                    text = self.out(*name.split(), "--help").decode()
                    self.assertTrue(text.startswith(f"usage: {command['name']}"))
                    for arg in command["args"]:
                        self.assertIn(("--" if arg["option"] else "") + arg["name"], text)
                    self.assertEqual(self.out("--allow-changes", "help", *name.split()).decode(), text)
        self.assertEqual([row["code"] for row in contract["exit_codes"]],
                         [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 70, 75, 141, 129, 130, 143])

    def test_what_begins_as_a_longer_command(self):
        contract = json.loads(self.out("--print", "contract"))
        names = [command["name"] for command in contract["commands"] if not command["changes"]]
        for name in names:
            noun, _, verb = name.rpartition(" ")
            if noun not in names:
                continue
            for word in (verb[:n] for n in range(1, len(verb))):
                meant = [other for other in names if other.startswith(f"{noun} {word}")]
                hint = f"did you mean '{name}'?" if meant == [name] else f"it may be one of: {', '.join(meant)}"
                code, out, err = self.call(noun, word)
                self.assertEqual((code, out, err.splitlines()[1]), (2, b"", f"hint: {hint}"), (noun, word))
        self.assertEqual(self.call("log", "pr")[2], "mer: one argument too many for 'log': 'pr'\n"
                                                    "hint: 'help log' tells what it takes\n")
        self.assertIn("hint: did you mean 'log prune'?\n", self.call("--allow-changes", "log", "pr")[2])
        self.assertEqual(self.call("")[2], "mer: no such command: ''\nhint: 'help' lists the commands\n")

    def test_changes_are_hidden(self):
        plain, allowed = self.out("help").decode(), self.out("--allow-changes", "help").decode()
        for name in ("model add", "model set", "model remove", "server add", "server set",
                     "server remove"):
            self.assertNotIn(f"  {name} ", plain)
            self.assertIn(f"  {name} ", allowed)
        for name in ("run", "model list", "log show", "exit"):
            self.assertIn(f"  {name} ", plain)

    def test_no_database(self):
        for args in (["model", "list"], ["run", "echo", "x"], ["model", "ping", "echo"], ["log"],
                     ["--allow-changes", "model", "add", "x", "--", "cat"]):
            with self.subTest(args=args):
                code, out, err = self.call(*args)
                self.assertEqual((code, out), (5, b""))
                self.assertRegex(err, r"\Amer: there is no database at '[^\n]*mer\.db'\nhint: [^\n]+\n\Z")

    def test_not_a_database(self):
        path = self.file("no.db", "this is no database, but a text that is long enough to be one" * 99)
        for args in (["model", "list"], ["run", "echo", "x"]):
            code, out, err = self.call("--database", f"sqlite:{path}", *args)
            self.assertEqual((code, out), (5, b""), err)


# --- lists and show -----------------------------------------------------------------------------------


class Lists(Case):
    MODEL = ["uid", "name", "summary", "feedback", "deployments"]
    SERVER = ["uid", "name", "kind", "host", "port", "user", "params", "url"]
    RUN = ["request_uid", "model", "deployment", "server", "weights", "door", "host", "pid", "status",
           "started_at", "stopped_at", "exit_code", "signal", "error", "stderr_tail", "attempts",
           "queue_ms", "start_ms", "infer_ms", "bytes_in", "bytes_out"]

    def test_models(self):
        models = self.json("model", "list")
        self.assertEqual([m["name"] for m in models], sorted(
            [*MODELS, "iris", "digest", "language", "moments", "moments-frame"]))
        for model in models:
            self.assertEqual(list(model), self.MODEL)
            self.assertRegex(model["uid"], rf"\A{UID}\Z")
            self.assertEqual((model["feedback"], model["deployments"]), (False, 1))

    def test_formats_agree(self):
        models = self.json("model", "list")
        self.assertEqual([json.loads(line) for line in self.out("model", "list", "--jsonl").splitlines()],
                         models)
        table = list(csv.reader(io.StringIO(self.out("--csv", "model", "list").decode(), newline="")))
        self.assertEqual(table[0], self.MODEL)
        self.assertEqual([row[1] for row in table[1:]], [m["name"] for m in models])
        for args in ((), ("--plain",)):
            plain = self.out(*args, "model", "list").decode()
            self.assertEqual([line.split("\t")[1] for line in plain.splitlines()],
                             [m["name"] for m in models])
        self.assertEqual(self.out("model", "list", env={"MER_FORMAT": "json"}),
                         self.out("--json", "model", "list"))
        self.assertEqual(self.out("--csv", "model", "list", "--json"), self.out("--json", "model", "list"))

    def test_table(self):
        lines = self.out("model", "list", env={"MER_FORMAT": "table", "COLUMNS": "60"}).decode().splitlines()
        self.assertEqual(lines[0].split(), ["name", "summary", "feedback", "deployments"])
        self.assertEqual(len(lines), len(MODELS) + 6)
        self.assertTrue(all(len(line) <= 60 for line in lines), lines)
        self.assertIn("…", "".join(lines))
        self.assertNotIn("\033", "".join(lines))
        rows = self.out("log", env={"MER_FORMAT": "table"})
        self.assertEqual(rows, b"")

    def test_show_model(self):
        shown = self.json("model", "show", "lines")
        self.assertEqual(list(shown), [*self.MODEL[:4], "inputs", "outputs", "test_input", "test_output",
                                       "test_tolerance", "test_on_start", "deployments"])
        self.assertEqual((shown["inputs"], shown["outputs"]), (None, None))
        deployment, = shown["deployments"]
        self.assertEqual(list(deployment)[:5], ["uid", "model", "server", "protocol", "argv"])
        self.assertEqual(deployment["argv"], MODELS["lines"][MODELS["lines"].index("--") + 1:])
        expected = {"model": "lines", "server": "local", "protocol": "token", "answer": "line",
                    "ready_token": "READY", "start_token": "GO", "stop_token": "OVER",
                    "exit_token": "BYE", "error_line": ["bad*"], "workdir": "/tmp", "env": {},
                    "timeout": "1h", "start_timeout": "2m", "idle": "5m", "max_output": "256MiB",
                    "clean_env": False, "shell": False, "keep_io": False, "train": None}
        self.assertEqual({name: deployment[name] for name in expected}, expected)
        self.assertEqual(self.json("model", "show", "environment")["deployments"][0]["env"],
                         {"GREETING": "hello", "PLAIN": "text:env:X"})
        plain = dict(line.split("\t") for line in self.out("model", "show", "lines").decode().splitlines())
        self.assertEqual((plain["name"], plain["deployments"], plain["deployments.0.ready_token"]),
                         ("lines", "1", "READY"))
        iris = self.json("model", "show", "iris")["deployments"][0]
        self.assertEqual((iris["weights"], iris["workdir"]), ("1", "{models}"))
        self.assertEqual(iris["train"][-2:], ["--weights", "{new_weights}"])

    def test_servers(self):
        local, = self.json("server", "list")
        self.assertEqual(list(local), self.SERVER)
        self.assertEqual((local["name"], local["kind"], local["port"], local["params"]),
                         ("local", "local", None, {}))
        self.assertEqual(self.json("server", "show", "local"), local)

    def test_log(self):
        self.out("run", "echo", "one")
        self.call("run", "fail", "two")
        self.call("run", "killed", "three")
        self.call("run", "late", "four")
        runs = self.log()
        self.assertEqual([(r["model"], r["status"]) for r in runs],
                         [("late", "timeout"), ("killed", "failed"), ("fail", "failed"), ("echo", "ok")])
        for run in runs:
            self.assertEqual(list(run)[:len(self.RUN)], self.RUN)
            self.assertRegex(run["request_uid"], rf"\A{UID}\Z")
            self.assertEqual((run["door"], run["server"], run["attempts"]), ("batch", "local", 1))
            shown = self.json("log", "show", run["request_uid"])
            self.assertEqual({name: shown[name] for name in run}, run)
        self.assertEqual((runs[3]["bytes_in"], runs[3]["bytes_out"], runs[3]["exit_code"]), (3, 3, 0))
        self.assertEqual((runs[2]["exit_code"], runs[2]["stderr_tail"]), (3, "first\nlast words\n"))
        self.assertEqual((runs[1]["exit_code"], runs[1]["signal"]), (None, "SIGSEGV"))
        self.assertEqual([r["model"] for r in self.log("--limit", "2")], ["late", "killed"])
        self.assertEqual([r["model"] for r in self.log("--status", "failed")], ["killed", "fail"])
        self.assertEqual([r["model"] for r in self.log("--model", "echo")], ["echo"])
        self.assertEqual(len(self.log("--since", "2020-01-01")), 4)
        self.assertEqual(self.log("--since", "2999-01-01T00:00:00Z"), [])
        self.assertEqual([r["model"] for r in self.log("--since", runs[1]["queued_at"])], ["late", "killed"])
        plain = dict(line.split("\t") for line in self.out(
            "log", "show", runs[2]["request_uid"]).decode().splitlines())
        self.assertEqual((plain["status"], plain["stderr_tail"]), ("failed", "first\\nlast words\\n"))

    def test_log_is_limited(self):
        self.file("numbers.txt", "1\n" * 30)
        self.out("run", "--lines", "moments", "@numbers.txt")
        self.assertEqual(len(self.log()), 20)
        self.assertEqual(len(self.log("--limit", "100")), 30)


# --- changes ------------------------------------------------------------------------------------------


class Changes(Case):
    def change(self, *args, **options):
        self.assertEqual(self.out("--allow-changes", *args, **options), b"")

    def deployment(self, name):
        return self.json("model", "show", name)["deployments"][0]

    def test_add_set_remove(self):
        self.change("model", "add", "x", "--summary", "copies", "--timeout", "90m", "--train", "fit 'a b'",
                    "--", "cat", "-n")
        shown = self.json("model", "show", "x")
        self.assertEqual(shown["summary"], "copies")
        self.assertEqual(self.deployment("x")["argv"], ["cat", "-n"])
        self.assertEqual(self.deployment("x")["train"], ["fit", "a b"])
        self.assertEqual(self.deployment("x")["timeout"], "90m")
        self.assertEqual(self.deployment("x")["workdir"], str(self.folder))
        self.assertEqual(self.out("run", "x", "a"), b"     1\ta")
        self.change("model", "set", "x", "summary=numbers", "timeout=1500ms", "env=A=1", "env=B=x=y",
                    "max-output=1KiB", "clean-env=on")
        shown = self.json("model", "show", "x")
        self.assertEqual(shown["summary"], "numbers")
        self.assertEqual({name: shown["deployments"][0][name] for name in
                          ("timeout", "env", "max_output", "clean_env", "argv", "idle")},
                         {"timeout": "1500ms", "env": {"A": "1", "B": "x=y"}, "max_output": "1KiB",
                          "clean_env": True, "argv": ["cat", "-n"], "idle": "5m"})
        self.change("model", "set", "x", "env=A", "env=C=", "train=", "clean-env=off", "workdir=sub")
        self.assertEqual({name: self.deployment("x")[name] for name in ("env", "train", "clean_env", "workdir")},
                         {"env": {"B": "x=y", "C": ""}, "train": None, "clean_env": False,
                          "workdir": f"{self.folder}/sub"})
        self.change("model", "set", "x", "protocol=token", "answer=line", "error-line=a*", "error-line=b*",
                    "ready-token=R", "workdir=/")
        self.assertEqual({name: self.deployment("x")[name] for name in
                          ("protocol", "answer", "error_line", "ready_token", "stop_token")},
                         {"protocol": "token", "answer": "line", "error_line": ["a*", "b*"],
                          "ready_token": "R", "stop_token": "@!#STOP#!@"})
        self.change("model", "set", "x", "error-line=", "ready-token=", "answer=framed", "protocol=once")
        self.assertEqual(self.deployment("x")["error_line"], [])
        self.assertEqual(self.out("run", "x", "a"), b"     1\ta")
        self.change("model", "remove", "x")
        self.fails(3, "there is no model 'x'", "run", "x", "a")
        self.assertEqual(len(self.log("--model", "x")), 2)

    def test_failures_change_nothing(self):
        before = self.out("--json", "model", "list")
        for args in (("model", "add", "x", "--server", "nosuch", "--", "cat"),
                     ("model", "add", "x", "--answer", "line", "--", "cat"),
                     ("model", "set", "echo", "summary=changed", "server=nosuch")):
            self.assertNotEqual(self.call("--allow-changes", *args)[0], 0)
        self.assertEqual(self.out("--json", "model", "list"), before)

    def test_older_names(self):
        self.change("model-create", "x", "--", "cat")
        self.change("create", "y", "--", "cat")
        self.change("model-modify", "x", "timeout=5s")
        self.change("modify", "y", "timeout=6s")
        self.assertEqual((self.deployment("x")["timeout"], self.deployment("y")["timeout"]), ("5s", "6s"))
        for name in ("model-list", "list-models", "model-ls", "ls-models", "ls"):
            self.assertEqual(self.out(name), self.out("model", "list"))
        self.assertEqual(self.out("model-info", "x"), self.out("model", "show", "x"))
        for name in ("model-ping", "ping-model", "ping"):
            self.assertRegex(self.out(name, "x"), rb"\Ax on local: ready in \d+ ms\n\Z")
        for name in ("model-execute", "execute-model", "execute"):
            self.assertEqual(self.out(name, "x", "hello"), b"hello")
        self.change("model-delete", "x")
        self.change("delete", "y")
        self.assertNotIn(b"\tx\t", self.out("ls"))

    def test_servers(self):
        self.change("server", "add", "second", "--kind", "local")
        self.assertEqual([s["name"] for s in self.json("server", "list")], ["local", "second"])
        self.fails(4, "there is a server 'second' already", "--allow-changes", "server", "add", "second",
                   "--kind", "local")
        self.change("model", "set", "echo", "server=second")
        self.assertEqual(self.out("run", "echo", "--server", "second", "x"), b"x")
        self.fails(4, "there are models on server 'second'", "--allow-changes", "server", "remove", "second")
        self.change("model", "remove", "echo")
        self.change("server", "remove", "second")
        self.fails(3, "there is no server 'second'", "server", "show", "second")

    def test_environment_of_models(self):
        env = {"SECRET": "s", "MER_FORMAT": "plain"}
        self.change("model", "set", "environment", "env=FROM=env:SECRET")
        got = dict(line.split("=", 1) for line in
                   self.out("run", "environment", "x", env=env).decode().splitlines())
        self.assertEqual((got["GREETING"], got["PLAIN"], got["FROM"]), ("hello", "env:X", "s"))
        self.assertEqual(got["PYTHONUNBUFFERED"], "1")
        self.assertNotIn("MER_FORMAT", got)
        self.assertNotIn("SECRET", got)
        clean = dict(line.split("=", 1) for line in
                     self.out("run", "clean", "x", env=env).decode().splitlines())
        self.assertEqual(clean["HOME"], str(self.folder))
        self.assertNotIn("XDG_STATE_HOME", clean)
        self.assertNotIn("LINES", got)

    def test_changed_by_another(self):
        process = self.start()
        process.stdin.write(b"run echo one\n")
        process.stdin.flush()
        self.read_until(process.stdout, b"one")
        self.change("model", "set", "echo", "max-output=2")
        out, err = process.communicate(b"run echo three\n", timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out[:2]), (1, b"th"), err)


# --- settings -----------------------------------------------------------------------------------------


class Settings(Case):
    def test_precedence(self):
        for name in ("a", "b", "c", "d"):
            env = {"XDG_STATE_HOME": str(self.folder / name)}
            subprocess.run([MIGRATE, "--quiet", "up"], env=self.env | env, check=True, timeout=DEADLINE_S)
            self.out("--allow-changes", "model", "add", f"in-{name}", "--", "cat", env=env)
        url = {name: f"sqlite:{self.folder}/{name}/mer/mer.db" for name in "abcd"}
        file = self.file("settings.env", f"# of a test\nMER_DATABASE_URL={url['c']}\nOTHER=x\n")
        home = {"XDG_STATE_HOME": str(self.folder / "d")}

        def names(*args, **env):
            return re.findall(rb"in-[a-d]", self.out(*args, "ls", env=home | env))

        self.assertEqual(names(), [b"in-d"])
        self.assertEqual(names("--env-file", file), [b"in-c"])
        self.assertEqual(names(MER_ENV_FILE=str(file)), [b"in-c"])
        self.assertEqual(names("--env-file", file, MER_DATABASE_URL=url["b"]), [b"in-b"])
        self.assertEqual(names("--env-file", file, MER_DATABASE_URL=""), [b"in-c"])
        self.assertEqual(names("--database", url["a"], "--env-file", file, MER_DATABASE_URL=url["b"]),
                         [b"in-a"])
        self.assertEqual(names(f"--database={self.folder}/a/mer/mer.db"), [b"in-a"])
        self.file(".env", f"MER_DATABASE_URL={url['a']}\n")  # never read unasked
        self.assertEqual(names(), [b"in-d"])

    def test_allow_changes(self):
        add = ["model", "add", "x", "--", "cat"]
        self.fails(4, "not allowed; start with --allow-changes", *add, env={"MER_ALLOW_CHANGES": "0"})
        self.out(*add, env={"MER_ALLOW_CHANGES": "1"})
        file = self.file("settings.env", "MER_ALLOW_CHANGES=1\n")
        self.out("--env-file", file, "model", "remove", "x")

    def test_bad_settings(self):
        for args, env, message in (
                (["ls"], {"MER_FORMAT": "xml"},
                 "MER_FORMAT: 'xml' is none of table, json, jsonl, csv, plain, vertical"),
                (["ls"], {"MER_ALLOW_CHANGES": "perhaps"}, "MER_ALLOW_CHANGES: not on or off: 'perhaps'"),
                (["ls"], {"MER_LOG": "loud"}, "not a log setting: 'loud'"),
                (["--log", "meal=loud", "ls"], {}, "not a log setting: 'meal=loud'"),
                (["ls"], {"MER_DATABASE_PASSWORD": "1234"}, "MER_DATABASE_PASSWORD holds a plain secret"),
                (["ls"], {"MER_ENV_FILE": "/no/file"},
                 "environment file: cannot open '/no/file': No such file or directory"),
                (["--env-file", "bad.env", "ls"], {}, re.compile(r"mer: bad\.env:2.*\n(hint: .*\n)?")),
                (["--database", "oracle:x", "ls"], {}, re.compile("mer: .*oracle.*\n(hint: .*\n)?")),
                (["--databse", "x", "ls"], {}, "no such option: '--databse'"),
                (["--columns", "x", "model", "list"], {},
                 re.compile("mer: no such option: '--columns'\nhint: --columns stands behind the command\n")),
                (["--jobs=2", "run", "echo"], {},
                 re.compile("mer: no such option: '--jobs'\nhint: --jobs stands behind the command\n")),
                (["-c"], {}, "-c needs a value"),
                (["-c", "version", "version"], {}, "a command beside -c or -f: 'version'"),
                (["-f", "/no/file"], {}, "cannot open '/no/file': No such file or directory"),
                (["model", "list", "--database", "x"], {}, "no such option of 'model list': '--database'")):
            self.file("bad.env", "MER_LOG=warn\nno setting\n")
            with self.subTest(args=args, env=env):
                self.fails(2, message, *args, env=env)

    def test_example_is_valid(self):
        self.assertEqual(self.out("--env-file", SOURCE / ".env.example", "version"), b"mer 0.1.0\n")

    def test_log_goes_to_stderr(self):
        for args, env in ((("--log", "warn,model=info"), {}), ((), {"MER_LOG": "model=info"})):
            code, out, err = self.call(*args, "run", "fail", "x", env=env)
            self.assertEqual((code, out), (1, b"out\n"))
            self.assertEqual([re.sub(r"request_uid=[0-9a-f-]{36}:", "request_uid=UID:", line)
                              for line in err.splitlines()[:2]],
                             ["info model: fail request_uid=UID: first", "info model: fail request_uid=UID: last words"])
        code, _, err = self.call("--log", "debug", "run", "echo", "x")
        self.assertEqual(code, 0)
        self.assertRegex(err, r"(?m)^debug [a-z]+: ")

    def test_quiet_has_no_hints(self):
        self.assertIn("hint: ", self.call("run", "nosuch", "x")[2])
        self.assertEqual(self.call("--quiet", "run", "nosuch", "x")[2], f"mer: {NO_MODEL}\n")


# --- batch --------------------------------------------------------------------------------------------


class Batch(Case):
    def test_first_failure_ends_it(self):
        args = ("-c", "version", "-c", "bogus", "-c", "run nosuch x", "-c", "version")
        code, out, err = self.call(*args)
        self.assertEqual((code, out), (2, b"mer 0.1.0\n"))
        self.assertTrue(err.startswith("mer: -c:2: no such command: 'bogus'\n"))
        code, out, err = self.call("--keep-going", *args)
        self.assertEqual((code, out), (2, b"mer 0.1.0\nmer 0.1.0\n"))
        self.assertIn(f"mer: -c:3: {NO_MODEL}\n", err)

    def test_lines(self):
        path = self.file("batch.mer", "run echo \"a\nb\" \\\n  c # a comment\n\n#\n   \nrun echo 'it''s' \\# x\r\n"
                                      "run echo 'open\n")
        code, out, err = self.call("-f", path)
        self.assertEqual((code, out), (2, b"a\nb cits # x"))
        self.assertEqual(err, f"mer: {path}:8: a quote is not closed\n")
        code, out, err = self.call("-c", "version\nbogus")
        self.assertEqual((code, out, err.splitlines()[0]),
                         (2, b"mer 0.1.0\n", "mer: -c:2: no such command: 'bogus'"))
        code, out, err = self.call(data=b"run echo a\0b\nversion\n")
        self.assertEqual((code, out, err), (2, b"", "mer: stdin:1: a NUL in a command\n"))
        code, out, err = self.call(data=b"x" * (2 << 20))
        self.assertEqual((code, out, err), (2, b"", "mer: stdin:1: a line of more than 1 MiB\n"))
        self.assertEqual(self.call(data=b"\xef\xbb\xbfversion\r\n"), (0, b"mer 0.1.0\n", ""))
        self.assertEqual(self.call(data=""), (0, b"", ""))
        self.assertEqual(self.call("-c", ""), (0, b"", ""))

    def test_order_and_sources(self):
        first, second = self.file("1", "run echo 1\n"), self.file("2", "run echo 2\nexit\nrun echo 3\n")
        self.assertEqual(self.call("-f", first, "-c", "run echo c", "-f", "-", "-f", second, "-c", "version",
                                   data="run echo s\n"), (0, b"1cs2", ""))

    def test_exit_keeps_the_code(self):
        code, out, _ = self.call("--keep-going", data="bogus\nexit\nversion\n")
        self.assertEqual((code, out), (2, b""))

    def test_stdin_is_taken(self):
        for line in ("run echo -", "run echo", "run --lines echo", "run --lines echo -"):
            for options in ((), ("-f", "-"), ("-f", "/dev/stdin"), ("-f", "/dev/fd/0")):
                code, out, err = self.call(*options, data=f"{line}\n")
                self.assertEqual((code, out), (2, b""), line)
                place = options[-1] if options and options[-1] != "-" else "stdin"
                self.assertRegex(err, rf"\Amer: {place}:1: [^\n]*stdin is where the commands come from\n")
        self.assertEqual(self.call("-c", "run echo -", data="in"), (0, b"in", ""))
        self.assertEqual(self.call("-c", "run echo", data="in"), (0, b"in", ""))

    def test_answers_before_the_next_command(self):
        process = self.start()
        for word in (b"one", b"two"):
            process.stdin.write(b"run echo " + word + b"\n")
            process.stdin.flush()
            self.assertEqual(self.read_until(process.stdout, word), word)
        process.stdin.close()
        self.assertEqual(process.wait(DEADLINE_S), 0)

    def test_one_worker_serves_all(self):
        self.out(data="run lines a\nrun lines b\nmodel ping lines\nrun lines c\n")
        runs = self.log()
        self.assertEqual([run["status"] for run in runs], ["ok"] * 3)
        self.assertEqual(len({run["pid"] for run in runs}), 1)


# --- run ----------------------------------------------------------------------------------------------


class Run(Case):
    FIELDS = ["request_uid", "model", "deployment", "server", "weights", "status", "exit_code", "signal",
              "error", "stderr_tail", "attempts", "queue_ms", "start_ms", "infer_ms", "bytes_in",
              "bytes_out"]

    def test_stdin(self):
        data = bytes(range(256)) * 5000
        for args in (("run", "echo"), ("run", "echo", "-"), ("run", "echo", "--")):
            self.assertEqual(self.out(*args, data=data), data)
        self.assertEqual(self.out("run", "echo"), b"")  # /dev/null
        path = self.file("data", data)
        with path.open("rb") as file:
            self.assertEqual(self.out("run", "echo", stdin=file), data)
        self.assertEqual(self.out("run", "echo", f"@{path}"), data)

    def test_json(self):
        run = self.json("run", "iris", "5.1,3.5,1.4,0.2")
        self.assertEqual(list(run), [*self.FIELDS, "output"])
        self.assertEqual((run["model"], run["server"], run["weights"], run["status"], run["output"]),
                         ("iris", "local", "1", "ok", "setosa\n"))
        self.assertEqual((run["error"], run["signal"], run["bytes_in"], run["bytes_out"]), (None, None, 15, 7))
        logged, = self.log()
        self.assertEqual({name: logged[name] for name in self.FIELDS}, {n: run[n] for n in self.FIELDS})
        for args in (("--jsonl", "run", "echo", "x"), ("run", "--json", "echo", "x"), ("run", "echo", "x", "--jsonl")):
            self.assertEqual(json.loads(self.out(*args))["output"], "x")
        self.assertEqual(json.loads(self.out("run", "echo", "x", env={"MER_FORMAT": "json"}))["output"], "x")
        self.assertEqual(self.out("run", "echo", "x", env={"MER_FORMAT": "csv"}), b"x")

    def test_last_words(self):
        """However they come, the message has them once."""
        for name, pieces, words in (
                ("pieces", ["cat", ":", " ", "abc: ", "Is a folder", "\n"], "cat: abc: Is a folder"),
                ("blanks", ["first\noops ", " \t", "\n \n"], "oops"),
                ("open", ["first\n", "  oops "], "  oops"),
                ("control", ["\033[1moops\n"], "?[1moops"),
                ("long", ["x" * 1000, "\n"], "x" * 200)):
            script = ("import array, fcntl, os, termios\nleft = array.array('i', [0])\n"
                      f"for piece in {pieces}:\n"
                      " os.write(2, piece.encode())\n"
                      " while fcntl.ioctl(2, termios.FIONREAD, left) or left[0]: pass\n" # until it was read
                      "os._exit(3)")
            self.out("--allow-changes", "model", "add", name, "--", "/usr/bin/python3", "-c", script)
            with self.subTest(name):
                self.fails(1, f"model '{name}' failed: the model ended with exit code 3: {words}", "run", name, "x")

    def test_json_of_failures(self):
        for model, code, want in (
                ("fail", 1, {"status": "failed", "exit_code": 3, "output": "out\n",
                             "stderr_tail": "first\nlast words\n"}),
                ("killed", 1, {"status": "failed", "exit_code": None, "signal": "SIGSEGV", "output": ""}),
                ("late", 7, {"status": "timeout", "output": ""}),
                ("missing", 6, {"status": "failed", "output": ""})):
            with self.subTest(model=model):
                got = self.call("run", "--json", model, "x")
                run = json.loads(got[1])
                self.assertEqual(got[0], code)
                self.assertEqual(list(run), [*self.FIELDS, "output"])
                self.assertEqual({name: run[name] for name in want}, want)
                self.assertIn(run["error"], got[2])

    def test_json_of_bytes(self):
        run = self.json("run", "bytes", "x")
        self.assertEqual(list(run), [*self.FIELDS, "output_base64"])
        self.assertEqual(base64.b64decode(run["output_base64"]), b"\xff\n")
        data = os.urandom(3_000_000)
        run = self.json("run", "echo", data=data)
        self.assertEqual(base64.b64decode(run["output_base64"], validate=True), data)
        text = "aé€😀\0\t\"\\\n" * 400_000
        self.assertEqual(self.json("run", "echo", data=text)["output"], text)

    def test_no_record(self):
        self.assertEqual(self.out("run", "echo", "x", "--no-record"), b"x")
        run = self.json("run", "echo", "x", "--no-record")
        self.assertEqual((run["request_uid"], run["status"], run["output"]), (None, "ok", "x"))
        self.assertEqual(self.log(), [])

    def test_large_output(self):
        out = self.out("run", "flood", "x")
        self.assertEqual((len(out), out.count(b"x")), (40_000_000, 40_000_000))
        path = self.folder / "out"
        with path.open("wb") as file:
            self.call("run", "flood", "x")
            process = self.start("run", "flood", "x", stdout=file)
            self.assertEqual(process.wait(DEADLINE_S), 0)
        self.assertEqual(path.stat().st_size, 40_000_000)

    @unittest.skipIf(SANITIZED, "the sanitizers take memory")
    def test_memory_stays_flat(self):
        numbers = self.file("numbers", "".join(f"{i} {i + 1}\n" for i in range(100_000)))
        for args in (("run", "flood", "x"), ("run", "--json", "flood", "x"),
                     ("run", "--lines", "moments", f"@{numbers}")):
            with self.subTest(args=args), (self.folder / "out").open("wb") as file:
                process = self.start(*args, stdin=subprocess.DEVNULL, stdout=file)
                most = 0
                while process.poll() is None:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
                    most = max(most, int(peak[1]) if peak else 0)
                    time.sleep(0.01)
                self.assertEqual(process.returncode, 0)
                self.assertLess(most, 32 * 1024)
                self.assertGreater(most, 1024)

    def test_slow_reader(self):
        for args in (("run", "flood", "x"), ("run", "--json", "flood", "x")):
            for pair in (os.pipe, lambda: [s.detach() for s in socket.socketpair()]):
                reader, writer = pair()
                process = self.start(*args, stdin=subprocess.DEVNULL, stdout=writer)
                os.close(writer)
                n = 0
                with open(reader, "rb", buffering=0) as file:
                    file.read(1)
                    while piece := file.read(1 << 20):
                        n += len(piece)
                self.assertEqual(process.wait(DEADLINE_S), 0, process.stderr.read())
                self.assertGreaterEqual(n, 39_999_999)

    def test_reader_leaves(self):
        for args, model in ((("run", "flood", "x"), "flood"), (("run", "--json", "flood", "x"), "flood")):
            process = self.start(*args, stdin=subprocess.DEVNULL)
            process.stdout.read(10)
            process.stdout.close()
            self.assertEqual((process.wait(DEADLINE_S), process.stderr.read()), (141, b""))
            self.assertEqual([(r["model"], r["status"]) for r in self.log("--limit", "1")], [(model, "ok")])
        numbers = self.file("numbers", "1\n" * 100_000)
        process = self.start("run", "--lines", "moments", f"@{numbers}")
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual((process.wait(DEADLINE_S), process.stderr.read()), (141, b""))
        self.assertEqual(self.log("--status", "running") + self.log("--status", "queued"), [])
        process = self.start("--json", "log", "--limit", "1000000")
        process.stdout.read(10)
        process.stdout.close()
        self.assertEqual((process.wait(DEADLINE_S), process.stderr.read()), (141, b""))

    def test_stdout_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            for args in (("version",), ("run", "flood", "x"), ("model", "list")):
                process = self.start(*args, stdin=subprocess.DEVNULL, stdout=full)
                self.assertEqual((process.wait(DEADLINE_S), process.stderr.read()),
                                 (70, b"mer: cannot write stdout: No space left on device\n"))
        self.assertEqual([r["status"] for r in self.log()], ["ok"])
        for how, code in ((">&-", 70), ("<&-", 0), ("2>&-", 0)):
            done = subprocess.run(["sh", "-c", f'exec "$0" "$@" {how}', MER, "ls"], env=self.env,
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S)
            self.assertEqual(done.returncode, code, done)


class RunLines(Case):
    def test_answers(self):
        for data, want in ((b"", b""), (b"\n", b"\n"), (b"a", b"a\n"), (b"a\n", b"a\n"), (b"a\r\nb", b"a\r\nb\n"),
                           (b"a\n\n\nb\n", b"a\n\n\nb\n"), (b"\xff\0x\n", b"\xff\0x\n")):
            self.assertEqual(self.out("run", "--lines", "echo", data=data), want)
            self.assertEqual(self.out("run", "--lines", "echo", "-", data=data), want)
            self.assertEqual(self.out("run", "--lines", "echo", f"@{self.file('in', data)}"), want)
        self.assertEqual(self.out("run", "--lines", "moments", data="1\n1 2\n").decode().splitlines()[1][:14],
                         "n=2 mean=1.5 s")

    def test_many(self):
        numbers = [f"{i} {i + 2}" for i in range(20_000)]
        out = self.out("run", "--lines", "moments", data="\n".join(numbers)).decode().splitlines()
        self.assertEqual(len(out), len(numbers))
        self.assertEqual([line.split()[1] for line in out[:1000]], [f"mean={i + 1}" for i in range(1000)])
        self.assertEqual(len(self.log("--limit", "100000", "--status", "ok")), len(numbers))

    def test_answers_keep_their_order(self):
        data = "".join(f"{i}\n" for i in range(60))
        self.assertEqual(self.out("run", "--lines", "jitter", data=data), data.encode())
        self.assertEqual(self.out("run", "--lines", "--keep-going", "jitter", data=data), data.encode())
        runs = [json.loads(line) for line in
                self.out("run", "--lines", "--jsonl", "jitter", data=data).splitlines()]
        self.assertEqual([(r["line"], r["output"]) for r in runs], [(i + 1, f"{i}\n") for i in range(60)])

    def test_large_answers_to_a_slow_reader(self):
        lines = [b"%d" % (i % 10) * (i * 7919 % 400_000) for i in range(40)]
        path = self.file("in", b"\n".join(lines))
        for args in ((), ("--keep-going",)):
            process = self.start(*args, "run", "--lines", "echo", f"@{path}", stdin=subprocess.DEVNULL)
            out = b""
            while piece := os.read(process.stdout.fileno(), 1 << 20):
                out += piece
                time.sleep(0.0002)
            self.assertEqual(process.wait(DEADLINE_S), 0)
            self.assertEqual(out.splitlines(), lines)
            self.assertEqual(len(out), sum(map(len, lines)) + len(lines))

    def test_many_refused(self):
        for args, code in ((("--keep-going", "--quiet"), 2), (("--quiet",), 2)):
            got = self.call(*args, "run", "--lines", "moments", data=b"a\0b\n" * 3000)
            self.assertEqual(got[0], code)
            self.assertEqual(got[1], b"\n" * 3000 if "--keep-going" in args else b"")
            self.assertEqual(len(got[2].splitlines()), 3000 if "--keep-going" in args else 1)

    def test_long_lines(self):
        lines = [b"x" * 3_000_000, b"", b"y" * 5_000_000]
        self.assertEqual(self.out("run", "--lines", "echo", data=b"\n".join(lines)),
                         b"".join(line + b"\n" for line in lines))

    def test_first_failure_ends_it(self):
        data = "one\ntwo\nbad\nfour\n"
        code, out, err = self.call("run", "--lines", "picky", data=data)
        self.assertEqual((code, out), (1, b"got one\ngot two\ngot bad\n"))
        self.assertRegex(err, r"\Amer: line 3: model 'picky' failed: [^\n]+\n\Z")
        self.assertNotIn("four", str(self.log("--status", "ok")))
        code, out, err = self.call("run", "--lines", "lines", data=data)
        self.assertEqual((code, out), (1, b"<one>\n<two>\n"))

    def test_keep_going(self):
        data = "one\nbad\nthree\nbad\n"
        for args in (("--keep-going", "run", "--lines", "picky"), ("run", "--keep-going", "--lines", "picky")):
            code, out, err = self.call(*args, data=data)
            self.assertEqual((code, out), (1, b"got one\n\ngot three\n\n"))
            self.assertRegex(err, r"\Amer: line 2: model 'picky' failed: [^\n]+\n"
                                  r"mer: line 4: model 'picky' failed: [^\n]+\n\Z")
        path = self.file("in", data)
        code, out, err = self.call("-c", f"run --lines --keep-going picky @{path}", "-c", "version")
        self.assertEqual((code, out.endswith(b"mer 0.1.0\n")), (1, False))
        code, out, err = self.call("--keep-going", "-c", f"run --lines picky @{path}", "-c", "version")
        self.assertEqual((code, out.endswith(b"mer 0.1.0\n")), (1, True))
        self.assertTrue(err.startswith("mer: -c:1: line 2: "))

    def test_keep_going_without_a_model(self):
        for args in (("nosuch",), ("--weights", "9", "echo")):
            code, out, err = self.call("run", "--lines", "--keep-going", *args, data="one\ntwo\n")
            self.assertEqual((code, out, err.count("mer: ")), (3, b"", 1), args)

    def test_json(self):
        code, out, err = self.call("run", "--lines", "--keep-going", "--jsonl", "picky", data="one\nbad\n")
        runs = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([(r["line"], r["status"], r["output"]) for r in runs],
                         [(1, "ok", "got one\n"), (2, "failed", "got bad\n")])
        self.assertEqual([name for name in runs[0] if name != "line"], [*Run.FIELDS, "output"])
        self.assertEqual((code, err.count("mer: line 2: ")), (1, 1))
        runs = json.loads(self.out("run", "--lines", "--json", "lines", data="a\nb\nc\n"))
        self.assertEqual([r["output"] for r in runs], ["<a>\n", "<b>\n", "<c>\n"])
        self.assertEqual(json.loads(self.out("run", "--lines", "--json", "lines", data="")), [])
        code, out, err = self.call("run", "--lines", "--json", "picky", data="one\nbad\nthree\n")
        self.assertEqual([r["status"] for r in json.loads(out)], ["ok", "failed"])

    def test_answers_as_they_come(self):
        for model, give, want in (("lines", b"one", b"<one>\n"), ("echo", b"one", b"one\n")):
            process = self.start("run", "--lines", model)
            for _ in range(3):
                process.stdin.write(give + b"\n")
                process.stdin.flush()
                self.assertEqual(self.read_until(process.stdout, want), want)
            process.stdin.write(give[:1])
            process.stdin.close()
            process.stdin = None
            self.assertEqual(self.read_until(process.stdout, b"\n"), want.replace(b"one", b"o"))
            self.assertEqual(process.wait(DEADLINE_S), 0)

    def test_fifo(self):
        path = self.folder / "fifo"
        os.mkfifo(path)
        process = self.start("run", "--lines", "lines", f"@{path}")
        with path.open("wb", buffering=0) as file:
            file.write(b"one\n")
            self.assertEqual(self.read_until(process.stdout, b"\n"), b"<one>\n")
        self.assertEqual(process.wait(DEADLINE_S), 0)

    def test_slow_reader(self):
        numbers = self.file("numbers", "".join(f"{i}\n" for i in range(30_000)))
        process = self.start("run", "--lines", "moments", f"@{numbers}")
        first = process.stdout.readline()
        time.sleep(0.3)
        rest = process.stdout.read()
        self.assertEqual(process.wait(DEADLINE_S), 0)
        self.assertEqual((first + rest).count(b"\n"), 30_000)


# --- signals ------------------------------------------------------------------------------------------


class Signals(Case):
    def interrupt(self, process, *signals):
        for number in signals:
            process.send_signal(number)
            time.sleep(0.1)
        out, err = process.communicate(timeout=DEADLINE_S)
        return process.returncode, out, err.decode()

    def test_run_is_cancelled_and_recorded(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            process = self.start("run", "slow", "x", stdin=subprocess.DEVNULL)
            self.read_until(process.stdout, b"begin\n")
            got = self.interrupt(process, number)
            self.assertEqual(got[:2], (code, b""))
            self.assertRegex(got[2], r"\Amer: [^\n]*cancelled\n\Z")
            self.assertEqual([r["status"] for r in self.log("--limit", "1")], ["cancelled"])

    def test_second_one_kills(self):
        process = self.start("run", "stubborn", "x", stdin=subprocess.DEVNULL)
        self.read_until(process.stdout, b"begin\n")
        begin = time.monotonic()
        self.assertEqual(self.interrupt(process, signal.SIGINT, signal.SIGINT)[0], 130)
        self.assertLess(time.monotonic() - begin, 1.9)
        self.assertEqual([r["status"] for r in self.log()], ["cancelled"])

    def test_batch_ends(self):
        process = self.start("-c", "run slow x", "-c", "version", stdin=subprocess.DEVNULL)
        self.read_until(process.stdout, b"begin\n")
        code, out, err = self.interrupt(process, signal.SIGINT)
        self.assertEqual((code, out), (130, b""))
        self.assertTrue(err.startswith("mer: -c:1: "), err)
        process = self.start("run", "--lines", "slow")
        process.stdin.write(b"one\ntwo\nthree\n")
        process.stdin.flush()
        self.read_until(process.stdout, b"begin\n")
        code, out, err = self.interrupt(process, signal.SIGTERM)
        self.assertEqual((code, out, err.startswith("mer: line 1: ")), (143, b"", True), err)
        self.assertEqual({r["status"] for r in self.log()}, {"cancelled"})

    def test_while_waiting_for_stdin(self):
        for args, data, want in (((), b"run echo x\nversion\n", b"xmer 0.1.0\n"),
                                 ((), b"version\n", b"mer 0.1.0\n"),
                                 (("run", "--lines", "echo"), b"x\n", b"x\n")):
            process = self.start(*args)
            process.stdin.write(data)
            process.stdin.flush()
            self.read_until(process.stdout, want)
            self.assertEqual(self.interrupt(process, signal.SIGINT), (130, b"", ""))
        process = self.start("run", "echo")
        process.stdin.write(b"half")
        process.stdin.flush()
        time.sleep(0.3)
        self.assertEqual(self.interrupt(process, signal.SIGTERM), (143, b"", ""))
        self.assertEqual({r["status"] for r in self.log()}, {"ok"})

    def test_json_of_a_cancelled_run(self):
        process = self.start("run", "--json", "slow", "x", stdin=subprocess.DEVNULL)
        while not self.log("--status", "running"):
            time.sleep(0.05)
        time.sleep(0.3)
        code, out, _ = self.interrupt(process, signal.SIGINT)
        self.assertEqual((code, json.loads(out)["status"]), (130, "cancelled"))

    def test_slow_reader(self):
        process = self.start("run", "flood", "x", stdin=subprocess.DEVNULL)
        process.stdout.read(1)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(DEADLINE_S), 130)

    def test_ignored_ones_stay_ignored(self):
        process = subprocess.Popen(["sh", "-c", 'trap "" HUP INT; exec "$0" run slow x', MER],
                                   env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(self.end, process)
        self.read_until(process.stdout, b"begin\n")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        with self.assertRaises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(DEADLINE_S), 143)

    def test_killed_mer_leaves_lost_runs(self):
        process = self.start("run", "slow", "x", stdin=subprocess.DEVNULL)
        self.read_until(process.stdout, b"begin\n")
        self.assertEqual([r["status"] for r in self.log()], ["running"])
        process.kill()
        process.wait()
        self.out("run", "echo", "x")
        self.assertEqual([r["status"] for r in self.log()], ["ok", "lost"])

    def test_read_only_database(self):
        self.out("run", "echo", "x")
        folder = self.folder / "state" / "mer"
        if os.geteuid() == 0:
            self.skipTest("root may write everything")
        for path in folder.iterdir():
            path.chmod(stat.S_IRUSR)
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
        self.addCleanup(folder.chmod, 0o700)
        self.assertEqual(len(self.log()), 1)
        self.assertEqual(self.call("run", "echo", "x")[0], 5)


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
