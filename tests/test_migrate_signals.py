#!/usr/bin/python3
"""mer-migrate interrupted between two of its steps: the script does not run. The first argument is the
library that sends the signal. Prints TAP when run as a program."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import postgres
from migrate_case import DEADLINE_S, T1, Case, Postgres, on_each_database, preloadable, run_module

LIBRARY = preloadable(os.environ.get("MER_SIGNAL_AT") or sys.argv.pop(1))


class Signals(Case):
    def up(self, **settings):
        """Interrupted where the library is told."""
        library = {"LD_PRELOAD": LIBRARY, "ASAN_OPTIONS": "verify_asan_link_order=0"}
        done = self.call(self.argv(["up"]), settings=library | settings)
        self.assertEqual(done.returncode, 130, (done.stdout, done.stderr))
        self.check_stderr(done.stderr)
        return done.stderr


@on_each_database
class Between(Signals):
    def test_before_the_first_statement(self):
        self.put("01-A.sql", T1)
        self.run_it(0, "up")
        self.put("02-B.sql", self.ground.seconds)
        for n in range(1, 10):
            err = self.up(SIGNAL_AT_UNBLOCK=str(n))
            self.assertEqual((self.tables(), self.ledger()), (["t1"], [1]))
            if "'02-B.sql' did not begin" in err:
                return
        self.fail("no signal came before the script")


class BetweenOnPostgres(Signals):
    Ground = Postgres

    def test_before_the_server_is_busy(self):
        """A cancelling that comes before its statement ends nothing, so it is done again."""
        self.put("01-A.sql", T1 + self.ground.seconds)
        self.assertIn("'01-A.sql' is rolled back", self.up(SIGNAL_AT_SEND="pg_sleep"))
        self.assertEqual((self.tables(), self.ledger()), ([], []))

    def test_second_signal_while_the_server_hangs(self):
        self.put("01-A.sql", self.ground.seconds)
        with postgres.Postgres() as server:
            self.ground.url = server.new_database()
            process = self.start("up")
            query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(100)%' " \
                    "AND pid <> pg_backend_pid()"
            self.wait_for(lambda: server.psql(query) == "1\n")
            postmaster = int((server.top / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGSTOP)
            try:
                process.send_signal(signal.SIGINT)
                self.wait_for(lambda: self.has_taken(process))
                process.send_signal(signal.SIGTERM)
                _, err = process.communicate(timeout=DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise
            finally:
                os.kill(postmaster, signal.SIGCONT)
        self.assertEqual(process.returncode, 143, err)
        self.assertIn("SIGTERM again", err)

    def wait_for(self, condition):
        limit = time.monotonic() + DEADLINE_S
        while not condition():
            self.assertLess(time.monotonic(), limit)

    @staticmethod
    def has_taken(process):
        """No signal is pending: its handler has begun."""
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        pending = [line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
        return all(int(mask, 16) == 0 for mask in pending)


if __name__ == "__main__":
    run_module(__name__)
