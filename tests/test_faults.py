#!/usr/bin/python3
"""Everything that can go wrong around mer, on the programs as users get them: the database, the
model's program, input, output, signals, sudden death. Each case has folders and a database of its
own. Whatever happens, mer says one line and ends with the code of its contract, the run has one row
with a status that is true, and no process and no temporary file is left.

MER_PREFIX names the installation; MER_TEST_KILLS is how often the random kill strikes, and
MER_TEST_SEED repeats it. Prints TAP when run as a program."""
import contextlib
import ctypes
import functools
import hashlib
import json
import os
import random
import resource
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid
from pathlib import Path

PREFIX = Path(os.environ["MER_PREFIX"])
MER = str(PREFIX / "bin/mer")
MIGRATE = str(PREFIX / "bin/mer-migrate")
SHELL_MER = shlex.quote(MER)
KILLS = int(os.environ.get("MER_TEST_KILLS", "25"))
SEED = int(os.environ.get("MER_TEST_SEED", random.SystemRandom().randrange(10**9)))
SANITIZED = any(mark in Path(MER).read_bytes() for mark in (b"__asan_init", b"__tsan_init"))
FLAT_KIB = (400 if SANITIZED else 32) * 1024
DEADLINE_S = 60  # for what has to come; nothing is waited for as long unless it fails
GONE_S = 1       # for processes to be gone
MIB = 1024 * 1024
NOBODY = 65534
FINAL = {"ok", "failed", "timeout", "cancelled", "lost", "rejected"}
READY, START, STOP, EXIT = ("@!#%s#!@" % word for word in ("READY", "START", "STOP", "EXIT"))

# A model of either protocol, in sh: {before} comes before it is ready, {answer} when it has $input.
ONCE = """#!/bin/sh
: >"$HOME/ran"
{before}
input=$(cat)
{answer}
"""
TOKEN = f"""#!/bin/sh
: >"$HOME/ran"
answer() {{
{{answer}}
}}
{{before}}
echo '{READY}'
while IFS= read -r line; do
	case $line in
	'{START}') input= ;;
	'{STOP}') echo '{START}'; answer; echo '{STOP}' ;;
	'{EXIT}') exit 0 ;;
	*) input=$line ;;
	esac
done
"""
LINE = TOKEN.replace(f"echo '{START}'; answer; echo '{STOP}'", "answer")
SCRIPTS = {"once": ONCE, "token": TOKEN, "line": LINE}
OPTIONS = {"once": ["--protocol", "once"], "token": ["--protocol", "token"],
           "line": ["--protocol", "token", "--answer", "line"]}
ECHO = 'echo "[$input]"'
HANG = 'echo >"$HOME/here"; sleep 1000'
STUBBORN = "trap '' TERM INT HUP"

# Answers what it was given, byte by byte.
ONCE_ECHO = "#!/bin/sh\n: >\"$HOME/ran\"\nexec cat\n"
TOKEN_ECHO = f"""#!/usr/bin/python3 -IS
import os, sys
open(os.environ["HOME"] + "/ran", "w").close()
source, to, got = sys.stdin.buffer, sys.stdout.buffer, []
to.write(b"{READY}\\n")
to.flush()
for line in source:
    if line == b"{START}\\n":
        got = []
    elif line == b"{STOP}\\n":
        to.writelines([b"{START}\\n", *got, b"{STOP}\\n"])
        to.flush()
    elif line == b"{EXIT}\\n":
        break
    else:
        got.append(line)
"""


# Runs the words behind the first and writes there the most memory that they and their children had.
# A program of its own, since a child counts the pages of its parent until it execs.
MEASURE = """import os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def each(table):
    """Makes a test of each row; the method gets the row's values."""
    def mark(method):
        method.table = table
        return method
    return mark


def both(table, protocols=("once", "token")):
    """Each row for both protocols, or for these."""
    return {f"{protocol}_{name}": (protocol, *row) for name, row in table.items()
            for protocol in protocols}


def names(*words):
    return {word.strip("-").replace("-", "_"): (word,) for word in words}


def checked(method, *values):
    """A test that leaves nothing behind."""
    @functools.wraps(method)
    def test(self):
        method(self, *values)
        self.check_left()
    return test


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def process_table():
    """Pid to (parent, name, state) of all that is alive or a zombie."""
    table = {}
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit():
                text = Path("/proc", entry, "stat").read_text(encoding="latin-1")
                name, _, rest = text.partition("(")[2].rpartition(") ")
                state, parent = rest.split()[:2]
                table[int(entry)] = (int(parent), name, state)
    return table


def read_proc(pid, name):
    try:
        return Path("/proc", str(pid), name).read_bytes()
    except OSError:
        return b""


def has_open(pid, path):
    """Whether a process has a file open."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == str(path):
                    return True
    return False


def unprivileged():
    """The words in front of a command that is to obey permissions, or None where that cannot be."""
    if os.geteuid() != 0:
        return []
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with contextlib.suppress(OSError):
        if subprocess.run([*words, MER, "--version"], capture_output=True,
                          check=False).returncode == 0:
            return words
    return None


class Case(unittest.TestCase):
    """A test with a home, a database and a mark of its own, which all its processes inherit."""

    def __init_subclass__(cls):
        for name, method in list(vars(cls).items()):
            if name.startswith("test_"):
                setattr(cls, name, checked(method))
            for row, values in getattr(method, "table", {}).items():
                setattr(cls, f"test_{name}_{row}", checked(method, *values))

    @classmethod
    def setUpClass(cls):
        """One database is made; each case gets a copy."""
        folder = tempfile.mkdtemp(prefix="mer-faults-")
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.fresh = Path(folder, "mer.db")
        subprocess.run([MIGRATE, "--database", f"sqlite:{cls.fresh}", "up", "--quiet"], check=True)
        with contextlib.closing(sqlite3.connect(cls.fresh)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def setUp(self):
        self.top = Path(tempfile.mkdtemp(prefix="mer-faults-"))
        self.addCleanup(shutil.rmtree, self.top, ignore_errors=True)
        self.addCleanup(self.kill_rest)
        self.home, self.temp = self.top / "home", self.top / "tmp"
        self.db = self.top / "state/mer/mer.db"
        for folder in (self.home, self.temp, self.db.parent):
            folder.mkdir(parents=True)
        shutil.copyfile(self.fresh, self.db)
        self.db.chmod(0o600)
        mark = f"FAULT_MARK={uuid.uuid4()}"
        self.mark = mark.encode()
        self.env = {
            "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "USER": "tester", "HOME": str(self.home),
            "TMPDIR": str(self.temp), "XDG_STATE_HOME": str(self.top / "state"),
            "XDG_DATA_HOME": str(self.top / "data"), **dict([mark.split("=")]),
        }
        for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        if SANITIZED:
            self.env["ASAN_OPTIONS"] = self.env.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"
        self.before = []     # words in front of mer
        self.sound = True    # the database is to be whole at the end

    def shortDescription(self):
        return None  # the name says more

    def check_left(self):
        self.check_gone()
        self.assertEqual(os.listdir(self.temp), [], "left in TMPDIR")
        if self.sound:
            with self.connect() as db:
                self.assertEqual(db.execute("PRAGMA integrity_check").fetchall()[0][0], "ok")

    # --- processes ---

    def marked(self):
        """Pids that carry the mark, with their command lines."""
        found = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and self.mark in read_proc(entry, "environ").split(b"\0"):
                found[int(entry)] = read_proc(entry, "cmdline").replace(b"\0", b" ")
        return found

    def check_gone(self, seconds=GONE_S):
        """No process is left. Looked at twice: one that execs has no environment meanwhile."""
        end = time.monotonic() + seconds
        clean = 0
        while clean < 2:
            left = self.marked()
            clean = 0 if left else clean + 1
            if left and time.monotonic() > end:
                self.fail(f"left after {seconds} s: {left}")
            time.sleep(0.002)

    def kill_rest(self):
        for _ in range(100):
            left = self.marked()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return
            time.sleep(0.01)

    def wait(self, what, condition, seconds=DEADLINE_S):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                self.fail(f"waited {seconds} s in vain: {what}")
            time.sleep(0.002)

    def wait_here(self, name="here"):
        """A model says how far it is by a file in its home."""
        self.wait(f"the model makes '{name}'", (self.home / name).exists)

    def child(self, process, name):
        """The child of a process that has this name."""
        found = []

        def look():
            found[:] = [pid for pid, (parent, its, _) in process_table().items()
                        if parent == process.pid and its == name]
            return found
        self.wait(f"a child '{name}'", look)
        return found[0]

    def start(self, *words, program=MER, **options):
        for name in ("stdout", "stderr"):
            options.setdefault(name, subprocess.PIPE)
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("cwd", self.top)
        options.setdefault("env", self.env)
        argv = [*self.before, program, *(w if isinstance(w, bytes) else str(w) for w in words)]
        process = subprocess.Popen(argv, **options)
        self.addCleanup(self.discard, process)
        return process

    @staticmethod
    def discard(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def finish(self, process, code=0, out=b"", says=None, data=None):
        """It ends with this code and output, and says one line, or nothing."""
        try:
            got, err = process.communicate(data, timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.fail(f"did not end: {process.args}, {self.marked()}")
        got = got or b""
        self.assertEqual(process.returncode, code, (got[-500:], err))
        if out is not None:
            self.assertTrue(got == out, (len(got), got[:200], got[-200:], err))
        self.check_said(err or b"", says)
        return got

    def check_said(self, text, says):
        if says is None:
            self.assertEqual(text, b"")
            return
        self.assertRegex(text, rb"\A[a-z-]+: [^\n]+\n(hint: [^\n]+\n)?\Z")
        line = text.decode().split("\n", maxsplit=1)[0]
        self.assertTrue(line.startswith(("mer: ", "mer-migrate: ")), line)
        self.assertRegex(line, "(?i)" + says)
        self.assertNotRegex(text, rb"(?i)is locked|assert|\(null\)|: *\n|  ")

    def mer(self, *words, code=0, out=b"", says=None, data=None, **options):
        if data is not None:
            options["stdin"] = subprocess.PIPE
        return self.finish(self.start(*words, **options), code, out, says, data)

    # --- models ---

    def script(self, text, name="model", mode=0o755):
        path = self.top / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def add(self, name, *argv, options=()):
        self.mer("--allow-changes", "model", "add", name, *options, "--", *argv)

    def model(self, protocol, answer, *options, before="", name="m"):
        text = SCRIPTS[protocol].replace("{before}", before).replace("{answer}", answer)
        self.add(name, self.script(text, name), options=(*OPTIONS[protocol], *options))

    def echo_model(self, protocol, *options):
        path = self.script(TOKEN_ECHO if protocol == "token" else ONCE_ECHO)
        self.add("m", path, options=("--protocol", protocol, *options))

    def lines_file(self, *lines):
        path = self.top / "lines"
        path.write_text("".join(line + "\n" for line in lines))
        return f"@{path}"

    def small_disk(self, folder, size="1m"):
        """Mounts a disk on a folder, where only this program sees it."""
        libc = ctypes.CDLL(None, use_errno=True)
        if os.geteuid() != 0 or libc.unshare(0x20000) != 0:  # CLONE_NEWNS
            self.skipTest("a small disk takes root who may mount")
        for words in (["--make-rprivate", "/"],
                      ["-t", "tmpfs", "-o", f"size={size},mode=700", "none", folder]):
            if subprocess.run(["mount", *words], check=False).returncode != 0:
                self.skipTest("a small disk takes root who may mount")
        self.addCleanup(subprocess.run, ["umount", "-l", folder], check=True)

    # --- the database ---

    @contextlib.contextmanager
    def connect(self, write=False):
        mode = "rw" if write else "ro"
        db = sqlite3.connect(f"file:{self.db}?mode={mode}", uri=True, timeout=30,
                             isolation_level=None)
        db.row_factory = sqlite3.Row
        with contextlib.closing(db):
            yield db

    def rows(self):
        with self.connect() as db:
            return [dict(row) for row in
                    db.execute("SELECT * FROM model_access ORDER BY request_uid")]

    def statuses(self):
        return [row["status"] for row in self.rows()]

    def one_row(self, status, **columns):
        rows = self.rows()
        self.assertEqual([row["status"] for row in rows], [status], rows)
        self.assertIsNotNone(rows[0]["stopped_at"])
        self.assertEqual({name: rows[0][name] for name in columns}, columns)
        return rows[0]

    def check_all_final(self):
        for row in self.rows():
            self.assertIn(row["status"], FINAL, row)
            self.assertIsNotNone(row["stopped_at"], row)

    def check_object(self, text, row):
        """What --json says of a run is what its row says."""
        said = json.loads(text)
        for name in ("request_uid", "model", "status", "exit_code", "attempts", "bytes_in",
                     "bytes_out"):
            self.assertEqual(said[name], row[name], name)
        for name in ("signal", "error", "stderr_tail"):
            self.assertEqual(said[name] or "", row[name], name)
        self.assertIn("output" if "output" in said else "output_base64", said)


# --- the database -------------------------------------------------------------------------------


def remove_database(case):
    for path in case.db.parent.glob("mer.db*"):
        path.unlink()


def is_other_program(case):
    remove_database(case)
    with contextlib.closing(sqlite3.connect(case.db)) as db:
        db.executescript("CREATE TABLE models(a); CREATE TABLE model_access(b);")


def is_half_migrated(case):
    remove_database(case)
    subprocess.run([MIGRATE, "--database", f"sqlite:{case.db}", "up", "--to", "2", "--quiet"],
                   check=True)


def is_newer(case):
    with case.connect(write=True) as db:
        db.execute("INSERT INTO migrations (num, name, sha256, canonical_sha256, duration_ms, "
                   "applied_by, tool_version) VALUES (900, 'Later', '0', '0', 1, 'me', '9.0')")


def is_garbage(case):
    remove_database(case)
    case.db.write_bytes(b"this is no database\n" * 1000)


def is_random(case):
    remove_database(case)
    case.db.write_bytes(random.Random(1).randbytes(50000))


def is_short(case):
    os.truncate(case.db, case.db.stat().st_size // 2)


def has_bad_page(table):
    """Overwrites the page that a table begins with."""
    def damage(case):
        with case.connect() as db:
            root, = db.execute("SELECT coalesce(max(rootpage), 1) FROM sqlite_schema "
                               "WHERE name = ?", (table,)).fetchone()
            size = db.execute("PRAGMA page_size").fetchone()[0]
        with open(case.db, "r+b") as file:
            file.seek((root - 1) * size)
            file.write(b"\xff" * size)
        for path in case.db.parent.glob("mer.db-*"):
            path.unlink()
    return damage


def is_folder(case):
    remove_database(case)
    case.db.mkdir()


def is_below_a_file(case):
    shutil.rmtree(case.db.parent)
    case.db.parent.write_text("")


def is_device(case):
    remove_database(case)
    os.mkfifo(case.db)


ADD_ANOTHER = ["--allow-changes", "model", "add", "another", "--", "/bin/true"]
ALL = ("run", "lines", "list", "log")
# What is done to it, which commands then fail, what they say, what mer-migrate up ends with.
DATABASE_FAULTS = {
    "missing": (remove_database, ALL, "there is no database", None),
    "empty_file": (lambda case: case.db.write_bytes(b""), ALL, "migrat|schema|set up", None),
    "half_migrated": (is_half_migrated, ALL, "migrat|schema", 0),
    "newer": (is_newer, ALL, "newer", 3),
    "of_another_program": (is_other_program, ALL, "mer.db", None),
    "garbage": (is_garbage, ALL, "no SQLite database", 4),
    "random_bytes": (is_random, ALL, "no SQLite database", 4),
    "short": (is_short, ALL, "corrupt", 4),
    "bad_models_page": (has_bad_page("models"), ("run", "lines", "list"), "corrupt", None),
    "bad_runs_page": (has_bad_page("model_access"), ("run", "lines"), "corrupt", None),
    "bad_log_page": (has_bad_page("sqlite_autoindex_model_access_1"), ("run", "lines", "log"),
                     "corrupt", None),
    "bad_schema_page": (has_bad_page("sqlite_schema"), ALL, "corrupt|no SQLite database", 4),
    "folder": (is_folder, ALL, "folder", 4),
    "fifo": (is_device, ALL, "not a file", 4),
    "below_a_file": (is_below_a_file, ALL, "not a directory", 4),
}


class Database(Case):
    def setUp(self):
        super().setUp()
        self.model("once", ECHO)
        with self.connect(write=True) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.commands = {"run": ["run", "m", "x"], "list": ["model", "list"], "log": ["log"],
                         "lines": ["run", "--lines", "m", self.lines_file("a", "b")]}

    def refuses(self, commands, says, code=5):
        """These fail, and no model sees anything."""
        for name in commands:
            with self.subTest(command=name):
                self.mer(*self.commands[name], code=code, says=says)
                said = json.loads(self.mer("--json", *self.commands[name], code=code, out=None,
                                           says=says))
                self.assertEqual(said["code"], code)
                self.assertRegex(said["error"], "(?i)" + says)
                self.assertIn("hint", said)
        self.assertFalse((self.home / "ran").exists(), "the model ran")

    @each(DATABASE_FAULTS)
    def fault(self, damage, commands, says, migrate):
        self.sound = False
        damage(self)
        before = sorted(path.name for path in self.top.glob("state/mer/*"))
        self.refuses(commands, says)
        if damage in (remove_database, is_garbage, is_random, is_folder, is_device):
            self.assertEqual(sorted(path.name for path in self.top.glob("state/mer/*")), before)
        if migrate is not None:
            done = self.start("up", "--quiet", program=MIGRATE)
            self.finish(done, migrate, out=None, says=None if migrate == 0 else ".")

    @each({
        "no_host": ("postgres://127.0.0.1:1/none", 5),
        "no_file": ("sqlite:", 2),
        "no_such_kind": ("mongodb://x", 2),
        "elsewhere": ("sqlite:/nonexistent/mer.db", 5),
    })
    def url(self, url, code):
        self.mer("--database", url, "model", "list", code=code, says=".")

    def test_lock_file_is_a_folder(self):
        lock = Path(f"{self.db}-lock")
        lock.unlink(missing_ok=True)
        lock.mkdir()
        self.refuses(("run", "lines"), "lock")

    def be_nobody(self):
        words = unprivileged()
        if words is None:
            self.skipTest("nobody else can run the programs of this installation")
        if os.geteuid() == 0:
            for folder, _, files in os.walk(self.top):
                for path in (folder, *(os.path.join(folder, file) for file in files)):
                    os.chown(path, NOBODY, NOBODY)
        self.before = words

    @each({
        "read_only_file": ("mer.db", 0o400, ("run", "lines"), "read-only|permission"),
        "secret_file": ("mer.db", 0o000, ALL, "permission"),
        "read_only_folder": (".", 0o500, ("run", "lines"), "read-only|permission|cannot make"),
        "secret_folder": (".", 0o000, ALL, "permission"),
    })
    def forbidden(self, name, mode, commands, says):
        self.be_nobody()
        path = self.db.parent / name
        self.addCleanup(path.chmod, 0o700)
        for rest in self.db.parent.glob("mer.db-*"):
            rest.unlink()
        path.chmod(mode)
        self.refuses(commands, says)
        if mode == 0o400:
            self.mer("model", "list", out=None)
        path.chmod(0o700)
        self.assertEqual(self.rows(), [])

    def test_lock_file_is_forbidden(self):
        self.mer("run", "m", "x", out=b"[x]\n")
        (self.home / "ran").unlink()
        self.be_nobody()
        Path(f"{self.db}-lock").chmod(0o000)
        self.refuses(("run", "lines"), "lock|permission")
        self.one_row("ok")

    # --- a writer that takes its time ---

    @each({
        "run": (["run", "m", "x"], b"[x]\n", ["ok"]),
        "lines": (["run", "--lines", "m", "-"], b"[a]\n[b]\n", ["ok", "ok"]),
        "add": (ADD_ANOTHER, b"", []),
    })
    def waits_for_a_writer(self, words, out, statuses):
        with self.connect(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            process = self.start(*words, stdin=subprocess.PIPE)
            process.stdin.write(b"a\nb\n")
            process.stdin.close()
            process.stdin = None
            self.wait("it opens the database", lambda: has_open(process.pid, self.db))
            with self.assertRaises(subprocess.TimeoutExpired):
                process.wait(0.7)  # how long the other one writes
            self.assertFalse((self.home / "ran").exists(), "the model ran before its row was there")
            db.execute("ROLLBACK")
        self.finish(process, out=out)
        self.assertEqual(self.statuses(), statuses)

    @each(names("once", "token"))
    def waits_to_close_a_row(self, protocol):
        os.mkfifo(self.home / "go")
        self.model(protocol, 'echo >"$HOME/here"; read x <"$HOME/go"; echo done', name="w")
        process = self.start("run", "w", "x")
        self.wait_here()
        with self.connect(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            (self.home / "go").write_text("x\n")
            self.assertEqual(process.stdout.read(5), b"done\n")  # the answer does not wait
            with self.assertRaises(subprocess.TimeoutExpired):
                process.wait(0.5)
            self.assertEqual(self.statuses(), ["running"])
            db.execute("COMMIT")
        self.finish(process)
        self.one_row("ok")

    def gate_model(self):
        """Its run ends when somebody writes a line to the FIFO `go`."""
        os.mkfifo(self.home / "go")
        self.model("once", 'echo >"$HOME/here"; read x <"$HOME/go"; echo done', name="gate")

    def let_go(self, process):
        (self.home / "go").write_text("x\n")
        self.assertEqual(process.stdout.read(5), b"done\n")

    def test_row_that_is_gone(self):
        self.gate_model()
        process = self.start("run", "gate", "x")
        self.wait_here()
        with self.connect(write=True) as db:
            db.execute("DELETE FROM model_access")
        self.let_go(process)
        self.finish(process, 5, says="run [0-9a-f-]{36} is not recorded: its row is no longer in the database")
        self.assertEqual(self.rows(), [])

    def test_one_row_that_is_gone(self):
        """The others are closed; the one that is not is named."""
        self.gate_model()
        process = self.start("run", "--lines", "gate", self.lines_file("a", "b", "c"))
        self.wait_here()
        with self.connect(write=True) as db:
            self.wait("all are written ahead", lambda: len(self.rows()) == 3)
            uid = self.rows()[1]["request_uid"]
            db.execute("DELETE FROM model_access WHERE request_uid = ?", [uid])
        for _ in range(3):
            self.let_go(process)
        self.finish(process, 5, says=f"run {uid} is not recorded: its row is no longer in the database")
        self.assertEqual(self.statuses(), ["ok", "ok"])

    def test_readers_do_not_wait_for_a_writer(self):
        self.mer("run", "m", "x", out=b"[x]\n")
        with self.connect(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM model_access")
            self.mer("model", "list", out=None)
            self.assertIn(b"\tm\t", self.mer("log", out=None))
            db.execute("ROLLBACK")

    def test_a_reader_holds_up_nobody(self):
        with self.connect() as db:
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM models").fetchall()
            self.mer("run", "m", "x", out=b"[x]\n")
        self.one_row("ok")

    def test_beside_busy_writers(self):
        stop = threading.Event()

        def write():
            with self.connect(write=True) as db:
                while not stop.is_set():
                    db.execute("BEGIN IMMEDIATE")
                    db.execute("UPDATE models SET summary = summary || '' WHERE name = 'm'")
                    time.sleep(0.005)
                    db.execute("COMMIT")
                    time.sleep(0.005)
        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        try:
            for n in range(10):
                self.mer("run", "m", n, out=b"[%d]\n" % n)
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        self.assertEqual(self.statuses(), ["ok"] * 10)

    # --- no space ---

    def on_small_disk(self, size="1m"):
        """Puts the database on a disk of its own."""
        folder = self.db.parent
        kept = {path.name: path.read_bytes() for path in folder.glob("mer.db*")}
        self.small_disk(folder, size)
        for name, data in kept.items():
            (folder / name).write_bytes(data)

    def fill(self):
        with open(self.db.parent / "filler", "wb", buffering=0) as file:
            with self.assertRaises(OSError):
                while True:
                    file.write(b"x" * 4096)

    def test_full_before_the_first_run(self):
        self.on_small_disk()
        for path in self.db.parent.glob("mer.db-*"):
            path.unlink()
        self.fill()
        self.refuses(("run", "lines"), "full|space")
        (self.db.parent / "filler").unlink()
        self.mer("run", "m", "x", out=b"[x]\n")
        self.one_row("ok")

    def test_full_after_a_run(self):
        self.on_small_disk()
        self.mer("run", "m", "x", out=b"[x]\n")
        (self.home / "ran").unlink()
        self.fill()
        self.refuses(("run", "lines"), "full|space")
        self.mer("log", out=None)
        self.mer(*ADD_ANOTHER, code=5, says="full|space")
        (self.db.parent / "filler").unlink()
        self.one_row("ok")

    def test_full_while_the_model_runs(self):
        self.on_small_disk()
        os.mkfifo(self.home / "go")
        self.model("once", 'echo >"$HOME/here"; read x <"$HOME/go"; echo done', name="w")
        process = self.start("run", "w", "x")
        self.wait_here()
        self.fill()
        (self.home / "go").write_text("x\n")
        self.finish(process, 5, b"done\n", "full|space")
        self.mer("log", out=None)  # cannot write, and shows what there is
        (self.db.parent / "filler").unlink()
        self.mer("log", out=None)
        self.one_row("lost")

    def full_for_a_while(self, until):
        """A mer that stays after its run has met a full disk, until it has said so; gives it, and what it said."""
        self.on_small_disk()
        os.mkfifo(self.home / "go")
        self.model("once", 'echo >"$HOME/here"; read x <"$HOME/go"; echo done', name="w")
        process = self.start("--log", "warn,dal=debug", stdin=subprocess.PIPE)
        process.stdin.write(b"run w x\n")
        process.stdin.flush()
        self.wait_here()
        self.fill()
        (self.home / "go").write_text("x\n")
        said = b""
        while until not in said:
            line = process.stderr.readline()
            self.assertNotEqual(line, b"", said)
            said += line
        return process, said

    def test_full_until_the_end(self):
        """Nothing is said of a row that is tried again, but once that it was in vain."""
        process, said = self.full_for_a_while(b"status=database")
        out, rest = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out), (5, b"done\n"))
        told = [line for line in (said + rest).splitlines() if not line.startswith(b"debug ")]
        self.assertEqual(len(told), 2, told)
        self.assertRegex(told[0], rb"\Amer: run [0-9a-f-]{36} is not recorded: .* is full")
        (self.db.parent / "filler").unlink()

    def refuse(self, when, event):
        with self.connect(write=True) as db:
            db.execute(f"CREATE TRIGGER refuse BEFORE {event} ON model_access WHEN {when} "
                       "BEGIN SELECT RAISE(ABORT, 'no such row'); END")

    def test_a_row_that_is_refused_costs_itself_alone(self):
        self.add("e", self.script(TOKEN_ECHO, "e"), options=("--protocol", "token"))
        self.refuse("NEW.status = 'ok' AND NEW.bytes_in = 3", "UPDATE")
        lines = ["aaa" if i == 70 else "bb" for i in range(200)]
        self.mer("run", "--lines", "e", self.lines_file(*lines), code=5, out=None,
                 says="run [0-9a-f-]{36} is not recorded: .*no such row")
        self.assertEqual(sorted(set(self.statuses())), ["ok", "queued"])
        self.assertEqual(self.statuses().count("queued"), 1)
        with self.connect(write=True) as db:
            db.execute("DROP TRIGGER refuse")
        self.mer("run", "e", "z", out=None)  # the next start closes what is left
        self.assertEqual(sorted(set(self.statuses())), ["lost", "ok"])
        self.assertEqual([row["bytes_in"] for row in self.rows() if row["status"] == "lost"], [3])

    def test_a_new_row_that_is_refused_costs_itself_alone(self):
        self.add("e", self.script(TOKEN_ECHO, "e"), options=("--protocol", "token"))
        self.refuse("NEW.bytes_in = 3", "INSERT")
        lines = ["aaa" if i == 70 else "bb" for i in range(200)]
        self.mer("run", "--lines", "--keep-going", "e", self.lines_file(*lines), code=4, out=None,
                 says="no such row")
        self.assertEqual(self.statuses(), ["ok"] * 199)

    @each({
        "run": (["run", "m", "x"],),
        "add": (ADD_ANOTHER,),
    })
    def file_size_limit(self, words):
        for path in self.db.parent.glob("mer.db-*"):
            path.unlink()

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        self.mer(*words, code=5, says="full|space|large|limit", preexec_fn=limit)
        self.assertEqual(self.rows(), [])
        self.assertFalse((self.home / "ran").exists(), "the model ran")


# --- the program --------------------------------------------------------------------------------


# How the program is, and what mer says of it.
PROGRAM_FAULTS = {
    "missing": (lambda case: case.top / "none", "No such file"),
    "not_on_path": (lambda case: "no-such-program-4711", "No such file"),
    "not_executable": (lambda case: case.script("#!/bin/sh\n", mode=0o644), "Permission denied"),
    "folder": (lambda case: case.top, "folder"),
    "no_interpreter": (lambda case: case.script("#!/nonexistent/sh\n"), "/nonexistent/sh"),
    "bytes": (lambda case: case.script(b"\x01\x02\x03\x04 no program"), "not a program"),
    "text": (lambda case: case.script("echo no first line\n"), "not a program"),
    "empty": (lambda case: case.script(""), "not a program"),
    "below_a_file": (lambda case: case.script("#!/bin/sh\n") / "x", "Not a directory"),
    "fifo": (lambda case: os.mkfifo(case.top / "pipe", 0o755) or case.top / "pipe", "cannot start"),
}
WORKDIR_FAULTS = {
    "gone": (lambda folder: folder.rmdir(), "No such file"),
    "file": (lambda folder: folder.rmdir() or folder.write_text(""), "Not a directory"),
}
EARLY_DEATHS = {
    "well": ("exit 0", 0, "", "exit code 0"),
    "exit": ("exit 3", 3, "", "exit code 3"),
    "reason": ("echo 'no weights here' >&2; exit 1", 1, "", "no weights here"),
    "noise": ("echo noise; exit 5", 5, "", "exit code 5"),
    "segv": ("kill -SEGV $$", None, "SIGSEGV", "SIGSEGV"),
    "kill": ("kill -KILL $$", None, "SIGKILL", "SIGKILL"),
}
NEVER_READY = {
    "silent": "sleep 1000",
    "stubborn": f"{STUBBORN}; while :; do sleep 1; done",
    "almost": f"printf '{READY}'; sleep 1000",
    "wrong_word": f"echo ' {READY}'; sleep 1000",
    "closed_input": "exec <&-; sleep 1000",
    "stopped": "kill -STOP $$",
}
DEATHS = {
    "exit": ("exit 3", 3, "", "exit code 3"),
    "reason": ("echo 'out of luck' >&2; exit 1", 1, "", "out of luck"),
    "segv": ("kill -SEGV $$", None, "SIGSEGV", "SIGSEGV"),
    "kill": ("kill -KILL $$", None, "SIGKILL", "SIGKILL"),
    "pipe": ("kill -PIPE $$", None, "SIGPIPE", "SIGPIPE"),
}


class Program(Case):
    @each(both(PROGRAM_FAULTS, ("once", "token", "frame")))
    def cannot_start(self, protocol, make, says):
        self.add("m", make(self), options=("--protocol", protocol))
        self.mer("run", "m", "x", code=6, says=says)
        row = self.one_row("failed", exit_code=None, signal="", bytes_in=1)
        self.assertRegex(row["error"], "(?i)" + says)
        said = self.mer("--json", "run", "m", "x", code=6, out=None, says=says)
        self.check_object(said, self.rows()[1])
        self.mer("model", "ping", "m", code=6, says=says)
        self.assertEqual(self.statuses(), ["failed", "failed"])

    @each(names("once", "token", "frame"))
    def half_a_program(self, protocol):
        """Only starting it tells."""
        half = self.script(Path("/bin/true").read_bytes()[:100])
        self.add("m", half, options=("--protocol", protocol))
        self.mer("run", "m", "x", code=6, says="not a program")
        self.one_row("failed", exit_code=None, signal="")

    @each(both(WORKDIR_FAULTS))
    def bad_workdir(self, protocol, damage, says):
        folder = self.top / "work"
        folder.mkdir()
        self.model(protocol, ECHO, "--workdir", folder)
        damage(folder)
        self.mer("run", "m", "x", code=6, says=says)
        self.one_row("failed")
        self.mer("model", "ping", "m", code=6, says=says)

    @each(names("once", "token"))
    def workdir_is_forbidden(self, protocol):
        words = unprivileged()
        if words is None:
            self.skipTest("nobody else can run the programs of this installation")
        folder = self.top / "work"
        folder.mkdir()
        self.model(protocol, ECHO, "--workdir", folder)
        folder.chmod(0o000)
        self.addCleanup(folder.chmod, 0o700)
        if os.geteuid() == 0:
            for path in (self.top, *self.top.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        self.before = words
        self.mer("run", "m", "x", code=6, says="Permission denied")
        self.one_row("failed")

    @each(names("once", "token", "frame"))
    def lines_stop_at_the_first(self, protocol):
        self.add("m", self.top / "none", options=("--protocol", protocol))
        self.mer("run", "--lines", "m", self.lines_file("a", "b", "c"), code=6, says="No such file")
        self.assertEqual(self.statuses(), ["failed", "cancelled", "cancelled"])

    @each(names("once", "token"))
    def no_supervisor(self, protocol):
        """An installation of which a part is gone."""
        copy = self.top / "prefix"
        shutil.copytree(PREFIX, copy, ignore=shutil.ignore_patterns("models", "bench*"))
        self.model(protocol, ECHO)
        next(copy.rglob("mer-guard")).unlink()
        self.mer("run", "m", "x", program=copy / "bin/mer", code=6, says="mer-guard")
        self.one_row("failed")

    @each(EARLY_DEATHS)
    def dies_before_it_is_ready(self, how, exit_code, signal_name, says):
        self.model("token", ECHO, before=how)
        self.mer("run", "m", "x", code=6, says=says)
        self.one_row("failed", exit_code=exit_code, signal=signal_name)
        self.mer("model", "ping", "m", code=6, says=says)
        said = self.mer("--json", "run", "m", "x", code=6, out=None, says=says)
        self.check_object(said, self.rows()[1])

    @each({name: (how,) for name, how in NEVER_READY.items()})
    def never_ready(self, how):
        self.model("token", ECHO, "--start-timeout", "300ms", before=how)
        self.mer("run", "m", "x", code=7, says="ready")
        row = self.one_row("timeout")
        self.assertIsNone(row["infer_ms"])

    def test_ping_of_one_that_is_never_ready(self):
        self.model("token", ECHO, "--start-timeout", "300ms", before="sleep 1000")
        self.mer("model", "ping", "m", code=7, says="ready")
        self.assertEqual(self.rows(), [])

    def test_timeout_covers_the_start(self):
        self.model("token", ECHO, before="sleep 1000")
        self.mer("run", "--timeout", "300ms", "m", "x", code=7, says="300 ?ms")
        self.one_row("timeout")

    @each(both(DEATHS))
    def dies_in_its_answer(self, protocol, how, exit_code, signal_name, says):
        self.model(protocol, f"echo part; {how}")
        self.mer("run", "m", "x", code=1, out=b"part\n", says=says)
        row = self.one_row("failed", exit_code=exit_code, signal=signal_name, bytes_out=5)
        self.assertRegex(row["error"], says)
        said = self.mer("--json", "run", "m", "x", code=1, out=None, says=says)
        self.assertEqual(json.loads(said)["output"], "part\n")
        self.check_object(said, self.rows()[1])

    def test_leaves_well_in_its_answer(self):
        self.model("token", "echo part; exit 0")
        self.mer("run", "m", "x", code=1, out=b"part\n", says="exit code 0")
        self.one_row("failed", exit_code=0)

    @each(names("once", "token"))
    def dies_at_a_line(self, protocol):
        self.model(protocol, f'case $input in bad) exit 3 ;; esac; {ECHO}')
        words = ("run", "--lines", "m", self.lines_file("a", "bad", "c", "d"))
        says = "line 2.*exit code 3"
        self.mer(*words, code=1, out=b"[a]\n", says=says)
        self.assertEqual(self.statuses(), ["ok", "failed", "cancelled", "cancelled"])
        self.mer(*words, "--keep-going", code=1, out=b"[a]\n\n[c]\n[d]\n", says=says)
        self.assertEqual(self.statuses()[4:], ["ok", "failed", "ok", "ok"])

    # --- what it says where it should not ---

    def test_stray_lines_framed(self):
        """Before it is ready, between runs and around the answer: log. Inside: the answer's own."""
        self.script(f"""#!/bin/sh
echo early; printf 'a {READY}\\n{READY} b\\n'; echo '{READY}'
while IFS= read -r line; do
	case $line in
	'{STOP}') echo stray; printf '{START}\\n[%s]\\n {STOP}\\n{START}\\n{STOP}\\nstray\\n' "$input" ;;
	'{EXIT}') exit 0 ;;
	*) input=$line ;;
	esac
done
""")
        self.add("m", self.top / "model", options=("--protocol", "token"))
        answer = "[{}]\n " + STOP + "\n" + START + "\n"
        self.mer("run", "m", "x", out=answer.format("x").encode())
        self.one_row("ok")
        self.mer("run", "--lines", "m", self.lines_file("a", "b", "c"),
                 out="".join(map(answer.format, "abc")).encode())

    def test_stray_lines_with_answer_line(self):
        self.script(f"""#!/bin/sh
echo early; echo '{START}'; echo '{READY}'
while IFS= read -r line; do
	case $line in
	'{STOP}') printf '[%s]\\nstray\\n{START}\\n' "$input" ;;
	'{EXIT}') exit 0 ;;
	*) input=$line ;;
	esac
done
""")
        self.add("m", self.top / "model", options=("--protocol", "token", "--answer", "line"))
        self.mer("run", "m", "x", out=b"[x]\n")
        self.mer("run", "--lines", "m", self.lines_file(*"abcdef"),
                 out=b"".join(b"[%c]\n" % c for c in b"abcdef"))

    def test_error_lines(self):
        """One that matches fails the run, and the worker stays."""
        self.model("token", 'case $input in bad) echo "BAD: $input" >&2; sleep 0.05 ;; esac;'
                   'echo warning >&2; echo "[$input] $$"', "--error-line", "BAD*")
        self.mer("run", "m", "bad", code=1, out=None, says="BAD: bad")
        self.one_row("failed", exit_code=None)
        words = ("run", "--lines", "--keep-going", "m", self.lines_file("a", "bad", "c"))
        got = self.mer(*words, code=1, out=None, says="line 2.*BAD: bad").split(b"\n")
        self.assertEqual([line.split(b" ")[0] for line in got], [b"[a]", b"", b"[c]", b""])
        self.assertEqual(got[0].split(b" ")[1], got[2].split(b" ")[1], "another worker")

    # --- what it leaves behind ---

    @each(both({
        "child": ("sleep 1000 &",),
        "session": ("setsid sleep 1000 &",),
        "daemon": ("(setsid sh -c 'sleep 1000 & exit 0' &)",),
        "stopped": ("sleep 1000 & kill -STOP $!",),
        "stubborn": (f"({STUBBORN}; sleep 1000) &",),
    }))
    def leaves_a_child_that_holds_its_pipes(self, protocol, how):
        self.model(protocol, f"{how}\n{ECHO}")
        begin = time.monotonic()
        self.mer("run", "m", "x", out=b"[x]\n")
        self.assertLess(time.monotonic() - begin, 5)
        self.one_row("ok")

    @each(names("once", "token"))
    def dies_before_a_child_that_holds_its_pipes(self, protocol):
        self.model(protocol, "setsid sleep 1000 &\nsleep 1000 & exit 3")
        self.mer("run", "m", "x", code=1, says="exit code 3")
        self.one_row("failed", exit_code=3)

    @each(both({
        "hangs": ("sleep 1000",),
        "stubborn": (f"{STUBBORN}; while :; do sleep 1; done",),
        "stops": ("kill -STOP $$",),
        "stops_its_group": ("sleep 1000 & kill -STOP 0",),
        "talks": ("while :; do echo x >&2; done",),
        "closed_all": ("exec <&- >&- 2>&-; sleep 1000",),
    }))
    def times_out(self, protocol, how):
        self.model(protocol, how)
        self.mer("run", "--timeout", "400ms", "m", "x", code=7, says="400 ?ms")
        self.one_row("timeout")

    @each(names("once", "token"))
    def times_out_as_object(self, protocol):
        self.model(protocol, "echo part; sleep 1000")
        words = ("--json", "run", "--timeout", "400ms", "m", "x")
        said = self.mer(*words, code=7, out=None, says="400 ?ms")
        self.check_object(said, self.one_row("timeout"))
        self.assertEqual(json.loads(said)["output"], "part\n")

    @each(names("once", "token"))
    def lines_as_objects(self, protocol):
        """One a line, whatever becomes of it."""
        self.model(protocol, "case $input in bad) kill -SEGV $$ ;; slow) sleep 1000 ;; esac; "
                   'echo "$input"')
        words = ("--jsonl", "run", "--lines", "--keep-going", "--timeout", "500ms", "m",
                 self.lines_file("a", "bad", "slow", "d"))
        process = self.start(*words)
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 1, err)
        said = [json.loads(line) for line in got.splitlines()]
        self.assertEqual([(one["line"], one["status"], one["output"]) for one in said], [
            (1, "ok", "a\n"), (2, "failed", ""), (3, "timeout", ""), (4, "ok", "d\n")])
        for one, row in zip(said, self.rows()):
            self.check_object(json.dumps(one), row)
        self.assertEqual(said[1]["signal"], "SIGSEGV")

    @each(names("once", "token"))
    def times_out_at_a_line(self, protocol):
        self.model(protocol, f'case $input in slow) sleep 1000 ;; esac; {ECHO}')
        words = ("run", "--lines", "--timeout", "500ms", "m", self.lines_file("a", "slow", "c"))
        self.mer(*words, code=7, out=b"[a]\n", says="line 2")
        self.assertEqual(self.statuses(), ["ok", "timeout", "cancelled"])
        self.mer(*words, "--keep-going", code=7, out=b"[a]\n\n[c]\n", says="line 2")
        self.assertEqual(self.statuses()[3:], ["ok", "timeout", "ok"])

    def test_closes_stdout_but_lives(self):
        """Once: its output has ended, it has not. Token: it cannot answer any more."""
        self.model("once", "echo answer; exec >&-; echo >\"$HOME/here\"; sleep 0.2; exit 0")
        self.mer("run", "m", "x", out=b"answer\n")
        self.one_row("ok")
        self.model("token", "echo part; exec >&-; sleep 1000", name="t")
        self.mer("run", "t", "x", code=1, out=b"part\n", says=".")
        self.assertEqual(self.statuses(), ["ok", "failed"])

    def test_answers_without_reading(self):
        data = b"x" * (10 * MIB)
        self.add("o", self.script("#!/bin/sh\necho hi\n", "o"))
        self.mer("run", "o", "-", data=data, out=b"hi\n")
        self.add("t", self.script(f"#!/bin/sh\necho '{READY}'\nread x\n"
                                  f"printf '{START}\\nhi\\n{STOP}\\n'\n", "t"),
                 options=("--protocol", "token"))
        self.mer("run", "t", "-", data=data, out=b"hi\n")
        self.assertEqual([(row["status"], row["bytes_in"]) for row in self.rows()],
                         [("ok", len(data))] * 2)

    @each(names("once", "token"))
    def closes_stdin(self, protocol):
        self.model(protocol, f"exec <&-; {ECHO}")
        self.mer("run", "m", "x", out=b"[x]\n")
        self.one_row("ok")

    @each({
        "output_missing": (["/bin/true", "{output}"], b"", 1, "output"),
        "output_is_a_folder": (["/bin/mkdir", "{output}"], b"", 1, "not a file"),
        "output_is_a_fifo": (["/usr/bin/mkfifo", "{output}"], b"", 1, "not a file"),
        "output_after_failure": (["/bin/sh", "-c", "echo part >{output}; exit 3"], b"part\n", 1,
                                 "exit code 3"),
        "input_removed": (["/bin/rm", "{input}"], b"", 0, None),
        "much_beside": (["/bin/sh", "-c", "cd $(dirname {output}); mkdir -p a/b/c; touch a/b/c/d; "
                         "chmod 0 a/b; cat {input} >{output}"], b"x", 0, None),
    })
    def files(self, argv, out, code, says):
        self.add("m", *argv)
        self.mer("run", "m", "x", code=code, out=out, says=says)
        self.one_row("ok" if code == 0 else "failed")

    @each(names("{input}", "{output}"))
    def no_folder_for_files(self, placeholder):
        self.add("m", "/bin/cat", placeholder)
        self.env["TMPDIR"] = "/nonexistent"
        self.mer("run", "m", "x", code=6, says="/nonexistent")
        self.one_row("failed")

    # --- the supervisor ---

    # A child in a session of its own is what a supervisor that was killed leaves behind: src/meal/guard.h
    # says so. Nothing but a cgroup or a pid namespace could hold it then.
    @each(both({"child": ("sleep 1000 &",)}))
    def supervisor_is_killed(self, protocol, leaves):
        self.model(protocol, f"{leaves} {HANG}")
        process = self.start("run", "m", "x")
        self.wait_here()
        os.kill(self.child(process, "mer-guard"), signal.SIGKILL)
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertIn(process.returncode, (1, 6), err)
        self.assertEqual(got, b"")
        self.check_said(err, "supervisor|SIGKILL")
        self.one_row("failed")

    @each(names("once", "token"))
    def supervisor_is_asked_to_leave(self, protocol):
        self.model(protocol, "setsid sleep 1000 & " + HANG)
        process = self.start("run", "m", "x")
        self.wait_here()
        os.kill(self.child(process, "mer-guard"), signal.SIGTERM)
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertIn(process.returncode, (1, 6), err)
        self.assertEqual(got, b"")
        self.check_said(err, ".")
        self.one_row("failed")

    @each(names("once", "token"))
    def supervisor_is_stopped(self, protocol):
        self.model(protocol, HANG)
        process = self.start("run", "--timeout", "500ms", "m", "x")
        self.wait_here()
        os.kill(self.child(process, "mer-guard"), signal.SIGSTOP)
        self.finish(process, 7, says="500 ?ms")
        self.one_row("timeout")

    @each(names("once", "token"))
    def supervisor_is_killed_at_a_line(self, protocol):
        self.model(protocol, f'case $input in hang) {HANG} ;; esac; {ECHO}')
        process = self.start("run", "--lines", "m", self.lines_file("a", "hang", "c"))
        self.wait_here()
        os.kill(self.child(process, "mer-guard"), signal.SIGKILL)
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertIn(process.returncode, (1, 6), err)
        self.assertEqual(got, b"[a]\n")
        self.check_said(err, "line 2")
        self.assertEqual(self.statuses(), ["ok", "failed", "cancelled"])


# --- input --------------------------------------------------------------------------------------


INPUTS = {
    "plain": b"one two",
    "no_newline": b"a\nb",
    "newline": b"a\n",
    "newlines": b"\n\n\n",
    "empty": b"",
    "crlf": b"a\r\nb\r\n",
    "all_bytes": bytes(range(1, 256)),
    "almost_tokens": f"x{STOP}\n{STOP}x\n {STOP}\n{STOP} \n".encode(),
    "option": b"--json",
    "nul": b"a\nb\0c",
    "only_nul": b"\0",
    "start_token": f"a\n{START}\nb".encode(),
    "stop_token": f"{STOP}\n".encode(),
    "ready_token": READY.encode(),
    "exit_token": f"a\n{EXIT}".encode(),
    "large": random.Random(1).randbytes(10 * MIB).replace(b"\0", b"\n"),
}
REFUSED = {"nul", "only_nul", "start_token", "stop_token", "ready_token", "exit_token"}


class Input(Case):
    def given(self, data, source):
        """The words and the stdin of a run with this input."""
        if source == "inline":
            return ["--", b"@" * data.startswith(b"@") + data], None
        if source == "file":
            (self.top / "input").write_bytes(data)
            return [f"@{self.top}/input"], None
        return (["-"] if source == "dash" else []), data

    def sources(self, data):
        if len(data) < 100000 and b"\0" not in data:
            yield "inline"
        yield from ("file", "dash", "stdin")

    @each(both({name: (name,) for name in INPUTS}))
    def arrives(self, protocol, name):
        data = INPUTS[name]
        self.echo_model(protocol)
        refused = protocol == "token" and name in REFUSED
        back = data if protocol == "once" or data.endswith(b"\n") else data + b"\n"
        for n, source in enumerate(self.sources(data)):
            with self.subTest(source=source):
                words, stdin = self.given(data, source)
                if refused:
                    self.mer("run", "m", *words, data=stdin, code=2, says="NUL|token")
                    self.assertFalse((self.home / "ran").exists(), "the model was started")
                else:
                    self.mer("run", "m", *words, data=stdin, out=back)
                row = self.rows()[n]
                self.assertEqual((row["status"], row["bytes_in"], row["sha256_in"]),
                                 ("rejected" if refused else "ok", len(data), sha256(data)))
                if not refused:
                    self.assertEqual((row["bytes_out"], row["sha256_out"]),
                                     (len(back), sha256(back)))

    def test_refused_as_object(self):
        self.echo_model("token")
        said = self.mer("--json", "run", "m", "-", data=b"a\0", code=2, out=None, says="NUL")
        self.check_object(said, self.one_row("rejected"))

    @each({"inline": ("inline",), "file": ("file",), "stdin": ("stdin",)})
    def answer_line_takes_one_line(self, source):
        self.model("line", ECHO)
        words, stdin = self.given(b"a\nb", source)
        self.mer("run", "m", *words, data=stdin, code=2, says="line")
        self.one_row("rejected")
        self.assertFalse((self.home / "ran").exists(), "the model was started")
        words, stdin = self.given(b"a", source)
        self.mer("run", "m", *words, data=stdin, out=b"[a]\n")

    @each(both({"nul": (b"a\nb\0\nc\n",), "token": (f"a\n{STOP}\nc\n".encode(),)}))
    def refused_line(self, protocol, data):
        self.echo_model(protocol)
        lines = data[:-1].split(b"\n")
        answers = [one + b"\n" for one in lines]
        if protocol == "once":
            self.mer("run", "--lines", "m", data=data, out=b"".join(answers))
            self.assertEqual(self.statuses(), ["ok"] * 3)
            return
        self.mer("run", "--lines", "m", data=data, code=2, out=answers[0], says="line 2")
        self.assertEqual(self.statuses(), ["ok", "rejected", "cancelled"])
        answers[1] = b"\n"
        self.mer("run", "--lines", "--keep-going", "m", data=data, code=2, out=b"".join(answers),
                 says="line 2")
        self.assertEqual(self.statuses()[3:], ["ok", "rejected", "ok"])

    @each(both({
        "missing": (["@none"], "none"),
        "folder": (["@."], "folder|directory"),
        "no_name": (["@"], "."),
        "below_a_file": (["@lines/x"], "directory"),
        "lines_missing": (["--lines", "@none"], "none"),
        "lines_folder": (["--lines", "@."], "folder|directory"),
        "lines_words": (["--lines", "a"], "lines"),
    }))
    def bad_file(self, protocol, words, says):
        self.echo_model(protocol)
        self.lines_file("a")
        self.mer("run", "m", *words, code=2, says=says)
        self.assertEqual(self.rows(), [])
        self.assertFalse((self.home / "ran").exists(), "the model was started")

    @each(names("once", "token"))
    def stdin_is_closed(self, protocol):
        self.echo_model(protocol)
        for words in (["m"], ["m", "-"], ["--lines", "m", "-"]):
            with self.subTest(words=words):
                self.mer("-c", 'exec "$@" <&-', "sh", MER, "run", *words, program="sh", code=2,
                         says="stdin")
        self.assertEqual(self.rows(), [])

    def test_stdin_is_a_folder(self):
        self.echo_model("once")
        folder = os.open(self.top, os.O_RDONLY)
        self.addCleanup(os.close, folder)
        self.mer("run", "m", "-", stdin=folder, code=2, says="stdin")
        self.assertEqual(self.rows(), [])

    def test_commands_on_stdin_leave_none_for_a_model(self):
        self.echo_model("once")
        self.mer(data=b"run m -\n", code=2, says="stdin:1: .*stdin")
        self.mer(data=b"run m\n", code=2, says="stdin:1: .*stdin")
        self.mer(data=b"run m x\nrun m y\n", out=b"xy")
        self.assertEqual(self.statuses(), ["ok", "ok"])

    def test_lines_come_one_by_one(self):
        """Each is answered before the next is there, however long its giver takes."""
        self.model("token", ECHO)
        process = self.start("run", "--lines", "m", "-", stdin=subprocess.PIPE)
        for n in range(3):
            process.stdin.write(b"%d\n" % n)
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b"[%d]\n" % n)
        process.stdin.write(b"last")
        self.finish(process, out=b"[last]\n")
        self.assertEqual(self.statuses(), ["ok"] * 4)


# --- output -------------------------------------------------------------------------------------


class Output(Case):
    def start_measured(self, *words, **options):
        self.before = ["/usr/bin/python3", "-ISc", MEASURE, self.top / "peak"]
        process = self.start(*words, **options)
        self.before = []
        return process

    def finish_measured(self, process, out=b""):
        self.finish(process, out=out)
        self.assertLess(int((self.top / "peak").read_text()), FLAT_KIB)

    @each(names("once", "token"))
    def gibibyte(self, protocol):
        """mer's memory does not grow with the output."""
        size = (256 if SANITIZED else 1024) * MIB
        self.model(protocol, f"head -c {size} /dev/zero; echo", "--max-output", "2GiB")
        self.finish_measured(self.start_measured("run", "m", "x", stdout=subprocess.DEVNULL))
        self.one_row("ok", bytes_out=size + 1)

    @each(names("once", "token"))
    def gibibyte_on_stderr(self, protocol):
        size = (64 if SANITIZED else 256) * MIB
        self.model(protocol, f"head -c {size} /dev/zero >&2; echo the end >&2; {ECHO}")
        self.finish_measured(self.start_measured("run", "m", "x"), b"[x]\n")
        row = self.one_row("ok")
        self.assertLessEqual(len(row["stderr_tail"]), 4096)
        self.assertTrue(row["stderr_tail"].endswith("the end\n"))

    @each(names("once", "token"))
    def large_stdout_between_runs(self, protocol):
        """Before it is ready (token), or beside {output} (once), stdout is log."""
        size = 64 * MIB
        if protocol == "once":
            self.add("m", "/bin/sh", "-c", f"head -c {size} /dev/zero; echo ok >{{output}}")
        else:
            self.model("token", "echo ok", before=f"head -c {size} /dev/zero; echo")
        self.finish_measured(self.start_measured("run", "m", "x"), b"ok\n")

    @each(names("once", "token"))
    def large_as_object(self, protocol):
        size = 64 * MIB
        self.model(protocol, f"head -c {size - 1} /dev/zero | tr '\\0' x; echo")
        with open(self.top / "out", "wb") as out:
            self.finish_measured(self.start_measured("--json", "run", "m", "x", stdout=out))
        said = json.loads((self.top / "out").read_bytes())
        self.assertEqual((said["status"], len(said["output"])), ("ok", size))

    @each(both({"exactly": (10000, 0), "one_over": (9999, 1), "far_over": (0, 1)}))
    def over_its_limit(self, protocol, spare, code):
        """The answer has 10000 bytes, or more than fits any pipe."""
        size = 10000 if spare else 100 * MIB
        limit = spare or 10000
        self.model(protocol, f"head -c {size - 1} /dev/zero | tr '\\0' x; echo",
                   "--max-output", limit)
        says = "output is over" if code else None
        got = self.mer("run", "m", "x", code=code, out=None, says=says)
        self.assertTrue(got == (b"x" * (size - 1) + b"\n")[:limit])
        self.one_row("failed" if code else "ok", bytes_out=limit)

    def test_over_its_limit_at_a_line(self):
        self.model("token", f'case $input in big) yes | head -c 100000 ;; esac; {ECHO}',
                   "--max-output", "1KiB")
        words = ("run", "--lines", "--keep-going", "m", self.lines_file("a", "big", "c"))
        self.mer(*words, code=1, out=b"[a]\n\n[c]\n", says="line 2.*output is over")
        self.assertEqual(self.statuses(), ["ok", "failed", "ok"])

    # --- the reader ---

    @each(names("once", "token"))
    def reader_leaves(self, protocol):
        self.model(protocol, "seq 1000000")
        process = self.start("run", "m", "x")
        self.assertEqual(process.stdout.readline(), b"1\n")
        process.stdout.close()
        process.stdout = None
        self.finish(process, 141)
        self.check_all_final()
        self.assertEqual(len(self.rows()), 1)

    @each(names("once", "token"))
    def reader_leaves_a_slow_answer(self, protocol):
        """The run is not killed for that: it goes on to its end, or as here to its deadline."""
        self.model(protocol, "while :; do echo x; sleep 0.01; done")
        process = self.start("run", "--timeout", "500ms", "m", "x")
        self.assertEqual(process.stdout.readline(), b"x\n")
        process.stdout.close()
        process.stdout = None
        self.finish(process, 141)
        self.one_row("timeout")

    def test_reader_leaves_an_object(self):
        self.model("once", "seq 1000000")
        process = self.start("--json", "run", "m", "x")
        self.assertEqual(process.stdout.read(1), b"{")
        process.stdout.close()
        process.stdout = None
        self.finish(process, 141)
        self.one_row("ok")

    @each(names("once", "token"))
    def reader_leaves_lines(self, protocol):
        self.model(protocol, ECHO)
        process = self.start("run", "--lines", "m", self.lines_file(*map(str, range(5000))))
        self.assertEqual(process.stdout.readline(), b"[0]\n")
        process.stdout.close()
        process.stdout = None
        self.finish(process, 141)
        self.check_all_final()
        self.assertNotIn("failed", self.statuses())
        self.assertIn("cancelled", self.statuses())

    @each({"list": (["model", "list"],), "log": (["log"],), "help": (["help"],),
           "json": (["--json", "log"],)})
    def reader_was_never_there(self, words):
        self.model("once", ECHO)
        self.mer("run", "m", "x", out=b"[x]\n")
        ours, theirs = os.pipe()
        os.close(ours)
        process = self.start(*words, stdout=theirs)
        os.close(theirs)
        self.finish(process, 141)

    @each({
        "once": (["run", "m", "x"], "once", ["ok"]),
        "token": (["run", "m", "x"], "token", ["ok"]),
        "json": (["--json", "run", "m", "x"], "once", ["ok"]),
        "list": (["model", "list"], "once", []),
        "log": (["--csv", "log"], "once", []),
        "version": (["--version"], "once", []),
    })
    def disk_of_stdout_is_full(self, words, protocol, statuses):
        self.model(protocol, ECHO)
        with open("/dev/full", "wb") as full:
            self.mer(*words, stdout=full, out=b"", code=70, says="stdout: No space left")
        if statuses:
            self.assertEqual(len(self.rows()), 1)
            self.check_all_final()

    def test_file_of_stdout_is_full(self):
        """A limit on the size of files: the run is recorded all the same."""
        self.model("once", "seq 100000")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (400000, 400000))
        with open(self.top / "out", "wb") as out:
            self.mer("run", "m", "x", stdout=out, code=70, says="stdout", preexec_fn=limit)
        self.check_all_final()
        self.assertEqual(len(self.rows()), 1)

    @each(names("once", "token"))
    def slow_reader(self, protocol):
        """Once the pipe is full mer waits, and so does the model."""
        size = 64 * MIB
        self.model(protocol, f"head -c {size - 1} /dev/zero; echo")
        process = self.start_measured("run", "m", "x")
        mer = self.child(process, "mer")
        data = hashlib.sha256(process.stdout.read(MIB))

        def rests():
            before = read_proc(mer, "io")
            time.sleep(0.02)
            return before == read_proc(mer, "io")
        self.wait("mer stops reading", rests)
        self.assertEqual(self.statuses(), ["running"])
        while piece := process.stdout.read(MIB):
            data.update(piece)
        self.finish_measured(process)
        self.one_row("ok", bytes_out=size, sha256_out=data.hexdigest())

    def test_nobody_reads_and_time_is_up(self):
        self.model("once", "yes")
        process = self.start("run", "--timeout", "500ms", "m", "x")
        process.stdout.peek(1)
        self.wait("the run is over", lambda: "running" not in self.statuses())
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 7)
        self.assertEqual(got, b"y\n" * (len(got) // 2) + b"y" * (len(got) % 2))
        self.check_said(err, "500 ?ms")
        self.one_row("timeout")

    @each({"json": ("--json", 70), "lines": ("--keep-going", 70)})
    def no_folder_to_keep_output(self, option, code):
        """Where the output has to wait for its turn and is too long for memory."""
        self.model("once", "head -c 5000000 /dev/zero; echo")
        self.env["TMPDIR"] = "/nonexistent"
        words = ["m", "x"] if option == "--json" else ["--lines", "m", self.lines_file("x")]
        self.mer("run", option, *words, code=code, out=None, says="/nonexistent")
        self.check_all_final()
        self.assertEqual(len(self.rows()), 1)


# --- signals ------------------------------------------------------------------------------------


SIGNALS = {"INT": (signal.SIGINT, 130), "TERM": (signal.SIGTERM, 143), "HUP": (signal.SIGHUP, 129)}
CANCELLED = "cancel|interrupt"


class Signals(Case):
    @each(both(SIGNALS))
    def in_a_run(self, protocol, number, code):
        self.model(protocol, HANG)
        process = self.start("run", "m", "x")
        self.wait_here()
        process.send_signal(number)
        self.finish(process, code, says=CANCELLED)
        self.one_row("cancelled")

    @each(names("once", "token"))
    def with_json(self, protocol):
        self.model(protocol, HANG)
        process = self.start("--json", "run", "m", "x")
        self.wait_here()
        process.send_signal(signal.SIGINT)
        said = self.finish(process, 130, out=None, says=CANCELLED)
        self.check_object(said, self.one_row("cancelled"))

    @each(SIGNALS)
    def before_it_is_ready(self, number, code):
        self.model("token", ECHO, before=HANG)
        process = self.start("run", "m", "x")
        self.wait_here()
        process.send_signal(number)
        self.finish(process, code, says=CANCELLED)
        self.one_row("cancelled")

    def test_in_a_ping(self):
        self.model("token", ECHO, before=HANG)
        process = self.start("model", "ping", "m")
        self.wait_here()
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        self.finish(process, 130, out=None, says=CANCELLED)
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(self.rows(), [])

    @each({"once_INT": ("once", signal.SIGINT, 130), "token_TERM": ("token", signal.SIGTERM, 143)})
    def to_a_stubborn_model(self, protocol, number, code):
        """It is asked, then killed."""
        self.model(protocol, f"{STUBBORN}; echo >\"$HOME/here\"; while :; do sleep 1; done")
        process = self.start("run", "m", "x")
        self.wait_here()
        process.send_signal(number)
        self.finish(process, code, says=CANCELLED)
        self.one_row("cancelled")

    @each(names("once", "token"))
    def twice_kills_a_stubborn_model(self, protocol):
        self.model(protocol, "trap 'echo >\"$HOME/asked\"' TERM; echo >\"$HOME/here\"; "
                   "while :; do sleep 0.05; done")
        process = self.start("run", "m", "x")
        self.wait_here()
        process.send_signal(signal.SIGINT)
        self.wait_here("asked")
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        self.finish(process, 130, says=CANCELLED)
        self.assertLess(time.monotonic() - begin, 1, "the second one changed nothing")
        self.one_row("cancelled")

    @each(both(SIGNALS))
    def in_lines(self, protocol, number, code):
        """What was answered is ok, what is open or waits is cancelled."""
        self.model(protocol, f'case $input in hang) {HANG} ;; esac; {ECHO}')
        process = self.start("run", "--lines", "m", self.lines_file("a", "b", "hang", "d", "e"))
        self.wait_here()
        process.send_signal(number)
        self.finish(process, code, b"[a]\n[b]\n", CANCELLED)
        self.assertEqual(self.statuses(), ["ok", "ok", "cancelled", "cancelled", "cancelled"])

    @each(names("once", "token"))
    def in_lines_that_wait_for_more(self, protocol):
        self.model(protocol, ECHO)
        process = self.start("run", "--lines", "m", "-", stdin=subprocess.PIPE)
        process.stdin.write(b"a\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b"[a]\n")
        self.wait("the first is over", lambda: self.statuses() == ["ok"])
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(DEADLINE_S), 130)
        said = process.stderr.read()
        self.check_said(said, CANCELLED if said else None)  # nothing was cancelled
        self.assertEqual(self.statuses(), ["ok"])

    @each({
        "input": (["run", "m", "-"],),
        "commands": ([],),
    })
    def while_stdin_is_read(self, words):
        self.model("once", ECHO)
        process = self.start(*words, stdin=subprocess.PIPE)
        self.wait("mer waits for stdin", lambda: self.sleeps_in_read(process.pid))
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(DEADLINE_S), 130)
        self.assertEqual(self.rows(), [])

    @staticmethod
    def sleeps_in_read(pid):
        """In read, poll or epoll_wait of the first thread, behind its start."""
        call = read_proc(pid, "syscall").split()
        return bool(call) and call[0] in (b"0", b"7", b"232", b"281", b"63", b"73", b"22")

    @each({"INT": (signal.SIGINT,), "HUP": (signal.SIGHUP,), "TERM": (signal.SIGTERM,)})
    def ignored_signals_stay_ignored(self, number):
        """As under nohup, or in the background of a script."""
        os.mkfifo(self.home / "go")
        self.model("once", 'echo >"$HOME/here"; read x <"$HOME/go"; echo done')
        process = self.start("run", "m", "x",
                             preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
        self.wait_here()
        process.send_signal(number)
        (self.home / "go").write_text("x\n")
        self.finish(process, out=b"done\n")
        self.one_row("ok")

    @each(names("once", "token"))
    def stopped_and_continued(self, protocol):
        os.mkfifo(self.home / "go")
        self.model(protocol, 'echo >"$HOME/here"; read x <"$HOME/go"; echo done')
        process = self.start("run", "m", "x")
        self.wait_here()
        process.send_signal(signal.SIGSTOP)
        self.wait("mer stops", lambda: process_table()[process.pid][2] == "T")
        (self.home / "go").write_text("x\n")
        process.send_signal(signal.SIGCONT)
        self.finish(process, out=b"done\n")
        self.one_row("ok")

    @each(names("once", "token"))
    def interrupted_while_nobody_reads(self, protocol):
        self.model(protocol, "yes")
        process = self.start("run", "m", "x")
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(10), 130)
        self.one_row("cancelled")

    @each(names("once", "token"))
    def with_files_in_use(self, protocol):
        if protocol == "token":
            self.model("token", HANG)
        else:
            self.add("m", "/bin/sh", "-c", HANG, "{input}", "{output}")
        process = self.start("run", "m", "x")
        self.wait_here()
        self.assertEqual(len(os.listdir(self.temp)), 1 if protocol == "once" else 0)
        process.send_signal(signal.SIGTERM)
        self.finish(process, 143, says=CANCELLED)
        self.one_row("cancelled")

    def test_batch_ends(self):
        """The command in progress is cancelled, those after it are not begun."""
        self.model("once", HANG)
        process = self.start("-c", "run m a", "-c", "run m b", "--keep-going")
        self.wait_here()
        process.send_signal(signal.SIGINT)
        self.finish(process, 130, says=CANCELLED)
        self.one_row("cancelled")

    @each(names("once", "token"))
    def worker_has_default_signals(self, protocol):
        def spoil():
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK,
                                   {signal.SIGTERM, signal.SIGUSR2, signal.SIGCHLD})
        self.model(protocol, "grep -E '^Sig(Blk|Ign)' /proc/self/status")
        got = self.mer("run", "m", "x", out=None, preexec_fn=spoil)
        libc = 3 << 31  # 32 and 33 are its own
        masks = [int(line.split()[1], 16) & ~libc for line in got.splitlines()]
        self.assertEqual(masks, [0, 0])


# --- sudden death -------------------------------------------------------------------------------


# Everything that a group kill, PDEATHSIG or a closed pipe does not reach.
TREE = """
sleep 1000 &
setsid sleep 1001 &
(setsid sh -c 'sleep 1002 & exit 0' &)
(setsid sh -c 'exec <&- >&- 2>&-; sleep 1003 & exit 0' &)
sh -c 'kill -STOP $$; exit 1004' &
(trap '' TERM INT HUP; exec setsid sleep 1005) &
sh -c 'trap "" TERM INT HUP; while :; do sleep 1; done' &
"""
TREE_SLEEPERS = (1000, 1001, 1002, 1003, 1005)
KILLED = {
    "once": ("once", ["run", "m", "hang"]),
    "token": ("token", ["run", "m", "hang"]),
    "once_lines": ("once", ["run", "--lines", "m"]),
    "token_lines": ("token", ["run", "--lines", "m"]),
}


class SuddenDeath(Case):
    def wait_tree(self):
        def there():
            marked = self.marked()
            lines = b"\n".join(marked.values())
            stopped = any(process[2] == "T" for pid, process in process_table().items()
                          if pid in marked)
            return stopped and all(b"sleep %d" % n in lines for n in TREE_SLEEPERS)
        self.wait("the tree stands", there)

    @each(KILLED)
    def killed(self, protocol, words):
        self.model(protocol, f'case $input in hang) {TREE} {HANG} ;; esac; {ECHO}')
        lines = "--lines" in words
        if lines:
            words = [*words, self.lines_file("a", "b", "hang", "d", "e")]
        process = self.start(*words)
        self.wait_here()
        self.wait_tree()
        self.assertEqual(self.statuses()[-1], "queued" if lines else "running")
        process.kill()
        process.wait()
        self.check_gone()
        self.assertEqual(process.stdout.read(), b"[a]\n[b]\n" if lines else b"")
        self.assertIn(b"\tlost\t", self.mer("log", out=None))
        statuses = self.statuses()
        self.assertEqual(statuses[-1], "lost")
        if lines:
            self.assertLessEqual(set(statuses[:2]), {"ok", "lost"})
            self.assertEqual(statuses[2:], ["lost"] * 3)
        self.check_all_final()

    def test_row_says_whose_it_was(self):
        """Before the model sees its input, and for ever."""
        self.model("once", HANG)
        process = self.start("run", "m", "x")
        self.wait_here()
        with self.connect() as db:
            owner = dict(db.execute("SELECT host, pid, program FROM owners").fetchone())
        process.kill()
        process.wait()
        host = os.uname().nodename
        self.assertEqual(owner, {"host": host, "pid": process.pid, "program": "mer"})
        self.mer("log", out=None)
        self.one_row("lost", who="tester", host=host, pid=process.pid, door="batch", server="local")

    @each(names("once", "token"))
    def stopped_worker(self, protocol):
        self.model(protocol, 'echo >"$HOME/here"; kill -STOP 0')
        process = self.start("run", "m", "x")
        self.wait_here()
        process.kill()
        process.wait()
        self.check_gone()
        self.mer("log", out=None)
        self.one_row("lost")

    def test_starting_worker(self):
        self.model("token", ECHO, before=f"{STUBBORN}; {HANG}")
        process = self.start("run", "m", "x")
        self.wait_here()
        process.kill()
        process.wait()
        self.check_gone()
        self.mer("log", out=None)
        self.one_row("lost")

    def test_files_in_use(self):
        """Who removes them is the supervisor."""
        self.add("m", "/bin/sh", "-c", f"mkdir -p {{output}}/a; {HANG}", "{input}", "{output}")
        process = self.start("run", "m", "x")
        self.wait_here()
        process.kill()
        process.wait()
        self.check_gone()
        self.wait("the files go", lambda: os.listdir(self.temp) == [], GONE_S)
        self.mer("log", out=None)
        self.one_row("lost")

    @each({
        "run": (["run", "n", "x"], 0), "list": (["model", "list"], 0), "log": (["log"], 0),
        "show": (["model", "show", "m"], 0), "servers": (["server", "list"], 0),
        "no_such_run": (["log", "show", "x"], 3),
        "add": (ADD_ANOTHER, 0),
        "batch": (["-c", "model list"], 0),
    })
    def next_command_closes(self, words, code):
        """Whichever it is, if it has to do with the database."""
        self.model("once", HANG)
        self.model("once", ECHO, name="n")
        process = self.start("run", "m", "x")
        self.wait_here()
        process.kill()
        process.wait()
        self.mer(*words, code=code, out=None, says=None if code == 0 else ".")
        first = self.rows()[0]
        self.assertEqual((first["status"], first["stopped_at"] is None), ("lost", False))
        with self.connect() as db:
            dead = db.execute("SELECT * FROM owners WHERE pid = ?", (process.pid,)).fetchall()
        self.assertEqual(dead, [])

    def insert_run(self, door, status, owner):
        """An open row, of model 'j'."""
        with self.connect(write=True) as db:
            db.execute("INSERT INTO model_access (request_uid, model, door, who, host, pid, "
                       "status, queued_at, owner) VALUES (?, 'j', ?, 'me', 'h', 1, ?, "
                       "'2026-01-01T00:00:00.000Z', ?)", (str(uuid.uuid4()), door, status, owner))

    def test_rows_of_others_are_left_alone(self):
        """Those of a mer that lives, and those that have no owner."""
        os.mkfifo(self.home / "go")
        self.model("once", HANG)
        self.model("token", 'echo >"$HOME/there"; read x <"$HOME/go"; echo done', name="n")
        self.insert_run("job", "queued", "")

        def of_live():
            return [row["status"] for row in self.rows() if row["model"] == "n"]
        live = self.start("run", "--lines", "n", self.lines_file("a", "b"))
        self.wait_here("there")
        dead = self.start("run", "m", "x")
        self.wait_here()
        dead.kill()
        dead.wait()
        for words in (["log"], ["model", "list"], ["run", "digest", "x"]):
            self.mer(*words, out=None)
            by_model = {row["model"]: row["status"] for row in self.rows()}
            self.assertEqual([by_model[name] for name in "jm"], ["queued", "lost"])
            self.assertEqual(of_live(), ["queued", "queued"])
        for _ in range(2):
            (self.home / "go").write_text("x\n")
            self.assertEqual(live.stdout.readline(), b"done\n")
        self.finish(live)
        self.assertEqual(of_live(), ["ok", "ok"])

    def test_live_one_is_seen_by_its_lock_not_by_its_pid(self):
        """A row of an owner whose pid is somebody else's by now is closed."""
        owner = "01980000-0000-7000" + str(uuid.uuid4())[18:]  # older than its run, as owners are
        with self.connect(write=True) as db:
            db.execute("INSERT INTO owners (uid, host, pid, program) VALUES (?, ?, ?, 'mer')",
                       (owner, os.uname().nodename, os.getpid()))
        self.insert_run("batch", "running", owner)
        self.mer("log", out=None)
        self.one_row("lost")

    def test_random_moments(self):
        """Wherever it strikes, each row gets a final status, and that of a printed one is true."""
        print(f"# MER_TEST_SEED={SEED}", flush=True)
        moments = random.Random(SEED)
        self.model("once", ECHO)
        self.model("token", ECHO, name="t")
        self.add("f", "/bin/sh", "-c", "cat {input} >{output}")
        lines = [str(n) for n in range(300)]
        many = self.lines_file(*lines)
        kinds = [["run", "m", "x"], ["run", "t", "x"], ["run", "f", "x"],
                 ["run", "--lines", "t", many], ["run", "--lines", "m", many]]
        for n in range(KILLS):
            words, delay = kinds[n % len(kinds)], moments.uniform(0, 0.06)
            with self.subTest(n=n, words=words, delay=delay, seed=SEED):
                count = len(self.rows())
                with open(self.top / "out", "wb") as out:
                    process = self.start(*words, stdout=out)
                    time.sleep(delay)  # the moment
                    process.kill()
                    process.wait()
                self.check_gone()
                self.wait("the files go", lambda: os.listdir(self.temp) == [], GONE_S)
                self.check_said(process.stderr.read(), None)
                self.mer("log", "--limit", "1", out=None)
                self.check_all_final()
                rows = self.rows()[count:]
                printed = (self.top / "out").read_bytes()
                inputs = lines if "--lines" in words else ["x"]
                if words[1] == "f":
                    answers = 1 if printed else 0
                else:
                    answers = printed.count(b"\n")
                    whole = "".join(f"[{i}]\n" for i in inputs)
                    self.assertTrue(whole.startswith(printed.decode()), printed[-50:])
                by_input = {row["sha256_in"]: row["status"] for row in rows}
                for i in inputs[:answers]:
                    self.assertIn(by_input.get(sha256(i.encode())), ("ok", "lost"), i)
                self.assertLessEqual(set(by_input.values()), {"ok", "lost"})
                with self.connect() as db:
                    self.assertEqual(db.execute("PRAGMA integrity_check").fetchall()[0][0], "ok")


# --- together -----------------------------------------------------------------------------------


class Together(Case):
    def in_threads(self, *works):
        """Runs them at the same time; the first failure is the test's."""
        failures = []

        def guard(work):
            try:
                work()
            except BaseException as error:
                failures.append(error)
        threads = [threading.Thread(target=guard, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def test_many_on_one_database(self):
        self.model("once", ECHO)
        self.model("token", ECHO, name="t")

        def work(who):
            for n in range(10):
                self.mer("run", "mt"[n % 2], f"{who}-{n}", out=b"[%d-%d]\n" % (who, n))
        self.in_threads(*(lambda who=who: work(who) for who in range(8)))
        self.assertEqual(self.statuses(), ["ok"] * 80)

    def test_many_streams_on_one_database(self):
        """And beside them somebody who looks, and somebody who changes what they run."""
        self.model("token", ECHO)
        many = self.lines_file(*map(str, range(100)))
        out = b"".join(b"[%d]\n" % n for n in range(100))
        left = [4]

        def stream():
            try:
                self.mer("run", "--lines", "m", many, out=out)
            finally:
                left[0] -= 1

        def look():
            while left[0] > 0:
                self.mer("log", "--limit", "3", out=None)

        def change():
            n = 0
            while left[0] > 0:
                self.mer("--allow-changes", "model", "set", "m", f"summary={n}", out=None)
                n += 1
        works = [stream] * 4 + [look]
        if b"model set" in self.mer("--allow-changes", "--help", out=None):
            works.append(change)
        self.in_threads(*works)
        self.assertEqual(self.statuses(), ["ok"] * 400)

    def test_first_start_of_many(self):
        """All of them meet an owner that has died."""
        self.model("once", HANG)
        self.model("once", ECHO, name="n")
        process = self.start("run", "m", "x")
        self.wait_here()
        process.kill()
        process.wait()
        self.in_threads(*[lambda: self.mer("run", "n", "x", out=b"[x]\n")] * 8)
        self.assertEqual(sorted(self.statuses()), ["lost"] + ["ok"] * 8)

    def test_remove_keeps_the_log(self):
        self.model("once", ECHO)
        self.mer("run", "m", "x", out=b"[x]\n")
        self.mer("--allow-changes", "model", "remove", "m", out=None)
        self.one_row("ok", model="m")
        self.assertIn(b"\tm\t", self.mer("log", "--model", "m", out=None))
        self.mer("run", "m", "x", code=3, says="no model 'm'")
        self.one_row("ok")

    @each({"run": (["run", "none", "x"],), "lines": (["run", "--lines", "none", "-"],),
           "ping": (["model", "ping", "none"],), "show": (["model", "show", "none"],)})
    def no_such_model(self, words):
        self.mer(*words, data=b"a\nb\n", code=3, says="none")
        self.assertEqual(self.rows(), [])


# --- surroundings -------------------------------------------------------------------------------


class Surroundings(Case):
    def environment(self, *options, **variables):
        """The variables that a model gets, of a new model with these options."""
        name = f"e{len(list(self.top.glob('*')))}-{uuid.uuid4().hex[:6]}"
        self.add(name, "/usr/bin/env", "-0", options=options)
        got = self.mer("run", name, "x", out=None, env={**self.env, **variables})
        return dict(entry.split("=", 1) for entry in got.decode().split("\0") if entry)

    def test_environment(self):
        got = self.environment(
            "--env", "A=1", "--env", "EMPTY=", "--env", "OUT=env:SECRET",
            "--env", "AS_IS=text:env:HOME", "--env", "PATH=/opt:/bin:/usr/bin",
            MER_LOG="warn", MER_FORMAT="plain", MER_OTHER="x", PGPASSWORD="p", PGHOST="h", PG="x",
            SECRET="s3cret", OTHER="kept", A="0", MERRY="kept", UNICODE="\u00e9")
        want = {**self.env, "A": "1", "EMPTY": "", "OUT": "s3cret", "AS_IS": "env:HOME",
                "PATH": "/opt:/bin:/usr/bin", "OTHER": "kept", "MERRY": "kept", "UNICODE": "\u00e9",
                "PYTHONUNBUFFERED": "1"}
        self.assertEqual(got, want)

    def test_password_of_the_database_reaches_no_model(self):
        """A worker gets nothing that a REF names; that of the database is one."""
        got = self.environment(MER_DATABASE_PASSWORD="env:DB_SECRET", DB_SECRET="s3cret")
        self.assertNotIn("DB_SECRET", got)

    def test_clean_environment(self):
        variables = {"LC_ALL": "C.UTF-8", "LC_TIME": "C", "LOGNAME": "me", "SHELL": "/bin/sh",
                     "TZ": "UTC", "OTHER": "x", "LD_X": "x", "SECRET": "s"}
        got = self.environment("--clean-env", "--env", self.mark.decode(),
                               "--env", "OUT=env:SECRET", **variables)
        want = {name: {**self.env, **variables}[name] for name in (
            "HOME", "LANG", "LC_ALL", "LC_TIME", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ",
            "USER")}
        want.update(FAULT_MARK=self.env["FAULT_MARK"], OUT="s", PYTHONUNBUFFERED="1")
        self.assertEqual(got, want)

    @each({
        "unset": ("env:NOT_SET", "NOT_SET"),
        "no_file": ("file:/nonexistent/x", "/nonexistent/x"),
        "command_fails": ("cmd:exit 3", "exit|3"),
    })
    def reference_leads_nowhere(self, reference, says):
        self.model("once", ECHO, "--env", f"X={reference}")
        process = self.start("run", "m", "x")
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertIn(process.returncode, (2, 3, 6), err)
        self.assertEqual(got, b"")
        self.check_said(err, says)
        self.check_all_final()
        self.assertFalse((self.home / "ran").exists(), "the model was started")

    def test_secrets_are_on_no_command_line(self):
        self.model("once", HANG, "--env", "TOKEN=env:SECRET")
        process = self.start("run", "m", "x", env={**self.env, "SECRET": "s3cret-word"})
        self.wait_here()
        self.assertNotIn(b"s3cret-word", b"\n".join(self.marked().values()))
        process.send_signal(signal.SIGINT)
        self.finish(process, 130, says=CANCELLED)
        for path in self.db.parent.glob("mer.db*"):
            self.assertNotIn(b"s3cret-word", path.read_bytes())

    @each(names("once", "token"))
    def python_is_not_buffered(self, protocol):
        """Its lines come as it prints them."""
        os.mkfifo(self.home / "go")
        text = "\n".join([
            "#!/usr/bin/python3", "import os, sys",
            *([f"print('{READY}')", f"for line in sys.stdin:\n  if line == '{STOP}\\n': break",
               f"print('{START}')"] if protocol == "token" else []),
            "print('first')", "open(os.environ['HOME'] + '/go').read()", "print('second')",
            *([f"print('{STOP}')"] if protocol == "token" else []), ""])
        self.add("m", self.script(text), options=("--protocol", protocol))
        process = self.start("run", "m", "x")
        self.assertEqual(process.stdout.readline(), b"first\n")
        (self.home / "go").write_text("x\n")
        self.finish(process, out=b"second\n")
        self.one_row("ok")

    # --- descriptors ---

    CLOSED = {"stdin": ("<&-", 0), "stdout": (">&-", 70), "stderr": ("2>&-", 0),
              "stdin_stderr": ("<&- 2>&-", 0), "all": ("<&- >&- 2>&-", 70)}

    @each(both(CLOSED))
    def closed(self, protocol, how, code):
        """No file of mer's becomes the model's stdin or the place where answers go."""
        look = "".join(f"fd{n}=$(readlink /proc/$$/fd/{n}); " for n in range(3))
        self.model(protocol, f'{look} echo "$fd0 $fd1 $fd2" >"$HOME/fds"; {ECHO}')
        process = self.start("-c", f'exec "$@" {how}', "sh", MER, "run", "m", "x", program="sh")
        got, err = process.communicate(timeout=DEADLINE_S)
        answer = b"" if ">&-" in how.split() else b"[x]\n"
        self.assertEqual((process.returncode, got), (code, answer), err)
        self.check_said(err, "stdout" if code and "2>&-" not in how else None)
        self.check_all_final()
        self.assertEqual(len(self.rows()), 1)
        self.assertRegex((self.home / "fds").read_text(), r"\A((pipe|socket):\S+\s){3}\Z")

    @each({"list": (["model", "list"], 70), "help": (["--help"], 70), "usage": (["nonsense"], 2)})
    def closed_without_a_run(self, words, code):
        for how in (">&-", "<&- >&-", "<&- >&- 2>&-"):
            process = self.start("-c", f'exec "$@" {how}', "sh", MER, *words, program="sh")
            _, err = process.communicate(timeout=DEADLINE_S)
            self.assertEqual(process.returncode, code, (how, err))
            self.check_said(err, None if "2>&-" in how else ".")

    @each(names("once", "token"))
    def no_descriptor_leaks_into_the_worker(self, protocol):
        """Neither mer's own nor what mer inherited."""
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        self.model(protocol, "/usr/bin/python3 -ISc 'import os; "
                   "print(sorted(map(int, os.listdir(\"/proc/self/fd\"))))'")
        self.mer("run", "m", "x", out=b"[0, 1, 2, 3]\n", pass_fds=(ours, theirs))  # 3: the folder

    @each(names("once", "token"))
    def no_descriptor_leaks_in_mer(self, protocol):
        count = 100 if protocol == "once" else 1000
        self.model(protocol, ECHO)

        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        self.mer("run", "--lines", "m", self.lines_file(*map(str, range(count))), preexec_fn=limit,
                 out=b"".join(b"[%d]\n" % n for n in range(count)))
        self.assertEqual(self.statuses(), ["ok"] * count)

    def leave_leaks(self):
        """To look for them a sanitizer needs what is scarce here."""
        if SANITIZED:
            self.env["ASAN_OPTIONS"] += ":detect_leaks=0"

    @each({str(n): (n,) for n in range(6, 26, 1)})
    def few_descriptors(self, count):
        """It works, or says what it lacks; the run is recorded, or the model was not started."""
        self.model("once", ECHO)
        self.leave_leaks()

        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
        process = self.start("run", "m", "x", preexec_fn=limit)
        got, err = process.communicate(timeout=DEADLINE_S)
        if b"shared libraries" in err:
            return  # not even the loader can work
        self.assertIn(process.returncode, (0, 5, 6, 70), err)
        self.assertEqual(got, b"" if process.returncode else b"[x]\n")
        self.check_said(err, "open|files|descriptor|start|loop" if process.returncode else None)
        self.check_all_final()
        self.assertEqual(self.statuses(), {0: ["ok"], 6: ["failed"]}.get(process.returncode, []))

    @each({str(n): (n,) for n in range(1, 6)})
    def few_processes(self, count):
        words = unprivileged()
        if words is None or os.geteuid() != 0:
            self.skipTest("a user with nothing else running takes root")
        self.model("once", ECHO)
        self.leave_leaks()
        user = 1_000_000 + os.getpid() * 8 + count  # nobody has it, so its processes are ours
        for path in (self.top, *self.top.rglob("*")):
            os.chown(path, user, user)
        self.before = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "prlimit",
                       f"--nproc={count}", "--"]
        process = self.start("run", "m", "x")
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertIn(process.returncode, (0, 1, 6, 70), err)
        self.assertEqual(got, b"" if process.returncode else b"[x]\n")
        self.check_said(err, "resource|fork" if process.returncode else None)
        self.check_all_final()

    @unittest.skipIf(SANITIZED, "sanitizers take all addresses there are")
    def test_little_memory(self):
        """An input that does not fit: said, nothing recorded, nothing started."""
        self.echo_model("once")
        with open(self.top / "input", "wb") as file:
            file.truncate(300 * MIB)

        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (200 * MIB, 200 * MIB))
        self.mer("run", "m", f"@{self.top}/input", code=70, says="memory", preexec_fn=limit)
        self.assertEqual(self.rows(), [])
        self.assertFalse((self.home / "ran").exists(), "the model was started")

    # --- scripts ---

    def test_loop_of_a_shell(self):
        """mer does not eat the list that the loop reads."""
        self.model("once", ECHO)
        (self.top / "list").write_text("a\nb\nc\n")
        self.mer("-c", f'while read x; do {SHELL_MER} run m "$x"; done <list', program="sh",
                 out=b"[a]\n[b]\n[c]\n")
        self.assertEqual(self.statuses(), ["ok"] * 3)

    def test_pipeline_of_a_shell(self):
        self.model("once", "seq 100000")
        self.mer("-c", f"{SHELL_MER} run m x | head -n 1", program="sh", out=b"1\n")
        self.check_all_final()
        self.mer("-c", f"({SHELL_MER} run m x; echo $? >code) | head -n 1", program="sh", out=b"1\n")
        self.assertEqual((self.top / "code").read_text(), "141\n")

    def test_folder_is_gone(self):
        """Where mer is started does not matter to a model that has a folder of its own."""
        self.model("once", ECHO, "--workdir", self.top)
        self.mer("-c", f"mkdir gone; cd gone; rmdir ../gone; exec {SHELL_MER} run m x", program="sh",
                 out=b"[x]\n")

    def test_no_home(self):
        """All that mer needs of the home is where the database is."""
        self.model("once", "echo ok", "--env", f"HOME={self.home}")
        env = {name: value for name, value in self.env.items()
               if name in ("PATH", "FAULT_MARK", "ASAN_OPTIONS")}
        self.mer("--database", f"sqlite:{self.db}", "run", "m", "x", env=env, out=b"ok\n")
        self.one_row("ok")


def load_tests(loader, _tests, _pattern):
    """All but the base class, which has none."""
    module = sys.modules[__name__]
    classes = [kind for kind in vars(module).values()
               if isinstance(kind, type) and issubclass(kind, Case) and kind is not Case]
    return unittest.TestSuite(map(loader.loadTestsFromTestCase, classes))


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
