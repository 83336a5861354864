#!/usr/bin/python3
"""`mer stats`, against the same figures made here. MER_PREFIX names the installation. Prints TAP when run as a
program."""
import csv
import io
import json
import math
import os
import random
import shutil
import subprocess
import unittest
from datetime import datetime, timezone

from record_case import MER, PYTHON, SANITIZED, OnPostgres, OnSqlite, main
from on_terminal import on_terminal
from test_faults import MEASURE

START_MS = 1767225600000  # 2026-01-01
STATUSES = ("queued", "running", "ok", "failed", "timeout", "cancelled", "lost", "rejected")
TIMES = ("queue", "start", "infer")


def iso(ms):
    return datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def uid(ms, number):
    time = f"{ms:012x}"
    return f"{time[:8]}-{time[8:]}-7000-8000-{number:012x}"


def quoted(value):
    return "NULL" if value is None else str(value) if isinstance(value, int) else f"'{value}'"


def runs_of(n, most, seed=1):
    """Rows as the log has them. Times from small ones that many runs share to those that are counted in steps."""
    chance, at = random.Random(seed), START_MS
    for number in range(n):
        at += chance.randrange(most)
        status = chance.choice(STATUSES[2:3] * 12 + STATUSES)
        times = [None if chance.random() < 0.1 else int(chance.lognormvariate(*how))
                 for how in ((2, 1), (0, 1), (8, 3))]
        ended = status not in ("queued", "running")
        yield {"request_uid": uid(at, number), "model": chance.choice(("Z", "a", "a.b", "gone")), "door": "batch",
               "who": "w", "host": "h", "pid": 1, "status": status, "queued_at": iso(at),
               "stopped_at": iso(at + chance.randrange(5000)) if ended else None, "queue_ms": times[0],
               "start_ms": times[1], "infer_ms": times[2], "kind": "train" if number % 17 == 16 else "run"}


def rank(values, percent):
    return sorted(values)[max(0, math.ceil(percent * len(values) / 100) - 1)] if values else None


def figures(model, rows):
    """What stats is to say of them."""
    of = {"model": model, "runs": len(rows)}
    of |= {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    of["first_at"] = min((row["queued_at"] for row in rows), default=None)
    of["last_at"] = max((row["stopped_at"] for row in rows if row["stopped_at"]), default=None)
    span = (datetime.fromisoformat(of["last_at"]) - datetime.fromisoformat(of["first_at"])).total_seconds() \
        if of["last_at"] else 0
    of["per_second"] = round(of["ok"] / span, 6) if span > 0 else None
    for time in TIMES:
        values = [row[f"{time}_ms"] for row in rows if row["status"] == "ok" and row[f"{time}_ms"] is not None]
        of |= {f"{time}_p{percent}_ms": rank(values, percent) for percent in (50, 95, 99)}
        of[f"{time}_max_ms"] = max(values, default=None)
    return of


class Stats:
    def insert(self, rows):
        rows = list(rows)
        for at in range(0, len(rows), 5000):
            values = ",\n".join(f"({', '.join(map(quoted, row.values()))})" for row in rows[at:at + 5000])
            self.sql(f"INSERT INTO model_access ({', '.join(rows[0])}) VALUES {values}")
        return [row for row in rows if row["kind"] == "run"]

    def stats(self, *words):
        return json.loads(self.out("stats", "--json", *words))

    def expected(self, rows, total=True):
        models = sorted({row["model"] for row in rows})
        return [figures(model, [row for row in rows if row["model"] == model]) for model in models] + \
            ([figures(None, rows)] if total else [])

    def test_figures(self):
        rows = self.insert(runs_of(30000, 4000))
        self.assertGreater(max(row["infer_ms"] or 0 for row in rows), 1 << 22)
        self.assertEqual(self.expected(rows), self.stats())
        self.assertEqual(self.expected([row for row in rows if row["model"] == "a"], total=False), self.stats("a"))

    def test_since(self):
        rows = self.insert(runs_of(3000, 120000))
        middle = rows[len(rows) // 2]["queued_at"]
        since = [row for row in rows if row["queued_at"] >= middle]
        self.assertEqual(self.expected(since), self.stats("--since", middle))
        self.assertEqual(self.expected([row for row in since if row["model"] == "Z"], total=False),
                         self.stats("--since", middle, "Z"))
        self.assertEqual([figures(None, [])], self.stats("--since", "2027-01-01"))

    def test_few(self):
        """None, one, two: of the smallest sets every rank is one of them."""
        self.assertEqual([figures(None, [])], self.stats())
        all_rows = []
        for number, infer in enumerate((0, 8192, 8193, 1 << 40)):
            row = next(runs_of(1, 1)) | {"request_uid": uid(START_MS, number), "model": "m", "status": "ok",
                                         "kind": "run", "infer_ms": infer, "stopped_at": iso(START_MS + 1 + number)}
            all_rows += self.insert([row])
            self.assertEqual(self.expected(all_rows), self.stats())

    def test_names(self):
        """A model that was removed has its runs; one that never was is an error."""
        rows = self.insert(runs_of(200, 10))
        self.assertEqual(self.expected([row for row in rows if row["model"] == "gone"], total=False), self.stats("gone"))
        self.assertEqual([], self.stats("iris"))
        out, err = self.call(3, "stats", "iriss")
        self.assertEqual((b"", "mer: there is no model 'iriss'\nhint: did you mean 'iris'?\n"), (out, err))
        self.assertIn("bad model name 'a/b'", self.call(2, "stats", "a/b")[1])
        self.assertIn("--since", self.call(2, "stats", "--since", "yesterday")[1])

    def test_formats(self):
        rows = self.insert(runs_of(200, 1000))
        expected = self.expected(rows)
        texts = [["" if value is None else f"{value:.6f}".rstrip("0") if isinstance(value, float) else str(value)
                  for value in row.values()] for row in expected]
        self.assertEqual(expected, [json.loads(line) for line in self.out("stats", "--jsonl").splitlines()])
        read = list(csv.reader(io.StringIO(self.out("stats", "--csv").decode(), newline="")))
        self.assertEqual([list(expected[0]), *texts], read)
        self.assertEqual(texts, [line.split("\t") for line in self.out("stats").decode().splitlines()])

    def terminal(self, *words, **env):
        code, text = on_terminal([MER, "stats", *words], self.env | {"TERM": "xterm"} | env, self.folder)
        self.assertEqual(0, code, text)
        return text.replace("\r\n", "\n")

    def test_terminal(self):
        self.insert(runs_of(2000, 120000))
        text = self.terminal()
        first, spreads, over_time = (part.splitlines() for part in text.split("\n\n"))
        self.assertEqual("model runs ok failed timeout cancelled lost rejected per_second".split(), first[0].split())
        self.assertEqual(["Z", "a", "a.b", "gone", "(all)"], [line.split()[0] for line in first[1:]])
        self.assertEqual(1 + 5 * 3, len(spreads))
        self.assertRegex(over_time[0], r"^model +runs from 2026-01-01T\d\d:\d\d:00Z, each \d+[mh]$")
        self.assertRegex(over_time[-1], "^\\(all\\) [▁-█]+$")
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        plain = self.terminal("a", LC_ALL="C")
        self.assertTrue(plain.isascii())
        self.assertRegex(plain, r"\na +[.:=+*%#-]+\n$")
        self.assertNotIn("(all)", plain)
        self.assertNotIn("\033", text + plain)
        self.assertEqual(1 + 1, len(self.terminal("--since", "2027-01-01").splitlines()))

    def test_memory_is_flat(self):
        """Of ten times as many runs it takes no more."""
        if SANITIZED or self.kind != "sqlite":
            self.skipTest("measured of SQLite without sanitizers")
        peaks = []
        for n, seed in ((20000, 1), (180000, 2)):
            rows = ({**row, "request_uid": uid(START_MS, seed << 40 | number)}
                    for number, row in enumerate(runs_of(n, 4000, seed)))
            self.insert(rows)
            self.out("-ISc", MEASURE, self.folder / "peak", MER, "stats", program=PYTHON)
            peaks.append(int((self.folder / "peak").read_text()))
        self.assertLess(peaks[1], peaks[0] + 8192, peaks)


class Metrics:
    """stats --prometheus."""
    insert = Stats.insert

    def lines(self, *words):
        text = self.out("stats", "--prometheus", *words).decode()
        self.assertTrue(text.endswith("\n"))
        promtool = shutil.which("promtool")
        if promtool is not None:
            done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True,
                                  timeout=60, check=False)
            self.assertEqual((0, ""), (done.returncode, done.stdout + done.stderr))
        return text.splitlines()

    def samples(self, *words):
        found = {}
        for line in self.lines(*words):
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                self.assertNotIn(name, found)
                found[name] = float(value)
        return found

    def test_figures(self):
        rows = list(runs_of(3000, 1000))
        self.insert(rows)
        found = self.samples()
        self.assertEqual(found, self.samples())
        for model in ("Z", "a", "a.b", "gone"):
            own = [row for row in rows if row["model"] == model and row["kind"] == "run"]
            for status in STATUSES:
                name = "mer_runs_open" if status in ("queued", "running") else "mer_runs_total"
                self.assertEqual(sum(row["status"] == status for row in own),
                                 found.pop(f'{name}{{model="{model}",status="{status}"}}'))
            for time in TIMES:
                values = [row[f"{time}_ms"] for row in own if row["status"] == "ok" and row[f"{time}_ms"] is not None]
                name = f"mer_run_{time}_seconds"
                self.assertEqual(len(values), found.pop(f'{name}_count{{model="{model}"}}'))
                self.assertAlmostEqual(sum(values) / 1000, found.pop(f'{name}_sum{{model="{model}"}}'), 6)
                buckets = [sample for sample in found if sample.startswith(f'{name}_bucket{{model="{model}",le="')]
                self.assertEqual(19, len(buckets))
                for sample in buckets:
                    bound = float(sample.split('"')[3])
                    self.assertEqual(sum(value / 1000 <= bound for value in values), found.pop(sample), sample)
            last = max(row["stopped_at"] for row in own if row["stopped_at"])
            self.assertAlmostEqual(datetime.fromisoformat(last).timestamp(),
                                   found.pop(f'mer_run_last_end_timestamp_seconds{{model="{model}"}}'), 3)
        self.assertEqual(["mer_build_info"], [name.partition("{")[0] for name in found])

    GAUGES = ("mer_runs_open", "mer_run_last_end_timestamp_seconds", "mer_build_info")

    def counters(self, *words):
        return {name: value for name, value in self.samples(*words).items() if not name.startswith(self.GAUGES)}

    def prune(self, before, code=0):
        return self.change("log", "prune", "--before", before, code=code)

    def test_what_is_forgotten_counts(self):
        """No counter falls or rises by a prune, be it of a part, of all of a model or of all."""
        rows = list(runs_of(3000, 1000))
        self.insert(rows)
        of_all, of_one, times = self.counters(), self.counters("a"), sorted(row["queued_at"] for row in rows)
        self.assertGreater(of_all['mer_run_infer_seconds_count{model="a"}'], 400)
        for before in (times[0], times[1], times[700], times[2000], "2999-01-01"):
            self.prune(before)
            self.assertEqual((of_all, of_one), (self.counters(), self.counters("a")), before)
            self.assertEqual(self.samples("--since", "2026-01-01").get('mer_runs_total{model="a",status="ok"}', 0),
                             sum(row["model"] == "a" and row["kind"] == "run" and row["status"] == "ok" and
                                 row["queued_at"] >= before for row in rows))
        self.assertEqual({"queued", "running"}, {run["status"] for run in self.log("--limit", 10000)})
        self.insert([next(runs_of(1, 1)) | {"request_uid": uid(START_MS, 1 << 40), "model": "a", "status": "ok",
                                            "kind": "run", "infer_ms": 7}])
        name = 'mer_runs_total{model="a",status="ok"}'
        self.assertEqual(of_all[name] + 1, self.counters()[name])

    def test_forgotten_by_age(self):
        """The same by the settings, and of trainings nothing counts."""
        self.insert(list(runs_of(300, 1000)))
        before = self.counters()
        self.call(0, "--allow-changes", "log", "prune", env={"MER_KEEP_RUNS_FOR": "1h"})
        self.assertEqual(before, self.counters())
        self.assertEqual([], self.log("--status", "ok"))

    def test_odd_names_are_forgotten(self):
        for number, name in enumerate(('quo"te', "back\\slash", "li\nne", "ünï ☃", "a/b", "a")):
            self.insert([next(runs_of(1, 5)) | {"model": name, "request_uid": uid(START_MS, number), "kind": "run"}])
        before = self.counters(), self.counters("a")
        self.prune("2999-01-01")
        self.assertEqual(before, (self.counters(), self.counters("a")))

    def test_both_or_neither(self):
        """Where the totals take no more nothing is forgotten."""
        self.insert(list(runs_of(300, 1000)))
        self.sql(f"INSERT INTO run_totals (series, value) VALUES ('a/ok', {2**63 - 1})")
        before = self.log("--limit", 1000)
        self.assertIn("mer: ", self.change("log", "prune", "--before", "2999-01-01", code=self.FULL))
        self.assertEqual(before, self.log("--limit", 1000))
        self.assertEqual([(1,)], self.sql("SELECT count(*) AS n FROM run_totals"))

    def test_empty_and_one(self):
        self.assertEqual({'mer_build_info{version="0.1.0"}': 1.0}, self.samples())
        self.out("run", "digest", "x")
        self.out("run", "moments", "1 2")
        self.assertEqual({"moments"}, {name.split('"')[1] for name in self.samples("moments") if "model=" in name})
        self.call(3, "stats", "--prometheus", "nosuch")

    def test_odd_names(self):
        """What a database may hold that mer did not write."""
        for number, name in enumerate(('quo"te', "back\\slash", "li\nne", "ünï ☃")):
            row = next(runs_of(1, 5)) | {"model": name, "request_uid": uid(START_MS, number)}
            self.insert([row])
        found = self.samples()
        for name in ('quo\\"te', "back\\\\slash", "li\\nne", "ünï ☃"):
            self.assertIn(f'mer_runs_total{{model="{name}",status="failed"}}', found)

    def test_file(self):
        path = self.folder / "mer.prom"
        self.out("run", "digest", "x")
        for _ in range(2):
            self.assertEqual(b"", self.out("stats", "--prometheus", "-o", path, env={"MER_FORMAT": "json"}))
            self.assertEqual(self.out("stats", "--prometheus"), path.read_bytes())
            self.assertEqual(0o644, path.stat().st_mode & 0o777)
            self.out("run", "digest", "x")
        self.assertEqual([], [name for name in os.listdir(self.folder) if "part" in name])
        self.call(2, "stats", "-o", path)
        self.call(2, "stats", "--prometheus", "-o", self.folder)


class MetricsOfSqlite(Metrics, OnSqlite, unittest.TestCase):
    FULL = 2


class MetricsOfPostgres(Metrics, OnPostgres, unittest.TestCase):
    FULL = 2


class OfSqlite(Stats, OnSqlite, unittest.TestCase):
    pass


class OfPostgres(Stats, OnPostgres, unittest.TestCase):
    pass


if __name__ == "__main__":
    main("__main__")
