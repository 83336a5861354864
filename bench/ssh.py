#!/usr/bin/python3
"""What models on another host cost through mer and through what people use for that, in one run.

    bench/ssh.py [--runs N] [--delay MS,...] [--mib N] [--servers N] [--only NAME,...] [--mer PATH] [--transport T]

An sshd of its own on the loopback, as whoever calls it, behind a proxy where there is to be delay. Each pair in turn
(A B A B ...), so that a drifting machine drifts for both:

  once      a program a run, where mer has run before and somebody waits between runs, against ssh, ssh with a
            ControlMaster, paramiko and asyncssh with a connection that is there (what is installed); and what the
            program alone takes where it is started by posix_spawn, here
  call      a call of a token model whose worker is there, against a line through a pipe of ssh to the same worker
  frame     a call of 64 bytes of a model of the Python SDK whose worker is there
  down, up  MiB/s of a run's output, and of its input, against ssh and a ControlMaster
  files     MiB/s of weights that a run is the first to need, of what a training has made, and of many small files, with
            login, and of weights over a connection that is there, too
  proxy     how late it is, and what it carries
  ping      server ping --all over so many names of one sshd, and its peak memory; with --start, too

Prints medians with [min max], and ratios and differences pair by pair. What once, call and frame take beyond a round
trip is said of two: the delay of the proxy alone, which is 0 without one, and that of a line which a loop of libssh2 sends
to a cat over a channel that is open, in the same turn: there are a network and sshd in it, too.
"""
import argparse
import asyncio
import contextlib
import fcntl
import os
import resource
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import sshd

UPPER = ("import sys\nprint('@!#READY#!@', flush=True)\nfor line in sys.stdin:\n    if line == '@!#START#!@\\n':\n"
         "        text = sys.stdin.readline(); sys.stdin.readline()\n"
         "        print('@!#START#!@\\n' + text.upper() + '@!#STOP#!@', flush=True)\n"
         "    elif line == '@!#EXIT#!@\\n':\n        break\n")
FRAME = "import mer\n@mer.model\ndef predict(x: bytes) -> bytes:\n    return x\nmer.serve()\n"
PYTHON = "/usr/bin/python3"
SETTLED_S = 2.1 # a file that was written later than this is read again for its SHA-256


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f} {max(values):.{digits}f}]"


def ratio(a, b):
    return spread([x / y for x, y in zip(a, b)])


# --- delay -------------------------------------------------------------------------------------------


def compile_delay(work):
    program = os.path.join(work, "delay")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", os.path.join(ROOT, "bench", "delay.c"), "-o", program], check=True)
    return program


@contextlib.contextmanager
def away(program, port, delay_ms):
    """A port where the server is so far away: delay.c."""
    process = subprocess.Popen([program, str(port), str(delay_ms * 500)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


@contextlib.contextmanager
def delayed(program, port, delay_ms):
    if delay_ms == 0:
        yield port
    else:
        with away(program, port, delay_ms) as far:
            yield far


def answer(connection):
    """Each byte at once, or, behind b"s", how many came."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if connection.recv(1) != b"s":
        while data := connection.recv(1):
            connection.sendall(data)
    else:
        count, room = 0, bytearray(1 << 20)
        while n := connection.recv_into(room):
            count += n
        connection.sendall(b"%d" % count)
    connection.close()


class Echo:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(self.listener.accept()[0],), daemon=True).start()

    def connect(self, first, port=None):
        connection = socket.create_connection(("127.0.0.1", port or self.listener.getsockname()[1]))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(first)
        return connection


def byte_ms(connection, pause_s):
    time.sleep(pause_s) # as idle as both are where there is a delay
    begin = time.perf_counter()
    connection.sendall(b"x")
    connection.recv(1)
    return (time.perf_counter() - begin) * 1000


def bytes_rate(connection, mib=1024):
    data, begin = bytes(1 << 20), time.perf_counter()
    for _ in range(mib):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    if int(connection.recv(100)) != mib << 20:
        sys.exit("ssh: the proxy loses bytes")
    connection.close()
    return mib / (time.perf_counter() - begin)


def bench_proxy(program, delay_ms, runs):
    """What the proxy itself does: it must not be what bounds the others."""
    echo = Echo()
    with away(program, echo.listener.getsockname()[1], delay_ms) as far:
        here, there = echo.connect(b"e"), echo.connect(b"e", far)
        byte_ms(there, 0)
        ms = [(byte_ms(there, 0), byte_ms(here, delay_ms / 1000)) for _ in range(runs)]
        rates = [(bytes_rate(echo.connect(b"s", far)), bytes_rate(echo.connect(b"s"))) for _ in range(3)]
        here.close()
        there.close()
    echo.listener.close()
    print(f"proxy {delay_ms:3} ms  a byte there and back is late by {spread([far - near - delay_ms for far, near in ms], 3)} ms  "
          f"n={len(ms)}; it carries {spread([far for far, near in rates], 0)} MiB/s, a plain connection "
          f"{spread([near for far, near in rates], 0)}  n=3", flush=True)


# --- who is measured ---------------------------------------------------------------------------------


class Bench:
    def __init__(self, args, work, server, port):
        self.args, self.work, self.port, self.runs_of_rates = args, work, port, max(3, args.runs // 5)
        self.folder, self.key = server.folder, str(server.folder / "id")
        with open(os.path.join(work, "known"), "w", encoding="ascii") as file:
            file.write(f"[127.0.0.1]:{port} {server.host_key}\n")
        with open(os.path.join(work, "upper.py"), "w", encoding="ascii") as file:
            file.write(UPPER)
        with open(os.path.join(work, "frame.py"), "w", encoding="ascii") as file:
            file.write(FRAME)
        home = os.path.join(work, f"home-{port}")
        os.mkdir(home)
        self.env = {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "USER": "bench", "MER_ALLOW_CHANGES": "1"}
        self.mer("up", "--quiet", program=args.mer + "-migrate")
        self.add_server("box")

    def mer(self, *words, program=None, **options):
        return subprocess.run([program or self.args.mer, *words], env=self.env, check=True, **options)

    def params(self):
        found = ["--host", "127.0.0.1", "--port", str(self.port), "--user", "user"]
        for pair in (f"IdentityFile={self.key}", "IdentitiesOnly=yes", f"UserKnownHostsFile={self.work}/known",
                     "ConnectTimeout=60"):
            found += ["--param", pair]
        return found + (["--param", f"transport={self.args.transport}"] if self.args.transport else [])

    def add_server(self, name):
        self.mer("server", "add", name, "--kind", "ssh", *self.params())

    def ssh(self, *words, control=None):
        options = ["-F", "none", "-p", str(self.port), "-i", self.key, "-o", "IdentitiesOnly=yes", "-o",
                   f"UserKnownHostsFile={self.work}/known", "-o", "BatchMode=yes"]
        if control:
            options += ["-o", f"ControlPath={control}"]
        return ["ssh", *options, "user@127.0.0.1", *words]

    @contextlib.contextmanager
    def master(self):
        control = os.path.join(self.work, f"c{self.port}")
        options = self.ssh(control=control)[1:]
        subprocess.run(["ssh", "-fN", "-o", "ControlMaster=yes", *options], check=True)
        try:
            yield control
        finally:
            subprocess.run(["ssh", "-O", "exit", *options], stderr=subprocess.DEVNULL)


class Lines:
    """A mer or another program at the end of two pipes: a line, and its answer."""

    def __init__(self, argv, env=None, line=b"hello\n", ready=0, answer=1):
        self.line, self.answer = line, answer
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(ready):
            self.process.stdout.readline()

    def call(self):
        self.process.stdin.write(self.line)
        self.process.stdin.flush()
        for _ in range(self.answer):
            line = self.process.stdout.readline()
        return line

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


def run_words(argv):
    def call():
        subprocess.run(argv, input=b"hello\n", check=True, capture_output=True)
    return call


class Paramiko:
    def __init__(self, bench):
        import paramiko
        self.client = paramiko.SSHClient()
        self.client.load_host_keys(f"{bench.work}/known")
        self.client.connect("127.0.0.1", bench.port, "user", key_filename=bench.key, look_for_keys=False, allow_agent=False)

    def call(self):
        stdin, stdout, _ = self.client.exec_command("cat")
        stdin.write("hello\n")
        stdin.channel.shutdown_write()
        stdout.read()
        stdout.channel.recv_exit_status()

    def close(self):
        self.client.close()


class Asyncssh:
    def __init__(self, bench):
        import asyncssh
        self.loop = asyncio.new_event_loop()
        self.connection = self.loop.run_until_complete(asyncssh.connect(
            "127.0.0.1", bench.port, username="user", client_keys=[bench.key], known_hosts=f"{bench.work}/known", config=None))

    def call(self):
        self.loop.run_until_complete(self.connection.run("cat", input="hello\n", check=True))

    def close(self):
        self.connection.close()
        self.loop.run_until_complete(self.connection.wait_closed())
        self.loop.close()


def in_turn(calls, runs, pause_s=0):
    """Milliseconds of each."""
    took = {name: [] for name in calls}
    for turn in range(runs + 1): # the first is not counted
        for name, call in calls.items():
            time.sleep(pause_s)
            begin = time.perf_counter()
            call()
            if turn > 0:
                took[name].append((time.perf_counter() - begin) * 1000)
    return took


# --- what is measured --------------------------------------------------------------------------------


def report(name, delay_ms, took, unit, digits=2):
    for who, values in took.items():
        against = "" if who == "mer" else f"   mer to it {ratio(took['mer'], values)}"
        print(f"{name:5} {delay_ms:3} ms  {who:14} {spread(values, digits)} {unit}{against}  n={len(values)}", flush=True)


def compile_loop(bench):
    program = os.path.join(bench.work, "ssh_loop")
    if not os.path.exists(program):
        subprocess.run([os.environ.get("CC", "cc"), "-O2", os.path.join(ROOT, "bench", "ssh_loop.c"), "-o", program, "-lssh2"],
                       check=True)
    return [program, str(bench.port), "user", bench.key, "aes128-ctr", "hmac-sha2-256"]


ECHO, ALONE = "a round trip", "cat alone"


def lines_of_loop(bench, word):
    return Lines(compile_loop(bench), None, word, 1)


def report_beyond(name, delay_ms, took, wanted):
    """In both senses, and for a program also beyond what it takes by itself."""
    mer, trip, alone = took["mer"], took[ECHO], took.get(ALONE)
    rows = {"the delay": [ms - delay_ms for ms in mer], "the round trip": [a - b for a, b in zip(mer, trip)]}
    if alone:
        rows["both and cat"] = [a - b - c for a, b, c in zip(mer, trip, alone)]
    for what, values in rows.items():
        print(f"{name:5} {delay_ms:3} ms  mer beyond {what:14} {spread(values, 3)} ms"
              f"{'' if what == 'both and cat' else f' (wanted: at most {wanted})'}", flush=True)


def bench_once(bench, delay_ms):
    bench.mer("model", "add", "cat", "--server", "box", "--", "cat")
    lines = {"mer": Lines([bench.args.mer, "run", "--lines", "cat", "-"], bench.env), ECHO: lines_of_loop(bench, b"echo\n"),
             ALONE: lines_of_loop(bench, b"cat\n")}
    with bench.master() as control:
        calls = {name: one.call for name, one in lines.items()}
        calls |= {"ssh": run_words(bench.ssh("cat")), "ControlMaster": run_words(bench.ssh("cat", control=control))}
        for name, kind in (("paramiko", Paramiko), ("asyncssh", Asyncssh)):
            try:
                lines[name] = kind(bench)
                calls[name] = lines[name].call
            except ImportError:
                print(f"once  {name} is not installed")
        took = in_turn(calls, bench.args.runs, 0.05 + 0.004 * delay_ms) # somebody waits: what is made ahead has its time
        for one in lines.values():
            one.close()
    report("once", delay_ms, took, "ms")
    report_beyond("once", delay_ms, took, 2)


def bench_call(bench, delay_ms):
    bench.mer("model", "add", "upper", "--server", "box", "--protocol", "token", "--", PYTHON, f"{bench.work}/upper.py")
    with bench.master() as control:
        lines = {"mer": Lines([bench.args.mer, "run", "--lines", "upper", "-"], bench.env), ECHO: lines_of_loop(bench, b"echo\n"),
                 "a pipe of ssh": Lines(bench.ssh(PYTHON, f"{bench.work}/upper.py", control=control), None,
                                        b"@!#START#!@\nhello\n@!#STOP#!@\n", 1, 3)}
        took = in_turn({name: one.call for name, one in lines.items()}, bench.args.runs * 10)
        for one in lines.values():
            one.close()
    report("call", delay_ms, took, "ms", 3)
    report_beyond("call", delay_ms, took, 0.3)


def bench_frame(bench, delay_ms):
    bench.mer("model", "add", "frame", "--server", "box", "--protocol", "frame", "--", PYTHON, f"{bench.work}/frame.py")
    lines = {"mer": Lines([bench.args.mer, "run", "--lines", "frame", "-"], bench.env, b"x" * 64 + b"\n"),
             ECHO: lines_of_loop(bench, b"echo" + b"x" * 60 + b"\n")}
    took = in_turn({name: one.call for name, one in lines.items()}, bench.args.runs * 10)
    for one in lines.values():
        one.close()
    report("frame", delay_ms, took, "ms", 3)
    report_beyond("frame", delay_ms, took, 0.3)


def rates(mib, calls, runs):
    took = in_turn(calls, runs)
    return {name: [mib / ms * 1000 for ms in values] for name, values in took.items()}


def program(argv, env=None, path=os.devnull):
    """A call of a program whose input is a file, and whose output nobody wants."""
    def call():
        with open(path, "rb") as data:
            subprocess.run(argv, env=env, check=True, stdin=data, stdout=subprocess.DEVNULL)
    return call


def output(argv, size):
    """The same where its output is looked at as that of Commands is."""
    def call():
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            swallow(process.stdout, size)
        if process.returncode != 0:
            sys.exit(f"ssh: {argv[0]} ended with {process.returncode}")
    return call


def swallow(pipe, size):
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
    room = bytearray(1 << 20)
    while size > 0:
        size -= (n := os.readv(pipe.fileno(), [room])) or sys.exit("ssh: less came than there is")


class Commands:
    """A program that takes lines, and says so many bytes of each."""

    def __init__(self, argv, env=None, ready=False):
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        if ready:
            self.process.stdout.readline()

    def caller(self, line, size):
        def call():
            self.process.stdin.write(line.encode() + b"\n")
            swallow(self.process.stdout, size)
        return call

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


@contextlib.contextmanager
def libssh2_loop(bench, delay_ms):
    """What libssh2 itself carries, with the cipher and MAC that mer has and a window that is no bound."""
    window = (16 if delay_ms else 2) << 20
    commands = Commands([*compile_loop(bench), str(window)], ready=True)
    try:
        yield commands
    finally:
        commands.close()


def bench_down(bench, delay_ms):
    size, far = bench.args.mib << 20, lambda size: ("head", "-c", str(size), "/dev/zero")
    bench.mer("model", "add", "down", "--server", "box", "--max-output", "100GiB", "--", *far(size))
    report("down", delay_ms, rates(bench.args.mib, {
        "mer": program([bench.args.mer, "run", "down", "x"], bench.env), "ssh": program(bench.ssh(*far(size)))},
        bench.runs_of_rates), "MiB/s with login", 0)
    size = bench.args.warm_mib << 20
    bench.mer("model", "add", "warm-down", "--server", "box", "--max-output", "100GiB", "--", *far(size))
    mer = Commands([bench.args.mer, "-f", "-"], bench.env)
    with bench.master() as control, libssh2_loop(bench, delay_ms) as loop:
        report("down", delay_ms, rates(bench.args.warm_mib, {
            "mer": mer.caller("run warm-down x", size),
            "ControlMaster": output(bench.ssh(*far(size), control=control), size),
            "libssh2": loop.caller(f"down {size}", len("done\n"))}, bench.runs_of_rates), "MiB/s warm", 0)
    mer.close()


def bench_up(bench, delay_ms):
    path, warm = os.path.join(bench.work, "up"), os.path.join(bench.work, "warm-up")
    for name, mib in ((path, bench.args.mib), (warm, bench.args.warm_mib)):
        with open(name, "wb") as file:
            file.write(bytes(mib << 20))
    bench.mer("model", "add", "up", "--server", "box", "--", "sh", "-c", "cat >/dev/null; echo done")
    report("up", delay_ms, rates(bench.args.mib, {
        "mer": program([bench.args.mer, "run", "up", "@" + path], bench.env),
        "ssh": program(bench.ssh("cat >/dev/null; echo done"), None, path)}, bench.runs_of_rates), "MiB/s with login", 0)
    mer = Commands([bench.args.mer, "-f", "-"], bench.env)
    with bench.master() as control, libssh2_loop(bench, delay_ms) as loop:
        report("up", delay_ms, rates(bench.args.warm_mib, {
            "mer": mer.caller(f"run up @{warm}", len("done\n")),
            "ControlMaster": program(bench.ssh("cat >/dev/null; echo done", control=control), None, warm),
            "libssh2": loop.caller(f"up {bench.args.warm_mib << 20}", len("done\n"))}, bench.runs_of_rates), "MiB/s warm", 0)
    mer.close()


def files_in_turn(whole_mib, ways, runs):
    """MiB/s; each way: what is got ready, which is not measured, and what is."""
    took = {name: [] for name in ways}
    for turn in range(runs + 1):
        for name, (ready, call) in ways.items():
            ready()
            begin = time.perf_counter()
            call()
            if turn > 0:
                took[name].append(whole_mib / (time.perf_counter() - begin))
    return took


class Files:
    """A file or folder that is nowhere there yet, each time."""

    def __init__(self, bench, mib, n_files=1):
        self.bench, self.n_files, self.size = bench, n_files, (mib << 20) // n_files
        self.path = os.path.join(bench.work, "files")
        self.there = os.path.join(bench.folder, "home-user")

    def fresh(self):
        for path in (self.path, self.there + "/.cache", self.there + "/got"):
            subprocess.run(["rm", "-rf", path], check=True)
        os.makedirs(self.there + "/got")
        if self.n_files == 1:
            self.fill(self.path)
            return
        os.mkdir(self.path)
        for i in range(self.n_files):
            self.fill(f"{self.path}/{i}")

    def fill(self, path):
        with open(path, "wb") as file:
            file.write(os.urandom(self.size))

    def add(self):
        self.fresh()
        time.sleep(SETTLED_S)
        version = str(time.monotonic_ns())
        self.bench.mer("weights", "add", "reads", self.path, "--version", version, stdout=subprocess.DEVNULL)
        self.bench.mer("weights", "use", "reads", version, stdout=subprocess.DEVNULL)


def bench_warm_files(bench, delay_ms, mib):
    """Up, by a mer that has run something else there, and a ControlMaster."""
    up, mer = Files(bench, mib), Commands([bench.args.mer, "-f", "-"], bench.env)
    first, again = mer.caller("run reads x", len("1\n")), mer.caller("run other x", len("other\n"))

    def ready():
        again()
        up.add() # which takes some seconds
    again()
    with bench.master() as control:
        report("up", delay_ms, files_in_turn(mib, {
            "mer": (ready, first), "ControlMaster": (up.fresh, program(bench.ssh("cat >got/f", control=control), None, up.path))},
            bench.runs_of_rates), f"MiB/s warm, a file of {mib} MiB", 0)
    mer.close()


def bench_files(bench, delay_ms):
    """Up: weights that a run is the first to need. Down: what a training has made."""
    runs = bench.runs_of_rates
    bench.mer("model", "add", "reads", "--server", "box", "--train", "sh -c 'cp made \"$1\"' sh {new_weights}", "--", "sh", "-c",
              "ls -R \"$1\" | wc -l", "sh", "{weights}")
    bench.mer("model", "add", "other", "--server", "box", "--", "echo", "other")
    run, train = [bench.args.mer, "run", "reads", "x"], ["train", "reads", "--dataset", f"{bench.work}/known"]
    for mib in (bench.args.mib, bench.args.warm_mib):
        up = Files(bench, mib)
        report("up", delay_ms, files_in_turn(mib, {
            "mer": (up.add, program(run, bench.env)),
            "ssh": (up.fresh, program(bench.ssh("cat >got/f"), None, up.path))}, runs), f"MiB/s, a file of {mib} MiB", 0)
        bench_warm_files(bench, delay_ms, mib)
        made, back = os.path.join(up.there, "made"), os.path.join(bench.work, "back")
        up.fill(made)
        report("down", delay_ms, files_in_turn(mib, {
            "mer": (lambda: None, lambda: bench.mer(*train, stdout=subprocess.DEVNULL)),
            "ssh": (lambda: None, program(["sh", "-c", f"{shlex.join(bench.ssh('cp made out; cat out'))} >{back}"])),
        }, runs), f"MiB/s, a training's file of {mib} MiB", 0)
    many = Files(bench, bench.args.mib // 4, 1000)
    tar = f"tar -C {many.path} -cf - . | {shlex.join(bench.ssh('tar -C got -xf -'))}"
    report("up", delay_ms, files_in_turn(bench.args.mib // 4, {
        "mer": (many.add, program(run, bench.env)), "tar | ssh": (many.fresh, program(["sh", "-c", tar]))}, runs), "MiB/s, 1000 files", 1)


def bench_ping(bench, delay_ms):
    for i in range(bench.args.servers):
        bench.add_server(f"name{i}")
    for words in ((), ("--start",)):
        took, peaks = [], []
        for _ in range(3):
            begin = time.perf_counter()
            pid = os.posix_spawn(bench.args.mer, [bench.args.mer, "server", "ping", "--all", *words], bench.env,
                                 file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
            _, status, usage = os.wait4(pid, 0)
            took.append(time.perf_counter() - begin)
            peaks.append(usage.ru_maxrss / 1024)
            if status != 0:
                sys.exit(f"ssh: server ping ended with {os.waitstatus_to_exitcode(status)}")
        print(f"ping  {delay_ms:3} ms  {bench.args.servers} servers {' '.join(words):7} {spread(took)} s (wanted: under 3), "
              f"mer's memory {spread(peaks, 1)} MiB  n=3", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--delay", default="0,50")
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--warm-mib", type=int, default=256)
    parser.add_argument("--servers", type=int, default=100)
    parser.add_argument("--only", default="proxy,once,call,down,up,files,ping")
    parser.add_argument("--mer")
    parser.add_argument("--transport")
    args = parser.parse_args()
    if sshd.missing():
        sys.exit(f"ssh: {sshd.missing()}")
    if not args.mer:
        subprocess.run([os.path.join(ROOT, "scripts", "startMER.sh"), "version"], check=True, stdout=subprocess.DEVNULL)
        args.mer = os.path.join(ROOT, "build", "mer", "bin", "mer")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory(prefix="mer-ssh-") as work:
        program, only = compile_delay(work), args.only.split(",")
        server = sshd.Server(os.path.join(work, "server"), {"user": "/bin/sh"})
        try:
            for delay_ms in map(int, args.delay.split(",")):
                if "proxy" in only:
                    bench_proxy(program, delay_ms, args.runs)
                with delayed(program, server.port, delay_ms) as port:
                    bench = Bench(args, work, server, port)
                    for name in only:
                        if name == "proxy" or (name == "ping" and delay_ms != 0): # that is a matter of processors
                            continue
                        globals()["bench_" + name](bench, delay_ms)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
