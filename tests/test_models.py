#!/usr/bin/python3
"""The example models, run as processes over pipes. MER_MODELS names the folder that holds them,
with the compiled moments/moments. Prints TAP when run as a program."""
import csv
import hashlib
import itertools
import json
import math
import os
import random
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import unittest
from fractions import Fraction
from pathlib import Path

import frames

MODELS = Path(os.environ["MER_MODELS"]).resolve()
IRIS = MODELS / "iris"
READY, START, STOP, EXIT = (b"@!#%s#!@\n" % w for w in (b"READY", b"START", b"STOP", b"EXIT"))
DEADLINE_S = 60
MIB = 1024 * 1024


def call(argv, data=b"", **options):
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(argv, input=data, stderr=subprocess.PIPE, timeout=DEADLINE_S, **options)


def request(data):
    """As MER writes it: a newline is added only where the input has none."""
    return START + data + (b"" if data.endswith(b"\n") else b"\n") + STOP


class Worker:
    """A worker of the token protocol whose stdin stays open between requests."""

    def __init__(self, argv):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(argv, bufsize=0, **pipes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()

    def read(self, file, ending):
        data = b""
        while not data.endswith(ending):
            if not select.select([file], [], [], DEADLINE_S)[0]:
                raise TimeoutError(f"no {ending!r} after {data[-200:]!r}")
            piece = os.read(file.fileno(), 65536)
            if not piece:
                raise EOFError(f"no {ending!r} after {data[-200:]!r}")
            data += piece
        return data

    def run(self, data, step=0):
        data = request(data)
        for i in range(0, len(data), step or len(data)):
            self.process.stdin.write(data[i:i + (step or len(data))])
        return self.read(self.process.stdout, STOP)


class TokenWorker:
    """What holds for both workers; a subclass gives argv, good (input, output), and bad rows."""

    def answer(self):
        return START + self.good[1] + STOP

    def test_answers_before_the_next_request(self):
        with Worker(self.argv) as worker:
            self.assertEqual(worker.read(worker.process.stdout, READY), READY)
            for _ in range(3):
                self.assertEqual(worker.run(self.good[0]), self.answer())

    def test_input_cut_anywhere(self):
        with Worker(self.argv) as worker:
            worker.read(worker.process.stdout, READY)
            for step in (1, 2, 3, 5, 7, 11):
                with self.subTest(step=step):
                    self.assertEqual(worker.run(self.good[0], step), self.answer())

    def test_refuses_and_goes_on(self):
        for data, why in self.bad:
            with self.subTest(input=data[:40]):
                done = call(self.argv, request(data) + request(self.good[0]))
                self.assertEqual(done.stdout, READY + self.answer())
                self.assertEqual(done.stderr.decode(), f"bad input: {why}\n")
                self.assertEqual(done.returncode, 0)

    def test_refusal_comes_at_once(self):
        with Worker(self.argv) as worker:
            worker.process.stdin.write(request(self.bad[0][0]))
            self.assertTrue(worker.read(worker.process.stderr, b"\n").startswith(b"bad input: "))
            self.assertEqual(worker.run(self.good[0]), READY + self.answer())

    def test_leaves_on_exit_token(self):
        with Worker(self.argv) as worker:
            worker.process.stdin.write(request(self.good[0]) + EXIT)
            self.assertEqual(worker.process.wait(DEADLINE_S), 0)
            self.assertEqual(worker.process.stdout.read(), READY + self.answer())

    def test_leaves_at_end_of_file(self):
        whole = request(self.good[0])
        for end in (0, 3, len(START), len(START) + 2, whole.rindex(STOP), len(whole) - 1):
            with self.subTest(bytes_of_second_request=end):
                done = call(self.argv, whole + whole[:end])
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assertEqual(done.stdout, READY + self.answer())

    def test_ignores_lines_between_requests(self):
        done = call(self.argv, b"noise\n" + STOP + request(self.good[0]) + b"\n1,2\n" + STOP)
        self.assertEqual((done.stdout, done.stderr), (READY + self.answer(), b""))

    def test_many_requests(self):
        done = call(self.argv, request(self.good[0]) * 5000)
        self.assertEqual(done.stdout, READY + self.answer() * 5000)


def number_wanted(word, largest):
    return f"{word!r} is not a number within -{largest} to {largest}"


def iris_rows():
    with (IRIS / "iris.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [([Fraction(x) for x in row[:4]], row[4]) for row in rows]


def determinant(matrix):
    def term(order):
        swaps = sum(a > b for a, b in itertools.combinations(order, 2))
        return (-1) ** swaps * math.prod(matrix[i][j] for i, j in enumerate(order))
    return sum(map(term, itertools.permutations(range(len(matrix)))))


def exact_fit():
    """Means and inverse of the pooled covariance, in exact fractions and by Cramer's rule."""
    groups = {}
    for flower, species in iris_rows():
        groups.setdefault(species, []).append(flower)
    kept = {name: [f for i, f in enumerate(group) if i % 5 != 4] for name, group in groups.items()}
    means = {name: [sum(c) / len(c) for c in zip(*group)] for name, group in kept.items()}
    total = sum(map(len, kept.values()))
    pooled = [[sum((f[i] - means[name][i]) * (f[j] - means[name][j])
                   for name, group in kept.items() for f in group) / (total - 3)
               for j in range(4)] for i in range(4)]
    whole = determinant(pooled)
    inverse = [[determinant([[Fraction(r == j) if c == i else pooled[r][c] for c in range(4)]
                             for r in range(4)]) / whole for j in range(4)] for i in range(4)]
    return means, inverse


def product(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector)) for row in matrix]


def exact_species(flower, means, inverse):
    """The nearest mean by Mahalanobis distance: with equal priors the same decision."""
    def distance(name):
        away = [x - m for x, m in zip(flower, means[name])]
        return sum(a * b for a, b in zip(away, product(inverse, away)))
    return min(means, key=distance)


class IrisServe(TokenWorker, unittest.TestCase):
    argv = [IRIS / "iris.py", "serve", "--weights", IRIS / "weights/1.json"]
    good = (b"5.1,3.5,1.4,0.2\n 6.0 , 2.2,4.0, 1e0\r\n+6.3,3.3,6,2.5",
            b"setosa\nversicolor\nvirginica\n")
    bad = [
        (b"", "line 1: empty"),
        (b"5.1,3.5,1.4,0.2\n\n5.1,3.5,1.4,0.2", "line 2: empty"),
        (b"5.1,3.5,1.4,0.2\n   \n", "line 2: empty"),
        (b"5.1,3.5,1.4", "line 1: want 4 numbers, got 3"),
        (b"5.1 3.5 1.4 0.2", "line 1: want 4 numbers, got 1"),
        (b"5.1,3.5,1.4,0.2\n5.1,3.5,1.4,0.2,1,1", "line 2: want 4 numbers, got 6"),
        (b"," * 100000, "line 1: want 4 numbers, got 100001"),
        (b"5.1,3.5,,0.2", "line 1: " + number_wanted("", "1e6")),
        (b"5.1,abc,1.4,0.2\n1", "line 1: " + number_wanted("abc", "1e6")),
        (b"5.1,3.5,1.4,nan", "line 1: " + number_wanted("nan", "1e6")),
        (b"-inf,3.5,1.4,0.2", "line 1: " + number_wanted("-inf", "1e6")),
        (b"5.1,3.5,1e999,0.2", "line 1: " + number_wanted("1e999", "1e6")),
        (b"1_0,3.5,1.4,0.2", "line 1: " + number_wanted("1_0", "1e6")),
        (b"5.1,\xff\x1b[m,1.4,0.2", r"line 1: '\xff\x1b[m' is not a number within -1e6 to 1e6"),
        (b"a" * 99999 + b",1,1,1", "line 1: " + number_wanted("a" * 40, "1e6")),
    ]

    def test_agrees_with_exact_arithmetic_on_every_row(self):
        rows, fit = iris_rows(), exact_fit()
        done = call(self.argv, b"".join(
            request(",".join(str(float(x)) for x in flower).encode()) for flower, _ in rows))
        got = done.stdout[len(READY):].decode().replace(START.decode(), "")
        got = got.replace(STOP.decode(), "").splitlines()
        self.assertEqual(got, [exact_species(flower, *fit) for flower, _ in rows])
        self.assertEqual(sum(g == species for g, (_, species) in zip(got, rows)), 147)

    def test_ten_mebibytes(self):
        pairs = 10 * MIB // 32
        done = call(self.argv, request(b"5.1,3.5,1.4,0.2\n6.3,3.3,6.0,2.5\n" * pairs))
        want = READY + START + b"setosa\nvirginica\n" * pairs + STOP
        self.assertTrue(done.stdout == want)  # assertEqual would print it all

    def test_weights_that_cannot_serve(self):
        rows = json.loads((IRIS / "weights/1.json").read_text())["discriminants"]
        texts = ["", "{}", "[]", "null", "\x00", json.dumps({"discriminants": list(rows)})]
        for value in ([1, 2], [1, 2, 3, 4, "x"], [1, 2, 3, 4, math.nan], [1, 2, 3, 4, 10**400], 7):
            texts.append(json.dumps({"discriminants": {**rows, "setosa": value}}))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "w.json")
            for text in [None] + texts:
                with self.subTest(weights=text and text[:60]):
                    if text is not None:
                        path.write_text(text)
                    done = call([IRIS / "iris.py", "serve", "--weights", path])
                    self.assertEqual((done.returncode, done.stdout), (2, b""))
                    self.assertRegex(done.stderr.decode(), rf"\Airis\.py: {path}: [^\n]+\n\Z")


class IrisTrain(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def train(self, dataset, *options):
        return call([IRIS / "iris.py", "train", "--dataset", dataset,
                     "--weights", self.folder / "w.json", *options])

    def test_dataset_is_fishers(self):
        rows = iris_rows()
        self.assertEqual([s for _, s in rows],
                         [s for s in ("setosa", "versicolor", "virginica") for _ in range(50)])
        self.assertEqual([list(map(float, rows[i - 1][0])) for i in (35, 38)],
                         [[4.9, 3.1, 1.5, 0.2], [4.9, 3.6, 1.4, 0.1]])
        sums = [sum(column) for column in zip(*(flower for flower, _ in rows))]
        self.assertEqual(sums, [Fraction(x) for x in ("876.5", "458.6", "563.7", "179.9")])

    def test_makes_the_weights_that_ship(self):
        done = self.train(IRIS / "iris.csv")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(os.listdir(self.folder), ["w.json"])
        self.assertEqual((self.folder / "w.json").read_bytes(),
                         (IRIS / "weights/1.json").read_bytes())

    def test_metrics_are_what_the_readme_says(self):
        metrics = self.train(IRIS / "iris.csv").stdout.decode()
        self.assertEqual(json.loads(metrics), {"accuracy": 1.0, "held_out": 30, "trained_on": 120})
        self.assertIn(metrics.strip(), (IRIS / "README.md").read_text())

    def test_weights_are_exact(self):
        means, inverse = exact_fit()
        rows = json.loads((IRIS / "weights/1.json").read_text())["discriminants"]
        for name, mean in means.items():
            factors = product(inverse, mean)
            constant = -sum(a * b for a, b in zip(factors, mean)) / 2
            for got, want in zip(rows[name], [constant, *factors]):
                self.assertAlmostEqual(got, float(want), delta=1e-9)

    def test_split(self):
        for nth, held_out in ((2, 75), (3, 48), (10, 15), (50, 3)):
            with self.subTest(nth=nth):
                metrics = json.loads(self.train(IRIS / "iris.csv", "--held-out", str(nth)).stdout)
                self.assertEqual(metrics["held_out"], held_out)
                self.assertEqual(metrics["trained_on"], 150 - held_out)

    def test_bad_datasets(self):
        lines = (IRIS / "iris.csv").read_text().splitlines()
        same = [re.sub(r"^(.*?),.*?,", r"\1,\1,", line) for line in lines[1:]]
        cases = [
            ([], ":1: want the header "),
            (lines[1:], ":1: want the header "),
            (lines + [""], ":152: empty"),
            (lines[:9] + ["1,2,3,setosa"], ":10: want 4 numbers, got 3"),
            (lines[:9] + ["setosa"], ":10: empty"),
            (lines[:9] + ["1,2,x,4,setosa"], ":10: 'x' is not a number"),
            (lines[:9] + ["1,2,nan,4,setosa"], ":10: 'nan' is not a number"),
            (lines[:9] + ["1,2,3,4,rose"], ":10: unknown species 'rose'"),
            (lines[:9] + ["1,2,3,4"], ":10: unknown species '4'"),
            (lines[:101], ": 0 rows of virginica are too few"),
            (lines[:1], ": 0 rows of setosa are too few"),
            (lines[:1] + same, ": the measurements depend on each other"),
        ]
        path = self.folder / "d.csv"
        (self.folder / "w.json").write_text("old")
        for text, why in cases:
            with self.subTest(why=why):
                path.write_text("".join(line + "\n" for line in text))
                done = self.train(path)
                self.assertEqual((done.returncode, done.stdout), (2, b""))
                self.assertEqual(done.stderr.count(b"\n"), 1)
                start = f"iris.py: {path}{why}"
                self.assertEqual(done.stderr.decode()[:len(start)], start)
        self.assertEqual((self.folder / "w.json").read_text(), "old")
        self.assertEqual(sorted(os.listdir(self.folder)), ["d.csv", "w.json"])

    def test_feedback(self):
        """What people said is right is fitted: their word, or the answer itself where it was rated well."""
        def line(flower, output, rating, expected=None):
            return json.dumps({"request_uid": "u", "weights": "1", "input": flower, "output": output,
                               "rating": rating, "expected": expected, "note": "", "created_at": "t"}) + "\n"

        rows = [(",".join(map(str, map(float, flower))), species) for flower, species in iris_rows()]
        path = self.folder / "d.jsonl"
        good = [line(flower + "\n", species + "\n", 4) if i % 2 else line(flower, "rose\n", 1, species)
                for i, (flower, species) in enumerate(rows)]
        unsaid = [line(None, None, 1, "setosa"), line("1,2,3,4", "virginica\n", 3), line("bad", None, 5)]
        path.write_text("".join(good[:75] + unsaid + good[75:]))
        done = self.train(path)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual((self.folder / "w.json").read_bytes(), (IRIS / "weights/1.json").read_bytes())
        for bad, why in (("{", "no line of a feedback export"), ("[]", "no line of a feedback export"),
                         ('{"input":1,"rating":5,"expected":"setosa"}', "no line of a feedback export"),
                         (line("1,2,3,4\n1,2,3,4", "x", 1, "setosa"), "2 flowers, 1 species"),
                         (line("1,2,3", "x", 1, "setosa"), "want 4 numbers, got 3"),
                         (line("1,2,3,4", "x", 1, "rose"), "unknown species 'rose'")):
            with self.subTest(why=why):
                path.write_text(good[0] + bad)
                done = self.train(path)
                self.assertEqual((done.returncode, done.stderr.decode()), (2, f"iris.py: {path}:2: {why}\n"))

    def test_usage_and_files(self):
        train = ["train", "--dataset", IRIS / "iris.csv", "--weights"]
        for argv in ([], ["serve"], ["train"], ["guess"],
                     [*train, "/proc/no/1.json"], [*train, "/"],
                     [*train, self.folder / "w", "--held-out", "1"],
                     ["train", "--dataset", self.folder / "none", "--weights", self.folder / "w"],
                     ["serve", "--weights", self.folder]):
            with self.subTest(argv=list(map(str, argv))):
                done = call([IRIS / "iris.py", *argv])
                self.assertEqual((done.returncode, done.stdout), (2, b""))
                self.assertIn(b"iris.py", done.stderr)
                self.assertNotIn(b"Traceback", done.stderr)
        self.assertEqual(os.listdir(self.folder), [])


class Moments(TokenWorker, unittest.TestCase):
    argv = [MODELS / "moments/moments"]
    good = (b"1 2,3\n\n\t4 ,\r\n5", b"n=5 mean=3 sd=1.58114 min=1 max=5\n")
    bad = [(b"", "no numbers"), (b" ,\n,,\n", "no numbers")] + [
        (data, f"line {line}: " + number_wanted(word, "1e150")) for data, line, word in (
            (b"one", 1, "one"), (b"1\n2 3x", 2, "3x"), (b"1,nan", 1, "nan"), (b"inf", 1, "inf"),
            (b"-infinity", 1, "-infinity"), (b"0x10", 1, "0x10"), (b"1e", 1, "1e"), (b"+", 1, "+"),
            (b"1\n\n1e151\nx", 3, "1e151"), (b"1e999", 1, "1e999"), (b"1-2", 1, "1-2"),
            (b"1 2\x003", 1, ""), (b"\x00", 1, ""), (b"5;6", 1, "5;6"),
            (b"\xff\x1b[m", 1, "??[m"), (b"a" * 99999, 1, "a" * 40), (b"9" * 200, 1, "9" * 40))]

    def ask(self, data):
        done = call(self.argv, request(data))
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(done.stdout.count(b"\n"), 4)
        return done.stdout.splitlines()[2].decode()

    def test_exact_answers(self):
        for data, want in (
                (b"7", "n=1 mean=7 sd=0 min=7 max=7"),
                (b"-2.5e-3 .5 +1.", "n=3 mean=0.499167 sd=0.501251 min=-0.0025 max=1"),
                (b"4 4 4 4", "n=4 mean=4 sd=0 min=4 max=4"),
                (b"1e150 -1e150", "n=2 mean=0 sd=1.41421e+150 min=-1e+150 max=1e+150"),
                # where the sum of squares loses every digit
                (b"1000000004 1000000007 1000000013 1000000016",
                 "n=4 mean=1e+09 sd=5.47723 min=1e+09 max=1e+09")):
            with self.subTest(input=data):
                self.assertEqual(self.ask(data), want)

    def compare(self, numbers, data):
        got = dict(item.split("=") for item in self.ask(data).split())
        self.assertEqual(int(got["n"]), len(numbers))
        for key, want in (("mean", statistics.fmean(numbers)), ("min", min(numbers)),
                          ("sd", statistics.stdev(map(Fraction, numbers))), ("max", max(numbers))):
            self.assertTrue(math.isclose(float(got[key]), want, rel_tol=5.1e-6), (key, got, want))

    def test_agrees_with_the_statistics_module(self):
        draw = random.Random(1)
        for low, high in ((-1, 1), (0, 1e-9), (1e6, 1e6 + 1), (-1e12, 1e3)):
            numbers = [draw.uniform(low, high) for _ in range(1000)]
            with self.subTest(low=low, high=high):
                self.compare(numbers, " ".join(map(repr, numbers)).encode())

    def test_ten_mebibytes(self):
        numbers = list(range(100, 1000))
        count = 10 * MIB // (4 * len(numbers))
        want = f"n={count * 900} mean=549.5 sd=259.808 min=100 max=999"
        for separator in (" ", "\n"):
            with self.subTest(separator=separator):
                data = (separator.join(map(str, numbers)) + separator).encode() * count
                self.assertEqual(self.ask(data), want)


class FrameWorker:
    """What holds for the workers of the frame protocol; a subclass gives argv, good and bad rows."""

    def frame(self, process, *args):
        """Sends one; the next one that comes."""
        process.stdin.write(frames.pack(*args))
        process.stdin.flush()
        head = process.stdout.read(frames.HEAD.size)
        _, _, kind, _, number, meta, _, size = frames.HEAD.unpack(head)
        meta, body = json.loads(process.stdout.read(meta)), process.stdout.read(size)
        if kind == frames.ERROR:
            return kind, number, meta["code"], meta["message"]
        return kind, number, body

    def talk(self, *inputs):
        """What it answers, over stdin and stdout."""
        env = {**os.environ, "PYTHONPATH": str(MODELS.parent / "python")}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(self.argv, env=env, **pipes) as process:
            self.addCleanup(process.kill)
            kind, number, _ = self.frame(process, frames.HELLO, 0, {"versions": [1], "max_body": 1 << 30})
            self.assertEqual((kind, number), (frames.READY, 0))
            got = []
            for number, data in enumerate(inputs, 1):
                kind, its, *answer = self.frame(process, frames.INFER, number, frames.BYTES, data)
                self.assertEqual(its, number)
                got.append((kind, *answer))
            process.stdin.write(frames.pack(frames.DRAIN))
            process.stdin.flush()
            self.assertEqual((process.stdout.read(), process.stderr.read()), (b"", b""))
            self.assertEqual(process.wait(DEADLINE_S), 0)
        return got

    def test_answers(self):
        inputs = [data for data, _ in self.good] * 3
        self.assertEqual(self.talk(*inputs), [(frames.RESULT, want) for _, want in self.good] * 3)

    def test_refuses_and_goes_on(self):
        for data, why in self.bad:
            with self.subTest(input=data[:40]):
                self.assertEqual(self.talk(data, self.good[0][0]), [
                    (frames.ERROR, "input", why), (frames.RESULT, self.good[0][1])])


class MomentsFrame(FrameWorker, unittest.TestCase):
    argv = [MODELS / "moments/moments_frame"]
    good = [Moments.good, (b"7", b"n=1 mean=7 sd=0 min=7 max=7\n")]
    bad = Moments.bad


class Language(FrameWorker, unittest.TestCase):
    argv = [MODELS / "language/language.py"]
    good = [("The answer to that is in the book which you have with you.".encode(), b"English\n"),
            ("Die Antwort auf diese Frage steht in dem Buch, das du hast.".encode(), b"German\n"),
            ("LA RÉPONSE À CETTE QUESTION EST DANS LE LIVRE QUE VOUS AVEZ".encode(), b"French\n"),
            ("La respuesta a esa pregunta está en el libro, pero no sé dónde.".encode(), b"Spanish\n"),
            ("La risposta a questa domanda è nel libro, ma non so come.".encode(), b"Italian\n"),
            ("A resposta a essa pergunta não está no livro que foi dele.".encode(), b"Portuguese\n"),
            ("Het antwoord op die vraag staat in het boek dat je bij je hebt.".encode(), b"Dutch\n"),
            (b"the " * 100000, b"English\n")]
    bad = [(b"", "0 words tell no language apart; give a sentence or two"),
           (b"42, 7; _", "0 words tell no language apart; give a sentence or two"),
           (b"xyzzy plugh", "2 words tell no language apart; give a sentence or two"),
           (b"caf\xe9", "the input is no UTF-8 at byte 3")]


class Digest(unittest.TestCase):
    argv = [MODELS / "digest/digest.py"]

    def check(self, data, done):
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(done.stdout.count(b"\n"), 1)
        self.assertEqual(json.loads(done.stdout), {
            "bytes": len(data), "lines": data.count(b"\n"), "words": len(data.split()),
            "sha256": hashlib.sha256(data).hexdigest()})

    def test_agrees_with_hashlib_and_split(self):
        noise = random.Random(2).randbytes(10 * MIB + 1)
        for data in (b"", b"\n", b"a", b" a", b"a ", b"one two\nthree", b"\r\v\f\t \n", b"\x00",
                     b"\xc2\xa0 \x85", b"ab" * 40000, b"a " * 5 * MIB, noise):
            with self.subTest(input=data[:12], bytes=len(data)):
                self.check(data, call(self.argv, data))

    def test_agrees_with_wc(self):
        draw = random.Random(3)
        for size in (0, 1, 100, 65535, 65536, 65537, 10 * MIB):
            with self.subTest(bytes=size):
                data = bytes(draw.choices(b"abc,.!~ \t\n\r\v\f", k=size))
                done = call(["wc", "-lwc"], data, env={**os.environ, "LC_ALL": "C"})
                got = json.loads(call(self.argv, data).stdout)
                self.assertEqual([got[key] for key in ("lines", "words", "bytes")],
                                 list(map(int, done.stdout.split())))

    def test_input_cut_anywhere(self):
        data = b"a few  words\nand \xff bytes\n" * 9
        for step in (1, 2, 3, 7, 13):
            with self.subTest(step=step), Worker(self.argv) as worker:
                for i in range(0, len(data), step):
                    worker.process.stdin.write(data[i:i + step])
                worker.process.stdin.close()
                out = worker.read(worker.process.stdout, b"\n")
                status = worker.process.wait(DEADLINE_S)
                self.check(data, subprocess.CompletedProcess(self.argv, status, out, b""))

    def test_memory_stays_flat(self):
        with tempfile.TemporaryFile() as file:
            file.truncate(256 * MIB)  # sparse
            limited = ["sh", "-c", 'ulimit -v 98304; exec "$0"', *self.argv]
            done = subprocess.run(limited, stdin=file, capture_output=True, timeout=DEADLINE_S)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(json.loads(done.stdout)["bytes"], 256 * MIB)

    def test_io_errors(self):
        for how in ("<&-", ">&-", ">/dev/full", "0>/dev/null"):
            with self.subTest(how=how):
                done = call(["sh", "-c", f'exec "$0" {how}', *self.argv])
                self.assertEqual((done.returncode, done.stdout), (1, b""))
                self.assertRegex(done.stderr.decode(), r"\Adigest\.py: [^\n]+\n\Z")


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
