#!/usr/bin/python3
"""What MER costs, as ratios to what the machine allows, measured in one run.

    bench/bench.py [--runs N] [--lines N] [--only NAME,...]

Builds build/release, then compares, each pair in turn (A B A B ...), so that a drifting machine
drifts for both:

  oneshot   `mer run` of a C program, recorded, against posix_spawn and two pipes
  start     `mer version` and `mer model list` against `sqlite3 DB 'select ...'`
  prompt    from the start to the first prompt, against the sqlite3 shell's; and TAB, where the names
            of 10,000 models may follow, to what it writes
  warm      `mer run --lines` over a token worker against a C program that drives the same worker
            over raw pipes and records nothing; that one unplaced and on one core
  frame     the same over a frame worker that echoes, with lines of 64 bytes and of 1 MiB
  records   10,000 lines with records against the same without, on one core, and of a model that takes
            a millisecond
  jobs      lines a second with 1, 2, 4, 8 workers of a model that takes a millisecond, and jobs
  history   one run and `mer log` with a million runs in the log, against the same with none
  export    a million runs as JSON Lines, CSV and plain text, against `sqlite3 -json`, -csv and -list of
            the same rows
  memory    peak memory of mer over 100,000 lines
  postgres  `mer model list` on a Postgres server of its own against `psql -c 'select 1'`, and what
            recording costs there: one run and a stream, against the same on SQLite

Prints medians with [min max]. A ratio is taken pair by pair. Nothing is judged by absolute time.
"""
import argparse
import os
import pty
import resource
import select
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import postgres

BUILD = os.path.join(ROOT, "build", "release")
MER = os.path.join(ROOT, "build", "mer", "bin", "mer")
BARE = os.path.join(BUILD, "bench", "bare")
UPPER = os.path.join(BUILD, "bench", "upper")
ECHO = os.path.join(BUILD, "bench", "echo")
MOMENTS = os.path.join(ROOT, "build", "mer", "lib", "mer", "models", "moments", "moments")
SQLITE = "/usr/bin/sqlite3"


MEASURE = """import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
sys.stderr.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def build():
    subprocess.run([os.path.join(ROOT, "scripts", "startMER.sh"), "version"], check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run(["meson", "compile", "-C", BUILD, "bare", "echo", "upper"], check=True,
                   stdout=subprocess.DEVNULL)


def once(argv, env, stdin=os.devnull):
    """Runs argv to its end; seconds it took and its peak memory in KiB."""
    files = [(os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0),
             (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    begin = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, env, file_actions=files)
    _, status, usage = os.wait4(pid, 0)
    took = time.perf_counter() - begin
    if status != 0:
        sys.exit(f"bench: {' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
    return took, usage.ru_maxrss


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f} {max(values):.{digits}f}]"


def pairs(a, b, runs):
    """Seconds of a and b in turn, after one warm-up each."""
    a(), b()
    times = [(a(), b()) for _ in range(runs)]
    return [t[0] for t in times], [t[1] for t in times]


def ms(values):
    return [v * 1e3 for v in values]


def ratio(a, b):
    return [x / y for x, y in zip(a, b)]


def bench_oneshot(env, args, work):
    text = os.path.join(work, "text")
    with open(text, "w", encoding="ascii") as f:
        f.write("some text to shout\n")
    runs = args.runs * 10
    mer, bare = pairs(lambda: once([MER, "run", "upper", "@" + text], env)[0],
                      lambda: once([BARE, "once", UPPER], env, text)[0], runs)
    print(f"oneshot  mer run {spread(ms(mer))} ms, bare {spread(ms(bare))} ms, "
          f"more by {statistics.median(ms(mer)) - statistics.median(ms(bare)):.2f} ms "
          f"(wanted: at most 2)  n={runs}")


def bench_start(env, args, _work):
    database = os.path.join(env["XDG_STATE_HOME"], "mer", "mer.db")
    for words in (["version"], ["model", "list"]):
        mer, sql = pairs(lambda: once([MER, *words], env)[0],
                         lambda: once([SQLITE, database, "select name from models"], env)[0],
                         args.runs * 10)
        print(f"start    mer {' '.join(words)} {spread(ms(mer))} ms, sqlite3 {spread(ms(sql))} ms, "
              f"ratio {spread(ratio(mer, sql))} (wanted: at most 1.5)")


def read_until(fd, want):
    """What a terminal shows, until it shows that."""
    shown = b""
    while want not in shown:
        if not select.select([fd], [], [], 60)[0]:
            sys.exit(f"bench: no {want} on the terminal, but {shown[-200:]}")
        shown += os.read(fd, 65536)
    return shown


def on_terminal(argv, env, prompt, use=lambda fd: None):
    """Seconds from the start of argv on a terminal to its prompt; then use(), then its end."""
    begin = time.perf_counter()
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, env)
    read_until(fd, prompt)
    took = time.perf_counter() - begin
    use(fd)
    os.write(fd, b"\x04")
    os.waitpid(pid, 0)
    os.close(fd)
    return took


def complete(fd, typed, want):
    """Seconds from a TAB to what it writes; then the line is cleared."""
    os.write(fd, typed)
    read_until(fd, typed[-4:])
    begin = time.perf_counter()
    os.write(fd, b"\t")
    read_until(fd, want)
    took = time.perf_counter() - begin
    os.write(fd, b"\x01\x0b")  # what was typed is cut
    return took


def bench_prompt(env, args, _work):
    env = env | {"TERM": "xterm"}
    database = os.path.join(env["XDG_STATE_HOME"], "mer", "mer.db")
    mer, sql = pairs(lambda: on_terminal([MER], env, b"mer> "),
                     lambda: on_terminal([SQLITE, database], env, b"sqlite> "), args.runs * 10)
    print(f"prompt   mer {spread(ms(mer))} ms, sqlite3 {spread(ms(sql))} ms, "
          f"ratio {spread(ratio(mer, sql))} (wanted: under 2)")
    with sqlite3.connect(database) as models:
        models.executemany("INSERT INTO models (uid, name) VALUES (?, ?)",
                           ((str(uuid.uuid4()), f"model-{i:05}") for i in range(10000)))
    models.close()
    first, again = [], []

    def use(fd):
        first.append(complete(fd, b"run model-01234", b" "))
        for i in range(20):
            again.append(complete(fd, b"run model-0%03d" % (i + 100), b"\a"))  # ten that begin so

    for _ in range(args.runs):
        on_terminal([MER], env, b"mer> ", use)
    print(f"prompt   a TAB over 10,000 models {spread(ms(again))} ms, the first one "
          f"{spread(ms(first))} ms (wanted: under 50)")
    with sqlite3.connect(database) as models:
        models.execute("DELETE FROM models WHERE name LIKE 'model-%'")
    models.close()


def bench_warm(env, args, work):
    text = os.path.join(work, "lines")
    with open(text, "w", encoding="ascii") as f:
        for i in range(args.lines):
            f.write(f"{i % 97} {i % 89} {i % 83}\n")
    one_core = ["/usr/bin/taskset", "-c", "0"]
    mer_argv = [MER, "run", "--lines", "moments", "@" + text]
    bare_argv = [BARE, "token", MOMENTS]
    mer, bare, pinned = [], [], []
    for i in range(args.runs + 1):
        row = (once(mer_argv, env)[0], once(bare_argv, env, text)[0],
               once(one_core + bare_argv, env, text)[0])
        if i > 0:
            mer.append(row[0]), bare.append(row[1]), pinned.append(row[2])
    us = [[v / args.lines * 1e6 for v in values] for values in (mer, bare, pinned)]
    print(f"warm     mer {spread(us[0], 1)} us a line, bare {spread(us[1], 1)}, bare on one core "
          f"{spread(us[2], 1)}")
    print(f"warm     ratio to bare {spread(ratio(mer, bare))} (wanted: at most 0.5), to bare on one "
          f"core {spread(ratio(mer, pinned))} (wanted: at most 1.8)  n={args.runs}")


def bench_frame(env, args, work):
    subprocess.run([MER, "--allow-changes", "model", "add", "echo", "--protocol", "frame", "--", ECHO],
                   env=env, check=True)
    one_core = ["/usr/bin/taskset", "-c", "0"]
    for size, count, wanted in ((64, args.lines, 1.8), (1 << 20, max(args.lines // 100, 1), 1.3)):
        text = os.path.join(work, f"lines_of_{size}")
        with open(text, "w", encoding="ascii") as f:
            for i in range(count):
                f.write(f"{i:0{size - 1}}\n")
        bare_argv = [BARE, "frame", ECHO]
        words = ["run", "--lines", "echo", "@" + text]
        argvs = ([MER, *words], [MER, *words, "--no-record"])
        rows = []
        for i in range(args.runs + 1):
            row = [once(argv, env)[0] for argv in argvs]
            row += [once(bare_argv, env, text)[0], once(one_core + bare_argv, env, text)[0]]
            if i > 0:
                rows.append([v / count * 1e6 for v in row])
        mer, plain, bare, pinned = ([row[k] for row in rows] for k in range(4))
        print(f"frame    {size} bytes: mer {spread(mer, 1)} us a line, --no-record {spread(plain, 1)}, "
              f"bare {spread(bare, 1)}, bare on one core {spread(pinned, 1)}")
        print(f"frame    {size} bytes: ratio to bare {spread(ratio(mer, bare))}, to bare on one core "
              f"{spread(ratio(mer, pinned))} (wanted: at most {wanted}, placed alike)  n={args.runs}")


def add_echo(env, name, *argv, workers=1):
    subprocess.run([MER, "--allow-changes", "model", "add", name, "--protocol", "frame",
                    "--max-workers", str(workers), "--", ECHO, *argv], env=env, check=True)


def numbered(work, count):
    text = os.path.join(work, f"numbers{count}")
    with open(text, "w", encoding="ascii") as f:
        f.writelines(f"{i:063}\n" for i in range(count))
    return "@" + text


def bench_records(env, args, work):
    add_echo(env, "quick")
    add_echo(env, "slow", "1000")
    lines = numbered(work, 10000)
    for what, before, name, wanted in (("on one core", ["/usr/bin/taskset", "-c", "0"], "quick", 1.8),
                                       ("of 1 ms", [], "slow", 1.1)):
        argv = [*before, MER, "run", "--lines", name, lines]
        mer, plain = pairs(lambda: once(argv, env)[0], lambda: once([*argv, "--no-record"], env)[0],
                           args.runs)
        print(f"records  10,000 runs {what}: {spread(ms(mer), 0)} ms, without records "
              f"{spread(ms(plain), 0)} ms, ratio {spread(ratio(mer, plain))} (wanted: at most {wanted})")


def bench_jobs(env, args, work):
    lines = numbered(work, 4000)
    base = None
    for n in (1, 2, 4, 8):
        add_echo(env, f"workers{n}", "1000", workers=n)
        argv = [MER, "run", "--lines", "--jobs", str(n), f"workers{n}", lines]
        rates = [4000 / once(argv, env)[0] for _ in range(args.runs)]
        base = base or statistics.median(rates)
        print(f"jobs     {n} workers of 1 ms: {spread(rates, 0)} lines a second, "
              f"{statistics.median(rates) / base:.2f} times one")


def million_runs(work):
    """An environment with rows as mer writes them, copied: all of one run, but for their uids and times."""
    there = {"PATH": os.environ["PATH"], "HOME": work, "XDG_STATE_HOME": os.path.join(work, "old"),
             "XDG_DATA_HOME": work, "LANG": "C.UTF-8", "USER": "bench"}
    if os.path.exists(there["XDG_STATE_HOME"]):
        return there
    subprocess.run([MER + "-migrate", "up", "--quiet"], env=there, check=True)
    add_upper(there)
    once([MER, "run", "upper", "x"], there)
    with sqlite3.connect(os.path.join(there["XDG_STATE_HOME"], "mer", "mer.db")) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(model_access)")]
        uid = "printf('%s%012x', substr(request_uid, 1, 24), n)"
        values = ", ".join(uid if name == "request_uid" else name for name in columns)
        db.execute("WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers "
                   f"WHERE n < 1000000) INSERT INTO model_access ({', '.join(columns)}) "
                   f"SELECT {values} FROM model_access, numbers")
    return there


def bench_export(_env, args, work):
    there = million_runs(work)
    database = os.path.join(there["XDG_STATE_HOME"], "mer", "mer.db")
    for what, words, theirs in (("JSON Lines", ["log", "export"], "-json"), ("CSV", ["log", "export", "--format", "csv"], "-csv"),
                                ("plain", ["--plain", "log", "--limit", "2000000"], "-list")):
        mer, sql = pairs(lambda: once([MER, *words], there)[0],
                         lambda: once([SQLITE, theirs, database, "select * from model_access"], there)[0], args.runs)
        print(f"export   a million runs as {what}: {spread(mer)} s, sqlite3 {theirs} {spread(sql)} s, ratio "
              f"{spread(ratio(mer, sql))} (wanted: at most 1)")


def bench_history(env, args, work):
    there = million_runs(work)
    for words in (["run", "upper", "x"], ["log"], ["log", "--model", "upper", "--status", "failed"]):
        old, new = pairs(lambda: once([MER, *words], there)[0], lambda: once([MER, *words], env)[0],
                         args.runs * 5)
        print(f"history  mer {' '.join(words)} with a million runs {spread(ms(old))} ms, with few "
              f"{spread(ms(new))} ms, ratio {spread(ratio(old, new))}")


def bench_memory(env, _args, work):
    peaks = []
    for count in (1000, 100000):
        text = os.path.join(work, f"lines{count}")
        with open(text, "w", encoding="ascii") as f:
            f.writelines(f"{i} {i + 1}\n" for i in range(count))
        # By a small program, since a child counts the pages of its parent until it execs.
        got = subprocess.run([sys.executable, "-c", MEASURE, MER, "run", "--lines", "moments", "@" + text],
                             env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        peaks.append(int(got.stderr) / 1024)
    print(f"memory   peak {peaks[0]:.1f} MiB for 1,000 lines, {peaks[1]:.1f} MiB for 100,000 "
          f"(wanted: under 32, no growth)")


def add_upper(env):
    subprocess.run([MER, "--allow-changes", "model", "add", "upper", "--", UPPER], env=env,
                   check=True)


def bench_postgres(env, args, work):
    if postgres.programs() is None:
        print("postgres skipped: no server programs are installed")
        return
    psql = str(postgres.programs() / "psql")
    text = os.path.join(work, "text")
    lines = os.path.join(work, "few")
    with open(text, "w", encoding="ascii") as f:
        f.write("some text to shout\n")
    with open(lines, "w", encoding="ascii") as f:
        f.writelines(f"{i} {i + 1}\n" for i in range(args.lines))
    with postgres.Postgres(fsync=True) as server:
        url = server.new_database()
        there = {**env, "MER_DATABASE_URL": url}
        subprocess.run([MER + "-migrate", "up", "--quiet"], env=there, check=True)
        add_upper(there)
        mer, sql = pairs(lambda: once([MER, "model", "list"], there)[0],
                         lambda: once([psql, url, "-c", "select 1"], there)[0], args.runs * 10)
        print(f"postgres mer model list {spread(ms(mer))} ms, psql {spread(ms(sql))} ms, ratio "
              f"{spread(ratio(mer, sql))} (wanted: at most 1.2)")
        one, lite = pairs(lambda: once([MER, "run", "upper", "@" + text], there)[0],
                          lambda: once([MER, "run", "upper", "@" + text], env)[0], args.runs * 10)
        print(f"postgres mer run {spread(ms(one))} ms, on SQLite {spread(ms(lite))} ms")
        stream = [MER, "run", "--lines", "moments", "@" + lines]
        many, few = pairs(lambda: once(stream, there)[0], lambda: once(stream, env)[0], args.runs)
        many, few = ([v / args.lines * 1e6 for v in values] for values in (many, few))
        print(f"postgres a line {spread(many, 1)} us, on SQLite {spread(few, 1)} us")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--lines", type=int, default=20000)
    parser.add_argument("--only", default="oneshot,start,prompt,warm,frame,records,"
                        "jobs,history,export,memory,postgres")
    args = parser.parse_args()
    build()
    work = tempfile.mkdtemp(prefix="mer-bench-")
    try:
        env = {"PATH": os.environ["PATH"], "HOME": work, "XDG_STATE_HOME": work,
               "XDG_DATA_HOME": work, "LANG": "C.UTF-8", "USER": "bench"}
        subprocess.run([MER + "-migrate", "up", "--quiet"], env=env, check=True)
        add_upper(env)
        for name in args.only.split(","):
            globals()["bench_" + name](env, args, work)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
