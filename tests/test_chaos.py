#!/usr/bin/python3
"""Chaos: eight mer at a time on one database, and mer, supervisors and workers killed with -9 at random
moments. Afterwards nothing is left running or lying about, each run has one final status, and each
answer that was printed has a row that is ok or lost.

CHAOS_SECONDS says for how many seconds, CHAOS_SEED with which numbers. Prints TAP as a program."""
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest
import uuid

import test_faults
from test_faults import DEADLINE_S, FINAL, MER, process_table, sha256
from test_frame import FRAMES
from test_jobs import THREADS

SECONDS = float(os.environ.get("CHAOS_SECONDS", "5"))
SEED = int(os.environ.get("CHAOS_SEED", str(random.SystemRandom().randrange(1 << 32))))
AT_A_TIME = 8
LINES = 40


class Chaos(test_faults.Case):
    def setUp(self):
        super().setUp()
        if test_faults.SANITIZED:  # the process that looks for leaks would be a victim, and is waited for
            self.env["ASAN_OPTIONS"] += ":detect_leaks=0"
        self.model("once", 'echo "$input"', name="once")
        self.model("token", 'echo "$input"', name="token")
        program = self.script(THREADS.format(frames=FRAMES, concurrency=4), "frame")
        self.add("frame", program, options=("--protocol", "frame"))
        with self.connect(write=True) as db:
            db.execute("UPDATE deployments SET max_workers = 2")
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.given, self.printed, self.wrong = set(), set(), []

    def check_answers(self, out, inputs):
        """Whole lines are answers in their order, or empty where a run failed."""
        answers = out.split(b"\n")[:-1]
        with self.lock:
            if len(answers) > len(inputs) or any(a not in (b"", i) for a, i in zip(answers, inputs)):
                self.wrong.append((inputs, out))
            self.printed.update(answer for answer in answers if answer)

    def client(self, seed):
        """One mer after another until it is over."""
        rand = random.Random(seed)
        while not self.over.is_set():
            model, jobs = rand.choice(("once", "token", "frame")), rand.choice(("1", "4"))
            inputs = [uuid.UUID(int=rand.getrandbits(128)).hex.encode() for _ in range(rand.randrange(1, LINES))]
            with self.lock:
                self.given.update(inputs)
            words = (MER, "run", "--lines", "--jobs", jobs, "--keep-going", "--raw", model)
            with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.env,
                                  stderr=subprocess.DEVNULL, cwd=self.top) as process:
                try:
                    out, _ = process.communicate(b"\n".join(inputs), timeout=DEADLINE_S)
                except subprocess.TimeoutExpired:
                    table = process_table()
                    self.wrong.append(("hangs", model, jobs, process.pid, sorted(table[pid] + (pid, name)
                                       for pid, name in self.marked().items() if pid in table)))
                    process.kill()
                    return
            self.check_answers(out, inputs)

    def killer(self, seed):
        rand = random.Random(seed)
        kills = 0
        while not self.over.wait(rand.uniform(0.001, 0.1)):
            victims = sorted(self.marked())
            if victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rand.choice(victims), signal.SIGKILL)
                    kills += 1
        self.kills = kills

    def test_chaos(self):
        threads = [threading.Thread(target=self.client, args=(SEED + i,)) for i in range(AT_A_TIME)]
        threads.append(threading.Thread(target=self.killer, args=(SEED - 1,)))
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        self.over.set()
        for thread in threads:
            thread.join()
        self.assertEqual(self.wrong, [], f"seed {SEED}")
        self.check_gone()
        self.mer("log", "--limit", "1", out=None)  # closes what the dead have left
        rows = self.rows()
        by_input = {}
        for row in rows:
            self.assertIn(row["status"], FINAL, (SEED, row))
            self.assertNotIn(row["sha256_in"], by_input, (SEED, "two rows for one run"))
            by_input[row["sha256_in"]] = row["status"]
        for answer in self.printed:
            self.assertIn(by_input.get(sha256(answer)), ("ok", "lost"), (SEED, answer))
        self.assertLessEqual(set(by_input), {sha256(data) for data in self.given})
        with self.connect() as db:
            self.assertEqual(db.execute("SELECT count(*) FROM owners").fetchone()[0], 0)
        self.assertGreater(len(self.printed), 0)
        self.assertGreater(self.kills, 0)
        print(f"# seed {SEED}: {self.kills} killed, {len(rows)} rows, {len(self.printed)} answers", flush=True)


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Chaos)
    sys.exit(not runner.run(suite).wasSuccessful())
