"""What the tests of mer-migrate share: a folder of scripts and a database of their own, on SQLite and on
a Postgres server that the module starts when the first test needs it. MER_PREFIX names the installation."""
import atexit
import contextlib
import fcntl
import json
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import postgres

PROGRAM = os.environ["MER_PREFIX"] + "/bin/mer-migrate"
DEADLINE_S = 120
NOBODY = 65534
LOCK = 0x4d45522d6c6f636b  # the key of the session advisory lock; include/mer/dal.h
T1, T2, T3 = (f"CREATE TABLE t{n}(a int);\n" for n in (1, 2, 3))


class Sqlite:
    """A path; the file is made by whoever needs it."""

    name = "sqlite"
    seconds = """INSERT INTO t1 WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c
WHERE x < 3000000000) SELECT count(*) FROM c;
"""  # a statement that takes long
    no_table = "no such table: nosuch"

    def __init__(self, top):
        self.path = top / "x.db"
        self.url = f"sqlite:{self.path}"

    def close(self):
        pass

    def reset(self):
        for path in self.path.parent.glob("x.db*"):
            path.unlink()

    def exists(self):
        return self.path.exists()

    def make(self):
        self.path.touch()

    def run(self, sql):
        with contextlib.closing(sqlite3.connect(self.path, timeout=30)) as db:
            db.executescript(sql)

    def rows(self, sql):
        with contextlib.closing(sqlite3.connect(self.path, timeout=30)) as db:
            return db.execute(sql).fetchall()

    def names(self, kind="table"):
        if not self.exists():
            return []
        return sorted(name for name, in self.rows(f"SELECT name FROM sqlite_master WHERE type = '{kind}'")
                      if not name.startswith("sqlite_"))

    def content(self):
        """The bytes of the database's files; the shared memory of the WAL, and an empty WAL, are no content."""
        return {path.name: path.read_bytes() for path in sorted(self.path.parent.glob("x.db*"))
                if path == self.path or path.name.endswith("-wal") and path.stat().st_size > 0}

    def check(self):
        """It is whole."""
        if self.rows("PRAGMA integrity_check") != [("ok",)]:
            raise AssertionError("the database is corrupt")

    def wait_until_free(self):
        """Whoever was killed holds nothing any more."""

    def open_to_others(self):
        """Other users of the system reach it as well."""

    def waits(self, process):
        """Whether it sleeps for a lock: of the database's, once that is open, or of the other one. It sleeps
        for nothing else."""
        proc = Path(f"/proc/{process.pid}")
        state = (proc / "stat").read_text().rpartition(")")[2].split()[0]
        return state == "S" and f"{self.path}-lock" in map(os.path.realpath, (proc / "fd").iterdir())

    @contextlib.contextmanager
    def held(self):
        """Somebody else migrates."""
        with open(f"{self.path}-lock", "a+b") as file:
            lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
            yield


class Postgres:
    """A database of the module's server."""

    name = "postgres"
    seconds = "SELECT pg_sleep(100);\n"
    no_table = 'relation "nosuch" does not exist (SQLSTATE 42P01)'
    server = None

    @classmethod
    def get_server(cls):
        if cls.server is None:
            cls.server = postgres.Postgres(tcp=True)
            unittest.addModuleCleanup(cls.stop_server)
        return cls.server

    @classmethod
    def stop_server(cls):
        cls.server.close()
        cls.server = None

    def new_url(self):
        return self.get_server().new_database()

    def __init__(self, _top):
        self.url = self.new_url()
        self.database = re.search(r"@/([a-z0-9_]+)\?", self.url)[1]

    def close(self):
        self.server.psql(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")

    def reset(self):
        self.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public;")

    def exists(self):
        return bool(self.content())

    def make(self):
        pass

    def psql(self, sql):
        return self.server.psql(sql, self.url)

    def run(self, sql):
        self.psql("SET client_min_messages TO warning;\n" + sql)

    def rows(self, sql):
        found = self.psql(f"SELECT coalesce(json_agg(to_json(q)), '[]') FROM ({sql}) AS q")
        return [tuple(row.values()) for row in json.loads(found)]

    def names(self, kind="table"):
        of = {"table": "SELECT relname FROM pg_class WHERE relkind = 'r' AND ",
              "index": "SELECT relname FROM pg_class WHERE relkind = 'i' AND ",
              "trigger": "SELECT tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE "}[kind]
        return sorted(self.psql(of + "relnamespace = 'public'::regnamespace").split())

    def content(self):
        """Tables and the ledger with the transactions that wrote them; none at all is nothing."""
        found = self.psql("SELECT relname, xmin FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1")
        if "migrations|" in found:
            found += self.psql("SELECT xmin, * FROM migrations ORDER BY num")
        return found

    def check(self):
        pass

    def wait_until_free(self):
        """The server has noticed that its client is gone, and given up its locks."""
        self.psql(f"SELECT pg_advisory_lock({LOCK})")

    def open_to_others(self):
        self.url = self.server.url(self.database, tcp=True, password=True)

    def waits(self, _process):
        """Whether it was refused the lock that somebody else has."""
        return self.psql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'mer-migrate' AND "
                         "datname = current_database() AND state = 'idle' AND "
                         "query LIKE 'SELECT pg_try_advisory_lock%'") != ""

    @contextlib.contextmanager
    def held(self):
        argv = [postgres.programs() / "psql", "-X", "-q", "-A", "-t", self.url]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            other.stdin.write(f"SELECT pg_try_advisory_lock({LOCK});\n")
            other.stdin.flush()
            if other.stdout.readline() != "t\n":
                raise AssertionError("somebody has the lock")
            yield
            other.stdin.close()
            other.wait()


def on_each_database(cls):
    """Two classes of tests from one, NAME_sqlite and NAME_postgres."""
    module = sys.modules[cls.__module__]
    for ground in (Sqlite, Postgres):
        name = f"{cls.__name__}_{ground.name}"
        setattr(module, name, type(name, (cls,), {"Ground": ground, "__module__": cls.__module__,
                                                  "__qualname__": name, "__doc__": cls.__doc__}))


def preloadable(library):
    """Another path of a library, for LD_PRELOAD: spaces and colons part its entries."""
    folder = tempfile.mkdtemp(prefix="mer-preload-", dir="/tmp")
    atexit.register(shutil.rmtree, folder)
    link = os.path.join(folder, "library.so")
    os.symlink(os.path.abspath(library), link)
    return link


class Case(unittest.TestCase):
    """A test with a folder of its own, in it a folder of scripts; and a database."""

    Ground = Sqlite

    def setUp(self):
        self.top = Path(tempfile.mkdtemp(prefix="mer-migrate-"))
        self.addCleanup(shutil.rmtree, self.top, ignore_errors=True)
        self.dir = self.top / "sql"
        self.dir.mkdir()
        self.ground = self.Ground(self.top)
        self.addCleanup(self.ground.close)

    @property
    def db(self):
        return self.ground.path

    def on(self, sqlite, postgres_):
        """What differs between the two."""
        return sqlite if self.ground.name == "sqlite" else postgres_

    def put(self, name, text, folder=None):
        path = (folder or self.dir) / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def put_three(self):
        for name, text in (("01-A.sql", T1), ("02-B.sql", T2), ("03-C.sql", T3)):
            self.put(name, text)

    def environment(self, settings):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MER_", "XDG_", "PG"))}
        return {**env, "HOME": str(self.top), "LC_ALL": "C.UTF-8", **settings}

    def argv(self, words):
        return [PROGRAM, "--database", self.ground.url, "--dir", str(self.dir), *map(str, words)]

    def start(self, *words, settings=None, **options):
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(self.argv(words), env=self.environment(settings or {}), text=True,
                                stdin=subprocess.DEVNULL, cwd=self.top, **options)

    def start_waiting(self, *words):
        """One that waits for a lock."""
        process = self.start(*words)
        limit = time.monotonic() + DEADLINE_S
        while process.poll() is None and not self.ground.waits(process):
            self.assertLess(time.monotonic(), limit, "it does not wait")
        self.assertIsNone(process.poll())
        return process

    def call(self, argv, settings=None, **options):
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.run(argv, env=self.environment(settings or {}), text=True, timeout=DEADLINE_S,
                              stdin=subprocess.DEVNULL, cwd=self.top, check=False, **options)

    def run_plain(self, code, *words, **options):
        """Only the words given; the rest is as settings and defaults have it."""
        done = self.call([PROGRAM, *map(str, words)], **options)
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        self.check_stderr(done.stderr or "")
        return done

    def run_it(self, code, *words, **options):
        done = self.call(self.argv(words), **options)
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        self.check_stderr(done.stderr or "")
        return done

    def check_stderr(self, text):
        """An error is one line, for a script with its source below, and perhaps a hint."""
        lines = [line for line in text.splitlines() if not line.startswith("mer-migrate: warning: ")]
        if not lines:
            return
        self.assertRegex(lines[0], r"\Amer-migrate: \S")
        rest = lines[1:]
        if rest and rest[-1].startswith("hint: "):
            rest.pop()
        for line in rest:
            self.assertRegex(line, r"\A *[0-9]* \| ")

    def rows(self, sql):
        return self.ground.rows(sql)

    def tables(self):
        return [name for name in self.ground.names() if name != "migrations"]

    def ledger(self):
        if "migrations" not in self.ground.names():
            return []
        return [num for num, in self.rows("SELECT num FROM migrations ORDER BY num")]

    def states(self):
        found = json.loads(self.run_it(0, "status", "--json").stdout)
        return {row["num"]: row["state"] for row in found}

    def content(self):
        return self.ground.content()


def as_nobody(case):
    """Options of subprocess for a user whom permissions hold; the test's folder becomes that user's."""
    if os.geteuid() != 0:
        return {}
    case.top.chmod(0o755)
    case.ground.open_to_others()
    for path in (case.top, case.dir, *case.top.glob("x.db*")):
        os.chown(path, NOBODY, NOBODY)
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        case.call([PROGRAM, "--version"], **user).check_returncode()
    except (OSError, subprocess.CalledProcessError) as error:
        case.skipTest(f"other users cannot run the program: {error}")
    return user


def run_module(name):
    """Prints TAP."""
    from tap import TAPTestRunner  # pylint: disable=import-outside-toplevel # where tests are only imported

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[name])
    sys.exit(not runner.run(suite).wasSuccessful())
