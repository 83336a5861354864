#!/usr/bin/python3
"""bench/soak for a few seconds: it does what it says and finds the log whole; and a model whose memory grows is not
flat. MER_PREFIX names the installation, MER_SOURCE the sources. Prints TAP when run as a program."""
import json
import os
import subprocess
import unittest
from pathlib import Path

from record_case import DEADLINE_S, PREFIX, SANITIZED, main

SOAK = Path(os.environ.get("MER_SOURCE", Path(__file__).parent.parent)).resolve() / "bench" / "soak"
GROWS = """
import sys
kept = []
print("@!#READY#!@", flush=True)
while sys.stdin.readline().rstrip() == "@!#START#!@":
    sys.stdin.readline(), sys.stdin.readline()
    kept.append(bytearray(1 << 16))
    print("x", flush=True)
"""


class Soak(unittest.TestCase):
    def soak(self, *words, **env):
        done = subprocess.run(["/usr/bin/python3", SOAK, "--prefix", PREFIX, "--seconds", "3", "--every", "0.1", *words],
                              env=os.environ | env, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        self.assertEqual("", done.stderr)
        return done.returncode, done.stdout

    def test_figures(self):
        """Whether they are flat depends on what else this machine does, in so short a time."""
        code, out = self.soak("--runs", "1000", "--json")
        told = json.loads(out)
        self.assertEqual((1000, code == 0), (told["runs"], told["flat"]))
        self.assertEqual({"lines", "frames", "commands", "once"}, {row["client"] for row in told["figures"]})
        for row in told["figures"]:
            self.assertGreater(row["end"], 0)
        if SANITIZED:
            return
        rows = {(row["client"], row["figure"]): row for row in told["figures"]}
        for client in ("lines", "frames"):
            self.assertTrue(rows[client, "rss_kib"]["flat"], rows)
            self.assertTrue(rows[client, "fds"]["flat"], rows)

    def test_what_grows(self):
        code, out = self.soak("--runs", "2000", MODEL_LINES="grows", MODEL_LINES_CODE=GROWS)
        self.assertEqual(1, code)
        self.assertRegex(out.splitlines()[-1], r"^not flat: .*lines rss_kib")


if __name__ == "__main__":
    main("__main__")
