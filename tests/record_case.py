"""What tests of the record share: a migrated database of either kind, mer beside it, and the rows as a user of
the database sees them. MER_PREFIX names the installation."""
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import postgres

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
MER, MIGRATE = PREFIX / "bin" / "mer", PREFIX / "bin" / "mer-migrate"
SANITIZED = b"__asan_init" in MER.read_bytes()
DEADLINE_S = 120
PYTHON = "/usr/bin/python3"


class Record:
    """Mixed into the class of each kind."""
    maxDiff = None

    def set_up(self, url):
        folder = tempfile.TemporaryDirectory(prefix="mer-record-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.url = url or f"sqlite:{self.folder / 'mer.db'}"
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("MER_", "XDG_", "PG"))}
        self.env |= {"XDG_STATE_HOME": str(self.folder / "state"), "HOME": str(self.folder), "LC_ALL": "C.UTF-8",
                     "MER_DATABASE_URL": self.url}
        self.call(0, "--quiet", "up", program=MIGRATE)

    def start(self, *words, program=MER, env=None, **options):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        child = subprocess.Popen([program, *map(str, words)], env=self.env | (env or {}), cwd=self.folder, **pipes)
        self.addCleanup(self.finish, child)
        return child

    @staticmethod
    def finish(child):
        if child.poll() is None:
            child.kill()
            child.wait()
        for stream in filter(None, (child.stdin, child.stdout, child.stderr)):
            stream.close()

    def call(self, code, *words, **options):
        """stdout as bytes, stderr as text."""
        child = self.start(*words, **options)
        out, err = child.communicate(timeout=DEADLINE_S)
        self.assertEqual(code, child.returncode, (words, out[-1000:], err))
        return out, err.decode()

    def out(self, *words, **options):
        out, err = self.call(0, *words, **options)
        self.assertEqual("", err)
        return out

    def change(self, *words, code=0):
        return self.call(code, "--allow-changes", *words)[1]

    def log(self, *words):
        return json.loads(self.out("log", "--json", *words))

    def shown(self, uid=None):
        """All of a run, of the last one where none is named."""
        return json.loads(self.out("log", "show", "--json", uid or self.log("--limit", 1)[0]["request_uid"]))

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


class OnSqlite(Record):
    kind = "sqlite"

    def setUp(self):
        self.set_up(None)

    def sql(self, text):
        db = sqlite3.connect(self.folder / "mer.db", isolation_level=None, timeout=DEADLINE_S)
        try:
            db.execute("PRAGMA foreign_keys = ON")
            return [tuple(row) for row in db.execute(text)]
        finally:
            db.close()

    def kept(self, uid):
        rows = self.sql(f"SELECT input, output FROM model_access_io WHERE request_uid = '{uid}'")
        return rows[0] if rows else None


class OnPostgres(Record):
    kind = "postgres"

    @classmethod
    def setUpClass(cls):
        if not (PREFIX / "lib" / "mer" / "postgres.so").exists():
            raise unittest.SkipTest("this build has no Postgres module")
        cls.server = postgres.Postgres()
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        self.set_up(self.server.new_database())

    def sql(self, text):
        """Rows of texts and numbers."""
        if not text.startswith("SELECT"):
            self.server.psql(text, self.url)
            return []
        lines = self.server.psql(f"SELECT row_to_json(r) FROM ({text}) AS r", self.url).splitlines()
        return [tuple(json.loads(line).values()) for line in lines]

    def kept(self, uid):
        rows = self.sql("SELECT encode(input, 'hex') AS i, encode(output, 'hex') AS o FROM model_access_io "
                        f"WHERE request_uid = '{uid}'")
        return tuple(None if text is None else bytes.fromhex(re.sub(r"\s", "", text)) for text in rows[0]) \
            if rows else None


def main(module):
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[module])
    sys.exit(not runner.run(suite).wasSuccessful())
