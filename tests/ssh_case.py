"""What tests of models on other hosts share. A test is parametrised by its transport: a subclass names it, and its
servers get it as their parameter."""
import os
import shlex
import shutil
import socket
import tempfile
import threading
import time
import unittest
from pathlib import Path

import processes
import record_case
import sshd

TRANSPORTS = ("openssh", "libssh2")
SHELLS = ("dash", "bash", "busybox sh", "mksh")
TOOLS = ("sh", "env", "sed", "grep", "sleep", "kill", "setsid", "cat", "printf", "true") # of a host without perl


def alive(mark):
    """Processes with that text in their environment, which the far supervisor's own do not have."""
    return [pid for pid, environ in processes.told("environ") if mark.encode() in environ]


def wait_for(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def parent(pid):
    """Of a process, or None."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def descends(pid, from_pid):
    while pid and pid != from_pid:
        pid = parent(pid)
    return bool(pid)


def shell_words(shell):
    """How that shell is started, or None where it is not installed."""
    name, *rest = shell.split()
    path = shutil.which(name)
    return " ".join([path, *rest]) if path else None


class Cut:
    """Forwards a port until it is cut: then nothing goes either way, and nobody is told."""

    def __init__(self, port):
        self.to, self.is_cut = port, threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.sockets, self.up, self.down = [], 0, 0 # bytes that went to the server, and from it
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.server.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            self.sockets += [near, far]
            threading.Thread(target=self.pump, args=(near, far, "up"), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, "down"), daemon=True).start()

    def pump(self, source, sink, way):
        try:
            while data := source.recv(65536):
                if self.is_cut.is_set():
                    return
                sink.sendall(data)
                setattr(self, way, getattr(self, way) + len(data))
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self):
        self.server.close()
        for end in self.sockets:
            end.close()


class Ssh(record_case.Record):
    """Mixed into the classes of each transport."""
    transport = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if sshd.missing():
            raise unittest.SkipTest(sshd.missing())

    def setUp(self):
        self.set_up(None)
        self.env["MER_ALLOW_CHANGES"] = "1"
        self.env.pop("SSH_AUTH_SOCK", None)

    def place(self):
        """A folder whose path is short, as a server's has to be."""
        folder = tempfile.TemporaryDirectory(prefix="mer-ssh-")
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def add_server(self, name, server, user="user", params=()):
        own = ["--param", f"transport={self.transport}"] if self.transport else []
        self.call(0, "server", "add", name, "--kind", "ssh", "--user", user, *server.params(), *own, *params)

    def add(self, name, *words, options=(), server="box"):
        self.call(0, "model", "add", name, "--server", server, *options, "--", *words)

    def refused(self, code, message, *words, **options):
        out, err = self.call(code, *words, **options)
        self.assertIn(message, err)
        return out

    def sleeper(self, name, options=(), server="box"):
        """A model that never ends, with a child that has left its group: four processes. Its mark is what
        all have in their environments."""
        mark = f"MARK={name}-{os.getpid()}-{id(self)}"
        self.add(name, "sh", "-c", "setsid sh -c 'trap \"\" TERM; while :; do sleep 3600; done' & "
                 "while :; do sleep 3600; done", options=("--env", mark, *options), server=server)
        return mark

    def fake(self, shell, path=None):
        """An environment whose ssh is a program that starts that shell."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        line = f"exec {shell} -c 'IFS= read -r s && eval \"$s\"'"
        limit = f"PATH={shlex.quote(str(path))}; export PATH\n" if path else ""
        (folder / "ssh").write_text(f"#!/bin/sh\n{limit}{line}\n")
        (folder / "ssh").chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    def tools(self):
        """A folder for PATH without perl."""
        folder = self.folder / "tools"
        folder.mkdir(exist_ok=True)
        for name in TOOLS:
            if not (folder / name).exists():
                (folder / name).symlink_to(shutil.which(name))
        return folder


def each_transport(base, names):
    """A class for each transport, into a module's names."""
    for transport in TRANSPORTS:
        name = base.__name__ + transport.capitalize()
        names[name] = type(name, (base, unittest.TestCase), {"transport": transport, "__module__": names["__name__"]})


def run_tap(module):
    """What a program of tests does: TAP of all, or of those that its words name."""
    import sys
    import unittest

    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(sys.argv[1:], module) if sys.argv[1:] else loader.loadTestsFromModule(module)
    sys.exit(not runner.run(suite).wasSuccessful())
