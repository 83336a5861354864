"""The processes of this machine, any of which may end while one looks."""
import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def told(name):
    """Of each that is there: its pid, and what it has in /proc/PID/NAME."""
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                yield int(pid), Path("/proc", pid, name).read_bytes()
            except OSError:
                pass


def kill(pids):
    """By SIGKILL, those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def system(name, *args):
    """A function of the C library that Python has not got."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def prctl(option, value):
    system("prctl", option, value, 0, 0, 0)


def die_with_parent(number=signal.SIGKILL):
    """For a child to call: it gets that signal when who started it is gone, however that went."""
    prctl(PR_SET_PDEATHSIG, number)
