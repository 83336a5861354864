#!/usr/bin/python3
"""scripts/startMER.sh and stopMER.sh with a database that is a server. They find the installation that
MER_PREFIX names in the place where they would build it."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import postgres

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
SOURCE = Path(os.environ.get("MER_SOURCE", Path(__file__).parent.parent)).resolve()
DEADLINE_S = 120
FLOWER = ["run", "iris", "5.1,3.5,1.4,0.2"]


class Start(unittest.TestCase):
    def setUp(self):
        folder = Path(tempfile.mkdtemp(prefix="mer-start-"))
        self.addCleanup(shutil.rmtree, folder)
        self.root = folder / "my project"
        shutil.copytree(SOURCE / "scripts", self.root / "scripts")
        (self.root / "build").mkdir()
        (self.root / "build/mer").symlink_to(PREFIX)
        (self.root / "build/release.stamp").write_text(f"{self.root}\n")
        (self.root / "build/packages.stamp").touch()
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("MER_", "PG", "XDG_"))} | {"HOME": str(folder)}

    def with_server(self, tcp=False):
        pg = postgres.Postgres(tcp=tcp)
        self.addCleanup(pg.close)
        self.env["MER_DATABASE_URL"] = pg.new_database(tcp=tcp)
        return pg

    def popen(self, script, *words):
        return subprocess.Popen([self.root / "scripts" / script, *words], env=self.env, cwd="/", text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def call(self, script, *words):
        process = self.popen(script, *words)
        out, err = process.communicate(timeout=DEADLINE_S)
        return process.returncode, out, err

    def test_postgres(self):
        self.with_server()
        for _ in range(2):
            self.assertEqual(self.call("startMER.sh", *FLOWER), (0, "setosa\n", ""))
        code, out, err = self.call("startMER.sh", "--csv", "log")
        self.assertEqual((code, len(out.splitlines()), err), (0, 3, ""))
        self.assertEqual(self.call("stopMER.sh"), (0, "", ""))

    def test_postgres_that_is_about_to_start(self):
        pg = self.with_server()
        pg.stop()
        process = self.popen("startMER.sh", *FLOWER)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stderr.readline(), "startMER: waiting for the database server\n")
        pg.start()
        self.assertEqual((*process.communicate(timeout=DEADLINE_S), process.returncode), ("setosa\n", "", 0))

    # A wrong one is refused at once, and not shown.
    def test_postgres_with_a_password(self):
        self.with_server(tcp=True)
        secret = self.root / "secret"
        self.env["MER_DATABASE_PASSWORD"] = f"file:{secret}"
        secret.write_text("not the word\n")
        code, out, err = self.call("startMER.sh", *FLOWER)
        self.assertEqual((code, out), (5, ""), err)
        self.assertIn("password authentication failed", err)
        self.assertNotIn("waiting", err)
        self.assertNotIn("not the word", err)
        secret.write_text(postgres.PASSWORD + "\n")
        self.assertEqual(self.call("startMER.sh", *FLOWER), (0, "setosa\n", ""))


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
