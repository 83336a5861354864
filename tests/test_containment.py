#!/usr/bin/python3
"""What a worker may take and what outlives it, on the programs as users get them: limits that are set,
kept and refused, nothing left of any tree whoever is killed, descriptors, environment, disks that are
full, clocks that jump. As in test_faults: mer says one line and ends with the code of its contract, the
run has one row with a status that is true, and nothing is left.

MER_PREFIX names the installation; the argument is the library clock_at. Prints TAP when run as a
program."""
import contextlib
import functools
import json
import os
import resource
import signal
import subprocess
import sys
import unittest
import uuid
from datetime import datetime
from pathlib import Path

import test_faults
from migrate_case import preloadable
from test_faults import DEADLINE_S, FLAT_KIB, MEASURE, MER, MIB, NOBODY, SANITIZED, each

CLOCK = preloadable(sys.argv.pop(1)) if len(sys.argv) > 1 and sys.argv[1].endswith(".so") else None
FRAMES = Path(__file__).with_name("frames.py").read_text(encoding="utf-8")
GIB = 1 << 30
KILLED = "supervisor|SIGKILL"

# What models are made of: a tree of processes, and signs of how far they are.
TOOLS = """#!/usr/bin/python3 -uIS
import os, resource, signal, sys, time
from pathlib import Path
home = Path(os.environ["HOME"])

def here(name="here"):
    (home / name).touch()

def wait(name):
    while not (home / name).exists(): time.sleep(0.001)

def hang():
    here()
    while True: time.sleep(1000)

def leaf():
    here("leaf%d" % os.getpid())
    while True: time.sleep(1000)

def child(*steps):
    if os.fork() == 0:
        for step in steps: step()
        leaf()

def again():
    if os.fork(): os._exit(0)

def stop():
    here("leaf%d" % os.getpid())
    os.kill(os.getpid(), signal.SIGSTOP)

def deaf():
    for number in {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
        signal.signal(number, signal.SIG_IGN)

def hop():
    here("leaf%d" % os.getpid())
    while True:
        if os.fork(): os._exit(0)
        os.setsid()

def family():
    steps = [(), (os.setsid,), (os.setsid, again), (os.setsid, deaf), (os.setsid, stop)]
    for each in steps: child(*each)
    while len(list(home.glob("leaf*"))) < len(steps): time.sleep(0.001)

def hoppers():
    for _ in range(4): child(os.setsid, hop)
    while len(list(home.glob("leaf*"))) < 4: time.sleep(0.001)

def spin():
    while True: pass

def open_all():
    n, kept = 0, []
    try:
        while n < 100: kept.append(open("/dev/null")); n += 1
    except OSError as error: return "%d %s" % (n, error.strerror)

def crowd():
    "As many as may be; how many that were."
    n = 0
    while n < 500:
        try:
            if os.fork() == 0: time.sleep(1000)
        except OSError: break
        n += 1
    return n

def hog(size=512 << 20):
    return len(b"x" * size)

def descriptors():
    found = []
    for n in range(1024):
        try: os.fstat(n)
        except OSError: continue
        found.append(n)
    return " ".join(map(str, found))
"""
PROTOCOLS = {
    "once": TOOLS + """
data = sys.stdin.buffer.read()
def answer(value): os.write(1, str(value).encode())
{answer}
""",
    "token": TOOLS + """
READY, START, STOP, EXIT = ("@!#%s#!@" % word for word in ("READY", "START", "STOP", "EXIT"))
def answer(value): print(value)
print(READY)
while True:
    line = sys.stdin.readline().rstrip("\\n")
    if line in (EXIT, ""): break
    if line == START: continue
    if line != STOP:
        data = line
        continue
    print(START)
    {answer}
    print(STOP)
""",
    "frame": TOOLS + FRAMES + """
wire = Wire()
wire.ready()
while True:
    number, data = wire.request()
    def answer(value): wire.answer(number, str(value).encode())
    {answer}
""",
}


def every(table):
    """Each row with each protocol."""
    return {f"{protocol}_{name}": (protocol, *row) for name, row in table.items()
            for protocol in PROTOCOLS}


def has_namespaces():
    words = ["unshare", "--pid", "--fork", *([] if os.geteuid() == 0 else ["--user"]), "true"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def with_namespaces(method):
    """Skips where nobody may have namespaces."""
    @functools.wraps(method)
    def test(self, *values):
        if not has_namespaces():
            self.skipTest("namespaces are not allowed here")
        method(self, *values)
    return test


class Case(test_faults.Case):
    def worker(self, protocol, answer, *limits, name="m", options=()):
        text = PROTOCOLS[protocol].replace("{answer}", answer)
        path = self.script(text, name)
        words = [word for limit in limits for word in ("--limit", limit)]
        self.add(name, path, options=("--protocol", protocol, *words, *options))

    def limits(self, name="m"):
        got = self.mer("--json", "model", "show", name, out=None)
        return json.loads(got)["deployments"][0]["limit"]

    def answer_of(self, protocol):
        """A line, for models that print."""
        got = self.mer("run", "m", "x", out=None).decode()
        return got.rstrip("\n") if protocol == "token" else got

    def become_another(self):
        """mer and its models run as a user who has no other processes."""
        if os.geteuid() != 0:
            self.skipTest("a user with nothing else running takes root")
        user = 1_100_000 + uuid.uuid4().int % 800_000
        for path in (self.top, *self.top.rglob("*")):
            os.chown(path, user, user)
        self.before = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return user


# --- what it may take ---------------------------------------------------------------------------


class Limits(Case):
    @each({
        "memory": ("memory", "512MiB", "12", "too little"), "cpu_time": ("cpu-time", "90m", "10ms", "too little"),
        "processes": ("processes", "64", "-1", "too little"), "files": ("open-files", "256", "x", "whole number"),
        "file_size": ("file-size", "1GiB", "1TB", "size"), "core": ("core-size", "1KiB", "-", "size"),
        "nice": ("nice", "-5", "20", "at most 19"), "cpus": ("cpus", "1.5", "1,5", "processors"),
        "few_cpus": ("cpus", "0.05", "0.009", "at least 0.01"), "isolate": ("isolate", "true", "maybe", "true or false"),
    })
    def is_kept(self, name, value, bad, says):
        """As it was written, until it is taken away; what is no limit changes nothing."""
        self.worker("once", "answer(1)", "nice=3", f"{name}={value}")
        before = {"nice": "3"} if name != "nice" else {}
        self.assertEqual(self.limits(), {**before, name: value})
        self.mer("--allow-changes", "model", "set", "m", f"limit={name}={bad}", code=2,
                 says=f"limit '{name}': .*{says}")
        self.assertEqual(self.limits(), {**before, name: value})
        self.mer("--allow-changes", "model", "set", "m", f"limit={name}")
        self.assertEqual(self.limits(), before)

    def test_no_such_limit(self):
        self.mer("--allow-changes", "model", "add", "m", "--limit", "mem=1GiB", "--", "true", code=2,
                 says="no such limit: 'mem'")
        self.mer("--allow-changes", "model", "add", "m", "--limit", "memory", "--", "true", code=2,
                 says="--limit: not NAME=VALUE")

    def test_odd_row(self):
        """Whatever was written into the database, a limit is never dropped without a word."""
        self.worker("once", "answer(1)", "nice=3")
        with self.connect(write=True) as db:
            db.execute("UPDATE deployments SET limits = '{\"memory\": \"much\"}' WHERE name = 'local' AND model_uid = "
                       "(SELECT uid FROM models WHERE name = 'm')")
        self.mer("run", "m", "x", code=2, says="limit 'memory': not a whole number")
        self.assertEqual(self.statuses(), ["rejected"] * len(self.rows()))

    @each(every({
        "cpu": ("cpu-time=1500ms", "RLIMIT_CPU", 2, 3), "files": ("open-files=64", "RLIMIT_NOFILE", 64, 64),
        "size": ("file-size=1MiB", "RLIMIT_FSIZE", MIB, MIB), "core": ("nice=1", "RLIMIT_CORE", 0, 0),
    }))
    def is_in_force(self, protocol, limit, name, soft, hard):
        self.worker(protocol, f"answer('%d %d' % resource.getrlimit(resource.{name}))", limit)
        self.assertEqual(self.answer_of(protocol), f"{soft} {hard}")

    def test_niceness(self):
        self.worker("once", "answer(os.getpriority(os.PRIO_PROCESS, 0))", "nice=15")
        self.mer("run", "m", "x", out=b"%d" % max(15, os.getpriority(os.PRIO_PROCESS, 0)))

    def test_niceness_that_takes_privileges(self):
        self.worker("once", "answer(1)", "nice=-5")
        self.become_another()
        self.mer("run", "m", "x", code=6, says="niceness of -5: permission denied")
        self.one_row("failed")

    @each({name: (name,) for name in PROTOCOLS})
    def over_its_time(self, protocol):
        self.worker(protocol, "spin()", "cpu-time=1s")
        self.mer("run", "m", "x", code=1, out=None, says="over its limit of 1s of processor time")
        self.one_row("failed", signal="SIGXCPU")

    def test_over_its_time_before_it_is_ready(self):
        self.add("m", self.script("#!/bin/sh\nwhile :; do :; done\n"),
                 options=("--protocol", "token", "--limit", "cpu-time=1s"))
        self.mer("run", "m", "x", code=6, says="over its limit of 1s of processor time")
        self.mer("model", "ping", "m", code=6, says="over its limit of 1s of processor time")

    def test_over_its_file_size(self):
        """Of programs that do not ask to be told."""
        self.add("m", "/bin/sh", "-c", "exec head -c 2000000 /dev/zero >\"$HOME/file\"",
                 options=("--limit", "file-size=1MiB"))
        self.mer("run", "m", "x", code=1, says="it wrote a file over its limit of 1MiB")
        self.assertEqual((self.home / "file").stat().st_size, MIB)

    @each({name: (name,) for name in PROTOCOLS})
    def too_many_files(self, protocol):
        """What it runs out of is its own."""
        self.worker(protocol, "answer(open_all())", "open-files=20")
        n, _, why = self.answer_of(protocol).partition(" ")
        self.assertEqual(why, "Too many open files")
        self.assertLess(int(n), 20)
        self.one_row("ok")

    @unittest.skipIf(SANITIZED, "sanitizers take all addresses there are")
    @each({name: (name,) for name in PROTOCOLS})
    def out_of_memory(self, protocol):
        """By a cgroup it is killed; without one its own request fails."""
        self.worker(protocol, "answer(hog())", "memory=64MiB")
        self.mer("run", "m", "x", code=1, out=None, says="over its limit of 64MiB|MemoryError|before it had")
        self.one_row("failed")

    def test_processor_share_is_held_or_refused(self):
        self.worker("once", "answer(1)", "cpus=0.5")
        if cgroup_place("cpu") is not None:
            self.mer("run", "m", "x", out=b"1")
            return
        for words in (["run", "m", "x"], ["model", "ping", "m"]):
            self.mer(*words, code=6, says="limit 'cpus' cannot be held here: .*controller 'cpu'")

    def test_processes_of_root_are_held_or_refused(self):
        if os.geteuid() != 0:
            self.skipTest("takes root")
        self.worker("once", "answer(crowd())", "processes=20")
        if cgroup_place("pids") is not None:
            self.mer("run", "m", "x", out=b"19")
        else:
            self.mer("run", "m", "x", code=6, says="limit 'processes' cannot be held here: for root")

    @each({name: (name,) for name in PROTOCOLS})
    def crowd_of_a_user(self, protocol):
        """RLIMIT_NPROC, which counts all of the user: mer, the supervisor and the model."""
        self.worker(protocol, "answer(crowd())", "processes=30")
        self.become_another()
        n = int(self.answer_of(protocol))
        self.assertTrue(10 < n < 30, n)
        self.one_row("ok")

    @each({name: (name,) for name in PROTOCOLS})
    @with_namespaces
    def crowd_in_a_namespace(self, protocol):
        """There the count is the worker's own."""
        self.worker(protocol, "answer(crowd())", "processes=30", "isolate=true")
        self.become_another()
        n = int(self.answer_of(protocol))
        self.assertTrue(20 < n < 30, n)

    @each({"plain": (["processes=40"],), "isolated": (["processes=40", "isolate=true"],)})
    def bomb_of_a_user(self, limits):
        """One that never stops, and a deadline."""
        self.add("m", "/bin/sh", "-c", "bomb() { bomb | bomb & }; echo >\"$HOME/here\"; bomb; sleep 1000",
                 options=("--timeout", "1s", *(word for limit in limits for word in ("--limit", limit))))
        if "isolate=true" in limits and not has_namespaces():
            self.skipTest("namespaces are not allowed here")
        self.become_another()
        process = self.start("run", "m", "x")
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertIn(process.returncode, (1, 7), (got, err)) # the shell may have been unable to go on
        self.check_gone(DEADLINE_S)
        self.check_all_final()

    @with_namespaces
    def test_isolated(self):
        self.worker("once", "answer('%d %d' % (os.getpid(), os.getuid()))", "isolate=true")
        self.mer("run", "m", "x", out=b"2 %d" % os.getuid())
        user = self.become_another()
        self.mer("run", "m", "x", out=b"2 %d" % user)


# --- cgroups ------------------------------------------------------------------------------------


def cgroup_place(*controllers):
    """A folder, our own cgroup or above it, in which we may make cgroups that have these controllers."""
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines()
                if line.startswith("0::/")), None)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if own is None or words[words.index("-") + 1] != "cgroup2" or words[3] != "/":
            continue
        top = Path(words[4])
        for folder in [top / own.strip("/"), *(top / own.strip("/")).parents]:
            enabled = (folder / "cgroup.subtree_control")
            if enabled.exists() and os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK) \
                    and set(controllers) <= set(enabled.read_text().split()):
                return folder
            if folder == top:
                break
    return None


class Cgroup(Case):
    """On the kernel's own say; skipped where we may make no cgroups of version 2."""

    def setUp(self):
        super().setUp()
        self.place = cgroup_place("cpu", "memory", "pids")
        if self.place is None:
            self.skipTest("no cgroup v2 here with cpu, memory and pids that we may divide")
        self.workers = set(self.place.glob("mer-worker-*"))
        self.addCleanup(self.remove_left)

    def remove_left(self):
        for folder in self.left():
            with contextlib.suppress(OSError):
                (folder / "cgroup.kill").write_text("1")
                folder.rmdir()

    def left(self):
        return set(self.place.glob("mer-worker-*")) - self.workers

    def check_no_cgroup(self):
        self.wait("the cgroup goes", lambda: not self.left(), test_faults.GONE_S)

    @each(every({
        "hog": ("answer(hog())",),
        "hog_in_a_session": ("child(os.setsid, hog); hang()",),
    }))
    def out_of_memory(self, protocol, answer):
        self.worker(protocol, answer, "memory=64MiB")
        self.mer("run", "m", "x", code=1, out=None,
                 says="the model was killed: out of memory, over its limit of 64MiB")
        self.one_row("failed", signal="SIGKILL")
        self.check_no_cgroup()

    @each(every({"family": ("family()",), "hoppers": ("hoppers()",)}))
    def crowd(self, protocol, tree):
        """Of all that it starts, whatever they are."""
        self.worker(protocol, f"{tree}; answer(crowd())", "processes=100")
        self.assertLess(int(self.answer_of(protocol)), 100)
        self.check_no_cgroup()

    def test_bomb(self):
        self.add("m", "/bin/sh", "-c", "bomb() { bomb | bomb & }; bomb; echo >\"$HOME/here\"; sleep 1000",
                 options=("--timeout", "1s", "--limit", "processes=50"))
        process = self.start("run", "m", "x")
        process.communicate(timeout=DEADLINE_S)
        self.assertIn(process.returncode, (1, 7))
        self.check_gone(DEADLINE_S)
        self.check_no_cgroup()

    def test_what_is_set(self):
        answer = ("own = '%s' + open('/proc/self/cgroup').read().split('0::')[1].split()[0]; "
                  "answer(','.join(open(own + '/' + name).read().strip() for name in "
                  "('cpu.max', 'memory.max', 'pids.max')))") % self.mount()
        self.worker("once", answer, "cpus=1.5", "memory=64MiB", "processes=77")
        self.mer("run", "m", "x", out=b"150000 100000,%d,77" % (64 * MIB))
        self.check_no_cgroup()

    def mount(self):
        return next(words[4] for words in map(str.split, Path("/proc/self/mountinfo").read_text().splitlines())
                    if "cgroup2" in words)

    @each({"mer": (["mer"],), "supervisor": (["guard"],), "both": (["mer", "guard"],),
           "both_isolated": (["mer", "guard"], "isolate=true")})
    def killed(self, who, *more):
        """Who is left removes it; where nobody is, the next mer with such a model."""
        self.worker("token", "family(); hang()", "processes=100", *more)
        self.worker("once", "answer(1)", "processes=100", name="n")
        process = self.start("run", "m", "x")
        self.wait_here()
        self.assertEqual(len(self.left()), 1)
        guard = self.child(process, "mer-guard")
        if "mer" in who:
            os.kill(process.pid, signal.SIGSTOP) # so that it does not see the other's end
        if "guard" in who:
            os.kill(guard, signal.SIGKILL)
        if "mer" in who:
            process.kill()
        process.communicate(timeout=DEADLINE_S)
        if len(who) == 2:
            self.mer("run", "n", "x", out=b"1")
        self.check_gone()
        self.check_no_cgroup()
        if len(who) == 2: # nobody was there to remove it
            for path in self.temp.iterdir():
                path.rmdir()

    def test_delegated(self):
        """An ordinary user's, in which mer is alone: it divides it, and its models are held in there."""
        if os.geteuid() != 0:
            self.skipTest("takes root")
        folder = self.place / f"mer-test-{uuid.uuid4()}"
        folder.mkdir()
        self.addCleanup(lambda: [path.rmdir() for path in (*folder.glob("*/"), folder)])
        self.worker("once", "answer(open('/proc/self/cgroup').read())", "processes=20", "cpus=1", "memory=64MiB")
        user = self.become_another()
        for path in (folder, folder / "cgroup.procs", folder / "cgroup.subtree_control", folder / "cgroup.threads"):
            os.chown(path, user, user)
        got = self.mer("run", "m", "x", out=None,
                       preexec_fn=lambda: (folder / "cgroup.procs").write_text(str(os.getpid())))
        self.assertIn(f"{folder.name}/mer-worker-".encode(), got)
        self.assertEqual([path.name for path in folder.glob("mer-worker*")], [])

    def test_without_limits(self):
        """No cgroup is made."""
        self.worker("once", "answer(open('/proc/self/cgroup').read())")
        self.assertNotIn(b"mer-worker", self.mer("run", "m", "x", out=None))


# --- what outlives it ---------------------------------------------------------------------------


class Outlives(Case):
    TREES = {"family": ("family()",), "hoppers": ("hoppers()",), "stopped": ("family(); here(); os.kill(0, 19)",)}

    def run_tree(self, protocol, tree, *limits):
        self.worker(protocol, f"{tree}; hang()", *limits)
        process = self.start("run", "m", "x")
        self.wait_here()
        return process

    @each(every(TREES))
    def mer_is_killed(self, protocol, tree):
        process = self.run_tree(protocol, tree)
        process.kill()
        process.communicate()
        self.check_gone()
        self.mer("log", out=None)
        self.one_row("lost")

    @each(every(TREES))
    @with_namespaces
    def isolated_mer_is_killed(self, protocol, tree):
        process = self.run_tree(protocol, tree, "isolate=true")
        process.kill()
        process.communicate()
        self.check_gone()
        self.mer("log", out=None)
        self.one_row("lost")

    @each(every(TREES))
    @with_namespaces
    def isolated_supervisor_is_killed(self, protocol, tree):
        """With the namespace goes all that is in it."""
        process = self.run_tree(protocol, tree, "isolate=true")
        os.kill(self.child(process, "mer-guard"), signal.SIGKILL)
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 1, (got, err))
        self.check_said(err, KILLED)
        self.one_row("failed")
        self.check_gone()

    @each(every(TREES))
    @with_namespaces
    def isolated_both_are_killed(self, protocol, tree):
        """As when the kernel looks for memory."""
        process = self.run_tree(protocol, tree, "isolate=true")
        guard = self.child(process, "mer-guard")
        os.kill(process.pid, signal.SIGSTOP)
        os.kill(guard, signal.SIGKILL)
        process.kill()
        process.communicate()
        self.check_gone()
        self.mer("log", out=None)
        self.one_row("lost")

    @each({name: (name,) for name in PROTOCOLS})
    def supervisor_is_killed(self, protocol):
        """Without a namespace the worker itself goes with it; that is what docs/limits.md promises."""
        self.worker(protocol, "hang()")
        process = self.start("run", "m", "x")
        self.wait_here()
        os.kill(self.child(process, "mer-guard"), signal.SIGKILL)
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 1, (got, err))
        self.check_said(err, KILLED)
        self.check_gone()

    @each(every({"plain": ([],), "isolated": (["isolate=true"],)}))
    def time_is_up(self, protocol, limits):
        if limits and not has_namespaces():
            self.skipTest("namespaces are not allowed here")
        self.worker(protocol, "family(); deaf(); hang()", *limits, options=("--timeout", "1s"))
        self.mer("run", "m", "x", code=7, out=None, says="within 1s")
        self.one_row("timeout")

    @each(every({"plain": ([],), "isolated": (["isolate=true"],)}))
    def it_leaves_its_family(self, protocol, limits):
        """Which is ended as soon as it has ended itself."""
        if limits and not has_namespaces():
            self.skipTest("namespaces are not allowed here")
        self.worker(protocol, "family(); answer('ok')", *limits)
        self.assertEqual(self.answer_of(protocol), "ok")
        self.one_row("ok")


# --- what it gets -------------------------------------------------------------------------------


class Given(Case):
    OWN = {"once": b"0 1 2", "token": b"0 1 2\n", "frame": b"0 1 2 4"}

    def test_descriptors(self):
        """Exactly its own, whoever else lives and whatever mer has open: databases, pipes, sockets."""
        for protocol in PROTOCOLS:
            self.worker(protocol, "answer(descriptors())", name=protocol)
        self.add("files", "/bin/sh", "-c", "ls -l /proc/self/fd | grep -c -- '->' >\"$1\"; cat \"$0\"", "{input}",
                 "{output}")
        words = [word for _ in range(2) for name in PROTOCOLS for word in ("-c", f"run {name} x")]
        lines = self.lines_file(*"abc")
        got = self.mer(*words, "-c", f"run --lines frame {lines}", "-c", "run once x", "-c", "run token x", out=None)
        twice = (self.OWN["once"] + self.OWN["token"] + self.OWN["frame"]) * 2
        self.assertEqual(got, twice + (self.OWN["frame"] + b"\n") * 3 + self.OWN["once"] + self.OWN["token"])
        self.assertEqual(self.statuses(), ["ok"] * 11)

    @each({name: (name,) for name in PROTOCOLS})
    def descriptors_that_mer_inherits(self, protocol):
        """What a shell left open for mer is not the model's."""
        self.worker(protocol, "answer(descriptors())")
        process = self.start("-c", f'exec 5</dev/null 9>"$HOME/x" 77</; exec {test_faults.SHELL_MER} run m x',
                             program="bash")
        self.finish(process, out=self.OWN[protocol])

    @each({name: (name,) for name in PROTOCOLS})
    def environment(self, protocol):
        """Nothing of mer's own, of the database, and nothing that a reference names."""
        self.worker(protocol, "answer(' '.join(sorted(os.environ)))", options=("--env", "TOKEN=env:SECRET"))
        got = self.mer("run", "m", "x", out=None, env={
            **self.env, "MER_LOG": "warn", "MER_OTHER": "x", "PGPASSWORD": "p", "SECRET": "s",
            "MER_DATABASE_PASSWORD": "env:DB_SECRET", "DB_SECRET": "d"})
        names = set(got.decode().split())
        # A worker of frames has the SDK on its path, and takes the number of its connection out.
        path = {"PYTHONPATH"} if protocol == "frame" else set()
        self.assertEqual(names, {*self.env, *path, "TOKEN", "PYTHONUNBUFFERED"})

    @each({f"{protocol}_{n}": (protocol, n) for protocol in ("token", "frame") for n in range(7, 27, 2)})
    def few_descriptors(self, protocol, count):
        """mer works, or says what it lacks; the run is recorded, or the model was not started."""
        self.worker(protocol, "answer('ok')")
        if SANITIZED:
            self.env["ASAN_OPTIONS"] += ":detect_leaks=0"
        process = self.start("run", "m", "x", preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (count, count)))
        got, err = process.communicate(timeout=DEADLINE_S)
        if b"shared libraries" in err:
            return # not even the loader can work
        self.assertIn(process.returncode, (0, 1, 5, 6, 70), err)
        self.assertEqual(got.rstrip(), b"" if process.returncode else b"ok")
        self.check_said(err, "." if process.returncode else None)
        self.check_all_final()


class Floods(Case):
    @each({name: (name,) for name in PROTOCOLS})
    def stderr(self, protocol):
        """1 GiB, and the memory of mer does not grow."""
        size = (64 if SANITIZED else 1024) * MIB
        self.worker(protocol, f"block = b'x' * 65535 + b'\\n'; [os.write(2, block) for _ in range({size >> 16})]; "
                              "answer('ok')")
        self.before = ["/usr/bin/python3", "-ISc", MEASURE, self.top / "peak"]
        self.finish(self.start("run", "m", "x"), out=b"ok\n" if protocol == "token" else b"ok")
        self.assertLess(int((self.top / "peak").read_text()), FLAT_KIB)
        self.assertLessEqual(len(self.one_row("ok")["stderr_tail"]), 4096)


# --- surroundings -------------------------------------------------------------------------------


class Disk(Case):
    def on_small_disk(self):
        """The folder for {input} and {output} is on a disk of its own."""
        self.small_disk(self.temp)

    def test_output_does_not_fit(self):
        self.on_small_disk()
        self.add("m", "/bin/sh", "-c", "exec head -c 5000000 /dev/zero >\"$0\"", "{output}")
        self.mer("run", "m", "x", code=1, out=None, says="No space left")
        self.one_row("failed")

    def test_input_does_not_fit(self):
        self.on_small_disk()
        self.add("m", "/bin/sh", "-c", "cat \"$0\"", "{input}")
        self.mer("run", "m", "-", data=b"x" * (5 * MIB), code=6, says="cannot write .*No space left")
        self.one_row("failed")

    def test_fits_again(self):
        """Nothing of a failed run takes its place."""
        self.on_small_disk()
        self.add("m", "/bin/sh", "-c", "exec head -c \"$(cat \"$0\")\" /dev/zero >\"$1\"", "{input}", "{output}")
        for size, code in ((900_000, 0), (2_000_000, 1), (900_000, 0)):
            self.mer("run", "m", str(size), code=code, out=None, says="No space left" if code else None)
        self.assertEqual(self.statuses(), ["ok", "failed", "ok"])


@unittest.skipIf(CLOCK is None, "takes the library clock_at")
class Clock(Case):
    JUMPS = every({"forward": (40 * 86400,), "back": (-40 * 86400,)})

    def jumping(self, seconds):
        self.env |= {"LD_PRELOAD": CLOCK, "CLOCK_FILE": str(self.top / "jump"), "CLOCK_JUMP": str(seconds)}
        if SANITIZED:
            self.env["ASAN_OPTIONS"] += ":verify_asan_link_order=0"

    @each(JUMPS)
    def jumps_in_a_run(self, protocol, seconds):
        """No deadline of an hour has passed, and no time but what went by is counted."""
        self.worker(protocol, "here(); wait('go'); answer('ok')")
        self.jumping(seconds)
        process = self.start("run", "m", "x")
        self.wait_here()
        (self.top / "jump").touch()
        (self.home / "go").touch()
        self.finish(process, out=b"ok\n" if protocol == "token" else b"ok")
        row = self.one_row("ok")
        began, ended = (datetime.fromisoformat(row[name].rstrip("Z")) for name in ("started_at", "stopped_at"))
        self.assertAlmostEqual((ended - began).total_seconds(), seconds, delta=DEADLINE_S)
        for name in ("queue_ms", "start_ms", "infer_ms"):
            self.assertTrue(0 <= row[name] < DEADLINE_S * 1000, (name, row[name]))

    @each(JUMPS)
    def jumps_before_a_deadline(self, protocol, seconds):
        """Which comes all the same."""
        self.worker(protocol, "hang()", options=("--timeout", "2s"))
        self.jumping(seconds)
        process = self.start("run", "m", "x")
        self.wait_here()
        (self.top / "jump").touch()
        self.finish(process, 7, out=None, says="within 2s")
        self.one_row("timeout")


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    kinds = [Limits, Cgroup, Outlives, Given, Floods, Disk, Clock]
    suite = unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromTestCase, kinds))
    sys.exit(not runner.run(suite).wasSuccessful())
