"""A private Docker engine for tests: in a mount, a network and a process namespace of its own, its data
in a folder that goes with it. Nothing of the machine's own engine, network or cgroups is touched, and
however the tests end, no process outlives them.

    sys.exit(engine.inside(main))     # main runs in the namespaces, as their first process
    with engine.Engine(top) as docker:
        docker.env                    # the environment in which docker and Compose find it
"""
import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import processes

READY_S, STOP_S = 60, 30
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
ADDRESS = "172.17.0.1"  # of the engine, as containers and builds see it
TOOLS = ("docker", "dockerd", "ip", "unshare")


class Unavailable(Exception):
    """An engine cannot run here; the message says why."""


def lacking():
    """Why no engine can be had here, or None."""
    if os.geteuid() != 0:
        return "a Docker engine of its own takes root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)}: not installed"
    done = subprocess.run(["unshare", "-mnpf", "--mount-proc", "--propagation", "private", "sh", "-c",
                           "mount -t tmpfs none /run && ip link set lo up"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    return f"no namespaces here: {done.stderr.strip()}" if done.returncode != 0 else None


def remove_cgroups(name):
    for folder, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
        if name in folder.split("/"):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def inside(main):
    """Calls main(top) in the namespaces and returns its exit code. top is a folder that is removed."""
    if sys.argv[1:2] == ["--inside"]:
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return main(Path(sys.argv[2]))
    top = tempfile.mkdtemp(prefix="mer-engine-")
    os.chmod(top, 0o755)
    with contextlib.ExitStack() as after:
        after.callback(shutil.rmtree, top, ignore_errors=True)
        after.callback(remove_cgroups, Path(top).name)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        child = after.enter_context(subprocess.Popen(
            ["unshare", "-mnpf", "--mount-proc", "--kill-child=KILL", "--propagation", "private",
             "/usr/bin/python3", sys.argv[0], "--inside", top, *sys.argv[1:]],
            preexec_fn=processes.die_with_parent))
        after.callback(end_namespace, child)
        return child.wait()


def end_namespace(child):
    """Kills the first process in it; the kernel lets it go when all others have gone. From here on
    nothing keeps us from cleaning up."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        for first in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split():
            gone = os.pidfd_open(int(first))
            signal.pidfd_send_signal(gone, signal.SIGKILL)
            select.select([gone], [], [], STOP_S)
            os.close(gone)


class Engine:
    """dockerd, ready when entered."""

    def __init__(self, top):
        self.top = top
        self.process = None
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{top}/docker.sock"}

    def __enter__(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(self.top / "notify"))
        with notify, open(self.top / "dockerd.log", "wb") as log:
            self.process = subprocess.Popen(
                ["dockerd", "-H", f"unix://{self.top}/docker.sock", "--data-root", self.top / "data",
                 "--exec-root", self.top / "exec", "--pidfile", self.top / "pid",
                 "--storage-driver=overlay2", "--exec-opt", "native.cgroupdriver=cgroupfs",
                 "--cgroup-parent", f"/{self.top.name}", "--bip", f"{ADDRESS}/16"],
                env={**os.environ, "NOTIFY_SOCKET": str(self.top / "notify")}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log)
            gone = os.pidfd_open(self.process.pid)
            try:
                ready, _, _ = select.select([notify, gone], [], [], READY_S)
            finally:
                os.close(gone)
        if notify not in ready:
            raise Unavailable("dockerd does not get ready: " + self.log())
        return self

    def log(self):
        """The end of what it says, on one line."""
        return " | ".join((self.top / "dockerd.log").read_text().splitlines()[-3:])

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

