#!/usr/bin/python3
"""Several runs at a time: run --lines --jobs, workers that take more than one request, several workers of
a model, and what one run's end means to the others. As in test_faults nothing is left behind.

MER_PREFIX names the installation. Prints TAP when run as a program."""
import json
import os
import signal
import sys
import unittest

import test_faults
from test_faults import DEADLINE_S, FLAT_KIB, MEASURE, MER, MIB, SCRIPTS, each
from test_frame import FRAMES

# Takes requests until none has come for a moment, then answers them, the last first: with how many
# there were and its input.
GATHER = """#!/usr/bin/python3 -uIS
{frames}
import select
wire = Wire()
wire.ready(concurrency={concurrency})
while True:
    held = [wire.request()]
    while select.select([wire.source], [], [], 0.1)[0]:
        held.append(wire.request())
    for number, data in reversed(held):
        wire.answer(number, b"%d %s" % (len(held), data))
"""

# Answers each request on a thread of its own as its input says: echo, hang until it is cancelled, wait for
# a file, fail, or die.
THREADS = """#!/usr/bin/python3 -uIS
{frames}
import threading, time
from pathlib import Path
home, wire, lock, given_up = Path(os.environ["HOME"]), Wire(), threading.Lock(), {{}}

def reply(number, data):
    word = data.split()[0]
    if word == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == b"hang":
        (home / data.split()[1].decode()).touch()
        given_up[number].wait()
    if word == b"gate":
        (home / "gate").touch()
        while not (home / "open").exists():
            time.sleep(0.01)
    if word == b"frail":
        (home / "frail").touch()
        given_up[number].wait()
        os._exit(3)
    if word == b"stubborn":
        (home / "stubborn").touch()
        threading.Event().wait()
    with lock:
        if word == b"fail":
            wire.send(ERROR, number, {{"code": "model", "message": "on purpose"}})
        elif given_up[number].is_set():
            wire.send(ERROR, number, {{"code": "cancelled", "message": "given up"}})
        else:
            wire.answer(number, data)

wire.ready(concurrency={concurrency})
while True:
    kind, number, _, _, data = wire.next()
    if kind == INFER:
        given_up[number] = threading.Event()
        threading.Thread(target=reply, args=(number, data), daemon=True).start()
    elif kind == CANCEL:
        given_up[number].set()
    elif kind == DRAIN:
        os._exit(0)
"""

# Answers the first when it has answered as many others as that one's input says, or when none has come for
# {moment} seconds (None: however long that takes): with how many there were. The others' inputs say how many
# letters they get.
FIRST_IS_LAST = """#!/usr/bin/python3 -uIS
{frames}
import select
wire = Wire()
wire.ready(concurrency={concurrency})
first, others = wire.request()
n = 0
while n < int(others) and select.select([wire.source], [], [], {moment})[0]:
    number, data = wire.request()
    n += 1
    wire.answer(number, b"x" * int(data))
wire.answer(first, b"%d" % n)
while True:
    number, data = wire.request()
    wire.answer(number, b"x" * int(data))
"""

# Dies when it has taken all that it may; the next one answers: with the input, and which one it was.
AGAIN = """#!/usr/bin/python3 -uIS
{frames}
from pathlib import Path
wire, died, n = Wire(), Path(os.environ["HOME"], "died"), 0
wire.ready(concurrency={concurrency})
if not died.exists():
    for _ in range({concurrency}):
        wire.request()
    died.touch()
    os._exit(3)
while True:
    number, data = wire.request()
    n += 1
    wire.answer(number, b"%s %d" % (data, n))
"""

# Takes {n} requests and reads no further until its home has "go"; then answers them, and each one that comes.
READS_LATER = """#!/usr/bin/python3 -uIS
{frames}
import time
from pathlib import Path
wire, home = Wire(), Path(os.environ["HOME"])
wire.ready(concurrency={concurrency})
held = [wire.request()[0] for _ in range({concurrency} - 1)]
while not (home / "go").exists():
    time.sleep(0.01)
for number in held:
    wire.answer(number, b"late")
while True:
    kind, number, _, _, _ = wire.next()
    if kind == INFER:
        wire.answer(number, b"%d" % os.getpid())
    elif kind == DRAIN:
        break
"""

# Waits until as many have come as the input says.
MEET = """: >"$HOME/$$.$input"
while [ "$(ls "$HOME" | grep -c '\\.')" -lt {n} ]; do sleep 0.01; done
echo "$$"
"""


class Jobs(test_faults.Case):
    def frame(self, text, concurrency, name="m", options=(), **columns):
        program = text.format(frames=FRAMES, concurrency=concurrency)
        self.add(name, self.script(program, name), options=("--protocol", "frame", *options))
        self.change(**columns)

    def change(self, **columns):
        with self.connect(write=True) as db:
            for name, value in columns.items():
                db.execute(f"UPDATE deployments SET {name} = ? "
                           "WHERE model_uid = (SELECT uid FROM models WHERE name = 'm')", (value,))

    def lines(self, jobs, *lines, options=(), **more):
        return self.mer("run", "--lines", "--jobs", jobs, *options, "m", self.lines_file(*lines),
                        out=None, **more).decode().splitlines()

    # --- how many ---

    @each({"one": (1, 8, 1), "three": (3, 8, 3), "as_the_worker_takes": (8, 2, 2), "many": (64, 64, 40)})
    def open_at_a_time(self, jobs, concurrency, most):
        """Never more than --jobs or the worker allow, and as many as both do; answers in order."""
        self.frame(GATHER, concurrency)
        lines = [f"line{i}" for i in range(40)]
        got = [line.split() for line in self.lines(jobs, *lines)]
        self.assertEqual([word for _, word in got], lines)
        self.assertEqual(max(int(n) for n, _ in got), most)
        self.assertEqual(self.statuses(), ["ok"] * 40)
        if most in (1, 40):  # what a worker used while it had several runs is not one run's
            self.assertEqual({row["cpu_us"] is None for row in self.rows()}, {most > 1})

    @each({"once": ("once",), "token": ("token",)})
    def several_processes(self, protocol):
        self.model(protocol, MEET.format(n=3))
        self.change(max_workers=3)
        got = self.lines(3, "a", "b", "c")
        self.assertEqual(len(set(got)), 3, "they did not run side by side")
        self.assertEqual(self.statuses(), ["ok"] * 3)

    def test_no_more_workers_than_allowed(self):
        self.model("token", 'echo "$$"')
        self.change(max_workers=2)
        self.assertLessEqual(len(set(self.lines(8, *"abcdefghijklmnop"))), 2)

    def test_a_start_that_hangs(self):
        """Who waits for it goes to a worker that is ready and free."""
        text = SCRIPTS["token"].replace("{before}", 'mkdir "$HOME/first" || exec sleep 1000')
        self.add("m", self.script(text.replace("{answer}", 'echo "$input"')), options=("--protocol", "token"))
        self.change(max_workers=2)
        self.assertEqual(self.lines(2, *"abcdef"), list("abcdef"))

    def test_no_more_workers_whatever_the_way(self):
        self.model("token", 'echo "$input"')
        ways = ["m 1", "--server local m 2", "--session s m 3", "m 4", "--server local m 5"]
        words = [word for way in ways for word in ("-c", f"run {way}")]
        process = self.start("--log", "meal=debug", "--keep-going", *words)
        out, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out), (2, b"1\n2\n4\n5\n"), err)
        self.one_at_a_time(err)

    def one_at_a_time(self, log):
        """How many workers were let go, each once the one before was told to leave."""
        there, n = set(), 0
        for line in log.decode().splitlines():
            what, worker = (line.split() + [""] * 4)[2:4]
            if what == "go":
                self.assertEqual(there, set(), log)
                there.add(worker)
                n += 1
            elif what == "end":
                there.discard(worker)
        return n

    @each({
        "alone": ([], 0, 1),
        "again": (["model ping m"], 0, 1),
        "beside_another_way": (["run --server local m x"], 0, 1),
        "beside_a_session": (["run --session s m x"], 0, 1),
        "beside_other_weights": (["run --weights 1 m x"], 0, 2),
        "beside_a_session_of_other_weights": (["run --session s --weights 1 m x"], 8, 1),
    })
    def pings_keep_to_the_limit(self, before, code, workers):
        """A worker that is warm is ready; where there may be no other, an idle one leaves for the ping."""
        self.model("token", 'echo "$input"', "--stateful")
        for version in "12":
            path = self.top / version
            path.write_text(version)
            self.mer("--allow-changes", "weights", "add", "m", path, "--version", version, out=None)
        self.mer("--allow-changes", "weights", "use", "m", "2", out=None)
        words = [word for line in (*before, "model ping m") for word in ("-c", line)]
        process = self.start("--log", "meal=debug", *words)
        out, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, code, err)
        self.assertEqual(b"m on local: ready in" in out, code == 0, out)
        self.assertEqual(b"model 'm' is busy: all of its workers are in use" in err, code == 8, err)
        self.assertEqual(self.one_at_a_time(err), workers)

    def test_one_after_another_without_jobs(self):
        self.frame(GATHER, 8)
        got = self.mer("run", "--lines", "m", self.lines_file(*"abc"), out=None)
        self.assertEqual(got, b"1 a\n1 b\n1 c\n")

    def test_jobs_without_lines(self):
        self.frame(GATHER, 8)
        self.mer("run", "--jobs", "2", "m", "x", code=2, says="--jobs")
        self.assertEqual(self.statuses(), [])

    def test_memory_is_flat(self):
        """Answers that come before their turn are kept on disk."""
        self.frame(GATHER.replace('b"%d %s" % (len(held), data)', "bytes(1 << 20)"), 32)
        peak = self.top / "peak"
        process = self.start("-c", MEASURE, peak, MER, "run", "--lines", "--jobs", "32", "--raw", "m",
                             self.lines_file(*map(str, range(128))), program=sys.executable,
                             stdout=os.open(os.devnull, os.O_WRONLY))
        _, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, err), (0, b""))
        self.assertLess(int(peak.read_text()), FLAT_KIB)

    # --- what is kept until it is its turn ---

    def behind_the_first(self, n, size, jobs=2, wait=None, moment=None, before=(), options=("--raw",)):
        """The first of n + 1 lines is answered when the others are, or as many as may be. Gives the process."""
        self.frame(FIRST_IS_LAST.replace("{moment}", str(moment)), jobs)
        lines = self.lines_file(str(wait or n), *[str(size)] * n)
        self.before = [*before, "/usr/bin/python3", "-ISc", MEASURE, self.top / "peak"]
        process = self.start("run", "--lines", "--jobs", jobs, *options, "m", lines)
        self.before = []
        return process

    def test_kept_in_few_files(self):
        """Each of them is longer than what is kept in memory once was."""
        process = self.behind_the_first(300, 70000, before=("/usr/bin/prlimit", "--nofile=128"))
        self.finish(process, out=b"300\n" + (b"x" * 70000 + b"\n") * 300)

    def test_kept_in_little_memory(self):
        """However many, and each short enough for it."""
        process = self.behind_the_first(2040, 65000)
        self.finish(process, out=b"2040\n" + (b"x" * 65000 + b"\n") * 2040)
        self.assertLess(int((self.top / "peak").read_text()), FLAT_KIB)

    @each({"as_it_is": ("--raw",), "objects": ("--jsonl",), "whole": ("--keep-going",), "unrecorded": ("--no-record",)})
    def kept_up_to_a_bound(self, option):
        """Then no more are started before the first is answered."""
        process = self.behind_the_first(160, 4 * MIB, wait=1000, moment=1, options=(option,))
        out = process.stdout.readline()
        started = int(json.loads(out)["output"] if option == "--jsonl" else out)
        self.assertLess(started, 80)
        size = len(out)
        while piece := process.stdout.read1(MIB):
            size += len(piece)
        self.finish(process, out=None)
        self.assertGreater(size, 160 * 4 * MIB)
        self.assertEqual(self.statuses(), [] if option == "--no-record" else ["ok"] * 161)
        self.assertLess(int((self.top / "peak").read_text()), FLAT_KIB)

    @each({"as_it_is": ("--raw",), "objects": ("--jsonl",), "whole": ("--keep-going",)})
    def nowhere_to_keep(self, option):
        """Whose line it is is said."""
        self.small_disk(self.temp)
        process = self.behind_the_first(10, MIB, options=(option,))
        self.finish(process, 70, out=None, says=r"line \d+: cannot write .*No space left")

    # --- what one means to the others ---

    def test_one_fails(self):
        """The first failure in order ends it: what was before it is answered."""
        self.model("once", 'case $input in bad) exit 3 ;; *) echo "$input" ;; esac')
        got = self.lines(4, "a", "b", "bad", "c", "d", "e", "f", code=1, says="line 3")
        self.assertEqual(got, ["a", "b"])
        self.assertEqual(self.statuses().count("failed"), 1)

    def fails_behind_a_gate(self, *behind):
        """Line 1 is answered when line 2 has failed, and its row says so."""
        process = self.start("run", "--lines", "--jobs", "3", "m", self.lines_file("gate", *behind))
        self.wait("the failure", lambda: "failed" in self.statuses())
        (self.home / "open").touch()
        self.finish(process, 1, out=b"gate\n", says="line 2.*on purpose")

    def test_a_failure_waits_for_its_turn(self):
        """What is open behind it goes on until then: its worker is that of lines before, too."""
        self.frame(THREADS, 3)
        self.fails_behind_a_gate("fail", "frail")
        self.assertEqual(sorted(self.statuses())[1:], ["failed", "ok"])

    def test_nothing_is_sent_behind_a_failure(self):
        """Though more of the input could be read ahead by then."""
        self.frame(THREADS, 2)
        self.fails_behind_a_gate("fail", *["x" * 40000] * 300)
        self.assertEqual([self.statuses().count(status) for status in ("ok", "failed")], [1, 1])

    @each({"one": ("1",), "several": ("4",)})
    def nowhere_to_write(self, jobs):
        self.frame(THREADS, 4)
        with open("/dev/full", "wb") as full:
            process = self.start("run", "--lines", "--jobs", jobs, "m",
                                 self.lines_file(*map(str, range(3000))), stdout=full)
            _, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 70, err)
        self.assertEqual(err.count(b"\n"), 1, err)
        self.assertIn(b"cannot write stdout", err)

    def test_keep_going(self):
        self.frame(THREADS, 4)
        lines = ["a", "b", "die", "c", "d"]
        got = self.lines(1, *lines, options=("--keep-going",), code=1, says="line 3.*SIGKILL")
        self.assertEqual(got, ["a", "b", "", "c", "d"])

    def test_a_crash_takes_only_its_worker(self):
        """Of three workers one dies; what the others have goes on."""
        self.model("token", MEET.format(n=3) + '[ "$input" != die ] || kill -9 $$')
        self.change(max_workers=3)
        got = self.lines(3, "a", "die", "b", options=("--keep-going",), code=1, says="line 2.*SIGKILL")
        self.assertEqual([bool(line) for line in got], [True, False, True])
        self.assertEqual(sorted(self.statuses()), ["failed", "ok", "ok"])

    def test_a_crash_takes_what_is_open(self):
        self.frame(THREADS, 4)
        process = self.start("run", "--lines", "--jobs", "3", "--keep-going", "m",
                             self.lines_file("hang x", "hang y", "die"))
        out, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out), (1, b"\n\n\n"))
        self.assertEqual(err.count(b"SIGKILL"), 3, err)
        self.assertEqual(self.statuses(), ["failed"] * 3)

    def test_a_crash_keeps_their_order(self):
        """Those that are sent once more are sent as they were: all that is kept may wait for the first."""
        self.frame(AGAIN, 3, options=("--retries", "1"))
        self.assertEqual(self.lines(3, *"abc"), ["a 1", "b 2", "c 3"])

    def test_a_deadline_ends_one(self):
        """Its worker gives up that run and answers the others."""
        self.frame(THREADS, 2)
        got = self.lines(2, "hang x", "a", "b", "c", code=7, says="line 1.*no answer within",
                         options=("--keep-going", "--timeout", "500ms"))
        self.assertEqual(got, ["", "a", "b", "c"])
        self.assertEqual(sorted(self.statuses()), ["ok", "ok", "ok", "timeout"])

    @each({"some": (41,), "all": (64,)})
    def cancels_that_wait_to_be_read(self, n):
        """Behind a long input: whoever answers meanwhile what it has read is no worker that does not read."""
        self.frame(READS_LATER, n)
        lines = self.lines_file(*["short"] * (n - 1), "x" * 8 * MIB, "last")
        process = self.start("--log", "meal=debug", "run", "--lines", "--keep-going", "--jobs", n, "--timeout", "2s",
                             "m", lines)
        log = b""
        while log.count(b" cancel worker") < n:
            log += process.stderr.readline()
        (self.home / "go").touch()
        out, rest = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out[:n]), (7, b"\n" * n), rest[-2000:])
        self.assertRegex(out[n:], rb"\A\d+\n\Z")
        self.assertEqual((log + rest).count(b" go worker"), 1)
        self.assertEqual(sorted(self.statuses()), ["ok"] + ["timeout"] * n)

    def test_one_that_is_not_given_up(self):
        """Then the worker has to go, and takes others with it; those say whose fault it is."""
        self.frame(THREADS, 2)
        process = self.start("run", "--lines", "--jobs", "2", "--keep-going", "--timeout", "1s", "m",
                             self.lines_file("stubborn", "a"))
        out, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out), (7, b"\na\n"), err)
        self.assertEqual(sorted(self.statuses()), ["ok", "timeout"])

    def test_time_to_leave(self):
        """One that does not give up a run hears of it before it is killed, and has not crashed."""
        bye = """def bye(*_):
    (home / f"bye.{{os.getpid()}}").touch()
    os._exit(0)
signal.signal(signal.SIGTERM, bye)
wire.ready("""
        self.frame(THREADS.replace("wire.ready(", bye), 1)
        process = self.start("run", "--lines", "--keep-going", "--timeout", "300ms", "m",
                             self.lines_file(*["stubborn"] * 3))
        out, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out, err.count(b"\n")), (7, b"\n" * 3, 3), err)
        self.assertEqual(len(list(self.home.glob("bye.*"))), 3)

    def test_interrupted(self):
        self.frame(THREADS, 3)
        process = self.start("run", "--lines", "--jobs", "3", "m", self.lines_file("hang x", "hang y", "hang z"))
        for name in "xyz":
            self.wait_here(name)
        process.send_signal(signal.SIGINT)
        self.finish(process, 130, says="line 1.*cancelled")
        self.assertEqual(self.statuses(), ["cancelled"] * 3)

    def test_killed(self):
        self.frame(THREADS, 3)
        process = self.start("run", "--lines", "--jobs", "3", "m", self.lines_file("hang x", "hang y", "hang z"))
        for name in "xyz":
            self.wait_here(name)
        process.kill()
        process.wait()
        self.check_gone()
        self.mer("log", out=None)
        self.assertEqual(self.statuses(), ["lost"] * 3)

    # --- sessions ---

    COUNT = 'n=$((n + 1)); [ "$input" != die ] || kill -9 $$; echo "$n"'

    def stateful(self, **columns):
        self.model("token", self.COUNT, "--stateful", before="n=0")
        self.change(**columns)

    def session_runs(self, *runs, **more):
        words = [word for run in runs for word in ("-c", f"run {run}")]
        return self.mer("--keep-going", *words, out=None, **more).decode().split()

    def test_sessions(self):
        """Each has a worker of its own, which has seen its earlier runs and no others."""
        self.stateful(max_workers=3)
        self.assertEqual(self.session_runs(
            "--session a m x", "--session b m x", "--session a m x", "m x", "--session b m x",
            "--session a m x"), ["1", "1", "2", "1", "2", "3"])

    def test_a_session_is_in_order(self):
        self.stateful(max_workers=2)
        got = self.lines(4, *"abcdef", options=("--session", "s"))
        self.assertEqual(got, ["1", "2", "3", "4", "5", "6"])

    def test_a_session_makes_room(self):
        """Without a session the model's idle worker gives way; its state is nobody's."""
        self.stateful(max_workers=1)
        self.assertEqual(self.session_runs("m x", "m x", "--session a m x", "--session a m x"),
                         ["1", "2", "1", "2"])

    def test_sessions_hold_all(self):
        """Nobody waits unawares until a session's worker has been idle for long enough."""
        self.stateful(max_workers=1)
        words = [word for run in ("--session a m x", "--session b m x", "m x", "--session a m x")
                 for word in ("-c", f"run {run}")]
        process = self.start("--keep-going", *words)
        out, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out), (8, b"1\n2\n"))
        self.assertEqual(err.count(b"sessions hold all of its workers"), 2, err)
        self.assertEqual(sorted(self.statuses()), ["ok", "ok", "rejected", "rejected"])

    def test_a_session_that_is_lost(self):
        self.stateful(max_workers=1)
        words = [word for run in ("x", "die", "x") for word in ("-c", f"run --session a m {run}")]
        process = self.start("--keep-going", *words)
        out, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out), (1, b"1\n1\n"))
        self.assertRegex(err, rb"session 'a' of model 'm' begins anew")

    def test_a_process_a_run_has_none(self):
        self.mer("--allow-changes", "model", "add", "m", "--stateful", "--", "cat", code=2, says="--stateful")

    def test_a_model_without_sessions(self):
        self.model("token", "echo x")
        self.mer("run", "--session", "a", "m", "x", code=2, out=b"", says="no sessions")
        self.one_row("rejected")

    # --- crash loops ---

    def test_starts_are_slowed_down(self):
        """A worker that dies at each start is not started without end; said once."""
        self.add("m", self.script("#!/bin/sh\n: >\"$(mktemp \"$HOME/start.XXXXXX\")\"\nexit 1\n"),
                 options=("--protocol", "token"))
        process = self.start("run", "--lines", "--keep-going", "m", self.lines_file(*"abcdef"))
        out, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out), (6, b"\n" * 6))
        self.assertEqual(err.count(b"slowed down"), 1, err)
        self.assertEqual(len(list(self.home.glob("start.*"))), 6)

    def test_a_worker_that_answers_is_not(self):
        self.frame(THREADS, 1)
        lines = ["a", "die"] * 5
        process = self.start("run", "--lines", "--keep-going", "m", self.lines_file(*lines))
        out, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual((process.returncode, out), (1, b"a\n\n" * 5))
        self.assertNotIn(b"slowed down", err)


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Jobs)
    sys.exit(not runner.run(suite).wasSuccessful())
