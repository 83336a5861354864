#!/usr/bin/python3
"""How long mer-migrate takes, beside the same work without a tool and, where they are in PATH, goose and sqlx.

    bench/migrate.py [--runs R] [--n N,N] [--program MER-MIGRATE --bare BARE_MIGRATE]

Builds build/release unless it is told what to run. Programs of a row run in turns, A B A B, so that what else
the machine does meets them alike: trust the ratios more than the times. Each cell is the least and the median
of the runs in milliseconds, the median's ratio to that of the row's first, and in brackets how far the runs
spread around their median. Postgres is a server of its own, as durable as a real one. A peer that fails or takes
longer than CAP_S is left out of the row, with a word why."""
import argparse
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import postgres  # noqa: E402 pylint: disable=wrong-import-position,import-error

RELEASE = ROOT / "build" / "release"
TIME = Path("/usr/bin/time")
CAP_S = 180


def build():
    subprocess.run([ROOT / "scripts" / "startMER.sh", "version"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["meson", "compile", "-C", RELEASE, "bare_migrate"], check=True, stdout=subprocess.DEVNULL)


def text_of(number):
    return "CREATE TABLE t(a int);\n" if number == 1 else f"INSERT INTO t VALUES({number});\n"


class Mer:
    name = "mer-migrate"

    def __init__(self, program):
        self.program = program

    def write(self, folder, number):
        (folder / f"{number:05d}-s{number}.sql").write_text(text_of(number))

    def argv(self, what, folder, url):
        words = {"version": ["--version"], "up": ["up", "--quiet"], "status": ["status"]}[what]
        return [self.program, *words, *([] if what == "version" else ["--dir", folder, "--database", url])]


class Goose:
    name = "goose"

    def __init__(self):
        self.program = shutil.which("goose")

    def write(self, folder, number):
        (folder / f"{number:05d}_s{number}.sql").write_text(f"-- +goose Up\n{text_of(number)}")

    def argv(self, what, folder, url):
        if what == "version":
            return [self.program, "--version"]
        driver = ["sqlite3", url[7:]] if url.startswith("sqlite:") else ["postgres", url]
        return [self.program, "-dir", folder, *driver, what]


class Sqlx:
    name = "sqlx"

    def __init__(self):
        self.program = shutil.which("sqlx")

    def write(self, folder, number):
        (folder / f"{number}_s{number}.sql").write_text(text_of(number))

    def argv(self, what, folder, url):
        if what == "version":
            return [self.program, "--version"]
        if url.startswith("sqlite:"):
            url += "?mode=rwc"
        return [self.program, "migrate", {"up": "run", "status": "info"}[what], "--source", folder, "-D", url]


class Bare:
    name = "no tool"

    def __init__(self, program):
        self.program = program

    def argv(self, _what, folder, url):
        return [self.program, url, str(folder)]


def once(argv):
    """How many seconds it took."""
    argv = [str(word) for word in argv]
    files = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    begin = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=files)
    end = os.pidfd_open(pid)
    in_time = select.select([end], [], [], CAP_S)[0]
    if not in_time:
        signal.pidfd_send_signal(end, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    seconds = time.perf_counter() - begin
    os.close(end)
    if not in_time:
        raise RuntimeError(f"{' '.join(argv)}: took longer than {CAP_S} s")
    if status != 0:
        raise RuntimeError(f"{' '.join(argv)}: ended with {os.waitstatus_to_exitcode(status)}")
    return seconds


def peak(argv):
    """In MiB, by time(1): what a child of this big process had before it became another program would count."""
    if not TIME.exists():
        return "not measured: no /usr/bin/time"
    done = subprocess.run([TIME, "-f", "%M", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=True)
    return f"{int(done.stderr.split()[-1]) / 1024:.1f} MiB"


def show(row, names, found):
    first = statistics.median(found[names[0]])
    cells = []
    for name in names:
        median = statistics.median(found[name])
        cells.append(f"{name} {min(found[name]) * 1e3:.1f}/{median * 1e3:.1f} x{median / first:.2f} "
                     f"[{min(found[name]) / median:.2f} {max(found[name]) / median:.2f}]")
    print(f"{row:28}" + "; ".join(cells), flush=True)


class Bench:
    def __init__(self, program, bare, runs, server):
        self.runs = runs
        self.server = server
        self.top = Path(tempfile.mkdtemp(prefix="mer-bench-"))
        self.bare = Bare(bare)
        mer = Mer(program)
        peers = [tool for tool in (Goose(), Sqlx()) if tool.program]
        self.peers = [tool.name for tool in peers]
        self.tools = [mer, *peers]
        self.made = 0

    def database(self, kind):
        self.made += 1
        return f"sqlite:{self.top}/{self.made}.db" if kind == "sqlite" else self.server.new_database()

    def drop(self, url):
        if url.startswith("sqlite:"):
            for path in self.top.glob(Path(url[7:]).name + "*"):
                path.unlink()
        else:
            self.server.psql(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)")

    def in_turns(self, row, jobs):
        """jobs: names with what to do, which says how long it took; the first is what others are compared with."""
        found = {name: [] for name in jobs}
        for _ in range(self.runs):
            for name in list(found):
                try:
                    found[name].append(jobs[name]())
                except RuntimeError as error:
                    self.leave_out(name, error)
                    del found[name]
        show(row, list(found), found)

    def leave_out(self, name, error):
        if name not in self.peers:
            raise error
        print(f"{'':28}without {name}: {error}", flush=True)

    def start(self):
        self.in_turns("--version", {tool.name: lambda tool=tool: once(tool.argv("version", None, None))
                                    for tool in self.tools})
        print(f"{'':28}peak memory of mer-migrate --version: {peak(self.tools[0].argv('version', None, None))}")

    def apply(self, kind, n, folders):
        def run(argv_of):
            url = self.database(kind)
            try:
                return once(argv_of(url))
            finally:
                self.drop(url)
        jobs = {"no tool": lambda: run(lambda url: self.bare.argv("up", n, url))}
        for tool in self.tools:
            jobs[tool.name] = lambda tool=tool: run(lambda url: tool.argv("up", folders[tool.name], url))
        self.in_turns(f"{kind} up {n}", jobs)

    def again(self, kind, n, folders):
        urls = {tool.name: self.database(kind) for tool in self.tools}
        able = []
        for tool in self.tools:
            try:
                once(tool.argv("up", folders[tool.name], urls[tool.name]))
                able.append(tool)
            except RuntimeError as error:
                self.leave_out(tool.name, error)
        for what, name in (("up", "nothing to do"), ("status", "status")):
            self.in_turns(f"{kind} {name} {n}",
                          {tool.name: lambda tool=tool: once(tool.argv(what, folders[tool.name], urls[tool.name]))
                           for tool in able})
        argv = self.tools[0].argv("up", folders["mer-migrate"], urls["mer-migrate"])
        print(f"{'':28}peak memory of mer-migrate up: {peak(argv)}", flush=True)
        for url in urls.values():
            self.drop(url)

    def work(self, sizes):
        self.start()
        for n in sizes:
            folders = {}
            for tool in self.tools:
                folders[tool.name] = self.top / f"{tool.name}-{n}"
                folders[tool.name].mkdir()
                for number in range(1, n + 1):
                    tool.write(folders[tool.name], number)
            for kind in ("sqlite", *(["postgres"] if self.server else [])):
                self.apply(kind, n, folders)
                self.again(kind, n, folders)

    def close(self):
        shutil.rmtree(self.top, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--n", default="100,1000,10000")
    parser.add_argument("--program")
    parser.add_argument("--bare")
    options = parser.parse_args()
    if not (options.program and options.bare):
        build()
    server = postgres.Postgres(fsync=True) if postgres.programs() else None
    bench = Bench(options.program or ROOT / "build" / "mer" / "bin" / "mer-migrate",
                  options.bare or RELEASE / "bench" / "bare_migrate", options.runs, server)
    try:
        bench.work([int(n) for n in options.n.split(",")])
    finally:
        bench.close()
        if server:
            server.close()


if __name__ == "__main__":
    main()
