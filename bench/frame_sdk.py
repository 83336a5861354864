#!/usr/bin/python3
"""What a call of a Python model costs over the bytes alone, as a ratio, measured in one run.

    bench/frame_sdk.py [--calls N] [--turns N] [--only NAME,...]

Compares, in turn (A B A B ...), so that a drifting machine drifts for both:

  call     a request of 64 bytes through python/mer against a bare os.read and os.write loop over the
           same kind of socket, both on one core, and both as the system places them; once as the time
           that passes and once as the time on a processor, which others on the machine disturb less
  tensor   1 MiB there and back against the same bytes through a bare loop with one buffer
  start    from spawn to ready, with the package compiled, against `python3 -c pass`
  prefork  a call of a numpy model that has a process of its own, by fork, against one that is started
           and imports numpy for it

Prints medians with [min max]. A ratio is taken pair by pair.
"""
import argparse
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
HEADER = struct.Struct("<4sBBHQIIQ")
HELLO, INFER, DRAIN = 1, 3, 11
MIB = 1024 * 1024
PROGRAMS = {
    "bytes": "import mer\n@mer.model\ndef predict(x: bytes) -> bytes:\n    return x\nmer.serve()\n",
    "tensor": "import mer\n@mer.model\ndef predict(x: mer.Tensor) -> mer.Tensor:\n    return x\n"
              "mer.serve()\n",
    "numpy": "import numpy, mer\n@mer.model(prefork=True)\ndef predict(x: numpy.ndarray) -> numpy.ndarray:\n"
             "    return x + 1\nmer.serve()\n",
    "import": "import os, numpy\nx = numpy.frombuffer(os.read(0, 65536), '<f4')\n"
              "os.write(1, (x + 1).tobytes())\n",
    "bare": "import os\nfd = int(os.environ['MER_FRAME_FD'])\n"
            "while data := os.read(fd, 65536):\n    os.write(fd, data)\n",
    "bare large": "import os\nfd = int(os.environ['MER_FRAME_FD'])\nroom = memoryview(bytearray(1 << 20))\n"
                  "while n := os.readv(fd, [room]):\n    done = 0\n"
                  "    while done < n: done += os.write(fd, room[done:n])\n",
}


def pack(kind, ident, meta, body=b""):
    raw = json.dumps(meta, separators=(",", ":")).encode()
    return HEADER.pack(b"MERF", 1, kind, 0, ident, len(raw), 0, len(body)) + raw + body


class Process:
    """A program at the end of a socketpair with large buffers."""

    def __init__(self, folder, name):
        path = os.path.join(folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(PROGRAMS[name])
        self.socket, theirs = socket.socketpair()
        for end in (self.socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
        env = {**os.environ, "PYTHONPATH": os.path.join(ROOT, "python"),
               "PYTHONPYCACHEPREFIX": folder, "MER_FRAME_FD": str(theirs.fileno())}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        self.process = subprocess.Popen([sys.executable, path], env=env, pass_fds=[theirs.fileno()],
                                        stdin=subprocess.DEVNULL)
        theirs.close()
        self.ident = 0
        self.speaks = not name.startswith("bare")
        if self.speaks:
            self.socket.sendall(pack(HELLO, 0, {"versions": [1], "max_body": 1 << 30}))
            self.socket.recv(65536)

    def close(self):
        self.socket.close()
        self.process.wait()

    def on_cpu(self):
        """Seconds that all its threads have run, and ours."""
        total = 0
        for pid in (self.process.pid, os.getpid()):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0])
        return total / 1e9

    def calls(self, meta, body, count):
        """Seconds a call, that passed and on a processor."""
        frames = [pack(INFER, self.ident + i + 1, meta, body) for i in range(count)]
        self.ident += count
        send, receive = self.socket.sendall, self.socket.recv_into
        room = memoryview(bytearray(2 * MIB))
        whole = None
        cpu, begin = self.on_cpu(), time.perf_counter()
        for frame in frames:
            send(frame)
            have = receive(room)
            if whole is None:
                answer = HEADER.unpack_from(room) if self.speaks else None
                whole = HEADER.size + answer[5] + answer[7] if answer else len(frame)
            while have < whole:
                have += receive(room)
        took = time.perf_counter() - begin
        return took / count, (self.on_cpu() - cpu) / count


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f} {max(values):.{digits}f}]"


def compare(what, a, b, meta, body, args, count, wanted):
    rows = []
    for _ in range(args.turns + 1):
        rows.append((a.calls(meta, body, count), b.calls(meta, body, count)))
    for i, kind in enumerate(("passed", "on a processor")):
        ours = [row[0][i] * 1e6 for row in rows[1:]]
        bare = [row[1][i] * 1e6 for row in rows[1:]]
        ratio = [x / y for x, y in zip(ours, bare)]
        print(f"{what}  {kind}: {spread(ours, 1)} us, bare {spread(bare, 1)}, ratio {spread(ratio)} "
              f"({wanted})  n={args.turns}")


def pair(folder, one_core, names):
    cores = os.sched_getaffinity(0)
    if one_core:
        os.sched_setaffinity(0, {min(cores)})
    try:
        return [Process(folder, name) for name in names]
    finally:
        if not one_core:
            os.sched_setaffinity(0, cores)


def bench_call(folder, args):
    cores = os.sched_getaffinity(0)
    for place in ("one core", "unplaced"):
        a, b = pair(folder, place == "one core", ("bytes", "bare"))
        compare(f"call     {place},", a, b, {"content": "bytes"}, b"x" * 64, args, args.calls,
                "wanted: at most 1.5")
        a.close(), b.close()
        os.sched_setaffinity(0, cores)


def bench_tensor(folder, args):
    meta = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [MIB // 4],
                        "parameters": {"binary_data_size": MIB}}]}
    a, b = pair(folder, False, ("tensor", "bare large"))
    compare("tensor  ", a, b, meta, bytes(MIB), args, max(10, args.calls // 50), "1 MiB there and back")
    a.close(), b.close()


def timed(does):
    """Milliseconds that passed, and that children which are gone have had of a processor."""
    cpu, begin = sum(os.times()[2:4]), time.perf_counter()
    between = does()
    took = ((between or time.perf_counter()) - begin) * 1e3
    return took, (sum(os.times()[2:4]) - cpu) * 1e3


def bench_start(folder, args):
    def ours():
        worker = Process(folder, "bytes")
        ready = time.perf_counter()
        worker.close()
        return ready

    def bare():
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    turns = 10 * args.turns
    rows = [(timed(ours), timed(bare)) for _ in range(turns + 1)][1:]
    for i, kind in enumerate(("to ready", "on a processor, to its end")):
        a, b = [row[0][i] for row in rows], [row[1][i] for row in rows]
        whole = sum(a) / sum(b)  # a tick of a processor's time is longer than a start
        ratio = f"{spread([x / y for x, y in zip(a, b)])}" if i == 0 else f"{whole:.2f}"
        print(f"start    {spread(a, 1)} ms {kind}, python3 -c pass {spread(b, 1)}, ratio {ratio} "
              f"(wanted: at most 2)  n={turns}")


def bench_prefork(folder, args):
    data = bytes(256)
    meta = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [64], "parameters": {"binary_data_size": 256}}]}
    worker = Process(folder, "numpy")
    path = os.path.join(folder, "import")
    with open(path, "w", encoding="ascii") as file:
        file.write(PROGRAMS["import"])

    def fresh():
        begin = time.perf_counter()
        subprocess.run([sys.executable, path], input=data, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begin
    rows = [(fresh(), worker.calls(meta, data, 20)[0]) for _ in range(args.turns + 1)][1:]
    worker.close()
    a, b = [row[0] * 1e3 for row in rows], [row[1] * 1e3 for row in rows]
    print(f"prefork  {spread(b)} ms a call, a process that imports numpy {spread(a, 1)}, ratio "
          f"{spread([x / y for x, y in zip(a, b)], 1)} (wanted: at least 20)  n={args.turns}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--only", default="call,tensor,start,prefork")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mer-bench-") as folder:
        for name in args.only.split(","):
            globals()["bench_" + name](folder, args)


if __name__ == "__main__":
    main()
