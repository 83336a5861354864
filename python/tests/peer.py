"""MER's side of a connection, for tests: frames by hand, no part of the SDK."""
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

PYTHON = Path(__file__).resolve().parent.parent
SOURCE = PYTHON.parent
DEADLINE_S = 60
MIB = 1024 * 1024
HEADER = struct.Struct("<4sBBHQIIQ")
HELLO, READY, INFER, RESULT, ERROR, CANCEL, PING, LOG, PROGRESS, TRAIN, DRAIN = range(1, 12)
MORE, SKIP, ANSWER = 1, 2, 4
BYTES = {"content": "bytes"}
ENV = {name: value for name, value in os.environ.items() if not name.startswith(("MER_", "PYTHON"))}
ENV |= {"PYTHONPATH": str(PYTHON), "PYTHONDONTWRITEBYTECODE": "1"}


def pack(kind, ident=0, meta=None, body=b"", flags=0):
    raw = meta if isinstance(meta, bytes) else b"" if meta is None else json.dumps(meta).encode()
    return HEADER.pack(b"MERF", 1, kind, flags, ident, len(raw), 0, len(body)) + raw + body


def tensors(**named):
    """Meta and body of named (datatype, shape, data)."""
    inputs = [{"name": name, "datatype": datatype, "shape": shape,
               "parameters": {"binary_data_size": len(data)}}
              for name, (datatype, shape, data) in named.items()]
    return {"inputs": inputs}, b"".join(data for _, _, data in named.values())


class Frame:
    def __init__(self, kind, flags, ident, meta, body):
        self.kind, self.flags, self.ident, self.meta, self.body = kind, flags, ident, meta, body

    def __repr__(self):
        return f"Frame({self.kind}, {self.flags}, {self.ident}, {self.meta}, {self.body[:80]!r})"


class Worker:
    """A model in a process of its own; the text is its program."""

    def __init__(self, text, stdio=False, argv=None, ready=True, log=None, **hello):
        self.folder = tempfile.mkdtemp(prefix="mer-sdk-")
        self.file = os.path.join(self.folder, "model.py")
        Path(self.file).write_text("import mer\n" + textwrap.dedent(text) + "\nmer.serve()\n",
                                   encoding="utf-8")
        self.log_path = log or os.path.join(self.folder, "log")
        argv = argv or [sys.executable, self.file]
        with open(self.log_path, "wb") as log_file:
            if stdio:
                ours, theirs = socket.socketpair()
                self.process = subprocess.Popen(
                    [word.replace("FILE", self.file) for word in argv], stdin=theirs,
                    stdout=theirs, stderr=log_file, env=ENV, start_new_session=True)
            else:
                ours, theirs = socket.socketpair()
                for end in (ours, theirs):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
                self.process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file,
                    pass_fds=[theirs.fileno()], start_new_session=True,
                    env={**ENV, "MER_FRAME_FD": str(theirs.fileno())})
        theirs.close()
        self.socket = ours
        self.socket.settimeout(DEADLINE_S)
        self.next_id = 1
        if ready:
            self.send(HELLO, 0, {"versions": [1], "max_body": 1 << 30, **hello})
            self.ready = self.until(READY)[-1].meta

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        shutil.rmtree(self.folder)

    def log(self):
        return Path(self.log_path).read_bytes().decode()

    def send(self, *args, **more):
        self.socket.sendall(pack(*args, **more))

    def read(self, size):
        data = bytearray(size)
        view = memoryview(data)
        while view:
            n = self.socket.recv_into(view)
            if n == 0:
                raise EOFError(f"the worker has left: {self.log()[-2000:]}")
            view = view[n:]
        return data

    def receive(self):
        magic, version, kind, flags, ident, meta, zero, body = HEADER.unpack(self.read(32))
        assert (magic, version, zero) == (b"MERF", 1, 0), (magic, version, zero)
        raw = self.read(meta)
        return Frame(kind, flags, ident, json.loads(raw) if raw else {}, bytes(self.read(body)))

    def until(self, kind, ident=None):
        """All frames up to the first of this kind, and of this request if told."""
        frames = []
        while True:
            frames.append(self.receive())
            last = frames[-1]
            if last.kind == kind and not last.flags & MORE and ident in (None, last.ident):
                return frames
            if last.kind == ERROR and ident in (None, last.ident):
                raise AssertionError(f"{last}")

    def ask(self, body=b"", meta=None, kind=INFER):
        """Sends a request; its id."""
        ident = self.next_id
        self.next_id += 1
        self.send(kind, ident, BYTES if meta is None else meta, body)
        return ident

    def answer(self, *args, **more):
        """The frames of one request."""
        ident = self.ask(*args, **more)
        frames = []
        while not frames or frames[-1].kind not in (RESULT, ERROR) or frames[-1].flags & MORE:
            frames.append(self.receive())
            assert frames[-1].ident == ident, frames
        return frames

    def result(self, *args, **more):
        last = self.answer(*args, **more)[-1]
        assert last.kind == RESULT, last
        return last

    def error(self, *args, **more):
        last = self.answer(*args, **more)[-1]
        assert last.kind == ERROR, last
        return last.meta

    def ping(self):
        self.send(PING, 0, {"a": 1}, b"\0")
        while True:
            frame = self.receive()
            if frame.kind == PING:
                assert (frame.flags, frame.meta, frame.body) == (ANSWER, {"a": 1}, b"\0"), frame
                return

    def drain(self):
        """Drains; the exit code."""
        self.send(DRAIN)
        assert self.socket.recv(1) == b"", "a frame after drain"
        return self.process.wait(DEADLINE_S)

    def status(self, name):
        """A line of /proc/PID/status, in KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(rf"^{name}:\s*(\d+)", text, re.M).group(1))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def wait_for(condition, what):
    """Looks again and again, for what sends no event."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(what)
        select.select([], [], [], 0.005)


def main(module):
    """Prints TAP."""
    import unittest

    from tap import TAPTestRunner
    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[module])
    sys.exit(not runner.run(suite).wasSuccessful())
