#!/usr/bin/python3
"""Tells three species of iris apart by four measurements, with Fisher's linear discriminants.

serve: MER's token protocol; a flower a line in (5.1,3.5,1.4,0.2 in cm), a species a line out.
train: fits the discriminants to a table of flowers, or to what `mer feedback export` gives, and writes
them as JSON.
"""
import argparse
import json
import os
import signal
import sys
from math import fsum
from pathlib import Path

Flower = tuple[float, float, float, float]

SPECIES = ("setosa", "versicolor", "virginica")
FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
READY, START, STOP, EXIT = (b"@!#%s#!@\n" % word for word in (b"READY", b"START", b"STOP", b"EXIT"))
LIMIT = 1e6  # no flower is longer, and no sum below overflows


class BadData(Exception):
    """Input that this program refuses; the message says why."""


def is_number(field: bytes) -> bool:
    try:
        return abs(float(field)) < LIMIT and b"_" not in field  # false for nan
    except ValueError:
        return False


def complaint(line: bytes) -> str:
    if not line.strip():
        return "empty"
    fields = line.split(b",", 4)
    if len(fields) != 4:
        return f"want 4 numbers, got {line.count(b',') + 1}"
    bad = next(field for field in fields if not is_number(field))
    return f"{bad.strip()[:40].decode('latin-1')!a} is not a number within -1e6 to 1e6"


def parse_flower(line: bytes) -> Flower:
    try:
        a, b, c, d = map(float, line.split(b",", 4))
        if (abs(a) < LIMIT and abs(b) < LIMIT and abs(c) < LIMIT and abs(d) < LIMIT
                and b"_" not in line):
            return a, b, c, d
    except ValueError:
        pass
    raise BadData(complaint(line))


class Discriminants:
    """For each species a constant and four factors; the largest sum names the species."""

    def __init__(self, rows: dict[str, list[float]]) -> None:
        self.names = [name.encode() + b"\n" for name in SPECIES]
        self.rows = [tuple(map(float, rows[name])) for name in SPECIES]
        if not all(len(row) == 5 and all(abs(x) < 1e100 for x in row) for row in self.rows):
            raise ValueError

    def sums(self, flower: Flower) -> list[float]:
        a, b, c, d = flower
        return [k + ka * a + kb * b + kc * c + kd * d for k, ka, kb, kc, kd in self.rows]

    def classify(self, flower: Flower) -> bytes:
        sums = self.sums(flower)
        return self.names[sums.index(max(sums))]


def load(path: Path) -> Discriminants:
    try:
        return Discriminants(json.loads(path.read_bytes())["discriminants"])
    except (ValueError, KeyError, TypeError, OverflowError):
        raise BadData(f"{path}: no weights of this model") from None


def serve(args: argparse.Namespace) -> None:
    model = load(args.weights)
    out = open(1, "wb", closefd=False)  # sys.stdout has no buffer under PYTHONUNBUFFERED
    out.write(READY)
    out.flush()
    answers = bytearray()
    is_open, number, refused = False, 0, ""
    for line in sys.stdin.buffer:
        if line == START:
            is_open, number, refused = True, 0, ""
            answers.clear()
        elif line == EXIT:
            return
        elif line == STOP and is_open:
            is_open = False
            if refused or not answers:
                sys.stderr.write(f"bad input: {refused or 'line 1: empty'}\n")
                sys.stderr.flush()
            else:
                out.write(START + answers + STOP)
                out.flush()
        elif is_open and not refused:
            number += 1
            try:
                answers += model.classify(parse_flower(line))
            except BadData as error:
                refused = f"line {number}: {error}"


def parse_row(line: bytes) -> list[tuple[bytes, bytes]]:
    """A line of the table: measurements and species."""
    numbers, _, species = line.strip().rpartition(b",")
    if not species.strip() or not line.strip():
        raise BadData("empty")
    return [(numbers, species)]


def parse_rating(line: bytes) -> list[tuple[bytes, bytes]]:
    """A line of feedback: what was expected, or the answer itself where it was rated well; none where
    nobody said what is right, or the input was not kept."""
    try:
        row = json.loads(line)
        flowers, rating = row["input"], row["rating"]
        species = row["expected"] if row["expected"] is not None or rating < 4 else row["output"]
        if flowers is None or species is None:
            return []
        numbers, names = flowers.encode().splitlines(), species.encode().splitlines()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadData("no line of a feedback export") from None
    if len(numbers) != len(names):
        raise BadData(f"{len(numbers)} flowers, {len(names)} species")
    return list(zip(numbers, names))


def read_table(path: Path) -> dict[str, list[Flower]]:
    header = ",".join((*FEATURES, "species"))
    groups: dict[str, list[Flower]] = {name: [] for name in SPECIES}
    with path.open("rb") as file:
        lines = list(file)
    parse, first = (parse_rating, 1) if lines and lines[0].startswith(b"{") else (parse_row, 2)
    if parse == parse_row and (not lines or lines[0].strip() != header.encode()):
        raise BadData(f"{path}:1: want the header {header}")
    for number, line in enumerate(lines[first - 1:], first):
        try:
            for numbers, species in parse(line):
                name = species.strip().decode("latin-1")
                if name not in groups:
                    raise BadData(f"unknown species {name[:40]!a}")
                groups[name].append(parse_flower(numbers))
        except BadData as error:
            raise BadData(f"{path}:{number}: {error}") from None
    return groups


def solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Gauss-Jordan elimination with partial pivoting."""
    rows = [[*row, value] for row, value in zip(matrix, right)]
    tiny = 1e-12 * max(abs(x) for row in matrix for x in row)
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda r: abs(rows[r][i]))
        if abs(rows[pivot][i]) <= tiny:
            raise BadData("the measurements depend on each other, nothing can be fitted")
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r, row in enumerate(rows):
            if r != i:
                factor = row[i] / rows[i][i]
                rows[r] = [x - factor * y for x, y in zip(row, rows[i])]
    return [row[-1] / row[i] for i, row in enumerate(rows)]


def fit(groups: dict[str, list[Flower]]) -> dict[str, list[float]]:
    """Equal priors. fsum and the four operations give the same bits on every machine."""
    means = {name: [fsum(column) / len(flowers) for column in zip(*flowers)]
             for name, flowers in groups.items()}
    spread = [[x - mean for x, mean in zip(flower, means[name])]
              for name, flowers in groups.items() for flower in flowers]
    pooled = [[fsum(row[i] * row[j] for row in spread) / (len(spread) - len(groups))
               for j in range(4)] for i in range(4)]
    fitted = {}
    for name, mean in means.items():
        factors = solve(pooled, mean)
        fitted[name] = [-fsum(x * y for x, y in zip(factors, mean)) / 2, *factors]
    return fitted


def write_atomically(path: Path, text: str) -> None:
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        with temporary.open("x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def train(dataset: Path, weights: Path, nth: int = 5) -> dict[str, float]:
    """Makes weights; gives how good they are on every nth row, which they were not fitted to."""
    groups = read_table(dataset)
    fitted_on = {name: [f for i, f in enumerate(flowers, 1) if i % nth]
                 for name, flowers in groups.items()}
    held_out = [(name, f) for name, flowers in groups.items() for f in flowers[nth - 1::nth]]
    for name, flowers in groups.items():
        if len(flowers) < max(nth, 3):
            raise BadData(f"{dataset}: {len(flowers)} rows of {name} are too few")
    try:
        rows = fit(fitted_on)
    except BadData as error:
        raise BadData(f"{dataset}: {error}") from None
    model = Discriminants(rows)
    right = sum(model.classify(flower) == name.encode() + b"\n" for name, flower in held_out)
    made = {"columns": ["constant", *FEATURES], "discriminants": rows}
    write_atomically(weights, json.dumps(made, indent=1) + "\n")
    return {"accuracy": round(right / len(held_out), 4), "held_out": len(held_out),
            "trained_on": sum(map(len, fitted_on.values()))}


def train_and_tell(args: argparse.Namespace) -> None:
    print(json.dumps(train(args.dataset, args.weights, args.held_out)))


def at_least_two(text: str) -> int:
    if int(text) < 2:
        raise ValueError
    return int(text)


def main() -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="serve|train")
    command = commands.add_parser("serve", help="classify flowers (token protocol)")
    command.add_argument("--weights", type=Path, required=True, metavar="FILE")
    command.set_defaults(run=serve)
    command = commands.add_parser("train", help="make weights")
    command.add_argument("--dataset", type=Path, required=True, metavar="CSV")
    command.add_argument("--weights", type=Path, required=True, metavar="FILE")
    command.add_argument("--held-out", type=at_least_two, default=5, metavar="N",
                         help="every Nth row of each species tests the fit (default: 5)")
    command.set_defaults(run=train_and_tell)
    args = parser.parse_args()
    try:
        args.run(args)
    except BadData as error:
        print(f"iris.py: {error}", file=sys.stderr)
    except OSError as error:
        print(f"iris.py: {error.filename or 'stdio'}: {error.strerror}", file=sys.stderr)
    else:
        return 0
    return 2


if __name__ == "__main__":
    sys.exit(main())
